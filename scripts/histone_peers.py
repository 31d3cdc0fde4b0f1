"""Fit a peer of the networks on one cell type, or on all mixed, and predict its test genes."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.histone.peers import fit_peer

    fit_peer(
        list(snakemake.input.cells),
        snakemake.output[0],
        unit=snakemake.wildcards.unit,
        peer=snakemake.wildcards.peer,
        most=snakemake.params.most,
        seed=snakemake.params.seed,
    )

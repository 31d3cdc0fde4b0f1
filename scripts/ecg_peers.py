"""Fit a peer of the network of a group, and predict the ages of the records that are held out."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.peers import fit_peer

    fit_peer(
        {"records": snakemake.input.records, "features": list(snakemake.input.features)},
        snakemake.output[0],
        group=snakemake.wildcards.group,
        peer=snakemake.wildcards.ecg_peer,
        folds=snakemake.params.folds,
        seed=snakemake.params.seed,
    )

"""Train a network on one cell type, or on all mixed, and predict its test genes."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.histone.networks import fit_network

    fit_network(
        list(snakemake.input.cells),
        dict(snakemake.output.items()),
        unit=snakemake.wildcards.unit,
        network=snakemake.wildcards.network,
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
        work=snakemake.params.work,
    )

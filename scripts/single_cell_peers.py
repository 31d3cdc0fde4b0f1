"""Predict every site in every cell with what the networks are measured against."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.single_cell import peers

    if snakemake.wildcards.peer == "window_mean":
        peers.window_mean(snakemake.input.sites, snakemake.output[0], **snakemake.params.settings)
    else:
        peers.random_forest(
            list(snakemake.input.windows),
            snakemake.input.sites,
            snakemake.output[0],
            seed=snakemake.params.seed,
            threads=snakemake.threads,
            **snakemake.params.settings,
        )

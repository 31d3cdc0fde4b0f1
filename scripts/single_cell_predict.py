"""Predict every site in every cell with a trained network."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.single_cell.networks import predict

    predict(
        list(snakemake.input.windows),
        snakemake.input.sites,
        snakemake.input.weights,
        snakemake.input.card,
        snakemake.output[0],
        settings=snakemake.params.settings,
    )

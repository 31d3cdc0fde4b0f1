"""Predict the ages asked about by another network, and set them beside ours."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.published import compare

    compare(
        dict(snakemake.input.items()),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

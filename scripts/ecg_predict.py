"""Predict the ages of new records by the trained networks of a group."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.networks import predict_ages

    predict_ages(
        {key: snakemake.input[key] for key in ("signals", "records")} | {"weights": list(snakemake.input.weights)},
        snakemake.output[0],
        group=snakemake.wildcards.group,
        name=snakemake.params.name,
        settings=snakemake.params.settings,
    )

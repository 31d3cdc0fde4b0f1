"""Predict the age of every person of the cohort from methylation, by a clock that has not seen them."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.methylation_age.ages import predict_ages

    predict_ages(
        {"beta": snakemake.input.beta, "samples": snakemake.input.samples},
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
    write_summary("methylation_age", dict(snakemake.output.items()))

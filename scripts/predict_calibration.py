"""Classify the calibration CpGs that no earlier round placed, as the cohort's are."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.learning.prediction import predict_calibration
    from cpgtaxa.plan.paths import model_of

    predict_calibration(
        {kind: snakemake.input[kind] for kind in ("weights", "stats", "card", "features")},
        snakemake.input.beta,
        snakemake.input.samples,
        snakemake.input.labels,
        list(snakemake.input.placed),
        snakemake.output[0],
        model_name=model_of(snakemake.wildcards.round),
        seed=snakemake.params.seed,
        **snakemake.params.settings,
    )

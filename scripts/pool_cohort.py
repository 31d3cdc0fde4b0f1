"""Lay out the summaries of several cohorts as one cohort of pseudo-people."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.pool.pooling import pool_cohort

    pool_cohort(
        dict(zip(snakemake.params.names, snakemake.input.summaries, strict=True)),
        dict(snakemake.output.items()),
        seed=snakemake.params.seed,
    )

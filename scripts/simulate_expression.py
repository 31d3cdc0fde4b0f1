"""Simulate methylation and expression with known cis-effects."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.expression.simulated import write_cohort

    write_cohort(snakemake.params.settings, snakemake.params.seed, dict(snakemake.output.items()))

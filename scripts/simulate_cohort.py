"""Simulate a cohort whose taxonomy is known: beta matrix, sample sheet and truth."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.simulation.simulated_cohort import write_cohort

    write_cohort(snakemake.params.settings, snakemake.params.seed, **dict(snakemake.output.items()))

"""Simulate 12-lead ECGs whose shape drifts with age."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.simulated import write_records

    write_records(snakemake.params.settings, snakemake.params.seed, dict(snakemake.output.items()))

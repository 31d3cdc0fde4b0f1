"""Check the methylation ages of the people whose ECGs are read."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.clock import read_clock

    read_clock(snakemake.input.methylation, snakemake.input.records, snakemake.output[0])

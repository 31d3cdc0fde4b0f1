"""Measure intervals and amplitudes of a part of the records."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.features import measure

    measure(
        snakemake.input.leads,
        snakemake.input.records,
        snakemake.output[0],
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
    )

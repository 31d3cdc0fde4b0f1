"""Put the shards of the statistics together, in the order of the matrix."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.files import concatenate_parquet

    concatenate_parquet(snakemake.input.shards, snakemake.output[0])

"""Put the shards of the patterns together, with q-values, and the causes of the bands of CpGs called Bi or Tri."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.patterns.table import gather

    gather(snakemake.input.shards, snakemake.input.taxonomy, snakemake.output.parquet, snakemake.output.csv)

"""Take the user's own labels in place of the statistical rules."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.files import read_parquet, write_parquet
    from cpgtaxa.taxa.labels import read_labels

    cpgs = read_parquet(snakemake.input.statistics, columns=["cpg"])["cpg"]
    write_parquet(snakemake.output[0], read_labels(snakemake.input.labels, cpgs))

"""Take the user's own labels in place of the statistical rules."""

from cpgtaxa.job import job

with job(snakemake):
    import pandas as pd
    from cpgtaxa.files import write_parquet
    from cpgtaxa.taxa import read_labels

    cpgs = pd.read_parquet(snakemake.input.statistics, columns=["cpg"])["cpg"]
    write_parquet(snakemake.output[0], read_labels(snakemake.input.labels, cpgs))

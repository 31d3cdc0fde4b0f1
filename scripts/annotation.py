"""Take from the array's manifest where the cohort's CpGs lie, and from lists what they are known for."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cohort import Cohort
    from cpgtaxa.files import write_parquet
    from cpgtaxa.input.annotation import annotate

    cpgs = Cohort(snakemake.input.beta).cpgs
    table = annotate(cpgs, snakemake.input.manifest, snakemake.params.columns, snakemake.params.lists)
    write_parquet(snakemake.output[0], table)

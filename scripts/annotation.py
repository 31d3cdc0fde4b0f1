"""Take from the array's manifest where the cohort's CpGs lie."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cohort import Cohort
    from cpgtaxa.files import write_parquet
    from cpgtaxa.input.annotation import annotate

    cpgs = Cohort(snakemake.input.beta).cpgs
    write_parquet(snakemake.output[0], annotate(cpgs, snakemake.input.manifest, snakemake.params.columns))

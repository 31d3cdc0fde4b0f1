"""Write which CpGs change with age, in level and in spread."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.statistics.age_ewas import write_age_ewas

    write_age_ewas(dict(snakemake.input.items()), dict(snakemake.output.items()))

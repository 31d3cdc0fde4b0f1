"""Show why the CpGs asked for have their taxa: one page, and the numbers behind it."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.explain import write_explanation

    write_explanation(snakemake.input, dict(snakemake.output.items()), **snakemake.params.settings)

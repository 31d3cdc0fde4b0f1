"""Show why the CpGs asked for have their taxa: one page, and the numbers behind it."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.explain.page import write_explanation
    from cpgtaxa.plan.terminal import write_summary

    write_explanation(snakemake.input, dict(snakemake.output.items()), **snakemake.params.settings)
    write_summary("explain", dict(snakemake.output.items()))

"""Check the user's matrix and sample sheet and write the cohort as memory-mapped Arrow."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.input.ingest import ingest

    beta = snakemake.input.beta
    ingest(
        beta if isinstance(beta, str) else beta[0],  # the first of several parts
        snakemake.input.samples,
        snakemake.output.beta,
        snakemake.output.samples,
        snakemake.output.cpgs,
        snakemake.output.qc,
        snakemake.output.qc_table,
        **snakemake.params.settings,
    )

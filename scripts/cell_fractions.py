"""Tell the fractions of cell types in every sample from the user's reference."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cell_fractions import write_fractions

    write_fractions(
        snakemake.input.beta, snakemake.input.reference, snakemake.input.samples, dict(snakemake.output.items())
    )

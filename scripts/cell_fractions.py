"""Estimate the fractions of cell types in every sample from the user's reference, or that of blood which ships."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.cell_fractions.fractions import write_fractions

    write_fractions(
        snakemake.input.beta, snakemake.input.reference, snakemake.input.samples, dict(snakemake.output.items())
    )
    write_summary("cell_fractions", dict(snakemake.output.items()))

"""Simulate cell types with known effects of histone marks."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.histone.simulated import write_cells

    write_cells(
        snakemake.params.settings,
        snakemake.params.seed,
        list(snakemake.output.cells),
        snakemake.output.truth,
        snakemake.output.planted,
    )

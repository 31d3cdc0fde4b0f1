"""Simulate a genome, and cells whose methylation depends on a motif and on neighbours."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.single_cell.simulated import write_cells

    write_cells(
        snakemake.params.settings,
        snakemake.params.seed,
        {key: list(paths) if key == "profiles" else paths for key, paths in snakemake.output.items()},
    )

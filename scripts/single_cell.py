"""Score all predictions, write what was imputed, and draw the page."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.single_cell.page import write

    write(
        {key: list(paths) if key == "networks" else paths for key, paths in snakemake.input.items()},
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
    write_summary("single_cell", dict(snakemake.output.items()))

"""Score all predictions, write what was imputed, and draw the page."""

from cpgtaxa.job import by_name, job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.single_cell.page import write

    write(
        by_name(snakemake.input),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
    write_summary("single_cell", dict(snakemake.output.items()))

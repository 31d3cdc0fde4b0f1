"""Score all models, compare them, and draw the page."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.histone.page import LISTS, write

    write(
        {key: list(files) if key in LISTS else files for key, files in snakemake.input.items()},
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
    write_summary("histone", dict(snakemake.output.items()))

"""Score all fits, compare the models, and draw the page."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.expression.page import write

    write(
        {key: list(files) if key in ("fits", "taxa") else files for key, files in snakemake.input.items()},
        dict(snakemake.output.items()),
        pairs=snakemake.params.pairs,
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
    write_summary("expression", dict(snakemake.output.items()))

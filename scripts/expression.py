"""Score all fits, compare the models, and draw the page."""

from cpgtaxa.job import by_name, job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.expression.page import write

    write(
        by_name(snakemake.input),
        dict(snakemake.output.items()),
        pairs=snakemake.params.pairs,
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
    write_summary("expression", dict(snakemake.output.items()))

"""Check methylation, expression and positions, and find each gene's CpGs."""

from cpgtaxa.job import by_name, job

with job(snakemake):
    from cpgtaxa.targets.expression.inputs import prepare

    prepare(
        by_name(snakemake.input),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

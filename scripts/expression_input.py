"""Check methylation, expression and positions, and find each gene's CpGs."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.expression.inputs import prepare

    prepare(
        {key: path for key, path in snakemake.input.items() if key != "library"},
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

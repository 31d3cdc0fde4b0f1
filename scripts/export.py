"""Write the results in other people's formats."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.export import export

    export(
        dict(snakemake.input.items()),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

"""Write the results in other people's formats."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.export import export
    from cpgtaxa.terminal import write_summary

    export(
        dict(snakemake.input.items()),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
    write_summary("export", dict(snakemake.output.items()))

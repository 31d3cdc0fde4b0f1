"""Write the page in which every CpG can be looked at, and the folder that it loads a whole array from."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.explorer.writing import write_explorer

    write_explorer(
        dict(snakemake.input.items()),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        rules=snakemake.params.rules,
        seed=snakemake.params.seed,
    )

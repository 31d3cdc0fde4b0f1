"""Check a cell type's counts, labels and splits."""

from cpgtaxa.job import by_name, job

with job(snakemake):
    from cpgtaxa.targets.histone.inputs import prepare

    prepare(
        by_name(snakemake.input),
        dict(snakemake.output.items()),
        cell=snakemake.wildcards.cell,
        marks=snakemake.params.settings["marks"],
        bins=snakemake.params.settings["bins"],
    )

"""Check a cell type's counts, labels and splits."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.histone.inputs import prepare

    prepare(
        {key: path for key, path in snakemake.input.items() if key != "library"},
        dict(snakemake.output.items()),
        cell=snakemake.wildcards.cell,
        marks=snakemake.params.settings["marks"],
        bins=snakemake.params.settings["bins"],
    )

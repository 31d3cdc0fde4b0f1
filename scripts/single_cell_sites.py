"""Check the cells' profiles against the genome, and put their sites together."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.single_cell.sites import prepare

    names = snakemake.params.names
    prepare(
        {
            "profiles": dict(zip(names["cells"], snakemake.input.profiles, strict=True)),
            "annotations": dict(zip(names["annotations"], snakemake.input.annotations, strict=True)),
            "genome": snakemake.input.get("genome"),
        },
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
    )

"""Read a network's sequence part: motifs of its filters, and what mutations do."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.single_cell.reading import read_network

    read_network(
        {key: list(paths) if key == "windows" else paths for key, paths in snakemake.input.items()},
        snakemake.output[0],
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

"""Read a network's sequence part: motifs of its filters, and what mutations do."""

from cpgtaxa.job import by_name, job

with job(snakemake):
    from cpgtaxa.targets.single_cell.reading import read_network

    read_network(
        by_name(snakemake.input),
        snakemake.output[0],
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

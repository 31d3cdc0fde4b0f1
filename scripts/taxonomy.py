"""Put statistical labels and rounds together: one taxon, its source and probabilities per CpG."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.placement.rounds import write_taxonomy

    write_taxonomy(
        snakemake.input.labels,
        list(snakemake.input.predictions),
        list(snakemake.input.reassigned),
        snakemake.input.left,
        snakemake.output.parquet,
        snakemake.output.csv,
        snakemake.output.unclassified,
    )

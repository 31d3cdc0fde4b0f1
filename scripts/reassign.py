"""Place the CpGs the round's network is certain of, unless the tests contradict it."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.rounds import place

    place(
        list(snakemake.input.predictions),
        snakemake.input.labels,
        list(snakemake.input.placed),
        snakemake.input.statistics,
        dict(snakemake.params.items()),
        int(snakemake.wildcards.round),
        snakemake.output.reassigned,
        snakemake.output.counts,
    )

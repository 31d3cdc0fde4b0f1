"""Hold the taxa against published lists of CpGs and against genomic context."""

from cpgtaxa.job import by_name, job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.biology.enrichment import write

    write(
        by_name(snakemake.input),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
    )
    write_summary("enrichment", dict(snakemake.output.items()))

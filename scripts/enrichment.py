"""Hold the taxa against published lists of CpGs and against genomic context."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.biology.enrichment import write

    write(
        {key: list(files) if key == "lists" else files for key, files in snakemake.input.items() if key != "library"},
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
    )
    write_summary("enrichment", dict(snakemake.output.items()))

"""Score the cohort's samples by the noise of sets of CpGs, and by signatures."""

from cpgtaxa.job import by_name, job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.biology.scores import write

    write(
        by_name(snakemake.input),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
    )
    write_summary("scores", dict(snakemake.output.items()))

"""Write what of a cohort can be pooled elsewhere: per CpG, age and sex how many people have which beta."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.pool.summarise import summarise

    summarise(
        {"beta": snakemake.input.beta, "samples": snakemake.input.samples, "adjusted": snakemake.input.get("adjusted")},
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
    )
    write_summary("summarise", dict(snakemake.output.items()))

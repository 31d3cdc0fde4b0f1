"""Score all models, give every age its interval, join the gaps of both clocks, and draw the page."""

from cpgtaxa.job import by_name, job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.ecg.page import write

    write(
        by_name(snakemake.input),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
    write_summary("ecg_age", dict(snakemake.output.items()))

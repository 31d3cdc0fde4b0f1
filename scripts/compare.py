"""Compare the taxonomies of several cohorts, and make one of them."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.compare.study import compare

    compare(
        snakemake.params.files,
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )
    write_summary("compare", dict(snakemake.output.items()))

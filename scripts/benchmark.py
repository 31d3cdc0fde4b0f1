"""Time each stage beside its peers, in one run."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.benchmark.measure import run

    run(snakemake.params.settings, dict(snakemake.output.items()), snakemake.params.scratch)
    write_summary("benchmark", dict(snakemake.output.items()))

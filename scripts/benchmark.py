"""Time each stage beside its peers, in one run."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.benchmark import run
    from cpgtaxa.terminal import write_summary

    run(snakemake.params.settings, dict(snakemake.output.items()), snakemake.params.scratch)
    write_summary("benchmark", dict(snakemake.output.items()))

"""End the target: report records that could not be used, once all else is made."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.complete import report

    report(list(snakemake.input.left_out), snakemake.output[0], accept=snakemake.params.left_out == "accept")

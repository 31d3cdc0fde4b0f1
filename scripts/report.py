"""Write the report and the table shown at the end."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.report.page import write_report

    write_report(snakemake.input, dict(snakemake.output.items()), snakemake.params.config)

"""Tell to which cell types the CpGs' trends with age, and changes of spread, belong."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.cell_types.table import write

    write(
        {key: snakemake.input.get(key) for key in ("beta", "samples", "fractions")},
        dict(snakemake.output.items()),
        columns=snakemake.params.columns,
        covariates=snakemake.params.covariates,
    )
    write_summary("cell_types", dict(snakemake.output.items()))

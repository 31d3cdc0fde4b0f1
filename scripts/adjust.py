"""Take from the betas what goes with sex, batch, cell fractions or other covariates."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.statistics.adjust import adjust_cohort

    adjust_cohort(
        {
            "beta": snakemake.input.beta,
            "samples": snakemake.input.samples,
            "fractions": snakemake.input.get("fractions"),
        },
        {"beta": snakemake.output.beta, "cpgs": snakemake.output.cpgs, "summary": snakemake.output.summary},
        covariates=snakemake.params.covariates,
    )

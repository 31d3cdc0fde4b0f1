"""Give each CpG a taxon by statistical rules, or leave it Unclassified, with the reason."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.taxa import label_cohort

    label_cohort(snakemake.input.statistics, snakemake.params.thresholds, snakemake.output[0])

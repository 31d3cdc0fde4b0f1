"""Give each CpG a taxon by statistical rules, or leave it Unclassified, with the reason."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.taxa.labels import label_cohort

    label_cohort(snakemake.input.statistics, snakemake.output[0], **snakemake.params["rules"])

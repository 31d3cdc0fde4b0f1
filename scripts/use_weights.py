"""Take given weights and normalisation statistics in place of training round 0."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.learning.classifier import use_weights

    use_weights(snakemake.input.weights, snakemake.input.stats, dict(snakemake.output.items()), snakemake.params.size)

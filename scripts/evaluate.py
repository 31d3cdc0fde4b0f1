"""Evaluate the round's network on its test images: accuracy, F1, calibration, confusions."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.learning.evaluation import evaluate

    evaluate(snakemake.input.predictions, snakemake.input.log, snakemake.input.card, snakemake.output[0])

"""Classify any images listed in a CSV, with given weights, in the published form."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.learning.classifier import predict_images

    predict_images(snakemake.params.settings, snakemake.output[0])

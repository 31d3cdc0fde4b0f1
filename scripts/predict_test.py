"""Classify the test images with the round's network, in the published form."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.learning.classifier import predict_test

    network = {kind: snakemake.input[kind] for kind in ("weights", "stats", "card")}
    predict_test(
        network,
        snakemake.input.test,
        list(snakemake.input.packs),
        snakemake.output[0],
        snakemake.wildcards.model,
        **snakemake.params.settings,
    )

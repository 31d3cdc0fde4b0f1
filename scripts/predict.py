"""Classify the CpGs of one shard that are not placed yet, drawing their images on the fly."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.learning.prediction import predict_shard

    network = {kind: snakemake.input[kind] for kind in ("weights", "stats", "card", "features")}
    predict_shard(
        network,
        snakemake.input.beta,
        snakemake.input.samples,
        snakemake.input.labels,
        list(snakemake.input.placed),
        snakemake.output[0],
        round_number=int(snakemake.wildcards.round),
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        least=snakemake.params.least,
        seed=snakemake.params.seed,
        **snakemake.params.settings,
    )

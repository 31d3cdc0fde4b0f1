"""Predict each gene of a shard from its CpGs of one taxon, and from matched random sets of the others."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.expression.by_taxon import fit_taxa

    fit_taxa(
        {name: snakemake.input[name] for name in ("methylation", "expression", "genes", "samples")},
        snakemake.input.cpgs,
        snakemake.input.taxonomy,
        snakemake.output[0],
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

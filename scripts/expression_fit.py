"""Cross-fit one model on one shard's genes, from the CpGs in one window."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.expression.fits import fit_shard

    fit_shard(
        {name: snakemake.input[name] for name in ("methylation", "expression", "genes", "samples")},
        snakemake.output[0],
        model=snakemake.wildcards.regressor,
        window=snakemake.wildcards.window,
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

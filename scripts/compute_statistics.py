"""Compute every number the taxon rules look at, for one shard of CpGs."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cohort import Cohort, read_samples, two_sexes
    from cpgtaxa.files import read_json, write_parquet
    from cpgtaxa.plan.paths import shard_bounds
    from cpgtaxa.statistics.kernel import compute_cohort

    cohort = Cohort(snakemake.input.beta)
    samples = read_samples(snakemake.input.samples)
    shard, shards = (int(snakemake.wildcards[name]) for name in ("shard", "shards"))
    start, stop = shard_bounds(shard, shards, cohort.n_cpgs, snakemake.params.least)
    adjusted = snakemake.input.get("adjusted")
    scales = read_json(adjusted)["statistics"] if adjusted else {}
    scales["sexes"] = two_sexes(samples)
    write_parquet(snakemake.output[0], compute_cohort(cohort, samples["age"].to_numpy(), start, stop, **scales))

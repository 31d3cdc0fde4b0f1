"""How the CpGs of one shard change with age, and why they have bands."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cohort import Cohort, read_samples
    from cpgtaxa.files import read_json
    from cpgtaxa.patterns.shape import Scales
    from cpgtaxa.patterns.table import Study, describe_shard
    from cpgtaxa.plan.paths import shard_bounds

    cohort, adjusted = Cohort(snakemake.input.beta), snakemake.input.get("adjusted")
    scales = Scales(**read_json(adjusted)["statistics"]) if adjusted else Scales()
    study = Study.of(read_samples(snakemake.input.samples), scales)
    shard, shards = (int(snakemake.wildcards[name]) for name in ("shard", "shards"))
    start, _ = shard_bounds(shard, shards, cohort.n_cpgs, snakemake.params.least)
    describe_shard(cohort, study, snakemake.input.statistics, start, snakemake.output[0], **snakemake.params["rules"])

# Beside the taxa: how each CpG changes with age, why it has bands, and whether its taxon replicates.


rule patterns:
    input:
        **PLAN.adjusted(),
        beta=PLAN.beta,
        samples=COHORT.samples,
        statistics="results/statistics/shards/{shard}-of-{shards}.parquet",
        library=library_files(SCRIPTS / "patterns.py"),
    output:
        "results/patterns/shards/{shard}-of-{shards}.parquet",
    log:
        "results/logs/patterns_{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/patterns_{shard}-of-{shards}.tsv"
    conda:
        "../../envs/patterns.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        rules=PLAN.rules(),
        least=PLAN.least_shard,
    script:
        "../../scripts/patterns.py"


rule gather_patterns:
    input:
        **PLAN.adjusted(),
        **PLAN.annotation(),
        beta=PLAN.beta,
        samples=COHORT.samples,
        shards=PLAN.pattern_shards(),
        taxonomy=rules.taxonomy.output.parquet,
        library=library_files(SCRIPTS / "gather_patterns.py"),
    output:
        parquet="results/patterns.parquet",
        csv="results/patterns.csv.gz",
    log:
        "results/logs/gather_patterns.log",
    benchmark:
        "results/benchmarks/gather_patterns.tsv"
    conda:
        "../../envs/gather_patterns.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        rules=PLAN.rules(),
        by_rules=config["taxa"]["labels"] is None,
        seed=config["seed"],
    script:
        "../../scripts/gather_patterns.py"

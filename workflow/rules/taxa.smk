# What the tests say about each CpG, and which CpGs they place.


rule compute_statistics:
    input:
        **PLAN.adjusted(),
        beta=PLAN.beta,
        samples=COHORT.samples,
        library=library_files(SCRIPTS / "compute_statistics.py"),
    output:
        "results/statistics/shards/{shard}-of-{shards}.parquet",
    log:
        "results/logs/compute_statistics_{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/compute_statistics_{shard}-of-{shards}.tsv"
    conda:
        "../../envs/compute_statistics.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        least=PLAN.least_shard,
    script:
        "../../scripts/compute_statistics.py"


rule gather_statistics:
    input:
        shards=PLAN.statistics_shards(),
        library=library_files(SCRIPTS / "gather_statistics.py"),
    output:
        "results/statistics/statistics.parquet",
    log:
        "results/logs/gather_statistics.log",
    benchmark:
        "results/benchmarks/gather_statistics.tsv"
    conda:
        "../../envs/gather_statistics.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    script:
        "../../scripts/gather_statistics.py"


if config["taxa"]["labels"]:

    rule use_labels:
        input:
            unpack(given(labels="taxa.labels")),
            statistics=rules.gather_statistics.output[0],
            library=library_files(SCRIPTS / "use_labels.py"),
        output:
            "results/taxa/statistical.parquet",
        log:
            "results/logs/use_labels.log",
        benchmark:
            "results/benchmarks/use_labels.tsv"
        conda:
            "../../envs/use_labels.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=lambda wildcards, attempt: 30 * attempt,
        script:
            "../../scripts/use_labels.py"

else:

    rule define_taxa:
        input:
            statistics=rules.gather_statistics.output[0],
            library=library_files(SCRIPTS / "define_taxa.py"),
        output:
            "results/taxa/statistical.parquet",
        log:
            "results/logs/define_taxa.log",
        benchmark:
            "results/benchmarks/define_taxa.tsv"
        conda:
            "../../envs/define_taxa.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=lambda wildcards, attempt: 30 * attempt,
        params:
            rules=PLAN.rules(),
        script:
            "../../scripts/define_taxa.py"

# Are ten taxa needed, and enough? The CpGs as the last network sees them.


rule embedding:
    input:
        unpack(lambda wildcards: PLAN.last_network_input(counts_of)),
        beta=PLAN.beta,
        samples=COHORT.samples,
        taxonomy=rules.taxonomy.output.parquet,
        statistics=rules.gather_statistics.output[0],
        shapes=SHAPES,
        library=library_files(SCRIPTS / "embedding.py"),
    output:
        map="results/embedding/map.csv",
        svg="results/embedding/map.svg",
        pdf="results/embedding/map.pdf",
        png=report(
            "results/embedding/map.png",
            caption="../report/embedding.rst",
            category="Taxa",
            labels={"figure": "map as PNG"},
        ),
        separability="results/embedding/separability.csv",
        clusters="results/embedding/clusters.csv",
        summary="results/embedding/summary.json",
        neighbours="results/embedding/neighbours.csv",
    log:
        "results/logs/embedding.log",
    benchmark:
        "results/benchmarks/embedding.tsv"
    conda:
        "../../envs/embedding.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=PLAN.gpus,
    params:
        settings=PLAN.embedding_settings(),
        seed=config["seed"],
    script:
        "../../scripts/embedding.py"

# Where CpGs lie, and which of them change with age.


rule annotation:
    input:
        unpack(or_one_message(PLAN.manifest)),
        beta=COHORT.beta,
        library=library_files(SCRIPTS / "annotation.py"),
    output:
        "results/annotation.parquet",
    log:
        "results/logs/annotation.log",
    benchmark:
        "results/benchmarks/annotation.tsv"
    conda:
        "../../envs/annotation.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        columns=config["annotation"]["columns"],
        lists=config["annotation"]["lists"],
    script:
        "../../scripts/annotation.py"


rule age_ewas:
    input:
        **PLAN.adjusted(),
        **PLAN.annotation(),
        **PLAN.fits(),
        taxonomy=rules.taxonomy.output.parquet,
        statistics=rules.gather_statistics.output[0],
        library=library_files(SCRIPTS / "age_ewas.py"),
    output:
        csv="results/age_ewas.csv.gz",
        summary="results/age_ewas.json",
    log:
        "results/logs/age_ewas.log",
    benchmark:
        "results/benchmarks/age_ewas.tsv"
    conda:
        "../../envs/age_ewas.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    script:
        "../../scripts/age_ewas.py"

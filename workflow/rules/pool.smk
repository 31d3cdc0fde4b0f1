# Cohorts that may not be shared: what of one may leave its house, and what several give together.

if PLAN.pooled:

    rule pool_cohort:
        input:
            unpack(or_one_message(PLAN.summaries)),
            library=library_files(SCRIPTS / "pool_cohort.py"),
        output:
            beta="results/cohort/beta.arrow",
            samples="results/cohort/samples.parquet",
            cpgs="results/cohort/cpgs.parquet",
            qc="results/cohort/qc.json",
            qc_table="results/cohort/qc.csv",
        log:
            "results/logs/pool_cohort.log",
        benchmark:
            "results/benchmarks/pool_cohort.tsv"
        conda:
            "../../envs/pool_cohort.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 3000 * attempt,
            runtime=lambda wildcards, attempt: 120 * attempt,
        params:
            names=list(config["pool"]["summaries"]),
            seed=config["seed"],
        script:
            "../../scripts/pool_cohort.py"

    COHORT = rules.pool_cohort.output


rule summarise:
    """What of a cohort can be pooled elsewhere, where its betas may not be shared?
    Needs: cohort
    Output: results/summary/summary.parquet
    """
    input:
        unpack(or_one_message(PLAN.people)),
        **PLAN.adjusted(),
        beta=PLAN.beta,
        samples=COHORT.samples,
        library=library_files(SCRIPTS / "summarise.py"),
    output:
        terminal="results/summary/summary.txt",
        summary="results/summary/summary.parquet",
        about="results/summary/about.csv",
    log:
        "results/logs/summarise.log",
    benchmark:
        "results/benchmarks/summarise.tsv"
    conda:
        "../../envs/summarise.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        settings=config["summarise"],
    script:
        "../../scripts/summarise.py"

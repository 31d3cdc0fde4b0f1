# From the user's files to one checked, memory-mapped matrix.


if config["simulate_cohort"]:

    rule simulate_cohort:
        input:
            shapes=SHAPES,
            library=library_files(SCRIPTS / "simulate_cohort.py"),
        output:
            beta="results/simulated_cohort/beta.csv.gz",
            samples="results/simulated_cohort/samples.csv",
            truth="results/simulated_cohort/truth.csv",
        log:
            "results/logs/simulate_cohort.log",
        benchmark:
            "results/benchmarks/simulate_cohort.tsv"
        conda:
            "../../envs/simulate_cohort.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=lambda wildcards, attempt: 30 * attempt,
        params:
            settings=config["simulate_cohort"],
            seed=config["seed"],
        script:
            "../../scripts/simulate_cohort.py"


if not PLAN.pooled:

    rule cohort:
        input:
            unpack(or_one_message(PLAN.cohort_input)),
            library=library_files(SCRIPTS / "cohort.py"),
        output:
            beta="results/cohort/beta.arrow",
            samples="results/cohort/samples.parquet",
            cpgs="results/cohort/cpgs.parquet",
            qc="results/cohort/qc.json",
            qc_table="results/cohort/qc.csv",
        log:
            "results/logs/cohort.log",
        benchmark:
            "results/benchmarks/cohort.tsv"
        conda:
            "../../envs/cohort.yaml"
        threads: 2
        resources:
            mem_mb=lambda wildcards, attempt: PLAN.cohort_mem_mb() * attempt,
            runtime=lambda wildcards, attempt: 30 * attempt,
        params:
            settings=PLAN.cohort_settings(),
            states=PLAN.cohort_states,
        script:
            "../../scripts/cohort.py"

    COHORT = rules.cohort.output

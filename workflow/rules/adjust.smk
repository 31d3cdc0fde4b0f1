# Betas without what goes with sex, batch or cell types: made where the config names covariates.


rule cell_fractions:
    """Which cells are in each sample?
    Needs: cohort; of other tissues than blood betas of pure cell types
    Time: 300 CpGs × 150 samples 7 s
    Output: results/cell_fractions.csv
    """
    input:
        unpack(or_one_message(PLAN.people)),
        unpack(or_one_message(PLAN.reference_table)),
        **page_files("cell_fractions"),
        beta=COHORT.beta,
        samples=COHORT.samples,
        library=library_files(SCRIPTS / "cell_fractions.py"),
    output:
        fractions="results/cell_fractions.csv",
        terminal="results/cell_fractions/summary.txt",
        html=report(
            "results/cell_fractions/report.html", caption="../report/cell_fractions.rst", category="Cell fractions"
        ),
        figures=directory("results/cell_fractions/figures"),
    log:
        "results/logs/cell_fractions.log",
    benchmark:
        "results/benchmarks/cell_fractions.tsv"
    conda:
        "../../envs/cell_fractions.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    script:
        "../../scripts/cell_fractions.py"


rule adjust:
    input:
        **PLAN.fractions(),
        beta=COHORT.beta,
        samples=COHORT.samples,
        library=library_files(SCRIPTS / "adjust.py"),
    output:
        beta="results/adjusted/beta.arrow",
        cpgs="results/adjusted/cpgs.parquet",
        summary="results/adjusted/adjusted.json",
    log:
        "results/logs/adjust.log",
    benchmark:
        "results/benchmarks/adjust.tsv"
    conda:
        "../../envs/adjust.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        covariates=PLAN.covariates,
    script:
        "../../scripts/adjust.py"

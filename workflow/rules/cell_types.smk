# Whose cells change: the target cell_types.


rule cell_types:
    """Which cells change with age?
    Needs: cohort; cell fractions, or betas of pure cell types of other tissues than blood
    Output: results/cell_types.csv.gz, results/cell_types/report.html
    """
    input:
        **PLAN.told_fractions(),
        **page_files("cell_types"),
        beta=COHORT.beta,
        samples=COHORT.samples,
        library=library_files(SCRIPTS / "cell_types.py"),
    output:
        terminal="results/cell_types/summary.txt",
        parquet="results/cell_types.parquet",
        csv="results/cell_types.csv.gz",
        types="results/cell_types/types.csv",
        html=report("results/cell_types/report.html", caption="../report/cell_types.rst", category="Cell types"),
        figures=directory("results/cell_types/figures"),
    log:
        "results/logs/cell_types.log",
    benchmark:
        "results/benchmarks/cell_types.tsv"
    conda:
        "../../envs/cell_types.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        columns=config["cell_types"]["fractions"],
        covariates=config["adjust"]["covariates"],
    script:
        "../../scripts/cell_types.py"

# Several cohorts: how far their taxonomies agree, which CpGs moved, and one taxonomy from all of them.

COMPARE = ComparePlan(config)


rule compare:
    """Is it the same in another cohort or stratum?
    Needs: two runs or tables, or more
    Time: two runs of 300 CpGs 10 s
    Output: results/compare/report.html
    """
    input:
        unpack(or_one_message(COMPARE.inputs)),
        **page_files("compare"),
        library=library_files(SCRIPTS / "compare.py"),
    output:
        terminal="results/compare/summary.txt",
        html=report("results/compare/report.html", caption="../report/compare.rst", category="Cohorts compared"),
        summary="results/compare/summary.csv",
        contingency="results/compare/contingency.csv",
        agreement="results/compare/agreement.csv",
        moved="results/compare/moved.parquet",
        moved_csv="results/compare/moved.csv.gz",
        taxonomy="results/compare/taxonomy.parquet",
        taxonomy_csv="results/compare/taxonomy.csv.gz",
        figures=report(
            directory("results/compare/figures"),
            patterns=["{figure}.svg"],
            caption="../report/companion_figures.rst",
            category="Cohorts compared",
            labels=figure_label,
        ),
    log:
        "results/logs/compare.log",
    benchmark:
        "results/benchmarks/compare.tsv"
    conda:
        "../../envs/compare.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        files=lambda wildcards: COMPARE.files(),
        settings=COMPARE.settings(),
        seed=config["seed"],
    script:
        "../../scripts/compare.py"

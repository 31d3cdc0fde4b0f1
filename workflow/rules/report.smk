# What a person looks at.


rule report:
    input:
        unpack(given(**PLAN.optional("cohort", "truth"))),
        unpack(lambda wildcards: PLAN.report_input(counts_of)),
        **PLAN.adjusted(),
        **PLAN.cell_types(),
        **page_files("report"),
        taxonomy="results/taxonomy.parquet",
        unclassified="results/unclassified.parquet",
        patterns=rules.gather_patterns.output.parquet,
        ewas=rules.age_ewas.output.csv,
        ewas_summary=rules.age_ewas.output.summary,
        labels="results/taxa/statistical.parquet",
        statistics=rules.gather_statistics.output[0],
        beta=PLAN.beta,
        samples=COHORT.samples,
        cpgs=COHORT.cpgs,
        qc=COHORT.qc,
        map=rules.embedding.output.map,
        map_drawn=rules.embedding.output.svg,
        map_pdf=rules.embedding.output.pdf,
        separability=rules.embedding.output.separability,
        clusters=rules.embedding.output.clusters,
        embedding=rules.embedding.output.summary,
        library=library_files(SCRIPTS / "report.py"),
    output:
        html=report("results/report.html", caption="../report/report.rst", category="Report"),
        summary="results/summary.txt",
        counts=report(
            "results/report/counts.csv", caption="../report/counts.rst", category="Taxa", labels=table("counts")
        ),
        agreement=report(
            "results/report/agreement.csv",
            caption="../report/agreement.rst",
            category="Truth",
            labels=table("agreement"),
        ),
        thresholds=report(
            "results/report/thresholds.csv",
            caption="../report/thresholds.rst",
            category="Thresholds",
            labels=table("thresholds"),
        ),
        left=report("results/report/left.csv", caption="../report/left.rst", category="Taxa", labels=table("left")),
        selection=report(
            "results/report/selection.csv",
            caption="../report/selection.rst",
            category="Thresholds",
            labels=table("selection"),
        ),
        rounds=report(
            "results/report/rounds.csv", caption="../report/rounds.rst", category="Rounds", labels=table("rounds")
        ),
        test_scores=report(
            "results/report/tests.csv", caption="../report/tests.rst", category="Tests", labels=table("tests")
        ),
        gallery=report(
            "results/report/gallery.csv", caption="../report/gallery.rst", category="Taxa", labels=table("gallery")
        ),
        figures=report(
            directory("results/report/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figures.rst",
            category=section_of_figure,
            labels=figure_label,
        ),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        config=PLAN.report_config(),
    script:
        "../../scripts/report.py"

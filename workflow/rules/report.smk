# What a person looks at.


rule report:
    input:
        unpack(given(**PLAN.optional("cohort", "truth"))),
        unpack(lambda wildcards: PLAN.report_input(counts_of)),
        **PLAN.adjusted(),
        **page_files("report"),
        taxonomy="results/taxonomy.parquet",
        labels="results/taxa/statistical.parquet",
        statistics=rules.gather_statistics.output[0],
        beta=PLAN.beta,
        samples=rules.cohort.output.samples,
        qc=rules.cohort.output.qc,
        map=rules.embedding.output.map,
        map_drawn=rules.embedding.output.svg,
        separability=rules.embedding.output.separability,
        clusters=rules.embedding.output.clusters,
        embedding=rules.embedding.output.summary,
        library=library_files(SCRIPTS / "report.py"),
    output:
        html=report("results/report.html", caption="../report/report.rst", category="Report"),
        summary="results/summary.txt",
        counts=report("results/report/counts.csv", caption="../report/counts.rst", category="Taxonomy"),
        agreement="results/report/agreement.csv",
        figures=directory("results/report/figures"),
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

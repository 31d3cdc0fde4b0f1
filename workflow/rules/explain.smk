# Why a CpG has its taxon.


rule explain:
    """Why has this CpG its taxon?
    Needs: main job, up to 100 CpGs
    Time: 10 CpGs × 150 samples 82 s
    Output: results/explain/explain.html
    """
    input:
        unpack(or_one_message(lambda: PLAN.explain_input(counts_of))),
        **page_files("explain"),
        taxonomy="results/taxonomy.parquet",
        unclassified="results/unclassified.parquet",
        labels="results/taxa/statistical.parquet",
        statistics=rules.gather_statistics.output[0],
        beta=PLAN.beta,
        samples=COHORT.samples,
        library=library_files(SCRIPTS / "explain.py"),
    output:
        terminal="results/explain/summary.txt",
        html=report("results/explain/explain.html", caption="../report/explain.rst", category="Explanations"),
        csv="results/explain/explain.csv",
        figures=directory("results/explain/figures"),
    log:
        "results/logs/explain.log",
    benchmark:
        "results/benchmarks/explain.tsv"
    conda:
        "../../envs/explain.yaml"
    threads: workflow.cores
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        gpu=PLAN.gpus,
    params:
        settings=lambda wildcards: PLAN.explain_settings(),
    script:
        "../../scripts/explain.py"

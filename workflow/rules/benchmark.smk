# How fast each stage is on this machine, beside its peers.


rule benchmark:
    """How fast is it here?
    Needs: nothing
    Time: a quarter of an hour
    Output: results/benchmark/report.html
    """
    input:
        **page_files("benchmark"),
        library=library_files(SCRIPTS / "benchmark.py"),
    output:
        terminal="results/benchmark/summary.txt",
        table="results/benchmark/benchmark.csv",
        html="results/benchmark/report.html",
        figures=directory("results/benchmark/figures"),
        plot=report("results/benchmark/benchmark.png", caption="../report/benchmark.rst", category="Benchmark"),
    log:
        "results/logs/benchmark.log",
    benchmark:
        "results/benchmarks/benchmark.tsv"
    conda:
        "../../envs/benchmark.yaml"
    threads: workflow.cores
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        gpu=PLAN.gpus,
    params:
        settings=config["benchmark"] | {"cohort": PLAN.cohort_settings()},
        scratch="results/benchmark/scratch",
    script:
        "../../scripts/benchmark.py"

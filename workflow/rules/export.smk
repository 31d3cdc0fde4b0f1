# The results in other people's formats.


rule export:
    """How do other programs read the results?
    Needs: main job
    Time: 300 CpGs × 150 samples 6 s
    Output: results/export/taxonomy.h5ad, results/export/read_results.R
    """
    input:
        unpack(or_one_message(PLAN.export_input)),
        taxonomy="results/taxonomy.parquet",
        unclassified="results/unclassified.parquet",
        statistics=rules.gather_statistics.output[0],
        patterns=rules.gather_patterns.output.parquet,
        samples=COHORT.samples,
        template=local(TEMPLATES / "read_results.R"),
        library=library_files(SCRIPTS / "export.py"),
    output:
        **PLAN.export_files(),
        terminal="results/export/summary.txt",
    log:
        "results/logs/export.log",
    benchmark:
        "results/benchmarks/export.tsv"
    conda:
        "../../envs/export.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=PLAN.export_settings(),
        seed=config["seed"],
    script:
        "../../scripts/export.py"

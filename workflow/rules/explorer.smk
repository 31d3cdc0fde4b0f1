# A page in which to look at every CpG.


rule explorer:
    """What does any CpG look like?
    Needs: main job, of which it is a part
    Time: whole array × 3,500 samples 1 min
    Output: results/explorer.html
    """
    input:
        **PLAN.annotation(),
        **PLAN.cell_types(),
        **page_files("explorer"),
        code=local(TEMPLATES / "explorer.js"),
        taxonomy=rules.taxonomy.output.parquet,
        unclassified="results/unclassified.parquet",
        statistics=rules.gather_statistics.output[0],
        patterns=rules.gather_patterns.output.parquet,
        beta=PLAN.beta,
        samples=COHORT.samples,
        map=rules.embedding.output.map,
        neighbours=rules.embedding.output.neighbours,
        library=library_files(SCRIPTS / "explorer.py"),
    output:
        **explorer_folder(),
        html=report("results/explorer.html", caption="../report/explorer.rst", category="Explorer"),
    log:
        "results/logs/explorer.log",
    benchmark:
        "results/benchmarks/explorer.tsv"
    conda:
        "../../envs/explorer.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=PLAN.explorer_settings(),
        rules=PLAN.rules(),
        seed=config["seed"],
    script:
        "../../scripts/explorer.py"

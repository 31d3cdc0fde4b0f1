# A methylation clock of the cohort itself: the target methylation_age, which `ecg_age.methylation` may name.


rule methylation_age:
    """What age does the cohort's own clock predict?
    Needs: cohort
    Time: 418 CpGs × 656 samples 11 s
    Output: results/methylation_age.csv
    """
    input:
        unpack(or_one_message(PLAN.people)),
        **page_files("methylation_age"),
        beta=COHORT.beta,
        samples=COHORT.samples,
        library=library_files(SCRIPTS / "methylation_age.py"),
    output:
        ages="results/methylation_age.csv",
        terminal="results/methylation_age/summary.txt",
        weights="results/methylation_age/weights.csv",
        html=report(
            "results/methylation_age/report.html", caption="../report/methylation_age.rst", category="Methylation age"
        ),
        figures=directory("results/methylation_age/figures"),
    log:
        "results/logs/methylation_age.log",
    benchmark:
        "results/benchmarks/methylation_age.tsv"
    conda:
        "../../envs/methylation_age.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        settings=config["methylation_age"],
        seed=config["seed"],
    script:
        "../../scripts/methylation_age.py"

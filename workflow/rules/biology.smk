# Known biology as a check, and scores of samples.

BIOLOGY = BiologyPlan(config, HOME / "resources", local)


rule enrichment:
    """In which taxa are known CpGs over-represented?
    Needs: a taxonomy
    Time: with `scores` 418 CpGs × 656 samples 1 min
    Output: results/enrichment/report.html
    """
    input:
        unpack(or_one_message(BIOLOGY.enrichment_input)),
        **page_files("enrichment"),
        library=library_files(SCRIPTS / "enrichment.py"),
    output:
        terminal="results/enrichment/summary.txt",
        enrichment="results/enrichment/enrichment.csv",
        overlaps="results/enrichment/overlaps.csv",
        signs="results/enrichment/signs.csv",
        summary="results/enrichment/summary.csv",
        anatomy="results/enrichment/anatomy.csv",
        gaps="results/enrichment/gaps.csv",
        html=report("results/enrichment/report.html", caption="../report/enrichment.rst", category="Known biology"),
        figures=report(
            directory("results/enrichment/figures"),
            patterns=["{figure}.svg"],
            caption="../report/companion_figures.rst",
            category="Known biology",
            labels=figure_label,
        ),
    log:
        "results/logs/enrichment.log",
    benchmark:
        "results/benchmarks/enrichment.tsv"
    conda:
        "../../envs/enrichment.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=BIOLOGY.enrichment_settings(),
    script:
        "../../scripts/enrichment.py"


rule scores:
    """How noisy, how old is each sample?
    Needs: cohort, taxonomy
    Time: 300 CpGs × 150 samples 16 s
    Output: results/scores/scores.csv
    """
    input:
        unpack(or_one_message(PLAN.people)),
        unpack(or_one_message(BIOLOGY.scores_input)),
        **page_files("scores"),
        beta=COHORT.beta,
        samples=COHORT.samples,
        library=library_files(SCRIPTS / "scores.py"),
    output:
        terminal="results/scores/summary.txt",
        scores="results/scores/scores.csv",
        summary="results/scores/summary.csv",
        reference="results/scores/reference.csv.gz",
        html=report("results/scores/report.html", caption="../report/scores.rst", category="Scores of samples"),
        figures=report(
            directory("results/scores/figures"),
            patterns=["{figure}.svg"],
            caption="../report/companion_figures.rst",
            category="Scores of samples",
            labels=figure_label,
        ),
    log:
        "results/logs/scores.log",
    benchmark:
        "results/benchmarks/scores.tsv"
    conda:
        "../../envs/scores.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=BIOLOGY.scores_settings(),
    script:
        "../../scripts/scores.py"

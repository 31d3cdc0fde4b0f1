# How many people, of what ages: a planner that needs no cohort.


rule power:
    """How many people, of what ages, show this effect?
    Needs: nothing
    Time: 15 s on one core
    Output: results/power/report.html
    """
    input:
        **page_files("power"),
        **PLAN.power_input(),
        shapes=SHAPES,
        library=library_files(SCRIPTS / "power.py"),
    output:
        terminal="results/power/summary.txt",
        power="results/power/power.csv",
        people="results/power/people.csv",
        html=report("results/power/report.html", caption="../report/power.rst", category="Power"),
        figures=directory("results/power/figures"),
    log:
        "results/logs/power.log",
    benchmark:
        "results/benchmarks/power.tsv"
    conda:
        "../../envs/power.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=PLAN.gpus,
    params:
        settings=config["power"],
        seed=config["seed"],
        rules=PLAN.rules(),
        device=PLAN.device_settings(),
    script:
        "../../scripts/power.py"

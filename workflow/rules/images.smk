# Which images teach, and the images themselves.


rule simulate_training:
    input:
        **PLAN.labels_first(),
        samples=COHORT.samples,
        shapes=SHAPES,
        library=library_files(SCRIPTS / "simulate_training.py"),
    output:
        **png_folder("results/simulated"),
        images="results/simulated/images.arrow",
        info="results/simulated/info.parquet",
    log:
        "results/logs/simulate_training.log",
    benchmark:
        "results/benchmarks/simulate_training.tsv"
    conda:
        "../../envs/simulate_training.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=PLAN.simulation_settings(),
        tests_alone=PLAN.simulation_settings(trains=False),
        size=config["images"]["size"],
        seed=config["seed"],
    script:
        "../../scripts/simulate_training.py"


if PLAN.own_images:

    rule use_images:
        input:
            unpack(given(**{part: f"images.info.{part}" for part in parts(0)})),
            library=library_files(SCRIPTS / "use_images.py"),
        output:
            **parts(0),
            images="results/round_0/images.arrow",
        log:
            "results/logs/use_images.log",
        benchmark:
            "results/benchmarks/use_images.tsv"
        conda:
            "../../envs/use_images.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=lambda wildcards, attempt: 30 * attempt,
        params:
            root=lambda wildcards: config["images"]["root"],
            size=config["images"]["size"],
        script:
            "../../scripts/use_images.py"

else:

    rule split:
        input:
            **PLAN.simulated(),
            labels="results/taxa/statistical.parquet",
            library=library_files(SCRIPTS / "split.py"),
        output:
            **parts(0),
        log:
            "results/logs/split.log",
        benchmark:
            "results/benchmarks/split.tsv"
        conda:
            "../../envs/split.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=lambda wildcards, attempt: 30 * attempt,
        params:
            settings=PLAN.split_settings(),
            seed=config["seed"],
        script:
            "../../scripts/split.py"


rule enlarge:
    input:
        unpack(PLAN.parts_before),
        reassigned=PLAN.placed_last,
        library=library_files(SCRIPTS / "enlarge.py"),
    output:
        **parts("{round}"),
    log:
        "results/logs/enlarge_{round}.log",
    benchmark:
        "results/benchmarks/enlarge_{round}.tsv"
    wildcard_constraints:
        round="[1-9][0-9]*",
    conda:
        "../../envs/enlarge.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=PLAN.enlarge_settings(),
        seed=config["seed"],
    script:
        "../../scripts/enlarge.py"


rule render:
    input:
        unpack(PLAN.parts_now),
        beta=PLAN.beta,
        samples=COHORT.samples,
        library=library_files(SCRIPTS / "render.py"),
    output:
        **png_folder("results/round_{round}"),
        images="results/round_{round}/images.arrow",
    log:
        "results/logs/render_{round}.log",
    benchmark:
        "results/benchmarks/render_{round}.tsv"
    wildcard_constraints:
        round=PLAN.rendered_rounds,
    conda:
        "../../envs/render.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        size=config["images"]["size"],
    script:
        "../../scripts/render.py"

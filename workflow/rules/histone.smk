# Expression, high or low, from histone marks around a gene's start.

try:
    HISTONE = HistonePlan(config)
except InputError as error:
    raise WorkflowError(error.text())


wildcard_constraints:
    cell=CELL_NAME,
    unit=CELL_NAME,
    network="|".join(NETWORKS),


rule simulate_histone:
    input:
        library=library_files(SCRIPTS / "simulate_histone.py"),
    output:
        **HISTONE.simulated_files(),
        truth="results/histone/simulated/truth.csv",
        planted="results/histone/simulated/planted.csv",
    log:
        "results/logs/simulate_histone.log",
    benchmark:
        "results/benchmarks/simulate_histone.tsv"
    conda:
        "../../envs/simulate_histone.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=config["histone"]["simulate"],
        seed=config["seed"],
    script:
        "../../scripts/simulate_histone.py"


rule histone_input:
    input:
        unpack(or_one_message(HISTONE.input_files, "cell")),
        library=library_files(SCRIPTS / "histone_input.py"),
    output:
        cell="results/histone/input/{cell}.arrow",
        qc="results/histone/input/{cell}.json",
    log:
        "results/logs/histone_input_{cell}.log",
    benchmark:
        "results/benchmarks/histone_input_{cell}.tsv"
    conda:
        "../../envs/histone_input.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=or_one_message(HISTONE.input_settings, "cell"),
    script:
        "../../scripts/histone_input.py"


rule histone_fit:
    input:
        cells=or_one_message(HISTONE.checked, "unit"),
        library=library_files(SCRIPTS / "histone_fit.py"),
    output:
        **HISTONE.debug_output(directory),
        weights=f"{HISTONE.save_dir}/{{unit}}/{{network}}_model.pt",
        log=f"{HISTONE.save_dir}/{{unit}}/{{network}}_log.csv",
        predictions="results/histone/predictions/{unit}/{network}.parquet",
    log:
        "results/logs/histone_fit_{unit}_{network}.log",
    benchmark:
        "results/benchmarks/histone_fit_{unit}_{network}.tsv"
    conda:
        "../../envs/histone_fit.yaml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 720 * attempt,
        gpu=HISTONE.gpus,
    params:
        settings=HISTONE.fit_settings(),
        seed=config["seed"],
        work=lambda wildcards: f"results/histone/.checkpoints/{wildcards.unit}_{wildcards.network}",
    script:
        "../../scripts/histone_fit.py"


rule histone_peers:
    input:
        cells=or_one_message(HISTONE.checked, "unit"),
        library=library_files(SCRIPTS / "histone_peers.py"),
    output:
        "results/histone/predictions/{unit}/{peer}.parquet",
    log:
        "results/logs/histone_peers_{unit}_{peer}.log",
    benchmark:
        "results/benchmarks/histone_peers_{unit}_{peer}.tsv"
    wildcard_constraints:
        peer="|".join(PEERS),
    conda:
        "../../envs/histone_peers.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        most=config["histone"]["peer_rows"],
        seed=config["seed"],
    script:
        "../../scripts/histone_peers.py"


rule histone_occlusion:
    input:
        cells=or_one_message(HISTONE.checked, "unit"),
        weights=f"{HISTONE.save_dir}/{{unit}}/{{network}}_model.pt",
        library=library_files(SCRIPTS / "histone_occlusion.py"),
    output:
        "results/histone/occlusion/{unit}/{network}.parquet",
    log:
        "results/logs/histone_occlusion_{unit}_{network}.log",
    benchmark:
        "results/benchmarks/histone_occlusion_{unit}_{network}.tsv"
    conda:
        "../../envs/histone_occlusion.yaml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
        gpu=HISTONE.gpus,
    params:
        settings=HISTONE.occlusion_settings(),
        seed=config["seed"],
    script:
        "../../scripts/histone_occlusion.py"


rule histone:
    """Is expression predictable from histone marks?
    Needs: DeepChrome's files, or nothing (simulated)
    Time: simulated 4 min on one core
    Output: results/histone/report.html
    """
    input:
        unpack(or_one_message(HISTONE.page_files)),
        **page_files("histone"),
        library=library_files(SCRIPTS / "histone.py"),
    output:
        **HISTONE.published_tables(),
        **HISTONE.beside_table(),
        terminal="results/histone/summary.txt",
        summary="results/histone/summary.csv",
        html=report("results/histone/report.html", caption="../report/histone.rst", category="Histone marks"),
        cells="results/histone/cells.csv",
        comparisons="results/histone/comparisons.csv",
        occlusion="results/histone/occlusion.csv",
        figures=report(
            directory("results/histone/figures"),
            patterns=["{figure}.svg"],
            caption="../report/companion_figures.rst",
            category="Histone marks",
            labels=figure_label,
        ),
    log:
        "results/logs/histone.log",
    benchmark:
        "results/benchmarks/histone.tsv"
    conda:
        "../../envs/histone.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=HISTONE.page_settings(),
        seed=config["seed"],
    script:
        "../../scripts/histone.py"

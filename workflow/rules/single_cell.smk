# Methylation of single cells from sequence and neighbours.

try:
    CELLS = SingleCellPlan(config)
except InputError as error:
    raise WorkflowError(error.text())


wildcard_constraints:
    part="dna|cpg|joint",


rule simulate_single_cell:
    input:
        library=library_files(SCRIPTS / "simulate_single_cell.py"),
    output:
        **SIMULATED_CELLS,
        profiles=CELLS.simulated_profiles(),
    log:
        "results/logs/simulate_single_cell.log",
    benchmark:
        "results/benchmarks/simulate_single_cell.tsv"
    conda:
        "../../envs/simulate_single_cell.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=config["single_cell"]["simulate"],
        seed=config["seed"],
    script:
        "../../scripts/simulate_single_cell.py"


rule single_cell_sites:
    input:
        unpack(or_one_message(CELLS.sites_input)),
        library=library_files(SCRIPTS / "single_cell_sites.py"),
    output:
        sites="results/single_cell/input/sites.arrow",
        statistics="results/single_cell/statistics.parquet",
        cells="results/single_cell/cells.csv",
        annotations="results/single_cell/input/annotations.parquet",
        qc="results/single_cell/qc.json",
    log:
        "results/logs/single_cell_sites.log",
    benchmark:
        "results/benchmarks/single_cell_sites.tsv"
    conda:
        "../../envs/single_cell_sites.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        settings=CELLS.sites_settings(),
        names=CELLS.names,
        states=CELLS.states,
    script:
        "../../scripts/single_cell_sites.py"


rule single_cell_windows:
    input:
        unpack(or_one_message(CELLS.genome_file)),
        sites=rules.single_cell_sites.output.sites,
        library=library_files(SCRIPTS / "single_cell_windows.py"),
    output:
        "results/single_cell/input/windows/{shard}-of-{shards}.arrow",
    log:
        "results/logs/single_cell_windows_{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/single_cell_windows_{shard}-of-{shards}.tsv"
    conda:
        "../../envs/single_cell_windows.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        settings=CELLS.window_settings(),
    script:
        "../../scripts/single_cell_windows.py"


rule single_cell_train:
    input:
        unpack(CELLS.parts_before),
        windows=CELLS.window_files(),
        sites=rules.single_cell_sites.output.sites,
        library=library_files(SCRIPTS / "single_cell_train.py"),
    output:
        weights="results/single_cell/models/{part}.pt",
        card="results/single_cell/models/{part}.json",
        log="results/single_cell/models/{part}_training_log.csv",
    log:
        "results/logs/single_cell_train_{part}.log",
    benchmark:
        "results/benchmarks/single_cell_train_{part}.tsv"
    conda:
        "../../envs/single_cell_train.yaml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 1440 * attempt,
        gpu=CELLS.gpus,
    params:
        settings=CELLS.training_settings,
        seed=config["seed"],
        work=lambda wildcards: f"results/single_cell/models/.checkpoints_{wildcards.part}",
    script:
        "../../scripts/single_cell_train.py"


rule single_cell_predict:
    input:
        windows=CELLS.window_files(),
        sites=rules.single_cell_sites.output.sites,
        weights="results/single_cell/models/{part}.pt",
        card="results/single_cell/models/{part}.json",
        library=library_files(SCRIPTS / "single_cell_predict.py"),
    output:
        "results/single_cell/predictions/{part}.parquet",
    log:
        "results/logs/single_cell_predict_{part}.log",
    benchmark:
        "results/benchmarks/single_cell_predict_{part}.tsv"
    conda:
        "../../envs/single_cell_predict.yaml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
        gpu=CELLS.gpus,
    params:
        settings=CELLS.device(),
    script:
        "../../scripts/single_cell_predict.py"


rule single_cell_peers:
    input:
        sites=rules.single_cell_sites.output.sites,
        windows=CELLS.window_files(),
        library=library_files(SCRIPTS / "single_cell_peers.py"),
    output:
        "results/single_cell/predictions/{peer}.parquet",
    log:
        "results/logs/single_cell_peers_{peer}.log",
    benchmark:
        "results/benchmarks/single_cell_peers_{peer}.tsv"
    wildcard_constraints:
        peer="window_mean|random_forest",
    conda:
        "../../envs/single_cell_peers.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
    params:
        settings=CELLS.peer_settings,
        seed=config["seed"],
    script:
        "../../scripts/single_cell_peers.py"


rule single_cell_reading:
    input:
        unpack(or_one_message(CELLS.variants_file)),
        unpack(or_one_message(CELLS.genome_file)),
        windows=CELLS.window_files(),
        sites=rules.single_cell_sites.output.sites,
        weights=f"results/single_cell/models/{CELLS.reader()}.pt",
        card=f"results/single_cell/models/{CELLS.reader()}.json",
        library=library_files(SCRIPTS / "single_cell_reading.py"),
    output:
        directory("results/single_cell/reading"),
    log:
        "results/logs/single_cell_reading.log",
    benchmark:
        "results/benchmarks/single_cell_reading.tsv"
    conda:
        "../../envs/single_cell_reading.yaml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        gpu=CELLS.gpus,
    params:
        settings=CELLS.reading_settings(),
        seed=config["seed"],
    script:
        "../../scripts/single_cell_reading.py"


rule single_cell_taxa:
    input:
        unpack(or_one_message(CELLS.taxa_input)),
        library=library_files(SCRIPTS / "single_cell_taxa.py"),
    output:
        directory("results/single_cell/taxa"),
    log:
        "results/logs/single_cell_taxa.log",
    benchmark:
        "results/benchmarks/single_cell_taxa.tsv"
    conda:
        "../../envs/single_cell_taxa.yaml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
        gpu=CELLS.gpus,
    params:
        settings=CELLS.taxa_settings(),
        seed=config["seed"],
        work="results/single_cell/.checkpoints_taxa",
    script:
        "../../scripts/single_cell_taxa.py"


rule single_cell:
    """What are the unobserved CpGs of single cells?
    Needs: profiles and genome, or nothing (simulated)
    Time: simulated 13 min on one core
    Output: results/single_cell/report.html
    """
    input:
        **CELLS.report_input(),
        **CELLS.predictions(),
        **page_files("single_cell"),
        networks=CELLS.network_files(),
        sites=rules.single_cell_sites.output.sites,
        statistics=rules.single_cell_sites.output.statistics,
        cells=rules.single_cell_sites.output.cells,
        annotations=rules.single_cell_sites.output.annotations,
        qc=rules.single_cell_sites.output.qc,
        library=library_files(SCRIPTS / "single_cell.py"),
    output:
        terminal="results/single_cell/summary.txt",
        summary="results/single_cell/summary.csv",
        html=report("results/single_cell/report.html", caption="../report/single_cell.rst", category="Single cells"),
        scores="results/single_cell/scores.csv",
        comparisons="results/single_cell/comparisons.csv",
        imputed=directory("results/single_cell/imputed"),
        figures=report(
            directory("results/single_cell/figures"),
            patterns=["{figure}.svg"],
            caption="../report/companion_figures.rst",
            category="Single cells",
            labels=figure_label,
        ),
    log:
        "results/logs/single_cell.log",
    benchmark:
        "results/benchmarks/single_cell.tsv"
    conda:
        "../../envs/single_cell.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        settings=CELLS.page_settings(),
        seed=config["seed"],
    script:
        "../../scripts/single_cell.py"

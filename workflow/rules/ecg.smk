# Age from a 12-lead ECG.

try:
    ECG = EcgPlan(config)
except InputError as error:
    raise WorkflowError(error.text())


wildcard_constraints:
    group="adult|child",
    ecg_network="|".join(ECG_NETWORKS),
    ecg_peer="|".join(ECG_PEERS),
    tenth=r"\d",
    ecg_part="input|asked",


rule simulate_ecg:
    input:
        library=library_files(SCRIPTS / "simulate_ecg.py"),
    output:
        **ECG.simulated_files(),
        records=directory(ECG.simulated_records),
    log:
        "results/logs/simulate_ecg.log",
    benchmark:
        "results/benchmarks/simulate_ecg.tsv"
    conda:
        "../../envs/simulate_ecg.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=config["ecg_age"]["simulate"],
        seed=config["seed"],
    script:
        "../../scripts/simulate_ecg.py"


rule ecg_input:
    input:
        unpack(or_one_message(ECG.input_files, "ecg_part")),
        library=library_files(SCRIPTS / "ecg_input.py"),
    output:
        signals="results/ecg_age/{ecg_part}/signals.npy",
        leads="results/ecg_age/{ecg_part}/leads.npy",
        records="results/ecg_age/{ecg_part}/records.parquet",
        left_out="results/ecg_age/{ecg_part}/left_out.csv",
        qc="results/ecg_age/{ecg_part}/qc.json",
    log:
        "results/logs/ecg_input_{ecg_part}.log",
    benchmark:
        "results/benchmarks/ecg_input_{ecg_part}.tsv"
    conda:
        "../../envs/ecg_input.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        settings=or_one_message(ECG.input_settings, "ecg_part"),
        seed=config["seed"],
    script:
        "../../scripts/ecg_input.py"


rule ecg_fit:
    input:
        signals="results/ecg_age/input/signals.npy",
        records="results/ecg_age/input/records.parquet",
        library=library_files(SCRIPTS / "ecg_fit.py"),
    output:
        weights=f"{ECG.save_dir}/{{group}}/{{ecg_network}}_{{tenth}}.pt",
        log=f"{ECG.save_dir}/{{group}}/{{ecg_network}}_{{tenth}}_log.csv",
        predictions="results/ecg_age/predictions/{group}/{ecg_network}_{tenth}.parquet",
    log:
        "results/logs/ecg_fit_{group}_{ecg_network}_{tenth}.log",
    benchmark:
        "results/benchmarks/ecg_fit_{group}_{ecg_network}_{tenth}.tsv"
    conda:
        "../../envs/ecg_fit.yaml"
    threads: ECG.training["threads"]
    resources:
        mem_mb=ECG.memory,
        runtime=lambda wildcards, attempt: 1440 * attempt,
        gpu=ECG.gpus,
    params:
        settings=ECG.fit_settings(),
        seed=config["seed"],
        work=lambda wildcards: f"results/ecg_age/.checkpoints/{wildcards.group}_{wildcards.tenth}",
    script:
        "../../scripts/ecg_fit.py"


rule ecg_predict:
    input:
        unpack(or_one_message(ECG.predict_input, "group")),
        signals="results/ecg_age/asked/signals.npy",
        records="results/ecg_age/asked/records.parquet",
        library=library_files(SCRIPTS / "ecg_predict.py"),
    output:
        "results/ecg_age/predictions/{group}/asked.parquet",
    log:
        "results/logs/ecg_predict_{group}.log",
    benchmark:
        "results/benchmarks/ecg_predict_{group}.tsv"
    conda:
        "../../envs/ecg_predict.yaml"
    threads: ECG.training["threads"]
    resources:
        mem_mb=ECG.memory,
        runtime=lambda wildcards, attempt: 240 * attempt,
        gpu=ECG.gpus,
    params:
        name=lambda wildcards: ECG.networks[wildcards.group],
        settings=ECG.predict_settings(),
    script:
        "../../scripts/ecg_predict.py"


rule ecg_published:
    input:
        unpack(or_one_message(ECG.published_input)),
        records="results/ecg_age/input/records.parquet",
        asked="results/ecg_age/asked/records.parquet",
        library=library_files(SCRIPTS / "ecg_published.py"),
    output:
        ages="results/ecg_age/published_ages.csv",
        scores="results/ecg_age/published.csv",
    log:
        "results/logs/ecg_published.log",
    benchmark:
        "results/benchmarks/ecg_published.tsv"
    conda:
        "../../envs/ecg_published.yaml"
    threads: ECG.training["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=ECG.gpus,
    params:
        settings=ECG.published_settings(),
        seed=config["seed"],
    script:
        "../../scripts/ecg_published.py"


rule ecg_features:
    input:
        leads="results/ecg_age/input/leads.npy",
        records="results/ecg_age/input/records.parquet",
        library=library_files(SCRIPTS / "ecg_features.py"),
    output:
        "results/ecg_age/features/{shard}-of-{shards}.parquet",
    log:
        "results/logs/ecg_features_{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/ecg_features_{shard}-of-{shards}.tsv"
    conda:
        "../../envs/ecg_features.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    script:
        "../../scripts/ecg_features.py"


rule ecg_peers:
    input:
        features=ECG.features(),
        records="results/ecg_age/input/records.parquet",
        library=library_files(SCRIPTS / "ecg_peers.py"),
    output:
        "results/ecg_age/predictions/{group}/{ecg_peer}.parquet",
    log:
        "results/logs/ecg_peers_{group}_{ecg_peer}.log",
    benchmark:
        "results/benchmarks/ecg_peers_{group}_{ecg_peer}.tsv"
    conda:
        "../../envs/ecg_peers.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        folds=config["ecg_age"]["held_out"],
        seed=config["seed"],
    script:
        "../../scripts/ecg_peers.py"


rule ecg_methylation:
    input:
        methylation=or_one_message(ECG.methylation_file),
        records="results/ecg_age/input/records.parquet",
        library=library_files(SCRIPTS / "ecg_methylation.py"),
    output:
        "results/ecg_age/input/methylation.parquet",
    log:
        "results/logs/ecg_methylation.log",
    benchmark:
        "results/benchmarks/ecg_methylation.tsv"
    # What is wrong with the table is reported first, not when all is trained.
    priority: 10
    conda:
        "../../envs/ecg_methylation.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    script:
        "../../scripts/ecg_methylation.py"


rule ecg_reading:
    input:
        unpack(or_one_message(ECG.reading_input, "group")),
        signals="results/ecg_age/input/signals.npy",
        records="results/ecg_age/input/records.parquet",
        library=library_files(SCRIPTS / "ecg_reading.py"),
    output:
        "results/ecg_age/reading/{group}.npz",
    log:
        "results/logs/ecg_reading_{group}.log",
    benchmark:
        "results/benchmarks/ecg_reading_{group}.tsv"
    conda:
        "../../envs/ecg_reading.yaml"
    threads: ECG.training["threads"]
    resources:
        mem_mb=ECG.memory,
        runtime=lambda wildcards, attempt: 240 * attempt,
        gpu=ECG.gpus,
    params:
        name=lambda wildcards: ECG.networks[wildcards.group],
        settings=ECG.reading_settings(),
        seed=config["seed"],
    script:
        "../../scripts/ecg_reading.py"


rule ecg_page:
    input:
        unpack(or_one_message(ECG.page_files)),
        **page_files("ecg_age"),
        records="results/ecg_age/input/records.parquet",
        leads="results/ecg_age/input/leads.npy",
        qc="results/ecg_age/input/qc.json",
        library=library_files(SCRIPTS / "ecg_page.py"),
    output:
        **ECG.joined_file(),
        terminal="results/ecg_age/summary.txt",
        summary="results/ecg_age/summary.csv",
        html=report("results/ecg_age/report.html", caption="../report/ecg_age.rst", category="Age from an ECG"),
        submission="results/ecg_age/submission.csv",
        left_out="results/ecg_age/left_out.csv",
        gaps="results/ecg_age/gaps.csv",
        comparisons="results/ecg_age/comparisons.csv",
        attributions="results/ecg_age/attributions.csv",
        figures=report(
            directory("results/ecg_age/figures"),
            patterns=["{figure}.svg"],
            caption="../report/companion_figures.rst",
            category="Age from an ECG",
            labels=figure_label,
        ),
    log:
        "results/logs/ecg_page.log",
    benchmark:
        "results/benchmarks/ecg_page.tsv"
    conda:
        "../../envs/ecg_page.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=ECG.page_settings(),
        seed=config["seed"],
    script:
        "../../scripts/ecg_page.py"


# Last, so that records that could not be read stop nothing, and are still reported.
rule ecg_complete:
    input:
        html=rules.ecg_page.output.html,
        left_out=[f"results/ecg_age/{part}/left_out.csv" for part in ECG.parts],
        library=library_files(SCRIPTS / "ecg_complete.py"),
    output:
        "results/ecg_age/complete.txt",
    log:
        "results/logs/ecg_complete.log",
    benchmark:
        "results/benchmarks/ecg_complete.tsv"
    conda:
        "../../envs/ecg_complete.yaml"
    threads: 1
    resources:
        mem_mb=200,
        runtime=5,
    params:
        left_out=config["ecg_age"]["left_out"],
    script:
        "../../scripts/ecg_complete.py"

# Rounds: predict what is left, place what is certain, learn from more; then the taxonomy.


rule predict:
    input:
        unpack(PLAN.prediction_input),
        beta=PLAN.beta,
        samples=COHORT.samples,
        labels="results/taxa/statistical.parquet",
        library=library_files(SCRIPTS / "predict.py"),
    output:
        "results/round_{round}/predictions/{shard}-of-{shards}.parquet",
    log:
        "results/logs/predict_{round}_{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/predict_{round}_{shard}-of-{shards}.tsv"
    conda:
        "../../envs/predict.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        gpu=PLAN.gpus,
    params:
        settings=PLAN.prediction_settings(),
        least=PLAN.least_shard,
        seed=config["seed"],
    script:
        "../../scripts/predict.py"


rule simulate_calibration:
    input:
        **PLAN.adjusted(),
        samples=COHORT.samples,
        labels="results/taxa/statistical.parquet",
        shapes=SHAPES,
        library=library_files(SCRIPTS / "simulate_calibration.py"),
    output:
        beta="results/calibration/beta.arrow",
        truth="results/calibration/truth.parquet",
    log:
        "results/logs/simulate_calibration.log",
    benchmark:
        "results/benchmarks/simulate_calibration.tsv"
    conda:
        "../../envs/simulate_calibration.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=PLAN.calibration_settings(),
        seed=config["seed"],
    script:
        "../../scripts/simulate_calibration.py"


rule predict_calibration:
    input:
        unpack(PLAN.network_now),
        beta=rules.simulate_calibration.output.beta,
        samples=COHORT.samples,
        labels="results/taxa/statistical.parquet",
        placed=lambda wildcards: PLAN.placed_before(wildcards.round, "calibration_placed"),
        library=library_files(SCRIPTS / "predict_calibration.py"),
    output:
        "results/round_{round}/calibration.parquet",
    log:
        "results/logs/predict_calibration_{round}.log",
    benchmark:
        "results/benchmarks/predict_calibration_{round}.tsv"
    conda:
        "../../envs/predict_calibration.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        gpu=PLAN.gpus,
    params:
        settings=PLAN.prediction_settings(),
        seed=config["seed"],
    script:
        "../../scripts/predict_calibration.py"


checkpoint reassign:
    input:
        unpack(PLAN.calibration_input),
        predictions=lambda wildcards: PLAN.prediction_shards(wildcards.round),
        placed=lambda wildcards: PLAN.placed_before(wildcards.round),
        labels="results/taxa/statistical.parquet",
        statistics=rules.gather_statistics.output[0],
        library=library_files(SCRIPTS / "reassign.py"),
    output:
        reassigned="results/round_{round}/reassigned.parquet",
        left="results/round_{round}/left.parquet",
        calibration="results/round_{round}/calibration_placed.parquet",
        counts="results/round_{round}/reassigned.json",
    log:
        "results/logs/reassign_{round}.log",
    benchmark:
        "results/benchmarks/reassign_{round}.tsv"
    conda:
        "../../envs/reassign.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=PLAN.placing_settings(),
        seed=config["seed"],
    script:
        "../../scripts/reassign.py"


rule taxonomy:
    input:
        unpack(lambda wildcards: PLAN.rounds_input(counts_of)),
        labels="results/taxa/statistical.parquet",
        library=library_files(SCRIPTS / "taxonomy.py"),
    output:
        parquet="results/taxonomy.parquet",
        csv="results/taxonomy.csv.gz",
        unclassified="results/unclassified.parquet",
    log:
        "results/logs/taxonomy.log",
    benchmark:
        "results/benchmarks/taxonomy.tsv"
    conda:
        "../../envs/taxonomy.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    script:
        "../../scripts/taxonomy.py"

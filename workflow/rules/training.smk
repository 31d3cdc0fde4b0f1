# Networks: train, test.


rule train:
    input:
        unpack(PLAN.training_input),
        library=library_files(SCRIPTS / "train.py"),
    output:
        weights="results/round_{round}/{model}_best_model.pt",
        stats="results/round_{round}/{model}_normalization_stat.json",
        card="results/round_{round}/{model}_model.json",
        log="results/round_{round}/{model}_training_log.csv",
        features="results/round_{round}/{model}_features.npy",
    log:
        "results/logs/train_{round}_{model}.log",
    benchmark:
        "results/benchmarks/train_{round}_{model}.tsv"
    wildcard_constraints:
        round=PLAN.trained_rounds,
    conda:
        "../../envs/train.yaml"
    threads: config["training"]["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
        gpu=PLAN.gpus,
    params:
        settings=PLAN.training_settings,
        seed=config["seed"],
        size=config["images"]["size"],
        work=lambda wildcards: f"results/round_{wildcards.round}/.checkpoints",
    script:
        "../../scripts/train.py"


if config["training"]["weights"]:

    rule use_weights:
        input:
            unpack(or_one_message(PLAN.weights_input)),
            library=library_files(SCRIPTS / "use_weights.py"),
        output:
            weights="results/round_0/ResNet18_best_model.pt",
            stats="results/round_0/ResNet18_normalization_stat.json",
            card="results/round_0/ResNet18_model.json",
            log="results/round_0/ResNet18_training_log.csv",
            features="results/round_0/ResNet18_features.npy",
        log:
            "results/logs/use_weights.log",
        benchmark:
            "results/benchmarks/use_weights.tsv"
        conda:
            "../../envs/use_weights.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=lambda wildcards, attempt: 30 * attempt,
        params:
            size=config["images"]["size"],
        script:
            "../../scripts/use_weights.py"


rule reference:
    input:
        **PLAN.reference_input(),
        library=library_files(SCRIPTS / "reference.py"),
    output:
        weights="results/reference/ResNet18_best_model.pt.gz",
        stats="results/reference/ResNet18_normalization_stat.json",
        card="results/reference/ResNet18_model.json",
        features="results/reference/ResNet18_features.npy",
        predictions="results/reference/ResNet18_predictions.csv",
        metrics="results/reference/metrics.json",
    log:
        "results/logs/reference.log",
    benchmark:
        "results/benchmarks/reference.tsv"
    conda:
        "../../envs/reference.yaml"
    threads: workflow.cores
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=PLAN.device_settings(),
        seed=config["seed"],
    script:
        "../../scripts/reference.py"


rule predict_test:
    input:
        unpack(PLAN.test_input),
        library=library_files(SCRIPTS / "predict_test.py"),
    output:
        "results/round_{round}/{model}_predictions.csv",
    log:
        "results/logs/predict_test_{round}_{model}.log",
    benchmark:
        "results/benchmarks/predict_test_{round}_{model}.tsv"
    conda:
        "../../envs/predict_test.yaml"
    threads: workflow.cores
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
        gpu=PLAN.gpus,
    params:
        settings=PLAN.device_settings(),
    script:
        "../../scripts/predict_test.py"


rule evaluate:
    input:
        unpack(PLAN.evaluation_input),
        library=library_files(SCRIPTS / "evaluate.py"),
    output:
        "results/round_{round}/metrics.json",
    log:
        "results/logs/evaluate_{round}.log",
    benchmark:
        "results/benchmarks/evaluate_{round}.tsv"
    conda:
        "../../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    script:
        "../../scripts/evaluate.py"


# The images, weights and statistics are no inputs: weights from an earlier run's results must be used as they are, not
# trained again for today's config. Their digests make the rule run again when they change.
rule predict_images:
    """Which taxon has an image?
    Needs: images, and weights (`reference`: those that ship)
    Time: 75 images 21 s
    Output: results/predict_images/ResNet18_predictions.csv
    """
    input:
        library=library_files(SCRIPTS / "predict_images.py"),
    output:
        f"results/predict_images/{config['predict']['model']}_predictions.csv",
    log:
        "results/logs/predict_images.log",
    benchmark:
        "results/benchmarks/predict_images.tsv"
    conda:
        "../../envs/predict_images.yaml"
    threads: workflow.cores
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
        gpu=PLAN.gpus,
    params:
        settings=PLAN.predict_settings(),
        digests=PLAN.predict_digests,
    script:
        "../../scripts/predict_images.py"

# Gene expression from the CpGs around a gene.

try:
    EXPRESSION = ExpressionPlan(config)
except InputError as error:
    raise WorkflowError(error.text())


wildcard_constraints:
    regressor="[A-Za-z_]+",
    window="[0-9]+(b|kb|Mb)|all",


rule simulate_expression:
    input:
        library=library_files(SCRIPTS / "simulate_expression.py"),
    output:
        **SIMULATED_EXPRESSION,
    log:
        "results/logs/simulate_expression.log",
    benchmark:
        "results/benchmarks/simulate_expression.tsv"
    conda:
        "../../envs/simulate_expression.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        settings=config["expression"]["simulate"],
        seed=config["seed"],
    script:
        "../../scripts/simulate_expression.py"


rule expression_input:
    input:
        unpack(or_one_message(EXPRESSION.input_files)),
        library=library_files(SCRIPTS / "expression_input.py"),
    output:
        methylation="results/expression/input/methylation.arrow",
        cpgs="results/expression/input/cpgs.parquet",
        expression="results/expression/input/expression.parquet",
        genes="results/expression/input/genes.parquet",
        samples="results/expression/input/samples.parquet",
        skipped="results/expression/skipped.csv",
        qc="results/expression/qc.json",
    log:
        "results/logs/expression_input.log",
    benchmark:
        "results/benchmarks/expression_input.tsv"
    conda:
        "../../envs/expression_input.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        settings=EXPRESSION.input_settings(),
        seed=config["seed"],
        states=EXPRESSION.states,
    script:
        "../../scripts/expression_input.py"


rule expression_fit:
    input:
        methylation=rules.expression_input.output.methylation,
        expression=rules.expression_input.output.expression,
        genes=rules.expression_input.output.genes,
        samples=rules.expression_input.output.samples,
        library=library_files(SCRIPTS / "expression_fit.py"),
    output:
        "results/expression/fits/{regressor}_{window}/{shard}-of-{shards}.parquet",
    log:
        "results/logs/expression_fit_{regressor}_{window}_{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/expression_fit_{regressor}_{window}_{shard}-of-{shards}.tsv"
    conda:
        "../../envs/expression_fit.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
        gpu=EXPRESSION.gpus,
    params:
        settings=EXPRESSION.fit_settings,
        seed=config["seed"],
    script:
        "../../scripts/expression_fit.py"


rule expression_taxa:
    input:
        unpack(or_one_message(EXPRESSION.taxonomy_file)),
        methylation=rules.expression_input.output.methylation,
        expression=rules.expression_input.output.expression,
        genes=rules.expression_input.output.genes,
        samples=rules.expression_input.output.samples,
        cpgs=rules.expression_input.output.cpgs,
        library=library_files(SCRIPTS / "expression_taxa.py"),
    output:
        "results/expression/taxa/{shard}-of-{shards}.parquet",
    log:
        "results/logs/expression_taxa_{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/expression_taxa_{shard}-of-{shards}.tsv"
    conda:
        "../../envs/expression_taxa.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        settings=EXPRESSION.taxa_settings(),
        seed=config["seed"],
    script:
        "../../scripts/expression_taxa.py"


rule expression:
    """Is gene expression predictable from methylation nearby?
    Needs: methylation and expression, or nothing (simulated)
    Output: results/expression/report.html
    """
    input:
        unpack(or_one_message(EXPRESSION.published_file)),
        **EXPRESSION.truth_file(),
        **EXPRESSION.taxa_files(),
        **page_files("expression"),
        fits=EXPRESSION.fit_files(),
        methylation=rules.expression_input.output.methylation,
        expression=rules.expression_input.output.expression,
        genes=rules.expression_input.output.genes,
        samples=rules.expression_input.output.samples,
        cpgs=rules.expression_input.output.cpgs,
        skipped=rules.expression_input.output.skipped,
        qc=rules.expression_input.output.qc,
        library=library_files(SCRIPTS / "expression.py"),
    output:
        **EXPRESSION.published_table(),
        terminal="results/expression/summary.txt",
        summary="results/expression/summary.csv",
        html=report("results/expression/report.html", caption="../report/expression.rst", category="Expression"),
        scores="results/expression/scores.csv.gz",
        comparisons="results/expression/comparisons.csv",
        predictions="results/expression/predictions.parquet",
        attributions="results/expression/attributions.parquet",
        taxa="results/expression/taxa.csv",
        figures=report(
            directory("results/expression/figures"),
            patterns=["{figure}.svg"],
            caption="../report/companion_figures.rst",
            category="Expression",
            labels=figure_label,
        ),
    log:
        "results/logs/expression.log",
    benchmark:
        "results/benchmarks/expression.tsv"
    conda:
        "../../envs/expression.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        pairs=EXPRESSION.pairs(),
        settings=EXPRESSION.page_settings(),
        seed=config["seed"],
    script:
        "../../scripts/expression.py"

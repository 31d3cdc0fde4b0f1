"""Read all ECG records, check them, and preprocess them as published."""

from cpgtaxa.job import by_name, job

with job(snakemake):
    from cpgtaxa.targets.ecg.inputs import prepare

    prepare(
        by_name(snakemake.input),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

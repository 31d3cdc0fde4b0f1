"""Read all ECG records, check them, and preprocess them as published."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.inputs import prepare

    prepare(
        {key: path for key, path in snakemake.input.items() if key != "library"},
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

"""Simulate training images for the cohort's own ages and sample size, and for others."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cohort import read_samples
    from cpgtaxa.files import read_parquet
    from cpgtaxa.names import any_open
    from cpgtaxa.simulation.training_images import simulate_images

    labels, settings = snakemake.input.get("labels"), snakemake.params.settings
    if labels and not any_open(read_parquet(labels, columns=["taxon"])["taxon"]):
        settings = snakemake.params.tests_alone  # the weights are given, and no round will train
    simulate_images(
        read_samples(snakemake.input.samples)["age"],
        seed=snakemake.params.seed,
        size=snakemake.params.size,
        out_images=snakemake.output.images,
        out_info=snakemake.output.info,
        png_folder=snakemake.output.get("png"),
        **settings,
    )

"""Simulate training images for the cohort's own ages and sample size, and for others."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cohort import read_samples
    from cpgtaxa.simulation.training_images import simulate_images

    simulate_images(
        read_samples(snakemake.input.samples)["age"],
        seed=snakemake.params.seed,
        size=snakemake.params.size,
        out_images=snakemake.output.images,
        out_info=snakemake.output.info,
        png_folder=snakemake.output.get("png"),
        **snakemake.params.settings,
    )

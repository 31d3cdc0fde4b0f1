"""Train ResNet18 (round 0) or MixResNet18 (later rounds) on the round's images."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.images.image_sets import PARTS
    from cpgtaxa.learning.teaching import train_round

    train_round(
        {part: snakemake.input[part] for part in PARTS},
        list(snakemake.input.packs),
        snakemake.input.get("simulated_images"),
        snakemake.input.get("simulated_info"),
        snakemake.input.get("previous"),
        dict(snakemake.output.items()),
        model_name=snakemake.wildcards.model,
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
        size=snakemake.params.size,
        work=snakemake.params.work,
        threads=snakemake.threads,
    )

"""Take the user's own images and labels in place of rendered ones."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.images.image_sets import PARTS, use_images

    parts = {part: snakemake.input[part] for part in PARTS}
    outputs = {part: snakemake.output[part] for part in PARTS}
    use_images(parts, outputs, snakemake.output.images, snakemake.params.root, snakemake.params.size)

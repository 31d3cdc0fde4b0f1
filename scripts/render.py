"""Draw the scatterplots of a round's CpGs: packed for training, and as PNG files."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.images.image_sets import PARTS, render_round

    render_round(
        {part: snakemake.input[part] for part in PARTS},
        snakemake.input.beta,
        snakemake.input.samples,
        f"results/round_{snakemake.wildcards.round}/CpG_image",
        snakemake.params.size,
        snakemake.output.images,
        png=snakemake.output.get("png") is not None,
    )

"""Add the CpGs placed by the previous round to the training and validation images."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.files import read_parquet
    from cpgtaxa.placement.rounds import PARTS, split_later_round

    folder = f"results/round_{snakemake.wildcards.round}"
    previous = {part: snakemake.input[part] for part in PARTS}
    reassigned = read_parquet(snakemake.input.reassigned)
    outputs = dict(snakemake.output.items())
    split_later_round(previous, reassigned, folder, snakemake.params.settings, snakemake.params.seed, outputs)

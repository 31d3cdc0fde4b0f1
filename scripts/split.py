"""Choose the training, validation and test images of the first round."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.files import read_parquet
    from cpgtaxa.placement.rounds import split_first_round

    labels = read_parquet(snakemake.input.labels)
    simulated = snakemake.input.get("simulated_info")
    simulated = read_parquet(simulated, columns=["path", "label", "other"]) if simulated else None
    outputs = dict(snakemake.output.items())
    split_first_round(labels, simulated, "results/round_0", snakemake.params.settings, snakemake.params.seed, outputs)

"""Simulate CpGs whose truth is known and that the rules cannot place, to measure how often networks are wrong."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cohort import read_samples
    from cpgtaxa.files import read_json, read_parquet
    from cpgtaxa.names import UNCLASSIFIED
    from cpgtaxa.simulation.calibration_cpgs import simulate_calibration

    adjusted = snakemake.input.get("adjusted")
    samples = read_samples(snakemake.input.samples)
    settings = dict(snakemake.params.settings)
    if UNCLASSIFIED not in set(read_parquet(snakemake.input.labels, columns=["taxon"])["taxon"]):
        settings["cpgs"] = 0  # there is nothing to place
    simulate_calibration(
        samples["sample_id"],
        samples["age"],
        seed=snakemake.params.seed,
        out_beta=snakemake.output.beta,
        out_truth=snakemake.output.truth,
        scales=read_json(adjusted)["statistics"] if adjusted else {},
        **settings,
    )

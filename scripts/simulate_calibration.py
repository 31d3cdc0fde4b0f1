"""Simulate CpGs whose truth is known and that the rules cannot place, to measure how often networks are wrong."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cohort import read_samples
    from cpgtaxa.files import read_json
    from cpgtaxa.simulation.calibration_cpgs import simulate_calibration

    adjusted = snakemake.input.get("adjusted")
    samples = read_samples(snakemake.input.samples)
    simulate_calibration(
        samples["sample_id"],
        samples["age"],
        seed=snakemake.params.seed,
        out_beta=snakemake.output.beta,
        out_truth=snakemake.output.truth,
        scales=read_json(adjusted)["statistics"] if adjusted else {},
        **snakemake.params.settings,
    )

"""Place the CpGs of which the round's network can be believed, and say why the others stay."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.placement.selection import place

    calibration = snakemake.input.get("calibration")
    place(
        list(snakemake.input.predictions),
        snakemake.input.labels,
        list(snakemake.input.placed),
        snakemake.input.statistics,
        {"predictions": calibration, "truth": snakemake.input.truth} if calibration else None,
        snakemake.params.settings,
        int(snakemake.wildcards.round),
        snakemake.params.seed,
        dict(snakemake.output.items()),
    )

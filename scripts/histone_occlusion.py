"""Map which bins of which mark a trained network looks at."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.histone.occlusion import occlude

    occlude(
        list(snakemake.input.cells),
        snakemake.input.weights,
        snakemake.output[0],
        unit=snakemake.wildcards.unit,
        network=snakemake.wildcards.network,
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

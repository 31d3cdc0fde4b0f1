"""Predict a CpG's taxon from its sequence window, and compare with chance."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.single_cell.taxa import predict_taxa

    predict_taxa(
        {key: snakemake.input[key] for key in ("taxonomy", "positions", "genome")},
        snakemake.output[0],
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
        work=snakemake.params.work,
    )

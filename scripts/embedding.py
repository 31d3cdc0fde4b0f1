"""Map the CpGs as the last network sees them; test whether the taxa are needed, and enough."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.embedding.embed import embed

    embed(
        {kind: snakemake.input[kind] for kind in ("weights", "stats", "card")},
        *(snakemake.input[name] for name in ("beta", "samples", "taxonomy", "statistics")),
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

"""Put the shards of the patterns together, with q-values, causes of bands, and how likely each taxon replicates."""

from cpgtaxa.job import job

with job(snakemake):
    import functools

    from cpgtaxa.cohort import Cohort, read_samples, two_sexes
    from cpgtaxa.files import read_json
    from cpgtaxa.patterns.replication import replication
    from cpgtaxa.patterns.table import gather

    samples, adjusted = read_samples(snakemake.input.samples), snakemake.input.get("adjusted")
    replicate = functools.partial(
        replication,
        take=Cohort(snakemake.input.beta).take,
        ages=samples["age"].to_numpy(),
        sexes=two_sexes(samples),
        seed=snakemake.params.seed,
        scales=read_json(adjusted)["statistics"] if adjusted else {},
        **snakemake.params["rules"],
    )
    gather(
        snakemake.input.shards,
        snakemake.input.taxonomy,
        snakemake.output.parquet,
        snakemake.output.csv,
        replicate if snakemake.params.by_rules else None,
        snakemake.input.get("annotation"),
    )

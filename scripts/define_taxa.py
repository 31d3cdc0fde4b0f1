"""Give each CpG a taxon by statistical rules, or leave it Unclassified, with the reason."""

from cpgtaxa.job import job

with job(snakemake):
    import logging

    import pandas as pd
    from cpgtaxa.files import write_parquet
    from cpgtaxa.taxa import define_taxa

    labels = define_taxa(pd.read_parquet(snakemake.input.statistics), snakemake.params.thresholds)
    logging.info("statistical labels: %s", labels["taxon"].value_counts().to_dict())
    write_parquet(snakemake.output[0], labels)

"""Train the network of a group, and predict the ages of the records that are held out."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.networks import fit_network

    fit_network(
        {"signals": snakemake.input.signals, "records": snakemake.input.records},
        dict(snakemake.output.items()),
        group=snakemake.wildcards.group,
        name=snakemake.wildcards.ecg_network,
        fold=int(snakemake.wildcards.tenth),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
        work=snakemake.params.work,
    )

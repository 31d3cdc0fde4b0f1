"""Ask the network of a group where in the ECG it sees an age."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.ecg.reading import read_network

    read_network(
        {key: snakemake.input[key] for key in ("signals", "records", "weights")},
        snakemake.output[0],
        group=snakemake.wildcards.group,
        name=snakemake.params.name,
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
    )

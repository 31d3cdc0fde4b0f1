"""Train the DNA, the CpG or the joint model on the windows."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.single_cell.networks import train_part

    train_part(
        list(snakemake.input.windows),
        snakemake.input.sites,
        dict(snakemake.output.items()),
        part=snakemake.wildcards.part,
        trained={key: path for key, path in snakemake.input.items() if key in ("dna", "cpg")},
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
        work=snakemake.params.work,
    )

"""How many people, of what ages: simulate cohorts, and tell the chance that a CpG gets its taxon."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.cohort import read_samples
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.power.power import run

    given = snakemake.input
    outputs = dict(snakemake.output.items())
    run(
        {kind: given[kind] for kind in ("weights", "stats", "card")} if given.get("weights") else None,
        read_samples(given.samples)["age"].to_numpy() if given.get("samples") else None,
        outputs,
        **snakemake.params,
    )
    write_summary("power", outputs)

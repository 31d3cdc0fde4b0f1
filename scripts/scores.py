"""Score the cohort's samples by the noise of sets of CpGs, and by signatures."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.plan.terminal import write_summary
    from cpgtaxa.targets.biology.scores import LISTS, write

    write(
        {key: list(files) if key in LISTS else files for key, files in snakemake.input.items() if key != "library"},
        dict(snakemake.output.items()),
        settings=snakemake.params.settings,
    )
    write_summary("scores", dict(snakemake.output.items()))

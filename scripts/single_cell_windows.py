"""Cut a shard's windows: sequence, and what was observed."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.targets.single_cell.windows import write_windows

    write_windows(
        snakemake.input.sites,
        snakemake.input.get("genome"),
        snakemake.output[0],
        shard=int(snakemake.wildcards.shard) + 1,
        shards=int(snakemake.wildcards.shards),
        settings=snakemake.params.settings,
    )

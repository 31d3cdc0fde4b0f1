"""Pack round 0's network as one to ship: its weights in half precision, with statistics, card and metrics."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.classifier import pack_reference

    pack_reference(dict(snakemake.input.items()), dict(snakemake.output.items()))

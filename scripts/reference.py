"""Pack round 0's network as one to ship, its weights rounded, and judge it as it then is by the test images."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.classifier import pack_reference, predict_test
    from cpgtaxa.evaluation import evaluate

    kinds, out = ("weights", "stats", "card"), snakemake.output
    packed = {kind: out[kind] for kind in kinds}
    pack_reference({kind: snakemake.input[kind] for kind in kinds}, packed)
    images = snakemake.input.test, list(snakemake.input.packs)
    predict_test(packed, *images, out.predictions, "ResNet18", **snakemake.params.settings)
    evaluate(out.predictions, snakemake.input.log, out.card, out.metrics)

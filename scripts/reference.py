"""Pack round 0's network as one to ship, its weights rounded, and evaluate it as it then is on the test images."""

from cpgtaxa.job import job

with job(snakemake):
    from cpgtaxa.images.image_sets import Packs
    from cpgtaxa.learning.classifier import pack_reference, predict_test
    from cpgtaxa.learning.evaluation import evaluate
    from cpgtaxa.placement.rounds import read_parts

    kinds, out = ("weights", "stats", "card", "features"), snakemake.output
    packed = {kind: out[kind] for kind in kinds}
    given = {kind: snakemake.input[kind] for kind in kinds}
    settings, packs = snakemake.params.settings, list(snakemake.input.packs)
    planes = Packs(packs).planes(read_parts({"training": snakemake.input.training})["training"]["path"])
    pack_reference(given, planes, packed, seed=snakemake.params.seed, **settings)
    predict_test(packed, snakemake.input.test, packs, out.predictions, "ResNet18", **settings)
    evaluate(out.predictions, snakemake.input.log, out.card, out.metrics)

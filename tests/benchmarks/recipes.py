"""The default recipe beside the published one, and what each ingredient gives: same images, splits, seeds and machine.

    .venv/bin/python tests/benchmarks/recipes.py [--seeds 1 2 3] [--only NAME …] [--per-taxon 100] [--out FILE.csv]

Images: one simulated cohort of 400 samples and cohorts unlike it, `--per-taxon` clear CpGs per taxon and a quarter as
many boundary CpGs for training (a fifth of them validates) and 200 per taxon for the test, at 64 pixels unless an
ingredient is the size. The published recipes train on the clear CpGs alone, as the notebooks did. Every variant changes
one ingredient of the default recipe, or of the same from random weights. Statistical labels are those that the tests
give to CpGs of the cohort, in place of all simulated images or of half of them. One thread, and processor time, so that
times compare on a shared machine. Prints and writes accuracy, macro-F1, calibration error after the temperature, and
seconds of training.
"""

import argparse
import dataclasses
import functools
import logging
import pathlib
import tempfile
import time
from unittest import mock

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
from benchmarking import NETWORK, RULES
from cpgtaxa.images.packed import normalisation
from cpgtaxa.images.render import planes, render
from cpgtaxa.learning import parts
from cpgtaxa.learning.networks import Predictor, load_weights
from cpgtaxa.learning.recipes import RECIPES, TUNED_RESNET18
from cpgtaxa.learning.temperature import expected_calibration_error, softmax
from cpgtaxa.learning.training import Images, calibrate, targets_of, train
from cpgtaxa.names import TAXA
from cpgtaxa.simulation import simulate
from cpgtaxa.simulation.training_images import GROUP, plan, share_of, simulate_group
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa
from sklearn.metrics import f1_score

PUBLISHED, RANDOM, SIZE, TESTS = RECIPES["published"], RECIPES["fast"]["ResNet18"], 64, 200


@dataclasses.dataclass(frozen=True)
class Variant:
    """labels: simulated, statistical or both. uneven: the rarest taxon has a hundredth of the commonest's images. part:
    images in the parts of a batch."""

    recipe: dict
    model: str = "ResNet18"
    size: int = SIZE
    precision: str = "auto"
    labels: str = "simulated"
    uneven: bool = False
    part: int = parts.SIZE


def random(name, **changes):
    """A variant of the default recipe from random weights."""
    settings = {key: changes.pop(key) for key in list(changes) if key in RANDOM}
    return {f"random weights, {name}": Variant(RANDOM | settings, **changes)}


def tuned(name, **settings):
    return {f"shipped weights, {name}": Variant(TUNED_RESNET18 | settings)}


VARIANTS = {
    "published ResNet18": Variant(PUBLISHED["ResNet18"], precision="float32"),
    "published MixResNet18": Variant(PUBLISHED["MixResNet18"], precision="float32"),
    "default (shipped weights)": Variant(TUNED_RESNET18),
    "random weights": Variant(RANDOM),
    **random("without boundary CpGs", boundary=False),
    **random("without mirroring beta", flip=False),
    **random("mirroring age too", mirror_age=True),
    **random("plateau in place of one cycle", schedule="plateau"),
    **random("Adam in place of AdamW", optimiser="adam", weight_decay=0.0),
    **random("SGD", optimiser="sgd", momentum=0.9, lr=0.05, weight_decay=1e-4),
    **random("label smoothing 0.1", label_smoothing=0.1),
    **random("mean of weights (EMA 0.98)", ema=0.98),
    **random("float32", precision="float32"),
    **random("parts of 16 images", part=16),
    **random("whole batches", part=64),
    **random("32 pixels", size=32),
    **random("112 pixels", size=112),
    **random("statistical labels", labels="statistical"),
    **random("simulated and statistical labels", labels="both"),
    **random("uneven taxa", uneven=True),
    **random("uneven taxa, balanced", uneven=True, balance=True),
    **random("ResNet10", model="ResNet10"),
    **random("ResNet34", model="ResNet34"),
    **random("ShuffleNetV2", model="ShuffleNetV2"),
    **tuned("without boundary CpGs", boundary=False),
    **tuned("without mirroring beta", flip=False),
    **tuned("label smoothing 0.1", label_smoothing=0.1),
    **tuned("mean of weights (EMA 0.9)", ema=0.9),
    **tuned("one epoch", epochs=1),
    "shipped weights, parts of 16 images": Variant(TUNED_RESNET18, part=16),
    "shipped weights, whole batches": Variant(TUNED_RESNET18, part=64),
}


def simulated(seed, members, ages, broad_share, size):
    """Training images of these CpGs: planes (n, 2, size, size), taxa, second taxa of boundary CpGs, and shares of the
    first (n,)."""
    found, rows = [], []
    for group, start in enumerate(range(0, len(members), GROUP)):
        some = members[start : start + GROUP]
        profiles, values, setting, renderer = simulate_group(seed, group, some, ages, broad_share)
        found.append(planes(renderer(values, setting.ages), size))
        rows += [(profile.taxon, profile.other, share_of(profile, setting)) for profile in profiles]
    taxa, others, shares = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    return np.concatenate(found), taxa, others, shares.astype(float)


def members(seed, per_taxon, boundary, uneven):
    """Taxa of the training CpGs, None for boundary CpGs."""
    wanted = plan(seed, per_taxon, boundary)
    if uneven:
        rng = np.random.default_rng([seed, 3])
        shares = 100 ** -(np.arange(len(TAXA)) / (len(TAXA) - 1))
        numbers = np.round(per_taxon * len(TAXA) * shares / shares.sum()).astype(int)
        taxa = dict(zip(rng.permutation(np.array(TAXA, dtype=object)), numbers, strict=True))
        wanted = [taxon for taxon, number in taxa.items() for _ in range(number)] + [None] * boundary
        wanted = [wanted[index] for index in rng.permutation(len(wanted))]
    return wanted


def labelled_by_tests(seed, setting, per_taxon, size):
    """CpGs of a cohort to which the tests give a taxon, right or wrong: planes and labels."""
    wanted = [taxon for taxon in TAXA for _ in range(2 * per_taxon)]
    values = np.stack([simulate.draw_cpg(seed, index, taxon, setting)[1] for index, taxon in enumerate(wanted)])
    values = np.round(values.astype(float), 5).astype(np.float32)
    statistics = compute(values, setting.ages)
    statistics.insert(0, "cpg", [f"c{index}" for index in range(len(wanted))])
    labels = define_taxa(statistics, **RULES)["taxon"].to_numpy(dtype=object)
    kept = np.concatenate([np.flatnonzero(labels == taxon)[:per_taxon] for taxon in TAXA])
    return planes(render(values[kept], setting.ages), size), labels[kept]


@functools.lru_cache(maxsize=4)
def training_images(seed, per_taxon, size, labels, uneven):
    """Planes, labels, second taxa, and shares of the first."""
    setting = simulate.cohort_setting(seed, 400)
    boundary, share = per_taxon * 5 // 2, {"simulated": 1, "both": 2, "statistical": per_taxon}[labels]
    wanted = members(seed, per_taxon // share, boundary, uneven)
    parts = simulated(seed, wanted, setting.ages, 0.25, size)
    if labels == "statistical":
        parts = [part[parts[2] != ""] for part in parts]
    if labels != "simulated":
        number = per_taxon - (per_taxon // share if labels == "both" else 0)
        more, names = labelled_by_tests(seed + 500, setting, number, size)
        own = more, names, np.full(len(more), "", dtype=object), np.ones(len(more))
        parts = [np.concatenate(pair) for pair in zip(parts, own, strict=True)]
    return parts


@functools.lru_cache(maxsize=4)
def test_images(seed, size):
    images, names, _, _ = simulated(
        seed + 1000, plan(seed + 1000, TESTS, 0), simulate.cohort_setting(seed, 400).ages, 0.25, size
    )
    return images, np.array([TAXA.index(name) for name in names])


def shipped_weights() -> dict:
    return load_weights(NETWORK["weights"], "ResNet18").state_dict()


def fit(sets, recipe, statistics, seed, initial=None, model_name="ResNet18", precision="auto"):
    """A network trained on the first of two sets of images and validated on the second, and its log."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        how = {"model_name": model_name, "recipe": recipe, "statistics": statistics, "seed": seed, "initial": initial}
        how |= {"device": "cpu", "precision": precision, "work": folder / "work", "log_path": folder / "log.csv"}
        return train(*sets, **how), pd.read_csv(folder / "log.csv")


def one(name, seed, per_taxon):
    """Train one variant and evaluate it on the test images, clear CpGs of one admissible taxon."""
    variant = VARIANTS[name]
    images, labels, others, shares = training_images(seed, per_taxon, variant.size, variant.labels, variant.uneven)
    tests, actual = test_images(seed, variant.size)
    held = np.random.default_rng([seed, 5]).random(len(labels)) < 0.2
    use = np.ones(len(labels), dtype=bool) if variant.recipe["boundary"] else others == ""
    targets = targets_of(labels, others, shares)
    sets = [Images(images[use & rows], targets[use & rows]) for rows in (~held, held)]
    statistics = normalisation(images[use & ~held])
    initial = shipped_weights() if variant.recipe["warm_start"] else None
    begun = time.process_time()
    with mock.patch.object(parts, "SIZE", variant.part):
        of = {"model_name": variant.model, "precision": variant.precision}
        network, log = fit(sets, variant.recipe, statistics, seed, initial, **of)
    seconds = time.process_time() - begun
    temperature = calibrate(network, statistics, variant.size, sets[1], "cpu", variant.precision)
    predictor = Predictor(network, statistics, variant.size, device="cpu", precision=variant.precision)
    logits = predictor.logits(tests)
    called = logits.argmax(axis=1)
    return {
        "variant": name,
        "seed": seed,
        "images": int((use & ~held).sum()),
        "epochs": len(log),
        "accuracy": np.mean(called == actual),
        "macro_f1": f1_score(actual, called, average="macro"),
        "calibration_error": expected_calibration_error(softmax(logits, temperature), actual),
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--per-taxon", type=int, default=100)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = []
    for seed in arguments.seeds:
        for name in arguments.only:
            rows.append(one(name, seed, arguments.per_taxon))
            table = pd.DataFrame(rows)
            print(table.tail(1).round(4).to_string(index=False, header=len(rows) == 1), flush=True)
            if arguments.out:
                table.round(4).to_csv(arguments.out, index=False)
    numbers = ["accuracy", "macro_f1", "calibration_error", "seconds"]
    print(table.groupby("variant", sort=False)[numbers].agg(["mean", "std"]).round(4).to_string())


if __name__ == "__main__":
    main()

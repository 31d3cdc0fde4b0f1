"""The default recipe beside the published one, and what each ingredient gives: same images, splits, seeds and machine.

    .venv/bin/python tests/benchmarks/recipes.py [--seeds 1 2 3] [--only default published] [--out FILE.csv]

Images: one simulated cohort of 400 samples and cohorts unlike it, `--per-taxon` clear CpGs per taxon for training (a
fifth of them validates) and 200 per taxon for the test, at 64 pixels unless an ingredient is the size. The published
recipe trains on the clear CpGs alone, 40 epochs, as the notebooks did; the published MixResNet18 is told apart by its
optimiser and its early stopping. Every variant of the default recipe changes one ingredient. One thread, so that times
compare; prints and writes accuracy, macro-F1, calibration error after the temperature, and seconds of training.
"""

import argparse
import logging
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import pandas as pd

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa import simulate  # noqa: E402
from cpgtaxa.calibration import expected_calibration_error, softmax  # noqa: E402
from cpgtaxa.images import normalisation  # noqa: E402
from cpgtaxa.names import TAXA  # noqa: E402
from cpgtaxa.recipes import RECIPES, TUNED_RESNET18  # noqa: E402
from cpgtaxa.render import planes, render  # noqa: E402
from cpgtaxa.training import Images, Predictor, calibrate, load_weights, targets_of, train  # noqa: E402
from cpgtaxa.training_images import plan, simulate_group  # noqa: E402
from sklearn.metrics import f1_score  # noqa: E402

FAST, PUBLISHED = RECIPES["fast"]["ResNet18"], RECIPES["published"]
# Name: recipe, pixels, precision, half-way sites, whether it starts from the shipped network.
VARIANTS = {
    "published ResNet18": (PUBLISHED["ResNet18"], 64, "float32", False),
    "published MixResNet18": (PUBLISHED["MixResNet18"], 64, "float32", False),
    "default": (TUNED_RESNET18, 64, "auto", True),
    "default, from random weights": (FAST, 64, "auto", True),
    "random weights, without half-way sites": (FAST | {"half_way": False}, 64, "auto", False),
    "random weights, without mirroring beta": (FAST | {"flip": False}, 64, "auto", True),
    "random weights, plateau instead of one cycle": (FAST | {"schedule": "plateau"}, 64, "auto", True),
    "random weights, Adam instead of AdamW": (FAST | {"optimiser": "adam", "weight_decay": 0.0}, 64, "auto", True),
    "random weights, SGD": (FAST | {"optimiser": "sgd", "momentum": 0.9, "lr": 0.05}, 64, "auto", True),
    "random weights, 32 pixels": (FAST, 32, "auto", True),
    "random weights, 112 pixels": (FAST, 112, "auto", True),
    "random weights, float32": (FAST, 64, "float32", True),
}


def pictures(seed, ages, per_taxon, half_way, size):
    """Simulated images: planes (n, 2, size, size), labels, second taxa of half-way sites."""
    members, found, labels, others = plan(seed, per_taxon, half_way), [], [], []
    for group, start in enumerate(range(0, len(members), 64)):
        profiles, values, group_ages, _ = simulate_group(seed, group, members[start : start + 64], ages, 0.25)
        found.append(planes(render(values, group_ages), size))
        labels += [profile.taxon for profile in profiles]
        others += [profile.other for profile in profiles]
    return np.concatenate(found), np.array(labels, dtype=object), np.array(others, dtype=object)


def one(name, seed, per_taxon):
    """Train one variant and judge it by the test images."""
    chosen, size, precision, half_way = VARIANTS[name]
    ages = simulate.cohort_setting(seed, 400).ages
    images, labels, others = pictures(seed, ages, per_taxon, per_taxon * 2, size)
    tests, truth, _ = pictures(seed + 1000, ages, 200, 0, size)
    held = np.random.default_rng([seed, 5]).random(len(labels)) < 0.2
    use = np.ones(len(labels), dtype=bool) if half_way else others == ""
    targets = targets_of(labels, others)
    parts = [Images(images[use & part], targets[use & part]) for part in (~held, held)]
    statistics = normalisation(images[use & ~held])
    initial = None
    if chosen["warm_start"]:
        path = ROOT / "resources/reference/ResNet18_best_model.pt.gz"
        initial = load_weights(path, "ResNet18").state_dict()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        network = train(
            *parts,
            model_name="ResNet18",
            recipe=chosen,
            statistics=statistics,
            seed=seed,
            device="cpu",
            precision=precision,
            work=folder / "work",
            log_path=folder / "log.csv",
            initial=initial,
        )
        epochs = len(pd.read_csv(folder / "log.csv"))
    seconds = time.perf_counter() - begun
    temperature = calibrate(network, statistics, size, parts[1], "cpu", precision)
    logits = Predictor(network, statistics, size, device="cpu", precision=precision).logits(tests)
    actual = np.array([TAXA.index(label) for label in truth])
    called = logits.argmax(axis=1)
    return {
        "variant": name,
        "seed": seed,
        "images": int((use & ~held).sum()),
        "epochs": epochs,
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

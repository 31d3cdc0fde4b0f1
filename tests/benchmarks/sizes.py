"""Every image size: does a network made for it on simulated images alone call the published images right?

    .venv/bin/python tests/benchmarks/sizes.py [--sizes 32 64 112 224] [--per-taxon 300] [--seeds 1 2 3] [--out F.csv]

For each size and seed one network continues from the shipped one (made at 64 pixels) in the four epochs of the default
recipe; with `--starts shipped random` another starts from random weights with the fourteen epochs it has there. They
see the same simulated images, of a cohort of 400 samples (two in five) and of cohorts of all kinds. Prints and writes
the accuracy on 100 other clear CpGs per taxon, the seconds of training (processor time, one thread), and of the three
published images (../shared/data) those called right, with the least calibrated probability of a right taxon.
"""

import argparse
import logging
import pathlib
import time

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
from benchmarking import SHARED
from cpgtaxa.images.packed import normalisation
from cpgtaxa.images.render import planes_of_rgb, read_png
from cpgtaxa.learning.networks import Predictor
from cpgtaxa.learning.recipes import RECIPES, TUNED_RESNET18
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.learning.training import Images, calibrate, targets_of
from cpgtaxa.names import TAXA
from cpgtaxa.simulation import simulate
from cpgtaxa.simulation.training_images import plan
from recipes import fit, shipped_weights, simulated

PUBLISHED = SHARED / "reference_images"
# Share of made-up cohorts, as the shipped network saw them: half of these have the look of the published images.
BROAD = 0.6
STARTS = {"shipped": TUNED_RESNET18, "random": RECIPES["fast"]["ResNet18"]}


def network(start, size, images, labels, others, shares, seed, epochs=None):
    """A predictor trained on four fifths of these images and calibrated on the rest, and the seconds it took."""
    held = np.random.default_rng([seed, 5]).random(len(labels)) < 0.2
    targets = targets_of(labels, others, shares)
    parts = [Images(images[part], targets[part]) for part in (~held, held)]
    statistics = normalisation(images[~held])
    initial = shipped_weights() if start == "shipped" else None
    begun = time.process_time()
    trained, _ = fit(parts, STARTS[start] | ({"epochs": epochs} if epochs else {}), statistics, seed, initial)
    seconds = time.process_time() - begun
    temperature = calibrate(trained, statistics, size, parts[1], "cpu", "auto")
    return Predictor(trained, statistics, size, temperature, device="cpu"), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 48, 64, 96, 112, 160, 224])
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=["shipped"])
    parser.add_argument("--per-taxon", type=int, default=300)
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    published = sorted(PUBLISHED.glob("*.png"))
    rows = []
    for size in arguments.sizes:
        for seed in arguments.seeds:
            ages, boundary = simulate.cohort_setting(seed, 400).ages, arguments.per_taxon * 5 // 2
            made = simulated(seed, plan(seed, arguments.per_taxon, boundary), ages, BROAD, size)
            tests, truth, _, _ = simulated(seed + 1000, plan(seed + 1000, 100, 0), ages, BROAD, size)
            for start in arguments.starts:
                predictor, seconds = network(start, size, *made, seed, arguments.epochs)
                right = np.array(TAXA)[predictor.logits(tests).argmax(axis=1)] == truth
                row = {"size": size, "start": start, "seed": seed, "accuracy": np.mean(right), "seconds": seconds}
                if published:
                    pictures = np.stack([planes_of_rgb(read_png(path), size) for path in published])
                    seen = softmax(predictor.logits(pictures), predictor.temperature)
                    names = [TAXA.index(path.stem.split("_")[1]) for path in published]
                    row["published_right"] = int(np.sum(seen.argmax(axis=1) == names))
                    row["least_p"] = seen[np.arange(len(names)), names].min()
                rows.append(row)
                table = pd.DataFrame(rows).round(4)
                print(table.tail(1).to_string(index=False, header=len(rows) == 1), flush=True)
                if arguments.out:
                    table.to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

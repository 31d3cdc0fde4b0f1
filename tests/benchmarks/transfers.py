"""A network trained on one kind of simulation, tested on others: other noise, other ages, other sample sizes.

    .venv/bin/python tests/benchmarks/transfers.py [--per-taxon 200] [--out FILE.csv]

Each kind is a world of its own: clear CpGs of the ten taxa in which only the noise, the ages or the sample size differ.
A network starts from random weights and sees one of them; every network is then tested on every kind, the shipped one
too. Rows: what was trained on; columns: what was tested on; numbers: accuracy (a clear CpG has one admissible taxon).
"""

import argparse
import logging
import pathlib

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
from benchmarking import read_network
from cpgtaxa.images.packed import normalisation
from cpgtaxa.images.render import planes, render
from cpgtaxa.learning.networks import Predictor
from cpgtaxa.learning.recipes import RECIPES
from cpgtaxa.learning.training import Images, targets_of
from cpgtaxa.names import TAXA
from cpgtaxa.simulation import simulate
from recipes import fit

SIZE = 64
# Kind: samples, youngest and oldest age, and the noise: family, its shape, share of hidden factors and batch shifts.
KINDS = {
    "normal noise": (400, (19, 90), ("normal", 1.0, 0.0, 0.0)),
    "heavy tails": (400, (19, 90), ("student", 5.0, 0.0, 0.0)),
    "skewed noise": (400, (19, 90), ("skewed", 2.5, 0.0, 0.0)),
    "hidden factors, batches": (400, (19, 90), ("normal", 1.0, 0.5, 0.5)),
    "ages 20 to 50": (400, (20, 50), ("normal", 1.0, 0.0, 0.0)),
    "120 samples": (120, (19, 90), ("normal", 1.0, 0.0, 0.0)),
    "2,000 samples": (2000, (19, 90), ("normal", 1.0, 0.0, 0.0)),
}


def drawn(kind, seed, per_taxon):
    """Clear CpGs of one kind: their setting, values (10 × per_taxon, n) and taxa."""
    samples, ages, (noise, shape, factors, batches) = KINDS[kind]
    setting = simulate.cohort_setting(seed, samples, ages)
    labels = [taxon for taxon in TAXA for _ in range(per_taxon)]
    values = []
    for index, taxon in enumerate(labels):
        rng = np.random.default_rng([seed, index])
        profile = simulate.draw_profile(rng, taxon, setting)
        profile.noise, profile.noise_shape = noise, shape
        profile.factor_share, profile.batch_shift = factors, batches
        values.append(simulate.draw_values(rng, profile, setting))
    return setting, np.stack(values), np.array(labels, dtype=object)


def pictures(kind, seed, per_taxon):
    """Clear CpGs of one kind: planes (10 × per_taxon, 2, size, size) and labels."""
    setting, values, labels = drawn(kind, seed, per_taxon)
    blocks = [planes(render(values[start : start + 256], setting.ages), SIZE) for start in range(0, len(values), 256)]
    return np.concatenate(blocks), labels


def network(images, labels, seed):
    """A network trained from random weights on these images, a fifth of which validate."""
    held = np.random.default_rng([seed, 5]).random(len(labels)) < 0.2
    targets = targets_of(labels)
    statistics = normalisation(images[~held])
    sets = [Images(images[part], targets[part]) for part in (~held, held)]
    trained, _ = fit(sets, RECIPES["fast"]["ResNet18"], statistics, seed)
    return Predictor(trained, statistics, SIZE, device="cpu")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-taxon", type=int, default=200)
    parser.add_argument("--trained-on", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    tests = {kind: pictures(kind, arguments.seed + 1000, 50) for kind in KINDS}
    rows = {}
    for name in [*arguments.trained_on, "the shipped network"]:
        made = pictures(name, arguments.seed, arguments.per_taxon) if name in KINDS else None
        predictor = network(*made, arguments.seed) if made else read_network()
        rows[name] = {
            kind: np.mean(np.array(TAXA)[predictor.logits(images).argmax(axis=1)] == labels)
            for kind, (images, labels) in tests.items()
        }
        print(pd.DataFrame(rows).T.round(3).to_string(), flush=True)
    if arguments.out:
        pd.DataFrame(rows).T.round(4).rename_axis("trained on").to_csv(arguments.out)


if __name__ == "__main__":
    main()

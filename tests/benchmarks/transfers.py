"""A network trained on one kind of simulation, tested on others: other noise, other ages, other sample sizes.

    .venv/bin/python tests/benchmarks/transfers.py [--per-taxon 200] [--out FILE.csv]

Each kind is a world of its own: clear CpGs of the ten taxa in which only the noise, the ages or the sample size differ.
A network starts from random weights and sees one of them; every network is then tested on every kind, the shipped one
too. Rows: what was trained on; columns: what was tested on; numbers: accuracy (a clear CpG has one admissible taxon).
"""

import argparse
import logging
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import pandas as pd

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa.images.packed import normalisation  # noqa: E402
from cpgtaxa.images.render import planes, render  # noqa: E402
from cpgtaxa.learning.networks import Predictor, load_predictor  # noqa: E402
from cpgtaxa.learning.recipes import RECIPES  # noqa: E402
from cpgtaxa.learning.training import Images, targets_of, train  # noqa: E402
from cpgtaxa.names import TAXA  # noqa: E402
from cpgtaxa.simulation import simulate  # noqa: E402

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
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        trained = train(
            *(Images(images[part], targets[part]) for part in (~held, held)),
            model_name="ResNet18",
            recipe=RECIPES["fast"]["ResNet18"],
            statistics=statistics,
            seed=seed,
            device="cpu",
            precision="auto",
            work=folder / "work",
            log_path=folder / "log.csv",
        )
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
    beside = ROOT / "resources/reference"
    stem = "ResNet18_"
    shipped = load_predictor(
        *(beside / f"{stem}{name}" for name in ("best_model.pt.gz", "normalization_stat.json", "model.json")),
        model_name="ResNet18",
        device="cpu",
    )
    rows = {}
    for name in [*arguments.trained_on, "the shipped network"]:
        if name in KINDS:
            predictor = network(*pictures(name, arguments.seed, arguments.per_taxon), arguments.seed)
        else:
            predictor = shipped
        rows[name] = {
            kind: np.mean(np.array(TAXA)[predictor.logits(images).argmax(axis=1)] == labels)
            for kind, (images, labels) in tests.items()
        }
        print(pd.DataFrame(rows).T.round(3).to_string(), flush=True)
    if arguments.out:
        pd.DataFrame(rows).T.round(4).rename_axis("trained on").to_csv(arguments.out)


if __name__ == "__main__":
    main()

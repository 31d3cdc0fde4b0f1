"""The target `cell_types` on mixtures of real sorted cells with planted changes.

    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/cell_types.py [--out F.csv]

People: fractions of six types and ages of real people (GSE42861). A person's cells of a type have the mean of the sorted
samples of that type (EPIC) and the deviation of one of them, drawn at random for each person, type and CpG; to it
come a deviation of the person that all types share (sd 0.015) and one of the measurement (0.01). Planted: in one type
the mean changes over the central 90 % of ages by so much, or independent deviations come to it whose sd grows from 0 to
so much. Fractions are the true ones, or told from the mixtures at the 600 CpGs that differ most between the types, which
are left out of the tests. *AUC*: the right type against the other five of the same CpG, by p.
"""

import argparse
import pathlib
import sys
import time

import numpy as np
import pandas as pd
from scipy.stats import rankdata

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from conftest import SHARED, sorted_cells  # noqa: E402
from cpgtaxa.report.tables import wilson  # noqa: E402
from cpgtaxa.targets.cell_fractions.fractions import project  # noqa: E402
from cpgtaxa.targets.cell_types.model import CellModel  # noqa: E402

TYPES = ("Neu", "CD4", "CD8", "NK", "Mono", "B")
MARKERS = 600
MEANS, SPREADS = (0.1, 0.2, 0.3), (0.1, 0.2, 0.3)
SHARED_SD, NOISE_SD = 0.015, 0.01
PER_TYPE, NULL = 150, 1500


class Mixtures:
    """People of known fractions and ages, whose CpGs are mixtures of sorted cells."""

    def __init__(self, n: int, seed: int):
        self.rng = np.random.default_rng([seed, n])
        beta, sheet = sorted_cells()
        kinds, values = sheet["cell_type"].to_numpy(), beta.to_numpy()
        pools = [values[:, kinds == name] for name in TYPES]
        self.means = np.stack([pool.mean(axis=1) for pool in pools], axis=1)  # (CpGs, K)
        self.pools = [
            (pool - pool.mean(axis=1, keepdims=True)) * np.sqrt(pool.shape[1] / (pool.shape[1] - 1)) for pool in pools
        ]
        order = np.argsort(-self.means.var(axis=1), kind="stable")
        self.markers, self.others = order[:MARKERS], order[MARKERS:]
        real = pd.read_csv(SHARED / "methylation/gse42861_random500_samples.csv.gz")
        real = real.iloc[self.rng.choice(len(real), n, replace=n > len(real))]
        ours = {"Neu": ["W_Nue", "W_Eos"], "CD4": ["W_CD4."], "CD8": ["W_CD8."], "NK": ["W_NK"], "Mono": ["W_mono"]}
        ours["B"] = ["W_Bcells"]
        shares = np.column_stack([real[ours[name]].sum(axis=1) for name in TYPES])
        self.fractions, self.ages = shares / shares.sum(axis=1, keepdims=True), real["age"].to_numpy(float)
        low, high = np.quantile(self.ages, [0.05, 0.95])
        self.line = (self.ages - self.ages.mean()) / (high - low)
        self.place = np.clip((self.ages - low) / (high - low), 0, 1)

    def draw(self, cpg: int, kind=None, mean: float = 0.0, spread: float = 0.0) -> np.ndarray:
        """Values (n,) of a CpG, in type `kind` of which something is planted."""
        n = len(self.ages)
        cells = np.empty((n, len(TYPES)))
        for number, pool in enumerate(self.pools):
            cells[:, number] = self.means[cpg, number] + pool[cpg, self.rng.integers(pool.shape[1], size=n)]
        if kind is not None and mean:
            cells[:, kind] += mean * self.line * (1 if self.means[cpg, kind] < 0.5 else -1)
        if kind is not None and spread:
            cells[:, kind] += spread * self.place * self.rng.normal(size=n)
        cells += SHARED_SD * self.rng.normal(size=(n, 1))
        mixed = np.sum(np.clip(cells, 0, 1) * self.fractions, axis=1) + NOISE_SD * self.rng.normal(size=n)
        return np.clip(mixed, 0, 1)

    def told(self) -> np.ndarray:
        """Fractions told from mixtures of the markers, adding up to 1."""
        values = np.array([self.draw(cpg) for cpg in self.markers])
        reference = self.means[self.markers]
        found = np.array([project(reference.T @ reference, reference.T @ values[:, at]) for at in range(len(self.ages))])
        return found / found.sum(axis=1, keepdims=True)

    def planted(self, **change) -> tuple[np.ndarray, np.ndarray]:
        """Values of PER_TYPE CpGs of each type, and the type of each."""
        kinds = np.repeat(np.arange(len(TYPES)), PER_TYPE)
        cpgs = self.rng.choice(self.others, len(kinds))
        return np.array([self.draw(cpg, kind, **change) for cpg, kind in zip(cpgs, kinds, strict=True)]), kinds

    def unchanged(self) -> np.ndarray:
        return np.array([self.draw(cpg) for cpg in self.rng.choice(self.others, NULL, replace=False)])


def right_type_auc(p: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Of each CpG the share of the other types with a larger p than the right one, ties half; a mean of it is an AUC.

    p: (k, K); kinds: (k,).
    """
    ranks = rankdata(-np.where(np.isnan(p), 1, p), axis=1)
    return (ranks[np.arange(len(p)), kinds] - 1) / (p.shape[1] - 1)


def pooled_auc(p: np.ndarray, kinds: np.ndarray, chosen) -> float:
    """AUC of right (CpG, type) pairs against all other pairs of the chosen CpGs."""
    right = np.arange(p.shape[1]) == kinds[:, None]
    p, right = p[chosen], right[chosen]
    ranks = rankdata(-np.where(np.isnan(p), 1, p))
    hits = right.ravel().sum()
    return float((ranks[right.ravel()].sum() - hits * (hits + 1) / 2) / hits / (right.size - hits))


def full(p: np.ndarray, model: CellModel) -> np.ndarray:
    """p of all types (k, 6), NaN of those not tested."""
    found = np.full((len(p), len(TYPES)), np.nan)
    found[:, [TYPES.index(name) for name in model.names]] = p
    return found


def rows_of(n: int, seed: int, told: bool):
    """Rows: figure, type, n_samples, fractions, n, value, low, high, target."""
    people = Mixtures(n, seed)
    fractions = people.told() if told else people.fractions
    model = CellModel(fractions, list(TYPES), people.ages, np.zeros((n, 0)))
    base = {"n_samples": n, "fractions": "told" if told else "true"}

    def share(figure, hits, of, target=np.nan, kind="all"):
        low, high = wilson(int(hits), int(of)) if of else (np.nan, np.nan)
        value = hits / of if of else np.nan
        return {"figure": figure, "type": kind, **base, "n": int(of), "value": value, "low": low, "high": high} | {
            "target": target
        }

    for one in model.types:
        yield {"figure": "own sd of the fraction", "type": one.name, **base, "n": n, "value": one.own}
    values = people.unchanged()
    begin = time.process_time()
    found = model.test(values)
    yield {"figure": "µs a CpG", "type": "all", **base, "n": len(values), "value": (time.process_time() - begin) / NULL * 1e6}
    for what, column in (("mean", "p"), ("spread", "spread_p")):
        below = full(found[column], model) < 0.05
        yield share(f"type I error, {what}", below.sum(), below.size, 0.05)
        for number, name in enumerate(TYPES):
            yield share(f"type I error, {what}", below[:, number].sum(), len(below), kind=name)
    for what, sizes, column, other in (("mean", MEANS, "p", "spread_p"), ("spread", SPREADS, "spread_p", "p")):
        for size in sizes:
            values, kinds = people.planted(**{what: size})
            found = model.test(values)
            p = full(found[column], model)
            aucs, label = right_type_auc(p, kinds), f"{what} by {size:g}"
            target = 0.9 if size == sizes[-1] else np.nan
            row = {**base, "n": len(p)}
            yield {"figure": f"AUC, {label}", "type": "all", **row, "value": aucs.mean(), "target": target}
            yield {"figure": f"pooled AUC, {label}", "type": "all", **row, "value": pooled_auc(p, kinds, slice(None))}
            for number, name in enumerate(TYPES):
                mine = kinds == number
                yield {"figure": f"AUC, {label}", "type": name, **row, "n": int(mine.sum()), "value": aucs[mine].mean()}
            wrong = p[np.arange(len(TYPES)) != kinds[:, None]] < 0.05
            yield share(f"other types with p < 0.05, {label}", wrong.sum(), wrong.size)
            crossed = full(found[other], model) < 0.05
            yield share(f"p of the other test < 0.05, {label}", crossed.sum(), crossed.size)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests/benchmarks/cell_types.csv")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED} is not there: the sorted cells are needed")
    rows = [row for told in (False, True) for row in rows_of(600, arguments.seed, told)]
    table = pd.DataFrame(rows)
    print(table.round(4).to_string(index=False))
    table.to_csv(arguments.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()

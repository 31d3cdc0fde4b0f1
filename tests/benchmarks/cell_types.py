"""The target `cell_types` on mixtures of real sorted cells with planted changes.

    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/cell_types.py [--out F.csv]

People: fractions of six types and ages of real people (GSE42861). A person's cells of a type have the mean of the
sorted samples of that type (EPIC) and the deviation of one of them, drawn at random for each person, type and CpG; to
it come a deviation of the person that all types share (sd 0.015) and one of the measurement (0.01). Planted: in one
type the mean changes over the central 90 % of ages by so much, or independent deviations come to it whose sd grows from
0 to so much. Fractions are the true ones, or estimated at the 600 CpGs that differ most between the types,
which are left out of the tests. *AUC*: the right type against the other five of the same CpG, by p. *Named*: the
columns `cell_type` and `spread_cell_type` among CpGs of which 900 change in one type (by 0.3), 600 in all types alike
(the mean by 0.1, the spread by 0.06), 1,500 not at all.
"""

import argparse
import pathlib
import time

import numpy as np
import pandas as pd
from benchmarking import HERE
from conftest import SHARED, sorted_cells
from cpgtaxa.statistics.age_ewas import benjamini_hochberg
from cpgtaxa.targets.cell_fractions.fractions import project
from cpgtaxa.targets.cell_types.model import CellModel
from cpgtaxa.targets.cell_types.table import UNDECIDED, called, spread_called
from scipy.stats import rankdata

TYPES = ("Neu", "CD4", "CD8", "NK", "Mono", "B")
MARKERS = 600
MEANS, SPREADS = (0.1, 0.2, 0.3), (0.1, 0.2, 0.3)
COMMON_CHANGES = {"mean": 0.1, "spread": 0.06}
ALL = slice(None)
SHARED_SD, NOISE_SD = 0.015, 0.01
N, PER_TYPE, NULL, COMMON = 600, 150, 1500, 600


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

    def draw(self, cpg: int, kind=ALL, mean: float = 0.0, spread: float = 0.0) -> np.ndarray:
        """Values (n,) of a CpG, in the types `kind` (a slice) of which something is planted."""
        n = len(self.ages)
        cells = np.empty((n, len(TYPES)))
        for number, pool in enumerate(self.pools):
            cells[:, number] = self.means[cpg, number] + pool[cpg, self.rng.integers(pool.shape[1], size=n)]
        up = 1 if self.means[cpg, kind].mean() < 0.5 else -1
        cells[:, kind] += up * mean * self.line[:, None] + spread * self.place[:, None] * self.rng.normal(size=(n, 1))
        cells += SHARED_SD * self.rng.normal(size=(n, 1))
        mixed = np.sum(np.clip(cells, 0, 1) * self.fractions, axis=1) + NOISE_SD * self.rng.normal(size=n)
        return np.clip(mixed, 0, 1)

    def estimated(self) -> np.ndarray:
        """Fractions estimated from mixtures of the markers, adding up to 1."""
        values = np.array([self.draw(cpg) for cpg in self.markers])
        reference = self.means[self.markers]
        gram = reference.T @ reference
        found = np.array([project(gram, reference.T @ column) for column in values.T])
        return found / found.sum(axis=1, keepdims=True)

    def planted(self, **change) -> tuple[np.ndarray, np.ndarray]:
        """Values of PER_TYPE CpGs of each type, and the type of each."""
        kinds = np.repeat(np.arange(len(TYPES)), PER_TYPE)
        cpgs = self.rng.choice(self.others, len(kinds))
        drawn = [self.draw(cpg, slice(kind, kind + 1), **change) for cpg, kind in zip(cpgs, kinds, strict=True)]
        return np.array(drawn), kinds

    def common(self, **change) -> np.ndarray:
        """Values of COMMON CpGs that change alike in all types."""
        return np.array([self.draw(cpg, ALL, **change) for cpg in self.rng.choice(self.others, COMMON)])

    def unchanged(self) -> np.ndarray:
        return np.array([self.draw(cpg) for cpg in self.rng.choice(self.others, NULL, replace=False)])


def right_type_auc(p: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Of each CpG the share of the other types with a larger p than the right one, ties half; a mean of it is an AUC.

    p: (k, K); kinds: (k,).
    """
    ranks = rankdata(-np.where(np.isnan(p), 1, p), axis=1)
    return (ranks[np.arange(len(p)), kinds] - 1) / (p.shape[1] - 1)


def full(p: np.ndarray, model: CellModel) -> np.ndarray:
    """p of all types (k, 6), NaN of those not tested."""
    found = np.full((len(p), len(TYPES)), np.nan)
    found[:, [TYPES.index(name) for name in model.names]] = p
    return found


def rows_of(people: Mixtures, model: CellModel):
    """Rows: figure, type, n, value, target; the name of one of TYPES, or all."""

    def row(figure, value, n, kind="all", target=np.nan):
        return {"figure": figure, "type": kind, "n": int(n), "value": value, "target": target}

    values = people.unchanged()
    begin = time.process_time()
    found = model.test(values)
    yield row("µs a CpG", (time.process_time() - begin) / len(values) * 1e6, len(values))
    for what, column in (("mean", "p"), ("spread", "spread_p")):
        below = full(found[column], model) < 0.05
        yield row(f"type I error, {what}", below.mean(), below.size, target=0.05)
        for number, name in enumerate(TYPES):
            yield row(f"type I error, {what}", below[:, number].mean(), len(below), name)
    for what, sizes, column, other in (("mean", MEANS, "p", "spread_p"), ("spread", SPREADS, "spread_p", "p")):
        for size in sizes:
            values, kinds = people.planted(**{what: size})
            tested = model.test(values)
            p = full(tested[column], model)
            aucs, label = right_type_auc(p, kinds), f"{what} changes by {size:g}"
            yield row(f"AUC, {label}", aucs.mean(), len(p), target=0.9 if size == sizes[-1] else np.nan)
            for number, name in enumerate(TYPES):
                mine = kinds == number
                yield row(f"AUC, {label}", aucs[mine].mean(), mine.sum(), name)
            wrong = p[np.arange(len(TYPES)) != kinds[:, None]] < 0.05
            yield row(f"other types with p < 0.05, {label}", wrong.mean(), wrong.size)
            crossed = full(tested[other], model) < 0.05
            yield row(f"{other} < 0.05, {label}", crossed.mean(), crossed.size)
    for what in COMMON_CHANGES:
        yield from named(what, people, model, found, row)


def named(what: str, people: Mixtures, model: CellModel, unchanged: dict, row):
    """Rows of what stands in the column `cell_type`, or of changes of spread in `spread_cell_type`."""
    values, kinds = people.planted(**{what: 0.3})
    tested = [model.test(values), model.test(people.common(**{what: COMMON_CHANGES[what]})), unchanged]
    joined = {name: np.concatenate([part[name] for part in tested]) for name in unchanged}
    joined["spread_q"] = benjamini_hochberg(joined["spread_p"].ravel()).reshape(joined["spread_p"].shape)
    said = (called if what == "mean" else spread_called)(joined, model.names)[0]
    given = (said != "") & (said != UNDECIDED)
    one, common, none = np.split(np.arange(len(said)), np.cumsum([len(part["p"]) for part in tested])[:-1])
    right = said[one] == np.array(TYPES)[kinds]
    yield row(f"{what}, named, of those that change in one type", given[one].mean(), len(one))
    for number, name in enumerate(TYPES):
        mine = kinds == number
        yield row(f"{what}, named, of those that change in one type", given[one][mine].mean(), mine.sum(), name)
    yield row(f"{what}, right, of these named", right.sum() / max(given[one].sum(), 1), given[one].sum())
    yield row(f"{what}, undecided, of those that change in all types", (said[common] == UNDECIDED).mean(), len(common))
    yield row(f"{what}, named, of those that change in all types", given[common].mean(), len(common))
    yield row(f"{what}, undecided, of those that change in one type", (said[one] == UNDECIDED).mean(), len(one))
    yield row(f"{what}, named, of those that do not change", given[none].mean(), len(none))
    yield row(f"{what}, undecided, of those that do not change", (said[none] == UNDECIDED).mean(), len(none))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "cell_types.csv")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED} is not there: the sorted cells are needed")
    rows = []
    for seed in arguments.seeds:
        for kind in ("true", "estimated"):
            people = Mixtures(N, seed)
            fractions = people.fractions if kind == "true" else people.estimated()
            model = CellModel(fractions, list(TYPES), people.ages, np.zeros((N, 0)))
            base = {"n_samples": N, "fractions": kind, "seed": seed}
            rows += [base | row for row in rows_of(people, model)]
            figure = "sd of the fraction beside the others"
            rows += [base | {"figure": figure, "type": one.name, "n": N, "value": one.own} for one in model.types]
    table = pd.DataFrame(rows)
    wide = table.pivot_table("value", ["figure", "type"], ["fractions", "seed"], sort=False)
    print(wide.round(3).to_string())
    table.to_csv(arguments.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()

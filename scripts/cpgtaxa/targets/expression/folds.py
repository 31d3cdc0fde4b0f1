"""Cross-validation in which nothing of a person is on both sides, and everything is fitted inside the fold."""

import dataclasses

import numpy as np
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold

STOP_SHARE = 1 / 6
"""Share of a fold's training samples by which a network stops training."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """Rows of the samples: `train` and `test`, and of `train` those to `fit` and to `stop` early by.

    `may` (n,) bool: rows whose person is not among those of `train`, to which this fold's model may be applied.
    """

    train: np.ndarray
    test: np.ndarray
    fit: np.ndarray
    stop: np.ndarray
    may: np.ndarray
    seed: int


@dataclasses.dataclass
class Gene:
    """A gene to predict. x (n, CpGs) float32 M-values, NaN missing; y (n,) float32, NaN where unknown; seed."""

    name: str
    x: np.ndarray
    y: np.ndarray
    seed: int


def folds(trained: np.ndarray, person: np.ndarray, k: int, seed: int) -> list[Fold]:
    """k folds of the rows where `trained` (n,) bool; `person` (n,) are names. Shuffled by `seed`.

    Where each person has one sample, the split is scikit-learn's KFold(shuffle=True), as published.
    """
    rows, people = np.flatnonzero(trained), person[trained]
    alone = len(np.unique(people)) == len(people)
    splitter = (KFold if alone else GroupKFold)(k, shuffle=True, random_state=seed)
    found = []
    for number, (train, test) in enumerate(splitter.split(rows, groups=None if alone else people)):
        inner = GroupShuffleSplit(1, test_size=STOP_SHARE, random_state=seed + number)
        fit, stop = next(inner.split(train, groups=people[train]))
        train_rows = rows[train]
        may = ~np.isin(person, people[train])
        found.append(Fold(train_rows, rows[test], train_rows[fit], train_rows[stop], may, seed + number))
    return found


def m_values(beta: np.ndarray) -> np.ndarray:
    """log2(beta / (1 - beta)), float32, between -10 and 10 also at 0 and 1; NaN where missing."""
    with np.errstate(divide="ignore"):
        m = np.log2(beta.astype(np.float64) / (1 - beta))
    return np.clip(m, -10, 10).astype(np.float32)


class Scale:
    """What standardises M-values and expression, learnt from a fold's training samples alone."""

    def __init__(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray):
        """x (n, CpGs) with NaN, y (n,), and the rows to learn from."""
        there = ~np.isnan(x[rows])
        count = np.maximum(there.sum(axis=0), 1)
        filled = np.where(there, x[rows], 0).astype(np.float64)
        self.mean = filled.sum(axis=0) / count
        spread = np.where(there, x[rows] - self.mean, 0)
        sd = np.sqrt((spread**2).sum(axis=0) / count)
        self.sd = np.where(sd > 1e-6, sd, np.inf)  # constant here: says nothing
        self.y_mean, y_sd = float(y[rows].mean(dtype=np.float64)), float(y[rows].std(dtype=np.float64))
        self.y_sd = y_sd if y_sd > 1e-9 else 1.0

    def x(self, x: np.ndarray) -> np.ndarray:
        """Standardised, float32; 0, the mean, where missing."""
        return np.nan_to_num((x - self.mean) / self.sd, copy=False).astype(np.float32)

    def y(self, y: np.ndarray) -> np.ndarray:
        return ((y - self.y_mean) / self.y_sd).astype(np.float32)

    def back(self, y: np.ndarray) -> np.ndarray:
        """Standardised expression in its own units, float32."""
        return (y * self.y_sd + self.y_mean).astype(np.float32)

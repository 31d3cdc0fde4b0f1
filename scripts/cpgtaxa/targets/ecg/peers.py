"""Peers of the ECG networks: the median age, and gradient boosting on intervals and amplitudes, on the same split."""

import itertools
import logging

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupKFold

from cpgtaxa.errors import InputError, some
from cpgtaxa.files import read_parquet, write_parquet
from cpgtaxa.progress import Progress
from cpgtaxa.seeds import unit_seed
from cpgtaxa.targets.ecg.plan import AGES

FEW = 500
"""With fewer training records than these, the first of the following lists are tried, else the second."""
RATES = (0.05, 0.15)
"""Learning rates."""
LEAVES = (7,), (7, 31)
"""Leaves of a tree, at most."""
LEAST = (3, 10), (20,)
"""Records of a leaf, at least."""
ROUNDS = (25, 50, 100), (25, 50, 100, 200, 400)
"""Numbers of trees: one fit with the most gives all."""
INNER = 3
"""Parts of the training records, by patients, that the settings are chosen by."""
CHOOSE_BY = 6000
"""Training records that the settings are chosen by, about: whole patients, drawn at random where there are more."""
SEXES = {"F": 0.0, "M": 1.0}


def _grid(n: int) -> tuple[list[dict], tuple[int, ...]]:
    """What is tried with n training records: settings of the trees, and numbers of them."""
    many = int(n >= FEW)
    products = itertools.product(RATES, LEAVES[many], LEAST[many])
    settings = [
        {"learning_rate": rate, "max_leaf_nodes": most, "min_samples_leaf": least} for rate, most, least in products
    ]
    return settings, ROUNDS[many]


class _Boosting:
    """HistGradientBoostingRegressor of the absolute error; constant columns are left out.

    scikit-learn 1.9 does not bin a column without any number. Where no column is left, it predicts the median age.
    """

    def __init__(self, trees: int, setting: dict, seed: int):
        self.trees = trees
        self.model = HistGradientBoostingRegressor(
            loss="absolute_error", max_iter=trees, early_stopping=False, random_state=seed, **setting
        )

    def fit(self, x: np.ndarray, ages: np.ndarray) -> "_Boosting":
        self.median = float(np.median(ages))
        lowest, highest = np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)
        self.columns = np.flatnonzero(lowest < highest)
        if len(self.columns):
            self.model.fit(x[:, self.columns], ages)
        return self

    def staged_predict(self, x: np.ndarray):
        """Yield (n,) years after each tree."""
        if not len(self.columns):
            return iter([np.full(len(x), self.median)] * self.trees)
        return self.model.staged_predict(x[:, self.columns])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n,) years."""
        return self.model.predict(x[:, self.columns]) if len(self.columns) else np.full(len(x), self.median)


def _choose(x: np.ndarray, ages: np.ndarray, patients: np.ndarray, seed: int) -> tuple[int, dict, float]:
    """Number of trees and settings with the least mean absolute error of training records, and this error in years.

    Each training record is predicted by a fit to those of other patients.
    """
    persons = np.unique(patients)
    settings, rounds = _grid(len(ages))
    if len(persons) < 2:
        return rounds[0], settings[0], np.nan
    errors = np.zeros((len(settings), len(rounds)))
    inner = min(INNER, len(persons))
    progress = Progress(inner * len(settings), "fits to choose the settings by")
    for learn, ask in GroupKFold(inner, shuffle=True, random_state=seed).split(x, ages, patients):
        for row, setting in enumerate(settings):
            model = _Boosting(rounds[-1], setting, seed).fit(x[learn], ages[learn])
            for trees, predicted in enumerate(model.staged_predict(x[ask]), 1):
                if trees in rounds:
                    errors[row, rounds.index(trees)] += np.abs(predicted - ages[ask]).sum()
            progress.step()
    row, column = np.unravel_index(errors.argmin(), errors.shape)
    return rounds[column], settings[row], float(errors.min() / len(ages))


def _gradient_boosting(x: np.ndarray, ages: np.ndarray, patients: np.ndarray, seed: int):
    """Histogram gradient boosting of the absolute error (scikit-learn), settings chosen within the training records.

    x: (n, features), NaN where not measured; ages: (n,) years. Returns a function of (m, features) that gives (m,)
    years.
    """
    taken = np.arange(len(ages))
    if len(ages) > CHOOSE_BY:
        persons, whose = np.unique(patients, return_inverse=True)
        order = np.random.default_rng(seed).permutation(len(persons))
        # Whole patients, in a random order, until there are enough records.
        total = np.cumsum(np.bincount(whose)[order])
        taken = np.flatnonzero(np.isin(whose, order[: np.searchsorted(total, CHOOSE_BY) + 1]))
    trees, setting, error = _choose(x[taken], ages[taken], patients[taken], seed)
    chosen = ", ".join(f"{name} {value:g}" for name, value in setting.items())
    logging.info(f"{trees} trees, {chosen}: mean absolute error {error:.2f} years over {len(taken):,} training records")
    return _Boosting(trees, setting, seed).fit(x, ages).predict


def _median(x: np.ndarray, ages: np.ndarray, patients: np.ndarray, seed: int):
    """What a model must beat: the median age of the training records, whatever is asked."""
    median = float(np.median(ages))
    logging.info(f"median {median:g} years of {len(ages):,} training records")
    return lambda asked: np.full(len(asked), median)


FITS = {"GradientBoosting": _gradient_boosting, "Median": _median}


def _table(records: pd.DataFrame, paths) -> np.ndarray:
    """(n, features) float64 of the records in their order: the sex, and what `measure` wrote but its R peaks."""
    measured = pd.concat([read_parquet(path).drop(columns="r_peaks") for path in paths], ignore_index=True)
    measured = measured.set_index("record")
    twice = measured.index[measured.index.duplicated()]
    lacking = records.index[~records["record"].isin(measured.index)]
    if len(twice):
        raise InputError(f"the ECG features hold records twice: {some(twice)}. Delete them and start again")
    if len(lacking):
        raise InputError(
            f"the ECG features lack records: {some(records['record'][lacking])}. Delete them and start again"
        )
    sex = records["sex"].map(SEXES).to_numpy(dtype=np.float64)
    return np.column_stack([sex, measured.loc[records["record"]].to_numpy(dtype=np.float64)])


def fit_peer(paths, out, *, group: str, peer: str, folds: int, seed: int) -> None:
    """Fit a peer to the group's records outside each fold, and predict those in it and those only asked about.

    paths: `records`, and `features` (a list of the files of `features.measure`, in any order). Records of fold -1 are
    only asked about, in every fold. out: Parquet with record, fold (int8), age and predicted (float64 years), the
    latter within the published AGES of the group.
    """
    records = read_parquet(paths["records"])
    records = records[records["group"] == group].reset_index(drop=True)
    x = _table(records, paths["features"])
    ages, part = (records[column].to_numpy() for column in ("age", "fold"))
    # A record whose patient is not known is one of its own.
    patients = records["patient"].where(records["patient"] != "", "record " + records["record"]).to_numpy(dtype=str)
    found = []
    for fold in Progress(folds, f"folds of {peer}, {group}").over(range(folds)):
        learn, ask = (part >= 0) & (part != fold), (part == fold) | (part == -1)
        if not learn.any():
            raise InputError(f"no {group} records are left to learn from when fold {fold + 1} is held out; give more")
        if not ask.any():
            continue
        predict = FITS[peer](x[learn], ages[learn], patients[learn], unit_seed(seed, peer, group, fold))
        frame = records.loc[ask, ["record", "age"]]
        frame.insert(1, "fold", np.int8(fold))
        found.append(frame.assign(predicted=np.clip(predict(x[ask]), *AGES[group])))
    table = pd.concat(found, ignore_index=True)
    write_parquet(out, table)
    error = (table["predicted"] - table["age"]).abs().mean()
    logging.info(f"{peer} of {group}: mean absolute error {error:.2f} years over the held-out records")

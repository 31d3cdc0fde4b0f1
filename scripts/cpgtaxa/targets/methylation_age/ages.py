"""An age from methylation for every person of the cohort, predicted by a clock trained without them.

An elastic net on the CpGs that change most with age, as the first clocks of many tissues and of blood (Horvath 2013,
Genome Biology 14:R115; Hannum et al. 2013, Molecular Cell 49:359). The people are dealt out to folds; for each fold the
CpGs are chosen, the penalty is found and the clock is fitted among the others alone.
"""

import logging
import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNetCV

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError
from cpgtaxa.pages.page import write_csv
from cpgtaxa.progress import Progress
from cpgtaxa.targets.methylation_age.page import page

L1_RATIO = 0.5
"""Half lasso, half ridge, as the clocks of the literature."""
PENALTIES = 30
INNER = 5
"""Folds by which the penalty is found."""
FEWEST = 30
"""People from whom a clock is learnt."""


def folds_of(ages: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each person, (n,): people of like ages are dealt out one to each, in a random order."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(ages)), ages))
    found = np.empty(len(ages), dtype=int)
    for start in range(0, len(ages), folds):
        here = order[start : start + folds]
        found[here] = rng.permutation(folds)[: len(here)]
    return found


def correlations(cohort: Cohort, ages: np.ndarray, fold: np.ndarray, folds: int) -> np.ndarray:
    """Pearson's r of every CpG with age among the people outside each fold: (n_cpgs, folds) float32, NaN → 0.

    In one pass over the file; missing values are left out, pair by pair.
    """
    outside = (fold[:, None] != np.arange(folds)).astype(np.float64)
    centred = ages - ages.mean()
    weights = np.hstack([outside, outside * centred[:, None], outside * centred[:, None] ** 2])
    found = np.zeros((len(cohort), folds), dtype=np.float32)
    progress = Progress(len(cohort), "CpGs correlated with age")
    for start, block in cohort.blocks():
        values = np.asarray(block, dtype=np.float64)
        known = np.isfinite(values)
        # From the CpG's mean, so that sums of squares lose nothing.
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)
        x = np.where(known, values - mean[:, None], 0)
        n, age, age2 = np.split(known.astype(np.float64) @ weights, 3, axis=1)
        sum_x, sum_xa = np.split(x @ weights[:, : 2 * folds], 2, axis=1)
        sum_x2 = (x * x) @ outside
        with np.errstate(invalid="ignore", divide="ignore"):
            top = sum_xa - sum_x * age / n
            below = np.sqrt((sum_x2 - sum_x**2 / n) * (age2 - age**2 / n))
            r = top / below
        found[start : start + len(block)] = np.where(np.isfinite(r) & (below > 1e-9), r, 0)
        cohort.release()
        progress.step(len(block))
    return found


def cross_fitted_ages(
    cohort: Cohort, ages: np.ndarray, *, folds: int, cpgs: int, seed: int, weights: list | None = None
) -> pd.DataFrame:
    """methylation_age (years), fold, cpgs (of those chosen, how many the clock weighs), in the cohort's order.

    ages: (n,) years; cpgs: CpGs chosen for each fold, those of the largest absolute correlation with age; weights:
    where given, each fold's clock is added to it as a pair of rows in the cohort and years per standard deviation.

    CpGs are chosen pair by pair, without filling in. A fit of many CpGs at once needs all values: a missing one
    becomes the CpG's mean among those the clock learns from, which says nothing of age. Whoever lacks much is predicted
    nearer to the mean age for it.
    """
    if len(ages) < FEWEST:
        raise InputError(f"a methylation clock needs at least {FEWEST} people; the cohort has {len(ages)}")
    fold = folds_of(ages, folds, seed)
    r = np.abs(correlations(cohort, ages, fold, folds))
    predicted, weighed = np.empty(len(ages)), np.empty(len(ages), dtype=int)
    progress = Progress(folds, "folds of the clock")
    for number in range(folds):
        learn = fold != number
        chosen = np.sort(np.argpartition(-r[:, number], min(cpgs, len(r)) - 1)[: min(cpgs, len(r))])
        values = cohort.take(chosen).T.astype(np.float64)
        # Of the values there are; where there are none, the CpG is 0 throughout and weighs nothing.
        known = np.isfinite(values)
        n = np.maximum(known[learn].sum(axis=0), 1)
        mean = np.where(known, values, 0)[learn].sum(axis=0) / n
        values = np.where(known, values - mean, 0)
        spread = np.sqrt((values[learn] ** 2).sum(axis=0) / n)
        values /= np.where(spread > 0, spread, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = ElasticNetCV(
                l1_ratio=L1_RATIO, alphas=PENALTIES, cv=INNER, selection="cyclic", max_iter=3000
            ).fit(values[learn], ages[learn])  # fmt: skip
        predicted[~learn], weighed[~learn] = model.predict(values[~learn]), np.count_nonzero(model.coef_)
        if weights is not None:
            weights.append((chosen, model.coef_))
        progress.step()
    return pd.DataFrame({"methylation_age": predicted, "fold": fold, "cpgs": weighed})


def weight_table(cohort: Cohort, weights: list) -> pd.DataFrame:
    """cpg, weight (years per standard deviation, mean over the folds, 0 where not chosen), folds (that weigh it).

    weights: of `cross_fitted_ages`. In the order of the absolute weight, largest first; CpGs that none weighs are left
    out.
    """
    total, number = np.zeros(len(cohort)), np.zeros(len(cohort), dtype=int)
    for rows, values in weights:
        total[rows] += values / len(weights)
        number[rows] += values != 0
    rows = np.flatnonzero(number)
    rows = rows[np.argsort(-np.abs(total[rows]), kind="stable")]
    return pd.DataFrame({"cpg": np.asarray(cohort.cpgs)[rows], "weight": total[rows], "folds": number[rows]})


def predict_ages(given: dict, outputs: dict, *, settings: dict, seed: int) -> None:
    """Write the methylation ages of the cohort's people, and a page about them.

    given: `beta` (a `Cohort`), `samples`. settings: `folds`, `cpgs`. outputs: `ages`, CSV person (sample_id), age,
    methylation_age (years), gap (methylation_age less age), fold, cpgs: as `ecg_age.methylation` reads it; `weights`,
    CSV of `weight_table`; `html`; `figures`, a folder.
    """
    cohort, samples = Cohort(given["beta"]), read_samples(given["samples"])
    ages = samples["age"].to_numpy(dtype=np.float64)
    weights = []
    found = cross_fitted_ages(cohort, ages, seed=seed, weights=weights, **settings)
    found.insert(0, "person", samples["sample_id"].to_numpy())
    found.insert(1, "age", ages)
    found.insert(3, "gap", found["methylation_age"] - ages)
    table = weight_table(cohort, weights)
    write_csv(outputs["ages"], found, float_format="%.4f")
    write_csv(outputs["weights"], table)
    sex = samples["sex"].to_numpy() if "sex" in samples else None
    page(outputs, found, sex, table, cohort.n_cpgs, settings)
    error = found["gap"].abs()
    r = np.corrcoef(found["methylation_age"], ages)[0, 1]
    logging.info(
        f"{len(found):,} people: mean absolute error {error.mean():.2f} years, median {error.median():.2f}, r {r:.3f}"
    )

"""p-values of paired comparisons, and Holm's correction: what the tests of every target share."""

import numpy as np
from scipy.stats import wilcoxon

FEWEST = 6
"""Pairs of values below which signed ranks reach no p-value of 0.05."""


def holm(p) -> np.ndarray:
    """p-values (…, k) after Holm's correction over the last axis; NaN is no test, and stays NaN.

    Equal to statsmodels' `multipletests`, which collects garbage at each call, here made for each CpG.
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, axis=-1)
    ordered = np.take_along_axis(p, order, axis=-1)
    number = np.isfinite(p).sum(axis=-1, keepdims=True)
    scaled = np.minimum(np.fmax.accumulate(ordered * np.maximum(number - np.arange(p.shape[-1]), 1), axis=-1), 1)
    found = np.empty_like(p)
    np.put_along_axis(found, order, np.where(np.isnan(ordered), np.nan, scaled), axis=-1)
    return found


def signed_ranks(difference: np.ndarray) -> float:
    """p of Wilcoxon's signed ranks for paired differences (n,); NaN for fewer than FEWEST, or where all are 0."""
    return float(wilcoxon(difference).pvalue) if len(difference) >= FEWEST and np.any(difference) else np.nan

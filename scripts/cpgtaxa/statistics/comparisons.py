"""p-values of paired comparisons, and Holm's correction: what the tests of every target share."""

import numpy as np
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

FEWEST = 6
"""Pairs of values below which signed ranks reach no p-value of 0.05."""


def holm(p) -> np.ndarray:
    """p-values (k,) after Holm's correction over those that are there; NaN where there is none."""
    p = np.asarray(p, dtype=float)
    found, tested = np.full(len(p), np.nan), ~np.isnan(p)
    if tested.any():
        found[tested] = multipletests(p[tested], method="holm")[1]
    return found


def signed_ranks(difference: np.ndarray) -> float:
    """p of Wilcoxon's signed ranks for paired differences (n,); NaN for fewer than FEWEST, or where all are 0."""
    return float(wilcoxon(difference).pvalue) if len(difference) >= FEWEST and np.any(difference) else np.nan

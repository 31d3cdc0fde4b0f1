"""The area under the ROC curve, the genes' parts in its error, and its interval (DeLong and others 1988)."""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import rankdata

Z = 1.959963984540054
"""Half the width of a 95 % interval in standard errors."""


def auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a value of `positive` (n,) bool is above one that is not, ties half; NaN without either."""
    n = int(positive.sum())
    if n == 0 or n == len(positive) or np.isnan(values).any():
        return np.nan
    return float((rankdata(values)[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def parts_of_auc(values: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray]:
    """The AUC, and each gene's part in its error, (n,): the sum of their squares is DeLong's variance.

    A positive's part is its placement (the share of negatives below it, ties half) less the AUC, over their number m,
    times √(m / (m − 1)); a negative's likewise.
    """
    area = auc(values, positive)
    parts = np.zeros(len(values))
    every = rankdata(values)
    for group, sign in ((positive, 1.0), (~positive, -1.0)):
        m, n = int(group.sum()), int((~group).sum())
        below = (every[group] - rankdata(values[group])) / n
        placement = below if sign > 0 else 1 - below
        parts[group] = (placement - area) / m * (np.sqrt(m / (m - 1)) if m > 1 else 1.0)
    return area, parts


def interval_of_auc(area: float, variance: float, fewest: int) -> tuple[float, float]:
    """95 % interval of an AUC on the scale of its logit, which ends within 0 and 1.

    fewest: genes of the smaller group. Where both groups are separated without an error the variance is 0 and says
    nothing: the bound is then that of a share of 1 among so many.
    """
    if np.isnan(area):
        return np.nan, np.nan
    if area in (0.0, 1.0):
        bound = 0.025 ** (1 / fewest)
        return (bound, 1.0) if area == 1.0 else (0.0, 1 - bound)
    half = Z * np.sqrt(variance) / (area * (1 - area))
    return float(expit(logit(area) - half)), float(expit(logit(area) + half))


def roc(values: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    hits = np.cumsum(positive[order])[ends]
    misses = np.cumsum(~positive[order])[ends]
    return np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1])

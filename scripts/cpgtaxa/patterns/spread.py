"""How the spread of a CpG around its trend changes with age: the shapes of `shape`, of the logarithm of the spread.

Absolute residuals are fitted by a log-linear spline with a variance that grows as their mean squared (a gamma model,
by iteratively reweighted least squares on the bins of age). Its working response, on the scale of log spread and of
one variance, then goes the way of the level: a spread is curved where the spline contradicts the line, and bends by
more than a spread on a line of age itself does.
"""

import numpy as np
from scipy import special

from cpgtaxa.patterns.shape import (
    CHANGE_POINT,
    COLUMNS,
    UNADJUSTED,
    Binned,
    Design,
    Limits,
    Scales,
    judge,
    level_shapes,
    weighted_fit,
)
from cpgtaxa.taxa.criteria import BY_NAME, SPREAD_FLOOR

PREFIX = "spread_"
ROUNDS = 4
"""Reweighted fits."""
FAR = 3.0
"""Ratios of a bin's mean to the fit count as no larger than this, so that fits close in from either side."""
FEWEST = 300
"""Values from which on a curve is told: a few people far from the others look like one. Of 100 people of GSE42861 as
many CpGs have one as with ages dealt out at random (23, and 21 to 31, of 2,995)."""
LEAST = 1e-4
"""Mean absolute residuals (beta) are taken to be at least this."""
LIMITS = Limits(np.log(BY_NAME["spread"].low), np.log(BY_NAME["spread"].high), bend=0.05, share=0.15)
"""Of the log ratio of spreads over the central 90 % of ages. A spread that grows threefold along a straight line bends,
as a logarithm, by a fifth of what its line does."""


class Spread(Binned):
    """Log spread of k CpGs by age, as `Binned` has their levels: what is said of values there is of log spreads here.

    counts, means, within: (k, 1, b) of the working response. sd: (k,) of the residuals of beta.
    """

    def __init__(self, binned: Binned):
        self.design, self.scales, self.n, self.sd = binned.design, UNADJUSTED, binned.n, binned.sd
        self.counts, self.kept = binned.counts.sum(axis=1, keepdims=True), np.ones(len(binned.n))
        held, growth = np.maximum(self.counts[:, 0], 1), -np.log(binned.weight) / 2
        mean, square = binned.absolute.sum(axis=1) / held, binned.squared.sum(axis=1) / held
        self.weight = np.ones_like(mean)
        level = np.log(np.maximum(binned.absolute.sum(axis=(1, 2)) / np.maximum(self.n, 1), LEAST))[:, None]
        centre = (growth * self.counts[:, 0]).sum(axis=1) / np.maximum(self.n, 1)
        self.spline = level + growth - centre[:, None]
        for _ in range(ROUNDS):
            ratio = np.minimum(mean / np.maximum(np.exp(self.spline), LEAST), FAR)
            self.spline = self._spline(self.counts * (self.spline + ratio - 1)[:, None])
            self.spline = np.clip(self.spline, level - FAR, level + FAR)
        self.straight = self._line(mean)
        fitted = np.maximum(np.exp(self.spline), LEAST)
        self.means = (self.spline + mean / fitted - 1)[:, None]
        self.within = (held * np.maximum(square - mean**2, 0) / fitted**2)[:, None]

    def _line(self, mean) -> np.ndarray:
        """Logarithm (k, b) of the spread that is itself a line of age. mean: (k, b) absolute residuals."""
        basis, fitted = self.design.basis[:, :2], np.exp(self.spline)
        least = np.maximum(mean.max(axis=1, keepdims=True) / 20, LEAST)
        for _ in range(ROUNDS):
            weight = self.counts[:, 0] / np.maximum(fitted, least) ** 2
            fitted = weighted_fit(basis, weight, weight * mean)[0] @ basis.T
        return np.log(np.maximum(fitted, least))

    def bend(self):
        """As of levels, and the larger p-value and smaller bend of two lines: of log spread, and of spread."""
        p, bend = super().bend()
        t = self.design.basis.shape[1] - 2
        if t < 1:
            return p, bend
        over = self.squares(self.straight).sum(axis=1) / np.maximum(self.squares(self.spline).sum(axis=1), 1e-12) - 1
        rest = np.maximum(self.n - t - 2, 1)
        held = self.counts[:, 0] / np.maximum(self.n, 1)[:, None]
        away = (held * np.square(self.spline - self.straight)).sum(axis=1) - t / np.maximum(self.n, 1)
        p = np.maximum(p, special.fdtrc(t, rest, np.maximum(over, 0) * rest / t))
        return p, np.minimum(bend, np.sqrt(np.maximum(away, 0)))


def spread_shapes(binned: Binned) -> dict[str, np.ndarray]:
    """Shapes of the spread of k CpGs around the spline of `binned`: as of `judge`, with PREFIX before their names."""
    spread = Spread(binned)
    # What narrow CpGs do is not to be seen: spreads are those of √(sd² + SPREAD_FLOOR²).
    unit = 1 + np.square(SPREAD_FLOOR / np.maximum(spread.sd, LEAST))
    found = judge(spread, unit, LIMITS)
    curved = (spread.n < FEWEST) & ~np.isin(found["shape"], ["none", "linear"])
    found["shape"][curved] = "undecided"
    for name in CHANGE_POINT:
        found[name][curved] = np.nan
    return {PREFIX + name: column for name, column in found.items()}


def describe_spread(values, design: Design, log_ratio, scales: Scales = UNADJUSTED) -> dict[str, np.ndarray]:
    """`spread_shapes` of k CpGs without a trend, in a third of the time; arguments as of `describe`."""
    if design.n_bins < 2:
        return _undecided(len(values), [PREFIX + name for name in COLUMNS])
    return spread_shapes(Binned(values, design, log_ratio, scales, rounds=1))


def describe(values, design: Design, log_ratio, scales: Scales = UNADJUSTED) -> dict[str, np.ndarray]:
    """Shapes of change of k CpGs, of their level and their spread: a few dozen at a time are fastest.

    values: (k, n) float32 beta, NaN where missing; bands (genotypes, sexes) put on one level. log_ratio: (k,) float64,
    log ratio of the spreads at the 95th and 5th percentile of age (NaN: constant). scales: of betas that were adjusted.

    Returns the columns (k,) of `level_shapes` and `spread_shapes`.
    """
    if design.n_bins < 2:
        return _undecided(len(values), (*COLUMNS, "sex_divergent", "sex_p", *(PREFIX + name for name in COLUMNS)))
    binned = Binned(values, design, log_ratio, scales)
    return level_shapes(binned) | spread_shapes(binned)


def _undecided(k: int, names) -> dict[str, np.ndarray]:
    """Columns (k,) of CpGs of people of one age."""
    return {name: np.full(k, *(("undecided", object) if name.endswith("shape") else (np.nan,))) for name in names}

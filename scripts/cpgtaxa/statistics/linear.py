"""The trend with age beside covariates, CpG by CpG: the slope and standard error of limma's lmFit."""

import numpy as np

FLAT = 1e-6
"""A combination of columns that varies less than this, in standard deviations, is none."""
ROWS = 1024
"""CpGs with missing values that are solved together."""
ALIKE = 4
"""Samples of each age and covariates, on average, from which they are taken together."""


def kinds_of(design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first sample of each kind, and each sample's kind, (n,): kinds are the different rows of design (n, c)."""
    return np.unique(design, axis=0, return_index=True, return_inverse=True)[1:]


def grams(basis: np.ndarray, there: np.ndarray, kinds: tuple) -> np.ndarray:
    """Products of the basis' columns over the samples of each CpG, (k, p, p).

    basis: (n, p), the same in all samples of a kind; there: (k, n) float64, 1 or 0; kinds: of `kinds_of`. Samples of
    few kinds, as pooled cohorts have, are counted and taken together.
    """
    (first, kind), p = kinds, basis.shape[1]
    if len(first) <= len(kind) / ALIKE:
        order = np.argsort(kind, kind="stable")
        starts = np.searchsorted(kind[order], np.arange(len(first)))
        basis, there = basis[first], np.add.reduceat(there[:, order], starts, axis=1)
    return (there @ (basis[:, :, None] * basis[:, None, :]).reshape(-1, p * p)).reshape(-1, p, p)


class AgeSlope:
    """Least squares of beta on 1 + age + covariates, over the samples in which a CpG has a value."""

    def __init__(self, ages: np.ndarray, covariates: np.ndarray):
        """ages: (n,) years, not all equal. covariates: (n, c) numbers, indicators of all levels but one.

        Columns that add nothing to the others cost no degree of freedom, as in R.
        """
        centred = ages - ages.mean()
        columns = covariates - covariates.mean(axis=0)
        columns = columns / np.where(columns.std(axis=0) > 0, columns.std(axis=0), 1)
        left, size, _ = np.linalg.svd(np.column_stack([np.ones(len(ages)), columns]), full_matrices=False)
        others = left[:, size > FLAT * np.sqrt(len(ages))]
        beside = centred - others @ (others.T @ centred)
        self.length = np.linalg.norm(beside)
        self.basis = np.column_stack([others, beside / self.length])
        self.kinds = kinds_of(np.column_stack([ages, covariates]))

    def fit(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slope per year, its standard error, and the residual degrees of freedom, each (k,) float64.

        values: (k, n) float64, NaN where missing. Slope and error are NaN where the samples with a value do not
        separate age from the covariates, the error also where no degree of freedom is left.
        """
        known = np.isfinite(values)
        count = known.sum(axis=1)
        y = np.where(known, values, 0)
        y -= known * (y.sum(axis=1) / np.maximum(count, 1))[:, None]
        weights = y @ self.basis
        scale = np.ones(len(y))
        rank = np.full(len(y), self.basis.shape[1])
        gaps = np.flatnonzero(count < values.shape[1])
        for start in range(0, len(gaps), ROWS):
            rows = gaps[start : start + ROWS]
            weights[rows], scale[rows], rank[rows] = self._solve(weights[rows], known[rows])
        left = np.where(known, y - weights @ self.basis.T, 0)
        df = np.maximum(count - rank, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(np.sum(left**2, axis=1) / df * scale) / self.length
        slope = np.where(np.isnan(scale), np.nan, weights[:, -1]) / self.length
        return slope, np.where(df > 0, error, np.nan), df

    def _solve(self, right: np.ndarray, known: np.ndarray):
        """Weights (k, p), variance of age's weight over that of the noise (k,), and rank (k,), on each CpG's samples.

        right: (k, p) sums of value × basis. The variance is NaN where age is not separable from the others.
        """
        gram = grams(self.basis, known.astype(np.float64), self.kinds)
        size, turn = np.linalg.eigh(gram)
        kept = size > FLAT * size[:, -1:]
        with np.errstate(divide="ignore"):
            inverse = (turn * np.where(kept, 1 / size, 0)[:, None, :]) @ turn.transpose(0, 2, 1)
        identified = np.sum(np.square(turn[:, -1, :]) * kept, axis=1) > 1 - FLAT
        weights = np.einsum("ijk,ik->ij", inverse, right)
        return weights, np.where(identified, inverse[:, -1, -1], np.nan), kept.sum(axis=1)

"""Which cells a trend with age, or a change of spread, belongs to: interactions of cell fractions with age.

Each CpG is fitted by beta ~ Σ f_k (a_k + b_k age) + covariates, where f_k are the fractions of the cell types, without
any other intercept (CellDMC, Zheng et al. 2018, Nature Methods 15:1059). b_k is the slope of type k; t-tests have HC3
errors.

For spread the squared residuals are looked at: Σ f_k a_k + covariates where nothing changes, and f_k² age comes to it
where cells of type k vary more, independently of the others. Such changes are held against each other two by two
(`Spread`). With a slope for each type at once, as for the means, the right type is told less often (0.84 in place of
0.90), without weights too (0.88).
"""

import dataclasses

import numpy as np
from scipy import stats

from cpgtaxa.statistics.comparisons import holm

FLAT = 1e-6
"""A combination of columns that varies less than this, in units of the largest, is none."""
LEAST_OWN = 0.01
"""A type is tested if its fraction varies by at least this (in cells of all cells) beside the others."""
RARE = 0.01
"""A type with less than this share of the cells (root mean square over samples) has no term."""
ROWS = 128
"""CpGs with missing values that are solved together."""


LEAST_VARIANCE = 0.25
"""Least variance of a sample, in shares of the mean one, by which it is weighted."""


@dataclasses.dataclass
class Type:
    """A cell type: mean and sd of its fraction; `own`, the sd that it has beside the others; why it is not tested."""

    name: str
    mean: float
    sd: float
    own: float
    untested: str = ""


class Interactions:
    """Least squares of many CpGs on the same columns, one for each type of which is tested.

    columns: (n, p) float64; at: the columns (K,) that are tested. df: n − rank.
    """

    def __init__(self, columns: np.ndarray, at):
        self.scale = np.sqrt(np.mean(columns**2, axis=0))
        self.columns, self.at = columns / np.where(self.scale > 0, self.scale, 1), np.asarray(at, dtype=int)
        left, size, turn = np.linalg.svd(self.columns, full_matrices=False)
        kept = size > FLAT * size[0]
        self.basis, self.rank = left[:, kept], int(kept.sum())
        self.inverse = (turn[kept].T / size[kept]) @ self.basis.T
        self.estimable = np.sum(turn[kept] ** 2, axis=0) > 1 - FLAT
        self.left_over = 1 - np.sum(self.basis**2, axis=1)
        self.pairs = np.triu_indices(len(self.at))

    def own(self) -> np.ndarray:
        """Root mean square (p,) of what the others leave of each column, in its own units; 0 where nothing."""
        n = len(self.columns)
        with np.errstate(divide="ignore"):
            found = self.scale / np.sqrt(n * np.sum(self.inverse**2, axis=1))
        return np.where(self.estimable, found, 0.0)

    def fit(self, y: np.ndarray) -> dict[str, np.ndarray]:
        """Coefficients (k, K), their HC3 covariance (k, K, K), degrees of freedom (k,), residuals and leverages (k, n).

        y: (k, n) float64, NaN where missing; such samples are as if they were absent. Coefficients are NaN where the
        samples with a value leave no degree of freedom or do not tell a tested column from the others.
        """
        known = np.isfinite(y)
        whole = known.all(axis=1)
        found = {
            "b": np.full((len(y), len(self.at)), np.nan),
            "cov": np.full((len(y), len(self.at), len(self.at)), np.nan),
            "df": np.zeros(len(y)),
            "left": np.full(y.shape, np.nan),
            "free": np.ones(y.shape),
        }
        if whole.any() and self.left_over.sum() >= 1 - FLAT:
            self._whole(y, np.flatnonzero(whole), found)
        gaps = np.flatnonzero(~whole)
        for start in range(0, len(gaps), ROWS):
            self._gaps(y, gaps[start : start + ROWS], known, found)
        scale = self.scale[self.at]
        found["b"] /= scale
        found["cov"] /= scale[:, None] * scale
        return found

    def _whole(self, y, rows, found) -> None:
        values = y[rows]
        left = values - (values @ self.basis) @ self.basis.T
        free = np.maximum(self.left_over, FLAT)
        weights = self.inverse[self.at]
        one, other = self.pairs
        packed = (left / free) ** 2 @ (weights[one] * weights[other]).T
        cov = np.empty((len(rows), len(self.at), len(self.at)))
        cov[:, one, other] = cov[:, other, one] = packed
        estimable = self.estimable[self.at]
        found["b"][rows] = np.where(estimable, values @ weights.T, np.nan)
        found["cov"][rows] = np.where(estimable[:, None] & estimable, cov, np.nan)
        found["df"][rows], found["left"][rows], found["free"][rows] = len(free) - self.rank, left, free

    def _gaps(self, y, rows, known, found) -> None:
        """The same of CpGs with missing values, each on its own samples."""
        there = known[rows].astype(np.float64)
        values = np.where(known[rows], y[rows], 0)
        p = self.columns.shape[1]
        products = (self.columns[:, :, None] * self.columns[:, None, :]).reshape(-1, p * p)
        size, turn = np.linalg.eigh((there @ products).reshape(-1, p, p))
        kept = size > FLAT**2 * size[:, -1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            root = turn * np.where(kept, 1 / np.sqrt(size), 0)[:, None, :]
        inverse = root @ root.transpose(0, 2, 1)
        weights = (inverse @ (values @ self.columns)[:, :, None])[:, :, 0]
        left = there * (values - weights @ self.columns.T)
        free = np.maximum(1 - inverse.reshape(-1, p * p) @ products.T, FLAT)
        meat = ((left / free) ** 2 @ products).reshape(-1, p, p)
        df = there.sum(axis=1) - kept.sum(axis=1)
        estimable = np.sum(np.square(turn[:, self.at, :]) * kept[:, None, :], axis=2) > 1 - FLAT
        estimable &= (df > 0)[:, None]
        some = inverse[:, self.at, :]
        cov = some @ meat @ some.transpose(0, 2, 1)
        found["b"][rows] = np.where(estimable, weights[:, self.at], np.nan)
        found["cov"][rows] = np.where(estimable[:, :, None] & estimable[:, None, :], cov, np.nan)
        found["df"][rows] = df
        found["left"][rows] = np.where(known[rows], left, np.nan)
        found["free"][rows] = free


def t_tests(fit: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard errors, t and two-sided p, each (k, K), of a fit; NaN where there is nothing to test."""
    error = np.sqrt(np.einsum("kaa->ka", fit["cov"]))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(error > 0, fit["b"] / error, np.nan)
    return np.where(np.isnan(t), np.nan, error), t, 2 * stats.t.sf(np.abs(t), np.maximum(fit["df"], 1)[:, None])


def equal_slopes(fit: dict) -> np.ndarray:
    """p (k,) of Wald's F-test that all K slopes of a fit are the same; NaN where there is nothing to test."""
    k, types = fit["b"].shape
    if types < 2:
        return np.full(k, np.nan)
    contrast = np.eye(types)[:-1] - np.eye(types)[1:]
    apart = fit["b"] @ contrast.T
    cov = contrast @ fit["cov"] @ contrast.T
    p = np.full(k, np.nan)
    good = np.isfinite(cov).all(axis=(1, 2)) & np.isfinite(apart).all(axis=1)
    good[good] = np.einsum("kaa->k", cov[good]) > 0
    square = np.einsum("ka,kab,kb->k", apart[good], np.linalg.pinv(cov[good], hermitian=True), apart[good])
    p[good] = stats.f.sf(square / (types - 1), types - 1, np.maximum(fit["df"][good], 1))
    return p


def least_of(p: np.ndarray) -> np.ndarray:
    """The smallest of each row (k,) of p (k, K), NaN where there is none."""
    found = np.min(np.where(np.isnan(p), np.inf, p), axis=1)
    return np.where(np.isinf(found), np.nan, found)


def whole_slope(fit: dict, shares: np.ndarray) -> np.ndarray:
    """p (k,) of the t-test that the slopes of a fit, weighted with the types' shares (K,), add up to 0."""
    sums = {"b": fit["b"] @ shares[:, None], "cov": (shares @ fit["cov"] @ shares)[:, None, None], "df": fit["df"]}
    return t_tests(sums)[2][:, 0]


class Spread:
    """Score tests of whether the squared residuals of many CpGs change with age in one type of cells.

    A change in each type alone, and one of all cells alike, is tested beside what does not change, and beside each of
    the others: what another explains as well belongs to no type. Samples are weighted by the variance that a fit
    without changes gives them; errors are robust. What goes with the covariates is taken out first, without weights, so
    that many of them cost no time.
    """

    def __init__(self, fractions: np.ndarray, tested: list[int], age: np.ndarray, covariates: np.ndarray):
        """fractions: (n, q), adding up to nearly 1; tested: the columns of the K types; age: (n,) and covariates (n, c)
        are centred."""
        left, size, _ = np.linalg.svd(covariates, full_matrices=False)
        self.beside = left[:, size > FLAT * size[:1].sum()]
        size = np.sqrt(np.mean(fractions**2, axis=0))
        self.base = self._without(fractions / size)
        self.changes = self._without(np.column_stack([fractions[:, tested] ** 2 * age[:, None], age]))
        self.products = _products(np.hstack([self.base, self.changes]))
        self.base_products = _products(self.base)

    def _without(self, columns: np.ndarray) -> np.ndarray:
        """Columns (n, p) without what goes with the covariates."""
        return columns - self.beside @ (self.beside.T @ columns)

    def test(self, squares: np.ndarray) -> dict[str, np.ndarray]:
        """t and p (k, K) of each type, beside its closest rival, and any_p (k,) that nothing changes.

        squares: (k, n), r² corrected for leverage, NaN where missing. NaN where there is nothing to test.
        """
        parts = [self._some(squares[start : start + ROWS]) for start in range(0, len(squares), ROWS)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _solved(self, weights: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weighted fits of y (k, n) by the base: values (k, n), inverse normal matrices (k, q, q), ranks (k,)."""
        q = self.base.shape[1]
        size, turn = np.linalg.eigh((weights @ self.base_products).reshape(-1, q, q))
        kept = size > FLAT**2 * np.maximum(size[:, -1:], np.finfo(float).tiny)
        inverse = (turn * np.where(kept, 1 / np.where(kept, size, 1), 0)[:, None, :]) @ turn.transpose(0, 2, 1)
        fitted = (inverse @ ((weights * y) @ self.base)[:, :, None])[:, :, 0] @ self.base.T
        return fitted, inverse, kept.sum(axis=1)

    def _some(self, squares: np.ndarray) -> dict[str, np.ndarray]:
        known = np.isfinite(squares)
        n, q, c = known.sum(axis=1), self.base.shape[1], self.base.shape[1] + self.changes.shape[1]
        mean = np.nansum(squares, axis=1) / np.maximum(n, 1)
        y = np.where(known, squares / np.where(mean > 0, mean, 1)[:, None], 1)
        y = np.where(known, self._without(y.T).T, 0)
        weights = known.astype(np.float64)
        for _ in range(2):
            variance = np.maximum(self._solved(weights, y)[0], LEAST_VARIANCE)
            weights = known / variance**2
        fitted, inverse, rank = self._solved(weights, y)
        pulls = weights * (y - fitted)
        free = 1 - weights * (inverse.reshape(-1, q * q) @ self.base_products.T)
        gram = (weights @ self.products).reshape(-1, c, c)
        meat = ((pulls**2 / np.maximum(free, FLAT)) @ self.products).reshape(-1, c, c)
        taken = np.concatenate(
            [-inverse @ gram[:, :q, q:], np.broadcast_to(np.eye(c - q), (len(y), c - q, c - q))], axis=1
        )
        sizes, cov = (taken.transpose(0, 2, 1) @ matrix @ taken for matrix in (gram, meat))
        score, df = pulls @ self.changes, n - rank - self.beside.shape[1] - 1
        left_over = np.einsum("kaa->ka", sizes) > FLAT * np.einsum("kaa->ka", gram)[:, q:]
        score[~left_over | ((df < 1) | (mean <= 0))[:, None]] = np.nan
        return _beside_rivals(score, sizes, cov, np.maximum(df, 1)[:, None])


def _products(columns: np.ndarray) -> np.ndarray:
    """Products (n, p²) of all pairs of columns (n, p)."""
    return (columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1)


def _beside_rivals(score, sizes, cov, df) -> dict[str, np.ndarray]:
    """t, p and any_p of `Spread.test`. score: (k, K + 1) of the changes, the last one of all cells alike; sizes, cov:
    (k, K + 1, K + 1) of what the base leaves of them, and of the score."""
    own = np.einsum("kaa->ka", cov)
    with np.errstate(invalid="ignore", divide="ignore"):
        alone = score / np.sqrt(own)
        least = alone[:, :-1].copy()
        for one in range(least.shape[1]):
            for rival in range(score.shape[1]):
                if rival == one:
                    continue
                share = sizes[:, one, rival] / sizes[:, rival, rival]
                error = own[:, one] - 2 * share * cov[:, one, rival] + share**2 * own[:, rival]
                t = (score[:, one] - share * score[:, rival]) / np.sqrt(
                    np.where(error > FLAT * own[:, one], error, np.inf)
                )
                least[:, one] = np.where(np.abs(t) < np.abs(least[:, one]), t, least[:, one])
    p = 2 * stats.t.sf(np.abs(alone), df)
    return {"t": least, "p": 2 * stats.t.sf(np.abs(least), df), "any_p": least_of(holm(p))}


class CellModel:
    """The model of a cohort's CpGs, and of their squared residuals.

    types: all cell types given; names: those that are tested, in the order of the columns that `test` returns.
    """

    def __init__(self, fractions: np.ndarray, names: list[str], ages: np.ndarray, covariates: np.ndarray):
        """fractions: (n, K) of all cells, adding up to 1; ages: (n,) years; covariates: (n, c) numbers."""
        self.sd_age = ages.std()
        age = ((ages - ages.mean()) / self.sd_age)[:, None]
        kept = np.flatnonzero(np.sqrt(np.mean(fractions**2, axis=0)) >= RARE)
        used, beside = fractions[:, kept], covariates - covariates.mean(axis=0)
        beside = beside[:, beside.std(axis=0) > 0]
        columns = np.hstack([used, used * age, beside])
        sizes = Interactions(columns, []).own()[len(kept) : 2 * len(kept)]
        own = dict(zip(kept, sizes, strict=True))
        self.types = []
        for number, name in enumerate(names):
            share = fractions[:, number]
            one = Type(name, float(share.mean()), float(share.std()), float(own.get(number, 0.0)))
            if number not in own:
                one.untested = f"fewer than {RARE:.0%} of the cells"
            elif one.own < LEAST_OWN:
                one.untested = f"its fraction varies by {one.own:.2%} of the cells beside the others"
            self.types.append(one)
        tested = [place for place, number in enumerate(kept) if not self.types[number].untested]
        self.shares = used[:, tested].mean(axis=0)
        self.names = [names[kept[place]] for place in tested]
        self.interactions = Interactions(columns, [len(kept) + place for place in tested])
        self.spread = Spread(used, tested, age[:, 0], beside)

    def test(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Of each CpG and tested type, (k, K) float64: slope (per year), se, p, spread_t, spread_p; and (k,) equal_p,
        that all slopes are the same, trend_p, that cells mixed as they are on average have none, and spread_any_p, that
        no spread changes.

        values: (k, n) float64, NaN where missing.
        """
        fit = self.interactions.fit(values)
        error, _, p = t_tests(fit)
        squares = np.where(fit["df"][:, None] > 0, fit["left"] ** 2 / fit["free"], np.nan)
        spread = self.spread.test(squares)
        found = {"slope": fit["b"] / self.sd_age, "se": error / self.sd_age, "p": p}
        found |= {f"spread_{name}": numbers for name, numbers in spread.items()}
        return found | {"equal_p": equal_slopes(fit), "trend_p": whole_slope(fit, self.shares)}

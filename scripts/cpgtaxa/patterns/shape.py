"""How the level of a CpG changes with age: not at all, along a line, or along a curve, and where the curve turns.

Samples are summed up in bins of age, by sex: everything after that costs as much for a thousand samples as for ten
thousand. Values far from a spline are pulled in first (Huber's estimator by winsorised residuals), fits are weighted by
the change of spread that the statistics found, and errors are robust to any other (HC3). A CpG is curved where the
spline contradicts the line by a Wald test and bends by more than next to nothing. Which curve it is: least squares over
a grid of change points, compared by BIC.
"""

import dataclasses

import numpy as np
from scipy import special
from scipy.interpolate import CubicSpline

from cpgtaxa.taxa.criteria import BY_NAME, EFFECT_FLOOR, MIN_SAMPLES

BINS = 100
"""Bins of age, all of one width."""
POINTS = 96
"""Change points that are tried, at most."""
KNOTS = 7
"""Knots of the natural cubic spline: two less are the terms beyond the line."""
CLIP = 3.0
"""Residuals count as no larger than this many of their standard deviations (1.4826 × median absolute deviation)."""
ROUNDS = 3
"""Fits that residuals are pulled in from."""
SCALE_SAMPLES = 800
"""The median absolute deviation is taken from about so many samples."""
CHANCE = 0.01
"""p-value up to which a trend is there, or a spline contradicts the line."""
ARM = 0.25
"""A curve that turns back by this share of its larger arm, within the central 90 % of ages, is a wave."""
RATIO = 2.0
"""Change is mostly before the change point where the slope before is this many times that after."""
BIC_GAIN = 2.0
"""A shape must describe the CpG better than the next other shape by this much BIC."""
FAMILIES = {
    "saturating": ("saturating", "broken"),
    "late_onset": ("late_onset", "broken"),
    "step": ("step",),
    "wave": ("parabola", "tent", "broken"),
}
"""The curves whose change point is that of a shape."""
TERMS = {"broken": 4}
"""Terms of a curve, its change point among them, where they are not three."""
ENDS = (0.05, 10)
"""Change points leave this share of the samples, and this many, on either side."""
REACH = 6.635
"""Change points whose deviance is this much above the least are in the 95 % interval. The quantile for normal noise is
3.8; with that of 99 %, intervals hold the point in 95 % of simulated CpGs, whose trends bend a little besides."""
CHANGE_POINT = ("change_point", "change_point_low", "change_point_high")
COLUMNS = ("shape", "shape_p", *CHANGE_POINT)
LEAST_OF_SEX = 15
"""Fewest values of a sex for a slope of its own."""
HELD = 0.8
"""Spreads grow no further beyond this distance from the mid of the central 90 % of ages, in such ranges."""


class Design:
    """What depends on the ages alone: bins, basis of the spline, curves on the grid of change points.

    n: samples. order: (n,) positions that sort them by sex and bin. bin: (n,) bin of each, in that order. x: (b,)
    standardised mean age of each bin. basis: (b, t) columns 1, x and the spline's terms beyond the line, at most
    KNOTS − 2. points: (p,) change points, years. curves: by family (b, p). low, high: ages between which 90 % lie.
    """

    def __init__(self, ages, sexes=None):
        """ages: (n,) float64 years, finite. sexes: (n,) 0, 1, or -1 where not known."""
        ages = np.asarray(ages, dtype=np.float64)
        sexes = np.full(len(ages), -1) if sexes is None else np.asarray(sexes, dtype=int)
        self.n = len(ages)
        self.low, self.high = np.quantile(ages, [0.05, 0.95])
        width = max(np.ptp(ages) / BINS, 1e-9)
        places = np.minimum((ages - ages.min()) / width, BINS - 1).astype(int)
        _, places = np.unique(places, return_inverse=True)
        held = np.bincount(places)
        self.n_bins = len(held)
        cells = (sexes + 1) * self.n_bins + places
        self.order = np.argsort(cells, kind="stable")
        self.bin = places[self.order]
        self._cells, self._starts = np.unique(cells[self.order], return_index=True)
        self.centre, self.scale = ages.mean(), max(ages.std(), 1e-9)
        years = np.bincount(places, ages) / held
        self.x = (years - self.centre) / self.scale
        span = max(self.high - self.low, 1e-9)
        self.position = np.clip((years - (self.low + self.high) / 2) / span, -HELD, HELD)
        self.central = (years >= self.low) & (years <= self.high)
        self.basis = self._spline(held, ages)
        least = max(ENDS[0] * self.n, ENDS[1])
        before = np.cumsum(held)[:-1]
        inner = np.flatnonzero((before >= least) & (self.n - before >= least))
        if len(inner) > POINTS:
            inner = inner[np.linspace(0, len(inner) - 1, POINTS).round().astype(int)]
        self.points = (years[inner] + years[inner + 1]) / 2
        x, c = self.x[:, None], self._standard(self.points)[None, :]
        self.curves = {
            "saturating": np.minimum(x, c),
            "late_onset": np.maximum(x, c),
            "step": (x > c).astype(float),
            "parabola": (x - c) ** 2,
            "tent": np.abs(x - c),
        }

    def _standard(self, age):
        return (np.asarray(age) - self.centre) / self.scale

    def _spline(self, held, ages) -> np.ndarray:
        """The basis (b, t): 1, x, and what a natural spline adds, orthonormal over the samples."""
        line = np.column_stack([np.ones(self.n_bins), self.x])
        inner = self._standard(np.quantile(ages, np.linspace(0, 1, KNOTS)[1:-1]))
        knots = np.unique(np.concatenate([self.x[[0, -1]], inner]).round(6))
        knots = knots[np.concatenate([[True], np.diff(knots) > 0.02])]
        if len(knots) < 3 or self.n_bins < len(knots) + 2:
            return line[:, : min(self.n_bins, 2)]
        terms = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")(self.x)
        root = np.sqrt(held / self.n)[:, None]
        plain, _ = np.linalg.qr(line * root)
        rest = terms * root
        rest -= plain @ (plain.T @ rest)
        further, sizes, _ = np.linalg.svd(rest, full_matrices=False)
        return np.column_stack([line, (further / root)[:, sizes > 1e-8 * max(sizes[0], 1)]])

    def sums(self, values) -> np.ndarray:
        """Sums (k, 3, b) float64 of ordered values (k, n): by sex (unknown, 0, 1) and bin."""
        found = np.zeros((len(values), 3 * self.n_bins))
        found[:, self._cells] = np.add.reduceat(values, self._starts, axis=1)
        return found.reshape(len(values), 3, self.n_bins)


def weighted_fit(basis, weights, sums):
    """Weighted least squares. basis: (b, t); weights, sums: (k, b) of weights and of weighted values.

    Returns coefficients (k, t) and the inverse of the normal matrix (k, t, t).
    """
    t = basis.shape[1]
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), t * t)
    normal = (weights @ products).reshape(-1, t, t)
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    inverse = np.linalg.inv(normal + (1e-10 * trace + 1e-12) * np.eye(t))
    return np.einsum("kij,kj->ki", inverse, sums @ basis), inverse


def _covariance(basis, inverse, each, squares):
    """HC3 covariance (k, t, t) of coefficients. each: (k, b) weight of a sample; squares: (k, b) sums of residuals²."""
    t = basis.shape[1]
    leverage = each * np.einsum("bi,kij,bj->kb", basis, inverse, basis, optimize=True)
    meat = each**2 * squares / np.square(1 - np.minimum(leverage, 0.9))
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), t * t)
    return inverse @ (meat @ products).reshape(-1, t, t) @ inverse


def _squares(within, counts, means, fitted):
    """Sums (k, b) of squared residuals from fitted (k, b), of cells (k, g, b)."""
    return (within + counts * np.square(means - fitted[:, None])).sum(axis=1)


def _t_p(t, df):
    """Two-sided p-values of t statistics."""
    return special.betainc(df / 2, 0.5, df / (df + np.square(t)))


@dataclasses.dataclass(frozen=True)
class Scales:
    """What adjusting for covariates did to the tests: as in `statistics.compute`."""

    t_scale: float = 1.0
    curve_scale: float = 1.0
    lost: int = 0


UNADJUSTED = Scales()


class Binned:
    """k CpGs, robustly summed up by age and sex.

    n: (k,) samples with a value. weight: (k, b) of a sample. counts, means, within: (k, 3, b) samples, mean and sum of
    squares around it, by sex. absolute, squared: (k, 3, b) sums of residuals from the spline. spline: (k, b). sd: (k,)
    of these. kept: (k,) share of residuals not pulled in.
    """

    def __init__(self, values, design: Design, log_ratio, scales: Scales, rounds: int = ROUNDS):
        """values: (k, n) float32, NaN where missing. log_ratio: (k,) log ratio of spreads over the central 90 %.

        rounds: fits that residuals are pulled in from.
        """
        self.design, self.scales = design, scales
        given = np.ascontiguousarray(values[:, design.order])
        lacking = np.isnan(given)
        some = lacking.any()
        given[lacking] = 0
        self.counts = design.sums((~lacking).astype(np.float32)) if some else self._all_there(len(given))
        held = self.counts.sum(axis=1)
        self.n = held.sum(axis=1)
        growth = np.clip(np.nan_to_num(log_ratio), -2, 2)[:, None] * design.position
        self.weight = np.exp(-2 * growth)
        spreads = np.exp(growth).astype(np.float32)
        pulled, step = given, max(1, design.n // SCALE_SAMPLES)
        for _ in range(rounds):
            spline = self._spline(design.sums(pulled))
            fitted = spline.astype(np.float32)[:, design.bin]
            residual = given - fitted
            relative = np.abs(residual[:, ::step]) / spreads[:, design.bin[::step]]
            if some:
                relative[lacking[:, ::step]] = np.nan
            relative.sort(axis=1)
            middle = (np.isfinite(relative).sum(axis=1) - 1) // 2
            scale = 1.4826 * relative[np.arange(len(relative)), np.maximum(middle, 0)]
            limit = (CLIP * np.maximum(np.nan_to_num(scale), 1e-4)[:, None] * spreads).astype(np.float32)
            limit = limit[:, design.bin]
            pulled = fitted + np.clip(residual, -limit, limit)
            pulled[lacking] = 0
        inside = (np.abs(residual) <= limit) & ~lacking
        self.kept = np.maximum(inside.sum(axis=1) / np.maximum(self.n, 1), 0.5)
        sums = design.sums(pulled)
        self.spline = self._spline(sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.means = np.where(self.counts > 0, sums / self.counts, 0)
        residual = pulled - self.spline.astype(np.float32)[:, design.bin]
        residual[lacking] = 0
        self.absolute, self.squared = design.sums(np.abs(residual)), (squares := design.sums(np.square(residual)))
        self.within = np.maximum(squares - self.counts * np.square(self.means - self.spline[:, None]), 0)
        self.sd = np.sqrt(squares.sum(axis=(1, 2)) / np.maximum(self.n - design.basis.shape[1], 1))

    def _all_there(self, k) -> np.ndarray:
        one = self.design.sums(np.ones((1, self.design.n), np.float32))
        return np.broadcast_to(one, (k, *one.shape[1:]))

    def _spline(self, sums) -> np.ndarray:
        weights, sums = self.weight * self.counts.sum(axis=1), self.weight * sums.sum(axis=1)
        self._coefficients, self._inverse = weighted_fit(self.design.basis, weights, sums)
        return self._coefficients @ self.design.basis.T

    def squares(self, fitted, group=slice(None)) -> np.ndarray:
        """Sums (k, b) of squared residuals from fitted (k, b); group: which sexes."""
        return _squares(self.within[:, group], self.counts[:, group], self.means[:, group], fitted)

    def line(self, group=slice(None)):
        """Intercept and slope (k, 2) by standardised age, their covariance (k, 2, 2), samples (k,). group: of sexes."""
        basis, counts = self.design.basis[:, :2], self.counts[:, group]
        held, sums = counts.sum(axis=1), (counts * self.means[:, group]).sum(axis=1)
        found, inverse = weighted_fit(basis, self.weight * held, self.weight * sums)
        covariance = _covariance(basis, inverse, self.weight, self.squares(found @ basis.T, group))
        return found, covariance / np.square(self.kept * self.scales.t_scale)[:, None, None], held.sum(axis=1)

    def bend(self):
        """p-value (k,) that the trend is a line, and by how much the spline leaves it (k,): sd over the samples."""
        basis = self.design.basis
        t = basis.shape[1] - 2
        if t < 1:
            return np.full(len(self.n), np.nan), np.zeros(len(self.n))
        covariance = _covariance(basis, self._inverse, self.weight, self.squares(self.spline))
        covariance = (covariance / np.square(self.kept * self.scales.curve_scale)[:, None, None])[:, 2:, 2:]
        beyond = self._coefficients[:, 2:]
        floor = 1e-12 * np.eye(t)
        wald = np.einsum("ki,ki->k", beyond, np.linalg.solve(covariance + floor, beyond[..., None])[..., 0])
        p = special.fdtrc(t, np.maximum(self.n - t - 2 - self.scales.lost, 1), np.maximum(wald, 0) / t)
        held = self.counts.sum(axis=1) / np.maximum(self.n, 1)[:, None]
        curve = beyond @ basis[:, 2:].T
        noise = np.einsum("kb,bi,kij,bj->k", held, basis[:, 2:], covariance, basis[:, 2:], optimize=True)
        size = (held * np.square(curve)).sum(axis=1) - np.square((held * curve).sum(axis=1)) - noise
        return p, np.sqrt(np.maximum(size, 0))


class Curves:
    """Fits of curves with one change point to m CpGs, on the grid of `Design.points`.

    deviance: by family (m, p), n · log of the residual sum of squares at each change point; the family `broken` is two
    lines that meet. slopes: (m, p, 2) of these, before and after. spline: (m,).
    """

    def __init__(self, binned: Binned, rows):
        design, n = binned.design, binned.n[rows]
        self.design, self.n = design, n
        held = binned.counts[rows].sum(axis=1)
        weight = binned.weight[rows]
        # Weights of mean 1, so that deviances are on the scale of the samples.
        weight = weight * (n / np.maximum((weight * held).sum(axis=1), 1e-12))[:, None]
        w = weight * held
        wy = weight * (binned.counts[rows] * binned.means[rows]).sum(axis=1)
        total = w.sum(axis=1)[:, None]
        mean = wy.sum(axis=1)[:, None] / total
        wy = wy - w * mean  # around the mean: the products below lose no digits
        parts = binned.within[rows], binned.counts[rows], binned.means[rows]
        all_squares = (weight * _squares(*parts, np.broadcast_to(mean, weight.shape))).sum(axis=1)[:, None]
        self.fitted = binned.spline[rows]
        self.spline = self._log((weight * _squares(*parts, self.fitted)).sum(axis=1)[:, None])[:, 0]
        curves = np.concatenate(list(design.curves.values()), axis=1)
        ones = w @ curves
        spread = np.maximum(w @ np.square(curves) - ones**2 / total, 1e-9)
        shared = wy @ curves
        squares = all_squares - shared**2 / spread
        p = len(design.points)
        self.deviance = {family: self._log(squares[:, j * p : (j + 1) * p]) for j, family in enumerate(design.curves)}
        # Two lines that meet: what the hinge adds to the line.
        late = slice(p, 2 * p)
        x = design.x
        sx = (w @ x)[:, None]
        sxx = np.maximum((w @ x**2)[:, None] - sx**2 / total, 1e-9)
        sxy = (wy @ x)[:, None]
        sxh = w @ (x[:, None] * curves[:, late]) - sx * ones[:, late] / total
        rest = np.maximum(spread[:, late] - sxh**2 / sxx, 1e-9)
        hinge = (shared[:, late] - sxh * sxy / sxx) / rest
        line = all_squares - sxy**2 / sxx
        self.line = self._log(line)[:, 0]
        self.deviance["broken"] = self._log(line - hinge**2 * rest)
        before = (sxy - hinge * sxh) / sxx
        self.slopes = np.stack([before, before + hinge], axis=2)

    def _log(self, squares) -> np.ndarray:
        return self.n[:, None] * np.log(np.maximum(squares, 1e-12) / self.n[:, None])

    def decide(self):
        """Shape (m,), change point (m,) in years with the ends of its 95 % interval (m, 2)."""
        rows, price = np.arange(len(self.n)), np.log(self.n)
        best = {family: found.argmin(axis=1) for family, found in self.deviance.items()}
        bic = {f: found[rows, best[f]] + TERMS.get(f, 3) * price for f, found in self.deviance.items()}
        bic |= {"line": self.line + 2 * price, "spline": self.spline + self.design.basis.shape[1] * price}
        words = self._words(best, bic)
        table, words = np.column_stack([bic[name] for name in words]), np.column_stack(list(words.values()))
        first = table.argmin(axis=1)
        shape = words[rows, first]
        others = np.where(words == shape[:, None], np.inf, table).min(axis=1)
        shape[(others - table[rows, first] < BIC_GAIN) | (shape == "line")] = "undecided"
        return shape, *self._points(shape, bic, best)

    def _words(self, best, bic) -> dict[str, np.ndarray]:
        """By family the shape (m,) object that its best curve has; best: by family (m,) place of the change point."""
        m, low, high = len(self.n), self.design.low, self.design.high
        rows, at = np.arange(m), {family: self.design.points[where] for family, where in best.items()}
        words = {name: np.full(m, name, object) for name in ("saturating", "late_onset", "step", "line")}
        slopes = self.slopes[rows, best["broken"]]
        before, after = np.abs(slopes).T
        mostly = np.where(before >= RATIO * after, "saturating", "undecided").astype(object)
        mostly[after >= RATIO * before] = "late_onset"
        turns = (slopes.prod(axis=1) < 0) & _turns(before * (at["broken"] - low), after * (high - at["broken"]))
        words["broken"] = np.where(turns, "wave", mostly)
        for family, power in (("parabola", 2), ("tent", 1)):
            arms = np.maximum(at[family] - low, 0) ** power, np.maximum(high - at[family], 0) ** power
            words[family] = np.where(_turns(*arms), "wave", mostly)
        # A spline that goes one way is what the best of the simple curves that do is.
        simple = ["saturating", "late_onset", "step", "broken"]
        nearest = np.column_stack([bic[name] for name in simple]).argmin(axis=1)
        steps = np.diff(self.fitted[:, self.design.central], axis=1)
        turns = _turns(np.maximum(steps, 0).sum(axis=1), np.maximum(-steps, 0).sum(axis=1))
        words["spline"] = np.where(turns, "wave", np.column_stack([words[name] for name in simple])[rows, nearest])
        return words

    def _points(self, shape, bic, best):
        """Change points (m,) and intervals (m, 2) by the shape's best family; NaN where undecided."""
        points = self.design.points
        edges = np.concatenate([[points[0]], (points[1:] + points[:-1]) / 2, [points[-1]]])
        change, ends = np.full(len(shape), np.nan), np.full((len(shape), 2), np.nan)
        for row in np.flatnonzero(shape != "undecided"):
            family = min(FAMILIES[shape[row]], key=lambda name, row=row: bic[name][row])
            deviance = self.deviance[family][row]
            inside = np.flatnonzero(deviance - deviance.min() <= REACH)
            change[row] = points[best[family][row]]
            ends[row] = edges[inside[0]], edges[inside[-1] + 1]
        return change, ends


def _turns(up, down) -> np.ndarray:
    """Whether both arms of a curve, up and down (m,), are of a size to be seen."""
    return (np.minimum(up, down) >= ARM * np.maximum(up, down)) & (np.maximum(up, down) > 0)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What counts as a change, in the unit of sizes.

    low, high: a line is one from the first on; `none` is sure up to the second. bend, share: a curve bends (standard
    deviation over the samples of spline − line) by this much, and this share of what the line does: nothing is exactly
    straight.
    """

    low: float
    high: float
    bend: float
    share: float


LEVEL = Limits(BY_NAME["trend"].low, BY_NAME["trend"].high, bend=0.10, share=0.15)
"""Of levels: in standard deviations of the noise."""


def judge(binned: Binned, unit, limits: Limits) -> dict[str, np.ndarray]:
    """Shapes of k CpGs: COLUMNS (k,).

    unit: (k,) of sizes, which over the central 90 % of ages are held against `limits`. shape_p is that of a line, NaN
    with fewer than MIN_SAMPLES values or three different ages; change points are in years, NaN for none, linear and
    undecided.
    """
    design, k = binned.design, len(binned.n)
    few = binned.n < MIN_SAMPLES
    line, covariance, _ = binned.line()
    slope, error = line[:, 1], np.sqrt(np.maximum(covariance[:, 1, 1], 1e-24))
    p, bend = binned.bend()
    curved = (p <= CHANCE) & (bend >= limits.bend * unit) & (bend >= limits.share * np.abs(slope))
    rows = np.flatnonzero(curved & ~few)
    years = (design.high - design.low) / design.scale
    size, reach = np.abs(slope) * years / unit, 1.645 * error * years / unit
    there = _t_p(slope / error, np.maximum(binned.n - 2 - binned.scales.lost, 1)) <= CHANCE
    shape = np.where(there & (size >= limits.low), "linear", "none").astype(object)
    shape[few | ((shape == "none") & (size + reach > limits.high))] = "undecided"
    change, ends = np.full(k, np.nan), np.full((k, 2), np.nan)
    if len(rows) and len(design.points):
        shape[rows], change[rows], ends[rows] = Curves(binned, rows).decide()
    else:
        shape[rows] = "undecided"
    p = np.where(few, np.nan, p)
    return dict(zip(COLUMNS, (shape, p, change, *ends.T), strict=True))


def level_shapes(binned: Binned) -> dict[str, np.ndarray]:
    """Shapes of the level of k CpGs (columns of `judge`), and how it differs by sex.

    sex_divergent (k,): slope of sex 1 − slope of sex 0, beta per year; sex_p: that there is no difference. Both are NaN
    where a sex has fewer than LEAST_OF_SEX values.
    """
    found = judge(binned, np.hypot(binned.sd, EFFECT_FLOOR), LEVEL)
    return found | dict(zip(("sex_divergent", "sex_p"), _sexes(binned), strict=True))


def _sexes(binned: Binned):
    """Slope of sex 1 minus that of sex 0 (k,), beta per year, and its p-value (k,); NaN where not known."""
    lines = [binned.line(slice(group, group + 1)) for group in (1, 2)]
    n = np.column_stack([line[2] for line in lines])
    known = (n >= LEAST_OF_SEX).all(axis=1)
    difference = (lines[1][0][:, 1] - lines[0][0][:, 1]) / binned.design.scale
    parts = np.column_stack([line[1][:, 1, 1] for line in lines]) / binned.design.scale**2
    df = parts.sum(axis=1) ** 2 / np.maximum((parts**2 / np.maximum(n - 2, 1)).sum(axis=1), 1e-300)
    p = _t_p(difference / np.sqrt(np.maximum(parts.sum(axis=1), 1e-30)), np.maximum(df, 1))
    return np.where(known, difference, np.nan), np.where(known, p, np.nan)

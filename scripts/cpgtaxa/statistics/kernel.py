"""Every number the taxon rules look at: one row of statistics per CpG.

`compute` takes a block of CpGs, `compute_cohort` walks a shard of a cohort. The work on one CpG is serial and touches
nothing but its own row, so the numbers depend neither on the number of threads nor on how CpGs are cut into shards.

A kernel compiled by numba reduces each CpG to test statistics; the tail probabilities are then taken with scipy on
whole columns.
"""

import concurrent.futures
import contextlib
import logging
import math

import numba
import numpy as np
import pandas as pd
from diptest.consts import Consts as DipTable
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from scipy import special

from cpgtaxa.progress import Progress, so_far
from cpgtaxa.small_sort import heap_sort, insertion_sort
from cpgtaxa.threads import compile_once, in_threads

MIN_SAMPLES = 10
"""Fewest values of a CpG for which anything beyond its location is computed."""

MIN_MIXTURE_SAMPLES = 30
"""Fewest values for which bands are fitted: three of them have eleven parameters."""

BAND_GAP = 0.06
"""Bands closer than this (beta) are of no interest to any taxon; decides whether the mixtures run."""

BAND_WEIGHT = 0.02
"""Bands holding a smaller share of samples are of no interest; decides whether the mixtures run."""

SD_FLOOR = 0.003
"""Smallest standard deviation (beta) of a band: below it lies the resolution of the arrays."""

SD_FLOOR_SHARE = 0.05
"""Smallest standard deviation of a band as a share of the CpG's residual sd; keeps bands from collapsing on ties."""

SLOPE_RIDGE = 2.0
"""Weight, in samples, of the prior that a band runs parallel to the overall trend. It holds the slope of a band of a
handful of samples and costs a band of hundreds less than one per cent."""

SLOPE_MIN_SAMPLES = 6.0
"""A band of fewer effective samples runs parallel to the overall trend and is not tested for a trend of its own."""

OUTLIER_IQR = 3.0
OUTLIER_MARGIN = 0.05
"""Outliers lie more than OUTLIER_IQR interquartile ranges plus OUTLIER_MARGIN (beta) beyond the nearer quartile."""

OUTLIER_DISTANCE = 0.09
"""Outliers of the taxon Outlier lie at least this far (beta) from the middle of the band."""

SPREAD_FLOOR = 0.010
"""Standard deviation (beta) that is added, in quadrature, where spreads are compared."""

SHORT_RUN = 9
LONG_RUN = 121
"""Iterations from every start, and at most from the best of them."""

POLISH = 2
"""Iterations on the samples themselves after those on binned ones."""

EXACT_RUN = 10001
"""Iterations at most of the fits that tests compare with."""

LONG_RUN_BIC = 20.0
POLISH_BIC = 10.0
"""Both are spared where the BIC is worse than that of fewer bands by more than this."""

AGE_BINS = 6
VALUE_BINS = 256
"""At most so many bins of age and of residuals for the binned iterations."""

DIP_REACH = 64
"""Longest chord, in values either side, by which points are left out of the search for the dip; a power of four."""

DESCRIPTION = {
    "n": "samples with a value (int32); everything below is computed from these alone",
    "mean": "mean beta",
    "median": "median beta",
    "sd": "standard deviation of beta (n − 1)",
    "q05": "5th percentile of beta",
    "q95": "95th percentile of beta",
    "slope": "change of beta per year, ordinary least squares on age",
    "intercept": "beta at age 0 on that line",
    "slope_t": "t statistic of the slope",
    "slope_p": "p-value that the slope is zero (t-test)",
    "r2": "share of the variance of beta explained by age",
    "effect": "change of beta over the central 90 % of ages: slope × (95th − 5th percentile of age)",
    "resid_sd": "standard deviation of the residuals (n − 2)",
    "het_p": "Koenker's studentised Breusch–Pagan test: p-value that the spread does not change with age",
    "sd_ratio": "residual spread at the 95th over that at the 5th percentile of age (Glejser: |residual| on age)",
    "curve_p": "p-value that a term in age² is zero (t-test)",
    "curve_effect": "bend of the trend: coefficient of age² × (half the central 90 % of ages)²",
    "spread": "robust standard deviation of the residuals: 1.4826 × median absolute deviation",
    "tail_width": "99th − 1st percentile of the residuals",
    "skew": "skewness of the residuals",
    "kurtosis": "excess kurtosis of the residuals",
    "outlier_n": "residuals outside Tukey's fences at 3 interquartile ranges plus 0.05 (int32)",
    "outlier_fraction": "outlier_n / n",
    "outlier_distance": "median distance of the outliers from the median residual; 0 without outliers",
    "core_slope": "slope without the outliers (this and the next: the full numbers if there are none)",
    "core_slope_p": "slope_p without the outliers",
    "core_effect": "effect without the outliers",
    "core_sd": "resid_sd without the outliers",
    "core_het_p": "het_p without the outliers",
    "core_sd_ratio": "sd_ratio without the outliers",
    "core_curve_p": "curve_p without the outliers",
    "core_curve_effect": "curve_effect without the outliers",
    "core_dip_p": "dip_p without the outliers",
    "dip": "Hartigan's dip statistic of the residuals",
    "dip_p": "p-value of the dip that the residuals have one mode (tabulated, from 0 in steps of 1e-5)",
    "mixture_ran": "whether two and three bands were fitted (bool); if not, the columns below say 'no bands'",
    "bic1": "Bayesian information criterion of one line with constant normal noise (3 parameters)",
    "bic2": "the same of two bands, each its own line and noise (7 parameters); infinite if not fitted",
    "bic3": "the same of three bands (11 parameters); infinite if not fitted",
    "two_weight": "two bands: share of samples in the smaller one",
    "two_gap": "difference of the levels of the bands at the mean age",
    "two_d": "Ashman's D: √2 · gap / √(sd₁² + sd₂²)",
    "two_effect": "largest change of beta over the central 90 % of ages among the bands, without sign",
    "two_effect_low": "change of beta over the central 90 % of ages in the lower band",
    "two_effect_high": "the same in the upper band",
    "two_p": "smallest p-value among the bands that a band's slope is zero, Bonferroni-corrected for their number",
    "two_common_p": "p-value that the common slope within bands is zero",
    "two_sd": "largest standard deviation of a band",
    "two_min_gap_ends": "smaller gap of the lines at the 5th and 95th percentile of age; negative if they cross",
    "three_weight": "three bands: share of samples in the smallest one",
    "three_gap": "smaller of the two differences of neighbouring levels at the mean age",
    "three_d": "smaller of the two Ashman's D of neighbouring bands",
    "three_effect": "largest change of beta over the central 90 % of ages among the bands, without sign",
    "three_effect_low": "change of beta over the central 90 % of ages in the lowest band",
    "three_effect_mid": "the same in the middle band",
    "three_effect_high": "the same in the highest band",
    "three_p": "smallest p-value among the bands that a band's slope is zero, Bonferroni-corrected for their number",
    "three_common_p": "p-value that the common slope within bands is zero",
    "three_sd": "largest standard deviation of a band",
    "three_min_gap_ends": "smallest gap of neighbours at the 5th and 95th percentile of age; negative: they cross",
    "three_middle": "where the middle level lies between the outer ones, 0 to 1; near 0.5 for genotypes",
    "three_hwe_p": "chi-square p-value that the shares are in Hardy–Weinberg equilibrium",
    "effect_se": "standard error of core_effect, robust to changing spread (HC3)",
    "log_sd_ratio": "log ratio of the spreads at the 95th and 5th percentile of age: gamma regression of |residual| on "
    "age without the outliers, 0.010 added to each in quadrature",
    "log_sd_ratio_se": "its standard error",
    "bend": "standard deviation over age of what the line leaves, in up to 12 bins of age, less what noise gives",
    "spread_bend": "the same of |residual| over its regression on age",
    "far_n": "outliers at least 0.09 from the middle of the band (int32)",
    "sex_gap": "difference of the medians of women and men; NaN where there is none to speak of, or no sex is known",
    "sex_d": "Ashman's D of women and men, by medians and median absolute deviations",
    "sex_effect_0": "change of beta over the central 90 % of ages in sex 0",
    "sex_effect_se_0": "its standard error",
    "sex_sd_0": "residual standard deviation in that sex",
    "sex_effect_1": "change of beta over the central 90 % of ages in sex 1",
    "sex_effect_se_1": "its standard error",
    "sex_sd_1": "residual standard deviation in that sex",
    "two_depth": "two bands: depth of the valley between them in the model, as a share of the lower peak",
    "two_depth_seen": "the same as counted among the samples",
    "two_depth_se": "its standard error",
    "two_by_age": "Cramér's V of band and age (up to 8 bins), less what chance gives; 0: bands at all ages",
    "two_band_kurtosis": "least excess kurtosis of the samples nearest to a band; towards -2 where a band is two",
    "two_level_low": "level at the mean age of the lower band",
    "two_level_high": "level at the mean age of the upper band",
    "two_share_low": "share of the samples of the lower band",
    "two_share_high": "share of the samples of the upper band",
    "two_band_sd_low": "standard deviation of the lower band",
    "two_band_sd_high": "standard deviation of the upper band",
    "two_effect_se_low": "standard error of the change over the central 90 % of ages of the lower band",
    "two_effect_se_high": "standard error of the change over the central 90 % of ages of the upper band",
    "three_depth": "three bands: depth of the shallower valley in the model, as a share of the lower peak",
    "three_depth_seen": "the same as counted among the samples",
    "three_depth_se": "its standard error",
    "three_by_age": "Cramér's V of band and age (up to 8 bins), less what chance gives; 0: bands at all ages",
    "three_band_kurtosis": "least excess kurtosis of the samples nearest to a band; towards -2 where a band is two",
    "three_level_low": "level at the mean age of the lowest band",
    "three_level_mid": "level at the mean age of the middle band",
    "three_level_high": "level at the mean age of the highest band",
    "three_share_low": "share of the samples of the lowest band",
    "three_share_mid": "share of the samples of the middle band",
    "three_share_high": "share of the samples of the highest band",
    "three_band_sd_low": "standard deviation of the lowest band",
    "three_band_sd_mid": "standard deviation of the middle band",
    "three_band_sd_high": "standard deviation of the highest band",
    "three_effect_se_low": "standard error of the change over the central 90 % of ages of the lowest band",
    "three_effect_se_mid": "standard error of the change over the central 90 % of ages of the middle band",
    "three_effect_se_high": "standard error of the change over the central 90 % of ages of the highest band",
    "three_best_depth": "three bands: depth of the deepest valley, in the model",
    "three_best_seen": "the same as counted among the samples",
    "three_best_se": "its standard error",
    "three_best_share": "share of the samples on the smaller side of that valley",
}
"""One line on each column, for the documentation."""

NAMES = list(DESCRIPTION)
"""The columns of `compute`, in order."""

# Slots of the row of raw numbers that the kernel fills.
(_N, _MEAN, _MEDIAN, _SD, _Q05, _Q95) = range(6)
(_SLOPE, _INTERCEPT, _T, _R2, _EFFECT, _RSD, _LM, _RATIO, _CURVE_T, _CURVE_EFFECT) = range(10)
_FULL = 6
_CORE = 16
(_SPREAD, _TAIL, _SKEW, _KURT, _OUT_N, _OUT_DIST, _DIP, _CORE_DIP, _RAN, _BIC1) = range(26, 36)
# Of a mixture: BIC, weight, gap, D, sd, end gap, common t, middle, HWE chi-square, depth of the shallowest valley, the
# same as counted, its standard error, these of the deepest one and the smaller share beside it, association of band and
# age, least kurtosis of a band; then of each band the numbers of _PER_BAND.
(_BIC, _WEIGHT, _GAP, _D, _BAND_SD, _ENDS, _COMMON_T, _MIDDLE, _HWE) = range(9)
(_DEPTH, _SEEN, _SEEN_SE, _BEST_DEPTH, _BEST_SEEN, _BEST_SE, _BEST_WEIGHT, _BY_AGE, _BAND_KURT) = range(9, 18)
_BANDS = 18
_PER_BAND = 7  # effect, t, df, level, weight, sd, standard error of the effect
_TWO = 36
_THREE = _TWO + _BANDS + 3 * _PER_BAND
_MORE = _THREE + _BANDS + 3 * _PER_BAND
# Of the core: standard error of the effect, log ratio of spreads, its standard error, bends of level and of spread; of
# all: samples far from the band; of the sexes: difference, the same in standard deviations, effects with their errors.
(_EFFECT_SE, _LOG_RATIO, _LOG_RATIO_SE, _BEND, _SPREAD_BEND, _FAR_N) = range(6)
_SEX = 6
_WIDTH = _MORE + 14

# Reductions may be reordered (SIMD); NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
# Where no value can be missing: the largest of many, several at a time.
_FINITE = {"nnan", "nsz"}

# What functions are asked: for False and True, which are types of their own, numba would compile them twice.
_NO, _YES = np.int64(0), np.int64(1)


def _jit(fastmath=False, entry=False, inline=True):
    """numba.njit; an entry's compilation is cached on disk, unless no directory can be written.

    Everything is compiled into the entries, and only these are cached. inline: whether the function is copied into
    those that call it. What is called instead compiles faster, but only code without `_FAST` or "contract" may be: else
    its last digits would depend on whether it was loaded from a cache. `fastmath` is always said: left out, a function
    inherits it from whoever calls it first. Only entries can be called from Python: the way in costs a tenth of the
    time that compilation takes.
    """

    def wrap(function):
        options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath, "no_cfunc_wrapper": True}
        if entry:
            with contextlib.suppress(RuntimeError):
                return numba.njit(cache=True, **options)(function)
        return numba.njit(forceinline=inline, no_cpython_wrapper=True, **options)(function)

    return wrap


@intrinsic
def _bits(typing_context, value):
    """The 64 bits of a float as an integer."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _from_bits(typing_context, value):
    """The float that 64 bits stand for."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


def _of_two(comparison):
    """max or min of two numbers, as Python takes them; numba's own compile a function for each kind of number."""

    @intrinsic
    def choose(typing_context, one, other):
        kind = typing_context.unify_types(types.unliteral(one), types.unliteral(other))

        def generate(context, builder, signature, arguments):
            compare = builder.fcmp_ordered if isinstance(kind, types.Float) else builder.icmp_signed
            return builder.select(compare(comparison, arguments[1], arguments[0]), arguments[1], arguments[0])

        return kind(kind, kind), generate

    return choose


_max = _of_two(">")
_min = _of_two("<")


# Of the fast-math only "contract": the rest would cancel the rounding by addition.
@_jit(fastmath={"contract"})
def _exp(x):
    """exp(x) for x below 700, relative error below 1e-12; no call and no branch, so that loops around it vectorise.

    2^k · e^f with k = round(x / ln 2) and a polynomial of least relative error for e^f; below −700 it stays at e^−700.
    """
    x = x if x > -700.0 else -700.0
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    k = shifted - 6755399441055744.0
    f = x - k * 0.6931471805599453
    p = 2.4727257035033986e-05
    p = p * f + 0.00019915438591208766
    p = p * f + 0.0013889178661283409
    p = p * f + 0.008333267002372913
    p = p * f + 0.041666664219073404
    p = p * f + 0.1666666688559314
    p = p * f + 0.5000000000618645
    p = p * f + 0.9999999999806042
    p = p * f + 0.9999999999997631
    return _from_bits(_bits(p) + (_bits(shifted) << 52))


@_jit(fastmath={"contract"})
def _log(x):
    """log(x) for x from 1 to 3 by its series in z = (x − c) / (x + c), c = √3; absolute error below 1e-9."""
    z = (x - 1.7320508075688772) / (x + 1.7320508075688772)
    y = z * z
    p = 1.0 / 15.0
    p = p * y + 1.0 / 13.0
    p = p * y + 1.0 / 11.0
    p = p * y + 1.0 / 9.0
    p = p * y + 1.0 / 7.0
    p = p * y + 0.2
    p = p * y + 1.0 / 3.0
    p = p * y + 1.0
    return 0.5493061443340549 + 2.0 * z * p


# Plain loops in place of the library's slices, sorts and searches: those take longer to compile than all around them.
@_jit()
def _copy(source, target):
    """Values of one array to another of the same size."""
    for i in range(target.size):
        target[i] = source[i]


@_jit()
def _copy_bands(source, target):
    """`_copy` of (k, 4) bands."""
    for j in range(target.shape[0]):
        for p in range(target.shape[1]):
            target[j, p] = source[j, p]


@_jit(inline=False)
def _place(ordered, value, after):
    """Number of sorted values below `value`, with `after` also of those equal to it."""
    low = 0
    high = ordered.size
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < value or (after and ordered[middle] == value):
            low = middle + 1
        else:
            high = middle
    return low


@_jit(inline=False)
def _quantile(ordered, q):
    """Linearly interpolated quantile of sorted values, as numpy's default."""
    position = (ordered.size - 1) * q
    below = int(position)
    above = _min(below + 1, ordered.size - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


@_jit(fastmath=_FINITE)
def _range(values):
    """Smallest and largest value."""
    low = values[0]
    high = values[0]
    for i in range(values.size):
        low = _min(low, values[i])
        high = _max(high, values[i])
    return low, high


@_jit(inline=False)
def _sort(values, ordered, where, counts):
    """Sort `values` into `ordered`: into twice as many buckets as values, then within buckets.

    numpy.sort takes half the time (11 against 22 µs for 3,500 values, tests/benchmarks/libraries.py), but compiled code
    cannot call it, and the kernel would have to be left twice for each CpG. where: (n,) int32 scratch; counts:
    (2 n + 1,) int32 scratch.
    """
    n = values.size
    low, high = _range(values)
    if not high - low > 1e-200:
        _copy(values, ordered)
        return
    size = 0.0
    for i in range(n):
        size += abs(values[i])
    # Narrow buckets where residuals are dense, wide ones in the tails.
    scale = 0.8 * n / size
    buckets = 2 * n
    for i in range(n):
        t = values[i] * scale
        where[i] = int((0.5 + 0.5 * t / (1.0 + abs(t))) * (buckets - 1))
    counts[: buckets + 1] = 0
    for i in range(n):
        counts[where[i] + 1] += 1
    widest = 0
    for b in range(buckets):
        widest = _max(widest, counts[b + 1])
        counts[b + 1] += counts[b]
    for i in range(n):
        bucket = where[i]
        ordered[counts[bucket]] = values[i]
        counts[bucket] += 1
    if widest > 32:
        start = 0
        for b in range(buckets):
            stop = counts[b]
            if stop - start > 32:
                heap_sort(ordered[start:stop])
            start = stop
    insertion_sort(ordered)


@_jit(fastmath=_FAST)
def _moments(values):
    """Mean, and sum of the squared distances from it."""
    total = 0.0
    for i in range(values.size):
        total += values[i]
    mean = total / values.size
    squares = 0.0
    for i in range(values.size):
        away = values[i] - mean
        squares += away * away
    return mean, squares


@_jit(inline=False)
def _sort_near(values, quantiles, ordered, where, counts):
    """`_sort` of those values alone that `_quantile` looks at for the given quantiles; returns the extremes.

    7 µs for 3,500 values and three quantiles; numpy.partition takes 49 (tests/benchmarks/libraries.py).
    """
    n = values.size
    low, high = _range(values)
    if not high - low > 1e-200:
        _copy(values, ordered)
        return low, high
    buckets = n
    scale = (buckets - 1) / (high - low)
    counts[: buckets + 1] = 0
    for i in range(n):
        bucket = int((values[i] - low) * scale)
        where[i] = bucket
        counts[bucket + 1] += 1
    for b in range(buckets):
        counts[b + 1] += counts[b]
    # The buckets of the quantiles are marked, filled, and sorted; all others are left out.
    marked = counts[buckets + 1 :]
    marked[:buckets] = 0
    spans = np.empty((len(quantiles), 2), dtype=np.int64)
    for number in range(len(quantiles)):
        quantile = quantiles[number]
        first = int((n - 1) * quantile)
        last = _min(first + 1, n - 1)
        start = 0
        stop = buckets
        while stop - start > 1:
            middle = (start + stop) // 2
            if counts[middle] <= first:
                start = middle
            else:
                stop = middle
        end = start + 1
        while counts[end] <= last:
            end += 1
        marked[start:end] = 1
        spans[number, 0], spans[number, 1] = counts[start], counts[end]
    for i in range(n):
        bucket = where[i]
        if marked[bucket]:
            ordered[counts[bucket]] = values[i]
            counts[bucket] += 1
    for number in range(len(quantiles)):
        part = ordered[spans[number, 0] : spans[number, 1]]
        if part.size > 32:
            heap_sort(part)
        else:
            insertion_sort(part)
    return low, high


@_jit(inline=False)
def _median_distance(ordered, centre):
    """Median of |ordered − centre|, walking outwards from the centre of sorted values."""
    n = ordered.size
    middle = _place(ordered, centre, _NO)
    # Of all but the last two steps, how many go to the right: bisection.
    steps = _max(n // 2 - 1, 0)
    least = _max(steps - middle, 0)
    most = _min(steps, n - middle)
    while least < most:
        taken = (least + most) // 2
        if ordered[middle + taken] - centre < centre - ordered[middle - (steps - taken)]:
            least = taken + 1
        else:
            most = taken
    right = middle + least
    left = middle - 1 - (steps - least)
    first = 0.0
    second = 0.0
    for _ in range(n // 2 + 1 - steps):
        first = second
        if left < 0 or (right < n and ordered[right] - centre < centre - ordered[left]):
            second = ordered[right] - centre
            right += 1
        else:
            second = centre - ordered[left]
            left -= 1
    return second if n % 2 else 0.5 * (first + second)


@_jit()
def _mark(before, x, after, below, above, reach):
    """Note `reach` for the points that lie above (below) the chord between two points that far before and after."""
    for i in range(x.size):
        bend = before[i] + after[i] - 2.0 * x[i]
        below[i] = reach if bend > 0.0 else below[i]
        above[i] = reach if bend < 0.0 else above[i]


@_jit(fastmath=_FINITE)
def _above_line(x, rate):
    """Largest distance by which the steps of the distribution of x rise over a line from its first value."""
    best = 0.0
    for i in range(x.size):
        distance = (i + 1) - (x[i] - x[0]) * rate
        best = _max(best, distance)
    return best


@_jit(fastmath=_FINITE)
def _below_line(x, rate):
    """Largest distance by which they stay below it."""
    best = 0.0
    for i in range(x.size):
        distance = (x[i] - x[0]) * rate - (i - 1)
        best = _max(best, distance)
    return best


@_jit(inline=False)
def _corners(x, marks, sure, first, last, low, high, rising, corners):
    """Corners of a hull of x[low..high]; returns the place of the last one in `corners`.

    rising: the concave majorant from low to high, otherwise the convex minorant from high to low. marks: of `_mark`;
    sure, first, last: the points without a mark, and the range of them that is further than DIP_REACH from low and
    high. A marked point may be a corner only where the chord that marked it ends outside low..high.
    """
    left = _min(low + DIP_REACH, high + 1)
    right = _max(high - DIP_REACH + 1, left)
    top = -1
    for part in range(3):
        # The points near the end one comes from, those between, those near the other end.
        count = left - low if (part == 0) == (rising == _YES) else high + 1 - right
        count = last - first if part == 1 else count
        for step in range(count):
            if part == 1:
                j = sure[first + step] if rising else sure[last - 1 - step]
            else:
                j = (low if part == 0 else right) + step if rising else (high if part == 0 else left - 1) - step
                if marks[j] <= _min(j - low, high - j):
                    continue
            while top > 0:
                a = corners[top]
                b = corners[top - 1]
                if rising:
                    corner = (a - b) * (x[j] - x[a]) > (j - a) * (x[a] - x[b])
                else:
                    corner = (a - j) * (x[b] - x[a]) < (b - a) * (x[a] - x[j])
                if corner:
                    break
                top -= 1
            top += 1
            corners[top] = j
    return top


@_jit(inline=False)
def _dip(x, scratch):
    """Hartigan's dip of sorted values (Hartigan and Hartigan 1985; algorithm AS 217 with Mächler's corrections).

    As fast as `diptest` (76 against 74 µs for 3,500 values, tests/benchmarks/libraries.py), which compiled code cannot
    call: the kernel would have to be left between residuals and mixtures.

    x: (n,); scratch: (6, at least n) int64. The corners of the convex minorant and the concave majorant are sought
    among few points: most lie above or below a chord between two near ones.
    """
    n = x.size
    if n < 4 or x[0] == x[n - 1]:
        return 0.5 / n
    below, above, sure_g, sure_l, gcm, lcm = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4], scratch[5]
    below[:] = n
    above[:] = n
    # Constants of a type that stays: numba would compile what they are handed to once more for the first of them.
    reach = np.int64(DIP_REACH)
    while reach > 0:
        inner = n - 2 * reach
        if inner > 0:
            stop = reach + inner
            _mark(x[:inner], x[reach:stop], x[2 * reach :], below[reach:stop], above[reach:stop], reach)
        reach //= 4
    last_g = 0
    last_l = 0
    for i in range(n):
        sure_g[last_g] = i
        last_g += below[i] == n
        sure_l[last_l] = i
        last_l += above[i] == n
    first_g = 0
    first_l = 0
    low = np.int64(0)
    high = n - 1
    dip = 1.0  # in units of 1 / (2 n)
    while True:
        left = _min(low + DIP_REACH, high + 1)
        right = _max(high - DIP_REACH + 1, left)
        while first_g < last_g and sure_g[first_g] < left:
            first_g += 1
        while last_g > first_g and sure_g[last_g - 1] >= right:
            last_g -= 1
        while first_l < last_l and sure_l[first_l] < left:
            first_l += 1
        while last_l > first_l and sure_l[last_l - 1] >= right:
            last_l -= 1
        ends_g = _corners(x, below, sure_g, first_g, last_g, low, high, _NO, gcm)
        ends_l = _corners(x, above, sure_l, first_l, last_l, low, high, _YES, lcm)
        at_g = ends_g
        at_l = ends_l
        # The largest distance between the two hulls over the modal interval.
        distance = 0.0
        if ends_g != 1 or ends_l != 1:
            ig = ends_g - 1
            il = 1
            while True:
                g = gcm[ig]
                c = lcm[il]
                if g > c:
                    b = gcm[ig + 1]
                    d = (c - b + 1) - (x[c] - x[b]) * (g - b) / (x[g] - x[b])
                    il += 1
                    if d >= distance:
                        distance = d
                        at_g = ig + 1
                        at_l = il - 1
                else:
                    b = lcm[il - 1]
                    d = (x[g] - x[b]) * (c - b) / (x[c] - x[b]) - (g - b - 1)
                    ig -= 1
                    if d >= distance:
                        distance = d
                        at_g = ig + 1
                        at_l = il
                ig = _max(ig, 0)
                il = _min(il, ends_l)
                if gcm[ig] == lcm[il]:
                    break
        else:
            distance = 1.0
        if distance < dip:
            break
        # The dips of the convex part left of it and of the concave part right of it.
        for j in range(at_g, ends_g):
            b = gcm[j + 1]
            e = gcm[j]
            run = x[e] - x[b]
            if e - b > 1 and run != 0.0:
                dip = _max(dip, _above_line(x[b : e + 1], (e - b) / run))
        for j in range(at_l, ends_l):
            b = lcm[j]
            e = lcm[j + 1]
            run = x[e] - x[b]
            if e - b > 1 and run != 0.0:
                dip = _max(dip, _below_line(x[b : e + 1], (e - b) / run))
        if low == gcm[at_g] and high == lcm[at_l]:
            break
        low = gcm[at_g]
        high = lcm[at_l]
    return dip / (2 * n)


@_jit(fastmath=_FAST)
def _fit(x, y, residual, out):
    """Line, spread against age and bend of one CpG.

    x: (n,) ages in ascending order; y: (n,) beta; residual: (n,) is filled; out: (10,) is filled.
    """
    n = x.size
    mean_x = 0.0
    mean_y = 0.0
    for i in range(n):
        mean_x += x[i]
        mean_y += y[i]
    mean_x /= n
    mean_y /= n
    sxx = 0.0
    sxy = 0.0
    syy = 0.0
    sx3 = 0.0
    sx4 = 0.0
    for i in range(n):
        a = x[i] - mean_x
        b = y[i] - mean_y
        sxx += a * a
        sxy += a * b
        syy += b * b
        sx3 += a * a * a
        sx4 += a * a * a * a
    aged = x[0] < x[n - 1]
    varied = syy > n * 1e-24
    slope = sxy / sxx if aged and varied else 0.0
    rss = 0.0
    for i in range(n):
        r = (y[i] - mean_y) - slope * (x[i] - mean_x)
        residual[i] = r
        rss += r * r
    if rss <= n * 1e-24:
        residual[:] = 0.0
        rss = 0.0
    q05 = _quantile(x, 0.05)
    q95 = _quantile(x, 0.95)
    out[_RSD] = math.sqrt(rss / (n - 2))
    if not aged:
        return mean_x, sxx, rss
    out[_SLOPE] = slope
    out[_INTERCEPT] = mean_y - slope * mean_x
    out[_EFFECT] = slope * (q95 - q05)
    if not varied:
        return mean_x, sxx, rss
    out[_R2] = 1.0 - rss / syy
    out[_T] = slope / math.sqrt(rss / (n - 2) / sxx) if rss > 0.0 else math.copysign(np.inf, slope)
    if rss == 0.0:
        return mean_x, sxx, rss
    mean_square = rss / n
    mean_size = 0.0
    for i in range(n):
        mean_size += abs(residual[i])
    mean_size /= n
    mean_xx = sxx / n
    tilt = sx3 / sxx
    square_x = 0.0
    square_square = 0.0
    size_x = 0.0
    bend = 0.0
    for i in range(n):
        a = x[i] - mean_x
        r = residual[i]
        d = r * r - mean_square
        square_x += d * a
        square_square += d * d
        size_x += (abs(r) - mean_size) * a
        bend += r * (a * a - mean_xx - tilt * a)
    if square_square > n * 1e-20 * mean_square * mean_square:
        out[_LM] = n * square_x * square_x / (sxx * square_square)
    else:
        out[_LM] = 0.0  # all residuals of one size: the spread is constant
    rate = size_x / sxx
    floor = 0.1 * mean_size
    out[_RATIO] = _max(mean_size + rate * (q95 - mean_x), floor) / _max(mean_size + rate * (q05 - mean_x), floor)
    # age² with its mean and its line in age taken out, so that one coefficient and one t-test remain.
    szz = sx4 - n * mean_xx * mean_xx - tilt * sx3
    if szz > 1e-9 * sx4:
        coefficient = bend / szz
        left = rss - coefficient * bend
        if left > 1e-12 * rss:
            out[_CURVE_T] = coefficient / math.sqrt(left / (n - 3) / szz)
        else:
            out[_CURVE_T] = math.copysign(np.inf, coefficient)
        out[_CURVE_EFFECT] = coefficient * (0.5 * (q95 - q05)) ** 2
    return mean_x, sxx, rss


@_jit(fastmath=_FAST)
def _totals(count, u, v, totals):
    """Sums of count times 1, u, v, u², uv, v² over all points."""
    t0 = t1 = t2 = t3 = t4 = t5 = 0.0
    for i in range(u.size):
        c = count[i]
        ui = u[i]
        vi = v[i]
        t0 += c
        t1 += c * ui
        t2 += c * vi
        t3 += c * (ui * ui)
        t4 += c * (ui * vi)
        t5 += c * (vi * vi)
    totals[0], totals[1], totals[2], totals[3], totals[4], totals[5] = t0, t1, t2, t3, t4, t5


@_jit(fastmath=_FAST)
def _expect2(count, u, v, totals, bands, sums, likelihood):
    """The E-step for two bands; returns the log-likelihood without the constant −½ log 2π per point, if asked for.

    count, u, v: (n,) multiplicity and coordinates of points; totals: of `_totals`; bands: (2, 4) weight, level, slope,
    sd; sums: (2, 6) receives for each band the sums of the posterior weights times 1, u, v, u², uv, v².
    """
    g1 = math.log(bands[0, 0] / bands[0, 3])
    g2 = math.log(bands[1, 0] / bands[1, 3])
    h1 = 0.5 / bands[0, 3] ** 2
    h2 = 0.5 / bands[1, 3] ** 2
    a1, b1 = bands[0, 1], bands[0, 2]
    a2, b2 = bands[1, 1], bands[1, 2]
    s0 = s1 = s2 = s3 = s4 = s5 = total = 0.0
    for i in range(u.size):
        ui = u[i]
        vi = v[i]
        e1 = vi - a1 - b1 * ui
        e2 = vi - a2 - b2 * ui
        q1 = g1 - h1 * e1 * e1
        q2 = g2 - h2 * e2 * e2
        # The likelier band has density 1, so that nothing overflows.
        other = _exp(-abs(q2 - q1))
        larger = count[i] / (1.0 + other)
        w = larger if q1 >= q2 else other * larger
        s0 += w
        s1 += w * ui
        s2 += w * vi
        s3 += w * (ui * ui)
        s4 += w * (ui * vi)
        s5 += w * (vi * vi)
        if likelihood:
            total += count[i] * (_max(q1, q2) + _log(1.0 + other))
    sums[0, 0], sums[0, 1], sums[0, 2], sums[0, 3], sums[0, 4], sums[0, 5] = s0, s1, s2, s3, s4, s5
    for p in range(6):
        sums[1, p] = totals[p] - sums[0, p]
    return total


@_jit(fastmath=_FAST)
def _expect3(count, u, v, totals, bands, sums, likelihood):
    """`_expect2` for three bands; bands: (3, 4), sums: (3, 6)."""
    g1 = math.log(bands[0, 0] / bands[0, 3])
    g2 = math.log(bands[1, 0] / bands[1, 3])
    g3 = math.log(bands[2, 0] / bands[2, 3])
    h1 = 0.5 / bands[0, 3] ** 2
    h2 = 0.5 / bands[1, 3] ** 2
    h3 = 0.5 / bands[2, 3] ** 2
    a1, b1 = bands[0, 1], bands[0, 2]
    a2, b2 = bands[1, 1], bands[1, 2]
    a3, b3 = bands[2, 1], bands[2, 2]
    s0 = s1 = s2 = s3 = s4 = s5 = 0.0
    t0 = t1 = t2 = t3 = t4 = t5 = total = 0.0
    for i in range(u.size):
        ui = u[i]
        vi = v[i]
        e1 = vi - a1 - b1 * ui
        e2 = vi - a2 - b2 * ui
        e3 = vi - a3 - b3 * ui
        q1 = g1 - h1 * e1 * e1
        q2 = g2 - h2 * e2 * e2
        q3 = g3 - h3 * e3 * e3
        # The likeliest band has density 1: two exponentials instead of three.
        high = _max(q1, q2)
        top = _max(high, q3)
        lower = _exp(_min(q1, q2) - top)
        other = _exp(_min(high, q3) - top)
        p3 = 1.0 if q3 > high else other
        upper = other if q3 > high else 1.0
        p1 = upper if q1 >= q2 else lower
        density = 1.0 + lower + other
        share = count[i] / density
        w = p1 * share
        s0 += w
        s1 += w * ui
        s2 += w * vi
        s3 += w * (ui * ui)
        s4 += w * (ui * vi)
        s5 += w * (vi * vi)
        w = p3 * share
        t0 += w
        t1 += w * ui
        t2 += w * vi
        t3 += w * (ui * ui)
        t4 += w * (ui * vi)
        t5 += w * (vi * vi)
        if likelihood:
            total += count[i] * (top + _log(density))
    sums[0, 0], sums[0, 1], sums[0, 2], sums[0, 3], sums[0, 4], sums[0, 5] = s0, s1, s2, s3, s4, s5
    sums[2, 0], sums[2, 1], sums[2, 2], sums[2, 3], sums[2, 4], sums[2, 5] = t0, t1, t2, t3, t4, t5
    for p in range(6):
        sums[1, p] = totals[p] - sums[0, p] - sums[2, p]
    return total


@_jit()
def _maximise(sums, total, floor, within, bands):
    """New bands from the sums of posterior weights; returns the largest change, in sds of the band.

    If a band were left with fewer than two samples, the bands stay as they are and −1 is returned.
    `within`: variance of v inside the points where these stand for several samples.
    """
    change = 0.0
    for j in range(bands.shape[0]):
        if not sums[j, 0] >= 2.0:
            return -1.0
    for j in range(bands.shape[0]):
        weight = sums[j, 0]
        mean_u = sums[j, 1] / weight
        mean_v = sums[j, 2] / weight
        uu = _max(sums[j, 3] - weight * mean_u * mean_u, 0.0)
        uv = sums[j, 4] - weight * mean_u * mean_v
        vv = sums[j, 5] - weight * mean_v * mean_v
        slope = uv / (uu + SLOPE_RIDGE) if weight >= SLOPE_MIN_SAMPLES else 0.0
        level = mean_v - slope * mean_u
        variance = (vv - 2.0 * slope * uv + slope * slope * uu) / weight + within
        sd = math.sqrt(_max(variance, floor * floor))
        share = weight / total
        change = _max(change, abs(share - bands[j, 0]) / share)
        change = _max(change, (abs(level - bands[j, 1]) + abs(slope - bands[j, 2]) + abs(sd - bands[j, 3])) / sd)
        bands[j, 0], bands[j, 1], bands[j, 2], bands[j, 3] = share, level, slope, sd
    return change


@_jit()
def _iterate(points, scale, floor, within, bands, sums, steps, tolerance, plain):
    """EM from the given bands, in place, until they settle, a band dies out or so many steps are made.

    After each two steps the bands are carried on along their path (SQUAREM, scheme S3; Varadhan and Roland 2008), with
    weights and sds on the log scale and levels and slopes in units of `scale`: plain EM, which is what `plain` asks
    for, creeps where bands overlap.
    """
    count, u, v, totals = points
    k = bands.shape[0]
    start = np.empty((k, 4))
    middle = np.empty((k, 4))
    reach = 4.0
    for step in range(steps):
        first = step % 2 == 0
        for j in range(k):
            for p in range(4):
                if first:
                    start[j, p] = bands[j, p]
                else:
                    middle[j, p] = bands[j, p]
        if k == 2:
            _expect2(count, u, v, totals, bands, sums, _NO)
        else:
            _expect3(count, u, v, totals, bands, sums, _NO)
        change = _maximise(sums, totals[0], floor, within, bands)
        if change < tolerance:
            break
        if first or plain:
            continue
        speed = 0.0
        turn = 0.0
        for j in range(k):
            for p in range(4):
                if p == 0 or p == 3:
                    a = math.log(start[j, p])
                    r = math.log(middle[j, p]) - a
                    d = math.log(bands[j, p]) - a - 2.0 * r
                else:
                    a = start[j, p] / scale
                    r = middle[j, p] / scale - a
                    d = bands[j, p] / scale - a - 2.0 * r
                start[j, p], middle[j, p], bands[j, p] = a, r, d
                speed += r * r
                turn += d * d
        far = 1.0 if speed <= turn else _min(math.sqrt(speed / turn), reach)
        if far == reach:
            reach *= 4.0
        share = 0.0
        for j in range(k):
            for p in range(4):
                bands[j, p] = start[j, p] + 2.0 * far * middle[j, p] + far * far * bands[j, p]
            bands[j, 0] = math.exp(_min(bands[j, 0], 0.0))
            bands[j, 1] *= scale
            bands[j, 2] *= scale
            bands[j, 3] = _min(_max(math.exp(_min(bands[j, 3], 10.0)), floor), 3.0 * scale)
            share += bands[j, 0]
        for j in range(k):
            bands[j, 0] = _max(bands[j, 0] / share, 2.0 / totals[0])


@_jit(inline=False)
def _split(points, cuts, floor, within, bands, sums):
    """Bands from cutting the residuals at `cuts` (ascending); False if a part is too small."""
    count, u, v, totals = points
    sums[:] = 0.0
    for i in range(u.size):
        c = count[i]
        ui = u[i]
        vi = v[i]
        j = 0
        for cut in cuts:
            if vi > cut:
                j += 1
        sums[j, 0] += c
        sums[j, 1] += c * ui
        sums[j, 2] += c * vi
        sums[j, 3] += c * ui * ui
        sums[j, 4] += c * ui * vi
        sums[j, 5] += c * vi * vi
    bands[:] = 1.0
    return _maximise(sums, totals[0], floor, within, bands) >= 0.0


@_jit(inline=False)
def _valley(smooth, mass, start, stop, least):
    """Deepest valley of a smoothed histogram between two bins: (depth relative to the lower of its peaks, bin)."""
    best = 0.0
    where = -1
    for i in range(start + 1, stop - 1):
        if mass[i + 1] - mass[start] < least or mass[stop] - mass[i + 1] < least:
            continue
        left = 0.0
        for j in range(start, i):
            left = _max(left, smooth[j])
        right = 0.0
        for j in range(i + 1, stop):
            right = _max(right, smooth[j])
        peak = _min(left, right)
        if peak > 0.0:
            depth = 1.0 - smooth[i] / peak
            if depth > best:
                best = depth
                where = i
    return best, where


@_jit(fastmath=_FINITE)
def _narrowest(low, high):
    """Smallest difference between two arrays; infinite without values."""
    best = np.inf
    for i in range(low.size):
        best = _min(best, high[i] - low[i])
    return best


@_jit(inline=False)
def _gap(ordered, start, stop, least):
    """Largest step inside ordered[start:stop] with at least `least` values on either side: (step, index above it)."""
    first = start + least
    last = stop - least + 1
    if last <= first:
        return 0.0, -1
    best = -_narrowest(ordered[first:last], ordered[first - 1 : last - 1])
    if best == 0.0:
        return 0.0, -1
    for i in range(first, last):
        if ordered[i] - ordered[i - 1] == best:
            return best, i
    return 0.0, -1


@_jit(inline=False)
def _starts(ordered, cuts):
    """Cuts of the sorted residuals to start EM from.

    cuts: (8, 2); rows 0-3 receive cuts into two (first column), rows 4-7 into three; NaN where there is none. In this
    order: equal shares, valleys of the smoothed histogram, largest gaps, smallest within-group variance (Otsu).
    """
    bins = np.int64(64)
    start = np.int64(0)
    n = ordered.size
    cuts[:] = np.nan
    cuts[0, 0] = _quantile(ordered, 0.5)
    cuts[4, 0] = _quantile(ordered, 1.0 / 3.0)
    cuts[4, 1] = _quantile(ordered, 2.0 / 3.0)
    least = _max(3, math.ceil(BAND_WEIGHT * n))

    low = ordered[0]
    width = (ordered[n - 1] - low) / bins
    histogram = np.empty(bins)
    histogram[:] = 0.0
    for i in range(n):
        histogram[_min(int((ordered[i] - low) / width), bins - 1)] += 1.0
    mass = np.empty(bins + 1)
    first = np.empty(bins + 1)
    mass[0] = first[0] = 0.0
    for b in range(bins):
        mass[b + 1] = mass[b] + histogram[b]
        first[b + 1] = first[b] + histogram[b] * (b + 0.5)
    smooth = np.empty(bins)
    before = np.empty(bins)
    _copy(histogram, smooth)
    for _ in range(3):
        _copy(smooth, before)
        for b in range(bins):
            left = before[b - 1] if b else 0.0
            right = before[b + 1] if b < bins - 1 else 0.0
            smooth[b] = 0.25 * left + 0.5 * before[b] + 0.25 * right
    _, bin1 = _valley(smooth, mass, start, bins, least)
    if bin1 > 0:
        cuts[1, 0] = low + (bin1 + 0.5) * width
        depth_left, bin_left = _valley(smooth, mass, start, bin1 + 1, least)
        depth_right, bin_right = _valley(smooth, mass, bin1 + 1, bins, least)
        bin2 = bin_left if depth_left >= depth_right else bin_right
        if bin2 > 0:
            cuts[5, 0] = low + (_min(bin1, bin2) + 0.5) * width
            cuts[5, 1] = low + (_max(bin1, bin2) + 0.5) * width

    gap1, i1 = _gap(ordered, start, n, least)
    if gap1 > 0.0:
        cuts[2, 0] = 0.5 * (ordered[i1] + ordered[i1 - 1])
        gap_left, i_left = _gap(ordered, start, i1, least)
        gap_right, i_right = _gap(ordered, i1, n, least)
        i2 = i_left if gap_left >= gap_right else i_right
        if i2 > 0:
            cuts[6, 0] = 0.5 * (ordered[_min(i1, i2)] + ordered[_min(i1, i2) - 1])
            cuts[6, 1] = 0.5 * (ordered[_max(i1, i2)] + ordered[_max(i1, i2) - 1])

    best2 = 0.0
    best3 = 0.0
    for a in range(1, bins - 1):
        if mass[a] < least:
            continue
        score1 = first[a] * first[a] / mass[a]
        if n - mass[a] >= least:
            rest = first[bins] - first[a]
            score = score1 + rest * rest / (n - mass[a])
            if score > best2:
                best2 = score
                cuts[3, 0] = low + a * width
        if a % 2 == 0:
            for b in range(a + 2, bins, 2):
                middle = mass[b] - mass[a]
                if middle < least or n - mass[b] < least:
                    continue
                f2 = first[b] - first[a]
                f3 = first[bins] - first[b]
                score = score1 + f2 * f2 / middle + f3 * f3 / (n - mass[b])
                if score > best3:
                    best3 = score
                    cuts[7, 0] = low + a * width
                    cuts[7, 1] = low + b * width


@_jit(inline=False)
def _cells(u, v, ordered, of_cell, table, cells):
    """Bin the points by age and residual; returns the number of filled cells and the variance of v inside cells.

    u, v: (n,) in ascending order of u; ordered: v sorted; of_cell: (n,) scratch; table: (3, AGE_BINS · VALUE_BINS)
    scratch; cells: (3, n) receives count, mean u and mean v of each filled cell. Without a gain from binning every
    point is a cell.
    """
    n = u.size
    # A band's sd from the narrowest tenth of the residuals: a quarter of an sd wide in one normal band, half a one in
    # a band holding half of the samples.
    tenth = n // 10
    narrowest = _narrowest(ordered[: n - tenth], ordered[tenth:])
    low = ordered[0]
    length = ordered[n - 1] - low
    width = _max(_max(narrowest, 0.5 * SD_FLOOR), length / (VALUE_BINS - 1))
    bins = _min(int(length / width) + 1, VALUE_BINS)
    table[:, : AGE_BINS * bins] = 0.0
    slice_of_age = 0
    for i in range(n):
        while (slice_of_age + 1) * n <= i * AGE_BINS:  # i · AGE_BINS // n, without the slow division
            slice_of_age += 1
        cell = slice_of_age * bins + _min(int((v[i] - low) / width), bins - 1)
        table[0, cell] += 1.0
        table[1, cell] += u[i]
        table[2, cell] += v[i]
    filled = 0
    for cell in range(AGE_BINS * bins):
        filled += table[0, cell] > 0.0
    if 2 * filled > n:
        cells[0, :n] = 1.0
        _copy(u, cells[1, :n])
        _copy(v, cells[2, :n])
        return n, 0.0
    filled = 0
    within = 0.0
    for cell in range(AGE_BINS * bins):
        count = table[0, cell]
        if count > 0.0:
            cells[0, filled] = count
            cells[1, filled] = table[1, cell] / count
            cells[2, filled] = table[2, cell] / count
            within -= table[2, cell] * table[2, cell] / count
            filled += 1
    for i in range(n):
        within += v[i] * v[i]
    return filled, _max(within / n, 0.0)


@_jit(inline=False)
def _in_order(bands):
    """Sort (k, 4) bands in place by their level."""
    for last in range(bands.shape[0] - 1, 0, -1):
        for j in range(last):
            if bands[j, 1] > bands[j + 1, 1]:
                for p in range(4):
                    bands[j, p], bands[j + 1, p] = bands[j + 1, p], bands[j, p]


@_jit()
def _mixture(k, samples, cells, within, cuts, scale, floor, trend, ends, rival, exact, out, sums):
    """Fit k lines by EM and describe them.

    samples: multiplicity (1), standardised age u and residual v, each (n,), and `_totals`; cells, within: the same,
    binned by `_cells`; cuts: of `_starts`; scale: sd of v; floor: least sd of a band; trend: overall slope per unit of
    u; ends: 5th and 95th percentile of u; out: slots of one mixture, left alone if no start leaves samples to k bands;
    sums: (k, 6) scratch.

    A few iterations from every start and then all of the best are made on the cells, the last ones on the points; fits
    that are clearly worse than `rival`, the BIC of fewer bands, are left where the cells or the start brought them.
    `exact` makes all on the points, every start to the end, by plain EM (the reference in tests).
    """
    n = samples[1].size
    best = -np.inf
    bands = np.empty((k, 4))
    chosen = np.empty((k, 4))
    tried = np.empty((4, k))
    tried[:] = -1.0
    points = samples if exact else cells
    within = 0.0 if exact else within
    constant = n * math.log(2.0 * math.pi) + (4 * k - 1) * math.log(n)
    for s in range(6):
        if s < 4:
            cut = cuts[4 * (k - 2) + s, : k - 1]
            if np.isnan(cut[0]) or not _split(points, cut, floor, within, bands, sums):
                continue
            known = False
            for t in range(s):
                apart = 0.0
                for j in range(k):
                    apart = _max(apart, abs(tried[t, j] - bands[j, 0]))
                known |= apart < 0.005
            if known and not exact:
                continue
            for j in range(k):
                tried[s, j] = bands[j, 0]
            steps, tolerance = (EXACT_RUN, 1e-6) if exact else (SHORT_RUN, 1e-3)
        elif s == 4:
            if exact or constant - 2.0 * best >= rival + LONG_RUN_BIC:
                continue
            _copy_bands(chosen, bands)
            steps, tolerance = LONG_RUN, 1e-4
        else:
            if best == -np.inf:
                return
            _copy_bands(chosen, bands)
            # Cells lie closer to the lines than their samples do.
            loss = 0.0
            for j in range(k):
                loss += n * bands[j, 0] * within / bands[j, 3] ** 2
            steps, tolerance = 0 if exact or constant - 2.0 * best + loss >= rival + POLISH_BIC else POLISH, 1e-3
            points, within = samples, 0.0
        _iterate(points, scale, floor, within, bands, sums, steps, tolerance, exact or s == 5)
        if s == 5:
            _in_order(bands)
        count, u, v, totals = points
        if k == 2:
            likelihood = _expect2(count, u, v, totals, bands, sums, _YES)
        else:
            likelihood = _expect3(count, u, v, totals, bands, sums, _YES)
        if likelihood > best:
            best = likelihood
            _copy_bands(bands, chosen)
    _describe(bands, sums, n, likelihood, trend, ends, out)
    _look_between(samples, bands, out)


@_jit(inline=False)
def _valley_of(bands, j):
    """Valley between bands j and j + 1 at the mean age: depth, place, whether the left peak is the lower one.

    Depth is a share of the lower peak, 0 where there is no valley; the place is 0 at the lower level, 1 at the upper.
    """
    steps = 48
    low = bands[j, 1]
    gap = bands[j + 1, 1] - low
    heights = np.empty(steps + 1)
    least = 0
    for i in range(steps + 1):
        v = low + gap * i / steps
        height = 0.0
        for b in range(bands.shape[0]):
            z = (v - bands[b, 1]) / bands[b, 3]
            height += bands[b, 0] / bands[b, 3] * math.exp(-0.5 * z * z)
        heights[i] = height
        if height < heights[least]:
            least = i
    left = 0.0
    right = 0.0
    for i in range(steps + 1):
        if i <= least:
            left = _max(left, heights[i])
        if i >= least:
            right = _max(right, heights[i])
    peak = _min(left, right)
    depth = 1.0 - heights[least] / peak if peak > 0.0 else 0.0
    return depth, least / steps, left < right


@_jit(fastmath=_FAST)
def _in_windows(u, v, bands, j, place, left):
    """Samples in a window around the valley between bands j and j + 1, and in one as wide around the lower peak."""
    peak = j if left else j + 1
    a1, b1 = bands[j, 1], bands[j, 2]
    a2, b2 = bands[j + 1, 1] - bands[j, 1], bands[j + 1, 2] - bands[j, 2]
    away = abs(place - (0.0 if left else 1.0)) * (bands[j + 1, 1] - bands[j, 1])
    half = _min(0.6 * bands[peak, 3], 0.5 * away)
    ap, bp = bands[peak, 1], bands[peak, 2]
    valley = 0.0
    top = 0.0
    for i in range(u.size):
        at = a1 + b1 * u[i] + place * (a2 + b2 * u[i])
        valley += 1.0 if abs(v[i] - at) <= half else 0.0
        top += 1.0 if abs(v[i] - ap - bp * u[i]) <= half else 0.0
    return valley, top


@_jit()
def _look_between(samples, bands, out):
    """Are there valleys between bands, in the model and among the samples? Are bands single, and there at all ages?"""
    _, u, v, _ = samples
    k = bands.shape[0]
    out[_DEPTH] = np.inf
    out[_BEST_DEPTH] = -np.inf
    below = 0.0
    for j in range(k - 1):
        below += bands[j, 0]
        depth, place, left = _valley_of(bands, j)
        seen = 0.0
        error = 1.0
        if depth > 0.0:
            valley, top = _in_windows(u, v, bands, j, place, left)
            seen = 1.0 - (valley + 0.5) / (top + 0.5)
            error = (1.0 - seen) * math.sqrt(1.0 / (valley + 0.5) + 1.0 / (top + 0.5))
        if _min(depth, seen) < _min(out[_DEPTH], out[_SEEN]) or j == 0:
            out[_DEPTH], out[_SEEN], out[_SEEN_SE] = depth, seen, error
        if _min(depth, seen) > _min(out[_BEST_DEPTH], out[_BEST_SEEN]) or j == 0:
            out[_BEST_DEPTH], out[_BEST_SEEN], out[_BEST_SE] = depth, seen, error
            out[_BEST_WEIGHT] = _min(below, 1.0 - below)
    # Fourth moment of the samples nearest to each band: two merged bands have an excess kurtosis towards -2.
    least = 0.0
    bins = _min(8, _max(u.size // 25, 2))
    moments = np.empty((k, 5))
    by_age = np.empty((k, bins))
    moments[:] = 0.0
    by_age[:] = 0.0
    gain = np.empty(k)
    for j in range(k):
        gain[j] = math.log(bands[j, 0] / bands[j, 3])
    slice_of_age = 0
    for i in range(u.size):
        while (slice_of_age + 1) * u.size <= i * bins:
            slice_of_age += 1
        best = 0
        most = -np.inf
        at = 0.0
        for j in range(k):
            z = (v[i] - bands[j, 1] - bands[j, 2] * u[i]) / bands[j, 3]
            height = gain[j] - 0.5 * z * z
            if height > most:
                best, most, at = j, height, z
        square = at * at
        by_age[best, slice_of_age] += 1.0
        moments[best, 0] += 1.0
        moments[best, 1] += at
        moments[best, 2] += square
        moments[best, 3] += square * at
        moments[best, 4] += square * square
    for j in range(k):
        count = moments[j, 0]
        if count >= 20.0:
            m1 = moments[j, 1] / count
            m2 = moments[j, 2] / count - m1 * m1
            m3 = moments[j, 3] / count
            m4 = moments[j, 4] / count - 4.0 * m1 * m3 + 6.0 * m1 * m1 * moments[j, 2] / count - 3.0 * m1**4
            if m2 > 1e-12:
                least = _min(least, m4 / (m2 * m2) - 3.0)
    out[_BAND_KURT] = least
    chi = 0.0
    there = 0
    for j in range(k):
        there += moments[j, 0] > 0.0
        for b in range(bins):
            there_then = 0.0
            for other in range(k):
                there_then += by_age[other, b]
            expected = moments[j, 0] / u.size * there_then
            if expected > 0.0:
                chi += (by_age[j, b] - expected) ** 2 / expected
    if there > 1:
        # Less what independence gives by chance.
        out[_BY_AGE] = math.sqrt(_max(chi / (there - 1) - (bins - 1), 0.0) / u.size)


@_jit(fastmath=_FAST)
def _zones(x, residual, mean_x, sxx, out):
    """Trend's error, change of spread, and what neither line nor cone explains, of one band.

    x: (n,) ages in ascending order; residual: (n,) from the line; out: (5,) from _EFFECT_SE to _SPREAD_BEND is filled.

    The error of the change of level is of HC3 (MacKinnon and White 1985). The spread is a gamma regression of
    |residual| on age with a log link, over up to 48 bins of age, with `SPREAD_FLOOR` added in quadrature.
    """
    n = x.size
    q05 = _quantile(x, 0.05)
    q95 = _quantile(x, 0.95)
    meat = 0.0
    square = 0.0
    for i in range(n):
        a = x[i] - mean_x
        r = residual[i]
        square += r * r
        e = r / (1.0 - 1.0 / n - a * a / sxx)
        meat += e * e * a * a
    out[_EFFECT_SE] = math.sqrt(meat) / sxx * (q95 - q05)
    bins = _min(48, _max(n // 4, 2))
    age = np.empty(bins)
    size = np.empty(bins)
    count = np.empty(bins)
    for b in range(bins):
        age[b] = size[b] = count[b] = 0.0
    for b in range(bins):
        start = b * n // bins
        stop = (b + 1) * n // bins
        for i in range(start, stop):
            age[b] += x[i] - mean_x
            size[b] += abs(residual[i])
        count[b] = stop - start
        age[b] /= count[b]
        size[b] /= count[b]
    total = 0.0
    between = 0.0
    for b in range(bins):
        total += count[b] * size[b]
        between += count[b] * age[b] * age[b]
    level = math.log(_max(total / n, 1e-9))
    rate = 0.0
    reach = _max(_max(abs(q05 - mean_x), abs(q95 - mean_x)), 1e-9)
    for _ in range(12):
        up = 0.0
        tilt = 0.0
        for b in range(bins):
            excess = size[b] / math.exp(level + rate * age[b]) - 1.0
            up += count[b] * excess
            tilt += count[b] * excess * age[b]
        level += _max(_min(up / n, 0.7), -0.7)
        rate += _max(_min(tilt / between, 0.7 / reach), -0.7 / reach)
        rate = _max(_min(rate, 2.0 / reach), -2.0 / reach)
    # Dispersion, and what the cone does not explain, by up to 12 bins.
    fits = np.empty(bins)
    for b in range(bins):
        fits[b] = math.exp(level + rate * age[b])
    dispersion = 0.0
    for b in range(bins):
        for i in range(b * n // bins, (b + 1) * n // bins):
            e = abs(residual[i]) / fits[b] - 1.0
            dispersion += e * e
    dispersion /= _max(n - 2, 1)
    error = math.sqrt(dispersion / between)
    old = 1.2533 * math.exp(level + rate * (q95 - mean_x))
    young = 1.2533 * math.exp(level + rate * (q05 - mean_x))
    floor = SPREAD_FLOOR**2
    out[_LOG_RATIO] = 0.5 * math.log((old * old + floor) / (young * young + floor))
    gain = old * old * (q95 - mean_x) / (old * old + floor) - young * young * (q05 - mean_x) / (young * young + floor)
    out[_LOG_RATIO_SE] = error * abs(gain)
    wide = _min(12, _max(n // 15, 4))
    level_bend = 0.0
    spread_bend = 0.0
    for w in range(wide):
        start = w * n // wide
        stop = (w + 1) * n // wide
        mean = 0.0
        ratio = 0.0
        for i in range(start, stop):
            mean += residual[i]
            ratio += abs(residual[i]) / _exp(level + rate * (x[i] - mean_x))
        level_bend += mean * mean / (stop - start)
        ratio = ratio / (stop - start) - 1.0
        spread_bend += (stop - start) * ratio * ratio
    # Less what noise alone gives: each bin but the two that the line takes.
    noise = _max(square - level_bend, 0.0) / _max(n - wide, 1)
    out[_BEND] = math.sqrt(_max(level_bend - (wide - 2) * noise, 0.0) / n)
    out[_SPREAD_BEND] = math.sqrt(_max(spread_bend - (wide - 2) * dispersion, 0.0) / n)


@_jit(inline=False)
def _sexes(x, sex, residual, trend, spread, out):
    """Women against men: difference of levels, the same in robust standard deviations, each sex's change and its error.

    sex: (n,) 0, 1 or -1; residual: (n,) from the common line of slope `trend`; spread: (n,) scratch. out: (8,) of _SEX.
    """
    n = x.size
    low = _quantile(x, 0.05)
    high = _quantile(x, 0.95)
    numbers = np.empty((2, 6))
    numbers[:] = 0.0
    for i in range(n):
        own = sex[i]
        if own >= 0:
            row = numbers[own]
            row[0] += 1.0
            row[1] += x[i]
            row[2] += residual[i]
    if _min(numbers[0, 0], numbers[1, 0]) < 15.0:
        return
    middle = np.empty(2)
    wide = np.empty(2)
    for s in range(2):
        numbers[s, 1] /= numbers[s, 0]
        numbers[s, 2] /= numbers[s, 0]
    for i in range(n):
        own = sex[i]
        if own >= 0:
            row = numbers[own]
            a = x[i] - row[1]
            b = residual[i] - row[2]
            row[3] += a * a
            row[4] += a * b
            row[5] += b * b
    gap = abs(numbers[1, 2] - numbers[0, 2])
    within = math.sqrt((numbers[0, 5] + numbers[1, 5]) / (numbers[0, 0] + numbers[1, 0] - 2.0))
    if gap < 0.03 or gap < 0.7 * within:
        return
    for s in range(2):
        count = 0
        for i in range(n):
            if sex[i] == s:
                spread[count] = residual[i]
                count += 1
        part = spread[:count]
        heap_sort(part)
        middle[s] = _quantile(part, 0.5)
        for i in range(count):
            part[i] = abs(part[i] - middle[s])
        heap_sort(part)
        wide[s] = _max(1.4826 * _quantile(part, 0.5), SD_FLOOR)
    apart = abs(middle[1] - middle[0])
    out[0] = apart
    out[1] = math.sqrt(2.0) * apart / math.sqrt(wide[0] ** 2 + wide[1] ** 2)
    for s in range(2):
        xx, xy = numbers[s, 3], numbers[s, 4]
        slope = xy / xx if xx > 0.0 else 0.0
        left = _max(numbers[s, 5] - slope * xy, 0.0) / _max(numbers[s, 0] - 2.0, 1.0)
        out[2 + 3 * s] = (trend + slope) * (high - low)
        out[3 + 3 * s] = math.sqrt(left / xx) * (high - low) if xx > 0.0 else np.inf
        out[4 + 3 * s] = math.sqrt(left)


@_jit(inline=False)
def _describe(bands, sums, n, likelihood, trend, ends, out):
    """Numbers of bands in ascending order of level; `sums` of posterior weights under these bands."""
    k = bands.shape[0]
    out[_BIC] = -2.0 * likelihood + n * math.log(2.0 * math.pi) + (4 * k - 1) * math.log(n)
    weight = 1.0
    sd = 0.0
    for j in range(k):
        weight = _min(weight, bands[j, 0])
        sd = _max(sd, bands[j, 3])
    out[_WEIGHT] = weight
    out[_BAND_SD] = sd
    gap = np.inf
    d = np.inf
    end = np.inf
    for j in range(k - 1):
        step = bands[j + 1, 1] - bands[j, 1]
        turn = bands[j + 1, 2] - bands[j, 2]
        gap = _min(gap, step)
        d = _min(d, math.sqrt(2.0) * step / math.sqrt(bands[j, 3] ** 2 + bands[j + 1, 3] ** 2))
        end = _min(_min(end, step + turn * ends[0]), step + turn * ends[1])
    out[_GAP] = gap
    out[_D] = d
    out[_ENDS] = end
    common = 0.0
    precision = 0.0
    length = ends[1] - ends[0]
    for j in range(k):
        place = _BANDS + _PER_BAND * j
        out[place] = (trend + bands[j, 2]) * length
        out[place + 3], out[place + 4], out[place + 5] = bands[j, 1], bands[j, 0], bands[j, 3]
        out[place + 6] = np.inf
        weight = sums[j, 0]
        if weight < SLOPE_MIN_SAMPLES:
            continue
        sum_u, sum_v = sums[j, 1], sums[j, 2]
        uu = sums[j, 3] - sum_u * sum_u / weight
        uv = sums[j, 4] - sum_u * sum_v / weight
        vv = sums[j, 5] - sum_v * sum_v / weight
        if uu <= 1e-9 * weight:
            continue
        # Weighted least squares without the ridge; a tenth of a per mille keeps ties from infinite precision.
        variance = _max((vv - uv * uv / uu) / (weight - 2.0), 1e-8)
        slope = trend + uv / uu
        out[place + 1] = slope / math.sqrt(variance / uu)
        out[place + 2] = weight - 2.0
        out[place + 6] = math.sqrt(variance / uu) * length
        out[place] = slope * length  # without the pull of SLOPE_RIDGE towards the overall trend
        common += slope * uu / variance
        precision += uu / variance
    if precision > 0.0:
        out[_COMMON_T] = common / math.sqrt(precision)
    if k == 3:
        outer = bands[2, 1] - bands[0, 1]
        if outer > 0.0:
            out[_MIDDLE] = (bands[1, 1] - bands[0, 1]) / outer
        p = bands[0, 0] + 0.5 * bands[1, 0]
        expected = (p * p, 2.0 * p * (1.0 - p), (1.0 - p) * (1.0 - p))
        chi = 0.0
        for j in range(3):
            chi += n * (bands[j, 0] - expected[j]) ** 2 / expected[j]
        out[_HWE] = chi


@_jit(entry=True)
def _kernel(low, high, beta, order, ages, sexes, out, exact):
    """Fill rows low..high-1 of out (k, _WIDTH) from beta (k, n) float32.

    Samples are taken in `order`, in which `ages` (n,) ascend, and `sexes` (n,): 0, 1, or -1 where not known.
    """
    n = beta.shape[1]
    # Compiled loops look how far apart arrays lie, and below 256 bytes take their sums in another order: with little
    # room, the last digits of small cohorts would depend on where memory was free.
    room = _max(n, 128)
    x_all = np.empty(room)
    y_all = np.empty(room)
    residual_all = np.empty(room)
    ordered_all = np.empty(room)
    core_x = np.empty(room)
    core_y = np.empty(room)
    sex_all = np.empty(room, dtype=np.int8)
    scaled_all = np.empty(room)
    ones_all = np.empty(room)
    ones_all[:] = 1.0
    counts = np.empty(2 * room + 1, dtype=np.int32)
    where = np.empty(room, dtype=np.int32)
    hulls = np.empty((6, room), dtype=np.int64)
    table = np.empty((3, AGE_BINS * VALUE_BINS))
    cells = np.empty((3, room))
    cuts = np.empty((8, 2))
    ends = np.empty(2)
    sums = np.empty((3, 6))
    totals = np.empty(6)
    totals_binned = np.empty(6)
    for row in range(low, high):
        raw = out[row]
        m = 0
        for i in range(n):
            value = beta[row, order[i]]
            if math.isfinite(value):
                x_all[m] = ages[i]
                y_all[m] = value
                sex_all[m] = sexes[i]
                m += 1
        raw[_N] = m
        if m == 0:
            continue
        x = x_all[:m]
        y = y_all[:m]
        residual = residual_all[:m]
        ordered = ordered_all[:m]

        lowest, highest = _sort_near(y, (0.05, 0.5, 0.95), ordered, where, counts)
        mean, squares = _moments(y)
        raw[_MEAN] = mean
        raw[_MEDIAN] = _quantile(ordered, 0.5)
        raw[_Q05] = _quantile(ordered, 0.05)
        raw[_Q95] = _quantile(ordered, 0.95)
        if m > 1:
            raw[_SD] = math.sqrt(squares / (m - 1)) if lowest < highest else 0.0
        if m < MIN_SAMPLES:
            continue

        aged = x[0] < x[m - 1]
        mean_x, sxx, rss = _fit(x, y, residual, raw[_FULL : _FULL + 10])
        _sort(residual, ordered, where, counts)
        centre = _quantile(ordered, 0.5)
        raw[_SPREAD] = 1.4826 * _median_distance(ordered, centre)
        raw[_TAIL] = _quantile(ordered, 0.99) - _quantile(ordered, 0.01)
        if rss > 0.0:
            m3 = 0.0
            m4 = 0.0
            for i in range(m):
                square = residual[i] * residual[i]
                m3 += square * residual[i]
                m4 += square * square
            variance = rss / m
            raw[_SKEW] = m3 / m / variance**1.5
            raw[_KURT] = m4 / m / variance**2 - 3.0
            raw[_DIP] = _dip(ordered, hulls)

        q1 = _quantile(ordered, 0.25)
        q3 = _quantile(ordered, 0.75)
        bottom = q1 - OUTLIER_IQR * (q3 - q1) - OUTLIER_MARGIN
        top = q3 + OUTLIER_IQR * (q3 - q1) + OUTLIER_MARGIN
        first = _place(ordered, bottom, _NO)
        last = _place(ordered, top, _YES)
        outliers = m - (last - first)
        raw[_OUT_N] = outliers

        # Bands before the core: `ordered` still holds all residuals.
        share = BAND_WEIGHT * (1.0 - BAND_WEIGHT) * BAND_GAP**2
        floor = _max(SD_FLOOR, SD_FLOOR_SHARE * math.sqrt(rss / m))
        sd1 = _max(math.sqrt(rss / m), SD_FLOOR)
        raw[_BIC1] = m * (math.log(2.0 * math.pi) + 2.0 * math.log(sd1)) + rss / sd1**2 + 3.0 * math.log(m)
        raw[_TWO + _BAND_SD] = raw[_FULL + _RSD]
        raw[_THREE + _BAND_SD] = raw[_FULL + _RSD]
        if m >= MIN_MIXTURE_SAMPLES and aged and rss >= share * m:
            raw[_RAN] = 1.0
            u = scaled_all[:m]
            scale = math.sqrt(sxx / m)
            for i in range(m):
                u[i] = (x[i] - mean_x) / scale
            trend = raw[_FULL + _SLOPE] * scale
            ends[0] = (_quantile(x, 0.05) - mean_x) / scale
            ends[1] = (_quantile(x, 0.95) - mean_x) / scale
            _starts(ordered, cuts)
            ones = ones_all[:m]
            filled, within = _cells(u, residual, ordered, where, table, cells)
            # Rows first: only then are they known to be contiguous, and the loops vectorise.
            binned = (cells[0][:filled], cells[1][:filled], cells[2][:filled], totals_binned)
            samples = (ones, u, residual, totals)
            _totals(*binned)
            _totals(*samples)
            rival = raw[_BIC1]
            for k in range(2, 4):
                slots = raw[_TWO:_THREE] if k == 2 else raw[_THREE:_MORE]
                _mixture(k, samples, binned, within, cuts, sd1, floor, trend, ends, rival, exact, slots, sums[:k])
                rival = _min(rival, slots[_BIC])

        more = raw[_MORE:_WIDTH]
        more[_FAR_N] = 0.0
        if aged:
            more[_EFFECT_SE : _SPREAD_BEND + 1] = 0.0
        if aged and rss > 0.0:
            _sexes(x, sex_all[:m], residual, raw[_FULL + _SLOPE], scaled_all, more[_SEX:])
        if outliers == 0:
            raw[_OUT_DIST] = 0.0
            _copy(raw[_FULL : _FULL + 10], raw[_CORE : _CORE + 10])
            raw[_CORE_DIP] = raw[_DIP]
        else:
            far = scaled_all[:outliers]
            _copy(ordered[:first], far[:first])
            _copy(ordered[last:], far[first:])
            for i in range(outliers):
                far[i] = abs(far[i] - centre)
            heap_sort(far)
            raw[_OUT_DIST] = _quantile(far, 0.5)
            more[_FAR_N] = outliers - _place(far, OUTLIER_DISTANCE, _NO)
            kept = 0
            for i in range(m):
                if bottom <= residual[i] <= top:
                    core_x[kept] = x[i]
                    core_y[kept] = y[i]
                    kept += 1
            if kept < MIN_SAMPLES:
                continue
            x = core_x[:kept]
            aged = x[0] < x[kept - 1]
            residual = residual_all[:kept]
            ordered = ordered_all[:kept]
            mean_x, sxx, rss = _fit(x, core_y[:kept], residual, raw[_CORE : _CORE + 10])
            if rss > 0.0:
                _sort(residual, ordered, where, counts)
                raw[_CORE_DIP] = _dip(ordered, hulls)
        if aged and rss > 0.0:
            _zones(x, residual, mean_x, sxx, more)


def _t_p(t, df):
    """Two-sided p-values of t statistics, accurate to the smallest double."""
    with np.errstate(over="ignore", invalid="ignore"):
        return special.betainc(df / 2.0, 0.5, df / (df + np.square(t)))


def _chi_p(x):
    """p-values of chi-squares with one degree of freedom, accurate to the smallest double."""
    return special.erfc(np.sqrt(np.maximum(x, 0.0) / 2.0))


def _dip_p(dip, n):
    """p-values of dips by linear interpolation, in √n · dip, of the table of Mächler's `diptest` (R and Python).

    dip, n: (k,) float64. NaN stays NaN.
    """
    sizes = np.asarray(DipTable._SAMPLE_SIZE, dtype=float)
    alpha = np.asarray(DipTable._ALPHA)
    critical = np.asarray(DipTable._CRIT_VALS)
    result = np.full(dip.shape, np.nan)
    known = ~np.isnan(dip)
    for size in np.unique(n[known]):
        at = known & (n == size)
        upper = int(np.clip(np.searchsorted(sizes, size, side="right"), 1, len(sizes) - 1))
        share = min(max((size - sizes[upper - 1]) / (sizes[upper] - sizes[upper - 1]), 0.0), 1.0)
        below = np.sqrt(sizes[upper - 1]) * critical[upper - 1]
        above = np.sqrt(sizes[upper]) * critical[upper]
        result[at] = 1.0 - np.interp(np.sqrt(size) * dip[at], below + share * (above - below), alpha)
    return result


def compute(beta, ages, sexes=None, *, t_scale=1.0, curve_scale=1.0, lost=0) -> pd.DataFrame:
    """Statistics of CpGs against age.

    beta: (k, n) float32, methylation from 0 to 1, one row per CpG, NaN where missing. A missing value leaves its sample
    out of that CpG, exactly as if the sample were not in the cohort.
    ages: (n,) float64, years. sexes: (n,) 0, 1, or -1 where not known; None: none is known.
    t_scale, curve_scale: of betas that were adjusted for covariates (`adjust.Model`), by what t statistics of slopes
    and bends are multiplied; lost: degrees of freedom that the covariates cost. Without them a line fitted to what is
    left takes its errors for too small. `slope_t` is the scaled one; r2, resid_sd and BIC are of the betas as they are.

    Returns a frame of k rows with the columns NAMES, explained in DESCRIPTION: float64, but for int32 `n`, `outlier_n`
    and `far_n` and bool `mixture_ran`.

    NaN stands for what is not defined: everything of a CpG without values; `sd` of a single value; everything after
    `q95` with fewer than MIN_SAMPLES values; trend, bend and change of spread where all ages are equal; the tests,
    `r2`, `sd_ratio`, shape and dip where all values are equal (slope and effect are 0 there), and those of the
    residuals where they are all zero (a perfect line has `slope_p` 0); the bend where there are only two ages.
    Where no bands were fitted (`mixture_ran` false, or no start leaves samples to each of the bands) `bic2` or `bic3`
    is infinite, weights, shares, gaps, D, depths and effects are 0, their errors infinite, the p-values are 1,
    `three_middle` is 0.5 and the band sd is `resid_sd`.

    The mixtures are of K = 1, 2, 3 lines on age with normal noise, by EM (maximum likelihood but for SLOPE_RIDGE and
    the floors of sd), on the residuals of the overall line. They run where the residual variance leaves room for two
    bands BAND_GAP apart of which the smaller holds BAND_WEIGHT of the samples.

    Raises ValueError for arrays of the wrong shape and for ages that are not finite.
    """
    return _frame(_raw(beta, ages, sexes), t_scale, curve_scale, lost)


def _raw(beta, ages, sexes=None, exact=False, serial=False):
    """The kernel's raw numbers, (k, _WIDTH).

    exact: mixtures without binning, see `_mixture`. serial: in this thread alone.
    """
    beta = np.asarray(beta, dtype=np.float32)
    ages = np.asarray(ages, dtype=np.float64)
    if beta.ndim != 2 or ages.shape != beta.shape[1:]:
        raise ValueError(f"beta must be (CpGs, samples) and ages (samples,), not {beta.shape} and {ages.shape}")
    if not np.isfinite(ages).all():
        raise ValueError("ages must be finite: leave samples without an age out")
    raw = np.full((len(beta), _WIDTH), np.nan)
    raw[:, [_OUT_N, _RAN]] = 0.0
    for start in (_TWO, _THREE):
        raw[:, start:_MORE] = 0.0
        raw[:, start + _BIC] = np.inf
        raw[:, start + _BAND_SD] = np.nan
        raw[:, start + _BANDS + 2 : start + _BANDS + 3 * _PER_BAND : _PER_BAND] = 1.0
        raw[:, start + _BANDS + 6 : start + _BANDS + 3 * _PER_BAND : _PER_BAND] = np.inf
    raw[:, _TWO + _BAND_SD] = np.nan
    raw[:, _THREE + _MIDDLE] = 0.5
    order = np.argsort(ages, kind="stable")
    sexes = np.full(len(ages), -1, np.int8) if sexes is None else np.asarray(sexes, dtype=np.int8)
    if beta.size:
        # Always writeable: a read-only view would be another type to numba, and everything would be compiled again.
        beta = np.require(beta, np.float32, ["C", "W"])
        arguments = beta, order, ages[order], sexes[order], raw, exact
        if serial:
            compile_once(_kernel, *arguments)
            _kernel(0, len(beta), *arguments)
        else:
            in_threads(_kernel, len(beta), *arguments)
    return raw


def _line_columns(fit, prefix: str, size) -> dict:
    """Columns of a line on age from its numbers `fit` (k, 10); size: (k,) values, less those that covariates take."""
    return {
        f"{prefix}slope": fit[:, _SLOPE],
        f"{prefix}intercept": fit[:, _INTERCEPT],
        f"{prefix}slope_t": fit[:, _T],
        f"{prefix}slope_p": _t_p(fit[:, _T], np.maximum(size - 2.0, 1.0)),
        f"{prefix}r2": fit[:, _R2],
        f"{prefix}effect": fit[:, _EFFECT],
        f"{prefix}resid_sd": fit[:, _RSD],
        f"{prefix}het_p": _chi_p(fit[:, _LM]),
        f"{prefix}sd_ratio": fit[:, _RATIO],
        f"{prefix}curve_p": _t_p(fit[:, _CURVE_T], np.maximum(size - 3.0, 1.0)),
        f"{prefix}curve_effect": fit[:, _CURVE_EFFECT],
    }


def _band_columns(raw, name: str, start: int, bands: tuple, size) -> dict:
    """Columns of a mixture of `bands`, whose numbers begin at `start`; size: as for `_line_columns`."""
    k = len(bands)
    effects = raw[:, start + _BANDS : start + _BANDS + _PER_BAND * k : _PER_BAND]
    t = raw[:, start + _BANDS + 1 : start + _BANDS + _PER_BAND * k : _PER_BAND]
    df = raw[:, start + _BANDS + 2 : start + _BANDS + _PER_BAND * k : _PER_BAND]
    columns = {
        f"{name}_weight": raw[:, start + _WEIGHT],
        f"{name}_gap": raw[:, start + _GAP],
        f"{name}_d": raw[:, start + _D],
        f"{name}_effect": np.abs(effects).max(axis=1),
        f"{name}_p": np.minimum(k * _t_p(t, df).min(axis=1), 1.0),
        f"{name}_common_p": _t_p(raw[:, start + _COMMON_T], np.maximum(size - k - 1.0, 1.0)),
        f"{name}_sd": raw[:, start + _BAND_SD],
        f"{name}_min_gap_ends": raw[:, start + _ENDS],
        f"{name}_depth": raw[:, start + _DEPTH],
        f"{name}_depth_seen": raw[:, start + _SEEN],
        f"{name}_depth_se": raw[:, start + _SEEN_SE],
        f"{name}_by_age": raw[:, start + _BY_AGE],
        f"{name}_band_kurtosis": raw[:, start + _BAND_KURT],
    }
    per_band = {"level": 3, "share": 4, "band_sd": 5, "effect_se": 6}
    for what, slot in per_band.items():
        for j, band in enumerate(bands):
            shift = raw[:, _MEAN] if what == "level" else 0.0
            columns[f"{name}_{what}_{band}"] = raw[:, start + _BANDS + _PER_BAND * j + slot] + shift
    columns |= {f"{name}_effect_{band}": effects[:, j] for j, band in enumerate(bands)}
    return columns


def _frame(raw, t_scale=1.0, curve_scale=1.0, lost=0) -> pd.DataFrame:
    """The public columns from the kernel's raw numbers (k, _WIDTH), which are changed: see `compute`."""
    if t_scale != 1.0:
        raw[:, [_FULL + _T, _CORE + _T, _TWO + _COMMON_T, _THREE + _COMMON_T]] *= t_scale
        for start, k in ((_TWO, 2), (_THREE, 3)):
            raw[:, start + _BANDS + 1 : start + _BANDS + _PER_BAND * k : _PER_BAND] *= t_scale
            raw[:, start + _BANDS + 6 : start + _BANDS + _PER_BAND * k : _PER_BAND] /= t_scale
        raw[:, _MORE + _EFFECT_SE] /= t_scale
    if curve_scale != 1.0:
        raw[:, [_FULL + _CURVE_T, _CORE + _CURVE_T]] *= curve_scale
    n = raw[:, _N]
    n = np.where(np.isnan(n), 0.0, n)
    columns = {
        "n": n.astype(np.int32),
        "mean": raw[:, _MEAN],
        "median": raw[:, _MEDIAN],
        "sd": raw[:, _SD],
        "q05": raw[:, _Q05],
        "q95": raw[:, _Q95],
    }
    outliers = raw[:, _OUT_N]
    for prefix, start, size in (("", _FULL, n), ("core_", _CORE, n - outliers)):
        columns |= _line_columns(raw[:, start : start + 10], prefix, size - lost)
    columns |= {
        "core_sd": columns["core_resid_sd"],
        "spread": raw[:, _SPREAD],
        "tail_width": raw[:, _TAIL],
        "skew": raw[:, _SKEW],
        "kurtosis": raw[:, _KURT],
        "outlier_n": outliers.astype(np.int32),
        "outlier_fraction": np.where(n >= MIN_SAMPLES, outliers / np.maximum(n, 1.0), np.nan),
        "outlier_distance": raw[:, _OUT_DIST],
        "dip": raw[:, _DIP],
        "dip_p": _dip_p(raw[:, _DIP], n),
        "core_dip_p": _dip_p(raw[:, _CORE_DIP], n - outliers),
        "mixture_ran": raw[:, _RAN] > 0.0,
        "bic1": raw[:, _BIC1],
        "bic2": raw[:, _TWO + _BIC],
        "bic3": raw[:, _THREE + _BIC],
    }
    for name, start, bands in (("two", _TWO, ("low", "high")), ("three", _THREE, ("low", "mid", "high"))):
        columns |= _band_columns(raw, name, start, bands, n - lost)
    columns |= {
        "three_best_depth": raw[:, _THREE + _BEST_DEPTH],
        "three_best_seen": raw[:, _THREE + _BEST_SEEN],
        "three_best_se": raw[:, _THREE + _BEST_SE],
        "three_best_share": raw[:, _THREE + _BEST_WEIGHT],
        "effect_se": raw[:, _MORE + _EFFECT_SE],
        "log_sd_ratio": raw[:, _MORE + _LOG_RATIO],
        "log_sd_ratio_se": raw[:, _MORE + _LOG_RATIO_SE],
        "bend": raw[:, _MORE + _BEND],
        "spread_bend": raw[:, _MORE + _SPREAD_BEND],
        "far_n": np.nan_to_num(raw[:, _MORE + _FAR_N]).astype(np.int32),
    }
    sex = ("gap", "d", "effect_0", "effect_se_0", "sd_0", "effect_1", "effect_se_1", "sd_1")
    columns |= {f"sex_{name}": raw[:, _MORE + _SEX + slot] for slot, name in enumerate(sex)}
    columns["three_middle"] = raw[:, _THREE + _MIDDLE]
    columns["three_hwe_p"] = np.where(np.isinf(columns["bic3"]), 1.0, _chi_p(raw[:, _THREE + _HWE]))
    return pd.DataFrame({name: columns[name] for name in NAMES})


def compute_cohort(cohort, ages, start=0, stop=None, batch=512, sexes=None, **scales) -> pd.DataFrame:
    """`compute` for the CpGs from `start` to `stop` of a `cohort.Cohort`, in batches, with progress in the log.

    ages: (n_samples,) float64 years, in the order of the cohort's samples, as are sexes; scales: of `compute`. Returns
    the frame with the CpG's name as first column, `cpg`. Each thread takes a whole batch, from reading to p-values.
    """
    stop = cohort.n_cpgs if stop is None else min(stop, cohort.n_cpgs)
    if start < stop:
        # Compiled before the clock starts, so that the estimates below are of the work itself.
        logging.info("compiled first: 10 to 20 s where this machine has not kept it; other jobs wait for one")
        _raw(np.zeros((1, cohort.n_samples), np.float32), ages, sexes, serial=True)
    progress, frames = Progress(stop - start, "CpGs"), []

    def of_batch(low):
        return _frame(_raw(cohort.read(low, min(low + batch, stop)), ages, sexes, serial=True), **scales)

    with concurrent.futures.ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for frame in pool.map(of_batch, range(start, stop, batch)):
            frames.append(frame)
            cohort.release()
            progress.step(len(frame))
    frame = pd.concat(frames, ignore_index=True) if frames else compute(np.empty((0, cohort.n_samples)), ages, sexes)
    frame.insert(0, "cpg", cohort.names(start, stop))
    logging.info(f"statistics of {stop - start:,} CpGs in {so_far(progress.spent())}")
    return frame

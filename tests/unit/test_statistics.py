"""Statistics per CpG against independent implementations: statsmodels, scipy, diptest, scikit-learn and plain numpy."""

import contextlib
import gc
import logging
import os
import pathlib
import subprocess
import sys
import types
import warnings

import diptest
import mpmath
import numba
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.api as sm
from cohorts import cohort_of
from cpgtaxa.small_sort import heap_sort
from cpgtaxa.statistics import kernel as statistics
from cpgtaxa.statistics.kernel import DESCRIPTION, NAMES, compute, compute_cohort
from cpgtaxa.taxa import criteria
from cpgtaxa.threads import compile_once
from diptest.consts import Consts
from numba.core.errors import TypingError
from statsmodels.stats.diagnostic import het_breuschpagan

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "methylation"


def ages_of(n, rng):
    return np.round(np.clip(rng.normal(55, 16, n), 18, 100), 1)


def bands(ages, levels, weights, sds, slopes, rng):
    """One CpG of straight bands: levels at age 55, slopes per year."""
    band = rng.choice(len(levels), len(ages), p=weights)
    mean = np.array(levels)[band] + np.array(slopes)[band] * (ages - 55)
    return (mean + np.array(sds)[band] * rng.standard_normal(len(ages))).astype(np.float32)


def assorted(n, rng):
    """CpGs of every kind, (11, n): noise, trends, bends, changing spread, heavy tails, outliers, bands."""
    ages = ages_of(n, rng)
    years = ages - 55
    noise = rng.standard_normal((11, n))
    beta = 0.5 + 0.02 * noise
    beta[1] += 0.002 * years
    beta[2] += 4e-5 * years**2
    beta[3] = 0.4 + 0.02 * noise[3] * np.exp(years / 40)
    beta[4] = 0.7 + 0.001 * years + 0.01 * rng.standard_t(3, n)
    beta[5] = rng.beta(2, 40, n)
    beta[6, :5] -= 0.4
    beta[7] = bands(ages, [0.2, 0.6], [0.4, 0.6], [0.03, 0.03], [0, 0], rng)
    beta[8] = bands(ages, [0.1, 0.5, 0.9], [0.25, 0.5, 0.25], [0.03, 0.03, 0.03], [0.001, 0, 0], rng)
    beta[9] = np.round(beta[9], 2)  # ties
    beta[10] = 0.002 * years / 10 + 0.5 + 0.003 * noise[10]  # too narrow for bands
    return np.clip(beta, 0, 1).astype(np.float32), ages


def oracle(y, ages):
    """The one-band numbers of one CpG from statsmodels and scipy."""
    y = y.astype(float)
    x = sm.add_constant(ages)
    line = sm.OLS(y, x).fit()
    centred = ages - ages.mean()
    bend = sm.OLS(y, np.column_stack([np.ones_like(ages), centred, centred**2])).fit()
    low, high = np.quantile(ages, [0.05, 0.95])
    size = np.abs(line.resid)
    glejser = sm.OLS(size, x).fit().predict(np.array([[1, low], [1, high]]))
    glejser = np.maximum(glejser, 0.1 * size.mean())
    return {
        "slope": line.params[1],
        "intercept": line.params[0],
        "slope_t": line.tvalues[1],
        "slope_p": line.pvalues[1],
        "r2": line.rsquared,
        "effect": line.params[1] * (high - low),
        "sd": np.sqrt(line.scale),
        "het_p": het_breuschpagan(line.resid, x)[1],
        "sd_ratio": glejser[1] / glejser[0],
        "curve_p": bend.pvalues[2],
        "curve_effect": bend.params[2] * ((high - low) / 2) ** 2,
    }, line.resid


def check_row(row, y, ages):
    """Compare every column but those of the bands with the oracles."""
    present = ~np.isnan(y)
    y, ages = y[present], ages[present]
    expected, residual = oracle(y, ages)
    for name, value in expected.items():
        found = row["resid_sd" if name == "sd" else name]
        assert found == pytest.approx(value, rel=1e-6, abs=1e-12), name
    linregress = scipy.stats.linregress(ages, y.astype(float))
    assert row["slope"] == pytest.approx(linregress.slope, rel=1e-9, abs=1e-15)
    assert row["n"] == len(y)
    assert row["mean"] == pytest.approx(y.astype(float).mean(), rel=1e-12)
    assert row["sd"] == pytest.approx(y.astype(float).std(ddof=1), rel=1e-9)
    for name, q in (("median", 0.5), ("q05", 0.05), ("q95", 0.95)):
        assert row[name] == pytest.approx(np.quantile(y.astype(float), q), rel=1e-12), name
    assert row["spread"] == pytest.approx(1.4826 * scipy.stats.median_abs_deviation(residual), rel=1e-8)
    assert row["tail_width"] == pytest.approx(np.subtract(*np.quantile(residual, [0.99, 0.01])), rel=1e-8)
    assert row["skew"] == pytest.approx(scipy.stats.skew(residual), rel=1e-7, abs=1e-9)
    assert row["kurtosis"] == pytest.approx(scipy.stats.kurtosis(residual), rel=1e-7, abs=1e-9)
    dip, dip_p = diptest.diptest(residual)
    assert row["dip"] == pytest.approx(dip, rel=1e-6)
    assert row["dip_p"] == pytest.approx(dip_p, abs=1e-6)
    q1, q3 = np.quantile(residual, [0.25, 0.75])
    fence = 3 * (q3 - q1) + 0.05
    out = (residual < q1 - fence) | (residual > q3 + fence)
    assert row["outlier_n"] == out.sum()
    assert row["outlier_fraction"] == pytest.approx(out.mean())
    distance = np.median(np.abs(residual - np.median(residual))[out]) if out.any() else 0.0
    assert row["outlier_distance"] == pytest.approx(distance, rel=1e-9)
    core, core_residual = oracle(y[~out], ages[~out])
    for name in ("slope", "slope_p", "effect", "sd", "het_p", "sd_ratio", "curve_p", "curve_effect"):
        assert row[f"core_{name}"] == pytest.approx(core[name], rel=1e-6, abs=1e-12), name
    assert row["core_dip_p"] == pytest.approx(diptest.diptest(core_residual)[1], abs=1e-6)
    return out.sum()


@pytest.mark.parametrize("n", [11, 40, 656, 1501])
def test_one_band_numbers_agree_with_statsmodels_scipy_and_diptest(n):
    beta, ages = assorted(n, np.random.default_rng(n))
    beta[3, :1] = np.nan
    beta[4, n // 10 :: 10] = np.nan
    frame = compute(beta, ages)
    outliers = [check_row(row, y, ages) for (_, row), y in zip(frame.iterrows(), beta, strict=True)]
    if n > 11:
        assert outliers[6] == 5


@pytest.mark.parametrize("cohort", ["gse40279", "gse42861"])
def test_real_cpgs_agree_with_statsmodels(cohort):
    if not (DATA / f"{cohort}_beta.csv.gz").is_file():
        pytest.skip(f"no real cohort: {cohort}_beta.csv.gz is not in ../shared/data/methylation")
    table = pd.read_csv(DATA / f"{cohort}_beta.csv.gz", index_col="cpg").sample(30, random_state=1)
    samples = pd.read_csv(DATA / f"{cohort}_samples.csv.gz").set_index("sample")
    ages = samples.age.loc[table.columns].to_numpy(float)
    beta = table.to_numpy(np.float32)
    frame = compute(beta, ages)
    for (_, row), y in zip(frame.iterrows(), beta, strict=True):
        check_row(row, y, ages)
    assert frame.mixture_ran.any()


def test_columns_types_and_descriptions():
    frame = compute(*assorted(50, np.random.default_rng(0)))
    assert list(frame.columns) == NAMES == list(DESCRIPTION)
    types = {"n": np.int32, "outlier_n": np.int32, "far_n": np.int32, "mixture_ran": np.bool_}
    assert all(frame[name].dtype == types.get(name, np.float64) for name in NAMES)
    empty = compute(np.empty((0, 50), np.float32), np.arange(50.0))
    assert empty.shape == (0, len(NAMES))
    assert (empty.dtypes == frame.dtypes).all()


def test_p_values_hold_in_the_far_tail():
    for t, df in ((2.0, 9.0), (40.0, 654.0), (38.0, 3498.0), (1e4, 50.0)):
        exact = mpmath.betainc(df / 2, 0.5, 0, mpmath.mpf(df) / (df + mpmath.mpf(t) ** 2), regularized=True)
        assert statistics._t_p(np.array([-t]), np.array([df]))[0] == pytest.approx(float(exact), rel=1e-9)
        assert float(exact) > 0
    for x in (0.5, 30.0, 1300.0):
        assert statistics._chi_p(np.array([x]))[0] == pytest.approx(scipy.stats.chi2.sf(x, 1), rel=1e-10)
    assert 0 < statistics._chi_p(np.array([1350.0]))[0] < 1e-290
    # End to end: a trend so clear that its p-value is below 1e-150.
    rng = np.random.default_rng(0)
    ages = np.linspace(20, 90, 400)
    y = (0.3 + 0.005 * (ages - 20) + 0.04 * rng.standard_normal(400)).astype(np.float32)
    expected = oracle(y, ages)[0]["slope_p"]
    assert 0 < expected < 1e-150
    assert compute(y[None], ages).slope_p[0] == pytest.approx(expected, rel=1e-6)


def callable_here(function):
    """A compiled function that only others like it can call, within one that Python can call."""
    return numba.njit(lambda *arguments: function(*arguments))


def test_exponential_and_sort_and_dip_helpers():
    names = ("_exp", "_sort_near", "_quantile", "_sort", "_median_distance", "_dip")
    exp, sort_near, quantile, sort, median_distance, find_dip = (
        callable_here(getattr(statistics, name)) for name in names
    )
    x = np.concatenate([np.linspace(-690, 0, 1001), [-1e9]])
    ours = np.array([exp(value) for value in x])
    np.testing.assert_allclose(ours[:-1], np.exp(x[:-1]), rtol=1e-12)
    assert 0 < ours[-1] < 1e-300
    rng = np.random.default_rng(1)
    for n in (4, 5, 30, 500, 3000):
        uniform = rng.random(n)
        far = rng.standard_cauchy(n)
        two = np.where(rng.random(n) < 0.3, 0.0, 1.0) + 0.1 * rng.standard_normal(n)
        for values in (uniform, far, two, np.round(uniform, 1), np.repeat(uniform[: n // 2], 2), np.full(n, 0.5)):
            size = len(values)
            near, where, counts = np.empty(size), np.empty(size, np.int32), np.empty(2 * size + 1, np.int32)
            assert sort_near(values, (0.05, 0.5, 0.95), near, where, counts) == (min(values), max(values))
            for q in (0.05, 0.5, 0.95):
                assert quantile(near, q) == pytest.approx(np.quantile(values, q), rel=1e-14)
            ordered = np.empty(size)
            sort(values, ordered, where, counts)
            np.testing.assert_array_equal(ordered, np.sort(values))
            centre = np.median(values) + 0.1
            distance = median_distance(ordered, centre)
            assert distance == pytest.approx(np.median(np.abs(values - centre)), rel=1e-12)
            if ordered[0] < ordered[-1]:
                dip = find_dip(ordered, np.empty((6, size), np.int64))
                assert dip == pytest.approx(diptest.dipstat(values), rel=1e-9)
                p = statistics._dip_p(np.array([dip]), np.array([float(len(values))]))[0]
                assert p == pytest.approx(diptest.diptest(values)[1], abs=1e-9)


def test_dip_p_at_the_edges_of_the_table():
    for n in (10, 71999, 72000):
        for dip in (1e-5, 0.001, 0.003, 0.2):
            found = statistics._dip_p(np.array([dip, np.nan]), np.array([n, n], float))
            assert found[0] == pytest.approx(Consts.compute_pval_interpolation(n, dip))
            assert np.isnan(found[1])
    assert 0 <= statistics._dip_p(np.array([0.003]), np.array([2e5]))[0] < 0.01


# ---------------------------------------------------------------------------------------------------------------- bands


def plain_em(y, ages, start, iterations=3000):
    """Mixture of lines by textbook EM from a hard assignment: weights, levels at the mean age, slopes, sds, BIC."""
    y = y.astype(float)
    k = start.max() + 1
    x = np.column_stack([np.ones_like(ages), ages - ages.mean()])
    r = np.eye(k)[start]
    for _ in range(iterations):
        w = r.mean(axis=0)
        coefficients = np.array([np.linalg.solve(x.T @ (r[:, [j]] * x), x.T @ (r[:, j] * y)) for j in range(k)])
        error = y[:, None] - x @ coefficients.T
        sd = np.sqrt((r * error**2).sum(axis=0) / r.sum(axis=0))
        log = np.log(w) + scipy.stats.norm.logpdf(error, 0, sd)
        total = scipy.special.logsumexp(log, axis=1)
        before, r = r, np.exp(log - total[:, None])
        if np.abs(r - before).max() < 1e-8:
            break
    order = np.argsort(coefficients[:, 0])
    bic = -2 * total.sum() + (4 * k - 1) * np.log(len(y))
    return w[order], coefficients[order, 0], coefficients[order, 1], sd[order], bic


CASES = {
    "two": ([0.2, 0.6], [0.4, 0.6], [0.04, 0.03], [0, 0]),
    "opposite trends": ([0.4, 0.55], [0.5, 0.5], [0.02, 0.02], [0.001, -0.001]),
    "trend in one": ([0.3, 0.6], [0.3, 0.7], [0.03, 0.03], [0.002, 0]),
    "rare allele": ([0.8, 0.4], [0.95, 0.05], [0.03, 0.03], [0, 0]),
    "overlapping": ([0.4, 0.49], [0.4, 0.6], [0.03, 0.03], [0, 0]),
    "three": ([0.15, 0.5, 0.85], [0.36, 0.48, 0.16], [0.03, 0.05, 0.03], [0, 0.001, 0]),
    "three overlapping": ([0.3, 0.42, 0.54], [0.25, 0.5, 0.25], [0.03, 0.03, 0.03], [0, 0, 0]),
}


@pytest.mark.parametrize("n", [400, 656, 3000])
@pytest.mark.parametrize("case", CASES)
def test_bands_agree_with_plain_em(case, n):
    levels, weights, sds, slopes = CASES[case]
    k = len(levels)
    rng = np.random.default_rng([n, *case.encode()])
    ages = ages_of(n, rng)
    y = bands(ages, levels, weights, sds, slopes, rng)
    truth = np.abs(y[:, None] - np.array(levels) - np.outer(ages - 55, slopes)).argmin(axis=1)
    w, level, slope, sd, bic = plain_em(y, ages, truth)
    row = compute(y[None], ages).iloc[0]
    name = "two" if k == 2 else "three"
    reach = np.subtract(*np.quantile(ages, [0.95, 0.05]))
    # Looser where bands overlap: the likelihood is flat there. Still well inside one standard error.
    loose = 6.0 if "overlapping" in case else 1.0
    assert row[f"bic{k}"] == pytest.approx(bic, abs=1.0 if loose > 1 else 0.3)
    assert row[f"{name}_weight"] == pytest.approx(w.min(), abs=0.004 * loose)
    assert row[f"{name}_gap"] == pytest.approx(np.diff(level).min(), abs=0.0015 * loose)
    assert row[f"{name}_sd"] == pytest.approx(sd.max(), abs=0.0006 * loose)
    d = np.sqrt(2) * np.diff(level) / np.sqrt(sd[1:] ** 2 + sd[:-1] ** 2)
    assert row[f"{name}_d"] == pytest.approx(d.min(), rel=0.02 * loose)
    effects = [row[f"{name}_effect_{band}"] for band in (("low", "high") if k == 2 else ("low", "mid", "high"))]
    # The ridge holds the slope of the rare band (20 of 400 samples) back by up to a tenth.
    np.testing.assert_allclose(effects, slope * reach, atol=0.002 * loose, rtol=0.1)
    assert row[f"{name}_effect"] == np.abs(effects).max()
    low, high = np.quantile(ages, [0.05, 0.95]) - ages.mean()
    ends = min((np.diff(level + slope * end)).min() for end in (low, high))
    assert row[f"{name}_min_gap_ends"] == pytest.approx(ends, abs=0.004 * loose)
    assert row[f"bic{k}"] < row["bic1"]
    if k == 3:
        middle = (level[1] - level[0]) / (level[2] - level[0])
        assert row["three_middle"] == pytest.approx(middle, abs=0.004 * loose)
        p = w[0] + w[1] / 2
        expected = n * np.array([p * p, 2 * p * (1 - p), (1 - p) ** 2])
        chi = ((n * w - expected) ** 2 / expected).sum()
        assert row["three_hwe_p"] == pytest.approx(scipy.stats.chi2.sf(chi, 1), abs=0.05 * loose)
        assert row["bic3"] < row["bic2"]


@pytest.mark.parametrize("n", [300, 1200])
def test_binned_em_agrees_with_exact_em(n):
    rng = np.random.default_rng(n)
    ages = ages_of(n, rng)
    shapes = [CASES[case] for case in CASES if case != "three overlapping"]
    beta = np.array([bands(ages, *shape, rng) for shape in shapes for _ in range(10)])
    fast, exact = compute(beta, ages), statistics._frame(statistics._raw(beta, ages, exact=True))
    for name, rows in (("two", slice(0, 50)), ("three", slice(50, 60))):
        bic = "bic2" if name == "two" else "bic3"
        difference = (fast[bic] - exact[bic])[rows]
        assert difference.max() < 0.1
        for column, tolerance in (("weight", 0.01), ("gap", 0.002), ("effect", 0.001), ("sd", 0.001)):
            gap = (fast[f"{name}_{column}"] - exact[f"{name}_{column}"])[rows].abs()
            assert gap.max() < tolerance, (name, column)


def test_trends_within_bands_are_found_and_only_those():
    rng = np.random.default_rng(3)
    ages = ages_of(700, rng)

    def p(column, *shape):
        return compute(np.array([bands(ages, *shape, rng) for _ in range(60)]), ages)[column]

    two = [0.3, 0.6], [0.3, 0.7], [0.03, 0.03]
    three = [0.1, 0.5, 0.9], [0.3, 0.5, 0.2], [0.03, 0.03, 0.03]
    assert p("two_p", *two, [0.002, 0]).max() < 1e-10
    assert p("two_common_p", *two, [0.001, 0.001]).max() < 1e-8
    opposite = [0.4, 0.55], [0.5, 0.5], [0.02, 0.02], [0.001, -0.001]
    assert p("two_p", *opposite).max() < 1e-10
    assert p("slope_p", *opposite).median() > 1e-3  # the overall line sees nothing
    assert p("three_p", *three, [0, 0.001, 0]).max() < 1e-8
    assert p("three_common_p", *three, [0.001, 0.001, 0.001]).max() < 1e-8
    for column, shape in (("two", two), ("three", three)):
        k = len(shape[0])
        for kind in ("p", "common_p"):
            null = p(f"{column}_{kind}", *shape, [0.0] * k)
            assert scipy.stats.kstest(null, "uniform").pvalue > 1e-3, (column, kind)
    # A hard assignment of far bands gives the same p-values as ordinary least squares in each.
    y = bands(ages, *two, [0.0005, 0], rng)
    low, high = y < 0.45, y >= 0.45
    each = [scipy.stats.linregress(ages[band], y[band].astype(float)) for band in (low, high)]
    row = compute(y[None], ages).iloc[0]
    assert row.two_p == pytest.approx(min(1, 2 * min(line.pvalue for line in each)), rel=0.02)
    slopes, errors = np.array([line.slope for line in each]), np.array([line.stderr for line in each])
    t = (slopes / errors**2).sum() / np.sqrt((1 / errors**2).sum())
    assert row.two_common_p == pytest.approx(2 * scipy.stats.t.sf(abs(t), 700 - 3), rel=0.02)


def test_bic_of_one_band_is_that_of_the_line():
    beta, ages = assorted(200, np.random.default_rng(0))
    frame = compute(beta, ages)
    for row, y in zip(frame.itertuples(), beta, strict=True):
        line = sm.OLS(y.astype(float), sm.add_constant(ages)).fit()
        if line.scale > 0.004**2:
            assert row.bic1 == pytest.approx(-2 * line.llf + 3 * np.log(200), rel=1e-8)


def test_number_of_bands_is_chosen_by_bic():
    rng = np.random.default_rng(2)
    ages = ages_of(600, rng)
    one = compute((0.5 + 0.03 * rng.standard_normal((50, 600))).astype(np.float32), ages)
    assert ((one.bic1 < one.bic2) & (one.bic1 < one.bic3)).mean() > 0.95
    two = compute(np.array([bands(ages, *CASES["two"], rng) for _ in range(50)]), ages)
    assert ((two.bic2 < two.bic1) & (two.bic2 < two.bic3)).mean() > 0.95
    three = compute(np.array([bands(ages, *CASES["three"], rng) for _ in range(50)]), ages)
    assert ((three.bic3 < three.bic1) & (three.bic3 < three.bic2)).mean() > 0.95


def test_mixtures_run_only_where_bands_could_matter():
    rng = np.random.default_rng(5)
    ages = ages_of(500, rng)
    narrow = 0.5 + 0.005 * rng.standard_normal(500)
    rare = narrow + np.where(rng.random(500) < 0.03, 0.08, 0)
    frame = compute(np.array([narrow, rare, 0.5 + 0.02 * rng.standard_normal(500)], np.float32), ages)
    assert list(frame.mixture_ran) == [False, True, True]
    nothing = frame.iloc[0]
    assert np.isinf([nothing.bic2, nothing.bic3]).all()
    for name in ("two", "three"):
        for column in ("weight", "gap", "d", "effect", "effect_low", "effect_high", "min_gap_ends"):
            assert nothing[f"{name}_{column}"] == 0
        assert nothing[f"{name}_p"] == nothing[f"{name}_common_p"] == 1
        assert nothing[f"{name}_sd"] == nothing.resid_sd
    assert nothing.three_effect_mid == 0
    assert nothing.three_middle == 0.5
    assert nothing.three_hwe_p == 1
    assert frame.two_weight[1] == pytest.approx(0.03, abs=0.02)
    assert frame.two_gap[1] == pytest.approx(0.08, abs=0.01)


# ------------------------------------------------------------------------------------------------------------ behaviour


def test_sample_order_does_not_matter():
    rng = np.random.default_rng(7)
    beta, ages = assorted(300, rng)
    ages = ages + rng.uniform(0, 1e-3, 300)  # no ties: the order by age is then the same
    shuffled = rng.permutation(300)
    pd.testing.assert_frame_equal(compute(beta[:, shuffled], ages[shuffled]), compute(beta, ages), check_exact=True)


def test_threads_and_shards_do_not_matter():
    rng = np.random.default_rng(8)
    beta = np.concatenate([assorted(200, rng)[0] for _ in range(4)])
    ages = ages_of(200, rng)
    whole = compute(beta, ages)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        pd.testing.assert_frame_equal(compute(beta, ages), whole, check_exact=True)
    finally:
        numba.set_num_threads(before)
    parts = [compute(beta[low:high], ages) for low, high in ((0, 1), (1, 14), (14, 44))]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole, check_exact=True)


def degenerate():
    rng = np.random.default_rng(9)
    noise = 0.5 + 0.05 * rng.standard_normal(60)
    ages = ages_of(60, rng)
    two_values = np.where(rng.random(60) < 0.4, 0.2, 0.8)
    line = 0.25 + (ages - 18) / 128
    single = np.full(60, np.nan)
    single[7] = 0.3
    nine = np.where(np.arange(60) < 9, noise, np.nan)
    eleven = np.where(np.arange(60) < 11, noise, np.nan)
    eleven_two = np.where(np.arange(60) < 11, two_values, np.nan)
    one_off = np.full(60, 0.5)
    one_off[3] = 0.9
    mirrored = np.where(np.arange(60) % 2, 0.3, 0.7)
    return {
        "constant": (np.full(60, 0.3), ages),
        "zeros": (np.zeros(60), ages),
        "nothing": (np.full(60, np.nan), ages),
        "single": (single, ages),
        "nine": (nine, ages),
        "eleven": (eleven, ages),
        "eleven samples of two values": (eleven_two, ages),
        "two values": (two_values, ages),
        "two values by turns": (mirrored, np.repeat(np.arange(20.0, 50.0), 2)),
        "one off": (one_off, ages),
        "perfect line": (line, ages),
        "two ages": (noise, np.where(np.arange(60) % 2, 30.0, 60.0)),
        "two ages, two values": (two_values, np.where(np.arange(60) % 2, 30.0, 60.0)),
        "one age": (noise, np.full(60, 40.0)),
        "one age, two values": (two_values, np.full(60, 40.0)),
        "infinite": (np.where(np.arange(60) == 5, np.inf, noise), ages),
    }


@pytest.mark.parametrize("case", degenerate())
def test_degenerate_input_gives_neither_errors_nor_warnings(case):
    y, ages = degenerate()[case]
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        row = compute(y[None].astype(np.float32), ages).iloc[0]
    missing = {name for name in NAMES if np.isnan(float(row[name]))}
    location = {"mean", "median", "q05", "q95"}
    trend = {"slope", "intercept", "slope_t", "slope_p", "r2", "effect", "core_slope", "core_slope_p", "core_effect"}
    tests = {"slope_t", "slope_p", "r2", "core_slope_p"}
    spread = {"het_p", "sd_ratio", "core_het_p", "core_sd_ratio"}
    bend = {"curve_p", "curve_effect", "core_curve_p", "core_curve_effect"}
    shape = {"skew", "kurtosis", "dip", "dip_p", "core_dip_p"}
    no_spread = tests | spread | bend | shape
    zones = {"effect_se", "log_sd_ratio", "log_sd_ratio_se", "bend", "spread_bend"}
    sexes = {name for name in NAMES if name.startswith("sex_")}
    levels = {name for name in NAMES if "_level_" in name}
    bandless = {name for name in NAMES if name.startswith(("two_", "three_", "bic2", "bic3"))}
    few = set(NAMES) - location - {"n", "sd", "outlier_n", "far_n", "mixture_ran"} - (bandless - {"two_sd", "three_sd"})
    expected = {
        "constant": no_spread,
        "zeros": no_spread,
        "nothing": few | location | {"sd"} | levels,
        "single": few | {"sd"},
        "nine": few,
        "one off": spread | bend | shape,  # of the core, and see below
        "two ages": bend,
        "two ages, two values": bend,
        "one age": trend | spread | bend | zones,
        "one age, two values": trend | spread | bend | zones,
    }.get(case, set())
    if case == "one off":
        expected = {name for name in expected if name.startswith("core_")} | {"core_slope_p"}
    expected = expected | sexes
    assert missing == expected, missing ^ expected
    if case == "constant":
        assert row.slope == row.effect == row.resid_sd == row.sd == row.spread == 0
    if case == "infinite":
        assert row.n == 59
    if case == "one off":
        assert row.outlier_n == 1
        assert row.outlier_distance == pytest.approx(0.4, abs=0.05)
    if case == "perfect line":
        assert row.slope == pytest.approx(1 / 128)
        assert row.slope_p < 1e-200


def test_wrong_arguments():
    beta = np.zeros((3, 20), np.float32)
    with pytest.raises(ValueError, match="CpGs, samples"):
        compute(beta, np.zeros(19))
    with pytest.raises(ValueError, match="CpGs, samples"):
        compute(beta[0], np.zeros(20))
    with pytest.raises(ValueError, match="finite"):
        compute(beta, np.full(20, np.nan))


def test_cohort_in_batches(tmp_path, caplog):
    rng = np.random.default_rng(11)
    beta, ages = assorted(60, rng)
    names = [f"cg{i}" for i in range(len(beta))]
    cohort = cohort_of(tmp_path, beta)
    with caplog.at_level(logging.INFO):
        part = compute_cohort(cohort, ages, 2, 9, batch=3)
    assert "statistics of 7 CpGs" in caplog.text
    expected = compute(beta[2:9], ages)
    expected.insert(0, "cpg", names[2:9])
    assert list(part.columns) == ["cpg", *NAMES]
    assert list(part.cpg) == names[2:9]
    pd.testing.assert_frame_equal(part[NAMES], expected[NAMES], check_exact=True)
    assert len(compute_cohort(cohort, ages)) == len(beta)
    empty = compute_cohort(cohort, ages, 4, 4)
    assert list(empty.columns) == ["cpg", *NAMES]
    assert len(empty) == 0


def test_works_without_a_place_for_the_compilation_cache(monkeypatch):
    def refuse(*args, cache=False, **options):
        def wrap(function):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return "compiled"

        return wrap

    monkeypatch.setattr(statistics.numba, "njit", refuse)
    assert statistics._jit()(lambda: 0) == "compiled"


def test_of_processes_that_start_together_one_compiles_and_the_others_wait_for_it(tmp_path):
    (tmp_path / "doubling.py").write_text(
        "import sys, numba, numpy as np\n"
        "from cpgtaxa.threads import in_threads\n"
        "@numba.njit(cache=True, nogil=True)\n"
        "def double(low, high, values):\n"
        "    for row in range(low, high):\n"
        "        values[row] *= 2\n"
        "sys.stdin.readline()\n"
        "values = np.arange(5.0)\n"
        "in_threads(double, len(values), values)\n"
        "print(sum(double.stats.cache_misses.values()), sum(double.stats.cache_hits.values()), values.sum())\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, str(tmp_path / "doubling.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env=environment, **pipes) for _ in range(3)]
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = sorted(process.communicate()[0].split() for process in running)
    assert found == [["0", "1", "20.0"], ["0", "1", "20.0"], ["1", "0", "20.0"]]


@pytest.mark.parametrize("fails", [False, True])
def test_garbage_is_collected_again_when_something_is_compiled_or_cannot_be(tmp_path, fails):
    collected = []

    def compiling(low, high):
        collected.append(gc.isenabled())
        if fails:
            raise TypingError("no")

    compiling.stats, compiling.signatures = types.SimpleNamespace(cache_path=tmp_path), []
    with pytest.raises(TypingError) if fails else contextlib.nullcontext():
        compile_once(compiling)
    assert collected == [False]
    assert gc.isenabled()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 10, 257])
def test_a_heap_is_sorted_whatever_the_order(size):
    rng = np.random.default_rng(size)
    for values in (rng.normal(size=size), np.arange(size, dtype=float), rng.integers(0, 3, size).astype(float)):
        for given in (values, values[::-1].copy()):
            mine = given.copy()
            heap_sort(mine)
            assert np.array_equal(mine, np.sort(given))


@pytest.mark.slow
def test_compiled_or_loaded_from_the_cache_the_last_digit_is_the_same(tmp_path):
    program = (
        "import hashlib, numpy as np\n"
        "from cpgtaxa.statistics import kernel as statistics\n"
        "rng = np.random.default_rng(0)\n"
        "beta = (rng.choice([0.2, 0.5], (40, 200)) + rng.normal(0, 0.05, (40, 200))).astype(np.float32)\n"
        "print(hashlib.sha256(statistics._raw(beta, rng.uniform(20, 80, 200)).tobytes()).hexdigest())\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT / "scripts")}
    found = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert any(tmp_path.rglob("*.nbc"))
    assert found[0].stdout == found[1].stdout != ""


def test_errors_of_trend_and_spread_are_those_of_statsmodels():
    rng = np.random.default_rng(21)
    ages = np.sort(rng.uniform(20, 90, 900))
    sd = 0.03 * np.exp(0.5 * (ages - 55) / 63)
    y = (0.5 + 0.001 * (ages - 55) + sd * rng.standard_normal(900)).astype(np.float32)
    row = compute(y[None], ages).iloc[0]
    assert row.outlier_n == 0
    low, high = np.quantile(ages, [0.05, 0.95])
    x = sm.add_constant(ages)
    line = sm.OLS(y.astype(float), x).fit()
    robust = line.get_robustcov_results("HC3")
    assert row.effect_se == pytest.approx(robust.bse[1] * (high - low), rel=1e-5)
    spread = sm.GLM(np.abs(line.resid), x, family=sm.families.Gamma(sm.families.links.Log())).fit()
    # 48 bins of age cost next to nothing; 0.010 added in quadrature draws the ratio towards 1.
    old, young = (1.2533 * np.exp(spread.params @ [1, age]) for age in (high, low))
    expected = 0.5 * np.log((old**2 + 0.01**2) / (young**2 + 0.01**2))
    assert row.log_sd_ratio == pytest.approx(expected, abs=0.005)
    assert row.log_sd_ratio_se == pytest.approx(spread.bse[1] * (high - low), rel=0.2)
    assert row.bend < 0.005
    assert row.spread_bend < 0.15


def test_what_line_and_cone_leave_is_seen():
    rng = np.random.default_rng(22)
    ages = np.sort(rng.uniform(20, 90, 600))
    x = (ages - 55) / 35
    bent = 0.5 + 0.1 * (x**2 - 1 / 3) + 0.01 * rng.standard_normal(600)
    wide = 0.5 + (0.01 + 0.08 * np.exp(-((x / 0.3) ** 2))) * rng.standard_normal(600)
    found = compute(np.stack([bent, wide]).astype(np.float32), ages)
    assert found.bend[0] == pytest.approx(0.1 * np.sqrt(4 / 45), rel=0.1)
    assert found.bend[1] < 0.01
    assert found.spread_bend[1] > 0.5
    # Noise of few samples is not taken for a bend, nor bands that are there at all ages for bands of some.
    ages = rng.uniform(20, 90, 80)
    noise = 0.03 * rng.standard_normal((200, 80))
    assert compute((0.5 + noise).astype(np.float32), ages).bend.mean() < 0.12 * 0.03
    banded = np.where(rng.random((200, 80)) < 0.4, 0.3, 0.7) + noise
    assert compute(banded.astype(np.float32), ages).two_by_age.mean() < 0.12


def test_bands_are_described_and_valleys_are_counted():
    rng = np.random.default_rng(23)
    ages = np.sort(rng.uniform(20, 90, 1000))
    band = rng.random(1000) < 0.3
    plain = np.where(band, 0.3, 0.6) + 0.03 * rng.standard_normal(1000)
    late = np.where((ages > 65) & (rng.random(1000) < 0.6), 0.3, 0.6) + 0.03 * rng.standard_normal(1000)
    merged = np.where(band, 0.3, rng.choice([0.5, 0.65], 1000)) + 0.01 * rng.standard_normal(1000)
    # A narrow band with a diffuse tail is fitted by two bands, but no valley is among its samples.
    tail = 0.9 - np.where(rng.random(1000) < 0.25, rng.exponential(0.08, 1000), 0) + 0.008 * rng.standard_normal(1000)
    found = compute(np.stack([plain, late, merged, tail]).astype(np.float32), ages)
    first = found.iloc[0]
    assert first.two_level_low == pytest.approx(0.3, abs=0.01)
    assert first.two_level_high == pytest.approx(0.6, abs=0.01)
    assert first.two_share_low == pytest.approx(0.3, abs=0.04)
    assert first.two_band_sd_low == pytest.approx(0.03, abs=0.004)
    assert min(first.two_depth, first.two_depth_seen) > 0.9
    assert first.two_by_age < 0.15 < 0.4 < found.two_by_age[1]
    assert first.two_band_kurtosis > -0.6 > -1.2 > found.two_band_kurtosis[2]
    assert found.two_d[3] > 1.4
    assert found.two_depth_seen[3] < 0


def test_women_and_men_are_compared():
    rng = np.random.default_rng(24)
    ages = rng.uniform(20, 90, 300)
    sex = (rng.random(300) < 0.4).astype(int)
    y = 0.5 + 0.2 * sex + 0.03 * rng.standard_normal(300)
    values = np.stack([y, 0.5 + 0.03 * rng.standard_normal(300)]).astype(np.float32)
    found = compute(values, ages, sex)
    assert found.sex_gap[0] == pytest.approx(0.2, abs=0.01)
    assert found.sex_d[0] == pytest.approx(0.2 / 0.03, rel=0.2)
    assert np.isnan(found.sex_d[1])
    assert compute(values, ages).sex_gap.isna().all()
    own = np.where(sex == 1, 0.004, 0.001)  # change of beta a year
    changes = compute((y + own * (ages - 55))[None].astype(np.float32), ages, sex).iloc[0]
    central = np.quantile(ages, 0.95) - np.quantile(ages, 0.05)
    assert changes.sex_effect_0 == pytest.approx(0.001 * central, abs=0.015)
    assert changes.sex_effect_1 == pytest.approx(0.004 * central, abs=0.015)
    unknown = np.where(np.arange(300) % 2, sex, -1)
    assert compute(values, ages, unknown).sex_gap[0] == pytest.approx(0.2, abs=0.02)


def test_constants_said_twice_agree():
    assert statistics.SPREAD_FLOOR == criteria.SPREAD_FLOOR

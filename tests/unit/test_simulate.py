"""Simulated CpGs are what their taxon says."""

import numpy as np
import pytest
import scipy.stats
from cpgtaxa import simulate
from cpgtaxa.names import INDEX, TAXA


@pytest.fixture(scope="module", params=[300, 1500])
def setting(request):
    return simulate.cohort_setting(3, request.param)


def draw(setting, taxon, count=40, half_way=None):
    for index in range(count):
        rng = np.random.default_rng([index, INDEX.get(taxon, 99)])
        profile = simulate.draw_profile(rng, taxon, setting, half_way)
        yield profile, simulate.draw_values(rng, profile, setting)


def residuals(values, ages):
    there = np.isfinite(values)
    fit = scipy.stats.linregress(ages[there], values[there])
    return fit, values[there] - fit.intercept - fit.slope * ages[there]


@pytest.mark.parametrize("taxon", TAXA)
def test_values_are_beta_values_and_repeat_with_the_seed(setting, taxon):
    first = [values for _, values in draw(setting, taxon, 5)]
    again = [values for _, values in draw(setting, taxon, 5)]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
        there = one[np.isfinite(one)]
        assert one.dtype == np.float32
        assert ((there >= 0) & (there <= 1)).all()
        assert len(there) > 0.9 * len(one)


def test_stable_is_narrow_and_unstable_is_wide(setting):
    narrow = [np.nanstd(values) for _, values in draw(setting, "UniStable")]
    wide = [np.nanstd(values) for _, values in draw(setting, "UniUnstable")]
    assert max(narrow) < 0.014
    assert min(wide) > 0.017


@pytest.mark.parametrize("taxon", ["LinAgeHomo", "LinAgeHet"])
def test_linear_taxa_have_the_trend_their_profile_names(setting, taxon):
    for profile, values in draw(setting, taxon):
        fit, rest = residuals(values, setting.ages)
        width = np.subtract(*np.quantile(setting.ages, [0.95, 0.05]))
        # the spread of the residuals bounds how far the fit may be off; saturation near 0 and 1 may shrink it
        slack = 5 * rest.std() / np.sqrt(len(rest)) / 0.3 + 0.35 * abs(profile.effects[0])
        assert fit.slope * width == pytest.approx(profile.effects[0], abs=slack)
        assert fit.pvalue < 1e-4


def test_taxa_without_trend_have_none(setting):
    p = [residuals(values, setting.ages)[0].pvalue for _, values in draw(setting, "UniUnstable", 200)]
    assert np.mean(np.array(p) < 0.05) < 0.11
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("taxon", ["NonAgeHet", "LinAgeHet"])
def test_changing_spread_changes_in_the_right_direction(setting, taxon):
    right = []
    for profile, values in draw(setting, taxon):
        there = np.isfinite(values)
        _, rest = residuals(values, setting.ages)
        old = setting.position[there] > 0
        right.append(np.sign(np.log(rest[old].std() / rest[~old].std())) == np.sign(profile.log_ratio))
    assert np.mean(right) > 0.95


@pytest.mark.parametrize(("taxon", "bands"), [("BiNonAge", 2), ("TriNonAge", 3), ("BiAge", 2), ("TriAge", 3)])
def test_bands_keep_their_distance(setting, taxon, bands):
    for profile, _ in draw(setting, taxon):
        assert len(profile.levels) == bands
        gaps, sds = np.diff(profile.levels), np.asarray(profile.sds)
        separation = gaps / np.sqrt((sds[1:] ** 2 + sds[:-1] ** 2) / 2)
        assert separation.min() > 2.4
        assert min(profile.weights) * setting.n >= 5
        assert (np.abs(profile.effects).max() > 0) == taxon.endswith("Age") or taxon.endswith("NonAge")


def test_outlier_has_a_few_samples_far_away(setting):
    for profile, values in draw(setting, "Outlier"):
        far = np.abs(values - np.nanmedian(values)) > 0.06 + 4.5 * profile.sds[0]
        assert 3 <= profile.outliers <= max(0.03 * setting.n, 6)
        # heavy tails may add one, missing values take some away
        assert 0.6 * profile.outliers <= far.sum() <= profile.outliers + 5


@pytest.mark.parametrize("kind", simulate.half_way_kinds(), ids=lambda kind: " ".join(kind))
def test_half_way_sites_name_both_taxa(setting, kind):
    for profile, values in draw(setting, kind[1], 5, half_way=kind):
        assert (profile.kind, profile.taxon, profile.other) == kind
        assert np.isfinite(values).any()


def test_broad_settings_cover_sizes_and_ages():
    settings = [simulate.draw_broad_setting(np.random.default_rng(seed)) for seed in range(200)]
    sizes = np.array([setting.n for setting in settings])
    assert sizes.min() >= 50
    assert sizes.max() <= 5000
    assert (sizes < 200).mean() > 0.2
    assert (sizes > 1500).mean() > 0.15
    skews = [scipy.stats.skew(setting.ages) for setting in settings]
    assert min(skews) < -0.5
    assert max(skews) > 0.5
    assert all(setting.ages.min() >= 0 for setting in settings)


def test_hidden_factors_do_not_smuggle_in_age(setting):
    correlation = setting.factors.T @ (setting.position - setting.position.mean()) / setting.n
    np.testing.assert_allclose(correlation, 0, atol=1e-8)


def test_a_cohort_is_the_same_whatever_part_of_it_is_drawn(setting):
    plan = simulate.plan_cohort(9, 50, 0.2)
    assert plan.count(None) == 10
    _, alone = simulate.draw_cpg(9, 37, plan[37], setting)
    for index in range(50):
        _, values = simulate.draw_cpg(9, index, plan[index], setting)
        if index == 37:
            np.testing.assert_array_equal(values, alone)

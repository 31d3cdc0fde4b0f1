"""Simulated CpGs are what their taxon says."""

import numpy as np
import pytest
import scipy.stats
from cpgtaxa.names import INDEX, TAXA
from cpgtaxa.simulation import simulate
from cpgtaxa.taxa import criteria


@pytest.fixture(scope="module", params=[300, 1500])
def setting(request):
    return simulate.cohort_setting(3, request.param)


def draw(setting, taxon, count=40, boundary=None):
    for index in range(count):
        rng = np.random.default_rng([index, INDEX.get(taxon, 99)])
        profile = simulate.draw_profile(rng, taxon, setting, boundary)
        yield profile, simulate.draw_values(rng, profile, setting)


def residuals(values, ages):
    there = np.isfinite(values)
    fit = scipy.stats.linregress(ages[there], values[there])
    return fit, values[there] - fit.intercept - fit.slope * ages[there]


def names_of(row):
    return tuple(taxon for taxon, right in zip(TAXA, row, strict=True) if right)


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


@pytest.mark.parametrize("samples", [50, 300, 2000])
@pytest.mark.parametrize("taxon", TAXA)
def test_a_clear_cpg_has_its_taxon_alone(taxon, samples):
    setting = simulate.cohort_setting(3, samples)
    for index in range(60):
        profile = simulate.draw_profile(np.random.default_rng([index, samples]), taxon, setting)
        assert profile.admissible(setting) == (taxon,)
        assert (profile.taxon, profile.kind, profile.other) == (taxon, "", "")


@pytest.mark.parametrize("kind", simulate.boundary_kinds(), ids=lambda kind: " ".join(kind))
def test_a_boundary_cpg_lies_in_one_zone_between_its_two_taxa(setting, kind):
    for profile, values in draw(setting, kind[1], 12, boundary=kind):
        assert (profile.kind, profile.taxon, profile.other) == kind
        assert set(profile.admissible(setting)) >= set(kind[1:])
        zone = criteria.BY_NAME[kind[0]]
        assert zone.low <= profile.quantities(setting)[kind[0]] <= zone.high
        assert np.isfinite(values).any()


def test_all_kinds_are_criteria_and_are_drawn():
    assert set(simulate.BOUNDARIES) == set(simulate.BOUNDARY_SHARES) == set(criteria.BY_NAME)
    assert sum(simulate.BOUNDARY_SHARES.values()) == pytest.approx(1)
    setting = simulate.cohort_setting(1, 100)
    drawn = {simulate.draw_cpg(1, index, None, setting)[0].kind for index in range(150)}
    assert drawn == set(criteria.BY_NAME)


def test_an_unknown_kind_or_pair_is_refused(setting):
    for wrong in (("curved", "UniUnstable", "LinAgeHomo"), ("width", "UniStable", "TriAge")):
        with pytest.raises(KeyError):
            simulate.draw_profile(np.random.default_rng(1), wrong[1], setting, wrong)


def test_admissible_taxa_are_those_of_the_criteria(setting):
    rng = np.random.default_rng(5)
    found = [profile.quantities(setting) for taxon in TAXA for profile, _ in draw(setting, taxon, 10)]
    found += [simulate.draw_cpg(2, index, None, setting)[0].quantities(setting) for index in range(60)]
    found += [{key: rng.uniform(0, 2 * one.high) for key, one in criteria.BY_NAME.items()} for _ in range(300)]
    table = criteria.admissible({key: np.array([one[key] for one in found]) for key in criteria.BY_NAME})
    assert [simulate.admissible_taxa(one) for one in found] == [names_of(row) for row in table]


def test_quantities_of_profiles_worked_out_by_hand(setting):
    one = simulate.Profile("LinAgeHomo", effects=(-0.1,), sds=(0.02,), log_ratio=np.log(2), strays=3).quantities(
        setting
    )
    floor = criteria.SPREAD_FLOOR**2
    assert one["trend"] == pytest.approx(0.1 / 0.025)
    assert one["spread"] == pytest.approx(np.sqrt((0.0008 + floor) / (0.0002 + floor)))
    assert (one["two_bands"], one["band_share"], one["three_bands"]) == (-1, 0, 0)
    assert (one["width"], one["outliers"]) == (0.02, 3 / setting.n)
    even = {"weights": (0.5, 0.5), "effects": (0, 0), "sds": (0.05, 0.05)}
    two = simulate.Profile("BiNonAge", levels=(0.4, 0.6), **even).quantities(setting)
    # normal densities 4 sds apart: 2 exp(-2) in the middle, 1 + exp(-8) at the peaks
    assert two["two_bands"] == pytest.approx(1 - 2 * np.exp(-2) / (1 + np.exp(-8)), abs=1e-3)
    assert (two["band_share"], two["trend"]) == (0.5, 0)
    assert two["width"] == pytest.approx(np.hypot(0.05, 0.1))
    depths = [
        simulate.Profile("BiNonAge", levels=(0.4, 0.4 + gap), **even).quantities(setting)["two_bands"]
        for gap in (0.065, 0.085)
    ]
    assert depths[0] == -1
    assert depths[1] == pytest.approx(0, abs=1e-9)
    # Three bands, the upper two nearer to each other: the deeper valley says that there are bands.
    more = {"weights": (0.3, 0.4, 0.3), "effects": (0, 0, 0), "sds": (0.05, 0.05, 0.05)}
    three = simulate.Profile("BiNonAge", levels=(0.2, 0.6, 0.7), **more).quantities(setting)
    assert three["two_bands"] > 0.9
    assert three["three_bands"] <= criteria.BY_NAME["three_bands"].high


def test_the_trend_of_a_small_band_does_not_count(setting):
    profile = simulate.Profile("BiNonAge", levels=(0.2, 0.8), weights=(0.95, 0.05), effects=(0, 0.2), sds=(0.02, 0.02))
    assert profile.quantities(setting)["trend"] == 0
    profile.weights = (0.9, 0.1)
    assert profile.quantities(setting)["trend"] == pytest.approx(8)


def test_stable_is_narrow_and_unstable_is_wide(setting):
    narrow = [scipy.stats.iqr(values, nan_policy="omit") / 1.35 for _, values in draw(setting, "UniStable")]
    wide = [np.nanstd(values) for _, values in draw(setting, "UniUnstable")]
    assert max(narrow) < 0.0105
    assert min(wide) > 0.018


@pytest.mark.parametrize("taxon", ["LinAgeHomo", "LinAgeHet"])
def test_linear_taxa_have_the_trend_their_profile_names(setting, taxon):
    for profile, values in draw(setting, taxon):
        fit, rest = residuals(values, setting.ages)
        width = np.subtract(*np.quantile(setting.ages, [0.95, 0.05]))
        # the spread of the residuals bounds how far the fit may be off
        slack = 5 * rest.std() / np.sqrt(len(rest)) / 0.3 + 0.25 * abs(profile.effects[0])
        assert fit.slope * width == pytest.approx(profile.effects[0], abs=slack)


def test_taxa_without_trend_have_small_ones_but_not_none(setting):
    sizes = [profile.quantities(setting)["trend"] for profile, _ in draw(setting, "UniUnstable", 200)]
    assert max(sizes) < simulate.ZONE["trend"][0]
    assert min(sizes) > 0
    assert 0.05 < np.median(sizes) < 0.15


@pytest.mark.parametrize("taxon", ["NonAgeHet", "LinAgeHet"])
def test_changing_spread_changes_in_the_right_direction(setting, taxon):
    right = []
    for profile, values in draw(setting, taxon):
        there = np.isfinite(values)
        _, rest = residuals(values, setting.ages)
        old = setting.position[there] > 0
        spreads = [np.subtract(*np.quantile(rest[part], [0.9, 0.1])) for part in (old, ~old)]
        right.append(np.sign(np.log(spreads[0] / spreads[1])) == np.sign(profile.log_ratio))
    assert np.mean(right) > 0.9


@pytest.mark.parametrize(("taxon", "bands"), [("BiNonAge", 2), ("TriNonAge", 3), ("BiAge", 2), ("TriAge", 3)])
def test_bands_have_a_valley_between_them_and_room(setting, taxon, bands):
    separations, zone = [], simulate.ZONE
    for profile, _ in draw(setting, taxon):
        assert len(profile.levels) == bands
        gaps, sds = np.diff(profile.levels), np.asarray(profile.sds)
        separations.append((gaps / np.sqrt((sds[1:] ** 2 + sds[:-1] ** 2) / 2)).min())
        least = zone["three_bands" if bands == 3 else "band_share"][1]
        assert profile.shares(setting).min() >= least
        levels = np.asarray(profile.levels) + np.asarray(profile.effects) * setting.position.mean()
        assert min(simulate.valley_depths(levels, profile.shares(setting), sds)) >= zone["two_bands"][1]
    # from overlapping to far apart
    assert 2.5 < min(separations) < 3.6
    assert max(separations) > 6


def test_outlier_has_a_few_samples_far_away(setting):
    for profile, values in draw(setting, "Outlier"):
        far = np.abs(values - np.nanmedian(values)) > 0.06 + 4 * profile.sds[0]
        assert profile.outliers == round(profile.outlier_share * setting.n)
        assert simulate.ZONE["outliers"][1] <= profile.outlier_share <= simulate.ZONE["band_share"][0]
        # heavy tails may add one, missing values take some away
        assert 0.6 * profile.outliers <= far.sum() <= profile.outliers + 5


def test_outliers_keep_their_share_in_a_larger_cohort():
    small, large = simulate.cohort_setting(1, 100), simulate.cohort_setting(2, 3000)
    profile, few = simulate.draw_cpg(4, 2, "Outlier", small)
    many = simulate.draw_values(np.random.default_rng([4, 2, 1]), profile, large)
    assert profile.admissible(large) == ("Outlier",)
    far = [(np.abs(values - np.nanmedian(values)) > 0.06 + 4 * profile.sds[0]).mean() for values in (few, many)]
    assert far[1] == pytest.approx(profile.outlier_share, rel=0.3)


def test_foreign_patterns_of_every_kind(setting):
    rng = np.random.default_rng(1)
    drawn = [simulate.draw_foreign(rng, setting) for _ in range(100)]
    assert {kind for kind, _ in drawn} == set(simulate.FOREIGN)
    for _, values in drawn:
        assert values.dtype == np.float32
        assert ((values > 0) & (values < 1)).all()


def test_noise_shapes_are_standardised_and_small():
    assert simulate.SHAPE_FILE.stat().st_size < 200_000
    bank = simulate.shapes()
    assert (np.diff(bank["sd"]) >= 0).all()
    assert bank["weight"][-1] == pytest.approx(1, abs=1e-2)
    assert (np.diff(bank["quantiles"], axis=1) > -0.05).all()
    rng = np.random.default_rng(2)
    noise = np.interp(rng.normal(size=100_000), simulate.GRID, bank["quantiles"][len(bank["sd"]) // 2])
    assert (noise.mean(), noise.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.03))


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


def test_hidden_factors_and_drift_do_not_smuggle_in_age(setting):
    for shared in (setting.factors, setting.drift):
        correlation = shared.T @ (setting.position - setting.position.mean()) / setting.n
        np.testing.assert_allclose(correlation, 0, atol=1e-8)
        np.testing.assert_allclose((shared**2).mean(axis=0), 1, atol=1e-6)


def test_a_cohort_is_the_same_whatever_part_of_it_is_drawn(setting):
    plan = simulate.plan_cohort(9, 50, 0.2)
    assert plan.count(None) == 10
    _, alone = simulate.draw_cpg(9, 37, plan[37], setting)
    for index in range(50):
        _, values = simulate.draw_cpg(9, index, plan[index], setting)
        if index == 37:
            np.testing.assert_array_equal(values, alone)


def test_targets_of_boundary_cpgs_follow_their_place_in_the_zone(setting):
    from cpgtaxa.simulation.training_images import TWO_BANDS_SHARE, share_of

    def share(kind, taxon, other, **values):
        profile = simulate.Profile(taxon, other=other, kind=kind, **values)
        return share_of(profile, setting)

    assert share_of(simulate.Profile("BiAge"), setting) == 1
    # A trend in the middle of its zone, 0.65 noise widths, and near its upper end.
    noise = np.hypot(0.03, criteria.EFFECT_FLOOR)
    for size, expected in ((0.65, 0.5), (0.93, 0.9), (0.30, 0.05)):
        values = {"sds": (0.03,), "effects": (size * noise,)}
        assert share("trend", "LinAgeHomo", "UniUnstable", **values) == pytest.approx(expected, abs=0.01)
        assert share("trend", "UniUnstable", "LinAgeHomo", **values) == pytest.approx(1 - expected, abs=0.01)
    bands = {"levels": (0.4, 0.5), "weights": (0.5, 0.5), "effects": (0.0, 0.0), "sds": (0.05, 0.05)}
    assert share("two_bands", "BiNonAge", "UniUnstable", **bands) == TWO_BANDS_SHARE
    assert share("two_bands", "UniUnstable", "BiNonAge", **bands) == 1 - TWO_BANDS_SHARE

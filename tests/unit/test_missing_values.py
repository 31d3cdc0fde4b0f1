"""Missing values: a CpG that lacks samples is looked at as if the cohort had not had them, nothing is filled in."""

import numpy as np
import pandas as pd
import pytest
from cohorts import SHIPPED_RULES, cohort_of, statistics_of
from cpgtaxa.images import render
from cpgtaxa.models import vision  # noqa: F401  (vision before torch)
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.placement import novelty, selection
from cpgtaxa.simulation.simulate import cohort_setting, draw_cpg, plan_cohort
from cpgtaxa.statistics.kernel import MIN_SAMPLES, compute
from cpgtaxa.targets.methylation_age import ages as methylation_age
from cpgtaxa.taxa.criteria import Answers
from cpgtaxa.taxa.labels import define_taxa, ruled_out
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from cpgtaxa.explain import page as explain  # noqa: E402
from cpgtaxa.images import render_torch  # noqa: E402

N = 240


def simulated(seed: int, cpgs: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """CpGs of all taxa and boundary CpGs, (cpgs, n) float32 without a gap, and ages (n,)."""
    setting = cohort_setting(seed, n, (20.0, 90.0))
    beta = np.stack([draw_cpg(seed, at, taxon, setting)[1] for at, taxon in enumerate(plan_cohort(seed, cpgs, 0.15))])
    fill = np.nanmedian(beta, axis=1, keepdims=True)
    return np.where(np.isnan(beta), fill, beta).astype(np.float32), setting.ages


BETA, AGES = simulated(5, 40, N)


def patterns(rng) -> dict[str, np.ndarray]:
    """Which samples a CpG lacks, (N,) bool: at random, by age, by value, the extremes, all but a few."""
    order = np.argsort(AGES)
    found = {"random": rng.random(N) < rng.choice([0.02, 0.1, 0.3, 0.6])}
    found["young"] = np.quantile(AGES, rng.uniform(0.05, 0.5)) > AGES
    found["extremes"] = np.isin(np.arange(N), order[[0, 1, -1]])
    found["few left"] = ~np.isin(np.arange(N), rng.choice(N, int(rng.integers(0, MIN_SAMPLES + 25)), replace=False))
    return found


def test_few_samples_give_the_same_digits_wherever_memory_is_free():
    """Where work arrays lie near one another, compiled loops took their sums in another order."""
    rng = np.random.default_rng(0)
    for n in (11, 17, 24, 33):
        keep = np.sort(rng.choice(N, n, replace=False))
        few, holed = np.ascontiguousarray(BETA[:, keep]), np.full_like(BETA, np.nan)
        holed[:, keep] = few
        first = compute(few, AGES[keep])
        for _ in range(15):
            between = [np.empty(int(size)) for size in rng.integers(1, 60, 30)]
            pd.testing.assert_frame_equal(compute(few, AGES[keep]), first, check_exact=True)
            pd.testing.assert_frame_equal(compute(holed, AGES), first, check_exact=True)
            del between


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_statistic_is_that_of_the_samples_with_a_value(seed):
    """Each CpG has its own gaps; all columns, to the last digit."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(BETA), 8, replace=False)
    kinds = list(patterns(rng))
    gone = np.stack([patterns(rng)[kinds[at % len(kinds)]] for at in range(len(rows))])
    low = np.quantile(BETA[rows[0]], 0.3)
    gone[0] = (BETA[rows[0]] < low) & (rng.random(N) < 0.7)  # not at random: the low values
    holed = compute(np.where(gone, np.float32(np.nan), BETA[rows]), AGES)
    for at, row in enumerate(rows):
        dropped = compute(BETA[row][None, ~gone[at]], AGES[~gone[at]])
        pd.testing.assert_frame_equal(holed.iloc[[at]].reset_index(drop=True), dropped, check_exact=True)
        assert holed["n"][at] == (~gone[at]).sum()


@pytest.mark.parametrize("draw", [render.render, render.render_smooth, "torch"], ids=["codes", "smooth", "torch"])
def test_images_are_those_of_the_samples_with_a_value(draw):
    """Each CpG has its own gaps. Of samples between the extremes: the axis of ages is the cohort's."""
    rng = np.random.default_rng(3)
    if draw == "torch":

        def draw(beta, ages):
            return render_torch.render(torch.from_numpy(np.ascontiguousarray(beta)), ages).numpy()

    gone = np.stack([list(patterns(rng).values())[at % 4] for at in range(16)])
    gone[:, [AGES.argmin(), AGES.argmax()]] = False
    holed = draw(np.where(gone, np.float32(np.nan), BETA[:16]), AGES)
    for at in range(16):
        np.testing.assert_array_equal(holed[at], draw(BETA[at][None, ~gone[at]], AGES[~gone[at]])[0])
    assert (holed > 0).any(axis=(1, 2)).all()


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_without_the_extremes_colours_are_the_samples_own_and_places_the_cohorts(engine):
    """Without youngest and oldest, density is that of the samples left; they stay where the cohort's ages put them."""
    draw = render.render
    if engine == "torch":

        def draw(beta, ages):
            return render_torch.render(torch.from_numpy(np.ascontiguousarray(beta)), ages).numpy()

    rng = np.random.default_rng(8)
    ages = np.r_[20.0, np.sort(rng.uniform(35, 70, 18)), 90.0]
    beta = rng.permutation(np.linspace(0.02, 0.98, 20)).astype(np.float32)  # 9 pixels apart: no disc hides another
    gone = np.isin(np.arange(20), [0, 19])
    holed = draw(np.where(gone, np.float32(np.nan), beta)[None], ages)[0]
    dropped = draw(beta[None, ~gone], ages[~gone])[0]
    rows = np.floor(200.4 - 176.8 * beta[~gone].astype(np.float64)).astype(int)
    column = {"cohort": (20.0, 70.0), "dropped": (ages[1], np.ptp(ages[~gone]))}
    at = {key: np.floor(23.6 + 176.8 * (ages[~gone] - low) / span).astype(int) for key, (low, span) in column.items()}
    assert (at["cohort"] != at["dropped"]).sum() > 10
    np.testing.assert_array_equal(holed[rows, at["cohort"]], dropped[rows, at["dropped"]])
    assert len(np.unique(holed[rows, at["cohort"]])) > 5
    # Nothing is drawn of what is missing: 18 discs and no more.
    assert (holed > 0).sum() == (dropped > 0).sum() == 18 * 37


def labelled(beta, ages):
    statistics = statistics_of(beta, ages)
    return define_taxa(statistics, **SHIPPED_RULES), ruled_out(statistics, **SHIPPED_RULES)


def test_labels_and_vetoes_are_those_of_the_samples_with_a_value():
    gone = np.random.default_rng(1).random(N) < 0.3
    found, out = labelled(np.where(gone, np.float32(np.nan), BETA), AGES)
    wanted, wanted_out = labelled(BETA[:, ~gone], AGES[~gone])
    pd.testing.assert_frame_equal(found, wanted)
    np.testing.assert_array_equal(out, wanted_out)
    assert found["taxon"].nunique() > 4


def outlying(n: int, far: int, seed=0):
    """A narrow band of n samples, so many of them far off; ages."""
    rng = np.random.default_rng(seed)
    beta, ages = rng.normal(0.9, 0.006, n), rng.uniform(20, 90, n)
    beta[rng.permutation(n)[:far]] -= 0.35
    return beta.astype(np.float32), ages


@pytest.mark.parametrize(
    ("far", "whole", "half"),
    # 16 of 4,000 are strays (0.4 %), of 2,000 outliers (0.8 %); 4 are strays of either.
    [(16, "UniStable", "Outlier"), (4, "UniStable", "UniStable")],
)
def test_zones_are_of_the_samples_of_the_cpg_not_of_the_cohort(far, whole, half):
    beta, ages = outlying(4000, far)
    lacking = np.flatnonzero(beta > 0.8)[:2000]  # all outliers keep their value
    holed = beta.copy()
    holed[lacking] = np.nan
    labels, _ = labelled(np.stack([beta, holed]), ages)
    assert labels["taxon"].tolist() == [whole, half]


def test_smallest_band_is_counted_in_samples_of_the_cpg():
    """A band has five samples at least: a third of 16 samples is enough, of 12 it is not."""
    rng = np.random.default_rng(2)
    ages, low = rng.uniform(20, 90, 300), np.arange(300) < 100
    beta = np.where(low, 0.3, 0.8) + rng.normal(0, 0.02, 300)
    statistics = pd.concat([compute(beta.astype(np.float32)[None], ages)] * 2, ignore_index=True)
    assert statistics["two_weight"][0] == pytest.approx(1 / 3, abs=1e-3)
    statistics["n"] = [16, 12]
    assert Answers(statistics, SHIPPED_RULES["thresholds"], SHIPPED_RULES["errors"]).bands.tolist() == [2, 1]


def test_what_criteria_look_at_is_that_of_the_samples_with_a_value():
    gone = np.random.default_rng(4).random(N) < 0.4
    holed, dropped = compute(np.where(gone, np.float32(np.nan), BETA), AGES), compute(BETA[:, ~gone], AGES[~gone])
    np.testing.assert_array_equal(novelty.profile(holed), novelty.profile(dropped))
    network = pd.DataFrame(np.full((len(BETA), 10), 0.1), columns=list(PROBABILITY_COLUMNS)).assign(distance=1.0)
    open_ = np.zeros((len(BETA), 10), dtype=bool)
    found, wanted = (selection.evidence(selection.Calls(network, numbers, open_)) for numbers in (holed, dropped))
    np.testing.assert_array_equal(found, wanted)


def test_lines_and_outliers_of_an_explanation_are_those_of_the_samples_with_a_value():
    gone = np.random.default_rng(6).random(N) < 0.3
    kinds = set()
    for beta in BETA:
        holed = np.where(gone, np.float32(np.nan), beta)
        statistics = compute(holed[None], AGES)
        bands = int(Answers(statistics, SHIPPED_RULES["thresholds"], SHIPPED_RULES["errors"]).bands[0])
        found, outlying = explain.lines(holed, AGES, statistics, bands)
        wanted, others = explain.lines(beta[~gone], AGES[~gone], compute(beta[None, ~gone], AGES[~gone]), bands)
        assert found == wanted
        np.testing.assert_array_equal(outlying[~gone], others)
        assert not outlying[gone].any()
        kinds.add(len(found))
    assert kinds == {1, 2, 3}


# --- bias ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many():
    """900 CpGs × 300 samples, boundary CpGs among them."""
    return simulated(11, 900, 300)


def calls(beta, ages) -> np.ndarray:
    return labelled(beta, ages)[0]["taxon"].to_numpy()


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_values_missing_at_random_favour_no_taxon(many, share):
    """Against a cohort with as many fewer samples, each taxon's share of the calls changes within sampling error.

    CpG by CpG the same: of those that are called in one and not in the other, as many change either way (McNemar).
    """
    beta, ages = many
    rng = np.random.default_rng(int(100 * share))
    holed = calls(np.where(rng.random(beta.shape) < share, np.float32(np.nan), beta), ages)
    kept = rng.random(len(ages)) >= share
    fewer = calls(beta[:, kept], ages[kept])
    for taxon in (*TAXA, UNCLASSIFIED):
        gained, lost = ((holed == taxon) & (fewer != taxon)).sum(), ((holed != taxon) & (fewer == taxon)).sum()
        assert abs(gained - lost) <= 3.3 * np.sqrt(gained + lost + 1), (taxon, gained, lost)
    assert (holed == fewer).mean() > 0.8
    placed = (holed != UNCLASSIFIED) & (fewer != UNCLASSIFIED)
    assert (holed == fewer)[placed].mean() > 0.85


def test_filling_in_would_favour_taxa(many):
    """The same comparison sees what is avoided: with the CpG's mean in place of missing values, calls are biased."""
    beta, ages = many
    rng = np.random.default_rng(30)
    gone = rng.random(beta.shape) < 0.3
    holed = np.where(gone, np.float32(np.nan), beta)
    filled = calls(np.where(gone, np.nanmean(holed, axis=1, keepdims=True), beta).astype(np.float32), ages)
    kept = rng.random(len(ages)) >= 0.3
    fewer = calls(beta[:, kept], ages[kept])
    far = 0
    for taxon in (*TAXA, UNCLASSIFIED):
        gained, lost = ((filled == taxon) & (fewer != taxon)).sum(), ((filled != taxon) & (fewer == taxon)).sum()
        far = max(far, abs(gained - lost) / np.sqrt(gained + lost + 1))
    assert far > 5


def test_values_missing_by_their_size_are_predicted_from_those_there_are():
    """Half of the lower band missing: its share is halved, its place, gap and trend are not moved. So the docs say."""
    rng = np.random.default_rng(9)
    ages, low = rng.uniform(20, 90, 1000), rng.random(1000) < 0.3
    beta = np.where(low, 0.3 + 0.002 * (ages - 55), 0.8) + rng.normal(0, 0.02, 1000)
    gone = low & (rng.random(1000) < 0.5)
    table = compute(np.stack([beta, np.where(gone, np.nan, beta)]).astype(np.float32), ages)
    assert table["two_weight"][0] == pytest.approx(low.mean(), abs=0.002)
    assert table["two_weight"][1] == pytest.approx((low & ~gone).sum() / (~gone).sum(), abs=0.002)
    np.testing.assert_allclose(table["two_gap"], 0.5, atol=0.01)
    np.testing.assert_allclose(table["two_effect_low"], table["two_effect_low"][0], rtol=0.05)


# --- the methylation clock -------------------------------------------------------------------------------------------


def test_the_clock_fills_in_the_mean_of_those_it_learns_from(tmp_path):
    """A model of many CpGs needs all of them. Who lacks values is predicted nearer to the mean age, and no one else."""
    rng = np.random.default_rng(0)
    ages = rng.uniform(20, 90, 60)
    beta = 0.5 + rng.choice([-1, 1], (80, 1)) * 0.002 * (ages - 55) + 0.04 * rng.normal(size=(80, 60))
    oldest = int(ages.argmax())
    holed = beta.copy()
    holed[rng.random(80) < 0.7, oldest] = np.nan
    holed[:3] = np.nan  # CpGs of which nothing is known: as good as not there
    predicted = {}
    for name, values in (("whole", beta), ("holed", holed)):
        cohort = cohort_of(tmp_path / f"{name}.arrow", values)
        found = methylation_age.cross_fitted_ages(cohort, ages, folds=3, cpgs=80, seed=0)
        assert np.isfinite(found["methylation_age"]).all()
        predicted[name] = found["methylation_age"].to_numpy()
    assert ages.mean() < predicted["holed"][oldest] < predicted["whole"][oldest] - 10
    others = np.arange(60) != oldest
    assert np.abs(predicted["holed"] - predicted["whole"])[others].mean() < 3

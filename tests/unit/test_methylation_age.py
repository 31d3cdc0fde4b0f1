"""The methylation clock of a cohort: correlations in one pass, and people predicted by clocks that never saw them."""

import numpy as np
import pandas as pd
import pytest
from branches import Page, kept_from
from browsing import assert_fine
from cohorts import cohort_of
from cpgtaxa.errors import InputError
from cpgtaxa.files import write_parquet
from cpgtaxa.targets.methylation_age import ages as clock
from cpgtaxa.targets.methylation_age.page import page


def people(n=150, cpgs=400, drifting=25, seed=0):
    """Betas of which the first few drift with age, and ages."""
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 90, n)
    values = rng.uniform(0.2, 0.8, (cpgs, 1)) + 0.05 * rng.normal(size=(cpgs, n))
    values[:drifting] += np.where(rng.random((drifting, 1)) < 0.5, -1, 1) * 0.0015 * (ages - 55)
    return np.clip(values, 0, 1), ages


def test_folds_are_of_all_ages_and_even():
    ages = np.random.default_rng(1).uniform(0, 100, 103)
    found = clock.folds_of(ages, 10, 3)
    assert np.ptp(np.bincount(found, minlength=10)) <= 1
    assert all(np.ptp(ages[found == fold]) > 60 for fold in range(10))
    np.testing.assert_array_equal(found, clock.folds_of(ages, 10, 3))
    assert (found != clock.folds_of(ages, 10, 4)).any()


def test_correlations_are_those_of_the_people_outside_the_fold(tmp_path):
    values, ages = people()
    rng = np.random.default_rng(2)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[7] = 0.5  # constant
    values[8] = np.nan
    values[9] = 0.9 + 1e-4 * rng.normal(size=len(ages))  # far from zero, nearly constant
    fold = clock.folds_of(ages, 5, 0)
    cohort = cohort_of(tmp_path, values)
    found = clock.correlations(cohort, ages, fold, 5)
    frame = pd.DataFrame(cohort.read(0, len(values)).T.astype(float))
    for number in range(5):
        some = frame[fold != number]
        expected = some.corrwith(pd.Series(ages)[fold != number]).fillna(0)
        np.testing.assert_allclose(np.delete(found[:, number], 7), np.delete(expected.to_numpy(), 7), atol=1e-4)
        assert found[7, number] == 0


def test_ages_are_predicted_of_people_the_clock_has_not_seen(tmp_path):
    values, ages = people()
    cohort = cohort_of(tmp_path, values)
    found = clock.cross_fitted_ages(cohort, ages, folds=5, cpgs=100, seed=0)
    assert np.corrcoef(found["methylation_age"], ages)[0, 1] > 0.9
    assert (found["methylation_age"] - ages).abs().mean() < 8
    pd.testing.assert_frame_equal(found, clock.cross_fitted_ages(cohort, ages, folds=5, cpgs=100, seed=0))
    # A person's prediction depends on nothing of the person's own age.
    other = ages.copy()
    here = found["fold"].to_numpy() == 2
    assert here.sum() == 30
    fold = found["fold"].to_numpy()
    other[here] = 55.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "folds_of", lambda ages, folds, seed: fold)
        again = clock.cross_fitted_ages(cohort, other, folds=5, cpgs=100, seed=0)
    np.testing.assert_allclose(again["methylation_age"][here], found["methylation_age"][here], rtol=1e-6)


def test_where_nothing_drifts_nothing_is_found(tmp_path):
    # CpGs chosen by all people, those predicted among them, would look like a clock.
    values, ages = people(cpgs=2000, drifting=0)
    found = clock.cross_fitted_ages(cohort_of(tmp_path, values), ages, folds=5, cpgs=50, seed=0)
    predicted = found["methylation_age"].to_numpy()
    assert predicted.std() == 0 or np.corrcoef(predicted, ages)[0, 1] < 0.3


def test_missing_values_and_few_people(tmp_path):
    values, ages = people()
    values[np.random.default_rng(5).random(values.shape) < 0.2] = np.nan
    found = clock.cross_fitted_ages(cohort_of(tmp_path, values), ages, folds=5, cpgs=100, seed=0)
    assert np.isfinite(found["methylation_age"]).all()
    assert np.corrcoef(found["methylation_age"], ages)[0, 1] > 0.8
    with pytest.raises(InputError, match="at least 30 people; the cohort has 20"):
        clock.cross_fitted_ages(cohort_of(tmp_path, values[:, :20]), ages[:20], folds=5, cpgs=100, seed=0)


def test_the_page_shows_what_the_tables_hold_and_is_fine_in_a_browser(tmp_path, browser):
    values, ages = people()
    cohort_of(tmp_path, values)
    sex = np.where(np.arange(len(ages)) % 2, "f", "<i>m</i>")
    samples = pd.DataFrame({"sample_id": [f"S{at}" for at in range(len(ages))], "age": ages, "sex": sex})
    write_parquet(tmp_path / "samples.parquet", samples)
    outputs = {"ages": tmp_path / "methylation_age.csv", "weights": tmp_path / "page/weights.csv"}
    outputs |= {"html": tmp_path / "page/report.html", "figures": tmp_path / "page/figures"}
    given = {"beta": tmp_path / "beta.arrow", "samples": tmp_path / "samples.parquet"}
    clock.predict_ages(given, outputs, settings={"folds": 3, "cpgs": 60}, seed=0)
    found, weights = pd.read_csv(outputs["ages"]), pd.read_csv(outputs["weights"])
    html = outputs["html"].read_text()
    assert f"error of {found['gap'].abs().mean():.2f} years" in html
    assert "<i>m" not in html
    parts = pd.read_csv(outputs["figures"] / "error.csv").set_index("part")
    assert parts.loc["sex f", "mae"] == pytest.approx(found["gap"][sex == "f"].abs().mean(), abs=1e-3)
    assert parts.filter(like="years", axis=0)["n"].sum() <= parts.loc["everyone", "n"] == len(ages)
    # The CpGs that drift are those the clock weighs most.
    assert (weights["cpg"].head(10).str.removeprefix("cg").astype(int) < 25).all()
    assert weights["folds"].between(1, 3).all()
    assert_fine(browser, outputs["html"])


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of forty people, to be rendered with other numbers."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("stated")
    found = pd.DataFrame({"person": [f"S{at}" for at in range(40)], "age": rng.uniform(20, 80, 40)})
    found["gap"] = rng.normal(0, 3, 40)
    found["methylation_age"] = found["age"] + found["gap"]
    weights = pd.DataFrame({"cpg": [f"cg{at}" for at in range(25)], "weight": 0.5, "folds": [3] * 5 + [1] * 20})
    outputs = {"html": folder / "report.html", "figures": folder / "figures"}
    with kept_from("cpgtaxa.targets.methylation_age.page.write_page") as kept:
        page(outputs, found, None, weights, 200, {"folds": 3, "cpgs": 60})
    return Page(**kept)


STATES = [
    (
        {},
        [
            "trained on the other 2 folds, on the 60 CpGs (of 200) that change most with age among those.",
            "25 CpGs are weighed in one fold or more, 5 in all. The strongest 20:",
        ],
        [],
    ),
    (
        {"settings": {"folds": 2}, "chosen": "", "regress": True, "shown": 0, "every": "0", "n_weighed": "1"},
        [
            "trained on the other fold, on all 200 CpGs.",
            "Predictions regress to the mean: the gap changes",
            "1 CpG is weighed in one fold or more, none in all. CpG Years",
        ],
        ["that change most", "The strongest"],
    ),
    ({"regress": False}, ["The gap changes by"], ["regress to"]),
    ({"cpgs": []}, ["No CpG is weighed in any fold"], ["Mean weight over", "in one fold or more"]),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

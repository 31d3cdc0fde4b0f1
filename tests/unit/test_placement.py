"""The selection model, the threshold, and the weights that make calibration CpGs like the cohort's."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from cohorts import SHIPPED_RULES, statistics_of
from cpgtaxa.cohort import Cohort
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.placement import novelty, selection
from cpgtaxa.simulation import calibration_cpgs, simulate
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa


def test_the_threshold_is_the_lowest_that_controls_the_error_rate():
    rng = np.random.default_rng(1)
    score = rng.random(4000)
    right = rng.random(4000) < score  # of those above a threshold b, (1 - b) / 2 are wrong
    threshold = selection.lowest_threshold(score, right, np.ones(4000), rng.random(5000), 0.05)
    assert 0.86 < threshold.value < 0.97
    assert threshold.expected < threshold.bound <= 0.05
    looser = selection.lowest_threshold(score, right, np.ones(4000), rng.random(5000), 0.2)
    assert looser.value < threshold.value - 0.1


def test_few_calibration_cpgs_need_a_higher_threshold():
    rng = np.random.default_rng(2)
    score = rng.random(4000)
    right = rng.random(4000) < score
    candidates = rng.random(20000)
    many = selection.lowest_threshold(score, right, np.ones(4000), candidates, 0.05)
    unsure = selection.lowest_threshold(score[:400], right[:400], np.ones(400), candidates, 0.05)
    assert many.value < unsure.value


def test_the_rate_and_the_number_of_wrong_calls_are_bounded():
    def threshold(calls, wrong, candidates, error_rate):
        right = np.arange(calls) >= wrong
        return selection.lowest_threshold(np.ones(calls), right, np.ones(calls), np.ones(candidates), error_rate)

    # No error among 100 is no proof of one in a hundred.
    assert threshold(100, 0, 10, 0.01) == selection.NO_THRESHOLD
    assert threshold(1000, 0, 10, 0.01).value == 1
    # At 4 % wrong, three of 40 are often wrong; more than 200 of 4,000 are not.
    assert threshold(4000, 160, 40, 0.05) == selection.NO_THRESHOLD
    assert threshold(4000, 160, 4000, 0.05).value == 1


@pytest.mark.parametrize("weights", [np.zeros(100), np.ones(100)])
def test_no_bar_is_said_to_be_none(weights):
    score = np.linspace(0, 1, 100)
    assert selection.lowest_threshold(score, np.zeros(100, bool), weights, score, 0.05) == selection.NO_THRESHOLD
    assert selection.lowest_threshold(score, np.ones(100, bool), weights, np.empty(0), 0.05) == selection.NO_THRESHOLD


def test_the_selection_model_is_tested_on_what_it_did_not_learn_from():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 8))
    right = rng.random(600) < 0.5  # nothing to learn
    model = selection.SelectionModel(x, right, np.ones(600), 1)
    assert abs(scipy.stats.spearmanr(model.held_out, right).statistic) < 0.15
    x[:, 3] += 3 * right
    again = selection.SelectionModel(x, right, np.ones(600), 1)
    assert scipy.stats.spearmanr(again.held_out, right).statistic > 0.6
    assert np.corrcoef(again(x), right)[0, 1] > 0.8
    np.testing.assert_array_equal(again(x), selection.SelectionModel(x, right, np.ones(600), 1)(x))


def test_a_model_of_one_answer_places_nothing():
    assert (
        selection.SelectionModel(np.zeros((30, 2)), np.ones(30, bool), np.ones(30), 1)(np.zeros((3, 2))).tolist()
        == [0] * 3
    )


def calls(rng, n, boundary):
    """Probabilities of n CpGs, boundary CpGs being less sure, and their groups."""
    between = rng.random(n) < boundary
    first = np.where(between, rng.beta(4, 3, n), rng.beta(9, 1, n)) * 0.9 + 0.1
    p = np.repeat(((1 - first) / 9)[:, None], 10, axis=1)
    p[np.arange(n), rng.integers(0, 3, n)] = first
    return p, np.where(between, "A/B", "A")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_weights_find_the_share_of_boundary_cpgs(share):
    rng = np.random.default_rng(4)
    p, groups = calls(rng, 5000, 0.6)
    weights = selection.composition_weights(p, groups, calls(rng, 2000, share)[0])
    assert weights.mean() == pytest.approx(1)
    assert weights[groups == "A/B"].sum() / weights.sum() == pytest.approx(share, abs=0.05)


def test_conformal_p_is_the_share_of_known_cpgs_as_far():
    known = np.arange(99, dtype=float)
    found = selection.conformal_p(np.array([-1.0, 49.0, 98.0, 200.0, np.nan]), known)
    assert found[:4].tolist() == pytest.approx([1.0, 0.51, 0.02, 0.01])
    assert np.isnan(found[4])
    assert np.isnan(selection.conformal_p(np.ones(2), np.array([np.nan]))).all()


@pytest.fixture(scope="module")
def numbers():
    """Statistics of simulated CpGs, and of bands that only the old have."""
    setting = simulate.cohort_setting(3, 300)
    known = [
        simulate.draw_cpg(3, index, taxon, setting)[1] for index, taxon in enumerate(simulate.plan_cohort(3, 600, 0.4))
    ]
    rng = np.random.default_rng(4)
    late = [
        np.where((setting.ages > 60) & (rng.random(300) < 0.5), 0.7, 0.35) + rng.normal(0, 0.02, 300) for _ in range(40)
    ]
    return compute(np.stack(known), setting.ages), compute(np.stack(late).astype(np.float32), setting.ages)


def described(statistics, rng, distance=1.0):
    """Calls on CpGs of which the network thinks nothing in particular."""
    table = pd.DataFrame(rng.dirichlet(np.ones(10), len(statistics)), columns=list(PROBABILITY_COLUMNS))
    table = table.assign(cpg=np.arange(len(table)).astype(str), distance=distance * rng.random(len(table)))
    return selection.Calls(table, statistics.reset_index(drop=True), np.zeros((len(table), 10), bool))


def test_strange_statistics_and_strange_images_are_out_of_distribution(numbers):
    rng = np.random.default_rng(5)
    known, late = numbers
    calibration = described(known[:450], rng)
    p, own = selection.out_of_distribution(described(known[450:], rng), calibration, 1)
    assert np.mean(p <= 0.05) < 0.12
    assert 0.01 < np.mean(own <= 0.05) < 0.12
    strange, _ = selection.out_of_distribution(described(late, rng), calibration, 1)
    assert np.mean(strange <= 0.05) > 0.6
    far, _ = selection.out_of_distribution(described(known[450:], rng, distance=9.0), calibration, 1)
    assert np.mean(far <= 0.05) > 0.8


def test_blocks_of_statistics_do_not_matter(numbers, monkeypatch):
    strange = novelty.Strangeness(numbers[0], 1)
    whole = strange(numbers[1])
    monkeypatch.setattr(novelty, "BLOCK", 7)
    np.testing.assert_array_equal(strange(numbers[1]), whole)
    assert len(strange(numbers[1].iloc[:0])) == 0


def test_with_hardly_any_calibration_cpgs_nothing_is_called_unlike(numbers):
    rng = np.random.default_rng(7)
    known, late = numbers
    for count in (0, 1, 12):
        p, own = selection.out_of_distribution(described(late, rng), described(known[:count], rng), 1)
        assert len(own) == count
        assert not np.any(p <= 0.01)


def test_likely_taxa_are_two_or_more():
    p = np.zeros((3, 10))
    p[0, 0] = 1.0
    p[1, [2, 3, 4]] = 0.5, 0.3, 0.2
    p[2] = 0.1
    assert selection.likely_taxa(p, 0.95) == ["UniStable|UniUnstable", "LinAgeHomo|LinAgeHet|NonAgeHet", "|".join(TAXA)]


def test_evidence_has_no_infinities():
    p = pd.DataFrame(np.eye(10)[:2], columns=list(PROBABILITY_COLUMNS)).assign(distance=[np.nan, 1.0])
    numbers = pd.DataFrame({"cpg": ["a", "b"], "bic2": [np.inf, 1.0], "ran": [True, False]})
    found = selection.evidence(selection.Calls(p, numbers, np.zeros((2, 10), dtype=bool)))
    assert not np.isinf(found).any()
    assert np.isnan(found[0, -2])
    assert found[0, 0] == 0


def test_calibration_cpgs_are_those_the_tests_leave_open(tmp_path):
    ages = np.random.default_rng(1).uniform(20, 80, 90)
    settings = {"seed": 1, "cpgs": 300} | SHIPPED_RULES
    out = {"out_beta": tmp_path / "beta.arrow", "out_truth": tmp_path / "truth.parquet"}
    calibration_cpgs.simulate_calibration([f"s{n}" for n in range(90)], ages, by_rules=True, **settings, **out)
    truth, cohort = pd.read_parquet(out["out_truth"]), Cohort(out["out_beta"])
    assert cohort.cpgs.tolist() == truth["cpg"].tolist()
    assert 10 < len(truth) < 150
    again = statistics_of(cohort.read(0, len(truth)), ages, cpgs=truth["cpg"])
    assert define_taxa(again, **SHIPPED_RULES)["taxon"].eq(UNCLASSIFIED).all()
    assert set("|".join(truth["admissible"]).split("|")) <= {"", *TAXA}
    assert 0 < (truth["admissible"] == "").mean() < 0.6
    calibration_cpgs.simulate_calibration([f"s{n}" for n in range(90)], ages, by_rules=False, **settings, **out)
    assert len(pd.read_parquet(out["out_truth"])) == 300


def test_no_calibration_cpgs_are_tables_without_rows(tmp_path):
    ages = np.random.default_rng(1).uniform(20, 80, 20)
    samples = [f"s{n}" for n in range(20)]
    settings = {"seed": 1, "by_rules": False, "thresholds": {}, "errors": {}}
    out = {"out_beta": tmp_path / "beta.arrow", "out_truth": tmp_path / "truth.parquet"}
    tables = []
    for cpgs in (30, 0):
        calibration_cpgs.simulate_calibration(samples, ages, cpgs=cpgs, **settings, **out)
        tables.append(pd.read_parquet(out["out_truth"]))
        assert len(tables[-1]) == len(Cohort(out["out_beta"]).cpgs) == cpgs
    assert set(tables[0]) == set(tables[1])

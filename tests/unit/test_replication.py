"""The promise that another cohort gives the same taxon: where it is high, low or absent, and whether it comes true."""

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.names import INDEX
from cpgtaxa.patterns import replication
from cpgtaxa.patterns.replication import COLUMNS, Model, corrected, curves, halves, known, promised, seen_in_halves
from cpgtaxa.simulation import simulate
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa import criteria

RULES = {"thresholds": criteria.default_zones(), "errors": {"beyond": 0.05, "chance": 0.001}}


def table_of(beta, ages, sexes=None):
    return known(criteria.Answers(compute(beta, ages, sexes), *RULES.values()))


@pytest.fixture(scope="module")
def cohorts():
    """Two cohorts of one population of 600: (k, 300) betas, ages and sexes of each."""
    rng = np.random.default_rng(3)
    setting = simulate.make_setting(rng.uniform(20, 85, 600), rng)
    plan = simulate.plan_cohort(3, 240, 0.4)
    beta = np.stack([simulate.draw_cpg(3, index, taxon, setting)[1] for index, taxon in enumerate(plan)])
    return [
        (np.ascontiguousarray(beta[:, half]), setting.ages[half], setting.sex[half])
        for half in halves(setting.ages, rng)
    ]


def test_what_is_promised_comes_true(cohorts):
    one, other = (table_of(*cohort) for cohort in cohorts)
    beta, ages, sexes = cohorts[0]
    taxon = one["taxon"].to_numpy()
    taxa = pd.DataFrame({"taxon": [[*INDEX, "Unclassified"][number] for number in taxon]})
    taxa = taxa.assign(source=np.where(taxon < 0, "none", "statistical"), network_p=0.9)
    found = replication.replication(one, taxa, beta.__getitem__, ages, sexes, seed=1, scales={}, **RULES)
    placed, same = taxon >= 0, taxon == other["taxon"].to_numpy()
    assert list(found) == list(COLUMNS)
    assert found.isna().to_numpy()[~placed].all()
    found, same = found[placed], same[placed]
    assert abs(found["replication"].mean() - same.mean()) < 0.06
    sure = found["replication"] >= 0.95
    assert sure.sum() > 50
    assert same[sure].mean() > 0.9
    assert same[sure].mean() - same[found["replication"] < 0.7].mean() > 0.15
    assert (found["replication_low"] <= found["replication"] + 1e-9).all()
    assert (found["replication"] <= found["replication_high"] + 1e-9).all()


def test_a_cpg_on_the_cut_is_as_likely_to_fall_on_either_side_and_more_people_make_clear_ones_surer():
    ages = np.linspace(20, 80, 200)
    rng, x = np.random.default_rng(1), (np.linspace(20, 80, 200) - 50) / 54
    noise = rng.normal(0, 1, (300, 200))
    noise -= noise.mean(axis=1, keepdims=True)
    noise -= (noise @ x)[:, None] * x / (x @ x)
    noise /= noise.std(axis=1, keepdims=True)
    size = criteria.BY_NAME["trend"].cut(RULES["thresholds"]["trend"]) * np.hypot(0.04, criteria.EFFECT_FLOOR)
    table = table_of(np.float32(0.5 + 0.04 * noise + size * x), ages)
    model = Model.of(table, **RULES)
    model.weights["trend"] = np.full(len(replication.GRIDS["trend"]), 1 / len(replication.GRIDS["trend"]))
    yes = model.chances(table)["trend"][1, 0]
    assert np.median(yes) == pytest.approx(0.5, abs=0.12)
    far = table_of(np.float32(0.5 + 0.04 * noise + 2 * size * x), ages)
    found, same = model.chances(far), promised(far, far["taxon"].to_numpy(), model)["same"].to_numpy()
    product = found["two_bands"][1, 1] * found["trend"][1, 0] * found["spread"][1, 1]
    lines = (far["taxon"] == INDEX["LinAgeHomo"]).to_numpy()
    assert lines.mean() > 0.8
    np.testing.assert_allclose(same[lines], product[lines], rtol=1e-6)
    few, many = (promised(far, far["taxon"].to_numpy(), model, people)["same"].mean() for people in (60, 800))
    assert few < 0.9 * many
    assert many > 0.9


def test_counts_are_held_against_what_is_asked_for():
    found = replication._counted(np.array([3.0, 12, 60]), 600.0, 600.0, np.array([6.0, 6, 6]), (0.5, 0.5))
    low, over, high = found[:, 0]
    assert over[0] < 0.3 < 0.9 < over[1] < over[2] <= 1
    assert (low < over)[:2].all()
    assert (over < high)[:2].all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_curves_follow_what_halves_show_and_leave_alone_what_they_do_not():
    rng, n = np.random.default_rng(2), 6000
    same = rng.uniform(0.05, 0.99, n)
    pairs = pd.DataFrame({"taxon": np.where(np.arange(n) < n / 2, 0, 2), "same": same, "agrees": rng.random(n) < same})
    unchanged = corrected(same[:5], np.zeros(5, int), curves(pairs))
    np.testing.assert_allclose(unchanged, same[:5], atol=0.05)
    pairs.loc[pairs["taxon"] == 2, "agrees"] = False
    found = curves(pairs)
    assert corrected(np.array([0.9]), np.array([2]), found)[0] < 0.4
    assert corrected(np.array([0.9]), np.array([0]), found)[0] > 0.8
    np.testing.assert_array_equal(curves(pairs[:0]), np.tile([0.0, 1.0], (10, 1)))


def test_small_cohorts_have_no_halves_and_what_the_network_would_place_counts(cohorts):
    beta, ages, sexes = (part[..., :50] for part in cohorts[0])
    beta = np.ascontiguousarray(beta)
    assert seen_in_halves(beta, ages, sexes, 1, {}, **RULES).empty
    answers = criteria.Answers(compute(beta, ages, sexes), *RULES.values())
    table, left = known(answers), (answers.taxa.sum(axis=1) != 1) & answers.open.any(axis=1)
    taxon = np.where(left, answers.open.argmax(axis=1), table["taxon"])
    taxa = pd.DataFrame({"taxon": np.array([*INDEX, "Unclassified"])[taxon], "network_p": 0.9})
    taxa["source"] = np.where(left, "round_0", np.where(taxon >= 0, "statistical", "none"))
    run = {"take": beta.__getitem__, "ages": ages, "sexes": sexes, "seed": 1, "scales": {}} | RULES
    found = replication.replication(table, taxa, **run)["replication"].to_numpy()
    assert left.sum() > 20
    assert (np.isnan(found) == (taxon < 0)).all()
    alone = promised(table, taxon, Model.of(table, **RULES))["same"].to_numpy()
    assert (found[left] > alone[left] + 0.05).mean() > 0.5
    assert np.nanmax(found) <= 1


@pytest.mark.parametrize("n", [2, 12, 35, 90])
def test_odd_cohorts_get_chances_too(n):
    rng = np.random.default_rng(n)
    for ages in (rng.exponential(5, n), rng.choice([20.0, 50.0], n), np.append(np.full(n - 1, 40.0), 90)):
        beta = rng.random((6, n)).astype(np.float32)
        beta[0], beta[1], beta[2, ::2], beta[3] = np.nan, 0.5, np.nan, np.where(ages > 40, 0.9, 0.1)
        table = table_of(beta, ages)
        assert np.isfinite(table.to_numpy(float)).all()
        found = promised(table, np.arange(6) + 3, Model.of(table, **RULES))
        assert found.notna().all().all()
        assert found.to_numpy().min() >= 0
        assert found.to_numpy().max() <= 1
        pairs = seen_in_halves(beta, ages, None, 1, {}, **RULES)
        assert np.isfinite(curves(pairs)).all()

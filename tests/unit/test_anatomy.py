"""The anatomy of clocks: sums beside plain formulas, planted parts, missing values, and the gaps that it predicts."""

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort_of
from cpgtaxa.files import write_parquet
from cpgtaxa.targets.biology import anatomy
from cpgtaxa.targets.biology.lists import CpgList

N = 300


def people(folder, seed=0):
    """A cohort of 40 CpGs: ten with a trend, ten with noise that they share, twenty of little noise; and ages."""
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 80, N)
    values = 0.5 + 0.01 * rng.normal(size=(40, N))
    values[:10] += 0.004 * (ages - 50)
    values[10:20] += 0.04 * rng.normal(size=N)
    return cohort_of(folder, values, [f"cg{at:02d}" for at in range(40)]), ages


def plain(x, ages):
    """Signal, noise and spread of each weighted CpG (k, n), by residuals of straight lines."""
    a = ages - ages.mean()
    slope = (x - x.mean(axis=1, keepdims=True)) @ a / np.sum(a**2)
    left = x - x.mean(axis=1, keepdims=True) - slope[:, None] * a
    score = (x - x.mean(axis=1, keepdims=True)).sum(axis=0)
    return slope, left @ left.sum(axis=0) / len(a), np.var(left, axis=1), x @ score / len(a)


def test_contributions_are_those_of_residuals_also_in_bootstrap_samples():
    rng = np.random.default_rng(1)
    ages = rng.uniform(20, 80, N)
    x = rng.normal(size=(12, N)) + 0.05 * rng.normal(size=(12, 1)) * ages + rng.normal(size=N)
    x -= x.mean(axis=1, keepdims=True)
    counts = rng.multinomial(N, np.full(N, 1 / N), 2).T
    samples = np.column_stack([np.ones(N), counts]).astype(float)
    blocks = [(0, x[:5]), (5, x[5:])]
    given = anatomy.contributions(blocks, x.sum(axis=0), ages - ages.mean(), samples)
    for number, times in enumerate(samples.T):
        rows = np.repeat(np.arange(N), times.astype(int))
        slope, noise, own, spread = plain(x[:, rows], ages[rows])
        found = {name: values[:, number] for name, values in given.items()}
        np.testing.assert_allclose(found["signal"], slope, rtol=1e-9)
        np.testing.assert_allclose(found["own"], own, rtol=1e-9)
        np.testing.assert_allclose(found["own"] + found["shared"], noise, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(found["spread"], spread, rtol=1e-8, atol=1e-9)
        score = x[:, rows].sum(axis=0)
        line = np.polyfit(ages[rows], score, 1)
        gap = np.std(score - np.polyval(line, ages[rows])) / abs(line[0])
        sd = anatomy.gap_sd(x.sum(axis=0)[None], ages - ages.mean(), samples)[number]
        assert sd == pytest.approx(gap)
        whole = anatomy.predicted_gap_sd(np.ones((12, 3), bool), given)[number]
        assert whole == pytest.approx(gap)  # of all CpGs nothing is left to predict


def test_what_was_planted_is_found_in_its_group(tmp_path):
    cohort, ages = people(tmp_path)
    clock = anatomy.Clock("mine", np.arange(40), np.ones(40))
    taxa = np.repeat(["LinAgeHomo", "UniUnstable", "UniStable"], [10, 10, 20])
    rows, gaps = anatomy.anatomy_of(cohort, clock, pd.DataFrame({"taxon": taxa}), ages, seed=3)
    table = pd.DataFrame(rows).set_index("group")
    assert table.loc["LinAgeHomo", "signal"] == pytest.approx(1, abs=0.15)
    assert table.loc["UniUnstable", "noise"] > 0.9
    assert table.loc["LinAgeHomo", "spread"] > 0.6 > 0.4 > table.loc["UniUnstable", "spread"] > 0.1
    for name in anatomy.MEASURES:
        assert table[name].sum() == pytest.approx(1)
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
    assert list(pd.DataFrame(rows).columns) == anatomy.COLUMNS
    assert list(gaps) == anatomy.GAPS
    assert gaps["gap_sd"] == pytest.approx(10 * 0.04 / (10 * 0.004), rel=0.2)
    again = anatomy.anatomy_of(cohort, clock, pd.DataFrame({"taxon": taxa}), ages, seed=3)
    assert again == (rows, gaps)


def test_the_spread_of_gaps_is_predicted_for_parts_and_other_people(tmp_path):
    rng = np.random.default_rng(4)
    ages, common = rng.uniform(20, 80, N), rng.normal(size=N)
    sizes = rng.uniform(0.5, 3, 60)[:, None]
    values = 0.5 + 0.002 * (ages - 50) + 0.01 * sizes * (rng.normal(size=(60, N)) + 0.3 * common)
    cohort = cohort_of(tmp_path, values, [f"cg{at:02d}" for at in range(60)])
    _, gaps = anatomy.anatomy_of(cohort, anatomy.Clock("mine", np.arange(60), np.ones(60)), pd.DataFrame(), ages, 5)
    assert gaps["r"] > 0.8
    assert gaps["predicted_median"] == pytest.approx(gaps["seen_median"], rel=0.1)


def test_replicates_share_a_weight_and_missing_values_lie_on_the_line(tmp_path):
    names = np.array(["cg00000001_TC11", "cg00000001_BC12", *(f"cg0000000{at}" for at in range(2, 8))], dtype=object)
    cpgs = np.array([f"cg0000000{at}" for at in range(1, 8)], dtype=object)
    weights = np.array([1.0, 2, 3, 4, 5, 6, 0])
    given = [CpgList("a", cpgs, weights, []), CpgList("b", cpgs, None, []), CpgList("c", cpgs[:2], weights[:2], [])]
    found, notes = anatomy.clocks(given, names)
    assert [one.name for one in found] == ["a"]
    assert found[0].rows.tolist() == list(range(7))  # the weight 0 has none
    assert found[0].weights.tolist() == [0.5, 0.5, 2, 3, 4, 5, 6]
    assert notes == ["c: 3 of its CpGs with a weight are in the cohort, too few for an anatomy"]
    ages = np.linspace(-30, 30, 61)
    values = np.tile(0.5 + 0.005 * ages, (8, 1))
    values[2, ::3], values[3] = np.nan, np.nan
    cohort = cohort_of(tmp_path, values, names)
    x = np.concatenate([block for _, block in anatomy.weighted_blocks(cohort, found[0], ages)])
    np.testing.assert_allclose(x[2], 2 * 0.005 * ages, atol=1e-6)
    assert not x[3].any()


def test_groups_of_a_run_and_what_is_too_little(tmp_path):
    cohort, ages = people(tmp_path)
    write_parquet(tmp_path / "samples.parquet", pd.DataFrame({"sample_id": cohort.sample_ids, "age": ages}))
    frame = {"cpg": cohort.cpgs[::-1], "shape": ["linear"] * 40, "cause": [None] * 39 + ["SNP"]}
    write_parquet(tmp_path / "patterns.parquet", pd.DataFrame(frame))
    inputs = {"beta": cohort.path, "samples": tmp_path / "samples.parquet", "patterns": tmp_path / "patterns.parquet"}
    taxonomy = pd.DataFrame({"cpg": cohort.cpgs, "taxon": "UniStable"})
    mine = [CpgList("mine", cohort.cpgs, np.ones(40), [])]
    table, gaps, notes = anatomy.anatomies(inputs, mine, taxonomy, 1)
    assert (len(gaps), notes) == (1, [])
    assert table.groupby("by")["group"].agg(list).to_dict() == {
        "taxon": ["UniStable"],
        "shape": ["linear"],
        "cause": ["SNP", anatomy.NO_BANDS],
    }
    assert table.groupby("by")["cpgs"].sum().to_dict() == dict.fromkeys(anatomy.KINDS, 40)
    nothing = anatomy.anatomies({}, mine, taxonomy, 1)
    assert [len(part) for part in nothing] == [0, 0, 0]
    (tmp_path / "few").mkdir()
    few = cohort_of(tmp_path / "few", cohort.read(0, 40)[:, :30], cohort.cpgs)
    write_parquet(tmp_path / "samples.parquet", pd.DataFrame({"sample_id": few.sample_ids, "age": ages[:30]}))
    _, gaps, notes = anatomy.anatomies(inputs | {"beta": few.path}, mine, taxonomy, 1)
    assert len(gaps) == 0
    assert "30 people are too few" in notes[0]

"""The rules: right on clean CpGs, silent on half-way ones, and honest about why."""

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from cpgtaxa import simulate
from cpgtaxa.errors import InputError
from cpgtaxa.names import INDEX, TAXA, UNCLASSIFIED
from cpgtaxa.statistics import compute
from cpgtaxa.taxa import define_taxa, read_labels, ruled_out

THRESHOLDS = yaml.safe_load((ROOT / "config/config.yaml").read_text())["taxa"]["thresholds"]


@pytest.fixture(scope="module")
def judged():
    """1,500 CpGs of a cohort of 500: statistics, labels, and the truth."""
    setting = simulate.cohort_setting(11, 500)
    plan = simulate.plan_cohort(11, 1500, 0.2)
    drawn = [simulate.draw_cpg(11, index, taxon, setting) for index, taxon in enumerate(plan)]
    statistics = compute(np.stack([values for _, values in drawn]), setting.ages)
    statistics.insert(0, "cpg", [f"cg{index}" for index in range(len(plan))])
    truth = np.array([taxon or UNCLASSIFIED for taxon in plan], dtype=object)
    return statistics, define_taxa(statistics, THRESHOLDS), truth


def test_labels_are_clean(judged):
    _, labels, truth = judged
    called = (labels["taxon"] != UNCLASSIFIED).to_numpy()
    clean = truth != UNCLASSIFIED
    assert (labels["taxon"] == truth)[called & clean].mean() > 0.98
    assert called[clean].mean() > 0.7
    assert called[~clean].mean() < 0.25
    for taxon in TAXA:
        assert (labels["taxon"] == taxon)[truth == taxon].mean() > 0.5, taxon


def test_every_cpg_has_a_reason(judged):
    statistics, labels, _ = judged
    assert labels["cpg"].tolist() == statistics["cpg"].tolist()
    placed = labels["taxon"] != UNCLASSIFIED
    assert not labels.loc[placed, "reason"].str.contains("not clear").any()
    assert labels.loc[~placed, "reason"].str.contains("not clear|fits several").all()


def test_the_veto_spares_the_truth_and_hits_the_opposite(judged):
    statistics, _, truth = judged
    out = ruled_out(statistics, THRESHOLDS, len(statistics))
    own = np.array([INDEX.get(taxon, -1) for taxon in truth])
    rows = np.flatnonzero(own >= 0)
    assert out[rows, own[rows]].mean() < 0.02
    opposite = {
        "UniStable": "LinAgeHet",
        "UniUnstable": "LinAgeHomo",
        "LinAgeHomo": "UniUnstable",
        "TriNonAge": "UniStable",
        "BiAge": "BiNonAge",
    }
    for taxon, other in opposite.items():
        assert out[truth == taxon, INDEX[other]].mean() > 0.8, taxon


def clear_case():
    """Statistics of one textbook LinAgeHomo CpG, as a one-row frame."""
    rng = np.random.default_rng(0)
    ages = rng.uniform(20, 90, 400)
    values = 0.4 + 0.003 * (ages - 55) + rng.normal(0, 0.03, 400)
    statistics = compute(values[None].astype(np.float32), ages)
    statistics.insert(0, "cpg", ["cg1"])
    return statistics


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        ("core_slope_p", 0.2, "trend"),
        ("core_effect", 0.01, "trend"),
        ("core_curve_p", 1e-12, "straight"),
        ("dip_p", 1e-4, "one band"),
        ("outlier_n", 30, "no outliers"),
    ],
)
def test_one_criterion_in_between_leaves_the_cpg_unclassified(column, value, word):
    statistics = clear_case()
    assert define_taxa(statistics, THRESHOLDS)["taxon"].item() == "LinAgeHomo"
    statistics[column] = value
    if column == "core_curve_p":
        statistics["core_curve_effect"] = 0.2
    label = define_taxa(statistics, THRESHOLDS).iloc[0]
    assert label["taxon"] == UNCLASSIFIED
    assert word in label["reason"]


def test_changing_spread_turns_homo_into_het():
    statistics = clear_case()
    statistics["core_het_p"], statistics["core_sd_ratio"] = 1e-20, 3.0
    assert define_taxa(statistics, THRESHOLDS)["taxon"].item() == "LinAgeHet"
    statistics["core_het_p"], statistics["core_sd_ratio"] = 1e-3, 1.6
    assert define_taxa(statistics, THRESHOLDS)["taxon"].item() == UNCLASSIFIED


def late_bands(ages, rng):
    return np.where((ages > 60) & (rng.random(len(ages)) < 0.5), 0.7, 0.35)


def step(ages, rng):
    return np.where(ages > 50, 0.7, 0.35)


def four_bands(ages, rng):
    return np.array([0.1, 0.37, 0.63, 0.9])[rng.integers(0, 4, len(ages))]


def rounded(ages, rng):
    return np.round(0.5 + rng.normal(0, 0.12, len(ages)), 1)


@pytest.mark.parametrize("draw", [late_bands, step, four_bands, rounded])
def test_bands_of_other_kinds_get_no_label(draw):
    rng = np.random.default_rng(9)
    ages = rng.uniform(20, 90, 400)
    values = np.stack([draw(ages, rng) + rng.normal(0, 0.02, 400) * (draw is not rounded) for _ in range(30)])
    statistics = compute(values.astype(np.float32), ages)
    statistics.insert(0, "cpg", [f"cg{index}" for index in range(30)])
    as_the_workflow_does = {key: value for key, value in THRESHOLDS.items() if key != "contradicted_p"}
    assert (define_taxa(statistics, as_the_workflow_does, 5000)["taxon"] != UNCLASSIFIED).sum() <= 1


def test_noise_over_a_whole_range_contradicts_every_taxon():
    rng = np.random.default_rng(10)
    statistics = compute(rng.uniform(0, 1, (30, 400)).astype(np.float32), rng.uniform(20, 90, 400))
    assert ruled_out(statistics, THRESHOLDS, 5000).all(axis=1).mean() > 0.6


def test_own_labels(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("cpg,taxon\ncg2,BiAge\ncg1,Unclassified\n")
    labels = read_labels(path, ["cg1", "cg2", "cg3"])
    assert labels["taxon"].tolist() == [UNCLASSIFIED, "BiAge", UNCLASSIFIED]
    assert labels["reason"].tolist() == ["given", "given", "not in the given labels"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("cpg,taxon\ncg1,Bimodal\ncg9,BiAge\ncg2,BiAge\ncg2,BiAge\n", ["'Bimodal'", "line 2", "cg9", "cg2", "3 input"]),
        ("probe,class\ncg1,BiAge\n", ["columns cpg and taxon", "'probe'"]),
        ("cpg,taxon\ncg1,biage\n", ["did you mean 'BiAge'"]),
    ],
)
def test_wrong_labels_are_all_named(tmp_path, content, words):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_labels(path, pd.Series(["cg1", "cg2"]))
    for word in words:
        assert word in error.value.text()


def test_missing_labels_file_is_named(tmp_path):
    with pytest.raises(InputError, match="not there"):
        read_labels(tmp_path / "none.csv", ["cg1"])

"""Criteria and labels: right on simulated CpGs, decided or open as the sample size allows, and honest about why."""

import numpy as np
import pandas as pd
import pytest
from cohorts import SHIPPED_RULES, statistics_of
from cpgtaxa.errors import InputError
from cpgtaxa.names import INDEX, TAXA, UNCLASSIFIED
from cpgtaxa.simulation import simulate
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.criteria import BY_NAME, RULES, Answers, admissible, answered, default_zones
from cpgtaxa.taxa.labels import define_taxa, read_labels, ruled_out, undecided

ERRORS = SHIPPED_RULES["errors"]


def labels_of(values, ages, sexes=None):
    """Labels of (k, n) values."""
    statistics = statistics_of(values, ages, sexes)
    return define_taxa(statistics, **SHIPPED_RULES)


@pytest.fixture(scope="module")
def labelled():
    """1,500 CpGs of a cohort of 650: statistics, labels, and the taxa that are right."""
    setting = simulate.cohort_setting(11, 650)
    plan = simulate.plan_cohort(11, 1500, 0.3)
    drawn = [simulate.draw_cpg(11, index, taxon, setting) for index, taxon in enumerate(plan)]
    statistics = statistics_of([values for _, values in drawn], setting.ages, setting.sex)
    right = [profile.admissible(setting) for profile, _ in drawn]
    return statistics, define_taxa(statistics, **SHIPPED_RULES), right


def test_config_and_table_agree():
    assert SHIPPED_RULES["thresholds"] == default_zones()


def test_nearly_all_cpgs_get_a_taxon_that_is_right(labelled):
    _, labels, right = labelled
    placed = (labels["taxon"] != UNCLASSIFIED).to_numpy()
    hits = np.array([taxon in taxa for taxon, taxa in zip(labels["taxon"], right, strict=True)])
    assert placed.mean() > 0.97
    assert hits[placed].mean() > 0.955
    clear = np.array([len(taxa) == 1 for taxa in right])
    for taxon in TAXA:
        own = clear & np.array([taxon in taxa for taxa in right])
        assert hits[own].mean() > 0.8, taxon


def test_every_cpg_has_a_reason(labelled):
    _, labels, _ = labelled
    placed = labels["taxon"] != UNCLASSIFIED
    assert (labels.loc[placed, "reason"].str.split("; ").str.len() >= 3).all()
    assert labels.loc[~placed, "reason"].str.match("open: |no taxon: |too few").all()
    assert set(labels["boundary"]) <= {"", *BY_NAME}
    assert 0.1 < (labels["boundary"] == "").mean() < 0.9


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("open: spread; LinAgeHomo or LinAgeHet", "one band, trend; spread undecided"),
        ("open: trend; UniUnstable or LinAgeHomo", "one band, constant spread; trend undecided"),
        ("open: trend; BiAge or BiNonAge", "two bands; trend undecided"),
        ("open: trend, spread; UniStable or NonAgeHet or LinAgeHet", "one band; trend and spread undecided"),
        ("no taxon: curved", "curved: the level changes with age, but not along a line"),
        ("too few samples", "too few samples"),
        ("", ""),
    ],
)
def test_what_is_known_of_an_unclassified_cpg_in_words(reason, said):
    assert undecided(reason) == said


def test_confidence_is_the_share_that_is_right_and_margin_the_distance_from_the_cut(labelled):
    _, labels, right = labelled
    placed = (labels["taxon"] != UNCLASSIFIED).to_numpy()
    assert labels["confidence"].notna().equals(labels["taxon"] != UNCLASSIFIED)
    assert labels.loc[placed, "confidence"].between(0, 1).all()
    hits = pd.Series([taxon in taxa for taxon, taxa in zip(labels["taxon"], right, strict=True)])[placed]
    sure = labels["confidence"][placed]
    assert abs(hits.mean() - sure.mean()) < 0.03
    assert hits[sure > 0.99].mean() > 0.97
    in_zone, clear = labels["boundary"] != "", placed & (labels["boundary"] == "")
    assert (labels.loc[in_zone, "criterion"] == labels.loc[in_zone, "boundary"]).all()
    assert labels.loc[clear, "margin"].ge(1).mean() > 0.9
    assert labels.loc[in_zone, "margin"].median() < 1
    assert labels.loc[labels["reason"].str.startswith(("no taxon", "too few")), "margin"].isna().all()


def test_confidence_of_few_samples_is_not_far_above_the_share_that_is_right():
    setting, plan = simulate.cohort_setting(5, 150), simulate.plan_cohort(5, 600, 0.3)
    drawn = [simulate.draw_cpg(5, index, taxon, setting) for index, taxon in enumerate(plan)]
    labels = labels_of(np.stack([values for _, values in drawn]), setting.ages, setting.sex)
    right = [taxon in profile.admissible(setting) for taxon, (profile, _) in zip(labels["taxon"], drawn, strict=True)]
    placed = labels["taxon"] != UNCLASSIFIED
    sure = labels["confidence"][placed]
    hits = pd.Series(right)[placed]
    assert abs(sure.mean() - hits.mean()) < 0.09
    assert hits[sure < 0.5].mean() < 0.3 < 0.9 < hits[sure > 0.98].mean()


def test_confidence_falls_where_samples_are_few_and_zones_are_near():
    rng = np.random.default_rng(5)
    values, ages = 0.5 + 0.03 * rng.normal(size=(60, 400)), rng.uniform(20, 80, 400)
    many, few = labels_of(values, ages), labels_of(values[:, :40], ages[:40])
    both = (many["taxon"] == "UniUnstable") & (few["taxon"] == "UniUnstable")
    assert both.sum() > 20
    assert (few["confidence"][both] < many["confidence"][both]).mean() > 0.9
    assert many["confidence"][both].min() > 0.9


def test_the_tests_spare_the_truth_and_rule_out_the_opposite(labelled):
    statistics, labels, right = labelled
    out = ruled_out(statistics, **SHIPPED_RULES)
    left = labels["taxon"] == UNCLASSIFIED
    spared = [not out[row, [INDEX[taxon] for taxon in taxa]].all() for row, taxa in enumerate(right)]
    assert np.mean(np.array(spared)[~left]) > 0.95
    for taxon, other in {"UniStable": "LinAgeHet", "LinAgeHomo": "UniUnstable", "BiAge": "BiNonAge"}.items():
        own = np.array([taxa == (taxon,) for taxa in right])
        assert out[own, INDEX[other]].mean() > 0.8, taxon


def test_admissible_taxa_are_one_beyond_the_zones_and_two_in_one():
    plain = {
        "two_bands": -1, "band_share": 0, "three_bands": 0, "trend": 0.1, "spread": 1.0, "width": 0.05, "outliers": 0,
    }  # fmt: skip
    changes = [{}, {"trend": 2}, {"trend": 0.6}, {"width": 0.015}, {"trend": 2, "spread": 1.5}, {"two_bands": 0.2}]
    changes[-1] |= {"band_share": 0.4}
    cases = [plain | change for change in changes]
    found = admissible({key: np.array([case[key] for case in cases]) for key in plain})
    names = [[taxon for taxon, is_right in zip(TAXA, row, strict=True) if is_right] for row in found]
    assert names == [
        ["UniUnstable"],
        ["LinAgeHomo"],
        ["UniUnstable", "LinAgeHomo"],
        ["UniStable", "UniUnstable"],
        ["LinAgeHomo", "LinAgeHet"],
        ["UniUnstable", "BiNonAge"],
    ]


def test_every_combination_of_answers_leads_to_at_most_one_taxon():
    keys = list(BY_NAME)
    grid = np.array(np.meshgrid(*[[False, True]] * len(keys))).reshape(len(keys), -1)
    yes = dict(zip(keys, grid, strict=True))
    from cpgtaxa.taxa.criteria import reached

    found = reached(yes, {key: ~answer for key, answer in yes.items()})
    assert (found.sum(axis=1) == 1).all()
    assert set(RULES) == set(TAXA)


@pytest.mark.parametrize(("estimate", "error", "answer"), [
    (0.9, 0.05, "yes"), (0.5, 0.05, "no"), (0.66, 0.01, "yes"), (0.64, 0.01, "no"),
    (1.2, 0.3, "yes"), (0.2, 0.3, "no"), (0.85, 0.3, "open"), (3.0, 1.5, "open"), (np.nan, 0.1, "open"),
    (0.45, 0.4, "no"),  # a no of the estimate that is shrunk by the prior
    (1.0, 0.35, "open"),  # beyond the zone's lower end, but as large by chance
])  # fmt: skip
def test_an_answer_needs_samples_beyond_the_zone_and_the_cut_within(estimate, error, answer):
    zone = {"no": 0.3, "yes": 1.0}
    found = answered(BY_NAME["trend"], np.array([estimate]), np.array([error]), zone, ERRORS)
    assert {"yes": (True, False), "no": (False, True), "open": (False, False)}[answer] == (found.yes[0], found.no[0])


def test_what_is_open_closes_as_cohorts_grow():
    open_shares = []
    for n in (60, 150, 700):
        rng = np.random.default_rng(n)
        ages = rng.uniform(20, 90, n)
        effects = rng.uniform(-2, 2, 200)[:, None] * 0.03
        values = 0.5 + effects * (ages - 55) / 63 + 0.03 * rng.standard_normal((200, n))
        open_shares.append((labels_of(values, ages)["taxon"] == UNCLASSIFIED).mean())
    assert open_shares[0] > open_shares[1] > open_shares[2]
    assert open_shares[2] == 0


def test_permuted_ages_leave_no_trend(labelled):
    setting = simulate.cohort_setting(12, 500)
    values = [
        simulate.draw_cpg(12, index, taxon, setting)[1] for index, taxon in enumerate(["LinAgeHomo", "BiAge"] * 200)
    ]
    taxon = labels_of(values, np.random.default_rng(1).permutation(setting.ages))["taxon"]
    assert taxon.isin(["LinAgeHomo", "LinAgeHet", "BiAge", "TriAge"]).mean() <= 0.01


def test_a_few_strays_take_no_cpg_from_its_taxon():
    rng = np.random.default_rng(3)
    ages = rng.uniform(20, 90, 700)
    values = 0.95 + 0.005 * rng.standard_normal((40, 700))
    values[:20, :2] = 0.5
    values[20:, :14] = 0.5
    taxon = labels_of(values, ages)["taxon"]
    assert (taxon[:20] == "UniStable").all()
    assert (taxon[20:] == "Outlier").all()


def test_one_stray_of_a_hundred_is_no_outlier():
    rng = np.random.default_rng(6)
    values = 0.95 + 0.005 * rng.standard_normal((40, 100))
    values[:20, 0] = 0.5
    values[20:, :3] = 0.5
    taxon = labels_of(values, rng.uniform(20, 90, 100))["taxon"]
    assert (taxon[:20] == "UniStable").mean() > 0.9
    assert (taxon[20:] == "Outlier").mean() > 0.9


def test_a_diffuse_tail_is_no_band():
    rng = np.random.default_rng(7)
    tail = np.where(rng.random((100, 500)) < 0.15, rng.uniform(0, 0.3, (100, 500)), 0)
    values = 0.9 - tail + 0.008 * rng.standard_normal((100, 500))
    statistics = compute(values.clip(0, 1).astype(np.float32), rng.uniform(20, 90, 500))
    answers = Answers(statistics, SHIPPED_RULES["thresholds"], ERRORS)
    assert (statistics["two_depth"] > statistics["two_depth_seen"]).mean() > 0.2
    assert (answers.bands > 1).mean() <= 0.02


def test_trends_of_small_bands_are_not_believed_too_soon():
    rng = np.random.default_rng(8)
    values = np.where(rng.random((400, 60)) < 0.2, 0.6, 0.3) + 0.03 * rng.standard_normal((400, 60))
    statistics = compute(values.astype(np.float32), rng.uniform(20, 90, 60))
    answers = Answers(statistics, SHIPPED_RULES["thresholds"], ERRORS)
    effects, errors, shares = (answers._each(what, "two") for what in ("effect", "effect_se", "share"))
    _, error = answers._band_trend(effects, errors, np.full(effects.shape, 0.03), shares)
    least = errors.min(axis=1) / np.hypot(0.03, 0.015)
    assert (error > 1.12 * least / np.sqrt(2)).all()
    assert answers.by_criterion["trend"].yes.mean() <= 0.004


def test_cpgs_near_a_border_say_which():
    rng = np.random.default_rng(10)
    ages = rng.uniform(20, 90, 2000)
    effects = np.repeat([0.65, 3.0], 20)[:, None] * np.hypot(0.03, 0.015)
    boundary = labels_of(0.5 + effects * (ages - 55) / 63 + 0.03 * rng.standard_normal((40, 2000)), ages)["boundary"]
    assert (boundary[:20] == "trend").all()
    assert (boundary[20:] == "").mean() > 0.9


def test_women_and_men_are_two_bands_where_the_sheet_says_so():
    rng = np.random.default_rng(4)
    ages = rng.uniform(20, 90, 400)
    sex = rng.integers(0, 2, 400)
    values = 0.5 + 0.075 * sex + 0.03 * rng.standard_normal((30, 400))
    assert (labels_of(values, ages, sex)["taxon"] == "BiNonAge").mean() > 0.8
    assert (labels_of(values, ages)["taxon"] == "BiNonAge").mean() < 0.5
    values += 0.06 * (ages - 55) / 63 * sex
    assert (labels_of(values, ages, sex)["taxon"] == "BiAge").mean() > 0.8


def late_bands(ages, rng):
    return np.where((ages > 60) & (rng.random(len(ages)) < 0.5), 0.7, 0.35)


def step(ages, rng):
    return np.where(ages > 50, 0.7, 0.35)


def four_bands(ages, rng):
    return np.array([0.1, 0.37, 0.63, 0.9])[rng.integers(0, 4, len(ages))]


def u_shape(ages, rng):
    return 0.3 + 0.4 * ((ages - 55) / 35) ** 2


def wide_in_mid_life(ages, rng):
    return 0.5 + 0.1 * np.exp(-(((ages - 55) / 10) ** 2)) * rng.standard_normal(len(ages))


def anything(ages, rng):
    return rng.uniform(0.05, 0.95, len(ages))


@pytest.mark.parametrize("draw", [late_bands, step, four_bands, u_shape, wide_in_mid_life, anything])
def test_what_no_taxon_describes_gets_none(draw):
    rng = np.random.default_rng(9)
    ages = rng.uniform(20, 90, 400)
    values = np.stack([draw(ages, rng) + rng.normal(0, 0.02, 400) for _ in range(40)])
    labels = labels_of(values, ages)
    assert (labels["taxon"] != UNCLASSIFIED).mean() <= 0.1
    statistics = compute(values.astype(np.float32), ages)
    assert ruled_out(statistics, **SHIPPED_RULES).all(axis=1).mean() >= 0.8


def test_too_few_samples_are_said_so():
    rng = np.random.default_rng(5)
    labels = labels_of(0.5 + 0.03 * rng.standard_normal((3, 25)), rng.uniform(20, 90, 25))
    assert labels["reason"].tolist() == ["too few samples"] * 3


def test_what_matters_depends_on_the_other_answers(labelled):
    statistics, _, _ = labelled
    answers = Answers(statistics, SHIPPED_RULES["thresholds"], ERRORS)
    matter = answers.matter()
    banded = answers.bands > 1
    assert not matter["spread"][banded].any()
    assert matter["three_bands"][banded].all()
    assert not matter["width"][answers.by_criterion["trend"].yes].any()


def test_own_labels(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("cpg,taxon\ncg2,BiAge\ncg1,Unclassified\n")
    labels = read_labels(path, ["cg1", "cg2", "cg3"])
    assert labels["taxon"].tolist() == [UNCLASSIFIED, "BiAge", UNCLASSIFIED]
    assert labels["reason"].tolist() == ["given", "given", "not in the given labels"]


def test_wrong_labels_are_all_named(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("cpg,taxon\ncg1,Bimodal\ncg9,BiAge\ncg2,BiAge\ncg2,BiAge\n")
    with pytest.raises(InputError) as error:
        read_labels(path, pd.Series(["cg1", "cg2"]))
    for word in ("'Bimodal'", "line 2", "cg9", "cg2", "3 input"):
        assert word in error.value.text()

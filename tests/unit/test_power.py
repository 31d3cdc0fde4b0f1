"""The planner: effects are planted as asked, power grows with people, and the number needed is read off rightly."""

import math

import numpy as np
import pandas as pd
import pytest
from branches import Page, kept_from
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan
from cpgtaxa.simulation.simulate import make_setting
from cpgtaxa.targets.power.page import effect_words, page, people_words
from cpgtaxa.targets.power.planted import Effect, draw_ages, effects, plant, planted
from cpgtaxa.targets.power.power import crossing, needed, power
from cpgtaxa.taxa import criteria

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
RULES = {"thresholds": criteria.default_zones(), "errors": {"beyond": 0.05, "chance": 0.001}}
SETTINGS = {
    "taxa": ["LinAgeHomo", "TriAge"], "trend": [0.02], "spread": [1.1], "sd": 0.03, "people": [300, 40],
    "ages": [[20, 80]], "distribution": ["uniform"], "cpgs": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def setting():
    rng = np.random.default_rng(1)
    return make_setting(rng.uniform(20, 80, 400), rng)


def test_each_taxon_is_planned_with_the_effects_that_it_has():
    found = effects(["LinAgeHet", "NonAgeHet", "TriAge", "UniStable"], [0.01, 0.02], [1.1, 1.2])
    assert [(one.taxon, one.trend, one.spread) for one in found[:2]] == [
        ("LinAgeHet", 0.01, 1.1),
        ("LinAgeHet", 0.01, 1.2),
    ]
    assert [one.taxon for one in found].count("LinAgeHet") == 4
    assert [effect_words(one.trend, one.spread) for one in found[4:]] == [
        "spread × 1.1 per decade",
        "spread × 1.2 per decade",
        "0.01 beta per decade",
        "0.02 beta per decade",
        "as in simulated cohorts",
    ]


@pytest.mark.parametrize("shape", ["uniform", "bell", "young", "old"])
def test_ages_stay_in_their_range(shape):
    ages = draw_ages(np.random.default_rng(2), 3000, 30, 70, shape)
    assert 30 <= ages.min() < 34
    assert 66 < ages.max() <= 70
    middle = {"uniform": 50, "bell": 50, "young": 42, "old": 58}[shape]
    assert np.mean(ages) == pytest.approx(middle, abs=1)


@pytest.mark.parametrize("taxon", ["LinAgeHomo", "LinAgeHet", "NonAgeHet", "BiAge", "TriAge"])
def test_what_is_planted_is_what_was_asked_for(setting, taxon):
    trend = 0.015 if "Lin" in taxon or taxon in ("BiAge", "TriAge") else math.nan
    spread = 1.15 if taxon in ("LinAgeHet", "NonAgeHet") else math.nan
    for number in range(30):
        profile = planted(np.random.default_rng(number), Effect(taxon, trend, spread), setting, 0.03)
        assert set(profile.sds) == {0.03}
        if not math.isnan(trend):
            assert np.abs(profile.effects) == pytest.approx(0.015 * setting.span / 10)
        if not math.isnan(spread):
            assert profile.log_ratio == pytest.approx(math.log(1.15) * setting.span / 10)
        levels = np.array(profile.levels)
        assert (np.diff(levels) > 0.1).all()
        assert levels.min() > 0.03
        assert levels.max() < 0.97


def test_planted_values_have_the_slope_and_are_the_same_again(setting):
    effect = Effect("LinAgeHomo", 0.02)
    values, _, profiles = plant([7], effect, setting.ages, 0.02, 40)
    slopes = [np.polyfit(setting.ages[np.isfinite(v)], v[np.isfinite(v)], 1)[0] for v in values]
    assert np.median(np.abs(slopes)) == pytest.approx(0.002, rel=0.1)
    assert {1.0, -1.0} == {float(np.sign(profile.effects[0])) for profile in profiles}
    again = plant([7], effect, setting.ages, 0.02, 40)[0]
    np.testing.assert_array_equal(values, again)
    np.testing.assert_array_equal(plant([7], effect, setting.ages, 0.02, 3)[0], values[:3])


@pytest.fixture(scope="module")
def table():
    return power(SETTINGS, seed=1, rules=RULES, own=np.random.default_rng(3).uniform(60, 70, 50))


def test_power_grows_with_people_and_with_the_range_of_ages(table):
    assert set(table["ages"]) == {"20–80", "cohort"}
    wide = table[table["ages"] != "cohort"].set_index(["taxon", "people"])["power"]
    for taxon in SETTINGS["taxa"]:
        assert wide[taxon, 300] > 0.8 > wide[taxon, 40]
    narrow = table[(table["ages"] == "cohort") & (table["people"] == 300)]
    assert narrow["power"].max() < 0.4
    assert (table["low"] <= table["power"]).all()
    assert (table["power"] <= table["high"]).all()
    assert (table["power"] + table["none"] + table["instead_share"] <= 1 + 1e-9).all()
    pd.testing.assert_series_equal(table["tests"], table["power"], check_names=False)  # no network was asked


def test_what_is_true_by_the_criteria_is_told(table):
    right = table.set_index(["taxon", "ages", "people"])["right"]
    assert right["LinAgeHomo", "20–80", 300] == "LinAgeHomo"
    assert right["LinAgeHomo", "cohort", 300] == "UniUnstable|LinAgeHomo"  # in the zone: no number of people helps


def test_people_needed_are_read_between_the_numbers_looked_at():
    people, chance = np.array([50.0, 100, 200]), np.array([0.2, 0.7, 0.9])
    assert crossing(people, chance, 0.8) == np.ceil(100 * 2**0.5)
    assert crossing(people, chance, 0.1) == 50
    assert np.isnan(crossing(people, chance, 0.95))
    cell = {"taxon": "TriAge", "ages": "x", "trend": 0.01, "spread": np.nan, "right": "TriAge"}
    rows = [
        cell | {"people": n, "power": p, "low": p - 0.1, "high": min(p + 0.1, 1)}
        for n, p in zip([50, 100, 200, 400], [0.3, 0.75, 0.7, 0.95], strict=True)
    ]
    found = needed(pd.DataFrame(rows[::-1])).iloc[0]
    assert 200 < found["people_80"] < 400  # the dip is taken for chance
    assert found["people_80_low"] < found["people_80"] < found["people_80_high"]
    assert np.isnan(found["people_90_high"])
    assert [people_words(n, 50, 400) for n in (50, 210.0, np.nan)] == ["≤ 50", "210", "> 400"]


def test_the_page_has_a_figure_for_each_taxon(table, tmp_path):
    outputs = {"html": tmp_path / "report.html", "figures": tmp_path / "figures"}
    page(outputs, table, needed(table), SETTINGS, asks_network=False)
    text = outputs["html"].read_text()
    for taxon in SETTINGS["taxa"]:
        assert f'id="{taxon}"' in text
        assert (tmp_path / f"figures/{taxon}.svg").is_file()
    assert "0.02 beta per decade" in text
    assert "The tests alone decide" in text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"people": [10]}, "power.people"),
        ({"people": []}, "power.people"),
        ({"trend": [0]}, "power.trend"),
        ({"spread": [0.9]}, "power.spread"),
        ({"taxa": ["TriAged"]}, "power.taxa"),
        ({"sd": 0.5}, "power.sd"),
        ({"ages": [[20, 80, 90]]}, "power.ages"),
        ({"ages": [[80, 20]]}, "80 to 20 years: the first must be below"),
        ({"ages": []}, "names no range of ages"),
        ({"distribution": ["flat"]}, "power.distribution"),
    ],
)
def test_nonsense_is_refused_with_the_key(wrong, words):
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        Plan(check_config({"power": wrong}, SCHEMA))


@pytest.fixture(scope="module")
def stated(table, tmp_path_factory):
    """The page of a plan, to be rendered with other numbers."""
    folder = tmp_path_factory.mktemp("stated")
    with kept_from("cpgtaxa.targets.power.page.write_page") as kept:
        page({"html": folder / "r.html", "figures": folder / "f"}, table, needed(table), SETTINGS, asks_network=False)
    return Page(**kept)


STATES = [
    (
        {"network": False, "doubtful": False},
        ["The tests alone decide.", "Dotted: 80 % and 90 %."],
        ["the shipped", "zone of"],
    ),
    (
        {"network": True, "doubtful": True},
        ["the shipped network is asked", "lies in the zone of a criterion"],
        ["alone"],
    ),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

"""Scores, intervals and joined gaps of ECG ages, and how networks are asked."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from branches import Page, kept_from
from cpgtaxa.errors import InputError
from cpgtaxa.learning.loop import Learner
from cpgtaxa.statistics.comparisons import holm
from cpgtaxa.targets.ecg import attributions, clock, networks, page, reading, scores
from cpgtaxa.targets.ecg.plan import SIZES
from scipy import stats


def table(n=60, patients=None, seed=0, error=5.0):
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 90, n).round()
    return pd.DataFrame(
        {
            "record": [f"R{number}" for number in range(n)],
            "patient": [f"P{number}" for number in (range(n) if patients is None else patients)],
            "sex": rng.choice(["F", "M", ""], n),
            "age": ages,
            "predicted": ages + rng.normal(0, error, n),
        }
    )


# --- conformal intervals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_half_widths_are_quantiles_of_the_others_errors(coverage, seed):
    rng = np.random.default_rng(seed)
    errors = rng.normal(size=40).round(1)  # with ties
    patients = rng.integers(0, 25, 40).astype(str)
    found = scores.half_widths(errors, patients, coverage)
    for at in range(40):
        others = np.sort(np.abs(errors[patients != patients[at]]))
        place = math.ceil((len(others) + 1) * coverage - 1e-9)
        assert found[at] == (others[place - 1] if place <= len(others) else math.inf)
    every = np.sort(np.abs(errors))
    assert scores.half_width(errors, coverage) == every[math.ceil(41 * coverage - 1e-9) - 1]


def test_too_few_others_give_no_interval():
    assert np.isinf(scores.half_widths(np.ones(8), np.arange(8).astype(str), 0.9)).all()
    assert scores.half_width(np.ones(8), 0.9) == math.inf


# --- errors ----------------------------------------------------------------------------------------------------------


def test_bootstrap_draws_patients_with_all_their_records():
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(30), 4)
    effect = rng.normal(size=30)[patients]
    alone = scores.Bootstrap(np.arange(120).astype(str), 0).means(effect)[0]
    together = scores.Bootstrap(patients.astype(str), 0).means(effect)[0]
    assert alone.std() == pytest.approx(effect.std() / np.sqrt(120), rel=0.1)
    assert together.std() == pytest.approx(effect.std() / np.sqrt(30), rel=0.1)
    known = np.where(patients < 15, effect, np.nan)
    assert scores.Bootstrap(patients.astype(str), 0).means(known)[0].mean() == pytest.approx(
        effect[patients < 15].mean(), abs=0.1
    )


def test_scores_are_those_worked_out_by_hand():
    first, other = table(error=4.0), table(error=9.0)
    other["age"], other["sex"] = first["age"], first["sex"]
    middle = first.assign(predicted=first["age"].median())
    tables = {"Net": first, "GradientBoosting": other, "Median": middle}
    found, compared = scores.score("adult", tables, "Net", 0.9, 0)
    assert list(found) == scores.SUMMARY_COLUMNS
    value = found.set_index(["model", "metric"])
    error = first["predicted"] - first["age"]
    assert value.loc[("Net", "adult_mae"), "value"] == pytest.approx(error.abs().mean())
    assert value.loc[("Net", "adult_bias"), "value"] == pytest.approx(error.mean())
    assert value.loc[("Net", "adult_rmse"), "value"] == pytest.approx(np.sqrt((error**2).mean()))
    assert value.loc[("Net", "adult_limits_high"), "value"] == pytest.approx(error.mean() + 1.96 * error.std())
    r = stats.pearsonr(first["age"], first["predicted"])
    assert value.loc[("Net", "adult_r"), "value"] == pytest.approx(r.statistic)
    ratio = error.abs().mean() / (middle["predicted"] - first["age"]).abs().mean()
    assert value.loc[("Net", "adult_mae_over_median"), "value"] == pytest.approx(ratio)
    for sex, name in (("F", "female"), ("M", "male")):
        some = error[first["sex"] == sex].abs()
        assert value.loc[("Net", f"adult_mae_{name}"), "value"] == pytest.approx(some.mean())
        assert value.loc[("Net", f"adult_mae_{name}"), "n"] == len(some)
    decade = first["age"].between(30, 39)
    assert value.loc[("Net", "adult_mae_30_39"), "value"] == pytest.approx(error[decade].abs().mean())
    # One value for all has no correlation.
    assert ("Median", "adult_r") not in value.index
    for row in found.itertuples():
        assert np.isnan(row.ci_low) or row.ci_low <= row.value <= row.ci_high
    against = compared.set_index("other")
    difference = (error.abs() - (other["predicted"] - other["age"]).abs()).mean()
    assert against.loc["GradientBoosting", "difference"] == pytest.approx(difference)
    assert against.loc["GradientBoosting", "p"] < 0.01
    assert (holm(compared["p"]) >= compared["p"]).all()
    again, _ = scores.score("adult", tables, "Net", 0.9, 0)
    pd.testing.assert_frame_equal(found, again)


def test_two_models_alike_do_not_differ():
    first = table()
    _, compared = scores.score("adult", {"Net": first, "Other": first.copy()}, "Net", 0.9, 0)
    assert compared["difference"].iloc[0] == 0
    assert np.isnan(compared["p"].iloc[0])


def test_few_records_give_numbers_or_none_and_no_error():
    for n in (2, 3, 4):
        some = table(n)
        found, _ = scores.score("adult", {"Net": some, "Median": some.assign(predicted=50.0)}, "Net", 0.9, 0)
        assert np.isfinite(found.set_index(["model", "metric"]).loc[("Net", "adult_mae"), "value"])
        gaps = scores.gap_table("adult", "Net", some, 0.9)
        assert np.isinf(gaps["age_high"]).all()


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_adjusted_gaps_know_no_age():
    some = table(200)
    shrunk = some.assign(predicted=55 + 0.5 * (some["predicted"] - 55))
    gaps = scores.gap_table("adult", "Net", shrunk, 0.9)
    assert np.corrcoef(gaps["gap"], gaps["age"])[0, 1] < -0.8
    assert abs(np.corrcoef(gaps["gap_adjusted"], gaps["age"])[0, 1]) < 1e-6
    wanted = stats.linregress(gaps["age"], gaps["gap"])
    expected = gaps["gap"] - wanted.intercept - wanted.slope * gaps["age"]
    np.testing.assert_allclose(gaps["gap_adjusted"], expected)


def test_gaps_are_joined_by_person():
    gaps = scores.gap_table("adult", "Net", table(8, patients=[0, 0, 1, 2, 3, 4, 5, 6]), 0.5)
    ages = pd.DataFrame(
        {
            "person": ["P0", "P1", "P3", "P9"],
            "methylation_age": [50.0, 61.0, 40.0, 70.0],
            "age": [48.0, np.nan, 44.0, 1.0],
        }
    )
    both = scores.joined(gaps, ages).set_index("person")
    assert sorted(both.index) == ["P0", "P1", "P3"]
    own = gaps[gaps["patient"] == "P0"]
    assert both.loc["P0", "ecg_gap"] == pytest.approx(own["gap"].mean())
    assert both.loc["P0", "records"] == 2
    assert both.loc["P0", "methylation_gap"] == 2
    age = gaps.loc[gaps["patient"] == "P1", "age"].iloc[0]
    assert both.loc["P1", "methylation_gap"] == 61 - age  # the age at the ECG, where the clock's table has none
    assert scores.joined_rows(both.reset_index(), "adult", "Net") == []  # three people


def test_a_shared_gap_is_found_between_both_clocks():
    rng = np.random.default_rng(4)
    n = 400
    shared, ages, noise = rng.normal(0, 4, n), rng.uniform(20, 90, n), rng.normal(0, 0.5, n)
    some = table(n).assign(age=ages, predicted=55 + 0.8 * (ages + shared + noise - 55))
    stated = pd.DataFrame({"person": some["patient"], "methylation_age": ages + shared, "age": ages})
    both = scores.joined(scores.gap_table("adult", "Net", some, 0.9), stated)
    [(model, metric, value, low, high, count)] = scores.joined_rows(both, "adult", "Net")
    assert (model, metric, count) == ("Net", "adult_gap_correlation", n)
    assert value > 0.95
    assert low < value < high


def clock_of(folder, text):
    (folder / "clock.csv").write_text(text)
    records = pd.DataFrame({"patient": ["P1", "P2", "P2", "P3"]})
    records.to_parquet(folder / "records.parquet")
    clock.read_clock(folder / "clock.csv", folder / "records.parquet", folder / "out.parquet")
    return pd.read_parquet(folder / "out.parquet")


def test_a_clock_is_read_for_people_who_have_an_ecg(tmp_path):
    found = clock_of(tmp_path, "person,age,methylation_age,site\nP2,50,48.5,x\nP9,40,41,x\nP3,,70,x\n")
    assert found["person"].tolist() == ["P2", "P3"]
    assert found["methylation_age"].tolist() == [48.5, 70.0]
    assert found["age"].iloc[0] == 50
    assert np.isnan(found["age"].iloc[1])
    assert np.isnan(clock_of(tmp_path, "person\tmethylation_age\nP1\t60\n")["age"]).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("person,age\nP1,3\n", ["needs the columns person and methylation_age"]),
        (
            "person,methylation_age,age\nP1,old,50\nP1,900,x\n,,4\n",
            ["column methylation_age: 3 are no age in years: line 2 ('old'), line 3 (900), line 4 ('')",
             "column age: 1 are no age in years: line 3 ('x')",
             "has no name in 'line 4'", "was there before in 'line 3'"],
        ),
        ("person,methylation_age\nQ1,60\nQ2,61\n", ["none of the 2 persons", "('Q1', 'Q2') has an ECG", "'P1'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_clock_is_reported_at_once(tmp_path, text, said):
    with pytest.raises(InputError) as caught:
        clock_of(tmp_path, text)
    for one in said:
        assert one in caught.value.text()
    assert not (tmp_path / "out.parquet").exists()


# --- attributions ----------------------------------------------------------------------------------------------------


def test_attributions_are_put_together_around_the_beats():
    stated = np.zeros((12, 4096))
    peaks = np.array([100, 1000, 2000, 4090])  # the first and the last are cut by the record's ends
    for peak in peaks:
        stated[3, peak : peak + 5] = -1.0
    beats = attributions.beats_of(stated, peaks)
    assert len(beats) == 2
    total = sum(attributions.in_steps(beats))
    assert total.shape == (12, 40)
    at = (0 - attributions.AROUND[0]) // attributions.STEP
    assert total[3, at] == pytest.approx(10.0)
    assert total.sum() == pytest.approx(10.0)


@pytest.mark.parametrize("name", ["ResDenseNet", "ResUDenseNet"])
def test_attention_is_shared_out_over_moments(name):
    torch.manual_seed(0)
    network = networks.new_network(name, "adult", SIZES["narrow"]).eval()
    found = reading.attention_of(network, torch.randn(2, 12, 2048))
    assert found.shape[0] == 2
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found >= 0).all()


def test_attention_is_that_of_the_last_layer():
    torch.manual_seed(0)
    network = networks.new_network("ResUDenseNet", "adult", SIZES["narrow"]).eval()
    with torch.no_grad():
        signals = torch.randn(2, 12, 2048)
        given = network.second(network.first(network.blocks(network.enter(network.averaged(signals))))).transpose(1, 2)
        # With random weights moments hardly differ.
        network.attention.heads.in_proj_weight.mul_(3 / (given - given.mean(dim=1, keepdim=True)).std())
        expected = network.attention.heads(given, given, given, need_weights=True, average_attn_weights=False)[1]
    found = reading.attention_of(network, signals)
    assert found.std() > 0.01
    np.testing.assert_allclose(found, expected.mean(dim=(1, 2)), atol=1e-5)


# --- networks --------------------------------------------------------------------------------------------------------


def test_records_come_as_asked_for(tmp_path):
    signals = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 12, 8), dtype=np.float32)
    np.save(tmp_path / "signals.npy", signals)
    data = networks.Records(networks.open_signals(tmp_path / "signals.npy"), np.array([5, 0, 3]), np.array([50, 1, 30]))
    (found,), ages = data.__getitems__([2, 0, 1])
    assert found[:, 0, 0].tolist() == [3, 5, 0]
    assert ages.tolist() == [30, 50, 1]


def test_parts_of_a_group():
    records = pd.DataFrame({"group": ["adult", "adult", "child", "adult", "adult"], "fold": [0, 1, 1, -1, 1]})
    parts = networks.parts_of(records, "adult", 1)
    assert {part: rows.tolist() for part, rows in parts.items()} == {"train": [0], "held": [1, 4]}


def test_ages_in_bfloat16_are_not_rounded_to_half_years():
    torch.manual_seed(0)
    network = networks.new_network("ResUDenseNet", "adult", SIZES["narrow"]).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = network(torch.randn(16, 12, 1024) * torch.linspace(0.5, 4, 16)[:, None, None])
    assert found.dtype == torch.float32
    assert len(set((found * 2).tolist()) - {round(value) for value in (found * 2).tolist()}) > 8


def test_the_rate_falls_in_steps_and_rises_within_the_warm_up():
    learner = Learner(torch.nn.Linear(1, 1), torch.nn.functional.l1_loss, lr=1.0, lr_decay=0.1, lr_step=3)
    [optimiser], [schedule] = learner.configure_optimizers()
    found = []
    for _ in range(7):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    np.testing.assert_allclose(found, [1, 1, 1, 0.1, 0.1, 0.1, 0.01])


# --- what the page says in each state --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of made-up ages of adults, to be rendered with other numbers."""
    folder, tested = tmp_path_factory.mktemp("stated"), table()
    tested[["record", "patient", "sex", "age"]].assign(group="adult").to_parquet(folder / "records.parquet")
    np.save(folder / "leads.npy", np.zeros((1, 1)))
    (folder / "left_out.csv").write_text("record,reason\nR99,damaged\n")
    counted = ("resampled", "filled_with_zeros", "limb_leads_worked_out", "with_leads_ignored", "without_sex")
    counted += ("too_short", "too_many_lost_leads", "between", "group_not_wanted")
    qc = dict.fromkeys(counted, 0) | {"used": 60, "files": 61, "leads": {}, "notes": {}, "warnings": []}
    qc |= {"groups": {"adult": {"records": 60, "bins": {"18 to 40": 20, "40 to 60": 40}}}}
    (folder / "qc.json").write_text(json.dumps(qc))
    (folder / "adult").mkdir()
    given = {"peers": [folder / "adult/Median.parquet"], "networks": [folder / "adult/Net_0.parquet"]}
    columns = tested[["record", "age", "predicted"]].assign(fold=0)
    columns.to_parquet(given["networks"][0])
    columns.assign(predicted=50.0).to_parquet(given["peers"][0])
    log = {"epoch": [1, 2], "train_loss": [9.0, 8.0], "val_loss": [9.0, 8.5]}
    pd.DataFrame(log).to_csv(folder / "adult/Net_0_log.csv", index=False)
    given |= {"logs": [folder / "adult/Net_0_log.csv"], "records": folder / "records.parquet"}
    given |= {"leads": folder / "leads.npy", "left_out": [folder / "left_out.csv"], "qc": folder / "qc.json"}
    names = ("summary", "gaps", "submission", "comparisons", "left_out", "attributions", "joined")
    outputs = {name: folder / "out" / f"{name}.csv" for name in names}
    outputs |= {"html": folder / "out/report.html", "figures": folder / "out/figures"}
    settings = {"networks": {"adult": "Net"}, "coverage": 0.8, "peers": ["GradientBoosting", "Median"], "held_out": 1}
    settings |= {"epochs": 2, "batch_size": 16, "lr": 0.001, "lr_step": 5, "lr_decay": 0.5, "warmup": 0}
    settings |= {
        "max_lost_leads": 3,
        "min_seconds": 5,
        "reading": {"drawn": 0},
        "size": "published",
        "simulated": False,
    }
    with kept_from("cpgtaxa.targets.ecg.page.write_page") as kept:
        page.write(given, outputs, settings=settings, seed=1)
    return Page(**kept)


def group(**changes):
    return lambda groups: [groups[0] | changes]


READING = {"title": "Adults", "beat": "", "n": 1, "leads": "II 20 %", "missed": "0.10"}
READING |= {"records": [{"title": "R1", "drawing": ""}, {"title": "R2", "drawing": ""}]}
JOINED = {"title": "Adults", "n": 12, "r": "+0.30", "range": "–"}
STATES = [
    (
        {
            "groups": group(
                unusual=12, n="60", slope="−0.10", mae="4.0", range="3.0 to 5.0", ratio="30 %", ratio_range="–"
            )
        },
        [
            "error of 4.0 years (95 % interval 3.0 to 5.0), 30 % of the error of always saying the median age.",
            "A tenth of the patients was held out, as published",
            "Adults: 60 patients were tested. So few give",
            "12 of 60 records of adults lie outside the interval; about 80 % are inside",
            "here the gap changes by −0.10 years (adults) with each year of age. Compare",
            "amplitudes (neurokit2) and the sex. The median age is that",
            "1 record could not be used R99: damaged Numbers",
            "every 5 epochs, L1 loss",
            "of the records held out, as the challenge",
        ],
        ["further", "Thin lines", "more, all in", "methylation age"],
    ),
    (
        {
            "groups": group(
                few=True, patients="1", n="1", learnt="1", unusual=0, slope="–", range="–", ratio="–", compared=[]
            ),
            "settings": {"peers": [], "held_out": 10, "lr_step": 1, "warmup": 1, "epochs": 1, "size": "narrow"},
        },
        [
            "Adults: 1 patient was tested.",
            "Adults: 1 record of 1 patient tested",
            "none of 1 record of adults lies outside",
            "learnt. Compare",
            "Each tenth of the patients was held out in turn",
            "narrow variant",
            "1 epoch, batches",
            "every epoch, to which it rises over the first epoch, L1",
            "Thin lines: networks of single tenths.",
        ],
        ["interval –", "always saying", "regress", "Gradient boosting learns", "The median age", "Net against"],
    ),
    (
        {
            "groups": lambda groups: [groups[0] | {"few": False, "ratio": "30 %", "ratio_range": "20 % to 40 %"}] * 2,
            "settings": {"held_out": 3, "warmup": 2, "simulated": True},
            "asked": 1,
            "n_left": 20,
        },
        [
            "the median age (20 % to 40 %).",
            "3 tenths of the patients were held out in turn.",
            "Simulated records of 12 leads",
            "rises over the first 2 epochs, L1",
            "further age predicted",
            "records that could not be used",
            "20 records could not be used",
            "and 19 more, all in left_out.csv",
            "of the records asked about, as the challenge",
            "and of those asked about",
        ],
        ["were tested. So few"],
    ),
    (
        {"reading": [READING | {"beat": "<svg></svg>"}, READING | {"beat": None, "n": 3}], "asked": 2, "n_left": 0},
        ["mean over the beats of 1 record held out. Largest: II 20 %", "Adults, R2", "further ages predicted"],
        ["beats of 3", "records could not be used", "none was asked for"],
    ),
    (
        {"joined": [JOINED, JOINED | {"r": None}], "drawn": {"joined": ""}},
        ["A point is a person with an ECG", "Adults 12 +0.30 –", "Adults 12 – –", "both age gaps by person"],
        ["No person has both"],
    ),
    ({"joined": [JOINED], "drawn": {"joined": ""}}, ["Adults 12 +0.30"], ["Adults 12 –"]),
    ({"joined": []}, ["No person has both an ECG", "both age gaps by person"], ["A point is a person with"]),
    ({"truth": [{"title": "Adults", "floor": "3.0", "r": "+0.5"}]}, ["Adults 3.0 years +0.5"], []),
    (
        {"qc": {"resampled": 3, "notes": {"odd": 2}, "leads": {"V1": {"flat": 1, "missing": 2}}, "warnings": ["Hm."]}},
        ["Resampled to 500 Hz 3", "Noticed: odd 2", "V1 1 2 Such a lead is 0", "What was noticed while reading Hm."],
        [],
    ),
    ({"n_left": 0, "left": [], "qc": {"warnings": ["Hm."]}}, ["Hm."], ["records could not be used"]),
    ({"n_left": 0, "left": []}, [], ["What was noticed", "could not be used R"]),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

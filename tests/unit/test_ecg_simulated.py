"""Simulated ECGs: files that a reader understands, the laws of the leads, rhythm, and drifts as published."""

import numpy as np
import pandas as pd
import pytest
import wfdb
from cpgtaxa.targets.ecg.signals import HERTZ, LEADS
from cpgtaxa.targets.ecg.simulated import (
    ADULT_AGES,
    DRIFTS,
    LENGTH,
    PARAMETERS,
    beat_times,
    draw_visits,
    methylation_ages,
    simulate_records,
    write_records,
)
from scipy import signal

SETTINGS = {"adults": 22, "children": 11}
OUTPUTS = ("records", "sheet", "truth", "methylation")


def written(folder, seed: int) -> dict:
    out = {name: folder / name for name in OUTPUTS}
    write_records(SETTINGS, seed, out)
    return out


def contents(out: dict) -> dict:
    paths = [*out["records"].iterdir(), out["sheet"], out["truth"], out["methylation"]]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict:
    return written(tmp_path_factory.mktemp("ecgs"), 1)


@pytest.fixture(scope="module")
def truth(world) -> pd.DataFrame:
    return pd.read_csv(world["truth"], dtype={"age": str})


def test_same_seed_same_bytes(world, tmp_path):
    assert contents(written(tmp_path / "again", 1)) == contents(world)
    other = contents(written(tmp_path / "other", 2))
    assert other.keys() == contents(world).keys()
    assert all(other[name] != content for name, content in contents(world).items() if name.endswith(".dat"))


def test_wfdb_reads_what_truth_says(world, truth):
    assert list(truth["record"]) == [f"A{at:04d}" for at in range(1, 23)] + [f"C{at:04d}" for at in range(1, 12)]
    assert list(truth.columns) == ["record", "patient", "group", "age", "sex", "heart_age", *PARAMETERS]
    for row in truth.itertuples():
        record = wfdb.rdrecord(str(world["records"] / row.record))
        assert (record.fs, record.sig_name, record.p_signal.shape) == (HERTZ, list(LEADS), (LENGTH, len(LEADS)))
        assert (record.units, record.fmt, record.base_time) == (["mV"] * 12, ["16"] * 12, None)
        assert record.comments == [f"Age: {row.age}", f"Sex: {row.sex}"]
        assert ("." in row.age) == (row.group == "child")
        assert 0.3 < np.abs(record.p_signal).max() < 5


def test_einthoven_and_goldberger_hold_to_a_step(world, truth):
    checked = 0
    for name in truth["record"]:
        drawn = dict(zip(LEADS, wfdb.rdrecord(str(world["records"] / name)).p_signal.T, strict=True))
        if not all(lead.any() for lead in drawn.values()):
            continue
        checked += 1
        one, two = drawn["I"], drawn["II"]
        for lead, law in {
            "III": two - one,
            "aVR": -(one + two) / 2,
            "aVL": one - two / 2,
            "aVF": two - one / 2,
        }.items():
            np.testing.assert_allclose(drawn[lead], law, atol=0.0016, err_msg=f"{name} {lead}")
    assert checked >= len(truth) - 5


def test_patients_with_two_records(world, truth):
    sheet = pd.read_csv(world["sheet"])
    assert list(sheet.columns) == ["FILENAME", "PATIENT"]
    assert sheet["FILENAME"].equals(truth["record"])
    assert sheet["PATIENT"].equals(truth["patient"])
    assert dict(truth.groupby("group")["patient"].nunique()) == {"adult": 20, "child": 10}
    for _, both in truth[truth.duplicated("patient", keep=False)].groupby("patient"):
        assert len(both) == 2
        assert both["sex"].nunique() == 1
        first, second = both["age"].astype(float)
        assert second - first == pytest.approx(0) or second - first == pytest.approx(1)
        if (both["group"] == "adult").all():  # children's hearts stay between 0 and 9 years
            assert np.diff(both["heart_age"])[0] == pytest.approx(second - first, abs=0.001)
        one, two = (wfdb.rdrecord(str(world["records"] / name)).p_signal for name in both["record"])
        assert not np.array_equal(one, two)


def test_visits_come_at_once_or_a_year_later():
    for group, high in (("adult", 90), ("child", 9)):
        people, ages, male = draw_visits(np.random.default_rng(1), 1100, group)
        second = np.flatnonzero(people[1:] == people[:-1]) + 1
        assert len(second) == 100
        assert (male[second] == male[second - 1]).all()
        later = ages[second] - ages[second - 1]
        assert set(later.round(6)) == {0, 1}
        assert 0.3 < later.mean() < 0.6
        assert ages.max() <= high


def test_two_records_of_a_person_are_alike():
    people = np.repeat(np.arange(500), 2)
    parameters, _ = simulate_records(np.random.default_rng(1), np.full(1000, 50), np.full(1000, True), people)
    one, two = parameters[::2], parameters[1::2]
    assert (one["heart_age"].to_numpy() == two["heart_age"].to_numpy()).all()
    for name in PARAMETERS:
        assert np.corrcoef(one[name], two[name])[0, 1] > 0.8, name


def test_methylation_knows_each_adult_once(world, truth):
    clock = pd.read_csv(world["methylation"])
    first = truth[truth["group"] == "adult"].drop_duplicates("patient")
    assert list(clock.columns) == ["person", "age", "methylation_age"]
    assert list(clock["person"]) == list(first["patient"])
    assert list(clock["age"]) == list(first["age"].astype(int))


def test_gaps_of_heart_and_methylation_go_together():
    rng = np.random.default_rng(1)
    ages = rng.integers(*ADULT_AGES, 20_000).astype(float)
    hearts = simulate_records(rng, ages, rng.random(20_000) < 0.5)[0]["heart_age"].to_numpy()
    gaps = methylation_ages(rng, ages, hearts) - ages
    assert np.corrcoef(gaps, hearts - ages)[0, 1] == pytest.approx(0.5, abs=0.02)
    assert np.std(gaps) == pytest.approx(4, abs=0.1)
    assert np.std(hearts - ages) == pytest.approx(4, abs=0.1)


def beats_a_minute(lead: np.ndarray) -> float:
    """From the steep moments (QRS) of a lead in mV."""
    b, a = signal.butter(2, [8, 30], btype="band", fs=HERTZ)
    steep = np.convolve(signal.filtfilt(b, a, lead) ** 2, np.ones(40) / 40, mode="same")
    found, _ = signal.find_peaks(steep, height=0.3 * np.quantile(steep, 0.98), distance=0.28 * HERTZ)
    return 60 / (np.diff(found).mean() / HERTZ)


@pytest.mark.parametrize(("group", "low", "high"), [("adult", 20, 90), ("child", 0.1, 9)])
def test_heart_rate_of_what_is_drawn(group, low, high):
    rng = np.random.default_rng(3)
    parameters, signals = simulate_records(rng, rng.uniform(low, high, 60), rng.random(60) < 0.5, group=group)
    pairs = [
        (beats_a_minute(drawn[1]), rate)
        for drawn, rate in zip(signals, parameters["heart_rate"], strict=True)
        if drawn[1].any()
    ]
    counted, true = np.array(pairs).T
    assert len(pairs) > 50
    # Breathing and chance move the rate of ten seconds a little.
    np.testing.assert_allclose(counted, true, rtol=0.08)
    assert np.abs(counted / true - 1).mean() < 0.02


@pytest.mark.parametrize(("rate", "breath"), [(65, 0.25), (130, 0.4)])
def test_beats_vary_as_much_as_they_should(rate, breath):
    rng = np.random.default_rng(1)
    squares = [np.mean(np.diff(beat_times(rng, rate, 30, breath), 2) ** 2) for _ in range(400)]
    assert 1000 * np.sqrt(np.mean(squares)) == pytest.approx(30, rel=0.05)


SIGNS = {
    "adult": {
        "pr_ms": 1,
        "qt_ms": 1,
        "p_ms": 1,
        "axis_degrees": -1,
        "r_mv": -1,
        "r_v1_mv": -1,
        "s_v1_mv": -1,
        "t_mv": -1,
        "rmssd_ms": -1,
    },
    "child": {
        "heart_rate": -1,
        "pr_ms": 1,
        "qrs_ms": 1,
        "qt_ms": 1,
        "p_ms": 1,
        "axis_degrees": -1,
        "r_mv": 1,
        "r_v1_mv": -1,
        "s_v1_mv": 1,
        "t_mv": 1,
        "t_v1_mv": 1,
        "rmssd_ms": 1,
    },
}


@pytest.mark.parametrize("group", ["adult", "child"])
def test_drifts_have_their_signs(group):
    rng = np.random.default_rng(1)
    ages = rng.uniform(20, 90, 4000) if group == "adult" else rng.uniform(0.1, 9, 4000)
    parameters, _ = simulate_records(rng, ages, rng.random(4000) < 0.5, group=group)
    assert np.isfinite(parameters).all(axis=None)
    for name in PARAMETERS:
        found, sign = np.corrcoef(ages, parameters[name])[0, 1], SIGNS[group].get(name, 0)
        assert found * sign > 0.2 if sign else abs(found) < 0.1, name
    if group == "child":
        ratio = parameters["r_v1_mv"] / parameters["s_v1_mv"]
        assert ratio[ages < 1].median() > 1 > ratio[ages > 4].median()


def test_women_have_faster_hearts_and_longer_qtc():
    male = np.arange(4000) % 2 == 0
    parameters, _ = simulate_records(np.random.default_rng(1), np.full(4000, 50), male)
    corrected = parameters["qt_ms"] * np.sqrt(parameters["heart_rate"] / 60)
    drifts = DRIFTS["adult"]
    for values, name in ((parameters["heart_rate"], "heart_rate"), (corrected, "qtc_ms")):
        assert values[~male].mean() - values[male].mean() == pytest.approx(drifts[name].women, abs=1)


def test_few_leads_are_flat():
    _, signals = simulate_records(np.random.default_rng(1), np.full(600, 50), np.full(600, True))
    flat = np.array([(~drawn.any(axis=1)).sum() for drawn in signals])
    assert flat.max() == 1
    assert 0.008 < flat.mean() < 0.035


def test_shape_follows_the_axis():
    """What I and aVF show of QRS turns left, and T sinks against R in V5: seen in what is drawn, not in parameters."""
    turned, ratios = [], []
    for age in (20, 90):
        _, signals = simulate_records(np.random.default_rng(1), np.full(30, age), np.full(30, True))
        drawn = np.array([one for one in signals if one.any(axis=1).all()])
        smooth = signal.sosfiltfilt(signal.butter(3, [1, 47], btype="band", fs=HERTZ, output="sos"), drawn, axis=2)
        peak = np.abs(smooth).max(axis=2)
        v5 = LEADS.index("V5")
        at = smooth[:, v5, 500:-500].argmax(axis=1) + 500
        here = smooth[np.arange(len(at)), :, at]
        turned.append(np.degrees(np.arctan2(here[:, LEADS.index("aVF")] * 2 / np.sqrt(3), here[:, 0])).mean())
        after = np.array([one[v5, moment + 75 : moment + 250].max() for one, moment in zip(smooth, at, strict=True)])
        ratios.append((after / peak[:, v5]).mean())
    assert turned[0] > turned[1] + 30
    assert ratios[0] > 1.5 * ratios[1]

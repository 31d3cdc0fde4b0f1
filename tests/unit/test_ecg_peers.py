"""Intervals and amplitudes of ECGs, and the peers that tell age from them."""

import logging

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.errors import InputError
from cpgtaxa.targets.ecg import features, peers
from cpgtaxa.targets.ecg.signals import HERTZ, LEADS

GAINS = {
    "I": 0.7, "II": 1.0, "III": 0.3, "aVR": -0.85, "aVL": 0.2, "aVF": 0.65,
    "V1": -0.5, "V2": 0.4, "V3": 0.8, "V4": 1.3, "V5": 1.2, "V6": 0.9,
}  # fmt: skip
WAVES = {"p": (-0.16, 0.020, 0.15), "r": (0.0, 0.012, 1.0), "t": (0.28, 0.040, 0.3)}
"""Seconds from the R peak, standard deviation in seconds, mV in a lead of gain 1, of each wave of the made-up heart."""


def heart(bpm: float = 75.0, samples: int = 4096, noise: float = 0.003) -> np.ndarray:
    """(12, samples) mV: Gaussian waves at a steady rate, as large in each lead as its gain says."""
    time = np.arange(samples) / HERTZ
    beats = np.arange(0.5, time[-1] + 1, 60 / bpm)
    one = sum(
        height * np.exp(-(((time - beat - middle) / width) ** 2) / 2)
        for beat in beats
        for middle, width, height in WAVES.values()
    )
    gains = np.array([GAINS[lead] for lead in LEADS])
    return gains[:, None] * one + np.random.default_rng(0).normal(scale=noise, size=(12, samples))


def all_missing(found: dict[str, float], *but: str) -> bool:
    return all(np.isnan(value) for name, value in found.items() if name not in but)


@pytest.mark.parametrize("bpm", [50.0, 75.0, 90.0])
def test_a_made_up_hearts_features_are_found(bpm):
    found = features.features_of(heart(bpm))
    assert tuple(found) == features.FEATURES
    assert found["heart_rate_bpm"] == pytest.approx(bpm, rel=0.01)
    assert found["beats"] == pytest.approx(8.2 * bpm / 60, abs=1.5)
    assert max(found["rr_sd_ms"], found["rmssd_ms"]) < 5
    # A Gaussian wave is over at 2.5 to 3 standard deviations from its middle.
    assert found["qrs_ms"] == pytest.approx(72, abs=12)
    assert found["pr_ms"] == pytest.approx(160 + 2.5 * 20 - 36, abs=20)
    assert found["p_ms"] == pytest.approx(2 * 2.5 * 20, abs=25)
    assert found["qt_ms"] == pytest.approx(280 + 2.5 * 40 + 36, abs=35)
    assert found["qtc_ms"] == pytest.approx(found["qt_ms"] / (60 / found["heart_rate_bpm"]) ** (1 / 3))
    assert found["axis_degrees"] == pytest.approx(np.degrees(np.arctan2(2 / np.sqrt(3) * 0.65, 0.7)), abs=2)
    for lead, gain in GAINS.items():
        assert found[f"r_{lead}_mv"] == pytest.approx(max(gain, 0), abs=0.03)
        assert found[f"s_{lead}_mv"] == pytest.approx(min(gain, 0), abs=0.03)
        assert found[f"t_{lead}_mv"] == pytest.approx(0.3 * gain, abs=0.03)
        assert found[f"p_{lead}_mv"] == pytest.approx(0.15 * gain, abs=0.03)


def test_a_longer_pr_qrs_or_qt_is_measured(monkeypatch):
    usual = features.features_of(heart(60))
    for wave, changed, name, more in (
        ("p", (-0.20, 0.020, 0.15), "pr_ms", 40),
        ("r", (0.0, 0.020, 1.0), "qrs_ms", 48),
        ("t", (0.34, 0.040, 0.3), "qt_ms", 60),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(WAVES, wave, changed)
            assert features.features_of(heart(60))[name] - usual[name] == pytest.approx(more, abs=10)


def test_irregular_beats_are_found_by_their_steps():
    r_peaks = np.cumsum([100, 400, 500, 400, 500, 400])  # RR 800 and 1,000 ms by turns
    found = features._rates(r_peaks)
    assert found["heart_rate_bpm"] == 75
    assert found["rmssd_ms"] == 200
    assert found["rr_sd_ms"] == pytest.approx(np.std([800, 1000, 800, 1000, 800], ddof=1))


def test_what_cannot_be_measured_is_nan_and_no_error():
    flat, missing = np.zeros((12, 4096)), np.full((12, 4096), np.nan)
    for record in (flat, missing, heart(samples=500), np.full((12, 4096), 1.5)):
        found = features.measured(record)
        assert all_missing(found.features, "beats")
        assert found.features["beats"] == 0
        assert not len(found.r_peaks)
    noise = np.random.default_rng(0).normal(scale=0.3, size=(12, 4096))
    assert not np.isinf(list(features.features_of(noise).values())).any()


@pytest.mark.parametrize("lost", [np.nan, 0.0])
def test_another_lead_takes_the_place_of_a_lacking_lead_two(lost):
    record = heart()
    record[LEADS.index("II")] = lost
    found, whole = features.features_of(record), features.features_of(heart())
    assert all_missing({name: value for name, value in found.items() if "_II_" in name})
    for name in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "r_V5_mv"):
        assert found[name] == pytest.approx(whole[name], rel=0.1)


def test_a_short_records_end_and_a_gap_are_left_out():
    record, whole = heart(), features.measured(heart())
    record[:, 3000:] = np.nan
    record[:, :200] = np.nan
    record[1, 1400:1410] = np.nan
    found = features.measured(record)
    inside = whole.r_peaks[(whole.r_peaks > 250) & (whole.r_peaks < 2950)]
    assert np.abs(np.array([np.abs(found.r_peaks - peak).min() for peak in inside])).max() <= 2
    assert found.r_peaks.min() >= 200
    assert found.r_peaks.max() < 3000
    assert found.features["r_V4_mv"] == pytest.approx(whole.features["r_V4_mv"], abs=0.02)


def test_what_neurokit_raises_stops_no_other_record_and_is_counted(monkeypatch, tmp_path, caplog):
    write_input(tmp_path, 4)
    clean, calls = features.nk.ecg_clean, []

    def fail_once(*arguments, **named):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("integer division")
        return clean(*arguments, **named)

    monkeypatch.setattr(features.nk, "ecg_clean", fail_once)
    with caplog.at_level(logging.INFO):
        features.measure(tmp_path / "leads.npy", tmp_path / "records.parquet", tmp_path / "out", shard=0, shards=1)
    assert "failed on 1 records, r0 the first: ZeroDivisionError" in caplog.text
    assert (pd.read_parquet(tmp_path / "out")["beats"].drop(2) > 5).all()  # record 2 is missing altogether


def write_input(folder, n: int) -> None:
    """n made-up records, of which every third is missing altogether."""
    leads = np.full((n, 12, 4096), features.MISSING, np.int16)
    for row in range(n):
        if row % 3 != 2:
            leads[row] = np.round(1000 * heart(60 + 5 * row))
    np.save(folder / "leads.npy", leads)
    pd.DataFrame({"record": [f"r{row}" for row in range(n)]}).to_parquet(folder / "records.parquet")


def test_the_shards_together_hold_every_record_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(features, "ABOUT", 2)
    write_input(tmp_path, 7)
    with caplog.at_level(logging.INFO):
        for shard in range(3):
            features.measure(
                tmp_path / "leads.npy", tmp_path / "records.parquet", tmp_path / f"{shard}", shard=shard, shards=3
            )
    assert "3 records measured, 0 of them without a beat" in caplog.text
    tables = [pd.read_parquet(tmp_path / f"{shard}") for shard in range(3)]
    assert list(tables[0]["record"]) == ["r0", "r3", "r6"]
    whole = pd.concat(tables)
    assert sorted(whole["record"]) == [f"r{row}" for row in range(7)]
    assert list(whole.columns) == ["record", *features.FEATURES, "r_peaks"]
    assert (whole.dtypes[list(features.FEATURES)] == np.float64).all()
    rates = whole.set_index("record")["heart_rate_bpm"]
    assert rates["r4"] == pytest.approx(80, rel=0.01)
    assert np.isnan(rates["r2"])
    # µV were read as such.
    heights = whole.set_index("record")["r_V4_mv"]
    assert heights["r0"] == pytest.approx(features.features_of(heart(60)[:, :4096])["r_V4_mv"], abs=0.01)
    assert all(len(peaks) == beats for peaks, beats in zip(whole["r_peaks"], whole["beats"], strict=True))
    # Also a shard whose records are all missing has the type of the others.
    assert [table["r_peaks"].iloc[0].dtype for table in tables] == [np.int32] * 3


# --- the peers -------------------------------------------------------------------------------------------------------


def study(folder, change=None, n: int = 90) -> dict:
    """Records of 3 folds, two of a patient, that look as old as they are; asked ones and children besides."""
    rng = np.random.default_rng(1)
    ages = rng.uniform(20, 80, n).round()
    records = pd.DataFrame(
        {
            "record": [f"r{row}" for row in range(n)],
            "patient": [f"p{row // 2}" for row in range(n)],
            "age": ages,
            "sex": np.array(["F", "M", ""])[rng.integers(3, size=n)],
            "group": "adult",
            "fold": np.arange(n) // 2 % 3,
        }
    )
    records.loc[n - 6 :, ["fold", "age"]] = [-1, np.nan]
    records.loc[:7, ["group", "age"]] = ["child", 4.0]
    table = pd.DataFrame({"record": records["record"], "pr_ms": 120 + ages + rng.normal(scale=5, size=n)})
    table = table.assign(qrs_ms=np.nan, beats=10.0, noise=rng.normal(size=n), r_peaks=[[1, 2]] * n)
    table.loc[::7, "pr_ms"] = np.nan
    if change:
        change(records)
    folder.mkdir(exist_ok=True)
    records.to_parquet(folder / "records")
    order = rng.permutation(n)
    for shard in range(2):
        table.iloc[order[shard::2]].to_parquet(folder / f"{shard}")
    return {"records": folder / "records", "features": [folder / "1", folder / "0"]}


def fit(paths, peer, group="adult", seed=1) -> pd.DataFrame:
    out = paths["records"].parent / "out"
    peers.fit_peer(paths, out, group=group, peer=peer, folds=3, seed=seed)
    return pd.read_parquet(out)


def test_the_median_is_that_of_the_training_records(tmp_path):
    paths = study(tmp_path)
    records, found = pd.read_parquet(paths["records"]), fit(paths, "Median")
    adults = records[records["group"] == "adult"]
    for fold in range(3):
        rows = found[found["fold"] == fold]
        expected = adults["age"][(adults["fold"] >= 0) & (adults["fold"] != fold)].median()
        assert (rows["predicted"] == expected).all()
        assert set(rows["record"]) == set(adults["record"][adults["fold"].isin([fold, -1])])
    assert found.dtypes.astype(str).to_dict() | {"record": ""} == {
        "record": "", "fold": "int8", "age": "float64", "predicted": "float64",
    }  # fmt: skip
    assert found["age"].isna().sum() == 3 * 6
    assert (fit(paths, "Median", "child")["predicted"] == 4).all()


def test_gradient_boosting_learns_is_seeded_and_sees_no_held_out_age(tmp_path):
    paths = study(tmp_path / "one")
    found = fit(paths, "GradientBoosting")
    held = found.dropna()
    assert (held["predicted"] - held["age"]).abs().mean() < 0.7 * (held["age"] - held["age"].median()).abs().mean()
    pd.testing.assert_frame_equal(found, fit(paths, "GradientBoosting"))

    def age_the_held_out(records):
        records.loc[(records["fold"] == 1) & (records["group"] == "adult"), "age"] = 21.0
        records.loc[records["fold"] == -1, "age"] = 77.0

    other = fit(study(tmp_path / "two", age_the_held_out), "GradientBoosting")
    for peers_fold, same in ((1, True), (0, False)):
        one, two = (table["predicted"][table["fold"] == peers_fold].to_numpy() for table in (found, other))
        assert np.array_equal(one, two) is same


def test_predictions_stay_in_the_published_ages(tmp_path, monkeypatch):
    monkeypatch.setitem(peers.FITS, "Wild", lambda *given: lambda x: np.linspace(-50, 500, len(x)))
    for group, (low, high) in peers.AGES.items():
        found = fit(study(tmp_path), "Wild", group)["predicted"]
        assert (found.min(), found.max()) == (low, high)


def test_patients_stay_together_where_the_settings_are_chosen(monkeypatch):
    rng = np.random.default_rng(0)
    patients = np.repeat([f"p{row}" for row in range(30)], 2)
    x = np.arange(60.0)[:, None]  # the row, so that what a fit is given shows
    seen = []

    class Noted(peers._Boosting):
        def fit(self, x, ages):
            self.learned = x[:, 0].astype(int)
            return super().fit(x, ages)

        def staged_predict(self, x):
            seen.append((self.learned, x[:, 0].astype(int)))
            return super().staged_predict(x)

    monkeypatch.setattr(peers, "_Boosting", Noted)
    monkeypatch.setattr(peers, "ROUNDS", ((2, 3), (2, 3)))
    peers._choose(x, rng.uniform(20, 80, 60), patients, 1)
    assert seen
    for learned, asked in seen:
        assert not set(patients[learned]) & set(patients[asked])
        assert len(learned) + len(asked) == 60
    # Where the records are too many to choose by, whole patients are drawn.
    seen.clear()
    monkeypatch.setattr(peers, "CHOOSE_BY", 21)
    peers._gradient_boosting(x, rng.uniform(20, 80, 60), patients, 1)
    drawn = np.sort(np.concatenate([*seen[0]]))
    assert len(drawn) == 22
    assert np.array_equal(drawn[1::2], drawn[::2] + 1)


def test_constant_features_give_the_median():
    ages = np.array([30.0, 40.0, 80.0] * 10)
    x = np.column_stack([np.full(30, np.nan), np.ones(30)])
    predict = peers._gradient_boosting(x, ages, np.arange(30).astype(str), 1)
    assert (predict(x[:4]) == 40).all()


def test_records_without_features_are_named(tmp_path):
    paths = study(tmp_path)
    with pytest.raises(InputError, match="lack records"):
        fit(paths | {"features": paths["features"][:1]}, "Median")
    with pytest.raises(InputError, match="twice"):
        fit(paths | {"features": paths["features"] * 2}, "Median")

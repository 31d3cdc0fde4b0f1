"""From folders of ECG records to what models read: formats, sheets, tenths, bad records, and the config's questions."""

import csv
import functools
import json
import logging
import os
import pathlib
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import wfdb
from conftest import ROOT, SHARED
from cpgtaxa.errors import InputError
from cpgtaxa.plan.config import check_config
from cpgtaxa.targets.ecg import complete, inputs, records, study
from cpgtaxa.targets.ecg.inputs import MISSING, group_of, prepare
from cpgtaxa.targets.ecg.plan import ASKED, KNOWN, LEADS, EcgPlan
from cpgtaxa.targets.ecg.records import known_leads, lead_of, read_record, years
from cpgtaxa.targets.ecg.signals import SAMPLES, preprocess
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

OUTPUTS = {
    "signals": "signals.npy",
    "leads": "leads.npy",
    "records": "records.parquet",
    "left_out": "left_out.csv",
    "qc": "qc.json",
}
RECORDS = SHARED / "ecg" / "records"
NPY = {"rate": 500, "leads": list(LEADS), "unit": "mV"}
CROWD = 20
"""Good records beside those of a test: the fewest from which a model is learnt."""


@functools.cache
def defaults() -> dict:
    return check_config({"ecg_age": {}}, ROOT / "workflow/schemas/config.schema.yaml")


def plan(**changes) -> EcgPlan:
    return EcgPlan(defaults() | {"ecg_age": defaults()["ecg_age"] | changes})


def settings_of(folder, **changes) -> dict:
    """What the input step is given, by the rules of the plan; adults alone by default."""
    changes = {"networks": {"adult": "ResDenseNet", "child": None}} | changes
    found = plan(records=str(folder), **changes)
    known, asked = found.input_settings(KNOWN), found.input_settings(ASKED)
    # Both parts at once: what holds of one record holds in either.
    return known | {"folders": known["folders"] + asked["folders"], "states": known["states"] | asked["states"]}


class Prepared:
    def __init__(self, folder):
        paths = {what: folder / name for what, name in OUTPUTS.items()}
        self.names = sorted(path.name for path in folder.iterdir())
        self.signals, self.leads = np.load(paths["signals"]), np.load(paths["leads"])
        self.frame = pd.read_parquet(paths["records"])
        self.qc = json.loads(paths["qc"].read_text())
        with open(paths["left_out"], encoding="utf-8", newline="") as handle:
            self.left_out = list(csv.DictReader(handle))

    def beside_crowd(self) -> list[str]:
        return sorted(name for name in self.frame["record"] if not re.fullmatch(r"G\d\d", name))

    def at(self, name: str) -> int:
        return self.frame.index[self.frame["record"] == name].item()

    def row(self, name: str) -> pd.Series:
        return self.frame.loc[self.at(name)]


def prepared(tmp_path, folder, sheet=None, seed: int = 1, out: str = "out", **changes) -> Prepared:
    given = {"sheet": sheet} if sheet else {}
    paths = {what: tmp_path / out / name for what, name in OUTPUTS.items()}
    prepare(given, paths, settings=settings_of(folder, sheet=sheet and str(sheet), **changes), seed=seed)
    return Prepared(tmp_path / out)


def refused(tmp_path, folder, sheet=None, **changes) -> str:
    """The message of a call that ends in an InputError, and leaves nothing behind."""
    with pytest.raises(InputError) as caught:
        prepared(tmp_path, folder, sheet, **changes)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
    return caught.value.text()


def ecg(seed: int, seconds: float = 6.0, rate: float = 500) -> np.ndarray:
    """(12, time) mV: waves slower than 30 Hz, the same at any rate, whose limb leads agree."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    hertz, phase = rng.uniform(1.5, 30, (8, 6, 1)), rng.uniform(0, 6.3, (8, 6, 1))
    eight = 0.2 * np.sin(2 * np.pi * hertz * time + phase).sum(axis=1)
    one, two = eight[:2]
    return np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, *eight[2:]])


def write(folder, name: str, values, *, age="50", sex="Female", names=LEADS, unit="mV", gain=1000, rate=500):
    """A WFDB record of format 16; gain: steps a unit. Its header is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    n = len(values)
    comments = [f"{what}: {stated}" for what, stated in (("Age", age), ("Sex", sex)) if stated is not None]
    wfdb.wrsamp(
        name,
        rate,
        [unit] * n,
        list(names),
        p_signal=np.asarray(values, dtype=float).T,
        fmt=["16"] * n,
        adc_gain=[gain] * n,
        baseline=[0] * n,
        comments=comments,
        write_dir=str(folder),
    )
    return folder / f"{name}.hea"


def write_mat(folder, name: str, values, ending: str = "") -> pathlib.Path:
    """As public sets have them: 24 bytes before the samples of `name`.mat; ending: of the record's name within."""
    header = write(folder, name, values)
    samples = (folder / f"{name}.dat").read_bytes()
    (folder / f"{name}.dat").unlink()
    (folder / f"{name}.mat").write_bytes(bytes(range(24)) + samples)
    whole = np.frombuffer(samples, dtype="<i2").reshape(-1, len(values))
    lines = [f"{name}{ending} {len(values)} 500 {len(whole)} 05-May-2020 14:50:55"]
    for lead, column in zip(LEADS, whole.T, strict=True):
        total = int(column.sum(dtype=np.int64) + 32768) % 65536 - 32768  # signed, as the challenge's are
        lines.append(f"{name}.mat 16+24 1000/mV 16 0 {column[0]} {total} 0 {lead}")
    header.write_text("\n".join([*lines, "#Age: 63", "#Sex: Male", "#Dx: 59118001", "#Rx: Unknown", ""]))
    return header


def edit(header: pathlib.Path, old: str, new: str, times: int = -1) -> None:
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new, times))


def problem(path, npy=NPY) -> str:
    with pytest.raises(InputError) as caught:
        read_record(path, npy)
    return caught.value.problems[0]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> pathlib.Path:
    """CROWD good records of adults, G00, G01, … of 30, 31, … years."""
    folder = tmp_path_factory.mktemp("crowd")
    for number in range(CROWD):
        write(folder, f"G{number:02}", ecg(number), age=str(30 + number))
    return folder


def beside(crowd, folder) -> pathlib.Path:
    """A folder that has the crowd in a folder inside."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "crowd").symlink_to(crowd)
    return folder


@pytest.fixture
def folder(crowd, tmp_path) -> pathlib.Path:
    """A test's own records beside the crowd."""
    return beside(crowd, tmp_path / "records")


# --- WFDB records ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".mat"])
def test_mat_files_are_read_behind_their_start(tmp_path, ending):
    values = ecg(7)
    found = read_record(write_mat(tmp_path, "E1", values, ending), NPY)
    assert np.abs(found.values - values).max() <= 0.5e-3 + 1e-9
    assert (found.names, found.age, found.sex) == (list(LEADS), "63", "M")
    assert found.notes == (("its header calls it E1.mat",) if ending else ())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["E1.hea", "E1.mat"]


@pytest.mark.parametrize(("unit", "gain"), [("uV", 1), ("V", 1_000_000), ("µV", 1), ("MV", 1000)])
def test_units_are_turned_to_millivolts(tmp_path, unit, gain):
    values = ecg(7)
    scale = {"u": 1e3, "µ": 1e3, "V": 1e-3, "M": 1}[unit[0]]
    header = write(tmp_path, "A1", values * scale, unit="uV" if unit == "µV" else unit, gain=gain)
    edit(header, "/uV", f"/{unit}") if unit == "µV" else None
    assert np.abs(read_record(header, NPY).values - values).max() <= 0.5e-3 + 1e-9


@pytest.mark.parametrize(
    ("comments", "age", "sex"),
    [
        (["Age: 63", "Sex: F"], "63", "F"),
        (["age:63, sex: female"], "63", "F"),
        (["Age = 7.5", "Gender: man"], "7.5", "M"),
        (["Dx: 1", "Sex: Unknown"], None, ""),
        (["<age>: 35  <sex>: M  <diagnoses>: (none)"], "35", "M"),
        (["Age: 63,5 years; Sex: F"], "63,5 years", "F"),
        (["Age:63;Sex:F"], "63", "F"),
        (["Age: 63 # Sex: F"], "63", "F"),
        (["Sex: F Age at recording: 063Y"], "063Y", "F"),
        (["Age (months): 8", "Gender:M,Dx1:2"], "8 months", "M"),
        (["69 M 1085 1629 x1", "Aldomet, Inderal"], "69", "M"),
        (["Age: >89", "Sex: F"], ">89", "F"),
        (["<age>: >89  <sex>: M"], ">89", "M"),
        (["Stage: 3, dosage: 5, age at diagnosis: 40"], None, ""),
    ],
)
def test_ways_to_write_age_and_sex(tmp_path, comments, age, sex):
    header = write(tmp_path, "A1", ecg(7), age=None, sex=None)
    header.write_text(header.read_text() + "".join(f"# {line}\n" for line in comments))
    found = read_record(header, NPY)
    assert (found.age, found.sex) == (age, sex)


def test_several_segments_and_several_samples_a_frame(tmp_path):
    values = ecg(7)
    write(tmp_path, "A1", values)
    (tmp_path / "two.hea").write_text("two/2 12 500 6000\nA1 3000\nA1 3000\n# Age: 40\n")
    found = read_record(tmp_path / "two.hea", NPY)
    np.testing.assert_allclose(found.values, np.tile(values, 2), atol=0.5e-3 + 1e-9)
    assert found.age == "40"
    # A frame of two samples of each lead: wfdb gives their mean.
    header = tmp_path / "A1.hea"
    edit(header, "A1 12 500 3000", "A1 12 250 1500")
    edit(header, ".dat 16 ", ".dat 16x2 ")
    frames = np.fromfile(tmp_path / "A1.dat", dtype="<i2").reshape(1500, 12, 2)
    found = read_record(header, NPY)
    assert (found.values.shape, found.rate) == ((12, 1500), 250.0)
    assert np.abs(found.values - frames.mean(axis=2).T / 1000).max() <= 1e-3


def test_a_header_never_has_other_files_overwritten(tmp_path):
    header = write(tmp_path, "A1", ecg(7))
    (tmp_path / "A1.dat").rename(tmp_path / "record.hea")  # as the header is called that wfdb is given instead
    before = (tmp_path / "record.hea").read_bytes()
    edit(header, "A1.dat", "record.hea")
    edit(header, "A1 12", "A1.mat 12")
    assert "copy the record again" in problem(header)
    assert (tmp_path / "record.hea").read_bytes() == before


@pytest.mark.filterwarnings("ignore:invalid escape")  # numpy reads its header as a literal of Python
def test_spoilt_headers_are_the_users_problem_never_a_crash(tmp_path):
    """Whatever byte is wrong, it is read or an InputError."""
    rng = np.random.default_rng(0)
    header, array = write(tmp_path, "A1", ecg(7)[:, :300]), tmp_path / "N1.npy"
    np.save(array, ecg(7)[:, :300].astype(np.float32))
    outcomes = {}
    for path, length, times in ((header, 400, 100), (array, 118, 500)):
        good = path.read_bytes()
        for _ in range(times):
            spoilt = bytearray(good)
            for at in rng.integers(0, length, size=rng.integers(1, 4)):
                spoilt[at] = rng.choice([rng.integers(256), ord(rng.choice(list("0123456789-+./(){}' \n")))])
            if rng.random() < 0.2:
                del spoilt[rng.integers(1, length) :]
            path.write_bytes(spoilt)
            try:
                read_record(path, NPY)
                outcome = "read"
            except InputError:
                outcome = "refused"
            outcomes[path.suffix, outcome] = outcomes.get((path.suffix, outcome), 0) + 1
    assert len(outcomes) == 4  # else the test does not spoil what it should


# --- one record, written in many ways --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def variants(crowd, tmp_path_factory) -> Prepared:
    tmp_path = tmp_path_factory.mktemp("variants")
    folder = beside(crowd, tmp_path / "records")
    values = ecg(100, 10)
    write(folder, "plain", values)
    order = np.random.default_rng(0).permutation(12)
    write(folder, "shuffled", values[order], names=[LEADS[at].lower() for at in order])
    write(folder, "longer_names", values, names=[f"Lead {name}" for name in LEADS])
    write_mat(folder, "mat", values, ".mat")
    for rate in (250, 1000):
        write(folder, f"hertz{rate}", ecg(100, 10, rate), rate=rate)
    write(folder, "long", ecg(100, 20))
    write(folder, "short", ecg(100, 6))
    kept = [0, 1, 6, 7, 8, 9, 10, 11]
    write(folder, "limbs", values[kept], names=[LEADS[at] for at in kept])
    write(folder, "with_more", np.r_[values, values[:2]], names=[*LEADS, "vx", "vy"])
    flat = values.copy()
    flat[7] = 0.4
    write(folder, "flat", flat)
    write(folder, "flat250", np.where(np.arange(12)[:, None] == 7, 0.4, ecg(101, 10, 250)), rate=250)
    write(folder, "lacks", values[:11], names=LEADS[:11])
    gaps = values.copy()
    gaps[2, 1000:1100] = np.nan
    gaps[9] = np.nan
    write(folder, "gaps", gaps)
    write(folder, "gaps250", np.where(np.arange(2500) // 50 == 10, np.nan, ecg(102, 10, 250)), rate=250)
    return prepared(tmp_path, folder)


def test_all_ways_are_used_in_the_order_of_names(variants):
    assert variants.left_out == []
    assert list(variants.frame.columns) == inputs.COLUMNS
    assert variants.frame["record"].tolist()[:CROWD] == [f"G{number:02}" for number in range(CROWD)]
    assert variants.frame["record"].tolist()[CROWD:] == sorted(variants.frame["record"][CROWD:])
    assert variants.qc["files"] == variants.qc["used"] == len(variants.frame) == CROWD + 15
    assert (variants.frame["group"] == "adult").all()
    assert variants.row("plain")[["age", "sex", "rate", "seconds"]].tolist() == [50, "F", 500, 10]
    assert variants.row("mat")[["age", "sex"]].tolist() == [63, "M"]
    assert variants.qc["notes"] == {"its header names the record by its signal file": 1}


def test_arrays_are_what_numpy_reads_and_nothing_else_is_left(variants):
    assert variants.names == sorted(OUTPUTS.values())
    n = len(variants.frame)
    assert (variants.signals.shape, variants.signals.dtype) == ((n, 12, SAMPLES), np.float32)
    assert (variants.leads.shape, variants.leads.dtype) == ((n, 12, SAMPLES), np.int16)


def test_rows_are_the_preprocessed_record_and_its_microvolts(variants):
    rounded = np.rint(ecg(100, 10) * 1000)
    at = variants.at("plain")
    np.testing.assert_array_equal(variants.leads[at], rounded[:, :SAMPLES])
    np.testing.assert_array_equal(variants.signals[at], preprocess(rounded / 1000))
    rounded = np.rint(ecg(3) * 1000)  # of another row, shorter
    np.testing.assert_array_equal(variants.signals[variants.at("G03")], preprocess(rounded / 1000))


@pytest.mark.parametrize("name", ["shuffled", "longer_names", "mat", "long", "with_more"])
def test_same_values_whatever_the_order_names_file_and_length(variants, name):
    at, plain = variants.at(name), variants.at("plain")
    np.testing.assert_array_equal(variants.leads[at], variants.leads[plain])
    np.testing.assert_array_equal(variants.signals[at], variants.signals[plain])
    assert variants.row(name)[["flat", "missing"]].tolist() == ["", ""]
    assert variants.row("long")["seconds"] == 20
    assert variants.qc["with_leads_ignored"] == 1


@pytest.mark.parametrize(("rate", "most"), [(250, 0.03), (1000, 0.03)])
def test_other_rates_give_nearly_the_same_signal(variants, rate, most):
    found, plain = (variants.signals[variants.at(name)] for name in (f"hertz{rate}", "plain"))
    assert np.abs(found - plain)[:, 250:].max() < most
    assert variants.row(f"hertz{rate}")[["rate", "seconds"]].tolist() == [rate, 10]
    assert variants.qc["resampled"] == 4


def test_a_short_record_is_followed_by_zeros_and_missing_microvolts(variants):
    at = variants.at("short")
    assert not variants.signals[at][:, 3000:].any()
    assert (variants.leads[at][:, 3000:] == MISSING).all()
    np.testing.assert_array_equal(variants.leads[at][:, :3000], variants.leads[variants.at("plain")][:, :3000])
    assert variants.qc["filled_with_zeros"] == CROWD + 1


def test_missing_limb_leads_are_worked_out(variants):
    found, plain = (variants.leads[variants.at(name)].astype(int) for name in ("limbs", "plain"))
    assert np.abs(found - plain).max() <= 2  # each of I and II is off by half a microvolt
    assert variants.row("limbs")["missing"] == ""
    assert variants.qc["limb_leads_worked_out"] == 1


def test_flat_and_lacking_leads_are_zero_and_counted(variants):
    for name, what, lead in (
        ("flat", "flat", 7),
        ("flat250", "flat", 7),
        ("lacks", "missing", 11),
        ("gaps", "flat", 9),
    ):
        assert variants.row(name)[what] == LEADS[lead], name
        assert not variants.signals[variants.at(name)][lead].any(), name
        assert np.delete(variants.signals[variants.at(name)], lead, axis=0).std(axis=1).min() > 0.1, name
    assert variants.qc["leads"] == {
        "V2": {"flat": 2, "missing": 0},
        "V4": {"flat": 1, "missing": 0},
        "V6": {"flat": 0, "missing": 1},
    }
    assert (variants.leads[variants.at("flat")][7] == 400).all()
    assert (variants.leads[variants.at("lacks")][11] == MISSING).all()


def test_missing_values_stay_missing_and_spoil_nothing_else(variants):
    found, plain = (variants.leads[variants.at(name)] for name in ("gaps", "plain"))
    expected = plain.copy()
    expected[2, 1000:1100] = expected[9] = MISSING
    np.testing.assert_array_equal(found, expected)
    assert np.isfinite(variants.signals).all()
    # 0.2 s from 2 s on, at twice the rate.
    found = variants.leads[variants.at("gaps250")] == MISSING
    assert found[:, 1002:1098].all()
    assert not found[:, :998].any()
    assert not found[:, 1102:].any()


def test_leads_that_are_called_otherwise(folder, tmp_path):
    names = ["I", "MLII", *LEADS[2:]]
    write(folder, "A1", ecg(50), names=names)
    write(folder, "A2", ecg(51), names=[*names[:11], "II"])
    found = prepared(tmp_path, folder, lead_names={"mlii": "II"})
    assert found.row("A1")["missing"] == ""
    np.testing.assert_array_equal(found.leads[found.at("A1")][1, :3000], np.rint(ecg(50)[1] * 1000))
    (row,) = found.left_out
    assert row["record"] == "A2"
    assert "several of its leads are 'II'" in row["reason"]
    assert "`ecg_age.lead_names`" in row["reason"]


@pytest.mark.parametrize(
    "names",
    [
        "DI DII DIII AVR AVL AVF V1 V2 V3 V4 V5 V6",
        "D1 D2 D3 avr avl avf C1 C2 C3 C4 C5 C6",
        "lead_I lead_II lead_III lead_aVR lead_aVL lead_aVF lead_V1 lead_V2 lead_V3 lead_V4 lead_V5 lead_V6",
        " ".join(f"MDC_ECG_LEAD_{name.upper()}" for name in LEADS),
        " ".join(f"ECG-{name}" for name in LEADS),
    ],
)
def test_common_names_of_leads(names):
    assert known_leads(names.split(), {}) == (list(LEADS), [])


def test_names_that_mean_no_lead_for_sure():
    for name in ("1", "ECG1", "-aVR", "MLII", "V7", "VR", "vx", "resp", "lead 4", "DV1"):
        assert lead_of(name) is None, name
    assert [lead_of(name) for name in ("Lead 2", "aVR (mV)", "V-1", "l2")] == ["II", "aVR", "V1", "II"]


def test_a_lead_that_is_not_found_is_never_zeros_in_silence(folder, tmp_path):
    write(folder, "A1", ecg(50)[[*range(11), 0]], names=[*LEADS[:11], "pleth"])
    found = prepared(tmp_path, folder)
    (row,) = found.left_out
    assert re.search("its leads 'V6' lack, and 'pleth' are none of the twelve", row["reason"])
    found = prepared(tmp_path, folder, out="again", lead_names={"pleth": None})  # as the message advises
    assert found.row("A1")["missing"] == "V6"
    assert "Leads lack, and are 0 throughout: V6 in 1 of 21 records" in found.qc["warnings"]


def test_leads_in_another_order_than_stated_are_noticed(crowd, tmp_path):
    folder = npy_folder(tmp_path / "records", CROWD)
    sheet = sheet_of(tmp_path / "sheet.csv", [(path.stem, "F", 50) for path in sorted(folder.glob("*.npy"))])
    assert not [text for text in prepared(tmp_path, folder, sheet).qc["warnings"] if "limb leads" in text]
    leads = ["II", "I", *LEADS[2:]]
    found = prepared(tmp_path, folder, sheet, out="again", npy=NPY | {"leads": leads})
    (text,) = [text for text in found.qc["warnings"] if "limb leads" in text]
    assert f"In {CROWD} of {CROWD} records" in text


@pytest.mark.parametrize("date", ["2014-05-08 05:05:15", "05:05:15 2014-05-08", "08.05.2014", "2014-05-08T05:05:15"])
def test_dates_in_any_order_do_no_harm(tmp_path, date):
    header = write(tmp_path, "A1", ecg(7))
    edit(header, "A1 12 500 3000", f"A1 12 500 3000 {date}")
    assert np.abs(read_record(header, NPY).values - ecg(7)).max() <= 0.5e-3 + 1e-9


def test_too_many_lost_leads_and_too_short_are_by_the_config(folder, tmp_path):
    values = ecg(50)
    values[5:] = 0.1  # seven are flat
    write(folder, "seven_flat", values)
    write(folder, "seven_flat_and_more", np.r_[values + 0.01, values[:1]], names=[*LEADS, "vx"])
    write(folder, "five_lack", ecg(51)[[0, 1, *range(6, 7)]], names=["I", "II", "V1"])
    write(folder, "brief", ecg(52, 4.99))
    write(folder, "none", ecg(53)[:, :10])
    found = prepared(tmp_path, folder)
    assert (found.qc["too_short"], found.qc["too_many_lost_leads"], found.qc["left_out"]) == (2, 2, 0)
    assert found.beside_crowd() == ["five_lack"]
    assert found.row("five_lack")["missing"] == "V2,V3,V4,V5,V6"
    found = prepared(tmp_path, folder, max_lost_leads=7, min_seconds=0.05)
    assert found.beside_crowd() == ["brief", "five_lack", "seven_flat", "seven_flat_and_more"]
    assert found.qc["too_short"] == 1


# --- .npy files and sheets -------------------------------------------------------------------------------------------


def sheet_of(path, rows, columns=("FILENAME", "GENDER", "AGE")) -> pathlib.Path:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([columns, *rows])
    return path


def npy_folder(folder, n: int = CROWD, **how) -> pathlib.Path:
    folder.mkdir(parents=True)
    for number in range(n):
        np.save(folder / f"N{number:02}.npy", ecg(number, **how).astype(np.float32))
    return folder


@pytest.mark.parametrize("ending", ["", ".npy"])
def test_npy_files_with_the_challenges_sheet(tmp_path, ending):
    folder = npy_folder(tmp_path / "records")
    np.save(folder / "N01.npy", np.load(folder / "N01.npy").T)
    rows = [(f"N{number:02}{ending}", "male" if number % 2 else "female", 30 + number) for number in range(CROWD)]
    found = prepared(tmp_path, folder, sheet_of(tmp_path / "sheet.csv", rows))
    assert found.left_out == []
    assert found.frame["age"].tolist() == list(range(30, 30 + CROWD))
    assert found.frame["sex"].tolist() == ["F", "M"] * (CROWD // 2)
    assert found.qc["notes"] == {"samples × leads, turned round": 1}
    assert (found.qc["without_sex"], found.qc["warnings"]) == (0, [])
    for number in range(CROWD):
        np.testing.assert_array_equal(
            found.leads[number][:, :3000], np.rint(ecg(number).astype(np.float32).astype(float) * 1000)
        )


def test_npy_files_of_another_unit_rate_type_and_order_of_leads(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    for number in range(CROWD):
        np.save(folder / f"N{number:02}.npy", np.rint(ecg(number, 10, 250)[::-1] * 1000).astype(np.int16))
    sheet = sheet_of(tmp_path / "sheet.csv", [(f"N{number:02}", "", 30) for number in range(CROWD)])
    found = prepared(tmp_path, folder, sheet, npy={"rate": 250, "leads": list(LEADS[::-1]), "unit": "uV"})
    for number in range(CROWD):
        assert np.abs(found.leads[number] - ecg(number, 10)[:, :SAMPLES] * 1000)[:, 100:].max() < 12
    assert (found.qc["resampled"], found.qc["without_sex"]) == (CROWD, CROWD)


def test_the_sheet_goes_before_the_header(folder, tmp_path):
    write(folder, "A1", ecg(50), age="70", sex="Male")
    write(folder, "A2", ecg(51), age="71", sex="Male")
    write(folder, "A3", ecg(52), age="not told", sex="Male")
    columns = ("Patient ID", "Age", "Sex", "File")
    rows = [
        ("p1", "22", "F", "some/folder/A1.hea"),
        ("p2", "", "", "A2.mat"),
        ("p2", "33", "", "A3"),
        ("p3", "1", "", "X"),
    ]
    found = prepared(tmp_path, folder, sheet_of(tmp_path / "sheet.csv", rows, columns))
    assert found.row("A1")[["patient", "age", "sex"]].tolist() == ["p1", 22, "F"]
    assert found.row("A2")[["patient", "age", "sex"]].tolist() == ["p2", 71, "M"]
    assert found.row("A3")[["patient", "age", "sex"]].tolist() == ["p2", 33, "M"]
    assert found.row("G05")[["patient", "age"]].tolist() == ["G05", 35]
    assert found.qc["warnings"] == ["1 rows of the sheet have no record in the folders: 'X'"]


def test_ages_of_a_sheet_have_units(folder, tmp_path):
    for at in range(4):
        write(folder, f"A{at}", ecg(50 + at), age=None)
    sheet = sheet_of(tmp_path / "c.csv", [("A0", 40, 480)], ("FILENAME", "age", "age_months"))
    assert "several columns of ages, 'age', 'age_months'" in refused(tmp_path, folder, sheet)
    columns = ("FILENAME", "is_male", "AGE (months)")
    sheet = sheet_of(tmp_path / "a.csv", [("A0", "True", 480), ("A1", "False", "33 years"), ("A2", "", "")], columns)
    found = prepared(tmp_path, folder, sheet)
    assert [(found.row(name)["age"], found.row(name)["sex"]) for name in ("A0", "A1")] == [(40, "M"), (33, "F")]
    columns = ("FILENAME", "age", "age_unit")
    sheet = sheet_of(tmp_path / "b.csv", [("A0", 480, "months"), ("A1", 33, "Y"), ("A2", 5, "ages")], columns)
    found = prepared(tmp_path, folder, sheet, out="again")
    assert [found.row(name)["age"] for name in ("A0", "A1")] == [40, 33]
    assert "the unit of its age is 'ages'" in found.left_out[0]["reason"]


def test_patients_of_the_sheet_stay_in_one_tenth(tmp_path):
    n = 36
    folder = npy_folder(tmp_path / "records", n)
    rows = [(f"N{number:02}", 20 + number, f"p{number % 21}") for number in range(n)]
    found = prepared(tmp_path, folder, sheet_of(tmp_path / "sheet.csv", rows, ("FILENAME", "AGE", "PATIENT")))
    assert found.qc["groups"]["adult"]["patients"] == 21
    assert found.frame.groupby("patient")["fold"].nunique().max() == 1
    assert found.frame["fold"].nunique() == 10
    assert found.qc["groups"]["adult"]["bins"] == {"19–29": 10, "30–39": 10, "40–49": 10, "50–59": 6}


def test_records_with_the_same_values_are_one_patients(tmp_path, caplog):
    """Also by way of others: A and B are copies, B's patient has C, and D is C's copy."""
    folder = npy_folder(tmp_path / "records", 24)
    for copy, name in (("N20", "N00"), ("N22", "N21")):
        shutil.copyfile(folder / f"{name}.npy", folder / f"{copy}.npy")
    patients = {20: "joint", 21: "joint"}
    rows = [(f"N{number:02}", 30 + number, patients.get(number, f"p{number}")) for number in range(24)]
    sheet = sheet_of(tmp_path / "sheet.csv", rows, ("FILENAME", "AGE", "PATIENT"))
    with caplog.at_level(logging.WARNING):
        found = prepared(tmp_path, folder, sheet)
    same = found.frame[found.frame["record"].isin(["N00", "N20", "N21", "N22"])]
    assert same["patient"].tolist() == ["p0"] * 4
    assert same["fold"].nunique() == 1
    assert found.frame["patient"].nunique() == 21
    assert found.qc["warnings"] == [
        "records 'N00', 'N20' hold the same values: taken for one patient's",
        "records 'N21', 'N22' hold the same values: taken for one patient's",
    ]
    assert all(warning in caplog.text for warning in found.qc["warnings"])


@pytest.mark.parametrize("name", ["../A1.dat", "/etc/hostname", "s3://bucket/A1.dat", "..\\A1.dat"])
def test_signal_files_elsewhere_are_not_read(tmp_path, name):
    write(tmp_path, "A1", ecg(50))
    edit(tmp_path / "A1.hea", "A1.dat", name)
    with pytest.raises(InputError, match="only files beside the header are read"):
        read_record(tmp_path / "A1.hea", NPY)


def test_of_records_of_hours_only_the_beginning_is_read(tmp_path, monkeypatch):
    whole = ecg(50)
    write(tmp_path, "A1", whole)
    np.save(tmp_path / "A2.npy", whole.astype(np.float32))
    read = [read_record(tmp_path / name, NPY).values for name in ("A1.hea", "A2.npy")]
    monkeypatch.setattr(records, "LONG", 2500)
    for name, before in zip(("A1.hea", "A2.npy"), read, strict=True):
        found = read_record(tmp_path / name, NPY).values
        assert found.shape == (12, 2500)
        np.testing.assert_array_equal(found, before[:, :2500])


# --- tenths ----------------------------------------------------------------------------------------------------------


@given(numbers=st.lists(st.integers(0, 7), min_size=1, max_size=150), seed=st.integers(0, 2**31))
@hypothesis_settings(max_examples=60, deadline=None)
def test_each_age_bin_is_spread_evenly(numbers, seed):
    bins = np.array(numbers)
    patients = np.array([f"p{at}" for at in range(len(bins))])
    found = study.tenths(patients, bins, seed)
    for one in np.unique(bins):
        assert np.ptp(np.bincount(found[bins == one], minlength=10)) <= 1
    assert np.ptp(np.bincount(found, minlength=10)) <= 1
    order = np.random.default_rng(seed).permutation(len(bins))
    np.testing.assert_array_equal(study.tenths(patients[order], bins[order], seed), found[order])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 7)), min_size=1, max_size=150), st.integers(0, 2**31))
@hypothesis_settings(max_examples=60, deadline=None)
def test_patients_stay_together(records, seed):
    patients, bins = np.array(records).T
    found = pd.Series(study.tenths(patients, bins, seed)).groupby(patients)
    assert found.nunique().max() == 1
    sizes = np.bincount(found.first(), minlength=10)  # patients, by tenth
    assert np.ptp(sizes) <= 1


@pytest.mark.parametrize(
    ("age", "group", "name"),
    [
        (0, "child", "0"),
        (0.99, "child", "0"),
        (9, "child", "9"),
        (9.99, "child", "9"),
        (10, None, None),
        (18.99, None, None),
        (19, "adult", "19–29"),
        (30, "adult", "30–39"),
        (99.9, "adult", "90–99"),
        (100, "adult", "100+"),
        (122, "adult", "100+"),
    ],
)
def test_groups_and_age_bins(age, group, name):
    assert group_of(age) == group
    if group:
        assert study.BINS[group][1][study.bin_of(np.array([age]), group).item()] == name


def test_seed_of_the_run_is_the_tenths(crowd, tmp_path):
    one, again, other = (
        prepared(tmp_path, crowd, seed=seed, out=out).frame["fold"].tolist()
        for seed, out in ((1, "one"), (1, "again"), (2, "other"))
    )
    assert one == again != other
    assert sorted(one) == sorted(list(range(10)) * 2)
    for name in OUTPUTS.values():
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_people_of_no_group_or_an_unwanted_one_are_counted(folder, tmp_path):
    for at, age in enumerate(("10", "18", "18.9", "4", "9.5", "19")):
        write(folder, f"A{at}", ecg(50 + at), age=age)
    found = prepared(tmp_path, folder)
    assert (found.qc["between"], found.qc["group_not_wanted"], found.qc["left_out"]) == (3, 2, 0)
    assert found.beside_crowd() == ["A5"]
    assert found.qc["groups"] == {
        "adult": {"records": 21, "patients": 21, "bins": {"19–29": 1, "30–39": 10, "40–49": 10}}
    }


def test_both_groups_have_tenths_of_their_own(folder, tmp_path):
    for at in range(CROWD):
        write(folder, f"C{at:02}", ecg(50 + at), age=str(at % 10))
    found = prepared(tmp_path, folder, networks=defaults()["ecg_age"]["networks"])
    for _, fold in found.frame.groupby("group")["fold"]:
        assert sorted(fold) == sorted(list(range(10)) * 2)
    assert found.qc["groups"]["child"]["bins"] == {str(age): 2 for age in range(10)}


def test_records_asked_about_are_predicted_or_named_with_the_reason(crowd, tmp_path):
    asked = tmp_path / "asked"
    write(asked, "Q1", ecg(50), age=None)
    write(asked, "Q2", ecg(51), age="5")  # stated, and of no account
    np.save(asked / "Q3.npy", ecg(52))
    edit(write(asked, "Q4", ecg(53), age="absurd"), "Q4.dat", "gone.dat")
    write(asked, "Q5", ecg(51, 2), age=None)
    np.save(asked / "Q6.npy", np.zeros((12, 5000)))
    write(asked, "Q7", ecg(53)[6:10], names=LEADS[6:10], age=None)
    found = prepared(tmp_path, crowd, asked={"adult": str(asked)})
    rows = found.frame[CROWD:]
    assert rows["record"].tolist() == ["Q1", "Q2", "Q3"]
    assert rows["age"].isna().all()
    assert set(rows["fold"]) == {-1}
    assert set(rows["group"]) == {"adult"}
    assert (found.qc["asked"], found.qc["used"], found.qc["groups"]["adult"]["records"]) == (3, CROWD + 3, CROWD)
    assert sorted(found.frame["fold"][:CROWD]) == sorted(list(range(10)) * 2)
    reasons = {row["record"]: row["reason"] for row in found.left_out}
    assert list(reasons) == ["Q4", "Q5", "Q6", "Q7"]
    assert reasons["Q5"].startswith("it lasts 2 s, and 5 s are wanted (`ecg_age.min_seconds`): lower that")
    assert reasons["Q6"].startswith("12 of its leads are flat or lack ('I', 'II', ")
    assert reasons["Q7"].startswith("8 of its leads are flat or lack ('I', 'II', ")
    assert "at most 6 may (`ecg_age.max_lost_leads`): raise that" in reasons["Q7"]


# --- bad records -----------------------------------------------------------------------------------------------------


def flip(path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def cut(path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def longer(path, more: bytes) -> None:
    path.write_bytes(path.read_bytes() + more)


def edited(old: str, new: str):
    """Spoils a header: `new` in place of `old`."""
    return lambda hea, dat: edit(hea, old, new)


def edited_by(pattern: str, new: str):
    return lambda hea, dat: hea.write_text(re.sub(pattern, new, hea.read_text(), flags=re.M))


def header_of(text: str):
    return lambda hea, dat: hea.write_text(text)


BAD_HEADERS = {
    "gone": (lambda hea, dat: dat.unlink(), r"^gone\.dat is not there: copy the record again, all its files$"),
    "cut_short": (lambda hea, dat: cut(dat, 50_000), r"do not fit, or one is damaged \(.+\): copy the record again$"),
    "no_samples": (lambda hea, dat: cut(dat, 0), r"do not fit, or one is damaged \(.+\): copy the record again$"),
    "too_long": (
        lambda hea, dat: longer(dat, b"1234"),
        r"gives 12 leads × 3,000 samples \(72,000 bytes\) and its signal file has 72,004 bytes: copy the record again, "
        "or correct its header$",
    ),
    "checksum": (
        lambda hea, dat: flip(dat, 30_000),
        r"^the checksums of its leads 'I' are not those in its header: copy the record again, or correct its header$",
    ),
    "empty_header": (lambda hea, dat: cut(hea, 0), r"^empty_header\.hea is empty: copy the record again$"),
    "only_comments": (header_of("# Age: 50\n"), r"is empty: copy the record again$"),
    "random_header": (
        lambda hea, dat: hea.write_bytes(np.random.default_rng(0).bytes(700)),
        r"random_header\.hea is not text, it holds NUL bytes: copy the record again$",
    ),
    "letters": (header_of("hello out there\n"), r"correct its header$|copy the record again$"),
    "no_leads_at_all": (header_of("no_leads_at_all 0 500 3000\n"), r"copy the record again$"),
    "one_line_less": (
        lambda hea, dat: hea.write_text("\n".join(hea.read_text().splitlines()[:12])),
        r"^its header gives 12 leads and describes 11: copy the record again, or correct its header$",
    ),
    "eight_stated": (
        edited("eight_stated 12 ", "eight_stated 8 "),
        r"^its header gives 8 leads and describes 12: copy the record again, or correct its header$",
    ),
    "unknown_leads": (
        edited_by(r" 0 (\S+)$", r" 0 x\1"),
        r"^none of its leads is one of I, II, .+; they are called 'xI', .+: say which is which in `ecg_age",
    ),
    "some_unknown_leads": (
        edited_by(r" 0 (II|III|[aV]\S+)$", r" 0 x\1"),
        r"^its leads 'II', .+ lack, and 'xII', .+ are none of the twelve: say which is which in `ecg_age\.lead_names`",
    ),
    "twice": (edited(" 0 V2\n", " 0 V1\n"), r"^several of its leads .+ 'V1': name each once"),
    "twice_in_small": (edited(" 0 V2\n", " 0 v1\n"), r"^several of its leads .+: name each once"),
    "age_missing": (edited("# Age: 50\n", ""), r"^its age is missing: write it in the header"),
    "age_unknown": (edited("Age: 50", "Age: Unknown"), r"^its age is missing: write it"),
    "age_nan": (edited("Age: 50", "Age: NaN"), r"^its age is missing: write it in the header"),
    "age_abc": (edited("Age: 50", "Age: abc"), r"^its age is 'abc', which is no number: write years"),
    "age_minus": (edited("Age: 50", "Age: -3"), r"^its age is -3, which nobody has: write years betw"),
    "age_150": (edited("Age: 50", "Age: 150"), r"^its age is 150, which nobody has: write years betw"),
    "age_inf": (edited("Age: 50", "Age: inf"), r"^its age is inf, which nobody has: write years betw"),
    "age_300": (edited("Age: 50", "Age: 300"), r"^its age is 300, as PTB-XL .+ 89: .+ leave it out$"),
    "millivolts": (
        edited("1000(0)/mV", "0.2(0)/mV"),
        r"^its values reach \d,\d{3} mV, and a heart gives a few: check gain and unit in the header$",
    ),
    "volts": (
        edited("1000(0)/mV", "1000000(0)/mV"),
        r"^its values reach 0\.00\d+ mV, and a heart gives one or so: check gain and unit in the header$",
    ),
    "no_rate": (
        edited(" 12 500 3000\n", " 12\n"),
        r"^its header gives no sampling rate: write it behind the number of leads$",
    ),
    "other_unit": (edited("/mV", "/mmHg"), r"^its leads are in 'mmHg': mV, uV or V are wanted$"),
    "rate_0": (edited(" 12 500 ", " 12 0 "), r"^its sampling rate is 0 Hz: check the header"),
    "rate_5": (edited(" 12 500 ", " 12 5 "), r"^its sampling rate is 5 Hz: check the header"),
    "rate_word": (
        edited(" 12 500 ", " 12 x500 "),
        r"^its sampling rate is 'x500', which is no number: correct its header$",
    ),
}
"""What is done to a good record's header and signal, and the reason given (a regular expression)."""


def raw(data: bytes):
    return lambda path: path.write_bytes(data)


def saved(values):
    """Writes an array to a path."""
    return lambda path: np.save(path, values)


def cut_npy(path) -> None:
    np.save(path, ecg(50))
    cut(path, 40_000)


BAD_ARRAYS = {
    "three_axes": (
        lambda path: np.save(path, ecg(50)[None]),
        r"holds 1 × 12 × 3000, and 12 leads × samples are wanted: ",
    ),
    "one_axis": (saved(ecg(50)[0]), r"holds 3000, and 12 leads × samples are wanted: write one"),
    "no_axis": (saved(np.float32(1)), r"holds nothing, and 12 leads × samples are wanted: write one"),
    "eleven": (saved(ecg(50)[:11]), r"holds 11 × 3000, .+: write .+ its leads in `ecg_age\.npy\.leads`"),
    "text": (saved(ecg(50).astype("U5")), r"holds <U5, and numbers are wanted: write float32 or int16"),
    "complex": (saved(ecg(50) + 1j), r"holds complex128, and numbers are wanted: write float32"),
    "objects": (saved(ecg(50).astype(object)), r"^objects\.npy is damaged or no .npy file \(Array can"),
    "truncated": (cut_npy, r"^truncated\.npy is damaged or no .npy file \(.+\): copy it again$"),
    "nothing": (raw(b""), r"^nothing\.npy is damaged or no .npy file \(.+\): copy it again$"),
    "zip": (raw(b"PK\x03\x04 and so on"), r"^zip\.npy is damaged or no .npy file \(.+\): copy it again$"),
    "page": (raw(b"<html>not found</html>"), r"^page\.npy is damaged or no .npy file \(.+\): copy it again$"),
    "header": (
        raw(b"\x93NUMPY\x01\x00\x20\x00{'descr': '<f4', (               \n"),
        r"^header\.npy is damaged or no .npy file \(.+\): copy it again$",
    ),
    "microvolts": (
        saved(ecg(50) * 1000),
        r"^its values reach [\d,]+ mV, .+: check .+ \(`ecg_age\.npy\.unit` is mV; are these µV\?\)$",
    ),
    "volts_npy": (
        saved(ecg(50) / 1000),
        r"^its values reach 0\.00\d+ mV, .+: check .+ \(`ecg_age\.npy\.unit` is mV\)$",
    ),
    "no_age": (saved(ecg(50)), r"^its age is missing: write it .+ in the sheet \(column AGE\)$"),
}


@pytest.fixture(scope="module")
def spoilt(crowd, tmp_path_factory) -> tuple[pathlib.Path, Prepared]:
    tmp_path = tmp_path_factory.mktemp("spoilt")
    folder = beside(crowd, tmp_path / "records")
    for at, (name, (spoil, _)) in enumerate(BAD_HEADERS.items()):
        header = write(folder / "headers", name, ecg(200 + at))
        spoil(header, header.with_suffix(".dat"))
    (folder / "arrays").mkdir()
    for name, (make, _) in BAD_ARRAYS.items():
        make(folder / "arrays" / f"{name}.npy")
    for at in range(5):
        np.save(folder / f"H{at}.npy", ecg(300 + at))
    names = [f"H{at}" for at in range(5)] + [name for name in BAD_ARRAYS if name != "no_age"]
    return folder, prepared(tmp_path, folder, sheet_of(tmp_path / "sheet.csv", [(name, "F", 60) for name in names]))


def test_good_records_go_on_beside_bad_ones(spoilt):
    _, found = spoilt
    good = [f"H{at}" for at in range(5)] + [f"G{number:02}" for number in range(CROWD)]
    assert sorted(found.frame["record"]) == sorted(good)
    assert found.signals.shape == (CROWD + 5, 12, SAMPLES)
    np.testing.assert_array_equal(found.signals[found.at("H3")], preprocess(ecg(303)))
    assert (found.frame["fold"] >= 0).all()
    assert len(found.left_out) == found.qc["left_out"] == len(BAD_HEADERS) + len(BAD_ARRAYS)
    assert found.qc["files"] == len(good) + len(found.left_out)
    assert found.names == sorted(OUTPUTS.values())


@pytest.mark.parametrize("name", [*BAD_HEADERS, *BAD_ARRAYS])
def test_each_bad_record_is_named_with_its_reason_and_a_remedy(spoilt, name):
    folder, found = spoilt
    (row,) = (row for row in found.left_out if row["record"] == name)
    expected = f"headers/{name}.hea" if name in BAD_HEADERS else f"arrays/{name}.npy"
    assert pathlib.Path(row["file"]) == folder / expected
    assert re.search((BAD_HEADERS | BAD_ARRAYS)[name][1], row["reason"]), row["reason"]
    assert re.search(r"\b(copy|write|name each|say which|check|correct|leave|are wanted)\b", row["reason"])
    assert row["reason"].isprintable()


def test_bad_ages_of_a_sheet():
    for stated in ("", " ", "nan", "N/A", None, "?"):
        with pytest.raises(InputError, match="its age is missing"):
            years(stated)
    assert [years(stated) for stated in ("0", " 63 ", "7.5", "122")] == [0, 63, 7.5, 122]
    assert [years(stated) for stated in ("8 months", "8mo", "006M")] == [8 / 12, 8 / 12, 0.5]
    assert years("63 (years)") == 63
    assert [years(stated) for stated in ("P63Y", "63y 6m", "63 years, 6 months")] == [63, 63.5, 63.5]
    stated = ("63,5", "63 years old", "063Y", "63 y.o.", "63 yrs.")
    assert [years(one) for one in stated] == [63.5, 63, 63, 63, 63]
    expected = (12 / 365.25, 26 * 7 / 365.25, 5)
    assert (years("12 days"), years("26", "weeks"), years("5 years", "weeks")) == pytest.approx(expected)
    for stated in ("63 M", "63 F", "8 moons"):
        with pytest.raises(InputError, match="of a unit that is not known"):
            years(stated)
    for stated in ("90+", ">89", "60-70", "adult", "1.5.2000", "1,234"):
        with pytest.raises(InputError, match="no number"):
            years(stated)
    for stated in ("123", "-0.1", "1e9"):
        with pytest.raises(InputError, match="which nobody has"):
            years(stated)


# --- problems of the whole input -------------------------------------------------------------------------------------


def test_empty_folders(tmp_path, crowd):
    for name in ("records", "asked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "readme.txt").write_text("soon")
    message = refused(tmp_path, tmp_path / "records")
    assert f"ecg_age.records: {tmp_path / 'records'} has no records: .hea files" in message
    assert "ecg_age.asked.adult: " in refused(tmp_path, crowd, asked={"adult": str(tmp_path / "asked")})


def test_too_few_patients_and_what_became_of_the_others(tmp_path):
    folder = tmp_path / "records"
    for at in range(19):
        write(folder, f"A{at:02}", ecg(at))
    write(folder, "brief", ecg(50, 3))
    write(folder, "young", ecg(51), age="12")
    write(folder, "spoilt", ecg(52), age="soon")
    edit(write(folder, "flat", ecg(53)), "Age: 50", "Age: 51")
    write(folder, "flat", np.zeros((12, 3000)))
    message = refused(tmp_path, folder)
    for part in (
        "only 19 patients of 19 years and above have a record that can be used, and at least 20 are needed",
        "bring more, or set `ecg_age.networks: {adult: null}`",
        f"1 records could not be used: {folder / 'spoilt.hea'}: its age is 'soon'",
        "1 records were left out: shorter than 5 s (`ecg_age.min_seconds`)",
        "1 records were left out: with more than 6 leads flat or lacking (`ecg_age.max_lost_leads`)",
        "1 records were left out: of people between 10 and 18 years",
    ):
        assert part in message
    write(folder, "A19", ecg(19))
    assert len(prepared(tmp_path, folder, out="enough").frame) == 20


def test_patients_are_counted_not_records_and_each_group(crowd, tmp_path):
    columns = ("FILENAME", "PATIENT")
    sheet = sheet_of(tmp_path / "sheet.csv", [("G00", "p"), ("G01", "p")], columns)
    message = refused(tmp_path, crowd, sheet, networks=defaults()["ecg_age"]["networks"])
    assert "only 19 patients of 19 years and above" in message
    assert "only 0 patients of 0 to 9 years" in message
    assert "`ecg_age.networks: {child: null}`" in message


@pytest.mark.parametrize("asked", [False, True])
def test_two_records_of_one_name(crowd, tmp_path, asked):
    folder = beside(crowd, tmp_path / "records")
    other = tmp_path / "asked" if asked else folder / "other"
    path = write(other, "G07", ecg(50))
    message = refused(tmp_path, folder, asked={"adult": str(other)} if asked else None)
    key = "ecg_age.asked.adult" if asked else "ecg_age.records"
    assert f"{key}: two records are called G07: " in message
    assert str(path) in message
    assert str(folder / "crowd" / "G07.hea") in message
    assert "Rename one" in message


def test_a_name_that_is_not_utf8(folder, tmp_path):
    try:
        with open(os.fsencode(folder) + b"/M\xfcller.hea", "w"):
            pass
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    message = refused(tmp_path, folder)
    assert r"M\udcfcller.hea' has signs that tables cannot hold. Rename it" in message


def test_sheets_that_are_none(crowd, tmp_path):
    sheet = tmp_path / "sheet.csv"
    sheet_of(sheet, [("G01", 50)], ("name_of_it", "AGE"))
    message = refused(tmp_path, crowd, sheet)
    assert f"ecg_age.sheet: {sheet} needs a column FILENAME (and AGE, GENDER, PATIENT" in message
    assert "'name_of_it', 'AGE'" in message
    sheet_of(sheet, [("G01", "F", 50), ("G02", "F", 50), ("G01.hea", "F", 51)])
    message = refused(tmp_path, crowd, sheet)
    assert f"{sheet} names records more than once: 'G01 (line 4)'. Keep one row of each" in message
    for ages, words in (
        ([at % 3 for at in range(20)], "3 different whole numbers"),
        ([0.2, 0.9], "lie between 0 and 1"),
    ):
        sheet_of(sheet, [(f"G{at:02}", "F", age) for at, age in enumerate(ages)])
        assert words in refused(tmp_path, crowd, sheet)
    sheet.write_bytes(b"PK\x03\x04")
    assert "save it as CSV" in refused(tmp_path, crowd, sheet)


def test_problems_of_sheet_and_folder_are_reported_at_once(tmp_path):
    (tmp_path / "records").mkdir()
    message = refused(tmp_path, tmp_path / "records", sheet_of(tmp_path / "sheet.csv", [("a",)], ("AGE",)))
    assert message.startswith("2 input problems:")


def test_npy_files_without_a_sheet(tmp_path):
    message = refused(tmp_path, npy_folder(tmp_path / "records", 1))
    assert "ecg_age.records has .npy files, which hold no ages: name the CSV" in message
    assert "`ecg_age.sheet`" in message


# --- the end of the target -------------------------------------------------------------------------------------------


def left_out(path, n: int) -> pathlib.Path:
    return sheet_of(
        path, [(f"A{at}", f"records/A{at}.hea", "it is bad, really: mend it") for at in range(n)], inputs.LEFT_OUT
    )


def test_nothing_left_out_or_accepted(tmp_path):
    for n, accept in ((0, False), (0, True), (3, True)):
        out = tmp_path / f"{n}{accept}.txt"
        complete.report([left_out(tmp_path / "left_out.csv", n)], out, accept=accept)
        assert out.read_text() == f"{n} records could not be used\n"


@pytest.mark.parametrize("n", [3, 25])
def test_records_left_out_are_named_at_the_end(tmp_path, n):
    path, out = left_out(tmp_path / "left_out.csv", n), tmp_path / "complete.txt"
    with pytest.raises(InputError) as caught:
        complete.report([left_out(tmp_path / "other.csv", 0), path], out, accept=False)
    assert not out.exists()
    *problems, last = caught.value.problems
    assert problems == [f"records/A{at}.hea: it is bad, really: mend it" for at in range(min(n, 20))]
    assert last.startswith(f"{n} records were left out. ")
    assert (f"and {path} list them all" in last) == (n > 20)
    assert "`ecg_age.left_out: accept`" in last


# --- the config's questions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sheet": "a.csv"}, ["ecg_age.sheet is set, but ecg_age.records is not: give the folder of the records too"]),
        ({"asked": {"adult": "a"}}, ["ecg_age.asked is set, but ecg_age.records is not"]),
        ({"networks": {"adult": None, "child": None}}, ["ecg_age.networks has no network: name one for adult, child"]),
        (
            {"records": "a", "asked": {"child": "b"}, "networks": {"adult": "ResDenseNet", "child": None}},
            ["ecg_age.asked.child: ecg_age.networks.child is null; name a network to ask"],
        ),
        ({"records": "a{b"}, ["ecg_age.records: a{b has braces in its name"]),
        ({"records": "a", "asked": {"adult": "q}"}}, ["ecg_age.asked.adult: q} has braces"]),
        ({"save_dir": "{x}"}, ["ecg_age.save_dir: {x} has braces"]),
        ({"methylation": "{x}.csv"}, ["ecg_age.methylation: {x}.csv has braces"]),
        (
            {"sheet": "{s}", "asked": {"adult": "a"}, "networks": {"adult": None, "child": None}},
            ["ecg_age.sheet is", "ecg_age.asked is", "no network", "ecg_age.asked.adult", "ecg_age.sheet: {s} has"],
        ),
    ],
)
def test_conflicts_of_the_config_are_all_reported(changes, expected):
    with pytest.raises(InputError) as caught:
        plan(**changes)
    assert len(caught.value.problems) == len(expected)
    for problem, part in zip(caught.value.problems, expected, strict=True):
        assert part in problem


def test_missing_files_are_all_named_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("")
    (tmp_path / "a_folder").mkdir()
    found = plan(records="gone", sheet="a_folder", asked={"adult": "a_file"}, methylation="gone.csv")
    for ask, *part in (
        *((ask, part) for ask in (found.input_files, found.input_settings) for part in (KNOWN, ASKED)),
        (found.page_files,),
        (found.methylation_file,),
    ):
        with pytest.raises(InputError) as caught:
            ask(*part)
        assert caught.value.problems == [
            f"ecg_age.records: gone is not there (looked in {tmp_path}); correct it",
            f"ecg_age.sheet: a_folder is a folder, not a file (looked in {tmp_path}); correct it",
            f"ecg_age.methylation: gone.csv is not there (looked in {tmp_path}); correct it",
            f"ecg_age.asked.adult: a_file is a file, not a folder (looked in {tmp_path}); correct it",
        ]


@pytest.mark.parametrize("held_out", [1, 10])
def test_files_of_simulated_records(held_out):
    found = plan(held_out=held_out)
    assert found.simulates
    assert found.size == "narrow"
    files = found.page_files()
    assert len(files["networks"]) == len(files["logs"]) == 2 * held_out
    assert len(set(files["networks"] + files["logs"])) == 4 * held_out
    assert files["networks"][held_out - 1] == f"results/ecg_age/predictions/adult/ResDenseNet_{held_out - 1}.parquet"
    assert files["logs"][-1] == f"results/ecg_age/saved/child/ResUDenseNet_{held_out - 1}_log.csv"
    assert files["peers"] == [
        f"results/ecg_age/predictions/{group}/{peer}.parquet"
        for group in ("adult", "child")
        for peer in ("GradientBoosting", "Median")
    ]
    assert files["readings"] == ["results/ecg_age/reading/adult.npz", "results/ecg_age/reading/child.npz"]
    assert files["features"] == ["results/ecg_age/features/0-of-2.parquet", "results/ecg_age/features/1-of-2.parquet"]
    assert files["truth"] == "results/ecg_age/simulated/truth.csv"
    assert files["methylation"] == "results/ecg_age/input/methylation.parquet"
    assert found.methylation_file() == "results/ecg_age/simulated/methylation.csv"
    assert found.joined_file() == {"joined": "results/ecg_age/joined.csv"}
    assert found.input_files(KNOWN) == {
        "records": "results/ecg_age/simulated/records",
        "sheet": "results/ecg_age/simulated/sheet.csv",
    }
    assert found.input_settings(KNOWN)["folders"] == [[None, "results/ecg_age/simulated/records"]]
    assert found.input_settings(KNOWN)["states"] == {}


def test_simulated_children_alone_have_no_second_clock():
    """The simulated clock is of adults."""
    found = plan(networks={"adult": None, "child": "ResUDenseNet"})
    assert not found.methylation_file()
    assert found.joined_file() == {}
    assert "methylation" not in found.page_files()
    found = plan(networks={"adult": "ResDenseNet", "child": None})
    assert found.joined_file() == {"joined": "results/ecg_age/joined.csv"}


@pytest.mark.parametrize("held_out", [1, 10])
def test_files_of_own_records(tmp_path, held_out):
    (tmp_path / "records").mkdir()
    changes = {
        "records": str(tmp_path / "records"),
        "networks": {"adult": "ResUDenseNet", "child": None},
        "save_dir": "elsewhere/",
        "reading": {"records": 0, "steps": 32, "drawn": 0},
        "peers": ["Median"],
    }
    found = plan(held_out=held_out, **changes)
    assert not found.simulates
    assert found.size == "published"
    assert found.fit_settings()["build"] == {}
    assert [found.memory({}, attempt) for attempt in (1, 2)] == [12_000, 24_000]
    files = found.page_files()
    assert files["logs"] == [f"elsewhere/adult/ResUDenseNet_{fold}_log.csv" for fold in range(held_out)]
    assert files["peers"] == ["results/ecg_age/predictions/adult/Median.parquet"]
    assert files["readings"] == []
    assert not {"truth", "methylation"} & set(files)
    assert not found.methylation_file()
    assert found.joined_file() == {}
    assert found.input_files(KNOWN) == {}
    assert found.input_settings(KNOWN)["groups"] == ["adult"]
    (tmp_path / "a.csv").write_text("")
    found = plan(**changes, sheet=str(tmp_path / "a.csv"), methylation=str(tmp_path / "a.csv"))
    assert found.input_files(KNOWN) == {"sheet": str(tmp_path / "a.csv")}
    assert found.methylation_file() == str(tmp_path / "a.csv")
    assert found.page_files()["methylation"] == "results/ecg_age/input/methylation.parquet"
    assert found.joined_file() == {"joined": "results/ecg_age/joined.csv"}


def test_records_asked_about_are_a_part_of_their_own(crowd, tmp_path):
    asked = tmp_path / "asked"
    for number in range(3):
        write(asked, f"Q{number}", ecg(60 + number), age=None)
    found = plan(records=str(crowd), asked={"adult": str(asked)}, held_out=2)
    assert found.parts == [KNOWN, ASKED]
    assert found.input_settings(KNOWN)["folders"] == [[None, str(crowd)]]
    settings = found.input_settings(ASKED)
    assert settings["folders"] == [["adult", str(asked)]]
    assert found.page_files()["asked"] == ["results/ecg_age/predictions/adult/asked.parquet"]
    assert [name[-5:] for name in found.predict_input("adult")["weights"]] == ["_0.pt", "_1.pt"]
    # As few as they are, of no age and no tenth.
    out = {name: str(tmp_path / "out" / file) for name, file in OUTPUTS.items()}
    inputs.prepare({}, out, settings=settings, seed=1)
    assert pd.read_parquet(out["records"])["record"].tolist() == ["Q0", "Q1", "Q2"]
    for path in asked.glob("*.dat"):
        path.unlink()
    with pytest.raises(InputError, match=r"none of the 3 records of ecg_age\.asked can be used"):
        inputs.prepare({}, out, settings=settings, seed=1)


def test_what_changes_in_a_folder_is_noticed(crowd, tmp_path):
    folder = tmp_path / "records"
    write(folder / "inside", "A1", ecg(50))
    asked = tmp_path / "asked"
    write(asked, "Q1", ecg(51))
    seen = [settings_of(folder, asked={"adult": str(asked)})]
    assert seen[0]["folders"] == [[None, str(folder)], ["adult", str(asked)]]
    for change in (
        lambda: write(folder / "inside", "A2", ecg(52)),
        lambda: longer(folder / "inside" / "A1.dat", b"ab"),
        lambda: os.utime(folder / "inside" / "A1.dat", (4e9, 4e9)),
        lambda: (asked / "Q1.dat").unlink(),
    ):
        change()
        seen.append(settings_of(folder, asked={"adult": str(asked)}))
        assert seen[-1] not in seen[:-1]
    assert settings_of(folder, asked={"adult": str(asked)}) == seen[-1]


# --- real data -------------------------------------------------------------------------------------------------------

real = pytest.mark.skipif(not RECORDS.is_dir(), reason="no real ECGs: ../shared/data/ecg/records is not there")


@real
def test_real_records_are_all_read(tmp_path):
    # The child with six flat leads is asked about, under another name.
    asked = tmp_path / "asked"
    asked.mkdir()
    shutil.copy(RECORDS / "JS11438.hea", asked / "asked.hea")
    shutil.copy(RECORDS / "JS11438.mat", asked)
    settings = settings_of(RECORDS)
    settings["folders"].append(["child", str(asked)])
    out = {what: tmp_path / "out" / name for what, name in OUTPUTS.items()}
    prepare({}, out, settings=settings, seed=1)
    found = Prepared(tmp_path / "out")
    assert found.left_out == []
    assert (found.qc["files"], found.qc["used"], found.qc["between"], found.qc["group_not_wanted"]) == (78, 73, 2, 3)
    assert found.qc["groups"]["adult"]["records"] == found.qc["groups"]["adult"]["patients"] == 72
    row = found.row("asked")
    assert row[["group", "fold", "flat", "missing"]].tolist() == ["child", -1, "V1,V2,V3,V4,V5,V6", ""]
    assert not found.signals[found.at("asked")][6:].any()
    assert found.signals.std(axis=2).max() < 1.5
    adults = found.frame[found.frame["group"] == "adult"]
    assert adults["fold"].value_counts().between(7, 8).all()

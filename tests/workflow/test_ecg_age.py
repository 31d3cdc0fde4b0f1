"""The target `ecg_age` from end to end: both networks, peers, gaps, restarts, bad input, real records."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import wfdb
import yaml
from browsing import assert_fine
from companion import Companion
from conftest import ROOT, TINY, merged, snakemake
from cpgtaxa.targets.ecg.signals import preprocess

ECG = Companion(
    "ecg_age",
    {
        "training": {"threads": 1},
        "ecg_age": {
            # The children's network is quick enough for both groups.
            "networks": {"adult": "ResUDenseNet", "child": "ResUDenseNet"},
            "size": "narrow",
            "shards": 1,
            "epochs": 8,
            "batch_size": 8,
            "lr": 0.003,
            "lr_step": 6,
            "held_out": 1,
            "reading": {"records": 3, "steps": 8, "drawn": 1},
            "simulate": {"adults": 90, "children": 60},
        },
    },
)
FOLDER = ECG.folder
NETWORK = "ResUDenseNet"
GROUPS = ("adult", "child")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return ECG.finished(tmp_path_factory.mktemp("ecg_age"))


def records_of(folder):
    return pd.read_parquet(folder / FOLDER / "input/records.parquet")


def test_the_models_find_the_drift_of_ages(finished):
    found = ECG.summary(finished)
    for group in GROUPS:
        assert found["GradientBoosting", f"{group}_mae"] < 0.7 * found["Median", f"{group}_mae"]
        # Trained for a few epochs only; `test_the_default_beats_the_median_by_half` trains as by default.
        assert found[NETWORK, f"{group}_mae"] < found["Median", f"{group}_mae"]


def test_patients_are_on_one_side_and_each_record_is_tested_once(finished):
    records = records_of(finished).set_index("record")
    assert (records.groupby("patient")["fold"].nunique() == 1).all()
    assert records["patient"].duplicated().any()
    for group in GROUPS:
        wanted = records[(records["group"] == group) & (records["fold"] == 0)]
        found = pd.read_parquet(finished / FOLDER / f"predictions/{group}/{NETWORK}_0.parquet")
        assert (found["fold"] == 0).all()
        assert sorted(found["record"]) == sorted(wanted.index)
        np.testing.assert_array_equal(found["age"], records.loc[found["record"], "age"])
        for peer in ("GradientBoosting", "Median"):
            other = pd.read_parquet(finished / FOLDER / f"predictions/{group}/{peer}.parquet")
            assert sorted(other["record"]) == sorted(wanted.index)


def test_what_is_written_agrees(finished):
    folder = finished / FOLDER
    found, gaps = ECG.summary(finished), pd.read_csv(folder / "gaps.csv")
    submission = pd.read_csv(folder / "submission.csv")
    assert list(submission) == ["FILENAME", "AGE"]
    predicted = gaps.set_index("record")["predicted"]
    np.testing.assert_allclose(submission["AGE"], predicted.loc[submission["FILENAME"]], rtol=1e-4)
    for group in GROUPS:
        some = gaps[gaps["group"] == group]
        assert some["gap"].abs().mean() == pytest.approx(found[NETWORK, f"{group}_mae"], rel=1e-4)
        assert (some["predicted"] - some["age"]).to_numpy() == pytest.approx(some["gap"].to_numpy(), abs=1e-3)
        assert abs(np.corrcoef(some["gap_adjusted"], some["age"])[0, 1]) < 1e-3
        inside = some["age"].between(some["age_low"], some["age_high"])
        assert 0.85 < inside.mean() <= 1
        assert (inside == ~some["unusual"]).all()
        assert some["predicted"].between(*((19, 122) if group == "adult" else (0, 9))).all()
    html = (folder / "report.html").read_text()
    assert f"{found[NETWORK, 'adult_mae']:.1f} years" in html
    assert f"{found[NETWORK, 'child_mae']:.2f} years" in html
    assert "So few give a rough idea" in html
    assert not re.search(r'(?:src|href)="https?://', html)
    log = pd.read_csv(folder / f"saved/adult/{NETWORK}_0_log.csv")
    np.testing.assert_allclose(log["lr"], 0.003 * 0.1 ** (np.arange(8) // 6), rtol=1e-4)
    assert (folder / "complete.txt").read_text() == "0 records could not be used\n"


def test_the_page_is_fine_in_a_browser(finished, browser):
    assert_fine(browser, finished / FOLDER / "report.html")


def test_networks_are_given_what_the_files_hold(finished):
    signals = np.load(finished / FOLDER / "input/signals.npy")
    records = records_of(finished)
    for row in (0, len(records) // 2, len(records) - 1):
        record = wfdb.rdrecord(str(finished / FOLDER / f"simulated/records/{records['record'][row]}"))
        np.testing.assert_allclose(signals[row], preprocess(record.p_signal.T), atol=1e-5)


def test_both_age_gaps_are_joined_by_person(finished):
    folder = finished / FOLDER
    both, gaps = pd.read_csv(folder / "joined.csv"), pd.read_csv(folder / "gaps.csv")
    clock = pd.read_csv(folder / "simulated/methylation.csv").set_index("person")
    assert both["person"].is_unique
    assert set(both["person"]) == set(gaps["patient"]) & set(clock.index)
    both = both.set_index("person")
    for person, row in both.iterrows():
        own = gaps[gaps["patient"] == person]
        assert row["records"] == len(own)
        assert row["ecg_gap"] == pytest.approx(own["gap"].mean(), abs=1e-3)
        gap = clock.loc[person, "methylation_age"] - clock.loc[person, "age"]
        assert row["methylation_gap"] == pytest.approx(gap, abs=1e-3)
    r = np.corrcoef(both["ecg_gap_adjusted"], both["methylation_gap_adjusted"])[0, 1]
    assert r == pytest.approx(ECG.summary(finished)[NETWORK, "adult_gap_correlation"], abs=1e-3)


def test_attributions_add_up_to_what_they_share_out(finished):
    for group in GROUPS:
        with np.load(finished / FOLDER / f"reading/{group}.npz") as found:
            total = found["attribution"].sum(axis=(1, 2))
            predicted = found["predicted"] - found["flat"]
            np.testing.assert_allclose(np.abs(total - predicted), found["incomplete"], atol=1e-3)
            np.testing.assert_allclose(found["attention"].sum(axis=1), 1, atol=1e-3)
            gaps = pd.read_csv(finished / FOLDER / "gaps.csv").set_index("record")
            # In bfloat16 one layer after another rounds.
            np.testing.assert_allclose(gaps.loc[found["record"], "predicted"], found["predicted"], rtol=0.05, atol=0.3)
    shares = pd.read_csv(finished / FOLDER / "attributions.csv")
    whole = shares[shares["offset_ms"].isna()].groupby("group")["share"].sum()
    np.testing.assert_allclose(whole, 1, atol=1e-4)


def test_what_is_deleted_is_made_anew_and_nothing_else(finished, tmp_path):
    jobs = ECG.made_anew(finished, tmp_path, "predictions/child/GradientBoosting.parquet")
    assert jobs == {"ecg_peers": 1, "ecg_page": 1, "ecg_complete": 1}


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"coverage": 0.8}, {"ecg_page": 1}),
        ({"reading": {"steps": 4}}, {"ecg_reading": 2, "ecg_page": 1}),
        ({"lr": 0.001}, {"ecg_fit": 2, "ecg_reading": 2, "ecg_page": 1}),
        ({"held_out": 3}, {"ecg_fit": 4, "ecg_peers": 4, "ecg_page": 1}),
    ],
    ids=str,
)
def test_a_key_costs_what_hangs_on_it(finished, tmp_path, change, jobs):
    assert ECG.jobs(finished, tmp_path, **change) == jobs | {"ecg_complete": 1}


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_network(finished, tmp_path):
    ECG.goes_on(finished, tmp_path, f"saved/adult/{NETWORK}_0.pt", ".checkpoints/adult_0/*/last.ckpt")
    ECG.same_log(finished, tmp_path, f"saved/adult/{NETWORK}_0_log.csv")


# --- people's own records --------------------------------------------------------------------------------------------


def own(finished, folder, records=60):
    """Some simulated records of adults as the user's own: a folder and a sheet, and a quick config that names them."""
    (folder / "ecgs").mkdir()
    for number in range(1, records + 1):
        for path in (finished / FOLDER / "simulated/records").glob(f"A{number:04d}.*"):
            shutil.copy(path, folder / "ecgs")
    sheet = pd.read_csv(finished / FOLDER / "simulated/sheet.csv")
    sheet[sheet["FILENAME"].isin([f"A{number:04d}" for number in range(1, records + 1)])].to_csv(
        folder / "sheet.csv", index=False
    )
    section = {"records": "ecgs", "sheet": "sheet.csv", "networks": {"child": None}, "epochs": 1, "held_out": 1}
    section |= {"reading": {"records": 0}, "peers": ["Median"]}
    return merged(ECG.config, {"ecg_age": section})


@pytest.fixture(scope="module")
def own_records(finished, tmp_path_factory):
    """Own records, three of them bad, whose patients are a cohort's samples, run after the clock of that cohort.

    Ten records of another form, of nobody's age, are asked about. Returns (folder, config, run, header of A0009 as it
    was).
    """
    folder = tmp_path_factory.mktemp("own_ecgs")
    (folder / "asked").mkdir()
    for number in range(61, 71):
        record = wfdb.rdrecord(str(finished / FOLDER / f"simulated/records/A{number:04d}"))
        np.save(folder / f"asked/A{number:04d}.npy", record.p_signal.T.astype(np.float32))
    section = {"methylation": "results/methylation_age.csv", "asked": {"adult": "asked"}, "held_out": 2}
    config = merged(own(finished, folder), {"ecg_age": section})
    config |= {"simulate_cohort": {"samples": 80, "cpgs": 400}, "methylation_age": {"folds": 4, "cpgs": 100}}
    config["cohort"] = TINY["cohort"]
    run = snakemake(folder, "methylation_age", config=config)
    assert run.code == 0, run.text
    assert (folder / "results/methylation_age/summary.txt").read_text() in run.text
    persons = pd.read_csv(folder / "results/methylation_age.csv")["person"]
    sheet = pd.read_csv(folder / "sheet.csv")
    ranks = sheet["PATIENT"].rank(method="dense").astype(int) % len(persons)
    sheet.assign(PATIENT=persons[ranks].to_numpy()).to_csv(folder / "sheet.csv", index=False)
    ecgs = folder / "ecgs"
    (ecgs / "A0005.dat").write_bytes((ecgs / "A0005.dat").read_bytes()[:1000])
    (ecgs / "A0007.hea").write_text("nothing of a header\n")
    header = (ecgs / "A0009.hea").read_text()
    (ecgs / "A0009.hea").write_text(re.sub(r"Age: \d+", "Age: 300", header))
    return folder, config, snakemake(folder, "ecg_age", config=config), header


def test_bad_records_are_reported_at_the_end_and_the_rest_goes_on(own_records):
    folder, config, run, header = own_records
    made = folder / FOLDER
    assert run.code != 0
    assert "Traceback" not in run.text
    assert (made / "report.html").exists()
    assert not (made / "complete.txt").exists()
    listed = pd.read_csv(made / "left_out.csv").set_index("record")
    assert list(listed.index) == ["A0005", "A0007", "A0009"]
    for name in listed.index:
        assert f"ecgs/{name}.hea: {listed.loc[name, 'reason']}"[:60] in run.text
    assert "PTB-XL" in listed.loc["A0009", "reason"]
    html = (made / "report.html").read_text()
    assert "3 records could not be used" in html
    # Accepted, nothing is made again but the end.
    run = snakemake(folder, "ecg_age", config=merged(config, {"ecg_age": {"left_out": "accept"}}))
    assert run.code == 0, run.text
    assert run.jobs() == {"ecg_complete": 1, "ecg_age": 1}
    # Other records are asked about without training anew.
    (folder / "asked/A0061.npy").unlink()
    run = snakemake(folder, "ecg_age", "--dry-run", config=config)
    assert run.jobs() == {"ecg_input": 1, "ecg_predict": 1, "ecg_page": 1, "ecg_complete": 1, "ecg_age": 1}
    # Mended, they are read as well.
    (folder / "ecgs/A0009.hea").write_text(header)
    run = snakemake(folder, "ecg_age", "--dry-run", config=config)
    assert run.jobs()["ecg_input"] == 2


def test_the_cohorts_own_clock_is_joined_by_the_samples_names(own_records):
    folder = own_records[0]
    found = pd.read_csv(folder / "results/methylation_age.csv")
    assert list(found) == ["person", "age", "methylation_age", "gap", "fold", "cpgs"]
    np.testing.assert_allclose(found["gap"], found["methylation_age"] - found["age"], atol=1e-3)
    assert np.corrcoef(found["methylation_age"], found["age"])[0, 1] > 0.8
    both = pd.read_csv(folder / FOLDER / "joined.csv").set_index("person")
    assert len(both) > 0
    np.testing.assert_allclose(both["methylation_gap"], found.set_index("person").loc[both.index, "gap"], atol=1e-3)


def test_records_of_no_age_are_asked_about(own_records):
    folder = own_records[0] / FOLDER
    submission = pd.read_csv(folder / "submission.csv")
    assert submission["FILENAME"].tolist() == [f"A{number:04d}" for number in range(61, 71)]
    gaps = pd.read_csv(folder / "gaps.csv").set_index("record").loc[submission["FILENAME"]]
    assert gaps["age"].isna().all()
    np.testing.assert_allclose(submission["AGE"], gaps["predicted"], rtol=1e-4)
    assert (submission["AGE"].to_numpy() > gaps["age_low"]).all()
    assert (submission["AGE"].to_numpy() < gaps["age_high"]).all()
    # The mean over both networks; each alone predicts other ages.
    predicted = pd.read_parquet(folder / "predictions/adult/asked.parquet").set_index("record")
    np.testing.assert_allclose(submission["AGE"], predicted.loc[submission["FILENAME"], "predicted"], rtol=1e-4)
    assert (predicted["spread"] > 0).all()


def test_what_is_wrong_as_a_whole_is_reported_at_once(tmp_path):
    config = {"ecg_age": {"records": "none", "sheet": "none.csv", "asked": {"child": "neither"}}}
    found = ECG.refused(tmp_path, config)
    for text in ("ecg_age.records: none is not there", "ecg_age.sheet: none.csv is not", "asked.child: neither is not"):
        assert text in found
    config = {"ecg_age": {"sheet": "s.csv", "networks": {"adult": None, "child": None}}}
    found = ECG.refused(tmp_path, config)
    assert "ecg_age.sheet is set, but ecg_age.records is not" in found
    assert "ecg_age.networks has no network" in found


# --- real records ----------------------------------------------------------------------------------------------------


def real_config(shared):
    config = yaml.safe_load((ROOT / "config/examples/ecg_age.yaml").read_text())
    section = {"records": str(shared / "ecg/records"), "networks": {"adult": NETWORK}, "epochs": 2, "held_out": 1}
    section |= {"asked": {"adult": str(shared / "ecg/code15")}, "sheet": str(shared / "ecg/code15/meta.csv")}
    return merged(merged(ECG.config, config), {"ecg_age": section | {"reading": {"records": 1}}})


def test_real_records_are_read_and_measured(shared, tmp_path):
    wanted = [f"{FOLDER}/input/qc.json", f"{FOLDER}/features/0-of-1.parquet"]
    run = snakemake(tmp_path, *wanted, config=real_config(shared))
    assert run.code == 0, run.text
    qc = json.loads((tmp_path / wanted[0]).read_text())
    assert (qc["files"], qc["used"], qc["left_out"]) == (77, 72, 0)
    assert qc["notes"] == {"its header names the record by its signal file": 11}
    features = pd.read_parquet(tmp_path / wanted[1])
    assert features["heart_rate_bpm"].notna().all()
    assert 60 < features["heart_rate_bpm"].median() < 90
    assert 70 < features["qrs_ms"].median() < 110


@pytest.mark.slow
def test_real_records_run(shared, tmp_path):
    run = snakemake(tmp_path, "ecg_age", config=real_config(shared))
    assert run.code == 0, run.text
    assert "So few give a rough idea" in (tmp_path / FOLDER / "report.html").read_text()


@pytest.mark.slow
def test_the_default_beats_the_median_by_half(tmp_path):
    run = snakemake(tmp_path, "ecg_age", config={"seed": 42})
    assert run.code == 0, run.text
    found = ECG.summary(tmp_path)
    for group, network in (("adult", "ResDenseNet"), ("child", "ResUDenseNet")):
        assert found[network, f"{group}_mae"] < 0.5 * found["Median", f"{group}_mae"]

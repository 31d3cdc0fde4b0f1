"""The target `histone` from end to end: what was planted is found, restarts, bad input, real data."""

import gzip
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from browsing import assert_fine
from companion import Companion
from conftest import ROOT, snakemake

HISTONE = Companion(
    "histone",
    {
        "training": {"threads": 1},
        "histone": {
            "models": ["GeneNet", "RandomForest", "OneMark"],
            "debug": True,
            "epochs": 10,
            "batch_size": 20,
            "lr": 1e-3,
            "occlusion": {"bins": 5, "genes": 10},
            "simulate": {"cells": 2, "genes": 360},
        },
    },
)
FOLDER = HISTONE.folder
MODELS = HISTONE.config["histone"]["models"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return HISTONE.finished(tmp_path_factory.mktemp("histone"))


def test_the_models_find_what_was_planted(finished):
    found = HISTONE.summary(finished)
    for model, least in (("RandomForest", 0.75), ("OneMark", 0.6)):
        for name in (model, f"{model}_mix"):
            assert found[name, "auc"] > least, name
            assert found["truth", "auc"] > found[name, "auc"] - 0.03
    # Trained on few genes: of both cell types mixed.
    assert found["GeneNet_mix", "auc"] > 0.6
    assert found["GeneNet_mix", "planted_bins_auc"] > 0.65


def test_what_is_written_agrees(finished):
    folder = finished / FOLDER
    found = HISTONE.summary(finished)
    cells = pd.read_csv(folder / "cells.csv").set_index(["model", "cell"])
    for name, model in (("output.csv", "GeneNet"), ("output-mix.csv", "GeneNet_mix")):
        lines = [line.split(",") for line in (folder / "saved" / name).read_text().splitlines()]
        assert [cell for cell, _ in lines] == ["C01", "C02"]
        assert np.mean([float(area) for _, area in lines]) == pytest.approx(found[model, "auc"], abs=1e-5)
        for cell, area in lines:
            assert float(area) == pytest.approx(found[model, f"auc_{cell}"], abs=1e-5)
            assert float(area) == pytest.approx(cells.loc[(model, cell), "auc"], abs=1e-5)
    log = pd.read_csv(folder / "saved/C01/GeneNet_log.csv")
    assert log["epoch"].tolist() == list(range(1, 11))
    np.testing.assert_allclose(log["lr"], 1e-3 * 0.9 ** np.arange(10), rtol=1e-4)
    html = (folder / "report.html").read_text()
    for model in MODELS:
        assert f"{found[model, 'auc']:.3f}" in html
    assert not re.search(r'(?:src|href)="https?://', html)


def test_the_page_is_fine_in_a_browser(finished, browser):
    assert_fine(browser, finished / FOLDER / "report.html")


def test_all_models_are_tested_on_the_test_files_alone(finished):
    truth = pd.read_csv(finished / FOLDER / "simulated/truth.csv", dtype={"gene": str})
    wanted = truth[truth["split"] == "test"].set_index(["cell", "gene"])["label"]
    for unit in ("C01", "mix"):
        for model in MODELS:
            found = pd.read_parquet(finished / FOLDER / f"predictions/{unit}/{model}.parquet")
            found = found.set_index(["cell", "gene"])["label"]
            right = wanted if unit == "mix" else wanted.loc[[unit]]
            assert found.astype(int).to_dict() == right.to_dict()


def test_debug_writes_logs_for_tensorboard(finished):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = finished / FOLDER / "saved/mix/GeneNet_tensorboard"
    events = reading.EventAccumulator(str(folder)).Reload()
    log = pd.read_csv(finished / FOLDER / "saved/mix/GeneNet_log.csv")
    assert [event.step for event in events.Scalars("val_auc")] == log["epoch"].tolist()
    np.testing.assert_allclose([event.value for event in events.Scalars("val_auc")], log["val_auc"], rtol=1e-4)
    assert len(events.Tags()["histograms"]) == 14  # weights and biases of three convolutions and four layers


def test_what_is_deleted_is_made_anew_and_nothing_else(finished, tmp_path):
    assert HISTONE.made_anew(finished, tmp_path, "predictions/C02/RandomForest.parquet") == {"histone_peers": 1}


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"models": MODELS[:2], "mix": False}, {}),
        ({"peer_rows": 100}, {"histone_peers": 6}),
        ({"occlusion": {"bins": 10}}, {"histone_occlusion": 3}),
        ({"models": ["DeepChrome", *MODELS]}, {"histone_fit": 3}),
        ({"warmup": 1}, {"histone_fit": 3, "histone_occlusion": 3}),
        ({"cells": ["C01"]}, {"histone_fit": 1, "histone_peers": 2, "histone_occlusion": 1}),
    ],
    ids=str,
)
def test_a_key_costs_what_hangs_on_it(finished, tmp_path, change, jobs):
    assert HISTONE.jobs(finished, tmp_path, **change) == jobs


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_network(finished, tmp_path):
    HISTONE.goes_on(finished, tmp_path, "saved/C01/GeneNet_model.pt", ".checkpoints/C01_GeneNet/*/last.ckpt")
    HISTONE.same_log(finished, tmp_path, "saved/C01/GeneNet_log.csv")


# --- what is wrong is said -------------------------------------------------------------------------------------------


def own(finished, folder):
    """The simulated cell types as the user's own, and a config that names them."""
    for cell in ("C01", "C02"):
        shutil.copytree(finished / FOLDER / f"simulated/{cell}", folder / f"data/{cell}")
    return {"histone": {"data_dir": "data"}}


def test_bad_files_are_reported_all_at_once(finished, tmp_path):
    config = own(finished, tmp_path)
    train, valid = (tmp_path / f"data/C01/classification/{part}.csv" for part in ("train", "valid"))
    lines = train.read_text().splitlines()
    fields = lines[4].split(",")
    lines[4] = ",".join([*fields[:3], "-7", *fields[4:]])
    del lines[250]
    train.write_text("\n".join(lines) + "\n")
    valid.with_suffix(".csv.gz").write_bytes(gzip.compress(valid.read_bytes())[:2000])
    valid.unlink()
    test = tmp_path / "data/C02/classification/test.csv"
    test.write_text(re.sub(r"[01]$", "1", test.read_text(), flags=re.M))
    found = HISTONE.refused(tmp_path, config)
    assert "1 genes with negative counts: line 5 ('000001', H3K36me3): -7" in found
    assert "1 genes with another number of rows: '000003' (from line 201) has 99, not 100" in found
    assert "valid.csv.gz is damaged or cut off" in found
    assert "all 120 test genes of cell type C02 have the label 1" in found
    assert not list((tmp_path / FOLDER).glob("input/*"))


def test_bad_folders_are_reported_before_anything_runs(finished, tmp_path):
    config = own(finished, tmp_path)
    (tmp_path / "data/C02/classification/test.csv").unlink()
    assert "cell type C02 lacks test.csv" in HISTONE.refused(tmp_path, config)
    (tmp_path / "empty").mkdir()
    assert "empty is empty" in HISTONE.refused(tmp_path, {"histone": {"data_dir": "empty"}})
    config["histone"]["tables"] = {"E1": "t.csv"}
    assert "histone.data_dir and histone.tables are both set" in HISTONE.refused(tmp_path, config)
    assert not (tmp_path / FOLDER).exists()


# --- real data -------------------------------------------------------------------------------------------------------


def test_the_published_example_folder_runs(shared, tmp_path):
    section = {"data_dir": str(shared / "histone/deepchrome_toy"), "epochs": 2, "occlusion": {"genes": 0}}
    section["models"] = ["DeepChrome", "GeneNet"]
    run = snakemake(tmp_path, "histone", config={"training": {"threads": 1}, "histone": section | {"mix": False}})
    assert run.code == 0, run.text
    [line] = (tmp_path / FOLDER / "saved/output.csv").read_text().splitlines()
    assert re.fullmatch(r"deepchrome_toy,[01]\.\d+", line)
    assert pd.read_csv(tmp_path / FOLDER / "cells.csv")["n"].tolist() == [9] * 2


@pytest.mark.slow
def test_two_real_cell_types_have_their_promoters_found(shared, tmp_path):
    config = yaml.safe_load((ROOT / "config/examples/histone.yaml").read_text())
    section = config["histone"]
    section["tables"] = {cell: str((ROOT / path).resolve()) for cell, path in section["tables"].items()}
    section |= {"models": ["GeneNet", "RandomForest"], "mix": False, "occlusion": {"bins": 5, "genes": 20}}
    run = snakemake(tmp_path, "histone", config=config)
    assert run.code == 0, run.text
    found = HISTONE.summary(tmp_path)
    assert found["RandomForest", "auc"] > 0.75
    assert found["GeneNet", "auc"] > 0.65
    # Taken over both cell types and all marks, the bins within 1 kb of the start matter more than those beyond 3 kb.
    maps = pd.read_csv(tmp_path / FOLDER / "occlusion.csv")
    change = maps.groupby("distance")["change"].sum()
    assert change[abs(change.index) < 1000].mean() > 1.3 * change[abs(change.index) > 3000].mean()

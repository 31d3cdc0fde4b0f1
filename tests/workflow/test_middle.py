"""Starting in the middle: own labels, own images, own weights; and classifying foreign images."""

import json
import os
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, TINY, Run, copy_run, merged, snakemake
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from starter import starter


def weights_of(folder):
    model = folder / "results/round_0/ResNet18"
    return {"weights": f"{model}_best_model.pt", "stats": f"{model}_normalization_stat.json"}


def test_own_weights_answer_as_the_network_they_were_taken_from(tiny_run, tmp_path):
    folder, file = copy_run(tiny_run, tmp_path / "copy"), "results/round_0/predictions/0-of-2.parquet"
    before = pd.read_parquet(folder / file)
    (folder / file).unlink()
    run = snakemake(folder, file, config=merged(TINY, {"training": weights_of(tiny_run), "rounds": {"max": 1}}))
    assert run.code == 0, run.text
    assert run.jobs() == {"use_weights": 1, "predict": 1}
    pd.testing.assert_frame_equal(before, pd.read_parquet(folder / file))


def test_own_images(tiny_run, tmp_path):
    for part in ("training", "val", "test"):
        rows = pd.read_csv(tiny_run / f"results/round_0/{part}_info.csv", header=None)[::3]
        for path in rows[0]:
            target = tmp_path / "pictures" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tiny_run / path, target)
        rows.to_csv(tmp_path / f"{part}.csv", header=False, index=False)
    info = {part: f"{part}.csv" for part in ("training", "val", "test")}
    config = {"images": {"size": 32, "info": info, "root": "pictures"}, "training": {"epochs": 1, "threads": 1}}
    run = snakemake(tmp_path, "results/round_0/metrics.json", config=config)
    assert run.code == 0, run.text
    assert set(run.jobs()) == {"use_images", "train", "predict_test", "evaluate"}
    metrics = json.loads((tmp_path / "results/round_0/metrics.json").read_text())
    assert metrics["test"]["n"] == len(pd.read_csv(tmp_path / "test.csv", header=None))
    # The normalisation statistics of such pictures are the same, rendered or read from PNG.
    stats = [
        json.loads((folder / "results/round_0/ResNet18_normalization_stat.json").read_text())
        for folder in (tiny_run, tmp_path)
    ]
    assert stats[1]["mean"] == pytest.approx(stats[0]["mean"], abs=0.02)


def test_predict_images_repeats_the_test_predictions(tiny_run, tmp_path):
    predict = {"images": str(tiny_run / "results/round_0/test_info.csv"), "root": str(tiny_run)} | weights_of(tiny_run)
    run = snakemake(tmp_path, "predict_images", config={"predict": predict})
    assert run.code == 0, run.text
    again = pd.read_csv(tmp_path / "results/predict_images/ResNet18_predictions.csv")
    first = pd.read_csv(tiny_run / "results/round_0/ResNet18_predictions.csv")
    assert list(again) == [*first, *PROBABILITY_COLUMNS]  # calibrated, after the published columns
    temperature = json.loads((tiny_run / "results/round_0/ResNet18_model.json").read_text())["temperature"]
    calibrated = softmax(np.log(again[list(TAXA)].to_numpy().clip(1e-30)), temperature)
    np.testing.assert_allclose(again[list(PROBABILITY_COLUMNS)], calibrated, atol=1e-3)
    assert again["ImagePath"].tolist() == first["ImagePath"].tolist()
    np.testing.assert_allclose(again[list(TAXA)], first[list(TAXA)], atol=1e-5)


def test_the_shipped_network_calls_the_published_images_right(tmp_path, shared):
    folder = shared / "reference_images"
    pictures = sorted(folder.glob("*.png"))
    rows = [f"{path.name},{path.stem.split('_')[1]}" for path in pictures]
    (tmp_path / "images.csv").write_text("\n".join(rows) + "\n")
    predict = {"images": "images.csv", "root": str(folder), "weights": "reference"}
    run = snakemake(tmp_path, "predict_images", config={"predict": predict})
    assert run.code == 0, run.text
    table = pd.read_csv(tmp_path / "results/predict_images/ResNet18_predictions.csv")
    assert table["PredictedLabelName"].tolist() == table["ActualLabel"].tolist()
    np.testing.assert_allclose(table[list(TAXA)].sum(axis=1), 1, atol=1e-4)


def test_too_few_labels_to_learn_from_is_said_with_the_remedy(tiny_run, tmp_path):
    folder = tmp_path / "copy"
    copy_run(tiny_run, folder)
    config = merged(TINY, {"training": {"source": "statistical", "min_per_taxon": 100}})
    run = snakemake(folder, "results/round_0/training_info.csv", config=config)
    assert run.code != 0
    assert "fewer than training.min_per_taxon = 100" in run.text
    assert "training.source to both" in run.text


def test_round_0_continues_from_the_shipped_network(tiny_run):
    log = (tiny_run / "results/logs/train_0_ResNet18.log").read_text()
    assert re.search(r"starting from the weights .*resources/reference/ResNet18_best_model.pt.gz", log)
    card = json.loads((tiny_run / "results/round_0/ResNet18_model.json").read_text())
    assert card["recipe"]["warm_start"] is True


def test_the_shipped_network_places_a_cohort_with_own_labels_without_any_training(tiny_run, tmp_path):
    folder = tmp_path / "copy"
    copy_run(tiny_run, folder)
    labels = pd.read_parquet(tiny_run / "results/taxa/statistical.parquet")
    given = labels[labels["taxon"] != UNCLASSIFIED].iloc[:100].copy()
    given["taxon"] = np.where(given["taxon"] == "UniStable", "UniUnstable", given["taxon"])
    given[["cpg", "taxon"]].to_csv(folder / "labels.csv", index=False)
    changes = {"taxa": {"labels": "labels.csv"}, "training": {"weights": "reference"}, "rounds": {"max": 1}}
    run = snakemake(folder, "results/taxonomy.parquet", config=merged(TINY, changes))
    assert run.code == 0, run.text
    assert not {"define_taxa", "train", "split", "render"} & set(run.jobs())
    table = pd.read_parquet(folder / "results/taxonomy.parquet").set_index("cpg")
    assert table.loc[given["cpg"], "taxon"].tolist() == given["taxon"].tolist()
    assert (table["source"] == "statistical").sum() == len(given)
    truth = pd.read_csv(folder / "results/simulated_cohort/truth.csv").set_index("cpg")["taxon"]
    placed = table[table["source"] == "round_0"]
    assert len(placed) >= 10
    assert (placed["taxon"] == truth[placed.index]).mean() > 1 - TINY["rounds"]["error_rate"]
    changes["images"] = {"size": 48}
    run = snakemake(folder, "results/taxonomy.parquet", config=merged(TINY, changes))
    assert run.code != 0
    assert "was trained on images of 64 pixels, but images.size is 48; set images.size to 64" in run.text


def test_config_alone_works_from_another_folder(tmp_path):
    pd.DataFrame({"cpg": ["cg1"], "S1": [0.5]}).to_csv(tmp_path / "beta.csv", index=False)
    pd.DataFrame({"sample_id": ["S1"], "age": [50]}).to_csv(tmp_path / "samples.csv", index=False)
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    command += ["--snakefile", ROOT / "workflow/Snakefile"]
    command += ["--config", "cohort={beta: beta.csv, samples: samples.csv}"]
    run = Run(starter().run(command, dict(os.environ), tmp_path, 60))
    assert run.code == 0, run.text
    assert "compute_statistics" in run.text

"""The main job, run for real on a tiny cohort: the files it makes, and what it redoes when something is missing."""

import json
import pathlib
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, Run, call, copy_run, snakemake
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.patterns.columns import DESCRIPTION, SHAPES
from cpgtaxa.placement.rounds import PARTS
from PIL import Image
from processes import contents

LAST = ("boundary", "criterion", "margin", "network_p", "disagrees")


def test_taxonomy_has_the_documented_columns_and_every_cpg(tiny_run):
    table = pd.read_parquet(tiny_run / "results/taxonomy.parquet")
    assert list(table) == ["cpg", "taxon", "source", "confidence", "second_taxon", *PROBABILITY_COLUMNS, *LAST]
    assert len(table) == TINY["simulate_cohort"]["cpgs"]
    assert table["cpg"].is_unique
    assert set(table["taxon"]) <= {*TAXA, UNCLASSIFIED}
    assert set(table["source"]) <= {"statistical", "round_0", "round_1", "none"}
    assert (table["taxon"].eq(UNCLASSIFIED) == table["source"].eq("none")).all()
    np.testing.assert_allclose(table[list(PROBABILITY_COLUMNS)].sum(axis=1), 1, atol=1e-4)
    assert table["confidence"].isna().equals(table["taxon"].eq(UNCLASSIFIED))
    assert table["confidence"].dropna().between(0, 1).all()
    text = pd.read_csv(tiny_run / "results/taxonomy.csv.gz")
    assert text["cpg"].tolist() == table["cpg"].tolist()
    assert text["taxon"].tolist() == table["taxon"].tolist()


def test_patterns_stand_beside_the_taxa(tiny_run):
    taxa = pd.read_parquet(tiny_run / "results/taxonomy.parquet")["taxon"]
    table = pd.read_parquet(tiny_run / "results/patterns.parquet")
    text = pd.read_csv(tiny_run / "results/patterns.csv.gz", keep_default_na=False)
    assert list(table) == list(text) == list(DESCRIPTION)
    assert table["cpg"].tolist() == pd.read_parquet(tiny_run / "results/taxonomy.parquet")["cpg"].tolist()
    assert (table["cause"].notna() == taxa.str.startswith(("Bi", "Tri"))).all()
    assert table["shape"].tolist() == text["shape"].tolist()
    assert set(table["shape"]) <= set(SHAPES)
    assert (table.loc[taxa.str.startswith("LinAge"), "shape"] == "linear").mean() > 0.8


def test_sources_agree_with_labels_and_rounds(tiny_run):
    table = pd.read_parquet(tiny_run / "results/taxonomy.parquet").set_index("cpg")
    labels = pd.read_parquet(tiny_run / "results/taxa/statistical.parquet").set_index("cpg")
    clean = labels[labels["taxon"] != UNCLASSIFIED]
    assert table.loc[clean.index, "taxon"].equals(clean["taxon"])
    assert table.loc[clean.index, "source"].eq("statistical").all()
    for number in (0, 1):
        placed = pd.read_parquet(tiny_run / f"results/round_{number}/reassigned.parquet")
        mine = table[table["source"] == f"round_{number}"]
        assert set(mine.index) == set(placed["cpg"])
        counts = json.loads((tiny_run / f"results/round_{number}/reassigned.json").read_text())
        assert counts["placed"] == len(placed)
        assert counts["placed"] + sum(counts["left"].values()) == counts["candidates"]
        assert counts["error_rate_at_most"] <= counts["error_rate"] == TINY["rounds"]["error_rate"]
    assert len(pd.read_parquet(tiny_run / "results/round_0/reassigned.parquet")) > 0


def test_what_stays_unclassified_has_a_reason_and_taxa(tiny_run):
    table = pd.read_parquet(tiny_run / "results/taxonomy.parquet")
    left = pd.read_parquet(tiny_run / "results/unclassified.parquet")
    assert sorted(left["cpg"]) == sorted(table.loc[table["taxon"] == UNCLASSIFIED, "cpg"])
    assert set(left["reason"]) <= {"ambiguous", "contradicted", "unlike"}
    assert left["taxa"].str.split("|").map(lambda taxa: len(taxa) >= 2 and set(taxa) <= set(TAXA)).all()
    assert left["unlike_p"].between(0, 1).all()


@pytest.mark.parametrize(("number", "model"), [(0, "ResNet18"), (1, "MixResNet18")])
def test_each_round_leaves_the_published_files(tiny_run, number, model):
    folder = tiny_run / f"results/round_{number}"
    for part in PARTS:
        rows = pd.read_csv(folder / f"{part}_info.csv", header=None)
        assert rows.shape[1] == 2
        assert set(rows[1]) <= set(TAXA)
        for path in rows[0]:
            assert (tiny_run / path).is_file(), path
    assert Image.open(tiny_run / rows[0][0]).size == (224, 224)
    assert Image.open(tiny_run / rows[0][0]).mode == "RGB"
    stats = json.loads((folder / f"{model}_normalization_stat.json").read_text())
    assert set(stats) == {"mean", "std"}
    log = pd.read_csv(folder / f"{model}_training_log.csv")
    assert list(log) == ["epoch", "train_loss", "train_acc", "val_loss", "val_acc", "epoch_duration_s"]
    predictions = pd.read_csv(folder / f"{model}_predictions.csv")
    names = ["ImagePath", "ActualLabel", "PredictedLabelName", "PredictedLabelIndex", *TAXA]
    assert list(predictions) == names
    best = predictions[list(TAXA)].to_numpy().argmax(axis=1)
    assert (predictions["PredictedLabelIndex"] == best).all()
    assert predictions["PredictedLabelName"].tolist() == [TAXA[index] for index in best]
    metrics = json.loads((folder / "metrics.json").read_text())
    right = (predictions["ActualLabel"] == predictions["PredictedLabelName"]).mean()
    assert metrics["test"]["accuracy"] == pytest.approx(right)


def test_rounds_enlarge_the_training_set_and_keep_the_test_set_and_no_image_is_in_two_parts(tiny_run):
    first, second = (
        {part: pd.read_csv(tiny_run / f"results/round_{number}/{part}_info.csv", header=None)[0] for part in PARTS}
        for number in (0, 1)
    )
    before, after = set(first["training"]), set(second["training"])
    assert before < after
    assert all(path.startswith("results/round_1/CpG_image/") for path in after - before)
    assert set(first["test"]) == set(second["test"])
    assert all(pd.concat(parts.values()).is_unique for parts in (first, second))


def test_the_map_shows_the_taxonomys_cpgs(tiny_run):
    table = pd.read_parquet(tiny_run / "results/taxonomy.parquet").set_index("cpg")
    points = pd.read_csv(tiny_run / "results/embedding/map.csv")
    assert len(points) == len(table)
    assert points["taxon"].tolist() == table.loc[points["cpg"], "taxon"].tolist()
    page = (tiny_run / "results/report.html").read_text()
    assert "Are ten taxa needed, and enough?" in page
    for taxon in TAXA:
        assert f"{taxon} ({(table['taxon'] == taxon).sum()})" in page


def test_a_second_run_finds_nothing_to_do(tiny_run):
    run = snakemake(tiny_run)
    assert run.code == 0
    assert "Nothing to be done" in run.text
    assert (tiny_run / "results/summary.txt").read_text() in run.text


def test_the_terminal_shows_what_begins_what_ends_how_far_it_is_and_a_table(tiny_run):
    text = (tiny_run / "run.txt").read_text()
    assert (tiny_run / "results/summary.txt").read_text().strip() in text
    for job in ("cohort", "compute_statistics 2 of 2", "train round 0, ResNet18", "predict round 1, 1 of 2", "report"):
        assert re.search(rf"^\d\d:\d\d:\d\d  {job} begins$", text, re.M), job
        assert re.search(rf"^\d\d:\d\d:\d\d  {job} is done: \d+ of \d+ steps \(\d+ %\)$", text, re.M), job
    assert re.search(r"^\[train round 0, ResNet18\] epoch 1 of 3: .*; \d+ s so far", text, re.M)
    assert re.search(r"^\[predict round 0, 1 of 2\] [\d,]+ CpGs classified in \d+ s$", text, re.M)
    for noise in ("Select jobs to execute", "Finished jobid", "Execute ", "DAG of jobs will be updated"):
        assert noise not in text


# What deleting one file must cost, and nothing else: the rule that makes it first. Jobs after a checkpoint show once it
# has run.
LATER = ("predict_test", "evaluate", "predict", "predict_calibration", "reassign", "taxonomy", "embedding", "report")
LATER += ("explorer", "age_ewas", "gather_patterns")
AFTER_ROUNDS = ["taxonomy", "age_ewas", "gather_patterns", "embedding", "report", "explorer"]
LOST = {
    "results/report.html": ["report"],
    "results/explorer.html": ["explorer"],
    "results/age_ewas.csv.gz": ["age_ewas", "report"],
    "results/taxonomy.csv.gz": AFTER_ROUNDS,
    "results/patterns.csv.gz": ["gather_patterns", "report", "explorer"],
    "results/embedding/map.csv": ["embedding", "report", "explorer"],
    "results/round_1/metrics.json": ["evaluate", "report"],
    "results/round_1/reassigned.parquet": ["reassign", *AFTER_ROUNDS],
    "results/round_1/reassigned.json": ["reassign", *AFTER_ROUNDS],
    "results/round_0/reassigned.json": ["reassign", "enlarge", "render", "train", *LATER],
    "results/round_1/MixResNet18_best_model.pt": ["train", *LATER],
    "results/statistics/shards/1-of-2.parquet": None,
}


@pytest.mark.parametrize("lost", LOST)
def test_deleting_a_file_costs_what_depends_on_it(tiny_run, tmp_path, lost):
    folder = tmp_path / "copy"
    copy_run(tiny_run, folder)
    (folder / lost).unlink()
    run = snakemake(folder, "--dry-run", "--rerun-triggers", "mtime")
    assert run.code == 0, run.text
    expected = LOST[lost]
    if expected is None:
        # An intermediate nobody asks for any more is not remade for its own sake.
        assert run.jobs() == {}
    else:
        assert expected[0] in run.jobs()
        assert set(run.jobs()) <= set(expected)


def test_the_same_seed_gives_the_same_files(tiny_run, tmp_path):
    """As far as the first training; test_training.py repeats that, and test_determinism.py all of it.

    By the command of users, with jobs on two threads: `snakemake` of these tests starts both otherwise.
    """
    asked = call(tmp_path, "results/round_0/images.arrow", "results/calibration/beta.arrow", config=TINY)
    run = Run(subprocess.run(**asked, capture_output=True, timeout=900, check=False))
    assert run.code == 0, run.text
    wanted, found = contents(tiny_run), contents(tmp_path)
    assert {"round_0/images.arrow", "simulated/images.arrow", "calibration/beta.arrow", "cohort/beta.arrow"} <= set(
        found
    )
    assert not [path for path in found if found[path] != wanted[path]]


def test_logs_and_benchmarks_lie_in_one_place_each(tiny_run):
    logs = {path.name for path in (tiny_run / "results/logs").iterdir()}
    benchmarks = {path.name for path in (tiny_run / "results/benchmarks").iterdir()}
    assert {"cohort.log", "train_0_ResNet18.log", "taxonomy.log"} <= logs
    assert {pathlib.Path(name).stem for name in logs} == {pathlib.Path(name).stem for name in benchmarks}


def test_files_that_the_guide_names_are_there(tiny_run):
    text = (pathlib.Path(__file__).resolve().parents[2] / "resources/guide/README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"results/[\w/]+\.[\w.]*\w", text))
    assert len(named) > 10
    assert [path for path in named if not (tiny_run / path).is_file()] == []

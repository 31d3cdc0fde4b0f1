"""The target `single_cell` from end to end: what was planted is found, restarts, bad input, real data."""

import gzip
import json
import re

import numpy as np
import pandas as pd
import pytest
from companion import Companion
from conftest import ROOT, snakemake

# A planted word lies within 100 bases of the CpG, so that 221 are enough to see it; the CNN of one layer learns it.
CELLS = Companion(
    "single_cell",
    {
        "training": {"threads": 1},
        "single_cell": {
            "dna_wlen": 221,
            "cpg_wlen": 20,
            "shards": 2,
            "dna_model": "CnnL1h128",
            "cpg_model": "FcAvg",
            "joint_model": "JointL1h512",
            "epochs": 5,
            "batch": 64,
            "lr_decay": 0.8,
            "peer_rows": 1500,
            "reading": {"motif_windows": 1500, "effect_sites": 20, "span": 20},
            "taxa": {"folds": 3, "max_per_taxon": 150, "epochs": 3},
            "simulate": {"cells": 4, "chromosomes": 5, "length": 150_000},
        },
    },
)
FOLDER = CELLS.folder
MODELS = ["dna", "cpg", "joint", "window_mean", "random_forest"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return CELLS.finished(tmp_path_factory.mktemp("cells"))


def test_sequence_and_neighbours_are_both_recovered(finished):
    found = CELLS.summary(finished)
    assert found["dna", "auc"] > 0.65  # sees the planted word and the islands, not the cells' own neighbourhoods
    assert found["cpg", "auc"] > 0.75
    assert found["joint", "auc"] > max(found["dna", "auc"], found["cpg", "auc"]) - 0.01
    assert found["joint", "auc"] > found["window_mean", "auc"]
    for model in MODELS:
        assert found["true_probability", "auc"] > found[model, "auc"] - 0.01
        assert {"accuracy", "tpr", "tnr", "f1", "mcc"} <= set(found[model].index)


def test_the_planted_motif_moves_methylation(finished):
    """Where a motif lies, what is predicted of unobserved states is nearer to the truth than the cell's mean rate."""
    folder = finished / FOLDER
    truth = pd.read_csv(folder / "simulated/truth.csv")
    sites = pd.read_parquet(folder / "statistics.parquet", columns=["chrom", "position"])
    sites["chrom"] = sites["chrom"].astype(str)
    dna = pd.read_parquet(folder / "predictions/dna.parquet")
    joined = sites.assign(predicted=dna.drop(columns="site").mean(axis=1)).merge(truth, on=["chrom", "position"])
    plain = joined[joined["island"] == 0]
    effect = plain.groupby("motif")[["predicted", "p"]].mean().diff().loc[1]
    assert np.sign(effect["predicted"]) == np.sign(effect["p"])
    assert abs(effect["predicted"]) > 0.3 * abs(effect["p"])


def test_what_is_written_agrees(finished):
    folder = finished / FOLDER
    cells = pd.read_csv(folder / "cells.csv")
    assert list(cells["cell"]) == ["cell1", "cell2", "cell3", "cell4"]
    joint = pd.read_parquet(folder / "predictions/joint.parquet")
    for cell in cells["cell"]:
        [path] = folder.glob(f"imputed/{cell}.bedGraph.gz")
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        assert lines[0].startswith("track type=bedGraph")
        imputed = pd.DataFrame([line.split("\t") for line in lines[1:]])
        assert len(imputed) == len(joint)
        profile = pd.read_csv(folder / f"simulated/profiles/{cell}.tsv.gz", sep="\t", header=None)
        profile = profile[~profile[1].astype(str).str.contains("pos")]
        at = dict(zip(zip(imputed[0], imputed[1].astype(int) + 1, strict=True), imputed[3].astype(float), strict=True))
        for chrom, position, value in profile.itertuples(index=False):
            assert at[chrom, int(position)] == float(value)
    html = (folder / "report.html").read_text()
    assert f"{CELLS.summary(finished)['joint', 'auc']:.3f}" in html
    assert not re.search(r'(?:src|href)="https?://', html)
    card = json.loads((folder / "models/joint.json").read_text())
    assert card["models"] == {"dna": "CnnL1h128", "cpg": "FcAvg", "joint": "JointL1h512"}
    assert (folder / "reading/motifs.meme").read_text().startswith("MEME version 4")
    scores = json.loads((folder / "taxa/scores.json").read_text())
    assert set(scores["models"]) == {"CnnL1h128", "kmers"}


def test_what_is_deleted_is_made_anew_and_nothing_else(finished, tmp_path):
    assert CELLS.made_anew(finished, tmp_path, "predictions/cpg.parquet") == {"single_cell_predict": 1}


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"joint_model": "JointL2h512"}, {"single_cell_train": 1, "single_cell_predict": 1}),
        ({"parts": "fine_tuned"}, {"single_cell_train": 1, "single_cell_predict": 1}),
        ({"window": 5001}, {"single_cell_peers": 1}),
        ({"peer_rows": 1000}, {"single_cell_peers": 1}),
        ({"imputed": "all"}, {}),
        ({"reading": {"span": 10}}, {"single_cell_reading": 1}),
        ({"taxa": {"epochs": 2}}, {"single_cell_taxa": 1}),
        ({"lr": 2e-3}, {"single_cell_train": 3, "single_cell_predict": 3, "single_cell_reading": 1}),
    ],
    ids=str,
)
def test_a_key_costs_what_hangs_on_it(finished, tmp_path, change, jobs):
    assert CELLS.jobs(finished, tmp_path, **change) == jobs


@pytest.mark.slow  # the loop itself is killed and goes on in test_training.py and test_ecg.py
def test_a_killed_training_goes_on_to_the_same_network(finished, tmp_path):
    CELLS.goes_on(finished, tmp_path, "models/dna.pt", "models/.checkpoints_dna/*/last.ckpt")


@pytest.mark.slow
def test_trained_jointly_there_is_one_network(tmp_path):
    run = CELLS.run(tmp_path, train="jointly", epochs=1, peers=["window_mean"])
    assert run.jobs()["single_cell_train"] == 1
    assert set(pd.read_csv(tmp_path / FOLDER / "scores.csv")["model"]) == {"joint", "window_mean"}


# --- what is wrong is said -------------------------------------------------------------------------------------------


def own(finished, folder, change=lambda lines: lines):
    """The simulated files as the user's own; `change` spoils the first profile."""
    profiles = {}
    for path in sorted((finished / FOLDER).glob("simulated/profiles/*.gz")):
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        target = folder / path.name.removesuffix(".gz")
        target.write_text("\n".join(lines if profiles else change(lines)) + "\n")
        profiles[path.name.split(".")[0]] = target.name
    genome = finished / FOLDER / "simulated/genome.fa.gz"
    (folder / "genome.fa.gz").write_bytes(genome.read_bytes())
    return {"single_cell": {"profiles": profiles, "genome": "genome.fa.gz"}}


def shifted(lines, by):
    found = []
    for line in lines:
        fields = line.split("\t")
        found.append("\t".join([fields[0], str(int(fields[1]) + by), *fields[2:]]) if fields[1].isdigit() else line)
    return found


BAD = {
    "off by one": (lambda lines: shifted(lines, -1), r"zero_based|0-based"),
    "mixed names": (lambda lines: [line[3:] if at % 2 else line for at, line in enumerate(lines)], r"chr1"),
    "beyond the end": (lambda lines: [*lines, "chr1\t99999999\t1"], r"99,?999,?999"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_profiles_are_named(finished, tmp_path, name):
    change, message = BAD[name]
    assert re.search(message, CELLS.refused(tmp_path, own(finished, tmp_path, change)))
    assert not list((tmp_path / FOLDER).glob("input/*"))


def test_a_gzip_that_ends_early(finished, tmp_path):
    config = own(finished, tmp_path)
    whole = (finished / FOLDER / "simulated/profiles/cell1.tsv.gz").read_bytes()
    (tmp_path / "cell1.tsv.gz").write_bytes(whole[: len(whole) // 2])
    config["single_cell"]["profiles"]["cell1"] = "cell1.tsv.gz"
    assert "cell1.tsv.gz" in CELLS.refused(tmp_path, config)


def test_problems_of_the_config_come_all_at_once(tmp_path):
    config = {"single_cell": {"genome": "g.fa", "dna_wlen": 1000, "cpg_wlen": 51, "dna_model": None}}
    found = CELLS.refused(tmp_path, config)
    for key in ("single_cell.genome", "single_cell.dna_wlen", "single_cell.cpg_wlen", "single_cell.joint_model"):
        assert key in found


# --- real data -------------------------------------------------------------------------------------------------------

SHARED = ROOT.parent / "shared/data/single_cell"


MOUSE = {
    "profiles": {name: str(SHARED / f"deepcpg_{name}.bed.gz") for name in ("BS27_4_SER", "BS28_2_SER")},
    "epochs": 2,
    "shards": 1,
    "peer_rows": 500,
    "cpg_model": "FcAvg",
}
here = pytest.mark.skipif(not SHARED.is_dir(), reason="shared/data/single_cell is not here")


@here
def test_without_a_genome_there_is_one_network_and_nothing_to_read_in_it(tmp_path):
    run = snakemake(tmp_path, "single_cell", "--dry-run", config={"single_cell": MOUSE})
    assert run.code == 0, run.text
    once = ("sites", "windows", "train", "predict")
    assert run.jobs() == {f"single_cell_{job}": 1 for job in once} | {"single_cell_peers": 2, "single_cell": 1}


@here
@pytest.mark.slow
def test_two_mouse_cells_without_a_genome(tmp_path):
    run = snakemake(tmp_path, "single_cell", config={"single_cell": MOUSE})
    assert run.code == 0, run.text
    found = CELLS.summary(tmp_path)
    assert {"cpg", "window_mean", "random_forest"} == set(found.index.get_level_values("model"))
    assert found["cpg", "auc"] > 0.6
    cells = pd.read_csv(tmp_path / FOLDER / "cells.csv").set_index("cell")
    assert cells["rows"].tolist() == [10_000, 10_000]

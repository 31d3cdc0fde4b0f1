"""Two cohorts from end to end: the second is placed with the first one's network, and both are compared."""

import json
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, copy_run, merged, snakemake
from cpgtaxa.errors import InputError
from cpgtaxa.files import sha256
from cpgtaxa.learning.classifier import use_weights
from cpgtaxa.plan.main import network_of_run


def second_config(first, **changes):
    """The same CpGs in other people, placed with the first cohort's last network; both are then compared."""
    return merged(
        TINY,
        {
            "simulate_cohort": {"samples": 170, "age_min": 30},
            "training": {"weights": str(first)},
            "rounds": {"max": 1},
            "statistics": {"shards": 1},
            "compare": {"cohorts": {"first": str(first), "second": "."}, "examples": 4},
            **changes,
        },
    )


def right_of(folder, taxon):
    """Whether each taxon (a Series by CpG) is admissible for the simulated truth of a run."""
    truth = pd.read_csv(folder / "results/simulated_cohort/truth.csv").set_index("cpg")["admissible"][taxon.index]
    return np.array([name in taxa.split("|") for name, taxa in zip(taxon, truth, strict=True)])


@pytest.fixture(scope="module")
def second(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("second")
    run = snakemake(folder, "compare", config=second_config(tiny_run))
    assert run.code == 0, run.text
    assert (folder / "results/compare/summary.txt").read_text() in run.text
    (folder / "run.txt").write_text(run.text)
    return folder


def test_the_second_cohort_is_placed_with_the_firsts_last_network(tiny_run, second):
    text = (second / "run.txt").read_text()
    assert not re.search(r"Rule: (train|split|render)\b", text)
    given = network_of_run(tiny_run, "training.weights")
    last = json.loads((tiny_run / "results/round_1/MixResNet18_model.json").read_text())
    card = json.loads((second / "results/round_0/ResNet18_model.json").read_text())
    assert card["temperature"] == last["temperature"]
    assert card["recipe"] == {"weights": "MixResNet18_best_model.pt"}
    for kind, name in (("stats", "normalization_stat.json"), ("features", "features.npy")):
        assert sha256(second / f"results/round_0/ResNet18_{name}") == sha256(given[kind])
    counts = json.loads((second / "results/round_0/reassigned.json").read_text())
    table = pd.read_parquet(second / "results/taxonomy.parquet").set_index("cpg")
    assert counts["placed"] == (table["source"] == "round_0").sum()
    placed = table["taxon"][table["source"] != "none"]
    assert right_of(second, placed).mean() > 0.85


def test_the_comparison_of_both(tiny_run, second):
    folder = second / "results/compare"
    table = pd.read_parquet(folder / "taxonomy.parquet").set_index("cpg")
    singles = {
        name: pd.read_parquet(run / "results/taxonomy.parquet").set_index("cpg")["taxon"]
        for name, run in (("first", tiny_run), ("second", second))
    }
    for name, single in singles.items():
        assert (table[f"taxon_{name}"].astype(object) == single[table.index]).all()
    summary = pd.read_csv(folder / "summary.csv").set_index(["cohorts", "metric"])["value"]
    assert summary["first / second", "kappa"] > 0.6
    assert summary["first / second", "shared"] == 300
    assert (table["n_slopes"] == 2).all()
    right = {name: right_of(second, single[table.index]).mean() for name, single in singles.items()}
    assert right_of(second, table["taxon"].astype(object)).mean() > min(right.values()) - 0.05
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64" in page, "the CpGs that moved are shown as both cohorts see them"


def test_a_damaged_file_of_the_first_run_stops_the_second(tiny_run, tmp_path):
    copy_run(tiny_run, tmp_path / "copy")
    network = network_of_run(tmp_path / "copy", "training.weights")
    weights = pathlib.Path(network["weights"])
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    out = {kind: tmp_path / f"out/{kind}" for kind in (*network, "log")}
    with pytest.raises(InputError, match="its checksum is not that of what its run wrote"):
        use_weights(network["weights"], network["stats"], out, 64)
    assert not (tmp_path / "out").exists()

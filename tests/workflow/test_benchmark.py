"""The target `benchmark`: every stage and peer measured, in one table and one plot."""

import os

import pandas as pd
import pytest
from browsing import assert_fine
from conftest import ROOT, merged, snakemake
from cpgtaxa.targets.benchmark import measure as benchmark
from cpgtaxa.targets.benchmark.page import page
from cpgtaxa.targets.benchmark.stages import LIMIT, LIMITS, over_limits, ratios
from PIL import Image

SMALL = {"cpgs": [30, 60], "samples": [40], "peer_samples": 60, "images": 24, "network_images": 24, "size": 32}


def test_the_plan_covers_every_stage_and_peer_once():
    settings = {"cpgs": [1000, 4000], "samples": [100, 656], "peer_samples": 3500, "images": 500, "network_images": 64}
    tasks = benchmark.plan(settings, 2)
    assert {(task["stage"], task["implementation"]) for task in tasks} == {
        (stage, implementation) for stage, them in benchmark.STAGES.items() for implementation in (*them, LIMIT)
    }
    assert {task["cores"] for task in tasks} == {1, 2}
    assert len(tasks) == len({tuple(sorted(task.items())) for task in tasks})
    for task in tasks:
        assert callable(benchmark._function(task["stage"], task["implementation"]))
    ours = [task for task in tasks if (task["stage"], task["implementation"]) == ("images", "cpgtaxa")]
    assert {(task["n_cpgs"], task["n_samples"], task["cores"]) for task in ours} == {
        (1000, 3500, 2),
        (4000, 3500, 2),
        (1000, 100, 2),
        (1000, 656, 2),
        (1000, 3500, 1),
    }


def test_peers_that_are_not_installed_are_named(tmp_path, monkeypatch):
    (tmp_path / "Rscript").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "Rscript").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert benchmark._lacking("R limma, trend alone") == "R's package limma"
    assert benchmark._lacking("R densCols + png") is None
    (tmp_path / "Rscript").unlink()
    assert benchmark._lacking("R densCols + png") == "Rscript"
    assert benchmark._lacking("statsmodels loop") is None


def test_ratios_compare_cost_per_cpg():
    rows = [
        ("images", "cpgtaxa", 1000, 3500, 2, 0.1, 1.0),
        ("images", "cpgtaxa", 4000, 3500, 2, 0.2, 1.0),
        ("images", "cpgtaxa", 1000, 3500, 1, 0.15, 1.0),
        ("images", "matplotlib", 20, 3500, 2, 2.0, 1.0),
        ("images", LIMIT, 1000, 3500, 1, 0.05, 1.0),
        ("prediction", "cpgtaxa", 512, 3500, 2, 1.0, 1.0),
        ("prediction", "published loop", 512, 3500, 2, 4.0, 1.0),
    ]
    table = pd.DataFrame(rows, columns=benchmark.COLUMNS)
    assert ratios(table) == [
        ("images", "matplotlib", pytest.approx(5e-5), pytest.approx(2000.0)),
        ("prediction", "published loop", pytest.approx(1 / 512), pytest.approx(4.0)),
    ]
    assert over_limits(table) == [("images", LIMITS["images"], pytest.approx(3.0))]


def test_the_page_shows_every_measurement_and_is_fine_in_a_browser(tmp_path, browser):
    table = pd.read_csv(ROOT / "tests/benchmarks/speed.csv")
    table.to_csv(tmp_path / "benchmark.csv", index=False)
    outputs = {"plot": tmp_path / "benchmark.png", "html": tmp_path / "report.html", "figures": tmp_path / "figures"}
    page(table, outputs, 3500)
    html = outputs["html"].read_text()
    assert html.count("<tr") == len(table) + 1 + len(LIMITS) + 1
    pd.testing.assert_frame_equal(pd.read_csv(outputs["figures"] / "benchmark.csv"), table)
    with Image.open(outputs["plot"]) as image:
        assert image.size[0] > 1000
    assert_fine(browser, outputs["html"])


@pytest.mark.slow
def test_the_target_measures_and_draws(tmp_path):
    run = snakemake(tmp_path, "benchmark", config=merged({"benchmark": SMALL}, {}))
    assert run.code == 0, run.text
    assert (tmp_path / "results/benchmark/summary.txt").read_text() in run.text
    table = pd.read_csv(tmp_path / "results/benchmark/benchmark.csv")
    assert tuple(table.columns) == benchmark.COLUMNS
    wanted = benchmark.plan(SMALL, len(os.sched_getaffinity(0)))
    left_out = [task for task in wanted if "R " in task["implementation"]]
    assert len(wanted) - len(left_out) <= len(table) <= len(wanted)
    assert (table["seconds"] > 0).all()
    assert (table["peak_mb"] > 20).all()
    with Image.open(tmp_path / "results/benchmark/benchmark.png") as image:
        assert image.size[0] > 1000
    assert not (tmp_path / "results/benchmark/scratch").exists()

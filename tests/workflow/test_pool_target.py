"""Two sites summarise their cohorts, and a third place pools them."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, merged, snakemake
from cpgtaxa.cohort import Cohort


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Folders of two sites with the same CpGs in other people, each with its summary."""
    found = {}
    for name, people in (("london", {"samples": 260}), ("ulm", {"samples": 180, "age_min": 30})):
        folder = found[name] = tmp_path_factory.mktemp(name)
        run = snakemake(folder, "summarise", config=merged(TINY, {"simulate_cohort": people | {"cpgs": 100}}))
        assert run.code == 0, run.text
        assert run.jobs() == {"simulate_cohort": 1, "cohort": 1, "summarise": 1}
        assert (folder / "results/summary/summary.txt").read_text() in run.text
    return found


def test_pooled_summaries_go_through_the_whole_job(sites, tmp_path):
    given = {name: str(folder / "results/summary/summary.parquet") for name, folder in sites.items()}
    config = {
        "pool": {"summaries": given},
        "statistics": {"shards": 1},
        "training": {"weights": "reference", "threads": 1},
        "rounds": {"max": 1, "calibration": 500},
    }
    run = snakemake(tmp_path, "pool", config=config)
    assert run.code == 0, run.text
    jobs = run.jobs()
    assert jobs["pool_cohort"] == jobs["adjust"] == 1
    assert "cohort" not in jobs
    assert (tmp_path / "results/summary.txt").read_text() in run.text
    page = (tmp_path / "results/report.html").read_text()
    assert "pseudo-people of pooled cohorts" in page
    assert ">london<" in page
    assert "Principal components of" not in page
    taxonomy = pd.read_parquet(tmp_path / "results/taxonomy.parquet").set_index("cpg")["taxon"].astype(str)
    truth = pd.read_csv(sites["london"] / "results/simulated_cohort/truth.csv").set_index("cpg")["admissible"]
    placed = taxonomy[taxonomy != "Unclassified"]
    right = [taxon in truth[cpg].split("|") for cpg, taxon in placed.items()]
    assert len(placed) > 80
    assert np.mean(right) > 0.85
    adjusted = json.loads((tmp_path / "results/adjusted/adjusted.json").read_text())
    assert adjusted["covariates"][0]["levels"] == {"london": 260, "ulm": 180}
    assert Cohort(tmp_path / "results/cohort/beta.arrow").n_samples == 440
    # What needs people is refused, and so is a pool of nothing.
    run = snakemake(tmp_path, "scores", "--dry-run", config=config)
    assert run.code != 0
    assert "this target looks at each person's CpGs together" in run.text
    run = snakemake(tmp_path, "pool", "--dry-run", config={"pool": {"summaries": {}}})
    assert run.code != 0
    assert "pool.summaries names no summary" in run.text

"""The example configs on real blood methylation: the same workflow, with a short training to keep the tests short."""

import pandas as pd
import pytest
import yaml
from conftest import ROOT, merged, snakemake
from cpgtaxa.names import UNCLASSIFIED

QUICK = {
    "training": {"weights": "reference"},
    "images": {"png": False},
    "rounds": {"max": 1, "calibration": 4000},
}


def example(name):
    config = merged(yaml.safe_load((ROOT / f"config/examples/{name}.yaml").read_text()), QUICK)
    for key in ("beta", "samples"):
        config["cohort"][key] = str((ROOT / config["cohort"][key]).resolve())
    return config


def test_labels_of_a_real_cohort_are_as_they_should_be(shared, tmp_path):
    run = snakemake(tmp_path, "results/taxa/statistical.parquet", config=example("gse40279"))
    assert run.code == 0, run.text
    assert len(pd.read_parquet(tmp_path / "results/cohort/samples.parquet")) == 656
    labels = pd.read_parquet(tmp_path / "results/taxa/statistical.parquet").set_index("cpg")["taxon"]
    assert len(labels) == 416
    # ELOVL2, the best known age CpG: a strong trend
    assert labels["cg16867657"] in ("LinAgeHomo", "LinAgeHet", UNCLASSIFIED)
    assert labels.isin(["LinAgeHomo", "LinAgeHet"]).sum() > 20
    assert labels.isin(["TriAge", "TriNonAge"]).sum() <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cpgs", "samples"), [("gse40279", 416, 656), ("gse42861", 2995, 100)])
def test_example_runs_on_its_cohort(shared, tmp_path, name, cpgs, samples):
    run = snakemake(tmp_path, config=example(name))
    assert run.code == 0, run.text
    table = pd.read_parquet(tmp_path / "results/taxonomy.parquet")
    assert len(table) == cpgs  # probes outside CpGs (ch.…) are left out
    assert len(pd.read_parquet(tmp_path / "results/cohort/samples.parquet")) == samples
    assert (table["taxon"] != UNCLASSIFIED).any()
    assert (tmp_path / "results/report.html").stat().st_size > 50_000
    if name == "gse40279":
        assert table.set_index("cpg").loc["cg16867657", "taxon"] in ("LinAgeHomo", "LinAgeHet", UNCLASSIFIED)
    else:
        # chosen for variability: bands in plenty, next to nothing stable
        labels = pd.read_parquet(tmp_path / "results/taxa/statistical.parquet")["taxon"]
        assert labels.isin(["BiNonAge", "TriNonAge"]).sum() > 300
        assert (labels == "UniStable").sum() < 30

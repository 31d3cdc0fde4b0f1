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


@pytest.mark.parametrize(
    ("name", "cpgs", "samples"),
    [("gse40279", 416, 656), pytest.param("gse42861", 2995, 100, marks=pytest.mark.slow)],
)
def test_example_runs_on_its_cohort(shared, tmp_path, name, cpgs, samples):
    config = merged(yaml.safe_load((ROOT / f"config/examples/{name}.yaml").read_text()), QUICK)
    for key in ("beta", "samples"):
        config["cohort"][key] = str((ROOT / config["cohort"][key]).resolve())
    run = snakemake(tmp_path, config=config)
    assert run.code == 0, run.text
    table = pd.read_parquet(tmp_path / "results/taxonomy.parquet")
    assert len(table) == cpgs  # probes outside CpGs (ch.…) are left out
    assert len(pd.read_parquet(tmp_path / "results/cohort/samples.parquet")) == samples
    assert (table["taxon"] != UNCLASSIFIED).any()
    assert (tmp_path / "results/report.html").stat().st_size > 50_000
    labels = pd.read_parquet(tmp_path / "results/taxa/statistical.parquet").set_index("cpg")["taxon"]
    if name == "gse40279":
        # ELOVL2, the best known age CpG: a strong trend
        assert labels["cg16867657"] in ("LinAgeHomo", "LinAgeHet", UNCLASSIFIED)
        assert table.set_index("cpg").loc["cg16867657", "taxon"] in ("LinAgeHomo", "LinAgeHet", UNCLASSIFIED)
        assert labels.isin(["LinAgeHomo", "LinAgeHet"]).sum() > 20
        assert labels.isin(["TriAge", "TriNonAge"]).sum() <= 2
    else:
        # chosen for variability: bands in plenty, next to nothing stable
        assert labels.isin(["BiNonAge", "TriNonAge"]).sum() > 300
        assert (labels == "UniStable").sum() < 30

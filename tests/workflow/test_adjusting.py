"""Adjusted betas as a user gets them: two rules more, and only what looks at betas is made again."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, merged, snakemake
from cpgtaxa.cohort import Cohort
from cpgtaxa.errors import InputError
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan

TAXA = "results/taxa/statistical.parquet"
REST = {"compute_statistics": 1, "gather_statistics": 1, "define_taxa": 1}
CONFIG = {
    "cohort": {"beta": "beta.csv", "samples": "samples.csv", "columns": {"age": "years"}},
    "statistics": {"shards": 1},
    "adjust": {"covariates": ["cell_fractions", "sex"], "reference": "types.csv"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run to the rules' taxa on 80 people whose cells change with age: 60 markers, 60 CpGs that follow the cells."""
    folder, rng = tmp_path_factory.mktemp("adjusting"), np.random.default_rng(1)
    age = rng.uniform(20, 90, 80).round(1)
    share = np.clip(0.2 + 0.006 * (age - 20) + 0.05 * rng.normal(size=80), 0, 1)
    fractions = np.column_stack([share, 1 - share])
    types = pd.DataFrame(rng.uniform(0.1, 0.9, (60, 2)), [f"cg{at:03d}" for at in range(60)], ["Gran", "Lymph"])
    followers = 0.45 + 0.2 * (share - share.mean()) + 0.01 * rng.normal(size=(60, 80))
    values = np.vstack([types.to_numpy() @ fractions.T + 0.005 * rng.normal(size=(60, 80)), followers])
    ids = [f"S{at}" for at in range(80)]
    names = [*types.index, *(f"cg{at:03d}" for at in range(60, 120))]
    pd.DataFrame(values.round(5), names, ids).to_csv(folder / "beta.csv", index_label="cpg")
    sheet = pd.DataFrame({"sample_id": ids, "years": age, "sex": rng.permutation(["F", "M"] * 40), "fractions": share})
    sheet.to_csv(folder / "samples.csv", index=False)
    types.to_csv(folder / "types.csv", index_label="cpg")
    run = snakemake(folder, TAXA, "cell_types", config=CONFIG)
    assert run.code == 0, run.text
    assert run.jobs() == REST | {"cohort": 1, "cell_fractions": 1, "adjust": 1, "cell_types": 1}
    return folder


def test_fractions_betas_and_taxa(finished):
    sheet = pd.read_csv(finished / "samples.csv")
    fractions = pd.read_csv(finished / "results/cell_fractions.csv")
    assert (fractions["sample_id"] == sheet["sample_id"]).all()
    np.testing.assert_allclose(fractions["Gran"], sheet["fractions"], atol=0.02)
    raw, found = (Cohort(finished / f"results/{name}/beta.arrow") for name in ("cohort", "adjusted"))
    r = [np.corrcoef(sheet["years"], beta.read(60, 120))[0, 1:] for beta in (raw, found)]
    assert np.median(np.abs(r[0])) > 0.8
    assert np.median(np.abs(r[1])) < 0.3
    summary = json.loads((finished / "results/adjusted/adjusted.json").read_text())
    assert summary["terms"] == 3
    assert summary["age_vif"] > 4
    assert any("explained by 'cell_fractions'" in text for text in summary["warnings"])
    # The tests know: t of the line through the adjusted values, times the scale.
    statistics = pd.read_parquet(finished / "results/statistics/statistics.parquet")
    age, y = sheet["years"].to_numpy(), found.read(100, 101)[0].astype(float)
    slope, level = np.polyfit(age, y, 1)
    error = np.sqrt(np.sum((y - slope * age - level) ** 2) / 78 / np.sum((age - age.mean()) ** 2))
    assert statistics["slope_t"][100] == pytest.approx(summary["statistics"]["t_scale"] * slope / error, rel=1e-4)
    taxa = pd.read_parquet(finished / TAXA)["taxon"][60:]
    assert not taxa.isin(["LinAgeHomo", "LinAgeHet"]).any()


def test_cell_types_have_a_slope_in_each_type(finished):
    table = pd.read_parquet(finished / "results/cell_types.parquet")
    assert table["type"].tolist() == ["Gran", "Lymph"] * 120
    assert table["slope_per_year"].notna().all()
    assert (table["q"] < 0.05).mean() < 0.02  # what goes with age here is how many cells there are, not the cells
    log = (finished / "results/logs/cell_types.log").read_text()
    assert "beta ~ Σ f (a + b age) + sex" in log
    assert "Gran" in (finished / "results/cell_types/summary.txt").read_text()


def test_changes_rerun_what_follows_from_them(finished):
    def jobs(covariates):
        changed = merged(CONFIG, {"adjust": {"covariates": covariates}})
        run = snakemake(finished, TAXA, "cell_fractions", "methylation_age", "--dry-run", config=changed)
        assert run.code == 0, run.text
        return run.jobs()

    # The clock of the cohort reads the betas as they are, adjusted or not.
    assert jobs(["sex"]) == REST | {"adjust": 1, "methylation_age": 1}
    assert jobs([]) == REST | {"methylation_age": 1}


def test_a_config_that_does_not_go_together_is_refused():
    def checked(**adjust):
        return check_config({"adjust": adjust}, ROOT / "workflow/schemas/config.schema.yaml")

    shipped = Plan(checked(covariates=["cell_fractions"])).reference_table()["reference"]
    assert [pathlib.Path(path).name for path in shipped] == ["blood_450k.csv", "blood_epic.csv"]
    with pytest.raises(InputError, match=r"adjust\.reference: no\.csv is not there"):
        Plan(checked(reference="no.csv")).reference_table()
    with pytest.raises(InputError, match=r"adjust\.reference: types\.{a}\.csv has braces"):
        Plan(checked(reference="types.{a}.csv"))
    for wrong in ({"sex": "text"}, {}, {"sex": "category", "batch": "number"}, 3, ""):
        with pytest.raises(InputError, match=r"adjust\.covariates"):
            checked(covariates=[wrong])
    plain, own = Plan(checked()), Plan(checked(covariates=[{"batch": "category"}]))
    assert (plain.beta, plain.adjusted()) == ("results/cohort/beta.arrow", {})
    assert "adjust" not in plain.report_config()
    assert own.beta == "results/adjusted/beta.arrow"
    assert own.report_config()["adjust"]["covariates"] == [{"batch": "category"}]

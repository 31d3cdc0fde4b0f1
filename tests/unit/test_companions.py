"""The table of the companions' own and published figures."""

import importlib.util

import pandas as pd
import pytest
from conftest import ROOT

PATH = ROOT / "tests/benchmarks/companions.py"


@pytest.fixture(scope="module")
def companions():
    spec = importlib.util.spec_from_file_location("companions", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def summary(folder, target, rows):
    (folder / target).mkdir()
    frame = pd.DataFrame(rows, columns=["model", "metric", "value"]).assign(ci_low=0.1, ci_high=0.9, n=5)
    frame.to_csv(folder / target / "summary.csv", index=False)


def test_published_figures_stand_beside_ours(companions, tmp_path, capsys):
    summary(tmp_path, "expression", [("ElasticNet", "r2_pearson", 0.2), ("Ridge", "r2", 0.1), ("Ridge", "other", 9)])
    summary(tmp_path, "histone", [("GeneNet", "auc_E123", 0.85)])
    summary(tmp_path, "single_cell", [("cpg", "auc", 0.9)])
    assert companions.main(["--results", str(tmp_path), "--out", str(tmp_path / "t.csv")]) == 1
    said = capsys.readouterr()
    assert "ecg_age was not run" in said.err
    assert "hcc/results/single_cell/summary.csv is not there (make single-cells runs it)" in said.err
    assert "0.200 (0.100 to 0.900)" in said.out
    table = pd.read_csv(tmp_path / "t.csv").set_index(["target", "model", "metric"])
    assert table.loc[("expression", "ElasticNet", "r2_pearson"), ["ours", "published"]].astype(float).tolist() == [
        0.2,
        0.449,
    ]
    assert pd.isna(table.loc[("histone", "GC-MERGE", "auc_E123"), "ours"])
    assert table.loc[("single_cell_hcc", "DeepCpG", "auc_pooled"), "published"] == "0.96 to 0.969"
    assert table.loc[("single_cell", "cpg", "auc"), "ours"] == 0.9
    assert ("expression", "Ridge", "other") not in table.index


def test_ages_asked_about_stand_beside_those_of_the_published_network(companions, tmp_path):
    summary(tmp_path, "ecg_age", [("ResDenseNet", "adult_mae", 13.0)])
    row = {"group": "adult", "n": 10, "mae": 12.91, "mae_low": 8.0, "mae_high": 18.0}
    models = [row | {"model": "nn_predicted_age"}, row | {"model": "Median", "mae": 11.6}]
    pd.DataFrame(models).to_csv(tmp_path / "ecg_age/published.csv", index=False)
    table, _ = companions.table_of(tmp_path, pd.read_csv(companions.PUBLISHED))
    table = table[table["target"] == "ecg_age"].set_index(["model", "metric"])
    assert table.loc[("nn_predicted_age", "adult_mae_asked"), ["ours", "published"]].tolist() == [12.91, "12.9"]
    assert table.loc[("Median", "adult_mae_asked"), ["ours", "published"]].tolist() == [11.6, ""]
    assert len(table) == 3


def test_every_metric_of_a_published_figure_is_shown(companions):
    published = pd.read_csv(companions.PUBLISHED)
    assert all(row.metric in companions.METRICS[row.target] for row in published.itertuples())
    assert (published["low"] <= published["high"]).all()


def test_a_set_with_a_command_of_its_own_may_be_lacking(companions, tmp_path, capsys):
    for target in set(companions.METRICS) - set(companions.APART):
        summary(tmp_path, target, [("model", companions.METRICS[target][0], 0.5)])
    assert companions.main(["--results", str(tmp_path)]) == 0
    assert "single_cell_hcc was not run" in capsys.readouterr().err
    (tmp_path / "hcc/results").mkdir(parents=True)
    summary(tmp_path / "hcc/results", "single_cell", [("cpg", "auc_pooled", 0.97)])
    table, lacking = companions.table_of(tmp_path, pd.read_csv(companions.PUBLISHED))
    assert not lacking
    assert table.set_index(["target", "model"]).loc[("single_cell_hcc", "cpg"), "ours"] == 0.97

"""The targets `enrichment` and `scores` on a finished run."""

import pandas as pd
import pytest
from browsing import assert_fine
from conftest import TINY, copy_run, merged, snakemake


@pytest.fixture(scope="module")
def finished(tiny_run, tmp_path_factory):
    folder = copy_run(tiny_run, tmp_path_factory.mktemp("biology") / "run")
    taxonomy = pd.read_parquet(folder / "results/taxonomy.parquet")
    linear = taxonomy["cpg"][taxonomy["taxon"].str.startswith("LinAge")]
    statistics = pd.read_parquet(folder / "results/statistics/statistics.parquet").set_index("cpg")
    weights = statistics.loc[linear, "slope"] * 100
    pd.DataFrame({"CpGmarker": linear, "CoefficientTraining": weights.to_numpy()}).to_csv(folder / "clock.csv")
    changes = {
        "enrichment": {"sets": {"clock": "clock.csv"}},
        "scores": {"noise": {"clock": "clock.csv", "NonAgeHet": "taxon"}, "signature": {"clock": "clock.csv"}},
    }
    run = snakemake(folder, "enrichment", "scores", config=merged(TINY, changes))
    assert run.code == 0, run.text
    assert run.jobs() == {"enrichment": 1, "scores": 1}
    for target in ("enrichment", "scores"):
        assert (folder / f"results/{target}/summary.txt").read_text() in run.text
    assert "CpGs per taxon, after each step" not in run.text  # the main job was not asked for
    return folder / "results"


@pytest.mark.parametrize("target", ["enrichment", "scores"])
def test_the_pages_are_fine_in_a_browser(finished, target, browser):
    assert_fine(browser, finished / target / "report.html")


def test_the_list_is_found_in_the_taxa_it_was_made_of(finished):
    table = pd.read_csv(finished / "enrichment/enrichment.csv").set_index("taxon")
    taxonomy = pd.read_parquet(finished / "taxonomy.parquet")
    for taxon, row in table.iterrows():
        n = int((taxonomy["taxon"] == taxon).sum())
        assert row["overlap"] == (n if taxon.startswith("LinAge") else 0)
    assert (table["background"] == len(taxonomy)).all()
    signs = pd.read_csv(finished / "enrichment/signs.csv").set_index("among")
    assert signs.loc["all", "share"] == 1  # weights are slopes here
    summary = pd.read_csv(finished / "enrichment/summary.csv")
    assert summary["share"][0] == 1
    shares = pd.read_csv(finished / "enrichment/anatomy.csv").query("by == 'taxon'").set_index("group")
    assert set(shares.index) == {taxon for taxon in table.index if taxon.startswith("LinAge")}
    assert shares["signal"].sum() == pytest.approx(1, abs=1e-4)
    assert pd.read_csv(finished / "enrichment/gaps.csv")["r_age"][0] > 0.9
    html = (finished / "enrichment/report.html").read_text()
    assert "clock" in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert {path.name for path in (finished / "enrichment/figures").iterdir()} >= {"lists.svg", "lists.csv"}


def test_every_sample_has_its_scores(finished):
    frame = pd.read_csv(finished / "scores/scores.csv")
    samples = pd.read_parquet(finished / "cohort/samples.parquet")
    assert list(frame["sample_id"].astype(str)) == list(samples["sample_id"])
    summary = pd.read_csv(finished / "scores/summary.csv").set_index("score")
    assert summary.loc["signature_clock", "r_age"] > 0.7  # signs are those of the slopes
    reference = pd.read_csv(finished / "scores/reference.csv.gz")
    assert reference["cpg"].is_unique
    assert len(reference) >= summary["cpgs_used"].max()


def test_what_is_missing_is_reported_before_anything_runs(tmp_path):
    changes = {
        "enrichment": {"taxonomy": "old.parquet", "sets": {"Hannum": "shipped", "mine": "mine.csv"}},
        "scores": {"taxonomy": "old.parquet", "signature": {"crp": "crp.csv"}, "cell_fractions": "cells.csv"},
    }
    run = snakemake(tmp_path, "enrichment", "-n", config=merged(TINY, changes))
    assert run.code != 0
    for words in (
        "enrichment.sets.Hannum: no list",
        "enrichment.sets.mine: mine.csv",
        "enrichment.taxonomy: old.parquet",
    ):
        assert words in run.text
    assert "Traceback" not in run.text

"""What the report says of the study of age: figures of the CpGs there are, sentences that are true of the numbers."""

import json

import matplotlib
import numpy as np
import pandas as pd
import pytest
from cpgtaxa.names import TAXA, UNCLASSIFIED
from cpgtaxa.pages import drawing
from cpgtaxa.pages.drawing import STYLE, Figures
from cpgtaxa.report import ageing, quality
from cpgtaxa.report.page import _wrong
from cpgtaxa.report.thresholds import left_details
from cpgtaxa.statistics.age_ewas import write_age_ewas


def study(folder, slopes, places=True, n=400):
    """The study of n made-up CpGs whose t statistics are normal, but for the slopes given first."""
    rng = np.random.default_rng(2)
    t = rng.normal(size=n)
    t[: len(slopes)] = slopes
    cpgs = [f"cg{at}" for at in range(n)]
    statistics = pd.DataFrame({"cpg": cpgs, "n": np.int32(100), "slope": t / 1e4, "slope_t": t})
    statistics["slope_p"] = 2 * ageing_p(np.abs(t))
    statistics["het_p"], statistics["sd_ratio"] = rng.uniform(0.02, 1, n), 1.1
    statistics.to_parquet(folder / "statistics.parquet")
    taxon = [TAXA[at % 10] for at in range(n - 1)] + [UNCLASSIFIED]
    pd.DataFrame({"cpg": cpgs, "taxon": taxon}).to_parquet(folder / "taxonomy.parquet")
    given = {name: folder / f"{name}.parquet" for name in ("statistics", "taxonomy")}
    if places:
        where = pd.DataFrame({"cpg": cpgs, "chromosome": [f"chr{1 + at % 22}" for at in range(n - 1)] + [""]})
        where["position"] = pd.array([*range(1000, 1000 + n - 1), None], "Int64")
        where["gene"], where["island"] = [f"G{at};H" if at % 2 else "" for at in range(n)], "N_Shore"
        where["flags"] = "SNP;my_list"
        where.to_parquet(folder / "annotation.parquet")
        given["annotation"] = folder / "annotation.parquet"
    out = {"csv": folder / "age_ewas.csv.gz", "summary": folder / "age_ewas.json"}
    write_age_ewas(given, out)
    (folder / "figures").mkdir(exist_ok=True)
    with matplotlib.rc_context(STYLE):
        return ageing.ageing_page(Figures(folder / "figures"), out["csv"], json.loads(out["summary"].read_text()))


def ageing_p(t):
    from scipy import stats

    return stats.norm.sf(t)


def test_numbers_figures_and_tables_are_those_of_the_study(tmp_path):
    page = study(tmp_path, [9, -8, 7.5, -7])
    assert (page["changing"], page["up"], page["down"], page["spread"]) == ("4", "2", "2", "0")
    assert page["with_trend"] == "2"  # LinAgeHomo and LinAgeHet, the third and the fourth
    assert page["small"] == 2
    assert [row["cpg"] for row in page["top"][:4]] == ["cg0", "cg1", "cg2", "cg3"]
    assert page["top"][1]["place"] == "chr2:1,001"
    assert page["top"][1]["gene"] == "G1, H"
    assert [taxon for taxon, _ in page["tops"]] == [*TAXA, UNCLASSIFIED]
    assert all(len(rows) <= ageing.TOP_OF_TAXON for _, rows in page["tops"])
    assert page["rows"][0] == {"taxon": "UniStable", "cpgs": "40", "age": "1", "spread": "0"}
    drawn = pd.read_csv(tmp_path / "figures/manhattan.csv")
    assert len(drawn) <= 399
    assert drawn["position"].notna().all()
    assert ">G1<" in page["manhattan"]
    assert "λ = 1." in page["qq"] or "λ = 0.9" in page["qq"]


def test_without_places_or_changes_nothing_is_drawn_or_said_of_them(tmp_path):
    page = study(tmp_path, [], places=False)
    assert page["manhattan"] is None
    assert not page["placed"]
    assert not page["any"]
    assert page["small"] == 0


def test_thinning_keeps_what_is_apart_and_each_group():
    table = pd.DataFrame({"x": [0, 0, 1, 1], "y": [0, 0, 1, 1], "taxon": ["a", "b", "a", "a"]})
    assert drawing.thinned(table, "x", "y", "taxon").index.size == 3
    assert drawing.thinned(table, "x", "y").index.size == 2


def test_columns_that_components_go_with_are_offered_as_a_line_of_the_config():
    rows = [
        ("age", "PC1", 0.5, True), ("neutrophils", "PC1", 0.75, True), ("batch: no", "PC1", 0.2, True),
        ("batch: no", "PC2", 0.4, True), ("chance", "PC2", 0.2, False), ("little", "PC1", 0.05, True),
        ("sex", "PC2", 0.3, True),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["column", "of", "r2", "surely"])
    found = quality.suggestion(table, np.array([0.116, 0.066]), ["sex"])
    assert [(row["component"], row["column"], row["r2"]) for row in found["goes_with"]] == [
        ("PC1", "neutrophils", "75\u00a0%"),
        ("PC1", "batch: no", "20\u00a0%"),
    ]
    assert found["goes_with"][0]["variance"] == "11.6\u00a0%"
    assert found["adjust_line"] == "adjust: {covariates: [sex, neutrophils, 'batch: no']}"
    nothing = quality.suggestion(table[:1], np.array([0.1]), [])
    assert nothing == {"goes_with": [], "adjust_line": ""}


@pytest.mark.parametrize(
    ("placed", "expected", "bound", "said"),
    [
        (4, 0.007, 0.0, ("0.0 of 4", "0 of 4")),
        (50, 0.02, 0.05, ("1.0 of 50", "5 of 50")),
        (0, 0.02, 0.05, ("0.0 of 0", "0 of 0")),
        (1000, 0.021, 0.043, ("2.1\u00a0%", "4.3\u00a0%")),
    ],
)
def test_wrong_calls_of_few_are_counts_and_never_more_expected_than_at_most(placed, expected, bound, said):
    found = {"placed": placed, "threshold": 0.9, "expected_error_rate": expected, "error_rate_at_most": bound}
    assert _wrong(found) == said
    assert _wrong({"placed": placed, "threshold": None}) == ("–", "–")


def test_reasons_are_counted_with_their_open_question_and_settings():
    details = ["open: trend; UniUnstable or LinAgeHomo", "open: trend; BiAge or BiNonAge", "no taxon: curved"]
    left = pd.DataFrame({"reason": ["ambiguous", "ambiguous", "contradicted", "unlike"]})
    left["detail"] = [*details, "too few samples"]
    found = left_details(left)
    assert [(row["reason"], row["detail"], row["n"], row["setting"]) for row in found] == [
        ("ambiguous", "open: trend", "2", "rounds.error_rate, taxa.thresholds.trend, taxa.errors"),
        ("contradicted", "no taxon: curved", "1", "none"),
        ("unlike", "too few samples", "1", "rounds.unlike"),
    ]
    assert found[0]["share"] == "50.0\u00a0%"
    assert left_details(left, 0.95)[0]["setting"].startswith("rounds.confidence, ")
    assert left_details(left[:0]) == []

"""Several cohorts: read and matched, agreement, moves, pooled taxa, meta-analysis, the page, and bad input."""

import json
import pathlib
import re
import sys

import numpy as np
import pandas as pd
import pytest
from branches import Page, kept_from
from browsing import assert_fine
from cohorts import SHIPPED_RULES, statistics_of
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.input.texts import read_taxa
from cpgtaxa.names import INDEX, PROBABILITY_COLUMNS, UNCLASSIFIED
from cpgtaxa.plan.main import network_of_run
from cpgtaxa.targets.compare import agreement as agreeing
from cpgtaxa.targets.compare import pooling, reading, study
from cpgtaxa.targets.compare.plan import ComparePlan
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa
from statsmodels.stats.meta_analysis import combine_effects

sys.path.insert(0, str(ROOT / "tests/benchmarks"))

LEFT = reading.LEFT
RULE = {"probability": 0.85, "agreement": 0.66, "support": 0.5}
SETTINGS = {"probability": 0.9, "agreement": 0.66, "support": 0.5, "unplaced": 0.3, "examples": 4}


def taxonomy(n=400, seed=0, equal=0.8, start=0, ending="") -> pd.DataFrame:
    """A cohort's taxonomy as a run writes it; a share of its CpGs has the taxa that all have."""
    rng = np.random.default_rng(seed)
    true = np.random.default_rng(99).integers(0, LEFT + 1, 2000)[start : start + n]
    codes = np.where(rng.random(n) < equal, true, rng.integers(0, LEFT + 1, n))
    p = rng.dirichlet(np.full(LEFT, 0.2), n)
    placed = np.flatnonzero(codes < LEFT)
    p[placed] = 0.06 * p[placed]
    p[placed, codes[placed]] += 0.94
    frame = pd.DataFrame({"cpg": [f"cg{number:08d}{ending}" for number in range(start, start + n)]})
    frame["taxon"] = np.array(reading.KNOWN, dtype=object)[codes]
    frame["source"] = np.where(codes == LEFT, "none", np.where(rng.random(n) < 0.5, "statistical", "round_0"))
    frame["confidence"] = p.max(axis=1)
    frame[list(PROBABILITY_COLUMNS)] = p
    return frame


def statistics(cpgs, seed) -> pd.DataFrame:
    rng = np.random.default_rng([7, seed])
    slope = np.random.default_rng(5).normal(0, 1e-3, len(cpgs)) + rng.normal(0, 2e-4, len(cpgs))
    table = pd.DataFrame({"cpg": cpgs, "slope": slope, "slope_t": slope / rng.uniform(1e-4, 3e-4, len(cpgs))})
    return table.assign(effect=60 * slope, slope_p=rng.random(len(cpgs)), sd_ratio=rng.uniform(0.5, 2, len(cpgs)))


@pytest.fixture
def three(tmp_path):
    return make_three(tmp_path)


def make_three(tmp_path):
    """Files of three cohorts in three formats; the second starts 100 CpGs later, the third tells taxa alone."""
    files = {"a": {}, "b": {}, "c": {}}
    frames = {"a": taxonomy(seed=1), "b": taxonomy(seed=2, start=100), "c": taxonomy(seed=3)[["cpg", "taxon"]]}
    (tmp_path / "run").mkdir()
    frames["a"].to_parquet(tmp_path / "run/taxonomy.parquet")
    statistics(frames["a"]["cpg"], 1).to_parquet(tmp_path / "run/s.parquet")
    frames["b"].to_csv(tmp_path / "b.csv.gz", index=False)
    statistics(frames["b"]["cpg"], 2).to_parquet(tmp_path / "s.parquet")
    frames["c"].to_csv(tmp_path / "c.tsv", index=False, sep="\t")
    files["a"] = {"taxonomy": str(tmp_path / "run/taxonomy.parquet"), "statistics": str(tmp_path / "run/s.parquet")}
    files["b"] = {"taxonomy": str(tmp_path / "b.csv.gz"), "statistics": str(tmp_path / "s.parquet")}
    files["c"] = {"taxonomy": str(tmp_path / "c.tsv")}
    return files, frames


def beside_of(codes, **changes) -> reading.Beside:
    """Cohorts that tell taxa alone: codes (n, k)."""
    codes = np.asarray(codes, dtype=np.int8)
    index = pd.Index([f"cg{number}" for number in range(len(codes))])
    cohorts = []
    for at in range(codes.shape[1]):
        here = np.flatnonzero(codes[:, at] >= 0)
        nan = np.full((len(here), LEFT), np.nan, dtype=np.float32)
        values = {"by_rules": np.zeros(len(here), bool), "confidence": nan[:, 0], "p": nan, "statistics": {}}
        values |= {key: value[at] for key, value in changes.items()}
        cohorts.append(reading.Cohort(f"c{at}", index[here], codes[here, at], original=index[here], **values))
    return reading.lay_beside(cohorts)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_cohorts_of_all_formats_are_laid_beside_each_other(three):
    files, frames = three
    beside = reading.lay_beside(reading.read_cohorts(files))
    merged = frames["a"][["cpg", "taxon"]]
    for name in ("b", "c"):
        merged = merged.merge(frames[name][["cpg", "taxon"]], on="cpg", how="outer", suffixes=("", f"_{name}"))
    merged = merged.set_index("cpg").loc[beside.cpgs]
    for at, column in enumerate(("taxon", "taxon_b", "taxon_c")):
        codes = merged[column].map({taxon: code for code, taxon in enumerate(reading.KNOWN)}).fillna(-1)
        np.testing.assert_array_equal(beside.taxon[:, at], codes)
    rows = frames["b"].set_index("cpg")["confidence"].reindex(beside.cpgs)
    np.testing.assert_allclose(beside.column(1, beside.cohorts[1].confidence), rows, rtol=1e-5)
    assert beside.cohorts[0].by_rules.sum() == (frames["a"]["source"] == "statistical").sum()
    assert np.isnan(beside.cohorts[2].p).all()


def test_endings_of_epicv2_are_taken_off_only_where_another_cohort_has_none(tmp_path):
    plain, new = taxonomy(50), taxonomy(50, seed=4, ending="_TC11")
    twin = new[:2].assign(cpg=["cg00000000_BC21", "cg00000001_TC12"], source="statistical", confidence=1.0)
    twin["taxon"] = ["Outlier", new["taxon"][1] if new["taxon"][1] != UNCLASSIFIED else "Outlier"]
    new = pd.concat([new, twin], ignore_index=True)
    plain.to_parquet(tmp_path / "p.parquet")
    new.to_parquet(tmp_path / "n.parquet")
    new.to_parquet(tmp_path / "m.parquet")
    paths = {name: {"taxonomy": str(tmp_path / f"{name}.parquet")} for name in "pnm"}
    old, stripped = reading.read_cohorts({"p": paths["p"], "n": paths["n"]})
    assert sorted(stripped.cpgs) == sorted(old.cpgs)
    assert stripped.replicates == 2
    assert stripped.taxon[stripped.cpgs.get_loc("cg00000000")] == INDEX["Outlier"], "the surest probe counts"
    assert stripped.original[stripped.cpgs.get_loc("cg00000000")] == "cg00000000_BC21"
    first, second = reading.read_cohorts({"n": paths["n"], "m": paths["m"]})
    assert len(first.cpgs) == len(second.cpgs) == 52


def refused(files, *words):
    with pytest.raises(InputError) as caught:
        reading.read_cohorts(files)
    for word in words:
        assert word in caught.value.text(), word
    return caught.value


def test_all_that_is_wrong_with_files_is_said_at_once(tmp_path):
    (tmp_path / "no_taxon.csv").write_text("cpg,class\ncg1,BiAge\n")
    (tmp_path / "odd.csv").write_text("cpg,taxon,confidence\ncg1,BiAg,0.5\ncg2,,0.1\ncg2,BiAge,1.5\n,BiAge,1\n")
    (tmp_path / "some.csv").write_text("cpg,taxon,p_BiAge\ncg1,BiAge,1\n")
    (tmp_path / "ragged.csv").write_text("cpg,taxon\ncg1,BiAge\ncg2\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "rows.csv").write_text("cpg,taxon\n")
    (tmp_path / "book.csv").write_bytes(b"PK\x03\x04 and so on, whatever it is")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + bytes(50))
    files = {path.stem: {"taxonomy": str(path)} for path in sorted(tmp_path.iterdir())}
    error = refused(
        files,
        "needs the columns cpg and taxon in its header; found 'cpg', 'class'",
        "'BiAg' (did you mean 'BiAge'?)",
        "1 rows without a CpG id",
        "1 CpGs have more than one row: 'cg2'",
        "1 values of confidence are not between 0 and 1, 1.5 in row 3",
        "probabilities of 1 taxa",
        "a row does not fit the header",
        "is empty",
        "no rows",
        "zip archive or an Excel workbook",
        "cut.parquet is damaged",
    )
    assert len(error.problems) == 11


def test_cohorts_that_share_nothing_and_statistics_of_other_cpgs_are_named(tmp_path, three):
    files, _ = three
    pd.DataFrame({"cpg": ["ch.1", "ch.2"], "taxon": ["BiAge", "BiAge"]}).to_csv(tmp_path / "x.csv", index=False)
    refused(files | {"x": {"taxonomy": str(tmp_path / "x.csv")}}, "compare.cohorts.x shares no CpG", "'ch.1'")
    refused({"a": files["a"] | {"statistics": files["b"]["statistics"]}, "b": files["b"]}, "not of the same CpGs")


def test_a_file_that_another_run_did_not_write_so_is_refused(tmp_path):
    from cpgtaxa.files import _crc32

    results = tmp_path / "run/results"
    (results / "statistics").mkdir(parents=True)
    (results / ".checksums").mkdir()
    frame = taxonomy(50)
    frame.to_parquet(results / "taxonomy.parquet")
    statistics(frame["cpg"], 1).to_parquet(results / "statistics/statistics.parquet")
    (results / ".checksums/taxonomy.parquet").write_text(_crc32(results / "taxonomy.parquet"))
    files = ComparePlan({"compare": {"cohorts": {"a": str(tmp_path / "run"), "b": str(tmp_path / "run")}}})._files(
        "a", str(tmp_path / "run")
    )
    assert reading.read_cohort("a", files).statistics
    taxonomy(50, seed=8).to_parquet(results / "taxonomy.parquet")
    with pytest.raises(InputError, match=r"taxonomy.parquet is damaged \(its checksum"):
        reading.read_cohort("a", files)


# --- the config ------------------------------------------------------------------------------------------------------


def test_what_is_wrong_with_the_section_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("run/results/round_0", "nothing", "done/results"):
        pathlib.Path(name).mkdir(parents=True)
    pathlib.Path("done/results/taxonomy.parquet").touch()
    cohorts = {"a b": "done", "x": "{y}.csv", "run": "run", "nothing": "nothing", "lacks": "lacks.csv"}
    cohorts |= {"one": "done", "two": "done/results"}
    with pytest.raises(InputError) as caught:
        ComparePlan({"compare": {"cohorts": cohorts}}).files()
    for word in (
        "'a b' becomes the end of columns' names",
        "{y}.csv has braces",
        "the run in run is not finished",
        "nothing holds no results of a run",
        "lacks.csv is not there",
        "one and two are the same taxonomy",
    ):
        assert word in caught.value.text(), word
    assert len(caught.value.problems) == 6
    with pytest.raises(InputError, match="names 1 cohorts, and a comparison takes 2 to 20"):
        ComparePlan({"compare": {"cohorts": {"one": "done"}}}).files()
    found = ComparePlan({"compare": {"cohorts": {"own": ".", "done": "done"}}}).inputs()
    assert found["taxonomy"] == ["results/taxonomy.parquet", "done/results/taxonomy.parquet"]
    assert found["statistics"] == ["results/statistics/statistics.parquet"]


# --- agreement -------------------------------------------------------------------------------------------------------


def test_kappas_are_those_of_others(three):
    files, _ = three
    beside = reading.lay_beside(reading.read_cohorts(files))
    table = agreeing.agreement(beside, 1).set_index(["cohort_a", "cohort_b", "unclassified", "taxon", "metric"])
    for reported, part in (("yes", LEFT + 1), ("no", LEFT)):
        one, other = beside.taxon[:, 0], beside.taxon[:, 1]
        both = (one >= 0) & (other >= 0) & (one < part) & (other < part)
        row = table.loc[("a", "b", reported, "all", "kappa")]
        assert row["value"] == pytest.approx(cohen_kappa_score(one[both], other[both]))
        assert row["ci_low"] < row["value"] < row["ci_high"] < 1
        assert row["n"] == both.sum()
        assert table.loc[("a", "b", reported, "all", "equal"), "value"] == pytest.approx((one == other)[both].mean())
        every = beside.taxon[((beside.taxon >= 0) & (beside.taxon < part)).all(axis=1)]
        ratings = (every[:, :, None] == np.arange(LEFT + 1)).sum(axis=1)
        row = table.loc[("all", "all", reported, "all", "kappa")]
        assert row["value"] == pytest.approx(fleiss_kappa(ratings[:, ratings.sum(axis=0) > 0]))
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["ci_high"] - row["ci_low"] < 0.15
    one, other = (beside.taxon[:, at] == INDEX["BiAge"] for at in (0, 1))
    shared = (beside.taxon[:, :2] >= 0).all(axis=1)
    both, either = (one & other & shared).sum(), ((one | other) & shared).sum()
    assert table.loc[("a", "b", "yes", "BiAge", "jaccard"), "value"] == pytest.approx(both / either)
    dice = table.loc[("a", "b", "yes", "BiAge", "positive_agreement"), "value"]
    assert dice == pytest.approx(2 * both / (one & shared).sum().__add__((other & shared).sum()))


def test_intervals_of_kappa_have_their_coverage():
    """Of cohorts that agree by a known chance, 95 % intervals miss the true kappa in about one of twenty draws."""
    rng = np.random.default_rng(3)
    missed = {"cohen": 0, "fleiss": 0}
    true = None
    for draw in range(121):
        n = 400 if draw else 200_000
        taxon = rng.integers(0, 5, n)
        codes = np.stack([np.where(rng.random(n) < 0.7, taxon, rng.integers(0, 5, n)) for _ in range(3)], axis=1)
        counts = np.zeros((5, 5), dtype=int)
        np.add.at(counts, (codes[:, 0], codes[:, 1]), 1)
        cohen = agreeing.kappa(counts)
        fleiss = agreeing.fleiss(codes.astype(np.int8), draw)
        if not draw:
            true = cohen[0]
            assert fleiss[0] == pytest.approx(true, abs=0.01)
            continue
        missed["cohen"] += not cohen[1] <= true <= cohen[2]
        missed["fleiss"] += not fleiss[1] <= true <= fleiss[2]
    assert all(1 <= n <= 15 for n in missed.values()), missed


def test_contingency_counts_every_shared_cpg_once(three):
    files, frames = three
    beside = reading.lay_beside(reading.read_cohorts(files))
    table = agreeing.contingency(beside)
    merged = frames["a"].merge(frames["b"], on="cpg")
    wanted = pd.crosstab(merged["taxon_x"], merged["taxon_y"]).stack()
    found = table[(table["cohort_a"] == "a") & (table["cohort_b"] == "b")].set_index(["taxon_a", "taxon_b"])["n"]
    assert (found.loc[wanted.index] == wanted).all()
    assert found.sum() == len(merged) == 300


def test_agreement_of_nothing_is_no_number():
    beside = beside_of([[0, 0], [0, 0]])
    table = agreeing.agreement(beside, 1)
    assert table.loc[table["metric"] == "kappa", "value"].isna().all()
    assert (table.loc[(table["metric"] == "equal"), "value"] == 1).all()


# --- moves -----------------------------------------------------------------------------------------------------------


def test_kinds_of_moves():
    kind = {
        (a, b): agreeing.KINDS[INDEX.get(a, LEFT), INDEX.get(b, LEFT)] for a in reading.KNOWN for b in reading.KNOWN
    }
    assert kind["LinAgeHomo", "UniUnstable"] == "trend lost"
    assert kind["BiNonAge", "BiAge"] == "trend gained"
    assert kind["BiAge", "UniUnstable"] == "2 → 1 bands, trend lost"
    assert kind["LinAgeHomo", "NonAgeHet"] == "trend lost, changing spread gained"
    assert kind["UniStable", "Outlier"] == "outliers gained"
    assert kind["UniStable", "UniUnstable"] == "wider"
    assert kind["BiAge", UNCLASSIFIED] == "placed → Unclassified"
    assert all(kind[a, b] for a in reading.KNOWN for b in reading.KNOWN if a != b)


def test_a_move_is_reported_between_the_first_two_that_placed_the_cpg_differently():
    beside = beside_of([[3, 3, 3], [LEFT, 3, 4], [3, LEFT, 3], [-1, 5, 2], [-1, 1, 1], [LEFT, LEFT, 0], [-1, -1, 4]])
    rows, a, b = agreeing.moves(beside)
    cpgs = beside.cpgs[rows].tolist()
    assert dict(zip(cpgs, zip(a.tolist(), b.tolist(), strict=True), strict=True)) == {
        "cg1": (1, 2), "cg2": (0, 1), "cg3": (1, 2), "cg5": (0, 2),
    }  # fmt: skip


# --- pooling ---------------------------------------------------------------------------------------------------------


def test_pooled_probabilities_follow_bayes_rule():
    p = np.random.default_rng(0).dirichlet(np.full(LEFT, 2.0), (2, 5)).astype(np.float32)
    p = np.maximum(p, 0.02)
    p /= p.sum(axis=2, keepdims=True)
    codes = np.stack([one.argmax(axis=1) for one in p], axis=1)
    found = pooling.pooled(beside_of(codes, p=list(p)), 0.3)
    wanted = p[0] * p[1]
    np.testing.assert_allclose(found, wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-4)


def test_no_cohort_alone_rules_out_what_the_others_see():
    taxon = np.array([[2, 2, 2, 4]])
    p = np.zeros((4, 1, LEFT), dtype=np.float32)
    p[:3, 0, 2], p[:3, 0, 4], p[3, 0, 4] = 0.95, 0.05, 1.0
    beside = beside_of(taxon, p=list(p))
    found = pooling.decide(beside.taxon, pooling.pooled(beside, 0.3), **RULE)
    assert found["taxon"].tolist() == [2]
    assert found["agreement"].tolist() == [0.75]


def test_the_rule_by_which_a_taxon_is_given():
    # Both dispute; two of three; one of two; one of three; none; all; one cohort; one cohort, not placed.
    codes = [[2, 4, -1], [2, 2, 4], [2, LEFT, -1], [2, LEFT, LEFT], [LEFT] * 3, [2, 2, 2], [-1, 7, -1], [-1, LEFT, -1]]
    beside = beside_of(codes)
    p = pooling.pooled(beside, 0.3)
    found = pooling.decide(beside.taxon, p, **RULE)
    verdict = [pooling.VERDICTS[at] for at in found["verdict"]]
    wanted = ["disputed", "agreed", "agreed", "unclear", "unplaced", "agreed", "one cohort", "one cohort"]
    assert verdict == wanted
    assert found["taxon"].tolist() == [LEFT, 2, 2, LEFT, LEFT, 2, 7, LEFT]
    assert found["n_placed"].tolist() == [2, 3, 1, 1, 0, 3, 1, 0]
    loose = pooling.decide(beside.taxon, p, **RULE | {"support": 0.0})
    assert loose["taxon"][3] == 2
    strict = pooling.decide(beside.taxon, p, **RULE | {"agreement": 1.0})
    assert pooling.VERDICTS[strict["verdict"][1]] == "disputed"
    sure = pooling.decide(beside.taxon, p, **RULE | {"probability": 0.995})
    assert pooling.VERDICTS[sure["verdict"][2]] == "unclear"


def test_a_cohort_that_could_not_place_a_cpg_counts_as_configured():
    p = np.full((2, 1, LEFT), 0.01, dtype=np.float32)
    p[0, 0, 2], p[1, 0, 4] = 0.91, 0.91
    beside = beside_of([[2, LEFT]], p=list(p))
    alone, some, equal = (pooling.pooled(beside, weight)[0, 2] for weight in (0.0, 0.3, 1.0))
    assert alone == pytest.approx(0.91, abs=1e-3)
    assert equal < 0.5, "of the one that placed it a little is shared out, as tables that name no source are not known"
    assert equal < some < alone


def test_the_meta_taxonomy_is_better_than_a_single_cohort():
    from compare_meta import compared, simulate

    cohorts, truth = simulate(260, 160, 3, 11, 0.3)
    found = {what: scores for what, _, *scores in compared(cohorts, truth)}
    assert found["pool"][0] > found["single"][0] + 0.01, found
    assert found["pool"][1] > found["single"][1] + 0.02, found


# --- effects ---------------------------------------------------------------------------------------------------------


def test_effects_are_combined_as_statsmodels_does():
    rng = np.random.default_rng(2)
    effect = rng.normal(0, 1, (40, 4)) + rng.normal(0, 1, (40, 1))
    se = rng.uniform(0.2, 1.5, (40, 4))
    found = pooling.combine_effects(effect, se)
    for row in range(40):
        one = combine_effects(effect[row], se[row] ** 2, method_re="chi2")
        table = one.summary_frame()
        wanted = table.loc["random effect"]
        if one.tau2 < 0:  # statsmodels goes on with a negative variance; DerSimonian and Laird take 0
            wanted = table.loc["fixed effect"]
        assert found["meta_slope"][row] == pytest.approx(wanted["eff"])
        assert found["meta_se"][row] == pytest.approx(wanted["sd_eff"])
        assert found["fixed_slope"][row] == pytest.approx(table.loc["fixed effect", "eff"])
        assert found["fixed_se"][row] == pytest.approx(table.loc["fixed effect", "sd_eff"])
        assert found["tau2"][row] == pytest.approx(max(one.tau2, 0), abs=1e-12)
        assert found["i2"][row] == pytest.approx(max(one.i2, 0), abs=1e-12)
        assert found["q_p"][row] == pytest.approx(one.test_homogeneity().pvalue)


def test_effects_that_lack_leave_the_others():
    effect = np.array([[1.0, np.nan, 3.0], [2.0, np.nan, np.nan], [np.nan] * 3, [1.0, 1.0, 0.0]])
    se = np.array([[0.5, np.nan, 0.5], [0.4, 1.0, 1.0], [1.0] * 3, [0.1, 0.1, np.nan]])
    found = pooling.combine_effects(effect, se)
    assert found["n_slopes"].tolist() == [2, 1, 0, 2]
    assert found["meta_slope"][:2].tolist() == pytest.approx([2.0, 2.0])
    assert found["meta_se"][1] == pytest.approx(0.4)
    assert np.isnan(found["meta_slope"][2])
    assert np.isnan(found["q_p"][1])
    assert found["i2"][3] == found["tau2"][3] == 0


# --- the whole -------------------------------------------------------------------------------------------------------


def outputs_of(folder):
    names = {"contingency": "contingency.csv", "agreement": "agreement.csv", "summary": "summary.csv"}
    names |= {"moved": "moved.parquet", "moved_csv": "moved.csv.gz", "html": "report.html", "figures": "figures"}
    names |= {"taxonomy": "taxonomy.parquet", "taxonomy_csv": "taxonomy.csv.gz"}
    return {key: folder / name for key, name in names.items()}


def test_all_tables_and_the_page(three, tmp_path, browser):
    files, _ = three
    out, again = outputs_of(tmp_path / "out"), outputs_of(tmp_path / "again")
    study.compare(files, out, settings=SETTINGS, seed=3)
    table = pd.read_parquet(out["taxonomy"])
    assert len(table) == 500
    text = pd.read_csv(out["taxonomy_csv"])
    assert text["cpg"].tolist() == table["cpg"].tolist()
    assert text["taxon_b"].fillna("-").tolist() == table["taxon_b"].astype(object).fillna("-").tolist()
    np.testing.assert_allclose(text["p_BiAge"], table["p_BiAge"], atol=1e-5)
    np.testing.assert_allclose(text["meta_p"], table["meta_p"], rtol=1e-12)
    np.testing.assert_allclose(table[list(PROBABILITY_COLUMNS)].sum(axis=1), 1, atol=1e-5)
    several = table[table["n_slopes"] == 2]
    assert len(several) == 300
    slopes = [pd.read_parquet(files[name]["statistics"]).set_index("cpg")["slope"] for name in "ab"]
    both = pd.concat(slopes, axis=1).loc[several["cpg"]].to_numpy()
    assert ((several["meta_slope"] >= both.min(axis=1)) & (several["meta_slope"] <= both.max(axis=1))).all()
    moved = pd.read_parquet(out["moved"])
    differs = table[["taxon_a", "taxon_b", "taxon_c"]].astype(object).nunique(axis=1) > 1
    assert sorted(moved["cpg"]) == sorted(table["cpg"][differs])
    both_placed = (moved[["taxon_a", "taxon_b"]].astype(object) != UNCLASSIFIED).all(axis=1)
    assert {"effect_a", "slope_p_b", "sd_ratio_a", "confidence_c"} <= set(moved)
    assert len(pd.read_csv(out["moved_csv"])) == len(moved)
    first = (moved["kind"].astype(object).str.contains("Unclassified")).to_numpy()
    assert (np.diff(first.astype(int)) >= 0).all(), "moves between two taxa come first"
    assert both_placed.any()
    assert (np.diff(moved["sure"][~first]) <= 1e-6).all()
    page = out["html"].read_text()
    assert "Do CpGs age alike in all cohorts?" in page
    assert moved["cpg"][0] in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert_fine(browser, out["html"])
    names = {path.stem for path in out["figures"].glob("*.svg")}
    assert names == {path.stem for path in out["figures"].glob("*.csv")}
    assert {"contingency_a_b", "contingency_b_c", "effects_a_b", "agreement", "moves", "together"} <= names
    summary = pd.read_csv(out["summary"])
    assert list(summary) == study.SUMMARY_COLUMNS
    for path in (out["taxonomy"], out["taxonomy_csv"]):
        frame, _ = read_taxa(path, "expression.taxonomy")  # as the other targets read it
        assert set(frame["taxon"]) <= set(reading.KNOWN)
    verdicts = summary[summary["metric"].str.startswith("verdict_")]
    assert verdicts["value"].sum() == 500
    study.compare(files, again, settings=SETTINGS, seed=3)
    assert again["html"].read_bytes() == out["html"].read_bytes(), "the same input gives the same page"
    assert again["taxonomy_csv"].read_bytes() == out["taxonomy_csv"].read_bytes()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page about three cohorts, to be rendered with other numbers."""
    folder = tmp_path_factory.mktemp("page")
    with kept_from("cpgtaxa.targets.compare.page.write_html") as kept:
        study.compare(make_three(folder)[0], outputs_of(folder / "out"), settings=SETTINGS, seed=3)
    return Page(**kept)


def first(n):
    return lambda rows: rows[:n]


def side(**changes):
    """The examples: one CpG in one cohort."""
    return lambda cards: [cards[0] | {"sides": [cards[0]["sides"][0] | changes]}]


NO_KAPPA = {"value": "–", "range": "–"}
STATES = [
    (
        {},
        [
            "in all cohorts?",
            "300 CpGs are in all 3 cohorts; the taxon is the same everywhere for ",
            " that all could place, it is the same for ",
            "Fleiss’ for all",
            "For ",
            "i2, tau2), figures/effects_*.csv",
        ],
        ["No CpG was placed", "more pair", "rarer kind is", "EPICv2", "several probes"],
    ),
    (
        {"cohorts": first(2), "n_every": "1", "best": {"equal": {"value": "100.0 %"}, "kappa": NO_KAPPA}},
        ["age alike in both cohorts?", "1 CpG is in both cohorts; the taxon is the same in both for 100.0 %. Of the"],
        ["Fleiss’ for all", "in all"],
    ),
    (
        {"best": {"kappa": {"value": "0.5", "range": "–"}, "placed": "0"}},
        ["% (κ 0.5). No CpG was placed by all."],
        ["could place, it"],
    ),
    ({"cohorts": first(2), "best": {"placed": "0"}}, ["No CpG was placed by both."], []),
    (
        {"n_every": "0", "n_several": "1"},
        ["No CpG is in all 3 cohorts; 1 is in more than one."],
        ["the taxon is the same", "CpGs in every cohort, by taxon"],
    ),
    ({"more_pairs": 1}, ["1 more pair is in contingency.csv only."], []),
    ({"moved": False, "examples": []}, [], ["Kinds of moves", "Moves", "CpGs that moved", "moved.parquet,  moved"]),
    ({"n_moved": "1", "more_kinds": 1}, ["1 CpG has another taxon", "1 rarer kind is in figures/moves.csv only."], []),
    ({"more_kinds": 0}, [], ["rarer kind"]),
    (
        {"meta": {"n": "1", "significant": "0"}, "effects": []},
        ["Of 1 CpG with slopes in several cohorts, none changes with age", "meta_p, q_p, i2, tau2) "],
        ["central 90 % of each", "figures/effects_"],
    ),
    ({"meta": {"significant": "1"}}, ["several cohorts, 1 changes with age"], []),
    ({"meta": {"significant": "2"}}, ["several cohorts, 2 change with age"], []),
    (
        {"meta": None, "effects": lambda found: [found[0] | {"r": "–"}]},
        ["a, b: change of beta over the central 90 % of each cohort’s ages. Cohorts", "Numbers: figures/effects_*.csv"],
        ["correlation over", "combined by inverse variance", "slopes in several"],
    ),
    ({"meta": None, "effects": []}, [], ["Effects of age"]),
    ({"examples": side(taxon="BiAge", confidence="–", effect="–", png="")}, ["BiAge"], ["BiAge, –", "spread ×"]),
    ({"examples": side(taxon="BiAge", confidence="97 %", effect="+0.1", png="x")}, ["BiAge, 97 % effect +0.1"], []),
    ({"replicates": True}, ["Names of EPICv2 were shortened", "CpGs with several probes"], []),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(page, state):
    page.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(page):
    page.check_ways(STATES)


def test_real_cohorts_of_one_study_type_share_few_cpgs(shared, tmp_path):
    """Of the two blood cohorts' published excerpts (clock CpGs; variable CpGs) the rules' labels are compared."""
    from cpgtaxa.taxa.labels import define_taxa

    files = {}
    for name, column in (("gse40279", "sample"), ("gse42861", None)):
        beta = pd.read_csv(shared / f"methylation/{name}_beta.csv.gz", index_col=0)
        sheet = pd.read_csv(shared / f"methylation/{name}_samples.csv.gz")
        sheet = sheet.set_index(column or sheet.columns[0]).loc[beta.columns]
        statistics = statistics_of(beta, sheet["age"].to_numpy(dtype=float), cpgs=beta.index)
        define_taxa(statistics, **SHIPPED_RULES).to_csv(tmp_path / f"{name}.csv", index=False)
        files[name] = {"taxonomy": str(tmp_path / f"{name}.csv")}
    one, other = (set(pd.read_csv(some["taxonomy"])["cpg"]) for some in files.values())
    both = one & other
    print(f"{len(both)} CpGs in both")
    if not both:
        with pytest.raises(InputError, match="shares no CpG"):
            reading.read_cohorts(files)
        return
    beside = reading.lay_beside(reading.read_cohorts(files))
    assert agreeing.pair_counts(beside, 0, 1).sum() == len(both)
    print(agreeing.agreement(beside, 1).query("taxon == 'all'").to_string())


# --- the network of another run --------------------------------------------------------------------------------------


def run_folder(folder, last=1):
    results = folder / "results"
    for number in range(last + 1):
        model = "ResNet18" if number == 0 else "MixResNet18"
        (results / f"round_{number}").mkdir(parents=True)
        for name in ("best_model.pt", "normalization_stat.json", "model.json", "features.npy"):
            (results / f"round_{number}" / f"{model}_{name}").write_text("x")
        (results / f"round_{number}/reassigned.json").write_text(json.dumps({}))
    (results / "taxonomy.parquet").touch()
    return results


def test_the_last_rounds_network_of_another_run_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = run_folder(tmp_path / "other")
    for given in ("other", "other/results", results):
        found = network_of_run(given, "training.weights")
        assert {pathlib.Path(path).parent.name for path in found.values()} == {"round_1"}
        assert pathlib.Path(found["weights"]).name == "MixResNet18_best_model.pt"
        assert set(found) == {"weights", "stats", "card", "features"}
    (results / "round_1/MixResNet18_features.npy").unlink()
    with pytest.raises(InputError, match=r"the network of round 1 .* is not whole, .*features.npy is not there"):
        network_of_run("other", "training.weights")
    (results / "taxonomy.parquet").unlink()
    with pytest.raises(InputError, match="the run in other is not finished"):
        network_of_run("other", "training.weights")
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="bare holds no results of a run"):
        network_of_run("bare", "training.weights")
    with pytest.raises(InputError, match=r"nowhere is not there \(looked in"):
        network_of_run("nowhere", "training.weights")
    run_folder(tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    with pytest.raises(InputError, match="is this run itself"):
        network_of_run(".", "training.weights")


def test_a_runs_folder_needs_no_statistics_and_takes_no_others(tmp_path, monkeypatch):
    from cpgtaxa.plan.config import check_config
    from cpgtaxa.plan.main import Plan

    monkeypatch.chdir(tmp_path)
    run_folder(tmp_path / "other")

    def plan(**training):
        return Plan(check_config({"training": training}, ROOT / "workflow/schemas/config.schema.yaml"))

    for training in ({"weights": "other"}, {"weights": "other", "stats": "other"}):
        found = plan(**training).weights_input()
        assert found == network_of_run("other", "training.weights")
        assert plan(**training).trained_rounds == "[1-9][0-9]*"
    with pytest.raises(InputError, match=r"training\.weights: elsewhere is not there"):
        plan(weights="elsewhere").weights_input()
    with pytest.raises(InputError, match=r"whose own statistics are taken: leave out training\.stats"):
        plan(weights="other", stats="other/stats.json").weights_input()
    with pytest.raises(InputError, match=r"training\.stats is not; a network needs both, or"):
        plan(weights="w.pt")

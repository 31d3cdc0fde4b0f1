"""Taxa against lists and contexts: what is read, the tables of two by two, and what is reported of bad files."""

import gzip

import numpy as np
import pandas as pd
import pytest
from branches import Page, kept_from
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.files import write_parquet
from cpgtaxa.names import TAXA
from cpgtaxa.targets.biology import enrichment, lists
from cpgtaxa.targets.biology.plan import BiologyPlan
from scipy import stats
from statsmodels.stats.contingency_tables import Table2x2


def read(folder, text, name="list.csv"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return lists.read_list("mine", path, "enrichment.sets.mine")


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("cg1\ncg2\ncg3\n", None),
        ("CpG\ncg1\ncg2\ncg3\n", None),
        ("my favourites\ncg1\ncg2\ncg3\n", None),
        ("# a comment, with commas\ncg1,0.5\ncg2,-1\ncg3,2e-3\n", [0.5, -1, 2e-3]),
        ('"CpGmarker","CoefficientTraining"\n"(Intercept)",0.7\n"cg1",0.5\n"cg2",-1\n"cg3",2\n', [0.5, -1, 2]),
        ("gene\tMarker\tCoefficient\nA\tcg1_TC21\t1\nB\tcg2_BO11\t-2\nC\tcg3\t3\nC\tcg3\t3\n", [1, -2, 3]),
        ("Probe;sign\ncg1;+\ncg2;-\ncg3;+\n", [1, -1, 1]),
        ("Probe ID,Direction\ncg1,Hyper\ncg2,hypo\ncg3,up\n", [1, -1, 1]),
        (
            '"A title, with 2013 in it"\n"A CpG, a weight"\n\nCpGmarker,Coef\n(Intercept),1\ncg1,0.5\ncg2,-1\ncg3,2\n',
            [0.5, -1, 2],
        ),
        (
            '"A title",,\n"Details, 3 CpGs",,\nCpG,weight,Chr\n(Intercept),1,\ncg1,0.5,1\ncg2,-1,2\ncg3,2,X\n',
            [0.5, -1, 2],
        ),
        ('"cpg"\t"weight"\n"1"\t"cg1"\t0.5\n"2"\t"cg2"\t-1\n"3"\t"cg3"\t2\n', [0.5, -1, 2]),  # R's write.table
        ('"weight" "chr"\n"cg1" 0.5 1\n"cg2" -1 2\n"cg3" 2 3\n', [0.5, -1, 2]),  # the same, ids as row names
        ('"","weight"\n"cg1",0.5\n"cg2",-1\n"cg3",2\n', [0.5, -1, 2]),  # R's write.csv
        ("cpg,weight,\ncg1,0.5,\ncg2,-1,\ncg3,2,\n", [0.5, -1, 2]),
        ("cpg\tweight\ncg1\t0.5\t\ncg2\t-1\t\ncg3\t2\t\n", [0.5, -1, 2]),
        ("cpg;weight\ncg1;0,5\ncg2;-1,0\ncg3;2\n", [0.5, -1, 2]),
        ("cg1;0,5\ncg2;\u22121\ncg3;2\n", [0.5, -1, 2]),
        ("id,name,weight\n1,cg1,0.5\n2,cg2,-1\n3,cg3,2\n", [0.5, -1, 2]),  # ids are where array ids are
        ("cpg,weight\ncg1,0.5\ncg2,-1\ncg3,2\nNote: weights as published,\n", [0.5, -1, 2]),
        ("CpGs of 2016\nfrom a table, 3 in all\ncg1\ncg2\ncg3\n", None),
        ("cg1   0.5\ncg2  -1\ncg3   2\n", [0.5, -1, 2]),
        ("cg1, cg2, cg3\n", None),
        ("cg1 cg2\ncg3\n", None),
    ],
)
def test_lists_as_they_are_published(tmp_path, text, weights):
    for name in ("list.csv", "list.csv.gz"):
        found = read(tmp_path, text, name)
        assert list(found.cpgs) == ["cg1", "cg2", "cg3"]
        if weights is None:
            assert found.weights is None
        else:
            np.testing.assert_allclose(found.weights, weights)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("Title of 2013\nCpG,weight\ncg1,1\ncg2,2\n", "1 lines above the header are passed over"),
        ("CpG,Chr,Score\ncg1,1,0.5\ncg2,2,0.1\n", "no column is called as weights are"),
        ("cg1,0.5\ncg2,1\n", "there is no header; the second column"),
        ("CpG,effect,weight\ncg1,1,2\ncg2,2,3\n", "weights are those of the column 'weight', and not of 'effect'"),
        ("cpg\ncg1\ncg2\nsee the text\n", "1 lines without a CpG are passed over: 'see the text'"),
    ],
)
def test_what_is_passed_over_or_not_known_is_reported(tmp_path, text, reported):
    found = read(tmp_path, text)
    assert list(found.cpgs) == ["cg1", "cg2"]
    assert reported in " ".join(found.notes)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("cg1\t1\t1092\ncg2\t1\t1190\n", "has 3 columns, no header, and numbers in column '2', '3'"),
        ("cpg,weight\ncg1,1\ncg2,NA\n", "1 weights are no numbers: 'cg2' (line 3): 'NA'"),
        ("cg1,1\ncg2,\ncg3,2\n", "1 weights are no numbers: 'cg2' (line 2): ''"),
        ("# a comment\ncpg,weight\ncg1,1\ncg2,high\ncg3,3\n", "'cg2' (line 4)"),
        ("cpg,weight\ncg1,1,x\ncg2,2,y\n", "a column lacks its name"),
        ("cpg,weight\ncg1,1\ncg2,2,y\ncg3,4\n", "rows have more fields than the header: 'line 3 (3)'"),
    ],
)
def test_weights_are_never_guessed_or_lost(tmp_path, text, reported):
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert reported in error.value.text()


def test_all_problems_of_all_lists_at_once(tmp_path):
    texts = {
        "words": "cpg,weight\ncg1,high\ncg2,1\n",
        "zero": "cpg,weight\ncg1,0\ncg2,0.0\n",
        "twice": "cpg,weight\ncg1,1\ncg1,2\n",
        "none": "cpg\n",
        "columns": "gene,place\nA,island\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    files = {name: str(tmp_path / name) for name in (*texts, "lacking")}
    with pytest.raises(InputError) as reported:
        lists.read_lists(files, "enrichment.sets")
    problems = "\n".join(reported.value.problems)
    assert len(reported.value.problems) == 6
    for words in ("'cg1' (line 2): 'high'", "all weights are 0", "with another weight: 'cg1' (line 3)",
                  "lists no CpG", "no column of CpG ids", "is not there"):  # fmt: skip
        assert words in problems


def test_odds_are_those_of_other_programs():
    # R: fisher.test(matrix(c(12, 5, 29, 2), 2)), whose interval has a tolerance of 1e-4 on another scale.
    found = enrichment.odds(12, 17, 41, 48)
    assert found["odds_ratio"] == pytest.approx(0.17266920, rel=1e-4)
    assert (found["ci_low"], found["ci_high"]) == (
        pytest.approx(0.01451250, rel=5e-3),
        pytest.approx(1.2310048, rel=5e-3),
    )
    assert found["p"] == pytest.approx(0.08026855, rel=1e-5)
    assert found["expected"] == pytest.approx(17 * 41 / 48)
    # An interval that holds every odds ratio that Fisher's test would not refuse on one side.
    none = enrichment.odds(0, 20, 30, 200)
    assert none["odds_ratio"] == none["ci_low"] == 0 < none["ci_high"] < 2
    whole = enrichment.odds(30, 60, 30, 200)
    assert whole["odds_ratio"] == whole["ci_high"] == np.inf
    assert whole["ci_low"] > 5


def test_large_tables_take_the_quick_interval_which_agrees():
    big = enrichment.odds(1500, 4000, 9000, 50_000)
    assert big["method"] == "Woolf"
    low, high = Table2x2([[1500, 7500], [2500, 38_500]]).oddsratio_confint()
    assert (big["ci_low"], big["ci_high"]) == (pytest.approx(low), pytest.approx(high))
    exact = enrichment.odds(750, 2000, 4500, 25_000)
    assert exact["method"] == "exact"
    low, high = Table2x2([[750, 3750], [1250, 19_250]]).oddsratio_confint()
    assert (exact["ci_low"], exact["ci_high"]) == (pytest.approx(low, rel=0.01), pytest.approx(high, rel=0.01))


def taxonomy_of(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    taxon = rng.choice([*TAXA[:5], "Unclassified"], n)
    frame = pd.DataFrame({"cpg": [f"cg{at:08d}" for at in range(n)], "taxon": taxon, "source": "statistical"})
    return frame.assign(confidence=1.0)


def test_only_what_was_planted_is_found(tmp_path):
    frame, rng = taxonomy_of(), np.random.default_rng(1)
    linear = np.flatnonzero(frame["taxon"] == "LinAgeHet")
    planted = np.concatenate([rng.choice(linear, 60, replace=False), rng.choice(len(frame), 60, replace=False)])
    chance = rng.choice(len(frame), 200, replace=False)
    made = [lists.CpgList("planted", pd.unique(frame["cpg"].to_numpy(dtype=object)[planted]), None, [])]
    made.append(lists.CpgList("chance", frame["cpg"].to_numpy(dtype=object)[chance], None, []))
    found = enrichment.enrichments(frame, made).set_index(["set", "taxon"])
    assert found.loc[("planted", "LinAgeHet"), "ci_low"] > 2
    up = found[(found["q"] < 0.05) & (found["odds_ratio"] > 1)]
    assert list(up.index) == [("planted", "LinAgeHet")]
    np.testing.assert_allclose(found["q"], stats.false_discovery_control(found["p"]))
    for (_, taxon), row in found.iterrows():
        assert row["background"] == 3000
        assert row["in_taxon"] == (frame["taxon"] == taxon).sum()
    assert (found.groupby("set")["overlap"].sum() == found.groupby("set")["in_set"].first()).all()


def test_a_context_is_its_own_background_and_counts_each_category_once(tmp_path):
    frame = taxonomy_of(400)
    rows = ["IlmnID,Island,Gene"]
    for at in range(399, 99, -1):
        island = "Island" if frame["taxon"][at] == "UniStable" or at % 5 == 0 else ""
        rows.append(f"{frame['cpg'][at]}_TC11,{island},{'Body;Body;TSS200' if at % 2 else 'TSS200'}")
    (tmp_path / "context.csv").write_text("\n".join(rows))
    context = lists.read_context(tmp_path / "context.csv", "enrichment.context")
    assert {name: sorted(masks) for name, masks in context[1].items()} == {
        "Island": ["Island", "none"],
        "Gene": ["Body", "TSS200"],
    }
    assert context[1]["Gene"]["Body"].sum() == 150
    found = enrichment.enrichments(frame, [], context)
    assert (found["background"] == 300).all()
    assert set(found["category"]) == {"Island", "none", "Body"}  # all are in TSS200, which says nothing
    best = found.sort_values("p").iloc[0]
    assert (best["taxon"], best["odds_ratio"]) in {("UniStable", np.inf), ("UniStable", 0.0)}
    with pytest.raises(InputError, match="no columns 'Chromatin'"):
        lists.read_context(tmp_path / "context.csv", "enrichment.context", ["Chromatin"])
    many = "cpg,gene\n" + "\n".join(f"cg{at},G{at}" for at in range(100))
    (tmp_path / "many.csv").write_text(many)
    with pytest.raises(InputError, match="over 60 different values"):
        lists.read_context(tmp_path / "many.csv", "enrichment.context")


def test_signs_are_held_against_slopes():
    rng = np.random.default_rng(3)
    cpgs = [f"cg{at}" for at in range(200)]
    weights = rng.normal(size=200)
    slopes = pd.DataFrame({"cpg": cpgs, "slope": np.where(rng.random(200) < 0.9, weights, -weights), "slope_p": 1e-9})
    slopes.loc[100:, "slope"], slopes.loc[100:, "slope_p"] = rng.normal(size=100), 0.5
    found = pd.DataFrame({"cpg": cpgs, "set": "a", "weight": weights, "taxon": "LinAgeHomo"})
    reported = enrichment.signs(found, slopes).set_index("among")
    assert reported.loc["changing with age", "n"] == 100
    assert reported.loc["changing with age", "ci_low"] > 0.8 > reported.loc["all", "share"]
    assert reported.loc["changing with age", "p"] < 1e-9
    assert reported.loc["all", "expected"] == pytest.approx(0.5, abs=0.05)


def test_the_shipped_clocks_and_what_the_plan_asks(tmp_path):
    config = {
        "seed": 1,
        "enrichment": {"sets": None, "taxonomy": "results/taxonomy.parquet", "context": None, "statistics": "auto"},
        "scores": {"noise": {}, "signature": {"Nobody": "shipped", "mine": "absent.csv"}, "cell_fractions": "no.csv",
                   "reference": None},
    }  # fmt: skip
    plan = BiologyPlan(config, ROOT / "resources")
    found = lists.read_lists(plan.sets(), "enrichment.sets")
    assert {one.name: len(one.cpgs) for one in found} == {
        "Horvath2013": 353,
        "PhenoAge2018": 513,
        "SkinBlood2018": 391,
    }
    assert all((one.weights != 0).all() for one in found)
    assert found[0].weights[list(found[0].cpgs).index("cg00075967")] == 0.12933661
    readme = (ROOT / "resources/clocks/README.md").read_text()
    assert all(one.name in readme for one in found)
    with pytest.raises(InputError) as reported:
        plan.scores_input()
    assert len(reported.value.problems) == 3


def test_wrong_taxonomies_are_named(tmp_path):
    bad = pd.DataFrame({"cpg": ["cg1", "cg1", "cg2"], "taxon": ["LinAge", "Outlier", ""]})
    write_parquet(tmp_path / "taxonomy.parquet", bad)
    bad.to_csv(tmp_path / "taxonomy.csv", index=False)
    for name in ("taxonomy.parquet", "taxonomy.csv"):
        with pytest.raises(InputError) as reported:
            lists.read_taxonomy(tmp_path / name, "enrichment.taxonomy")
        assert "not known: 'LinAge'" in reported.value.problems[0]
        assert "more than once: 'cg1'" in reported.value.problems[1]


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of a taxonomy against a list with weights, to be rendered with other numbers."""
    folder, taxonomy = tmp_path_factory.mktemp("stated"), taxonomy_of(400)
    write_parquet(folder / "taxonomy.parquet", taxonomy)
    pd.DataFrame({"cpg": taxonomy["cpg"][:60], "weight": [1.0, -1.0] * 30}).to_csv(folder / "mine.csv", index=False)
    slopes = pd.DataFrame({"cpg": taxonomy["cpg"], "slope": 0.001, "slope_p": 0.01})
    write_parquet(folder / "statistics.parquet", slopes.assign(slope=np.tile([0.001, -0.001], 200)))
    inputs = {"taxonomy": folder / "taxonomy.parquet", "lists": [folder / "mine.csv"]}
    inputs |= {"statistics": folder / "statistics.parquet"}
    names = ("enrichment", "overlaps", "signs", "summary", "anatomy", "gaps")
    outputs = {name: folder / f"{name}.csv" for name in names}
    outputs |= {"html": folder / "report.html", "figures": folder / "figures"}
    with kept_from("cpgtaxa.targets.biology.enrichment.write_page") as kept:
        enrichment.write(inputs, outputs, settings={"names": ["mine"], "background": "all", "seed": 1})
    return Page(**kept)


ROW = {"name": "mine", "taxon": "BiAge", "overlap": "9", "expected": "2.0", "odds": "5.00", "range": "2.00 to 9.00"}
ROW |= {"p": "0.001", "q": "0.010"}
ANATOMY = {"set": "mine", "by": "taxon", "group": "BiAge", "cpgs": 9} | dict.fromkeys(
    ("signal", "noise", "spread"), "1 %"
)
ANATOMY |= dict.fromkeys(("signal_range", "noise_range", "spread_range"), "–")
GAPS = {"set": "mine", "cpgs": 9} | dict.fromkeys(("r_age", "gap_sd", "predicted_median", "seen_median", "r"), "0.5")
GAPS = [GAPS | {"range": "–"}]
STATES = [
    (
        {"clear": 2, "tests": 1000, "rows": [ROW, ROW], "woolf": True, "notes": []},
        [
            "Of 1,000 comparisons of a taxon with a list or a genomic context, 2 are beyond chance (q < 0.05).",
            "among the 400 CpGs of the taxonomy:",
            "exact interval; Woolf’s",
        ],
        ["What are clocks made of", "with the smallest p of", "Blue: odds ratio above 1", "Not drawn"],
    ),
    (
        {"clear": 1, "tests": 1, "rows": [ROW], "background": "placed", "woolf": False, "notes": ["mine: said"]},
        ["Of 1 comparison of", ", 1 is beyond chance", "CpGs that have a taxon:", "mine: said"],
        ["Woolf"],
    ),
    ({"clear": 60, "rows": [ROW] * 40}, ["The 40 with the smallest p of 60."], []),
    (
        {"clear": 0, "rows": [], "tests": 20},
        [", none is beyond chance", "Nothing is beyond chance, after correction for 20 tests."],
        ["Of none"],
    ),
    (
        {"clear": 0, "rows": [], "tests": 0},
        ["No taxon can be compared with", "Nothing is beyond chance."],
        ["for 0 tests"],
    ),
    (
        {
            "clocks": 1,
            "anatomy": {"rows": [ANATOMY], "gaps": GAPS},
            "drawn": {"anatomy": "", "context": ""},
            "not_drawn": ["tiny"],
            "large": True,
        },
        [
            "What are clocks made of?",
            "Share of each taxon’s CpGs in signal",
            "List By Group",
            "Not drawn, with fewer than",
        ],
        [],
    ),
    (
        {"clocks": 2, "anatomy": {"rows": [], "gaps": GAPS}, "drawn": {"anatomy": "", "context": "<svg></svg>"}},
        ["Blue: odds ratio above 1"],
        ["List By Group"],
    ),
    (
        {
            "signs": [],
            "summary": lambda rows: [rows[0] | {"positive": 0, "negative": 0, "most_enriched": ""}],
            "drawn": {"lists": None},
        },
        ["No list with weights has five CpGs here.", "also by taxon (empty)"],
        ["Orange: what the numbers of signs", "Lists of CpGs"],
    ),
    (
        {"summary": lambda rows: [rows[0] | {"positive": 30, "negative": 30, "most_enriched": "BiAge"}]},
        ["30 / 30 BiAge"],
        [],
    ),
    ({"summary": [], "statistics": False}, [], ["How much of each list", "Do CpGs of positive"]),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

"""Explanations: shares that add up, maps that lie on what matters, honest answers, and nothing unescaped."""

import pathlib
import re
import types

import numpy as np
import pandas as pd
import pytest
import torch
from branches import Page, kept_from
from browsing import assert_fine
from cohorts import SHIPPED_RULES, cohort_of, statistics_of
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.explain import page as explain
from cpgtaxa.learning.classifier import draw
from cpgtaxa.learning.networks import load_predictor
from cpgtaxa.names import INDEX, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.pages.drawing import Figures
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.criteria import RULES, TABLE, Answers
from cpgtaxa.taxa.labels import define_taxa

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
NETWORK = {
    "weights": ROOT / "resources/reference/ResNet18_best_model.pt.gz",
    "stats": ROOT / "resources/reference/ResNet18_normalization_stat.json",
    "card": ROOT / "resources/reference/ResNet18_model.json",
}
HOSTILE = "<script>alert('x')</script> & \"quoted\" name"


@pytest.fixture(scope="module")
def predictor():
    """The shipped network."""
    return load_predictor(**NETWORK, model_name="ResNet18", device="cpu", precision="float32")


def with_outliers(chosen, low, high):
    """Ages and beta of 200 samples in a narrow band, but for the chosen ones, and which those are."""
    rng = np.random.default_rng(4)
    ages = np.sort(rng.uniform(20, 90, 200))
    beta = rng.normal(0.3, 0.006, 200).astype(np.float32)
    outliers = np.isin(np.arange(200), chosen)
    beta[outliers] = rng.uniform(low, high, outliers.sum())
    return ages, beta, outliers


@pytest.fixture(scope="module")
def planted():
    """Six outliers of any age."""
    return with_outliers([11, 47, 80, 106, 141, 183], 0.5, 0.6)


@pytest.fixture(scope="module")
def attribution(predictor, planted):
    ages, beta, _ = planted
    return explain.Attribution(predictor, draw(beta[None], ages, predictor), INDEX["Outlier"])


def test_shares_add_up_to_the_log_odds(predictor, planted, attribution):
    ages, beta, _ = planted
    logits = predictor.logits(draw(beta[None], ages, predictor)) / predictor.temperature
    p = torch.softmax(torch.as_tensor(logits).double(), dim=1)[0, INDEX["Outlier"]].item()
    assert attribution.image == pytest.approx(np.log(p / (1 - p)), abs=1e-3)
    difference = attribution.image - attribution.empty
    assert attribution.pixels.sum() - difference == pytest.approx(attribution.delta, abs=1e-3)
    assert abs(attribution.delta) <= explain.TOLERANCE * max(abs(difference), 1)
    assert attribution.pixels.shape == (64, 64)


def test_steps_are_doubled_until_the_sum_is_right(predictor, planted, attribution, monkeypatch):
    ages, beta, _ = planted
    monkeypatch.setattr(explain, "STEPS", 1)
    monkeypatch.setattr(explain, "MOST_STEPS", 1)
    planes = draw(beta[None], ages, predictor)
    rough = explain.Attribution(predictor, planes, INDEX["Outlier"])
    assert abs(rough.delta) > explain.TOLERANCE * abs(rough.image - rough.empty)
    monkeypatch.setattr(explain, "MOST_STEPS", 64)
    better = explain.Attribution(predictor, planes, INDEX["Outlier"])
    assert abs(better.delta) <= explain.TOLERANCE * abs(better.image - better.empty)


def test_planted_outliers_are_what_the_maps_show(predictor, planted, attribution):
    ages, beta, outliers = planted
    planes = draw(beta[None], ages, predictor)
    alone = draw(np.where(outliers, beta, np.float32(np.nan))[None], ages, predictor)[0, 0] < 255
    band = (planes[0, 0] < 255) & ~alone
    pixels = attribution.pixels
    assert np.abs(pixels[alone | band]).sum() > 0.99 * np.abs(pixels).sum()
    assert pixels.sum() > 0
    outlier = pixels[alone].sum()
    # A band alone would be UniStable: all that speaks against that are the outliers.
    pixels = explain.Attribution(predictor, planes, INDEX["UniStable"]).pixels
    assert pixels[alone].sum() < 0.7 * pixels.sum() < 0
    assert outlier > pixels[alone].sum(), "they speak for Outlier rather than UniStable"
    assert np.abs(pixels[alone]).mean() > 1.8 * np.abs(pixels[band]).mean()


def test_without_the_outliers_the_taxon_goes(predictor):
    ages, beta, outliers = with_outliers(range(164, 199, 5), 0.72, 0.78)
    table = explain.left_out(predictor, beta, ages, INDEX["Outlier"])
    assert table["n"].sum() == 200
    found = table.loc[table["change"].idxmin()]
    assert (found["fifth"], found["band"], found["n"]) == (4, 7, outliers.sum())
    assert found["age_from"] <= ages[outliers].min()
    assert found["change"] < -3
    assert table["change"].drop(found.name).min() > found["change"] / 2
    assert not len(explain.left_out(predictor, np.full(200, np.nan, np.float32), ages, 0))


def test_colours_separate_for_from_against():
    planes = np.full((2, 3, 3), 255, np.uint8)
    image = explain.overlay(planes, np.array([[1.0, -1.0, 0.0], [0.25, 9.0, -9.0], [0, 0, 0]]), 1.0)
    assert image[0, 0].tolist() == image[1, 1].tolist() == explain.FOR.tolist()
    assert image[0, 1].tolist() == image[1, 2].tolist() == explain.AGAINST.tolist()
    assert image[0, 2].tolist() == [255] * 3
    assert image[1, 0, 2] == pytest.approx((255 + explain.FOR[2]) / 2, abs=1)


# The tests' side


def varied(n):
    """Statistics of CpGs with one, two and three bands, of many trends, spreads and widths; n samples."""
    rng = np.random.default_rng(n)
    ages = np.linspace(20, 90, n)
    x, rows = (ages - 55) / 63, []
    for at in range(120):
        change, ratio, sd = rng.choice([0, 0.02, 0.2]), rng.choice([0, 0.3, 1.2]), rng.choice([0.004, 0.014, 0.04])
        gap = rng.choice([0.1, 0.3]) * rng.integers(0, at % 3 + 1, n)
        rows.append(0.3 + change * x + gap + np.exp(ratio * x) * rng.normal(0, sd, n))
    statistics = statistics_of(rows, ages)
    return statistics


def test_answers_and_marks_are_the_rules_own():
    statistics = pd.concat([varied(40), varied(300)], ignore_index=True)
    answers = Answers(statistics, zones=SHIPPED_RULES["thresholds"], errors=SHIPPED_RULES["errors"])
    labels, seen = define_taxa(statistics, **SHIPPED_RULES), set()
    for row in range(len(statistics)):
        found = explain.questions(answers, row)
        assert [one["name"] for one in found] == [one.name for one in TABLE]
        for one in found:
            answer = answers.by_criterion[one["name"]]
            assert (one["answer"] == "yes") == answer.yes[row]
            assert (one["answer"] == "open") == (not answer.yes[row] and not answer.no[row])
            seen.add((one["name"], one["answer"]))
        lies = {one["name"] for one in found if one["boundary"] or (one["matters"] and one["answer"] == "open")}
        if not answers.foreign[row]:
            assert answers.boundary()[row] in (lies or {""})
        for at, taxon in enumerate(TAXA):
            states = {state for _, state in explain.asked_of(answers, taxon, row)}
            assert ("contradicted" in states) <= (not answers.open[row, at])
            if not answers.foreign[row]:
                assert (states == {"met"}) == answers.taxa[row, at]
                assert ("contradicted" not in states) == answers.open[row, at]
        if labels["taxon"][row] in RULES:
            asked = explain.asked_of(answers, labels["taxon"][row], row)
            assert "; ".join(words for words, _ in asked) == labels["reason"][row]
    assert {("trend", "open"), ("spread", "open")} <= seen
    assert {(one.name, answer) for one in TABLE for answer in ("yes", "no")} - seen <= {("outliers", "yes")}


def test_estimates_are_in_natural_units_beside_their_zone():
    rng = np.random.default_rng(0)
    ages = rng.uniform(20, 90, 400)
    x = (ages - 55) / 63
    beta = 0.4 + 0.2 * x + rng.normal(0, 0.03, 400) * np.exp(0.55 * x)
    statistics = compute(beta.astype(np.float32)[None], ages)
    found = {
        one["name"]: one
        for one in explain.questions(Answers(statistics, SHIPPED_RULES["thresholds"], SHIPPED_RULES["errors"]))
    }
    trend, spread = found["trend"], found["spread"]
    s = statistics.iloc[0]
    assert trend["estimate"] == pytest.approx(abs(s["core_effect"]) / np.hypot(s["core_sd"], 0.015))
    zone = SHIPPED_RULES["thresholds"]["trend"]
    assert trend["cut"] == pytest.approx((zone["no"] + zone["yes"]) / 2)
    assert spread["estimate"] == pytest.approx(np.exp(abs(s["log_sd_ratio"])))
    assert spread["error"] == pytest.approx(np.exp(s["log_sd_ratio_se"]))
    assert {key: spread[key] for key in ("no", "yes")} == SHIPPED_RULES["thresholds"]["spread"]
    assert found["width"]["error"] is None
    assert [name for name, one in found.items() if not one["matters"]] == [
        "band_share",
        "three_bands",
        "width",
        "outliers",
    ]


def test_one_line_leaves_the_outliers_out(planted):
    ages, beta, outliers = planted
    (line,), outlying = explain.lines(beta, ages, compute(beta[None], ages), 1)
    assert outlying.tolist() == outliers.tolist()
    assert line == pytest.approx((0, 0.3, 194 / 200, 0.006), abs=2e-3)


@pytest.mark.parametrize("truth", [[(0.001, 0.2), (-0.002, 0.6)], [(0.0, 0.1), (0.001, 0.55), (-0.001, 0.85)]])
def test_bands_are_those_of_the_statistics(truth):
    rng = np.random.default_rng(2)
    ages = rng.uniform(20, 90, 300)
    shares = [0.7, 0.3] if len(truth) == 2 else [0.5, 0.3, 0.2]
    band = rng.choice(len(truth), 300, p=shares)
    slopes, levels = np.array(truth).T
    beta = levels[band] + slopes[band] * (ages - ages.mean()) + rng.normal(0, 0.02, 300)
    beta = beta.astype(np.float32)
    beta[:7] = np.nan
    fitted, outlying = explain.lines(beta, ages, compute(beta[None], ages), len(truth))
    assert not outlying.any()
    np.testing.assert_allclose([line.slope for line in fitted], slopes, atol=4e-4)
    np.testing.assert_allclose([line.level for line in fitted], levels, atol=0.012)
    np.testing.assert_allclose([line.share for line in fitted], shares, atol=0.08)
    np.testing.assert_allclose([line.sd for line in fitted], 0.02, atol=0.004)


def test_what_cannot_be_fitted_has_no_line(tmp_path):
    beta = np.full(50, np.nan, np.float32)
    fitted, _ = explain.lines(beta, np.arange(50.0), compute(beta[None], np.arange(50.0)), 1)
    assert fitted == []
    drawn = explain.plot(Figures(tmp_path), "none", beta, np.arange(50.0), [], np.zeros(50, bool), "none")
    assert "<svg" in drawn
    assert pd.read_csv(tmp_path / "none.csv")["beta"].isna().all()


# What was asked for


def asked(cpgs):
    return Plan(check_config({"cpgs": cpgs}, SCHEMA))


@pytest.mark.parametrize("cpgs", ["cg2, cg1,,cg2 ", ["cg2", " cg1", "cg2"]])
def test_each_cpg_once_in_the_order_asked(cpgs):
    assert asked(cpgs).explained() == ["cg2", "cg1"]


def test_a_list_may_hold_names_with_commas():
    assert asked(["a, b"]).explained() == ["a, b"]


@pytest.mark.parametrize("cpgs", [None, "", " , ", [], ["  "]])
def test_none_given_says_how(cpgs):
    with pytest.raises(InputError, match=r"--config cpgs=cg123,cg456.*as a list under the key cpgs"):
        asked(cpgs).explained()


def test_too_many_for_a_page():
    assert len(asked([f"cg{i}" for i in range(100)]).explained()) == 100
    with pytest.raises(InputError, match="cpgs names 101 CpGs, and a page takes at most 100"):
        asked([f"cg{i}" for i in range(101)]).explained()


@pytest.mark.parametrize(
    ("cpgs", "message"), [(7, "`cpgs` is 7: write text or a list or empty"), ([7], r"`cpgs\[0\]` is 7: write text")]
)
def test_numbers_are_no_names(cpgs, message):
    with pytest.raises(InputError, match=message):
        asked(cpgs)


def test_the_report_does_not_look_at_the_cpgs_asked_for():
    assert asked("cg1").report_config() == asked(None).report_config()


def test_unknown_names_all_at_once_with_close_ones(tmp_path):
    names = ["cg16867657", "cg22454769", "rs00000001", HOSTILE]
    cohort = cohort_of(tmp_path, np.zeros((4, 1)), names)
    assert explain.find(cohort, [HOSTILE, "cg16867657"]).tolist() == [3, 0]
    with pytest.raises(InputError) as caught:
        explain.find(cohort, ["cg22454769", "CG16867657", "cg22454796", "nothing"])
    first, second, third = caught.value.problems
    assert first == "cpgs: 'CG16867657' is not a CpG of the cohort; did you mean 'cg16867657'?"
    assert second == "cpgs: 'cg22454796' is not a CpG of the cohort; did you mean 'cg22454769'?"
    assert third.startswith("cpgs: 'nothing' is not a CpG of the cohort; look for it in results/taxonomy.csv.gz")


# The page


@pytest.fixture
def page(tmp_path, planted, monkeypatch):
    monkeypatch.setattr(explain, "STEPS", 4)
    monkeypatch.setattr(explain, "MOST_STEPS", 4)
    return make_page(tmp_path, planted)


def make_page(tmp_path, planted):
    """A function that writes the page about three CpGs: placed by the rules, by round 1, and by nothing."""
    ages, beta, _ = planted
    cpgs = [HOSTILE, "cg2", "cg3"]
    rng = np.random.default_rng(1)
    values = np.stack([beta, rng.normal(0.5, 0.05, 200), np.where(ages < 40, np.nan, 0.2 + 0.001 * ages)])
    values[2] += rng.normal(0, 0.02, 200)
    samples = pd.DataFrame({"sample_id": [f"S{i}" for i in range(200)], "age": ages})
    cohort_of(tmp_path, values, cpgs)
    samples.to_parquet(tmp_path / "samples.parquet")
    statistics = statistics_of(values, ages, cpgs=cpgs)
    statistics.to_parquet(tmp_path / "statistics.parquet")
    labels = define_taxa(statistics, **SHIPPED_RULES).assign(reason="one band; <em>narrow</em>")
    labels.to_parquet(tmp_path / "labels.parquet")
    taxonomy = pd.DataFrame({"cpg": cpgs, "taxon": ["Outlier", "UniUnstable", UNCLASSIFIED]})
    taxonomy["source"], taxonomy["confidence"] = ["statistical", "round_1", "none"], [0.1, 0.97, np.nan]
    taxonomy["boundary"] = ["", "width", ""]
    taxonomy["network_p"], taxonomy["disagrees"] = [0.01, 0.96, np.nan], [True, False, False]
    taxonomy.to_parquet(tmp_path / "taxonomy.parquet")
    left = pd.DataFrame(columns=["cpg", "reason", "taxa", "unlike_p", "detail"])
    left.to_parquet(tmp_path / "unclassified.parquet")
    # Of the third no network has an opinion.
    shards = []
    for number, (chosen, best) in enumerate([([0, 1], ["BiAge", "UniUnstable"]), ([1], ["UniUnstable"])]):
        p = pd.DataFrame(0.01, index=range(len(chosen)), columns=list(PROBABILITY_COLUMNS))
        for row, taxon in enumerate(best):
            p.loc[row, f"p_{taxon}"] = 0.91 + 0.05 * number
        p.insert(0, "cpg", [cpgs[row] for row in chosen])
        path = tmp_path / f"round_{number}/predictions/0-of-1.parquet"
        path.parent.mkdir(parents=True)
        p.to_parquet(path)
        shards.append(str(path))
    names = ("samples", "statistics", "labels", "taxonomy", "unclassified")
    files = {kind: [str(path)] * 2 for kind, path in NETWORK.items()} | {"predictions": shards}
    files |= {name: str(tmp_path / f"{name}.parquet") for name in names}
    inputs = types.SimpleNamespace(**files, beta=str(tmp_path / "beta.arrow"))

    def write(cpgs=cpgs, folder="out", **changes) -> tuple[str, pd.DataFrame]:
        out = {kind: str(tmp_path / folder / f"explain.{kind}") for kind in ("html", "csv")}
        out["figures"] = str(tmp_path / folder / "figures")
        settings = SHIPPED_RULES | {
            "own_labels": False,
            "confidence": None,
            "veto": True,
            "device": "cpu",
            "error_rate": 0.05,
        }
        explain.write_explanation(inputs, out, cpgs, **settings | changes)
        table = pd.read_csv(out["csv"], dtype=str, keep_default_na=False)
        return pathlib.Path(out["html"]).read_text(), table

    return write


def test_the_page_is_whole_escaped_and_the_same_each_time(page):
    html, table = page()
    assert "<script" not in html
    assert "<em>" not in html
    assert html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;quoted&#34; name") >= 3
    # Nothing is fetched: addresses are names of XML dialects only.
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert not re.search(r"https?://|url\((?!#)|@import", outside)
    assert set(re.findall(r'(?:src|xlink:href)="(data:[^,]*|[^"]{,20})', html)) - {"data:image/png;base64"} <= {
        *re.findall(r'xlink:href="(#[^"]{,19})', html)
    }
    images = re.findall(r"<img [^>]*>", html)
    assert len(images) == 12
    assert all(re.search(r' alt="[^"]{20,}"', image) for image in images)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))

    assert list(dict.fromkeys(table["cpg"])) == [HOSTILE, "cg2", "cg3"]
    headings = re.findall(r'<section id="cpg-\d">\n<h2>(.*)</h2>', html)
    assert headings[1:] == ["cg2", "cg3"]
    assert html == page(folder="again")[0]


def test_the_page_is_fine_in_a_browser(page, tmp_path, browser):
    page()
    assert_fine(browser, tmp_path / "out/explain.html")
    assert {path.name for path in (tmp_path / "out/figures").iterdir()} == {
        f"cpg_{number}.{kind}" for number in (1, 2, 3) for kind in ("svg", "pdf", "csv")
    }


def test_what_gave_the_taxon_is_said(page):
    html, table = page(["cg3", "cg2", HOSTILE])
    third, second, first = re.split(r'<section id="cpg-\d">', html)[1:]
    assert "The tests answer every question that Outlier asks" in first
    assert "The network finds another taxon likelier (Outlier 1.0\xa0%)" in first
    assert "ResNet18 of round 0, the last that looked at this CpG" in " ".join(first.split())
    assert "The network of round 1 placed it: UniUnstable 96.0" in second
    assert "It is a boundary CpG: width." in second
    assert "MixResNet18 of round 1" in second
    assert second.count("<small>round 0</small>") == second.count("<small>round 1</small>") == 10
    assert "No network looked at it." in third
    assert "no network looked at this CpG during the run" in third
    probabilities = table[(table["cpg"] == "cg2") & (table["kind"] == "probability") & (table["name"] == "UniUnstable")]
    assert probabilities[["detail", "value"]].to_numpy().tolist() == [["round 0", "0.91"], ["round 1", "0.96"]]
    asked = table[table["kind"] == "rule"]
    assert set(asked["name"]) == set(TAXA)
    assert set(asked["value"]) <= {"met", "contradicted", "open"}
    assert set(table.loc[table["kind"] == "criterion", "name"]) == {one.name for one in TABLE}


@pytest.mark.parametrize(
    ("source", "left", "confidence", "says"),
    [
        (
            "none",
            ("contradicted", "", 0.5, "no taxon: curved"),
            None,
            "The network favours BiAge 97.0 %, but the tests leave no taxon (no taxon: curved).",
        ),
        (
            "none",
            ("ambiguous", "BiAge|TriAge", 0.5, ""),
            None,
            "Ambiguous: BiAge 97.0 % was not selected. In question are BiAge, TriAge.",
        ),
        (
            "none",
            ("unlike", "", 0.004, ""),
            None,
            "It is unlike the training CpGs, by its image or its statistics (p = 0.004 against simulated CpGs that the "
            "rules leave too), so that BiAge 97.0 % means little.",
        ),
        (
            "round_1",
            None,
            None,
            "The network of round 1 placed it: BiAge 97.0 %, selected by the selection model (of the CpGs placed so, "
            "at most 5 % are wrong), and the tests do not rule it out.",
        ),
        (
            "round_1",
            None,
            0.95,
            "The network of round 1 placed it: BiAge 97.0 %, at least the 95 % asked for, and the tests do not rule it "
            "out.",
        ),
    ],
)
def test_what_placed_it_or_was_lacking_is_said(source, left, confidence, says):
    p = np.full(10, 0.03 / 9)
    p[INDEX["BiAge"]] = 0.97
    row = {"taxon": UNCLASSIFIED if source == "none" else "BiAge", "source": source}
    left = left and dict(zip(("reason", "taxa", "unlike_p", "detail"), left, strict=True))
    settings = {"own_labels": False, "confidence": confidence, "error_rate": 0.05, "veto": True}
    assert explain.verdict(row, p, "", left, settings).replace("\u00a0", " ") == says


@pytest.fixture(scope="module")
def stated(tmp_path_factory, planted):
    """The page about three CpGs, to be rendered with other numbers."""
    with kept_from("cpgtaxa.explain.page.write_page") as kept, pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "STEPS", 4)
        patch.setattr(explain, "MOST_STEPS", 4)
        make_page(tmp_path_factory.mktemp("stated"), planted)()
    return Page(**kept)


def one(at=0, **changes):
    """The page about one of the CpGs alone."""
    return {"entries": lambda entries: [entries[at] | changes]}


LINE = explain.Line(slope=0.0, level=0.3, share=0.4, sd=0.01)
STATES = [
    (
        {},
        ["behind the taxa of 3 of this cohort's 3 CpGs (200 samples", "likeliest: ", "fitted without outliers; SD"],
        ["label given"],
    ),
    (
        one(outdone=True, confidence=0.1, doubtful=True),
        ["behind the taxon of 1 of", "confidence: 10.0 %", "the network's choice: ", "The network finds another"],
        ["second: ", "likeliest: ", "The rules:"],
    ),
    (one(outdone=False, confidence=np.nan, doubtful=False), ["second: "], ["confidence:", "finds another taxon"]),
    (one(1, reason="open: trend", verdict="Placed."), ["Placed. The rules: open: trend."], []),
    (one(1, reason="open: trend", verdict="Ambiguous (open: trend)."), [], ["The rules:"]),
    (
        one(1) | {"own_labels": True},
        ["the CpG; a label given is taken as it is."],
        ["The rules:", "by the tests where"],
    ),
    (one(lines=[]), ["No line could be fitted."], ["The line,", "bands of"]),
    (
        one(lines=[LINE, LINE]),
        ["The 2 bands of the mixture of regressions, at the mean age: 0.3 (40.0 %, SD 0.01), "],
        [],
    ),
    (one(grid=None), [], ["without some of the samples"]),
    (one(few=True, patterns=[]), ["Too few samples have a value"], ["No taxon:"]),
    (one(few=False, patterns=explain.PATTERNS[:1]), ["No taxon: "], ["Too few samples"]),
    ({"veto": True, "asked": "sure"}, ["call is sure, unless the tests rule the taxon out; CpGs that"], []),
    ({"veto": False, "asked": "sure"}, ["call is sure; CpGs that"], ["rule the taxon out;"]),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

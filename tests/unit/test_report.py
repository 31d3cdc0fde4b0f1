"""The report on a small made-up run: right numbers, everything escaped, the same bytes each time."""

import itertools
import json
import pathlib
import re
import types
import xml.etree.ElementTree

import numpy as np
import pandas as pd
import pytest
from branches import Page, kept_from
from cohorts import TAXA_CONFIG, cohort_of, statistics_of
from cpgtaxa.embedding.clusters import PAIR_COLUMNS
from cpgtaxa.errors import InputError
from cpgtaxa.names import COLOURS, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.pages import drawing
from cpgtaxa.report import gallery, tables
from cpgtaxa.report.cell_types import cell_types_page
from cpgtaxa.report.page import write_report
from cpgtaxa.report.summary import WIDTH, summary_text
from cpgtaxa.statistics.age_ewas import write_age_ewas
from pages import digests, text_of

HOSTILE = "<script>alert(1)</script>"
HOSTILE_SEX = "</text></svg><b>$x_{$"
CONFIG = {
    "seed": 42,
    "cohort": {
        "beta": "data/<i>beta</i>.csv",
        "samples": "data/samples.csv",
        "truth": None,
        "max_missing_cpg": 0.2,
        "max_missing_sample": 0.2,
    },
    "taxa": TAXA_CONFIG,
    "images": {"info": None},
    "rounds": {"max": 3, "error_rate": 0.05, "unlike": 0.01, "confidence": None, "veto": True},
    "report": {"gallery": 2},
}


def _predictions(rng, n, prefix):
    actual = rng.integers(10, size=n)
    p = rng.dirichlet(np.full(10, 0.2), size=n)
    p[np.arange(n), actual] += rng.random(n)
    p /= p.sum(axis=1, keepdims=True)
    first = p.argmax(axis=1)
    frame = pd.DataFrame({"ImagePath": [f"{prefix}/{i}.png" for i in range(n)]})
    frame["ActualLabel"] = np.array(TAXA)[actual]
    frame["PredictedLabelName"] = np.array(TAXA)[first]
    frame["PredictedLabelIndex"] = first
    frame[list(TAXA)] = p
    return frame


def _embedding(folder, cpgs) -> dict:
    """Files as of the rule `embedding`: two clusters, one a candidate, with hostile names among the examples."""
    points = pd.DataFrame({"cpg": cpgs, "taxon": TAXA[0], "source": "statistical", "x": range(60), "y": 1.0})
    points["cluster"] = pd.array([1, 2, *[None] * 58], dtype="Int64")
    rows = [
        (1, "candidate new taxon", 31, 0.91, 0.97, "TriAge", 0.6, "BiAge", 0.3, "BiAge", "kurtosis +9.5; skew -3.2"),
        (2, "between Outlier and BiAge", 1029, 0.8, 0.5, "Outlier", 0.6, "BiAge", 0.3, HOSTILE, ""),
    ]
    names = ["cluster", "name", "n", "stability", "isolation", "taxon_a", "p_a", "taxon_b", "p_b", "nearest_known"]
    found = pd.DataFrame(rows, columns=[*names, "stands_out"])
    for number in range(1, 6):
        found[f"example_{number}"] = cpgs[number - 1], cpgs[number + 9]
    pairs = [(a, b, 20, 1030, 0.97, 0.91, "apart") for a, b in itertools.combinations(TAXA[:9], 2)]
    pairs += [(taxon, TAXA[9], 20, 3, None, None, "too few") for taxon in TAXA[:9]]
    pairs[0] = (TAXA[0], TAXA[1], 20, 20, 0.61, 0.52, "overlapping")
    pairs = pd.DataFrame(pairs, columns=list(PAIR_COLUMNS))
    summary = {"round": 1, "placed": 1045, "unclassified": 1061, "unclassified_in_cohort": 2000, "in_clusters": 1060}
    summary |= {"candidates": 1, "notes": ["Fewer than 10 CpGs are placed in BiNonAge."]}
    for name, frame in (("map", points), ("clusters", found), ("separability", pairs)):
        frame.to_csv(folder / f"{name}.csv", index=False)
    (folder / "embedding.json").write_text(json.dumps(summary))
    (folder / "map.svg").write_text(
        '<?xml version="1.0"?>\n<svg width="9"><g id="a" style="fill: ' + COLOURS["UniStable"].lower() + '"/></svg>'
    )
    (folder / "map.pdf").write_bytes(b"%PDF-1.4 drawn")
    drawn = {
        "map_drawn": str(folder / "map.svg"),
        "map_pdf": str(folder / "map.pdf"),
        "embedding": str(folder / "embedding.json"),
    }
    return drawn | {name: str(folder / f"{name}.csv") for name in ("map", "clusters", "separability")}


@pytest.fixture
def run(tmp_path):
    """A made-up run of its own."""
    return make_run(tmp_path)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made, and left empty in their files: for tests of what a page says."""
    monkeypatch.setattr(drawing, "svg_text", lambda figure, name: "<svg ></svg>")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A made-up run and what the report wrote of it, in the folder `a`; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("written")
    inputs = make_run(folder)
    return types.SimpleNamespace(run=inputs, folder=folder / "a", outputs=_write(inputs, folder / "a"))


def _round_files(folder, number, taxonomy, rng, names):
    """Counts, test predictions, log, card and metrics of one round: their paths by name, and the card's."""
    from cpgtaxa.learning.evaluation import evaluate

    done = taxonomy["source"] == f"round_{number}"
    counts = {"round": number, "candidates": 30 - 10 * number, "placed": int(done.sum())}
    counts["left"] = {"ambiguous": 4, "contradicted": 3, "unlike": 1}
    found = {"threshold": 0.9, "expected_error_rate": 0.021, "error_rate_at_most": 0.043}
    found["near_threshold"] = {"within": 0.05, "above": 7, "below": 12}
    counts |= found if number == 0 else dict.fromkeys(found)
    if number == 0:
        counts |= {"labelled_cpgs": 25, "network_as_labels": 0.8, "doubtful": True}
    found = taxonomy.loc[done, "taxon"].value_counts()
    counts["placed_per_taxon"] = {taxon: int(found.get(taxon, 0)) for taxon in TAXA}
    paths = {name: str(folder / f"{name}_{number}") for name in names}
    (folder / f"counts_{number}").write_text(json.dumps(counts))
    tests = pd.concat([_predictions(rng, 40, "results/round_0"), _predictions(rng, 30, "results/simulated/i")])
    tests.to_csv(paths["tests"], index=False)
    epochs = 3 * (1 - number)
    log = {"epoch": range(1, epochs + 1)}
    for name in ("train_loss", "train_acc", "val_loss", "val_acc", "epoch_duration_s"):
        log[name] = np.linspace(0.4, 0.8, epochs)
    pd.DataFrame(log).to_csv(paths["logs"], index=False)
    card = folder / f"card_{number}"
    card.write_text(
        json.dumps({"model": ("ResNet18", "MixResNet18")[number], "temperature": 0.8, "torch": f"9.{number}"})
    )
    evaluate(paths["tests"], paths["logs"], card, paths["metrics"])
    return paths, card


def make_run(tmp_path):
    """Two rounds on 60 CpGs and 40 samples; round 1 had its weights given, so that its log is empty."""
    folder, rng = tmp_path / "results", np.random.default_rng(1)
    folder.mkdir()
    ages = np.round(rng.uniform(19, 90, 40), 2)
    values = 0.5 + rng.normal(0, rng.uniform(0.003, 0.08, 60)[:, None], (60, 40)).astype(np.float32)
    values[:5, :3] = np.nan
    cpgs = [HOSTILE] + [f"cg{index:08d}" for index in range(1, 60)]
    samples = pd.DataFrame({"sample_id": [f"S{i}" for i in range(40)], "age": ages})
    samples["sex"] = np.where(np.arange(40) % 2, "F", HOSTILE_SEX)
    cohort_of(folder, values, cpgs)
    samples.to_parquet(folder / "samples.parquet")

    # CpGs 0..29 by the rules, 30..39 by round 0, 40..44 by round 1, 45..59 left.
    taxonomy = pd.DataFrame({"cpg": cpgs, "taxon": [TAXA[i % 10] for i in range(60)]})
    taxonomy["source"] = ["statistical"] * 30 + ["round_0"] * 10 + ["round_1"] * 5 + ["none"] * 15
    taxonomy.loc[45:, "taxon"] = UNCLASSIFIED
    p = rng.dirichlet(np.ones(10), size=60)
    taxonomy[list(PROBABILITY_COLUMNS)] = p.astype(np.float32)
    taxonomy["confidence"], taxonomy["second_taxon"] = p.max(axis=1), TAXA[0]
    taxonomy["boundary"] = ["width"] * 5 + [""] * 50 + ["trend"] * 5
    taxonomy["network_p"], taxonomy["margin"] = taxonomy["confidence"], rng.permutation(60) / 10
    taxonomy["criterion"], taxonomy["disagrees"] = "width", taxonomy["source"].eq("statistical") & (p[:, 0] > 0.2)
    taxonomy.loc[45:, "confidence"] = np.nan
    taxonomy.to_parquet(folder / "taxonomy.parquet")
    labels = pd.DataFrame({"cpg": cpgs, "taxon": taxonomy["taxon"], "reason": "one band; <em>narrow</em>"})
    labels.loc[50:, "reason"] = "open: trend; UniUnstable or LinAgeHomo"
    labels.to_parquet(folder / "labels.parquet")
    statistics = statistics_of(values, ages, cpgs=cpgs)
    statistics.to_parquet(folder / "statistics.parquet")
    seen = pd.DataFrame({"cpg": cpgs, "n_missing": np.isnan(values).sum(axis=1), "kept": True, "reason": None})
    seen.loc[60] = ["cg_missing", 20, False, "missing"]
    seen.loc[61] = ["cg_constant", 0, False, "constant"]
    seen.to_parquet(folder / "cpgs.parquet")
    patterns = pd.DataFrame({"replication": [0.95] * 37 + [0.5] * 13 + [np.nan] * 10, "sex_q": [0.01] * 3 + [0.5] * 57})
    patterns["shape"] = ["linear"] * 40 + ["late_onset"] * 20
    patterns["spread_shape"] = ["none"] * 43 + ["late_onset"] * 17
    patterns["cause"] = ["SNP"] * 6 + ["batch"] * 2 + [None] * 52
    patterns.to_parquet(folder / "patterns.parquet")
    truth = pd.DataFrame({"cpg": cpgs, "taxon": [TAXA[i % 9] for i in range(60)]})
    truth["kind"] = ["width"] * 6 + [""] * 54
    truth["admissible"] = ["UniStable|UniUnstable"] * 6 + list(truth["taxon"][6:])
    truth.to_csv(folder / "truth.csv", index=False)

    files = {"counts": [], "metrics": [], "logs": [], "tests": []}
    networks = []
    for number in range(2):
        paths, card = _round_files(folder, number, taxonomy, rng, list(files))
        networks.append(str(card))
        for name in files:
            files[name].append(paths[name])

    left = pd.DataFrame({"cpg": cpgs[45:], "reason": "ambiguous", "detail": labels["reason"][45:].to_numpy()})
    left.loc[5:, "detail"] = "open: trend; UniUnstable or LinAgeHomo"
    left.to_parquet(folder / "unclassified.parquet")
    write_age_ewas(
        {name: folder / f"{name}.parquet" for name in ("statistics", "taxonomy")},
        {"csv": folder / "age_ewas.csv.gz", "summary": folder / "age_ewas.json"},
    )
    qc = {
        "n_cpgs": {"in": 67, "kept": 60, "dropped_missing": 2, "dropped_constant": 1, "dropped_ch": 4},
        "n_samples": {"in_matrix": 41, "in_sheet": 40, "kept": 40},
        "samples_dropped": {"only_in_matrix": ["x"], "only_in_sheet": [], "missing": []},
        "missing_fraction": 0.0123,
        "sha256": {"cohort": "ab" * 32},
        "warnings": ["left out: sample '<u>x</u>'"],
    }
    (folder / "qc.json").write_text(json.dumps(qc))
    inputs = types.SimpleNamespace(**files, cards=networks, truth=str(folder / "truth.csv"), **_embedding(folder, cpgs))
    for name, suffix in (("taxonomy", "parquet"), ("labels", "parquet"), ("statistics", "parquet")):
        setattr(inputs, name, str(folder / f"{name}.{suffix}"))
    inputs.beta, inputs.samples = str(folder / "beta.arrow"), str(folder / "samples.parquet")
    inputs.unclassified, inputs.ewas = str(folder / "unclassified.parquet"), str(folder / "age_ewas.csv.gz")
    inputs.ewas_summary = str(folder / "age_ewas.json")
    inputs.patterns = str(folder / "patterns.parquet")
    inputs.qc, inputs.cpgs = str(folder / "qc.json"), str(folder / "cpgs.parquet")
    return inputs


def _outputs(folder):
    names = {"html": "report.html", "summary": "summary.txt", "counts": "report/counts.csv"}
    names |= {
        name: f"report/{name}.csv" for name in ("agreement", "thresholds", "selection", "rounds", "gallery", "left")
    }
    names |= {"test_scores": "report/tests.csv", "figures": "report/figures"}
    return {key: str(folder / name) for key, name in names.items()}


def _write(inputs, folder, config=CONFIG):
    outputs = _outputs(folder)
    write_report(inputs, outputs, config)
    return outputs


def _text(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def test_counts_add_up_and_grow(written):
    counts = pd.read_csv(written.outputs["counts"])
    assert list(counts.columns) == ["stage", "taxon", "n_cpgs", "share", "n_boundary"]
    assert counts.groupby("stage")["n_boundary"].sum().tolist() == [10, 10, 10]
    wide = counts.pivot(index="taxon", columns="stage", values="n_cpgs")
    assert list(dict.fromkeys(counts["stage"])) == ["statistical", "round_0", "round_1"]
    assert wide.sum().tolist() == [60, 60, 60]
    assert wide.loc[UNCLASSIFIED, ["statistical", "round_0", "round_1"]].tolist() == [30, 20, 15]
    assert wide.loc["UniStable", ["statistical", "round_0", "round_1"]].tolist() == [3, 4, 5]
    assert wide.loc["BiNonAge", ["statistical", "round_0", "round_1"]].tolist() == [3, 4, 4]
    assert counts.groupby("stage")["share"].sum().tolist() == pytest.approx([1, 1, 1])


def _small():
    """Eight clear CpGs and three boundary CpGs, of which one has no right taxon, as in files of old."""
    rows = [
        ("a", "UniStable", "statistical", "UniStable", "UniStable", ""),
        ("b", "UniStable", "statistical", "UniStable", "UniStable", ""),
        ("c", "UniStable", "round_0", "UniUnstable", "UniUnstable", ""),
        ("d", "UniUnstable", "round_0", "UniUnstable", "UniUnstable", ""),
        ("e", "UniUnstable", "round_1", "UniUnstable", "UniUnstable", ""),
        ("f", UNCLASSIFIED, "none", "UniUnstable", "UniUnstable", ""),
        ("g", "Outlier", "round_1", "Outlier", "Outlier", ""),
        ("h", UNCLASSIFIED, "none", "Outlier", "Outlier", ""),
        ("i", "UniUnstable", "round_0", "UniStable", "UniStable|UniUnstable", "width"),
        ("j", UNCLASSIFIED, "none", "UniStable", "UniStable|UniUnstable", "width"),
        ("k", "Outlier", "round_0", UNCLASSIFIED, "", "fan"),
        ("not in truth", "Outlier", "round_0", None, None, ""),
    ]
    table = pd.DataFrame(rows, columns=["cpg", "taxon", "source", "truth", "admissible", "kind"])
    truth = table.dropna()[["cpg", "truth", "admissible", "kind"]].rename(columns={"truth": "taxon"})
    dropped = pd.DataFrame(
        {"cpg": ["dropped by the checks"], "taxon": ["BiAge"], "admissible": ["BiAge"], "kind": [""]}
    )
    return table[["cpg", "taxon", "source"]], pd.concat([truth, dropped])


def test_agreement_by_hand():
    found = tables.agreement(*_small()).set_index(["stage", "taxon"])
    assert list(dict.fromkeys(found.index.get_level_values(0))) == ["statistical", "round_0", "round_1", "all"]

    # Statistics: two UniStable, both right; everything else is unplaced.
    value = found.loc["statistical"]
    assert value.loc["UniStable", ["precision", "recall", "f1"]].tolist() == [1, 1, 1]
    assert value.loc["UniUnstable", ["n_true", "n_called", "precision", "recall"]].tolist() == [4, 0, 0, 0]
    assert value.loc["macro", "value"] == pytest.approx(1 / 3)
    assert value.loc["placed", "value"] == pytest.approx(2 / 11)
    assert value.loc["boundary", ["n_true", "n_called", "value"]].tolist() == [3, 0, 0]

    # The end. UniStable: 3 called, 2 right, of 2. UniUnstable: 3 called, all right, one of them a boundary CpG; of 4
    # clear ones 2 are found. Outlier: 2 called, one of them without a right taxon; of 2 clear ones 1 is found.
    value = found.loc["all"]
    stable, unstable, outlier = (2 * p * r / (p + r) for p, r in ((2 / 3, 1), (1, 1 / 2), (1 / 2, 1 / 2)))
    for taxon, numbers in {
        "UniStable": [2, 3, 0, 2 / 3, 1, stable, stable],
        "UniUnstable": [4, 3, 1, 1, 1 / 2, unstable, unstable],
        "Outlier": [2, 2, 1, 1 / 2, 1 / 2, outlier, outlier],
    }.items():
        assert value.loc[taxon].astype(float).tolist() == pytest.approx(numbers), taxon
    assert value.loc["macro", "f1"] == pytest.approx((stable + unstable + outlier) / 3)
    assert value.loc["placed", ["n_true", "n_called", "value"]].tolist() == pytest.approx([11, 8, 8 / 11])
    assert value.loc["precision", ["n_true", "n_called", "value"]].tolist() == [8, 6, 6 / 8]
    numbers = ["n_true", "n_called", "n_boundary", "precision", "value"]
    assert value.loc["boundary:width", numbers].tolist() == [2, 1, 1, 1, 0.5]
    assert value.loc["boundary:fan", numbers].tolist() == [1, 1, 0, 0, 0]
    assert value.loc["boundary", numbers].tolist() == pytest.approx([3, 2, 1, 1 / 2, 1 / 3])
    assert "BiAge" not in value.index


def test_agreement_without_placements_or_boundary_cpgs():
    taxonomy, truth = _small()
    taxonomy = taxonomy.assign(taxon=UNCLASSIFIED, source="none")
    found = tables.agreement(taxonomy, truth[truth["kind"] == ""], rounds=2).set_index(["stage", "taxon"])["value"]
    assert np.isnan(found["all", "boundary"])
    assert np.isnan(found["all", "precision"])
    assert found["all", "macro"] == found["all", "placed"] == 0
    assert ("round_1", "placed") in found.index


def test_agreement_file_has_only_a_header_without_truth(run, tmp_path, undrawn):
    run.truth = None
    outputs = _write(run, tmp_path / "a")
    assert _text(outputs["agreement"]) == ",".join(tables.AGREEMENT_COLUMNS) + "\n"
    assert "truth" not in _text(outputs["summary"])
    assert 'id="truth"' not in _text(outputs["html"])
    del run.truth
    _write(run, tmp_path / "b")


def test_truth_file_problems_are_listed_together(tmp_path):
    path = tmp_path / "truth.tsv"
    path.write_text("cpg\ttaxon\tadmissible\na\tUniStabel\tBiAge\nb\tBiAge\tBiAge|TriAg\nb\tBiAge\tBiAge\n")
    with pytest.raises(InputError) as caught:
        tables.read_truth(path)
    assert len(caught.value.problems) == 2
    assert "UniStabel" in caught.value.text()
    assert "TriAg'" in caught.value.text()
    assert "'b'" in caught.value.text()


def test_truth_reads_tab_separated_and_packed_tables(tmp_path):
    for name, separator in (("truth.tsv.gz", "\t"), ("truth.csv.gz", ","), ("truth.csv", ",")):
        frame = pd.DataFrame({"cpg": ["a", "NA"], "taxon": ["BiAge", UNCLASSIFIED], "kind": ["", "width"]})
        frame.to_csv(tmp_path / name, sep=separator, index=False)
        found = tables.read_truth(tmp_path / name)
        assert found[["cpg", "taxon", "kind"]].values.tolist() == frame.values.tolist()
        assert found["admissible"].tolist() == ["BiAge", ""]  # files of old
    frame.drop(columns="kind").to_parquet(tmp_path / "truth.parquet")
    assert tables.read_truth(tmp_path / "truth.parquet")["kind"].tolist() == ["", ""]


def test_summary_fits_and_has_all(written):
    run, outputs = written.run, written.outputs
    text = _text(outputs["summary"])
    assert max(map(len, text.replace(outputs["html"], "").replace(run.taxonomy, "").splitlines())) <= WIDTH
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["UniStable"][1:6] == ["3", "4", "5", "8.3", "%"]
    assert lines[UNCLASSIFIED][1:6] == ["30", "20", "15", "25.0", "%"]
    assert lines["placed"][1:4] == ["30", "40", "45"]
    assert lines["all"][1:4] == ["60", "60", "60"]
    agreed = pd.read_csv(outputs["agreement"]).set_index(["stage", "taxon"])["value"]
    assert f"{agreed['round_1', 'macro']:.3f}" in lines["macro-F1"]
    scores = json.loads(_text(run.metrics[1]))
    assert f"{100 * scores['test_cohort']['accuracy']:.1f} % of 40" in text
    assert f"{100 * scores['test_simulated']['accuracy']:.1f} % of 30" in text
    assert outputs["html"] in text
    assert run.taxonomy in text


def test_summary_fits_with_many_rounds_and_cpgs():
    taxonomy = pd.DataFrame({"taxon": [TAXA[0]] * 20, "source": [f"round_{number}" for number in range(20)]})
    counts = tables.count_taxa(taxonomy, 20)
    counts["n_cpgs"] *= 40_000
    scores = {"accuracy": 1.0, "n": 2000, "calibration_error": 0.01}
    metrics = [{"model": "MixResNet18", "test_cohort": scores, "test": scores}] * 20
    text = summary_text(counts, metrics, None, CONFIG, {"report": "r.html"})
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "Round 19" in text
    assert "earlier rounds left out" in text


def test_everything_from_data_is_escaped(run, tmp_path):
    outputs = _write(run, tmp_path / "a", CONFIG | {"report": {"gallery": 20}})
    html = _text(outputs["html"])
    for evil in (HOSTILE, HOSTILE_SEX, "<em>narrow", "<u>x</u>", "<i>beta"):
        assert evil not in html, evil
    for shown in ("&lt;script&gt;alert(1)", "&lt;em&gt;narrow", "&lt;u&gt;x", "&lt;i&gt;beta", "&lt;/svg&gt;"):
        assert shown in html, shown
    assert "<script" not in html
    # In the figures too, which must stay well-formed.
    assert "&lt;/svg&gt;" in re.search(r'<svg[^>]*aria-label="Ages.*?</svg>', html, re.S).group()
    for figure in re.findall(r"<svg.*?</svg>", html, re.S):
        xml.etree.ElementTree.fromstring(figure)


def test_the_cohorts_page_says_what_was_adjusted(run, tmp_path, written, undrawn):
    assert "Betas adjusted for" not in _text(written.outputs["html"])
    covariates = [
        {"name": "ward <b>", "kind": "category", "levels": {"a": 20, "b": 15, "c": 5}, "terms": 2},
        {"name": "bmi", "kind": "number", "levels": None, "terms": 1},
        {"name": "cell_fractions", "kind": "fractions", "levels": None, "terms": 6},
    ]
    found = {"covariates": covariates, "share_taken": 0.234, "share_by_chance": 0.08, "clipped": {"values": 1234}}
    run.adjusted = str(tmp_path / "adjusted.json")
    pathlib.Path(run.adjusted).write_text(json.dumps(found | {"warnings": ["far less certain"]}))
    outputs = _write(run, tmp_path)
    page = _text(outputs["html"])
    assert "ward &lt;b&gt; (3 categories), bmi (a number), cell_fractions (6 cell types)" in page
    assert "23.4\u00a0% of the variance beside age (8.0\u00a0% by chance); 1,234 values clipped" in page
    assert "far less certain" in page
    assert "2 warnings about the cohort" in _text(outputs["summary"])


def test_page_is_self_contained(written):
    html = _text(written.outputs["html"])
    assert not re.search(
        r"""(src|href)\s*=\s*["'](?!#|data:|report/|cohort/|embedding/|explorer\.html|(?:age_ewas|patterns)\.csv\.gz)""",
        re.sub(r"<svg.*?</svg>", "", html, flags=re.S),
    )
    assert not re.search(r"url\((?!#)|@import", html)
    assert len(html) < 5e6
    assert "Given" not in html
    assert "Round 1: confusions" in html
    assert "Weights were given for this round" in html
    assert "left out" in html


def test_error_rates_reasons_and_counts_of_cpgs_are_shown(written):
    html = _text(written.outputs["html"])
    assert "at most 5\u00a0% of the calls are wrong" in html
    row = r'ambiguous</th><td>open: trend</td><td class="n">10</td><td class="n">66.7\u00a0%</td>.*?'
    row += "rounds.error_rate, taxa.thresholds.trend, taxa.errors"
    assert re.search(row, html)
    unclassified = re.search(r"Unclassified</th>.*?</tr>", html, re.S).group()
    numbers = "".join(f'<td class="n">{number}</td>' for number in (10, 5, 0, 0))  # clear, boundary, ageing, spread
    assert unclassified.endswith(f"{numbers}</tr>")
    assert "of which at most 5\u00a0% are wrong" in html
    assert "None" not in re.sub(r"<pre>.*?</pre>", "", html, flags=re.S)
    assert '<td class="n">0.2 of 10</td><td class="n">2 of 10</td>' in html  # of few calls, counts
    assert (
        "is the label on 80.0\u00a0% of the 25 labelled CpGs that are clear, some of which it was trained on." in html
    )
    assert html.count("That is little: this cohort is unlike the simulated ones") == 1
    assert '<td class="n">–</td><td class="n">–</td>' in html  # round 1 has no error rate
    assert '<tr><th scope="row">0</th><td class="n">4</td><td class="n">3</td><td class="n">1</td></tr>' in html
    assert "2 mostly missing, 1 constant, 4 not CpGs (methylation outside CpGs)" in html
    assert "in the list" not in html
    assert "Of 50, 37 are likely to get the same taxon in another cohort" in text_of(html)


def test_figures_have_their_data(written):
    run, folder, outputs = written.run, written.folder, written.outputs
    figures = {path.name for path in (folder / "report/figures").iterdir()}
    stems = {"ages", "missing", "components", "explained", "taxa", "flow", "map", "training_round_0", "reliability"}
    stems |= {"truth", "thresholds", "volcano", "qq"}
    stems |= {f"confusion_round_{number}_{images}" for number in (0, 1) for images in ("cohort", "simulated")}
    assert figures == {f"{stem}.{suffix}" for stem in stems for suffix in ("svg", "pdf", "csv")}
    taxa = pd.read_csv(folder / "report/figures/taxa.csv")
    assert taxa["n_cpgs"].sum() == 60
    assert taxa.set_index(["taxon", "source"])["n_cpgs"]["UniStable", "round_0"] == 1
    assert pd.read_csv(folder / "report/figures/ages.csv")["n"].sum() == 40
    scores = json.loads(_text(run.metrics[1]))["test_cohort"]["confusion"]
    confusion = pd.read_csv(folder / "report/figures/confusion_round_1_cohort.csv").set_index("actual")
    assert confusion[list(TAXA)].to_numpy().tolist() == scores
    shares = confusion[[f"share_{taxon}" for taxon in TAXA]].to_numpy()
    assert shares.sum(axis=1) == pytest.approx(np.minimum(np.sum(scores, axis=1), 1), abs=1e-5)
    truth = pd.read_csv(folder / "report/figures/truth.csv").set_index("actual")
    assert truth[[*TAXA, UNCLASSIFIED]].to_numpy().sum() == 60
    answers = pd.read_csv(outputs["thresholds"]).set_index("criterion")
    assert answers.index.tolist() == list(CONFIG["taxa"]["thresholds"])
    assert answers.loc["width", ["no", "yes"]].to_dict() == CONFIG["taxa"]["thresholds"]["width"]
    drawn = pd.read_csv(folder / "report/figures/thresholds.csv").groupby("criterion")["n"].sum()
    assert drawn["width"] == answers.loc["width", "n"] > 0
    selection = pd.read_csv(outputs["selection"]).set_index("round")
    assert selection.loc[0, ["threshold", "within", "near_above", "near_below"]].tolist() == [0.9, 0.05, 7, 12]
    assert np.isnan(selection.loc[1, "threshold"])
    shown = pd.read_csv(outputs["gallery"])
    assert set(shown["group"]) == {"typical", "borderline", "reassigned", "almost", "random"}
    assert not shown.duplicated(["cpg", "group"]).any()
    html = _text(outputs["html"])
    for path in re.findall(r'href="(report/[^"]+)"', html):
        assert (folder / path).exists(), path
    assert "9.0" in html
    assert "the network of round 1" in html


def test_reliability_by_hand():
    table = pd.DataFrame(np.full((4, 10), 0.0), columns=list(TAXA))
    table["UniStable"], table["BiAge"] = [0.95, 0.95, 0.65, 0.62], [0.05, 0.05, 0.35, 0.38]
    table["PredictedLabelName"] = "UniStable"
    table["ActualLabel"] = ["UniStable", "BiAge", "UniStable", "UniStable"]
    found = tables.reliability(table, 1.0)
    assert found["confidence"].tolist() == pytest.approx([0.635, 0.95])
    assert found["accuracy"].tolist() == [1.0, 0.5]
    assert found["n"].tolist() == [2, 2]
    # Wilson: 2 of 2 is from 2 / (2 + z²) to 1, 1 of 2 is 1/2 ± z / (2 sqrt(2 + z²)).
    z = 1.959964
    assert found["low"].tolist() == pytest.approx([2 / (2 + z**2), 0.5 - z / 2 / (2 + z**2) ** 0.5], abs=1e-5)
    assert found["high"].tolist() == pytest.approx([1, 0.5 + z / 2 / (2 + z**2) ** 0.5], abs=1e-5)
    assert found["bin_from"].tolist() == [0.6, 0.9]
    assert tables.reliability(table, 3.0)["confidence"].max() < 0.8


def test_gallery_shows_typical_borderline_and_reassigned_cpgs(run):
    taxonomy = pd.read_parquet(run.taxonomy)
    chosen = gallery.choose_examples(taxonomy, 2, 42)
    assert list(chosen) == [*TAXA, UNCLASSIFIED]
    for number, taxon in enumerate(TAXA):
        own = taxonomy[(taxonomy["taxon"] == taxon) & (taxonomy["source"] == "statistical")]
        placed = taxonomy[(taxonomy["taxon"] == taxon) & (taxonomy["source"] != "statistical")]
        sure = own.sort_values("network_p", ascending=False).sort_values("boundary", kind="stable")
        assert chosen[taxon]["typical"] == list(sure.index[:2])
        edge = chosen[taxon]["borderline"]
        assert edge[0] == own.drop(chosen[taxon]["typical"])["margin"].idxmin()
        by_networks = set(edge) - set(own.index)
        assert by_networks == set(placed["confidence"].nsmallest(len(by_networks)).index) != set()
        assert not set(edge) & set(chosen[taxon]["reassigned"])
        assert set(edge) | set(chosen[taxon]["reassigned"]) <= {30 + number, 40 + number} | set(own.index)
    left = taxonomy[taxonomy["taxon"] == UNCLASSIFIED]
    assert set(chosen[UNCLASSIFIED]["almost"]) == set(left["network_p"].nlargest(2).index)
    assert len(chosen[UNCLASSIFIED]["random"]) == 2
    assert min(chosen[UNCLASSIFIED]["random"]) >= 45
    assert gallery.choose_examples(taxonomy, 2, 42) == chosen


def test_gallery_images_are_the_rendered_ones(written):
    import base64
    import html
    import io

    from cpgtaxa.cohort import Cohort, read_samples
    from cpgtaxa.images.render import render, to_rgb
    from PIL import Image

    run, page = written.run, _text(written.outputs["html"])
    cards = re.findall(r'base64,([^"]+)">\s*<b>(?:<a href="explorer[.]html#cpg=[^"]*">)?(.*?)(?:</a>)?</b>', page)
    assert len(cards) == page.count('class="card"') > 10 * 2 + 4 + 2 * 5
    png, cpg = cards[3]
    cohort = Cohort(run.beta)
    code = render(cohort.take(cohort.find([html.unescape(cpg)])), read_samples(run.samples)["age"].to_numpy())[0]
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), to_rgb(code))


def test_same_input_same_bytes_and_nothing_old_stays(written):
    before = digests(written.folder)
    (written.folder / "report/figures/old.svg").write_text("")
    write_report(written.run, written.outputs, CONFIG)
    assert digests(written.folder) == before
    assert len(before) > 10
    assert not re.search(r"<dc:date>", _text(written.outputs["html"]))


def test_own_labels_are_called_so(run, tmp_path, undrawn):
    config = CONFIG | {"taxa": CONFIG["taxa"] | {"labels": "mine.csv"}}
    outputs = _write(run, tmp_path / "a", config)
    assert "Own labels" in _text(outputs["summary"])
    assert "Statistical rules" not in _text(outputs["html"])


def test_no_test_images_and_nothing_placed(run, tmp_path):
    for path in run.tests:
        pd.read_csv(path, nrows=0).to_csv(path, index=False)
    for path in run.metrics:
        found = json.loads(_text(path))
        kept = {key: value for key, value in found.items() if not key.startswith("test")}
        with open(path, "w") as handle:
            json.dump(kept, handle)
    taxonomy = pd.read_parquet(run.taxonomy)
    taxonomy.assign(taxon=UNCLASSIFIED, source="none").to_parquet(run.taxonomy)
    outputs = _write(run, tmp_path / "a")
    assert "There were no test images" in _text(outputs["html"])
    assert "No CpG of this cohort" in _text(outputs["html"])


def test_the_page_says_whether_ten_taxa_are_needed_and_enough(written):
    outputs = written.outputs
    section = re.search(r'<section id="enough">.*?</section>', _text(outputs["html"]), re.S).group()
    text = text_of(section)
    assert "1,045 placed and 1,061 of 2,000 Unclassified CpGs" in text
    assert "Fewer than 10 CpGs are placed in BiNonAge." in text
    assert "UniStable 20 UniUnstable 61.0 % 52.0 % little" in text
    assert "BiNonAge 3 – – – not known: too few CpGs" in text
    assert "TriAge 20 TriNonAge 97.0 % 91.0 % a pattern of its own" in text
    assert "1,060 of the 1,061 Unclassified CpGs lie in 2 clusters; 1 of these is a candidate new taxon" in text
    assert "1* candidate new taxon TriAge 60 % , BiAge 30 % 31 0.91 0.97 BiAge kurtosis +9.5, skewness −3.2" in text
    assert "&lt;script&gt;" in section
    assert section.count("<img") == 10
    assert "var(--c-UniStable)" in re.search(r"<svg.*?</svg>", section, re.S).group()


def test_the_page_says_so_where_there_are_no_clusters(run, tmp_path, undrawn):
    pd.read_csv(run.clusters, nrows=0).to_csv(run.clusters, index=False)
    html = _text(_write(run, tmp_path / "a")["html"])
    section = html.partition('<section id="enough">')[2].partition("</section>")[0]
    assert "No clusters were found." in section
    assert "<img" not in section


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The page of a made-up run, to be rendered with other numbers."""
    folder = tmp_path_factory.mktemp("rendered")
    with kept_from("cpgtaxa.report.page.write_page") as kept:
        write_report(make_run(folder), _outputs(folder), CONFIG)
    return Page(**kept)


def every(**changes):
    """Rows of a table with other values."""
    return lambda rows: [row | changes for row in rows]


NOTHING_OPEN = {"any_open": False, "any_placed": False, "any_unplaced": False, "n_open": "0", "n_networks": "0"}
CELLS = cell_types_page(
    pd.DataFrame(
        {
            "cell_type": ["Neu"] * 9 + ["undecided"] * 3 + [""] * 3,
            "spread_cell_type": ["Neu"] * 4 + ["NK"] + ["undecided"] * 2 + [""] * 8,
        }
    ),
    pd.DataFrame(
        [
            ["Neu", "0.6", "9", "4", ""],
            ["NK", "0.05", "0", "1", ""],
            ["Eos", "0.009", "", "", "fewer than 1%"],
        ],
        columns=["type", "mean", "changing", "spread_changing", "untested"],
    ),
)
PLACED = dict.fromkeys(("gene", "q", "p", "se", "slope", "ratio", "het_q", "link"), "")
PLACED |= {"cpg": "cg16867657", "place": "6:11,044,644", "island": "Island", "flags": "SNP", "taxon": "UniStable"}
POOLED = {"cohort": "Utrecht", "people": "1,000", "age": "20 to 80", "strata": "sex", "cell": 5, "cpgs": "60"}
POOLED |= {"adjusted": "age"}
WITH = {"component": "PC1", "variance": "40 %", "column": "chip", "r2": "0.75"}
NO_CPGS = {"taxon": "Outlier", "groups": [], "meaning": "One far from the others."}


def card(**changes) -> dict:
    """A taxon of the gallery with one CpG."""
    found = {"cpg": "cg1", "png": "", "link": "", "likely": [], "source": "the tests", "confidence": "0.97"}
    found |= {"second": "TriAge", "network": "BiAge 0.90", "second_share": "0.05", "disagrees": True}
    found |= {"effect": "+0.1", "sd": "1.0", "decides": None, "reason": ""} | changes
    return {"taxon": "BiAge", "meaning": "Two bands.", "groups": [{"title": "Typical", "cards": [found]}]}


RUN_TIME = {"jobs": "12", "total": "3 min", "most": "2 GB", "drawing": "<svg></svg>", "rows": []}

STATES = [
    ({"trained": [True, True]}, ["Each round trains a network, which chooses"], ["network that was given"]),
    (
        {"trained": [False, True]},
        ["The first round takes a network that was given, each later one trains one, which chooses"],
        ["Each round trains"],
    ),
    (
        {"trained": [False], "rounds": 1},
        ["A network that was given is taken, which chooses"],
        ["trains", "next round learns"],
    ),
    ({"trained": [True], "rounds": 1, "confidence": "95 %"}, ["A network is trained, which sees"], ["next round"]),
    (
        NOTHING_OPEN,
        [
            "and leave none",
            "Nothing: every CpG has a taxon.",
            "The tests left no CpG to place",
            "The rounds moved none",
        ],
        ["networks placed", "stay Unclassified", "of which at most", "strong bands are CpGs that leave"],
    ),
    (
        {"any_placed": False, "n_networks": "0"},
        ["networks placed none of the other 30", "The rounds moved none"],
        ["networks placed 0", "strong bands are"],
    ),
    ({"own_labels": True}, ["the labels that were given name 30"], ["statistical tests name", "Boundary CpGs lie"]),
    (
        {"ageing": {"any": True, "changing": "1", "up": "1", "down": "0", "where": [("BiAge", "1")], "small": 0}},
        [
            "1 of 60 CpGs changes with age (q < 0.05; 1 gains and 0 lose",
            "Of the 1, 1 is BiAge.",
            "above the dashed line",
        ],
        ["change surely, but by little", "No CpG of"],
    ),
    (
        {"ageing": {"any": False, "tested": "0", "volcano": None, "qq": None, "top": []}},
        ["No CpG could be tested"],
        ["Volcano", "surest", "dashed line q", "change in spread ( "],
    ),
    (
        {"ageing": {"any": True, "small": 5, "with_trend": "3", "unclassified": "0"}},
        ["3 have a taxon with a trend. The other 5 change surely"],
        ["and 0 are Unclassified"],
    ),
    (
        {"cohort": {"goes_with": [], "adjust_line": ""}},
        ["No column beside age explains a tenth of a component, beyond chance."],
        ["paste this into the config"],
    ),
    ({"cohort": {"missing": None, "missing_words": {"none": True}}}, ["No value is missing"], ["Share of missing"]),
    (
        {"ageing": {"any": True, "wider": "2", "narrower": "1", "spread": "3", "inflated": True, "not_tested": "7"}},
        [
            "3 change in spread (2 wider and 1 narrower in the old).",
            "λ above 1 is usual for age",
            "7 CpGs have too few values",
        ],
        [],
    ),
    (
        {"ageing": {"any": True, "spread": "0"}},
        ["0 change in spread. Of the"],
        ["wider and", "λ above 1", "are not tested", "in the old"],
    ),
    (
        {"ageing": {"any": True, "where": [(taxon, "2") for taxon in TAXA[:5]], "small": 5, "unclassified": "4"}},
        [
            "2 are UniStable, 2 are",
            ", the others elsewhere.",
            "a taxon with a trend and 4 are Unclassified. The other 5",
        ],
        [],
    ),
    (
        {
            "ageing": {
                "any": True,
                "placed": True,
                "manhattan": "<svg></svg>",
                "top": [PLACED | {"gene": "ELOVL2"}, PLACED],
            }
        },
        ["Gene, position", "ELOVL2 6:11", "Island SNP", "along the genome; above the dashed line q"],
        [],
    ),
    (
        {
            "ageing": {
                "any": False,
                "placed": True,
                "manhattan": "<svg></svg>",
                "top": [PLACED | {"flags": "", "place": ""}],
            }
        },
        ["changes with age (q", "along the genome."],
        ["along the genome; above"],
    ),
    (
        {
            "ageing": {
                "any": True,
                "small": 1,
                "with_trend": "1",
                "unclassified": "1",
                "spread": "1",
                "not_tested": "1",
            },
            "n_sure": "1",
            "n_unplaced": "1",
            "patterns": {"likely": "1", "asked": "2"},
        },
        [
            "and 1 changes in spread",
            "1 has a taxon with a trend and 1 is Unclassified. The other 1 changes surely, but by little beside its",
            "1 CpG has too few values, or the same value in all samples, and is not tested.",
            "1 CpG has its taxon with a confidence",
            "; 1 stays Unclassified.",
            "Of 2, 1 is likely to get",
            "1 CpG (",
        ],
        [],
    ),
    ({"simulated_cohort": True}, ["A simulated cohort of 40 samples"], ["A cohort of 40"]),
    ({"patterns": {"batch": "1"}}, ["): its taxon says nothing of ageing."], ["their taxa say"]),
    (
        {"cells": CELLS},
        [
            "12 CpGs change with age, the mixture of the cells taken into account (q < 0.05). Of 9 of these it can be "
            "said in which cells; 3 are undecided: no type is shown to differ from the others. Slopes of each type",
            "Neu 60.0 % 9 4 NK 5.0 % 0 1 Eos 0.9 % fewer than 1%",
            "In spread 2 of 7 are undecided.",
        ],
        [],
    ),
    (
        {"cells": CELLS | {"changing": "1", "named": "0", "undecided": "1", "spread_undecided": "1"}},
        [
            "1 CpG changes with age",
            "Of none of these it can be said in which cells; 1 is undecided",
            "of 7 is undecid",
        ],
        [],
    ),
    (
        {"cells": CELLS | {"named": "12", "undecided": "0", "spread_undecided": "0"}},
        ["in which cells. Slopes of each type"],
        ["In spread 0", "undecided: no type"],
    ),
    (
        {"cells": CELLS | {"changing": "0", "untested": False}},
        ["No CpG changes with age, the mixture"],
        ["it can be said in which", "Not tested, because"],
    ),
    ({"looked_at": False}, ["CpGs have their taxon with a confidence of"], ["Rules and network"]),
    (
        {"patterns": {"asked": "0", "sexes": False, "batch": "0", "causes": []}},
        ["may change mostly early or late in life. Shape", "No CpG is called Bi… or Tri…."],
        ["technical column", "Women and men", "likely to get the same taxon", "Cause of bands"],
    ),
    (
        {"patterns": {"sexes": True}},
        [
            "The bands of 2 of 8 CpGs called Bi… or Tri… go with a technical column of the sheet, or with the chip",
            "their taxa say nothing of ageing. results/logs/patterns_… name the column",
            "give it to adjust (the chip: once it is a column of the sheet), or leave these CpGs out",
            "Women and men change differently in 3 CpGs (q",
            "Of 50, 37 are likely to get the same taxon in another cohort",
            "late onset most of the change comes after the change point 20 33.3 % 15 17",
            "or the chip in the sample ids: the taxon says nothing of ageing 2",
            "SNP the bands go with nothing in the sheet, and their shares are possible for genotypes 6",
        ],
        ["No CpG is called", "unknown none of these"],
    ),
    (
        {"criteria": lambda old: old | {"left": old["left"][:1] * 13}},
        ["1 rarer reason is in that table only."],
        ["reasons are"],
    ),
    (
        {"criteria": lambda old: old | {"left": old["left"][:1] * 15}},
        ["3 rarer reasons are in that table only."],
        ["reason is"],
    ),
    (
        {"cohort": {"pooled": [POOLED], "components": None, "goes_with": [], "left_out": {}}},
        [
            "These are pseudo-people of pooled cohorts.",
            "Utrecht 1,000 20 to 80 sex 5 60 age",
            "A CpG that a cohort’s array lacks",
        ],
        [
            "Principal components of",
            "held against",
            "No value is missing",
            "What each column explains",
            "No column beside age",
        ],
    ),
    (
        {
            "cohort": {
                "warnings": [],
                "sha256": {},
                "components": None,
                "goes_with": [],
                "left_out": {"id": "40 kinds", "site": "empty"},
            }
        },
        ["Nothing to hold them against", "Not looked at: id (40 kinds); site (empty)."],
        ["What was noticed", "Each point is a sample", "SHA-256", "What each column explains"],
    ),
    (
        {"cohort": {"components": None, "goes_with": [], "left_out": {}}},
        ["Nothing to hold them against"],
        ["Not looked at"],
    ),
    (
        {
            "cohort": {
                "components": "<svg></svg>",
                "explained": "<svg></svg>",
                "left_out": {"id": "40 kinds", "site": "empty"},
                "columns_beyond": 1,
            }
        },
        [
            "Each point is a sample",
            "Not looked at: id (40 kinds); site (empty).",
            "1 more column, which explains less, is in that table only.",
        ],
        ["more columns"],
    ),
    (
        {"cohort": {"components": "<svg></svg>", "explained": "<svg></svg>", "columns_beyond": 2}},
        ["2 more columns, which explain less, are"],
        ["Not looked at"],
    ),
    (
        {
            "cohort": {
                "goes_with": [WITH, WITH | {"column": "neutrophils"}, WITH | {"component": "PC2"}],
                "adjust_line": "adjust: [chip]",
            }
        },
        [
            "PC1 (40 % of the variance) goes with chip (0.75), neutrophils (0.75). PC2 (40 % of the variance) goes",
            "adjust: [chip]",
        ],
        ["No column beside age", "Nothing to hold"],
    ),
    (
        {"cohort": {"goes_with": [], "adjusted": True, "components": "<svg></svg>"}},
        ["beyond chance and what the betas are adjusted for."],
        [],
    ),
    (
        {"cohort": {"goes_with": [], "adjusted": False, "components": "<svg></svg>"}},
        ["of a component, beyond chance."],
        ["are adjusted for"],
    ),
    (
        {"figures": {"truth": None, "reliability": None}, "agreement": {"kinds": []}},
        ["Agreement with the truth"],
        ["True taxon (rows", "Boundary CpGs, by criterion", "confidence calibrated"],
    ),
    ({"agreement": None}, [], ["Agreement with the truth"]),
    (
        {"figures": lambda old: old | {"confusion": [None, *old["confusion"][1:]]}},
        ["Round 1: confusions"],
        ["Round 0: confusions"],
    ),
    (
        {"trained": [True], "rounds": 2, "confidence": "95 %", "veto": True},
        [
            "of which it is at least 95 % sure, unless the statistical tests contradict. The next round learns",
            "A round places calls of at least 95 %",
        ],
        ["A selection model", "of which at most"],
    ),
    (
        {"trained": [True], "rounds": 1, "confidence": "95 %", "veto": False},
        ["is at least 95 % sure. Round"],
        ["unless the statistical tests"],
    ),
    (
        {"round_rows": every(labelled="20", all_labelled="25", validation="–", doubtful=False)},
        [
            "of 20 labelled CpGs, drawn at random from the 25 that are clear",
            "only these were shown to it and have probabilities (",
        ],
        ["That is little", "some of which it was trained on"],
    ),
    (
        {"round_rows": every(labelled="25", all_labelled="25", validation="0.9", doubtful=True)},
        ["of the 25 labelled CpGs that are clear, some of which it was trained on. That is little: this cohort"],
        ["drawn at random from the"],
    ),
    (
        {
            "round_rows": every(
                checked_cpgs=5000,
                checked_same=4999,
                checked_placed=100,
                checked_placed_same=99,
                checked_difference=0.001,
            )
        },
        ["Of 5,000 CpGs drawn at random 4,999 have", "as have 99 of the 100 placed ones"],
        [],
    ),
    ({"own_images": True}, ["from training: those given for testing."], ["labels given", "from the rules"]),
    (
        {"own_images": False, "own_labels": True},
        ["CpGs of the cohort that have a label from the labels given, and"],
        ["from the rules"],
    ),
    (
        {"embedding": {"notes": [], "candidates": 0}},
        ["Numbers are clusters of Unclassified CpGs.", "none of these are candidate new taxa."],
        ["with a star", "Fewer than 10"],
    ),
    (
        {"embedding": {"clusters": [], "candidates": 0}},
        ["No clusters were found.", "(t-SNE)."],
        ["Numbers are clusters"],
    ),
    (
        {"embedding": {"candidates": 2}},
        ["with a star those that are candidate", "2 of these are candidate new taxa."],
        [],
    ),
    (
        {"embedding": lambda old: old | {"clusters": old["clusters"][:1]}},
        ["CpGs lie in one cluster; 1 of these is a candidate new taxon."],
        ["1 clusters"],
    ),
    ({"gallery": [NO_CPGS]}, ["Outlier: none", "No CpG of this cohort."], ["confidence 0.97"]),
    ({"gallery": [card()]}, ["the tests, confidence 0.97 network BiAge 0.90, but TriAge 0.05 change"], ["open: width"]),
    ({"gallery": [card(disagrees=False, second_share="")]}, ["network BiAge 0.90, TriAge change"], ["but TriAge"]),
    (
        {"gallery": [card(second="", reason="open: width")]},
        ["confidence 0.97 change +0.1", "open: width"],
        ["BiAge 0.90"],
    ),
    ({"test_rows": []}, ["There were no test images."], ["Calibration error", "calibrated?"]),
    ({"run_time": None}, ["Not measured.", "There are no files in results/benchmarks."], ["the largest needed"]),
    ({"run_time": RUN_TIME}, ["12 jobs took 3 min; the largest needed 2 GB."], ["Not measured"]),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(rendered, state):
    rendered.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(rendered):
    """Each condition of the template comes out both ways in the states above, or in the made-up run itself."""
    rendered.check_ways(STATES)

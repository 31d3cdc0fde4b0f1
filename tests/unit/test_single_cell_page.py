"""The page of the target `single_cell` on small made-up runs: right numbers, nothing unescaped, the same bytes."""

import gzip
import json
import pathlib
import shutil
import xml.etree.ElementTree

import numpy as np
import pandas as pd
import pytest
from branches import Page, kept_from
from browsing import assert_fine
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.files import write_parquet
from cpgtaxa.targets.single_cell import from_sequence, page, planted, tables
from cpgtaxa.targets.single_cell.counts import calibrate, site_counts, window_variance
from cpgtaxa.targets.single_cell.statistics import site_statistics
from cpgtaxa.targets.single_cell.summary import choose_network
from cpgtaxa.targets.single_cell.tables import Sites, predictions_writer
from pages import digests, lead_of, printed, table_after, text_of
from single_cell_files import write_sites
from sklearn.metrics import accuracy_score, roc_auc_score

TEMPLATE = ROOT / "scripts/cpgtaxa/templates/single_cell.html.j2"
HOSTILE = "<script>alert('c')& \"$x_{$"
ISLANDS = "<u>islands"
MOTIF = "TGACTTCA"
ALL = ("dna", "cpg", "joint", "window_mean", "random_forest")
NOISE = {"dna": 4.0, "cpg": 1.0, "joint": 0.2, "window_mean": 9.0, "random_forest": 2.2}
CHROMS = {"chr1": 2, "chr2": 0, "chr3": 1}
"""Chromosomes and their splits."""


class Made:
    """A made-up run: its files, and what `page.write` is called with."""

    def __init__(self, folder, *, cells=3, per_chrom=600, step=350, models=ALL, sequence=True, truth=True, taxa=True,
                 annotations=True, variants=0, alike=False, seed=0):  # fmt: skip
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rng, self.models = np.random.default_rng(seed), list(models)
        self.cells = [HOSTILE, *(f"cell{number}" for number in range(2, cells + 1))]
        self.chrom = np.repeat(list(CHROMS), per_chrom)
        self.split = np.repeat(list(CHROMS.values()), per_chrom).astype(np.int8)
        steps = self.rng.integers(1, 2 * step, (len(CHROMS), per_chrom))
        self.position = np.cumsum(steps, axis=1).ravel()
        shape = len(self.position), cells
        self.logit = self.rng.normal(0, 2, shape)
        self.p = (1 / (1 + np.exp(-self.logit))).round(5).astype(np.float32)
        self.states = np.where(self.rng.random(shape) < 0.5, self.rng.random(shape) < self.p, -1).astype(np.int8)
        if alike:
            self.states[self.states >= 0] = 1
        self.inputs = {"template": str(TEMPLATE)}
        self._input(annotations)
        self.predicted = {model: self._predictions(model) for model in models}
        self.inputs["networks"] = [
            path for part in ("dna", "cpg", "joint") if part in models for path in self._net(part)
        ]
        if sequence:
            self._reading(variants)
        if truth:
            self._truth()
        if taxa:
            self._taxa()

    def _path(self, key, name):
        self.inputs[key] = str(self.folder / name)
        return self.folder / name

    def _input(self, annotations):
        at = self.chrom, self.position, self.split
        write_sites(self._path("sites", "sites.arrow"), *at, self.states, rows=64, cells=self.cells)
        places = pd.DataFrame({"chrom": self.chrom, "position": self.position})
        write_parquet(self._path("statistics", "statistics.parquet"), places.join(site_statistics(self.states)))
        inside = {"site": np.arange(len(self.position))}
        self.islands = self.rng.random(len(self.position)) < 0.4
        if annotations:
            inside[ISLANDS] = self.islands
        write_parquet(self._path("annotations", "annotations.parquet"), pd.DataFrame(inside))
        seen = (self.states >= 0).sum(axis=0)
        cells = pd.DataFrame({"cell": self.cells, "observed": seen, "coverage": seen / len(self.states)})
        cells["rate"] = (self.states == 1).sum(axis=0) / seen
        cells["rows"], cells["missing"], cells["duplicates"] = seen + 7, 0, 7
        cells.to_csv(self._path("cells", "cells.csv"), index=False)
        names = ("train", "val", "test")
        qc = {
            "observations": int(seen.sum()),
            "chromosomes": {name: {"split": [names[code]]} for name, code in CHROMS.items()},
            "warnings": ["taken for <u>chr1"],
        }
        self._path("qc", "qc.json").write_text(json.dumps(qc))

    def _predictions(self, model):
        noise = self.rng.normal(0, NOISE[model], self.logit.shape)
        values = (1 / (1 + np.exp(-self.logit - noise))).astype(np.float32)
        with predictions_writer(self._path(model, f"{model}.parquet"), self.cells) as write:
            write(0, values)
        return values

    def _net(self, part):
        models = {"dna": {"dna": "CnnL2h128"}, "cpg": {"cpg": "RnnL1"}}
        models["joint"] = models["dna"] | models["cpg"] | {"joint": "JointL2h512"}
        settings = {"epochs": 8, "batch": 128, "lr": 0.001, "epoch_sites": None}
        card = {"parameters": 1_234_567 + len(part), "epochs": 4, "models": models[part], "settings": settings}
        (self.folder / f"{part}.json").write_text(json.dumps(card))
        log = pd.DataFrame(
            {"epoch": [1, 2, 3, 4], "train_loss": [2.0, 1.5, 1.2, 1.0], "val_loss": [2.0, 1.7, 1.6, 1.8]}
        )
        log["train_auc"], log["val_auc"] = [0.6, 0.7, 0.8, 0.9], [np.nan, 0.7, 0.75, 0.74]
        log.to_csv(self.folder / f"{part}_training_log.csv", index=False)
        (self.folder / f"{part}.pt").write_bytes(b"")
        return [str(self.folder / name) for name in (f"{part}.pt", f"{part}.json", f"{part}_training_log.csv")]

    def _reading(self, variants):
        folder = self._path("reading", "reading")
        folder.mkdir()
        matrices = self.rng.dirichlet(np.full(4, 0.4), (12, 11))
        matrices[3] = 0.25
        matrices[3, 2:10] = np.where(np.array(list(MOTIF))[:, None] == list("ACGT"), 0.97, 0.01)
        matrices[5] = np.nan
        np.save(folder / "matrices.npy", matrices)
        table = pd.DataFrame({"filter": range(12), "consensus": ["ACGTACGTACG"] * 12, "sites": 100})
        table["information"], table["mean_activation"], table["max_activation"] = 5.0, 0.1, 1.0
        table["correlation"] = [0.1, 0.05, -0.1, -0.5, 0.2, np.nan, 0.3, -0.2, 0.15, 0.02, -0.01, 0.4]
        table.loc[5, "consensus"] = ""
        table.to_csv(folder / "motifs.csv", index=False)
        offsets = np.arange(-12, 13)
        distance = pd.DataFrame({"offset": offsets, "effect": 0.01, "largest": 0.02, "n": 40, "gradient": 0.012})
        distance.to_csv(folder / "effects_by_distance.csv", index=False)
        write_parquet(folder / "effects.parquet", effects_of(["A" * 12 + "CG" + MOTIF + "AAA"], -12))
        if variants:
            rows = pd.DataFrame({"chrom": "chr1", "position": np.arange(1000, 1000 + variants), "ref": "A", "alt": "C"})
            rows["cpg"], rows["distance"], rows["destroys"], rows["creates"] = 1100, -5, False, True
            rows["before"], rows["after"], rows["effect"], rows["effect_cell2"] = 0.8, 0.55, -0.25, -0.3
            rows.loc[0, "destroys"] = True
            rows.loc[0, ["after", "effect"]] = np.nan
            rows.to_csv(folder / "variants.csv", index=False)

    def _truth(self):
        truth = pd.DataFrame(self.p, columns=[f"p_{number}" for number in range(1, len(self.cells) + 1)])
        truth.insert(0, "position", self.position)
        truth.insert(0, "chrom", self.chrom)
        more = truth.tail(1).assign(position=self.position[-1] + 100)  # no cell observes it
        pd.concat([truth, more]).to_csv(self._path("truth", "truth.csv"), index=False, float_format="%.5f")
        self._path("motif", "motif.txt").write_text(MOTIF + "\n")

    def _taxa(self):
        folder = self._path("taxa", "taxa")
        folder.mkdir()
        labels = self.rng.integers(0, 3, 90)
        models = {}
        for name, strength in (("CnnL1h128", 0.2), ("kmers", 0.6)):
            values = self.rng.dirichlet(np.ones(3), 90) + strength * np.eye(3)[labels]
            test = {"chance": 0.333, "chance_low": 0.25, "chance_high": 0.41, "p": 0.0001, "permutations": 9999}
            found = from_sequence.score(labels, values / values.sum(axis=1, keepdims=True))
            models[name] = found | {"taxa": ["UniStable", "LinAgeHomo", "TriAge"], "test": test}
        counts = dict(zip(models["kmers"]["taxa"], np.bincount(labels).tolist(), strict=True))
        self.taxa = {
            "taxa": models["kmers"]["taxa"],
            "counts": counts,
            "notes": ["12 CpGs <i>left out"],
            "models": models,
        }
        (folder / "scores.json").write_text(json.dumps(self.taxa))

    def write(self, folder="out"):
        """Paths of the outputs by name."""
        out = self.folder / folder
        names = {key: out / f"{key}.csv" for key in ("summary", "scores", "comparisons")}
        outputs = names | {key: out / key for key in ("imputed", "figures")} | {"html": out / "report.html"}
        settings = {"imputed": "unobserved", "confident": 0.9, "recipe": "fast", "train": "apart", "parts": "frozen"}
        settings |= {"dna_wlen": 1001, "cpg_wlen": 50, "window": 3001, "peer_rows": 20_000, "models": self.models}
        settings |= {"counted": "bases"}
        settings |= {"dna_model": "CnnL2h128", "cpg_model": "RnnL1", "joint_model": None}
        page.write(self.inputs, outputs, settings=settings | {"simulates": "truth" in self.inputs}, seed=42)
        return outputs

    def tested(self, cell):
        """Observed test sites of a cell."""
        return (self.split == 2) & (self.states[:, cell] >= 0)


def effects_of(sequences, low):
    """A table of effects as `reading` writes it: 0.5 within the motif, else 0.1, at the CpG itself 9; N is left out."""
    rows = []
    for site, sequence in enumerate(sequences):
        start = sequence.find(MOTIF)
        for at, letter in enumerate(sequence):
            within = start >= 0 and start <= at < start + len(MOTIF)
            effect = 9.0 if at + low in (0, 1) else 0.5 if within else 0.1
            rows += [(10 * site, at + low, letter, base, effect) for base in "ACGT" if base != letter != "N"]
    frame = pd.DataFrame(rows, columns=["site", "offset", "reference", "base", "effect"])
    return frame.astype({"offset": np.int32, "effect": np.float32})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("made"), variants=23)


@pytest.fixture(scope="module")
def out(made):
    return made.write()


@pytest.fixture(scope="module")
def html(out):
    return out["html"].read_text()


@pytest.fixture(scope="module")
def summary(out):
    return pd.read_csv(out["summary"]).set_index(["model", "metric"])


def percent(value, digits=1):
    return f"{100 * value:.{digits}f} %"


# --- tables and page -------------------------------------------------------------------------------------------------


def test_scores_are_those_of_each_cell_on_its_test_sites(made, out, summary):
    scores = pd.read_csv(out["scores"])
    assert list(pd.unique(scores["model"])) == list(ALL)  # the truth is no model
    for model in ALL:
        aucs = []
        for cell, name in enumerate(made.cells):
            rows = made.tested(cell)
            aucs.append(roc_auc_score(made.states[rows, cell], made.predicted[model][rows, cell]))
            one = scores.query("model == @model and annotation == 'all' and metric == 'auc'")
            one = one[one["cell"] == name]
            assert one["value"].item() == pytest.approx(aucs[-1])
            assert one["n"].item() == rows.sum()
        assert summary["value"][model, "auc"] == pytest.approx(np.mean(aucs))
        assert summary["ci_low"][model, "auc"] < np.mean(aucs) < summary["ci_high"][model, "auc"]
        assert (model, f"auc_in_{ISLANDS}") in summary.index
    assert list(pd.read_csv(out["summary"]).columns) == ["model", "metric", "value", "ci_low", "ci_high", "n"]
    assert summary["value"]["joint", "parameters"] == 1_234_572  # all digits
    assert summary["value"]["dna", "epochs"] == 4


def test_the_page_shows_the_numbers_of_the_tables(made, out, html, summary):
    rows = table_after(html, '<section id="models"')
    assert rows[0][0] == "True probabilities"
    assert [row[0].split()[0] for row in rows[1:]] == ["Joint", "CpG", "Random", "DNA", "Window"]  # best first
    names = dict(zip(["true_probability", "joint", "cpg", "random_forest", "dna", "window_mean"], rows, strict=True))
    for model, row in names.items():
        found = summary.loc[(model, "auc")]
        assert row[1:3] == [printed(found["value"]), f"{printed(found['ci_low'])} to {printed(found['ci_high'])}"]
        keys = ("accuracy", "tpr", "tnr", "f1", "mcc")
        assert row[3] == printed(summary["value"][model, "auc_pooled"])
        assert row[5:10] == [printed(summary["value"][model, key]) for key in keys]
    assert names["joint"][10:] == ["1,234,572", "4"]
    assert names["random_forest"][10:] == ["", ""]

    states = sum(made.tested(cell).sum() for cell in range(3))
    lead = lead_of(html)
    auc = summary.loc[("joint", "auc")]
    assert "on chr1, which no model was trained on" in lead
    interval = f"{printed(auc['ci_low'])} to {printed(auc['ci_high'])}"
    assert f"joint network reaches an AUC of {printed(auc['value'])} (95&nbsp;% interval {interval})" in lead
    assert f"calls {percent(summary['value']['joint', 'accuracy'])} of {states:,} states" in lead
    gain = auc["value"] - summary["value"]["random_forest", "auc"]
    assert f"a difference of {printed(gain, '+')} (95&nbsp;% interval" in lead

    # The joint network is `other` in some pairs and `model` in others; on the page it always comes first.
    comparisons = pd.read_csv(out["comparisons"]).set_index(["model", "other", "metric"])
    rows = {row[0]: row for row in table_after(html, '<section id="comparisons"')}
    assert set(rows) == {"DNA network", "CpG network", "Window mean", "Random forest"}
    turned, straight = comparisons.loc[("dna", "joint", "auc")], comparisons.loc[("joint", "random_forest", "auc")]
    limits = f"{printed(-turned['ci_high'], '+')} to {printed(-turned['ci_low'], '+')}"
    assert rows["DNA network"][1:3] == [printed(-turned["difference"], "+"), limits]
    assert rows["Random forest"][1] == printed(straight["difference"], "+") == printed(gain, "+")
    assert rows["Random forest"][3] in (f"{straight['p_holm']:.3f}", f"{straight['p_holm']:.1e}".replace("-", "−"))

    rows = table_after(html, '<section id="annotations"')
    assert [row[0] for row in rows] == ["everywhere", "&lt;u&gt;islands"]
    inside = sum((made.tested(cell) & made.islands).sum() for cell in range(3))
    assert rows[1][1] == f"{inside:,}"
    assert rows[1][2].startswith(printed(summary["value"]["joint", f"auc_in_{ISLANDS}"]))

    rows = table_after(html, '<section id="profiles"')
    cells = pd.read_csv(made.inputs["cells"])
    scores = pd.read_csv(out["scores"]).query("model == 'joint' and annotation == 'all' and metric == 'auc'")
    assert [row[1:4] for row in rows] == [
        [f"{row.observed:,}", percent(row.coverage), percent(row.rate)] for row in cells.itertuples()
    ]
    assert [row[4] for row in rows] == [printed(value) for value in scores["value"]]
    assert [row[5:] for row in rows] == [[f"{row.rows:,}", "7"] for row in cells.itertuples()]  # nothing lacks a value


def test_what_was_filled_in(made, out, html):
    table = pd.read_csv(out["figures"] / "imputed.csv")
    values = made.predicted["joint"]
    unobserved = made.states < 0
    sure = (values >= np.float32(0.9)) | (values <= np.float32(0.1))
    assert list(table["cell"]) == made.cells
    assert list(table["imputed"]) == unobserved.sum(axis=0).tolist()
    assert list(table["confident"]) == (unobserved & sure).sum(axis=0).tolist()
    rows = table_after(html, '<section id="imputed"')
    assert [row[1:5] for row in rows] == [
        [f"{one.observed:,}", f"{one.imputed:,}", f"{one.confident:,}", percent(one.confident_share)]
        for one in table.itertuples()
    ]
    tested = ~unobserved & (made.split == 2)[:, None] & sure
    right = ((values > 0.5) == (made.states == 1))[tested].mean()
    assert (
        f"{percent(right)} of the observed test states that are predicted so ({tested.sum():,}) are right"
        in text_of(html)
    )
    lead = lead_of(html)
    share = percent((unobserved & sure).sum() / unobserved.sum(), 0)
    assert f"{unobserved.sum():,} states that were not observed ({percent(unobserved.mean(), 0)} of all)" in lead
    assert f"filled in, {share} of them surely" in lead
    assert sorted(path.name for path in out["imputed"].iterdir()) == sorted(
        f"{cell}.bedGraph.gz" for cell in made.cells
    )
    lines = gzip.decompress((out["imputed"] / "cell2.bedGraph.gz").read_bytes()).decode().splitlines()
    assert len(lines) == 1 + len(made.position)
    assert "filled in by joint" in lines[0]


def test_rows_on_the_truth_are_those_worked_out_directly(made, summary):
    test, aucs, called, errors, constant = made.split == 2, [], [], [], []
    for cell in range(3):
        rows = made.tested(cell)
        aucs.append(roc_auc_score(made.states[rows, cell], made.p[rows, cell]))
        called.append(accuracy_score(made.states[rows, cell], made.p[rows, cell] > 0.5))
        unseen = test & (made.states[:, cell] < 0)
        errors.append(np.abs(made.predicted["dna"][unseen, cell] - made.p[unseen, cell]).mean())
        rate = (made.states[~test, cell] == 1).sum() / (made.states[~test, cell] >= 0).sum()
        constant.append(np.abs(rate - made.p[unseen, cell]).mean())
    assert summary["value"]["true_probability", "auc"] == pytest.approx(np.mean(aucs), abs=1e-6)
    assert summary["value"]["true_probability", "accuracy"] == pytest.approx(np.mean(called))
    assert summary["value"]["dna", "error_of_unobserved"] == pytest.approx(np.mean(errors), abs=1e-6)
    assert summary["value"]["cell_rate", "error_of_unobserved"] == pytest.approx(np.mean(constant), abs=1e-6)
    found = summary.loc[("dna", "error_of_unobserved")]
    assert found["ci_low"] < found["value"] < found["ci_high"]
    assert found["n"] == (made.states[test] < 0).sum()


def test_the_truth_on_the_page(html, summary):
    rows = table_after(html, '<section id="truth"')
    order = [row[0] for row in rows]
    assert order == ["Joint network", "CpG network", "Random forest", "Mean of the cell", "DNA network", "Window mean"]
    assert rows[3][1] == printed(summary["value"]["cell_rate", "error_of_unobserved"])
    # Filter 3 was given the planted motif.
    assert summary["value"]["dna", "motif_filter"] == 3
    assert summary["value"]["dna", "motif_similarity"] > 0.99
    assert summary["value"]["dna", "motif_p_holm"] < 0.05
    assert summary["n"]["dna", "motif_filter"] == 11  # one filter has no motif
    words = text_of(html)
    assert (
        f"It was found: filter 3 fits best, with a similarity of {printed(summary['value']['dna', 'motif_similarity'])}"
        in words
    )
    assert "a correlation with methylation of −0.50" in words
    # 8 bases, 3 substitutions each, 0.5; and 15 others but for the CpG.
    assert "by +0.500 on average (24 substitutions), one elsewhere by +0.100 (45)" in words


def test_taxa_on_the_page_and_in_the_summary(made, html, summary):
    best = made.taxa["models"]["kmers"]
    assert summary["value"]["kmers", "taxon_balanced_accuracy"] == pytest.approx(best["balanced_accuracy"])
    assert summary.loc[("kmers", "taxon_chance"), ["value", "ci_low", "ci_high", "n"]].tolist() == [
        0.333,
        0.25,
        0.41,
        90,
    ]
    assert summary["value"]["CnnL1h128", "taxon_p"] == 0.0001
    rows = table_after(html, '<section id="taxa"')
    assert [row[0] for row in rows] == ["k-mers", "CnnL1h128"]  # better first
    assert rows[0][1:5] == [printed(best["balanced_accuracy"]), "0.333", "0.250 to 0.410", "1.0e−04"]
    rows = table_after(html, "<h3>By taxon")
    assert [row[:3] for row in rows] == [
        [taxon, str(made.taxa["counts"][taxon]), percent(recall, 0)]
        for taxon, recall in zip(made.taxa["taxa"], best["recall"], strict=True)
    ]
    rows = table_after(html, "<h3>What is taken for what")
    shares = [np.array(row) / sum(row) for row in best["confusion"]]
    assert [row[1:] for row in rows] == [[f"{100 * share:.0f}" for share in row] for row in shares]
    assert (
        f"predicted better than by chance: balanced accuracy is {printed(best['balanced_accuracy'])} (k-mers)"
        in text_of(html)
    )


def test_variants_are_listed_up_to_a_number(html):
    rows = table_after(html, '<section id="variants"')
    assert len(rows) == page.VARIANTS_SHOWN
    assert "the first 20 of 23 rows" in text_of(html)
    assert rows[0] == ["chr1", "1,000", "A→C", "1,100", "−5", "0.800", "–", "–", "the CpG is gone"]
    assert rows[1] == ["chr1", "1,001", "A→C", "1,100", "−5", "0.800", "0.550", "−0.250", "makes a CpG"]
    assert 'href="reading/variants.csv"' in html


def test_figures_are_whole_and_names_are_escaped(out, html):
    names = sorted(path.stem for path in out["figures"].glob("*.svg"))
    expected = ["annotations", "calibration", "cells", "coverage", "effects", "methylation", "models", "motifs"]
    assert names == [*expected, "planted", "taxa", "training", "variance"]
    for name in names:
        xml.etree.ElementTree.parse(out["figures"] / f"{name}.svg")
        assert len(pd.read_csv(out["figures"] / f"{name}.csv"))
    assert html.count("<svg") == len(names)
    assert "<script" not in html
    assert "<u>" not in html
    assert "<i>left" not in html
    assert "taken for &lt;u&gt;chr1" in html
    assert "{{" not in html
    assert "None" not in text_of(html)
    assert "nan" not in text_of(html)
    logos = pd.read_csv(out["figures"] / "motifs.csv")
    assert list(logos["filter"]) == [11, 6, 4, 8, 3, 7, 2, 10]  # strongest of either sign


def test_the_page_is_fine_in_a_browser(made, out, tmp_path, browser):
    shutil.copytree(out["html"].parent, tmp_path / "whole")
    (tmp_path / "whole/reading").mkdir()
    (tmp_path / "whole/reading/variants.csv").touch()
    assert_fine(browser, tmp_path / "whole/report.html")


def test_the_same_bytes_twice(made, out):
    assert digests(made.write("again")["html"].parent) == digests(out["html"].parent)


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        {"cells": 1, "per_chrom": 200},
        {"cells": 200, "per_chrom": 20, "step": 30, "models": ("cpg", "window_mean"), "sequence": False},
        {"models": ("cpg", "window_mean", "random_forest"), "sequence": False, "truth": False, "taxa": False},
        {"models": ("cpg",), "sequence": False, "truth": False, "taxa": False, "annotations": False},
        {"models": ("joint",), "truth": False, "taxa": False},
        {"step": 20},
        {"step": 20, "per_chrom": 3, "models": ("dna", "cpg"), "truth": False},
        {"alike": True, "models": ("dna", "joint"), "taxa": False},
    ],
    ids=["one_cell", "many_cells", "no_genome", "one_model", "jointly", "few_blocks", "tiny", "one_state"],
)
def test_runs_of_other_shapes_have_a_page(tmp_path, shape, monkeypatch):
    monkeypatch.setattr("cpgtaxa.targets.single_cell.motifs.SHUFFLES", 200)
    made = Made(tmp_path, **shape)
    out = made.write()
    html = out["html"].read_text()
    words = text_of(html)
    assert "nan" not in words
    assert "None" not in words
    summary = pd.read_csv(out["summary"]).set_index(["model", "metric"])
    chosen = {"joint": "Joint network"}.get("joint" if "joint" in made.models else "")
    rows = table_after(html, '<section id="models"')
    assert len(rows) == len(made.models) + ("truth" in made.inputs)
    for model, label in (("joint", "Joint network"), ("cpg", "CpG network")):
        if model in made.models:
            value = summary["value"][model, "auc"]
            row = next(row for row in rows if row[0].startswith(label))
            assert row[1] == ("–" if np.isnan(value) else printed(value))
    for part in ("reading", "taxa", "truth"):
        section = {"reading": "motifs"}.get(part, part)
        assert (f'<section id="{section}"' in html) == (part in made.inputs)
        assert (f'href="#{section}"' in html) == (part in made.inputs)
    assert ('<section id="comparisons"' in html) == (len(made.models) > 1)
    assert ('<section id="annotations"' in html) == ("annotations" not in shape)
    if shape.get("step"):
        assert np.isnan(summary["ci_low"][made.models[0], "auc"])
        assert "There are no intervals" in words
        assert "95&nbsp;% interval" not in words
    if shape.get("alike"):
        assert np.isnan(summary["value"]["joint", "auc"])
        assert "so that there is no AUC" in words
        assert '<section id="cells"' not in html
    if len(made.cells) == 1:
        assert "a single cell be predicted" in words
        assert "variance" not in words
        assert chosen in words
    if len(made.cells) == 200:
        assert len(table_after(html, '<section id="profiles"')) == 200
        assert "<details><summary>200 cells" in html  # closed
        assert len(html) < 1_000_000


def test_without_a_joint_network_the_lowest_validation_loss_decides():
    logs = {"dna": [1.0, 0.5, 0.7], "cpg": [0.9, 0.6, 0.55]}
    networks = {part: {"log": pd.DataFrame({"val_loss": losses})} for part, losses in logs.items()}
    assert choose_network(networks) == "dna"
    assert choose_network(networks | {"joint": {"log": pd.DataFrame({"val_loss": [9.0]})}}) == "joint"


def test_a_truth_of_other_sites_is_refused(tmp_path):
    made = Made(tmp_path, per_chrom=30, models=("cpg",), sequence=False, taxa=False)
    truth = pd.read_csv(made.inputs["truth"])
    truth.drop(index=5).to_csv(made.inputs["truth"], index=False)
    with pytest.raises(InputError, match=r"truth\.csv does not belong to these sites"):
        made.write()


# --- what is counted -------------------------------------------------------------------------------------------------


def test_effects_within_the_motif_and_elsewhere():
    # The CpG at offsets 0 and 1; a motif whole, one cut off by an unknown base, none.
    sequences = ["AAACGA" + MOTIF + "A", "AAACGA" + MOTIF[:4] + "N" + MOTIF[5:] + "A", "AAACGAAAAAAAAAA"]
    found = planted.motif_effects(effects_of(sequences, -3), MOTIF)
    assert found["motif_effect"] == (pytest.approx(0.5), 8 * 3)
    # 15 bases less CpG and motif; 15 less CpG and the unknown; 15 less CpG.
    assert found["effect_elsewhere"] == (pytest.approx(0.1), 3 * (5 + 12 + 13))
    assert "motif_effect" not in planted.motif_effects(effects_of(sequences[2:], -3), MOTIF)


@pytest.mark.parametrize("rows", [1 << 16, 50])
def test_calibration_counts_each_observed_test_state(made, monkeypatch, rows):
    monkeypatch.setattr(tables, "ROWS", rows)
    table, counts = calibrate(Sites(made.inputs["sites"]), made.inputs["cpg"], 0.8)
    there = (made.states >= 0) & (made.split == 2)[:, None]
    p, states = made.predicted["cpg"][there], made.states[there]
    for low, high, predicted, observed, n in table.itertuples(index=False):
        inside = (p >= low) & ((p < high) | (high == 1))
        assert n == inside.sum()
        if n:
            assert predicted == pytest.approx(p[inside].mean(), rel=1e-5)
            assert observed == pytest.approx(states[inside].mean())
    sure = np.maximum(p, 1 - p) >= 0.8
    assert counts == {"states": len(p), "sure": sure.sum(), "right": ((p > 0.5) == (states == 1))[sure].sum()}


def test_sites_over_the_cells(tmp_path):
    states = np.array([[1, 1, -1], [1, 0, 1], [0, -1, -1], [0, 1, -1], [1, 1, 1]], dtype=np.int8)
    write_parquet(tmp_path / "statistics.parquet", site_statistics(states))
    found = site_counts(tmp_path / "statistics.parquet", 3)
    assert found["coverage"]["sites"].tolist() == [1, 2, 2]
    assert found["several"] == 4
    assert found["differ"] == 0.5
    # Means 1, 2/3, 1/2 and 1: one of them is at 0.7, one at 0.5 (not cut in two), two at 1.
    assert dict(zip(found["mean"]["mean"], found["mean"]["sites"], strict=True))[0.7] == 1
    assert found["mean"]["sites"].tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2]
    halves = np.log(2)
    thirds = -(2 / 3) * np.log(2 / 3) - (1 / 3) * np.log(1 / 3)
    assert found["entropy"] == pytest.approx((halves + thirds) / 4)


@pytest.mark.parametrize("rows", [1 << 16, 37])
def test_variance_of_windows_against_the_slow_way(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(tables, "ROWS", rows)
    made = Made(tmp_path, step=300, per_chrom=120, cells=4, sequence=False, truth=False, taxa=False, models=("cpg",))
    found = window_variance(Sites(made.inputs["sites"]), 3001)
    windows = pd.DataFrame(made.states).groupby([made.chrom, made.position // 3001])
    expected = []
    for _, some in windows:
        counts = [(column[column >= 0].sum(), (column >= 0).sum()) for column in some.to_numpy().T]
        counts = [(k, n) for k, n in counts if n >= 4]
        if len(counts) > 1:
            rates = [k / n for k, n in counts]
            mean, noise = np.mean(rates), np.mean([1 / n for _, n in counts])
            chance = mean * (1 - mean) * noise / (1 - noise / len(counts))
            expected.append((min(int(mean * 10), 9), np.var(rates, ddof=1), chance))
    assert len(expected) > 20
    for at, row in enumerate(found.itertuples()):
        here = [one for one in expected if one[0] == at]
        assert row.windows == len(here)
        if here:
            assert row.variance == pytest.approx(np.mean([one[1] for one in here]))
            assert row.chance == pytest.approx(np.mean([one[2] for one in here]))


def test_a_motif_is_found_by_a_filter_that_is_alike_and_not_by_chance():
    assert planted.is_found(0.01, 0.94)
    assert not planted.is_found(0.01, 0.6)
    assert not planted.is_found(0.2, 0.94)


# --- what the page says in each state --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of a run, to be rendered with other numbers."""
    with kept_from("cpgtaxa.targets.single_cell.page.write_page") as kept:
        Made(tmp_path_factory.mktemp("stated"), variants=23).write()
    return Page(**kept)


def within(key, **changes):
    """A page's dictionary with another, which is in it, changed."""
    return lambda found: found | {key: found[key] | changes}


def every(**changes):
    return lambda rows: [row | changes for row in rows]


NONE_KNOWN = {"row_of": lambda rows: rows | {"joint": rows["joint"] | {"auc": "–", "auc_range": "–"}}}
ONE_CELL = {"n_cells": 1, "across": None, "checks": []}
NOTHING = {"drawn": {"models": None, "cells": None, "annotations": None}, "comparisons": {"auc": []}, "reading": None}
NOTHING |= {"taxa": None, "errors": [], "annotations": [], "simulated": False, "warnings": [], "intervals": False}
STATES = [
    (
        {"peer": "random_forest"},
        [
            "methylation of 3 single cells",
            "of single cells be predicted? In 3 simulated cells, whether a CpG is methylated was predicted from the",
            ", on chr1, which no model was trained on.",
            "; the random forest, the better of the peers, has ",
            "The first layer found the motif that was planted, TGACTTCA (p ",
            "predicted better than by chance",
            "23 given substitutions do to the predicted methylation of the CpGs nearest to them: the first 20 of 23",
            "Scored were the ",
        ],
        ["There are no intervals", "are all of one kind", "empty: there is one"],
    ),
    (
        NONE_KNOWN | ONE_CELL | {"split": {"blocks": True}, "chosen": "joint", "tested": "1"},
        [
            "methylation of 1 single cell",
            "of a single cell be predicted? In a simulated cell, whether",
            "on stretches of the genome that no model was trained on. The test states (1) are all of one kind, so that",
            "CpGs observed in it",
            "states on test stretches of chr1",
            "1 cell: what was observed Cell",
        ],
        ["joint network reaches an AUC", "of one kind in each cell", "Variance between", "what was done on reading"],
    ),
    (NONE_KNOWN, ["are all of one kind in each cell, so"], []),
    (
        {"imputed": {"states": "0", "share": "–"}, "settings": {"imputed": "all"}},
        ["0 states filled in", "every site has the predicted probability"],
        ["were filled in, –", "– surely"],
    ),
    (
        {"imputed": {"states": "1", "of": "1 %", "share": "0 %", "right": "–"}},
        ["1 state that was not observed (1 % of all) was filled in, 0 % of them surely."],
        ["predicted as surely", "are right"],
    ),
    (
        {"imputed": {"tested": "1", "right": "100.0 %"}},
        ["100.0 % of the observed test states that are predicted so (1)"],
        [],
    ),
    (
        NOTHING | {"blocks": 1, "ranked": lambda ranked: ranked[:1]},
        ["was predicted from", "Whether a CpG", "make only 1 block of 10 kb", "(empty: there is one model)"],
        [
            "In 3 sim",
            "Cell by cell",
            "Within annotations",
            "against the other models",
            "true probability",
            "Sequence motifs",
            "taxon predicted",
            "What was noticed",
            "lines: 95 %",
            "Open:",
            "and annotation",
        ],
    ),
    (
        {"blocks": 2, "intervals": False},
        ["only 2 blocks of 10 kb or more", "mean over the cells. All pairs"],
        ["p is after Holm for"],
    ),
    (
        {"blocks": 2, "intervals": False, "settings": {"counted": "sites"}},
        ["only 2 blocks of 10,000 sites or more"],
        ["10 kb"],
    ),
    ({"drawn": {"annotations": None}}, ["Within annotations"], ["AUC among the sites"]),
    (
        {"networks": ["joint", "dna"], "ranked": lambda ranked: ranked[:3]},
        ["has"],
        ["the better of the peers"],
    ),
    ({"chosen": "dna", "reading": {"part": "dna"}}, ["predicted from the sequence around it,"], ["Sequence alone"]),
    ({"chosen": "cpg"}, ["predicted from the states of its neighbours", "Sequence alone reaches an AUC of "], []),
    (
        {
            "reading": lambda found: (
                within(
                    "planted",
                    match=found["planted"]["match"] | {"found": False, "correlation": "–", "strand": "-"},
                    effects={},
                )(found)
                | {"motifs": 1, "sites": "1"}
            )
        },
        [
            "No filter of the first layer fits the motif that was planted,",
            "No filter fits it better than chance would have it: filter",
            "on the other strand; above",
            "1 of 12 filters has one. With each",
            "and 1 test site,",
        ],
        ["found the motif", "and has a correlation", "A substitution within"],
    ),
    (
        {
            "reading": lambda found: (
                within("planted", match=None, effects={"motif_effect": ("+0.5", "1")})(found)
                | {"motifs": 0, "logos": None}
            )
        },
        [
            "No filter has a motif that could be compared",
            "+0.5 on average (1 substitution).",
            "none of 12 filters has one. No filter has",
            "The filter whose activity goes most with methylation, or against it, looks for",
        ],
        ["With each", "one elsewhere", "Left: filters", "It was found"],
    ),
    (
        {"reading": {"planted": None, "strongest": None, "variants": None}},
        [],
        ["The filter whose", "planted motif", "given substitution", ", variants"],
    ),
    (
        {"reading": lambda found: within("variants", variants=1, n=1, rows=found["variants"]["rows"][:1])(found)},
        ["What 1 given substitution does to the predicted methylation of the CpGs nearest to it. Prob"],
        ["the first 20"],
    ),
    (
        {"reading": lambda found: within("variants", variants=0, n=0, rows=[])(found)},
        ["No CpG lies near enough to the given substitutions"],
        ["What 0", "All rows"],
    ),
    (
        {"across": {"several": "0", "differ": "–", "entropy": "–", "variance": None}},
        ["sites are observed in two cells or more."],
        ["cells disagree", "Mean methylation of the sites", "Variance between"],
    ),
    ({"across": {"several": "1", "windows": "1"}}, ["sites is observed in two", "over 1 window of"], []),
    (
        {"taxa": lambda taxa: taxa | {"models": [taxa["models"][0] | {"above": False}], "notes": []}},
        ["predicted no better than by chance"],
        ["predicted better"],
    ),
    (
        {
            "open": False,
            "simulated": False,
            "reading": None,
            "annotations": every(values=[("0.9", "–")]),
            "row_of": lambda rows: rows | {"joint": rows["joint"] | {"auc_range": "–"}},
        },
        ["The joint network reaches an AUC of", "From sequence, a CpG’s taxon is"],
        ["Open: the", "Sequence alone"],
    ),
    ({"taxa": None}, ["Sequence alone"], ["From sequence, a CpG’s taxon is"]),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

"""The page of the target `expression` on small made-up studies: right numbers, nothing unescaped, the same bytes."""

import contextlib
import gzip
import json
import pathlib
import re
import xml.etree.ElementTree
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from branches import Page, kept_from
from browsing import assert_fine
from cpgtaxa.cohort import CohortWriter
from cpgtaxa.errors import InputError
from cpgtaxa.names import TAXA
from cpgtaxa.pages import drawing
from cpgtaxa.statistics.areas import auc
from cpgtaxa.targets.expression import attributions, page, published, results
from pages import digests, lead_of, printed, table_after, text_of

HOSTILE = "<script>alert('g')</script> & \"$x_{$"
STATE = "<b>normal</b>"
MODELS = ("Ridge", "DeepMethyGene_published", "DeepMethyGene", "SVM")
NOISE = {"DeepMethyGene": 0.5, "DeepMethyGene_published": 0.3, "Ridge": 0.7, "SVM": 0.9}
PRINTED = r"[−+]?\d+\.\d{3}"


class Made:
    """A made-up study: its files, and what `page.write` is called with."""

    def __init__(self, folder, *, genes=12, cpgs=40, samples=30, shards=2, models=MODELS, windows=("1Mb", "1kb"),
                 positions=True, strangers=True, taxa=True, truth=True, seed=0):  # fmt: skip
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rng, self.shards, self.models = np.random.default_rng(seed), shards, models
        self.windows = windows if positions else ("all",)
        self.names = [HOSTILE, *(f"G{number:05d}" for number in range(1, genes))]
        self._samples(samples, strangers)
        self._places(cpgs, positions)
        self._expression(genes)
        pairs = [(model, self.windows[0]) for model in models]
        self.pairs = pairs + [(model, window) for window in self.windows[1:] for model in models[:3:2]]
        self.inputs = {"fits": [path for pair in self.pairs for path in self._fits(*pair)]}
        self.inputs |= {
            name: str(self.folder / f"{name}.parquet") for name in ("cpgs", "expression", "genes", "samples")
        }
        self.inputs |= {"methylation": str(self.folder / "beta.arrow")}
        if taxa:
            self.inputs["taxa"] = self._taxa()
        if truth:
            self.inputs["truth"] = self._truth()
        self.inputs |= {name: str(self.folder / name) for name in ("skipped", "qc")}
        skipped = [(f"S{number}", "no position") for number in range(5)] + [("NA", "constant <i>expression</i>")]
        pd.DataFrame(skipped, columns=["gene", "reason"]).to_csv(self.inputs["skipped"], index=False)
        pathlib.Path(self.inputs["qc"]).write_text(json.dumps({"warnings": ["left out: <u>sample</u>"]}))

    def _samples(self, n, strangers):
        sets = ["train"] * n + ([STATE] * 8 + ["other"] * 7 if strangers else [])
        names = [f"P{number}" for number in range(n)]
        names += [f"N{number}" for number in range(8)] + names[:7] if strangers else []
        self.samples = pd.DataFrame({"sample_id": names, "set": sets})
        self.samples["person"] = self.samples["sample_id"] + "|" + self.samples["set"]
        self.samples.to_parquet(self.folder / "samples.parquet")

    def _places(self, n, positions):
        names = [f"cg{number:08d}" for number in range(n)]
        with CohortWriter(self.folder / "beta.arrow", self.samples["sample_id"]) as writer:
            writer.append(names, self.rng.random((n, len(self.samples)), dtype=np.float32))
        self.position = np.sort(self.rng.integers(1_000_000, 3_000_000, n)) if positions else np.zeros(n, dtype=int)
        self.cpgs = pd.DataFrame({"cpg": names, "chrom": "1" if positions else "", "position": self.position})
        self.cpgs.to_parquet(self.folder / "cpgs.parquet")
        genes = pd.DataFrame({"gene": self.names, "chrom": "1", "strand": "+", "tss": 0})
        genes.loc[1::2, "strand"] = "-" if positions else "+"
        # Every gene but the last starts at a CpG; the last has none within 1 kb.
        at = self.rng.integers(0, n, len(genes))
        genes["tss"] = self.position[at] if positions else 0
        for window, reach in (("1Mb", 1_000_000), ("1kb", 1000)) if positions else ():
            genes[f"first_{window}"] = np.searchsorted(self.position, genes["tss"] - reach)
            genes[f"last_{window}"] = np.searchsorted(self.position, genes["tss"] + reach, side="right")
        if positions:
            genes.loc[genes.index[-1], "last_1kb"] = genes["first_1kb"].iloc[-1]
        else:
            genes["first_all"], genes["last_all"] = 0, n
        self.genes = genes
        genes.to_parquet(self.folder / "genes.parquet")

    def _expression(self, n):
        self.y = self.rng.normal(8, 1, (n, len(self.samples))).astype(np.float32)
        frame = pd.DataFrame(self.y, columns=[str(number) for number in range(len(self.samples))])
        frame.insert(0, "gene", self.names)
        frame.to_parquet(self.folder / "expression.parquet")

    def _fits(self, model, window):
        """Gene after gene easier to predict; SVM has no attributions."""
        paths = []
        width = (self.genes[f"last_{window}"] - self.genes[f"first_{window}"]).to_numpy()
        for shard in range(self.shards):
            rows = [row for row in range(shard, len(self.genes), self.shards) if width[row] > 0]
            ease = 1 - np.array(rows) / len(self.genes)
            noise = self.rng.normal(size=(len(rows), len(self.samples))) * (NOISE[model] + (window == "1kb"))
            predicted = self.y[rows] * (1 - ease[:, None]) + noise * 0.5 + 8 * ease[:, None]
            table = pd.DataFrame({"gene": [self.names[row] for row in rows], "n_cpgs": width[rows]})
            table["prediction"] = list(predicted.astype(np.float32))
            table["attribution"] = [
                np.zeros(0, np.float32) if model == "SVM" else self.rng.random(width[row], dtype=np.float32)
                for row in rows
            ]
            table["epochs"], table["seconds"] = 7.0, 0.25
            path = self.folder / f"{model}_{window}" / f"{shard}-of-{self.shards}.parquet"
            path.parent.mkdir(exist_ok=True)
            table.to_parquet(path)
            paths.append(str(path))
        return paths

    def _taxa(self):
        rows = [(gene, TAXA[2], 6, 0.3 + 0.01 * at, 0.1, 50.0, 60.0) for at, gene in enumerate(self.names)]
        names = ["gene", "taxon", "n_cpgs", "r2", "r2_random", "distance", "distance_random"]
        path = self.folder / "taxa_0"
        pd.DataFrame(rows, columns=names).to_parquet(path)
        return [str(path)]

    def _truth(self):
        kinds = [("none", "promoter", "distal", "threshold")[at % 4] for at in range(len(self.names))]
        names = [" ".join(self.cpgs["cpg"][at % 30 : at % 30 + 3]) if at % 4 else "" for at in range(len(self.names))]
        strength = [0.0 if kind == "none" else 0.5 for kind in kinds]
        truth = pd.DataFrame({"gene": self.names, "kind": kinds, "r2": strength, "cpgs": names})
        truth = pd.concat([truth, truth.tail(1).assign(gene="not fitted")])
        truth.to_csv(self.folder / "truth.csv", index=False)
        return str(self.folder / "truth.csv")

    def write(self, folder="out", examples=2, drawn=True, **changes):
        """Paths of the outputs by name. drawn: with figures in their files; else they stay empty, which is quicker."""
        folder = self.folder / folder
        names = {"summary": "summary.csv", "html": "report.html", "scores": "scores.csv.gz", "taxa": "taxa.csv"}
        names |= {"comparisons": "comparisons.csv", "predictions": "predictions.parquet", "figures": "figures"}
        names |= {"published": "published.csv"} if "published" in changes else {}
        outputs = {key: folder / name for key, name in (names | {"attributions": "attributions.parquet"}).items()}
        settings = {"folds": 3, "recipe": "fast", "examples": examples, "gene_versions": "keep"}
        given = self.inputs | {key: value for key, value in changes.items() if value is not None}
        empty = mock.patch.object(drawing, "svg_text", return_value="<svg ></svg>")
        with contextlib.nullcontext() if drawn else empty:
            page.write(given, outputs, pairs=self.pairs, settings=settings, seed=42)
        return outputs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def out(made):
    return made.write()


@pytest.fixture(scope="module")
def html(out):
    return out["html"].read_text()


def test_scores_and_summary_hold_every_gene_model_window_and_set(made, out):
    scores = pd.read_csv(out["scores"])
    held_out = scores[scores["set"] == "train"]
    assert list(pd.unique(scores["model"])) == ["DeepMethyGene", "Ridge", "SVM", "DeepMethyGene_published"]
    one = held_out[(held_out["model"] == "Ridge") & (held_out["window"] == "1Mb")]
    assert list(one["gene"]) == made.names  # in their order, though shards dealt them out
    assert set(scores["set"]) == {"train", STATE, "other"}
    assert ((held_out["window"] == "1kb") & (held_out["gene"] == made.names[-1])).sum() == 0
    summary = pd.read_csv(out["summary"])
    assert list(summary.columns) == ["model", "metric", "value", "ci_low", "ci_high", "n"]
    values = summary.set_index(["model", "metric"])["value"]
    assert values["Ridge", "r2"] == pytest.approx(one["r2"].mean(), rel=1e-5)
    assert {f"r2_in_{STATE}", "r2_within_1kb", "r2_of_truth"} <= set(summary["metric"])
    # Nothing but the text is packed: the same bytes at any time, under any name.
    raw = out["scores"].read_bytes()
    assert raw[3:8] == bytes(5)
    assert gzip.decompress(raw).startswith(b"gene,model,window,set,")


def test_the_page_shows_the_numbers_of_the_tables(out, html):
    summary = pd.read_csv(out["summary"]).set_index(["model", "metric"])
    scores = pd.read_csv(out["scores"]).query("set == 'train' and window == '1Mb'")
    rows = table_after(html, '<section id="models"')
    assert rows[-1][0] == "DeepMethyGene_published (leaky)"
    means = [summary["value"][row[0], "r2"] for row in rows[:-1]]
    assert means == sorted(means, reverse=True)
    for row in rows:
        model = row[0].split(" ")[0]
        for at, metric in ((1, "r2"), (3, "r2_pearson")):
            found = summary.loc[(model, metric)]
            assert row[at] == printed(found["value"])
            assert row[at + 1] == f"{printed(found['ci_low'])} to {printed(found['ci_high'])}"
        r2 = scores["r2"][scores["model"] == model]
        assert row[5:] == [str((r2 > 0.1).sum()), str((r2 > 0.5).sum()), str(len(r2))]
    lead = lead_of(html)
    best = rows[0]
    assert f"{best[0]} predicts best with a mean R² of {best[1]} over {best[7]} genes" in lead
    assert f"above 0.1 for {best[5]} of them, and above 0.5 for {best[6]}." in lead

    comparisons = pd.read_csv(out["comparisons"]).query("model == 'DeepMethyGene' and metric == 'r2'")
    rows = table_after(html, "against every other model")
    assert [row[0] for row in rows] == list(comparisons["other"]) == ["Ridge", "SVM", "DeepMethyGene_published"]
    assert [row[1] for row in rows] == [printed(value, "+") for value in comparisons["difference"]]
    assert [row[5] for row in rows] == [str(n) for n in comparisons["n"]]

    taxa = pd.read_csv(out["taxa"])
    rows = table_after(html, '<section id="taxa"')
    assert [row[0] for row in rows] == list(taxa["taxon"]) == [TAXA[2]]
    assert rows[0][3:6] == [printed(taxa["r2"][0]), printed(taxa["r2_random"][0]), printed(taxa["difference"][0], "+")]

    rows = table_after(html, '<section id="windows"')
    for model, window, shared, _, n, mean, n_there in rows:
        metric = "r2_within_1kb" if "kb" in window else "r2"
        assert mean == printed(summary["value"][model, metric])
        assert int(n_there) == summary["n"][model, metric] >= int(n) == 11
        assert re.fullmatch(PRINTED, shared)

    rows = table_after(html, '<section id="others"')
    assert {row[0] for row in rows} == {"state &lt;b&gt;normal&lt;/b&gt;", "the other cohort"}
    for row in rows:
        name = "other" if row[0].endswith("cohort") else STATE
        assert row[3] == printed(summary["value"][row[1], f"r2_pearson_in_{name}"])
        assert row[7] == printed(summary["value"][row[1], f"r2_in_{name}"])
        assert row[9] == str(summary["n"][row[1], f"r2_in_{name}"])


def test_the_leak_is_reported_and_never_the_best(out, html):
    comparisons = pd.read_csv(out["comparisons"]).set_index(["model", "other", "metric"])
    worth = -comparisons["difference"]["DeepMethyGene", "DeepMethyGene_published", "r2_pearson"]
    assert worth > 0
    note = text_of(re.search(r"score of DeepMethyGene_published is inflated.*?</div>", html, re.S).group())
    assert f"the difference, {printed(worth, '+')} (95&nbsp;% interval" in note
    assert "recipe here was fast" in note
    summary = pd.read_csv(out["summary"]).set_index(["model", "metric"])["value"]
    assert summary.xs("r2", level="metric").idxmax() == "DeepMethyGene_published"
    assert "published predicts best" not in html


def test_predictions_have_a_row_per_gene_and_model(made, out):
    table = pd.read_parquet(out["predictions"])
    names = list(made.samples["sample_id"])
    twice = [f"other:{name}" for name in names[-7:]]
    assert list(table.columns) == ["gene", "model", *names[:-7], *twice]
    assert (table.dtypes.iloc[2:] == np.float32).all()
    assert list(table["gene"]) == made.names * 4
    fitted = pd.read_parquet(made.folder / "SVM_1Mb" / "1-of-2.parquet")
    row = table[(table["gene"] == fitted["gene"][0]) & (table["model"] == "SVM")].iloc[0]
    np.testing.assert_array_equal(row.iloc[2:].astype(np.float32), fitted["prediction"][0])


def test_what_no_model_may_predict_is_null_and_does_not_count(tmp_path):
    made = Made(tmp_path, genes=4, models=("Ridge",), windows=("1Mb",))
    paths = made.inputs["fits"]
    for path in paths:
        table = pd.read_parquet(path)
        table["prediction"] = [np.where(np.arange(45) == 44, np.float32(np.nan), one) for one in table["prediction"]]
        table.to_parquet(path)
    out = made.write(drawn=False)
    assert pq.read_table(out["predictions"])["other:P6"].null_count == 4
    scores = pd.read_csv(out["scores"])
    assert set(scores["n"][scores["set"] == "other"]) == {6}


def test_attributions_are_the_strongest_with_distances_by_strand(made, out, monkeypatch):
    table = pd.read_parquet(out["attributions"])
    assert list(table.columns) == ["gene", "model", "cpg", "distance", "attribution"]
    assert table["distance"].dtype == np.int32
    assert table["attribution"].dtype == np.float32
    assert set(table["model"]) == set(MODELS) - {"SVM"}
    for row in (0, 1):
        gene = made.genes.iloc[row]
        some = table[(table["gene"] == gene["gene"]) & (table["model"] == "Ridge")]
        here = made.cpgs[gene["first_1Mb"] : gene["last_1Mb"]].set_index("cpg")
        expected = (here["position"] - gene["tss"]) * (-1 if gene["strand"] == "-" else 1)
        assert len(some) == len(here)
        assert list(some["distance"]) == list(expected.loc[some["cpg"]])
        assert some["attribution"].is_monotonic_decreasing
        fitted = pd.read_parquet(made.folder / "Ridge_1Mb" / f"{row}-of-2.parquet").set_index("gene")
        values = dict(zip(here.index, fitted["attribution"][gene["gene"]], strict=True))
        assert list(some["attribution"]) == [values[cpg] for cpg in some["cpg"]]
    assert {"-", "+"} == set(made.genes["strand"][:2])
    monkeypatch.setattr(attributions, "MOST_CPGS", 3)
    few = pd.read_parquet(made.write("few", drawn=False)["attributions"])
    first = table.groupby(["gene", "model"], sort=False).head(3).reset_index(drop=True)
    pd.testing.assert_frame_equal(few, first)


def test_where_cpgs_lie_is_the_mean_over_genes(made, out):
    profile = pd.read_csv(out["figures"] / "distance.csv")
    assert set(profile["model"]) == set(MODELS) - {"SVM"}
    one = profile[profile["model"] == "DeepMethyGene_published"]
    assert list(one["distance_from"]) == [-high for high in one["distance_to"][::-1]]
    table = pd.read_parquet(out["attributions"])
    table = table[table["model"] == "DeepMethyGene_published"]
    scores = pd.read_csv(out["scores"]).query("set == 'train' and window == '1Mb' and model in @table.model")
    predicted = scores["gene"][scores["r2"] > 0.1]
    if len(predicted) >= 10:
        table = table[table["gene"].isin(predicted)]
    relative = table["attribution"] / table.groupby("gene")["attribution"].transform("mean")
    last = one.iloc[-1]
    here = (table["distance"] >= last["distance_from"]) & (table["distance"] <= last["distance_to"])
    assert last["cpgs"] == here.sum() > 0
    assert last["attribution"] == pytest.approx(relative[here].mean(), rel=1e-4)


def test_a_simulated_cohort_is_held_against_its_truth(made, out, html):
    summary = pd.read_csv(out["summary"]).set_index(["model", "metric"])
    scores = pd.read_csv(out["scores"]).query("set == 'train' and window == '1Mb' and model == 'Ridge'")
    truth = pd.read_csv(made.inputs["truth"], keep_default_na=False).set_index("gene").loc[scores["gene"]]
    hangs = (truth["kind"] != "none").to_numpy()
    r2 = scores["r2"].to_numpy()
    assert summary["value"]["Ridge", "r2_of_truth"] == pytest.approx((r2[hangs] / 0.5).mean(), rel=1e-4)
    assert summary["n"]["Ridge", "r2_of_truth"] == hangs.sum() == 9
    above = np.mean([a > b for a in r2[hangs] for b in r2[~hangs]])
    assert summary["value"]["Ridge", "auc_of_truth"] == pytest.approx(above, rel=1e-4)
    assert ("SVM", "causal_cpgs_auc") not in summary.index
    table = pd.read_parquet(out["attributions"]).query("model == 'Ridge'")
    each = []
    for gene, some in table.groupby("gene"):
        true = some["cpg"].isin(truth["cpgs"][gene].split()).to_numpy()
        if true.any():
            value = some["attribution"].to_numpy()
            each.append(np.mean([a > b for a in value[true] for b in value[~true]]))
    assert summary["value"]["Ridge", "causal_cpgs_auc"] == pytest.approx(np.mean(each), rel=1e-4)
    rows = {row[0]: row[1:] for row in table_after(html, '<section id="truth"')}
    assert rows["Ridge"][0] == printed(summary["value"]["Ridge", "r2_of_truth"])
    assert rows["SVM"][4:] == ["–", "–"]
    by_kind = {row[0]: row[1:] for row in table_after(html, "By kind of effect")}
    assert by_kind["possible"] == ["0.000", "0.500", "0.500", "0.500"]
    assert by_kind["Ridge"][0] == printed(r2[~hangs].mean())


def test_auc_counts_ties_half():
    values, positive = np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, True, False, True])
    assert auc(values, positive) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert auc(np.array([1.0, 9.0]), np.array([False, True])) == 1
    assert np.isnan(auc(values, np.zeros(4, dtype=bool)))


def test_examples_are_what_the_first_model_predicts_best(out, html):
    scores = pd.read_csv(out["scores"]).query("set == 'train' and window == '1Mb' and model == 'DeepMethyGene'")
    best = scores.sort_values("r2", ascending=False)["gene"].head(2).tolist()
    found = re.findall(r'<div class="gene">\s*<h3>(.*?)</h3>', html)
    assert found == best
    data = pd.read_csv(out["figures"] / "example_1.csv")
    assert list(data.columns) == ["sample_id", "set", "measured", "predicted"]
    assert len(data) == 45
    table = pd.read_parquet(out["attributions"]).query("model == 'DeepMethyGene' and gene == @best[0]")
    rows = table_after(html, '<div class="gene">')
    assert [row[0].rstrip(" ✓") for row in rows] == list(table["cpg"][: page.TOP])
    assert [row[1] for row in rows] == [f"{value:+,}".replace("-", "−") for value in table["distance"][: page.TOP]]


def test_nothing_is_left_unescaped(tmp_path):
    # The hostile name is made the best of all, so that it is shown as an example too.
    made = Made(tmp_path)
    path = made.inputs["fits"][2 * MODELS.index("DeepMethyGene")]
    table = pd.read_parquet(path)
    table.at[0, "prediction"] = made.y[0]
    table.to_parquet(path)
    out = made.write()
    html = out["html"].read_text()
    assert "&lt;script&gt;alert(&#39;g&#39;)&lt;/script&gt; &amp; &#34;$x_{$" in html
    assert "<script" not in html
    for text in (STATE, "<i>expression</i>", "<u>sample</u>"):
        assert text not in html
    assert text_of(html).count("state &lt;b&gt;normal&lt;/b&gt;") >= 3
    for svg in out["figures"].glob("*.svg"):
        xml.etree.ElementTree.parse(svg)


def test_the_page_is_fine_in_a_browser(out, browser):
    assert_fine(browser, out["html"])


def test_the_page_stands_alone(html):
    assert not re.search(r"<(link|script|iframe|img)\b", html)
    outside = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", html)
    assert all(address.startswith(("#", "figures/")) for address in outside)
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", html)
    assert "{{" not in html
    assert "nan" not in text_of(html).lower().replace("resonan", "")


def test_every_figure_has_its_numbers(out):
    drawn = {path.stem for path in out["figures"].glob("*.svg")}
    assert drawn == {path.stem for path in out["figures"].glob("*.csv")}
    expected = {"models", "pair", "cpgs", "windows", "others", "taxa", "truth", "distance", "example_1", "example_2"}
    assert drawn == expected


def test_the_same_fits_give_the_same_bytes_however_they_were_dealt_out(made, out, tmp_path):
    # The same fits dealt out to five files.
    fits = []
    for model, window in made.pairs:
        paths = sorted((made.folder / f"{model}_{window}").iterdir())
        table = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
        folder = tmp_path / f"{model}_{window}"
        folder.mkdir()
        for shard in range(5):
            fits.append(str(folder / f"{shard}-of-5.parquet"))
            table[shard::5].to_parquet(fits[-1])
    assert digests(made.write("dealt", fits=fits)["html"].parent) == digests(out["html"].parent)


@pytest.mark.parametrize("model", ["Ridge", "SVM", "DeepMethyGene_published"])
def test_one_model_alone(tmp_path, model):
    made = Made(tmp_path, models=(model,), windows=("1Mb",), strangers=False, taxa=False, truth=False)
    out = made.write(drawn=False)
    html = out["html"].read_text()
    assert len(pd.read_csv(out["comparisons"])) == len(pd.read_csv(out["taxa"])) == 0
    assert out["taxa"].read_text().startswith("taxon,genes,")
    for absent in ("windows", "others", "taxa", "truth"):
        assert f'id="{absent}"' not in html
    assert "against every other model" not in html
    lead = lead_of(html)
    if model == "DeepMethyGene_published":
        assert "this is not what methylation predicts" in lead
        assert "by a model that had not seen it" not in html
    else:
        assert f"{model} predicts expression from methylation with a mean R² of" in lead
    assert ('id="distance"' in html) == (model != "SVM")
    assert (len(pd.read_parquet(out["attributions"])) > 0) == (model != "SVM")


def test_without_positions_nothing_is_said_of_distances(tmp_path):
    made = Made(tmp_path, positions=False, truth=False, taxa=False)
    out = made.write(drawn=False)
    html = out["html"].read_text()
    table = pq.read_table(out["attributions"])
    assert table["distance"].null_count == len(table) > 0
    assert str(table.schema.field("distance").type) == "int32"
    assert "the methylation of all CpGs" in text_of(html)
    for absent in ("distance", "windows", "cpgs"):
        assert f'id="{absent}"' not in html
    assert "upstream" not in text_of(html)
    assert ">Distance<" not in html


def test_very_few_genes_and_scores_that_are_not_numbers(tmp_path):
    made = Made(tmp_path, genes=4)
    # Expression of the other cohort is the same in all its samples: R² has no meaning there.
    path = made.inputs["expression"]
    table = pd.read_parquet(path)
    table[[str(number) for number in range(38, 45)]] = np.float32(5)
    table.to_parquet(path)
    out = made.write(examples=50, drawn=False)
    summary = pd.read_csv(out["summary"]).set_index(["model", "metric"])
    assert np.isnan(summary["value"]["Ridge", "r2_in_other"])
    html = out["html"].read_text()
    rows = [row for row in table_after(html, '<section id="others"') if row[0] == "the other cohort"]
    assert {(row[7], row[9]) for row in rows} == {("–", "0")}
    assert html.count('<div class="gene">') == 4
    assert table_after(html, "against every other model")[0][4] == "–"  # too few for a test


def test_a_set_without_expression_is_named(tmp_path):
    made = Made(tmp_path, genes=4)
    path = made.inputs["expression"]
    table = pd.read_parquet(path)
    table[[str(number) for number in range(38, 45)]] = np.float32(np.nan)
    table.to_parquet(path)
    html = made.write(drawn=False)["html"].read_text()
    assert "For the other cohort there is nothing to compare with" in html


def test_scores_far_below_0_are_counted_and_not_drawn(tmp_path):
    made = Made(tmp_path)
    for path in made.inputs["fits"][4:6]:
        table = pd.read_parquet(path)
        table["prediction"] = [one * np.float32(-3) for one in table["prediction"]]
        table.to_parquet(path)
    out = made.write()
    assert pd.read_csv(out["figures"] / "models.csv").query("model == 'DeepMethyGene'")["r2"].max() < -10
    words = text_of(out["html"].read_text())
    assert re.search("Beyond the left end: .*12 genes of DeepMethyGene", words)
    assert "12 genes lie beyond the axes." in words
    ticks = re.findall(r">([−\d.]+)</text>", (out["figures"] / "models.svg").read_text())
    assert min(float(tick.replace("−", "-")) for tick in ticks) >= -0.35


def test_nothing_left_out_is_said_so(tmp_path):
    made = Made(tmp_path, genes=4, models=("Ridge",), windows=("1Mb",))
    pathlib.Path(made.inputs["skipped"]).write_text("gene,reason\n")
    pathlib.Path(made.inputs["qc"]).write_text("{}")
    words = text_of(made.write(drawn=False)["html"].read_text())
    assert "No gene: all that have expression were predicted." in words
    assert "noticed while reading" not in words


def test_what_was_left_out_is_counted_by_reason(html):
    rows = table_after(html, '<section id="left-out"')
    assert rows[0] == ["no position", "5", "S0, S1, S2 …"]
    assert rows[1][1:] == ["1", "NA"]
    assert "left out: &lt;u&gt;sample" in html


def test_too_few_samples_to_score_are_an_input_problem(tmp_path):
    made = Made(tmp_path, samples=4, models=("Ridge",), windows=("1Mb",), strangers=False)
    with pytest.raises(InputError, match="4 samples to train on are too few"):
        made.write()


def test_thousands_of_genes_stay_a_small_page(tmp_path):
    made = Made(tmp_path, genes=4000, models=("DeepMethyGene", "Ridge"), windows=("1Mb",), taxa=False)
    out = made.write()
    assert out["html"].stat().st_size < 1.5e6
    assert max(path.stat().st_size for path in out["figures"].glob("*.svg")) < 3e5
    assert "The area shows how many genes" in out["html"].read_text()


def test_sample_ids_that_are_taken_get_their_set():
    samples = pd.DataFrame({"sample_id": ["a", "gene", "a", "other:a"], "set": ["train", "train", "other", "other"]})
    assert results.sample_columns(samples) == ["a", "train:gene", "other:a", "other:other:a"]


def test_own_scores_stand_beside_published_ones(made, tmp_path):
    table = pd.DataFrame({"gene": [*made.names[:8], "ELSEWHERE"], "ElasticNet": np.linspace(0.1, 0.9, 9)})
    table["Network <i>"] = [np.nan, *[0.5] * 8]
    table.to_csv(tmp_path / "published.csv", index=False)
    out = made.write("beside", drawn=False, published=str(tmp_path / "published.csv"))
    found = pd.read_csv(out["published"]).set_index(["published", "model", "metric"])
    scores = pd.read_csv(out["scores"], keep_default_na=False).query("set == 'train' and window == '1Mb'")
    ours = scores[scores["model"] == "Ridge"].set_index("gene")["r2_pearson"].astype(float)
    row = found.loc[("ElasticNet", "Ridge", "r2_pearson")]
    assert (row["n"], row["value_published"]) == (8, pytest.approx(table["ElasticNet"][:8].mean()))
    difference = ours[table["gene"][:8]].to_numpy() - table["ElasticNet"][:8].to_numpy()
    assert row["difference"] == pytest.approx(difference.mean(), abs=1e-5)
    assert row["better"] == pytest.approx((difference > 0).mean())
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert found.loc[("Network <i>", "Ridge", "r2"), "n"] == 7
    html = out["html"].read_text()
    assert ["ElasticNet", "Ridge", "8"] in [row[::2][:2] + row[-1:] for row in table_after(html, 'id="published"')]
    assert "Network &lt;i&gt;" in html


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("probe,r2\nG,0.5\n", "needs a column `gene`"),
        ("gene\nG\n", "and one of R² for each published model"),
        ("gene,r2\nG,high\n", "1 values are no numbers, such as 'high' (line 2)"),
        ("gene,r2\nG,44.9\n", "an R² of 44.9 (line 2) cannot be"),
        ("gene,r2\nG,0.1\nG,0.2\n", "lists 1 genes more than once: 'G'"),
        ("gene,r2\nG,0.1\n", "has none of the genes that were fitted"),
    ],
)
def test_published_tables_that_cannot_be_used_are_named(tmp_path, text, said):
    (tmp_path / "published.csv").write_text(text)
    wide = {
        "r2": pd.DataFrame({"Ridge": [0.1]}, index=["H"]),
        "r2_pearson": pd.DataFrame({"Ridge": [0.1]}, index=["H"]),
    }
    with pytest.raises(InputError) as error:
        published.beside(wide, published.read_published(tmp_path / "published.csv", {"gene_versions": "keep"}), 1)
    assert said in error.value.text()


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of a study, to be rendered with other numbers."""
    with kept_from("cpgtaxa.targets.expression.page.write_page") as kept:
        Made(tmp_path_factory.mktemp("stated")).write()
    return Page(**kept)


def row_of(model, **changes):
    """The page with a model's row changed."""
    return {"row_of": lambda rows: rows | {model: rows[model] | changes}}


def first(**changes):
    """The first of some rows alone, changed."""
    return lambda rows: [rows[0] | changes]


PUBLISHED = {"published": "DMG", "model": "Ridge", "n": "5", "p": "0.1", "theirs": "0.2", "ours": "0.3"}
PUBLISHED |= {"difference": "+0.1", "range": "–"}
STATES = [
    (
        {"n_genes": "1"},
        [
            "expression of 1 gene from methylation",
            "Predicted were 3 genes with no methylation effect, 3 genes with CpGs near the start that silence it, "
            "3 genes with an effect of CpGs 5 to 500 kb away, 3 genes with a threshold",
            "samples of a simulated cohort and 3 folds: every sample by a model that had not seen it (but for Deep",
            "summary.csv, figures/others.csv",
            "promoter 3 genes",
        ],
        ["people", "Published scores"],
    ),
    (
        row_of("DeepMethyGene", n="1", mean=0.2, r2="0.200", r2_range="–", above=["0", "0"])
        | {"best": "DeepMethyGene", "first": "DeepMethyGene", "rows": lambda rows: rows[:1], "leak": None},
        [
            "DeepMethyGene predicts expression from methylation with a mean R² of 0.200 over 1 gene: R² is above 0.1 "
            "for none of them, and above 0.5 for none.",
            "had not seen it.",
            "Files Model Model",
        ],
        ["than guessing the mean for every", "predicts best with", "DeepMethyGene reaches", "interval –"],
    ),
    (
        row_of("Ridge", n="12", mean=-0.1, r2="−0.100", r2_range="−0.2 to −0.1", above=["2", "1"])
        | {"best": "Ridge", "several": True, "n_people": "20", "simulated": False},
        [
            "Ridge predicts best with a mean R² of −0.100 over 12 genes (95 % interval −0.2 to −0.1)",
            "On average that is no better than guessing the mean for every sample. DeepMethyGene reaches a mean R²",
            "in 30 samples of 20 people and 3 folds",
            ", nor another of its person",
        ],
        ["simulated cohort and"],
    ),
    (
        row_of("DeepMethyGene", leaky=True, n="1") | {"best": "DeepMethyGene"},
        [
            "the only model here, reaches a mean squared correlation of",
            "over 1 gene, but",
            "squared correlation, leaky",
        ],
        ["predicts best with", "that had not seen it"],
    ),
    (
        {"leak": {"difference": None, "n": "1"}},
        ["over 1 gene; add DeepMethyGene to the"],
        ["what the leak is worth is"],
    ),
    ({"recipe": "published"}, ["On the same 12 genes its squared"], ["A part of it may be"]),
    ({"recipe": None, "leak": None}, [], ["is inflated", "were trained by the recipe"]),
    ({"recipe": "fast", "leak": None}, ["trained by the recipe fast."], ["the published loop has its own"]),
    (
        {"strip": False, "dense": True},
        ["The area shows", "The shade shows how many genes lie there"],
        ["A point is a gene"],
    ),
    (
        {"drawn": lambda drawn: drawn | {"models": (drawn["models"][0], {"SVM": 1, "Ridge": 0, "Mean": 2})}},
        ["Beyond the left end: 1 gene of SVM, 2 genes of Mean."],
        ["of Ridge"],
    ),
    (
        {"drawn": lambda drawn: drawn | {"pair": (drawn["pair"][0], 1), "cpgs": (drawn["cpgs"][0], 2)}},
        ["1 gene lies beyond the axes.", "2 genes lie beyond the axes."],
        [],
    ),
    (
        {
            "drawn": {"pair": None, "cpgs": None, "distance": None},
            "comparisons": {"r2": []},
            "windows": [],
            "taxa": [],
            "truth": None,
            "examples": [],
            "others": [],
            "window": None,
        },
        ["the methylation of all CpGs,", "no taxonomy is given, or no gene has enough CpGs of one taxon"],
        [
            "against Ridge",
            "every other model",
            "From how far",
            "CpGs of one taxon alone",
            "Where the CpGs lie",
            "Other s",
        ],
    ),
    (
        {"others": [], "lacking": ["other samples"]},
        ["For other samples there is nothing", "Numbers: summary.csv "],
        ["figures/others.csv", "Held out: the"],
    ),
    (
        {"published": [PUBLISHED], "files": {"published": "published.csv"}},
        ["Beside published scores", "on the genes that both have"],
        [],
    ),
    ({"truth": {"causal": []}}, ["By kind of effect"], ["CpGs found (AUC)"]),
    (
        {"profile_genes": [("Ridge", "1")]},
        ["Over 1 gene by Ridge: those that", "or, where these are fewer than ten, all."],
        [],
    ),
    (
        {
            "examples": first(n_cpgs="1", truth={"kind": "none", "r2": "0"}, cpgs=[]),
            "explainer": "Ridge",
            "first": "SVM",
        },
        [
            "The gene that SVM predicts best.",
            "SVM gives no attributions; the CpGs are those of Ridge.",
            ", 1 CpG; in truth no",
        ],
        ["Strongest CpGs"],
    ),
    (
        {
            "examples": first(n_cpgs="2", truth={"kind": "distal", "r2": "0.5"}),
            "window": None,
            "explainer": None,
            "drawn": {"cpgs": None},
        },
        ["2 CpGs; in truth distal, 0.5"],
        ["Distance Attribution", "Distances in bases", "gives no attributions"],
    ),
    (
        {"examples": first(truth=None), "truth": None},
        ["Distances in bases"],
        ["; in truth", "this CpG has a true effect"],
    ),
    ({"skipped": [], "warnings": []}, ["No gene: all that have expression were predicted."], ["by reason:"]),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

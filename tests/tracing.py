"""Where the numbers of a report come from: each is computed again from the run's other files."""

import hashlib
import html.parser
import json
import pathlib
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from cpgtaxa.names import TAXA
from cpgtaxa.wording import plural
from scipy.stats import binom, chi2

ROWS = (*TAXA, "Unclassified")
TRENDS = ("LinAgeHomo", "LinAgeHet", "TriAge", "BiAge")
SILENT = ("style", "script", "svg", "nav", "title", "footer")


def plain(text: str) -> str:
    """Text as one line, its minus signs as Python reads them."""
    return " ".join(text.replace("−", "-").split())


class Page(html.parser.HTMLParser):
    """What a reader sees of a report: `text` by section, `tables` by name (rows of cells), `facts`, `cards`."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.tables, self.facts, self.cards = {}, {}, {}, []
        self.section, self.label, self.open, self.sink = "header", None, [], None
        self.feed(text)
        self.config = yaml.safe_load("".join(self.text.pop("Configuration")))
        self.text = {name: plain("".join(parts)) for name, parts in self.text.items()}
        self.text.pop("Line for the config", None)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.open += [tag] if tag in SILENT else []
        if tag == "section":
            self.section = found["id"]
        if (found.get("aria-label") or "").startswith("Table: "):
            self.label = found["aria-label"].removeprefix("Table: ")
            self.tables[self.label] = []
        if tag == "tr":
            self.tables[self.label].append([])
        if tag in ("td", "th", "dt", "dd"):
            self.sink = []
        if tag == "pre":
            self.sink = self.text.setdefault(found["aria-label"], [])
        if tag == "div" and found.get("class") == "card":
            self.sink = []
        if tag in ("br", "span", "b", "p", "div", "li", "h2", "h3", "h4", "summary", "figure"):
            self.handle_data(" ")

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        if tag in ("td", "th"):
            self.tables[self.label][-1].append(plain("".join(self.sink)))
            self.sink = None
        elif tag == "dt":
            self.fact = plain("".join(self.sink))
        elif tag == "dd":
            self.facts[self.fact], self.sink = plain("".join(self.sink)), None
        elif tag == "div" and self.sink is not None:
            self.cards.append((self.section, plain("".join(self.sink))))
            self.sink = None
        elif tag == "pre":
            self.sink = None

    def handle_data(self, data):
        if not self.open:
            (self.text.setdefault(self.section, []) if self.sink is None else self.sink).append(data)


def n(value) -> str:
    return f"{int(value):,}"


def one_or(value, one: str, many: str) -> str:
    return f"{n(value)} {plural(int(value), one, many)}"


def pc(value, digits: int = 1) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f} %"


def dec(value, digits: int = 3) -> str:
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def small(p) -> str:
    return "< 1e-300" if p < 1e-300 else f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def page_of(results) -> str:
    return (results / "report.html").read_text(encoding="utf-8")


class Trace:
    """One report, `page`, and the files beside it. What a check has found is taken from the page's text and tables."""

    def __init__(self, folder):
        self.results = pathlib.Path(folder) / "results"
        self.page = Page(page_of(self.results))
        self.taxonomy = pd.read_parquet(self.results / "taxonomy.parquet")
        self.taxon = self.taxonomy["taxon"].astype(str)
        self.ewas = self.csv("age_ewas.csv.gz").set_index("cpg")
        self.samples = pd.read_parquet(self.results / "cohort/samples.parquet")
        self.rounds = sorted(self.results.glob("round_*"), key=lambda path: int(path.name[6:]))
        self.metrics = [self.json(f"{path.name}/metrics.json") for path in self.rounds]
        self.counts = [self.json(f"{path.name}/reassigned.json") for path in self.rounds]
        adjusted = self.results / "adjusted"
        self.adjusted = self.json("adjusted/adjusted.json") if adjusted.is_dir() else None
        beta = (adjusted if self.adjusted else self.results / "cohort") / "beta.arrow"
        cohort = pa.ipc.open_file(pa.memory_map(str(beta))).read_all()
        self.beta = np.stack([one.values.to_numpy() for one in cohort["beta"]])

    def csv(self, name):
        return pd.read_csv(self.results / name)

    def json(self, name):
        return json.loads((self.results / name).read_text())

    def says(self, section: str, *sentences: str) -> None:
        for sentence in sentences:
            sentence = plain(sentence)
            assert sentence in self.page.text[section], (sentence, self.page.text[section])
            self.page.text[section] = self.page.text[section].replace(sentence, "·", 1)

    def shows(self, table: str, rows: list[list], columns=None) -> None:
        """The table has these rows; columns: of the page's, those compared, and the others hold no number."""
        found = self.page.tables.pop(table)[1:]
        if columns is not None:
            rest = [cell for row in found for at, cell in enumerate(row) if at not in columns]
            assert not re.search(r"(?<![\w.])\d+(?![\w.²])", " ".join(rest).replace("90 % of ages", "")), rest
            found = [[row[at] for at in columns] for row in found]
        wanted = [[plain(str(cell)) for cell in row] for row in rows]
        assert found == wanted, (table, [pair for pair in zip(found, wanted, strict=False) if pair[0] != pair[1]])

    def everything(self) -> None:
        """Every number of the page is that of a file, or one of the constants that its sentences explain."""
        for check in (
            self.head,
            self.ageing,
            self.taxa,
            self.patterns,
            self.unclassified,
            self.cohort,
            self.truth,
            self.gallery,
        ):
            check()
        for check in (self.networks, self.tests, self.criteria, self.enough, self.time, self.settings):
            check()
        assert self.page.tables == {}, list(self.page.tables)
        left = {name: unexplained(text) for name, text in self.page.text.items()}
        assert {name: words for name, words in left.items() if words} == {}

    # Section by section

    def head(self):
        e, total = self.ewas, len(self.taxon)
        changing, spread = e["q"] < 0.05, e["het_q"] < 0.05
        self.c, self.s = int(changing.sum()), int(spread.sum())
        up, wider = int((changing & (e["slope_per_year"] > 0)).sum()), int((spread & (e["sd_ratio"] > 1)).sum())
        tested = n(e["p"].notna().sum())
        where = (
            e["taxon"][changing].value_counts().reindex(ROWS, fill_value=0).sort_values(ascending=False, kind="stable")
        )
        where = where[where > 0]
        words = [f"{n(k)} {'is' if k == 1 else 'are'} {taxon}" for taxon, k in where[:4].items()]
        lambda_ = np.median(chi2.isf(e["p"].dropna(), 1)) / chi2.median(1)
        ages = self.samples["age"]
        placed, by_tests = (self.taxon != "Unclassified").mean(), (self.taxonomy["source"] == "statistical").sum()
        networks = self.taxonomy["source"].str.startswith("round_").sum()
        rounds = "one round" if len(self.rounds) == 1 else f"{len(self.rounds)} rounds"
        ends = f" ({n(wider)} wider and {n(self.s - wider)} narrower in the old)" if self.s else ""
        left = f"networks placed {n(networks) if networks else 'none'} of the other {n(total - by_tests)}"
        left = (f"{left} in {rounds}" if networks else left) if total > by_tests else "leave none"
        self.says("header", f"How {n(total)} CpGs change with age")
        self.says("header", f"{n(self.c)} of {tested} CpGs {plural(self.c, 'changes', 'change')} with age (q < 0.05; {one_or(up, 'gains', 'gain')} and {one_or(self.c - up, 'loses', 'lose')} methylation), and {one_or(self.s, 'changes', 'change')} in spread{ends}.")  # fmt: skip # noqa: E501
        self.says(
            "header", f"Of the {n(self.c)}, {', '.join(words)}{', the others elsewhere' if len(where) > 4 else ''}."
        )
        kind = "A simulated cohort" if self.page.config.get("simulate_cohort") else "A cohort"
        self.says("header", f"{kind} of {n(len(ages))} samples, {ages.min():g} to {ages.max():g} years old. {pc(placed)} of the CpGs have one of the ten taxa: statistical tests name {n(by_tests)}, and {left}")  # fmt: skip # noqa: E501
        if (self.taxon == "Unclassified").any():
            self.says("header", one_or((self.taxon == "Unclassified").sum(), "stays", "stay") + " Unclassified")
        self.says("header", f"{n(self.c)} change with age", f"{n(self.s)} change in spread", f"{lambda_:.2f} genomic inflation λ")  # fmt: skip # noqa: E501
        self.says("header", f"{pc(placed)} of {n(total)} CpGs have a taxon", f"{n(len(ages))} samples")
        self.labelled, self.networks_placed, self.rounds_word = by_tests, networks, rounds

    def ageing(self):
        e = self.ewas
        for name in [name for name in self.page.tables if "change most surely" in name]:
            taxon = re.match(r"the CpGs of (\w+) that", name)
            mine = e[e["p"].notna()] if taxon is None else e[e["p"].notna() & (e["taxon"] == taxon[1])]
            rows = [
                [
                    *([cpg] if taxon else [cpg, row["taxon"]]),
                    *(f"{row['slope_per_year']:+.5f}", dec(row["se"], 5), small(row["p"]), small(row["q"])),
                    *(dec(row["sd_ratio"], 2), small(row["het_q"])),
                ]
                for cpg, row in mine.head(10).iterrows()
            ]
            self.shows(name, rows)
        where = e["taxon"][e["q"] < 0.05].value_counts()
        trends, none = where.reindex(TRENDS).sum(), where.get("Unclassified", 0)
        others = self.c - trends - none
        if others:
            unclassified = f" and {one_or(none, 'is', 'are')} Unclassified" if none else ""
            self.says("ageing", f"Of the {n(self.c)}, {one_or(trends, 'has', 'have')} a taxon with a trend{unclassified}. The other {one_or(others, 'changes', 'change')} surely")  # fmt: skip # noqa: E501
        covariates = [one["name"] for one in self.adjusted["covariates"]] if self.adjusted else []
        self.says("ageing", f"Model: {' + '.join(['beta ~ age', *covariates])}, least squares")
        self.says("ageing", f"The {min(10, len(e))} surest")

    def after(self, stage: int) -> pd.Series:
        """Each CpG's taxon after the tests (0) and after each round."""
        known = ["statistical", *(f"round_{number}" for number in range(stage))]
        return self.taxon.where(self.taxonomy["source"].isin(known), "Unclassified")

    def taxa(self):
        t, e = self.taxonomy, self.ewas.loc[self.taxonomy["cpg"]].set_axis(self.taxonomy.index)
        rows = []
        for taxon in ROWS:
            mine = self.taxon == taxon
            stages = [n((self.after(stage) == taxon).sum()) for stage in range(len(self.rounds) + 1)]
            clear = (mine & (t["boundary"] == "")).sum()
            ends = [(mine & (e[q] < 0.05)).sum() for q in ("q", "het_q")]
            rows.append([taxon, *stages, pc(mine.mean()), n(clear), n(mine.sum() - clear), *map(n, ends)])
        self.shows("CpGs in each taxon after each stage", rows, [0, *range(2, len(rows[0]) + 1)])
        self.says(
            "taxa",
            one_or((t["confidence"] >= 0.95).sum(), "CpG has its", "CpGs have their")
            + " taxon with a confidence of at least 95 %.",
        )
        self.says("taxa", f"{n(t['disagrees'].sum())} of the {n(self.labelled)} that the tests named would be another")

    def patterns(self):
        table = self.csv("patterns.csv.gz").set_index("cpg").loc[self.taxonomy["cpg"]]
        likely, left = table["replication"], (self.taxon == "Unclassified").to_numpy()
        if table["sex_q"].notna().any():
            divergent = one_or((table["sex_q"] < 0.05).sum(), "CpG", "CpGs")
            self.says("patterns", f"Women and men change differently in {divergent} (q < 0.05).")
        self.says(
            "patterns",
            f"Of {n(likely.notna().sum())}, {one_or((likely >= 0.9).sum(), 'is', 'are')} likely to get the same",
        )
        rows = []
        for shape in ("none", "linear", "saturating", "late_onset", "wave", "step", "undecided"):
            mine = table["shape"] == shape
            spread = (table["spread_shape"] == shape).sum()
            rows.append([shape.replace("_", " "), n(mine.sum()), pc(mine.mean()), n((mine & left).sum()), n(spread)])
        self.shows("shapes of change", rows, [0, 2, 3, 4, 5])
        causes = table["cause"].value_counts()
        batch = causes.get("batch", 0)
        if batch:
            self.says("header", f"The bands of {n(batch)} of {n(causes.sum())} CpGs called Bi… or Tri… go with")
        rows = [
            [cause, n(causes[cause])] for cause in ("batch", "sex", "SNP", "imprinting", "unknown") if cause in causes
        ]
        if rows:
            self.shows("causes of bands", rows, [0, 2])

    def unclassified(self):
        left = pd.read_parquet(self.results / "unclassified.parquet")
        assert set(left["cpg"]) == set(self.taxonomy["cpg"][self.taxon == "Unclassified"])
        if left.empty:
            return
        self.says("unclassified", f"{one_or(len(left), 'CpG', 'CpGs')} ({pc(len(left) / len(self.taxon))})")
        said = left["detail"].astype(str).str.split(";").str[0]
        sizes = left.groupby([left["reason"].astype(str), said]).size().sort_values(ascending=False, kind="stable")
        rows = [[reason, detail, n(k), pc(k / len(left))] for (reason, detail), k in sizes.items()]
        self.shows("why CpGs are Unclassified", rows[:12], range(4))
        if len(rows) > 12:
            self.says("unclassified", f"{len(rows) - 12} rarer reasons")

    def cohort(self):
        qc, cpgs = self.json("cohort/qc.json"), pd.read_parquet(self.results / "cohort/cpgs.parquet")
        s, facts = self.samples, self.page.facts
        ages, sexes = s["age"], s["sex"].astype(str).value_counts().sort_index()
        wanted = {
            "Samples": n(len(s)),
            "Samples read": f"{n(len(s))} in the matrix, {n(len(s))} in the sheet",
            "Age": f"{ages.min():g} to {ages.max():g} years, median {ages.median():g}",
            "Sex": ", ".join(f"{name} {k:,}" for name, k in sexes.items()),
            "CpGs": n(len(self.taxon)),
            "CpGs read": n(len(cpgs)),
            "CpGs left out": "none",
            "Missing values": pc(np.isnan(self.beta).mean(), 2),
        }
        assert cpgs["kept"].all()
        if self.adjusted:
            a = self.adjusted
            wanted["Taken by that"] = f"{pc(a['share_taken'])} of the variance beside age ({pc(a['share_by_chance'])} by chance); {n(a['clipped']['values'])} values clipped"  # fmt: skip # noqa: E501
            kinds = {"category": "{} categories", "number": "a number", "fractions": "{} cell types"}
            wanted["Betas adjusted for"] = ", ".join(
                f"{one['name']} ({kinds[one['kind']].format(len(one['levels'] or []) or one['terms'])})"
                for one in a["covariates"]
            )
        found = {name: facts.pop(name) for name in wanted}
        assert found == wanted
        assert not re.search(
            r"\d", " ".join(facts.values()).replace("450K", "").replace("27K", "").replace("v1", "")
        ), facts
        for warning in [*qc["warnings"], *(self.adjusted["warnings"] if self.adjusted else [])]:
            self.says("cohort", warning)
        self.missing(cpgs)
        self.columns()

    def missing(self, cpgs):
        share = np.isnan(self.beta).mean(axis=0)
        if not share.any():
            return
        limits = self.page.config["cohort"]
        self.says("cohort", f"{n((share > 0).sum())} of {n(len(share))} samples and {one_or((cpgs['n_missing'] > 0).sum(), 'CpG', 'CpGs')} lack a value; the sample that lacks most, {self.samples['sample_id'][share.argmax()]}, lacks {pc(share.max(), 2)} of the CpGs used. Samples may lack up to {pc(limits['max_missing_sample'], 0)}, CpGs up to {pc(limits['max_missing_cpg'], 0)}")  # fmt: skip # noqa: E501
        rows = int((np.isnan(self.beta).sum(axis=1) > 0).sum())
        assert rows == (cpgs["n_missing"] > 0).sum()

    def columns(self):
        table = self.csv("report/figures/explained.csv")
        most = min(2000, len(self.taxon))
        self.says(
            "cohort", f"Principal components of {n(most)} CpGs{'' if most == len(self.taxon) else ' that vary most'}"
        )
        sd = pd.read_parquet(self.results / "statistics/statistics.parquet", columns=["sd"])["sd"].to_numpy()
        values = self.beta[np.sort(np.argsort(-np.nan_to_num(sd), kind="stable")[:most])].astype(float)
        values = np.nan_to_num(values - np.nanmean(values, axis=1, keepdims=True))
        size = np.linalg.svd(values, compute_uv=False) ** 2
        rows = []
        for name in table["column"].unique():
            mine = table[table["column"] == name].set_index("of")
            parts = mine.drop(index="betas")
            first = parts["r2"].idxmax()
            sure = ", ".join(parts.index[parts["surely"] == True]) or "none"  # noqa: E712
            kind = mine["kind"].iat[0]
            if kind != "number":
                kind = f"{self.samples[name].nunique()} categories"
            cells = [name, kind, n(mine["n"].iat[0]), pc(mine["r2"]["betas"]), pc(mine["chance"].iat[0])]
            rows.append([*cells, f"{first}, {pc(parts['r2'][first], 0)}", sure])
        shown = self.page.tables["what columns of the sheet explain"]
        order = [row[0] for row in shown[1:]]
        rows = sorted(rows, key=lambda row: order.index(row[0]))
        self.shows("what columns of the sheet explain", rows)
        # A component's variance is that of the betas, and what a column explains of it stands in the figure's table.
        text = self.page.text["cohort"]
        for component, variance, words in re.findall(r"PC(\d) \((\S+ %) of the variance\) goes with (.*?)\. ", text):
            assert variance == pc(size[int(component) - 1] / size.sum())
            for column, share in re.findall(r"([\w ]+?) \((\d+ %)\)", words):
                found = table[(table["column"] == column.strip()) & (table["of"] == f"PC{component}")]
                assert share == pc(found["r2"].iat[0], 0)
            self.says("cohort", f"PC{component} ({variance} of the variance) goes with {words}.")

    def truth(self):
        where = self.page.config["cohort"]["truth"]
        if not where:
            return
        truth = pd.read_csv(self.results.parent / where, keep_default_na=False).set_index("cpg")
        truth = truth.loc[[name for name in self.taxonomy["cpg"] if name in truth.index]]
        known = self.taxonomy["cpg"].isin(truth.index).to_numpy()
        boundary = (truth["kind"] != "").to_numpy()
        scores = [
            self.scores(self.after(stage)[known].to_numpy(), truth, boundary) for stage in range(len(self.rounds) + 1)
        ]
        names = (
            "Macro-F1 (recall over clear CpGs)",
            "CpGs placed",
            "… of which rightly",
            "Boundary CpGs placed, and rightly",
        )
        lines = [[name, *(score[0][at] for score in scores)] for at, name in enumerate(names)]
        self.shows("agreement with the truth after each stage", lines)
        self.shows("agreement by taxon", scores[-1][1])
        last, rows = self.after(len(self.rounds))[known].to_numpy(), []
        right = rightly(last, truth)
        for kind in sorted(set(truth["kind"]) - {""}):
            mine = (truth["kind"] == kind).to_numpy()
            placed = mine & (last != "Unclassified")
            share = right[placed].mean() if placed.any() else np.nan
            rows.append([kind.replace("_", " "), n(mine.sum()), pc(placed.sum() / mine.sum()), pc(share)])
        self.shows("boundary CpGs, by criterion", rows)

    def scores(self, called, truth, boundary):
        """Of one stage: the measures, and each taxon's row."""
        placed, right, actual = called != "Unclassified", rightly(called, truth), truth["taxon"].to_numpy()
        rows, f1s = [], []
        for taxon in TAXA:
            mine, clear = called == taxon, (actual == taxon) & ~boundary
            if not mine.any() and not clear.any():
                continue
            precision = right[mine].mean() if mine.any() else 0.0
            recall = mine[clear].mean() if clear.any() else np.nan
            f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else recall * 0
            f1s += [f1] if clear.any() else []
            numbers = [n(clear.sum()), n(mine.sum()), dec(precision), dec(recall), dec(f1)]
            rows.append([taxon, *numbers, n((mine & boundary).sum())])
        lines = [dec(np.mean(f1s)), pc(placed.mean()), pc(right[placed].mean()), pc(right[boundary].mean())]
        return lines, rows

    def gallery(self):
        t = self.taxonomy.set_index("cpg")
        statistics = pd.read_parquet(self.results / "statistics/statistics.parquet").set_index("cpg")
        decided = self.csv("report/gallery.csv").set_index("cpg")
        cards = [text for section, text in self.page.cards if section == "gallery"]
        assert len(cards) == len(decided)
        for text in cards:
            cpg, text = text.split(" ", 1)
            one, numbers = t.loc[cpg], statistics.loc[cpg]
            expected = [f"change {numbers['core_effect']:+.3f}, spread {numbers['core_sd']:.3f}"]
            if one["taxon"] == "Unclassified":
                p = one[[f"p_{taxon}" for taxon in TAXA]].astype(float).dropna().sort_values(ascending=False)[:2]
                expected += [f"{name[2:]} {pc(share, 0)}" for name, share in p.items() if share >= 0.005]
            else:
                source = (
                    "Statistics" if one["source"] == "statistical" else one["source"].replace("_", " ").capitalize()
                )
                expected.append(f"{source}, confidence {pc(one['confidence'])}")
                if f"p_{one['second_taxon']}" in t and pd.notna(one["network_p"]):
                    but = "but " if one["disagrees"] else ""
                    second = pc(one[f"p_{one['second_taxon']}"])
                    expected.append(f"network {pc(one['network_p'])}, {but}{one['second_taxon']} {second}")
                if isinstance(decided["criterion"][cpg], str):
                    assert decided["criterion"][cpg] == one["criterion"]
                    value, cut = decided["value"][cpg], numeral(decided["cut"][cpg])
                    # The table has six digits, which may lie on the edge between two numbers of three.
                    near = [f"{numeral(value * by)}, cut {cut}" for by in (1, 1 - 2e-6, 1 + 2e-6)]
                    found = next((words for words in near if words in text), near[0])
                    expected.append(f"{one['criterion'].replace('_', ' ')} {found}")
            for words in expected:
                assert plain(words) in text, (cpg, words, text)
                text = text.replace(plain(words), "·", 1)
            assert not re.search(r"\d", text), (cpg, text)

    def networks(self):
        section = "rounds"
        rate = pc(self.page.config["rounds"]["error_rate"], 0)
        self.says(section, f"{one_or(self.networks_placed, 'CpG', 'CpGs')} placed in {self.rounds_word}")
        self.page.text[section] = self.page.text[section].replace(f"at most {rate}", "·")
        unlike = pc(1 - self.page.config["rounds"]["unlike"], 0)
        self.says(section, f"than {unlike} of the latter")
        rows, stays, near = [], [], []
        for number, (found, scores) in enumerate(zip(self.counts, self.metrics, strict=True)):
            placed = (self.taxonomy["source"] == f"round_{number}").sum()
            candidates = (self.after(number) == "Unclassified").sum()
            model = scores["model"]
            log = self.csv(f"round_{number}/{model}_training_log.csv")
            trained = [pc(log["val_acc"].max()), n(len(log)), f"{log['epoch_duration_s'].sum() / 60:.1f}"]
            trained = trained if len(log) else ["–"] * 3
            rows.append(
                [str(number), model, n(candidates), n(placed), pc(placed / candidates), *wrong(found), *trained]
            )
            left = self.after(number + 1)
            assert sum(found["left"].values()) == (left == "Unclassified").sum()
            reasons = (
                pd.read_parquet(self.results / f"round_{number}/left.parquet")["reason"].astype(str).value_counts()
            )
            stays.append([str(number), *(n(reasons.get(name, 0)) for name in ("ambiguous", "contradicted", "unlike"))])
            close = found.get("near_threshold") or {}
            ends = [n(close[name]) if name in close else "–" for name in ("above", "below")]
            near.append(
                [
                    str(number),
                    pc(found["threshold"] if found.get("threshold") else np.nan),
                    n(candidates),
                    n(placed),
                    *ends,
                ]
            )
            self.checked(section, number, found)
        minutes = [row.pop() for row in rows]
        page = self.page.tables["the rounds"]
        for shown, said in zip(page[1:], minutes, strict=True):
            found = shown.pop()
            assert found == said == "–" or abs(float(found) - float(said)) <= 0.11
        self.shows("the rounds", rows)
        self.shows("what stays Unclassified, and why", stays)
        self.shows("candidates near each round’s threshold", near)

    def checked(self, section, number, found):
        if "network_as_labels" in found and found["network_as_labels"] is not None:
            start = f"In round {number} the network’s first taxon is the label on {pc(found['network_as_labels'])} of "
            self.says(section, f"{start}the {n(found['labelled_cpgs'])} labelled CpGs that are clear")
        if found.get("engine") == "torch":
            self.says(section, f"In round {number} torch classified the CpGs")
        if found.get("checked_cpgs"):
            k = {key: found[f"checked_{key}"] for key in ("cpgs", "same", "placed_same", "placed", "difference")}
            self.says(section, f"In round {number} OpenVINO classified the CpGs, in whole numbers")
            self.says(section, f"Of {n(k['cpgs'])} CpGs drawn at random {n(k['same'])} have the first taxon that the network has in float32, as have {n(k['placed_same'])} of the {n(k['placed'])} placed ones among them; the probability of the first taxon differs by {k['difference']:.4f} on average")  # fmt: skip # noqa: E501

    def tests(self):
        rows = []
        for number, found in enumerate(self.metrics):
            table = self.csv(f"round_{number}/{found['model']}_predictions.csv")
            right = (table["ActualLabel"] == table["PredictedLabelName"]).mean()
            assert (found["test"]["n"], pc(found["test"]["accuracy"])) == (len(table), pc(right))
            for key, name in (("test_cohort", "cohort"), ("test_simulated", "simulated"), ("test", "all")):
                if key not in found or (key == "test" and not {"test_cohort", "test_simulated"} <= set(found)):
                    continue
                one = found[key]
                errors = [dec(one[error]) for error in ("calibration_error_raw", "calibration_error")]
                scores = [n(one["n"]), pc(one["accuracy"]), dec(one["macro_f1"]), *errors, dec(found["temperature"], 2)]
                rows.append([str(number), name, *scores])
        self.shows("scores on test images", rows)

    def criteria(self):
        table, errors = self.csv("report/thresholds.csv"), self.page.config["taxa"]["errors"]
        self.says("thresholds", f"exceeds {pc(errors['beyond'])}", f"in at most {pc(errors['chance'])} of CpGs")
        rows = []
        for row in table.itertuples():
            zone = self.page.config["taxa"]["thresholds"][row.criterion]
            assert (row.no, row.yes) == (zone["no"], zone["yes"])
            assert row.n == row.below + row.no_in_zone + row.yes_in_zone + row.above + row.open
            numbers = [row.n, row.below, row.no_in_zone, row.yes_in_zone, row.above, row.open]
            cells = [numeral(row.no), numeral(row.cut), numeral(row.yes), *map(n, numbers)]
            rows.append([row.criterion.replace("_", " "), f"{row.quantity} {row.key}", *cells])
        self.shows("answers to the criteria", rows)

    def enough(self):
        points, pairs = self.csv("embedding/map.csv"), self.csv("embedding/separability.csv")
        sizes = points["taxon"].value_counts()
        none = sizes.get("Unclassified", 0)
        placed, left = len(points) - none, (self.taxon == "Unclassified").sum()
        self.says("enough", f"{n(placed)} placed and {n(none)} of {n(left)} Unclassified CpGs")
        self.says("enough", f"as the network of round {len(self.rounds) - 1} sees them")
        for note in self.json("embedding/summary.json")["notes"]:
            self.says("enough", note)
        verdicts = {"apart": "a pattern of its own", "close": "some of it", "overlapping": "little"}
        rows = []
        for taxon in TAXA:
            mine = pairs[(pairs["taxon_a"] == taxon) | (pairs["taxon_b"] == taxon)]
            mine = mine.sort_values("balanced_accuracy", kind="stable", na_position="last")
            shown = [
                row for row in self.page.tables["how well each taxon is separated from its nearest"] if row[0] == taxon
            ]
            # Of others that are as hard to separate any may be named.
            ties = mine[(mine["balanced_accuracy"] == mine["balanced_accuracy"].iat[0])]
            ties = ties[(ties["taxon_a"] == shown[0][2]) | (ties["taxon_b"] == shown[0][2])]
            one = (ties if len(ties) else mine).iloc[0]
            nearest = one["taxon_a"] if one["taxon_b"] == taxon else one["taxon_b"]
            few = one["verdict"] == "too few"
            verdict = "not known: too few CpGs" if few else verdicts[one["verdict"]]
            numbers = [pc(one["balanced_accuracy"]), pc(one["low"])]
            rows.append([taxon, n(sizes.get(taxon, 0)), "–" if few else nearest, *numbers, verdict])
        self.shows("how well each taxon is separated from its nearest", rows)
        self.clusters(none)

    def clusters(self, none):
        found = pd.read_csv(self.results / "embedding/clusters.csv", keep_default_na=False)
        if found.empty:
            self.says("enough", "No clusters were found.")
            return
        candidates = int(found["name"].str.startswith("candidate").sum())
        members = self.csv("embedding/map.csv")["cluster"].notna().sum()
        self.says("enough", f"{n(members)} of the {n(none)} Unclassified CpGs lie in {len(found)} clusters")
        self.says("enough", f"{candidates or 'none'} of these")
        shown = self.page.tables.pop("clusters of Unclassified CpGs")[1:]
        for cells, row in zip(shown, found.itertuples(), strict=True):
            said = [n(row.n), dec(float(row.stability), 2), dec(float(row.isolation), 2)]
            assert cells[2:5] == said
            assert cells[0].rstrip("*") == str(row.cluster)
            assert (
                cells[1] == f"{row.name} {row.taxon_a} {pc(float(row.p_a), 0)}, {row.taxon_b} {pc(float(row.p_b), 0)}"
            )
            numbers = re.findall(r"-?\d+\.\d+", plain(row.stands_out))
            assert re.findall(r"-?\d+\.\d+", cells[6]) == numbers
        text = self.page.text["enough"]
        self.page.text["enough"] = re.sub(r"\b\d+(\*|:) [\w /]+?, [\d,]+ CpGs", self.a_cluster(found), text)

    def a_cluster(self, found):
        wanted = {f"{row.cluster}{mark} {row.name}, {n(row.n)} CpGs" for row in found.itertuples() for mark in "*:"}
        return lambda words: "·" if words[0] in wanted else words[0]

    def time(self):
        jobs = {}
        for path in (self.results / "benchmarks").glob("*.tsv"):
            if path.stem != "report":
                row = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[-1]
                jobs.setdefault(re.sub(r"_\d.*$", "", path.stem), []).append(
                    [row["s"], row["cpu_time"], row["max_rss"]]
                )
        jobs = {rule: np.array(found, dtype=float) for rule, found in jobs.items()}
        # Rules that end after the page was written are not on it.
        shown = {row[0]: row[1:] for row in self.page.tables.pop("run time and memory of the rules")[1:]}
        assert set(shown) <= set(jobs)
        total, largest, k = 0, 0, 0
        for rule, cells in shown.items():
            wall, cpu, rss = jobs[rule].T
            cpu = cpu[~np.isnan(cpu)]
            rss = rss[~np.isnan(rss)].max() if (~np.isnan(rss)).any() else np.nan
            wanted = [str(len(wall)), span(wall.sum()), span(wall.max()), span(cpu.sum() if len(cpu) else np.nan)]
            assert cells == [*wanted, size(rss)], (rule, cells, wanted)
            total, largest, k = total + wall.sum(), np.nanmax([largest, rss]), k + len(wall)
        for end in (";", " together, one after the other;"):
            self.says("time", f"{n(k)} jobs took {span(total)}{end} the largest needed {size(largest)}")

    def settings(self):
        shown = {row[0]: row[1] for row in self.page.tables.pop("checksums of the files read")[1:]}
        config, folder = self.page.config, self.results.parent
        for name, path in (("matrix", config["cohort"]["beta"]), ("samples", config["cohort"]["samples"])):
            assert shown[name] == hashlib.sha256((folder / path).read_bytes()).hexdigest()
        assert shown == self.json("cohort/qc.json")["sha256"]
        for name, version, _ in self.page.tables.pop("software versions")[1:]:
            assert version, name


def rightly(called, truth) -> np.ndarray:
    """Whether each taxon is one of the right ones of a CpG, (CpGs,) bool."""
    return np.array([taxon in names.split("|") for taxon, names in zip(called, truth["admissible"], strict=True)])


def wrong(found: dict) -> list[str]:
    """A round's calls that are wrong, as expected and at most."""
    if not found.get("threshold"):
        return ["–", "–"]
    expected, most, k = found["expected_error_rate"], found["error_rate_at_most"], found["placed"]
    if k >= 200:
        return [pc(expected), pc(most)]
    return [f"{expected * k:.1f} of {k}", f"{int(binom.ppf(0.95, k, max(most, expected))) if k else 0} of {k}"]


def numeral(value) -> str:
    """A statistic with three digits."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1e4 else f"{value:.1e}"


def span(seconds) -> str:
    if np.isnan(seconds):
        return "–"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds / 60 < 99.5 else f"{seconds / 3600:.1f} h"


def size(megabytes) -> str:
    if np.isnan(megabytes):
        return "–"
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


CONSTANTS = (
    "-log₁₀ p", "q < 0.05", "λ above 1 is", "224", "95 %", "90 % confidence 90 %", "90 % of ages", "float32",
    "probability of 90 % or more", "10 bins", "within 5 percentage points", "0.5 is mixed, 1 apart", "from 0.75",
    "from 0 below to 1 above", "Reference v1", "first two", "numbers: report/figures/", "Round 0", "Round 1", "SHA-256",
)  # fmt: skip


def unexplained(text: str) -> list[str]:
    """Numbers of a text that are no constants, each with what stands before it. Paths of files do not count."""
    for words in CONSTANTS:
        text = text.replace(words, " ")
    text = re.sub(r"\S*(_round_\d|results/|report/|\.csv|\.json|\.html)\S*", " ", text)
    return [
        text[max(0, found.start() - 60) : found.end() + 20] for found in re.finditer(r"(?<![A-Za-z_])\d[\d,.]*", text)
    ]

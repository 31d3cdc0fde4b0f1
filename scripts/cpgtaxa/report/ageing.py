"""Which CpGs change with age: what the report opens with, from the study of age (EWAS)."""

import urllib.parse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from cpgtaxa.input.positions import NAMES as CHROMOSOMES
from cpgtaxa.names import COLOURS, KNOWN, TAXA, UNCLASSIFIED
from cpgtaxa.pages.drawing import ACCENT, INK, MUTED, SECOND, minus_log, thinned
from cpgtaxa.report.words import percent
from cpgtaxa.statistics.age_ewas import LEVEL, NUMBERS
from cpgtaxa.wording import count, decimal, p_value, signed

TRENDS = ("LinAgeHomo", "LinAgeHet", "TriAge", "BiAge")
"""Taxa with a trend."""
TOP, TOP_OF_TAXON = 10, 10
"""CpGs in the tables of those that change most surely, over all and by taxon."""
LABELLED = 8
"""CpGs with their gene's name in the Manhattan plot, at most."""
MOST_ELEMENTS = 1500
"""Points drawn one by one; more become one picture within the figure."""
HIGH = 1.1
"""Inflation from which the page says what raises it."""


def _level_line(axes, table: pd.DataFrame, q: str, p: str) -> None:
    """A line at the largest p-value whose q is below LEVEL, where there is one."""
    below = table.loc[table[q] < LEVEL, p]
    if len(below):
        axes.axhline(minus_log([below.max()])[0], color=MUTED, lw=0.9, ls="--")


def volcano_figure(figures, table: pd.DataFrame):
    """Slope against −log10 p, a colour for each taxon. table: the study's rows that have a p-value."""
    shown = table.assign(minus_log10_p=minus_log(table["p"]))
    shown = thinned(shown, "slope_per_year", "minus_log10_p", "taxon")
    figure, axes = plt.subplots(figsize=(6.4, 3.5), layout="constrained", dpi=160)
    order = [UNCLASSIFIED, *sorted(TAXA, key=lambda taxon: -int((shown["taxon"] == taxon).sum()))]
    for taxon in order:
        mine = shown[shown["taxon"] == taxon]
        if len(mine):
            axes.scatter(
                mine["slope_per_year"],
                mine["minus_log10_p"],
                s=11,
                color=COLOURS[taxon],
                lw=0,
                alpha=0.75,
                label=taxon,
                rasterized=len(shown) > MOST_ELEMENTS,
            )
    _level_line(axes, table, "q", "p")
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.set(xlabel="change of beta per year", ylabel="−log10 p")
    axes.set_ylim(0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid()
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.1, handletextpad=0.2, fontsize=8)
    data = shown[["cpg", "taxon", "slope_per_year", "p", "q"]]
    return figures.save("volcano", figure, data, "Volcano plot of the study of age")


def qq_figure(figures, table: pd.DataFrame, summary: dict):
    """Observed against expected −log10 p, of the change in level and in spread."""
    figure, axes = plt.subplots(figsize=(3.6, 3.5), layout="constrained", dpi=160)
    parts = []
    for name, p, colour, marker in (("age", "p", ACCENT, "o"), ("spread", "het_p", SECOND, "^")):
        observed = np.sort(minus_log(table[p].dropna()))[::-1]
        if not len(observed):
            continue
        expected = minus_log((np.arange(len(observed)) + 0.5) / len(observed))
        part = thinned(pd.DataFrame({"of": name, "expected": expected, "observed": observed}), "expected", "observed")
        words = "level" if name == "age" else "spread"
        axes.scatter(
            part["expected"],
            part["observed"],
            s=10,
            marker=marker,
            color=colour,
            lw=0,
            label=f"{words}, λ = {summary[name]['inflation']:.2f}",
            rasterized=len(part) > MOST_ELEMENTS,
        )
        parts.append(part)
    most = max(part["expected"].max() for part in parts)
    axes.plot([0, most], [0, most], color=MUTED, lw=1, ls="--")
    axes.set(xlabel="expected −log10 p", ylabel="observed −log10 p", xlim=(0, None), ylim=(0, None))
    axes.grid()
    axes.legend(loc="upper left", handletextpad=0.3)
    return figures.save("qq", figure, pd.concat(parts), "QQ plot of the p-values")


def manhattan_figure(figures, table: pd.DataFrame):
    """−log10 p along the genome. table: the study's rows with a p-value and a position; None where there is none."""
    names = [f"chr{name}" for name in (*CHROMOSOMES, "M")]
    known = table[table["chromosome"].isin(names) & table["position"].notna()]
    if known.empty:
        return None
    lengths = (
        known.groupby("chromosome")["position"]
        .max()
        .reindex([name for name in names if name in set(known["chromosome"])])
    )
    starts = lengths.cumsum() - lengths + 2e7 * np.arange(len(lengths))
    shown = known.assign(minus_log10_p=minus_log(known["p"]))
    shown["along"] = shown["position"].astype(float) + shown["chromosome"].map(starts)
    drawn = thinned(shown, "along", "minus_log10_p")
    figure, axes = plt.subplots(figsize=(9.2, 3.1), layout="constrained", dpi=160)
    for at, name in enumerate(lengths.index):
        mine = drawn[drawn["chromosome"] == name]
        axes.scatter(
            mine["along"],
            mine["minus_log10_p"],
            s=8,
            lw=0,
            color=ACCENT if at % 2 == 0 else MUTED,
            rasterized=len(drawn) > MOST_ELEMENTS,
        )
    _level_line(axes, table, "q", "p")
    named = shown[(shown["q"] < LEVEL) & (shown["gene"] != "")].head(LABELLED)
    for row in named.itertuples():
        gene = row.gene.split(";")[0]
        axes.annotate(gene, (row.along, row.minus_log10_p), (3, 3), textcoords="offset points", fontsize=7.5, color=INK)
    axes.set_xticks(starts + lengths / 2, [name.removeprefix("chr") for name in lengths.index], fontsize=7.5)
    axes.set(xlabel="chromosome", ylabel="−log10 p")
    axes.set_ylim(0)
    axes.margins(x=0.01)
    axes.grid(axis="y")
    data = drawn[["cpg", "chromosome", "position", "gene", "p", "q"]]
    return figures.save("manhattan", figure, data, "Manhattan plot of the study of age")


def _row(one) -> dict:
    """A CpG as the tables show it; one: a row of the study."""
    found = {
        "cpg": one.cpg,
        "taxon": one.taxon,
        "link": "explorer.html#cpg=" + urllib.parse.quote(str(one.cpg), safe=""),
    }
    found |= {
        "slope": signed(one.slope_per_year, 5),
        "se": decimal(one.se, 5),
        "p": p_value(one.p),
        "q": p_value(one.q),
    }
    found |= {
        "ratio": decimal(one.sd_ratio, 2),
        "het_q": p_value(one.het_q),
        "gene": "",
        "place": "",
        "island": "",
        "flags": "",
    }
    if hasattr(one, "gene") and isinstance(one.gene, str):
        found["gene"] = ", ".join(one.gene.split(";")[:3])
    if hasattr(one, "position") and pd.notna(one.position) and isinstance(one.chromosome, str):
        found["place"] = f"{one.chromosome}:{int(one.position):,}"
    if hasattr(one, "island") and isinstance(one.island, str):
        found["island"] = one.island.replace("_", " ")
    if hasattr(one, "flags") and isinstance(one.flags, str):
        found["flags"] = one.flags.replace(";", ", ").replace("_", " ")
    return found


def read_ewas(path) -> pd.DataFrame:
    """The study's CSV: ids and words as text, empty where there are none."""
    words = dict.fromkeys(("cpg", "taxon", "chromosome", "gene", "island", "flags"), "str")
    empty = {name: [""] for name in ("position", *NUMBERS)}
    return pd.read_csv(path, dtype=words | {"position": "Int64"}, keep_default_na=False, na_values=empty)


def ageing_page(figures, path, summary: dict) -> dict:
    """What the page says of the study of age: numbers, figures, tables.

    path: of `age_ewas.csv.gz`. summary: what stands in `age_ewas.json`.
    """
    table = read_ewas(path)
    tested = table[table["p"].notna()].reset_index(drop=True)
    by_taxon, age, spread = summary["by_taxon"], summary["age"], summary["spread"]
    trends = sum(by_taxon[taxon]["age"] for taxon in TRENDS)
    most = sorted((taxon for taxon in by_taxon if by_taxon[taxon]["age"]), key=lambda taxon: -by_taxon[taxon]["age"])
    placed = "gene" in table
    page = {
        "model": summary["model"],
        "level": f"{summary['level']:g}",
        "tested": count(age["tested"]),
        "not_tested": summary["cpgs"] - age["tested"],
        "changing": count(age["changing"]),
        "share": percent(age["changing"] / max(age["tested"], 1)),
        "up": count(age["up"]),
        "down": count(age["changing"] - age["up"]),
        "spread": count(spread["changing"]),
        "wider": count(spread["up"]),
        "narrower": count(spread["changing"] - spread["up"]),
        "inflation": f"{age['inflation']:.2f}" if age["tested"] else "–",
        "inflated": bool(age["tested"]) and age["inflation"] >= HIGH,
        "with_trend": count(trends),
        "unclassified": count(by_taxon[UNCLASSIFIED]["age"]),
        "small": age["changing"] - trends - by_taxon[UNCLASSIFIED]["age"],
        "where": [(taxon, count(by_taxon[taxon]["age"])) for taxon in most],
        "any": age["changing"] > 0,
        "placed": placed,
        "rows": [
            {"taxon": taxon, **{key: count(by_taxon[taxon][key]) for key in ("cpgs", "age", "spread")}}
            for taxon in KNOWN
        ],
        "top": [_row(one) for one in tested.head(TOP).itertuples()],
        "tops": [
            (taxon, [_row(one) for one in mine.head(TOP_OF_TAXON).itertuples()])
            for taxon in KNOWN
            if len(mine := tested[tested["taxon"] == taxon])
        ],
        "volcano": None,
        "qq": None,
        "manhattan": None,
    }
    if len(tested):
        page["volcano"], page["qq"] = volcano_figure(figures, tested), qq_figure(figures, table, summary)
        page["manhattan"] = manhattan_figure(figures, tested) if placed else None
    return page

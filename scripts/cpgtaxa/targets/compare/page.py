"""The page of the target `compare`, and its figures.

The same inputs give the same bytes: no dates, fixed ids inside the figures.
"""

import itertools
import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from cpgtaxa.cohort import Cohort as Matrix
from cpgtaxa.cohort import read_samples
from cpgtaxa.errors import InputError
from cpgtaxa.images.render import png_text, render
from cpgtaxa.pages.drawing import ACCENT, INK, LINE, MUTED, SECOND, counts_grid, figures_in
from cpgtaxa.pages.page import write_page as write_html
from cpgtaxa.targets.compare.agreement import ALL
from cpgtaxa.targets.compare.pooling import VERDICTS
from cpgtaxa.targets.compare.reading import KNOWN, LEFT, Beside
from cpgtaxa.wording import NONE, count, decimal, p_value, percent, signed, span

DRAWN = 6
"""Pairs of cohorts that have figures of their own; the tables have all."""
POINTS = 3000
"""CpGs drawn of a pair's effects."""
KINDS = 14
"""Kinds of moves in the figure."""
COUNTED = ("cpgs", "placed", "cpgs_in_every_cohort", "cpgs_in_no_other", "replicates", "replicates_that_differ")
"""What the page reports of each cohort, by its name in the summary."""
MARKS = "osD^vP*Xhp<>d8H"
MEANINGS = {
    "agreed": "pooled probability high enough, and enough of the cohorts that placed it agree",
    "one cohort": "in a single cohort, whose taxon it keeps",
    "disputed": "too few of the cohorts that placed it agree; Unclassified",
    "unclear": "placed by some, but by too few, or with too low a pooled probability; Unclassified",
    "unplaced": "placed by none; Unclassified",
}


def _pairs(beside: Beside) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(len(beside.cohorts)), 2))


# Figures


def _rows_down(axes, names) -> None:
    """Names at the rows of a chart, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _contingency_figure(figures, counts: pd.DataFrame, a: str, b: str):
    """Taxa of cohort a (rows) in cohort b (columns); shade: share of the row."""
    one = counts[(counts["cohort_a"] == a) & (counts["cohort_b"] == b)]
    matrix = one["n"].to_numpy().reshape(len(KNOWN), len(KNOWN))
    figure, axes = plt.subplots(figsize=(6.6, 5.2))
    counts_grid(axes, matrix, KNOWN, KNOWN, b, a)
    for at in range(len(KNOWN)):
        axes.add_patch(Rectangle((at, at), 1, 1, fill=False, ec=INK, lw=1))
    return figures.save(f"contingency_{a}_{b}", figure, one, f"Taxa in {a} against taxa in {b}")


def _taxa_figure(figures, agreed: pd.DataFrame):
    """Positive agreement by taxon, a mark for each pair, with Unclassified counted as a taxon."""
    positive = agreed[(agreed["metric"] == "positive_agreement") & (agreed["unclassified"] == "yes")]
    positive = positive[positive["value"].notna()]
    figure, axes = plt.subplots(figsize=(6.6, 3.9))
    for at, taxon in enumerate(KNOWN):
        values = positive.loc[positive["taxon"] == taxon, "value"]
        if len(values):
            axes.plot([0, values.mean()], [at, at], color=LINE, lw=5, solid_capstyle="butt")
            axes.plot(values, [at] * len(values), "o", ms=6, mew=0, color=ACCENT, alpha=0.75)
    _rows_down(axes, KNOWN)
    axes.set(xlim=(0, 1.02), xlabel="positive agreement")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="x")
    return figures.save("agreement", figure, positive, "Positive agreement by taxon")


def _kinds(kinds: pa.Table) -> pd.DataFrame:
    """cohort_a, cohort_b, kind, n: how many CpGs moved how."""
    if not kinds.num_rows:
        return pd.DataFrame(columns=["cohort_a", "cohort_b", "kind", "n"])
    found = kinds.to_pandas().astype(str).groupby(["cohort_a", "cohort_b", "kind"]).size().rename("n").reset_index()
    return found.sort_values(["n", "cohort_a", "cohort_b", "kind"], ascending=[False, True, True, True])


def _kinds_figure(figures, table: pd.DataFrame):
    total = table.groupby("kind")["n"].sum().sort_values(ascending=False, kind="stable")
    shown = total[:KINDS]
    figure, axes = plt.subplots(figsize=(6.6, 0.27 * len(shown) + 0.8))
    axes.barh(
        range(len(shown)), shown, height=0.62, color=[MUTED if "Unclass" in kind else ACCENT for kind in shown.index]
    )
    for at, n in enumerate(shown):
        axes.text(n, at, f" {n:,}", va="center", fontsize=8.5)
    _rows_down(axes, shown.index)
    axes.set_xlabel("CpGs")
    axes.set_xlim(right=1.12 * shown.max())
    axes.grid(axis="x")
    return figures.save("moves", figure, table, "CpGs that moved, by kind of move")


def _pooled_figure(figures, beside: Beside, found: dict):
    """CpGs by taxon in each cohort, and pooled, of those in every cohort."""
    every = (beside.taxon >= 0).all(axis=1)
    columns = {name: np.bincount(beside.taxon[every, at], minlength=LEFT + 1) for at, name in enumerate(beside.names)}
    columns |= {"together": np.bincount(found["taxon"][every], minlength=LEFT + 1)}
    data = pd.DataFrame({"taxon": KNOWN} | columns)
    figure, axes = plt.subplots(figsize=(6.6, 4.1))
    for at, name in enumerate(beside.names):
        style = {"ms": 6, "mew": 1.1, "mfc": "none", "color": MUTED}
        axes.plot(columns[name], range(len(KNOWN)), MARKS[at % len(MARKS)], ls="none", label=name, **style)
    axes.plot(columns["together"], range(len(KNOWN)), "o", ms=7, mew=0, color=SECOND, ls="none", label="together")
    _rows_down(axes, KNOWN)
    axes.set_xlabel("CpGs")
    axes.set_xlim(left=0)
    axes.grid()
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figures.save("together", figure, data, "CpGs by taxon in each cohort and together")


def _effects_figure(figures, beside: Beside, a: int, b: int, seed: int):
    """Effects of age in two cohorts, of CpGs drawn at random; in colour those whose taxa differ."""
    rows = np.flatnonzero((beside.taxon[:, a] >= 0) & (beside.taxon[:, b] >= 0))
    one, other = (beside.column(at, beside.cohorts[at].statistics["effect"], rows) for at in (a, b))
    known = np.isfinite(one) & np.isfinite(other)
    rows, one, other = rows[known], one[known], other[known]
    if len(rows) < 3:
        return None, np.nan
    r = float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) and np.ptp(other) else np.nan
    chosen = np.sort(np.random.default_rng([seed, 67, a, b]).permutation(len(rows))[:POINTS])
    same = beside.taxon[rows, a] == beside.taxon[rows, b]
    names = beside.names[a], beside.names[b]
    data = pd.DataFrame({"cpg": beside.cpgs[rows[chosen]], names[0]: one[chosen], names[1]: other[chosen]})
    data["same_taxon"] = same[chosen]
    most = 1.05 * max(np.abs(one[chosen]).max(), np.abs(other[chosen]).max(), 1e-6)
    figure, axes = plt.subplots(figsize=(4.6, 4.3))
    axes.plot([-most, most], [-most, most], color=MUTED, lw=0.9, ls="--")
    for which, colour, label in ((same, ACCENT, "same taxon"), (~same, SECOND, "another taxon")):
        some = which[chosen]
        axes.plot(
            one[chosen][some],
            other[chosen][some],
            "o",
            ms=3.2,
            mew=0,
            alpha=0.5 if which is same else 0.9,
            color=colour,
            label=label,
            rasterized=len(chosen) > 1500,
        )
    axes.set(
        xlim=(-most, most), ylim=(-most, most), xlabel=f"effect of age, {names[0]}", ylabel=f"effect of age, {names[1]}"
    )
    axes.set_aspect("equal")
    axes.grid()
    axes.legend(loc="upper left")
    return figures.save(
        f"effects_{names[0]}_{names[1]}", figure, data, f"Effects of age in {names[0]} and {names[1]}"
    ), r


# Examples


def _pictures(beside: Beside, files: dict, cpgs: list) -> dict[tuple[str, str], str]:
    """Scatterplots of CpGs as base64 PNG, by cohort and CpG, for the cohorts whose matrices are there."""
    found = {}
    at_row = beside.cpgs.get_indexer(cpgs)
    for at, cohort in enumerate(beside.cohorts):
        some_files = files[cohort.name]
        rows = beside.rows[at_row, at]
        here = [(cpg, row) for cpg, row in zip(cpgs, rows, strict=True) if row >= 0]
        if "beta" not in some_files or "samples" not in some_files or not here:
            continue
        try:
            matrix = Matrix(some_files["beta"])
            ages = read_samples(some_files["samples"])["age"].to_numpy()
            codes = render(matrix.take(matrix.find(cohort.original[[row for _, row in here]])), ages)
        except InputError as error:  # pictures are an extra: another run's matrix may have been moved or changed
            logging.warning(f"no pictures of {cohort.name}: {error.problems[0]}")
            continue
        found |= {(cohort.name, cpg): png_text(code) for (cpg, _), code in zip(here, codes, strict=True)}
    return found


def _examples(beside: Beside, files: dict, shown: pd.DataFrame) -> list[dict]:
    cpgs = shown["cpg"].tolist()
    pictures = _pictures(beside, files, cpgs)
    cards = []
    for row in shown.to_dict("records"):
        sides = []
        for cohort in beside.cohorts:
            taxon = row[f"taxon_{cohort.name}"]
            if pd.isna(taxon):
                continue
            effect = row.get(f"effect_{cohort.name}", np.nan)
            sides.append(
                {
                    "cohort": cohort.name,
                    "taxon": taxon,
                    "confidence": percent(row[f"confidence_{cohort.name}"]),
                    "effect": signed(effect),
                    "p": p_value(row.get(f"slope_p_{cohort.name}", np.nan)),
                    "ratio": decimal(row.get(f"sd_ratio_{cohort.name}", np.nan), 2),
                    "png": pictures.get((cohort.name, row["cpg"])),
                }
            )
        cards.append({"cpg": row["cpg"], "kind": row["kind"], "sides": sides})
    return cards


# The page


def _pair_rows(agreed: pd.DataFrame) -> list[dict]:
    rows = []
    whole = agreed[agreed["taxon"] == ALL]
    for (a, b), some in whole.groupby(["cohort_a", "cohort_b"], sort=False):
        metrics = some.set_index(["unclassified", "metric"])

        def text(key, show, metrics=metrics):
            one = metrics.loc[key]
            return {"value": show(one["value"]), "range": span(one["ci_low"], one["ci_high"], show)}

        rows.append(
            {
                "name": "all together (Fleiss’ κ)" if a == ALL else f"{a}, {b}",
                "shared": count(metrics.loc[("yes", "shared"), "value"]),
                "placed": count(metrics.loc[("no", "both_placed"), "value"]),
                "equal": text(("yes", "equal"), lambda v: percent(v, 1)),
                "kappa": text(("yes", "kappa"), decimal),
                "equal_placed": text(("no", "equal"), lambda v: percent(v, 1)),
                "kappa_placed": text(("no", "kappa"), decimal),
            }
        )
    return rows


def _draw(beside: Beside, folder, counts, agreed, moved, found, seed: int) -> tuple[dict, list, list]:
    """Draw all figures into a folder: those of the page by name, contingency tables, effects of pairs of cohorts."""
    pairs, effects = _pairs(beside), []
    with figures_in(folder) as figures:
        tables = [
            {"name": names, "drawing": _contingency_figure(figures, counts, *names)}
            for names in [(beside.names[a], beside.names[b]) for a, b in pairs[:DRAWN]]
        ]
        drawn = {"taxa": _taxa_figure(figures, agreed), "together": _pooled_figure(figures, beside, found)}
        drawn["moves"] = _kinds_figure(figures, moved) if len(moved) else None
        with_effects = [(a, b) for a, b in pairs if beside.cohorts[a].statistics and beside.cohorts[b].statistics]
        for a, b in with_effects[:DRAWN]:
            drawing, r = _effects_figure(figures, beside, a, b, seed)
            if drawing:
                name = f"{beside.names[a]}, {beside.names[b]}"
                effects.append({"name": name, "drawing": drawing, "r": decimal(r, 2)})
    return drawn, tables, effects


def _cohort_row(cohort, files, values: pd.Series) -> dict:
    """A row of the table of cohorts. values: of the summary, by cohort and metric."""
    counts = {name: count(values[cohort.name, name]) for name in COUNTED}
    return counts | {
        "name": cohort.name,
        "file": files[cohort.name]["taxonomy"],
        "share": percent(values[cohort.name, "placed"] / len(cohort.cpgs), 1),
        "statistics": bool(cohort.statistics),
        "probabilities": percent(np.isfinite(cohort.p).all(axis=1).mean()),
    }


def _verdict(found: pd.DataFrame, at: int, name: str, n_cpgs: int) -> dict:
    """How many CpGs have a verdict."""
    n = (found["verdict"] == at).sum()
    return {"name": name, "meaning": MEANINGS[name], "n": count(n), "share": percent(n / n_cpgs, 1)}


def _meta(found: pd.DataFrame, values: pd.Series) -> dict | None:
    """What the meta-analysis found; None without one."""
    if "i2" not in found or not np.isfinite(found["i2"]).any():
        return None
    i2, p = (found[name][np.isfinite(found[name])] for name in ("i2", "q_p"))
    return {
        "n": count(len(i2)),
        "significant": count(values[ALL, "meta_significant"]),
        "i2": percent(np.median(i2)),
        "high": percent((i2 > 0.75).mean(), 1),
        "differ": percent((p < 0.05).mean(), 1),
    }


def write_page(
    beside: Beside, files, outputs, counts, agreed, kinds, shown, found, summary, *, settings: dict, seed: int
) -> None:
    """Draw the figures (SVG, PDF and CSV) and write the page. Arguments are what `study.compare` has made.

    shown: the moved CpGs to show in detail; kinds: cohort_a, cohort_b, kind … of all that moved.
    """
    pairs, moved = _pairs(beside), _kinds(kinds)
    drawn, tables, effects = _draw(beside, outputs["figures"], counts, agreed, moved, found, seed)
    values = summary.set_index(["cohorts", "metric"])["value"]
    several = found["n_cohorts"] > 1
    rows = _pair_rows(agreed)
    page = {
        "cohorts": [_cohort_row(cohort, files, values) for cohort in beside.cohorts],
        "rows": rows,
        "best": rows[-1],
        "tables": tables,
        "more_pairs": len(pairs) - len(tables),
        "drawn": drawn,
        "effects": effects,
        "meta": _meta(found, values),
        "moved": len(moved) > 0,
        "more_kinds": max(moved["kind"].nunique() - KINDS, 0),
        "n_moved": count(moved["n"].sum()),
        "verdicts": [_verdict(found, at, name, len(beside.cpgs)) for at, name in enumerate(VERDICTS)],
        "n_several": count(several.sum()),
        "n_every": count((beside.taxon >= 0).all(axis=1).sum()),
        "n_given": count((several & (found["taxon"] < LEFT)).sum()),
        "examples": _examples(beside, files, shown),
        "settings": settings | {key: percent(settings[key]) for key in ("probability", "agreement", "support")},
        "replicates": any(cohort.replicates for cohort in beside.cohorts),
        "dash": NONE,
    }
    write_html(outputs["html"], "compare.html.j2", page)

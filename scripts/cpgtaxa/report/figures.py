"""The report's figures of taxa, rounds and tests."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from cpgtaxa.names import COLOURS, KNOWN, TAXA, UNCLASSIFIED
from cpgtaxa.pages.drawing import ACCENT, LINE, MUTED, SECOND, counts_grid
from cpgtaxa.report.tables import BINS
from cpgtaxa.report.words import stage_name
from cpgtaxa.wording import count


def taxa_figure(figures, counts, config):
    order = list(dict.fromkeys(counts["stage"]))
    numbers = counts.pivot(index="taxon", columns="stage", values="n_cpgs").loc[list(KNOWN), order]
    added = numbers.diff(axis=1)
    added[order[0]] = numbers[order[0]]
    added.loc[UNCLASSIFIED] = 0
    shades = dict(zip(order, np.linspace(1, 0.3, len(order)) if len(order) > 1 else [1.0], strict=True))
    figure, axes = plt.subplots(figsize=(5.2, 3.7))
    for row, taxon in enumerate(KNOWN):
        left = 0
        for stage in order:
            width = added.loc[taxon, stage]
            axes.barh(row, width, left=left, height=0.72, color=COLOURS[taxon], alpha=shades[stage])
            left += width
        if taxon == UNCLASSIFIED:
            left = numbers.loc[taxon, order[-1]]
            axes.barh(row, left, height=0.72, color=COLOURS[taxon])
        axes.annotate(count(left), (left, row), xytext=(4, 0), textcoords="offset points", va="center", color=MUTED)
    axes.set_yticks(range(len(KNOWN)), KNOWN)
    axes.invert_yaxis()
    axes.set_xlabel("CpGs")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(x=0.1)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    handles = [Patch(color=MUTED, alpha=shades[stage], lw=0, label=stage_name(stage, config)) for stage in order]
    axes.legend(
        handles=handles,
        ncols=min(len(order), 4),
        handlelength=1.2,
        columnspacing=1.2,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.2,
    )
    data = added.rename_axis(index="taxon").reset_index().melt("taxon", var_name="source", value_name="n_cpgs")
    left_over = pd.DataFrame(
        {"taxon": [UNCLASSIFIED], "source": "none", "n_cpgs": [numbers.loc[UNCLASSIFIED, order[-1]]]}
    )
    data = pd.concat([data[data["taxon"] != UNCLASSIFIED], left_over])
    return figures.save("taxa", figure, data.astype({"n_cpgs": int}), "CpGs per taxon, by what placed them")


def training_figure(figures, number, log):
    if not len(log):
        return None
    figure, panels = plt.subplots(1, 2, figsize=(6.6, 2.1), layout="constrained")
    for axes, kind, title in zip(panels, ("loss", "acc"), ("loss", "accuracy"), strict=True):
        marker = "o" if len(log) < 3 else None
        axes.plot(log["epoch"], log[f"train_{kind}"], color=MUTED, lw=1.4, label="training", marker=marker)
        axes.plot(log["epoch"], log[f"val_{kind}"], color=ACCENT, lw=1.8, label="validation", marker=marker)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid()
    panels[1].yaxis.set_major_formatter(PercentFormatter(1))
    panels[1].legend(loc="lower right")
    return figures.save(f"training_round_{number}", figure, log, f"Training curves of round {number}")


def confusion_figure(figures, name, matrix, rows, columns, title, ylabel, xlabel):
    """matrix: (rows, columns) counts; a cell shows its count and, beneath, its share of the row, as its shade does."""
    matrix = np.asarray(matrix)
    figure, axes = plt.subplots(figsize=(0.5 * len(columns) + 1.3, 0.44 * len(rows) + 1.2))
    counts_grid(axes, matrix, rows, columns, xlabel, ylabel, shares=True)
    data = pd.DataFrame(matrix, columns=list(columns))
    data.insert(0, "actual", list(rows))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    data = pd.concat([data, pd.DataFrame(share, columns=[f"share_{column}" for column in columns])], axis=1)
    return figures.save(name, figure, data, title)


def reliability_figure(figures, tables):
    """tables: by round, of `tables.reliability`. Accuracy with its interval above, numbers of images beneath."""
    figure, (axes, below) = plt.subplots(
        2, 1, figsize=(4.2, 4.9), sharex=True, height_ratios=(3.4, 1), layout="constrained"
    )
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", label="perfect calibration")
    # Shade and mark distinguish the rounds, the last one strongest.
    shades = np.linspace(0.4, 1, len(tables)) if len(tables) > 1 else [1.0]
    width = 0.8 / max(len(tables), 1) / BINS
    for at, ((number, table), alpha) in enumerate(zip(tables.items(), shades, strict=True)):
        colour = ACCENT if at == len(tables) - 1 else SECOND
        reach = np.abs(np.stack([table["accuracy"] - table["low"], table["high"] - table["accuracy"]]))
        axes.errorbar(
            table["confidence"], table["accuracy"], yerr=reach, color=colour, alpha=alpha, lw=1.6, elinewidth=1,
            capsize=2.5, marker=_MARKS[at % len(_MARKS)], ms=4.5, label=f"round {number}",
        )  # fmt: skip
        left = table["bin_from"] + 0.1 / BINS + at * width
        below.bar(left, table["n"], width=width, align="edge", color=colour, alpha=alpha, lw=0)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.03), ylabel="share that is right")
    below.set(xlabel="confidence of the network", ylabel="images")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for one in (axes, below):
        one.grid()
        one.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="upper left")
    data = pd.concat([table.assign(round=number) for number, table in tables.items()])
    data = data[["round", "bin_from", "bin_to", "confidence", "accuracy", "low", "high", "n"]]
    return figures.save("reliability", figure, data, "Reliability of the networks' confidence, and images per bin")


_MARKS = "osD^v"


def flow_figure(figures, flows: pd.DataFrame, counts: pd.DataFrame, config):
    """CpGs by taxon after each stage as bars, and how they flow to the next (a Sankey diagram).

    flows: of `tables.flow`. counts: of `tables.count_taxa`. Bars are as high as CpGs are many, with gaps between taxa.
    """
    order = list(dict.fromkeys(counts["stage"]))
    numbers = counts.pivot(index="taxon", columns="stage", values="n_cpgs").loc[list(KNOWN), order]
    total = max(int(numbers[order[0]].sum()), 1)
    gap, thick = 0.022, 0.09
    present = [taxon for taxon in KNOWN if numbers.loc[taxon].any()]
    places = {}
    for column, stage in enumerate(order):
        top = 0.0
        for taxon in present:
            height = numbers.loc[taxon, stage] / total
            places[column, taxon] = [top, height]
            top += height + gap
    span = 1 + gap * (len(present) - 1)
    figure, axes = plt.subplots(figsize=(min(max(3.6 + 1.5 * len(order), 6.6), 11), 4.9))
    out = {key: top for key, (top, _) in places.items()}
    into = dict(out)
    columns = {stage: column for column, stage in enumerate(order)}
    # Those that stay come first, so that what leaves Unclassified leaves from its upper edge, nearest to the taxa.
    ordered = flows.assign(stays=flows["from_taxon"].astype(str) == flows["to_taxon"].astype(str))
    for row in pd.concat([ordered[~ordered["stays"]], ordered[ordered["stays"]]]).itertuples():
        column, height = columns[row.from_stage], row.n_cpgs / total
        start, end = (column, row.from_taxon), (column + 1, row.to_taxon)
        # What arrives anew lies beneath what was there.
        arrives = into[end] if row.stays else places[end][0] + places[end][1] - height
        _ribbon(axes, column + thick, column + 1 - thick, out[start], arrives, height, row.to_taxon, row.stays)
        out[start] += height
    for (column, taxon), (top, height) in places.items():
        axes.add_patch(Rectangle((column - thick, top), 2 * thick, height, color=COLOURS[taxon], lw=0))
    for column, side in ((0, "right"), (len(order) - 1, "left")):
        middles = [places[column, taxon][0] + places[column, taxon][1] / 2 for taxon in present]
        for taxon, middle, y in zip(present, middles, _spread(middles, span / 19), strict=True):
            x = column + (-thick if side == "right" else thick) * 1.25
            text = f"{taxon}  {count(numbers.loc[taxon, order[column]])}"
            away = column + (-1 if side == "right" else 1) * (thick * 1.25 + 0.06)
            axes.plot([x, away], [middle, y], color=LINE, lw=0.8, solid_capstyle="butt")
            axes.text(away, y, f" {text} ", ha=side, va="center", fontsize=8.5)
    for column, stage in enumerate(order):
        axes.text(column, -0.03, stage_name(stage, config), ha="center", va="bottom", color=MUTED, fontsize=9)
    room = 0.16 + 0.28 * (len(order) - 1)
    axes.set(xlim=(-room, len(order) - 1 + room), ylim=(max(span, _spread(middles, span / 19)[-1]) + 0.02, -0.08))
    axes.set_axis_off()
    return figures.save("flow", figure, flows, "How the CpGs flow from Unclassified to the taxa, round by round")


def _ribbon(axes, left, right, start, end, height, taxon, stays) -> None:
    """A band from (left, start) to (right, end), as wide as `height`, bent like an S."""
    middle = (left + right) / 2
    path = Path(
        [
            (left, start),
            (middle, start),
            (middle, end),
            (right, end),
            (right, end + height),
            (middle, end + height),
            (middle, start + height),
            (left, start + height),
            (left, start),
        ],
        [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY],
    )
    axes.add_patch(PathPatch(path, facecolor=COLOURS[taxon], alpha=0.22 if stays else 0.6, lw=0))


def _spread(middles: list[float], apart: float) -> list[float]:
    """Heights of labels at these, ascending, or below, so that they are at least so far apart."""
    found = []
    for middle in middles:
        found.append(max(middle, found[-1] + apart) if found else middle)
    return found


def truth_figure(figures, taxonomy, truth):
    table = truth.merge(taxonomy[["cpg", "taxon"]], on="cpg", suffixes=("_true", ""))
    boundary = (table["kind"] != "") | (table["taxon_true"] == UNCLASSIFIED)
    kind = "boundary: " + table["kind"].where(table["kind"] != "", "any")
    table["actual"] = table["taxon_true"].where(~boundary, kind)
    present = [taxon for taxon in TAXA if (table["actual"] == taxon).any()]
    rows = present + sorted(table.loc[boundary, "actual"].unique())
    if not rows:
        return None
    matrix = pd.crosstab(table["actual"], table["taxon"]).reindex(index=rows, columns=KNOWN, fill_value=0)
    title = "True taxon against the taxon given"
    return confusion_figure(figures, "truth", matrix.to_numpy(), rows, KNOWN, title, "true taxon", "taxon given")

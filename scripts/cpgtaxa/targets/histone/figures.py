"""The figures of the page of the target `histone`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, MUTED, SECOND, interval_row, legend_above, named_rows, spread
from cpgtaxa.statistics.areas import roc
from cpgtaxa.targets.histone.plan import MIX
from cpgtaxa.targets.histone.results import distance_of, words
from cpgtaxa.targets.histone.scores import Scored

PANELS = 6
"""Cell types drawn on their own; the numbers of all are in the tables."""
NAMED = 60
"""Cell types beyond which a figure does not name each."""
ROC_POINTS = 200
"""Points of a curve as it is drawn."""
MODEL_COLOURS = (ACCENT, SECOND, *(COLOURS[name] for name in ("TriAge", "NonAgeHet", "BiAge")), MUTED)


def models_figure(figures, scored: list[Scored]):
    """Mean areas with their intervals; small points are cell types."""
    figure, axes = plt.subplots(figsize=(5.8, 0.42 * len(scored) + 0.8))
    for row, one in enumerate(scored):
        values = one.cells["auc"].to_numpy()
        aside = spread(len(values), 0.36 if len(values) > 1 else 0)
        axes.plot(values, row + aside, "o", ms=3, mew=0, color=MUTED, alpha=0.55)
        colour = ACCENT if not one.model.endswith(f"_{MIX}") else SECOND
        interval_row(axes, row, one.mean, one.interval(), colour)
    named_rows(axes, [words(one.model) for one in scored])
    axes.set(xlabel="area under the ROC curve")
    low = min(0.5, *(one.cells["auc"].min() for one in scored))
    axes.set_xlim(low - 0.02, 1.01)
    axes.axvline(0.5, color=MUTED, lw=0.8, ls="--")
    data = pd.concat([one.cells.assign(model=one.model) for one in scored], ignore_index=True)
    return figures.save("models", figure, data, "Area under the ROC curve by model")


def cells_figure(figures, scored: list[Scored], colours: dict):
    """Areas by cell type, ordered by the first model's."""
    first = scored[0].cells
    order = first.sort_values("auc", ascending=False, kind="stable")["cell"].tolist()
    width = min(5.8, 2.2 + 0.28 * len(order)) if len(order) <= 12 else min(11.0, 2 + 0.17 * len(order))
    figure, axes = plt.subplots(figsize=(max(width, 4.4), 3.0))
    for number, one in enumerate(scored):
        table = one.cells.set_index("cell").loc[order]
        x = np.arange(len(order)) + 0.13 * (number - (len(scored) - 1) / 2) * (len(order) <= 12)
        if len(order) <= 12:
            axes.vlines(x, table["ci_low"], table["ci_high"], color=colours[one.model], lw=1.2)
        axes.plot(x, table["auc"], "o", ms=4.5 if len(order) <= 12 else 3.2, color=colours[one.model],
                  label=words(one.model))  # fmt: skip
    named = len(order) <= NAMED
    axes.set_xticks(range(len(order)) if named else [], order if named else [], rotation=90 if len(order) > 8 else 0)
    axes.set(ylabel="area under the ROC curve", xlim=(-0.6, len(order) - 0.4))
    axes.grid(axis="y")
    legend_above(axes, 3, handletextpad=0.2, fontsize=8)
    data = pd.concat([one.cells.assign(model=one.model) for one in scored], ignore_index=True)
    return figures.save("cells", figure, data, "Area under the ROC curve by cell type")


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most ROC_POINTS points of a curve, its ends among them."""
    if len(x) <= ROC_POINTS:
        return x, y
    at = np.unique(np.linspace(0, len(x) - 1, ROC_POINTS).round().astype(int))
    return x[at], y[at]


def roc_figure(figures, found: dict[str, pd.DataFrame], cells: list[str], colours: dict):
    """ROC curves of some cell types, a panel each."""
    columns = min(3, len(cells))
    lines = -(-len(cells) // columns)
    figure, panels = plt.subplots(lines, columns, figsize=(2.6 * columns + 0.5, 2.7 * lines + 0.3), squeeze=False)
    rows = []
    for number, axes in enumerate(panels.flat):
        if number >= len(cells):
            axes.set_visible(False)
            continue
        cell = cells[number]
        axes.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls="--")
        for model, table in found.items():
            some = table[table["cell"] == cell]
            x, y = roc(some["probability"].to_numpy(), some["label"].to_numpy() == 1)
            x, y = _thin(x, y)
            axes.plot(x, y, color=colours[model], lw=1.4, drawstyle="steps-post", label=words(model))
            rows.append(pd.DataFrame({"cell": cell, "model": model, "false_positive": x, "true_positive": y}))
        axes.set_title(cell)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_aspect("equal")
        axes.grid()
        if number % columns == 0:
            axes.set_ylabel("high genes called high")
        if number >= len(cells) - columns:
            axes.set_xlabel("low genes called high")
    handles, names = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    figure.tight_layout()
    return figures.save("roc", figure, pd.concat(rows, ignore_index=True), "ROC curves")


def training_figure(figures, logs: pd.DataFrame, colours: dict):
    """Loss and AUC by epoch: thin lines are single cell types, thick ones their mean."""
    models = list(pd.unique(logs["model"]))
    figure, panels = plt.subplots(2, len(models), figsize=(1.9 * len(models) + 0.8, 4.0), squeeze=False, sharex=True)
    for column, model in enumerate(models):
        some = logs[logs["model"] == model]
        for axes, score_name in zip(panels[:, column], ("loss", "auc"), strict=True):
            for part, colour, style in (("train", MUTED, "--"), ("val", colours[model], "-")):
                name = f"{part}_{score_name}"
                for _, one in list(some.groupby("unit", sort=False))[:NAMED]:
                    axes.plot(one["epoch"], one[name], color=colour, lw=0.7, ls=style, alpha=0.35)
                mean = some.groupby("epoch")[name].mean()
                label = "training" if part == "train" else "validation"
                axes.plot(mean.index, mean, color=colour, lw=1.8, ls=style, label=label)
            axes.grid(axis="y")
            axes.margins(x=0.04)
        panels[0, column].set_title(words(model), fontsize=9)
        panels[1, column].set_xlabel("epoch")
    for row, (name, lines) in enumerate((("loss", panels[0]), ("AUC", panels[1]))):
        lines[0].set_ylabel(name)
        column = "loss" if row == 0 else "auc"
        every = logs[[f"train_{column}", f"val_{column}"]].to_numpy()
        low, high = np.nanmin(every), np.nanmax(every)
        pad = 0.05 * (high - low) or 0.05
        for number, axes in enumerate(lines):
            axes.set_ylim(low - pad, high + pad)
            if number:
                axes.set_yticklabels([])
    panels[0, 0].legend(loc="lower left", fontsize=7, handlelength=1.6)
    figure.tight_layout()
    data = logs[["model", "unit", *(name for name in logs if name not in ("model", "unit"))]]
    return figures.save("training", figure, data, "Training curves")


SHADES = LinearSegmentedColormap.from_list("effect", [SECOND, "#f7f5ef", ACCENT])


def map_figure(figures, name: str, table: pd.DataFrame, title: str, bins: int, size: int, planted=None):
    """A map: marks in rows, bins across; blue speaks for high expression, orange against; planted: outlines."""
    marks = list(pd.unique(table["mark"]))
    starts = np.sort(pd.unique(table["bin_from"]))
    grid = table.pivot(index="mark", columns="bin_from", values="signed").loc[marks, starts].to_numpy()
    sizes = table.pivot(index="mark", columns="bin_from", values="change").loc[marks, starts].to_numpy()
    edges = np.append(starts, table["bin_to"].max() + 1) - 0.5
    edges = distance_of(edges, edges, bins, size) / 1000
    figure, (upper, axes) = plt.subplots(
        2, 1, figsize=(6.6, 0.36 * len(marks) + 2.3), height_ratios=[1.3, 0.36 * len(marks)], sharex=True
    )
    middle = (edges[:-1] + edges[1:]) / 2
    chosen = sorted(range(len(marks)), key=lambda row: -sizes[row].max())[:3]
    for row, colour in zip(sorted(chosen), MODEL_COLOURS[2:5], strict=False):
        upper.plot(middle, sizes[row], color=colour, lw=1.3, label=marks[row], drawstyle="steps-mid")
    upper.set_ylabel("change")
    upper.set_ylim(bottom=0)
    upper.grid(axis="y")
    upper.legend(loc="upper left", bbox_to_anchor=(1, 1.1), borderaxespad=0.2, fontsize=8, handlelength=1.4)
    most = np.abs(grid).max() or 1.0
    drawn = axes.pcolormesh(
        edges, np.arange(len(marks) + 1), grid, cmap=SHADES, vmin=-most, vmax=most, rasterized=False
    )
    drawn.set_edgecolor("face")
    drawn.set_linewidth(0.2)
    for one in upper, axes:
        one.axvline(0, color=MUTED, lw=0.8, ls="--")
    if planted is not None:
        for row in planted[planted["mark"].isin(marks)].itertuples():
            ends = distance_of(*(np.array([row.bin_from - 0.5, row.bin_to + 0.5]),) * 2, bins, size) / 1000
            at = marks.index(row.mark)
            box = [ends[0], ends[1], ends[1], ends[0], ends[0]], [at, at, at + 1, at + 1, at]
            axes.plot(*box, color="#111111", lw=1.1)
    axes.set_yticks(np.arange(len(marks)) + 0.5, marks)
    axes.set_ylim(len(marks), 0)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("distance from the gene's start in kb (upstream negative)")
    for side in axes.spines.values():
        side.set_visible(False)
    bar = figure.colorbar(drawn, cax=axes.inset_axes([1.02, 0, 0.02, 1]))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7)
    upper.set_title(title)
    return figures.save(name, figure, table, f"What {title} looks at")

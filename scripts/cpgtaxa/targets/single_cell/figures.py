"""The figures of the page of the target `single_cell`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, INK, MUTED, SECOND, legend_above, named_rows
from cpgtaxa.targets.single_cell.motifs import Motif, logo
from cpgtaxa.targets.single_cell.truth import RATE, TRUE
from cpgtaxa.wording import short, signed

LABELS = {
    "joint": "Joint network",
    "dna": "DNA network",
    "cpg": "CpG network",
    "random_forest": "Random forest",
    "window_mean": "Window mean",
    TRUE: "True probabilities",
    RATE: "Mean of the cell",
    "kmers": "k-mers",
}
MODEL_COLOURS = {"joint": ACCENT, "dna": COLOURS["TriAge"], "cpg": COLOURS["NonAgeHet"], "random_forest": SECOND}
MODEL_COLOURS |= {"window_mean": MUTED, TRUE: INK}
FEW_WINDOWS = 10
"""Windows of about one rate below which their variance is not drawn."""
NAMED_CELLS = 30
"""Cells beyond which the figure gives no names, and tables are closed."""
LOGOS = 4
"""Motifs shown of either sign."""


def label(model: str) -> str:
    return LABELS.get(model, model)


def spoken(model: str) -> str:
    """As `label`, within a sentence."""
    article = "the " if model in ("random_forest", "window_mean") else ""
    return article + label(model).lower() if article or model == "joint" else label(model)


def _rows_axes(rows: float):
    return plt.subplots(figsize=(6.0, 0.34 * rows + 0.75))


def models_figure(figures, table: pd.DataFrame):
    """AUC with intervals; table: rows of the summary, best first."""
    figure, axes = _rows_axes(len(table))
    for row, one in enumerate(table.itertuples()):
        colour = MODEL_COLOURS.get(one.model, MUTED)
        axes.plot([one.ci_low, one.ci_high], [row, row], color=colour, lw=2.2, solid_capstyle="butt")
        axes.plot([one.value], [row], "o", ms=7, color=colour, mfc="none" if one.model == TRUE else colour)
    named_rows(axes, [label(model) for model in table["model"]], 0.55)
    axes.set(xlabel="AUC, mean over the cells")
    axes.margins(x=0.06)
    return figures.save("models", figure, table, "AUC of the models with 95 % intervals")


def cells_figure(figures, wide: pd.DataFrame, chosen: str):
    """AUC of each cell by model; wide: cells by models."""
    named = len(wide) <= NAMED_CELLS
    if not named:
        wide = wide.sort_values(chosen, kind="stable")
    figure, axes = plt.subplots(figsize=(6.4, 3.0))
    spread = min(0.09, 0.5 / wide.shape[1]) if named else 0
    for number, model in enumerate(wide):
        x = np.arange(len(wide)) + spread * (number - (wide.shape[1] - 1) / 2)
        style = {"zorder": 3 if model == chosen else 2, "ms": 5.5 if named else 3.2, "mew": 0}
        axes.plot(x, wide[model], "o", color=MODEL_COLOURS.get(model, MUTED), label=label(model), alpha=0.85, **style)
    if named:
        long = max(map(len, wide.index)) * len(wide) > 60
        turn = {"rotation": 40, "ha": "right"} if long else {}
        axes.set_xticks(range(len(wide)), [short(cell, 16) for cell in wide.index], **turn)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(wide):,} cells, in the order of {label(chosen)}")
    axes.set(ylabel="AUC", xlim=(-0.7, len(wide) - 0.3))
    axes.grid(axis="y")
    legend_above(axes, 3, handletextpad=0.2)
    return figures.save("cells", figure, wide.reset_index(), "AUC of each cell by model")


def annotations_figure(figures, table: pd.DataFrame):
    """AUC within annotations; table: model, annotation and the columns of the summary."""
    names = list(pd.unique(table["annotation"]))
    models = list(pd.unique(table["model"]))
    figure, axes = _rows_axes(len(names) * max(1, len(models) / 2.5))
    step = 0.7 / max(len(models), 2)
    for number, model in enumerate(models):
        some = table[table["model"] == model].set_index("annotation").reindex(names)
        y = np.arange(len(names)) + step * (number - (len(models) - 1) / 2)
        colour = MODEL_COLOURS.get(model, MUTED)
        axes.hlines(y, some["ci_low"], some["ci_high"], color=colour, lw=1.8)
        axes.plot(some["value"], y, "o", ms=5, color=colour, label=label(model))
    named_rows(axes, ["everywhere" if name == "all" else short(name, 24) for name in names], 0.6)
    axes.set(xlabel="AUC, mean over the cells")
    legend_above(axes, 3, handletextpad=0.2)
    return figures.save("annotations", figure, table, "AUC within annotations")


def calibration_figure(figures, table: pd.DataFrame, model: str):
    figure, (axes, below) = plt.subplots(
        2, 1, figsize=(4.2, 4.7), sharex=True, gridspec_kw={"height_ratios": [4, 1], "hspace": 0.1}
    )
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
    axes.plot(table["predicted"], table["observed"], "o-", ms=4.5, lw=1.4, color=ACCENT)
    axes.set(ylabel="share methylated", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid()
    below.bar((table["from"] + table["to"]) / 2, table["n"], width=0.8 / len(table), color=ACCENT)
    below.set(xlabel="predicted probability", ylabel="states")
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figures.save("calibration", figure, table, f"Observed against predicted share methylated, {label(model)}")


def training_figure(figures, networks: dict[str, dict]):
    """Loss and AUC by epoch, a column per network."""
    figure, panels = plt.subplots(
        2, len(networks), figsize=(2.5 * len(networks) + 0.9, 4.2), sharex="col", squeeze=False
    )
    for column, (part, one) in zip(panels.T, networks.items(), strict=True):
        log = one["log"]
        kept = log.loc[log["val_loss"].idxmin()] if log["val_loss"].notna().any() else None
        for axes, key in zip(column, ("loss", "auc"), strict=True):
            for which, colour in (("train", MUTED), ("val", ACCENT)):
                if f"{which}_{key}" in log:
                    words = {"train": "training", "val": "validation"}[which]
                    axes.plot(log["epoch"], log[f"{which}_{key}"], "o-", ms=3, lw=1.4, color=colour, label=words)
            if kept is not None and f"val_{key}" in log:
                axes.plot([kept["epoch"]], [kept[f"val_{key}"]], "o", ms=8, mfc="none", mec=SECOND, mew=1.5)
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        column[0].set_title(label(part))
        column[1].set_xlabel("epoch")
    panels[0, 0].set_ylabel("loss")
    panels[1, 0].set_ylabel("AUC")
    panels[1, 0].legend(loc="lower right", fontsize=8)
    figure.align_ylabels()
    figure.tight_layout()
    data = pd.concat([one["log"].assign(network=part) for part, one in networks.items()], ignore_index=True)
    return figures.save("training", figure, data, "Loss and AUC by epoch")


def logos_figure(figures, table: pd.DataFrame, motifs: list[Motif]):
    """Logos of the filters that go most with methylation and against it; None where there is none."""
    known = table[[motif.pwm is not None for motif in motifs]].dropna(subset=["correlation"])
    order = known.sort_values("correlation", kind="stable", ascending=False)
    signs = [order[order["correlation"] > 0].head(LOGOS), order[order["correlation"] < 0].iloc[::-1].head(LOGOS)]
    rows = max(map(len, signs))
    if rows == 0:
        return None
    by_filter = {motif.filter: motif for motif in motifs}
    figure, panels = plt.subplots(rows, 2, figsize=(6.6, 1.35 * rows), squeeze=False)
    for column, some in zip(panels.T, signs, strict=True):
        for axes, row in zip(column, [*some.itertuples(), *[None] * (rows - len(some))], strict=True):
            if row is None:
                axes.set_axis_off()
                continue
            logo(axes, by_filter[row.filter].pwm)
            axes.set_ylabel("bits", fontsize=8)
            axes.tick_params(labelsize=7.5)
            axes.set_title(f"filter {row.filter}: {signed(row.correlation, 2)}", fontsize=9)
    figure.tight_layout()
    return figures.save("motifs", figure, pd.concat(signs), "Motifs of filters that go with and against methylation")


def planted_figure(figures, pwm: np.ndarray, match, consensus: str):
    """The motif of the filter that fits best, with the planted consensus above it."""
    figure, axes = plt.subplots(figsize=(4.6, 1.7))
    logo(axes, pwm if match.strand == "+" else pwm[::-1, ::-1])
    for at, letter in enumerate(consensus):
        axes.text(at + match.offset + 1, 2.12, letter, ha="center", color=SECOND, fontweight="bold", clip_on=False)
    ends = 1 + min(0, match.offset), max(len(pwm), match.offset + len(consensus))
    axes.set_xlim(ends[0] - 0.5, ends[1] + 0.5)
    data = pd.DataFrame(pwm, columns=list("ACGT")).assign(filter=match.filter)
    return figures.save("planted", figure, data, "The filter's motif that fits the planted one best")


def effects_figure(figures, table: pd.DataFrame):
    figure, axes = plt.subplots(figsize=(6.4, 2.9))
    axes.plot(table["offset"], table["largest"], color=ACCENT, lw=1, alpha=0.5, label="strongest of the three, exact")
    axes.plot(table["offset"], table["effect"], color=ACCENT, lw=1.6, label="mean of the three, exact")
    axes.plot(table["offset"], table["gradient"], color=SECOND, lw=1.2, label="mean, by gradient")
    axes.set(xlabel="bases from the C of the CpG", ylabel="change of probability")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.grid(axis="y")
    legend_above(axes, 2)
    return figures.save("effects", figure, table, "Effect of substitutions by distance from the CpG")


def bars_figure(figures, name: str, data: pd.DataFrame, title: str, *, width: float, xlabel: str):
    """A histogram of sites; data: where, then how many."""
    figure, axes = plt.subplots(figsize=(3.3, 2.5))
    axes.bar(data.iloc[:, 0], data["sites"], width=width, color=ACCENT)
    axes.set(xlabel=xlabel, ylabel="sites")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if name == "coverage":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y")
    return figures.save(name, figure, data, title)


def variance_figure(figures, table: pd.DataFrame):
    some = table[table["windows"] >= FEW_WINDOWS]
    if some.empty:
        return None
    figure, axes = plt.subplots(figsize=(6.2, 2.8))
    axes.plot(some["mean"], some["variance"], "o-", ms=4.5, lw=1.6, color=ACCENT, label="between the cells")
    axes.plot(some["mean"], some["chance"], ls="--", lw=1.2, color=MUTED, label="if all cells were alike")
    axes.set(xlabel="mean methylation of a window", ylabel="variance", xlim=(-0.02, 1.02))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    legend_above(axes, 2)
    return figures.save("variance", figure, table, "Variance between the cells by mean methylation of windows")


def taxa_figure(figures, table: pd.DataFrame):
    """Balanced accuracy against what chance gives."""
    figure, axes = _rows_axes(len(table))
    for row, one in enumerate(table.itertuples()):
        words = "by chance, middle 95 %" if row == 0 else None
        axes.plot([one.chance_low, one.chance_high], [row, row], color=MUTED, lw=6, alpha=0.5, label=words)
        axes.plot([one.balanced_accuracy], [row], "o", ms=7, color=ACCENT)
    named_rows(axes, [label(model) for model in table["model"]], 0.55)
    axes.set(xlabel="balanced accuracy")
    axes.margins(x=0.08)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return figures.save("taxa", figure, table, "Balanced accuracy of taxa from sequence")

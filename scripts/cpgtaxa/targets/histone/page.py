"""The last step of the target `histone`: scores, comparisons, maps and tables, and the page on them.

The same inputs give the same bytes: no dates, fixed ids inside the figures, and cell types in their order.
"""

import dataclasses
import logging
import pathlib
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from cpgtaxa.files import atomic_folder, read_json, read_parquet
from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, MUTED, SECOND, STYLE, Figures
from cpgtaxa.pages.page import write_csv, write_page
from cpgtaxa.statistics.areas import interval_of_auc, parts_of_auc, roc
from cpgtaxa.targets.histone.plan import MIX, NETWORKS, SPLITS
from cpgtaxa.targets.histone.published import PUBLISHED, beside, read_published
from cpgtaxa.targets.histone.scores import Scored, compare, score, summarise
from cpgtaxa.targets.histone.study import open_cells, parts_of
from cpgtaxa.wording import decimal, p_value, signed, span

LISTS = ("input", "qc", "predictions", "logs", "occlusion", "beside")
"""Inputs that are lists of files."""
FIRST = "GeneNet"
TRUTH = "truth"
"""In the place of a model: what the simulated marks show of expression, without their noise."""
PANELS = 6
"""Cell types drawn on their own; the numbers of all are in the tables."""
NAMED = 60
"""Cell types beyond which a figure does not name each."""
ROC_POINTS = 200
"""Points of a curve as it is drawn."""
MODEL_COLOURS = (ACCENT, SECOND, *(COLOURS[name] for name in ("TriAge", "NonAgeHet", "BiAge")), MUTED)
SUMMARY_COLUMNS = ["model", "metric", "value", "ci_low", "ci_high", "n"]
OCCLUSION_COLUMNS = ["model", "cell", "mark", "bin_from", "bin_to", "distance", "change", "signed", "genes"]


# Reading


def label(unit: str, name: str) -> str:
    """A model's name in tables: GeneNet of a model per cell type, GeneNet_mix of one of all."""
    return f"{name}_{MIX}" if unit == MIX else name


def by_model(paths, models) -> dict[str, list[tuple[str, str]]]:
    """Unit and path of files UNIT/NAME… by `label`, models in the order given, those per cell type first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in paths:
        unit, name = pathlib.Path(path).parent.name, pathlib.Path(path).stem.removesuffix("_log")
        found.setdefault(label(unit, name), []).append((unit, path))
    order = [label(unit, name) for unit in ("", MIX) for name in models]
    return {name: found[name] for name in order if name in found}


def words(model: str) -> str:
    """A model's name on the page."""
    return f"{model.removesuffix(f'_{MIX}')}, mixed" if model.endswith(f"_{MIX}") else model


def wrapped(name: str) -> list[str]:
    """The lines of a model's name over a narrow column."""
    return re.sub(r"(?<=[a-z])(?=Regression|Forest)|(?<=,) ", "\n", name).split("\n")


def bases(value: float) -> str:
    """A distance in bases with its sign."""
    return "0" if value == 0 else f"{value:+,.0f}".replace("-", "−")


# Maps


def distance_of(first, last, bins: int, size: int):
    """Bases from the gene's start, between the two middle bins, to the middle of bins first to last (from 1)."""
    return ((np.asarray(first) + np.asarray(last)) / 2 - (bins + 1) / 2) * size


def occlusion_table(paths, models, bins: int, size: int) -> pd.DataFrame:
    """All maps (`occlusion.occlude`) as rows of OCCLUSION_COLUMNS; cell is `mix` of mixed models."""
    parts = []
    for model, files in by_model(paths, models).items():
        for unit, path in files:
            table = read_parquet(path).assign(model=model, cell=unit)
            table["distance"] = distance_of(table["bin_from"], table["bin_to"], bins, size)
            parts.append(table[OCCLUSION_COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=OCCLUSION_COLUMNS)


def mean_map(table: pd.DataFrame) -> pd.DataFrame:
    """The mean of a model's maps over its cell types: mark, bin_from, bin_to, distance, change, signed."""
    keys = ["mark", "bin_from", "bin_to", "distance"]
    return table.groupby(keys, sort=False, as_index=False)[["change", "signed"]].mean()


def planted_bins(table: pd.DataFrame, planted: pd.DataFrame) -> np.ndarray:
    """Which rows of a map lie, by half of their bins or more, where counts truly follow expression: (n,) bool."""
    found = np.zeros(len(table), dtype=bool)
    for row in planted.itertuples():
        inside = np.minimum(table["bin_to"], row.bin_to) - np.maximum(table["bin_from"], row.bin_from) + 1
        here = (table["mark"] == row.mark) & (2 * inside >= table["bin_to"] - table["bin_from"] + 1)
        found |= here.to_numpy()
    return found


def truth_rows(scored: Scored | None, maps: pd.DataFrame, planted: pd.DataFrame | None) -> pd.DataFrame:
    """What is known of the truth, as rows of SUMMARY_COLUMNS.

    - `auc` of TRUTH: that of what the marks show of expression, which no model can know better.
    - `planted_bins_auc`: the chance that taking away bins of a mark that follow expression changes a model's answer
      more than taking away others, on the mean map of its cell types; its n are the pieces of the map.
    """
    if scored is None:
        return pd.DataFrame(columns=SUMMARY_COLUMNS)
    rows = [(TRUTH, "auc", scored.mean, *scored.interval(), int(scored.cells["n"].sum()))]
    for model, some in maps.groupby("model", sort=False):
        table = mean_map(some)
        positive = planted_bins(table, planted)
        if positive.any() and not positive.all():
            area, parts = parts_of_auc(table["change"].to_numpy(), positive)
            ends = interval_of_auc(area, float((parts**2).sum()), int(min(positive.sum(), (~positive).sum())))
            rows.append((model, "planted_bins_auc", area, *ends, len(table)))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


# Figures


def _models_figure(figures, scored: list[Scored]):
    """Mean areas with their intervals; small points are cell types."""
    figure, axes = plt.subplots(figsize=(5.8, 0.42 * len(scored) + 0.8))
    for row, one in enumerate(scored):
        values = one.cells["auc"].to_numpy()
        spread = 0.36 * ((np.arange(len(values)) * 0.618034) % 1 - 0.5) if len(values) > 1 else np.zeros(len(values))
        axes.plot(values, row + spread, "o", ms=3, mew=0, color=MUTED, alpha=0.55)
        colour = ACCENT if not one.model.endswith(f"_{MIX}") else SECOND
        axes.plot(one.interval(), [row, row], color=colour, lw=2)
        axes.plot([one.mean], [row], "D", ms=5.5, color=colour)
    axes.set_yticks(range(len(scored)), [words(one.model) for one in scored])
    axes.set(ylim=(len(scored) - 0.5, -0.5), xlabel="area under the ROC curve")
    low = min(0.5, *(one.cells["auc"].min() for one in scored))
    axes.set_xlim(low - 0.02, 1.01)
    axes.axvline(0.5, color=MUTED, lw=0.8, ls="--")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    data = pd.concat([one.cells.assign(model=one.model) for one in scored], ignore_index=True)
    return figures.save("models", figure, data, "Area under the ROC curve by model")


def _cells_figure(figures, scored: list[Scored], colours: dict):
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
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, handletextpad=0.2, fontsize=8)
    data = pd.concat([one.cells.assign(model=one.model) for one in scored], ignore_index=True)
    return figures.save("cells", figure, data, "Area under the ROC curve by cell type")


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most ROC_POINTS points of a curve, its ends among them."""
    if len(x) <= ROC_POINTS:
        return x, y
    at = np.unique(np.linspace(0, len(x) - 1, ROC_POINTS).round().astype(int))
    return x[at], y[at]


def _roc_figure(figures, found: dict[str, pd.DataFrame], cells: list[str], colours: dict):
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


def read_logs(paths, models) -> pd.DataFrame:
    """All training logs, with model and unit."""
    parts = [
        pd.read_csv(path).assign(model=model, unit=unit)
        for model, files in by_model(paths, models).items()
        for unit, path in files
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _training_figure(figures, logs: pd.DataFrame, colours: dict):
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


def _map_figure(figures, name: str, table: pd.DataFrame, title: str, bins: int, size: int, planted=None):
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


# The page


def _map_rows(table: pd.DataFrame) -> list[dict]:
    """By mark, strongest first: where taking bins away changes most, and by how much."""
    rows = []
    for mark, some in table.groupby("mark", sort=False):
        top = some.loc[some["change"].idxmax()]
        rows.append(
            {
                "mark": mark,
                "bins": f"{top['bin_from']}" + (f"–{top['bin_to']}" if top["bin_to"] > top["bin_from"] else ""),
                "distance": bases(top["distance"]),
                "change": decimal(top["change"], 4),
                "signed": signed(top["signed"], 4),
                "total": decimal(some["change"].sum(), 3),
                "order": -some["change"].sum(),
            }
        )
    return sorted(rows, key=lambda row: row["order"])


def _maps(figures, maps: pd.DataFrame, cells: list[str], bins: int, size: int, planted) -> list[dict]:
    """Drawn maps: of each model the mean of its cell types, and some of these on their own."""
    drawn = []
    for model, some in maps.groupby("model", sort=False):
        units = list(pd.unique(some["cell"]))
        mean = mean_map(some)
        title = words(model) if units == [MIX] else f"{model}, mean of {len(units)} cell types"
        title = f"{model}, {units[0]}" if len(units) == 1 and units != [MIX] else title
        name = f"occlusion_{model}"
        one = {"title": title, "drawing": _map_figure(figures, name, mean, title, bins, size, planted)}
        one |= {"rows": _map_rows(mean), "genes": int(some["genes"].iloc[0]), "units": [], "mixed": units == [MIX]}
        if len(units) > 1:
            for unit in units[:PANELS]:
                table = some[some["cell"] == unit].drop(columns=["model", "cell", "genes"])
                title = f"{model}, {unit}"
                one["units"].append(
                    _map_figure(figures, f"occlusion_{model}_{unit}", table, title, bins, size, planted)
                )
        drawn.append(one)
    return drawn


def _best_epochs(logs: pd.DataFrame) -> list[dict]:
    """Of each network the epoch kept and its validation scores, over its units."""
    rows = []
    for model, some in logs.groupby("model", sort=False) if len(logs) else ():
        kept = some.loc[some.groupby("unit", sort=False)["val_acc"].idxmax()]
        rows.append(
            {
                "model": words(model),
                "epoch": f"{kept['epoch'].median():g}",
                "acc": decimal(kept["val_acc"].mean()),
                "auc": decimal(kept["val_auc"].mean()),
                "seconds": f"{some.groupby('unit')['epoch_duration_s'].sum().mean():,.0f}",
            }
        )
    return rows


@dataclasses.dataclass
class Study:
    """What the page is about, read and scored.

    cells: inputs, a cell type each. predictions: by model (cell, gene, label, probability). scored: of each model.
    comparisons, maps, logs, planted: tables. truth: the true probabilities' score, of simulated cell types. summary:
    SUMMARY_COLUMNS. settings: those of `write`.
    """

    cells: list
    predictions: dict[str, pd.DataFrame]
    scored: list
    comparisons: pd.DataFrame
    maps: pd.DataFrame
    logs: pd.DataFrame
    truth: object
    planted: pd.DataFrame | None
    summary: pd.DataFrame
    settings: dict

    @property
    def ranked(self) -> list:
        """Scores, the best first."""
        return sorted(self.scored, key=lambda one: -one.mean)

    @property
    def first(self):
        """The score the others are compared with: of the first network, else of the best."""
        networks = (one for one in self.scored if one.model.split("_")[0] in NETWORKS)
        return next(networks, self.ranked[0])

    @property
    def names(self) -> list[str]:
        """Of the cell types."""
        return [cell.name for cell in self.cells]


def read_study(inputs: dict, settings: dict) -> Study:
    """Read and score what `write` is given."""
    cells, models = open_cells(inputs["input"]), settings["models"]
    predictions = {
        model: pd.concat([read_parquet(path) for _, path in files], ignore_index=True)
        for model, files in by_model(inputs["predictions"], models).items()
    }
    scored = [score(model, table) for model, table in predictions.items()]
    maps = occlusion_table(inputs.get("occlusion", ()), models, cells[0].bins, settings["bin_size"])
    truth = planted = None
    if inputs.get("truth"):
        table = pd.read_csv(inputs["truth"], dtype={"gene": str})
        table = table[(table["split"] == "test") & table["cell"].isin(settings["cells"])]
        truth = score(TRUTH, table.rename(columns={"shown": "probability"}))
        planted = pd.read_csv(inputs["planted"])
    summary = summarise(scored)
    ranks = summary["model"].isin([label(unit, "OneMark") for unit in ("", MIX)])
    summary = summary[~(ranks & (summary["metric"] == "accuracy"))]  # its order has no threshold
    summary = pd.concat([summary, truth_rows(truth, maps, planted)], ignore_index=True)
    logs = read_logs(inputs.get("logs", ()), models)
    return Study(cells, predictions, scored, compare(scored), maps, logs, truth, planted, summary, settings)


def _write_tables(study: Study, outputs: dict) -> None:
    write_csv(outputs["summary"], study.summary)
    write_csv(outputs["comparisons"], study.comparisons)
    write_csv(outputs["occlusion"], study.maps)
    every = pd.concat([one.cells.assign(model=one.model) for one in study.scored], ignore_index=True)
    write_csv(outputs["cells"], every[["model", *(name for name in every if name != "model")]])
    areas = {one.model: one.cells for one in study.scored}
    for key, model in (("published", FIRST), ("published_mix", label(MIX, FIRST))):
        if outputs.get(key):
            write_csv(outputs[key], areas[model][["cell", "auc"]], header=False, float_format=None)


def _draw(study: Study, folder) -> tuple[dict, list]:
    """Draw all figures into a folder: those of the page by name, and the maps."""
    colours = dict(zip(dict.fromkeys(one.model.split("_")[0] for one in study.scored), MODEL_COLOURS, strict=False))
    colours = {one.model: colours[one.model.split("_")[0]] for one in study.scored}
    mixed = study.first.model.endswith(f"_{MIX}")
    shown = [one for one in study.scored if one.model.endswith(f"_{MIX}") == mixed]
    curves = {one.model: study.predictions[one.model] for one in shown}
    names, bins = study.names, study.cells[0].bins
    with atomic_folder(folder) as partial, matplotlib.rc_context(STYLE):
        figures = Figures(partial)
        drawn = {
            "models": _models_figure(figures, study.ranked),
            "cells": _cells_figure(figures, shown, colours) if len(names) > 1 else None,
            "roc": _roc_figure(figures, curves, names[:PANELS], colours),
            "training": _training_figure(figures, study.logs, colours) if len(study.logs) else None,
        }
        return drawn, _maps(figures, study.maps, names, bins, study.settings["bin_size"], study.planted)


def _mixed(study: Study, seed: int) -> dict | None:
    """Genes of each split of all cell types mixed, and how many are lost; None where they are not mixed."""
    if MIX not in study.settings["units"]:
        return None
    parts = parts_of(study.cells, MIX, seed)
    pool = sum(int((cell.split != SPLITS.index("test")).sum()) for cell in study.cells)
    lost = pool - len(parts["train"]) - len(parts["valid"])
    return {split: f"{len(part):,}" for split, part in parts.items()} | {"lost": lost}


def _model_rows(study: Study) -> list[dict]:
    """Rows of the table of models, the best first."""
    accuracy = study.summary[study.summary["metric"] == "accuracy"].set_index("model")
    accuracy = accuracy.reindex([one.model for one in study.scored])
    return [
        {
            "model": words(one.model),
            "own": one is study.first,
            "auc": decimal(one.mean),
            "range": span(*one.interval()),
            "n": f"{int(one.cells['n'].sum()):,}",
            "accuracy": decimal(accuracy.loc[one.model, "value"]),
            "accuracy_range": span(*accuracy.loc[one.model, ["ci_low", "ci_high"]]),
        }
        for one in study.ranked
    ]


def _truth_page(study: Study) -> dict | None:
    """What the page says of the truth of simulated cell types."""
    if study.truth is None:
        return None
    found = study.summary[study.summary["metric"] == "planted_bins_auc"]
    bins = [(words(row.model), decimal(row.value), span(row.ci_low, row.ci_high)) for row in found.itertuples()]
    return {"auc": decimal(study.truth.mean), "range": span(*study.truth.interval()), "bins": bins}


def _input_row(one: dict) -> dict:
    """What was read of a cell type, from its QC."""
    return {
        "cell": one["cell"],
        "genes": [f"{one['genes'][split]:,}" for split in SPLITS],
        "high": [f"{100 * one['high'][split] / one['genes'][split]:.0f} %" for split in SPLITS],
        "given": one["bins_given"],
        "silent": f"{one['silent']:,}",
    }


def _area_row(study: Study, at: int, cell: str) -> dict:
    """Areas of all models in a cell type, with the interval of the first's."""
    first = study.first.cells
    return {
        "cell": cell,
        "areas": [decimal(one.cells["auc"].iloc[at]) for one in study.scored],
        "range": span(first["ci_low"].iloc[at], first["ci_high"].iloc[at]),
    }


def write(inputs: dict, outputs: dict, *, settings: dict, seed: int) -> None:
    """Score all models, compare them, and write tables, figures and page.

    inputs: `input` (`Cell` files of all cell types), `qc` (JSON), `predictions` (UNIT/MODEL.parquet), `logs`
    (UNIT/NETWORK_log.csv), `occlusion` (UNIT/NETWORK.parquet), `beside` (see `published.read_published`, of the cell
    types `published` of the settings), and of simulated cell types `truth` and `planted`. settings: `models`, `cells`,
    `units`, `bin_size`, `save_dir`, `published`, and how networks were trained.

    outputs: `summary` (SUMMARY_COLUMNS: `scores.summarise`, `truth_rows`), `cells` (model, cell, auc, ci_low, ci_high,
    accuracy, n, positive), `comparisons` (`scores.compare`), `occlusion` (OCCLUSION_COLUMNS), `html`, `figures`, a
    folder of SVG and CSV; `beside` (`published.beside`), where there are published predictions; `published` and
    `published_mix`, where wanted: GeneNet's areas as the published code writes them, a line `cell,area` for each cell
    type and no header.
    """
    study = read_study(inputs, settings)
    qc = [read_json(path) for path in inputs["qc"]]
    _write_tables(study, outputs)
    given = zip(settings["published"], inputs.get("beside", ()), strict=True)
    given = {cell: read_published(path, cell) for cell, path in given}
    published = beside(given, study.predictions)
    if given:
        write_csv(outputs["beside"], published)
    drawn, maps = _draw(study, outputs["figures"])
    cells, first, best = study.cells, study.first, study.ranked[0]
    bins, size = cells[0].bins, settings["bin_size"]
    against = study.comparisons
    against = against[(against["model"] == first.model) | (against["other"] == first.model)]
    page = {
        "first": words(first.model),
        "best": words(best.model),
        "simulated": study.truth is not None,
        "rows": _model_rows(study),
        "compared": [_compared(row, first.model) for row in against.itertuples()],
        "n_cells": len(cells),
        "names": study.names,
        "n_genes": f"{np.median([len(cell) for cell in cells]):,.0f}",
        "tested": f"{int(best.cells['n'].sum()):,}",
        "marks": cells[0].marks,
        "bins": bins,
        "reach": f"{bins * size / 2000:g}",
        "bin_size": f"{size:,}",
        "mixed": _mixed(study, seed),
        "drawn": drawn,
        "panels": PANELS,
        "table": [_area_row(study, at, cell) for at, cell in enumerate(study.names)],
        "columns": [words(one.model) for one in study.scored],
        "published": _published_rows(published),
        "maps": maps,
        "epochs": _best_epochs(study.logs),
        "truth": _truth_page(study),
        "input": [_input_row(one) for one in qc],
        "cut": sorted({one["bins_given"] for one in qc} - {bins}),
        "warnings": [warning for one in qc for warning in one["warnings"]],
        "settings": settings,
        "splits": SPLITS,
        "files": dict.fromkeys(("published", "published_mix"))
        | {key: pathlib.Path(path).name for key, path in outputs.items()},
        "width": settings["occlusion"]["bins"],
    }
    write_page(outputs["html"], "histone.html.j2", page, filters={"wrapped": wrapped})
    logging.info(f"{best.model}: mean AUC {best.mean:.3f}")


def _published_rows(published: pd.DataFrame) -> list[dict]:
    """Rows of `published.beside`, as the page shows them."""
    return [
        {
            "cell": row.cell,
            "model": "as published" if row.model == PUBLISHED else words(row.model),
            "both": row.genes == "both",
            "n": f"{row.n:,}",
            "auc": decimal(row.auc),
            "range": span(row.ci_low, row.ci_high),
            "accuracy": decimal(row.accuracy),
            "differ": f"{row.labels_differ:,}" if row.genes == "both" and row.model == PUBLISHED else "",
        }
        for row in published.itertuples()
    ]


def _compared(row, model: str) -> dict:
    """A comparison seen from `model`."""
    turn = 1 if row.model == model else -1
    ends = (row.ci_low, row.ci_high) if turn > 0 else (-row.ci_high, -row.ci_low)
    return {
        "other": words(row.other if turn > 0 else row.model),
        "difference": signed(turn * row.difference),
        "range": span(*ends, signed),
        "p": p_value(row.p_holm),
        "n": f"{row.n:,}",
    }

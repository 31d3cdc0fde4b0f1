"""The last step of the target `histone`: tables, and the page on them.

The same inputs give the same bytes: no dates, fixed ids inside the figures, and cell types in their order.
"""

import logging
import re

import numpy as np
import pandas as pd

from cpgtaxa.files import read_json
from cpgtaxa.pages.drawing import figures_in
from cpgtaxa.pages.page import file_names, write_csv, write_page
from cpgtaxa.pages.tables import against, estimate, value_and_ends
from cpgtaxa.targets.histone import figures as draw
from cpgtaxa.targets.histone.plan import MIX, SPLITS
from cpgtaxa.targets.histone.published import PUBLISHED, beside, read_published
from cpgtaxa.targets.histone.results import FIRST, Study, label, mean_map, read_study, words
from cpgtaxa.targets.histone.study import parts_of
from cpgtaxa.wording import decimal, offset, signed, span


def wrapped(name: str) -> list[str]:
    """The lines of a model's name over a narrow column."""
    return re.sub(r"(?<=[a-z])(?=Regression|Forest)|(?<=,) ", "\n", name).split("\n")


def _map_rows(table: pd.DataFrame) -> list[dict]:
    """By mark, strongest first: where taking bins away changes most, and by how much."""
    rows = []
    for mark, some in table.groupby("mark", sort=False):
        top = some.loc[some["change"].idxmax()]
        rows.append(
            {
                "mark": mark,
                "bins": f"{top['bin_from']}" + (f"–{top['bin_to']}" if top["bin_to"] > top["bin_from"] else ""),
                "distance": offset(top["distance"]),
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
        one = {"title": title, "drawing": draw.map_figure(figures, name, mean, title, bins, size, planted)}
        one |= {"rows": _map_rows(mean), "genes": _genes(some["genes"]), "units": [], "mixed": units == [MIX]}
        if len(units) > 1:
            for unit in units[: draw.PANELS]:
                table = some[some["cell"] == unit].drop(columns=["model", "cell", "genes"])
                title = f"{model}, {unit}"
                one["units"].append(
                    draw.map_figure(figures, f"occlusion_{model}_{unit}", table, title, bins, size, planted)
                )
        drawn.append(one)
    return drawn


def _genes(n: pd.Series) -> str:
    """How many genes maps are of: one number, or the least to the most of the cell types."""
    return f"{n.min():,}" if n.min() == n.max() else f"{n.min():,} to {n.max():,}"


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
    colours = dict(
        zip(dict.fromkeys(one.model.split("_")[0] for one in study.scored), draw.MODEL_COLOURS, strict=False)
    )
    colours = {one.model: colours[one.model.split("_")[0]] for one in study.scored}
    mixed = study.first.model.endswith(f"_{MIX}")
    shown = [one for one in study.scored if one.model.endswith(f"_{MIX}") == mixed]
    curves = {one.model: study.predictions[one.model] for one in shown}
    names, bins = study.names, study.cells[0].bins
    with figures_in(folder) as figures:
        drawn = {
            "models": draw.models_figure(figures, study.ranked),
            "cells": draw.cells_figure(figures, shown, colours) if len(names) > 1 else None,
            "roc": draw.roc_figure(figures, curves, names[: draw.PANELS], colours),
            "training": draw.training_figure(figures, study.logs, colours) if len(study.logs) else None,
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
    numbers = study.summary.set_index(["model", "metric"])
    return [
        {
            "model": words(one.model),
            "own": one is study.first,
            **estimate("auc", one.mean, one.interval()),
            "n": f"{int(one.cells['n'].sum()):,}",
            **estimate("accuracy", *value_and_ends(numbers, one.model, "accuracy")),
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
    page = {
        "first": words(first.model),
        "best": words(best.model),
        "simulated": study.truth is not None,
        "rows": _model_rows(study),
        "against": against(study.comparisons, first.model, words),
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
        "panels": draw.PANELS,
        "table": [_area_row(study, at, cell) for at, cell in enumerate(study.names)],
        "columns": [words(one.model) for one in study.scored],
        "published": _published_rows(published),
        "maps": maps,
        "by_largest": any(words(model).startswith(FIRST) for model in study.maps["model"].unique()),
        "one_mark": any(one.model.startswith("OneMark") for one in study.scored),
        "epochs": _best_epochs(study.logs),
        "truth": _truth_page(study),
        "input": [_input_row(one) for one in qc],
        "cut": sorted({one["bins_given"] for one in qc} - {bins}),
        "warnings": [warning for one in qc for warning in one["warnings"]],
        "settings": settings,
        "splits": SPLITS,
        "files": dict.fromkeys(("published", "published_mix")) | file_names(outputs),
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

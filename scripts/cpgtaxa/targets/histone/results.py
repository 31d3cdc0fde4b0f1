"""What all models predict of the test genes, scored and compared, and the maps of networks."""

import dataclasses
import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.files import read_parquet
from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.statistics.areas import interval_of_auc, parts_of_auc
from cpgtaxa.targets.histone.plan import MIX, NETWORKS
from cpgtaxa.targets.histone.scores import Scored, compare, score, summarise
from cpgtaxa.targets.histone.study import open_cells

FIRST = "GeneNet"
TRUTH = "truth"
"""In the place of a model: what the simulated marks show of expression, without their noise."""
OCCLUSION_COLUMNS = ["model", "cell", "mark", "bin_from", "bin_to", "distance", "change", "signed", "genes"]


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


def read_logs(paths, models) -> pd.DataFrame:
    """All training logs, with model and unit."""
    parts = [
        pd.read_csv(path).assign(model=model, unit=unit)
        for model, files in by_model(paths, models).items()
        for unit, path in files
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


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

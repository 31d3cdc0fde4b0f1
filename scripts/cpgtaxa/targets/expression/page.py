"""The last step of the target `expression`: scores, comparisons and tables, and the page on them.

The same inputs give the same bytes: no dates, fixed seeds, fixed ids inside the figures, and rows in the order of the
genes, however many shards they were fitted in.
"""

import dataclasses
import functools
import io
import logging
import pathlib
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from scipy.stats import rankdata

from cpgtaxa.errors import InputError
from cpgtaxa.files import atomic, atomic_folder, gzipped, read_json, read_parquet
from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, LINE, MUTED, SECOND, STYLE, Figures
from cpgtaxa.pages.page import write_csv, write_page
from cpgtaxa.targets.expression.plan import TRAIN
from cpgtaxa.targets.expression.published import beside, read_published
from cpgtaxa.targets.expression.scores import (
    BOOTSTRAPS,
    FEWEST,
    METRICS,
    compare,
    interval,
    score,
    summarise,
    summarise_taxa,
)
from cpgtaxa.targets.expression.study import TAXA_COLUMNS, Study
from cpgtaxa.wording import decimal, p_value, percent, signed, span

FIRST, LEAKY = "DeepMethyGene", "DeepMethyGene_published"
"""The model that the page is about, if it is there; and the one whose scores are not honest."""
MOST_CPGS = 100
"""CpGs kept for each gene and model in the attributions; all of them are in the fits."""
ABOVE = (0.1, 0.5)
"""R² above which genes are counted."""
ENOUGH = 10
"""Genes predicted (R² above the first of ABOVE) from which only these show where the CpGs lie."""
LOWEST = -0.3
"""Where axes of R² end at the latest: what lies below is counted in the caption."""
POINTS, STRIP = 1500, 300
"""Genes beyond which figures show how densely they lie; as points beside a box, it is fewer."""
EXAMPLE_POINTS = 12_000
"""Points of all example genes together."""
FEW = 20
"""CpGs of all genes below which a bin of distance is not drawn."""
TOP = 8
"""CpGs listed for an example gene."""
MODEL_COLOURS = (ACCENT, SECOND, *(COLOURS[name] for name in ("TriAge", "NonAgeHet", "BiAge", "UniUnstable")), MUTED)
KIND_COLOURS = {"none": MUTED, "promoter": ACCENT, "distal": SECOND, "threshold": COLOURS["TriAge"]}
SUMMARY_COLUMNS = ["model", "metric", "value", "ci_low", "ci_high", "n"]
STEPS = (0, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000)
"""Ends of the bins of distance in bases, on both sides of a gene's start; then in steps of a factor of ten."""


# Reading the fits


def by_pair(paths) -> dict[tuple[str, str], list]:
    """The files of each model and window, by the name of their folder."""
    found: dict[tuple[str, str], list] = {}
    for path in paths:
        model, window = pathlib.Path(path).parent.name.rsplit("_", 1)
        found.setdefault((model, window), []).append(path)
    return found


def in_order(pairs) -> list[tuple[str, str]]:
    """Models and windows, the windows as they come, widest first; of a window FIRST to begin with, LEAKY at the end."""
    windows = list(dict.fromkeys(window for _, window in pairs))
    return sorted(map(tuple, pairs), key=lambda pair: (windows.index(pair[1]), pair[0] == LEAKY, pair[0] != FIRST))


def score_all(study: Study, fits: dict, pairs) -> pd.DataFrame:
    """`scores.score` of all fits, model by model, genes in their order. Raises InputError where nothing can be scored.

    Only one file's predictions are in memory at a time.
    """
    order = {gene: row for row, gene in enumerate(study.genes["gene"])}
    parts = []
    for model, window in pairs:
        found = []
        for path in fits[model, window]:
            fitted = read_parquet(path, columns=["gene", "n_cpgs", "prediction", "epochs", "seconds"])
            if len(fitted):
                found.append(score(study, fitted.assign(model=model, window=window)))
        if found:
            part = pd.concat(found, ignore_index=True)
            if len(part):
                parts.append(part.iloc[np.argsort(part["gene"].map(order).to_numpy(), kind="stable")])
    if not parts or parts[0]["window"].iloc[0] != pairs[0][1]:
        raise InputError(
            f"expression: {int(study.trained.sum())} samples to train on are too few to score a model: "
            f"bring at least {FEWEST}"
        )
    return pd.concat(parts, ignore_index=True)


# What R reads


def sample_columns(samples: pd.DataFrame) -> list[str]:
    """A column name for each sample: its id, behind its set (`other:ID`) where the name is taken."""
    taken, names = {"gene", "model"}, []
    for name, which in zip(samples["sample_id"], samples["set"], strict=True):
        while name in taken:
            name = f"{which}:{name}"
        taken.add(name)
        names.append(name)
    return names


def write_predictions(out, study: Study, fits: dict, models, window: str, wanted) -> dict[str, np.ndarray]:
    """Write what the models predict in one window, model by model, genes in their order.

    out: Parquet with gene, model, and a float32 column per sample (see `sample_columns`), in units of expression, null
    where no fold's model may say. Returns the first model's predictions, (n,), of the genes `wanted`.
    """
    names = sample_columns(study.samples)
    fields = [("gene", pa.string()), ("model", pa.string()), *((name, pa.float32()) for name in names)]
    schema = pa.schema(fields, metadata={"window": window})
    order = {gene: row for row, gene in enumerate(study.genes["gene"])}
    kept = {}
    with atomic(out) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
        for model in models:
            genes, values = [], []
            for path in fits[model, window]:
                table = read_parquet(path, columns=["gene", "prediction"])
                genes += list(table["gene"])
                values += [np.asarray(one, dtype=np.float32) for one in table["prediction"]]
            if not genes:
                continue
            if model == models[0]:
                kept = {gene: one for gene, one in zip(genes, values, strict=True) if gene in wanted}
            rows = np.argsort([order[gene] for gene in genes])
            matrix = np.stack([values[row] for row in rows])
            columns = [pa.array([genes[row] for row in rows]), pa.array([model] * len(rows))]
            columns += [pa.array(one, from_pandas=True) for one in matrix.T]
            writer.write_table(pa.table(columns, schema=schema))
    return kept


@dataclasses.dataclass
class Attributions:
    """What attributions show. tops: example gene to its strongest CpGs (cpg, distance, attribution), by `explainer`.

    profile: model, distance_from, distance_to (bases, upstream negative), attribution (mean over the CpGs of many
    genes, each relative to the mean of its gene), cpgs; genes: how many genes each model's profile is of. found: model,
    gene, auc with which a gene's attributions find its causal CpGs.
    """

    tops: dict[str, pd.DataFrame]
    explainer: str | None
    profile: pd.DataFrame
    genes: dict[str, int]
    found: pd.DataFrame


def write_attributions(
    out, study: Study, fits: dict, models, scores, cpgs: pd.DataFrame, truth, wanted
) -> Attributions:
    """Write the strongest CpGs of each gene and model in the widest window.

    Of each gene and model the MOST_CPGS strongest, strongest first: for a whole array all would be tens of millions of
    rows, nearly all of them noise (they are in the fits, in the order of the CpGs). out: Parquet with gene, model, cpg,
    distance (int32, bases from the gene's start, upstream negative by strand; null without positions), attribution
    (float32). One model is in memory at a time, and of it one file's attributions.

    cpgs: cpg, position. truth: gene, kind, cpgs, or None. wanted: genes whose strongest CpGs are returned.
    """
    window = scores["window"].iloc[0]
    placed = window != "all"
    names, position = cpgs["cpg"].to_numpy(dtype=object), cpgs["position"].to_numpy()
    gene_names = study.genes["gene"].to_numpy(dtype=object)
    order = {gene: row for row, gene in enumerate(gene_names)}
    first, tss = study.genes[f"first_{window}"].to_numpy(), study.genes["tss"].to_numpy()
    sign = np.where(study.genes["strand"] == "-", -1, 1)
    causal = _causal(truth, names)
    edges = _edges(study, window, position, first) if placed else np.empty(0)
    types = [("gene", pa.string()), ("model", pa.string()), ("cpg", pa.string())]
    schema = pa.schema([*types, ("distance", pa.int32()), ("attribution", pa.float32())], metadata={"window": window})
    attributions = Attributions({}, None, pd.DataFrame(), {}, pd.DataFrame())
    profiles, found = [], []
    with atomic(out) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
        for model in models:
            profile, kept, aucs = _Profile(edges, _predicted(scores, model)), {}, {}
            for path in fits[model, window]:
                table = read_parquet(path, columns=["gene", "attribution"])
                for gene, values in zip(table["gene"], table["attribution"], strict=True):
                    if len(values) == 0:
                        continue
                    row, values = order[gene], np.asarray(values, dtype=np.float32)
                    start, stop = first[row], first[row] + len(values)
                    distance = sign[row] * (position[start:stop] - tss[row]) if placed else None
                    strongest = np.argsort(-values, kind="stable")[:MOST_CPGS]
                    kept[row] = start + strongest, distance[strongest] if placed else None, values[strongest]
                    if placed:
                        profile.add(row, gene, distance, values)
                    if gene in causal:
                        true = causal[gene][(causal[gene] >= start) & (causal[gene] < stop)] - start
                        aucs[row] = model, gene, auc(values, np.isin(np.arange(len(values)), true))
            if not kept:
                continue
            rows = sorted(kept)
            found += [aucs[row] for row in sorted(aucs)]
            lengths = [len(kept[row][0]) for row in rows]
            which = np.concatenate([kept[row][0] for row in rows])
            distance = np.concatenate([kept[row][1] for row in rows]) if placed else [None] * len(which)
            columns = [pa.array(np.repeat(gene_names[rows], lengths), pa.string()), pa.array([model] * len(which))]
            columns += [pa.array(names[which], pa.string()), pa.array(distance, pa.int32())]
            columns += [pa.array(np.concatenate([kept[row][2] for row in rows]))]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=1 << 20)
            if profile.parts:
                profiles.append(profile.table(model))
                attributions.genes[model] = len(profile.parts)
            if attributions.explainer is None:
                attributions.explainer = model
                for gene in wanted:
                    if (row := order[gene]) in kept:
                        numbers = {"cpg": names[kept[row][0]], "distance": kept[row][1], "attribution": kept[row][2]}
                        attributions.tops[gene] = pd.DataFrame(numbers)
    attributions.profile = pd.concat(profiles, ignore_index=True) if profiles else pd.DataFrame()
    attributions.found = pd.DataFrame(found, columns=["model", "gene", "auc"])
    return attributions


def _causal(truth, names) -> dict[str, np.ndarray]:
    """The rows of the causal CpGs of each gene with a methylation effect."""
    if truth is None:
        return {}
    index = pd.Index(names)
    return {
        row.gene: np.array([at for at in index.get_indexer(row.cpgs.split()) if at >= 0], dtype=int)
        for row in truth.itertuples()
        if row.kind != "none"
    }


def _edges(study: Study, window: str, position, first) -> np.ndarray:
    """Ends of the bins of distance, signed and rising, as far as the CpGs of the genes lie."""
    last = study.genes[f"last_{window}"].to_numpy()
    there = last > first
    tss = study.genes["tss"].to_numpy()[there]
    far = max(np.abs(position[first[there]] - tss).max(), np.abs(position[last[there] - 1] - tss).max())
    far, steps = max(far, 1), list(STEPS)
    while steps[-1] < far:
        steps.append(2 * steps[-1] if steps[-1] == STEPS[-1] else 10 * steps[-1])
    steps = steps[: int(np.searchsorted(steps, far)) + 1]
    return np.array([-step for step in steps[:0:-1]] + steps, dtype=float)


def _predicted(scores: pd.DataFrame, model: str) -> set[str] | None:
    """Genes that a model predicts; None, for all, where they are few."""
    held_out = scores[(scores["model"] == model) & _held_out(scores)]
    genes = set(held_out["gene"][held_out["r2"] > ABOVE[0]])
    return genes if len(genes) >= ENOUGH else None


class _Profile:
    """How much CpGs matter by their distance, over many genes."""

    def __init__(self, edges: np.ndarray, chosen: set[str] | None):
        self.edges, self.chosen = edges, chosen
        self.parts: dict[int, tuple] = {}

    def add(self, row: int, gene: str, distance: np.ndarray, values: np.ndarray) -> None:
        mean = values.mean(dtype=np.float64)
        if (self.chosen is not None and gene not in self.chosen) or not mean > 0:
            return
        # The last bin holds its end.
        n = len(self.edges) - 1
        bins = np.minimum(np.searchsorted(self.edges, distance, side="right") - 1, n - 1)
        self.parts[row] = np.bincount(bins, values / mean, n), np.bincount(bins, minlength=n)

    def table(self, model: str) -> pd.DataFrame:
        # Added up in the order of the genes, so that the last digit does not depend on the shards.
        total, count = (np.sum([self.parts[row][at] for row in sorted(self.parts)], axis=0) for at in (0, 1))
        mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        ends = {"distance_from": self.edges[:-1], "distance_to": self.edges[1:]}
        table = pd.DataFrame({"model": model, **ends, "attribution": mean, "cpgs": count})
        return table.astype({"distance_from": int, "distance_to": int})


# The truth, where the cohort is simulated


def read_truth(path, genes) -> pd.DataFrame | None:
    """gene, kind, r2, cpgs (names with blanks between) of the genes that were fitted; None where `path` is."""
    if path is None:
        return None
    truth = pd.read_csv(path, dtype={"gene": str, "kind": str, "cpgs": str}, keep_default_na=False)
    return truth[truth["gene"].isin(set(genes))].reset_index(drop=True)


def auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a value of `positive` (n,) bool is above one that is not, ties half; NaN without either."""
    n = int(positive.sum())
    if n == 0 or n == len(positive) or np.isnan(values).any():
        return np.nan
    return float((rankdata(values)[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def _auc_interval(values, positive, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of `auc`: genes are drawn anew within each of the two groups."""
    if len(values) < 2 or positive.all() or not positive.any():
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    yes, no = values[positive], values[~positive]
    labels = np.arange(len(values)) < len(yes)
    drawn = [np.concatenate([rng.choice(yes, len(yes)), rng.choice(no, len(no))]) for _ in range(BOOTSTRAPS)]
    return tuple(float(value) for value in np.quantile([auc(one, labels) for one in drawn], [0.025, 0.975]))


def truth_rows(scores: pd.DataFrame, truth: pd.DataFrame, found: pd.DataFrame, seed: int) -> pd.DataFrame:
    """What is known of the truth, as rows of SUMMARY_COLUMNS per model (widest window, held-out samples).

    - `r2_of_truth`: how much of what there is to explain was explained: R² divided by the share of variance that
      methylation truly explains, mean over the genes with a methylation effect. 1 is all of it; 0 and less, none.
    - `auc_of_truth`: the chance that R² is higher for a gene with a methylation effect than for one without. 0.5
      is a guess.
    - `causal_cpgs_auc`: the chance that a causal CpG of a gene has a higher attribution than another of its
      CpGs, mean over the genes with a methylation effect of any kind. Its neighbours, as like it as they are,
      count as wrong. Only for models with attributions.
    """
    joined = scores[_held_out(scores)].merge(truth, on="gene", suffixes=("", "_true"))
    rows = []
    for model, some in joined.groupby("model", sort=False):
        some = some.dropna(subset=["r2"])
        affected = (some["kind"] != "none").to_numpy()
        ratio = (some["r2"] / some["r2_true"])[affected].to_numpy()
        mean = ratio.mean() if len(ratio) else np.nan
        rows.append((model, "r2_of_truth", mean, *interval(ratio, seed), len(ratio)))
        values = some["r2"].to_numpy()
        rows.append((model, "auc_of_truth", auc(values, affected), *_auc_interval(values, affected, seed), len(values)))
        each = found["auc"][found["model"] == model].dropna().to_numpy()
        if len(each):
            rows.append((model, "causal_cpgs_auc", each.mean(), *interval(each, seed), len(each)))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


# Words and numbers


def _window_words(window: str) -> str:
    """1Mb as 1 Mb."""
    return re.sub(r"(?<=\d)(?=[a-zA-Z])", "\u00a0", window)


def _set_words(name: str) -> str:
    return "the other cohort" if name == "other" else f"state {name}"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:24]}…"


def _bases(value: float, _=None) -> str:
    for unit, size in (("Mb", 1e6), ("kb", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g} {unit}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def _offset(distance: int | None) -> str:
    """A signed distance in bases."""
    return f"{distance:+,}".replace("-", "−") if distance else "" if distance is None else "0"


def _held_out(scores: pd.DataFrame):
    """Rows of samples held out, in the widest window."""
    return (scores["set"] == TRAIN) & (scores["window"] == scores["window"].iloc[0])


def _wide(scores: pd.DataFrame, metric: str = "r2") -> pd.DataFrame:
    """Genes by models of the samples held out, in the widest window."""
    some = scores[_held_out(scores)]
    models = list(pd.unique(some["model"]))
    return some.pivot(index="gene", columns="model", values=metric)[models].reindex(pd.unique(some["gene"]))


# Figures


def _limits(*values) -> tuple[float, float]:
    """Limits of an axis of R²: what there is, but not far below 0."""
    every = np.concatenate([np.asarray(one, dtype=float).ravel() for one in values])
    every = every[np.isfinite(every)]
    low, high = (min(every.min(), 0.0), max(every.max(), 0.1)) if len(every) else (0.0, 1.0)
    low = max(low, LOWEST)
    pad = 0.03 * (high - low)
    return low - pad, high + pad


def _beyond(limits, *values) -> int:
    """How many points, of coordinates `values` (n,) each, lie below the limits."""
    return int(np.any([np.asarray(one) < limits[0] for one in values], axis=0).sum())


def _squares(axes, x, y, colour) -> None:
    """Squares whose shade shows how many points lie there; the axes' limits must be set."""
    edges = [
        (np.geomspace if scale == "log" else np.linspace)(*limits, 45)
        for scale, limits in ((axes.get_xscale(), axes.get_xlim()), (axes.get_yscale(), axes.get_ylim()))
    ]
    counts = np.histogram2d(x, y, edges)[0]
    level = np.ceil(6 * np.log1p(counts) / np.log1p(max(counts.max(), 1))).astype(int)
    for one in range(1, 7):
        # Of each level one path: a tenth of the bytes of as many rectangles.
        corners = [
            [(edges[0][i + a], edges[1][j + b]) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))]
            for i, j in zip(*np.nonzero(level == one), strict=True)
        ]
        if corners:
            codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * len(corners)
            path = Path(np.concatenate(corners), codes)
            axes.add_patch(PathPatch(path, facecolor=colour, alpha=round(0.15 * one, 2), lw=0))


def _cloud(axes, x, y, colour=ACCENT, most: int = POINTS, label=None) -> None:
    """Points, or where they are many how densely they lie; the axes' limits must be set."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() > most:
        _squares(axes, x[there], y[there], colour)
    else:
        alpha = 0.7 if there.sum() < 300 else 0.45
        axes.plot(x[there], y[there], "o", ms=3.2, mew=0, color=colour, alpha=alpha, label=label)


def _models_figure(figures, wide: pd.DataFrame):
    """R² of all genes by model: points or their density, quartiles, median and mean."""
    limits = _limits(wide.to_numpy())
    figure, axes = plt.subplots(figsize=(5.8, 0.5 * wide.shape[1] + 0.7))
    for row, model in enumerate(wide):
        values = wide[model].dropna().to_numpy()
        if len(values) == 0:
            continue
        colour = SECOND if model == LEAKY else ACCENT
        if len(values) <= STRIP:
            spread = 0.5 * ((np.arange(len(values)) * 0.618034) % 1 - 0.5)
            axes.plot(values, row + spread, "o", ms=2.6, mew=0, color=colour, alpha=0.45)
        else:
            height, ends = np.histogram(values, np.linspace(*limits, 81))
            half = 0.36 * height / max(height.max(), 1)
            middle = (ends[:-1] + ends[1:]) / 2
            axes.fill_between(middle, row - half, row + half, color=colour, alpha=0.35, lw=0, step="mid")
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        axes.plot([low, high], [row, row], color=colour, lw=5, alpha=0.55, solid_capstyle="butt")
        axes.plot([median, median], [row - 0.2, row + 0.2], color=colour, lw=1.8)
        axes.plot([values.mean()], [row], "D", ms=5.5, color=colour, mec=colour)
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.set(xlim=limits, ylim=(wide.shape[1] - 0.45, -0.55), xlabel="R² of a gene")
    axes.set_yticks(range(wide.shape[1]), list(wide))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    data = wide.reset_index().melt("gene", var_name="model", value_name="r2")
    below = {model: _beyond(limits, wide[model]) for model in wide}
    return figures.save("models", figure, data, "R² of the genes by model"), below


def _square_axes(axes, limits, xlabel: str, ylabel: str) -> None:
    axes.plot(limits, limits, color=MUTED, lw=1, ls="--")
    axes.set(xlim=limits, ylim=limits, xlabel=xlabel, ylabel=ylabel)
    axes.set_aspect("equal")
    axes.grid()


def _pair_figure(figures, wide: pd.DataFrame, model: str, other: str):
    """One model against another, gene by gene."""
    limits = _limits(wide[[model, other]].to_numpy())
    figure, axes = plt.subplots(figsize=(4.2, 4.0))
    _square_axes(axes, limits, f"R² of {other}", f"R² of {model}")
    _cloud(axes, wide[other], wide[model])
    data = wide[[other, model]].reset_index()
    drawn = figures.save("pair", figure, data, f"R² of {model} against that of {other}")
    return drawn, _beyond(limits, wide[other], wide[model])


def _cpgs_figure(figures, scores: pd.DataFrame, models):
    """R² against how many CpGs a gene has: the genes by the first of `models`, and means of all of these."""
    some = scores[_held_out(scores)]
    width = some[some["model"] == models[0]].set_index("gene")["n_cpgs"]
    wide = _wide(scores)[list(models)].join(width)
    parts = min(8, max(1, len(wide) // 8), wide["n_cpgs"].nunique())
    edges = np.unique(np.quantile(wide["n_cpgs"], np.linspace(0, 1, parts + 1)))
    bins = np.searchsorted(edges[1:-1], wide["n_cpgs"], side="right")
    means = wide.groupby(bins)[["n_cpgs", *models]].mean()
    limits = _limits(wide[models[0]])
    low, high = wide["n_cpgs"].min(), wide["n_cpgs"].max()
    figure, axes = plt.subplots(figsize=(5.8, 2.8))
    axes.set_xscale("log")
    axes.set(xlim=(low / 1.15, high * 1.15), ylim=limits)
    _cloud(axes, wide["n_cpgs"], wide[models[0]])
    axes.axhline(0, color=MUTED, lw=0.8)
    for model, colour in zip(models, (ACCENT, SECOND), strict=False):
        axes.plot(means["n_cpgs"], means[model], color=colour, lw=1.8, marker="D", ms=4.5, label=f"{model}, mean")
    axes.set(xlabel="CpGs of a gene", ylabel=f"R² ({models[0]})")
    ticks = [size for size in _ticks(low, high) if low / 1.15 <= size <= high * 1.15]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid()
    axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    data = wide.reset_index()
    return figures.save("cpgs", figure, data, "R² against the number of CpGs"), _beyond(limits, wide[models[0]])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis."""
    sizes = [step * 10**power for power in range(8) for step in (1, 2, 5)]
    found = [size for size in sizes if low <= size <= high]
    return found if len(found) >= 2 else sorted({low, high})


def window_table(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """R² by model and window, for models fitted in several: narrowest window first.

    Columns model, window, n (genes with CpGs there), r2 (mean over these), shared (genes with CpGs in all windows of
    the model), r2_shared, ci_low, ci_high (of r2_shared). A narrow window has no CpG of many genes: only the shared
    ones are the same everywhere.
    """
    held_out = scores[scores["set"] == TRAIN]
    rows = []
    for model, some in held_out.groupby("model", sort=False):
        wide = some.pivot(index="gene", columns="window", values="r2")
        if wide.shape[1] < 2:
            continue
        shared = wide.dropna()
        for window in list(pd.unique(some["window"]))[::-1]:
            values = shared[window].to_numpy()
            mean = values.mean() if len(values) else np.nan
            each = wide[window].dropna()
            rows.append((model, window, len(each), each.mean(), len(values), mean, *interval(values, seed)))
    columns = ["model", "window", "n", "r2", "shared", "r2_shared", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def _windows_figure(figures, table: pd.DataFrame, colours: dict):
    windows = list(pd.unique(table["window"]))
    models = list(pd.unique(table["model"]))
    figure, axes = plt.subplots(figsize=(5.8, 2.8))
    for number, model in enumerate(models):
        some = table[table["model"] == model]
        x = np.array([windows.index(window) for window in some["window"]]) + 0.06 * (number - (len(models) - 1) / 2)
        axes.plot(x, some["r2_shared"], color=colours[model], lw=1.6, marker="o", ms=4.5, label=model)
        axes.vlines(x, some["ci_low"], some["ci_high"], color=colours[model], lw=1.4)
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.set_xticks(range(len(windows)), [f"± {_window_words(window)}" for window in windows])
    axes.set(ylabel="mean R²", xlabel="CpGs around a gene's start", xlim=(-0.4, len(windows) - 0.6))
    axes.grid(axis="y")
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figures.save("windows", figure, table, "Mean R² by window")


def _others_figure(figures, scores: pd.DataFrame, model: str, sets):
    """Squared correlation in other samples against that in samples held out, gene by gene; one panel per set."""
    some = scores[(scores["model"] == model) & (scores["window"] == scores["window"].iloc[0])]
    wide = some.pivot(index="gene", columns="set", values="r2_pearson")
    sets = [name for name in sets if name in wide][:4]
    limits = _limits(wide[[TRAIN, *sets]].to_numpy())
    figure, panels = plt.subplots(1, len(sets), figsize=(3.2 * len(sets) + 0.6, 3.3), squeeze=False)
    for number, (axes, name) in enumerate(zip(panels[0], sets, strict=True)):
        _square_axes(axes, limits, "samples held out", "squared correlation" if number == 0 else "")
        _cloud(axes, wide[TRAIN], wide[name], most=POINTS // len(sets))
        axes.set_title(_set_words(_short(name)))
    data = wide[[TRAIN, *sets]].reset_index()
    return figures.save("others", figure, data, "Squared correlation in other samples against that in samples held out")


def _taxa_figure(figures, taxa: pd.DataFrame):
    figure, axes = plt.subplots(figsize=(5.8, 0.32 * len(taxa) + 0.9))
    for row, found in enumerate(taxa.itertuples()):
        axes.plot([found.r2_random, found.r2], [row, row], color=MUTED, lw=1)
        axes.plot([found.r2_random], [row], "o", ms=6, mfc="none", mec=MUTED, label="random sets" if row == 0 else None)
        axes.plot([found.r2], [row], "o", ms=7, color=COLOURS[found.taxon])
    axes.set_yticks(range(len(taxa)), list(taxa["taxon"]))
    axes.set(ylim=(len(taxa) - 0.5, -0.5), xlabel="mean R²")
    axes.margins(x=0.08)
    axes.tick_params(axis="y", length=0)
    axes.grid()
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return figures.save("taxa", figure, taxa, "Mean R² by taxon, and of random sets of CpGs")


def _truth_figure(figures, joined: pd.DataFrame, model: str):
    """R² found against what there is to find, by the genes' kind of effect."""
    some = joined[joined["model"] == model]
    levels = sorted(some["r2_true"].unique())
    kinds = [kind for kind in KIND_COLOURS if (some["kind"] == kind).any()]
    limits = _limits(some["r2"], levels)
    figure, axes = plt.subplots(figsize=(5.8, 3.0))
    seen = set()
    for at, level in enumerate(levels):
        axes.plot([at - 0.42, at + 0.42], [level, level], color=MUTED, lw=1, ls="--")
        here = [kind for kind in kinds if ((some["kind"] == kind) & (some["r2_true"] == level)).any()]
        for number, kind in enumerate(here):
            values = some["r2"][(some["kind"] == kind) & (some["r2_true"] == level)].dropna().to_numpy()
            x, colour = at + 0.24 * (number - (len(here) - 1) / 2), KIND_COLOURS[kind]
            if len(some) <= POINTS:
                spread = 0.12 * ((np.arange(len(values)) * 0.618034) % 1 - 0.5)
                axes.plot(x + spread, values, "o", ms=3, mew=0, color=colour, alpha=0.6)
            else:
                axes.vlines([x], *np.quantile(values, [0.1, 0.9]), color=colour, lw=4, alpha=0.45)
            label = None if kind in seen else kind if kind != "none" else "nothing"
            axes.plot([x - 0.09, x + 0.09], [values.mean()] * 2, color=colour, lw=2.4, label=label)
            seen.add(kind)
    axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    axes.set(xlabel="share of variance that methylation truly explains", ylabel=f"R² of {model}", ylim=limits)
    axes.set_xlim(-0.5, len(levels) - 0.5)
    axes.grid(axis="y")
    axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    data = some[["gene", "model", "kind", "r2_true", "r2"]]
    drawn = figures.save("truth", figure, data, "R² found against the true share of variance")
    return drawn, _beyond(limits, some["r2"])


def _distance_figure(figures, profile: pd.DataFrame, colours: dict):
    """Attribution by signed distance from the gene's start."""
    figure, axes = plt.subplots(figsize=(5.8, 3.0))
    axes.set_xscale("symlog", linthresh=100, linscale=0.4)
    for model, some in profile.groupby("model", sort=False):
        near, far = some["distance_from"].abs(), some["distance_to"].abs()
        inner, outer = np.minimum(near, far).clip(lower=25), np.maximum(near, far)
        centre = np.where(some["distance_from"] < 0, -1, 1) * np.sqrt(inner * outer)
        drawn = some["attribution"].where(some["cpgs"] >= FEW)
        axes.plot(centre, drawn, color=colours[model], lw=1.6, marker="o", ms=3, label=model)
    axes.axhline(1, color=MUTED, lw=1, ls="--")
    axes.axvline(0, color=LINE, lw=1)
    far = profile["distance_to"].max()
    sizes = [size for size in (1e3, 1e4, 1e5, 1e6, 1e7, 1e8) if size <= far] or [far]
    axes.xaxis.set_major_locator(FixedLocator([*(-size for size in sizes[::-1]), 0, *sizes]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_bases))
    axes.tick_params(axis="x", labelsize=8)
    axes.set(xlabel="distance from the gene's start (upstream negative)", ylabel="attribution / mean of the gene")
    axes.set_xlim(-far * 1.2, far * 1.2)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figures.save("distance", figure, profile, "Attribution against the distance from the gene's start")


def _example_figure(figures, number: int, gene: str, samples: pd.DataFrame, y, predicted, most: int):
    """Measured against predicted expression of one gene."""
    data = pd.DataFrame(
        {"sample_id": samples["sample_id"], "set": samples["set"], "measured": y, "predicted": predicted}
    )
    there = data.dropna(subset=["measured", "predicted"])
    every = there[["measured", "predicted"]].to_numpy()
    pad = 0.05 * (every.max() - every.min()) or 0.5
    limits = every.min() - pad, every.max() + pad
    figure, axes = plt.subplots(figsize=(3.3, 3.1))
    _square_axes(axes, limits, "predicted expression", "measured expression")
    sets = [name for name in pd.unique(there["set"]) if name != TRAIN]
    for name, colour in zip(sets, (SECOND, *MODEL_COLOURS[2:]), strict=False):
        some = there[there["set"] == name]
        _cloud(axes, some["predicted"], some["measured"], colour, most // (len(sets) + 1), _set_words(_short(name)))
    some = there[there["set"] == TRAIN]
    _cloud(axes, some["predicted"], some["measured"], ACCENT, most // (len(sets) + 1), label="held out")
    if sets and axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", handletextpad=0.1, borderaxespad=0.1, fontsize=8)
    return figures.save(f"example_{number}", figure, data, f"Measured against predicted expression of {gene}")


# The page


def _model_rows(summary: pd.DataFrame, wide: pd.DataFrame) -> list[dict]:
    """What the page shows of each model, best first, the leaky one last."""
    numbers = summary.set_index(["model", "metric"])
    value = numbers["value"]
    order = sorted(wide, key=lambda model: (model == LEAKY, -np.nan_to_num(value[model, "r2"], nan=-np.inf)))
    rows = []
    for model in order:
        row = {"model": model, "leaky": model == LEAKY, "n": f"{numbers.loc[(model, 'r2'), 'n']:,}"}
        for metric in METRICS:
            found = numbers.loc[(model, metric)]
            row[metric] = decimal(found["value"])
            row[f"{metric}_range"] = span(found["ci_low"], found["ci_high"])
        row["above"] = [f"{int((wide[model] > level).sum()):,}" for level in ABOVE]
        row["mean"] = value[model, "r2"]
        rows.append(row)
    return rows


def _comparison_rows(comparisons: pd.DataFrame, model: str) -> dict[str, list[dict]]:
    """By metric, `model` against each other model."""
    some = comparisons[comparisons["model"] == model]
    return {
        metric: [
            {
                "other": row.other,
                "difference": signed(row.difference),
                "n": f"{row.n:,}",
                "range": span(row.ci_low, row.ci_high, signed),
                "better": percent(row.better),
                "p": p_value(row.p_holm),
            }
            for row in some[some["metric"] == metric].itertuples()
        ]
        for metric in METRICS
    }


def _leak(comparisons: pd.DataFrame, summary: pd.DataFrame) -> dict | None:
    """What the leak of the published loop is worth; without the honest model beside, its score alone."""
    mine = summary[(summary["model"] == LEAKY) & (summary["metric"] == "r2_pearson")]
    if mine.empty:
        return None
    honest = summary["value"][(summary["model"] == FIRST) & (summary["metric"] == "r2_pearson")]
    found = {"value": decimal(mine["value"].iloc[0]), "n": f"{mine['n'].iloc[0]:,}", "difference": None}
    both = (comparisons["model"] == FIRST) & (comparisons["other"] == LEAKY) & (comparisons["metric"] == "r2_pearson")
    if both.any():
        row = comparisons[both].iloc[0]
        found |= {"difference": signed(-row["difference"]), "range": span(-row["ci_high"], -row["ci_low"], signed)}
        found |= {"n": f"{row['n']:,}", "honest": decimal(honest.iloc[0])}
    return found


def _others(scores: pd.DataFrame, summary: pd.DataFrame, study: Study) -> tuple[list[dict], list[str]]:
    """Rows by set and model of samples not trained on, and the sets without anything to compare with."""
    names = [name for name in pd.unique(study.samples["set"]) if name != TRAIN]
    widest = scores[scores["window"] == scores["window"].iloc[0]]
    numbers = summary.set_index(["model", "metric"])
    rows, lacking = [], []
    for name in names:
        some = widest[widest["set"] == name]
        if some.empty:
            lacking.append(name)
            continue
        for model in pd.unique(some["model"]):
            row = {"set": name, "words": _set_words(name), "model": model}
            row |= {"samples": f"{some['n'].max():,}"}
            for metric in METRICS:
                found, there = numbers.loc[(model, f"{metric}_in_{name}")], numbers.loc[(model, metric)]
                row[metric], row[f"{metric}_here"] = decimal(found["value"]), decimal(there["value"])
                row[f"{metric}_range"] = span(found["ci_low"], found["ci_high"])
                row[f"{metric}_n"] = f"{int(found['n']):,}"
            rows.append(row)
    return rows, lacking


def _truth_page(figures, scores, truth, summary, found, model: str) -> dict:
    joined = scores[_held_out(scores)].merge(truth, on="gene", suffixes=("", "_true"))
    drawn, below = _truth_figure(figures, joined, model)
    numbers = summary.set_index(["model", "metric"])
    rows = []
    for name in pd.unique(joined["model"]):
        row = {"model": name}
        for metric in ("r2_of_truth", "auc_of_truth", "causal_cpgs_auc"):
            there = (name, metric) in numbers.index
            row[metric] = decimal(numbers.loc[(name, metric), "value"]) if there else "–"
            limits = numbers.loc[(name, metric), ["ci_low", "ci_high"]] if there else (np.nan, np.nan)
            row[f"{metric}_range"] = span(*limits)
        rows.append(row)
    kinds = [kind for kind in KIND_COLOURS if (joined["kind"] == kind).any()]
    by_kind = joined.pivot_table(index="model", columns="kind", values="r2", sort=False)
    with_kind = found.merge(truth[["gene", "kind"]], on="gene")
    causal = with_kind.pivot_table(index="model", columns="kind", values="auc")
    one = joined[joined["model"] == model]
    return {
        "drawing": drawn,
        "below": below,
        "rows": rows,
        "kinds": [(kind, f"{(truth['kind'] == kind).sum():,}") for kind in kinds],
        "possible": [decimal(one["r2_true"][one["kind"] == kind].mean()) for kind in kinds],
        "by_kind": [
            (name, [decimal(by_kind.loc[name].get(kind, np.nan)) for kind in kinds])
            for name in pd.unique(joined["model"])
            if name in by_kind.index
        ],
        "causal": [
            (name, [decimal(causal.loc[name].get(kind, np.nan)) for kind in kinds if kind != "none"])
            for name in pd.unique(joined["model"])
            if name in causal.index
        ],
    }


def choose_examples(scores: pd.DataFrame, model: str, number: int) -> list[str]:
    """The genes that `model` predicts best, best first."""
    some = scores[_held_out(scores) & (scores["model"] == model)].dropna(subset=["r2"])
    return list(some.sort_values("r2", ascending=False, kind="stable")["gene"][:number])


def _example_cards(figures, study, scores, genes, model, predictions, attributions: Attributions, truth) -> list[dict]:
    values = study.expression.set_index("gene")
    numbers = scores[_held_out(scores) & (scores["model"] == model)].set_index("gene")
    true = {} if truth is None else truth.set_index("gene")[["kind", "r2", "cpgs"]].to_dict("index")
    cards = []
    for at, gene in enumerate(genes, 1):
        known = true.get(gene)
        names = set(known["cpgs"].split()) if known else set()
        top = attributions.tops.get(gene)
        strongest = float(top["attribution"].max()) if top is not None and len(top) else 0.0
        listed = [] if top is None else list(top[:TOP].itertuples())
        y = values.loc[gene].to_numpy(dtype=np.float32)
        cards.append(
            {
                "gene": gene,
                **{metric: decimal(numbers.loc[gene, metric]) for metric in METRICS},
                "n_cpgs": f"{numbers.loc[gene, 'n_cpgs']:,}",
                "truth": {"kind": known["kind"], "r2": f"{known['r2']:g}"} if known else None,
                "drawing": _example_figure(
                    figures, at, gene, study.samples, y, predictions[gene], EXAMPLE_POINTS // len(genes)
                ),
                "cpgs": [
                    {
                        "cpg": row.cpg,
                        "distance": _offset(row.distance),
                        "attribution": decimal(row.attribution),
                        "width": f"{100 * max(row.attribution, 0) / strongest:.1f}" if strongest > 0 else "0",
                        "true": row.cpg in names,
                    }
                    for row in listed
                    if not np.isnan(row.attribution)
                ],
            }
        )
    return cards


def _skipped(path) -> list[dict]:
    """Reasons for which genes were left out, with how many and some of their names."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [
        {"reason": reason, "n": f"{len(some):,}", "genes": list(some["gene"][:3]), "more": len(some) > 3}
        for reason, some in sorted(table.groupby("reason"), key=lambda item: (-len(item[1]), item[0]))
    ]


def _published_rows(published: pd.DataFrame) -> list[dict]:
    """Squared correlations beside published ones, see `published.beside`; nothing where there are none."""
    return [
        {
            "published": row.published,
            "model": row.model,
            "n": f"{row.n:,}",
            "p": p_value(row.p),
            "theirs": decimal(row.value_published),
            "ours": decimal(row.value),
            "difference": signed(row.difference),
            "range": span(row.ci_low, row.ci_high, signed),
        }
        for row in published.itertuples()
        if row.metric == "r2_pearson"
    ]


def _write_packed(path, frame: pd.DataFrame) -> None:
    """CSV in gzip."""
    with gzipped(path) as packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
        frame.to_csv(text, index=False, float_format="%.6g")


@dataclasses.dataclass
class Results:
    """What the page is about, scored. models: of the widest window. attributions: see `write_attributions`."""

    study: Study
    pairs: list
    models: list[str]
    widest: object
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    summary: pd.DataFrame
    taxa: pd.DataFrame
    truth: pd.DataFrame | None
    cpgs: pd.DataFrame
    examples: list[str]
    predictions: object
    attributions: object

    @property
    def first(self) -> str:
        """The model the others are compared with."""
        return self.models[0]

    @functools.cached_property
    def wide(self) -> pd.DataFrame:
        """R² by gene and model, in the widest window."""
        return _wide(self.scores)

    @functools.cached_property
    def rows(self) -> list[dict]:
        """Rows of the table of models, the best first."""
        return _model_rows(self.summary, self.wide)

    @property
    def unleaky(self) -> list[str]:
        """Models scored without leaks, the best first."""
        return [row["model"] for row in self.rows if not row["leaky"]]

    @property
    def rival(self) -> str | None:
        """The best of the others, where the first is scored without leaks."""
        return (
            next((model for model in self.unleaky if model != self.first), None) if self.first in self.unleaky else None
        )


def score_and_write(inputs: dict, outputs: dict, *, pairs, settings: dict, seed: int) -> Results:
    """Score all fits and compare the models; write the tables among `outputs`. As `write`."""
    paths = {key: inputs[key] for key in ("methylation", "expression", "genes", "samples")}
    study = Study(**paths, k=settings["folds"], seed=seed)
    pairs, fits = in_order(pairs), by_pair(inputs["fits"])
    widest = pairs[0][1]
    models = [model for model, window in pairs if window == widest]
    truth = read_truth(inputs.get("truth"), study.genes["gene"])
    cpgs = read_parquet(inputs["cpgs"])

    scores = score_all(study, fits, pairs)
    comparisons = compare(scores, seed)
    tables = [read_parquet(path) for path in inputs.get("taxa", ())]
    tables = [table for table in tables if len(table)] or [pd.DataFrame(columns=TAXA_COLUMNS)]
    taxa = summarise_taxa(pd.concat(tables, ignore_index=True))
    examples = choose_examples(scores, models[0], settings["examples"])
    predictions = write_predictions(outputs["predictions"], study, fits, models, widest, set(examples))
    attributions = write_attributions(outputs["attributions"], study, fits, models, scores, cpgs, truth, examples)
    summary = summarise(scores, seed)
    if truth is not None:
        summary = pd.concat([summary, truth_rows(scores, truth, attributions.found, seed)], ignore_index=True)
    write_csv(outputs["summary"], summary)
    write_csv(outputs["comparisons"], comparisons)
    write_csv(outputs["taxa"], taxa)
    _write_packed(outputs["scores"], scores)
    found = (study, pairs, models, widest, scores, comparisons, summary, taxa, truth, cpgs, examples, predictions)
    return Results(*found, attributions)


def _draw(results: Results, folder, windows: pd.DataFrame, others: list[dict]) -> tuple[dict, dict | None, list]:
    """Draw all figures into a folder: those of the page by name, what it says of the truth, and the genes shown."""
    first, rival, scores, study = results.first, results.rival, results.scores, results.study
    found, truth, taxa = results.attributions, results.truth, results.taxa
    shades = zip(results.models, [*MODEL_COLOURS, *[MUTED] * len(results.models)], strict=False)
    colours = {model: MUTED if model == "Mean" else colour for model, colour in shades}
    sets = [row["set"] for row in others if row["model"] == first]
    with atomic_folder(folder) as partial, matplotlib.rc_context(STYLE):
        figures = Figures(partial)
        compared = [first, *([rival] if rival else [])]
        drawn = {
            "models": _models_figure(figures, results.wide[[row["model"] for row in results.rows]]),
            "pair": _pair_figure(figures, results.wide, first, rival) if rival else None,
            "cpgs": _cpgs_figure(figures, scores, compared) if results.widest != "all" else None,
            "windows": _windows_figure(figures, windows, colours) if len(windows) else None,
            "others": _others_figure(figures, scores, first, sets) if others else None,
            "taxa": _taxa_figure(figures, taxa) if len(taxa) else None,
            "distance": _distance_figure(figures, found.profile, colours) if len(found.profile) else None,
        }
        page = None if truth is None else _truth_page(figures, scores, truth, results.summary, found.found, first)
        shown = (results.examples, first, results.predictions, found, truth)
        return drawn, page, _example_cards(figures, study, scores, *shown)


def _window_row(row) -> dict:
    """A row of the table of windows."""
    return {
        "model": row.model,
        "window": _window_words(row.window),
        "n": f"{row.n:,}",
        "r2": decimal(row.r2),
        "shared": f"{row.shared:,}",
        "r2_shared": decimal(row.r2_shared),
        "range": span(row.ci_low, row.ci_high),
    }


def _taxon_row(row) -> dict:
    """A row of the table of taxa."""
    return {
        "taxon": row.taxon,
        "genes": f"{row.genes:,}",
        "cpgs": f"{row.cpgs:g}",
        "r2": decimal(row.r2),
        "random": decimal(row.r2_random),
        "difference": signed(row.difference),
        "p": p_value(row.p_holm),
    }


def write(inputs: dict, outputs: dict, *, pairs, settings: dict, seed: int) -> None:
    """Score all fits, compare the models, and write tables, figures and page.

    inputs: `fits` (files, in folders MODEL_WINDOW), `methylation`, `expression`, `genes`, `samples`, `cpgs`, `skipped`,
    `qc` as `inputs.prepare` writes them; `taxa` (files of `by_taxon.fit_taxa`), `truth` (gene, kind, r2, cpgs) and
    `published` (see `published.read_published`) where there are any. pairs: model and window of all fits, widest window
    first. settings: `folds`, `recipe`, `examples` (genes shown), `gene_versions`.

    outputs: `summary` (SUMMARY_COLUMNS: `scores.summarise`, and `truth_rows`), `scores` (`scores.score`), `comparisons`
    (`scores.compare`), `predictions` (see `write_predictions`), `attributions` (see `write_attributions`), `taxa`
    (`scores.summarise_taxa`), `html`, and `figures`, a folder of SVG and CSV; `published` (`published.beside`), where
    there are published scores.
    """
    results = score_and_write(inputs, outputs, pairs=pairs, settings=settings, seed=seed)
    study, scores, first, found = results.study, results.scores, results.first, results.attributions
    published = pd.DataFrame()
    if "published" in inputs:
        given = read_published(inputs["published"], settings)
        published = beside({metric: _wide(scores, metric) for metric in METRICS}, given, seed)
        write_csv(outputs["published"], published)
    windows = window_table(scores, seed)
    others, lacking = _others(scores, results.summary, study)
    drawn, truth_page, cards = _draw(results, outputs["figures"], windows, others)
    best, n = next(iter(results.unleaky), first), int(study.trained.sum())
    people = len(np.unique(study.person[study.trained]))
    sizes = [len(fold.test) for fold in study.folds if len(fold.test) > 1]
    by_gene = scores[_held_out(scores)].drop_duplicates("gene")
    page = {
        "first": first,
        "best": best,
        "rival": results.rival,
        "rows": results.rows,
        "row_of": {row["model"]: row for row in results.rows},
        "above": ABOVE,
        "leaky": LEAKY,
        "leak": _leak(results.comparisons, results.summary),
        "simulated": results.truth is not None,
        "n_genes": f"{len(results.wide):,}",
        "n_samples": f"{n:,}",
        "n_people": f"{people:,}",
        "several": people < n,
        "n_cpgs": f"{len(results.cpgs):,}",
        "per_gene": f"{by_gene['n_cpgs'].median():,.0f}",
        "window": None if results.widest == "all" else _window_words(results.widest),
        "folds": settings["folds"],
        "recipe": settings["recipe"] if FIRST in results.models else None,
        "chance": decimal(float(np.mean([1 / (size - 1) for size in sizes]))),
        "comparisons": _comparison_rows(results.comparisons, first),
        "drawn": drawn,
        "windows": [_window_row(row) for row in windows.itertuples()],
        "others": others,
        "lacking": [_set_words(name) for name in lacking],
        "taxa": [_taxon_row(row) for row in results.taxa.itertuples()],
        "published": _published_rows(published),
        "truth": truth_page,
        "profile_genes": [(model, f"{number:,}") for model, number in found.genes.items()],
        "examples": cards,
        "explainer": found.explainer,
        "most_cpgs": MOST_CPGS,
        "few": FEW,
        "skipped": _skipped(inputs["skipped"]),
        "warnings": read_json(inputs["qc"]).get("warnings", []),
        "files": {key: pathlib.Path(path).name for key, path in outputs.items()}
        | {key: pathlib.Path(inputs[key]).name for key in ("skipped", "qc")},
        "strip": len(results.wide) <= STRIP,
        "dense": len(results.wide) > POINTS,
    }
    write_page(outputs["html"], "expression.html.j2", page)
    logging.info(f"{best}: mean R² {page['row_of'][best]['r2']}")

"""The figures of the page of the target `expression`."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, LINE, MUTED, SECOND, legend_above, named_rows, spread
from cpgtaxa.targets.expression.plan import TRAIN
from cpgtaxa.targets.expression.scores import LEAKY, held_out, wide_table
from cpgtaxa.wording import short

POINTS, STRIP = 1500, 300
"""Genes beyond which figures show how densely they lie; as points beside a box, it is fewer."""
LOWEST = -0.3
"""Where axes of R² end at the latest: what lies below is counted in the caption."""
FEW = 20
"""CpGs of all genes below which a bin of distance is not drawn."""
MODEL_COLOURS = (ACCENT, SECOND, *(COLOURS[name] for name in ("TriAge", "NonAgeHet", "BiAge", "UniUnstable")), MUTED)
KIND_COLOURS = {"none": MUTED, "promoter": ACCENT, "distal": SECOND, "threshold": COLOURS["TriAge"]}


def window_words(window: str) -> str:
    """1Mb as 1 Mb."""
    return re.sub(r"(?<=\d)(?=[a-zA-Z])", "\u00a0", window)


def set_words(name: str) -> str:
    return "the other cohort" if name == "other" else f"state {name}"


def _bases(value: float, _=None) -> str:
    for unit, size in (("Mb", 1e6), ("kb", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g} {unit}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


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


def models_figure(figures, wide: pd.DataFrame):
    """R² of all genes by model: points or their density, quartiles, median and mean."""
    limits = _limits(wide.to_numpy())
    figure, axes = plt.subplots(figsize=(5.8, 0.5 * wide.shape[1] + 0.7))
    for row, model in enumerate(wide):
        values = wide[model].dropna().to_numpy()
        if len(values) == 0:
            continue
        colour = SECOND if model == LEAKY else ACCENT
        if len(values) <= STRIP:
            axes.plot(values, row + spread(len(values), 0.5), "o", ms=2.6, mew=0, color=colour, alpha=0.45)
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
    axes.set(xlim=limits, xlabel="R² of a gene")
    named_rows(axes, list(wide), 0.55)
    data = wide.reset_index().melt("gene", var_name="model", value_name="r2")
    below = {model: _beyond(limits, wide[model]) for model in wide}
    return figures.save("models", figure, data, "R² of the genes by model"), below


def _square_axes(axes, limits, xlabel: str, ylabel: str) -> None:
    axes.plot(limits, limits, color=MUTED, lw=1, ls="--")
    axes.set(xlim=limits, ylim=limits, xlabel=xlabel, ylabel=ylabel)
    axes.set_aspect("equal")
    axes.grid()


def pair_figure(figures, wide: pd.DataFrame, model: str, other: str):
    """One model against another, gene by gene."""
    limits = _limits(wide[[model, other]].to_numpy())
    figure, axes = plt.subplots(figsize=(4.2, 4.0))
    _square_axes(axes, limits, f"R² of {other}", f"R² of {model}")
    _cloud(axes, wide[other], wide[model])
    data = wide[[other, model]].reset_index()
    drawn = figures.save("pair", figure, data, f"R² of {model} against that of {other}")
    return drawn, _beyond(limits, wide[other], wide[model])


def cpgs_figure(figures, scores: pd.DataFrame, models):
    """R² against how many CpGs a gene has: the genes by the first of `models`, and means of all of these."""
    some = scores[held_out(scores)]
    width = some[some["model"] == models[0]].set_index("gene")["n_cpgs"]
    wide = wide_table(scores)[list(models)].join(width)
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
    legend_above(axes, 2)
    data = wide.reset_index()
    return figures.save("cpgs", figure, data, "R² against the number of CpGs"), _beyond(limits, wide[models[0]])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis."""
    sizes = [step * 10**power for power in range(8) for step in (1, 2, 5)]
    found = [size for size in sizes if low <= size <= high]
    return found if len(found) >= 2 else sorted({low, high})


def windows_figure(figures, table: pd.DataFrame, colours: dict):
    windows = list(pd.unique(table["window"]))
    models = list(pd.unique(table["model"]))
    figure, axes = plt.subplots(figsize=(5.8, 2.8))
    for number, model in enumerate(models):
        some = table[table["model"] == model]
        x = np.array([windows.index(window) for window in some["window"]]) + 0.06 * (number - (len(models) - 1) / 2)
        axes.plot(x, some["r2_shared"], color=colours[model], lw=1.6, marker="o", ms=4.5, label=model)
        axes.vlines(x, some["ci_low"], some["ci_high"], color=colours[model], lw=1.4)
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.set_xticks(range(len(windows)), [f"± {window_words(window)}" for window in windows])
    axes.set(ylabel="mean R²", xlabel="CpGs around a gene's start", xlim=(-0.4, len(windows) - 0.6))
    axes.grid(axis="y")
    legend_above(axes, 3)
    return figures.save("windows", figure, table, "Mean R² by window")


def others_figure(figures, scores: pd.DataFrame, model: str, sets):
    """Squared correlation in other samples against that in samples held out, gene by gene; one panel per set."""
    some = scores[(scores["model"] == model) & (scores["window"] == scores["window"].iloc[0])]
    wide = some.pivot(index="gene", columns="set", values="r2_pearson")
    sets = [name for name in sets if name in wide][:4]
    limits = _limits(wide[[TRAIN, *sets]].to_numpy())
    figure, panels = plt.subplots(1, len(sets), figsize=(3.2 * len(sets) + 0.6, 3.3), squeeze=False)
    for number, (axes, name) in enumerate(zip(panels[0], sets, strict=True)):
        _square_axes(axes, limits, "samples held out", "squared correlation" if number == 0 else "")
        _cloud(axes, wide[TRAIN], wide[name], most=POINTS // len(sets))
        axes.set_title(set_words(short(name, 25)))
    data = wide[[TRAIN, *sets]].reset_index()
    return figures.save("others", figure, data, "Squared correlation in other samples against that in samples held out")


def taxa_figure(figures, taxa: pd.DataFrame):
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


def truth_figure(figures, joined: pd.DataFrame, model: str):
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
                axes.plot(x + spread(len(values), 0.12), values, "o", ms=3, mew=0, color=colour, alpha=0.6)
            else:
                axes.vlines([x], *np.quantile(values, [0.1, 0.9]), color=colour, lw=4, alpha=0.45)
            label = None if kind in seen else kind if kind != "none" else "nothing"
            axes.plot([x - 0.09, x + 0.09], [values.mean()] * 2, color=colour, lw=2.4, label=label)
            seen.add(kind)
    axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    axes.set(xlabel="share of variance that methylation truly explains", ylabel=f"R² of {model}", ylim=limits)
    axes.set_xlim(-0.5, len(levels) - 0.5)
    axes.grid(axis="y")
    legend_above(axes, 4)
    data = some[["gene", "model", "kind", "r2_true", "r2"]]
    drawn = figures.save("truth", figure, data, "R² found against the true share of variance")
    return drawn, _beyond(limits, some["r2"])


def distance_figure(figures, profile: pd.DataFrame, colours: dict):
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
    legend_above(axes, 3)
    return figures.save("distance", figure, profile, "Attribution against the distance from the gene's start")


def example_figure(figures, number: int, gene: str, samples: pd.DataFrame, y, predicted, most: int):
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
        _cloud(axes, some["predicted"], some["measured"], colour, most // (len(sets) + 1), set_words(short(name, 25)))
    some = there[there["set"] == TRAIN]
    _cloud(axes, some["predicted"], some["measured"], ACCENT, most // (len(sets) + 1), label="held out")
    if sets and axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", handletextpad=0.1, borderaxespad=0.1, fontsize=8)
    return figures.save(f"example_{number}", figure, data, f"Measured against predicted expression of {gene}")

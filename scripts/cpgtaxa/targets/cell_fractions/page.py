"""The page of the target `cell_fractions`: what the samples are made of, and how it goes with age."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, INK, LINE, SECOND, Figures, figures_in
from cpgtaxa.pages.page import write_page
from cpgtaxa.wording import decimal, percent, span

DRAWN = 400
"""Bars that a stacked drawing can hold: with more samples, each is the mean of several of like ages."""
POINTS = 3000
GROUPS = 10
"""Groups of like ages whose means make the lines."""


def correlation(values: np.ndarray, ages: np.ndarray) -> tuple[float, float, float]:
    """Pearson's r with age and Fisher's 95 % interval; NaN where nothing varies, or of fewer than four samples."""
    if len(ages) < 4 or np.ptp(values) < 1e-12 or np.ptp(ages) < 1e-12:
        return np.nan, np.nan, np.nan
    r = float(np.corrcoef(values, ages)[0, 1])
    if abs(r) > 1 - 1e-12:
        return r, r, r
    half = 1.959964 / np.sqrt(len(ages) - 3)
    return r, float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))


def means_by_age(values: np.ndarray, ages: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean age (groups,) and mean of the values (groups, k) of groups of like ages and like numbers of samples."""
    parts = np.array_split(np.argsort(ages, kind="stable"), min(groups, len(ages)))
    return np.array([ages[part].mean() for part in parts]), np.array([values[part].mean(axis=0) for part in parts])


def _composition(figures: Figures, table: pd.DataFrame, types: list[str], ages: np.ndarray):
    """Stacked bars, one a sample or a group of samples, youngest left; each type named beside its layer."""
    at, shares = means_by_age(table[types].to_numpy(), ages, DRAWN)
    order = np.argsort(-shares.mean(axis=0), kind="stable")
    figure, axes = plt.subplots(figsize=(7.6, 3.6))
    shades = list(COLOURS.values())[: len(COLOURS) - 1]
    below = np.zeros(len(shares))
    places = []
    for layer, column in enumerate(order):
        axes.bar(np.arange(len(shares)), shares[:, column], 1.0, below, color=shades[layer % len(shades)], linewidth=0)
        # A thin line between layers, so that they differ without colours.
        below = below + shares[:, column]
        axes.step(np.arange(len(shares)), below, where="mid", color=LINE, lw=0.35)
        places.append(below[-1] - shares[-1, column] / 2)
    # Names from below to above, at least a line apart.
    for layer, column in enumerate(order):
        places[layer] = max(places[layer], places[layer - 1] + 0.055) if layer else places[layer]
        axes.annotate(
            types[column],
            (len(shares) - 0.5, min(below[-1], max(0, places[layer]))),
            (len(shares) * 1.02, places[layer]),
            color=INK,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )
    ticks = np.unique(np.linspace(0, len(shares) - 1, 7).round().astype(int))
    axes.set_xticks(ticks, [f"{at[tick]:.0f}" for tick in ticks])
    axes.set(xlim=(-0.5, len(shares) - 0.5), ylim=(0, max(1.0, below.max())), ylabel="share of cells")
    axes.set_xlabel("age (years), youngest left")
    axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
    data = pd.DataFrame(shares[:, order], columns=[types[column] for column in order])
    data.insert(0, "age", at)
    return figures.save("composition", figure, data, "Cell types in each sample, by age")


def _against_age(figures: Figures, table: pd.DataFrame, types: list[str], ages: np.ndarray):
    """A panel for each type: its share against age, and means of ten groups of like ages."""
    columns = min(3, len(types))
    rows = -(-len(types) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.1 * rows), squeeze=False, layout="tight")
    rest = panels.ravel()
    for axes, name in zip(rest, types, strict=False):
        values = table[name].to_numpy()
        axes.scatter(ages, values, s=7, color=ACCENT, alpha=0.45, linewidths=0, rasterized=len(ages) > POINTS)
        at, means = means_by_age(values, ages, GROUPS)
        axes.plot(at, means, "-D", color=SECOND, lw=1.6, ms=3.5)
        axes.set_title(name)
        axes.set_ylim(0, max(0.05, 1.08 * values.max()))
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
        axes.grid(axis="y")
    for axes in rest[len(types) :]:
        axes.set_visible(False)
    figure.supxlabel("age (years)", fontsize=9)
    data = table[["sample_id", *types]].copy()
    data.insert(1, "age", ages)
    return figures.save("against_age", figure, data, "Share of each cell type against age")


def _residuals(figures: Figures, table: pd.DataFrame, ages: np.ndarray):
    """What the reference leaves unexplained of each sample, against age."""
    figure, axes = plt.subplots(figsize=(5.2, 2.9))
    values = table["residual"].to_numpy()
    axes.scatter(ages, values, s=9, color=ACCENT, alpha=0.5, linewidths=0, rasterized=len(ages) > POINTS)
    axes.axhline(np.median(values), color=SECOND, lw=1.4, ls="--")
    axes.set(xlabel="age (years)", ylabel="residual (beta)", ylim=(0, 1.1 * values.max() + 1e-6))
    axes.grid(axis="y")
    data = table[["sample_id", "residual"]].assign(age=ages)
    return figures.save("residuals", figure, data, "Residual of each sample against age")


def page(
    outputs: dict, table: pd.DataFrame, types: list[str], ages: np.ndarray, n_reference: int, note: str = ""
) -> None:
    """Draw the figures and write the page; table: of `cell_fractions.estimate`; ages: (n,) years, in its order; note:
    what is to be said of the reference."""
    with figures_in(outputs["figures"]) as figures:
        drawn = {
            "composition": _composition(figures, table, types, ages),
            "against_age": _against_age(figures, table, types, ages),
            "residuals": _residuals(figures, table, ages),
        }
    rows = []
    for name in types:
        values = table[name].to_numpy()
        r, low, high = correlation(values, ages)
        middle = np.quantile(values, [0.05, 0.95])
        rows.append(
            {
                "type": name,
                "mean": percent(values.mean(), 1),
                "sd": percent(values.std(ddof=1) if len(values) > 1 else np.nan, 1),
                "middle": span(*middle, lambda value: percent(value, 1)),
                "none": f"{int((values < 1e-6).sum()):,}",
                "r": decimal(r, 2),
                "range": span(low, high, lambda value: decimal(value, 2)),
            }
        )
    residual = table["residual"]
    page = {
        "rows": rows,
        "drawn": drawn,
        "note": note,
        "n": len(table),
        "grouped": len(table) > DRAWN,
        "n_cpgs": f"{table['n_cpgs'].max():,}",
        "n_reference": f"{n_reference:,}",
        "residual": decimal(residual.median()),
        "worst": [
            {"sample": row.sample_id, "residual": decimal(row.residual)}
            for row in table.nlargest(5, "residual").itertuples()
        ],
        "total": percent(table[types].sum(axis=1).mean(), 1),
    }
    write_page(outputs["html"], "cell_fractions.html.j2", page)

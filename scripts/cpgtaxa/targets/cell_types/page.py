"""The page of the target `cell_types`: which types' cells change with age, and in which CpGs."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cpgtaxa.pages.drawing import ACCENT, MUTED, SECOND, figures_in, minus_log, named_rows, thinned
from cpgtaxa.pages.page import write_page
from cpgtaxa.statistics.age_ewas import LEVEL
from cpgtaxa.wording import decimal, p_value, percent, signed

SHOWN = 10
"""CpGs listed for each type."""
MOST_ELEMENTS = 1500
"""Points of a figure drawn one by one; more become one picture within it."""


def _changing(figures, types: pd.DataFrame):
    shown = types[types["changing"].notna()]
    figure, axes = plt.subplots(figsize=(5.4, 0.6 + 0.32 * len(shown)), layout="constrained")
    axes.barh(range(len(shown)), shown["changing"].astype(int), color=ACCENT, height=0.6)
    named_rows(axes, [f"{one.type} ({percent(one.mean)} of the cells)" for one in shown.itertuples()])
    axes.set(xlabel=f"CpGs that change with age (q < {LEVEL:g})", xlim=(0, max(1, shown["changing"].max() * 1.05)))
    data = shown[["type", "mean", "changing", "spread_changing"]]
    return figures.save("changing", figure, data, "CpGs that change with age by cell type")


def _slopes(figures, tests: pd.DataFrame, names: list[str]):
    """A volcano for each type, side by side. tests: type, slope_per_year, p, named (bool)."""
    shown = tests[np.isfinite(tests["p"])]
    shown = thinned(shown.assign(minus_log10_p=minus_log(shown["p"])), "slope_per_year", "minus_log10_p", "type")
    across = min(3, len(names))
    down = -(-len(names) // across)
    size = (2.5 * across, 2.1 * down + 0.4)
    figure, grid = plt.subplots(
        down, across, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained", dpi=160
    )
    for axes, name in zip(grid.flat, names, strict=False):
        mine = shown[shown["type"] == name]
        for named, colour in ((False, MUTED), (True, SECOND)):
            part = mine[mine["named"] == named]
            style = {"s": 6, "color": colour, "linewidths": 0, "rasterized": len(shown) > MOST_ELEMENTS}
            axes.scatter(part["slope_per_year"], part["minus_log10_p"], **style)
        axes.set_title(name)
        axes.grid()
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("change of beta per year in cells of the type", fontsize=9)
    figure.supylabel("−log10 p", fontsize=9)
    columns = ["cpg", "type", "slope_per_year", "p", "named"]
    return figures.save("slopes", figure, shown[columns], "Change per year against p, by cell type")


def _surest(tests: pd.DataFrame, name: str) -> list[dict]:
    mine = tests[(tests["type"] == name) & np.isfinite(tests["p"])].nsmallest(SHOWN, "p", keep="first")
    return [
        {
            "cpg": one.cpg,
            "slope": signed(one.slope_per_year, 5),
            "se": decimal(one.se, 5),
            "p": p_value(one.p),
            "q": p_value(one.q),
            "cell_type": one.cell_type.replace("|", ", ") or "none",
        }
        for one in mine.itertuples()
    ]


def write_cell_types_page(out: dict, tests: pd.DataFrame, types: pd.DataFrame, counts: dict, model: str) -> None:
    """Draw the figures and write the page.

    out: paths `html`, `figures`. tests: the tested types' rows of DESCRIPTION of `table`: cpg, type, slope_per_year,
    se, p, q, cell_type. types: type, mean, own, untested, changing, spread_changing. counts: numbers of `people`,
    `cpgs`, CpGs `changing` with age, of these `named` and `undecided`, and `spread_undecided`. model: in words.
    """
    names = types.loc[types["untested"] == "", "type"].tolist()
    named = [mine in said.split("|") for mine, said in zip(tests["type"], tests["cell_type"], strict=True)]
    tests = tests.assign(named=named)
    with figures_in(out["figures"]) as figures:
        drawn = {"changing": _changing(figures, types), "slopes": _slopes(figures, tests, names)}
    rows = [
        {
            "type": one.type,
            "mean": percent(one.mean, 1),
            "own": percent(one.own, 1),
            "changing": "–" if one.untested else f"{int(one.changing):,}",
            "spread": "–" if one.untested else f"{int(one.spread_changing):,}",
            "untested": one.untested,
        }
        for one in types.itertuples()
    ]
    page = {
        "counts": {name: f"{number:,}" for name, number in counts.items()},
        "model": model,
        "drawn": drawn,
        "types": rows,
        "level": f"{LEVEL:g}",
        "tops": [(name, _surest(tests, name)) for name in names],
    }
    write_page(out["html"], "cell_types.html.j2", page)

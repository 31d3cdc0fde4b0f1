"""The page of the target `power`: the chance of each taxon against people, and how many are needed."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, MUTED, SECOND, figures_in
from cpgtaxa.pages.page import write_page
from cpgtaxa.wording import percent

LINES = (ACCENT, SECOND, COLOURS["TriNonAge"], COLOURS["BiAge"], MUTED)
"""Colours of the effects, the smallest first; more go round again."""
DASHES = ("-", "--", ":", "-.")
MARKS = "osD^v"
BESIDE = 3
"""Designs of ages in a row of panels."""


def effect_words(trend: float, spread: float) -> str:
    """An effect in words."""
    words = [] if math.isnan(trend) else [f"{trend:g} beta per decade"]
    words += [] if math.isnan(spread) else [f"spread × {spread:g} per decade"]
    return ", ".join(words) or "as in simulated cohorts"


def draw(table: pd.DataFrame, goals):
    """Power against people for one taxon: a panel for each design of ages, a line for each effect."""
    designs = list(dict.fromkeys(table["ages"]))
    across = min(len(designs), BESIDE)
    down = math.ceil(len(designs) / across)
    size = {"figsize": (0.8 + 3.4 * across, 1.2 + 2.7 * down), "layout": "constrained"}
    figure, grid = plt.subplots(down, across, squeeze=False, sharex=True, sharey=True, **size)
    people = sorted(set(table["people"]))
    trends, spreads = (list(dict.fromkeys(table[name].fillna(-1))) for name in ("trend", "spread"))
    for axes, design in zip(grid.flat, designs, strict=False):
        for goal in goals:
            axes.axhline(goal, color=MUTED, lw=0.8, ls=":")
        for key, line in table[table["ages"] == design].groupby(["trend", "spread"], sort=False, dropna=False):
            one, other = (
                values.index(-1 if math.isnan(x) else x) for values, x in zip((trends, spreads), key, strict=True)
            )
            if len(trends) == 1:
                one, other = other, 0
            style = {"color": LINES[one % len(LINES)], "ls": DASHES[other % len(DASHES)], "lw": 1.6}
            axes.fill_between(line["people"], line["low"], line["high"], color=style["color"], alpha=0.12, lw=0)
            axes.plot(line["people"], line["power"], marker=MARKS[one % 5], ms=4, label=effect_words(*key), **style)
        axes.set(xscale="log", ylim=(0, 1.02), title=f"ages {design}")
        axes.set_xticks(people, [f"{n:,}" for n in people], rotation=45)
        axes.minorticks_off()
        axes.grid(axis="x")
    for axes in grid.flat[len(designs) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("people")
    for axes in grid[:, 0]:
        axes.set_ylabel("chance of the taxon")
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=1 if across == 1 else 3 if len(names) < 4 else 2)
    return figure


def people_words(number: float, fewest: int, most: int) -> str:
    """A number of people: "≤ 50" where the fewest looked at suffice, "> 1,600" where the most do not."""
    if np.isnan(number):
        return f"> {most:,}"
    return f"≤ {fewest:,}" if number <= fewest else f"{number:,.0f}"


def rightness(taxon: str, right: str) -> str:
    """What the criteria say of a taxon where `right` ("A|B") are those that the true numbers allow."""
    if right == taxon:
        return ""
    return "boundary" if taxon in right.split("|") else "too small"


def page(outputs: dict, table: pd.DataFrame, people: pd.DataFrame, settings: dict, *, asks_network: bool) -> None:
    """Draw a figure for each taxon and write the page. table, people: of `power` and `needed`."""
    goals = [int(name.removeprefix("people_")) / 100 for name in people if name.removeprefix("people_").isdigit()]
    with figures_in(outputs["figures"]) as figures:
        drawn = []
        for taxon, mine in table.groupby("taxon", sort=False):
            title = f"Chance that a CpG of {taxon} gets its taxon, by people"
            drawn.append({"taxon": taxon, "figure": figures.save(taxon, draw(mine, goals), mine, title)})
    ends = min(settings["people"]), max(settings["people"])
    rows = []
    for one in people.to_dict("records"):
        cells = []
        for goal in goals:
            name = f"people_{100 * goal:.0f}"
            low, high = (people_words(one[f"{name}_{end}"], *ends) for end in ("low", "high"))
            cells.append(
                {"number": people_words(one[name], *ends), "range": low if low == high else f"{low} to {high}"}
            )
        rows.append(
            {
                "taxon": one["taxon"],
                "ages": one["ages"],
                "trend": "" if math.isnan(one["trend"]) else f"{one['trend']:g}",
                "spread": "" if math.isnan(one["spread"]) else f"× {one['spread']:g}",
                "cells": cells,
                "most": percent(one["most"]),
                "right": rightness(one["taxon"], one["right"]),
            }
        )
    found = {"rows": rows, "drawn": drawn, "goals": [percent(goal) for goal in goals], "settings": settings}
    found |= {"network": asks_network, "most": ends[1], "doubtful": any(row["right"] for row in rows)}
    write_page(outputs["html"], "power.html.j2", found)

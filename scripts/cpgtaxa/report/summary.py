"""The summary for the terminal."""

import numpy as np

from cpgtaxa.names import KNOWN, UNCLASSIFIED
from cpgtaxa.report.tables import share_of
from cpgtaxa.report.words import percent, stage_name
from cpgtaxa.wording import count, decimal

WIDTH = 100
"""Columns of the terminal that the summary may use."""
MOST_STAGES = 6
"""Stages that fit beside each other in the summary."""


def summary_text(counts, metrics, agreed, config, paths: dict, warnings: int = 0) -> str:
    """The summary shown at the end of a run, plain text of at most WIDTH columns.

    counts: of `count_taxa`. metrics: one dictionary per round. agreed: of `agreement`, or None. paths: taxonomy, html.
    """
    all_stages = list(dict.fromkeys(counts["stage"]))
    shown = all_stages
    if len(all_stages) > MOST_STAGES:
        shown = [all_stages[0], *all_stages[1 - MOST_STAGES :]]
    names = {stage: stage_name(stage, config) for stage in shown}
    numbers = counts.pivot(index="taxon", columns="stage", values="n_cpgs")
    last, total = numbers[shown[-1]], int(numbers[shown[-1]].sum())
    bar = min(24, WIDTH - 26 - 11 * len(shown))
    longest = max(int(last.max()), 1)

    def line(name, values, share="", tail=""):
        cells = "".join(f"{value:>11}" for value in values)
        return f"  {name:<13}{cells}{share:>9}{tail}".rstrip()

    rule = "  " + "─" * (22 + 11 * len(shown))
    text = ["", "CpGs per taxon, after each step", "", line("", names.values(), "share"), rule]
    for taxon in KNOWN:
        if taxon == UNCLASSIFIED:
            text.append(rule)
            placed = numbers.drop(UNCLASSIFIED).sum()
            text.append(line("placed", map(count, placed[shown]), percent(share_of(placed[shown[-1]], total))))
        blocks = "  " + "█" * round(bar * last[taxon] / longest) if bar >= 8 else ""
        text.append(line(taxon, map(count, numbers.loc[taxon, shown]), percent(share_of(last[taxon], total)), blocks))
    text.append(line("all", [count(total)] * len(shown), percent(1.0 if total else np.nan)))
    if len(shown) < len(all_stages):
        text.append(f"  ({len(all_stages) - len(shown)} earlier rounds left out here; the report has them all)")

    text += ["", "Networks, on test images they have not seen", ""]
    text.append(f"  {'':<24}{'cohort':>22}{'simulated':>22}{'calibration error':>21}")
    for number, found in enumerate(metrics):
        if number < len(metrics) - MOST_STAGES:
            continue
        cells = [
            f"{percent(found[key]['accuracy'])} of {count(found[key]['n'])}" if key in found else "–"
            for key in ("test_cohort", "test_simulated")
        ]
        error = decimal(found["test"]["calibration_error"]) if "test" in found else "–"
        name = f"round {number}, {found['model']}"
        text.append(f"  {name:<24}{cells[0]:>22}{cells[1]:>22}{error:>21}")

    if agreed is not None:
        text += ["", "Agreement with the known truth", ""]
        text.append(f"  {'':<27}" + "".join(f"{name:>11}" for name in names.values()))
        values = agreed.set_index(["stage", "taxon"])["value"]
        for name, title, show in _AGREEMENT_LINES:
            cells = "".join(f"{show(values[stage, name]):>11}" for stage in shown)
            text.append(f"  {title:<27}{cells}")
    text.append("")
    if warnings:
        noun = "warning" if warnings == 1 else "warnings"
        text.append(f"  {warnings} {noun} about the cohort: see the report")
    for name, path in paths.items():
        text.append(f"  {name:<10}{path}")
    # In a terminal, plain spaces are easier to search for.
    return "\n".join(text).replace("\u00a0", " ") + "\n"


_AGREEMENT_LINES = (
    ("macro", "macro-F1", decimal),
    ("placed", "CpGs placed", percent),
    ("precision", "… and right", percent),
    ("boundary", "boundary: placed and right", percent),
)

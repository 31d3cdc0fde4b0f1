"""The criteria's zones and the rounds' thresholds: how many CpGs lie below, in and above them."""

import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator

from cpgtaxa.files import parquet_blocks
from cpgtaxa.pages.drawing import ACCENT, LINE, MUTED, SECOND
from cpgtaxa.report.tables import share_of
from cpgtaxa.report.words import percent
from cpgtaxa.taxa.criteria import MIN_SAMPLES, PATTERNS, TABLE, Answers
from cpgtaxa.wording import count, number, shown

HISTOGRAM = 40
"""Bins of a criterion's histogram."""
COUNTED = ("below", "no_in_zone", "yes_in_zone", "above", "open")
"""Where CpGs lie: answered no below the zone, no in it, yes in it, yes above it; not answered."""


def in_units(criterion, scaled):
    """Values on the criterion's scale, in the quantity's units; no quantity is below 0."""
    return np.exp(scaled) if criterion.log else np.maximum(scaled, 0)


def _edges(criterion, zone: dict) -> np.ndarray:
    """Edges of a histogram around a zone; what lies beyond is counted in the outer bins."""
    low, high = max(zone["no"], zone["yes"] / 50) / 4, 4 * zone["yes"]
    if criterion.log:
        return np.geomspace(1.0 if criterion.name == "spread" else low, high, HISTOGRAM + 1)
    return np.linspace(0, high, HISTOGRAM + 1)


def count_answers(blocks, thresholds: dict, errors: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where the CpGs lie that each criterion matters to, and histograms of the estimates.

    blocks: data frames of `statistics.compute`, one after the other; CpGs of too few samples and of patterns that no
    taxon describes are left out. thresholds, errors: of the config, section taxa.

    Returns (criterion, quantity, key, no, cut, yes, n (CpGs it matters to), COUNTED, share_in_zone) and (criterion,
    low, high, n).
    """
    edges = {one.name: _edges(one, thresholds[one.name]) for one in TABLE}
    heights = {name: np.zeros(HISTOGRAM, dtype=np.int64) for name in edges}
    numbers = {name: np.zeros(len(COUNTED), dtype=np.int64) for name in edges}
    for block in blocks:
        answers = Answers(block, thresholds, errors)
        matter, known = answers.matter(), ~(answers.few | answers.foreign)
        for one in TABLE:
            answer, zone, mine = answers.by_criterion[one.name], thresholds[one.name], matter[one.name] & known
            values = in_units(one, answer.estimate)
            yes, no = answer.yes & mine, answer.no & mine
            below, above = values <= zone["no"], values >= zone["yes"]
            parts = (no & below, no & ~below, yes & ~above, yes & above, mine & ~yes & ~no)
            numbers[one.name] += [int(part.sum()) for part in parts]
            seen = values[mine & ~np.isnan(values)]
            ends = edges[one.name][[0, -1]]
            heights[one.name] += np.histogram(np.clip(seen, *ends), edges[one.name])[0]
    rows = []
    for one in TABLE:
        zone, found = thresholds[one.name], numbers[one.name].tolist()
        cut = float(in_units(one, one.cut(zone)))
        share = share_of(found[1] + found[2], sum(found))
        key = f"taxa.thresholds.{one.name}"
        rows.append((one.name, one.quantity, key, zone["no"], cut, zone["yes"], sum(found), *found, share))
    columns = ["criterion", "quantity", "key", "no", "cut", "yes", "n", *COUNTED, "share_in_zone"]
    drawn = [
        pd.DataFrame({"criterion": name, "low": found[:-1], "high": found[1:], "n": heights[name]})
        for name, found in edges.items()
    ]
    return pd.DataFrame(rows, columns=columns), pd.concat(drawn, ignore_index=True)


def nearest_criterion(answers: Answers) -> pd.DataFrame:
    """Of each CpG the criterion that decides (`Answers.deciding`).

    Returns criterion (empty where none does), value and cut in its units, margin.
    """
    names, margin = answers.deciding()
    value, cut = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for one in TABLE:
        mine = names == one.name
        value[mine] = in_units(one, answers.by_criterion[one.name].estimate[mine])
        cut[mine] = float(in_units(one, one.cut(answers.zones[one.name])))
    return pd.DataFrame({"criterion": names, "value": value, "cut": cut, "margin": margin})


OF_REASON = {
    "ambiguous": ("the tests leave several taxa, and the network's choice among them was not selected", "error_rate"),
    "contradicted": ("the tests leave no taxon", ""),
    "unlike": ("image or statistics are unlike those of simulated CpGs", "unlike"),
}
"""What a round's reason means, and the setting of section `rounds` that it depends on."""


def left_details(left: pd.DataFrame, confidence: float | None = None) -> list[dict]:
    """Why CpGs are Unclassified: per reason and open question the CpGs, what it means, and the settings concerned.

    left: reason (of the last round) and detail (of the tests), one row for each CpG that is Unclassified in the end.
    confidence: the rounds' plain threshold, None where an error rate is controlled.
    """
    questions = {one.name: one.question for one in TABLE}
    meanings = {one.name: one.meaning for one in PATTERNS}
    detail = left["detail"].astype(str).str.split(";", n=1).str[0]
    rows = []
    for (reason, said), number_ in left.groupby([left["reason"].astype(str), detail]).size().items():
        kind, _, names = said.partition(": ")
        found = [name for name in names.split(", ") if name]
        words, setting = OF_REASON[reason]
        if setting == "error_rate" and confidence is not None:
            setting = "confidence"
        settings = [f"rounds.{setting}"] if setting else []
        if kind == "open":
            meaning = " ".join(questions[name] for name in found)
            settings += [*(f"taxa.thresholds.{name}" for name in found), "taxa.errors"]
        elif kind == "no taxon":
            meaning = "; ".join(meanings[name] for name in found)
            meaning = f"{meaning[:1].upper()}{meaning[1:]}."
        elif said == "too few samples":
            meaning = f"Fewer than {MIN_SAMPLES} samples have a value."
        else:
            meaning = ""
        row = {"reason": reason, "words": words, "detail": said, "meaning": meaning, "number": int(number_)}
        rows.append(row | {"share": percent(share_of(number_, len(left))), "setting": ", ".join(settings) or "none"})
    return [row | {"n": count(row["number"])} for row in sorted(rows, key=lambda row: -row["number"])]


# What the page shows


def criteria_figure(figures, table: pd.DataFrame, drawn: pd.DataFrame):
    """Histograms of the estimates, the zones shaded and the cuts as lines."""
    figure, grid = plt.subplots(2, 4, figsize=(8.4, 3.9), layout="constrained")
    for axes, one, row in zip(grid.flat, TABLE, table.itertuples(), strict=False):
        found = drawn[drawn["criterion"] == one.name]
        edges = np.append(found["low"], found["high"].iat[-1])
        axes.axvspan(row.no, row.yes, color=SECOND, alpha=0.18, lw=0)
        axes.stairs(found["n"], edges, fill=True, color=ACCENT, alpha=0.75, lw=0)
        axes.axvline(row.cut, color=SECOND, lw=1.3)
        if one.log:
            axes.set_xscale("log")
            axes.minorticks_off()
            axes.xaxis.set_major_locator(LogLocator(numticks=4, subs=(1, 3)))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.05 * max(found["n"].max(), 1)))
        axes.set_title(one.name.replace("_", " "), fontsize=8.5)
        axes.tick_params(labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.grid(axis="y", color=LINE)
        axes.spines["left"].set_color(MUTED)
    for axes in list(grid.flat)[len(TABLE) :]:
        axes.set_axis_off()
    return figures.save("thresholds", figure, drawn, "Estimates of each criterion, its zone and its cut")


def thresholds_page(figures, statistics, left: pd.DataFrame, config: dict) -> dict:
    """What the page shows of the criteria: a figure and rows, and why CpGs are left.

    statistics: path of a Parquet file. left: of `left_details`.
    """
    settings = config["taxa"]
    table, drawn = count_answers(parquet_blocks(statistics), settings["thresholds"], settings["errors"])
    words = dict.fromkeys(("criterion", "quantity", "key"))
    rows = shown(table, **words, **dict.fromkeys(("no", "cut", "yes"), number), **dict.fromkeys(("n", *COUNTED), count))
    details = left_details(left, config["rounds"]["confidence"])
    logging.info("answers to %d criteria counted", len(table))
    errors = {key: percent(value) for key, value in settings["errors"].items()}
    drawing = criteria_figure(figures, table, drawn)
    counts = [row.pop("number") for row in details]
    return {"rows": rows, "drawing": drawing, "table": table, "left": details, "counts": counts, "errors": errors}


# The rounds' thresholds


def selection_table(rounds: list[dict], config: dict) -> pd.DataFrame:
    """The threshold of each round's calls, and how many CpGs stood near it.

    rounds: the rounds' counts. Returns round, score (`selection model`: its probability that the call is right;
    `network`: the network's own), threshold (NaN where there was none), within, near_above and near_below (candidates
    within so much of it that the tests do not contradict), candidates, placed.
    """
    confidence, rows = config["rounds"]["confidence"], []
    for found in rounds:
        threshold = found.get("threshold") if confidence is None else confidence
        near = found.get("near_threshold") or {}
        rows.append(
            (
                found["round"],
                "selection model" if confidence is None else "network",
                np.nan if threshold is None else threshold,
                near.get("within"),
                near.get("above"),
                near.get("below"),
                found["candidates"],
                found["placed"],
            )
        )
    columns = ["round", "score", "threshold", "within", "near_above", "near_below", "candidates", "placed"]
    return pd.DataFrame(rows, columns=columns).astype({"near_above": "Int64", "near_below": "Int64"})

"""What a person looks at: the HTML report, the summary for the terminal, and the tables and figures behind them.

The same inputs give the same bytes: no dates, fixed seeds, and fixed ids inside the figures.
"""

import base64
import importlib.metadata
import io
import json
import logging
import os
import pathlib
import platform

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

import cpgtaxa
from cpgtaxa.calibration import softmax
from cpgtaxa.clusters import CANDIDATE, ISOLATED, MEANINGS, STABLE, nearest
from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.drawing import ACCENT, LINE, MUTED, SECOND, STYLE, Figures, counts_grid
from cpgtaxa.errors import InputError, some
from cpgtaxa.files import atomic, atomic_folder, read_json, read_parquet
from cpgtaxa.names import COLOURS, MEANING, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.pages import environment
from cpgtaxa.render import render
from cpgtaxa.texts import read_taxa

AGREEMENT_COLUMNS = ("stage", "taxon", "n_true", "n_called", "n_half_way", "precision", "recall", "f1", "value")
ROWS = (*TAXA, UNCLASSIFIED)
WIDTH = 100
"""Columns of the terminal that the summary may use."""
MOST_STAGES = 6
"""Stages that fit beside each other in the summary."""
BINS = 10
"""Confidence bins of the reliability diagram."""


# Tables


def stages(rounds: int) -> list[str]:
    """Names of the stages of a run with so many rounds, as in the taxonomy's `source`."""
    return ["statistical", *(f"round_{number}" for number in range(rounds))]


def count_rounds(taxonomy: pd.DataFrame) -> int:
    """Rounds that placed at least one CpG, counted up to the last such round."""
    numbers = [int(source.removeprefix("round_")) for source in taxonomy["source"].unique() if "round_" in source]
    return max(numbers, default=-1) + 1


def taxa_after(taxonomy: pd.DataFrame, stage: str, rounds: int) -> np.ndarray:
    """Each CpG's taxon as it stood after a stage, (CpGs,) str: later placements are Unclassified still."""
    order = stages(rounds)
    done = taxonomy["source"].isin(order[: order.index(stage) + 1])
    return np.where(done, taxonomy["taxon"], UNCLASSIFIED).astype(object)


def count_taxa(taxonomy: pd.DataFrame, rounds: int) -> pd.DataFrame:
    """CpGs per taxon after the rules and after each round (cumulative): stage, taxon, n_cpgs, share (of all CpGs)."""
    pieces = []
    for stage in stages(rounds):
        found = pd.Series(taxa_after(taxonomy, stage, rounds)).value_counts().reindex(ROWS, fill_value=0)
        piece = pd.DataFrame({"stage": stage, "taxon": ROWS, "n_cpgs": found.to_numpy()})
        piece["share"] = piece["n_cpgs"] / max(len(taxonomy), 1)
        pieces.append(piece)
    return pd.concat(pieces, ignore_index=True)


def read_truth(path) -> pd.DataFrame:
    """The true taxa of a simulated cohort: cpg, taxon (Unclassified = half-way site), kind (empty where not given).

    path: CSV or TSV (.gz) or Parquet. Raises InputError listing missing columns, unknown taxa and duplicates.
    """
    truth, _ = read_taxa(path, "cohort.truth")
    problems = []
    unknown = sorted(set(truth["taxon"]) - set(ROWS))
    if unknown:
        problems.append(f"cohort.truth: {path}: unknown taxa {some(unknown)}; use one of {', '.join(ROWS)}")
    doubles = truth["cpg"][truth["cpg"].duplicated()].unique()
    if len(doubles):
        problems.append(f"cohort.truth: {path}: {len(doubles)} CpGs have more than one row: {some(doubles)}; keep one")
    if problems:
        raise InputError(problems)
    kind = truth["kind"].where(truth["kind"].notna(), "").astype(str) if "kind" in truth else ""
    return truth[["cpg", "taxon"]].assign(kind=kind)


def agreement(taxonomy: pd.DataFrame, truth: pd.DataFrame, rounds: int | None = None) -> pd.DataFrame:
    """Compare the taxonomy with the truth after the rules, after each round (cumulative), and as it is (`all`).

    taxonomy: cpg, taxon, source. truth: cpg, taxon (Unclassified = half-way site), and `kind` of half-way sites if
    known. CpGs that only one of them has are left out. rounds: number of rounds; found from `source` if not given.

    Returns the columns AGREEMENT_COLUMNS, per stage these rows (`taxon`; `value` is the row's one number):

    - each taxon that occurs: precision, recall and F1 (`value`) over the CpGs that have a true taxon, where one not
      placed counts as missed; n_half_way: half-way sites that were called this taxon (in none of the other numbers);
    - `macro`: means over the taxa present of precision, recall and F1 (`value`), over the CpGs that have a true taxon
      and are placed; `macro_all`: over all that have one;
    - `placed`: share of the CpGs with a true taxon (n_true) that were placed (n_called);
    - `accuracy_placed`: share of those placed (n_true) that are right (n_called);
    - `half_way_unplaced`: share of half-way sites (n_true) left Unclassified (n_called of them were not);
      `half_way_unplaced:<kind>`: the same per kind.

    Shares of nothing are NaN.
    """
    if rounds is None:
        rounds = count_rounds(taxonomy)
    truth = truth if "kind" in truth else truth.assign(kind="")
    table = truth[["cpg", "taxon", "kind"]].rename(columns={"taxon": "actual"})
    table = table.merge(taxonomy[["cpg", "taxon", "source"]], on="cpg", validate="one_to_one")
    half_way = (table["actual"] == UNCLASSIFIED).to_numpy()
    # Numbers, because scikit-learn is slow on text.
    code = {taxon: index for index, taxon in enumerate(ROWS)}
    actual = table["actual"].map(code).to_numpy()[~half_way]
    kinds = table["kind"].fillna("").to_numpy(dtype=object)[half_way]
    rows = []

    def add(stage, taxon, n_true, n_called, value, precision=np.nan, recall=np.nan, n_half_way=None):
        f1 = value if not np.isnan(precision) else np.nan
        rows.append((stage, taxon, n_true, n_called, n_half_way, precision, recall, f1, value))

    for stage in (*stages(rounds), "all"):
        after = table["taxon"] if stage == "all" else pd.Series(taxa_after(table, stage, rounds))
        after = after.map(code).to_numpy()
        called, other = after[~half_way], after[half_way]
        placed = called != code[UNCLASSIFIED]
        for index, taxon in enumerate(TAXA):
            n = int((actual == index).sum()), int((called == index).sum()), int((other == index).sum())
            if any(n):
                precision, recall, f1, _ = precision_recall_fscore_support(
                    actual == index, called == index, average="binary", zero_division=0
                )
                add(stage, taxon, n[0], n[1], f1, precision, recall, n[2])
        for name, chosen in (("macro", placed), ("macro_all", np.ones(len(actual), dtype=bool))):
            scores = _macro(actual[chosen], called[chosen])
            add(stage, name, int(chosen.sum()), int((chosen & placed).sum()), scores[2], *scores[:2])
        right = accuracy_score(actual[placed], called[placed]) if placed.any() else np.nan
        add(stage, "placed", len(actual), int(placed.sum()), _share(placed.sum(), len(actual)))
        add(stage, "accuracy_placed", int(placed.sum()), int((actual == called).sum()), right)
        left = other == code[UNCLASSIFIED]
        add(stage, "half_way_unplaced", len(left), int((~left).sum()), _share(left.sum(), len(left)))
        for kind in sorted(set(kinds) - {""}):
            those = left[kinds == kind]
            share = _share(those.sum(), len(those))
            add(stage, f"half_way_unplaced:{kind}", len(those), int((~those).sum()), share)
    found = pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))
    return found.astype({"n_half_way": "Int64"})


def _macro(actual, called) -> tuple[float, float, float]:
    """Macro precision, recall and F1 over the taxa that are truly present; NaN without any CpG."""
    if not len(actual):
        return np.nan, np.nan, np.nan
    present = np.unique(actual)
    precision, recall, _, _ = precision_recall_fscore_support(
        actual, called, labels=present, average="macro", zero_division=0
    )
    return precision, recall, f1_score(actual, called, labels=present, average="macro", zero_division=0)


def _share(part, whole) -> float:
    return float(part / whole) if whole else np.nan


def reliability(tests: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Mean confidence and accuracy of test images in BINS equal bins of calibrated confidence; empty bins left out.

    tests: the published prediction table. Returns confidence, accuracy, n.
    """
    if not len(tests):
        return pd.DataFrame({"confidence": [], "accuracy": [], "n": []})
    raw = np.log(np.clip(tests[list(TAXA)].to_numpy(dtype=float), 1e-30, 1))
    confidence = softmax(raw, temperature).max(axis=1)
    right = (tests["ActualLabel"] == tests["PredictedLabelName"]).to_numpy()
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    table = pd.DataFrame({"confidence": confidence, "accuracy": right.astype(float), "n": 1})
    return table.groupby(which).agg({"confidence": "mean", "accuracy": "mean", "n": "sum"}).reset_index(drop=True)


# Words and numbers


def _percent(value, digits: int = 1) -> str:
    return "–" if value is None or np.isnan(value) else f"{100 * value:.{digits}f}\u00a0%"


def _decimal(value, digits: int = 3) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def _signed(value, digits: int = 3) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def _count(value) -> str:
    return "–" if value is None or pd.isna(value) else f"{int(value):,}"


def _stage_name(stage: str, config: dict) -> str:
    if stage == "statistical":
        return "Own labels" if config["taxa"]["labels"] else "Statistics"
    return "Unplaced" if stage == "none" else stage.replace("_", " ").capitalize()


# The summary for the terminal


def summary_text(counts, metrics, agreed, config, paths: dict, warnings: int = 0) -> str:
    """The summary shown at the end of a run, plain text of at most WIDTH columns.

    counts: of `count_taxa`. metrics: one dictionary per round. agreed: of `agreement`, or None. paths: taxonomy, html.
    """
    all_stages = list(dict.fromkeys(counts["stage"]))
    shown = all_stages
    if len(all_stages) > MOST_STAGES:
        shown = [all_stages[0], *all_stages[1 - MOST_STAGES :]]
    names = {stage: _stage_name(stage, config) for stage in shown}
    numbers = counts.pivot(index="taxon", columns="stage", values="n_cpgs")
    last, total = numbers[shown[-1]], int(numbers[shown[-1]].sum())
    bar = min(24, WIDTH - 26 - 11 * len(shown))
    longest = max(int(last.max()), 1)

    def line(name, values, share="", tail=""):
        cells = "".join(f"{value:>11}" for value in values)
        return f"  {name:<13}{cells}{share:>9}{tail}".rstrip()

    rule = "  " + "─" * (22 + 11 * len(shown))
    text = ["", "CpGs per taxon, after each step", "", line("", names.values(), "share"), rule]
    for taxon in ROWS:
        if taxon == UNCLASSIFIED:
            text.append(rule)
            placed = numbers.drop(UNCLASSIFIED).sum()
            text.append(line("placed", map(_count, placed[shown]), _percent(_share(placed[shown[-1]], total))))
        blocks = "  " + "█" * round(bar * last[taxon] / longest) if bar >= 8 else ""
        text.append(line(taxon, map(_count, numbers.loc[taxon, shown]), _percent(_share(last[taxon], total)), blocks))
    text.append(line("all", [_count(total)] * len(shown), _percent(1.0 if total else np.nan)))
    if len(shown) < len(all_stages):
        text.append(f"  ({len(all_stages) - len(shown)} earlier rounds left out here; the report has them all)")

    text += ["", "Networks, on test images they have not seen", ""]
    text.append(f"  {'':<24}{'cohort':>22}{'simulated':>22}{'calibration error':>21}")
    for number, found in enumerate(metrics):
        if number < len(metrics) - MOST_STAGES:
            continue
        cells = [
            f"{_percent(found[key]['accuracy'])} of {_count(found[key]['n'])}" if key in found else "–"
            for key in ("test_cohort", "test_simulated")
        ]
        error = _decimal(found["test"]["calibration_error"]) if "test" in found else "–"
        name = f"round {number}, {found['model']}"
        text.append(f"  {name:<24}{cells[0]:>22}{cells[1]:>22}{error:>21}")

    if agreed is not None:
        text += ["", "Agreement with the known truth", ""]
        text.append(f"  {'':<25}" + "".join(f"{name:>11}" for name in names.values()))
        values = agreed.set_index(["stage", "taxon"])["value"]
        for name, title, show in _AGREEMENT_LINES:
            cells = "".join(f"{show(values[stage, name]):>11}" for stage in shown)
            text.append(f"  {title:<25}{cells}")
    text.append("")
    if warnings:
        noun = "warning" if warnings == 1 else "warnings"
        text.append(f"  {warnings} {noun} about the cohort: see the report")
    for name, path in paths.items():
        text.append(f"  {name:<10}{path}")
    # In a terminal, plain spaces are easier to search for.
    return "\n".join(text).replace("\u00a0", " ") + "\n"


_AGREEMENT_LINES = (
    ("macro", "macro-F1 of those placed", _decimal),
    ("placed", "true taxon: placed", _percent),
    ("accuracy_placed", "… and rightly so", _percent),
    ("half_way_unplaced", "half-way: left unplaced", _percent),
)


# Figures


def _ages_figure(figures, samples):
    ages = samples["age"].to_numpy()
    step = next(step for step in (1, 2, 5, 10) if np.ptp(ages) / step <= 24 or step == 10)
    edges = np.arange(np.floor(ages.min() / step) * step, ages.max() + step, step)
    edges = edges if len(edges) > 1 else np.array([edges[0], edges[0] + step])
    groups = {"all": np.ones(len(ages), dtype=bool)}
    if "sex" in samples:
        sex = samples["sex"].astype(object).where(samples["sex"].notna(), "not given").astype(str)
        common = list(sex.value_counts(sort=True).index[:3])
        groups = {name: (sex == name).to_numpy() for name in sorted(common)}
        rest = ~np.logical_or.reduce(list(groups.values()))
        groups |= {"other": rest} if rest.any() else {}
    colours = [ACCENT, SECOND, MUTED, LINE]
    figure, axes = plt.subplots(figsize=(5.2, 2.1))
    base, data = np.zeros(len(edges) - 1), []
    for (name, chosen), colour in zip(groups.items(), colours, strict=False):
        height = np.histogram(ages[chosen], edges)[0]
        axes.bar(edges[:-1], height, width=0.92 * step, bottom=base, align="edge", color=colour, label=name)
        base += height
        data.append(pd.DataFrame({"age_from": edges[:-1], "age_to": edges[1:], "sex": name, "n": height}))
    axes.set(xlabel="age (years)", ylabel="samples")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(axis="y")
    if len(groups) > 1:
        axes.legend(ncols=len(groups), loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return figures.save("ages", figure, pd.concat(data), "Ages of the samples")


def _taxa_figure(figures, counts, config):
    order = list(dict.fromkeys(counts["stage"]))
    numbers = counts.pivot(index="taxon", columns="stage", values="n_cpgs").loc[list(ROWS), order]
    added = numbers.diff(axis=1)
    added[order[0]] = numbers[order[0]]
    added.loc[UNCLASSIFIED] = 0
    shades = dict(zip(order, np.linspace(1, 0.3, len(order)) if len(order) > 1 else [1.0], strict=True))
    figure, axes = plt.subplots(figsize=(5.2, 3.7))
    for row, taxon in enumerate(ROWS):
        left = 0
        for stage in order:
            width = added.loc[taxon, stage]
            axes.barh(row, width, left=left, height=0.72, color=COLOURS[taxon], alpha=shades[stage])
            left += width
        if taxon == UNCLASSIFIED:
            left = numbers.loc[taxon, order[-1]]
            axes.barh(row, left, height=0.72, color=COLOURS[taxon])
        axes.annotate(_count(left), (left, row), xytext=(4, 0), textcoords="offset points", va="center", color=MUTED)
    axes.set_yticks(range(len(ROWS)), ROWS)
    axes.invert_yaxis()
    axes.set_xlabel("CpGs")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(x=0.1)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    handles = [Patch(color=MUTED, alpha=shades[stage], lw=0, label=_stage_name(stage, config)) for stage in order]
    axes.legend(
        handles=handles,
        ncols=min(len(order), 4),
        handlelength=1.2,
        columnspacing=1.2,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.2,
    )
    data = added.rename_axis(index="taxon").reset_index().melt("taxon", var_name="source", value_name="n_cpgs")
    left_over = pd.DataFrame(
        {"taxon": [UNCLASSIFIED], "source": "none", "n_cpgs": [numbers.loc[UNCLASSIFIED, order[-1]]]}
    )
    data = pd.concat([data[data["taxon"] != UNCLASSIFIED], left_over])
    return figures.save("taxa", figure, data.astype({"n_cpgs": int}), "CpGs per taxon, by what placed them")


def _training_figure(figures, number, log):
    if not len(log):
        return None
    figure, panels = plt.subplots(1, 2, figsize=(6.6, 2.1), layout="constrained")
    for axes, kind, title in zip(panels, ("loss", "acc"), ("loss", "accuracy"), strict=True):
        marker = "o" if len(log) < 3 else None
        axes.plot(log["epoch"], log[f"train_{kind}"], color=MUTED, lw=1.4, label="training", marker=marker)
        axes.plot(log["epoch"], log[f"val_{kind}"], color=ACCENT, lw=1.8, label="validation", marker=marker)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid()
    panels[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[1].legend(loc="lower right")
    return figures.save(f"training_round_{number}", figure, log, f"Training curves of round {number}")


def _confusion_figure(figures, name, matrix, rows, columns, title, ylabel, xlabel):
    """matrix: (rows, columns) counts; shade is the share of its row."""
    matrix = np.asarray(matrix)
    figure, axes = plt.subplots(figsize=(0.44 * len(columns) + 1.3, 0.36 * len(rows) + 1.2))
    counts_grid(axes, matrix, rows, columns, xlabel, ylabel)
    data = pd.DataFrame(matrix, columns=list(columns))
    data.insert(0, "actual", list(rows))
    return figures.save(name, figure, data, title)


def _reliability_figure(figures, tables):
    figure, axes = plt.subplots(figsize=(3.9, 3.6))
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
    shades = np.linspace(0.35, 1, len(tables)) if len(tables) > 1 else [1.0]
    for (number, table), alpha in zip(tables.items(), shades, strict=True):
        axes.plot(
            table["confidence"], table["accuracy"], color=ACCENT, alpha=alpha, lw=1.6, marker="o", ms=4,
            label=f"round {number}",
        )  # fmt: skip
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence of the network", ylabel="share that is right")
    axes.set_aspect("equal")
    axes.grid()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="lower right")
    data = pd.concat([table.assign(round=number) for number, table in tables.items()])
    data = data[["round", "confidence", "accuracy", "n"]]
    return figures.save("reliability", figure, data, "Reliability of the networks' confidence")


def _truth_figure(figures, taxonomy, truth):
    table = truth.merge(taxonomy[["cpg", "taxon"]], on="cpg", suffixes=("_true", ""))
    half_way = table["taxon_true"] == UNCLASSIFIED
    kind = "half-way: " + table["kind"].where(table["kind"] != "", "any")
    table["actual"] = table["taxon_true"].where(~half_way, kind)
    present = [taxon for taxon in TAXA if (table["actual"] == taxon).any()]
    rows = present + sorted(table.loc[half_way, "actual"].unique())
    if not rows:
        return None
    matrix = pd.crosstab(table["actual"], table["taxon"]).reindex(index=rows, columns=ROWS, fill_value=0)
    title = "True taxon against the taxon given"
    return _confusion_figure(figures, "truth", matrix.to_numpy(), rows, ROWS, title, "true taxon", "taxon given")


# Gallery


def _png(code: np.ndarray) -> str:
    """An image's codes (224, 224) as base64 PNG, lossless, with a palette: a third of the bytes of RGB."""
    image = Image.frombytes("P", code.shape[::-1], code.tobytes())
    palette = [255, 255, 255] + [part for green in range(1, 256) for part in (0, green, 0)]
    image.putpalette(palette)
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def choose_examples(taxonomy: pd.DataFrame, number: int, seed: int) -> dict[str, dict[str, list[int]]]:
    """Row numbers of the CpGs to show: per taxon `number` of the source statistical, and of the networks' ones.

    Of the former the most typical ones (highest probability of the network, ties at random), of the latter, and of
    the Unclassified (twice as many), a random draw. Keys: taxon, then "statistical", "network" or "none".
    """
    rng = np.random.default_rng([seed, 17])
    shuffled = rng.permutation(len(taxonomy))
    taxon = taxonomy["taxon"].to_numpy()[shuffled]
    source = taxonomy["source"].to_numpy()[shuffled]
    typical = np.argsort(-taxonomy["confidence"].fillna(-1).to_numpy()[shuffled], kind="stable")
    chosen = {}
    for name in TAXA:
        clear = typical[((taxon == name) & (source == "statistical"))[typical]]
        placed = np.flatnonzero((taxon == name) & (source != "statistical"))
        chosen[name] = {"statistical": shuffled[clear[:number]], "network": shuffled[placed[:number]]}
    left = np.flatnonzero(taxon == UNCLASSIFIED)
    chosen[UNCLASSIFIED] = {"none": shuffled[left[: 2 * number]]}
    return {name: {key: list(map(int, rows)) for key, rows in found.items()} for name, found in chosen.items()}


def _gallery(taxonomy, labels, statistics, cohort, ages, config) -> list[dict]:
    """What the page shows per taxon: groups of cards, one per CpG."""
    chosen = choose_examples(taxonomy, config["report"]["gallery"], config["seed"])
    every = [row for found in chosen.values() for rows in found.values() for row in rows]
    cpgs = taxonomy["cpg"].to_numpy(dtype=object)[every]
    codes = dict(zip(every, render(cohort.take(cohort.find(cpgs)), ages), strict=True)) if every else {}
    reasons = labels.set_index("cpg")["reason"].reindex(cpgs).fillna("").to_dict()
    numbers = statistics.set_index("cpg")[["core_effect", "core_sd"]].reindex(cpgs)
    numbers = {cpg: (effect, sd) for cpg, effect, sd in numbers.itertuples()}
    given = "Given" if config["taxa"]["labels"] else "Labelled by the rules"
    titles = {"statistical": f"{given}, most typical", "network": "Placed by a network, drawn at random"}
    titles["none"] = "Drawn at random"
    p = taxonomy[list(PROBABILITY_COLUMNS)].to_numpy()
    result = []
    for taxon, found in chosen.items():
        groups = []
        for key, rows in found.items():
            cards = []
            for row in rows:
                cpg = taxonomy["cpg"].iat[row]
                effect, sd = numbers[cpg]
                card = {"cpg": cpg, "source": _stage_name(taxonomy["source"].iat[row], config)}
                card |= {"confidence": _percent(taxonomy["confidence"].iat[row], 0), "effect": _signed(effect)}
                card |= {"sd": _decimal(sd), "reason": reasons[cpg], "png": _png(codes[row]), "likely": []}
                if key == "none" and not np.isnan(p[row]).any():
                    best = np.argsort(-p[row], kind="stable")[:2]
                    card["likely"] = [(TAXA[index], _percent(float(p[row, index]), 0)) for index in best]
                cards.append(card)
            if cards:
                groups.append({"title": titles[key], "cards": cards})
        meaning = MEANING.get(taxon, "no pattern is clear enough: between two taxa, or unlike any of the ten")
        result.append({"taxon": taxon, "meaning": meaning, "groups": groups})
    return result


# Are ten taxa needed, and enough?


def _stands_out(text) -> str:
    """What stands out, in words: `text` is that of the clusters' table."""
    pairs = [item.rsplit(" ", 1) for item in str(text).split("; ") if " " in item]
    return ", ".join(f"{MEANINGS.get(column, column)} {z.replace('-', '−')}" for column, z in pairs)


def _cluster_rows(found: pd.DataFrame, cohort, ages) -> list[dict]:
    columns = [name for name in found if name.startswith("example_")]
    examples = [[cpg for cpg in row if cpg] for row in found[columns].to_numpy()]
    every = [cpg for names in examples for cpg in names]
    codes = iter(render(cohort.take(cohort.find(every)), ages) if every else ())
    rows = []
    for row, names in zip(found.itertuples(), examples, strict=True):
        rows.append(
            {
                **{"number": row.cluster, "name": row.name, "n": _count(row.n)},
                "candidate": row.name == CANDIDATE,
                **{"stability": _decimal(row.stability, 2), "isolation": _decimal(row.isolation, 2)},
                "likely": [(row.taxon_a, _percent(row.p_a, 0)), (row.taxon_b, _percent(row.p_b, 0))],
                **{"nearest": row.nearest_known, "stands_out": _stands_out(row.stands_out)},
                "cards": [{"cpg": cpg, "png": _png(next(codes))} for cpg in names],
            }
        )
    return rows


def _embedding_page(inputs, figures, cohort, ages) -> dict:
    """What the page shows of the rule `embedding`'s files."""
    pairs = pd.read_csv(inputs.separability)
    numbers = ("cluster", "n", "stability", "isolation", "p_a", "p_b")
    found = pd.read_csv(inputs.clusters, dtype=str, keep_default_na=False)
    found = found.assign(**{name: pd.to_numeric(found[name]) for name in numbers})
    drawn = pathlib.Path(inputs.map_drawn).read_text(encoding="utf-8")
    points = pd.read_csv(inputs.map, dtype={"cpg": str, "cluster": "Int64"}, keep_default_na=False, na_values=[""])
    summary = read_json(inputs.embedding)
    return {key: _count(value) if type(value) is int else value for key, value in summary.items()} | {
        "candidates": summary["candidates"],
        "stable": STABLE,
        "isolated": ISOLATED,
        "map": figures.add("map", drawn, points, "Map of the CpGs as the network sees them"),
        "taxa": [
            {
                **{"taxon": row.taxon, "n": _count(row.n), "nearest": row.nearest, "verdict": row.verdict},
                **{"accuracy": _percent(row.balanced_accuracy), "low": _percent(row.low)},
            }
            for row in nearest(pairs).itertuples()
        ],
        "clusters": _cluster_rows(found, cohort, ages),
    }


# The page


def _versions() -> list[tuple[str, str]]:
    found = [("cpgtaxa", cpgtaxa.__version__), ("python", platform.python_version())]
    names = ("snakemake", "numpy", "pandas", "pyarrow", "scipy", "numba", "diptest", "scikit-learn")
    for name in (*names, "torch", "torchvision", "lightning", "matplotlib", "jinja2", "pillow"):
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _count_rows(counts: pd.DataFrame) -> list[dict]:
    order = list(dict.fromkeys(counts["stage"]))
    numbers = counts.pivot(index="taxon", columns="stage", values="n_cpgs")[order]
    total = int(numbers[order[-1]].sum())
    return [
        {
            "taxon": taxon,
            "meaning": MEANING.get(taxon, "none of them, or not clear"),
            "numbers": [_count(value) for value in numbers.loc[taxon]],
            "share": _percent(_share(numbers.loc[taxon, order[-1]], total)),
        }
        for taxon in ROWS
    ]


def _round_rows(counts: list[dict], metrics: list[dict]) -> list[dict]:
    rows = []
    for found, scores in zip(counts, metrics, strict=True):
        row = {"round": found["round"], "model": scores["model"]}
        row |= {key: _count(found[key]) for key in ("candidates", "placed")}
        row |= {reason: _count(number) for reason, number in found["left"].items()}
        row["expected"], row["bound"] = (
            _percent(found[key] if found.get("judge_at_least") else None)
            for key in ("expected_error_rate", "error_rate_at_most")
        )
        row["share"] = _percent(_share(found["placed"], found["candidates"]))
        row["labelled"] = _count(found.get("labelled_cpgs", 0))
        row["as_labels"] = _percent(found.get("network_as_labels"))
        row["doubtful"] = found.get("doubtful", False)
        validation = scores.get("validation")
        row["validation"] = _percent(validation["best_accuracy"]) if validation else "–"
        row["epochs"] = _count(validation["epochs"]) if validation else "–"
        row["minutes"] = f"{validation['training_seconds'] / 60:.1f}" if validation else "–"
        row["most"] = sorted(found["placed_per_taxon"].items(), key=lambda item: (-item[1], TAXA.index(item[0])))
        rows.append(row)
    return rows


def _test_rows(metrics: list[dict]) -> list[dict]:
    names = (("test_cohort", "cohort"), ("test_simulated", "simulated"), ("test", "all"))
    return [
        {
            "round": number,
            "images": name,
            "n": _count(found[key]["n"]),
            "accuracy": _percent(found[key]["accuracy"]),
            "macro_f1": _decimal(found[key]["macro_f1"]),
            "error_raw": _decimal(found[key]["calibration_error_raw"]),
            "error": _decimal(found[key]["calibration_error"]),
            "temperature": _decimal(found["temperature"], 2),
        }
        for number, found in enumerate(metrics)
        for key, name in names
        if key in found and (key != "test" or len(found.keys() & {"test_cohort", "test_simulated"}) > 1)
    ]


def _agreement_page(agreed: pd.DataFrame, stage_names: dict) -> dict:
    values = agreed.set_index(["stage", "taxon"])["value"]
    lines = (
        ("macro", "Macro-F1, CpGs placed", _decimal),
        ("macro_all", "Macro-F1, all CpGs with a true taxon", _decimal),
        ("placed", "CpGs with a true taxon that were placed", _percent),
        ("accuracy_placed", "… of which rightly", _percent),
        ("half_way_unplaced", "Half-way sites left Unclassified", _percent),
    )
    last = agreed[agreed["stage"] == "all"]
    kinds = last[last["taxon"].str.startswith("half_way_unplaced:")]
    return {
        "lines": [(title, [show(values[stage, name]) for stage in stage_names]) for name, title, show in lines],
        "taxa": [
            {
                **{"taxon": row.taxon, "n_true": _count(row.n_true), "n_called": _count(row.n_called)},
                **{"half_way": _count(row.n_half_way), "f1": _decimal(row.f1)},
                **{"precision": _decimal(row.precision), "recall": _decimal(row.recall)},
            }
            for row in last[last["taxon"].isin(TAXA)].itertuples()
        ],
        "kinds": [
            {"kind": row.taxon.partition(":")[2], "n": _count(row.n_true), "unplaced": _percent(row.value)}
            for row in kinds.itertuples()
        ],
    }


def _cohort_page(qc: dict, samples: pd.DataFrame, cohort: Cohort, adjusted: dict | None = None) -> dict:
    cpgs, people = qc.get("n_cpgs", {}), qc.get("n_samples", {})
    facts = [("Samples", _count(len(samples)))]
    left_out = [
        f"{len(names):,} {why}"
        for key, why in (
            ("only_in_matrix", "without a row in the sheet"),
            ("only_in_sheet", "without a column in the matrix"),
            ("missing", "with too many missing values"),
            ("not_only", "outside the stratum"),
            ("not_first", "of people or families that have another"),
        )
        if (names := qc.get("samples_dropped", {}).get(key))
    ]
    if people:
        text = f"{_count(people.get('in_matrix'))} in the matrix, {_count(people.get('in_sheet'))} in the sheet"
        facts.append(("Samples read", text))
    if left_out:
        facts.append(("Samples left out", ", ".join(left_out)))
    ages = samples["age"]
    facts.append(("Age", f"{ages.min():g} to {ages.max():g} years, median {ages.median():g}"))
    if chosen := qc.get("columns"):
        shown = [
            f"{name.replace('sample_id', 'ids')} {chosen[name]!r}"
            for name in ("sample_id", "age", "sex")
            if name in chosen
        ]
        facts.append(("Columns of the sheet", f"{', '.join(shown)}; ages in {chosen.get('age_unit', 'years')}"))
    if "sex" in samples:
        sexes = samples["sex"].astype(object).where(samples["sex"].notna(), "not given").astype(str).value_counts()
        facts.append(("Sex", ", ".join(f"{name} {number:,}" for name, number in sorted(sexes.items()))))
    facts.append(("CpGs", _count(cohort.n_cpgs)))
    why = {
        **{"missing": "mostly missing", "constant": "constant", "replicate": "other probes of CpGs that are used"},
        "not_listed": "not among those wanted",
    }
    dropped = [
        f"{number:,} {why.get(name, f'in the list {name}')}"
        for key, number in cpgs.items()
        if (name := key.removeprefix("dropped_")) != key and number
    ]
    if qc.get("array", {}).get("array", "unknown") != "unknown":
        facts.append(("Array, by its ids", qc["array"]["array"]))
    if qc.get("values", "beta") != "beta":
        facts.append(("Values given", {"m": "M-values", "percent": "percent"}[qc["values"]]))
    if cpgs:
        facts.append(("CpGs read", _count(cpgs.get("in"))))
        facts.append(("CpGs left out", ", ".join(dropped) or "none"))
    if "missing_fraction" in qc:
        facts.append(("Missing values", _percent(qc["missing_fraction"], 2)))
    warnings = qc.get("warnings", [])
    if adjusted:
        kinds = {"category": "{} categories", "number": "a number", "fractions": "{} cell types"}
        names = []
        for covariate in adjusted["covariates"]:
            number = len(covariate["levels"]) if covariate["levels"] else covariate["terms"]
            names.append(f"{covariate['name']} ({kinds[covariate['kind']].format(number)})")
        facts += [
            ("Betas adjusted for", ", ".join(names)),
            (
                "Taken by that",
                f"{_percent(adjusted['share_taken'])} of the variance beside age "
                f"({_percent(adjusted['share_by_chance'])} by chance); "
                f"{_count(adjusted['clipped']['values'])} values clipped",
            ),
        ]
        warnings = [*warnings, *adjusted["warnings"]]
    return {"facts": facts, "warnings": warnings, "sha256": qc.get("sha256", {})}


def _json(path) -> dict:
    with open(path, encoding="utf-8") as handle:
        return json.load(handle)


def _list(paths) -> list[str]:
    return [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)


def write_report(inputs, outputs: dict, config: dict) -> None:
    """Write the report, the terminal's summary, and the tables and figures behind them.

    inputs: attributes counts, metrics, logs, tests (one file per round each), taxonomy, labels, statistics, beta,
    samples, qc, those of the rule `embedding` (map, map_drawn, separability, clusters, embedding), and, for a
    simulated cohort, truth; where betas are adjusted, adjusted (what was done to them). outputs: paths html, summary,
    counts, agreement, figures (a folder). config: the whole config, with its defaults. Raises InputError for a truth
    that cannot be used.
    """
    truth_path = getattr(inputs, "truth", None)
    truth = read_truth(truth_path) if truth_path else None
    round_counts = sorted((_json(path) for path in _list(inputs.counts)), key=lambda found: found["round"])
    metrics = [_json(path) for path in _list(inputs.metrics)]
    logs = [pd.read_csv(path) for path in _list(inputs.logs)]
    tests = [pd.read_csv(path) for path in _list(inputs.tests)]
    taxonomy = read_parquet(inputs.taxonomy)
    labels = read_parquet(inputs.labels, columns=["cpg", "reason"])
    statistics = read_parquet(inputs.statistics, columns=["cpg", "core_effect", "core_sd"])
    samples, cohort, qc = read_samples(inputs.samples), Cohort(inputs.beta), _json(inputs.qc)
    adjusted = _json(inputs.adjusted) if getattr(inputs, "adjusted", None) else None
    rounds = len(round_counts)

    counts = count_taxa(taxonomy, rounds)
    with atomic(outputs["counts"]) as temporary:
        counts.to_csv(temporary, index=False, float_format="%.6g")
    agreed = agreement(taxonomy, truth, rounds) if truth is not None else None
    table = pd.DataFrame(columns=list(AGREEMENT_COLUMNS)) if agreed is None else agreed
    with atomic(outputs["agreement"]) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")

    stage_names = {stage: _stage_name(stage, config) for stage in stages(rounds)}
    with atomic_folder(outputs["figures"]) as partial, matplotlib.rc_context(STYLE):
        figures = Figures(partial)
        embedding = _embedding_page(inputs, figures, cohort, samples["age"].to_numpy())
        reliabilities = {
            number: reliability(found, scores["temperature"])
            for number, (found, scores) in enumerate(zip(tests, metrics, strict=True))
            if len(found)
        }
        drawn = {
            "ages": _ages_figure(figures, samples),
            "taxa": _taxa_figure(figures, counts, config),
            "training": [_training_figure(figures, number, log) for number, log in enumerate(logs)],
            "reliability": _reliability_figure(figures, reliabilities) if reliabilities else None,
            "truth": _truth_figure(figures, taxonomy, truth) if truth is not None else None,
            "confusion": [
                [
                    (
                        images,
                        _confusion_figure(
                            *(figures, f"confusion_round_{number}_{images}", found[f"test_{images}"]["confusion"]),
                            *(TAXA, TAXA, f"Confusions of round {number}, {images} images", "actual", "predicted"),
                        ),
                    )
                    for images in ("cohort", "simulated")
                    if f"test_{images}" in found
                ]
                for number, found in enumerate(metrics)
            ],
        }

    last = counts[counts["stage"] == counts["stage"].iat[-1]].set_index("taxon")["n_cpgs"]
    first = counts[counts["stage"] == "statistical"].set_index("taxon")["n_cpgs"]
    unplaced, total = int(last[UNCLASSIFIED]), int(last.sum())
    plain = json.loads(json.dumps(config, default=str))
    page = {
        "n_cpgs": _count(total),
        "n_samples": _count(cohort.n_samples),
        "ages": (f"{samples['age'].min():g}", f"{samples['age'].max():g}"),
        "n_labelled": _count(total - first[UNCLASSIFIED]),
        "n_networks": _count(first[UNCLASSIFIED] - unplaced),
        "n_unplaced": _count(unplaced),
        "share_placed": _percent(_share(total - unplaced, total)),
        "share_unplaced": _percent(_share(unplaced, total)),
        "rounds": rounds,
        "own_labels": bool(config["taxa"]["labels"]),
        "own_images": bool(config["images"]["info"]),
        "simulated_cohort": bool(config.get("simulate_cohort")),
        "confidence": _percent(config["rounds"]["confidence"], 0) if config["rounds"]["confidence"] else None,
        "error_rate": _percent(config["rounds"]["error_rate"], 0),
        "veto": config["rounds"]["veto"],
        "unlike": _percent(1 - config["rounds"]["unlike"], 0),
        "stages": list(stage_names.values()),
        "cohort": _cohort_page(qc, samples, cohort, adjusted),
        "count_rows": _count_rows(counts),
        "round_rows": _round_rows(round_counts, metrics),
        "test_rows": _test_rows(metrics),
        "gallery": _gallery(taxonomy, labels, statistics, cohort, samples["age"].to_numpy(), config),
        "figures": drawn,
        "embedding": embedding,
        "agreement": _agreement_page(agreed, stage_names) if agreed is not None else None,
        "thresholds": list(config["taxa"]["thresholds"].items()),
        "versions": _versions(),
        "config": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100),
        "bins": BINS,
    }
    html = environment().get_template("report.html.j2").render(page)
    with atomic(outputs["html"]) as temporary:
        temporary.write_text(html, encoding="utf-8")

    paths = {"taxonomy": f"{inputs.taxonomy}, and as CSV beside it", "report": outputs["html"]}
    paths["explorer"] = "results/explorer.html: every CpG"
    text = summary_text(counts, metrics, agreed, config, paths, len(page["cohort"]["warnings"]))
    with atomic(outputs["summary"]) as temporary:
        temporary.write_text(text, encoding="utf-8")
    logging.info("report: %s, %.1f MB", outputs["html"], len(html.encode()) / 1e6)

"""Draw the pictures of the guide: `make guide`, or `.venv/bin/python resources/guide/draw.py [--out FOLDER]`.

Everything is simulated, computed and drawn by the workflow's own library, from one seed: the same bytes every time on
one machine. Each example is checked by the tests: one that did not have the taxon it illustrates stops the script.
`numbers.json` beside the pictures holds the numbers that the guide quotes from them, as they are quoted; the guide's
tables of criteria and patterns are written from `cpgtaxa.taxa.criteria`.
"""

import argparse
import itertools
import json
import os
import pathlib
import sys
import tempfile

if __name__ == "__main__":  # whoever imports this has threads of their own
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import PercentFormatter

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa.explain.page import lines, questions  # noqa: E402
from cpgtaxa.images.render import planes, render  # noqa: E402
from cpgtaxa.learning.networks import load_predictor  # noqa: E402
from cpgtaxa.learning.temperature import expected_calibration_error, fit_temperature, softmax  # noqa: E402
from cpgtaxa.names import COLOURS, INDEX, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED  # noqa: E402
from cpgtaxa.pages.drawing import (  # noqa: E402
    ACCENT,
    INK,
    LINE,
    MARKERS,
    MUTED,
    ON_ACCENT,
    PAPER,
    SECOND,
    STYLE,
    counts_grid,
)
from cpgtaxa.placement import novelty, selection  # noqa: E402
from cpgtaxa.report.tables import reliability  # noqa: E402
from cpgtaxa.simulation import simulate  # noqa: E402
from cpgtaxa.simulation.calibration_cpgs import BOUNDARY, STREAM  # noqa: E402
from cpgtaxa.simulation.simulate import Profile  # noqa: E402
from cpgtaxa.statistics.kernel import compute  # noqa: E402
from cpgtaxa.taxa.criteria import BY_NAME, PATTERNS, RULES, TABLE, Answers  # noqa: E402
from cpgtaxa.taxa.labels import define_taxa, ruled_out  # noqa: E402

SEED, SAMPLES = 5, 400
TESTED, HARD_SAMPLES = 6000, 100
COHORT_CPGS, COHORT_SAMPLES, CALIBRATION, PLANTED = 2500, 150, 8000, 3
DEFAULTS = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
SETTINGS_OF_TAXA = {key: DEFAULTS["taxa"][key] for key in ("thresholds", "errors")}
SETTINGS = {key: DEFAULTS["rounds"][key] for key in ("error_rate", "confidence", "unlike", "veto")}

EXAMPLES = {
    "UniStable": Profile("UniStable", levels=(0.93,), sds=(0.006,)),
    "UniUnstable": Profile("UniUnstable", levels=(0.6,), sds=(0.05,)),
    "LinAgeHomo": Profile("LinAgeHomo", levels=(0.45,), effects=(0.16,), sds=(0.04,)),
    "LinAgeHet": Profile("LinAgeHet", levels=(0.3,), effects=(0.22,), sds=(0.035,), log_ratio=1.2),
    "NonAgeHet": Profile("NonAgeHet", levels=(0.62,), sds=(0.045,), log_ratio=1.3),
    "Outlier": Profile("Outlier", levels=(0.08,), sds=(0.012,), outliers=6, outlier_distance=0.5),
    "BiNonAge": Profile("BiNonAge", levels=(0.3, 0.72), weights=(0.6, 0.4), effects=(0, 0), sds=(0.035, 0.035)),
    "BiAge": Profile("BiAge", levels=(0.22, 0.62), weights=(0.55, 0.45), effects=(0.02, 0.18), sds=(0.035, 0.04)),
    "TriNonAge": Profile(
        "TriNonAge", levels=(0.12, 0.5, 0.88), weights=(0.42, 0.44, 0.14), effects=(0, 0, 0), sds=(0.03, 0.045, 0.03)
    ),
    "TriAge": Profile(
        "TriAge",
        levels=(0.16, 0.48, 0.8),
        weights=(0.42, 0.44, 0.14),
        effects=(0.03, 0.1, 0.17),
        sds=(0.025, 0.04, 0.03),
    ),
    UNCLASSIFIED: Profile("LinAgeHomo", levels=(0.35,), effects=(0.1,), sds=(0.04,), curve=0.5),
}
"""What each taxon looks like where it is clear; and a pattern that none describes: a bent trend."""

PAIRS = [
    (
        ("UniStable", Profile("UniStable", levels=(0.1,), sds=(0.01,)), "spread 0.01, nobody outside"),
        ("Outlier", Profile("Outlier", levels=(0.1,), sds=(0.01,), outliers=4, outlier_distance=0.25), "four far away"),
    ),
    (
        ("UniUnstable", Profile("UniUnstable", levels=(0.55,), sds=(0.05,)), "a cloud"),
        ("LinAgeHomo", Profile("LinAgeHomo", levels=(0.55,), effects=(0.09,), sds=(0.05,)), "the cloud climbs"),
    ),
    (
        ("LinAgeHomo", Profile("LinAgeHomo", levels=(0.4,), effects=(0.18,), sds=(0.045,)), "as wide in the old"),
        ("LinAgeHet", Profile("LinAgeHet", levels=(0.4,), effects=(0.18,), sds=(0.045,), log_ratio=1.0), "widens"),
    ),
    (
        ("UniUnstable", Profile("UniUnstable", levels=(0.55,), sds=(0.06,)), "as wide at every age"),
        ("NonAgeHet", Profile("NonAgeHet", levels=(0.55,), sds=(0.055,), log_ratio=1.0), "narrow young, wide old"),
    ),
    (
        (
            "Outlier",
            Profile("Outlier", levels=(0.25,), sds=(0.02,), outliers=8, outlier_distance=0.3, outlier_clumped=True),
            "eight of 400: too few",
        ),
        (
            "BiNonAge",
            Profile("BiNonAge", levels=(0.25, 0.55), weights=(0.7, 0.3), effects=(0, 0), sds=(0.02, 0.02)),
            "three in ten: a band",
        ),
    ),
    (
        (
            "BiNonAge",
            Profile("BiNonAge", levels=(0.3, 0.6), weights=(0.6, 0.4), effects=(0, 0), sds=(0.035, 0.035)),
            "both level",
        ),
        (
            "BiAge",
            Profile("BiAge", levels=(0.3, 0.6), weights=(0.6, 0.4), effects=(0, 0.12), sds=(0.035, 0.035)),
            "the upper one climbs",
        ),
    ),
    (
        (
            "BiNonAge",
            Profile("BiNonAge", levels=(0.2, 0.5), weights=(0.65, 0.35), effects=(0, 0), sds=(0.03, 0.03)),
            "two genotypes seen",
        ),
        (
            "TriNonAge",
            Profile("TriNonAge", levels=(0.2, 0.5, 0.8), weights=(0.6, 0.33, 0.07), effects=(0, 0, 0), sds=(0.03,) * 3),
            "and the rare third",
        ),
    ),
    (
        (
            "TriNonAge",
            Profile("TriNonAge", levels=(0.2, 0.5, 0.8), weights=(0.4, 0.4, 0.2), effects=(0, 0, 0), sds=(0.035,) * 3),
            "all level",
        ),
        (
            "TriAge",
            Profile(
                "TriAge", levels=(0.2, 0.5, 0.8), weights=(0.4, 0.4, 0.2), effects=(0.1, 0.1, 0.1), sds=(0.035,) * 3
            ),
            "all climb",
        ),
    ),
]
"""Look-alikes that differ in one thing."""


def u_shape(rng, x):
    return 0.3 + 1.4 * (x - 0.5) ** 2 + rng.normal(0, 0.03, len(x))


def four_bands(rng, x):
    return np.array([0.1, 0.37, 0.63, 0.9])[rng.integers(0, 4, len(x))] + rng.normal(0, 0.02, len(x))


def rounded(values):
    """Betas as the cohort file has them: five digits, float32."""
    return np.round(values.astype(float), 5).astype(np.float32)


def statistics_of(values, ages):
    found = compute(values, ages)
    found.insert(0, "cpg", [str(index) for index in range(len(values))])
    return found


def example(profile, wanted, setting, number):
    """Values (n,) of a profile and their statistics; AssertionError unless the tests call it `wanted`."""
    values = rounded(simulate.draw_values(np.random.default_rng([SEED, number]), profile, setting)[None])
    statistics = statistics_of(values, setting.ages)
    found = define_taxa(statistics, **SETTINGS_OF_TAXA).iloc[0]
    assert found["taxon"] == wanted, f"example {number} should be {wanted}, is {found['taxon']}: {found['reason']}"
    return values[0], statistics


# Drawing


def scatter(axes, values, statistics, ages, taxon, size=7):
    """Beta against age with the line or bands of the tests, as on the page `explain`, on the whole scale of beta."""
    bands = Answers(statistics, *SETTINGS_OF_TAXA.values()).bands[0]
    fitted, outlying = lines(values, ages, statistics, int(bands))
    axes.scatter(ages, values, s=size, linewidths=0, alpha=0.6, color=COLOURS[taxon])
    if outlying.any():
        axes.scatter(ages[outlying], values[outlying], s=34, facecolors="none", edgecolors=SECOND, linewidths=1)
    ends = np.array([ages.min(), ages.max()])
    for line in fitted:
        axes.plot(ends, line.level + line.slope * (ends - ages.mean()), color=INK, lw=1.2)
    axes.set(ylim=(-0.02, 1.02), yticks=(0, 0.5, 1))
    axes.grid(axis="y")


def network_image(axes, values, ages, size=64):
    """The 64 × 64 pixels that the network reads."""
    red, green = planes(render(values[None], ages), size)[0]
    axes.imshow(np.stack([red, green, red], axis=-1), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=LINE)


def mark(axes, taxon, y=1.06, size=7):
    """The taxon's shape and name, as a title."""
    hollow = {"markerfacecolor": "none"} if taxon == UNCLASSIFIED else {}
    style = {"color": COLOURS[taxon], "marker": MARKERS[taxon], "ms": size, "ls": "", "clip_on": False}
    width = axes.get_position().width * axes.figure.get_figwidth()  # inches
    axes.plot([0.07 / width], [y + 0.025], transform=axes.transAxes, **style, **hollow)
    axes.text(0.18 / width, y, taxon, transform=axes.transAxes, fontsize=10, fontweight="bold")


def numbers_line(statistics):
    """The estimates of the criteria that matter to a CpG, in a line below its picture."""
    found = (one for one in questions(Answers(statistics, *SETTINGS_OF_TAXA.values())) if one["matters"])
    return ", ".join(f"{one['name'].replace('_', ' ')} {one['estimate']:.3g}" for one in found)


def criteria_table():
    """The criteria with their zones, the taxa by answers, and the patterns, as the guide's tables."""
    rows = ["| criterion | question | what is measured | *no* up to | *yes* from | why |", "|---|---|---|---|---|---|"]
    for one in TABLE:
        quantity = one.quantity.replace("|", "\\|")
        rows.append(f"| `{one.name}` | {one.question} | {quantity} | {one.low:g} | {one.high:g} | {one.why} |")
    rows += ["", "| taxon | answers |", "|---|---|"]
    for taxon, answers in RULES.items():
        words = (BY_NAME[name].yes if yes else BY_NAME[name].no for name, yes in answers.items())
        rows.append(f"| {taxon} | {', '.join(words)} |")
    rows += ["", "| no taxon | what it means | how it is recognised |", "|---|---|---|"]
    rows += [f"| {one.name} | {one.meaning} | {one.quantity} {one.limit:g} |" for one in PATTERNS]
    return "\n".join(rows)


def write_table(path):
    """Put the tables into the guide, between its two marks."""
    text = path.read_text(encoding="utf-8")
    begin, end = "<!-- criteria: made by draw.py -->\n", "<!-- end of criteria -->"
    found = text.partition(begin)[0] + begin + criteria_table() + "\n" + end + text.partition(end)[2]
    path.write_text(found, encoding="utf-8")


class Album:
    """Saves figures as PNG without dates or versions."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, figure, name):
        figure.savefig(
            self.folder / f"{name}.png", dpi=150, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None}
        )
        plt.close(figure)


def draw_taxa(album, setting):
    for number, (taxon, profile) in enumerate(EXAMPLES.items()):
        values, statistics = example(profile, taxon, setting, number)
        figure, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.5), width_ratios=(1.75, 1), layout="constrained")
        scatter(left, values, statistics, setting.ages, taxon)
        left.set(xlabel="age (years)", ylabel="beta")
        mark(left, taxon)
        network_image(right, values, setting.ages)
        right.set_title("what the network sees", fontsize=9, color=MUTED)
        figure.supxlabel(numbers_line(statistics), fontsize=8, color=MUTED)
        album.save(figure, f"taxon_{taxon}")


def draw_pairs(album, setting):
    figure = plt.figure(figsize=(9.4, 8.6))
    grid = figure.add_gridspec(4, 5, width_ratios=(1, 1, 0.12, 1, 1), hspace=0.62, wspace=0.12)
    for number, pair in enumerate(PAIRS):
        for side, (taxon, profile, words) in enumerate(pair):
            axes = figure.add_subplot(grid[number // 2, 3 * (number % 2) + side])
            values, statistics = example(profile, taxon, setting, 100 + number)
            scatter(axes, values, statistics, setting.ages, taxon, size=4)
            mark(axes, taxon, y=1.17)
            axes.text(0, 1.05, words, transform=axes.transAxes, fontsize=8, color=MUTED)
            if side:
                axes.tick_params(labelleft=False)
            axes.set(xticks=(30, 60, 90))
    figure.supxlabel("age (years); beta upwards, from 0 to 1", fontsize=9, color=MUTED, y=0.06)
    album.save(figure, "look_alikes")


def draw_reliability(album, predictor):
    """The shipped network on CpGs that are clear in truth and open to the tests, at three temperatures.

    The first is fitted, as the workflow fits it: on the half of the CpGs that is not shown.
    """
    setting = simulate.cohort_setting(SEED + 1, HARD_SAMPLES)
    drawn = [simulate.draw_cpg(SEED + 1, index, TAXA[index % 10], setting) for index in range(TESTED)]
    values = rounded(np.stack([one for _, one in drawn]))
    reasons = define_taxa(statistics_of(values, setting.ages), **SETTINGS_OF_TAXA)["reason"]
    rows = np.flatnonzero(reasons.str.startswith("open"))
    logits, truth = logits_of(values[rows], setting.ages, predictor)[0], rows % 10
    fitted = fit_temperature(logits[::2], np.eye(10)[truth[::2]])
    logits, truth = logits[1::2], truth[1::2]
    raw = softmax(logits)
    table = pd.DataFrame(raw, columns=list(TAXA))
    table["ActualLabel"] = np.array(TAXA)[truth]
    table["PredictedLabelName"] = np.array(TAXA)[raw.argmax(axis=1)]
    figure, panels = plt.subplots(1, 3, figsize=(9.4, 3.5), sharey=True, layout="constrained")
    found = {"accuracy": f"{np.mean(raw.argmax(axis=1) == truth):.1%}", "shown": f"{len(truth):,}"}
    for axes, (name, factor) in zip(
        panels, {"well calibrated": 1, "overconfident": 0.25, "underconfident": 2.5}.items(), strict=True
    ):
        temperature = fitted * factor
        points = reliability(table, temperature)
        p = softmax(logits, temperature)
        error, sure = expected_calibration_error(p, truth), p.max(axis=1).mean()
        found[name] = {"temperature": f"{temperature:.2f}", "ece": f"{error:.3f}", "mean_confidence": f"{sure:.1%}"}
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
        axes.vlines(points["confidence"], points["confidence"], points["accuracy"], color=SECOND, lw=2, alpha=0.5)
        axes.plot(points["confidence"], points["accuracy"], color=ACCENT, lw=1.2)
        axes.scatter(
            points["confidence"],
            points["accuracy"],
            s=14 + 240 * points["n"] / len(truth),
            color=ACCENT,
            zorder=3,
            alpha=0.9,
            clip_on=False,
        )
        axes.set(xlim=(0, 1.04), ylim=(0, 1.04), xlabel="confidence of the network", aspect="equal")
        axes.set_title(f"{name}", fontweight="bold")
        words = f"temperature {temperature:.2f}\nECE {error:.3f}"
        axes.text(0.96, 0.04, words, va="bottom", ha="right", transform=axes.transAxes)
        axes.grid()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[0].set_ylabel("share that is right")
    album.save(figure, "reliability")

    matrix = np.zeros((10, 10), dtype=int)
    np.add.at(matrix, (truth, raw.argmax(axis=1)), 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    counts_grid(left, matrix, TAXA, TAXA, "what the network says", "what it truly is")
    left.set_title("counts", fontweight="bold")
    counts_grid(right, matrix, TAXA, [""] * 10, "", "")
    for text in list(right.texts):
        text.remove()
    share = matrix / matrix.sum(axis=1, keepdims=True)
    for i, j in np.argwhere(matrix):
        colour = ON_ACCENT if share[i, j] > 0.55 else INK
        text = f"{100 * share[i, j]:.0f}" if share[i, j] >= 0.01 else "<1"
        right.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=8.5)
    right.set_xticks(np.arange(10) + 0.5, TAXA, rotation=45, ha="right", rotation_mode="anchor")
    right.set_yticks(np.arange(10) + 0.5, [""] * 10)
    right.set_xlabel("what the network says")
    right.set_title("shares of each row, per cent", fontweight="bold")
    album.save(figure, "confusion")
    return found


def logits_of(values, ages, predictor):
    parts = [
        predictor.outputs(planes(render(values[start : start + 256], ages), predictor.size))
        for start in range(0, len(values), 256)
    ]
    return tuple(np.concatenate(kind) for kind in zip(*parts, strict=True))


def calls_of(values, ages, predictor):
    """The tests' labels of all CpGs; rows, calls of those they leave."""
    statistics = statistics_of(values, ages)
    labels = define_taxa(statistics, **SETTINGS_OF_TAXA)
    rows = np.flatnonzero(labels["taxon"] == UNCLASSIFIED)
    logits, features = logits_of(values[rows], ages, predictor)
    table = pd.DataFrame(softmax(logits, predictor.temperature), columns=list(PROBABILITY_COLUMNS))
    table.insert(0, "cpg", statistics["cpg"].to_numpy()[rows])
    table["distance"] = novelty.distances(features, predictor.kept)
    left = statistics.iloc[rows].reset_index(drop=True)
    detail = labels["reason"].to_numpy(dtype=object)[rows]
    barred = ruled_out(left, **SETTINGS_OF_TAXA)
    return labels, rows, selection.Calls(table, left.drop(columns="cpg"), barred, detail)


def small_run(setting, predictor):
    """A small cohort placed in one round by the shipped network; its last CpGs are of two foreign patterns."""
    drawn = [
        simulate.draw_cpg(SEED, index, taxon, setting)
        for index, taxon in enumerate(simulate.plan_cohort(SEED, COHORT_CPGS - 2 * PLANTED, 0.15))
    ]
    x = (setting.ages - setting.ages.min()) / np.ptp(setting.ages)
    planted = [
        draw(np.random.default_rng([SEED, 200 + k]), x) for draw in (u_shape, four_bands) for k in range(PLANTED)
    ]
    values = rounded(np.stack([*(one for _, one in drawn), *np.clip(planted, 0.001, 0.999)]))
    labels, rows, calls = calls_of(values, setting.ages, predictor)
    like = simulate.make_setting(setting.ages, np.random.default_rng([SEED + STREAM, 1]))
    wanted = simulate.plan_cohort(SEED + STREAM, CALIBRATION, BOUNDARY)
    known = [simulate.draw_cpg(SEED + STREAM, index, taxon, like) for index, taxon in enumerate(wanted)]
    truth = np.array(["|".join(one.admissible(like)) for one, _ in known], dtype=object)
    _, kept, calibration = calls_of(rounded(np.stack([one for _, one in known])), like.ages, predictor)
    with tempfile.TemporaryDirectory() as folder:
        out = {key: pathlib.Path(folder) / key for key in ("reassigned", "left", "calibration", "counts")}
        settings = {"settings": SETTINGS, "round_number": 0, "n_cpgs": COHORT_CPGS, "seed": SEED, "out": out}
        selection.reassign(calls, calibration, truth[kept], **settings)
        placed, left = (pd.read_parquet(out[key]) for key in ("reassigned", "left"))
        counts = json.loads(out["counts"].read_text())
    profiles = [profile for profile, _ in drawn]
    return {
        "values": values, "labels": labels, "rows": rows, "calls": calls, "placed": placed, "left": left,
        "counts": counts, "profiles": profiles,
    }  # fmt: skip


def probabilities_of(run, cpg):
    return run["calls"].p[np.flatnonzero(run["calls"].predictions["cpg"] == cpg)[0]]


def draw_followed(album, setting, run, predictor):
    """A CpG to which the tests give its taxon, clearly and rightly: values, image and what the network says."""
    labels = run["labels"].iloc[: len(run["profiles"])]
    clear = (labels["taxon"] == "LinAgeHomo") & (labels["boundary"] == "")
    right = [one.kind == "" and one.taxon == "LinAgeHomo" for one in run["profiles"]]
    row = labels[clear & np.array(right)].iloc[0]
    cpg = row["cpg"]
    values = run["values"][int(cpg)]
    statistics = statistics_of(values[None], setting.ages)
    p = softmax(logits_of(values[None], setting.ages, predictor)[0], predictor.temperature)[0]
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(9.4, 2.7), width_ratios=(1.5, 0.95, 1.25), layout="constrained"
    )
    scatter(left, values, statistics, setting.ages, row["taxon"])
    left.set(xlabel="age (years)", ylabel="beta")
    left.set_title("1  the tests: LinAgeHomo", fontweight="bold")
    network_image(middle, values, setting.ages)
    middle.set_title("2  the image", fontweight="bold")
    order = np.argsort(-p, kind="stable")[:5]
    right.barh(range(5), p[order], color=[COLOURS[TAXA[k]] for k in order])
    for place, k in enumerate(order):
        right.text(p[k] + 0.02, place, f"{p[k]:.1%}", va="center", fontsize=8)
    right.set(yticks=range(5), xlim=(0, 1.18), xticks=(0, 0.5, 1))
    right.set_yticklabels([TAXA[k] for k in order])
    right.invert_yaxis()
    right.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set_title("3  the network", fontweight="bold")
    album.save(figure, "followed")
    trend = next(one for one in questions(Answers(statistics, *SETTINGS_OF_TAXA.values())) if one["name"] == "trend")
    return {
        "taxon": row["taxon"],
        "reason": run["labels"]["reason"][int(cpg)],
        "trend": f"{trend['estimate']:.2f} ± {trend['error']:.2f}",
        "network": f"{p[INDEX[row['taxon']]]:.1%}",
    }


def draw_reasons(album, setting, run):
    """One CpG for each reason to stay Unclassified."""
    left = run["left"].set_index("cpg")
    chosen = {}
    for reason in selection.REASONS:
        found = left.index[left["reason"] == reason]
        planted = [cpg for cpg in found if int(cpg) >= len(run["profiles"])]
        if len(found):
            chosen[reason] = (planted or list(found))[0]
    size = {"figsize": (3.2 * len(chosen), 5.0), "height_ratios": (1.1, 1), "squeeze": False}
    figure, panels = plt.subplots(2, len(chosen), **size, layout="constrained")
    found = {}
    for column, (reason, cpg) in enumerate(chosen.items()):
        assert left["reason"][cpg] == reason, f"{cpg} should be {reason}, is {left['reason'][cpg]}"
        values = run["values"][int(cpg)]
        axes = panels[0, column]
        scatter(axes, values, statistics_of(values[None], setting.ages), setting.ages, UNCLASSIFIED, size=6)
        axes.set_title(reason, fontweight="bold")
        axes.set(xlabel="age (years)", ylabel="beta" if column == 0 else "")
        network_image(panels[1, column], values, setting.ages)
        p = probabilities_of(run, cpg)
        first, second = np.argsort(-p, kind="stable")[:2]
        words = f"{TAXA[first]} {p[first]:.0%}, {TAXA[second]} {p[second]:.0%}"
        panels[1, column].set_xlabel(words, fontsize=8.5, color=MUTED)
        found[reason] = {"network": words, "detail": left["detail"][cpg]}
    if "unlike" in chosen:
        found["unlike"]["p"] = f"{left['unlike_p'][chosen['unlike']]:.2g}"
    album.save(figure, "unclassified")
    return found


def draw_flow(album, run):
    """How a CpG gets its taxon, with the numbers of the small run."""
    n_rules = int((run["labels"]["taxon"] != UNCLASSIFIED).sum())
    counts = run["counts"]
    figure, axes = plt.subplots(figsize=(9.4, 4.3))
    axes.set(xlim=(0, 94), ylim=(0, 43))
    axes.axis("off")

    def box(x, y, width, height, head, words, colour=ACCENT, fill=None):
        axes.add_patch(
            FancyBboxPatch(
                (x, y), width, height, boxstyle="round,pad=0,rounding_size=1", fc=fill or PAPER, ec=colour, lw=1.3
            )
        )
        axes.text(x + width / 2, y + height - 2.2, head, ha="center", va="center", fontweight="bold", fontsize=9.5)
        axes.text(
            x + width / 2,
            y + (height - 3.4) / 2,
            words,
            ha="center",
            va="center",
            fontsize=7,
            color=INK,
            linespacing=1.35,
        )

    def arrow(*points, words="", at=(0, 0), ha="center"):
        for start, end in itertools.pairwise(points):
            last = end == points[-1]
            style = {"arrowstyle": "-|>" if last else "-", "color": MUTED, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", end, start, arrowprops=style)
        axes.text(*at, words, fontsize=7, color=MUTED, ha=ha, va="center")

    box(1, 30, 17, 12, "one CpG", "beta of every sample\nagainst age")
    box(24, 30, 19, 12, "statistics", "trend, spread, outliers,\nbands, with errors")
    box(49, 30, 19, 12, "tests", "each criterion answered\nyes, no or open")
    box(
        75,
        30,
        18,
        12,
        "taxon by tests",
        f"every criterion answered\n{n_rules:,} of {COHORT_CPGS:,} CpGs",
        fill="#eef4f8",
    )
    box(24, 9, 19, 12, "image, network", "64 × 64 pixels\nten probabilities")
    box(49, 9, 19, 12, "selection model", "is the call right?\nis it ruled out?\nlike the simulated?")
    box(75, 12, 18, 9, "taxon by a round", f"{counts['placed']:,} of {counts['candidates']:,} left", fill="#eef4f8")
    box(75, 0.5, 18, 9.6, "Unclassified", "ambiguous, contradicted\nor unlike", colour=SECOND, fill="#fdf3ec")
    arrow((18, 36), (24, 36))
    arrow((43, 36), (49, 36))
    arrow((68, 36), (75, 36))
    arrow((58.5, 30), (58.5, 25.5), (33.5, 25.5), (33.5, 21), words="open", at=(46, 26.7))
    arrow((43, 15), (49, 15))
    arrow((68, 17), (75, 17))
    arrow((68, 12), (71.5, 12), (71.5, 5), (75, 5))
    axes.add_patch(Rectangle((1, 0.5), 17, 20.5, fc="none", ec=LINE, lw=1))
    axes.text(9.5, 18.8, "the next round", ha="center", va="center", fontweight="bold", fontsize=9.5)
    words = "The network learns from\nCpGs labelled by tests,\nsimulated ones, and those\n"
    words += "placed so far; then it\nlooks again at the rest."
    axes.text(9.5, 9.6, words, ha="center", va="center", fontsize=6.8, linespacing=1.4)
    arrow((18, 15), (24, 15))
    album.save(figure, "flow")
    return {
        "cpgs": f"{COHORT_CPGS:,}",
        "by_rules": f"{n_rules:,}",
        "candidates": f"{counts['candidates']:,}",
        "placed": f"{counts['placed']:,}",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument(
        "--examples", action="store_true", help="check the examples against the tests and draw only these"
    )
    arguments = parser.parse_args()
    write_table(HERE / "README.md")
    album = Album(arguments.out)
    setting = simulate.cohort_setting(SEED, SAMPLES)
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "guide"}):
        draw_taxa(album, setting)
        draw_pairs(album, setting)
        if arguments.examples:
            return
        stem = ROOT / "resources/reference"
        files = ("best_model.pt.gz", "normalization_stat.json", "model.json", "features.npy")
        predictor = load_predictor(
            *(stem / f"ResNet18_{name}" for name in files), model_name="ResNet18", device="cpu", precision="float32"
        )
        found = {"calibration": draw_reliability(album, predictor)}
        setting = simulate.cohort_setting(SEED + 2, COHORT_SAMPLES)
        run = small_run(setting, predictor)
        found["followed"] = draw_followed(album, setting, run, predictor)
        found["reasons"] = draw_reasons(album, setting, run)
        found["flow"] = draw_flow(album, run)
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    (arguments.out / "numbers.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""The figures of the page of the target `ecg_age`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.ticker import MaxNLocator

from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.pages.drawing import ACCENT, INK, MUTED, SECOND, interval_row, named_rows
from cpgtaxa.targets.ecg.attributions import AROUND, STEP
from cpgtaxa.targets.ecg.plan import LEADS
from cpgtaxa.targets.ecg.scores import (
    LIMITS,
    SEXES,
    part_name,
)
from cpgtaxa.targets.ecg.signals import HERTZ, SAMPLES
from cpgtaxa.targets.ecg.study import BINS
from cpgtaxa.wording import signed

TITLES = {"adult": "Adults", "child": "Children"}
WORDS = {"GradientBoosting": "Gradient boosting", "Median": "Median age"}
PEER_COLOURS = {"GradientBoosting": SECOND, "Median": MUTED}
BLOCK = 20
"""Samples that a coloured block on a drawn ECG stands for: 40 ms."""
THIN = 4
"""A drawn trace has every fourth sample, 125 Hz."""
MANY = 3000
"""Points beyond which a figure holds their picture instead of each of them."""


def words(model: str) -> str:
    return WORDS.get(model, model)


def models_figure(figures, summary: pd.DataFrame, found: dict):
    """Mean absolute errors with their intervals, a panel for each group."""
    groups = list(found)
    most = max(len(models) for models in found.values())
    figure, panels = plt.subplots(1, len(groups), figsize=(3.6 * len(groups) + 0.6, 0.42 * most + 0.9), squeeze=False)
    errors = summary[summary["metric"].isin([f"{group}_mae" for group in groups])]
    for axes, group in zip(panels[0], groups, strict=True):
        some = errors[errors["metric"] == f"{group}_mae"].sort_values("value")
        for row, one in enumerate(some.itertuples()):
            interval_row(axes, row, one.value, (one.ci_low, one.ci_high), PEER_COLOURS.get(one.model, ACCENT))
        named_rows(axes, [words(model) for model in some["model"]])
        axes.set(xlabel="mean absolute error, years", title=TITLES[group])
        axes.set_xlim(left=0)
    figure.tight_layout()
    return figures.save("models", figure, errors, "Mean absolute error by model")


def true_figure(figures, gaps: dict[str, pd.DataFrame], coverage: float):
    """Predicted against chronological age, with the band in which a person's age is expected."""
    figure, panels = plt.subplots(1, len(gaps), figsize=(3.5 * len(gaps) + 0.4, 3.6), squeeze=False)
    for axes, (group, table) in zip(panels[0], gaps.items(), strict=True):
        ends = np.array(
            [min(table["age"].min(), table["predicted"].min()), max(table["age"].max(), table["predicted"].max())]
        )
        pad = 0.04 * (ends[1] - ends[0])
        ends = np.array([ends[0] - pad, ends[1] + pad])
        width = float(np.median((table["age_high"] - table["age_low"]) / 2))
        if np.isfinite(width):
            axes.fill_between(ends, ends - width, ends + width, color=MUTED, alpha=0.16, lw=0)
        axes.plot(ends, ends, color=MUTED, lw=0.9, ls="--")
        for sex, colour, name in (("F", SECOND, "women" if group == "adult" else "girls"),
                                  ("M", ACCENT, "men" if group == "adult" else "boys"),
                                  ("", INK, "sex unknown")):  # fmt: skip
            some = table[table["sex"] == sex]
            if len(some):
                axes.plot(
                    some["age"],
                    some["predicted"],
                    "o",
                    ms=4,
                    mew=0,
                    alpha=0.75,
                    color=colour,
                    label=name,
                    rasterized=len(table) > MANY,
                )
        axes.set(xlim=ends, ylim=ends, xlabel="true age, years", ylabel="predicted age, years", title=TITLES[group])
        axes.set_aspect("equal")
        axes.grid()
        axes.legend(loc="upper left", fontsize=8, handletextpad=0.1)
    figure.tight_layout()
    data = pd.concat(gaps.values(), ignore_index=True)[["group", "record", "sex", "age", "predicted"]]
    return figures.save("predicted_age", figure, data, "Predicted against chronological age")


def agreement_figure(figures, gaps: dict[str, pd.DataFrame]):
    """Bland and Altman's plot: the difference of both ages against their mean."""
    figure, panels = plt.subplots(1, len(gaps), figsize=(3.7 * len(gaps) + 0.4, 3.0), squeeze=False)
    rows = []
    for axes, (group, table) in zip(panels[0], gaps.items(), strict=True):
        mean, difference = (table["age"] + table["predicted"]) / 2, table["gap"]
        bias, spread = difference.mean(), difference.std(ddof=1)
        axes.plot(mean, difference, "o", ms=4, mew=0, alpha=0.7, color=ACCENT, rasterized=len(table) > MANY)
        for value, style in ((bias, "-"), (bias - LIMITS * spread, "--"), (bias + LIMITS * spread, "--")):
            axes.axhline(value, color=SECOND, lw=1.2, ls=style)
            axes.annotate(
                signed(value, 1), (1, value), xycoords=("axes fraction", "data"), xytext=(3, 0),
                textcoords="offset points", va="center", fontsize=8, color=SECOND,
            )  # fmt: skip
        axes.axhline(0, color=MUTED, lw=0.8)
        axes.set(xlabel="mean of both ages, years", ylabel="age gap, years", title=TITLES[group])
        axes.grid(axis="y")
        rows.append(pd.DataFrame({"group": group, "record": table["record"], "mean": mean, "difference": difference}))
    figure.tight_layout()
    return figures.save("agreement", figure, pd.concat(rows, ignore_index=True), "Bland and Altman's plot")


def parts_figure(figures, summary: pd.DataFrame, found: dict):
    """Mean absolute errors by sex and age bin."""
    groups = list(found)
    labels = {}
    for group in groups:
        here = set(summary["metric"])
        names = [name for name in (*SEXES.values(), *BINS[group][1]) if f"{group}_mae_{part_name(name)}" in here]
        labels[group] = names
    longest = max(len(names) for names in labels.values())
    figure, panels = plt.subplots(len(groups), 1, figsize=(0.5 * longest + 1.4, 2.5 * len(groups) + 0.2), squeeze=False)
    rows = []
    for axes, group in zip(panels[:, 0], groups, strict=True):
        models = list(found[group])
        for number, model in enumerate(models):
            some = summary[summary["model"] == model].set_index("metric")
            table = some.reindex([f"{group}_mae_{part_name(name)}" for name in labels[group]])
            # A gap between the sexes and the ages.
            x = np.array([at + 0.6 * (name not in SEXES.values()) for at, name in enumerate(labels[group])])
            x = x + 0.17 * (number - (len(models) - 1) / 2)
            colour = PEER_COLOURS.get(model, ACCENT)
            axes.vlines(x, table["ci_low"], table["ci_high"], color=colour, lw=1.3)
            axes.plot(x, table["value"], "o", ms=4.2, color=colour, label=words(model))
            rows.append(table.assign(model=model, metric=table.index))
        axes.set_xticks(
            [at + 0.6 * (name not in SEXES.values()) for at, name in enumerate(labels[group])],
            labels[group],
        )  # fmt: skip
        axes.set(ylabel="error, years", title=TITLES[group], xlim=(-0.6, longest + 0.2))
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.legend(
            ncols=3, loc="lower left", bbox_to_anchor=(0.12, 1.0), borderaxespad=0, fontsize=8, handletextpad=0.1
        )
    figure.tight_layout()
    data = pd.concat(rows, ignore_index=True)[SUMMARY_COLUMNS]
    return figures.save("parts", figure, data, "Mean absolute error by sex and age")


def training_figure(figures, logs: pd.DataFrame):
    """Mean absolute error by epoch, which is the loss: thin lines are tenths, thick ones their mean."""
    groups = list(pd.unique(logs["group"]))
    figure, panels = plt.subplots(1, len(groups), figsize=(3.5 * len(groups) + 0.4, 2.7), squeeze=False)
    for axes, group in zip(panels[0], groups, strict=True):
        some = logs[logs["group"] == group]
        for part, colour, style, label in (("train", MUTED, "--", "learnt from"), ("val", ACCENT, "-", "held out")):
            if some["fold"].nunique() > 1:
                for _, one in some.groupby("fold"):
                    axes.plot(one["epoch"], one[f"{part}_loss"], color=colour, lw=0.6, ls=style, alpha=0.35)
            mean = some.groupby("epoch")[f"{part}_loss"].mean()
            axes.plot(mean.index, mean, color=colour, lw=1.8, ls=style, label=label)
        axes.set(xlabel="epoch", ylabel="mean absolute error, years", title=TITLES[group])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.legend(fontsize=8)
    figure.tight_layout()
    data = logs[["group", "model", "fold", *(name for name in logs if name not in ("group", "model", "fold"))]]
    return figures.save("training", figure, data, "Training curves")


SHADES = LinearSegmentedColormap.from_list("years", ["#ffffff00", ACCENT])


def beat_figure(figures, group: str, table: pd.DataFrame, beat: np.ndarray):
    """Attribution by lead and time around the R peak, below the mean beat of lead II."""
    some = table[(table["group"] == group) & table["offset_ms"].notna()]
    offsets = np.sort(some["offset_ms"].unique())
    grid = some.pivot(index="lead", columns="offset_ms", values="share").loc[list(LEADS), offsets].to_numpy()
    grid = 100 * grid
    whole = table[(table["group"] == group) & table["offset_ms"].isna()].set_index("lead").loc[list(LEADS), "share"]
    figure, panels = plt.subplots(
        2, 2, figsize=(6.8, 4.4), height_ratios=[1, 3.2], width_ratios=[4, 1], sharex="col", sharey="row"
    )
    (upper, corner), (axes, side) = panels
    corner.set_visible(False)
    time = np.arange(beat.shape[1]) * 1000 / HERTZ + AROUND[0]
    upper.plot(time, beat[LEADS.index("II")], color=INK, lw=1.1)
    upper.set(ylabel="mV", title=f"{TITLES[group]}: the mean beat (II), and what the predicted age depends on")
    edges = np.append(offsets - STEP / 2, offsets[-1] + STEP / 2)
    drawn = axes.pcolormesh(edges, np.arange(len(LEADS) + 1), grid, cmap=SHADES, vmin=0, vmax=grid.max() or 1)
    axes.set_yticks(np.arange(len(LEADS)) + 0.5, LEADS)
    axes.set_ylim(len(LEADS), 0)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=MUTED, lw=0.8, ls="--")
    axes.set_xlabel("ms from the R peak")
    bar = figure.colorbar(drawn, cax=axes.inset_axes([0, -0.28, 0.35, 0.035]), orientation="horizontal")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(f"% of all shown, by {STEP} ms", fontsize=7)
    side.barh(np.arange(len(LEADS)) + 0.5, 100 * whole, height=0.7, color=ACCENT)
    side.set_xlabel("% of all")
    side.tick_params(axis="y", length=0)
    side.spines["left"].set_visible(False)
    figure.tight_layout()
    return figures.save(
        f"attribution_{group}", figure, table[table["group"] == group], f"What {TITLES[group]}' age depends on"
    )


def ecg_figure(figures, name: str, title: str, leads: np.ndarray, attribution: np.ndarray, attention: np.ndarray):
    """A 12-lead ECG with what speaks for a higher (orange) and a lower (blue) age; below, attention over time."""
    time = np.arange(SAMPLES) / HERTZ
    blocks = attribution[:, : SAMPLES // BLOCK * BLOCK].reshape(len(LEADS), -1, BLOCK).sum(axis=2)
    most = np.quantile(np.abs(blocks), 0.995) or 1.0
    strength = np.clip(np.abs(blocks) / most, 0, 1)
    colours = np.where((blocks > 0)[..., None], to_rgb(SECOND), to_rgb(ACCENT))
    shades = np.concatenate([colours, 0.8 * strength[..., None]], axis=2)
    figure, (axes, strip) = plt.subplots(2, 1, figsize=(9.2, 8.6), height_ratios=[14, 1.7], sharex=True)
    # A lead every 1.5 mV, more where one needs it.
    known = np.where(np.isfinite(leads), leads, 0)
    centred = known - np.median(known, axis=1, keepdims=True)
    space = float(np.clip(np.quantile(np.ptp(centred, axis=1), 0.7), 1.0, 4.0))
    end = blocks.shape[1] * BLOCK / HERTZ
    for row, lead in enumerate(LEADS):
        base = -row * space
        axes.imshow(
            shades[row : row + 1], extent=(0, end, base - space / 2, base + space / 2), aspect="auto",
            interpolation="nearest", zorder=0,
        )  # fmt: skip
        trace = np.where(np.isfinite(leads[row]), centred[row], np.nan)
        axes.plot(time[::THIN], base + trace[::THIN], color=INK, lw=0.7, zorder=2)
        axes.annotate(
            lead, (0, base + 0.25 * space), xytext=(-4, 0), textcoords="offset points", ha="right", fontsize=9
        )
    axes.plot([end + 0.06] * 2, [-11.4 * space, -11.4 * space + 1], color=INK, lw=1.4, clip_on=False)
    axes.annotate("1 mV", (end + 0.1, -11.4 * space + 0.5), va="center", fontsize=8, annotation_clip=False)
    axes.set(xlim=(0, end), ylim=(-11.6 * space, 0.75 * space), yticks=[], title=title)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(axis="x", length=0)
    moments = np.linspace(0, SAMPLES / HERTZ, len(attention) + 1)
    strip.stairs(100 * attention, moments, color=INK, lw=1)
    strip.set(xlabel="seconds", ylim=(0, None))
    strip.set_ylabel("attention, %", fontsize=8)
    figure.tight_layout()
    data = pd.DataFrame(attribution.T, columns=[f"years_{lead}" for lead in LEADS])
    data = pd.concat(
        [pd.DataFrame({"seconds": time}), pd.DataFrame(leads.T, columns=[f"mv_{lead}" for lead in LEADS]), data], axis=1
    )
    at = np.minimum((time / (SAMPLES / HERTZ) * len(attention)).astype(int), len(attention) - 1)
    return figures.save(name, figure, data.assign(attention=attention[at]), title)


def joined_figure(figures, both: pd.DataFrame):
    """The adjusted age gaps of ECG and methylation against each other."""
    groups = [group for group in TITLES if (both["group"] == group).any()]
    figure, panels = plt.subplots(1, len(groups), figsize=(3.5 * len(groups) + 0.4, 3.3), squeeze=False)
    for axes, group in zip(panels[0], groups, strict=True):
        some = both[both["group"] == group]
        axes.axhline(0, color=MUTED, lw=0.8, ls="--")
        axes.axvline(0, color=MUTED, lw=0.8, ls="--")
        axes.plot(
            some["methylation_gap_adjusted"], some["ecg_gap_adjusted"], "o", ms=4, mew=0, alpha=0.75, color=ACCENT
        )
        axes.set(xlabel="methylation age gap, years", ylabel="ECG age gap, years", title=TITLES[group])
        axes.grid()
    figure.tight_layout()
    return figures.save("joined", figure, both, "Age gaps of ECG and methylation")

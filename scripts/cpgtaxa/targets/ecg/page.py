"""The last tables of the target `ecg_age`, its figures, and the page on them.

The same inputs give the same bytes: no dates, fixed ids inside the figures, and records in their order.
"""

import logging
import pathlib

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.ticker import MaxNLocator

from cpgtaxa.files import atomic_folder, read_json, read_parquet
from cpgtaxa.pages.drawing import ACCENT, INK, MUTED, SECOND, STYLE, Figures
from cpgtaxa.pages.page import write_csv, write_page
from cpgtaxa.statistics.comparisons import holm
from cpgtaxa.targets.ecg.plan import LEADS
from cpgtaxa.targets.ecg.scores import (
    LIMITS,
    SEXES,
    SUMMARY_COLUMNS,
    adjusted,
    gap_table,
    half_width,
    joined,
    joined_rows,
    part_name,
    score,
)
from cpgtaxa.targets.ecg.signals import HERTZ, MISSING, SAMPLES
from cpgtaxa.targets.ecg.study import BINS
from cpgtaxa.wording import decimal, p_value, percent, signed, span

LISTS = ("features", "networks", "logs", "peers", "readings", "asked", "left_out")
"""Inputs that are lists of files."""
TITLES = {"adult": "Adults", "child": "Children"}
WORDS = {"GradientBoosting": "Gradient boosting", "Median": "Median age"}
PEER_COLOURS = {"GradientBoosting": SECOND, "Median": MUTED}
AROUND = (-300, 500)
"""Milliseconds around the R peak of which attributions are put together."""
STEP = 20
"""Milliseconds of a column of that map."""
BLOCK = 20
"""Samples that a coloured block on a drawn ECG stands for: 40 ms."""
THIN = 4
"""A drawn trace has every fourth sample, 125 Hz."""
MANY = 3000
"""Points beyond which a figure holds their picture instead of each of them."""
LISTED = 15
"""Records left out that the page names."""
ATTRIBUTION_COLUMNS = ["group", "lead", "offset_ms", "years", "share"]
SUBMISSION_COLUMNS = ["FILENAME", "AGE"]


# Reading


def predictions(paths) -> pd.DataFrame:
    """All rows of some files of predictions: record, fold, age, predicted."""
    return pd.concat([read_parquet(path) for path in paths], ignore_index=True)


def tables_of(inputs: dict, settings: dict, records: pd.DataFrame):
    """By group and model the records that were held out: record, patient, sex, age, predicted, fold; in their order."""
    files: dict[str, dict[str, list]] = {group: {} for group in settings["networks"]}
    for path in inputs["networks"]:
        group, name = pathlib.Path(path).parent.name, pathlib.Path(path).stem.rsplit("_", 1)[0]
        files[group].setdefault(name, []).append(path)
    for path in inputs["peers"]:
        files[pathlib.Path(path).parent.name][pathlib.Path(path).stem] = [path]
    place = records.reset_index().set_index("record")
    found = {}
    for group, models in files.items():
        for model, paths in models.items():
            table = predictions(paths)
            table = table.assign(row=place.loc[table["record"], "index"].to_numpy())
            held = table.sort_values("row")
            held = held.join(place[["patient", "sex"]], on="record").reset_index(drop=True)
            found.setdefault(group, {})[model] = held[["record", "patient", "sex", "age", "predicted", "fold", "row"]]
    return found


def asked_of(inputs: dict) -> dict[str, pd.DataFrame]:
    """By group the records asked about: record, patient, sex, predicted."""
    if not inputs.get("asked"):
        return {}
    records = read_parquet(inputs["asked_records"]).set_index("record")
    found = {}
    for path in inputs["asked"]:
        table = read_parquet(path).join(records[["patient", "sex"]], on="record")
        found[pathlib.Path(path).parent.name] = table
    return found


def words(model: str) -> str:
    return WORDS.get(model, model)


# Attributions


def around_beats(attribution: np.ndarray, r_peaks) -> tuple[np.ndarray, int]:
    """Sum over beats of the absolute attribution, (12, columns) years, in STEPs of AROUND, and the number of beats.

    attribution: (12, time) years; r_peaks: sample numbers. Beats that the record's ends cut are not counted.
    """
    first, last = (at * HERTZ // 1000 for at in AROUND)
    step = STEP * HERTZ // 1000
    total, n = np.zeros((len(attribution), (last - first) // step)), 0
    for peak in r_peaks:
        if peak + first >= 0 and peak + last <= attribution.shape[1]:
            beat = np.abs(attribution[:, peak + first : peak + last])
            total += beat.reshape(len(beat), -1, step).sum(axis=2)
            n += 1
    return total, n


def mean_beat(leads: np.ndarray, r_peaks) -> tuple[np.ndarray, int]:
    """Sum over beats of (12, time) mV around the R peak, as `around_beats`, and the number of beats."""
    first, last = (at * HERTZ // 1000 for at in AROUND)
    total, n = np.zeros((len(leads), last - first)), 0
    for peak in r_peaks:
        if peak + first >= 0 and peak + last <= leads.shape[1]:
            total += leads[:, peak + first : peak + last]
            n += 1
    return total, n


def attribution_table(group: str, reading: dict, peaks: dict, leads: dict) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Rows of ATTRIBUTION_COLUMNS of a group, and its mean beat (12, time) mV, None without any.

    Of each lead: `offset_ms` empty: the share of all absolute attribution, and years, the mean over records of their
    sum; else by the middle of a STEP around the R peak: years, the mean over beats. reading: arrays of
    `reading.read_network`; peaks, leads: by record.
    """
    size = np.abs(reading["attribution"]).sum(axis=2)
    rows = [
        (group, lead, np.nan, years, share)
        for lead, years, share in zip(LEADS, size.mean(axis=0), size.sum(axis=0) / size.sum(), strict=True)
    ]
    total, beats, shape, seen = 0, 0, 0, 0
    for record, one in zip(reading["record"], reading["attribution"], strict=True):
        some, n = around_beats(one, peaks[record])
        total, beats = total + some, beats + n
        some, n = mean_beat(leads[record], peaks[record])
        shape, seen = shape + some, seen + n
    if beats:
        total = total / beats
        offsets = np.arange(AROUND[0] + STEP / 2, AROUND[1], STEP)
        rows += [
            (group, lead, offset, total[row, at], total[row, at] / total.sum())
            for row, lead in enumerate(LEADS)
            for at, offset in enumerate(offsets)
        ]
    return pd.DataFrame(rows, columns=ATTRIBUTION_COLUMNS), shape / seen if beats else None


# Figures


def _models_figure(figures, summary: pd.DataFrame, found: dict):
    """Mean absolute errors with their intervals, a panel for each group."""
    groups = list(found)
    most = max(len(models) for models in found.values())
    figure, panels = plt.subplots(1, len(groups), figsize=(3.6 * len(groups) + 0.6, 0.42 * most + 0.9), squeeze=False)
    errors = summary[summary["metric"].isin([f"{group}_mae" for group in groups])]
    for axes, group in zip(panels[0], groups, strict=True):
        some = errors[errors["metric"] == f"{group}_mae"].sort_values("value")
        for row, one in enumerate(some.itertuples()):
            colour = PEER_COLOURS.get(one.model, ACCENT)
            axes.plot([one.ci_low, one.ci_high], [row, row], color=colour, lw=2)
            axes.plot([one.value], [row], "D", ms=5.5, color=colour)
        axes.set_yticks(range(len(some)), [words(model) for model in some["model"]])
        axes.set(ylim=(len(some) - 0.5, -0.5), xlabel="mean absolute error, years", title=TITLES[group])
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
    figure.tight_layout()
    return figures.save("models", figure, errors, "Mean absolute error by model")


def _true_figure(figures, gaps: dict[str, pd.DataFrame], coverage: float):
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


def _agreement_figure(figures, gaps: dict[str, pd.DataFrame]):
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


def _parts_figure(figures, summary: pd.DataFrame, found: dict):
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


def read_logs(paths) -> pd.DataFrame:
    """All training logs, with group and fold."""
    parts = []
    for path in map(pathlib.Path, paths):
        name, fold = path.stem.removesuffix("_log").rsplit("_", 1)
        parts.append(pd.read_csv(path).assign(group=path.parent.name, model=name, fold=int(fold)))
    return pd.concat(parts, ignore_index=True)


def _training_figure(figures, logs: pd.DataFrame):
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


def _beat_figure(figures, group: str, table: pd.DataFrame, beat: np.ndarray):
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


def _ecg_figure(figures, name: str, title: str, leads: np.ndarray, attribution: np.ndarray, attention: np.ndarray):
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


def _joined_figure(figures, both: pd.DataFrame):
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


# The page


def truth_rows(truth: pd.DataFrame, gaps: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What is known of simulated records, as rows of SUMMARY_COLUMNS: `heart_mae` of a model `truth`, how far true ages
    are from those of the hearts, nearer than which no model can come but by chance; and of each network the correlation
    of its adjusted gaps with the hearts' (`heart_gap_correlation`)."""
    rows = []
    truth = truth.set_index("record")
    for group, table in gaps.items():
        here = truth.loc[table["record"]]
        heart = (here["heart_age"] - here["age"]).to_numpy()
        rows.append(("truth", f"{group}_heart_mae", np.abs(heart).mean(), np.nan, np.nan, len(here)))
        if len(here) > 3:
            r = np.corrcoef(table["gap_adjusted"], adjusted(heart, here["age"].to_numpy()))[0, 1]
            rows.append((table["model"].iloc[0], f"{group}_heart_gap_correlation", r, np.nan, np.nan, len(here)))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def submission(gaps: dict[str, pd.DataFrame], asked: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """FILENAME and AGE: of the records that are asked about, or without any, of those held out."""
    found = pd.concat((asked or gaps).values(), ignore_index=True)
    found = found.rename(columns={"record": "FILENAME", "predicted": "AGE"})
    return found[SUBMISSION_COLUMNS]


def _readings(inputs: dict, records: pd.DataFrame, leads: np.ndarray):
    """By group the arrays of a reading; R peaks and leads (12, time) mV of its records."""
    found, peaks, volts = {}, {}, {}
    if not inputs.get("readings"):
        return found, peaks, volts
    measured = pd.concat([read_parquet(path, columns=["record", "r_peaks"]) for path in inputs["features"]])
    measured = measured.set_index("record")["r_peaks"]
    row = pd.Series(np.arange(len(records)), index=records["record"])
    for path in inputs["readings"]:
        with np.load(path, allow_pickle=False) as arrays:
            one = {key: arrays[key] for key in arrays.files}
        if len(one["record"]):
            found[pathlib.Path(path).stem] = one
        for record in one["record"]:
            peaks[record] = measured[record]
            values = leads[row[record]]
            volts[record] = np.where(values == MISSING, np.nan, values / 1000)
    return found, peaks, volts


def _drawn_records(reading: dict, gaps: pd.DataFrame, wanted: int) -> list[int]:
    """Which of the records read are drawn: the one predicted best first, then those predicted worst."""
    size = gaps.set_index("record")["gap"].abs().reindex(reading["record"]).to_numpy()
    order = np.argsort(size, kind="stable")
    return list(dict.fromkeys([order[0], *order[::-1]]))[:wanted] if wanted else []


def write(inputs: dict, outputs: dict, *, settings: dict, seed: int) -> None:
    """Score all models, give every age its interval, join the gaps of both clocks, and write tables, figures and page.

    inputs: `records`, `leads`, `left_out`, `qc` (`inputs.prepare`), `features`, `networks` (GROUP/NAME_FOLD.parquet),
    `peers` (GROUP/PEER.parquet), `logs`, `readings` (GROUP.npz), and where there are such `asked`
    (GROUP/asked.parquet), `asked_records`, `methylation` (`clock`) and `truth` (of simulated records). settings:
    `EcgPlan.page_settings`.

    outputs: `summary` (SUMMARY_COLUMNS: `scores.score`, `joined_rows`, `truth_rows`), `gaps` (`scores.gap_table`, and a
    row without true age for each record asked about), `submission` (FILENAME, AGE), `comparisons` (`scores`),
    `left_out` (of all parts together), `attributions` (ATTRIBUTION_COLUMNS), `joined` (`scores.joined`; where there is
    a methylation age), `html`, `figures`, a folder of SVG and CSV.
    """
    records = read_parquet(inputs["records"])
    qc = read_json(inputs["qc"])
    left = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in inputs["left_out"]]
    left = pd.concat(left, ignore_index=True)
    write_csv(outputs["left_out"], left)
    networks, coverage = settings["networks"], settings["coverage"]
    found, asked = tables_of(inputs, settings, records), asked_of(inputs)
    scored = {group: score(group, found[group], networks[group], coverage, seed) for group in networks}
    gaps = {group: gap_table(group, networks[group], found[group][networks[group]], coverage) for group in networks}
    comparisons = pd.concat([one for _, one in scored.values()], ignore_index=True)
    comparisons.insert(8, "p_holm", holm(comparisons["p"]))
    parts = [one for one, _ in scored.values()]
    both = None
    if inputs.get("methylation"):
        both = joined(pd.concat(gaps.values(), ignore_index=True), read_parquet(inputs["methylation"]))
        rows = [row for group in networks for row in joined_rows(both, group, networks[group])]
        parts.append(pd.DataFrame(rows, columns=SUMMARY_COLUMNS))
        write_csv(outputs["joined"], both)
    if inputs.get("truth"):
        parts.append(truth_rows(pd.read_csv(inputs["truth"], dtype={"record": str}), gaps))
    summary = pd.concat([part for part in parts if len(part)], ignore_index=True)
    leads = np.load(inputs["leads"], mmap_mode="r")
    readings, peaks, volts = _readings(inputs, records, leads)
    tables = {group: attribution_table(group, one, peaks, volts) for group, one in readings.items()}
    attributions = [table for table, _ in tables.values()] or [pd.DataFrame(columns=ATTRIBUTION_COLUMNS)]
    write_csv(outputs["summary"], summary)
    write_csv(outputs["comparisons"], comparisons)
    write_csv(outputs["attributions"], pd.concat(attributions, ignore_index=True))
    write_csv(outputs["submission"], submission(gaps, asked))
    write_csv(outputs["gaps"], _all_gaps(gaps, asked, networks, coverage))

    with atomic_folder(outputs["figures"]) as partial, matplotlib.rc_context(STYLE):
        figures = Figures(partial)
        drawn = {
            "models": _models_figure(figures, summary, found),
            "true": _true_figure(figures, gaps, coverage),
            "agreement": _agreement_figure(figures, gaps),
            "parts": _parts_figure(figures, summary, found),
            "training": _training_figure(figures, read_logs(inputs["logs"])),
            "joined": _joined_figure(figures, both) if both is not None and len(both) else None,
        }
        shown = settings["reading"]["drawn"]
        reading = [
            _group_reading(figures, group, one, tables[group], gaps[group], volts, shown)
            for group, one in readings.items()
        ]

    page = {
        "groups": [
            _group_page(group, networks[group], summary, comparisons, gaps[group], qc, settings) for group in networks
        ],
        "left": left.head(LISTED).to_dict("records"),
        "n_left": len(left),
        "qc": qc,
        "drawn": drawn,
        "reading": reading,
        "joined": _joined_page(both, summary, networks) if both is not None else None,
        "truth": _truth_page(summary, networks) if inputs.get("truth") else None,
        "asked": sum(map(len, asked.values())),
        "settings": settings,
        "coverage": percent(coverage),
        "files": {key: pathlib.Path(path).name for key, path in outputs.items()},
    }
    write_page(outputs["html"], "ecg_age.html.j2", page)
    for group, name in networks.items():
        error = summary[(summary["model"] == name) & (summary["metric"] == f"{group}_mae")]["value"].iloc[0]
        logging.info(f"{TITLES[group]}: mean absolute error of {name} {error:.2f} years")


def _all_gaps(gaps, asked, networks, coverage: float) -> pd.DataFrame:
    """The gap tables of all groups, and the records asked about, whose ages are predicted with an interval."""
    parts = []
    for group, name in networks.items():
        parts.append(gaps[group])
        if group in asked:
            rest = asked[group]
            width = half_width(gaps[group]["gap"].to_numpy(), coverage)
            parts.append(
                pd.DataFrame(
                    {
                        "group": group,
                        **{key: rest[key] for key in ("record", "patient", "sex")},
                        "age": np.nan,
                        "predicted": rest["predicted"],
                        "age_low": rest["predicted"] - width,
                        "age_high": rest["predicted"] + width,
                        "model": name,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)[list(next(iter(gaps.values())).columns)]


def _group_reading(figures, group, reading, tables, gaps, volts, wanted: int) -> dict:
    table, beat = tables
    whole = table[table["offset_ms"].isna()].sort_values("share", ascending=False)
    records = []
    ages = gaps.set_index("record")
    for at in _drawn_records(reading, gaps, wanted):
        record = str(reading["record"][at])
        title = f"{record}: {ages.loc[record, 'age']:.3g} years, predicted {ages.loc[record, 'predicted']:.1f}"
        drawing = _ecg_figure(
            figures, f"ecg_{record}", title, volts[record], reading["attribution"][at], reading["attention"][at]
        )
        records.append({"title": title, "drawing": drawing})
    return {
        "title": TITLES[group],
        "beat": _beat_figure(figures, group, table, beat) if beat is not None else None,
        "leads": ", ".join(f"{row.lead} {percent(row.share)}" for row in whole.head(4).itertuples()),
        "records": records,
        "n": len(reading["record"]),
        "missed": decimal(float(np.median(reading["incomplete"])), 2),
    }


def _group_page(group, name, summary, comparisons, gaps, qc, settings) -> dict:
    metrics = summary.set_index(["model", "metric"])

    def one(model, metric, show=decimal, digits=1):
        if (model, f"{group}_{metric}") not in metrics.index:
            return {"value": decimal(np.nan), "range": decimal(np.nan)}
        row = metrics.loc[(model, f"{group}_{metric}")]
        return {
            "value": show(row["value"], digits),
            "range": span(row["ci_low"], row["ci_high"], lambda v: show(v, digits)),
        }

    digits = 1 if group == "adult" else 2
    maes = summary[summary["metric"] == f"{group}_mae"].sort_values("value")
    rows = [
        {
            "model": words(row.model),
            "own": row.model == name,
            "mae": decimal(row.value, digits),
            "range": span(row.ci_low, row.ci_high, lambda v: decimal(v, digits)),
            "bias": one(row.model, "bias", signed, digits),
            "rmse": one(row.model, "rmse", decimal, digits),
            "r": one(row.model, "r", decimal, 2),
            "width": one(row.model, "half_width", decimal, digits),
            "limits": f"{one(row.model, 'limits_low', signed, digits)['value']} to "
            f"{one(row.model, 'limits_high', signed, digits)['value']}",
        }
        for row in maes.itertuples()
    ]
    against = comparisons[comparisons["group"] == group]
    return {
        "group": group,
        "title": TITLES[group],
        "name": name,
        "rows": rows,
        "mae": decimal(metrics.loc[(name, f"{group}_mae"), "value"], digits),
        "range": rows[[row["own"] for row in rows].index(True)]["range"],
        "ratio": one(name, "mae_over_median", lambda v, _: percent(v)),
        "slope": one(name, "slope", signed, 2)["value"],
        "n": f"{len(gaps):,}",
        "patients": f"{gaps['patient'].nunique():,}",
        "few": gaps["patient"].nunique() < 100,
        "learnt": f"{qc['groups'][group]['records']:,}",
        "unusual": int(gaps["unusual"].sum()),
        "compared": [
            {
                "other": words(row.other),
                "difference": signed(row.difference, digits),
                "range": span(row.ci_low, row.ci_high, lambda v: signed(v, digits)),
                "nearer": percent(row.nearer),
                "p": p_value(row.p_holm),
            }
            for row in against.itertuples()
        ],
        "bins": list(qc["groups"][group]["bins"].items()),
    }


def _joined_page(both: pd.DataFrame, summary: pd.DataFrame, networks: dict) -> list[dict]:
    rows = []
    for group, name in networks.items():
        some = summary[(summary["model"] == name) & (summary["metric"] == f"{group}_gap_correlation")]
        n = int((both["group"] == group).sum())
        if not n:
            continue
        row = {"title": TITLES[group], "n": n, "r": None}
        if len(some):
            one = some.iloc[0]
            row |= {"r": signed(one["value"], 2), "range": span(one["ci_low"], one["ci_high"], lambda v: signed(v, 2))}
        rows.append(row)
    return rows


def _truth_page(summary: pd.DataFrame, networks: dict) -> list[dict]:
    metrics = summary.set_index(["model", "metric"])["value"]
    return [
        {
            "title": TITLES[group],
            "name": name,
            "floor": decimal(metrics[("truth", f"{group}_heart_mae")], 1 if group == "adult" else 2),
            "r": signed(metrics.get((name, f"{group}_heart_gap_correlation"), np.nan), 2),
        }
        for group, name in networks.items()
    ]

"""The thresholds of the rules and of the rounds: what they are asked of, and how many CpGs stand near them."""

import dataclasses
import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator

from cpgtaxa.drawing import ACCENT, INK, LINE, MUTED, SECOND
from cpgtaxa.files import parquet_blocks
from cpgtaxa.names import UNCLASSIFIED
from cpgtaxa.report.tables import share_of
from cpgtaxa.report.words import count, percent

NEAR = 0.1
"""Near a threshold: within this share of it."""
NEAR_DECADES = 0.5
"""For p-values: within this many powers of ten."""
NEAR_COUNT = 1
"""For numbers of samples: at most this many off."""
EDGE = 1 + 1e-9
"""The edge of near, which is near itself whatever the last digit."""
HISTOGRAM = 40
"""Bins of a statistic's histogram."""


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A number of each CpG that thresholds are asked of.

    scale: `linear`, `log` (ratios, spreads and effects), `p` (p-values) or `count` (samples). among: which CpGs the
    question arises for, in words; empty for all.
    """

    name: str
    words: str
    scale: str
    group: str
    among: str = ""


TREND, SPREAD, OUTLIERS, BANDS, WITHIN = (
    *("Trend of one band", "Spread", "Outliers", "Two and three bands", "Trends within bands"),
)
GROUPS = (TREND, SPREAD, OUTLIERS, BANDS, WITHIN)

MIXTURE = "CpGs with a mixture fitted"
STATISTICS = (
    Statistic("core_effect", "change over the central 90 % of ages", "log", TREND),
    Statistic("effect_to_spread", "change, in spreads of the band", "log", TREND),
    Statistic("core_slope_p", "p of the slope", "p", TREND),
    Statistic("core_curve_p", "p of a bend", "p", TREND),
    Statistic("curve_to_effect", "bend, as a share of the change", "log", TREND),
    Statistic("core_sd", "spread of the band (sd)", "log", SPREAD),
    Statistic("core_sd_ratio", "spread at old over young age, as a factor", "log", SPREAD),
    Statistic("core_het_p", "p of a change of spread", "p", SPREAD),
    Statistic("outlier_n", "samples far from the band", "count", OUTLIERS),
    Statistic("outlier_share", "their share of the samples", "log", OUTLIERS, "CpGs with samples far from the band"),
    Statistic("outlier_distance", "their distance (median)", "log", OUTLIERS, "CpGs with samples far from the band"),
    Statistic("dip_p", "p of one mode (dip)", "p", BANDS),
    Statistic("kurtosis", "excess kurtosis", "linear", BANDS),
    *(
        found
        for word, number in (("two", "two"), ("three", "three"))
        for found in (
            Statistic(f"{word}_gain", f"gain of {number} bands (BIC)", "log", BANDS, MIXTURE),
            Statistic(f"{word}_d", f"distance of {number} bands (Ashman’s D)", "log", BANDS, MIXTURE),
            Statistic(f"{word}_gap", f"gap between {number} bands", "log", BANDS, MIXTURE),
            Statistic(f"{word}_weight", f"share of the smallest of {number} bands", "log", BANDS, MIXTURE),
            Statistic(f"{word}_samples", f"samples in the smallest of {number} bands", "count", BANDS, MIXTURE),
        )
    ),
    Statistic("three_sd_to_gap", "spread of the widest of three bands, in gaps", "log", BANDS, MIXTURE),
    Statistic("two_effect", "change of one of two bands", "log", WITHIN, MIXTURE),
    Statistic("two_p", "p of a slope in two bands", "p", WITHIN, MIXTURE),
    Statistic("three_effect", "change of one of three bands", "log", WITHIN, MIXTURE),
    Statistic("three_p", "p of a slope in three bands", "p", WITHIN, MIXTURE),
    Statistic("slope_p", "p of the slope over all bands", "p", WITHIN, MIXTURE),
    Statistic("het_p", "p of a change of the whole spread", "p", WITHIN, MIXTURE),
)
BY_NAME = {found.name: found for found in STATISTICS}

ASKED = {
    "core_effect": (("min_effect", "trend"), ("tiny_effect", "no trend")),
    "effect_to_spread": (("min_effect_to_spread", "trend"), ("tiny_effect_to_spread", "no trend")),
    "core_slope_p": (
        *(("alpha", "trend"), ("absent_p", "no trend")),
        ("contradicted_p", "in the rounds: contradicts “no trend”"),
    ),
    "core_curve_p": (("curve_p", "straight"),),
    "curve_to_effect": (("curve_share", "straight"),),
    "core_sd": (
        *(("stable_sd", "narrow"), ("unstable_sd", "wide")),
        ("max_outlier_core_sd", "outliers: width of the band they lie far from"),
    ),
    "core_sd_ratio": (("min_sd_ratio", "changing spread"), ("tiny_sd_ratio", "constant spread")),
    "core_het_p": (
        *(("alpha", "changing spread"), ("absent_p", "constant spread")),
        ("contradicted_p", "in the rounds: contradicts “constant spread”"),
    ),
    "outlier_n": (("max_strays", "no outliers"), ("min_outliers", "outliers")),
    "outlier_share": (
        *(("stray_share", "no outliers"), ("min_outlier_share", "outliers"), ("max_outlier_share", "outliers, few")),
    ),
    "outlier_distance": (("min_outlier_distance", "outliers"),),
    "dip_p": (("dip_p", "two or three bands"), ("absent_p", "one band")),
    "kurtosis": (("min_kurtosis", "one band"),),
    "two_gain": (("bic_gain", "two bands"),),
    "two_d": (("min_ashman_d", "two bands"), ("max_ashman_d_one", "one band"), ("sure_ashman_d", "two bands, no dip")),
    "two_gap": (("min_band_gap", "two bands"),),
    "two_weight": (("min_weight_two", "two bands"),),
    "two_samples": (("min_band_samples", "two bands"),),
    "three_gain": (("bic_gain", "three bands"),),
    "three_d": (
        *(("min_ashman_d", "three bands"), ("max_ashman_d_one", "one band"), ("sure_ashman_d", "three bands, no dip")),
    ),
    "three_gap": (("min_band_gap", "three bands"),),
    "three_weight": (("min_weight_three", "three bands"),),
    "three_samples": (("min_band_samples", "three bands"),),
    "three_sd_to_gap": (("max_band_sd_to_gap", "three bands"),),
    "two_effect": (("min_effect", "trend in a band"), ("tiny_effect", "no trend in any band")),
    "two_p": (("alpha", "trend in a band"), ("absent_p", "no trend in any band")),
    "three_effect": (("min_effect", "trend in a band"), ("tiny_effect", "no trend in any band")),
    "three_p": (("alpha", "trend in a band"), ("absent_p", "no trend in any band")),
    "slope_p": (("bands_by_age_p", "bands at any age"),),
    "het_p": (("bands_by_age_p", "bands at any age"),),
}
"""For each statistic the thresholds asked of it, and the criterion of the rules that they answer (see `taxa`)."""

DECIDE = {
    "UniStable": ("core_sd:stable_sd", "core_effect:tiny_effect", "core_sd_ratio:tiny_sd_ratio"),
    "UniUnstable": (
        *("core_sd:unstable_sd", "effect_to_spread:tiny_effect_to_spread", "core_slope_p:absent_p"),
        *("core_sd_ratio:tiny_sd_ratio", "core_het_p:absent_p", "kurtosis:min_kurtosis", "dip_p:absent_p"),
    ),
    "LinAgeHomo": (
        *("core_effect:min_effect", "effect_to_spread:min_effect_to_spread", "core_slope_p:alpha"),
        *("core_sd_ratio:tiny_sd_ratio", "core_het_p:absent_p", "core_curve_p:curve_p"),
    ),
    "LinAgeHet": (
        *("core_effect:min_effect", "effect_to_spread:min_effect_to_spread", "core_slope_p:alpha"),
        *("core_sd_ratio:min_sd_ratio", "core_het_p:alpha", "core_curve_p:curve_p"),
    ),
    "NonAgeHet": (
        *("core_sd_ratio:min_sd_ratio", "core_het_p:alpha", "effect_to_spread:tiny_effect_to_spread"),
        *("core_slope_p:absent_p", "core_sd:stable_sd"),
    ),
    "Outlier": (
        *("outlier_n:min_outliers", "outlier_share:min_outlier_share", "outlier_share:max_outlier_share"),
        *("outlier_distance:min_outlier_distance", "core_sd:max_outlier_core_sd", "core_het_p:absent_p"),
    ),
    "TriAge": (
        *("three_d:min_ashman_d", "three_gap:min_band_gap", "three_weight:min_weight_three"),
        *("three_sd_to_gap:max_band_sd_to_gap", "three_effect:min_effect", "three_p:alpha"),
    ),
    "TriNonAge": (
        *("three_d:min_ashman_d", "three_gap:min_band_gap", "three_weight:min_weight_three"),
        *("three_sd_to_gap:max_band_sd_to_gap", "three_p:absent_p", "slope_p:bands_by_age_p"),
    ),
    "BiAge": (
        *("two_d:min_ashman_d", "two_gap:min_band_gap", "two_weight:min_weight_two", "two_gain:bic_gain"),
        *("two_effect:min_effect", "two_p:alpha"),
    ),
    "BiNonAge": (
        *("two_d:min_ashman_d", "two_gap:min_band_gap", "two_weight:min_weight_two", "two_gain:bic_gain"),
        *("two_p:absent_p", "slope_p:bands_by_age_p", "het_p:bands_by_age_p"),
    ),
}
"""Of each taxon's rule the thresholds, `statistic:threshold`, that a CpG may have cleared but just."""


def values_of(statistics: pd.DataFrame) -> dict[str, np.ndarray]:
    """The numbers that thresholds are asked of, by name, each (CpGs,) float64; NaN where the question does not arise.

    statistics: columns of `statistics.compute`; those that derive from columns it lacks are left out.
    """
    s = statistics
    derived = {
        "core_effect": (["core_effect"], lambda: s["core_effect"].abs()),
        "effect_to_spread": (
            ["core_effect", "core_sd"],
            lambda: s["core_effect"].abs() / s["core_sd"].clip(lower=1e-6),
        ),
        "curve_to_effect": (
            ["core_curve_effect", "core_effect"],
            lambda: s["core_curve_effect"].abs() / s["core_effect"].abs().clip(lower=1e-9),
        ),
        "core_sd_ratio": (
            ["core_sd_ratio"],
            lambda: np.exp(np.abs(np.log(s["core_sd_ratio"].clip(1e-3, 1e3)))),
        ),
        "outlier_share": (["outlier_n", "n"], lambda: (s["outlier_n"] / s["n"]).where(s["outlier_n"] > 0)),
        "outlier_distance": (
            ["outlier_distance", "outlier_n"],
            lambda: s["outlier_distance"].where(s["outlier_n"] > 0),
        ),
        "two_gain": (["bic1", "bic2"], lambda: s["bic1"] - s["bic2"]),
        "three_gain": (
            ["bic1", "bic2", "bic3"],
            lambda: np.minimum(s["bic1"], s["bic2"]) - s["bic3"],
        ),
        "two_samples": (["two_weight", "n"], lambda: s["two_weight"] * s["n"]),
        "three_samples": (["three_weight", "n"], lambda: s["three_weight"] * s["n"]),
        "three_sd_to_gap": (
            ["three_sd", "three_gap"],
            lambda: s["three_sd"] / s["three_gap"].clip(lower=1e-9),
        ),
        **{
            f"{word}_effect": ([f"{word}_effect"], lambda word=word: s[f"{word}_effect"].abs())
            for word in ("two", "three")
        },
        **{
            f"{word}_p": (
                [f"{word}_p", f"{word}_common_p"],
                lambda word=word: np.minimum(s[f"{word}_p"], s[f"{word}_common_p"]),
            )
            for word in ("two", "three")
        },
    }
    ran = s["mixture_ran"].to_numpy(dtype=bool) if "mixture_ran" in s else np.zeros(len(s), dtype=bool)
    found = {}
    for one in STATISTICS:
        needed, of = derived.get(one.name, ([one.name], lambda name=one.name: s[name]))
        if not set(needed) <= set(s.columns):
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.array(of(), dtype=np.float64)
        if one.among == MIXTURE:
            values[~ran] = np.nan
        found[one.name] = np.where(np.isfinite(values), values, np.nan)
    return found


def thresholds_asked(thresholds: dict, n_cpgs: int) -> list[tuple[Statistic, str, float, str]]:
    """Statistic, name of the threshold, its value (alpha shared by the CpGs) and criterion, of those configured."""
    found = []
    for name, asked in ASKED.items():
        for key, criterion in asked:
            if key in thresholds:
                value = float(thresholds[key])
                found.append((BY_NAME[name], key, value / n_cpgs if key == "alpha" else value, criterion))
    return found


def distance(scale: str, values, bar: float) -> np.ndarray:
    """How far values are from a threshold: 1 is the edge of what counts as near. NaN stays NaN."""
    values = np.asarray(values, dtype=np.float64)
    if scale == "p":
        return np.abs(np.log10(np.maximum(values, 1e-300)) - np.log10(bar)) / NEAR_DECADES
    if scale == "count":
        return np.abs(values - bar) / NEAR_COUNT
    return np.abs(values - bar) / (NEAR * abs(bar)) if bar else np.full(values.shape, np.inf)


def edges_of(scale: str, bars: list[float]) -> np.ndarray:
    """Edges of a statistic's histogram, for these thresholds; what lies beyond is counted in the outer bins."""
    low, high = min(bars), max(bars)
    if scale == "p":
        return 10.0 ** np.linspace(np.floor(np.log10(low)) - 4, 0, HISTOGRAM + 1)
    if scale == "count":
        # One bin a number, from none to a few more than the largest threshold.
        return np.arange(int(np.ceil(high)) + 8) - 0.5
    if scale == "log":
        return np.geomspace(low / 12, high * 12, HISTOGRAM + 1)
    reach = max(4 * abs(high), 1.0)
    return np.linspace(low - reach, high + reach, HISTOGRAM + 1)


def near_thresholds(blocks, taxa: pd.DataFrame, thresholds: dict, n_cpgs: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How many CpGs stand near each threshold, and the histograms of what they are asked of.

    blocks: data frames of `statistics.compute`, one after the other. taxa: taxon and source by CpG (index), the end of
    the run. Near is within NEAR of the threshold, for p-values within NEAR_DECADES, for numbers of samples within
    NEAR_COUNT.

    Returns (statistic, words, criterion, threshold, value, n_asked (CpGs that the question arises for), n_near, share
    (of those asked), near_by_rules, near_by_networks, near_unclassified (of those near: what gave them their taxon)),
    and (statistic, low, high, n).
    """
    asked = thresholds_asked(thresholds, n_cpgs)
    bars = {}
    for one, _, value, _ in asked:
        bars.setdefault(one.name, []).append(value)
    edges = {name: edges_of(BY_NAME[name].scale, values) for name, values in bars.items()}
    heights = {name: np.zeros(len(found) - 1, dtype=np.int64) for name, found in edges.items()}
    numbers = np.zeros((len(asked), 5), dtype=np.int64)
    seen = set()
    for block in blocks:
        values = values_of(block)
        of = taxa.reindex(block["cpg"])
        left = (of["taxon"] == UNCLASSIFIED).to_numpy()
        rules = (of["source"] == "statistical").to_numpy() & ~left
        for name in values.keys() & edges.keys():
            seen.add(name)
            known = values[name][~np.isnan(values[name])]
            heights[name] += np.histogram(np.clip(known, edges[name][0], edges[name][-1]), edges[name])[0]
        for row, (one, _, bar, _) in enumerate(asked):
            if one.name in values:
                with np.errstate(invalid="ignore"):
                    near = distance(one.scale, values[one.name], bar) <= EDGE
                numbers[row] += [
                    int((~np.isnan(values[one.name])).sum()),
                    *(int(chosen.sum()) for chosen in (near, near & rules, near & ~rules & ~left, near & left)),
                ]
    rows = [
        (one.name, one.words, criterion, key, value, *map(int, found))
        for (one, key, value, criterion), found in zip(asked, numbers, strict=True)
        if one.name in seen
    ]
    columns = ["statistic", "words", "criterion", "threshold", "value", "n_asked", "n_near"]
    columns += ["near_by_rules", "near_by_networks", "near_unclassified"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(7, "share", [share_of(row.n_near, row.n_asked) for row in table.itertuples()])
    pieces = [
        pd.DataFrame({"statistic": name, "low": edges[name][:-1], "high": edges[name][1:], "n": heights[name]})
        for name in edges
        if name in seen
    ]
    drawn = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=["statistic", "low", "high", "n"])
    return table, drawn


def deciding(taxon: str, statistics: pd.DataFrame, thresholds: dict, n_cpgs: int) -> pd.DataFrame:
    """Which of its rule's thresholds each CpG stands nearest to: statistic, threshold, value, bar, distance.

    statistics: rows of CpGs that the rule of `taxon` labelled. One row each; distance 1 is the edge of near. NaN, and
    empty names, where none of the statistics is there.
    """
    values, rows = values_of(statistics), []
    bars = {f"{one.name}:{key}": (one, key, value) for one, key, value, _ in thresholds_asked(thresholds, n_cpgs)}
    for pair in DECIDE[taxon]:
        if pair in bars and bars[pair][0].name in values:
            one, key, bar = bars[pair]
            with np.errstate(invalid="ignore"):
                rows.append((one, key, bar, values[one.name], distance(one.scale, values[one.name], bar)))
    columns = ("statistic", "words", "threshold", "value", "bar", "distance")
    if not rows:
        empty = dict.fromkeys(columns[:3], "") | dict.fromkeys(columns[3:], np.nan)
        return pd.DataFrame(empty, index=statistics.index)
    apart = np.stack([np.where(np.isnan(row[4]), np.inf, row[4]) for row in rows])
    best = apart.argmin(axis=0)
    at = np.arange(len(statistics))
    found = {
        "statistic": np.array([row[0].name for row in rows], dtype=object)[best],
        "words": np.array([row[0].words for row in rows], dtype=object)[best],
        "threshold": np.array([row[1] for row in rows], dtype=object)[best],
        "value": np.stack([row[3] for row in rows])[best, at],
        "bar": np.array([row[2] for row in rows])[best],
        "distance": apart[best, at],
    }
    found = pd.DataFrame(found, index=statistics.index)
    found.loc[~np.isfinite(found["distance"]), list(columns[:3])] = ""
    return found


# What the page shows


def number(value) -> str:
    """A statistic or a threshold with three digits."""
    if value is None or not np.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e6:
        text = f"{int(value)}"
    elif 1e-4 <= abs(value) < 1e4:
        text = f"{value:.3g}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−")


def _power(value: float) -> str:
    """A power of ten as a tick's label."""
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    return "10" + str(round(np.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def threshold_figure(figures, group: str, table: pd.DataFrame, drawn: pd.DataFrame):
    """Histograms of a group's statistics, the thresholds as lines, and what is near them shaded."""
    names = [one.name for one in STATISTICS if one.group == group and (drawn["statistic"] == one.name).any()]
    if not names:
        return None
    rows = (len(names) + 2) // 3
    figure, grid = plt.subplots(rows, 3, figsize=(8.4, 1.9 * rows + 0.2), squeeze=False, layout="constrained")
    for axes, name in zip(grid.flat, names, strict=False):
        one, found = BY_NAME[name], drawn[drawn["statistic"] == name]
        edges = np.append(found["low"], found["high"].iat[-1])
        axes.stairs(found["n"], edges, fill=True, color=ACCENT, alpha=0.75, lw=0)
        top = max(found["n"].max(), 1)
        asked = table[table["statistic"] == name].sort_values("value")
        for at, row in enumerate(asked.itertuples()):
            low, high = _near(one.scale, row.value)
            axes.axvspan(low, high, color=SECOND, alpha=0.18, lw=0)
            axes.axvline(row.value, color=SECOND, lw=1.3)
            axes.annotate(
                row.threshold,
                (row.value, 1.02 + 0.13 * (len(asked) - 1 - at)),
                xycoords=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                color=INK,
                fontsize=6.5,
                annotation_clip=False,
            )
        if one.scale in ("log", "p"):
            axes.set_xscale("log")
            axes.minorticks_off()
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.xaxis.set_major_formatter(lambda value, _: _power(value))
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.05 * top))
        axes.set_xlabel(one.words, fontsize=7.5)
        axes.tick_params(labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.grid(axis="y", color=LINE)
        axes.spines["left"].set_color(MUTED)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_axis_off()
    data = drawn[drawn["statistic"].isin(names)]
    stem = "thresholds_" + group.lower().replace(" ", "_")
    return stem, figures.save(stem, figure, data, f"{group}: the statistics, and the thresholds asked of them")


def _near(scale: str, bar: float) -> tuple[float, float]:
    """Ends of what counts as near a threshold."""
    if scale == "p":
        return bar / 10**NEAR_DECADES, bar * 10**NEAR_DECADES
    if scale == "count":
        return bar - NEAR_COUNT - 0.5, bar + NEAR_COUNT + 0.5
    return bar - NEAR * abs(bar), bar + NEAR * abs(bar)


def thresholds_page(figures, statistics, taxonomy: pd.DataFrame, config: dict, n_cpgs: int) -> dict:
    """What the page shows of the thresholds: groups of figures and rows. statistics: path of a Parquet file."""
    thresholds = config["taxa"]["thresholds"]
    taxa = taxonomy.set_index("cpg")[["taxon", "source"]]
    table, drawn = near_thresholds(parquet_blocks(statistics), taxa, thresholds, n_cpgs)
    groups = []
    for group in GROUPS:
        names = [one.name for one in STATISTICS if one.group == group]
        found = table[table["statistic"].isin(names)]
        made = threshold_figure(figures, group, table, drawn)
        if made is None:
            continue
        rows = [
            {
                **{"words": row.words, "criterion": row.criterion, "threshold": row.threshold},
                **{"value": number(row.value), "asked": count(row.n_asked), "near": count(row.n_near)},
                **{"share": percent(row.share), "by_rules": count(row.near_by_rules)},
                **{"by_networks": count(row.near_by_networks), "left": count(row.near_unclassified)},
            }
            for row in found.itertuples()
        ]
        groups.append({"title": group, "name": made[0], "drawing": made[1], "rows": rows})
    logging.info("%d thresholds held against the statistics of %d CpGs", len(table), n_cpgs)
    return {"groups": groups, "table": table, "near": percent(NEAR, 0), "decades": "half a power of ten"}


# The rounds' bars


def bars_table(rounds: list[dict], config: dict) -> pd.DataFrame:
    """The bar that each round's calls had to clear, and how many CpGs stood near it.

    rounds: the rounds' counts. Returns round, asked (`judge`: probability of being right that the judge gives;
    `confidence`: the network's own), bar (NaN where there was none), within, near_above and near_below (candidates
    within so much of it that the tests do not contradict), candidates, placed.
    """
    confidence, rows = config["rounds"]["confidence"], []
    for found in rounds:
        bar = found.get("judge_at_least") if confidence is None else confidence
        near = found.get("near_bar") or {}
        rows.append(
            (
                *(found["round"], "judge" if confidence is None else "confidence"),
                *(np.nan if bar is None else bar, near.get("within"), near.get("above"), near.get("below")),
                *(found["candidates"], found["placed"]),
            )
        )
    columns = ["round", "asked", "bar", "within", "near_above", "near_below", "candidates", "placed"]
    return pd.DataFrame(rows, columns=columns).astype({"near_above": "Int64", "near_below": "Int64"})

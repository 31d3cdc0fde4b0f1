"""Anatomy of clocks: what CpGs of each taxon, shape and cause give to a weighted sum of betas.

The score of a person is the weighted sum S of the betas x (weights included). To its slope on age (signal) each CpG
gives its own slope; to the variance of what age leaves of S (noise) its own variance and half of its covariances with
the others; to the variance of S between people, age included (spread), cov(x, S). All three add up.
"""

import dataclasses
import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.files import read_parquet
from cpgtaxa.names import KNOWN, UNCLASSIFIED
from cpgtaxa.pages.drawing import ACCENT, MUTED, SECOND
from cpgtaxa.targets.biology.lists import CpgList, base_ids
from cpgtaxa.wording import decimal, percent, span

FEWEST, FEWEST_PEOPLE = 5, 40
"""CpGs of a list in the cohort, and people, of which the anatomy is told."""
DRAWS = 200
"""Bootstrap samples of the people, and parts on which the spread of age gaps is predicted."""
BLOCK = 2048
MEASURES = ("signal", "noise", "spread")
KINDS = ("taxon", "shape", "cause")
NO_BANDS = "no bands"
COLUMNS = ["set", "by", "group", "cpgs"]
COLUMNS += [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
GAPS = ["set", "cpgs", "people", "r_age", "gap_sd", "parts", "predicted_median", "seen_median", "r", "r_low", "r_high"]


@dataclasses.dataclass
class Clock:
    """A list's CpGs in a cohort: their rows (J,) and weights (J,); of a probe's replicates each has a part."""

    name: str
    rows: np.ndarray
    weights: np.ndarray


def clocks(lists: list[CpgList], cpgs: np.ndarray) -> tuple[list[Clock], list[str]]:
    """The lists that have weights and FEWEST CpGs or more among `cpgs`; and notes on those with weights and fewer."""
    base = pd.Series(base_ids(cpgs))
    found, notes = [], []
    for one in lists:
        if one.weights is None:
            continue
        weights = base.map(pd.Series(one.weights, index=one.cpgs)).to_numpy(np.float64)
        rows = np.flatnonzero(np.nan_to_num(weights) != 0)
        if len(rows) < FEWEST:
            notes.append(f"{one.name}: {len(rows)} of its CpGs with a weight are in the cohort, too few for an anatomy")
            continue
        shared = base.iloc[rows].map(base.iloc[rows].value_counts()).to_numpy()
        found.append(Clock(one.name, rows, weights[rows] / shared))
    return found, notes


def weighted_blocks(cohort: Cohort, clock: Clock, ages: np.ndarray):
    """Start and weighted betas (k, n) float64, centred, BLOCK CpGs at a time. ages: (n,) centred.

    A missing value is that of the CpG's line on age; CpGs without a value give nothing.
    """
    for start in range(0, len(clock.rows), BLOCK):
        values = cohort.take(clock.rows[start : start + BLOCK]).astype(np.float64)
        known = np.isfinite(values)
        count = np.maximum(known.sum(axis=1), 1)
        filled = np.where(known, values, 0)
        mean, middle = filled.sum(axis=1) / count, (known @ ages) / count
        slope = (filled @ ages - count * mean * middle) / np.maximum(known @ ages**2 - count * middle**2, 1e-12)
        line = mean[:, None] + slope[:, None] * (ages - middle[:, None])
        values = np.where(known, values, line) * known.any(axis=1)[:, None]
        yield start, clock.weights[start : start + BLOCK, None] * (values - values.mean(axis=1, keepdims=True))


def moments(x: np.ndarray, other: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Covariances (k, B) of x (k, n) with other (n,), in B samples of people (n, B), how often each is in them."""
    total = people.sum(axis=0)
    return (x @ (people * other[:, None])) / total - (x @ people) / total * (other @ people) / total


def contributions(blocks, score: np.ndarray, ages: np.ndarray, people: np.ndarray) -> dict[str, np.ndarray]:
    """What each CpG gives, (J, B) in B samples of people (n, B): signal, own and shared (noise), spread.

    blocks: of `weighted_blocks`; score: (n,) their sum. Units: of the score per year, else squared. The noise is own +
    shared.
    """
    found = {name: [] for name in ("signal", "own", "shared", "spread")}
    with_age = moments(score[None], ages, people)[0]
    variance = moments(ages[None], ages, people)[0]
    total = people.sum(axis=0)
    for _, x in blocks:
        slope = moments(x, ages, people) / variance
        spread = moments(x, score, people)
        own = (x**2 @ people) / total - ((x @ people) / total) ** 2 - slope**2 * variance
        found["signal"].append(slope)
        found["own"].append(own)
        found["shared"].append(spread - slope * with_age - own)
        found["spread"].append(spread)
    return {name: np.concatenate(pieces) for name, pieces in found.items()}


def gap_sd(score: np.ndarray, ages: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Standard deviation (B,) of age gaps, in years, of scores (B, n) as ages, read from their own line on age.

    people: (n, B), how often each is in a sample.
    """
    total = people.sum(axis=0)
    weight = people.T / total[:, None]
    centred = score - np.sum(weight * score, axis=1, keepdims=True)
    age = ages - weight @ ages[:, None]
    variance = np.sum(weight * age**2, axis=1)
    slope = np.sum(weight * age * centred, axis=1) / variance
    left = np.sum(weight * (centred - slope[:, None] * age) ** 2, axis=1)
    return np.sqrt(left) / np.abs(slope)


def predicted_gap_sd(parts: np.ndarray, given: dict) -> np.ndarray:
    """The same (B,) as the anatomy predicts it of parts (J, B) bool of the CpGs: shared noise by the others' share.

    given: of `contributions`, (J, B).
    """
    inside = (parts.sum(axis=0) - 1) / max(len(parts) - 1, 1)
    noise = np.sum(parts * given["own"], axis=0) + inside * np.sum(parts * given["shared"], axis=0)
    return np.sqrt(np.maximum(noise, 0)) / np.abs(np.sum(parts * given["signal"], axis=0))


def _drawn_parts(n_cpgs: int, rng) -> np.ndarray:
    """DRAWS parts of the CpGs, (J, DRAWS) bool, of a tenth of them (two at least) to all."""
    sizes = rng.integers(max(n_cpgs // 10, 2), n_cpgs, DRAWS, endpoint=True)
    return rng.permuted(np.arange(n_cpgs)[:, None] < sizes, axis=0)


def anatomy_of(cohort: Cohort, clock: Clock, groups: pd.DataFrame, ages: np.ndarray, seed: int):
    """Rows of COLUMNS and one of GAPS of a clock.

    groups: names of the groups, by KINDS or some of them, of every CpG of the cohort; ages: (n,) years. Intervals are
    percentiles over bootstrap samples of the people. Gaps: those of DRAWS parts of the CpGs in half of the people, as
    predicted from the other half.
    """
    n, ages = len(ages), ages - ages.mean()
    rng = np.random.default_rng([seed, len(clock.rows)])
    parts = _drawn_parts(len(clock.rows), rng)
    half = rng.permuted(np.tile(np.arange(n)[:, None] < n // 2, DRAWS), axis=0)
    drawn = rng.multinomial(n, np.full(n, 1 / n), DRAWS).T
    score, of_parts = np.zeros(n), np.zeros((DRAWS, n))
    for start, x in weighted_blocks(cohort, clock, ages):
        score += x.sum(axis=0)
        of_parts += parts[start : start + len(x)].T @ x

    people = np.column_stack([np.ones(n), drawn]).astype(np.float64)
    given = contributions(weighted_blocks(cohort, clock, ages), score, ages, people)
    given["noise"] = given["own"] + given["shared"]
    rows = []
    for by in groups:
        names = groups[by].to_numpy(dtype=object)[clock.rows]
        there = sorted(set(names))
        for group in [name for name in KNOWN if name in there] + [name for name in there if name not in KNOWN]:
            rows.append({"set": clock.name, "by": by, "group": group, "cpgs": int(np.sum(names == group))})
            for name in MEASURES:
                shares = given[name][names == group].sum(axis=0) / given[name].sum(axis=0)
                low, high = np.quantile(shares[1:], [0.025, 0.975])
                rows[-1] |= {name: shares[0], f"{name}_low": low, f"{name}_high": high}

    learnt = contributions(weighted_blocks(cohort, clock, ages), score, ages, half.astype(np.float64))
    predicted, seen = predicted_gap_sd(parts, learnt), gap_sd(of_parts, ages, 1.0 - half)
    r = np.corrcoef(np.log(predicted), np.log(seen))[0, 1]
    low, high = np.tanh(np.arctanh(r) + np.array([-1, 1]) * 1.96 / np.sqrt(DRAWS - 3))
    whole = gap_sd(score[None], ages, np.ones((n, 1)))[0]
    told = (clock.name, len(clock.rows), n, np.corrcoef(score, ages)[0, 1], whole, DRAWS)
    gaps = dict(zip(GAPS, (*told, np.median(predicted), np.median(seen), r, low, high), strict=True))
    return rows, gaps


def anatomies(inputs: dict, lists: list[CpgList], taxonomy: pd.DataFrame, seed: int):
    """Tables COLUMNS and GAPS of all lists with weights, and notes.

    inputs: `beta` (a cohort file), `samples`, `patterns`; without a beta there are no rows. taxonomy: cpg, taxon.
    """
    rows, gaps = [], []
    if not inputs.get("beta"):
        return pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=GAPS), []
    cohort, ages = Cohort(inputs["beta"]), read_samples(inputs["samples"])["age"].to_numpy(np.float64)
    found, notes = clocks(lists, cohort.cpgs)
    if found and len(ages) < FEWEST_PEOPLE:
        notes.append(f"{len(ages)} people are too few for an anatomy of clocks, which takes {FEWEST_PEOPLE}")
        found = []
    groups = pd.DataFrame(index=cohort.cpgs)
    groups["taxon"] = taxonomy.set_index("cpg")["taxon"].reindex(cohort.cpgs).fillna(UNCLASSIFIED)
    patterns = read_parquet(inputs["patterns"], columns=["cpg", "shape", "cause"]).set_index("cpg")
    patterns = patterns.reindex(cohort.cpgs)
    groups["shape"], groups["cause"] = patterns["shape"].fillna("undecided"), patterns["cause"].fillna(NO_BANDS)
    for clock in found:
        more, one = anatomy_of(cohort, clock, groups, ages, seed)
        rows += more
        gaps.append(one)
        cohort.release()
        logging.info(f"{clock.name}: age gaps have an sd of {one['gap_sd']:.1f} years; predicted with r {one['r']:.2f}")
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(gaps, columns=GAPS), notes


def draw(figures, table: pd.DataFrame):
    """Shares of signal, noise and spread by taxon, a panel for each clock."""
    some = table[table["by"] == "taxon"]
    names = list(pd.unique(some["set"]))
    taxa = [name for name in KNOWN if name in set(some["group"])]
    across = min(3, len(names))
    down = -(-len(names) // across)
    size = (2.6 * across + 1.2, down * (0.34 * len(taxa) + 0.9) + 0.3)
    figure, panels = plt.subplots(down, across, figsize=size, squeeze=False, sharex=True, sharey=True)
    marks = {"signal": ("D", ACCENT), "noise": ("o", SECOND), "spread": ("s", MUTED)}
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels.flat, names, strict=False):
        own = some[some["set"] == name]
        axes.axvline(0, color=MUTED, lw=0.9)
        for shift, (measure, (mark, colour)) in zip((-0.22, 0, 0.22), marks.items(), strict=True):
            y = np.array([taxa.index(taxon) for taxon in own["group"]]) + shift
            axes.hlines(y, own[f"{measure}_low"], own[f"{measure}_high"], color=colour, lw=1.6)
            axes.plot(own[measure], y, mark, ms=4, color=colour, label=measure, lw=0)
        axes.set_yticks(range(len(taxa)), taxa)
        axes.set_ylim(len(taxa) - 0.4, -0.6)
        axes.set_title(name)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="x")
    for axes in panels[-1]:
        axes.set_xlabel("share of the score's")
    figure.tight_layout()
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0.02, 1), ncols=3, borderaxespad=0
    )
    return figures.save("anatomy", figure, some, "Shares of signal, noise and spread by taxon")


def _share(value: float) -> str:
    return percent(value if abs(value) >= 5e-4 else 0.0, 1)


def on_page(table: pd.DataFrame, gaps: pd.DataFrame) -> dict:
    """Both tables as the page shows them: without what is all of a clock."""
    rows = [
        {key: row[key] for key in ("set", "by", "group", "cpgs")}
        | {name: _share(row[name]) for name in MEASURES}
        | {f"{name}_range": span(row[f"{name}_low"], row[f"{name}_high"], _share) for name in MEASURES}
        for row in table[table.groupby(["set", "by"])["group"].transform("size") > 1].to_dict("records")
    ]
    told = [
        row
        | {name: decimal(row[name], 1) for name in ("gap_sd", "predicted_median", "seen_median")}
        | {name: decimal(row[name], 2) for name in ("r_age", "r")}
        | {"range": span(row["r_low"], row["r_high"], lambda value: decimal(value, 2))}
        for row in gaps.to_dict("records")
    ]
    return {"rows": rows, "gaps": told, "draws": DRAWS}

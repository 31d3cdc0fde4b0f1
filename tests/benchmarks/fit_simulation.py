"""Derive the table of noise shapes that simulated CpGs are drawn with, resources/simulation/shapes.csv.

    .venv/bin/python tests/benchmarks/fit_simulation.py [--out FILE.csv] [--without COHORT]

From each cohort the CpGs that look like one band are taken: no dip, and no valley between two bands. The residuals of a
quadratic in age are divided by the spread expected at each age and standardised, without outliers (beyond Tukey's
fences and 0.09); their quantiles at `simulate.GRID` (normal scores) are the shape. Shapes of like level, spread and
form are averaged (k-means) and smoothed: the table holds neither values of samples nor names of CpGs.
"""

import argparse
import sys

import numpy as np
import pandas as pd
import scipy.stats
from benchmarking import SHARED
from cpgtaxa.simulation.simulate import GRID, OUTLIER_DISTANCE, SHAPE_FILE, standardised
from cpgtaxa.statistics.kernel import compute
from sklearn.cluster import KMeans

DATA = SHARED / "methylation"
COHORTS = {"gse40279": (140, 0.4), "gse42861": (50, 0.2), "gse42861_random500": (140, 0.4)}
"""Cohort: rows of the table, and its share of the weight."""


def load(name):
    """Betas (k, n) float32 and ages (n,) of one cohort of ../shared/data."""
    beta = pd.read_csv(DATA / f"{name}_beta.csv.gz", index_col=0)
    sheet = pd.read_csv(DATA / f"{name}_samples.csv.gz")
    sheet = sheet.set_index("sample" if "sample" in sheet else sheet.columns[0]).loc[beta.columns]
    return beta.to_numpy(np.float32), sheet["age"].to_numpy(float)


def shape(values, ages, log_ratio):
    """Mean, sd and quantiles at GRID of one CpG's standardised residuals.

    log_ratio: of the spreads at the ends of the central 90 % of ages.
    """
    there = np.isfinite(values)
    low, high = np.quantile(ages, [0.05, 0.95])
    x = (ages[there] - (low + high) / 2) / (high - low)
    kept = np.ones(there.sum(), dtype=bool)
    for _ in range(2):
        line = np.polynomial.Polynomial.fit(x[kept], values[there][kept], 2)
        rest = values[there] - line(x)
        scaled = rest * np.exp(-np.clip(log_ratio, -1, 1) * np.clip(x, -0.8, 0.8))
        lower, upper = np.quantile(scaled, [0.25, 0.75])
        margin = 3 * (upper - lower)
        inside = (scaled > lower - margin) & (scaled < upper + margin)
        kept = inside | (np.abs(rest) < OUTLIER_DISTANCE)
    ordered = np.sort(scaled[kept])
    scores = scipy.stats.norm.ppf((np.arange(len(ordered)) + 0.5) / len(ordered))
    found = np.interp(GRID, scores, ordered)
    # Beyond the outermost samples the tail goes on as it did.
    for end, beyond in ((slice(0, 3), scores[0] > GRID), (slice(-3, None), scores[-1] < GRID)):
        if beyond.any():
            slope = np.polyfit(scores[end], ordered[end], 1)[0]
            edge = 0 if end.start == 0 else -1
            found[beyond] = ordered[edge] + min(slope, 1.5 * ordered.std()) * (GRID[beyond] - scores[edge])
    return values[there].mean(), ordered.std(), standardised(found)


def smooth(quantiles):
    """Quantiles (41,) whose distance from normal is averaged over five neighbours, but for the tails (3 % each)."""
    rest = quantiles - GRID
    inner = np.abs(GRID) < 1.9
    rest[inner] = np.convolve(rest, np.array([1, 2, 3, 2, 1]) / 9, "same")[inner]
    return GRID + rest


def shapes_of(name, clusters, weight, seed=1):
    """Rows of the table from one cohort: level, sd, weight, quantiles."""
    values, ages = load(name)
    s = compute(values, ages)
    bands = (s["bic1"] - s["bic2"] > 10) & (s["two_d"] > 2.6) & (s["two_gap"] > 0.06) & (s["two_weight"] > 0.03)
    one = np.flatnonzero((s["core_dip_p"] > 0.1) & ~bands & (s["outlier_fraction"] < 0.03))
    ratio = np.log(s["core_sd_ratio"].clip(0.2, 5)).to_numpy() if len(ages) >= 300 else np.zeros(len(s))
    found = [shape(values[k], ages, ratio[k]) for k in one]
    level, sd = (np.array([one[k] for one in found]) for k in (0, 1))
    quantiles = np.stack([one[2] for one in found])
    density = np.sqrt(np.exp(-(GRID**2) / 2) / np.exp(-(GRID**2) / 2).sum() + 0.004)
    position = np.column_stack([quantiles * density, 1.2 * level, 0.35 * np.log(sd)])
    cluster = KMeans(min(clusters, len(one) // 2), n_init=2, random_state=seed).fit(position).labels_
    rows = []
    for k in range(cluster.max() + 1):
        of = cluster == k
        rows.append(
            [
                level[of].mean(),
                np.exp(np.log(sd[of]).mean()),
                weight * of.sum() / len(one),
                *standardised(smooth(quantiles[of].mean(axis=0))),
            ]
        )
    return np.array(rows), len(one)


def fit(cohorts) -> pd.DataFrame:
    """The table from the named cohorts, in order of sd; the weights add up to 1."""
    parts = []
    for name in cohorts:
        rows, used = shapes_of(name, *COHORTS[name])
        print(f"{name}: {used} CpGs of one band, {len(rows)} shapes", file=sys.stderr)
        parts.append(rows)
    rows = np.concatenate(parts)
    rows[:, 2] /= rows[:, 2].sum()
    names = ["level", "sd", "weight", *(f"q{k}" for k in range(len(GRID)))]
    return pd.DataFrame(rows[np.argsort(rows[:, 1])], columns=names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=SHAPE_FILE, help="the table, CSV")
    parser.add_argument("--without", action="append", default=[], choices=COHORTS, help="leave this cohort out")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit("../shared/data is absent: nothing to fit")
    table = fit([name for name in COHORTS if name not in arguments.without])
    table.to_csv(arguments.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()

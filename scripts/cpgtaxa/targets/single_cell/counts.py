"""What is counted over all sites of the cells: calibration, agreement between cells, windows.

Nothing of the size of the genome is held: sites and predictions are read in blocks.
"""

import numpy as np
import pandas as pd

from cpgtaxa.files import parquet_blocks
from cpgtaxa.targets.single_cell.metrics import TEST, divided
from cpgtaxa.targets.single_cell.tables import Sites, prediction_blocks

CALIBRATION_BINS = 20
MEAN_BINS = 10
"""Steps of mean methylation in the histogram and of windows' rates."""
FEW = 4
"""Sites that a cell must observe in a window for its rate there to count."""


def predicted_blocks(sites: Sites, path, rates: np.ndarray):
    """Blocks of sites, and what a file predicts of each; without a file the cells' rates, everywhere."""
    if path is None:
        for block in sites.blocks():
            yield block, np.broadcast_to(rates, block.states.shape)
        return
    for first, values in prediction_blocks(path, sites.cells, sites.n):
        yield sites.rows(first, first + len(values)), values


def calibrate(sites: Sites, path, confident: float) -> tuple[pd.DataFrame, dict]:
    """Predicted against observed share of methylated states over all observed test sites, exactly.

    Returns a row per bin of predicted probability (from, to, predicted and observed share, n), and how many states were
    predicted surely (probability at least `confident`, or at most 1 - it) and how many of these rightly.
    """
    n, predicted, methylated = np.zeros((3, CALIBRATION_BINS))
    counts = {"states": 0, "sure": 0, "right": 0}
    for block, values in predicted_blocks(sites, path, np.zeros(0)):
        there = (block.states >= 0) & (block.split == TEST)[:, None]
        p, states = values[there].astype(float), block.states[there]
        bins = np.minimum((p * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        n += np.bincount(bins, minlength=CALIBRATION_BINS)
        predicted += np.bincount(bins, p, CALIBRATION_BINS)
        methylated += np.bincount(bins, states, CALIBRATION_BINS)
        # Of the numbers as they are written and compared where files are imputed: float32.
        sure = (values[there] >= confident) | (values[there] <= 1 - confident)
        counts["states"] += len(p)
        counts["sure"] += int(sure.sum())
        counts["right"] += int(((p > 0.5) == (states == 1))[sure].sum())
    edges = np.arange(CALIBRATION_BINS + 1) / CALIBRATION_BINS
    shares = {"predicted": divided(predicted, n), "observed": divided(methylated, n)}
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], **shares, "n": n.astype(int)}), counts


def site_counts(path, cells: int) -> dict:
    """Of the statistics of sites: how many each number of cells observes, and of those that two or more do how they are
    methylated: sites by mean (steps of a tenth), mean entropy (nats), share that cells disagree on."""
    coverage, mean, several, entropy, differ = np.zeros(cells + 1), np.zeros(MEAN_BINS + 1), 0, 0.0, 0
    for frame in parquet_blocks(path, columns=["coverage", "mean", "entropy", "diff"]):
        coverage += np.bincount(frame["coverage"], minlength=cells + 1)
        some = frame[frame["coverage"] > 1]
        # Whole tenths are in the middle of bins: few cells give few values, and these are not cut in two.
        mean += np.bincount(np.rint(some["mean"].to_numpy(dtype=float) * MEAN_BINS).astype(int), minlength=len(mean))
        several += len(some)
        entropy += float(some["entropy"].to_numpy(dtype=float).sum())
        differ += int((some["diff"] == 1).sum())
    return {
        "coverage": pd.DataFrame({"cells": np.arange(1, cells + 1), "sites": coverage[1:].astype(int)}),
        "mean": pd.DataFrame({"mean": np.arange(MEAN_BINS + 1) / MEAN_BINS, "sites": mean.astype(int)}),
        "several": several,
        "entropy": entropy / several if several else np.nan,
        "differ": differ / several if several else np.nan,
    }


def _windows(sites: Sites, length: int):
    """Observed and methylated sites of each cell (windows, cells), of consecutive windows of `length` bases."""
    left = None
    for block in sites.blocks():
        at = np.stack([block.chrom, block.position // length], axis=1)
        new = np.flatnonzero(np.r_[True, (np.diff(at, axis=0) != 0).any(axis=1)])
        seen, methylated = (
            np.add.reduceat(which, new, axis=0, dtype=np.int64) for which in (block.states >= 0, block.states == 1)
        )
        if left is not None:
            if left[0] == tuple(at[0]):  # a window that two blocks share
                seen[0], methylated[0] = seen[0] + left[1], methylated[0] + left[2]
            else:
                yield left[1][None], left[2][None]
        yield seen[:-1], methylated[:-1]
        left = tuple(at[-1]), seen[-1], methylated[-1]
    if left is not None:
        yield left[1][None], left[2][None]


def window_variance(sites: Sites, length: int) -> pd.DataFrame:
    """How much cells differ in the share of methylated sites in windows, by the windows' mean.

    Windows in which two cells or more observe at least FEW sites. Columns mean (middle of its step, by tenths),
    windows, variance (between the cells, n - 1 below; mean over windows), chance (what it would be if the cells were
    alike there, and only differed in which sites they happen to observe).
    """
    n, variance, chance = np.zeros((3, MEAN_BINS))
    for seen, methylated in _windows(sites, length):
        there = seen >= FEW
        cells = there.sum(axis=1)
        kept = cells > 1
        there, cells = there[kept], cells[kept]
        rate = divided(methylated[kept], np.where(there, seen[kept], 0))
        mean = np.nanmean(rate, axis=1) if len(rate) else np.zeros(0)
        between = (np.where(there, rate - mean[:, None], 0) ** 2).sum(axis=1) / np.maximum(cells - 1, 1)
        noise = np.where(there, 1 / np.maximum(seen[kept], 1), 0).sum(axis=1) / np.maximum(cells, 1)
        # mean (1 - mean) is too low by the variance of the mean.
        alike = mean * (1 - mean) * noise / (1 - noise / np.maximum(cells, 1))
        bins = np.minimum((mean * MEAN_BINS).astype(int), MEAN_BINS - 1)
        n += np.bincount(bins, minlength=MEAN_BINS)
        variance += np.bincount(bins, between, MEAN_BINS)
        chance += np.bincount(bins, alike, MEAN_BINS)
    middle = (np.arange(MEAN_BINS) + 0.5) / MEAN_BINS
    columns = {"variance": divided(variance, n), "chance": divided(chance, n)}
    return pd.DataFrame({"mean": middle, "windows": n.astype(int), **columns})

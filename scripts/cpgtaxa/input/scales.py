"""Beta values, percent and M-values: telling them apart, and from one to the other."""

import numpy as np

SCALES = ("beta", "percent", "m")
FEWEST_CPGS = 20
M_MEANS = 0.75
"""Standard deviation of the CpGs' means beyond which values on both sides of 0 are M-values: of residuals and z-scores,
whose values lie there too, it is near 0."""
M_MOST = 25.0
M_LEAST = 3.0
"""Some M-value of an array lies this far from 0 (betas of 0.11 and 0.89); betas standardised as a whole do not."""
SAMPLES = 0.9
"""Share of the samples that are standardised where the values are z-scores."""
FEWEST_OUTSIDE = 5
"""Values outside 0-1 in the other samples, from which on a sample without any is on another scale."""
SOME = 0.1
MOST = 0.5


def to_beta(values: np.ndarray, scale: str) -> np.ndarray:
    """float32 betas from `percent` or `m`: M = log2(beta / (1 - beta)) (Du et al. 2010), so infinite M are 0 and 1."""
    if scale == "percent":
        return values / np.float32(100)
    if scale == "m":
        with np.errstate(over="ignore"):
            return (1.0 / (1.0 + np.exp2(-values.astype(np.float64)))).astype(np.float32)
    return values


def centred(means: np.ndarray, sds: np.ndarray, n: int, sums: np.ndarray) -> bool:
    """Whether values are z-scores or residuals: CpGs' means are 0 within their errors, or samples are standardised.

    means, sds: of each CpG, of n samples. sums: (3, n), number, sum and sum of squares of each sample's values.
    """
    known = np.isfinite(means) & np.isfinite(sds)
    if known.sum() >= FEWEST_CPGS:
        error = float(np.median(sds[known])) / np.sqrt(n)
        overall = abs(float(means[known].mean()))
        if float(means[known].std()) <= 2 * error and overall <= 4 * error / np.sqrt(known.sum()):
            return True
    count, total, squares = sums
    if (count < FEWEST_CPGS).any():
        return False
    mean = total / count
    sd = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return bool((np.abs(mean) < 0.1).mean() > SAMPLES and (np.abs(sd - 1) < 0.1).mean() > SAMPLES)


def centred_m(means: np.ndarray, sds: np.ndarray, n: int) -> bool:
    """Whether betas made of what was said to be M-values have one level: then these were z-scores or residuals.

    means, sds: of each CpG, of n samples.
    """
    known = np.isfinite(means) & np.isfinite(sds)
    error = float(np.median(sds[known])) / np.sqrt(n) if known.any() else 0.0
    away = float(np.abs(means[known] - 0.5).mean()) if known.any() else 1.0
    return known.sum() >= FEWEST_CPGS / 2 and away <= max(error, 0.01)


def mixed(scale: str, rows: tuple, columns: tuple, n_rows: int) -> tuple[int, int]:
    """How many samples, and how many CpGs, have been betas before all were made betas from `scale`.

    rows: least, largest and mean beta of each CpG; columns: least and largest of each sample. CpGs count where they
    are more than a tenth, which chance does not make.
    """
    if n_rows < FEWEST_CPGS:
        return 0, 0
    with np.errstate(invalid="ignore"):
        if scale == "m":  # M from 0 to 1
            found = [(low >= 0.4999) & (high <= 0.6667) for low, high in (columns, rows[:2])]
        else:
            found = [columns[1] <= 0.0100001, (rows[1] <= 0.0100001) & (rows[2] > 0.003)]
    n_columns, n_cpgs = (int(one.sum()) for one in found)
    return n_columns, n_cpgs if n_cpgs > SOME * n_rows else 0


def guess(n_values: int, n_below: int, n_above: int, lowest, highest, means) -> tuple[str, bool]:
    """The scale values seem to be on, and whether that is beyond doubt.

    n_below, n_above: of n_values, those below 0 and above 1. lowest, highest, means: of each CpG.
    """
    if not n_values or (n_below + n_above) <= SOME * n_values or not np.isfinite(means).any():
        return "beta", True
    low, high = float(np.nanmin(lowest)), float(np.nanmax(highest))
    if min(n_below, n_above) > 0.005 * n_values:
        spread = float(np.nanstd(means))
        return "m", len(means) >= FEWEST_CPGS and spread >= M_MEANS and M_LEAST <= max(-low, high) <= M_MOST
    if not n_below and 1.5 < high <= 100.001:
        return "percent", len(means) >= FEWEST_CPGS and n_above > MOST * n_values and high > 20
    return "beta", False

"""Beta values, percent and M-values: telling them apart, and from one to the other."""

import numpy as np

SCALES = ("beta", "percent", "m")
FEWEST_CPGS = 20
M_MEANS = 0.75
"""Standard deviation of the CpGs' means beyond which values on both sides of 0 are M-values: of residuals and z-scores,
whose values lie there too, it is near 0."""
M_MOST = 25.0
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


def guess(n_values: int, n_below: int, n_above: int, lowest, highest, means) -> tuple[str, bool]:
    """The scale values seem to be on, and whether that is beyond doubt.

    n_below, n_above: of n_values, those below 0 and above 1. lowest, highest, means: of each CpG.
    """
    if not n_values or (n_below + n_above) <= SOME * n_values or not np.isfinite(means).any():
        return "beta", True
    low, high = float(np.nanmin(lowest)), float(np.nanmax(highest))
    if min(n_below, n_above) > 0.005 * n_values:
        spread = float(np.nanstd(means))
        return "m", len(means) >= FEWEST_CPGS and spread >= M_MEANS and max(-low, high) <= M_MOST
    if not n_below and 1.5 < high <= 100.001:
        return "percent", len(means) >= FEWEST_CPGS and n_above > MOST * n_values and high > 20
    return "beta", False

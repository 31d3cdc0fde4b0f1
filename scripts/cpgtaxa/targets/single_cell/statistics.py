"""What cells say together about each site, as DeepCpG defines it."""

import numpy as np
import pandas as pd
from scipy.special import entr

UNOBSERVED = -1


def site_statistics(states: np.ndarray) -> pd.DataFrame:
    """Statistics of each site over the cells that observe it.

    states: (sites, cells) int8, 0, 1, or -1 where unobserved. With p the share of methylated cells: `coverage` (cells
    that observe it, int32), `mean` p, `mode` (int8; p rounded, one half to 0), `var` p (1 - p), `entropy` -p ln p -
    (1 - p) ln(1 - p) in nats, as DeepCpG's data are made with the natural logarithm (ln 2 at most), `diff` (int8; 1
    where cells disagree). float32; NaN, and -1 for whole numbers, where no cell observes a site.
    """
    coverage = (states != UNOBSERVED).sum(axis=1, dtype=np.int32)
    methylated = (states == 1).sum(axis=1, dtype=np.int32)
    seen = coverage > 0
    p = np.divide(methylated, coverage, out=np.full(len(states), np.nan), where=seen)
    return pd.DataFrame(
        {
            "coverage": coverage,
            "mean": p.astype(np.float32),
            "mode": np.where(seen, p > 0.5, UNOBSERVED).astype(np.int8),
            "var": (p * (1 - p)).astype(np.float32),
            "entropy": (entr(p) + entr(1 - p)).astype(np.float32),
            "diff": np.where(seen, (methylated > 0) & (methylated < coverage), UNOBSERVED).astype(np.int8),
        }
    )

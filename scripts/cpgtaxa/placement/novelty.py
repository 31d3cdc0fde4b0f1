"""How far a CpG is from all that is known: its image in the network's own features, and its statistics.

The distance to the k-th nearest training image separates images out of distribution from images between two taxa (deep
nearest neighbours: Sun et al. 2022; here without normalising the features, which found four bands and uniform noise
where normalised ones did not). Statistics see what the network need not care for, such as bands that only the old have.
"""

import re

import numba
import numpy as np
import pandas as pd

from cpgtaxa.threads import in_threads

KEPT = 2000
"""Training images whose features are kept."""
NEAREST = 10
EACH = re.compile("_(level|share|band_sd|effect_se)_|^sex_|_se$|_seen$")
"""Columns that describe single bands, sexes and errors: what they say of the pattern stands in others."""
BLOCK = 20000
"""CpGs whose statistics are made ready at once: those of a whole array would take a gigabyte."""


def distances(features: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Distance (m,) float32 of each row of (m, d) features to its NEAREST-th nearest of (n, d) `kept` ones.

    NaN where fewer are kept. Each row's sums are taken in one order, so that blocks and threads do not matter.
    """
    found = np.full(len(features), np.nan, dtype=np.float32)
    if len(kept) >= NEAREST:
        features, kept = (np.ascontiguousarray(rows, dtype=np.float32) for rows in (features, kept))
        in_threads(_distances, len(features), features, kept, found)
    return found


def profile(statistics: pd.DataFrame) -> np.ndarray:
    """What of the statistics of `statistics.compute` (or some of them) describes a pattern: (k, d), NaN if not defined.

    p-values as their logarithms, effects in standard deviations too, gains of more bands per sample.
    """
    s = statistics.drop(columns=["cpg", "taxon", "mixture_ran"], errors="ignore").astype(float)
    single = [name for name in s if EACH.search(name)]
    found = s.drop(columns=["n", "intercept", "bic1", "bic2", "bic3", *single], errors="ignore")
    for name in [name for name in found if name.endswith("_p")]:
        found[name] = -np.log10(found[name].clip(lower=1e-30))
    for name in [name for name in found if name.endswith("sd_ratio")]:
        found[name] = np.log(found[name].clip(1e-3, 1e3))
    parts = {"effect": "resid_sd", "curve_effect": "resid_sd", "core_curve_effect": "core_sd"}
    parts |= {"spread": "resid_sd", "tail_width": "resid_sd"}
    more = [s[above] / s[below] for above, below in parts.items() if above in s and below in s]
    more += [(s[few] - s[many]) / s["n"] for few, many in (("bic1", "bic2"), ("bic2", "bic3")) if many in s]
    x = np.column_stack([found, *more])
    return np.where(np.isfinite(x), x, np.nan)


class Strangeness:
    """How far the statistics of CpGs are from those of known ones, among which a random half is looked for neighbours.

    `known` (n,) float32: the distances of the known CpGs themselves, each to the half it is not in.
    """

    def __init__(self, statistics: pd.DataFrame, seed: int):
        """statistics: frame of n known CpGs, columns of `statistics.compute`."""
        x = profile(statistics)
        self.use = np.isfinite(x).any(axis=0)
        low, self.middle, high = np.nanquantile(x[:, self.use], [0.05, 0.5, 0.95], axis=0)
        self.width = np.where(high > low, high - low, 1.0)
        x = self._scaled(x)
        half = np.random.default_rng([seed, 29]).permutation(len(x)) % 2 == 0
        self.learnt = x[half][:KEPT]
        self.known = np.empty(len(x), dtype=np.float32)
        self.known[~half] = distances(x[~half], self.learnt)
        self.known[half] = distances(x[half], x[~half][:KEPT])

    def _scaled(self, x) -> np.ndarray:
        """Numbers of the order of 1, far ones drawn in; the middle where not defined."""
        x = (x[:, self.use] - self.middle) / self.width
        return np.arcsinh(3 * np.where(np.isnan(x), 0, x)).astype(np.float32)

    def __call__(self, statistics: pd.DataFrame) -> np.ndarray:
        """Distance (m,) float32 to the NEAREST-th nearest; NaN where fewer are known."""
        blocks = [statistics.iloc[start : start + BLOCK] for start in range(0, len(statistics), BLOCK)]
        found = [distances(self._scaled(profile(block)), self.learnt) for block in blocks]
        return np.concatenate([np.empty(0, dtype=np.float32), *found])


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _distances(low, high, features, kept, found):
    nearest = np.empty(NEAREST, dtype=np.float32)
    for row in range(low, high):
        nearest[:] = np.inf
        for other in range(kept.shape[0]):
            total = np.float32(0)
            for column in range(kept.shape[1]):
                step = features[row, column] - kept[other, column]
                total += step * step
            if total < nearest[-1]:
                place = NEAREST - 1
                while place > 0 and nearest[place - 1] > total:
                    nearest[place] = nearest[place - 1]
                    place -= 1
                nearest[place] = total
        found[row] = np.sqrt(nearest[-1])

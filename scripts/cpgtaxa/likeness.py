"""How far a CpG's image is from all that a network was trained on, in the network's own features.

The distance to the k-th nearest training image tells images unlike anything seen from images between two taxa (deep
nearest neighbours: Sun et al. 2022; here without normalising the features, which found four bands and uniform noise
where normalised ones did not).
"""

import numba
import numpy as np

from cpgtaxa.threads import in_threads

KEPT = 2000
"""Training images whose features are kept."""
NEAREST = 10


def distances(features: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Distance (m,) float32 of each row of (m, d) features to its NEAREST-th nearest of (n, d) `kept` ones.

    NaN where fewer are kept. Each row's sums are taken in one order, so that blocks and threads do not matter.
    """
    found = np.full(len(features), np.nan, dtype=np.float32)
    if len(kept) >= NEAREST:
        features, kept = (np.ascontiguousarray(rows, dtype=np.float32) for rows in (features, kept))
        in_threads(_distances, len(features), features, kept, found)
    return found


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

"""Two arrays in one matrix: CpGs that all samples of one of them lack are no failures, but not on it."""

import collections

import numpy as np

FEWEST_CPGS = 20
"""CpGs that must be missing in exactly the same samples: failures do not repeat so."""
LEAST_SHARE = 0.005
"""Of all CpGs, the share that must be."""
FEWEST_SAMPLES = 5
"""Samples of an array: fewer are samples that failed."""
MOST_PATTERNS = 20_000
"""Different sets of missing samples that are remembered."""


class Patterns:
    """Which samples CpGs lack, counted; only sets found early are remembered, for memory's sake."""

    def __init__(self):
        self._counts: collections.Counter[bytes] = collections.Counter()

    def add(self, missing: np.ndarray) -> None:
        """missing: (k, n) bool, of CpGs that many samples lack."""
        for row in np.packbits(missing, axis=1):
            key = row.tobytes()
            if key in self._counts or len(self._counts) < MOST_PATTERNS:
                self._counts[key] += 1

    def platforms(self, n_cpgs: int, n_samples: int) -> np.ndarray | None:
        """The array of each sample, (n,) int from 0 on, where the samples seem to be on several; else None."""
        needed = max(FEWEST_CPGS, LEAST_SHARE * n_cpgs)
        found = [key for key, count in self._counts.most_common(8) if count >= needed]
        while found:
            missing = np.array([np.unpackbits(np.frombuffer(key, np.uint8), count=n_samples) for key in found])
            groups, of_sample, sizes = np.unique(missing, axis=1, return_inverse=True, return_counts=True)
            if groups.shape[1] > 1 and sizes.min() >= FEWEST_SAMPLES:
                return of_sample.reshape(-1)
            found.pop()
        return None


def excused(missing: np.ndarray, of_sample: np.ndarray) -> np.ndarray:
    """Values that are missing because their CpG is not on the sample's array, (k, n) bool.

    missing: (k, n) bool. A CpG that every array lacks is excused nowhere.
    """
    found = np.zeros_like(missing)
    for group in np.unique(of_sample):
        members = of_sample == group
        found[:, members] = missing[:, members].all(axis=1)[:, None]
    found[missing.all(axis=1)] = False
    return found

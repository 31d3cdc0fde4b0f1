"""Which age within a stratum each value gets, where a summary forgets it.

A stratum of several ages keeps no value's age. So that trends and changes of spread are not blurred by that, a CpG's
values are kept as they would be at the stratum's mean age, by the cohort's own line on age, and with the line four sums
over all people: of the distance r from the line and of |r|, by age within the stratum and by its square. Values are
dealt to the ages at random, and then pairs of a stratum change places while that brings the four sums nearer.
"""

import numba
import numpy as np

PASSES = 6
"""How often each person is offered two others to change places with."""
NEAR = 2e-5
"""Squared distance from the four sums, for each person, from which on nobody changes places any more."""
SUMS = 4


class Ages:
    """What hangs on a cohort's ages alone.

    counts: (s,) people of each stratum. mean: of all, years. offset, centre: (n,) age from the stratum's mean, and that
    from the mean of all. weights: (2, n) age and its square, in standard deviations, each from its stratum's mean.
    """

    def __init__(self, ages: list[list[float]]):
        """ages: of the people of each stratum, years."""
        self.counts = np.array([len(part) for part in ages], dtype=np.int64)
        every = np.concatenate([np.asarray(part, dtype=np.float64) for part in ages])
        self.mean, self.starts = every.mean(), np.cumsum(self.counts) - self.counts
        means = self._of_strata(every)
        self.offset, self.centre = every - means, means - self.mean
        scaled = (every - self.mean) / max(every.std(), 1e-9)
        self.weights = np.stack([weight - self._of_strata(weight) for weight in (scaled, scaled**2)])
        self.dated = every - self.mean

    def _of_strata(self, values: np.ndarray) -> np.ndarray:
        return np.repeat(np.add.reduceat(values, self.starts) / self.counts, self.counts)

    def slopes(self, values: np.ndarray) -> np.ndarray:
        """Of the least-squares line on age, per year, (k,) float32. values: (k, n), NaN where missing."""
        known = np.isfinite(values)
        n = np.maximum(known.sum(axis=1), 1)
        filled = np.where(known, values, 0)
        age, square = known @ self.dated / n, known @ self.dated**2 / n
        spread = square - age**2
        slope = (filled @ self.dated / n - filled.sum(axis=1) / n * age) / np.maximum(spread, 1e-9)
        return np.where(spread > 1e-6, slope, 0).astype(np.float32)

    def levelled(self, values: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """The values at their strata's mean ages, (k, n), from 0 to 1."""
        return np.clip(values - slopes[:, None].astype(np.float64) * self.offset, 0, 1)

    def rest(self, levelled: np.ndarray, slopes: np.ndarray, means: np.ndarray) -> np.ndarray:
        """What the line leaves of levelled values, (k, n) float64; 0 where missing. means: (k,) of all values."""
        line = means[:, None].astype(np.float64) + slopes[:, None].astype(np.float64) * self.centre
        return np.nan_to_num(levelled - line)

    def sums(self, rest: np.ndarray) -> np.ndarray:
        """The four sums of what the line leaves, (k, SUMS): of r by both weights, and of |r|."""
        return np.concatenate([rest @ self.weights.T, np.abs(rest) @ self.weights.T], axis=1)

    def pairs(self, random: np.random.Generator) -> np.ndarray:
        """Pairs of people of a stratum, of other ages, in random order: (p, 2)."""
        found = []
        for start, count in zip(self.starts, self.counts, strict=True):
            order = start + random.permutation(count)
            found.append(np.stack([order[:-1], order[1:]], axis=1))
        found = np.concatenate(found)
        return random.permutation(found[(self.weights[:, found[:, 0]] != self.weights[:, found[:, 1]]).any(axis=0)])

    def deal(self, shuffled, slopes, means, sums, random: np.random.Generator) -> np.ndarray:
        """Betas of people, (k, n) float32, NaN where missing, whose four sums are near those wanted.

        shuffled: (k, n) levelled values in random order within strata; sums: (k, SUMS).
        """
        missing = np.isnan(shuffled)
        rest = self.rest(shuffled, slopes, means)
        scale = np.maximum(np.stack([rest.std(axis=1), np.abs(rest).std(axis=1)], axis=1), 1e-9)
        off = (self.sums(rest) - sums).astype(np.float64)
        pairs = np.concatenate([self.pairs(random) for _ in range(PASSES)])
        _change_places(rest, missing, off, scale, self.weights, pairs, NEAR * rest.shape[1])
        line = means[:, None].astype(np.float64) + slopes[:, None].astype(np.float64) * self.dated
        found = np.clip(rest + line, 0, 1).astype(np.float32)
        found[missing] = np.nan
        return found


@numba.njit(nogil=True)
def _change_places(rest, missing, off, scale, weights, pairs, near):
    """Let pairs change places, in place, where that brings the four sums nearer.

    rest (k, n) float64, missing (k, n) bool; off: (k, 4) float64, sums less those wanted; scale (k, 2): of r and |r|;
    weights (2, n); pairs (p, 2), in their order. A CpG is done where the squared distance is below `near`.
    """
    for row in range(rest.shape[0]):
        a, b = 1.0 / scale[row, 0], 1.0 / scale[row, 1]
        e0, e1, e2, e3 = off[row, 0] * a, off[row, 1] * a, off[row, 2] * b, off[row, 3] * b
        bad = e0 * e0 + e1 * e1 + e2 * e2 + e3 * e3
        for pair in range(pairs.shape[0]):
            if bad < near:
                break
            one, two = pairs[pair, 0], pairs[pair, 1]
            first, second = rest[row, one], rest[row, two]
            w, v = weights[0, two] - weights[0, one], weights[1, two] - weights[1, one]
            d, c = (first - second) * a, (abs(first) - abs(second)) * b
            n0, n1, n2, n3 = e0 + w * d, e1 + v * d, e2 + w * c, e3 + v * c
            worse = n0 * n0 + n1 * n1 + n2 * n2 + n3 * n3
            if worse < bad:
                e0, e1, e2, e3, bad = n0, n1, n2, n3, worse
                rest[row, one], rest[row, two] = second, first
                gap = missing[row, one]
                missing[row, one] = missing[row, two]
                missing[row, two] = gap

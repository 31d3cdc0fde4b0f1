"""Observed neighbours of sites, in every cell: found as they are asked for, and kept nowhere."""

import numba
import numpy as np

from cpgtaxa.targets.single_cell.tables import UNKNOWN, Sites, filled

MISSING = -1


@numba.njit(cache=True, nogil=True)
def _neighbours(position, states, first, last, half, near, distance):
    """Fill near and distance, (last - first, cells, 2 * half), both MISSING before."""
    for cell in range(states.shape[1]):
        # `latest` holds the last `half` observed rows on one side, the newest at `newest`.
        latest = np.empty(half, dtype=np.int64)
        count = 0
        row = first - 1
        while row >= 0 and count < half:
            if states[row, cell] >= 0:
                count += 1
                latest[half - count] = row
            row -= 1
        newest = half - 1
        for row in range(first, last):
            for back in range(count):
                other = latest[(newest - back) % half]
                near[row - first, cell, half - 1 - back] = states[other, cell]
                distance[row - first, cell, half - 1 - back] = position[row] - position[other]
            if states[row, cell] >= 0:
                newest = (newest + 1) % half
                latest[newest] = row
                count = min(count + 1, half)
        count = 0
        row = last
        while row < position.size and count < half:
            if states[row, cell] >= 0:
                count += 1
                latest[half - count] = row
            row += 1
        newest = half - 1
        for row in range(last - 1, first - 1, -1):
            for on in range(count):
                other = latest[(newest - on) % half]
                near[row - first, cell, half + on] = states[other, cell]
                distance[row - first, cell, half + on] = position[other] - position[row]
            if states[row, cell] >= 0:
                newest = (newest + 1) % half
                latest[newest] = row
                count = min(count + 1, half)


def neighbours(position, states, first: int, last: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest observed sites of some rows, in each cell: their states and distances, (rows, cells, width).

    position (n,) int64 ascending and states (n, cells) int8 (-1 unobserved) of a whole chromosome; rows from `first`
    to `last`, excluded. Of the `width` entries, the first half are the nearest sites to the left, by position; the
    second those to the right. int8 and int32 (bases, positive); -1 where the chromosome ends. The site itself is never
    among them.
    """
    if width % 2:
        raise ValueError(f"as many neighbours on either side: an even number, not {width}")
    shape = (last - first, states.shape[1], width)
    near, distance = np.full(shape, MISSING, dtype=np.int8), np.full(shape, MISSING, dtype=np.int32)
    _neighbours(position, states, first, last, width // 2, near, distance)
    return near, distance


@numba.njit(cache=True, nogil=True)
def _neighbours_at(position, states, start, stop, rows, half, near, distance):
    """Fill near and distance for rows in any order, each run of consecutive ones at a time. start, stop: first row, and
    row behind the last, of the chromosome of each of the rows."""
    at = 0
    while at < rows.size:
        to = at + 1
        while to < rows.size and rows[to] == rows[to - 1] + 1 and start[to] == start[at]:
            to += 1
        low, high = start[at], stop[at]
        _neighbours(
            position[low:high],
            states[low:high],
            rows[at] - low,
            rows[to - 1] + 1 - low,
            half,
            near[at:to],
            distance[at:to],
        )
        at = to


class Neighbourhoods:
    """What models see of the sites around others. Memory holds a byte for each site and cell, and 8 for each site.

    sites: see `tables.Sites`. width: observed neighbours of a site in each cell, an even number. reach: so many sites
    on either side are given as they stand in the table too, the site itself among them; 0 for none. cells: numbers of
    the cells wanted, None for all.
    """

    def __init__(self, sites: Sites, width: int, reach: int = 0, cells=None):
        if width % 2:
            raise ValueError(f"as many neighbours on either side: an even number, not {width}")
        self.width, self.reach, self.farthest = width, reach, sites.farthest
        whole = sites.rows(0, sites.n)
        self.position = whole.position
        self.states = np.ascontiguousarray(whole.states if cells is None else whole.states[:, cells])
        cuts = np.flatnonzero(np.diff(whole.chrom, prepend=-1, append=-1))
        self._start, self._stop = cuts[:-1], cuts[1:]

    def _chromosomes(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First row, and row behind the last, of the chromosome of each of the rows."""
        number = np.searchsorted(self._start, rows, side="right") - 1
        return self._start[number], self._stop[number]

    def nearest(self, rows) -> tuple[np.ndarray, np.ndarray]:
        """States and distances (n, cells, width) of some rows' nearest observed sites; see `neighbours`."""
        rows = np.asarray(rows, dtype=np.int64)
        shape = (len(rows), self.states.shape[1], self.width)
        near, distance = np.full(shape, MISSING, dtype=np.int8), np.full(shape, MISSING, dtype=np.int32)
        _neighbours_at(self.position, self.states, *self._chromosomes(rows), rows, self.width // 2, near, distance)
        return near, distance

    def around(self, rows) -> tuple[np.ndarray, np.ndarray]:
        """The `reach` sites on either side of some rows, the site itself in the middle, observed or not.

        States (n, cells, 2 * reach + 1) int8, -1 where unobserved, and distances (n, 2 * reach + 1); both -1 beyond the
        chromosome's ends.
        """
        rows = np.asarray(rows, dtype=np.int64)
        start, stop = self._chromosomes(rows)
        others = rows[:, None] + np.arange(-self.reach, self.reach + 1)
        there = (others >= start[:, None]) & (others < stop[:, None])
        others = np.where(there, others, rows[:, None])
        states = np.where(there[..., None], self.states[others], MISSING)
        distance = np.where(there, np.abs(self.position[others] - self.position[rows][:, None]), MISSING)
        return states.transpose(0, 2, 1), distance

    def inputs(self, rows) -> np.ndarray:
        """What a CpG model sees of some rows: (n, cells, 2 * width) float32 of states, then distances.

        With a reach, behind them (2 * (2 * reach + 1)) states and distances of the sites around. A state is UNKNOWN
        where there is none, a distance a share of the farthest; see `tables.filled`.
        """
        states, distance = filled(*self.nearest(rows), self.farthest)
        parts = [states, distance / np.float32(self.farthest)]
        if self.reach:
            states, distance = filled(*self.around(rows), self.farthest)
            distance = distance[:, None] / np.float32(self.farthest)
            parts += [states, np.broadcast_to(distance, states.shape)]
        return np.concatenate(parts, axis=2)


def uninformative(cells: int, width: int, reach: int = 0) -> np.ndarray:
    """(1, cells, …) float32 as `Neighbourhoods.inputs`, of neighbours that say nothing: UNKNOWN, as far as can be."""
    parts = [np.full((1, cells, one), value) for one in (width, 2 * reach + 1) for value in (UNKNOWN, 1.0)]
    return np.concatenate(parts if reach else parts[:2], axis=2).astype(np.float32)

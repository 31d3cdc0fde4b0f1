"""The betas of a stratum as numbers of people in cells, for many CpGs at once, and betas drawn from them again.

A CpG's unit is a power of two of beta, 1/256 or less: an eighth of its spread, of few people a 64th, where that is
finer. In the plain form a
cell is a unit wide. In the protected form cells hold `least` people or more: neighbours in the order of beta, grouped
so that the sum of squares within cells is smallest (univariate microaggregation, Hansen and Mukherjee 2003), of which
number, mean and standard deviation are kept.
"""

import dataclasses

import numpy as np

COARSE, FINE = 8, 14
"""Units are 1/2^COARSE of beta at most and 1/2^FINE at least."""
PER_SPREAD = ((650, 64), (1300, 32), (2600, 16), (np.inf, 8))
"""Units that a standard deviation of the middle half has, where FINE allows it, by people up to so many."""
SD_PARTS = 4
"""Standard deviations of cells are in units of so many parts."""
WIDE, WIDE_END = 2, 8
"""A cell whose standard deviation is so many times that of its neighbours holds values of two kinds."""
LONG = 255
"""A gap of a byte that stands for a longer one, kept apart."""
PLACES = 20
"""Bits of beta in a drawn value."""
MISSING = (1 << PLACES) - 1


def bits_of(values: np.ndarray) -> np.ndarray:
    """Each CpG's unit as 1/2^bits of beta, (k,) int. values: (k, n), each row with a number, NaN where missing."""
    ordered, n = np.sort(values.astype(np.float32), axis=1), np.isfinite(values).sum(axis=1)  # NaN last
    low, high = (ordered[np.arange(len(n)), ((n - 1) * part).astype(np.int64)] for part in (0.25, 0.75))
    spread = np.maximum((high - low) / 1.349, 1e-6)
    parts = next(parts for most, parts in PER_SPREAD if values.shape[1] <= most)
    return np.clip(np.ceil(np.log2(parts / spread)), COARSE, FINE).astype(np.int64)


# --- gaps between neighbouring cells as bytes ------------------------------------------------------------------------


def _runs(counts: np.ndarray) -> np.ndarray:
    """Where runs of these lengths begin."""
    return np.cumsum(counts) - counts


def pack(levels: np.ndarray, runs: np.ndarray, per_row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending runs of levels as gaps: (m,) uint8, and (j,) uint16 of those of LONG and more.

    levels: (m,) int64, run after run, row after row; runs: length of each run, above 0; per_row: number of each row's
    runs. A run's first level is kept as its distance from that of the run before in the row, or from 0.
    """
    gaps = np.diff(levels, prepend=0)
    starts = _runs(runs)
    firsts = levels[starts]
    before = np.concatenate([[0], firsts[:-1]]) if len(firsts) else firsts
    before[_runs(per_row)[per_row > 0]] = 0
    steps = firsts - before
    gaps[starts] = np.where(steps >= 0, 2 * steps, -2 * steps - 1)
    long = gaps >= LONG
    return np.where(long, LONG, gaps).astype(np.uint8), gaps[long].astype(np.uint16)


def unpack(gaps: np.ndarray, long: np.ndarray, runs: np.ndarray, per_row: np.ndarray) -> np.ndarray:
    """The levels, (m,) int64, that `pack` was given. ValueError where the parts do not fit together."""
    gaps = gaps.astype(np.int64)
    places = gaps == LONG
    if places.sum() != len(long) or len(gaps) != runs.sum() or len(runs) != per_row.sum():
        raise ValueError("its gaps do not fit its strata")
    gaps[places] = long
    starts = _runs(runs)
    steps = gaps[starts]
    firsts = np.cumsum(np.where(steps % 2, -(steps + 1) // 2, steps // 2))
    before = np.concatenate([[0], firsts])[_runs(per_row)]
    firsts -= np.repeat(before, per_row)
    gaps[starts] = 0
    total = np.cumsum(gaps)
    return total + np.repeat(firsts - total[starts], runs)


# --- plain cells -----------------------------------------------------------------------------------------------------


def to_levels(values: np.ndarray, bits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Each value's cell, ascending within each stratum; a missing value is one cell above the last. (k, n) int64.

    values: (k, n) stratum by stratum; counts: people of each stratum.
    """
    top = (1 << bits[:, None]).astype(np.int32)
    scaled = np.nan_to_num(values * top).astype(np.int32)
    levels = np.where(np.isnan(values), top, np.clip(scaled, 0, top - 1))
    keys = (np.repeat(np.arange(len(counts), dtype=np.int32), counts) << (FINE + 1)) + levels
    keys.sort(axis=1)
    return (keys & ((1 << (FINE + 1)) - 1)).astype(np.int64)


# --- protected cells -------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Cells:
    """Cells of k CpGs one after the other: people, mean and standard deviation (beta), and cells of each stratum.

    per_stratum: (k, s) int64; size (m,) int64, mean and sd (m,) float64, CpG by CpG and stratum by stratum.
    """

    per_stratum: np.ndarray
    size: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def _grouped(ordered: np.ndarray, n: np.ndarray, least: int) -> list[tuple]:
    """Cells of a stratum, from the last to the first: rows concerned, size, mean, sd, each (rows,).

    ordered: (k, m) ascending, NaN last; n: (k,) numbers of values.
    """
    k, m = ordered.shape
    middle = np.nanmedian(np.where(n[:, None] > 0, ordered, 0.0), axis=1)
    centred = np.nan_to_num(ordered - middle[:, None])
    first = np.concatenate([np.zeros((k, 1)), np.cumsum(centred, axis=1)], axis=1)
    second = np.concatenate([np.zeros((k, 1)), np.cumsum(centred**2, axis=1)], axis=1)
    cost = np.full((m + 1, k), np.inf)
    cost[0] = 0.0
    chosen = np.zeros((m + 1, k), dtype=np.int64)
    for stop in range(least, m + 1):
        for size in range(least, min(2 * least - 1, stop) + 1):
            start = stop - size
            within = second[:, stop] - second[:, start] - (first[:, stop] - first[:, start]) ** 2 / size
            total = cost[start] + within
            better = total < cost[stop]
            cost[stop] = np.where(better, total, cost[stop])
            chosen[stop] = np.where(better, size, chosen[stop])
    found, stop, rows = [], n.copy(), np.flatnonzero(n >= least)
    while len(rows):
        size = chosen[stop[rows], rows]
        start = stop[rows] - size
        mean = (first[rows, stop[rows]] - first[rows, start]) / size
        square = (second[rows, stop[rows]] - second[rows, start]) / size
        found.append((rows, size, mean + middle[rows], np.sqrt(np.maximum(square - mean**2, 0))))
        stop[rows] = start
        rows = rows[start > 0]
    return found


def to_cells(values: np.ndarray, counts: np.ndarray, least: int) -> Cells:
    """Cells of `least` people and more, of k CpGs; of a stratum with fewer values of a CpG, these are left out.

    values: (k, n) stratum by stratum, NaN where missing; counts: people of each stratum.
    """
    pieces = []
    per_stratum = np.zeros((len(values), len(counts)), dtype=np.int64)
    for stratum, (start, n) in enumerate(zip(_runs(counts), counts, strict=True)):
        ordered = np.sort(values[:, start : start + n].astype(np.float64), axis=1)
        found = _grouped(ordered, np.isfinite(ordered).sum(axis=1), least)
        for number, (rows, *numbers) in enumerate(reversed(found)):
            per_stratum[rows, stratum] += 1
            pieces.append((rows, np.full(len(rows), stratum), np.full(len(rows), number), *numbers))
    rows, stratum, number, size, mean, sd = map(np.concatenate, zip(*pieces, strict=True))
    order = np.lexsort((number, stratum, rows))
    return Cells(per_stratum, size[order], mean[order], sd[order])


# --- values drawn again ----------------------------------------------------------------------------------------------


def spread(cells: Cells, counts: np.ndarray) -> np.ndarray:
    """Values of each cell, with its mean and standard deviation: (k, n) float64, NaN where there is none.

    They are evenly spaced, or, in a cell far wider than its neighbours, at two points: some at the level of either.
    Values keep the order of cells, stratum by stratum.
    """
    k, n = len(cells.per_stratum), int(counts.sum())
    values = np.full(k * n, np.nan)
    per, before = cells.per_stratum.ravel(), _runs(cells.size)
    first = np.repeat(np.concatenate([before, [0]])[np.minimum(_runs(per), len(before))], per)
    place = np.repeat((np.arange(k)[:, None] * n + _runs(counts)).ravel(), per) + before - first
    within = np.arange(int(cells.size.sum())) - np.repeat(before, cells.size)
    size, (upper, calm) = np.repeat(cells.size, cells.size), (np.repeat(one, cells.size) for one in _upper(cells))
    even = (within - (size - 1) / 2) / np.sqrt(np.maximum(size**2 - 1, 1) / 12)
    share = np.clip(upper / size, 1e-9, 1 - 1e-9)
    parted = np.where(within >= size - upper, np.sqrt((1 - share) / share), -np.sqrt(share / (1 - share)))
    sd = np.repeat(cells.sd, cells.size)
    drawn = np.repeat(cells.mean, cells.size) + np.where(upper > 0, sd * parted + calm * even, sd * even)
    values[np.repeat(place, cells.size) + within] = np.clip(drawn, 0, 1)
    return values.reshape(k, n)


def _upper(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """How many of a cell's people are at the upper of two points, (m,) int64, and its neighbours' larger sd, (m,).

    0 where values are evenly spaced. Of all ways to part them, the one whose points are nearest to the means of the
    cells below and above.
    """
    stratum = np.repeat(np.arange(cells.per_stratum.size), cells.per_stratum.ravel())
    same = stratum[1:] == stratum[:-1]
    below, above = np.full((2, len(stratum)), np.nan), np.full((2, len(stratum)), np.nan)
    for number, what in enumerate((cells.mean, cells.sd)):
        below[number, 1:][same] = what[:-1][same]
        above[number, :-1][same] = what[1:][same]
    calm = np.nan_to_num(np.fmax(below[1], above[1]))
    inner = np.isfinite(below[0]) & np.isfinite(above[0])
    limit = calm * np.where(inner, WIDE, WIDE_END)
    wide = np.flatnonzero(
        (cells.sd > limit) & (cells.sd > 2.0**-COARSE) & (np.isfinite(below[0]) | np.isfinite(above[0]))
    )
    found, least = np.zeros(len(stratum), dtype=np.int64), np.full(len(wide), np.inf)
    size, mean, sd = cells.size[wide], cells.mean[wide], cells.sd[wide]
    for upper in range(1, int(size.max(initial=1))):
        share = np.minimum(upper / size, 1 - 1e-9)
        off = np.nan_to_num(np.abs(mean - sd * np.sqrt(share / (1 - share)) - below[0, wide]))
        off += np.nan_to_num(np.abs(mean + sd * np.sqrt((1 - share) / share) - above[0, wide]))
        better = (upper < size) & (off < least)
        found[wide[better]], least = upper, np.where(better, off, least)
    return found, calm


def dither(levels: np.ndarray, bits: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A value anywhere in each value's cell: (k, n) float64, NaN where missing. levels: of `to_levels`."""
    top = np.int64(1) << bits[:, None]
    values = (levels + random.random(levels.shape)) / top
    return np.where(levels >= top, np.nan, values)


def shuffle(values: np.ndarray, counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The values of each stratum in random order, another one for each CpG: (k, n) float32, to 2^-PLACES of beta."""
    places = np.clip(np.nan_to_num(values) * (1 << PLACES), 0, MISSING - 1).astype(np.int64)
    places[np.isnan(values)] = MISSING
    by_chance = random.integers(0, 1 << 28, values.shape, dtype=np.int64)
    stratum = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    keys = (stratum << (28 + PLACES)) | (by_chance << PLACES) | places
    keys.sort(axis=1)
    places = keys & MISSING
    found = (places / (1 << PLACES)).astype(np.float32)
    found[places == MISSING] = np.nan
    return found

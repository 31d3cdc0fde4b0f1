"""Scatterplot images of beta against age, as the published taxonomy drew them, and what networks read from them.

An image is held as one plane of codes, uint8 (224, 224): 0 is white background, 100..255 the green value of a disc
pixel (0, green, 0). The geometry and colours are those measured on the published images; the density is that of R's
`grDevices::densCols` with its defaults, i.e. `KernSmooth::bkde2D` (Wand 1994, J. Comput. Graph. Stat. 3:433) on a
128 × 128 grid.
"""

import base64
import io
import os
import pathlib

import numba
import numpy as np
from PIL import Image

from cpgtaxa.errors import InputError, reason_of
from cpgtaxa.small_sort import insertion_sort
from cpgtaxa.threads import in_threads

SIDE = 224
"""Pixels along each side of a drawn image."""

NEAR, FAR = 23.6, 200.4
"""Where the axes begin and end, in pixels from the left or upper edge of the image: the youngest sample lies at column
NEAR, the oldest at FAR; beta 1 at row NEAR, beta 0 at FAR. Pixel i covers [i, i + 1)."""

REACH = 3
"""A disc covers the pixels within 3.3 px of the pixel its centre falls in: rows of 3, 5, 7, 7, 7, 5, 3, together 37."""

GRID = 128
"""Cells of the density along each axis (`nbin` of densCols)."""

SPARSE, DENSE, SHADES = 255, 100, 256
"""Green value of the sparsest and the densest sample, and colours on the ramp between them."""

# colorRampPalette(c("green", "darkgreen"))(256): linear, and rounded to nearest by rgb().
RAMP = np.floor(SPARSE + (DENSE - SPARSE) * np.arange(SHADES) / (SHADES - 1) + 0.5).astype(np.uint8)

_MOST_WIDTH = 3 * GRID
"""Cells in a row of the grid with the widest margins, each a multiple of four cells and at least a kernel's reach."""
_TOGETHER = 6
"""Rows of the grid that are smoothed in one loop, since beginning one costs as much as a row; they fit the L1 cache."""
# The canvas has a margin of one reach on each side, so that discs need no bounds; its width is whole SIMD registers.
_CANVAS_WIDTH = 240
_CANVAS_HEIGHT = SIDE + 2 * REACH
# Columns of the image that discs reach, whatever the ages.
_LEFT = int(NEAR) - REACH
_ACROSS = int(FAR) + REACH + 1 - _LEFT
_MANY = 24


@numba.njit(cache=True, inline="always")
def _next_above(values, count, threshold):
    """Smallest of values[:count] above `threshold`."""
    smallest = np.float32(np.inf)
    for i in range(count):
        value = values[i]
        value = value if value > threshold else np.float32(np.inf)
        smallest = value if value < smallest else smallest
    return smallest


@numba.njit(cache=True, fastmath={"nnan", "nsz"})
def _extremes(values):
    """Smallest and largest value; none may be missing."""
    low, high = values[0], values[0]
    for i in range(values.size):
        low = min(low, values[i])
        high = max(high, values[i])
    return low, high


@numba.njit(cache=True)
def _order_statistic(values, count, rank, scratch, bins):
    """(value of rank `rank` (from 0) of values[:count], how many values are not above it).

    Counting into 256 bins between the extremes, again inside the bin of interest until few are left: no sort.
    """
    n_bins = bins.shape[0]
    below = 0
    current, size = values, count
    while size > _MANY:
        low, high = _extremes(current[:size])
        if low == high:
            return low, below + size
        scale = np.float32(n_bins - 1) / (high - low)
        if not np.isfinite(scale):
            break
        bins[:] = 0
        for i in range(size):
            bins[np.uint32((current[i] - low) * scale)] += 1
        wanted, seen = 0, 0
        while seen + bins[wanted] <= rank - below:
            seen += bins[wanted]
            wanted += 1
        kept = 0
        for i in range(size):
            value = current[i]
            scratch[kept] = value
            kept += np.uint32((value - low) * scale) == wanted
        below += seen
        if kept == size:
            break
        current, size = scratch, kept
    for i in range(size):
        scratch[i] = current[i]
    insertion_sort(scratch[:size])
    value = scratch[rank - below]
    last = rank - below
    while last + 1 < size and scratch[last + 1] == value:
        last += 1
    return value, below + last + 1


@numba.njit(cache=True)
def _quantile(values, count, share, scratch, bins):
    """R's quantile (type 7) of float32 values[:count], in float64."""
    index = (count - 1) * share
    low = int(np.floor(index))
    fraction = index - low
    value, upto = _order_statistic(values, count, low, scratch, bins)
    first = np.float64(value)
    if fraction == 0.0 or upto > low + 1:
        return first
    return (1.0 - fraction) * first + fraction * np.float64(_next_above(values, count, value))


@numba.njit(cache=True)
def _quantile_of_sorted(values, count, share):
    """R's quantile (type 7) of sorted float64 values[:count]."""
    index = (count - 1) * share
    low = int(np.floor(index))
    fraction = index - low
    if fraction == 0.0 or values[low + 1] == values[low]:
        return values[low]
    return (1.0 - fraction) * values[low] + fraction * values[low + 1]


@numba.njit(cache=True)
def _axis(smallest, largest, q05, q95, kernel, unit):
    """(start, step, reach) of one axis of the grid; fills kernel[0..reach] with whole multiples of 1 / unit.

    Bandwidth (q95 − q05)/25, or 1 (year, unit of beta) where that is 0, as densCols does.
    """
    bandwidth = (q95 - q05) / 25.0
    if bandwidth == 0.0:
        bandwidth = 1.0
    start = smallest - 1.5 * bandwidth
    width = largest + 1.5 * bandwidth - start
    step = width / (GRID - 1)
    reach = min(int(np.floor(3.4 * bandwidth * (GRID - 1) / width)), GRID - 1)
    for i in range(reach + 1):
        distance = i * step / bandwidth
        kernel[i] = np.rint(unit * np.exp(-0.5 * (distance * distance)))
    return start, step, reach


@numba.njit(cache=True)
def _place(values, start, step, lower, share, cell):
    """Lower grid point, share of the upper one and cell of values on an axis, into arrays of the same length.

    The cell is that of densCols: bounds half-way between grid points, closed above; no cell (GRID − 1) beyond the last
    bound, which densCols lets stop short of the last grid point.
    """
    for i in range(values.size):
        position = (np.float64(values[i]) - start) / step
        below = np.int32(position)
        below = below if below < GRID - 2 else np.int32(GRID - 2)
        lower[i] = below
        share[i] = position - below
        cell[i] = np.int32(np.ceil(position + 0.5)) - np.int32(1)


@numba.njit(cache=True, fastmath={"nnan", "nsz"})
def _look_up(flat, cells, found):
    """found[i] = flat[cells[i]]; returns the smallest and the largest."""
    smallest, largest = np.float32(np.inf), np.float32(-np.inf)
    for i in range(cells.size):
        value = flat[cells[i]]
        found[i] = value
        smallest = min(smallest, value)
        largest = max(largest, value)
    return smallest, largest


@numba.njit(cache=True)
def _positions(found, sparsest, scale, relative, absolute, shade, margin):
    """Each sample's shade, and by how much its distance from the next shade exceeds what its density may be wrong by.

    A density may be wrong by `relative` times itself and `absolute`.
    """
    for i in range(found.size):
        value = np.float64(found[i])
        place = (value - sparsest) * scale
        bound = np.rint(place)
        shade[i] = np.int32(np.ceil(place))
        doubt = 2.0 * scale * (relative * value + absolute)
        # Beyond both ends of the ramp there is one shade only.
        margin[i] = np.abs(place - bound) - doubt if 0.0 < bound < SHADES or doubt > 0.25 else 1.0


@numba.njit(cache=True)
def _centres(values, shade, at, key):
    """Canvas row and key of each sample's disc: the key grows with the sample and ends in its colour."""
    for i in range(values.size):
        colour = min(max(shade[i], np.int32(1)), np.int32(SHADES)) - np.int32(1)
        row = np.int32(np.floor(FAR - (FAR - NEAR) * np.float64(values[i])))
        at[i] = min(max(row, np.int32(0)), np.int32(SIDE - 1)) + np.int32(REACH)
        key[i] = np.uint32(i + 1) << np.uint32(8) | np.uint32(RAMP[colour])


@numba.njit(cache=True, fastmath={"contract"})
def _smooth_rows(counts, width, used, kernel, pad, source, smoothed):
    """Convolve the used rows of `counts` with the kernel, kernel[0..pad], in float32.

    counts, smoothed: flat, in rows of `width` = GRID + 2 pad; a row of counts begins with its margin, one of smoothed
    with its first cell, and what follows its GRID cells means nothing. A few rows that follow one another are one loop.
    """
    row = 0
    while row < GRID:
        if not used[row]:
            row += 1
            continue
        stop = row + 1
        while stop < min(row + _TOGETHER, GRID) and used[stop]:
            stop += 1
        size = (stop - row) * width
        exact, target = counts[row * width :], smoothed[row * width :]
        for x in range(size):
            source[x] = np.float32(exact[x])
        size -= 2 * pad
        middle = source[pad:]
        for x in range(size):
            target[x] = kernel[0] * middle[x]
        for first in range(1, pad + 1, 4):
            at = pad - first
            a, b, c, d = source[at:], source[at - 1 :], source[at - 2 :], source[at - 3 :]
            at = pad + first
            e, f, g, h = source[at:], source[at + 1 :], source[at + 2 :], source[at + 3 :]
            p, q, r, s = kernel[first], kernel[first + 1], kernel[first + 2], kernel[first + 3]
            for x in range(size):
                near = p * (a[x] + e[x]) + q * (b[x] + f[x])
                target[x] = target[x] + near + r * (c[x] + g[x]) + s * (d[x] + h[x])
        row = stop


@numba.njit(cache=True, fastmath={"contract"})
def _smooth_columns(smoothed, width, used, wanted, kernel, reach, density):
    """Convolve along columns; only the wanted rows of `density`, and only from used rows, four at a time."""
    sources = np.empty(GRID, np.int64)
    n = 0
    for row in range(GRID):
        sources[n] = row
        n += used[row]
    first, last = 0, 0
    for row in range(GRID):
        if not wanted[row]:
            continue
        while first < n and sources[first] < row - reach:
            first += 1
        while last < n and sources[last] <= row + reach:
            last += 1
        target = density[row]
        target[:] = np.float32(0.0)
        at = first
        while at + 4 <= last:
            p, q, r, t = sources[at], sources[at + 1], sources[at + 2], sources[at + 3]
            a, b = smoothed[p * width :], smoothed[q * width :]
            c, d = smoothed[r * width :], smoothed[t * width :]
            u, v, w, z = kernel[abs(row - p)], kernel[abs(row - q)], kernel[abs(row - r)], kernel[abs(row - t)]
            for x in range(GRID):
                target[x] = target[x] + u * a[x] + v * b[x] + w * c[x] + z * d[x]
            at += 4
        while at < last:
            weight = kernel[abs(row - sources[at])]
            source = smoothed[sources[at] * width :]
            for x in range(GRID):
                target[x] += weight * source[x]
            at += 1


@numba.njit(cache=True)
def _exact(cell, grid, kernels, known, seen):
    """Density at a cell, exact, in whole units; remembered in `known` (−1: not known yet).

    It is the sum over rows of the column kernel times the row's own sum, rounded to whole units. The last cell stands
    for samples without one and has no density. seen: (n + 1,), the cells known and, in its last place, their number.
    """
    if known[cell] >= 0.0 or cell == GRID * GRID:
        return max(known[cell], 0.0)
    counts, width, pad, used = grid
    x_kernel, x_reach, y_kernel, y_reach, unit = kernels
    y, x = cell // GRID, cell % GRID + pad
    total = 0.0
    for row in range(max(y - y_reach, 0), min(y + y_reach, GRID - 1) + 1):
        if used[row]:
            source = counts[row * width :]
            across = x_kernel[0] * source[x]
            for i in range(1, x_reach + 1):
                across += x_kernel[i] * (source[x - i] + source[x + i])
            total += y_kernel[abs(row - y)] * np.rint(across / unit)
    known[cell] = total
    seen[seen[-1]] = cell
    seen[-1] += 1
    return total


@numba.njit(cache=True)
def _shades(cells, density, grid, kernels, memory, shade):
    """Shade of each sample, 1..SHADES, from the density at its cell: exact wherever float32 leaves it in doubt.

    cut(density, SHADES): intervals closed above, the lowest on both sides; one density only falls in the middle.
    """
    known, seen, found, margin = memory
    x_reach, y_kernel, y_reach = kernels[1], kernels[2], kernels[3]
    # All terms are positive: a sum's relative error is at most 2^-24 for each rounding that a term goes through. The
    # exact sums of rows are rounded too, each by half a unit at most.
    relative = 2.0**-24 * (2 * (x_reach + y_reach) + 16)
    absolute = y_kernel[: y_reach + 1].sum()
    low, high = _look_up(density.reshape(density.size), cells, found)
    lowest = np.float64(low) * (1.0 + 3.0 * relative) + 3.0 * absolute
    highest = np.float64(high) * (1.0 - 3.0 * relative) - 3.0 * absolute
    sparsest, densest = np.inf, -np.inf
    seen[-1] = 0
    for i in range(cells.size):
        if found[i] <= lowest or found[i] >= highest:
            value = _exact(cells[i], grid, kernels, known, seen)
            sparsest, densest = min(sparsest, value), max(densest, value)
    if densest > sparsest:
        scale = SHADES / (densest - sparsest)
        _positions(found, sparsest, scale, relative, absolute, shade, margin)
        for i in range(cells.size):
            if margin[i] <= 0.0:
                shade[i] = np.int32(np.ceil((_exact(cells[i], grid, kernels, known, seen) - sparsest) * scale))
    else:
        shade[:] = SHADES // 2
    for i in range(seen[-1]):
        known[seen[i]] = -1.0


@numba.njit(cache=True)
def _dilate(canvas, first, last, rows, wide, out):
    """Turn stamped centres into discs: each pixel takes the largest key of the centres whose disc covers it.

    canvas: uint32, key at each disc's centre, 0 elsewhere; centres lie in rows first..last (canvas rows, margin
    included). rows: whether a row has centres. wide: (3, height, width) maxima over 3, 5 and 7 columns.
    out: uint8 (SIDE, SIDE), receives the lower 8 bits of the key.
    """
    start, stop = _LEFT + REACH, _LEFT + REACH + _ACROSS
    for y in range(max(0, first - 2 * REACH), min(_CANVAS_HEIGHT, last + 2 * REACH + 1)):
        if rows[y]:
            left, middle, right = canvas[y, start - 1 :], canvas[y, start:], canvas[y, start + 1 :]
            three, five, seven = wide[0, y, start:stop], wide[1, y, start:stop], wide[2, y, start:stop]
            for x in range(_ACROSS):
                three[x] = max(left[x], middle[x], right[x])
            left, right = wide[0, y, start - 1 :], wide[0, y, start + 1 :]
            for x in range(_ACROSS):
                five[x] = max(left[x], right[x])
            left, right = wide[1, y, start - 1 :], wide[1, y, start + 1 :]
            for x in range(_ACROSS):
                seven[x] = max(left[x], right[x])
        else:
            wide[:, y] = 0
    for y in range(max(first, 2 * REACH) - REACH, min(last + REACH, SIDE + REACH - 1) + 1):
        any_centre = False
        for other in range(y - REACH, y + REACH + 1):
            any_centre |= rows[other]
        if not any_centre:
            continue
        row = out[y - REACH, _LEFT : _LEFT + _ACROSS]
        a, g = wide[0, y - 3, start:stop], wide[0, y + 3, start:stop]
        b, f = wide[1, y - 2, start:stop], wide[1, y + 2, start:stop]
        c, e = wide[2, y - 1, start:stop], wide[2, y + 1, start:stop]
        d = wide[2, y, start:stop]
        for x in range(_ACROSS):
            row[x] = np.uint8(max(max(a[x], g[x]), max(b[x], f[x]), max(c[x], e[x]), d[x]) & np.uint32(255))


@numba.njit(cache=True, nogil=True)
def _draw(beta, ages, order, columns, shared, units, out, work):
    """Draw one CpG into out, uint8 (SIDE, SIDE), already zero.

    shared: (start, step, reach, kernel, lower, share, cell) of the age axis when no sample is missing.
    """
    weight_unit, kernel_unit = units
    canvas, wide, counts, smoothed, density, known, narrow, seen, flags, kernels, places, floats, shares, keys, bins = (
        work
    )
    n = beta.shape[0]
    values, scratch = floats[0], floats[1]
    members = places[0]
    count = 0
    for i in range(n):
        members[count] = i
        values[count] = beta[i]
        count += np.isfinite(beta[i])
    if count == 0:
        return
    members, values = members[:count], values[:count]
    cells, y_lower, y_cell = places[1][:count], places[2][:count], places[3][:count]
    y_share = shares[0][:count]

    # Age axis: the cohort's own, or that of the samples which have a value.
    x_start, x_step, x_reach, x_kernel, x_lower, x_share, x_cell = shared
    if count < n:
        kept, x_sorted = 0, shares[2]
        for i in range(n):
            sample = order[i]
            x_sorted[kept] = ages[sample]
            kept += np.isfinite(beta[sample])
        x_kernel = kernels[0]
        x_start, x_step, x_reach = _axis(
            x_sorted[0],
            x_sorted[count - 1],
            _quantile_of_sorted(x_sorted, count, 0.05),
            _quantile_of_sorted(x_sorted, count, 0.95),
            x_kernel,
            kernel_unit,
        )
        known_ages = shares[1][:count]
        for i in range(count):
            known_ages[i] = ages[members[i]]
        x_lower, x_share, x_cell = places[4][:count], shares[2][:count], places[5][:count]
        _place(known_ages, x_start, x_step, x_lower, x_share, x_cell)
    smallest, largest = _extremes(values)
    y_kernel = kernels[1]
    y_start, y_step, y_reach = _axis(
        np.float64(smallest),
        np.float64(largest),
        _quantile(values, count, 0.05, scratch, bins),
        _quantile(values, count, 0.95, scratch, bins),
        y_kernel,
        kernel_unit,
    )
    _place(values, y_start, y_step, y_lower, y_share, y_cell)

    # Linear binning: each sample is shared among the four grid points around it.
    pad = 4 * ((x_reach + 3) // 4)
    width = GRID + 2 * pad
    inner = counts[pad:]
    used, wanted, rows = flags[0], flags[1], flags[2]
    used[:] = False
    wanted[:] = False
    for i in range(count):
        row, up = np.uint32(y_lower[i]), y_share[i]
        lower, right = row * np.uint32(width) + np.uint32(x_lower[i]), x_share[i]
        upper = lower + np.uint32(width)
        left, down = 1.0 - right, 1.0 - up
        inner[lower] += np.rint(weight_unit * (left * down))
        inner[lower + np.uint32(1)] += np.rint(weight_unit * (right * down))
        inner[upper] += np.rint(weight_unit * (left * up))
        inner[upper + np.uint32(1)] += np.rint(weight_unit * (right * up))
        used[row] = True
        used[row + np.uint32(1)] = True
        x_at, y_at = x_cell[i], y_cell[i]
        inside = x_at < GRID - 1 and y_at < GRID - 1
        wanted[y_at] |= inside
        # A sample without a cell has density 0, as in densCols: the place after the last row.
        cells[i] = np.uint32(y_at * GRID + x_at if inside else GRID * GRID)
    # In float32, which is twice as fast; what that leaves in doubt is looked at again.
    x_narrow, y_narrow, source = narrow
    for i in range(pad + 1):
        x_narrow[i] = np.float32(x_kernel[i] / kernel_unit) if i <= x_reach else np.float32(0.0)
    for i in range(y_reach + 1):
        y_narrow[i] = np.float32(y_kernel[i])
    _smooth_rows(counts, width, used, x_narrow, pad, source, smoothed)
    _smooth_columns(smoothed, width, used, wanted, y_narrow, y_reach, density)
    at, key, shade = y_lower, keys[:count], y_cell
    grid, both = (counts, width, pad, used), (x_kernel, x_reach, y_kernel, y_reach, kernel_unit)
    _shades(cells, density, grid, both, (known, seen, floats[2][:count], y_share), shade)
    for row in range(GRID):
        if used[row]:
            counts[row * width : (row + 1) * width] = 0.0

    _centres(values, shade, at, key)
    # Later samples hide earlier ones: the largest key wins.
    rows[:] = False
    for i in range(count):
        row = np.uint32(at[i])
        canvas[row, np.uint32(columns[members[i]] + REACH)] = key[i]
        rows[row] = True
    first, last = 0, _CANVAS_HEIGHT - 1
    while not rows[first]:
        first += 1
    while not rows[last]:
        last -= 1
    _dilate(canvas, first, last, rows, wide, out)
    for row in range(first, last + 1):
        if rows[row]:
            canvas[row] = np.uint32(0)


@numba.njit(cache=True, nogil=True)
def _draw_all(low, high, beta, ages, order, columns, units, out):
    n = ages.shape[0]
    # The age axis of a CpG without missing values is the same for all.
    kernel = np.zeros(GRID)
    ordered = ages[order]
    q05, q95 = _quantile_of_sorted(ordered, n, 0.05), _quantile_of_sorted(ordered, n, 0.95)
    start, step, reach = _axis(ordered[0], ordered[-1], q05, q95, kernel, units[1])
    lower, share, cell = np.empty(n, np.int32), np.empty(n), np.empty(n, np.int32)
    _place(ages, start, step, lower, share, cell)
    work = (
        np.zeros((_CANVAS_HEIGHT, _CANVAS_WIDTH), np.uint32),
        np.zeros((3, _CANVAS_HEIGHT, _CANVAS_WIDTH), np.uint32),
        np.zeros(GRID * _MOST_WIDTH),
        np.empty(GRID * _MOST_WIDTH, np.float32),
        np.zeros((GRID + 1, GRID), np.float32),
        np.full(GRID * GRID + 1, -1.0),
        (np.empty(GRID + 4, np.float32), np.empty(GRID, np.float32), np.empty(_TOGETHER * _MOST_WIDTH, np.float32)),
        np.empty(n + 1, np.int64),
        np.empty((3, _CANVAS_HEIGHT), np.bool_),
        np.empty((2, GRID)),
        np.empty((6, n + 1), np.int32),
        np.empty((3, n + 1), np.float32),
        np.empty((3, n + 1)),
        np.empty(n, np.uint32),
        np.empty(256, np.int32),
    )
    shared = (start, step, reach, kernel, lower, share, cell)
    for k in range(low, high):
        _draw(beta[k], ages, order, columns, shared, units, out[k], work)


def units(n: int) -> tuple[float, float]:
    """Units of a sample's weights on the grid and of the kernel, so that all sums over n samples are exact.

    Weights and kernel are whole multiples of 1 / unit, and no sum of their products reaches 2^53: float64 then holds
    it exactly in whatever order it is taken, and processors and graphics cards draw the same pixels. Up to 8,191
    samples both units are 2^20, finer than float32.
    """
    bits = 53 - int(n).bit_length()
    return 2.0 ** (bits // 2), 2.0 ** (bits - bits // 2)


def _prepare(beta, ages):
    """Checked beta (float32, contiguous) and each sample's column (float64, in pixels from the left edge)."""
    beta = np.ascontiguousarray(beta, dtype=np.float32)
    ages = np.asarray(ages, dtype=np.float64)
    if beta.ndim != 2 or ages.ndim != 1 or beta.shape[1] != len(ages):
        raise ValueError(f"beta {beta.shape} and ages {ages.shape} must be (CpGs, samples) and (samples,)")
    if not np.isfinite(ages).all():
        raise ValueError("ages must be finite")
    if len(ages) == 0 or ages.max() == ages.min():
        return beta, np.full(len(ages), SIDE / 2)
    return beta, NEAR + (FAR - NEAR) * ((ages - ages.min()) / (ages.max() - ages.min()))


def render(beta, ages) -> np.ndarray:
    """Draw one image per CpG: codes, uint8 (k, 224, 224), 0 = background, else the green value 100..255 of the disc.

    beta: (k, n) float32, missing values NaN (neither drawn nor counted in the density; a row of NaN gives an empty
    image). ages: (n,) years, finite; they place the x axis for every CpG, also where the youngest sample is missing.
    Values of beta outside 0–1 are drawn where they fall, at most at the image's edge.

    Where an axis has no spread between its 5 % and 95 % quantiles, its bandwidth is 1 year or 1 unit of beta, as in
    densCols; where all samples are equally dense, they get the middle of the ramp, as in densCols; a cohort of one
    age only is drawn in the middle column. The result does not depend on the number of threads.
    """
    beta, across = _prepare(beta, ages)
    ages = np.ascontiguousarray(ages, dtype=np.float64)
    out = np.zeros((len(beta), SIDE, SIDE), np.uint8)
    if out.size and len(ages):
        order, columns = np.argsort(ages, kind="stable"), np.floor(across).astype(np.int32)
        in_threads(_draw_all, len(beta), beta, ages, order, columns, units(len(ages)), out)
    return out


KERNEL_SD, KERNEL_RADIUS, KERNEL_SHADES = 0.95, 3.47, 102
"""Pixels, pixels and colours of the kernel that reproduces the published pixels: see `render_smooth`."""

_PHASES = 8


def _stamps() -> np.ndarray:
    """Kernel (_PHASES, _PHASES, 7, 8) around a sample at each fraction of a pixel (y, x); the last column is 0."""
    fraction = (np.arange(_PHASES) + 0.5) / _PHASES
    offset = np.arange(-REACH, REACH + 2)[None] + 0.5 - fraction[:, None]
    squared = offset[:, None, : 2 * REACH + 1, None] ** 2 + offset[None, :, None, :] ** 2
    kernel = np.where(squared <= KERNEL_RADIUS**2, np.exp(-0.5 * squared / KERNEL_SD**2), 0)
    return np.ascontiguousarray(kernel, dtype=np.float32)


@numba.njit(cache=True, nogil=True)
def _splat_all(low, high, beta, across, stamps, ramp, out):
    n = beta.shape[1]
    field = np.zeros((_CANVAS_HEIGHT, _CANVAS_WIDTH), np.float32)
    rows = np.empty(_CANVAS_HEIGHT, np.bool_)
    touched = np.empty(SIDE, np.bool_)
    for k in range(low, high):
        rows[:] = False
        for i in range(n):
            if not np.isfinite(beta[k, i]):
                continue
            down = FAR - (FAR - NEAR) * np.float64(beta[k, i])
            down = min(max(down, 0.0), SIDE - 0.01)
            y, x = int(down), int(across[i])
            stamp = stamps[int((down - y) * _PHASES), int((across[i] - x) * _PHASES)]
            rows[y + REACH] = True
            for dy in range(2 * REACH + 1):
                target = field[y + dy, x : x + 8]
                source = stamp[dy]
                for dx in range(8):
                    target[dx] += source[dx]
        densest = np.float32(0.0)
        for y in range(SIDE):
            touched[y] = rows[y : y + 2 * REACH + 1].any()
            if touched[y]:
                row = field[y + REACH, REACH : REACH + SIDE]
                for x in range(SIDE):
                    densest = max(densest, row[x])
        if densest > 0.0:
            scale = np.float32(ramp.shape[0] - 1) / densest
            for y in range(SIDE):
                if touched[y]:
                    row = field[y + REACH, REACH : REACH + SIDE]
                    target_row = out[k, y]
                    for x in range(SIDE):
                        if row[x] > 0.0:
                            shade = min(int(row[x] * scale + np.float32(0.8)), ramp.shape[0] - 1)
                            target_row[x] = ramp[shade]
        for y in range(_CANVAS_HEIGHT):
            for other in range(max(0, y - REACH), min(_CANVAS_HEIGHT, y + REACH + 1)):
                if rows[other]:
                    field[y] = np.float32(0.0)
                    break


def render_smooth(beta, ages) -> np.ndarray:
    """Draw one image per CpG as the published pixels themselves suggest: codes and arguments as in `render`.

    In the published images a lone sample is not a disc of one colour: it darkens by three levels towards its centre,
    overlapping samples add up, and none hides another. What reproduces this is a Gaussian of sd 0.95 px, cut off at
    3.47 px and centred on the sample's exact position, summed over samples; each pixel it reaches is coloured by the
    sum's share of the image's maximum, on a ramp of 102 colours. The order of the samples does not matter.

    How it was found: every green of the three published images is one of 102 equal steps; the column sums of all
    three, unmixed with such a kernel, give the same number of samples for each of 67 whole years of age, to within 1
    on average, and only if the colour is linear in the sum.
    """
    beta, across = _prepare(beta, ages)
    out = np.zeros((len(beta), SIDE, SIDE), np.uint8)
    if out.size and len(across):
        shades = np.arange(KERNEL_SHADES) / (KERNEL_SHADES - 1)
        ramp = np.floor(SPARSE + (DENSE - SPARSE) * shades + 0.5).astype(np.uint8)
        in_threads(_splat_all, len(beta), beta, across, _stamps(), ramp, out)
    return out


def to_rgb(codes) -> np.ndarray:
    """Codes, uint8 (…, 224, 224), as RGB, uint8 (…, 224, 224, 3): white, or (0, green, 0)."""
    codes = np.asarray(codes, dtype=np.uint8)
    background = codes == 0
    rgb = np.empty((*codes.shape, 3), np.uint8)
    rgb[..., 0] = rgb[..., 2] = np.where(background, 255, 0)
    rgb[..., 1] = np.where(background, 255, codes)
    return rgb


def _pooling(length: int, size: int) -> np.ndarray:
    """Row i: the weight of each of `length` pixels in the mean that is output pixel i (adaptive average pooling)."""
    weights = np.zeros((size, length))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        weights[i, start:stop] = 1 / (stop - start)
    return weights


@numba.njit(cache=True, nogil=True)
def _pool(low, high, codes, size, out):
    side = codes.shape[1]
    reds, greens = np.empty(side, np.int32), np.empty(side, np.int32)
    for k in range(low, high):
        image = codes[k]
        for i in range(size):
            top, bottom = i * side // size, -(-(i + 1) * side // size)
            reds[:] = 0
            greens[:] = 0
            for y in range(top, bottom):
                row = image[y]
                for x in range(side):
                    code = np.int32(row[x])
                    blank = np.int32(255) if code == 0 else np.int32(0)
                    reds[x] += blank
                    greens[x] += code + blank
            for j in range(size):
                left, right = j * side // size, -(-(j + 1) * side // size)
                red, green = 0, 0
                for x in range(left, right):
                    red += reds[x]
                    green += greens[x]
                area = (bottom - top) * (right - left)
                out[k, 0, i, j] = (2 * red + area) // (2 * area)
                out[k, 1, i, j] = (2 * green + area) // (2 * area)


def planes(codes, size: int = SIDE) -> np.ndarray:
    """What networks read: the red (= blue) and green channels, uint8 (k, 2, size, size), of codes (k, 224, 224).

    Smaller sizes are area averages, with the windows of adaptive average pooling, rounded half up.
    """
    codes = np.ascontiguousarray(codes, dtype=np.uint8)
    if not 1 <= size <= SIDE:
        raise ValueError(f"size is {size}; it must lie between 1 and {SIDE}")
    out = np.empty((len(codes), 2, size, size), np.uint8)
    if size == SIDE:
        np.equal(codes, 0, out=out[:, 0], casting="unsafe")
        out[:, 0] *= 255
        np.bitwise_or(codes, out[:, 0], out=out[:, 1])
    elif len(codes):
        in_threads(_pool, len(codes), codes, size, out)
    return out


def planes_of_rgb(rgb, size: int = SIDE) -> np.ndarray:
    """Red and green of any RGB image, uint8 (H, W, 3), as networks read them: uint8 (2, size, size).

    Area averages as in `planes`, larger images and smaller ones alike. Blue is not looked at.
    """
    rgb = np.asarray(rgb)
    channels = rgb[..., :2].astype(np.float64)
    pooled = np.einsum(
        "iy,yxc,jx->cij", _pooling(rgb.shape[0], size), channels, _pooling(rgb.shape[1], size), optimize=True
    )
    # Means of whole numbers: what rounding error there is must not decide a half.
    return np.floor(pooled + 0.5 + 1e-9).astype(np.uint8)


def write_png(path, code) -> None:
    """Write one image, codes uint8 (224, 224), as RGB PNG; a reader finds the whole file or none."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        Image.fromarray(to_rgb(code)).save(temporary, format="png", compress_level=1)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def png_text(code: np.ndarray) -> str:
    """An image's codes (224, 224) as base64 PNG for a page, lossless, with a palette: a third of the bytes of RGB."""
    image = Image.frombytes("P", code.shape[::-1], code.tobytes())
    image.putpalette([255, 255, 255] + [part for green in range(1, 256) for part in (0, green, 0)])
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


LARGEST_SIDE = 4096
"""Pixels. A PNG of kilobytes can unpack to gigabytes; the published ones have 224."""


UNREADABLE = (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError)
"""What Pillow raises on damaged files; MemoryError where a chunk's length is."""


def read_png(path) -> np.ndarray:
    """Read a PNG file as RGB, uint8 (H, W, 3); transparency is laid on white, grey and palette are converted.

    InputError for a missing file, for one that is no PNG or is too large to be a plot, and for one that is cut short.
    """
    try:
        # No other format: some of Pillow's readers start programs.
        with Image.open(path, formats=("PNG",)) as image:
            if max(image.size) > LARGEST_SIDE:
                raise ValueError(f"{image.size[0]}×{image.size[1]} pixels, more than {LARGEST_SIDE} along a side")
            image.load()
            if image.mode.startswith("I") or image.mode == "F":
                # 16-bit grey: Pillow's own conversion clips instead of scaling.
                grey = np.asarray(image, dtype=np.float64)
                return np.repeat((grey / 257 + 0.5).clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                return np.array(Image.alpha_composite(white, image).convert("RGB"))
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"The image {path} does not exist; check the path.") from None
    except UNREADABLE as error:
        raise InputError(
            f"The image {path} cannot be read ({reason_of(error)}); it must be a whole PNG file: copy or draw it again."
        ) from None

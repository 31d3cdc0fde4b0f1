"""The images of `render`, drawn in batches by torch: the same pixels, on a processor or a graphics card.

Made for feeding a network straight from the matrix: values go to the device once, and images never leave it. Every
sum is taken over whole numbers that float64 holds exactly (`render.units`), so its order does not matter, and what is
drawn equals `render.render` and `render.planes` pixel for pixel.
"""

import numpy as np
import torch

from cpgtaxa.images.render import FAR, GRID, NEAR, RAMP, REACH, SHADES, SIDE, units

BATCH = {"cpu": 16, "cuda": 512}
"""Images drawn at a time: about 2 MB of work space each at 3,500 samples."""


def _quantile(ordered, count, share):
    """R's quantile (type 7) along rows of `ordered` (k, n), of which the first `count` (k,) are values; float64."""
    index = (count - 1).clamp(min=0).double() * share  # a whole number times a float would be float32
    low = index.floor()
    fraction = index - low
    low = low.long()[:, None]
    first = ordered.gather(1, low)[:, 0].double()
    second = ordered.gather(1, (low + 1).clamp(max=ordered.shape[1] - 1))[:, 0].double()
    between = (1.0 - fraction) * first + fraction * second
    return torch.where((fraction == 0.0) | (first == second), first, between)


def _axis(smallest, largest, q05, q95, unit):
    """Start and step (k,) of an axis of the grid, and the kernel between any two of its points, (k, GRID, GRID)."""
    bandwidth = (q95 - q05) / 25.0
    bandwidth = torch.where(bandwidth == 0.0, 1.0, bandwidth)
    start = smallest - 1.5 * bandwidth
    width = largest + 1.5 * bandwidth - start
    step = width / (GRID - 1)
    reach = (3.4 * bandwidth * (GRID - 1) / width).floor().clamp(max=GRID - 1)
    points = torch.arange(GRID, device=start.device, dtype=torch.float64)
    distance = points * step[:, None] / bandwidth[:, None]
    kernel = torch.round(unit * torch.exp(-0.5 * (distance * distance)))
    kernel = torch.where(points <= reach[:, None], kernel, 0.0)
    lags = (points[:, None] - points).abs().long()
    return start, step, kernel[:, lags]


def _place(values, start, step):
    """Lower grid point, share of the upper one, cell: as `render._place`."""
    position = (values - start[:, None]) / step[:, None]
    lower = position.long().clamp(max=GRID - 2)
    return lower, position - lower, torch.ceil(position + 0.5).long() - 1


def _densities(values, valid, ages, order):
    """Density at each sample (k, n) float64, in whole numbers; values (k, n) float64, valid (k, n), ages (n,)."""
    k, n = values.shape
    weight_unit, kernel_unit = units(n)
    count = valid.sum(1)
    infinity = torch.tensor(torch.inf, device=values.device, dtype=torch.float64)
    ordered = torch.where(valid, values, infinity).sort(1).values
    last = (count - 1).clamp(min=0)[:, None]
    y_start, y_step, y_kernel = _axis(
        ordered[:, 0],
        ordered.gather(1, last)[:, 0],
        *(_quantile(ordered, count, share) for share in (0.05, 0.95)),
        kernel_unit,
    )
    # Ages of the samples that have a value, in ascending order; the place of the i-th of them among all.
    whole = bool((count == n).all())
    sorted_ages = ages[order]
    if whole:
        sorted_ages, x_count, x_last = sorted_ages[None], count[:1], last[:1]
    else:
        known = torch.cumsum(valid[:, order], 1)
        ranks = torch.arange(1, n + 1, device=values.device).expand(k, n).contiguous()
        sorted_ages = sorted_ages[torch.searchsorted(known, ranks).clamp(max=n - 1)]
        x_count, x_last = count, last
    x_start, x_step, x_kernel = _axis(
        sorted_ages[:, 0],
        sorted_ages.gather(1, x_last)[:, 0],
        *(_quantile(sorted_ages, x_count, share) for share in (0.05, 0.95)),
        kernel_unit,
    )
    column, right, x_cell = _place(ages[None], x_start, x_step)
    filled = torch.where(valid, values, ordered[:, :1])
    row, up, y_cell = _place(filled, y_start, y_step)
    left, down = 1.0 - right, 1.0 - up
    counts = torch.zeros(k * GRID * GRID, device=values.device, dtype=torch.float64)
    corner = (torch.arange(k, device=values.device)[:, None] * GRID + row) * GRID + column
    for shift, weight in ((0, left * down), (1, right * down), (GRID, left * up), (GRID + 1, right * up)):
        # A CpG's axes do not reach to samples that it lacks.
        at = torch.where(valid, corner + shift, 0)
        weight = torch.where(valid, torch.round(weight_unit * weight), 0.0)
        counts.scatter_add_(0, at.view(-1), weight.view(-1))
    smoothed = torch.round((counts.view(k, GRID, GRID) @ x_kernel) / kernel_unit)
    density = (y_kernel @ smoothed).view(k, -1)
    inside = (x_cell < GRID - 1) & (y_cell < GRID - 1) & valid
    cell = torch.where(inside, y_cell * GRID + x_cell, 0)
    return torch.where(inside, density.gather(1, cell), 0.0)


def _draw(beta, ages, order, columns, ramp):
    """Codes (k, SIDE, SIDE) uint8 of beta (k, n) float32, NaN where missing."""
    k, n = beta.shape
    valid = torch.isfinite(beta)
    beta = beta.double()
    found = _densities(beta, valid, ages, order)
    infinity = torch.tensor(torch.inf, device=beta.device, dtype=torch.float64)
    sparsest = torch.where(valid, found, infinity).amin(1, keepdim=True)
    densest = torch.where(valid, found, 0.0).amax(1, keepdim=True)
    graded = densest > sparsest
    shades = torch.where(graded, SHADES / (densest - sparsest), 0.0)
    shade = torch.ceil((found - sparsest) * shades).clamp(1, SHADES)
    shade = torch.where(graded, shade, SHADES // 2).nan_to_num(1.0).long()
    at = torch.floor(FAR - (FAR - NEAR) * beta).clamp(0, SIDE - 1).nan_to_num(0.0).long()

    # Later samples hide earlier ones: the largest key wins.
    keys = (torch.arange(1, n + 1, device=beta.device, dtype=torch.int32) << 8) | ramp[shade - 1]
    keys = torch.where(valid, keys, 0)
    side = SIDE + 2 * REACH
    canvas = torch.zeros(k * side * side, device=beta.device, dtype=torch.int32)
    where = (torch.arange(k, device=beta.device)[:, None] * side + at + REACH) * side + columns + REACH
    canvas = canvas.scatter_reduce_(0, where.view(-1), keys.view(-1), "amax").view(k, side, side)

    three = canvas.clone()
    torch.maximum(canvas[:, :, 1:-1], torch.maximum(canvas[:, :, :-2], canvas[:, :, 2:]), out=three[:, :, 1:-1])
    three[:, :, 0] = torch.maximum(canvas[:, :, 0], canvas[:, :, 1])
    three[:, :, -1] = torch.maximum(canvas[:, :, -1], canvas[:, :, -2])
    five = torch.maximum(three[:, :, :-2], three[:, :, 2:])  # column 0 of it is column 1 of the canvas
    seven = torch.maximum(five[:, :, :-2], five[:, :, 2:])
    three, five, seven = three[:, :, 3:-3], five[:, :, 2:-2], seven[:, :, 1:-1]
    rows = [
        canvas_rows[:, REACH + shift : REACH + shift + SIDE]
        for shift, canvas_rows in zip(range(-3, 4), (three, five, seven, seven, seven, five, three), strict=True)
    ]
    widest = rows[0]
    for row in rows[1:]:
        widest = torch.maximum(widest, row)
    return (widest & 255).to(torch.uint8)


def render(beta, ages, batch=None) -> torch.Tensor:
    """Codes, uint8 (k, 224, 224), as `render.render` draws them, on the device of `beta`.

    beta: tensor (k, n) float32, missing values NaN. ages: (n,) years, finite. batch: images drawn at a time.
    """
    if beta.ndim != 2 or beta.shape[1] != len(ages):
        raise ValueError(f"beta {tuple(beta.shape)} and ages ({len(ages)},) must be (CpGs, samples) and (samples,)")
    years = np.asarray(ages, dtype=np.float64)
    if not np.isfinite(years).all():
        raise ValueError("ages must be finite")
    out = torch.zeros((len(beta), SIDE, SIDE), dtype=torch.uint8, device=beta.device)
    if not out.numel() or not len(years):
        return out
    span = years.max() - years.min()
    across = NEAR + (FAR - NEAR) * ((years - years.min()) / span) if span > 0 else np.full(len(years), SIDE / 2)
    there = {"device": beta.device}
    columns = torch.as_tensor(np.floor(across).astype(np.int64), **there)
    order = torch.as_tensor(np.argsort(years, kind="stable"), **there)
    ramp = torch.as_tensor(RAMP.astype(np.int32), **there)
    years = torch.as_tensor(years, **there)
    batch = batch or BATCH.get(beta.device.type, 64)
    with torch.inference_mode(), torch.autocast(beta.device.type, enabled=False):
        for start in range(0, len(beta), batch):
            out[start : start + batch] = _draw(beta[start : start + batch].float(), years, order, columns, ramp)
    return out


def planes(codes, size: int = SIDE) -> torch.Tensor:
    """Red (= blue) and green, uint8 (k, 2, size, size), of codes (k, 224, 224), as `render.planes`."""
    if not 1 <= size <= SIDE:
        raise ValueError(f"size is {size}; it must lie between 1 and {SIDE}")
    red = torch.where(codes == 0, 255, 0).to(torch.uint8)
    both = torch.stack([red, codes | red], 1)
    if size == SIDE:
        return both
    edges = torch.arange(size, device=codes.device)
    low, high = edges * SIDE // size, -((-(edges + 1) * SIDE) // size)
    sums = both.int()
    for dim in (2, 3):
        sums = torch.cumsum(sums, dim, dtype=torch.int32)
        sums = torch.cat([torch.zeros_like(sums.narrow(dim, 0, 1)), sums], dim)
        sums = sums.index_select(dim, high) - sums.index_select(dim, low)
    area = ((high - low)[:, None] * (high - low)).int()
    return ((2 * sums + area) // (2 * area)).to(torch.uint8)

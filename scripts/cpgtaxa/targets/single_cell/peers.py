"""What the networks are measured against: the mean of the neighbourhood, and a random forest per cell."""

import concurrent.futures
import pathlib
import tempfile

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.kmers import composition, frequencies
from cpgtaxa.targets.single_cell.neighbours import Neighbourhoods
from cpgtaxa.targets.single_cell.plan import SPLITS
from cpgtaxa.targets.single_cell.tables import ROWS, Sites, filled, predictions_writer, window_blocks

WINDOW = 3001
"""Bases of the window whose observed states are averaged, as published."""
KMER = 4
CELLS_AT_ONCE = 4
TRAIN = SPLITS["train"]


# --- the mean of the neighbourhood -----------------------------------------------------------------------------------


def cell_rates(sites: Sites) -> np.ndarray:
    """The share of methylated states among each cell's observed training sites, (cells,); 0.5 where there are none."""
    seen, methylated = np.zeros(len(sites.cells)), np.zeros(len(sites.cells))
    for block in sites.blocks():
        states = block.states[block.split == TRAIN]
        seen += (states >= 0).sum(axis=0)
        methylated += (states == 1).sum(axis=0)
    return np.where(seen > 0, methylated / np.maximum(seen, 1), 0.5)


def window_mean(sites_path, out, window: int = WINDOW) -> None:
    """Write the mean of each cell's observed states within `window` bases centred on each site, without the site's own.

    Window averaging as published with DeepCpG; where a cell has no observed neighbour in the window, the rate of its
    training sites (published: of all its sites). Counted in the table of sites, so that the window holds all
    neighbours however many they are. Memory holds a block of sites and its margins.

    out: predictions in the form of `tables.predictions_writer`.
    """
    sites, half = Sites(sites_path), window // 2
    rates = cell_rates(sites)
    with predictions_writer(out, sites.cells) as write:
        for first in range(0, sites.n, ROWS):
            last = min(first + ROWS, sites.n)
            # Positions are whole and differ, so that no more than `half` sites lie on a side.
            low = max(first - half, 0)
            around = sites.rows(low, min(last + half, sites.n))
            here = slice(first - low, last - low)
            apart = around.chrom.astype(np.int64) * (int(around.position.max()) + 2 * half + 1)
            place = apart + around.position
            counts = []
            for states in (around.states >= 0, around.states == 1):
                sums = np.zeros((len(place) + 1, len(sites.cells)), dtype=np.int32)
                np.cumsum(states, axis=0, out=sums[1:])
                start = np.searchsorted(place, place[here] - half)
                stop = np.searchsorted(place, place[here] + half, side="right")
                counts.append(sums[stop] - sums[start] - states[here])
            seen, methylated = counts
            write(first, np.where(seen > 0, methylated / np.maximum(seen, 1), rates))


# --- a forest per cell -----------------------------------------------------------------------------------------------


def dna_features(dna: np.ndarray) -> np.ndarray:
    """Frequencies of the 256 4-mers, then shares of A, C, G, T, CpGs per base, and CpGs observed / expected.

    dna (n, wlen) uint8. Returns (n, 262) float32.
    """
    return np.concatenate([frequencies(dna, KMER), composition(dna)], axis=1)


def _features(near: Neighbourhoods, rows: np.ndarray, dna: np.ndarray | None) -> np.ndarray:
    """(n, 2 * cpg_wlen) float32 of some rows: states then distances of the neighbours in the one cell of `near`, see
    `tables.filled`; behind them `dna`, (n, features), if there is any."""
    own = [one[:, 0] for one in filled(*near.nearest(rows), near.farthest)]
    return np.concatenate(own if dna is None else [*own, dna], axis=1)


def _chosen(paths, n_cells: int, most: int, seed: int) -> tuple[list[np.ndarray], int]:
    """Per cell the training sites to learn from, sorted, at most `most`, any as likely as another; and all sites.

    The sites with the smallest of random numbers, so that memory holds `most` of them for each cell.
    """
    rngs = [np.random.default_rng([seed, cell]) for cell in range(n_cells)]
    best = [(np.zeros(0), np.zeros(0, dtype=np.int64))] * n_cells
    n = 0
    for window in window_blocks(paths):
        n += len(window.site)
        for cell, rng in enumerate(rngs):
            rows = window.site[(window.split == TRAIN) & (window.targets[:, cell] >= 0)]
            numbers = np.concatenate([best[cell][0], rng.random(len(rows))])
            found = np.concatenate([best[cell][1], rows])
            if len(found) > most:
                kept = np.argpartition(numbers, most)[:most]
                numbers, found = numbers[kept], found[kept]
            best[cell] = numbers, found
    return [np.sort(found) for _, found in best], n


def _training_data(paths, near: dict[int, Neighbourhoods], chosen: list[np.ndarray]):
    """Features and states of the chosen sites of some cells: lists of (n, features) float32 and (n,) int8."""
    x, y = [[] for _ in near], [[] for _ in near]
    for window in window_blocks(paths):
        for at, cell in enumerate(near):
            low, high = np.searchsorted(chosen[cell], (window.site[0], window.site[-1] + 1))
            rows = chosen[cell][low:high] - window.site[0]
            if len(rows):
                dna = None if window.dna is None else dna_features(window.dna[rows])
                x[at].append(_features(near[cell], chosen[cell][low:high], dna))
                y[at].append(window.targets[rows, cell])
    return [(np.concatenate(a), np.concatenate(b)) if a else (None, np.zeros(0)) for a, b in zip(x, y, strict=True)]


def _fit(x, y: np.ndarray, trees: int, seed: int):
    """A function from features to the probability of being methylated, (n,) float32."""
    if len(np.unique(y)) < 2:
        constant = np.float32(y[0] if len(y) else 0.5)
        return lambda features: np.full(len(features), constant)
    model = RandomForestClassifier(trees, min_samples_leaf=5, random_state=seed, n_jobs=1).fit(x, y)
    return lambda features: model.predict_proba(features)[:, 1].astype(np.float32)


def random_forest(
    windows, sites, out, *, cpg_wlen: int, peer_rows: int, seed: int, trees: int = 100, threads: int = 1
) -> None:
    """Write a random forest's predictions: one forest per cell, of all sites, observed or not.

    As published: states and distances of the cell's own neighbours (50 at the default), and frequencies of 4-mers of
    the DNA window; here with them the base composition and CpG content, which trees cannot easily add up from 4-mers.
    Without DNA in the windows, the neighbours alone. Leaves hold at least five sites (single states are noisy, and
    forests stay small). Learnt from at most `peer_rows` of the cell's observed training sites, chosen at random. A cell
    whose training sites are all of one state is predicted to be of that state; one without any, 0.5.

    windows: paths of all shards in order; sites: the table they are of. out: predictions in the form of
    `tables.predictions_writer`.
    Memory holds the training data and forests of CELLS_AT_ONCE cells (or `threads`, if more) and one batch of windows;
    predictions wait in a scratch file beside `out`. The result does not depend on `threads`.
    """
    sites = Sites(sites)
    cells = sites.cells
    chosen, n = _chosen(windows, len(cells), peer_rows, seed)
    at_once = max(CELLS_AT_ONCE, threads)
    seeds = np.random.SeedSequence([seed, 1]).generate_state(len(cells))
    folder = pathlib.Path(out).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(dir=folder, prefix=".forest.", suffix=".partial") as scratch,
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
    ):
        found = np.memmap(scratch, dtype=np.float32, mode="w+", shape=(n, len(cells)))
        progress = Progress(len(cells), "cells: forests grown and applied")
        for first in range(0, len(cells), at_once):
            some = list(range(first, min(first + at_once, len(cells))))
            near = {cell: Neighbourhoods(sites, cpg_wlen, cells=[cell]) for cell in some}
            data = _training_data(windows, near, chosen)
            jobs = [pool.submit(_fit, x, y, trees, int(seeds[cell])) for cell, (x, y) in zip(some, data, strict=True)]
            models = [job.result() for job in jobs]
            del data, jobs
            for window in window_blocks(windows):
                dna = None if window.dna is None else dna_features(window.dna)
                jobs = [
                    pool.submit(lambda model, own, w=window, d=dna: model(_features(own, w.site, d)), model, near[cell])
                    for model, cell in zip(models, some, strict=True)
                ]
                low, high = window.site[0], window.site[-1] + 1
                for cell, job in zip(some, jobs, strict=True):
                    found[low:high, cell] = job.result()
            progress.step(len(some))
        with predictions_writer(out, cells) as write:
            for first in range(0, n, ROWS):
                write(first, found[first : first + ROWS])

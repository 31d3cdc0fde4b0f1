"""How well methylation states are predicted: per cell as DeepCpG does, and what of it other DNA would show too."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.special import logit
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, recall_score, roc_auc_score

from cpgtaxa.errors import InputError
from cpgtaxa.files import REMEDY, naming_damage
from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.progress import Progress
from cpgtaxa.statistics.comparisons import holm
from cpgtaxa.targets.single_cell.plan import SPLITS
from cpgtaxa.targets.single_cell.tables import Sites, prediction_blocks

METRICS = ("auc", "accuracy", "tpr", "tnr", "f1", "mcc")
TEST = SPLITS["test"]
EVERYWHERE = "all"
"""In place of an annotation."""
DRAWS = 2000
BLOCK_BASES = 10_000
"""Bases of a block at least: several times the length (1 to 2 kb) over which neighbours are alike."""
MOST_BLOCKS = 500
FEWEST_BLOCKS = 10
"""Blocks below which there is no interval: drawn from so few, it would be far too narrow."""
BINS = 500
"""Bins of probability from which a draw's AUC is computed; the value itself is exact."""
CELLS_AT_ONCE = 8
POOLED = "auc_pooled"
"""AUC of all cells' states together, as CpG Transformer and GraphCpG give it, not the mean over cells."""
FINE, LOGIT = 1 << 16, 12.0
"""Bins of the logit from which the pooled AUC is computed, and the logit at which they end."""


def one_cell(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """METRICS and n of one cell over its observed sites. targets (n,) int8, 0 or 1; probabilities (n,).

    As published (scikit-learn's functions; a state is called methylated above 0.5, as rounding 0.5 gives 0), but for
    what is undefined, which is NaN rather than 0: AUC and MCC where all sites are of one state, sensitivity (tpr) and
    F1 without a methylated site, specificity (tnr) without an unmethylated one. MCC is 0 for a model that always says
    the same.
    """
    n, methylated = len(targets), int(targets.sum())
    called = (probabilities > 0.5).astype(np.int8)
    both, any_one, any_zero = 0 < methylated < n, methylated > 0, methylated < n
    return {
        "auc": float(roc_auc_score(targets, probabilities)) if both else np.nan,
        "accuracy": float(accuracy_score(targets, called)) if n else np.nan,
        "tpr": float(recall_score(targets, called)) if any_one else np.nan,
        "tnr": float(recall_score(targets, called, pos_label=0)) if any_zero else np.nan,
        "f1": float(f1_score(targets, called)) if any_one else np.nan,
        "mcc": float(matthews_corrcoef(targets, called)) if both else np.nan,
        "n": n,
    }


def cell_scores(targets: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """METRICS and n (observed sites) of each cell, a row per cell; see `one_cell`.

    targets (n, cells) int8, -1 where unobserved; probabilities (n, cells) float32.
    """
    observed = targets >= 0
    return pd.DataFrame(
        [one_cell(targets[there, cell], probabilities[there, cell]) for cell, there in enumerate(observed.T)],
        columns=[*METRICS, "n"],
    )


# --- correlation of neighbouring sites --------------------------------------------------------------------------------


def blocks_of(chrom: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Which block each site belongs to, (n,) int64 from 0, for sites sorted by chromosome and position.

    A block is a stretch of a chromosome of BLOCK_BASES bases, or longer where there would be more than MOST_BLOCKS.
    """
    if not len(chrom):
        return np.zeros(0, dtype=np.int64)
    new = np.flatnonzero(np.diff(chrom, prepend=chrom[0] - 1))
    ends = np.append(new[1:], len(chrom)) - 1
    spans = position[ends] - position[new] + 1
    # Where blocks are cut at each chromosome's end, a chromosome has at most one block more than its length gives.
    length = max(BLOCK_BASES, int(np.ceil(spans.sum() / max(MOST_BLOCKS - len(new), 1))))
    start = np.repeat(position[new], np.diff(np.append(new, len(chrom))))
    stretch = (position - start) // length
    return np.cumsum((np.diff(stretch, prepend=-1) != 0) | (np.diff(chrom, prepend=chrom[0]) != 0)) - 1


def _weights(n_blocks: int, seed: int) -> np.ndarray:
    """How often each block is drawn: (DRAWS, blocks) float32."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=DRAWS).astype(np.float32)


def _binned(probabilities: np.ndarray) -> np.ndarray:
    """A bin of 0..BINS-1 for each probability, in their order: one per value where these are few, else by quantile."""
    edges = np.unique(probabilities)
    if len(edges) > BINS:
        edges = np.unique(np.quantile(probabilities, np.arange(1, BINS) / BINS, method="lower"))
        return np.searchsorted(edges, probabilities, side="left")
    return np.searchsorted(edges, probabilities)


def divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def draw_scores(targets, probabilities, block, weights) -> dict[str, np.ndarray]:
    """METRICS of one cell in each draw of blocks: (draws,) each, NaN where undefined as in `one_cell`.

    targets (n,) 0 or 1, probabilities and block (n,), weights (draws, blocks). A draw's AUC is computed from BINS bins
    of probability.
    """
    n_blocks = weights.shape[1]
    called = probabilities > 0.5
    cells = np.bincount(block * 4 + targets * 2 + called, minlength=n_blocks * 4).reshape(n_blocks, 4)
    tn, fp, fn, tp = (weights @ cells.astype(np.float32)).T.astype(np.float64)
    places = (targets.astype(np.int64) * n_blocks + block) * BINS + _binned(probabilities)
    counts = np.bincount(places, minlength=2 * n_blocks * BINS).reshape(2, n_blocks, BINS).astype(np.float32)
    zeros, ones = (np.matmul(weights, side).astype(np.float64) for side in counts)
    margins = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    both = (tp + fn > 0) & (tn + fp > 0)
    return {
        "auc": _auc_of_bins(zeros, ones),
        "accuracy": divided(tp + tn, tp + tn + fp + fn),
        "tpr": divided(tp, tp + fn),
        "tnr": divided(tn, tn + fp),
        "f1": np.where(tp + fn > 0, divided(2 * tp, 2 * tp + fp + fn), np.nan),
        "mcc": np.where(both, np.nan_to_num(divided(tp * tn - fp * fn, margins)), np.nan),
    }


class Pooled:
    """The AUC of several cells' states together, from counts in bins of the logit: FINE for the value, BINS for its
    draws. blocks: how many there are to draw from."""

    def __init__(self, blocks: int):
        self.fine, self.coarse = np.zeros((2, FINE)), np.zeros((2, blocks, BINS), dtype=np.float32)

    def add(self, targets, probabilities, block) -> None:
        """Another cell's states; see `draw_scores`."""
        share = np.clip((logit(probabilities.astype(np.float64)) + LOGIT) / (2 * LOGIT), 0, 1 - 1e-9)
        places = targets.astype(np.int64) * FINE + (share * FINE).astype(np.int64)
        self.fine += np.bincount(places, minlength=2 * FINE).reshape(2, FINE)
        blocks = self.coarse.shape[1]
        places = (targets.astype(np.int64) * blocks + block) * BINS + (share * BINS).astype(np.int64)
        self.coarse += np.bincount(places, minlength=2 * blocks * BINS).reshape(self.coarse.shape)

    def value(self) -> float:
        return float(_auc_of_bins(*self.fine))

    def draws(self, weights: np.ndarray) -> np.ndarray:
        """(draws,) float64."""
        return _auc_of_bins(*(np.matmul(weights, side).astype(np.float64) for side in self.coarse))


def _auc_of_bins(zeros: np.ndarray, ones: np.ndarray) -> np.ndarray:
    """AUC from the numbers of states of either kind in bins of rising probability, (…, bins); NaN with one kind."""
    below = np.cumsum(zeros, axis=-1) - zeros / 2
    return divided((ones * below).sum(axis=-1), ones.sum(axis=-1) * zeros.sum(axis=-1))


# --- all models, annotations and cells -------------------------------------------------------------------------------


@dataclasses.dataclass
class Scored:
    """What `score_all` finds.

    scores: model, cell, annotation, metric, value, n (observed test sites); draws: (model, annotation, metric) to the
    mean over cells in each draw of blocks, (DRAWS,) float64; blocks: how many there are to draw from; pooled: model to
    the AUC of all cells' states together, its draws, and the states.
    """

    scores: pd.DataFrame
    draws: dict[tuple[str, str, str], np.ndarray]
    blocks: int
    pooled: dict[str, tuple[float, np.ndarray | None, int]]


def test_rows(sites: Sites):
    """Rows, chromosome codes and positions of the test sites."""
    found = []
    for block in sites.blocks():
        there = np.flatnonzero(block.split == TEST)
        found.append((block.first + there, block.chrom[there], block.position[there]))
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def _gathered(blocks, rows: np.ndarray, width: int, dtype) -> np.ndarray:
    """The given rows (sorted) out of blocks (first row, values): (rows, width)."""
    kept = np.empty((len(rows), width), dtype=dtype)
    for first, values in blocks:
        low, high = np.searchsorted(rows, (first, first + len(values)))
        kept[low:high] = values[rows[low:high] - first]
    return kept


def _annotated(path, rows: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Annotation to (rows,) bool, from a Parquet file of `site` and a bool column per annotation; EVERYWHERE first."""
    inside = {EVERYWHERE: np.ones(len(rows), dtype=bool)}
    if path is not None:
        with naming_damage(path):
            table = pq.read_table(path, page_checksum_verification=True)
        if table.num_rows != n:
            raise InputError(f"{path} does not belong to these sites ({table.num_rows:,} of {n:,}): {REMEDY}")
        for name in table.column_names:
            if name != "site":
                inside[name] = table.column(name).to_numpy()[rows].astype(bool)
    return inside


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over cells (axis 0) of those that have a value; NaN where none has."""
    there = ~np.isnan(values)
    return divided(np.where(there, values, 0).sum(axis=0), there.sum(axis=0))


def score_all(sites_path, predictions: dict[str, str], annotations_path, seed: int) -> Scored:
    """Scores of all models' predictions of the test sites, over all and within each annotation.

    predictions: model to its file, in the order wanted. annotations_path: Parquet with `site` and a bool column per
    annotation, or None. Intervals are for the mean over cells, by a bootstrap over blocks (see `blocks_of`), not over
    sites: neighbouring sites share regions, reads and windows, so that single sites drawn anew would look far surer
    than they are. Every model and cell is scored on the same draws, so that differences are paired. The cells are
    taken as given: an interval says how the result would vary with other stretches of these cells' genome, not with
    other cells. Memory holds the test sites of CELLS_AT_ONCE cells.

    Raises InputError where no test site is observed, or a file does not belong to the sites.
    """
    sites = Sites(sites_path)
    rows, chrom, position = test_rows(sites)
    inside = _annotated(annotations_path, rows, sites.n)
    block = blocks_of(chrom, position)
    n_blocks = int(block[-1]) + 1 if len(block) else 0
    weights = _weights(n_blocks, seed) if n_blocks else None
    records, draws = [], {}
    pooled = {model: Pooled(n_blocks) for model in predictions}
    progress = Progress(len(sites.cells), "cells scored")
    for first in range(0, len(sites.cells), CELLS_AT_ONCE):
        cells = sites.cells[first : first + CELLS_AT_ONCE]
        columns = slice(first, first + len(cells))
        targets = _gathered(((one.first, one.states[:, columns]) for one in sites.blocks()), rows, len(cells), np.int8)
        for model, path in predictions.items():
            values = _gathered(prediction_blocks(path, cells, sites.n), rows, len(cells), np.float32)
            for (name, there), (at, cell) in ((a, c) for a in inside.items() for c in enumerate(cells)):
                one = np.flatnonzero(there & (targets[:, at] >= 0))
                found = one_cell(targets[one, at], values[one, at])
                n = found.pop("n")
                if name == EVERYWHERE:
                    pooled[model].add(targets[one, at], values[one, at], block[one])
                records += [(model, cell, name, metric, value, n) for metric, value in found.items()]
                if n_blocks >= FEWEST_BLOCKS:
                    drawn = draw_scores(targets[one, at], values[one, at], block[one], weights)
                    for metric, value in drawn.items():
                        draws.setdefault((model, name, metric), []).append(value.astype(np.float32))
        progress.step(len(cells))
    scores = pd.DataFrame(records, columns=["model", "cell", "annotation", "metric", "value", "n"])
    if not len(scores) or not scores["n"].any():
        raise InputError(
            "single_cell.split: no site on the test chromosomes is observed in any cell: choose test chromosomes that "
            "the profiles cover"
        )
    order = {name: [*values] for name, values in (("model", predictions), ("annotation", inside))}
    order |= {"cell": sites.cells, "metric": list(METRICS)}
    by = ["model", "annotation", "cell", "metric"]
    scores = scores.sort_values(by, key=lambda column: column.map(order[column.name].index), ignore_index=True)
    together = {
        model: (one.value(), one.draws(weights) if n_blocks >= FEWEST_BLOCKS else None, int(one.fine.sum()))
        for model, one in pooled.items()
    }
    return Scored(scores, {key: _mean(np.stack(values)) for key, values in draws.items()}, n_blocks, together)


def _around(value: float, draws: np.ndarray | None) -> np.ndarray:
    """The draws that have a value, moved so that their mean is `value`; none where there are too few blocks.

    A draw holds some blocks several times, and with them pairs of sites of one block, whose AUC is another than that of
    sites far apart: with few blocks, draws are off as a whole.
    """
    if draws is None or np.isnan(value):
        return np.zeros(0)
    known = draws[~np.isnan(draws)]
    return known - known.mean() + value if len(known) else known


def _interval(around: np.ndarray, least: float = -np.inf, most: float = np.inf) -> tuple[float, float]:
    """The middle 95 %, within what is possible."""
    if not len(around):
        return np.nan, np.nan
    return tuple(float(value) for value in np.clip(np.quantile(around, [0.025, 0.975]), least, most))


def label_of(metric: str, annotation: str) -> str:
    """`auc`, or `auc_in_islands` within an annotation."""
    return metric if annotation == EVERYWHERE else f"{metric}_in_{annotation}"


def summarise(scored: Scored) -> pd.DataFrame:
    """model, metric (see `label_of`), value (mean over the cells that have one), ci_low, ci_high, n (states scored).

    Behind them POOLED of each model. The interval holds the middle 95 % of the draws around the value; NaN below
    FEWEST_BLOCKS blocks.
    """
    rows = []
    for (model, annotation, metric), some in scored.scores.groupby(["model", "annotation", "metric"], sort=False):
        value, there = float(some["value"].mean()), some["value"].notna()
        draws = scored.draws.get((model, annotation, metric))
        ends = _interval(_around(value, draws), -1.0 if metric == "mcc" else 0.0, 1.0)
        rows.append((model, label_of(metric, annotation), value, *ends, int(some["n"][there].sum())))
    for model, (value, draws, n) in scored.pooled.items():
        rows.append((model, POOLED, value, *_interval(_around(value, draws), 0.0, 1.0), n))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def compare(scored: Scored) -> pd.DataFrame:
    """Every pair of models over all test sites: model, other, metric, difference, ci_low, ci_high, p, p_holm.

    difference: of the means over cells; its interval is that of the paired draws, and p is twice the share of draws on
    the other side of 0 (so that p < 0.05 and an interval without 0 mean the same; the least is 2 / (1 + DRAWS)).
    p_holm: after Holm's correction over the pairs within a metric.
    """
    everywhere = scored.scores[scored.scores["annotation"] == EVERYWHERE]
    means = everywhere.groupby(["metric", "model"], sort=False)["value"].mean()
    pairs = list(itertools.combinations(pd.unique(everywhere["model"]), 2))
    parts = []
    for metric in METRICS:
        records = []
        for model, other in pairs:
            difference = float(means[metric, model] - means[metric, other])
            drawn = [scored.draws.get((name, "all", metric)) for name in (model, other)]
            around = _around(difference, None if drawn[0] is None else drawn[0] - drawn[1])
            low, high = _interval(around)
            sides = (1 + (around <= 0).sum(), 1 + (around >= 0).sum())
            p = min(1.0, 2 * min(sides) / (1 + len(around))) if len(around) else np.nan
            records.append((model, other, metric, difference, low, high, p))
        part = pd.DataFrame(records, columns=["model", "other", "metric", "difference", "ci_low", "ci_high", "p"])
        part["p_holm"] = holm(part["p"])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)

"""The truth of a simulation: how far predictions are from it, and what the true probabilities would score."""

import pathlib
import tempfile

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError
from cpgtaxa.files import REMEDY, naming_damage
from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.targets.single_cell.counts import predicted_blocks
from cpgtaxa.targets.single_cell.metrics import DRAWS, FEWEST_BLOCKS, TEST, blocks_of, score_all, summarise, test_rows
from cpgtaxa.targets.single_cell.tables import Sites, predictions_writer

TRUE, RATE = "true_probability", "cell_rate"
"""Rows of the summary that are no model: the truth of a simulation, and each cell's mean."""


class Truth:
    """True probabilities of a simulation: `truth(block)` is (sites of the block, cells) float32."""

    def __init__(self, path, sites: Sites):
        columns = [f"p_{number}" for number in range(1, len(sites.cells) + 1)]
        with naming_damage(path):
            frame = pd.read_csv(path, dtype={"chrom": str, **dict.fromkeys(columns, np.float32)})
            self._by_chrom = {
                sites.chroms.index(chrom): (some["position"].to_numpy(), some[columns].to_numpy())
                for chrom, some in frame.groupby("chrom", sort=False)
                if chrom in sites.chroms
            }
        self._path = path

    def __call__(self, block) -> np.ndarray:
        found = np.empty(block.states.shape, dtype=np.float32)
        for code in np.unique(block.chrom):
            here = block.chrom == code
            position, values = self._by_chrom.get(int(code), (np.zeros(0), found))
            rows = np.searchsorted(position, block.position[here])
            if (rows == len(position)).any() or (position[rows] != block.position[here]).any():
                raise InputError(f"{self._path} does not belong to these sites: {REMEDY}")
            found[here] = values[rows]
        return found


def write_truth(path, sites: Sites, truth: Truth) -> None:
    """The true probabilities in the form of a file of predictions, to be scored as one."""
    with predictions_writer(path, sites.cells) as write:
        for block in sites.blocks():
            write(block.first, truth(block))


def _cell_rates(sites: Sites) -> np.ndarray:
    """Share of each cell's observed sites that are methylated, of those not to be tested on; one half without any."""
    seen, methylated = np.zeros((2, len(sites.cells)))
    for block in sites.blocks():
        states = block.states[block.split != TEST]
        seen, methylated = seen + (states >= 0).sum(axis=0), methylated + (states == 1).sum(axis=0)
    return np.where(seen > 0, methylated / np.maximum(seen, 1), 0.5).astype(np.float32)


def error_rows(sites: Sites, truth: Truth, predictions: dict[str, str], seed: int) -> pd.DataFrame:
    """`error_of_unobserved` as rows of SUMMARY_COLUMNS, of each model and of each cell's mean rate.

    The absolute difference of predicted and true probability at test sites that the cell does not observe, mean over
    these, then over cells. Intervals as in `metrics`: from draws of blocks of the genome.
    """
    rows, *places = test_rows(sites)
    number = blocks_of(*places)
    n_blocks = int(number[-1]) + 1 if len(number) else 0
    rates = _cell_rates(sites)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), DRAWS) if n_blocks >= FEWEST_BLOCKS else None
    records = []
    for model in [*predictions, RATE]:
        total, count = np.zeros((2, len(sites.cells), n_blocks))
        for block, predicted in predicted_blocks(sites, predictions.get(model), rates):
            there = block.split == TEST
            low, high = np.searchsorted(rows, (block.first, block.first + len(there)))
            error = np.abs(predicted - truth(block))[there]
            unobserved = block.states[there] < 0
            for cell in range(len(sites.cells)):
                at = number[low:high][unobserved[:, cell]]
                total[cell] += np.bincount(at, error[unobserved[:, cell], cell], n_blocks)
                count[cell] += np.bincount(at, minlength=n_blocks)
        value = float(_mean_over_cells(total.sum(axis=1)[None], count.sum(axis=1)[None])[0])
        limits = np.nan, np.nan
        if drawn is not None:
            limits = np.nanquantile(_mean_over_cells(drawn @ total.T, drawn @ count.T), [0.025, 0.975])
        records.append((model, "error_of_unobserved", value, *limits, int(count.sum())))
    return pd.DataFrame(records, columns=SUMMARY_COLUMNS)


def _mean_over_cells(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total, count (draws, cells): means of cells that have any, averaged; NaN where none has."""
    there = count > 0
    means = np.divide(total, count, out=np.zeros_like(total, dtype=float), where=there)
    return np.divide(means.sum(axis=1), there.sum(axis=1), out=np.full(len(total), np.nan), where=there.any(axis=1))


def true_summary(sites: Sites, truth: Truth, inputs: dict, beside, seed: int) -> pd.DataFrame:
    """Scores that the true probabilities reach on the same test sites: nothing can be expected to do better."""
    folder = pathlib.Path(beside).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".truth.", suffix=".partial") as temporary:
        path = pathlib.Path(temporary) / "truth.parquet"
        write_truth(path, sites, truth)
        return summarise(score_all(inputs["sites"], {TRUE: path}, inputs["annotations"], seed))

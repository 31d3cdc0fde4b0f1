"""Which bins of which mark a trained network looks at: what it says without them."""

import logging

import numpy as np
import pandas as pd

from cpgtaxa.files import write_parquet
from cpgtaxa.learning.loop import use_threads
from cpgtaxa.progress import Progress
from cpgtaxa.seeds import unit_seed
from cpgtaxa.targets.histone.networks import Predictor, load_network
from cpgtaxa.targets.histone.study import open_cells, parts_of


def occluded(predict, counts: np.ndarray, width: int) -> pd.DataFrame:
    """What a prediction loses or gains without a few bins of one mark.

    predict: (n, bins, marks) counts to (n,) probabilities. Each run of `width` bins of each mark in turn is set to no
    counts at all, before anything is made of the counts. Columns mark (number), bin_from, bin_to (from 1, both
    within), change (mean absolute change of the probability over the genes), signed (mean probability with the bins
    less that without: above 0 the bins speak for high expression).
    """
    n, bins, marks = counts.shape
    whole = predict(counts)
    rows = []
    progress = Progress(marks * -(-bins // width), "runs of bins left out")
    for mark in range(marks):
        for start in range(0, bins, width):
            stop = min(start + width, bins)
            touched = counts[:, start:stop, mark].any(axis=1)
            change = np.zeros(n)
            if touched.any():  # where there is nothing, nothing is taken away
                without = counts[touched]
                without[:, start:stop, mark] = 0
                change[touched] = whole[touched].astype(np.float64) - predict(without)
            rows.append((mark, start + 1, stop, float(np.abs(change).mean()), float(change.mean())))
            progress.step()
    return pd.DataFrame(rows, columns=["mark", "bin_from", "bin_to", "change", "signed"])


def occlude(paths, weights, out, *, unit: str, network: str, settings: dict, seed: int) -> None:
    """Map what a network of a unit looks at, over test genes drawn at random.

    settings: `bins` (width of what is left out), `genes` (at most so many, of all cell types of the unit together),
    `device`, `precision`, `threads`. out: Parquet as of `occluded`, with the marks' names, and genes.
    """
    use_threads(settings["threads"])
    cells = open_cells(paths)
    part = parts_of(cells, unit, seed)["test"].some(settings["genes"], unit_seed(seed, unit, "occlusion"))
    counts = np.concatenate([cell.take(part.rows[part.which == number]) for number, cell in enumerate(cells)])
    module = load_network(weights, network, cells[0])
    # In float32 wherever it runs: one bin may move a probability by less than bfloat16 resolves.
    predictor = Predictor(network, module, settings["device"], "float32")
    table = occluded(predictor, counts, settings["bins"])
    table["mark"] = np.array(cells[0].marks, dtype=object)[table["mark"]]
    write_parquet(out, table.assign(genes=len(counts)))
    top = table.loc[table["change"].idxmax()]
    logging.info(f"{network} on {unit}: most by {top['mark']} in bins {top['bin_from']} to {top['bin_to']}")

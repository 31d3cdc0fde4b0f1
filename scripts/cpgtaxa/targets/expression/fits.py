"""One job's part of the genes: read, cross-fitted with one model in one window, written with all predictions."""

import logging
import time

import numpy as np
import pandas as pd

from cpgtaxa.files import write_parquet
from cpgtaxa.progress import Progress
from cpgtaxa.targets.expression.registry import create_regressor
from cpgtaxa.targets.expression.study import Study

TOGETHER = 16
"""Most genes handed to a model at once: networks of alike genes are trained together."""


def _pieces(rows: np.ndarray, width: np.ndarray, most: int):
    """Consecutive rows, at most TOGETHER and of about `most` CpGs, at least one."""
    start = 0
    while start < len(rows):
        stop = start + max(1, int((np.cumsum(width[start : start + TOGETHER]) <= most).sum()))
        yield rows[start:stop]
        start = stop


def fit_shard(paths: dict, out, *, model: str, window: str, shard: int, shards: int, settings: dict, seed: int) -> None:
    """Cross-fit `model` on one shard's genes.

    paths: `methylation`, `expression`, `genes`, `samples`. settings: `folds`; of networks also `recipe`, `epochs`,
    `device`, `precision`. out: Parquet with gene, n_cpgs, prediction (list of float32, one per sample), attribution
    (list of float32, one per CpG in the order of positions; empty where the model has none), epochs, seconds (a
    gene's share of the time).
    """
    study = Study(**paths, k=settings["folds"], seed=seed)
    regressor = create_regressor(model, settings)
    rows = study.shard(shard, shards, window)
    width = study.width(window)[rows]
    work = width + 20.0
    progress = Progress(float(work.sum()), f"genes ({model}, {window})", items=len(rows))
    found = []
    for piece in _pieces(rows, width, regressor.cpgs_together):
        start = len(found)
        begin = time.monotonic()
        genes = [study.gene(row, window) for row in piece]
        for row, gene, result in zip(piece, genes, regressor.cross_fit(genes, study.folds, study.inner), strict=True):
            turned = study.genes["strand"].iloc[row] == "-"
            found.append(
                {
                    "gene": gene.name,
                    "n_cpgs": gene.x.shape[1],
                    "prediction": result.prediction,
                    "attribution": result.attribution[::-1] if turned else result.attribution,
                    "epochs": result.epochs,
                }
            )
        for one in found[start:]:
            one["seconds"] = (time.monotonic() - begin) / len(piece)
        progress.step(float(work[start : len(found)].sum()), len(piece))
    columns = ["gene", "n_cpgs", "prediction", "attribution", "epochs", "seconds"]
    frame = pd.DataFrame(found, columns=columns)
    types = {"gene": "str", "n_cpgs": "int64", "epochs": "float64", "seconds": "float64"}
    write_parquet(out, frame.astype(types))
    logging.info(f"{len(frame):,} genes fitted with {model} within {window}")

"""Peers of the networks from scikit-learn, on the same bins and the same genes."""

import logging

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cpgtaxa.files import write_parquet
from cpgtaxa.progress import Progress
from cpgtaxa.seeds import unit_seed
from cpgtaxa.statistics.areas import auc
from cpgtaxa.targets.histone.cells import Cell, gather, labels_of
from cpgtaxa.targets.histone.study import Part, open_cells, parts_of, predictions

PENALTIES = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
TREES = 300
AT_ONCE = 4096
"""Genes predicted at once."""


def _logistic(x, y, valid_x, valid_y, seed: int):
    """L2-penalised, on standardised logarithms of 1 + count; the penalty by the AUC of the validation genes."""
    best = None
    for penalty in Progress(len(PENALTIES), "penalties tried").over(PENALTIES):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000))
        model.fit(np.log1p(x.reshape(len(x), -1)), y)
        area = auc(model.decision_function(np.log1p(valid_x.reshape(len(valid_x), -1))), valid_y == 1)
        if best is None or area > best[0]:
            best = area, model, penalty
    logging.info(f"penalty C {best[2]:g} (AUC of the validation genes {best[0]:.3f})")
    return lambda counts: best[1].predict_proba(np.log1p(counts.reshape(len(counts), -1)))[:, 1]


def _forest(x, y, valid_x, valid_y, seed: int):
    """TREES trees on the counts, else scikit-learn's defaults."""
    logging.info(f"{TREES} trees are grown, which show no progress")
    model = RandomForestClassifier(TREES, random_state=seed).fit(x.reshape(len(x), -1), y)
    return lambda counts: model.predict_proba(counts.reshape(len(counts), -1))[:, 1]


def _one_mark(x, y, valid_x, valid_y, seed: int):
    """What a model must beat: the total of the one mark, for or against, that separates the training genes best.

    The total t is given as t / (1 + t), or 1 less that: an order, not a probability.
    """
    areas = [auc(totals, y == 1) for totals in x.sum(axis=1).T]
    mark = int(np.argmax(np.abs(np.array(areas) - 0.5)))
    against = areas[mark] < 0.5
    logging.info(f"mark {mark + 1}: AUC of the training genes {areas[mark]:.3f}")

    def predict(counts: np.ndarray) -> np.ndarray:
        share = counts[:, :, mark].sum(axis=1, dtype=np.float64)
        share = share / (1 + share)
        return 1 - share if against else share

    return predict


FITS = {"LogisticRegression": _logistic, "RandomForest": _forest, "OneMark": _one_mark}


def fit_peer(paths, out, *, unit: str, peer: str, most: int, seed: int) -> None:
    """Fit a peer to the genes of a unit and predict its test genes.

    paths: `Cell` files of the unit; most: training genes, drawn at random where there are more. out: Parquet with cell,
    gene, label, probability (float64).
    """
    cells = open_cells(paths)
    parts = parts_of(cells, unit, seed)
    seed = unit_seed(seed, unit, peer)
    train, valid = (parts[split].some(most, seed) for split in ("train", "valid"))
    logging.info(f"{peer} on {unit}: {len(train):,} of {len(parts['train']):,} training genes")
    given = [array for part in (train, valid) for array in _arrays(cells, part)]
    predict = FITS[peer](*given, seed)
    table = predictions(cells, parts["test"], predict, AT_ONCE)
    write_parquet(out, table)
    score = auc(table["probability"].to_numpy(), table["label"].to_numpy() == 1)
    logging.info(f"{peer} on {unit}: AUC {score:.3f} over {len(table):,} test genes")


def _arrays(cells: list[Cell], part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Counts (n, bins, marks) and labels (n,) of a part."""
    return gather(cells, part.which, part.rows), labels_of(cells, part.which, part.rows)

"""The models that predict a gene's expression, by name.

A model takes some genes and the folds, and gives for each gene what it predicts for every sample: for those trained on,
the model of the fold they were held out in; for all others the mean over the folds' models. Another model is a class
with the method `cross_fit` in a file of its own, and a line in `regressors`.
"""

import dataclasses

import numpy as np

from cpgtaxa.targets.expression.folds import Fold, Gene, Scale


@dataclasses.dataclass
class Result:
    """What a model says of a gene. prediction (n,) float32, in units of expression; NaN where no fold may say.

    attribution (CpGs,) float32: how much each CpG moves the prediction, to compare within a gene and model; empty
    where a model has none. Of networks and linear models it is in standard deviations of expression, on average over
    samples not trained on (of the published loop: over all, in units of expression); of forests, their importances.
    epochs: mean over the folds, 0 where there are none.
    """

    prediction: np.ndarray
    attribution: np.ndarray
    epochs: float = 0.0


class Gathered:
    """Predictions of the folds' models put together for one gene."""

    def __init__(self, gene: Gene, folds: list[Fold]):
        n = len(gene.y)
        self.held_out = np.zeros(n, dtype=bool)
        for fold in folds:
            self.held_out[fold.test] = True
        self.sum, self.count = np.zeros(n), np.zeros(n)

    def add(self, fold: Fold, prediction: np.ndarray) -> None:
        """One fold's predictions (n,) for all samples; those it may not speak of are ignored."""
        rows = np.where(self.held_out, False, fold.may)
        rows[fold.test] = True
        self.sum[rows] += prediction[rows]
        self.count[rows] += 1

    def prediction(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return (self.sum / np.where(self.count > 0, self.count, np.nan)).astype(np.float32)


CPGS_TOGETHER = 1000
"""CpGs of the genes handed to a model at once, so that progress shows: a wide gene's networks take minutes."""


class FoldByFold:
    """A model that is fitted one fold of one gene after the other. Subclasses have `fit`."""

    cpgs_together = CPGS_TOGETHER

    def __init__(self, settings: dict):
        self.settings = settings

    def fit(self, x: np.ndarray, y: np.ndarray, inner: list, seed: int):
        """From standardised x (k, CpGs) and y (k,): predict(x) and effect(x), the latter (CpGs,) or None.

        inner: splits of the k rows for what the model has to choose.
        """
        raise NotImplementedError

    def cross_fit(self, genes: list[Gene], folds: list[Fold], inner: list[list]):
        """Yield a Result for each gene. inner: for each fold, splits of its training rows."""
        for gene in genes:
            gathered, effects = Gathered(gene, folds), []
            for fold, splits in zip(folds, inner, strict=True):
                scale = Scale(gene.x, gene.y, fold.train)
                x = scale.x(gene.x)
                predict, effect = self.fit(x[fold.train], scale.y(gene.y[fold.train]), splits, gene.seed + fold.seed)
                gathered.add(fold, scale.back(predict(x)))
                if effect is not None:
                    effects.append(effect(x[fold.test]))
            mean = np.mean(effects, axis=0) if effects else np.empty(0)
            yield Result(gathered.prediction(), mean.astype(np.float32))

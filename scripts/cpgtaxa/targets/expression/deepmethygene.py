"""DeepMethyGene: AdaptiveRegressionCNN of each gene, honestly cross-validated, and the loop as published."""

import dataclasses

import numpy as np
import torch
from captum.attr import InputXGradient

from cpgtaxa.learning.devices import choose_device, use_bfloat16
from cpgtaxa.targets.expression.batched import RECIPES, Fit, new_network, train
from cpgtaxa.targets.expression.folds import Scale
from cpgtaxa.targets.expression.regressors import CPGS_TOGETHER, Gathered, Result


def _device(settings: dict) -> tuple[str, bool]:
    """Where to train, and whether in bfloat16."""
    device = choose_device(settings["device"])
    return "cuda" if device == "gpu" else "cpu", use_bfloat16(settings["precision"], device)


@torch.no_grad()
def _predict(network: torch.nn.Module, x: np.ndarray, device: str) -> np.ndarray:
    """(n,) from (n, CpGs)."""
    network.to(device).eval()
    return network(torch.from_numpy(x).unsqueeze(1).to(device))[:, 0].cpu().numpy()


def _effect(network: torch.nn.Module, x: np.ndarray, device: str) -> np.ndarray:
    """Mean over samples of |input times gradient| of each CpG: (CpGs,). Leaky ReLUs are nearly linear."""
    given = torch.from_numpy(x).unsqueeze(1).to(device).requires_grad_()
    effect = InputXGradient(network.to(device)).attribute(given).detach().abs().mean(dim=(0, 1)).cpu().numpy()
    network.cpu()
    return effect


class DeepMethyGene:
    """A fresh network per fold, the best epoch's weights by samples held out of the training ones."""

    def __init__(self, settings: dict):
        self.recipe = RECIPES[settings["recipe"]]
        if settings["epochs"]:
            self.recipe = dataclasses.replace(self.recipe, epochs=settings["epochs"])
        self.device, self.bfloat16 = _device(settings)
        self.cpgs_together = CPGS_TOGETHER * (1 if self.device == "cpu" else 10)

    def cross_fit(self, genes, folds, inner):
        """Yield a Result for each gene; all networks of the genes given are trained together."""
        fits, scales = [], []
        for gene in genes:
            for fold in folds:
                scale = Scale(gene.x, gene.y, fold.train)
                scales.append(scale)
                network = new_network(gene.x.shape[1], gene.seed + fold.seed)
                seed = gene.seed + fold.seed
                y = np.nan_to_num(scale.y(gene.y))  # unknown ones are in no row that is read
                fits.append(Fit(network, scale.x(gene.x), y, fold.fit, fold.stop, seed))
        train(fits, self.recipe, device=self.device, bfloat16=self.bfloat16)
        at = iter(zip(fits, scales, strict=True))
        for gene in genes:
            gathered, effects, epochs = Gathered(gene, folds), [], []
            for fold in folds:
                fit, scale = next(at)
                gathered.add(fold, scale.back(_predict(fit.network, fit.x, self.device)))
                effects.append(_effect(fit.network, fit.x[fold.test], self.device))
                epochs.append(fit.epochs)
            yield Result(gathered.prediction(), np.mean(effects, axis=0, dtype=np.float32), float(np.mean(epochs)))


class DeepMethyGenePublished:
    """The loop as published, to see what its leaks are worth.

    One network goes through all folds, so that later folds are scored on samples it has learnt; each fold stops early
    by the samples it is scored on; the weights kept as the best are a live reference to the last ones. M-values and
    expression as they are, all samples in one batch.
    """

    def __init__(self, settings: dict):
        self.recipe = dataclasses.replace(RECIPES["published"], restore=False)
        if settings["epochs"]:
            self.recipe = dataclasses.replace(self.recipe, epochs=settings["epochs"])
        self.device, self.bfloat16 = _device(settings)
        self.cpgs_together = CPGS_TOGETHER * (1 if self.device == "cpu" else 10)

    def cross_fit(self, genes, folds, inner):
        """Yield a Result for each gene."""
        filled = []
        for gene in genes:
            mean = np.nanmean(gene.x[folds[0].train], axis=0)
            filled.append(np.where(np.isnan(gene.x), np.nan_to_num(mean), gene.x).astype(np.float32))
        fits = [
            Fit(new_network(x.shape[1], gene.seed), x, np.nan_to_num(gene.y), folds[0].train, folds[0].test, gene.seed)
            for gene, x in zip(genes, filled, strict=True)
        ]
        gathered = [Gathered(gene, folds) for gene in genes]
        epochs = np.zeros(len(genes))
        for fold in folds:
            for fit in fits:
                fit.rows, fit.stop = fold.train, fold.test
            train(fits, self.recipe, device=self.device, bfloat16=self.bfloat16)
            for number, fit in enumerate(fits):
                gathered[number].add(fold, _predict(fit.network, fit.x, self.device))
                epochs[number] += fit.epochs / len(folds)
        for number, fit in enumerate(fits):
            yield Result(gathered[number].prediction(), _effect(fit.network, fit.x, self.device), float(epochs[number]))

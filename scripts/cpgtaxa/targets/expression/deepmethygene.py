"""DeepMethyGene: AdaptiveRegressionCNN of each gene, honestly cross-validated, and the loop as published."""

import dataclasses

import numpy as np
import torch
from captum.attr import InputXGradient
from sklearn.linear_model import RidgeCV

from cpgtaxa.learning.devices import placed
from cpgtaxa.targets.expression.batched import RECIPES, Fit, new_network, train
from cpgtaxa.targets.expression.folds import Fold, Scale
from cpgtaxa.targets.expression.peers import PENALTIES
from cpgtaxa.targets.expression.regressors import CPGS_TOGETHER, Gathered, Result


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
        self.device, self.bfloat16 = placed(settings["device"], settings["precision"])
        self.cpgs_together = CPGS_TOGETHER * (1 if self.device == "cpu" else 10)

    def cross_fit(self, genes, folds, inner):
        """Yield a Result for each gene; all networks of the genes given are trained together."""
        fits, scales = [], []
        for gene in genes:
            for fold in folds:
                scale = Scale(gene.x, gene.y, fold.train)
                scales.append(scale)
                seed = gene.seed + fold.seed
                y = np.nan_to_num(scale.y(gene.y))  # unknown ones are in no row that is read
                fits.append(self._fit(new_network(gene.x.shape[1], seed), scale.x(gene.x), y, fold, seed))
        train(fits, self.recipe, device=self.device, bfloat16=self.bfloat16)
        at = iter(zip(fits, scales, strict=True))
        for gene in genes:
            gathered, effects, epochs = Gathered(gene, folds), [], []
            for fold in folds:
                fit, scale = next(at)
                network = self._trained(fit)
                gathered.add(fold, scale.back(_predict(network, fit.x, self.device)))
                effects.append(_effect(network, fit.x[fold.test], self.device))
                epochs.append(fit.epochs)
            yield Result(gathered.prediction(), np.mean(effects, axis=0, dtype=np.float32), float(np.mean(epochs)))

    def _fit(self, network: torch.nn.Module, x: np.ndarray, y: np.ndarray, fold: Fold, seed: int) -> Fit:
        """What is trained of a fold: x (n, CpGs), y (n,) standardised."""
        return Fit(network, x, y, fold.fit, fold.stop, seed)

    def _trained(self, fit: Fit) -> torch.nn.Module:
        """What predicts standardised expression, once the fit is over."""
        return fit.network


@dataclasses.dataclass
class _OnRidge(Fit):
    """A fit to the errors of `linear`."""

    linear: torch.nn.Linear | None = None


class _Sum(torch.nn.Module):
    """(n, 1, CpGs) to (n, 1): a linear model, and a share of what a network adds."""

    def __init__(self, linear: torch.nn.Linear, network: torch.nn.Module, share: float):
        super().__init__()
        self.linear, self.network, self.share = linear, network, share

    def forward(self, x):
        found = self.linear(x.squeeze(1))
        return found + self.share * self.network(x) if self.share else found


class DeepMethyGeneOnRidge(DeepMethyGene):
    """Repaired: ridge, and the network of DeepMethyGene on what ridge leaves, as far as it has proved itself.

    The published network learns even a straight line from five sixths of the samples, by steps that few samples must
    stop. Here ridge takes that line from all training samples of the fold; the network is trained on their errors when
    left out (leave-one-out), and stops early as before. It has its say only where it lowers the error of the samples
    that stop it by more than one standard error, and no more of it than is best there.
    """

    def _fit(self, network, x, y, fold, seed):
        linear, left = _ridge(x[fold.train], y[fold.train])
        errors = np.zeros_like(y)
        errors[fold.train] = left
        return _OnRidge(network, x, errors, fold.fit, fold.stop, seed, linear=linear)

    def _trained(self, fit):
        says = _predict(fit.network, fit.x[fit.stop], self.device)
        return _Sum(fit.linear, fit.network, share_of(says, fit.y[fit.stop]))


def share_of(says: np.ndarray, errors: np.ndarray) -> float:
    """How much of a network's say (n,) lowers squared errors (n,) most, 0 to 1; 0 where not by a standard error."""
    share = float(np.clip(says @ errors / max(says @ says, 1e-12), 0, 1))
    gain = errors**2 - (errors - share * says) ** 2
    return share if len(gain) > 1 and gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)) else 0.0


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[torch.nn.Linear, np.ndarray]:
    """Ridge of x (k, CpGs) and y (k,), the penalty by leave-one-out, as a layer; and what it misses each sample by
    when fitted to the others, (k,)."""
    model = RidgeCV(PENALTIES).fit(x, y)
    centred = (x - x.mean(axis=0)).astype(np.float64)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    leverage = 1 / len(y) + (left**2) @ (values**2 / (values**2 + model.alpha_))
    layer = torch.nn.Linear(x.shape[1], 1)
    layer.weight.data = torch.tensor(model.coef_, dtype=torch.float32)[None]
    layer.bias.data = torch.tensor([model.intercept_], dtype=torch.float32)
    return layer.requires_grad_(False), (y - model.predict(x)) / (1 - leverage)


class DeepMethyGenePublished(DeepMethyGene):
    """The loop as published, to see what its leaks are worth.

    One network goes through all folds, so that later folds are scored on samples it has learnt; each fold stops early
    by the samples it is scored on; the weights kept as the best are a live reference to the last ones. M-values and
    expression as they are, all samples in one batch.
    """

    def __init__(self, settings: dict):
        super().__init__(settings | {"recipe": "published"})
        self.recipe = dataclasses.replace(self.recipe, restore=False)

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

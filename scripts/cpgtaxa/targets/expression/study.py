"""The checked input of the target `expression`, and its folds."""

import hashlib

import numpy as np
from sklearn.model_selection import GroupKFold

from cpgtaxa.cohort import Cohort
from cpgtaxa.files import read_parquet
from cpgtaxa.targets.expression.folds import Fold, Gene, folds, m_values
from cpgtaxa.targets.expression.plan import TRAIN

TAXA_COLUMNS = ("gene", "taxon", "n_cpgs", "r2", "r2_random", "distance", "distance_random")
"""Of fits by taxon."""
INNER = 5
"""Folds inside a fold, for models that choose a penalty."""


class Study:
    """The checked input: all samples' methylation and expression, and the folds."""

    def __init__(self, methylation, expression, genes, samples, k: int, seed: int):
        """Paths as `inputs.prepare` writes them; k folds."""
        self.cohort = Cohort(methylation)
        self.genes = read_parquet(genes)
        self.samples = read_parquet(samples)
        self.expression = read_parquet(expression)
        self.trained = (self.samples["set"] == TRAIN).to_numpy()
        self.person = self.samples["person"].to_numpy(dtype=object)
        self.folds: list[Fold] = folds(self.trained, self.person, k, seed)
        self.inner = [self._inner(fold, seed) for fold in self.folds]
        self.seed = seed

    def _inner(self, fold: Fold, seed: int) -> list:
        people = self.person[fold.train]
        k = min(INNER, len(np.unique(people)))
        splitter = GroupKFold(k, shuffle=True, random_state=seed)
        return list(splitter.split(fold.train, groups=people))

    def width(self, window: str) -> np.ndarray:
        """CpGs of each gene in a window, (genes,)."""
        return (self.genes[f"last_{window}"] - self.genes[f"first_{window}"]).to_numpy()

    def shard(self, shard: int, shards: int, window: str) -> np.ndarray:
        """Rows of this shard's genes that have CpGs in the window, ordered by how many.

        Dealt out in turn by the number of CpGs, so that shards take equally long.
        """
        width = self.width(window)
        order = np.argsort(width, kind="stable")
        return order[shard::shards][width[order[shard::shards]] > 0]

    def gene(self, row: int, window: str, indices: np.ndarray | None = None) -> Gene:
        """A gene with the CpGs of a window, or those of some indices in the cohort; upstream first.

        Its seed depends on its name alone: neither shards nor other genes change what a model makes of it.
        """
        found = self.genes.iloc[row]
        if indices is None:
            beta = self.cohort.read(found[f"first_{window}"], found[f"last_{window}"])
        else:
            beta = self.cohort.take(indices)
        beta = beta[::-1] if found["strand"] == "-" else beta
        name = found["gene"]
        y = self.expression.iloc[row, 1:].to_numpy(dtype=np.float32)
        return Gene(name, m_values(beta).T, y, self.gene_seed(name))

    def gene_seed(self, name: str) -> int:
        """What a gene's random numbers start from."""
        return int.from_bytes(hashlib.sha256(f"{self.seed} {name}".encode()).digest()[:6], "big")

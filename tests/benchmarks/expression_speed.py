"""Many genes' networks at once against one gene after the other, in one run.

The peer is the published way: a plain loop over genes and folds, all samples in one batch, up to 700 epochs, stopped 90
epochs after the best; with the honest early stop and the best weights kept, so that its scores can be compared. It is
timed beside the same recipe trained together (bfloat16 where wide), and the default recipe. Seconds are per gene
(five folds) on one core.

    taskset -c 0 .venv/bin/python tests/benchmarks/expression_speed.py

Writes expression_speed.csv beside this file: cpgs, samples, genes, implementation, seconds, epochs, r2, faster.
"""

import argparse
import time

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
import torch
from benchmarking import HERE
from cpgtaxa.targets.expression.batched import RECIPES, new_network
from cpgtaxa.targets.expression.deepmethygene import DeepMethyGene
from cpgtaxa.targets.expression.folds import Gene, Scale, folds
from cpgtaxa.targets.expression.regressors import Gathered
from cpgtaxa.targets.expression.scores import determination

SIZES = {24: 16, 60: 8, 110: 4, 200: 2, 640: 1}
"""Genes by their number of CpGs."""
SAMPLES = 240


def genes_of(cpgs: int, number: int, seed: int = 0) -> list[Gene]:
    """Genes with neighbours correlated as in co-methylated blocks; half of the variance from four CpGs."""
    found = []
    for index in range(number):
        rng = np.random.default_rng([seed, cpgs, index])
        distance = np.abs(np.subtract.outer(np.arange(cpgs), np.arange(cpgs)))
        factor = np.linalg.cholesky(np.exp(-distance / 4) + 1e-6 * np.eye(cpgs))
        x = rng.normal(size=(SAMPLES, cpgs)) @ factor.T
        signal = x[:, rng.choice(cpgs, 4, replace=False)] @ rng.normal(size=4)
        y = signal / signal.std() + rng.normal(size=SAMPLES)
        found.append(Gene(f"gene{index}", x.astype(np.float32), y.astype(np.float32), index))
    return found


def one_by_one(genes: list[Gene], parts) -> tuple[list[np.ndarray], float]:
    """The peer: predictions of each gene, and the mean number of epochs."""
    recipe, predictions, epochs = RECIPES["published"], [], []
    for gene in genes:
        gathered = Gathered(gene, parts)
        for fold in parts:
            scale = Scale(gene.x, gene.y, fold.train)
            x, y = torch.from_numpy(scale.x(gene.x)).unsqueeze(1), torch.from_numpy(scale.y(gene.y))
            network = new_network(gene.x.shape[1], gene.seed + fold.seed)
            optimiser = torch.optim.Adam(network.parameters(), lr=recipe.lr)
            best, waited, kept, trained = np.inf, 0, None, 0
            for _ in range(recipe.epochs):
                trained += 1
                network.train()
                optimiser.zero_grad()
                torch.nn.functional.mse_loss(network(x[fold.fit])[:, 0], y[fold.fit]).backward()
                optimiser.step()
                network.eval()
                with torch.no_grad():
                    loss = torch.nn.functional.mse_loss(network(x[fold.stop])[:, 0], y[fold.stop]).item()
                if loss < best:
                    best, waited = loss, 0
                    kept = {name: value.clone() for name, value in network.state_dict().items()}
                else:
                    waited += 1
                    if waited >= recipe.patience:
                        break
            epochs.append(trained)
            network.load_state_dict(kept)
            with torch.no_grad():
                gathered.add(fold, scale.back(network(x)[:, 0].numpy()))
        predictions.append(gathered.prediction())
    return predictions, float(np.mean(epochs))


def together(genes: list[Gene], parts, recipe: str, precision: str) -> tuple[list[np.ndarray], float]:
    settings = {"recipe": recipe, "epochs": None, "device": "cpu", "precision": precision}
    results = list(DeepMethyGene(settings).cross_fit(genes, parts, None))
    return [result.prediction for result in results], float(np.mean([result.epochs for result in results]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    person = np.arange(SAMPLES).astype(str).astype(object)
    parts = folds(np.ones(SAMPLES, dtype=bool), person, 5, 42)
    ways = {
        "one gene at a time, published recipe": lambda genes: one_by_one(genes, parts),
        "together, published recipe": lambda genes: together(genes, parts, "published", "auto"),
        "together, default recipe": lambda genes: together(genes, parts, "fast", "auto"),
    }
    together(genes_of(24, 2), parts, "fast", "auto")  # warm
    rows = []
    for cpgs in arguments.sizes:
        genes = genes_of(cpgs, SIZES.get(cpgs, 1))
        for name, way in ways.items():
            begin = time.perf_counter()
            predictions, epochs = way(genes)
            seconds = (time.perf_counter() - begin) / len(genes)
            r2 = np.mean([determination(gene.y, found) for gene, found in zip(genes, predictions, strict=True)])
            row = {"cpgs": cpgs, "samples": SAMPLES, "genes": len(genes), "implementation": name}
            rows.append(row | {"seconds": round(seconds, 3), "epochs": round(epochs, 1), "r2": round(float(r2), 3)})
            first = next(row for row in rows if row["cpgs"] == cpgs)
            rows[-1]["faster"] = round(first["seconds"] / max(seconds, 1e-9), 1)
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(HERE / "expression_speed.csv", index=False)


if __name__ == "__main__":
    main()

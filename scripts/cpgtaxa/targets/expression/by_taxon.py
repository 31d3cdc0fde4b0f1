"""Do CpGs of one taxon say more of a gene's expression than others as near and as many?"""

import logging

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score

from cpgtaxa.files import read_parquet, write_parquet
from cpgtaxa.input.texts import read_taxa
from cpgtaxa.names import TAXA
from cpgtaxa.progress import Progress
from cpgtaxa.targets.expression.registry import create_regressor
from cpgtaxa.targets.expression.study import TAXA_COLUMNS, Study


def matched(distance: np.ndarray, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """For each chosen CpG another not among them, about as far from the gene; None where too few are left.

    distance (n,) in bases, chosen (n,) bool. Each takes, in random order, one of the five nearest in the logarithm of
    distance that are left.
    """
    left = np.flatnonzero(~chosen)
    if len(left) < chosen.sum():
        return None
    far = np.log10(distance + 100.0)
    found = []
    for one in rng.permutation(np.flatnonzero(chosen)):
        near = np.argsort(np.abs(far[left] - far[one]), kind="stable")[:5]
        at = rng.choice(near)
        found.append(left[at])
        left = np.delete(left, at)
    return np.sort(found)


def fit_taxa(paths: dict, cpgs, taxonomy, out, *, shard: int, shards: int, settings: dict, seed: int) -> None:
    """R² of each gene from its CpGs of each taxon alone, and from matched random sets of its other CpGs.

    paths, shard, shards: as in `fits.fit_shard`. cpgs: the CpGs' positions (Parquet). taxonomy: table cpg, taxon.
    settings: `folds`, `window`, `model`, `min_cpgs`, `random_sets`.
    out: Parquet with TAXA_COLUMNS: R² is the coefficient of determination over held-out samples, r2_random its mean
    over the random sets; distances (bases) are medians.
    """
    study = Study(**paths, k=settings["folds"], seed=seed)
    window = settings["window"]
    fixed = {"recipe": "fast", "epochs": None, "device": "cpu", "precision": "float32"}
    regressor = create_regressor(settings["model"], fixed)
    places = read_parquet(cpgs)
    taxa, _ = read_taxa(taxonomy, "expression.taxonomy")
    taxon = places["cpg"].map(dict(zip(taxa["cpg"], taxa["taxon"], strict=True))).fillna("").to_numpy(dtype=object)
    position = places["position"].to_numpy()
    rows = study.shard(shard, shards, window)
    progress = Progress(float(study.width(window)[rows].sum()), "genes by taxon", items=len(rows))
    found = []

    def r2(row: int, indices: np.ndarray) -> float:
        gene = study.gene(row, window, indices)
        result = next(iter(regressor.cross_fit([gene], study.folds, study.inner)))
        return float(r2_score(gene.y[study.trained], result.prediction[study.trained]))

    for row in rows:
        first, last = (int(study.genes[f"{end}_{window}"].iloc[row]) for end in ("first", "last"))
        distance = np.abs(position[first:last] - study.genes["tss"].iloc[row])
        for number, name in enumerate(TAXA):
            chosen = taxon[first:last] == name
            if chosen.sum() < settings["min_cpgs"]:
                continue
            rng = np.random.default_rng([study.gene_seed(study.genes["gene"].iloc[row]), number])
            sets = [matched(distance, chosen, rng) for _ in range(settings["random_sets"])]
            if sets[0] is None:
                continue
            found.append(
                (
                    study.genes["gene"].iloc[row],
                    name,
                    int(chosen.sum()),
                    r2(row, first + np.flatnonzero(chosen)),
                    float(np.mean([r2(row, first + one) for one in sets])),
                    float(np.median(distance[chosen])),
                    float(np.median(np.concatenate([distance[one] for one in sets]))),
                )
            )
        progress.step(float(last - first))
    write_parquet(
        out, pd.DataFrame(found, columns=TAXA_COLUMNS).astype({"gene": "str", "taxon": "str", "n_cpgs": "int64"})
    )
    logging.info(f"{len(found):,} pairs of gene and taxon")

"""How well each gene is predicted, by which model, from how far away; and which model is better than which."""

import itertools

import numpy as np
import pandas as pd

from cpgtaxa.names import SUMMARY_COLUMNS, TAXA
from cpgtaxa.statistics.comparisons import holm, signed_ranks
from cpgtaxa.targets.expression.plan import TRAIN
from cpgtaxa.targets.expression.study import Study

BOOTSTRAPS = 2000
FEWEST = 5
"""Samples from which a correlation is worth a number."""
FIRST, LEAKY = "DeepMethyGene", "DeepMethyGene_published"
"""The model that the page is about, if it is there; and the one whose scores are not honest."""
METRICS = {
    "r2_pearson": "squared Pearson correlation, mean over folds (as published)",
    "r2": "coefficient of determination over all held-out samples",
}


def squared_pearson(y: np.ndarray, predicted: np.ndarray) -> float:
    """Squared Pearson correlation; 0 for a constant prediction, which explains nothing; NaN where y is constant."""
    y, predicted = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (y, predicted))
    if not y @ y > 1e-12:
        return np.nan
    below = (y @ y) * (predicted @ predicted)
    return float((y @ predicted) ** 2 / below) if not below <= 1e-18 else 0.0


def determination(y: np.ndarray, predicted: np.ndarray) -> float:
    """1 - residual sum of squares / total sum of squares; NaN where y is constant."""
    y, predicted = y.astype(np.float64), predicted.astype(np.float64)
    total = ((y - y.mean()) ** 2).sum()
    return float(1 - ((y - predicted) ** 2).sum() / total) if total > 0 else np.nan


def score(study: Study, fitted: pd.DataFrame) -> pd.DataFrame:
    """Scores of fits (rows of `fits.fit_shard`, with model and window): one row per gene, model, window and set.

    Columns gene, model, window, set, n_cpgs, n (samples), r2_pearson, r2, epochs, seconds. In the set trained on, every
    sample was held out; in others, samples whose person no fold left out have no prediction and do not count.
    """
    expression = study.expression.set_index("gene")
    sets = study.samples["set"].to_numpy(dtype=object)
    rows = []
    for one in fitted.itertuples(index=False):
        y, predicted = expression.loc[one.gene].to_numpy(dtype=np.float32), np.asarray(one.prediction)
        there = ~np.isnan(y) & ~np.isnan(predicted)
        for name in pd.unique(sets):
            members = there & (sets == name)
            if members.sum() < FEWEST:
                continue
            if name == "train":
                each = np.array([squared_pearson(y[fold.test], predicted[fold.test]) for fold in study.folds])
                pearson = float(np.nanmean(each)) if not np.isnan(each).all() else np.nan
            else:
                pearson = squared_pearson(y[members], predicted[members])
            rows.append(
                {
                    **{key: getattr(one, key) for key in ("gene", "model", "window")},
                    "set": name,
                    "n_cpgs": one.n_cpgs,
                    "n": int(members.sum()),
                    "r2_pearson": pearson,
                    "r2": determination(y[members], predicted[members]),
                    "epochs": one.epochs,
                    "seconds": one.seconds,
                }
            )
    return pd.DataFrame(rows)


def held_out(scores: pd.DataFrame):
    """Rows of samples held out, in the widest window."""
    return (scores["set"] == TRAIN) & (scores["window"] == scores["window"].iloc[0])


def wide_table(scores: pd.DataFrame, metric: str = "r2") -> pd.DataFrame:
    """Genes by models of the samples held out, in the widest window."""
    some = scores[held_out(scores)]
    models = list(pd.unique(some["model"]))
    return some.pivot(index="gene", columns="model", values=metric)[models].reindex(pd.unique(some["gene"]))


def window_table(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """R² by model and window, for models fitted in several: narrowest window first.

    Columns model, window, n (genes with CpGs there), r2 (mean over these), shared (genes with CpGs in all windows of
    the model), r2_shared, ci_low, ci_high (of r2_shared). A narrow window has no CpG of many genes: only the shared
    ones are the same everywhere.
    """
    rows = []
    for model, some in scores[scores["set"] == TRAIN].groupby("model", sort=False):
        wide = some.pivot(index="gene", columns="window", values="r2")
        if wide.shape[1] < 2:
            continue
        shared = wide.dropna()
        for window in list(pd.unique(some["window"]))[::-1]:
            values = shared[window].to_numpy()
            mean = values.mean() if len(values) else np.nan
            each = wide[window].dropna()
            rows.append((model, window, len(each), each.mean(), len(values), mean, *interval(values, seed)))
    columns = ["model", "window", "n", "r2", "shared", "r2_shared", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over genes."""
    if len(values) < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(BOOTSTRAPS)]
    return tuple(float(value) for value in np.quantile(means, [0.025, 0.975]))


def summarise(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """model, metric, value, ci_low, ci_high, n (genes): means over the genes.

    A metric is `r2` or `r2_pearson`, then `_in_SET` for samples not trained on and `_within_WINDOW` for narrower
    windows.
    """
    widest = scores["window"].iloc[0]
    rows = []
    for (model, window, name), some in scores.groupby(["model", "window", "set"], sort=False):
        where = (f"_in_{name}" if name != TRAIN else "") + (f"_within_{window}" if window != widest else "")
        for metric in METRICS:
            values = some[metric].dropna().to_numpy()
            mean = float(values.mean()) if len(values) else np.nan
            rows.append((model, f"{metric}{where}", mean, *interval(values, seed), len(values)))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def compare(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every pair of models on the same genes (widest window, samples held out), for both metrics.

    Columns model, other, metric, difference (mean), ci_low, ci_high, better (share of genes), p (Wilcoxon's signed
    ranks), n, p_holm (within the metric).
    """
    first = scores[held_out(scores)]
    columns = ["model", "other", "metric", "difference", "ci_low", "ci_high", "better", "p", "n"]
    parts = []
    for metric in METRICS:
        wide, rows = first.pivot(index="gene", columns="model", values=metric), []
        for model, other in itertools.combinations(pd.unique(first["model"]), 2):
            difference = (wide[model] - wide[other]).dropna().to_numpy()
            means = (difference.mean(), (difference > 0).mean()) if len(difference) else (np.nan, np.nan)
            mean, better = map(float, means)
            ends = interval(difference, seed)
            rows.append((model, other, metric, mean, *ends, better, signed_ranks(difference), len(difference)))
        part = pd.DataFrame(rows, columns=columns)
        parts.append(part.assign(p_holm=holm(part["p"])))
    return pd.concat(parts, ignore_index=True)


def summarise_taxa(pairs: pd.DataFrame) -> pd.DataFrame:
    """Per taxon: genes, mean R² of its CpGs and of random sets, mean difference, Wilcoxon's p, and that after Holm."""
    rows = []
    for name in TAXA:
        some = pairs[pairs["taxon"] == name]
        if len(some):
            difference = some["r2"] - some["r2_random"]
            means = some["r2"].mean(), some["r2_random"].mean(), difference.mean()
            rows.append((name, len(some), some["n_cpgs"].median(), *means, signed_ranks(difference)))
    columns = ["taxon", "genes", "cpgs", "r2", "r2_random", "difference", "p"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_holm=holm(frame["p"]))

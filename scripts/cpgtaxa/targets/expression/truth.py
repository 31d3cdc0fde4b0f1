"""What is known of a simulated cohort, and how much of it was found."""

import numpy as np
import pandas as pd

from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.statistics.areas import auc
from cpgtaxa.targets.expression.scores import BOOTSTRAPS, held_out, interval


def read_truth(path, genes) -> pd.DataFrame | None:
    """gene, kind, r2, cpgs (names with blanks between) of the genes that were fitted; None where `path` is."""
    if path is None:
        return None
    truth = pd.read_csv(path, dtype={"gene": str, "kind": str, "cpgs": str}, keep_default_na=False)
    return truth[truth["gene"].isin(set(genes))].reset_index(drop=True)


def _auc_interval(values, positive, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of `auc`: genes are drawn anew within each of the two groups."""
    if len(values) < 2 or positive.all() or not positive.any():
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    yes, no = values[positive], values[~positive]
    labels = np.arange(len(values)) < len(yes)
    drawn = [np.concatenate([rng.choice(yes, len(yes)), rng.choice(no, len(no))]) for _ in range(BOOTSTRAPS)]
    return tuple(float(value) for value in np.quantile([auc(one, labels) for one in drawn], [0.025, 0.975]))


def truth_rows(scores: pd.DataFrame, truth: pd.DataFrame, found: pd.DataFrame, seed: int) -> pd.DataFrame:
    """What is known of the truth, as rows of SUMMARY_COLUMNS per model (widest window, held-out samples).

    - `r2_of_truth`: how much of what there is to explain was explained: R² divided by the share of variance that
      methylation truly explains, mean over the genes with a methylation effect. 1 is all of it; 0 and less, none.
    - `auc_of_truth`: the chance that R² is higher for a gene with a methylation effect than for one without. 0.5
      is a guess.
    - `causal_cpgs_auc`: the chance that a causal CpG of a gene has a higher attribution than another of its
      CpGs, mean over the genes with a methylation effect of any kind. Its neighbours, as like it as they are,
      count as wrong. Only for models with attributions.
    """
    joined = scores[held_out(scores)].merge(truth, on="gene", suffixes=("", "_true"))
    rows = []
    for model, some in joined.groupby("model", sort=False):
        some = some.dropna(subset=["r2"])
        affected = (some["kind"] != "none").to_numpy()
        ratio = (some["r2"] / some["r2_true"])[affected].to_numpy()
        mean = ratio.mean() if len(ratio) else np.nan
        rows.append((model, "r2_of_truth", mean, *interval(ratio, seed), len(ratio)))
        values = some["r2"].to_numpy()
        rows.append((model, "auc_of_truth", auc(values, affected), *_auc_interval(values, affected, seed), len(values)))
        each = found["auc"][found["model"] == model].dropna().to_numpy()
        if len(each):
            rows.append((model, "causal_cpgs_auc", each.mean(), *interval(each, seed), len(each)))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)

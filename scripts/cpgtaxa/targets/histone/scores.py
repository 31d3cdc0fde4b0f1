"""How well models separate genes of high and low expression, with intervals, and which is better than which.

The area under the ROC curve of a cell type, its variance and the covariance of two models on the same genes are those
of DeLong, DeLong and Clarke-Pearson (Biometrics 1988). Of the mean over cell types, a gene's parts in all of them are
added up before they are squared, as in Obuchowski's (Biometrics 1997) areas of clustered data: genes are alike in
different cell types, and count once.
"""

import dataclasses
import itertools

import numpy as np
import pandas as pd
from scipy.stats import norm

from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.statistics.areas import Z, interval_of_auc, parts_of_auc
from cpgtaxa.statistics.comparisons import holm


@dataclasses.dataclass
class Scored:
    """A model's areas. cells: cell, auc, ci_low, ci_high, accuracy, n, positive; errors: by gene, of the mean area."""

    model: str
    cells: pd.DataFrame
    errors: pd.Series
    right: pd.Series

    @property
    def mean(self) -> float:
        return float(self.cells["auc"].mean())

    def interval(self) -> tuple[float, float]:
        fewest = int(np.minimum(self.cells["positive"], self.cells["n"] - self.cells["positive"]).min())
        return interval_of_auc(self.mean, float((self.errors**2).sum()), fewest)


def score(model: str, found: pd.DataFrame) -> Scored:
    """Areas of a model's predictions (cell, gene, label, probability), cell types in their order."""
    rows, errors, right = [], [], []
    for cell, some in found.groupby("cell", sort=False):
        values, positive = some["probability"].to_numpy(), some["label"].to_numpy() == 1
        area, parts = parts_of_auc(values, positive)
        fewest = int(min(positive.sum(), (~positive).sum()))
        low, high = interval_of_auc(area, float((parts**2).sum()), fewest)
        correct = (values > 0.5) == positive
        rows.append((cell, area, low, high, float(correct.mean()), len(some), int(positive.sum())))
        errors.append(pd.Series(parts, some["gene"].to_numpy()))
        right.append(pd.Series(correct - correct.mean(), some["gene"].to_numpy()) / len(some))
    columns = ["cell", "auc", "ci_low", "ci_high", "accuracy", "n", "positive"]
    together = [pd.concat(parts).groupby(level=0).sum() / len(rows) for parts in (errors, right)]
    return Scored(model, pd.DataFrame(rows, columns=columns), *together)


def summarise(scored: list[Scored]) -> pd.DataFrame:
    """model, metric, value, ci_low, ci_high, n (genes of all cell types).

    `auc` and `accuracy` are means over the cell types, `auc_CELL` one cell type's.
    """
    rows = []
    for one in scored:
        n = int(one.cells["n"].sum())
        rows.append((one.model, "auc", one.mean, *one.interval(), n))
        accuracy, half = float(one.cells["accuracy"].mean()), Z * float(np.sqrt((one.right**2).sum()))
        rows.append((one.model, "accuracy", accuracy, max(accuracy - half, 0.0), min(accuracy + half, 1.0), n))
        rows += [
            (one.model, f"auc_{cell.cell}", cell.auc, cell.ci_low, cell.ci_high, cell.n)
            for cell in one.cells.itertuples()
        ]
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def compare(scored: list[Scored]) -> pd.DataFrame:
    """Every pair of models on the same genes: mean AUC over the cell types.

    Columns model, other, difference, ci_low, ci_high, better (share of the cell types), p (DeLong's test), p_holm, n.
    """
    rows = []
    for one, other in itertools.combinations(scored, 2):
        difference = one.mean - other.mean
        error = float(np.sqrt(((one.errors - other.errors) ** 2).sum()))
        p = float(2 * norm.sf(abs(difference) / error)) if error > 0 else np.nan
        better = float((one.cells["auc"].to_numpy() > other.cells["auc"].to_numpy()).mean())
        ends = difference - Z * error, difference + Z * error
        rows.append((one.model, other.model, difference, *ends, better, p, int(one.cells["n"].sum())))
    table = pd.DataFrame(rows, columns=["model", "other", "difference", "ci_low", "ci_high", "better", "p", "n"])
    table.insert(7, "p_holm", holm(table["p"]))
    return table

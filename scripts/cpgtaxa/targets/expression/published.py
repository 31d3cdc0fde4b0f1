"""The user's own scores beside published ones of the same genes."""

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError, some
from cpgtaxa.input.texts import read_table
from cpgtaxa.statistics.comparisons import signed_ranks
from cpgtaxa.targets.expression.gene_names import gene_names
from cpgtaxa.targets.expression.scores import METRICS, interval

KEY = "expression.published"
GENE = ("gene", "gene_id", "geneid", "gene_name", "genename", "symbol", "gene_symbol")
ROW_NAMES = "row_names"
"""What the row names of R's tables are called, as in `input.tables`."""
MISSING = ("", "na", "nan", "n/a", "null")
COLUMNS = ["published", "model", "metric", "n", "value_published", "value", "difference"]
COLUMNS += ["ci_low", "ci_high", "better", "p"]


def read_published(path, settings: dict) -> pd.DataFrame:
    """R² of genes by published model: index gene, a column (float64) per model, NaN where there is none.

    path: CSV or TSV, a column of genes (GENE) and one per model. settings: `gene_versions`. Raises InputError with all
    problems: no such columns, what is no number, an R² above 1, genes given twice.
    """
    columns, lines = read_table(path, KEY, ())
    at = next((name for name in columns if name.strip().lower().replace(" ", "_") in GENE), None)
    models = [name for name in columns if name and name not in (at, ROW_NAMES)]
    if at is None or not models:
        raise InputError(
            f"{KEY}: {path} needs a column `gene` and one of R² for each published model; found {some(columns)}"
        )
    problems, found = [], {}
    for name in models:
        numbers = pd.to_numeric(pd.Series(columns[name], dtype=object), errors="coerce").to_numpy(dtype=float)
        given = np.array([text.lower() not in MISSING for text in columns[name]])
        odd = np.flatnonzero(given & ~np.isfinite(numbers))
        high = np.flatnonzero(numbers > 1)
        if len(odd):
            problems.append(
                f"{KEY}: {path}, column {name!r}: {len(odd):,} values are no numbers, such as "
                f"{columns[name][odd[0]]!r} (line {lines[odd[0]]}). Correct it, or take the column out"
            )
        elif len(high):
            problems.append(
                f"{KEY}: {path}, column {name!r}: an R² of {numbers[high[0]]:g} (line {lines[high[0]]}) cannot be. "
                "Take out what is no R²"
            )
        found[name] = numbers
    frame = pd.DataFrame(found, index=pd.Index(gene_names(columns[at], settings), name="gene"))
    frame = frame[frame.index != ""]
    twice = frame.index[frame.index.duplicated()].unique()
    if len(twice):
        problems.append(f"{KEY}: {path} lists {len(twice):,} genes more than once: {some(twice)}. Keep one row each")
    if problems:
        raise InputError(problems)
    return frame


def beside(wide: dict[str, pd.DataFrame], published: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every model beside every published one, on the genes that both have: COLUMNS.

    wide: by metric, genes by models of samples held out. published: see `read_published`. value_published, value: means
    over the n genes; difference: ours less theirs, with a bootstrap interval over the genes; better: the share of genes
    on which ours is better; p: Wilcoxon's signed ranks. Raises InputError where no gene is in both.
    """
    ours = next(iter(wide.values())).index
    if not published.index.isin(ours).any():
        raise InputError(
            f"{KEY} has none of the genes that were fitted: {some(published.index, 3)} against {some(ours, 3)}. Name "
            "genes as in `expression.expression`"
        )
    rows = []
    for theirs in published:
        for metric in METRICS:
            for model in wide[metric]:
                both = pd.DataFrame({"theirs": published[theirs], "ours": wide[metric][model]}).dropna()
                if not len(both):
                    continue
                difference = (both["ours"] - both["theirs"]).to_numpy()
                p = signed_ranks(difference)
                means = both["theirs"].mean(), both["ours"].mean(), difference.mean()
                better = float((difference > 0).mean())
                rows.append((theirs, model, metric, len(both), *means, *interval(difference, seed), better, p))
    return pd.DataFrame(rows, columns=COLUMNS)

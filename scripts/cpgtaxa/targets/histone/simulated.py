"""Simulated cell types whose genes' marks depend on expression in known bins: the embedded default, and a truth."""

import logging

import numpy as np
import pandas as pd

from cpgtaxa.files import atomic
from cpgtaxa.progress import Progress
from cpgtaxa.targets.histone.plan import DEEPCHROME_MARKS, SPLITS

BINS = 100
SHARED = 0.7
"""Correlation of a gene's expression between cell types."""
TRACE = 0.8
"""Standard deviation of what marks show of expression beside it; expression itself has 1."""
DEPTH = 0.35
"""Spread of the logarithm of a gene's counts in all bins and marks, which says nothing of its expression."""
DISPERSION = 0.8
"""Of the negative binomial counts: variance = mean + DISPERSION · mean²."""
BASE = {"H3K27me3": 0.8, "H3K36me3": 0.5, "H3K4me1": 1.2, "H3K4me3": 0.5, "H3K9me3": 0.9}
"""Mean counts of a bin where nothing is."""
PLANTED = (
    # mark, first and last bin (the start of the gene is between 50 and 51), height, with expression (+) or silence (-)
    ("H3K4me3", 46, 57, 12.0, 1),
    ("H3K4me1", 36, 44, 4.0, 1),
    ("H3K4me1", 60, 68, 4.0, 1),
    ("H3K36me3", 72, 100, 2.5, 1),
    ("H3K27me3", 41, 62, 4.0, -1),
    ("H3K9me3", 16, 30, 2.5, -1),
)
"""Where counts follow expression: promoter, enhancers beside it, gene body, and two ways of silence."""


def expected(shown: np.ndarray) -> np.ndarray:
    """Mean counts (genes, BINS, marks) of genes whose marks show the expression `shown` (genes,), before their depth.

    Within a stretch of PLANTED the mean rises as a hill (half a sine) of the height times the logistic function of
    what is shown, or of what is not.
    """
    means = np.empty((len(shown), BINS, len(DEEPCHROME_MARKS)))
    means[:] = [BASE[mark] for mark in DEEPCHROME_MARKS]
    for mark, first, last, height, sign in PLANTED:
        hill = np.sin(np.pi * (np.arange(first, last + 1) - first + 1) / (last - first + 2))
        active = 1 / (1 + np.exp(-2 * sign * shown))
        means[:, first - 1 : last, DEEPCHROME_MARKS.index(mark)] += height * active[:, None] * hill
    return means


def draw_counts(rng: np.random.Generator, means: np.ndarray) -> np.ndarray:
    """Negative binomial counts of some means, int64, with DISPERSION."""
    size = 1 / DISPERSION
    return rng.negative_binomial(size, size / (size + means))


def simulate_cell(seed: int, number: int, shared: np.ndarray) -> tuple[np.ndarray, ...]:
    """A cell type's expression (genes,), labels (high above the median), what marks show of it, and counts.

    shared: (genes,) what the genes' expression has in common in all cell types, standard normal.
    """
    rng = np.random.default_rng([seed, number])
    expression = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * rng.normal(size=len(shared))
    shown = expression + TRACE * rng.normal(size=len(shared))
    depth = np.exp(rng.normal(0, DEPTH, len(shared)))
    counts = draw_counts(rng, expected(shown) * depth[:, None, None])
    return expression, (expression > np.median(expression)).astype(np.int64), shown, counts


def text_of(genes, labels, counts: np.ndarray) -> str:
    """Rows as published: gene, bin from 1, a count per mark, label; no header."""
    n, bins, marks = counts.shape
    frame = pd.DataFrame(counts.reshape(n * bins, marks))
    frame.insert(0, "bin", np.tile(np.arange(1, bins + 1), n))
    frame.insert(0, "gene", np.repeat(genes, bins))
    frame["label"] = np.repeat(labels, bins)
    return frame.to_csv(index=False, header=False, lineterminator="\n")


def write_cells(settings: dict, seed: int, cells, truth, planted) -> None:
    """Simulate and write what a user would bring, and the truth.

    settings: `cells`, `genes` (in each; a third of them in each split, the same in all cell types). cells: paths of the
    files, cell type by cell type in the order of SPLITS. truth: CSV cell, gene, split, label, expression, shown: the
    best that any model can do is to know what the marks show of expression. planted: CSV mark, bin_from, bin_to, sign.
    """
    n = settings["genes"]
    genes = [f"{number:06d}" for number in range(1, n + 1)]
    shared = np.random.default_rng([seed, 0]).normal(size=n)
    split = np.arange(n) * len(SPLITS) // n
    tables = []
    for number in Progress(settings["cells"], "cell types simulated").over(range(settings["cells"])):
        expression, labels, shown, counts = simulate_cell(seed, number + 1, shared)
        for at, part in enumerate(SPLITS):
            here = np.flatnonzero(split == at)
            with atomic(cells[number * len(SPLITS) + at]) as temporary:
                text = text_of([genes[row] for row in here], labels[here], counts[here])
                temporary.write_text(text, encoding="utf-8")
            columns = {"gene": [genes[row] for row in here], "split": part, "label": labels[here]}
            columns |= {"expression": expression[here], "shown": shown[here]}
            tables.append(pd.DataFrame({"cell": f"C{number + 1:02d}", **columns}))
    with atomic(truth) as temporary:
        pd.concat(tables).to_csv(temporary, index=False, float_format="%.5f")
    with atomic(planted) as temporary:
        rows = [(mark, first, last, sign) for mark, first, last, _, sign in PLANTED]
        pd.DataFrame(rows, columns=["mark", "bin_from", "bin_to", "sign"]).to_csv(temporary, index=False)
    logging.info(f"{n:,} genes in {settings['cells']} cell types simulated")

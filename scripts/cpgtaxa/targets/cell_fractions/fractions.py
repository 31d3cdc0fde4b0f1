"""Fractions of cell types in every sample, from betas of the pure types: the user's, or those of blood that ship.

Constrained projection (Houseman et al. 2012, BMC Bioinformatics 13:86): the sample is taken for a mixture of the types.
The quadratic programme is solved by Goldfarb and Idnani's method, in the library that minfi uses by way of R.
"""

import logging
import pathlib
import re

import numpy as np
import pandas as pd
import quadprog

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError, reason_of, refuse, some
from cpgtaxa.input.opening import open_matrix
from cpgtaxa.input.scan import TEXT, Scan, block_values
from cpgtaxa.input.streams import DAMAGE, EXAMPLES, MISSING, many
from cpgtaxa.pages.page import write_csv
from cpgtaxa.progress import Progress
from cpgtaxa.targets.cell_fractions.page import page

KEY = "adjust.reference"
FEWEST_PER_TYPE = 5
"""CpGs of the reference that a sample needs for each cell type."""
ALIKE = 1e-3
"""Types whose columns, scaled to length one, span a direction shorter than this cannot be separated."""
NO_TYPES = {
    "low", "high", "range", "mean", "median", "sd", "n", "f", "fstat", "p", "pval", "pvalue", "padj", "fdr", "q",
    "qvalue", "chr", "chrom", "chromosome", "pos", "position", "mapinfo", "start", "end",
}  # fmt: skip
"""Names, letters and digits alone, of what tables of references have beside the cell types (minfi's `compTable`)."""
OURS = ("sample_id", "residual", "n_cpgs")
BLOCK = 4096


def read_reference(path) -> pd.DataFrame:
    """Betas of pure cell types: (n_cpgs, k) float64, index CpG, one column per type, no missing values.

    path: a table as the cohort's matrix may be (text, packed or not, or Parquet), types in place of samples. CpGs with
    a missing value are left out, and counted in the log. Raises InputError with all that is wrong with it.
    """
    path = pathlib.Path(path)
    matrix = open_matrix(path, KEY)
    types = [name.strip() for name in matrix.samples]
    problems = []
    if any(name in MISSING for name in types):
        problems.append(f"{path}: a column without a cell type in the header: name it, or remove it")
    if twice := sorted({name for name in types if types.count(name) > 1}):
        problems.append(f"{path}: several columns of the same cell type: {some(twice)}. Keep one each (their mean)")
    if taken := [name for name in types if name in OURS]:
        problems.append(f"{path}: a cell type cannot be called {some(taken)}: rename the column")
    if others := [name for name in types if re.sub(r"[\W_]", "", name.lower()) in NO_TYPES]:
        problems.append(f"{path}: the columns {some(others)} are no cell types: leave them out")
    scan = Scan(types)
    names, blocks = [], []
    try:
        for ids, arrays in matrix.batches(list(range(len(types)))):
            cpgs = [(name or "").strip() for name in ids]
            names += cpgs
            blocks.append(arrays if isinstance(arrays, np.ndarray) else block_values(scan, cpgs, arrays))
    except DAMAGE as error:
        raise InputError([*problems, f"{path} is damaged or cut off ({reason_of(error)}): copy it again"]) from error
    if matrix.n_odd_rows:
        problems.append(
            f"{path}: {many(matrix.n_odd_rows, 'row')} with another number of fields than the header: "
            f"{', '.join(matrix.odd_rows)}. Write rows in full"
        )
    if not names:
        raise InputError([*problems, f"{path}: not a single CpG in it: check how the file was made"])
    values = np.vstack(blocks).astype(np.float64)
    values[values == np.float64(TEXT)] = np.nan
    if scan.n_text:
        problems.append(f"{path}: {many(scan.n_text, 'value')} not a number: {', '.join(scan.text)}. Give betas")
    rows, columns = np.nonzero(~(np.isnan(values) | ((values >= 0) & (values <= 1))))
    if len(rows):
        where = [
            f"{names[row]!r}, {types[column]!r}: {values[row, column]:.6g}"
            for row, column in zip(rows[:EXAMPLES], columns[:EXAMPLES], strict=True)
        ]
        problems.append(
            f"{path}: {many(len(rows), 'value')} outside 0 to 1: {', '.join(where)}. Give betas (not percent, M-values "
            "or p-values), and no other columns than the CpG's name and the cell types"
        )
    frame = pd.DataFrame(values, index=pd.Index(names, dtype=object), columns=types)
    if twice := frame.index[frame.index.duplicated()].unique().tolist():
        problems.append(f"{path}: {many(len(twice), 'CpG')} listed more than once: {some(twice)}. Keep one row each")
    refuse(problems)
    lacking = frame.isna().any(axis=1).to_numpy()
    if lacking.any():
        logging.warning(f"{path}: {many(int(lacking.sum()), 'CpG')} with a missing value left out")
    return frame[~lacking]


def _alike(reference: np.ndarray, types: list[str]) -> list[str]:
    """The cell types that others make up, by the betas (n_cpgs, k); none where all can be separated."""
    length = np.linalg.norm(reference, axis=0)
    if not length.all():
        return [name for name, size in zip(types, length, strict=True) if size == 0]
    _, size, turn = np.linalg.svd(reference / length, full_matrices=False)
    flat = np.abs(turn[size < ALIKE * size[0]])
    return [name for at, name in enumerate(types) if len(flat) and flat[:, at].max() > 0.1]


def project(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The fractions w (k,) that minimise wᵀ gram w − 2 rightᵀ w with w ≥ 0 and sum(w) ≤ 1. gram: (k, k), positive."""
    k = len(right)
    limits = np.hstack([np.eye(k), -np.ones((k, 1))])
    bounds = np.append(np.zeros(k), -1.0)
    found = quadprog.solve_qp(gram, right, limits, bounds)[0]
    return np.where(found > 1e-12, found, 0.0)


def estimate(cohort: Cohort, reference: pd.DataFrame) -> pd.DataFrame:
    """Fractions of every sample: sample_id, one column per type, residual (root mean square, beta), n_cpgs (int).

    reference: of `read_reference`. CpGs that a sample lacks are left out for that sample. Memory holds a block of CpGs
    and the samples' (k, k) sums. Raises InputError where CpGs are too few or types are alike.
    """
    types = list(reference.columns)
    place = pd.Index(cohort.cpgs).get_indexer(reference.index)
    there = np.flatnonzero(place >= 0)
    there = there[np.argsort(place[there], kind="stable")]
    needed = FEWEST_PER_TYPE * len(types)
    if len(there) < needed:
        raise InputError(
            f"{KEY}: {len(there):,} of its {len(reference):,} CpGs are in the cohort, and {len(types)} cell types need "
            f"at least {needed}: take a reference of the same array (its CpGs are called {some(reference.index, 3)}, "
            f"the cohort's {some(cohort.names(0, min(3, len(cohort))), 3)})"
        )
    if len(there) < len(reference) / 2:
        logging.warning(f"{KEY}: only {len(there):,} of its {len(reference):,} CpGs are in the cohort")
    betas = reference.to_numpy()[there]
    if alike := _alike(betas, types):
        raise InputError(
            f"{KEY}: on the {len(there):,} CpGs that the cohort has, the cell types {some(alike, 10)} cannot be "
            "separated (their betas are the same, or make up one another): join or remove some"
        )
    k, n = len(types), cohort.n_samples
    gram, right = np.zeros((n, k * k)), np.zeros((n, k))
    squares, counts = np.zeros(n), np.zeros(n, dtype=int)
    progress = Progress(len(there), "CpGs of the reference")
    for start in range(0, len(there), BLOCK):
        values = cohort.take(place[there[start : start + BLOCK]]).astype(np.float64)
        known = np.isfinite(values)
        values[~known] = 0
        block = betas[start : start + BLOCK]
        gram += known.T.astype(np.float64) @ (block[:, :, None] * block[:, None, :]).reshape(-1, k * k)
        right += values.T @ block
        squares += np.einsum("ij,ij->j", values, values)
        counts += known.sum(axis=0)
        cohort.release()
        progress.step(len(values))
    few = np.flatnonzero(counts < needed)
    if len(few):
        raise InputError(
            f"{many(len(few), 'sample')} with fewer than {needed} values at the CpGs of {KEY}: "
            f"{some([cohort.sample_ids[at] for at in few])}. Leave them out of the sheet and set `cohort.unmatched: "
            "drop`"
        )
    gram = gram.reshape(n, k, k)
    found = np.array([project(gram[at], right[at]) for at in range(n)])
    left = squares - 2 * np.einsum("ij,ij->i", found, right) + np.einsum("ij,ijk,ik->i", found, gram, found)
    table = pd.DataFrame(found, columns=types)
    table.insert(0, "sample_id", cohort.sample_ids)
    table["residual"], table["n_cpgs"] = np.sqrt(np.maximum(left, 0) / counts), counts
    return table


def of_blood(cohort: Cohort, paths) -> tuple[pd.DataFrame, str]:
    """The shipped table with most of its CpGs in the cohort, the first of equals, and what is to be said of it."""
    tables = [read_reference(path) for path in paths]
    known = set(cohort.cpgs)
    counts = [sum(cpg in known for cpg in table.index) for table in tables]
    best = counts.index(max(counts))
    if counts[best] < FEWEST_PER_TYPE * tables[best].shape[1]:
        raise InputError(
            f"{KEY} is not set, and of the shipped tables of blood cells ({len(tables[best]):,} CpGs) the cohort has "
            f"{counts[best]:,}, too few: name a table of your own there, betas of pure cell types of this array and "
            "tissue (CpGs in rows, one column per type)"
        )
    return tables[best], (
        f"{KEY} is not set: cells of adult blood are taken ({pathlib.Path(paths[best]).stem}, shipped). For another "
        "tissue, or cord blood, name a table of its cells"
    )


def write_fractions(beta, reference, samples, outputs: dict) -> None:
    """Write the fractions of a cohort file's samples as CSV, with the columns of `estimate`, and a page about them.

    reference: the user's table; or a list of those that ship, of which one is taken (`of_blood`). samples: the cohort's
    sheet; outputs: `fractions` (CSV), `html`, `figures` (a folder). Raises InputError for a
    reference that cannot be used.
    """
    cohort, note = Cohort(beta), ""
    if isinstance(reference, str | pathlib.Path):
        betas = read_reference(reference)
    else:
        betas, note = of_blood(cohort, reference)
        logging.warning(note)
    found = estimate(cohort, betas)
    # In full: fractions that add up to one must still do so when they are read again.
    write_csv(outputs["fractions"], found, float_format="%.10g")
    page(outputs, found, list(betas.columns), read_samples(samples)["age"].to_numpy(dtype=float), len(betas), note)
    means = ", ".join(f"{name} {100 * found[name].mean():.1f} %" for name in betas.columns)
    logging.info(
        f"{len(found):,} samples from {found['n_cpgs'].max():,} of the reference's {len(betas):,} CpGs; on average "
        f"{means}; residual {found['residual'].median():.3f} (median)"
    )

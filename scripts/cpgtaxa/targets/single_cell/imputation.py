"""Complete profiles: per cell a bedGraph of all sites, with what was observed and what the model fills in."""

import contextlib
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cpgtaxa.errors import InputError, some
from cpgtaxa.files import atomic_folder, gzipped
from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.tables import Sites, prediction_blocks

CONFIDENT = 0.9
FILES_AT_ONCE = 64
"""Cells written in one pass; each is an open file."""
DIGITS = 3
COVERAGE_COLUMNS = ["cell", "sites", "observed", "imputed", "confident", "confident_share", "rate_observed", "rate_all"]
_VALUES = pa.array([f"{value / 10**DIGITS:g}\n" for value in range(10**DIGITS + 1)], pa.large_string())


def _lines(prefix: pa.Array, values: np.ndarray) -> memoryview:
    """Lines of text: each prefix followed by its value, rounded to DIGITS."""
    codes = np.rint(values.astype(np.float64) * 10**DIGITS).astype(np.int32)
    text = pc.binary_join_element_wise(prefix, _VALUES.take(pa.array(codes)), pa.scalar("", pa.large_string()))
    offsets = np.frombuffer(text.buffers()[1], dtype=np.int64)[text.offset : text.offset + len(text) + 1]
    return memoryview(text.buffers()[2])[offsets[0] : offsets[-1]]


def _prefixes(chroms: list[str], block) -> pa.Array:
    """`chrom start end` and a tab, of each site: the C, 0-based and half-open."""
    names = pa.array(chroms, pa.large_string()).take(pa.array(block.chrom))
    start, end = (pa.array(block.position + shift).cast(pa.large_string()) for shift in (-1, 0))
    empty, tab = (pa.scalar(text, pa.large_string()) for text in ("", "\t"))
    return pc.binary_join_element_wise(names, start, end, empty, tab)


def write_bedgraphs(
    sites_path, predictions_path, folder, *, model: str, imputed: str = "unobserved", confident: float = CONFIDENT
) -> pd.DataFrame:
    """Write `{cell}.bedGraph.gz` of each cell into `folder`, with all sites in order; return what was filled in.

    imputed: `unobserved` gives observed sites their state (0 or 1) and the others the predicted probability of being
    methylated; `all` gives every site the prediction, which for observed training sites the model has seen. Values
    have three digits. The first line is a `track` line; columns are chromosome, start (0-based), end (half-open: the
    base C alone) and value. Bytes are the same each time. Memory holds a block of sites.

    Returns COVERAGE_COLUMNS: of each cell the sites, those observed, those imputed (not observed), those imputed whose
    probability is at least `confident` or at most 1 - `confident`, their share of the imputed (NaN if none is), the
    share methylated of the observed (NaN if none is), and the mean over all sites of state, else probability. Raises
    InputError where a cell's name is no file name, or the predictions do not belong to the sites.
    """
    sites = Sites(sites_path)
    odd = [cell for cell in sites.cells if pathlib.PurePath(cell).name != cell]
    if odd:
        raise InputError(f"single_cell: cells need names that can be file names, unlike {some(odd)}: rename them")
    records = []
    progress = Progress(len(sites.cells), "cells filled in and written")
    with atomic_folder(folder) as temporary:
        for first in range(0, len(sites.cells), FILES_AT_ONCE):
            cells = sites.cells[first : first + FILES_AT_ONCE]
            records.append(_write_some(sites, first, cells, predictions_path, temporary, model, imputed, confident))
            progress.step(len(cells))
    return pd.concat(records, ignore_index=True)[COVERAGE_COLUMNS]


def _write_some(sites, first, cells, predictions_path, folder, model, imputed, confident) -> pd.DataFrame:
    columns = slice(first, first + len(cells))
    observed, methylated, sure, total = np.zeros((4, len(cells)))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(gzipped(folder / f"{cell}.bedGraph.gz", level=6)) for cell in cells]
        for cell, file in zip(cells, files, strict=True):
            name, what = cell.replace('"', "'"), f"methylation of {cell}, filled in by {model}".replace('"', "'")
            file.write(f'track type=bedGraph name="{name}" description="{what}"\n'.encode())
        predicted = prediction_blocks(predictions_path, cells, sites.n)
        for start, values in predicted:
            block = sites.rows(start, start + len(values))
            states = block.states[:, columns]
            there = states >= 0
            filled = np.where(there, states, values)
            observed += there.sum(axis=0)
            methylated += (states == 1).sum(axis=0)
            sure += (~there & ((values >= confident) | (values <= 1 - confident))).sum(axis=0)
            total += filled.sum(axis=0, dtype=np.float64)
            prefix = _prefixes(sites.chroms, block)
            for file, column in zip(files, (filled if imputed == "unobserved" else values).T, strict=True):
                file.write(_lines(prefix, column))
    missing = sites.n - observed
    return pd.DataFrame(
        {
            "cell": cells,
            "sites": sites.n,
            "observed": observed.astype(int),
            "imputed": missing.astype(int),
            "confident": sure.astype(int),
            "confident_share": np.divide(sure, missing, out=np.full(len(cells), np.nan), where=missing > 0),
            "rate_observed": np.divide(methylated, observed, out=np.full(len(cells), np.nan), where=observed > 0),
            "rate_all": total / sites.n,
        }
    )

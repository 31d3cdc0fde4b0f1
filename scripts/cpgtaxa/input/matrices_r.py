"""Matrices from R: numeric matrices with dimnames, and data frames of numeric columns, in .rds and .RData files."""

import numpy as np
import pandas as pd

from cpgtaxa.errors import some
from cpgtaxa.input.matrices_array import ArrayMatrix
from cpgtaxa.input.r_files import KINDS, NUMBERS, PLAIN, RThing, chosen, classes, levels, read_r, strings
from cpgtaxa.input.streams import MISSING, Unreadable

NAMES = 'in R, rownames(beta) <- cpgs; colnames(beta) <- samples; saveRDS(beta, "beta.rds")'


def open_r(path, first: bytes, name: str | None) -> ArrayMatrix:
    """A reader of the matrix or data frame in an .rds or .RData file, which memory holds as float32.

    name: which of several objects; `list$element` for elements of lists. Raises Unreadable.
    """
    thing = chosen(path, read_r(path, first), name, ("matrix", "data frame"), "the matrix")
    return _of_matrix(path, thing) if thing.what == "matrix" else _of_frame(path, thing)


def _of_matrix(path, thing: RThing) -> ArrayMatrix:
    dimnames = thing.attributes.get("dimnames")
    names = dimnames.value if dimnames is not None and dimnames.info.type is KINDS.VEC else [None, None]
    lacking = [
        f"{axis} names"
        for axis, one in zip(("row", "column"), names, strict=True)
        if one is None or one.info.type is not KINDS.STR
    ]
    if lacking:
        raise Unreadable(f"{path}: the matrix has no {' and no '.join(lacking)} (the ids of CpGs and samples): {NAMES}")
    rows, columns = ([name or "" for name in strings(one)] for one in names)
    # R stores column after column.
    return _of_columns(path, _floats(thing.raw.value).reshape(thing.shape[1], thing.shape[0]), rows, columns)


def _of_columns(path, values: np.ndarray, rows: list[str], columns: list[str]) -> ArrayMatrix:
    """A reader of (columns, rows) values."""
    return ArrayMatrix(
        path,
        rows,
        columns,
        lambda start, stop: values[:, start:stop].T,
        flip=lambda: _of_columns(path, values.T, columns, rows),
    )


def _floats(values) -> np.ndarray:
    """Numbers as float32 where they were doubles; masked ones are NaN."""
    if np.ma.isMaskedArray(values):
        return values.astype(np.float32).filled(np.nan)
    with np.errstate(invalid="ignore", over="ignore"):  # R's NA is a signalling NaN
        return values.astype(np.float32, copy=False)


def _of_frame(path, thing: RThing) -> ArrayMatrix:
    names = [name or "" for name in strings(thing.attributes["names"])]
    columns = dict(enumerate(thing.raw.value))
    rows = row_names(thing)
    texts = {at: found for at, column in columns.items() if (found := levels(column)) is not None}
    if rows is None:
        if not texts:
            raise Unreadable(
                f"{path}: the data frame has neither row names nor a column of text with the ids of its rows: in R, "
                "rownames(frame) <- ids, or put the ids into the first column"
            )
        first = min(texts)
        rows = [name or "" for name in texts.pop(first)]
        del columns[first]
    odd = [
        names[at]
        for at, column in columns.items()
        if at in texts or column.info.type not in NUMBERS or set(classes(column)) - PLAIN
    ]
    numbers = [
        names[at]
        for at, column in columns.items()
        if (_as_numbers(texts[at]) if at in texts else column.info.type in NUMBERS and set(classes(column)) - PLAIN)
    ]
    if numbers:
        raise Unreadable(
            f"{path}: {len(numbers):,} columns of the data frame hold numbers as text, as factors or in a class of "
            f"their own: {some(numbers)}. In R, make them plain numbers: for (x in {_r_vector(numbers)}) frame[[x]] <- "
            "as.numeric(as.character(frame[[x]]))"
        )
    if odd:
        raise Unreadable(
            f"{path}: {len(odd):,} columns of the data frame hold no numbers: {some(odd)}. In R, leave them out: "
            "frame[sapply(frame, is.numeric)]"
        )
    values = [_floats(column.value) for column in columns.values()]
    samples = [names[at] for at in columns]
    return ArrayMatrix(
        path,
        rows,
        samples,
        lambda start, stop: np.stack([column[start:stop] for column in values], axis=1),
        flip=lambda: ArrayMatrix(path, samples, rows, lambda start, stop: np.stack(values[start:stop])),
    )


def _as_numbers(texts: list[str | None]) -> bool:
    """Whether most of the first texts are numbers."""
    given = pd.Series([text for text in texts[:100] if text and text not in MISSING], dtype=object)
    return len(given) > 0 and pd.to_numeric(given, errors="coerce").notna().mean() > 0.5


def _r_vector(names: list[str]) -> str:
    return f"c({', '.join(map(repr, names))})" if len(names) < 10 else "names(frame)[!sapply(frame, is.numeric)]"


def row_names(thing: RThing) -> list[str] | None:
    """The row names of a data frame; None where they are only numbers from 1 on, as R gives them by itself."""
    given = thing.attributes.get("row.names")
    if given is None:
        return None
    if given.info.type is KINDS.STR:
        found = [name or "" for name in strings(given)]
    elif len(given.value) == 2 and np.ma.is_masked(given.value):
        return None
    else:
        found = [str(number) for number in given.value]
    return None if found == [str(number) for number in range(1, len(found) + 1)] else found

"""Sample sheets in the formats of matrices: data frames of R's, Parquet, Feather, the observations of .h5ad."""

import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from cpgtaxa.errors import reason_of
from cpgtaxa.input.streams import DAMAGE, Unreadable, magic
from cpgtaxa.input.texts import ROW_NAMES


def read_sheet_frame(path, key: str, object: str | None = None, needed: tuple[str, ...] = ()) -> pd.DataFrame | None:
    """A sheet's columns as text, just as a CSV would hold them; None for files of text.

    path: .rds or .RData (a data frame), Parquet, Feather, or .h5ad (its obs), told by content. Missing values are "",
    factors their labels, whole numbers have no point. Row names of R's and names of observations are the column
    `row_names`. object: which object of an .RData; needed: columns that tell the sheet among several data frames.

    Raises Unreadable for a damaged file, and one that holds no table.
    """
    path = pathlib.Path(path)
    first = magic(path, key)
    if first.startswith((b"PAR1", b"ARROW1")):
        return _arrow(path, parquet=first.startswith(b"PAR1"))
    if first.startswith(b"\x89HDF"):
        from cpgtaxa.input.matrices_h5ad import frame_of, opened

        with opened(path) as file:
            frame = frame_of(path, file, "obs")
        return _with_names(frame.reset_index(drop=True), frame.index.astype(str).tolist())
    from cpgtaxa.input.r_files import is_r

    return _r(path, first, object, needed) if is_r(path, first) else None


def _arrow(path, parquet: bool) -> pd.DataFrame:
    try:
        table = pa.parquet.read_table(path) if parquet else pa.feather.read_table(path, memory_map=False)
        table = table.replace_schema_metadata()  # pandas' index becomes a column like the others
        table.validate(full=True)
        frame = table.to_pandas()
    except (*DAMAGE, ValueError) as error:
        raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    return _with_names(frame.rename(columns={"__index_level_0__": ROW_NAMES}), None)


def _with_names(frame: pd.DataFrame, names: list[str] | None) -> pd.DataFrame:
    columns = {} if names is None or ROW_NAMES in frame else {ROW_NAMES: names}
    for at, name in enumerate(frame.columns):
        columns[str(name).strip()] = as_text(frame.iloc[:, at])
    return pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in columns.items()})


def as_text(column: pd.Series) -> list[str]:
    """A column's values as a CSV holds them, stripped; "" where missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    missing = column.isna().tolist()
    if pd.api.types.is_float_dtype(column.dtype):
        single = column.dtype == np.float32
        given = column.tolist()
        return [
            "" if gone else _number(np.float32(value) if single else float(value))
            for value, gone in zip(given, missing, strict=True)
        ]
    return [
        "" if gone else _number(value) if isinstance(value, float) else str(value).strip()
        for value, gone in zip(column.tolist(), missing, strict=True)
    ]


def _number(value) -> str:
    if np.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _r(path, first: bytes, name: str | None, needed: tuple[str, ...]) -> pd.DataFrame:
    from cpgtaxa.input.matrices_r import row_names
    from cpgtaxa.input.r_files import chosen, levels, read_r, strings

    objects = read_r(path, first, precise=True)
    fitting = {
        key: one
        for key, one in objects.items()
        if one.what == "data frame" and {*needed} <= {*strings(one.attributes["names"])}
    }
    if name is None and needed and len(fitting) == 1:
        thing = next(iter(fitting.values()))
    else:
        thing = chosen(path, objects, name, ("data frame",), "the sample sheet")
    names = [given or "" for given in strings(thing.attributes["names"])]
    rows = row_names(thing)
    columns = {} if rows is None or ROW_NAMES in names else {ROW_NAMES: rows}
    for label, column in zip(names, thing.raw.value, strict=True):
        found = levels(column)
        if found is not None:
            columns[label.strip()] = ["" if text is None else text.strip() for text in found]
        else:
            columns[label.strip()] = _r_numbers(column)
    return pd.DataFrame({label: pd.Series(column, dtype=object) for label, column in columns.items()})


def _r_numbers(column) -> list[str]:
    """Numbers, truth values and dates of R's as text."""
    from cpgtaxa.input.r_files import KINDS, classes

    values, missing = np.ma.getdata(column.value), np.ma.getmaskarray(column.value)
    if column.info.type is KINDS.LGL:
        return ["" if gone else "TRUE" if value else "FALSE" for value, gone in zip(values, missing, strict=True)]
    if column.info.type in (KINDS.REAL, KINDS.INT):
        missing = missing | np.isnan(values) if column.info.type is KINDS.REAL else missing
        if "Date" in classes(column):
            days = np.where(missing, 0, values).astype("datetime64[D]").astype(str)
            return ["" if gone else day for day, gone in zip(days, missing, strict=True)]
        return ["" if gone else _number(value) for value, gone in zip(values.tolist(), missing, strict=True)]
    return [""] * len(column.value)  # a column of lists says nothing about a sample

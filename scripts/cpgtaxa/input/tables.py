"""Sample sheets in the formats of matrices: data frames of R's, Parquet, Feather, the observations of .h5ad."""

import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from cpgtaxa.errors import reason_of
from cpgtaxa.input.ages import UNITS, bare, unit_of_name
from cpgtaxa.input.streams import DAMAGE, Unreadable, magic
from cpgtaxa.input.texts import ROW_NAMES

_DIFFTIME = {"secs": "seconds", "mins": "minutes", "hours": "hours", "days": "days", "weeks": "weeks"}


def read_sheet_frame(path, key: str, needed: tuple[str, ...] = ()) -> pd.DataFrame | None:
    """A sheet's columns as text, just as a CSV would hold them; None for files of text.

    path: .rds or .RData (a data frame), Parquet, Feather, or .h5ad (its obs), recognised by content. Missing values are
    "", factors and labelled numbers their labels, whole numbers have no point. Row names of R's and names of
    observations are the column `row_names`. needed: columns that mark the sheet among several data frames. `attrs` may
    have `units`, units of time that R's classes and labels state and why they are in doubt, and `refused`, classes of
    R's that are not read, both by column.

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

    return _r(path, first, needed) if is_r(path, first) else None


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


def _r(path, first: bytes, needed: tuple[str, ...]) -> pd.DataFrame:
    from cpgtaxa.input.matrices_r import row_names
    from cpgtaxa.input.r_files import chosen, read_r, strings

    objects = read_r(path, first, precise=True)
    fitting = {
        key: one
        for key, one in objects.items()
        if one.what == "data frame" and {*needed} <= {*strings(one.attributes["names"])}
    }
    if needed and len(fitting) == 1:
        thing = next(iter(fitting.values()))
    else:
        thing = chosen(path, objects, None, ("data frame",), "the sample sheet")
    names = [given or "" for given in strings(thing.attributes["names"])]
    rows = row_names(thing)
    columns = {} if rows is None or ROW_NAMES in names else {ROW_NAMES: rows}
    units, refused = {}, {}
    for label, column in zip(names, thing.raw.value, strict=True):
        columns[label.strip()], unit, kind = r_column(column, thing.shape[0])
        units |= {label.strip(): unit} if unit else {}
        refused |= {label.strip(): kind} if kind else {}
    frame = pd.DataFrame({label: pd.Series(column, dtype=object) for label, column in columns.items()})
    frame.attrs = {"units": units, "refused": refused}
    return frame


def r_column(column, n_rows: int) -> tuple[list[str], tuple | None, str | None]:
    """A column of a data frame of R's as text, "" where missing; the unit that its class, label or attribute `units`
    states, and why it is in doubt, None where nothing is said; and its class where that cannot be read, the text then
    being "" throughout."""
    from cpgtaxa.input.r_files import KINDS, PLAIN, attribute, classes, levels, strings

    kinds = [kind for kind in classes(column) if kind not in (*PLAIN, "table", "array", "matrix")]
    missing, unit = [""] * n_rows, None
    if len(column.value) != n_rows:
        return missing, None, next(iter(kinds), "matrix")
    if (label := attribute(column, "label")) is not None and label.info.type is KINDS.STR:
        unit = unit_of_name(f"x {strings(label)[0] or ''}")
        unit = unit if any(unit) else None
    if (word := attribute(column, "units")) is not None and word.info.type is KINDS.STR:  # Hmisc
        said = strings(word)[0] or ""
        unit = (UNITS[bare(said)], None) if bare(said) in UNITS else (None, f"says {said!r}")
    found = levels(column)
    if found is not None:
        return ["" if text is None else text.strip() for text in found], unit, None
    if column.info.type not in (KINDS.REAL, KINDS.INT, KINDS.LGL):
        return missing, None, next(iter(kinds), "list" if column.info.type is KINDS.VEC else "a type without numbers")
    values, gone = np.ma.getdata(column.value), np.ma.getmaskarray(column.value)
    if column.info.type is KINDS.LGL:
        return ["" if no else "TRUE" if value else "FALSE" for value, no in zip(values, gone, strict=True)], unit, None
    if column.info.type is KINDS.REAL:
        gone = gone | np.isnan(values)
    if "integer64" in kinds:
        whole = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
        gone = whole == np.iinfo(np.int64).min
        return ["" if no else str(value) for value, no in zip(whole.tolist(), gone, strict=True)], unit, None
    if "Date" in kinds or "POSIXct" in kinds:
        step = "datetime64[D]" if "Date" in kinds else "datetime64[s]"
        times = np.where(gone, 0, np.floor(values)).astype(step).astype(str).tolist()
        return ["" if no else time for time, no in zip(times, gone, strict=True)], unit, None
    texts = ["" if no else _number(value) for value, no in zip(values.tolist(), gone, strict=True)]
    if "difftime" in kinds:
        said = _DIFFTIME.get(strings(word)[0]) if word is not None else None
        return (texts, (said, None), None) if said else (missing, None, "difftime")
    if "haven_labelled" in kinds or "labelled" in kinds:
        return _labelled(column, texts), unit, None
    return (missing, None, kinds[0]) if kinds else (texts, unit, None)


def _labelled(column, texts: list[str]) -> list[str]:
    """Numbers whose meaning labels give (haven): the labels in their place; what SPSS calls missing is missing."""
    from cpgtaxa.input.r_files import KINDS, attribute, strings

    def numbers(name: str) -> list[str]:
        found = attribute(column, name)
        if found is None or found.info.type not in (KINDS.REAL, KINDS.INT):
            return []
        return [_number(value) for value in np.ma.getdata(found.value).astype(float).tolist()]

    none = set(numbers("na_values"))
    low, high = [float(bound) for bound in numbers("na_range")] or (np.inf, -np.inf)
    labels = attribute(column, "labels")
    words = attribute(labels, "names") if labels is not None else None
    meaning = dict(zip(numbers("labels"), strings(words), strict=False)) if words is not None else {}
    return [
        "" if not text or text in none or low <= float(text) <= high else (meaning.get(text) or text).strip()
        for text in texts
    ]

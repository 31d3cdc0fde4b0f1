"""The sample sheet: which samples there are, how old they are, and what else is known of them."""

import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.errors import reason_of, some
from cpgtaxa.streams import (
    DAMAGE,
    EXAMPLES,
    MISSING,
    Unreadable,
    codec_of,
    magic,
    many,
    read_all,
    refuse_foreign,
    stream_of,
)
from cpgtaxa.tables import read_sheet_frame
from cpgtaxa.texts import MOST, csv_rows, lines_of, separator_of

OLDEST = 125.0


def read_sheet(path: pathlib.Path, columns: dict) -> tuple[pd.DataFrame, list[str]]:
    """The sheet as text, its columns under our names, plus `row` (line in the file); and the problems found."""
    needed = tuple(columns.get(name) or name for name in ("sample_id", "age"))
    frame = read_sheet_frame(path, "cohort.samples", needed=needed)
    rows = _text_rows(path) if frame is None else [(0, list(frame)), *enumerate(frame.values.tolist(), 1)]
    names = rows[0][1] if rows else []
    rows = rows[1:]
    if not rows:
        raise Unreadable(f"{path} has a header but no rows: there is not a single sample in it")
    if all(len(row) == len(names) + 1 for _, row in rows):
        names = ["row_names", *names]  # R's write.table: row names without a heading
    elif not names[0]:
        names[0] = "row_names"
    names = [name or f"column_{number}" for number, name in enumerate(names, 1)]

    problems = []
    odd = [f"line {number} ({many(len(row), 'field')})" for number, row in rows if len(row) != len(names)]
    if odd:
        problems.append(
            f"{path}: {many(len(odd), 'row')} with another number of fields than the header's {len(names)}: "
            f"{', '.join(odd[:EXAMPLES])}. Quote fields that contain the separator"
        )
        rows = [(number, row) for number, row in rows if len(row) == len(names)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems.append(f"{path} has several columns of the same name: {some(twice)}. Rename or remove them")
    frame = pd.DataFrame([row for _, row in rows], columns=names, dtype=object)
    frame = frame.loc[:, ~frame.columns.duplicated()]

    ours = {"sample_id": columns.get("sample_id") or "sample_id", "age": columns.get("age") or "age"}
    sex = columns.get("sex")
    if sex and (sex in frame or sex != "sex"):  # a column called `sex` may be absent
        ours["sex"] = sex
    for name, theirs in ours.items():
        if theirs not in frame:
            problems.append(
                f"{path} has no column {theirs!r}; its columns are {some(names, 20)}. "
                f"Set `cohort.columns.{name}` to the one that holds the {_MEANING[name]}"
            )
    ours = {name: theirs for name, theirs in ours.items() if theirs in frame}
    sheet = pd.DataFrame({name: frame[theirs] for name, theirs in ours.items()})
    covariates = frame.drop(columns=[*ours.values(), *(["row_names"] if "row_names" in frame else [])], errors="ignore")
    for name in covariates:
        sheet[f"sheet_{name}" if name in ("sample_id", "age", "sex", "row") else name] = covariates[name]
    sheet["row"] = [number for number, _ in rows]
    return sheet, problems


def _text_rows(path: pathlib.Path) -> list[tuple[int, list[str]]]:
    """Line and fields of each row of a sheet that is text, its header first."""
    first = magic(path, "cohort.samples")
    refuse_foreign(path, first)
    codec = codec_of(first)
    try:
        data = read_all(stream_of(path, codec)[1], MOST)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path} is not text in UTF-8: save it as CSV (UTF-8)") from error
    except DAMAGE as error:
        raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    if not text.strip():
        raise Unreadable(f"{path} is empty: check `cohort.samples` and how the file was made")
    if "\0" in text:
        raise Unreadable(f"{path} is not text, it holds NUL bytes: save it as CSV (UTF-8)")
    separator = separator_of(lines_of(text.lstrip())[0])
    if separator is None:
        raise Unreadable(
            f"{path} has a single column. Expected: one row per sample, columns for its id and its age in years, "
            "separated by commas or tabs"
        )
    return csv_rows(text, separator, str(path))


_MEANING = {"sample_id": "sample ids", "age": "ages in years", "sex": "sexes (or to null)"}


def check_ids(path, sheet: pd.DataFrame) -> list[str]:
    problems = []
    empty = sheet["row"][sheet["sample_id"].isin(MISSING)]
    if len(empty):
        problems.append(
            f"{path}: {many(len(empty), 'row')} without a sample id: line {numbered(empty)}. Fill in or remove"
        )
    ids = sheet["sample_id"][~sheet["sample_id"].isin(MISSING)]
    twice = ids[ids.duplicated()].unique()
    if len(twice):
        where = [f"{name!r} (lines {numbered(sheet['row'][sheet['sample_id'] == name])})" for name in twice[:EXAMPLES]]
        more = f" and {len(twice) - EXAMPLES} more" if len(twice) > EXAMPLES else ""
        problems.append(
            f"{path}: {many(len(twice), 'sample')} listed more than once: {', '.join(where)}{more}. Keep one row each"
        )
    return problems


def numbered(numbers, limit: int = 5) -> str:
    numbers = list(numbers)
    return ", ".join(str(number) for number in numbers[:limit]) + (
        f" and {len(numbers) - limit} more" if len(numbers) > limit else ""
    )


def check_ages(path, sheet: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Ages in years (NaN where there is none), and what is wrong with them."""
    given = sheet["age"]
    ages = np.array(pd.to_numeric(given, errors="coerce"), dtype=float)
    ages[~np.isfinite(ages)] = np.nan
    names = sheet["sample_id"] if "sample_id" in sheet else sheet["row"].astype(str)

    def listed(mask, value) -> str:
        places = zip(names[mask], sheet["row"][mask], value[mask], strict=True)
        return ", ".join(f"{name!r} (line {row}): {found!r}" for name, row, found in list(places)[:EXAMPLES])

    problems = []
    lacking = given.isin(MISSING).to_numpy()
    if lacking.any():
        where = [
            f"{name!r} (line {row})"
            for name, row in list(zip(names[lacking], sheet["row"][lacking], strict=True))[:EXAMPLES]
        ]
        problems.append(
            f"{path}: {many(int(lacking.sum()), 'sample')} without an age: {', '.join(where)}. "
            "Give the age in years, or remove the row and set `cohort.unmatched: drop`"
        )
    text = np.isnan(ages) & ~lacking
    if text.any():
        problems.append(
            f"{path}: {many(int(text.sum()), 'age')} not a number: {listed(text, given)}. Give the age in years"
        )
    valid = ages[~np.isnan(ages)]
    if not len(valid):
        return ages, problems
    negative = ages < 0
    if negative.any():
        problems.append(
            f"{path}: {many(int(negative.sum()), 'age')} negative: {listed(negative, given)}. Give the age in years"
        )
    old = ages > OLDEST
    median = float(np.median(valid))
    if median > 200:
        unit, remedy = ("months", "divide by 12") if median < 1500 else ("days", "divide by 365.25")
        if valid.min() >= 1900 and valid.max() <= 2030:
            unit, remedy = "years of birth", "subtract them from the year of sampling"
        problems.append(
            f"{path}: the ages (median {median:,.6g}, largest {valid.max():,.6g}) look like {unit}; "
            f"give years: {remedy}"
        )
    elif old.any():
        problems.append(
            f"{path}: {many(int(old.sum()), 'age')} above {OLDEST:g} years: {listed(old, given)}. Give the age in years"
        )
    if len(valid) > 1 and valid.min() == valid.max():
        problems.append(
            f"{path}: all ages are equal ({valid[0]:g}): without different ages nothing can be said about ageing"
        )
    return ages, problems


def typed(column: pd.Series) -> pd.Series:
    """A covariate as numbers if all its values are, else as text; what stands for missing is missing."""
    column = column.where(~column.isin(MISSING), None)
    number = pd.to_numeric(column, errors="coerce")
    return number if number.notna().equals(column.notna()) else column.astype("str")

"""The sample sheet: which samples there are, how old they are, and what else is known of them."""

import json
import pathlib
import re

import numpy as np
import pandas as pd

from cpgtaxa.errors import reason_of, some
from cpgtaxa.input.delimited import aligned
from cpgtaxa.input.series import is_series
from cpgtaxa.input.standard_layout import sexes_of
from cpgtaxa.input.streams import (
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
from cpgtaxa.input.tables import read_sheet_frame
from cpgtaxa.input.texts import MOST, ROW_NAMES, lines_of, table_rows

OLDEST = 125.0
PER_YEAR = {"years": 1.0, "months": 12.0, "weeks": 52.1775, "days": 365.25}

# --- common names of columns, without case, blanks and punctuation; the best first -----------------------------------

IDS = (
    *(
        "sampleid",
        "sample",
        "samplename",
        "samplenames",
        "sampleids",
        "basename",
        "sentrix",
        "barcode",
        "sentrixbarcode",
    ),
    *("idat", "geoaccession", "gsm", "gsmid", "geoid", "accession", "arrayid", "chipid", "id", "ids", "name", "names"),
    *("title", "sampletitle", "description", "subjectid", "subject", "rownames", "column1", "x"),
)
"""`sentrix` stands for the chip and the position on it, joined."""
CHIPS = ("sentrixid", "slide", "sentrixbarcode", "chip", "chipid", "beadchip")
POSITIONS = ("sentrixposition", "array", "position", "sentrixrow", "row")
SEXES = (
    *("sex", "gender", "reportedsex", "sexreported", "reportedgender", "biologicalsex", "donorsex", "patientsex"),
    *("subjectsex", "samplesex", "geneticsex", "sexatbirth", "donorgender", "patientgender", "subjectgender"),
    *("inferredsex", "estimatedsex", "predictedsex", "predictedgender"),
)
_AGES = (
    *(
        "age",
        "ages",
        "chronologicalage",
        "chronage",
        "calendarage",
        "sampleage",
        "patientage",
        "donorage",
        "subjectage",
    ),
    *("participantage", "ageatdraw", "ageatblooddraw", "ageatsampling", "ageatsample", "ageatcollection", "ageatvisit"),
    *("ageatsamplecollection", "ageatrecruitment", "ageatenrollment", "ageatenrolment", "ageatbaseline", "ageatexam"),
    *("ageatbloodcollection", "ageatmeasurement", "ageattimeofsampling", "ageattimeofcollection"),
)
UNITS = {
    **dict.fromkeys(("y", "yr", "yrs", "year", "years", "yo", "yearsold", "yearold"), "years"),
    **dict.fromkeys(("mo", "mos", "mth", "mths", "month", "months", "monthsold"), "months"),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks", "weeksold"), "weeks"),
    **dict.fromkeys(("d", "day", "days", "daysold"), "days"),
}
_VALUE = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))[\s_-]*([a-z/. ]+)", re.IGNORECASE)
_RANGE = re.compile(
    r"[a-z:\s]*(?:[<>≤≥~]=?\s*\d.*|\d+(?:\.\d+)?\s*(?:-|–|to)\s*\d+(?:\.\d+)?\b.*|\d+(?:\.\d+)?\s*\+.*)"
)
_DATE = re.compile(r"\d+[-/.]\d+[-/.]\d+.*")


def bare(name: str) -> str:
    """A column's name without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def unit_said(name: str) -> str | None:
    """The unit that a column's name ends with, or holds in brackets: `age_months`, `Age (years)`, `ageDays`."""
    bracketed = re.findall(r"[(\[]\s*(?:in\s+)?([a-z ]+?)\s*[)\]]", name.casefold())
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    last = words[-1:] if len(words) > 1 else []
    found = next((UNITS[bare(word)] for word in (*bracketed, *last) if bare(word) in UNITS), None)
    plain = bare(name)
    return found or next(
        (UNITS[plain[len(age) :]] for age in _AGES if plain.startswith(age) and plain[len(age) :] in UNITS), None
    )


def _is_age(name: str) -> bool:
    plain = bare(name)
    return any(
        plain == age or (plain.startswith(age) and plain[len(age) :].removeprefix("in") in UNITS) for age in _AGES
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def read_sheet(path: pathlib.Path, columns: dict, known: set[str] | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The sheet as text, its columns under our names, plus `row` (line in the file); and the problems found.

    `columns` maps sample_id, age and sex to columns; None is found by common names, sample_id among several by which
    holds ids that are `known`, those of the matrix. A GEO series matrix is a sheet too (`geo.read_samples`); its
    ages must be named.

    The sheet's `attrs` tell `chosen` (which column serves for what), `notes` (what was translated) and `rows` (what
    `row` counts: line or sample). Raises Unreadable where nothing can be read.
    """
    notes = []
    first = magic(path, "cohort.samples")
    codec = codec_of(first)
    needed = tuple(columns[name] for name in ("sample_id", "age") if columns.get(name))
    given = read_sheet_frame(path, "cohort.samples", needed=needed)
    if series := given is None and is_series(path, codec):
        from cpgtaxa.input import geo  # whose matrices know this module's neighbours

        frame, rows, problems = geo.read_samples(path, codec)
    elif given is None:
        refuse_foreign(path, first)
        text, notes = _decoded(path, codec)
        frame, rows, problems, said = _table(path, text)
        notes += said
    else:
        frame, rows, problems = given, list(range(1, len(given) + 1)), []
    sheet, found = _named(path, frame, columns, known, series)
    sheet["row"] = rows
    sheet.attrs["notes"] = [*notes, *sheet.attrs["notes"]]
    sheet.attrs["rows"] = "sample" if series else "line" if given is None else "row"
    return sheet, problems + found


def _decoded(path: pathlib.Path, codec: str | None) -> tuple[str, list[str]]:
    """A sheet's text, and notes: UTF-8, or what Windows writes where it is no UTF-8."""
    notes = []
    try:
        data = read_all(stream_of(path, codec)[1], MOST)
    except DAMAGE as error:
        raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise Unreadable(f"{path} is not text in UTF-8: save it as CSV (UTF-8)") from error
        line = data.count(b"\n", 0, error.start) + 1
        notes.append(
            f"{path} is not text in UTF-8 and was read in Windows' code page 1252 (line {line}: "
            f"{lines_of(text)[line - 1][:60]!r}). If letters come out wrong, save it as CSV (UTF-8)"
        )
    if not text.strip():
        raise Unreadable(f"{path} is empty: check `cohort.samples` and how the file was made")
    if "\0" in text:
        raise Unreadable(f"{path} is not text, it holds NUL bytes: save it as CSV (UTF-8)")
    return text, notes


def _table(path: pathlib.Path, text: str) -> tuple[pd.DataFrame, list[int], list[str], list[str]]:
    """A delimited table as text, the line of each row, the problems found, and notes."""
    separator, rows = table_rows(text, str(path))
    if separator is None:
        raise Unreadable(
            f"{path} has a single column. Expected: one row per sample, columns for its id and its age in years, "
            "separated by commas or tabs"
        )
    notes, problems = [], []
    above = next((number for number, (_, row) in enumerate(rows) if sum(map(bool, row)) > 1), 0)
    if above:
        notes.append(
            f"{path}: {many(above, 'line')} above the header not read: {some((row[0] for _, row in rows[:above]), 3)}"
        )
        rows = rows[above:]
    names, rows, odd, doubt = aligned(rows[0][1], rows[1:], separator) if rows else ([], [], [], None)
    if not rows and not odd:
        raise Unreadable(f"{path} has a header but no rows: there is not a single sample in it")
    if names[0] == "":
        names[0] = ROW_NAMES
    names = [name or (ROW_NAMES if name is None else f"column_{number}") for number, name in enumerate(names, 1)]
    if odd:
        listed = ", ".join(f"line {number} ({many(len(row), 'field')})" for number, row in odd[:EXAMPLES])
        problems.append(
            f"{path}: {many(len(odd), 'row')} with another number of fields than the header's {len(names)}: {listed}. "
            "Quote fields that contain the separator"
        )
    if doubt:
        problems.append(f"{path}: {doubt}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems.append(f"{path} has several columns of the same name: {some(twice)}. Rename or remove them")
    frame = pd.DataFrame([row for _, row in rows], columns=names, dtype=object)
    return frame.loc[:, ~frame.columns.duplicated()], [number for number, _ in rows], problems, notes


# --- which column is which -------------------------------------------------------------------------------------------


def _named(path, frame: pd.DataFrame, columns: dict, known, series: bool) -> tuple[pd.DataFrame, list[str]]:
    """The table with our columns first, `attrs` included, and what could not be found."""
    problems, notes = [], []
    chosen: dict[str, str] = {}
    for name in ("sample_id", "age", "sex"):
        theirs = columns.get(name)
        if theirs in frame:
            chosen[name] = theirs
        elif theirs and (theirs, name) != ("sex", "sex"):  # a column called `sex` may be absent
            problems.append(
                f"{path} has no column {theirs!r}; its columns are {some(frame.columns, 20)}. "
                f"Set `cohort.columns.{name}` to the one that holds the {_MEANING[name]}"
            )
    ids = frame[chosen["sample_id"]] if "sample_id" in chosen else None
    if not columns.get("sample_id"):
        found = _id_candidates(frame)
        name, hint = _best_ids(path, found, frame, known)
        problems += hint
        if name:
            chosen["sample_id"], ids = name, found[name]
    if not columns.get("sex"):
        sexes = [name for plain in SEXES for name in frame if bare(name) == plain]
        if sexes:
            chosen["sex"] = sexes[0]
    if not columns.get("age"):
        name, found = _found_age(path, frame, ids, series, chosen.get("sex"))
        problems += found
        if name:
            chosen["age"] = name
    sheet = pd.DataFrame({name: frame[theirs] for name, theirs in chosen.items() if theirs in frame})
    if ids is not None:
        sheet["sample_id"] = ids
        sheet = sheet[["sample_id", *(name for name in ("age", "sex") if name in sheet)]]
    if "sex" in sheet and (sexes := sexes_of(path, sheet["sex"].tolist())):
        sheet["sex"] = sexes
        notes.append(f"{path}: sex codes 0 and 1 read as F and M, as its standard says (methylation array data V-2410)")
    serving = [name for name in chosen.values() if name in frame]
    covariates = frame.drop(columns=[*serving, *(["row_names"] if "row_names" in frame else [])], errors="ignore")
    for name in covariates:
        sheet[f"sheet_{name}" if name in ("sample_id", "age", "sex", "row") else name] = covariates[name]
    sheet.attrs = {"chosen": chosen, "notes": notes, "rows": "line"}
    return sheet, problems


_MEANING = {"sample_id": "sample ids", "age": "ages", "sex": "sexes (or to null)"}


def _id_candidates(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns that may hold sample ids, the best first; chip and position joined under both their names."""
    plain: dict[str, str] = {}
    for name in frame:
        plain.setdefault(bare(name), name)
    found = {}
    for name in IDS:
        if name == "sentrix":
            chip, position = (next((plain[one] for one in names if one in plain), None) for names in (CHIPS, POSITIONS))
            if chip and position:
                found[f"{chip} + {position}"] = frame[chip] + "_" + frame[position]
        elif name in plain:
            found.setdefault(plain[name], frame[plain[name]])
    return found


def _best_ids(path, found: dict[str, pd.Series], frame: pd.DataFrame, known) -> tuple[str | None, list[str]]:
    """The candidate with most ids that are in the matrix, the first of several; and a hint where none has any."""
    shares = {name: len(known.intersection(ids)) for name, ids in found.items()} if known else {}
    best = max(shares, key=shares.get, default=next(iter(found), None))
    if not best or (known and not shares[best]):
        others = {name: len(known.intersection(frame[name])) for name in frame} if known else {}
        other = max(others, key=others.get, default=None)
        if other and others[other] > len(frame) / 2:
            return best, [
                f"{path}: the column {other!r} holds ids of the matrix: set `cohort.columns.sample_id: {other}`"
            ]
    if best == ROW_NAMES and known and (named := frame.columns[1]) in found and not shares[named]:
        return best, [
            f"{path}: its rows have one field more than its header; their first fields are the matrix's ids, and those of "
            f"the column {named!r} ({some(frame[named], 3)}) are not, so that a column may lack its name. Write one name "
            "for each column"
        ]
    if not best:
        return None, [
            f"{path} has no column 'sample_id', or of another common name; its columns are {some(frame.columns, 20)}. "
            "Set `cohort.columns.sample_id` to the one that holds the sample ids"
        ]
    if known and not shares[best]:
        for name, ids in found.items():
            starts = {one for one in ids if one}
            longer = [one for one in sorted(known) if "_" in one and any(one[:at] in starts for at in _cuts(one))]
            if len(longer) > len(frame) / 2:
                return best, [
                    f"{path}: the matrix's ids begin with those of the column {name!r} ({some(longer, 2)}), but are "
                    "longer: make them equal in one of the files"
                ]
    return best, []


def _cuts(name: str) -> list[int]:
    return [at for at, sign in enumerate(name) if sign == "_"]


def _found_age(path, frame: pd.DataFrame, ids, series: bool, sex: str | None) -> tuple[str | None, list[str]]:
    """The column of ages by its name, or what to say where there is none, are several, or need to be confirmed."""
    names = [name for name in frame if _is_age(name)]
    if series:
        return None, [_to_confirm(path, frame, names, ids, sex)]
    if len(names) > 1:
        told = [years_of(frame[name], "auto", name)[0] for name in names]
        if all(np.allclose(ages, told[0], rtol=0, atol=1e-6, equal_nan=True) for ages in told[1:]):
            return names[0], []
        shown = "; ".join(_described(name, frame[name]) for name in names)
        return None, [
            f"{path} has several columns that may hold the ages: {shown}. Set `cohort.columns.age` to one of them"
        ]
    if names:
        return names[0], []
    numeric = [name for name in frame if (found := _numbers(frame[name])).notna().mean() > 0.5 and found.nunique() > 1]
    shown = "; ".join(_described(name, frame[name]) for name in numeric[:10]) or "none"
    return None, [
        f"{path} has no column 'age', or of another common name; its columns are {some(frame.columns, 20)}; those with "
        f"numbers: {shown}. Set `cohort.columns.age` to the one that holds the ages"
    ]


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce")


def _described(name: str, column: pd.Series) -> str:
    values = years_of(column, "years", name, convert=False)[0]
    values = values[~np.isnan(values)]
    return f"{name!r} ({values.min():g} to {values.max():g})" if len(values) else f"{name!r} (no numbers)"


def _to_confirm(path, frame: pd.DataFrame, names: list[str], ids, sex: str | None) -> str:
    """What a series' characteristics offer as ages, and the lines of config that take one."""
    ids = frame["geo_accession"] if ids is None else ids
    wider = [name for name in frame if name not in names and re.search(r"(?<![a-z])age(?![a-z])", name.casefold())]
    numbers = {name: years_of(frame[name], "years", name, convert=False)[0] for name in [*names, *wider]}
    offered = [name for name, values in numbers.items() if (~np.isnan(values)).mean() > 0.5]
    if not offered:
        return (
            f"{path} is a GEO series matrix in which no characteristic looks like an age; it has "
            f"{some(frame.columns, 30)}. If one holds the ages, set `cohort.columns.age` to it; else look for the ages "
            "in the series' supplementary files or its paper, and give a sheet of your own"
        )
    lines = [f"{path} is a GEO series matrix of {many(len(frame), 'sample')}. Its ages are used once you confirm them:"]
    units = {}
    for name in offered:
        said = unit_said(name) or _said_by_values(frame[name])
        units[name] = said or "years"
        values = numbers[name][~np.isnan(numbers[name])]
        given = np.flatnonzero(~np.isnan(numbers[name]))[:3]
        shown = "; ".join(f"{ids.iloc[row]}: {frame[name].iloc[row]}" for row in given)
        unit = said or "years, if nothing else is meant"
        lines.append(
            f"     {name!r}: {unit}; {len(values):,} of {len(frame):,} samples, {values.min():g} to {values.max():g} "
            f"({shown})"
        )
    columns = {"age": offered[0], **({"sex": sex} if sex else {})}
    inner = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in columns.items())
    lines.append(
        "   If the first is right, add to your config:" if len(offered) > 1 else "   If right, add to your config:"
    )
    lines += ["     cohort:", f"       columns: {{{inner}}}", f"       age_unit: {units[offered[0]]}"]
    return "\n".join(lines)


# --- judging ---------------------------------------------------------------------------------------------------------


def check_ids(path, sheet: pd.DataFrame) -> list[str]:
    problems = []
    word = sheet.attrs.get("rows", "line")
    empty = sheet["row"][sheet["sample_id"].isin(MISSING)]
    if len(empty):
        problems.append(
            f"{path}: {many(len(empty), 'row')} without a sample id: {word} {numbered(empty)}. Fill in or remove"
        )
    ids = sheet["sample_id"][~sheet["sample_id"].isin(MISSING)]
    twice = ids[ids.duplicated()].unique()
    if len(twice):
        where = [
            f"{name!r} ({word}s {numbered(sheet['row'][sheet['sample_id'] == name])})" for name in twice[:EXAMPLES]
        ]
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


def _said_by_values(column: pd.Series) -> str | None:
    """The one unit that values such as "67 yrs" name; None where they name none or several."""
    found = {unit for _, unit in map(_parsed, column) if unit}
    return found.pop() if len(found) == 1 else None


def _parsed(text: str) -> tuple[float, str | None]:
    """Number and unit of a value such as "34 mo"; NaN where it is something else."""
    match = _VALUE.fullmatch(text.strip())
    unit = UNITS.get(bare(match[2])) if match else None
    return (float(match[1]), unit) if unit else (np.nan, None)


def years_of(given: pd.Series, unit: str, name: str, convert: bool = True) -> tuple[np.ndarray, str | None, np.ndarray]:
    """Ages in years, NaN where there is no number; the unit that was said, if any; and which values say another one.

    `unit` is that of the config: "auto" takes the one that a value says, else the column's `name`, else the one that
    the other values agree on, else years. `convert=False` leaves the numbers as they stand.
    """
    ages = np.array(pd.to_numeric(given, errors="coerce"), dtype=float)
    ages[~np.isfinite(ages)] = np.nan
    units = np.full(len(ages), None, dtype=object)
    texts = np.flatnonzero(np.isnan(ages) & ~given.isin(MISSING).to_numpy())
    for row in texts:
        ages[row], units[row] = _parsed(given.iloc[row])
    own = {found for found in units if found}
    said = unit if unit != "auto" else unit_said(name) or (own.copy().pop() if len(own) == 1 else None)
    other = np.array([bool(found) and unit != "auto" and found != unit for found in units], dtype=bool)
    if convert:
        ages /= np.array([PER_YEAR[found or said or "years"] for found in units])
    return ages, said or ("mixed" if own else None), other


def check_ages(path, sheet: pd.DataFrame, unit: str = "auto") -> tuple[np.ndarray, list[str]]:
    """Ages in years (NaN where there is none), and what is wrong with them.

    `unit`: "auto", "years", "months", "weeks" or "days"; see `years_of`. The unit is noted in `attrs["chosen"]`.
    """
    given = sheet["age"]
    chosen = sheet.attrs.get("chosen", {})
    column = chosen.get("age", "age")
    ages, said, other = years_of(given, unit, column)
    chosen["age_unit"] = said or "years"
    names = sheet["sample_id"] if "sample_id" in sheet else sheet["row"].astype(str)
    word = sheet.attrs.get("rows", "line")

    def listed(mask, value) -> str:
        places = zip(names[mask], sheet["row"][mask], value[mask], strict=True)
        return ", ".join(f"{name!r} ({word} {row}): {found!r}" for name, row, found in list(places)[:EXAMPLES])

    problems = []
    lacking = given.isin(MISSING).to_numpy()
    if lacking.any():
        where = [
            f"{name!r} ({word} {row})"
            for name, row in list(zip(names[lacking], sheet["row"][lacking], strict=True))[:EXAMPLES]
        ]
        problems.append(
            f"{path}: {many(int(lacking.sum()), 'sample')} without an age: {', '.join(where)}. "
            "Give the age in years, or remove the row and set `cohort.unmatched: drop`"
        )
    text = np.isnan(ages) & ~lacking
    vague = text & np.array(
        [bool(_RANGE.fullmatch(one.lower())) and not _DATE.fullmatch(one) for one in given], dtype=bool
    )
    if vague.any():
        problems.append(
            f"{path}: {many(int(vague.sum()), 'age')} a range or a bound: {listed(vague, given)}. Each sample needs "
            "one number: find the exact ages, write the middle of a narrow range, or remove the rows and set "
            "`cohort.unmatched: drop`"
        )
    text &= ~vague
    if text.any():
        problems.append(
            f"{path}: {many(int(text.sum()), 'age')} not a number: {listed(text, given)}. Give the age in years"
        )
    if other.any():
        problems.append(
            f"{path}: {many(int(other.sum()), 'age')} in another unit than `cohort.age_unit: {unit}`: "
            f"{listed(other, given)}. Correct `cohort.age_unit`, or set it to auto"
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
    if median > 200 and said is None:
        likely, remedy = ("months", "divide by 12") if median < 1500 else ("days", "divide by 365.25")
        setting = f", or set `cohort.age_unit: {likely}`"
        if valid.min() >= 1900 and valid.max() <= 2030:
            likely, remedy, setting = "years of birth", "subtract them from the year of sampling", ""
        problems.append(
            f"{path}: the ages (median {median:,.6g}, largest {valid.max():,.6g}) look like {likely}; "
            f"give years: {remedy}{setting}"
        )
    elif old.any():
        as_unit = f", read as {said} (`cohort.age_unit`)" if said not in (None, "years") else ""
        problems.append(
            f"{path}: {many(int(old.sum()), 'age')} above {OLDEST:g} years: {listed(old, given)}{as_unit}. "
            "Give the age in years"
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

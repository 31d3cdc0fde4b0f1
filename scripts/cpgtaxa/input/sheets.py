"""The sample sheet: which samples there are, how old they are, and what else is known of them."""

import json
import pathlib
import re

import numpy as np
import pandas as pd

from cpgtaxa.errors import reason_of, some
from cpgtaxa.input.ages import UNITS, bare, in_years, is_age, said_by_values, unit_column, unit_of_name, unit_of_text
from cpgtaxa.input.delimited import aligned, commas_for_points, lines_above, pointed
from cpgtaxa.input.series import is_series
from cpgtaxa.input.standard_layout import sexes_of
from cpgtaxa.input.streams import (
    DAMAGE,
    EXAMPLES,
    MISSING,
    Unreadable,
    and_more,
    codec_of,
    magic,
    many,
    read_all,
    refuse_foreign,
    stream_of,
)
from cpgtaxa.input.tables import read_sheet_frame
from cpgtaxa.input.texts import MOST, ROW_NAMES, lines_of, table_rows
from cpgtaxa.input.workbooks import is_workbook, read_workbook

# --- common names of columns, without case, blanks and punctuation; the best first -----------------------------------

IDS = (
    "sampleid", "sample", "samplename", "samplenames", "sampleids", "basename", "sentrix", "barcode", "sentrixbarcode",
    "idat", "geoaccession", "gsm", "gsmid", "geoid", "accession", "arrayid", "chipid", "id", "ids", "name", "names",
    "title", "sampletitle", "description", "subjectid", "subject", "rownames", "column1", "x",
)  # fmt: skip
"""`sentrix` stands for the chip and the position on it, joined."""
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d+(?:_.*)?")
"""What spreadsheets make of long numbers, with a position joined to it or not."""
CHIPS = ("sentrixid", "slide", "sentrixbarcode", "chip", "chipid", "beadchip")
POSITIONS = ("sentrixposition", "array", "position", "sentrixrow", "row")
SEXES = (
    "sex", "gender", "reportedsex", "sexreported", "reportedgender", "biologicalsex", "donorsex", "patientsex",
    "subjectsex", "samplesex", "geneticsex", "sexatbirth", "donorgender", "patientgender", "subjectgender",
    "inferredsex", "estimatedsex", "predictedsex", "predictedgender",
)  # fmt: skip
YES_OF_SEX = {
    f"{before}{name}": codes
    for codes, names in ((("F", "M"), ("female", "f")), (("M", "F"), ("male", "m")))
    for name in names
    for before in ("sex", "gender", "is", "")
    if before or len(name) > 1
} | {"women": ("F", "M"), "men": ("M", "F")}
"""Columns named by one sex, such as `female` and R's dummy `sexF`: the sexes that yes and no stand for."""
YES, NO = ("1", "1.0", "true", "yes", "y"), ("0", "0.0", "false", "no", "n")


# --- reading ---------------------------------------------------------------------------------------------------------


def read_sheet(path: pathlib.Path, columns: dict, known: set[str] | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The sheet as text, its columns under our names, plus `row` (line in the file); and the problems found.

    `columns` maps sample_id, age and sex to columns; None is found by common names, sample_id among several by which
    holds ids that are `known`, those of the matrix. A GEO series matrix is a sheet too (`geo.read_samples`); its
    ages must be named.

    The sheet's `attrs` hold `chosen` (which column serves for what), `notes` (what was translated) and `rows` (what
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
    elif given is None and first.startswith(b"PK\x03\x04") and is_workbook(path):
        rows, notes = read_workbook(path, most=MOST, formats=True)
        frame, rows, problems, said = _of_rows(path, rows, "\t")
        notes += said
    elif given is None:
        if not first.startswith(UTF_16):
            refuse_foreign(path, first)
        text, notes = _decoded(path, codec)
        frame, rows, problems, said = _table(path, text)
        notes += said
    else:
        frame, rows, problems = given, list(range(1, len(given) + 1)), []
    sheet, found = _named(path, frame, columns, known, series)
    sheet["row"] = rows
    if {"sample_id", "age"} <= set(sheet) and len(sheet) and sheet["sample_id"].iloc[0] in MISSING:
        unit = UNITS.get(bare(sheet["age"].iloc[0]))
        if unit:  # a second line of the header
            sheet = sheet.iloc[1:].reset_index(drop=True)
            sheet.attrs["stated"] = (unit, f"the line below the header, {sheet.attrs['rows']} {rows[0]}")
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
    if data.startswith(UTF_16):  # Excel's "Unicode text"
        try:
            return data.decode("utf-16"), [f"{path} was read as text in UTF-16"]
        except UnicodeDecodeError as error:
            raise Unreadable(f"{path} is damaged text in UTF-16: save it as CSV (UTF-8)") from error
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
    return _of_rows(path, rows, separator)


def _of_rows(path, rows: list[tuple[int, list[str]]], separator: str) -> tuple:
    """A table as text from its rows, the header among the first; what `_table` returns."""
    notes, problems, units = [], [], []
    above = lines_above([row for _, row in rows])
    if above:
        for number, row in rows[:above]:
            unit, doubt = unit_of_text(" ".join(row))
            units += [(unit, doubt, f"line {number}, above the header")] if unit or doubt else []
        notes.append(
            f"{path}: {many(above, 'line')} above the header not read: {some((row[0] for _, row in rows[:above]), 3)}"
        )
        rows = rows[above:]
    names, rows, odd, doubt = aligned(rows[0][1], rows[1:], separator) if rows else ([], [], [], None)
    if not rows and not odd:
        raise Unreadable(f"{path} has a header but no rows: there is not a single sample in it")
    if names[0] == "":
        names[0] = ROW_NAMES
    unnamed = names[0] is None
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
    frame = frame.loc[:, ~frame.columns.duplicated()]
    frame.attrs = {"unnamed": unnamed, "above": units}
    return frame, [number for number, _ in rows], problems, notes


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
        sexes += [name for name in frame if bare(name) in YES_OF_SEX and _by_yes(name, frame[name]) is not None]
        if sexes:
            chosen["sex"] = sexes[0]
    if not columns.get("age"):
        name, found = _found_age(path, frame, ids, series, chosen.get("sex"))
        problems += found
        if name:
            chosen["age"] = name
    if ids is not None and known and not known.intersection(ids):
        parts = ids.map(last_part)
        if known.intersection(parts):
            ids = parts
            notes.append(f"{path}: of the ids the last part of the path is taken: {ids.iloc[0]!r}")
    sheet = pd.DataFrame({name: frame[theirs] for name, theirs in chosen.items() if theirs in frame})
    if ids is not None:
        sheet["sample_id"] = ids
        sheet = sheet[["sample_id", *(name for name in ("age", "sex") if name in sheet)]]
    if "sex" in sheet and (sexes := _by_yes(chosen["sex"], sheet["sex"])) is not None:
        sheet["sex"] = sexes
        yes, no = YES_OF_SEX[bare(chosen["sex"])]
        notes.append(f"{path}: yes (1) in the column {chosen['sex']!r} is read as sex {yes}, no (0) as {no}")
    elif "sex" in sheet and (sexes := sexes_of(path, sheet["sex"].tolist())):
        sheet["sex"] = sexes
        notes.append(f"{path}: sex codes 0 and 1 read as F and M, as its standard says (methylation array data V-2410)")
    for name, kind in frame.attrs.get("refused", {}).items():
        if name not in chosen.values():
            notes.append(f"{path}: the column {name!r} is of R's class {kind!r} and was not read")
    serving = [name for name in chosen.values() if name in frame]
    covariates = frame.drop(columns=[*serving, *(["row_names"] if "row_names" in frame else [])], errors="ignore")
    for name in covariates:
        sheet[f"sheet_{name}" if name in ("sample_id", "age", "sex", "row") else name] = covariates[name]
    sheet.attrs = {"chosen": chosen, "notes": notes, "rows": "line", "refused": frame.attrs.get("refused", {})}
    if "age" in chosen:
        place, certain = unit_column(frame, chosen["age"])
        place = f"sheet_{place}" if place in ("sample_id", "age", "sex", "row") else place
        sheet.attrs["unit_column"] = (place, certain)
        of_class = frame.attrs.get("units", {}).get(chosen["age"], (None, None))
        for unit, doubt, where in [(*of_class, "the column's class or label in R"), *frame.attrs.get("above", [])]:
            if unit and "stated" not in sheet.attrs:
                sheet.attrs["stated"] = (unit, where)
            if doubt:
                sheet.attrs["doubt"] = f"{where} {doubt}"
        refused = frame.attrs.get("refused", {})
        problems += [
            f"{path}: the column {theirs!r} is of R's class {refused[theirs]!r}, which is not read. In R, make it "
            + (
                _PLAIN_YEARS.get(refused[theirs], "plain numbers of years")
                if name == "age"
                else "text: as.character(x)"
            )
            for name, theirs in chosen.items()
            if theirs in refused
        ]
    return sheet, problems


_PLAIN_YEARS = {
    **dict.fromkeys(("Duration", "Period"), 'plain numbers of years: as.numeric(x, "years")'),
    "units": 'plain numbers of years: as.numeric(units::set_units(x, "years"))',
}


def _by_yes(name, values: pd.Series) -> list[str] | None:
    """F, M or nothing by the yes and no of a column that is named by one sex; None of other columns and values."""
    if bare(name) not in YES_OF_SEX:
        return None
    yes, no = YES_OF_SEX[bare(name)]
    given = [str(value).strip().lower() for value in values]
    meant = dict.fromkeys(YES, yes) | dict.fromkeys(NO, no) | {str(value).lower(): "" for value in MISSING}
    if not set(given) <= set(meant):
        return None
    return [meant[value] for value in given]


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


def last_part(name: str) -> str:
    """What minfi calls a sample by the path of its raw files, `/data/2009/2009_R01C01_Grn.idat`."""
    return re.sub(r"_(?:Grn|Red)\.idat(?:\.gz)?$", "", re.split(r"[/\\]", name)[-1], flags=re.IGNORECASE)


def _best_ids(path, found: dict[str, pd.Series], frame: pd.DataFrame, known) -> tuple[str | None, list[str]]:
    """The candidate with most ids that are in the matrix, the first of several; and a hint where none has any."""
    shares = {name: len(known.intersection(ids)) for name, ids in found.items()} if known else {}
    if known and not any(shares.values()):
        shares = {name: len(known.intersection(ids.map(last_part))) for name, ids in found.items()}
    best = max(shares, key=shares.get, default=next(iter(found), None))
    if not best or (known and not shares[best]):
        others = {name: len(known.intersection(frame[name])) for name in frame} if known else {}
        other = max(others, key=others.get, default=None)
        if other and others[other] > len(frame) / 2:
            return best, [
                f"{path}: the column {other!r} holds ids of the matrix: set `cohort.columns.sample_id: {other}`"
            ]
    if best == ROW_NAMES and known and frame.attrs.get("unnamed") and not shares.get(named := frame.columns[1], 1):
        return best, [
            f"{path}: its rows have one field more than its header; their first fields are the matrix's ids, and those "
            f"of {named!r} ({some(frame[named], 3)}) are not: a name may be lacking. Write one name for each column"
        ]
    if not best:
        return None, [
            f"{path} has no column 'sample_id', or of another common name; its columns are {some(frame.columns, 20)}. "
            "Set `cohort.columns.sample_id` to the one that holds the sample ids"
        ]
    if known and not shares[best]:
        for name, ids in found.items():
            if sum(map(bool, map(SCIENTIFIC.fullmatch, ids))) > len(frame) / 2:
                return best, [
                    f"{path}: a spreadsheet rewrote the long numbers of {name!r} ({some(ids, 2)}), and their digits "
                    "are lost: export the sheet again from its source, the column formatted as text"
                ]
            starts = {one for one in ids if one}
            longer = [
                one for one in sorted(known) if any(one[: cut.start()] in starts for cut in re.finditer("_", one))
            ]
            if len(longer) > len(frame) / 2:
                return best, [
                    f"{path}: the matrix's ids begin with those of the column {name!r} ({some(longer, 2)}), but are "
                    "longer: make them equal in one of the files"
                ]
    return best, []


def _found_age(path, frame: pd.DataFrame, ids, series: bool, sex: str | None) -> tuple[str | None, list[str]]:
    """The column of ages by its name, or what to say where there is none, are several, or need to be confirmed."""
    names = [name for name in frame if is_age(name)]
    if series:
        return None, [_to_confirm(path, frame, names, ids, sex)]
    if len(names) > 1:
        years = [in_years(frame[name], "auto", name).years for name in names]
        if all(np.allclose(ages, years[0], rtol=0, atol=1e-6, equal_nan=True) for ages in years[1:]):
            return names[0], []
        shown = "; ".join(_described(name, frame[name]) for name in names)
        return None, [
            f"{path} has several columns that may hold the ages: {shown}. Set `cohort.columns.age` to one of them"
        ]
    if names:
        return names[0], []
    numbers = {name: pd.to_numeric(frame[name], errors="coerce") for name in frame}
    numeric = [name for name, found in numbers.items() if found.notna().mean() > 0.5 and found.nunique() > 1]
    shown = "; ".join(_described(name, frame[name]) for name in numeric[:10]) or "none"
    return None, [
        f"{path} has no column 'age', or of another common name; its columns are {some(frame.columns, 20)}; those with "
        f"numbers: {shown}. Set `cohort.columns.age` to the one that holds the ages"
    ]


def _described(name: str, column: pd.Series) -> str:
    values = in_years(column, "auto", name).given
    values = values[~np.isnan(values)]
    return f"{name!r} ({values.min():g} to {values.max():g})" if len(values) else f"{name!r} (no numbers)"


def _to_confirm(path, frame: pd.DataFrame, names: list[str], ids, sex: str | None) -> str:
    """What a series' characteristics offer as ages, and the lines of config that take one."""
    ids = frame["geo_accession"] if ids is None else ids
    wider = [name for name in frame if name not in names and re.search(r"(?<![a-z])age(?![a-z])", name.casefold())]
    numbers = {name: in_years(frame[name], "auto", name).given for name in [*names, *wider]}
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
        said = unit_of_name(name)[0] or said_by_values(frame[name])
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


# --- checking ---------------------------------------------------------------------------------------------------------


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
    if len(twice) and (rewritten := [one for one in twice if SCIENTIFIC.fullmatch(one)]):
        return [
            *problems,
            f"{path}: a spreadsheet rewrote the ids as {some(rewritten)}, so that several samples have the same, and "
            "their digits are lost: export the sheet again from its source, the column formatted as text",
        ]
    if len(twice):
        where = [
            f"{name!r} ({word}s {numbered(sheet['row'][sheet['sample_id'] == name])})" for name in twice[:EXAMPLES]
        ]
        found = f"{many(len(twice), 'sample')} listed more than once: {and_more(where, len(twice))}"
        problems.append(f"{path}: {found}. Keep one row each")
    return problems


def numbered(numbers) -> str:
    """The first few numbers, and how many more there are."""
    numbers = [str(number) for number in numbers]
    return and_more(numbers[:EXAMPLES], len(numbers))


def typed(column: pd.Series) -> pd.Series:
    """A covariate as numbers if all its values are, else as text; what stands for missing is missing.

    Names in digits stay text: such with leading zeros, and different texts that are one number (1E2 and 100).
    """
    column = column.where(~column.isin(MISSING), None)
    given = column.dropna()
    comma = commas_for_points(given, None)
    number = pd.to_numeric(column.map(pointed, na_action="ignore") if comma else column, errors="coerce")
    if not number.notna().equals(column.notna()) or given.str.match(r"[-+]?0\d").any():
        return column.astype("str")
    if number.nunique() < given.nunique():
        return column.astype("str")
    return number

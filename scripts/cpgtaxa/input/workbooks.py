"""Excel workbooks (.xlsx): their first sheet, or one by name, as rows of text."""

import datetime
import pathlib
import re
import zipfile

from cpgtaxa.errors import reason_of, some
from cpgtaxa.input.ages import UNITS, bare
from cpgtaxa.input.streams import Unreadable

MOST = 2 << 30
"""Bytes of XML in a workbook; a zip of a few kilobytes can hold far more than memory does."""


def is_workbook(path) -> bool:
    """Whether a zip archive is an Excel workbook."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def read_workbook(
    path, name: str | None = None, most: int = MOST, formats: bool = False
) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Number and fields of each row that is not blank, as text, and notes.

    name: of the sheet; None takes the first that is not hidden. Numbers are as Excel holds them, not as it shows them;
    whole ones have no point, dates are ISO dates. formats: whether a unit of time that a cell's format shows behind its
    number is taken, and cells merged over rows count for each of them. Raises Unreadable for damaged workbooks and
    those of more than `most` bytes.
    """
    import openpyxl  # only here: it takes a moment

    path = pathlib.Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > most:
            raise Unreadable(f"{path} unpacks to more than {most >> 20} MB: save the sheet as CSV")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        names = book.sheetnames
        if name is not None and name not in names:
            raise Unreadable(f"{path} has no sheet {name!r} (`cohort.object`); it has {some(names, 10)}")
        first = next((one.title for one in book.worksheets if one.sheet_state == "visible"), names[0])
        sheet, notes = book[name or first], []
        if formats:
            rows = [(number, [_shown(cell) for cell in row]) for number, row in enumerate(sheet.iter_rows(), 1)]
            if merged := _fill_merged(path, sheet, rows):
                notes = [f"{path}: merged cells ({some(merged, 3)}) count for each of their rows"]
        else:
            rows = [(number, [_text(value) for value in row]) for number, row in enumerate(sheet.values, 1)]
        book.close()
    except Unreadable:
        raise
    except Exception as error:  # whatever a spoilt archive or its XML leads to
        raise Unreadable(f"{path} is a damaged Excel workbook ({reason_of(error)}): save it as CSV") from error
    rows = [(number, row) for number, row in rows if any(row)]
    if not rows:
        raise Unreadable(f"{path}: the sheet {name or first!r} is empty")
    width = max(place for _, row in rows for place, field in enumerate(row, 1) if field)
    rows = [(number, [*row[:width], *[""] * (width - len(row))]) for number, row in rows]
    others = "" if len(names) == 1 else f"; others are {some([one for one in names if one != (name or first)])}"
    return rows, [f"{path}: the workbook's sheet {name or first!r} was read{others}", *notes]


def _fill_merged(path, sheet, rows: list[tuple[int, list[str]]]) -> list[str]:
    """Put the text of cells that are merged over rows into each of these; their ranges.

    Not those merged over columns, as titles are.
    """
    from openpyxl.utils import range_boundaries

    with zipfile.ZipFile(path) as archive:
        text = archive.read(sheet._worksheet_path).decode("utf-8", "replace")
    filled = []
    for found in re.findall(r'<mergeCell ref="([A-Z]+\d+:[A-Z]+\d+)"', text):
        left, top, right, bottom = range_boundaries(found)
        within = [row for number, row in rows[top - 1 : bottom] if top <= number <= bottom and len(row) >= left]
        if left == right and within and within[0][left - 1]:
            for row in within:
                row[left - 1] = within[0][left - 1]
            filled.append(found)
    return filled


def _shown(cell) -> str:
    """A cell's text, with the unit of time that its format (`0" mo"`) puts behind a number."""
    text = _text(cell.value)
    if not isinstance(cell.value, int | float) or not re.search(r"[\"\\]", cell.number_format):
        return text
    literal = "".join(one or two for one, two in re.findall(r'"([^"]*)"|\\(.)', cell.number_format.split(";")[0]))
    return f"{text} {literal.strip()}" if bare(literal) in UNITS else text


def _text(value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, datetime.datetime | datetime.date) else str(value).strip()

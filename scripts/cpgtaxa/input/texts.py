"""Small text files that people give: named if they are something else, unpacked within bounds, split into fields."""

import csv
import io
import pathlib
import re
import zlib

import pandas as pd
import pyarrow.parquet as pq

from cpgtaxa.errors import InputError, some
from cpgtaxa.files import naming_damage
from cpgtaxa.input.delimited import aligned, declared_separator, separator_among

ROW_NAMES = "row_names"
"""The column of R's row names, which have no heading."""
_SECTION = re.compile(r"\s*\"?\[[A-Za-z][\w ]*\]")
MOST = 256 << 20
"""Bytes of text in a sheet or list; a gzip of a few kilobytes can hold far more than memory does."""

FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: save it as CSV (or unpack it)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"\xfd7zXZ": "compressed with xz: unpack it, or use gzip",
    b"\x89HDF": "an HDF5 file: export the table as CSV",
    b"FEA1": "a Feather file of version 1: write it again with a current `arrow` or `pyarrow`",
    b"RDX": "an R workspace: write the table with write.csv or data.table::fwrite",
    b"X\n\x00": "an R object (.rds): write the table with write.csv or data.table::fwrite",
    b"!Series": "a GEO series matrix, which only a matrix of values or `cohort.samples` may be: give a table",
    b"COREARRAY": 'a GDS file. In R: library(bigmelon); gds <- openfn.gds("file.gds"); beta <- betas(gds)[, ]; '
    'dimnames(beta) <- list(rownames(gds), colnames(gds)); saveRDS(beta, "beta.rds")',
    b"<stata_dta": "a file of Stata: write it as CSV (export delimited)",
    b"$FL2": "a file of SPSS: save it as CSV",
    b"%PDF": "a PDF: save the table as CSV",
    b"\x89PNG": "a PNG image, not a table: check the path",
}
WIDE = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks of encodings with several bytes for a letter."""
PAGE = (b"<!doctype", b"<html", b"<?xml")


def wide_encoding(first: bytes) -> str | None:
    """The encoding, of two or four bytes for a letter, of text that begins with these 16 bytes; None for others."""
    for mark, encoding in WIDE.items():
        if first.startswith(mark):
            return encoding
    for width, places in ((4, {"utf-32-le": 0, "utf-32-be": 3}), (2, {"utf-16-le": 0, "utf-16-be": 1})):
        for encoding, place in places.items():
            letters = first[place : len(first) - len(first) % width : width]
            if len(letters) > 2 and first.count(0) == len(first) - len(letters) and re.fullmatch(rb"[\t -~]+", letters):
                return encoding
    return None


def foreign(first: bytes) -> str | None:
    """What a file is instead of a table, and what to do, by its first 16 bytes; None where nothing is recognised."""
    if first.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGE):
        return "a web page, perhaps the error page of a download, not a table: open it, and download the file again"
    if encoding := wide_encoding(first):
        return f"text in {encoding[:6].upper()}: save it as CSV (UTF-8)"
    return next((what for start, what in FOREIGN.items() if first.startswith(start)), None)


def lines_of(text: str) -> list[str]:
    """The lines of a text. `str.splitlines` would also cut at signs that may stand in names, such as U+2028."""
    return re.split("\r\n|\r|\n", text)


def separator_of(line: str) -> str | None:
    """The separator of a header line: the commonest of tab, comma and semicolon; else a blank; else none."""
    bare = re.sub(r'"[^"]*"', "x", line)
    counts = {separator: bare.count(separator) for separator in "\t,;"}
    best = max(counts, key=counts.get)
    if counts[best]:
        return best
    return " " if " " in bare.strip() else None


def unzipped(data: bytes, most: int) -> bytes | None:
    """What gzip bytes hold, or None if that is more than `most` bytes. Raises EOFError or zlib.error for damage."""
    pieces, size = [], 0
    while data.rstrip(b"\0"):  # members may follow one another, and blocks of zeros the last
        unpack = zlib.decompressobj(wbits=31)
        piece = unpack.decompress(data, most + 1 - size)
        size += len(piece)
        if size > most:
            return None
        if not unpack.eof:
            raise EOFError("it ends before its end")
        pieces.append(piece)
        data = unpack.unused_data
    return b"".join(pieces)


def existing(path, what: str) -> pathlib.Path:
    """The path of a file that is there. what: how messages call it. Raises InputError otherwise."""
    path = pathlib.Path(path)
    if not path.exists():
        looked = "" if path.is_absolute() else f" (looked in {pathlib.Path.cwd()})"
        raise InputError(f"{what} is not there{looked}: check the path")
    if not path.is_file():
        raise InputError(f"{what} is not a file: give the path of the file itself")
    return path


def read_text(path, key: str, most: int = MOST) -> str:
    """The text (UTF-8, plain or gzipped) of a file that the config names under `key`.

    Raises InputError for a file that is missing, no file, empty, something else, damaged, in another encoding, or
    larger than `most` bytes once unpacked.
    """
    path = existing(path, f"{key}: {path}")
    try:
        if path.stat().st_size > most:
            raise InputError(f"{key}: {path} is larger than {most >> 20} MB: this is hardly the right file")
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = unzipped(data, most)
            if data is None:
                raise InputError(f"{key}: {path} unpacks to more than {most >> 20} MB: this is hardly the right file")
    except OSError as error:
        raise InputError(f"{key}: {path} cannot be read ({error.strerror}): check its permissions") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{key}: {path} is damaged or cut off ({error}): copy it again") from error
    if what := foreign(data[:16]):
        raise InputError(f"{key}: {path} is {what}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{key}: {path} is not text in UTF-8 ({error.reason}): save it as CSV (UTF-8)") from error
    if "\0" in text:
        raise InputError(f"{key}: {path} is not text, it holds NUL bytes: save it as CSV (UTF-8)")
    if not text.strip():
        raise InputError(f"{key}: {path} is empty: check how the file was made")
    return text


def csv_rows(text: str, separator: str, what: str) -> list[tuple[int, list[str]]]:
    """Line and stripped fields of each row that is not blank. Raises InputError, beginning with `what`."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader]
    except csv.Error as error:
        raise InputError(
            f"{what}, line {reader.line_num}: {error}. A quotation mark may lack its partner: correct the line"
        ) from error
    return [(number, row) for number, row in rows if any(row)]


def table_rows(text: str, what: str) -> tuple[str | None, list[tuple[int, list[str]]]]:
    """The separator of a table as text (None: a single column), and line and fields of its rows, the header first.

    Excel's `sep=;` is taken and left out, and of Illumina's sample sheets the section [Data] alone is read. Raises
    InputError, beginning with `what`.
    """
    lines = [line for line in lines_of(text) if line.strip()]
    declared = declared_separator(lines[0]) if lines else None
    starts = [number for number, line in enumerate(lines[:1000]) if _SECTION.match(line)]
    data = next((number for number in starts if lines[number].lstrip('" ').lower().startswith("[data]")), None)
    separator = declared or separator_among(
        lines[1 if data is None and declared else 0 if data is None else data + 1 :]
    )
    rows = csv_rows(text, separator or ",", what)
    if declared:
        rows = rows[1:]
    if data is not None:
        heads = [number for number, (_, row) in enumerate(rows) if _SECTION.match(row[0])]
        begin = next((number for number in heads if rows[number][1][0].lower().startswith("[data]")), -1)
        rows = rows[begin + 1 : next((number for number in heads if number > begin), None)]
    return separator, rows


def read_table(path, key: str, needed: tuple[str, ...]) -> tuple[dict[str, list[str]], list[int]]:
    """Columns by name, as stripped text, and the line of each row, of a CSV or TSV with a header; see `read_text`.

    Raises InputError also where a column of `needed` is lacking, or rows have another number of fields.
    """
    separator, rows = table_rows(read_text(path, key), f"{key}: {path}")
    header, rows = (rows[0][1], rows[1:]) if rows else ([], [])
    given, rows, odd, doubt = aligned(header, rows, separator)
    names = [ROW_NAMES if name is None else name for name in given]
    lacking = [name for name in needed if name not in names]
    if lacking:
        raise InputError(
            f"{key}: {path} needs the columns {' and '.join(needed)} in its header; found {some(header) or 'none'}"
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(f"{key}: {path} has several columns of the same name: {some(twice)}. Rename or remove them")
    if not rows and not odd:
        raise InputError(f"{key}: {path} has a header but no rows: check how the file was made")
    if odd:
        listed = ", ".join(f"line {number} ({len(row)})" for number, row in odd[:5])
        raise InputError(
            f"{key}: {path}: {len(odd)} rows with another number of fields than the header's {len(names)}: "
            f"{listed}{' …' if len(odd) > 5 else ''}. Write rows in full, and quote fields that contain the separator"
        )
    if doubt:
        raise InputError(f"{key}: {path}: {doubt}")
    return {name: [row[at] for _, row in rows] for at, name in enumerate(names)}, [number for number, _ in rows]


def read_taxa(path, key: str) -> tuple[pd.DataFrame, list[int]]:
    """A table of taxa as text (columns cpg, taxon and whatever else there is), and the line or row of each entry.

    CSV or TSV (may be gzipped) or Parquet, recognised by content. Raises InputError as `read_table` does.
    """
    needed = ("cpg", "taxon")
    path = pathlib.Path(path)
    try:
        with open(path, "rb") as handle:
            parquet = handle.read(4) == b"PAR1"
    except OSError:
        parquet = False
    if not parquet:
        columns, lines = read_table(path, key, needed)
        return pd.DataFrame(columns, dtype=object), lines
    with naming_damage(f"{key}: {path}", "copy it again"):
        table = pq.read_table(path).replace_schema_metadata()
        table.validate(full=True)
        frame = table.to_pandas()
    if not set(needed) <= set(frame.columns):
        raise InputError(f"{key}: {path} needs the columns cpg and taxon; found {some(frame.columns) or 'none'}")
    for name in needed:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str).str.strip()
    return frame, list(range(1, len(frame) + 1))

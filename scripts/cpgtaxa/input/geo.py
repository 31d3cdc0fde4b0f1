"""GEO series matrices (`GSE…_series_matrix.txt.gz`): their samples as a sheet, their table as a matrix.

Format: https://www.ncbi.nlm.nih.gov/geo/info/soft.html. Own lines and not GEOparse, which holds whole series in memory:
the table must be streamed, and of the head a few lines are wanted.
"""

import pathlib
import re

import pandas as pd

from cpgtaxa.errors import reason_of, some
from cpgtaxa.input.matrices import LONGEST_LINE, TextMatrix
from cpgtaxa.input.series import BEGIN, END
from cpgtaxa.input.streams import DAMAGE, Unreadable, fields_of, many, stream_of
from cpgtaxa.input.texts import MOST

ONCE = ("geo_accession", "title", "source_name_ch1", "platform_id")
"""Fields of a sample that become columns as they are."""
_IDAT = re.compile(r"([^/\s]*?)_?(\d{9,}_R\d{2}C\d{2})_(?:Grn|Red)\.idat", re.IGNORECASE)


def _lines(path: pathlib.Path, codec: str | None):
    """The lines of a file, as bytes with their ends. Raises OSError beyond LONGEST_LINE bytes in one."""
    _, stream = stream_of(path, codec)
    rest = []
    size = 0
    while data := stream.read(1 << 20):
        *whole, last = data.split(b"\n")
        for line in whole:
            yield b"".join((*rest, line, b"\n"))
            rest, size = [], 0
        rest.append(last)
        size += len(last)
        if size > LONGEST_LINE:
            raise OSError(f"a line of more than {size >> 20} MB")
    if any(rest):
        yield b"".join(rest)


def _words(line: bytes) -> list[str]:
    """The fields of a line of the head. A quotation mark within a text must not swallow the next ones."""
    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
    fields = fields_of(text, "\t")
    if len(fields) != text.count("\t") + 1:
        fields = [field.strip().strip('"').strip() for field in text.split("\t")]
    return fields


def head(path: pathlib.Path, codec: str | None) -> tuple[list[list[str]], list[str], int]:
    """What is said before the table; the table's header and first row, as far as there are; lines up to the header.

    Raises Unreadable for a damaged file, and for one without a table.
    """
    said, table, number, size = [], [], 0, 0
    begun = False
    try:
        for number, line in enumerate(_lines(path, codec), 1):
            if begun:
                if line.strip():
                    table.append(line.decode("utf-8", errors="replace").rstrip("\r\n"))
                if len(table) == 2 or line.startswith(END):
                    break
                if len(table) == 1:
                    skip = number
            elif line.startswith(BEGIN):
                begun, skip = True, number
            elif line.startswith((b"!Sample_", b"!Series_supplementary_file", b"!Series_platform_id")):
                size += len(line)
                if size > MOST:
                    raise OSError(f"more than {MOST >> 20} MB before the table")
                said.append(line)
    except DAMAGE as error:
        raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    if not begun:
        raise Unreadable(
            f"{path} is a GEO series matrix that ends before its line `{BEGIN.decode()}`: it is cut off. Download it "
            "again"
        )
    return [_words(line) for line in said], table, skip


class SeriesMatrix(TextMatrix):
    """The table of a series matrix, CpGs in rows, samples named by their GSM numbers."""

    def _head(self) -> tuple[list[str], list[int]]:
        said, table, self._lines_before = head(self.path, self.codec)
        rows = [line for line in table if not line.startswith(END.decode())]
        if len(rows) < 2:
            if not any(line.startswith(END.decode()) for line in table):
                raise Unreadable(f"{self.path} is damaged or cut off (it ends in its table): copy it again")
            apart = [pathlib.PurePosixPath(name).name for words in said for name in words[1:] if _is_apart(words, name)]
            found = f" (this series names {some(apart, 10)})" if apart else ""
            raise Unreadable(
                f"{self.path} is a GEO series matrix with an empty table: large series keep their values in a "
                f"supplementary file{found}. Download that one and name it in `cohort.beta`; keep this file as "
                "`cohort.samples`, with `cohort.columns.sample_id` set to what names the columns there: title, "
                "geo_accession, barcode …"
            )
        return rows, [0] * len(rows)

    def _chunks(self):
        """The rows of the table alone. Raises EOFError where its last line is lacking."""
        skip, ended = self._lines_before, False
        for chunk in super()._chunks():
            start = 0
            while skip and (end := chunk.find(b"\n", start)) >= 0:
                start, skip = end + 1, skip - 1
            if skip or ended:  # read to its end, for the checksum of what is packed
                continue
            stop = chunk.find(b"\n" + END, max(start - 1, 0)) + 1
            if not stop and not chunk.startswith(END, start):
                yield chunk[start:] if start else chunk
                continue
            ended = True
            yield chunk[start:stop] if stop else b""
        if not ended:
            raise EOFError(f"there is no line `{END.decode()}`")


def _is_apart(words: list[str], name: str) -> bool:
    return words[0] == "!Series_supplementary_file" and not name.upper().endswith(("_RAW.TAR", "NONE", "FILELIST.TXT"))


def read_samples(path: pathlib.Path, codec: str | None) -> tuple[pd.DataFrame, list[int], list[str]]:
    """The samples of a series matrix as text; their numbers in the file, from 1; and the problems found.

    One row per sample: geo_accession, title, source_name_ch1, platform_id; `idat` and `barcode`, from the names of the
    raw files, and descriptions, where each sample has its own; and each characteristic `key: value` under its key,
    whichever line it stands on. A key found again for the same sample becomes `key_2`; what has no key is
    `characteristics_N`, N being the line among the characteristics.
    """
    said, _, _ = head(path, codec)
    lines = [(words[0].removeprefix("!Sample_"), words[1:]) for words in said if words[0].startswith("!Sample_")]
    ids = next((values for name, values in lines if name == "geo_accession"), None)
    if not ids:
        raise Unreadable(
            f"{path} is a GEO series matrix without a line `!Sample_geo_accession`: it names no sample. Download it "
            "again"
        )
    columns = _Columns(len(ids))
    problems, number = [], 0
    odd = sorted({f"!Sample_{name} ({len(values)})" for name, values in lines if len(values) != len(ids)})
    if odd:
        problems.append(f"{path}: lines with another number of fields than the {many(len(ids), 'sample')}: {some(odd)}")
    lines = [(name, values) for name, values in lines if len(values) == len(ids)]
    for wanted in ONCE:
        for name, values in lines:
            if name == wanted:
                columns.add_all(name, values)
    for name, values in lines:
        if name.startswith("characteristics_ch"):
            number += 1
            channel = "" if name.endswith("ch1") else f" (channel {name.removeprefix('characteristics_ch')})"
            for at, value in enumerate(values):
                key, colon, rest = (part.strip() for part in value.partition(":"))
                if colon and key:
                    columns.add(key + channel, at, rest)
                elif value:
                    columns.add(f"characteristics_{number}{channel}", at, value)
        elif name == "description" and len(set(values)) == len(ids):
            columns.add_all(name, values)
        elif name.startswith("supplementary_file") and "barcode" not in columns.names:
            found = [_IDAT.search(value) for value in values]
            if all(found):
                columns.add_all("idat", [f"{one[1]}_{one[2]}" if one[1] else one[2] for one in found])
                columns.add_all("barcode", [one[2] for one in found])
    return columns.frame(), list(range(1, len(ids) + 1)), problems


class _Columns:
    """Columns under construction; names that differ only in case are one."""

    def __init__(self, n: int):
        self.n = n
        self.names: dict[str, str] = {}
        self.values: dict[str, dict[int, str]] = {}

    def add(self, name: str, at: int, value: str) -> None:
        again, key = 1, name.casefold()
        while at in self.values.get(key, {}):
            again += 1
            key = f"{name.casefold()}_{again}"
        self.names.setdefault(key, name if again == 1 else f"{name}_{again}")
        self.values.setdefault(key, {})[at] = value

    def add_all(self, name: str, values: list[str]) -> None:
        for at, value in enumerate(values):
            self.add(name, at, value)

    def frame(self) -> pd.DataFrame:
        found = {name: [self.values[key].get(at, "") for at in range(self.n)] for key, name in self.names.items()}
        return pd.DataFrame(found, dtype=object)

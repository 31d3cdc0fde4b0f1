"""Matrices of values as people have them, read block by block: CpGs in rows, samples in columns."""

import concurrent.futures
import json
import pathlib
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from cpgtaxa.errors import reason_of, some
from cpgtaxa.input import plain_text
from cpgtaxa.input.delimited import (
    LOOKED_AT,
    Layout,
    commas_for_points,
    declared_separator,
    lines_above,
    separator_among,
)
from cpgtaxa.input.probes import KIND
from cpgtaxa.input.streams import DAMAGE, EXAMPLES, MISSING, Unreadable, fields_of, many, refuse_foreign, stream_of
from cpgtaxa.input.texts import lines_of

BLOCK_BYTES = 48 << 20
"""Text parsed at a time: with thousands of columns, smaller blocks cost more per column than per value."""
LONGEST_LINE = 1 << 28
"""Bytes in a row of the matrix. Where a file holds no line ends, memory must not grow with its unpacked size."""
MOST_ARE = 0.5
PACKED = {"gzip": 2.2, "bz2": 2.5, "zstd": 2.2}
"""Bytes of text in a byte of compressed betas: their digits are nearly random."""


class TextMatrix:
    """A delimited text file, possibly compressed: CpGs in rows.

    row_names: whether the ids have no heading, as R's `write.table` leaves it; heading: what it is, else. notes: what
    was understood that the user should know.
    """

    def __init__(self, path: pathlib.Path, codec: str | None):
        self.path, self.codec = path, codec
        self.odd_rows: list[str] = []
        self.n_odd_rows = 0
        self.notes: list[str] = []
        self._raw = None
        header, rows = self._begin()
        names = fields_of(header, self.separator)
        if not rows:
            if len(names) < 2:
                raise Unreadable(self._single())
            raise Unreadable(f"{path} has a header but no rows: there is not a single CpG in it")
        fields = [fields_of(row, self.separator) for row in rows]
        layout = Layout(names, fields)
        if doubt := layout.doubt():
            raise Unreadable(f"{path}: {doubt}")
        self.row_names, self.heading = layout.row_names, layout.names[0]
        self.samples = [name or "" for name in layout.names[1:]]
        if not self.samples or self.separator is None:
            raise Unreadable(self._single())
        self.as_text: set[int] = set()
        self._first = fields
        self.n_fields, self._spare = layout.n_fields, [str(place) for place in layout.spare]
        self._point = "."
        if commas_for_points([field for row in fields for field in row[1:]], self.separator):
            self._point = ","
            self.notes.append(f"{path}: decimal commas were read as points")
        self._row_bytes = len(rows[0]) + 1
        self._block = max(BLOCK_BYTES, 4 * max(len(header), len(rows[0])))

    def looks_like_text(self, column: int) -> bool:
        """Whether a column has something else than numbers in the first rows; `as_text` then spares trying."""
        given = (row[column + 1] for row in self._first if len(row) > column + 1)
        return any(re.fullmatch(r"\s*[<≤].*", field) for field in given)

    def _single(self) -> str:
        return (
            f"{self.path} is not a matrix: its first line is a single column. Expected: CpGs in rows, their ids in the "
            "first column, one further column per sample, separated by commas or tabs"
        )

    def _begin(self) -> tuple[str, list[str]]:
        """The header and the first rows; `separator` and the number of lines to skip are set by them."""
        lines, skips = self._head()
        declared = declared_separator(lines[0])
        if declared and len(lines) > 1:
            lines, skips = lines[1:], skips[1:]
        self.separator = declared or separator_among(lines)
        above = lines_above([fields_of(line, self.separator) or [""] for line in lines])
        if above:
            self.notes.append(f"{self.path}: {many(above, 'line')} above the header not read: {some(lines[:above], 3)}")
            lines, skips = lines[above:], skips[above:]
        self._skip = skips[0]
        return lines[0], lines[1:]

    def _head(self) -> tuple[list[str], list[int]]:
        """The first lines that are not blank, as many as a piece holds whole; how many to skip to get behind each."""
        _, stream = stream_of(self.path, self.codec)
        data, whole = b"", False
        try:
            while len(data.lstrip(b"\xef\xbb\xbf\r\n ").splitlines()) < 3 and len(data) < LONGEST_LINE:
                piece = stream.read(max(len(data), 1 << 20))  # doubled, so that long lines are not looked at anew
                if not piece:
                    whole = True
                    break
                data += piece
            if not data.strip():
                raise Unreadable(f"{self.path} is empty: check how the file was made")
            refuse_foreign(self.path, data[:16])
            if b"\0" in data[:4096]:
                raise Unreadable(f"{self.path} is neither text (UTF-8), Parquet nor Feather: export it as CSV")
            text = data.decode("utf-8-sig", errors="replace")
        except DAMAGE as error:
            raise Unreadable(f"{self.path} is damaged or cut off ({reason_of(error)}): copy it again") from error
        lines = lines_of(text)
        if not text.strip():  # such as nothing but a byte order mark
            raise Unreadable(f"{self.path} is empty: check how the file was made")
        found = [(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        if not whole and len(found) > 2 and not text.endswith(("\n", "\r")):
            found.pop()  # it may go on
        return [line for line, _ in found[:LOOKED_AT]], [number for _, number in found[:LOOKED_AT]]

    def _odd_row(self, row) -> str:
        self.n_odd_rows += 1
        if len(self.odd_rows) < EXAMPLES:
            cpg = row.text.split(self.separator)[0].strip('" ')[:40] if row.text else ""
            last = ", the last one empty" if row.text and row.text.rstrip("\r\n").endswith(self.separator) else ""
            self.odd_rows.append(f"{cpg!r} ({many(row.actual_columns, 'field')}{last})")
        return "skip"

    def _only_empty(self, ids: list, spare) -> None:
        """Note rows that have something behind the last name, where the header has nothing."""
        for place, array in zip(self._spare, spare, strict=True):
            given = pc.utf8_trim_whitespace(array.cast(pa.string())).to_pylist()
            for row in [row for row, text in enumerate(given) if text]:
                self.n_odd_rows += 1
                if len(self.odd_rows) < EXAMPLES:
                    self.odd_rows.append(
                        f"{ids[row]!r} ({given[row][:20]!r} in field {int(place) + 1}, behind the header)"
                    )

    def _chunks(self):
        """The file in pieces of whole lines, the next one being read meanwhile.

        pyarrow's own streaming reader would queue up to 32 blocks ahead, half a gigabyte.
        """
        self._raw, stream = stream_of(self.path, self.codec)
        rest = b""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            reading = pool.submit(stream.read, self._block)
            while data := reading.result():
                reading = pool.submit(stream.read, self._block)
                end = data.rfind(b"\n") + 1
                if end:
                    yield b"".join((rest, memoryview(data)[:end]))
                    rest = data[end:]
                else:
                    rest += data
                if len(rest) > max(LONGEST_LINE, 2 * self._block):
                    raise OSError(f"a line of more than {len(rest) >> 20} MB")
        yield rest

    def batches(self, columns: list[int]):
        """Blocks of rows: ids, and values (k, n) float32 or one Arrow array for each wanted column.

        The arrays are float64, or text where some of it is no number.
        """
        self.odd_rows, self.n_odd_rows = [], 0
        wanted = [str(column + 1) for column in columns]
        skip = self._skip
        for chunk in self._chunks():
            if not skip and (not chunk or chunk.isspace()):
                continue
            if plain := self._plain(chunk, skip, [column + 1 for column in columns]):
                skip = 0
                yield plain
                continue
            n_odd_rows, odd_rows = self.n_odd_rows, list(self.odd_rows)
            texts = {str(column + 1) for column in self.as_text}
            kinds = [pa.string() if column in texts else pa.float64() for column in wanted]  # read faster than float32
            try:
                table = self._parse(chunk, skip, wanted, kinds)
            except pa.ArrowInvalid as error:
                if "conversion error to double" not in str(error):
                    raise
                self.n_odd_rows, self.odd_rows = n_odd_rows, odd_rows
                table = self._parse(chunk, skip, wanted, [pa.string()] * len(wanted))
            skip = 0
            for batch in table.to_batches():
                ids = batch.column(0).to_pylist()
                if self._spare:
                    self._only_empty(ids, batch.columns[1 + len(wanted) :])
                yield ids, batch.columns[1 : 1 + len(wanted)]

    def _plain(self, chunk: bytes, skip: int, columns: list[int]) -> tuple[list[str], np.ndarray] | None:
        """Ids and values of a piece that is plain throughout, else None."""
        start = 0
        for _ in range(skip):
            start = chunk.find(b"\n", start) + 1
            if not start:
                return None
        # Lines may end in other ways; what is skipped must be what `_head` counted.
        if self._point != "." or len(chunk[:start].splitlines()) != skip:
            return None
        spare = [int(place) for place in self._spare]
        found = plain_text.parse(chunk[start:] if start else chunk, self.separator, self.n_fields, [*columns, *spare])
        if found and spare:
            ids, values = found
            if not np.isnan(values[:, len(columns) :]).all():
                return None
            found = ids, np.ascontiguousarray(values[:, : len(columns)])
        return found

    def _parse(self, chunk: bytes, skip: int, wanted: list[str], kinds: list[pa.DataType]) -> pa.Table:
        return pa.csv.read_csv(
            pa.BufferReader(chunk),
            read_options=pa.csv.ReadOptions(
                block_size=len(chunk) + 1,  # one block
                skip_rows=skip,
                column_names=[str(number) for number in range(self.n_fields)],
            ),
            parse_options=pa.csv.ParseOptions(delimiter=self.separator, invalid_row_handler=self._odd_row),
            convert_options=pa.csv.ConvertOptions(
                column_types={
                    "0": pa.string(),
                    **dict(zip(wanted, kinds, strict=True)),
                    **dict.fromkeys(self._spare, pa.string()),
                },
                null_values=MISSING,
                decimal_point=self._point,
                include_columns=["0", *wanted, *self._spare],
            ),
        )

    def share_block(self, files: int) -> None:
        """Hold only as much at a time that so many files, read side by side, take as much as one."""
        self._block = max(self._block // files, 4 * self._row_bytes)

    def begun(self) -> bool:
        """Whether any of the file's rows were read."""
        return self._raw is not None

    def share(self) -> float:
        """How much of the file has been read, 0..1."""
        return self._raw.tell() / max(self.path.stat().st_size, 1)

    def n_rows(self) -> float:
        """About how many CpGs there are, from the sizes of the file and of a row."""
        return self.path.stat().st_size * PACKED.get(self.codec, 1.0) / self._row_bytes


class ArrowMatrix:
    """A Parquet or Feather file: CpGs in rows.

    Parquet is read column by column, so that memory holds a page (up to 1 or 2 MB) per sample, unless the row groups
    are smaller; Feather holds one of the file's record batches.
    """

    def __init__(self, path: pathlib.Path, parquet: bool):
        self.path, self.parquet = path, parquet
        self.odd_rows, self.n_odd_rows = [], 0
        mapped = pa.memory_map(str(path))
        self._file = pa.parquet.ParquetFile(mapped) if parquet else pa.ipc.open_file(mapped)
        schema = self._file.schema_arrow if parquet else self._file.schema
        self._rows = max(1, BLOCK_BYTES // (4 * max(len(schema), 1)))
        self._n_batches = 0 if parquet else self._file.num_record_batches
        self._n_rows = self._file.metadata.num_rows if parquet else 0
        self._done = 0.0
        self._ids = self._id_column(schema)
        self.notes: list[str] = []
        words = self._words(schema)
        if words:
            names = some([schema.names[number] for number in words], 3)
            self.notes.append(f"{path}: {many(len(words), 'column')} of text beside the ids not used: {names}")
        self._columns = [number for number in range(len(schema)) if number not in (self._ids, *words)]
        self._names = schema.names
        self.samples = [self._names[number].strip() for number in self._columns]
        self.n_fields = len(self.samples) + 1
        if not self.samples:
            raise Unreadable(
                f"{path} is not a matrix: it has a single column. Expected: CpGs in rows, their ids in the first "
                "column, one further column per sample"
            )
        if not _is_text(schema.types[self._ids]):
            raise Unreadable(
                f"{path} has no CpG ids: its first column, {self._names[self._ids]!r}, holds "
                f"{schema.types[self._ids]}. Write the row names as the first column"
            )

    def _id_column(self, schema: pa.Schema) -> int:
        """The place of the ids: pandas' index where it is text; else the only text; else the one of probes' ids."""
        texts = [number for number, field in enumerate(schema) if _is_text(field.type)]
        try:
            stored = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))["index_columns"]
        except (ValueError, LookupError, TypeError, RecursionError):  # none, or damaged
            stored = []
        stored = stored if isinstance(stored, list) else []
        index = [schema.names.index(name) for name in stored if isinstance(name, str) and name in schema.names]
        if len(index) == 1 and index[0] in texts:
            return index[0]
        if len(texts) <= 1:
            return texts[0] if texts else 0  # pandas stores its index last
        first = next(self._raw_batches(None), None)
        shares = {number: _probes(first.column(number)) if first is not None else 0.0 for number in texts}
        best = max(texts, key=lambda number: shares[number])
        return best if shares[best] > MOST_ARE else 0

    def _words(self, schema: pa.Schema) -> list[int]:
        """Columns of text beside the ids of which hardly a value is a number: annotations, no samples."""
        texts = [number for number, field in enumerate(schema) if _is_text(field.type) and number != self._ids]
        first = next(self._raw_batches(None), None) if texts and len(texts) < len(schema) / 2 else None
        return [number for number in texts if _wordy(first.column(number))] if first is not None else []

    def _raw_batches(self, names: list[str] | None):
        if self.parquet:
            n_read = 0
            for batch in self._file.iter_batches(self._rows, columns=names):
                n_read += batch.num_rows
                self._done = n_read / self._n_rows
                yield batch
        else:
            waiting = []  # many small batches are put together: with thousands of columns, each one costs
            for number in range(self._n_batches):
                batch = self._file.get_batch(number)
                batch.validate(full=True)  # a damaged file's offsets would lead out of memory
                waiting.append(batch)
                self._done = (number + 1) / self._n_batches
                if sum(batch.num_rows for batch in waiting) >= self._rows or number + 1 == self._n_batches:
                    batch = pa.concat_batches(waiting)
                    waiting = []
                    yield from (batch.slice(start, self._rows) for start in range(0, batch.num_rows, self._rows))

    def batches(self, columns: list[int]):
        """Blocks of rows: (ids, one Arrow array per wanted column), float32, or text where some of it is no number."""
        numbers = [self._ids, *(self._columns[column] for column in columns)]
        names = [self._names[number] for number in numbers]
        unique = len(set(self._names)) == len(self._names)
        for batch in self._raw_batches(names if unique else None):
            arrays = [batch.column(batch.schema.get_field_index(name)) for name in names] if unique else None
            arrays = arrays or [batch.column(number) for number in numbers]
            ids = arrays[0].cast(pa.string()).to_pylist()
            values = []
            for array in arrays[1:]:
                kind = array.type
                if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
                    values.append(array.cast(pa.float32(), safe=False))
                elif pa.types.is_null(kind):
                    values.append(pa.nulls(len(array), pa.float32()))
                else:
                    values.append(array.cast(pa.string()))
            yield ids, values

    def share(self) -> float:
        """How much of the file has been read, 0..1."""
        return self._done

    def n_rows(self) -> float:
        """How many CpGs there are; of Feather about how many, from the size of the file."""
        return self._n_rows or self.path.stat().st_size / (4 * len(self.samples))


def _probes(column: pa.Array) -> float:
    """The share of ids of Illumina's among the first hundred values."""
    given = [text for text in column[:100].cast(pa.string()).to_pylist() if text]
    return sum(bool(KIND.match(text)) for text in given) / max(len(given), 1)


def _wordy(column: pa.Array) -> bool:
    """Whether most of the first hundred values are neither numbers nor missing."""
    given = [text for text in column[:100].cast(pa.string()).to_pylist() if text and text not in MISSING]
    numbers = pd.to_numeric(pd.Series(given, dtype=object), errors="coerce").notna().sum()
    return len(given) > 0 and numbers < len(given) / 2


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or (pa.types.is_dictionary(kind) and _is_text(kind.value_type))
    )

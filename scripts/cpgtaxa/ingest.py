"""From what people have (a beta matrix and a sample sheet) to a checked cohort; every problem is reported at once.

The matrix is streamed: memory holds one block of CpGs, their names and a few numbers per CpG, whatever their number.
"""

import concurrent.futures
import csv
import dataclasses
import logging
import pathlib
import re
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from xopen import xopen

from cpgtaxa import files, plain_text
from cpgtaxa.cohort import CohortWriter
from cpgtaxa.errors import InputError, reason_of, some
from cpgtaxa.texts import MOST, csv_rows, foreign, lines_of, separator_of

MISSING = ["", "NA", "NaN", "nan", "null", "NULL", "N/A", "n/a", "#N/A", "<NA>", "None", "."]
BLOCK_BYTES = 48 << 20
"""Text parsed at a time: with thousands of columns, smaller blocks cost more per column than per value."""
LONGEST_LINE = 1 << 28
"""Bytes in a row of the matrix. Where a file holds no line ends, memory must not grow with its unpacked size."""
STATISTICS_BYTES = 1 << 20
"""Values looked at together: what stays in the processor's cache."""
TOLERANCE = 1e-6
"""A beta value this far outside 0..1 is rounding, and is clipped."""
TEXT = np.float32(-3e38)
"""Stands for text in a block of values, so that it counts neither as missing nor as a number."""
FEWEST_SAMPLES = 10
OLDEST = 125.0
EXAMPLES = 5

PACKED = {"gzip": 2.2, "bz2": 2.5, "zstd": 2.2}
"""Bytes of text in a byte of compressed betas: their digits are nearly random."""
PER_CPG = 2000
"""Bytes on disk for each CpG beside its values: statistics, predictions, taxonomy."""

CODECS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
DAMAGE = (OSError, EOFError, pa.ArrowException, UnicodeDecodeError)


class _Unreadable(InputError):
    """A file that cannot be read at all."""


# --- opening files ---------------------------------------------------------------------------------------------------


def _magic(path: pathlib.Path, key: str) -> bytes:
    """First bytes of a file that exists, is a file, is readable and is not empty."""
    if not path.exists():
        raise _Unreadable(f"{path} does not exist: check `{key}` (relative paths start at the working directory)")
    if path.is_dir():
        raise _Unreadable(f"{path} is a directory: name the file itself in `{key}`")
    try:
        with open(path, "rb") as handle:
            first = handle.read(16)
    except OSError as error:
        raise _Unreadable(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    if not first:
        raise _Unreadable(f"{path} is empty: check `{key}` and how the file was made")
    return first


def _foreign(path: pathlib.Path, first: bytes) -> None:
    if what := foreign(first):
        raise _Unreadable(f"{path} is {what}")


def _codec(first: bytes) -> str | None:
    return next((codec for start, codec in CODECS.items() if first.startswith(start)), None)


def _stream(path: pathlib.Path, codec: str | None):
    """The raw file and the stream of its (unpacked) bytes."""
    if codec == "gzip":
        raw = open(path, "rb")  # noqa: SIM115 - the caller's
        return raw, _Gzip(raw)
    raw = pa.OSFile(str(path), "rb")
    return raw, pa.CompressedInputStream(raw, codec) if codec else raw


def _all(stream, most: int) -> bytes:
    """What a stream holds. Raises OSError beyond `most` bytes: a few kilobytes of gzip can hold gigabytes."""
    pieces, size = [], 0
    while piece := stream.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise OSError(f"more than {most >> 20} MB of text")
    return b"".join(pieces)


class _Gzip:
    """gzip by whichever library `xopen` finds, ISA-L before all: several times the pace of zlib."""

    def __init__(self, raw):
        self._stream = xopen(raw, "rb", threads=0, format="gz")

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except (OSError, EOFError, MemoryError):
            raise
        except Exception as error:  # each library has its own for broken data
            raise OSError(str(error)) from error


def _fields(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return [line.strip().strip('"')]
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:  # a quoted field beyond all bounds
        return [field.strip() for field in line.split(separator)]


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# --- the matrix ------------------------------------------------------------------------------------------------------


class _TextMatrix:
    """A delimited text file, possibly compressed: CpGs in rows."""

    def __init__(self, path: pathlib.Path, codec: str | None):
        self.path, self.codec = path, codec
        self.odd_rows: list[str] = []
        self.n_odd_rows = 0
        self._raw = None
        header, first_row, self._skip = self._head()
        self.separator = separator_of(header)
        names = _fields(header, self.separator)
        if header.startswith("#") and len(_fields(first_row, separator_of(first_row))) > len(names) + 1:
            raise _Unreadable(f"{path} begins with a comment, {header[:60]!r}: remove the lines before the header")
        self._row_bytes = len(first_row) + 1
        self.n_fields = len(names)
        if len(_fields(first_row, self.separator)) == len(names) + 1:
            self.n_fields += 1  # R's write.table: row names without a heading
        else:
            names = names[1:]
        if not names or self.separator is None:
            raise _Unreadable(
                f"{path} is not a matrix: its first line is a single column. Expected: CpGs in rows, their ids in the "
                "first column, one further column per sample, separated by commas or tabs"
            )
        self.samples = names
        self._block = max(BLOCK_BYTES, 4 * max(len(header), len(first_row)))
        if not first_row:
            raise _Unreadable(f"{path} has a header but no rows: there is not a single CpG in it")

    def _head(self) -> tuple[str, str, int]:
        """Header line, first row after it (or nothing), and how many lines to skip to reach the rows."""
        _, stream = _stream(self.path, self.codec)
        data = b""
        try:
            while len(data.lstrip(b"\xef\xbb\xbf\r\n ").splitlines()) < 3 and len(data) < LONGEST_LINE:
                piece = stream.read(max(len(data), 1 << 20))  # doubled, so that long lines are not looked at anew
                if not piece:
                    break
                data += piece
            if not data.strip():
                raise _Unreadable(f"{self.path} is empty: check how the file was made")
            _foreign(self.path, data[:16])
            if b"\0" in data[:4096]:
                raise _Unreadable(f"{self.path} is neither text (UTF-8), Parquet nor Feather: export it as CSV")
            text = data.decode("utf-8-sig", errors="replace")
        except DAMAGE as error:
            raise _Unreadable(f"{self.path} is damaged or cut off ({reason_of(error)}): copy it again") from error
        lines = lines_of(text)
        if not text.strip():  # such as nothing but a byte order mark
            raise _Unreadable(f"{self.path} is empty: check how the file was made")
        where = next(number for number, line in enumerate(lines) if line.strip())
        rest = [line for line in lines[where + 1 :] if line.strip()]
        return lines[where], rest[0] if rest else "", where + 1

    def _odd_row(self, row) -> str:
        self.n_odd_rows += 1
        if len(self.odd_rows) < EXAMPLES:
            cpg = row.text.split(self.separator)[0].strip('" ')[:40] if row.text else ""
            self.odd_rows.append(f"{cpg!r} ({_many(row.actual_columns, 'field')})")
        return "skip"

    def _chunks(self):
        """The file in pieces of whole lines, the next one being read meanwhile.

        pyarrow's own streaming reader would queue up to 32 blocks ahead, half a gigabyte.
        """
        self._raw, stream = _stream(self.path, self.codec)
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
        shift = self.n_fields - len(self.samples)
        wanted = [str(column + shift) for column in columns]
        skip = self._skip
        for chunk in self._chunks():
            if not skip and (not chunk or chunk.isspace()):
                continue
            if plain := self._plain(chunk, skip, [column + shift for column in columns]):
                skip = 0
                yield plain
                continue
            n_odd_rows, odd_rows = self.n_odd_rows, list(self.odd_rows)
            try:
                table = self._parse(chunk, skip, wanted, pa.float64())  # read faster than float32
            except pa.ArrowInvalid as error:
                if "conversion error to double" not in str(error):
                    raise
                self.n_odd_rows, self.odd_rows = n_odd_rows, odd_rows
                table = self._parse(chunk, skip, wanted, pa.string())
            skip = 0
            for batch in table.to_batches():
                yield batch.column(0).to_pylist(), batch.columns[1:]

    def _plain(self, chunk: bytes, skip: int, columns: list[int]) -> tuple[list[str], np.ndarray] | None:
        """Ids and values of a piece that is plain throughout, else None."""
        start = 0
        for _ in range(skip):
            start = chunk.find(b"\n", start) + 1
            if not start:
                return None
        # Lines may end in other ways; what is skipped must be what `_head` counted.
        if len(chunk[:start].splitlines()) != skip:
            return None
        return plain_text.parse(chunk[start:] if start else chunk, self.separator, self.n_fields, columns)

    def _parse(self, chunk: bytes, skip: int, wanted: list[str], kind: pa.DataType) -> pa.Table:
        return pa.csv.read_csv(
            pa.BufferReader(chunk),
            read_options=pa.csv.ReadOptions(
                block_size=len(chunk) + 1,  # one block
                skip_rows=skip,
                column_names=[str(number) for number in range(self.n_fields)],
            ),
            parse_options=pa.csv.ParseOptions(delimiter=self.separator, invalid_row_handler=self._odd_row),
            convert_options=pa.csv.ConvertOptions(
                column_types={"0": pa.string(), **dict.fromkeys(wanted, kind)},
                null_values=MISSING,
                include_columns=["0", *wanted],
            ),
        )

    def share(self) -> float:
        """How much of the file has been read, 0..1."""
        return self._raw.tell() / max(self.path.stat().st_size, 1)

    def n_rows(self) -> float:
        """About how many CpGs there are, from the sizes of the file and of a row."""
        return self.path.stat().st_size * PACKED.get(self.codec, 1.0) / self._row_bytes


class _ArrowMatrix:
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
        texts = [number for number, field in enumerate(schema) if _is_text(field.type)]
        self._ids = texts[0] if len(texts) == 1 else 0  # pandas stores its index last
        self._columns = [number for number in range(len(schema)) if number != self._ids]
        self._names = schema.names
        self.samples = [self._names[number].strip() for number in self._columns]
        if not self.samples:
            raise _Unreadable(
                f"{path} is not a matrix: it has a single column. Expected: CpGs in rows, their ids in the first "
                "column, one further column per sample"
            )
        if not _is_text(schema.types[self._ids]):
            raise _Unreadable(
                f"{path} has no CpG ids: its first column, {self._names[self._ids]!r}, holds "
                f"{schema.types[self._ids]}. Write the row names as the first column"
            )
        self._rows = max(1, BLOCK_BYTES // (4 * len(self.samples)))
        self._n_batches = 0 if parquet else self._file.num_record_batches
        self._n_rows = self._file.metadata.num_rows if parquet else 0
        self._done = 0.0

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


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or (pa.types.is_dictionary(kind) and _is_text(kind.value_type))
    )


def open_matrix(path: pathlib.Path, key: str = "cohort.beta"):
    first = _magic(path, key)
    _foreign(path, first)
    if first.startswith((b"PAR1", b"ARROW1")):
        try:
            return _ArrowMatrix(path, parquet=first.startswith(b"PAR1"))
        except DAMAGE as error:
            raise _Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    return _TextMatrix(path, _codec(first))


@dataclasses.dataclass
class Scan:
    """What one pass over the matrix found; the arrays have one entry per CpG, `sample_missing` one per column."""

    samples: list[str]
    cpgs: list[str] = dataclasses.field(default_factory=list)
    pieces: list[tuple] = dataclasses.field(default_factory=list)
    sample_missing: np.ndarray = None
    n_judged: int = 0
    n_written: int = 0
    n_kept_missing: int = 0
    n_values: int = 0
    n_below: int = 0
    n_above: int = 0
    n_infinite: int = 0
    n_text: int = 0
    outside: list[str] = dataclasses.field(default_factory=list)
    infinite: list[str] = dataclasses.field(default_factory=list)
    text: list[str] = dataclasses.field(default_factory=list)
    comma: bool = True
    damage: str | None = None

    def bad_values(self) -> int:
        return self.n_below + self.n_above + self.n_infinite + self.n_text

    def numbers(self) -> dict[str, np.ndarray]:
        names = ("n_missing", "mean", "sd", "min", "max")
        columns = zip(*self.pieces, strict=True) if self.pieces else [[np.empty(0)]] * len(names)
        return {name: np.concatenate(column) for name, column in zip(names, columns, strict=True)}


def block_values(scan: Scan, cpgs: list[str], arrays: list[pa.Array]) -> np.ndarray:
    """The (k, n) float32 values of a block; text that is no number is noted."""
    numbers = []
    for column, array in enumerate(arrays):
        if pa.types.is_floating(array.type):
            numbers.append(array)
            continue
        given = array.to_pandas().astype(object)
        given = given.where(given.notna(), "").str.strip()
        number = np.array(pd.to_numeric(given, errors="coerce"), dtype=np.float32)
        odd = np.flatnonzero(np.isnan(number) & ~given.isin(MISSING).to_numpy())
        scan.n_text += len(odd)
        for row in odd[: EXAMPLES - len(scan.text)]:
            scan.text.append(f"CpG {cpgs[row]!r}, sample {scan.samples[column]!r}: {given.iloc[row][:40]!r}")
        scan.comma &= all(re.fullmatch(r"-?\d+,\d+", given.iloc[row]) for row in odd)
        number[odd] = TEXT
        numbers.append(pa.array(number))
    batch = pa.RecordBatch.from_arrays(numbers, names=[str(column) for column in range(len(numbers))])
    return batch.to_tensor(null_to_nan=True, row_major=True).to_numpy().astype(np.float32, copy=False)


def _look(scan: Scan, cpgs: list[str], values: np.ndarray) -> None:
    """Per-CpG numbers and everything suspicious in a few CpGs; values just outside 0..1 are clipped in place."""
    n_samples = values.shape[1]
    missing = np.isnan(values)
    n_missing = missing.sum(axis=1, dtype=np.int32)
    low, high = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
    for row in np.flatnonzero((low < 0) | (high > 1)):
        _look_outside(scan, cpgs[row], values[row])
        low[row], high[row] = np.fmin.reduce(values[row]), np.fmax.reduce(values[row])
    gaps = bool(n_missing.any())
    present = n_samples - n_missing
    with np.errstate(divide="ignore", invalid="ignore"):
        # Pairwise float32 sums of at most a few thousand values in 0..1 are good to 1e-6.
        mean = np.where(missing, 0, values).sum(axis=1) / present if gaps else values.mean(axis=1)
        deviation = values - mean[:, None]
        if gaps:
            deviation[missing] = 0
        sd = np.sqrt(np.einsum("ij,ij->i", deviation, deviation) / np.where(present > 1, present - 1, np.nan))
    # A probe that failed everywhere says nothing about a sample.
    judged = n_missing <= n_samples / 2
    scan.n_judged += int(judged.sum())
    if gaps:
        scan.sample_missing += missing[judged].sum(axis=0)
    scan.n_values += int(present.sum())
    scan.pieces.append((n_missing, mean, sd, low, high))


def _look_outside(scan: Scan, cpg: str, row: np.ndarray) -> None:
    row[row == TEXT] = np.nan
    infinite = np.flatnonzero(np.isinf(row))
    scan.n_infinite += len(infinite)
    for column in infinite[: EXAMPLES - len(scan.infinite)]:
        scan.infinite.append(f"CpG {cpg!r}, sample {scan.samples[column]!r}: {row[column]}")
    row[infinite] = np.nan
    row[(row < 0) & (row >= -TOLERANCE)] = 0
    row[(row > 1) & (row <= 1 + TOLERANCE)] = 1
    odd = np.flatnonzero((row < 0) | (row > 1))
    scan.n_below += int((row[odd] < 0).sum())
    scan.n_above += int((row[odd] > 1).sum())
    for column in odd[: EXAMPLES - len(scan.outside)]:
        scan.outside.append(f"CpG {cpg!r}, sample {scan.samples[column]!r}: {row[column]:.6g}")


def cpg_reasons(n_missing, low, high, n_samples: int, max_missing: float) -> np.ndarray:
    """Reason why a CpG is bad ("missing", "constant") or "" where it is good, as objects."""
    reason = np.full(len(n_missing), "", dtype=object)
    reason[(low == high) & (n_samples - n_missing > 1)] = "constant"
    reason[(n_missing > max_missing * n_samples) | (n_missing == n_samples)] = "missing"
    return reason


def scan_matrix(matrix, columns: list[int], path: pathlib.Path, max_missing_cpg: float) -> Scan:
    """Go through the matrix once: look at every value, and write the good CpGs to `path`."""
    scan = Scan([matrix.samples[column] for column in columns])
    scan.sample_missing = np.zeros(len(columns), dtype=np.int64)
    rows = max(1, STATISTICS_BYTES // (4 * len(columns)))
    begin = told = time.monotonic()
    with CohortWriter(path, scan.samples, in_place=True) as writer:
        try:
            for ids, arrays in matrix.batches(columns):
                cpgs = [(name or "").strip() for name in ids]
                values = arrays if isinstance(arrays, np.ndarray) else block_values(scan, cpgs, arrays)
                if not values.flags.writeable:
                    values = values.copy()
                for start in range(0, len(cpgs), rows):
                    piece = slice(start, start + rows)
                    _look(scan, cpgs[piece], values[piece])
                    n_missing, _, _, low, high = scan.pieces[-1]
                    good = cpg_reasons(n_missing, low, high, len(columns), max_missing_cpg) == ""
                    if not scan.bad_values():
                        kept = cpgs[piece] if good.all() else [cpgs[start + row] for row in np.flatnonzero(good)]
                        writer.append(kept, values[piece] if good.all() else values[piece][good])
                        scan.n_written += len(kept)
                        scan.n_kept_missing += int(n_missing[good].sum())
                scan.cpgs += cpgs
                if time.monotonic() - told > 5:
                    told = time.monotonic()
                    share = min(max(matrix.share(), 1e-3), 1.0)
                    left = (told - begin) * (1 / share - 1)
                    logging.info(f"{len(scan.cpgs):,} CpGs read, {told - begin:.0f} s, about {left:.0f} s left")
        except DAMAGE as error:
            scan.damage = reason_of(error)
    return scan


# --- the sample sheet ------------------------------------------------------------------------------------------------


def _read_sheet(path: pathlib.Path, columns: dict) -> tuple[pd.DataFrame, list[str]]:
    """The sheet as text, its columns under our names, plus `row` (line in the file); and the problems found."""
    first = _magic(path, "cohort.samples")
    _foreign(path, first)
    codec = _codec(first)
    try:
        data = _all(_stream(path, codec)[1], MOST)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(f"{path} is not text in UTF-8: save it as CSV (UTF-8)") from error
    except DAMAGE as error:
        raise _Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    if not text.strip():
        raise _Unreadable(f"{path} is empty: check `cohort.samples` and how the file was made")
    if "\0" in text:
        raise _Unreadable(f"{path} is not text, it holds NUL bytes: save it as CSV (UTF-8)")
    separator = separator_of(lines_of(text.lstrip())[0])
    if separator is None:
        raise _Unreadable(
            f"{path} has a single column. Expected: one row per sample, columns for its id and its age in years, "
            "separated by commas or tabs"
        )
    rows = csv_rows(text, separator, str(path))
    names = rows[0][1] if rows else []
    rows = rows[1:]
    if not rows:
        raise _Unreadable(f"{path} has a header but no rows: there is not a single sample in it")
    if all(len(row) == len(names) + 1 for _, row in rows):
        names = ["row_names", *names]  # R's write.table: row names without a heading
    elif not names[0]:
        names[0] = "row_names"
    names = [name or f"column_{number}" for number, name in enumerate(names, 1)]

    problems = []
    odd = [f"line {number} ({_many(len(row), 'field')})" for number, row in rows if len(row) != len(names)]
    if odd:
        problems.append(
            f"{path}: {_many(len(odd), 'row')} with another number of fields than the header's {len(names)}: "
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


_MEANING = {"sample_id": "sample ids", "age": "ages in years", "sex": "sexes (or to null)"}


def _check_ids(path, sheet: pd.DataFrame) -> list[str]:
    problems = []
    empty = sheet["row"][sheet["sample_id"].isin(MISSING)]
    if len(empty):
        problems.append(
            f"{path}: {_many(len(empty), 'row')} without a sample id: line {_numbers(empty)}. Fill in or remove"
        )
    ids = sheet["sample_id"][~sheet["sample_id"].isin(MISSING)]
    twice = ids[ids.duplicated()].unique()
    if len(twice):
        where = [f"{name!r} (lines {_numbers(sheet['row'][sheet['sample_id'] == name])})" for name in twice[:EXAMPLES]]
        more = f" and {len(twice) - EXAMPLES} more" if len(twice) > EXAMPLES else ""
        problems.append(
            f"{path}: {_many(len(twice), 'sample')} listed more than once: {', '.join(where)}{more}. Keep one row each"
        )
    return problems


def _numbers(numbers, limit: int = 5) -> str:
    numbers = list(numbers)
    return ", ".join(str(number) for number in numbers[:limit]) + (
        f" and {len(numbers) - limit} more" if len(numbers) > limit else ""
    )


def _check_ages(path, sheet: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
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
            f"{path}: {_many(int(lacking.sum()), 'sample')} without an age: {', '.join(where)}. "
            "Give the age in years, or remove the row and set `cohort.unmatched: drop`"
        )
    text = np.isnan(ages) & ~lacking
    if text.any():
        problems.append(
            f"{path}: {_many(int(text.sum()), 'age')} not a number: {listed(text, given)}. Give the age in years"
        )
    valid = ages[~np.isnan(ages)]
    if not len(valid):
        return ages, problems
    negative = ages < 0
    if negative.any():
        problems.append(
            f"{path}: {_many(int(negative.sum()), 'age')} negative: {listed(negative, given)}. Give the age in years"
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
            f"{path}: {_many(int(old.sum()), 'age')} above {OLDEST:g} years: {listed(old, given)}. "
            "Give the age in years"
        )
    if len(valid) > 1 and valid.min() == valid.max():
        problems.append(
            f"{path}: all ages are equal ({valid[0]:g}): without different ages nothing can be said about ageing"
        )
    return ages, problems


def _typed(column: pd.Series) -> pd.Series:
    """A covariate as numbers if all its values are, else as text; what stands for missing is missing."""
    column = column.where(~column.isin(MISSING), None)
    number = pd.to_numeric(column, errors="coerce")
    return number if number.notna().equals(column.notna()) else column.astype("str")


# --- matching, judging, writing --------------------------------------------------------------------------------------


def _mangled(name: str) -> str:
    """The name R's make.names would make of it."""
    name = re.sub(r"[^A-Za-z0-9._]", ".", name)
    return name if re.match(r"[A-Za-z]|\.(?!\d)", name) else "X" + name


def _check_match(matrix, beta, samples, wanted: list[str], unmatched: str, warn) -> tuple[list[int], list[str], bool]:
    """Columns of the matrix to read, the problems of matching, and whether reading makes sense."""
    known = set(wanted)
    columns = [column for column, name in enumerate(matrix.samples) if name in known]
    if columns:
        have = set(matrix.samples)
        lacking = list(dict.fromkeys(name for name in wanted if name not in have))
        extra = list(dict.fromkeys(name for name in matrix.samples if name and name not in known))
        found = []
        if lacking:
            hint = ""
            mangled = {_mangled(name) for name in lacking}
            if len(mangled.intersection(extra)) > len(mangled) / 2:
                hint = " (R changed the names: use `check.names = FALSE` when reading the matrix in R)"
            found.append(
                f"{_many(len(lacking), 'sample')} of the sheet {samples} not in the matrix {beta}: "
                f"{some(lacking)}{hint}"
            )
        if extra:
            found.append(
                f"{_many(len(extra), 'sample')} of the matrix {beta} not in the sheet {samples}: {some(extra)}"
            )
        if unmatched == "drop":
            for text in found:
                warn(f"left out: {text}")
            return columns, [], True
        remedy = ". Correct the ids, or set `cohort.unmatched: drop` to use only samples found in both"
        return columns, [text + remedy for text in found], True

    try:
        ids = [(name or "").strip() for names, _ in matrix.batches([]) for name in names]
    except DAMAGE:
        ids = []
    rows = known.intersection(ids)
    if rows:
        return (
            [],
            [
                f"The matrix {beta} seems transposed: {len(rows):,} of the sheet's {len(known):,} sample ids are in "
                "its first column, not in its header. CpGs belong in rows, samples in columns: transpose it, in R with "
                "`t(matrix)`, in Python with `frame.T`"
            ],
            False,
        )
    if all(re.fullmatch(r"NA|[01]?\.\d+(e-?\d+)?", name) for name in matrix.samples):
        problem = f"The matrix {beta} has no header: its first line holds values. Add a line with the sample ids"
        return [], [problem], False
    hint = ""
    mangled = {_mangled(name) for name in known}
    if len(mangled.intersection(matrix.samples)) > len(mangled) / 2:
        hint = " R changed the names: use `check.names = FALSE` when reading the matrix in R."
    return (
        list(range(len(matrix.samples))),
        [
            f"No sample of the sheet {samples} ({some(wanted, 3)}) is in the header of the matrix {beta} "
            f"({some(matrix.samples, 3)}).{hint} Correct the ids, or set `cohort.columns.sample_id` to the column that "
            "holds them"
        ],
        True,
    )


def check_header(beta, matrix) -> list[str]:
    problems = []
    empty = [column for column, name in enumerate(matrix.samples, 2) if name in MISSING]
    if empty:
        problems.append(
            f"{beta}: {_many(len(empty), 'column')} without a sample id in the header: column {_numbers(empty)}. "
            "Name or remove them"
        )
    names = pd.Index(matrix.samples)
    twice = names[names.duplicated()].unique()
    twice = [name for name in twice if name not in MISSING]
    if twice:
        problems.append(
            f"{beta}: {_many(len(twice), 'sample')} more than once in the header: {some(twice)}. Keep one column each"
        )
    return problems


def check_values(beta, matrix, scan: Scan) -> list[str]:
    """What makes the matrix wrong as a whole: its shape, its ids, its values."""
    problems = []
    if scan.damage:
        after = f"after {_many(len(scan.cpgs), 'CpG')} ({scan.damage})"
        if "invalid UTF8" in scan.damage:
            problems.append(f"{beta} is not text in UTF-8 {after}: save it as CSV (UTF-8)")
        else:
            problems.append(f"{beta} is damaged or cut off {after}: copy it again")
    if matrix.n_odd_rows:
        problems.append(
            f"{beta} is not a matrix: {_many(matrix.n_odd_rows, 'row')} with another number of fields than the "
            f"{matrix.n_fields} expected: {', '.join(matrix.odd_rows)}. Write missing values as NA and rows in full"
        )
    if not scan.cpgs and not problems:
        problems.append(f"{beta} has a header but no rows: there is not a single CpG in it")
    if scan.n_text:
        comma = " These are decimal commas: write decimal points." if scan.comma else ""
        more = f" and {scan.n_text - len(scan.text):,} more" if scan.n_text > len(scan.text) else ""
        problems.append(
            f"{beta}: {_many(scan.n_text, 'cell')} with text instead of a number: {'; '.join(scan.text)}{more}.{comma} "
            "Missing values are written NA or left empty"
        )
    first = scan.cpgs[:10]
    if len(first) > 1 and first in ([str(n + start) for n in range(len(first))] for start in (0, 1)):
        problems.append(
            f"{beta}: the first column holds row numbers ({', '.join(first[:3])} …), not CpG ids. "
            "Write the matrix without row numbers, the CpG ids first"
        )
    empty = [number for number, name in enumerate(scan.cpgs, 1) if name in MISSING]
    if empty:
        problems.append(
            f"{beta}: {_many(len(empty), 'row')} without a CpG id: row {_numbers(empty)} below the header. "
            "Name or remove them"
        )
    names = pd.Series(scan.cpgs, dtype=object)
    again = names.duplicated(keep=False) & ~names.isin(MISSING)
    if again.any():
        rows = names[again].groupby(names[again], sort=False).groups
        where = [f"{name!r} (rows {_numbers(rows[name] + 1)})" for name in list(rows)[:EXAMPLES]]
        more = f" and {len(rows) - EXAMPLES} more" if len(rows) > EXAMPLES else ""
        problems.append(
            f"{beta}: {_many(len(rows), 'CpG')} more than once: {', '.join(where)}{more}. "
            "Average the rows of a CpG, or keep one"
        )
    if scan.n_infinite:
        more = f" and {scan.n_infinite - len(scan.infinite):,} more" if scan.n_infinite > len(scan.infinite) else ""
        problems.append(
            f"{beta}: {_many(scan.n_infinite, 'infinite value')}: {'; '.join(scan.infinite)}{more}. "
            "Beta values lie in 0-1; write NA where there is none"
        )
    outside = scan.n_below + scan.n_above
    if outside:
        numbers = scan.numbers()
        lowest, highest = float(np.nanmin(numbers["min"])), float(np.nanmax(numbers["max"]))
        share = outside / scan.n_values
        found = f"{outside:,} of {scan.n_values:,} values lie outside 0-1 (from {lowest:.4g} to {highest:.4g})"
        if share > 0.1 and min(scan.n_below, scan.n_above) > 0.005 * scan.n_values:
            text = f"{found}: these look like M-values. Give beta values: beta = 2^M/(1+2^M)"
        elif share > 0.1 and scan.n_below == 0 and 1.5 < highest <= 100:
            text = f"{found}: these look like percent. Divide them by 100"
        else:
            more = f" and {outside - len(scan.outside):,} more" if outside > len(scan.outside) else ""
            text = f"{found}: {'; '.join(scan.outside)}{more}. Beta values lie in 0-1: correct them, or write NA"
        problems.append(f"{beta}: {text}")
    return problems


def _check_cpgs(beta, scan: Scan, reason: np.ndarray, max_missing: float, policy: str, warn) -> list[str]:
    """Bad CpGs: problems, or warnings where they are dropped."""
    n_samples, numbers = len(scan.samples), scan.numbers()
    found = []
    rows = np.flatnonzero(reason == "missing")
    if len(rows):
        first = [f"{scan.cpgs[row]!r} ({numbers['n_missing'][row] / n_samples:.0%})" for row in rows[:EXAMPLES]]
        more = f" and {len(rows) - EXAMPLES:,} more" if len(rows) > EXAMPLES else ""
        found.append(
            f"{beta}: {_many(len(rows), 'CpG')} missing in more than {max_missing:.3g} of the samples "
            f"(`cohort.max_missing_cpg`): {', '.join(first)}{more}"
        )
    rows = np.flatnonzero(reason == "constant")
    if len(rows):
        first = [f"{scan.cpgs[row]!r} (always {numbers['min'][row]:.4g})" for row in rows[:EXAMPLES]]
        more = f" and {len(rows) - EXAMPLES:,} more" if len(rows) > EXAMPLES else ""
        found.append(
            f"{beta}: {_many(len(rows), 'constant CpG')}, a sign of masked or imputed probes: {', '.join(first)}{more}"
        )
    if found and policy == "drop":
        for text in found:
            warn(f"left out: {text}")
        if np.all(reason != ""):
            return [f"{beta}: all {_many(len(reason), 'CpG')} would be left out: {'; '.join(found)}"]
        return []
    return [f"{text}. Set `cohort.bad_cpgs: drop` to leave them out" for text in found]


def ingest(
    beta,
    samples,
    out_beta,
    out_samples,
    out_cpgs,
    out_qc,
    *,
    columns: dict,
    max_missing_cpg: float = 0.2,
    max_missing_sample: float = 0.2,
    bad_cpgs: str = "error",
    bad_samples: str = "error",
    unmatched: str = "error",
) -> None:
    """Check a beta matrix and its sample sheet, and write them as a cohort.

    Parameters
    ----------
    beta
        Delimited text (separator found; plain, gzip, bzip2 or zstd), Parquet or Feather. CpGs in rows, their ids in
        the first column, one further column per sample; values 0..1.
    samples
        Delimited text with one row per sample. `columns` maps `sample_id`, `age` (years) and `sex` to its columns; a
        column called `sex` may be absent. All others pass through as covariates.
    out_beta, out_samples, out_cpgs, out_qc
        The cohort (`cpgtaxa.cohort`); sample_id, age (float64), sex (text), covariates in the order of the matrix's
        columns (Parquet); cpg, n_missing, mean, sd (n-1), min, max, kept, reason for every CpG read (Parquet); counts,
        checksums and warnings (JSON).
    max_missing_cpg, max_missing_sample
        Largest share of missing values in a CpG (over the samples kept), and in a sample (over the CpGs measured in at
        least half of the samples).
    bad_cpgs, bad_samples, unmatched
        What to do with CpGs mostly missing or constant, samples mostly missing, and samples found only in the matrix or
        only in the sheet: "error", or "drop" with a warning.

    Raises InputError with every problem found; then no output exists under its final name.
    """
    for name, policy in (("bad_cpgs", bad_cpgs), ("bad_samples", bad_samples), ("unmatched", unmatched)):
        if policy not in ("error", "drop"):
            raise ValueError(f'{name} is "error" or "drop", not {policy!r}')
    beta, samples = pathlib.Path(beta), pathlib.Path(samples)
    begun = {path: _state(path) for path in (beta, samples)}
    problems: list[str] = []
    warnings: list[str] = []

    def warn(text: str) -> None:
        logging.warning(text)
        warnings.append(text)

    sheet = matrix = None
    try:
        sheet, found = _read_sheet(samples, columns)
        problems += found
    except InputError as error:
        problems += error.problems
    try:
        matrix = open_matrix(beta)
        problems += check_header(beta, matrix)
    except InputError as error:
        problems += error.problems
    has_ids = sheet is not None and "sample_id" in sheet
    if has_ids:
        problems += _check_ids(samples, sheet)

    wanted_columns, readable = list(range(len(matrix.samples))) if matrix else [], matrix is not None
    in_sheet = [name for name in sheet["sample_id"] if name not in MISSING] if has_ids else []
    if has_ids and matrix:
        wanted_columns, found, readable = _check_match(matrix, beta, samples, in_sheet, unmatched, warn)
        problems += found

    if sheet is not None:
        if has_ids and matrix:
            matched = sheet["sample_id"].isin(matrix.samples).to_numpy()
            if matched.any():
                sheet = sheet[matched].reset_index(drop=True)
        n_used = sheet["sample_id"].nunique() if has_ids else len(sheet)
        if n_used < FEWEST_SAMPLES:
            problems.append(f"Only {_many(n_used, 'sample')} in {samples}" + _found(matrix) + _TOO_FEW)
        if "age" in sheet:
            ages, found = _check_ages(samples, sheet)
            problems += found

    if not readable:
        raise InputError(problems)
    size = matrix.n_rows() * (4 * len(wanted_columns) + PER_CPG)
    files.need_space(out_beta, size, f"{len(wanted_columns):,} samples of about {matrix.n_rows():,.0f} CpGs take")
    with files.atomic(out_beta) as temporary:
        scan = scan_matrix(matrix, wanted_columns, temporary, max_missing_cpg)
        problems += check_values(beta, matrix, scan)

        dropped: list[str] = []
        gaps = scan.sample_missing / max(scan.n_judged, 1)
        gappy = np.flatnonzero(gaps > max_missing_sample) if scan.n_judged else np.empty(0, dtype=int)
        if len(gappy):
            first = [f"{scan.samples[column]!r} ({gaps[column]:.0%})" for column in gappy[:EXAMPLES]]
            more = f" and {len(gappy) - EXAMPLES:,} more" if len(gappy) > EXAMPLES else ""
            text = (
                f"{beta}: {_many(len(gappy), 'sample')} missing in more than {max_missing_sample:.3g} of the CpGs "
                f"(`cohort.max_missing_sample`): {', '.join(first)}{more}"
            )
            n_left = len(scan.samples) - len(gappy)
            if bad_samples == "error":
                problems.append(f"{text}. Set `cohort.bad_samples: drop` to leave them out")
            elif n_left < FEWEST_SAMPLES:
                problems.append(f"{text}. Without them only {_many(n_left, 'sample')} would be left{_TOO_FEW}")
            else:
                warn(f"left out: {text}")
                dropped = [scan.samples[column] for column in gappy]
                wanted_columns = np.delete(wanted_columns, gappy).tolist()
                if not problems:
                    scan = scan_matrix(matrix, wanted_columns, temporary, max_missing_cpg)
                    left = ~sheet["sample_id"].isin(dropped).to_numpy()
                    sheet, ages = sheet[left].reset_index(drop=True), ages[left]
                    if ages.min() == ages.max():
                        problems.append(f"{samples}: without the samples left out, all ages are equal ({ages[0]:g})")

        numbers = scan.numbers()
        reason = cpg_reasons(numbers["n_missing"], numbers["min"], numbers["max"], len(scan.samples), max_missing_cpg)
        problems += _check_cpgs(beta, scan, reason, max_missing_cpg, bad_cpgs, warn)
        if problems:
            raise InputError(problems)

        order = sheet.set_index("sample_id").index.get_indexer(scan.samples)
        table = sheet.iloc[order].reset_index(drop=True).drop(columns="row")
        for name in table.columns.drop(["sample_id", "age"]):
            table[name] = table[name].where(~table[name].isin(MISSING), None) if name == "sex" else _typed(table[name])
        table["sample_id"], table["age"] = table["sample_id"].astype("str"), ages[order]
        kept = reason == ""
        cpgs = pd.DataFrame({"cpg": pd.Series(scan.cpgs, dtype="str"), **numbers, "kept": kept})
        cpgs["reason"] = pd.Series(np.where(kept, None, reason), dtype="str")
        qc = {
            "n_cpgs": {
                "in": len(reason),
                "kept": int(kept.sum()),
                "dropped_missing": int((reason == "missing").sum()),
                "dropped_constant": int((reason == "constant").sum()),
            },
            "n_samples": {"in_matrix": len(matrix.samples), "in_sheet": len(in_sheet), "kept": len(scan.samples)},
            "samples_dropped": {
                "only_in_matrix": sorted(set(matrix.samples) - set(in_sheet)),
                "only_in_sheet": sorted(set(in_sheet) - set(matrix.samples)),
                "missing": dropped,
            },
            "age": {"min": float(ages.min()), "median": float(np.median(ages)), "max": float(ages.max())},
            "missing_fraction": scan.n_kept_missing / (scan.n_written * len(scan.samples)),
            "sha256": {
                "cohort": files.sha256(temporary),
                "matrix": files.sha256(beta),
                "samples": files.sha256(samples),
            },
            "warnings": warnings,
        }
        changed = [path for path, state in begun.items() if _state(path) != state]
        if changed:
            raise InputError(
                [f"{path} was changed while it was being read: let the copy finish and start again" for path in changed]
            )
        files.write_parquet(out_samples, table)
        files.write_parquet(out_cpgs, cpgs)
        files.write_json(out_qc, qc)
    logging.info(f"{int(kept.sum()):,} CpGs x {len(scan.samples):,} samples, ages {ages.min():g} to {ages.max():g}")


def _state(path: pathlib.Path):
    """What tells a file from the one that was there before: None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


_TOO_FEW = f": at least {FEWEST_SAMPLES} are needed (hundreds to say anything about most CpGs)"


def _found(matrix) -> str:
    return " found in the matrix" if matrix else ""

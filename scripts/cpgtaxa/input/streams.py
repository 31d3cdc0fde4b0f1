"""Opening what people have: existing, readable, perhaps compressed files of text."""

import csv
import pathlib

import pyarrow as pa
from xopen import xopen

from cpgtaxa.errors import InputError
from cpgtaxa.input.texts import foreign

MISSING = ["", "NA", "NaN", "nan", "null", "NULL", "N/A", "n/a", "#N/A", "<NA>", "None", "."]
EXAMPLES = 5

CODECS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
DAMAGE = (OSError, EOFError, pa.ArrowException, UnicodeDecodeError)


class Unreadable(InputError):
    """A file that cannot be read at all."""


def magic(path: pathlib.Path, key: str) -> bytes:
    """First bytes of a file that exists, is a file, is readable and is not empty."""
    if not path.exists():
        raise Unreadable(f"{path} does not exist: check `{key}` (relative paths start at the working directory)")
    if path.is_dir() and (path / "se.rds").exists():
        raise Unreadable(
            f"{path} is a SummarizedExperiment on disk (R's HDF5Array). In R: se <- "
            'HDF5Array::loadHDF5SummarizedExperiment("folder"); '
            'saveRDS(as.matrix(SummarizedExperiment::assay(se)), "beta.rds")'
        )
    if path.is_dir():
        raise Unreadable(f"{path} is a directory: name the file itself in `{key}`")
    try:
        with open(path, "rb") as handle:
            first = handle.read(16)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    if not first:
        raise Unreadable(f"{path} is empty: check `{key}` and how the file was made")
    return first


def refuse_foreign(path: pathlib.Path, first: bytes) -> None:
    if what := foreign(first):
        raise Unreadable(f"{path} is {what}")


def codec_of(first: bytes) -> str | None:
    return next((codec for start, codec in CODECS.items() if first.startswith(start)), None)


def stream_of(path: pathlib.Path, codec: str | None):
    """The raw file and the stream of its (unpacked) bytes."""
    if codec == "gzip":
        raw = open(path, "rb")  # noqa: SIM115 - the caller's
        return raw, Gzip(raw)
    raw = pa.OSFile(str(path), "rb")
    return raw, pa.CompressedInputStream(raw, codec) if codec else raw


def read_all(stream, most: int) -> bytes:
    """What a stream holds. Raises OSError beyond `most` bytes: a few kilobytes of gzip can hold gigabytes."""
    pieces, size = [], 0
    while piece := stream.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise OSError(f"more than {most >> 20} MB of text")
    return b"".join(pieces)


class Gzip:
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


def fields_of(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return [line.strip().strip('"')]
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:  # a quoted field beyond all bounds
        return [field.strip() for field in line.split(separator)]


def many(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def and_more(shown: list[str], number: int, between: str = ", ") -> str:
    """The texts shown, and how many more there are where `number` is larger."""
    return between.join(shown) + (f" and {number - len(shown):,} more" if number > len(shown) else "")

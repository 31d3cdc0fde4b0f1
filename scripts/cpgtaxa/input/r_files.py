"""Files of R (.rds, .RData) as streams of objects, in little memory; what is in them, by name."""

import bz2
import dataclasses
import io
import lzma
import os
import pathlib
import warnings

import numpy as np
import pyarrow as pa
import rdata
from rdata.parser._xdr import ParserXDR
from xopen import xopen

from cpgtaxa.errors import InputError, reason_of, some
from cpgtaxa.input.streams import Unreadable, codec_of

XZ = b"\xfd7zXZ\x00"
BINARY = (b"X\n\x00\x00", b"RDX2\n", b"RDX3\n")
OTHER = (
    b"A\n2\n", b"A\n3\n", b"RDA2\n", b"RDA3\n", b"B\n\x02\x00\x00\x00", b"B\n\x03\x00\x00\x00", b"RDB2\n", b"RDB3\n",
)  # fmt: skip
"""R's text and native formats, which hardly anyone writes."""
PIECE = 1 << 20
LARGE = 1 << 16
"""Values in a vector from which on memory is looked at."""
LONGEST_SHEET = 1 << 20
"""Rows of a sheet: longer vectors beside it are no columns of it."""
KINDS = rdata.parser.RObjectType
NUMBERS = (KINDS.REAL, KINDS.INT, KINDS.LGL)
PLAIN = {"numeric", "integer", "double", "character", "logical", "AsIs", "noquote", "haven_labelled_spss", "vctrs_vctr"}
"""Classes that change nothing in what numbers mean."""


def is_r(path, first: bytes) -> bool:
    """Whether a file, which may be compressed in any of R's ways, was written by R's `save` or `saveRDS`."""
    if codec_of(first) or first.startswith(XZ):
        try:
            with _opened(path, first) as stream:
                first = stream.read(16)
        except Exception:  # each library has its own for broken data, which the caller's reader reports
            return False
    return first.startswith((*BINARY, *OTHER))


def _opened(path, first: bytes):
    codec = codec_of(first)
    if codec == "gzip":
        return io.BufferedReader(xopen(path, "rb", threads=0, format="gz"), PIECE)
    if codec == "bz2":
        return io.BufferedReader(bz2.open(path), PIECE)
    if codec == "zstd":
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), PIECE)
    return io.BufferedReader(lzma.open(path), PIECE) if first.startswith(XZ) else open(path, "rb", PIECE)


class _Streamed(ParserXDR):
    """rdata's parser on a stream: vectors go piece by piece into arrays of their own, large ones of doubles as float32.

    rdata itself holds the unpacked file four times over while it parses, and stops at vectors of 2^31 values or more.
    """

    def __init__(self, path, stream, precise: bool):
        super().__init__(memoryview(b""), expand_altrep=True, altrep_constructor_dict=rdata.parser.DEFAULT_ALTREP_MAP)
        self.file, self._path, self._precise = stream, path, precise

    def _parse_array(self, dtype):
        length = self.parse_int()
        if length == -1:  # a long vector: two halves of its length follow
            high, low = self.parse_int(), self.parse_int()
            length = (high << 32) + (low & 0xFFFFFFFF)
        if length < 0:
            raise ValueError(f"a vector of {length} values")
        return self._parse_array_values(dtype, length)

    def _parse_array_values(self, dtype, length: int) -> np.ndarray:
        dtype = np.dtype(dtype)
        stored = dtype.newbyteorder(">")
        if length <= LARGE:
            return np.frombuffer(self.parse_string(length * dtype.itemsize), stored).astype(dtype)
        narrow = dtype == np.float64 and not (self._precise and length <= LONGEST_SHEET)
        kind = np.dtype(np.float32) if narrow else dtype
        need_memory(self._path, length * kind.itemsize)
        found = np.empty(length, dtype=kind)
        with np.errstate(over="ignore"):
            for start in range(0, length, PIECE):
                stop = min(start + PIECE, length)
                found[start:stop] = np.frombuffer(self.parse_string((stop - start) * dtype.itemsize), stored)
        return found

    def parse_string(self, length: int) -> bytes:
        if length < 0:
            raise ValueError(f"a text of {length} bytes")
        data = self.file.read(length)
        if len(data) < length:
            raise EOFError("it ends before its end")
        return data


def free_memory() -> float:
    """Bytes of memory that can still be taken, by the machine and by the job's control group; inf where unknown."""
    found = [float("inf")]
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            group = pathlib.Path("/sys/fs/cgroup")
            found.append(int((group / most).read_text()) - int((group / used).read_text()))
        except (OSError, ValueError):  # no such group, or no limit
            continue
    return min(found)


def need_memory(path, n_bytes: float) -> None:
    """Raise Unreadable where `n_bytes` more of R's values do not fit into memory."""
    free = free_memory()
    if n_bytes > 0.9 * free:
        raise Unreadable(
            f"{path} does not fit into memory: its values take {n_bytes / 1e9:.1f} GB more, and {free / 1e9:.1f} GB "
            "are free. R's files cannot be read in parts: in R, write the matrix with data.table::fwrite"
            '(data.table::as.data.table(beta, keep.rownames = "cpg"), "beta.csv.gz") or arrow::write_parquet'
        )


@dataclasses.dataclass
class RThing:
    """An object of R's: what it is (matrix, data frame, or another word), and its parts."""

    what: str
    raw: rdata.parser.RObject
    shape: tuple[int, int] = (0, 0)
    attributes: dict = dataclasses.field(default_factory=dict)

    def label(self) -> str:
        size = f" {self.shape[0]:,} x {self.shape[1]:,}" if self.what in ("matrix", "data frame") else ""
        return f"{self.what}{size}"


def read_r(path, first: bytes, precise: bool = False) -> dict[str, RThing]:
    """The objects of a file of R's by name ("" for the one of an .rds); those of plain lists as `list$name`.

    precise: keep vectors of doubles as long as a sheet's columns in float64. Raises Unreadable for a damaged file, S4
    objects in an .rds, and what does not fit into memory.
    """
    try:
        with _opened(path, first) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = stream.peek(8)[:8]
            if start.startswith(OTHER):
                raise Unreadable(
                    f"{path} is in a seldom used format of R's (ascii = TRUE, or xdr = FALSE): save it again with "
                    "saveRDS(object, file)"
                )
            workspace = start.startswith(b"RDX")
            stream.read(len("RDX3\nX\n") if workspace else len("X\n"))
            parser = _Streamed(path, stream, precise)
            parser.parse_extra_info(parser.parse_versions())
            if not workspace and stream.peek(4)[3:4] == bytes([KINDS.S4.value]):  # seen before gigabytes are read
                raise Unreadable(f"{path} holds {_s4('an S4 object')}")
            root = parser.parse_R_object()
            if stream.read(1):
                raise ValueError("more follows after its end")
    except InputError:
        raise
    except MemoryError as error:
        raise Unreadable(f"{path} does not fit into memory: save less in it, or write it as Parquet") from error
    except Exception as error:  # the parser meets whatever a spoilt byte means
        raise Unreadable(
            f"{path} is damaged or cut off, or holds what cannot be read ({reason_of(error)}): copy it again, or save "
            "the matrix alone with saveRDS(beta, file)"
        ) from error
    objects = {}
    try:
        for name, one in dict(_pairs(root)).items() if workspace else [("", root)]:
            thing = _thing(one)
            if thing.what == "list" and "names" in thing.attributes:
                inner = zip(strings(thing.attributes["names"]), one.value, strict=True)
                objects |= {f"{name}${key}" if name else key: _thing(value) for key, value in inner}
            else:
                objects[name] = thing
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Unreadable(f"{path} is damaged ({reason_of(error)}): save it again") from error
    return objects


def _s4(what: str) -> str:
    return (
        f"{what} (such as a GenomicRatioSet, MethylSet or SummarizedExperiment), not a matrix. In R, take the betas "
        'out: saveRDS(as.matrix(minfi::getBeta(object)), "beta.rds"), or '
        'saveRDS(as.matrix(SummarizedExperiment::assay(object)), "beta.rds")'
    )


def _pairs(node):
    """Names and objects of a pairlist."""
    while node is not None and node.info.type is KINDS.LIST:
        tag = node.tag
        while tag is not None and tag.info.type is KINDS.REF:
            tag = tag.referenced_object
        yield (_text(tag.value) if tag is not None else ""), node.value[0]
        node = node.value[1]


def _text(char) -> str | None:
    if char.value is None:
        return None
    latin = char.info.gp & rdata.parser.CharFlags.LATIN1
    return char.value.decode("latin-1" if latin else "utf-8", errors="replace")


def strings(raw) -> list[str | None]:
    """A character vector's texts; NA is None."""
    if raw.info.type is not KINDS.STR:
        raise TypeError("no character vector where one belongs")
    return [_text(char) for char in raw.value]


def attribute(raw, name: str):
    """An attribute of an object of R's; None where it has none of that name."""
    return dict(_pairs(raw.attributes)).get(name)


def classes(raw) -> list[str | None]:
    """What R's `class` says of an object that has such an attribute."""
    attributes = dict(_pairs(raw.attributes))
    return strings(attributes["class"]) if "class" in attributes else []


def _thing(raw) -> RThing:
    attributes = dict(_pairs(raw.attributes))
    kinds = classes(raw)
    kind = raw.info.type
    if kind is KINDS.S4:
        return RThing(f"{kinds[0] if kinds else 'S4'} object", raw, attributes=attributes)
    if kind is KINDS.VEC and "data.frame" in kinds:
        n_rows = row_count(attributes["row.names"]) if "row.names" in attributes else 0
        return RThing("data frame", raw, (n_rows, len(raw.value)), attributes)
    if "dim" in attributes and len(attributes["dim"].value) == 2 and kind in (*NUMBERS, KINDS.STR):
        shape = tuple(int(size) for size in attributes["dim"].value)
        if shape[0] * shape[1] != len(raw.value):
            raise ValueError(f"{len(raw.value)} values in a matrix of {shape[0]} x {shape[1]}")
        return RThing("matrix" if kind in NUMBERS else "matrix of text", raw, shape, attributes)
    words = {KINDS.VEC: "list", KINDS.CLO: "function", KINDS.ENV: "environment", KINDS.STR: "text"}
    return RThing(words.get(kind, "vector"), raw, attributes=attributes)


def row_count(row_names) -> int:
    """How many rows a data frame has; automatic row names are stored as NA and their number."""
    if row_names.info.type is KINDS.STR:
        return len(row_names.value)
    values = row_names.value
    if len(values) == 2 and np.ma.is_masked(values):
        return abs(int(np.ma.getdata(values)[1]))
    return len(values)


def levels(column) -> list[str | None] | None:
    """The labels of a text vector or a factor, None where missing; None for anything else."""
    if column.info.type is KINDS.STR:
        return strings(column)
    attributes = dict(_pairs(column.attributes))
    if column.info.type is not KINDS.INT or "levels" not in attributes:
        return None
    names = strings(attributes["levels"])
    missing = np.ma.getmaskarray(column.value)
    return [
        None if gone else names[code - 1]
        for code, gone in zip(np.ma.getdata(column.value).tolist(), missing.tolist(), strict=True)
    ]


def chosen(path, objects: dict[str, RThing], name: str | None, kinds: tuple[str, ...], what: str) -> RThing:
    """The object called `name`, or the only one of the first of `kinds` that there is. Raises Unreadable."""
    listed = some([f"{key}: {one.label()}" if key else one.label() for key, one in objects.items()], 20)
    if name is not None and list(objects) != [""]:
        found = objects.get(name)
        if found is None:
            raise Unreadable(f"{path} has no object {name!r} (`cohort.object`); it holds {listed or 'nothing'}")
        candidates = {name: found}
    else:
        candidates = next(
            (found for kind in kinds if (found := {key: one for key, one in objects.items() if one.what == kind})),
            objects if len(objects) == 1 else {},
        )
    if len(candidates) > 1:
        raise Unreadable(
            f"{path} holds several objects that may be {what}: {listed}. "
            + ("Name one in `cohort.object`" if "matrix" in kinds else "Save the one in an .rds of its own")
        )
    for key, one in candidates.items():
        if one.what in kinds:
            return one
        label = repr(key) if key else "it"
        if one.what.endswith(" object"):
            raise Unreadable(f"{path}: {label} is {_s4('a ' + one.what)}")
        if one.what == "matrix of text":
            raise Unreadable(
                f"{path}: {label} is a matrix of text, not of numbers: in R, leave the columns of text out, then "
                'storage.mode(beta) <- "numeric"'
            )
    raise Unreadable(f"{path} holds nothing that may be {what}, but {listed or 'nothing at all'}")

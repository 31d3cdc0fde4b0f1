"""Matrices from NumPy: `.npz` with the ids inside, `.npy` with the ids in two lists beside it."""

import pathlib
import tokenize
import zipfile
import zlib

import numpy as np

from cpgtaxa.errors import reason_of, some
from cpgtaxa.input.matrices_array import ArrayMatrix, exactly
from cpgtaxa.input.streams import Unreadable
from cpgtaxa.input.texts import lines_of, read_text
from cpgtaxa.input.transposed import Transposed

CPG_KEYS = ("cpg", "cpgs", "cpg_id", "cpg_ids", "probe", "probes", "probe_ids", "index", "rows", "rownames", "features")
SAMPLE_KEYS = (
    "sample", "samples", "sample_id", "sample_ids", "columns", "cols", "colnames", "patients", "individuals",
)  # fmt: skip
HEADS = {*CPG_KEYS, *SAMPLE_KEYS, "id", "ids", "name", "names", "probeid", "ilmnid", "x", "v1", ""}
"""What a first line is called that is a header of a list, not an id (small letters)."""
DAMAGED = (ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, SyntaxError, MemoryError)
DAMAGED += (zipfile.BadZipFile, zlib.error, tokenize.TokenError)
"""What damaged archives and headers raise, in zipfile, zlib and NumPy."""
AGAIN = (
    "Save it again as np.savez(file, beta=values, cpgs=np.array(cpgs, dtype=str), samples=np.array(samples, dtype=str))"
)


def is_npz(path) -> bool:
    """Whether a zip archive is one of NumPy's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except DAMAGED:
        return str(path).lower().endswith(".npz")
    return bool(names) and all(name.endswith(".npy") for name in names)


def open_npz(path, name: str | None, folder):
    """A matrix from an `.npz`: a 2-D array of numbers (`name` picks one of several) and two 1-D arrays of text.

    Which ids are the CpGs' is known by the arrays' names, which axis they belong to by their lengths. Stored rows are
    streamed. Raises Unreadable.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            heads = {member.removesuffix(".npy"): _head(archive, member) for member in archive.namelist()}
            objects = [key for key, (_, _, kind) in heads.items() if kind.hasobject]
            grids = [key for key, (shape, _, kind) in heads.items() if len(shape) == 2 and kind.kind in "fiub"]
            lists = [key for key, (shape, _, kind) in heads.items() if len(shape) == 1 and kind.kind in "US"]
            if name is not None and name not in grids:
                raise Unreadable(
                    f"{path} has no matrix of numbers called {name!r} (`cohort.object`); it holds {_listed(heads)}"
                )
            if objects and (len(lists) < 2 or not grids):
                raise Unreadable(
                    f"{path}: {some(objects)} hold Python objects, which are not read, because they may run code. "
                    f"{AGAIN}"
                )
            if name is None and len(grids) != 1:
                found = f"{len(grids)} matrices of numbers" if grids else "no matrix of numbers"
                raise Unreadable(
                    f"{path} holds {found}: {_listed(heads)}. " + ("Name one in `cohort.object`" if grids else AGAIN)
                )
            grid = name or grids[0]
            shape, fortran, kind = heads[grid]
            ids = {key: _texts(archive, key) for key in lists}
    except DAMAGED as error:
        raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    cpgs, samples = _which(path, grid, shape, ids, heads)
    across = len(cpgs) == shape[0] and len(samples) == shape[1]
    # Fortran's order is the transposed matrix, row by row.
    stored = (cpgs, samples) if across != fortran else (samples, cpgs)
    inner = _Rows(path, grid, shape[::-1] if fortran else shape, kind, *stored)
    return inner if stored[0] is cpgs else Transposed(inner, folder)


def _head(archive, member: str):
    """Shape, order and type of an array in an archive."""
    with archive.open(member) as stream:
        return _header(stream)


def _header(stream):
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of NumPy's format")
    return read(stream)


def _texts(archive, key: str) -> list[str]:
    with archive.open(f"{key}.npy") as stream:
        found = np.lib.format.read_array(stream, allow_pickle=False)
    if found.dtype.kind == "S":
        return [name.decode("utf-8", errors="replace") for name in found.tolist()]
    return found.tolist()


def _listed(heads) -> str:
    return some(
        [f"{key} {'x'.join(map(str, shape)) or 'scalar'} {kind}" for key, (shape, _, kind) in heads.items()], 20
    )


def _which(path, grid: str, shape, ids: dict, heads) -> tuple[list[str], list[str]]:
    """The ids of CpGs and of samples among the lists of text."""
    fitting = {key: names for key, names in ids.items() if len(names) in shape}
    cpgs = [key for key in fitting if key.lower() in CPG_KEYS]
    samples = [key for key in fitting if key.lower() in SAMPLE_KEYS]
    if len(cpgs) != 1 or len(samples) != 1:
        if len(fitting) != 2 or len(cpgs) > 1 or len(samples) > 1:
            raise Unreadable(
                f"{path}: which arrays hold the ids of the {shape[0]:,} x {shape[1]:,} matrix {grid!r} is unclear;  "
                f"it holds {_listed(heads)}. Call the lists of ids `cpgs` and `samples`"
            )
        one, other = fitting
        if cpgs or samples:
            known = (cpgs or samples)[0]
            rest = other if known == one else one
            cpgs, samples = ([known], [rest]) if cpgs else ([rest], [known])
        elif shape[0] != shape[1]:  # no names to go by: CpGs in rows, unless the sheet says otherwise
            cpgs, samples = ([one], [other]) if len(fitting[one]) == shape[0] else ([other], [one])
        else:
            raise Unreadable(
                f"{path}: {one!r} and {other!r} fit both axes of the square matrix {grid!r}: call them `cpgs` and "
                "`samples`"
            )
    found = fitting[cpgs[0]], fitting[samples[0]]
    if sorted(map(len, found)) != sorted(shape):
        raise Unreadable(
            f"{path}: {cpgs[0]!r} ({len(found[0]):,} ids) and {samples[0]!r} ({len(found[1]):,}) are not the two axes "
            f"of {grid!r} ({shape[0]:,} x {shape[1]:,})"
        )
    return found


class _Rows(ArrayMatrix):
    """The rows of an array in an archive as they are stored, one after the other."""

    def __init__(self, path, key: str, shape, kind, rows, columns):
        super().__init__(path, rows, columns, None)
        self._key, self._shape, self._kind = key, shape, kind

    def batches(self, columns: list[int]):
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{self._key}.npy") as stream:
            try:
                _header(stream)
                self._read = lambda start, stop: self._next(stream, stop - start)
                yield from super().batches(columns)
            except DAMAGED as error:
                raise OSError(reason_of(error)) from error

    def _next(self, stream, rows: int) -> np.ndarray:
        size = rows * self._shape[1] * self._kind.itemsize
        data = bytearray(size)
        view, at = memoryview(data), 0
        while at < size:
            piece = stream.read(min(size - at, 1 << 22))
            if not piece:
                raise EOFError("it ends before its end")
            view[at : at + len(piece)] = piece
            at += len(piece)
        return np.frombuffer(data, dtype=self._kind).reshape(rows, self._shape[1])


def open_npy(path, index: dict | None):
    """A matrix from an `.npy`, memory-mapped, whose ids are listed in the files `index["cpgs"]`, `index["samples"]`.

    Either axis may be the CpGs': the lists' lengths show which. Raises Unreadable or InputError.
    """
    if not index or not (index.get("cpgs") and index.get("samples")):
        raise Unreadable(
            f"{path} is a NumPy array without ids: name a list of each in "
            "`cohort.index: {cpgs: file, samples: file}` "
            f"(text, one id per line, in the order of the array), or save both in an .npz. {AGAIN}"
        )
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED as error:
        if ("object" in str(error).lower() and "pickle" in str(error).lower()) or "Python objects" in str(error):
            raise Unreadable(
                f"{path} holds Python objects, which are not read, because they may run code: save it again as "
                "np.save(file, values.astype(np.float32))"
            ) from error
        raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        shape = " x ".join(f"{size:,}" for size in array.shape)
        raise Unreadable(f"{path} is no matrix of numbers, but {shape or 'a single value'} of {array.dtype}")
    cpgs, samples = (_ids(index[key], f"cohort.index.{key}", array.shape) for key in ("cpgs", "samples"))
    if (len(cpgs), len(samples)) == array.shape[::-1] != array.shape:
        array = array.T
    exactly(path, f"{index['cpgs']} (`cohort.index.cpgs`)", cpgs, array.shape[0], "rows")
    exactly(path, f"{index['samples']} (`cohort.index.samples`)", samples, array.shape[1], "columns")
    return of_array(path, array, cpgs, samples)


def of_array(path, array: np.ndarray, cpgs: list[str], samples: list[str]) -> ArrayMatrix:
    """A reader of an array (CpGs, samples) in memory or in a mapped file."""
    return ArrayMatrix(
        path, cpgs, samples, lambda start, stop: array[start:stop], flip=lambda: of_array(path, array.T, samples, cpgs)
    )


def _ids(path, key: str, shape) -> list[str]:
    """One id per line; a header that is plainly one, or one too many for the array, is left out."""
    lines = [line.strip().strip('"') for line in lines_of(read_text(pathlib.Path(path), key))]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) - 1 in shape and (len(lines) not in shape or lines[0].lower() in HEADS):
        return lines[1:]
    return lines

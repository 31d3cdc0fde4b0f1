"""Matrices from AnnData: .h5ad files with samples as observations and CpGs as variables, dense or sparse."""

import os
import subprocess
import sys

import anndata.io
import h5py
import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError, reason_of, some
from cpgtaxa.input.matrices_array import BLOCK_BYTES, ArrayMatrix, exactly
from cpgtaxa.input.streams import Unreadable
from cpgtaxa.input.transposed import Transposed

WIDEST = 8 * BLOCK_BYTES
"""float32 values of a block where the file is compressed in chunks that wide."""

_SECONDS, _PER_SECOND = 3, 5 << 20
"""Processor seconds for `_LOOK`, and bytes of the file for each further one."""
_LOOK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]), int(sys.argv[2])))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import h5py

def look(name, node):
    dict(node.attrs)
    if isinstance(node, h5py.Dataset) and node.dtype.hasobject:
        for start in range(0, node.shape[0] if node.shape else 0, 100_000):
            node[start : start + 100_000]

try:
    with h5py.File(sys.argv[1], "r") as file:
        dict(file.attrs)
        file.visititems(look)
except Exception:  # reported by whoever reads it
    pass
"""
"""In a damaged heap of texts the HDF5 library may turn forever, and no signal stops it in our own process."""


def open_h5ad(path, name: str | None, folder):
    """A reader of X, or of the layer `name`; blocks of CpGs are read from the file, which stays open.

    Samples may be observations or variables: here they are taken for observations, `transposed.oriented` sees to it.
    What is stored row by row (sparse, or in chunks of whole rows) is turned by way of a file in `folder`. Raises
    Unreadable.
    """
    file = opened(path)
    try:
        samples, cpgs = names_of(path, file, "obs"), names_of(path, file, "var")
        layers = sorted(file.get("layers", ()))
        if name is not None and name != "X" and name not in layers:
            raise Unreadable(f"{path} has no layer {name!r} (`cohort.object`); it holds {', '.join(['X', *layers])}")
        node = file.get("X" if name in (None, "X") else f"layers/{name}")
        if node is None:
            raise Unreadable(f"{path} has no X: name one of its layers in `cohort.object` ({', '.join(layers)})")
        sparse = isinstance(node, h5py.Group)
        values = _Sparse(node) if sparse else node
        if len(values.shape) != 2 or np.dtype(values.dtype).kind not in "fiub":
            raise Unreadable(f"{path}: {node.name} is no matrix of numbers, but {values.shape} of {values.dtype}")
        exactly(path, "obs", samples, values.shape[0], "rows")
        exactly(path, "var", cpgs, values.shape[1], "columns")
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    if sparse:
        stored = (samples, cpgs) if values.by_rows else (cpgs, samples)
        inner = _matrix(path, *stored, values.read, 1)
        if values.by_rows:
            return Transposed(inner, folder)
        inner._flip = lambda: Transposed(inner, folder)
        return inner
    tall, wide = values.chunks or (1, 1)
    rows = _matrix(path, samples, cpgs, lambda start, stop: values[start:stop], tall)
    if 4 * wide * len(samples) > WIDEST:
        return Transposed(rows, folder)
    inner = _matrix(path, cpgs, samples, lambda start, stop: values[:, start:stop].T, wide)
    inner._flip = lambda: rows
    return inner


class _Sparse:
    """A sparse matrix in its file, rows (or columns) read as (k, n) float32. What is not stored is 0.

    By hand, because anndata's own reader of these asks for what newer scipy no longer has.
    """

    def __init__(self, node: h5py.Group):
        kind = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", ""))
        if kind not in ("csr_matrix", "csc_matrix", "csr", "csc"):
            raise ValueError(f"{node.name} is {kind or 'a group'}, no matrix")
        self.by_rows = kind.startswith("csr")
        self.shape = tuple(int(size) for size in node.attrs.get("shape", node.attrs.get("h5sparse_shape")))
        self.dtype = node["data"].dtype
        self._data, self._indices, self._starts = node["data"], node["indices"], node["indptr"][:]
        n_major, self._n_minor = self.shape if self.by_rows else self.shape[::-1]
        if len(self._starts) != n_major + 1 or self._starts[0] != 0 or (np.diff(self._starts) < 0).any():
            raise ValueError(f"{node.name}/indptr does not fit a matrix of {self.shape}")

    def read(self, start: int, stop: int) -> np.ndarray:
        bounds = self._starts[start : stop + 1]
        found = np.zeros((stop - start, self._n_minor), dtype=np.float32)
        rows = np.repeat(np.arange(stop - start), np.diff(bounds))
        found[rows, self._indices[bounds[0] : bounds[-1]]] = self._data[bounds[0] : bounds[-1]]
        return found


def _matrix(path, rows, columns, read, step) -> ArrayMatrix:
    def checked(start, stop):
        try:
            return read(start, stop)
        except (KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
            raise OSError(reason_of(error)) from error

    return ArrayMatrix(path, rows, columns, checked, step=step)


def opened(path) -> h5py.File:
    """An AnnData file. Raises Unreadable for other HDF5 files and damaged ones."""
    limit = _SECONDS + os.path.getsize(path) // _PER_SECOND
    look = [sys.executable, "-c", _LOOK, str(path), str(limit)]
    if subprocess.run(look, stderr=subprocess.DEVNULL, check=False).returncode < 0:
        raise Unreadable(f"{path} is damaged (the HDF5 library does not get to its end): copy it again")
    try:
        file = h5py.File(path, "r")
        members = set(file)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    if {"matrix", "row_attrs", "col_attrs"} <= members:
        rows, columns = (some(sorted(file[name]), 10) for name in ("row_attrs", "col_attrs"))
        raise Unreadable(
            f"{path} is a loom file, which is not read. In R, with the attribute that names the CpGs (of {rows}) and "
            f"the one that names the samples (of {columns}): library(SummarizedExperiment); se <- "
            'makeSummarizedExperimentFromLoom("file.loom", "CpGs", "samples"); '
            'saveRDS(as.matrix(assay(se)), "beta.rds")'
        )
    if not {"obs", "var"} <= members:
        raise Unreadable(
            f"{path} is an HDF5 file, but not AnnData: it lacks the tables obs and var. Of R's HDF5Array: "
            'saveRDS(as.matrix(assay(se)), "beta.rds"), which keeps the names; of Python: '
            "anndata.AnnData(values, obs, var).write_h5ad(file); or export it as CSV or Parquet"
        )
    return file


def frame_of(path, file: h5py.File, table: str) -> pd.DataFrame:
    """The table obs or var. Raises Unreadable."""
    try:
        node = file[table]
        return _compound(file, node) if isinstance(node, h5py.Dataset) else anndata.io.read_elem(node)
    except InputError:
        raise
    except Exception as error:  # whatever a spoilt description leads to
        raise Unreadable(f"{path}: {table} cannot be read ({reason_of(error)}): copy or write it again") from error


def _compound(file: h5py.File, node: h5py.Dataset) -> pd.DataFrame:
    """A table as anndata before 0.7 wrote it: one array of records, the names first, categories as codes."""
    records = node[:]
    columns = {}
    for name in records.dtype.names:
        column = records[name]
        if column.dtype.kind in "SO":
            column = [text.decode() if isinstance(text, bytes) else text for text in column.tolist()]
        words = file.get(f"uns/{name}_categories")
        if words is not None:
            words = [text.decode() if isinstance(text, bytes) else text for text in words[:].tolist()]
            column = [words[code] if code >= 0 else None for code in np.asarray(column).tolist()]
        columns[name] = column
    frame = pd.DataFrame(columns)
    index = next((name for name in ("index", "_index") if name in frame), records.dtype.names[0])
    return frame.set_index(index)


def names_of(path, file: h5py.File, table: str) -> list[str]:
    return frame_of(path, file, table).index.astype(str).tolist()

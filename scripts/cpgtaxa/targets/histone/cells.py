"""Checked counts of a cell type on disk, and what the networks are given of them.

`CELL.arrow` is an Arrow IPC file with the columns `gene` (string), `split` and `label` (int8) and `counts` (fixed-size
list of float32, bins times marks, mark by mark within a bin) in record batches of ROWS genes; the schema's metadata
holds `marks` and `bins`. A batch of genes is read row by row from where it lies: no cell type is ever in memory whole.
"""

import contextlib
import json
import mmap
import os
import pathlib

import numpy as np
import pyarrow as pa

from cpgtaxa import files
from cpgtaxa.errors import InputError, reason_of
from cpgtaxa.targets.histone.plan import SPLITS

ROWS = 1024
"""Genes in a record batch: 2 MB of five marks in 100 bins."""


class CellWriter:
    """Write a cell type's genes piece by piece; the file takes its name when the `with` block ends without an error."""

    def __init__(self, path, marks, bins: int):
        self.path, self.marks, self.bins = pathlib.Path(path), list(marks), bins

    def __enter__(self):
        width = self.bins * len(self.marks)
        counts = pa.list_(pa.float32(), width)
        fields = [("gene", pa.string()), ("split", pa.int8()), ("label", pa.int8()), ("counts", counts)]
        self._schema = pa.schema(fields, metadata={"marks": json.dumps(self.marks), "bins": str(self.bins)})
        self._genes, self._waiting, self._rows = [], [], 0
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(files.atomic(self.path))
            sink = stack.enter_context(pa.OSFile(str(temporary), "wb"))
            self._file = stack.enter_context(pa.ipc.new_file(sink, self._schema))
            self._stack = stack.pop_all()
        return self

    def append(self, genes, splits, labels, counts: np.ndarray) -> None:
        """Add k genes: names, numbers of their splits (SPLITS), labels 0 or 1, and counts (k, bins, marks)."""
        flat = np.ascontiguousarray(counts, dtype=np.float32).reshape(len(genes), self.bins * len(self.marks))
        self._waiting.append((np.asarray(splits, dtype=np.int8), np.asarray(labels, dtype=np.int8), flat))
        self._genes += list(genes)
        self._rows += len(genes)
        while self._rows >= ROWS:
            self._flush(ROWS)

    def _flush(self, rows: int) -> None:
        splits, labels, counts = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        # Cut to exactly ROWS, so that a gene's place follows from its number.
        values = pa.FixedSizeListArray.from_arrays(
            pa.array(counts[:rows].reshape(-1)), type=self._schema.field("counts").type
        )
        columns = [pa.array(self._genes[:rows], pa.string()), pa.array(splits[:rows]), pa.array(labels[:rows]), values]
        self._file.write_batch(pa.record_batch(columns, schema=self._schema))
        del self._genes[:rows]
        self._waiting = [(splits[rows:], labels[rows:], counts[rows:])]
        self._rows -= rows

    def __exit__(self, *failure):
        if failure[0] is None and self._rows:
            self._flush(self._rows)
        return self._stack.__exit__(*failure)


class Cell:
    """A cell type's file. name, marks, bins; `split` and `label`, (n,) int8.

    Mapped to find where the counts lie; they are read, not mapped: a random gene would drag in its neighbours' pages.

    Raises InputError naming a file that is missing or not what was written (the job compares its checksum too).
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.name = self.path.stem
        with files.naming_damage(self.path):
            self._file = open(self.path, "rb")  # noqa: SIM115 - as long as the cell type
            whole = pa.py_buffer(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
            file = pa.ipc.open_file(whole)
            self._batches = [file.get_batch(number) for number in range(file.num_record_batches)]
            self.marks: list[str] = json.loads(file.schema.metadata[b"marks"])
            self.bins = int(file.schema.metadata[b"bins"])
            width = self.bins * len(self.marks)
            counts = [batch.column("counts").values.to_numpy() for batch in self._batches]
            self._starts = [one.ctypes.data - whole.address for one in counts]
            self.split = np.concatenate([batch.column("split").to_numpy() for batch in self._batches])
            self.label = np.concatenate([batch.column("label").to_numpy() for batch in self._batches])
        if any(len(one) != ROWS * width for one in counts[:-1]):
            raise InputError(f"{self.path} is damaged (its batches have other sizes): {files.REMEDY}")

    def __len__(self):
        return len(self.label)

    def genes(self, rows=None) -> np.ndarray:
        """Names of all genes, or of some rows; array of str objects."""
        try:
            every = pa.chunked_array([batch.column("gene") for batch in self._batches])
            return (every if rows is None else every.take(pa.array(rows))).to_numpy(zero_copy_only=False)
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"{self.path} is damaged ({reason_of(error)}): {files.REMEDY}") from error

    def rows(self, split: str) -> np.ndarray:
        """Rows of a split's genes, in the order of the file."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def take(self, rows) -> np.ndarray:
        """Counts of some rows, (k, bins, marks) float32. Raises InputError where the file has become shorter."""
        rows = np.asarray(rows)
        found = np.empty((len(rows), self.bins * len(self.marks)), dtype=np.float32)
        for at, (batch, row) in enumerate(zip(*np.divmod(rows, ROWS), strict=True)):
            place = self._starts[batch] + int(row) * found[at].nbytes
            if os.preadv(self._file.fileno(), [found[at]], place) != found[at].nbytes:
                raise InputError(f"{self.path} is damaged (it ends early): {files.REMEDY}")
        return found.reshape(len(rows), self.bins, len(self.marks))


def preprocess(counts: np.ndarray) -> np.ndarray:
    """The values that GeneNet is given, as published: (n, bins, marks) counts to (n, bins * marks + marks) float32.

    Each bin is divided by the largest of its marks; the marks' sums over these bins, divided by the largest of them,
    follow. Bins without any count stay 0, as scikit-learn's `normalize` leaves them in the published code. What is left
    is which mark prevails where; how much there is of all of them is lost.
    """
    counts = np.asarray(counts, dtype=np.float32)
    shares = _by_largest(counts)
    sums = _by_largest(shares.sum(axis=1, dtype=np.float64))
    return np.concatenate([shares.reshape(len(counts), -1), sums.astype(np.float32)], axis=1)


def _by_largest(values: np.ndarray) -> np.ndarray:
    """Values divided by the largest along the last axis; 0 where all are 0."""
    largest = values.max(axis=-1, keepdims=True)
    return np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)


def gather(cells: list[Cell], which: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Counts of genes by their cell types' numbers and their rows there, (k, bins, marks) float32."""
    found = np.empty((len(rows), cells[0].bins, len(cells[0].marks)), dtype=np.float32)
    for number in np.unique(which):
        here = which == number
        found[here] = cells[number].take(rows[here])
    return found


def labels_of(cells: list[Cell], which: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Labels of genes by their cell types' numbers and their rows there, (k,) int64."""
    found = np.empty(len(rows), dtype=np.int64)
    for number in np.unique(which):
        here = which == number
        found[here] = cells[number].label[rows[here]]
    return found

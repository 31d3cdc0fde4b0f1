"""Matrices that can be read from any row on: what the readers of NumPy, AnnData and R files hand over."""

import pathlib

import numpy as np

from cpgtaxa.errors import some
from cpgtaxa.input.streams import Unreadable

BLOCK_BYTES = 48 << 20
"""float32 values of a block of CpGs."""


class KnownRows:
    """A matrix whose CpGs are known before it is read."""

    cpgs: list[str]
    _done = 0.0

    def share(self) -> float:
        """How much of the matrix has been handed over, 0..1."""
        return self._done

    def n_rows(self) -> float:
        """How many CpGs there are."""
        return len(self.cpgs)


class ArrayMatrix(KnownRows):
    """CpGs in rows, read block by block; the protocol is that of `cpgtaxa.input.matrices.TextMatrix`.

    cpgs, samples: their ids. read: `read(start, stop)` gives rows start to stop (k, all samples), numbers of any type,
    NaN where there is none. step: rows that are best read together, such as those of an HDF5 chunk. flip: makes the
    reader of the same values with the axes exchanged, where that is cheap.
    """

    def __init__(self, path, cpgs: list[str], samples: list[str], read, *, step: int = 1, flip=None):
        self.path = pathlib.Path(path)
        self.cpgs = [name.strip() for name in cpgs]
        self.samples = [name.strip() for name in samples]
        self.odd_rows, self.n_odd_rows = [], 0
        self.n_fields = len(self.samples) + 1
        self._read, self._step, self._flip = read, step, flip
        if not self.samples or not self.cpgs:
            raise Unreadable(f"{path} holds {len(self.cpgs):,} rows x {len(self.samples):,} columns: it is empty")

    @property
    def can_flip(self) -> bool:
        return self._flip is not None

    def flipped(self) -> "ArrayMatrix":
        """The matrix with rows and columns exchanged."""
        return self._flip()

    def batches(self, columns: list[int]):
        """Blocks of rows: ids, and the wanted columns, (k, n) float32."""
        rows = max(1, BLOCK_BYTES // (4 * len(self.samples)))
        rows = max(rows // self._step, 1) * self._step
        everything = columns == list(range(len(self.samples)))
        for start in range(0, len(self.cpgs), rows):
            stop = min(start + rows, len(self.cpgs))
            if columns:
                block = self._read(start, stop)
                block = block if everything else block[:, columns]
                with np.errstate(over="ignore"):  # reported as infinite
                    block = np.ascontiguousarray(block, dtype=np.float32)
            else:
                block = np.empty((stop - start, 0), dtype=np.float32)
            self._done = stop / len(self.cpgs)
            yield self.cpgs[start:stop], block


def exactly(path, what: str, names, count: int, axis: str) -> None:
    """Raise Unreadable unless there are as many names as the matrix has rows or columns."""
    if len(names) != count:
        raise Unreadable(
            f"{path}: {what} holds {len(names):,} ids ({some(list(names[:3]))} …), and the matrix has {count:,} {axis}"
        )

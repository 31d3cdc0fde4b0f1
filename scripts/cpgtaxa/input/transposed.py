"""Matrices with samples in rows and CpGs in columns, turned by way of a file: memory holds a block."""

import os
import pathlib
import tempfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cpgtaxa.errors import InputError, reason_of
from cpgtaxa.files import disk_problem, need_space
from cpgtaxa.input.matrices_array import KnownRows
from cpgtaxa.input.streams import DAMAGE, MISSING, Unreadable, many
from cpgtaxa.progress import Progress

BLOCK_BYTES = 128 << 20
"""Values taken from the file at a time: the more, the longer the pieces read of each sample."""
GIVEN_BYTES = 32 << 20
"""Values handed over at a time."""
TEXT = np.float32(-3e38)
"""Stands for text in the file."""
NUMBER = r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$"
REMEMBERED = 1000
"""Cells of text kept as they are; the others are handed over as the last of these."""


class Transposed(KnownRows):
    """Another reader's matrix with rows and columns exchanged; the protocol is that of `matrices.TextMatrix`.

    The inner matrix is gone through once. Its values, (n_samples, n_cpgs) float32, lie in a nameless file in `folder`,
    which is gone with this object, even if the process is killed. Raises Unreadable for a damaged matrix, InputError
    where the disk is too small.
    """

    def __init__(self, matrix, folder=None):
        self.path, self._inner = matrix.path, matrix
        self.cpgs = matrix.samples
        self.samples: list[str] = []
        self.n_fields = matrix.n_fields
        self._texts: dict[tuple[int, int], str] = {}
        folder = pathlib.Path(folder or tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        size = 4 * len(self.cpgs) * matrix.n_rows()
        need_space(folder / "scratch", size, "turning a matrix of samples x CpGs round takes")
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - kept until this object is gone
        try:
            self._fill(matrix, folder)
        except BaseException:
            self._file.close()
            raise
        self.odd_rows, self.n_odd_rows = matrix.odd_rows, matrix.n_odd_rows

    def _fill(self, matrix, folder) -> None:
        progress = Progress(1.0, "")
        blocks = matrix.batches(list(range(len(self.cpgs))))
        while True:
            try:
                ids, arrays = next(blocks, (None, None))
            except DAMAGE as error:
                if "invalid UTF8" in str(error):
                    raise Unreadable(f"{self.path} is not text in UTF-8: save it as CSV (UTF-8)") from error
                raise Unreadable(
                    f"{self.path} is damaged or cut off after {many(len(self.samples), 'sample')} "
                    f"({reason_of(error)}): copy it again"
                ) from error
            if ids is None:
                break
            values = arrays if isinstance(arrays, np.ndarray) else self._numbers(arrays)
            data = memoryview(np.ascontiguousarray(values, dtype=np.float32)).cast("B")
            try:
                while len(data):
                    data = data[self._file.write(data) :]
            except OSError as error:
                raise InputError(disk_problem(error, folder) or f"{folder}: {reason_of(error)}") from error
            self.samples += [(name or "").strip() for name in ids]
            progress.at_share(min(matrix.share(), 1.0), f"{len(self.samples):,} samples read")

    def _numbers(self, arrays) -> np.ndarray:
        """(k, n) float32 of one Arrow array per column; text is remembered, and `TEXT` stands for it."""
        n_rows = len(arrays[0])
        values = np.empty((len(arrays), n_rows), dtype=np.float32)
        texts = []
        for column, array in enumerate(arrays):
            if pa.types.is_floating(array.type):
                values[column] = array.to_numpy(zero_copy_only=False)
            else:
                texts.append(column)
        if texts:  # all at once: there may be a million columns
            given = pc.utf8_trim_whitespace(pa.concat_arrays([arrays[column] for column in texts]))
            plain = pc.match_substring_regex(given, NUMBER)
            number = pc.if_else(plain, given, None).cast(pa.float64()).to_numpy(zero_copy_only=False)
            number = number.astype(np.float32)
            rest = np.flatnonzero(pc.invert(plain).fill_null(False).to_numpy(zero_copy_only=False))
            others = given.take(pa.array(rest)).to_pandas().astype(object)
            number[rest] = pd.to_numeric(others, errors="coerce")
            odd = np.flatnonzero(np.isnan(number[rest]) & ~others.isin(MISSING).to_numpy())
            for at in odd[: REMEMBERED - len(self._texts)]:
                place, row = divmod(int(rest[at]), n_rows)
                self._texts[len(self.samples) + row, texts[place]] = others.iloc[at]
            number[rest[odd]] = TEXT
            values[texts] = number.reshape(len(texts), n_rows)
        return values.T

    def batches(self, columns: list[int]):
        """Blocks of CpGs: ids, and values (k, n) float32, or one Arrow array per sample where some of it is text."""
        n_cpgs, n_samples = len(self.cpgs), len(self.samples)
        wide = max(1, BLOCK_BYTES // (4 * max(len(columns), 1)))
        step = max(1, GIVEN_BYTES // (4 * max(len(columns), 1)))
        for start in range(0, n_cpgs if n_samples else 0, wide):
            stop = min(start + wide, n_cpgs)
            held = np.empty((len(columns), stop - start), dtype=np.float32)
            for place, sample in enumerate(columns):
                self._read(held[place], 4 * (sample * n_cpgs + start))
            for first in range(start, stop, step):
                last = min(first + step, stop)
                piece = held[:, first - start : last - start]
                self._done = last / n_cpgs
                if self._texts and (piece == TEXT).any():
                    yield self.cpgs[first:last], [self._values(row, columns, at, first) for at, row in enumerate(piece)]
                else:
                    yield self.cpgs[first:last], np.ascontiguousarray(piece.T)

    def _read(self, out: np.ndarray, offset: int) -> None:
        view = memoryview(out).cast("B")
        while len(view):
            n_read = os.preadv(self._file.fileno(), [view], offset)
            if not n_read:
                raise OSError("the turned matrix is shorter than it was")
            view, offset = view[n_read:], offset + n_read

    def _values(self, row: np.ndarray, columns, at: int, first: int) -> pa.Array:
        """One sample's values of a block as numbers, or as text where some are."""
        if not (row == TEXT).any():
            return pa.array(row, from_pandas=True)
        last = next(reversed(self._texts.values()))
        return pa.array(
            [
                None
                if np.isnan(value)
                else self._texts.get((columns[at], first + place), last)
                if value == TEXT
                else repr(float(value))
                for place, value in enumerate(row)
            ],
            pa.string(),
        )


def oriented(matrix, wanted, folder, warn):
    """The matrix with CpGs in rows: turned round where the ids `wanted` are in its first column, not in its header.

    warn: takes the text for whom it concerns. Raises InputError as `Transposed` does.
    """
    known = set(wanted)
    if not known or known.intersection(matrix.samples):
        return matrix, False
    try:
        for ids, _ in matrix.batches([]):
            if known.intersection((name or "").strip() for name in ids):
                break
        else:
            return matrix, False
    except DAMAGE:  # reported when the values are read
        return matrix, False
    turned = matrix.flipped() if getattr(matrix, "can_flip", False) else Transposed(matrix, folder)
    warn(
        f"{matrix.path} was read as samples x CpGs: {len(known.intersection(turned.samples)):,} of the sheet's "
        f"{len(known):,} sample ids are in its first column, not in its header"
    )
    return turned, True

"""A matrix in several text files whose samples stand side by side, CpG for CpG (see `standard_layout`)."""

import pathlib

import numpy as np
import pyarrow as pa

from cpgtaxa.input.streams import Unreadable


class PartsMatrix:
    """Opened matrices of the same CpGs in the same order, read together, block by block.

    paths and parts: the files and their readers (`matrices.TextMatrix`). Memory holds a block of each part, all of them
    together as much as of one file.
    """

    def __init__(self, paths: list[pathlib.Path], parts: list):
        self.path, self.paths, self.parts = paths[0], paths, parts
        for part in parts:
            part.share_block(len(parts))
        self.samples = [name for part in parts for name in part.samples]
        self.n_fields = parts[0].n_fields
        self._places = [(number, at) for number, part in enumerate(parts) for at in range(len(part.samples))]

    @property
    def n_odd_rows(self) -> int:
        return sum(part.n_odd_rows for part in self.parts)

    @property
    def odd_rows(self) -> list[str]:
        return [row for part in self.parts for row in part.odd_rows]

    def batches(self, columns: list[int]):
        """Blocks of rows: ids, and values (k, n) float32 or one Arrow array for each wanted column.

        Raises Unreadable where the parts have other CpGs, or the same in another order.
        """
        wanted: dict[int, list[int]] = {}
        for column in columns:
            number, at = self._places[column]
            wanted.setdefault(number, []).append(at)
        numbers = sorted(wanted) or [0]
        made = [self._places.index((number, at)) for number in numbers for at in wanted.get(number, [])]
        order = None if made == list(columns) else [made.index(column) for column in columns]
        streams = [self.parts[number].batches(wanted.get(number, [])) for number in numbers]
        waiting: list[tuple] = [([], None)] * len(streams)
        done = 0
        while True:
            for at, stream in enumerate(streams):
                while waiting[at] is not None and not waiting[at][0]:
                    waiting[at] = next(stream, None)
            rows = min(len(block[0]) if block else 0 for block in waiting)
            ids = [block[0][:rows] if block else [] for block in waiting]
            if not rows and not any(waiting):
                return
            self._compare(numbers, waiting, rows, done)
            values = _beside([_rows(block[1], 0, rows) for block in waiting])
            if order is not None:
                values = values[:, order] if isinstance(values, np.ndarray) else [values[at] for at in order]
            yield ids[0], values
            waiting = [(block[0][rows:], _rows(block[1], rows, None)) for block in waiting]
            done += rows

    def _compare(self, numbers: list[int], waiting: list, rows: int, done: int) -> None:
        """All parts have the same ids in the next rows, or Unreadable says where they part."""
        first = waiting[0][0][:rows] if waiting[0] else []
        for number, block in zip(numbers, waiting, strict=True):
            other = block[0][:rows] if block else []
            if rows and other == first:
                continue
            at = next((at for at, (one, two) in enumerate(zip(first, other, strict=False)) if one != two), 0)
            names = [(found[0][at] if found and len(found[0]) > at else None) for found in (waiting[0], block)]
            if names[0] == names[1]:
                continue
            what = [f"ends before row {done + at + 1}" if name is None else f"has {name!r}" for name in names]
            odd = f" ({self.odd_rows[0]} has another number of fields than the header)" if self.odd_rows else ""
            raise Unreadable(
                f"row {done + at + 1} of {self.paths[number]} below the header {what[1]}, where "
                f"{self.paths[numbers[0]]} {what[0]}{odd}: all parts of a matrix need the same CpGs in the same order"
            )

    def share(self) -> float:
        """How much of the files has been read, 0..1."""
        return max(part.share() for part in self.parts if part.begun())

    def n_rows(self) -> float:
        """About how many CpGs there are."""
        return self.parts[0].n_rows()


def _rows(values, start: int, stop: int | None):
    if isinstance(values, np.ndarray):
        return values[start:stop]
    return [array[start:stop] for array in values or []]


def _beside(blocks: list):
    """Blocks of the same rows as one: an array where all are arrays, else a list of Arrow columns."""
    if all(isinstance(block, np.ndarray) for block in blocks):
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
    return [
        pa.array(column) if isinstance(column, np.ndarray) else column
        for block in blocks
        for column in (block.T if isinstance(block, np.ndarray) else block)
    ]

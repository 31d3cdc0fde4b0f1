"""The files that the steps of this target hand on: the table of sites, windows around them, and predictions.

All are read in blocks of rows, so that memory does not grow with the genome.
"""

import contextlib
import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cpgtaxa.errors import InputError
from cpgtaxa.files import REMEDY, atomic, naming_damage

ROWS = 1 << 16
"""Sites of a block."""
FARTHEST = 25_000
"""Bases; neighbours farther away count as being so far, as published."""
FARTHEST_BY_ORDER = 1_000
"""The same in sites, where their order alone is known."""
UNKNOWN = 0.5
"""State of a neighbour that is not there."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive sites. first: row of the first; chrom (n,) int32 codes, position (n,) int64, 1-based; split (n,) int8
    (0 train, 1 validation, 2 test, -1 none); states (n, cells) int8: 0, 1, or -1 where unobserved."""

    first: int
    chrom: np.ndarray
    position: np.ndarray
    split: np.ndarray
    states: np.ndarray


def _matrix(column: pa.Array, width: int) -> np.ndarray:
    """A column of fixed-size lists as (n, width), without a copy."""
    return column.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)


class Sites:
    """The table of sites (`sites.arrow`), memory-mapped. cells: names; chroms: names by code; n: number of sites;
    farthest: distance from which neighbours count as being so far.

    Raises InputError naming a file that is missing or damaged.
    """

    def __init__(self, path):
        with naming_damage(path):
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self.cells = json.loads(self._reader.schema.metadata[b"cells"])
            self.farthest = int(self._reader.schema.metadata.get(b"farthest", FARTHEST))
            batches = [self._reader.get_batch(number) for number in range(self._reader.num_record_batches)]
        self.chroms = batches[-1].column("chrom").dictionary.to_pylist() if batches else []
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
        self.n = int(self._starts[-1])

    def rows(self, first: int, last: int) -> Block:
        """The sites from row `first` up to but not including `last`."""
        parts = []
        for number in range(self._reader.num_record_batches):
            start, stop = self._starts[number], self._starts[number + 1]
            low, high = max(first, start), min(last, stop)
            if low < high:
                batch = self._reader.get_batch(number).slice(low - start, high - low)
                parts.append(
                    (
                        batch.column("chrom").indices.to_numpy(),
                        batch.column("position").to_numpy(),
                        batch.column("split").to_numpy(),
                        _matrix(batch.column("states"), len(self.cells)),
                    )
                )
        columns = [np.concatenate(column) if len(parts) > 1 else column[0] for column in zip(*parts, strict=True)]
        return Block(first, *columns)

    def blocks(self):
        """All sites in order, in blocks of at most ROWS."""
        for first in range(0, self.n, ROWS):
            yield self.rows(first, min(first + ROWS, self.n))


@dataclasses.dataclass(frozen=True)
class Window:
    """Windows around consecutive sites. site, position (n,) int64; split (n,) int8; dna (n, dna_wlen) uint8 or None;
    targets (n, cells) int8."""

    site: np.ndarray
    position: np.ndarray
    split: np.ndarray
    dna: np.ndarray | None
    targets: np.ndarray


def window_blocks(paths):
    """The windows of all shards, shard by shard in the order given, in the files' own batches."""
    for path in paths:
        with naming_damage(path):
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            meta = reader.schema.metadata
            cells = len(json.loads(meta[b"cells"]))
        for number in range(reader.num_record_batches):
            with naming_damage(path):
                batch = reader.get_batch(number)
                has_dna = "dna" in batch.schema.names
                window = Window(
                    *(batch.column(name).to_numpy() for name in ("site", "position", "split")),
                    _matrix(batch.column("dna"), int(meta[b"dna_wlen"])) if has_dna else None,
                    _matrix(batch.column("targets"), cells),
                )
            yield window


def filled(states: np.ndarray, distances: np.ndarray, farthest: int = FARTHEST) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours as numbers, float32: a state is UNKNOWN where there is none, a distance `farthest` there and at most.

    states, distances: of any shape, -1 where a cell has no such neighbour.
    """
    state = np.where(states < 0, UNKNOWN, states).astype(np.float32)
    return state, np.where(distances < 0, farthest, np.minimum(distances, farthest)).astype(np.float32)


@contextlib.contextmanager
def predictions_writer(path, cells: list[str]):
    """Yield a function write(first site, probabilities (n, cells)) that appends rows to a file of predictions.

    The file has `site` (int64) and a float32 column per cell, and appears when all is written.
    """
    schema = pa.schema([("site", pa.int64()), *((cell, pa.float32()) for cell in cells)])
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:

        def write(first: int, probabilities: np.ndarray) -> None:
            site = np.arange(first, first + len(probabilities))
            columns = [np.ascontiguousarray(column, dtype=np.float32) for column in probabilities.T]
            writer.write_table(pa.table([pa.array(site), *map(pa.array, columns)], schema=schema), ROWS)

        yield write


def prediction_blocks(path, cells: list[str], n: int):
    """(first site, probabilities (rows, cells) float32) of a file of predictions, in blocks of at most ROWS.

    n: sites there must be. Raises InputError naming a file that is missing, damaged, or not of all sites and cells.
    """
    with naming_damage(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        found = file.metadata.num_rows
    with file:
        lacking = sorted(set(cells) - set(file.schema_arrow.names))
        if found != n or lacking:
            what = f"{found:,} of {n:,} sites" if found != n else f"no column {lacking[0]!r}"
            raise InputError(f"{path} does not belong to these sites and cells ({what}): {REMEDY}")
        batches, first = file.iter_batches(ROWS, columns=cells), 0
        while True:
            with naming_damage(path):
                batch = next(batches, None)
                if batch is None:
                    return
                values = np.stack([batch.column(cell).to_numpy() for cell in cells], axis=1)
            yield first, values
            first += len(values)

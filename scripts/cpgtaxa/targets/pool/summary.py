"""A summary of a cohort, one file: per CpG and stratum how many people have which beta, and nobody's data.

Parquet, a row per CpG in the order of their names: `cpg`, `n`, `mean`, `sd` (of all values, float32), `bits` (the unit
is 1/2^bits of beta), `gaps` (bytes) and `long`, from one cell to the next (`cells.pack`); in the protected form also
`cells` (of each stratum), `sizes` (bytes: people of each cell) and `sds` (in quarters of a unit). The schema's metadata
holds the header, JSON: version of the format, strata, and what the summary was made of.
"""

import dataclasses
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cpgtaxa import files
from cpgtaxa.errors import InputError
from cpgtaxa.targets.pool import cells as coding
from cpgtaxa.targets.pool.strata import Strata

VERSION = 1
"""Of the format: a reader takes its own alone."""
KEY = b"cpgtaxa_summary"
GROUP = 512
"""CpGs that are read together."""
LEVEL = 6
"""How hard zstd tries."""
CLIPPED = 0.02
"""By how much the mean of values drawn from protected cells may differ, as they end at 0 and 1."""
PLAIN = (("cpg", pa.string()), ("n", pa.int32()), ("mean", pa.float32()), ("sd", pa.float32()))
PLAIN += (("bits", pa.uint8()), ("gaps", pa.binary()), ("long", pa.list_(pa.uint16())))
PROTECTED = (("cells", pa.list_(pa.uint16())), ("sizes", pa.binary()), ("sds", pa.list_(pa.uint16())))


@dataclasses.dataclass
class Header:
    """What a summary says of itself.

    sex, age, n: of each stratum F, M or "", mean age in years, people. min_cell: people of a cell at least, 1 in the
    plain form. ids: the array by its ids, and whether these have suffixes. adjusted: covariates taken out.
    """

    sex: list[str]
    age: list[float]
    n: list[int]
    min_stratum: int
    min_cell: int
    array: str
    suffixes: bool
    genome: str | None
    adjusted: list[str]
    left_out: int
    version: int = VERSION

    @property
    def people(self) -> int:
        return sum(self.n)

    @classmethod
    def of(cls, strata: Strata, **about) -> "Header":
        return cls(strata.sex, strata.age, strata.n, left_out=strata.left_out, **about)


def _ragged(parts: np.ndarray, lengths: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Rows of these lengths, one after the other in `parts`, as bytes or lists."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    if pa.types.is_binary(kind):
        return pa.Array.from_buffers(kind, len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(parts.tobytes())])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(parts.astype(np.uint16)), type=kind)


def _flat(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The content of bytes or lists, row after row, and each row's length."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_binary(column.type):
        offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
        if not len(column):
            return np.empty(0, np.uint8), np.empty(0, np.int64)
        return np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]], np.diff(offsets)
    return column.flatten().to_numpy(zero_copy_only=False), np.diff(column.offsets.to_numpy())


def _columns(levels, runs, per_row, row, moments) -> dict:
    """The columns that both forms have; row: that of each level; moments: n, mean and sd of each row."""
    gaps, long = coding.pack(levels, runs, per_row)
    k = len(per_row)
    return {
        "n": pa.array(moments[0].astype(np.int32)),
        "mean": pa.array(moments[1].astype(np.float32)),
        "sd": pa.array(moments[2].astype(np.float32)),
        "gaps": _ragged(gaps, np.bincount(row, minlength=k), pa.binary()),
        "long": _ragged(long, np.bincount(row[gaps == coding.LONG], minlength=k), pa.list_(pa.uint16())),
    }


class SummaryWriter:
    """Write a summary a block of CpGs at a time; it takes its name when the `with` block ends without an error."""

    def __init__(self, path, header: Header):
        self.path, self.header = pathlib.Path(path), header
        fields = [*PLAIN, *(PROTECTED if header.min_cell > 1 else ())]
        self._schema = pa.schema(fields, metadata={KEY: json.dumps(dataclasses.asdict(header))})
        self._counts = np.array(header.n, dtype=np.int64)
        self.n_cpgs = 0

    def __enter__(self):
        self._atomic = files.atomic(self.path)
        options = {"compression": "zstd", "compression_level": LEVEL, "use_dictionary": False}
        options |= {"write_statistics": False, "write_page_checksum": True}
        try:
            self._file = pq.ParquetWriter(self._atomic.__enter__(), self._schema, **options)
        except BaseException as error:
            self._atomic.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def append(self, cpgs: list[str], values: np.ndarray) -> int:
        """Add k CpGs, whose names go on in order; values (k, n) float, stratum by stratum, NaN where missing.

        Returns how many were left out because nothing could be kept of them.
        """
        protect = self.header.min_cell > 1
        if protect:
            cells = coding.to_cells(values, self._counts, self.header.min_cell)
            kept = cells.per_stratum.any(axis=1)
            cells.per_stratum = cells.per_stratum[kept]
        else:
            kept = np.isfinite(values).any(axis=1)
        if not kept.any():
            return len(values)
        values = values[kept].astype(np.float64)
        bits = coding.bits_of(values)
        columns = self._protected(cells, bits) if protect else self._plain(values, bits)
        columns["cpg"] = pa.array([name for name, one in zip(cpgs, kept, strict=True) if one], pa.string())
        columns["bits"] = pa.array(bits.astype(np.uint8))
        self._file.write_table(pa.table(columns, schema=self._schema), row_group_size=GROUP)
        self.n_cpgs += len(values)
        return int(np.sum(~kept))

    def _plain(self, values: np.ndarray, bits: np.ndarray) -> dict:
        k, n = values.shape
        levels = coding.to_levels(values, bits, self._counts).ravel()
        moments = np.isfinite(values).sum(axis=1), np.nanmean(values, axis=1), np.nanstd(values, axis=1)
        runs, per_row = np.tile(self._counts, k), np.full(k, len(self._counts))
        return _columns(levels, runs, per_row, np.repeat(np.arange(k), n), moments)

    @staticmethod
    def _protected(cells: coding.Cells, bits: np.ndarray) -> dict:
        per = cells.per_stratum
        k, number = len(per), per.sum(axis=1)
        row = np.repeat(np.arange(k), number)
        unit = 2.0 ** -bits[row]
        n = np.bincount(row, cells.size, k)
        mean = np.bincount(row, cells.size * cells.mean, k) / n
        square = np.bincount(row, cells.size * (cells.sd**2 + (cells.mean - mean[row]) ** 2), k) / n
        levels, runs = np.round(cells.mean / unit).astype(np.int64), per.ravel()[per.ravel() > 0]
        sds = np.round(cells.sd / unit * coding.SD_PARTS)
        return _columns(levels, runs, (per > 0).sum(axis=1), row, (n, mean, np.sqrt(square))) | {
            "cells": _ragged(per.ravel(), np.full(k, per.shape[1]), pa.list_(pa.uint16())),
            "sizes": _ragged(cells.size.astype(np.uint8), number, pa.binary()),
            "sds": _ragged(sds, number, pa.list_(pa.uint16())),
        }

    def __exit__(self, *failure):
        try:
            self._file.close()
        finally:
            self._atomic.__exit__(*failure)


class Summary:
    """A summary that was written: its header, and its CpGs' values, drawn again a group at a time.

    A file that is missing, damaged, no summary or of another version raises an InputError that names it.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path} is not there: give the file that `snakemake summarise` wrote")
        with files.naming_damage(self.path, "copy it again, or have it written again"):
            self._file = pq.ParquetFile(self.path, page_checksum_verification=True)
            text = (self._file.schema_arrow.metadata or {}).get(KEY)
        if text is None:
            raise InputError(f"{self.path} is no summary of a cohort: give the file that `snakemake summarise` wrote")
        with files.naming_damage(self.path, "copy it again, or have it written again"):
            found = json.loads(text)
            version = found.get("version")
            if version == VERSION:
                self.header = Header(**found)
                self.counts = np.array(self.header.n, dtype=np.int64)
        if version != VERSION:
            raise InputError(
                f"{self.path} is a summary of format {version}, and this version of cpgtaxa reads format {VERSION}: "
                "have it written again by the same version (`snakemake summarise`)"
            )
        self.n_cpgs, self.n_groups = self._file.metadata.num_rows, self._file.num_row_groups

    def names(self) -> pa.ChunkedArray:
        """All CpGs' names."""
        return self._table(None, ["cpg"]).column("cpg")

    def first(self):
        """Name, number of values and mean of the CpGs of the first group, as a data frame."""
        return self._table(0, ["cpg", "n", "mean"]).to_pandas()

    def _table(self, group: int | None, columns=None) -> pa.Table:
        with files.naming_damage(self.path, "copy it again, or have it written again"):
            if group is None:
                return self._file.read(columns)
            return self._file.read_row_group(group, columns)

    def group(self, number: int, seed: int) -> tuple[list[str], np.ndarray]:
        """Names of a group's CpGs and their values, (k, people) float32, NaN where missing, stratum by stratum.

        Within a stratum of a CpG the values are in random order; seed: of that, and of the place within a cell.
        """
        table = self._table(number)
        with files.naming_damage(self.path, "copy it again, or have it written again"):
            values = self._drawn(table, np.random.default_rng([seed, number]))
        return table.column("cpg").to_pylist(), values

    def _drawn(self, table: pa.Table, random: np.random.Generator) -> np.ndarray:
        bits = table.column("bits").to_numpy().astype(np.int64)
        gaps, _ = _flat(table.column("gaps"))
        long, _ = _flat(table.column("long"))
        if self.header.min_cell > 1:
            per, widths = _flat(table.column("cells"))
            if (widths != len(self.counts)).any():
                raise ValueError("its cells do not fit its strata")
            per = per.reshape(len(table), -1).astype(np.int64)
            size = _flat(table.column("sizes"))[0].astype(np.int64)
            runs = per.ravel()[per.ravel() > 0]
            level = coding.unpack(gaps, long, runs, (per > 0).sum(axis=1))
            unit = 2.0 ** -np.repeat(bits, per.sum(axis=1))
            sd = _flat(table.column("sds"))[0] * unit / coding.SD_PARTS
            if size.min(initial=self.header.min_cell) < self.header.min_cell:
                raise ValueError("a cell has fewer people than it may")
            values = coding.spread(coding.Cells(per, size, level * unit, sd), self.counts)
        else:
            runs = np.tile(self.counts, len(table))
            level = coding.unpack(gaps, long, runs, np.full(len(table), len(self.counts)))
            values = coding.dither(level.reshape(len(table), -1), bits, random)
        self._check(table, values, bits)
        return coding.shuffle(values, self.counts, random)

    def _check(self, table: pa.Table, values: np.ndarray, bits: np.ndarray) -> None:
        """ValueError where the values drawn are not as many as those summarised, or have another mean."""
        known = np.isfinite(values).sum(axis=1)
        with np.errstate(invalid="ignore"):
            mean = np.nansum(values, axis=1) / known
        # Values drawn beyond 0 or 1 are set there.
        limit = 1.5 * 2.0**-bits + (CLIPPED if self.header.min_cell > 1 else 0)
        far = np.abs(mean - table.column("mean").to_numpy()) > limit
        if (known != table.column("n").to_numpy()).any() or far.any() or (known == 0).any():
            raise ValueError("its cells do not give the numbers and means that it names")

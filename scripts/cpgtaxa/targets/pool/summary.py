"""A summary of a cohort, one file: per CpG and stratum how many people have which beta, and nobody's data.

Parquet, a row per CpG in the order of their names: `cpg`, `n`, `mean`, `sd` (of all values), `slope` (per year) and
`sums` (`dealing`), `bits` (the unit is 1/2^bits of beta), `gaps` (bytes) and `long`, from one cell to the next
(`cells.pack`); in the protected form also `cells` (of each stratum), `sizes` (bytes: people of each cell) and `sds` (in
quarters of a unit). The schema's metadata holds the header, JSON: version of the format, strata with their ages, and
what the summary was made of.
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
from cpgtaxa.targets.pool.dealing import SUMS, Ages
from cpgtaxa.targets.pool.strata import Strata

VERSION = 1
"""Of the format: a reader takes its own alone."""
KEY = b"cpgtaxa_summary"
"""Of the header in the file's metadata."""
GROUP = 512
"""CpGs that are read together."""
LEVEL = 6
"""How hard zstd tries."""
CLIPPED = 0.02
"""By how much the mean of values drawn from protected cells may differ, as they end at 0 and 1."""
PLAIN = (("cpg", pa.string()), ("n", pa.int32()), ("mean", pa.float32()), ("sd", pa.float32()))
PLAIN += (("slope", pa.float32()), ("sums", pa.list_(pa.float32(), SUMS)))
PLAIN += (("bits", pa.uint8()), ("gaps", pa.binary()), ("long", pa.list_(pa.uint16())))
PROTECTED = (("cells", pa.list_(pa.uint16())), ("sizes", pa.binary()), ("sds", pa.list_(pa.uint16())))


@dataclasses.dataclass
class Header:
    """What a summary says of itself.

    sex, ages: of each stratum F, M or "", and its people's ages in years. min_cell: people of a cell at least, 1 in the
    plain form. ids: the array by its ids, and whether these have suffixes. adjusted: covariates taken out.
    """

    sex: list[str]
    ages: list[list[float]]
    min_stratum: int
    min_cell: int
    array: str
    suffixes: bool
    genome: str | None
    adjusted: list[str]
    left_out: int
    version: int = VERSION

    def check(self) -> None:
        """ValueError for strata that cannot be."""
        ages = np.concatenate([np.asarray(part, dtype=np.float64) for part in self.ages])
        if len(self.sex) != len(self.ages) or not all(self.ages) or not set(self.sex) <= {"F", "M", ""}:
            raise ValueError("its strata are no sexes with ages")
        if not np.all((ages > -2) & (ages < 130)) or int(self.min_cell) < 1:
            raise ValueError("its strata have ages that nobody has")

    @property
    def people(self) -> int:
        return sum(map(len, self.ages))

    @classmethod
    def of(cls, strata: Strata, **about) -> "Header":
        return cls(strata.sex, strata.ages, left_out=strata.left_out, **about)


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


def _columns(levels: np.ndarray, runs: np.ndarray, per_row: np.ndarray, row: np.ndarray) -> dict:
    """The columns of gaps between levels; row: that of each level, the others as of `cells.pack`."""
    gaps, long = coding.pack(levels, runs, per_row)
    k = len(per_row)
    return {
        "gaps": _ragged(gaps, np.bincount(row, minlength=k), pa.binary()),
        "long": _ragged(long, np.bincount(row[gaps == coding.LONG], minlength=k), pa.list_(pa.uint16())),
    }


def _protected(cells: coding.Cells, bits: np.ndarray) -> dict:
    """The columns of protected cells."""
    per = cells.per_stratum
    k, number = len(per), per.sum(axis=1)
    row = np.repeat(np.arange(k), number)
    unit = 2.0 ** -bits[row]
    levels, runs = np.round(cells.mean / unit).astype(np.int64), per.ravel()[per.ravel() > 0]
    return _columns(levels, runs, (per > 0).sum(axis=1), row) | {
        "cells": _ragged(per.ravel(), np.full(k, per.shape[1]), pa.list_(pa.uint16())),
        "sizes": _ragged(cells.size.astype(np.uint8), number, pa.binary()),
        "sds": _ragged(np.round(cells.sd / unit * coding.SD_PARTS), number, pa.list_(pa.uint16())),
    }


class SummaryWriter:
    """Write a summary a block of CpGs at a time; it takes its name when the `with` block ends without an error."""

    def __init__(self, path, header: Header):
        self.path, self.header = pathlib.Path(path), header
        fields = [*PLAIN, *(PROTECTED if header.min_cell > 1 else ())]
        self._schema = pa.schema(fields)
        self._ages = Ages(header.ages)
        self.n_cpgs = 0

    def __enter__(self):
        self._atomic = files.atomic(self.path)
        options = {"compression": "zstd", "compression_level": LEVEL, "use_dictionary": False}
        options |= {"write_statistics": False, "write_page_checksum": True, "store_schema": False}
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
        least = self.header.min_cell
        values = values.astype(np.float64)
        if least > 1:
            few = np.add.reduceat(np.isfinite(values), self._ages.starts, axis=1) < least
            values[np.repeat(few, self._ages.counts, axis=1)] = np.nan
        kept = np.isfinite(values).any(axis=1)
        if not kept.any():
            return len(values)
        values = values[kept]
        slopes = self._ages.slopes(values)
        levelled = self._ages.levelled(values, slopes)
        bits = coding.bits_of(levelled)
        if least > 1:
            columns = _protected(coding.to_cells(levelled, self._ages.counts, least), bits)
        else:
            columns = self._plain(levelled, bits)
        means = np.nanmean(values, axis=1).astype(np.float32)
        sums = self._ages.sums(self._ages.rest(levelled, slopes, means)).astype(np.float32)
        columns |= {
            "cpg": pa.array([name for name, one in zip(cpgs, kept, strict=True) if one], pa.string()),
            "n": pa.array(np.isfinite(values).sum(axis=1).astype(np.int32)),
            "mean": pa.array(means),
            "sd": pa.array(np.nanstd(values, axis=1).astype(np.float32)),
            "slope": pa.array(slopes),
            "sums": pa.FixedSizeListArray.from_arrays(pa.array(sums.ravel()), SUMS),
            "bits": pa.array(bits.astype(np.uint8)),
        }
        self._file.write_table(pa.table(columns, schema=self._schema), row_group_size=GROUP)
        self.n_cpgs += len(values)
        return int(np.sum(~kept))

    def _plain(self, levelled: np.ndarray, bits: np.ndarray) -> dict:
        k, n = levelled.shape
        levels = coding.to_levels(levelled, bits, self._ages.counts).ravel()
        runs, per_row = np.tile(self._ages.counts, k), np.full(k, len(self._ages.counts))
        return _columns(levels, runs, per_row, np.repeat(np.arange(k), n))

    def __exit__(self, *failure):
        try:
            self._file.add_key_value_metadata({KEY: json.dumps(dataclasses.asdict(self.header))})
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
            text = (self._file.metadata.metadata or {}).get(KEY)
        if text is None:
            raise InputError(f"{self.path} is no summary of a cohort: give the file that `snakemake summarise` wrote")
        with files.naming_damage(self.path, "copy it again, or have it written again"):
            found = json.loads(text)
            version = found.get("version")
            if version == VERSION:
                self.header = Header(**found)
                self.header.check()
                self.ages = Ages(self.header.ages)
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
            if (widths != len(self.ages.counts)).any():
                raise ValueError("its cells do not fit its strata")
            per = per.reshape(len(table), -1).astype(np.int64)
            size = _flat(table.column("sizes"))[0].astype(np.int64)
            runs = per.ravel()[per.ravel() > 0]
            level = coding.unpack(gaps, long, runs, (per > 0).sum(axis=1))
            unit = 2.0 ** -np.repeat(bits, per.sum(axis=1))
            sd = _flat(table.column("sds"))[0] * unit / coding.SD_PARTS
            if size.min(initial=self.header.min_cell) < self.header.min_cell:
                raise ValueError("a cell has fewer people than it may")
            of_stratum = np.bincount(np.repeat(np.arange(per.size), per.ravel()), size, per.size)
            if (of_stratum.reshape(per.shape) > self.ages.counts).any():
                raise ValueError("its cells have more people than their strata")
            values = coding.spread(coding.Cells(per, size, level * unit, sd), self.ages.counts)
        else:
            runs = np.tile(self.ages.counts, len(table))
            level = coding.unpack(gaps, long, runs, np.full(len(table), len(self.ages.counts)))
            values = coding.dither(level.reshape(len(table), -1), bits, random)
        means, slopes = (table.column(name).to_numpy() for name in ("mean", "slope"))
        sums = table.column("sums").combine_chunks().flatten().to_numpy().reshape(-1, SUMS)
        if not all(np.isfinite(one).all() for one in (means, slopes, sums)):
            raise ValueError("a mean, slope or sum is no number")
        self._check(table, values, bits, slopes)
        shuffled = coding.shuffle(values, self.ages.counts, random)
        return self.ages.deal(shuffled, slopes, means, sums, random)

    def _check(self, table: pa.Table, values: np.ndarray, bits: np.ndarray, slopes: np.ndarray) -> None:
        """ValueError where the values drawn are not as many as those summarised, or have another mean."""
        known = np.isfinite(values).sum(axis=1)
        with np.errstate(invalid="ignore"):
            mean = np.nansum(values, axis=1) / known
        # Values drawn beyond 0 or 1 are set there; where some are missing, offsets of age do not cancel.
        limit = 1.5 * 2.0**-bits + np.abs(slopes) * np.abs(self.ages.offset).max()
        limit += CLIPPED if self.header.min_cell > 1 else 0
        far = np.abs(mean - table.column("mean").to_numpy()) > limit
        if (known != table.column("n").to_numpy()).any() or far.any() or (known == 0).any():
            raise ValueError("its cells do not give the numbers and means that it names")

"""A cohort on disk: one beta value per CpG and sample, CpG-major, memory-mapped and read without copying.

`beta.arrow` is an Arrow IPC file with the columns `cpg` (string), `beta` (fixed-size list of float32, one value per
sample, missing = NaN) and `crc32` (uint32, of the bytes of that list and the name) in record batches of a few MB; the
schema's metadata holds `sample_ids` as a JSON list. Arrow's own R, Python and Julia libraries read it too.
"""

import contextlib
import functools
import json
import mmap
import pathlib
import sys
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa

from cpgtaxa import files
from cpgtaxa.errors import InputError, reason_of, some

BATCH_BYTES = 4 << 20
"""Size of a record batch: large enough to read fast, small enough to hold a few in memory."""


class CohortWriter:
    """Write a cohort file piece by piece; it takes its final name when the `with` block ends without an error.

    >>> with CohortWriter("beta.arrow", ["s1", "s2"]) as writer:
    ...     writer.append(["cg1"], np.array([[0.1, np.nan]], dtype=np.float32))
    """

    def __init__(self, path, sample_ids, *, in_place: bool = False):
        """sample_ids: one per column. in_place: `path` is a temporary name already, and written directly."""
        self.path, self.in_place = pathlib.Path(path), in_place
        self.sample_ids = [str(sample_id) for sample_id in sample_ids]
        if not self.sample_ids:
            raise ValueError("a cohort needs at least one sample")

    def __enter__(self):
        n_samples = len(self.sample_ids)
        fields = [("cpg", pa.string()), ("beta", pa.list_(pa.float32(), n_samples)), ("crc32", pa.uint32())]
        self._schema = pa.schema(fields, metadata={"sample_ids": json.dumps(self.sample_ids)})
        self._cpgs: list[str] = []
        self._buffer = np.empty((max(1, BATCH_BYTES // (4 * n_samples)), n_samples), dtype=np.float32)
        with contextlib.ExitStack() as stack:
            temporary = self.path if self.in_place else stack.enter_context(files.atomic(self.path))
            self._sink = stack.enter_context(pa.OSFile(str(temporary), "wb"))
            self._file = stack.enter_context(pa.ipc.new_file(self._sink, self._schema))
            self._stack = stack.pop_all()
        return self

    def append(self, cpgs, values: np.ndarray) -> None:
        """Add k CpGs: their names and a (k, n_samples) array, stored as float32."""
        if values.shape != (len(cpgs), len(self.sample_ids)):
            raise ValueError(f"{len(cpgs)} CpGs x {len(self.sample_ids)} samples do not fit shape {values.shape}")
        start = 0
        while start < len(cpgs):
            filled = len(self._cpgs)
            stop = min(len(cpgs), start + len(self._buffer) - filled)
            self._buffer[filled : filled + stop - start] = values[start:stop]
            self._cpgs.extend(cpgs[start:stop])
            if len(self._cpgs) == len(self._buffer):
                self._flush()
            start = stop

    def _flush(self) -> None:
        values = self._buffer[: len(self._cpgs)]
        flat = pa.array(values.reshape(-1))  # NaN stays NaN: no null bitmap to look at
        beta = pa.FixedSizeListArray.from_arrays(flat, type=self._schema.field("beta").type)
        names = pa.array(self._cpgs, pa.string())
        sums = pa.array(_checksums(values, self._cpgs), pa.uint32())
        self._file.write_batch(pa.record_batch([names, beta, sums], schema=self._schema))
        self._cpgs.clear()

    def __exit__(self, *failure):
        try:
            if failure[0] is None and self._cpgs:
                self._flush()
        except BaseException:
            self._stack.__exit__(*sys.exc_info())
            raise
        self._stack.__exit__(*failure)


def _checksums(values: np.ndarray, names) -> np.ndarray:
    """CRC-32 of each row of (k, n) float32 and of its CpG's name, as (k,) uint32."""
    sums = (zlib.crc32(name.encode(), zlib.crc32(row)) for row, name in zip(values, names, strict=True))
    return np.fromiter(sums, np.uint32, len(values))


class Cohort:
    """A cohort file, memory-mapped: opening it reads the footer only; CpG names are read when first asked for.

    A file that is missing, truncated, not Arrow or not a cohort raises an InputError that names it; so does reading
    values that are not those written, by the CpG's checksum.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path} is not there (or not a file): run the cohort step first")
        try:
            with open(self.path, "rb") as handle:
                self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
            content = pa.py_buffer(self._map)
            self._file = pa.ipc.open_file(content)
            self._batches = [self._file.get_batch(number) for number in range(self._file.num_record_batches)]
            written = sum(1 for _ in pa.ipc.open_stream(content.slice(8)))  # behind "ARROW1": the batches as a stream
            if written != len(self._batches):
                raise ValueError(f"its end lists {len(self._batches):,} of {written:,} record batches")
            for batch in self._batches:
                batch.validate()  # lengths only; where it fails, reading would lead out of the file
            schema = self._file.schema
            types = dict(zip(schema.names, schema.types, strict=True))
            ids = json.loads((schema.metadata or {}).get(b"sample_ids", b"null"))
        except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"{self.path} is truncated or not an Arrow file ({reason_of(error)}): delete it and run the cohort "
                "step again"
            ) from error
        self._has_checksums = "crc32" in types
        beta = types.get("beta")
        if not (
            types.get("cpg") == pa.string()
            and isinstance(ids, list)
            and isinstance(beta, pa.FixedSizeListType)  # a damaged schema may name no such column
            and beta.value_type == pa.float32()
            and beta.list_size == len(ids) > 0
            and types.get("crc32", pa.uint32()) == pa.uint32()
        ):
            raise InputError(
                f"{self.path} is an Arrow file but not a cohort (columns `cpg` and `beta`, metadata `sample_ids`): "
                "delete it and run the cohort step again"
            )
        self.sample_ids: list[str] = ids
        self.n_samples: int = len(ids)
        self._starts = np.concatenate([[0], np.cumsum([batch.num_rows for batch in self._batches])]).astype(np.int64)
        self.n_cpgs: int = int(self._starts[-1])

    def __reduce__(self):
        return Cohort, (self.path,)  # worker processes map the file again

    def __len__(self):
        return self.n_cpgs

    @functools.cached_property
    def cpgs(self) -> np.ndarray:
        """CpG names, (n_cpgs,) array of str objects."""
        return self.names(0, self.n_cpgs)

    def names(self, start: int, stop: int) -> np.ndarray:
        """Names of CpGs start..stop-1, array of str objects; only theirs are held."""
        found = [
            self._names(number, max(start - first, 0), stop - first)
            for number, (first, batch) in enumerate(zip(self._starts, self._batches, strict=False))
            if first < stop and first + batch.num_rows > start
        ]
        return np.concatenate(found) if found else np.empty(0, dtype=object)

    @functools.cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.cpgs)

    def _batch(self, number: int) -> np.ndarray:
        values = self._batches[number].column("beta").values
        return values.to_numpy(zero_copy_only=values.null_count == 0).reshape(-1, self.n_samples)

    def _names(self, number: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Names of a batch's rows start..stop-1, array of str objects."""
        with files.naming_damage(self.path, "delete it and run the cohort step again"):
            names = self._batches[number].column("cpg")[start:stop]
            names.validate(full=True)  # a damaged file's offsets would lead out of memory
            return names.to_numpy(zero_copy_only=False)

    def _rows(self, number: int, rows) -> np.ndarray:
        """Some rows (a slice or indices) of a batch, verified."""
        values = self._batch(number)[rows]
        if self._has_checksums:
            written = self._batches[number].column("crc32").to_numpy()[rows]
            names = self._names(number)[rows]
            wrong = np.flatnonzero(_checksums(values, names) != written)
            if len(wrong):
                raise InputError(
                    f"{self.path} is damaged: the values of {some(names[wrong])} are not those that were written "
                    "(their checksum differs). Check the disk, delete the file and run the cohort step again"
                )
        return values

    def release(self) -> None:
        """Give back the memory of what was read, so that it does not grow with the number of CpGs."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Values of CpGs start..stop-1, (k, n_samples) float32, NaN = missing; `stop` beyond the end is the end.

        Within one record batch it is a read-only view of the file, without a copy; across batches it is a copy.
        """
        stop = min(stop, self.n_cpgs)
        if not 0 <= start <= stop:
            raise IndexError(f"CpGs {start}..{stop} of {self.n_cpgs}")
        if start == stop:
            return np.empty((0, self.n_samples), dtype=np.float32)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left")) - 1
        pieces = [
            self._rows(number, slice(max(start - self._starts[number], 0), stop - self._starts[number]))
            for number in range(first, last + 1)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def blocks(self):
        """Go through the file, one record batch (a few MB) at a time: (index of the first CpG, (k, n_samples) view)."""
        for number, start in enumerate(self._starts[:-1]):
            yield int(start), self._rows(number, slice(None))

    def take(self, indices) -> np.ndarray:
        """Values of the CpGs at `indices` (any order, repeats allowed), (k, n_samples) float32, always a copy."""
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= self.n_cpgs):
            raise IndexError(f"index {indices.min()} or {indices.max()} outside 0..{self.n_cpgs - 1}")
        values = np.empty((len(indices), self.n_samples), dtype=np.float32)
        batches = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(batches):
            here = np.flatnonzero(batches == number)
            values[here] = self._rows(number, indices[here] - self._starts[number])
        return values

    def find(self, names) -> np.ndarray:
        """Indices of the CpGs called `names`, int64; unknown ones raise an InputError that names them."""
        names = np.asarray(names, dtype=object)
        indices = self._index.get_indexer(names)
        unknown = names[indices < 0]
        if len(unknown):
            raise InputError(f"{len(unknown):,} CpGs are not in the cohort {self.path}: {some(unknown)}")
        return indices.astype(np.int64)


SEXES = {
    **dict.fromkeys(("F", "FEMALE", "FEM", "W", "WOMAN", "WEIBLICH", "FRAU", "FEMME"), "F"),
    **dict.fromkeys(("M", "MALE", "MAN", "MÄNNLICH", "MAENNLICH", "MANN", "HOMME"), "M"),
}
"""Words for women and men, in capitals."""


def two_sexes(samples: pd.DataFrame) -> np.ndarray:
    """Codes (n,) int8 of the two commonest values of the column `sex`, 0 and 1 in the order of the alphabet, else -1.

    Where more than two are there, and all are words for women and men (F, female), women are 0 and men 1.

    samples: frame of `read_samples`. -1 for all where the column is absent or has fewer than two values.
    """
    codes = np.full(len(samples), -1, dtype=np.int8)
    if "sex" in samples:
        sex = samples["sex"].astype("string").str.strip().str.upper()
        if sex.nunique() > 2 and sex.dropna().isin(SEXES).all():
            sex = sex.map(SEXES).astype("string")
        common = sorted(sex.value_counts().index[:2])
        if len(common) == 2:
            for code, value in enumerate(common):
                codes[(sex == value).fillna(False).to_numpy(dtype=bool)] = code
    return codes


def read_samples(path) -> pd.DataFrame:
    """The samples, in the order of the matrix's columns: sample_id (str), age (float64, years), sex and covariates."""
    path = pathlib.Path(path)
    samples = files.read_parquet(path)
    lacking = [name for name in ("sample_id", "age") if name not in samples.columns]
    if lacking:
        raise InputError(f"{path} lacks {some(lacking)}: delete it and run the cohort step again")
    return samples

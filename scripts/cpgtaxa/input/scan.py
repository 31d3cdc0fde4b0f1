"""One pass over a matrix of betas: every value is looked at, and the good CpGs are written.

The matrix is streamed: memory holds one block of CpGs, their names and a few numbers per CpG, whatever their number.
"""

import dataclasses
import pathlib
import re

import numpy as np
import pandas as pd
import pyarrow as pa

from cpgtaxa.cohort import CohortWriter
from cpgtaxa.errors import reason_of
from cpgtaxa.input import platforms, plausible, scales
from cpgtaxa.input import probes as probe_ids
from cpgtaxa.input.streams import DAMAGE, EXAMPLES, MISSING
from cpgtaxa.progress import Progress

STATISTICS_BYTES = 1 << 20
"""Values looked at together: what stays in the processor's cache."""
TOLERANCE = 1e-6
"""A beta value this far outside 0..1 is rounding, and is clipped."""
TEXT = np.float32(-3e38)
"""Stands for text in a block of values, so that it counts neither as missing nor as a number."""
ENOUGH_TO_TELL = 2000
"""CpGs after which a scale that is beyond doubt is acted upon: the rest need not be read wrongly first."""


@dataclasses.dataclass
class Scan:
    """What one pass over the matrix found; the arrays have one entry per probe, `sample_missing` one per column."""

    samples: list[str]
    probes: list[str] = dataclasses.field(default_factory=list)
    cpgs: list[str] = dataclasses.field(default_factory=list)
    pieces: list[tuple] = dataclasses.field(default_factory=list)
    aside: list[np.ndarray] = dataclasses.field(default_factory=list)
    sample_missing: np.ndarray = None
    n_checked: np.ndarray = None
    """CpGs by which each column is checked, (n,) int."""
    reasons: list[np.ndarray] = dataclasses.field(default_factory=list)
    patterns: platforms.Patterns = dataclasses.field(default_factory=platforms.Patterns)
    sums: np.ndarray = None
    """Of the values of each column in CpGs with values outside 0-1: their number, sum and sum of squares, (3, n)."""
    n_kept_missing: int = 0
    n_kept_values: int = 0
    n_values: int = 0
    n_below: int = 0
    n_above: int = 0
    n_clipped: int = 0
    clipped: list[str] = dataclasses.field(default_factory=list)
    n_infinite: int = 0
    n_text: int = 0
    outside: list[str] = dataclasses.field(default_factory=list)
    infinite: list[str] = dataclasses.field(default_factory=list)
    text: list[str] = dataclasses.field(default_factory=list)
    comma: bool = True
    damage: str | None = None
    looked: plausible.Looked | None = None
    shown: list[tuple[int, str, int, float]] = dataclasses.field(default_factory=list)
    """A few values as they were read: row from 0, CpG, place among the columns read, value."""

    def bad_values(self) -> int:
        return self.n_below + self.n_above + self.n_infinite + self.n_text

    def numbers(self) -> dict[str, np.ndarray]:
        names = ("n_missing", "mean", "sd", "min", "max")
        columns = zip(*self.pieces, strict=True) if self.pieces else [[np.empty(0)]] * len(names)
        return {name: np.concatenate(column) for name, column in zip(names, columns, strict=True)}

    def set_aside(self) -> np.ndarray:
        """Why each probe was not looked at ("" where it was), objects."""
        return np.concatenate(self.aside) if self.aside else np.empty(0, dtype=object)


@dataclasses.dataclass
class Reading:
    """How the rows of a matrix become CpGs: their scale, their names, and which of them count."""

    scale: str = "beta"
    """`beta`, `percent`, `m`; or `auto`: given up as soon as the values are beyond doubt on another scale than beta."""
    tolerance: float = TOLERANCE
    """How far outside 0..1 a value may lie to be clipped."""
    look: bool = False
    """Whether rows are kept for `plausible`."""
    sex: np.ndarray | None = None
    """The sheet's sex of each column, (n,) int8, 0 and 1, -1 where unknown."""
    kinds: tuple[str, ...] | None = None
    """Kinds of probes that count (`probes.KIND`); None for all."""
    of_sample: np.ndarray | None = None
    """The array of each column, (n,) int, where there are several (`platforms`)."""
    suffixes: bool = True
    """Whether ids keep what EPICv2 and MSA append to them."""
    lists: probe_ids.Lists | None = None
    first: bool = False
    """Of several probes of a CpG, whether the first alone counts."""
    merge: dict[str, int] = dataclasses.field(default_factory=dict)
    """CpGs whose probes are averaged, sample by sample, with the number of probes."""

    def __post_init__(self):
        self._seen: set[str] = set()
        self._left = dict(self.merge)
        self._sums: dict[str, tuple] = {}

    def start(self) -> None:
        """Discard the counts of a former pass."""
        self.__post_init__()
        if self.lists:
            self.lists.hits.clear()

    def without(self, columns: np.ndarray) -> "Reading":
        """The same for a matrix of which some columns are left out."""
        cut = {name: getattr(self, name) for name in ("sex", "of_sample")}
        return dataclasses.replace(
            self, **{name: np.delete(value, columns) for name, value in cut.items() if value is not None}
        )

    def names(self, ids: list[str]) -> list[str]:
        """The CpGs of probes."""
        return ids if self.suffixes else [probe_ids.cpg_of(name) for name in ids]

    def aside(self, ids: list[str], cpgs: list[str]) -> np.ndarray | None:
        """Why probes do not count, "" where they do, (k,) objects; None if all do."""
        others = {} if self.kinds is None else probe_ids.others(ids, self.kinds)
        if not (self.lists or self.first or self._left or others):
            return None
        reason = np.full(len(ids), "", dtype=object)
        for row, (probe, cpg) in enumerate(zip(ids, cpgs, strict=True)):
            reason[row] = others.get(row) or (self.lists.reason(probe, cpg) if self.lists else "")
            if self.first and not reason[row]:
                reason[row] = probe_ids.REPLICATE if cpg in self._seen else ""
                self._seen.add(cpg)
        return reason

    def average(self, cpgs: list[str], values: np.ndarray, aside: np.ndarray) -> None:
        """Put the mean of a CpG's probes in place of the last one's values, and set the others aside."""
        for row, cpg in enumerate(cpgs):
            if cpg not in self.merge or aside[row]:
                continue
            known = ~np.isnan(values[row])
            total, number = self._sums.setdefault(cpg, (np.zeros(len(known)), np.zeros(len(known), dtype=np.int16)))
            total[known] += values[row][known]
            number += known
            self._left[cpg] -= 1
            aside[row] = probe_ids.REPLICATE if self._left[cpg] else ""
            if not self._left[cpg]:
                with np.errstate(invalid="ignore"):
                    values[row] = total / number
                del self._sums[cpg]


def block_values(scan: Scan, cpgs: list[str], arrays: list[pa.Array], aside: np.ndarray | None = None) -> np.ndarray:
    """The (k, n) float32 values of a block; text that is no number is noted, but for rows with a reason in `aside`."""
    numbers = []
    for column, array in enumerate(arrays):
        if pa.types.is_floating(array.type):
            numbers.append(array)
            continue
        given = array.to_pandas().astype(object)
        given = given.where(given.notna(), "").str.strip()
        number = np.array(pd.to_numeric(given, errors="coerce"), dtype=np.float32)
        odd = np.isnan(number) & ~given.isin(MISSING).to_numpy()
        odd = np.flatnonzero(odd if aside is None else odd & (aside == ""))
        scan.n_text += len(odd)
        for row in odd[: EXAMPLES - len(scan.text)]:
            scan.text.append(f"CpG {cpgs[row]!r}, sample {scan.samples[column]!r}: {given.iloc[row][:40]!r}")
        scan.comma &= all(re.fullmatch(r"-?\d+,\d+", given.iloc[row]) for row in odd)
        number[odd] = TEXT
        numbers.append(pa.array(number))
    batch = pa.RecordBatch.from_arrays(numbers, names=[str(column) for column in range(len(numbers))])
    return batch.to_tensor(null_to_nan=True, row_major=True).to_numpy().astype(np.float32, copy=False)


def _look(scan: Scan, cpgs: list[str], values: np.ndarray, reading: Reading) -> tuple[np.ndarray, ...]:
    """n_missing, mean, sd, min and max of a few CpGs, and everything suspicious in them noted; then the number of
    samples on whose array each is.

    Values just outside 0..1 are clipped in place.
    """
    n_samples = values.shape[1]
    missing = np.isnan(values)
    n_missing = missing.sum(axis=1, dtype=np.int32)
    low, high = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
    for row in np.flatnonzero((low < 0) | (high > 1)):
        _look_outside(scan, cpgs[row], values[row], reading.tolerance)
        low[row], high[row] = np.fmin.reduce(values[row]), np.fmax.reduce(values[row])
    gaps = bool(n_missing.any())
    present = n_samples - n_missing
    with np.errstate(divide="ignore", invalid="ignore"):
        # Pairwise float32 sums of at most a few thousand values in 0..1 are good to 1e-6.
        mean = np.where(missing, 0, values).sum(axis=1) / present if gaps else values.mean(axis=1)
        deviation = values - mean[:, None]
        if gaps:
            deviation[missing] = 0
        sd = np.sqrt(np.einsum("ij,ij->i", deviation, deviation) / np.where(present > 1, present - 1, np.nan))
    n_on = np.full(len(cpgs), n_samples, dtype=np.int32)
    counted = missing
    if gaps and reading.of_sample is not None:
        elsewhere = platforms.excused(missing, reading.of_sample)
        n_on -= elsewhere.sum(axis=1, dtype=np.int32)
        counted = missing & ~elsewhere
    # A probe that failed everywhere says nothing about a sample.
    checked = counted.sum(axis=1) <= n_on / 2 if gaps else np.ones(len(cpgs), dtype=bool)
    scan.n_checked += int(checked.sum())
    if gaps:
        scan.sample_missing += counted[checked].sum(axis=0)
        if counted is not missing:
            scan.n_checked -= elsewhere[checked].sum(axis=0)
    scan.n_values += int(present.sum())
    return n_missing, mean, sd, low, high, n_on


def _look_outside(scan: Scan, cpg: str, row: np.ndarray, tolerance: float) -> None:
    row[row == TEXT] = np.nan
    infinite = np.flatnonzero(np.isinf(row))
    scan.n_infinite += len(infinite)
    for column in infinite[: EXAMPLES - len(scan.infinite)]:
        scan.infinite.append(f"CpG {cpg!r}, sample {scan.samples[column]!r}: {row[column]}")
    row[infinite] = np.nan
    known = np.nan_to_num(row.astype(np.float64))
    scan.sums += np.stack([~np.isnan(row), known, known**2])
    near = np.flatnonzero(((row < -TOLERANCE) & (row >= -tolerance)) | ((row > 1 + TOLERANCE) & (row <= 1 + tolerance)))
    scan.n_clipped += len(near)
    for column in near[: EXAMPLES - len(scan.clipped)]:
        scan.clipped.append(f"CpG {cpg!r}, sample {scan.samples[column]!r}: {row[column]:.6g}")
    row[(row < 0) & (row >= -tolerance)] = 0
    row[(row > 1) & (row <= 1 + tolerance)] = 1
    odd = np.flatnonzero((row < 0) | (row > 1))
    scan.n_below += int((row[odd] < 0).sum())
    scan.n_above += int((row[odd] > 1).sum())
    for column in odd[: EXAMPLES - len(scan.outside)]:
        scan.outside.append(f"CpG {cpg!r}, sample {scan.samples[column]!r}: {row[column]:.6g}")


def cpg_reasons(n_missing, low, high, n_samples: int, max_missing: float, n_on=None) -> np.ndarray:
    """Reason why a CpG is bad ("missing", "constant") or "" where it is good, as objects.

    n_on: samples on whose array each CpG is; all where it is None.
    """
    n_on = n_samples if n_on is None else n_on
    failed = n_missing - (n_samples - n_on)
    reason = np.full(len(n_missing), "", dtype=object)
    reason[(low == high) & (n_samples - n_missing > 1)] = "constant"
    reason[(failed > max_missing * n_on) | (n_missing == n_samples)] = "missing"
    return reason


def scan_matrix(
    matrix, columns: list[int], path: pathlib.Path, max_missing_cpg: float, reading: Reading | None = None
) -> Scan:
    """Go through the matrix once: look at every value, and write the good CpGs to `path`."""
    scan = Scan([matrix.samples[column] for column in columns])
    scan.sample_missing = np.zeros(len(columns), dtype=np.int64)
    scan.n_checked = np.zeros(len(columns), dtype=np.int64)
    scan.sums = np.zeros((3, len(columns)))
    reading = reading or Reading()
    reading.start()
    rows = max(1, STATISTICS_BYTES // (4 * len(columns)))
    progress = Progress(1.0, "")
    if reading.look:
        scan.looked = plausible.Looked(max(1, int(matrix.n_rows()) // plausible.SAMPLED), reading.sex)
    with CohortWriter(path, scan.samples, in_place=True) as writer:
        try:
            for ids, arrays in matrix.batches(columns):
                ids = [(name or "").strip() for name in ids]
                cpgs = reading.names(ids)
                aside = reading.aside(ids, cpgs)
                values = arrays if isinstance(arrays, np.ndarray) else block_values(scan, ids, arrays, aside)
                if not values.flags.writeable:
                    values = values.copy()
                if reading.scale in ("percent", "m"):
                    values[values == TEXT] = np.nan  # noted already
                    values = scales.to_beta(values, reading.scale)
                _show(scan, cpgs, values)
                if reading.merge:
                    reading.average(cpgs, values, aside)
                for start in range(0, len(cpgs), rows):
                    piece = slice(start, start + rows)
                    left_out = None if aside is None else aside[piece]
                    _take(scan, writer, cpgs[piece], values[piece], left_out, max_missing_cpg, reading)
                scan.cpgs += cpgs
                scan.probes += ids
                if reading.scale == "auto" and len(scan.cpgs) >= ENOUGH_TO_TELL and scan.bad_values():
                    scale, certain = scale_of(scan)
                    if certain and scale != "beta":
                        break
                progress.at_share(min(matrix.share(), 1.0), f"{len(scan.cpgs):,} CpGs read")
        except DAMAGE as error:
            scan.damage = reason_of(error)
    return scan


def _show(scan: Scan, cpgs: list[str], values: np.ndarray) -> None:
    """Note values of the first row, of a row within, and of the last one so far."""
    if not len(values):
        return
    done, n = len(scan.cpgs), values.shape[1]
    if not done:
        middle = len(values) // 2
        places = [(0, 0), (0, n - 1), (middle, n // 2)]
        scan.shown = [(row, cpgs[row], column, float(values[row, column])) for row, column in places]
    last = len(values) - 1
    scan.shown[3:] = [(done + last, cpgs[last], column, float(values[last, column])) for column in (0, n - 1)]


def _take(scan: Scan, writer, cpgs, values: np.ndarray, aside, max_missing_cpg: float, reading: Reading) -> None:
    """Look at a few CpGs, but for those set aside, and write the good ones while no value is bad."""
    use = None if aside is None or not np.any(aside != "") else aside == ""
    scan.aside.append(np.full(len(cpgs), "", dtype=object) if aside is None else aside)
    if use is None:
        *numbers, n_on = _look(scan, cpgs, values, reading)
    else:
        cpgs = [cpg for cpg, wanted in zip(cpgs, use, strict=True) if wanted]
        n_missing = np.isnan(values).sum(axis=1, dtype=np.int32)
        if scan.looked is not None:
            scan.looked.snps.add(values[aside == "rs"])
        values = np.ascontiguousarray(values[use])
        *numbers, n_on = _look(scan, cpgs, values, reading)
        full = (n_missing, *(np.full(len(use), np.nan) for _ in numbers[1:]))
        for all_rows, used in zip(full[1:], numbers[1:], strict=True):
            all_rows[use] = used
        full[0][use] = numbers[0]
    scan.pieces.append(numbers if use is None else full)
    n_missing, _, _, low, high = numbers
    reason = cpg_reasons(n_missing, low, high, values.shape[1], max_missing_cpg, n_on)
    good = reason == ""
    if (lacking := n_missing >= platforms.FEWEST_SAMPLES).any():
        scan.patterns.add(np.isnan(values[lacking]))
    if use is None:
        scan.reasons.append(reason)
    else:
        scan.reasons.append(aside.copy())
        scan.reasons[-1][use] = reason
    if not scan.bad_values():
        kept = cpgs if good.all() else [cpgs[row] for row in np.flatnonzero(good)]
        writer.append(kept, values if good.all() else values[good])
        if scan.looked is not None:
            scan.looked.add(kept, values if good.all() else values[good], numbers[2][good], bool(n_missing.any()))
        scan.n_kept_missing += int(n_missing[good].sum() - (values.shape[1] - n_on[good]).sum())
        scan.n_kept_values += int(n_on[good].sum())


def scale_of(scan: Scan) -> tuple[str, bool]:
    """The scale that a scan's values seem to be on, and whether that is beyond doubt."""
    numbers = scan.numbers()
    infinite_or_text = scan.n_infinite + scan.n_text
    if infinite_or_text > 0.5 * max(scan.n_values, 1):
        return "beta", False
    if scales.centred(numbers["mean"], numbers["sd"], len(scan.samples), scan.sums):
        return "centred", False
    return scales.guess(scan.n_values, scan.n_below, scan.n_above, *(numbers[name] for name in ("min", "max", "mean")))

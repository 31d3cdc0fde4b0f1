"""From what people have (a beta matrix and a sample sheet) to a checked cohort; every problem is reported at once.

The matrix is streamed: memory holds one block of CpGs, their names and a few numbers per CpG, whatever their number.
"""

import dataclasses
import logging
import pathlib
import re
import unicodedata

import numpy as np
import pandas as pd
import pyarrow as pa

from cpgtaxa import files
from cpgtaxa.cohort import CohortWriter, two_sexes
from cpgtaxa.errors import InputError, gathered, reason_of, some
from cpgtaxa.input import platforms, plausible, scales, strata
from cpgtaxa.input import probes as probe_ids
from cpgtaxa.input.ages import check_ages
from cpgtaxa.input.array_columns import ArrayColumns, array_columns
from cpgtaxa.input.delimited import commas_for_points
from cpgtaxa.input.opening import open_matrix
from cpgtaxa.input.qc_table import qc_table
from cpgtaxa.input.sheets import SCIENTIFIC, check_ids, numbered, read_sheet, typed
from cpgtaxa.input.standard_layout import parts_of
from cpgtaxa.input.streams import DAMAGE, EXAMPLES, MISSING, many
from cpgtaxa.input.transposed import oriented
from cpgtaxa.progress import Progress

STATISTICS_BYTES = 1 << 20
"""Values looked at together: what stays in the processor's cache."""
TOLERANCE = 1e-6
"""A beta value this far outside 0..1 is rounding, and is clipped."""
TEXT = np.float32(-3e38)
"""Stands for text in a block of values, so that it counts neither as missing nor as a number."""
FEWEST_SAMPLES = 10
ENOUGH_TO_TELL = 2000
"""CpGs after which a scale that is beyond doubt is acted upon: the rest need not be read wrongly first."""
PER_CPG = 2000
"""Bytes on disk for each CpG beside its values: statistics, predictions, taxonomy."""


# --- the matrix ------------------------------------------------------------------------------------------------------


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
    n_outside: np.ndarray | None = None
    """Values outside 0-1 of each column, (n,) int; None where there are none."""
    ends: np.ndarray | None = None
    """Least and largest beta of each column, (2, n), where another scale was made betas."""
    n_written: int = 0
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

    def note_ends(self, values: np.ndarray) -> None:
        """Note the least and largest values of the columns of a block (k, n)."""
        for at, end in enumerate((np.fmin, np.fmax)):
            found = end.reduce(values, axis=0, initial=np.nan)
            if self.ends is None:
                self.ends = np.full((2, len(found)), np.nan, dtype=np.float32)
            self.ends[at] = end(self.ends[at], found)

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
            if reason[row]:
                continue
            if self.first:
                if cpg in self._seen:
                    reason[row] = probe_ids.REPLICATE
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
    if len(odd):
        scan.n_outside = np.zeros(len(row), dtype=np.int64) if scan.n_outside is None else scan.n_outside
        scan.n_outside[odd] += 1
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
                    scan.note_ends(values)
                _show(scan, cpgs, values)
                if reading.merge:
                    reading.average(cpgs, values, aside)
                for start in range(0, len(cpgs), rows):
                    piece = slice(start, start + rows)
                    _take(
                        scan,
                        writer,
                        cpgs[piece],
                        values[piece],
                        None if aside is None else aside[piece],
                        max_missing_cpg,
                        reading,
                    )
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


def _take(
    scan: Scan,
    writer: CohortWriter,
    cpgs: list[str],
    values: np.ndarray,
    aside,
    max_missing_cpg: float,
    reading: Reading,
) -> None:
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
        scan.n_written += len(kept)
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


# --- matching, checking, writing --------------------------------------------------------------------------------------


def _mangled(name: str) -> str:
    """The name R's make.names would make of it."""
    name = re.sub(r"[^A-Za-z0-9._]", ".", name)
    return name if re.match(r"[A-Za-z]|\.(?!\d)", name) else "X" + name


_CHANGES = {
    "R changed the names: use `check.names = FALSE` when reading it in R": _mangled,
    "they differ only in upper and lower case": str.casefold,
    "a program made numbers of the ids, with a point (1001.0): save the column as text": lambda n: n.removesuffix(".0"),
    "a program made numbers of the chips, with a point (200926000000.0_R01C01)": lambda n: n.replace(".0_", "_"),
    "a spreadsheet took the leading zeros away: format the column as text before filling it": lambda n: n.lstrip("0"),
    "zeros are lacking in one of them (P7, P007)": lambda name: re.sub(r"(?<!\d)0+(?=\d)", "", name),
    "a program wrote numbers in another way (1e5, 100000)": lambda name: _as_number(name),
    "letters with accents are stored in two ways (Unicode's NFC and NFD)": lambda n: unicodedata.normalize("NFC", n),
    "they differ only in blanks and punctuation": lambda name: re.sub(r"[\W_]+", "", name),
}
"""What happens to ids on their way, and how to see that it did."""


def _as_number(name: str) -> str:
    """A number in digits alone; anything else as it is."""
    try:
        return f"{float(name):.0f}" if re.fullmatch(r"\d[\d.]*(e\+?\d+)?", name, re.IGNORECASE) else name
    except (ValueError, OverflowError):
        return name


def _rewritten(lacking, extra) -> str:
    """How the sheet's ids that are `lacking` in the matrix became others than its `extra`; "" where nothing shows."""
    if any(SCIENTIFIC.fullmatch(name) for name in [*lacking, *extra]):
        return (
            "a spreadsheet rewrote long numbers (2.00926E+11), and their digits are lost: export the sheet again from "
            "its source, the column formatted as text"
        )
    if any(re.fullmatch(r"(19|20)\d\d-\d\d-\d\d|\d{1,2}-[A-Z][a-z]{2}", name) for name in lacking):
        return "a spreadsheet made dates of ids: format the column as text before filling it"
    for hint, change in _CHANGES.items():
        changed = {change(name) for name in lacking}
        others = set(extra) if change is _mangled else {change(name) for name in extra}
        back = {change(name) for name in extra} & set(lacking) if change is _mangled else set()
        if changed and max(len(changed & others), len(back)) > len(changed) / 2:
            return hint
    return ""


def _beside(extra: list[str], known: set[str]) -> str | None:
    """What stands behind samples' ids in the names of further columns, the same in all; None where they are others."""
    ends = {next((name[at:] for at in range(len(name) - 1, 0, -1) if name[:at] in known), "") for name in extra}
    return ends.pop() if len(ends) == 1 and len(extra) > 1 and "" not in ends else None


def _shifted(matrix, known: set[str]) -> str | None:
    """Why the names of a matrix's columns may stand one place beside their values; None where nothing says so."""
    if getattr(matrix, "row_names", False) and matrix.samples[0] not in known:
        return (
            "its rows have one field more than its header, as R's write.table leaves it; then the header's first name, "
            f"{matrix.samples[0]!r}, is a sample, but the sheet has no such sample. Write one name for each column, "
            "that of the ids too (in R: col.names = NA)"
        )
    if getattr(matrix, "heading", None) in known:
        return (
            f"the header begins with {matrix.heading!r}, a sample of the sheet, where the heading of the column of ids "
            "belongs, so that every name would stand one column too far to the right. Write one name for each column, "
            "that of the ids included"
        )
    return None


def _check_match(matrix, beta, samples, wanted: list[str], unmatched: str, warn) -> tuple[list[int], list[str], bool]:
    """Columns of the matrix to read, the problems of matching, and whether reading makes sense."""
    known = set(wanted)
    columns = [column for column, name in enumerate(matrix.samples) if name in known]
    if columns and (doubt := _shifted(matrix, known)):
        return columns, [f"{beta}: {doubt}"], True
    if columns:
        have = set(matrix.samples)
        lacking = list(dict.fromkeys(name for name in wanted if name not in have))
        extra = list(dict.fromkeys(name for name in matrix.samples if name and name not in known))
        found = []
        hint = _rewritten(lacking, extra) if lacking else ""
        if lacking:
            found.append(
                f"{many(len(lacking), 'sample')} of the sheet {samples} not in the matrix {beta}: {some(lacking)}"
                f"{f' ({hint})' if hint else ''}"
            )
        if extra:
            found.append(f"{many(len(extra), 'sample')} of the matrix {beta} not in the sheet {samples}: {some(extra)}")
        if unmatched == "drop":
            for text in found:
                warn(f"left out: {text}")
            return columns, [], True
        remedy = ". Correct the ids"
        remedy += "" if hint else ", or set `cohort.unmatched: drop` to use only samples found in both"
        if beside := _beside(extra, known):
            remedy = (
                f". They are called as the sheet's samples with {beside!r} behind. If they are detection p-values, "
                "call them so (`S1.Detection Pval`), that they may be used; else leave these columns out, or set "
                "`cohort.unmatched: drop`"
            )
        return columns, [text + remedy for text in found], True

    if all(re.fullmatch(r"NA|[01]?\.\d+(e-?\d+)?", name) for name in matrix.samples):
        problem = f"The matrix {beta} has no header: its first line holds values. Add a line with the sample ids"
        return [], [problem], False
    hint = _rewritten(wanted, matrix.samples)
    hint = f" {hint[0].upper()}{hint[1:]}." if hint else ""
    return (
        list(range(len(matrix.samples))),
        [
            f"No sample of the sheet {samples} ({some(wanted, 3)}) is in the header of the matrix {beta} "
            f"({some(matrix.samples, 3)}).{hint} Correct the ids, or set `cohort.columns.sample_id` to the column that "
            "holds them"
        ],
        True,
    )


REMEDIES = {
    "replicate": "Average the rows of a CpG, or keep one",
    "m": "Give beta values: beta = 2^M/(1+2^M)",
    "percent": "Divide them by 100",
}
_REMEDIES = {
    "replicate": "Set `cohort.collapse` to `mean` or `first` (or to `keep`, where only their suffixes are alike)",
    "m": "If they are, set `cohort.values: m` to have them made betas; if not, give beta values",
    "percent": "If they are, set `cohort.values: percent` to have them divided by 100; if not, give beta values",
}
"""What the key `cohort` offers to those same ends."""
_TOLD = {"m": "M-values, and were made betas: beta = 2^M/(1+2^M)", "percent": "percent, and were divided by 100"}


def check_header(beta, matrix, turned: bool = False) -> list[str]:
    """What is wrong with the samples' ids. turned: the file has them in rows."""
    problems = []
    axis, where = ("row", "in the first column") if turned else ("column", "in the header")
    empty = [number for number, name in enumerate(matrix.samples, 1 if turned else 2) if name in MISSING]
    if empty:
        problems.append(
            f"{beta}: {many(len(empty), axis)} without a sample id {where}: {axis} {numbered(empty)}"
            f"{' below the header' if turned else ''}. Name or remove them"
        )
    names = pd.Index(matrix.samples)
    twice = names[names.duplicated()].unique()
    twice = [name for name in twice if name not in MISSING]
    if twice:
        problems.append(
            f"{beta}: {many(len(twice), 'sample')} more than once {where}: {some(twice)}. Keep one {axis} each"
        )
    return problems


def _outside(scan: Scan, remedies: dict[str, str]) -> str:
    """What values outside 0-1 seem to be, and what to do."""
    outside, numbers = scan.n_below + scan.n_above, scan.numbers()
    lowest, highest = float(np.nanmin(numbers["min"])), float(np.nanmax(numbers["max"]))
    found = f"{outside:,} of {scan.n_values:,} values lie outside 0-1 (from {lowest:.4g} to {highest:.4g})"
    below = numbers["min"][numbers["min"] < -TOLERANCE]
    if len(below) > 1 and np.ptp(below) == 0 and below[0] == np.rint(below[0]):
        return f"{found}; those below 0 are all {below[0]:g}, as codes for missing values are: write NA in their place"
    scale, _ = scale_of(scan)
    if scale in _TOLD and (few := _betas_among(scan)):
        return (
            f"{found}: values on two scales, as those of {few} lie in 0-1, and the others look like "
            f"{'M-values' if scale == 'm' else 'percent'}. Bring all to betas"
        )
    if scale == "m":
        return f"{found}: these look like M-values. {remedies['m']}"
    if scale == "percent":
        return f"{found}: these look like percent. {remedies['percent']}"
    if scale == "centred":
        return (
            f"{found}, on both sides of 0 in every CpG or sample: these look like z-scores or residuals, in which "
            "the levels of methylation are lost, so that no conversion makes betas of them. Give the betas"
        )
    more = f" and {outside - len(scan.outside):,} more" if outside > len(scan.outside) else ""
    return f"{found}: {'; '.join(scan.outside)}{more}. Beta values lie in 0-1: correct them, or write NA"


def _betas_among(scan: Scan) -> str:
    """The samples or CpGs that have betas among values on another scale, counted in words; "" where there are none."""
    others = scan.n_outside > 0
    if not others.all() and np.median(scan.n_outside[others]) >= scales.FEWEST_OUTSIDE:
        return many(int((~others).sum()), "sample")
    numbers = scan.numbers()
    with np.errstate(invalid="ignore"):
        rows = int(((numbers["min"] >= 0) & (numbers["max"] <= 1) & (numbers["mean"] > 0.3)).sum())
    return many(rows, "CpG") if rows > max(scales.SOME * len(scan.cpgs), 1) else ""


def check_values(beta, matrix, scan: Scan, remedies: dict[str, str] = REMEDIES, turned: bool = False) -> list[str]:
    """What makes the matrix wrong as a whole: its shape, its ids, its values.

    remedies: what to do, as REMEDIES; CpGs may be there more than once where there is none. turned: the file has
    CpGs in columns.
    """
    problems = []
    axis, shift = ("column", 1) if turned else ("row", 0)
    if scan.damage:
        after = f"after {many(len(scan.cpgs), 'CpG')} ({scan.damage})"
        if "invalid UTF8" in scan.damage:
            problems.append(f"{beta} is not text in UTF-8 {after}: save it as CSV (UTF-8)")
        else:
            problems.append(f"{beta} is damaged or cut off {after}: copy it again")
    if matrix.n_odd_rows:
        problems.append(
            f"{beta} is not a matrix: {many(matrix.n_odd_rows, 'row')} with another number of fields than the "
            f"{matrix.n_fields} expected: {', '.join(matrix.odd_rows)}. Write missing values as NA and rows in full"
        )
    if not scan.cpgs and not problems:
        problems.append(f"{beta} has a header but no rows: there is not a single CpG in it")
    if scan.n_text:
        thousands = all(re.search(r": '-?[1-9]\d{0,2}(,\d{3})+'$", text) for text in scan.text)
        comma = " These are decimal commas: write decimal points." if scan.comma else ""
        comma = " These commas may be decimal or part thousands: write numbers without doubt." if thousands else comma
        comma = comma or (" Write percent without a sign." if all(text.endswith("%'") for text in scan.text) else "")
        more = f" and {scan.n_text - len(scan.text):,} more" if scan.n_text > len(scan.text) else ""
        problems.append(
            f"{beta}: {many(scan.n_text, 'cell')} with text instead of a number: {'; '.join(scan.text)}{more}.{comma} "
            "Missing values are written NA or left empty"
        )
    first = scan.cpgs[:10]
    if len(first) > 1 and first in ([str(n + start) for n in range(len(first))] for start in (0, 1)):
        problems.append(
            f"{beta}: the first column holds row numbers ({', '.join(first[:3])} …), not CpG ids. "
            "Write the matrix without row numbers, the CpG ids first"
        )
    empty = [number for number, name in enumerate(scan.cpgs, 1 + shift) if name in MISSING]
    if empty:
        problems.append(
            f"{beta}: {many(len(empty), axis)} without a CpG id: {axis} {numbered(empty)}"
            f"{'' if turned else ' below the header'}. Name or remove them"
        )
    if odd := probe_ids.no_probes(scan.probes, scan.set_aside()):
        listed = [f"{scan.probes[row]!r} ({axis} {row + 1 + shift})" for row in odd[:EXAMPLES]]
        more = f" and {len(odd) - EXAMPLES:,} more" if len(odd) > EXAMPLES else ""
        problems.append(
            f"{beta}: {many(len(odd), axis)} that {'are' if len(odd) > 1 else 'is'} no CpG: {', '.join(listed)}{more}. "
            "A summary, a second header, or data of the samples does not belong between CpGs: remove it"
        )
    names = pd.Series(scan.cpgs, dtype=object)
    names = names[scan.set_aside() == ""] if scan.aside else names
    again = names.duplicated(keep=False) & ~names.isin(MISSING)
    if again.any() and remedies["replicate"]:
        rows = names[again].groupby(names[again], sort=False).groups

        def places(name) -> str:
            several = dict.fromkeys(scan.probes[row] for row in rows[name])
            return f"probes {some(several, 4)}" if len(several) > 1 else f"{axis}s {numbered(rows[name] + 1 + shift)}"

        where = [f"{name!r} ({places(name)})" for name in list(rows)[:EXAMPLES]]
        more = f" and {len(rows) - EXAMPLES:,} more" if len(rows) > EXAMPLES else ""
        problems.append(
            f"{beta}: {many(len(rows), 'CpG')} more than once: {', '.join(where)}{more}. {remedies['replicate']}"
        )
    if scan.n_infinite:
        more = f" and {scan.n_infinite - len(scan.infinite):,} more" if scan.n_infinite > len(scan.infinite) else ""
        problems.append(
            f"{beta}: {many(scan.n_infinite, 'infinite value')}: {'; '.join(scan.infinite)}{more}. "
            "Beta values lie in 0-1; write NA where there is none"
        )
    if scan.n_below + scan.n_above:
        problems.append(f"{beta}: {_outside(scan, remedies)}")
    return problems


def _check_cpgs(beta, scan: Scan, reason: np.ndarray, max_missing: float, policy: str, warn) -> list[str]:
    """Bad CpGs: problems, or warnings where they are dropped."""
    n_samples, numbers = len(scan.samples), scan.numbers()
    found = []
    rows = np.flatnonzero(reason == "missing")
    if len(rows):
        first = [f"{scan.cpgs[row]!r} ({numbers['n_missing'][row] / n_samples:.0%})" for row in rows[:EXAMPLES]]
        more = f" and {len(rows) - EXAMPLES:,} more" if len(rows) > EXAMPLES else ""
        found.append(
            f"{beta}: {many(len(rows), 'CpG')} missing in more than {max_missing:.3g} of the samples "
            f"(`cohort.max_missing_cpg`): {', '.join(first)}{more}"
        )
    rows = np.flatnonzero(reason == "constant")
    if len(rows):
        first = [f"{scan.cpgs[row]!r} (always {numbers['min'][row]:.4g})" for row in rows[:EXAMPLES]]
        more = f" and {len(rows) - EXAMPLES:,} more" if len(rows) > EXAMPLES else ""
        found.append(
            f"{beta}: {many(len(rows), 'constant CpG')}, a sign of masked or imputed probes: {', '.join(first)}{more}"
        )
    if found and policy == "drop":
        for text in found:
            warn(f"left out: {text}")
        if np.all(reason != ""):
            return [f"{beta}: all {many(len(reason), 'CpG')} would be left out: {'; '.join(found)}"]
        return []
    return [f"{text}. Set `cohort.bad_cpgs: drop` to leave them out" for text in found]


EITHER = ("error", "drop")
POLICIES = {
    "bad_cpgs": EITHER,
    "bad_samples": EITHER,
    "unmatched": EITHER,
    "values": ("auto", *scales.SCALES),
    "collapse": ("error", "mean", "first", "keep"),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How matrix and sheet are understood, and what of them is used: the section `cohort` of the config.

    columns
        Maps `sample_id`, `age` and `sex` to the sheet's columns, None being found by common names
        (`sheets.read_sheet`); a column called `sex` may be absent. All others pass through as covariates.
    age_unit
        Unit of the ages: years, months, weeks, days, gestational_weeks, or auto (`ages.in_years`).
    values
        "beta", "percent", "m" (M-values), or "auto": beta, or what is beyond doubt.
    collapse
        CpGs that several probes measure (of EPICv2 and MSA, whose suffixes are taken off): "error", the "mean" of the
        probes sample by sample, the "first" one; "keep" keeps suffixes, so that probes stay apart.
    filters, only_cpgs
        Lists of probes or CpGs to leave out, by name; a list of the CpGs that alone are used.
    only, one_per
        Values of the sheet's columns that samples must have; a column of which each value is used once (its first row).
    max_missing_cpg, max_missing_sample
        Largest share of missing values in a CpG (over the samples kept), and in a sample (over the CpGs measured in at
        least half of the samples).
    bad_cpgs, bad_samples, unmatched
        What to do with CpGs mostly missing or constant, samples mostly missing, and samples found only in the matrix or
        only in the sheet: "error", or "drop" with a warning.
    detection_p, tolerance
        Detection p-value above which a beta is masked where the table has such columns (`array_columns`), None for
        never; how far outside 0..1 values are clipped.
    min_age, max_age
        Years; samples outside are left out with a warning. Ages before birth are taken from a negative `min_age` on.
    probes
        Kinds of probes that count, of cg, ch, rs, nv and ctl.
    object, index
        Which object, layer or array of the file is the matrix; files with the ids of an .npy, `{cpgs, samples}`.
    """

    columns: dict
    age_unit: str = "auto"
    values: str = "auto"
    collapse: str = "error"
    filters: dict | None = None
    only_cpgs: str | None = None
    only: dict | None = None
    one_per: str | None = None
    max_missing_cpg: float = 0.2
    max_missing_sample: float = 0.2
    bad_cpgs: str = "drop"
    bad_samples: str = "drop"
    unmatched: str = "error"
    detection_p: float | None = 0.01
    tolerance: float = 0.01
    min_age: float | None = None
    max_age: float | None = None
    probes: tuple[str, ...] = ("cg",)
    object: str | None = None
    index: dict | None = None

    def __post_init__(self):
        for name, known in POLICIES.items():
            if (policy := getattr(self, name)) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {policy!r}")


def ingest(beta, samples, out_beta, out_samples, out_cpgs, out_qc, out_qc_table=None, **settings) -> None:
    """Check a beta matrix and its sample sheet, and write them as a cohort.

    Parameters
    ----------
    beta
        A matrix in any format that `matrices.open_matrix` takes. CpGs in rows, their ids in the first column, one
        further column per sample; values 0..1. Where the first column holds the sheet's ids, it is turned round, with
        a warning.
    samples
        Delimited text with one row per sample, a GEO series matrix, or what `tables.read_sheet_frame` takes.
    out_beta, out_samples, out_cpgs, out_qc
        The cohort (`cpgtaxa.cohort`); sample_id, age (float64), sex (text), covariates in the order of the matrix's
        columns (Parquet); cpg, n_missing, mean, sd (n-1), min, max, kept, reason, probe (the id as given) for every
        probe read (Parquet; no mean to max for those that lists or replicates leave out); counts, checksums and
        warnings (JSON).
    out_qc_table
        What was kept and what was left out, and why (`qc_table.qc_table`, CSV).
    settings
        Those of `Settings`.

    Raises InputError with every problem found; then no output exists under its final name.
    """
    reading = _Ingestion(pathlib.Path(beta), pathlib.Path(samples), Settings(**settings))
    reading.open_inputs(pathlib.Path(out_beta).parent)
    reading.select_samples()
    reading.check_ages()
    if not reading.readable or not reading.wanted:
        raise InputError(reading.problems)
    size = reading.matrix.n_rows() * (4 * len(reading.wanted) + PER_CPG)
    what = f"{len(reading.wanted):,} samples of about {reading.matrix.n_rows():,.0f} CpGs take"
    files.need_space(out_beta, size, what)
    with files.atomic(out_beta) as temporary:
        reading.scan_values(temporary)
        reading.leave_out_gappy_samples(temporary)
        table, cpgs, qc = reading.check(temporary)
        files.write_parquet(out_samples, table)
        files.write_parquet(out_cpgs, cpgs)
        if out_qc_table:
            with files.atomic(out_qc_table) as partial:
                reasons = cpgs["reason"].fillna("").to_numpy(dtype=object)
                qc_table(reading.scan, reasons, qc, reading.settings).to_csv(partial, index=False, float_format="%.6g")
        files.write_json(out_qc, qc)
    reading.report()


class _Ingestion:
    """The steps of `ingest`. problems, warnings: what was found so far; a step goes on where it can."""

    def __init__(self, beta: pathlib.Path, samples: pathlib.Path, settings: Settings):
        self.beta, self.samples, self.settings = beta, samples, settings
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.parts = gathered(self.problems, parts_of, beta) or [beta]
        if self.problems:
            raise InputError(self.problems)
        self.begun = {path: _state(path) for path in (*self.parts, samples)}
        self.sheet = self.matrix = self.ages = None
        self.turned = False
        self.aside: dict[str, list[str]] = {"not_only": [], "not_first": []}

    def warn(self, text: str) -> None:
        """Say it now, and in the QC."""
        logging.warning(text)
        self.warnings.append(text)

    @property
    def has_ids(self) -> bool:
        """Whether the sheet is there, with sample ids."""
        return self.sheet is not None and "sample_id" in self.sheet

    def open_inputs(self, folder: pathlib.Path) -> None:
        """Open lists, matrix and sheet, and match their samples. folder: for what must be unpacked or turned round."""
        settings, problems = self.settings, self.problems
        self.lists = gathered(problems, probe_ids.Lists, settings.filters, settings.only_cpgs)
        opened = {"name": settings.object, "index": settings.index, "folder": folder}
        given = gathered(problems, lambda: open_matrix(self.beta, **opened))
        given = gathered(problems, array_columns, given, settings.detection_p) if given else None
        try:
            self.sheet, found = read_sheet(self.samples, settings.columns, set(given.samples) if given else None)
            problems += found
            for note in [*self.sheet.attrs["notes"], *getattr(given, "notes", [])]:
                self.warn(note)
        except InputError as error:
            problems += error.problems
        if given:
            ids = set(self.sheet["sample_id"]).difference(MISSING) if self.has_ids else set()
            turned = gathered(problems, oriented, given, ids, folder, self.warn)
            self.matrix, self.turned = turned or (None, False)
            problems += check_header(self.beta, self.matrix, self.turned) if self.matrix else []
        if self.has_ids:
            problems += check_ids(self.samples, self.sheet)
        self.readable = self.matrix is not None
        self.wanted = list(range(len(self.matrix.samples))) if self.matrix else []
        self.in_sheet = [name for name in self.sheet["sample_id"] if name not in MISSING] if self.has_ids else []
        if self.has_ids and self.matrix:
            self.wanted, found, self.readable = _check_match(
                self.matrix, self.beta, self.samples, self.in_sheet, settings.unmatched, self.warn
            )
            problems += found

    def _without(self, names) -> None:
        """Take samples out of the columns wanted."""
        if self.matrix and self.readable:
            left_out = set(names)
            self.wanted = [column for column in self.wanted if self.matrix.samples[column] not in left_out]

    def select_samples(self) -> None:
        """Keep those that are in the matrix, of the stratum wanted, and one of each person where that is wanted."""
        if self.sheet is None:
            return
        settings, sheet = self.settings, self.sheet
        if self.has_ids and self.matrix:
            matched = sheet["sample_id"].isin(self.matrix.samples).to_numpy()
            if matched.any():
                sheet = sheet[matched].reset_index(drop=True)
        keep, found = strata.in_stratum(sheet, self.samples, settings.only)
        self.problems += found
        if settings.one_per:
            first, found = strata.first_of_each(sheet[keep], self.samples, settings.one_per)
            self.problems += found
        else:
            first = keep[keep]
            for name, shared in strata.kin_columns(sheet[keep]).items():
                self.warn(
                    f"{self.samples}: {shared:,} of {int(keep.sum()):,} samples share their `{name}` with another. "
                    "Repeated measures and relatives make p-values too small; "
                    f"`cohort.one_per: {name}` uses one sample of each"
                )
        if self.has_ids:
            self.aside["not_only"] = sheet["sample_id"][~keep].tolist()
            self.aside["not_first"] = sheet["sample_id"][keep][~first].tolist()
            self._without([*self.aside["not_only"], *self.aside["not_first"]])
        self.sheet = sheet[keep][first].reset_index(drop=True)
        n_used = self.sheet["sample_id"].nunique() if self.has_ids else len(self.sheet)
        if n_used < FEWEST_SAMPLES:
            self.problems.append(f"Only {many(n_used, 'sample')} in {self.samples}" + _found(self.matrix) + TOO_FEW)

    def check_ages(self) -> None:
        """Read the ages, in years, and keep the samples of the ages wanted."""
        sheet, settings = self.sheet, self.settings
        if sheet is None or "age" not in sheet or not len(sheet):
            return
        said = len(sheet.attrs["notes"])
        least = 0.0 if settings.min_age is None else settings.min_age
        ages, found = check_ages(self.samples, sheet, settings.age_unit, least)
        self.problems += found
        for note in sheet.attrs["notes"][said:]:
            self.warn(note)
        inside, found = _in_range(self.samples, sheet, ages, settings.min_age, settings.max_age, self.warn)
        self.problems += found
        if self.has_ids and not inside.all():
            self.aside["outside_ages"] = sheet["sample_id"][~inside].tolist()
            self._without(self.aside["outside_ages"])
            sheet, ages = sheet[inside].reset_index(drop=True), ages[inside]
        self.sheet, self.ages = sheet, ages

    def _pass_over(self, temporary):
        def pass_over(columns: list[int], reading: Reading) -> Scan:
            return scan_matrix(self.matrix, columns, temporary, self.settings.max_missing_cpg, reading)

        return pass_over

    def scan_values(self, temporary) -> None:
        """Read the values on their scale, and write them to the file `temporary`."""
        settings = self.settings
        self.reading = Reading(
            settings.values,
            settings.tolerance,
            look=True,
            sex=_sexes(self.sheet, [self.matrix.samples[column] for column in self.wanted]),
            kinds=tuple(settings.probes),
            suffixes=settings.collapse == "keep",
            lists=self.lists or None,
            first=settings.collapse == "first",
        )
        what = (self.beta, self.matrix, self.turned, self.wanted, self._pass_over(temporary), self.reading)
        self.scan, self.reading = _read_values(*what, settings.collapse, self.problems, self.warn)
        if self.lists and not self.scan.damage:
            self.problems += self.lists.problems()
        self.n_replicates = int((self.scan.set_aside() == probe_ids.REPLICATE).sum())
        if self.n_replicates:
            taken = "mean of each CpG's probes" if settings.collapse == "mean" else "first of each CpG's"
            probes = many(self.n_replicates, "probe")
            self.warn(f"{self.beta}: {probes} of CpGs that have several: the {taken} was taken")

    def leave_out_gappy_samples(self, temporary) -> None:
        """Read again without the samples that lack too many values."""
        settings, problems = self.settings, self.problems
        gappy = _gappy(self.beta, self.scan, settings.max_missing_sample, settings.bad_samples, problems, self.warn)
        self.dropped = [self.scan.samples[column] for column in gappy]
        if not self.dropped:
            return
        self.wanted = np.delete(self.wanted, gappy).tolist()
        if problems:
            return
        self.reading = self.reading.without(gappy)
        self.scan = self._pass_over(temporary)(self.wanted, self.reading)
        left = ~self.sheet["sample_id"].isin(self.dropped).to_numpy()
        self.sheet, self.ages = self.sheet[left].reset_index(drop=True), self.ages[left]
        if self.ages.min() == self.ages.max():
            problems.append(f"{self.samples}: without the samples left out, all ages are equal ({self.ages[0]:g})")

    def check(self, temporary) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
        """The samples', the CpGs' and the QC's table, where nothing is wrong."""
        scan, settings = self.scan, self.settings
        numbers = scan.numbers()
        reason = np.concatenate(scan.reasons) if scan.reasons else np.empty(0, dtype=object)
        most = settings.max_missing_cpg
        self.problems += _check_cpgs(self.beta, scan, reason, most, settings.bad_cpgs, self.warn)
        if self.problems:
            raise InputError(self.problems)
        order = self.sheet.set_index("sample_id").index.get_indexer(scan.samples)
        kin = [self.sheet[name].to_numpy()[order] for name in strata.kin_columns(self.sheet)]
        doubts, alike = plausible.doubts(self.beta, self.samples, scan.looked, scan.samples, self.ages[order], kin)
        for text in doubts:
            self.warn(text)
        table = _sample_table(self.samples, self.sheet.iloc[order], self.ages[order], self.warn)
        kept = reason == ""
        cpgs = pd.DataFrame({"cpg": pd.Series(scan.cpgs, dtype="str"), **numbers, "kept": kept})
        cpgs["reason"] = pd.Series(np.where(kept, None, reason), dtype="str")
        cpgs["probe"] = pd.Series(scan.probes, dtype="str")
        if self.masked:
            cpgs["n_undetected"] = np.concatenate(self.matrix.by_cpg)
        qc = self._qc(reason, alike, temporary)
        changed = [path for path, state in self.begun.items() if _state(path) != state]
        if changed:
            raise InputError(
                [f"{path} was changed while it was being read: let the copy finish and start again" for path in changed]
            )
        self.n_kept = int(kept.sum())
        return table, cpgs, qc

    @property
    def masked(self) -> bool:
        """Whether betas are masked for their detection p-values."""
        return isinstance(self.matrix, ArrayColumns) and self.matrix.has_p

    def _qc(self, reason: np.ndarray, alike: dict, temporary) -> dict:
        scan, ages = self.scan, self.ages
        n_cpgs = {
            "in": len(reason),
            "kept": int((reason == "").sum()),
            "dropped_missing": int((reason == "missing").sum()),
            "dropped_constant": int((reason == "constant").sum()),
        }
        n_cpgs |= {f"dropped_{name}": int((reason == name).sum()) for name in _by_lists(self.lists)}
        n_cpgs |= {"dropped_replicate": self.n_replicates} if self.n_replicates else {}
        n_cpgs |= {f"dropped_{kind}": n for kind in probe_ids.KINDS if (n := int((reason == kind).sum()))}
        dropped = {
            "only_in_matrix": sorted(set(self.matrix.samples) - set(self.in_sheet)),
            "only_in_sheet": sorted(set(self.in_sheet) - set(self.matrix.samples)),
            "missing": self.dropped,
        }
        n_samples = {"in_matrix": len(self.matrix.samples), "in_sheet": len(self.in_sheet), "kept": len(scan.samples)}
        arrays = self.reading.of_sample
        return {
            "n_cpgs": n_cpgs,
            "array": probe_ids.describe(scan.probes),
            "values": self.reading.scale if self.reading.scale != "auto" else "beta",
            "n_samples": n_samples,
            "samples_dropped": dropped | {key: names for key, names in self.aside.items() if names},
            "age": {"min": float(ages.min()), "median": float(np.median(ages)), "max": float(ages.max())},
            "missing_fraction": scan.n_kept_missing / scan.n_kept_values,
            **alike,
            **({"n_clipped": scan.n_clipped} if scan.n_clipped else {}),
            **({"undetected": _undetected(self.matrix, self.wanted)} if self.masked else {}),
            **({"arrays": _arrays(scan, arrays)} if arrays is not None else {}),
            "sha256": {
                "cohort": files.sha256(temporary),
                "matrix": files.sha256(*self.parts),
                "samples": files.sha256(self.samples),
            },
            "columns": self.sheet.attrs["chosen"],
            "warnings": self.warnings,
        }

    def report(self) -> None:
        """Log what was read: some values with their places, the sheet's columns, sizes and ages."""
        logging.info(f"read from {self.beta}: {_shown(self.scan, self.matrix, self.wanted, self.turned)}")
        chosen = ", ".join(f"{what} = {name}" for what, name in self.sheet.attrs["chosen"].items())
        logging.info(f"columns of {self.samples}: {chosen}")
        logging.info(f"{self.n_kept:,} CpGs x {len(self.scan.samples):,} samples, ages {_spread(self.ages)}")


def _read_values(beta, matrix, turned: bool, columns, pass_over, reading: Reading, collapse, problems, warn) -> tuple:
    """Pass over the matrix as often as it takes: the scan that counts, and how it was read.

    pass_over: `scan_matrix` but for columns and reading. What is wrong is added to `problems`. A further pass converts
    another scale, averages replicates, or knows of several arrays.
    """
    values = reading.scale
    scan = pass_over(columns, reading)
    scale, certain = scale_of(scan) if scan.bad_values() else ("beta", True)
    if values == "auto" and certain and scale != "beta":
        warn(f"{beta}: the values are {_TOLD[scale]}. `cohort.values: {scale}` says so; `beta` would refuse them")
        reading = dataclasses.replace(reading, scale=scale)
        scan = pass_over(columns, reading)
    if reading.scale in _TOLD and not scan.bad_values() and (doubt := _not_on(reading.scale, scan)):
        problems.append(f"{beta}: {doubt}")
    if collapse == "mean" and not scan.damage:
        several = probe_ids.replicated(np.array(scan.cpgs, dtype=object)[scan.set_aside() == ""])
        if several and not check_values(beta, matrix, scan, _REMEDIES | {"replicate": None}, turned):
            logging.info(f"{len(several):,} CpGs are measured by several probes: read again, to average them")
            reading = dataclasses.replace(reading, merge=several)
            scan = pass_over(columns, reading)
    problems += check_values(beta, matrix, scan, _REMEDIES, turned)
    if not reading.suffixes and (again := probe_ids.numbered_again(scan.cpgs)):
        problems.append(
            f"{beta}: {many(len(again), 'id')} that {'are' if len(again) > 1 else 'is'} another one with a number "
            f"behind it, as R and pandas make equal names different: {some(again)}. Take the numbers off (then "
            "`cohort.collapse` says what becomes of a CpG's probes), or set `cohort.collapse: keep` to keep these as "
            "CpGs of their own"
        )
    if isinstance(matrix, ArrayColumns):
        problems += matrix.problems()
    of_sample = scan.patterns.platforms(len(scan.cpgs), len(scan.samples))
    if of_sample is not None and not problems:
        reading = dataclasses.replace(reading, of_sample=of_sample)
        scan = pass_over(columns, reading)
        warn(_joined(beta, scan, of_sample))
    if scan.n_clipped and not scan.bad_values():
        more = f" and {scan.n_clipped - len(scan.clipped):,} more" if scan.n_clipped > len(scan.clipped) else ""
        warn(
            f"{beta}: {many(scan.n_clipped, 'value')} up to {reading.tolerance:g} outside 0-1 (`cohort.tolerance`) set "
            f"to 0 or 1: {'; '.join(scan.clipped)}{more}"
        )
    return scan, reading


def _gappy(beta, scan: Scan, most: float, policy: str, problems: list[str], warn) -> np.ndarray:
    """The columns to leave out for their missing values, (k,) int; none where these are added to `problems`."""
    gaps = scan.sample_missing / np.maximum(scan.n_checked, 1)
    gappy = np.flatnonzero(gaps > most)
    if not len(gappy):
        return gappy
    first = [f"{scan.samples[column]!r} ({gaps[column]:.0%})" for column in gappy[:EXAMPLES]]
    more = f" and {len(gappy) - EXAMPLES:,} more" if len(gappy) > EXAMPLES else ""
    text = (
        f"{beta}: {many(len(gappy), 'sample')} missing in more than {most:.3g} of the CpGs "
        f"(`cohort.max_missing_sample`): {', '.join(first)}{more}"
    )
    n_left = len(scan.samples) - len(gappy)
    if policy == "error":
        problems.append(f"{text}. Set `cohort.bad_samples: drop` to leave them out")
    elif n_left < FEWEST_SAMPLES:
        problems.append(f"{text}. Without them only {many(n_left, 'sample')} would be left{TOO_FEW}")
    else:
        warn(f"left out: {text}")
        return gappy
    return gappy[:0]


def _sample_table(path, sheet: pd.DataFrame, ages: np.ndarray, warn) -> pd.DataFrame:
    """The samples as the cohort has them: ids, ages in years (n,), sex as text, covariates as numbers or text."""
    table = sheet.reset_index(drop=True).drop(columns="row")
    others = table.columns.drop(["sample_id", "age"])
    if commas := [name for name in others if commas_for_points(table[name], None)]:
        warn(f"{path}: decimal commas in {some(commas)} were read as points")
    for name in others:
        table[name] = table[name].where(~table[name].isin(MISSING), None) if name == "sex" else typed(table[name])
    table["sample_id"], table["age"] = table["sample_id"].astype("str"), ages
    table.attrs = {}
    return table


def _sexes(sheet: pd.DataFrame | None, samples: list[str]) -> np.ndarray | None:
    """The sheet's two sexes as 0 and 1, (n,) int8, -1 where unknown; None where there are not enough of both."""
    if sheet is None or "sex" not in sheet or "sample_id" not in sheet or sheet["sample_id"].duplicated().any():
        return None
    known = sheet.assign(sex=sheet["sex"].where(~sheet["sex"].isin(MISSING), None)).set_index("sample_id")
    codes = two_sexes(known.reindex(samples))
    return codes if min((codes == code).sum() for code in (0, 1)) >= plausible.FEWEST_OF_A_SEX else None


def _spread(ages: np.ndarray) -> str:
    low, lower, middle, upper, high = np.percentile(ages, [0, 25, 50, 75, 100])
    return f"{low:g} to {high:g} (half of them {lower:.3g} to {upper:.3g}, median {middle:.3g})"


def _shown(scan: Scan, matrix, columns: list[int], turned: bool) -> str:
    """Values as they were read, with their places in the file: row below the header, column counted from 1."""
    place = getattr(matrix, "place_of", lambda column: column + 2)
    shown = []
    for row, cpg, column, value in dict.fromkeys(scan.shown):
        at = (columns[column], row + 1) if turned else (row, place(columns[column]) - 1)
        shown.append(f"{cpg} of {scan.samples[column]} (row {at[0] + 1}, column {at[1] + 1}): {value:.6g}")
    return "; ".join(shown)


def _in_range(path, sheet: pd.DataFrame, ages: np.ndarray, least, most, warn) -> tuple[np.ndarray, list[str]]:
    """Which samples are of the ages wanted, (n,) bool; and what is wrong where they are too few."""
    low, high = -np.inf if least is None else least, np.inf if most is None else most
    inside = ~((ages < low) | (ages > high))
    if inside.all():
        return inside, []
    names = sheet["sample_id"] if "sample_id" in sheet else sheet["row"]
    text = (
        f"{path}: {many(int((~inside).sum()), 'sample')} outside the ages wanted (`cohort.min_age`, `cohort.max_age`: "
        f"{'' if least is None else f'{least:g}'} to {'' if most is None else f'{most:g}'}): {some(names[~inside])}"
    )
    if inside.sum() < FEWEST_SAMPLES:
        return inside, [f"{text}. Only {many(int(inside.sum()), 'sample')} would be left{TOO_FEW}"]
    warn(f"left out: {text}")
    if np.ptp(ages[inside]) == 0:
        return inside, [
            f"{path}: without the samples outside the ages wanted, all ages are equal ({ages[inside][0]:g})"
        ]
    return inside, []


def _arrays(scan: Scan, of_sample: np.ndarray) -> list[dict]:
    """Of each array in the matrix, its number of samples and the first of them."""
    groups = [np.flatnonzero(of_sample == group) for group in np.unique(of_sample)]
    return [{"n_samples": len(group), "samples": [scan.samples[at] for at in group[:EXAMPLES]]} for group in groups]


def _joined(beta, scan: Scan, of_sample: np.ndarray) -> str:
    groups = "; ".join(f"{one['n_samples']:,} ({some(one['samples'], 2)} …)" for one in _arrays(scan, of_sample))
    return (
        f"{beta}: the samples seem to be on {len(np.unique(of_sample))} arrays, of {groups}: CpGs are missing in "
        "exactly these. They are kept, each on the samples whose array has it; `cohort.only_cpgs` can keep one array's"
    )


def _undetected(matrix: ArrayColumns, columns: list[int]) -> dict:
    """Values whose detection p-value is above the limit, there or missing: in all, and of each sample that has any."""
    n_masked = {matrix.samples[column]: int(matrix.n_masked[column]) for column in columns}
    return {
        "limit": matrix.limit,
        "n": sum(n_masked.values()),
        "n_p_values": matrix.n_p,
        "by_sample": {name: number for name, number in n_masked.items() if number},
    }


def _by_lists(lists: probe_ids.Lists | None) -> list[str]:
    """Reasons that the user's lists give."""
    return [*lists.filters, *([probe_ids.NOT_LISTED] if lists.only is not None else [])] if lists else []


def _not_on(scale: str, scan: Scan) -> str | None:
    """Why values, already made betas, cannot have been on the scale that the config says."""
    numbers = scan.numbers()
    low, high = np.nanmin(numbers["min"]), np.nanmax(numbers["max"])
    if scale == "percent" and high <= 0.01:
        return (
            f"`cohort.values` says percent, but no value is above {100 * high:.3g}: these are betas. Set it to `beta`"
        )
    if scale == "m" and scales.centred_m(numbers["mean"], numbers["sd"], len(scan.samples)):
        return (
            "`cohort.values` says m, but every CpG has the mean 0: these are z-scores or residuals, in which the "
            "levels of methylation are lost. Give the betas"
        )
    if scan.ends is not None:
        rows = numbers["min"], numbers["max"], numbers["mean"]
        n_columns, n_cpgs = scales.mixed(scale, rows, scan.ends, len(scan.cpgs))
        if n_columns < len(scan.samples) and (n_columns or n_cpgs):
            few = many(n_columns, "sample") if n_columns else many(n_cpgs, "CpG")
            one = _TOLD[scale].split(",")[0]
            return (
                f"the values are on two scales: those of {few} lie in 0-1, as betas, and the others are {one}. Bring "
                "all to betas"
            )
    if scale == "m" and low >= 0.4999 and high <= 0.6667:  # M from 0 to 1
        return "`cohort.values` says m, but all values lie in 0-1: these are betas. Set it to `beta`"
    return None


def _state(path: pathlib.Path):
    """What distinguishes a file from the one that was there before: None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


TOO_FEW = f": at least {FEWEST_SAMPLES} are needed (hundreds to say anything about most CpGs)"


def _found(matrix) -> str:
    return " found in the matrix" if matrix else ""

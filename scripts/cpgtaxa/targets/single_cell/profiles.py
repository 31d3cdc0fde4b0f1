"""Methylation of one cell, from the tables and bedGraphs that people have."""

import logging
import pathlib
import re
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from cpgtaxa.errors import InputError, some
from cpgtaxa.targets.single_cell.forms import Layout, agrees, is_cpg, is_methylcytosine, layout_of
from cpgtaxa.targets.single_cell.genome import mixed_names
from cpgtaxa.targets.single_cell.streams import (
    MISSING,
    content,
    is_whole,
    line_blocks,
    odd_rows,
    parse_rows,
    split_line,
)

LARGEST = 2**31 - 1
"""No chromosome is longer; positions are int32."""
PERCENT = 100.0
FEWEST_PERCENT = 50.0
"""Percentages reach this in any cell; values between 1 and this are something else, such as counts."""
OTHER_SITES = re.compile(r"(?:^|[._-])(CHG|CHH|GpC)(?=[._-])")
"""In names of the files that programs write beside those of CpGs."""
MANY = 1000
"""Values that are never 0, in so many rows of a cell, are no states."""
READS = 20
"""Of so many positions with one methylated of several reads, some would have more, were they reads."""


class Observations(NamedTuple):
    """What a cell's file says. by_chrom: chromosome -> (position (n,) int32, 1-based, ascending, each once;
    methylated (n,) float32, total (n,) float32: reads where the file counts them, else fraction and 1).
    counts: rows, missing (no value), duplicates (rows of a position already seen). path: the file.
    """

    by_chrom: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    counts: dict[str, int]
    layout: Layout
    path: str

    def line_of(self, chrom: str, position: int) -> int:
        """The number of the first line with a 1-based position of a chromosome, with or without chr; 0 if none."""
        wanted = chrom.removeprefix("chr"), str(position - self.layout.start)
        for first, block in line_blocks(self.path, str(self.path)):
            if wanted[1].encode() in block:
                for at, line in enumerate(block.split(b"\n")):
                    fields = split_line(line, self.layout.separator)
                    if len(fields) != self.layout.n_fields:
                        continue
                    if (fields[self.layout.chrom].removeprefix("chr"), fields[self.layout.position]) == wanted:
                        return first + at
        return 0


def read_profile(path, name: str, coordinates: str = "auto", columns: list[str] | None = None) -> pd.DataFrame:
    """The states of one cell, where there is no genome to check them with; see `read_observations`.

    Returns chrom (category), position (int64, 1-based; of the C, where both strands are reported), state (int8), by
    chromosome (as first met) and position. `attrs["counts"]`: rows, missing, other_context, duplicates, strands (pairs
    of rows merged because they are neighbours: the two strands of a CpG), undecided (exactly one half, left out).
    """
    found = read_observations(path, f"single_cell.profiles: {path}, cell {name!r}", coordinates, columns)
    counts, parts = dict(found.counts, strands=0, undecided=0), []
    for chrom, observed in found.by_chrom.items():
        (position, methylated, total), merged = merge_strands(*observed)
        state, decided = states(methylated, total)
        counts["strands"] += merged
        counts["undecided"] += int((~decided).sum())
        parts.append((chrom, position[decided].astype(np.int64), state[decided]))
    frame = pd.DataFrame(
        {
            "chrom": pd.Categorical.from_codes(
                np.repeat(np.arange(len(parts)), [len(position) for _, position, _ in parts]),
                [chrom for chrom, _, _ in parts],
            ),
            "position": np.concatenate([position for _, position, _ in parts]),
            "state": np.concatenate([state for _, _, state in parts]),
        }
    )
    frame.attrs["counts"] = counts
    return frame


def states(methylated: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """State (int8) and whether it is decided (bool): methylated above one half, unmethylated below."""
    twice = 2 * methylated
    return (twice > total).astype(np.int8), twice != total


def merge_strands(position, methylated, total):
    """Neighbouring positions p and p + 1 are the C of a CpG on either strand: merged to p, from the left.

    All (n,), positions ascending, each once. Returns the three merged, and how many pairs there were. Of CGCG, whose
    middle two alone were observed, this makes one CpG: with a genome, see `sites.place`.
    """
    if len(position) == 0:
        return (position, methylated, total), 0
    fresh = np.diff(position, prepend=position[0] - 2) != 1
    first = np.maximum.accumulate(np.where(fresh, np.arange(len(position)), 0))
    second = (np.arange(len(position)) - first) % 2 == 1
    return merge(np.where(second, position - 1, position), methylated, total), int(second.sum())


def merge(position, methylated, total):
    """One entry for each position: methylated and total summed. position (n,) ascending."""
    starts = np.flatnonzero(np.diff(position, prepend=-1))
    if len(starts) == len(position):
        return position, methylated, total
    return position[starts], np.add.reduceat(methylated, starts), np.add.reduceat(total, starts)


def read_observations(path, what: str, coordinates: str = "auto", columns: list[str] | None = None) -> Observations:
    """What a cell's file says, block by block, before any genome is looked at.

    path: plain or gzipped text (recognised by content), one row per CpG or per strand of it, `#` comments allowed, in
    any order. What its columns are: `forms.layout_of`. coordinates: "auto", or "one_based" or "zero_based" where that
    is wrong. columns: their names where the config gives them. what: how messages call the file.

    Values are states, fractions, or percentages where any exceeds 1; of rows of the same position the mean is taken,
    weighted by reads where there are counts. Missing values (NA, NaN, a dot, nothing; no reads) are unobserved; rows
    of other contexts than CG and of other modifications than 5mC are left out. Raises InputError: rows with other
    columns or no numbers (by line), values out of range, values and reads that disagree, values that seem to be counts
    of reads, no observation, chr1 beside 1, and as `forms.layout_of` and `streams.opened`.
    """
    if other := OTHER_SITES.search(pathlib.Path(path).name):
        raise InputError(
            f"{what}: its name says {other[1]}, which is no methylation of CpGs: leave the file out, or rename it"
        )
    layout, parts, counts = None, [], {"rows": 0, "missing": 0, "other_context": 0, "duplicates": 0}
    names: dict[str, int] = {}
    start_lines, seen = [], _Seen()
    for first, block in line_blocks(path, what):
        numbers, rows = content(first, block)
        if layout is None:
            start_lines.append(block)
            layout, header_line = layout_of(b"".join(start_lines), rows, what, coordinates, columns)
            if layout is None:
                continue
            if header_line:
                numbers = np.arange(first, first + rows.count(b"\n")) if numbers is None else numbers
                numbers, rows = numbers[1:], rows[rows.index(b"\n") + 1 :]
        if not rows:
            continue
        numbers = np.arange(first, first + rows.count(b"\n")) if numbers is None else numbers
        chrom, position, methylated, total, other = _parsed(rows, layout, first, block, numbers, what)
        counts["rows"] += len(position)
        _check_range(position, methylated, total, layout, numbers, what)
        kept = ~np.isnan(methylated) & (total > 0) & ~other
        counts["other_context"] += int(other.sum())
        counts["missing"] += int((~kept & ~other).sum())
        seen.add(methylated if layout.counted else methylated / np.maximum(total, 1), total, numbers, kept)
        codes = np.array([names.setdefault(name, len(names)) for name in chrom.dictionary.to_pylist()], np.int32)
        code = codes[chrom.indices.to_numpy()] if len(codes) else np.empty(0, np.int32)
        start = np.int64(layout.start)
        parts.append((code[kept], (position[kept] + start).astype(np.int32), methylated[kept], total[kept]))
    if not seen.n:
        others = f", {counts['other_context']:,} of other contexts or modifications" if counts["other_context"] else ""
        raise InputError(
            f"{what}: a cell with no observations ({counts['rows']:,} rows, {counts['missing']:,} without a value"
            f"{others}): leave it out, or check how the file was made"
        )
    if pairs := mixed_names(names):
        raise InputError(
            f"{what} names chromosomes in two ways: {some([f'{a} and {b}' for a, b in pairs])}. Write them in one way"
        )
    scale = seen.reads(layout, what) if layout.counted else seen.scale(layout, what)
    by_chrom = _grouped(parts, list(names), scale, counts)
    n = sum(len(one[0]) for one in by_chrom.values())
    logging.info(f"{what}: {n:,} positions; read as {layout.words()}")
    return Observations(by_chrom, counts, layout, path)


class _Seen:
    """What is to be known of all values of a file before they are believed."""

    def __init__(self):
        self.n, self.highest, self.at_highest, self.lowest = 0, 0.0, 0, np.inf
        self.whole, self.most_reads, self.single = True, 0.0, 0

    def add(self, methylated, total, numbers, kept) -> None:
        """A block's values: methylated, total (n,) float32; numbers: of lines; kept: which count."""
        if not kept.any():
            return
        values = methylated[kept]
        self.n += len(values)
        top = int(values.argmax())
        if values[top] > self.highest:
            self.highest, self.at_highest = float(values[top]), int(numbers[kept][top])
        self.lowest = min(self.lowest, float(values.min()))
        self.whole &= bool((values == np.rint(values)).all())
        reads = total[kept]
        self.most_reads = max(self.most_reads, float(reads.max()))
        self.single += int(((values == 1) & (reads > 1)).sum())

    def reads(self, layout: Layout, what: str) -> float:
        """1; raises InputError where counts of methylated reads are none."""
        if layout.unmeth is None and self.highest <= 1 and self.single >= READS:
            raise InputError(
                f"{what}: no position has more than 1 methylated read, though {self.single:,} of them have up to "
                f"{self.most_reads:g} reads: the column is a state or a rate. Call it `value` (in the header, or in "
                "`single_cell.columns`)"
            )
        return 1.0

    def scale(self, layout: Layout, what: str) -> float:
        """1 for states and fractions, 100 for percentages. Raises InputError where values may be neither."""
        if layout.percent:
            if 0 < self.highest <= 1:
                raise InputError(
                    f"{what}: the column is called a percentage, and no value exceeds {self.highest:g}: if these are "
                    "fractions, call it `fraction` (in the header, or in `single_cell.columns`)"
                )
            return PERCENT
        advice = (
            "Counts of reads need names: chrom, pos, meth, unmeth, in a header or in `single_cell.columns` (for values "
            "that are right, chrom, pos, value)"
        )
        if self.highest > 1:
            where = f"{what} has values up to {self.highest:g} (line {self.at_highest:,})"
            if self.highest <= FEWEST_PERCENT:
                raise InputError(
                    f"{where}: neither states or fractions (0 to 1) nor percentages, which would reach higher. {advice}"
                )
            if self.whole and self.highest < PERCENT and not layout.named:
                raise InputError(
                    f"{where}, all whole, and never 100: counts of reads, or percentages? {advice}; percentages are "
                    "called `percent`"
                )
        if self.whole and self.lowest >= 1 and self.n >= MANY and not layout.named:
            raise InputError(
                f"{what}: none of {self.n:,} values is 0: states of CpGs are not all methylated; is the column that of "
                f"reads? {advice}"
            )
        return PERCENT if self.highest > 1 else 1.0


def _parsed(rows: bytes, layout: Layout, first: int, block: bytes, numbers: np.ndarray, what: str):
    """Columns of a block: chrom (dictionary), position int64, methylated and total float32, NaN where missing; which
    rows are of another context (bool)."""
    text = pa.dictionary(pa.int32(), pa.string())
    values = [at for at in (layout.value, layout.meth, layout.unmeth, layout.total) if at is not None]
    texts = [at for at in (layout.context, layout.code) if at is not None]
    wanted = {layout.chrom: text, layout.position: pa.int64()}
    if layout.end is not None:
        wanted[layout.end] = pa.int64()
    wanted |= dict.fromkeys(values, pa.float64()) | dict.fromkeys(texts, text) | dict.fromkeys(layout.empty, pa.null())
    how = {"separator": layout.separator, "n_fields": layout.n_fields}
    columns = parse_rows(rows, wanted=wanted, quoted=layout.quoted, **how)
    at = dict(zip(wanted, columns or (), strict=False))
    if (
        columns is None
        or at[layout.position].null_count
        or (layout.end is not None and at[layout.end].null_count)
        or "" in at[layout.chrom].dictionary.to_pylist()
    ):
        there, lines = set(numbers.tolist()), enumerate(block.split(b"\n")[:-1], first)
        block = b"".join((line if number in there else b"") + b"\n" for number, line in lines)  # without its header
        raise odd_rows(first, block, check=_row_check(layout, values), what=what, **how)
    if len(at[layout.position]) != len(numbers):
        raise InputError(
            f"{what}: the {len(numbers):,} lines from line {first:,} on are {len(at[layout.position]):,} rows: a "
            "quotation mark lacks its partner, or line ends are mixed. Correct them"
        )
    found = {column: at[column].to_numpy(zero_copy_only=False) for column in values}
    if layout.end is not None:
        _check_ends(at[layout.position].to_numpy(), at[layout.end].to_numpy(), layout, numbers, what)
    other = np.zeros(len(at[layout.position]), dtype=bool)
    for column, fits in ((layout.context, is_cpg), (layout.code, is_methylcytosine)):
        if column is not None:
            there = at[column].combine_chunks() if isinstance(at[column], pa.ChunkedArray) else at[column]
            odd = np.array([not fits(one) for one in there.dictionary.to_pylist()], dtype=bool)
            other |= odd[there.indices.to_numpy()] if len(odd) else False
    if layout.counted:
        methylated = found[layout.meth]
        total = methylated + found[layout.unmeth] if layout.unmeth is not None else found[layout.total]
        _check_reads(methylated, total, found.get(layout.value), numbers, what)
    else:
        methylated, total = found[layout.value], np.ones(len(other))
        if layout.total is not None:  # percentages of so many reads
            total = np.nan_to_num(found[layout.total])
            methylated = methylated * total
    return (
        at[layout.chrom],
        at[layout.position].to_numpy(),
        *(one.astype(np.float32) for one in (methylated, total)),
        other,
    )


def _check_ends(start: np.ndarray, end: np.ndarray, layout: Layout, lines: np.ndarray, what: str) -> None:
    """Raise InputError naming the first row whose interval is not as long as the others."""
    bad = np.flatnonzero(~np.isin(end - start, layout.spans))
    if not len(bad):
        return
    row = bad[0]
    where = f"{what}, line {lines[row]:,}: {start[row]} to {end[row]}"
    if end[row] < start[row]:
        raise InputError(
            f"{where} ends before it starts: correct the row, or name the columns in `single_cell.columns`"
        )
    if end[row] == start[row] or layout.spans == (0,):
        raise InputError(f"{where}: start and end are the same in some rows and not in others: write all in one way")
    raise InputError(
        f"{where} is no single CpG, which has 1 or 2 bases: give the methylation of single CpGs, and not of windows"
    )


def _check_reads(methylated, total, value, lines: np.ndarray, what: str) -> None:
    """Raise InputError naming the first row whose reads are no whole numbers, or do not fit its value."""
    with np.errstate(invalid="ignore"):
        odd = (methylated != np.rint(methylated)) | (total != np.rint(total))
    bad = np.flatnonzero(odd & ~np.isnan(methylated) & ~np.isnan(total))
    if len(bad):
        row = bad[0]
        raise InputError(
            f"{what}, line {lines[row]:,}: {methylated[row]:g} methylated of {total[row]:g} reads are no whole "
            "numbers: call a rate `value` (in the header, or in `single_cell.columns`)"
        )
    if value is None:
        return
    bad = np.flatnonzero(~agrees(value, methylated, total))
    if len(bad):
        row = bad[0]
        raise InputError(
            f"{what}, line {lines[row]:,}: the value {value[row]:g} is not the share of {methylated[row]:g} methylated "
            f"of {total[row]:g} reads: name the columns in `single_cell.columns`, `-` for those that are not meant"
        )


def _row_check(layout: Layout, values: list[int]):
    """What is wrong with a row's fields, for a message; None if nothing is."""

    def check(fields: list[str]) -> str | None:
        if not fields[layout.chrom]:
            return "no chromosome is named"
        for at in (layout.position, layout.end):
            if at is not None and not is_whole(fields[at].removeprefix("-")):
                return f"the {'position' if at == layout.position else 'end'} {fields[at]!r} is no whole number"
        for at in values:
            try:
                float(fields[at] or "nan")
            except ValueError:
                if fields[at] not in MISSING:
                    comma = " (a decimal comma: write a point)" if re.fullmatch(r"-?\d+,\d+", fields[at]) else ""
                    return f"the value {fields[at]!r} is no number{comma}"
        for at in layout.empty:
            if fields[at]:
                return f"{fields[at]!r} stands behind the last column, where other rows have nothing"
        return None

    return check


def _check_range(position, methylated, total, layout: Layout, lines: np.ndarray, what: str) -> None:
    """Raise InputError naming the first row with an impossible position or value."""
    lowest = 1 - layout.start
    bad = np.flatnonzero((position < lowest) | (position >= LARGEST))
    if len(bad):
        hint = ". Positions that count from 0: set `single_cell.coordinates: zero_based`" if lowest else ""
        raise InputError(f"{what}, line {lines[bad[0]]:,}: the position {position[bad[0]]} cannot be{hint}")
    most = total if layout.counted else PERCENT * total
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero((methylated < 0) | (methylated > most) | np.isinf(methylated))
    if len(bad):
        value = f"{methylated[bad[0]]:g}"
        if layout.counted:
            raise InputError(
                f"{what}, line {lines[bad[0]]:,}: {value} methylated of {total[bad[0]]:g} reads cannot be: check the "
                "columns of counts"
            )
        raise InputError(
            f"{what}, line {lines[bad[0]]:,}: the value {value} is neither a state or fraction (0 to 1) nor a "
            "percentage (0 to 100). Leave unobserved CpGs out, or write NA"
        )


def _grouped(parts: list, names: list[str], scale: float, counts: dict) -> dict:
    """Observations by chromosome, sorted, each position once; takes the parts apart to save memory."""
    columns = []
    for at in range(4):
        columns.append(np.concatenate([part[at] for part in parts]))
        parts[:] = [(*part[:at], None, *part[at + 1 :]) for part in parts]
    code, position, methylated, total = columns
    if scale != 1.0:
        methylated /= np.float32(scale)
    steps = np.diff(code)
    if not ((steps > 0) | ((steps == 0) & (np.diff(position) > 0))).all():
        order = np.lexsort((position, code))
        code, position, methylated, total = code[order], position[order], methylated[order], total[order]
    ends = np.searchsorted(code, np.arange(len(names) + 1))
    by_chrom = {}
    for number, name in enumerate(names):
        piece = slice(ends[number], ends[number + 1])
        if piece.start == piece.stop:
            continue
        merged = merge(position[piece], methylated[piece], total[piece])
        counts["duplicates"] += piece.stop - piece.start - len(merged[0])
        by_chrom[name] = merged
    counts["duplicates"] = int(counts["duplicates"])
    return by_chrom

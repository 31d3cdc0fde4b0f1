"""Methylation of one cell, from the tables and bedGraphs that people have."""

import logging
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from cpgtaxa.errors import InputError, some
from cpgtaxa.input.texts import separator_of
from cpgtaxa.targets.single_cell.genome import mixed_names
from cpgtaxa.targets.single_cell.streams import content, is_whole, line_blocks, odd_rows, parse_rows, split_line

ONE_BASED, ZERO_BASED = "one_based", "zero_based"
LARGEST = 2**31 - 1
"""No chromosome is longer; positions are int32."""
PERCENT = 100.0
FEWEST_PERCENT = 50.0
"""Percentages reach this in any cell; values between 1 and this are something else, such as counts."""

HEADINGS = {
    "chrom": ("chrom", "chr", "chromosome", "chromo", "seqnames", "seqname", "contig"),
    "position": ("position", "pos", "pos1", "location", "start", "chromstart", "pos0"),
    "end": ("end", "stop", "chromend"),
    "value": ("value", "methylation", "state", "beta", "rate", "level", "ratio", "fraction", "percent", "score"),
    "meth": ("meth", "methylated", "count_methylated", "n_meth", "mc", "mc_count"),
    "unmeth": ("unmeth", "unmethylated", "count_unmethylated", "n_unmeth"),
    "total": ("total", "coverage", "cov", "depth", "reads"),
}
"""What columns of a table with a header may be called, in small letters, by what they hold."""


class Layout(NamedTuple):
    """Where things stand in the rows of a file: columns counted from 0, None where there is none.

    start: what to add to a position to count from 1. why: how `start` was told, for messages.
    """

    separator: str
    n_fields: int
    chrom: int
    position: int
    value: int | None
    meth: int | None
    unmeth: int | None
    total: int | None
    start: int
    why: str


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


def read_profile(path, name: str, coordinates: str = "auto") -> pd.DataFrame:
    """The states of one cell, where there is no genome to check them with; see `read_observations`.

    Returns chrom (category), position (int64, 1-based; of the C, where both strands are reported), state (int8), by
    chromosome (as first met) and position. `attrs["counts"]`: rows, missing, duplicates, strands (pairs of rows merged
    because they are neighbours: the two strands of a CpG), undecided (exactly one half, left out).
    """
    found = read_observations(path, f"single_cell.profiles: {path}, cell {name!r}", coordinates)
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


def read_observations(path, what: str, coordinates: str = "auto") -> Observations:
    """What a cell's file says, block by block, before any genome is looked at.

    path: plain or gzipped text (told by content), one row per CpG or per strand of it, `#` comments allowed, in any
    order. Without a header: three columns are chromosome, 1-based position, value; four and more are chromosome,
    start, end, value and whatever else (BED, bedGraph, MethylDackel), 0-based, but 1-based where start and end are the
    same in each row looked at (Bismark's coverage). With a header, columns are found by HEADINGS: a value, or counts
    of methylated and of unmethylated or all reads. A `track` line makes it a bedGraph. coordinates: "auto", or
    "one_based" or "zero_based" where that is wrong. what: how messages call the file.

    Values are states, fractions, or percentages where any exceeds 1; of rows of the same position the mean is taken,
    weighted by reads where there are counts. Missing values (NA, NaN, nothing; no reads) are unobserved. Raises
    InputError: rows with other columns or no numbers (by line), values out of range, no observation, chr1 beside 1,
    and as `streams.opened`.
    """
    layout, parts, counts = None, [], {"rows": 0, "missing": 0, "duplicates": 0}
    names: dict[str, int] = {}
    highest, at_highest, start_lines = 0.0, 0, []
    for first, block in line_blocks(path, what):
        numbers, rows = content(first, block)
        if layout is None:
            start_lines.append(block)
            layout, header_line = _layout(b"".join(start_lines), rows, what, coordinates)
            if layout is None:
                continue
            if header_line:
                numbers = np.arange(first, first + rows.count(b"\n")) if numbers is None else numbers
                numbers, rows = numbers[1:], rows[rows.index(b"\n") + 1 :]
        if not rows:
            continue
        chrom, position, methylated, total = _parsed(rows, layout, first, block, what)
        counts["rows"] += len(position)
        numbers = np.arange(first, first + len(position)) if numbers is None else numbers
        _check_range(position, methylated, total, layout, numbers, what)
        if layout.value is not None and len(methylated):
            top = int(np.nanargmax(np.where(np.isnan(methylated), -1, methylated)))
            if methylated[top] > highest:
                highest, at_highest = float(methylated[top]), int(numbers[top])
        kept = ~np.isnan(methylated) & (total > 0)
        counts["missing"] += int((~kept).sum())
        codes = np.array([names.setdefault(name, len(names)) for name in chrom.dictionary.to_pylist()], np.int32)
        code = codes[chrom.indices.to_numpy()] if len(codes) else np.empty(0, np.int32)
        start = np.int64(layout.start)
        parts.append((code[kept], (position[kept] + start).astype(np.int32), methylated[kept], total[kept]))
    if not sum(len(part[0]) for part in parts):
        raise InputError(
            f"{what}: a cell with no observations ({counts['rows']:,} rows, {counts['missing']:,} without a value): "
            "leave it out, or check how the file was made"
        )
    if pairs := mixed_names(names):
        raise InputError(
            f"{what} names chromosomes in two ways: {some([f'{a} and {b}' for a, b in pairs])}. Write them in one way"
        )
    scale = 1.0
    if highest > 1:
        if highest <= FEWEST_PERCENT:
            raise InputError(
                f"{what} has values up to {highest:g} (line {at_highest:,}): neither states or fractions (0 to 1) nor "
                "percentages, which would reach higher. Counts of reads need a header: chrom, pos, meth, unmeth"
            )
        scale = PERCENT
    by_chrom = _grouped(parts, list(names), scale, counts)
    logging.info(f"{what}: {sum(len(one[0]) for one in by_chrom.values()):,} positions")
    return Observations(by_chrom, counts, layout, path)


def _parsed(rows: bytes, layout: Layout, first: int, block: bytes, what: str):
    """Columns of a block: chrom (dictionary), position int64, methylated and total float32, NaN where missing."""
    wanted = {layout.chrom: pa.dictionary(pa.int32(), pa.string()), layout.position: pa.int64()}
    values = [at for at in (layout.value, layout.meth, layout.unmeth, layout.total) if at is not None]
    wanted |= dict.fromkeys(values, pa.float64())
    columns = parse_rows(rows, separator=layout.separator, n_fields=layout.n_fields, wanted=wanted)
    if columns is None or columns[1].null_count or "" in columns[0].dictionary.to_pylist():
        judge = _judge(layout, values)
        raise odd_rows(first, block, separator=layout.separator, n_fields=layout.n_fields, judge=judge, what=what)
    chrom, position, *numbers = columns
    found = dict(zip(values, (column.to_numpy(zero_copy_only=False) for column in numbers), strict=True))
    if layout.value is not None:
        methylated = found[layout.value]
        total = np.ones(len(methylated), dtype=np.float32)
    else:
        methylated = found[layout.meth]
        total = methylated + found[layout.unmeth] if layout.unmeth is not None else found[layout.total]
    return chrom, position.to_numpy(), methylated.astype(np.float32), total.astype(np.float32)


def _judge(layout: Layout, values: list[int]):
    """What is wrong with a row's fields, for a message; None if nothing is."""

    def judge(fields: list[str]) -> str | None:
        if not fields[layout.chrom]:
            return "no chromosome is named"
        if not is_whole(fields[layout.position].removeprefix("-")):
            return f"the position {fields[layout.position]!r} is no whole number"
        for at in values:
            try:
                float(fields[at] or "nan")
            except ValueError:
                if fields[at] not in ("NA", "N/A", "#N/A", "NULL", "null"):
                    return f"the value {fields[at]!r} is no number"
        return None

    return judge


def _check_range(position, methylated, total, layout: Layout, lines: np.ndarray, what: str) -> None:
    """Raise InputError naming the first row with an impossible position or value."""
    lowest = 1 - layout.start
    bad = np.flatnonzero((position < lowest) | (position >= LARGEST))
    if len(bad):
        hint = ". Positions that count from 0: set `single_cell.coordinates: zero_based`" if lowest else ""
        raise InputError(f"{what}, line {lines[bad[0]]:,}: the position {position[bad[0]]} cannot be{hint}")
    counted = layout.value is None
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero((methylated < 0) | (methylated > (total if counted else PERCENT)) | np.isinf(methylated))
    if len(bad):
        value = f"{methylated[bad[0]]:g}"
        if counted:
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


# --- what the columns are --------------------------------------------------------------------------------------------


def _layout(head: bytes, rows: bytes, what: str, coordinates: str) -> tuple[Layout | None, bool]:
    """The layout told by the first lines, and whether the first of `rows` is a header; None where none holds data."""
    lines = rows.split(b"\n", 1001)[:1000]
    lines = [line for line in lines if line.strip()]
    if not lines:
        return None, False
    text = lines[0].decode("utf-8", "replace")
    separator = separator_of(text)
    if separator is None:
        raise InputError(
            f"{what} is no table: its first row is the single column {text.strip()[:60]!r}. Expected: chromosome, "
            "position and value, separated by tabs"
        )
    fields = [split_line(line, separator) for line in lines]
    track = any(line.startswith(b"track") for line in head.split(b"\n", 1000))
    header = len(fields[0]) > 1 and not any(is_whole(field.removeprefix("-")) for field in fields[0][1:3])
    if header:
        return _by_header(fields, separator, what, coordinates), True
    commented = [line[1:] for line in head[: head.find(lines[0])].split(b"\n") if line.startswith(b"#")]
    named = split_line(commented[-1], separator) if commented else []
    if len(named) == len(fields[0]) and named[0].lower() in HEADINGS["chrom"]:
        return _by_header([named, *fields], separator, what, coordinates), False
    n = len(fields[0])
    if n < 3 or (track and n < 4):
        expected = "chromosome, start, end and value" if track else "chromosome, position and value"
        raise InputError(f"{what} has {n} columns, expected {expected}: check the file, and its separator")
    if n == 3:
        start, why = _start(coordinates, 0, "three columns")
        return Layout(separator, n, 0, 1, 2, None, None, None, start, why), False
    if not is_whole(fields[0][2]):
        raise InputError(
            f"{what}: the third of {n} columns, {fields[0][2]!r}, is no end of an interval. Files that are neither BED "
            "nor bedGraph need a header that names the columns: chrom, pos, and value or meth and unmeth"
        )
    one = not track and all(len(row) == n and row[1] == row[2] for row in fields)
    reason = "start and end are the same, as in Bismark's coverage" if one else "start and end, as in BED"
    start, why = _start(coordinates, 0 if one else 1, reason)
    return Layout(separator, n, 0, 1, 3, None, None, None, start, why), False


def _start(coordinates: str, told: int, why: str) -> tuple[int, str]:
    """What to add to positions, and how that is known."""
    if coordinates == "auto":
        return told, why
    return (0 if coordinates == ONE_BASED else 1), f"single_cell.coordinates: {coordinates}"


def _by_header(fields: list[list[str]], separator: str, what: str, coordinates: str) -> Layout:
    """The layout of a file whose first row names the columns."""
    names = [name.strip("#\"' ").lower() for name in fields[0]]
    columns = {}
    for part, headings in HEADINGS.items():
        there = [names.index(heading) for heading in headings if heading in names]
        columns[part] = there[0] if there else None
    counted = columns["meth"] is not None and (columns["unmeth"] is not None or columns["total"] is not None)
    lacking = [part for part in ("chrom", "position") if columns[part] is None]
    if columns["value"] is None and not counted:
        lacking.append("value (or meth and unmeth)")
    if lacking:
        raise InputError(
            f"{what}: the header names no column for {', '.join(lacking)}; found {some(fields[0], 12)}. Known names "
            f"are, for example, {', '.join(found[0] for found in HEADINGS.values())}"
        )
    if columns["value"] is not None:
        columns["meth"] = columns["unmeth"] = columns["total"] = None
    elif columns["unmeth"] is not None:
        columns["total"] = None
    heading, end = names[columns["position"]], columns.pop("end")
    rows = [row for row in fields[1:] if len(row) == len(names)]
    interval = end is not None and any(row[end] != row[columns["position"]] for row in rows)
    told = int(heading == "pos0" or (heading in ("start", "chromstart") and interval))
    start, why = _start(coordinates, told, f"the column {heading!r}")
    return Layout(separator, len(names), **columns, start=start, why=why)

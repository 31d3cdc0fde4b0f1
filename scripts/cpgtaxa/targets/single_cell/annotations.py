"""Regions of the genome from BED files, and the sites that lie in them."""

import numpy as np
import pandas as pd
import pyarrow as pa

from cpgtaxa.errors import InputError
from cpgtaxa.input.texts import separator_of
from cpgtaxa.targets.single_cell.genome import match_names
from cpgtaxa.targets.single_cell.streams import content, is_whole, line_blocks, odd_rows, parse_rows, split_line


def read_bed(path, name: str) -> pd.DataFrame:
    """The intervals of a BED file: chrom (category), start, end (int64), 0-based, end excluded, as in the file.

    path: plain or gzipped text (recognised by content), three columns or more; `track`, `browser` and `#` lines are
    passed over. Raises InputError: rows with other columns or no numbers (by line), intervals that end before they
    start, no interval at all, and as `streams.opened`.
    """
    what = f"single_cell.annotations.{name}: {path}"
    separator, n_fields, parts = None, 0, []
    names: dict[str, int] = {}
    wanted = {0: pa.dictionary(pa.int32(), pa.string()), 1: pa.int64(), 2: pa.int64()}
    for first, block in line_blocks(path, what):
        _, rows = content(first, block)
        if not rows:
            continue
        if separator is None:
            line = rows.split(b"\n", 1)[0]
            separator = separator_of(line.decode("utf-8", "replace")) or "\t"
            n_fields = len(split_line(line, separator))
            if n_fields < 3:
                raise InputError(f"{what} has {n_fields} columns, expected chromosome, start and end: is this BED?")
        columns = parse_rows(rows, separator=separator, n_fields=n_fields, wanted=wanted)
        if columns is not None and not (columns[1].null_count or columns[2].null_count):
            chrom, start, end = columns[0], columns[1].to_numpy(), columns[2].to_numpy()
            if ((start >= 0) & (end >= start)).all():
                codes = np.array([names.setdefault(one, len(names)) for one in chrom.dictionary.to_pylist()], np.int32)
                parts.append((codes[chrom.indices.to_numpy()], start, end))
                continue
        raise odd_rows(first, block, separator=separator, n_fields=n_fields, check=_problem, what=what)
    if not parts:
        raise InputError(f"{what} holds no interval: check how the file was made")
    code, start, end = (np.concatenate([part[at] for part in parts]) for at in range(3))
    return pd.DataFrame({"chrom": pd.Categorical.from_codes(code, list(names)), "start": start, "end": end})


def _problem(fields: list[str]) -> str | None:
    """What is wrong with a row's fields, for a message; None if nothing is."""
    start, end = fields[1:3]
    if not (is_whole(start) and is_whole(end)):
        return f"{start!r} to {end!r} is no interval in whole numbers"
    return f"the interval ends before it starts ({start} to {end})" if int(end) < int(start) else None


def overlap(sites: pd.DataFrame, bed: pd.DataFrame) -> np.ndarray:
    """Whether the C of each site lies in an interval, (n,) bool.

    sites: chrom, position (1-based), in any order. bed: chrom, start, end (0-based, end excluded), in any order, may
    overlap. Names of chromosomes may differ by `chr`. DeepCpG compares 1-based positions with BED's starts as they
    are, one base off; here both are 0-based.
    """
    within = np.zeros(len(sites), dtype=bool)
    chroms = sites["chrom"].astype("category")
    names = match_names(bed["chrom"].cat.categories, chroms.cat.categories)
    rows = chroms.groupby(chroms, observed=True).indices
    for name, index in bed.groupby("chrom", observed=True).indices.items():
        here = rows.get(names[name])
        if here is not None:
            intervals = reach(bed["start"].to_numpy()[index], bed["end"].to_numpy()[index])
            within[here] |= inside(sites["position"].to_numpy()[here], *intervals)
    return within


def reach(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts in order, and the furthest end of all intervals up to each."""
    order = np.argsort(start, kind="stable")
    return start[order], np.maximum.accumulate(end[order])


def inside(position: np.ndarray, start: np.ndarray, furthest: np.ndarray) -> np.ndarray:
    """Whether 1-based positions lie in the intervals that `reach` made ready, (n,) bool."""
    before = np.searchsorted(start, position - 1, side="right") - 1
    return (before >= 0) & (furthest[before] > position - 1)

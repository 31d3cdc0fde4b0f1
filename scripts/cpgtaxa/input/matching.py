"""Which columns of the matrix are the sheet's samples, and what may have become of those that are not there."""

import re

import pandas as pd

from cpgtaxa.errors import some
from cpgtaxa.input.sheets import SCIENTIFIC, numbered
from cpgtaxa.input.streams import MISSING, many


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


def _mangled(name: str) -> str:
    """The name R's make.names would make of it."""
    name = re.sub(r"[^A-Za-z0-9._]", ".", name)
    return name if re.match(r"[A-Za-z]|\.(?!\d)", name) else "X" + name


_CHANGES = {
    "R changed the names: use `check.names = FALSE` when reading the matrix in R": _mangled,
    "they differ only in upper and lower case": str.casefold,
    "a program made numbers of the ids, with a point (1001.0): save the column as text": lambda n: n.removesuffix(".0"),
    "a spreadsheet took the leading zeros away: format the column as text before filling it": lambda n: n.lstrip("0"),
    "they differ only in blanks and punctuation": lambda name: re.sub(r"[\W_]+", "", name),
}
"""What happens to ids on their way, and how to see that it did."""


def _rewritten(lacking, extra) -> str:
    """How the sheet's ids that are `lacking` in the matrix became others than its `extra`; "" where nothing shows."""
    if any(SCIENTIFIC.fullmatch(name) for name in [*lacking, *extra]):
        return (
            "a spreadsheet rewrote long numbers (2.00926E+11), and their digits are lost: export the sheet again from "
            "its source, the column formatted as text"
        )
    for hint, change in _CHANGES.items():
        changed = {change(name) for name in lacking}
        others = set(extra) if change is _mangled else {change(name) for name in extra}
        if changed and len(changed & others) > len(changed) / 2:
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


def match_samples(matrix, beta, samples, wanted: list[str], unmatched: str, warn) -> tuple[list[int], list[str], bool]:
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
        if lacking:
            hint = _rewritten(lacking, extra)
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
        remedy = ". Correct the ids, or set `cohort.unmatched: drop` to use only samples found in both"
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
    problem = (
        f"No sample of the sheet {samples} ({some(wanted, 3)}) is in the header of the matrix {beta} "
        f"({some(matrix.samples, 3)}).{hint} Correct the ids, or set `cohort.columns.sample_id` to the column that "
        "holds them"
    )
    return list(range(len(matrix.samples))), [problem], True

"""Lists of CpGs and tables about CpGs, as they are published: read, and matched with the ids of a cohort."""

import dataclasses
import math
import pathlib
import re
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cpgtaxa.errors import InputError, gathered, refuse, some
from cpgtaxa.files import naming_damage
from cpgtaxa.input.delimited import LOOKED_AT, aligned, commas_for_points, pointed, separator_among
from cpgtaxa.input.probes import KIND, cpg_of
from cpgtaxa.input.texts import csv_rows, lines_of, read_table, read_taxa, read_text
from cpgtaxa.names import KNOWN, TAXA, UNCLASSIFIED

ID_NAMES = (
    "cpg", "cpgs", "cpgmarker", "cpgid", "cpgsite", "cpgname", "probe", "probes", "probeid", "probename", "cgid",
    "targetid", "marker", "markers", "ilmnid", "name", "id", "site", "var", "feature",
)  # fmt: skip
"""How published tables call the column of CpG ids, letters and digits alone, in small letters."""
WEIGHT_NAMES = (
    "weight", "weights", "coefficient", "coefficients", "coef", "coefs", "coefficienttraining", "cpgweight",
    "modelcoefficient", "regressioncoefficient", "betacoefficient", "beta", "estimate", "effect", "effectsize",
    "slope", "logfc", "sign", "direction",
)  # fmt: skip
"""The same for the weight."""
SIGNS = {
    **dict.fromkeys(("+", "positive", "pos", "up", "hyper", "hypermethylated", "gain", "increase"), 1.0),
    **dict.fromkeys(("-", "negative", "neg", "down", "hypo", "hypomethylated", "loss", "decrease"), -1.0),
}
"""Weights in words."""
INTERCEPTS = ("(intercept)", "intercept", "(constant)", "constant")
"""Rows of a table of weights that are no CpG."""
MISSING = ("", "NA", "NaN", "nan", "null", "None", ".")
NONE = "none"
"""The category of a CpG whose field is empty."""
ROW_NAMES = "row_names"
"""What the row names of R's tables are called, as in `input.tables`."""
MOST_CATEGORIES = 60
PLACE = re.compile(r"chr[\dXYM]+[:_]\d+")


def base_ids(ids) -> np.ndarray:
    """The ids without EPICv2's suffix (cg00000029_TC21 → cg00000029), array of str objects."""
    return np.array([cpg_of(name) for name in ids], dtype=object)


@dataclasses.dataclass
class CpgList:
    """CpGs of a list, each once, ids without suffix; weights (n,) float64, or None where it has none."""

    name: str
    cpgs: np.ndarray
    weights: np.ndarray | None
    notes: list[str]


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'").strip()


def _plain(name: str | None) -> str:
    return re.sub(r"[^a-z0-9]", "", (name or "").lower())


def _column(names, wanted) -> int | None:
    lower = [_plain(name) for name in names]
    return next((lower.index(name) for name in wanted if name in lower), None)


def _is_probe(field: str) -> bool:
    """Whether a field is an id of the arrays, or a place in the genome."""
    return KIND.match(field.lower()) is not None or PLACE.match(field) is not None


def read_list(name: str, path, key: str) -> CpgList:
    """A list of CpGs: one a line (with or without a header), or a table of ids and perhaps weights.

    Text in UTF-8, may be gzipped; lines that begin with # are comments, lines above the header are passed over. The
    column of ids is that of most array ids, or else called so (ID_NAMES); that of weights is called so (WEIGHT_NAMES),
    or is the second of two without a header, if it is all numbers. Rows called intercept are left out. `notes` name
    what was passed over and that weights are not known. Raises InputError with all problems: no CpG, weights that are
    no numbers, ids listed twice with different weights, columns that nothing distinguishes.
    """
    lines = ["" if line.lstrip().startswith("#") else line for line in lines_of(read_text(path, key))]
    if not any(line.strip() for line in lines):
        raise InputError(f"{key}: {path} holds comments alone: one CpG a line is expected")
    with_ids = [line for line in lines if any(map(_is_probe, re.split(r"[\s,;\"']+", line)))]
    separator = separator_among(with_ids or lines) or ","
    rows = [
        (line, [_unquoted(field) for field in row if field or separator != " "])
        for line, row in csv_rows("\n".join(lines), separator, f"{key}: {path}")
    ]
    rows = [(line, row) for line, row in rows if any(row)]
    if not rows:
        raise InputError(f"{key}: {path} lists no CpG: one a line is expected, or a table with a column `cpg`")
    table = _tabled(name, rows, separator, f"{key}: {path}")
    return _checked(name, path, key, table)


class _Table(NamedTuple):
    """Rows (line, fields) below the header; where ids and weights are; notes for the page."""

    rows: list
    at: int
    weight_at: int | None
    notes: list[str]


def _tabled(name: str, rows, separator: str, what: str) -> _Table:
    """Where things are in the rows of a list."""
    ids = _id_columns(rows)
    header_at = _header_row(rows, ids)
    if header_at is None:
        return _without_header(name, rows, ids, separator, what)
    notes = [f"{name}: {header_at:,} lines above the header are passed over"] if header_at else []
    header = rows[header_at][1]
    given, body = [], rows[header_at + 1 :]
    names, given, odd, doubt = aligned(header, body, separator)
    long = [f"line {line} ({len(row)})" for line, row in odd if len(row) > len(names)]
    if doubt or long:
        raise InputError(f"{what}: {doubt or f'rows have more fields than the header: {some(long)}. Correct them'}")
    at = _column(names, ID_NAMES)
    ids = [column for column in _id_columns(given) if column < len(names)]
    if ids and at not in ids:
        at = ids[0]
    if at is None:
        if len(names) > 1:
            raise InputError(
                f"{what} has no column of CpG ids: its columns are {some(header)}. Call that of the ids `cpg`, "
                "and that of the weights, if there is one, `weight`"
            )
        at = 0
    short = [(line, row) for line, row in odd if len(row) > at]
    body = _without_prose(name, sorted(given + short), ids, notes)
    weight_at = _column(names, WEIGHT_NAMES)
    numeric = [names[j] for j in range(len(names)) if names[j] and j != at and _numbers(body, j, separator)]
    if weight_at is None and numeric:
        notes.append(
            f"{name}: no column is called as weights are (`weight`), so that its CpGs have none; its columns are "
            f"{some(header)}"
        )
    elif weight_at is not None:
        others = [one for one in header if _plain(one) in WEIGHT_NAMES and one != names[weight_at]]
        if others:
            notes.append(f"{name}: weights are those of the column {names[weight_at]!r}, and not of {some(others)}")
    return _Table(_pointed(body, weight_at, separator), at, weight_at, notes)


def _id_columns(rows) -> list[int]:
    """Columns most of whose fields are array ids."""
    width = max((len(row) for _, row in rows), default=0)
    counts = [sum(len(row) > j and _is_probe(row[j]) for _, row in rows) for j in range(width)]
    return [j for j, count in enumerate(counts) if 2 * count >= len(rows) or (count > 2 and 2 * count >= max(counts))]


def _header_row(rows, ids: list[int]) -> int | None:
    """The number of the row that names the columns; None where none does."""
    first = next((at for at, (_, row) in enumerate(rows) if any(len(row) > j and _is_probe(row[j]) for j in ids)), None)
    above = rows[:first] if ids else rows[:LOOKED_AT]
    named = [at for at, (_, row) in enumerate(above) if _column(row, ID_NAMES) is not None]
    if named:
        return named[-1] if ids else named[0]
    if not ids:  # ids of another kind
        return 0 if not any(re.search(r"\d", field) for field in rows[0][1]) else None
    while above and above[-1][1][ids[0] : ids[0] + 1] and above[-1][1][ids[0]].lower() in INTERCEPTS:
        above = above[:-1]
    width = max(len(row) for _, row in rows[first:])
    head = above[-1][1] if above else []
    fits = width - 1 <= len(head) <= width and head and not any(_number(field) is not None for field in head)
    return len(above) - 1 if fits else None


def _without_header(name: str, rows, ids: list[int], separator: str, what: str) -> _Table:
    """A list whose columns have no names."""
    notes, at = [], ids[0] if ids else 0
    if ids:
        first = next(place for place, (_, row) in enumerate(rows) if len(row) > at and _is_probe(row[at]))
        if first:
            notes.append(f"{name}: {first:,} lines above the first CpG are passed over")
        rows = _without_prose(name, rows[first:], ids, notes)
        if all(_is_probe(field) for _, row in rows for field in row if field):
            return _Table([(line, [field]) for line, row in rows for field in row if field], 0, None, notes)
    width = max(len(row) for _, row in rows)
    numeric = [j for j in range(width) if j != at and _numbers(rows, j, separator)]
    if numeric and width > 2:
        raise InputError(
            f"{what} has {width} columns, no header, and numbers in column {some([j + 1 for j in numeric])}: add a "
            "header that calls the ids `cpg`, and the weights, if there are some, `weight`"
        )
    weight_at = numeric[0] if numeric and len(rows[0][1]) > 1 else None
    if weight_at is not None:
        notes.append(f"{name}: there is no header; the second column, all numbers, is taken for weights")
    return _Table(_pointed(rows, weight_at, separator), at, weight_at, notes)


def _numbers(rows, column: int, separator: str) -> bool:
    """Whether half of the rows or more have a number in a column."""
    fields = [row[column] for _, row in _pointed(rows, column, separator) if len(row) > column]
    return 0 < len(rows) <= 2 * sum(_number(field) is not None for field in fields)


def _pointed(rows, column: int | None, separator: str):
    """The rows, decimal commas of a column made points where it has them."""
    if column is None or not commas_for_points((row[column] for _, row in rows if len(row) > column), separator):
        return rows
    return [(line, [pointed(field) if j == column else field for j, field in enumerate(row)]) for line, row in rows]


def _without_prose(name: str, rows, ids: list[int], notes: list[str]) -> list:
    """The rows without lines of prose, such as remarks below a table, which `notes` report."""
    if not ids:
        return rows
    kept = [
        (line, row)
        for line, row in rows
        if any(map(_is_probe, row)) or sum(map(bool, row)) > 1 or " " not in "".join(row)
    ]
    if len(kept) < len(rows):
        lines = {line for line, _ in kept}
        left = [" ".join(row).strip()[:60] for line, row in rows if line not in lines]
        notes.append(f"{name}: {len(rows) - len(kept):,} lines without a CpG are passed over: {some(left, 3)}")
    return kept


def _number(text: str) -> float | None:
    """A finite number, or the sign that a word stands for; None where the text is no number."""
    if text.lower() in SIGNS:
        return SIGNS[text.lower()]
    try:
        value = float(text.replace("\u2212", "-"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _checked(name: str, path, key: str, table: _Table) -> CpgList:
    rows, at, weight_at, notes = table
    problems, found, odd, other, again = [], {}, [], [], 0
    for line, row in rows:
        cpg = cpg_of(row[at]) if len(row) > at else ""
        if not cpg or cpg.lower() in INTERCEPTS:
            continue
        weight = None
        if weight_at is not None:
            field = row[weight_at] if len(row) > weight_at else ""
            weight = _number(field)
            if weight is None:
                odd.append(f"{cpg!r} (line {line}): {field!r}")
                continue
        if cpg in found:
            again += 1
            if found[cpg] != weight:
                other.append(f"{cpg!r} (line {line})")
            continue
        found[cpg] = weight
    if odd:
        problems.append(
            f"{key}: {path}: {len(odd)} weights are no numbers: {', '.join(odd[:5])}{' …' if len(odd) > 5 else ''}. "
            "Correct them, or leave the rows out"
        )
    if other:
        problems.append(
            f"{key}: {path}: {len(other)} CpGs are listed again with another weight: {', '.join(other[:5])}"
            f"{' …' if len(other) > 5 else ''}. Keep one row each"
        )
    if not found and not odd:
        problems.append(f"{key}: {path} lists no CpG: one a line is expected, or a table with a column `cpg`")
    weights = None
    if weight_at is not None and found:
        weights = np.array([value if value is not None else np.nan for value in found.values()], dtype=np.float64)
        if not weights.any():
            problems.append(f"{key}: {path}: all weights are 0, so that no CpG has a sign: correct the column")
        elif n := int((weights == 0).sum()):
            notes.append(f"{name}: {n:,} CpGs have the weight 0, and therefore no sign")
    if again:
        notes.append(f"{name}: {again:,} rows list a CpG again, and count once")
    refuse(problems)
    return CpgList(name, np.array(list(found), dtype=object), weights, notes)


def read_lists(files: dict[str, str], section: str) -> list[CpgList]:
    """The lists by name, from the paths given under the config's `section`; all problems of all files at once."""
    problems = []
    found = [gathered(problems, read_list, name, path, f"{section}.{name}") for name, path in files.items()]
    refuse(problems)
    return found


def read_taxonomy(path, key: str) -> pd.DataFrame:
    """cpg, taxon, source, confidence (the last two empty where there are none) of every CpG, in the file's order.

    A taxonomy of this workflow (Parquet or CSV), or any table cpg, taxon. Raises InputError naming unknown taxa and
    CpGs listed twice.
    """
    path = pathlib.Path(path)
    columns = ["cpg", "taxon", "source", "confidence"]
    with open(path, "rb") as handle:
        parquet = handle.read(4) == b"PAR1"
    if parquet:
        with naming_damage(f"{key}: {path}", "copy it again, or make it anew"):
            names = pq.read_schema(path).names
            if not {"cpg", "taxon"} <= set(names):
                raise InputError(f"{key}: {path} needs the columns cpg and taxon; found {some(names) or 'none'}")
            wanted = [name for name in columns if name in names]
            table = pq.read_table(path, columns=wanted, page_checksum_verification=True)
            table.validate(full=True)
            frame = table.replace_schema_metadata().to_pandas()
        for name in ("cpg", "taxon"):
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
    else:
        frame, _ = read_taxa(path, key)
    frame = frame.reindex(columns=columns)
    frame["source"] = frame["source"].astype(object).where(frame["source"].notna(), "")
    frame["confidence"] = pd.to_numeric(frame["confidence"], errors="coerce")
    problems = []
    taxon = frame["taxon"].where(frame["taxon"] != "", UNCLASSIFIED)
    unknown = taxon[~taxon.isin(KNOWN)]
    if len(unknown):
        problems.append(
            f"{key}: {path}: {len(unknown):,} CpGs have a taxon that is not known: {some(unknown.unique())}. Known are "
            f"{', '.join(TAXA)} and {UNCLASSIFIED}"
        )
    twice = frame["cpg"][frame["cpg"].duplicated()]
    if len(twice):
        problems.append(f"{key}: {path} lists {len(twice):,} CpGs more than once: {some(twice.unique())}. Keep one row")
    if (empty := int((frame["cpg"] == "").sum())) == 1:  # several are listed twice
        problems.append(f"{key}: {path} has {empty} row without a CpG: remove it")
    refuse(problems)
    return frame.assign(taxon=taxon.astype(object))


def read_context(
    path, key: str, wanted: list[str] | None = None
) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """CpGs of a table of genomic context, ids without suffix, and by column and category which of them belong to it.

    The masks are (n,) bool. A field may hold several categories with `;` between them, each counted once; an empty one
    is NONE. wanted: columns to look at, else all but the ids. Raises InputError for columns that are lacking or whose
    categories are too many to be such, and for CpGs listed twice.
    """
    columns, _ = read_table(path, key, ())
    names = list(columns)
    at = _column(names, ID_NAMES)
    if at is None:
        raise InputError(f"{key}: {path} has no column of CpG ids: its columns are {some(names, 20)}. Call it `cpg`")
    problems = []
    ids = base_ids(_unquoted(field) for field in columns[names[at]])
    keep = ids != ""
    twice = pd.Index(ids[keep])
    twice = twice[twice.duplicated()].unique()
    if wanted is None:
        wanted = [name for name in names if name not in (names[at], ROW_NAMES) and name]
    lacking = [name for name in wanted if name not in columns]
    if lacking:
        problems.append(f"{key}_columns: {path} has no columns {some(lacking)}; its columns are {some(names, 20)}")
    if not wanted:
        problems.append(f"{key}: {path} has CpG ids alone: add a column of categories")
    # Replicates of a probe (EPICv2) have one place: the first row of each is kept.
    first = keep & ~pd.Index(ids).duplicated()
    if len(twice) and len({field for field, kept in zip(columns[names[at]], keep, strict=True) if kept}) < keep.sum():
        problems.append(f"{key}: {path} lists {len(twice):,} CpGs more than once: {some(twice)}. Keep one row each")
    found = {}
    for name in wanted:
        if name in lacking:
            continue
        masks: dict[str, list[int]] = {}
        for row, field in enumerate(np.array(columns[name], dtype=object)[first]):
            parts = {part.strip() for part in _unquoted(field).split(";")} - set(MISSING)
            for part in parts or {NONE}:
                masks.setdefault(part, []).append(row)
            if len(masks) > MOST_CATEGORIES:
                break
        if len(masks) > MOST_CATEGORIES:
            problems.append(
                f"{key}: column {name!r} of {path} has over {MOST_CATEGORIES} different values, such as "
                f"{some(list(masks)[:3])}: these are no categories. Name the columns to look at in {key}_columns"
            )
            continue
        found[name] = {}
        for part in sorted(masks):
            found[name][part] = np.zeros(int(first.sum()), dtype=bool)
            found[name][part][masks[part]] = True
    refuse(problems)
    return ids[first], found

"""Lists of CpGs and tables about CpGs, as they are published: read, and matched with the ids of a cohort."""

import dataclasses
import math
import pathlib
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cpgtaxa.errors import InputError, some
from cpgtaxa.files import naming_damage
from cpgtaxa.input.probes import cpg_of
from cpgtaxa.input.texts import csv_rows, lines_of, read_table, read_taxa, read_text, separator_of
from cpgtaxa.names import TAXA, UNCLASSIFIED

ID_NAMES = (
    *("cpg", "cpgs", "cpgmarker", "cpg_id", "cpgid", "cpg_site", "cpgsite", "probe", "probes", "probeid", "probe_id"),
    *("marker", "markers", "ilmnid", "name", "id", "site", "var", "feature"),
)
"""How published tables call the column of CpG ids (in any case)."""
WEIGHT_NAMES = (
    *("weight", "weights", "coefficient", "coefficients", "coef", "coefs", "coefficienttraining", "beta", "estimate"),
    *("effect", "sign", "direction"),
)
"""The same for the weight."""
INTERCEPTS = ("(intercept)", "intercept", "(constant)", "constant")
"""Rows of a table of weights that are no CpG."""
MISSING = ("", "NA", "NaN", "nan", "null", "None", ".")
NONE = "none"
"""The category of a CpG whose field is empty."""
MOST_CATEGORIES = 60


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


def _column(names, wanted) -> int | None:
    lower = [_unquoted(name).lower() for name in names]
    return next((lower.index(name) for name in wanted if name in lower), None)


def read_list(name: str, path, key: str) -> CpgList:
    """A list of CpGs: one a line (with or without a header), or a table of ids and perhaps weights.

    Text in UTF-8, may be gzipped; lines that begin with # are comments. Of a table without a header the first column
    holds the ids, the second, if it is all numbers, the weights. Rows called intercept are left out. Raises InputError
    with all problems: no CpG, weights that are no numbers, ids listed twice with different weights.
    """
    text = "\n".join(line for line in lines_of(read_text(path, key)) if not line.lstrip().startswith("#"))
    first = next((line for line in lines_of(text) if line.strip()), "")
    if not first:
        raise InputError(f"{key}: {path} holds comments alone: one CpG a line is expected")
    separator = separator_of(first) or ","
    if separator == " " and not any(" " in line.strip() for line in lines_of(text.strip())[1:]):
        separator = ","  # words above a single column
    rows = csv_rows(text, separator, f"{key}: {path}")
    rows = [(line, [_unquoted(field) for field in row]) for line, row in rows]
    header = rows[0][1]
    at = _column(header, ID_NAMES)
    weight_at = None
    if at is not None:
        rows = rows[1:]
        weight_at = _column(header, WEIGHT_NAMES)
    elif not any(re.search(r"\d", field) for field in header):
        if len(header) > 1:
            raise InputError(
                f"{key}: {path} has no column of CpG ids: its columns are {some(header)}. Call that of the ids `cpg`, "
                "and that of the weights, if there is one, `weight`"
            )
        at, rows = 0, rows[1:]
    else:
        at = 0
        if len(header) > 1 and all(len(row) > 1 and _number(row[1]) is not None for _, row in rows):
            weight_at = 1
    return _checked(name, path, key, rows, at, weight_at)


def _number(text: str) -> float | None:
    """A finite number, + and - as one; None where the text is no number."""
    if text in ("+", "-"):
        return 1.0 if text == "+" else -1.0
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _checked(name: str, path, key: str, rows, at: int, weight_at: int | None) -> CpgList:
    problems, notes, found, odd, other, again = [], [], {}, [], [], 0
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
    if problems:
        raise InputError(problems)
    return CpgList(name, np.array(list(found), dtype=object), weights, notes)


def read_lists(files: dict[str, str], section: str) -> list[CpgList]:
    """The lists by name, from the paths given under the config's `section`; all problems of all files at once."""
    problems, found = [], []
    for name, path in files.items():
        try:
            found.append(read_list(name, path, f"{section}.{name}"))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
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
    unknown = taxon[~taxon.isin((*TAXA, UNCLASSIFIED))]
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
    if problems:
        raise InputError(problems)
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
        wanted = [name for name in names if name != names[at] and name]
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
    if problems:
        raise InputError(problems)
    return ids[first], found

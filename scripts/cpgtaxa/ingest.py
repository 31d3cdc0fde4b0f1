"""From what people have (a beta matrix and a sample sheet) to a checked cohort; every problem is reported at once.

The matrix is streamed: memory holds one block of CpGs, their names and a few numbers per CpG, whatever their number.
"""

import dataclasses
import logging
import pathlib
import re
import time

import numpy as np
import pandas as pd
import pyarrow as pa

from cpgtaxa import files
from cpgtaxa.cohort import CohortWriter
from cpgtaxa.errors import InputError, gathered, reason_of, some
from cpgtaxa.matrices import open_matrix
from cpgtaxa.sheets import check_ages, check_ids, numbered, read_sheet, typed
from cpgtaxa.standard_layout import parts_of
from cpgtaxa.streams import DAMAGE, EXAMPLES, MISSING, many

STATISTICS_BYTES = 1 << 20
"""Values looked at together: what stays in the processor's cache."""
TOLERANCE = 1e-6
"""A beta value this far outside 0..1 is rounding, and is clipped."""
TEXT = np.float32(-3e38)
"""Stands for text in a block of values, so that it counts neither as missing nor as a number."""
FEWEST_SAMPLES = 10
PER_CPG = 2000
"""Bytes on disk for each CpG beside its values: statistics, predictions, taxonomy."""


# --- the matrix ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Scan:
    """What one pass over the matrix found; the arrays have one entry per CpG, `sample_missing` one per column."""

    samples: list[str]
    cpgs: list[str] = dataclasses.field(default_factory=list)
    pieces: list[tuple] = dataclasses.field(default_factory=list)
    sample_missing: np.ndarray = None
    n_judged: int = 0
    n_written: int = 0
    n_kept_missing: int = 0
    n_values: int = 0
    n_below: int = 0
    n_above: int = 0
    n_infinite: int = 0
    n_text: int = 0
    outside: list[str] = dataclasses.field(default_factory=list)
    infinite: list[str] = dataclasses.field(default_factory=list)
    text: list[str] = dataclasses.field(default_factory=list)
    comma: bool = True
    damage: str | None = None

    def bad_values(self) -> int:
        return self.n_below + self.n_above + self.n_infinite + self.n_text

    def numbers(self) -> dict[str, np.ndarray]:
        names = ("n_missing", "mean", "sd", "min", "max")
        columns = zip(*self.pieces, strict=True) if self.pieces else [[np.empty(0)]] * len(names)
        return {name: np.concatenate(column) for name, column in zip(names, columns, strict=True)}


def block_values(scan: Scan, cpgs: list[str], arrays: list[pa.Array]) -> np.ndarray:
    """The (k, n) float32 values of a block; text that is no number is noted."""
    numbers = []
    for column, array in enumerate(arrays):
        if pa.types.is_floating(array.type):
            numbers.append(array)
            continue
        given = array.to_pandas().astype(object)
        given = given.where(given.notna(), "").str.strip()
        number = np.array(pd.to_numeric(given, errors="coerce"), dtype=np.float32)
        odd = np.flatnonzero(np.isnan(number) & ~given.isin(MISSING).to_numpy())
        scan.n_text += len(odd)
        for row in odd[: EXAMPLES - len(scan.text)]:
            scan.text.append(f"CpG {cpgs[row]!r}, sample {scan.samples[column]!r}: {given.iloc[row][:40]!r}")
        scan.comma &= all(re.fullmatch(r"-?\d+,\d+", given.iloc[row]) for row in odd)
        number[odd] = TEXT
        numbers.append(pa.array(number))
    batch = pa.RecordBatch.from_arrays(numbers, names=[str(column) for column in range(len(numbers))])
    return batch.to_tensor(null_to_nan=True, row_major=True).to_numpy().astype(np.float32, copy=False)


def _look(scan: Scan, cpgs: list[str], values: np.ndarray) -> None:
    """Per-CpG numbers and everything suspicious in a few CpGs; values just outside 0..1 are clipped in place."""
    n_samples = values.shape[1]
    missing = np.isnan(values)
    n_missing = missing.sum(axis=1, dtype=np.int32)
    low, high = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
    for row in np.flatnonzero((low < 0) | (high > 1)):
        _look_outside(scan, cpgs[row], values[row])
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
    # A probe that failed everywhere says nothing about a sample.
    judged = n_missing <= n_samples / 2
    scan.n_judged += int(judged.sum())
    if gaps:
        scan.sample_missing += missing[judged].sum(axis=0)
    scan.n_values += int(present.sum())
    scan.pieces.append((n_missing, mean, sd, low, high))


def _look_outside(scan: Scan, cpg: str, row: np.ndarray) -> None:
    row[row == TEXT] = np.nan
    infinite = np.flatnonzero(np.isinf(row))
    scan.n_infinite += len(infinite)
    for column in infinite[: EXAMPLES - len(scan.infinite)]:
        scan.infinite.append(f"CpG {cpg!r}, sample {scan.samples[column]!r}: {row[column]}")
    row[infinite] = np.nan
    row[(row < 0) & (row >= -TOLERANCE)] = 0
    row[(row > 1) & (row <= 1 + TOLERANCE)] = 1
    odd = np.flatnonzero((row < 0) | (row > 1))
    scan.n_below += int((row[odd] < 0).sum())
    scan.n_above += int((row[odd] > 1).sum())
    for column in odd[: EXAMPLES - len(scan.outside)]:
        scan.outside.append(f"CpG {cpg!r}, sample {scan.samples[column]!r}: {row[column]:.6g}")


def cpg_reasons(n_missing, low, high, n_samples: int, max_missing: float) -> np.ndarray:
    """Reason why a CpG is bad ("missing", "constant") or "" where it is good, as objects."""
    reason = np.full(len(n_missing), "", dtype=object)
    reason[(low == high) & (n_samples - n_missing > 1)] = "constant"
    reason[(n_missing > max_missing * n_samples) | (n_missing == n_samples)] = "missing"
    return reason


def scan_matrix(matrix, columns: list[int], path: pathlib.Path, max_missing_cpg: float) -> Scan:
    """Go through the matrix once: look at every value, and write the good CpGs to `path`."""
    scan = Scan([matrix.samples[column] for column in columns])
    scan.sample_missing = np.zeros(len(columns), dtype=np.int64)
    rows = max(1, STATISTICS_BYTES // (4 * len(columns)))
    begin = told = time.monotonic()
    with CohortWriter(path, scan.samples, in_place=True) as writer:
        try:
            for ids, arrays in matrix.batches(columns):
                cpgs = [(name or "").strip() for name in ids]
                values = arrays if isinstance(arrays, np.ndarray) else block_values(scan, cpgs, arrays)
                if not values.flags.writeable:
                    values = values.copy()
                for start in range(0, len(cpgs), rows):
                    piece = slice(start, start + rows)
                    _look(scan, cpgs[piece], values[piece])
                    n_missing, _, _, low, high = scan.pieces[-1]
                    good = cpg_reasons(n_missing, low, high, len(columns), max_missing_cpg) == ""
                    if not scan.bad_values():
                        kept = cpgs[piece] if good.all() else [cpgs[start + row] for row in np.flatnonzero(good)]
                        writer.append(kept, values[piece] if good.all() else values[piece][good])
                        scan.n_written += len(kept)
                        scan.n_kept_missing += int(n_missing[good].sum())
                scan.cpgs += cpgs
                if time.monotonic() - told > 5:
                    told = time.monotonic()
                    share = min(max(matrix.share(), 1e-3), 1.0)
                    left = (told - begin) * (1 / share - 1)
                    logging.info(f"{len(scan.cpgs):,} CpGs read, {told - begin:.0f} s, about {left:.0f} s left")
        except DAMAGE as error:
            scan.damage = reason_of(error)
    return scan


# --- matching, judging, writing --------------------------------------------------------------------------------------


def _mangled(name: str) -> str:
    """The name R's make.names would make of it."""
    name = re.sub(r"[^A-Za-z0-9._]", ".", name)
    return name if re.match(r"[A-Za-z]|\.(?!\d)", name) else "X" + name


def _check_match(matrix, beta, samples, wanted: list[str], unmatched: str, warn) -> tuple[list[int], list[str], bool]:
    """Columns of the matrix to read, the problems of matching, and whether reading makes sense."""
    known = set(wanted)
    columns = [column for column, name in enumerate(matrix.samples) if name in known]
    if columns:
        have = set(matrix.samples)
        lacking = list(dict.fromkeys(name for name in wanted if name not in have))
        extra = list(dict.fromkeys(name for name in matrix.samples if name and name not in known))
        found = []
        if lacking:
            hint = ""
            mangled = {_mangled(name) for name in lacking}
            if len(mangled.intersection(extra)) > len(mangled) / 2:
                hint = " (R changed the names: use `check.names = FALSE` when reading the matrix in R)"
            found.append(
                f"{many(len(lacking), 'sample')} of the sheet {samples} not in the matrix {beta}: {some(lacking)}{hint}"
            )
        if extra:
            found.append(f"{many(len(extra), 'sample')} of the matrix {beta} not in the sheet {samples}: {some(extra)}")
        if unmatched == "drop":
            for text in found:
                warn(f"left out: {text}")
            return columns, [], True
        remedy = ". Correct the ids, or set `cohort.unmatched: drop` to use only samples found in both"
        return columns, [text + remedy for text in found], True

    try:
        ids = [(name or "").strip() for names, _ in matrix.batches([]) for name in names]
    except DAMAGE:
        ids = []
    rows = known.intersection(ids)
    if rows:
        return (
            [],
            [
                f"The matrix {beta} seems transposed: {len(rows):,} of the sheet's {len(known):,} sample ids are in "
                "its first column, not in its header. CpGs belong in rows, samples in columns: transpose it, in R with "
                "`t(matrix)`, in Python with `frame.T`"
            ],
            False,
        )
    if all(re.fullmatch(r"NA|[01]?\.\d+(e-?\d+)?", name) for name in matrix.samples):
        problem = f"The matrix {beta} has no header: its first line holds values. Add a line with the sample ids"
        return [], [problem], False
    hint = ""
    mangled = {_mangled(name) for name in known}
    if len(mangled.intersection(matrix.samples)) > len(mangled) / 2:
        hint = " R changed the names: use `check.names = FALSE` when reading the matrix in R."
    return (
        list(range(len(matrix.samples))),
        [
            f"No sample of the sheet {samples} ({some(wanted, 3)}) is in the header of the matrix {beta} "
            f"({some(matrix.samples, 3)}).{hint} Correct the ids, or set `cohort.columns.sample_id` to the column that "
            "holds them"
        ],
        True,
    )


def check_header(beta, matrix) -> list[str]:
    problems = []
    empty = [column for column, name in enumerate(matrix.samples, 2) if name in MISSING]
    if empty:
        problems.append(
            f"{beta}: {many(len(empty), 'column')} without a sample id in the header: column {numbered(empty)}. "
            "Name or remove them"
        )
    names = pd.Index(matrix.samples)
    twice = names[names.duplicated()].unique()
    twice = [name for name in twice if name not in MISSING]
    if twice:
        problems.append(
            f"{beta}: {many(len(twice), 'sample')} more than once in the header: {some(twice)}. Keep one column each"
        )
    return problems


def check_values(beta, matrix, scan: Scan) -> list[str]:
    """What makes the matrix wrong as a whole: its shape, its ids, its values."""
    problems = []
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
        comma = " These are decimal commas: write decimal points." if scan.comma else ""
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
    empty = [number for number, name in enumerate(scan.cpgs, 1) if name in MISSING]
    if empty:
        problems.append(
            f"{beta}: {many(len(empty), 'row')} without a CpG id: row {numbered(empty)} below the header. "
            "Name or remove them"
        )
    names = pd.Series(scan.cpgs, dtype=object)
    again = names.duplicated(keep=False) & ~names.isin(MISSING)
    if again.any():
        rows = names[again].groupby(names[again], sort=False).groups
        where = [f"{name!r} (rows {numbered(rows[name] + 1)})" for name in list(rows)[:EXAMPLES]]
        more = f" and {len(rows) - EXAMPLES} more" if len(rows) > EXAMPLES else ""
        problems.append(
            f"{beta}: {many(len(rows), 'CpG')} more than once: {', '.join(where)}{more}. "
            "Average the rows of a CpG, or keep one"
        )
    if scan.n_infinite:
        more = f" and {scan.n_infinite - len(scan.infinite):,} more" if scan.n_infinite > len(scan.infinite) else ""
        problems.append(
            f"{beta}: {many(scan.n_infinite, 'infinite value')}: {'; '.join(scan.infinite)}{more}. "
            "Beta values lie in 0-1; write NA where there is none"
        )
    outside = scan.n_below + scan.n_above
    if outside:
        numbers = scan.numbers()
        lowest, highest = float(np.nanmin(numbers["min"])), float(np.nanmax(numbers["max"]))
        share = outside / scan.n_values
        found = f"{outside:,} of {scan.n_values:,} values lie outside 0-1 (from {lowest:.4g} to {highest:.4g})"
        if share > 0.1 and min(scan.n_below, scan.n_above) > 0.005 * scan.n_values:
            text = f"{found}: these look like M-values. Give beta values: beta = 2^M/(1+2^M)"
        elif share > 0.1 and scan.n_below == 0 and 1.5 < highest <= 100:
            text = f"{found}: these look like percent. Divide them by 100"
        else:
            more = f" and {outside - len(scan.outside):,} more" if outside > len(scan.outside) else ""
            text = f"{found}: {'; '.join(scan.outside)}{more}. Beta values lie in 0-1: correct them, or write NA"
        problems.append(f"{beta}: {text}")
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


def ingest(
    beta,
    samples,
    out_beta,
    out_samples,
    out_cpgs,
    out_qc,
    *,
    columns: dict,
    age_unit: str = "auto",
    max_missing_cpg: float = 0.2,
    max_missing_sample: float = 0.2,
    bad_cpgs: str = "error",
    bad_samples: str = "error",
    unmatched: str = "error",
) -> None:
    """Check a beta matrix and its sample sheet, and write them as a cohort.

    Parameters
    ----------
    beta
        Delimited text (separator found; plain, gzip, bzip2 or zstd), Parquet or Feather, a GEO series matrix, or the
        folder or first part of a matrix in parts (`standard_layout`). CpGs in rows, their ids in the first column, one
        further column per sample; values 0..1.
    samples
        Delimited text with one row per sample, or a GEO series matrix. `columns` maps `sample_id`, `age` and `sex` to
        its columns, None being found by common names (`sheets.read_sheet`); a column called `sex` may be absent. All
        others pass through as covariates.
    age_unit
        Unit of the ages: years, months, weeks, days, or auto (`sheets.years_of`).
    out_beta, out_samples, out_cpgs, out_qc
        The cohort (`cpgtaxa.cohort`); sample_id, age (float64), sex (text), covariates in the order of the matrix's
        columns (Parquet); cpg, n_missing, mean, sd (n-1), min, max, kept, reason for every CpG read (Parquet); counts,
        checksums and warnings (JSON).
    max_missing_cpg, max_missing_sample
        Largest share of missing values in a CpG (over the samples kept), and in a sample (over the CpGs measured in at
        least half of the samples).
    bad_cpgs, bad_samples, unmatched
        What to do with CpGs mostly missing or constant, samples mostly missing, and samples found only in the matrix or
        only in the sheet: "error", or "drop" with a warning.

    Raises InputError with every problem found; then no output exists under its final name.
    """
    for name, policy in (("bad_cpgs", bad_cpgs), ("bad_samples", bad_samples), ("unmatched", unmatched)):
        if policy not in ("error", "drop"):
            raise ValueError(f'{name} is "error" or "drop", not {policy!r}')
    beta, samples = pathlib.Path(beta), pathlib.Path(samples)
    problems: list[str] = []
    parts = gathered(problems, parts_of, beta) or [beta]
    if problems:
        raise InputError(problems)
    begun = {path: _state(path) for path in (*parts, samples)}
    warnings: list[str] = []

    def warn(text: str) -> None:
        logging.warning(text)
        warnings.append(text)

    sheet = matrix = None
    try:
        matrix = open_matrix(beta)
        problems += check_header(beta, matrix)
    except InputError as error:
        problems += error.problems
    try:
        sheet, found = read_sheet(samples, columns, set(matrix.samples) if matrix else None)
        problems += found
        for note in sheet.attrs["notes"]:
            warn(note)
    except InputError as error:
        problems += error.problems
    has_ids = sheet is not None and "sample_id" in sheet
    if has_ids:
        problems += check_ids(samples, sheet)

    wanted_columns, readable = list(range(len(matrix.samples))) if matrix else [], matrix is not None
    in_sheet = [name for name in sheet["sample_id"] if name not in MISSING] if has_ids else []
    if has_ids and matrix:
        wanted_columns, found, readable = _check_match(matrix, beta, samples, in_sheet, unmatched, warn)
        problems += found

    if sheet is not None:
        if has_ids and matrix:
            matched = sheet["sample_id"].isin(matrix.samples).to_numpy()
            if matched.any():
                sheet = sheet[matched].reset_index(drop=True)
        n_used = sheet["sample_id"].nunique() if has_ids else len(sheet)
        if n_used < FEWEST_SAMPLES:
            problems.append(f"Only {many(n_used, 'sample')} in {samples}" + _found(matrix) + _TOO_FEW)
        if "age" in sheet:
            ages, found = check_ages(samples, sheet, age_unit)
            problems += found

    if not readable:
        raise InputError(problems)
    size = matrix.n_rows() * (4 * len(wanted_columns) + PER_CPG)
    files.need_space(out_beta, size, f"{len(wanted_columns):,} samples of about {matrix.n_rows():,.0f} CpGs take")
    with files.atomic(out_beta) as temporary:
        scan = scan_matrix(matrix, wanted_columns, temporary, max_missing_cpg)
        problems += check_values(beta, matrix, scan)

        dropped: list[str] = []
        gaps = scan.sample_missing / max(scan.n_judged, 1)
        gappy = np.flatnonzero(gaps > max_missing_sample) if scan.n_judged else np.empty(0, dtype=int)
        if len(gappy):
            first = [f"{scan.samples[column]!r} ({gaps[column]:.0%})" for column in gappy[:EXAMPLES]]
            more = f" and {len(gappy) - EXAMPLES:,} more" if len(gappy) > EXAMPLES else ""
            text = (
                f"{beta}: {many(len(gappy), 'sample')} missing in more than {max_missing_sample:.3g} of the CpGs "
                f"(`cohort.max_missing_sample`): {', '.join(first)}{more}"
            )
            n_left = len(scan.samples) - len(gappy)
            if bad_samples == "error":
                problems.append(f"{text}. Set `cohort.bad_samples: drop` to leave them out")
            elif n_left < FEWEST_SAMPLES:
                problems.append(f"{text}. Without them only {many(n_left, 'sample')} would be left{_TOO_FEW}")
            else:
                warn(f"left out: {text}")
                dropped = [scan.samples[column] for column in gappy]
                wanted_columns = np.delete(wanted_columns, gappy).tolist()
                if not problems:
                    scan = scan_matrix(matrix, wanted_columns, temporary, max_missing_cpg)
                    left = ~sheet["sample_id"].isin(dropped).to_numpy()
                    sheet, ages = sheet[left].reset_index(drop=True), ages[left]
                    if ages.min() == ages.max():
                        problems.append(f"{samples}: without the samples left out, all ages are equal ({ages[0]:g})")

        numbers = scan.numbers()
        reason = cpg_reasons(numbers["n_missing"], numbers["min"], numbers["max"], len(scan.samples), max_missing_cpg)
        problems += _check_cpgs(beta, scan, reason, max_missing_cpg, bad_cpgs, warn)
        if problems:
            raise InputError(problems)

        order = sheet.set_index("sample_id").index.get_indexer(scan.samples)
        table = sheet.iloc[order].reset_index(drop=True).drop(columns="row")
        for name in table.columns.drop(["sample_id", "age"]):
            table[name] = table[name].where(~table[name].isin(MISSING), None) if name == "sex" else typed(table[name])
        table["sample_id"], table["age"] = table["sample_id"].astype("str"), ages[order]
        table.attrs = {}
        kept = reason == ""
        cpgs = pd.DataFrame({"cpg": pd.Series(scan.cpgs, dtype="str"), **numbers, "kept": kept})
        cpgs["reason"] = pd.Series(np.where(kept, None, reason), dtype="str")
        qc = {
            "n_cpgs": {
                "in": len(reason),
                "kept": int(kept.sum()),
                "dropped_missing": int((reason == "missing").sum()),
                "dropped_constant": int((reason == "constant").sum()),
            },
            "n_samples": {"in_matrix": len(matrix.samples), "in_sheet": len(in_sheet), "kept": len(scan.samples)},
            "samples_dropped": {
                "only_in_matrix": sorted(set(matrix.samples) - set(in_sheet)),
                "only_in_sheet": sorted(set(in_sheet) - set(matrix.samples)),
                "missing": dropped,
            },
            "age": {"min": float(ages.min()), "median": float(np.median(ages)), "max": float(ages.max())},
            "missing_fraction": scan.n_kept_missing / (scan.n_written * len(scan.samples)),
            "sha256": {
                "cohort": files.sha256(temporary),
                "matrix": files.sha256(*parts),
                "samples": files.sha256(samples),
            },
            "columns": sheet.attrs["chosen"],
            "warnings": warnings,
        }
        changed = [path for path, state in begun.items() if _state(path) != state]
        if changed:
            raise InputError(
                [f"{path} was changed while it was being read: let the copy finish and start again" for path in changed]
            )
        files.write_parquet(out_samples, table)
        files.write_parquet(out_cpgs, cpgs)
        files.write_json(out_qc, qc)
    logging.info(f"columns of {samples}: {sheet.attrs['chosen']}")
    logging.info(f"{int(kept.sum()):,} CpGs x {len(scan.samples):,} samples, ages {ages.min():g} to {ages.max():g}")


def _state(path: pathlib.Path):
    """What tells a file from the one that was there before: None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


_TOO_FEW = f": at least {FEWEST_SAMPLES} are needed (hundreds to say anything about most CpGs)"


def _found(matrix) -> str:
    return " found in the matrix" if matrix else ""

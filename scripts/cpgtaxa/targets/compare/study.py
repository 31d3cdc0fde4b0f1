"""The target `compare`: several cohorts' taxonomies beside each other, and one taxonomy from all of them."""

import logging
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from cpgtaxa.files import atomic, gzipped
from cpgtaxa.names import PROBABILITY_COLUMNS
from cpgtaxa.pages.page import write_csv
from cpgtaxa.progress import Progress
from cpgtaxa.targets.compare.agreement import ALL, KINDS, agreement, contingency, moves
from cpgtaxa.targets.compare.pooling import BY_RULES, TOLD, VERDICTS, age_effects, decide, pooled
from cpgtaxa.targets.compare.reading import KNOWN, LEFT, Beside, lay_beside, read_cohorts

SUMMARY_COLUMNS = ["cohorts", "metric", "value", "ci_low", "ci_high", "n"]
DIGITS = 5
"""Digits after the point of probabilities in text tables."""
OF_EACH = ("effect", "slope_p", "sd_ratio")
"""Statistics of each cohort shown of CpGs that moved."""


def names_of(codes: np.ndarray, names) -> pa.DictionaryArray:
    """Codes (n,) as text, stored once; a negative code is missing."""
    codes = np.asarray(codes, dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(list(names), pa.string()))


def sureness(beside: Beside, rows: np.ndarray, which: np.ndarray) -> np.ndarray:
    """How sure one cohort each, `which` (m,), is of the taxon of the CpGs at `rows` (m,): its confidence, (m,) float32.

    Of what the tests labelled with no confidence given BY_RULES; of what else is placed with none TOLD.
    """
    found = np.full(len(rows), np.nan, dtype=np.float32)
    for at, cohort in enumerate(beside.cohorts):
        mine = which == at
        own = beside.rows[rows[mine], at]
        sure = cohort.confidence[own]
        sure = np.where(cohort.by_rules[own] & np.isnan(sure), BY_RULES, sure)
        found[mine] = np.where(np.isnan(sure) & (cohort.taxon[own] < LEFT), TOLD, sure)
    return found


def moved_table(beside: Beside) -> pa.Table:
    """The CpGs whose taxon differs: cpg, kind, cohort_a, cohort_b (which differ), taxon_a, taxon_b, sure; by cohort
    taxon, confidence and, where its statistics are there, OF_EACH.

    `sure` is the confidence of the less sure of the two cohorts. Moves between two taxa come first, the surest before.
    """
    rows, a, b = moves(beside)
    one, other = beside.taxon[rows, a], beside.taxon[rows, b]
    sure = np.fmin(sureness(beside, rows, a), sureness(beside, rows, b))
    both = (one < LEFT) & (other < LEFT)
    order = np.lexsort((rows, -np.nan_to_num(sure, nan=-1), ~both))
    rows, a, b, one, other, sure = (values[order] for values in (rows, a, b, one, other, sure))
    kinds = sorted(set(KINDS.ravel()) - {""})
    number = {kind: at for at, kind in enumerate(kinds)}
    kind = np.vectorize(lambda text: number.get(text, -1), otypes=[np.int32])(KINDS)[one, other]
    columns = {"cpg": pa.array(beside.cpgs[rows].to_numpy(dtype=object), pa.string())}
    columns |= {"kind": names_of(kind, kinds)}
    columns |= {"cohort_a": names_of(a, beside.names), "cohort_b": names_of(b, beside.names)}
    columns |= {"taxon_a": names_of(one, KNOWN), "taxon_b": names_of(other, KNOWN), "sure": pa.array(sure)}
    for at, cohort in enumerate(beside.cohorts):
        columns[f"taxon_{cohort.name}"] = names_of(beside.taxon[rows, at], KNOWN)
        columns[f"confidence_{cohort.name}"] = _maybe(beside.column(at, cohort.confidence, rows))
        for name in OF_EACH if cohort.statistics else ():
            columns[f"{name}_{cohort.name}"] = _maybe(beside.column(at, cohort.statistics[name], rows))
    return pa.table(columns)


def _maybe(values: np.ndarray) -> pa.Array:
    return pa.array(values, from_pandas=True)


def pooled_table(beside: Beside, settings: dict) -> tuple[pa.Table, dict]:
    """The taxonomy of all cohorts together, one row per CpG of any of them; and what `decide` says.

    Columns: cpg, taxon, verdict, agreement, n_cohorts, n_placed, confidence (pooled probability of the taxon; of
    Unclassified the highest), p_<taxon> ×10 pooled, taxon_<cohort> …, and, where statistics are there, those of
    `pooling.combine_effects`.
    """
    p = pooled(beside, settings["unplaced"])
    found = decide(beside.taxon, p, **{key: settings[key] for key in ("probability", "agreement", "support")})
    known = np.isfinite(p).all(axis=1)
    own = np.where(found["taxon"] < LEFT, found["taxon"], p.argmax(axis=1))
    columns = {
        "cpg": pa.array(beside.cpgs.to_numpy(dtype=object), pa.string()),
        "taxon": names_of(found["taxon"], KNOWN),
        "verdict": names_of(found["verdict"], VERDICTS),
        "agreement": _maybe(found["agreement"]),
        "n_cohorts": pa.array(found["n_cohorts"]),
        "n_placed": pa.array(found["n_placed"]),
        "confidence": _maybe(np.where(known, p[np.arange(len(p)), own], np.nan).astype(np.float32)),
    }
    columns |= {name: pa.array(np.ascontiguousarray(p[:, at])) for at, name in enumerate(PROBABILITY_COLUMNS)}
    for at, name in enumerate(beside.names):
        columns[f"taxon_{name}"] = names_of(beside.taxon[:, at], KNOWN)
    effects = age_effects(beside)
    columns |= {name: _maybe(values) for name, values in effects.items()}
    return pa.table(columns), found | effects


def write_table(table: pa.Table, parquet, csv) -> None:
    """Write a table as Parquet, with a checksum on every page, and as gzipped CSV with short probabilities."""
    with atomic(parquet) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
    with gzipped(csv, level=6) as packed:
        options = pyarrow.csv.WriteOptions(quoting_style="needed")
        with pyarrow.csv.CSVWriter(packed, _as_text(table.slice(0, 0)).schema, write_options=options) as writer:
            step = 1 << 16
            progress = Progress(table.num_rows, "rows of the table written")
            for start in progress.over(range(0, table.num_rows, step), lambda start: min(step, table.num_rows - start)):
                writer.write_table(_as_text(table.slice(start, step)))


def _as_text(table: pa.Table) -> pa.Table:
    for number, field in enumerate(table.schema):
        column = table[field.name]
        if pa.types.is_dictionary(field.type):
            table = table.set_column(number, field.name, column.cast(pa.string()))
        elif pa.types.is_float32(field.type):
            short = pa.compute.round(column.cast(pa.float64()), DIGITS).cast(pa.float32())
            table = table.set_column(number, field.name, short)
    return table


def summarise(beside: Beside, agreed: pd.DataFrame, moved: pa.Table, found: dict) -> pd.DataFrame:
    """The figures of the page's tables in one: columns SUMMARY_COLUMNS; `cohorts`: a name, two with a slash, or all."""
    nan, rows = (np.nan, np.nan), []
    for at, cohort in enumerate(beside.cohorts):
        here = beside.taxon[:, at]
        n = int((here >= 0).sum())
        alone = int(((here >= 0) & (beside.taxon >= 0).all(axis=1)).sum())
        rows += [
            (cohort.name, "cpgs", n, *nan, n),
            (cohort.name, "placed", int(((here >= 0) & (here < LEFT)).sum()), *nan, n),
        ]
        rows += [(cohort.name, "cpgs_in_every_cohort", alone, *nan, n)]
        rows += [(cohort.name, "cpgs_in_no_other", int(((here >= 0) & (found["n_cohorts"] == 1)).sum()), *nan, n)]
        rows += [(cohort.name, "replicates", cohort.replicates, *nan, n)]
        rows += [(cohort.name, "replicates_that_differ", cohort.replicates_differ, *nan, cohort.replicates)]
    for row in agreed[agreed["taxon"] == ALL].itertuples():
        cohorts = ALL if row.cohort_a == ALL else f"{row.cohort_a} / {row.cohort_b}"
        metric = row.metric if row.unclassified == "yes" or row.metric == "both_placed" else f"{row.metric}_placed"
        rows.append((cohorts, metric, row.value, row.ci_low, row.ci_high, row.n))
    n = len(beside.cpgs)
    rows.append((ALL, "moved", moved.num_rows, *nan, n))
    for at, name in enumerate(VERDICTS):
        rows.append((ALL, f"verdict_{name.replace(' ', '_')}", int((found["verdict"] == at).sum()), *nan, n))
    for at, name in enumerate(KNOWN):
        rows.append((ALL, f"taxon_{name}", int((found["taxon"] == at).sum()), *nan, n))
    if "i2" in found:
        i2 = found["i2"][np.isfinite(found["i2"])]
        rows.append((ALL, "i2_median", float(np.median(i2)) if len(i2) else np.nan, *nan, len(i2)))
        known = np.isfinite(found["meta_p"])
        level = 0.05 / max(int(known.sum()), 1)
        rows.append((ALL, "meta_significant", int((found["meta_p"][known] < level).sum()), *nan, int(known.sum())))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def compare(files: dict[str, dict[str, str]], outputs: dict, *, settings: dict, seed: int) -> None:
    """Compare cohorts, write all tables, and the page on them.

    files: by cohort `taxonomy`, and where there are `statistics`, `beta`, `samples`. settings: `probability`,
    `agreement`, `support`, `unplaced` (see `pooling`), `examples`. Raises InputError listing what is
    wrong with any cohort.
    """
    from cpgtaxa.targets.compare.page import write_page

    started = time.perf_counter()
    beside = lay_beside(read_cohorts(files))
    shared = int((beside.taxon >= 0).all(axis=1).sum())
    logging.info(f"{len(beside.names)} cohorts, {len(beside.cpgs):,} CpGs, {shared:,} of them in every cohort")
    counts, agreed = contingency(beside), agreement(beside, seed)
    moved = moved_table(beside)
    table, found = pooled_table(beside, settings)
    summary = summarise(beside, agreed, moved, found)
    logging.info(f"compared in {time.perf_counter() - started:.0f} s; writing")
    write_csv(outputs["contingency"], counts)
    write_csv(outputs["agreement"], agreed)
    write_table(moved, outputs["moved"], outputs["moved_csv"])
    write_table(table, outputs["taxonomy"], outputs["taxonomy_csv"])
    write_csv(outputs["summary"], summary)
    shown = moved.slice(0, settings["examples"]).to_pandas()
    kinds = moved.select(["cohort_a", "cohort_b", "kind", "taxon_a", "taxon_b"])
    del moved, table
    write_page(beside, files, outputs, counts, agreed, kinds, shown, found, summary, settings=settings, seed=seed)
    logging.info(f"{found['n_cohorts'].size:,} CpGs in {time.perf_counter() - started:.0f} s in all")

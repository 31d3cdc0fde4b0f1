"""The target `cell_types`: a table of which cells the CpGs' trends and changes of spread belong to."""

import dataclasses
import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError, refuse, some
from cpgtaxa.files import atomic, gzipped
from cpgtaxa.pages.page import write_csv
from cpgtaxa.plan.paths import CELL_FRACTIONS
from cpgtaxa.progress import Progress
from cpgtaxa.statistics.adjust import code_covariates
from cpgtaxa.statistics.age_ewas import LEVEL, benjamini_hochberg
from cpgtaxa.statistics.cell_types import DESCRIPTION, OF_CPG, UNDECIDED
from cpgtaxa.statistics.comparisons import holm
from cpgtaxa.targets.cell_types.model import CellModel, least_of
from cpgtaxa.targets.cell_types.page import write_cell_types_page

KEY = "cell_types.fractions"
REST = "rest"
WHOLE, MOST = 0.95, 1.2
"""Fractions whose sums are on average below WHOLE leave a rest, a type of its own; a sum above MOST is no sum of
fractions."""
SPARE = 10
"""Samples that must be left once every term has taken one."""
WRITTEN = 1 << 15
"""CpGs that are written together."""


def whole_fractions(table: pd.DataFrame, ids, what: str) -> tuple[np.ndarray, list[str], list[str]]:
    """Fractions (n, K) that add up to 1, names of the types, and notes. Raises InputError with all that is wrong.

    table: numbers, a column for each type, in the order of the samples `ids`. Fractions that leave a rest get one more
    type, `rest`; others are divided by their sums.
    """
    problems, names = [], [str(name) for name in table.columns]
    numbers = table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    for name, column in zip(names, numbers.T, strict=True):
        if np.isnan(column).any():
            rows = [ids[at] for at in np.flatnonzero(np.isnan(column))]
            problems.append(f"{what}: {name!r} is no number in {len(rows):,} samples ({some(rows)}): fill it in")
        elif (column < 0).any() or (column > 1).any():
            problems.append(
                f"{what}: {name!r} has values from {column.min():g} to {column.max():g}: give fractions of all cells, "
                "0 to 1 (divide percent by 100)"
            )
        if name == UNDECIDED or "|" in name:
            problems.append(
                f"{what}: {name!r} cannot be a cell type's name (`A|B` and `{UNDECIDED}` mean other things)"
            )
    refuse(problems)
    total, notes = numbers.sum(axis=1), []
    if (high := np.flatnonzero(total > MOST)).size:
        raise InputError(
            f"{what}: the types of {len(high):,} samples ({some([ids[at] for at in high])}) add up to more than "
            f"{MOST:g}: leave out types that are part of others"
        )
    if total.mean() < WHOLE:
        if REST in names:
            raise InputError(
                f"{what}: the types add up to {total.mean():.2f} on average: correct them, or rename {REST!r}"
            )
        numbers = np.column_stack([numbers, np.maximum(1 - total, 0)])
        names = [*names, REST]
        notes.append(f"the types add up to {total.mean():.2f} on average: what lacks is a type of its own, {REST!r}")
        total = numbers.sum(axis=1)
    if (none := np.flatnonzero(total <= 0)).size:
        raise InputError(f"{what}: all types are 0 in {some([ids[at] for at in none])}: correct them")
    if len(names) < 2:
        raise InputError(f"{what}: there is one cell type alone, to which everything belongs: give two or more")
    return numbers / total[:, None], names, notes


def read_fractions(given: dict, samples: pd.DataFrame, columns: list | None) -> tuple[np.ndarray, list[str], list[str]]:
    """`whole_fractions` of the sheet's columns, or of the file that the target cell_fractions wrote.

    given: path `fractions`, where they are estimated. columns: names in the sheet, or None. Raises InputError.
    """
    ids = samples["sample_id"].tolist()
    if columns:
        lacking = [name for name in columns if name not in samples.columns or name in ("sample_id", "age")]
        if lacking:
            there = [name for name in samples.columns if name not in ("sample_id", "age")]
            raise InputError(
                f"{KEY}: {some(lacking)} {'is no column' if len(lacking) == 1 else 'are no columns'} of fractions in "
                f"the sample sheet; there are {some(there, 20) or 'none'}"
            )
        return whole_fractions(samples[columns], ids, KEY)
    path = given["fractions"]
    table = pd.read_csv(path, dtype={"sample_id": str}).set_index("sample_id").reindex(ids)
    return whole_fractions(table.drop(columns=["residual", "n_cpgs"]), ids, str(path))


def study(given: dict, columns: list | None, covariates: list) -> tuple[CellModel, list[str], list[str]]:
    """The model of a cohort, the covariates' names, and what is to be said. Arguments as for `write`."""
    samples = read_samples(given["samples"])
    fractions, names, notes = read_fractions(given, samples, columns)
    beside = [
        one
        for one in covariates
        if (next(iter(one)) if isinstance(one, dict) else one) not in (CELL_FRACTIONS, *(columns or []))
    ]
    coded = code_covariates(samples, beside)
    numbers = np.hstack([np.zeros((len(samples), 0)), *(one.columns for one in coded)])
    needed = 2 * len(names) + numbers.shape[1] + SPARE
    if len(samples) < needed:
        raise InputError(
            f"cell_types: {len(names)} types and {numbers.shape[1]} terms of covariates need at least {needed} "
            f"samples; there are {len(samples)}. Join types, or name fewer covariates"
        )
    model = CellModel(fractions, names, samples["age"].to_numpy(np.float64), numbers)
    for one in model.types:
        if one.untested:
            notes.append(f"{one.name} is not tested: {one.untested}")
    if not model.names:
        raise InputError([f"cell_types: no cell type can be tested: {note}" for note in notes])
    return model, [one.name for one in coded], notes


def called(tests: dict, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """`cell_type` (k,) str objects and `cell_type_q` (k,) of DESCRIPTION. tests: of `CellModel.test`."""
    adjusted = holm(tests["p"])
    least = least_of(adjusted)
    q, differ, trend = (benjamini_hochberg(p) for p in (least, tests["equal_p"], tests["trend_p"]))
    changing = q < LEVEL
    found = np.where(changing | (trend < LEVEL), UNDECIDED, "").astype(object)
    cut = least[changing].max(initial=0)
    for row in np.flatnonzero(changing & (differ < LEVEL) if len(names) > 1 else changing):
        found[row] = "|".join(name for name, p in zip(names, adjusted[row], strict=True) if p <= cut)
    return found, q


def spread_called(tests: dict, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """`spread_cell_type` (k,) str objects and `spread_cell_type_q` (k,) of DESCRIPTION.

    tests: of `CellModel.test`, and `spread_q` (k, K).
    """
    q = benjamini_hochberg(tests["spread_any_p"])
    found = np.where(q < LEVEL, UNDECIDED, "").astype(object)
    named = tests["spread_q"] < LEVEL
    for row in np.flatnonzero(named.any(axis=1)):
        found[row] = "|".join(name for name, mine in zip(names, named[row], strict=True) if mine)
    return found, q


def write(given: dict, out: dict, *, columns: list | None, covariates: list) -> None:
    """Write the table as Parquet and CSV, what is known of the types, and the page.

    given: `beta` (a cohort file), `samples`, and `fractions` (CSV of the target cell_fractions) where columns is None.
    columns: the sheet's columns of fractions. covariates: as for `code_covariates`; cell fractions among them are left
    out. out: `parquet`, `csv` (gzipped), and `types`, a CSV of `model.Type` with the numbers of CpGs that change in
    each (`changing`, by `cell_type`; `spread_changing`, by `spread_cell_type`), `html` and `figures`. Raises
    InputError.
    """
    cohort = Cohort(given["beta"])
    model, beside, notes = study(given, columns, covariates)
    for note in notes:
        logging.warning(note)
    pieces, progress = [], Progress(len(cohort), "CpGs tested")
    for _, block in cohort.blocks():
        pieces.append(model.test(np.asarray(block, dtype=np.float64)))
        cohort.release()
        progress.step(len(block))
    found = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    for name in ("p", "spread_p"):
        found[name.removesuffix("p") + "q"] = benjamini_hochberg(found[name].ravel()).reshape(found[name].shape)
    said = dict(zip(OF_CPG, (*called(found, model.names), *spread_called(found, model.names)), strict=True))
    _write_tables(cohort, model, found, said, out)
    cell_type = said["cell_type"]
    changing, spread = (
        {name: int(np.sum([name in one.split("|") for one in said[column]])) for name in (*model.names, UNDECIDED)}
        for column in ("cell_type", "spread_cell_type")
    )
    types = pd.DataFrame([dataclasses.asdict(one) for one in model.types]).rename(columns={"name": "type"})
    for name, counts in (("changing", changing), ("spread_changing", spread)):
        types[name] = types["type"].map(counts).astype("Int64")
    write_csv(out["types"], types)
    words = " + ".join(["beta ~ Σ f (a + b age)", *beside])
    trends, undecided = int(np.sum(cell_type != "")), int(np.sum(cell_type == UNDECIDED))
    counts = {"people": cohort.n_samples, "cpgs": len(cohort), "changing": trends}
    counts |= {"named": trends - undecided, "undecided": undecided, "spread_undecided": spread[UNDECIDED]}
    rows = {"cpg": np.repeat(cohort.cpgs, len(model.names)), "type": np.tile(model.names, len(cohort))}
    rows |= {
        new: found[old].ravel() for new, old in (("slope_per_year", "slope"), ("se", "se"), ("p", "p"), ("q", "q"))
    }
    rows["cell_type"] = np.repeat(cell_type, len(model.names))
    write_cell_types_page(out, pd.DataFrame(rows), types, counts, words)
    logging.info(
        f"{trends:,} of {len(cohort):,} CpGs change with age in a cell type (q < {LEVEL:g}): "
        + ", ".join(f"{name} {number:,}" for name, number in changing.items())
        + f"; model: {words}"
    )


def _write_tables(cohort, model: CellModel, found: dict, said: dict, out: dict) -> None:
    """The rows, WRITTEN CpGs at a time, as Parquet and as CSV. found: by column (k, K); said: by OF_CPG (k,)."""
    names = [one.name for one in model.types]
    at = [names.index(name) for name in model.names]
    source = {"slope_per_year": "slope"}
    writer = None
    with atomic(out["parquet"]) as parquet, gzipped(out["csv"], 6) as packed:
        for start in range(0, len(cohort), WRITTEN):
            stop = min(start + WRITTEN, len(cohort))
            rows = {
                "cpg": np.repeat(cohort.names(start, stop), len(names)),
                "type": np.tile(np.array(names, dtype=object), stop - start),
            }
            for column in list(DESCRIPTION)[2 : -len(OF_CPG)]:
                values = np.full((stop - start, len(names)), np.nan)
                values[:, at] = found[source.get(column, column)][start:stop]
                rows[column] = values.ravel()
            rows |= {column: np.repeat(values[start:stop], len(names)) for column, values in said.items()}
            frame = pd.DataFrame(rows).astype(dict.fromkeys(("cpg", "type", "cell_type", "spread_cell_type"), "str"))
            table = pa.Table.from_pandas(frame, preserve_index=False)
            writer = writer or pq.ParquetWriter(parquet, table.schema, write_page_checksum=True)
            writer.write_table(table)
            frame.to_csv(packed, index=False, header=start == 0, float_format="%.5g", mode="wb")
        writer.close()

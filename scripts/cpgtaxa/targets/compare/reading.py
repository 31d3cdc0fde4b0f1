"""Reading the taxonomies of several cohorts, and laying them beside each other CpG by CpG."""

import dataclasses
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from cpgtaxa.errors import InputError, gathered, reason_of, refuse, some
from cpgtaxa.files import check_other_run, naming_damage, read_parquet
from cpgtaxa.input.probes import SUFFIX
from cpgtaxa.input.streams import (
    DAMAGE,
    MISSING,
    Unreadable,
    and_more,
    codec_of,
    fields_of,
    magic,
    read_all,
    refuse_foreign,
    stream_of,
)
from cpgtaxa.input.texts import separator_of
from cpgtaxa.names import KNOWN, PROBABILITY_COLUMNS, TAXA, close_taxon

MOST = 2 << 30
"""Bytes of text in a taxonomy: a whole array has a tenth of that."""
WANTED = ("cpg", "taxon", "source", "confidence", *PROBABILITY_COLUMNS)
NUMBERS = ("confidence", *PROBABILITY_COLUMNS)
STATISTICS = ("slope", "slope_t", "effect", "slope_p", "sd_ratio")
"""What is compared beside the taxa where a run's statistics are there."""
LEFT = len(TAXA)
"""The code of Unclassified; the others are the taxa's indices."""


@dataclasses.dataclass
class Cohort:
    """One cohort's taxonomy.

    cpgs: (n,) names; original: those of the files. taxon: (n,) int8, index into TAXA, LEFT: Unclassified. by_rules:
    (n,) bool, labelled by the tests. confidence: (n,) float32, NaN where there is none. p: (n, 10) float32,
    NaN where there is none. statistics: (n,) float64 by the names of STATISTICS; empty where the cohort has none.
    replicates: CpGs of which several probes were there; replicates_differ: of these, how many had different taxa.
    """

    name: str
    cpgs: pd.Index
    taxon: np.ndarray
    by_rules: np.ndarray
    confidence: np.ndarray
    p: np.ndarray
    statistics: dict[str, np.ndarray]
    original: pd.Index = None
    replicates: int = 0
    replicates_differ: int = 0

    def take(self, rows: np.ndarray) -> None:
        """Keep the rows, in this order."""
        self.cpgs, self.taxon, self.by_rules = self.cpgs[rows], self.taxon[rows], self.by_rules[rows]
        self.confidence, self.p, self.original = self.confidence[rows], self.p[rows], self.original[rows]
        self.statistics = {name: values[rows] for name, values in self.statistics.items()}


def _text_table(path: pathlib.Path, what: str, first: bytes) -> pa.Table:
    """The wanted columns of a CSV or TSV (may be gzipped), read by Arrow: a whole array fits in a few hundred MB."""
    codec = codec_of(first)
    try:
        data = read_all(stream_of(path, codec)[1], MOST)
        header = data[: data.find(b"\n") if b"\n" in data else len(data)].decode("utf-8-sig").strip("\r")
    except DAMAGE as error:
        raise InputError(f"{what} is damaged or cut off ({reason_of(error)}): copy it again") from error
    separator = separator_of(header) or ","
    names = fields_of(header, separator)
    _need_columns(names, what)
    wanted = [name for name in WANTED if name in names]
    types = {name: pa.float32() if name in NUMBERS else pa.string() for name in wanted}
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=wanted, column_types=types, null_values=MISSING, strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        raise InputError(f"{what}: a row does not fit the header ({reason_of(error)}): correct it") from error


def _need_columns(names, what: str) -> None:
    lacking = [name for name in ("cpg", "taxon") if name not in names]
    twice = sorted({name for name in names if name in WANTED and list(names).count(name) > 1})
    if lacking:
        raise InputError(f"{what} needs the columns cpg and taxon in its header; found {some(names, 20) or 'none'}")
    if twice:
        raise InputError(f"{what} has several columns of the same name: {some(twice)}. Rename or remove them")
    there = [name for name in PROBABILITY_COLUMNS if name in names]
    if there and len(there) < len(TAXA):
        lacking = [name for name in PROBABILITY_COLUMNS if name not in names]
        raise InputError(
            f"{what} has probabilities of {len(there)} taxa, but not {some(lacking, 10)}: give all ten, or none"
        )


def _table(path: pathlib.Path, what: str, key: str) -> pa.Table:
    try:
        first = magic(path, key)
        refuse_foreign(path, first)
    except Unreadable as error:
        raise InputError([f"{key}: {problem}" for problem in error.problems]) from error
    if not first.startswith(b"PAR1"):
        return _text_table(path, what, first)
    with naming_damage(what, "copy it again, or have its run make it"):
        names = pq.read_schema(path).names
    _need_columns(names, what)
    with naming_damage(what, "copy it again, or have its run make it"):
        wanted = [name for name in WANTED if name in names]
        table = pq.read_table(path, columns=wanted, page_checksum_verification=True).replace_schema_metadata()
        table.validate(full=True)
        for number, name in enumerate(wanted):
            column = table[name]
            if pa.types.is_dictionary(column.type):
                column = pc.cast(column, column.type.value_type)
            table = table.set_column(number, name, column.cast(pa.float32() if name in NUMBERS else pa.string()))
        return table


def read_cohort(name: str, files: dict[str, str]) -> Cohort:
    """A cohort from its files (`taxonomy`, perhaps `statistics`). Raises InputError listing all that is wrong.

    Files of a run are held against the checksums it noted.
    """
    key, path = f"compare.cohorts.{name}", pathlib.Path(files["taxonomy"])
    what, problems = f"{key}: {path}", []
    if "statistics" in files:
        results = pathlib.Path(files["taxonomy"]).parent
        check_other_run(results, [files["taxonomy"], files["statistics"]])
    table = _table(path, what, key)
    if not table.num_rows:
        raise InputError(f"{what} has a header but no rows: check how the file was made")
    cpgs = pc.utf8_trim_whitespace(pc.fill_null(table["cpg"], ""))
    empty = pc.sum(pc.equal(cpgs, "")).as_py()
    if empty:
        problems.append(f"{what}: {empty:,} rows without a CpG id: fill in or remove")
    index = pd.Index(cpgs.to_pandas())
    twice = index[index.duplicated() & (index != "")].unique()
    if len(twice):
        problems.append(f"{what}: {len(twice):,} CpGs have more than one row: {some(twice)}; keep one")
    taxa = pc.utf8_trim_whitespace(pc.fill_null(table["taxon"], ""))
    codes = pc.index_in(taxa, pa.array(KNOWN)).combine_chunks()
    if codes.null_count:
        unknown = pc.unique(taxa.filter(codes.is_null())).to_pylist()
        hints = [close_taxon(str(one)) for one in unknown[:5]]
        quoted = [
            f"{one[:40]!r}{f' (did you mean {hint!r}?)' if hint else ''}"
            for one, hint in zip(unknown[:5], hints, strict=True)
        ]
        problems.append(f"{what}: unknown taxa {and_more(quoted, len(unknown))}; use one of {', '.join(KNOWN)}")
    n = table.num_rows
    numbers = {one: _floats(table[one]) for one in NUMBERS if one in table.column_names}
    for one, values in numbers.items():
        if (bad := np.flatnonzero((values < 0) | (values > 1))).size:
            problems.append(
                f"{what}: {len(bad):,} values of {one} are not between 0 and 1, {values[bad[0]]:g} in row {bad[0] + 1} "
                "first: correct them"
            )
    statistics = gathered(problems, _statistics, files["statistics"], index, what) if "statistics" in files else {}
    refuse(problems)
    p = np.full((n, len(TAXA)), np.nan, dtype=np.float32)
    if PROBABILITY_COLUMNS[0] in numbers:
        p = np.stack([numbers[one] for one in PROBABILITY_COLUMNS], axis=1)
        total = p.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            p = np.where(total > 0, p / total, np.nan).astype(np.float32)
    by_rules = np.zeros(n, dtype=bool)
    if "source" in table.column_names:
        by_rules = (table["source"].to_pandas() == "statistical").to_numpy(dtype=bool)
    confidence = numbers.get("confidence", np.full(n, np.nan, dtype=np.float32))
    codes = codes.to_numpy(zero_copy_only=False).astype(np.int8)
    return Cohort(name, index, codes, by_rules, confidence, p, statistics, index)


def _floats(column) -> np.ndarray:
    return column.combine_chunks().to_numpy(zero_copy_only=False).astype(np.float32)


def _statistics(path, cpgs: pd.Index, what: str) -> dict[str, np.ndarray]:
    table = read_parquet(path, columns=["cpg", *STATISTICS])
    if not pd.Index(table["cpg"]).equals(cpgs):
        raise InputError(
            f"{what}: the statistics {path} are not of the same CpGs in the same order: have the run make both anew"
        )
    return {name: table[name].to_numpy(dtype=np.float64) for name in STATISTICS}


def _strip(cohort: Cohort) -> None:
    """Take EPICv2's endings off; of replicates the surest counts, placed before unplaced, the first among equals."""
    bare = pd.Index(pd.Series(cohort.cpgs).str.replace(SUFFIX, "", regex=True))
    cohort.cpgs = bare
    if not bare.has_duplicates:
        return
    sure = np.nan_to_num(cohort.confidence, nan=0.5) + np.where(cohort.taxon < LEFT, 2, 0) + cohort.by_rules
    code, _ = pd.factorize(bare)
    order = np.lexsort((np.arange(len(bare)), -sure, code))
    several = np.flatnonzero(np.bincount(code) > 1)
    within = pd.Series(cohort.taxon).groupby(code).nunique().to_numpy()
    cohort.replicates, cohort.replicates_differ = len(several), int((within[several] > 1).sum())
    first = np.r_[True, code[order][1:] != code[order][:-1]]
    cohort.take(np.sort(order[first]))


def read_cohorts(files: dict[str, dict[str, str]]) -> list[Cohort]:
    """All cohorts in the order given. Raises InputError listing the problems of all of them.

    Where some cohorts carry EPICv2's endings of names (`_TC21`) and others do not, the endings are taken off.
    """
    problems = []
    cohorts = [gathered(problems, read_cohort, name, some_files) for name, some_files in files.items()]
    refuse(problems)
    with_endings = [bool(pd.Series(cohort.cpgs[:5000]).str.contains(SUFFIX).mean() > 0.5) for cohort in cohorts]
    if any(with_endings) and not all(with_endings):
        for cohort, yes in zip(cohorts, with_endings, strict=True):
            if yes:
                _strip(cohort)
    for cohort in cohorts:
        others = [other for other in cohorts if other is not cohort]
        if not any(cohort.cpgs.isin(other.cpgs).any() for other in others):
            problems.append(
                f"compare.cohorts.{cohort.name} shares no CpG with any other cohort (its names are like "
                f"{some(cohort.cpgs, 3)}, those of {others[0].name} like {some(others[0].cpgs, 3)}): give taxonomies "
                "whose CpGs have the same names"
            )
    refuse(problems)
    return cohorts


@dataclasses.dataclass
class Beside:
    """Several cohorts laid beside each other: (n CpGs of any cohort) × (k cohorts).

    cpgs: (n,) names, the first cohort's in its order, then what later ones add. rows: (n, k) int32, the CpG's row in
    each cohort, −1 where the cohort lacks it. taxon: (n, k) int8, −1 where the cohort lacks the CpG.
    """

    cohorts: list[Cohort]
    cpgs: pd.Index
    rows: np.ndarray
    taxon: np.ndarray

    @property
    def names(self) -> list[str]:
        return [cohort.name for cohort in self.cohorts]

    def column(self, at: int, values: np.ndarray, chosen=slice(None)) -> np.ndarray:
        """Values (n of the cohort,) of cohort `at` for the CpGs `chosen`, NaN where the cohort lacks a CpG."""
        rows = self.rows[chosen, at]
        found = values[rows]
        return np.where(rows >= 0, found, np.array(np.nan, dtype=found.dtype))


def lay_beside(cohorts: list[Cohort]) -> Beside:
    """Match the cohorts' CpGs by name."""
    cpgs = cohorts[0].cpgs
    for cohort in cohorts[1:]:
        cpgs = cpgs.append(cohort.cpgs[~cohort.cpgs.isin(cpgs)])
    rows = np.stack([cohort.cpgs.get_indexer(cpgs).astype(np.int32) for cohort in cohorts], axis=1)
    taxon = np.stack(
        [np.where(rows[:, at] >= 0, cohort.taxon[rows[:, at]], -1) for at, cohort in enumerate(cohorts)], axis=1
    ).astype(np.int8)
    return Beside(cohorts, cpgs, rows, taxon)

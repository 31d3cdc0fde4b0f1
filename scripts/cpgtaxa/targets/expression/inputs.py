"""From what people have to checked input: methylation sorted by position, expression, genes with their CpGs' places.

One matrix holds all samples: those trained on (`set` is "train"), and those the trained models are only applied to
(other states of the same cohort, by their name; "other" for another cohort's).
"""

import logging
import pathlib
import re

import numpy as np
import pandas as pd

from cpgtaxa import files
from cpgtaxa.cohort import Cohort, CohortWriter
from cpgtaxa.errors import InputError, gathered, some
from cpgtaxa.input.matching import check_header
from cpgtaxa.input.matrix_checks import check_values
from cpgtaxa.input.opening import open_matrix
from cpgtaxa.input.positions import beyond_ends
from cpgtaxa.input.scan import Scan, block_values, cpg_reasons, scan_matrix
from cpgtaxa.input.streams import DAMAGE, MISSING
from cpgtaxa.input.texts import read_table
from cpgtaxa.progress import Progress
from cpgtaxa.targets.expression.gene_names import gene_names, without_version
from cpgtaxa.targets.expression.plan import TRAIN, window_name

OTHER = "other"
BLOCK = 4096
NEAR = 1500
"""CpGs of arrays crowd around the starts of genes: most genes have one within so many bases."""
SHIFTS = 200
DATE = re.compile(r"(\d{1,2}-[A-Z][a-z]{2}|[A-Z][a-z]{2}-\d{1,2}|\d{4}-\d\d-\d\d|\d{1,2}/\d{1,2}/\d{4})")
FEWEST_TO_TEST = 3
"""People in a fold: two points always correlate."""


def prepare(given: dict, out: dict, *, settings: dict, seed: int) -> None:
    """Check all that was given, and write what the fits read.

    given: paths by name: `beta`, `expression`; or None: `positions`, `genes`, `samples`, `other_beta`,
    `other_expression`. settings: see config.yaml, `expression`.
    out: paths by name. `methylation`: a cohort file (`cpgtaxa.cohort`), CpGs by chromosome and position. `cpgs`:
    Parquet cpg, chrom, position in that order. `expression`: Parquet, gene and one column per sample, numbered as the
    samples. `samples`: Parquet sample_id, set, person. `genes`: Parquet gene, chrom, strand, tss, and `first_W`,
    `last_W`: its CpGs in window W are those from first to last, last excluded. `skipped`: CSV gene, reason. `qc`: JSON.

    Raises InputError with every problem found.
    """
    problems: list[str] = []
    notes: list[str] = []
    readers = _readers(given, problems)
    if problems:
        raise InputError(problems)
    table = _samples(readers, given, settings, problems, notes)
    positions = gathered(problems, _read_positions, given, settings)
    genes = gathered(problems, _read_genes, given, settings)
    values, skipped = _expression(readers, table, given, settings, problems, notes)
    if problems:
        raise InputError(problems)
    files.need_space(
        out["methylation"], readers["beta"].n_rows() * 4 * len(table), "the methylation of all samples takes"
    )
    with files.atomic(out["methylation"]) as temporary:
        cpgs = _methylation(readers, table, positions, given, settings, temporary, problems, notes)
        if problems:
            raise InputError(problems)
        placed = _place(values["gene"], genes, cpgs, skipped, given, settings, problems, notes)
        if problems:
            raise InputError(problems)
    values = values.set_index("gene").loc[placed["gene"]].reset_index()
    if settings["max_genes"] and len(placed) > settings["max_genes"]:
        chosen = np.sort(np.random.default_rng(seed).choice(len(placed), settings["max_genes"], replace=False))
        for gene in np.delete(placed["gene"].to_numpy(), chosen):
            skipped.append((gene, "left out by expression.max_genes"))
        placed, values = (frame.iloc[chosen].reset_index(drop=True) for frame in (placed, values))
    files.write_parquet(out["cpgs"], cpgs)
    files.write_parquet(out["genes"], placed)
    files.write_parquet(out["expression"], values)
    files.write_parquet(out["samples"], table[["sample_id", "set", "person"]])
    with files.atomic(out["skipped"]) as temporary:
        pd.DataFrame(skipped, columns=["gene", "reason"]).to_csv(temporary, index=False)
    for note in notes:
        logging.warning(note)
    counts = table["set"].value_counts()
    files.write_json(
        out["qc"],
        {
            "samples": {str(name): int(count) for name, count in counts.items()},
            "cpgs": len(cpgs),
            "genes": len(placed),
            "skipped": {str(key): int(n) for key, n in pd.Series([r for _, r in skipped]).value_counts().items()},
            "warnings": notes,
        },
    )
    logging.info(f"{len(placed):,} genes, {len(cpgs):,} CpGs, {counts.get(TRAIN, 0):,} samples to train on")


# --- samples ---------------------------------------------------------------------------------------------------------


def _readers(given: dict, problems: list[str]) -> dict:
    """Opened matrices by name, their headers checked."""
    readers = {}
    for name in ("beta", "expression", "other_beta", "other_expression"):
        if not given.get(name):
            continue
        path = pathlib.Path(given[name])
        try:
            readers[name] = open_matrix(path, _key(name))
            problems += check_header(path, readers[name])
        except InputError as error:
            problems += error.problems
    return readers


def _key(name: str) -> str:
    return f"expression.other.{name.removeprefix('other_')}" if name.startswith("other_") else f"expression.{name}"


def _samples(readers: dict, given: dict, settings: dict, problems: list[str], notes: list[str]) -> pd.DataFrame:
    """sample_id, set, person, and `beta` and `expression`: the columns of its matrices (-1: has none)."""
    pairs = [("", ("beta", "expression"))]
    if "other_beta" in readers:
        pairs.append((OTHER, ("other_beta", "other_expression")))
    parts = []
    for name, (beta, expression) in pairs:
        meth = pd.Index(readers[beta].samples)
        if expression in readers:
            expr = pd.Index(readers[expression].samples)
            common = meth[meth.isin(expr)]
            text = _mismatch(meth, expr, given[beta], given[expression])
            if len(common) == 0:
                problems.append(text)
                continue
            if text and settings["unmatched"] == "error":
                problems.append(
                    f"{text}. Correct the ids, or set `expression.unmatched: drop` to use the samples in both"
                )
            elif text:
                notes.append(f"left out: {text}")
            columns = expr.get_indexer(common)
        else:
            common, columns = meth, np.full(len(meth), -1)
        parts.append(
            pd.DataFrame({"sample_id": common, "set": name, "beta": meth.get_indexer(common), "expression": columns})
        )
    if len(parts) < len(pairs):
        return pd.DataFrame({"sample_id": [], "set": []})
    table = pd.concat(parts, ignore_index=True)
    own = (table["set"] == "").to_numpy()
    sheet = _persons(table["sample_id"][own], given, settings, problems)
    table["person"] = table["sample_id"]
    table.loc[own, "person"] = sheet["person"].to_numpy()
    # A stranger of the same name is another person.
    table.loc[~own, "person"] = f"{OTHER}:" + table["person"][~own]
    states = sheet["state"].to_numpy()
    wanted = settings["train_on"]
    if wanted is None:
        table.loc[own, "set"] = TRAIN
    else:
        table.loc[own, "set"] = np.where(states == wanted, TRAIN, states)
        if not (states == wanted).any():
            problems.append(
                f"expression.train_on is {wanted!r}, but no sample has that state; found {some(pd.unique(states))}"
            )
        if {TRAIN, OTHER} & set(states) - {wanted}:
            problems.append(f"expression: a state may not be called {TRAIN!r} or {OTHER!r}: rename it in the sheet")
    train = table["set"] == TRAIN
    folds, people = settings["folds"], table["person"][train].nunique()
    if people < FEWEST_TO_TEST * folds:
        problems.append(
            f"{people} people to train on are too few for {folds} folds, which need at least "
            f"{FEWEST_TO_TEST * folds}: three "
            "each. Set `expression.folds` lower, or bring more samples"
        )
    return table


def _mismatch(meth: pd.Index, expr: pd.Index, beta, expression) -> str:
    """What does not match between the two matrices; empty if all does."""
    lacking, extra = meth[~meth.isin(expr)], expr[~expr.isin(meth)]
    if len(lacking) == len(meth):
        hint = ""
        for length in (15, 12):
            if len(set(meth.str[:length]) & set(expr.str[:length])) > 0.5 * min(len(meth), len(expr)):
                hint = f". Their first {length} characters agree: shorten both to them"
                break
        else:
            if set(meth.str.replace(r"[^A-Za-z0-9]", ".", regex=True)) & set(
                expr.str.replace(r"[^A-Za-z0-9]", ".", regex=True)
            ):
                hint = ". R changed the names of one: use `check.names = FALSE` when reading it"
        return (
            f"{beta} and {expression} have no sample in common: {some(meth, 3)} against {some(expr, 3)}. Samples "
            "belong "
            f"in columns, under the same ids{hint}"
        )
    found = []
    if len(lacking):
        found.append(f"{len(lacking)} samples of {beta} are not in {expression}: {some(lacking)}")
    if len(extra):
        found.append(f"{len(extra)} samples of {expression} are not in {beta}: {some(extra)}")
    return "; ".join(found)


def _persons(ids: pd.Series, given: dict, settings: dict, problems: list[str]) -> pd.DataFrame:
    """Person and state of each sample, by the sheet or by a pattern on the sample's id."""
    found = pd.DataFrame({"person": ids.to_numpy(), "state": ""}, index=ids.to_numpy())
    if given.get("samples"):
        try:
            sheet, lines = read_table(given["samples"], "expression.samples", ("sample_id",))
        except InputError as error:
            problems += error.problems
            return found
        frame = pd.DataFrame(sheet)
        twice = frame["sample_id"][frame["sample_id"].duplicated()]
        if len(twice):
            problems.append(
                f"expression.samples: {given['samples']} lists samples more than once: {some(twice.unique())} "
                f"(line {lines[twice.index[0]]}). Keep one row each"
            )
            return found
        lacking = found.index[~found.index.isin(frame["sample_id"])]
        if len(lacking):
            problems.append(
                f"expression.samples: {given['samples']} lacks {len(lacking)} samples of the matrices: "
                f"{some(lacking)}. "
                "Add them"
            )
            return found
        frame = frame.set_index("sample_id").loc[found.index]
        for name in ("person", "state"):
            if name in frame:
                found[name] = frame[name].to_numpy()
    for name in ("person", "state"):
        if pattern := settings[f"{name}_pattern"]:
            matched = pd.Series(found.index).str.extract(_pattern(pattern, name), expand=False)
            if matched.isna().any():
                lacking = found.index[matched.isna()]
                problems.append(
                    f"expression.{name}_pattern {pattern!r} does not match {len(lacking)} sample ids: {some(lacking)}. "
                    "Correct it, or give a sheet (`expression.samples`)"
                )
                continue
            found[name] = matched.to_numpy()
    if settings["train_on"] is not None and (found["state"] == "").all():
        problems.append(
            "expression.train_on names a state, but nothing gives the samples' states: give `expression.samples` "
            "with a "
            "column `state`, or `expression.state_pattern`"
        )
    return found


def _pattern(pattern: str, name: str) -> re.Pattern:
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise InputError(f"expression.{name}_pattern {pattern!r} is no regular expression ({error})") from error
    if found.groups != 1:
        raise InputError(
            f"expression.{name}_pattern {pattern!r} needs one group in round brackets: the part of the id that is "
            f"the {name}"
        )
    return found


# --- expression ------------------------------------------------------------------------------------------------------


def _read_values(reader, columns: list[int], path, problems: list[str]) -> tuple[list[str], np.ndarray]:
    """Row names and (rows, columns) float32 of a matrix of any numbers; what is no number is a problem."""
    scan = Scan([reader.samples[column] for column in columns])
    names, pieces = [], []
    try:
        for ids, arrays in reader.batches(columns):
            ids = [(name or "").strip() for name in ids]
            values = arrays if isinstance(arrays, np.ndarray) else block_values(scan, ids, arrays)
            names += ids
            pieces.append(np.array(values, dtype=np.float32))
    except DAMAGE as error:
        problems.append(f"{path} is damaged or cut off after {len(names):,} rows ({error}): copy it again")
    if reader.n_odd_rows:
        problems.append(
            f"{path} is not a matrix: {reader.n_odd_rows:,} rows with another number of fields than the "
            f"{reader.n_fields} expected: {', '.join(reader.odd_rows)}"
        )
    if scan.n_text:
        problems.append(
            f"{path}: {scan.n_text:,} cells with text instead of a number: {'; '.join(scan.text)}. Missing values are "
            "written NA or left empty"
        )
    values = np.concatenate(pieces) if pieces else np.empty((0, len(columns)), dtype=np.float32)
    infinite = np.isinf(values).any(axis=1)
    if infinite.any():
        problems.append(
            f"{path}: infinite values in {int(infinite.sum()):,} rows: {some(np.array(names)[infinite])}. Log values "
            "of "
            "zero counts: add 1 before taking the logarithm"
        )
    return names, values


def _expression(readers, table, given, settings, problems, notes) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Genes by samples, and genes left out with the reason."""
    skipped: list[tuple[str, str]] = []
    if len(table) == 0:
        return pd.DataFrame({"gene": []}), skipped
    frames = {}
    for name, other in (("expression", False), ("other_expression", True)):
        if name not in readers:
            continue
        rows = ((table["set"] == OTHER) == other).to_numpy()
        path = given[name]
        names, values = _read_values(readers[name], table["expression"][rows].tolist(), path, problems)
        names = gene_names(names, settings)
        columns = [str(number) for number in np.flatnonzero(rows)]
        frame = pd.DataFrame(values, index=pd.Index(names, name="gene"), columns=columns)
        frames[other] = _once(frame, path, settings, problems, notes)
    if problems:
        return pd.DataFrame({"gene": []}), skipped
    values = frames[False]
    train = [str(number) for number in np.flatnonzero(table["set"] == TRAIN)]
    if float(np.nanmin(values)) >= 0 and float(np.nanmax(values)) > 1000:
        notes.append(
            f"{given['expression']} reaches {float(np.nanmax(values)):,.0f}: expression is expected on a log scale "
            "(log2(x + 1)); squared errors of raw counts depend on a few samples"
        )
    missing, low, high = values[train].isna().sum(axis=1), values[train].min(axis=1), values[train].max(axis=1)
    for gene in values.index[missing > 0]:
        skipped.append((gene, "expression missing in some samples"))
    for gene in values.index[(missing == 0) & (low == high)]:
        skipped.append((gene, "constant expression"))
    values = values[(missing == 0) & (low < high)]
    if len(values) == 0:
        problems.append(f"{given['expression']}: no gene is left: all are constant, or missing in some samples")
    if True in frames:
        theirs = values.index.isin(frames[True].index)
        if not theirs.all():
            lacking = values.index[~theirs]
            notes.append(
                f"{given['other_expression']} lacks {len(lacking):,} of {len(values):,} genes of "
                f"{given['expression']}: {some(lacking, 3)}{_version_hint(lacking, frames[True].index)}"
            )
        values = values.join(frames[True])
    elif (table["set"] == OTHER).any():
        for number in np.flatnonzero(table["set"] == OTHER):
            values[str(number)] = np.float32(np.nan)
    return values[[str(number) for number in range(len(table))]].reset_index(), skipped


def _version_hint(lacking, known) -> str:
    """What to set where names would be found without their versions, from the space before it on; else nothing."""
    bare = {without_version(name) for name in known}
    more = sum(without_version(name) in bare for name in lacking)
    if not more:
        return ""
    return (
        f". Without their versions (the number behind the point) {more:,} of them are there: set "
        "`expression.gene_versions: drop`"
    )


def _once(frame: pd.DataFrame, path, settings: dict, problems: list[str], notes: list[str]) -> pd.DataFrame:
    """Each gene once, by the policy for those given several times."""
    empty = frame.index.isin(MISSING)
    if empty.any():
        problems.append(
            f"{path}: {int(empty.sum())} rows without a gene name: row {np.flatnonzero(empty)[0] + 1} below "
            "the header, for one. Name or remove them"
        )
    dates = [name for name in frame.index if DATE.fullmatch(name)]
    if dates:
        notes.append(
            f"{path}: {len(dates)} names of genes are dates, {some(dates, 3)}: a spreadsheet rewrote symbols such as "
            "MARCHF1 and SEPTIN2, which are not found so. Take the table as it was before"
        )
    twice = frame.index[frame.index.duplicated()].unique()
    if len(twice) == 0:
        return frame
    text = f"{path}: {len(twice)} genes more than once: {some(twice)}"
    policy = settings["duplicates"]
    if policy == "error":
        problems.append(f"{text}. Set `expression.duplicates` to mean or first, or give ids that distinguish them")
        return frame
    notes.append(f"{text}; taken: the {policy}")
    return frame.groupby(level=0, sort=False).mean() if policy == "mean" else frame[~frame.index.duplicated()]


# --- positions -------------------------------------------------------------------------------------------------------


def _chrom(names) -> pd.Series:
    """Chromosomes under one name: without `chr`, MT as M."""
    found = pd.Series(names, dtype=object).astype(str).str.strip().str.replace(r"^chr", "", case=False, regex=True)
    return found.str.upper().replace({"MT": "M", "23": "X", "24": "Y"})


def _whole(texts, lines, what: str, least: float = 0) -> np.ndarray:
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    odd = np.flatnonzero(numbers.isna() | (numbers < least) | (numbers % 1 != 0))
    if len(odd):
        raise InputError(
            f"{what}: {len(odd)} values are no positions, such as {some([texts[row] for row in odd], 3)} "
            f"(line {lines[odd[0]]}). Positions are whole numbers of bases"
        )
    return numbers.to_numpy(dtype=np.int64)


def _read_positions(given: dict, settings: dict) -> pd.DataFrame | None:
    """cpg, chrom, position, each CpG once; None where no positions are given."""
    if not given.get("positions"):
        return None
    names = settings["columns"]["positions"]
    path, key = given["positions"], "expression.positions"
    columns, lines = read_table(path, key, tuple(names[part] for part in ("cpg", "chrom", "position")))
    frame = pd.DataFrame({"cpg": columns[names["cpg"]], "chrom": _chrom(columns[names["chrom"]])})
    frame["position"] = _whole(columns[names["position"]], lines, f"{key}: {path}, column {names['position']!r}")
    frame = frame.drop_duplicates()
    twice = frame["cpg"][frame["cpg"].duplicated()]
    if len(twice):
        raise InputError(
            f"{key}: {path} gives {twice.nunique()} CpGs more than one position: {some(twice.unique())}. Keep one each"
        )
    return frame


def _read_genes(given: dict, settings: dict) -> pd.DataFrame | None:
    """gene, chrom, strand (+ or -), tss, each gene once; None where no genes are given."""
    if not given.get("genes"):
        return None
    names = settings["columns"]["genes"]
    path, key = given["genes"], "expression.genes"
    columns, lines = read_table(path, key, tuple(names[part] for part in ("gene", "chrom", "start", "end", "strand")))
    strand = pd.Series(columns[names["strand"]]).replace({"1": "+", "+1": "+", "-1": "-", "−": "-"})
    odd = strand[~strand.isin(["+", "-"])]
    if len(odd):
        raise InputError(
            f"{key}: {path}, column {names['strand']!r}: {len(odd)} rows are neither + nor - (nor 1 nor -1), such as "
            f"{some(odd.unique(), 3)} (line {lines[odd.index[0]]}). Correct or remove them"
        )
    start, end = (
        # Promoters may begin before their chromosome, where tables were made by subtraction.
        _whole(columns[names[part]], lines, f"{key}: {path}, column {names[part]!r}", -np.inf)
        for part in ("start", "end")
    )
    turned = np.flatnonzero(start > end)
    if len(turned):
        raise InputError(
            f"{key}: {path}: {len(turned)} genes begin after their end (line {lines[turned[0]]}, for one). Give the "
            "lower "
            "position first on both strands; the strand has its own column"
        )
    forward = (strand == "+").to_numpy()
    # A promoter ends where its gene starts; a gene on the reverse strand starts at its higher end.
    first = forward if settings["regions"] == "genes" else ~forward
    frame = pd.DataFrame(
        {
            "gene": gene_names(columns[names["gene"]], settings),
            "chrom": _chrom(columns[names["chrom"]]),
            "strand": strand,
            "tss": np.where(first, start, end),
        }
    )
    frame = frame[frame["gene"] != ""].drop_duplicates()
    twice = frame["gene"][frame["gene"].duplicated()]
    if len(twice) and settings["duplicates"] == "error":
        raise InputError(
            f"{key}: {path} gives {twice.nunique()} genes more than one place: {some(twice.unique())}. Keep one "
            "each, or "
            "set `expression.duplicates: first` (or mean) to take the first"
        )
    return frame[~frame["gene"].duplicated()].reset_index(drop=True)


def _beyond(frame: pd.DataFrame, column: str) -> dict[str, int]:
    """How many positions lie beyond the ends of the chromosomes, by assembly."""
    return {name: int(rows.sum()) for name, rows in beyond_ends(frame["chrom"], frame[column]).items()}


def _near(tss: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Which starts have a position (sorted) within NEAR bases."""
    return np.searchsorted(positions, tss + NEAR, side="right") > np.searchsorted(positions, tss - NEAR)


def check_build(genes: pd.DataFrame, cpgs: pd.DataFrame, given: dict) -> list[str]:
    """Whether genes and CpGs lie on one genome build.

    Arrays were designed around genes: with the right build many starts have a CpG close by, and fewer once all genes
    are moved by up to a million bases. Positions beyond a chromosome's end rule out a build.
    """
    builds = {
        what: _beyond(frame, column) for what, frame, column in (("CpGs", cpgs, "position"), ("genes", genes, "tss"))
    }
    possible = {what: [name for name, n in found.items() if n == 0] for what, found in builds.items()}
    builds = "; ".join(
        f"{what} lie beyond the ends of chromosomes of {name} ({n})"
        for what, found in builds.items()
        for name, n in found.items()
        if n
    )
    if all(possible.values()) and not set(possible["CpGs"]) & set(possible["genes"]):
        return [
            f"{given['positions']} and {given['genes']} are of different genome builds: {builds}. Bring both to one "
            "build "
            "(liftOver), or take the other file"
        ]
    rng = np.random.default_rng(0)
    moves = rng.integers(20 * NEAR, 1_000_000, SHIFTS) * rng.choice([-1, 1], SHIFTS)
    there, moved, n = 0, np.zeros(SHIFTS), 0
    for chrom, some_cpgs in cpgs.groupby("chrom"):
        tss = genes["tss"][genes["chrom"] == chrom].to_numpy()
        positions = np.sort(some_cpgs["position"].to_numpy())
        n += len(tss)
        there += int(_near(tss, positions).sum())
        moved += [_near(tss + move, positions).sum() for move in moves]
    if n == 0:
        return [
            f"{given['positions']} and {given['genes']} share no chromosome: {some(cpgs['chrom'].unique())} against "
            f"{some(genes['chrom'].unique())}. Write chromosomes as chr1 or 1"
        ]
    if np.mean(moved) >= 5 and there <= np.quantile(moved, 0.9):
        return [
            f"{there} of {n} genes have a CpG within {NEAR} bases of their start, no more than where all genes are "
            "moved "
            f"at random ({np.mean(moved):.0f}): {given['positions']} and {given['genes']} seem to be of different "
            "genome "
            f"builds{f' ({builds})' if builds else ''}, or strands are turned. Bring both to one build; for positions "
            "that are "
            "right though sparse, set `expression.check_build: false`"
        ]
    return []


# --- methylation -----------------------------------------------------------------------------------------------------


def _methylation(readers, table, positions, given, settings, path, problems, notes) -> pd.DataFrame:
    """Write all samples' betas to `path`, CpGs by position (or in the order given); returns cpg, chrom, position."""
    scratch = pathlib.Path(f"{path}.unsorted")
    others = pathlib.Path(f"{path}.others")
    try:
        own = (table["set"] != OTHER).to_numpy()
        cohort = _scanned(
            readers["beta"], table["beta"][own].tolist(), given["beta"], scratch, settings, problems, notes
        )
        stranger = None
        if "other_beta" in readers:
            stranger = _scanned(
                readers["other_beta"],
                table["beta"][~own].tolist(),
                given["other_beta"],
                others,
                settings,
                problems,
                notes,
            )
        if problems:
            return pd.DataFrame()
        cpgs = pd.DataFrame({"cpg": cohort.cpgs})
        if positions is None:
            cpgs["chrom"], cpgs["position"], order = "", 0, np.arange(len(cpgs))
        else:
            found = cpgs.merge(positions, on="cpg", how="left")
            there = found["position"].notna().to_numpy()
            if not there.any():
                problems.append(
                    f"{given['positions']} has none of the CpGs of {given['beta']}: {some(positions['cpg'], 3)} "
                    "against "
                    f"{some(cohort.cpgs, 3)}. Take the positions of this array; on EPICv2, names have suffixes"
                )
                return pd.DataFrame()
            if not there.all():
                notes.append(
                    f"{int((~there).sum()):,} of {len(cpgs):,} CpGs have no position in {given['positions']} and are "
                    "left "
                    f"out: {some(cpgs['cpg'][~there], 3)}"
                )
            order = np.flatnonzero(there)
            order = order[
                np.lexsort((found["position"].to_numpy()[order], found["chrom"].astype(str).to_numpy()[order]))
            ]
            cpgs = found.iloc[order].astype({"position": np.int64}).reset_index(drop=True)
        theirs = None
        if stranger is not None:
            theirs = pd.Index(stranger.cpgs).get_indexer(cpgs["cpg"])
            share = float((theirs < 0).mean())
            if share == 1:
                problems.append(
                    f"{given['other_beta']} has none of the CpGs of {given['beta']}: check the arrays' names"
                )
                return pd.DataFrame()
            if share > 0:
                notes.append(
                    f"{given['other_beta']} lacks {share:.1%} of the CpGs: the mean of the samples trained on stands "
                    "for them"
                )
        with CohortWriter(path, table["sample_id"], in_place=True) as writer:
            progress = Progress(len(order), "CpGs put in order")
            for start in progress.over(range(0, len(order), BLOCK), lambda start: min(BLOCK, len(order) - start)):
                piece = slice(start, start + BLOCK)
                block = np.full((len(order[piece]), len(table)), np.nan, dtype=np.float32)
                block[:, own] = cohort.take(order[piece])
                if stranger is not None:
                    has = theirs[piece] >= 0
                    block[np.ix_(has, ~own)] = stranger.take(theirs[piece][has])
                writer.append(cpgs["cpg"].iloc[piece].tolist(), block)
        return cpgs
    finally:
        scratch.unlink(missing_ok=True)
        others.unlink(missing_ok=True)


def _scanned(reader, columns, given_path, scratch, settings, problems, notes) -> Cohort | None:
    """A matrix's good CpGs as a cohort file at `scratch`; constant ones and those mostly missing are left out."""
    scan = scan_matrix(reader, columns, scratch, settings["max_missing_cpg"])
    found = check_values(given_path, reader, scan)
    problems += found
    if found:
        return None
    numbers = scan.numbers()
    reason = cpg_reasons(
        numbers["n_missing"], numbers["min"], numbers["max"], len(columns), settings["max_missing_cpg"]
    )
    for what in ("constant", "missing"):
        bad = np.array(scan.cpgs, dtype=object)[reason == what]
        if len(bad):
            meaning = (
                what if what == "constant" else f"missing in more than {settings['max_missing_cpg']:g} of the samples"
            )
            notes.append(f"{given_path}: {len(bad):,} CpGs are {meaning} and left out: {some(bad, 3)}")
    if (reason != "").all():
        problems.append(f"{given_path}: no CpG is left: all are constant or mostly missing")
        return None
    return Cohort(scratch)


# --- genes and their CpGs --------------------------------------------------------------------------------------------


def _place(names: pd.Series, genes, cpgs, skipped, given, settings, problems, notes) -> pd.DataFrame:
    """The genes that have CpGs, with where these are in each window."""
    windows = settings["windows"]
    if genes is None or not given.get("positions"):
        frame = pd.DataFrame({"gene": names, "chrom": "", "strand": "+", "tss": 0})
        frame["first_all"], frame["last_all"] = 0, len(cpgs)
        return frame
    frame = names.to_frame().merge(genes, on="gene", how="left")
    lacking = frame["tss"].isna()
    hint = _version_hint(frame["gene"][lacking], genes["gene"])
    if lacking.all():
        other = ". Name the column with the same kind of ids in `expression.columns.genes.gene`"
        problems.append(
            f"{given['genes']} has none of the genes of {given['expression']}: {some(genes['gene'], 3)} against "
            f"{some(names, 3)}{hint or other}"
        )
        return frame
    if hint:
        notes.append(f"{int(lacking.sum()):,} of {len(frame):,} genes have no place in {given['genes']}{hint}")
    skipped += [(gene, "no position") for gene in frame["gene"][lacking]]
    frame = frame[~lacking].astype({"tss": np.int64}).reset_index(drop=True)
    if settings["check_build"]:
        problems += check_build(genes, cpgs, given)
    for window in windows:
        frame[f"first_{window_name(window)}"] = frame[f"last_{window_name(window)}"] = 0
    starts = cpgs.groupby("chrom").indices
    for chrom, rows in frame.groupby("chrom").indices.items():
        here = starts.get(chrom)
        if here is None:
            continue
        positions = cpgs["position"].to_numpy()[here]
        tss = frame["tss"].to_numpy()[rows]
        for window in windows:
            name = window_name(window)
            first = here[0] + np.searchsorted(positions, tss - window)
            last = here[0] + np.searchsorted(positions, tss + window, side="right")
            frame.loc[rows, f"first_{name}"], frame.loc[rows, f"last_{name}"] = first, last
    widest = window_name(max(windows))
    alone = frame[f"first_{widest}"] == frame[f"last_{widest}"]
    skipped += [(gene, f"no CpG within {max(windows):,} bases of its start") for gene in frame["gene"][alone]]
    if alone.all():
        problems.append(
            f"no gene has a CpG within {max(windows):,} bases of its start: check that {given['positions']} and "
            f"{given['genes']} are of one genome build"
        )
    elif alone.mean() > 0.5:
        notes.append(
            f"{int(alone.sum()):,} of {len(frame):,} genes have no CpG within {max(windows):,} bases of their start "
            "(listed "
            "in skipped.csv): is this the whole array, and one genome build?"
        )
    return frame[~alone].reset_index(drop=True)

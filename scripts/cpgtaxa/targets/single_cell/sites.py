"""From the files of cells, genome and annotations to one checked table of sites."""

import contextlib
import json
import logging
import os
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cpgtaxa import files
from cpgtaxa.errors import InputError, gathered, some
from cpgtaxa.input.streams import many
from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.annotations import inside, reach, read_bed
from cpgtaxa.targets.single_cell.by_order import NOTE, read_by_order
from cpgtaxa.targets.single_cell.forms import UnclearColumns
from cpgtaxa.targets.single_cell.genome import Genome, cpg_positions, match_names, natural, open_genome
from cpgtaxa.targets.single_cell.plan import BY_ORDER, SPLITS
from cpgtaxa.targets.single_cell.profiles import MANY, Observations, merge, merge_strands, read_observations, states
from cpgtaxa.targets.single_cell.statistics import site_statistics
from cpgtaxa.targets.single_cell.tables import FARTHEST, FARTHEST_BY_ORDER

ROWS = 1 << 16
"""Sites of a record batch."""
UNOBSERVED = -1
NONE = -1
SHARES = (0.6, 0.2, 0.2)
"""Of the sites, for training, validation and testing, where the config names no chromosomes."""
FEWEST = 0.1
"""Where whole chromosomes would give a split less than this share of the sites, blocks of chromosomes are taken."""
MOSTLY = 0.5
SHIFTED = 0.3
NEARLY = 0.9
"""Shares of positions from which a mistake explains a file: of shifted ones, half may fit where both strands are
given."""
LITTLE_OVERLAP = 0.01


class Cell(NamedTuple):
    """A cell's checked observations. by_chrom: chromosome -> (position (n,) int32 ascending, state (n,) int8).
    counts: see `prepare`, `cells`. read_as: what the file was taken for."""

    by_chrom: dict[str, tuple[np.ndarray, np.ndarray]]
    counts: dict[str, int]
    read_as: str


def prepare(given: dict, out: dict, *, settings: dict) -> None:
    """Check all that was given, and write what networks and peers read.

    given: `profiles` {cell: path} in the order wanted (one .npz for all: sites by order), `genome` (path, or None:
    nothing is checked against sequence), `annotations` {name: path of a BED file}. settings: see config.yaml,
    `single_cell`; used here are `coordinates`, `columns`, `max_not_cpg`, `split` (train, val, test: lists of
    chromosomes or None) and `dna_wlen`.

    out: paths by name. `sites`: Arrow IPC, batches of at most ROWS rows, by chromosome (in the order of the FASTA) and
    position: chrom (dictionary), position (int64, of the C, 1-based), split (int8: 0 train, 1 val, 2 test, -1 none),
    states (fixed-size list of int8, one per cell: 0, 1, -1 unobserved); in the metadata cells as JSON, and `farthest`,
    the distance from which neighbours count as being so far. `statistics`: Parquet, chrom, position and the columns
    of `statistics.site_statistics`. `cells`: CSV, cell, observed (sites), coverage (their share), rate
    (methylated share of them), and how many rows were read, lacked a value, were of another context, repeated a
    position, were of the other strand (moved to the C), merged (strands), undecided (one half), no CpG (dropped);
    read_as, what the file was taken for.
    `annotations`: Parquet, site and one bool column per annotation. `qc`: JSON: counts, and `warnings` for the page.

    Memory holds 5 bytes per observation, 4 per CpG of the genome, and one chromosome of sequence.
    Raises InputError with every problem found.
    """
    problems: list[str] = []
    notes: list[str] = []
    genome = gathered(problems, open_genome, given["genome"]) if given.get("genome") else None
    cpgs = {}
    if genome is not None:
        for name in genome.names:
            cpgs[name] = cpg_positions(genome[name])
        genome.close()
        logging.info(f"genome: {sum(map(len, cpgs.values())):,} CpGs")
    elif not given.get("genome"):
        notes.append("No genome was given: positions are not checked against sequence, and there are no DNA models.")
    beds = {}
    for name, path in (given.get("annotations") or {}).items():
        beds[name] = gathered(problems, read_bed, path, name)
    ranks = {str(path) for path in given["profiles"].values() if str(path).lower().endswith(BY_ORDER)}
    if ranks:
        cells = gathered(problems, _cells_by_order, *ranks, list(given["profiles"]))
        notes.append(NOTE)
    else:
        cells = _cells(given, settings, genome, cpgs, problems, notes)
    if problems:
        raise InputError(problems)
    del cpgs
    chroms = _union(cells, genome)
    split = _splits(chroms, settings, genome, problems, notes)
    problems += _check_cells(cells, chroms, notes)
    intervals = {name: _intervals(name, bed, chroms, notes) for name, bed in beds.items()}
    if problems:
        raise InputError(problems)
    _write(cells, chroms, split, intervals, out, notes, FARTHEST_BY_ORDER if ranks else FARTHEST)


# --- cells -----------------------------------------------------------------------------------------------------------


def _cells(given, settings, genome: Genome | None, cpgs: dict, problems: list[str], notes: list[str]) -> dict:
    """Checked observations by cell. Without a genome, names are spelt as the first cell that has them spells them."""
    cells: dict[str, Cell] = {}
    known = list(genome.names) if genome is not None else []
    respelt: dict[tuple[str, str], list[str]] = {}
    turned: list[str] = []
    unclear: dict[str, list[UnclearColumns]] = {}
    sizes = {cell: os.path.getsize(path) if os.path.exists(path) else 0 for cell, path in given["profiles"].items()}
    progress = Progress(sum(sizes.values()), "profiles read", items=len(sizes))
    for cell, path in progress.over(given["profiles"].items(), lambda one: sizes[one[0]]):
        what = f"single_cell.profiles: {path}, cell {cell!r}"
        try:
            found = read_observations(path, what, settings["coordinates"], settings["columns"])
        except UnclearColumns as error:
            unclear.setdefault(error.kind, []).append(error)
            continue
        except InputError as error:
            problems += error.problems
            continue
        if given.get("genome") and genome is None:
            continue
        matched = match_names(found.by_chrom, known)
        lacking = [name for name, there in matched.items() if there is None]
        if genome is None:
            matched |= {name: name for name in lacking}
            known += lacking
        elif lacking:
            problems.append(
                f"{what}: the genome {given['genome']} has no chromosome {some(lacking)}; it has {some(known, 8)}. "
                "Give the genome that the cells were aligned to, spike-ins among it, or take these rows out"
            )
            continue
        for name, there in matched.items():
            if there != name:
                respelt.setdefault((name, there), []).append(cell)
        spelt = {matched[name]: observed for name, observed in found.by_chrom.items()}
        checked = gathered(problems, _checked, found._replace(by_chrom=spelt), cpgs, genome, settings, what)
        if checked is not None:
            if checked.counts["moved"] > NEARLY * checked.counts["rows"]:
                turned.append(cell)
            cells[cell] = checked
    for same in unclear.values():
        others = f" (and {len(same) - 1:,} more cells)" if len(same) > 1 else ""
        problems.append(f"{same[0].what}{others}: {same[0].question}")
    ways = pd.Series([cell.read_as for cell in cells.values()], dtype=object).value_counts()
    if len(ways) > 1:
        listed = "; ".join(f"{many(number, 'cell')} as {way}" for way, number in ways.items())
        notes.append(f"The cells' files are read in {len(ways)} ways: {listed}.")
    if turned:
        notes.append(
            f"Nearly all positions of {many(len(turned), 'cell')} ({some(turned)}) are those of the G of a CpG, and "
            "are moved to its C: reads of one strand, or positions one higher than they were taken for."
        )
    for (name, there), who in list(respelt.items())[:5]:
        notes.append(f"The chromosome {name} of {many(len(who), 'cell')} is taken for {there}.")
    if len(respelt) > 5:
        notes.append(f"{len(respelt) - 5} more chromosomes are spelt in other ways, and taken so.")
    return cells


def _cells_by_order(path: str, names: list[str]) -> dict:
    """Observations by cell, where ranks stand for positions; see `by_order.read_by_order`."""
    cells = {}
    for name, by_chrom in read_by_order(path, names).items():
        rows = sum(len(rank) for rank, _ in by_chrom.values())
        counts = {"rows": rows} | dict.fromkeys((*REMARKS,), 0)
        cells[name] = Cell(by_chrom, counts, "sites by order")
    return cells


def _checked(found: Observations, cpgs: dict, genome: Genome | None, settings, what: str) -> Cell:
    """Observations at the Cs of CpGs, strands merged, as states."""
    counts = found.counts | {"strands": 0, "moved": 0, "not_cpg": 0, "undecided": 0}
    if genome is None:
        merged = {}
        for chrom, observed in found.by_chrom.items():
            merged[chrom], pairs = merge_strands(*observed)
            counts["strands"] += pairs
    else:
        merged = place(found, cpgs, genome.lengths, settings["max_not_cpg"], what, counts)
    by_chrom = {}
    for chrom, (position, methylated, total) in merged.items():
        state, decided = states(methylated, total)
        counts["undecided"] += int((~decided).sum())
        if decided.any():
            by_chrom[chrom] = position[decided], state[decided]
    if not by_chrom:
        raise InputError(
            f"{what}: a cell with no observations: all {counts['undecided']:,} values are exactly one half"
        )
    return Cell(by_chrom, counts, found.layout.words())


def _is_in(position: np.ndarray, cpgs: np.ndarray) -> np.ndarray:
    """Whether positions are among the CpGs; both ascending."""
    if len(cpgs) == 0:
        return np.zeros(len(position), dtype=bool)
    at = np.searchsorted(cpgs, position)
    return cpgs[np.minimum(at, len(cpgs) - 1)] == position


def place(found: Observations, cpgs: dict, lengths: dict, most: float, what: str, counts: dict) -> dict:
    """Observations at the Cs of the genome's CpGs: those at the G, of the other strand, are moved and merged.

    cpgs: 1-based positions (n,) int32 by chromosome. Counts what is moved, merged and dropped in `counts`. Raises
    InputError where more than the share `most` of the positions are at no CpG, saying what explains it: positions that
    count from 0 or from 1 and were read otherwise, or another genome build.
    """
    kinds = dict.fromkeys(("c", "g", "before", "after", "beyond", "elsewhere"), 0)
    merged, first_beyond, n = {}, None, 0
    for chrom, (position, methylated, total) in found.by_chrom.items():
        here = cpgs[chrom]
        at_c = _is_in(position, here)
        at_g = ~at_c & _is_in(position - 1, here)
        beyond = position > lengths[chrom]
        rest = ~(at_c | at_g | beyond)
        # What the rest would be, were positions one lower or one higher than they were meant.
        before, after = _is_in(position + 1, here), _is_in(position - 2, here)
        kinds["c"] += int(at_c.sum())
        kinds["g"] += int(at_g.sum())
        kinds["beyond"] += int(beyond.sum())
        kinds["before"] += int((rest & before).sum())
        kinds["after"] += int((rest & ~before & after).sum())
        kinds["elsewhere"] += int((rest & ~before & ~after).sum())
        n += len(position)
        if beyond.any() and first_beyond is None:
            first_beyond = chrom, int(position[beyond][0])
        kept = at_c | at_g
        placed = position[kept] - at_g[kept]
        merged[chrom] = merge(placed, methylated[kept], total[kept])
        counts["strands"] += len(placed) - len(merged[chrom][0])
    counts["moved"] += kinds["g"]
    bad = n - kinds["c"] - kinds["g"]
    counts["not_cpg"] += bad
    if first_beyond is not None:
        chrom, position = first_beyond
        raise InputError(
            f"{what}: {many(kinds['beyond'], 'position')} beyond the end of the chromosome, for example line "
            f"{found.line_of(chrom, position):,}: {chrom} {position:,}, where {chrom} ends at {lengths[chrom]:,}. "
            "Give the genome build that the cells were aligned to"
        )
    if bad > most * n:
        raise InputError(f"{what}: {_diagnosis(kinds, n, bad, found.layout.start, most)}")
    return merged


def _diagnosis(kinds: dict, n: int, bad: int, start: int, most: float) -> str:
    """What explains positions that are at no CpG."""
    share = {kind: count / n for kind, count in kinds.items()}
    shares = (
        f"{share['c']:.1%} are at the C of a CpG, {share['g']:.1%} at its G, {share['before']:.1%} one base before the "
        f"C, {share['after']:.1%} one base behind the G, {share['elsewhere']:.1%} elsewhere"
    )
    counted = "zero_based" if start == 0 else "one_based"
    if start == 0 and share["before"] > SHIFTED and share["before"] + share["c"] > MOSTLY:
        return (
            f"most positions count from 0 in a file taken to count from 1 ({shares}): set "
            f"`single_cell.coordinates: {counted}`"
        )
    if start == 1 and share["after"] > SHIFTED and share["after"] + share["g"] > MOSTLY:
        return (
            f"most positions count from 1 in a file taken to count from 0 ({shares}): set "
            f"`single_cell.coordinates: {counted}`"
        )
    if bad > MOSTLY * n:
        return (
            f"{bad / n:.1%} of {n:,} positions are at no CpG of the genome ({shares}): it seems to be another genome "
            "build. Give the one that the cells were aligned to"
        )
    return (
        f"{bad / n:.1%} of {n:,} positions are at no CpG of the genome ({shares}), more than "
        f"`single_cell.max_not_cpg` ({most:g}). Take rows of other contexts (CHG, CHH) and of other builds out, or "
        "raise it"
    )


def _check_cells(cells: dict[str, Cell], chroms: dict[str, np.ndarray], notes: list[str]) -> list[str]:
    """Problems between cells: none shares a site with another. Notes cells that are the same, or share little."""
    if len(cells) == 1:
        notes.append("There is one cell: nothing can be said of differences between cells.")
        return []
    names, problems = list(cells), []
    shared, twice, sites = np.zeros(len(names), dtype=np.int64), 0, sum(map(len, chroms.values()))
    for _, _, matrix in _matrices(cells, chroms):
        several = (matrix >= 0).sum(axis=1) > 1
        shared += (matrix[several] >= 0).sum(axis=0)
        twice += int(several.sum())
    if twice == 0:
        problems.append(
            f"no site is observed in two of the {len(names)} cells: are they of one genome build, and numbered alike? "
            "Give a genome (`single_cell.genome`) to find out"
        )
        return problems
    alone = [name for name, count in zip(names, shared, strict=True) if count == 0]
    if alone:
        notes.append(f"Cells that share no site with any other: {some(alone)}. Check their genome builds.")
    if twice < LITTLE_OVERLAP * sites:
        notes.append(f"Only {twice:,} of {sites:,} sites are observed in two cells or more.")
    first: dict[bytes, str] = {}
    for name, cell in cells.items():
        found = [state for _, state in cell.by_chrom.values()]
        n, methylated = sum(map(len, found)), sum(int(state.sum()) for state in found)
        if n >= MANY and methylated in (0, n):
            word = "methylated" if methylated else "unmethylated"
            notes.append(
                f"All {n:,} sites of the cell {name} are {word}: does its file hold states, and in which column?"
            )
        key = b"".join(
            chrom.encode() + len(one[0]).to_bytes(8) + one[0].tobytes()[:4096] + one[1].tobytes()[:4096]
            for chrom, one in sorted(cell.by_chrom.items())
        )
        other = first.setdefault(key, name)
        if other != name and _same(cells[other], cell):
            notes.append(f"The cells {other} and {name} are the same, site by site: is one file given twice?")
    return problems


def _same(one: Cell, other: Cell) -> bool:
    if one.by_chrom.keys() != other.by_chrom.keys():
        return False
    pairs = [zip(one.by_chrom[chrom], other.by_chrom[chrom], strict=True) for chrom in one.by_chrom]
    return all(np.array_equal(a, b) for pair in pairs for a, b in pair)


# --- sites -----------------------------------------------------------------------------------------------------------


def _union(cells: dict[str, Cell], genome: Genome | None) -> dict[str, np.ndarray]:
    """Positions observed in any cell, (n,) int32 ascending, by chromosome in order."""
    there = {chrom for cell in cells.values() for chrom in cell.by_chrom}
    order = [name for name in genome.names if name in there] if genome is not None else sorted(there, key=natural)
    chroms = {}
    for chrom in order:
        position = np.empty(0, dtype=np.int32)
        for cell in cells.values():
            if chrom in cell.by_chrom:
                # Of two ascending pieces a stable sort makes one in one go.
                both = np.sort(np.concatenate([position, cell.by_chrom[chrom][0]]), kind="stable")
                position = both[np.diff(both, prepend=-1) > 0]
        chroms[chrom] = position
    return chroms


def _splits(chroms: dict, settings: dict, genome: Genome | None, problems: list[str], notes: list[str]):
    """Split codes (n,) int8 by chromosome; see `prepare`."""
    given = {name: settings["split"].get(name) for name in SPLITS}
    if any(given.values()):
        return _named_splits(given, chroms, genome, problems, notes)
    sizes = {chrom: len(position) for chrom, position in chroms.items()}
    chosen = choose(sizes) if len(chroms) >= len(SPLITS) else None
    if chosen is not None:
        codes = {chrom: SPLITS[name] for name, of in chosen.items() for chrom in of}
        return {chrom: np.full(len(position), codes[chrom], np.int8) for chrom, position in chroms.items()}
    margin = int(settings["dna_wlen"])
    notes.append(
        "Too few chromosomes of a size to split by: each is cut into consecutive blocks (60 % training, 20 % "
        f"validation, 20 % test), {margin:,} bases apart, so that no sequence is in two of them."
    )
    split = {chrom: blocks(position, margin) for chrom, position in chroms.items()}
    counts = [sum(int((codes == code).sum()) for codes in split.values()) for code in range(len(SPLITS))]
    if min(counts) == 0:
        problems.append(
            f"{sum(sizes.values()):,} sites are too few, or too close, to be split ({counts[0]:,} training, "
            f"{counts[1]:,} validation, {counts[2]:,} test): bring more, or name chromosomes in `single_cell.split`"
        )
    return split


def choose(sizes: dict[str, int]) -> dict[str, list[str]] | None:
    """Whole chromosomes for each split, near SHARES of the sites; None where that cannot be.

    From the largest on, each goes where most is lacking, but none is left empty.
    """
    total = sum(sizes.values())
    lacking = dict(zip(SPLITS, (share * total for share in SHARES), strict=True))
    chosen: dict[str, list[str]] = {name: [] for name in SPLITS}
    order = sorted(sizes, key=lambda chrom: -sizes[chrom])
    for at, chrom in enumerate(order):
        empty = [name for name in SPLITS if not chosen[name]]
        among = empty if len(order) - at <= len(empty) else SPLITS
        name = max(among, key=lambda one: lacking[one])
        chosen[name].append(chrom)
        lacking[name] -= sizes[chrom]
    got = [sum(sizes[chrom] for chrom in chosen[name]) for name in SPLITS]
    return chosen if min(got) >= FEWEST * total and got[0] == max(got) else None


def blocks(position: np.ndarray, margin: int) -> np.ndarray:
    """Split codes (n,) int8 of a chromosome cut at SHARES of its sites; sites within `margin` bases of the last site
    before a cut get none."""
    codes = np.empty(len(position), dtype=np.int8)
    cuts = np.round(np.cumsum((0.0, *SHARES)) * len(position)).astype(int)
    for code in range(len(SPLITS)):
        piece = slice(cuts[code], cuts[code + 1])
        codes[piece] = code
        if code and cuts[code]:
            codes[piece][position[piece] < position[cuts[code] - 1] + margin] = NONE
    return codes


def _named_splits(given: dict, chroms: dict, genome: Genome | None, problems: list[str], notes: list[str]):
    """Splits as the config names them; where it names no training chromosomes, the rest are these."""
    known = genome.names if genome is not None else list(chroms)
    named: dict[str, str] = {}
    for name in SPLITS:
        matched = match_names(given[name] or [], known)
        unknown = [chrom for chrom, there in matched.items() if there is None]
        if unknown:
            problems.append(f"single_cell.split.{name}: no chromosome {some(unknown)}; there are {some(known, 10)}")
        for chrom in filter(None, (matched[one] for one in given[name] or [])):
            if chrom in named:
                both = f"in {named[chrom]} and {name}" if named[chrom] != name else f"twice in {name}"
                problems.append(f"single_cell.split: the chromosome {chrom!r} is {both}: name it once")
            named[chrom] = name
    for name in ("val", "test"):
        if not given[name]:
            problems.append(f"single_cell.split.{name} is empty: name chromosomes for it, or for none of the splits")
    if not given["train"]:
        named |= dict.fromkeys((chrom for chrom in chroms if chrom not in named), "train")
    left = [chrom for chrom in chroms if chrom not in named]
    if left:
        notes.append(f"Chromosomes in no split: {some(left, 8)}. Their sites are predicted, and not used for scores.")
    if not problems:
        for name in SPLITS:
            if not any(named.get(chrom) == name for chrom in chroms):
                problems.append(f"single_cell.split.{name}: no site lies on {some(given[name] or ['the rest'])}")
    codes = {chrom: SPLITS[named[chrom]] if chrom in named else NONE for chrom in chroms}
    return {chrom: np.full(len(position), codes[chrom], np.int8) for chrom, position in chroms.items()}


def _intervals(name: str, bed: pd.DataFrame, chroms: dict, notes: list[str]) -> dict:
    """An annotation's intervals by chromosome of the sites, made ready for `annotations.inside`."""
    names = match_names(bed["chrom"].cat.categories, chroms)
    found = {}
    for chrom, rows in bed.groupby("chrom", observed=True).indices.items():
        if names[chrom] is not None:
            found[names[chrom]] = reach(bed["start"].to_numpy()[rows], bed["end"].to_numpy()[rows])
    if not found:
        has = some(list(bed["chrom"].cat.categories))
        notes.append(f"The annotation {name} has no interval on the chromosomes of the sites; it has {has}.")
    return found


# --- files -----------------------------------------------------------------------------------------------------------


def _write(cells: dict, chroms: dict, split: dict, intervals: dict, out: dict, notes: list[str], farthest: int) -> None:
    """Write all files, block by block of sites."""
    names = list(cells)
    sites = sum(map(len, chroms.values()))
    files.need_space(out["sites"], sites * (len(names) + 50.0), "the table of sites takes")
    observed, methylated = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    overlapping, inside_of = 0, dict.fromkeys(intervals, 0)
    with contextlib.ExitStack() as stack:
        write_sites = _sites_writer(stack, out["sites"], names, list(chroms), farthest)
        write_statistics = _parquet_writer(stack, out["statistics"])
        write_annotations = _parquet_writer(stack, out["annotations"])
        first = 0
        progress = Progress(sites, "sites written")
        for number, position, matrix in _matrices(cells, chroms):
            chrom = list(chroms)[number]
            start = np.searchsorted(chroms[chrom], position[0])
            write_sites(number, position, split[chrom][start : start + len(position)], matrix)
            frame = site_statistics(matrix)
            frame.insert(0, "chrom", pd.Categorical.from_codes(np.full(len(position), number), list(chroms)))
            frame.insert(1, "position", position)
            write_statistics(frame)
            within = {"site": np.arange(first, first + len(position))}
            for name, of in intervals.items():
                here = of.get(chrom)
                within[name] = inside(position, *here) if here else np.zeros(len(position), bool)
                inside_of[name] += int(within[name].sum())
            write_annotations(pd.DataFrame(within))
            observed += (matrix >= 0).sum(axis=0)
            methylated += (matrix == 1).sum(axis=0)
            overlapping += int((frame["coverage"] > 1).sum())
            first += len(position)
            progress.step(len(position))
    for name, count in inside_of.items():
        if intervals[name] and count == 0:
            notes.append(f"No site lies in the annotation {name}.")
    counts = pd.DataFrame([cell.counts for cell in cells.values()])
    report = pd.DataFrame(
        {"cell": names, "observed": observed, "coverage": observed / sites, "rate": methylated / observed}
    ).round({"coverage": 6, "rate": 6})
    with files.atomic(out["cells"]) as temporary:
        read_as = pd.Series([cell.read_as for cell in cells.values()], name="read_as")
        pd.concat([report, counts, read_as], axis=1).to_csv(temporary, index=False)
    totals = {name: int(count) for name, count in counts.sum().items()}
    notes += _remarks(totals)
    for note in notes:
        logging.warning(note)
    by_split = {name: int(sum((codes == SPLITS[name]).sum() for codes in split.values())) for name in SPLITS}
    files.write_json(
        out["qc"],
        {
            "cells": len(names),
            "sites": sites,
            "observations": int(observed.sum()),
            "sites_in_two_cells": overlapping,
            "chromosomes": {
                chrom: {
                    "sites": len(position),
                    "split": [name for code, name in enumerate(SPLITS) if (split[chrom] == code).any()],
                }
                for chrom, position in chroms.items()
            },
            "split": by_split | {"none": sites - sum(by_split.values())},
            "annotations": inside_of,
            "checks": totals,
            "warnings": notes,
        },
    )
    logging.info(f"{sites:,} sites, {len(names):,} cells, {int(observed.sum()):,} observations")


REMARKS = {
    "missing": "rows without a value are taken as unobserved",
    "other_context": "rows of other contexts than CG, or of other modifications than 5mC, are left out",
    "duplicates": "rows of a position already given are merged (mean)",
    "moved": "positions at the G of a CpG (the other strand) are moved to its C",
    "strands": "pairs of rows of both strands of a CpG are merged (mean)",
    "undecided": "values of exactly one half are taken as unobserved",
    "not_cpg": "positions at no CpG of the genome are left out",
}


def _remarks(totals: dict[str, int]) -> list[str]:
    return [f"{totals[name]:,} {text}." for name, text in REMARKS.items() if totals.get(name)]


def _matrices(cells: dict, chroms: dict):
    """Number of the chromosome, positions int64 and states (n, cells) int8, of at most ROWS sites at a time."""
    for number, (chrom, position) in enumerate(chroms.items()):
        for start in range(0, len(position), ROWS):
            piece = position[start : start + ROWS]
            matrix = np.full((len(piece), len(cells)), UNOBSERVED, dtype=np.int8)
            for column, cell in enumerate(cells.values()):
                if chrom not in cell.by_chrom:
                    continue
                own, state = cell.by_chrom[chrom]
                low, high = np.searchsorted(own, piece[0]), np.searchsorted(own, piece[-1], side="right")
                matrix[np.searchsorted(piece, own[low:high]), column] = state[low:high]
            yield number, piece.astype(np.int64), matrix


def _sites_writer(stack: contextlib.ExitStack, path, cells: list[str], chroms: list[str], farthest: int):
    """A function that appends rows to the table of sites, which appears when `stack` ends without an error."""
    names = pa.array(chroms, pa.string())
    fields = [("chrom", pa.dictionary(pa.int32(), pa.string())), ("position", pa.int64()), ("split", pa.int8())]
    fields.append(("states", pa.list_(pa.int8(), len(cells))))
    schema = pa.schema(fields, metadata={"cells": json.dumps(cells), "farthest": str(farthest)})
    temporary = stack.enter_context(files.atomic(path))
    sink = stack.enter_context(pa.OSFile(str(temporary), "wb"))
    file = stack.enter_context(pa.ipc.new_file(sink, schema))

    def write(chrom: int, position: np.ndarray, codes: np.ndarray, matrix: np.ndarray) -> None:
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(np.full(len(position), chrom, dtype=np.int32)), names),
            pa.array(position),
            pa.array(codes),
            pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1]),
        ]
        file.write_batch(pa.record_batch(columns, schema=schema))

    return write


def _parquet_writer(stack: contextlib.ExitStack, path):
    """A function that appends data frames to a Parquet file, which appears when `stack` ends without an error."""
    temporary, writer = stack.enter_context(files.atomic(path)), None

    def write(frame: pd.DataFrame) -> None:
        nonlocal writer
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if writer is None:
            writer = stack.enter_context(pq.ParquetWriter(temporary, table.schema, write_page_checksum=True))
        writer.write_table(table)

    return write

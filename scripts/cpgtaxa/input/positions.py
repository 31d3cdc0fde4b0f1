"""Where CpGs lie: tables of positions that people give, checked against the ends of chromosomes."""

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError, refuse, some
from cpgtaxa.input.texts import read_table

ASSEMBLIES = {
    "hg19": (
        249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431, 135534747,
        135006516, 133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248, 59128983, 63025520,
        48129895, 51304566, 155270560, 59373566,
    ),
    "hg38": (
        248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717, 133797422,
        135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285, 58617616, 64444167,
        46709983, 50818468, 156040895, 57227415,
    ),
}  # fmt: skip
"""Lengths of chromosomes 1 to 22, X and Y in bases (UCSC)."""
NAMES = (*map(str, range(1, 23)), "X", "Y")
"""The chromosomes of ASSEMBLIES, in their order."""
NOWHERE = {"", "NA", "NAN", "N/A", "NULL", "NONE", ".", "-", "*"}
"""In place of a chromosome or a position, in capitals: the CpG has none."""
OTHER_NAMES = {"MT": "M", "23": "X", "24": "Y"}


def beyond_ends(chrom: pd.Series, position) -> dict[str, np.ndarray]:
    """Which positions (1-based) lie beyond the end of their chromosome, by assembly: boolean arrays of their length.

    chrom: names as in NAMES; of others the ends are not known.
    """
    found = {}
    for assembly, lengths in ASSEMBLIES.items():
        ends = chrom.map(dict(zip(NAMES, lengths, strict=True)))
        found[assembly] = (position > ends).to_numpy()
    return found


def chromosomes(names) -> pd.Series:
    """Chromosomes as UCSC names them (chr1, chrX, chrM), from names with or without `chr`; others keep their case.

    Empty where there is none: NOWHERE, and the 0 of manifests.
    """
    bare = pd.Series(names, dtype=object).astype(str).str.strip().str.replace(r"^chr", "", case=False, regex=True)
    bare = bare.str.replace(r"^(\d+)\.0$", r"\1", regex=True)  # of a column of numbers with gaps
    upper = bare.str.upper()
    upper = upper.replace(OTHER_NAMES)
    known = upper.isin([*NAMES, "M"])
    found = "chr" + bare.where(~known, upper)
    return found.where(~upper.isin([*NOWHERE, "0"]), "")


def read_positions(path, key: str, columns: dict[str, str], *, one_based: bool) -> tuple[pd.DataFrame, str | None]:
    """cpg, chrom (chr1 …), start (int64, from 0, of the C), one row per CpG that has a position; and the assembly.

    path: CSV or TSV (.gz) that the config names under `key`; columns: what it calls cpg, chrom and position. one_based:
    whether positions count from 1. Rows without chromosome or position are left out, as are those of chromosome 0.
    The assembly is hg19 or hg38 where the other one's chromosomes are too short, else None.

    Raises InputError listing all that is wrong: positions that are none, CpGs with two positions, names that hold
    blanks, positions beyond the ends of chromosomes of both assemblies.
    """
    what, problems = f"{key}: {path}", []
    parts = ("cpg", "chrom", "position")
    table, lines = read_table(path, key, tuple(columns[part] for part in parts))
    frame = pd.DataFrame({part: table[columns[part]] for part in parts}, dtype=object)
    frame["line"] = lines
    frame["name"] = chromosomes(frame["chrom"])
    lacking = frame["position"].str.upper().isin(NOWHERE) | (frame["name"] == "")
    frame = frame[~lacking].copy()
    if not len(frame):
        raise InputError(f"{what} gives no CpG a position: check its columns {some(columns.values())}")
    least = 1 if one_based else 0
    numbers = pd.to_numeric(frame["position"], errors="coerce")
    odd = (numbers.isna() | ~np.isfinite(numbers) | (numbers < least) | (numbers % 1 != 0)).to_numpy()
    if odd.any():
        first = frame[odd].iloc[0]
        problems.append(
            f"{what}, line {first['line']}: {str(first['position'])[:40]!r} is no position ({int(odd.sum()):,} such "
            f"rows). Positions are whole numbers of bases, the first is {least} (export.one_based)"
        )
    blank = frame["cpg"].eq("").to_numpy()
    if blank.any():
        problems.append(f"{what}, line {frame['line'][blank].iloc[0]}: a row without a CpG's name. Name or remove it")
    spaced = frame["name"].str.contains(r"\s", regex=True).to_numpy()
    if spaced.any():
        first = frame[spaced].iloc[0]
        problems.append(
            f"{what}, line {first['line']}: {first['chrom'][:40]!r} is no chromosome ({int(spaced.sum()):,} such "
            "rows). Names of chromosomes hold no blanks"
        )
    frame = frame[~(odd | blank | spaced)].copy()
    if not len(frame):
        raise InputError(problems)
    frame["start"] = pd.to_numeric(frame["position"]).astype(np.int64) - least
    frame = frame.drop_duplicates(["cpg", "name", "start"])
    twice = frame["cpg"].duplicated()
    if twice.any():
        first = frame[twice].iloc[0]
        problems.append(
            f"{what} gives {frame['cpg'][twice].nunique():,} CpGs more than one position: "
            f"{some(frame['cpg'][twice].unique())} (line {first['line']}). Keep one each"
        )
    beyond = beyond_ends(frame["name"].str.removeprefix("chr"), frame["start"] + 1)
    fits = [assembly for assembly, rows in beyond.items() if not rows.any()]
    if not fits:
        text = "; ".join(
            f"{int(rows.sum()):,} of {assembly}, such as {frame['cpg'][rows].iloc[0]} at "
            f"{frame['name'][rows].iloc[0]}:{frame['start'][rows].iloc[0] + 1:,} (line {frame['line'][rows].iloc[0]})"
            for assembly, rows in beyond.items()
        )
        problems.append(
            f"{what}: positions beyond the ends of chromosomes: {text}. Give positions of one human assembly, and "
            "correct these rows"
        )
    refuse(problems)
    frame = frame[["cpg", "name", "start"]].rename(columns={"name": "chrom"}).reset_index(drop=True)
    return frame, fits[0] if len(fits) == 1 else None

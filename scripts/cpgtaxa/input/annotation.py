"""What an array's manifest says of the CpGs: chromosome, position, gene, where they lie to a CpG island, and SNPs; and
the user's lists of CpGs to be known by a name."""

import csv
import gzip
import itertools
import logging
import pathlib
import re
import zlib

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError, gathered, reason_of, refuse, some
from cpgtaxa.input.delimited import LOOKED_AT, Layout
from cpgtaxa.input.positions import NOWHERE, beyond_ends, chromosomes, rounded
from cpgtaxa.input.probes import cpg_of, read_list
from cpgtaxa.input.streams import codec_of, magic, refuse_foreign
from cpgtaxa.input.texts import separator_of
from cpgtaxa.names import SNP, SNP_NEAR

KEY = "annotation.manifest"
NAMES = {
    "cpg": ("ilmnid", "cpg", "cpgid", "probe", "probeid", "name", "id"),
    "chromosome": ("chr", "chromosome", "chrom", "cpgchrm", "seqnames"),
    "position": ("mapinfo", "position", "pos"),
    "gene": ("ucscrefgenename", "gene", "genes", "genename", "genenames", "genesymbol", "symbol"),
    "island": ("relationtoucsccpgisland", "relationtoisland", "island", "islandcontext", "cpgisland"),
}
"""What manifests call the columns, in small letters without other signs: Illumina's names first, then minfi's."""
SNPS = {
    "at": ("cpgrs",),
    "ids": ("snpid",),
    "distances": ("snpdistance",),
    "shares": ("snpminorallelefrequency",),
    "near": ("probesnps10",),
}
"""Columns about SNPs: minfi's of SNPs at the CpG; Illumina's of SNPs in the probe, their distances to the CpG (bases)
and minor allele frequencies; of the 450K's, those within 10 bases of it."""
AT_CPG, COMMON = 1, 0.01
"""An SNP is at the CpG up to this many bases from it, and common from this minor allele frequency on."""
HEADINGS = 100
"""Lines in which the section [Assay] begins."""
OPEN_SEA = "OpenSea"
"""Of a CpG that the manifest lists and that lies at no island, as minfi calls it."""


def _assay(handle):
    """The lines of a manifest's section [Assay]: up to [Controls]."""
    over = False
    for line in handle:  # to its end, where damage shows
        over = over or line.startswith("[Controls]")
        if not over:
            yield line


def _header(path, handle) -> tuple[list[str], str, int]:
    """Names of the columns, separator, and the header's line; the handle is left behind that line."""
    first, number = handle.readline(), 1
    if first.startswith(("Illumina", "[Heading]")):
        while first and not first.startswith("[Assay]") and number < HEADINGS:
            first, number = handle.readline(), number + 1
        if not first.startswith("[Assay]"):
            raise InputError(f"{KEY}: {path} begins as Illumina's manifests do but has no line [Assay]: copy it again")
        first, number = handle.readline(), number + 1
    separator = separator_of(first) or ","
    return [name.strip() for name in next(csv.reader([first], delimiter=separator), [])], separator, number


def _columns(path, names: list[str], given: dict) -> dict[str, str]:
    """Which column of the file is which of NAMES: as the config says, else by common names."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    found, problems = {}, []
    for part, common in NAMES.items():
        if given.get(part):
            if given[part] not in names:
                problems.append(f"annotation.columns.{part}: {path} has no column {given[part]!r}; found {some(names)}")
            found[part] = given[part]
        elif name := next((plain[one] for one in common if one in plain), None):
            found[part] = name
    if not problems and ("cpg" not in found or len(found) == 1):
        lacking = "ids of CpGs" if "cpg" not in found else "chromosome, position, gene or island"
        problems.append(
            f"{KEY}: {path} has no column with {lacking}; found {some(names)}. Say which it is in annotation.columns"
        )
    if not problems and ("chromosome" in found) != ("position" in found):
        there, lacking = sorted(("chromosome", "position"), key=lambda part: part not in found)
        problems.append(
            f"{KEY}: {path} has a {there} ({found[there]}), but no {lacking}; found {some(names)}. Say which it is in "
            f"annotation.columns.{lacking}"
        )
    refuse(problems)
    return found


def _rows(path, cpgs, given: dict) -> tuple[pd.DataFrame, dict[str, str]]:
    """The manifest's rows of the CpGs as text (their parts, `base`: the id without suffix, `line`), and its columns."""
    path = pathlib.Path(path)
    first = magic(path, KEY)
    refuse_foreign(path, first)
    codec = codec_of(first)
    if codec not in (None, "gzip"):
        raise InputError(f"{KEY}: {path} is packed with {codec}: unpack it, or use gzip")
    exact, bases = set(cpgs), {cpg_of(cpg) for cpg in cpgs}
    way = {"mode": "rt", "encoding": "utf-8-sig", "errors": "replace", "newline": ""}
    try:
        with gzip.open(path, **way) if codec else open(path, **way) as handle:
            names, separator, line = _header(path, handle)
            columns = _columns(path, names, given)
            reader = csv.reader(_assay(handle), delimiter=separator)
            rows = ((line + reader.line_num, [field.strip() for field in row]) for row in reader)
            first = list(itertools.islice(rows, LOOKED_AT))
            layout = Layout(names, [row for _, row in first if any(row)])
            place = {part: layout.names.index(name) for part, name in (columns | _snp_columns(names)).items()}
            found, odd = [], []
            for number, row in itertools.chain(first, rows):
                if not any(row):
                    continue
                if len(row) < len(layout.names) or any(row[len(layout.names) :]):
                    odd.append(f"line {number} ({len(row)})")
                    continue
                if row[place["cpg"]] in exact or cpg_of(row[place["cpg"]]) in bases:
                    found.append({"line": number, **{part: row[at] for part, at in place.items()}})
                    found[-1]["base"] = cpg_of(found[-1]["cpg"])
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(f"{KEY}: {path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    if odd:
        raise InputError(
            f"{KEY}: {path}: {len(odd):,} rows with another number of fields than the header's {len(names)}: "
            f"{some(odd)}. Write rows in full, and quote fields that contain the separator"
        )
    if not found:
        extra = ". Its rows have one field more than its header: a name may be lacking" if layout.row_names else ""
        raise InputError(
            f"{KEY}: {path} and the cohort share no CpG (the cohort has {some(cpgs, 3)}): take the manifest of this "
            f"array, or say which column has the ids in annotation.columns.cpg{extra}"
        )
    return pd.DataFrame(found).astype(dict.fromkeys([*columns, "base"], object)), columns


def _snp_columns(names: list[str]) -> dict[str, str]:
    """Which column of the file is which of SNPS."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    return {f"snp_{part}": plain[one] for part, common in SNPS.items() for one in common if one in plain}


def _snp_flags(rows: pd.DataFrame) -> list[str]:
    """SNP where the manifest has a common one at the CpG, SNP_within_10 where it only says so much, else empty."""
    there = {part: rows.get(f"snp_{part}", pd.Series("", index=rows.index)) for part in SNPS}
    known = {part: ~values.str.upper().isin(NOWHERE) for part, values in there.items()}
    found = []
    for at, near, distances, shares, is_at, is_near in zip(
        there["at"], there["near"], there["distances"], there["shares"], known["at"], known["near"], strict=True
    ):
        close = any(
            distance.strip().lstrip("-").isdigit()
            and abs(int(distance)) <= AT_CPG
            and not (share and _number(share) < COMMON)
            for distance, share in itertools.zip_longest(distances.split(";"), shares.split(";"), fillvalue="")
        )
        found.append(SNP if close or (is_at and at) else SNP_NEAR if is_near and near else "")
    return found


def _number(text: str) -> float:
    """A number, or 1 where the text is none."""
    try:
        return float(text)
    except ValueError:
        return 1.0


def _listed(cpgs: np.ndarray, lists: dict[str, str]) -> dict[str, np.ndarray]:
    """By the user's lists (path by name) which CpGs (n,) they hold, with or without suffix. Raises InputError."""
    problems, found = [], {}
    for name, path in lists.items():
        key = f"annotation.lists.{name}"
        if name in (SNP, SNP_NEAR):
            problems.append(f"{key}: this name is taken by what the manifest says: choose another")
            continue
        if (ids := gathered(problems, read_list, path, key)) is None:
            continue
        bases = {cpg_of(one) for one in ids}
        found[name] = np.array([cpg in ids or cpg_of(cpg) in bases for cpg in cpgs])
        if not found[name].any():
            problems.append(
                f"{key}: none of the {len(ids):,} ids in {path} ({some(sorted(ids), 3)}) is in the cohort: is it the "
                "list of another array, or are the ids not in its first column?"
            )
    refuse(problems)
    return found


def _distinct(fields: pd.Series) -> list[str]:
    """What a field lists with semicolons, each once; missing as empty text."""
    parts = (dict.fromkeys(part.strip() for part in field.split(";")) for field in fields)
    return [";".join(part for part in found if part.upper() not in NOWHERE) for found in parts]


def _placed(path, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with chromosome (chr1 …, empty: nowhere) and position (Int64, from 1). Raises InputError."""
    problems, what = [], f"{KEY}: {path}"
    rows["chromosome"] = chromosomes(rows["chromosome"]).to_numpy(dtype=object)
    nowhere = (rows["chromosome"] == "") | rows["position"].str.upper().isin({*NOWHERE, "0"})
    numbers = pd.to_numeric(rows["position"].where(~nowhere), errors="coerce")
    odd = (~nowhere & (numbers.isna() | (numbers < 1) | (numbers % 1 != 0) | rounded(rows["position"]))).to_numpy()
    if odd.any():
        worst = rows[odd].iloc[0]
        problems.append(
            f"{what}, line {worst['line']}: {worst['position'][:40]!r} is no position ({int(odd.sum()):,} such rows): "
            "positions are whole numbers of bases, from 1. Say which column has them in annotation.columns.position"
        )
    else:
        beyond = beyond_ends(rows["chromosome"].str.removeprefix("chr"), numbers)
        if all(found.any() for found in beyond.values()):
            worst = rows[np.logical_and.reduce(list(beyond.values()))]
            worst = (worst if len(worst) else rows[beyond["hg38"]]).iloc[0]
            problems.append(
                f"{what}, line {worst['line']}: {worst['cpg']} at {worst['chromosome']}:{worst['position']} lies "
                "beyond the end of its chromosome, in hg19 as in hg38. Give positions of one human assembly"
            )
    refuse(problems)
    rows.loc[nowhere, "chromosome"] = ""
    return rows.assign(position=numbers.astype("Int64"))


def annotate(cpgs: np.ndarray, path, given: dict, lists: dict[str, str] | None = None) -> pd.DataFrame:
    """What a manifest says of CpGs: cpg, chromosome, position, gene, island, flags, one row each, in their order.

    cpgs: (n,) str, ids with or without the suffixes of EPICv2 and MSA. path: Illumina's manifest of 450K, EPICv1,
    EPICv2 or MSA, or another table with a header: CSV or TSV (.gz). given: names of columns, None where they are found.
    lists: the user's, path by name. flags: SNP (at the CpG), SNP_within_10, and the names of the lists with the CpG.
    chromosome (chr1 …), gene and island ("A;B" where there are several) are empty text where there is none, position
    (Int64, from 1) is missing then. Raises InputError.
    """
    listed = _listed(cpgs, lists or {})
    rows, columns = _rows(path, cpgs, given)
    rows["snp"] = _snp_flags(rows)
    if "chromosome" in columns:
        rows = _placed(path, rows)
        apart = rows.drop_duplicates(["cpg", "chromosome", "position"])["cpg"]
        if apart.duplicated().any():
            twice = apart[apart.duplicated()].unique()
            raise InputError(f"{KEY}: {path} gives {len(twice):,} CpGs more than one position: {some(twice)}. Keep one")
    for part in ("gene", "island"):
        if part in columns:
            rows[part] = _distinct(rows[part])
    if "island" in columns:
        rows["island"] = rows["island"].replace("", OPEN_SEA)
    # A probe's own row stands before that of another probe of its CpG.
    own, of_base = {}, {}
    for at, (probe, base) in enumerate(zip(rows["cpg"], rows["base"], strict=True)):
        own.setdefault(probe, at)
        of_base.setdefault(base, at)
    found = rows.reindex([own.get(cpg, of_base.get(cpg_of(cpg), -1)) for cpg in cpgs])
    n_lacking = int(found["line"].isna().sum())
    if n_lacking:
        names = cpgs[found["line"].isna().to_numpy()]
        logging.warning(f"{n_lacking:,} of {len(cpgs):,} CpGs are not in {path}: {some(names)}")
    logging.info(f"{len(cpgs) - n_lacking:,} CpGs annotated from {path}: {', '.join(columns.values())}")
    table = pd.DataFrame({"cpg": cpgs})
    for part in ("chromosome", "position", "gene", "island"):
        values = found[part] if part in columns else pd.Series("", index=found.index, dtype=object)
        if part == "position":
            table[part] = pd.to_numeric(values, errors="coerce").astype("Int64").array
        else:
            table[part] = values.fillna("").to_numpy(dtype=object)
    named = {SNP: found["snp"].eq(SNP).to_numpy(), SNP_NEAR: found["snp"].eq(SNP_NEAR).to_numpy()} | listed
    for name, among in named.items():
        if among.any():
            logging.info(f"{int(among.sum()):,} CpGs are flagged {name}")
    table["flags"] = [";".join(name for name, among in named.items() if among[at]) for at in range(len(cpgs))]
    table["flags"] = table["flags"].astype(object)
    return table

"""Probes and the CpGs they measure: ids of the arrays, replicate probes, lists of probes to leave out."""

import collections
import re

import pandas as pd

from cpgtaxa.errors import InputError, gathered, refuse, some
from cpgtaxa.input.delimited import separator_among
from cpgtaxa.input.texts import csv_rows, lines_of, read_text

SUFFIX = re.compile(r"_[TB][CO][12]\d{1,2}$")
"""What EPICv2 and MSA append to an id: strand, conversion, design type, number of the replicate (Illumina 2023)."""
KIND = re.compile(r"(cg|ch|rs|nv|ctl)(?=[\d.\-_])")
AGAIN = re.compile(r"(?<=\d)[._]\d{1,2}$")
KINDS = {
    "ch": "methylation outside CpGs",
    "rs": "a probe of a SNP",
    "nv": "a probe of a mutation",
    "ctl": "a control probe",
}
"""Kinds of probes beside cg, and what they are; all measure something else than a CpG."""
REPLICATE, NOT_LISTED = "replicate", "not_listed"
MOST_ARE = 0.5
RESERVED = ("missing", "constant", REPLICATE, NOT_LISTED, *KINDS)
"""Reasons of ours, which no list of the user's may be called."""


def cpg_of(probe: str) -> str:
    """The CpG that a probe measures: its id without the suffix of EPICv2 and MSA."""
    return SUFFIX.sub("", probe) if "_" in probe else probe


def others(probes: list[str], wanted) -> dict[int, str]:
    """The kind of each probe that is not a CpG's, by its place, but for kinds that are `wanted`."""
    found = {}
    for place, probe in enumerate(probes):
        if not probe.startswith("cg") and (match := KIND.match(probe)) and match[1] not in ("cg", *wanted):
            found[place] = match[1]
    return found


def numbered_again(cpgs: list[str]) -> list[str]:
    """Ids that are another id with a number behind it (cg00000029.1), as R and pandas make equal names different."""
    known = set(cpgs)
    ends = ((name, AGAIN.search(name)) for name in cpgs if "." in name or "_" in name)
    return [name for name, end in ends if end and name[: end.start()] in known]


def describe(probes) -> dict:
    """What array ids come from, as far as they show it: `array`, `with_suffix`, and numbers by kind of probe.

    Only EPICv2 and MSA have suffixes; which of the two, and 450K or EPICv1, only their number shows.
    """
    kinds, with_suffix = collections.Counter(), 0
    for probe in probes:
        found = KIND.match(probe)
        kinds[found.group(1) if found else "other"] += 1
        with_suffix += "_" in probe and SUFFIX.search(probe) is not None
    n = sum(kinds.values())
    if not n or kinds["cg"] < n / 2:
        array = "unknown"
    elif with_suffix > n / 2:
        array = "EPICv2" if n > 300_000 else "EPICv2 or MSA"
        array = "MSA" if 250_000 < n <= 300_000 else array
    else:
        array = "EPICv1" if n > 490_000 else "450K or EPICv1"
        array = "27K, 450K or EPICv1" if n <= 27_578 else array
    return {"array": array, "with_suffix": int(with_suffix), "kinds": dict(sorted(kinds.items()))}


def read_list(path, key: str) -> set[str]:
    """Ids in a text file (may be gzipped): of the first column, the column `cpg`, `probe` …, or the one that holds ids
    of arrays; of all columns where all do. # begins comments.

    A header does no harm. Raises InputError naming `key` for a file that cannot be read or holds no ids.
    """
    text = read_text(path, key)
    lines = [line for line in lines_of(text) if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise InputError(f"{key}: {path} holds nothing but comments: list one CpG per line")
    separator = separator_among(lines) or separator_among(lines[1:]) or "\t"
    rows = [row for _, row in csv_rows("\n".join(lines), separator, f"{key}: {path}")]
    width = max(map(len, rows))
    shares = [sum(len(row) > at and KIND.match(row[at]) is not None for row in rows) / len(rows) for at in range(width)]
    heads = [re.sub(r"\W|_", "", name).lower() for name in rows[0]]
    named = next((heads.index(name) for name in ("cpg", "probe", "probeid", "ilmnid", "cgid") if name in heads), 0)
    # R's row names stand before the first name.
    place = named if not max(shares) or shares[named] > MOST_ARE else shares.index(max(shares))
    given = [field for row in rows for field in (row if min(shares) > MOST_ARE else row[place : place + 1]) if field]
    flags = {row[at].upper() for row in rows[1:] for at in range(width) if at != place and len(row) > at}
    if {"TRUE", "FALSE"} <= flags:
        raise InputError(
            f"{key}: {path} has a column that says TRUE or FALSE of its ids, and all of them would be taken: write a "
            "list of those that are meant"
        )
    return set(given)


class Lists:
    """Which probes the user's lists leave out, and why."""

    def __init__(self, filters: dict | None, only: str | None):
        """filters: file by name; only: file with the CpGs that alone are wanted. Raises InputError, all problems."""
        problems, self.filters = [], {}
        for name, path in (filters or {}).items():
            if name in RESERVED:
                problems.append(
                    f"cohort.filters.{name}: this name is taken (as are {', '.join(RESERVED)}): choose another"
                )
            self.filters[name] = gathered(problems, read_list, path, f"cohort.filters.{name}")
        self.only = gathered(problems, read_list, only, "cohort.only_cpgs") if only else None
        refuse(problems)
        self.paths = {**{f"filters.{name}": path for name, path in (filters or {}).items()}, "only_cpgs": only}
        self.hits = collections.Counter()

    def __bool__(self) -> bool:
        return bool(self.filters) or self.only is not None

    def reason(self, probe: str, cpg: str) -> str:
        """Why a probe is left out ("" if it is not): the first list that names it or its CpG."""
        for name, ids in self.filters.items():
            if cpg in ids or probe in ids:
                self.hits[f"filters.{name}"] += 1
                return name
        if self.only is not None:
            if cpg not in self.only and probe not in self.only:
                return NOT_LISTED
            self.hits["only_cpgs"] += 1
        return ""

    def problems(self) -> list[str]:
        """Lists of which nothing was found, after the matrix was gone through: files of another array, say."""
        lists = {f"filters.{name}": ids for name, ids in self.filters.items()}
        if self.only is not None:
            lists["only_cpgs"] = self.only
        return [
            f"cohort.{key}: none of the {len(ids):,} ids in {self.paths[key]} ({some(sorted(ids), 3)}) is in the "
            "matrix: is it the list of another array, or are the ids not in its first column?"
            for key, ids in lists.items()
            if not self.hits[key]
        ]


def replicated(cpgs) -> dict[str, int]:
    """How many probes there are of each CpG that has several, in order of their first."""
    counts = pd.Series(cpgs, dtype=object).value_counts(sort=False)
    return {name: int(number) for name, number in counts[counts > 1].items()}

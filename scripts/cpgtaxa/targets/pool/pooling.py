"""Summaries of cohorts as one cohort of pseudo-people, which every later step takes like any other.

A pseudo-person stands for one person of a stratum: it has the stratum's sex, one of its ages, and of each CpG one of
its values, dealt anew for each CpG. So levels, spread and bands by age, sex and cohort are those of the people,
and nothing goes from one CpG to another but by age, sex and cohort.
"""

import dataclasses
import itertools
import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cpgtaxa import files
from cpgtaxa.cohort import CohortWriter
from cpgtaxa.errors import InputError, gathered, refuse, some
from cpgtaxa.input import probes
from cpgtaxa.input.qc import COLUMNS
from cpgtaxa.progress import Progress
from cpgtaxa.seeds import unit_seed
from cpgtaxa.targets.pool.summary import Summary

BLOCK = 256
"""CpGs written together."""
FEWEST_PEOPLE = 10
"""People of all cohorts together, as of any cohort."""
SAME, COMPARED = 0.9, 5
"""Share of the CpGs, and CpGs at least, whose number of values and mean agree where it is the same cohort twice."""
FEW_SHARED = 0.1
"""Share of a cohort's CpGs in any other from which on it is no matter for a warning."""


# --- whether summaries go together -----------------------------------------------------------------------------------


def _alike(summaries: dict[str, Summary]) -> list[str]:
    """What is wrong with pooling these: other ids, genomes or adjustments, or the same cohort twice."""
    problems = []
    questions = (
        (
            "ids with suffixes of EPICv2 or MSA",
            lambda header: "yes" if header.suffixes else "no",
            "write those with suffixes again under `cohort: {collapse: mean}`, which takes them off",
        ),
        (
            "genome build of positions (`summarise.genome`)",
            lambda header: header.genome or "none",
            "positions mean other CpGs in another build: lift one over, and write its summary again",
        ),
        (
            "betas adjusted for",
            lambda header: ", ".join(sorted(header.adjusted)) or "nothing",
            "what is left of the betas differs: write them again with the same `adjust.covariates`",
        ),
    )
    for what, of, remedy in questions:
        groups: dict = {}
        for name, summary in summaries.items():
            groups.setdefault(of(summary.header), []).append(name)
        if len(groups) > 1:
            listed = "; ".join(f"{value} in {some(names)}" for value, names in groups.items())
            problems.append(f"pool.summaries: these do not go together, {what}: {listed}. Remedy: {remedy}")
    return problems + _twice(summaries)


def _twice(summaries: dict[str, Summary]) -> list[str]:
    """Pairs of summaries that are of the same people, by numbers and means of the CpGs that both begin with."""
    first = {name: summary.first().set_index("cpg") for name, summary in summaries.items()}
    problems = []
    for one, two in itertools.combinations(first, 2):
        both = first[one].join(first[two], how="inner", suffixes=("_1", "_2"))
        if len(both) < COMPARED:
            continue
        near = (both["n_1"] == both["n_2"]) & ((both["mean_1"] - both["mean_2"]).abs() < 1e-6)
        if near.mean() >= SAME:
            problems.append(
                f"pool.summaries: {one!r} ({summaries[one].path}) and {two!r} ({summaries[two].path}) are the same "
                "cohort: its people would count twice; remove one"
            )
    return problems


def _shared(summaries: dict[str, Summary]) -> tuple[int, list[str]]:
    """Number of CpGs of any cohort; and warnings. InputError where a cohort shares no CpG with another."""
    names = {name: summary.names() for name, summary in summaries.items()}
    counts = pa.chunked_array([pc.unique(chunk) for one in names.values() for chunk in one.chunks], pa.string())
    counts = pc.value_counts(counts)
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    problems, warnings = [], []
    for name, found in names.items() if len(names) > 1 else ():
        share = pc.sum(pc.is_in(found, several)).as_py() / max(len(found), 1)
        if not share:
            first = some(found[:3].to_pylist())
            problems.append(
                f"pool.summaries: {name!r} ({summaries[name].path}) has no CpG that another has ({first} …): "
                "are its ids those of another array or organism?"
            )
        elif share < FEW_SHARED:
            warnings.append(f"{name}: only {share:.1%} of its CpGs are in another cohort")
    refuse(problems)
    return len(counts), warnings


# --- laying out ------------------------------------------------------------------------------------------------------


class _Stream:
    """A summary's CpGs in the order of their names, a group at a time."""

    def __init__(self, summary: Summary, seed: int):
        self.summary, self.seed, self.number, self.at = summary, seed, 0, 0
        self.names: list[str] = []

    def fill(self) -> bool:
        """Have the next CpGs ready; whether there are any."""
        if self.at == len(self.names) and self.number < self.summary.n_groups:
            last = self.names[-1] if self.names else ""
            self.names, self.values = self.summary.group(self.number, self.seed)
            self.number, self.at = self.number + 1, 0
            if any(one >= two for one, two in itertools.pairwise([last, *self.names])):
                raise InputError(f"{self.summary.path} is damaged (its CpGs are not in order): copy it again")
        return self.at < len(self.names)

    def take(self, wanted: dict[str, int], last: str) -> tuple[list[int], np.ndarray]:
        """The rows of `wanted` and values of the CpGs up to `last`."""
        start = self.at
        while self.at < len(self.names) and self.names[self.at] <= last:
            self.at += 1
        return [wanted[name] for name in self.names[start : self.at]], self.values[start : self.at]


def blocks(summaries: dict[str, Summary], seed: int):
    """CpGs of any cohort in the order of their names: names, and values (k, people) float32, cohort by cohort.

    NaN where a person, or the whole cohort, has no value. Of each summary a group is held.
    """
    streams = [_Stream(summary, unit_seed(seed, "pool", name)) for name, summary in summaries.items()]
    edges = np.cumsum([0, *(stream.summary.header.people for stream in streams)])
    while going := [number for number, stream in enumerate(streams) if stream.fill()]:
        bound = min(streams[number].names[-1] for number in going)
        found = sorted(
            {name for number in going for name in streams[number].names[streams[number].at :] if name <= bound}
        )
        for start in range(0, len(found), BLOCK):
            names = found[start : start + BLOCK]
            rows = {name: row for row, name in enumerate(names)}
            values = np.full((len(names), edges[-1]), np.nan, dtype=np.float32)
            for number in going:
                places, theirs = streams[number].take(rows, names[-1])
                values[places, edges[number] : edges[number + 1]] = theirs
            yield names, values


def people_of(summaries: dict[str, Summary]) -> pd.DataFrame:
    """The pseudo-people: sample_id, age (years), sex (where any cohort knows it), cohort; cohort by cohort."""
    parts = []
    for name, summary in summaries.items():
        header = summary.header
        sizes = [len(part) for part in header.ages]
        part = pd.DataFrame({"age": list(itertools.chain(*header.ages)), "sex": np.repeat(header.sex, sizes)})
        part.insert(0, "sample_id", [f"pseudo_{name}_{number}" for number in range(1, len(part) + 1)])
        parts.append(part.assign(cohort=name))
    found = pd.concat(parts, ignore_index=True)
    found["sex"] = found["sex"].where(found["sex"] != "", None)
    return found.drop(columns=[] if found["sex"].notna().any() else ["sex"])


@dataclasses.dataclass
class _Numbers:
    """Of each CpG what the table of the rule `cohort` holds."""

    pieces: list

    def add(self, names: list[str], values: np.ndarray) -> None:
        known = np.isfinite(values).sum(axis=1)
        exact = values.astype(np.float64)
        numbers = [np.nanmean(exact, axis=1), np.nanstd(exact, axis=1), np.nanmin(values, 1), np.nanmax(values, 1)]
        self.pieces.append((names, values.shape[1] - known, *numbers))

    def table(self) -> pd.DataFrame:
        names, *numbers = zip(*self.pieces, strict=True)
        names = pd.Series(list(itertools.chain(*names)), dtype="str")
        columns = dict(zip(("n_missing", "mean", "sd", "min", "max"), map(np.concatenate, numbers), strict=True))
        found = pd.DataFrame({"cpg": names, **columns, "kept": True})
        return found.assign(reason=pd.Series([None] * len(found), dtype="str"), probe=names)


def pool_cohort(given: dict[str, str], out: dict, *, seed: int) -> None:
    """Write summaries as a cohort.

    given: a summary's path by the cohort's name. out: `beta`, `samples`, `cpgs`, `qc`, `qc_table`, as of the rule
    `cohort`. Raises InputError, all problems at once, for files that are no summaries or do not go together.
    """
    problems: list[str] = []
    summaries = {name: gathered(problems, Summary, path) for name, path in given.items()}
    if not problems:
        problems += _alike(summaries)
    refuse(problems)
    n_cpgs, warnings = _shared(summaries)
    people = people_of(summaries)
    ages = people["age"]
    if len(people) < FEWEST_PEOPLE or ages.min() == ages.max():
        raise InputError(
            f"the summaries hold {len(people):,} people of {ages.nunique():,} mean ages: nothing can be "
            "said about ageing"
        )
    for text in warnings:
        logging.warning(text)
    files.need_space(out["beta"], 4.0 * n_cpgs * len(people), "the pooled betas take")
    numbers, progress = _Numbers([]), Progress(n_cpgs, "CpGs pooled")
    with CohortWriter(out["beta"], people["sample_id"].tolist()) as writer:
        for names, values in blocks(summaries, seed):
            writer.append(names, values)
            numbers.add(names, values)
            progress.step(len(names))
    table = numbers.table()
    files.write_parquet(out["samples"], people)
    files.write_parquet(out["cpgs"], table)
    files.write_json(out["qc"], _qc(summaries, people, table, warnings))
    rows = [("probe", "kept", len(table), 1.0, "of any cohort", "")]
    for name, summary in summaries.items():
        n = summary.header.people
        rows.append(("sample", name, n, n / len(people), "people of the cohort, as pseudo-people", ""))
    with files.atomic(out["qc_table"]) as temporary:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False)
    logging.info(f"{len(table):,} CpGs x {len(people):,} pseudo-people of {len(summaries)} cohorts")


def _qc(summaries, people, table, warnings: list[str]) -> dict:
    ages = people["age"]
    return {
        "n_cpgs": {"in": len(table), "kept": len(table)},
        "array": probes.describe(table["cpg"]),
        "values": "beta",
        "age": {"min": float(ages.min()), "median": float(ages.median()), "max": float(ages.max())},
        "missing_fraction": int(table["n_missing"].sum()) / max(len(table) * len(people), 1),
        "pooled": [
            {
                "cohort": name,
                "people": summary.header.people,
                "strata": len(summary.header.ages),
                "min_stratum": min(map(len, summary.header.ages)),
                "min_cell": summary.header.min_cell,
                "age": [part(map(part, summary.header.ages)) for part in (min, max)],
                "sexes": sorted(set(summary.header.sex)),
                "cpgs": summary.n_cpgs,
                "array": summary.header.array,
                "adjusted": summary.header.adjusted,
            }
            for name, summary in summaries.items()
        ],
        "sha256": {name: files.sha256(summary.path) for name, summary in summaries.items()},
        "warnings": warnings,
    }

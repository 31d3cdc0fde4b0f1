"""The methylation ages of the people whose ECGs are read: checked before anything is trained."""

import logging

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError, some
from cpgtaxa.files import read_parquet, write_parquet
from cpgtaxa.input.texts import read_table

MOST = 200.0
"""Years beyond which no clock goes."""


def read_clock(path, records_path, out) -> None:
    """Check a methylation clock's table and write it.

    path: CSV or TSV person, methylation_age, and age where it is known (years at the blood sample). records_path: the
    records; their patients are the persons. out: Parquet person (str), methylation_age, age (float64, NaN where not
    given), of the persons that have records. Raises InputError with every problem found.
    """
    key = "ecg_age.methylation"
    columns, lines = read_table(path, key, ("person", "methylation_age"))
    problems = []
    numbers = {
        name: _years(columns[name], lines, f"{key}: {path}, column {name}", name == "age", problems)
        for name in ("methylation_age", "age")
        if name in columns
    }
    persons = pd.Series(columns["person"])
    for what, wrong in (("has no name", persons == ""), ("was there before", persons.duplicated() & (persons != ""))):
        if wrong.any():
            listed = [f"line {lines[at]}" for at in np.flatnonzero(wrong)]
            problems.append(
                f"{key}: {path}: the person {what} in {some(listed)}. One row a person, named as PATIENT is"
            )
    if problems:
        raise InputError(problems)
    patients = set(read_parquet(records_path, columns=["patient"])["patient"])
    there = persons.isin(patients).to_numpy()
    if not there.any():
        raise InputError(
            f"{key}: none of the {len(persons):,} persons of {path} ({some(persons, 3)}) has an ECG "
            f"({some(sorted(patients), 3)}): name persons as in the column PATIENT of `ecg_age.sheet`"
        )
    frame = pd.DataFrame({"person": persons, **numbers})
    if "age" not in frame:
        frame["age"] = np.nan
    write_parquet(out, frame.loc[there, ["person", "methylation_age", "age"]])
    logging.info(
        f"{there.sum():,} persons have an ECG and a methylation age; {(~there).sum():,} have a methylation age alone, "
        f"{len(patients - set(persons)):,} an ECG alone"
    )


def _years(texts: list[str], lines: list[int], where: str, may_lack: bool, problems: list[str]) -> np.ndarray:
    """Numbers of a column; what is none is added to the problems."""
    found, wrong = np.full(len(texts), np.nan), []
    for at, text in enumerate(texts):
        if may_lack and text.lower() in ("", "na", "nan"):
            continue
        try:
            found[at] = float(text)
        except ValueError:
            wrong.append(f"line {lines[at]} ({text[:40]!r})")
            continue
        if not -MOST <= found[at] <= MOST:
            wrong.append(f"line {lines[at]} ({text[:40]})")
    if wrong:
        problems.append(f"{where}: {len(wrong):,} are no age in years: {', '.join(wrong[:5])}. Correct them")
    return found

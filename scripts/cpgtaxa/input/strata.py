"""Which samples of a sheet are used: a stratum of them, and one per person or family."""

import re

import pandas as pd

from cpgtaxa.errors import some
from cpgtaxa.input.sheets import numbered
from cpgtaxa.input.streams import MISSING, many

KIN = re.compile(
    r"(person|subject|individual|donor|patient|participant|proband|family|household|twin|twinpair|pair|sibship)"
    r"(s?(id|no|nr|number|code))?"
)
"""Names of columns that say whose sample it is, or of whose family, without spaces and punctuation."""
MOST_EACH = 10
"""Samples of a person or family, on average, beyond which a column is something else: `patient` may say yes or no."""


def kin_columns(sheet: pd.DataFrame) -> dict[str, int]:
    """Columns that seem to name people or families, with how many samples share theirs with another."""
    found = {}
    for name in sheet.columns.drop(["sample_id", "age", "row"], errors="ignore"):
        if KIN.fullmatch(re.sub(r"\W|_", "", str(name)).lower()):
            known = sheet[name][~sheet[name].isin(MISSING)]
            shared = int(known.duplicated(keep=False).sum())
            if shared and known.nunique() > len(known) / MOST_EACH:
                found[name] = shared
    return found


def in_stratum(sheet: pd.DataFrame, path, only: dict | None) -> tuple[pd.Series, list[str]]:
    """Whether each row has the wanted values in all columns of `only`; and what is wrong with `only`."""
    keep, problems = pd.Series(True, index=sheet.index), []
    for name, wanted in (only or {}).items():
        if name not in sheet or name == "row":
            columns = sheet.columns.drop(["row", "sample_id"], errors="ignore")
            problems.append(f"cohort.only: {path} has no column {name!r}; it has {some(columns, 20)}")
            continue
        wanted = [_text(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
        given = sheet[name].str.strip()
        known = given[~given.isin(MISSING)]
        if len(known) and known.str.fullmatch(r"-?\d+\.0").all():  # whole numbers, as pandas writes them beside gaps
            given = given.str.removesuffix(".0")
            wanted = [value.removesuffix(".0") for value in wanted]
        odd = [value for value in wanted if value not in set(given)]
        if odd:
            there = sorted(set(given) - {""})
            problems.append(f"cohort.only.{name}: no sample of {path} has {some(odd)}; there are {some(there, 10)}")
        keep &= given.isin(wanted)
    return keep, problems


def _text(value) -> str:
    """A value of the config as written; whole numbers have no point."""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value).strip()


def first_of_each(sheet: pd.DataFrame, path, column: str) -> tuple[pd.Series, list[str]]:
    """Whether each row is the first of its person or family; and what is wrong with the column."""
    if column not in sheet or column == "row":
        columns = sheet.columns.drop(["row", "sample_id", "age"], errors="ignore")
        return pd.Series(True, index=sheet.index), [
            f"cohort.one_per: {path} has no column {column!r}; it has {some(columns, 20)}"
        ]
    lacking = sheet[column].isin(MISSING)
    if lacking.any():
        return pd.Series(True, index=sheet.index), [
            f"cohort.one_per: {many(int(lacking.sum()), 'sample')} of {path} without a {column!r}: "
            f"line {numbered(sheet['row'][lacking])}. Fill in whose they are (an id of its own, if nobody's)"
        ]
    return ~sheet[column].str.strip().duplicated(), []

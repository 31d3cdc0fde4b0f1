"""Ages as sheets have them: which column they are in, in which unit, and what is wrong with them.

A unit is never guessed: the config says it, or the values, a column beside them, the column's name or its class in R.
Where these contradict one another, or some samples have a unit and others none, the run asks.
"""

import dataclasses
import re

import numpy as np
import pandas as pd

from cpgtaxa.errors import some
from cpgtaxa.input.delimited import commas_for_points, pointed
from cpgtaxa.input.streams import EXAMPLES, MISSING, and_more, many

OLDEST = 125.0
PER_YEAR = {
    "years": 1.0,
    "months": 12.0,
    "weeks": 52.1775,
    "days": 365.25,
    "hours": 365.25 * 24,
    "minutes": 365.25 * 1440,
    "seconds": 365.25 * 86400,
}
GESTATION = "gestational_weeks"
"""Weeks since the last menstruation; birth at term, at TERM weeks, is age 0."""
TERM = 40.0
BESIDE = "a column of units"

AGES = (
    "age", "ages", "chronologicalage", "chronage", "calendarage", "sampleage", "patientage", "donorage", "subjectage",
    "participantage", "ageatdraw", "ageatblooddraw", "ageatsampling", "ageatsample", "ageatcollection", "ageatvisit",
    "ageatsamplecollection", "ageatrecruitment", "ageatenrollment", "ageatenrolment", "ageatbaseline", "ageatexam",
    "âge", "alter", "edad", "ageatbloodcollection", "ageatmeasurement", "ageattimeofsampling", "ageattimeofcollection",
)  # fmt: skip
"""Names of columns of ages, without case, blanks and punctuation."""
UNITS = {
    **dict.fromkeys(("y", "yr", "yrs", "year", "years", "yo", "yearsold", "yearold"), "years"),
    **dict.fromkeys(
        ("jahr", "jahre", "jahren", "ans", "année", "années", "año", "años", "anos", "anni", "jaar"), "years"
    ),
    **dict.fromkeys(("mo", "mos", "mth", "mths", "mon", "month", "months", "monthsold"), "months"),
    **dict.fromkeys(("monat", "monate", "monaten", "lebensmonate", "mois", "meses", "mesi", "maanden"), "months"),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks", "weeksold"), "weeks"),
    **dict.fromkeys(("woche", "wochen", "lebenswochen", "semaines", "semanas", "settimane", "weken"), "weeks"),
    **dict.fromkeys(("d", "day", "days", "daysold"), "days"),
    **dict.fromkeys(("tage", "tagen", "lebenstage", "jours", "dias", "días", "giorni", "dagen"), "days"),
}
"""Units by the words for them; single letters count behind a number and in brackets."""
NOT_READ = {
    "hour", "hours", "hrs", "minutes", "mins", "seconds", "secs", "fortnights", "quarter", "quarters", "trimester",
    "trimesters", "decade", "decades", "centuries", "stunden", "tag", "mes", "mese", "dag", "dia", "día",
}  # fmt: skip
"""Words in a column's name that may be a unit of its ages, and are none of UNITS."""
LETTERS = {"m": "months", "w": "weeks", "d": "days"}
"""Units that a last letter may stand for, but also a visit (d, w) or something else (m)."""
_GESTATIONAL = {"gestational", "gestation", "postmenstrual", "postconceptional", "pma", "ga"}
_VALUE = re.compile(r"([-+]?(?:\d+[.,]?\d*|\.\d+))[\s_-]*([a-z/. ]+)", re.IGNORECASE)
_RANGE = re.compile(
    r"[a-z:\s]*(?:[<>≤≥~]=?\s*\d.*|\d+(?:\.\d+)?\s*(?:-|–|to)\s*\d+(?:\.\d+)?\b.*|\d+(?:\.\d+)?\s*\+.*)"
)
_DATE = re.compile(r"\d+[-/.]\d+[-/.]\d+.*")


def bare(name: str) -> str:
    """A column's name without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _without_channel(name: str) -> str:
    """A name without what GEOquery puts behind it (`age:ch1`), in any spelling."""
    return re.sub(r"[\W_]*ch\d$", "", name.strip(), flags=re.IGNORECASE)


def is_age(name: str) -> bool:
    """Whether a column is called as ages usually are, with or without a unit; what `merge` appends (.x, .y) aside."""
    plain = bare(re.sub(r"[._][xy]$", "", _without_channel(name)))
    return any(
        plain == age or (plain.startswith(age) and plain[len(age) :].removeprefix("in") in UNITS) for age in AGES
    )


def unit_of_name(name: str) -> tuple[str | None, str | None]:
    """The unit that a column's name states, and why it is in doubt, each None where there is nothing of the kind.

    A unit is stated by a word of its own (`age_months`, `Age (years)`, `ageDays`, `age..weeks..ch1`) or by a letter in
    brackets. Beside a number it names a visit (`age_6_months`, `age_w1`).
    """
    name = _without_channel(name)
    brackets = re.findall(r"[(\[]\s*(?:in\s+)?([a-z]+)\.?\s*[)\]]|\.\.([a-z]+)\.*$", name, re.IGNORECASE)
    letters = {(one or other).lower() for one, other in brackets}
    words = [word for word in re.split(r"[\W_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()) if word]
    found, visits = set(), set()
    for place, word in enumerate(words):
        beside = (words[place - 1 : place] + words[place + 1 : place + 2]) if len(word) > 1 else []
        if glued := re.fullmatch(r"\d+([a-z]+)", word):
            visits |= {UNITS[glued[1]]} if UNITS.get(glued[1]) else set()
        elif word in UNITS and (len(word) > 1 or word == "y" or word in letters):
            (visits if any(one.isdigit() for one in beside) else found).add(UNITS[word])
    plain = bare(name)
    found |= {
        UNITS[rest]
        for age in AGES
        if plain.startswith(age) and len(rest := plain[len(age) :].removeprefix("in")) > 1 and rest in UNITS
    }
    if _GESTATIONAL.intersection(words):
        return GESTATION, (
            f"is counted from before birth. Set `cohort.age_unit: {GESTATION}` (and `cohort.min_age: -1`), or give "
            "ages since birth"
        )
    if len(found) > 1:
        return None, f"names several units ({', '.join(sorted(found))})"
    if found:
        return found.pop(), None
    if others := NOT_READ.intersection(words):
        return None, f"speaks of {others.pop()!r}, perhaps their unit"
    last = words[-1] if len(words) > 1 else ""
    if last in LETTERS or letters.intersection(LETTERS):
        letter = last if last in LETTERS else letters.intersection(LETTERS).pop()
        return None, f"ends in {letter!r}, which may stand for {LETTERS[letter]} or for something else"
    if visits - {"years"}:
        return None, f"speaks of {visits.pop()}, perhaps of a visit, perhaps of the unit"
    return None, None


def unit_of_text(text: str) -> tuple[str | None, str | None]:
    """The unit that a line of prose states for ages, and why it is in doubt; neither where it does not speak of both.

    A name such as `Age (months)` is such a line.
    """
    words = re.split(r"[\W_\d]+", text.casefold())
    if not {"age", "ages", "aged", "alter", "âge", "edad"}.intersection(words):
        return None, None
    units = {UNITS[word] for word in words if len(word) > 1 and word in UNITS}
    if len(units) > 1:
        return None, f"speaks of {' and '.join(sorted(units))}"
    return (units.pop(), None) if units else unit_of_name(text)


def unit_column(frame: pd.DataFrame, age: str) -> tuple[str | None, bool]:
    """The column of a sheet (n, columns) of text that gives each age's unit, and whether that is certain; None, True
    where there is none.

    It is certain of a column that is called so (`age_unit`, `AGEU`, `unit` beside the ages). Another one that holds
    nothing but words for units, some of them not years, may be meant.
    """
    place = list(frame.columns).index(age)
    doubtful = None
    for at, name in enumerate(frame.columns):
        given = {bare(text) for text in frame[name] if text not in MISSING}
        if name == age or not given:
            continue
        plain = bare(_without_channel(name))
        known = all(one in UNITS or one == "m" for one in given)
        if plain == "ageu" or ("age" in plain and ("unit" in plain or "uom" in plain)):
            return name, True
        if known and plain in ("unit", "units") and abs(at - place) == 1:
            return name, True
        if known and all(len(one) > 1 for one in given) and {UNITS[one] for one in given} != {"years"}:
            doubtful = name
    return doubtful, doubtful is None


def said_by_values(column: pd.Series) -> str | None:
    """The one unit that values such as "67 yrs" name; None where they name none or several."""
    found = {unit for _, unit in map(_parsed, column) if unit}
    return found.pop() if len(found) == 1 else None


def _parsed(text: str) -> tuple[float, str | None]:
    """Number and unit of a value such as "34 mo"; NaN where it is something else."""
    match = _VALUE.fullmatch(text.strip())
    unit = UNITS.get(bare(match[2])) if match else None
    if not unit or re.search(r",(\d{3})?$", match[1]):
        return np.nan, None
    return float(match[1].replace(",", ".")), unit


@dataclasses.dataclass
class Ages:
    """Ages of n samples. years: (n,) float64, NaN where there is no number; given: (n,) float64, before conversion.

    unit: what was understood: a unit, "mixed", or None where nothing says one, so that years are taken; source: what
    says it. own: (n,) units of single samples, None where they have none. comma: whether decimal commas were read.
    """

    years: np.ndarray
    given: np.ndarray
    unit: str | None
    source: str | None
    own: np.ndarray
    comma: bool


def _to_years(given: np.ndarray, units) -> np.ndarray:
    """Years, (n,) float64, of numbers and their units, one each."""
    gestation = np.array([unit == GESTATION for unit in units], dtype=bool)
    per_year = np.array([PER_YEAR.get(unit or "years", 52.1775) for unit in units])
    return np.where(gestation, given - TERM, given) / per_year


def in_years(given: pd.Series, unit: str, name: str, own=None, stated: tuple[str, str] | None = None) -> Ages:
    """Ages in years from a column of text (n,).

    unit: that of the config, or "auto": the one that a value says, or `own` (n,) of a column beside it, else the one of
    the column's `name`, else what is `stated` elsewhere (unit, where), else years.
    """
    comma = commas_for_points(given, None)
    texts = given.map(pointed) if comma else given
    numbers = np.array(pd.to_numeric(texts, errors="coerce"), dtype=float)
    numbers[~np.isfinite(numbers)] = np.nan
    own = np.full(len(numbers), None, dtype=object) if own is None else own.copy()
    source = BESIDE if any(own) else None
    for row in np.flatnonzero(np.isnan(numbers) & ~given.isin(MISSING).to_numpy()):
        numbers[row], found = _parsed(given.iloc[row])
        if found:
            own[row], source = found, source or "the values"
    own[given.isin(MISSING).to_numpy()] = None
    kinds = {found for found in own if found}
    whole = unit if unit != "auto" else unit_of_name(name)[0] or (stated or (None,))[0]
    if unit != "auto":
        source = "`cohort.age_unit`"
    elif whole and not kinds:
        source = f"the column's name {name!r}" if unit_of_name(name)[0] else stated[1]
    years = _to_years(numbers, [found or whole for found in own])
    everywhere = kinds | ({whole} if whole and not all(own) else set())
    understood = everywhere.pop() if len(everywhere) == 1 else "mixed" if everywhere else None
    return Ages(years, numbers, unit if unit != "auto" else understood, source, own, comma)


def check_ages(path, sheet: pd.DataFrame, unit: str = "auto", least: float = 0.0) -> tuple[np.ndarray, list[str]]:
    """Ages in years (NaN where there is none), and what is wrong with them.

    unit: "auto", "years", "months", "weeks", "days" or "gestational_weeks"; see `in_years`. least: years below which an
    age is none. What was understood is noted in `attrs["chosen"]` and `attrs["notes"]`.
    """
    given = sheet["age"]
    chosen = sheet.attrs.get("chosen", {})
    column = chosen.get("age", "age")
    beside, certain = sheet.attrs.get("unit_column", (None, True))
    own, problems = _own_units(path, sheet, beside if certain else None)
    found = in_years(given, unit, column, own, sheet.attrs.get("stated"))
    chosen["age_unit"] = found.unit or "years"
    listed = _Listed(sheet)
    problems += _units_in_doubt(path, sheet, unit, found, listed)
    if unit == "auto" and not certain and beside in sheet:
        problems.append(
            f"{path}: the column {beside!r} holds units of time ({some(sorted(set(sheet[beside]) - set(MISSING)))}), "
            "and may be meant for the ages. If so, call it age_unit; else set `cohort.age_unit` to the unit of the ages"
        )
    notes = sheet.attrs.setdefault("notes", [])
    if found.unit not in (None, "years") and not problems:
        read_as = "years, months, weeks or days, one by one" if found.unit == "mixed" else found.unit
        by = f"the column {beside!r}" if found.source == BESIDE else found.source
        notes.append(f"{path}: ages read as {read_as.replace('_', ' ')}, by {by}")
    if found.comma:
        notes.append(f"{path}: decimal commas of the ages were read as points")
    in_doubt = bool(problems)
    problems += _no_numbers(path, given, found, listed, column in sheet.attrs.get("refused", ()))
    if not in_doubt:
        problems += _odd_ages(path, given, found, least, listed)
    return found.years, problems


class _Listed:
    """The first few samples where something is so, with the value found."""

    def __init__(self, sheet: pd.DataFrame):
        self.names = sheet["sample_id"] if "sample_id" in sheet else sheet["row"].astype(str)
        self.rows, self.word = sheet["row"], sheet.attrs.get("rows", "line")

    def __call__(self, mask, value=None) -> str:
        shown = [f"{name!r} ({self.word} {row})" for name, row in zip(self.names[mask], self.rows[mask], strict=True)]
        if value is not None:
            shown = [f"{one}: {found!r}" for one, found in zip(shown, value[mask], strict=True)]
        return and_more(shown[:EXAMPLES], len(shown))


def _own_units(path, sheet: pd.DataFrame, beside: str | None) -> tuple[np.ndarray | None, list[str]]:
    """The unit of each sample's age by a column beside it (n,), and where it contradicts the age's own text."""
    if beside is None or beside not in sheet:
        return None, []
    units = UNITS | {"m": "months"}
    own = np.array([units.get(bare(text)) if text not in MISSING else None for text in sheet[beside]], dtype=object)
    texts = np.array([_parsed(text)[1] for text in sheet["age"]], dtype=object)
    other = np.array([bool(one and two and one != two) for one, two in zip(own, texts, strict=True)], dtype=bool)
    unknown = np.array(
        [not one and text not in MISSING for one, text in zip(own, sheet[beside], strict=True)], dtype=bool
    )
    if unknown.any():
        return own, [
            f"{path}: {many(int(unknown.sum()), 'unit')} in the column {beside!r} not known: "
            f"{_Listed(sheet)(unknown, sheet[beside])}. Write years, months, weeks or days"
        ]
    if not other.any():
        return own, []
    return own, [
        f"{path}: {many(int(other.sum()), 'age')} with one unit in its text and another in the column {beside!r}: "
        f"{_Listed(sheet)(other, sheet['age'])}. Correct one of them"
    ]


def _units_in_doubt(path, sheet: pd.DataFrame, unit: str, found: Ages, listed: _Listed) -> list[str]:
    """Units that contradict one another, or that some samples have and others have not."""
    name = sheet.attrs.get("chosen", {}).get("age", "age")
    has = np.array([bool(one) for one in found.own], dtype=bool)
    if unit != "auto":
        other = np.array([bool(one) and one != unit for one in found.own], dtype=bool)
        if not other.any():
            return []
        return [
            f"{path}: {many(int(other.sum()), 'age')} in another unit than `cohort.age_unit: {unit}`: "
            f"{listed(other, sheet['age'])}. Correct `cohort.age_unit`, or set it to auto and write a unit behind each "
            "age"
        ]
    of_name, doubt = unit_of_name(name)
    of_class, where = sheet.attrs.get("stated") or (None, None)
    doubt = f"the column's name, {name!r}, {doubt}" if doubt else None if of_name else sheet.attrs.get("doubt")
    numbers = ~np.isnan(found.given)
    if doubt and not has[numbers].all() and not of_class:
        remedy = "" if doubt.endswith("birth") else ". Set `cohort.age_unit` to years, months, weeks or days"
        return [f"{path}: the unit of the ages is not certain: {doubt}{remedy}"]
    if of_name and of_class and of_name != of_class:
        return [
            f"{path}: the name of the column {name!r} says {of_name}, and {where} {of_class}: set `cohort.age_unit` to "
            "the right one"
        ]
    kinds = {one for one in found.own if one}
    beside, _ = sheet.attrs.get("unit_column", (None, True))
    if of_name and found.source == BESIDE and kinds - {of_name}:
        other = np.array([bool(one) and one != of_name for one in found.own], dtype=bool)
        return [
            f"{path}: the column {name!r} says {of_name}, and {beside!r} something else of "
            f"{many(int(other.sum()), 'sample')}: {listed(other, sheet['age'])}. Rename the one, or correct the other"
        ]
    lacking = numbers & ~has
    if not lacking.any() or not kinds - {"years"} or of_name or of_class:
        return []
    few, what = (has, "have a unit") if has.sum() <= lacking.sum() else (lacking, "have none")
    return [
        f"{path}: some ages have a unit ({', '.join(sorted(kinds))}) and others none, so that the others' is not "
        f"certain: {int(few.sum()):,} of {int(numbers.sum()):,} {what}: {listed(few, sheet['age'])}. Write the unit "
        "behind each age, or all in years"
    ]


def _no_numbers(path, given: pd.Series, found: Ages, listed: _Listed, refused: bool) -> list[str]:
    """Ages that are missing, ranges, or other text. refused: whether the column was not read, which is said already."""
    problems = []
    lacking = given.isin(MISSING).to_numpy()
    if lacking.any() and not refused:
        problems.append(
            f"{path}: {many(int(lacking.sum()), 'sample')} without an age: {listed(lacking)}. "
            "Give the age in years, or remove the row and set `cohort.unmatched: drop`"
        )
    text = np.isnan(found.given) & ~lacking
    vague = text & np.array(
        [bool(_RANGE.fullmatch(one.lower())) and not _DATE.fullmatch(one) for one in given], dtype=bool
    )
    if vague.any():
        problems.append(
            f"{path}: {many(int(vague.sum()), 'age')} a range or a bound: {listed(vague, given)}. Each sample needs "
            "one number: find the exact ages, write the middle of a narrow range, or remove the rows and set "
            "`cohort.unmatched: drop`"
        )
    text &= ~vague
    dates = text & np.array([bool(_DATE.fullmatch(one)) for one in given], dtype=bool)
    if text.any():
        problems.append(
            f"{path}: {many(int(text.sum()), 'age')} not a number: {listed(text, given)}. "
            + ("These are dates: give the age at sampling, in years" if dates.any() else "Give the age in years")
        )
    return problems


def _odd_ages(path, given: pd.Series, found: Ages, least: float, listed: _Listed) -> list[str]:
    """Ages that no person has, or that are all equal."""
    ages, problems = found.years, []
    valid = ages[~np.isnan(ages)]
    if not len(valid):
        return []
    low = ages < min(least, 0.0)
    if low.any():
        below = "negative" if least >= 0 else f"below `cohort.min_age` ({least:g})"
        before = ". If they are ages before birth, set `cohort.min_age` to the least of them"
        before = before if least >= 0 and ages[low].min() >= -TERM / 52 else ""
        problems.append(
            f"{path}: {many(int(low.sum()), 'age')} {below}: {listed(low, given)}. Give the age in years{before}"
        )
    old = ages > OLDEST
    median = float(np.median(valid))
    if median > 200 and found.unit is None:
        likely, remedy = ("months", "divide by 12") if median < 1500 else ("days", "divide by 365.25")
        setting = f", or set `cohort.age_unit: {likely}`"
        if valid.min() >= 1900 and valid.max() <= 2030:
            likely, remedy, setting = "years of birth", "subtract them from the year of sampling", ""
        problems.append(
            f"{path}: the ages (median {median:,.6g}, largest {valid.max():,.6g}) look like {likely}; "
            f"give years: {remedy}{setting}"
        )
    elif old.any():
        as_unit = f", read as {found.unit} (`cohort.age_unit`)" if found.unit not in (None, "years") else ""
        problems.append(
            f"{path}: {many(int(old.sum()), 'age')} above {OLDEST:g} years: {listed(old, given)}{as_unit}. "
            "Give the age in years"
        )
    if len(valid) > 1 and valid.min() == valid.max():
        problems.append(
            f"{path}: all ages are equal ({valid[0]:g}): without different ages nothing can be said about ageing"
        )
    return problems

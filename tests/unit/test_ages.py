"""Units of age: used where something states them, asked for where that is in doubt, never guessed."""

import shutil
import subprocess

import numpy as np
import openpyxl
import pandas as pd
import pytest
from cpgtaxa.input import ages
from cpgtaxa.input.sheets import read_sheet

IDS = [f"s{number}" for number in range(12)]
YEARS = [20.5 + 3 * number for number in range(12)]
NONE = {"sample_id": None, "age": None, "sex": None}


def read(folder, columns, unit="auto", age=None, sep=","):
    """Ages in years, problems and notes of a sheet with these columns beside the ids."""
    path = folder / "sheet.csv"
    pd.DataFrame({"sample_id": IDS, **columns}).to_csv(path, index=False, sep=sep)
    return ages_in(path, unit, age)


def ages_in(path, unit="auto", age=None, least=0.0):
    sheet, problems = read_sheet(path, NONE | {"age": age}, set(IDS))
    if "age" not in sheet:
        return None, problems, []
    found, more = ages.check_ages(path, sheet, unit, least)
    return found, problems + more, sheet.attrs["notes"]


@pytest.mark.parametrize(
    ("name", "unit"),
    {
        **dict.fromkeys(
            ("age..months..ch1", "age (months):ch1", "Age.in.months", "ageinmonths", "AGE_MTHS", "age_mnths"), "months"
        ),
        **dict.fromkeys(("age..w..", "Age_at_Draw..weeks.", "age.wk", "age [w]"), "weeks"),
        **dict.fromkeys(("ageDays", "age, days", "Alter (Tage)"), "days"),
        **dict.fromkeys(("age..y..ch1", "AgeYr", "âge (ans)"), "years"),
        **dict.fromkeys(("age", "age_w1", "age_d0", "age_m2", "age_y1", "age_w_1", "stage"), None),
    }.items(),
)
def test_units_in_names(name, unit):
    assert ages.unit_of_name(name)[0] == unit


@pytest.mark.parametrize(
    ("name", "unit"),
    {"RIDAGEMN": "months", "RIDAGEEX": "months", "RIDAGEYR": "years", "PND": "days", "age_dol": "days"}.items(),
)
def test_names_that_state_a_unit_by_custom(tmp_path, name, unit):
    found, problems, _ = read(tmp_path, {name: YEARS}, age=name)
    assert problems == []
    np.testing.assert_allclose(found * ages.PER_YEAR[unit], YEARS)


@pytest.mark.parametrize(
    ("words", "given"),
    {
        "2 different whole numbers, 0 to 1": [0, 1] * 6,
        "3 different whole numbers, 1 to 3": [1, 2, 3] * 4,
        "4 different whole numbers, 2 to 5": [age // 10 for age in YEARS],
        "lie between 0 and 1": [(age - 20) / 60 for age in YEARS],
        "they look centred or standardised": [age - np.mean(YEARS) for age in YEARS],
    }.items(),
)
def test_codes_and_scaled_ages_are_no_years(tmp_path, words, given):
    _, problems, _ = read(tmp_path, {"age": given})
    assert len(problems) == 1
    assert words in problems[0]
    if "centred" not in words:
        found, problems, _ = read(tmp_path, {"age": given}, unit="years")  # the advice
        assert problems == []
        assert found.tolist() == given


def test_zeros_and_a_largest_age_of_many_are_warned_of(tmp_path):
    for given, words in (
        ([0, 0, *YEARS[2:]], "2 ages of 0, and no other below 26.5: does 0 stand for missing?"),
        ([*YEARS[:6], *[85] * 6], "6 ages are 85, the largest, 6 times as many as of each year before"),
        ([0, 0, 3, *YEARS[3:]], None),
        ([*range(20, 26), *[26] * 6], "6 ages are 26"),
        ([20, 21, 21, 22, 22, 23, 23, 24, 24, 25, 25, 25], None),
    ):
        _, problems, notes = read(tmp_path, {"age": given})
        assert problems == []
        assert (words in notes[0]) if words else not notes


@pytest.mark.parametrize("name", ["age_group", "AgeCat", "agecat", "age_z", "log_age", "centered.age"])
def test_what_is_made_of_ages_is_asked_about(tmp_path, name):
    _, problems, _ = read(tmp_path, {name: YEARS}, age=name)
    assert "Set `cohort.columns.age` to the column of the ages themselves; if it is this one" in problems[0]


@pytest.mark.parametrize(
    ("text", "age"),
    {
        **dict.fromkeys(("P20Y6M", "20y6m", "20 years 6 months", "20 yrs, 6 mos", "20 years and 6 months"), 20.5),
        **{"P20Y": 20, "P246M": 20.5, "246M": 20.5, "020Y": 20, "12 months 2 weeks": 1 + 2 / 52.1775},
    }.items(),
)
def test_ages_in_several_units(tmp_path, text, age):
    found, problems, _ = read(tmp_path, {"age": [text, *[f"{one} years" for one in YEARS[1:]]]})
    assert problems == []
    assert found[0] == pytest.approx(age)
    _, problems, _ = read(tmp_path, {"age": ["6 months 20 years", *[f"{one} years" for one in YEARS[1:]]]})
    assert "1 age not a number" in problems[0]


@pytest.mark.parametrize(
    "name",
    ["age_w", "ageM", "age (m)", "age_6mo", "age_months2", "agemonths2", "age_at_6_months", "age_years_months", "ga"],
)
def test_names_in_doubt_are_asked_about(tmp_path, name):
    _, problems, _ = read(tmp_path, {name: YEARS}, age=name)
    assert len(problems) == 1
    assert f"the unit of the ages is not certain: the column's name, {name!r}" in problems[0]
    found, problems, _ = read(tmp_path, {name: YEARS}, age=name, unit="years")
    assert problems == []
    assert found.tolist() == YEARS


@pytest.mark.parametrize(
    ("name", "given", "first"),
    [
        ("age_unit", ["month", *["year"] * 11], 20.5 / 12),
        ("AGEU", ["WEEKS", *["YEARS"] * 11], 20.5 / 52.1775),
        ("Age unit", ["m", *["y"] * 11], 20.5 / 12),
        ("units", ["days"] * 12, 20.5 / 365.25),
    ],
)
def test_a_column_of_units_is_used(tmp_path, name, given, first):
    found, problems, notes = read(tmp_path, {"age": YEARS, name: given})
    assert problems == []
    assert found[0] == pytest.approx(first)
    assert len(notes) == 1
    assert f"by the column {name!r}" in notes[0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"age": ["8 months", *YEARS[1:]]}, "1 of 12 have a unit: 's0' (line 2): '8 months'"),
        ({"age": ["20.5", *[f"{age} weeks" for age in YEARS[1:]]]}, "1 of 12 have none: 's0' (line 2): '20.5'"),
        ({"age": YEARS, "age_unit": ["", *["month"] * 11]}, "1 of 12 have none: 's0' (line 2): '20.5'"),
        ({"age": YEARS, "age_unit": ["decade", *["year"] * 11]}, "1 unit in the column 'age_unit' not known: 's0'"),
        ({"age_years": YEARS, "age_unit": ["month"] * 12}, "says years, and 'age_unit' something else of 12 samples"),
        ({"age": ["8 months", *YEARS[1:]], "age_unit": ["year"] * 12}, "1 age with one unit in its text and another"),
        ({"age": YEARS, "site": ["A"] * 12, "unit": ["m", *["y"] * 11]}, "'unit' holds units of time ('m', 'y')"),
        ({"age": YEARS, "a": ["A"] * 12, "type": ["M", *["Y"] * 11]}, "'type' holds units of time ('M', 'Y')"),
        ({"age": YEARS, "follow_up": ["months"] * 12}, "'follow_up' holds units of time ('months')"),
    ],
)
def test_contradictions_are_asked_about(tmp_path, columns, words):
    _, problems, notes = read(tmp_path, columns)
    assert len(problems) == 1
    assert words in problems[0]
    assert notes == []


def test_following_the_advice_on_mixtures(tmp_path):
    found, problems, _ = read(tmp_path, {"age": ["8 months", *[f"{age} years" for age in YEARS[1:]]]})
    assert problems == []
    assert found.tolist() == [pytest.approx(8 / 12), *YEARS[1:]]
    found, problems, _ = read(tmp_path, {"age": YEARS, "age_unit": ["months"] * 12})
    assert problems == []
    assert found.tolist() == [pytest.approx(age / 12) for age in YEARS]
    found, problems, _ = read(tmp_path, {"age": YEARS, "follow_up": ["months"] * 12}, unit="years")
    assert problems == []
    assert found.tolist() == YEARS


def test_a_second_line_of_units(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text(
        "sample_id,age\n,months\n" + "".join(f"{name},{age}\n" for name, age in zip(IDS, YEARS, strict=True))
    )
    found, problems, notes = ages_in(path)
    assert problems == []
    assert found[0] == pytest.approx(20.5 / 12)
    assert "ages read as months, by the line below the header" in notes[0]


def test_decimal_commas(tmp_path):
    commas = [str(age).replace(".", ",") for age in YEARS]
    found, problems, notes = read(tmp_path, {"age": commas}, sep=";")
    assert problems == []
    assert found.tolist() == YEARS
    assert "decimal commas" in notes[0]
    # 7,300 may be 7.3 years or 7,300 days
    _, problems, _ = read(tmp_path, {"age": [f"{number},300" for number in range(7, 19)]}, sep=";")
    assert "12 ages not a number: 's0' (line 2): '7,300'" in problems[0]


def test_ages_before_birth(tmp_path):
    weeks = [30 + number / 2 for number in range(12)]
    name = "gestational age (weeks)"
    _, problems, _ = read(tmp_path, {name: weeks}, age=name)
    assert "Set `cohort.age_unit: gestational_weeks` (and `cohort.min_age: -1`)" in problems[0]
    found, problems, _ = ages_in(tmp_path / "sheet.csv", "gestational_weeks", name, -1.0)
    assert problems == []
    np.testing.assert_allclose(found, [(week - 40) / 52.1775 for week in weeks])
    texts = [f"{int(week)}+{round(week % 1 * 7)}" for week in weeks]
    found, problems, _ = read(tmp_path, {"GestAge": texts}, "gestational_weeks", "GestAge")
    assert found[0] == pytest.approx((30 - 40) / 52.1775)
    assert found[1] == pytest.approx((30 + 4 / 7 - 40) / 52.1775)
    _, problems, _ = read(tmp_path, {"ga": [7 * week for week in weeks]}, "gestational_weeks", "ga")
    assert "these look like days" in problems[0]
    _, problems, _ = read(tmp_path, {"gest_age_days": weeks}, age="gest_age_days")
    assert "is counted from before birth, and not in weeks" in problems[0]
    _, problems, _ = read(tmp_path, {"age": [-0.5, *YEARS[1:]]})
    assert "1 age negative: 's0' (line 2): '-0.5'" in problems[0]
    assert "set `cohort.min_age`" in problems[0]
    found, problems, _ = ages_in(tmp_path / "sheet.csv", least=-0.5)
    assert problems == []
    assert found[0] == -0.5


R = """
ids <- sprintf("s%d", 0:11); age <- 20.5 + 3 * (0:11)
put <- function(age, name) {
  frame <- data.frame(sample_id = ids)
  frame$age <- age
  saveRDS(frame, paste0(name, ".rds"))
}
int64 <- function(x) {  # as bit64 stores them
  bytes <- unlist(lapply(x, function(one) c(writeBin(as.integer(one), raw(), endian = "little"), raw(4))))
  structure(readBin(bytes, "double", length(x), endian = "little"), class = "integer64")
}
put(int64(floor(age)), "integer64")
put(as.difftime(age * 52.1775, units = "weeks"), "difftime")
put(as.difftime(age * 365.25 * 24, units = "hours"), "hours")
put(structure(age * 12, label = "Age (months)"), "label")
put(structure(age, labels = c(unknown = -9), class = c("haven_labelled", "vctrs_vctr", "double")), "labelled")
put(structure(replace(age, 2, 97), labels = c("97 or older" = 97), class = "haven_labelled"), "code")
put(factor(age, ordered = TRUE), "ordered")
put(as.Date("1950-01-01") + 1:12, "Date")
put(as.POSIXct("1950-01-01", tz = "UTC") + 86400 * 1:12, "POSIXct")
put(as.POSIXlt(as.POSIXct("1950-01-01", tz = "UTC") + 86400 * 1:12), "POSIXlt")
put(structure(age, class = "Duration"), "Duration")
put(structure(age * 12, units = "months", class = c("labelled", "numeric")), "Hmisc")
put(structure(age, units = "moons"), "moons"); put(structure(age, label = "Age (m)"), "letter")
put(structure(age, units = structure(list(numerator = "month"), class = "symbolic_units"), class = "units"), "units")
put(as.list(age), "list")
"""


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    if shutil.which("Rscript") is None:
        pytest.skip("no R here: its files cannot be written")
    folder = tmp_path_factory.mktemp("r")
    done = subprocess.run(["Rscript", "-e", R], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["integer64", "difftime", "hours", "label", "labelled", "ordered", "Hmisc"])
def test_classes_of_r_are_decoded(classes, name):
    found, problems, _ = ages_in(classes / f"{name}.rds")
    assert problems == []
    np.testing.assert_allclose(found, np.floor(YEARS) if name == "integer64" else YEARS)


@pytest.mark.parametrize(
    ("name", "words"),
    {
        "code": "1 age a range or a bound: 's1' (row 2): '97 or older'",
        "Date": "These are dates: give the age at sampling",
        "POSIXct": "'1950-01-02T00:00:00'",
        "POSIXlt": "is of R's class 'POSIXlt', which is not read",
        "Duration": "is of R's class 'Duration', which is not read",
        "units": 'of years: as.numeric(units::set_units(x, "years"))',
        "moons": "the column's class or label in R says 'moons'",
        "letter": "ends in 'm', which may stand for months",
        "list": "is of R's class 'list', which is not read",
    }.items(),
)
def test_classes_of_r_are_refused_by_name(classes, name, words):
    _, problems, _ = ages_in(classes / f"{name}.rds")
    assert len(problems) == 1
    assert words in problems[0]


@pytest.mark.parametrize(
    ("name", "unit"),
    {"Alter in Monaten": "months", "leeftijd_weken": "weeks", "edad (días)": "days", "Lebensmonate": "months"}.items(),
)
def test_units_in_other_languages(name, unit):
    assert ages.unit_of_name(name) == (unit, None)


@pytest.mark.parametrize("name", ["age_hours", "age (decades)", "Alter_Tag"])
def test_units_that_are_not_read_are_asked_about(tmp_path, name):
    _, problems, _ = read(tmp_path, {name: YEARS}, age=name)
    assert "perhaps their unit. Set `cohort.age_unit`" in problems[0]


@pytest.mark.parametrize(
    ("note", "factor"),
    [
        ("# Ages are given in months", 12),
        ("Age in weeks at blood draw,", 52.1775),
        ("Drawn in the months March to May,", 1),
        ("Ages in months below two years and in years above,", None),
    ],
)
def test_a_unit_in_the_lines_above_the_header(tmp_path, note, factor):
    path = tmp_path / "sheet.csv"
    path.write_text(note + "\n" + pd.DataFrame({"sample_id": IDS, "age": YEARS}).to_csv(index=False))
    found, problems, _ = ages_in(path)
    if factor is None:
        assert "line 1, above the header speaks of months and years" in problems[0]
    else:
        assert problems == []
        np.testing.assert_allclose(found * factor, YEARS)


@pytest.mark.parametrize(
    ("shown", "factor"), [('0.0" mo"', 12), ("0\\ \\w\\k", 52.1775), ('"about "0.0', 1), ("0.00", 1)]
)
def test_a_unit_that_excel_shows_behind_the_numbers(tmp_path, shown, factor):
    book = openpyxl.Workbook()
    for row in [("sample_id", "age"), *zip(IDS, YEARS, strict=True)]:
        book.active.append(row)
    for row in range(2, len(IDS) + 2):
        book.active.cell(row, 2).number_format = shown
    book.save(tmp_path / "sheet.xlsx")
    found, problems, _ = ages_in(tmp_path / "sheet.xlsx")
    assert problems == []
    np.testing.assert_allclose(found * factor, YEARS)


def test_codes_below_zero_are_no_ages_before_birth(tmp_path):
    _, problems, _ = read(tmp_path, {"age": [-9, *YEARS[1:]]})
    assert "1 age negative" in problems[0]
    assert "cohort.min_age" not in problems[0]

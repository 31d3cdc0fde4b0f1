"""Sample sheets: columns by common names, units of age, and the standard layout in parts."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.errors import InputError
from cpgtaxa.input import ages as ages_of
from cpgtaxa.input import matrices, sheets
from cpgtaxa.input.ingest import ingest
from cpgtaxa.input.opening import open_matrix
from cpgtaxa.input.standard_layout import parts_of
from cpgtaxa.plan.main import Plan

NONE = {"sample_id": None, "age": None, "sex": None}
IDS = [f"s{number}" for number in range(12)]
YEARS = [20.5 + 5 * number for number in range(12)]


def read(folder, frame, columns=NONE, known=frozenset(IDS), unit="auto", name="sheet.csv"):
    """Sheet, ages and problems."""
    path = folder / name
    frame.to_csv(path, index=False)
    sheet, problems = sheets.read_sheet(path, columns, known)
    ages, found = ages_of.check_ages(path, sheet, unit) if "age" in sheet else (None, [])
    return sheet, ages, problems + found


@pytest.mark.parametrize("ids", ["Sample_Name", "SampleID", "BASENAME", "geo accession", "gsm", "title", "id", "name"])
@pytest.mark.parametrize("age", ["Age", "AGE (years)", "age_at_draw", "chronological age", "age.yrs"])
def test_common_names(tmp_path, ids, age):
    frame = pd.DataFrame({ids: IDS, "Gender": ["F", "M"] * 6, age: YEARS, "batch": 1})
    sheet, ages, problems = read(tmp_path, frame)
    assert problems == []
    assert sheet["sample_id"].tolist() == IDS
    assert ages.tolist() == YEARS
    assert sheet["sex"].tolist() == ["F", "M"] * 6
    assert list(sheet.columns) == ["sample_id", "age", "sex", "batch", "row"]
    assert sheet.attrs["chosen"] == {
        "sample_id": ids,
        "age": age,
        "sex": "Gender",
        "age_unit": ages_of.unit_of_name(age)[0] or "years",
    }


@pytest.mark.parametrize(
    ("name", "codes", "sexes"),
    [
        ("female", [1, 0], "FM"),
        ("Male", [1.0, 0.0], "MF"),
        ("sexF", [1, 0], "FM"),
        ("sexMale", [True, False], "MF"),
        ("is_female", ["yes", "no"], "FM"),
    ],
)
def test_columns_named_by_one_sex(tmp_path, name, codes, sexes):
    frame = pd.DataFrame({"id": IDS, "age": YEARS, name: [*(codes * 5), codes[0], None]})
    sheet, _, problems = read(tmp_path, frame)
    assert problems == []
    assert sheet["sex"].tolist() == [*(list(sexes) * 5), sexes[0], ""]
    assert sheet.attrs["chosen"]["sex"] == name
    assert any(f"read as sex {sexes[0]}" in note for note in sheet.attrs["notes"])


def test_a_column_named_by_one_sex_that_is_no_yes_or_no_is_left_alone(tmp_path):
    frame = pd.DataFrame({"id": IDS, "age": YEARS, "female": [0.2, 0.7] * 6, "f": [1, 0] * 6})
    assert {"sex"}.isdisjoint(read(tmp_path, frame)[0])
    both = read(tmp_path, frame.assign(female=[1, 0] * 6, Sex=["M", "F"] * 6))[0]
    assert both["sex"].tolist() == ["M", "F"] * 6
    assert "female" in both


def test_the_ids_are_those_of_the_matrix(tmp_path):
    frame = pd.DataFrame({"sample_id": range(12), "Sample_Name": IDS, "id": [f"p{n}" for n in range(12)], "age": YEARS})
    sheet, _, problems = read(tmp_path, frame)
    assert problems == []
    assert sheet["sample_id"].tolist() == IDS
    assert read(tmp_path, frame, known=None)[0]["sample_id"].tolist() == [str(n) for n in range(12)]


def test_chip_and_position_are_joined(tmp_path):
    frame = pd.DataFrame(
        {"Sample_Name": IDS, "Sentrix_ID": 200123456789, "Sentrix_Position": [f"R{n:02}C01" for n in range(12)]}
    )
    known = {f"200123456789_R{n:02}C01" for n in range(12)}
    sheet, _, problems = read(tmp_path, frame.assign(age=YEARS), known=known)
    assert problems == []
    assert set(sheet["sample_id"]) == known
    assert {"Sentrix_ID", "Sentrix_Position", "Sample_Name"} <= set(sheet.columns)


def test_longer_ids_in_the_matrix_are_offered_not_matched(tmp_path):
    known = {f"{name}_2001_R01C01" for name in IDS}
    sheet, _, problems = read(tmp_path, pd.DataFrame({"gsm": IDS, "age": YEARS}), known=known)
    assert len(problems) == 1
    assert "begin with those of the column 'gsm'" in problems[0]
    assert sheet["sample_id"].tolist() == IDS


def test_a_column_of_another_name_that_matches_is_offered(tmp_path):
    _, _, problems = read(tmp_path, pd.DataFrame({"id": range(12), "tube": IDS, "age": YEARS}))
    assert len(problems) == 1
    assert "set `cohort.columns.sample_id: tube`" in problems[0]


def test_several_ages_are_listed_unless_they_are_the_same(tmp_path):
    frame = pd.DataFrame({"sample_id": IDS, "age": YEARS, "age_months": [12 * age for age in YEARS]})
    _, ages, problems = read(tmp_path, frame)
    assert problems == []
    assert ages.tolist() == YEARS
    _, ages, problems = read(tmp_path, frame.assign(age_months=[6 * age for age in YEARS]))
    assert ages is None
    assert len(problems) == 1
    for words in ("'age' (20.5 to 75.5)", "'age_months' (123 to 453)", "Set `cohort.columns.age`"):
        assert words in problems[0]


def test_columns_that_merge_made_two_of_are_listed(tmp_path):
    frame = pd.DataFrame({"sample_id": IDS, "age.x": YEARS, "age.y": [age + 1 for age in YEARS]})
    _, ages, problems = read(tmp_path, frame)
    assert ages is None
    assert "'age.x' (20.5 to 75.5); 'age.y' (21.5 to 76.5)" in problems[0]


def test_without_an_age_the_numbers_are_shown(tmp_path):
    _, ages, problems = read(tmp_path, pd.DataFrame({"sample_id": IDS, "when": YEARS, "who": IDS}))
    assert ages is None
    assert len(problems) == 1
    assert "those with numbers: 'when' (20.5 to 75.5)." in problems[0]


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [
        ("age", "months", 12),
        ("age", "days", 365.25),
        ("age", "weeks", 52.1775),
        ("age", "years", 1),
        ("Age (months)", "auto", 12),
        ("ageDays", "auto", 365.25),
        ("age_weeks", "auto", 52.1775),
        ("age_mo", "auto", 12),
        ("age_months", "years", 1),
    ],
)
def test_units(tmp_path, name, unit, factor):
    frame = pd.DataFrame({"sample_id": IDS, name: [age * factor for age in YEARS]})
    _, ages, problems = read(tmp_path, frame, unit=unit)
    assert problems == []
    np.testing.assert_allclose(ages, YEARS, rtol=1e-12)


def test_values_say_their_units(tmp_path):
    words = ["67 years", "34 mo", "67yrs", "12 weeks", "100 days", "44 y.o.", "30 years old", *["50 yrs"] * 5]
    sheet, ages, problems = read(tmp_path, pd.DataFrame({"sample_id": IDS, "age": words}))
    assert problems == []
    np.testing.assert_allclose(ages[:7], [67, 34 / 12, 67, 12 / 52.1775, 100 / 365.25, 44, 30])
    assert sheet.attrs["chosen"]["age_unit"] == "mixed"
    _, _, problems = read(tmp_path, pd.DataFrame({"sample_id": IDS, "age": words}), unit="years")
    assert len(problems) == 1
    assert "3 ages in another unit than `cohort.age_unit: years`: 's1' (line 3): '34 mo'" in problems[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *[
            (given, "1 age a range or a bound: 's0'")
            for given in ("60-69", ">89", "90+", "<1", "≥90", "60 to 69 years", "[60,65)", "90 or older", "30s")
        ],
        *[(given, "1 age not a number: 's0'") for given in ("P3", "1950-03-02", "old", "4O")],
    ],
)
def test_no_single_number(tmp_path, given, words):
    _, ages, problems = read(tmp_path, pd.DataFrame({"sample_id": IDS, "age": [given, *YEARS[1:]]}))
    assert len(problems) == 1
    assert words in problems[0]
    assert np.isnan(ages[0])


def test_a_unit_that_nothing_says_is_asked_for(tmp_path):
    frame = pd.DataFrame({"sample_id": IDS, "age": [age * 12 for age in YEARS]})
    _, _, problems = read(tmp_path, frame)
    assert len(problems) == 1
    assert "look like months; give years: divide by 12, or set `cohort.age_unit: months`" in problems[0]


# --- the standard layout ---------------------------------------------------------------------------------------------


def standard(folder: pathlib.Path, sizes=(5, 4, 3), n=40):
    """A data set in parts as the standard has it, and its matrix."""
    folder.mkdir()
    values = np.random.default_rng(3).beta(2, 3, (n, sum(sizes))).round(3)
    frame = pd.DataFrame(values, index=pd.Index([f"cg{n:04}" for n in range(n)], name="cpgSite"), columns=IDS)
    frame.iloc[7, 6] = np.nan
    stop = 0
    for number, size in enumerate(sizes, 1):
        frame.iloc[:, stop : stop + size].to_csv(folder / f"x_methylation_part{number}.csv")
        stop += size
    sheet = pd.DataFrame({"sex": [0.0, 1.0, np.nan, 0.0] * 3, "age": YEARS}, index=pd.Index(IDS, name="id"))
    sheet.to_csv(folder / "x_metadata.csv")
    return frame


def values_of(matrix, columns):
    """Ids and values (n, k); the reader leaves blocks in which some value is no number as text."""
    ids, blocks = [], []
    for names, values in matrix.batches(columns):
        ids += names
        if not isinstance(values, np.ndarray):
            values = np.stack([pd.to_numeric(array.to_pandas(), errors="coerce") for array in values], axis=1)
        blocks.append(values)
    return ids, np.concatenate(blocks)


@pytest.mark.parametrize("columns", [list(range(12)), [0, 3, 9, 11], [11, 2, 6], [6]])
def test_parts_are_one_matrix(tmp_path, monkeypatch, columns):
    monkeypatch.setattr(matrices, "BLOCK_BYTES", 600)  # the parts' blocks end at other rows
    frame = standard(tmp_path / "x")
    path = tmp_path / "x" / "x_methylation_part2.csv"
    path.write_text(
        path.read_text().replace(",", ", ")
    )  # as in biolearn's example: general reader beside the plain one
    matrix = open_matrix(tmp_path / "x")
    assert matrix.samples == IDS
    ids, values = values_of(matrix, columns)
    assert ids == list(frame.index)
    np.testing.assert_array_equal(values.astype(np.float32), frame.iloc[:, columns].to_numpy(np.float32))
    assert matrix.share() == pytest.approx(1)
    assert [name for names, _ in matrix.batches([]) for name in names] == list(frame.index)


def test_a_data_set_of_the_standard_ingests(tmp_path):
    frame = standard(tmp_path / "x")
    out = [tmp_path / name for name in ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json")]
    ingest(tmp_path / "x" / "x_methylation_part1.csv", tmp_path / "x" / "x_metadata.csv", *out, columns=NONE)
    samples = pd.read_parquet(out[1])
    assert samples["sample_id"].tolist() == list(frame.columns)
    assert samples["sex"].tolist()[:2] == ["F", "M"]
    assert samples["sex"].isna().sum() == 3
    qc = json.loads(out[3].read_text())
    assert qc["columns"] == {"sample_id": "id", "age": "age", "sex": "sex", "age_unit": "years"}
    assert any("read as F and M" in text for text in qc["warnings"])


def test_codes_elsewhere_stay_as_they_are(tmp_path):
    frame = pd.DataFrame({"id": IDS, "age": YEARS, "sex": [0, 1] * 6})
    assert read(tmp_path, frame)[0]["sex"].tolist() == ["0", "1"] * 6
    assert read(tmp_path, frame.assign(sex=[2, 1] * 6), name="y_metadata.csv")[0]["sex"].tolist() == ["2", "1"] * 6


def test_parts_of_other_cpgs(tmp_path):
    frame = standard(tmp_path / "x")
    path = tmp_path / "x" / "x_methylation_part3.csv"
    frame.iloc[::-1, 9:].to_csv(path)
    with pytest.raises(InputError, match=r"row 1 of .*part3.csv below the header has 'cg0039', where .* has 'cg0000'"):
        values_of(open_matrix(tmp_path / "x"), list(range(12)))
    frame.iloc[:-1, 9:].to_csv(path)
    with pytest.raises(
        InputError, match=r"row 40 of .*part3.csv below the header ends before row 40, where .* 'cg0039'"
    ):
        values_of(open_matrix(tmp_path / "x"), list(range(12)))


def test_which_parts_there_are(tmp_path):
    standard(tmp_path / "x")
    folder = tmp_path / "x"
    parts = [folder / f"x_methylation_part{number}.csv" for number in (1, 2, 3)]
    assert parts_of(folder) == parts_of(parts[0]) == parts
    assert parts_of(folder / "x_metadata.csv") == [folder / "x_metadata.csv"]
    plan = Plan.__new__(Plan)
    cohort = {"beta": str(folder), "samples": str(folder / "x_metadata.csv")}
    cohort |= {"index": None, "filters": {}, "only_cpgs": None}
    plan.config, plan.stored = {"simulate_cohort": None, "cohort": cohort}, False
    assert plan.cohort_input()["beta"] == [str(path) for path in parts]
    assert len(plan.cohort_states(None)) == 4
    with pytest.raises(InputError, match=r"is one part of several: name the first"):
        parts_of(parts[1])
    parts[1].rename(folder / "y_methylation_part1.csv")
    with pytest.raises(InputError, match=r"several data sets, 'x', 'y'"):
        parts_of(folder)
    with pytest.raises(InputError, match=r"lacks x_methylation_part2.csv"):
        parts_of(parts[0])

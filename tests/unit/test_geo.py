"""GEO series matrices, as sheet, as matrix, and as both."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError
from cpgtaxa.input import matrices, sheets
from cpgtaxa.input.ingest import ingest
from cpgtaxa.input.opening import open_matrix

NONE = {"sample_id": None, "age": None, "sex": None}
N = 12
IDS = [f"GSM98982{number:02}" for number in range(N)]
YEARS = [20 + 5 * number for number in range(N)]


def line(name, values):
    return "\t".join([name, *(f'"{value}"' for value in values)])


def table(frame):
    rows = [line('"ID_REF"', frame.columns)]
    for cpg, values in zip(frame.index, frame.to_numpy(), strict=True):
        rows.append("\t".join([f'"{cpg}"', *("" if np.isnan(value) else f"{value:g}" for value in values)]))
    return rows


def series(rows, characteristics, ids=IDS, end="!series_matrix_table_end", titles=None):
    """The text of a series matrix; `rows` are the table's lines, header first."""
    chips = [f"ftp://x/suppl/{name}_20012345678_R{at % 8:02}C{at // 8:02}_Grn.idat.gz" for at, name in enumerate(ids)]
    lines = [
        '!Series_title\t"Genome-wide ""methylation"""',
        '!Series_supplementary_file\t"ftp://x/suppl/GSE1_average_beta.txt.gz"',
        '!Series_supplementary_file\t"ftp://x/suppl/GSE1_RAW.tar"',
        "",
        line("!Sample_title", titles or [f"blood {number}" for number in range(len(ids))]),
        line("!Sample_geo_accession", ids),
        line("!Sample_source_name_ch1", ["whole blood"] * len(ids)),
        *(line("!Sample_characteristics_ch1", values) for values in characteristics),
        line("!Sample_data_processing", ["a " + "long " * 30] * len(ids)),
        line("!Sample_supplementary_file", chips),
        "!series_matrix_table_begin",
        *rows,
        *([end] if end else []),
    ]
    return "\n".join(lines) + "\n"


def betas(n=40, ids=IDS):
    values = np.random.default_rng(8).beta(2, 3, (n, len(ids))).round(4)
    values[3, 2] = np.nan
    return pd.DataFrame(values, index=[f"cg{number:04}" for number in range(n)], columns=ids)


AGES = [f"age (y): {age}" for age in YEARS]
SEXES = ["gender: F", "gender: M"] * (N // 2)


def written(folder, text, name="GSE1_series_matrix.txt.gz"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return path


def run(folder, beta, samples, **options):
    out = [folder / name for name in ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json")]
    ingest(beta, samples, *out, **options)
    return Cohort(out[0]), read_samples(out[1]), json.loads(out[3].read_text())


def test_characteristics(tmp_path):
    lines = [
        [*AGES[:6], *SEXES[6:]],  # other samples have other keys on the same line
        [*SEXES[:6], *AGES[6:]],
        ["Tissue: a: b", *["tissue: blood"] * (N - 1)],
        ["healthy", *[""] * (N - 1)],
        ["tissue: twice", *[""] * (N - 1)],
    ]
    path = written(tmp_path, series(table(betas()), lines))
    sheet, problems = sheets.read_sheet(path, {"age": "age (y)"}, set(IDS))
    assert problems == []
    assert sheet["sample_id"].tolist() == IDS
    assert sheet["age"].tolist() == [str(age) for age in YEARS]
    assert sheet["sex"].tolist() == ["F", "M"] * (N // 2)
    assert sheet["Tissue"].tolist() == ["a: b", *["blood"] * (N - 1)]
    assert sheet["Tissue_2" if "Tissue_2" in sheet else "tissue_2"].tolist() == ["twice", *[""] * (N - 1)]
    assert sheet["characteristics_4"].tolist() == ["healthy", *[""] * (N - 1)]
    assert sheet["barcode"].iloc[9] == "20012345678_R01C01"
    assert sheet["row"].tolist() == list(range(1, N + 1))


def test_barcodes_match_a_supplementary_matrix(tmp_path):
    path = written(tmp_path, series(table(betas()), [AGES]))
    known = {f"20012345678_R{at % 8:02}C{at // 8:02}" for at in range(N)}
    sheet, problems = sheets.read_sheet(path, {"age": "age (y)"}, known)
    assert problems == []
    assert set(sheet["sample_id"]) == known


def test_codes_of_ages_are_not_said_to_be_years(tmp_path):
    path = written(tmp_path, series(table(betas()), [[f"age: {at % 3}" for at in range(N)]]))
    with pytest.raises(InputError) as caught:
        run(tmp_path, path, path, columns=NONE)
    assert "'age': perhaps no ages, as they are 3 different whole numbers, 0 to 2" in caught.value.text()
    assert "age_unit: years  # only if the numbers are years" in caught.value.text()


def test_ages_must_be_confirmed(tmp_path):
    months = [f"gestational age (weeks): {30 + at}" for at in range(N)]
    path = written(tmp_path, series(table(betas()), [AGES, SEXES, months]))
    with pytest.raises(InputError) as caught:
        run(tmp_path, path, path, columns=NONE)
    assert len(caught.value.problems) == 1
    text = caught.value.text()
    for words in (
        "'age (y)': years; 12 of 12 samples, 20 to 75 (GSM9898200: 20; GSM9898201: 25; GSM9898202: 30)",
        "'gestational age (weeks)': gestational_weeks; 12 of 12 samples, 30 to 41",
        '       columns: {age: "age (y)", sex: "gender"}\n       age_unit: years',
    ):
        assert words in text, text
    assert not (tmp_path / "beta.arrow").exists()


def test_no_age_at_all(tmp_path):
    path = written(tmp_path, series(table(betas()), [SEXES]))
    _, problems = sheets.read_sheet(path, NONE, set(IDS))
    assert len(problems) == 1
    assert "no characteristic looks like an age; it has 'geo_accession', 'title'" in problems[0]


@pytest.mark.parametrize("block", [None, 700])
@pytest.mark.parametrize("name", ["GSE1_series_matrix.txt.gz", "GSE1_series_matrix.txt"])
def test_sheet_and_matrix_in_one(tmp_path, monkeypatch, block, name):
    if block:
        monkeypatch.setattr(matrices, "BLOCK_BYTES", block)
    frame = betas(60)
    path = written(tmp_path, series(table(frame), [AGES, SEXES]), name)
    cohort, samples, qc = run(tmp_path, path, path, columns={"age": "age (y)"})
    assert cohort.sample_ids == IDS
    assert list(cohort.cpgs) == list(frame.index)
    np.testing.assert_array_equal(cohort.read(0, cohort.n_cpgs), frame.to_numpy(np.float32))
    assert samples["age"].tolist() == YEARS
    assert qc["columns"] == {"sample_id": "geo_accession", "age": "age (y)", "sex": "gender", "age_unit": "years"}


def test_a_table_cut_off(tmp_path):
    path = written(tmp_path, series(table(betas()), [AGES], end=None), "x_series_matrix.txt")
    with pytest.raises(
        InputError, match=r"damaged or cut off after 40 CpGs .there is no line `!series_matrix_table_end`"
    ):
        run(tmp_path, path, path, columns={"age": "age (y)"})
    path.write_text("\n".join(series(table(betas()), [AGES]).split("\n")[:9]))
    with pytest.raises(InputError, match=r"ends before its line `!series_matrix_table_begin`"):
        open_matrix(path)


def test_an_empty_table_names_the_supplementary_files(tmp_path):
    path = written(tmp_path, series(table(betas())[:1], [AGES]))
    with pytest.raises(InputError, match=r"empty table.*names 'GSE1_average_beta.txt.gz'.*columns.sample_id") as caught:
        open_matrix(path)
    assert "RAW.tar" not in caught.value.text()
    sheet, problems = sheets.read_sheet(path, {"age": "age (y)"}, set(IDS))
    assert problems == []
    assert len(sheet) == N


def test_titles_name_the_columns_of_a_supplementary_file(tmp_path):
    path = written(tmp_path, series(table(betas())[:1], [AGES]))
    frame = betas()
    frame.set_axis([f"blood {number}" for number in range(N)], axis=1).to_csv(tmp_path / "beta.csv")
    _, samples, qc = run(tmp_path, tmp_path / "beta.csv", path, columns={"age": "age (y)"})
    assert samples["sample_id"].iloc[2] == "blood 2"
    assert qc["columns"]["sample_id"] == "title"


def test_a_real_cohort_as_a_series_matrix(shared, tmp_path):
    folder = shared / "methylation"
    frame = pd.read_csv(folder / "gse40279_beta.csv.gz", index_col=0).iloc[:60]
    frame = frame[~frame.index.str.startswith("ch.")]  # methylation outside CpGs is left out
    sheet = pd.read_csv(folder / "gse40279_samples.csv.gz").set_index("sample").loc[frame.columns]
    lines = [[f"{key}: {value}" for value in sheet[name]] for key, name in (("age (y)", "age"), ("gender", "sex"))]
    ids = list(frame.columns)
    path = written(tmp_path, series(table(frame), lines, ids, titles=list(sheet["sample_title"])))
    with pytest.raises(InputError, match=r"'age \(y\)': years; 656 of 656 samples, 19 to 101"):
        run(tmp_path, path, path, columns=NONE)
    cohort, samples, _ = run(tmp_path, path, path, columns={"age": "age (y)"})
    np.testing.assert_allclose(cohort.read(0, 60), frame.to_numpy(np.float32), atol=1e-7)
    assert samples["age"].tolist() == sheet["age"].tolist()
    assert samples["sex"].tolist() == sheet["sex"].tolist()

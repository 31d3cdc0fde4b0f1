"""Tables whose header and rows differ in length, and separators: read by content, or asked about."""

import gzip

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.errors import InputError
from cpgtaxa.input import matrices
from cpgtaxa.input.delimited import declared_separator, separator_among
from cpgtaxa.input.opening import open_matrix
from cpgtaxa.input.texts import read_table, read_text
from test_ingest import CPGS, N_SAMPLES, SAMPLES, Bench, check
from test_ingest_arrays import run


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def lines(frame, sep, *, header="", rows="", names=True):
    """A frame as text: `header` and `rows` are put at the ends of lines; names: whether the ids have a heading."""
    first, *others = frame.to_csv(sep=sep).splitlines()
    first = first if names else first.partition(sep)[2]
    return "\n".join([first + header, *(line + rows for line in others), ""])


@pytest.mark.parametrize("sep", ["\t", ",", ";"])
@pytest.mark.parametrize(("header", "rows"), [("", "1"), ("1", ""), ("1", "1"), ("", "11"), ("11", "1")])
def test_separators_at_the_ends_of_lines(bench, sep, header, rows):
    bench.beta_text = lines(bench.frame, sep, header=header.replace("1", sep), rows=rows.replace("1", sep))
    sheet = bench.sheet.set_index("sample_id")
    bench.samples_text = lines(sheet, sep, header=header.replace("1", sep), rows=rows.replace("1", sep))
    bench.run()
    check(bench)
    assert pd.read_parquet(bench.out("samples.parquet"))["age"].tolist() == bench.sheet["age"].tolist()
    assert bench.qc()["warnings"] == []


@pytest.mark.parametrize("rows", ["", "\t"])
def test_row_names_of_r(bench, rows):
    bench.beta_text = lines(bench.frame, "\t", names=False, rows=rows)
    bench.samples_text = lines(bench.sheet, "\t", names=False)
    bench.run()
    check(bench)


@pytest.mark.parametrize(
    ("heading", "words"),
    [("ID_REF", "a column lacks its name, or the rows have a field too many"), ("sonde", "'sonde', is a sample, but")],
)
def test_a_header_that_lacks_a_name(bench, heading, words):
    """Read as R's row names, everyone would have the next one's betas."""
    text = lines(bench.frame, "\t")
    bench.beta_text = text.replace("cpg\t", f"{heading}\t").replace("\ts11\n", "\n")
    found = bench.problems(unmatched="drop")
    assert len(found) == 1
    assert words in found[0]
    bench.beta.write_text(text)  # as the message says
    bench.run()
    check(bench)


def test_a_header_without_the_heading_of_ids(bench):
    bench.beta_text = lines(bench.frame.assign(s11=""), "\t", names=False)
    found = bench.problems(unmatched="drop", bad_samples="drop")
    assert any("the header begins with 's0', a sample of the sheet" in text for text in found)


def test_something_behind_the_last_name(bench, monkeypatch):
    text = lines(bench.frame, "\t", rows="\t").splitlines()
    text[18] += "0.5"
    bench.beta_text = "\n".join(text) + "\n"
    monkeypatch.setattr(matrices, "BLOCK_BYTES", 600)
    found = bench.problems(unmatched="drop")
    assert "'cg17' ('0.5' in field 14, behind the header)" in found[0]


@pytest.mark.parametrize("heading", ["sample_id", "tube"])
def test_a_sheet_that_lacks_a_name(bench, heading):
    rows = [
        f"{name},{age},{20 + at},{at}" for at, (name, age) in enumerate(zip(SAMPLES, bench.sheet["age"], strict=True))
    ]
    bench.samples_text = "\n".join([f"{heading},age,bmi", *rows, ""])
    assert any("a column lacks its name, or the rows have a field too many" in text for text in bench.problems())


def test_one_row_with_a_field_too_many(bench):
    rows = [
        f"{name},{age},{'x' if at == 4 else ''}" for at, (name, age) in enumerate(bench.sheet.iloc[:, :2].to_numpy())
    ]
    bench.samples_text = "\n".join(["tube,age", *rows, ""])
    assert any("1 row with another number of fields than the header's 2: line 6" in text for text in bench.problems())


def test_lists_are_read_likewise(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text('"cpg" "taxon"\n"1" "cg1" "BiAge"\n"2" "cg2" "TriAge"\n')  # R's write.table
    assert read_table(path, "taxa.labels", ("cpg", "taxon"))[0]["taxon"] == ["BiAge", "TriAge"]
    path.write_text("cpg\ttaxon\ncg1\tBiAge\t\ncg2\tTriAge\t\n")
    assert read_table(path, "taxa.labels", ("cpg", "taxon"))[0]["taxon"] == ["BiAge", "TriAge"]
    path.write_text("cpg,taxon\ncg1,BiAge,0.5\ncg2,TriAge,0.5\n")
    with pytest.raises(InputError, match="a column lacks its name"):
        read_table(path, "taxa.labels", ("cpg", "taxon"))


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("a,b c,d\te\nx, y\t5\nz, w\t6", "\t"),
        ("id;age\ns1;30,5\ns2;31,5", ";"),
        ("id;age, in years;sex\ns1;30,5;F\ns2;31,5;M", ";"),
        ("id,genes\ncg1,A;B\ncg2,C", ","),
        ('id,"a;b;c"\n1,2\n3,4', ","),
        ("id age\ns1 5", " "),
        ("cpg\ncg1", None),
    ],
)
def test_the_separator_is_found_by_all_lines(text, separator):
    assert separator_among(text.split("\n")) == separator


def test_commas_in_names_and_lines_above_the_header(bench):
    names = {name: f"Blood, donor {name}, 450K" for name in SAMPLES}
    bench.frame = bench.frame.rename(columns=names)
    bench.sheet["sample_id"] = list(names.values())
    bench.beta_text = "Betas of our cohort\n\nnormalised\n" + bench.frame.to_csv(sep="\t")
    bench.samples_text = "sep=\t\n" + bench.sheet.to_csv(sep="\t", index=False)
    bench.run()
    check(bench)
    assert any("2 lines above the header not read: 'Betas of our cohort'" in text for text in bench.qc()["warnings"])
    assert [declared_separator(line) for line in ("sep=;", '"sep=,"\r', "sep", "sep=;x")] == [";", ",", None, None]


@pytest.mark.parametrize("comment", ["# betas, 2024\n", "#a\n# b, c\n", "#"])
def test_comments(bench, comment):
    bench.beta_text = comment + bench.frame.to_csv()
    bench.samples_text = comment + bench.sheet.to_csv(index=False)
    bench.columns = {"sample_id": None, "age": None, "sex": None}
    bench.run()
    check(bench)


def test_sample_sheets_of_illumina(bench):
    head = "[Header],,,\nInvestigator Name,X,,\n,,,\n[Manifests],,,\nA,x.bpm,,\n[Data],,,\n"
    bench.samples_text = head + bench.sheet.to_csv(index=False)
    bench.run()
    check(bench)


def test_decimal_commas(bench):
    bench.beta_text = bench.frame.to_csv(sep=";", decimal=",").replace(".", ",")
    bench.run()
    check(bench)
    assert any("decimal commas were read as points" in text for text in bench.qc()["warnings"])


def test_commas_that_may_part_thousands_are_no_decimals(tmp_path):
    path = tmp_path / "signals.txt"
    path.write_text("cpg;a;b\ncg1;1,234;2,345\n")
    _, columns = next(open_matrix(path).batches([0, 1]))
    assert [column.to_pylist() for column in columns] == [["1,234"], ["2,345"]]


def test_a_windows_code_page(bench):
    bench.sheet["lieu"] = "Genève"
    bench.samples_text = bench.sheet.to_csv(sep=";", index=False).encode("cp1252")
    bench.run()
    assert pd.read_parquet(bench.out("samples.parquet"))["lieu"].tolist() == ["Genève"] * len(SAMPLES)
    assert any("code page 1252 (line 2: 's0;20.5;F;1;Genève')" in text for text in bench.qc()["warnings"])


def test_a_windows_code_page_in_the_header(bench):
    names = {name: f"Genève {name}" for name in SAMPLES}
    bench.sheet["sample_id"] = list(names.values())
    bench.frame = bench.frame.rename(columns=names)
    bench.beta_text = bench.frame.to_csv().encode("cp1252")
    bench.run()
    check(bench)
    assert any("was read in Windows' code page 1252 ('cpg,Genève s0" in text for text in bench.qc()["warnings"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_wide_encodings(bench, encoding):
    """Such as Excel's "Unicode text", with and without a byte order mark."""
    bench.sheet["lieu"] = "Genève"
    bench.samples_text = bench.sheet.to_csv(sep="\t", index=False).encode(encoding)
    text = bench.frame.to_csv(sep="\t").encode(encoding)
    bench.beta_text = gzip.compress(text) if encoding == "utf-16" else text
    bench.run()
    check(bench)
    assert pd.read_parquet(bench.out("samples.parquet"))["lieu"].tolist() == ["Genève"] * len(SAMPLES)
    for path in (bench.beta, bench.samples):
        assert f"{path} was read as text in {encoding[:6].upper()}" in bench.qc()["warnings"]
    (bench.folder / "labels.csv").write_bytes("cpg,taxon\ncg00,BiAge\n".encode(encoding))
    with pytest.raises(InputError, match=f"labels.csv is text in {encoding[:6].upper()}: save it as CSV"):
        read_text(bench.folder / "labels.csv", "taxa.labels")


def test_a_header_within_the_sheet(bench):
    first, second = bench.sheet.iloc[:5], bench.sheet.iloc[5:].assign(bmi=22)
    bench.samples_text = first.to_csv(index=False) + second.drop(columns="bmi").to_csv(index=False)
    bench.run()
    check(bench)
    assert any("the header stands again in line 7: not read" in text for text in bench.qc()["warnings"])
    bench.out("qc.json").parent.rename(bench.folder / "before")
    for columns in (["sample_id", "bmi", "age", "batch"], ["sample_id", "sex", "age", "bmi"]):
        for heading in ("sample_id", "Sample Name"):
            bench.samples.unlink()
            table = second[columns].rename(columns={"sample_id": heading})
            bench.samples_text = first.to_csv(index=False) + table.to_csv(index=False)
            assert "line 7 within the table is a header of other columns" in bench.problems(unmatched="drop")[0]


def test_values_stay_those_of_the_file(bench):
    """Rows that the fast parser takes and rows that it does not, both with a separator at their ends."""
    text = lines(bench.frame, "\t", rows="\t")
    bench.beta_text = text.replace(f"\n{CPGS[3]}\t", f"\n{CPGS[3]}\t ")
    bench.run()
    np.testing.assert_array_equal(bench.cohort().read(0, 99), bench.frame.to_numpy(np.float32))


def test_excel_workbooks(bench):
    path = bench.folder / "cohort.xlsx"
    bench.sheet.insert(1, "Slide", 200925700125)
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        bench.sheet.to_excel(book, sheet_name="people", index=False, startrow=2)
        bench.frame.astype(float).to_excel(book, sheet_name="betas")
        book.sheets["people"]["A1"] = "Our cohort, 2024"
    bench.beta = bench.samples = path
    bench.run(object="betas")
    check(bench)
    samples = pd.read_parquet(bench.out("samples.parquet"))
    assert samples["age"].tolist() == bench.sheet["age"].tolist()
    assert samples["Slide"].tolist() == [200925700125] * len(SAMPLES)
    warnings = " ".join(bench.qc()["warnings"])
    assert "the workbook's sheet 'people' was read; others are 'betas'" in warnings
    assert "1 line above the header not read: 'Our cohort, 2024'" in warnings
    bench.out("qc.json").parent.rename(bench.folder / "before")
    assert "has no sheet 'M'" in bench.problems(object="M")[0]
    path.write_bytes(path.read_bytes()[:3000])
    assert any("save it as CSV" in text for text in bench.problems())
    path.unlink()
    with pd.ExcelWriter(path) as book:
        bench.sheet.to_excel(book, sheet_name="people", index=False)
        bench.frame.replace({bench.frame.iat[2, 3]: "high"}).to_excel(book, sheet_name="betas")
    assert "text instead of a number in row 4, column 5: 'high'" in bench.problems(object="betas")[0]


def test_workbooks_as_people_lay_them_out(bench):
    """A hidden sheet before the one that counts, cells merged over rows, notes below the table."""
    path = bench.samples = bench.folder / "samples.xlsx"
    with pd.ExcelWriter(path, engine="openpyxl") as book:
        bench.sheet.assign(age=30).to_excel(book, sheet_name="old", index=False)
        sheet = bench.sheet.assign(
            age=[12 * age for age in bench.sheet["age"]], plate=["A", *[None] * 5, "B", *[None] * 5]
        )
        sheet.to_excel(book, sheet_name="people", index=False, startrow=2)
        shown = book.sheets["people"]
        shown["A1"], shown[f"A{N_SAMPLES + 5}"] = "Our cohort", "* age in months at draw"
        for cells in ("A1:E1", "E4:E9", "E10:E15"):
            shown.merge_cells(cells)
        book.sheets["old"].sheet_state = "hidden"
    bench.run()
    check(bench)
    samples = pd.read_parquet(bench.out("samples.parquet"))
    assert samples["age"].tolist() == bench.sheet["age"].tolist()
    assert samples["plate"].tolist() == ["A"] * 6 + ["B"] * 6
    warnings = " ".join(bench.qc()["warnings"])
    assert "the workbook's sheet 'people' was read; others are 'old'" in warnings
    assert "merged cells ('E4:E9', 'E10:E15') count for each of their rows" in warnings
    assert "ages read as months, by line 17, below the table" in warnings


def test_workbooks_as_r_and_commas_leave_them(bench):
    """Without a heading of the ids, below notes of several fields, with commas in texts."""
    rows = [
        ["Table S3", "2024"] + [None] * (len(SAMPLES) - 1),
        [*SAMPLES, None],
        *(
            [name, *(str(one).replace(".", ",") for one in row)]
            for name, row in zip(CPGS, bench.frame.to_numpy(), strict=True)
        ),
    ]
    bench.beta = bench.folder / "beta.xlsx"
    pd.DataFrame(rows).to_excel(bench.beta, index=False, header=False)
    run(bench)
    check(bench)
    warnings = "\n".join(bench.qc()["warnings"])
    assert "1 row above the header not read" in warnings
    assert "decimal commas were read as points" in warnings
    bench.out("qc.json").parent.rename(bench.folder / "before")
    bench.beta.unlink()
    pd.DataFrame([["x1", *SAMPLES[1:], None], *rows[2:]]).to_excel(bench.beta, index=False, header=False)
    assert "but the sheet has no such sample" in bench.problems()[0]


@pytest.mark.parametrize("notes", ["Table S3,GSE1{}\n", "Title: x{0}\nA,B,C{0}\n"])
def test_notes_of_several_fields_above_the_header(bench, notes):
    bench.beta_text = notes.format("," * (N_SAMPLES - 2)) + bench.frame.to_csv()
    bench.samples_text = "Table S1,,,\nBlood,2020,,\n" + bench.sheet.to_csv(index=False)
    run(bench)
    check(bench)


def test_row_names_and_separators_at_all_ends(bench):
    """R's row names, and a separator behind the header as behind the rows."""
    bench.beta_text = lines(bench.frame, "\t", header="\t", rows="\t", names=False)
    sheet = bench.sheet.set_index("sample_id")
    bench.samples_text = lines(sheet, "\t", header="\t", rows="\t", names=False)
    bench.columns["sample_id"] = None
    run(bench)
    check(bench)

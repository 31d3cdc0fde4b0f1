import bz2
import gzip
import hashlib
import io
import json
import logging
import os
import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError
from cpgtaxa.input import ingest as module
from cpgtaxa.input import matrices, scan, streams
from cpgtaxa.input.ingest import ingest

DATA = pathlib.Path(__file__).parents[3] / "shared" / "data" / "methylation"
N_CPGS, N_SAMPLES = 30, 12
SAMPLES = [f"s{number}" for number in range(N_SAMPLES)]
CPGS = [f"cg{number:02}" for number in range(N_CPGS)]
COLUMNS = {"sample_id": "sample_id", "age": "age", "sex": "sex"}


class Bench:
    """A small valid cohort in a folder, to be spoilt and ingested."""

    def __init__(self, folder):
        self.folder = folder
        self.beta, self.samples = folder / "beta.csv", folder / "samples.csv"
        values = np.random.default_rng(5).beta(2, 3, (N_CPGS, N_SAMPLES)).round(4)
        self.frame = pd.DataFrame(values, index=pd.Index(CPGS, name="cpg"), columns=SAMPLES).astype(object)
        self.sheet = pd.DataFrame(
            {
                "sample_id": SAMPLES,
                "age": [20.5 + 5 * number for number in range(N_SAMPLES)],
                "sex": ["F", "M"] * 6,
                "batch": [1, 2, 3] * 4,
            }
        ).astype(object)
        self.columns = dict(COLUMNS)
        self.beta_text = self.samples_text = None
        self.options = {"bad_cpgs": "error", "bad_samples": "error"}

    def write(self):
        text = self.frame.to_csv(na_rep="NA") if self.beta_text is None else self.beta_text
        if text is not None and not self.beta.exists():
            self.beta.write_bytes(text.encode() if isinstance(text, str) else text)
        text = self.sheet.to_csv(index=False) if self.samples_text is None else self.samples_text
        if not self.samples.exists():
            self.samples.write_bytes(text.encode() if isinstance(text, str) else text)

    def out(self, name):
        return self.folder / "out" / name

    def run(self, **options):
        self.write()
        names = ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json")
        ingest(self.beta, self.samples, *map(self.out, names), columns=self.columns, **self.options | options)

    def cohort(self):
        return Cohort(self.out("beta.arrow"))

    def qc(self):
        return json.loads(self.out("qc.json").read_text())

    def cpgs(self):
        return pd.read_parquet(self.out("cpgs.parquet"))

    def problems(self, **options) -> list[str]:
        with pytest.raises(InputError) as caught:
            self.run(**options)
        left = [path.name for path in self.folder.joinpath("out").glob("*")]
        assert left == [], "neither results nor partial files may be left"
        return caught.value.problems


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def check(bench, frame=None):
    """The cohort holds what the frame holds."""
    frame = bench.frame if frame is None else frame
    found = bench.cohort()
    assert found.sample_ids == list(frame.columns)
    assert list(found.cpgs) == list(frame.index)
    np.testing.assert_array_equal(found.read(0, found.n_cpgs), frame.to_numpy(np.float32))
    assert list(read_samples(bench.out("samples.parquet"))["sample_id"]) == list(frame.columns)


# --- what is written -------------------------------------------------------------------------------------------------


def test_outputs(bench):
    bench.frame.iloc[4, 2] = np.nan
    bench.sheet = bench.sheet.sample(frac=1, random_state=1)  # the matrix's order counts
    bench.run()
    check(bench)
    samples = read_samples(bench.out("samples.parquet"))
    assert list(samples.columns) == ["sample_id", "age", "sex", "batch"]
    assert samples["age"].dtype == np.float64
    assert list(samples["age"]) == [20.5 + 5 * number for number in range(N_SAMPLES)]
    assert list(samples["sex"]) == ["F", "M"] * 6
    assert list(samples["batch"]) == [1, 2, 3] * 4
    assert samples["batch"].dtype == np.int64

    cpgs, values = bench.cpgs(), bench.frame.astype(float)
    assert list(cpgs.columns) == ["cpg", "n_missing", "mean", "sd", "min", "max", "kept", "reason", "probe"]
    assert list(cpgs["n_missing"]) == list(values.isna().sum(axis=1))
    for name, expected in (("mean", values.mean(axis=1)), ("sd", values.std(axis=1)), ("max", values.max(axis=1))):
        np.testing.assert_allclose(cpgs[name], expected, rtol=1e-5)
    np.testing.assert_allclose(cpgs["min"], values.min(axis=1), rtol=1e-6)
    assert cpgs["kept"].all()
    assert cpgs["reason"].isna().all()

    qc = bench.qc()
    assert qc["n_cpgs"] == {"in": 30, "kept": 30, "dropped_missing": 0, "dropped_constant": 0}
    assert qc["n_samples"] == {"in_matrix": 12, "in_sheet": 12, "kept": 12}
    assert qc["samples_dropped"] == {"only_in_matrix": [], "only_in_sheet": [], "missing": []}
    assert qc["age"] == {"min": 20.5, "median": 48.0, "max": 75.5}
    assert qc["missing_fraction"] == pytest.approx(1 / 360)
    files = {"cohort": bench.out("beta.arrow"), "matrix": bench.beta, "samples": bench.samples}
    assert qc["sha256"] == {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()}
    assert qc["warnings"] == []
    assert sorted(path.name for path in bench.folder.joinpath("out").iterdir()) == [
        "beta.arrow",
        "cpgs.parquet",
        "qc.json",
        "samples.parquet",
    ]


def _quoted(bench):
    return bench.frame.reset_index().to_csv(index=False, quoting=1)


def _r_row_names(bench):  # write.table(x, sep = "\t"): one field fewer in the header
    header, *rows = bench.frame.to_csv(sep="\t").splitlines()
    return "\n".join([header.split("\t", 1)[1], *rows]) + "\n"


def _r_write_csv(bench):  # write.csv(x): first header cell is empty
    header, *rows = bench.frame.to_csv(quoting=2).splitlines()
    return "\n".join(['"",' + header.split(",", 1)[1], *rows]) + "\n"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("b.csv", lambda bench: bench.frame.to_csv()),
        ("b.csv", lambda bench: bench.frame.to_csv().rstrip("\n")),
        ("b.csv", lambda bench: bench.frame.to_csv().replace("\n", "\r\n")),
        ("b.csv", lambda bench: "\ufeff" + bench.frame.to_csv()),
        ("b.csv", lambda bench: "\n\n" + bench.frame.to_csv() + "\n\n"),
        ("b.csv", lambda bench: bench.frame.to_csv(sep=";")),
        ("b.csv", _quoted),
        ("b.tsv", lambda bench: bench.frame.to_csv(sep="\t")),
        ("b.txt", _r_row_names),
        ("b.txt", lambda bench: _r_row_names(bench).replace("\t", " ")),
        ("b.csv", _r_write_csv),
        ("b.csv.gz", lambda bench: gzip.compress(bench.frame.to_csv().encode())),
        ("b.csv.bz2", lambda bench: bz2.compress(bench.frame.to_csv().encode())),
        ("b.csv.zst", lambda bench: pa.compress(bench.frame.to_csv().encode(), "zstd", asbytes=True)),
        ("misnamed.csv", lambda bench: gzip.compress(bench.frame.to_csv(sep="\t").encode())),
    ],
)
def test_text_formats(bench, name, make):
    bench.beta = bench.folder / name
    bench.beta_text = make(bench)
    bench.run()
    check(bench)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in ("b.parquet", "b.feather") for kind in ("column", "float32", "text", "large", "nulls")]
    + [("b.parquet", "index")],  # Feather has no index
)
def test_parquet_and_feather(bench, name, kind, monkeypatch):
    monkeypatch.setattr(matrices, "BLOCK_BYTES", 100)  # many blocks
    bench.beta = bench.folder / name
    frame = bench.frame.astype(np.float32 if kind == "float32" else float)
    if kind == "nulls":
        frame.iloc[2, 3] = np.nan
        bench.frame = frame
    if kind == "text":
        frame = bench.frame.astype(str)
    if kind == "index":
        frame.to_parquet(bench.beta)
    else:
        table = pa.Table.from_pandas(frame.reset_index(), preserve_index=False)
        if kind == "large":
            table = table.set_column(0, "cpg", table["cpg"].cast(pa.large_string()))
        if name == "b.parquet":
            pa.parquet.write_table(table, bench.beta, row_group_size=7)
        else:
            pa.feather.write_feather(table, bench.beta, chunksize=7)
    bench.run()
    check(bench)


def test_parquet_with_dots_in_names(bench):
    bench.frame.columns = [f"s.{number}" for number in range(11)] + ["s"]  # `s` is a prefix of the others
    bench.sheet["sample_id"] = bench.frame.columns
    bench.beta = bench.folder / "b.parquet"
    bench.frame.astype(float).reset_index().to_parquet(bench.beta)
    bench.run()
    check(bench)


def test_duplicate_samples_in_parquet(bench):
    bench.beta = bench.folder / "b.parquet"
    table = pa.Table.from_pandas(bench.frame.astype(float).reset_index(), preserve_index=False)
    pa.parquet.write_table(table.rename_columns(["cpg", *SAMPLES[:-1], "s3"]), bench.beta)
    found = bench.problems(unmatched="drop")
    assert len(found) == 1
    assert "1 sample more than once in the header: 's3'" in found[0]


@pytest.mark.parametrize("missing", ["", "NA", "NaN", "nan", "null", "NULL", "N/A", ".", " NA "])
def test_missing_values(bench, missing):
    bench.frame.iloc[3, 0] = bench.frame.iloc[4, 5] = missing
    bench.run()
    bench.frame.iloc[3, 0] = bench.frame.iloc[4, 5] = np.nan
    check(bench)
    assert bench.qc()["missing_fraction"] == pytest.approx(2 / 360)


def test_rounding_outside_the_range_is_clipped(bench):
    bench.frame.iloc[0, 0], bench.frame.iloc[0, 1] = -1e-9, 1.0000002
    bench.run()
    bench.frame.iloc[0, 0], bench.frame.iloc[0, 1] = 0, 1
    check(bench)


def test_zero_and_one_are_beta_values(bench):
    bench.frame.iloc[0, :6] = 0
    bench.frame.iloc[0, 6:] = 1
    bench.run()
    check(bench)


def test_many_blocks(bench, monkeypatch):
    monkeypatch.setattr(matrices, "BLOCK_BYTES", 1)
    monkeypatch.setattr(scan, "STATISTICS_BYTES", 1)
    bench.run()
    check(bench)
    np.testing.assert_allclose(bench.cpgs()["mean"], bench.frame.astype(float).mean(axis=1), rtol=1e-6)


def test_annotation_columns_are_left_out_unread(bench, caplog):
    bench.frame.insert(3, "gene", "ELOVL2")
    bench.run(unmatched="drop")
    check(bench, bench.frame.drop(columns="gene"))
    assert "1 sample of the matrix" in caplog.text


def test_unmatched_are_dropped_with_a_warning(bench, caplog):
    bench.frame["extra"] = 0.5
    bench.sheet.loc[len(bench.sheet)] = ["absent", 44, "F", 1]
    bench.run(unmatched="drop")
    check(bench, bench.frame.drop(columns="extra"))
    assert bench.qc()["samples_dropped"] == {"only_in_matrix": ["extra"], "only_in_sheet": ["absent"], "missing": []}
    assert len(bench.qc()["warnings"]) == 2
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 2
    assert "'absent'" in caplog.text
    assert "'extra'" in caplog.text


def test_unmatched_rows_need_no_age(bench):
    bench.sheet.loc[len(bench.sheet)] = ["absent", "", "F", 1]
    bench.run(unmatched="drop")
    check(bench)


def test_bad_cpgs_are_dropped_with_a_warning(bench, caplog):
    bench.frame.iloc[3, :3] = np.nan  # 25 %
    bench.frame.iloc[5, :2] = np.nan  # 17 %
    bench.frame.iloc[7] = 0.25
    bench.frame.iloc[9] = np.nan
    bench.run(bad_cpgs="drop")
    check(bench, bench.frame.drop(index=["cg03", "cg07", "cg09"]))
    cpgs = bench.cpgs().set_index("cpg")
    assert cpgs["reason"].dropna().to_dict() == {"cg03": "missing", "cg07": "constant", "cg09": "missing"}
    assert list(cpgs.index[~cpgs["kept"]]) == ["cg03", "cg07", "cg09"]
    assert cpgs.loc["cg09", "n_missing"] == 12
    assert bench.qc()["n_cpgs"] == {"in": 30, "kept": 27, "dropped_missing": 2, "dropped_constant": 1}
    assert bench.qc()["missing_fraction"] == pytest.approx(2 / (27 * 12))
    assert "'cg03' (25%)" in caplog.text
    assert "'cg07' (always 0.25)" in caplog.text


def test_bad_samples_are_dropped_and_cpgs_checked_without_them(bench, caplog):
    bench.frame.iloc[:25, [2, 4]] = np.nan  # with these two, every CpG lacks 17 % …
    bench.frame.iloc[3, 0] = np.nan  # … and this one 25 %, without them 10 %
    bench.run(bad_samples="drop")
    check(bench, bench.frame.drop(columns=["s2", "s4"]))
    assert bench.qc()["samples_dropped"]["missing"] == ["s2", "s4"]
    assert bench.qc()["n_samples"]["kept"] == 10
    assert bench.cpgs()["kept"].all()
    assert bench.cpgs()["n_missing"].sum() == 1
    assert "'s2' (83%)" in caplog.text
    assert list(read_samples(bench.out("samples.parquet"))["age"])[:3] == [20.5, 25.5, 35.5]


def test_probes_failed_everywhere_do_not_spoil_the_samples(bench):
    bench.frame.iloc[:10] = np.nan
    bench.run(bad_cpgs="drop", max_missing_sample=0.05)
    check(bench, bench.frame.iloc[10:])


def test_limits_are_shares_and_can_be_changed(bench):
    bench.frame.iloc[3, :3] = np.nan
    bench.run(max_missing_cpg=0.25)
    check(bench)


@pytest.mark.parametrize("text", ["rn", "unnamed", "tab", "gzip", "quoted", "bom", "blank lines"])
def test_sheet_formats(bench, text):
    frame = bench.sheet
    header, *rows = frame.to_csv().splitlines()
    made = {
        "rn": "\n".join([header[1:], *rows]),  # R: row names without a heading
        "unnamed": frame.to_csv(),
        "tab": frame.to_csv(index=False, sep="\t"),
        "gzip": gzip.compress(frame.to_csv(index=False).encode()),
        "quoted": frame.to_csv(index=False, quoting=1),
        "bom": "\ufeff" + frame.to_csv(index=False),
        "blank lines": frame.to_csv(index=False).replace("\n", "\r\n\r\n"),
    }
    bench.samples_text = made[text]
    bench.run()
    assert list(read_samples(bench.out("samples.parquet")).columns) == ["sample_id", "age", "sex", "batch"]
    check(bench)


def test_unnamed_sheet_columns_pass_under_a_name(bench):
    bench.samples_text = bench.sheet.rename(columns={"batch": ""}).to_csv(index=False)
    bench.run()
    assert list(read_samples(bench.out("samples.parquet")).columns) == ["sample_id", "age", "sex", "column_4"]


def test_sheet_columns_under_other_names(bench):
    bench.sheet = bench.sheet.rename(columns={"sample_id": "gsm", "age": "years", "sex": "gender", "batch": "age"})
    bench.sheet["plate"] = ["x", "NA"] * 6
    bench.columns = {"sample_id": "gsm", "age": "years", "sex": "gender"}
    bench.run()
    samples = read_samples(bench.out("samples.parquet"))
    assert list(samples.columns) == ["sample_id", "age", "sex", "sheet_age", "plate"]
    assert samples["age"].iloc[0] == 20.5
    assert samples["plate"].isna().sum() == 6


@pytest.mark.parametrize("columns", [COLUMNS, {"sample_id": "sample_id", "age": "age", "sex": None}, {}])
def test_sex_is_optional(bench, columns):
    bench.sheet = bench.sheet.drop(columns="sex")
    bench.columns = columns
    bench.run()
    assert list(read_samples(bench.out("samples.parquet")).columns) == ["sample_id", "age", "batch"]


# --- problems --------------------------------------------------------------------------------------------------------


def _set(row, column, value):
    def spoil(bench):
        bench.frame.iloc[row, column] = value

    return spoil


def _age(row, value):
    def spoil(bench):
        bench.sheet.loc[row, "age"] = value

    return spoil


def _ages(change):
    def spoil(bench):
        bench.sheet["age"] = [change(age) for age in bench.sheet["age"]]

    return spoil


def _beta(text):
    def spoil(bench):
        bench.beta_text = text(bench) if callable(text) else text

    return spoil


def _samples(text):
    def spoil(bench):
        bench.samples_text = text(bench) if callable(text) else text

    return spoil


def _frame(change):
    def spoil(bench):
        bench.frame = change(bench.frame)

    return spoil


def _sheet(change):
    def spoil(bench):
        bench.sheet = change(bench.sheet)

    return spoil


def _directory(bench):
    bench.beta.mkdir()


def _elsewhere(bench):
    bench.beta = bench.folder / "nowhere.csv"
    bench.write()
    bench.beta.unlink()
    bench.write = lambda: None


def _rename(frame, old, new):
    return frame.rename(columns={old: new})


def _duplicated_column(frame):
    frame = frame.copy()
    frame.columns = [*SAMPLES[:-1], "s3"]
    return frame


def _cut(bench):
    return gzip.compress(bench.frame.to_csv().encode())[:-40]


def _short_row(bench):
    lines = bench.frame.to_csv().splitlines()
    lines[3] = lines[3].rsplit(",", 2)[0]
    lines[5] += ",0.5"
    return "\n".join(lines) + "\n"


def _m_values(frame):
    frame = frame.astype(float)
    return np.log2(frame / (1 - frame)).round(4)


PROBLEMS = {
    "beta missing": (_elsewhere, ["nowhere.csv does not exist: check `cohort.beta`"]),
    "beta empty": (_beta(""), ["beta.csv is empty: check `cohort.beta`"]),
    "beta blank": (_beta("\n \n"), ["beta.csv is empty"]),
    "beta empty gzip": (_beta(gzip.compress(b"")), ["beta.csv is empty"]),
    "beta directory": (_directory, ["beta.csv is a directory: name the file itself in `cohort.beta`"]),
    "beta header only": (_beta("cpg,s1,s2\n"), ["beta.csv has a header but no rows"]),
    "beta single column": (_beta("cpg\ncg1\ncg2\n"), ["beta.csv is not a matrix: its first line is a single column"]),
    "beta cut off": (_beta(_cut), ["beta.csv is damaged or cut off"]),
    "beta binary": (_beta(b"\x01\x00\x02\x00" * 99), ["beta.csv is neither text (UTF-8), Parquet nor Feather"]),
    "beta zip": (_beta(b"PK\x03\x04" * 99), ["beta.csv is a zip archive or an Excel workbook: save it as CSV"]),
    "beta rds": (
        _beta(gzip.compress(b"X\n\x00\x00\x00\x03")),
        [
            "beta.csv is damaged or cut off, or holds what cannot be read (it ends before its end)",
            "saveRDS(beta, file)",
        ],
    ),
    "beta GEO": (
        _beta('!Series_title\t"x"\n'),
        ["beta.csv is a GEO series matrix that ends before its line", "Download it again"],
    ),
    "beta broken parquet": (_beta(b"PAR1" + b"\0" * 99), ["beta.csv is damaged or cut off"]),
    "beta broken feather": (_beta(b"ARROW1" + b"\0" * 99), ["beta.csv is damaged or cut off"]),
    "rows unequal": (
        _beta(_short_row),
        [
            "is not a matrix: 2 rows with another number of fields than the 13 expected: 'cg02' (11 fields), "
            "'cg04' (14 fields). Write missing values as NA and rows in full"
        ],
    ),
    "text": (_set(4, 2, "high"), ["1 cell with text instead of a number: CpG 'cg04', sample 's2': 'high'"]),
    "text and unequal rows": (
        lambda bench: (_set(8, 2, "high")(bench), _beta(_short_row)(bench)),
        ["is not a matrix: 2 rows with", "'cg02' (11 fields), 'cg04' (14 fields). Write"],
    ),
    "codes for missing": (
        _frame(lambda frame: frame.astype(float).mask(frame.astype(float) < 0.1, -9)),
        ["those below 0 are all -9, as codes for missing values are: write NA in their place"],
    ),
    "decimal comma": (
        _beta(lambda bench: bench.frame.to_csv(sep=";").replace(";0.", ";0,", 3)),
        ["3 cells with text", "'cg00', sample 's0': '0,", "These are decimal commas: write decimal points"],
    ),
    "no header": (
        _beta(lambda bench: bench.frame.to_csv(header=False)),
        ["has no header: its first line holds values. Add a line with the sample ids"],
    ),
    "transposed, a sample twice": (
        _frame(lambda frame: frame.T.rename(index={"s3": "s2"})),
        ["1 sample more than once in the first column: 's2'. Keep one row each"],
    ),
    "transposed, a CpG twice": (
        _frame(lambda frame: frame.T.rename(columns={"cg03": "cg02"})),
        ["1 CpG more than once: 'cg02' (columns 4, 5). Set `cohort.collapse`"],
    ),
    "transposed, without ids": (
        _frame(lambda frame: frame.T.rename(index={"s3": ""})),
        ["1 row without a sample id in the first column: row 4 below the header"],
    ),
    "transposed, text": (
        _frame(lambda frame: frame.T.replace({frame.iat[4, 2]: "high"})),
        ["1 cell with text instead of a number: CpG 'cg04', sample 's2': 'high'"],
    ),
    "transposed, decimal commas": (
        _beta(lambda bench: bench.frame.T.to_csv(sep=";").replace(";0.", ";0,", 3)),
        ["3 cells with text", "CpG 'cg00', sample 's0': '0,", "These are decimal commas: write decimal points"],
    ),
    "transposed, rows unequal": (
        _beta(lambda bench: bench.frame.T.to_csv().replace("s4,", "s4,0.5,")),
        ["1 row with another number of fields than the 31 expected: 's4' (32 fields)"],
    ),
    "nothing matches": (
        _frame(lambda frame: frame.rename(columns=lambda name: f"x{name}")),
        ["No sample of the sheet", "('s0', 's1', 's2' and 9 more)", "('xs0', 'xs1'", "`cohort.columns.sample_id`"],
    ),
    "only in sheet": (
        _frame(lambda frame: frame.drop(columns="s11")),
        ["1 sample of the sheet", "not in the matrix", "'s11'. Correct the ids, or set `cohort.unmatched: drop`"],
    ),
    "only in matrix": (
        _sheet(lambda sheet: sheet.drop(index=3)),
        ["1 sample of the matrix", "not in the sheet", "'s3'. Correct the ids, or set `cohort.unmatched: drop`"],
    ),
    "names changed by R": (
        lambda bench: (
            _sheet(lambda sheet: sheet.assign(sample_id=["s0"] + [f"{n}-a" for n in range(1, 12)]))(bench),
            _frame(lambda frame: frame.set_axis(["s0"] + [f"X{n}.a" for n in range(1, 12)], axis=1))(bench),
        ),
        ["R changed the names: use `check.names = FALSE`"],
    ),
    "duplicate CpG": (
        _frame(lambda frame: frame.rename(index={"cg07": "cg01"})),
        ["1 CpG more than once: 'cg01' (rows 2, 8). Set `cohort.collapse` to `mean` or `first`"],
    ),
    "row numbers": (
        _beta(lambda bench: bench.frame.reset_index().to_csv()),
        ["the first column holds row numbers (0, 1, 2 …), not CpG ids. Write the matrix without row numbers"],
    ),
    "empty CpG": (
        _frame(lambda frame: frame.rename(index={"cg07": " "})),
        ["1 row without a CpG id: row 8 below the header"],
    ),
    "duplicate in matrix": (
        lambda bench: (_frame(_duplicated_column)(bench), bench.options.update(unmatched="drop")),
        ["1 sample more than once in the header: 's3'. Keep one column each"],
    ),
    "duplicate in sheet": (
        _sheet(lambda sheet: pd.concat([sheet, sheet.iloc[[3]]])),
        ["1 sample listed more than once: 's3' (lines 5, 14). Keep one row each"],
    ),
    "empty id in matrix": (
        lambda bench: (_frame(lambda frame: _rename(frame, "s3", ""))(bench), bench.options.update(unmatched="drop")),
        ["1 column without a sample id in the header: column 5"],
    ),
    "empty id in sheet": (
        lambda bench: (
            bench.sheet.__setitem__("sample_id", ["", *SAMPLES[1:]]),
            bench.options.update(unmatched="drop"),
        ),
        ["1 row without a sample id: line 2"],
    ),
    "sheet missing": (
        lambda bench: (
            setattr(bench, "samples", bench.folder / "none" / "sheet.csv") or bench.beta.write_text("x,y\n1,2")
        ),
        ["sheet.csv does not exist: check `cohort.samples`"],
    ),
    "sheet empty": (_samples(""), ["samples.csv is empty: check `cohort.samples`"]),
    "sheet header only": (_samples("sample_id,age\n"), ["samples.csv has a header but no rows"]),
    "sheet single column": (_samples("sample_id\ns1\n"), ["samples.csv has a single column"]),
    "sheet Excel": (_samples(b"PK\x03\x04" * 9), ["samples.csv is a zip archive or an Excel workbook"]),
    "sheet not UTF-8": (_samples(b"sample_id,age\ns1,\x81\n"), ["samples.csv is not text in UTF-8"]),
    "sheet cut off": (_samples(gzip.compress(b"sample_id,age\n" * 99)[:-9]), ["samples.csv is damaged or cut off"]),
    "sheet rows unequal": (
        _samples(lambda bench: bench.sheet.to_csv(index=False).replace("s4,", "s4,1,")),
        ["1 row with another number of fields than the header's 4: line 6 (5 fields)"],
    ),
    "sheet column twice": (
        _samples(lambda bench: bench.sheet.to_csv(index=False).replace("batch", "sex")),
        ["several columns of the same name: 'sex'"],
    ),
    "no age column": (
        _sheet(lambda sheet: _rename(sheet, "age", "Age_years")),
        ["no column 'age'; its columns are 'sample_id', 'Age_years', 'sex', 'batch'. Set `cohort.columns.age`"],
    ),
    "no id column": (
        _sheet(lambda sheet: _rename(sheet, "sample_id", "gsm")),
        ["no column 'sample_id'; its columns are 'gsm', 'age'", "Set `cohort.columns.sample_id`"],
    ),
    "no such sex column": (
        lambda bench: bench.columns.update(sex="gender"),
        ["no column 'gender'", "Set `cohort.columns.sex`"],
    ),
    "age missing": (_age(2, "NA"), ["1 sample without an age: 's2' (line 4). Give the age in years"]),
    "age text": (_age(2, "old"), ["1 age not a number: 's2' (line 4): 'old'. Give the age in years"]),
    "age infinite": (_age(2, "inf"), ["1 age not a number: 's2' (line 4): 'inf'"]),
    "age negative": (_age(2, -3), ["1 age negative: 's2' (line 4): '-3'"]),
    "age above 125": (_age(2, 130), ["1 age above 125 years: 's2' (line 4): '130'"]),
    "age in days": (_ages(lambda age: age * 365.25), ["look like days; give years: divide by 365.25"]),
    "age in months": (_ages(lambda age: age * 12), ["look like months; give years: divide by 12"]),
    "years of birth": (_ages(lambda age: 2015 - int(age)), ["look like years of birth; give years"]),
    "ages equal": (_ages(lambda age: 40), ["all ages are equal (40)"]),
    "too few samples": (
        lambda bench: (
            _frame(lambda frame: frame.iloc[:, :9])(bench),
            _sheet(lambda sheet: sheet.iloc[:9])(bench),
        ),
        ["Only 9 samples in", "at least 10 are needed"],
    ),
    "M-values": (_frame(_m_values), ["these look like M-values. If they are, set `cohort.values: m`"]),
    "percent": (
        _frame(lambda frame: frame * 9),
        ["these look like percent. If they are, set `cohort.values: percent`"],
    ),
    "intensities": (_frame(lambda frame: frame * 5000), ["360 of 360 values lie outside 0-1", "355 more. Beta values"]),
    "bad cells": (
        lambda bench: (_set(4, 2, -0.2)(bench), _set(5, 3, 37)(bench)),
        [
            "2 of 360 values lie outside 0-1 (from -0.2 to 37): CpG 'cg04', sample 's2': -0.2; "
            "CpG 'cg05', sample 's3': 37. Beta values lie in 0-1"
        ],
    ),
    "infinite": (_set(4, 2, "-Inf"), ["1 infinite value: CpG 'cg04', sample 's2': -inf"]),
    "CpG missing": (
        _set(3, slice(0, 3), np.nan),
        [
            "1 CpG missing in more than 0.2 of the samples (`cohort.max_missing_cpg`): 'cg03' (25%). "
            "Set `cohort.bad_cpgs: drop` to leave them out"
        ],
    ),
    "CpG constant": (
        _set(3, slice(None), 0.5),
        ["1 constant CpG, a sign of masked or imputed probes: 'cg03' (always 0.5). Set `cohort.bad_cpgs: drop`"],
    ),
    "CpG constant but for gaps": (
        lambda bench: (_set(3, slice(None), 0.5)(bench), _set(3, 0, np.nan)(bench)),
        ["1 constant CpG"],
    ),
    "sample missing": (
        _set(slice(0, 7), 3, np.nan),
        [
            "1 sample missing in more than 0.2 of the CpGs (`cohort.max_missing_sample`): 's3' (23%). "
            "Set `cohort.bad_samples: drop` to leave them out"
        ],
    ),
    "all CpGs dropped": (
        lambda bench: (
            bench.options.update(bad_cpgs="drop"),
            _frame(lambda frame: frame * 0 + 0.5)(bench),
        ),
        ["all 30 CpGs would be left out", "30 constant CpGs"],
    ),
    "too many samples dropped": (
        lambda bench: (bench.options.update(bad_samples="drop"), _set(slice(0, 15), [2, 3, 4], np.nan)(bench)),
        ["3 samples missing in more than 0.2", "Without them only 9 samples would be left"],
    ),
}
SEVERAL = {
    "transposed, a sample twice": 2,
    "transposed, without ids": 2,
    "transposed, rows unequal": 2,  # these spoil more than one thing
    "row numbers": 2,
    "text and unequal rows": 2,
    "sheet missing": 2,
    "sheet rows unequal": 2,
    "too many samples dropped": 2,
    "names changed by R": 3,
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_problem(bench, case):
    spoil, expected = PROBLEMS[case]
    spoil(bench)
    if case == "sheet missing":
        bench.write = lambda: None
    found = bench.problems()
    matching = [problem for problem in found if all(part in problem for part in expected)]
    assert len(matching) == 1, found
    assert len(found) == SEVERAL.get(case, 1), found


def test_problems_are_reported_together(bench):
    bench.frame = bench.frame.rename(index={"cg07": "cg01"})
    bench.frame.iloc[20] = 0.5
    bench.frame.iloc[4, 2] = "high"
    bench.frame.iloc[5, 2] = 7
    bench.frame.iloc[6, :5] = np.nan
    bench.sheet.loc[3, "age"] = -1
    bench.sheet.loc[5, "age"] = ""
    bench.sheet.loc[len(bench.sheet)] = ["absent", 44, "F", 1]
    found = bench.problems()
    words = ["not in the matrix", "without an age", "negative", "text instead", "more than once", "outside 0-1"]
    words += ["missing in more", "constant"]
    assert len(found) == len(words)
    for problem, word in zip(found, words, strict=True):
        assert word in problem


def test_both_files_bad(bench):
    bench.beta_text = ""
    bench.samples_text = "name,years\na,1\n"
    found = bench.problems()
    assert [("beta.csv is empty" in text, "has no column" in text) for text in found].count((True, False)) == 1
    assert any("cohort.columns.age" in text for text in found)
    assert any("cohort.columns.sample_id" in text for text in found)


def test_damage_in_the_middle_is_reported_beside_what_was_found_before(bench, monkeypatch):
    monkeypatch.setattr(matrices, "BLOCK_BYTES", 1000)
    text = bench.frame.rename(index={"cg01": "cg00"}).to_csv().encode()
    noise = np.random.default_rng(1).bytes(3 << 20).hex().encode()  # beyond what is read to find the header
    bench.beta_text = gzip.compress(text + b"cg99," + noise)[: -(1 << 20)]
    found = bench.problems()
    assert "is damaged or cut off after 30 CpGs" in found[0]
    assert any("'cg00' (rows 1, 2)" in problem for problem in found)


def test_former_results_stay_when_the_new_input_is_bad(bench):
    bench.run()
    before = {path: path.read_bytes() for path in bench.folder.joinpath("out").iterdir()}
    bench.beta.write_text(bench.frame.to_csv().replace("cg01", "cg02"))
    with pytest.raises(InputError):
        bench.run()
    assert {path: path.read_bytes() for path in bench.folder.joinpath("out").iterdir()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(bench):
    bench.write()
    bench.beta.chmod(0)
    assert "beta.csv cannot be read (Permission denied)" in bench.problems()[0]


def test_unreadable_file_whoever_runs(bench, monkeypatch):
    """The same for root, whom no permissions stop."""
    bench.write()

    def refuse(path, mode="r", *rest, **options):
        if path == bench.beta:
            raise PermissionError(13, "Permission denied")
        return io.open(path, mode, *rest, **options)  # noqa: UP020

    monkeypatch.setattr(streams, "open", refuse, raising=False)
    found = bench.problems()
    assert len(found) == 1
    assert "beta.csv cannot be read (Permission denied): check its permissions" in found[0]


def test_unknown_policy_is_refused(bench):
    with pytest.raises(ValueError, match="bad_cpgs"):
        bench.run(bad_cpgs="dorp")


# --- real data, and size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cohort", "sex", "shape", "ages", "sexes"),
    [
        ("gse40279", "sex", (418, 656), (19, 101), {"female", "male"}),
        ("gse42861", "gender", (3000, 100), (19, 69), {"1", "2"}),
    ],
)
def test_real_cohorts(bench, cohort, sex, shape, ages, sexes):
    if not DATA.is_dir():
        pytest.skip(f"the real cohorts are not at {DATA}")
    bench.beta, bench.samples = DATA / f"{cohort}_beta.csv.gz", DATA / f"{cohort}_samples.csv.gz"
    bench.columns = {"sample_id": "sample", "age": "age", "sex": sex}
    bench.run()
    expected = pd.read_csv(bench.beta, index_col=0)
    assert expected.shape == shape
    expected = expected[~expected.index.str.startswith("ch.")]  # methylation outside CpGs
    check(bench, expected)
    sheet = pd.read_csv(bench.samples).set_index("sample").loc[expected.columns]
    samples = read_samples(bench.out("samples.parquet"))
    np.testing.assert_array_equal(samples["age"], sheet["age"])
    assert (samples["age"].min(), samples["age"].max()) == ages
    assert set(samples["sex"]) == sexes
    assert set(sheet.columns) - {"gender", "sex"} < set(samples.columns)
    cpgs = bench.cpgs()
    assert len(cpgs) == shape[0]
    cpgs = cpgs[cpgs["kept"]]
    np.testing.assert_allclose(cpgs["sd"], expected.std(axis=1), rtol=1e-4)
    assert bench.qc()["n_cpgs"]["kept"] == len(expected)


def test_memory_does_not_grow_with_the_number_of_cpgs(tmp_path):
    """Peak memory on 8 times the CpGs stays within 40 MB (the larger matrix alone is 77 MB of float32, 150 of text)."""
    code = """
import resource, sys
from cpgtaxa.input import ingest as module
from cpgtaxa.input import matrices
matrices.BLOCK_BYTES = 1 << 20  # so that a small file has many blocks
folder = sys.argv[1]
module.ingest(*(f"{folder}/{n}" for n in ("b.csv", "s.csv", "o.arrow", "o.parquet", "c.parquet", "q.json")), columns={})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = []
    samples = [f"s{number}" for number in range(800)]
    rng = np.random.default_rng(3)
    rows = [",".join(np.char.mod("%.4f", rng.random(800))) for _ in range(50)]
    for number in (3000, 24000):
        folder = tmp_path / str(number)
        folder.mkdir()
        with open(folder / "b.csv", "w") as handle:
            handle.write(",".join(["cpg", *samples]) + "\n")
            handle.writelines(f"cg{row},{rows[row % 50]}\n" for row in range(number))
        ages = [f"{name},{20 + place % 60}\n" for place, name in enumerate(samples)]
        (folder / "s.csv").write_text("sample_id,age\n" + "".join(ages))
        scripts = pathlib.Path(module.__file__).parents[2]
        command = [sys.executable, "-c", code, str(folder)]
        done = subprocess.run(command, cwd=scripts, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout) / 1024)
        assert Cohort(folder / "o.arrow").n_cpgs == number
    assert peaks[1] - peaks[0] < 40, peaks

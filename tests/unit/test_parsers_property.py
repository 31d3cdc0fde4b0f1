"""What is written in any accepted form reads back to the same values; anything else is refused, not stumbled over."""

import bz2
import csv
import datetime
import gzip
import io
import json
import pathlib
import string

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.images.packed import read_image_csv
from cpgtaxa.input import ingest, plain_text, sheets, streams, texts
from cpgtaxa.input import scan as scanning
from cpgtaxa.input.ages import check_ages
from cpgtaxa.input.opening import open_matrix
from cpgtaxa.learning import networks
from cpgtaxa.names import INDEX, TAXA, UNCLASSIFIED
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan
from cpgtaxa.report.tables import read_truth
from cpgtaxa.taxa.labels import read_labels
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
# The same examples in every run.
settings.register_profile(
    "seeded", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("seeded")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parsers")


# Any sign but control characters and halves of pairs; names are stripped of blanks at their ends.
SIGNS = st.characters(exclude_categories=("Cs", "Cc"))
NAMES = st.text(SIGNS, min_size=1, max_size=12).map(str.strip).filter(lambda name: name and name not in streams.MISSING)
PLAIN_NAMES = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=12).filter(
    lambda name: name not in streams.MISSING
)
SEPARATORS = st.sampled_from([",", "\t", ";"])
LINE_ENDS = st.sampled_from(["\n", "\r\n"])
QUOTINGS = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
PACKERS = st.sampled_from(
    [
        lambda data: data,
        lambda data: b"\xef\xbb\xbf" + data,
        gzip.compress,
        bz2.compress,
        lambda data: pa.compress(data, "zstd", asbytes=True),
        # Several members, as bgzip and parallel gzip write them.
        lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    ]
)


def number_texts(value: float):
    """Ways to write a number, not all of which keep all its digits."""
    return st.sampled_from(
        [
            repr(value),
            f"{value:.4f}",
            f"{value:.20f}",
            f"{value:.7e}",
            f"{value:.3E}",
            f"{value:.2f}".lstrip("0") or "0",
            f"{value:.0f}.",
            f"{value:.0f}",
            f"+{value:.5f}",
            f" {value:.5f} ",
            f"{np.float32(value)}",
        ]
    )


BETAS = st.floats(0, 1, allow_nan=False).flatmap(number_texts) | st.sampled_from(streams.MISSING)


@st.composite
def matrices(draw, names=NAMES):
    """CpGs, samples, and the text of every cell."""
    cpgs = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    samples = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    cells = [[draw(BETAS) for _ in samples] for _ in cpgs]
    return cpgs, samples, cells


def table(rows, separator, quoting, end) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end).writerows(rows)
    return text.getvalue().encode()


def expected(cells):
    """The nearest float64 of each text, then the nearest float32."""
    values = [[np.nan if cell.strip() in streams.MISSING else float(cell) for cell in row] for row in cells]
    return np.array(values, dtype=np.float64).astype(np.float32)


def read_matrix(path, columns=None):
    matrix = open_matrix(path)
    columns = list(range(len(matrix.samples))) if columns is None else columns
    scan = scanning.Scan([matrix.samples[column] for column in columns])
    cpgs, values = [], []
    for ids, block in matrix.batches(columns):
        names = [(name or "").strip() for name in ids]
        cpgs += names
        values.append(block if isinstance(block, np.ndarray) else scanning.block_values(scan, names, block))
    assert matrix.n_odd_rows == 0
    assert scan.n_text == 0, scan.text
    return cpgs, scan.samples, np.concatenate(values)


@given(matrices(), SEPARATORS, QUOTINGS, LINE_ENDS, PACKERS, st.sampled_from(["cpg", "", "ID"]), st.booleans())
@settings(max_examples=100)
def test_any_matrix_reads_back(folder, matrix, separator, quoting, end, pack, corner, last_end):
    cpgs, samples, cells = matrix
    data = table(
        [[corner, *samples], *([cpg, *row] for cpg, row in zip(cpgs, cells, strict=True))], separator, quoting, end
    )
    # A header must show its separator more often than its names do.
    assume(texts.separator_of(texts.lines_of(data.decode())[0]) == separator)
    if not last_end:
        data = data.removesuffix(end.encode())
    path = folder / "beta"
    path.write_bytes(pack(data))
    assert texts.foreign(data[:16]) is None
    found = read_matrix(path)
    assert found[0] == cpgs
    assert found[1] == samples
    np.testing.assert_array_equal(found[2], expected(cells))


@given(matrices(PLAIN_NAMES), LINE_ENDS, st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_some_columns_in_another_order(folder, matrix, end, random):
    cpgs, samples, cells = matrix
    path = folder / "some"
    rows = [["cpg", *samples], *([cpg, *row] for cpg, row in zip(cpgs, cells, strict=True))]
    path.write_bytes(table(rows, ",", csv.QUOTE_MINIMAL, end))
    columns = random.sample(range(len(samples)), random.randint(1, len(samples)))
    found = read_matrix(path, columns)
    assert found[1] == [samples[column] for column in columns]
    np.testing.assert_array_equal(found[2], expected(cells)[:, columns])


@given(matrices(PLAIN_NAMES))
@settings(max_examples=50)
def test_r_tables_without_a_corner_and_with_blanks(folder, matrix):
    cpgs, samples, cells = matrix
    cells = [[cell.strip() or "NA" for cell in row] for row in cells]
    path = folder / "r"
    path.write_bytes(
        table([samples, *([cpg, *row] for cpg, row in zip(cpgs, cells, strict=True))], " ", csv.QUOTE_ALL, "\n")
    )
    found = read_matrix(path)
    assert found[:2] == (cpgs, samples)
    np.testing.assert_array_equal(found[2], expected(cells))


@given(st.lists(st.lists(BETAS.map(str.strip), min_size=3, max_size=3), min_size=1, max_size=5))
@settings(max_examples=300)
def test_the_fast_reader_gives_the_same_or_gives_up(cells):
    text = "".join(f"cg{number},{','.join(row)}\n" for number, row in enumerate(cells)).encode()
    found = plain_text.parse(text, ",", 4, [1, 2, 3])
    if found is not None:
        np.testing.assert_array_equal(found[1], expected(cells))


@given(st.binary(max_size=200))
@example(b"cg,\n")
@settings(max_examples=300)
def test_the_fast_reader_takes_only_what_is_plain(data):
    """Whatever it takes, the general reader reads to the same values."""
    found = plain_text.parse(data, ",", 3, [1, 2])
    if found is not None and found[0]:
        try:
            rows = [row for row in csv.reader(io.StringIO(data.decode(), newline="")) if row]
        except (UnicodeDecodeError, csv.Error):
            return
        assert len(rows) == len(found[0])
        np.testing.assert_array_equal(found[1], expected([row[1:] for row in rows]))


# --- sheets ----------------------------------------------------------------------------------------------------------

AGES = st.floats(0, 125).map(lambda age: round(age, 3)) | st.integers(0, 125)


@given(
    st.lists(st.tuples(NAMES, AGES, NAMES), min_size=1, max_size=8, unique_by=lambda row: row[0]),
    st.permutations(["sample_id", "age", "batch"]),
    SEPARATORS,
    QUOTINGS,
    LINE_ENDS,
    PACKERS,
)
@settings(max_examples=100)
def test_any_sheet_reads_back(folder, rows, order, separator, quoting, end, pack):
    frame = pd.DataFrame(rows, columns=["sample_id", "age", "batch"], dtype=object)[order]
    path = folder / "sheet"
    path.write_bytes(pack(table([order, *frame.astype(str).values.tolist()], separator, quoting, end)))
    sheet, problems = sheets.read_sheet(path, {"sample_id": "sample_id", "age": "age"})
    assert problems == []
    assert sheet["sample_id"].tolist() == frame["sample_id"].tolist()
    assert sheet["batch"].tolist() == frame["batch"].tolist()
    ages, found = check_ages(path, sheet)
    by_chance = ("all ages are equal", "holds units of time")
    assert [problem for problem in found if not any(words in problem for words in by_chance)] == []
    assert ages.tolist() == [float(age) for age in frame["age"]]


# --- whatever else ---------------------------------------------------------------------------------------------------

TABLE_SIGNS = st.text('ab,;\t\n\r" 0.5-eNA\ufeff\u2028\x85\x1cé\0', max_size=60)
ANYTHING = st.one_of(
    TABLE_SIGNS.map(str.encode),
    st.builds(
        lambda head, rest: head + rest.encode(),
        st.sampled_from([b"cpg,taxon\n", b"sample_id,age\n", b"x,y\n1,2\n"]),
        TABLE_SIGNS,
    ),
    st.binary(max_size=200),
    st.builds(
        lambda start, rest: start + rest,
        st.sampled_from(
            [
                b"PAR1",
                b"ARROW1\0\0",
                b"\x1f\x8b\x08\0",
                b"BZh9",
                b"\x28\xb5\x2f\xfd",
                b"\x89PNG\r\n\x1a\n",
                b"PK\x03\x04",
            ]
        ),
        st.binary(max_size=100),
    ),
    TABLE_SIGNS.map(lambda text: gzip.compress(text.encode())),
)


def only_refused(read, *arguments):
    problems = ["none"]
    try:
        read(*arguments)
    except InputError as error:
        problems = error.problems
    assert problems
    assert all(isinstance(problem, str) and problem for problem in problems)


@given(ANYTHING, ANYTHING)
@example(b"\xef\xbb\xbf\n", b",,,\n")
@example(b"\x1c\n\x85", b'sample_id,age\n"' + b"x" * 140_000)
@example(b'"' + b"x" * 140_000 + b'",s1\ncg1,0.5\n', b"sample_id,age\ns1,40\n")
@settings(max_examples=300)
def test_ingest_refuses_anything_else(folder, beta, sheet):
    (folder / "b").write_bytes(beta)
    (folder / "s").write_bytes(sheet)
    out = [folder / "out" / name for name in ("beta", "samples", "cpgs", "qc")]
    with pytest.raises(InputError):  # ten samples do not fit
        ingest.ingest(folder / "b", folder / "s", *out, columns={"sample_id": "sample_id", "age": "age"})
    assert not list((folder / "out").glob("*"))


@given(ANYTHING)
@settings(max_examples=300)
def test_other_readers_refuse_anything_else(folder, data):
    path = folder / "anything"
    path.write_bytes(data)
    only_refused(read_labels, path, ["a", "b"])
    only_refused(read_truth, path)
    only_refused(read_image_csv, path, folder)
    only_refused(read_image_csv, path, folder, False)
    only_refused(networks.load_statistics, path)
    only_refused(networks.load_card, path)


# --- labels and lists of images --------------------------------------------------------------------------------------


@given(
    st.dictionaries(NAMES, st.sampled_from([*TAXA, UNCLASSIFIED]), min_size=1, max_size=8),
    SEPARATORS,
    QUOTINGS,
    LINE_ENDS,
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=80)
def test_any_labels_read_back(folder, given_labels, separator, quoting, end, packed, random):
    path = folder / "labels"
    data = table([("taxon", "cpg"), *((taxon, cpg) for cpg, taxon in given_labels.items())], separator, quoting, end)
    path.write_bytes(gzip.compress(data) if packed else data)
    cpgs = [*given_labels, "another CpG"]
    random.shuffle(cpgs)
    found = read_labels(path, cpgs)
    assert found["cpg"].tolist() == cpgs
    assert found["taxon"].tolist() == [given_labels.get(cpg, UNCLASSIFIED) for cpg in cpgs]
    assert found["reason"].tolist() == ["given" if cpg in given_labels else "not in the given labels" for cpg in cpgs]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    names = ["a.png", "b c.png", 'd"e.png', "f,g.png", "ü年.png", "sub/h.png", "NA"]
    (folder / "sub").mkdir()
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / name, "png")
    return folder, names


@given(st.data(), QUOTINGS, LINE_ENDS, st.booleans())
@settings(max_examples=100)
def test_any_list_of_images_reads_back(folder, pictures, data, quoting, end, absolute):
    root, names = pictures
    names = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    labels = [data.draw(st.sampled_from(TAXA)) for _ in names]
    written = [
        data.draw(st.sampled_from([label, str(INDEX[label]), f" {label} ", f"{INDEX[label]}.0"])) for label in labels
    ]
    paths = [f"{root}/{name}" if absolute else name for name in names]
    path = folder / "list.csv"
    path.write_bytes(table(list(zip(paths, written, strict=True)), ",", quoting, end))
    found = read_image_csv(path, root)
    assert found["path"].tolist() == paths
    assert found["label"].tolist() == labels


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=300), st.text(max_size=20))
@example("a/" * 3000, "BiAge")
@settings(max_examples=80)
def test_any_path_in_a_list_is_found_or_refused(folder, name, label):
    assume(not any("\ud800" <= sign <= "\udfff" for sign in label))
    path = folder / "odd.csv"
    path.write_bytes(table([(name, label)], ",", csv.QUOTE_ALL, "\n"))
    with pytest.raises(InputError):
        read_image_csv(path, folder)


# --- configuration ---------------------------------------------------------------------------------------------------


def places(rule, path=()):
    """Paths of all keys of the schema, sections included."""
    for key, inner in rule.get("properties", {}).items():
        yield (*path, key)
        yield from places(inner, (*path, key))


PLACES = list(places(yaml.safe_load(SCHEMA.read_text())))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 2, 64, 0.5, 1e300, -1, 10**400, "auto", "drop", "1e-6", "no", ""]),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.binary(max_size=5),
)
KEYS = st.one_of(
    st.text(max_size=8), st.sampled_from(sorted({path[-1] for path in PLACES})), st.integers(), st.booleans(), st.none()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def plain(value):
    """What a checked config consists of."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or (isinstance(value, (bool, int, str)) or (isinstance(value, float) and np.isfinite(value)))


@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=4))
@example([(("training", "lr"), float("nan"))])
@example([(("cohort", "beta"), datetime.date(2024, 1, 1))])
@example([(("images",), {None: 1, 3: 2, "size": 64})])
@settings(max_examples=60)
def test_any_value_anywhere_is_taken_or_refused(changes):
    config = {}
    for path, value in changes:
        section = config
        for part in path[:-1]:
            section[part] = section = section.get(part) if isinstance(section.get(part), dict) else {}
        section[path[-1]] = value
    checked = text = None
    try:
        checked = check_config(config, SCHEMA)
    except InputError as error:
        text = error.text()
    if checked is None:
        assert text.encode(), "it can be printed"
        return
    assert plain(checked)
    assert check_config(checked, SCHEMA) == checked
    assert yaml.safe_load(yaml.safe_dump(checked)) == checked
    only_refused(Plan, checked)


@given(VALUES)
@settings(max_examples=100)
def test_any_json_is_taken_or_refused_as_statistics_and_card(folder, value):
    path = folder / "stats.json"
    for content in (value, {"mean": value, "std": [0.1] * 3}, {"image_size": value, "temperature": value}):
        path.write_text(json.dumps(content, default=str, skipkeys=True), encoding="utf-8", errors="replace")
        only_refused(networks.load_statistics, path)
        only_refused(networks.load_card, pathlib.Path(path))

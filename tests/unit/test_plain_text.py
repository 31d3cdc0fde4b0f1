"""The quick reader of plain rows: the nearest values to the last bit, and nothing that it should leave alone."""

import numpy as np
import pytest
from cpgtaxa.input import plain_text


def read(text, n_fields, separator=","):
    return plain_text.parse(text.encode(), separator, n_fields, range(1, n_fields))


@pytest.mark.parametrize("form", ["%.5f", "%.15f", "%.17g", "%.3e", "%.20f", "%s"])
def test_values_are_the_nearest_float64_to_the_last_bit(form):
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.random((300, 40)), rng.random((20, 40)) * 1e-4, -rng.random((5, 40))])
    rows = [[form % value for value in line] for line in values.tolist()]
    gaps = rng.random(values.shape) < 0.05
    for row, column in zip(*np.nonzero(gaps), strict=True):
        rows[row][column] = ["", "NA", "NaN"][column % 3]
    text = "\n".join(",".join([f"cg{number:08d}", *line]) for number, line in enumerate(rows))
    ids, found = read(text, 41)
    expected = [[np.nan if cell in ("", "NA", "NaN") else float(cell) for cell in line] for line in rows]
    assert ids == [f"cg{number:08d}" for number in range(len(rows))]
    np.testing.assert_array_equal(found, np.array(expected).astype(np.float32))


def test_columns_are_picked_in_the_order_asked_for():
    ids, found = plain_text.parse(b"a,1,2,3\nb,4,5,6\n", ",", 4, [3, 1])
    assert ids == ["a", "b"]
    assert found.tolist() == [[3, 1], [6, 4]]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a\t.5\t1\n", ["a"]),
        ('"a, b"\t.5\t1\n', ["a, b"]),
        ("a\t.5\t1\r\n\r\nb\t0.5\t1.\r\n\n", ["a", "b"]),
        ("ä\t5E-1\t1e+0", ["ä"]),
        ("\t0.5\t1", [""]),
        ("", []),
    ],
)
def test_what_programs_write_is_read(text, ids):
    found = read(text, 3, "\t")
    assert found[0] == ids
    assert found[1].tolist() == [[0.5, 1.0]] * len(ids)


@pytest.mark.parametrize(
    "row",
    [
        "a",
        "a,0.5",
        "a,0.5,1,2",
        "a,x,1",
        "a, 0.5,1",
        "a,0.5,1 ",
        "a,0,5,1",
        "a\rb,0.5,1",
        "a,0.5,1\rb,0.5,1",
        'a,"0.5",1',
        'a"b,0.5,1',
        '"a,0.5,1',
        '"a"b,0.5,1',
        '"a\nb",0.5,1',
        "a,-,1",
        "a,.,1",
        "a,1e,1",
        "a,1e-50,1",
        "a,12345678901234567890,1",
        "a,0x1,1",
        "a,inf,1",
        "a,9999999999999999999,1",
        "a,N,1",
        "a,NAN,1",
        "a,1,-NA",
        "a,null,1",
    ],
)
def test_everything_else_is_left_to_the_general_reader(row):
    assert read(f"z,0.5,1\n{row}\n", 3) is None


def test_text_that_is_no_utf8_is_left_to_the_general_reader():
    assert plain_text.parse(b"\xff,1,2\n", ",", 3, [1, 2]) is None


def test_a_value_too_near_to_the_middle_of_two_float32_is_left_to_the_general_reader():
    middle = f"{0.5 + 2**-25:.25f}"
    assert read(f"a,{middle},1\n", 3) is None
    assert read(f"a,{middle[:15]},1\n", 3)[1][0, 0] == np.float32(float(middle[:15]))

"""Open a matrix in any of the formats: which reader it is, by content."""

import pathlib

import numpy as np

from cpgtaxa.errors import reason_of
from cpgtaxa.input.delimited import LOOKED_AT, aligned, commas_for_points, lines_above, pointed
from cpgtaxa.input.geo import SeriesMatrix
from cpgtaxa.input.matrices import ArrowMatrix, TextMatrix, refuse_foreign
from cpgtaxa.input.matrices_array import ArrayMatrix
from cpgtaxa.input.matrices_numpy import is_npz, open_npy, open_npz
from cpgtaxa.input.matrices_r import open_r
from cpgtaxa.input.parts_matrix import PartsMatrix
from cpgtaxa.input.r_files import is_r
from cpgtaxa.input.series import is_series
from cpgtaxa.input.standard_layout import parts_of
from cpgtaxa.input.streams import DAMAGE, MISSING, Unreadable, codec_of, magic, many
from cpgtaxa.input.texts import wide_encoding
from cpgtaxa.input.workbooks import is_workbook, read_workbook


def open_workbook(path: pathlib.Path, name: str | None) -> ArrayMatrix:
    """The matrix in a sheet of an Excel workbook, which memory holds. Raises Unreadable."""
    rows, notes = read_workbook(path, name)
    above = lines_above([row for _, row in rows])
    header, rows = rows[above][1], rows[above + 1 :]
    named = max(place for place, field in enumerate(header, 1) if field)
    names, rows, odd, doubt = aligned(header[:named], rows, "\t")
    if odd:
        doubt = doubt or f"row {odd[0][0]} has something behind the last name of the header. Name or remove the column"
    if doubt:
        raise Unreadable(f"{path}: {doubt}")
    if above:
        notes.append(f"{path}: {many(above, 'row')} above the header not read")
    values, comma = _numbers(path, rows, len(names) - 1)
    if comma:
        notes.append(f"{path}: decimal commas were read as points")
    ids, samples = [row[0] for _, row in rows], names[1:]
    matrix = ArrayMatrix(
        path,
        ids,
        samples,
        lambda start, stop: values[start:stop],
        flip=lambda: ArrayMatrix(path, samples, ids, lambda start, stop: values.T[start:stop]),
    )
    matrix.notes, matrix.row_names, matrix.heading = notes, names[0] is None, names[0]
    return matrix


def _numbers(path, rows: list[tuple[int, list[str]]], width: int) -> tuple[np.ndarray, bool]:
    """The values behind the first field of each row, (k, width) float32; whether decimal commas were read."""
    comma = commas_for_points((field for _, row in rows[:LOOKED_AT] for field in row[1:]), None)
    values = np.full((len(rows), width), np.nan, dtype=np.float32)
    for at, (number, row) in enumerate(rows):
        for column, field in enumerate(row[1:]):
            if field in MISSING:
                continue
            try:
                values[at, column] = float(pointed(field) if comma else field)
            except ValueError:
                raise Unreadable(
                    f"{path}: text instead of a number in row {number}, column {column + 2}: {field[:40]!r}. Missing "
                    "values are written NA or left empty"
                ) from None
    return values, comma


def open_matrix(path: pathlib.Path, key: str = "cohort.beta", *, name=None, index=None, folder=None):
    """A reader of a matrix in any of the formats, recognised by content.

    key: the config key that names it. name: which object of an R file, layer of an .h5ad or array of an .npz. index:
    files with the ids of an .npy, `{cpgs, samples}`. folder: where a matrix that is stored the other way round may be
    turned (else where temporary files go).

    What is returned has `path`; `samples`, the ids of the columns; `batches(columns)`, which yields blocks of rows:
    ids, and values (k, n) float32 or one Arrow array per wanted column; `share()`, how much has been read; `n_rows()`,
    about how many there are; `odd_rows`, `n_odd_rows` and `n_fields`, about rows with another number of fields.
    Raises Unreadable.
    """
    path, *further = parts_of(path, key)
    if further:
        paths = [path, *further]
        return PartsMatrix(paths, [TextMatrix(part, codec_of(magic(part, key))) for part in paths])
    first = magic(path, key)
    if first.startswith(b"\x93NUMPY"):
        return open_npy(path, index)
    if index:
        raise Unreadable(f"{path} is no .npy, and brings its own ids: leave `cohort.index` out")
    if first.startswith(b"PK\x03\x04") and is_npz(path):
        return open_npz(path, name, folder)
    if first.startswith(b"PK\x03\x04") and is_workbook(path):
        return open_workbook(path, name)
    if first.startswith(b"\x89HDF"):
        from cpgtaxa.input.matrices_h5ad import open_h5ad  # takes a second to import

        return open_h5ad(path, name, folder)
    if is_r(path, first):
        return open_r(path, first, name)
    if is_series(path, codec_of(first)):
        return SeriesMatrix(path, codec_of(first))
    if not wide_encoding(first):
        refuse_foreign(path, first)
    if name is not None:
        raise Unreadable(f"{path} holds one matrix, and `cohort.object` asks for {name!r}: leave that key out")
    if first.startswith((b"PAR1", b"ARROW1")):
        try:
            return ArrowMatrix(path, parquet=first.startswith(b"PAR1"))
        except DAMAGE as error:
            raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    return TextMatrix(path, codec_of(first))

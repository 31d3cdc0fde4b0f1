"""Open a matrix in any of the formats: which reader it is, by content."""

import pathlib

import numpy as np

from cpgtaxa.errors import reason_of
from cpgtaxa.input.geo import SeriesMatrix
from cpgtaxa.input.matrices import ArrowMatrix, TextMatrix, refuse_foreign
from cpgtaxa.input.matrices_array import ArrayMatrix
from cpgtaxa.input.matrices_numpy import is_npz, open_npy, open_npz
from cpgtaxa.input.matrices_r import open_r
from cpgtaxa.input.parts_matrix import PartsMatrix
from cpgtaxa.input.r_files import is_r
from cpgtaxa.input.series import is_series
from cpgtaxa.input.standard_layout import parts_of
from cpgtaxa.input.streams import DAMAGE, MISSING, Unreadable, codec_of, magic
from cpgtaxa.input.workbooks import is_workbook, read_workbook


def open_workbook(path: pathlib.Path, name: str | None) -> ArrayMatrix:
    """The matrix in a sheet of an Excel workbook, which memory holds. Raises Unreadable."""
    rows, notes = read_workbook(path, name)
    above = next((number for number, (_, row) in enumerate(rows) if sum(map(bool, row)) > 1), 0)
    header, rows = rows[above][1], rows[above + 1 :]
    values = np.full((len(rows), len(header) - 1), np.nan, dtype=np.float32)
    for at, (number, row) in enumerate(rows):
        for column, field in enumerate(row[1:]):
            if field in MISSING:
                continue
            try:
                values[at, column] = float(field)
            except ValueError:
                raise Unreadable(
                    f"{path}: text instead of a number in row {number}, column {column + 2}: {field[:40]!r}. Missing "
                    "values are written NA or left empty"
                ) from None
    ids = [row[0] for _, row in rows]
    matrix = ArrayMatrix(
        path,
        ids,
        header[1:],
        lambda start, stop: values[start:stop],
        flip=lambda: ArrayMatrix(path, header[1:], ids, lambda start, stop: values.T[start:stop]),
    )
    matrix.notes = notes
    return matrix


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
    refuse_foreign(path, first)
    if name is not None:
        raise Unreadable(f"{path} holds one matrix, and `cohort.object` asks for {name!r}: leave that key out")
    if first.startswith((b"PAR1", b"ARROW1")):
        try:
            return ArrowMatrix(path, parquet=first.startswith(b"PAR1"))
        except DAMAGE as error:
            raise Unreadable(f"{path} is damaged or cut off ({reason_of(error)}): copy it again") from error
    return TextMatrix(path, codec_of(first))

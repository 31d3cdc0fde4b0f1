"""From DeepChrome's files, or a table, to a checked cell type on disk; every problem is reported at once.

The text is streamed: memory holds one block of rows and the names of the genes, whatever the size of the files.
"""

import dataclasses
import io
import logging
import pathlib
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from cpgtaxa.errors import InputError, reason_of, some
from cpgtaxa.files import write_json
from cpgtaxa.input import plain_text
from cpgtaxa.input.texts import foreign, separator_of
from cpgtaxa.progress import Progress
from cpgtaxa.targets.histone.cells import CellWriter
from cpgtaxa.targets.histone.plan import SPLITS, TABLE_COLUMNS, header_of, marks_of

BLOCK = 8 << 20
"""Bytes of text looked at together."""
LONGEST_LINE = 1 << 20
LOOKED_AT = 50
"""Rows by which row names and separators at the end are recognised."""
EXAMPLES = 5


class _Unreadable(InputError):
    """A file that cannot be read on."""


@dataclasses.dataclass
class _Layout:
    """Where a file's columns are. marks: the number of each mark's column; split: None where the file is one split.

    row_names: whether rows begin with R's row names, which are taken off; trailing: whether they end in a separator.
    """

    separator: str
    n_fields: int
    header: bool
    label: int
    marks: list[int]
    split: int | None = None
    row_names: bool = False
    trailing: bool = False

    def bare(self, text: bytes) -> bytes:
        """Rows without row names and without the separator at their end."""
        separator = re.escape(self.separator.encode())
        if self.trailing:
            text = re.sub(separator + rb"(\r?\n)", rb"\1", text)
        return re.sub(rb'^"?\d+"?' + separator, b"", text, flags=re.M) if self.row_names else text


class _Findings:
    """Problems of one file: by kind how many, and the first few."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.kinds: dict[str, tuple[int, list[str]]] = {}

    def add(self, kind: str, number: int, examples) -> None:
        count, listed = self.kinds.get(kind, (0, []))
        room = EXAMPLES - len(listed)
        self.kinds[kind] = count + number, listed + list(examples)[:room]

    def texts(self, advice: dict[str, str]) -> list[str]:
        found = []
        for kind, (count, listed) in self.kinds.items():
            more = " …" if count > len(listed) else ""
            found.append(f"{self.path}: {count:,} {kind}: {'; '.join(listed)}{more}. {advice[kind]}")
        return found


ODD, TEXT, EMPTY = "rows with another number of columns", "cells that are no numbers", "cells without a value"
NEGATIVE, ENDLESS, LABELS = (
    "genes with negative counts",
    "genes with infinite counts",
    "genes with a label that is neither 0 nor 1",
)
CHANGING, WRONG, ORDER = (
    "genes whose label changes",
    "genes with another number of rows",
    "genes with bins out of order",
)
TWICE, SPLIT = "genes that are there more than once", "genes whose split is not train, valid or test"
BOTH = [f"genes that are in {part} too" for part in SPLITS]
ADVICE = {
    **dict.fromkeys(BOTH, "A gene that is learnt from must not be tested: keep it in one of train, valid and test"),
    ODD: "Columns are gene, bin, one count per mark, label (of tables, those of the header)",
    TEXT: "Bins, counts and labels are numbers",
    EMPTY: "A bin without reads has the count 0",
    NEGATIVE: "Counts of reads are 0 or more: is this a logarithm, or a difference from a control?",
    ENDLESS: "Correct them",
    LABELS: "A label is 1 where the gene's expression is high, above the median say, and else 0",
    CHANGING: "A gene has one label, repeated in all its rows",
    WRONG: "Every gene needs a row for each bin: write the bins without reads too",
    ORDER: "The rows of a gene stand together, its bins one after the other from 1",
    TWICE: "Keep each gene once in a cell type",
    SPLIT: "A gene has one split, repeated in all its rows",
}


def prepare(given: dict, out: dict, *, cell: str, marks: list[str], bins: int) -> None:
    """Check a cell type's files and write what models read.

    given: `train`, `valid`, `test` (CSV, may be gzipped: gene, bin, a count per mark, label; with or without header),
    or `table` (with the header's columns gene, bin, label, split, and the marks). marks: their names in the order
    wanted: by these a header's columns are found; without header they are the columns' names. bins: of genes with
    more, the central ones. out: `cell` (see `cells.CellWriter`) and `qc` (JSON).

    Raises InputError with every problem found.
    """
    problems: list[str] = []
    seen: dict[str, int] = {}
    counted = np.zeros((len(SPLITS), 2), dtype=np.int64)
    given_bins, silent = set(), 0
    with CellWriter(out["cell"], marks, bins) as writer:
        sizes = {
            path: pathlib.Path(path).stat().st_size if pathlib.Path(path).exists() else 0 for path in given.values()
        }
        progress = Progress(sum(sizes.values()), "files read", items=len(sizes))
        for part, path in progress.over(given.items(), lambda one: sizes[one[1]]):
            file = _File(pathlib.Path(path), marks, bins, SPLITS.index(part) if part in SPLITS else None)
            try:
                for genes, splits, labels, counts in file.genes():
                    fresh = _fresh(genes, splits, seen, file)
                    writer.append(genes[fresh], splits[fresh], labels[fresh], counts[fresh])
                    np.add.at(counted, (splits[fresh], labels[fresh]), 1)
                    silent += int((~counts[fresh].any(axis=(1, 2))).sum())
            except InputError as error:
                problems += error.problems
            problems += file.findings.texts(ADVICE)
            if file.rows_of_gene:
                given_bins.add(file.rows_of_gene)
            logging.info(f"{path}: {file.n_genes:,} genes")
        if len(given_bins) > 1:
            numbers = " and of ".join(map(str, sorted(given_bins)))
            problems.append(f"cell type {cell} has files of {numbers} bins a gene: use one number")
        if not problems:
            problems += _classes(cell, given, counted)
        if problems:
            raise InputError(problems)
    warnings = []
    if silent:
        warnings.append(f"{cell}: {silent:,} genes have no read in any bin: models see zeros alone of them")
    for warning in warnings:
        logging.warning(warning)
    write_json(
        out["qc"],
        {
            "cell": cell,
            "marks": list(marks),
            "bins": bins,
            "bins_given": next(iter(given_bins)),
            "genes": {part: int(n) for part, n in zip(SPLITS, counted.sum(axis=1), strict=True)},
            "high": {part: int(n) for part, n in zip(SPLITS, counted[:, 1], strict=True)},
            "silent": silent,
            "files": {part: str(path) for part, path in given.items()},
            "warnings": warnings,
        },
    )


def _fresh(genes, splits, seen: dict[str, int], file) -> np.ndarray:
    """Which genes were not there before, (k,) bool; the others are findings of the file."""
    fresh = np.ones(len(genes), dtype=bool)
    for at, (gene, split) in enumerate(zip(genes, splits.tolist(), strict=True)):
        before = seen.setdefault(gene, split)
        if before != split:
            fresh[at] = False
            file.findings.add(BOTH[before], 1, [repr(gene)])
        elif gene in file.own:
            fresh[at] = False
            file.findings.add(TWICE, 1, [repr(gene)])
        file.own.add(gene)
    return fresh


def _classes(cell: str, given: dict, counted: np.ndarray) -> list[str]:
    problems = []
    for part, (low, high) in zip(SPLITS, counted, strict=True):
        where = given.get(part) or given.get("table")
        if low + high == 0:
            problems.append(f"{where}: cell type {cell} has no {part} genes: {', '.join(SPLITS)} all need some")
        elif not low or not high:
            problems.append(
                f"{where}: all {low + high:,} {part} genes of cell type {cell} have the label {1 if high else 0}: both "
                "high (1) and low (0) expression are needed to learn and to test"
            )
    return problems


class _File:
    """One file of genes; `genes` yields those that are whole, `findings` holds what is wrong with the others."""

    def __init__(self, path: pathlib.Path, marks: list[str], bins: int, split: int | None):
        self.path, self.wanted, self.bins, self.split = path, marks, bins, split
        self.findings = _Findings(path)
        self.own: set[str] = set()
        self.rows_of_gene = 0
        self.n_genes, self.n_rows, self.before = 0, 0, 0

    # Text

    def _pieces(self):
        """Blocks of whole lines, the line number before each. Raises _Unreadable for damage."""
        rest, lines = b"", 0
        try:
            with open(self.path, "rb") as raw:
                first = raw.read(16)
            if what := foreign(first):
                raise _Unreadable(f"{self.path} is {what}")
            packed = first.startswith(b"\x1f\x8b")
            with pa.OSFile(str(self.path), "rb") as raw:
                stream = pa.CompressedInputStream(raw, "gzip") if packed else raw
                while piece := stream.read(BLOCK):
                    whole, cut, rest = (rest + piece).rpartition(b"\n")
                    if not cut and len(rest) > LONGEST_LINE:
                        raise _Unreadable(f"{self.path} is no table: a line has more than {LONGEST_LINE >> 20} MB")
                    if cut:
                        yield whole + cut, lines
                        lines += whole.count(b"\n") + 1
        except (OSError, EOFError, pa.ArrowException) as error:
            raise _Unreadable(
                f"{self.path} is damaged or cut off, at line {lines + 1:,} or after it ({reason_of(error)}): "
                "copy or download it again"
            ) from error
        if rest.strip():
            yield rest + b"\n", lines
        elif lines == 0:
            raise _Unreadable(f"{self.path} is empty: check how the file was made")

    def _layout(self, line: str, rows: list[str]) -> _Layout:
        """Where the columns are, by the first line and the rows after it. Raises _Unreadable where it does not fit."""
        if not line.strip():
            raise _Unreadable(f"{self.path} begins with an empty line, or is empty: check how the file was made")
        separator = separator_of(line) or ","
        fields = [field.strip().strip('"') for field in line.rstrip(separator).split(separator)]
        layout = self._columns(fields, separator)
        lengths = {row.count(separator) + 1 for row in rows if row}
        layout.trailing = all(row.endswith(separator) for row in (*rows, *([] if layout.header else [line])) if row)
        if layout.header and not layout.trailing and lengths == {len(fields) + 1}:
            first = [row.split(separator)[0].strip('"') for row in rows if row]
            layout.row_names = len(set(first)) == len(first) and all(name.isdecimal() for name in first)
        return layout

    def _columns(self, fields: list[str], separator: str) -> _Layout:
        header, n = header_of(fields), len(fields)
        if self.split is None and (header is None or not set(TABLE_COLUMNS) <= set(header)):
            raise _Unreadable(
                f"{self.path} needs a header with the columns {', '.join(TABLE_COLUMNS)} and the marks; its first "
                f"line has {some(fields, 9)}"
            )
        if header is None:
            if n != len(self.wanted) + 3:
                raise _Unreadable(
                    f"{self.path} has {n} columns, not {len(self.wanted) + 3}: gene, bin, "
                    f"{', '.join(self.wanted)}, label. Correct the file, or name its marks in `histone.marks`"
                )
            return _Layout(separator, n, False, n - 1, list(range(2, n - 1)))
        lacking = [mark for mark in self.wanted if mark not in header]
        if lacking:
            raise _Unreadable(
                f"{self.path} lacks the marks {some(lacking, 8)}; its header has {some(marks_of(header), 8)}. Name "
                "those that all files have in `histone.marks`"
            )
        if header[:2] != ["gene", "bin"]:
            raise _Unreadable(f"{self.path}: the first two columns must be gene and bin; found {some(header[:2])}")
        label = header.index("label") if "label" in header else n - 1
        split = header.index("split") if self.split is None else None
        return _Layout(separator, n, True, label, [header.index(mark) for mark in self.wanted], split)

    # Rows

    def _rows(self):
        """Blocks of rows: genes (k,) str objects, splits (k,) int64, numbers (k, bin + marks + label), lines (k,)."""
        layout = None
        for text, before in self._pieces():
            if layout is None:
                if text.startswith(b"\xef\xbb\xbf"):
                    text = text[3:]
                lines = text.split(b"\n", LOOKED_AT)[:LOOKED_AT]
                first, *rows = (line.decode("utf-8", "replace").strip("\r") for line in lines)
                layout = self._layout(first, rows)
                if layout.header:
                    text, before = text.split(b"\n", 1)[1], before + 1
            text = layout.bare(text)
            self.before = before
            found = self._plain(text, layout)
            genes, splits, numbers, lines = self._parsed(text, layout) if found is None else found
            if len(genes):
                self.n_rows += len(genes)
                yield genes, splits, numbers, lines + before
        if layout is not None and self.n_rows == 0 and not self.findings.kinds:
            raise _Unreadable(f"{self.path} has no rows of genes: check how the file was made")

    def _plain(self, text: bytes, layout: _Layout):
        """By the fast reader; None where something is no plain number, or in doubt."""
        if layout.split is not None or b"\n\n" in text or b"\n\r" in text:
            return None
        columns = [1, *layout.marks, layout.label]
        found = plain_text.parse(text, layout.separator, layout.n_fields, columns)
        if found is None or np.isnan(found[1]).any():
            return None
        genes = np.array(found[0], dtype=object)
        return genes, np.full(len(genes), self.split), found[1].astype(np.float64), np.arange(1, len(genes) + 1)

    def _parsed(self, text: bytes, layout: _Layout):
        """As text, by Arrow, reporting each cell that is no number."""
        separator = layout.separator.encode()
        every = [(number, line) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
        widths = [line.count(separator) + 1 for _, line in every]
        odd = [
            f"line {number + self.before:,} has {width}, not {layout.n_fields}"
            for (number, _), width in zip(every, widths, strict=True)
            if width != layout.n_fields
        ]
        if odd:
            self.findings.add(ODD, len(odd), odd)
        kept = [one for one, width in zip(every, widths, strict=True) if width == layout.n_fields]
        if not kept:
            return np.empty(0, dtype=object), np.empty(0), np.empty((0, len(layout.marks) + 2)), np.empty(0)
        names = [str(number) for number in range(layout.n_fields)]
        wanted = [0, 1, *layout.marks, layout.label, *([] if layout.split is None else [layout.split])]
        try:
            table = pa.csv.read_csv(
                io.BytesIO(b"\n".join(line for _, line in kept)),
                pa.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(text) + 1),
                pa.csv.ParseOptions(delimiter=layout.separator),
                pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
            )
        except pa.ArrowException as error:
            raise _Unreadable(f"{self.path} is not a table ({reason_of(error)}): correct it") from error
        frame = table.select([names[at] for at in wanted]).to_pandas()
        lines = np.array([number for number, _ in kept])
        numbers = np.empty((len(frame), len(layout.marks) + 2))
        for at, name in enumerate(["bin", *self.wanted, "label"]):
            texts = frame.iloc[:, at + 1].str.strip()
            numbers[:, at] = pd.to_numeric(texts, errors="coerce")
            lacking = np.isnan(numbers[:, at])
            if lacking.any():
                blank = texts.str.lower().isin(["", "na", "nan", "null"]).to_numpy() & lacking
                for kind, which in ((EMPTY, blank), (TEXT, lacking & ~blank)):
                    rows = np.flatnonzero(which)
                    if len(rows):
                        examples = [
                            f"line {lines[row] + self.before:,}, {name}: {texts.iloc[row]!r}" for row in rows[:EXAMPLES]
                        ]
                        self.findings.add(kind, len(rows), examples)
        if layout.split is None:
            splits = np.full(len(frame), self.split)
        else:
            splits = (
                frame.iloc[:, -1].str.strip().map({name: at for at, name in enumerate(SPLITS)}).fillna(-1).to_numpy()
            )
        genes = frame.iloc[:, 0].str.strip().to_numpy(dtype=object)
        return genes, splits.astype(np.int64), numbers, lines

    # Genes

    def genes(self):
        """Blocks of whole genes: names (k,), splits (k,) int64, labels (k,) int64, counts (k, bins, marks) float32.

        Genes with something wrong are left out, and reported in `findings`.
        """
        waiting = None
        for block in self._rows():
            if waiting is not None:
                block = tuple(np.concatenate(pair) for pair in zip(waiting, block, strict=True))
            # The last gene may go on in the next block.
            starts = self._starts(block[0])
            waiting = tuple(one[starts[-1] :] for one in block)
            if len(starts) > 1:
                yield self._whole(*(one[: starts[-1]] for one in block))
        if waiting is not None:
            yield self._whole(*waiting)

    @staticmethod
    def _starts(genes: np.ndarray) -> np.ndarray:
        return np.append(0, np.flatnonzero(genes[1:] != genes[:-1]) + 1)

    def _whole(self, genes, splits, numbers, lines):
        starts = self._starts(genes)
        lengths = np.diff(np.append(starts, len(genes)))
        if not self.rows_of_gene:
            self.rows_of_gene = max(int(np.bincount(lengths).argmax()), self.bins)
        rows = self.rows_of_gene
        self.n_genes += len(starts)
        names = genes[starts]

        def report(kind, which, words):
            at = np.flatnonzero(which)
            if len(at):
                self.findings.add(kind, len(at), [words(one) for one in at[:EXAMPLES]])

        wrong = lengths != rows
        if ODD not in self.findings.kinds:
            report(
                WRONG,
                wrong,
                lambda at: f"{names[at]!r} (from line {lines[starts[at]]:,}) has {lengths[at]}, not {rows}",
            )
        names, starts = names[~wrong], starts[~wrong]
        picked = starts[:, None] + np.arange(rows)
        numbers, splits, lines = numbers[picked], splits[picked], lines[picked]
        finite = ~np.isnan(numbers).any(axis=(1, 2))
        place, counts, labels = numbers[:, :, 0], numbers[:, :, 1:-1], numbers[:, :, -1]

        def line(at, which):
            """Line, gene, and mark and value of the first count of a gene's that something is wrong with."""
            row, mark = np.argwhere(which[at])[0]
            return f"line {lines[at, row]:,} ({names[at]!r}, {self.wanted[mark]}): {counts[at, row, mark]:g}"

        order = finite & (~np.isin(place[:, 0], (0, 1)) | (np.diff(place, axis=1) != 1).any(axis=1))
        negative, endless = counts < 0, np.isinf(counts)
        changing = finite & (labels != labels[:, :1]).any(axis=1)
        other = finite & ~changing & ~np.isin(labels[:, 0], (0, 1))
        lost = (splits < 0).any(axis=1) | (splits != splits[:, :1]).any(axis=1)
        report(ORDER, order, lambda at: f"{names[at]!r} (lines {lines[at, 0]:,} to {lines[at, -1]:,})")
        report(NEGATIVE, negative.any(axis=(1, 2)), lambda at: line(at, negative))
        report(ENDLESS, endless.any(axis=(1, 2)), lambda at: line(at, endless))
        report(CHANGING, changing, lambda at: f"{names[at]!r} (lines {lines[at, 0]:,} to {lines[at, -1]:,})")
        report(LABELS, other, lambda at: f"{names[at]!r} (line {lines[at, 0]:,}): {labels[at, 0]:g}")
        report(SPLIT, lost, lambda at: f"{names[at]!r} (lines {lines[at, 0]:,} to {lines[at, -1]:,})")
        good = finite & ~(order | changing | other | lost) & ~(negative | endless).any(axis=(1, 2))
        first = (rows - self.bins) // 2
        central = counts[good][:, first : first + self.bins].astype(np.float32)
        return names[good], splits[good, 0], labels[good, 0].astype(np.int64), central

"""Tables of GenomeStudio and GEO, which have several columns for each sample: betas, detection p-values, signals."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cpgtaxa.errors import some
from cpgtaxa.input.streams import EXAMPLES, MISSING, Unreadable, and_more, many

_GAP = r"[\s._:|()\[\]-]"
_KINDS = {
    "p": rf"detection{_GAP}*p(?:{_GAP}*val(?:ue)?s?)?|det{_GAP}*p(?:{_GAP}*val(?:ue)?s?)?|p{_GAP}*val(?:ue)?s?"
    "|detection",
    "avg_beta": rf"avg{_GAP}*betas?",
    "beta": rf"betas?(?:{_GAP}*values?)?",
    "unmethylated": rf"unmeth(?:ylated)?(?:{_GAP}*(?:signals?|intensit(?:y|ies)))?|(?:signal|intensity){_GAP}*a",
    "methylated": rf"meth(?:ylated)?(?:{_GAP}*(?:signals?|intensit(?:y|ies)))?|(?:signal|intensity){_GAP}*b",
}
_ENDS = {kind: re.compile(rf"(?P<base>.+?){_GAP}+(?:{words})[)\]]?", re.IGNORECASE) for kind, words in _KINDS.items()}
_STARTS = {kind: re.compile(rf"(?:{words}){_GAP}+(?P<base>.+?)[)\]]?", re.IGNORECASE) for kind, words in _KINDS.items()}
_ALONE = re.compile(rf"(?:{_KINDS['p']})(?:{_GAP}\d+)?", re.IGNORECASE)
"""A heading that all columns of p-values share, numbered by pandas or R."""
OFFSET = 100.0
"""Added to the sum of the signals, as GenomeStudio does."""
_BELOW = r"^\s*[<≤]\s*=?\s*"


_ANY = re.compile("det|p.?.?val|beta|meth|signal|intensity", re.IGNORECASE)


def _described(name: str) -> tuple[str, str]:
    """Sample and kind of a column by its name; the kind "" says nothing."""
    if not _ANY.search(name):
        return name, ""
    for pattern in (_ENDS, _STARTS):
        for kind, one in pattern.items():
            if match := one.fullmatch(name):
                return match["base"].strip(), kind
    return name, ""


def array_columns(matrix, limit: float | None):
    """The matrix of betas alone, where its columns hold more than betas by their names; else the matrix itself.

    limit: detection p-values from which on a beta is masked; None masks nothing. Raises Unreadable where it is not
    certain which p-value belongs to which beta, or of which sample a signal is lacking.
    """
    names = matrix.samples
    alone = [place for place, name in enumerate(names) if _ANY.search(name) and _ALONE.fullmatch(name)]
    described = [("", "p alone") if place in set(alone) else _described(name) for place, name in enumerate(names)]
    kinds = [kind for _, kind in described]
    if not {"p", "p alone", "avg_beta", "unmethylated"} & set(kinds) and (
        set(kinds) != {"beta"} or len({base for base, _ in described}) < len(names)
    ):
        return matrix
    columns = {kind: {} for kind in (*_KINDS, "")}
    for place, (base, kind) in enumerate(described):
        columns.setdefault(kind, {}).setdefault(base, place)
    betas = columns["avg_beta"] or columns["beta"]
    plain = columns[""]
    signals = {base: (at, columns["unmethylated"].get(base)) for base, at in columns["methylated"].items()}
    if not betas and signals and not set(plain) & set(signals):
        return _of_signals(matrix, columns, signals, limit)
    if not betas:
        betas = {name: place for place, name in enumerate(names) if kinds[place] == ""}
    if not betas:
        return matrix
    return ArrayColumns(matrix, betas, _p_of(matrix, betas, columns["p"], alone, kinds), limit)


def _p_of(matrix, betas: dict, with_name: dict, alone: list[int], kinds: list[str]) -> dict[str, int]:
    """The column of p-values of each sample that has one."""
    strange = sorted(set(with_name) - set(betas))
    if strange:
        raise Unreadable(
            f"{matrix.path}: {many(len(strange), 'column')} of detection p-values of samples without betas: "
            f"{some(strange)}. Name them as the samples' columns are named, or leave them out"
        )
    if not alone:
        return {base: place for base, place in with_name.items() if base in betas}
    of_beta = {place: base for base, place in betas.items()}
    first = alone[0] - 1
    pairs = list(range(first, len(kinds), 2))
    if with_name or first not in of_beta or alone != [at + 1 for at in pairs] or not set(pairs) <= set(of_beta):
        raise Unreadable(
            f"{matrix.path}: {many(len(alone), 'column')} called {matrix.samples[alone[0]]!r}, and not each right "
            "behind its sample's betas: which belongs to whom is not certain. Give them their samples' names (as in "
            "`S1.Detection Pval`), or leave them out"
        )
    return {of_beta[place - 1]: place for place in alone}


def _of_signals(matrix, columns: dict, signals: dict, limit):
    lacking = [base for base, (_, other) in signals.items() if other is None]
    lacking += sorted(set(columns["unmethylated"]) - set(signals))
    if lacking:
        raise Unreadable(
            f"{matrix.path}: of {many(len(lacking), 'sample')} only one of the two signals, methylated and "
            f"unmethylated, is there: {some(lacking)}"
        )
    p_of = {base: place for base, place in columns["p"].items() if base in signals}
    if len(p_of) < len(columns["p"]):
        raise Unreadable(f"{matrix.path}: columns of detection p-values of samples without signals")
    return ArrayColumns(matrix, {base: at for base, (at, _) in signals.items()}, p_of, limit, signals)


class ArrayColumns:
    """Betas of an array's table, those masked that were not detected; the protocol is that of `matrices.TextMatrix`.

    n_masked: values masked of each sample, (n,) int; by_cpg: of each row read, in order; `problems()` says what is
    wrong with the p-values after the table was gone through.
    """

    def __init__(self, matrix, betas: dict[str, int], p_of: dict[str, int], limit: float | None, signals=None):
        """betas: the column of each sample (of methylated signals where there are `signals`); p_of: of its p-values."""
        self.inner, self.path = matrix, matrix.path
        self.samples = list(betas)
        self.limit, self._signals = limit, signals
        self._betas = list(betas.values())
        self._p = [p_of.get(base) if limit is not None else None for base in betas]
        self.n_fields = matrix.n_fields
        self.row_names, self.heading = getattr(matrix, "row_names", False), getattr(matrix, "heading", None)
        used = {*self._betas, *p_of.values(), *(other for _, other in (signals or {}).values())}
        others = [name for place, name in enumerate(matrix.samples) if place not in used]
        self.notes = list(getattr(matrix, "notes", []))
        what = "methylated and unmethylated signals, and became betas: M / (M + U + 100)" if signals else "betas"
        with_p = f"; {many(len(p_of), 'column')} of detection p-values" if p_of else ""
        left = f"; {many(len(others), 'other column')} not used ({some(others, 3)})" if others else ""
        renamed = [(matrix.samples[at], base) for base, at in betas.items() if matrix.samples[at] != base]
        if signals or p_of or others or renamed:
            shown = f" ({renamed[0][0]!r} is {renamed[0][1]!r})" if renamed and not signals else ""
            self.notes.append(
                f"{self.path}: columns of {many(len(betas), 'sample')} taken for {what}{shown}{with_p}{left}"
            )
        if hasattr(matrix, "as_text"):
            matrix.as_text = {place for place in p_of.values() if matrix.looks_like_text(place)}
        self._start()

    def _start(self) -> None:
        self.n_masked, self.n_p = np.zeros(len(self.samples), dtype=np.int64), 0
        self.by_cpg: list[np.ndarray] = []
        self.n_bad, self.bad = 0, []

    def place_of(self, column: int) -> int:
        """The column of the file, from 1, that a sample's betas stand in."""
        return self._betas[column] + 2

    @property
    def has_p(self) -> bool:
        return any(place is not None for place in self._p)

    @property
    def n_odd_rows(self) -> int:
        return self.inner.n_odd_rows

    @property
    def odd_rows(self) -> list[str]:
        return self.inner.odd_rows

    def batches(self, columns: list[int]):
        """Blocks of rows: ids, and values (k, n) float32 or one Arrow array for each wanted sample."""
        self._start()
        betas = [self._betas[column] for column in columns]
        others = [self._signals[self.samples[column]][1] for column in columns] if self._signals else []
        with_p = [at for at, column in enumerate(columns) if self._p[column] is not None]
        p_places = [self._p[columns[at]] for at in with_p]
        n, m = len(betas), len(others)
        for ids, arrays in self.inner.batches([*betas, *others, *p_places]):
            is_block = isinstance(arrays, np.ndarray)
            values = arrays[:, :n] if is_block else list(arrays[:n])
            if m:
                values = self._to_betas(ids, values, arrays[:, n : n + m] if is_block else list(arrays[n : n + m]))
            masked = np.zeros(len(ids), dtype=np.int32)
            if with_p:
                values = list(values.T) if isinstance(values, np.ndarray) else values
                for number, at in enumerate(with_p):
                    given = arrays[:, n + m + number] if is_block else arrays[n + m + number]
                    gone = self._undetected(ids, self.samples[columns[at]], given)
                    self.n_masked[columns[at]] += int(gone.sum())
                    masked += gone
                    values[at] = _without(values[at], gone)
                values = _together(values)
            self.by_cpg.append(masked)
            yield ids, values

    def _undetected(self, ids, sample: str, given) -> np.ndarray:
        """Where p-values are above the limit, (k,) bool; values that are no p-values are noted."""
        p, text = _numbers(given)
        self.n_p += int((~np.isnan(p)).sum())
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero((p < 0) | (p > 1) | text)
        self.n_bad += len(wrong)
        for row in wrong[: EXAMPLES - len(self.bad)]:
            found = given[row] if isinstance(given, np.ndarray) else given[row].as_py()
            self.bad.append(f"CpG {ids[row]!r}, sample {sample!r}: {found!s}")
        with np.errstate(invalid="ignore"):
            return p > self.limit

    def _to_betas(self, ids, methylated, unmethylated) -> np.ndarray:
        """M / (M + U + 100), (k, n) float32; negative signals, which background correction leaves, count as 0."""
        pairs = []
        for given in (methylated, unmethylated):
            columns = given.T if isinstance(given, np.ndarray) else given
            numbers = [_numbers(column) for column in columns]
            for at, (_, text) in enumerate(numbers):
                self.n_bad += int(text.sum())
                for row in np.flatnonzero(text)[: EXAMPLES - len(self.bad)]:
                    self.bad.append(f"CpG {ids[row]!r}, column {at + 1} of signals: {columns[at][row]}")
            pairs.append(np.maximum(np.stack([found for found, _ in numbers], axis=1), 0))
        total = pairs[0] + pairs[1]
        return np.where(total > 0, pairs[0] / (total + OFFSET), np.nan).astype(np.float32)

    def problems(self) -> list[str]:
        found = []
        if self.n_bad:
            found.append(
                f"{self.path}: {many(self.n_bad, 'cell')} that {'are' if self.n_bad > 1 else 'is'} no number, or no "
                "p-value from 0 to 1, in columns of p-values or signals: "
                f"{and_more(self.bad, self.n_bad, '; ')}. Correct them"
            )
        elif self.n_p and self.n_masked.sum() > self.n_p / 2:
            found.append(
                f"{self.path}: {self.n_masked.sum() / self.n_p:.0%} of the detection p-values are above "
                f"`cohort.detection_p` ({self.limit:g}), which masks their betas: these are hardly p-values (perhaps "
                "1 - p), or not of this normalisation. Leave the columns out, or set `cohort.detection_p: null`"
            )
        return found

    def share(self) -> float:
        """How much has been read, 0..1."""
        return self.inner.share()

    def n_rows(self) -> float:
        """About how many CpGs there are."""
        return self.inner.n_rows()


def _numbers(given) -> tuple[np.ndarray, np.ndarray]:
    """float64 (k,) of a column, as it is or as Arrow's text, `<1E-16` being 1E-16; and where there is other text."""
    if isinstance(given, np.ndarray):
        return given.astype(np.float64), np.zeros(len(given), dtype=bool)
    if pa.types.is_floating(given.type):
        return given.to_numpy(zero_copy_only=False).astype(np.float64), np.zeros(len(given), dtype=bool)
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(given.cast(pa.string()), _BELOW, "")).to_pandas()
    text = text.astype(object).where(text.notna(), "")
    numbers = np.array(pd.to_numeric(text, errors="coerce"), dtype=np.float64)
    return numbers, np.isnan(numbers) & ~text.isin(MISSING).to_numpy()


def _without(column, gone: np.ndarray):
    """A column with nothing where `gone`."""
    if isinstance(column, np.ndarray):
        return np.where(gone, np.float32(np.nan), column)
    return pc.if_else(pa.array(gone), pa.nulls(len(column), column.type), column)


def _together(columns: list):
    """(k, n) float32 where all columns are arrays, else one Arrow array each."""
    if all(isinstance(column, np.ndarray) for column in columns):
        return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)
    return [pa.array(column) if isinstance(column, np.ndarray) else column for column in columns]

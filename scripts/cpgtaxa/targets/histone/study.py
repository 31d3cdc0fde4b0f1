"""Which genes a model learns from, which choose its best epoch, and which it is tested on."""

import dataclasses
import logging

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError
from cpgtaxa.targets.histone.cells import Cell
from cpgtaxa.targets.histone.plan import MIX, SPLITS

MIX_VALID = 0.3
"""Share of the genes of all cell types' training and validation files that choose the epoch of a mixed model."""


@dataclasses.dataclass
class Part:
    """Genes by the number of their cell type, (n,) int16, and their row there, (n,) int32."""

    which: np.ndarray
    rows: np.ndarray

    def __len__(self):
        return len(self.rows)

    def some(self, most: int | None, seed: int):
        """At most so many of them, drawn at random, in their order."""
        if most is None or len(self) <= most:
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self), most, replace=False))
        return Part(self.which[chosen], self.rows[chosen])


def open_cells(paths) -> list[Cell]:
    """The cell types of some files. Raises InputError where they have other marks or bins than the first."""
    cells = [Cell(path) for path in paths]
    first = cells[0]
    odd = [cell for cell in cells if (cell.marks, cell.bins) != (first.marks, first.bins)]
    if odd:
        raise InputError(
            [
                f"cell types {first.name} and {cell.name} differ: {', '.join(first.marks)} in {first.bins} bins, and "
                f"{', '.join(cell.marks)} in {cell.bins}"
                for cell in odd
            ]
        )
    return cells


def parts_of(cells: list[Cell], unit: str, seed: int) -> dict[str, Part]:
    """Training, validation and test genes of a unit by SPLITS.

    A cell type has its files. Of all mixed, as published, training and validation files are pooled and three tenths of
    the pool choose the epoch; the test files are tested one by one. Other than published, three tenths of the *genes*
    do so, in all cell types, and no gene is learnt from in one cell type that is tested in another: marks and
    expression of a gene are alike in many cell types, so that its test would be a memory.
    """
    if unit != MIX:
        (cell,) = cells
        return {split: _part(0, cell.rows(split)) for split in SPLITS}
    names = [pd.util.hash_array(cell.genes(), hash_key=f"{seed:016d}"[-16:], categorize=False) for cell in cells]
    tested = np.unique(np.concatenate([name[cell.rows("test")] for name, cell in zip(names, cells, strict=True)]))
    pools = [np.flatnonzero(cell.split != SPLITS.index("test")) for cell in cells]
    kept = [pool[~np.isin(name[pool], tested)] for name, pool in zip(names, pools, strict=True)]
    lost = sum(map(len, pools)) - sum(map(len, kept))
    if lost:
        logging.info(f"{lost:,} genes are not learnt from: they are tested in another cell type")
    # The hash is keyed by the seed: in its order genes come at random, and the same way in every cell type.
    genes = np.unique(np.concatenate([name[rows] for name, rows in zip(names, kept, strict=True)]))
    valid = genes[: round(MIX_VALID * len(genes))]
    chosen = [np.isin(name[rows], valid) for name, rows in zip(names, kept, strict=True)]
    found = {
        "train": [rows[~held] for rows, held in zip(kept, chosen, strict=True)],
        "valid": [rows[held] for rows, held in zip(kept, chosen, strict=True)],
        "test": [cell.rows("test") for cell in cells],
    }
    parts = {split: _joined(rows) for split, rows in found.items()}
    if not len(parts["train"]) or not len(parts["valid"]):
        raise InputError(
            "histone.mix: all genes of the training and validation files are test genes of another cell type, and none "
            "is left to learn from. Split the genes the same way in every cell type, or set `histone.mix: false`"
        )
    return parts


def _part(number: int, rows: np.ndarray) -> Part:
    return Part(np.full(len(rows), number, dtype=np.int16), rows.astype(np.int32))


def _joined(rows: list[np.ndarray]) -> Part:
    parts = [_part(number, one) for number, one in enumerate(rows)]
    return Part(np.concatenate([part.which for part in parts]), np.concatenate([part.rows for part in parts]))


def predictions(cells: list[Cell], part: Part, predict, at_once: int) -> pd.DataFrame:
    """cell, gene, label, probability of the genes of a part.

    predict: counts (n, bins, marks) of `at_once` genes at most to probabilities (n,).
    """
    found = []
    for number, cell in enumerate(cells):
        rows = part.rows[part.which == number]
        pieces = [predict(cell.take(rows[at : at + at_once])) for at in range(0, len(rows), at_once)]
        frame = pd.DataFrame({"cell": cell.name, "gene": cell.genes(rows), "label": cell.label[rows]})
        found.append(frame.assign(probability=np.concatenate(pieces) if pieces else np.empty(0, dtype=np.float32)))
    return pd.concat(found, ignore_index=True)

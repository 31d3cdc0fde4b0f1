"""Files of the target `single_cell` in the form that its data steps write."""

import json

import numpy as np
import pyarrow as pa


def write_sites(path, chrom, position, split, states: np.ndarray, rows: int = 1 << 16, cells=None) -> list[str]:
    """sites.arrow, so many rows a batch. chrom: names; states: (sites, cells). Returns the cells (cell1, …)."""
    cells = cells or [f"cell{number}" for number in range(1, states.shape[1] + 1)]
    names = list(dict.fromkeys(chrom))
    codes = pa.array([names.index(name) for name in chrom], pa.int32())
    columns = {
        "chrom": pa.DictionaryArray.from_arrays(codes, pa.array(names)),
        "position": pa.array(position, pa.int64()),
        "split": pa.array(split, pa.int8()),
        "states": pa.FixedSizeListArray.from_arrays(pa.array(states.ravel(), pa.int8()), states.shape[1]),
    }
    table = pa.table(columns).replace_schema_metadata({b"cells": json.dumps(cells)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, rows)
    return cells


def neighbours_of(chrom, position, states, wlen):
    """The slow way: states and distances (n, cells, wlen) of the nearest observed sites on each side."""
    n, cells = states.shape
    found, far = np.full((n, cells, wlen), -1, np.int8), np.full((n, cells, wlen), -1, np.int32)
    for row in range(n):
        for cell in range(cells):
            same = [r for r in range(n) if chrom[r] == chrom[row] and states[r, cell] >= 0 and r != row]
            left = [r for r in same if position[r] < position[row]][-(wlen // 2) :]
            right = [r for r in same if position[r] > position[row]][: wlen // 2]
            for at, other in (*enumerate(left, wlen // 2 - len(left)), *enumerate(right, wlen // 2)):
                found[row, cell, at] = states[other, cell]
                far[row, cell, at] = abs(position[other] - position[row])
    return found, far

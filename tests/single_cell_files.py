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

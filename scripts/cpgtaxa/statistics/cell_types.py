"""The columns of results/cell_types.parquet, and what it says of each CpG: whose cells change."""

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError
from cpgtaxa.files import parquet_blocks

UNDECIDED = "undecided"
"""In place of a type's name: there is a change, but none that the types are shown to differ in."""
DESCRIPTION = {
    "cpg": "id",
    "type": "cell type; a CpG has a row for each",
    "slope_per_year": "how much beta changes per year in cells of this type; empty of a type that is not tested",
    "se": "its standard error (HC3)",
    "p": "p-value that it is 0",
    "q": "the same, adjusted over all CpGs and types (Benjamini–Hochberg)",
    "spread_t": "**experimental**: t of the change of the squared residuals with age in this type, beside the rival "
    "that explains most of it: another type alone, or all cells alike; above 0 where the spread grows",
    "spread_p": "**experimental**: its p-value",
    "spread_q": "**experimental**: the same, adjusted over all CpGs and types (Benjamini–Hochberg)",
    "cell_type": "of the CpG: types whose slope is not 0, `A|B`; `undecided` where there is a trend, but none that the "
    "types are shown to differ in (Wald's test); empty where there is none",
    "cell_type_q": "of the CpG: smallest p over its types (Holm), adjusted over all CpGs (Benjamini–Hochberg)",
    "spread_cell_type": "**experimental**: of the CpG: types whose `spread_q` is below 0.05, `A|B`; `undecided` where "
    "there are none, but `spread_cell_type_q` is below 0.05; empty where there is no change",
    "spread_cell_type_q": "**experimental**: of the CpG: smallest p of a change in one type, or of all cells alike, "
    "without rivals (Holm), adjusted over all CpGs (Benjamini–Hochberg)",
}
"""One line on each column."""
OF_CPG = tuple(DESCRIPTION)[-4:]
"""Columns that are the same in all rows of a CpG."""
MEANING = {name: DESCRIPTION[name].replace("*", "").replace("`", "") for name in OF_CPG}
"""What they mean, in plain text."""


def read_cell_types(path, cpgs: np.ndarray) -> pd.DataFrame:
    """OF_CPG of the table at `path`, one row per CpG.

    cpgs: (n,) str, those of the taxonomy. Raises InputError where the table is not of these, in this order.
    """
    parts, types, start = [], 0, 0
    for block in parquet_blocks(path, columns=["cpg", *OF_CPG]):
        types = types or int((block["cpg"] == block["cpg"].iat[0]).sum())
        parts.append(block.iloc[-start % types :: types])
        start += len(block)
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"cpg": []})
    if start != types * len(cpgs) or not np.array_equal(found["cpg"].to_numpy(dtype=object), cpgs):
        raise InputError(f"{path} is not of this taxonomy: delete it and start again")
    return found[list(OF_CPG)]

"""What the report says of whose cells change, where the config asks for it."""

import pandas as pd

from cpgtaxa.report.words import percent
from cpgtaxa.statistics.cell_types import UNDECIDED
from cpgtaxa.wording import count


def cell_types_page(table: pd.DataFrame, types: pd.DataFrame) -> dict:
    """Rows of the types, and the counts beside them.

    table: of `statistics.cell_types.read_cell_types`; types: results/cell_types/types.csv as text, "" where empty.
    """
    cells, spread = table["cell_type"], table["spread_cell_type"]
    changing, undecided = (cells != "").sum(), (cells == UNDECIDED).sum()
    return {
        "rows": [
            {
                "type": one.type,
                "mean": percent(float(one.mean)),
                "changing": count(one.changing) if one.changing else "",
                "spread": count(one.spread_changing) if one.changing else "",
                "untested": one.untested,
            }
            for one in types.itertuples()
        ],
        "untested": bool((types["untested"] != "").any()),
        "changing": count(changing),
        "named": count(changing - undecided),
        "undecided": count(undecided),
        "spread": count((spread != "").sum()),
        "spread_undecided": count((spread == UNDECIDED).sum()),
    }

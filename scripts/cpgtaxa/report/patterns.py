"""What the report says beside the taxa: how CpGs change, why they have bands, whether another cohort would agree."""

import pandas as pd

from cpgtaxa.names import UNCLASSIFIED
from cpgtaxa.patterns.columns import CAUSES, SHAPES
from cpgtaxa.report.tables import share_of
from cpgtaxa.report.words import percent
from cpgtaxa.statistics.age_ewas import LEVEL
from cpgtaxa.wording import count

LIKELY = 0.9
"""From this probability on another cohort is likely to give a CpG its taxon."""
COLUMNS = ["shape", "cause", "sex_q", "replication", "spread_shape"]


def patterns_page(table: pd.DataFrame, taxon: pd.Series) -> dict:
    """Rows of shapes and of causes, and the counts beside them.

    table: COLUMNS of results/patterns.parquet; taxon: of the same CpGs.
    """
    left, again = (taxon == UNCLASSIFIED).to_numpy(), table["replication"]
    shapes = [
        {
            "name": name.replace("_", " "),
            "meaning": meaning,
            "n": count((mine := (table["shape"] == name).to_numpy()).sum()),
            "share": percent(share_of(mine.sum(), len(table))),
            "unclassified": count((mine & left).sum()),
            "spread": count((table["spread_shape"] == name).sum()),
        }
        for name, meaning in SHAPES.items()
    ]
    found = table["cause"].value_counts()
    return {
        "shapes": shapes,
        "causes": [
            {"name": name, "meaning": meaning, "n": count(found[name])}
            for name, meaning in CAUSES.items()
            if name in found
        ],
        "banded": count(found.sum()),
        "batch": count(found.get("batch", 0)),
        "divergent": count((table["sex_q"] < LEVEL).sum()),
        "sexes": bool(table["sex_q"].notna().any()),
        "likely": count((again >= LIKELY).sum()),
        "asked": count(again.notna().sum()),
        "level": percent(LIKELY, 0),
    }

"""Numbers and names as the report writes them."""

import pandas as pd

from cpgtaxa import wording
from cpgtaxa.wording import NONE, decimal, signed

__all__ = ("NONE", "count", "decimal", "percent", "signed", "stage_name")


def percent(value, digits: int = 1) -> str:
    return wording.percent(value, digits)


def count(value) -> str:
    return NONE if value is None or pd.isna(value) else f"{int(value):,}"


def stage_name(stage: str, config: dict) -> str:
    if stage == "statistical":
        return "Own labels" if config["taxa"]["labels"] else "Statistics"
    return "Unplaced" if stage == "none" else stage.replace("_", " ").capitalize()

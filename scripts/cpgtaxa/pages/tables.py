"""What the tables of models on the pages of all targets are made of."""

import math

import pandas as pd

from cpgtaxa.wording import decimal, p_value, signed, span


def estimate(name: str, value, ends, show=decimal) -> dict[str, str]:
    """A number, as `name`, and its 95 % interval, as `name_range`."""
    return {name: show(value), f"{name}_range": span(*ends, show)}


def against(comparisons: pd.DataFrame, model: str, words=str, show=signed) -> list[dict]:
    """Rows of `model` against each other one: other, difference (`model` less the other), range, p (Holm), n.

    comparisons: model, other, difference, ci_low, ci_high, p_holm, and n where there is one, a row for each pair.
    words: what the page calls a model.
    """
    rows = []
    for row in comparisons[(comparisons["model"] == model) | (comparisons["other"] == model)].itertuples():
        other, difference, ends = row.other, row.difference, (row.ci_low, row.ci_high)
        if row.model != model:
            other, difference, ends = row.model, -row.difference, (-row.ci_high, -row.ci_low)
        one = {"other": words(other), "difference": show(difference), "range": span(*ends, show)}
        rows.append(one | {"p": p_value(row.p_holm), "n": f"{row.n:,}" if "n" in comparisons else ""})
    return rows


def value_and_ends(numbers: pd.DataFrame, model: str, metric: str) -> tuple[float, tuple[float, float]]:
    """A number of a summary and its interval, NaN without it; numbers: a table of scores by model and metric."""
    if (model, metric) not in numbers.index:
        return math.nan, (math.nan, math.nan)
    row = numbers.loc[(model, metric)]
    return row["value"], (row["ci_low"], row["ci_high"])

"""Numbers as pages and tables write them: NONE where there is no number, on pages a true minus sign.

Standard library alone: Snakemake itself imports it.
"""

import math

NONE = "–"


def decimal(value, digits: int = 3) -> str:
    """0.123; NONE for None and NaN."""
    return NONE if value is None or math.isnan(value) else f"{value:.{digits}f}".replace("-", "−").replace("inf", "∞")


def signed(value, digits: int = 3) -> str:
    """As `decimal`, always with its sign."""
    return NONE if value is None or math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def span(low, high, show=decimal) -> str:
    """0.1 to 0.2."""
    return NONE if math.isnan(low) or math.isnan(high) else f"{show(low)} to {show(high)}"


def percent(value, digits: int = 0) -> str:
    """A share in percent."""
    return NONE if value is None or math.isnan(value) else f"{100 * value:.{digits}f}\u00a0%"


def p_value(value) -> str:
    """A p-value with three digits, or as a power of ten."""
    if math.isnan(value):
        return NONE
    if value < 1e-300:
        return "< 1e−300"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}".replace("-", "−")


def offset(distance) -> str:
    """A distance in bases with its sign; nothing for None."""
    return "" if distance is None else f"{distance:+,.0f}".replace("-", "−") if distance else "0"


def short(name: str, most: int) -> str:
    """A name of so many characters at most."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def number(value) -> str:
    """A statistic or a threshold with three digits."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == int(value) and abs(value) < 1e6:
        text = f"{int(value)}"
    elif 1e-4 <= abs(value) < 1e4:
        text = f"{value:.3g}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−")


def count(value) -> str:
    """A whole number, thousands apart; NONE where none is known (also pandas' NA)."""
    return NONE if str(value) in ("None", "nan", "<NA>") else f"{int(value):,}"


def plural(n, one: str, many: str) -> str:
    """`one` where n, a number or its text, is 1, else `many`."""
    return one if str(n) == "1" else many


def counted(values) -> str:
    """How often each of a Series' values occurs, most often first: `UniStable 547, Outlier 304`."""
    return ", ".join(f"{name} {n:,}" for name, n in values.value_counts().items())


def grouped(text, digits: int = 3) -> str:
    """A number, or its text in a CSV file, for the terminal: thousands apart, so many decimals, a sign to be copied."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return NONE
    return NONE if math.isnan(value) else f"{value:,.{digits}f}"


def measured(value: float) -> str:
    """A measurement with three digits, never as a power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio: float) -> str:
    """12× or 0.93×."""
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def shown(table, **how) -> list[dict]:
    """The rows of a data frame for a page: the columns named, each as its function writes it (None: as it is)."""
    rows = zip(*(table[name] for name in how), strict=True)
    return [
        {name: value if write is None else write(value) for (name, write), value in zip(how.items(), row, strict=True)}
        for row in rows
    ]


def shortened(text, most: int) -> str:
    """The text, its end replaced by … where it is longer than `most`."""
    text = str(text)
    return text if len(text) <= most else text[: most - 1] + "…"

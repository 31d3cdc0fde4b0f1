"""Numbers as the pages write them: a true minus sign, and a dash where there is no number."""

import numpy as np

NONE = "–"


def decimal(value, digits: int = 3) -> str:
    """0.123; NONE for None and NaN."""
    return NONE if value is None or np.isnan(value) else f"{value:.{digits}f}".replace("-", "−").replace("inf", "∞")


def signed(value, digits: int = 3) -> str:
    """As `decimal`, always with its sign."""
    return NONE if value is None or np.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def span(low, high, show=decimal) -> str:
    """0.1 to 0.2."""
    return NONE if np.isnan(low) or np.isnan(high) else f"{show(low)} to {show(high)}"


def percent(value, digits: int = 0) -> str:
    """A share in percent."""
    return NONE if value is None or np.isnan(value) else f"{100 * value:.{digits}f}\u00a0%"


def p_value(value) -> str:
    """A p-value with three digits, or as a power of ten."""
    if np.isnan(value):
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
    if value is None or not np.isfinite(value):
        return NONE
    if value == int(value) and abs(value) < 1e6:
        text = f"{int(value)}"
    elif 1e-4 <= abs(value) < 1e4:
        text = f"{value:.3g}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−")


def counted(values) -> str:
    """How often each of a Series' values occurs, most often first: `UniStable 547, Outlier 304`."""
    return ", ".join(f"{name} {n:,}" for name, n in values.value_counts().items())

"""What makes a matrix wrong as a whole, or CpGs and samples of it unfit: each with what to do."""

import numpy as np
import pandas as pd

from cpgtaxa.errors import some
from cpgtaxa.input import scales
from cpgtaxa.input.scan import TOLERANCE, Scan, scale_of
from cpgtaxa.input.sheets import numbered
from cpgtaxa.input.streams import EXAMPLES, MISSING, and_more, many

FEWEST_SAMPLES = 10
TOO_FEW = f": at least {FEWEST_SAMPLES} are needed (hundreds to say anything about most CpGs)"
REMEDIES = {
    "replicate": "Average the rows of a CpG, or keep one",
    "m": "Give beta values: beta = 2^M/(1+2^M)",
    "percent": "Divide them by 100",
}
OFFERED = {
    "replicate": "Set `cohort.collapse` to `mean` or `first` (or to `keep`, where only their suffixes are alike)",
    "m": "If they are, set `cohort.values: m` to have them made betas; if not, give beta values",
    "percent": "If they are, set `cohort.values: percent` to have them divided by 100; if not, give beta values",
}
"""What the key `cohort` offers to those same ends."""


def _outside(scan: Scan, remedies: dict[str, str]) -> str:
    """What values outside 0-1 seem to be, and what to do."""
    outside, numbers = scan.n_below + scan.n_above, scan.numbers()
    lowest, highest = float(np.nanmin(numbers["min"])), float(np.nanmax(numbers["max"]))
    found = f"{outside:,} of {scan.n_values:,} values lie outside 0-1 (from {lowest:.4g} to {highest:.4g})"
    below = numbers["min"][numbers["min"] < -TOLERANCE]
    if len(below) > 1 and np.ptp(below) == 0 and below[0] == np.rint(below[0]):
        return f"{found}; those below 0 are all {below[0]:g}, as codes for missing values are: write NA in their place"
    scale, _ = scale_of(scan)
    if scale == "m":
        return f"{found}: these look like M-values. {remedies['m']}"
    if scale == "percent":
        return f"{found}: these look like percent. {remedies['percent']}"
    if scale == "centred":
        return (
            f"{found}, on both sides of 0 in every CpG or sample: these look like z-scores or residuals, in which "
            "the levels of methylation are lost, so that no conversion makes betas of them. Give the betas"
        )
    return f"{found}: {and_more(scan.outside, outside, '; ')}. Beta values lie in 0-1: correct them, or write NA"


def check_values(beta, matrix, scan: Scan, remedies: dict[str, str] = REMEDIES, turned: bool = False) -> list[str]:
    """What makes the matrix wrong as a whole: its shape, its ids, its values.

    remedies: what to do, as REMEDIES; CpGs may be there more than once where there is none. turned: the file has
    CpGs in columns.
    """
    problems = []
    axis, shift = ("column", 1) if turned else ("row", 0)
    if scan.damage:
        after = f"after {many(len(scan.cpgs), 'CpG')} ({scan.damage})"
        if "invalid UTF8" in scan.damage:
            problems.append(f"{beta} is not text in UTF-8 {after}: save it as CSV (UTF-8)")
        else:
            problems.append(f"{beta} is damaged or cut off {after}: copy it again")
    if matrix.n_odd_rows:
        problems.append(
            f"{beta} is not a matrix: {many(matrix.n_odd_rows, 'row')} with another number of fields than the "
            f"{matrix.n_fields} expected: {', '.join(matrix.odd_rows)}. Write missing values as NA and rows in full"
        )
    if not scan.cpgs and not problems:
        problems.append(f"{beta} has a header but no rows: there is not a single CpG in it")
    if scan.n_text:
        comma = " These are decimal commas: write decimal points." if scan.comma else ""
        problems.append(
            f"{beta}: {many(scan.n_text, 'cell')} with text instead of a number: "
            f"{and_more(scan.text, scan.n_text, '; ')}.{comma} Missing values are written NA or left empty"
        )
    first = scan.cpgs[:10]
    if len(first) > 1 and first in ([str(n + start) for n in range(len(first))] for start in (0, 1)):
        problems.append(
            f"{beta}: the first column holds row numbers ({', '.join(first[:3])} …), not CpG ids. "
            "Write the matrix without row numbers, the CpG ids first"
        )
    empty = [number for number, name in enumerate(scan.cpgs, 1 + shift) if name in MISSING]
    if empty:
        problems.append(
            f"{beta}: {many(len(empty), axis)} without a CpG id: {axis} {numbered(empty)}"
            f"{'' if turned else ' below the header'}. Name or remove them"
        )
    names = pd.Series(scan.cpgs, dtype=object)
    names = names[scan.set_aside() == ""] if scan.aside else names
    again = names.duplicated(keep=False) & ~names.isin(MISSING)
    if again.any() and remedies["replicate"]:
        rows = names[again].groupby(names[again], sort=False).groups

        def places(name) -> str:
            several = dict.fromkeys(scan.probes[row] for row in rows[name])
            return f"probes {some(several, 4)}" if len(several) > 1 else f"{axis}s {numbered(rows[name] + 1 + shift)}"

        where = [f"{name!r} ({places(name)})" for name in list(rows)[:EXAMPLES]]
        found = f"{many(len(rows), 'CpG')} more than once: {and_more(where, len(rows))}"
        problems.append(f"{beta}: {found}. {remedies['replicate']}")
    if scan.n_infinite:
        found = f"{many(scan.n_infinite, 'infinite value')}: {and_more(scan.infinite, scan.n_infinite, '; ')}"
        problems.append(f"{beta}: {found}. Beta values lie in 0-1; write NA where there is none")
    if scan.n_below + scan.n_above:
        problems.append(f"{beta}: {_outside(scan, remedies)}")
    return problems


def check_cpgs(beta, scan: Scan, reason: np.ndarray, max_missing: float, policy: str, warn) -> list[str]:
    """Bad CpGs: problems, or warnings where they are dropped."""
    n_samples, numbers = len(scan.samples), scan.numbers()
    kinds = {
        "missing": (
            "CpG",
            f" missing in more than {max_missing:.3g} of the samples (`cohort.max_missing_cpg`)",
            lambda row: f"{numbers['n_missing'][row] / n_samples:.0%}",
        ),
        "constant": (
            "constant CpG",
            ", a sign of masked or imputed probes",
            lambda row: f"always {numbers['min'][row]:.4g}",
        ),
    }
    found = []
    for kind, (noun, what, value) in kinds.items():
        if len(rows := np.flatnonzero(reason == kind)):
            first = [f"{scan.cpgs[row]!r} ({value(row)})" for row in rows[:EXAMPLES]]
            found.append(f"{beta}: {many(len(rows), noun)}{what}: {and_more(first, len(rows))}")
    if found and policy == "drop":
        for text in found:
            warn(f"left out: {text}")
        if np.all(reason != ""):
            return [f"{beta}: all {many(len(reason), 'CpG')} would be left out: {'; '.join(found)}"]
        return []
    return [f"{text}. Set `cohort.bad_cpgs: drop` to leave them out" for text in found]


def gappy_samples(beta, scan: Scan, most: float, policy: str, problems: list[str], warn) -> np.ndarray:
    """The columns to leave out for their missing values, (k,) int; none where these are added to `problems`."""
    gaps = scan.sample_missing / np.maximum(scan.n_checked, 1)
    gappy = np.flatnonzero(gaps > most)
    if not len(gappy):
        return gappy
    first = [f"{scan.samples[column]!r} ({gaps[column]:.0%})" for column in gappy[:EXAMPLES]]
    text = (
        f"{beta}: {many(len(gappy), 'sample')} missing in more than {most:.3g} of the CpGs "
        f"(`cohort.max_missing_sample`): {and_more(first, len(gappy))}"
    )
    n_left = len(scan.samples) - len(gappy)
    if policy == "error":
        problems.append(f"{text}. Set `cohort.bad_samples: drop` to leave them out")
    elif n_left < FEWEST_SAMPLES:
        problems.append(f"{text}. Without them only {many(n_left, 'sample')} would be left{TOO_FEW}")
    else:
        warn(f"left out: {text}")
        return gappy
    return gappy[:0]


def not_on_scale(scale: str, scan: Scan) -> str | None:
    """Why values, already made betas, cannot have been on the scale that the config says."""
    numbers = scan.numbers()
    low, high = np.nanmin(numbers["min"]), np.nanmax(numbers["max"])
    if scale == "percent" and high <= 0.01:
        return (
            f"`cohort.values` says percent, but no value is above {100 * high:.3g}: these are betas. Set it to `beta`"
        )
    if scale == "m" and scales.centred_m(numbers["mean"], numbers["sd"], len(scan.samples)):
        return (
            "`cohort.values` says m, but every CpG has the mean 0: these are z-scores or residuals, in which the "
            "levels of methylation are lost. Give the betas"
        )
    if scale == "m" and low >= 0.4999 and high <= 0.6667:  # M from 0 to 1
        return "`cohort.values` says m, but all values lie in 0-1: these are betas. Set it to `beta`"
    return None

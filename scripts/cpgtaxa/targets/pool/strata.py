"""People cut into strata of age and sex: within a stratum a summary forgets who has which value."""

import dataclasses
import logging

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError, some

SEXES = {"f": "F", "female": "F", "w": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
"""What sheets call the sexes, in small letters, and what summaries call them; "" is not known."""


OLD = 90
"""Years from which on ages are pooled, as rules of data protection ask for."""


@dataclasses.dataclass
class Strata:
    """Strata, and who is in which: `order` (m,) numbers of the people kept, stratum by stratum.

    sex, ages: of each stratum F, M or "", and its people's ages in years, as precise as a summary keeps them.
    """

    order: np.ndarray
    sex: list[str]
    ages: list[list[float]]
    left_out: int


def evenly(n: int) -> np.ndarray:
    """Evenly spaced numbers, (n,), with mean 0 and standard deviation 1; 0 alone."""
    return (np.arange(n) - (n - 1) / 2) / np.sqrt(max(n**2 - 1, 1) / 12)


def sexes_of(samples: pd.DataFrame, words: dict) -> np.ndarray:
    """F, M or "" (not known) of each sample, (n,) objects.

    samples: frame of `read_samples`. words: what the sheet's own codes mean, {"1": "M", "2": "F"}. Raises InputError
    naming codes that nobody can read.
    """
    if "sex" not in samples:
        return np.full(len(samples), "", dtype=object)
    given = samples["sex"].astype("string").str.strip()
    known = SEXES | {str(word).strip().lower(): sex for word, sex in words.items()}
    found = given.str.lower().map(known)
    odd = sorted(set(given[given.notna() & found.isna()]))
    if odd:
        raise InputError(
            f"the sample sheet's sexes have {some(odd)}, and cohorts are pooled by sex: say which is which, "
            "`summarise: {sexes: {1: M, 2: F}}`"
        )
    return found.fillna("").to_numpy(dtype=object)


def cut(ages: np.ndarray, sexes: np.ndarray, *, years: float, least: int, together: int = 1) -> Strata:
    """Strata of neighbouring ages, within a sex; none has fewer than `least` people.

    ages: (n,) years; sexes: (n,) of `sexes_of`. A stratum takes bins of `years` until it is large enough; what is left
    among the old joins the stratum before. A sex of fewer than `least` people is left out. Ages are those of the bins;
    from OLD years on, and of each `together` neighbours, they are evenly spaced with the mean and standard deviation of
    the group. Raises InputError where nobody is left.
    """
    order, sex, kept, left_out = [], [], [], 0
    bins = np.floor(ages / years)
    binned = bins * years + np.mean(ages - bins * years)
    for name in ("F", "M", ""):
        people = np.flatnonzero(sexes == name)
        if len(people) < least:
            if len(people):
                left_out += len(people)
                what = f"of sex {name}" if name else "whose sex is not known"
                logging.warning(
                    f"{len(people):,} people {what} are left out: a stratum has {least} at least "
                    "(`summarise.min_stratum`)"
                )
            continue
        people = people[np.argsort(ages[people], kind="stable")]
        edges = [0]
        for place in np.flatnonzero(np.diff(bins[people])) + 1:
            if place - edges[-1] >= least:
                edges.append(int(place))
        if len(people) - edges[-1] < least and len(edges) > 1:
            edges.pop()
        for start, stop in zip(edges, [*edges[1:], len(people)], strict=True):
            order.append(people[start:stop])
            sex.append(name)
            kept.append(_rounded(binned[people[start:stop]], together))
    if not kept:
        raise InputError(
            f"{len(ages):,} people are too few for a summary whose strata have {least} at least "
            "(`summarise.min_stratum`, `summarise.min_cell`)"
        )
    return Strata(np.concatenate(order), sex, kept, left_out)


def _rounded(ages: np.ndarray, together: int) -> list[float]:
    """Ascending ages, of which groups of `together` and more, and all from OLD on, give mean and sd alone."""
    young = ages[ages < OLD] if np.sum(ages >= OLD) >= together else ages
    groups = np.array_split(young, max(len(young) // together, 1)) if len(young) else []
    groups += [ages[len(young) :]] if len(young) < len(ages) else []
    return [round(float(age), 2) for group in groups for age in group.mean() + group.std() * evenly(len(group))]

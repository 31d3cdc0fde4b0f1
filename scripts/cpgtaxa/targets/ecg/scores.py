"""Error of predicted ages, which model has the smaller one, and the interval that holds a person's age.

Intervals are percentile bootstraps over patients, whose records stay together.
"""

import math

import numpy as np
import pandas as pd
from scipy import stats

from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.targets.ecg.study import BINS, bin_of

DRAWS = 2000
"""Of the bootstrap."""
PERMUTATIONS = 9999
AT_ONCE = 100
"""Draws that memory holds together."""
LIMITS = 1.96
"""Standard deviations between which 95 % of differences lie, if they are normal (Bland & Altman, Lancet 1986)."""
SEXES = {"F": "female", "M": "male"}


def part_name(name: str) -> str:
    """A bin's name in tables: 19_29, 100."""
    return name.replace("–", "_").removesuffix("+")


class Bootstrap:
    """Draws of patients, the same for every model and statistic. patients: (n,) of each record."""

    def __init__(self, patients: np.ndarray, seed: int):
        self.names, self.at = np.unique(patients.astype(str), return_inverse=True)
        self.seed = seed

    def _drawn(self):
        """Blocks of (draws, patients): how often each is drawn."""
        rng = np.random.default_rng(self.seed)
        n = len(self.names)
        for _ in range(0, DRAWS, AT_ONCE):
            yield rng.multinomial(n, np.full(n, 1 / n), size=AT_ONCE)

    def means(self, *values: np.ndarray) -> list[np.ndarray]:
        """(DRAWS,) of each (n,): its mean over the records of the drawn patients; values that are NaN do not count."""
        sums, counts = [], []
        for one in values:
            known = np.isfinite(one)
            sums.append(np.bincount(self.at, np.where(known, one, 0), minlength=len(self.names)))
            counts.append(np.bincount(self.at, known, minlength=len(self.names)))
        sums, counts = np.array(sums).T, np.array(counts, dtype=np.float64).T
        with np.errstate(invalid="ignore", divide="ignore"):
            found = [(block @ sums) / (block @ counts) for block in self._drawn()]
        return list(np.concatenate(found).T)


def interval(draws: np.ndarray, n_patients: int) -> tuple[float, float]:
    """The middle 95 % of some draws; NaN of fewer than two patients."""
    draws = draws[np.isfinite(draws)]
    if n_patients < 2 or not len(draws):
        return math.nan, math.nan
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def half_widths(errors: np.ndarray, patients: np.ndarray, coverage: float) -> np.ndarray:
    """Of each record, (n,), how far the age may be from the predicted one, by the errors of all other patients.

    Conformal prediction (Vovk, Gammerman & Shafer 2005; split-conformal of Lei et al., JASA 2018): the k-th smallest of
    the m others' absolute errors, k = ceil((m + 1) · coverage). For a new person whose record is like theirs the age is
    then within it with at least this probability. Infinite where there are too few others.
    """
    sizes = np.abs(errors)
    order = np.argsort(sizes, kind="stable")
    rank = np.empty(len(sizes), dtype=int)
    rank[order] = np.arange(len(sizes))
    found = np.empty(len(sizes))
    for own in pd.Series(np.arange(len(sizes))).groupby(patients.astype(str), sort=False).indices.values():
        others = len(sizes) - len(own)
        place = math.ceil((others + 1) * coverage - 1e-9) - 1
        for taken in np.sort(rank[own]):
            place += taken <= place
        found[own] = sizes[order[place]] if place < len(sizes) else math.inf
    return found


def half_width(errors: np.ndarray, coverage: float) -> float:
    """As `half_widths`, for a person who is none of these."""
    place = math.ceil((len(errors) + 1) * coverage - 1e-9) - 1
    return float(np.sort(np.abs(errors))[place]) if place < len(errors) else math.inf


def score(group: str, tables: dict[str, pd.DataFrame], first: str, coverage: float, seed: int):
    """Rows of SUMMARY_COLUMNS and comparisons of a group's models on the same records.

    tables: by model record, patient, sex, age, predicted, all in one order. first: the network, against which the
    others are compared. The metrics, each after the group's name and `_`: `mae` (mean absolute error, years), `bias`
    (mean of predicted minus chronological age), `limits_low`, `limits_high` (of agreement), `rmse`, `r` (Pearson),
    `slope` (of the gap on age: below 0, the old are predicted too young), `mae_over_median` (of `first`, if Median is
    among the models), `half_width` (median, of `half_widths`), and `mae_` of each sex and age bin.
    """
    reference = tables[first]
    patients = reference["patient"].to_numpy()
    bootstrap = Bootstrap(patients, seed)
    ages, sexes = reference["age"].to_numpy(), reference["sex"].to_numpy()
    errors = {model: (table["predicted"] - table["age"]).to_numpy() for model, table in tables.items()}
    sizes = {model: np.abs(one) for model, one in errors.items()}
    parts = {f"mae_{name}": sexes == sex for sex, name in SEXES.items()}
    bins = bin_of(ages, group)
    parts |= {f"mae_{part_name(name)}": bins == number for number, name in enumerate(BINS[group][1])}
    parts = {name: inside for name, inside in parts.items() if inside.any()}
    rows = []

    def add(model, metric, value, ends=(math.nan, math.nan), n=None):
        rows.append((model, f"{group}_{metric}", float(value), *ends, len(ages) if n is None else int(n)))

    n_patients = len(bootstrap.names)
    values = {}
    for model, size in sizes.items():
        values |= {(model, "mae"): size, (model, "bias"): errors[model], (model, "square"): size**2}
        values |= {(model, name): np.where(inside, size, math.nan) for name, inside in parts.items()}
    # All at once: of a large cohort, drawing takes longer than adding up.
    draws = dict(zip(values, bootstrap.means(*values.values()), strict=True))
    for model, size in sizes.items():
        error = errors[model]
        add(model, "mae", size.mean(), interval(draws[model, "mae"], n_patients))
        add(model, "bias", error.mean(), interval(draws[model, "bias"], n_patients))
        spread = error.std(ddof=1) if len(error) > 1 else math.nan
        add(model, "limits_low", error.mean() - LIMITS * spread)
        add(model, "limits_high", error.mean() + LIMITS * spread)
        add(model, "rmse", np.sqrt((error**2).mean()), interval(np.sqrt(draws[model, "square"]), n_patients))
        predicted = tables[model]["predicted"].to_numpy()
        if len(ages) > 3 and predicted.std() > 1e-9 and ages.std() > 0:
            found = stats.pearsonr(ages, predicted)
            add(model, "r", found.statistic, tuple(map(float, found.confidence_interval())))
            add(model, "slope", np.polyfit(ages, error, 1)[0])
        if model == first and "Median" in sizes and model != "Median":
            ends = interval(draws[model, "mae"] / draws["Median", "mae"], n_patients)
            add(model, "mae_over_median", size.mean() / sizes["Median"].mean(), ends)
        widths = half_widths(error, patients, coverage)
        add(model, "half_width", np.median(widths))
        for name, inside in parts.items():
            ends = interval(draws[model, name], len(np.unique(patients[inside])))
            add(model, name, size[inside].mean(), ends, inside.sum())
    maes = {model: draws[model, "mae"] for model in sizes}
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS), _compare(group, sizes, maes, first, bootstrap, seed)


def _compare(group, sizes, draws, first, bootstrap: Bootstrap, seed: int) -> pd.DataFrame:
    """The network against each peer: group, model, other, difference (years; below 0 the network is nearer), ci_low,
    ci_high, nearer (share of the records), p (signs of patients' mean differences permuted), n."""
    rows = []
    for model, size in sizes.items():
        if model == first:
            continue
        difference = sizes[first] - size
        means = np.bincount(bootstrap.at, difference) / np.bincount(bootstrap.at)
        p = math.nan
        if len(means) > 2 and np.any(means != 0):
            p = stats.permutation_test(
                (means,), np.mean, permutation_type="samples", n_resamples=PERMUTATIONS, vectorized=True, batch=AT_ONCE,
                rng=np.random.default_rng(seed),
            ).pvalue  # fmt: skip
        ends = interval(draws[first] - draws[model], len(bootstrap.names))
        rows.append((group, first, model, difference.mean(), *ends, (difference < 0).mean(), p, len(size)))
    return pd.DataFrame(
        rows, columns=["group", "model", "other", "difference", "ci_low", "ci_high", "nearer", "p", "n"]
    )


def adjusted(gaps: np.ndarray, ages: np.ndarray) -> np.ndarray:
    """Gaps less what is usual at their age, (n,): the residuals of a straight line.

    Predictions regress to the mean, so that a gap is partly age itself
    (Butler et al., Human Brain Mapping 2021).
    """
    if len(gaps) < 3 or np.ptp(ages) == 0:
        return gaps - gaps.mean()
    slope, start = np.polyfit(ages, gaps, 1)
    return gaps - start - slope * ages


def gap_table(group: str, model: str, table: pd.DataFrame, coverage: float) -> pd.DataFrame:
    """A row for each record tested: group, record, patient, sex, age, predicted, gap (predicted minus chronological
    age, years), gap_adjusted (`adjusted`), age_low and age_high (between which the age of a person with such a record
    lies, with probability `coverage`), unusual (whether it does not), model."""
    gaps = (table["predicted"] - table["age"]).to_numpy()
    ages = table["age"].to_numpy()
    widths = half_widths(gaps, table["patient"].to_numpy(), coverage)
    found = table[["record", "patient", "sex", "age", "predicted"]].copy()
    found.insert(0, "group", group)
    found["gap"], found["gap_adjusted"] = gaps, adjusted(gaps, ages)
    found["age_low"], found["age_high"] = found["predicted"] - widths, found["predicted"] + widths
    found["unusual"] = np.abs(gaps) > widths
    found["model"] = model
    return found


def joined(gaps: pd.DataFrame, clock: pd.DataFrame) -> pd.DataFrame:
    """Both age gaps of every person who has both; columns as JOINED.

    gaps: `gap_table`; of several records of a person the mean is taken. clock: person, methylation_age, age (years; NaN
    where it is not given: then the age at the ECG, the mean of it, counts).
    """
    by_person = gaps.groupby("patient", sort=False)
    ecg = by_person[["age", "predicted", "gap", "gap_adjusted"]].mean()
    ecg.columns = ["age_at_ecg", "ecg_age", "ecg_gap", "ecg_gap_adjusted"]
    ecg.insert(0, "group", by_person["group"].first())
    ecg.insert(1, "records", by_person.size())
    both = ecg.join(clock.set_index("person"), how="inner")
    both["age_at_methylation"] = both["age"].fillna(both["age_at_ecg"])
    both["methylation_gap"] = both["methylation_age"] - both["age_at_methylation"]
    both["methylation_gap_adjusted"] = np.nan
    for _, some in both.groupby("group"):
        gap = adjusted(some["methylation_gap"].to_numpy(), some["age_at_methylation"].to_numpy())
        both.loc[some.index, "methylation_gap_adjusted"] = gap
    return both.rename_axis("person").reset_index()[JOINED]


JOINED = [
    "person",
    "group",
    "records",
    "age_at_ecg",
    "ecg_age",
    "ecg_gap",
    "ecg_gap_adjusted",
    "age_at_methylation",
    "methylation_age",
    "methylation_gap",
    "methylation_gap_adjusted",
]


def joined_rows(both: pd.DataFrame, group: str, model: str) -> list[tuple]:
    """The correlation of a group's adjusted gaps, as a row of SUMMARY_COLUMNS; none of fewer than four people."""
    some = both[both["group"] == group]
    one, other = (some[name].to_numpy() for name in ("ecg_gap_adjusted", "methylation_gap_adjusted"))
    if len(some) < 4 or one.std() == 0 or other.std() == 0:
        return []
    found = stats.pearsonr(one, other)
    ends = tuple(map(float, found.confidence_interval()))
    return [(model, f"{group}_gap_correlation", float(found.statistic), *ends, len(some))]

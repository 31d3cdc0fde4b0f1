"""Betas without what goes with covariates: sex, batch, cell fractions.

Each CpG is fitted by 1 + age + age² + covariates, and the covariates' part of the fit, centred, is subtracted: the
CpG's mean stays, and so does what age explains beside the covariates. Age is in the fit so that covariates which go
with it do not take the trend along. Bands that lie clear of one another once covariates are taken (genotypes, a few
strays) get levels of their own in a second fit: their distance is no noise, and would make that of the covariates so
imprecise that taking it bends narrow bands.
"""

import dataclasses
import logging

import numpy as np
import pandas as pd

from cpgtaxa import files
from cpgtaxa.cohort import Cohort, CohortWriter, read_samples
from cpgtaxa.errors import refuse, some
from cpgtaxa.plan.paths import CELL_FRACTIONS
from cpgtaxa.progress import Progress
from cpgtaxa.statistics.linear import AgeSlope, grams, kinds_of

FEW = 10
"""Whole numbers of fewer kinds than this are categories: batch 1 to 8 is no amount."""
SPARE = 10
"""Samples that must be left once every term has taken one."""
DOUBTFUL, HOPELESS = 4.0, 100.0
"""Variance inflation of age by the covariates from which it is a warning, and an error."""
FLAT = 1e-6
"""A combination of covariates that varies less than this (in standard deviations) beside age is none."""
ROWS = 1024
"""CpGs that are solved together, each on its own samples and bands."""
CLEAR = 4.0
"""Bands lie clear of one another if their means are this many of their standard deviations apart; the best halves of
one normal band are 2.7 apart, those of an even spread 3.5."""
PASSES = 3
"""Fits with bands: a sample that the noise of the first fit put into the wrong band is moved by the next."""
BAND_SD = 0.01
"""No bands are looked for where the residuals' standard deviation (beta) is below this."""


@dataclasses.dataclass
class Covariate:
    """A covariate as the fit sees it: `columns` (n, c) float64, one per level but the commonest, or the numbers."""

    name: str
    kind: str
    columns: np.ndarray
    levels: dict[str, int] | None = None


def _listed(names, numbers) -> str:
    return some([names[number] for number in numbers])


def _levels(column: pd.Series) -> pd.Series:
    """A column as text, whole numbers without a point."""
    if not pd.api.types.is_numeric_dtype(column):
        return column.astype(str)
    whole = (column == np.round(column)).all()
    return column.map(lambda value: str(int(value)) if whole else f"{value:.10g}")


def _of_column(name: str, kind: str | None, column: pd.Series, ids, problems: list[str]) -> Covariate | None:
    """A covariate from a column of the sheet; None where something is wrong, which is added to `problems`."""
    key = f"adjust.covariates: {name!r}"
    lacking = np.flatnonzero(column.isna())
    if len(lacking):
        problems.append(
            f"{key} is not known of {len(lacking):,} of {len(column):,} samples: {_listed(ids, lacking)}. Fill it in, "
            "leave these samples out of the sheet (and set `cohort.unmatched: drop`), or leave the covariate out"
        )
        return None
    if column.nunique() == 1:
        problems.append(f"{key} is {column.iat[0]!r} in all samples: leave it out")
        return None
    numeric = pd.api.types.is_numeric_dtype(column)
    if not numeric and kind != "category":  # numbers that the cohort keeps as text: 001, or 27.10 beside 27.1
        numbers = pd.to_numeric(column, errors="coerce")
        if numbers.notna().all() and (kind == "number" or (numbers != np.round(numbers)).any()):
            numeric, column = True, numbers
    whole = numeric and (column == np.round(column)).all()
    if kind is None:
        kind = "category" if not numeric or (whole and column.nunique() < FEW) else "number"
        words = {"number": ("amounts", "names", "category"), "category": ("names", "amounts", "number")}
        if numeric and whole and (kind == "number" or column.nunique() > 2):
            taken, else_, other = words[kind]
            logging.info(
                f"{name}: {column.nunique()} whole numbers, taken for {taken}; if they are {else_}, write "
                f"{{{name}: {other}}}"
            )
    if kind == "number":
        if not numeric:
            values = pd.to_numeric(column, errors="coerce")
            text = column[values.isna()].unique().tolist()
            problems.append(f"{key} is to be a number, but the sheet has {some(text)}: mend it, or write {name} alone")
            return None
        if not np.isfinite(column).all():
            problems.append(f"{key} is infinite in some samples: mend the sheet")
            return None
        return Covariate(name, kind, column.to_numpy(dtype=np.float64)[:, None])
    column = _levels(column)
    counts = column.value_counts()
    counts = counts[sorted(counts.index, key=lambda level: (-counts[level], level))]
    single = counts.index[counts == 1].tolist()
    if single:
        problems.append(
            f"{key}: {len(single)} of its {len(counts)} categories have a single sample ({some(single)}), which would "
            "be moved onto the fit: join it with another category, or leave the covariate or the sample out"
        )
        return None
    columns = np.column_stack([(column == level).to_numpy(np.float64) for level in counts.index[1:]])
    return Covariate(name, kind, columns, {level: int(number) for level, number in counts.items()})


def code_covariates(samples: pd.DataFrame, covariates: list, fractions: pd.DataFrame | None = None) -> list[Covariate]:
    """The covariates as numbers, in the order of the samples.

    samples: sample_id, age, and further columns. covariates: names of columns, {name: category}, {name: number} or
    cell_fractions, which stands for the columns of `fractions` (by sample_id; of `cell_fractions.estimate`). Raises
    InputError with everything that is wrong with any of them.
    """
    problems, found, seen = [], [], set()
    ids = samples["sample_id"].tolist()
    there = [name for name in samples.columns if name not in ("sample_id", "age")]
    for entry in covariates:
        name, kind = next(iter(entry.items())) if isinstance(entry, dict) else (entry, None)
        if name in seen:
            problems.append(f"adjust.covariates names {name!r} twice: once is enough")
            continue
        seen.add(name)
        if name == CELL_FRACTIONS and fractions is not None:
            table = fractions.set_index("sample_id").reindex(ids).drop(columns=["residual", "n_cpgs"])
            lacking = np.flatnonzero(table.isna().any(axis=1))
            if len(lacking):
                problems.append(
                    f"results/cell_fractions.csv lacks {len(lacking):,} samples ({_listed(ids, lacking)}): delete it "
                    "and start again"
                )
                continue
            varied = table.loc[:, table.std() > FLAT]
            if varied.empty:
                problems.append("adjust.covariates: cell_fractions are the same in all samples: leave them out")
                continue
            found.append(Covariate(name, "fractions", varied.to_numpy(np.float64)))
        elif name == "age":
            problems.append("adjust.covariates names 'age', which is what the taxa are about: leave it out")
        elif name not in there:
            hint = " (set `cohort.columns.sex` to the sheet's column)" if name == "sex" else ""
            problems.append(
                f"adjust.covariates: {name!r} is no column of the sample sheet{hint}; there are "
                f"{some(there, 20) or 'none'} (`sex` is the column of the sex, whatever the sheet calls it)"
            )
        elif covariate := _of_column(name, kind, samples[name], ids, problems):
            found.append(covariate)
    refuse(problems)
    return found


class Model:
    """What is the same for all CpGs: directions of age and of the covariates beside age.

    age (n, d) and beside (n, r): orthonormal columns; taken (n, r): the covariates' part of a fit, of which `beside` is
    what remains beside age. r: terms that the covariates cost.
    """

    def __init__(self, ages: np.ndarray, covariates: list[Covariate]):
        """ages: (n,) years. InputError: samples are too few, or age cannot be separated from the covariates."""
        self.covariates, n = covariates, len(ages)
        a = (ages - ages.mean()) / ages.std()
        left, size, _ = np.linalg.svd(np.column_stack([np.ones(n), a, a**2]), full_matrices=False)
        self.age = left[:, size > FLAT * size[0]]
        each = [self._standard(covariate.columns) for covariate in covariates]
        columns = np.hstack(each)
        self.beside, size, turn = self._beside_age(columns)
        self.taken = columns @ (turn.T / size)
        self.kinds = kinds_of(np.column_stack([ages, columns]))
        self.terms = len(size)
        # Of each covariate alone: its directions beside age, and the share of age's variance that it explains.
        self.alone = [self._beside_age(part)[0] for part in each]
        self.shares = [self._explained(a, part) for part in each]
        explained = self._explained(a, columns)
        self.vif = 1 / max(1 - explained, 1e-12)
        self._check(n)
        # Of a line fitted to what is left: its slope's variance is that of the whole fit's slope, which covariates that
        # go with age make larger; its residuals have lost the covariates' terms.
        bend = a**2 - np.polyval(np.polyfit(a, a**2, 1), a)
        self.t_scale = self._t_scale(a, n - 2)
        self.curve_scale = self._t_scale(bend, n - 3) if self.age.shape[1] > 2 else 1.0

    @staticmethod
    def _standard(columns: np.ndarray) -> np.ndarray:
        columns = columns - columns.mean(axis=0)
        return columns / columns.std(axis=0)

    def _beside_age(self, columns: np.ndarray):
        """Singular vectors and values of what age leaves of columns: (n, r), (r,), (r, c)."""
        left, size, turn = np.linalg.svd(columns - self.age @ (self.age.T @ columns), full_matrices=False)
        kept = size > FLAT * np.sqrt(len(columns))
        return left[:, kept], size[kept], turn[kept]

    @staticmethod
    def _explained(a: np.ndarray, columns: np.ndarray) -> float:
        left, size, _ = np.linalg.svd(columns, full_matrices=False)
        return float(np.sum((left[:, size > FLAT * np.sqrt(len(a))].T @ a) ** 2) / np.sum(a**2))

    def _t_scale(self, direction: np.ndarray, df: int) -> float:
        inflation = 1 + np.sum((self.taken.T @ direction) ** 2) / np.sum(direction**2)
        return float(np.sqrt((df - self.terms) / df / inflation))

    def _check(self, n: int) -> None:
        needed = self.age.shape[1] + self.terms + SPARE
        problems = []
        if n < needed:
            problems.append(
                f"adjust.covariates: they cost {self.terms} terms beside age, for which at least {needed} samples are "
                f"needed; there are {n}. Name fewer covariates, or join categories"
            )
        if self.vif > HOPELESS:
            problems.append(
                f"adjust.covariates: age cannot be separated from {self._blamed()}: they explain "
                f"{1 - 1 / self.vif:.1%} of its variance, and adjusting would leave nothing of ageing. Leave them "
                "out, or compare people of like age"
            )
        refuse(problems)

    def _blamed(self) -> str:
        order = np.argsort(self.shares)[::-1]
        first = self.covariates[order[0]].name
        if self.shares[order[0]] > 1 - 1 / DOUBTFUL or len(order) == 1:
            return repr(first)
        return some([covariate.name for covariate in self.covariates], 10) + " together"

    def warnings(self, n: int) -> list[str]:
        found = []
        if self.vif > DOUBTFUL:
            found.append(
                f"adjusted betas: {1 - 1 / self.vif:.0%} of the variance of age is explained by {self._blamed()} "
                f"(variance inflation {self.vif:.1f}): trends with age are far less certain"
            )
        if self.terms > n / 10:
            found.append(
                f"adjusted betas: {self.terms} terms for {n} samples: much of what is taken away is chance, and "
                "spreads come out too small"
            )
        return found

    def adjust(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Adjusted values, not yet clipped; what age leaves; the covariates' share of that; and the number of bands.

        values: (k, n) float64, NaN where missing, which stays so, and is as if the sample were absent. Returns (k, n)
        float64; (k, n) residuals of age alone, of the fit where missing; (k,) shares up to 1 (with gaps nearly so), NaN
        where the values are too few, and left as they are, or age leaves nothing; (k,) int8 bands, 1 if not clear.
        """
        known = np.isfinite(values)
        count = known.sum(axis=1, keepdims=True)
        y = np.where(known, values, 0)
        y -= known * (y.sum(axis=1, keepdims=True) / np.maximum(count, 1))
        enough = count[:, 0] > self.age.shape[1] + self.terms + 1
        weights, aged = y @ self.beside, y @ self.age
        gaps = np.flatnonzero(enough & (count[:, 0] < values.shape[1]))
        for start in range(0, len(gaps), ROWS):
            rows = gaps[start : start + ROWS]
            aged[rows], weights[rows] = self._solve(y[rows], known[rows][None])
        left = y - aged @ self.age.T - weights @ self.beside.T
        bands, labels = clear_bands(np.where(known & enough[:, None], left, np.nan))
        banded = np.flatnonzero(bands > 1)
        for start in range(0, len(banded), ROWS):
            rows = banded[start : start + ROWS]
            for _ in range(PASSES):
                groups = np.stack([known[rows] & (labels[rows] == band) for band in range(3)])
                line, weights[rows] = self._solve(y[rows], groups)
                left = y[rows] - line @ self.age.T - weights[rows] @ self.beside.T
                bands[rows], labels[rows] = clear_bands(np.where(known[rows], left, np.nan))
        weights[~enough] = 0
        fit = weights @ self.taken.T
        found = values - np.where(enough[:, None], fit - self._mean(fit, known, count), 0)
        rest = np.where(known, y, aged @ self.age.T + weights @ self.beside.T)
        rest -= (rest @ self.age) @ self.age.T
        rest[~enough] = 0
        size = np.sum(np.square(rest, where=known, out=np.zeros_like(rest)), axis=1)
        after = np.sum(np.square(rest - weights @ self.beside.T, where=known, out=np.zeros_like(rest)), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(size > 1e-16, 1 - after / size, np.nan)
        return found, rest, share, bands

    @staticmethod
    def _mean(fit, known, count) -> np.ndarray:
        return np.sum(fit, axis=1, keepdims=True, where=known) / np.maximum(count, 1)

    def _solve(self, y: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least squares of each CpG on its own samples, with a level for each group of them.

        y: (k, n), 0 where missing; groups: (g, k, n) bool. Returns the weights of age (k, d) and of `beside` (k, r).
        """
        basis, d = np.hstack([self.age, self.beside]), self.age.shape[1]
        there = groups.any(axis=0).astype(np.float64)
        gram = grams(basis, there, self.kinds)
        right = (y * there) @ basis
        if len(groups) > 1:
            # Everything from the mean of its group is what a level for each does.
            for group in groups.astype(np.float64):
                size = np.maximum(group.sum(axis=1), 1)[:, None]
                sums, mean = group @ basis, np.sum(y * group, axis=1)[:, None] / size
                gram -= sums[:, :, None] * (sums / size)[:, None, :]
                right -= sums * mean
        found = np.einsum("ijk,ik->ij", np.linalg.pinv(gram, rcond=1e-9, hermitian=True), right)
        return found[:, :d], found[:, d:]


def _parted(ordered: np.ndarray, sums: np.ndarray, low, high, inside) -> np.ndarray:
    """By how much a cut before each value lowers the sum of squares within low..high, (k, n); −1 where it may not be.

    ordered: (k, n) ascending; sums: (k, n + 1) cumulative; low, high: bounds of the part each cut divides, (k, n).
    """
    at = np.arange(ordered.shape[1])[None]
    before, after = np.take_along_axis(sums, low, 1), np.take_along_axis(sums, high, 1)
    here = sums[:, :-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = (
            (here - before) ** 2 / (at - low) + (after - here) ** 2 / (high - at) - (after - before) ** 2 / (high - low)
        )
    return np.where(inside & (at > low) & (at < high), gain, -1.0)


def clear_bands(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Into how many bands, up to three, that lie clear of one another each row falls, and which band a value is in.

    values: (k, n), NaN where missing. Returns (k,) int8 and (k, n) int8, from 0 upwards, −1 where missing. The cut into
    two is the best there is; the third band comes of the best cut of one of the two.
    """
    k, n = values.shape
    bands, labels = np.ones(k, dtype=np.int8), np.where(np.isfinite(values), 0, -1).astype(np.int8)
    m = np.isfinite(values).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt(np.nansum(values**2, axis=1) / m - (np.nansum(values, axis=1) / m) ** 2)
    rows = np.flatnonzero(sd > BAND_SD)
    if not len(rows):
        return bands, labels
    ordered, m = np.sort(values[rows], axis=1), m[rows][:, None]
    filled = np.where(np.isfinite(ordered), ordered, 0)
    sums = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(filled, axis=1)], axis=1)
    total = np.sum(filled**2, axis=1) - sums[:, -1] ** 2 / m[:, 0]
    at = np.broadcast_to(np.arange(n), ordered.shape)
    inside = at < m
    gain = _parted(ordered, sums, np.zeros_like(at), np.broadcast_to(m, at.shape), inside)
    first = gain.argmax(axis=1)
    one = gain.max(axis=1)
    left = at <= first[:, None]
    low = np.where(left, 0, first[:, None])
    high = np.where(left, first[:, None], m)
    gain = _parted(ordered, sums, low, high, inside)
    second = gain.argmax(axis=1)
    two = one + gain.max(axis=1)
    cuts = np.sort(np.stack([first, second], axis=1), axis=1)
    edges = {3: np.hstack([np.zeros_like(m), cuts, m]), 2: np.hstack([np.zeros_like(m), first[:, None], m])}
    found = np.ones(len(rows), dtype=np.int8)
    for number, gained in ((2, one), (3, two)):
        means = np.diff(np.take_along_axis(sums, edges[number], 1), axis=1) / np.maximum(np.diff(edges[number]), 1)
        spread = np.sqrt(np.maximum(total - gained, 1e-12) / np.maximum(m[:, 0] - number, 1))
        clear = (np.diff(means, axis=1) > CLEAR * spread[:, None]).all(axis=1) & (np.diff(edges[number]) > 0).all(
            axis=1
        )
        found[clear] = number
    for number in (2, 3):
        mine = np.flatnonzero(found == number)
        for cut in range(1, number):
            edge = ordered[mine, edges[number][mine, cut]][:, None]
            labels[rows[mine]] += (values[rows[mine]] >= edge).astype(np.int8)
    bands[rows] = found
    return bands, labels


def adjust_cohort(given: dict, out: dict, *, covariates: list) -> None:
    """Write a cohort's adjusted betas, block by block, and what was done to them.

    given: `beta` (a cohort file), `samples`, `fractions` (CSV of `cell_fractions.write_fractions`, or None).
    covariates: as for `code_covariates`. out: `beta`, a cohort file of the same CpGs and samples, clipped to 0 to 1;
    `cpgs`, Parquet cpg, r2 (share of the variance left by age that the covariates took; NaN where the CpG was left as
    it was or age left nothing), bands (clear ones, 1 to 3), n_clipped, and of beta ~ age + covariates, fitted to the
    betas as they were, slope (per year), se and df; `summary`, JSON. Raises InputError for covariates that cannot be
    used.
    """
    cohort, samples = Cohort(given["beta"]), read_samples(given["samples"])
    fractions = pd.read_csv(given["fractions"], dtype={"sample_id": str}) if given["fractions"] else None
    coded = code_covariates(samples, covariates, fractions)
    ages = samples["age"].to_numpy(dtype=np.float64)
    model, line = Model(ages, coded), AgeSlope(ages, np.hstack([covariate.columns for covariate in coded]))
    warnings = model.warnings(len(samples))
    for text in warnings:
        logging.warning(text)
    files.need_space(out["beta"], cohort.path.stat().st_size, "the adjusted betas take")

    taken, by_one, total = 0.0, np.zeros(len(coded)), 0.0
    shares, banded, clipped, fits, untouched = [], [], [], [], 0
    progress = Progress(len(cohort), "CpGs adjusted")
    with CohortWriter(out["beta"], cohort.sample_ids) as writer:
        for start, block in cohort.blocks():
            values = np.asarray(block, dtype=np.float64)
            found, rest, share, bands = model.adjust(values)
            outside = np.sum((found < 0) | (found > 1), axis=1)
            writer.append(cohort.names(start, start + len(block)).tolist(), np.clip(found, 0, 1).astype(np.float32))
            total += np.sum(rest**2)
            taken += np.sum((rest @ model.beside) ** 2)
            by_one += [np.sum((rest @ directions) ** 2) for directions in model.alone]
            untouched += int(np.sum(~np.any((found != values) & np.isfinite(values), axis=1)))
            shares.append(share)
            banded.append(bands)
            clipped.append(outside.astype(np.int32))
            fits.append(line.fit(values))
            cohort.release()
            progress.step(len(block))
    share, outside = np.concatenate(shares), np.concatenate(clipped)
    bands = np.concatenate(banded)
    frame = pd.DataFrame(
        {"cpg": pd.Series(cohort.cpgs, dtype="str"), "r2": share, "bands": bands, "n_clipped": outside}
        | dict(zip(("slope", "se", "df"), map(np.concatenate, zip(*fits, strict=True)), strict=True))
    )
    files.write_parquet(out["cpgs"], frame)
    defined = share[np.isfinite(share)]
    spare = len(samples) - model.age.shape[1]
    summary = {
        "n_samples": len(samples),
        "n_cpgs": len(share),
        "terms": model.terms,
        "covariates": [
            {
                "name": covariate.name,
                "kind": covariate.kind,
                "terms": covariate.columns.shape[1],
                "levels": covariate.levels,
                "share_alone": float(by_one[at] / total) if total else 0.0,
                "age_explained": model.shares[at],
            }
            for at, covariate in enumerate(coded)
        ],
        "share_taken": float(taken / total) if total else 0.0,
        "share_taken_median": float(np.median(defined)) if len(defined) else 0.0,
        "share_by_chance": model.terms / spare,
        "age_vif": model.vif,
        "statistics": {"t_scale": model.t_scale, "curve_scale": model.curve_scale, "lost": model.terms},
        "clipped": {"values": int(outside.sum()), "cpgs": int(np.count_nonzero(outside))},
        "banded": int(np.count_nonzero(bands > 1)),
        "untouched": untouched,
        "warnings": warnings,
    }
    files.write_json(out["summary"], summary)
    logging.info(
        f"{len(share):,} CpGs adjusted for {some([covariate.name for covariate in coded], 10)} ({model.terms} terms): "
        f"{summary['share_taken']:.1%} of the variance beside age taken ({summary['share_by_chance']:.1%} by chance), "
        f"{summary['clipped']['values']:,} values clipped to 0 to 1; variance inflation of age {model.vif:.2f}"
    )

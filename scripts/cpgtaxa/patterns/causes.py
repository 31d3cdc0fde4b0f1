"""Why a CpG has bands: who is in which band, and what that goes with.

Bands that follow a technical column of the sheet are a batch effect, those that follow sex are of the sexes, and those
in the shares and places of genotypes are taken for a SNP in or near the probe. Of a CpG that the user lists as
imprinted, imprinting is the cause where one band lies near a half and its people are not heterozygotes. Everything else
is `unknown`.
"""

import re

import numpy as np
import pandas as pd
from scipy import special

from cpgtaxa.statistics.comparisons import holm
from cpgtaxa.taxa.criteria import OFF_CENTRE, PATTERN_LIMITS, PLAIN_D

FOLLOWS = 0.5
"""Cramér's V, corrected for chance (Bergsma 2013), from which bands follow a column."""
CHANCE = 1e-3
"""p-value up to which they do (Holm over the columns), and down to which shares are those of genotypes."""
HALF_REACH = OFF_CENTRE + 0.05
"""How far the middle of three bands may lie from the half of the outer ones, as a share of their distance: arrays bend
the scale."""
HALF = 0.15
"""How far from 0.5 the band with one methylated allele may lie: at 14 of 15 such CpGs in blood, 0.38 to 0.56."""
TECHNICAL = re.compile(
    r"batch|plate|slide|chip|sentrix|beadchip|array|barcode|well|position|row|col|date|day|time|run|scan|lane"
    r"|cohort|study|dataset|series|gse|center|centre|site|lab|source|platform|operator|technician"
)
"""Names of the sheet's columns that say how a sample was measured, in small letters."""
ARRAY_ID = re.compile(r"(\d{9,12})[_-](R\d{2}C\d{2})")
"""Chip and place on it, as sample ids often hold them."""
GROUPS = 12
"""Numbers and dates of many kinds become so many groups of equal size."""


def batch_columns(samples: pd.DataFrame) -> dict[str, np.ndarray]:
    """The technical columns of the sheet as codes (n,), −1 where not known; by name.

    samples: sample_id and further columns, in the order of the matrix. Columns are recognised by their names
    (TECHNICAL), chip and place also by sample ids that hold them. Numbers and dates of more than GROUPS kinds are cut
    into groups; columns of text with a value of its own for nearly every sample are left out.
    """
    found = {}
    columns = {n: samples[n] for n in samples.columns if n not in ("sample_id", "age", "sex")}
    columns = {n: column for n, column in columns.items() if TECHNICAL.search(str(n).lower())}
    arrays = samples["sample_id"].astype(str).str.extract(ARRAY_ID)
    if arrays[0].notna().mean() > 0.5:
        columns |= {"chip in sample_id": arrays[0], "place in sample_id": arrays[1]}
    for name, column in columns.items():
        known = column.notna().to_numpy()
        kinds = column[known].nunique()
        if kinds > GROUPS:
            dates = None
            if not pd.api.types.is_numeric_dtype(column):
                dates = pd.to_datetime(column, errors="coerce", format="ISO8601")
                dates = dates.astype("int64").where(dates.notna()) if dates[known].notna().all() else None
            many = column if pd.api.types.is_numeric_dtype(column) and kinds > known.sum() / 3 else dates
            if many is not None:
                column = pd.qcut(pd.to_numeric(many), GROUPS, labels=False, duplicates="drop")
        codes = pd.factorize(column, sort=False)[0]
        # A level of one sample says nothing.
        sizes = np.bincount(codes[codes >= 0], minlength=1)
        codes = np.where((codes >= 0) & (sizes[np.maximum(codes, 0)] > 1), codes, -1)
        codes = pd.factorize(np.where(codes >= 0, codes, np.nan))[0]
        if (codes >= 0).sum() >= len(codes) / 2 and codes.max() >= 1:
            found[str(name)] = codes
    return found


BANDS = {2: ("two", ("low", "high")), 3: ("three", ("low", "mid", "high"))}
FIT_COLUMNS = (
    *(
        f"{prefix}_{what}_{name}"
        for prefix, names in BANDS.values()
        for name in names
        for what in ("level", "effect", "share", "band_sd")
    ),
    "two_by_age",
    "three_by_age",
    "two_d",
    "three_middle",
    "three_hwe_p",
    "bic2",
    "bic3",
)
"""Columns of the statistics that this module looks at."""


def members(values, fit, bands: int, position) -> np.ndarray:
    """The band (n,) int of each sample of a CpG, 0 the lowest, −1 where the value is missing.

    values: (n,) float32. fit: FIT_COLUMNS of the CpG. bands: 2 or 3. position: (n,) float32, age less its
    mean, in central 90 % ranges. Between two bands' lines the likelier one; beyond the outer lines the outer ones,
    however narrow.
    """
    prefix, names = BANDS[bands]
    level, effect, share, sd = (
        np.array([[fit[f"{prefix}_{what}_{name}"]] for name in names], dtype=np.float32)
        for what in ("level", "effect", "share", "band_sd")
    )
    lines = level + effect * position
    share, sd = np.maximum(share, 1e-6), np.maximum(sd, 1e-4)
    with np.errstate(invalid="ignore"):
        score = np.log(share / sd) - np.square((values - lines) / sd) / 2
        above = ((score[:-1] < score[1:]) & (values > lines[:-1])) | (values >= lines[1:])
    found = above.sum(axis=0)
    found[np.isnan(values)] = -1
    return found


def association(one, other):
    """Cramér's V, corrected for chance, of two codes (n,), and its permutation p-value (−1: not known).

    The p-value is that of a gamma distribution with the mean and variance that Pearson's chi-square has over all
    permutations (Lewis, Saunders and Westcott 1984): right for tables with hardly a sample a cell, such as chips.
    """
    one, other = np.asarray(one, dtype=int), np.asarray(other, dtype=int)  # int8 would overflow in the table's cells
    known = (one >= 0) & (other >= 0)
    columns = int(other.max(initial=0)) + 1
    table = np.bincount(one[known] * columns + other[known], minlength=columns * (int(one.max(initial=0)) + 1))
    table = table.reshape(-1, columns).astype(float)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    (r, c), n = table.shape, table.sum()
    if min(r, c) < 2 or n < 5:
        return 0.0, 1.0
    rows, cols = table.sum(axis=1), table.sum(axis=0)
    chi = n * ((table**2 / rows[:, None] / cols).sum() - 1)
    mean = n / (n - 1) * (r - 1) * (c - 1)
    v = [(k - 1) * (n - k) / (n - 1) for k in (r, c)]
    w = [(n * (1 / held).sum() - k**2) / (n - 2) for k, held in ((r, rows), (c, cols))]
    variance = 2 * n / (n - 3) * (v[0] - w[0]) * (v[1] - w[1]) + n**2 / (n - 1) * w[0] * w[1]
    variance = max(variance, 1e-9)
    p = float(special.gammaincc(mean**2 / variance, max(chi, 0) * mean / variance))
    phi = max(chi / n - (r - 1) * (c - 1) / (n - 1), 0)
    least = min(k - (k - 1) ** 2 / (n - 1) for k in (r, c)) - 1
    return float(np.sqrt(phi / max(least, 1e-9))), p


def hardy_weinberg(counts) -> float:
    """Chi-square p-value (one degree of freedom) that three counts are those of genotypes; the middle are heterozygous.

    Counts are compared with those of the allele frequency that they give, Yates-corrected: rare alleles leave few.
    """
    counts = np.asarray(counts, float)
    n = counts.sum()
    q = (2 * counts[2] + counts[1]) / (2 * n)
    expected = n * np.array([(1 - q) ** 2, 2 * q * (1 - q), q**2])
    away = np.maximum(np.abs(counts - expected) - 0.5, 0)
    chi = (away**2 / np.maximum(expected, 1e-9)).sum()
    return float(special.erfc(np.sqrt(chi / 2)))


def of_genotypes(member, fit, bands: int) -> tuple[bool, float]:
    """Whether bands look like genotypes, and the p-value of their shares (NaN where any share fits).

    member: (n,) band of each sample; fit: a row of the statistics. Three bands: shares in Hardy–Weinberg proportions,
    the middle one half-way. Two bands: a rare allele without a homozygote among the samples, or three such bands of
    which two are one to the eye, or, where bands lie far apart, a dominant effect, which fits any share.
    """
    prefix = "three" if bands == 3 else "two"
    if fit[f"{prefix}_by_age"] >= PATTERN_LIMITS["bands at some ages only"]:
        return False, np.nan
    counts = np.bincount(member[member >= 0], minlength=3)[:3]
    central = abs(fit["three_middle"] - 0.5) <= HALF_REACH
    if bands == 3:
        p = hardy_weinberg(counts)
        return (p >= CHANCE and central), p
    rare = np.sort(counts[:2])
    p = hardy_weinberg([rare[1], rare[0], 0])
    if p >= CHANCE:
        return True, p
    p = fit["three_hwe_p"]
    if np.isfinite(fit["bic3"]) and fit["bic3"] < fit["bic2"] and central and p >= CHANCE:
        return True, float(p)
    return bool(fit["two_d"] >= PLAIN_D), np.nan


def of_imprinting(member, fit, bands: int) -> float:
    """The p-value that the band near a half are heterozygotes in Hardy–Weinberg proportions, if imprinting may be why.

    member: (n,) band of each sample; fit: a row of the statistics. People of the one band have one methylated allele,
    those of the others, below or above it, both or none. NaN where not exactly one band lies near a half, where bands
    are at some ages only, and where the p-value is that of genotypes.
    """
    prefix, names = BANDS[bands]
    levels = np.array([fit[f"{prefix}_level_{name}"] for name in names])
    half = np.flatnonzero(np.abs(levels - 0.5) <= HALF)
    if len(half) != 1 or fit[f"{prefix}_by_age"] >= PATTERN_LIMITS["bands at some ages only"]:
        return np.nan
    counts = np.bincount(member[member >= 0], minlength=bands)
    at = half[0]
    p = hardy_weinberg([counts[:at].sum(), counts[at], counts[at + 1 :].sum()])
    return p if p < CHANCE else np.nan


def cause_of(member, fit, bands: int, sexes, batches: dict[str, np.ndarray]) -> tuple[str, float, str]:
    """The cause of a CpG's bands, its p-value and, of a batch, the column.

    member: (n,) band of each sample; fit: a row of the statistics; sexes: (n,) codes or None; batches: of
    `batch_columns`. p-value: of batch and sex that of the association of band and column, of SNP that of
    `of_genotypes`; NaN for unknown.
    """
    found = {name: association(member, codes) for name, codes in batches.items()}
    ps = np.array([p for _, p in found.values()])
    v_sex, p_sex = association(member, sexes) if sexes is not None else (0.0, 1.0)
    by_sex = v_sex >= FOLLOWS and p_sex <= CHANCE
    fits = [
        (v, -p, name) for (name, (v, _)), p in zip(found.items(), holm(ps), strict=True) if p <= CHANCE and v >= FOLLOWS
    ]
    if fits and (not by_sex or max(fits)[0] >= v_sex):
        _, p, name = max(fits)
        return "batch", -p, name
    if by_sex:
        return "sex", p_sex, ""
    genotypes, p = of_genotypes(member, fit, bands)
    return ("SNP", p, "") if genotypes else ("unknown", np.nan, "")

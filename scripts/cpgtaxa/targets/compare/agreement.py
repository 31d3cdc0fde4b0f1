"""How far cohorts agree on the taxa of the CpGs they share, and which CpGs moved from one to another."""

import itertools
import warnings

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa
from statsmodels.stats.proportion import proportion_confint

from cpgtaxa.names import INDEX, TAXA
from cpgtaxa.simulation.simulate import BANDS, WITH_CHANGING_SPREAD, WITH_TREND
from cpgtaxa.targets.compare.reading import KNOWN, LEFT, Beside

AGREEMENT_COLUMNS = ("cohort_a", "cohort_b", "unclassified", "taxon", "metric", "value", "ci_low", "ci_high", "n")
ALL = "all"
"""In place of a cohort, and of a taxon: all of them."""
DRAWS = 500
"""Bootstrap samples behind the interval of Fleiss' kappa."""

_BANDS = np.array([BANDS.get(taxon, 1) for taxon in TAXA] + [0])
_TREND = np.array([taxon in WITH_TREND for taxon in TAXA] + [False])
_SPREAD = np.array([taxon in WITH_CHANGING_SPREAD for taxon in TAXA] + [False])
_OUTLIERS = np.array([taxon == "Outlier" for taxon in TAXA] + [False])


def pair_counts(beside: Beside, a: int, b: int) -> np.ndarray:
    """CpGs that cohorts a and b share by taxon in each, (11, 11); the last row and column are Unclassified."""
    one, other = beside.taxon[:, a].astype(int), beside.taxon[:, b].astype(int)
    both = (one >= 0) & (other >= 0)
    size = LEFT + 1
    return np.bincount(one[both] * size + other[both], minlength=size * size).reshape(size, size)


def contingency(beside: Beside) -> pd.DataFrame:
    """All pairs of cohorts and of taxa: cohort_a, cohort_b, taxon_a, taxon_b, n (0 where no CpG has them)."""
    tables = []
    for a, b in itertools.combinations(range(len(beside.cohorts)), 2):
        found = {"cohort_a": beside.names[a], "cohort_b": beside.names[b]}
        found |= {"taxon_a": np.repeat(KNOWN, len(KNOWN)), "taxon_b": np.tile(KNOWN, len(KNOWN))}
        tables.append(pd.DataFrame(found | {"n": pair_counts(beside, a, b).ravel()}))
    return pd.concat(tables, ignore_index=True)


def kappa(counts: np.ndarray) -> tuple[float, float, float]:
    """Cohen's kappa of a square table of counts, and its 95 % interval (Fleiss, Cohen and Everitt 1969), or NaN."""
    used = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    if used.sum() < 2:
        return np.nan, np.nan, np.nan
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = cohens_kappa(counts[np.ix_(used, used)])
    return float(found.kappa), float(found.kappa_low), float(min(found.kappa_upp, 1.0))


def fleiss(codes: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Fleiss' kappa of codes (n, k) of k cohorts, and a 95 % interval from DRAWS bootstrap samples of CpGs.

    CpGs with the same codes are drawn together, so that a whole array takes no longer than its few thousand patterns.
    """
    patterns, n = np.unique(codes, axis=0, return_counts=True)
    ratings = (patterns[:, :, None] == np.arange(LEFT + 1)).sum(axis=1)
    if len(patterns) < 2 or (ratings.sum(axis=0) > 0).sum() < 2:
        return np.nan, np.nan, np.nan
    k = codes.shape[1]
    alike = (ratings * (ratings - 1)).sum(axis=1) / (k * (k - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = fleiss_kappa(np.repeat(ratings, n, axis=0))
    drawn = np.random.default_rng([seed, 61]).multinomial(n.sum(), n / n.sum(), DRAWS) / n.sum()
    chance = ((drawn @ ratings / k) ** 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = np.nanquantile((drawn @ alike - chance) / (1 - chance), [0.025, 0.975])
    return float(value), float(low), float(high)


def _of_pair(counts: np.ndarray) -> list[tuple]:
    """(taxon, metric, value, low, high, n) of a square table of counts; a row's taxon ALL is over all of them."""
    n, equal = int(counts.sum()), int(np.trace(counts))
    low, high = proportion_confint(equal, n, method="wilson") if n else (np.nan, np.nan)
    rows = [(ALL, "equal", equal / n if n else np.nan, low, high, n), (ALL, "kappa", *kappa(counts), n)]
    for code in range(len(counts)):
        both = int(counts[code, code])
        one, other = int(counts[code].sum()), int(counts[:, code].sum())
        either = one + other - both
        nan = (np.nan, np.nan)
        rows.append((KNOWN[code], "jaccard", both / either if either else np.nan, *nan, either))
        rows.append((KNOWN[code], "positive_agreement", 2 * both / (one + other) if either else np.nan, *nan, either))
    return rows


def agreement(beside: Beside, seed: int) -> pd.DataFrame:
    """How far each pair of cohorts, and all together, agree: columns AGREEMENT_COLUMNS.

    `unclassified`: whether Unclassified counts as an eleventh taxon (yes), or only CpGs count that all the cohorts in
    question placed (no). Metrics of a pair: `shared`, `both_placed` (CpGs), `equal` (share of equal taxa; Wilson's
    interval), `kappa` (Cohen's), and by taxon `jaccard` (CpGs with it in both over those with it in either) and
    `positive_agreement` (Dice). Of more than two cohorts: `equal` in all of them, and `kappa` after Fleiss.
    """
    rows = []
    for a, b in itertools.combinations(range(len(beside.cohorts)), 2):
        counts = pair_counts(beside, a, b)
        names = beside.names[a], beside.names[b]
        nan = (np.nan, np.nan)
        rows.append((*names, "yes", ALL, "shared", counts.sum(), *nan, counts.sum()))
        rows.append((*names, "no", ALL, "both_placed", counts[:LEFT, :LEFT].sum(), *nan, counts.sum()))
        rows += [(*names, "yes", *row) for row in _of_pair(counts)]
        rows += [(*names, "no", *row) for row in _of_pair(counts[:LEFT, :LEFT])]
    if len(beside.cohorts) > 2:
        shared = beside.taxon[(beside.taxon >= 0).all(axis=1)]
        for with_unclassified, codes in (("yes", shared), ("no", shared[(shared < LEFT).all(axis=1)])):
            n, equal = len(codes), int((codes == codes[:, :1]).all(axis=1).sum())
            low, high = proportion_confint(equal, n, method="wilson") if n else (np.nan, np.nan)
            found = (
                ("shared" if with_unclassified == "yes" else "both_placed", n, np.nan, np.nan, n),
                ("equal", equal / n if n else np.nan, low, high, n),
                ("kappa", *(fleiss(codes, seed) if n else (np.nan,) * 3), n),
            )
            rows += [(ALL, ALL, with_unclassified, ALL, *row) for row in found]
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


# --- CpGs that moved -------------------------------------------------------------------------------------------------


def kind_of(a: int, b: int) -> str:
    """What a move from code a to code b (indices of TAXA, LEFT) means, in words."""
    if a == LEFT or b == LEFT:
        return "Unclassified → placed" if a == LEFT else "placed → Unclassified"
    words = []
    if _BANDS[a] != _BANDS[b]:
        words.append(f"{_BANDS[a]} → {_BANDS[b]} bands")
    for name, has in (("trend", _TREND), ("changing spread", _SPREAD), ("outliers", _OUTLIERS)):
        if has[a] != has[b]:
            words.append(f"{name} {'lost' if has[a] else 'gained'}")
    if {a, b} == {INDEX["UniStable"], INDEX["UniUnstable"]}:
        words.append("wider" if a == INDEX["UniStable"] else "narrower")
    return ", ".join(words)


KINDS = np.array([[kind_of(a, b) if a != b else "" for b in range(LEFT + 1)] for a in range(LEFT + 1)], dtype=object)
"""`kind_of` by both codes."""


def moves(beside: Beside) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the CpGs whose taxon is not the same in all cohorts that hold them, and the two cohorts of each move.

    Of several moves of a CpG, the one between the first two cohorts (in the order given) that placed it differently;
    where none did, that between the first cohort and the first that differs. Returns three arrays (m,).
    """
    taxon = beside.taxon
    there = taxon >= 0
    first = there.argmax(axis=1)
    at = np.arange(len(taxon))
    differs = there & (taxon != taxon[at, first][:, None])
    rows = np.flatnonzero(differs.any(axis=1))
    first, differs, some = first[rows], differs[rows], taxon[rows]
    second = differs.argmax(axis=1)
    placed = there[rows] & (some < LEFT)
    own = placed.argmax(axis=1)
    other = placed & (some != some[np.arange(len(rows)), own][:, None])
    between = other.any(axis=1)
    return rows, np.where(between, own, first), np.where(between, other.argmax(axis=1), second)

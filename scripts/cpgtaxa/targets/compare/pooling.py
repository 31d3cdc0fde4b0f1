"""One taxon, and one effect of age, from several cohorts.

Taxa: a logarithmic opinion pool (Genest and Zidek 1986, Statistical Science 1:114, section 3): the cohorts'
probabilities are multiplied, each to the power of its weight. Networks learn from about as many images of each taxon,
so that their probabilities rest on an even prior; with that, and weight 1, the pool is Bayes' rule for cohorts that err
independently of each other. They do not quite, since all are drawn, tested and classified alike; hence FLOOR.

Effects: inverse-variance means of the slopes with fixed and with random effects (DerSimonian and Laird 1986, Controlled
Clinical Trials 7:177), for all CpGs at once.
"""

import numpy as np
from scipy import special

from cpgtaxa.names import TAXA
from cpgtaxa.progress import Progress
from cpgtaxa.targets.compare.reading import LEFT, Beside

FLOOR = 0.005
"""Least probability that any cohort gives a taxon: none can rule out alone what all others see (a product would)."""
BY_RULES = 0.98
"""Probability of a taxon that the tests gave: their labels are clean, and the network's doubts were not asked."""
TOLD = 0.9
"""The same of a taxon in a table without probabilities."""
VERDICTS = ("agreed", "one cohort", "disputed", "unclear", "unplaced")
BLOCK = 1 << 16


def evidence(taxon: np.ndarray, by_rules: np.ndarray, p: np.ndarray, unplaced: float) -> np.ndarray:
    """What one cohort adds to the pool: log probabilities (n, 10) float32, times the weight; 0 where it has none.

    taxon: (n,) codes, −1 where the cohort lacks the CpG; by_rules: (n,) bool; p: (n, 10), NaN where there are none.
    unplaced: weight of a cohort that could not place the CpG; 1 has all others.
    """
    placed = (taxon >= 0) & (taxon < LEFT)
    known = np.isfinite(p).all(axis=1)
    own = np.zeros(p.shape, dtype=np.float32)
    own[np.flatnonzero(placed), taxon[placed]] = 1
    p = np.where(known[:, None], p, np.float32(1 / len(TAXA)))
    sure = np.where(by_rules, BY_RULES, np.where(known, 0, TOLD)).astype(np.float32) * placed
    # Of a taxon given by the tests, the network's probabilities share what is left.
    p = sure[:, None] * own + (1 - sure)[:, None] * p
    weight = np.where(taxon < 0, 0, np.where(placed, 1, np.where(known, unplaced, 0))).astype(np.float32)
    return weight[:, None] * np.log(np.maximum(p, FLOOR)).astype(np.float32)


def pooled(beside: Beside, unplaced: float) -> np.ndarray:
    """Combined probabilities (n, 10) float32 of all CpGs: the cohorts' evidence multiplied, and scaled to 1."""
    found = np.zeros((len(beside.cpgs), len(TAXA)), dtype=np.float32)
    progress = Progress(len(found), "CpGs pooled")
    for start in progress.over(range(0, len(found), BLOCK), lambda start: min(BLOCK, len(found) - start)):
        part = slice(start, start + BLOCK)
        for at, cohort in enumerate(beside.cohorts):
            rows = beside.rows[part, at]
            p = cohort.p[rows]
            found[part] += evidence(beside.taxon[part, at], cohort.by_rules[rows] & (rows >= 0), p, unplaced)
        found[part] = special.softmax(found[part], axis=1)
    return found


def decide(taxon: np.ndarray, p: np.ndarray, *, probability: float, agreement: float, support: float) -> dict:
    """The taxon that several cohorts have together. taxon: (n, k) codes, −1 where one lacks the CpG; p: (n, 10) pooled.

    Returns arrays (n,): `taxon` (code), `verdict` (index of VERDICTS), `agreement` (share of the cohorts that placed
    the CpG which gave it the pool's first taxon; NaN where none or one did), `n_cohorts`, `n_placed`. The rule: a taxon
    is given (agreed) where the pooled probability is at least `probability`, and at least the share `agreement` of the
    cohorts that placed the CpG, and the share `support` of those that hold it, gave it that taxon. The pool knows ten
    taxa alone, and would give one to CpGs between two, which a cohort places now and then by chance; support keeps it
    from that. Too little agreement of several: disputed; else unclear; placed by none: unplaced. What a single cohort
    holds keeps its taxon (one cohort).
    """
    n_cohorts, placed = (taxon >= 0).sum(axis=1), (taxon >= 0) & (taxon < LEFT)
    n_placed = placed.sum(axis=1)
    best = p.argmax(axis=1).astype(np.int8)
    votes = (placed & (taxon == best[:, None])).sum(axis=1)
    share = np.divide(votes, n_placed, out=np.full(len(best), np.nan), where=n_placed > 0)
    single = n_cohorts == 1
    only = np.where(single, taxon.max(axis=1), LEFT).astype(np.int8)
    enough = share >= agreement - 1e-9
    carried = (votes > 0) & (votes >= support * n_cohorts - 1e-9)
    verdict = np.select(
        [single, n_placed == 0, (n_placed > 1) & ~enough, (p.max(axis=1) >= probability) & enough & carried],
        [VERDICTS.index(name) for name in ("one cohort", "unplaced", "disputed", "agreed")],
        VERDICTS.index("unclear"),
    ).astype(np.int8)
    given = np.where(verdict == VERDICTS.index("agreed"), best, LEFT)
    return {
        "taxon": np.where(single, only, given).astype(np.int8),
        "verdict": verdict,
        "agreement": np.where(single | (n_placed < 2), np.nan, share).astype(np.float32),
        "n_cohorts": n_cohorts.astype(np.int16),
        "n_placed": n_placed.astype(np.int16),
    }


def combine_effects(effect: np.ndarray, se: np.ndarray) -> dict[str, np.ndarray]:
    """Meta-analysis of effects (n, k) with standard errors (n, k), both NaN where a cohort has none; (n,) each.

    `meta_slope`, `meta_se`, `meta_p` with random effects (DerSimonian and Laird; p: normal), `fixed_slope`, `fixed_se`,
    `fixed_p` with fixed ones, `q_p` (that the cohorts have one effect; chi-square of Cochran's Q), `i2` (share of the
    variation that is between cohorts), `tau2` (variance between cohorts), `n_slopes` (cohorts counted). With a single
    cohort its own effect; `q_p`, `i2` and `tau2` are then NaN.
    """
    known = np.isfinite(effect) & np.isfinite(se) & (se > 0)
    k = known.sum(axis=1)
    with np.errstate(all="ignore"):
        weight = np.where(known, 1 / np.where(known, se, 1) ** 2, 0)
        y = np.where(known, effect, 0)
        total = weight.sum(axis=1)
        fixed = (weight * y).sum(axis=1) / total
        q = (weight * (y - fixed[:, None]) ** 2).sum(axis=1)
        df = k - 1.0
        tau2 = np.maximum(0, (q - df) / (total - (weight**2).sum(axis=1) / total))
        tau2 = np.where(k > 1, tau2, 0)
        random = np.where(known, 1 / (np.where(known, se, 1) ** 2 + tau2[:, None]), 0)
        mean = (random * y).sum(axis=1) / random.sum(axis=1)
        mean_se, fixed_se = np.sqrt(1 / random.sum(axis=1)), np.sqrt(1 / total)
        several = np.where(k > 1, 1.0, np.nan)
        found = {
            "meta_slope": mean,
            "meta_se": mean_se,
            "meta_p": 2 * special.ndtr(-np.abs(mean / mean_se)),
            "fixed_slope": fixed,
            "fixed_se": fixed_se,
            "fixed_p": 2 * special.ndtr(-np.abs(fixed / fixed_se)),
            "q_p": special.chdtrc(np.maximum(df, 1), q) * several,
            "i2": np.where(q > 0, np.maximum(0, (q - df) / np.where(q > 0, q, 1)), 0) * several,
            "tau2": tau2 * several,
        }
    return {name: np.where(k > 0, values, np.nan) for name, values in found.items()} | {"n_slopes": k.astype(np.int16)}


def age_effects(beside: Beside) -> dict[str, np.ndarray]:
    """`combine_effects` of the cohorts' slopes (beta per year), with standard errors slope / slope_t; {} without any.

    Ordinary least squares is too sure of a slope where the spread changes with age, and so is what comes of it.
    """
    telling = [at for at, cohort in enumerate(beside.cohorts) if cohort.statistics]
    if not telling:
        return {}
    parts = []
    for start in range(0, len(beside.cpgs), BLOCK):
        part = slice(start, start + BLOCK)
        slope, t = (
            np.stack([beside.column(at, beside.cohorts[at].statistics[name], part) for at in telling], axis=1)
            for name in ("slope", "slope_t")
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(combine_effects(slope, np.abs(slope / t)))
    return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}

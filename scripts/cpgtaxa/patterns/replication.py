"""Will another cohort of the same design give a CpG the same taxon?

What a criterion asks of is known of a CpG with an error; another cohort of as many people of the same ages measures it
anew, with an error of the same size. So the chance that its answer is the same follows from the estimate, its error and
the place of the cut: predictive distributions, normal for what has a standard error, negative binomial for counts. That
of a taxon is the product over the answers it asks for, its interval from those of the answers (square and add: Zou and
Donner 2008).

How often this comes true is measured on the cohort itself: its samples are halved, neighbours in age going to different
halves, and each half is held against the other. A logistic curve for each taxon (Platt 1999), drawn towards no change
where few CpGs have it, corrects the rest.
"""

import logging

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.special

from cpgtaxa.names import INDEX, TAXA
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.criteria import (
    BY_NAME,
    LEAST_OUTLIERS,
    MIN_SAMPLES,
    OUTLIER_PRIOR,
    RULES,
    SHARE_PRIOR,
    VALLEY_ERROR,
    Answers,
    cuts,
)

ENDS = (-1.96, 0.0, 1.96)
WANTED = np.array([[{True: 1, False: 0}.get(RULES[taxon].get(name), -1) for taxon in TAXA] for name in BY_NAME])
"""By criterion and taxon the answer asked for: 1 yes, 0 no, −1 either."""
FEWEST = {"band_share": 5, "three_bands": 4, "outliers": LEAST_OUTLIERS}
"""Samples of a band, and outliers, from which on the answer may be yes."""
SURE = 0.997
"""No chance is taken for larger before it is held against the halves."""
HALVED = 4000
"""CpGs, drawn at random, that are looked at in halves of the cohort."""
SPLITS = 3
DRAWN = 20.0
"""CpGs that a curve of no change counts for."""


def _normal(estimate, spread, error, yes_from, no_to) -> np.ndarray:
    """Chances (3, 2, k) that a new estimate with this error is a yes, and a no.

    estimate (k,): of the true value, known with the error `spread`. First axis: the true value is at the lower end of
    its 95 % interval, anywhere, at the upper end.
    """
    found = []
    for end in ENDS:
        true, sd = estimate + end * spread, np.maximum(error if end else np.hypot(error, spread), 1e-9)
        found.append([scipy.special.ndtr((true - yes_from) / sd), scipy.special.ndtr((no_to - true) / sd)])
    return np.array(found)


def _sized(size, spread, error, yes_from, no_to) -> np.ndarray:
    """As `_normal`, of the size (k,) of what may have either sign."""
    found, mirrored = (_normal(sign * size, spread, error, yes_from, no_to)[::sign] for sign in (1, -1))
    return np.stack([np.minimum(found[:, 0] + mirrored[:, 0], 1), np.maximum(found[:, 1] + mirrored[:, 1] - 1, 0)], 1)


def _counted(count, n, people, least, prior) -> np.ndarray:
    """As `_normal`, of a yes where `least` (k,) of so many people are counted, and `count` (k,) of n have been."""
    shape, rate = count + prior[0], (n + prior[1]) / people
    # The number expected has a gamma distribution, and the number counted a Poisson one around it.
    over = scipy.special.betainc(least, shape, 1 / (1 + rate))
    low, high = (scipy.special.gammainc(least, scipy.special.gammaincinv(shape, q) / rate) for q in (0.025, 0.975))
    return np.array([[yes, 1 - yes] for yes in (low, over, high)])


def chances(answers: Answers, people: int | None = None) -> dict[str, np.ndarray]:
    """By criterion the chances (3, 2, k), see `_normal`, that another cohort answers yes, and no.

    people: its size; None for as many as each CpG has values now.
    """
    zones, n = answers.zones, np.maximum(answers.n, 1)
    people = n if people is None else np.full(len(n), float(people))
    found = {}
    for name in ("trend", "spread"):
        estimate, error = (np.nan_to_num(part) for part in (answers.judged[name].estimate, answers.judged[name].error))
        anew = error * np.sqrt(n / people)
        share = cuts(BY_NAME[name], error, zones[name], answers.errors)[0]
        left, yes_from, no_to = cuts(BY_NAME[name], anew, zones[name], answers.errors)
        found[name] = _sized(share * estimate, np.sqrt(share) * error, anew, yes_from / left, no_to / left)
    of = {
        "width": (np.nan_to_num(answers.judged["width"].estimate, neginf=-20.0), answers.width_error),
        "two_bands": (answers.depth, np.minimum(np.nan_to_num(answers.depth_error), VALLEY_ERROR)),
    }
    for name, (estimate, error) in of.items():
        cut = BY_NAME[name].cut(zones[name])
        found[name] = _normal(estimate, error, error * np.sqrt(n / people), cut, cut)
    for name, few in FEWEST.items():
        one = BY_NAME[name]
        cut, share = one.cut(zones[name]), np.nan_to_num(answers.judged[name].estimate, neginf=-np.inf)
        cut, share = (np.exp(cut), np.exp(share)) if one.log else (cut, share)
        least = np.maximum(np.ceil(cut * people), few)
        found[name] = _counted(share * n, n, people, least, OUTLIER_PRIOR if name == "outliers" else SHARE_PRIOR)
    return found


def promised(answers: Answers, taxon: np.ndarray, people: int | None = None) -> pd.DataFrame:
    """How likely the tests of another cohort give each of k CpGs its taxon, before it is held against halves.

    taxon: (k,) numbers of TAXA, −1 for none. people: see `chances`. Returns same, low, high (its 95 % interval) and
    open (the chance that they leave it open, and the taxon possible); NaN where there is no taxon.
    """
    found, rows = chances(answers, people), np.arange(len(answers))
    asked = {name: wanted[taxon] for name, wanted in zip(BY_NAME, WANTED, strict=True)}
    two, share = found["two_bands"], found["band_share"]
    # Where there are no two parts now, it is not known how large the smaller one would be.
    apart = answers.judged["two_bands"].yes
    single = two[:, 1] + np.where(apart, two[1, 0] * share[:, 1], 0)
    two = np.stack([two[:, 0], np.where(asked["two_bands"] == 0, single, two[:, 1])], 1)
    found["two_bands"] = np.where(apart & (asked["two_bands"] == 0), np.sort(two, axis=0), two)
    asked["band_share"] = np.where(asked["two_bands"] == 1, 1, -1)
    log, possible, below, above = np.zeros(len(rows)), np.ones(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for name, wanted in asked.items():
        mine = np.clip(found[name][:, np.where(wanted == 1, 0, 1), rows], 1e-9, 1.0)
        contrary = found[name][1, np.where(wanted == 1, 1, 0), rows]
        mine, contrary = np.where(wanted < 0, 1.0, mine), np.where(wanted < 0, 0.0, contrary)
        logs = np.log(mine)
        log += logs[1]
        possible *= 1 - contrary
        below += np.maximum(logs[1] - logs.min(axis=0), 0) ** 2
        above += np.maximum(logs.max(axis=0) - logs[1], 0) ** 2
    same = np.exp(log)
    table = {
        "same": same,
        "low": np.exp(log - np.sqrt(below)),
        "high": np.minimum(np.exp(log + np.sqrt(above)), 1),
        "open": np.maximum(possible - same, 0),
    }
    return pd.DataFrame({name: np.where(taxon >= 0, column, np.nan) for name, column in table.items()})


def taxa_reached(answers: Answers) -> np.ndarray:
    """Number in TAXA (k,) of the taxon that the tests give; −1 for none."""
    return np.where(answers.taxa.sum(axis=1) == 1, answers.taxa.argmax(axis=1), -1)


def halves(ages: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the samples in either half: of two neighbours in age, one goes to each, as a coin has it."""
    order = rng.permutation(len(ages))
    order = order[np.argsort(ages[order], kind="stable")]
    place = np.arange(len(order))
    first = (rng.random(len(order) // 2 + 1) < 0.5)[place // 2] == (place % 2 == 0)
    return np.sort(order[first]), np.sort(order[~first])


def seen_in_halves(beta, ages, sexes, seed: int, scales: dict, *, thresholds: dict, errors: dict) -> pd.DataFrame:
    """What halves of a cohort promise of each other, and what is seen.

    beta: (k, n) float32; ages (n,) years; sexes (n,) or None, as for `statistics.compute`, which takes `scales`.
    thresholds, errors: `taxa` of the config. Returns taxon (number), same (promised), agrees (bool), for each CpG and
    half that has a taxon; nothing where halves are too small for the tests.
    """
    rng, pairs = np.random.default_rng([seed, 41]), []
    if len(ages) // 2 < MIN_SAMPLES or not len(beta):
        return pd.DataFrame({"taxon": np.empty(0, int), "same": np.empty(0), "agrees": np.empty(0, bool)})
    for _ in range(SPLITS):
        both = [
            Answers(
                compute(
                    np.ascontiguousarray(beta[:, half]),
                    ages[half],
                    None if sexes is None else sexes[half],
                    **scales,
                ),
                thresholds,
                errors,
            )
            for half in halves(ages, rng)
        ]
        taxa = [taxa_reached(one) for one in both]
        for one, other in ((0, 1), (1, 0)):
            found = promised(both[one], taxa[one])["same"]
            table = pd.DataFrame({"taxon": taxa[one], "same": found, "agrees": taxa[one] == taxa[other]})
            pairs.append(table[taxa[one] >= 0])
    return pd.concat(pairs, ignore_index=True)


def curves(pairs: pd.DataFrame) -> np.ndarray:
    """By taxon level and slope (10, 2) of the logistic curve from what is promised to what is seen.

    pairs: of `seen_in_halves`. Each is drawn towards that of all taxa, and this towards no change, (0, 1).
    """
    weight = 1 / (2 * SPLITS)  # a CpG is there so often, and its pairs are alike
    common = _curve(pairs, np.array([0.0, 1.0]), weight)
    return np.array([_curve(pairs[pairs["taxon"] == number], common, weight) for number in range(len(TAXA))])


def _curve(pairs, start, weight) -> np.ndarray:
    if pairs.empty:
        return start
    x, agrees = _logit(pairs["same"].to_numpy()), pairs["agrees"].to_numpy()
    # What no change predicts for so many CpGs, spread over all chances, is added to what is seen.
    grid = _logit(np.linspace(0.025, 0.975, 20))

    def loss(curve):
        seen, drawn = curve[0] + curve[1] * x, curve[0] + curve[1] * grid
        prior = scipy.special.expit(start[0] + start[1] * grid)
        own = np.logaddexp(0, np.where(agrees, -seen, seen)).sum() * weight
        return own + DRAWN / len(grid) * (np.logaddexp(0, drawn) - prior * drawn).sum()

    return scipy.optimize.minimize(loss, start, method="L-BFGS-B", bounds=[(-4, 4), (0.1, 4)]).x


def _logit(p) -> np.ndarray:
    return scipy.special.logit(np.clip(p, 1 - SURE, SURE))


def corrected(p, taxon, curve) -> np.ndarray:
    """Chances (k,) by the curves (10, 2) of `curves`; taxon: (k,) numbers of TAXA, −1 for none."""
    level, slope = curve[np.maximum(taxon, 0)].T
    return scipy.special.expit(level + slope * _logit(p))

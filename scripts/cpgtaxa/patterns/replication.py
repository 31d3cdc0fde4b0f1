"""Will another cohort of the same design give a CpG the same taxon?

What a criterion asks of is known of a CpG with an error; another cohort of as many people of the same ages measures it
anew, with an error of the same size. So the chance that its answer is the same follows from the estimate, its error and
the place of the cut. Trends and changes of spread are drawn towards those of the cohort's other CpGs (empirical Bayes:
the distribution of the true values is estimated on a grid by EM, Efron 2016), widths and depths of valleys are normal,
counts negative binomial. The chance of a taxon is the product over the answers it asks for, its interval from those of
the answers (square and add: Zou and Donner 2008).

How often this comes true is measured on the cohort itself: its samples are halved, neighbours in age going to different
halves, and each half is held against the other. Logistic curves (Platt 1999) correct the rest.
"""

import dataclasses

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.special
import scipy.stats

from cpgtaxa.names import INDEX, TAXA
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa import criteria

WITH_ERROR = ("trend", "spread")
NORMAL = ("width", "two_bands")
FEWEST = {"band_share": 5, "three_bands": 4, "outliers": criteria.LEAST_OUTLIERS}
"""Samples of a band, and outliers, from which on the answer may be yes."""
WANTED = np.array(
    [[{True: 1, False: 0}.get(criteria.RULES[taxon].get(name), -1) for taxon in TAXA] for name in criteria.BY_NAME]
)
"""By criterion and taxon the answer asked for: 1 yes, 0 no, −1 either."""
ENDS = (0.025, 0.5, 0.975)
GRIDS = {"trend": np.append(np.arange(0, 2, 0.05), np.geomspace(2, 12, 15)), "spread": np.arange(0, 1.62, 0.03)}
"""True values that are looked at, on the criterion's scale."""
STEPS = 40
"""Steps of the EM: it is stopped while the distribution is smooth."""
FLAT = 0.3
"""CpGs with true values anywhere on the grid, as a share of the cohort's, that are added to these."""
SMALL = 4
"""Errors of n samples are larger than stated by this over n: they are estimates too."""
BLOCK = 20_000
SURE = 0.997
"""No chance is taken for larger before it is held against the halves."""
HALVED = 2000
"""CpGs, drawn at random, that are looked at in halves of the cohort."""
SPLITS = 3
LESS = np.sqrt(0.5)
"""What the whole cohort needs of the correction that its halves need."""
DRAWN = 10.0
"""CpGs that a curve of no change counts for."""
COLUMNS = ("replication", "replication_low", "replication_high")
GROUPS = np.array([("Bi" in taxon or "Tri" in taxon) * 9 or index for index, taxon in enumerate(TAXA)])
"""Taxa that share a curve: all of more than one band."""


KNOWN = ("taxon", "n", "apart", *criteria.BY_NAME, *(f"{name}_error" for name in (*WITH_ERROR, *NORMAL)))
"""Columns of `known`."""


def known(answers: criteria.Answers) -> pd.DataFrame:
    """What the tests know of k CpGs: taxon (its number in TAXA, −1 for none), n, apart, and by criterion its estimate.

    on the criterion's scale, with <name>_error where there is one; shares as they are. apart: there are two parts. The
    columns are KNOWN.
    """
    taxon = np.where(answers.taxa.sum(axis=1) == 1, answers.taxa.argmax(axis=1), -1)
    found = {"taxon": taxon, "n": answers.n, "apart": answers.by_criterion["two_bands"].yes}
    for name in WITH_ERROR:
        found[name] = np.abs(np.nan_to_num(answers.by_criterion[name].estimate))
        error = np.minimum(np.nan_to_num(answers.by_criterion[name].error), 1e3)
        found[f"{name}_error"] = error * (1 + SMALL / np.maximum(answers.n, 1))
    found["width"] = np.nan_to_num(answers.by_criterion["width"].estimate, neginf=-20.0)
    found |= {"width_error": answers.width_error, "two_bands": answers.depth}
    found["two_bands_error"] = np.minimum(np.nan_to_num(answers.depth_error), criteria.VALLEY_ERROR)
    for name in FEWEST:
        share = np.nan_to_num(answers.by_criterion[name].estimate, neginf=-np.inf)
        found[name] = np.exp(share) if criteria.BY_NAME[name].log else share
    table = pd.DataFrame(found)[list(KNOWN)]
    return table.astype({name: np.int8 if name == "taxon" else np.float32 for name in KNOWN})


def _likelihood(grid, size, error) -> np.ndarray:
    """Of sizes (k,) with their errors, at true sizes (g,): (k, g), up to a factor for each CpG."""
    error = np.maximum(error, 1e-3)[:, None]
    near, far = (size[:, None] - grid) / error, (size[:, None] + grid) / error
    least = (near**2).min(axis=1, keepdims=True)
    return np.exp((least - near**2) / 2) + np.exp((least - far**2) / 2)


@dataclasses.dataclass
class Model:
    """What turns `known` into chances: the zones and errors of the tests, and by criterion the weights of its grid."""

    thresholds: dict
    errors: dict
    weights: dict

    @classmethod
    def of(cls, table: pd.DataFrame, thresholds: dict, errors: dict) -> "Model":
        """Estimate how true values are distributed in a cohort. table: of `known`; some thousand CpGs suffice."""
        weights = {}
        for name, grid in GRIDS.items():
            mass = np.full(len(grid), 1 / len(grid))
            likelihood = _likelihood(grid, *(table[key].to_numpy(float) for key in (name, f"{name}_error")))
            for _ in range(STEPS if len(table) else 0):
                share = likelihood * mass
                mass = (share / share.sum(axis=1, keepdims=True)).sum(axis=0) + FLAT * len(table) / len(grid)
                mass /= mass.sum()
            weights[name] = mass
        return cls(thresholds, errors, weights)

    def chances(self, table: pd.DataFrame, people: float | None = None) -> dict[str, np.ndarray]:
        """By criterion the chances (3, 2, k) that another cohort answers yes, and no.

        First axis: where the true value is at the lower end of its 95 % interval, over all of it, at the upper end.
        people: the cohort's size; None for as many as each CpG has values now.
        """
        n = np.maximum(table["n"].to_numpy(float), 1)
        people = n if people is None else np.full(len(n), float(people))
        grow, found = np.sqrt(n / people), {}
        for name in criteria.BY_NAME:
            estimate = table[name].to_numpy(float)
            if name in WITH_ERROR:
                found[name] = self._drawn(name, estimate, table[f"{name}_error"].to_numpy(float), grow)
            elif name in NORMAL:
                cut, error = criteria.BY_NAME[name].cut(self.thresholds[name]), table[f"{name}_error"].to_numpy(float)
                found[name] = _normal(estimate, error, error * grow, cut)
            else:
                cut = criteria.BY_NAME[name].cut(self.thresholds[name])
                least = np.ceil((np.exp(cut) if criteria.BY_NAME[name].log else cut) * people - 1e-6)
                prior = criteria.OUTLIER_PRIOR if name == "outliers" else criteria.SHARE_PRIOR
                found[name] = _counted(estimate * n, n, people, np.maximum(least, FEWEST[name]), prior)
        return found

    def _drawn(self, name, size, error, grow) -> np.ndarray:
        """The chances of a criterion with errors, by the posterior on its grid."""
        grid, found = GRIDS[name].astype(np.float32), np.empty((3, 2, len(size)))
        size, error, weights = (x.astype(np.float32) for x in (size, error, self.weights[name]))
        for start in range(0, len(size), BLOCK):
            rows = slice(start, start + BLOCK)
            mass = _likelihood(grid, size[rows], error[rows]) * weights
            mass /= mass.sum(axis=1, keepdims=True)
            anew = np.maximum(error[rows] * grow[rows].astype(np.float32), np.float32(1e-3))
            left, yes_from, no_to = criteria.cuts(criteria.BY_NAME[name], anew, self.thresholds[name], self.errors)
            yes_from, no_to = (np.asarray(bound / left, np.float32)[:, None] for bound in (yes_from, no_to))
            above, below = (
                scipy.special.ndtr((grid - bound) / anew[:, None]) + scipy.special.ndtr((-grid - bound) / anew[:, None])
                for bound in (yes_from, no_to)
            )
            place = mass.cumsum(axis=1)
            for end, q in enumerate(ENDS):
                at = np.minimum((place < q).sum(axis=1), len(grid) - 1), np.arange(len(place))
                for answer, chance in enumerate((above, 1 - below)):
                    mean = (mass * chance).sum(axis=1)
                    found[end, answer, rows] = mean if q == 0.5 else chance[at[1], at[0]]
        return np.clip(found, 0, 1)


def _normal(estimate, error, anew, cut) -> np.ndarray:
    """Chances (3, 2, k) of estimates (k,) known with an error, which another cohort has `anew`."""
    found = []
    for q in ENDS:
        end = scipy.stats.norm.ppf(q)
        sd = np.maximum(anew if end else np.hypot(error, anew), 1e-9)
        yes = scipy.special.ndtr((estimate + end * error - cut) / sd)
        found.append([yes, 1 - yes])
    return np.array(found)


def _counted(count, n, people, least, prior) -> np.ndarray:
    """Chances (3, 2, k) that `least` of so many people are counted, where `count` of n have been."""
    shape, rate = count + prior[0], (n + prior[1]) / people
    # The number expected has a gamma distribution, and the number counted a Poisson one around it.
    over = scipy.special.betainc(least, shape, 1 / (1 + rate))
    low, high = (scipy.special.gammainc(least, scipy.special.gammaincinv(shape, q) / rate) for q in ENDS[::2])
    return np.array([[yes, 1 - yes] for yes in (low, over, high)])


def promised(table: pd.DataFrame, taxon: np.ndarray, model: Model, people: float | None = None) -> pd.DataFrame:
    """How likely the tests of another cohort give each of k CpGs its taxon, before it is held against halves.

    table: of `known`. taxon: (k,) numbers in TAXA, −1 for none. people: see `Model.chances`. Returns same, low, high
    (its 95 % interval) and open (the chance that they leave it open, with the taxon possible); NaN without a taxon.
    """
    found, rows = model.chances(table, people), np.arange(len(table))
    asked = {name: wanted[taxon] for name, wanted in zip(criteria.BY_NAME, WANTED, strict=True)}
    two, share, apart = found["two_bands"], found["band_share"], table["apart"].to_numpy() > 0
    # One band is also what two parts are of which the smaller is none. How large it would be is known only where it is.
    single = two[:, 1] + np.where(apart, two[1, 0] * share[:, 1], 0)
    found["two_bands"] = np.stack([two[:, 0], np.where(asked["two_bands"] == 0, single, two[:, 1])], 1)
    asked["band_share"] = np.where(asked["two_bands"] == 1, 1, -1)
    log, possible, below, above = np.zeros(len(rows)), np.ones(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for name, wanted in asked.items():
        matters = wanted >= 0
        mine = np.where(matters, np.clip(found[name][:, np.where(wanted == 1, 0, 1), rows], 1e-9, 1.0), 1.0)
        logs = np.log(mine)
        log += logs[1]
        possible *= np.where(matters, 1 - found[name][1, np.where(wanted == 1, 1, 0), rows], 1)
        below += np.maximum(logs[1] - logs.min(axis=0), 0) ** 2
        above += np.maximum(logs.max(axis=0) - logs[1], 0) ** 2
    same = np.exp(log)
    ends = np.exp(log - np.sqrt(below)), np.minimum(np.exp(log + np.sqrt(above)), 1)
    columns = {"same": same, "low": ends[0], "high": ends[1], "open": np.maximum(possible - same, 0)}
    return pd.DataFrame({name: np.where(taxon >= 0, column, np.nan) for name, column in columns.items()})


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
    if len(ages) // 2 < criteria.MIN_SAMPLES or not len(beta):
        return pd.DataFrame({"taxon": np.empty(0, int), "same": np.empty(0), "agrees": np.empty(0, bool)})
    for _ in range(SPLITS):
        both = []
        for half in halves(ages, rng):
            values = np.ascontiguousarray(beta[:, half])
            statistics = compute(values, ages[half], None if sexes is None else sexes[half], **scales)
            both.append(known(criteria.Answers(statistics, thresholds, errors)))
        for one, other in (both, both[::-1]):
            taxon = one["taxon"].to_numpy()
            same = promised(one, taxon, Model.of(one, thresholds, errors))["same"]
            table = pd.DataFrame({"taxon": taxon, "same": same, "agrees": taxon == other["taxon"].to_numpy()})
            pairs.append(table[taxon >= 0])
    return pd.concat(pairs, ignore_index=True)


def curves(pairs: pd.DataFrame) -> np.ndarray:
    """By taxon level and slope (10, 2) of the logistic curve from what is promised to what the whole cohort sees.

    pairs: of `seen_in_halves`. Each is drawn towards that of all taxa, and this towards no change, (0, 1). Of what
    halves need, the whole cohort needs LESS.
    """
    unchanged = np.array([0.0, 1.0])
    common = _curve(pairs, unchanged)
    group = GROUPS[pairs["taxon"].to_numpy(int)]
    found = {number: _curve(pairs[group == number], common) for number in set(GROUPS.tolist())}
    return unchanged + LESS * (np.array([found[number] for number in GROUPS]) - unchanged)


def _curve(pairs: pd.DataFrame, start: np.ndarray) -> np.ndarray:
    if pairs.empty:
        return start
    x, agrees = _logit(pairs["same"].to_numpy()), pairs["agrees"].to_numpy()
    # What the curve `start` predicts of some CpGs, spread over all chances, is added to what is seen.
    grid = _logit(np.linspace(0.025, 0.975, 20))
    prior = scipy.special.expit(start[0] + start[1] * grid)

    def loss(curve):
        seen, drawn = curve[0] + curve[1] * x, curve[0] + curve[1] * grid
        own = np.logaddexp(0, np.where(agrees, -seen, seen)).sum() / (2 * SPLITS)  # a CpG is there so often
        return own + DRAWN / len(grid) * (np.logaddexp(0, drawn) - prior * drawn).sum()

    return scipy.optimize.minimize(loss, start, method="L-BFGS-B", bounds=[(-4, 4), (0.1, 4)]).x


def _logit(p) -> np.ndarray:
    return scipy.special.logit(np.clip(p, 1 - SURE, SURE))


def corrected(p, taxon, curve) -> np.ndarray:
    """Chances (k,) by the curves (10, 2) of `curves`; taxon: (k,) numbers of TAXA, −1 for none."""
    level, slope = curve[np.maximum(taxon, 0)].T
    return scipy.special.expit(level + slope * _logit(p))


def replication(
    table, taxa, take, ages, sexes, *, seed: int, scales: dict, people: float | None = None, **rules
) -> pd.DataFrame:
    """The chance that another cohort of the same ages and size gives each of k CpGs its taxon, with a 95 % interval.

    table: of `known`. taxa: taxon, source and network_p of the taxonomy, in the same order. take: gives the values
    (m, n) float32 of CpGs at some rows. ages: (n,) years. sexes, scales: for `statistics.compute`. people: the other
    cohort's size, if it is another. rules: thresholds and errors, `taxa` of the config. Returns the columns COLUMNS,
    NaN where there is no taxon. What the tests leave
    open counts as given the same taxon as often as the network places what is open here.
    """
    drawn = np.sort(np.random.default_rng([seed, 43]).permutation(len(table))[:HALVED])
    curve = curves(seen_in_halves(take(drawn), ages, sexes, seed, scales, **rules))
    taxon = taxa["taxon"].map(INDEX).fillna(-1).to_numpy(int)
    found = promised(table, taxon, Model.of(table.iloc[drawn], **rules), people)
    by_network = taxa["source"].str.startswith("round_").to_numpy()
    left = by_network | (taxon < 0)
    placed = by_network.sum() / max(left.sum(), 1)
    sure = taxa["network_p"].to_numpy(float)
    sure = np.where(by_network, sure, sure[by_network].mean() if by_network.any() else 0.0)
    columns = {}
    for name, column in zip(COLUMNS, ("same", "low", "high"), strict=True):
        again = corrected(found[column].to_numpy(), taxon, curve)
        again = again + np.minimum(found["open"].to_numpy(), 1 - again) * placed * sure
        columns[name] = np.where(taxon >= 0, again, np.nan)
    return pd.DataFrame(columns)

"""Which of a network's calls may stand: a judge, a promised error rate, and what is said of the CpGs left over.

A network is always ready with an answer; what is asked here is whether the answer is right. A judge learns that from
simulated CpGs of this cohort's ages and sample size that the statistical rules could not place either, whose truth is
known, half-way sites among them. Those CpGs then tell how many wrong calls come through at each height of the bar, and
the lowest bar that keeps the promise is taken (conformal selection: Jin and Candès 2023; risk control by a bound on
held-out errors: Angelopoulos et al. 2021). They are weighted first, so as to be made up like the CpGs to be placed.
"""

import dataclasses
import logging

import numpy as np
import pandas as pd
import scipy.stats
from sklearn.ensemble import HistGradientBoostingClassifier

from cpgtaxa.files import parquet_blocks, read_parquet, write_json, write_parquet
from cpgtaxa.likeness import Strangeness
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.progress import Progress
from cpgtaxa.taxa import ruled_out

NEAR = 0.05
"""Near the bar that calls must clear: within this much probability."""
REASONS = ("ambiguous", "contradicted", "unlike")
"""Why a CpG stays without a taxon."""

FOLDS = 5
SETTINGS = {"max_iter": 200, "learning_rate": 0.06, "max_leaf_nodes": 12, "max_bins": 64, "early_stopping": False}
LIKELY = (0.5, 0.6, 0.7, 0.8, 0.87, 0.92, 0.95, 0.97, 0.99)
"""Edges of the bins of the first probability by which calibration CpGs and candidates are compared."""
PRIOR = 10
"""CpGs that the composition of the calibration CpGs counts for where that of the candidates is estimated."""
DOUBTFUL = 0.9
"""Agreement of network and labels below which the promised error rate is called into doubt."""
LEAST = 20
"""Calibration CpGs above the bar below which nothing can be promised."""


def evidence(predictions, statistics) -> np.ndarray:
    """What the judge looks at, (n, d) float32, NaN where not defined.

    predictions: frame with p_<taxon> and `distance`. statistics: frame of `statistics.compute`, the same CpGs in the
    same order. The network's probabilities (log, by taxon and by rank), the distance to what it was trained on, and
    the statistics.
    """
    p = np.log(np.clip(predictions[list(PROBABILITY_COLUMNS)].to_numpy(dtype=float), 1e-6, 1))
    ranked = -np.sort(-p, axis=1)[:, :4]
    numbers = statistics.drop(columns=["cpg"], errors="ignore").to_numpy(dtype=float)
    found = np.column_stack([p, ranked, predictions["distance"], numbers])
    return np.where(np.abs(found) < 1e30, found, np.nan).astype(np.float32)


class Judge:
    """Says how likely a network's call is right: gradient-boosted trees (scikit-learn), one model a fold.

    `held_out` has the probabilities for the CpGs it learnt from, each by the models of folds without it.
    """

    def __init__(self, x: np.ndarray, right: np.ndarray, weights: np.ndarray, seed: int):
        """x: (n, d) evidence. right: (n,) bool, whether the call is the true taxon. weights: (n,)."""
        fold = np.random.default_rng([seed, 23]).permutation(len(x)) % FOLDS
        self.models, self.held_out = [], np.full(len(x), float(np.average(right, weights=weights)) if len(x) else 0.0)
        for number in Progress(FOLDS, "folds of the judge").over(range(FOLDS)):
            mine = fold != number
            if len(np.unique(right[mine])) < 2:
                continue
            model = HistGradientBoostingClassifier(**SETTINGS, random_state=seed)
            self.models.append(model.fit(x[mine], right[mine], sample_weight=weights[mine]))
            self.held_out[~mine] = model.predict_proba(x[~mine])[:, 1]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Probability (n,) that each call is right: the mean of the folds' models."""
        if not self.models or not len(x):
            return np.zeros(len(x))
        return np.mean([model.predict_proba(x)[:, 1] for model in self.models], axis=0)


def _histogram(p: np.ndarray) -> np.ndarray:
    """Counts of CpGs by first taxon and bin of its probability, flat."""
    table = np.zeros((len(TAXA), len(LIKELY) + 1))
    np.add.at(table, (p.argmax(axis=1), np.digitize(p.max(axis=1), LIKELY)), 1)
    return table.ravel()


def composition_weights(p: np.ndarray, groups: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Weights (n,), mean 1, with which the calibration CpGs are made up like the candidates.

    p: (n, 10) probabilities of the calibration CpGs. groups: (n,) what each truly is.
    candidates: (m, 10). The shares of the groups among the candidates are estimated by maximum likelihood (EM) from
    how first taxa and their probabilities are distributed (quantification by mixture: Saerens et al. 2002, González-
    Castro et al. 2013).
    """
    names, group = np.unique(groups, return_inverse=True)
    counts = np.bincount(group)
    if not len(candidates):
        return np.ones(len(p))
    patterns = np.stack([_histogram(p[group == number]) for number in range(len(names))], axis=1) + 1e-3
    patterns /= patterns.sum(axis=0)
    seen = _histogram(candidates)
    first = shares = counts / counts.sum()
    for _ in range(300):
        found = shares * (patterns.T @ (seen / (patterns @ shares)))
        shares = (found + PRIOR * first) / (seen.sum() + PRIOR)
    weights = (shares / counts)[group]
    return weights / weights.mean()


@dataclasses.dataclass(frozen=True)
class Bar:
    """The lowest bar that keeps a promise: judge's probability, share of wrong calls expected above it, and its bound.

    Infinite where no bar keeps it. `effective` is the number of calibration CpGs above it that the estimate is worth.
    """

    height: float
    expected: float
    bound: float
    effective: float


NO_BAR = Bar(np.inf, 0.0, 0.0, 0.0)


def lowest_bar(score, right, weights, candidates, error_rate: float, certainty: float = 0.95) -> Bar:
    """The lowest bar above which, with `certainty`, at most `error_rate` of the candidates' calls are wrong.

    score: (n,) of the calibration CpGs, held out. right, weights: (n,). candidates: (m,) scores of the CpGs to place.
    The bound is the quantile of the number of wrong calls among as many CpGs as would be placed, given the weighted
    errors seen (beta-binomial with Jeffreys' prior, on the effective number of CpGs): it covers both what is not known
    of the error rate and the luck of this cohort.
    """
    if not len(candidates):
        return NO_BAR
    ranks = np.unique(np.geomspace(1, len(candidates), 200).astype(int)) - 1
    for height in np.unique(-np.sort(-candidates)[ranks]):  # from the lowest up
        above = score >= height
        total, squares = weights[above].sum(), np.sum(weights[above] ** 2)
        if not total or (effective := total**2 / squares) < LEAST:
            continue
        expected = float(np.sum(weights[above] * ~right[above]) / total)
        placed = int(np.sum(candidates >= height))
        wrong = scipy.stats.betabinom(placed, effective * expected + 0.5, effective * (1 - expected) + 0.5)
        if wrong.cdf(np.floor(error_rate * placed)) >= certainty:
            bound = float(wrong.ppf(certainty) / placed)
            return Bar(float(height), expected, bound, float(effective))
    return NO_BAR


def unlikeness(distances: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Conformal p-value (m,) of each distance: the share of calibration CpGs at least as far from what was learnt.

    NaN where there is no distance or nothing to compare with.
    """
    known = np.sort(calibration[np.isfinite(calibration)])
    if not len(known):
        return np.full(len(distances), np.nan)
    farther = len(known) - np.searchsorted(known, distances, side="left")
    return np.where(np.isfinite(distances), (farther + 1) / (len(known) + 1), np.nan)


def likely_taxa(p: np.ndarray, share: float) -> list[str]:
    """For each row of (n, 10) probabilities the likeliest taxa that together hold `share`, at least two, as "A|B"."""
    order = np.argsort(-p, axis=1, kind="stable")
    held = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1)
    wanted = np.clip((held < share).sum(axis=1) + 1, 2, len(TAXA))
    return ["|".join(TAXA[index] for index in row[:number]) for row, number in zip(order, wanted, strict=True)]


@dataclasses.dataclass
class Calls:
    """What a network says of k CpGs, and what else speaks for or against it.

    predictions: cpg, p_<taxon>, distance. statistics: the same CpGs in the same order. ruled_out: (k, 10) bool.
    """

    predictions: pd.DataFrame
    statistics: pd.DataFrame
    ruled_out: np.ndarray

    def __post_init__(self):
        self.p = self.predictions[list(PROBABILITY_COLUMNS)].to_numpy(dtype=float)
        order = np.argsort(-self.p, axis=1, kind="stable")
        self.first, self.second = order[:, 0], order[:, 1]
        rows = np.arange(len(self.p))
        self.top = self.p[rows, self.first]
        self.contradicted = self.ruled_out[rows, self.first]

    def __len__(self):
        return len(self.p)


def unlike_anything(calls: Calls, calibration: Calls, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """p-values (k,) and (n,) that CpGs of the calls, and of the calibration, are like the simulated ones.

    The smaller one of image and statistics, doubled (Bonferroni).
    """
    if not len(calibration):
        return np.full(len(calls), np.nan), np.empty(0)
    strange = Strangeness(calibration.statistics, seed)
    images = [some.predictions["distance"].to_numpy(dtype=float) for some in (calls, calibration)]
    numbers = [strange(calls.statistics), strange.known]
    found = [
        np.fmin(unlikeness(image, images[1]), unlikeness(number, numbers[1]))
        for image, number in zip(images, numbers, strict=True)
    ]
    return np.minimum(2 * found[0], 1), np.minimum(2 * found[1], 1)


def near(score: np.ndarray, bar: float) -> dict | None:
    """How many scores (probabilities) are within NEAR of a bar, on it or above, and below; None without a bar."""
    if not np.isfinite(bar):
        return None
    close = np.abs(score - bar) <= NEAR
    numbers = {"above": int((close & (score >= bar)).sum()), "below": int((close & (score < bar)).sum())}
    return {"within": NEAR} | numbers


def promised(calls: Calls, calibration: Calls, truth: np.ndarray, *, error_rate, seed) -> tuple:
    """Which calls may stand so that at most `error_rate` of them are wrong, with a certainty of 95 %.

    calibration: simulated CpGs that nothing placed so far either. truth: their taxa, in the same order.
    A call on a half-way site is wrong, whatever it is. Returns (k,) bool, the same for the calibration CpGs, and a
    dictionary of what the promise rests on.
    """
    right = np.array(TAXA, dtype=object)[calibration.first] == truth
    # Half-way sites are one group: shares of every kind of them would be guesses, and their weights scatter.
    weights = composition_weights(calibration.p, truth.astype(str), calls.p)
    known = evidence(calibration.predictions, calibration.statistics)
    judge = Judge(known, right, weights, seed)
    held_out = np.where(calibration.contradicted, -1.0, judge.held_out)
    score = judge(evidence(calls.predictions, calls.statistics))
    bar = lowest_bar(held_out, right, weights, np.where(calls.contradicted, -1.0, score), error_rate)
    half_way = truth == UNCLASSIFIED
    found = {
        "promised_error_rate": error_rate,
        "judge_at_least": bar.height if np.isfinite(bar.height) else None,
        "expected_error_rate": bar.expected,
        "error_rate_at_most": bar.bound,
        "calibration_cpgs": len(calibration),
        "calibration_cpgs_above": bar.effective,
        "half_way_share": float(weights[half_way].sum() / weights.sum()) if len(weights) else None,
        "near_bar": near(score[~calls.contradicted], bar.height),
    }
    return score >= bar.height, held_out >= bar.height, found


def reassign(
    calls: Calls,
    calibration: Calls | None = None,
    truth: np.ndarray | None = None,
    *,
    settings: dict,
    round_number: int,
    seed: int,
    out: dict,
    beside: dict | None = None,
) -> None:
    """Place the CpGs whose call may stand, and say why the others stay.

    settings: `error_rate` and, with calibration CpGs, `unlike`; or `confidence`, a plain threshold on the network's
    probability in place of the promise. Calls that the tests contradict never stand.

    Writes reassigned (cpg, taxon, confidence, second_taxon, round), left (cpg, reason: `unlike` anything seen,
    `contradicted` by the tests, or `ambiguous`; taxa that hold 1 - error_rate of the probability, "A|B"; unlike_p),
    calibration (cpg of the calibration CpGs placed by the same rule) and counts (JSON, with what is given `beside`).
    """
    found = {}
    unlike_p = np.full(len(calls), np.nan)
    if settings["confidence"] is None:
        certain, known, found = promised(calls, calibration, truth, error_rate=settings["error_rate"], seed=seed)
        unlike_p, known_p = unlike_anything(calls, calibration, seed)
        known &= ~(known_p <= settings["unlike"])
    else:
        certain = calls.top >= settings["confidence"]
        found = {"near_bar": near(calls.top[~calls.contradicted], settings["confidence"])}
    unlike = unlike_p <= settings["unlike"]
    placed = certain & ~calls.contradicted & ~unlike
    names = np.array(TAXA, dtype=object)
    frame = pd.DataFrame(
        {
            "cpg": calls.predictions["cpg"].to_numpy()[placed],
            "taxon": names[calls.first[placed]],
            "confidence": calls.top[placed],
            "second_taxon": names[calls.second[placed]],
            "round": np.full(placed.sum(), round_number, dtype=np.int32),
        }
    )
    reason = np.where(unlike, "unlike", np.where(calls.contradicted & (calls.top >= 0.5), "contradicted", "ambiguous"))
    left = pd.DataFrame(
        {
            "cpg": calls.predictions["cpg"].to_numpy()[~placed],
            "reason": reason[~placed].astype(object),
            "taxa": np.array(likely_taxa(calls.p[~placed], 1 - settings["error_rate"]), dtype=object),
            "unlike_p": unlike_p[~placed],
        }
    )
    again = pd.DataFrame({"cpg": np.empty(0, dtype=object)})
    if calibration is not None:
        again = calibration.predictions[["cpg"]][known]
    write_parquet(out["reassigned"], frame)
    write_parquet(out["left"], left)
    write_parquet(out["calibration"], again)
    counts = {
        "round": round_number,
        "candidates": len(calls),
        "placed": int(placed.sum()),
        "placed_per_taxon": {taxon: int((frame["taxon"] == taxon).sum()) for taxon in TAXA},
        "left": left["reason"].value_counts().reindex(REASONS, fill_value=0).to_dict(),
    }
    write_json(out["counts"], counts | found | (beside or {}))
    logging.info(
        f"round {round_number}: {counts['placed']:,} of {len(calls):,} CpGs placed; left: "
        + ", ".join(f"{reason} {n:,}" for reason, n in counts["left"].items())
    )
    if settings["confidence"] is None and found["judge_at_least"] is None:
        if round_number > 0:
            logging.info("round %d: no more CpGs can be placed within the promise", round_number)
        else:
            logging.warning(
                "round 0: no bar keeps the promise of at most %.3g wrong calls: nothing is placed. Too few candidates "
                "or calibration CpGs, or a network that learnt too little; raise rounds.calibration or error_rate",
                settings["error_rate"],
            )


def _calls(predictions: pd.DataFrame, blocks, settings: dict, n_cpgs: int) -> Calls:
    """Join predictions with the statistics, given a block at a time: the whole array's are half a gigabyte."""
    place_of = pd.Series(np.arange(len(predictions)), index=predictions["cpg"])
    out_of_bounds = np.zeros((len(predictions), len(TAXA)), dtype=bool)
    tables, rows = [], []
    for block in blocks:
        block = block[block["cpg"].isin(place_of.index)]
        where = place_of.loc[block["cpg"]].to_numpy()
        if settings["veto"] and len(block):
            out_of_bounds[where] = ruled_out(block, settings["thresholds"], n_cpgs)
        numbers = block.drop(columns=["cpg", "taxon"], errors="ignore")
        tables.append(numbers.astype(dict.fromkeys(numbers, "float32")))
        rows.append(where)
    statistics = pd.concat(tables, ignore_index=True)
    order = np.argsort(np.concatenate(rows), kind="stable")
    return Calls(predictions, statistics.iloc[order].reset_index(drop=True), out_of_bounds)


def agreement_with_labels(predictions: pd.DataFrame, labels: pd.DataFrame) -> dict:
    """How often the network's first taxon is the label, over the labelled CpGs that it was asked about.

    predictions: cpg, p_<taxon>. labels: cpg, taxon. Returns labelled_cpgs, network_as_labels (a share, or None) and
    doubtful: the promise rests on simulated CpGs; where network and labels part, the cohort is not like these.
    """
    labelled = labels[labels["taxon"] != UNCLASSIFIED].merge(predictions, on="cpg")
    if labelled.empty:
        return {"labelled_cpgs": 0, "network_as_labels": None, "doubtful": False}
    first = np.array(TAXA, dtype=object)[labelled[list(PROBABILITY_COLUMNS)].to_numpy().argmax(axis=1)]
    share = float(np.mean(first == labelled["taxon"].to_numpy()))
    doubtful = len(labelled) >= LEAST and share < DOUBTFUL
    if doubtful:
        logging.warning(
            "the network's first taxon is the label on only %.0f %% of the %d labelled CpGs: the cohort is unlike the "
            "simulated ones that the promised error rate rests on; let the network learn from this cohort's labels "
            "(training.weights: null, training.source: both), and look at CpGs that have been placed",
            *(100 * share, len(labelled)),
        )
    return {"labelled_cpgs": len(labelled), "network_as_labels": share, "doubtful": doubtful}


def place(
    predictions, labels, placed, statistics, calibration, settings: dict, round_number: int, seed: int, out: dict
) -> None:
    """Run `reassign` on a round's files, over the CpGs that neither the rules nor earlier rounds placed.

    calibration: None (with a plain threshold), or files `predictions` of the calibration CpGs left and their `truth`
    with statistics. settings: error_rate, confidence, unlike, veto, and the rules' thresholds.
    """
    taxa = read_parquet(labels, columns=["cpg", "taxon"])
    done = set(taxa.loc[taxa["taxon"] != UNCLASSIFIED, "cpg"])
    for path in placed:
        done |= set(read_parquet(path, columns=["cpg"])["cpg"])
    found = pd.concat([read_parquet(path) for path in predictions], ignore_index=True)
    agreement = agreement_with_labels(found, taxa)
    found = found[~found["cpg"].isin(done)].reset_index(drop=True)
    calls = _calls(found, parquet_blocks(statistics), settings, len(taxa))
    known = truth = None
    if calibration is not None:
        found = read_parquet(calibration["predictions"])
        table = read_parquet(calibration["truth"]).set_index("cpg").loc[found["cpg"]].reset_index()
        truth = table["taxon"].to_numpy(dtype=object)
        known = _calls(found, [table], settings, len(taxa))
    reassign(calls, known, truth, settings=settings, round_number=round_number, seed=seed, out=out, beside=agreement)

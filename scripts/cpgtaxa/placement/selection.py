"""Which of a network's calls may stand: a selection model, a controlled error rate, and what is said of the CpGs left.

The candidates are CpGs to which the tests leave several taxa. The network chooses among these. A selection model learns
from simulated CpGs of this cohort's ages and sample size that the tests cannot decide either when that choice is right,
that is, one of the taxa admissible for the CpG's true parameters (`criteria.admissible`). Those CpGs then show how many
wrong calls come through at each threshold, and the lowest threshold that keeps the error rate is taken (conformal
selection: Jin and Candès 2023; risk control by a bound on held-out errors: Angelopoulos et al. 2021). They are weighted
first, so as to be made up like the CpGs to be placed.
"""

import dataclasses
import logging

import numpy as np
import pandas as pd
import scipy.stats

from cpgtaxa.files import parquet_blocks, read_parquet, write_json, write_parquet
from cpgtaxa.names import CHECK_COLUMNS, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.placement.novelty import Strangeness
from cpgtaxa.progress import Progress
from cpgtaxa.taxa.labels import ruled_out

NEAR = 0.05
"""Near the threshold of the calls: within this much probability."""
REASONS = ("ambiguous", "contradicted", "unlike")
"""Why a CpG stays without a taxon."""

FOLDS = 5
SETTINGS = {"max_iter": 200, "learning_rate": 0.06, "max_leaf_nodes": 12, "max_bins": 64, "early_stopping": False}
LIKELY = (0.5, 0.6, 0.7, 0.8, 0.87, 0.92, 0.95, 0.97, 0.99)
"""Edges of the bins of the first probability by which calibration CpGs and candidates are compared."""
PRIOR = 10
"""CpGs that the composition of the calibration CpGs counts for where that of the candidates is estimated."""
LIKE_FLOAT32 = 0.995
"""Least share of CpGs on which an engine's first taxon must be that of the network in float32."""
DOUBTFUL = 0.9
"""Agreement of network and labels below which the error rate is called into doubt."""
LEAST = 20
"""Calibration CpGs above the threshold; with fewer no error rate can be controlled."""


def evidence(calls) -> np.ndarray:
    """What the selection model looks at, (n, d) float32, NaN where not defined.

    The network's probabilities (log, by taxon and by rank), the distance to what it was trained on, its choice, the
    taxa that the tests leave, and the statistics.
    """
    p = np.log(np.clip(calls.p, 1e-6, 1))
    ranked = -np.sort(-p, axis=1)[:, :4]
    unknown = [name for name in calls.statistics if name == "cpg" or name.startswith("sex_")]  # not of calibration CpGs
    numbers = calls.statistics.drop(columns=unknown).to_numpy(dtype=float)
    found = np.column_stack([p, ranked, calls.predictions["distance"], calls.first, ~calls.ruled_out, numbers])
    return np.where(np.abs(found) < 1e30, found, np.nan).astype(np.float32)


class SelectionModel:
    """Says how likely a network's call is right: gradient-boosted trees (scikit-learn), one model a fold.

    `held_out` has the probabilities for the CpGs it learnt from, each by the models of folds without it.
    """

    def __init__(self, x: np.ndarray, right: np.ndarray, weights: np.ndarray, seed: int):
        """x: (n, d) evidence. right: (n,) bool, whether the call is the true taxon. weights: (n,)."""
        varied = np.isfinite(x).any(axis=0)
        varied[varied] = np.nanmax(x[:, varied], axis=0) > np.nanmin(x[:, varied], axis=0)
        self.use = np.flatnonzero(varied)
        x = x[:, self.use]
        fold = np.random.default_rng([seed, 23]).permutation(len(x)) % FOLDS
        self.models, self.held_out = [], np.full(len(x), float(np.average(right, weights=weights)) if len(x) else 0.0)
        for number in Progress(FOLDS, "folds of the selection model").over(range(FOLDS)):
            mine = fold != number
            if len(np.unique(right[mine])) < 2:
                continue
            # Here, since a round that can place nothing needs no model, and no sklearn.
            from sklearn.ensemble import HistGradientBoostingClassifier

            model = HistGradientBoostingClassifier(**SETTINGS, random_state=seed)
            self.models.append(model.fit(x[mine], right[mine], sample_weight=weights[mine]))
            self.held_out[~mine] = model.predict_proba(x[~mine])[:, 1]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Probability (n,) that each call is right: the mean of the folds' models."""
        if not self.models or not len(x):
            return np.zeros(len(x))
        return np.mean([model.predict_proba(x[:, self.use])[:, 1] for model in self.models], axis=0)


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
class Threshold:
    """The lowest threshold that controls the error rate: value, share of wrong calls expected above, its bound.

    Infinite where none does. `effective` is the number of calibration CpGs above it that the estimate is worth.
    """

    value: float
    expected: float
    bound: float
    effective: float


NO_THRESHOLD = Threshold(np.inf, 0.0, 0.0, 0.0)


def lowest_threshold(score, right, weights, candidates, error_rate: float, certainty: float = 0.95) -> Threshold:
    """The lowest threshold above which, with `certainty`, calls are wrong at a rate of at most `error_rate`.

    score: (n,) of the calibration CpGs, held out. right, weights: (n,). candidates: (m,) scores of the CpGs to place.
    Two bounds hold, given the weighted errors seen (beta distribution with Jeffreys' prior, on the effective number of
    CpGs): that of the error rate, and that of the number of wrong calls among as many as would be placed.
    """
    if not len(candidates):
        return NO_THRESHOLD
    ranks = np.unique(np.geomspace(1, len(candidates), 200).astype(int)) - 1
    for value in np.unique(-np.sort(-candidates)[ranks]):  # from the lowest up
        above = score >= value
        total, squares = weights[above].sum(), np.sum(weights[above] ** 2)
        if not total or (effective := total**2 / squares) < LEAST:
            continue
        expected = float(np.sum(weights[above] * ~right[above]) / total)
        prior = effective * expected + 0.5, effective * (1 - expected) + 0.5
        rate, placed = scipy.stats.beta(*prior), int(np.sum(candidates >= value))
        most = np.ceil(error_rate * placed)  # of few calls, one may be wrong
        if rate.cdf(error_rate) >= certainty and scipy.stats.betabinom(placed, *prior).cdf(most) >= certainty:
            return Threshold(float(value), expected, float(rate.ppf(certainty)), float(effective))
    return NO_THRESHOLD


def conformal_p(distances: np.ndarray, calibration: np.ndarray) -> np.ndarray:
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
    """What a network says of k CpGs, among the taxa that the tests leave.

    predictions: cpg, p_<taxon>, distance. statistics: the same CpGs in the same order. ruled_out: (k, 10) bool. detail:
    (k,) what the tests say. `first` is the likeliest taxon that is not ruled out, `second` the likeliest other one of
    all; `contradicted` where all are ruled out.
    """

    predictions: pd.DataFrame
    statistics: pd.DataFrame
    ruled_out: np.ndarray
    detail: np.ndarray | None = None

    def __post_init__(self):
        self.p = self.predictions[list(PROBABILITY_COLUMNS)].to_numpy(dtype=float)
        self.contradicted = self.ruled_out.all(axis=1)
        excluded = self.ruled_out & ~self.contradicted[:, None]
        rows = np.arange(len(self.p))
        self.first = np.where(excluded, -1.0, self.p).argmax(axis=1)
        self.top = self.p[rows, self.first]
        others = self.p.copy()
        others[rows, self.first] = -1.0
        self.second = others.argmax(axis=1)

    def __len__(self):
        return len(self.p)


def out_of_distribution(calls: Calls, calibration: Calls, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """p-values (k,) and (n,) that CpGs of the calls, and of the calibration, are like the simulated ones.

    The smaller one of image and statistics, doubled (Bonferroni).
    """
    if not len(calibration):
        return np.full(len(calls), np.nan), np.empty(0)
    strange = Strangeness(calibration.statistics, seed)
    images = [some.predictions["distance"].to_numpy(dtype=float) for some in (calls, calibration)]
    numbers = [strange(calls.statistics), strange.known]
    found = [
        np.fmin(conformal_p(image, images[1]), conformal_p(number, numbers[1]))
        for image, number in zip(images, numbers, strict=True)
    ]
    return np.minimum(2 * found[0], 1), np.minimum(2 * found[1], 1)


def near(score: np.ndarray, threshold: float) -> dict | None:
    """How many scores (probabilities) are within NEAR of a threshold, on it or above, and below; None without one."""
    if not np.isfinite(threshold):
        return None
    close = np.abs(score - threshold) <= NEAR
    numbers = {"above": int((close & (score >= threshold)).sum()), "below": int((close & (score < threshold)).sum())}
    return {"within": NEAR} | numbers


def controlled(calls: Calls, calibration: Calls, truth: np.ndarray, *, error_rate, seed) -> tuple:
    """Which calls may stand so that they are wrong at a rate of at most `error_rate`, with a certainty of 95 %.

    calibration: simulated CpGs that nothing placed so far either. truth: their admissible taxa as "A|B", in the same
    order; empty where none is right. Returns (k,) bool, the probability (k,) that each call is right, the same two for
    the calibration CpGs, and a dictionary of what the control rests on.
    """
    if calls.contradicted.all() or not len(calibration):
        return _controlled(np.zeros(len(calls)), np.zeros(len(calibration)), NO_THRESHOLD, calls, error_rate)
    names = np.array(TAXA, dtype=object)[calibration.first]
    right = np.array([name in taxa.split("|") for name, taxa in zip(names, truth, strict=True)], dtype=bool)
    weights = composition_weights(calibration.p, truth.astype(str), calls.p)
    known = evidence(calibration)
    model = SelectionModel(known, right, weights, seed)
    held_out = np.where(calibration.contradicted, -1.0, model.held_out)
    score = model(evidence(calls))
    threshold = lowest_threshold(held_out, right, weights, np.where(calls.contradicted, -1.0, score), error_rate)
    return _controlled(score, held_out, threshold, calls, error_rate)


def _controlled(score, held_out, threshold: Threshold, calls: Calls, error_rate: float) -> tuple:
    """What `controlled` returns, given the probabilities of calls and calibration CpGs, and the threshold."""
    found = {
        "error_rate": error_rate,
        "threshold": threshold.value if np.isfinite(threshold.value) else None,
        "expected_error_rate": threshold.expected,
        "error_rate_at_most": threshold.bound,
        "calibration_cpgs": len(held_out),
        "calibration_cpgs_above": threshold.effective,
        "near_threshold": near(score[~calls.contradicted], threshold.value),
    }
    return score >= threshold.value, score, held_out >= threshold.value, found


def reassign(
    calls: Calls,
    calibration: Calls | None = None,
    truth: np.ndarray | None = None,
    *,
    settings: dict,
    round_number: int,
    seed: int,
    out: dict,
    n_cpgs: int | None = None,
    beside: dict | None = None,
) -> None:
    """Place the CpGs whose call may stand, and say why the others stay.

    settings: `error_rate` and, with calibration CpGs, `unlike`; or `confidence`, a plain threshold on the network's
    probability in place of the controlled error rate. CpGs to which the tests leave no taxon are never placed.

    Writes reassigned (cpg, taxon, confidence: the probability that the call is right, second_taxon, round), left (cpg,
    reason: `contradicted` where the tests leave no taxon, `unlike` where the CpG is out of distribution, or
    `ambiguous`; taxa that hold 1 - error_rate of the probability, "A|B"; unlike_p; detail: what the tests say),
    calibration (cpg of the calibration CpGs placed by the same rule) and counts (JSON, with what is given `beside`).
    """
    found = {}
    unlike_p = np.full(len(calls), np.nan)
    if settings["confidence"] is None:
        rate = settings["error_rate"]
        certain, confidence, known, found = controlled(calls, calibration, truth, error_rate=rate, seed=seed)
        unlike_p, known_p = out_of_distribution(calls, calibration, seed)
        known &= ~(known_p <= settings["unlike"])
    else:
        certain, confidence = calls.top >= settings["confidence"], calls.top
        found = {"near_threshold": near(calls.top[~calls.contradicted], settings["confidence"])}
    unlike = unlike_p <= settings["unlike"]
    placed = certain & ~calls.contradicted & ~unlike
    frame = _placed_table(calls, placed, confidence, round_number)
    left = _left_table(calls, placed, unlike, unlike_p, 1 - settings["error_rate"])
    again = pd.DataFrame({"cpg": np.empty(0, dtype=object)})
    if calibration is not None:
        again = calibration.predictions[["cpg"]][known]
    write_parquet(out["reassigned"], frame)
    write_parquet(out["left"], left)
    write_parquet(out["calibration"], again)
    counts = {
        "round": round_number,
        "cpgs": len(calls) if n_cpgs is None else n_cpgs,
        "candidates": len(calls),
        "placed": int(placed.sum()),
        "undecided": int((~calls.contradicted & ~placed).sum()),
        "placed_per_taxon": {taxon: int((frame["taxon"] == taxon).sum()) for taxon in TAXA},
        "left": left["reason"].value_counts().reindex(REASONS, fill_value=0).to_dict(),
    }
    write_json(out["counts"], counts | found | (beside or {}) | _placed_as_in_float32(calls, placed))
    nothing = len(calls) and settings["confidence"] is None and found["threshold"] is None
    _say(counts, settings["error_rate"] if nothing else None)


def _placed_table(calls: Calls, placed: np.ndarray, confidence: np.ndarray, round_number: int) -> pd.DataFrame:
    """The CpGs placed: cpg, taxon, confidence, second_taxon, round."""
    names = np.array(TAXA, dtype=object)
    return pd.DataFrame(
        {
            "cpg": calls.predictions["cpg"].to_numpy()[placed],
            "taxon": names[calls.first[placed]],
            "confidence": confidence[placed],
            "second_taxon": names[calls.second[placed]],
            "round": np.full(placed.sum(), round_number, dtype=np.int32),
        }
    )


def _left_table(
    calls: Calls, placed: np.ndarray, unlike: np.ndarray, unlike_p: np.ndarray, mass: float
) -> pd.DataFrame:
    """The CpGs left: cpg, reason, taxa (that hold `mass` of the probability), unlike_p, detail."""
    reason = np.where(calls.contradicted, "contradicted", np.where(unlike, "unlike", "ambiguous"))
    detail = np.full(len(calls), "", dtype=object) if calls.detail is None else calls.detail
    return pd.DataFrame(
        {
            "cpg": calls.predictions["cpg"].to_numpy()[~placed],
            "reason": reason[~placed].astype(object),
            "taxa": np.array(likely_taxa(calls.p[~placed], mass), dtype=object),
            "unlike_p": unlike_p[~placed],
            "detail": detail[~placed],
        }
    )


def _say(counts: dict, error_rate: float | None) -> None:
    """Log what a round placed. error_rate: that at which nothing can be placed; None where something can."""
    left = ", ".join(f"{reason} {n:,}" for reason, n in counts["left"].items())
    number = counts["round"]
    logging.info(f"round {number}: {counts['placed']:,} of {counts['candidates']:,} CpGs placed; left: {left}")
    if error_rate is not None and number > 0:
        logging.info(f"round {number}: no more CpGs can be placed at the error rate allowed")
    elif error_rate is not None:
        logging.warning(
            f"round 0: at no threshold is the error rate surely below {error_rate:.3g}: nothing is placed. Too few "
            "calibration CpGs, or a network that learnt too little; raise rounds.calibration or rounds.error_rate"
        )


def _calls(predictions: pd.DataFrame, blocks, settings: dict, detail=None) -> Calls:
    """Join predictions with the statistics, given a block at a time: the whole array's are half a gigabyte."""
    place_of = pd.Series(np.arange(len(predictions)), index=predictions["cpg"])
    out_of_bounds = np.zeros((len(predictions), len(TAXA)), dtype=bool)
    tables, rows = [], []
    for block in blocks:
        block = block[block["cpg"].isin(place_of.index)]
        where = place_of.loc[block["cpg"]].to_numpy()
        if settings["veto"] and len(block):
            out_of_bounds[where] = ruled_out(block, settings["thresholds"], settings["errors"])
        numbers = block.drop(columns=["cpg", "admissible"], errors="ignore")
        tables.append(numbers.astype(dict.fromkeys(numbers, "float32")))
        rows.append(where)
    statistics = pd.concat(tables, ignore_index=True)
    order = np.argsort(np.concatenate(rows), kind="stable")
    return Calls(predictions, statistics.iloc[order].reset_index(drop=True), out_of_bounds, detail)


def agreement_with_labels(predictions: pd.DataFrame, labels: pd.DataFrame) -> dict:
    """How often the network's first taxon is the label, over the labelled CpGs that it was asked about.

    predictions: cpg, p_<taxon>. labels: cpg, taxon. Returns clear_cpgs (that have a label and are no boundary CpGs),
    labelled_cpgs (those of them asked about), network_as_labels (a share, or None) and doubtful: the control of errors
    rests on simulated CpGs; where network and labels part on clear CpGs, the cohort is not like these.
    """
    clear = labels["taxon"] != UNCLASSIFIED
    if "boundary" in labels:
        clear &= labels["boundary"] == ""
    labelled = labels[clear].merge(predictions, on="cpg")
    if labelled.empty:
        return {"clear_cpgs": int(clear.sum()), "labelled_cpgs": 0, "network_as_labels": None, "doubtful": False}
    first = np.array(TAXA, dtype=object)[labelled[list(PROBABILITY_COLUMNS)].to_numpy().argmax(axis=1)]
    share = float(np.mean(first == labelled["taxon"].to_numpy()))
    doubtful = len(labelled) >= LEAST and share < DOUBTFUL
    if doubtful:
        logging.warning(
            "the network's first taxon is the label on only %.0f %% of the %d labelled CpGs: the cohort is unlike the "
            "simulated ones that the error rate rests on; let the network learn from this cohort's labels "
            "(training.weights: null, training.source: both), and look at CpGs that have been placed",
            100 * share,
            len(labelled),
        )
    found = {"clear_cpgs": int(clear.sum()), "labelled_cpgs": len(labelled)}
    return found | {"network_as_labels": share, "doubtful": doubtful}


def as_in_float32(predictions: pd.DataFrame) -> dict:
    """How often an engine's first taxon is that of the network in float32, over the CpGs that check it.

    predictions: cpg, p_<taxon> and, where an engine was used, check_<taxon>. Returns engine (what classified),
    checked_cpgs, checked_same and checked_difference, the mean difference of the first taxon's probability; where torch
    classified only engine, and nothing where there were no CpGs.
    """
    if CHECK_COLUMNS[0] not in predictions:
        return {"engine": "torch"} if len(predictions) else {}
    checked = predictions[predictions[CHECK_COLUMNS[0]].notna()]
    p, exact = (checked[list(names)].to_numpy(dtype=float) for names in (PROBABILITY_COLUMNS, CHECK_COLUMNS))
    first = p.argmax(axis=1)
    same = first == exact.argmax(axis=1)
    if len(same) >= LEAST and same.mean() < LIKE_FLOAT32:
        logging.warning(
            "the engine's first taxon is that of the network in float32 on only %.2f %% of %d CpGs; set "
            "training.engine to torch",
            100 * same.mean(),
            len(same),
        )
    rows = np.arange(len(first))
    difference = float(np.mean(np.abs(p - exact)[rows, first])) if len(first) else None
    found = {"engine": "openvino", "checked_cpgs": len(same), "checked_same": int(same.sum())}
    return found | {"checked_difference": difference}


def _placed_as_in_float32(calls: Calls, placed: np.ndarray) -> dict:
    """The same of the CpGs placed, among the taxa that the tests leave."""
    if CHECK_COLUMNS[0] not in calls.predictions:
        return {}
    exact = calls.predictions[list(CHECK_COLUMNS)].to_numpy(dtype=float)
    checked = placed & np.isfinite(exact[:, 0])
    first = np.where(calls.ruled_out, -1.0, exact)[checked].argmax(axis=1)
    same = first == calls.first[checked]
    return {"checked_placed": len(same), "checked_placed_same": int(same.sum())}


def place(
    predictions, labels, placed, statistics, calibration, settings: dict, round_number: int, seed: int, out: dict
) -> None:
    """Run `reassign` on a round's files, over the CpGs that neither the rules nor earlier rounds placed.

    calibration: None (with a plain threshold), or files `predictions` of the calibration CpGs left and their `truth`
    with statistics. settings: error_rate, confidence, unlike, veto, and the rules' thresholds and errors.
    """
    taxa = read_parquet(labels)
    done = set(taxa.loc[taxa["taxon"] != UNCLASSIFIED, "cpg"])
    for path in placed:
        done |= set(read_parquet(path, columns=["cpg"])["cpg"])
    found = pd.concat([read_parquet(path) for path in predictions], ignore_index=True)
    agreement = agreement_with_labels(found, taxa) | as_in_float32(found)
    found = found[~found["cpg"].isin(done)].reset_index(drop=True)
    detail = taxa.set_index("cpg")["reason"].loc[found["cpg"]].to_numpy(dtype=object)
    calls = _calls(found, parquet_blocks(statistics), settings, detail)
    known = truth = None
    if calibration is not None:
        found = read_parquet(calibration["predictions"])
        table = read_parquet(calibration["truth"]).set_index("cpg").loc[found["cpg"]].reset_index()
        truth = table["admissible"].to_numpy(dtype=object)
        known = _calls(found, [table], settings)
    sizes = {"round_number": round_number, "n_cpgs": len(taxa)}
    reassign(calls, known, truth, settings=settings, **sizes, seed=seed, out=out, beside=agreement)

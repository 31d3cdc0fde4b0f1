"""The report's tables of taxa: counts by stage, the flow between stages, agreement with a known truth, reliability."""

import itertools

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from cpgtaxa.calibration import softmax
from cpgtaxa.errors import InputError, some
from cpgtaxa.names import TAXA, UNCLASSIFIED
from cpgtaxa.texts import read_taxa

AGREEMENT_COLUMNS = ("stage", "taxon", "n_true", "n_called", "n_half_way", "precision", "recall", "f1", "value")
ROWS = (*TAXA, UNCLASSIFIED)
"""Rows of every table of taxa."""
BINS = 10
"""Confidence bins of the reliability diagram."""


def stages(rounds: int) -> list[str]:
    """Names of the stages of a run with so many rounds, as in the taxonomy's `source`."""
    return ["statistical", *(f"round_{number}" for number in range(rounds))]


def count_rounds(taxonomy: pd.DataFrame) -> int:
    """Rounds that placed at least one CpG, counted up to the last such round."""
    numbers = [int(source.removeprefix("round_")) for source in taxonomy["source"].unique() if "round_" in source]
    return max(numbers, default=-1) + 1


def taxa_after(taxonomy: pd.DataFrame, stage: str, rounds: int) -> np.ndarray:
    """Each CpG's taxon as it stood after a stage, (CpGs,) str: later placements are Unclassified still."""
    order = stages(rounds)
    done = taxonomy["source"].isin(order[: order.index(stage) + 1])
    return np.where(done, taxonomy["taxon"], UNCLASSIFIED).astype(object)


def count_taxa(taxonomy: pd.DataFrame, rounds: int) -> pd.DataFrame:
    """CpGs per taxon after the rules and after each round (cumulative): stage, taxon, n_cpgs, share (of all CpGs)."""
    pieces = []
    for stage in stages(rounds):
        found = pd.Series(taxa_after(taxonomy, stage, rounds)).value_counts().reindex(ROWS, fill_value=0)
        piece = pd.DataFrame({"stage": stage, "taxon": ROWS, "n_cpgs": found.to_numpy()})
        piece["share"] = piece["n_cpgs"] / max(len(taxonomy), 1)
        pieces.append(piece)
    return pd.concat(pieces, ignore_index=True)


def flow(taxonomy: pd.DataFrame, rounds: int) -> pd.DataFrame:
    """CpGs by their taxon after each stage and after the next: from_stage, from_taxon, to_stage, to_taxon, n_cpgs.

    Only flows of at least one CpG. Placements never change, so that all but Unclassified go to where they are.
    """
    order, pieces = stages(rounds), []
    for before, after in itertools.pairwise(order):
        pair = pd.DataFrame(
            {"from_taxon": taxa_after(taxonomy, before, rounds), "to_taxon": taxa_after(taxonomy, after, rounds)}
        )
        for column in pair:
            pair[column] = pd.Categorical(pair[column], ROWS)
        found = pair.groupby(["from_taxon", "to_taxon"], observed=True).size().rename("n_cpgs").reset_index()
        found.insert(0, "from_stage", before)
        found.insert(2, "to_stage", after)
        pieces.append(found)
    names = ["from_stage", "from_taxon", "to_stage", "to_taxon", "n_cpgs"]
    return pd.concat(pieces, ignore_index=True)[names] if pieces else pd.DataFrame(columns=names)


def read_truth(path) -> pd.DataFrame:
    """The true taxa of a simulated cohort: cpg, taxon (Unclassified = half-way site), kind (empty where not given).

    path: CSV or TSV (.gz) or Parquet. Raises InputError listing missing columns, unknown taxa and duplicates.
    """
    truth, _ = read_taxa(path, "cohort.truth")
    problems = []
    unknown = sorted(set(truth["taxon"]) - set(ROWS))
    if unknown:
        problems.append(f"cohort.truth: {path}: unknown taxa {some(unknown)}; use one of {', '.join(ROWS)}")
    doubles = truth["cpg"][truth["cpg"].duplicated()].unique()
    if len(doubles):
        problems.append(f"cohort.truth: {path}: {len(doubles)} CpGs have more than one row: {some(doubles)}; keep one")
    if problems:
        raise InputError(problems)
    kind = truth["kind"].where(truth["kind"].notna(), "").astype(str) if "kind" in truth else ""
    return truth[["cpg", "taxon"]].assign(kind=kind)


def agreement(taxonomy: pd.DataFrame, truth: pd.DataFrame, rounds: int | None = None) -> pd.DataFrame:
    """Compare the taxonomy with the truth after the rules, after each round (cumulative), and as it is (`all`).

    taxonomy: cpg, taxon, source. truth: cpg, taxon (Unclassified = half-way site), and `kind` of half-way sites if
    known. CpGs that only one of them has are left out. rounds: number of rounds; found from `source` if not given.

    Returns the columns AGREEMENT_COLUMNS, per stage these rows (`taxon`; `value` is the row's one number):

    - each taxon that occurs: precision, recall and F1 (`value`) over the CpGs that have a true taxon, where one not
      placed counts as missed; n_half_way: half-way sites that were called this taxon (in none of the other numbers);
    - `macro`: means over the taxa present of precision, recall and F1 (`value`), over the CpGs that have a true taxon
      and are placed; `macro_all`: over all that have one;
    - `placed`: share of the CpGs with a true taxon (n_true) that were placed (n_called);
    - `accuracy_placed`: share of those placed (n_true) that are right (n_called);
    - `half_way_unplaced`: share of half-way sites (n_true) left Unclassified (n_called of them were not);
      `half_way_unplaced:<kind>`: the same per kind.

    Shares of nothing are NaN.
    """
    if rounds is None:
        rounds = count_rounds(taxonomy)
    truth = truth if "kind" in truth else truth.assign(kind="")
    table = truth[["cpg", "taxon", "kind"]].rename(columns={"taxon": "actual"})
    table = table.merge(taxonomy[["cpg", "taxon", "source"]], on="cpg", validate="one_to_one")
    half_way = (table["actual"] == UNCLASSIFIED).to_numpy()
    # Numbers, because scikit-learn is slow on text.
    code = {taxon: index for index, taxon in enumerate(ROWS)}
    actual = table["actual"].map(code).to_numpy()[~half_way]
    kinds = table["kind"].fillna("").to_numpy(dtype=object)[half_way]
    rows = []

    def add(stage, taxon, n_true, n_called, value, precision=np.nan, recall=np.nan, n_half_way=None):
        f1 = value if not np.isnan(precision) else np.nan
        rows.append((stage, taxon, n_true, n_called, n_half_way, precision, recall, f1, value))

    for stage in (*stages(rounds), "all"):
        after = table["taxon"] if stage == "all" else pd.Series(taxa_after(table, stage, rounds))
        after = after.map(code).to_numpy()
        called, other = after[~half_way], after[half_way]
        placed = called != code[UNCLASSIFIED]
        for index, taxon in enumerate(TAXA):
            n = int((actual == index).sum()), int((called == index).sum()), int((other == index).sum())
            if any(n):
                precision, recall, f1, _ = precision_recall_fscore_support(
                    actual == index, called == index, average="binary", zero_division=0
                )
                add(stage, taxon, n[0], n[1], f1, precision, recall, n[2])
        for name, chosen in (("macro", placed), ("macro_all", np.ones(len(actual), dtype=bool))):
            scores = _macro(actual[chosen], called[chosen])
            add(stage, name, int(chosen.sum()), int((chosen & placed).sum()), scores[2], *scores[:2])
        right = accuracy_score(actual[placed], called[placed]) if placed.any() else np.nan
        add(stage, "placed", len(actual), int(placed.sum()), share_of(placed.sum(), len(actual)))
        add(stage, "accuracy_placed", int(placed.sum()), int((actual == called).sum()), right)
        left = other == code[UNCLASSIFIED]
        add(stage, "half_way_unplaced", len(left), int((~left).sum()), share_of(left.sum(), len(left)))
        for kind in sorted(set(kinds) - {""}):
            those = left[kinds == kind]
            share = share_of(those.sum(), len(those))
            add(stage, f"half_way_unplaced:{kind}", len(those), int((~those).sum()), share)
    found = pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))
    return found.astype({"n_half_way": "Int64"})


def _macro(actual, called) -> tuple[float, float, float]:
    """Macro precision, recall and F1 over the taxa that are truly present; NaN without any CpG."""
    if not len(actual):
        return np.nan, np.nan, np.nan
    present = np.unique(actual)
    precision, recall, _, _ = precision_recall_fscore_support(
        actual, called, labels=present, average="macro", zero_division=0
    )
    return precision, recall, f1_score(actual, called, labels=present, average="macro", zero_division=0)


def share_of(part, whole) -> float:
    """A share; NaN of nothing."""
    return float(part / whole) if whole else np.nan


def reliability(tests: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Mean confidence and accuracy of test images in BINS equal bins of calibrated confidence; empty bins left out.

    tests: the published prediction table. Returns confidence, accuracy, n, low, high (Wilson's 95 % interval of the
    accuracy), bin_from, bin_to.
    """
    if not len(tests):
        return pd.DataFrame({name: [] for name in ("confidence", "accuracy", "n", "low", "high", "bin_from", "bin_to")})
    raw = np.log(np.clip(tests[list(TAXA)].to_numpy(dtype=float), 1e-30, 1))
    confidence = softmax(raw, temperature).max(axis=1)
    right = (tests["ActualLabel"] == tests["PredictedLabelName"]).to_numpy()
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    table = pd.DataFrame({"confidence": confidence, "accuracy": right.astype(float), "n": 1})
    table = table.groupby(which).agg({"confidence": "mean", "accuracy": "mean", "n": "sum"})
    table["low"], table["high"] = wilson(table["accuracy"] * table["n"], table["n"])
    table["bin_from"], table["bin_to"] = table.index / BINS, (table.index + 1) / BINS
    return table.reset_index(drop=True)


def wilson(hits, n, certainty: float = 0.95) -> tuple:
    """Ends of the interval of a share, hits of n (above 0), at that certainty (Wilson 1927, JASA 22:209)."""
    z = norm.ppf(0.5 + certainty / 2)
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(middle - reach, 0, 1), np.clip(middle + reach, 0, 1)

"""The report's tables of taxa: counts by stage, the flow between stages, agreement with a known truth, reliability."""

import itertools

import numpy as np
import pandas as pd
from scipy.stats import norm

from cpgtaxa.errors import refuse, some
from cpgtaxa.input.texts import read_taxa
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.names import KNOWN, TAXA, UNCLASSIFIED

AGREEMENT_COLUMNS = ("stage", "taxon", "n_true", "n_called", "n_boundary", "precision", "recall", "f1", "value")
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
    """CpGs per taxon after the rules and after each round (cumulative): stage, taxon, n_cpgs, share (of all CpGs),
    n_boundary (of these, boundary CpGs)."""
    pieces = []
    boundary = np.zeros(len(taxonomy), dtype=bool)
    if "boundary" in taxonomy:
        boundary = (taxonomy["boundary"].fillna("") != "").to_numpy()
    for stage in stages(rounds):
        after = pd.Series(taxa_after(taxonomy, stage, rounds))
        found = after.value_counts().reindex(KNOWN, fill_value=0)
        piece = pd.DataFrame({"stage": stage, "taxon": KNOWN, "n_cpgs": found.to_numpy()})
        piece["share"] = piece["n_cpgs"] / max(len(taxonomy), 1)
        piece["n_boundary"] = after[boundary].value_counts().reindex(KNOWN, fill_value=0).to_numpy()
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
            pair[column] = pd.Categorical(pair[column], KNOWN)
        found = pair.groupby(["from_taxon", "to_taxon"], observed=True).size().rename("n_cpgs").reset_index()
        found.insert(0, "from_stage", before)
        found.insert(2, "to_stage", after)
        pieces.append(found)
    names = ["from_stage", "from_taxon", "to_stage", "to_taxon", "n_cpgs"]
    return pd.concat(pieces, ignore_index=True)[names] if pieces else pd.DataFrame(columns=names)


def read_truth(path) -> pd.DataFrame:
    """The true taxa of a simulated cohort: cpg, taxon, admissible (right taxa, "A|B"; empty: none), kind.

    kind: the criterion in whose zone a boundary CpG lies, empty for clear ones. Where a file lacks `admissible`, the
    taxon alone is right, and of Unclassified none.

    path: CSV or TSV (.gz) or Parquet. Raises InputError listing missing columns, unknown taxa and duplicates.
    """
    truth, _ = read_taxa(path, "cohort.truth")
    problems = []
    own = truth["taxon"].where(truth["taxon"] != UNCLASSIFIED, "")
    right = truth["admissible"].fillna("").astype(str) if "admissible" in truth else own
    named = {taxon for text in right.unique() for taxon in text.split("|")} - {""}
    unknown = sorted((set(truth["taxon"]) - set(KNOWN)) | (named - set(KNOWN)))
    if unknown:
        problems.append(f"cohort.truth: {path}: unknown taxa {some(unknown)}; use one of {', '.join(KNOWN)}")
    doubles = truth["cpg"][truth["cpg"].duplicated()].unique()
    if len(doubles):
        problems.append(f"cohort.truth: {path}: {len(doubles)} CpGs have more than one row: {some(doubles)}; keep one")
    refuse(problems)
    kind = truth["kind"].where(truth["kind"].notna(), "").astype(str) if "kind" in truth else ""
    return truth[["cpg", "taxon"]].assign(admissible=right, kind=kind)


def agreement(taxonomy: pd.DataFrame, truth: pd.DataFrame, rounds: int | None = None) -> pd.DataFrame:
    """Compare the taxonomy with the truth after the rules, after each round (cumulative), and as it is (`all`).

    taxonomy: cpg, taxon, source. truth: of `read_truth`. A call is right when it is among the CpG's admissible taxa. A
    CpG is a boundary CpG where it has a kind, or no right taxon. CpGs that only one of them has are left out. rounds:
    number of rounds; found from `source` if not given.

    Returns the columns AGREEMENT_COLUMNS, per stage these rows (`taxon`; `value` is the row's one number):

    - each taxon that occurs: precision (share of the CpGs called so for which it is admissible), recall (over the clear
      CpGs of the taxon, n_true; one not placed counts as missed), F1 (`value`); n_boundary: boundary CpGs called so;
    - `macro`: means of precision, recall and F1 (`value`) over the taxa that clear CpGs have;
    - `placed`: share of all CpGs (n_true) that were placed (n_called);
    - `precision`: share of those placed (n_true) that are right (n_called);
    - `boundary`, and by kind `boundary:<kind>`: of the boundary CpGs (n_true) the share placed (n_called of them) and
      right; precision: the share of those placed that are right; n_boundary: the number right.

    Shares of nothing are NaN.
    """
    if rounds is None:
        rounds = count_rounds(taxonomy)
    table = truth.rename(columns={"taxon": "actual"}).merge(
        taxonomy[["cpg", "taxon", "source"]], on="cpg", validate="one_to_one"
    )
    admissible = np.array([[taxon in text.split("|") for taxon in KNOWN] for text in table["admissible"]], dtype=bool)
    admissible = admissible.reshape(len(table), len(KNOWN))
    actual, kinds = table["actual"].to_numpy(dtype=object), table["kind"].to_numpy(dtype=object)
    boundary = (kinds != "") | (actual == UNCLASSIFIED)
    rows = []

    def add(stage, taxon, n_true, n_called, value, precision=np.nan, recall=np.nan, f1=np.nan, n_boundary=None):
        rows.append((stage, taxon, int(n_true), int(n_called), n_boundary, precision, recall, f1, value))

    for stage in (*stages(rounds), "all"):
        called = table["taxon"].to_numpy(dtype=object) if stage == "all" else taxa_after(table, stage, rounds)
        placed = called != UNCLASSIFIED
        right = admissible[np.arange(len(table)), [KNOWN.index(taxon) for taxon in called]] & placed
        means = []
        for taxon in TAXA:
            mine, clear = called == taxon, (actual == taxon) & ~boundary
            if not mine.any() and not clear.any():
                continue
            # Of a taxon that nothing is called the precision counts as 0, as usual in F1.
            precision = share_of(right[mine].sum(), mine.sum()) if mine.any() else 0.0
            recall = share_of((mine & clear).sum(), clear.sum())
            f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else recall * 0
            if clear.any():
                means.append((precision, recall, f1))
            add(stage, taxon, clear.sum(), mine.sum(), f1, precision, recall, f1, int((mine & boundary).sum()))
        scores = np.mean(means, axis=0).tolist() if means else [np.nan] * 3
        add(stage, "macro", (~boundary).sum(), (placed & ~boundary).sum(), scores[2], *scores)
        add(stage, "placed", len(table), placed.sum(), share_of(placed.sum(), len(table)))
        add(stage, "precision", placed.sum(), right.sum(), share_of(right.sum(), placed.sum()))
        for kind in ("", *sorted(set(kinds) - {""})):
            those = boundary & (kinds == kind) if kind else boundary
            n = [int((those & chosen).sum()) for chosen in (those, placed, right)]
            name = f"boundary:{kind}" if kind else "boundary"
            add(stage, name, n[0], n[1], share_of(n[2], n[0]), share_of(n[2], n[1]), n_boundary=n[2])
    found = pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))
    return found.astype({"n_boundary": "Int64"})


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

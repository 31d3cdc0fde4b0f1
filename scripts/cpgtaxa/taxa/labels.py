"""The taxon of each CpG by the tests, or Unclassified with the reason.

The criteria and their zones stand in `criteria`; here the answers become labels.
"""

import logging

import numpy as np
import pandas as pd

from cpgtaxa.errors import refuse, some
from cpgtaxa.files import parquet_blocks, write_parquet
from cpgtaxa.input.texts import read_taxa
from cpgtaxa.names import KNOWN, TAXA, UNCLASSIFIED, close_taxon
from cpgtaxa.taxa.criteria import BY_NAME, PATTERNS, RULES, TABLE, Answers
from cpgtaxa.wording import counted

EXAMPLES = 10


def label_cohort(statistics, out, *, thresholds: dict, errors: dict) -> None:
    """Run `define_taxa` over a statistics file, a block of CpGs at a time, and write the labels."""
    labels = [define_taxa(block, thresholds, errors) for block in parquet_blocks(statistics)]
    labels = pd.concat(labels, ignore_index=True)
    logging.info(f"statistical labels: {counted(labels['taxon'])}")
    write_parquet(out, labels)


def define_taxa(statistics: pd.DataFrame, thresholds: dict, errors: dict) -> pd.DataFrame:
    """Give each CpG the taxon that its answers lead to, or Unclassified.

    statistics: one row per CpG with `cpg` and the columns of `statistics.compute`. thresholds, errors: the config's
    `taxa.thresholds` (zones by criterion) and `taxa.errors`.

    Returns cpg, taxon, reason, boundary, confidence, criterion, margin. reason: the answers of a label; if Unclassified
    the pattern that no taxon has ("no taxon: curved"), the open questions and the taxa they leave ("open: trend;
    UniUnstable or LinAgeHomo"), or "too few samples". boundary: the criterion that is open, or in whose zone the CpG
    lies; empty if clear. confidence: the probability that the taxon is right (float32), NaN if Unclassified. criterion,
    margin: which decides, and how far from its cut the CpG lies (float32), 1 at the ends of its zone; empty and NaN
    where no taxon is in question.
    """
    answers = Answers(statistics, thresholds, errors)
    placed = answers.taxa.sum(axis=1) == 1
    taxon = np.where(placed, np.array(TAXA, dtype=object)[answers.taxa.argmax(axis=1)], UNCLASSIFIED)
    criterion, margin = answers.deciding()
    return pd.DataFrame(
        {
            "cpg": statistics["cpg"].to_numpy(),
            "taxon": taxon,
            "reason": _reasons(answers, taxon),
            "boundary": answers.boundary(),
            "confidence": answers.confidence().astype(np.float32),
            "criterion": criterion,
            "margin": margin.astype(np.float32),
        }
    )


def _reasons(answers: Answers, taxon: np.ndarray) -> np.ndarray:
    """The reason (k,) of each label, or of its absence."""
    reason = np.full(len(answers), "", dtype=object)
    for name, wanted in RULES.items():
        words = "; ".join(BY_NAME[key].yes if yes else BY_NAME[key].no for key, yes in wanted.items())
        reason[taxon == name] = words
    matter = answers.matter()
    for row in np.flatnonzero(taxon == UNCLASSIFIED):
        if answers.few[row]:
            reason[row] = "too few samples"
        elif answers.foreign[row]:
            found = [name for name, there in answers.patterns.items() if there[row]]
            reason[row] = f"no taxon: {', '.join(found)}"
        else:
            found = answers.by_criterion
            names = (one.name for one in TABLE)
            undecided = [key for key in names if matter[key][row] and not (found[key].yes | found[key].no)[row]]
            left = [name for name, may in zip(TAXA, answers.open[row], strict=True) if may]
            reason[row] = f"open: {', '.join(undecided)}; {' or '.join(left)}"
    return reason


def undecided(reason: str) -> str:
    """The reason of an Unclassified CpG as a label of what is known of it, the open questions last.

    "open: spread; LinAgeHomo or LinAgeHet" is "one band, trend; spread undecided": what the taxa left have in common.
    "no taxon: curved" says what curved means. Other reasons, such as "too few samples", stand as they are.
    """
    if reason.startswith("no taxon: "):
        names = reason.removeprefix("no taxon: ").split(", ")
        meanings = [pattern.meaning for pattern in PATTERNS if pattern.name in names]
        return f"{', '.join(names)}: {'; '.join(meanings)}"
    if not reason.startswith("open: "):
        return reason
    questions, _, left = reason.removeprefix("open: ").partition("; ")
    rules = [RULES[taxon] for taxon in left.split(" or ")]
    common = {key: yes for key, yes in rules[0].items() if all(rule.get(key) is yes for rule in rules)}
    if "three_bands" in common:
        del common["two_bands"]  # two or three bands: the second answer says it
    known = ", ".join(BY_NAME[key].yes if yes else BY_NAME[key].no for key, yes in common.items())
    asked = " and ".join(questions.replace("_", " ").split(", "))
    return f"{known}; {asked} undecided" if known else f"{asked} undecided"


def ruled_out(statistics: pd.DataFrame, thresholds: dict, errors: dict) -> np.ndarray:
    """Boolean (k, 10): taxa that an answer of the tests contradicts, so that no network may place the CpG there."""
    return ~Answers(statistics, thresholds, errors).open


def read_labels(path, cpgs) -> pd.DataFrame:
    """Read the user's own labels: CSV or TSV (may be gzipped) or Parquet with the columns cpg and taxon.

    cpgs: the cohort's CpGs. Returns cpg, taxon, reason for all of them in the cohort's order ("given", or Unclassified
    where the file is silent). Raises InputError listing unknown taxa, CpGs the cohort lacks, and duplicates.
    """
    labels, lines = read_taxa(path, "taxa.labels")
    problems = []
    empty = np.flatnonzero(labels["cpg"] == "")
    if len(empty):
        problems.append(
            f"taxa.labels: {path}: {len(empty)} rows without a CpG id, line {lines[empty[0]]} first; fill in or remove"
        )
        labels = labels[labels["cpg"] != ""]
    unknown = labels["taxon"][~labels["taxon"].isin(KNOWN)].drop_duplicates()
    for row, wrong in list(unknown.items())[:EXAMPLES]:
        close = close_taxon(wrong)
        hint = f"did you mean {close!r}?" if close else f"use one of {', '.join(KNOWN)}"
        problems.append(f"taxa.labels: {path}, line {lines[row]}: unknown taxon {wrong[:40]!r}; {hint}")
    if len(unknown) > EXAMPLES:
        problems.append(f"taxa.labels: {path}: {len(unknown) - EXAMPLES} more unknown taxa")
    doubles = labels["cpg"][labels["cpg"].duplicated()].unique()
    if len(doubles):
        problems.append(f"taxa.labels: {path}: {len(doubles)} CpGs have more than one row: {some(doubles)}; keep one")
    strangers = labels["cpg"][~labels["cpg"].isin(cpgs)].unique()
    if len(strangers):
        problems.append(
            f"taxa.labels: {path}: {len(strangers)} CpGs are not in the cohort: {some(strangers)}; remove them or "
            "check that labels and matrix use the same probe names"
        )
    refuse(problems)
    taxon = labels.set_index("cpg")["taxon"].reindex(cpgs)
    given = taxon.notna().to_numpy()
    return pd.DataFrame(
        {
            "cpg": np.asarray(cpgs, dtype=object),
            "taxon": taxon.fillna(UNCLASSIFIED).to_numpy(dtype=object),
            "reason": np.where(given, "given", "not in the given labels"),
        }
    )

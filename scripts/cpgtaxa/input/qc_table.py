"""The table of what was kept of a cohort and what was left out, and why."""

import numpy as np
import pandas as pd

from cpgtaxa.input import probes as probe_ids
from cpgtaxa.input.streams import EXAMPLES

COLUMNS = ["what", "reason", "n", "share", "explanation", "examples"]


def qc_table(scan, reason: np.ndarray, qc: dict, settings) -> pd.DataFrame:
    """What was kept and left out, and why: COLUMNS.

    scan: `ingest.Scan`. reason: of each probe (n,), empty where it is kept. qc: the QC's counts. settings:
    `ingest.Settings`.
    """
    rows = [*_probe_rows(scan, reason, settings), *_seen_rows(scan, qc)]
    rows += [*_value_rows(scan, qc, settings), *_sample_rows(qc, settings)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _probe_rows(scan, reason: np.ndarray, settings) -> list[tuple]:
    """Probes kept, and left out by reason."""
    why = {
        "": "used",
        "missing": f"missing in more than {settings.max_missing_cpg:.3g} of the samples (cohort.max_missing_cpg)",
        "constant": "the same value in all samples",
        probe_ids.REPLICATE: "another probe of a CpG that is used (cohort.collapse)",
        probe_ids.NOT_LISTED: "not among the CpGs wanted (cohort.only_cpgs)",
    }
    why |= {kind: f"{words} (cohort.probes)" for kind, words in probe_ids.KINDS.items()}
    rows = []
    for name in ["", *dict.fromkeys(reason[reason != ""])]:
        at = np.flatnonzero(reason == name)
        examples = "; ".join(scan.probes[row] for row in at[:EXAMPLES]) if name else ""
        text = why.get(name, f"in the list {name} (cohort.filters)")
        rows.append(("probe", name or "kept", len(at), len(at) / len(reason), text, examples))
    return rows


def _seen_rows(scan, qc: dict) -> list[tuple]:
    """Samples that are kept and look wrong."""
    rows = []
    words = {"other_sex": "of another sex than the sheet says", "between_sexes": "between women and men"}
    for name, text in words.items():
        if found := qc.get(name):
            examples = "; ".join(found[:EXAMPLES])
            rows.append(("sample seen", name, len(found), len(found) / len(scan.samples), f"{text} (kept)", examples))
    if pairs := qc.get("alike"):
        names = {name for one, two, _ in pairs for name in (one, two)}
        examples = "; ".join(f"{one} and {two}" for one, two, _ in pairs[:EXAMPLES])
        text = "identical, or nearly so, to another (kept)"
        rows.append(("sample seen", "alike", len(names), len(names) / len(scan.samples), text, examples))
    if pairs := qc.get("relatives"):
        names = {name for one, two, *_ in pairs for name in (one, two)}
        examples = "; ".join(f"{one} and {two}: {word}" for one, two, word, _ in pairs[:EXAMPLES])
        text = "of one person or of close relatives, by genotypes (kept)"
        rows.append(("sample seen", "relatives", len(names), len(names) / len(scan.samples), text, examples))
    return rows


def _value_rows(scan, qc: dict, settings) -> list[tuple]:
    """Values masked, and values set to 0 or 1."""
    rows = []
    if found := qc.get("undetected"):
        worst = sorted(found["by_sample"], key=lambda name: -found["by_sample"][name])[:EXAMPLES]
        text = f"detection p above {settings.detection_p:g} (cohort.detection_p)"
        rows.append(
            ("value", "undetected", found["n"], found["n"] / max(found["n_p_values"], 1), text, "; ".join(worst))
        )
    if scan.n_clipped:
        text = f"up to {settings.tolerance:g} outside 0-1, set to 0 or 1 (cohort.tolerance)"
        rows.append(("value", "clipped", scan.n_clipped, scan.n_clipped / scan.n_values, text, "; ".join(scan.clipped)))
    return rows


def _sample_rows(qc: dict, settings) -> list[tuple]:
    """Samples kept, and left out by reason."""
    ages = (settings.min_age, settings.max_age)
    why = {
        "only_in_matrix": "no row in the sheet (cohort.unmatched)",
        "only_in_sheet": "no column in the matrix (cohort.unmatched)",
        "not_only": f"not of the stratum {settings.only} (cohort.only)",
        "not_first": f"another sample of the same {settings.one_per} is used (cohort.one_per)",
        "outside_ages": f"younger or older than {ages} (cohort.min_age, cohort.max_age)",
        "missing": f"missing in more than {settings.max_missing_sample:.3g} of the CpGs (cohort.max_missing_sample)",
    }
    dropped = {name: names for name, names in qc["samples_dropped"].items() if names}
    kept = qc["n_samples"]["kept"]
    total = kept + sum(map(len, dropped.values()))
    rows = [("sample", "kept", kept, kept / total, "used", "")]
    for name, names in dropped.items():
        rows.append(("sample", name, len(names), len(names) / total, why[name], "; ".join(names[:EXAMPLES])))
    return rows

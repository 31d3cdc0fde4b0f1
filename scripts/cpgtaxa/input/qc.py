"""What was kept of a cohort and what was left out, and why: counts (`qc.json`) and a table (`qc.csv`)."""

import numpy as np
import pandas as pd

from cpgtaxa.errors import some
from cpgtaxa.input import probes as probe_ids
from cpgtaxa.input.array_columns import ArrayColumns
from cpgtaxa.input.scan import Scan
from cpgtaxa.input.streams import EXAMPLES

COLUMNS = ["what", "reason", "n", "share", "explanation", "examples"]


def qc_table(scan: Scan, reason: np.ndarray, qc: dict, settings) -> pd.DataFrame:
    """What was kept and left out, and why: COLUMNS.

    reason: of each probe (n,), empty where it is kept. qc: the QC's counts. settings:
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


def probe_counts(reason: np.ndarray, lists: probe_ids.Lists | None, n_replicates: int) -> dict[str, int]:
    """Probes read, kept, and left out by reason. reason: of each probe (n,) objects, empty where it is kept."""
    by_lists = [*lists.filters, *([probe_ids.NOT_LISTED] if lists.only is not None else [])] if lists else []
    counts = {"in": len(reason), "kept": int((reason == "").sum())}
    counts |= {f"dropped_{name}": int((reason == name).sum()) for name in ("missing", "constant", *by_lists)}
    counts |= {"dropped_replicate": n_replicates} if n_replicates else {}
    return counts | {f"dropped_{kind}": n for kind in probe_ids.KINDS if (n := int((reason == kind).sum()))}


def arrays_of(scan: Scan, of_sample: np.ndarray) -> list[dict]:
    """Of each array in the matrix, its number of samples and the first of them."""
    groups = [np.flatnonzero(of_sample == group) for group in np.unique(of_sample)]
    return [{"n_samples": len(group), "samples": [scan.samples[at] for at in group[:EXAMPLES]]} for group in groups]


def joined_arrays(beta, scan: Scan, of_sample: np.ndarray) -> str:
    groups = "; ".join(f"{one['n_samples']:,} ({some(one['samples'], 2)} …)" for one in arrays_of(scan, of_sample))
    return (
        f"{beta}: the samples seem to be on {len(np.unique(of_sample))} arrays, of {groups}: CpGs are missing in "
        "exactly these. They are kept, each on the samples whose array has it; `cohort.only_cpgs` can keep one array's"
    )


def undetected(matrix: ArrayColumns, columns: list[int]) -> dict:
    """Values whose detection p-value is above the limit, there or missing: in all, and of each sample that has any."""
    n_masked = {matrix.samples[column]: int(matrix.n_masked[column]) for column in columns}
    return {
        "limit": matrix.limit,
        "n": sum(n_masked.values()),
        "n_p_values": matrix.n_p,
        "by_sample": {name: number for name, number in n_masked.items() if number},
    }


def values_shown(scan: Scan, matrix, columns: list[int], turned: bool) -> str:
    """Values as they were read, with their places in the file: row below the header, column counted from 1."""
    place = getattr(matrix, "place_of", lambda column: column + 2)
    shown = []
    for row, cpg, column, value in dict.fromkeys(scan.shown):
        at = (columns[column], row + 1) if turned else (row, place(columns[column]) - 1)
        shown.append(f"{cpg} of {scan.samples[column]} (row {at[0] + 1}, column {at[1] + 1}): {value:.6g}")
    return "; ".join(shown)

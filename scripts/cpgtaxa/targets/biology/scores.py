"""The target `scores`: noise and signature scores of the cohort's samples, as the taxonomy's authors define them.

A noise score is the mean absolute deviation of a sample's betas from the CpGs' means, over a set of CpGs; adjusted, the
same of the residuals of a linear regression on cell fractions. A signature score is Pearson's correlation, over a
weighted list, between the sample's z-scores and the signs of the weights.
"""

import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import gathered, refuse, some
from cpgtaxa.files import atomic
from cpgtaxa.input.texts import read_table
from cpgtaxa.pages.drawing import ACCENT, INK, MUTED, SECOND, figures_in
from cpgtaxa.pages.page import file_names, write_csv, write_page
from cpgtaxa.progress import Progress
from cpgtaxa.targets.biology.lists import ROW_NAMES, base_ids, read_lists, read_taxonomy
from cpgtaxa.wording import decimal, p_value, span

LISTS = ("noise", "signature")
"""Inputs that are lists of files."""
CHUNK_BYTES = 64 << 20
CONSTANT = 1e-6
"""A CpG whose betas spread less has no z-score: float32 resolves no smaller differences."""
FEWEST_OWN = 3
"""Samples from which means and spreads can be taken at all."""
FEW_OWN = 30
"""Below so many samples, their means and spreads are said to be uncertain."""
MANY = 3000
"""Points beyond which a figure holds their picture."""
NO_CELLS = ("residual", "n_cpgs")
"""Columns of results/cell_fractions.csv beside the cell types."""
MOST_FRACTION = 1.05
CELL = "cell_"
"""Before a cell type's name: its column of coefficients in the reference."""
SUMMARY_COLUMNS = [
    "score", "kind", "set", "adjusted", "cpgs_asked", "cpgs_found", "cpgs_used", "samples", "mean", "sd", "r_age",
    "ci_low", "ci_high", "p",
]  # fmt: skip


class Wanted:
    """A score: its set of CpGs, as rows of the cohort."""

    def __init__(self, kind: str, name: str, cpgs: np.ndarray, weights: np.ndarray | None, index: pd.Index):
        """cpgs: ids without suffix; index: those of the cohort."""
        self.kind, self.name = kind, name
        self.asked = len(cpgs)
        at = index.get_indexer(cpgs)
        self.rows = at[at >= 0].astype(np.int64)
        self.signs = None if weights is None else np.sign(weights[at >= 0])
        self.used = 0


def read_fractions(path, sample_ids) -> tuple[np.ndarray, list[str], list[str]]:
    """Cell fractions (n, types), NaN rows where a sample has none; the types; and notes. See `texts.read_table`.

    Columns that are no cell types are left out: R's row names, `residual` and `n_cpgs` of the target cell_fractions.

    Raises InputError for fields that are no numbers, samples listed twice, and where no sample of the cohort is listed.
    """
    key = "scores.cell_fractions"
    columns, lines = read_table(path, key, ("sample_id",))
    ids = columns.pop("sample_id")
    for name in ("", ROW_NAMES, *NO_CELLS):
        columns.pop(name, None)
    problems = []
    if len(set(ids)) < len(ids):
        twice = pd.Series(ids)
        problems.append(f"{key}: {path} lists samples more than once: {some(twice[twice.duplicated()].unique())}")
    if not columns:
        problems.append(f"{key}: {path} has no column of a cell type beside sample_id")
    values = np.full((len(ids), len(columns)), np.nan)
    for at, (name, fields) in enumerate(columns.items()):
        numbers = pd.to_numeric(pd.Series(fields), errors="coerce")
        odd = [f"line {line}: {field!r}" for line, field, n in zip(lines, fields, numbers, strict=True)
               if not np.isfinite(n) and field not in ("", "NA", "nan", "NaN")]  # fmt: skip
        if odd:
            problems.append(
                f"{key}: {path}: column {name!r} holds what is no number ({', '.join(odd[:3])}): correct it"
            )
        values[:, at] = numbers
    at = pd.Index(ids).get_indexer(sample_ids) if len(set(ids)) == len(ids) else np.zeros(len(sample_ids), dtype=int)
    if (at < 0).all():
        problems.append(
            f"{key}: {path} has none of the cohort's samples; it lists {some(ids[:3])}, the cohort "
            f"{some(sample_ids[:3])}"
        )
    refuse(problems)
    found = np.where((at >= 0)[:, None], values[at], np.nan)
    lacking = np.isnan(found).any(axis=1)
    found[lacking] = np.nan
    notes = [f"{lacking.sum():,} samples have no cell fractions, and no adjusted score"] if lacking.any() else []
    odd = [name for name, top in zip(columns, np.nanmax(values, axis=0, initial=0), strict=True) if top > MOST_FRACTION]
    if odd and len(odd) < len(columns):  # percentages and counts are so in all columns
        notes.append(f"{path}: {some(odd)} exceed 1, and are adjusted for as cell types: take out what is none")
    return found, list(columns), notes


def read_reference(path) -> pd.DataFrame:
    """The means and spreads of a former cohort by CpG (id without suffix): mean, sd, perhaps coefficients."""
    key = "scores.reference"
    columns, lines = read_table(path, key, ("cpg", "mean", "sd"))
    ids = base_ids(columns.pop("cpg"))
    problems = []
    if len(set(ids)) < len(ids):
        twice = pd.Index(ids)
        problems.append(f"{key}: {path} lists CpGs more than once: {some(twice[twice.duplicated()].unique())}")
    frame = pd.DataFrame(index=ids)
    for name, fields in columns.items():
        if name in ("mean", "sd", "intercept") or name.startswith(CELL):
            numbers = pd.to_numeric(pd.Series(fields), errors="coerce").to_numpy()
            odd = [line for line, n, field in zip(lines, numbers, fields, strict=True) if np.isnan(n) and field]
            if odd:
                problems.append(f"{key}: {path}: {name} is no number in {len(odd):,} rows, first line {odd[0]}")
            frame[name] = numbers
    refuse(problems)
    return frame


def coefficients(values: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Least squares of each row of values (k, n) on design (n, m), the smallest where columns depend on one another.

    (k, m); missing values, and samples whose design is missing, are left out row by row. Fractions that add up to 1
    depend on the intercept; residuals are those of any choice among them.
    """
    there = np.isfinite(design).all(axis=1)
    known = np.isfinite(values) & there
    whole = known.sum(axis=1) == there.sum()
    found = np.full((len(values), design.shape[1]), np.nan)
    found[whole] = values[whole][:, there] @ np.linalg.pinv(design[there], rcond=1e-10).T
    for row in np.flatnonzero(~whole):
        if known[row].sum() > design.shape[1]:
            found[row] = np.linalg.lstsq(design[known[row]], values[row, known[row]], rcond=1e-10)[0]
    return found


def score(cohort: Cohort, wanted: list[Wanted], fractions=None, types=(), reference: pd.DataFrame | None = None):
    """The scores by column name, each (n,) float64, and the table of means, spreads and coefficients they rest on.

    fractions: (n, types), NaN rows where lacking. Rows of the sets alone are read, some MB at a time. Missing values
    are left out, sample by sample. reference: as `read_reference`; without it the cohort's own numbers are taken.
    """
    rows = np.unique(np.concatenate([one.rows for one in wanted]))
    names = base_ids(cohort.cpgs[rows])
    n = cohort.n_samples
    design = np.column_stack([np.ones(n), fractions]) if fractions is not None else None
    columns = ["intercept", *(CELL + name for name in types)]
    kept = ["mean", "sd"] + (columns if design is not None else [])
    table = np.full((len(rows), len(kept)), np.nan)
    if reference is not None:
        table[:] = reference.reindex(index=names, columns=kept).to_numpy(dtype=np.float64)
    places = [np.searchsorted(rows, one.rows) for one in wanted]
    sums = [np.zeros((6, n)) for _ in wanted]
    adjusted = [np.zeros((2, n)) for _ in wanted]
    step = max(1, CHUNK_BYTES // (8 * n))
    progress = Progress(len(rows), "CpGs of the sets")
    for start in progress.over(range(0, len(rows), step), lambda start: min(step, len(rows) - start)):
        stop = min(start + step, len(rows))
        x = cohort.take(rows[start:stop]).astype(np.float64)
        cohort.release()
        part = table[start:stop]
        if reference is None:
            known = np.isfinite(x)
            count = known.sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                part[:, 0] = np.where(known, x, 0).sum(axis=1) / count
                off = np.where(known, x - part[:, :1], 0)
                part[:, 1] = np.sqrt((off**2).sum(axis=1) / np.where(count > 1, count - 1, np.nan))
            if design is not None:
                part[:, 2:] = coefficients(x, design)
        off = x - part[:, :1]
        left = np.abs(x - part[:, 2:] @ design.T) if design is not None else None
        for at, one in enumerate(wanted):
            inside = (places[at] >= start) & (places[at] < stop)
            here = places[at][inside] - start
            if one.kind == "noise":
                _add(sums[at], np.abs(off[here]))
                if left is not None:
                    _add(adjusted[at], left[here])
            else:
                usable = (part[here, 1] > CONSTANT) & (one.signs[inside] != 0)
                here, sign = here[usable], one.signs[inside][usable, None]
                one.used += len(here)
                z = off[here] / part[here, 1][:, None]
                there = np.isfinite(z)
                z, sign = np.where(there, z, 0), np.where(there, sign, 0)
                sums[at] += [there.sum(0), z.sum(0), (z * z).sum(0), sign.sum(0), (sign**2).sum(0), (z * sign).sum(0)]
    found = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for at, one in enumerate(wanted):
            if one.kind == "noise":
                one.used = int(np.isfinite(table[places[at], 0]).sum())
                found[f"noise_{one.name}"] = sums[at][0] / sums[at][1]
                if design is not None:
                    found[f"noise_{one.name}_adjusted"] = np.where(
                        adjusted[at][1] > 0, adjusted[at][0] / adjusted[at][1], np.nan
                    )
            else:
                k, z, z2, s, s2, both = sums[at]
                below = np.sqrt((z2 - z**2 / k) * (s2 - s**2 / k))
                found[f"signature_{one.name}"] = np.where(below > 1e-12, (both - z * s / k) / below, np.nan)
    frame = pd.DataFrame(table, columns=kept)
    frame.insert(0, "cpg", names)
    return found, frame


def _add(total: np.ndarray, deviations: np.ndarray) -> None:
    """Add sums over CpGs and their numbers to the first two rows of `total`, missing ones left out."""
    known = np.isfinite(deviations)
    total[0] += np.where(known, deviations, 0).sum(axis=0)
    total[1] += known.sum(axis=0)


def summary_of(found: dict, wanted: list[Wanted], ages: np.ndarray) -> pd.DataFrame:
    """SUMMARY_COLUMNS: of each score its CpGs, mean and spread, and Pearson's r with age, its interval and p."""
    rows = []
    for one in wanted:
        for adjusted in (False, True):
            name = f"{one.kind}_{one.name}{'_adjusted' if adjusted else ''}"
            if name not in found:
                continue
            values = found[name]
            there = np.isfinite(values) & np.isfinite(ages)
            v, a = values[there], ages[there]
            correlation = [np.nan] * 4
            if len(v) > 3 and np.ptp(v) > 0 and np.ptp(a) > 0:
                r = stats.pearsonr(v, a)
                interval = r.confidence_interval(0.95)
                correlation = [r.statistic, interval.low, interval.high, r.pvalue]
            mean, sd = (v.mean(), v.std(ddof=1)) if len(v) > 1 else (np.nan, np.nan)
            sizes = (one.asked, len(one.rows), one.used, len(v))
            rows.append((name, one.kind, one.name, adjusted, *sizes, mean, sd, *correlation))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def gather(inputs: dict, settings: dict, cohort: Cohort, problems: list[str], notes: list[str]) -> list[Wanted]:
    """The scores asked for; what stands against them is added to problems and notes."""
    ids = base_ids(cohort.cpgs)
    # Replicates of a probe (EPICv2): the first counts.
    index = pd.Index(ids)
    if more := int(index.duplicated().sum()):
        notes.append(f"{more:,} replicates of probes in the cohort are left out: the first of each counts")
        index = pd.Index(np.where(index.duplicated(), "", ids))
        index = pd.Index([name or f"\0{at}" for at, name in enumerate(index)])
    wanted, own = [], []
    if settings["taxa"]:
        taxonomy = gathered(problems, read_taxonomy, inputs["taxonomy"], "scores.taxonomy")
        for taxon in settings["taxa"] if taxonomy is not None else ():
            cpgs = pd.unique(base_ids(taxonomy["cpg"][taxonomy["taxon"] == taxon]))
            wanted.append(Wanted("noise", taxon, cpgs, None, index))
    for kind in LISTS:
        files = dict(zip(settings["names"][kind], inputs[kind], strict=True))
        for one in gathered(problems, read_lists, files, f"scores.{kind}") or ():
            key = f"scores.{kind}.{one.name}"
            if kind == "signature" and one.weights is None:
                remarks = "".join(f" ({note})" for note in one.notes)
                problems.append(f"{key}: {files[one.name]} has no weights, whose signs a signature needs{remarks}")
                continue
            notes += one.notes
            wanted.append(Wanted(kind, one.name, one.cpgs, one.weights if kind == "signature" else None, index))
            own.append(wanted[-1])
            if not len(wanted[-1].rows):
                problems.append(
                    f"{key}: none of the {one.cpgs.size:,} CpGs of {files[one.name]} is in the cohort: it lists "
                    f"{some(one.cpgs[:3])}, the cohort {some(ids[:3])}"
                )
            elif kind == "signature" and np.ptp(wanted[-1].signs) == 0:
                problems.append(f"{key}: all CpGs found have weights of one sign, with which nothing correlates")
    few = [one for one in wanted if len(one.rows) < settings["min_cpgs"]]
    notes += [
        f"{one.kind} {one.name}: {len(one.rows):,} of {one.asked:,} CpGs are in the cohort, fewer than "
        f"scores.min_cpgs ({settings['min_cpgs']}): no score is given"
        for one in few
    ]
    wanted = [one for one in wanted if one not in few]
    if not wanted and not problems:
        problems.append("scores: no score is left to be given. " + "; ".join(notes))
    return wanted


def _check_reference(inputs, reference, types, wanted, cohort: Cohort, problems: list[str], notes: list[str]) -> None:
    """Whether the means and spreads that scores need are there: a reference's, or of enough samples."""
    if reference is not None:
        lacking = [CELL + name for name in types if CELL + name not in reference]
        if lacking:
            problems.append(
                f"scores.reference: {inputs['reference']} has no coefficients of the cell types {some(types)}: take "
                "one that was made with the same cell types, or leave scores.cell_fractions out"
            )
        if (
            wanted
            and not np.isin(base_ids(cohort.cpgs[np.concatenate([o.rows for o in wanted])]), reference.index).any()
        ):
            problems.append(f"scores.reference: {inputs['reference']} has none of the CpGs that the scores need")
    elif cohort.n_samples < FEWEST_OWN:
        problems.append(
            f"scores: {cohort.n_samples} samples have no means and spreads of their own: set scores.reference to the "
            "results/scores/reference.csv.gz of a larger cohort"
        )
    elif cohort.n_samples < FEW_OWN:
        notes.append(
            f"{cohort.n_samples} samples: their means and spreads are uncertain; scores.reference takes those of a "
            "former cohort"
        )


def write(inputs: dict, outputs: dict, *, settings: dict) -> None:
    """Score the samples, and write tables, figures and page.

    inputs: `beta`, `samples`, `noise` and `signature` (paths, in the order of settings["names"]), perhaps `taxonomy`,
    `cell_fractions`, `reference`. settings: `BiologyPlan.scores_settings`. outputs: `scores` (sample_id, age, sex and a
    column per score), `summary` (SUMMARY_COLUMNS), `reference` (cpg, mean, sd, and where fractions are given intercept
    and a coefficient per type), `html`, `figures`. Raises InputError with the problems of all files.
    """
    cohort, samples = Cohort(inputs["beta"]), read_samples(inputs["samples"])
    problems, notes = [], []
    fractions, types, reference = None, [], None
    if inputs.get("cell_fractions"):
        read = gathered(problems, read_fractions, inputs["cell_fractions"], list(samples["sample_id"]))
        fractions, types, more = read or (None, [], [])
        notes += more
    if inputs.get("reference"):
        reference = gathered(problems, read_reference, inputs["reference"])
    wanted = gather(inputs, settings, cohort, problems, notes)
    _check_reference(inputs, reference, types, wanted, cohort, problems, notes)
    if fractions is not None and reference is None:
        design = np.column_stack([np.ones(len(fractions)), fractions])
        there = np.isfinite(design).all(axis=1)
        if there.sum() < np.linalg.matrix_rank(design[there]) + 2:
            problems.append(
                f"scores.cell_fractions: {there.sum():,} samples with fractions are too few for {len(types)} cell types"
            )
    refuse(problems)
    found, table = score(cohort, wanted, fractions, types, reference)
    for one in wanted:
        if one.used < len(one.rows):
            why = "not in the reference, constant, or without a value or sign"
            notes.append(f"{one.kind} {one.name}: {len(one.rows) - one.used:,} CpGs are {why}, and left out")
    ages = samples["age"].to_numpy(dtype=np.float64)
    frame = pd.DataFrame({"sample_id": samples["sample_id"], "age": ages})
    frame["sex"] = samples["sex"].to_numpy() if "sex" in samples else ""
    frame = pd.concat([frame, pd.DataFrame(found)], axis=1)
    summary = summary_of(found, wanted, ages)
    write_csv(outputs["scores"], frame)
    write_csv(outputs["summary"], summary)
    with atomic(outputs["reference"]) as temporary:
        # No time in the header: the same numbers are the same bytes.
        table.to_csv(temporary, index=False, float_format="%.9g", compression={"method": "gzip", "mtime": 0})
    with figures_in(outputs["figures"]) as figures:
        drawn = _ages_figure(figures, frame, summary)
    page = {
        "rows": [_row_page(row) for row in summary.to_dict("records")],
        "n": len(frame),
        "reference": reference is not None,
        "types": types,
        "notes": notes,
        "drawn": drawn,
        "large": len(summary) > 1,
        "noise": any(one.kind == "noise" for one in wanted),
        "signature": any(one.kind == "signature" for one in wanted),
        "files": file_names(outputs),
    }
    write_page(outputs["html"], "scores.html.j2", page)
    for note in notes:
        logging.warning(note)
    for row in summary.itertuples():
        logging.info(f"{row.score}: {row.cpgs_used:,} CpGs, r with age {row.r_age:.3f}")


def _row_page(row: dict) -> dict:
    return row | {
        "r": decimal(row["r_age"]),
        "range": span(row["ci_low"], row["ci_high"]),
        "p_text": p_value(row["p"]),
        "mean": decimal(row["mean"], 4),
        "sd": decimal(row["sd"], 4),
    }


def _ages_figure(figures, frame: pd.DataFrame, summary: pd.DataFrame):
    """Every score against age, with the means of ten groups of like ages."""
    across = min(3, len(summary))
    down = -(-len(summary) // across)
    figure, panels = plt.subplots(down, across, figsize=(3.0 * across + 0.5, 2.5 * down), squeeze=False)
    sexes = sorted({str(sex) for sex in frame["sex"].dropna()} - {""})
    colours = dict(zip(sexes, (SECOND, ACCENT), strict=False)) if len(sexes) == 2 else {}
    for axes in panels.flat[len(summary) :]:
        axes.set_visible(False)
    for axes, name in zip(panels.flat, summary["score"], strict=False):
        known = frame[frame[name].notna()]
        for sex in sexes if colours else [None]:
            some_of = known[known["sex"].astype(str) == sex] if sex is not None else known
            colour = colours.get(sex, ACCENT)
            axes.plot(some_of["age"], some_of[name], "o", ms=3, mew=0, alpha=0.5, color=colour, label=sex,
                      rasterized=len(known) > MANY)  # fmt: skip
        if len(known) >= 40 and known["age"].nunique() > 10:
            groups = known.groupby(pd.qcut(known["age"], 10, duplicates="drop"), observed=True)
            axes.plot(groups["age"].mean(), groups[name].mean(), color=INK, lw=1.6)
        kind, set_name = name.split("_", 1)
        axes.set(title=f"{kind}: {set_name.replace('_adjusted', ', adjusted')}", xlabel="age, years")
        axes.tick_params(color=MUTED)
        axes.grid(axis="y")
    if colours:
        panels[0, 0].legend(fontsize=8, handletextpad=0.1, title="sex", title_fontsize=8)
    figure.tight_layout()
    return figures.save("age", figure, frame, "Scores against age")

"""From what people have (a beta matrix and a sample sheet) to a checked cohort; every problem is reported at once."""

import dataclasses
import logging
import pathlib

import numpy as np
import pandas as pd

from cpgtaxa import files
from cpgtaxa.cohort import two_sexes
from cpgtaxa.errors import InputError, gathered, refuse, some
from cpgtaxa.input import plausible, scales, strata
from cpgtaxa.input import probes as probe_ids
from cpgtaxa.input.ages import check_ages
from cpgtaxa.input.array_columns import ArrayColumns, array_columns
from cpgtaxa.input.delimited import commas_for_points
from cpgtaxa.input.matching import check_header, match_samples
from cpgtaxa.input.matrix_checks import (
    FEWEST_SAMPLES,
    OFFERED,
    TOO_FEW,
    check_cpgs,
    check_values,
    gappy_samples,
    not_on_scale,
)
from cpgtaxa.input.opening import open_matrix
from cpgtaxa.input.qc import arrays_of, joined_arrays, probe_counts, qc_table, undetected, values_shown
from cpgtaxa.input.scan import Reading, scale_of, scan_matrix
from cpgtaxa.input.sheets import check_ids, read_sheet, typed
from cpgtaxa.input.standard_layout import parts_of
from cpgtaxa.input.streams import MISSING, and_more, many
from cpgtaxa.input.transposed import oriented

PER_CPG = 2000
"""Bytes on disk for each CpG beside its values: statistics, predictions, taxonomy."""


_TOLD = {"m": "M-values, and were made betas: beta = 2^M/(1+2^M)", "percent": "percent, and were divided by 100"}
EITHER = ("error", "drop")
POLICIES = {
    "bad_cpgs": EITHER,
    "bad_samples": EITHER,
    "unmatched": EITHER,
    "values": ("auto", *scales.SCALES),
    "collapse": ("error", "mean", "first", "keep"),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How matrix and sheet are understood, and what of them is used: the section `cohort` of the config.

    Each key is described in `workflow/schemas/config.schema.yaml` and docs/configuration.md, with its unit and what it
    may be. ValueError for a word that a key does not take.
    """

    columns: dict
    age_unit: str = "auto"
    values: str = "auto"
    collapse: str = "error"
    filters: dict | None = None
    only_cpgs: str | None = None
    only: dict | None = None
    one_per: str | None = None
    max_missing_cpg: float = 0.2
    max_missing_sample: float = 0.2
    bad_cpgs: str = "drop"
    bad_samples: str = "drop"
    unmatched: str = "error"
    detection_p: float | None = 0.01
    tolerance: float = 0.01
    min_age: float | None = None
    max_age: float | None = None
    probes: tuple[str, ...] = ("cg",)
    object: str | None = None
    index: dict | None = None

    def __post_init__(self):
        for name, known in POLICIES.items():
            if (policy := getattr(self, name)) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {policy!r}")


def ingest(beta, samples, out_beta, out_samples, out_cpgs, out_qc, out_qc_table=None, **settings) -> None:
    """Check a beta matrix and its sample sheet, and write them as a cohort.

    Parameters
    ----------
    beta
        A matrix in any format that `matrices.open_matrix` takes. CpGs in rows, their ids in the first column, one
        further column per sample; values 0..1. Where the first column holds the sheet's ids, it is turned round, with
        a warning.
    samples
        Delimited text with one row per sample, a GEO series matrix, or what `tables.read_sheet_frame` takes.
    out_beta, out_samples, out_cpgs, out_qc
        The cohort (`cpgtaxa.cohort`); sample_id, age (float64), sex (text), covariates in the order of the matrix's
        columns (Parquet); cpg, n_missing, mean, sd (n-1), min, max, kept, reason, probe (the id as given) for every
        probe read (Parquet; no mean to max for those that lists or replicates leave out); counts, checksums and
        warnings (JSON).
    out_qc_table
        What was kept and what was left out, and why (`qc.qc_table`, CSV).
    settings
        Those of `Settings`.

    Raises InputError with every problem found; then no output exists under its final name.
    """
    reading = _Ingestion(pathlib.Path(beta), pathlib.Path(samples), Settings(**settings))
    reading.open_inputs(pathlib.Path(out_beta).parent)
    reading.select_samples()
    reading.check_ages()
    if not reading.readable or not reading.wanted:
        raise InputError(reading.problems)
    size = reading.matrix.n_rows() * (4 * len(reading.wanted) + PER_CPG)
    what = f"{len(reading.wanted):,} samples of about {reading.matrix.n_rows():,.0f} CpGs take"
    files.need_space(out_beta, size, what)
    with files.atomic(out_beta) as temporary:
        reading.scan_values(temporary)
        reading.leave_out_gappy_samples()
        table, cpgs, qc = reading.check()
        files.write_parquet(out_samples, table)
        files.write_parquet(out_cpgs, cpgs)
        if out_qc_table:
            with files.atomic(out_qc_table) as partial:
                reasons = cpgs["reason"].fillna("").to_numpy(dtype=object)
                qc_table(reading.scan, reasons, qc, reading.settings).to_csv(partial, index=False, float_format="%.6g")
        files.write_json(out_qc, qc)
    reading.report()


class _Ingestion:
    """The steps of `ingest`. problems, warnings: what was found so far; a step goes on where it can."""

    def __init__(self, beta: pathlib.Path, samples: pathlib.Path, settings: Settings):
        self.beta, self.samples, self.settings = beta, samples, settings
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.parts = gathered(self.problems, parts_of, beta) or [beta]
        refuse(self.problems)
        self.begun = {path: _state(path) for path in (*self.parts, samples)}
        self.sheet = self.matrix = self.ages = None
        self.turned = False
        self.aside: dict[str, list[str]] = {"not_only": [], "not_first": []}

    def warn(self, text: str) -> None:
        """Say it now, and in the QC."""
        logging.warning(text)
        self.warnings.append(text)

    @property
    def has_ids(self) -> bool:
        """Whether the sheet is there, with sample ids."""
        return self.sheet is not None and "sample_id" in self.sheet

    def open_inputs(self, folder: pathlib.Path) -> None:
        """Open lists, matrix and sheet, and match their samples. folder: for what must be unpacked or turned round."""
        settings, problems = self.settings, self.problems
        self.lists = gathered(problems, probe_ids.Lists, settings.filters, settings.only_cpgs)
        opened = {"name": settings.object, "index": settings.index, "folder": folder}
        given = gathered(problems, lambda: open_matrix(self.beta, **opened))
        given = gathered(problems, array_columns, given, settings.detection_p) if given else None
        try:
            self.sheet, found = read_sheet(self.samples, settings.columns, set(given.samples) if given else None)
            problems += found
            for note in [*self.sheet.attrs["notes"], *getattr(given, "notes", [])]:
                self.warn(note)
        except InputError as error:
            problems += error.problems
        if given:
            ids = set(self.sheet["sample_id"]).difference(MISSING) if self.has_ids else set()
            turned = gathered(problems, oriented, given, ids, folder, self.warn)
            self.matrix, self.turned = turned or (None, False)
            problems += check_header(self.beta, self.matrix, self.turned) if self.matrix else []
        if self.has_ids:
            problems += check_ids(self.samples, self.sheet)
        self.readable = self.matrix is not None
        self.wanted = list(range(len(self.matrix.samples))) if self.matrix else []
        self.in_sheet = [name for name in self.sheet["sample_id"] if name not in MISSING] if self.has_ids else []
        if self.has_ids and self.matrix:
            self.wanted, found, self.readable = match_samples(
                self.matrix, self.beta, self.samples, self.in_sheet, settings.unmatched, self.warn
            )
            problems += found

    def _without(self, names) -> None:
        """Take samples out of the columns wanted."""
        if self.matrix and self.readable:
            left_out = set(names)
            self.wanted = [column for column in self.wanted if self.matrix.samples[column] not in left_out]

    def select_samples(self) -> None:
        """Keep those that are in the matrix, of the stratum wanted, and one of each person where that is wanted."""
        if self.sheet is None:
            return
        settings, sheet = self.settings, self.sheet
        if self.has_ids and self.matrix:
            matched = sheet["sample_id"].isin(self.matrix.samples).to_numpy()
            if matched.any():
                sheet = sheet[matched].reset_index(drop=True)
        keep, found = strata.in_stratum(sheet, self.samples, settings.only)
        self.problems += found
        if settings.one_per:
            first, found = strata.first_of_each(sheet[keep], self.samples, settings.one_per)
            self.problems += found
        else:
            first = keep[keep]
            for name, shared in strata.kin_columns(sheet[keep]).items():
                self.warn(
                    f"{self.samples}: {shared:,} of {int(keep.sum()):,} samples share their `{name}` with another. "
                    "Repeated measures and relatives make p-values too small; "
                    f"`cohort.one_per: {name}` uses one sample of each"
                )
        if self.has_ids:
            self.aside["not_only"] = sheet["sample_id"][~keep].tolist()
            self.aside["not_first"] = sheet["sample_id"][keep][~first].tolist()
            self._without([*self.aside["not_only"], *self.aside["not_first"]])
        self.sheet = sheet[keep][first].reset_index(drop=True)
        n_used = self.sheet["sample_id"].nunique() if self.has_ids else len(self.sheet)
        if n_used < FEWEST_SAMPLES:
            where = f"{self.samples}{' found in the matrix' if self.matrix else ''}"
            self.problems.append(f"Only {many(n_used, 'sample')} in {where}{TOO_FEW}")

    def check_ages(self) -> None:
        """Read the ages, in years, and keep the samples of the ages wanted."""
        sheet, settings = self.sheet, self.settings
        if sheet is None or "age" not in sheet or not len(sheet):
            return
        said = len(sheet.attrs["notes"])
        least = 0.0 if settings.min_age is None else settings.min_age
        ages, found = check_ages(self.samples, sheet, settings.age_unit, least)
        self.problems += found
        for note in sheet.attrs["notes"][said:]:
            self.warn(note)
        inside, found = _in_range(self.samples, sheet, ages, settings.min_age, settings.max_age, self.warn)
        self.problems += found
        if self.has_ids and not inside.all():
            self.aside["outside_ages"] = sheet["sample_id"][~inside].tolist()
            self._without(self.aside["outside_ages"])
            sheet, ages = sheet[inside].reset_index(drop=True), ages[inside]
        self.sheet, self.ages = sheet, ages

    def _pass_over(self) -> None:
        """Read the columns wanted, and write the good CpGs to the file that is to be the cohort."""
        self.scan = scan_matrix(self.matrix, self.wanted, self.temporary, self.settings.max_missing_cpg, self.reading)

    def _read_again(self, **reading) -> None:
        """Another pass, with something of `reading` changed."""
        self.reading = dataclasses.replace(self.reading, **reading)
        self._pass_over()

    def scan_values(self, temporary) -> None:
        """Read the values on their scale, and write them to the file `temporary`.

        A further pass converts another scale, averages replicates, or knows of several arrays.
        """
        self.temporary = temporary
        settings = self.settings
        self.reading = Reading(
            settings.values,
            settings.tolerance,
            look=True,
            sex=_sexes(self.sheet, [self.matrix.samples[column] for column in self.wanted]),
            kinds=tuple(settings.probes),
            suffixes=settings.collapse == "keep",
            lists=self.lists or None,
            first=settings.collapse == "first",
        )
        self._pass_over()
        self._find_scale()
        if settings.collapse == "mean" and not self.scan.damage:
            self._average_replicates()
        self.problems += self._check_values()
        if not self.reading.suffixes and (again := probe_ids.numbered_again(self.scan.cpgs)):
            self.problems.append(
                f"{self.beta}: {many(len(again), 'id')} that {'are' if len(again) > 1 else 'is'} another one with a "
                f"number behind it, as R and pandas make equal names different: {some(again)}. Take the numbers off "
                "(then `cohort.collapse` says what becomes of a CpG's probes), or set `cohort.collapse: keep` to keep "
                "these as CpGs of their own"
            )
        if isinstance(self.matrix, ArrayColumns):
            self.problems += self.matrix.problems()
        of_sample = self.scan.patterns.platforms(len(self.scan.cpgs), len(self.scan.samples))
        if of_sample is not None and not self.problems:
            self._read_again(of_sample=of_sample)
            self.warn(joined_arrays(self.beta, self.scan, of_sample))
        self._say_what_was_changed()

    def _find_scale(self) -> None:
        scan, said = self.scan, self.settings.values
        scale, certain = scale_of(scan) if scan.bad_values() else ("beta", True)
        if said == "auto" and certain and scale != "beta":
            say = f"`cohort.values: {scale}` says so; `beta` would refuse them"
            self.warn(f"{self.beta}: the values are {_TOLD[scale]}. {say}")
            self._read_again(scale=scale)
        elif said in _TOLD and not scan.bad_values() and (doubt := not_on_scale(said, scan)):
            self.problems.append(f"{self.beta}: {doubt}")

    def _average_replicates(self) -> None:
        several = probe_ids.replicated(np.array(self.scan.cpgs, dtype=object)[self.scan.set_aside() == ""])
        if several and not self._check_values(replicate=None):
            logging.info(f"{len(several):,} CpGs are measured by several probes: read again, to average them")
            self._read_again(merge=several)

    def _check_values(self, **remedies) -> list[str]:
        return check_values(self.beta, self.matrix, self.scan, OFFERED | remedies, self.turned)

    def _say_what_was_changed(self) -> None:
        scan, settings = self.scan, self.settings
        if scan.n_clipped and not scan.bad_values():
            self.warn(
                f"{self.beta}: {many(scan.n_clipped, 'value')} up to {settings.tolerance:g} outside 0-1 "
                f"(`cohort.tolerance`) set to 0 or 1: {and_more(scan.clipped, scan.n_clipped, '; ')}"
            )
        if self.lists and not scan.damage:
            self.problems += self.lists.problems()
        self.n_replicates = int((scan.set_aside() == probe_ids.REPLICATE).sum())
        if self.n_replicates:
            taken = "mean of each CpG's probes" if settings.collapse == "mean" else "first of each CpG's"
            probes = many(self.n_replicates, "probe")
            self.warn(f"{self.beta}: {probes} of CpGs that have several: the {taken} was taken")

    def leave_out_gappy_samples(self) -> None:
        """Read again without the samples that lack too many values."""
        settings, problems = self.settings, self.problems
        gappy = gappy_samples(
            self.beta, self.scan, settings.max_missing_sample, settings.bad_samples, problems, self.warn
        )
        self.dropped = [self.scan.samples[column] for column in gappy]
        if not self.dropped:
            return
        self.wanted = np.delete(self.wanted, gappy).tolist()
        if problems:
            return
        self.reading = self.reading.without(gappy)
        self._pass_over()
        left = ~self.sheet["sample_id"].isin(self.dropped).to_numpy()
        self.sheet, self.ages = self.sheet[left].reset_index(drop=True), self.ages[left]
        if self.ages.min() == self.ages.max():
            problems.append(f"{self.samples}: without the samples left out, all ages are equal ({self.ages[0]:g})")

    def check(self) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
        """The samples', the CpGs' and the QC's table, where nothing is wrong."""
        scan, settings = self.scan, self.settings
        numbers = scan.numbers()
        reason = np.concatenate(scan.reasons) if scan.reasons else np.empty(0, dtype=object)
        most = settings.max_missing_cpg
        self.problems += check_cpgs(self.beta, scan, reason, most, settings.bad_cpgs, self.warn)
        refuse(self.problems)
        order = self.sheet.set_index("sample_id").index.get_indexer(scan.samples)
        kin = [self.sheet[name].to_numpy()[order] for name in strata.kin_columns(self.sheet)]
        doubts, alike = plausible.doubts(self.beta, self.samples, scan.looked, scan.samples, self.ages[order], kin)
        for text in doubts:
            self.warn(text)
        table = _sample_table(self.samples, self.sheet.iloc[order], self.ages[order], self.warn)
        kept = reason == ""
        cpgs = pd.DataFrame({"cpg": pd.Series(scan.cpgs, dtype="str"), **numbers, "kept": kept})
        cpgs["reason"] = pd.Series(np.where(kept, None, reason), dtype="str")
        cpgs["probe"] = pd.Series(scan.probes, dtype="str")
        if self.masked:
            cpgs["n_undetected"] = np.concatenate(self.matrix.by_cpg)
        qc = self._qc(reason, alike)
        changed = [path for path, state in self.begun.items() if _state(path) != state]
        if changed:
            raise InputError(
                [f"{path} was changed while it was being read: let the copy finish and start again" for path in changed]
            )
        self.n_kept = int(kept.sum())
        return table, cpgs, qc

    @property
    def masked(self) -> bool:
        """Whether betas are masked for their detection p-values."""
        return isinstance(self.matrix, ArrayColumns) and self.matrix.has_p

    def _qc(self, reason: np.ndarray, alike: dict) -> dict:
        scan, ages = self.scan, self.ages
        dropped = {
            "only_in_matrix": sorted(set(self.matrix.samples) - set(self.in_sheet)),
            "only_in_sheet": sorted(set(self.in_sheet) - set(self.matrix.samples)),
            "missing": self.dropped,
        }
        n_samples = {"in_matrix": len(self.matrix.samples), "in_sheet": len(self.in_sheet), "kept": len(scan.samples)}
        arrays = self.reading.of_sample
        return {
            "n_cpgs": probe_counts(reason, self.lists, self.n_replicates),
            "array": probe_ids.describe(scan.probes),
            "values": self.reading.scale if self.reading.scale != "auto" else "beta",
            "n_samples": n_samples,
            "samples_dropped": dropped | {key: names for key, names in self.aside.items() if names},
            "age": {"min": float(ages.min()), "median": float(np.median(ages)), "max": float(ages.max())},
            "missing_fraction": scan.n_kept_missing / scan.n_kept_values,
            **alike,
            **({"n_clipped": scan.n_clipped} if scan.n_clipped else {}),
            **({"undetected": undetected(self.matrix, self.wanted)} if self.masked else {}),
            **({"arrays": arrays_of(scan, arrays)} if arrays is not None else {}),
            "sha256": {
                "cohort": files.sha256(self.temporary),
                "matrix": files.sha256(*self.parts),
                "samples": files.sha256(self.samples),
            },
            "columns": self.sheet.attrs["chosen"],
            "warnings": self.warnings,
        }

    def report(self) -> None:
        """Log what was read: some values with their places, the sheet's columns, sizes and ages."""
        logging.info(f"read from {self.beta}: {values_shown(self.scan, self.matrix, self.wanted, self.turned)}")
        chosen = ", ".join(f"{what} = {name}" for what, name in self.sheet.attrs["chosen"].items())
        logging.info(f"columns of {self.samples}: {chosen}")
        logging.info(f"{self.n_kept:,} CpGs x {len(self.scan.samples):,} samples, ages {_spread(self.ages)}")


def _sample_table(path, sheet: pd.DataFrame, ages: np.ndarray, warn) -> pd.DataFrame:
    """The samples as the cohort has them: ids, ages in years (n,), sex as text, covariates as numbers or text."""
    table = sheet.reset_index(drop=True).drop(columns="row")
    others = table.columns.drop(["sample_id", "age"])
    if commas := [name for name in others if commas_for_points(table[name], None)]:
        warn(f"{path}: decimal commas in {some(commas)} were read as points")
    for name in others:
        table[name] = table[name].where(~table[name].isin(MISSING), None) if name == "sex" else typed(table[name])
    table["sample_id"], table["age"] = table["sample_id"].astype("str"), ages
    table.attrs = {}
    return table


def _sexes(sheet: pd.DataFrame | None, samples: list[str]) -> np.ndarray | None:
    """The sheet's two sexes as 0 and 1, (n,) int8, -1 where unknown; None where there are not enough of both."""
    if sheet is None or "sex" not in sheet or "sample_id" not in sheet or sheet["sample_id"].duplicated().any():
        return None
    known = sheet.assign(sex=sheet["sex"].where(~sheet["sex"].isin(MISSING), None)).set_index("sample_id")
    codes = two_sexes(known.reindex(samples))
    return codes if min((codes == code).sum() for code in (0, 1)) >= plausible.FEWEST_OF_A_SEX else None


def _spread(ages: np.ndarray) -> str:
    low, lower, middle, upper, high = np.percentile(ages, [0, 25, 50, 75, 100])
    return f"{low:g} to {high:g} (half of them {lower:.3g} to {upper:.3g}, median {middle:.3g})"


def _in_range(path, sheet: pd.DataFrame, ages: np.ndarray, least, most, warn) -> tuple[np.ndarray, list[str]]:
    """Which samples are of the ages wanted, (n,) bool; and what is wrong where they are too few."""
    low, high = -np.inf if least is None else least, np.inf if most is None else most
    inside = ~((ages < low) | (ages > high))
    if inside.all():
        return inside, []
    names = sheet["sample_id"] if "sample_id" in sheet else sheet["row"]
    text = (
        f"{path}: {many(int((~inside).sum()), 'sample')} outside the ages wanted (`cohort.min_age`, `cohort.max_age`: "
        f"{'' if least is None else f'{least:g}'} to {'' if most is None else f'{most:g}'}): {some(names[~inside])}"
    )
    if inside.sum() < FEWEST_SAMPLES:
        return inside, [f"{text}. Only {many(int(inside.sum()), 'sample')} would be left{TOO_FEW}"]
    warn(f"left out: {text}")
    if np.ptp(ages[inside]) == 0:
        return inside, [
            f"{path}: without the samples outside the ages wanted, all ages are equal ({ages[inside][0]:g})"
        ]
    return inside, []


def _state(path: pathlib.Path):
    """What distinguishes a file from the one that was there before: None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns

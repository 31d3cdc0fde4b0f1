"""From folders of ECG records to what models read: every usable record once, and a list of those that are not."""

import dataclasses
import hashlib
import logging
import os
import pathlib
import re

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError, gathered, some
from cpgtaxa.files import atomic, need_space, write_json, write_parquet
from cpgtaxa.input.ages import coded
from cpgtaxa.input.texts import read_table
from cpgtaxa.progress import Progress
from cpgtaxa.targets.ecg.plan import AGES, ENDINGS, GROUPS, LEADS
from cpgtaxa.targets.ecg.records import AGE_NAME, YEARS, known_leads, read_record, sex_of, years
from cpgtaxa.targets.ecg.signals import HERTZ, MISSING, SAMPLES, at_500_hertz, ordered, preprocess
from cpgtaxa.targets.ecg.study import BINS, bin_of, tenths

FEWEST = 20
"""Patients of a group from whom a model is learnt."""
SHORTEST = 22
"""Samples at 500 Hz that the filter needs."""
AGREE = 0.5
"""Correlation of III with II less I above which they are believed: it is 1 but for filters and rounding."""
SHOWN = 20
SHEET = {
    "record": ("filename", "file_name", "file", "save_file", "record", "record_name", "ecg_id", "exam_id"),
    "unit": ("age_unit", "age_units", "unit_of_age", "ageunit"),
    "sex": ("gender", "sex"),
    "male": ("is_male",),
    "patient": ("patient", "patient_id", "person", "subject", "subject_id"),
    "leads": ("lead_order",),
    "rate": ("sample_rate", "sampling_rate"),
}
"""What a sheet's columns may be called, in small letters; that of ages: `records.AGE_NAME`, perhaps with its unit."""
MALE = {"true": "M", "1": "M", "false": "F", "0": "F"}
COLUMNS = ["record", "patient", "age", "sex", "group", "fold", "rate", "seconds", "flat", "missing"]
LOST = ("flat", "missing")
LEFT_OUT = ["record", "file", "reason"]


class Rows:
    """A .npy file (n, …) written row by row, without knowing n at the start."""

    def __init__(self, handle, shape: tuple[int, ...], dtype):
        self.handle, self.shape, self.dtype, self.n = handle, shape, np.dtype(dtype), 0
        self._header()
        self.start = handle.tell()

    def _header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.n, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.handle, header)

    def append(self, row: np.ndarray) -> None:
        self.handle.write(np.ascontiguousarray(row, dtype=self.dtype).tobytes())
        self.n += 1

    def close(self) -> None:
        self.handle.seek(0)
        self._header()  # numpy leaves room for a longer number in it
        if self.handle.tell() != self.start:
            raise RuntimeError("the header of the .npy file grew")


@dataclasses.dataclass
class _Sheet:
    """What the user's sheet says of a record, by name; path: None without a sheet; record: the column of names."""

    path: str | None
    rows: dict[str, dict[str, str]]
    record: str = ""


def prepare(given: dict, out: dict, *, settings: dict, seed: int) -> None:
    """Read all records and write what models read.

    given: `sheet` (CSV: FILENAME, AGE, GENDER, PATIENT), if there is one. settings: `folders` ([group, folder] pairs,
    the group None for records with ages, else of records whose age is asked), `others` (folders that the sheet may tell
    of too, and are not read), `groups` wanted, `npy`, `lead_names`, `max_lost_leads`, `min_seconds`. out: `signals`
    (float32 (n, 12, SAMPLES), preprocessed), `leads` (int16 (n, 12, SAMPLES), µV at 500 Hz, MISSING where nothing is),
    `records` (Parquet, COLUMNS, a row for each of the n; fold: the tenth of its group in which it is held out, -1 where
    its age is asked), `left_out` (CSV, LEFT_OUT) and `qc` (JSON).

    A record that cannot be used is left out and named; the rest goes on. Raises InputError where too few are left, and
    for what is wrong with the folders or the sheet as a whole.
    """
    problems: list[str] = []
    sheet = gathered(problems, read_sheet, given.get("sheet"))
    found = gathered(problems, find_records, settings["folders"])
    if problems:
        raise InputError(problems)
    if not sheet.path and any(path.suffix == ".npy" and group is None for group, path in found):
        raise InputError(
            "ecg_age.records has .npy files, which hold no ages: name the CSV with FILENAME and AGE in `ecg_age.sheet`"
        )
    need_space(out["signals"], len(found) * len(LEADS) * SAMPLES * 6, "the records need")
    table, left, counts = [], [], _Counts()
    progress = Progress(len(found), "records read", rate=True)
    with (
        atomic(out["signals"]) as first,
        atomic(out["leads"]) as second,
        open(first, "wb") as one,
        open(second, "wb") as two,
    ):
        signals = Rows(one, (len(LEADS), SAMPLES), np.float32)
        leads = Rows(two, (len(LEADS), SAMPLES), np.int16)
        for group, path in progress.over(found):
            try:
                row, values = _one(group, path, sheet, settings, counts)
            except InputError as error:
                left.append((path.stem, str(path), error.problems[0]))
            else:
                if row:
                    table.append(row)
                    signals.append(preprocess(values))
                    leads.append(microvolts(values[:, :SAMPLES]))
        signals.close()
        leads.close()
        frame = pd.DataFrame(table, columns=[*COLUMNS, "content"])
        if any(group is None for group, _ in settings["folders"]):
            _few(frame, left, counts, settings)
        elif not len(frame):
            raise InputError(f"none of the {len(found):,} records of ecg_age.asked can be used: {_listed(left)}")
        frame = _one_patient_of_copies(frame, counts)
        frame["fold"] = _folds(frame, seed)
        write_parquet(out["records"], frame[COLUMNS])
    with atomic(out["left_out"]) as temporary:
        pd.DataFrame(left, columns=LEFT_OUT).to_csv(temporary, index=False)
    lost = {lead: int(frame["missing"].str.split(",").map(lambda has, lead=lead: lead in has).sum()) for lead in LEADS}
    if any(lost.values()):
        listed = ", ".join(f"{lead} in {number:,}" for lead, number in lost.items() if number)
        counts.warnings.append(f"Leads lack, and are 0 throughout: {listed} of {len(frame):,} records")
    if 2 * counts.limbs_disagree > counts.limbs:
        counts.warnings.append(
            f"In {counts.limbs_disagree:,} of {counts.limbs:,} records the limb leads disagree (III is not II less I): "
            "are the leads named in the order in which they stand (`ecg_age.npy.leads`, `ecg_age.lead_names`)?"
        )
    # A sheet may also name, without ages, the records asked about.
    there = {path.stem for _, path in [*found, *_records_in(settings["others"])]}
    unused = sorted({name for name, row in sheet.rows.items() if row.get("age")} - there)
    if unused and any(group is None for group, _ in settings["folders"]):
        counts.warnings.append(f"{len(unused):,} rows of the sheet have no record in the folders: {some(unused, 3)}")
    for warning in counts.warnings:
        logging.warning(warning)
    write_json(out["qc"], _qc(frame, left, counts, len(found)))
    pace = len(found) / max(progress.spent(), 1e-9)
    logging.info(f"{len(frame):,} of {len(found):,} records can be used; {pace:.0f} records/s")
    if left:
        logging.warning(f"{len(left):,} records are left out, see {out['left_out']}: {_listed(left)}")


class _Counts:
    """What was found along the way."""

    def __init__(self):
        self.short = self.lost = self.between = self.not_wanted = self.resampled = self.no_sex = 0
        self.too_short = self.ignored_leads = self.worked_out = self.limbs = self.limbs_disagree = 0
        self.notes: dict[str, int] = {}
        self.warnings: list[str] = []


def read_sheet(path: str | None) -> _Sheet:
    """Rows of the sheet by record. Raises InputError where it is none, or names a record twice."""
    if not path:
        return _Sheet(None, {})
    columns, lines = read_table(path, "ecg_age.sheet", ())
    by_name = {name.strip().lower().replace(" ", "_"): name for name in columns}
    at = {what: next((by_name[name] for name in names if name in by_name), None) for what, names in SHEET.items()}
    if not at["record"]:
        raise InputError(
            f"ecg_age.sheet: {path} needs a column FILENAME (and AGE, GENDER, PATIENT as there are); found "
            f"{some(columns)}"
        )
    at["age"], unit = _age_column(columns, path)
    if at["age"] and not unit and not at["unit"]:
        ages = pd.to_numeric(pd.Series(columns[at["age"]]), errors="coerce").dropna().to_numpy()
        if len(ages) and (codes := coded(ages)):
            raise InputError(
                f"ecg_age.sheet: {path}: the ages in the column {at['age']!r} {codes}. If they are years, call the "
                "column AGE_YEARS; if not, give the ages"
            )
    names = [stem_of(text) for text in columns[at["record"]]]
    rows: dict[str, dict[str, str]] = {}
    twice = []
    for row, name in enumerate(names):
        if name in rows:
            twice.append(f"{name} (line {lines[row]})")
        given = {what: columns[column][row] for what, column in at.items() if column and what != "record"}
        rows[name] = {"unit": unit, **given, "sex": given.get("sex") or MALE.get(given.get("male", "").lower(), "")}
    if twice:
        raise InputError(f"ecg_age.sheet: {path} names records more than once: {some(twice)}. Keep one row of each")
    return _Sheet(str(path), rows, at["record"])


def _age_column(columns, path) -> tuple[str | None, str]:
    """The sheet's column of ages, and the unit in its name (a key of YEARS, or nothing)."""
    words = {name: re.sub(r"[^a-z]+", " ", name.lower()).strip() for name in columns}
    ages = [name for name, text in words.items() if AGE_NAME.fullmatch(text) and not re.search(r"\d", name)]
    if len(ages) > 1:
        raise InputError(f"ecg_age.sheet: {path} has several columns of ages, {some(ages)}: rename those not meant")
    if not ages:
        return None, ""
    return ages[0], next((one for one in words[ages[0]].split() if one in YEARS), "")


def _unit(row: dict[str, str]) -> str:
    """The unit of a row's age: a key of YEARS, or nothing. Raises InputError where it is not known."""
    unit = row.get("unit", "").strip().lower()
    unit = {"y": "years", "m": "months", "w": "weeks", "d": "days"}.get(unit, unit)
    if unit and unit not in YEARS:
        raise InputError(f"the unit of its age is {unit[:40]!r}: write years, months, weeks or days")
    return unit


def stem_of(name: str) -> str:
    """A record's name from a file's, with or without folder and ending."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if name.lower().endswith((*ENDINGS, ".dat")) else name


def find_records(folders) -> list[tuple[str | None, pathlib.Path]]:
    """Group and path of every record, in the order of names. Raises InputError for empty folders, names used twice."""
    found, problems, seen = [], [], {}
    for group, folder in folders:
        key = f"ecg_age.asked.{group}" if group else "ecg_age.records"
        paths = [path for _, path in _records_in([folder])]
        if not paths:
            problems.append(
                f"{key}: {folder} has no records: .hea files with their .dat or .mat (WFDB), .npy or MATLAB files are "
                "looked for, also in folders inside"
            )
        for path in paths:
            if re.search(r"[\x00-\x1f\ud800-\udfff]", str(path)):  # line breaks, bytes that are not UTF-8
                problems.append(f"{key}: the name {str(path)!a} has signs that tables cannot hold. Rename it")
            if path.stem in seen:
                problems.append(f"{key}: two records are called {path.stem}: {seen[path.stem]} and {path}. Rename one")
            seen.setdefault(path.stem, path)
            found.append((group, path))
    if problems:
        raise InputError(problems[:SHOWN])
    return found


def _records_in(folders) -> list[tuple[str, pathlib.Path]]:
    """Folder and path of every file that is a record, in the order of names; links are followed."""
    found = []
    for folder in folders:
        paths = []
        for top, _, names in os.walk(folder, followlinks=True):
            # Beside headers, .mat files are the signals of WFDB.
            endings = ENDINGS if not any(name.endswith(".hea") for name in names) else (".hea", ".npy")
            paths += [pathlib.Path(top, name) for name in names if name.endswith(endings) and not name.startswith(".")]
        found += [(folder, path) for path in sorted(paths)]
    return found


def _leads_of(recording, lead_names: dict) -> tuple[list[str], list[str]]:
    """The leads' names as `known_leads` gives them, and those unknown; raises InputError for none, or one twice."""
    names, unknown = known_leads(recording.names, lead_names)
    if len(unknown) == len(names):
        raise InputError(
            f"none of its leads is one of {', '.join(LEADS)}; they are called {some(unknown, 12)}: say which is which "
            "in `ecg_age.lead_names`, as {their name: V1} (null for a signal that is none)"
        )
    twice = sorted(name for name in LEADS if sum(other.lower() == name.lower() for other in names) > 1)
    if twice:
        raise InputError(
            f"several of its leads are {some(twice)}; they are called {some(recording.names, 20)}: name each once, or "
            "correct `ecg_age.lead_names`"
        )
    return names, unknown


def _one(asked: str | None, path: pathlib.Path, sheet: _Sheet, settings: dict, counts: _Counts):
    """A record's row and its leads (12, time) in mV at 500 Hz; None where the config has it left out.

    Raises InputError where it cannot be used, of records whose age is asked also where the config has them left out.
    """
    given = sheet.rows.get(path.stem, {})
    recording = read_record(path, settings["npy"], given)
    names, unknown = _leads_of(recording, settings["lead_names"])
    age, group = np.nan, asked
    if not asked:
        age = years(given["age"], _unit(given)) if given.get("age") else years(recording.age)
        group = group_of(age)
        if group is None:
            counts.between += 1
            return None, None
        if group not in settings["groups"]:
            counts.not_wanted += 1
            return None, None
    seconds = recording.values.shape[1] / recording.rate
    if seconds < settings["min_seconds"] or seconds * HERTZ < SHORTEST:
        if asked:  # a record asked about gets the reason
            raise InputError(
                f"it lasts {seconds:.3g} s, and {settings['min_seconds']:g} s are wanted (`ecg_age.min_seconds`): "
                "lower that, or leave it out"
            )
        counts.too_short += 1
        return None, None
    values, missing = ordered(recording.values, names)
    counts.worked_out += len(LEADS) - len(missing) > len({name.lower() for name in names} - _lower(unknown))
    values[~np.isfinite(values)] = np.nan
    if recording.rate != HERTZ:
        counts.resampled += 1
        values = _resampled(values, recording.rate)
    flat = [name for name, lead in zip(LEADS, values, strict=True) if name not in missing and is_flat(lead[:SAMPLES])]
    if unknown and missing:
        raise InputError(
            f"its leads {some(missing, 12)} lack, and {some(unknown, 12)} are none of the twelve: say which is "
            "which in `ecg_age.lead_names` (null for a signal that is none)"
        )
    if len(flat) + len(missing) > settings["max_lost_leads"]:
        if asked:
            raise InputError(
                f"{len(flat) + len(missing)} of its leads are flat or lack ({some(flat + missing, 12)}), and at most "
                f"{settings['max_lost_leads']} may (`ecg_age.max_lost_leads`): raise that, or leave it out"
            )
        counts.lost += 1
        return None, None
    agree = limbs_agree(values)
    counts.limbs += agree is not None
    counts.limbs_disagree += agree is False
    counts.short += values.shape[1] < SAMPLES
    counts.ignored_leads += bool(unknown)
    for note in recording.notes:
        kind = "its header names the record by its signal file" if note.startswith("its header") else note
        counts.notes[kind] = counts.notes.get(kind, 0) + 1
    sex = sex_of(given.get("sex")) or recording.sex
    counts.no_sex += not sex
    row = {
        "record": path.stem,
        "patient": given.get("patient") or path.stem,
        "age": age,
        "sex": sex,
        "group": group,
        "fold": -1,
        "rate": recording.rate,
        "seconds": seconds,
        "flat": ",".join(flat),
        "missing": ",".join(missing),
        "content": hashlib.sha256(np.nan_to_num(values[:, :SAMPLES]).astype(np.float32).tobytes()).hexdigest(),
    }
    return row, values


def limbs_agree(values: np.ndarray) -> bool | None:
    """Whether III is II less I, as it is in every heart; None where these say too little. values: (12, time) mV."""
    one, two, three = values[:3]
    known = np.isfinite(values[:3]).all(axis=0)
    if known.sum() < SHORTEST or is_flat(three[known]) or is_flat((two - one)[known]):
        return None
    return float(np.corrcoef(three[known], (two - one)[known])[0, 1]) > AGREE


def _lower(names) -> set[str]:
    return {name.lower() for name in names}


def group_of(age: float) -> str | None:
    """The group whose model is for this age; None between the two: whole years 0 to 9 are children, from 19 adults."""
    if age < AGES["child"][1] + 1:
        return "child"
    return "adult" if age >= AGES["adult"][0] else None


def is_flat(lead: np.ndarray) -> bool:
    """Whether a lead is flat: at most one value, but for missing ones."""
    known = lead[np.isfinite(lead)]
    return len(known) == 0 or float(np.ptp(known)) <= 1e-9


def _resampled(values: np.ndarray, rate: float) -> np.ndarray:
    """(leads, time) at 500 Hz; values that are missing are bridged by lines first, and missing again afterwards."""
    known = np.isfinite(values)
    filled = values.copy()
    at = np.arange(values.shape[1])
    for lead, there in zip(filled, known, strict=True):
        if there.any():
            lead[~there] = np.interp(at[~there], at[there], lead[there])
        else:
            lead[:] = 0
    found = at_500_hertz(filled, rate)
    nearest = np.minimum((np.arange(found.shape[1]) * rate / HERTZ).round().astype(int), values.shape[1] - 1)
    return np.where(known[:, nearest], found, np.nan)


def microvolts(values: np.ndarray) -> np.ndarray:
    """(leads, time up to SAMPLES) mV to (leads, SAMPLES) int16 µV, MISSING where nothing is."""
    found = np.full((len(values), SAMPLES), MISSING, dtype=np.int16)
    known = np.isfinite(values)
    scaled = np.where(known, values, 0) * 1000
    found[:, : values.shape[1]] = np.where(known, np.clip(np.rint(scaled), -32767, 32767), MISSING)
    return found


def _few(frame: pd.DataFrame, left, counts: _Counts, settings: dict) -> None:
    """Raise InputError where a group has too few patients to learn from, with what became of the others."""
    problems = []
    for group in settings["groups"]:
        some_of = frame[(frame["group"] == group) & frame["age"].notna()]
        n = some_of["patient"].nunique()
        if n < FEWEST:
            ages = "0 to 9 years" if group == "child" else "19 years and above"
            problems.append(
                f"only {n} patients of {ages} have a record that can be used, and at least {FEWEST} are needed for the "
                f"model of the group {group}: bring more, or set `ecg_age.networks: {{{group}: null}}`"
            )
    if problems and left:
        problems.append(f"{len(left):,} records could not be used: {_listed(left)}")
    if problems:
        for what, number in (
            (f"shorter than {settings['min_seconds']:g} s (`ecg_age.min_seconds`)", counts.too_short),
            (
                f"with more than {settings['max_lost_leads']} leads flat or lacking (`ecg_age.max_lost_leads`)",
                counts.lost,
            ),
            ("of people between 10 and 18 years, for whom there is no published model", counts.between),
        ):
            if number:
                problems.append(f"{number:,} records were left out: {what}")
        raise InputError(problems)


def _listed(left) -> str:
    listed = "; ".join(f"{file}: {reason}" for _, file, reason in left[:SHOWN])
    return listed + (f"; and {len(left) - SHOWN:,} more" if len(left) > SHOWN else "")


def _one_patient_of_copies(frame: pd.DataFrame, counts: _Counts) -> pd.DataFrame:
    """Records with the same values are of one patient: they must not be learnt from and tested on."""
    copies = frame[frame.duplicated("content", keep=False)]
    for _, same in copies.groupby("content", sort=False):
        patients = frame.loc[same.index, "patient"]  # as they are now: copies of other records may have joined some
        if patients.nunique() > 1:
            counts.warnings.append(f"records {some(same['record'])} hold the same values: taken for one patient's")
            frame.loc[frame["patient"].isin(set(patients)), "patient"] = patients.iloc[0]
    return frame


def _folds(frame: pd.DataFrame, seed: int) -> pd.Series:
    """The tenth of each record with an age, -1 of the others."""
    found = pd.Series(-1, index=frame.index, dtype=np.int8)
    for group in GROUPS:
        known = frame.index[(frame["group"] == group) & frame["age"].notna()]
        bins = bin_of(frame.loc[known, "age"].to_numpy(), group)
        found.loc[known] = tenths(frame.loc[known, "patient"].to_numpy(), bins, seed)
    return found


def _qc(frame: pd.DataFrame, left, counts: _Counts, n_files: int) -> dict:
    known = frame[frame["age"].notna()]
    lost = {
        lead: {what: int(frame[what].map(lambda names, lead=lead: lead in names.split(",")).sum()) for what in LOST}
        for lead in LEADS
    }
    return {
        "files": n_files,
        "used": len(frame),
        "left_out": len(left),
        "asked": int(frame["age"].isna().sum()),
        "groups": {group: _group_qc(some_of, group) for group, some_of in known.groupby("group")},
        "too_short": counts.too_short,
        "too_many_lost_leads": counts.lost,
        "between": counts.between,
        "group_not_wanted": counts.not_wanted,
        "filled_with_zeros": counts.short,
        "resampled": counts.resampled,
        "without_sex": counts.no_sex,
        "with_leads_ignored": counts.ignored_leads,
        "limb_leads_worked_out": counts.worked_out,
        "leads": {lead: one for lead, one in lost.items() if any(one.values())},
        "notes": counts.notes,
        "warnings": counts.warnings,
    }


def _group_qc(frame: pd.DataFrame, group: str) -> dict:
    names = BINS[group][1]
    numbers = np.bincount(bin_of(frame["age"].to_numpy(), group), minlength=len(names))
    return {
        "records": len(frame),
        "patients": int(frame["patient"].nunique()),
        "bins": {name: int(number) for name, number in zip(names, numbers, strict=True) if number},
    }

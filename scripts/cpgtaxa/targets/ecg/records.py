"""One ECG record as it comes: WFDB (by the library `wfdb`), a .npy or MATLAB file, to leads in mV, names and rate.

What is wrong with a record is an InputError of one sentence or two, without the record's name, which the caller knows.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import tempfile

import numpy as np
import scipy.io
import wfdb

from cpgtaxa.errors import InputError, reason_of, some
from cpgtaxa.input.ages import PER_YEAR, several
from cpgtaxa.targets.ecg.plan import LEADS

MILLIVOLTS = {"mv": 1.0, "millivolt": 1.0, "uv": 1e-3, "µv": 1e-3, "microvolt": 1e-3, "v": 1e3, "nv": 1e-6}
"""A unit in mV."""
SEXES = {"f": "F", "female": "F", "w": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
YEARS = {
    **dict.fromkeys(("years", "year", "yrs", "yr", "y", "yo"), 1.0),
    **dict.fromkeys(("months", "month", "mos", "mo", "mths", "mth"), 1 / 12),
    **dict.fromkeys(("weeks", "week", "wks", "wk"), 7 / 365.25),
    **dict.fromkeys(("days", "day"), 1 / 365.25),
}
"""A unit of age in years."""
AGE = re.compile(r"([-+]?\d+(?:\.\d+|,(?!\d{3}\b)\d+)?)\s*([A-Za-z. ]*)")
"""A number, of which a comma may be the decimal sign where it cannot part thousands, and a unit."""
DICOM = re.compile(r"\d{3}[DWMY]")
WHEN = "ecg|recording|record|exam|examination|acquisition|test|visit"
AGE_NAME = re.compile(rf"(patient )?age( (at|of) (the )?({WHEN}))?( (in )?({'|'.join(YEARS)}))?")
"""What an age is called, its words alone, in small letters."""
NEXT = re.compile(r"(.*?)[\s,;#]*(?<![A-Za-z])<?((?:patient )?age[ \w()\[\]]*|[A-Za-z]\w*)>?", re.I)
"""A value, and the name of what follows: its last word, but for an age's."""
LEAD = re.compile(r"(?:mdc)?(?:ecg|ekg)?(lead|[dl])?(i{1,3}|[1-3]|av[rlf]|[vc][1-6])(?:lead)?")
"""Names of leads without blanks and signs, in small letters: DI, D1, lead II, MDC_ECG_LEAD_AVR, C1."""
OLDEST = 122.0
"""Years; no one is known to have grown older."""
MOST_MILLIVOLTS, LEAST_MILLIVOLTS = 32.0, 0.05
"""Between which the largest value of a record lies, unless it is flat."""
LONG = 1_000_000
"""Samples beyond which a record is not read on: half an hour at 500 Hz, of which 8.2 s are wanted."""
RATES = (50.0, 20_000.0)
"""Hz between which a sampling rate is believed."""


@dataclasses.dataclass
class Recording:
    """values: (leads, time) mV, NaN where missing; names: of the leads; rate: in Hz; age: as written or None;
    sex: F, M or empty; notes: what was mended."""

    values: np.ndarray
    names: list[str]
    rate: float
    age: str | None = None
    sex: str = ""
    notes: tuple[str, ...] = ()


def sex_of(text: str | None) -> str:
    """F, M, or empty where it is not given in words."""
    return SEXES.get((text or "").strip().lower(), "")


def years(text: str | None, unit: str = "") -> float:
    """An age in years: a number, perhaps with its unit (`8 months`, `063Y` as DICOM writes it) and a decimal comma.

    unit: that of a number which has none; else years. Raises InputError where it is missing, no number, of a unit that
    is not known, or absurd.
    """
    written = re.sub(r"[()\[\]]", " ", text or "").strip()
    if written.lower() in ("", "nan", "na", "n/a", "unknown", "none", "null", "?", "-"):
        raise InputError("its age is missing: write it in the header (#Age: 63) or in the sheet (column AGE)")
    found = AGE.fullmatch(written)
    if found is None:
        age, first = several(written)  # 34 y 6 m, P34Y
        age /= PER_YEAR[first or "years"]
        try:
            age = age if first else float(written)  # inf, 1e9
        except ValueError:
            raise InputError(f"its age is {written[:40]!r}, which is no number: write years") from None
    else:
        own = re.sub(r"[^a-z]", "", found[2].lower()).removesuffix("old")
        own = (
            {"y": "years", "m": "months", "w": "weeks", "d": "days"}.get(own, own) if DICOM.fullmatch(written) else own
        )
        if own and own not in YEARS:
            raise InputError(
                f"its age is {written[:40]!r}, of a unit that is not known: write years, or 8 months, 12 days"
            )
        age = float(found[1].replace(",", ".")) * YEARS[own or unit or "years"]
    if age == 300:
        raise InputError("its age is 300, as PTB-XL writes ages above 89: the true age is not known, leave it out")
    if not 0 <= age <= OLDEST:  # also NaN
        raise InputError(f"its age is {written[:40]}, which nobody has: write years between 0 and {OLDEST:.0f}")
    return age


def read_record(path: pathlib.Path, npy: dict, told: dict[str, str] | None = None) -> Recording:
    """The record of a header (.hea), of a .npy or a MATLAB file; npy: `rate`, `leads`, `unit` of .npy, the latter two
    also of MATLAB files, for which the sheet's row (told: `rate`, `leads`) goes first.

    Raises InputError where it cannot be read or is not what it says.
    """
    try:
        if path.suffix == ".mat":
            found = _matlab(path, npy, told or {})
        else:
            found = _npy(path, npy) if path.suffix == ".npy" else _wfdb(path)
    except OSError as error:
        name = pathlib.Path(error.filename).name if error.filename else path.name
        missing = isinstance(error, FileNotFoundError)
        what = "is not there" if missing else f"cannot be read ({error.strerror or reason_of(error)})"
        raise InputError(f"{name} {what}: copy the record again, all its files") from error
    twice = sorted({name for name in found.names if found.names.count(name) > 1})
    if twice:
        raise InputError(f"several of its leads are called {some(twice)}: name each once")
    if not RATES[0] <= found.rate <= RATES[1]:
        raise InputError(f"its sampling rate is {found.rate:g} Hz: check the header (or `ecg_age.npy.rate`)")
    with np.errstate(invalid="ignore"):
        high = np.abs(found.values[np.isfinite(found.values)]).max(initial=0.0)
    if 0 < high < LEAST_MILLIVOLTS:
        raise InputError(
            f"its values reach {high:.3g} mV, and a heart gives one or so: check gain and unit in the header"
            + (f" (`ecg_age.npy.unit` is {npy['unit']})" if path.suffix != ".hea" else "")
        )
    if high > MOST_MILLIVOLTS:
        raise InputError(
            f"its values reach {high:,.0f} mV, and a heart gives a few: check gain and unit in the header"
            + (" (`ecg_age.npy.unit` is mV; are these µV?)" if path.suffix != ".hea" and npy["unit"] == "mV" else "")
        )
    return found


def _npy(path: pathlib.Path, npy: dict) -> Recording:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        # numpy raises what a spoilt header leads to, of many kinds.
        raise InputError(f"{path.name} is damaged or no .npy file ({reason_of(error)}): copy it again") from error
    names = list(npy["leads"])
    shape = " × ".join(map(str, getattr(values, "shape", ()))) or "nothing"
    if not isinstance(values, np.ndarray) or values.ndim != 2 or len(names) not in values.shape:
        raise InputError(
            f"{path.name} holds {shape}, and {len(names)} leads × samples are wanted: write one record a file, or name "
            "its leads in `ecg_age.npy.leads`"
        )
    if values.dtype.kind not in "fiu":
        raise InputError(f"{path.name} holds {values.dtype}, and numbers are wanted: write float32 or int16")
    notes = ()
    if values.shape[0] != len(names):
        values, notes = values.T, ("samples × leads, turned round",)
    values = values[:, :LONG].astype(np.float64) * MILLIVOLTS[npy["unit"].lower()]
    return Recording(values, names, float(npy["rate"]), notes=notes)


def _matlab(path: pathlib.Path, npy: dict, told: dict[str, str]) -> Recording:
    """Leads × samples of real numbers, the one array of that shape in the file; `curr_sample_rate` beside it."""
    try:
        held = scipy.io.loadmat(path)
    except OSError:
        raise
    except NotImplementedError as error:
        raise InputError(f"{path.name} is of MATLAB 7.3, and version 7 is read: save it with -v7") from error
    except Exception as error:
        # scipy raises what a spoilt file leads to, of many kinds.
        raise InputError(f"{path.name} is damaged or no MATLAB file ({reason_of(error)}): copy it again") from error
    names = re.findall(r"[A-Za-z0-9_.+-]+", told.get("leads") or "") or list(npy["leads"])
    arrays = {name: one for name, one in held.items() if isinstance(one, np.ndarray) and one.ndim == 2}
    signals = {name: one for name, one in arrays.items() if min(one.shape) > 1 and len(names) in one.shape}
    if len(signals) != 1:
        shapes = [f"{name} {' × '.join(map(str, one.shape))}" for name, one in arrays.items()]
        raise InputError(
            f"{path.name} holds {some(shapes)}, and one array of {len(names)} leads × samples is wanted: name its "
            "leads in the sheet's column lead_order, or in `ecg_age.npy.leads`"
        )
    (values,) = signals.values()
    if values.dtype.kind != "f":
        raise InputError(
            f"{path.name} holds {values.dtype}, whole numbers whose gain is in a WFDB header, and {path.stem}.hea is "
            "not there: bring it"
        )
    rates = {float(held[key].item()) for key in ("curr_sample_rate",) if key in arrays and held[key].size == 1}
    if told.get("rate"):
        try:
            rates.add(float(told["rate"]))
        except ValueError:
            raise InputError(f"its sample_rate in the sheet is {told['rate'][:40]!r}, which is no number") from None
    if len(rates) != 1:
        found = (
            f"it tells {' and '.join(f'{rate:g}' for rate in sorted(rates))} Hz"
            if rates
            else "neither the file nor the sheet tells its sampling rate"
        )
        raise InputError(f"{found}: give one, in the sheet's column sample_rate")
    notes = ()
    if values.shape[0] != len(names):
        values, notes = values.T, ("samples × leads, turned round",)
    values = values[:, :LONG].astype(np.float64) * MILLIVOLTS[npy["unit"].lower()]
    return Recording(values, names, rates.pop(), notes=notes)


def _wfdb(path: pathlib.Path) -> Recording:
    text = path.read_text(encoding="utf-8", errors="replace")
    with _header_that_wfdb_reads(path, text) as (place, notes):
        try:
            most = LONG if _samples(text) > LONG else None
            record = wfdb.rdrecord(str(place), physical=False, sampto=most)
            values = record.dac()
        except OSError:
            raise
        except Exception as error:
            # wfdb raises what a wrong header leads to, of many kinds.
            raise InputError(
                f"header and signal do not fit, or one is damaged ({reason_of(error)}): copy the record again"
            ) from error
    if values is None or record.n_sig == 0 or values.shape[0] == 0:
        raise InputError("it holds no signal: copy the record again")
    # Checksums and sizes are of the whole record.
    problems = [] if most else _disagreements(record, path)
    if problems:
        raise InputError("; ".join(problems) + ": copy the record again, or correct its header")
    units = [(unit or "mV").strip() for unit in record.units]
    odd = sorted({unit for unit in units if unit.lower() not in MILLIVOLTS})
    names = [(name or "").strip() for name in record.sig_name]
    kept = [at for at, unit in enumerate(units) if unit.lower() in MILLIVOLTS]
    if not kept:
        raise InputError(f"its leads are in {some(odd)}: mV, uV or V are wanted")
    values = values.T.astype(np.float64)[kept] * np.array([MILLIVOLTS[units[at].lower()] for at in kept])[:, None]
    comments = _comments(record.comments)
    return Recording(
        values,
        [names[at] for at in kept],
        float(record.fs),
        comments.get("age"),
        sex_of(comments.get("sex")),
        notes,
    )


def _samples(text: str) -> int:
    """Samples of each lead by the header, 0 where it gives none."""
    line = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    field = line.split()[3:4]
    return int(field[0]) if field and field[0].isdecimal() else 0


def _comments(comments: list[str]) -> dict[str, str]:
    """age and sex in the comments, the first of each: `Age: 63 years, Sex: F`, `<age>: 63  <sex>: M`, and the
    bare `69 M 1085 1629 x1` that old sets of PhysioNet begin with."""
    found: dict[str, str] = {}
    for line in comments or []:
        name, *rest = re.split(r"\s*[:=]\s*", line)
        for piece in rest:
            ends = NEXT.fullmatch(piece) if piece is not rest[-1] else None
            value, following = ends.groups() if ends else (piece, "")
            value = re.split(r",(?!\d)|[;<]|\s{2,}", value)[0].strip(" ,").rstrip(" ,>")
            words = re.sub(r"[^a-z]+", " ", name.lower()).strip()
            if AGE_NAME.fullmatch(words):
                unit = next((one for one in words.split() if one in YEARS), "")
                bare = unit and re.fullmatch(r"[\d.,]+", value)
                found.setdefault("age", f"{value} {unit}" if bare else value)
            elif words in ("sex", "gender", "patient sex"):
                found.setdefault("sex", value)
            name = following
    first = re.match(r"(\d{1,3}) ([MF])\b", (comments or [""])[0].strip())
    if first and not found:
        found = {"age": first[1], "sex": first[2]}
    return found


@contextlib.contextmanager
def _header_that_wfdb_reads(path: pathlib.Path, text: str):
    """The record's path without ending for `wfdb`, and what had to be mended for it.

    Headers in public sets name the record as its signal file, with an ending, which `wfdb` refuses; of µV it reads V.
    """
    lines = text.splitlines()
    first = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if first is None:
        raise InputError(f"{path.name} is empty: copy the record again")
    if "\0" in text:
        raise InputError(f"{path.name} is not text, it holds NUL bytes: copy the record again")
    signals = [line.split(" ")[0].strip() for line in lines[first + 1 :] if line.strip() and not line.startswith("#")]
    outside = sorted({signal for signal in signals if re.search(r"[/\\]|^\.\.", signal)})
    if outside:
        raise InputError(f"its header names the signal file {some(outside, 3)}: only files beside the header are read")
    name, _, rest = lines[first].strip().partition(" ")
    leads, rate = rest.split()[:1], rest.split()[1:2]
    if leads and leads[0].isdecimal() and "/" not in name and int(leads[0]) != len(signals):
        raise InputError(
            f"its header gives {int(leads[0])} leads and describes {len(signals)}: copy the record again, or "
            "correct its header"
        )
    if not rate:  # wfdb would take 250 Hz
        raise InputError("its header gives no sampling rate: write it behind the number of leads")
    if rate and not re.fullmatch(r"[\d.]+(e[-+]?\d+)?(/.*)?", rate[0], re.I):  # wfdb would take 250 Hz
        raise InputError(f"its sampling rate is {rate[0][:40]!r}, which is no number: correct its header")
    as_wanted = re.fullmatch(r"[-\w]+(/\d+)?", name) and re.fullmatch(r"[-\w]+", path.stem)
    numbers, date = _without_date(rest.split())
    dated = not re.fullmatch(r"(\d+:\d+(:\d+(\.\d+)?)?( \d+/\d+/\d{4})?)?", " ".join(date))
    if as_wanted and not dated and not re.search("[µμ]V", text):
        yield path.with_suffix(""), ()
        return
    notes = () if as_wanted else (f"its header calls it {name}",)
    if dated:
        rest = " ".join(numbers)  # wfdb knows one order of date and time; neither is used
    lines = [re.sub("[µμ](?=V)", "u", line) for line in lines]
    lines[first] = f"record {rest}"
    with tempfile.TemporaryDirectory() as folder:
        # Before the links: a signal file called the same must not be written through.
        pathlib.Path(folder, "record.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for signal in dict.fromkeys(signals):
            if not os.path.lexists(pathlib.Path(folder, signal)):
                os.symlink((path.parent / signal).resolve(), pathlib.Path(folder, signal))
        yield pathlib.Path(folder, "record"), notes


def _disagreements(record, path: pathlib.Path) -> list[str]:
    """Where a header and its signal disagree: samples, first values, checksums (those in the header)."""
    problems = []
    digital = record.d_signal
    if record.sig_len and digital.shape[0] != record.sig_len:
        problems.append(f"its header gives {record.sig_len:,} samples and its signal has {digital.shape[0]:,}")
    if not record.file_name or set(record.samps_per_frame) != {1}:
        return problems  # segments, or means of several samples: what follows would compare other things
    if len(set(record.fmt)) == 1 and record.fmt[0] == "16" and record.sig_len:
        # One signal file of 16-bit numbers: its size is known. wfdb reads as far as the header says.
        names = sorted(set(record.file_name))
        size = (path.parent / names[0]).stat().st_size - (record.byte_offset[0] or 0)
        wanted = 2 * record.n_sig * record.sig_len
        if len(names) == 1 and size != wanted:
            problems.append(
                f"its header gives {record.n_sig} leads × {record.sig_len:,} samples ({wanted:,} bytes) and its signal "
                f"file has {size:,} bytes"
            )
    sums = record.checksum or [None] * record.n_sig
    wrong = [
        name
        for name, stated, found in zip(record.sig_name, sums, record.calc_checksum(), strict=True)
        if stated is not None and (stated - found) % 65536
    ]
    if wrong:
        problems.append(f"the checksums of its leads {some(wrong, 3)} are not those in its header")
    return problems


def _without_date(rest: list[str]) -> tuple[list[str], list[str]]:
    """Of a record line behind the name: numbers of leads, samples a second and samples; and date and time."""
    n = next((at for at, word in enumerate(rest[:3]) if at and not re.fullmatch(r"[\d.]+(/.*)?", word)), 3)
    return rest[:n], rest[n:]


def known_leads(names: list[str], aliases: dict[str, str | None]) -> tuple[list[str], list[str]]:
    """The leads by the names in use and the config's `lead_names`, and those that are none of the twelve (as in the
    record). An alias of None is a signal that is no lead, and known as such: its name becomes empty."""
    turned = {alias.strip().lower(): name or "" for alias, name in aliases.items()}
    named = [turned[name.lower()] if name.lower() in turned else lead_of(name) for name in names]
    unknown = [given for given, name in zip(names, named, strict=True) if name is None]
    return [given if name is None else name for given, name in zip(names, named, strict=True)], unknown


def lead_of(name: str) -> str | None:
    """Which of LEADS a name means; None where it is none, or in doubt: numbers alone, -aVR, MLII."""
    text = re.sub(r"\(.*\)|\[.*\]|[\s_.:]|(?<=[a-z])-", "", name.strip().lower())
    found = LEAD.fullmatch(text)
    if found is None:
        return None
    prefix, lead = found.groups()
    if lead in "123":
        return "I" * int(lead) if prefix else None
    if prefix in ("d", "l") and lead[0] != "i":
        return None
    lead = lead.replace("c", "v")
    return next(one for one in LEADS if one.lower() == lead)

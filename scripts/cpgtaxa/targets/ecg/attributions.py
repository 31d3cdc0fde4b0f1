"""What networks' ages rest on: attributions by lead, and around the R peaks of all beats."""

import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.files import read_parquet
from cpgtaxa.targets.ecg.plan import LEADS
from cpgtaxa.targets.ecg.signals import HERTZ, MISSING

AROUND = (-300, 500)
"""Milliseconds around the R peak of which attributions are put together."""
STEP = 20
"""Milliseconds of a column of that map."""
ATTRIBUTION_COLUMNS = ["group", "lead", "offset_ms", "years", "share"]


def beats_of(values: np.ndarray, r_peaks) -> list[np.ndarray]:
    """The samples of (leads, time) AROUND each R peak, (leads, samples) each; none of beats that the ends cut."""
    first, last = (at * HERTZ // 1000 for at in AROUND)
    whole = (peak for peak in r_peaks if peak + first >= 0 and peak + last <= values.shape[1])
    return [values[:, peak + first : peak + last] for peak in whole]


def in_steps(beats: list[np.ndarray]) -> list[np.ndarray]:
    """Sums of absolute attributions, (leads, columns) years, in STEPs of each beat."""
    return [np.abs(beat).reshape(len(beat), -1, STEP * HERTZ // 1000).sum(axis=2).astype(np.float64) for beat in beats]


def attribution_table(group: str, reading: dict, peaks: dict, leads: dict) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Rows of ATTRIBUTION_COLUMNS of a group, and its mean beat (12, time) mV, None without any.

    Of each lead: `offset_ms` empty: the share of all absolute attribution, and years, the mean over records of their
    sum; else by the middle of a STEP around the R peak: years, the mean over beats. reading: arrays of
    `reading.read_network`; peaks, leads: by record.
    """
    size = np.abs(reading["attribution"]).sum(axis=2)
    rows = [
        (group, lead, np.nan, years, share)
        for lead, years, share in zip(LEADS, size.mean(axis=0), size.sum(axis=0) / size.sum(), strict=True)
    ]
    total = shape = n = 0
    for record, one in zip(reading["record"], reading["attribution"], strict=True):
        beats = beats_of(one, peaks[record])
        total, n = total + sum(in_steps(beats)), n + len(beats)
        shape = shape + sum(beats_of(leads[record], peaks[record]))
    if n:
        total = total / n
        offsets = np.arange(AROUND[0] + STEP / 2, AROUND[1], STEP)
        rows += [
            (group, lead, offset, total[row, at], total[row, at] / total.sum())
            for row, lead in enumerate(LEADS)
            for at, offset in enumerate(offsets)
        ]
    return pd.DataFrame(rows, columns=ATTRIBUTION_COLUMNS), shape / n if n else None


def read_readings(inputs: dict, records: pd.DataFrame, leads: np.ndarray):
    """By group the arrays of a reading; R peaks and leads (12, time) mV of its records."""
    found, peaks, volts = {}, {}, {}
    if not inputs.get("readings"):
        return found, peaks, volts
    measured = pd.concat([read_parquet(path, columns=["record", "r_peaks"]) for path in inputs["features"]])
    measured = measured.set_index("record")["r_peaks"]
    row = pd.Series(np.arange(len(records)), index=records["record"])
    for path in inputs["readings"]:
        with np.load(path, allow_pickle=False) as arrays:
            one = {key: arrays[key] for key in arrays.files}
        if len(one["record"]):
            found[pathlib.Path(path).stem] = one
        for record in one["record"]:
            peaks[record] = measured[record]
            values = leads[row[record]]
            volts[record] = np.where(values == MISSING, np.nan, values / 1000)
    return found, peaks, volts

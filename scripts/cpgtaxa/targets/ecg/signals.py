"""What the ECG networks are given: 12 leads in their order, 500 Hz, 4,096 samples, as the challenge's entry made it."""

import fractions

import numpy as np
from scipy import signal

from cpgtaxa.targets.ecg.plan import LEADS

HERTZ = 500
SAMPLES = 4096
"""What is taken of a record, from its start: 8.2 s."""
BAND = (1.0, 47.0)
"""Hz that the filter lets through."""
ORDER = 3
MISSING = -32768
"""In place of µV where a record has no value."""


def ordered(record: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """The 12 leads in the order of LEADS, and which of them lack, whose rows are NaN.

    record: (leads, time); names: theirs, in any case of letters. Limb leads that lack are worked out where I and II
    (or another pair that gives them) are there: III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2.
    """
    at = {name.strip().lower(): row for row, name in enumerate(names)}
    found = np.full((len(LEADS), record.shape[1]), np.nan)
    for row, name in enumerate(LEADS):
        if name.lower() in at:
            found[row] = record[at[name.lower()]]
    there = {name for name in LEADS if name.lower() in at}
    if "III" in there and ("I" in there) != ("II" in there):
        if "I" in there:
            found[1] = found[0] + found[2]
        else:
            found[0] = found[1] - found[2]
        there |= {"I", "II"}
    if {"I", "II"} <= there:
        one, two = found[:2]
        limbs = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
        for name, values in limbs.items():
            if name not in there:
                found[LEADS.index(name)] = values
        there |= set(limbs)
    return found, [name for name in LEADS if name not in there]


def at_500_hertz(record: np.ndarray, rate: float, wanted: float = HERTZ) -> np.ndarray:
    """(leads, time) at `rate` samples a second, resampled to 500, or as wanted, by a polyphase filter (scipy)."""
    if rate == wanted:
        return record
    ratio = fractions.Fraction(wanted / rate).limit_denominator(1000)
    # Lines rather than constants around the record: at its ends the filter otherwise sees a step to zero.
    # Its phases differ a little in gain, which would make a ripple of a constant: the mean is kept apart.
    mean = record.mean(axis=1, keepdims=True)
    return mean + signal.resample_poly(record - mean, ratio.numerator, ratio.denominator, axis=1, padtype="line")


def preprocess(record: np.ndarray) -> np.ndarray:
    """(leads, time) at 500 Hz to (leads, SAMPLES) float32, as published, in its order.

    The first SAMPLES samples; each lead to mean 0 and standard deviation 1; Butterworth band-pass of BAND and ORDER,
    forwards and backwards; what is no number, to 0. A flat lead is 0 throughout. Not as published: samples that are no
    numbers do not spoil the rest of their lead (they are taken for its mean), and a record that is too short is
    followed by zeros.
    """
    taken = np.asarray(record, dtype=np.float64)[:, :SAMPLES]
    known = np.isfinite(taken)
    counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, taken, 0).sum(axis=1, keepdims=True) / counts
    centred = np.where(known, taken - mean, 0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / counts)
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12 * np.abs(mean))
    b, a = signal.butter(ORDER, [edge / (HERTZ / 2) for edge in BAND], btype="band")
    filtered = signal.filtfilt(b, a, scaled, axis=1)
    found = np.zeros((len(filtered), SAMPLES), dtype=np.float32)
    found[:, : filtered.shape[1]] = filtered
    return found

"""Intervals and amplitudes of ECG records by neurokit2, which the peer that no network is learns from.

neurokit2 finds the R peaks of one lead, lead II where it is there, and its P and T waves: their peaks by prominence
(Emrich et al. 2024, EUSIPCO 32:1402), their bounds by wavelets (Martínez et al. 2004, IEEE Transactions on Biomedical
Engineering 51:570) in those beats in which the wavelets' peak is the same. Neither alone would do, as 66 records of the
challenge showed: bounds by prominence mostly lie at the ends of the stretch that is looked at, and the wavelets take
other bumps for P or T in many records. Nor are their bounds of the QRS used: in 1 of 6 records the wavelets put them
beside P or T, and the median QRS was 138 ms. It is bounded in the median beat of all leads, as electrocardiographs do.
"""

import dataclasses
import logging
import warnings

import neurokit2 as nk
import numpy as np
import pandas as pd

from cpgtaxa.files import read_parquet, write_parquet
from cpgtaxa.progress import Progress
from cpgtaxa.targets.ecg.signals import HERTZ, LEADS, MISSING

RHYTHM_LEADS = ("II", "V5", "I", "V6", "V4", "aVF", "V3", "V2", "aVL", "III", "V1", "aVR")
"""Where times are measured: in the first of them that is there, is not flat and has beats."""
LEAST_SECONDS = 2.0
"""A lead with less between its first and last known sample is not looked at."""
LEAST_KNOWN = 0.8
"""Share of the samples between them that must be known; the gaps are bridged by lines."""
FLAT_MV = 0.02
"""A lead whose 1st and 99th percentile are nearer than that is flat."""
AROUND = (-0.35, 0.60)
"""Seconds around the R peak that the median beat holds."""
QRS_WITHIN = (-0.12, 0.14)
"""Seconds around the R peak between which a QRS begins and ends."""
QRS_SPEEDS = (0.06, 0.1)
"""Share of the QRS's highest speed that bounds it: above most P and T waves, below the slurs of the QRS.

The second where noise, P or T are over the first.
"""
SAME_PEAK = 0.03
"""Seconds between the peaks of a wave by prominence and by wavelets, at most."""
QRS_PAUSE = 0.02
"""Seconds that the speed may be lower within the QRS, at the tips of its waves."""
USUAL_QRS = (-0.05, 0.05)
"""Seconds around the R peak that are taken for the QRS where its bounds were not found."""
FAILURES = (ArithmeticError, LookupError, TypeError, ValueError)
"""What neurokit2 raises on signals that are noisy or hold a beat or two; seen were ValueError and ZeroDivisionError.

The others are what arithmetic and indexing with too few beats can come to. A lack of memory is none of them.
"""
ABOUT = 200
"""Records between two lines of progress."""

TIMES = ("heart_rate_bpm", "rr_sd_ms", "rmssd_ms", "p_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_degrees")
AMPLITUDES = tuple(f"{wave}_{lead}_mv" for wave in "rstp" for lead in LEADS)
FEATURES = (*TIMES, *AMPLITUDES, "beats")


@dataclasses.dataclass
class Measured:
    """What was found in a record."""

    features: dict[str, float]
    """One number for each of FEATURES, NaN where it could not be measured."""
    r_peaks: np.ndarray
    """(beats,) int32 sample numbers."""
    failure: str
    """What neurokit2 raised where it could not go on, else empty."""


def features_of(leads: np.ndarray) -> dict[str, float]:
    """The features of a record, named FEATURES; NaN where one cannot be measured.

    leads: (12, time) mV at 500 Hz in the order of LEADS, NaN where missing. Medians over beats of p_ms (P onset to P
    offset), pr_ms (P onset to QRS onset) and qt_ms (QRS onset to T offset); qrs_ms is that of the median beat.
    heart_rate_bpm is of the median RR interval; rr_sd_ms and rmssd_ms are the standard deviation of the RR intervals
    and the root mean square of the steps from each to the next. qtc_ms is Fridericia's, QT / (RR in s)^(1/3), as
    Bazett's goes wrong at children's heart rates. axis_degrees is the angle of the net areas of the QRS in I and aVF.
    Of each lead's median beat, from the level just before the QRS: r (highest point of the QRS, 0 or more), s (its
    lowest point, be it Q or S, 0 or less), t and p (the point farthest from that level around the peaks of T and P,
    with its sign). beats: R peaks found.
    """
    return measured(leads).features


def measured(leads: np.ndarray) -> Measured:
    """`features_of`, with the R peaks and what failed."""
    features = dict.fromkeys(FEATURES, np.nan) | {"beats": 0.0}
    r_peaks, waves, failure = np.empty(0, np.int32), {}, ""
    for lead in RHYTHM_LEADS:
        r_peaks, waves, failed = _beats(leads[LEADS.index(lead)])
        failure = failure or failed
        if len(r_peaks):
            break
    if len(r_peaks):
        features["beats"] = float(len(r_peaks))
        features |= _rates(r_peaks)
        beats = _around(leads, r_peaks)
        qrs = _qrs_bounds(_nan_median(beats, axis=1))
        features |= _intervals(waves, qrs, features["heart_rate_bpm"])
        features |= _amplitudes(beats, waves, qrs or tuple(round(edge * HERTZ) for edge in USUAL_QRS))
    return Measured(features, r_peaks, failure)


# --- times: one lead -------------------------------------------------------------------------------------------------


def _beats(lead: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """R peaks of a lead (time,) in mV, its waves as `_waves` gives them, and what was raised."""
    none = np.empty(0, np.int32)
    known = np.flatnonzero(np.isfinite(lead))
    if not len(known) or known[-1] - known[0] < LEAST_SECONDS * HERTZ:
        return none, {}, ""
    start = known[0]
    if len(known) < LEAST_KNOWN * (known[-1] + 1 - start) or np.ptp(np.percentile(lead[known], (1, 99))) < FLAT_MV:
        return none, {}, ""
    bridged = np.interp(np.arange(start, known[-1] + 1), known, lead[known])
    r_peaks = none
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # neurokit2 and what it calls warn of every beat without a P wave
        try:
            clean = nk.ecg_clean(bridged, sampling_rate=HERTZ)
            found = np.asarray(nk.ecg_peaks(clean, sampling_rate=HERTZ)[1]["ECG_R_Peaks"])
            r_peaks = (found + start).astype(np.int32)
            if len(r_peaks) < 2:  # bounds are looked for at distances that neurokit2 takes from the heart rate
                return r_peaks, {}, ""
            peaks, bounds = (
                nk.ecg_delineate(clean, found, sampling_rate=HERTZ, method=method)[1]
                for method in ("prominence", "dwt")
            )
        except FAILURES as error:
            return r_peaks, {}, f"{type(error).__name__}: {error}"
    return r_peaks, _waves(*(_from_start(waves, start) for waves in (peaks, bounds)), r_peaks), ""


def _from_start(waves: dict[str, list], start: int) -> dict[str, np.ndarray]:
    """Sample numbers of the record instead of those of its known part."""
    return {name: np.asarray(at, dtype=float) + start for name, at in waves.items()}


def _waves(peaks: dict, bounds: dict, r_peaks: np.ndarray) -> dict[str, np.ndarray]:
    """P and T waves: p, t (peaks), p_on, p_off, t_off, each (beats,), samples after the R peak; NaN where not found.

    peaks: by prominence; bounds: by wavelets, kept where their peak is no farther than SAME_PEAK from that. Where no
    beat has such a bound, as in many fast hearts, those by prominence are better than none.
    """
    found = {}
    for wave, least, most, edges in (("P", -0.40, -0.03, ("On", "Off")), ("T", 0.08, 0.60, ("Off",))):
        peak, other = (_by_beat(waves[f"ECG_{wave}_Peaks"], r_peaks, least, most) for waves in (peaks, bounds))
        found[wave.lower()] = peak
        for edge in edges:
            # A P wave begins, and a T wave ends, up to 120 ms beyond its peak.
            at = _by_beat(bounds[f"ECG_{wave}_{edge}sets"], r_peaks, least - 0.12, most + 0.12, other)
            at = np.where(np.abs(peak - other) <= SAME_PEAK * HERTZ, at, np.nan)
            if np.isnan(at).all():
                at = _by_beat(peaks[f"ECG_{wave}_{edge}sets"], r_peaks, least - 0.12, most + 0.12, peak)
            found[f"{wave}_{edge}".lower()] = at
    return found


def _by_beat(
    wave: np.ndarray, r_peaks: np.ndarray, least: float, most: float, about: np.ndarray | None = None
) -> np.ndarray:
    """(beats,): where a wave lies, in samples after the beat's R peak; NaN where there is none.

    wave: sample numbers. They are put to their beats by where they lie, not by their number, as neurokit2 leaves some
    out: between `least` and `most` seconds from the R peak, no farther than the next beat, nearest to `about` (samples
    after the R peak) or to the R peak.
    """
    rr = np.diff(r_peaks)
    before, after = np.concatenate([rr[:1], rr]), np.concatenate([rr, rr[-1:]])
    column = np.full(len(r_peaks), np.nan)
    at = wave[np.isfinite(wave)]
    for beat, r_peak in enumerate(r_peaks):
        near = at - r_peak
        near = near[(near >= max(least * HERTZ, -before[beat])) & (near <= min(most * HERTZ, after[beat]))]
        middle = 0 if about is None else about[beat]
        if len(near) and np.isfinite(middle):
            column[beat] = near[np.argmin(np.abs(near - middle))]
    return column


def _rates(r_peaks: np.ndarray) -> dict[str, float]:
    """Features of the RR intervals."""
    rr = np.diff(r_peaks) * 1000 / HERTZ
    found = {}
    if len(rr):
        found["heart_rate_bpm"] = 60_000 / float(np.median(rr))
    if len(rr) > 1:
        found |= {"rr_sd_ms": float(np.std(rr, ddof=1)), "rmssd_ms": float(np.sqrt(np.mean(np.diff(rr) ** 2)))}
    return found


def _intervals(waves: dict[str, np.ndarray], qrs: tuple[int, int] | None, heart_rate: float) -> dict[str, float]:
    """Durations of waves and the times between their bounds, and the QTc."""
    found = {}
    if qrs:
        found["qrs_ms"] = (qrs[1] - qrs[0]) * 1000 / HERTZ
    if waves:
        found["p_ms"] = _median(waves["p_off"] - waves["p_on"]) * 1000 / HERTZ
    if waves and qrs:
        found["pr_ms"] = _median(qrs[0] - waves["p_on"]) * 1000 / HERTZ
        found["qt_ms"] = _median(waves["t_off"] - qrs[0]) * 1000 / HERTZ
        found["qtc_ms"] = found["qt_ms"] / np.cbrt(60 / heart_rate)
    return found


def _median(values: np.ndarray) -> float:
    """The median of those that are finite; NaN where none is."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


# --- every lead's median beat ----------------------------------------------------------------------------------------


def _around(leads: np.ndarray, r_peaks: np.ndarray) -> np.ndarray:
    """(leads, beats, samples): what is AROUND each R peak; NaN beyond the ends of the record."""
    left, right = (round(edge * HERTZ) for edge in AROUND)
    padded = np.pad(np.asarray(leads, dtype=float), ((0, 0), (-left, right)), constant_values=np.nan)
    return padded[:, r_peaks[:, None] + np.arange(right - left)]


def _qrs_bounds(beat: np.ndarray) -> tuple[int, int] | None:
    """Where the QRS begins and ends, in samples from the R peak; None where it does not end within QRS_WITHIN.

    beat: (leads, samples) median beat. The speed is the length of what all leads together change by in a sample,
    smoothed over 10 ms; the QRS is the stretch around its peak where it is over a share of this peak, with pauses.
    """
    begin, end = (round((edge - AROUND[0]) * HERTZ) for edge in QRS_WITHIN)
    speed = np.sqrt(np.nansum(np.diff(beat[:, begin : end + 1], axis=1) ** 2, axis=0))
    smooth = round(0.01 * HERTZ)
    speed = np.convolve(speed, np.full(smooth, 1 / smooth), mode="same")
    zero = round(QRS_WITHIN[0] * HERTZ)
    for share in QRS_SPEEDS:
        fast = np.flatnonzero(speed > share * speed.max())
        stretches = np.split(fast, np.flatnonzero(np.diff(fast) > QRS_PAUSE * HERTZ) + 1)
        qrs = next((stretch for stretch in stretches if int(speed.argmax()) in stretch), ())
        if len(qrs) and qrs[0] >= smooth and qrs[-1] < len(speed) - smooth:
            return int(qrs[0]) + zero, int(qrs[-1]) + 1 + zero
    return None


def _amplitudes(beats: np.ndarray, waves: dict[str, np.ndarray], qrs: tuple[int, int]) -> dict[str, float]:
    """Heights of the waves in every lead, and the axis. See `features_of`.

    beats: of `_around`. The median over beats is taken sample by sample first, and the heights from it: the highest
    point of a single beat is as much noise as wave.
    """
    left = round(AROUND[0] * HERTZ)
    at = {name: _median(column) for name, column in waves.items()}
    on, off = qrs
    level = _nan_median(beats[:, :, on - left - round(0.02 * HERTZ) : on - left], axis=2)
    beat = _nan_median(beats - level[:, :, None], axis=1)  # (leads, samples)
    found = {}
    for row, lead in enumerate(LEADS):
        piece = beat[row, on - left : off - left + 1]
        if not np.isfinite(piece).all() or np.nanmax(beat[row]) - np.nanmin(beat[row]) < FLAT_MV:
            continue
        found |= {f"r_{lead}_mv": max(float(piece.max()), 0.0), f"s_{lead}_mv": min(float(piece.min()), 0.0)}
        for wave, about in (("t", 0.06), ("p", 0.04)):
            if np.isfinite(at.get(wave, np.nan)):
                first, last = (round(at[wave] + side * about * HERTZ) for side in (-1, 1))
                # A P or T wave is not looked for within the QRS.
                first, last = (max(first, off + 1), last) if wave == "t" else (first, min(last, on - 1))
                piece = beat[row, max(first - left, 0) : max(last + 1 - left, 0)]
                if len(piece) and np.isfinite(piece).all():
                    found[f"{wave}_{lead}_mv"] = float(piece[np.argmax(np.abs(piece))])
    if {"r_I_mv", "r_aVF_mv"} <= set(found):
        across, down = beat[[LEADS.index("I"), LEADS.index("aVF")], on - left : off - left + 1].sum(axis=1)
        # aVF is an augmented lead: 2 / √3 of it are as long as lead I.
        found["axis_degrees"] = float(np.degrees(np.arctan2(2 / np.sqrt(3) * down, across)))
    return found


def _nan_median(values: np.ndarray, axis: int) -> np.ndarray:
    """numpy's, silent where all are NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=axis)


# --- files -----------------------------------------------------------------------------------------------------------


def measure(leads_path, records_path, out, *, shard: int, shards: int) -> None:
    """Features of the records whose row number leaves `shard` when divided by `shards`.

    leads_path: int16 µV (n, 12, time), MISSING where not known; records_path: Parquet with `record`, in the same order.
    out: Parquet with record, FEATURES (float64) and r_peaks (list of int32 sample numbers).
    """
    leads = np.load(leads_path, mmap_mode="r")
    records = read_parquet(records_path, columns=["record"])["record"]
    if len(records) != len(leads):
        raise ValueError(f"{leads_path} holds {len(leads):,} records, {records_path} {len(records):,}")
    rows = range(shard, len(records), shards)
    found, failures = [], {}
    for row in Progress(len(rows), "records measured", rate=True).over(rows):
        microvolts = leads[row]
        found.append(measured(np.where(microvolts == MISSING, np.nan, microvolts / 1000)))
        if found[-1].failure:
            failures.setdefault(found[-1].failure, []).append(records[row])
    table = pd.DataFrame([one.features for one in found], columns=list(FEATURES), dtype=np.float64)
    table.insert(0, "record", [records[row] for row in rows])
    table["record"] = table["record"].astype(str)
    table["r_peaks"] = pd.Series([one.r_peaks for one in found], dtype=object)
    write_parquet(out, table)
    for failure, names in failures.items():
        logging.info(f"neurokit2 failed on {len(names):,} records, {names[0]} the first: {failure}")
    without = sum(not len(one.r_peaks) for one in found)
    logging.info(f"{len(found):,} records measured, {without:,} of them without a beat")

"""Simulated 12-lead ECGs whose shape and rhythm drift with age as published: the embedded default, and a truth.

The directions of drift and the orders of magnitude are the literature's. Individuals differ less than people do, so
that a few hundred records are enough to learn from.
"""

import logging
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from cpgtaxa.files import atomic, atomic_folder
from cpgtaxa.progress import Progress
from cpgtaxa.targets.ecg.signals import HERTZ, LEADS

LENGTH = 5000
"""Samples of a record: 10 s."""
GAIN = 1000
"""Steps of the files' integers for a millivolt."""
ADULT_AGES = (20, 90)
"""Youngest and oldest, whole years."""
CHILD_AGES = (0.1, 9.0)
"""Youngest and oldest, to a tenth of a year."""
GAP = {"adult": 4.0, "child": 0.4}
"""Standard deviation in years of a heart's age around its person's."""
CLOCK_GAP = 4.0
"""Standard deviation in years of the methylation clock around age."""
CLOCK_CORRELATION = 0.5
"""Of the clock's gap with the heart's."""
REPEATED = 0.1
"""Fraction of patients who have a second record; half of these come a year later."""
SAME = 0.9
"""Correlation between a person's two records of what is individual: electrodes and days differ a little."""
FLAT = 0.02
"""Fraction of records in which one lead is zero."""


class Drift(NamedTuple):
    """How a parameter follows the heart's age: `first` at the lowest age, `last` at the highest.

    women: added for them; noise: standard deviation between people of one age and sex. pace: years in which a fraction
    1/e of the way is left, infinite for a straight line. logarithmic: women and noise are of the logarithm, and the
    logarithm drifts.
    """

    first: float
    last: float
    women: float
    noise: float
    pace: float = math.inf
    logarithmic: bool = False


DRIFTS = {
    "adult": {
        # Faster in women, hardly any drift: Mason 2007 (J Electrocardiol 40:228).
        "heart_rate": Drift(67, 67, 4, 8),
        # Longer with age: Rijnbeek 2014 (J Electrocardiol 47:914), Mason 2007.
        "pr_ms": Drift(144, 180, -5, 8),
        # Shorter in women, hardly any drift: Rijnbeek 2014.
        "qrs_ms": Drift(97, 96, -8, 5),
        # Longer with age, and in women: Mason 2007, Rijnbeek 2014. At 60 beats a minute (Bazett).
        "qtc_ms": Drift(400, 430, 12, 7),
        # Longer with age: Havmoller 2007 (BMC Cardiovasc Disord 7:22).
        "p_ms": Drift(100, 122, -3, 4.5),
        # Turns left: Rijnbeek 2014.
        "axis_degrees": Drift(68, 2, 0, 12),
        # Lower precordial voltages: Rijnbeek 2014.
        "r_mv": Drift(1.0, 0.7, -0.1, 0.11, logarithmic=True),
        "r_v1_mv": Drift(0.30, 0.16, -0.2, 0.2, logarithmic=True),
        "s_v1_mv": Drift(1.0, 0.65, -0.15, 0.15, logarithmic=True),
        # Lower T, lower still in women: Rijnbeek 2014.
        "t_mv": Drift(0.28, 0.12, -0.2, 0.14, logarithmic=True),
        "t_v1_mv": Drift(0.08, 0.08, -0.06, 0.04),
        "t_axis_degrees": Drift(45, 45, 0, 8),
        # Beats vary ever less from one to the next: Umetani 1998 (JACC 31:593), Voss 2015 (PLoS ONE 10:e0118308).
        "rmssd_ms": Drift(55, 13, 0.05, 0.25, logarithmic=True),
    },
    "child": {
        # All of Rijnbeek 2001 (Eur Heart J 22:702) and Davignon 1980 (Pediatr Cardiol 1:123), but for the last.
        "heart_rate": Drift(145, 80, 1, 7, 3.5),
        "pr_ms": Drift(98, 136, 0, 8, 6),
        "qrs_ms": Drift(64, 82, -1, 4, 8),
        # Of little drift in itself: the interval lengthens as the heart slows.
        "qtc_ms": Drift(412, 412, 0, 9),
        "p_ms": Drift(66, 94, 0, 5, 8),
        # From the right, most of it within the first year.
        "axis_degrees": Drift(100, 58, 0, 10, 1),
        "r_mv": Drift(0.6, 1.0, 0, 0.15, 4, True),
        # The right ventricle's part, which birth ends, and the left's: R/S in V1 falls from above to below one.
        "r_v1_mv": Drift(1.0, 0.40, 0, 0.2, 5, True),
        "s_v1_mv": Drift(0.55, 1.0, 0, 0.2, 5, True),
        "t_mv": Drift(0.18, 0.28, 0, 0.15, 5, True),
        # Upside down after the first week, and less so towards youth.
        "t_v1_mv": Drift(-0.32, -0.10, 0, 0.06),
        "t_axis_degrees": Drift(40, 40, 0, 8),
        # Finley & Nugent 1995 (J Auton Nerv Syst 51:103).
        "rmssd_ms": Drift(14, 52, 0, 0.3, 4, True),
    },
}
"""Of adults between ADULT_AGES, straight on beyond them; of children from birth to CHILD_AGES' end."""
PARAMETERS = ("heart_rate", "pr_ms", "qrs_ms", "qt_ms", "p_ms", "axis_degrees", "r_mv", "r_v1_mv", "s_v1_mv")
PARAMETERS += ("t_mv", "t_v1_mv", "t_axis_degrees", "rmssd_ms")
"""Parameters of a record. Beats a minute; PR, QRS, QT (at this heart rate) and P in ms; axis of the main QRS vector and
of T; length in the frontal plane of the main QRS vector and of T; what the first (r) and last (s) QRS vector give in
V1; root mean square of differences between intervals that follow each other (mostly breathing)."""

CHANNELS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The leads that are measured on their own; the others follow from I and II."""
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
"""(CHANNELS, 3): what a dipole to the left, to the feet and to the back gives (Dower 1980, Clin Cardiol 3:87)."""
LIMBS = {"III": (-1, 1), "aVR": (-0.5, -0.5), "aVL": (1, -0.5), "aVF": (-0.5, 1)}
"""The other limb leads as multiples of I and II: Einthoven's and Goldberger's."""
FIRST = np.array([-0.2, -0.1, -0.8])
"""Direction of the first QRS vector: septum and right ventricle, to the front and the right."""
LAST = np.array([-0.1, -0.05, 0.8])
"""Direction of the last: the base of the heart, to the back."""
ATRIA = np.array([[0.07, 0.085, -0.06], [0.085, 0.055, 0.03]])
"""Dipoles of the right and the left atrium, mV."""
BACK = 0.6
"""How far the main QRS vector leans to the back (front) where s (r) alone is seen in V1, by its frontal length."""
SHARES = {"breath": 0.75, "slow": 0.10, "noise": 0.15}
"""Of the squared differences between beats that follow each other."""
SLOW = 0.1
"""Hz of the slow waves of the heart rate."""


def _lead_matrix() -> np.ndarray:
    """(LEADS, CHANNELS): all leads from those measured on their own."""
    matrix = np.zeros((len(LEADS), len(CHANNELS)))
    for row, name in enumerate(LEADS):
        if name in CHANNELS:
            matrix[row, CHANNELS.index(name)] = 1
        else:
            matrix[row, :2] = LIMBS[name]
    return matrix


ALL_LEADS = _lead_matrix()
V1 = DOWER[CHANNELS.index("V1")]
FRONTAL = np.linalg.inv(np.array([DOWER[0, :2], DOWER[1, :2] - DOWER[0, :2] / 2]))
"""(2, 2): from what I and aVF show to the dipole to the left and to the feet."""


def expected(drift: Drift, group: str, heart_age: np.ndarray, male: np.ndarray) -> np.ndarray:
    """A parameter's mean (records,), or that of its logarithm, at some ages of the heart (records,) in years."""
    low, high = ADULT_AGES if group == "adult" else (0, CHILD_AGES[1])
    first, last = (math.log(drift.first), math.log(drift.last)) if drift.logarithmic else (drift.first, drift.last)
    way = (heart_age - low) / (high - low)
    if math.isfinite(drift.pace):
        way = np.expm1(-(heart_age - low) / drift.pace) / math.expm1(-(high - low) / drift.pace)
    return first + (last - first) * way + np.where(male, 0, drift.women)


def draw_parameters(rng: np.random.Generator, ages, male, people, group: str) -> pd.DataFrame:
    """A row per record: heart_age and PARAMETERS.

    ages, male, people: (records,) years, whether, and whose it is (whole numbers from 0). A person's gap is the same
    in all records, and so is SAME of what is individual.
    """
    ages, male, people = np.asarray(ages, dtype=float), np.asarray(male, dtype=bool), np.asarray(people)
    n = people.max(initial=-1) + 1
    heart_age = ages + rng.normal(0, GAP[group], n)[people]
    if group == "child":
        heart_age = heart_age.clip(0, CHILD_AGES[1])
    drawn = {"heart_age": heart_age}
    for name, drift in DRIFTS[group].items():
        individual = math.sqrt(SAME) * rng.normal(size=n)[people] + math.sqrt(1 - SAME) * rng.normal(size=len(ages))
        values = expected(drift, group, heart_age, male) + drift.noise * individual
        drawn[name] = np.exp(values) if drift.logarithmic else values
    # Nobody's heart stands still or beats so fast that the atria's wave falls into the last beat's T.
    drawn["heart_rate"] = drawn["heart_rate"].clip(*((45, 105) if group == "adult" else (60, 165)))
    drawn["qt_ms"] = drawn["qtc_ms"] * np.sqrt(60 / drawn["heart_rate"])
    drawn["axis_degrees"] = drawn["axis_degrees"].clip(-60, 140)
    return pd.DataFrame(drawn)[["heart_age", *PARAMETERS]]


def beat_times(rng: np.random.Generator, rate: float, rmssd: float, breath: float) -> np.ndarray:
    """Times (beats,) in s of R waves, from before the record to after it.

    rate: beats a minute; rmssd: in ms; breath: Hz. Intervals swing with breath (respiratory sinus arrhythmia), slowly,
    and at random, so that their differences have the root mean square `rmssd` (SHARES).
    """
    mean = 60 / rate
    n = math.ceil(LENGTH / HERTZ / mean * 1.3) + 5
    about = mean * np.arange(n)
    step = rmssd / 1000
    intervals = mean + step * math.sqrt(SHARES["noise"] / 2) * rng.normal(size=n)
    for hertz, share in ((breath, SHARES["breath"]), (SLOW, SHARES["slow"])):
        # Differences of a sine at steps of `mean` are a sine of 2 sin(pi hertz mean) times its height.
        height = step * math.sqrt(share / 2) / math.sin(math.pi * hertz * mean)
        intervals += height * np.sin(2 * math.pi * (hertz * about + rng.random()))
    times = np.cumsum(intervals.clip(0.6 * mean, 1.6 * mean))
    return times - times[1] - mean * rng.random()


def frontal(length: float, degrees: float, back: float) -> np.ndarray:
    """The dipole (3,) that I and aVF see with this length (mV) and axis, and that points this far to the back (mV)."""
    turned = math.radians(degrees)
    # aVF is measured against the mean of two electrodes and shows only cos 30° of what I does.
    seen = np.array([length * math.cos(turned), length * math.sin(turned) * math.sqrt(3) / 2])
    seen -= back * np.array([DOWER[0, 2], DOWER[1, 2] - DOWER[0, 2] / 2])
    return np.append(FRONTAL @ seen, back)


def dipoles(parameters) -> np.ndarray:
    """(7 waves, 3) in mV: right and left atrium; first, main and last of QRS; slow and steep part of T."""
    r, s = parameters.r_v1_mv, parameters.s_v1_mv
    main = frontal(parameters.r_mv, parameters.axis_degrees, BACK * parameters.r_mv * (s - r) / (s + r))
    t = frontal(parameters.t_mv, parameters.t_axis_degrees, 0)
    t = frontal(parameters.t_mv, parameters.t_axis_degrees, (V1 @ t - parameters.t_v1_mv) / -V1[2])
    return np.array([*ATRIA, FIRST * (r / (V1 @ FIRST)), main, LAST * (-s / (V1 @ LAST)), 0.5 * t, 0.6 * t])


def waves(parameters, times: np.ndarray) -> np.ndarray:
    """(7 waves, LENGTH): each wave's course in time, Gaussians of height 1 around the beats.

    times: (beats,) s, of the R waves. Atria and QRS keep their lengths; QT goes with the root of the interval before.
    """
    pr, qrs, qt, p = (getattr(parameters, name) / 1000 for name in ("pr_ms", "qrs_ms", "qt_ms", "p_ms"))
    onset = times - 0.45 * qrs
    before = np.diff(times, prepend=2 * times[0] - times[1])
    qt = qt * np.sqrt(before * parameters.heart_rate / 60)
    # T ends two standard deviations after the peak of its steep part.
    peak, steady = 0.86 * qt, np.ones_like(times)
    centres = [onset - pr + 0.35 * p, onset - pr + 0.65 * p]
    centres += [onset + 0.2 * qrs, times, onset + 0.7 * qrs, onset + peak - 0.07 * qt, onset + peak]
    widths = [0.14 * p * steady, 0.14 * p * steady, 0.09 * qrs * steady, 0.1 * qrs * steady, 0.11 * qrs * steady]
    widths += [0.12 * qt, 0.07 * qt]
    clock = np.arange(LENGTH) / HERTZ
    courses = np.empty((len(centres), LENGTH))
    for row, (centre, width) in enumerate(zip(centres, widths, strict=True)):
        # Of one kind of wave, each moment is reached by the nearest alone.
        nearest = np.searchsorted((centre[1:] + centre[:-1]) / 2, clock)
        courses[row] = np.exp(-0.5 * ((clock - centre[nearest]) / width[nearest]) ** 2)
    return courses


def disturbances(rng: np.random.Generator, breath: float) -> np.ndarray:
    """(CHANNELS, LENGTH) in mV: the baseline's wander with breath (Hz) and slower, mains hum and muscles."""
    n, clock = len(CHANNELS), np.arange(LENGTH) / HERTZ
    hertz = np.array([breath, rng.uniform(0.05, 0.15), 50])
    sizes = np.array([0.04, 0.06, 0.004]) * np.exp(rng.normal(0, 0.4, (n, 3)))
    turned = 2 * math.pi * (hertz[:, None] * clock + rng.random((3, 1)))
    # Each channel has its own mixture of sine and cosine: one source, which it meets in a phase of its own.
    phases = rng.uniform(-0.5, 0.5, (n, 3))
    found = (sizes * np.cos(phases)) @ np.sin(turned) + (sizes * np.sin(phases)) @ np.cos(turned)
    return found + 0.012 * np.exp(rng.normal(0, 0.3, (n, 1))) * rng.normal(size=(n, LENGTH))


def draw_signal(rng: np.random.Generator, parameters, group: str) -> np.ndarray:
    """(LEADS, LENGTH) in mV of a record with these PARAMETERS (attributes), from a random moment of a beat on."""
    breath = rng.uniform(0.2, 0.3) if group == "adult" else rng.uniform(0.3, 0.45)
    times = beat_times(rng, parameters.heart_rate, parameters.rmssd_ms, breath)
    drawn = ALL_LEADS @ (DOWER @ dipoles(parameters).T @ waves(parameters, times) + disturbances(rng, breath))
    if rng.random() < FLAT:
        drawn[rng.integers(len(LEADS))] = 0
    return drawn


def simulate_records(
    rng: np.random.Generator, ages, male, people=None, group: str = "adult"
) -> tuple[pd.DataFrame, Iterator[np.ndarray]]:
    """Records' heart_age and PARAMETERS, and, drawn as they are asked for, their signals (LEADS, LENGTH) in mV.

    ages: (records,) years; male: (records,) whether; people: (records,) whose each is, whole numbers from 0, by default
    all different; group: adult or child.
    """
    people = np.arange(len(ages)) if people is None else people
    parameters = draw_parameters(rng, ages, male, people, group)
    streams = rng.spawn(len(parameters))
    rows = zip(streams, parameters.itertuples(index=False), strict=True)
    return parameters, (draw_signal(stream, row, group) for stream, row in rows)


def draw_visits(rng: np.random.Generator, n: int, group: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of n records: whose each is (whole numbers from 0, in order), ages in years, whether male."""
    n_people = n - round(n * REPEATED / (1 + REPEATED))
    again = rng.choice(n_people, n - n_people, replace=False)
    people = np.sort(np.concatenate([np.arange(n_people), again]))
    low, high = ADULT_AGES if group == "adult" else CHILD_AGES
    if group == "adult":
        ages = rng.integers(low, high + 1, n_people).astype(float)
    else:
        ages = rng.uniform(low, high, n_people).round(1)
    male = rng.random(n_people) < 0.5
    second = np.concatenate([[False], people[1:] == people[:-1]]) if n else np.zeros(0, dtype=bool)
    later = second & (rng.random(n) < 0.5) & (ages[people] + 1 <= high)
    return people, ages[people] + later, male[people]


def methylation_ages(rng: np.random.Generator, ages: np.ndarray, heart_ages: np.ndarray) -> np.ndarray:
    """(people,) years of a clock whose gap to age goes with the heart's by CLOCK_CORRELATION. All in years."""
    own = math.sqrt(1 - CLOCK_CORRELATION**2) * rng.normal(size=len(ages))
    return ages + CLOCK_GAP * (CLOCK_CORRELATION * (heart_ages - ages) / GAP["adult"] + own)


def write_record(folder, name: str, signal: np.ndarray, age: str, male: bool) -> None:
    """Write (LEADS, LENGTH) in mV as a WFDB record of format 16, which holds no time of day."""
    import wfdb

    wfdb.wrsamp(
        name,
        HERTZ,
        ["mV"] * len(LEADS),
        list(LEADS),
        d_signal=np.rint(signal.T * GAIN).astype(np.int64),
        fmt=["16"] * len(LEADS),
        adc_gain=[GAIN] * len(LEADS),
        baseline=[0] * len(LEADS),
        comments=[f"Age: {age}", f"Sex: {'Male' if male else 'Female'}"],
        write_dir=str(folder),
    )


def write_records(settings: dict, seed: int, out: dict) -> None:
    """Simulate and write what a user would bring, and the truth.

    settings: `adults`, `children`: records of each. out: paths of `records`, a folder of WFDB records A0001 (adults)
    and C0001 (children), age and sex in their comments; `sheet`, CSV FILENAME, PATIENT; `truth`, CSV record, patient,
    group, age, sex, heart_age, PARAMETERS: the best that any model can do is to know these; `methylation`, CSV person,
    age, methylation_age of a simulated clock, for each adult at the first record.
    """
    tables, clock = [], pd.DataFrame(columns=["person", "age", "methylation_age"])
    with atomic_folder(out["records"]) as folder:
        for number, (group, key) in enumerate((("adult", "adults"), ("child", "children"))):
            rng = np.random.default_rng([seed, number])
            people, ages, male = draw_visits(rng, settings[key], group)
            parameters, signals = simulate_records(rng, ages, male, people, group)
            letter = group[0].upper()
            names = [f"{letter}{at:04d}" for at in range(1, len(ages) + 1)]
            texts = [f"{age:.0f}" if group == "adult" else f"{age:.1f}" for age in ages]
            progress = Progress(len(names), f"records of the group {group} written")
            for name, signal, text, man in progress.over(zip(names, signals, texts, male, strict=True)):
                write_record(folder, name, signal, text, man)
            patients = [f"P{letter}{person + 1:04d}" for person in people]
            columns = {"record": names, "patient": patients, "group": group, "age": texts}
            columns["sex"] = np.where(male, "Male", "Female")
            tables.append(pd.concat([pd.DataFrame(columns), parameters], axis=1))
            if group == "adult":
                shown = methylation_ages(rng, ages, parameters["heart_age"].to_numpy())
                clock = pd.DataFrame({"person": patients, "age": texts, "methylation_age": shown})
                clock = clock.drop_duplicates("person")
    truth = pd.concat(tables)
    with atomic(out["sheet"]) as temporary:
        sheet = truth[["record", "patient"]].set_axis(["FILENAME", "PATIENT"], axis=1)
        sheet.to_csv(temporary, index=False, lineterminator="\n")
    with atomic(out["truth"]) as temporary:
        truth.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")
    with atomic(out["methylation"]) as temporary:
        clock.to_csv(temporary, index=False, float_format="%.2f", lineterminator="\n")
    logging.info(f"ECGs of {settings['adults']:,} adults and {settings['children']:,} children simulated")

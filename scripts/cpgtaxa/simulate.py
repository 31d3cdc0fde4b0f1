"""Simulated CpGs whose taxon is known: for the demo cohort, for training images, and as the truth of the tests.

A CpG is drawn in two steps. `draw_profile` draws the parameters of one taxon (or of a half-way site between two
taxa): levels and weights of its bands, trend of each band, spread, change of spread with age, outliers, shape of the
noise. `draw_values` turns a profile into one beta value per sample of a `Setting` (ages, sexes, batches and hidden
factors shared by all CpGs of a cohort).

Effects are scaled to what the cohort can show: a trend or a change of spread that would drown in this cohort's noise
makes a half-way site, not a member of the age taxon. The ranges come from published examples and from two blood
cohorts; `tests/benchmarks/realism.py` measures how far simulated and real CpGs can be told apart.
"""

import dataclasses
import math

import numpy as np

from cpgtaxa.names import TAXA

BANDS = {"TriAge": 3, "TriNonAge": 3, "BiAge": 2, "BiNonAge": 2}
WITH_TREND = ("LinAgeHomo", "LinAgeHet", "TriAge", "BiAge")
WITH_CHANGING_SPREAD = ("LinAgeHet", "NonAgeHet")

# The two taxa between which each kind of half-way site lies.
HALF_WAY = {
    "spread": [("UniStable", "UniUnstable")],
    "weak trend": [
        ("UniUnstable", "LinAgeHomo"),
        ("NonAgeHet", "LinAgeHet"),
        ("BiNonAge", "BiAge"),
        ("TriNonAge", "TriAge"),
    ],
    "weak change of spread": [("UniUnstable", "NonAgeHet"), ("LinAgeHomo", "LinAgeHet")],
    "merging bands": [("UniUnstable", "BiNonAge"), ("LinAgeHomo", "BiAge"), ("UniUnstable", "TriNonAge")],
    "rare third band": [("BiNonAge", "TriNonAge"), ("BiAge", "TriAge")],
    "few outliers": [("UniStable", "Outlier"), ("UniUnstable", "Outlier")],
    "many outliers": [("Outlier", "BiNonAge")],
    "outliers and trend": [("LinAgeHomo", "Outlier")],
    "curved trend": [("UniUnstable", "LinAgeHomo")],
}

AGE_SD_PER_RANGE = 0.32
"""Standard deviation of age as a share of its central 90 % range, for the usual cohorts (uniform 0.32, normal 0.30)."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all CpGs of one cohort share.

    ages: (n,) years. position: (n,) age centred at the mid of its central 90 % and scaled to that range, so that an
    effect is the change over it. sex: (n,) 0 or 1. batch: (n,) batch numbers. factors: (n, 3) hidden factors (cell
    composition, quality), orthogonal to age, unit variance.
    """

    ages: np.ndarray
    position: np.ndarray
    sex: np.ndarray
    batch: np.ndarray
    factors: np.ndarray

    @property
    def n(self) -> int:
        return len(self.ages)

    @property
    def clear_trend(self) -> float:
        """Smallest trend, as signal sd over noise sd, that is called clear: at least 0.4, and t of about 7."""
        return max(0.4, 7 / math.sqrt(self.n))

    @property
    def clear_log_ratio(self) -> float:
        """Smallest |log| ratio of spreads (age 95 % to 5 %) that is called clear: at least log 2, z of about 6."""
        return min(max(math.log(2.0), 20 / math.sqrt(self.n)), math.log(7.0))


def make_setting(ages, rng, sex=None) -> Setting:
    """Build the shared part of a cohort around `ages` (n,) in years."""
    ages = np.asarray(ages, dtype=float)
    n = len(ages)
    low, high = np.quantile(ages, [0.05, 0.95])
    width = max(high - low, 1e-6)
    position = (ages - (low + high) / 2) / width
    sex = (rng.random(n) < rng.uniform(0.35, 0.65)).astype(int) if sex is None else np.asarray(sex)
    batches = int(rng.integers(1, 13))
    # Plates are usually filled in sample order, sometimes at random.
    batch = np.arange(n) * batches // n if rng.random() < 0.7 else rng.integers(0, batches, n)
    factors = rng.normal(size=(n, 3))
    basis = np.linalg.qr(np.column_stack([np.ones(n), position, factors]))[0]
    return Setting(ages, position, sex, batch, basis[:, 2:] * math.sqrt(n))


def draw_ages(rng, n: int) -> np.ndarray:
    """Ages (n,) of a made-up adult cohort: uniform, bell-shaped, skewed or in two groups; whole or exact years."""
    low = rng.uniform(15, 40)
    high = rng.uniform(max(low + 25, 60), 102)
    kind = rng.choice(["uniform", "bell", "skewed", "two groups"])
    if kind == "uniform":
        share = rng.random(n)
    elif kind == "bell":
        share = rng.beta(rng.uniform(1.5, 4), rng.uniform(1.5, 4), n)
    elif kind == "skewed":
        a, b = rng.uniform(1, 1.6), rng.uniform(2, 5)
        share = rng.beta(a, b, n) if rng.random() < 0.5 else rng.beta(b, a, n)
    else:
        share = np.where(rng.random(n) < rng.uniform(0.25, 0.75), rng.beta(2, 7, n), rng.beta(7, 2, n))
    ages = low + share * (high - low)
    if rng.random() < 0.2:
        # one or two samples far younger or older than the rest
        ages[: rng.integers(1, 3)] = low - rng.uniform(5, 15) if rng.random() < 0.5 else high + rng.uniform(3, 10)
    return np.round(ages) if rng.random() < 0.5 else np.round(ages, 2)


def draw_broad_setting(rng) -> Setting:
    """A cohort of 50 to 5,000 samples (log-uniform) with ages from `draw_ages`."""
    n = int(np.exp(rng.uniform(math.log(50), math.log(5000))))
    return make_setting(draw_ages(rng, n), rng)


@dataclasses.dataclass
class Profile:
    """Parameters of one CpG. `other` is the second taxon of a half-way site, `kind` its kind (else empty)."""

    taxon: str
    other: str = ""
    kind: str = ""
    levels: tuple = (0.5,)
    weights: tuple = (1.0,)
    effects: tuple = (0.0,)
    sds: tuple = (0.03,)
    log_ratio: float = 0.0
    curve: float = 0.0
    outliers: int = 0
    outlier_distance: float = 0.0
    outlier_clumped: bool = False
    strays: int = 0
    groups: str = "random"
    noise: str = "normal"
    noise_shape: float = 0.0
    factor_share: float = 0.0
    batch_shift: float = 0.0
    missing: float = 0.0

    def row(self) -> dict:
        """Flat dictionary for a table; tuples as space-separated text."""
        row = dataclasses.asdict(self)
        for key in ("levels", "weights", "effects", "sds"):
            row[key] = " ".join(f"{value:.4g}" for value in row[key])
        return row


def _log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def _sign(rng):
    return -1.0 if rng.random() < 0.5 else 1.0


def _level(rng) -> float:
    """Mean beta of a one-band CpG: mostly near 0 or 1, as on the arrays."""
    draw = rng.random()
    if draw < 0.35:
        return float(rng.beta(2, 22))
    if draw < 0.72:
        return float(1 - rng.beta(2.2, 14))
    return float(rng.uniform(0.08, 0.92))


def _room(level, reach, floor=0.012):
    """Move `level` so that level ± reach stays inside 0..1."""
    reach = min(reach, 0.5 - floor)
    return float(min(max(level, floor + reach), 1 - floor - reach))


def _shape(rng, profile, setting) -> None:
    """Draw how the noise looks: its family, what it shares with other CpGs, batches, missing values."""
    profile.noise = str(rng.choice(["normal", "student", "skewed", "beta"], p=[0.4, 0.22, 0.18, 0.2]))
    profile.noise_shape = float(rng.uniform(5, 15) if profile.noise == "student" else _log_uniform(rng, 1.6, 14))
    profile.factor_share = float(rng.choice([0, rng.uniform(0, 0.6)]))
    profile.batch_shift = float(rng.choice([0, rng.uniform(0, 0.6)]))
    if profile.taxon not in ("UniStable", "Outlier") and not profile.kind and rng.random() < 0.25:
        # Real cohorts have a stray sample or two at most CpGs that are not very narrow.
        profile.strays = int(rng.integers(1, 3)) if setting.n >= 200 else 1
    profile.missing = float(rng.choice([0, rng.uniform(0, 0.03)], p=[0.7, 0.3]))


def _trend(rng, setting, sd, weight=1.0, weak=False, largest=0.5) -> float:
    """Signed change of beta over the central 90 % of ages, clear (or `weak`: half-way) for a band of this spread."""
    clear = max(0.4, setting.clear_trend / math.sqrt(weight))
    if weak:
        low, high = 1.6 / math.sqrt(setting.n * weight), 0.55 * clear
        ratio = rng.uniform(max(0.12, low), max(high, 0.2))
        return _sign(rng) * float(ratio * sd / AGE_SD_PER_RANGE)
    ratio = _log_uniform(rng, clear, max(2.8, 1.5 * clear))
    effect = ratio * sd / AGE_SD_PER_RANGE
    smallest = max(0.03, clear * sd / AGE_SD_PER_RANGE)
    return _sign(rng) * float(min(max(effect, smallest), max(largest, smallest)))


def _one_band(rng, setting, taxon) -> Profile:
    profile = Profile(taxon)
    if taxon == "UniStable":
        sd = _log_uniform(rng, 0.0025, 0.0105)
    elif taxon == "UniUnstable":
        # Clouds wider than 0.09 are rare on the array, and common among CpGs chosen because they vary.
        sd = _log_uniform(rng, 0.021, 0.09) if rng.random() < 0.7 else rng.uniform(0.09, 0.16)
    elif taxon == "Outlier":
        sd = _log_uniform(rng, 0.004, 0.03)
    elif taxon in WITH_CHANGING_SPREAD:
        sd = _log_uniform(rng, 0.013, 0.07)
    else:
        sd = _log_uniform(rng, 0.008, 0.08)
    level, reach = _level(rng), 2 * sd
    if taxon in WITH_TREND:
        effect = _trend(rng, setting, sd)
        profile.effects = (effect,)
        reach = 0.65 * abs(effect) + 1.5 * sd
    if taxon in WITH_CHANGING_SPREAD:
        size = rng.uniform(setting.clear_log_ratio, max(math.log(6.0), 1.3 * setting.clear_log_ratio))
        profile.log_ratio = _sign(rng) * float(size)
        reach = 0.65 * abs(profile.effects[0]) + 1.5 * sd * math.exp(size / 2)
    if taxon == "Outlier":
        _add_outliers(rng, setting, profile, rng.uniform(max(0.004, 3.5 / setting.n), max(0.025, 5 / setting.n)))
    profile.levels, profile.sds = (_room(level, reach),), (sd,)
    return profile


def _add_outliers(rng, setting, profile, share) -> None:
    profile.outliers = max(3, round(share * setting.n))
    profile.outlier_distance = float(rng.uniform(0.15, 0.6))
    profile.outlier_clumped = bool(rng.random() < 0.4)


def _genotype_weights(rng, n, least) -> tuple:
    """Hardy–Weinberg weights of three genotypes whose rarest has at least `least` of the samples (and six of them)."""
    rarest = max(least, 6.5 / n)
    q = rng.uniform(min(math.sqrt(rarest) + 0.01, 0.49), 0.5)
    weights = ((1 - q) ** 2, 2 * q * (1 - q), q**2)
    return weights if rng.random() < 0.5 else weights[::-1]


def _band_layout(rng, setting, bands, separation=None):
    """Levels, weights, sds and grouping of two or three bands; neighbours `separation` sds apart (2.6 to 40 drawn)."""
    n = setting.n
    groups = "random"
    if bands == 3:
        if rng.random() < 0.85:
            weights = _genotype_weights(rng, n, 0.04)
        else:
            weights = rng.dirichlet([6, 6, 6])
            weights = tuple(np.maximum(weights, max(0.06, 6.5 / n)))
        steps = np.array([1.0, rng.uniform(0.7, 1.4)])
        separation = _log_uniform(rng, 2.9, 14) if separation is None else separation
    else:
        if rng.random() < 0.2:
            groups, weights = "sex", (0.5, 0.5)
        else:
            minor = rng.uniform(max(0.06, 8 / n), 0.5) if rng.random() < 0.6 else rng.uniform(0.3, 0.5)
            weights = (minor, 1 - minor) if rng.random() < 0.5 else (1 - minor, minor)
        steps = np.array([1.0])
        separation = _log_uniform(rng, 2.9, 24) if separation is None else separation
    # Levels first, then the spread the separation asks for, within what arrays show.
    span = rng.uniform(0.1, 0.85) if bands == 2 else rng.uniform(0.16, 0.88)
    gap = span / steps.sum()
    sd = min(max(gap * steps.min() / separation, 0.006), 0.1 if bands == 2 else 0.08)
    gap = max(sd * separation / steps.min(), 0.05 if separation < 2.6 else 0.085)
    span = min(gap * steps.sum(), 0.95)
    margin = min(1.2 * sd, (1 - span) / 2)
    start = rng.uniform(margin, max(1 - margin - span, margin))
    levels = start + span * np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    # Bands near 0 and 1 are narrower, more or less so.
    power = rng.uniform(0, 1.3)
    sds = sd * np.maximum(2 * np.sqrt(np.clip(levels * (1 - levels), 0.0025, 1)), 0.1) ** power
    sds = np.maximum(sds * np.exp(rng.normal(0, 0.3, bands)), 0.003)
    if separation > 2.6:
        # unequal spreads may not undo the separation
        closest = np.min(np.diff(levels) / np.sqrt((sds[1:] ** 2 + sds[:-1] ** 2) / 2))
        sds *= min(1.0, closest / 2.75)
    else:
        sds = np.full(bands, np.diff(levels).min() / separation)
    weights = np.asarray(weights) / np.sum(weights)
    return tuple(levels), tuple(weights), tuple(sds), groups


def _banded(rng, setting, taxon, weak=False) -> Profile:
    bands = BANDS[taxon]
    profile = Profile(taxon)
    levels, weights, sds, groups = _band_layout(rng, setting, bands)
    effects = np.zeros(bands)
    if taxon in WITH_TREND or weak:
        gaps = np.diff(levels)
        draw = rng.random()
        if draw < 0.45:
            # the same direction in all bands
            base = _trend(rng, setting, float(np.mean(sds)), weak=weak, largest=0.3)
            effects[:] = base * rng.uniform(0.75, 1.25, bands)
        else:
            # one band, or two in opposite directions
            which = int(rng.choice(bands, p=np.asarray(weights)))
            effects[which] = _trend(rng, setting, sds[which], weights[which], weak=weak, largest=0.3)
            if draw > 0.8 and not weak:
                second = (which + 1) % bands
                opposite = abs(_trend(rng, setting, sds[second], weights[second], largest=0.3))
                effects[second] = -np.sign(effects[which]) * opposite
        # Bands must stay apart: spread their levels where trends would make them cross.
        converge = np.abs(np.diff(effects))
        need = 0.55 * converge + 2.7 * np.maximum(np.asarray(sds)[1:], np.asarray(sds)[:-1])
        gaps = np.maximum(gaps, need)
        levels = np.concatenate([[0], np.cumsum(gaps)])
        shrink = min(1.0, 0.96 / max(levels[-1] + 0.55 * np.abs(effects).max(), 1e-9))
        levels, effects, sds = levels * shrink, effects * shrink, tuple(np.asarray(sds) * shrink)
        reach = (levels[-1] + 0.55 * np.abs(effects).max()) / 2
        levels = tuple(levels - levels[-1] / 2 + _room(rng.uniform(0.1, 0.9), reach))
    profile.levels, profile.weights, profile.sds = tuple(levels), weights, sds
    profile.effects, profile.groups = tuple(effects), groups
    return profile


def draw_profile(rng, taxon: str, setting: Setting, half_way: tuple[str, str, str] | None = None) -> Profile:
    """Draw the parameters of a CpG of `taxon`, or of a half-way site `(kind, taxon, other taxon)`.

    Returns a Profile. Raises KeyError for an unknown taxon or kind.
    """
    if half_way is None:
        profile = _banded(rng, setting, taxon) if taxon in BANDS else _one_band(rng, setting, taxon)
    else:
        profile = _half_way(rng, setting, *half_way)
    _shape(rng, profile, setting)
    return profile


def _half_way(rng, setting, kind, taxon, other) -> Profile:
    weakest = setting.clear_log_ratio
    if kind == "spread":
        profile = _one_band(rng, setting, taxon)
        profile.sds = (_log_uniform(rng, 0.0125, 0.0175),)
    elif kind == "weak trend":
        if taxon in BANDS:
            profile = _banded(rng, setting, taxon, weak=True)
        else:
            profile = _one_band(rng, setting, taxon)
            profile.effects = (_trend(rng, setting, profile.sds[0], weak=True),)
    elif kind == "weak change of spread":
        profile = _one_band(rng, setting, taxon)
        low = min(max(math.log(1.3), 5 / math.sqrt(setting.n)), 0.4 * weakest)
        profile.log_ratio = _sign(rng) * float(rng.uniform(low, 0.65 * weakest))
    elif kind == "merging bands":
        profile = Profile(taxon)
        bands = BANDS[other]
        levels, weights, sds, groups = _band_layout(rng, setting, bands, separation=rng.uniform(1.7, 2.25))
        if bands == 2:
            minor = rng.uniform(0.25, 0.5)
            weights = (minor, 1 - minor) if rng.random() < 0.5 else (1 - minor, minor)
        profile.levels, profile.weights, profile.sds, profile.groups = levels, weights, sds, groups
        profile.effects = (0.0,) * bands
        if other in WITH_TREND:
            effect = _trend(rng, setting, float(np.mean(sds)), largest=0.2)
            centre = _room(float(np.mean(levels)), 0.55 * abs(effect) + (levels[-1] - levels[0]) / 2)
            profile.levels = tuple(np.asarray(levels) - np.mean(levels) + centre)
            profile.effects = (effect,) * bands
    elif kind == "rare third band":
        profile = _banded(rng, setting, other)
        rare = min(rng.uniform(0.008, 0.02), 3.4 / setting.n) if setting.n < 300 else rng.uniform(0.008, 0.018)
        middle = rng.uniform(0.25, 0.4)
        weights = (1 - middle - rare, middle, rare)
        profile.weights = weights if rng.random() < 0.5 else weights[::-1]
    elif kind == "few outliers":
        profile = _one_band(rng, setting, taxon)
        _add_outliers(rng, setting, profile, 0)
        wide = taxon == "UniUnstable"
        profile.outliers = int(rng.integers(3, 6)) if wide else int(rng.integers(1, 3))
        profile.sds = (_log_uniform(rng, 0.035, 0.045),) if wide else profile.sds
        profile.levels = (_room(profile.levels[0], 2 * profile.sds[0]),)
    elif kind == "many outliers":
        profile = _one_band(rng, setting, taxon)
        profile.outliers = max(6, round(rng.uniform(0.035, 0.05) * setting.n))
        profile.outlier_clumped = True
    elif kind == "outliers and trend":
        profile = _one_band(rng, setting, taxon)
        _add_outliers(rng, setting, profile, rng.uniform(0.006, 0.02))
    else:
        profile = _one_band(rng, setting, other)
        profile.curve = float(rng.uniform(1.2, 2.5)) * abs(profile.effects[0]) * _sign(rng)
        profile.effects = (profile.effects[0] * rng.uniform(0, 0.5),)
        profile.levels = (_room(profile.levels[0], 0.6 * abs(profile.curve)),)
    profile.taxon, profile.other, profile.kind = taxon, other, kind
    return profile


def _noise(rng, profile, n) -> np.ndarray:
    if profile.noise == "student":
        return rng.standard_t(profile.noise_shape, n) * math.sqrt(1 - 2 / profile.noise_shape)
    if profile.noise == "skewed":
        k = profile.noise_shape
        side = 1.0 if np.mean(profile.levels) < 0.5 else -1.0
        return side * (rng.gamma(k, 1.0, n) - k) / math.sqrt(k)
    return rng.normal(size=n)


def _assign_bands(rng, profile, setting) -> np.ndarray:
    if profile.groups == "sex":
        # Two groups known to the study; a mixed-up sample now and then.
        flip = rng.random(setting.n) < 0.004
        return np.where(flip, 1 - setting.sex, setting.sex)
    band = rng.choice(len(profile.weights), setting.n, p=np.asarray(profile.weights) / np.sum(profile.weights))
    least = 5 if profile.kind == "" else 1
    for k in range(len(profile.weights)):
        # A band that is there by definition must show in every draw.
        lacking = least - np.sum(band == k)
        if lacking > 0:
            common = int(np.argmax(np.bincount(band, minlength=len(profile.weights))))
            band[rng.choice(np.flatnonzero(band == common), lacking, replace=False)] = k
    return band


def draw_values(rng, profile: Profile, setting: Setting) -> np.ndarray:
    """Beta values (n,) float32 of one CpG, NaN where missing."""
    n = setting.n
    band = _assign_bands(rng, profile, setting) if len(profile.levels) > 1 else np.zeros(n, dtype=int)
    position = setting.position
    mean = np.asarray(profile.levels)[band] + np.asarray(profile.effects)[band] * position
    mean = mean + profile.curve * (position**2 - 0.08)
    sd = np.asarray(profile.sds)[band] * np.exp(profile.log_ratio * np.clip(position, -0.8, 0.8))
    mean = np.clip(mean, 0.004, 0.996)
    if profile.noise == "beta":
        precision = np.maximum(mean * (1 - mean) / sd**2 - 1, 1.5)
        values = rng.beta(mean * precision, (1 - mean) * precision)
    else:
        noise = math.sqrt(1 - profile.factor_share) * _noise(rng, profile, n)
        if profile.factor_share:
            loading = rng.normal(size=3)
            noise = noise + math.sqrt(profile.factor_share) * setting.factors @ (loading / np.linalg.norm(loading))
        # Noise on the logit scale, scaled to the wanted sd of beta: saturates towards 0 and 1 as arrays do.
        room = mean * (1 - mean)
        scale = sd / room
        logit = np.log(mean / (1 - mean)) + noise * np.minimum(scale, 1.2)
        values = 1 / (1 + np.exp(-logit))
        gentle = scale < 0.35
        values = np.where(gentle, mean + noise * sd, values)
    if profile.batch_shift:
        shift = rng.normal(0, profile.batch_shift, setting.batch.max() + 1)[setting.batch]
        values = values + (shift - shift.mean()) * sd
    if profile.outliers:
        which = rng.choice(n, min(profile.outliers, n // 4), replace=False)
        away = 1.0 if profile.levels[0] < 0.5 else -1.0
        if 0.3 < profile.levels[0] < 0.7 and rng.random() < 0.5:
            away = -away
        if profile.outlier_clumped:
            distance = profile.outlier_distance + rng.normal(0, 0.02, len(which))
        else:
            spread = max(profile.outlier_distance - 0.1, 0.08)
            distance = 0.1 + 4 * profile.sds[0] + rng.random(len(which)) * spread
        values[which] = mean[which] + away * np.maximum(distance, 0.1 + 4 * profile.sds[0])
    if profile.strays:
        which = rng.choice(n, profile.strays, replace=False)
        values[which] = values[which] + _sign(rng) * rng.uniform(0.04, 0.2, profile.strays)
    values = np.clip(values, 0.0005 + 0.002 * rng.random(n), 0.9995 - 0.002 * rng.random(n))
    if profile.missing:
        values[rng.random(n) < profile.missing] = np.nan
    return values.astype(np.float32)


def half_way_kinds() -> list[tuple[str, str, str]]:
    """All kinds of half-way sites as (kind, taxon, other taxon)."""
    return [(kind, *pair) for kind, pairs in HALF_WAY.items() for pair in pairs]


def draw_cpg(seed: int, index: int, taxon: str | None, setting: Setting) -> tuple[Profile, np.ndarray]:
    """CpG number `index` of a simulation: its profile and values (n,); `taxon` None draws a half-way site.

    Each CpG has its own random stream, so that any part of a simulation can be made alone.
    """
    rng = np.random.default_rng([seed, index])
    half_way = None
    if taxon is None:
        kinds = list(HALF_WAY)
        kind = kinds[rng.integers(len(kinds))]
        pairs = HALF_WAY[kind]
        half_way = (kind, *pairs[rng.integers(len(pairs))])
        taxon = half_way[1]
    profile = draw_profile(rng, taxon, setting, half_way)
    return profile, draw_values(rng, profile, setting)


COHORT_SHARES = {
    "UniStable": 0.16,
    "UniUnstable": 0.16,
    "LinAgeHomo": 0.12,
    "LinAgeHet": 0.09,
    "NonAgeHet": 0.08,
    "Outlier": 0.09,
    "TriAge": 0.06,
    "TriNonAge": 0.08,
    "BiAge": 0.07,
    "BiNonAge": 0.09,
}
"""Shares of the taxa among the clean CpGs of a simulated cohort."""


def plan_cohort(seed: int, n_cpgs: int, half_way_share: float) -> list[str | None]:
    """Taxon of each CpG of a simulated cohort, None for half-way sites, in random order."""
    rng = np.random.default_rng([seed, 2**31])
    shares = np.array([COHORT_SHARES[taxon] for taxon in TAXA])
    n_half = round(half_way_share * n_cpgs)
    counts = np.floor(shares / shares.sum() * (n_cpgs - n_half)).astype(int)
    counts[0] += n_cpgs - n_half - counts.sum()
    plan = [taxon for taxon, count in zip(TAXA, counts, strict=True) for _ in range(count)] + [None] * n_half
    return [plan[index] for index in rng.permutation(n_cpgs)]


def cohort_setting(seed: int, n_samples: int, age_range=(19, 90)) -> Setting:
    """A cohort's setting with ages spread over `age_range` (years), thinning out towards both ends."""
    rng = np.random.default_rng([seed, 2**31 + 1])
    ages = np.round(age_range[0] + rng.beta(1.6, 1.5, n_samples) * (age_range[1] - age_range[0]), 1)
    return make_setting(ages, rng)


def draw_in_cohorts(
    seed: int, index: int, taxon: str | None, settings: list[Setting]
) -> tuple[Profile, list[np.ndarray]]:
    """One CpG in several cohorts: its profile, drawn for the first of them, and its values (n,) in each.

    Every cohort has its own people and noise. What is clear in the first need not be so in a smaller one.
    """
    profile, first = draw_cpg(seed, index, taxon, settings[0])
    streams = (np.random.default_rng([seed, index, number]) for number in range(1, len(settings)))
    return profile, [first, *map(draw_values, streams, [profile] * (len(settings) - 1), settings[1:])]

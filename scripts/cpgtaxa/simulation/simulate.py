"""Simulated CpGs whose taxon is known: for the demo cohort, for training images, and as the truth of the tests.

A CpG is drawn in two steps. `draw_profile` draws the parameters of one taxon (or of a boundary CpG, here and in the
config called `boundary`): levels and weights of its bands, trend of each band, spread, change of spread with age,
outliers, shape of the noise. `draw_values` turns a profile into one beta value per sample of a `Setting` (ages, sexes,
batches and hidden factors shared by all CpGs of a cohort).

Truth does not depend on the number of samples: `Profile.quantities` gives the true value of each quantity of
`criteria.TABLE`, `Profile.admissible` the taxa that are right for them. A CpG drawn for a taxon has that taxon alone,
however small the cohort; a boundary CpG has exactly two, as one of its quantities lies in that criterion's zone.

Nothing drawn is exactly flat or even: below the zones trends, bends and changes of spread are as small as in real
cohorts, not zero. Level, spread and shape of the noise come from real blood cohorts (`resources/simulation`), mixed
with parametric families for breadth; `tests/benchmarks/realism.py` measures how far simulated and real CpGs can be told
apart.
"""

import dataclasses
import functools
import math
import pathlib

import numpy as np
from scipy.signal import lfilter

from cpgtaxa.names import TAXA
from cpgtaxa.taxa import criteria

SHAPE_FILE = pathlib.Path(__file__).resolve().parents[3] / "resources/simulation/shapes.csv"
GRID = np.linspace(-3.2, 3.2, 41)
"""Normal scores at which the quantiles of a noise shape are given."""
_DENSITY = np.exp(-(GRID**2) / 2) / np.exp(-(GRID**2) / 2).sum()

BANDS = {"TriAge": 3, "TriNonAge": 3, "BiAge": 2, "BiNonAge": 2}
WITH_TREND = ("LinAgeHomo", "LinAgeHet", "TriAge", "BiAge")
WITH_CHANGING_SPREAD = ("LinAgeHet", "NonAgeHet")

BOUNDARIES = {
    "two_bands": [("UniUnstable", "BiNonAge"), ("LinAgeHomo", "BiAge"), ("UniUnstable", "TriNonAge")],
    "band_share": [("Outlier", "BiNonAge"), ("LinAgeHomo", "BiAge"), ("NonAgeHet", "BiNonAge"), ("LinAgeHet", "BiAge")],
    "three_bands": [("BiNonAge", "TriNonAge"), ("BiAge", "TriAge")],
    "trend": [
        ("UniStable", "LinAgeHomo"),
        ("UniUnstable", "LinAgeHomo"),
        ("NonAgeHet", "LinAgeHet"),
        ("Outlier", "LinAgeHomo"),
        ("BiNonAge", "BiAge"),
        ("TriNonAge", "TriAge"),
    ],
    "spread": [
        ("UniStable", "NonAgeHet"),
        ("UniUnstable", "NonAgeHet"),
        ("LinAgeHomo", "LinAgeHet"),
        ("Outlier", "NonAgeHet"),
    ],
    "width": [("UniStable", "UniUnstable")],
    "outliers": [("UniStable", "Outlier"), ("UniUnstable", "Outlier")],
}
"""Kinds of boundary CpGs, by the criterion in whose zone they lie, and the two taxa that are right for them. For three
bands without a plain valley two bands are right as well."""

BOUNDARY_SHARES = {
    "two_bands": 0.15,
    "band_share": 0.1,
    "three_bands": 0.1,
    "trend": 0.22,
    "spread": 0.21,
    "width": 0.12,
    "outliers": 0.1,
}
"""How often each kind is drawn. In real blood the quantities often between are spread, trend and width."""

FOREIGN = ("curved", "wave", "step", "four bands", "late bands", "wide in mid-life", "uniform")
"""Kinds of patterns that no taxon has, for `draw_foreign`."""

ZONE = {name: (one.low, one.high) for name, one in criteria.BY_NAME.items()}
"""Ends of the zone of each criterion, from the table's defaults. What is drawn for a taxon reaches up to them."""

Z_LIMIT = 4.6
OUTLIER_DISTANCE = 0.09
"""Nearest that outliers and strays come to their band (beta)."""

TAIL = 0.088
"""Noise ends at so many standard deviations or at this distance (beta), whichever is farther: what lies beyond is drawn
as outliers or strays, and counted as such."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all CpGs of one cohort share.

    ages: (n,) years. position: (n,) age centred at the mid of its central 90 % and scaled to that range, so that an
    effect is the change over it. sex: (n,) 0 or 1. batch: (n,) batch numbers. factors: (n, 3) hidden factors (cell
    composition, quality); drift: (n, 8) technical effects along the sheet (slow drifts, chips of 12 samples, rows of
    the chips). Both are orthogonal to age and have unit variance.
    """

    ages: np.ndarray
    position: np.ndarray
    sex: np.ndarray
    batch: np.ndarray
    factors: np.ndarray
    drift: np.ndarray

    @property
    def n(self) -> int:
        return len(self.ages)

    @functools.cached_property
    def held(self) -> np.ndarray:
        """Position (n,) between −0.8 and 0.8: beyond, spreads and tails grow no further."""
        return np.clip(self.position, -0.8, 0.8)

    @functools.cached_property
    def bend(self) -> np.ndarray:
        """Squared position (n,), centred."""
        return self.position**2 - np.mean(self.position**2)

    @functools.cached_property
    def span(self) -> float:
        """Central 90 % range of age, years."""
        return float(np.subtract(*np.quantile(self.ages, [0.95, 0.05])))


def make_setting(ages, rng) -> Setting:
    """Build the shared part of a cohort around `ages` (n,) in years."""
    ages = np.asarray(ages, dtype=float)
    n = len(ages)
    low, high = np.quantile(ages, [0.05, 0.95])
    width = max(high - low, 1e-6)
    position = (ages - (low + high) / 2) / width
    sex = (rng.random(n) < rng.uniform(0.35, 0.65)).astype(int)
    batches = int(rng.integers(1, 13))
    # Plates are usually filled in sample order, sometimes at random.
    mixed = rng.random() < 0.08
    order = rng.permutation(n) if mixed else np.arange(n)
    batch = order * batches // n
    drift = _technical(rng, n)[order]
    factors = rng.normal(size=(n, 3))
    age = np.linalg.qr(np.column_stack([np.ones(n), position]))[0]
    shared = np.column_stack([factors, drift])
    shared -= age @ (age.T @ shared)
    shared /= np.maximum(np.sqrt((shared**2).mean(axis=0)), 1e-6)
    return Setting(ages, position, sex, batch, shared[:, :3], shared[:, 3:])


def _technical(rng, n) -> np.ndarray:
    """Technical effects in the order of the sheet, (n, 8): five slow drifts, two sets of chips, one of rows."""
    columns = []
    for length in np.exp(rng.uniform(math.log(15), math.log(150), 5)):
        keep = math.exp(-1 / length)
        columns.append(lfilter([math.sqrt(1 - keep**2)], [1, -keep], rng.normal(size=n + 100))[100:])
    chips = (np.arange(n) + int(rng.integers(12))) // 12
    columns += [rng.normal(size=chips[-1] + 1)[chips] for _ in range(2)]
    columns.append(rng.normal(size=12)[np.arange(n) % 12])
    return np.column_stack(columns)


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
    """A cohort with ages from `draw_ages`, of 50 to 5,000 samples (log-uniform)."""
    n = int(np.exp(rng.uniform(math.log(50), math.log(5000))))
    return make_setting(draw_ages(rng, n), rng)


@dataclasses.dataclass
class Profile:
    """Parameters of one CpG. `other` is the second taxon of a boundary CpG, `kind` its criterion (else empty).

    levels: beta at the mid of the central 90 % of ages, one a band (ascending). weights: shares of the samples.
    effects: change of beta over the central 90 % of ages. sds: standard deviations of beta. log_ratio: log of the ratio
    of the sds at the end and at the start of the central 90 % of ages. curve: bend, beta per squared position.
    skew_growth: tails on one side that lengthen with age, in sds. outliers: samples far from the band;
    outlier_share: their share, for cohorts of any size (0: the number counts). strays: the few stray samples at least
    0.09 from their band. noise: `bank` (row noise_shape of the table of shapes, mirrored where it is negative: −1 is
    row 0; its distance from normal times noise_form), normal, student, skewed, beta. factor_share, drift_share: shares
    of the noise variance that hidden factors and the sheet's order explain. batch_shift: sd of shifts of batches, sds.
    """

    taxon: str
    other: str = ""
    kind: str = ""
    levels: tuple = (0.5,)
    weights: tuple = (1.0,)
    effects: tuple = (0.0,)
    sds: tuple = (0.03,)
    log_ratio: float = 0.0
    curve: float = 0.0
    skew_growth: float = 0.0
    outliers: int = 0
    outlier_share: float = 0.0
    outlier_distance: float = 0.0
    outlier_clumped: bool = False
    strays: int = 0
    groups: str = "random"
    noise: str = "normal"
    noise_shape: float = 0.0
    noise_form: float = 1.0
    factor_share: float = 0.0
    drift_share: float = 0.0
    batch_shift: float = 0.0
    missing: float = 0.0

    def row(self) -> dict:
        """Flat dictionary for a table; tuples as space-separated text."""
        row = dataclasses.asdict(self)
        for key in ("levels", "weights", "effects", "sds"):
            row[key] = " ".join(f"{value:.4g}" for value in row[key])
        return row

    def shares(self, setting: Setting) -> np.ndarray:
        """True share of the samples in each band (k,)."""
        if self.groups == "sex":
            women = float(setting.sex.mean())
            return np.array([1 - women, women])
        return np.asarray(self.weights) / sum(self.weights)

    def quantities(self, setting: Setting) -> dict[str, float]:
        """True value of the quantity of each criterion of `criteria.TABLE`, in its unit.

        The valley between bands is that of the mixture of normal densities at the mean age. It counts as 0 where the
        bands are at least 1.4 sds apart (Ashman's D) without a valley, and as −1 where they are nearer or where there
        is one band. The smaller part of two bands is, in the reading as one band, the share of outliers.
        """
        sds, effects = np.asarray(self.sds), np.asarray(self.effects)
        single = len(self.levels) == 1
        ratio = math.exp(abs(_floored_log_ratio(sds.mean(), self.log_ratio)))
        away = max(self.outlier_share or self.outliers / setting.n, self.strays / setting.n)
        found = {"two_bands": -1.0, "band_share": away if self.outliers else 0.0, "three_bands": 0.0, "spread": ratio}
        if single:
            found["trend"] = abs(self.effects[0]) / math.hypot(self.sds[0], criteria.EFFECT_FLOOR)
            return found | {"width": float(self.sds[0]), "outliers": away}
        shares = self.shares(setting)
        levels = np.asarray(self.levels) + effects * setting.position.mean()
        valleys = valley_depths(levels, shares, sds)
        size = np.abs(effects) / np.hypot(sds, criteria.EFFECT_FLOOR)
        found["two_bands"] = max(valleys)
        found["band_share"] = float(shares.min()) if len(shares) == 2 else 1 - float(shares.max())
        if len(shares) == 3 and min(valleys) >= 0:
            found["three_bands"] = float(shares.min())
            if min(valleys) < ZONE["two_bands"][1]:
                # Whether there is a third band is as open as whether its valley is one.
                found["three_bands"] = min(found["three_bands"], math.sqrt(math.prod(ZONE["three_bands"])))
        found["trend"] = float(size[shares >= criteria.TREND_SHARE].max(initial=0.0))
        centre = shares @ levels
        found["width"] = float(np.sqrt(shares @ (sds**2 + (levels - centre) ** 2)))
        found["outliers"] = away
        if len(shares) == 2 and shares.min() < ZONE["band_share"][1]:
            found["outliers"] = max(away, float(shares.min()))
            found["width"] = float(sds[shares.argmax()])
        return found

    def admissible(self, setting: Setting) -> tuple[str, ...]:
        """The taxa that are right for this CpG, as `criteria.admissible` says of its quantities."""
        return admissible_taxa(self.quantities(setting))


def admissible_taxa(quantities: dict[str, float]) -> tuple[str, ...]:
    """`criteria.admissible` of a single CpG, by name; many times faster for one."""
    found = ((quantities[key] >= low, quantities[key] <= high) for key, (low, high) in ZONE.items())
    return _reached(tuple(found))


@functools.cache
def _reached(may: tuple) -> tuple[str, ...]:
    """Taxa all of whose answers are allowed. may: for each criterion whether yes is, and whether no is."""
    table = dict(zip(ZONE, may, strict=True))
    yes = {key: np.array([bool(one[0])]) for key, one in table.items()}
    no = {key: np.array([bool(one[1])]) for key, one in table.items()}
    return tuple(taxon for taxon, right in zip(TAXA, criteria.reached(yes, no)[0], strict=True) if right)


def _floored_log_ratio(sd, log_ratio) -> float:
    """Log ratio of √(sd² + criteria.SPREAD_FLOOR²) at the two ends of the central 90 % of ages."""
    floor = criteria.SPREAD_FLOOR**2
    old, young = sd**2 * math.exp(log_ratio), sd**2 * math.exp(-log_ratio)
    return 0.5 * math.log((old + floor) / (young + floor))


def _log_ratio_for(sd, floored) -> float:
    """The log ratio of sds whose `_floored_log_ratio` is `floored` (≥ 0)."""
    floor, ratio = criteria.SPREAD_FLOOR**2, math.exp(2 * floored)
    half = floor * (ratio - 1)
    return math.log((half + math.sqrt(half**2 + 4 * sd**4 * ratio)) / (2 * sd**2))


_SCALE = np.linspace(0, 1, 41)


def valley_depths(levels, shares, sds) -> list[float]:
    """For each pair of neighbouring bands the depth of the valley of the mixture, as a share of its lower peak.

    levels (ascending), shares, sds: (k,). 0 where there is no valley, −1 where bands are nearer than 0.06 or 1.4 sds
    (Ashman's D).
    """
    depths = []
    for k in range(len(levels) - 1):
        gap = levels[k + 1] - levels[k]
        if gap < criteria.LEAST_GAP or gap < criteria.LEAST_D * math.sqrt((sds[k] ** 2 + sds[k + 1] ** 2) / 2):
            depths.append(-1.0)
            continue
        x = levels[k] + gap * _SCALE
        f = np.exp(-(((x[:, None] - levels) / sds) ** 2) / 2) @ (shares / sds)
        peaks = np.minimum(np.maximum.accumulate(f), np.maximum.accumulate(f[::-1])[::-1])
        depths.append(float(np.max(1 - f / peaks)))
    return depths


def standardised(quantiles) -> np.ndarray:
    """A shape (41,) at GRID with mean 0 and standard deviation 1."""
    centred = quantiles - _DENSITY @ quantiles
    return centred / math.sqrt(_DENSITY @ centred**2)


@functools.cache
def shapes() -> dict[str, np.ndarray]:
    """The table of noise shapes in order of sd: level, sd (beta), cumulated weight, quantiles (k, 41), `mild` rows."""
    table = np.loadtxt(SHAPE_FILE, delimiter=",", skiprows=1)
    quantiles = np.stack([standardised(row) for row in table[:, 3:]])
    skewness = quantiles**3 @ _DENSITY
    return {
        "level": table[:, 0],
        "sd": table[:, 1],
        "weight": np.concatenate([[0], np.cumsum(table[:, 2])]),
        "quantiles": quantiles,
        "mild": np.flatnonzero(np.abs(skewness) < 0.5),
    }


def _shape_quantiles(profile) -> np.ndarray:
    """Quantiles (41,) at GRID of a profile's row of the table, its distance from normal times noise_form."""
    row = int(abs(profile.noise_shape + 0.5))
    found = shapes()["quantiles"][row]
    found = found if profile.noise_shape >= 0 else -found[::-1]
    return standardised(np.maximum.accumulate(GRID + profile.noise_form * (found - GRID)))


def _log_uniform(rng, low, high):
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _sign(rng, positive=0.5):
    return 1.0 if rng.random() < positive else -1.0


def _level(rng) -> float:
    """Mean beta of a one-band CpG: mostly near 0 or 1, as on the arrays."""
    draw = rng.random()
    if draw < 0.35:
        return float(rng.beta(2, 22))
    if draw < 0.72:
        return float(1 - rng.beta(2.2, 14))
    return float(rng.uniform(0.08, 0.92))


def _room(level, below, above=None):
    """Move `level` so that level − below and level + above stay inside 0..1; in the middle of them if they cannot."""
    above = below if above is None else above
    low, high = 0.004 + below, 0.996 - above
    return float(min(max(level, low), high)) if low <= high else float((low + high) / 2)


def _cloud(rng, profile, low, high) -> tuple[float, float]:
    """Level and sd (from `low` to `high`, beta) of a band, and the shape of its noise, which goes into the profile."""
    bank = shapes()
    first, last = np.searchsorted(bank["sd"], [low / 1.15, high * 1.15])
    if last > first and rng.random() < 0.85:
        total = bank["weight"]
        row = int(np.searchsorted(total, rng.uniform(total[first], total[last]), side="right")) - 1
        row = min(max(row, first), last - 1)
        sd = bank["sd"][row] * math.exp(0.15 * rng.normal())
        if not low <= sd <= high:
            sd = _log_uniform(rng, max(low, min(sd, high) / 1.2), min(high, max(sd, low) * 1.2))
        level = bank["level"][row]
        logit = math.log(level / (1 - level)) + 0.2 * rng.normal()
        level = 1 / (1 + math.exp(-logit))
        mirrored = rng.random() < 0.06
        profile.noise, profile.noise_shape = "bank", float(-row - 1 if mirrored else row)
        profile.noise_form = float(np.clip(1.15 + 0.25 * rng.normal(), 0.5, 2.0))
        return 1 - level if mirrored else level, float(sd)
    _family(rng, profile)
    return _level(rng), _log_uniform(rng, low, high)


def _family(rng, profile, mild=False) -> None:
    """Draw a parametric family of noise; `mild`: without the skewness that would fill a valley."""
    profile.noise = str(rng.choice(["normal", "student", "skewed", "beta"], p=[0.25, 0.3, 0.25, 0.2]))
    least = 16 if mild else 1.6
    profile.noise_shape = float(rng.uniform(4.5, 12)) if profile.noise == "student" else _log_uniform(rng, least, 40)


def _nuisance(rng, profile, setting) -> None:
    """Draw what the noise shares with other CpGs, the bend of the trend, stray samples, missing values."""
    sd, n = max(profile.sds), setting.n
    profile.factor_share = float(rng.uniform(0, 0.6)) if rng.random() < 0.5 else 0.0
    # Technical effects are of one size in beta, so that their share is smaller where people differ more.
    profile.drift_share = float(rng.beta(2.2, 7.5)) / (1 + (sd / 0.09) ** 2)
    profile.batch_shift = float(rng.uniform(0, 0.5)) / (1 + (sd / 0.08) ** 2) if rng.random() < 0.3 else 0.0
    if not profile.curve:
        bend = 0.12 * rng.normal() * sd + 0.25 * rng.normal() * max(map(abs, profile.effects))
        profile.curve = float(np.clip(bend, -1.5 * sd, 1.5 * sd))
    if len(profile.levels) == 1:
        side = 1.0 if profile.levels[0] < 0.55 else -1.0
        profile.skew_growth = (
            side * float(np.clip(0.09 + 0.06 * rng.normal(), -0.04, 0.2)) * min(setting.span / 45, 1.2)
        )
    rate = 0.0035 if profile.kind == "several" else 0.002
    strays = int(rng.poisson(n * rate * rng.gamma(0.6)))
    if strays:
        # A stray counts as an outlier from 0.09 on; where outliers matter there is no room for many.
        most = 0 if profile.outliers else int(0.95 * ZONE["outliers"][0] * n)
        if len(profile.levels) == 1 and profile.taxon not in ("UniStable", "UniUnstable", "Outlier"):
            most = int(0.01 * n)
        elif len(profile.levels) > 1:
            most = int(0.004 * n)
        if sd < 0.07:
            profile.strays = min(strays, most)
    profile.missing = float(rng.uniform(0, 0.03)) if rng.random() < 0.3 else 0.0


def _inside(rng, name, b=1.0) -> float:
    """A value inside the zone of a criterion; with b > 1 more often near its lower end."""
    low, high = ZONE[name]
    width = high - low
    return low + width * (0.02 + 0.96 * float(rng.beta(1, b) if b != 1 else rng.random()))


def _small_trend(rng, sd) -> float:
    """A trend as small as those of CpGs that do not follow age: below the criterion's zone."""
    size = min(abs(0.14 * rng.normal()), rng.uniform(0.05, 0.97 * ZONE["trend"][0]))
    return _sign(rng) * size * math.hypot(sd, criteria.EFFECT_FLOOR)


def _trend(rng, sd, between=False, largest=0.55) -> float:
    """Signed change of beta over the central 90 % of ages: clear, or `between` no and yes; most are small."""
    unit = math.hypot(sd, criteria.EFFECT_FLOOR)
    if between:
        return _sign(rng) * _inside(rng, "trend", 1.4) * unit
    least = 1.02 * ZONE["trend"][1]
    size = least + float(rng.exponential(0.6)) if rng.random() < 0.75 else least * _log_uniform(rng, 1.3, 8)
    return _sign(rng) * min(size * unit, max(largest, least * unit))


def _change_of_spread(rng, setting, sd, want) -> float:
    """Log ratio of sds: `want` is "no", "between" or "yes". Most spreads grow with age."""
    years = setting.span / 45
    if want == "yes":
        size = min(1.02 * math.log(ZONE["spread"][1]) + float(rng.exponential(0.3)), math.log(6))
    elif want == "between":
        size = math.log(_inside(rng, "spread", min(max(1.8 / years**2, 0.8), 4)))
    else:
        size = min(years * abs(0.05 + 0.06 * rng.normal()), rng.uniform(0.05, 0.97 * math.log(ZONE["spread"][0])))
    return _sign(rng, 0.92 if sd > 0.02 else 0.75) * _log_ratio_for(sd, size)


def _place(profile, level, sd, effect, log_ratio) -> None:
    """Give a profile its one band, moved to where the noise has room."""
    if profile.noise == "bank":
        quantiles = _shape_quantiles(profile)
        below, above = max(-quantiles[6], 0.8), max(quantiles[-7], 0.8)
    else:
        below = above = 1.8
    widest = sd * math.exp(abs(log_ratio) / 2)
    level = _room(level, 0.52 * abs(effect) + below * widest, 0.52 * abs(effect) + above * widest)
    profile.levels, profile.sds, profile.effects, profile.log_ratio = (level,), (sd,), (float(effect),), log_ratio


SD_RANGES = {
    "UniStable": (0.002, 0.99 * ZONE["width"][0]),
    "UniUnstable": (1.01 * ZONE["width"][1], 0.16),
    "Outlier": (0.003, 0.055),
    "NonAgeHet": (0.009, 0.15),
    "LinAgeHet": (0.008, 0.13),
    "LinAgeHomo": (0.003, 0.14),
}
"""Standard deviations (beta) of the taxa of one band."""


def _one_band(rng, setting, taxon, kind="", other="") -> Profile:
    profile = Profile(taxon)
    low, high = SD_RANGES[taxon]
    if kind == "width":
        low, high = 1.02 * ZONE["width"][0], 0.99 * ZONE["width"][1]
    elif "Outlier" in (taxon, other) or kind == "band_share":
        low, high = max(low, SD_RANGES["Outlier"][0]), min(high, SD_RANGES["Outlier"][1])
    if kind == "spread":
        low = max(low, 0.005)
    level, sd = _cloud(rng, profile, low, high)
    if kind == "trend":
        effect = _trend(rng, sd, between=True)
    else:
        effect = _trend(rng, sd) if taxon in WITH_TREND else _small_trend(rng, sd)
    want = "between" if kind == "spread" else "yes" if taxon in WITH_CHANGING_SPREAD else "no"
    _place(profile, level, sd, effect, _change_of_spread(rng, setting, sd, want))
    if kind == "outliers":
        _add_outliers(rng, setting, profile, _inside(rng, "outliers"))
    elif taxon == "Outlier" and kind != "band_share":
        _add_outliers(rng, setting, profile, rng.uniform(1.03 * ZONE["outliers"][1], 0.99 * ZONE["band_share"][0]))
    return profile


def _add_outliers(rng, setting, profile, share) -> None:
    profile.outlier_share = float(share)
    profile.outliers = max(1, round(share * setting.n))
    profile.outlier_distance = float(rng.uniform(0.12, 0.6))
    profile.outlier_clumped = bool(rng.random() < 0.4)


def _rare_part(rng, setting, taxon) -> Profile:
    """A band and a smaller part far from it, too large for outliers and too small for a band."""
    profile = _one_band(rng, setting, taxon, "band_share")
    level, sd, minor = profile.levels[0], profile.sds[0], _inside(rng, "band_share")
    widest = sd * math.exp(abs(profile.log_ratio) / 2)
    second = _log_uniform(rng, 0.012, 0.07)
    side = 1.0 if level < 0.5 else -1.0
    reach = 0.5 + abs(level - 0.5) - 0.02
    least = 0.1 + 4 * widest + 2 * second + 0.5 * abs(profile.effects[0])
    distance = rng.uniform(least, max(least, reach))
    levels, weights, sds = (level, level + side * min(distance, reach)), (1 - minor, minor), (sd, second)
    effects = (profile.effects[0], _small_trend(rng, second))
    order = slice(None) if side > 0 else slice(None, None, -1)
    profile.levels, profile.weights, profile.sds = levels[order], weights[order], sds[order]
    profile.effects = effects[order]
    return profile


def _genotype_weights(rng, least) -> tuple:
    """Hardy–Weinberg weights of three genotypes whose rarest has at least `least` of the samples."""
    q = rng.uniform(math.sqrt(least), 0.5)
    weights = ((1 - q) ** 2, 2 * q * (1 - q), q**2)
    return weights if rng.random() < 0.5 else weights[::-1]


def _band_weights(rng, setting, bands, kind) -> tuple[str, tuple]:
    """Grouping and weights of two or three bands."""
    if kind == "three_bands":
        rare, middle = _inside(rng, "three_bands"), rng.uniform(0.2, 0.45)
        weights = (1 - middle - rare, middle, rare)
    elif bands == 3:
        if rng.random() < 0.85:
            return "random", _genotype_weights(rng, 1.05 * ZONE["three_bands"][1])
        least = 1.05 * ZONE["three_bands"][1]
        weights = least + (1 - 3 * least) * rng.dirichlet([3, 3, 3])
        return "random", tuple(weights)
    else:
        women = float(setting.sex.mean())
        if rng.random() < 0.2 and 0.1 < women < 0.9:
            return "sex", (1 - women, women)
        if rng.random() < 0.3:
            # Two genotypes of three: the third is rarer than one in two hundred and not there.
            q = rng.uniform(0.55 * ZONE["band_share"][1], 0.07)
            minor = 2 * q * (1 - q)
        else:
            minor = rng.uniform(1.03 * ZONE["band_share"][1], 0.5) if rng.random() < 0.6 else rng.uniform(0.3, 0.5)
        weights = (1 - minor, minor)
    return "random", weights if rng.random() < 0.5 else weights[::-1]


def _scaled_to_depth(levels, weights, sds, depth, pick) -> np.ndarray:
    """`sds` times the factor at which the valley (`pick` of several) is `depth` deep; by bisection."""
    low, high = math.log(0.1), math.log(10.0)
    for _ in range(14):
        middle = (low + high) / 2
        found = pick(valley_depths(levels, weights, sds * math.exp(middle)))
        if abs(found - depth) < 0.01:
            break
        low, high = (middle, high) if found > depth else (low, middle)
    return sds * math.exp(middle)


def _band_layout(rng, setting, bands, kind=""):
    """Levels, weights, sds and grouping of two or three bands: from a valley just deep enough to bands far apart."""
    groups, weights = _band_weights(rng, setting, bands, kind)
    weights = np.asarray(weights)
    steps = np.array([1.0]) if bands == 2 else np.array([1.0, rng.uniform(0.7, 1.4)])
    separation = min(2.9 * math.exp(rng.exponential(0.7)), 30 if bands == 2 else 16)
    # Levels first, then the spread the separation asks for, within what arrays show.
    span = rng.uniform(0.1, 0.85) if bands == 2 else rng.uniform(0.16, 0.88)
    sd = min(max(span / steps.sum() * steps.min() / separation, 0.006), 0.13 if bands == 2 else 0.1)
    span = min(max(sd * separation / steps.min(), 0.075) * steps.sum(), 0.95)
    margin = min(1.2 * sd, (1 - span) / 2)
    start = rng.uniform(margin, max(1 - margin - span, margin))
    levels = start + span * np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    # Bands near 0 and 1 are narrower, more or less so.
    power = rng.uniform(0, 1.3)
    sds = sd * np.maximum(2 * np.sqrt(np.clip(levels * (1 - levels), 0.0025, 1)), 0.1) ** power
    sds = np.maximum(sds * np.exp(rng.normal(0, 0.3, bands)), 0.003)
    if kind == "two_bands":
        if rng.random() < 0.3:
            closest = np.diff(levels) / np.sqrt((sds[1:] ** 2 + sds[:-1] ** 2) / 2)
            sds = sds * closest.max() / rng.uniform(1.45, 1.9)
        else:
            sds = _scaled_to_depth(levels, weights, sds, _inside(rng, "two_bands"), max)
    else:
        least = ZONE["two_bands"][1] + 0.015
        if min(valley_depths(levels, weights, sds)) < least:
            sds = _scaled_to_depth(levels, weights, sds, least + 0.3 * rng.random() ** 2, min)
    return levels, weights, sds, groups


def _banded(rng, setting, taxon, kind="") -> Profile:
    bands = BANDS[taxon]
    profile = Profile(taxon)
    levels, weights, sds, groups = _band_layout(rng, setting, bands, kind)
    effects = np.array([_small_trend(rng, sd) for sd in sds])
    between = kind == "trend"
    if taxon in WITH_TREND or between:
        can = weights >= criteria.TREND_SHARE + 0.004
        draw = rng.random()
        if draw < 0.45 or kind == "two_bands":
            # the same direction in all bands
            noise = float(np.mean(sds))
            if kind == "two_bands":
                # clear in the reading as one band, too
                noise = math.sqrt(weights @ (sds**2 + (levels - weights @ levels) ** 2))
            base = _trend(rng, noise, between, largest=0.3)
            effects = base * (np.ones(bands) if kind == "two_bands" else rng.uniform(0.75, 1.25, bands))
        else:
            # one band, or two in opposite directions
            which = int(rng.choice(bands, p=weights * can / (weights * can).sum()))
            effects[which] = _trend(rng, sds[which], between, largest=0.3)
            if draw > 0.8 and not between:
                second = (which + 1) % bands
                effects[second] = -math.copysign(_trend(rng, sds[second], largest=0.3), effects[which])
        if kind != "two_bands":
            # Bands must stay apart: spread their levels where trends would make them cross.
            need = 0.55 * np.abs(np.diff(effects)) + 2.7 * np.maximum(sds[1:], sds[:-1])
            levels = levels[0] + np.concatenate([[0], np.cumsum(np.maximum(np.diff(levels), need))])
        span, reach = levels[-1] - levels[0], 0.55 * np.abs(effects).max()
        shrink = min(1.0, 0.97 / (span + 2 * reach))
        levels, effects, sds = levels * shrink, effects * shrink, sds * shrink
        reach = (levels[-1] - levels[0]) / 2 + 0.55 * np.abs(effects).max()
        levels = levels - (levels[0] + levels[-1]) / 2 + _room((levels[0] + levels[-1]) / 2, reach)
    profile.levels, profile.weights = tuple(map(float, levels)), tuple(map(float, weights))
    profile.sds, profile.effects, profile.groups = tuple(map(float, sds)), tuple(map(float, effects)), groups
    profile.log_ratio = _change_of_spread(rng, setting, float(np.mean(sds)), "no")
    if rng.random() < 0.5:
        mild = shapes()["mild"]
        profile.noise, profile.noise_shape = "bank", float(mild[rng.integers(len(mild))])
    else:
        _family(rng, profile, mild=True)
    return profile


def draw_profile(rng, taxon: str, setting: Setting, boundary: tuple[str, str, str] | None = None) -> Profile:
    """Draw the parameters of a CpG of `taxon`, or of a boundary CpG `(kind, taxon, other taxon)`.

    Returns a Profile whose admissible taxa are those named; three bands without a plain valley may be two as well.
    Raises KeyError for an unknown taxon or kind.
    """
    wanted = {taxon} if boundary is None else set(boundary[1:])
    for _ in range(200):
        profile = _drawn(rng, taxon, setting, boundary)
        _nuisance(rng, profile, setting)
        found = set(profile.admissible(setting))
        if found == wanted or (profile.kind == "two_bands" and found > wanted):
            return profile
    raise RuntimeError(f"no CpG found whose admissible taxa are {', '.join(sorted(wanted))}")


def _drawn(rng, taxon, setting, boundary) -> Profile:
    if boundary is None:
        return _banded(rng, setting, taxon) if taxon in BANDS else _one_band(rng, setting, taxon)
    kind, taxon, other = boundary
    if (taxon, other) not in BOUNDARIES[kind]:
        raise KeyError(boundary)
    if kind == "band_share":
        profile = _rare_part(rng, setting, taxon)
    elif kind in ("two_bands", "three_bands"):
        profile = _banded(rng, setting, other, kind)
    elif taxon in BANDS:
        profile = _banded(rng, setting, taxon, kind)
    else:
        profile = _one_band(rng, setting, taxon, kind, other)
    profile.taxon, profile.other, profile.kind = taxon, other, kind
    return profile


def _noise(rng, profile, setting) -> np.ndarray:
    """Noise (n,) of unit variance, of the profile's shape, partly shared with other CpGs."""
    n, family = setting.n, profile.noise
    if family == "student":
        own = rng.standard_t(profile.noise_shape, n) * math.sqrt(1 - 2 / profile.noise_shape)
    elif family == "skewed":
        k = profile.noise_shape
        side = 1.0 if np.mean(profile.levels) < 0.5 else -1.0
        own = side * (rng.gamma(k, 1.0, n) - k) / math.sqrt(k)
    else:
        own = rng.normal(size=n)
    shared = profile.factor_share + profile.drift_share
    if shared:
        most = max(shared / 0.9, 1.0)
        factors, drift = rng.normal(size=3), rng.normal(size=setting.drift.shape[1])
        factors *= math.sqrt(profile.factor_share / most) / np.linalg.norm(factors)
        drift *= math.sqrt(profile.drift_share / most) / np.linalg.norm(drift)
        own = math.sqrt(1 - shared / most) * own + setting.factors @ factors + setting.drift @ drift
    if profile.batch_shift:
        shift = rng.normal(0, profile.batch_shift, setting.batch.max() + 1)[setting.batch]
        own = (own + shift - shift.mean()) / math.hypot(1, profile.batch_shift)
    if family == "bank":
        return np.interp(own, GRID, _shape_quantiles(profile))
    return own


def _assign_bands(rng, profile, setting) -> np.ndarray:
    if profile.groups == "sex":
        # Two groups known to the study; a mixed-up sample now and then.
        flip = rng.random(setting.n) < 0.004
        return np.where(flip, 1 - setting.sex, setting.sex)
    shares = np.cumsum(profile.shares(setting))
    band = np.searchsorted(shares[:-1], rng.random(setting.n), side="right")
    for k in range(len(shares)):
        # Every band shows in every draw.
        lacking = min(2, setting.n // 10) - np.sum(band == k)
        if lacking > 0:
            common = int(np.argmax(np.bincount(band, minlength=len(shares))))
            band[rng.choice(np.flatnonzero(band == common), lacking, replace=False)] = k
    return band


def draw_values(rng, profile: Profile, setting: Setting) -> np.ndarray:
    """Beta values (n,) float32 of one CpG, NaN where missing."""
    n = setting.n
    if len(profile.levels) > 1:
        band = _assign_bands(rng, profile, setting)
        levels, effects = np.asarray(profile.levels)[band], np.asarray(profile.effects)[band]
        sd = np.asarray(profile.sds)[band]
    else:
        levels, effects, sd = profile.levels[0], profile.effects[0], profile.sds[0]
    mean = levels + effects * setting.position
    if profile.curve:
        mean = mean + profile.curve * setting.bend
    sd = sd * np.exp(profile.log_ratio * setting.held)
    mean = np.clip(mean, 0.004, 0.996)
    noise = _noise(rng, profile, setting)
    if profile.noise == "beta":
        # A beta distribution's skewness, by the first terms of its quantiles (Cornish–Fisher).
        skewness = np.clip(2 * (1 - 2 * mean) * sd / (mean * (1 - mean)), -1.2, 1.2)
        noise = (noise + skewness / 6 * (noise**2 - 1)) / np.sqrt(1 + skewness**2 / 18)
    if profile.skew_growth:
        noise = noise + profile.skew_growth * setting.held * (np.minimum(noise * noise, 16) - 1)
    # Tails end where outliers begin.
    reach = np.maximum(Z_LIMIT * sd, TAIL)
    values = mean + np.clip(sd * noise, -reach, reach)
    if profile.outliers:
        number = max(1, round(profile.outlier_share * n)) if profile.outlier_share else profile.outliers
        which = rng.choice(n, max(1, min(number, n // 4)), replace=False)
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
        # Strays are more often old.
        chance = np.exp(1.5 * setting.held)
        which = rng.choice(n, min(profile.strays, n // 4), replace=False, p=chance / chance.sum())
        distance = np.maximum(OUTLIER_DISTANCE, 4.8 * max(profile.sds)) + rng.exponential(0.05, len(which))
        side = np.where(rng.random(len(which)) < (0.7 if np.mean(profile.levels) < 0.5 else 0.3), 1.0, -1.0)
        values[which] = mean[which] + side * distance
    end = 0.0005 + 0.002 * rng.random(n)
    values = np.clip(values, end, 1 - end)
    if profile.missing:
        values[rng.random(n) < profile.missing] = np.nan
    return values.astype(np.float32)


def draw_foreign(rng, setting: Setting) -> tuple[str, np.ndarray]:
    """A pattern that no taxon has: its kind, one of FOREIGN, and beta values (n,) float32. Any call of it is wrong."""
    kind = FOREIGN[int(rng.integers(len(FOREIGN)))]
    n, position = setting.n, np.clip(setting.position, -0.75, 0.75)
    profile = Profile("", sds=(_log_uniform(rng, 0.008, 0.05),), drift_share=float(rng.beta(1.5, 6)))
    _family(rng, profile)
    noise, sd, size = _noise(rng, profile, setting), profile.sds[0], 0.0
    if kind == "curved":
        size = max(_log_uniform(rng, 5, 16) * sd, 0.12)
        centre = rng.uniform(-0.15, 0.15)
        mean = 4 * size * ((position - centre) ** 2 - 0.1) * _sign(rng)
    elif kind == "wave":
        size = max(_log_uniform(rng, 4, 12) * sd, 0.1)
        mean = size / 2 * np.sin(2 * math.pi * (rng.uniform(1.1, 2.6) * position + rng.random()))
    elif kind == "step":
        size = max(_log_uniform(rng, 5, 16) * sd, 0.1)
        mean = _sign(rng) * size * (position > rng.uniform(-0.25, 0.25))
    elif kind == "four bands":
        gap = min(max(_log_uniform(rng, 4.5, 12) * sd, 0.08), 0.29)
        sd = min(sd, gap / 4.5)
        shares = 0.08 + 0.68 * rng.dirichlet([3, 3, 3, 3])
        mean = gap * (rng.choice(4, n, p=shares / shares.sum()) - 1.5)
    elif kind == "late bands":
        size = max(_log_uniform(rng, 5, 14) * sd, 0.12)
        late = np.clip((position - rng.uniform(-0.2, 0.2)) / rng.uniform(0.05, 0.4), 0, 1)
        mean = _sign(rng) * size * late * (rng.random(n) < rng.uniform(0.25, 0.75))
    elif kind == "wide in mid-life":
        bump = np.exp(-(((position - rng.uniform(-0.1, 0.1)) / rng.uniform(0.12, 0.22)) ** 2))
        sd = sd * (1 + rng.uniform(3, 8) * bump)
        mean = np.zeros(n)
    else:
        size = rng.uniform(0.5, 1.0)
        mean, sd = size * (rng.random(n) - 0.5), 0.003
    mean = np.clip(mean, -0.5, 0.5)
    low, high = mean.min() - 1.5 * np.min(sd), mean.max() + 1.5 * np.min(sd)
    level = rng.uniform(-low, 1 - high) if -low < 1 - high else (1 - low - high) / 2
    values = np.clip(level + mean + sd * noise, 0.0005 + 0.002 * rng.random(n), 0.9995 - 0.002 * rng.random(n))
    return kind, values.astype(np.float32)


def boundary_kinds() -> list[tuple[str, str, str]]:
    """All kinds of boundary CpGs as (kind, taxon, other taxon)."""
    return [(kind, *pair) for kind, pairs in BOUNDARIES.items() for pair in pairs]


def draw_cpg(seed: int, index: int, taxon: str | None, setting: Setting) -> tuple[Profile, np.ndarray]:
    """CpG number `index` of a simulation: its profile and values (n,); `taxon` None draws a boundary CpG.

    Each CpG has its own random stream, so that any part of a simulation can be made alone.
    """
    rng = np.random.default_rng([seed, index])
    boundary = None
    if taxon is None:
        kind = str(rng.choice(list(BOUNDARY_SHARES), p=list(BOUNDARY_SHARES.values())))
        pairs = BOUNDARIES[kind]
        boundary = (kind, *pairs[rng.integers(len(pairs))])
        taxon = boundary[1]
    profile = draw_profile(rng, taxon, setting, boundary)
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


def plan_cohort(seed: int, n_cpgs: int, boundary_share: float) -> list[str | None]:
    """Taxon of each CpG of a simulated cohort, None for boundary CpGs, in random order."""
    rng = np.random.default_rng([seed, 2**31])
    shares = np.array([COHORT_SHARES[taxon] for taxon in TAXA])
    n_boundary = round(boundary_share * n_cpgs)
    counts = np.floor(shares / shares.sum() * (n_cpgs - n_boundary)).astype(int)
    counts[0] += n_cpgs - n_boundary - counts.sum()
    plan = [taxon for taxon, count in zip(TAXA, counts, strict=True) for _ in range(count)] + [None] * n_boundary
    return [plan[index] for index in rng.permutation(n_cpgs)]


def cohort_setting(seed: int, n_samples: int, age_range=(19, 90)) -> Setting:
    """A cohort's setting with ages spread over `age_range` (years), thinning out towards both ends."""
    rng = np.random.default_rng([seed, 2**31 + 1])
    ages = np.round(age_range[0] + rng.beta(1.6, 1.5, n_samples) * (age_range[1] - age_range[0]), 1)
    return make_setting(ages, rng)

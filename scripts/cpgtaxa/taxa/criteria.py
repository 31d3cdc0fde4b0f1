"""The criteria that make a taxon: what is asked of a CpG, in which unit, and where either answer is right.

This is the one table of them. Labels, reasons, the page `explain`, the report's counts near the limits, the config's
keys with their descriptions and the guide are made from it.

Each criterion has one quantity in natural units and an indifference zone. Below the zone *no* is right, above it *yes*,
and between the two either is: real CpGs lie on a continuum. Inside the zone a cut decides (its middle). A CpG is
decided when the chance that its true value lies on the wrong side *beyond* the zone is small; what is undecided is so
for want of samples, and the share of such CpGs falls as cohorts grow (minimum-effect and equivalence tests: Murphy and
Myors 1999, Lakens 2017).
"""

import dataclasses

import numpy as np
import pandas as pd
import scipy.stats

from cpgtaxa.names import INDEX, TAXA


@dataclasses.dataclass(frozen=True)
class Criterion:
    """One question asked of a CpG.

    name: its key in the config (`taxa.thresholds`) and its name in the column `boundary`. yes, no: the answers in
    words. quantity: what is measured. low, high: default ends of the zone. log: whether the quantity, and with it the
    middle of the zone, is on the log scale. why: the reason for the zone. prior: standard deviation of the true
    values around 0 (on the criterion's scale), by which estimates of small cohorts are shrunk; None where none is
    needed.
    """

    name: str
    question: str
    yes: str
    no: str
    quantity: str
    low: float
    high: float
    log: bool
    why: str
    prior: float | None = None

    def scaled(self, value):
        """A value on the criterion's scale."""
        return np.log(value) if self.log else value

    def cut(self, zone: dict) -> float:
        """The middle of the zone, on the criterion's scale: from here on the answer is yes."""
        return float(self.scaled(zone["no"]) + self.scaled(zone["yes"])) / 2

    def margin(self, value, zone: dict) -> np.ndarray:
        """How far values (k,), on the criterion's scale, lie from the cut: 1 at the ends of the zone; up to FAR."""
        half = float(self.scaled(zone["yes"]) - self.scaled(zone["no"])) / 2
        return np.minimum(np.abs(value - self.cut(zone)) / half, FAR)


TABLE = (
    Criterion(
        "two_bands",
        "Are there two bands or more?",
        "bands",
        "one band",
        "depth of the valley between neighbouring bands, as a share of the lower of their peaks",
        0.0,
        0.35,
        False,
        "bands less than 1.4 standard deviations apart are one cloud to the eye; a valley of a third is plain",
    ),
    Criterion(
        "band_share",
        "Is the smaller part a band, not a few outliers?",
        "a band",
        "outliers",
        "share of the samples in the smallest of two bands",
        0.025,
        0.065,
        True,
        "the published Outlier has 2 % of its samples apart; genotypes of one in twenty people are bands",
    ),
    Criterion(
        "three_bands",
        "Are there three bands?",
        "three bands",
        "two bands",
        "share of the samples in the rarest of three bands",
        0.008,
        0.04,
        True,
        "a rare genotype of one in a hundred people is there or is not, as one looks at it",
    ),
    Criterion(
        "trend",
        "Does the level change with age, in the band or in one of the bands?",
        "trend",
        "no trend",
        "|change of beta over the central 90 % of ages| / √(sd² + 0.015²), of the band",
        0.30,
        1.00,
        False,
        "a change of a third of the noise is not to be seen; one as large as the noise is (published LinAgeHet: 1.2)",
        prior=0.8,
    ),
    Criterion(
        "spread",
        "Does the spread change with age?",
        "changing spread",
        "constant spread",
        "ratio of the standard deviations at the 95th and 5th percentile of age, the larger over the smaller, each "
        "√(sd² + 0.010²)",
        1.08,
        1.86,
        True,
        "published NonAgeHet and LinAgeHet: 1.6 and 1.7; the published homoscedastic ones up to 1.1",
        prior=0.3,
    ),
    Criterion(
        "width",
        "Is the band wide?",
        "wide",
        "narrow",
        "standard deviation of beta around the line, without outliers",
        0.008,
        0.025,
        True,
        "the published UniStable has 0.005, the published UniUnstable 0.036",
    ),
    Criterion(
        "outliers",
        "Are there outliers?",
        "outliers",
        "no outliers",
        "share of samples outside Tukey's fences and at least 0.09 from the band",
        0.002,
        0.010,
        False,
        "one or two strays per thousand samples are in every cohort; the published Outlier has 2 %",
    ),
)
BY_NAME = {criterion.name: criterion for criterion in TABLE}

SINGLE = {"two_bands": False}
BANDED = {"two_bands": True}
RULES = {
    "UniStable": SINGLE | {"trend": False, "spread": False, "outliers": False, "width": False},
    "UniUnstable": SINGLE | {"trend": False, "spread": False, "outliers": False, "width": True},
    "LinAgeHomo": SINGLE | {"trend": True, "spread": False},
    "LinAgeHet": SINGLE | {"trend": True, "spread": True},
    "NonAgeHet": SINGLE | {"trend": False, "spread": True},
    "Outlier": SINGLE | {"trend": False, "spread": False, "outliers": True},
    "TriAge": BANDED | {"three_bands": True, "trend": True},
    "TriNonAge": BANDED | {"three_bands": True, "trend": False},
    "BiAge": BANDED | {"three_bands": False, "trend": True},
    "BiNonAge": BANDED | {"three_bands": False, "trend": False},
}
"""For each taxon the answers it asks for. The questions not named do not matter to it. The smaller of two parts that is
no band by `band_share` leaves one band."""


@dataclasses.dataclass(frozen=True)
class Pattern:
    """What no taxon describes: its name in reasons, what it means, and how it is recognised."""

    name: str
    meaning: str
    quantity: str
    limit: float


PATTERNS = (
    Pattern(
        "curved",
        "the level changes with age, but not along a line",
        "standard deviation over age of what the line leaves, over √(sd² + 0.015² + that of the line²): at least",
        0.40,
    ),
    Pattern(
        "spread not monotone",
        "the spread is widest or narrowest in mid-life",
        "standard deviation over age of |residual| around its regression on age, relative to it: at least",
        0.40,
    ),
    Pattern(
        "bands at some ages only",
        "the bands are not there at all ages",
        "association of band and age (Cramér's V over up to 8 bins of age, less what chance gives): at least",
        0.30,
    ),
    Pattern(
        "more than three bands",
        "a band of two or three is itself more than one",
        "excess kurtosis of the samples of a band: at most",
        -1.2,
    ),
    Pattern("no shape", "as flat as noise over a range, without a dip", "excess kurtosis: at most", -1.0),
)
PATTERN_LIMITS = {pattern.name: pattern.limit for pattern in PATTERNS}

EFFECT_FLOOR = 0.015
"""Noise (sd of beta) that a change is at least compared with: a tiny change in a narrow band is not to be seen."""
SPREAD_FLOOR = 0.010
"""Added in quadrature to standard deviations that are compared. `statistics` has it too: the cache of a compiled kernel
does not notice edits elsewhere."""
LEAST_GAP = 0.06
"""Bands nearer than this (beta) are one band."""
LEAST_D = 1.4
"""Bands nearer than this (Ashman's D) are one band."""
BIC_GAIN = 10.0
"""Bands must describe the samples better than fewer bands by this much BIC (Kass and Raftery 1995: very strong)."""
DIP_P, PLAIN_D, WIDE_SD = 0.1, 3.5, 0.15
"""Bands are there for sure with a dip (Hartigan) of this p, this far apart (Ashman's D) or this wide in all (sd); else
the valley must be counted among the samples, and"""
PLAIN = 0.4
"""be this deep."""
HWE_P, OFF_CENTRE = 1e-4, 0.2
"""Third bands: p of Hardy–Weinberg proportions below which valleys must be plain; reach of the middle band around the
half of the outer ones, as a share of their distance."""
SEX_GAP, SEX_D = 0.05, 2.2
"""Women and men that differ by this much beta and this D (by medians) are two bands, valley or not."""
TREND_SHARE, TREND_SAMPLES = 0.06, 12
"""Smallest band whose own trend counts."""
BAND_ERROR = 3
"""Samples of a band at which the error of its trend is doubled: who is in which band is fitted with the trend."""
LEAST_OUTLIERS = 3
"""Fewer samples than this are strays, whatever their share."""
MIN_SAMPLES = 30
"""Fewest values of a CpG that is given a taxon."""
VALLEY_ERROR = 0.2
"""The depth of a valley is known at least this surely: model and samples must agree on it."""
FAR = 10.0
"""Margins end here: whatever lies so far from its cut is far."""
SHARE_PRIOR, OUTLIER_PRIOR = (0.5, 0.5), (0.1, 10.0)
"""Beta priors of the true shares of a band (Jeffreys') and of outliers, of which most CpGs have none."""


def default_zones() -> dict[str, dict[str, float]]:
    """The zones of the default config: {criterion: {"no": …, "yes": …}}."""
    return {criterion.name: {"no": criterion.low, "yes": criterion.high} for criterion in TABLE}


def reached(yes: dict[str, np.ndarray], no: dict[str, np.ndarray]) -> np.ndarray:
    """Boolean (k, 10): taxa all of whose answers are allowed.

    yes, no: by criterion whether (k,) that answer is given, or may be.
    """
    # Two parts of which the smaller is no band count as one band.
    bands = yes["two_bands"] & yes["band_share"]
    single = no["two_bands"] | (yes["two_bands"] & no["band_share"])
    allowed = {key: (yes[key], no[key]) for key in yes} | {"two_bands": (bands, single)}
    found = np.ones((len(bands), len(TAXA)), dtype=bool)
    for taxon, answers in RULES.items():
        for key, wanted in answers.items():
            found[:, INDEX[taxon]] &= allowed[key][0 if wanted else 1]
    return found


def admissible(quantities: dict[str, np.ndarray], zones: dict | None = None) -> np.ndarray:
    """Boolean (k, 10): the taxa that are right for CpGs whose true quantities are known.

    quantities: by criterion the true value (k,), in the units of `TABLE`. One taxon where no quantity that matters lies
    in its zone, several where one does.
    """
    zones = default_zones() if zones is None else zones
    values = {key: np.asarray(quantities[key], dtype=float) for key in BY_NAME}
    yes = {key: values[key] >= zones[key]["no"] for key in BY_NAME}
    no = {key: values[key] <= zones[key]["yes"] for key in BY_NAME}
    return reached(yes, no)


@dataclasses.dataclass
class Answer:
    """Answers to one criterion, each (k,).

    estimate, error: of the quantity and its standard error, on the criterion's scale (error 0 where the answer rests on
    counts). yes, no: the answer given; neither where it is open. near: in the zone, or the other side of the cut is
    within reach of the error. margin: of `Criterion.margin`. right: the probability that the answer given is right, the
    true value not being on the other side beyond the zone; NaN where it is open, or not asked.
    """

    estimate: np.ndarray
    error: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    near: np.ndarray
    margin: np.ndarray
    right: np.ndarray | None = None


def cuts(criterion: Criterion, error, zone: dict, errors: dict) -> tuple:
    """How estimates with these standard errors (k,) are answered, as `answered` says, each (k,).

    The share that is left of an estimate once it is shrunk; the least shrunk estimate of a yes, and the greatest of a
    no. The two are equal, or there is room between them, where the question stays open.
    """
    low, high = (float(criterion.scaled(zone[key])) for key in ("no", "yes"))
    share = 1.0 if criterion.prior is None else criterion.prior**2 / (criterion.prior**2 + error**2)
    sd = np.sqrt(share) * error
    z = scipy.stats.norm.isf(errors["beyond"])
    least_yes = np.maximum(low + z * sd, scipy.stats.norm.isf(errors["chance"] / 2) * sd)
    most_no = high - z * sd
    cut = np.clip(criterion.cut(zone), least_yes, np.maximum(most_no, least_yes))
    return share, cut, np.where(least_yes <= most_no, cut, most_no)


def answered(criterion: Criterion, estimate, error, zone: dict, errors: dict) -> Answer:
    """Answer a criterion from estimates (k,) and standard errors (k,), on the criterion's scale.

    Estimates are shrunk by the criterion's prior (normal, around 0). The answer is yes only if the chance that the true
    value lies below the zone is at most `errors["beyond"]`, and the estimate as far from 0 as happens by chance with a
    probability of at most `errors["chance"]`; no, if the chance that it lies above the zone is at most
    `errors["beyond"]`. Where both hold, the cut decides: the middle of the zone, or the nearest value where both hold.
    """
    low, high = (float(criterion.scaled(zone[key])) for key in ("no", "yes"))
    share, cut, most_no = cuts(criterion, error, zone, errors)
    mean, sd = share * estimate, np.sqrt(share) * error
    known = ~np.isnan(mean)
    yes = known & (mean >= cut)
    no = known & ~yes & (mean <= most_no)
    near = known & (((mean > low) & (mean < high)) | (np.abs(mean - cut) < 1.0 * sd))
    with np.errstate(invalid="ignore", divide="ignore"):
        right = np.where(yes, _above(mean - low, sd), np.where(no, _above(high - mean, sd), np.nan))
    return Answer(estimate, error, yes, no, near, criterion.margin(estimate, zone), right)


def _above(distance, sd) -> np.ndarray:
    """The probability (k,) that a normal value so far above 0, known with this error, is above 0."""
    return np.where(sd > 0, scipy.stats.norm.cdf(distance / np.where(sd > 0, sd, 1)), (distance >= 0).astype(float))


def share_right(found: Answer, count, n, zone: dict, prior) -> np.ndarray:
    """The probability (k,) that the answer about a share, `count` of n samples, is right (Beta posterior)."""
    a, b = count + prior[0], np.maximum(n - count, 0) + prior[1]
    below = scipy.stats.beta.cdf(np.where(found.yes, zone["no"], zone["yes"]), a, b)
    return np.where(found.yes, 1 - below, np.where(found.no, below, np.nan))


def counted(criterion: Criterion, estimate, zone: dict, yes=True) -> Answer:
    """Answer a criterion by the cut alone; `yes` (k,): what else a yes asks for."""
    value = np.asarray(estimate, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = criterion.scaled(value)
    above = (scaled >= criterion.cut(zone)) & yes
    near = (value > zone["no"]) & (value < zone["yes"])
    return Answer(scaled, np.zeros(len(value)), above, ~above & ~np.isnan(value), near, criterion.margin(scaled, zone))


class Answers:
    """What the tests answer for k CpGs.

    by_criterion: an Answer each. bands: (k,) 1, 2 or 3, the number of bands found. taxa: (k, 10) bool, the taxa
    reached. open: (k, 10) bool, those not contradicted. patterns: by name (k,) bool, what no taxon describes.
    """

    def __init__(self, statistics: pd.DataFrame, zones: dict, errors: dict):
        """statistics: frame of `statistics.compute`. zones: `taxa.thresholds`; errors: `taxa.errors` of the config."""
        self.statistics, self.zones, self.errors = statistics, zones, errors
        self.n = self._of("n")
        self.by_criterion = {}
        self._find_bands()
        self._find_trend()
        self._find_spread()
        self._find_patterns()
        self._find_right()
        yes = {key: found.yes for key, found in self.by_criterion.items()}
        no = {key: found.no for key, found in self.by_criterion.items()}
        self.foreign = np.logical_or.reduce(list(self.patterns.values()))
        self.few = self.n < MIN_SAMPLES
        excluded = (self.foreign | self.few)[:, None]
        self.taxa = reached(yes, no) & ~excluded
        may_yes, may_no = {key: ~no[key] for key in no}, {key: ~yes[key] for key in yes}
        self.open = reached(may_yes, may_no) & ~excluded

    def __len__(self):
        return len(self.n)

    def _of(self, column) -> np.ndarray:
        return self.statistics[column].to_numpy(dtype=float)

    def _each(self, what, prefix) -> np.ndarray:
        """(k, bands) of a column that each band has."""
        names = ("low", "high") if prefix == "two" else ("low", "mid", "high")
        return np.stack([self._of(f"{prefix}_{what}_{name}") for name in names], axis=1)

    def _find_bands(self):
        s = self._of
        ran = self.statistics["mixture_ran"].to_numpy(dtype=bool)
        gain2 = np.where(ran, np.where(ran, s("bic1"), 0) - s("bic2"), -np.inf)
        gain3 = np.where(ran, np.where(ran, s("bic1"), 0) - s("bic3"), -np.inf)
        # Genotypes are recognised by their shares (Hardy–Weinberg) and by the heterozygotes half-way; they need not
        # describe the samples that much better than two bands do.
        off, hwe = np.abs(s("three_middle") - 0.5), s("three_hwe_p")
        genotypes = (off <= 0.5 * OFF_CENTRE) & (hwe >= 100 * HWE_P) & (s("three_depth") > 0)
        third = gain3 >= np.maximum(np.where(genotypes, gain2 - BIC_GAIN, gain2), 0) + BIC_GAIN
        # No single band is as wide as bands far apart make the whole.
        sure = (s("dip_p") <= DIP_P) | (s("core_sd") >= WIDE_SD)

        def valley(depth, seen, possible, sure):
            # The samples must show what the model says: a diffuse tail is fitted by a band as well.
            found = np.where(sure, depth, np.minimum(depth, seen))
            plain = sure | (found >= PLAIN)
            return np.where(possible, np.where(plain, found, np.minimum(found, 0)), -1.0)

        def apart(prefix, gap):
            return (gap >= LEAST_GAP) & (s(f"{prefix}_min_gap_ends") > 0) & (s(f"{prefix}_d") >= LEAST_D)

        plain = sure | (s("two_d") >= PLAIN_D)
        two = apart("two", s("two_gap")) & (gain2 >= BIC_GAIN)
        depth2 = valley(s("two_depth"), s("two_depth_seen"), two, plain)
        # A dip says that there are two bands or more, not which: other bands than genotypes must show both valleys.
        shallower = np.where(genotypes, s("three_depth"), np.minimum(s("three_depth"), s("three_depth_seen")))
        depth3 = np.where(apart("three", s("three_gap")) & third, shallower, -1.0)
        # Of three bands of which two are one to the eye, the deeper valley remains.
        outer = self._each("level", "three")
        wide = outer[:, 2] - outer[:, 0] >= LEAST_GAP
        deepest = valley(s("three_best_depth"), s("three_best_seen"), wide & third, sure)
        sexes = (s("sex_gap") >= SEX_GAP) & (s("sex_d") > 0)
        by_sex = np.where(sexes, np.nan_to_num(s("sex_d")), 0.0)
        zone = self.zones["two_bands"]
        cut = BY_NAME["two_bands"].cut(zone)
        depth_of_sex = cut + (by_sex - SEX_D) * (zone["yes"] - cut) / 0.8
        mixture = np.maximum(depth2, deepest)
        share = np.where(depth2 >= cut, s("two_weight"), np.where(deepest >= cut, s("three_best_share"), 0.0))
        self.by_sex = sexes & (by_sex >= SEX_D)
        depth = np.where(sexes, np.maximum(mixture, depth_of_sex), mixture)
        self.by_criterion["two_bands"] = counted(BY_NAME["two_bands"], depth, zone)
        # Near where model and samples do not agree that there is a plain valley, or none.
        least, most = (pick(s("two_depth"), s("two_depth_seen")) for pick in (np.minimum, np.maximum))
        self.by_criterion["two_bands"].near = (depth2 > -1) & (least < zone["yes"]) & (most > zone["no"])
        self.by_criterion["two_bands"].near |= sexes & (np.abs(depth_of_sex - cut) < zone["yes"] - cut)
        share = np.where(self.by_sex & (mixture < cut), 0.5, share)
        self.by_criterion["band_share"] = counted(
            BY_NAME["band_share"], share, self.zones["band_share"], share * self.n >= 5
        )
        three = (depth3 >= np.where(hwe >= HWE_P, cut, zone["yes"])) & (off <= OFF_CENTRE)
        rarest = np.where(three, s("three_weight"), 0.0)
        self.by_criterion["three_bands"] = counted(
            BY_NAME["three_bands"], rarest, self.zones["three_bands"], rarest * self.n >= 4
        )
        self.third, self.depth = third, depth
        seen = np.where(depth2 >= deepest, s("two_depth_se"), s("three_best_se"))
        of_sex = np.sqrt((4 + by_sex**2 / 2) / np.maximum(self.n, 1)) * (zone["yes"] - cut) / 0.8
        self.depth_error = np.where(sexes & (depth_of_sex >= mixture), of_sex, seen)
        banded = self.by_criterion["two_bands"].yes & self.by_criterion["band_share"].yes
        self.bands = np.where(banded & self.by_criterion["three_bands"].yes, 3, np.where(banded, 2, 1))
        self.of_sex = (self.bands == 2) & self.by_sex  # two bands that are the sexes: known, and not only estimated

    def _band_trend(self, effects, errors, sds, shares) -> tuple[np.ndarray, np.ndarray]:
        """The largest trend of a band (k,) and its standard error (k,).

        A band's own change counts as far as it differs from that common to all by more than twice its error. Errors of
        few samples are widened to the quantiles of Student's t, and those of one band among several for their number.
        """
        errors = errors * (1 + BAND_ERROR / np.maximum(shares * self.n[:, None], 1))
        precision = np.where(np.isfinite(errors) & (errors > 0), 1 / np.maximum(errors, 1e-9) ** 2, 0)
        total = np.maximum(precision.sum(axis=1), 1e-12)
        common, common_error = (precision * effects).sum(axis=1) / total, 1 / np.sqrt(total)
        apart = effects - common[:, None]
        own = np.clip(1 - 9 * errors**2 / np.maximum(apart**2, 1e-12), 0, 1)
        noise = np.sqrt(sds**2 + EFFECT_FLOOR**2)
        chance, bands = self.errors["chance"] / 2, effects.shape[1]
        z = scipy.stats.norm.isf(chance)
        few = scipy.stats.t.isf(chance / bands, np.maximum(shares * self.n[:, None] - 2, 3)) / z
        all_few = scipy.stats.t.isf(chance, np.maximum(self.n - bands - 1, 3)) / z
        size = np.abs(common[:, None] + np.where(own > 0, own * apart, 0)) / noise
        error = np.where(own > 0, errors * few, (common_error * all_few)[:, None]) / noise
        counts = (shares >= TREND_SHARE) & (shares * self.n[:, None] >= TREND_SAMPLES) & np.isfinite(errors)
        size = np.where(counts, size, -1.0)
        which, rows = size.argmax(axis=1), np.arange(len(size))
        return np.maximum(size[rows, which], 0), np.where(np.isfinite(error[rows, which]), error[rows, which], 0)

    def _find_trend(self):
        s = self._of
        noise = np.sqrt(s("core_sd") ** 2 + EFFECT_FLOOR**2)
        sizes, errors = [np.abs(s("core_effect")) / noise], [s("effect_se") / noise]
        for prefix in ("two", "three"):
            parts = (self._each(what, prefix) for what in ("effect", "effect_se", "band_sd", "share"))
            size, error = self._band_trend(*parts)
            sizes.append(size)
            errors.append(error)
        sexes = [np.stack([s(f"sex_{what}_{sex}") for sex in (0, 1)], axis=1) for what in ("effect", "effect_se", "sd")]
        known = np.isfinite(sexes[1])
        sexes = [np.where(known, part, fill) for part, fill in zip(sexes, (0.0, np.inf, 1.0), strict=True)]
        by_sex = self._band_trend(*sexes, np.full(sexes[0].shape, 0.5))
        rows = np.arange(len(self))
        size = np.where(self.of_sex, by_sex[0], np.stack(sizes)[self.bands - 1, rows])
        error = np.where(self.of_sex, by_sex[1], np.stack(errors)[self.bands - 1, rows])
        self.by_criterion["trend"] = answered(BY_NAME["trend"], size, error, self.zones["trend"], self.errors)

    def _find_spread(self):
        s = self._of
        self.by_criterion["spread"] = answered(
            BY_NAME["spread"], np.abs(s("log_sd_ratio")), s("log_sd_ratio_se"), self.zones["spread"], self.errors
        )
        self.by_criterion["width"] = counted(BY_NAME["width"], s("core_sd"), self.zones["width"])
        far = s("far_n")
        self.by_criterion["outliers"] = counted(
            BY_NAME["outliers"], far / np.maximum(self.n, 1), self.zones["outliers"], far >= LEAST_OUTLIERS
        )

    def _find_patterns(self):
        s, one = self._of, self.bands == 1
        line = s("core_effect") * 0.32  # standard deviation over age of a line, ages spread evenly
        scale = np.sqrt(s("core_sd") ** 2 + EFFECT_FLOOR**2 + line**2)
        limit = PATTERN_LIMITS
        by_age = np.where(self.bands == 3, s("three_by_age"), s("two_by_age"))
        inner = np.where(self.third, s("three_band_kurtosis"), s("two_band_kurtosis"))
        banded = ~one & ~self.of_sex
        self.patterns = {
            "curved": one & (s("bend") >= limit["curved"] * scale),
            "spread not monotone": one & (s("spread_bend") >= limit["spread not monotone"]),
            "bands at some ages only": banded & (by_age >= limit["bands at some ages only"]),
            "more than three bands": banded & (inner <= limit["more than three bands"]),
            "no shape": (one | (s("dip_p") > DIP_P)) & (s("kurtosis") <= limit["no shape"]),
        }

    def _find_right(self):
        """How surely the answers that rest on counts are right."""
        s, zones, found = self._of, self.zones, self.by_criterion
        depth, zone = self.depth, zones["two_bands"]
        possible, bands = depth > -1, found["two_bands"]
        error = np.minimum(np.nan_to_num(self.depth_error), VALLEY_ERROR)
        beyond = np.where(bands.yes, depth - zone["no"], zone["yes"] - depth)
        bands.right = np.where(possible, _above(beyond, error), 1.0)
        # The sample's standard deviation is known the less surely, the longer its tails are.
        tails = np.clip(np.nan_to_num(s("kurtosis")), -1.2, 6)
        self.width_error = error = np.sqrt((2 + tails) / (4 * np.maximum(self.n - 1, 1)))
        width, ends = found["width"], {end: np.log(zones["width"][end]) for end in ("no", "yes")}
        width.right = _above(np.where(width.yes, width.estimate - ends["no"], ends["yes"] - width.estimate), error)
        for name in ("band_share", "three_bands"):
            count = np.exp(found[name].estimate) * self.n
            found[name].right = share_right(found[name], count, self.n, zones[name], SHARE_PRIOR)
        outliers = found["outliers"]
        outliers.right = share_right(outliers, s("far_n"), self.n, zones["outliers"], OUTLIER_PRIOR)

    def confidence(self) -> np.ndarray:
        """The probability (k,) that the taxon reached is right; NaN where the tests reach none.

        The product over the answers that the taxon rests on, as if their errors were independent.
        """
        found = np.ones(len(self))
        for name, matters in self.matter().items():
            found = np.where(matters, found * self.by_criterion[name].right, found)
        return np.where(self.taxa.sum(axis=1) == 1, found, np.nan)

    def deciding(self) -> tuple[np.ndarray, np.ndarray]:
        """The criterion (k,) that decides, by name, and its margin (k,); empty and NaN where no taxon is in question.

        It is that of `boundary`, else the one nearest to its cut of those that matter.
        """
        matter, boundary = self.matter(), self.boundary()
        name, least = np.full(len(self), "", dtype=object), np.full(len(self), np.inf)
        for criterion in TABLE:
            margin = np.where(matter[criterion.name], self.by_criterion[criterion.name].margin, np.nan)
            mine = (boundary == criterion.name) | ((boundary == "") & (margin < least))
            name[mine], least[mine] = criterion.name, margin[mine]
        out = self.foreign | self.few | (name == "")
        return np.where(out, "", name).astype(object), np.where(out, np.nan, least)

    def matter(self) -> dict[str, np.ndarray]:
        """By criterion whether (k,) the CpG's taxon depends on it, given the other answers."""
        one = self.bands == 1
        flat = one & ~self.by_criterion["trend"].yes & ~self.by_criterion["spread"].yes
        return {
            "two_bands": np.ones(len(self), dtype=bool),
            "band_share": self.by_criterion["two_bands"].yes,
            "three_bands": ~one,
            "trend": np.ones(len(self), dtype=bool),
            "spread": one,
            "outliers": flat,
            "width": flat & ~self.by_criterion["outliers"].yes,
        }

    def boundary(self) -> np.ndarray:
        """For each CpG (k,) the first criterion of `TABLE` that is open, else in whose zone it lies; empty if clear."""
        found = np.full(len(self), "", dtype=object)
        matter = self.matter()
        for criterion in reversed(TABLE):
            found[matter[criterion.name] & self.by_criterion[criterion.name].near] = criterion.name
        for criterion in reversed(TABLE):
            answer = self.by_criterion[criterion.name]
            found[matter[criterion.name] & ~answer.yes & ~answer.no] = criterion.name
        return np.where(self.foreign | self.few, "", found).astype(object)

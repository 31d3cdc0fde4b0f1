"""Whether a matrix and its sheet fit each other: CpGs whose ways are known, samples that are alike, women and men.

What is found are warnings: nothing here says which of two files is wrong.
"""

import dataclasses

import numpy as np

from cpgtaxa.errors import some
from cpgtaxa.input.relatives import Snps, related
from cpgtaxa.input.streams import MISSING, many

# fmt: off
KNOWN = {
    "cg16867657": (1, 0.47, 0.74), "cg06639320": (1, 0.35, 0.52), "cg22454769": (1, 0.42, 0.66),
    "cg10501210": (-1, 0.88, 0.40), "cg24079702": (1, 0.26, 0.46), "cg07553761": (1, 0.16, 0.36),
    "cg19283806": (-1, 0.38, 0.16), "cg08234504": (-1, 0.35, 0.26), "cg04875128": (1, 0.12, 0.36),
    "cg14692377": (1, 0.11, 0.23), "cg16054275": (-1, 0.50, 0.37), "cg22736354": (1, 0.24, 0.34),
    "cg23744638": (-1, 0.84, 0.58), "cg07547549": (1, 0.31, 0.45), "cg02650266": (1, 0.04, 0.18),
    "cg23500537": (1, 0.36, 0.49), "cg03032497": (1, 0.18, 0.29), "cg22796704": (-1, 0.66, 0.48),
    "cg15804973": (-1, 0.46, 0.28), "cg08097417": (1, 0.13, 0.23), "cg14361627": (1, 0.14, 0.27),
    "cg16419235": (1, 0.13, 0.25), "cg07082267": (-1, 0.46, 0.36), "cg01820374": (-1, 0.35, 0.25),
    "cg01528542": (-1, 0.70, 0.53), "cg09809672": (-1, 0.56, 0.38), "cg22285878": (1, 0.01, 0.07),
    "cg07583137": (-1, 0.78, 0.60), "cg03607117": (1, 0.07, 0.14), "cg06493994": (1, 0.19, 0.26),
    "cg08415592": (-1, 0.31, 0.20), "cg04400972": (1, 0.07, 0.19), "cg20822990": (-1, 0.37, 0.29),
    "cg22016779": (-1, 0.27, 0.17), "cg03473532": (-1, 0.83, 0.69), "cg06685111": (-1, 0.44, 0.36),
    "cg22512670": (-1, 0.62, 0.51), "cg23091758": (1, 0.04, 0.15), "cg04416734": (-1, 0.25, 0.17),
    "cg02085953": (-1, 0.42, 0.34), "cg18031008": (0, 0.03, 0.03), "cg24450312": (0, 0.04, 0.04),
    "cg09885951": (0, 0.04, 0.04), "cg14424579": (0, 0.03, 0.03), "cg05847778": (0, 0.03, 0.03),
    "cg03947362": (0, 0.04, 0.04), "cg25781123": (0, 0.04, 0.04), "cg23180365": (0, 0.02, 0.02),
    "cg08186124": (0, 0.03, 0.03), "cg20524216": (0, 0.04, 0.04), "cg23092072": (0, 0.04, 0.04),
    "cg08771731": (0, 0.04, 0.04), "cg10376763": (0, 0.95, 0.95), "cg20795863": (0, 0.96, 0.96),
    "cg05960024": (0, 0.96, 0.96), "cg04268405": (0, 0.96, 0.96), "cg15661409": (0, 0.94, 0.94),
    "cg07595943": (0, 0.98, 0.98), "cg10266490": (0, 0.25, 0.25), "cg22901840": (0, 0.62, 0.62),
    "cg27202708": (0, 0.35, 0.35), "cg08030082": (0, 0.51, 0.51), "cg15988232": (0, 0.49, 0.49),
    "cg03103192": (0, 0.49, 0.49), "cg06044899": (0, 0.53, 0.53), "cg01570885": (0, 0.45, 0.45),
    "cg01353448": (0, 0.63, 0.63), "cg00945507": (0, 0.44, 0.44), "cg03682823": (0, 0.50, 0.50),
    "cg18139769": (0, 0.51, 0.51),
}
# fmt: on
"""CpGs of published clocks (`resources/clocks`) and others (ELOVL2, FHL2 …): whether beta rises (1) or falls (-1) with
age in blood, 0 where it does neither; its level at 20 and at 80 years (GSE40279; for 0 eight blood cohorts too)."""
FEWEST_SAMPLES = 30
FEWEST_DIRECTIONS = 5
FEWEST_LEVELS = 8
LEAST_SD = 5.0
"""Standard deviation of the ages (years) from which on they must show."""
LEAST_R = 0.25
"""Correlation of age with what the known CpGs say; in whole blood and brain it is 0.8 and more."""
SHIFT = 10.0
"""Log-likelihood by which the ages of the next column must fit better for the columns to be shifted."""
LEAST_LEVELS_R = 0.5
FACTOR = 4.0
"""Ages that are this much larger or smaller than those that the known CpGs say are in another unit."""

STEEPEST = 6.0
"""Years of age that the known CpGs tell of people a year apart: 0.8 to 1.6 in adults, 2 to 4.4 in children, who change
faster; 12 times that where months were taken for years."""

SAMPLED = 2000
"""CpGs by which samples are compared."""
FEWEST_CPGS = 50
ALIKE = 0.15
"""Root mean square difference of two samples, by that of all pairs, below which one is nearly the other; the nearest
two of 3,000 people in seven real cohorts are at 0.27."""
UNLIKE_CPGS = 1000
"""CpGs by which it is found whether a sample follows the others."""
LEAST_SD_OF_LEVELS = 0.1
"""Standard deviation of the CpGs' medians from which on a sample must follow them."""
MOST_SAMPLES = 10_000
"""Beyond, comparing all pairs takes too much memory."""

SEX_CPGS = 100
FEWEST_SEX_CPGS = 3
FEWEST_OF_A_SEX = 5
SEX_D = 2.0
"""Difference of the sexes' means in standard deviations, from which on a CpG separates them: those of X and Y do."""
SEX_GAP = 0.1
CLEARLY = 0.4
"""Of the way from the middle to a sex's median, from which on a sample is of that sex."""


@dataclasses.dataclass
class Looked:
    """What one pass over the matrix keeps for this: rows of betas, (n,) float32 each.

    stride: one in so many CpGs is kept for comparing samples. sex: (n,) int8, 0 and 1 for the two sexes, -1 else.
    """

    stride: int = 1
    sex: np.ndarray | None = None
    known: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    rows: list[np.ndarray] = dataclasses.field(default_factory=list)
    n_seen: int = 0
    snps: Snps = dataclasses.field(default_factory=Snps)
    of_sex: list[tuple[float, str, np.ndarray]] = dataclasses.field(default_factory=list)

    def add(self, cpgs: list[str], values: np.ndarray, sd: np.ndarray, gaps: bool) -> None:
        """A few good CpGs: names, betas (k, n) float32, standard deviations (k,); gaps: whether a beta is missing."""
        for row, cpg in enumerate(cpgs):
            if cpg in KNOWN and cpg not in self.known:
                self.known[cpg] = values[row].copy()
        first = -self.n_seen % self.stride
        if len(self.rows) < 2 * SAMPLED:
            self.rows += [row.copy() for row in values[first :: self.stride]]
        self.n_seen += len(cpgs)
        self.snps.add(values, sd)
        if self.sex is not None:
            self._add_sexes(cpgs, values, sd, gaps)

    def _add_sexes(self, cpgs: list[str], values: np.ndarray, sd: np.ndarray, gaps: bool) -> None:
        sides = np.stack([self.sex == 0, self.sex == 1], axis=1).astype(np.float32)
        full, counts = values, np.broadcast_to(sides.sum(axis=0), (len(values), 2))
        if gaps:
            there = ~np.isnan(values)
            full, counts = np.where(there, values, 0), there.astype(np.float32) @ sides
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (full @ sides) / counts
            gap = np.abs(means[:, 1] - means[:, 0])
            share = counts[:, 1] / counts.sum(axis=1)
            within = np.sqrt(np.maximum(sd**2 - share * (1 - share) * gap**2, 1e-8))
            found = np.flatnonzero((gap > SEX_GAP) & (gap > SEX_D * within))
        if len(found):
            self.of_sex += [(float(gap[row] / within[row]), cpgs[row], values[row].copy()) for row in found]
            self.of_sex.sort(key=lambda one: (-one[0], one[1]))
            del self.of_sex[SEX_CPGS:]


def index_of_age(known: dict[str, np.ndarray]) -> np.ndarray | None:
    """What the known CpGs say of age, (n,), without a unit; None where they are too few."""
    rows = [(KNOWN[cpg][0], values) for cpg, values in known.items() if KNOWN[cpg][0]]
    if len(rows) < FEWEST_DIRECTIONS:
        return None
    values = np.stack([values for _, values in rows]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = (values - np.nanmean(values, axis=1, keepdims=True)) / np.nanstd(values, axis=1, keepdims=True)
    scores *= np.array([sign for sign, _ in rows])[:, None]
    return np.nanmean(np.where(np.isfinite(scores), scores, 0), axis=0)


def doubts_of_ages(known: dict[str, np.ndarray], ages: np.ndarray) -> list[str]:
    """What speaks against ages (n,), in the columns' order: that they do not show, or fit the next column better."""
    index = index_of_age(known)
    if index is None or len(ages) < FEWEST_SAMPLES or ages.std() == 0 or index.std() == 0:
        return []
    r = np.corrcoef(index, ages)[0, 1]
    if ages.std() < LEAST_SD:
        return _doubts_of_unit(known, ages) if r > LEAST_R else []
    n_cpgs = sum(bool(KNOWN[cpg][0]) for cpg in known)
    for step, word in ((1, "before"), (-1, "after")):
        one, two = (slice(1, None), slice(None, -1)) if step == 1 else (slice(None, -1), slice(1, None))
        here, beside = (np.corrcoef(index[one], ages[part])[0, 1] for part in (one, two))
        if beside > LEAST_R and len(ages) / 2 * np.log((1 - here**2) / max(1 - beside**2, 1e-9)) > SHIFT:
            return [
                "the columns of the matrix seem to be shifted by one: betas that are known to follow age "
                f"({n_cpgs} CpGs) fit the age of the sample in the column {word} (r = {beside:.2f}) better than their "
                f"own (r = {r:.2f}). Check the header against the rows"
            ]
    if r < LEAST_R:
        return [
            f"the ages do not show in CpGs that are known to follow age ({n_cpgs} of them; r = {r:.2f}, usually 0.8 "
            "and more): check whether ids, ages and columns belong together"
        ]
    return _doubts_of_unit(known, ages)


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of y on x, (n,) each, and its standard error."""
    if len(x) < 3 or np.ptp(x) == 0:
        return 0.0, np.inf
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    left = y - slope * x
    return slope, float(np.sqrt(left @ left / (len(x) - 2) / (x @ x)))


def _doubts_of_unit(known: dict[str, np.ndarray], ages: np.ndarray) -> list[str]:
    rows = [(KNOWN[cpg], values) for cpg, values in known.items() if KNOWN[cpg][0]]
    said = np.stack([20 + 60 * (values - low) / (high - low) for (_, low, high), values in rows])
    there = np.isfinite(said).any(axis=0)
    said = np.nanmedian(said[:, there], axis=0)
    slope, error = _slope(ages[there], said)
    if slope - 2 * error > STEEPEST:
        return [
            f"the ages (median {np.median(ages):.3g} years) are too near to one another: CpGs known to follow age "
            f"change with them {slope:.0f} times as much as with years: check the unit of the ages (`cohort.age_unit`)"
        ]
    median = max(float(np.median(said)), 0.0)
    given = float(np.median(ages))
    ratio = (median + 5) / (max(given, 0.0) + 5)
    if 1 / FACTOR <= ratio <= FACTOR:
        return []
    return [
        f"the ages (median {given:.3g} years) are far from what CpGs known to follow age say (about {median:.0f}): "
        "check the unit of the ages (`cohort.age_unit`)"
    ]


def doubts_of_levels(known: dict[str, np.ndarray]) -> list[str]:
    """What speaks against betas: levels of known CpGs that are upside down, or another CpG's."""
    anchors = {cpg: values for cpg, values in known.items() if not KNOWN[cpg][0]}
    usual = np.array([KNOWN[cpg][1] for cpg in anchors])
    if len(anchors) < FEWEST_LEVELS or np.ptp(usual) < 0.5:
        return []
    found = np.array([np.nanmean(values) for values in anchors.values()])
    r = np.corrcoef(usual, found)[0, 1] if found.std() else 0.0
    first = zip(list(anchors)[:3], found, usual, strict=False)
    shown = ", ".join(f"{cpg} {mean:.2f} (usually {level:.2f})" for cpg, mean, level in first)
    if r < -LEAST_LEVELS_R:
        return [f"the betas seem to be upside down (1 - beta): {shown}"]
    if r < LEAST_LEVELS_R:
        return [
            f"levels of known CpGs are not the usual ones ({shown}): check whether the CpGs' ids stand beside their "
            "own values"
        ]
    return []


def alike(rows: list[np.ndarray], samples: list[str]) -> list[tuple[str, str, float]]:
    """Pairs of samples that are identical or nearly so: their names, and the root mean square difference of betas.

    rows: betas of some CpGs, (n,) float32 each; a pair is compared on CpGs measured in both.
    """
    n = len(samples)
    if len(rows) < FEWEST_CPGS or not 2 < n <= MOST_SAMPLES:
        return []
    values = np.stack(rows)
    with np.errstate(invalid="ignore"):
        centred = values - np.nanmean(values, axis=1, keepdims=True)
    there = ~np.isnan(centred)
    centred = np.where(there, centred, 0).astype(np.float32)
    weight = there.astype(np.float32)
    pairs = weight.T @ weight
    square = (centred**2).T @ weight
    total = square + square.T - 2 * centred.T @ centred
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.sqrt(np.maximum(total, 0) / pairs)
    distance[pairs < FEWEST_CPGS] = np.nan
    upper = np.triu_indices(n, 1)
    usual = np.nanmedian(distance[upper]) if np.isfinite(distance[upper]).any() else 0.0
    near = np.flatnonzero(distance[upper] < ALIKE * usual)
    found = []
    for at in near[:1000]:
        one, two = upper[0][at], upper[1][at]
        rms = float(np.sqrt(np.nanmean((values[:, one].astype(np.float64) - values[:, two]) ** 2)))
        found.append((samples[one], samples[two], rms))
    return found


def unlike(rows: list[np.ndarray], samples: list[str]) -> list[str]:
    """Samples that do not follow the CpGs' medians, with their correlation: upside down, in another order, constant.

    rows: betas of some CpGs, (n,) float32 each. In six real cohorts the least is 0.77.
    """
    if len(rows) < FEWEST_CPGS or len(samples) < 3:
        return []
    values = np.stack(rows[:: -(-len(rows) // UNLIKE_CPGS)])
    middle = np.nanmedian(values, axis=1, keepdims=True)
    if middle.std() < LEAST_SD_OF_LEVELS:
        return []
    apart, middle = np.where(np.isnan(values), 0, values - np.nanmean(values, axis=0)), middle[:, 0] - middle.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        r = middle @ apart / np.sqrt((middle @ middle) * (apart**2).sum(axis=0))
    return [f"{samples[at]} ({np.nan_to_num(r[at]):.2f})" for at in np.flatnonzero(~(r >= LEAST_LEVELS_R))]


def other_sex(looked: Looked) -> tuple[np.ndarray, np.ndarray, int]:
    """Samples whose betas say another sex than the sheet, and those between the two, (n,) bool each; by how many CpGs.

    The CpGs are those that set the sheet's women and men apart, as those of X and Y do.
    """
    n = len(looked.sex)
    nothing = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool), 0
    if len(looked.of_sex) < FEWEST_SEX_CPGS:
        return nothing
    values = np.stack([values for _, _, values in looked.of_sex]).astype(np.float64)
    low = np.nanmedian(values[:, looked.sex == 0], axis=1, keepdims=True)
    high = np.nanmedian(values[:, looked.sex == 1], axis=1, keepdims=True)
    half = (high - low) / 2
    if (np.abs(half) < SEX_GAP / 4).any():
        return nothing
    place = np.nanmedian((values - (low + high) / 2) / half, axis=0)
    known = looked.sex >= 0
    expected = np.where(looked.sex == 1, 1, -1)
    with np.errstate(invalid="ignore"):
        wrong = known & (place * expected < -CLEARLY)
        between = known & (np.abs(place) <= CLEARLY)
    return wrong, between, len(values)


def _doubts_of_relatives(path, looked: Looked, samples: list[str], kin, said) -> tuple[list[str], dict]:
    """People that are one or related, and not by what the sheet says. kin: columns that name people or families; said:
    pairs of samples that are alike, which is said already."""
    known = [column.astype(str) for column in kin]
    snps = looked.snps.independent()
    found = related(snps)
    unknown = [
        (samples[one], samples[two], word, kinship)
        for one, two, word, kinship in found
        if {samples[one], samples[two]} not in said
        and not any(column[one] not in MISSING and column[one] == column[two] for column in known)
    ]
    if not unknown:
        return [], {}
    shown = [f"{one} and {two} ({word}, kinship {kinship:.2f})" for one, two, word, kinship in unknown]
    return [
        f"{path}: {many(len(unknown), 'pair')} of samples of one person, or of close relatives, by {len(snps)} "
        f"genotypes, of which the sheet says nothing: {some(shown)}. A column `family`, or `person`, and "
        "`cohort.one_per` use one of each"
    ], {"relatives": [list(pair) for pair in unknown]}


def doubts(path, sheet_path, looked: Looked, samples: list[str], ages: np.ndarray, kin=()) -> tuple[list[str], dict]:
    """Warnings, and for the QC: `alike` and `relatives`, pairs of samples; `other_sex` and `between_sexes`, samples.

    kin: columns (n,) of the sheet that name people or families.
    """
    warnings = [f"{path}: {text}" for text in doubts_of_levels(looked.known)]
    warnings += [f"{path} and {sheet_path}: {text}" for text in doubts_of_ages(looked.known, ages)]
    qc = {}
    if odd := unlike(looked.rows, samples):
        warnings.append(
            f"{path}: {many(len(odd), 'sample')} whose betas do not follow the CpGs' medians (correlation): {some(odd)}"
            ". Upside down (1 - beta), in another order of CpGs, or all the same? Take them again from their source"
        )
    if pairs := alike(looked.rows, samples):
        same = [f"{one} and {two}" for one, two, rms in pairs if rms == 0]
        near = [f"{one} and {two} ({rms:.2g})" for one, two, rms in pairs if rms > 0]
        qc["alike"] = [list(pair) for pair in pairs]
        if same:
            warnings.append(
                f"{path}: {many(len(same), 'pair')} of samples with identical betas: {some(same)}. Leave one of each "
                "out, or find its own betas"
            )
        if near:
            warnings.append(
                f"{path}: {many(len(near), 'pair')} of samples that are nearly identical (root mean square difference "
                f"of betas): {some(near)}. One sample twice? `cohort.one_per` uses one of each person"
            )
    texts, found = _doubts_of_relatives(path, looked, samples, kin, [{one, two} for one, two, _ in pairs])
    warnings, qc = warnings + texts, qc | found
    if looked.sex is not None:
        wrong, between, n_cpgs = other_sex(looked)
        names = np.array(samples, dtype=object)
        if wrong.any():
            qc["other_sex"] = names[wrong].tolist()
            warnings.append(
                f"{path} and {sheet_path}: {many(int(wrong.sum()), 'sample')} of another sex than the sheet says, by "
                f"{n_cpgs} CpGs that set women and men apart: {some(names[wrong])}. Samples may have been exchanged"
            )
        if between.any():
            qc["between_sexes"] = names[between].tolist()
            warnings.append(
                f"{path}: {many(int(between.sum()), 'sample')} between women and men by {n_cpgs} CpGs that set them "
                f"apart: {some(names[between])}. Perhaps two people's DNA, or another number of X chromosomes"
            )
    return warnings, qc

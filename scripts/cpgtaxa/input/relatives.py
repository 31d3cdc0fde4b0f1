"""Who is related to whom, by probes whose betas are genotypes: those of SNPs (rs), and CpGs with the bands of a SNP.

Likelihoods of the genotypes of two people, if they are one (or identical twins), parent and child, or siblings, are
compared with those of strangers (Thompson 1975). A ratio of more than x has a chance of less than 1 in x among
strangers, whatever the number of probes: pairs are named where not even 1 in 20 cohorts would have one by chance.
"""

import dataclasses

import numpy as np

LEAST_SD = 0.12
"""Of betas, from which on a CpG may have the bands of a SNP."""
GAP = 0.08
"""Beta without a sample between two bands, at the least."""
CLEAR = 2.0
"""How many times wider the second gap is than the third."""
MOST = 300
"""SNPs that are compared."""
LOOKED_AT = 20_000
"""CpGs that are looked at for bands."""
FEWEST = 40
FEWEST_SAMPLES = 20
MOST_SAMPLES = 5000
BLOCK = 512
"""People compared with everyone at a time."""
LEAST_MAF = 0.1
HARDY_WEINBERG = 10.8
"""Chi-square beyond which bands are not those of a SNP (p = 0.001): two bands of the sexes, say, or of a batch."""
LINKED = 0.3
"""r² of genotypes beyond which one of two SNPs tells nothing new."""
WRONG = 0.02
"""Share of genotypes taken to be misread."""
CHANCE = 0.05
"""Expected number of pairs of strangers that are named, in a cohort."""
KINSHIP = 0.177
"""Kinship (KING, which different origins do not inflate) of first-degree relatives, at the least (0.25 is expected)."""
SAME_KINSHIP = 0.354
SHARED = {"same": (0.0, 0.0, 1.0), "parent": (0.0, 1.0, 0.0), "sibling": (0.25, 0.5, 0.25)}
"""Chance of sharing no, one or two copies by descent."""
WORDS = {"same": "one person or identical twins", "first": "parent and child, or siblings"}


def genotypes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Genotypes 0, 1, 2, -1 where missing, (k, n) int8, of betas (k, n) by the two widest gaps; which rows have them.

    Rows without three bands, or with bands in proportions that no SNP has, have none, (k,) bool.
    """
    k, n = values.shape
    found, good = np.full((k, n), -1, dtype=np.int8), np.zeros(k, dtype=bool)
    ordered = np.sort(np.where((values >= -0.05) & (values <= 1.05), values, np.nan), axis=1)
    gaps = np.nan_to_num(np.diff(ordered, axis=1), nan=0.0)
    widest = np.argpartition(-gaps, 2, axis=1)[:, :3]
    order = np.argsort(-np.take_along_axis(gaps, widest, axis=1), axis=1)
    widest = np.take_along_axis(widest, order, axis=1)
    sizes = np.take_along_axis(gaps, widest, axis=1)
    for row in np.flatnonzero((sizes[:, 1] >= GAP) & (sizes[:, 1] >= CLEAR * sizes[:, 2])):
        low, high = np.sort(widest[row, :2])
        cuts = [(ordered[row, at] + ordered[row, at + 1]) / 2 for at in (low, high)]
        there = np.isfinite(values[row])
        found[row, there] = np.digitize(values[row, there], cuts)
        counts = np.bincount(found[row, there], minlength=3)
        p = (counts[1] + 2 * counts[2]) / (2 * counts.sum())
        expected = counts.sum() * np.array([(1 - p) ** 2, 2 * p * (1 - p), p**2])
        chi = ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
        good[row] = min(p, 1 - p) >= LEAST_MAF and chi <= HARDY_WEINBERG and counts.sum() > n / 2
    return found, good


@dataclasses.dataclass
class Snps:
    """Genotypes gathered while a matrix is read: rows (n,) int8, of rs probes and of CpGs, MOST of each at the most."""

    probes: list[np.ndarray] = dataclasses.field(default_factory=list)
    cpgs: list[np.ndarray] = dataclasses.field(default_factory=list)
    n_seen: int = 0

    def add(self, values: np.ndarray, sd: np.ndarray | None = None) -> None:
        """Betas (k, n) of rs probes; or of CpGs, whose standard deviations (k,) are given."""
        kept = self.probes if sd is None else self.cpgs
        if len(kept) >= MOST or self.n_seen > LOOKED_AT or not FEWEST_SAMPLES <= values.shape[1] <= MOST_SAMPLES:
            return
        wanted = values if sd is None else values[np.nan_to_num(sd) >= LEAST_SD]
        self.n_seen += len(wanted)
        if len(wanted):
            found, good = genotypes(wanted)
            kept += list(found[good])

    def independent(self) -> np.ndarray:
        """Genotypes (k, n) int8 of SNPs that tell different things, rs probes first, MOST at the most."""
        rows = [*self.probes, *self.cpgs]
        if not rows:
            return np.empty((0, 0), dtype=np.int8)
        given = np.stack(rows)
        centred = np.where(given < 0, np.nan, given).astype(np.float64)
        centred -= np.nanmean(centred, axis=1, keepdims=True)
        centred = np.nan_to_num(centred)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        alike = (centred @ centred.T) ** 2
        chosen: list[int] = []
        for row in range(len(given)):
            if len(chosen) < MOST and not (alike[row, chosen] > LINKED).any():
                chosen.append(row)
        return given[chosen]


def _ratios(p: np.ndarray, shared: tuple[float, float, float]) -> np.ndarray:
    """Log likelihood ratios (3, 3, k) of two genotypes of SNPs of frequency p (k,), against strangers."""
    q = 1 - p
    alone = np.stack([q**2, 2 * p * q, p**2])
    one, none = np.full_like(p, 0.5), np.zeros_like(p)
    given = np.array([[q, p, none], [q / 2, one, p / 2], [none, q, p]])
    ratio = shared[0] + shared[1] * given / alone[None] + shared[2] * np.eye(3)[:, :, None] / alone[None]
    return np.log((1 - WRONG) * ratio + WRONG)


def related(snps: np.ndarray) -> list[tuple[int, int, str, float]]:
    """Pairs of people that are one, or of the first degree: places, what they are (WORDS), and their kinship.

    snps: genotypes 0, 1, 2, -1 where missing, (k, n) int8.
    """
    k, n = snps.shape
    if k < FEWEST or not FEWEST_SAMPLES <= n <= MOST_SAMPLES:
        return []
    is_one = np.stack([snps == code for code in range(3)]).astype(np.float32)
    counts = is_one.sum(axis=2)
    p = (counts[1] + 2 * counts[2]) / (2 * counts.sum(axis=0))
    tables = {name: _ratios(p, shared).astype(np.float32) for name, shared in SHARED.items()}
    least = np.log(n * (n - 1) / 2 * len(SHARED) / CHANCE)
    found = []
    for start in range(0, n, BLOCK):
        here = is_one[:, :, start : start + BLOCK]
        scores = {
            name: np.einsum("akn,abk->bkn", here, table).reshape(3 * k, -1).T @ is_one.reshape(3 * k, n)
            for name, table in tables.items()
        }
        kinship = _kinship(here, is_one)
        first = np.maximum(scores["parent"], scores["sibling"])
        same = (scores["same"] > np.maximum(least, first)) & (kinship >= SAME_KINSHIP)
        near = ~same & (first > least) & (kinship >= KINSHIP)
        for one, two in zip(*np.nonzero(np.triu(same | near, start + 1)), strict=True):
            word = WORDS["same" if same[one, two] else "first"]
            found.append((start + int(one), int(two), word, round(float(kinship[one, two]), 3)))
    return found


def _kinship(here: np.ndarray, everyone: np.ndarray) -> np.ndarray:
    """KING's robust estimate (Manichaikul et al. 2010) of some with everyone, (m, n), from 1 where a genotype is the
    first, second or third: (3, k, m) and (3, k, n) float32."""
    both = here[1].T @ everyone[1]
    apart = here[0].T @ everyone[2] + here[2].T @ everyone[0]
    het = here[1].T @ everyone.sum(axis=0) + here.sum(axis=0).T @ everyone[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (both - 2 * apart) / het

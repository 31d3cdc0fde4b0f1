"""A simulated genome and the methylation of its cells, with a known truth: the default, and the test of what is learnt.

The sequence says one part (islands, a motif), the neighbours in the same cell another (regions of their own).
"""

import logging

import numpy as np
import pandas as pd
from scipy.special import expit

from cpgtaxa.files import atomic, gzipped
from cpgtaxa.names import TAXA
from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.genome import BASES, OTHER, cpg_positions

MOTIF = "TGACTTCA"
"""Begins and ends so that, planted anywhere, it makes no CpG."""
COPIES = 3
"""Motifs in an element that has any, as sites of one factor come in clusters."""
DEGENERACY = 0.03
"""Share of a planted motif's bases that are another base than the consensus."""
REACH = 100
"""Bases from the middle of a motif to the furthest C it acts on."""
SPACING, ELEMENT = 1600, 200
"""Bases between elements, and their length: each rich in CpGs; half of them, at random, have a motif in the middle."""
ISLANDS_PER_MB, ISLAND = 25, (500, 1500)
"""CpG islands and their lengths in bases."""
GC_SEA, GC_ISLAND = 0.42, 0.65
KEPT_CPGS = 0.15
"""Of the CpGs that chance makes, so many are left outside islands and elements: the others have been deaminated."""
TELOMERE = 1000
"""Unknown bases (N) at the start of each chromosome."""
SEA, IN_ISLAND, MOTIF_EFFECT = 2.5, -3.0, -6.0
"""Log-odds of methylation outside and inside islands, and what a motif near by adds (not in islands, low already)."""
SHARED, OWN = 0.7, 1.7
"""Standard deviations of the log-odds' regional part that all cells share, and of that of each cell."""
REGION = 1500.0
"""Bases over which regions are alike: correlation exp(-distance / REGION)."""
COVERAGE = (0.2, 0.6)
"""Lowest and highest share of sites that a cell observes."""
CLUMP = 800.0
"""Bases over which observation is alike."""
TIED = 0.7
"""Share of a taxon's CpGs in the surroundings it is tied to."""
LINE = 60
REPEATS = 0.3
"""Share of the sequence in small letters, as genomes mark repeats."""


def write_cells(settings: dict, seed: int, out: dict) -> None:
    """Simulate and write what a user would bring, and the truth.

    settings: `cells`, `chromosomes`, `length` (bases of each). The log-odds that a CpG is methylated are a background
    (low in islands, high elsewhere), a strong effect of a motif within REACH bases (+ strand), and regional parts,
    shared and of each cell; states are drawn from them, and observed in clumps. Elements without a motif are as rich
    in CpGs as those with one: only the motif tells them apart.

    out: paths by name. `genome` (FASTA, gzip), `profiles` (a list, one per cell: TSV, gzip: chrom, 1-based position,
    value), `islands` (BED), `motif_sites` (BED: within REACH of a motif), `truth` (CSV: chrom, position, island (0/1),
    motif (0/1: one within reach), p (mean true probability), p_1 .. p_n of each cell), `motif` (text: the consensus),
    `positions` (CSV: cpg, chrom, position) and `taxonomy` (CSV: cpg, taxon): LinAgeHomo is likelier near a motif,
    UniStable in islands, the other taxa are tied to nothing.
    """
    rng = np.random.default_rng(seed)
    n = settings["cells"]
    coverage = rng.uniform(*COVERAGE, n)
    parts, beds = [], {"islands": [], "motif_sites": []}
    with gzipped(out["genome"]) as fasta:
        progress = Progress(settings["chromosomes"], "chromosomes simulated")
        for number in progress.over(range(1, settings["chromosomes"] + 1)):
            chrom = f"chr{number}"
            codes, islands, motifs = _chromosome(rng, settings["length"])
            fasta.write(f">{chrom} simulated\n".encode() + _text(rng, codes))
            frame, observed = _methylation(rng, codes, islands, motifs, coverage)
            frame.insert(0, "chrom", chrom)
            parts.append((frame, observed))
            beds["islands"] += [(chrom, start, end) for start, end in islands]
            reach = np.stack([motifs + len(MOTIF) // 2 - REACH, motifs + len(MOTIF) // 2 + REACH + 1], axis=1)
            beds["motif_sites"] += [(chrom, max(start, 0), end) for start, end in reach]
    truth = pd.concat([frame for frame, _ in parts], ignore_index=True)
    observed = np.concatenate([states for _, states in parts])
    for cell, path in enumerate(out["profiles"]):
        seen = observed[:, cell] >= 0
        frame = truth.loc[seen, ["chrom", "position"]].assign(value=observed[seen, cell])
        with gzipped(path) as packed:
            frame.to_csv(packed, sep="\t", header=False, index=False)
    for name, intervals in beds.items():
        with atomic(out[name]) as temporary:
            pd.DataFrame(intervals).to_csv(temporary, sep="\t", header=False, index=False)
    with atomic(out["motif"]) as temporary:
        temporary.write_text(MOTIF + "\n")
    cpgs = truth[["chrom", "position"]].copy()
    cpgs.insert(0, "cpg", [f"cg{30_000_000 + number:08d}" for number in range(len(cpgs))])
    cpgs["taxon"] = _taxa(rng, truth)
    for name, frame in (
        ("truth", truth),
        ("positions", cpgs[["cpg", "chrom", "position"]]),
        ("taxonomy", cpgs[["cpg", "taxon"]]),
    ):
        with atomic(out[name]) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.5f")
    logging.info(f"{len(truth):,} CpGs on {len(parts)} chromosomes and {n} cells simulated")


def _chromosome(rng, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (length,) uint8 as in `genome.Genome`, islands (k, 2) int64 0-based, end excluded, and motifs' starts."""
    islands = _islands(rng, length)
    island, rich = np.zeros(length, dtype=bool), np.zeros(length, dtype=bool)
    for start, end in islands:
        island[start:end] = True
    middles = np.arange(TELOMERE + SPACING // 2, length - SPACING // 2, SPACING)
    middles = middles + rng.integers(-SPACING // 10, SPACING // 10 + 1, len(middles))
    for middle in middles:
        rich[middle - ELEMENT // 2 : middle + ELEMENT // 2] = True
    rich |= island
    codes = np.where(rng.random(length) < np.where(island, GC_ISLAND, GC_SEA), 1, 0)
    codes = np.where(codes == 1, rng.integers(1, 3, length), 3 * rng.integers(0, 2, length)).astype(np.uint8)
    c = cpg_positions(codes).astype(np.int64) - 1
    lost = c[~rich[c] & (rng.random(len(c)) >= KEPT_CPGS)]
    # The C of a lost CpG has become T, on one strand or the other.
    forward = rng.random(len(lost)) < 0.5
    codes[lost[forward]] = BASES.index(b"T")
    codes[lost[~forward] + 1] = BASES.index(b"A")
    chosen = middles[rng.random(len(middles)) < 0.5]
    motifs = np.sort(np.concatenate([chosen + shift for shift in _shifts(rng, len(chosen))]))
    consensus = np.array([BASES.index(base.encode()) for base in MOTIF], dtype=np.uint8)
    for start in motifs:
        other = rng.random(len(MOTIF)) < DEGENERACY
        other[[0, -1]] = False
        codes[start : start + len(MOTIF)] = np.where(other, (consensus + rng.integers(1, 4, len(MOTIF))) % 4, consensus)
    codes[:TELOMERE] = OTHER
    views = np.lib.stride_tricks.sliding_window_view(codes, len(MOTIF))
    by_chance = np.flatnonzero((views == consensus).all(axis=1))
    return codes, islands, np.union1d(motifs, by_chance)


def _shifts(rng, n: int) -> np.ndarray:
    """Where motifs start from the middles of n elements, (COPIES, n): one in each part of the element's inner half."""
    part = ELEMENT // 2 // COPIES
    starts = -(ELEMENT // 4) + part * np.arange(COPIES)[:, None]
    return starts + rng.integers(0, part - len(MOTIF) + 1, (COPIES, n))


def _islands(rng, length: int) -> np.ndarray:
    """Starts and ends of CpG islands, (k, 2) int64, none touching another."""
    slots = max(1, round(ISLANDS_PER_MB * length / 1e6))
    room = (length - TELOMERE) // slots
    sizes = rng.integers(ISLAND[0], min(ISLAND[1], room - 1), slots)
    starts = TELOMERE + room * np.arange(slots) + (rng.random(slots) * (room - sizes)).astype(np.int64)
    return np.stack([starts, starts + sizes], axis=1)


def _text(rng, codes: np.ndarray) -> bytes:
    """Codes as lines of letters, some runs of lines in small letters."""
    letters = np.frombuffer(BASES + b"N", dtype=np.uint8)[codes]
    lines = [letters[start : start + LINE].tobytes() for start in range(0, len(letters), LINE)]
    small = np.repeat(rng.random(len(lines) // 10 + 1) < REPEATS, 10)
    return b"".join((line.lower() if low else line) + b"\n" for line, low in zip(lines, small, strict=False))


def _walk(rng, position: np.ndarray, length: float, n: int) -> np.ndarray:
    """n independent standard normal paths along positions, (positions, n): correlation exp(-distance / length)."""
    tied = np.exp(-np.diff(position) / length)
    walk = rng.normal(size=(len(position), n))
    for row in range(1, len(position)):
        walk[row] = tied[row - 1] * walk[row - 1] + np.sqrt(1 - tied[row - 1] ** 2) * walk[row]
    return walk


def _methylation(rng, codes, islands, motifs, coverage) -> tuple[pd.DataFrame, np.ndarray]:
    """A chromosome's truth, and its states (CpGs, cells) int8, -1 where unobserved."""
    position = cpg_positions(codes).astype(np.int64)
    n = len(coverage)
    at = position - 1
    before = np.searchsorted(islands[:, 0], at, side="right") - 1
    island = (before >= 0) & (at < islands[np.maximum(before, 0), 1])
    middles = motifs + len(MOTIF) // 2
    nearest = np.searchsorted(middles, at)
    gaps = [np.abs(at - middles[np.clip(nearest + step, 0, len(middles) - 1)]) for step in (-1, 0)]
    motif = np.minimum(*gaps) <= REACH
    logit = np.where(island, IN_ISLAND, SEA + MOTIF_EFFECT * motif)[:, None]
    logit = logit + SHARED * _walk(rng, position, REGION, 1) + OWN * _walk(rng, position, REGION, n)
    p = expit(logit)
    states = (rng.random(p.shape) < p).astype(np.int8)
    chance = np.sqrt(0.8) * _walk(rng, position, CLUMP, n) + np.sqrt(0.2) * rng.normal(size=p.shape)
    states[chance > np.quantile(chance, coverage, axis=0).diagonal()] = -1
    frame = pd.DataFrame({"position": position, "island": island.astype(np.int8), "motif": motif.astype(np.int8)})
    frame["p"] = p.mean(axis=1)
    return pd.concat([frame, pd.DataFrame(p, columns=[f"p_{cell}" for cell in range(1, n + 1)])], axis=1), states


def _taxa(rng, truth: pd.DataFrame) -> np.ndarray:
    """A taxon for each CpG: tied to motif and island for two of them, at random for the others."""
    taxa = np.array(TAXA, dtype=object)
    drawn = rng.choice(taxa, len(truth))
    tied = rng.random(len(truth)) < TIED
    drawn[tied & (truth["motif"] == 1).to_numpy()] = "LinAgeHomo"
    drawn[tied & (truth["island"] == 1).to_numpy() & (truth["motif"] == 0).to_numpy()] = "UniStable"
    return drawn

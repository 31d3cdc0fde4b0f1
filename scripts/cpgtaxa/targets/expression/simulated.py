"""A simulated cohort with known causal CpGs of its genes: the embedded default, and the test of truth."""

import logging

import numpy as np
import pandas as pd

from cpgtaxa.files import atomic, gzipped
from cpgtaxa.names import TAXA
from cpgtaxa.targets.expression.folds import m_values

CHROMOSOMES = 4
SPACING = 900_000
"""Bases between genes, about as in gene-rich parts of the genome."""
KINDS = ("none", "promoter", "distal", "threshold")
STRENGTHS = (0.2, 0.5, 0.8)
"""Shares of variance of expression that methylation explains, where it does."""
EFFECT_TAXON = "LinAgeHomo"
EFFECT_WEIGHT = 10.0
"""So many times likelier a CpG of this taxon is to have an effect than another: by-taxon results have a truth to
find."""


def write_cohort(settings: dict, seed: int, paths: dict) -> None:
    """Simulate and write what a user would bring, and the truth.

    settings: `samples`, `genes`, `cpgs`. Genes lie SPACING bases apart on both strands; half of the CpGs crowd around
    their starts, the rest is scattered; the logits of neighbouring CpGs are correlated (r about exp(-distance / 1
    kb)), as in co-methylated blocks, above a cell-composition component that all share. A third of the genes have
    no methylation effect, the others three to six causal CpGs: near the promoter (silencing), up to 500 kb away, or by
    a threshold and a product that no linear model sees whole. Noise makes their explained variance one of STRENGTHS.

    paths: `beta` and `expression` (CSV, gzip), `positions` (cpg, chrom, position), `genes` (gene, chrom, start, end,
    strand), `taxonomy` (cpg, taxon), `truth` (gene, kind, r2, cpgs: its causal ones, with blanks).
    """
    rng = np.random.default_rng(seed)
    samples, n_genes, n_cpgs = settings["samples"], settings["genes"], settings["cpgs"]
    names = [f"S{number:04d}" for number in range(1, samples + 1)]
    chrom = np.sort(np.arange(n_genes) % CHROMOSOMES) + 1
    within = np.concatenate([np.arange((chrom == one).sum()) for one in range(1, CHROMOSOMES + 1)])
    tss = 2_000_000 + within * SPACING + rng.integers(-200_000, 200_000, n_genes)
    strand = rng.choice(["+", "-"], n_genes)
    length = rng.integers(5_000, 80_000, n_genes)
    genes = pd.DataFrame(
        {
            "gene": [f"GENE{number:04d}" for number in range(1, n_genes + 1)],
            "chrom": [f"chr{one}" for one in chrom],
            "start": np.where(strand == "+", tss, tss - length),
            "end": np.where(strand == "+", tss + length, tss),
            "strand": strand,
        }
    )
    near = rng.random(n_cpgs) < 0.5
    gene = rng.integers(0, n_genes, n_cpgs)
    sign = np.where(strand[gene] == "+", 1, -1)
    position = np.where(
        near,
        tss[gene] + sign * np.round(rng.normal(-100, 500, n_cpgs)).astype(np.int64),
        tss[gene] + rng.integers(-SPACING // 2, SPACING // 2, n_cpgs),
    )
    cpgs = pd.DataFrame({"chrom": chrom[gene], "position": position}).drop_duplicates()
    cpgs = cpgs.sort_values(["chrom", "position"], ignore_index=True)
    cpgs.insert(0, "cpg", [f"cg{20_000_000 + number:08d}" for number in range(len(cpgs))])
    cpgs["taxon"] = rng.choice(TAXA, len(cpgs), p=_shares())

    logit = _methylation(rng, cpgs, samples)
    beta = np.round(1 / (1 + np.exp(-logit)), 5).astype(np.float32)
    expression, truth = _expression(rng, genes, tss, cpgs, m_values(beta))
    missing = rng.random(beta.shape) < 0.002
    # Betas are written as text, some missing, CpGs in the order of their names, which is not that of positions.
    order = rng.permutation(len(cpgs))
    frame = pd.DataFrame(np.where(missing, np.nan, beta)[order], cpgs["cpg"].to_numpy()[order], names).rename_axis(
        "cpg"
    )
    _write(paths["beta"], frame, "%.5f")
    _write(paths["expression"], pd.DataFrame(expression, genes["gene"], names), "%.4f")
    cpgs["chrom"] = "chr" + cpgs["chrom"].astype(str)
    for path, table in (
        (paths["positions"], cpgs[["cpg", "chrom", "position"]]),
        (paths["genes"], genes),
        (paths["taxonomy"], cpgs[["cpg", "taxon"]]),
        (paths["truth"], truth),
    ):
        with atomic(path) as temporary:
            table.to_csv(temporary, index=False)
    logging.info(f"{len(cpgs):,} CpGs and {n_genes:,} genes of {samples:,} samples simulated")


def _shares() -> np.ndarray:
    """Taxa are not equally common."""
    shares = np.array([3.0 if name.startswith("Uni") or name == EFFECT_TAXON else 0.7 for name in TAXA])
    return shares / shares.sum()


def _methylation(rng, cpgs: pd.DataFrame, samples: int) -> np.ndarray:
    """Logits (CpGs, samples): a mean of its own, what neighbours share, and what all share."""
    composition = rng.normal(size=(2, samples))
    gap = np.diff(cpgs["position"].to_numpy(), prepend=-(10**9))
    same = np.diff(cpgs["chrom"].to_numpy(), prepend=0) == 0
    tied = np.where(same, np.exp(-np.clip(gap, 0, None) / 1000.0), 0.0)
    walk = np.empty((len(cpgs), samples))
    fresh = rng.normal(size=walk.shape)
    for row in range(len(cpgs)):
        before = walk[row - 1] if row else 0.0
        walk[row] = tied[row] * before + np.sqrt(1 - tied[row] ** 2) * fresh[row]
    mean = rng.choice([-2.5, 0.3, 2.5], len(cpgs), p=[0.45, 0.15, 0.4]) + rng.normal(0, 0.4, len(cpgs))
    loads = rng.normal(0, 0.25, (len(cpgs), 2))
    return mean[:, None] + 0.6 * walk + loads @ composition + 0.25 * rng.normal(size=walk.shape)


def _expression(rng, genes: pd.DataFrame, tss, cpgs: pd.DataFrame, m: np.ndarray):
    """Expression (genes, samples) float32, and the truth: gene, kind, r2, cpgs."""
    z = (m - m.mean(axis=1, keepdims=True)) / m.std(axis=1, keepdims=True)
    expression, rows = np.empty((len(genes), m.shape[1]), dtype=np.float32), []
    weight = np.where(cpgs["taxon"] == EFFECT_TAXON, EFFECT_WEIGHT, 1.0)
    kinds = rng.permutation(np.arange(len(genes)) % 6)
    for number in range(len(genes)):
        kind = KINDS[max(kinds[number] - 2, 0)]  # two in six without effect; promoter, distal, threshold; and one again
        kind = KINDS[1] if kinds[number] == 2 else kind
        distance = np.abs(cpgs["position"] - tss[number]).to_numpy()
        here = (cpgs["chrom"] == int(genes["chrom"].iloc[number][3:])).to_numpy()
        reach = 2000 if kind != "distal" else 500_000
        there = np.flatnonzero(here & (distance < reach) & ((distance > 5000) | (kind != "distal")))
        strength = float(rng.choice(STRENGTHS))
        if kind == "none" or len(there) < 3:
            chosen, signal, kind, strength = np.empty(0, dtype=int), np.zeros(m.shape[1]), "none", 0.0
        else:
            k = min(int(rng.integers(3, 7)), len(there))
            chosen = rng.choice(there, k, replace=False, p=weight[there] / weight[there].sum())
            if kind == "threshold":
                signal = -2.0 * (z[chosen[0]] > 0.3) - z[chosen[1]] * z[chosen[2]] - z[chosen].mean(axis=0)
            else:
                sign = -1.0 if kind == "promoter" else rng.choice([-1.0, 1.0], k)
                signal = (sign * rng.uniform(0.5, 1.5, k)) @ z[chosen]
            signal = (signal - signal.mean()) / signal.std()
        noise = rng.normal(size=m.shape[1])
        level, spread = rng.uniform(4, 14), rng.uniform(0.4, 1.5)
        expression[number] = level + spread * (np.sqrt(strength) * signal + np.sqrt(1 - strength) * noise)
        found = " ".join(cpgs["cpg"].iloc[np.sort(chosen)])
        rows.append({"gene": genes["gene"].iloc[number], "kind": kind, "r2": strength, "cpgs": found})
    return expression, pd.DataFrame(rows)


def _write(path, frame: pd.DataFrame, digits: str) -> None:
    with gzipped(path) as packed:
        frame.to_csv(packed, float_format=digits, na_rep="NA")

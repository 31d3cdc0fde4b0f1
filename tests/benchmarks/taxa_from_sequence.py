"""What the prediction of taxa from sequence finds, and what it misses, on real sequence.

    .venv/bin/python tests/benchmarks/taxa_from_sequence.py [--out F.csv]

The CpGs of a 900 kb sequence with bulk bisulfite reads (../shared/data/single_cell), 1,001 bases around each, five
stretches held out in turn. Classes are of reads (unmethylated, intermediate and methylated CpGs), the same moved along
the sequence within each stretch (real runs of classes that know nothing of the sequence), or planted: the odds of a
class hang on the density of CpGs in the window, weakly to strongly. Of planted and moved classes, so many draws;
`found` is the share of them with p < 0.05. k-mers, in two sets also a network. Takes three minutes of one core.
"""

import argparse
import pathlib
import tempfile

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
from benchmarking import SHARED
from cpgtaxa.targets.single_cell import from_sequence
from cpgtaxa.targets.single_cell.genome import open_genome
from cpgtaxa.targets.single_cell.taxa import RECIPE
from cpgtaxa.targets.single_cell.windows import sequence_windows

DATA = SHARED / "single_cell"
OUT = pathlib.Path(__file__).with_suffix(".csv")
NETWORK = "CnnL1h128"
FEWEST_READS = 5
LOW, HIGH = 0.2, 0.8
FOLDS, WLEN, DRAWS, PERMUTATIONS = 5, 1001, 10, 2000
ONE, OTHER = "UniStable", "LinAgeHomo"
SETTINGS = RECIPE | {"epochs": 8, "device": "cpu", "precision": "float32"}


def real_cpgs() -> pd.DataFrame:
    """chrom, position, share of methylated reads of the CpGs with enough of them, in order."""
    reads = pd.read_csv(DATA / "bwameth_bulk_cpg_counts.tsv.gz", sep="\t")
    total = reads["meth"] + reads["unmeth"]
    table = reads.assign(share=reads["meth"] / total)[total >= FEWEST_READS].rename(columns={"pos1": "position"})
    return table[["chrom", "position", "share"]].sort_values("position", ignore_index=True)


def asked(table: pd.DataFrame, taxon: np.ndarray, dna: np.ndarray, model: str, seed: int) -> dict:
    """Scores of one model. table, dna: of the CpGs; taxon: their classes."""
    labels = pd.DataFrame({"cpg": [f"c{row}" for row in range(len(table))], "taxon": taxon})
    labels = labels.assign(chrom=table["chrom"].to_numpy(), position=table["position"].to_numpy())
    fold = from_sequence.folds(labels["chrom"].to_numpy(), labels["position"].to_numpy(), FOLDS, WLEN)
    with tempfile.TemporaryDirectory() as folder:
        _, scores = from_sequence.ask(
            labels, dna, fold, [model], settings=SETTINGS, seed=seed, work=folder, logs=folder,
            permutations=PERMUTATIONS,
        )  # fmt: skip
    return scores[model]["test"] | {"n": len(labels), "share": float((taxon == OTHER).mean())}


def moved(taxon: np.ndarray, rng) -> np.ndarray:
    """The classes moved along the sequence within each stretch, by at least a tenth of it."""
    parts = np.array_split(taxon, FOLDS)
    return np.concatenate([np.roll(part, rng.integers(len(part) // 10, 9 * len(part) // 10)) for part in parts])


def planted(dna: np.ndarray, strength: float, rng) -> np.ndarray:
    """Classes whose log odds rise by `strength` with a standard deviation of the windows' density of CpGs."""
    density = from_sequence.composition(dna)[:, -2]
    z = (density - density.mean()) / density.std()
    return np.where(rng.random(len(z)) < 1 / (1 + np.exp(-strength * z)), OTHER, ONE)


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    chosen = parser.parse_args(arguments)
    genome = open_genome(DATA / "bwameth_chrREF.fa.gz")
    table = real_cpgs()
    dna, is_cpg = sequence_windows(genome, table["chrom"], table["position"], WLEN)
    table, dna = table[is_cpg].reset_index(drop=True), dna[is_cpg]
    share = table["share"].to_numpy()
    low, high = share <= LOW, share >= HIGH
    rows = []

    def add(name, kept, taxa, model=from_sequence.KMERS):
        """taxa: classes of the CpGs kept, once or draw by draw."""
        found = [asked(table[kept], taxon, dna[kept], model, seed) for seed, taxon in enumerate(taxa)]
        of = pd.DataFrame(found)
        row = {"classes": name, "model": model, "cpgs": int(of["n"].iloc[0]), "draws": len(found)}
        row["balanced_accuracy"] = of["value"].mean()
        row |= {key: of[key].mean() for key in ("chance_low", "chance_high")}
        row |= {"p": of["p"].median(), "found": (of["p"] < 0.05).mean()}
        rows.append(row)
        print(row, flush=True)

    real = {"unmethylated or methylated": (low | high, low), "intermediate or methylated": (~low, ~high)}
    rng = np.random.default_rng(1)
    for name, (kept, other) in real.items():
        taxon = np.where(other[kept], OTHER, ONE)
        add(name, kept, [taxon])
        add(name, kept, [taxon], NETWORK)
        add(f"{name}, moved", kept, [moved(taxon, rng) for _ in range(DRAWS)])
    every = np.ones(len(table), dtype=bool)
    for few in (1, 5):
        kept = every & (np.arange(len(table)) % few == 0)
        for strength in (0.25, 0.5, 1.0):
            draws = [planted(dna[kept], strength, rng) for _ in range(DRAWS)]
            add(f"planted, odds × {np.exp(strength):.2f} a standard deviation of CpG density", kept, draws)
    pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()

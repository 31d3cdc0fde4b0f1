"""GeneNet with and without warm-up on a simulated cell type of the published size: 19,802 genes, a third to learn from.

    .venv/bin/python tests/benchmarks/histone_warmup.py [--genes 19802] [--epochs 2] [--seeds 3] [--out F.csv]

Trained as `snakemake histone` trains it, at the published rate (0.001) and batch size (100); writes the area under the
ROC curve of the test genes by seed.
"""

import argparse
import csv
import pathlib
import tempfile

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
from cpgtaxa.files import read_parquet
from cpgtaxa.statistics.areas import auc
from cpgtaxa.targets.histone import simulated
from cpgtaxa.targets.histone.cells import CellWriter
from cpgtaxa.targets.histone.networks import fit_network
from cpgtaxa.targets.histone.plan import DEEPCHROME_MARKS

AT_ONCE = 2000
SETTINGS = {"batch_size": 100, "lr": 0.001, "lr_decay": 0.9, "patience": 0, "debug": False}
SETTINGS |= {"device": "cpu", "precision": "auto", "threads": 1}


def write_cell(path, genes: int) -> None:
    """A cell type as the input step writes it."""
    shared = np.random.default_rng(0).normal(size=genes)
    split = np.arange(genes) * 3 // genes
    with CellWriter(path, DEEPCHROME_MARKS, simulated.BINS) as writer:
        for start in range(0, genes, AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, genes))
            _, labels, _, counts = simulated.simulate_cell(start, 1, shared[rows])
            writer.append([f"{row:06d}" for row in rows], split[rows], labels, counts.astype(np.float32))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, default=19_802)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_suffix(".csv"))
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_cell(folder / "C01.arrow", arguments.genes)
        out = {name: folder / name for name in ("weights", "log", "predictions")}
        for seed in range(arguments.seeds):
            for warmup in (0, 1, 2):
                settings = SETTINGS | {"epochs": arguments.epochs, "warmup": warmup}
                chosen = {"unit": "C01", "network": "GeneNet", "settings": settings, "seed": seed}
                fit_network([folder / "C01.arrow"], out, **chosen, work=folder / "work")
                found = read_parquet(out["predictions"])
                area = auc(found["probability"].to_numpy(), found["label"].to_numpy() == 1)
                rows.append((warmup, seed, f"{area:.3f}"))
                print(*rows[-1], sep="\t", flush=True)
    with open(arguments.out, "w", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([("warmup", "seed", "auc"), *rows])


if __name__ == "__main__":
    main()

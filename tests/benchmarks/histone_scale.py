"""Memory and pace of `histone` on a simulated full set: 56 cell types of 19,802 genes, a third in each split.

    .venv/bin/python tests/benchmarks/histone_scale.py [--cells 56] [--genes 19802] [--batches 600] [--out F.csv]

One whole cell type is written as text and read by the input step, in a process of its own. The others are written as
the input step leaves them, their counts drawn anew from the means of simulated genes. Then, in a process of its own
again, GeneNet and DeepChrome are opened on all cell types mixed and trained for some batches of the first epoch, drawn
from all files; the whole validation set is read too (20 batches predicted). Writes the peak of the resident memory
(VmHWM, pages of mapped files included; RssAnon, those not) and the seconds. Takes 2 GB of disk.
"""

import argparse
import csv
import multiprocessing
import pathlib
import tempfile
import time

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
from cpgtaxa.targets.histone import simulated
from cpgtaxa.targets.histone.cells import CellWriter
from cpgtaxa.targets.histone.plan import DEEPCHROME_MARKS, MIX, SPLITS

AT_ONCE = 2000
DRAWN = 4000
"""Genes whose counts are drawn; those of a cell type are taken from them at random."""


def memory() -> dict[str, float]:
    """MB of this process: the peak so far, and what is not of files now."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {name: int(found[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon")}


def write_text(folder, genes: int) -> dict:
    """A cell type's three files."""
    shared = np.random.default_rng(0).normal(size=genes)
    split = np.arange(genes) * 3 // genes
    given = {part: folder / f"{part}.csv" for part in SPLITS}
    for part in SPLITS:
        given[part].unlink(missing_ok=True)
    for start in range(0, genes, AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, genes))
        _, labels, _, counts = simulated.simulate_cell(start, 1, shared[rows])
        for at, part in enumerate(SPLITS):
            here = split[rows] == at
            if here.any():
                names = [f"{row:06d}" for row in rows[here]]
                with open(given[part], "a") as handle:
                    handle.write(simulated.text_of(names, labels[here], counts[here]))
    return given


def read_text(given: dict, folder) -> dict:
    from cpgtaxa.targets.histone.inputs import prepare

    begun = time.perf_counter()
    out = {"cell": folder / "text.arrow", "qc": folder / "text.json"}
    prepare(given, out, cell="text", marks=list(DEEPCHROME_MARKS), bins=simulated.BINS)
    return memory() | {"seconds": time.perf_counter() - begun}


def write_cells(folder, cells: int, genes: int) -> list[pathlib.Path]:
    """Cell types as the input step writes them."""
    shared = np.random.default_rng(1).normal(size=DRAWN)
    _, labels, _, counts = simulated.simulate_cell(1, 1, shared)
    counts = counts.astype(np.float32)
    names, split = [f"{row:06d}" for row in range(genes)], np.arange(genes) * 3 // genes
    paths = [folder / f"E{number:03d}.arrow" for number in range(1, cells + 1)]
    for number, path in enumerate(paths):
        picked = np.random.default_rng(number).integers(DRAWN, size=genes)
        with CellWriter(path, DEEPCHROME_MARKS, simulated.BINS) as writer:
            for start in range(0, genes, AT_ONCE):
                some = slice(start, start + AT_ONCE)
                writer.append(names[some], split[some], labels[picked[some]], counts[picked[some]])
    return paths


def train(paths, network: str, n_batches: int) -> dict:
    """Some batches of an epoch of all cell types mixed, and as many of the validation genes as 20 batches hold."""
    import torch
    from cpgtaxa.learning.loop import batches, use_threads
    from cpgtaxa.targets.histone.networks import AT_ONCE, Genes, new_network
    from cpgtaxa.targets.histone.study import open_cells, parts_of

    use_threads(1)
    begun = time.perf_counter()
    cells = open_cells(paths)
    parts = parts_of(cells, MIX, 1)
    opened = time.perf_counter() - begun
    sets = {split: Genes(network, cells, parts[split]) for split in ("train", "valid")}
    module = new_network(network, len(DEEPCHROME_MARKS), simulated.BINS)
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    begun = time.perf_counter()
    for number, ((inputs,), targets) in enumerate(batches(sets["train"], 100, 1)):
        if number == n_batches:
            break
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(inputs), targets).backward()
        optimiser.step()
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    with torch.no_grad():
        for number, ((inputs,), _) in enumerate(batches(sets["valid"], AT_ONCE)):
            if number < 20:
                module(inputs)
    found = {"seconds": seconds, "seconds_of_an_epoch": seconds / n_batches * len(parts["train"]) / 100}
    found |= {"opening": opened, "reading_validation": time.perf_counter() - begun}
    return memory() | found | {"train_genes": len(parts["train"]), "valid_genes": len(parts["valid"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=56)
    parser.add_argument("--genes", type=int, default=19_802)
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_suffix(".csv"))
    arguments = parser.parse_args()
    rows = []

    def alone(name, function, *given):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(function, given)
        for what, value in found.items():
            rows.append((name, what, f"{value:.4g}" if value < 1000 else f"{value:.0f}"))
            print(*rows[-1], sep="\t", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        given = write_text(folder, arguments.genes)
        rows.append(("text of one cell type", "MB", f"{sum(path.stat().st_size for path in given.values()) / 1e6:.0f}"))
        alone("text of one cell type", read_text, given, folder)
        for path in given.values():
            path.unlink()
        paths = write_cells(folder, arguments.cells, arguments.genes)
        rows.append(("all cell types", "MB", f"{sum(path.stat().st_size for path in paths) / 1e6:.0f}"))
        for network, n_batches in (("GeneNet", arguments.batches), ("DeepChrome", 5 * arguments.batches)):
            alone(f"{network}, {n_batches} batches of all cell types mixed", train, paths, network, n_batches)
    with open(arguments.out, "w", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([("what", "figure", "value"), *rows])


if __name__ == "__main__":
    main()

"""Memory and pace of `single_cell` up to its windows, on one long chromosome: 20 cells, a CpG every 100 bases.

    .venv/bin/python tests/benchmarks/single_cell_windows.py [--sites 250000 1000000] [--out F.csv]

Each step runs in a process of its own. Of every chromosome 250,000 windows are cut (1,001 bases), so that what grows
with the chromosome shows: its sequence, and its part of the table of sites. Writes the peak of the resident memory
(VmHWM) and of the part that is not mapped files (RssAnon), in MB, and seconds. Takes 2 GB.
"""

import argparse
import csv
import multiprocessing
import pathlib
import re
import tempfile
import threading
import time

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pyarrow as pa
import pyarrow.csv

CELLS, SPACING, CUT = 20, 100, 250_000
SETTINGS = {"dna_wlen": 1001, "coordinates": "auto", "columns": None, "max_not_cpg": 0.01, "split": {}}


def simulate(folder: pathlib.Path, n: int) -> None:
    """A chromosome with n CpGs, and cells that observe 20 to 60 % of them."""
    rng = np.random.default_rng(0)
    bases = np.frombuffer(b"ACT", np.uint8)[rng.integers(0, 3, n * SPACING)]  # no G: no CpG but the chosen ones
    position = 3 * np.sort(rng.choice(np.arange(1, n * SPACING // 3 - 1), n, replace=False))
    bases[position - 1], bases[position] = ord("C"), ord("G")
    lines = np.hstack([bases.reshape(-1, SPACING), np.full((n, 1), ord("\n"), np.uint8)])
    (folder / "genome.fa").write_bytes(b">chr1\n" + lines.tobytes())
    for cell in range(CELLS):
        seen = position[rng.random(n) < rng.uniform(0.2, 0.6)]
        table = pa.table({"c": ["chr1"] * len(seen), "p": seen, "s": rng.integers(0, 2, len(seen))})
        options = pa.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
        with pa.CompressedOutputStream(str(folder / f"cell{cell}.tsv.gz"), "gzip") as out:
            pa.csv.write_csv(table, out, options)


def status(name: str) -> float:
    """MB of this process, from the kernel."""
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", text).group(1)) / 1024


def measured(step, answer) -> None:
    """Run a step; send its seconds and its peaks of memory."""
    anon, done = [0.0], threading.Event()

    def watch():
        while not done.wait(0.02):
            anon[0] = max(anon[0], status("RssAnon"))

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    step()
    seconds = time.perf_counter() - began
    done.set()
    thread.join()
    answer.put({"seconds": seconds, "VmHWM": status("VmHWM"), "RssAnon": anon[0]})


def sites(folder: pathlib.Path, answer) -> None:
    from cpgtaxa.targets.single_cell.sites import prepare

    names = {"sites": "sites.arrow", "statistics": "s.parquet", "cells": "c.csv", "annotations": "a.parquet"}
    given = {"profiles": {f"c{cell}": str(folder / f"cell{cell}.tsv.gz") for cell in range(CELLS)}}
    given |= {"genome": str(folder / "genome.fa"), "annotations": {}}
    out = {key: str(folder / name) for key, name in (names | {"qc": "qc.json"}).items()}
    measured(lambda: prepare(given, out, settings=SETTINGS), answer)


def windows(folder: pathlib.Path, shards: int, answer) -> None:
    from cpgtaxa.targets.single_cell.windows import write_windows

    paths = [str(folder / name) for name in ("sites.arrow", "genome.fa", "windows.arrow")]
    measured(lambda: write_windows(*paths, shard=1, shards=shards, settings=SETTINGS), answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    context, rows = multiprocessing.get_context("spawn"), []
    for n in options.sites:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            simulate(folder, n)
            for step, more in ((sites, ()), (windows, (max(1, n // CUT),))):
                answer = context.Queue()
                process = context.Process(target=step, args=(folder, *more, answer))
                process.start()
                found = answer.get()
                process.join()
                done = n if step is sites else n // more[0]
                row = {"step": step.__name__, "sites": n, "cells": CELLS, "done": done}
                rows.append(row | {key: f"{value:.4g}" for key, value in found.items()})
                print(rows[-1], flush=True)
    with open(options.out, "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

"""What is the project's own beside the library that does the same: processor time of each, once.

    .venv/bin/python tests/benchmarks/libraries.py --out tests/benchmarks/libraries.csv

Sorting and the dip as the kernel of the statistics calls them, per CpG of 3,500 samples; a genome of 60 million bases,
gzipped, from the file to its codes (pyfaidx unpacks to scratch first, and is left out where it is not installed); one
step of 80 small networks, forwards and backwards. CSV: what, size, implementation, milliseconds (median of processor
times), times (of the library's).
"""

import argparse
import gzip
import pathlib
import shutil
import statistics
import tempfile
import time

import benchmarking_in_one_thread  # noqa: F401
import diptest
import numba
import numpy as np
import pandas as pd
import torch
from cpgtaxa.models.deepmethygene import AdaptiveRegressionCNN
from cpgtaxa.statistics import kernel
from cpgtaxa.statistics.comparisons import holm
from cpgtaxa.targets.expression.batched import Stack
from cpgtaxa.targets.single_cell.genome import open_genome
from statsmodels.stats.multitest import multipletests

SAMPLES, CPGS, TIMES = 3500, 400, 7
BASES = 60_000_000
CODES = np.full(256, 4, dtype=np.uint8)
CODES[[*b"ACGT", *b"acgt"]] = [0, 1, 2, 3, 0, 1, 2, 3]


@numba.njit
def sorted_by_kernel(values, ordered, where, counts):
    for row in values:
        kernel._sort(row, ordered, where, counts)


@numba.njit
def quantiles_by_kernel(values, ordered, where, counts):
    for row in values:
        kernel._sort_near(row, (0.05, 0.5, 0.95), ordered, where, counts)


@numba.njit
def dips_by_kernel(ordered, scratch):
    for row in ordered:
        kernel._dip(row, scratch)


def pace(call, per: int = 1, times: int = TIMES) -> float:
    """Milliseconds of processor time for one of `per`: the median."""
    call()
    found = []
    for _ in range(times):
        start = time.process_time()
        call()
        found.append(1000 * (time.process_time() - start) / per)
    return statistics.median(found)


def of_statistics():
    values = np.random.default_rng(1).standard_t(4, (CPGS, SAMPLES))
    ordered, inner = np.sort(values, axis=1), np.array([0.05, 0.5, 0.95])
    space = np.empty(SAMPLES), np.empty(SAMPLES, dtype=np.int32), np.empty(2 * SAMPLES + 1, dtype=np.int32)
    scratch = np.empty((6, SAMPLES), dtype=np.int64)
    places = sorted({int((SAMPLES - 1) * q) + more for q in inner for more in (0, 1)})
    yield "sort", "numpy.sort", pace(lambda: np.sort(values, axis=1), CPGS)
    yield "sort", "ours", pace(lambda: sorted_by_kernel(values, *space), CPGS)
    yield "three quantiles", "numpy.partition", pace(lambda: np.partition(values, places, axis=1), CPGS)
    yield "three quantiles", "ours", pace(lambda: quantiles_by_kernel(values, *space), CPGS)
    yield "dip", "diptest", pace(lambda: [diptest.dipstat(row, sort_x=False) for row in ordered], CPGS)
    yield "dip", "ours", pace(lambda: dips_by_kernel(ordered, scratch), CPGS)


def of_comparisons():
    p = np.random.default_rng(1).random(5)
    yield "Holm", "statsmodels multipletests", pace(lambda: multipletests(p, method="holm"))
    yield "Holm", "ours", pace(lambda: holm(p))


def of_genome(folder: pathlib.Path):
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[np.random.default_rng(1).integers(0, 4, BASES)]
    lines = letters.reshape(-1, 60)
    lines = np.concatenate([lines, np.full((len(lines), 1), ord("\n"), dtype=np.uint8)], axis=1)
    packed = folder / "genome.fa.gz"
    with gzip.open(packed, "wb", 1) as handle:
        for name, part in zip(("chr1", "chr2"), np.array_split(lines, 2), strict=True):
            handle.write(f">{name}\n".encode() + part.tobytes())

    def ours():
        genome = open_genome(packed)
        return [int(genome[name].sum()) for name in genome.names]

    def pyfaidx_reads():
        plain = folder / "genome.fa"
        with gzip.open(packed) as source, open(plain, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        with pyfaidx.Faidx(str(plain), indexname=str(folder / "genome.fai"), rebuild=True) as found:
            lengths = {name: entry.rlen for name, entry in found.index.items()}
            texts = [found.fetch(name, 1, n).seq.encode() for name, n in lengths.items()]
        return [int(CODES[np.frombuffer(text, dtype=np.uint8)].sum()) for text in texts]

    try:
        import pyfaidx
    except ImportError:
        return
    assert ours() == pyfaidx_reads()
    yield "genome", "pyfaidx", pace(pyfaidx_reads, times=3)
    yield "genome", "ours", pace(ours, times=3)


def of_networks(fits: int = 80, samples: int = 192, length: int = 24):
    torch.manual_seed(1)
    networks = [AdaptiveRegressionCNN(length) for _ in range(fits)]
    x = torch.randn(fits, samples, length)
    stack = Stack(networks, [length] * fits, "cpu")
    parameters, _ = torch.func.stack_module_state(networks)
    parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}

    def one(weights, inputs):
        return torch.func.functional_call(networks[0], weights, (inputs.unsqueeze(1),))[:, 0]

    together = torch.func.vmap(one)
    torch.testing.assert_close(together(parameters, x), stack(x), rtol=1e-4, atol=1e-5)
    yield "networks", "torch.func.vmap", pace(lambda: together(parameters, x).square().sum().backward())
    yield "networks", "ours", pace(lambda: stack(x).square().sum().backward())


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="libraries.csv")
    out = parser.parse_args(argv).out
    torch.set_num_threads(1)
    sizes = {"genome": f"{BASES:,} bases", "networks": "80 networks, 24 CpGs, 192 samples", "Holm": "5 p-values"}
    with tempfile.TemporaryDirectory() as folder:
        rows = [*of_statistics(), *of_comparisons(), *of_networks(), *of_genome(pathlib.Path(folder))]
    table = pd.DataFrame(rows, columns=["what", "implementation", "milliseconds"])
    table.insert(1, "size", table["what"].map(sizes).fillna(f"{SAMPLES:,} samples"))
    library = table.groupby("what")["milliseconds"].transform("first")
    table["times"] = (table["milliseconds"] / library).round(2)
    table["milliseconds"] = table["milliseconds"].map(lambda value: float(f"{value:.3g}"))
    table.to_csv(out, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()

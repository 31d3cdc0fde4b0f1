"""MB of text a second that one core turns into a cohort: plain rows, the same through Arrow alone, and gzipped.

taskset -c 0 .venv/bin/python tests/benchmarks/ingest_pace.py [--cpgs 8000] [--samples 3500]
"""

import argparse
import gzip
import pathlib
import shutil
import tempfile
import time

import benchmarking  # noqa: F401
from cpgtaxa.input import ingest, plain_text
from cpgtaxa.targets.benchmark import measure as benchmark

COLUMNS = {"sample_id": "sample_id", "age": "age", "sex": "sex"}


def pace(folder, name, size) -> float:
    """MB of text per second, the better of two runs."""
    out = [folder / file for file in ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json")]
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        ingest.ingest(folder / name, folder / "samples.csv", *out, columns=COLUMNS)
        seconds.append(time.perf_counter() - began)
    return size / 1e6 / min(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpgs", type=int, default=8000)
    parser.add_argument("--samples", type=int, default=3500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        path = benchmark._csv(folder, arguments.cpgs, arguments.samples)
        size = path.stat().st_size
        print(f"plain rows: {pace(folder, path.name, size):.0f} MB/s", flush=True)
        with open(path, "rb") as text, gzip.open(folder / "beta.csv.gz", "wb", 1) as packed:
            shutil.copyfileobj(text, packed, 1 << 20)
        print(f"gzipped: {pace(folder, 'beta.csv.gz', size):.0f} MB/s of text", flush=True)
        plain_text.parse = lambda *_: None
        print(f"through Arrow: {pace(folder, path.name, size):.0f} MB/s", flush=True)


if __name__ == "__main__":
    main()

"""Time and memory of the target `compare` on whole arrays: made-up taxonomies and statistics of 811,870 CpGs a cohort.

    .venv/bin/python tests/benchmarks/compare_scale.py [cohorts] [CpGs] [csv]

With `csv` the taxonomies are gzipped text in place of Parquet. Prints seconds and the peak of memory.
"""

import logging
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import benchmarking  # noqa: F401
import numpy as np
import pandas as pd
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.targets.compare.reading import STATISTICS
from cpgtaxa.targets.compare.study import compare


def write_run(folder: pathlib.Path, n: int, seed: int, text: bool) -> dict[str, str]:
    """A cohort's taxonomy and statistics: nine in ten CpGs have the taxon that all cohorts share."""
    rng = np.random.default_rng(seed)
    true = np.random.default_rng(0).integers(0, len(TAXA), n)
    taxon = np.where(rng.random(n) < 0.9, true, rng.integers(0, len(TAXA) + 1, n))
    p = rng.dirichlet(np.full(len(TAXA), 0.3), n).astype(np.float32)
    frame = pd.DataFrame({"cpg": [f"cg{number:08d}" for number in range(n)]})
    frame["taxon"] = np.array([*TAXA, UNCLASSIFIED], dtype=object)[taxon]
    frame["source"] = np.where(rng.random(n) < 0.5, "statistical", "round_0")
    frame["confidence"] = p.max(axis=1)
    frame[list(PROBABILITY_COLUMNS)] = p
    folder.mkdir(parents=True)
    statistics = pd.DataFrame({"cpg": frame["cpg"]} | {name: rng.normal(size=n) for name in STATISTICS})
    files = {"taxonomy": folder / ("t.csv.gz" if text else "t.parquet"), "statistics": folder / "s.parquet"}
    if text:
        frame.to_csv(
            files["taxonomy"], index=False, float_format="%.5g", compression={"method": "gzip", "compresslevel": 1}
        )
        del files["statistics"]
    else:
        frame.to_parquet(files["taxonomy"], index=False)
        statistics.to_parquet(files["statistics"], index=False)
    return {kind: str(path) for kind, path in files.items()}


def main(cohorts: int = 3, cpgs: int = 811_870, kind: str = "parquet") -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        call = "c.write_run(pathlib.Path({!r}) / {!r}, {}, {}, {})"
        files = {}
        for at in range(cohorts):  # in processes of their own, whose memory does not count
            here = pathlib.Path(__file__).parent
            code = call.format(str(folder), f"run{at}", cpgs, at, kind == "csv")
            code = f"import compare_scale as c, pathlib; {code}"
            subprocess.run([sys.executable, "-c", code], check=True, cwd=here)
            files[f"run{at}"] = {
                kind: str(path)
                for kind, name in (("taxonomy", "t.*"), ("statistics", "s.parquet"))
                for path in (folder / f"run{at}").glob(name)
            }
        out = folder / "out"
        names = ("contingency.csv", "agreement.csv", "moved.parquet", "moved.csv.gz", "taxonomy.parquet")
        outputs = dict(zip(("contingency", "agreement", "moved", "moved_csv", "taxonomy"), names, strict=True))
        outputs |= {
            "taxonomy_csv": "taxonomy.csv.gz",
            "summary": "summary.csv",
            "html": "report.html",
            "figures": "figures",
        }
        settings = {"probability": 0.98, "agreement": 0.66, "support": 0.5, "unplaced": 0.3, "examples": 12}
        started = time.perf_counter()
        compare(files, {key: out / name for key, name in outputs.items()}, settings=settings, seed=1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{cohorts} cohorts of {cpgs:,} CpGs: {time.perf_counter() - started:.0f} s, {peak:.2f} GB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])

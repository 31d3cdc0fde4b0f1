"""The main job on a whole simulated EPIC array: time and peak memory of every rule, and the agreement with the truth.

    .venv/bin/python tests/benchmarks/full_array.py --work FOLDER [--cpgs 811870] [--samples 3500] [--out FILE.csv]

Simulates the array to a CSV in FOLDER (22 GB at full size; another 13 GB for the cohort), unless it is there, and runs
the workflow with `config/two_cores.yaml`. Finished steps are not run again. To save time, only `--distinct` CpGs are
simulated; they are repeated under new names.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import yaml
from benchmarking import ROOT
from cpgtaxa.simulation.simulate import cohort_setting, draw_cpg, plan_cohort

BLOCK = 500
SEED = 20


def block_of(task):
    """Text of a block of the matrix, and (admissible taxa "A|B", kind) of its CpGs, as `simulated_cohort` has them."""
    start, stop, n_samples, plan = task
    setting = cohort_setting(SEED, n_samples)
    drawn = [draw_cpg(SEED, index, plan[index - start], setting) for index in range(start, stop)]
    values = np.round(np.stack([values for _, values in drawn]).astype(np.float64), 5).astype(np.float32)
    columns = [pa.array(values[:, column], from_pandas=True) for column in range(n_samples)]
    names = pa.array([f"cg{index:08d}" for index in range(start, stop)])
    table = pa.table([names, *columns], names=["cpg", *(str(column) for column in range(n_samples))])
    sink = pa.BufferOutputStream()
    pa.csv.write_csv(table, sink, pa.csv.WriteOptions(include_header=False, quoting_style="none"))
    return sink.getvalue().to_pybytes(), [("|".join(one.admissible(setting)), one.row()["kind"]) for one, _ in drawn]


def simulate(folder, n_cpgs, n_samples, workers, distinct):
    """Write beta.csv, samples.csv and truth.csv: `distinct` CpGs, repeated under new names up to `n_cpgs`."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "truth.csv").exists():
        return
    began = reported = time.monotonic()
    distinct = min(distinct, n_cpgs)
    plan = plan_cohort(SEED, n_cpgs, 0.15)[:distinct]
    tasks = ((a, min(a + BLOCK, distinct), n_samples, plan[a : a + BLOCK]) for a in range(0, distinct, BLOCK))
    truth = []
    with open(folder / "distinct.csv", "wb") as out, multiprocessing.Pool(workers) as pool:
        for number, (text, right) in enumerate(pool.imap(block_of, tasks), 1):
            out.write(text)
            truth += right
            if time.monotonic() - reported > 30:
                reported = time.monotonic()
                print(f"{number * BLOCK:,} of {distinct:,} CpGs simulated, {reported - began:.0f} s", flush=True)
    repeat(folder, n_cpgs, n_samples, truth)
    print(f"simulated in {time.monotonic() - began:.0f} s", flush=True)


def repeat(folder, n_cpgs, n_samples, truth):
    """Make beta.csv from distinct.csv, and the two tables. truth: (admissible, kind) of the distinct CpGs."""
    distinct = len(truth)
    samples = [f"S{number:05d}" for number in range(1, n_samples + 1)]
    written = 0
    with open(folder / "beta.csv", "wb", 1 << 22) as out:
        out.write((",".join(["cpg", *samples]) + "\n").encode())
        while written < n_cpgs:
            with open(folder / "distinct.csv", "rb", 1 << 22) as lines:
                for line in itertools.islice(lines, min(distinct, n_cpgs - written)):
                    out.write(b"cg%08d" % written)
                    out.write(line[10:])
                    written += 1
    (folder / "distinct.csv").unlink()
    ages = cohort_setting(SEED, n_samples).ages
    pd.DataFrame({"sample_id": samples, "age": ages}).to_csv(folder / "samples.csv", index=False)
    rows = [(f"cg{number:08d}", *truth[number % distinct]) for number in range(n_cpgs)]
    table = pd.DataFrame(rows, columns=["cpg", "admissible", "kind"])
    table.insert(1, "taxon", table["admissible"].str.partition("|")[0])
    table.to_csv(folder / "truth.csv", index=False)


def by_rule(folder) -> pd.DataFrame:
    """Seconds and peak memory of the rules, from Snakemake's benchmark files."""
    rows = []
    for path in folder.glob("results/benchmarks/*.tsv"):
        rows.append({"file": path.stem} | pd.read_csv(path, sep="\t").iloc[0].to_dict())
    table = pd.DataFrame(rows)
    rules = sorted((path.stem for path in (ROOT / "scripts").glob("*.py")), key=len, reverse=True)
    table["rule"] = [next(rule for rule in rules if file.startswith(rule)) for file in table["file"]]
    grouped = table.groupby("rule").agg(jobs=("s", "size"), seconds=("s", "sum"), peak_mb=("max_rss", "max"))
    return grouped.round(1).sort_values("seconds", ascending=False).reset_index()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--cpgs", type=int, default=811_870)
    parser.add_argument("--samples", type=int, default=3500)
    parser.add_argument("--distinct", type=int, default=162_000, help="different CpGs; the rest repeats them")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    folder = arguments.work.resolve()
    simulate(folder, arguments.cpgs, arguments.samples, arguments.cores, arguments.distinct)
    config = yaml.safe_load((ROOT / "config/two_cores.yaml").read_text())
    config["cohort"] = {"beta": "beta.csv", "samples": "samples.csv", "truth": "truth.csv"}
    config["seed"] = SEED
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--cores", str(arguments.cores), "--directory", folder]
    command += ["--snakefile", ROOT / "workflow/Snakefile", "--configfile", folder / "config.yaml"]
    began = time.monotonic()
    with open(folder / "run.log", "a") as log:
        subprocess.run(command, cwd=ROOT, check=True, stdout=log, stderr=subprocess.STDOUT)
    seconds = time.monotonic() - began
    table = by_rule(folder)
    print(table.to_string(index=False))
    print(f"the workflow took {seconds / 60:.1f} min on {arguments.cores} cores")
    counts = [json.loads(path.read_text()) for path in sorted(folder.glob("results/round_*/reassigned.json"))]
    print("\n".join(f"round {c['round']}: {c['placed']:,} of {c['candidates']:,} placed" for c in counts))
    print(pd.read_csv(folder / "results/report/agreement.csv").tail(20).to_string(index=False))
    if arguments.out:
        total = pd.DataFrame([{"rule": "all, wall time", "jobs": table["jobs"].sum(), "seconds": round(seconds, 1)}])
        pd.concat([table, total], ignore_index=True).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

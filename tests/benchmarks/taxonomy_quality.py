"""The main job on simulated cohorts of several sizes and seeds, against the truth.

    .venv/bin/python tests/benchmarks/taxonomy_quality.py --work FOLDER [--samples 300 656 1500] [--seeds 1 2 3]

Each cohort is a whole Snakemake run with the demo's settings in its own folder below FOLDER; finished ones are not run
again. A taxon is right if it is admissible for the CpG's true parameters. Prints and writes (--out) one row per cohort:
of the tests the share placed, precision (all, and worst taxon) and recall; the network's accuracy on held-out CpGs; how
many CpGs the networks placed of those that the tests leave open, in all rounds, how many of these are wrong (the
controlled error rate is 5 %); and at the end the share placed, precision, macro-F1, and of the boundary CpGs the share
placed and its precision.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import pandas as pd
import yaml
from benchmarking import ROOT
from cpgtaxa.names import TAXA


def run(folder, samples, seed, rounds, cores):
    """One cohort's main job; returns its wall time in seconds (kept in a file, for finished runs)."""
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((ROOT / "config/demo/config.yaml").read_text())
    config["seed"] = seed
    config["simulate_cohort"]["samples"] = samples
    config["rounds"]["max"] = rounds
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if not (folder / "seconds.txt").exists():
        started = time.monotonic()
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--directory", folder]
        command += ["--snakefile", ROOT / "workflow/Snakefile", "--configfile", folder / "config.yaml"]
        with open(folder / "run.log", "w") as log:
            subprocess.run(command, cwd=ROOT, check=True, stdout=log, stderr=subprocess.STDOUT)
        (folder / "seconds.txt").write_text(f"{time.monotonic() - started:.0f}")
    return int((folder / "seconds.txt").read_text())


def score(folder):
    """Numbers of one finished run."""
    agreement = pd.read_csv(folder / "results/report/agreement.csv")
    by_stage = {stage: rows.set_index("taxon") for stage, rows in agreement.groupby("stage")}
    tests, last = by_stage["statistical"], by_stage["all"]
    taxa = tests.loc[[taxon for taxon in TAXA if taxon in tests.index]]
    metrics = [json.loads(path.read_text()) for path in sorted(folder.glob("results/round_*/metrics.json"))]
    # Of the row `precision` n_true are the CpGs placed and n_called those of them that are right.
    more, right = last.loc["precision", ["n_true", "n_called"]] - tests.loc["precision", ["n_true", "n_called"]]
    row = {
        "tests: placed": tests.loc["placed", "value"],
        "tests: precision": tests.loc["precision", "value"],
        "tests: precision, worst taxon": taxa["precision"].min(),
        "tests: recall, mean": tests.loc["macro", "recall"],
        "network: accuracy, held-out CpGs": metrics[0]["test_cohort"]["accuracy"],
        "network: accuracy, held-out simulated": metrics[0]["test_simulated"]["accuracy"],
        "network: calibration error": metrics[0]["test"]["calibration_error"],
        "rounds": len(metrics),
        "left open": int(tests.loc["placed", "n_true"] - tests.loc["placed", "n_called"]),
        "placed by networks": int(more),
        "wrong of these": int(more - right),
        "placed": last.loc["placed", "value"],
        "precision": last.loc["precision", "value"],
        "macro-F1": last.loc["macro", "value"],
        "boundary CpGs placed": last.loc["boundary", "n_called"] / last.loc["boundary", "n_true"],
        "their precision": last.loc["boundary", "precision"],
    }
    return row, taxa[["precision", "recall"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--samples", type=int, nargs="+", default=[300, 656, 1500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, help="write the rows as CSV, and the labels by taxon beside them")
    arguments = parser.parse_args()
    rows, labels = [], []
    for seed in arguments.seeds:
        for samples in arguments.samples:
            folder = arguments.work.resolve() / f"{samples}_{seed}"
            seconds = run(folder, samples, seed, arguments.rounds, arguments.cores)
            row, by_taxon = score(folder)
            rows.append({"samples": samples, "seed": seed} | row | {"seconds": seconds})
            labels.append(by_taxon.assign(samples=samples, seed=seed))
            print(pd.DataFrame(rows).round(4).to_string(index=False), flush=True)
            if arguments.out:
                table = pd.DataFrame(rows).round(4).drop(columns="seconds")  # other jobs may have shared the cores
                table.to_csv(arguments.out, index=False)
                taxa = pd.concat(labels).reset_index()
                taxa = taxa.groupby(["samples", "taxon"], sort=False)[["precision", "recall"]].mean()
                taxa.round(4).to_csv(arguments.out.with_name(arguments.out.stem + "_labels.csv"))


if __name__ == "__main__":
    main()

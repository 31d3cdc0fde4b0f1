"""Precision and recall of the statistical labels on simulated cohorts, per taxon, without training anything.

    .venv/bin/python tests/benchmarks/label_quality.py [--samples 300 656 1500] [--seeds 1 2 3] [--out FILE.csv]

Precision counts CpGs that have a true taxon; half-way sites that got a label are counted apart.
"""

import argparse
import pathlib
import sys

import numpy as np
import pandas as pd
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa import simulate  # noqa: E402
from cpgtaxa.names import TAXA, UNCLASSIFIED  # noqa: E402
from cpgtaxa.statistics import compute  # noqa: E402
from cpgtaxa.taxa import define_taxa  # noqa: E402


def judge(samples, seed, cpgs, thresholds):
    """One row per taxon for one cohort, drawn as the demo draws its own."""
    setting = simulate.cohort_setting(seed, samples)
    plan = simulate.plan_cohort(seed, cpgs, 0.15)
    values = np.stack([simulate.draw_cpg(seed, index, taxon, setting)[1] for index, taxon in enumerate(plan)])
    statistics = compute(np.round(values.astype(np.float64), 5).astype(np.float32), setting.ages)
    statistics.insert(0, "cpg", [str(index) for index in range(cpgs)])
    called = define_taxa(statistics, thresholds)["taxon"].to_numpy()
    truth = np.array([taxon or UNCLASSIFIED for taxon in plan], dtype=object)
    clean = truth != UNCLASSIFIED
    for taxon in TAXA:
        mine, right = called == taxon, (called == taxon) & (truth == taxon)
        yield {
            "samples": samples,
            "seed": seed,
            "taxon": taxon,
            "precision": right.sum() / max((mine & clean).sum(), 1),
            "recall": right.sum() / max((truth == taxon).sum(), 1),
            "half_way_called": int((mine & ~clean).sum()),
        }
    left = (called[~clean] == UNCLASSIFIED).mean()
    right = (called == truth)[clean & (called != UNCLASSIFIED)].mean()
    recall = (called == truth)[clean].mean()
    yield {
        "samples": samples,
        "seed": seed,
        "taxon": "all",
        "precision": right,
        "recall": recall,
        "half_way_left": left,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[300, 656, 1500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cpgs", type=int, default=4000)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    thresholds = yaml.safe_load((ROOT / "config/config.yaml").read_text())["taxa"]["thresholds"]
    rows = [
        row
        for samples in arguments.samples
        for seed in arguments.seeds
        for row in judge(samples, seed, arguments.cpgs, thresholds)
    ]
    table = pd.DataFrame(rows)
    means = table.groupby(["taxon", "samples"], sort=False)[["precision", "recall", "half_way_left"]].mean()
    print(means.unstack("samples").round(3).to_string(na_rep=""))
    if arguments.out:
        table.round(4).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

"""Do taxa stay when next to nothing changes? Betas with fewer decimals, one sample less, another seed; real cohorts.

    .venv/bin/python tests/benchmarks/stability.py [--cohorts NAME …] [--without 20] [--out FILE.csv]

Taxa are those of the workflow without training (`training.weights: reference`) and one round: the tests, then the
shipped network on what they leave open. Compared with the taxa from all samples and the default seed are those of the
betas rounded to four and to three decimals, of the cohort without one sample (as many times as asked for, drawn at
random, by the tests; once with the network), and with another seed (the tests need none).

same: share of the CpGs with the same taxon, or Unclassified in both; same_least: of the run with fewest. other: share
that get another taxon (the rest of the changes is between a taxon and Unclassified). marked: share of the changed CpGs
that were marked as boundary, as near what no taxon describes, or as Unclassified with an open criterion.
"""

import argparse
import logging
import pathlib
import sys
import time

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
from benchmarking import REFERENCE, RULES, read_network
from cpgtaxa.names import UNCLASSIFIED
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa
from real_cohorts import DATA, load
from unlike import calibration, calls_on, placed, predicted

COHORTS = ("random500", "gse40279", "brain", "GSE111629", "GSE61496", "GSE97362", "gse42861")
SEED, OTHER_SEED, CALIBRATION = 42, 43, 20000
"""As configured by default; another seed."""


class Workflow:
    """Tests and network, as a run without training applies them. Calibrations are kept by ages and seed."""

    def __init__(self, folder, n_calibration):
        self.predictor, self.n_calibration = read_network(folder), n_calibration
        self.known = {}

    def tests(self, beta, ages, sex):
        """Statistics and labels of CpGs (k, n)."""
        statistics = compute(np.ascontiguousarray(beta), ages, sex)
        statistics.insert(0, "cpg", [str(row) for row in range(len(beta))])
        return statistics, define_taxa(statistics, **RULES)

    def __call__(self, beta, ages, sex, seed) -> np.ndarray:
        """The taxa (k,) after one round."""
        statistics, labels = self.tests(beta, ages, sex)
        taxon = labels["taxon"].to_numpy(dtype=object).copy()
        rows = np.flatnonzero(taxon == UNCLASSIFIED)
        if not len(rows):
            return taxon
        key = ages.tobytes(), seed
        if key not in self.known:
            self.known[key] = calibration(ages, self.n_calibration, self.predictor, seed)
        predictions = predicted(np.ascontiguousarray(beta[rows]), ages, self.predictor).assign(cpg=rows.astype(str))
        taken, _ = placed(calls_on(predictions, statistics.iloc[rows]), *self.known[key], seed)
        taxon[taken["cpg"].astype(int)] = taken["taxon"]
        return taxon


def compared(cohort, change, before, near, runs, network) -> dict:
    """A row: taxa (k,) before, and after the change in each of the runs. near: (k,) bool, what was said to be near."""
    moved = np.stack([before != run for run in runs])
    other = moved & np.stack([(before != UNCLASSIFIED) & (run != UNCLASSIFIED) for run in runs])
    return {
        "cohort": cohort.name,
        "cpgs": len(before),
        "samples": len(cohort.ages),
        "change": change,
        "taxa_by": "tests and network" if network else "tests",
        "runs": len(runs),
        "same": 1 - moved.mean(),
        "same_least": 1 - moved.mean(axis=1).max(),
        "other": other.mean(),
        "marked": near[np.nonzero(moved)[1]].mean() if moved.any() else np.nan,
    }


def rows_of(workflow, name, n_without):
    """The rows of a cohort."""
    cohort = load(name)
    sex = None if cohort.sex is None else np.where(cohort.sex == "F", 1, 0)
    n = len(cohort.ages)

    def tests(beta, samples):
        part = None if sex is None else sex[samples]
        return workflow.tests(beta[:, samples], cohort.ages[samples], part)[1]["taxon"].to_numpy(dtype=object)

    def both(beta, samples, seed=SEED):
        part = None if sex is None else sex[samples]
        return workflow(beta[:, samples], cohort.ages[samples], part, seed)

    everyone = np.arange(n)
    labels = workflow.tests(cohort.beta, cohort.ages, sex)[1]
    near = (labels["boundary"] != "").to_numpy()
    by_tests = labels["taxon"].to_numpy(dtype=object)
    finally_ = both(cohort.beta, everyone)
    for decimals, word in ((4, "four"), (3, "three")):
        beta = np.round(cohort.beta.astype(np.float64), decimals).astype(np.float32)
        yield compared(cohort, f"{word} decimals", finally_, near, [both(beta, everyone)], True)
    out = np.random.default_rng(1).choice(n, min(n_without, n), replace=False)
    without = [tests(cohort.beta, np.delete(everyone, one)) for one in out]
    yield compared(cohort, "one sample left out", by_tests, near, without, False)
    yield compared(
        cohort, "one sample left out", finally_, near, [both(cohort.beta, np.delete(everyone, out[0]))], True
    )
    yield compared(cohort, "another seed", finally_, near, [both(cohort.beta, everyone, OTHER_SEED)], True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", nargs="+", choices=COHORTS, default=COHORTS, metavar="NAME")
    parser.add_argument("--without", type=int, default=20, help="samples left out, one after the other")
    parser.add_argument("--weights", type=pathlib.Path, default=REFERENCE)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    if not DATA.is_dir():
        sys.exit(f"{DATA} is absent: these figures need the shared real cohorts")
    workflow, rows = Workflow(arguments.weights, CALIBRATION), []
    for name in arguments.cohorts:
        rows += rows_of(workflow, name, arguments.without)
        print(f"{name}: {time.process_time():.0f} s of CPU so far", file=sys.stderr, flush=True)
        if arguments.out:
            pd.DataFrame(rows).round(5).to_csv(arguments.out, index=False)
    print(pd.DataFrame(rows).round(4).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    main()

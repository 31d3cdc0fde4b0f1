"""Is `confidence` the probability that a taxon is right? The labels of the tests in small and large cohorts.

    .venv/bin/python tests/benchmarks/confidence.py [--out FILE.csv]

Parts of real cohorts: 60, 150 and half of the samples, drawn four times. A taxon from a part is right if the whole
cohort's answers lead to it, where a criterion in whose zone the estimate lies may be answered either way. Simulated
cohorts: all taxa equally common, which is harder, as of a hundred samples one outlier is none; right is what is
admissible for the true parameters. confidence and right: means over the CpGs that get a taxon; the same of those with
a confidence below 0.95 (`unsure`) and of 0.99 and more (`sure`).
"""

import argparse
import pathlib

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
from cpgtaxa.names import INDEX, UNCLASSIFIED
from cpgtaxa.simulation import simulate
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.criteria import Answers, reached
from cpgtaxa.taxa.labels import define_taxa
from real_cohorts import DATA, RULES, load

REAL, DRAWN = ("random500", "gse40279", "brain"), 4
SIZES, SEEDS, CPGS, BOUNDARY = (60, 150, 650), (101, 202), 700, 0.5


def statistics_of(values, ages, sex):
    statistics = compute(np.ascontiguousarray(values, dtype=np.float32), ages, sex)
    return statistics.assign(cpg=[str(row) for row in range(len(statistics))])


def summed(where, samples, confidence, right) -> dict:
    """A row, from confidence (k,) and whether right (k,) of the CpGs with a taxon."""
    row = {
        "where": where,
        "samples": samples,
        "cpgs": len(right),
        "confidence": confidence.mean(),
        "right": right.mean(),
    }
    for name, among in (("unsure", confidence < 0.95), ("sure", confidence >= 0.99)):
        row |= {
            name: among.mean(),
            f"{name}_confidence": confidence[among].mean(),
            f"{name}_right": right[among].mean(),
        }
    return row


def real(name):
    """Rows of a real cohort: parts of it, compared with the whole."""
    cohort = load(name)
    sex = None if cohort.sex is None else np.where(cohort.sex == "F", 1, 0)
    whole = Answers(statistics_of(cohort.beta, cohort.ages, sex), RULES["thresholds"], RULES["errors"])
    answers = whole.by_criterion.items()
    either = [{key: getattr(answer, way) | answer.near for key, answer in answers} for way in ("yes", "no")]
    may = reached(*either) | whole.taxa
    n = len(cohort.ages)
    for size in (60, 150, n // 2):
        found = []
        for seed in range(DRAWN):
            part = np.sort(np.random.default_rng(seed).choice(n, size, replace=False))
            statistics = statistics_of(cohort.beta[:, part], cohort.ages[part], None if sex is None else sex[part])
            labels = define_taxa(statistics, **RULES)
            rows = np.flatnonzero((labels["taxon"] != UNCLASSIFIED).to_numpy() & may.any(axis=1))
            right = may[rows, labels["taxon"].iloc[rows].map(INDEX)]
            found.append((labels["confidence"].to_numpy()[rows], right))
        yield summed(f"{name}, parts", size, *map(np.concatenate, zip(*found, strict=True)))


def simulated(samples):
    """The row of simulated cohorts of a size."""
    found = []
    for seed in SEEDS:
        setting, plan = simulate.cohort_setting(seed, samples), simulate.plan_cohort(seed, CPGS, BOUNDARY)
        profiles, values = zip(*(simulate.draw_cpg(seed, k, plan[k], setting) for k in range(CPGS)), strict=True)
        labels = define_taxa(statistics_of(np.stack(values), setting.ages, setting.sex), **RULES)
        taxa = [profile.admissible(setting) for profile in profiles]
        right = np.array([taxon in of for taxon, of in zip(labels["taxon"], taxa, strict=True)])
        placed = (labels["taxon"] != UNCLASSIFIED).to_numpy()
        found.append((labels["confidence"].to_numpy()[placed], right[placed]))
    return summed("simulated, all taxa alike", samples, *map(np.concatenate, zip(*found, strict=True)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    rows = [row for name in REAL if DATA.is_dir() for row in real(name)] + [simulated(samples) for samples in SIZES]
    table = pd.DataFrame(rows).round(4)
    if arguments.out:
        table.to_csv(arguments.out, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()

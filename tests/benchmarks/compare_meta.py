"""Is the taxonomy of several cohorts better than that of one? Simulated cohorts of the same CpGs, whose truth is known.

    .venv/bin/python tests/benchmarks/compare_meta.py [CpGs] [samples]      (2,000 and 300; writes compare_meta.csv)

Labels are the tests' own. The network is a made-up one: its log odds for a clear CpG's taxon, and for both taxa of a
boundary CpG, are those of a classifier that is right in about nine of ten hard CpGs, with noise of each cohort and
noise that all cohorts share (`alike`), since networks learnt from like images err alike; a CpG that the tests leave
open is placed from a probability of 0.8 on, in a taxon that they allow. A taxon is right if it is admissible for the
CpG's true parameters. The defaults were chosen on another draw (seed 11). Rows: what is measured, cohorts, precision
(right over placed), recall (right over all CpGs).
"""

import pathlib
import sys

import numpy as np
import pandas as pd
from benchmarking import RULES
from cpgtaxa.names import INDEX, TAXA, UNCLASSIFIED
from cpgtaxa.simulation.simulate import cohort_setting, plan_cohort
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.targets.compare.pooling import decide, pooled
from cpgtaxa.targets.compare.reading import LEFT, Cohort, lay_beside
from cpgtaxa.taxa.labels import define_taxa, ruled_out
from several_cohorts import draw_in_cohorts

RULE = {"probability": 0.98, "agreement": 0.66, "support": 0.5}


def simulate(cpgs: int, samples: int, cohorts: int, seed: int, alike: float = 0.5) -> tuple[list[Cohort], np.ndarray]:
    """Cohorts as `compare` reads them, and the truth (cpgs, 10) bool: which taxa are admissible."""
    settings = [cohort_setting(seed + at, samples) for at in range(cohorts)]
    plan = plan_cohort(seed, cpgs, 0.15)
    drawn = [draw_in_cohorts(seed, index, taxon, settings) for index, taxon in enumerate(plan)]
    truth = np.zeros((cpgs, len(TAXA)), dtype=bool)
    for row, (profile, _) in enumerate(drawn):
        truth[row, [INDEX[taxon] for taxon in profile.admissible(settings[0])]] = True
    odds = np.zeros((cpgs, len(TAXA)))
    for row, (profile, _) in enumerate(drawn):
        odds[row, INDEX[profile.taxon]] = 5 if not profile.other else 3.5
        if profile.other:
            odds[row, INDEX[profile.other]] = 3.5
    rng = np.random.default_rng([seed, 71])
    odds += np.sqrt(alike) * 1.6 * rng.normal(size=odds.shape)
    index = pd.Index([f"cg{number:08d}" for number in range(cpgs)])
    found = []
    for at, setting in enumerate(settings):
        statistics = compute(np.stack([values[at] for _, values in drawn]), setting.ages)
        statistics.insert(0, "cpg", index)
        labels = define_taxa(statistics, **RULES)["taxon"]
        own = odds + np.sqrt(1 - alike) * 1.6 * rng.normal(size=odds.shape)
        p = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
        by_rules = (labels != UNCLASSIFIED).to_numpy()
        allowed = np.where(ruled_out(statistics, **RULES), 0, p)
        network = np.where(allowed.max(axis=1) >= 0.8, allowed.argmax(axis=1), LEFT)
        taxon = np.where(by_rules, labels.map(INDEX).fillna(LEFT), network).astype(np.int8)
        p, sure = p.astype(np.float32), p.max(axis=1).astype(np.float32)
        found.append(Cohort(f"c{at}", index, taxon, by_rules, sure, p, {}, index))
    return found, truth


def scored(taxon: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Precision and recall."""
    placed = taxon < LEFT
    right = placed & truth[np.arange(len(taxon)), np.where(placed, taxon, 0)]
    return right.sum() / max(placed.sum(), 1), right.mean()


def majority(taxon: np.ndarray) -> np.ndarray:
    """The taxon, or none, that more than half of the cohorts gave; Unclassified where there is no such."""
    votes = (taxon[:, :, None] == np.arange(LEFT)).sum(axis=1)
    return np.where(2 * votes.max(axis=1) > taxon.shape[1], votes.argmax(axis=1), LEFT)


def compared(cohorts: list[Cohort], truth: np.ndarray, unplaced: float = 0.3, **rule) -> list[tuple]:
    """(what, cohorts, precision, recall) of the single cohorts (their mean), the majority, and the pool."""
    beside = lay_beside(cohorts)
    single = np.mean([scored(beside.taxon[:, at], truth) for at in range(len(cohorts))], axis=0)
    given = decide(beside.taxon, pooled(beside, unplaced), **(RULE | rule))["taxon"]
    k = len(cohorts)
    return [
        ("single", k, *single),
        ("majority", k, *scored(majority(beside.taxon), truth)),
        ("pool", k, *scored(given, truth)),
    ]


def without_networks(cohorts: list[Cohort]) -> list[Cohort]:
    """The same with the tests' labels alone, as a table cpg, taxon would tell."""
    return [
        Cohort(
            one.name,
            one.cpgs,
            np.where(one.by_rules, one.taxon, LEFT).astype(np.int8),
            np.zeros(len(one.cpgs), dtype=bool),
            np.full(len(one.cpgs), np.nan, dtype=np.float32),
            np.full_like(one.p, np.nan),
            {},
            one.cpgs,
        )
        for one in cohorts
    ]


def main(cpgs: int = 2000, samples: int = 300) -> None:
    rows = []
    for alike in (0.0, 0.5, 0.9):
        every, truth = simulate(cpgs, samples, 5, 23, alike)
        for k in (2, 3, 5):
            rows += [("tests and network", alike, *row) for row in compared(every[:k], truth)]
            if alike == 0:
                rows += [("tests alone", 0, *row) for row in compared(without_networks(every[:k]), truth)]
        changes = [{"unplaced": 0.0}, {"unplaced": 1.0}, {"support": 0.0}, {"support": 0.66}]
        changes += [{"probability": value} for value in (0.9, 0.99, 0.999)]
        for change in changes:
            what = f"pool, {'='.join(map(str, next(iter(change.items()))))}"
            rows += [("tests and network", alike, what, *compared(every[:3], truth, **change)[2][1:])]
    table = pd.DataFrame(rows, columns=["labels", "alike", "what", "cohorts", "precision", "recall"])
    table.to_csv(pathlib.Path(__file__).with_suffix(".csv"), index=False, float_format="%.4f")
    print(table.to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

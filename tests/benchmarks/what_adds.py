"""What does the image network add? The tests, trees on their statistics, the network, and both, on the same CpGs.

    .venv/bin/python tests/benchmarks/what_adds.py [--weights FOLDER] [--skip-real] [--out FILE.csv]

Ways: the tests alone (what they leave open counts as not placed); gradient-boosted trees (scikit-learn) on the
statistics that the tests look at; the network alone, its likeliest taxon; trees on statistics and the network's
log-probabilities; as in the workflow, the tests and then the network with its selection model on what they leave open;
the same without selection, by the network and by the trees, among the taxa that the tests leave; and, as a check of the
tests, only what network or trees say too. The trees learn from 12,000 simulated CpGs of cohorts of the sample sizes
tested, drawn with seeds of their own; a boundary CpG trains as one of its two taxa, drawn by its place in the zone, as
networks learn it.

Where: simulated cohorts as in label_quality.py; clear CpGs of the foreign kinds of transfers.py, which differ in noise,
ages or sample size; real cohorts in halves, and with ages dealt out at random. Columns: share placed; precision, the
share of these that are right (among the admissible taxa), also of the CpGs that the tests place and of those that they
leave open; equal_of_all, the share of all CpGs to which both halves give the same taxon, and equal_of_placed;
with_age, the share that gets a taxon with a trend or with changing spread where ages are permuted and none has one.
"""

import argparse
import sys
import time

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
from benchmarking import RULES, read_network
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.simulation import simulate
from cpgtaxa.simulation.training_images import share_of
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa
from label_quality import BOUNDARY
from real_cohorts import DATA, TREND, halves, load
from sklearn.ensemble import HistGradientBoostingClassifier
from transfers import KINDS, drawn
from unlike import calibration, calls_on, network_arguments, placed, predicted

WAYS = TESTS, TREES, NETWORK, BOTH, WORKFLOW, ALL_BY_NETWORK, ALL_BY_TREES, NETWORK_AGREES, TREES_AGREE = (
    "tests", "trees on statistics", "network", "trees on statistics and network", "tests, then network",
    "tests, then network for all that is open", "tests, then trees for all that is open",
    "tests where the network agrees", "tests where the trees agree",
)  # fmt: skip
SETTINGS = {"max_iter": 200, "learning_rate": 0.06, "max_leaf_nodes": 12, "max_bins": 64, "early_stopping": False}
"""Those of the selection model in `placement`."""
TRAINED_ON = (120, 250, 300, 330, 400, 656, 1500, 2000)
"""Samples of the cohorts from which the trees learn; 250 and 330 are halves of the real cohorts."""
COHORTS_EACH, CPGS_EACH, SEED = 3, 500, 5000
REAL = ("random500", "gse40279", "brain")
WITH_AGE = (*TREND, "NonAgeHet")


def rounded(values):
    return np.round(np.asarray(values, dtype=float), 5).astype(np.float32)


class Ways:
    """All ways to give CpGs a taxon."""

    def __init__(self, folder, n_calibration, settings=SETTINGS):
        """folder: of the network. n_calibration: calibration CpGs drawn for each cohort."""
        self.predictor, self.n_calibration = read_network(folder), n_calibration
        tables, probabilities, labels = [], [], []
        for number in range(COHORTS_EACH * len(TRAINED_ON)):
            seed = SEED + number
            setting = simulate.cohort_setting(seed, TRAINED_ON[number % len(TRAINED_ON)])
            plan = simulate.plan_cohort(seed, CPGS_EACH, BOUNDARY)
            profiles, values = zip(
                *(simulate.draw_cpg(seed, k, plan[k], setting) for k in range(CPGS_EACH)), strict=True
            )
            rng = np.random.default_rng([seed, 3])
            labels += [p.taxon if rng.random() < share_of(p, setting) else p.other for p in profiles]
            # Of some cohorts the sexes are not known.
            sex = setting.sex if number % 3 else None
            table, p = self._described(rounded(np.stack(values)), setting.ages, sex)
            tables.append(table)
            probabilities.append(p)
        statistics, p = pd.concat(tables), pd.concat(probabilities)
        self.trees = [
            HistGradientBoostingClassifier(**settings, random_state=1).fit(x, labels)
            for x in (self._numbers(statistics), self._with(statistics, p))
        ]

    def _described(self, values, ages, sex):
        statistics = compute(values, ages, sex)
        statistics.insert(0, "cpg", [str(index) for index in range(len(values))])
        return statistics, predicted(values, ages, self.predictor)

    def _numbers(self, statistics):
        numbers = statistics.drop(columns="cpg").to_numpy(dtype=float)
        return np.where(np.abs(numbers) < 1e30, numbers, np.nan)

    def _with(self, statistics, predictions):
        p = np.log(np.clip(predictions[list(PROBABILITY_COLUMNS)].to_numpy(dtype=float), 1e-6, 1))
        return np.column_stack([self._numbers(statistics), p])

    def __call__(self, values, ages, sex, seed) -> dict[str, np.ndarray]:
        """The taxa (k,) of CpGs (k, n) by each way; Unclassified where it gives none."""
        statistics, predictions = self._described(values, ages, sex)
        found = {TESTS: define_taxa(statistics, **RULES)["taxon"].to_numpy(dtype=object)}
        found[TREES] = self.trees[0].predict(self._numbers(statistics))
        p = predictions[list(PROBABILITY_COLUMNS)].to_numpy()
        found[NETWORK] = np.array(TAXA, dtype=object)[p.argmax(axis=1)]
        found[BOTH] = self.trees[1].predict(self._with(statistics, predictions))
        rows = np.flatnonzero(found[TESTS] == UNCLASSIFIED)
        calls = calls_on(predictions.iloc[rows], statistics.iloc[rows])
        known = calibration(ages, self.n_calibration, self.predictor, seed)
        taken, _ = placed(calls, *known, seed)
        found[WORKFLOW] = found[TESTS].copy()
        found[WORKFLOW][taken["cpg"].astype(int)] = taken["taxon"]
        by_trees = pd.DataFrame(self.trees[0].predict_proba(self._numbers(statistics)), columns=self.trees[0].classes_)
        for way, chances in ((ALL_BY_NETWORK, p), (ALL_BY_TREES, by_trees[list(TAXA)].to_numpy())):
            chosen = np.array(TAXA, dtype=object)[np.where(calls.ruled_out, -1, chances[rows]).argmax(axis=1)]
            found[way] = found[TESTS].copy()
            found[way][rows] = np.where(calls.contradicted, UNCLASSIFIED, chosen)
        for way, other in ((NETWORK_AGREES, NETWORK), (TREES_AGREE, TREES)):
            found[way] = np.where(found[TESTS] == found[other], found[TESTS], UNCLASSIFIED)
        return found


def scored(where, samples, found, admissible):
    """Rows: each way on simulated CpGs, of which `admissible` names the right taxa of each."""
    by_tests = found[TESTS] != UNCLASSIFIED
    for way in WAYS:
        taxon = found[way]
        some = taxon != UNCLASSIFIED
        right = np.array([called in taxa for called, taxa in zip(taxon, admissible, strict=True)])
        row = {"where": where, "samples": samples, "cpgs": len(taxon), "way": way, "placed": some.mean()}
        parts = {"precision": some, "precision_where_tests": some & by_tests, "precision_where_open": some & ~by_tests}
        yield row | {name: right[part].mean() if part.any() else np.nan for name, part in parts.items()}


def simulated(ways, sizes, seeds, cpgs):
    """Rows of simulated cohorts, all seeds of a size together."""
    for samples in sizes:
        parts, admissible = [], []
        for seed in seeds:
            setting = simulate.cohort_setting(seed, samples)
            plan = simulate.plan_cohort(seed, cpgs, BOUNDARY)
            profiles, values = zip(*(simulate.draw_cpg(seed, k, plan[k], setting) for k in range(cpgs)), strict=True)
            admissible += [profile.admissible(setting) for profile in profiles]
            parts.append(ways(rounded(np.stack(values)), setting.ages, setting.sex, seed))
        found = {way: np.concatenate([part[way] for part in parts]) for way in WAYS}
        yield from scored("simulated cohorts", samples, found, admissible)


def foreign(ways, per_taxon):
    """Rows of the foreign simulations."""
    for kind in KINDS:
        setting, values, labels = drawn(kind, 1001, per_taxon)
        found = ways(rounded(values), setting.ages, setting.sex, 1001)
        yield from scored(kind, setting.n, found, [(label,) for label in labels])


def real(ways, name, splits):
    """Rows of a real cohort: halves, and ages dealt out at random."""
    cohort = load(name)
    sex = None if cohort.sex is None else np.where(cohort.sex == "F", 1, 0)

    def taxa(samples, ages, seed):
        part = np.ascontiguousarray(cohort.beta[:, samples])
        return ways(part, ages[samples], None if sex is None else sex[samples], seed)

    pairs = [[taxa(half, cohort.ages, seed) for half in halves(cohort.ages, seed)] for seed in range(1, splits + 1)]
    everyone = np.arange(len(cohort.ages))
    shuffled = [taxa(everyone, np.random.default_rng(seed).permutation(cohort.ages), seed) for seed in (1, 2)]
    for way in WAYS:
        row = {"where": f"{name}, halves", "samples": len(cohort.ages) // 2, "cpgs": len(cohort.cpgs), "way": way}
        some = [[half[way] != UNCLASSIFIED for half in pair] for pair in pairs]
        equal = [(one[way] == two[way]) & known[0] for (one, two), known in zip(pairs, some, strict=True)]
        row |= {"placed": np.mean(some), "equal_of_all": np.mean(equal)}
        yield row | {"equal_of_placed": np.sum(equal) / max(np.sum([one & two for one, two in some]), 1)}
    for way in WAYS:
        row = {"where": f"{name}, ages permuted", "samples": len(cohort.ages), "cpgs": len(cohort.cpgs), "way": way}
        row["placed"] = np.mean([one[way] != UNCLASSIFIED for one in shuffled])
        yield row | {"with_age": np.mean([np.isin(one[way], WITH_AGE) for one in shuffled])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="*", default=[300, 656, 1500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cpgs", type=int, default=3000)
    parser.add_argument("--per-taxon", type=int, default=100, help="clear CpGs of each foreign kind; 0: none")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--skip-real", action="store_true")
    arguments = network_arguments(parser)
    begun, rows = time.monotonic(), []
    ways = Ways(arguments.weights, arguments.calibration)
    parts = [simulated(ways, arguments.samples, arguments.seeds, arguments.cpgs)]
    if arguments.per_taxon:
        parts.append(foreign(ways, arguments.per_taxon))
    if DATA.is_dir() and not arguments.skip_real:
        parts += [real(ways, name, arguments.splits) for name in REAL]
    for part in parts:
        for row in part:
            rows.append(row)
            if row["way"] == WAYS[-1]:
                print(f"{row['where']}, {row['samples']} samples: {time.monotonic() - begun:.0f} s", file=sys.stderr)
                if arguments.out:
                    pd.DataFrame(rows).round(4).to_csv(arguments.out, index=False)
    print(pd.DataFrame(rows).round(3).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    main()

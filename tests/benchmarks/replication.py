"""The column `replication` of results/patterns.parquet against what another cohort says.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 .venv/bin/python tests/benchmarks/replication.py [--out F.csv]

Of each pair of cohorts each promises what the other then says: promised and seen are means over the CpGs that get a
taxon from the tests. *Halves*: real cohorts (those of `real_cohorts.py`) are halved five times. *Women, men*: the sexes
are two cohorts; the promise is for as many people as the other has. Cohorts of fewer than 30 people are left out.
*Simulated*: 20 populations of 120 to 2,400 people, halved; 400 CpGs each. Gap: promised less seen. By chance promised:
all pairs together, in bins. Interval: shares of 200 simulated CpGs whose true chance, from 40 more cohorts of 300
people, lies in the 95 % interval; where it is counted with an error of a few points, so much is allowed. Speed:
processor time of one thread.
"""

import argparse
import time

import numpy as np
import pandas as pd
import real_cohorts as real
from benchmarking import HERE
from cpgtaxa.names import TAXA, UNCLASSIFIED
from cpgtaxa.patterns import replication as again
from cpgtaxa.simulation import simulate
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.criteria import MIN_SAMPLES, Answers
from several_cohorts import draw_in_cohorts

REAL = ("random500", "gse40279", "brain", "gse42861", "GSE111629", "GSE61496", "GSE97362")
PAIRS, CPGS = 20, 400
COHORTS, PEOPLE, WATCHED = 40, 300, 200
BINS = (0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
ARRAY = 811_870


def known(beta, ages, sexes):
    """What the tests know of CpGs."""
    return again.known(Answers(compute(np.ascontiguousarray(beta), ages, sexes), *real.RULES.values()))


def promise(beta, ages, sexes, people=None):
    """What a cohort knows of its CpGs, and what it promises of another one (of so many people)."""
    table = known(beta, ages, sexes)
    taxon = table["taxon"].to_numpy(int)
    taxa = pd.DataFrame({"taxon": np.array([*TAXA, UNCLASSIFIED], dtype=object)[taxon], "network_p": np.nan})
    taxa["source"] = np.where(taxon < 0, "none", "statistical")
    run = {"seed": 1, "scales": {}, "people": people} | real.RULES
    return table, again.replication(table, taxa, lambda rows: beta[rows], ages, sexes, **run)


def pairs_of(beta, ages, sexes, halves, by_sex=False):
    """One frame promised, seen, n for each of two cohorts that the samples are parted into."""
    halves = [np.sort(half) for half in halves]
    if min(map(len, halves)) < MIN_SAMPLES:
        return
    found = []
    for half, other in (halves, halves[::-1]):
        mine = None if sexes is None or by_sex else sexes[half]
        people = len(other) if by_sex else None
        found.append(promise(np.ascontiguousarray(beta[:, half]), ages[half], mine, people))
    for (table, stated), (others, _) in (found, found[::-1]):
        taxon = table["taxon"].to_numpy()
        seen = pd.DataFrame({"promised": stated["replication"], "seen": taxon == others["taxon"].to_numpy()})
        yield seen.assign(n=table["n"].max(), taxon=taxon)[taxon >= 0]


def real_pairs(name):
    """Frames of pairs of a real cohort, with their kind."""
    cohort = real.load(name)
    sexes = None if cohort.sex is None else np.where(cohort.sex == "F", 1, 0)
    for seed in real.SPLITS:
        for frame in pairs_of(cohort.beta, cohort.ages, sexes, real.halves(cohort.ages, seed)):
            yield frame.assign(kind="halves", cohort=name)
    if sexes is not None:
        parts = [np.flatnonzero(sexes == sex) for sex in (1, 0)]
        for frame in pairs_of(cohort.beta, cohort.ages, sexes, parts, by_sex=True):
            yield frame.assign(kind="women, men", cohort=name)


def simulated_pairs(pair):
    """Frames of a simulated pair."""
    rng = np.random.default_rng([5, pair])
    n = int(np.exp(rng.uniform(np.log(60), np.log(1200))))
    ages = simulate.draw_ages(rng, 2 * n)
    setting = simulate.make_setting(ages, np.random.default_rng([1, pair]))
    plan = simulate.plan_cohort(pair, CPGS, 0.4)
    beta = np.stack([simulate.draw_cpg(1000 + pair, i, taxon, setting)[1] for i, taxon in enumerate(plan)])
    for frame in pairs_of(beta, ages, setting.sex, again.halves(ages, rng)):
        yield frame.assign(kind="simulated", cohort=f"pair {pair + 1}")


def summed(frame, kind, cohort) -> dict:
    """A row of figures."""
    row = {"kind": kind, "cohort": cohort, "people": round(frame["n"].mean()), "cpgs": len(frame)}
    promised, seen = frame["promised"].mean(), frame["seen"].mean()
    return row | {"promised": promised, "seen": seen, "gap": promised - seen}


def held():
    """Row: share of simulated CpGs whose true chance lies in the interval."""
    ages = np.random.default_rng(8).uniform(20, 85, PEOPLE)
    settings = [simulate.make_setting(ages, np.random.default_rng([9, number])) for number in range(COHORTS + 1)]
    plan = simulate.plan_cohort(8, WATCHED, 0.4)
    beta = np.stack([draw_in_cohorts(8, i, taxon, settings)[1] for i, taxon in enumerate(plan)], axis=1)
    table, stated = promise(beta[0], ages, settings[0].sex)
    taxon = table["taxon"].to_numpy()
    others = [
        known(*each, setting.sex)["taxon"].to_numpy()
        for each, setting in zip(((values, ages) for values in beta[1:]), settings[1:], strict=True)
    ]
    true = np.mean([taxon == other for other in others], axis=0)
    error = 2 * np.sqrt(np.maximum(true * (1 - true), 0.02) / COHORTS)
    inside = (stated["replication_low"] - error <= true) & (true <= stated["replication_high"] + error)
    frame = pd.DataFrame({"promised": stated["replication"], "seen": inside, "n": PEOPLE})[taxon >= 0]
    row = summed(frame, "true chance in the interval", f"{COHORTS} cohorts")
    return row | {"promised": 0.95, "gap": 0.95 - row["seen"]}


def speed():
    """Rows: seconds for the halves of 2,000 CpGs, and for an array."""
    cohort = real.load("random500")
    sexes, beta = np.where(cohort.sex == "F", 1, 0), np.tile(cohort.beta, (again.HALVED // 500, 1))
    begin = time.process_time()
    again.seen_in_halves(beta, cohort.ages, sexes, 1, {}, **real.RULES)
    halves = time.process_time() - begin
    table = pd.concat([known(cohort.beta, cohort.ages, sexes)] * 80, ignore_index=True)
    model, begin = again.Model.of(table[:2000], **real.RULES), time.process_time()
    again.promised(table, table["taxon"].to_numpy(int), model)
    each = (time.process_time() - begin) / len(table)
    for name, cpgs, seconds in (("halves, seconds", len(beta), halves), ("an array, seconds", ARRAY, each * ARRAY)):
        yield {"kind": "speed", "cohort": name, "people": len(cohort.ages), "cpgs": cpgs, "promised": seconds}


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=HERE / "replication.csv")
    frames = [frame for name in REAL for frame in real_pairs(name)]
    frames += [frame for pair in range(PAIRS) for frame in simulated_pairs(pair)]
    found = pd.concat(frames, ignore_index=True)
    rows = [summed(part, *key) for key, part in found.groupby(["kind", "cohort"], sort=False)]
    rows += [summed(part, kind, "all") for kind, part in found.groupby("kind", sort=False)]
    bins = pd.cut(found["promised"], BINS)
    for (kind, chance), part in found.groupby(
        [found["kind"].where(found["kind"] == "simulated", "real"), bins], observed=True
    ):
        rows.append(summed(part, f"{kind}, by chance promised", f"{chance.left:g} to {chance.right:g}"))
    rows += [held(), *speed()]
    table = pd.DataFrame(rows)
    print(table.round(3).to_string())
    table.round(4).to_csv(parser.parse_args().out, index=False)


if __name__ == "__main__":
    main()

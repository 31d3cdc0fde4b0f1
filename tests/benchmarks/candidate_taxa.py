"""Is an eleventh pattern found? One is planted among the Unclassified of simulated cohorts, and one in none.

    .venv/bin/python tests/benchmarks/candidate_taxa.py [--samples 300 656] [--seeds 11 12 13] [--out FILE.csv]

The shipped network looks at cohorts labelled by the tests, and places what these leave open where it is at 0.95 or
more. The planted CpGs are Unclassified whatever tests and network say (`left` is the share of them that would be). The
thresholds of `cpgtaxa.embedding.clusters` were chosen on seeds 1 to 3.
"""

import argparse
import pathlib
import sys

import numpy as np
import pandas as pd
from benchmarking import RULES, read_network
from cpgtaxa.embedding.embed import boundary_cpgs, outputs_of, separate
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.names import TAXA, UNCLASSIFIED
from cpgtaxa.simulation import simulate
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa, ruled_out
from sklearn.metrics import adjusted_rand_score


def late_bands(rng, setting):
    """One band up to 60 years, two after."""
    up, gap = rng.choice([-1, 1]), rng.uniform(0.2, 0.4)
    base = rng.uniform(0.15, 0.4) if up > 0 else rng.uniform(0.6, 0.85)
    leaves = (setting.ages > 60) & (rng.random(setting.n) < rng.uniform(0.4, 0.6))
    return base + up * gap * leaves + rng.normal(0, rng.uniform(0.012, 0.025), setting.n)


def four_bands(rng, setting):
    """Four bands, as of two SNPs."""
    levels = np.array([0.1, 0.36, 0.63, 0.9]) + rng.normal(0, 0.02, 4)
    band = rng.choice(4, setting.n, p=rng.dirichlet([8] * 4))
    return levels[band] + rng.normal(0, rng.uniform(0.012, 0.025), setting.n)


def u_shape(rng, setting):
    """Highest, or lowest, in mid-life."""
    bend = rng.uniform(0.5, 1.1) * rng.choice([-1, 1])
    base = rng.uniform(0.2, 0.55) if bend > 0 else rng.uniform(0.45, 0.8)
    return base + bend * setting.position**2 + rng.normal(0, rng.uniform(0.012, 0.03), setting.n)


CONFIDENCE = 0.95
PLANTS = {"late bands": late_bands, "four bands": four_bands, "U-shape": u_shape}


def draw_cohort(samples, seed, cpgs, boundary_share, planted):
    """Values (k, n) float32, the setting, and what each CpG is: a taxon, Unclassified, or a plant's name."""
    setting = simulate.cohort_setting(seed, samples)
    plan = simulate.plan_cohort(seed, cpgs, boundary_share)
    values = [simulate.draw_cpg(seed, index, taxon, setting)[1] for index, taxon in enumerate(plan)]
    truth = [taxon or UNCLASSIFIED for taxon in plan]
    for number, (name, plant) in enumerate(PLANTS.items()):
        for index in range(planted):
            drawn = plant(np.random.default_rng([seed, 43, number, index]), setting)
            values.append(np.clip(drawn, 0.001, 0.999).astype(np.float32))
            truth.append(name)
    return np.round(np.stack(values).astype(np.float64), 5).astype(np.float32), setting, np.array(truth, dtype=object)


def placed(values, ages, probabilities):
    """Taxa after the tests and one round of a network with these calibrated probabilities."""
    statistics = compute(values, ages)
    statistics.insert(0, "cpg", [str(index) for index in range(len(values))])
    taxon = define_taxa(statistics, **RULES)["taxon"].to_numpy(dtype=object)
    allowed = np.where(ruled_out(statistics, **RULES), 0, probabilities)
    sure = (taxon == UNCLASSIFIED) & (allowed.max(axis=1) >= CONFIDENCE)
    return np.where(sure, np.array(TAXA, dtype=object)[allowed.argmax(axis=1)], taxon)


def cohort_rows(predictor, samples, seed, arguments):
    """One row without a plant, and one per plant and number of planted CpGs."""
    most = max(arguments.planted)
    values, setting, truth = draw_cohort(samples, seed, arguments.cpgs, arguments.boundary_share, most)
    logits, features = outputs_of(predictor, values, setting.ages)
    p = softmax(logits, predictor.temperature)
    taxon = placed(values, setting.ages, p)
    names, boundary = boundary_cpgs(setting.ages, seed)
    boundary = outputs_of(predictor, boundary, setting.ages)[1]
    own = ~np.isin(truth, list(PLANTS))
    for plant, number in [("none", 0), *((plant, n) for plant in PLANTS for n in arguments.planted)]:
        mine = truth == plant
        mine &= np.cumsum(mine) <= number
        use = own | mine
        given = np.where(mine, UNCLASSIFIED, taxon)[use]
        _, described, cluster, _ = separate(features[use], boundary, names, given, p[use], seed)
        mine, taxon_now = mine[use], taxon[use]
        candidates = [entry["cluster"] for entry in described if entry["candidate"]]
        holds = {number: mine[cluster == number].sum() for number in range(1, len(described) + 1)}
        row = {"samples": samples, "seed": seed, "planted": plant, "n": number}
        row |= {"unclassified": int((given == UNCLASSIFIED).sum()), "clusters": len(described)}
        row["false_candidates"] = sum(holds[number] < (cluster == number).sum() / 2 for number in candidates)
        if plant != "none":
            right = [number for number in candidates if holds[number] >= (cluster == number).sum() / 2]
            called, left = np.isin(cluster, right), given == UNCLASSIFIED
            # Below the samples that `clusters` asks for there is no cluster at all.
            nothing = {"stability": np.nan, "isolation": np.nan, "name": "", "nearest_known": ""}
            main = described[max(holds, key=holds.get) - 1] if holds else nothing
            row |= {"found": bool(right), "recall": (called & mine).sum() / mine.sum()}
            row["purity"] = (called & mine).sum() / called.sum() if right else np.nan
            row["ari"] = adjusted_rand_score(mine[left], called[left])
            row |= {"stability": main["stability"], "isolation": main["isolation"], "main_cluster": main["name"]}
            row |= {"nearest_known": main["nearest_known"], "left": (taxon_now[mine] == UNCLASSIFIED).mean()}
        else:
            row["isolation"] = max((entry["isolation"] for entry in described), default=np.nan)
        yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[300, 656, 1500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--cpgs", type=int, default=3000)
    parser.add_argument("--boundary-share", type=float, default=0.3, help="share of boundary CpGs in the cohort")
    parser.add_argument("--planted", type=int, nargs="+", default=[40, 100])
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    predictor = read_network()
    rows = []
    for samples in arguments.samples:
        for seed in arguments.seeds:
            rows += cohort_rows(predictor, samples, seed, arguments)
            print(f"{samples} samples, seed {seed}: done", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    columns = ["unclassified", "clusters", "found", "recall", "purity", "ari", "stability", "isolation", "left"]
    table[columns] = table[columns].astype(float)
    means = table.groupby(["planted", "n", "samples"], sort=False)[columns].mean().round(2)
    means["false_candidates"] = table.groupby(["planted", "n", "samples"], sort=False)["false_candidates"].sum()
    print(means.to_string(na_rep=""))
    if arguments.out:
        table.round(4).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

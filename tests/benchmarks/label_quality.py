"""Are the taxa that the tests give right? On simulated cohorts, whose admissible taxa are known; nothing is trained.

    .venv/bin/python tests/benchmarks/label_quality.py [--samples 300 656 1500 3500] [--seeds 1 2 3] [--out FILE.csv]

A label is right if it is admissible for the CpG's true parameters: one taxon for a clear CpG, two for one in the zone
of a criterion. Rows: by cohort size, seed and taxon (precision: of the CpGs given the taxon; recall: of the clear CpGs
of it), by boundary criterion, and for all.
"""

import argparse
import pathlib

import numpy as np
import pandas as pd
from benchmarking import RULES
from cpgtaxa.names import TAXA, UNCLASSIFIED
from cpgtaxa.simulation import simulate
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa

BOUNDARY = 0.3


def scored(samples, seed, cpgs):
    """One row per CpG of one cohort, drawn as the demo draws its own: taxon, admissible, kind, called, right, clear."""
    setting = simulate.cohort_setting(seed, samples)
    plan = simulate.plan_cohort(seed, cpgs, BOUNDARY)
    drawn = [simulate.draw_cpg(seed, index, taxon, setting) for index, taxon in enumerate(plan)]
    values = np.round(np.stack([values for _, values in drawn]).astype(np.float64), 5).astype(np.float32)
    statistics = compute(values, setting.ages, setting.sex)
    statistics.insert(0, "cpg", [str(index) for index in range(cpgs)])
    labels = define_taxa(statistics, **RULES)
    admissible = [profile.admissible(setting) for profile, _ in drawn]
    return pd.DataFrame(
        {
            "taxon": [profile.taxon for profile, _ in drawn],
            "kind": [profile.kind for profile, _ in drawn],
            "admissible": ["|".join(taxa) for taxa in admissible],
            "called": labels["taxon"],
            "reason": labels["reason"],
            "boundary": labels["boundary"],
            "right": [called in taxa for called, taxa in zip(labels["taxon"], admissible, strict=True)],
        }
    )


def rows(table):
    """Figures of one cohort."""
    placed = table["called"] != UNCLASSIFIED
    clear = table["kind"] == ""
    for taxon in TAXA:
        called, own = table["called"] == taxon, clear & (table["taxon"] == taxon)
        yield f"precision of {taxon}", table["right"][called].mean(), int(called.sum())
        yield f"recall of {taxon}", (table["called"] == taxon)[own].mean(), int(own.sum())
    for kind in sorted(set(table["kind"]) - {""}):
        mine = table["kind"] == kind
        yield f"placed, boundary {kind}", placed[mine].mean(), int(mine.sum())
        yield f"precision, boundary {kind}", table["right"][mine & placed].mean(), int((mine & placed).sum())
    yield "placed, clear", placed[clear].mean(), int(clear.sum())
    yield "precision, clear", table["right"][clear & placed].mean(), int((clear & placed).sum())
    yield "placed", placed.mean(), len(table)
    yield "precision", table["right"][placed].mean(), int(placed.sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[300, 656, 1500, 3500])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cpgs", type=int, default=3000)
    parser.add_argument("--wrong", type=int, default=0, help="print so many wrong labels of each cohort")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    found = []
    for samples in arguments.samples:
        for seed in arguments.seeds:
            table = scored(samples, seed, arguments.cpgs)
            found += [(samples, seed, *row) for row in rows(table)]
            if arguments.wrong:
                wrong = table[~table["right"] & (table["called"] != UNCLASSIFIED)]
                kinds = wrong[["admissible", "kind", "called"]].value_counts().head(arguments.wrong)
                print(f"{samples} samples, seed {seed}: wrong", kinds.to_string(), sep="\n")
    table = pd.DataFrame(found, columns=["samples", "seed", "figure", "value", "n"])
    figures = table.groupby(["figure", "samples"], sort=False)["value"].agg(["mean", "min"])
    print(figures.unstack("samples").round(4).to_string(na_rep=""))
    if arguments.out:
        table.round(4).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

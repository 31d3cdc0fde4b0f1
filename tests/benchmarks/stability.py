"""Does the taxonomy hold where nobody simulated it? Halves of a real cohort, ages at random, and rules against network.

    .venv/bin/python tests/benchmarks/stability.py --work FOLDER [--cohorts gse40279 gse42861 simulated] [--out F.csv]

Every row is a whole Snakemake run (rules, the shipped network without training, one round) in a folder of its own: the
cohort as it is; each half of its samples, drawn at random within age order, so that one replicates the other; and the
whole with ages dealt out at random, where age taxa must vanish. The real cohorts (../shared/data) share no CpGs, so
that a second cohort replicates the first in simulation only: 2,000 CpGs, three in ten of them half-way sites, on 500
people and on 300 others, with batches and hidden factors of their own. Prints CpGs placed, CpGs in age taxa, how often
the network's first taxon is the rules' on the CpGs that the rules place, and for pairs of runs the agreement of taxa on
the CpGs that both place (share and Cohen's kappa) and the share that both place.
"""

import argparse
import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import yaml
from sklearn.metrics import cohen_kappa_score

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa import simulate  # noqa: E402
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED  # noqa: E402
from cpgtaxa.training_images import plan  # noqa: E402

AGE_TAXA = ("LinAgeHomo", "LinAgeHet", "TriAge", "BiAge")
RUNS = ("whole", "half A", "half B", "ages permuted")
PAIRS = (("half A", "half B"), ("whole", "half A"), ("whole", "half B"))
COHORTS = {"first cohort": 500, "second cohort": 300}


def write_sheet(path, config, run, seed):
    """The cohort's sample sheet with the samples and ages of a run."""
    columns = config["cohort"]["columns"]
    sheet = pd.read_csv(config["cohort"]["samples"])
    rng = np.random.default_rng(seed)
    if run.startswith("half"):
        # Neighbours in age go to different halves, which therefore have the same ages.
        order = sheet.sample(frac=1, random_state=seed).sort_values(columns["age"], kind="stable").index.to_numpy()
        coin = rng.random(len(order) // 2 + 1) < 0.5
        first = np.where(np.arange(len(order)) % 2 == 0, coin[np.arange(len(order)) // 2], 0)
        second = np.where(np.arange(len(order)) % 2 == 1, ~coin[np.arange(len(order)) // 2], 0)
        in_a = (first + second).astype(bool)
        sheet = sheet.loc[order[in_a if run == "half A" else ~in_a]]
    elif run == "ages permuted":
        sheet[columns["age"]] = rng.permutation(sheet[columns["age"]].to_numpy())
    sheet.to_csv(path, index=False)


def simulated_cohort(folder, run, seed):
    """Files of one of two cohorts with the same CpGs, and their configuration."""
    first = simulate.cohort_setting(seed, COHORTS["first cohort"])
    setting = first if run == "first cohort" else simulate.cohort_setting(seed + 1, COHORTS[run])
    drawn = [simulate.draw_cpg(seed, index, taxon, first)[0] for index, taxon in enumerate(plan(seed, 140, 600))]
    people = np.random.default_rng([seed, list(COHORTS).index(run)])
    values = np.stack([simulate.draw_values(people, profile, setting) for profile in drawn])
    samples = [f"s{index}" for index in range(setting.n)]
    index = pd.Index([f"cg{index:05d}" for index in range(len(values))], name="cpg")
    pd.DataFrame(values, index, samples).round(5).to_csv(folder / "beta.csv")
    pd.DataFrame({"sample_id": samples, "age": setting.ages}).to_csv(folder / "samples.csv", index=False)
    return {"cohort": {"beta": str(folder / "beta.csv"), "samples": str(folder / "samples.csv")}}


def taxonomy(name, run, seed, work, cores):
    """The taxonomy of one run, made if it is not there, and the labels of the rules."""
    folder = work.resolve() / f"{name}_{run.replace(' ', '_')}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if name == "simulated":
        config = simulated_cohort(folder, run, seed)
    else:
        config = yaml.safe_load((ROOT / f"config/examples/{name}.yaml").read_text())
        for key in ("beta", "samples"):
            config["cohort"][key] = str((ROOT / config["cohort"][key]).resolve())
        write_sheet(folder / "samples.csv", config, run, seed)
        config["cohort"] |= {"samples": str(folder / "samples.csv"), "unmatched": "drop", "bad_cpgs": "drop"}
    config["training"] = {"weights": "reference"}
    config["rounds"] = {"max": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "results/taxonomy.parquet", "--cores", str(cores)]
    command += ["--directory", folder, "--snakefile", ROOT / "workflow/Snakefile"]
    with open(folder / "run.log", "w") as log:
        subprocess.run([*command, "--configfile", folder / "config.yaml"], cwd=ROOT, check=True, stdout=log, stderr=log)
    table = pd.read_parquet(folder / "results/taxonomy.parquet").set_index("cpg")
    return table, pd.read_parquet(folder / "results/taxa/statistical.parquet").set_index("cpg")["taxon"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--cohorts", nargs="+", default=["gse40279", "gse42861", "simulated"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.cohorts:
        runs, pairs = (RUNS, PAIRS) if name != "simulated" else (tuple(COHORTS), (tuple(COHORTS),))
        found = {run: taxonomy(name, run, arguments.seed, arguments.work, arguments.cores) for run in runs}
        for run, (table, labels) in found.items():
            clear = labels[labels != UNCLASSIFIED]
            first = np.array(TAXA)[table.loc[clear.index, list(PROBABILITY_COLUMNS)].to_numpy().argmax(axis=1)]
            row = {"cohort": name, "run": run, "cpgs": len(table)}
            row |= {"by_rules": len(clear), "placed": int((table["taxon"] != UNCLASSIFIED).sum())}
            row |= {"age_taxa": int(table["taxon"].isin(AGE_TAXA).sum()), "network_as_rules": np.mean(first == clear)}
            rows.append(row)
        for one, other in pairs:
            both = found[one][0].add_suffix("_1").join(found[other][0].add_suffix("_2"), how="inner")
            placed = both[(both["taxon_1"] != UNCLASSIFIED) & (both["taxon_2"] != UNCLASSIFIED)]
            row = {"cohort": name, "run": f"{one} / {other}", "cpgs": len(both), "placed": len(placed)}
            row["agreement"] = (placed["taxon_1"] == placed["taxon_2"]).mean()
            row["kappa"] = cohen_kappa_score(placed["taxon_1"], placed["taxon_2"])
            rows.append(row)
    table = pd.DataFrame(rows).round(4)
    print(table.to_string(index=False))
    if arguments.out:
        table.to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

"""Foreign patterns and bad data: are they said to be unlike anything seen, and are they kept out of the taxa?

    .venv/bin/python tests/benchmarks/unlike.py [--samples 200 400 800] [--seeds 1 2] [--cpgs 100] [--out FILE.csv]

Simulated cohorts of 1,500 CpGs, in which CpGs of eleven foreign kinds are planted. The steps are those of the workflow
without training (`training.weights: reference`): rules, the shipped network, calibration CpGs, placing with the default
settings. Per kind, over the cohorts: the share that the rules label, that the network then places, and that stays as
unlike, contradicted or ambiguous; the last row is the cohorts' own half-way sites, of which one in a hundred should be
called unlike.
"""

import argparse
import logging
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa import likeness, placement, simulate  # noqa: E402
from cpgtaxa.calibration import softmax  # noqa: E402
from cpgtaxa.calibration_cpgs import HALF_WAY, STREAM  # noqa: E402
from cpgtaxa.names import PROBABILITY_COLUMNS, UNCLASSIFIED  # noqa: E402
from cpgtaxa.render import planes, render  # noqa: E402
from cpgtaxa.statistics import compute  # noqa: E402
from cpgtaxa.taxa import define_taxa, ruled_out  # noqa: E402
from cpgtaxa.training import load_predictor  # noqa: E402


def noise(rng, x):
    return rng.normal(0, rng.uniform(0.01, 0.04), len(x))


def step(rng, x):
    return rng.uniform(0.2, 0.4) + rng.uniform(0.2, 0.4) * (x > rng.uniform(0.3, 0.7)) + noise(rng, x)


def wave(rng, x):
    return 0.5 + rng.uniform(0.15, 0.3) * np.sin(rng.uniform(6, 13) * x + rng.uniform(0, 6)) + noise(rng, x)


def u_shape(rng, x):
    return 0.5 + rng.uniform(1.2, 2) * (x - 0.5) ** 2 * rng.choice([-1, 1]) + noise(rng, x)


def four_bands(rng, x):
    return np.array([0.1, 0.37, 0.63, 0.9])[rng.integers(0, 4, len(x))] + noise(rng, x)


def late_bands(rng, x):
    return rng.uniform(0.2, 0.4) + rng.uniform(0.2, 0.4) * (x > 0.6) * rng.integers(0, 2, len(x)) + noise(rng, x)


def spread_in_mid_life(rng, x):
    return 0.5 + rng.normal(0, 0.01 + rng.uniform(0.08, 0.15) * np.exp(-(((x - 0.5) / 0.15) ** 2)))


def uniform(rng, x):
    return rng.uniform(0, 1, len(x))


def rounded(rng, x):
    return np.round(rng.uniform(0.2, 0.8) + rng.normal(0, 0.12, len(x)), 1)


def some_at_zero(rng, x):
    return np.where(rng.random(len(x)) < rng.uniform(0.05, 0.3), 0.0005, rng.uniform(0.3, 0.6) + 2 * noise(rng, x))


def two_batches(rng, x):
    """The second half of the sheet was shifted and widened."""
    late = np.arange(len(x)) >= len(x) / 2
    return rng.uniform(0.3, 0.5) + late * rng.uniform(0.05, 0.1) + noise(rng, x) * np.where(late, 2, 1)


def saturated(rng, x):
    return np.minimum(rng.uniform(0.4, 0.6) + rng.normal(0, rng.uniform(0.05, 0.1), len(x)), 0.55)


KINDS = {
    "step at an age": step,
    "wave": wave,
    "U-shape": u_shape,
    "four bands": four_bands,
    "two bands late in life": late_bands,
    "wide in mid-life only": spread_in_mid_life,
    "uniform noise": uniform,
    "rounded to tenths": rounded,
    "some samples at zero": some_at_zero,
    "two batches": two_batches,
    "cut off at a value": saturated,
}
HALF_WAY_SITE = "the cohort's half-way sites"
SETTINGS = {"error_rate": 0.05, "confidence": None, "unlike": 0.01, "veto": True}


def described(values, ages, predictor, thresholds, n_cpgs):
    """The rules' labels of (k, n) values, and for those they leave: their rows and the network's calls."""
    values = np.round(values.astype(float), 5).astype(np.float32)
    statistics = compute(values, ages)
    statistics.insert(0, "cpg", [str(index) for index in range(len(values))])
    labels = define_taxa(statistics, thresholds, n_cpgs)["taxon"].to_numpy(dtype=object)
    rows = np.flatnonzero(labels == UNCLASSIFIED)
    parts = [predictor.outputs(planes(render(values[some], ages), predictor.size)) for some in np.array_split(rows, 20)]
    logits, features = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    table = pd.DataFrame(softmax(logits, predictor.temperature), columns=list(PROBABILITY_COLUMNS))
    table.insert(0, "cpg", statistics["cpg"].to_numpy()[rows])
    table["distance"] = likeness.distances(features, predictor.kept)
    left = statistics.iloc[rows].reset_index(drop=True)
    out = ruled_out(left, thresholds, n_cpgs)
    return labels, rows, placement.Calls(table, left.drop(columns="cpg"), out)


def cohort(seed, samples, n_planted, predictor, thresholds, calibration):
    """One row per CpG of the planted kinds and half-way sites: kind, and what became of it."""
    setting = simulate.cohort_setting(seed, samples)
    x = (setting.ages - setting.ages.min()) / np.ptp(setting.ages)
    values, kinds = [], []
    for index, taxon in enumerate(simulate.plan_cohort(seed, 1500, 0.15)):
        values.append(simulate.draw_cpg(seed, index, taxon, setting)[1])
        kinds.append(HALF_WAY_SITE if taxon is None else "")
    for number, (kind, draw) in enumerate(KINDS.items()):
        for index in range(n_planted):
            values.append(np.clip(draw(np.random.default_rng([seed, number, index]), x), 0.0005, 0.9995))
            kinds.append(kind)
    n_cpgs = len(values)
    labels, _, calls = described(np.stack(values), setting.ages, predictor, thresholds, n_cpgs)
    like = simulate.make_setting(setting.ages, np.random.default_rng([seed + STREAM, 1]))
    wanted = simulate.plan_cohort(seed + STREAM, calibration, HALF_WAY)
    drawn = [simulate.draw_cpg(seed + STREAM, index, taxon, like) for index, taxon in enumerate(wanted)]
    truth = np.array([UNCLASSIFIED if one.kind else one.taxon for one, _ in drawn], dtype=object)
    known = described(np.stack([one for _, one in drawn]), like.ages, predictor, thresholds, n_cpgs)
    with tempfile.TemporaryDirectory() as folder:
        out = {key: pathlib.Path(folder) / key for key in ("reassigned", "left", "calibration", "counts")}
        placement.reassign(calls, known[2], truth[known[1]], settings=SETTINGS, round_number=0, seed=seed, out=out)
        left = pd.read_parquet(out["left"])
    fate = np.where(labels == UNCLASSIFIED, "placed", "by rules").astype(object)
    fate[left["cpg"].astype(int)] = left["reason"]
    return pd.DataFrame({"kind": kinds, "fate": fate})[np.array(kinds) != ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[200, 400, 800])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cpgs", type=int, default=100)
    parser.add_argument("--calibration", type=int, default=10000)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    thresholds = yaml.safe_load((ROOT / "config/config.yaml").read_text())["taxa"]["thresholds"]
    stem = "resources/reference/ResNet18_"
    files = ("best_model.pt.gz", "normalization_stat.json", "model.json", "features.npy")
    predictor = load_predictor(*(ROOT / f"{stem}{name}" for name in files), model_name="ResNet18", device="cpu")
    found = []
    for samples in arguments.samples:
        for seed in arguments.seeds:
            found.append(cohort(seed, samples, arguments.cpgs, predictor, thresholds, arguments.calibration))
            table = pd.concat(found)
            shares = pd.crosstab(table["kind"], table["fate"], normalize="index")
            shares = shares.reindex(index=[*KINDS, HALF_WAY_SITE])
            shares = shares.reindex(columns=["by rules", "placed", *placement.REASONS], fill_value=0.0).fillna(0)
            shares.insert(0, "cpgs", table["kind"].value_counts().reindex(shares.index))
            print(f"{samples} samples, seed {seed}", shares.round(3).to_string(), sep="\n", flush=True)
            if arguments.out:
                shares.round(4).to_csv(arguments.out)


if __name__ == "__main__":
    main()

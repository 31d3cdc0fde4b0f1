"""Foreign patterns and bad data: are they said to be unlike anything seen, and are they kept out of the taxa?

    .venv/bin/python tests/benchmarks/unlike.py [--samples 200 800] [--seeds 1 2] [--weights FOLDER] [--out FILE.csv]

Simulated cohorts of 1,500 CpGs, in which CpGs of eleven foreign kinds are planted. The steps are those of the workflow
without training (`training.weights: reference`): the tests, the shipped network on what they leave open, calibration
CpGs, placing with the default settings. Per kind, over the cohorts: the share that the tests label, that the network
then places, and that stays as ambiguous, contradicted (no taxon has the pattern, say the tests) or unlike; the last two
rows are the cohorts' own CpGs, of which at most one in a hundred should be called unlike.
"""

import argparse
import logging
import pathlib
import tempfile

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
from benchmarking import REFERENCE, RULES, read_network
from cpgtaxa.cohort import Cohort
from cpgtaxa.images.render import planes, render
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.names import PROBABILITY_COLUMNS, UNCLASSIFIED
from cpgtaxa.placement import novelty, selection
from cpgtaxa.simulation import simulate
from cpgtaxa.simulation.calibration_cpgs import simulate_calibration
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa, ruled_out


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
    "step at an age": step, "wave": wave, "U-shape": u_shape, "four bands": four_bands,
    "two bands late in life": late_bands, "wide in mid-life only": spread_in_mid_life, "uniform noise": uniform,
    "rounded to tenths": rounded, "some samples at zero": some_at_zero, "two batches": two_batches,
    "cut off at a value": saturated,
}  # fmt: skip
BOUNDARY, CLEAR = "the cohort's boundary CpGs", "the cohort's clear CpGs"
SETTINGS = {"error_rate": 0.05, "confidence": None, "unlike": 0.01}
BLOCK = 256


def network_arguments(parser):
    """The arguments, with those of every benchmark in which the network places; quiet from here on."""
    parser.add_argument("--calibration", type=int, default=10000)
    parser.add_argument("--weights", type=pathlib.Path, default=REFERENCE, help="the network's folder")
    parser.add_argument("--out", type=pathlib.Path)
    logging.disable(logging.WARNING)
    return parser.parse_args()


def predicted(values, ages, predictor):
    """Predictions of a network for (k, n) values: cpg ("0", "1", …), p_<taxon>, distance."""
    blocks = [values[start : start + BLOCK] for start in range(0, len(values), BLOCK)]
    parts = [predictor.outputs(planes(render(block, ages), predictor.size)) for block in blocks]
    logits, features = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    table = pd.DataFrame(softmax(logits, predictor.temperature), columns=list(PROBABILITY_COLUMNS))
    table.insert(0, "cpg", [str(index) for index in range(len(values))])
    table["distance"] = novelty.distances(features, predictor.kept)
    return table


def calls_on(predictions, statistics):
    """The network's calls on CpGs, given the rows of predictions and statistics."""
    predictions, statistics = (table.reset_index(drop=True) for table in (predictions, statistics))
    numbers = statistics.drop(columns=["cpg", "admissible"], errors="ignore").astype(float)
    return selection.Calls(predictions, numbers, ruled_out(statistics, **RULES))


def calibration(ages, cpgs, predictor, seed):
    """The network's calls on calibration CpGs for these ages, as the workflow draws them, and their admissible taxa."""
    with tempfile.TemporaryDirectory() as folder:
        out = {f"out_{key}": pathlib.Path(folder) / key for key in ("beta", "truth")}
        samples = [str(index) for index in range(len(ages))]
        simulate_calibration(samples, ages, seed=seed, cpgs=cpgs, by_rules=True, **RULES, **out)
        truth = pd.read_parquet(out["out_truth"])
        values = np.array(Cohort(out["out_beta"]).read(0, len(truth)))
    return calls_on(predicted(values, ages, predictor), truth), truth["admissible"].to_numpy(dtype=object)


def placed(calls, known, truth, seed):
    """Tables of the CpGs that the network places, and of those left, with the reason."""
    with tempfile.TemporaryDirectory() as folder:
        out = {key: pathlib.Path(folder) / key for key in ("reassigned", "left", "calibration", "counts")}
        selection.reassign(calls, known, truth, settings=SETTINGS, round_number=0, seed=seed, out=out)
        return pd.read_parquet(out["reassigned"]), pd.read_parquet(out["left"])


def cohort(seed, samples, n_planted, predictor, n_calibration):
    """One row per CpG of a cohort: its kind, and what became of it."""
    setting = simulate.cohort_setting(seed, samples)
    x = (setting.ages - setting.ages.min()) / np.ptp(setting.ages)
    values, kinds = [], []
    for index, taxon in enumerate(simulate.plan_cohort(seed, 1500, 0.15)):
        values.append(simulate.draw_cpg(seed, index, taxon, setting)[1])
        kinds.append(BOUNDARY if taxon is None else CLEAR)
    for number, (kind, draw) in enumerate(KINDS.items()):
        for index in range(n_planted):
            values.append(np.clip(draw(np.random.default_rng([seed, number, index]), x), 0.0005, 0.9995))
            kinds.append(kind)
    values = np.round(np.stack(values).astype(float), 5).astype(np.float32)
    statistics = compute(values, setting.ages)
    statistics.insert(0, "cpg", [str(index) for index in range(len(values))])
    by_tests = (define_taxa(statistics, **RULES)["taxon"] != UNCLASSIFIED).to_numpy()
    rows = np.flatnonzero(~by_tests)
    calls = calls_on(predicted(values[rows], setting.ages, predictor), statistics.iloc[rows])
    left = placed(calls, *calibration(setting.ages, n_calibration, predictor, seed), seed)[1]
    fate = np.where(by_tests, "by tests", "placed").astype(object)
    fate[rows[left["cpg"].astype(int)]] = left["reason"]
    return pd.DataFrame({"kind": kinds, "fate": fate})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[200, 400, 800])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cpgs", type=int, default=100)
    arguments = network_arguments(parser)
    predictor = read_network(arguments.weights)
    found = []
    for samples in arguments.samples:
        for seed in arguments.seeds:
            found.append(cohort(seed, samples, arguments.cpgs, predictor, arguments.calibration))
            table = pd.concat(found)
            shares = pd.crosstab(table["kind"], table["fate"], normalize="index")
            shares = shares.reindex(index=[*KINDS, BOUNDARY, CLEAR])
            shares = shares.reindex(columns=["by tests", "placed", *selection.REASONS], fill_value=0.0).fillna(0)
            shares.insert(0, "cpgs", table["kind"].value_counts().reindex(shares.index))
            print(f"{samples} samples, seed {seed}", shares.round(3).to_string(), sep="\n", flush=True)
            if arguments.out:
                shares.round(4).to_csv(arguments.out)


if __name__ == "__main__":
    main()

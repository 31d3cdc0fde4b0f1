"""Is the promised error rate kept? Rounds on simulated cohorts whose truth is known, with and without safeguards.

    .venv/bin/python tests/benchmarks/error_rate.py [--seeds 20] [--compare 4] [--out tests/benchmarks/error_rate.csv]

Each seed is a cohort of its own: 3,000 CpGs on 200, 400 or 800 samples, of which 5, 15 or 30 % are half-way sites. The
steps are those of the workflow (rules, training from the shipped network, prediction, placing, next round), called one
after the other, with smaller training sets. A half-way site that is placed counts as wrong, whatever its taxon. The
first --compare seeds are run again with a plain threshold of 0.95 and the tests' veto, and with 0.5 and no veto: what
rounds do that feed on their own mistakes. Prints and writes one row per seed, way and round.
"""

import argparse
import json
import logging
import os
import pathlib
import sys
import tempfile
import time

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
from cpgtaxa.classifier import sample_features  # noqa: E402
from cpgtaxa.images import normalisation  # noqa: E402
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED  # noqa: E402
from cpgtaxa.recipes import recipe  # noqa: E402
from cpgtaxa.render import planes, render  # noqa: E402
from cpgtaxa.statistics import compute  # noqa: E402
from cpgtaxa.taxa import define_taxa, ruled_out  # noqa: E402
from cpgtaxa.training import Images, Predictor, calibrate, load_weights, targets_of, train  # noqa: E402
from cpgtaxa.training_images import plan, simulated_planes  # noqa: E402

SAMPLES, SHARES = (200, 400, 800), (0.05, 0.15, 0.3)
WAYS = {
    "promise 0.05": {"error_rate": 0.05, "confidence": None, "unlike": 0.01, "veto": True},
    "threshold 0.95, veto": {"error_rate": 0.05, "confidence": 0.95, "unlike": 0.01, "veto": True},
    "threshold 0.5": {"error_rate": 0.05, "confidence": 0.5, "unlike": 0.01, "veto": False},
}
PER_TAXON, SIZE = 60, 64


def draw(seed, setting, wanted, thresholds, n_cpgs):
    """Simulated CpGs: planes, statistics, labels by the rules, what the tests rule out, and the truth."""
    drawn = [simulate.draw_cpg(seed, index, taxon, setting) for index, taxon in enumerate(wanted)]
    values = np.round(np.stack([values for _, values in drawn]).astype(float), 5).astype(np.float32)
    statistics = compute(values, setting.ages)
    statistics.insert(0, "cpg", [f"c{index}" for index in range(len(wanted))])
    profiles = [profile for profile, _ in drawn]
    pictures = [planes(render(values[start : start + 256], setting.ages), SIZE) for start in range(0, len(values), 256)]
    return {
        "planes": np.concatenate(pictures),
        "statistics": statistics,
        "labels": define_taxa(statistics, thresholds, n_cpgs)["taxon"].to_numpy(),
        "ruled_out": ruled_out(statistics, thresholds, n_cpgs),
        "taxon": np.array([UNCLASSIFIED if one.kind else one.taxon for one in profiles], dtype=object),
    }


def fit(number, pictures, labels, others, initial, seed, folder):
    """Train a round's network; returns its predictor."""
    model = "ResNet18" if number == 0 else "MixResNet18"
    chosen = recipe("fast", model, {"epochs": 2 if number == 0 else 1}, tuned=True)
    targets = targets_of(labels, others)
    held = np.random.default_rng([seed, 5]).random(len(targets)) < 0.2
    statistics = normalisation(pictures[~held])
    parts = Images(pictures[~held], targets[~held]), Images(pictures[held], targets[held])
    network = train(
        *parts,
        model_name=model,
        recipe=chosen,
        statistics=statistics,
        seed=seed,
        device="cpu",
        precision="auto",
        work=folder / f"work_{number}",
        log_path=folder / "log.csv",
        initial=initial,
    )
    temperature = calibrate(network, statistics, SIZE, parts[1], "cpu", "auto")
    predictor = Predictor(network, statistics, SIZE, temperature, "cpu", "auto")
    predictor.kept = sample_features(predictor, pictures[~held], seed)
    return predictor


def calls(cpgs, rows, predictor, veto):
    """The network's calls on some of the CpGs of `draw`."""
    logits, features = predictor.outputs(cpgs["planes"][rows])
    table = pd.DataFrame(softmax(logits, predictor.temperature), columns=list(PROBABILITY_COLUMNS))
    table["distance"] = likeness.distances(features, predictor.kept)
    table.insert(0, "cpg", cpgs["statistics"]["cpg"].to_numpy()[rows])
    numbers = cpgs["statistics"].iloc[rows].drop(columns="cpg").reset_index(drop=True)
    return placement.Calls(table, numbers, cpgs["ruled_out"][rows] & veto)


def rounds(seed, ways, n_rounds, n_calibration, thresholds):
    """Rows: seed, way, round, candidates, placed, wrong, of these half-way; and of what it was promised."""
    samples, share = SAMPLES[seed % 3], SHARES[seed // 3 % 3]
    setting = simulate.cohort_setting(seed, samples)
    cohort = draw(seed, setting, simulate.plan_cohort(seed, 3000, share), thresholds, 3000)
    like = simulate.make_setting(setting.ages, np.random.default_rng([seed + STREAM, 1]))
    wanted = simulate.plan_cohort(seed + STREAM, n_calibration, HALF_WAY)
    known = draw(seed + STREAM, like, wanted, thresholds, 3000)
    members = plan(seed, PER_TAXON, 3 * PER_TAXON)
    made, made_labels, made_others = simulated_planes(seed, members, setting.ages, 0.25, SIZE)
    own = [np.flatnonzero(cohort["labels"] == taxon)[:PER_TAXON] for taxon in TAXA]
    rows, first = [], None
    reference = load_weights(ROOT / "resources/reference/ResNet18_best_model.pt.gz", "ResNet18").state_dict()
    for way in ways:
        settings = WAYS[way]
        left = np.flatnonzero(cohort["labels"] == UNCLASSIFIED)
        known_left = np.flatnonzero(known["labels"] == UNCLASSIFIED)
        learnt, labels = np.concatenate(own), np.concatenate([[TAXA[k]] * len(mine) for k, mine in enumerate(own)])
        initial = reference
        for number in range(n_rounds):
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                pictures = np.concatenate([cohort["planes"][learnt], made])
                names = np.concatenate([labels, made_labels])
                others = np.concatenate([np.full(len(labels), ""), made_others])
                if number > 0 or first is None:
                    predictor = fit(number, pictures, names, others, initial, seed, folder)
                else:
                    predictor = first
                first = first or predictor
                initial = predictor.network.state_dict()
                mine, theirs = (
                    calls(cohort, left, predictor, settings["veto"]),
                    calls(known, known_left, predictor, settings["veto"]),
                )
                truth = known["taxon"][known_left]
                out = {key: folder / f"{key}.parquet" for key in ("reassigned", "left", "calibration")}
                out["counts"] = folder / "counts.json"
                given = (mine, theirs, truth) if settings["confidence"] is None else (mine,)
                placement.reassign(*given, settings=settings, round_number=number, seed=seed, out=out)
                placed = pd.read_parquet(out["reassigned"])
                again = set(pd.read_parquet(out["calibration"])["cpg"])
                counts = json.loads(out["counts"].read_text())
            index = placed["cpg"].str[1:].astype(int).to_numpy()
            wrong = cohort["taxon"][index] != placed["taxon"].to_numpy()
            between = cohort["taxon"][index] == UNCLASSIFIED
            row = {"seed": seed, "samples": samples, "half_way": share, "way": way, "round": number}
            row |= {"candidates": len(left), "placed": len(placed), "wrong": int(wrong.sum())}
            row |= {"half_way_placed": int(between.sum()), "clear_candidates": int(_clear(cohort, left))}
            row["expected"], row["bound"] = (counts.get(key) for key in ("expected_error_rate", "error_rate_at_most"))
            row["half_way_share_found"] = counts.get("half_way_share")
            row["half_way_share_true"] = 1 - _clear(cohort, left) / max(len(left), 1)
            rows.append(row)
            left = np.setdiff1d(left, index)
            known_left = known_left[[cpg not in again for cpg in known["statistics"]["cpg"].to_numpy()[known_left]]]
            new = pd.Series(index).groupby(placed["taxon"].to_numpy()).head(PER_TAXON).to_numpy(dtype=int)
            taxa = dict(zip(index, placed["taxon"], strict=True))
            learnt, labels = np.concatenate([learnt, new]), np.concatenate([labels, [taxa[row] for row in new]])
            if not len(index):
                break
    return rows


def _clear(cohort, rows):
    return np.sum(cohort["taxon"][rows] != UNCLASSIFIED)


def summary(table):
    """By way and round (cumulative too): cohorts, mean error, worst, and the share of cohorts above 5 %."""
    pieces = []
    for scope in ("round", "all"):
        keys = ["seed", "way"] if scope == "all" else ["seed", "way", "round"]
        found = table.groupby(keys)[["placed", "wrong"]].sum().reset_index()
        found["error"] = np.where(found["placed"] > 0, found["wrong"] / found["placed"].clip(lower=1), 0)
        found["round"] = found["round"].astype(str) if scope == "round" else "all"
        pieces.append(found)
    found = pd.concat(pieces)
    found["above"] = found["error"] > 0.05
    return (
        found.groupby(["way", "round"])
        .agg(
            cohorts=("seed", "size"),
            placed=("placed", "mean"),
            error=("error", "mean"),
            worst=("error", "max"),
            above_5_percent=("above", "sum"),
        )
        .round(4)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--compare", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calibration", type=int, default=10000)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    thresholds = yaml.safe_load((ROOT / "config/config.yaml").read_text())["taxa"]["thresholds"]
    rows = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        begun = time.monotonic()
        ways = list(WAYS) if seed < arguments.first + arguments.compare else list(WAYS)[:1]
        rows += rounds(seed, ways, arguments.rounds, arguments.calibration, thresholds)
        table = pd.DataFrame(rows)
        print(f"seed {seed}, {time.monotonic() - begun:.0f} s", flush=True)
        print(summary(table).to_string(), flush=True)
        if arguments.out:
            table.round(4).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

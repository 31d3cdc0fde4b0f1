"""The shipped network in whole numbers (OpenVINO) beside float32 (torch): pace, taxa, calibration, placements.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 .venv/bin/python tests/benchmarks/engine.py [--parts pace same placed]
        [--instructions all|avx2] [--out F.csv]

One thread, processor time, drawing and distances included; the best of three turns, all ways in turn. With
`--instructions avx2` torch and OpenVINO do without AVX-512 and VNNI. Same: CpGs of real cohorts (../shared/data) and
simulated ones of 50 to 5,000 samples get the same first taxon; sure: those to which float32 gives 0.9 or more.
Calibration errors are those of simulated CpGs that one taxon is right for. Placed: each cohort's rules, calibration
CpGs and selection model, with probabilities from either.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
import pandas as pd
from benchmarking import CONFIG, HERE, NETWORK, RULES

ISA = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SEED, MOST, SURE = 20261130, 1500, 0.9
PLACED = ("gse42861", "GSE97362")
ENGINES = {
    "torch float32": ("torch", "float32"),
    "torch bfloat16": ("torch", "bfloat16"),
    "openvino": ("openvino", "auto"),
}


def predictor_of(name, ages):
    from cpgtaxa.learning.prediction import _predictor

    engine, precision = ENGINES[name]
    return _predictor(NETWORK, "ResNet18", ages, SEED, "cpu", precision, engine)


def pace(tell):
    """Images a second of one core: drawn, classified, and their distances."""
    from cpgtaxa.images.render import planes, render
    from cpgtaxa.learning.classifier import BLOCK, draw
    from cpgtaxa.placement import novelty
    from cpgtaxa.simulation.training_images import simulate_group

    for samples in (658, 3500):
        ages = np.random.default_rng(SEED).uniform(19, 90, samples)
        members = [None] * 64
        beta = np.concatenate([simulate_group(SEED, group, members, ages, 0.0)[1] for group in range(8)])
        names = [name for name in ENGINES if name != "torch bfloat16" or "ATEN_CPU_CAPABILITY" not in os.environ]
        predictors = {name: predictor_of(name, ages) for name in names}
        step = BLOCK["cpu"]

        def whole(predictor, beta=beta, ages=ages, step=step):
            for start in range(0, len(beta), step):
                _, features = predictor.outputs(draw(beta[start : start + step], ages, predictor))
                novelty.distances(features, predictor.kept)

        ways = {name: lambda predictor=predictor: whole(predictor) for name, predictor in predictors.items()}
        ways["drawing alone"] = lambda beta=beta, ages=ages: planes(render(beta, ages), 64)
        best = dict.fromkeys(ways, np.inf)
        for turn in range(4):
            for name, way in ways.items():
                began = time.process_time()
                way()
                if turn:
                    best[name] = min(best[name], time.process_time() - began)
        for name, seconds in best.items():
            tell("pace", f"{samples} samples", name, "images/s", len(beta) / seconds, len(beta))


def compared(tell, where, planes, ages, labels=None):
    """First taxa, and calibration where labels are known, of both for the same images."""
    from cpgtaxa.learning.temperature import expected_calibration_error, softmax

    exact, quick = (predictor_of(name, ages) for name in ("torch float32", "openvino"))
    logits, rounded = exact.logits(planes), quick.outputs(planes)[0]
    p, q = softmax(logits, exact.temperature), softmax(rounded, exact.temperature)
    first, same = p.argmax(axis=1), p.argmax(axis=1) == q.argmax(axis=1)
    sure = p.max(axis=1) >= SURE
    whole = quick._shown(quick._whole, 64, planes)[0]
    tell("same", where, "openvino", "same first taxon", same.mean(), len(same))
    tell("same", where, "openvino", "same, of sure ones", same[sure].mean(), int(sure.sum()))
    tell(
        "same",
        where,
        "openvino",
        "same without float32 for close ones",
        (whole.argmax(axis=1) == first).mean(),
        len(same),
    )
    tell("same", where, "openvino", "close", float(quick._close(whole).mean()), len(same))
    tell(
        "same",
        where,
        "openvino",
        "mean difference of the first probability",
        np.abs(p - q)[np.arange(len(p)), first].mean(),
        len(p),
    )
    if labels is not None:
        known = labels >= 0
        hot = np.eye(p.shape[1])[labels[known]]
        for name, values in (("torch float32", p[known]), ("openvino", q[known])):
            tell("same", where, name, "Brier score", np.mean(np.sum((values - hot) ** 2, axis=1)), len(hot))
            tell("same", where, name, "calibration error", expected_calibration_error(values, labels[known]), len(hot))
            tell("same", where, name, "right", np.mean(values.argmax(axis=1) == labels[known]), len(hot))


def same(tell):
    """Real CpGs by cohort, and simulated ones of cohorts of all sizes."""
    import real_cohorts
    from cpgtaxa.images.render import planes, render
    from cpgtaxa.names import INDEX
    from cpgtaxa.simulation.training_images import GROUP, plan, simulate_group

    for name in real_cohorts.SOURCES:
        cohort = real_cohorts.load(name)
        rows = np.sort(np.random.default_rng(SEED).permutation(len(cohort.beta))[:MOST])
        compared(tell, name, planes(render(cohort.beta[rows], cohort.ages), 64), cohort.ages)
    ages = np.random.default_rng(SEED).uniform(19, 90, 656)
    members = plan(SEED, 400, 2000)
    drawn, labels = [], []
    for group, start in enumerate(range(0, len(members), GROUP)):
        profiles, values, setting, renderer = simulate_group(SEED, group, members[start : start + GROUP], ages, 0.6)
        drawn.append(planes(renderer(values, setting.ages), 64))
        labels += [-1 if profile.other else INDEX[profile.taxon] for profile in profiles]
    compared(tell, "simulated", np.concatenate(drawn), ages, np.array(labels))


def placed(tell):
    """What the first round places with probabilities from either."""
    import real_cohorts
    from cpgtaxa.cohort import CohortWriter
    from cpgtaxa.files import read_parquet, write_parquet
    from cpgtaxa.learning.prediction import predict_calibration, predict_shard
    from cpgtaxa.placement.selection import place
    from cpgtaxa.simulation.calibration_cpgs import simulate_calibration
    from cpgtaxa.statistics.kernel import compute
    from cpgtaxa.taxa.labels import define_taxa

    settings = RULES | {key: CONFIG["rounds"][key] for key in ("error_rate", "confidence", "unlike", "veto")}
    for name in PLACED:
        cohort = real_cohorts.load(name)
        with tempfile.TemporaryDirectory() as work:
            at = pathlib.Path(work)
            ids = [f"S{number}" for number in range(len(cohort.ages))]
            write_parquet(at / "samples.parquet", pd.DataFrame({"sample_id": ids, "age": cohort.ages}))
            with CohortWriter(at / "beta.arrow", ids) as writer:
                writer.append(cohort.cpgs.tolist(), cohort.beta)
            sexes = None if cohort.sex is None else np.where(cohort.sex == "F", 1, 0)
            table = compute(cohort.beta, cohort.ages, sexes)
            table.insert(0, "cpg", cohort.cpgs)
            write_parquet(at / "statistics.parquet", table)
            labels = define_taxa(table, **RULES)
            write_parquet(at / "labels.parquet", labels)
            out = {"out_beta": at / "calibration.arrow", "out_truth": at / "truth.parquet"}
            simulate_calibration(ids, cohort.ages, seed=SEED, cpgs=8000, **RULES, by_rules=True, **out)
            found = {}
            for engine in ("torch float32", "openvino"):
                chosen = dict(zip(("engine", "precision"), ENGINES[engine], strict=True)) | {
                    "seed": SEED,
                    "device": "cpu",
                }
                cut = {"round_number": 0, "shard": 0, "shards": 1, "predict_labelled": True}
                files = at / "beta.arrow", at / "samples.parquet", at / "labels.parquet"
                predict_shard(NETWORK, *files, [], at / "p.parquet", **cut, **chosen)
                predict_calibration(
                    NETWORK,
                    at / "calibration.arrow",
                    at / "samples.parquet",
                    [],
                    at / "c.parquet",
                    model_name="ResNet18",
                    **chosen,
                )
                written = {key: at / f"{key}.out" for key in ("reassigned", "left", "calibration", "counts")}
                known = {"predictions": at / "c.parquet", "truth": at / "truth.parquet"}
                place(
                    [at / "p.parquet"],
                    at / "labels.parquet",
                    [],
                    at / "statistics.parquet",
                    known,
                    settings,
                    0,
                    SEED,
                    written,
                )
                found[engine] = read_parquet(at / "reassigned.out").set_index("cpg")["taxon"]
            one, other = found.values()
            both = one.index.intersection(other.index)
            open_cpgs = int((labels["taxon"] == "Unclassified").sum())
            tell("placed", name, "torch float32", "placed", len(one), open_cpgs)
            tell("placed", name, "openvino", "placed", len(other), open_cpgs)
            tell("placed", name, "openvino", "placed by both", len(both), open_cpgs)
            tell(
                "placed", name, "openvino", "the same taxon, of those", int((one[both] == other[both]).sum()), len(both)
            )
            print("differ:", sorted(set(one.index) ^ set(other.index)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=("pace", "same", "placed"), default=["pace", "same", "placed"])
    parser.add_argument("--instructions", choices=("all", "avx2"), default="all")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "engine.csv")
    arguments = parser.parse_args()
    if arguments.instructions == "avx2" and not set(ISA) <= set(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ISA)
    import torch

    torch.set_num_threads(1)
    rows = []

    def tell(part, where, engine, what, value, n):
        rows.append({"part": part, "instructions": arguments.instructions, "where": where, "engine": engine})
        rows[-1] |= {"what": what, "value": float(f"{value:.6g}"), "n": n}
        print(*rows[-1].values(), flush=True)

    for part in arguments.parts:
        {"pace": pace, "same": same, "placed": placed}[part](tell)
    before = pd.read_csv(arguments.out) if arguments.out.is_file() else pd.DataFrame()
    keys = ["part", "instructions", "where", "engine", "what"]
    pd.concat([before, pd.DataFrame(rows)]).drop_duplicates(keys, keep="last").to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

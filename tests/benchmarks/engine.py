"""The shipped network in whole numbers (OpenVINO) beside float32 (torch): pace, taxa, calibration, placements.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 .venv/bin/python tests/benchmarks/engine.py [--parts pace same
        placed stages leave student] [--instructions all|avx2] [--out F.csv]

One thread, processor time, drawing and distances included; the best of three turns, all ways in turn. With
`--instructions avx2` torch and OpenVINO do without AVX-512 and VNNI. Same: CpGs of real cohorts (../shared/data) and
simulated ones of 50 to 5,000 samples get the same first taxon; sure: those to which float32 gives 0.9 or more.
Calibration errors are those of simulated CpGs that one taxon is right for. Placed: each cohort's rules, calibration
CpGs and selection model, with probabilities from either. Stages: the rounded network cut off after each of its stages.
Leave: what an image could be spared that a small network knows by the features of such a stage (means of the whole, of
quarters and sixteenths; one hidden layer, distilled from the network on 3,000 simulated images and a third of the
cohort's). It leaves where the lead of its first taxon is above a threshold that 99.9 % of another third agree beyond;
the last third is counted.

Student: a narrow ResNet18 (STUDENTS) distilled from the network on images simulated for the cohort's ages and a
third of the cohort's own, in float32. It answers where its lead is above a threshold that 99.9 % of 2,000 other
simulated images and of another third agree beyond; the network answers the rest. Of CpGs of foreign kinds (unlike.py)
that it answers: how many are farther from training images than 99 % of simulated ones, by its features and by the
network's?
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
import tempfile
import time
import unittest.mock

import numpy as np
import pandas as pd
from benchmarking import CONFIG, HERE, NETWORK, RULES

ISA = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SEED, MOST, SURE = 20261130, 1500, 0.9
PLACED = ("gse42861", "GSE97362")
STUDENTS = {
    "quarter as wide, 64 px": ((16, 32, 64, 128), 64, 20_000, 4),
    "quarter as wide, 64 px, half the lesson": ((16, 32, 64, 128), 64, 10_000, 4),
    "quarter as wide, 64 px, twice the lesson": ((16, 32, 64, 128), 64, 40_000, 4),
    "quarter as wide, 32 px": ((16, 32, 64, 128), 32, 20_000, 4),
}
"""Channels of the four stages, pixels, simulated images and epochs of the lesson."""
LESSONS = {"gse42861": ["quarter as wide, 64 px"], "random500": list(STUDENTS)}
HELD, FOREIGN, ARRAY = 2000, 40, 811_870
ENGINES = {
    "torch float32": ("torch", "float32"),
    "torch bfloat16": ("torch", "bfloat16"),
    "openvino": ("openvino", "auto"),
}


def predictor_of(name, ages):
    from cpgtaxa.learning.prediction import _predictor

    engine, precision = ENGINES[name]
    how = {"device": "cpu", "precision": precision, "engine": engine, "cpgs": MOST}
    return _predictor(NETWORK, "ResNet18", ages, SEED, **how)


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
                    *files[1:],
                    [],
                    at / "c.parquet",
                    model_name="ResNet18",
                    predict_labelled=True,
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


def stages(tell):
    """Milliseconds an image up to the end of each stage, in whole numbers."""
    import openvino
    from cpgtaxa.learning import engine

    quick = predictor_of("openvino", np.random.default_rng(SEED).uniform(19, 90, 658))
    images = engine.settling_images(np.linspace(19, 90, 200), 64, SEED)[: engine.BATCH]
    model = engine._graph(openvino, quick.predictor, engine.BATCH, engine._ranges(quick.predictor, images)[0])
    ends = {tuple(one.output(0).shape)[1]: one for one in model.get_ordered_ops() if one.get_type_name() == "Relu"}
    options = {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False, "INFERENCE_NUM_THREADS": 1}
    requests = {}
    for number, end in enumerate(ends.values(), 1):
        means = openvino.opset13.reduce_mean(end, np.array([2, 3], dtype=np.int64), False)
        cut = openvino.Model([means], model.get_parameters(), "cut")
        requests[f"up to layer{number}"] = openvino.Core().compile_model(cut, "CPU", options).create_infer_request()
    best = dict.fromkeys(requests, np.inf)
    for _ in range(20):
        for name, request in requests.items():
            began = time.process_time()
            request.infer([images], share_inputs=True)
            best[name] = min(best[name], time.process_time() - began)
    for name, seconds in best.items():
        tell("stages", "658 samples", name, "ms an image", 1000 * seconds / len(images), len(images))


def distilled(x, logits):
    """A network of one hidden layer (n, d) -> (n, 10) that has learnt the logits' probabilities."""
    import torch

    torch.manual_seed(SEED)
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-3
    x, targets = torch.from_numpy((x - mean) / std), torch.softmax(torch.from_numpy(logits), dim=1)
    layers = torch.nn.Linear(x.shape[1], 128), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(128, 10)
    network = torch.nn.Sequential(*layers)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    steps = 30 * -(-len(x) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(30):
        for rows in torch.randperm(len(x)).split(128):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), targets[rows]).backward()
            optimiser.step()
            schedule.step()
    network.eval()
    return lambda seen: network(torch.from_numpy((seen - mean) / std)).detach().numpy()


def leave(tell):
    """How many CpGs of real cohorts could leave after a stage, and how many of these have the network's taxon."""
    import real_cohorts
    import torch
    from cpgtaxa.images.render import planes, render
    from cpgtaxa.simulation.training_images import GROUP, plan, simulate_group

    numbers, seen = range(1, 4), {}
    for name in ("brain", "gse42861"):
        cohort = real_cohorts.load(name)
        network = predictor_of("torch float32", cohort.ages)
        for number in numbers:

            def see(module, inputs, output, number=number):
                pooled = [torch.nn.functional.adaptive_avg_pool2d(output, side).flatten(1) for side in (1, 2, 4)]
                seen[number].append(torch.cat(pooled, dim=1).numpy())

            network.network.get_submodule(f"layer{number}").register_forward_hook(see)

        def shown(images, network=network):
            seen.update({number: [] for number in numbers})
            with torch.inference_mode():
                parts = torch.from_numpy(images).split(64)
                logits = np.concatenate([network.network(network.normalise(part)).numpy() for part in parts])
            return logits, {number: np.concatenate(seen[number]) for number in numbers}

        members = plan(SEED, 150, 1500)
        groups = range(0, len(members), GROUP)
        made = (simulate_group(SEED, at, members[at : at + GROUP], cohort.ages, 0.0) for at in groups)
        simulated, features = shown(np.concatenate([planes(render(beta, one.ages), 64) for _, beta, one, _ in made]))
        rows = np.random.default_rng(SEED).permutation(len(cohort.beta))[:MOST]
        logits, own = shown(planes(render(cohort.beta[rows], cohort.ages), 64))
        learnt, chosen, left = np.array_split(np.arange(len(rows)), 3)
        for number in numbers:
            known = np.concatenate([features[number], own[number][learnt]]), np.concatenate([simulated, logits[learnt]])
            found = distilled(*known)(own[number])
            same = found.argmax(axis=1) == logits.argmax(axis=1)
            second, first = np.sort(found, axis=1)[:, -2:].T
            order = chosen[np.argsort(second[chosen] - first[chosen])]
            most = np.flatnonzero(np.cumsum(~same[order]) <= 0.001 * np.arange(1, len(order) + 1))
            threshold = (first - second)[order[most[-1]]] if len(most) else np.inf
            gone = left[(first - second)[left] >= threshold]
            tell("leave", name, f"after layer{number}", "could leave", len(gone) / len(left), len(left))
            tell("leave", name, f"after layer{number}", "same first taxon, of these", same[gone].mean(), len(gone))


def at_size(images, size):
    """Planes (k, 2, 64, 64) uint8, averaged down if size is 32."""
    if size == images.shape[-1]:
        return images
    means = images.reshape(len(images), 2, size, 2, size, 2).astype(np.float32).mean(axis=(3, 5))
    return np.rint(means).astype(np.uint8)


def taught(widths, images, logits, network, epochs):
    """A Predictor of a narrow ResNet18 that has learnt the logits' probabilities for planes (n, 2, size, size)."""
    import torch
    from cpgtaxa.learning.classifier import sample_features
    from cpgtaxa.learning.networks import Predictor, load_statistics
    from cpgtaxa.models import resnet

    torch.manual_seed(SEED)
    with unittest.mock.patch.object(resnet, "WIDTHS", widths):
        pupil = resnet.ResNet18().to(memory_format=torch.channels_last).train()
    planes, targets = torch.from_numpy(images), torch.softmax(torch.from_numpy(logits), dim=1)
    optimiser = torch.optim.AdamW(pupil.parameters(), weight_decay=0.01, fused=True)
    steps = epochs * -(-len(planes) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.004, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(planes)).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(pupil(network.normalise(planes[rows])), targets[rows]).backward()
            optimiser.step()
            schedule.step()
    size = images.shape[-1]
    found = Predictor(pupil, load_statistics(NETWORK["stats"]), size, network.temperature, "cpu", "float32")
    found.kept = sample_features(found, images, SEED)
    return found


def seconds_of(work, *arguments):
    """Processor time of work(*arguments), and what it returns."""
    began = time.process_time()
    found = work(*arguments)
    return time.process_time() - began, found


def pace_of(work, images):
    """Seconds an image of work(images): the best of three turns."""
    return min(seconds_of(work, images)[0] for _ in range(4)) / len(images)


def compiled(predictor, images):
    """A student as OpenVINO runs it, in float32 and in int8: functions that take images."""
    import openvino
    from cpgtaxa.learning import engine

    def shown(request, images):
        for start in range(0, len(images), engine.BATCH):
            request.infer([images[start : start + engine.BATCH]], share_inputs=True)

    options = {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False, "INFERENCE_NUM_THREADS": 1}
    for precision, highs in (("float32", None), ("int8", engine._ranges(predictor, images)[0])):
        graph = engine._graph(openvino, predictor, engine.BATCH, highs)
        request = openvino.Core().compile_model(graph, "CPU", options).create_infer_request()
        yield precision, functools.partial(shown, request)


def sure_beyond(leads, same):
    """The least lead beyond which 99.9 % have the network's first taxon."""
    order = np.argsort(-leads, kind="stable")
    most = np.flatnonzero(np.cumsum(~same[order]) <= 0.001 * np.arange(1, len(order) + 1))
    return leads[order[most[-1]]] if len(most) else np.inf


def leads_of(logits):
    second, first = np.sort(logits, axis=1)[:, -2:].T
    return first - second


@dataclasses.dataclass
class Lesson:
    """A cohort's images and what the network says of them: simulated ones, its own, and foreign ones.

    undecided: which of its own the tests leave open; making: seconds to make and show a simulated one; each: to draw
    one image, and to classify it with its distance.
    """

    whole: object
    simulated: np.ndarray
    logits: np.ndarray
    own: np.ndarray
    exact: np.ndarray
    undecided: np.ndarray
    foreign: np.ndarray
    making: float
    each: tuple


def lesson(tell, where, cohort, number):
    import unlike
    from cpgtaxa.images.render import planes, render
    from cpgtaxa.names import UNCLASSIFIED
    from cpgtaxa.placement import novelty
    from cpgtaxa.simulation.training_images import GROUP, plan, simulate_group

    whole, ages = predictor_of("openvino", cohort.ages), cohort.ages
    members = plan(SEED, (HELD + number) * 7 // 100, (HELD + number) * 3 // 10)

    def simulate():
        for group, start in enumerate(range(0, len(members), GROUP)):
            _, beta, setting, _ = simulate_group(SEED, group, members[start : start + GROUP], ages, 0.0)
            yield planes(render(beta, setting.ages), 64)

    making, simulated = seconds_of(lambda: np.concatenate(list(simulate())))
    showing, (logits, _) = seconds_of(whole.outputs, simulated)
    making = (making + showing) / len(simulated)
    tell("student", where, "openvino", "ms to simulate, draw and show an image", 1000 * making, len(simulated))
    rows = np.random.default_rng(SEED).permutation(len(cohort.beta))[:MOST]
    beta, undecided = cohort.beta[rows], (cohort.classify()["taxon"] == UNCLASSIFIED).to_numpy()[rows]
    own = planes(render(beta, ages), 64)
    x = (ages - ages.min()) / np.ptp(ages)
    rngs = [[np.random.default_rng([SEED, kind, row]) for row in range(FOREIGN)] for kind in range(len(unlike.KINDS))]
    foreign = [draw(rng, x) for draw, its in zip(unlike.KINDS.values(), rngs, strict=True) for rng in its]
    foreign = np.clip(np.stack(foreign), 0.0005, 0.9995).astype(np.float32)

    def classify(images):
        novelty.distances(whole.outputs(images)[1], whole.kept)

    each = pace_of(lambda beta: planes(render(beta, ages), 64), beta[:256]), pace_of(classify, own[:256])
    tell("student", where, "openvino", "images/s", 1 / sum(each), 256)
    exact, foreign = whole.as_in_float32(own), planes(render(foreign, ages), 64)
    return Lesson(whole, simulated, logits, own, exact, undecided, foreign, making, each)


def examined(tell, where, name, given):
    """A student of a lesson: how fast it is, what it answers, how much of that is right, and what pays for it."""
    from cpgtaxa.learning.temperature import softmax
    from cpgtaxa.placement import novelty

    widths, size, number, epochs = STUDENTS[name]
    tell = functools.partial(tell, "student", where, name)
    whole, exact, (drawing, classifying) = given.whole, given.exact, given.each
    simulated, own = at_size(given.simulated, size), at_size(given.own, size)
    learnt, chosen, left = np.array_split(np.arange(len(own)), 3)
    lessons = np.concatenate([simulated[HELD : HELD + number], own[learnt]])
    answers = np.concatenate([given.logits[HELD : HELD + number], exact[learnt]])
    teaching, pupil = seconds_of(taught, widths, lessons, answers, whole.predictor, epochs)
    cost = teaching + number * given.making
    tell("seconds of the lesson", cost, len(lessons))
    pace = np.inf
    for precision, work in compiled(pupil, simulated[-165:]):
        one = pace_of(work, simulated[:512])
        tell(f"images/s drawn, {precision}", 1 / (drawing + one), 512)
        pace = min(pace, one)
    held, features = pupil.outputs(simulated[:HELD])
    found, truth = pupil.logits(own), given.logits[:HELD]
    agree, same = (one.argmax(axis=1) == other.argmax(axis=1) for one, other in ((held, truth), (found, exact)))
    tell("same first taxon, simulated", agree.mean(), len(agree))
    tell("same first taxon", same[left].mean(), len(left))
    threshold = max(sure_beyond(leads_of(held), agree), sure_beyond(leads_of(found)[chosen], same[chosen]))
    gone = left[leads_of(found)[left] >= threshold]
    share, sure = len(gone) / len(left), gone[softmax(exact, whole.temperature).max(axis=1)[gone] >= SURE]
    tell("answers, simulated", np.mean(leads_of(held) >= threshold), len(held))
    tell("answers", share, len(left))
    undecided = left[given.undecided[left]]
    if len(undecided):
        tell("answers, of what the tests leave open", np.isin(undecided, gone).mean(), len(undecided))
    if len(sure):
        tell("same first taxon, of these", same[gone].mean(), len(gone))
        tell("same, of sure ones of these", same[sure].mean(), len(sure))
    apart = pace_of(lambda rows: novelty.distances(rows, pupil.kept), features[:512])
    each = drawing + pace + apart + (1 - share) * classifying
    tell("images/s, the network's answers included", 1 / each, len(left))
    saved = drawing + classifying - each
    if saved > 0:
        tell("CpGs of a round that pay for the lesson", cost / saved, len(left))
    tell("images/s of a whole array, lesson included", ARRAY / (ARRAY * each + cost), ARRAY)
    foreign, foreign_features = pupil.outputs(at_size(given.foreign, size))
    answered = leads_of(foreign) >= threshold
    tell("foreign CpGs that it answers", answered.mean(), len(answered))
    usual = whole.outputs(given.simulated[:HELD])[1], whole.outputs(given.foreign)[1]
    for whose, kept, (known, strange) in (
        ("its own", pupil.kept, (features, foreign_features)),
        ("the network's", whole.kept, usual),
    ):
        far = novelty.distances(strange, kept) > np.quantile(novelty.distances(known, kept), 0.99)
        if answered.any():
            tell(f"far by {whose} features, of these", far[answered].mean(), int(answered.sum()))


def student(tell):
    """Students of the shipped network for two real cohorts."""
    import real_cohorts

    for where, names in LESSONS.items():
        given = lesson(tell, where, real_cohorts.load(where), max(STUDENTS[name][2] for name in names))
        for name in names:
            examined(tell, where, name, given)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"pace": pace, "same": same, "placed": placed, "stages": stages, "leave": leave, "student": student}
    parser.add_argument("--parts", nargs="+", choices=list(parts), default=list(parts))
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
        parts[part](tell)
    before = pd.read_csv(arguments.out) if arguments.out.is_file() else pd.DataFrame()
    keys = ["part", "instructions", "where", "engine", "what"]
    pd.concat([before, pd.DataFrame(rows)]).drop_duplicates(keys, keep="last").to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

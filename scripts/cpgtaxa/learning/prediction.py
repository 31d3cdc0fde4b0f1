"""A cohort's CpGs, and simulated ones, drawn and classified."""

import logging

import numpy as np
import pandas as pd

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.files import read_parquet, write_parquet
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.names import CHECK_COLUMNS, PROBABILITY_COLUMNS, TAXA
from cpgtaxa.placement import novelty
from cpgtaxa.placement.rounds import predicted
from cpgtaxa.plan.paths import MODELS, shard_bounds
from cpgtaxa.progress import Progress, so_far

CHECKED, CHECKED_SHARE = 5000, 0.05
"""CpGs of a cohort, at most, that are shown to the network in float32 too where an engine rounds it."""


def predict_shard(
    network,
    beta,
    samples,
    labels,
    placed,
    out,
    *,
    round_number,
    shard,
    shards,
    least=1,
    predict_labelled,
    seed,
    **how,
) -> None:
    """Calibrated probabilities (cpg, p_<taxon>) of a shard's CpGs that are not placed, and their `distance`.

    Round 0 predicts those placed by the rules too, as `predict_labelled` says (see `placement.rounds.predicted`).
    Where an engine rounds the network, check_<taxon> has what it says in float32 of one CpG in twenty, 5,000 of the
    cohort at most; NaN of the others. how: device, precision and engine, as the config has them.

    Images are drawn on the fly, a block at a time, and never written.
    """
    cohort = Cohort(beta)
    ages = read_samples(samples)["age"].to_numpy()
    start, stop = shard_bounds(shard, shards, cohort.n_cpgs, least)
    names = cohort.names(start, stop)
    taxa = read_parquet(labels, columns=["taxon"])["taxon"].to_numpy()
    first = predicted(taxa, predict_labelled, seed)
    left = first if round_number == 0 else predicted(taxa, False, seed)
    checked, left = _checked(left, seed)[start:stop], left[start:stop]
    done = {cpg for path in placed for cpg in read_parquet(path, columns=["cpg"])["cpg"]}
    left &= np.array([cpg not in done for cpg in names], dtype=bool)
    wanted = np.arange(start, stop)[left]
    predictor = None
    if len(wanted):
        from cpgtaxa.learning.networks import spread_over_gpus

        spread_over_gpus(shard)
        model_name = MODELS[min(round_number, 1)]
        predictor = _predictor(network, model_name, ages, seed, cpgs=np.count_nonzero(first), **how)
    table = _classify(cohort, wanted, ages, predictor, checked[left])
    table.insert(0, "cpg", names[wanted - start])
    write_parquet(out, table)


def predict_calibration(
    network, beta, samples, labels, placed, out, *, model_name, predict_labelled, seed, **how
) -> None:
    """Classify the calibration CpGs that no earlier round placed, as `predict_shard` does those of the cohort."""
    cohort = Cohort(beta)
    ages = read_samples(samples)["age"].to_numpy()
    done = {cpg for path in placed for cpg in read_parquet(path, columns=["cpg"])["cpg"]}
    wanted = np.flatnonzero([cpg not in done for cpg in cohort.cpgs])
    predictor = None
    if len(wanted):
        taxa = read_parquet(labels, columns=["taxon"])["taxon"].to_numpy()
        cpgs = np.count_nonzero(predicted(taxa, predict_labelled, seed))
        predictor = _predictor(network, model_name, ages, seed, cpgs=cpgs, **how)
    table = _classify(cohort, wanted, ages, predictor)
    table.insert(0, "cpg", cohort.cpgs[wanted])
    write_parquet(out, table)


def _predictor(network: dict, model_name: str, ages, seed: int, *, device: str, precision: str, engine: str, cpgs: int):
    """What classifies a cohort's CpGs: the network in torch, or an engine of it for this cohort's ages.

    cpgs: those that round 0 predicts, in whatever shards, so that all jobs of a run decide alike.
    """
    # Here, since torch takes longer to load than all else, and a job that has nothing to classify needs it not.
    from cpgtaxa.learning import engine as engines
    from cpgtaxa.learning.devices import choose_device
    from cpgtaxa.learning.networks import load_predictor

    device = choose_device(device)
    quick = engines.wanted(engine, device, precision, cpgs)
    if quick or (device == "cpu" and precision == "auto" and cpgs < engines.MANY):
        precision = "float32"
    predictor = load_predictor(**network, model_name=model_name, device=device, precision=precision)
    return engines.quicker(predictor, engines.settling_images(ages, predictor.size, seed)) if quick else predictor


def _checked(wanted: np.ndarray, seed: int) -> np.ndarray:
    """Which of a cohort's CpGs the network is shown in float32 too, of those wanted: (n,) bool to (n,) bool."""
    rows = np.flatnonzero(wanted)
    number = min(CHECKED, int(np.ceil(CHECKED_SHARE * len(rows))))
    found = np.zeros(len(wanted), dtype=bool)
    found[np.random.default_rng([seed, 37]).choice(rows, number, replace=False)] = True
    return found


def _classify(cohort, wanted, ages, predictor, checked=None) -> pd.DataFrame:
    """Calibrated p_<taxon> and `distance` (see novelty.py) of the CpGs at `wanted`, drawn a block at a time.

    predictor: None where there are no such CpGs. checked: (len(wanted),) bool, those that the network is shown in
    float32 too, for check_<taxon>, if the predictor is an engine.
    """
    probabilities = np.empty((len(wanted), len(TAXA)), dtype=np.float32)
    distance = np.full(len(wanted), np.nan, dtype=np.float32)
    exact = np.full((len(wanted), len(TAXA)), np.nan, dtype=np.float32)
    checks = checked is not None and hasattr(predictor, "as_in_float32")
    progress = Progress(len(wanted), "CpGs classified", rate=True)
    for rows, images in _drawn(cohort, wanted, ages, predictor) if predictor else ():
        logits, features = predictor.outputs(images)
        probabilities[rows] = softmax(logits, predictor.temperature)
        if predictor.kept is not None:
            distance[rows] = novelty.distances(features, predictor.kept)
        if checks and len(again := np.flatnonzero(checked[rows])):
            exact[rows.start + again] = softmax(predictor.as_in_float32(images[again]), predictor.temperature)
        progress.step(len(logits))
    logging.info(f"{len(wanted):,} CpGs classified in {so_far(progress.spent())}")
    table = pd.DataFrame(probabilities, columns=list(PROBABILITY_COLUMNS)).assign(distance=distance)
    if checks:
        table[list(CHECK_COLUMNS)] = exact
    return table


def _drawn(cohort, wanted, ages, predictor):
    """Slices of `wanted`, and the images of their CpGs, a block at a time."""
    from cpgtaxa.learning.classifier import BLOCK, draw

    block = BLOCK[predictor.device]
    for first in range(0, len(wanted), block):
        images = draw(cohort.take(wanted[first : first + block]), ages, predictor)
        cohort.release()
        yield slice(first, first + len(images)), images

"""What the rules do with trained networks: take given ones over, classify test images and foreign images."""

import pathlib
import shutil

import numpy as np
import pandas as pd
import torch

from cpgtaxa.errors import InputError, gathered, refuse
from cpgtaxa.files import CHECKSUMS, atomic, check_other_run, gzipped
from cpgtaxa.images import render_torch
from cpgtaxa.images.image_sets import Packs, read_images
from cpgtaxa.images.packed import read_image_csv
from cpgtaxa.images.render import planes, render
from cpgtaxa.learning import networks
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA
from cpgtaxa.placement import novelty
from cpgtaxa.placement.rounds import read_parts
from cpgtaxa.plan.paths import MODELS

BLOCK = {"cpu": 256, "cuda": 4096}
"""CpGs drawn and classified at a time."""


def sample_features(predictor, planes, seed: int) -> np.ndarray:
    """Features (k, d) float16 of at most `novelty.KEPT` training images (n, 2, size, size), drawn at random."""
    rows = np.sort(np.random.default_rng([seed, 29]).permutation(len(planes))[: novelty.KEPT])
    return predictor.outputs(planes[rows])[1].astype(np.float16)


def use_weights(weights, stats, out, size: int) -> None:
    """Adopt given weights and statistics of a ResNet18 (or MixResNet18, the same network) as round 0's.

    Files in a run's results are held against the checksums that the run noted. A card beside them gives size and
    temperature; features beside them what the network learnt from. Without the latter nothing can be called out of
    distribution.
    """
    problems = []
    card, beside = card_beside(weights), card_beside(weights, "features.npy")
    if (results := pathlib.Path(weights).parent.parent).joinpath(pathlib.Path(CHECKSUMS).name).is_dir():
        check_other_run(results, [path for path in map(pathlib.Path, (weights, stats, card, beside)) if path.is_file()])
    checks = [(lambda p: networks.load_weights(p, MODELS[0]), weights), (networks.load_statistics, stats)]
    for check, path in [*checks, *([(networks.load_card, card)] if card.is_file() else [])]:
        gathered(problems, check, path)
    refuse(problems)
    predictor = networks.load_predictor(weights, stats, card, model_name=MODELS[0], size=size)
    if predictor.size != size:
        raise InputError(
            f"training.weights: {weights} was trained on images of {predictor.size} pixels, but images.size is {size}; "
            f"set images.size to {predictor.size}"
        )
    width = predictor.network.fc.in_features
    features = networks.load_features(beside, width) if beside.is_file() else np.empty((0, width), dtype=np.float16)
    networks.save_model(
        predictor.network.cpu(),
        out,
        model_name=MODELS[0],
        statistics=networks.load_statistics(stats),
        size=size,
        temperature=predictor.temperature,
        recipe={"weights": pathlib.Path(weights).name},
        seed=None,
        features=features,
    )
    with atomic(out["log"]) as temporary:
        pd.DataFrame(columns=list(networks.LOG_COLUMNS)).to_csv(temporary, index=False)


def pack_reference(network: dict, planes, out: dict, *, seed: int, device, precision) -> None:
    """Copy a network's files to ship them, the weights rounded and compressed to a tenth (see `networks.rounded`).

    planes: (n, 2, size, size) uint8 of the training images: they settle the rounded network, and features are kept.
    """
    statistics = networks.load_statistics(network["stats"])
    order = np.random.default_rng([seed, 31]).permutation(len(planes))[: networks.SETTLING]
    state = networks.rounded(networks.load_weights(network["weights"], MODELS[0]), planes[order], statistics)
    with gzipped(out["weights"]) as packed:
        torch.save(state, packed)
    for kind in ("stats", "card"):
        with atomic(out[kind]) as temporary:
            shutil.copyfile(network[kind], temporary)
    files = {kind: out[kind] for kind in ("weights", "stats", "card")}
    predictor = networks.load_predictor(**files, model_name=MODELS[0], device=device, precision=precision)
    networks.save_features(out["features"], sample_features(predictor, planes, seed))


def card_beside(weights, ending: str = "model.json") -> pathlib.Path:
    """Where a model's card (or its file with another ending) lies: beside the weights, in place of `best_model.pt`."""
    weights = pathlib.Path(weights)
    stem = weights.name.removesuffix(".gz").removesuffix(".pt").removesuffix("_best_model")
    return weights.with_name(f"{stem}_{ending}")


def _prediction_table(paths, labels, logits, temperature: float | None = None) -> pd.DataFrame:
    """The published table: raw softmax probabilities, a column per taxon; with a temperature, p_<taxon> after them."""
    probabilities = softmax(logits)
    first = probabilities.argmax(axis=1)
    table = pd.DataFrame({"ImagePath": paths, "ActualLabel": labels})
    table["PredictedLabelName"] = [TAXA[index] for index in first]
    table["PredictedLabelIndex"] = first
    for index, taxon in enumerate(TAXA):
        table[taxon] = probabilities[:, index]
    if temperature is not None:
        table[list(PROBABILITY_COLUMNS)] = softmax(logits, temperature)
    return table


def predict_test(network, test, packs, out, model_name, *, device, precision) -> None:
    """Classify a round's packed test images and write the published prediction table."""
    predictor = networks.load_predictor(**network, model_name=model_name, device=device, precision=precision)
    listed = read_parts({"test": test})["test"]
    logits = predictor.logits(Packs(packs).planes(listed["path"]))
    with atomic(out) as temporary:
        _prediction_table(listed["path"], listed["label"], logits).to_csv(temporary, index=False, float_format="%.6g")


def predict_images(settings: dict, out) -> None:
    """Classify the image files of a published CSV with given weights; write the published prediction table.

    settings: the config's `predict`, and `device`, `precision`. Raises InputError listing what is missing or wrong.
    """
    problems = [
        f"predict.{key} is not set: give {what}"
        for key, what in (
            ("images", "a CSV without header: image path, label"),
            ("weights", "a {modelName}_best_model.pt"),
            ("stats", "its {modelName}_normalization_stat.json"),
        )
        if not settings[key]
    ]
    refuse(problems)
    model_name = settings["model"]
    card = card_beside(settings["weights"])
    for check in (
        *([lambda: networks.load_card(card)] if card.is_file() else []),
        lambda: networks.load_weights(settings["weights"], model_name),
        lambda: networks.load_statistics(settings["stats"]),
        lambda: read_image_csv(settings["images"], settings["root"], labels_required=False),
    ):
        gathered(problems, check)
    refuse(problems)
    predictor = networks.load_predictor(
        settings["weights"],
        settings["stats"],
        card,
        model_name=model_name,
        size=settings["size"],
        device=settings["device"],
        precision=settings["precision"],
    )
    listed = read_image_csv(settings["images"], settings["root"], labels_required=False)
    logits = [predictor.logits(block) for block in read_images(listed, settings["root"], predictor.size)]
    with atomic(out) as temporary:
        table = _prediction_table(listed["path"], listed["label"], np.concatenate(logits), predictor.temperature)
        table.to_csv(temporary, index=False, float_format="%.6g")


def draw(beta, ages, predictor):
    """Planes of CpGs for a predictor's network, drawn where it runs: beta (k, n) float32, ages (n,) years."""
    if predictor.device == "cpu":
        return planes(render(beta, ages), predictor.size)
    there = torch.from_numpy(beta).to(predictor.device, non_blocking=True)
    return render_torch.planes(render_torch.render(there, ages), predictor.size)

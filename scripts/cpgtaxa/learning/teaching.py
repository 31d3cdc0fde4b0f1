"""Training a round's network on its images."""

import logging
import pathlib
import shutil

import numpy as np
import torch

from cpgtaxa.files import read_parquet
from cpgtaxa.images.image_sets import Packs
from cpgtaxa.images.packed import normalisation
from cpgtaxa.learning.classifier import sample_features
from cpgtaxa.learning.devices import choose_device
from cpgtaxa.learning.networks import Predictor, load_weights, save_model
from cpgtaxa.learning.recipes import recipe
from cpgtaxa.learning.training import Images, calibrate, targets_of, train
from cpgtaxa.placement.rounds import read_parts


def train_round(
    parts, packs, simulated_images, simulated_info, previous, out, *, model_name, settings, seed, size, work, threads
) -> None:
    """Train a round's network and write weights, normalisation statistics, card and log.

    parts: the round's CSVs. packs: packed images of this and earlier rounds. simulated_*: simulated images and their
    table (None without). previous: weights of the round before, or the shipped ones, for recipes that continue from
    them. threads: of a CPU; no output depends on how many.
    """
    chosen = recipe(settings["recipe"], model_name, settings["overrides"], settings["tuned"])
    images = Packs(packs + ([simulated_images] if simulated_images else []))
    listed = read_parts(parts)
    sets = {}
    boundary = _boundary_parts(simulated_info) if simulated_info and chosen["boundary"] else {}
    for part in ("training", "val"):
        paths, labels, others, shares = listed[part]["path"].tolist(), listed[part]["label"].tolist(), None, None
        if part in boundary:
            more = boundary[part]
            others = [""] * len(paths) + more["other"].tolist()
            shares = [1.0] * len(paths) + more["share"].tolist()
            paths, labels = paths + more["path"].tolist(), labels + more["label"].tolist()
        sets[part] = (images.planes(paths), targets_of(labels, others, shares))
    statistics = normalisation(sets["training"][0])
    initial = None
    if previous and chosen["warm_start"]:
        initial = load_weights(previous, model_name).state_dict()
        logging.info("starting from the weights %s", previous)
    train_set, val_set = Images(*sets["training"]), Images(*sets["val"])
    network = train(
        train_set,
        val_set,
        model_name=model_name,
        recipe=chosen,
        statistics=statistics,
        seed=seed,
        device=settings["device"],
        precision=settings["precision"],
        work=pathlib.Path(work),
        log_path=out["log"],
        initial=initial,
        threads=threads,
    )
    if choose_device(settings["device"]) == "cpu":
        torch.set_num_threads(1)  # more might add in another order
    temperature = calibrate(network, statistics, size, val_set, settings["device"], settings["precision"])
    predictor = Predictor(network, statistics, size, 1.0, settings["device"], settings["precision"])
    features = sample_features(predictor, train_set.planes, seed)
    logging.info("temperature %.3f", temperature)
    counts = {"training_images": len(train_set), "validation_images": len(val_set)}
    save_model(
        network,
        out,
        model_name=model_name,
        statistics=statistics,
        size=size,
        temperature=temperature,
        recipe=chosen,
        seed=seed,
        features=features,
        extra=counts,
    )
    shutil.rmtree(work, ignore_errors=True)  # nothing is left to continue


def _boundary_parts(simulated_info) -> dict:
    """Simulated boundary CpGs, four fifths for training, the rest for validation."""
    info = read_parquet(simulated_info, columns=["path", "label", "other", "share"])
    info = info[info["other"] != ""].reset_index(drop=True)
    held = np.arange(len(info)) % 5 == 4
    return {"training": info[~held], "val": info[held]}

"""DeepCpG's networks on windows: training of parts and of the whole, and predictions for every site."""

import json
import logging
import shutil
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from cpgtaxa.errors import InputError
from cpgtaxa.files import naming_damage, read_json, write_json
from cpgtaxa.learning.devices import Applied
from cpgtaxa.learning.loop import digest, save, tensors, train_network, use_threads
from cpgtaxa.models import create_model, deepcpg  # noqa: F401 - by name: seen here, edits rerun
from cpgtaxa.models.deepcpg import Cells
from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.kmers import one_hot
from cpgtaxa.targets.single_cell.metrics import cell_scores
from cpgtaxa.targets.single_cell.plan import PARTS, SPLITS
from cpgtaxa.targets.single_cell.tables import FARTHEST, filled, predictions_writer

PREDICTED = 1024
"""Windows predicted at once."""


class Windows:
    """The windows of one part of the split, read from memory-mapped shards a batch at a time.

    Items are (inputs, targets): inputs the one-hot sequence (n, 4, dna_wlen) float32 and the neighbours (n, cells, 2 ×
    cpg_wlen) float32, whichever of them `parts` (dna, cpg) names; targets (n, cells) float32, -1 where unobserved.
    split: number of the part, None for all.
    """

    def __init__(self, paths, parts, split: int | None = None):
        self.parts, self.blocks = parts, []
        for path in paths:
            with naming_damage(path):
                reader = pa.ipc.open_file(pa.memory_map(str(path)))
                meta = {key.decode(): value.decode() for key, value in reader.schema.metadata.items()}
                for number in range(reader.num_record_batches):
                    self.blocks.append(reader.get_batch(number))
        self.cells = json.loads(meta["cells"])
        self.dna_wlen, self.cpg_wlen = int(meta["dna_wlen"]), int(meta["cpg_wlen"])
        self.starts = np.concatenate([[0], np.cumsum([len(block) for block in self.blocks])])
        wanted = [
            np.asarray(block["split"]) == split if split is not None else np.ones(len(block), bool)
            for block in self.blocks
        ]
        self.rows = np.flatnonzero(np.concatenate(wanted)) if wanted else np.empty(0, dtype=np.int64)

    def __len__(self):
        return len(self.rows)

    def _gather(self, rows: np.ndarray, name: str) -> np.ndarray:
        """(n, …) of a column, for rows in any order."""
        block_of = np.searchsorted(self.starts, rows, side="right") - 1
        found = None
        for number in np.unique(block_of):
            column = self.blocks[number][name]
            if isinstance(column, pa.FixedSizeListArray):
                values = column.flatten().to_numpy().reshape(len(column), -1)
            else:
                values = column.to_numpy()
            here = np.flatnonzero(block_of == number)
            if found is None:
                found = np.empty((len(rows), *values.shape[1:]), dtype=values.dtype)
            found[here] = values[rows[here] - self.starts[number]]
        return found

    def sequences(self, indices) -> np.ndarray:
        """Base codes (n, dna_wlen) uint8."""
        return self._gather(self.rows[np.asarray(indices)], "dna")

    def targets(self, indices) -> np.ndarray:
        """States (n, cells) int8, -1 where unobserved."""
        return self._gather(self.rows[np.asarray(indices)], "targets")

    def column(self, name: str) -> np.ndarray:
        """A plain column (`site`, `position`) of all items."""
        return self._gather(self.rows, name)

    def inputs(self, indices) -> tuple:
        rows, found = self.rows[np.asarray(indices)], []
        if "dna" in self.parts:
            found.append(one_hot(self._gather(rows, "dna")))
        if "cpg" in self.parts:
            states, distances = self._gather(rows, "neighbours"), self._gather(rows, "distances")
            found.append(neighbourhood(states, distances, len(self.cells)))
        return tuple(map(torch.from_numpy, found))

    def __getitems__(self, indices):
        return self.inputs(indices), torch.from_numpy(self.targets(indices).astype(np.float32))


def neighbourhood(states: np.ndarray, distances: np.ndarray, cells: int) -> np.ndarray:
    """What a CpG model sees: (n, cells, 2 × neighbours) float32 of states, then distances in shares of FARTHEST.

    states int8 and distances int32 (n, cells × neighbours), see `tables.filled`.
    """
    state, distance = (values.reshape(len(states), cells, -1) for values in filled(states, distances))
    return np.concatenate([state, distance / np.float32(FARTHEST)], axis=2)


def masked_loss(outputs, targets):
    """Binary cross-entropy of logits (n, cells): the mean over a cell's observed targets, summed over cells."""
    seen = targets >= 0
    each = torch.nn.functional.binary_cross_entropy_with_logits(outputs, targets.clamp(min=0), reduction="none")
    return ((each * seen).sum(dim=0) / seen.sum(dim=0).clamp(min=1)).sum()


def log_scores(outputs, targets) -> dict[str, float]:
    """AUC and accuracy for the training log, means over cells."""
    scores = cell_scores(targets.numpy().astype(np.int8), torch.sigmoid(outputs).numpy())
    return {name: float(scores[name].mean()) for name in ("auc", "accuracy")}


def build(settings: dict, part: str, cells: int) -> Cells:
    """The network of a part: `dna`, `cpg` or `joint`, random weights."""
    dropout, parts = settings["dropout"], PARTS[part]
    dna = cpg = joint = None
    if "dna" in parts:
        dna = create_model(settings["dna_model"], length=settings["dna_wlen"], dropout=dropout)
    if "cpg" in parts:
        cpg = create_model(settings["cpg_model"], neighbours=settings["cpg_wlen"], dropout=dropout)
    if part == "joint":
        joint = create_model(settings["joint_model"], width=dna.features + cpg.features, dropout=dropout)
    return Cells(cells, dna, cpg, joint)


def train_part(windows, out: dict, *, part: str, trained: dict, settings: dict, seed: int, work) -> None:
    """Train one network and write its weights, its card and the training log.

    windows: the shards' files. trained: weights of the DNA and the CpG model where the joint one is to start from
    them; settings["parts"] says whether they stay as they are (`frozen`) or are trained on (`fine_tuned`). out: paths
    `weights`, `card`, `log`. work: folder for checkpoints.
    """
    use_threads(settings["threads"])
    train_set, val_set = (Windows(windows, PARTS[part], SPLITS[name]) for name in ("train", "val"))
    for name, found in (("train", train_set), ("val", val_set)):
        if not (len(found) and (found.targets(np.arange(min(len(found), 100_000))) >= 0).any()):
            raise InputError(
                f"single_cell: no observed site is left in the part `{name}` of the split: name other chromosomes in "
                f"single_cell.split.{name}"
            )
    torch.manual_seed(seed)
    network = build(settings, part, len(train_set.cells))
    for name, path in trained.items():
        getattr(network, name).load_state_dict(_stem(path, name))
    if trained and settings["parts"] == "frozen":
        network.freeze()
    count = sum(values.numel() for values in network.parameters() if values.requires_grad)
    logging.info(f"{part}: {count:,} parameters to train, {len(train_set):,} training and {len(val_set):,} other sites")
    started = time.perf_counter()
    best = train_network(
        network,
        masked_loss,
        train_set,
        val_set,
        settings=settings,
        batch=settings["batch"],
        most=settings["epoch_sites"],
        at_once=PREDICTED,
        seed=seed,
        scores=log_scores,
        work=work,
        key=_key(part, settings, seed, train_set, trained),
        log_path=out["log"],
    )
    epochs = len(pd.read_csv(out["log"]))
    pace = epochs * min(len(train_set), settings["epoch_sites"] or len(train_set)) / (time.perf_counter() - started)
    logging.info(f"{part}: {epochs} epochs, {pace:,.0f} windows/s with validation")
    save(out["weights"], best)
    write_json(
        out["card"],
        {
            "part": part,
            "models": {
                key: settings[f"{key}_model"] for key in (*PARTS[part], *(["joint"] if part == "joint" else []))
            },
            "cells": train_set.cells,
            "parameters": sum(values.numel() for values in network.parameters()),
            "epochs": epochs,
            "settings": settings,
            "seed": seed,
            "torch": torch.__version__,
        },
    )
    shutil.rmtree(work, ignore_errors=True)  # nothing is left to continue


def _key(part: str, settings: dict, seed: int, train_set: Windows, trained: dict) -> str:
    """What a checkpoint depends on: settings, sites and targets, and weights to start from."""
    given = {name: [float(one.double().sum()) for one in _stem(path, name).values()] for name, path in trained.items()}
    some = np.linspace(0, len(train_set) - 1, min(len(train_set), 20_000)).astype(np.int64)
    return digest(part, settings, seed, given, len(train_set), train_set.column("position"), train_set.targets(some))


def _stem(path, name: str) -> dict:
    """The weights of one part of a network that was trained apart."""
    with naming_damage(path):
        state = tensors(path)
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


class Trained(Applied):
    """A trained network, ready for windows."""

    def __init__(self, weights, card, device: str = "auto", precision: str = "auto"):
        content = read_json(card)
        self.part, self.cells, self.settings = content["part"], content["cells"], content["settings"]
        network = build(self.settings, self.part, len(self.cells))
        with naming_damage(weights):
            network.load_state_dict(tensors(weights))
        super().__init__(network, device, precision)

    def probabilities(self, *inputs) -> np.ndarray:
        """Of methylation, (n, cells) float32; inputs: tensors or arrays, as `Windows` gives them."""
        return torch.sigmoid(self(*inputs)).cpu().numpy()


def predict(windows, weights, card, out, *, settings: dict) -> None:
    """Predict every site of all shards, observed or not, in every cell: Parquet with `site` and a column per cell."""
    use_threads(settings["threads"])
    trained = Trained(weights, card, settings["device"], settings["precision"])
    data = Windows(windows, PARTS[trained.part])
    progress = Progress(len(data), "windows predicted", rate=True)
    with predictions_writer(out, trained.cells) as write:
        for start in range(0, len(data), PREDICTED):
            rows = np.arange(start, min(start + PREDICTED, len(data)))
            write(start, trained.probabilities(*data.inputs(rows)))
            progress.step(len(rows))
    pace = len(data) / max(progress.spent(), 1e-9)
    logging.info(f"{len(data):,} windows predicted, {pace:,.0f} windows/s")

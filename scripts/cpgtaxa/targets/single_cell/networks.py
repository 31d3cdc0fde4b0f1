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
from cpgtaxa.models import SITE_MODELS, cell_attention, create_model, deepcpg  # noqa: F401 - seen here, edits rerun
from cpgtaxa.models.deepcpg import Cells
from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.kmers import one_hot
from cpgtaxa.targets.single_cell.metrics import cell_scores
from cpgtaxa.targets.single_cell.neighbours import Neighbourhoods
from cpgtaxa.targets.single_cell.plan import PARTS, SPLITS
from cpgtaxa.targets.single_cell.tables import Sites, predictions_writer

PREDICTED = 1024
"""Windows predicted at once."""


class Windows:
    """The windows of one part of the split, read from memory-mapped shards a batch at a time.

    Items are (inputs, targets): inputs the one-hot sequence (n, 4, dna_wlen) float32 and what `near` gives of the sites
    around, whichever of them `parts` (dna, cpg) names; targets (n, cells) float32, -1 where unobserved. split: number
    of the part, None for all. near: see `neighbours.Neighbourhoods`, where parts name cpg. most: so many items at most,
    evenly spaced; None for all.
    """

    def __init__(self, paths, parts, split: int | None = None, near: Neighbourhoods | None = None, most=None):
        self.parts, self.near, self.blocks = parts, near, []
        for path in paths:
            with naming_damage(path):
                reader = pa.ipc.open_file(pa.memory_map(str(path)))
                meta = {key.decode(): value.decode() for key, value in reader.schema.metadata.items()}
                for number in range(reader.num_record_batches):
                    self.blocks.append(reader.get_batch(number))
        self.cells = json.loads(meta["cells"])
        self.dna_wlen = int(meta["dna_wlen"])
        self.starts = np.concatenate([[0], np.cumsum([len(block) for block in self.blocks])])
        wanted = [
            np.asarray(block["split"]) == split if split is not None else np.ones(len(block), bool)
            for block in self.blocks
        ]
        self.rows = np.flatnonzero(np.concatenate(wanted)) if wanted else np.empty(0, dtype=np.int64)
        if most is not None and most < len(self.rows):
            self.rows = self.rows[np.linspace(0, len(self.rows) - 1, most).astype(np.int64)]

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
        rows = self.rows[np.asarray(indices)]
        return self._gather(rows, "targets") if self.near is None else self.near.states[rows]

    def column(self, name: str) -> np.ndarray:
        """A plain column (`site`, `position`) of all items."""
        return self._gather(self.rows, name)

    def inputs(self, indices) -> tuple:
        rows, found = self.rows[np.asarray(indices)], []
        if "dna" in self.parts:
            found.append(one_hot(self._gather(rows, "dna")))
        if "cpg" in self.parts:
            found.append(self.near.inputs(rows))
        return tuple(map(torch.from_numpy, found))

    def __getitems__(self, indices):
        return self.inputs(indices), torch.from_numpy(self.targets(indices).astype(np.float32))


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
        known = {"cells": cells} if settings["cpg_model"] in SITE_MODELS else {}
        cpg = create_model(settings["cpg_model"], neighbours=settings["cpg_wlen"], dropout=dropout, **known)
    if part == "joint":
        joint = create_model(settings["joint_model"], width=dna.features + cpg.features, dropout=dropout)
    return Cells(cells, dna, cpg, joint)


def near_of(sites, network: Cells, settings: dict) -> Neighbourhoods | None:
    """What a network's CpG model sees of the table of sites; None where it has none."""
    if network.cpg is None:
        return None
    return Neighbourhoods(Sites(sites), settings["cpg_wlen"], getattr(network.cpg, "reach", 0))


def train_part(windows, sites, out: dict, *, part: str, trained: dict, settings: dict, seed: int, work) -> None:
    """Train one network and write its weights, its card and the training log.

    windows: the shards' files; sites: the table they are of. trained: weights of the DNA and the CpG model where the
    joint one is to start from them; settings["parts"] says whether they stay as they are (`frozen`) or are trained on
    (`fine_tuned`); `epoch_sites`: training sites of an epoch, and validation sites at most. out: paths `weights`,
    `card`, `log`. work: folder for checkpoints.
    """
    use_threads(settings["threads"])
    torch.manual_seed(seed)
    network = build(settings, part, len(Sites(sites).cells))
    near = near_of(sites, network, settings)
    train_set = Windows(windows, PARTS[part], SPLITS["train"], near)
    val_set = Windows(windows, PARTS[part], SPLITS["val"], near, settings["epoch_sites"])
    for name, found in (("train", train_set), ("val", val_set)):
        if not (len(found) and (found.targets(np.arange(min(len(found), 100_000))) >= 0).any()):
            raise InputError(
                f"single_cell: no observed site is left in the part `{name}` of the split: name other chromosomes in "
                f"single_cell.split.{name}"
            )
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


def predict(windows, sites, weights, card, out, *, settings: dict) -> None:
    """Predict every site of all shards, observed or not, in every cell: Parquet with `site` and a column per cell.

    sites: the table that the windows are of. The state of a site in a cell has no part in what is predicted for it.
    """
    use_threads(settings["threads"])
    trained = Trained(weights, card, settings["device"], settings["precision"])
    data = Windows(windows, PARTS[trained.part], near=near_of(sites, trained.network, trained.settings))
    progress = Progress(len(data), "windows predicted", rate=True)
    with predictions_writer(out, trained.cells) as write:
        for start in range(0, len(data), PREDICTED):
            rows = np.arange(start, min(start + PREDICTED, len(data)))
            write(start, trained.probabilities(*data.inputs(rows)))
            progress.step(len(rows))
    pace = len(data) / max(progress.spent(), 1e-9)
    logging.info(f"{len(data):,} windows predicted, {pace:,.0f} windows/s")

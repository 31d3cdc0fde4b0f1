"""Training image classifiers with the one loop (`cpgtaxa.learning.loop`)."""

import contextlib
import functools
import logging
import math
import pathlib

import numpy as np
import torch

from cpgtaxa.learning.devices import choose_device, use_bfloat16
from cpgtaxa.learning.loop import EpochSampler, as_is, digest, fit
from cpgtaxa.learning.networks import Normalise, Predictor
from cpgtaxa.learning.parts import Parts
from cpgtaxa.learning.temperature import fit_temperature
from cpgtaxa.models import backbones, create_model  # noqa: F401 - by name: seen here, edits rerun
from cpgtaxa.models.vision import EMAWeightAveraging, lightning
from cpgtaxa.names import INDEX, TAXA


class Images(torch.utils.data.Dataset):
    """Image planes (n, 2, size, size) uint8 and targets (n, 10) float32, fetched a batch at a time."""

    def __init__(self, planes, targets):
        self.planes = torch.from_numpy(np.ascontiguousarray(planes))
        self.targets = torch.from_numpy(np.asarray(targets, dtype=np.float32))

    def __len__(self):
        return len(self.targets)

    def __getitems__(self, indices):
        return self.planes[indices], self.targets[indices]

    def move(self, device, share=0.25):
        """Hold the images on a GPU where they take no more than a share of its free memory."""
        if self.planes.nbytes <= share * torch.cuda.mem_get_info()[0]:
            self.planes, self.targets = self.planes.to(device), self.targets.to(device)


class Classifier(lightning.LightningModule):
    """A network with the settings of a recipe; boundary CpGs come as targets shared between two taxa.

    parts: threads for the parts of batches on a CPU; None lets torch compute whole ones.
    """

    def __init__(self, network, recipe, statistics, seed, steps, parts):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.normalise = Normalise(statistics)
        self.recipe, self.seed, self.steps, self.parts = recipe, seed, steps, parts
        self.sums = {}

    def _loss(self, network, planes, targets, smoothing=0.0):
        """Mean loss of images, and sums for the log: loss, images, those right, of those that have one taxon."""
        logits = network(self.normalise(planes)).float()
        loss = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        with torch.no_grad():
            clean = targets.max(dim=1).values > 0.99
            right = (logits.argmax(dim=1) == targets.argmax(dim=1))[clean].sum().item()
            return loss, np.array([loss.item() * len(targets), len(targets), right, clean.sum().item()])

    def _note(self, part, sums):
        self.sums[part] = self.sums.get(part, 0) + sums

    def training_step(self, batch, index):
        planes, targets = batch
        rng = np.random.default_rng([self.seed, self.current_epoch, index])
        for mirror, axis in (("flip", 2), ("mirror_age", 3)):
            if self.recipe[mirror]:
                mirrored = torch.from_numpy(rng.random(len(planes)) < 0.5).to(planes.device).view(-1, 1, 1, 1)
                planes = torch.where(mirrored, planes.flip(axis), planes)
        loss = functools.partial(self._loss, smoothing=self.recipe["label_smoothing"])
        if self.parts is None:
            mean, sums = loss(self.network, planes, targets)
        else:
            sums = sum(self.parts.learnt(self.network, loss, planes, targets))
            mean = torch.tensor(sums[0] / sums[1])
        self._note("train", sums)
        return mean

    def backward(self, loss):
        if self.parts is None:
            super().backward(loss)
        else:  # the parts' gradients are there; what lightning cleared in between are those of the batch before
            self.parts.add_gradients(self.network)

    def validation_step(self, batch, index):
        if self.parts is None:
            self._note("val", self._loss(self.network, *batch)[1])
        else:
            self._note("val", sum(self.parts.seen(lambda *part: self._loss(self.network, *part)[1], *batch)))

    def on_train_epoch_start(self):
        self.sums.pop("train", None)

    def on_validation_epoch_end(self):
        loss, n, right, clean = self.sums.pop("val", np.zeros(4))
        self.log("val_loss", float(loss / max(n, 1)))
        self.log("val_acc", float(right / max(clean, 1)))

    def row(self, trainer) -> dict:
        """The epoch's numbers for the training log, by their published names."""
        loss, n, right, clean = self.sums["train"]
        metrics = {name: trainer.callback_metrics[name] for name in ("val_loss", "val_acc")}
        return {"train_loss": loss / n, "train_acc": right / max(clean, 1), **metrics}

    def configure_optimizers(self):
        r = self.recipe
        # On a CPU torch's fused step takes a fifth of the time of its default.
        fused = None if self.parts is None else True
        settings = {"params": self.network.parameters(), "weight_decay": r["weight_decay"], "fused": fused}
        if r["optimiser"] == "sgd":
            optimiser = torch.optim.SGD(lr=r["lr"], momentum=r["momentum"], **settings)
        else:
            kind = torch.optim.Adam if r["optimiser"] == "adam" else torch.optim.AdamW
            optimiser = kind(lr=r["lr"], **settings)
        if r["schedule"] == "plateau":
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, "min", factor=0.1, patience=3)
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}
        if r["schedule"] == "one_cycle":
            total = max(5, self.steps * r["epochs"])  # of four, torch divides by the length of a rise without any
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, r["lr"], total_steps=total, pct_start=0.25, final_div_factor=1e3
            )
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        return optimiser


def train(
    train_set: Images,
    val_set: Images,
    *,
    model_name: str,
    recipe: dict,
    statistics: dict,
    seed: int,
    device: str,
    precision: str,
    work: pathlib.Path,
    log_path: pathlib.Path,
    initial: dict | None = None,
    threads: int | None = None,
) -> torch.nn.Module:
    """Train `model_name` and return the network with the best validation score (recipe's `monitor`).

    statistics: normalisation, `mean` and `std` of three channels. work: folder for checkpoints, one subfolder per
    digest of data, settings and code; a run killed midway continues there, and other digests' checkpoints are
    removed. initial: state dict to start from. threads: on a CPU, torch's number where None; the network does not
    depend on it. Writes the training log to `log_path`.
    """
    lightning.seed_everything(seed, workers=True, verbose=False)
    network = create_model(model_name)
    if initial is not None:
        network.load_state_dict(initial)
    tensors = [train_set.planes, train_set.targets, val_set.planes, val_set.targets, *(initial or {}).values()]
    key = digest(model_name, recipe, statistics, seed, *(tensor.numpy() for tensor in tensors))
    if choose_device(device) == "gpu":
        for images in (train_set, val_set):
            images.move("cuda")
        threading = contextlib.nullcontext()
    else:
        threading = Parts(threads or torch.get_num_threads(), use_bfloat16(precision, "cpu"))
    steps = math.ceil(len(train_set) / recipe["batch"])
    sampler = EpochSampler(len(train_set), seed, balance(train_set.targets) if recipe["balance"] else None)
    numbers = f"{len(train_set)} training and {len(val_set)} validation images"
    logging.info(f"{model_name}: {numbers} of {train_set.planes.shape[-1]} px")
    with threading as parts:
        best = fit(
            Classifier(network, recipe, statistics, seed, steps, parts),
            torch.utils.data.DataLoader(train_set, recipe["batch"], sampler=sampler, collate_fn=as_is),
            torch.utils.data.DataLoader(val_set, 256, shuffle=False, collate_fn=as_is),
            epochs=recipe["epochs"],
            monitor=recipe["monitor"],
            mode="max" if recipe["monitor"] == "val_acc" else "min",
            patience=recipe["patience"],
            min_delta=recipe["min_delta"],
            work=work,
            key=key,
            log_path=log_path,
            device=device,
            precision=precision,
            # First, so that validation and checkpoints see the mean.
            first=[EMAWeightAveraging(decay=recipe["ema"])] if recipe["ema"] else [],
        )
    network.load_state_dict(best)
    return network.eval().cpu()


def targets_of(labels, others=None, shares=None) -> np.ndarray:
    """Targets (n, 10) float32: 1 for the label, or `shares` (n,) for it and the rest for a second taxon in `others`."""
    targets = np.zeros((len(labels), len(TAXA)), dtype=np.float32)
    rows = np.arange(len(labels))
    targets[rows, [INDEX[label] for label in labels]] = 1.0
    if others is not None:
        for row, other in enumerate(others):
            if isinstance(other, str) and other:
                share = 0.5 if shares is None else shares[row]
                targets[row] *= share
                targets[row, INDEX[other]] += 1 - share
    return targets


def balance(targets) -> np.ndarray:
    """Weights (n,) with which all taxa are drawn equally often, for targets (n, 10), shares included."""
    targets = np.asarray(targets, dtype=np.float64)
    counts = targets.sum(axis=0)
    return targets @ np.divide(1, counts, out=np.zeros_like(counts), where=counts > 0)


def calibrate(network, statistics, size, val_set: Images, device, precision) -> float:
    """Temperature fitted on the validation images that have one taxon.

    Boundary CpGs are left out: with them, networks look less sure of clear CpGs than they are right.
    """
    clean = np.flatnonzero(val_set.targets.cpu().numpy().max(axis=1) > 0.99)
    predictor = Predictor(network, statistics, size, device=device, precision=precision)
    logits = predictor.logits(val_set.planes[clean])
    return fit_temperature(logits, val_set.targets[clean].cpu().numpy().astype(np.float64))

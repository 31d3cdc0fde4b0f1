"""One training loop for every network, on lightning: seeded, resumable, in mixed precision where it is fast."""

import hashlib
import json
import logging
import os
import pathlib
import shutil
import sys
import time
import warnings
import zipfile

import numpy as np
import pandas as pd
import torch

from cpgtaxa.files import atomic, sha256
from cpgtaxa.learning.devices import choose_device, use_bfloat16
from cpgtaxa.learning.saving import save, tensors
from cpgtaxa.models.vision import Callback, EarlyStopping, ModelCheckpoint, TorchCheckpointIO, lightning
from cpgtaxa.plan.sources import library_files
from cpgtaxa.progress import Progress


def use_threads(wanted: int) -> None:
    """Have torch use so many threads on the CPU, but no more than there are cores: the last waits for the others."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if wanted > there:
        logging.warning(
            f"training.threads is {wanted}, but this process may use {there} cores only: networks will differ in the "
            "last digits"
        )
    torch.set_num_threads(min(wanted, there))


# --- batches ---------------------------------------------------------------------------------------------------------


class EpochSampler(torch.utils.data.Sampler):
    """Random order that depends on seed and epoch alone, so that a resumed run sees what an undisturbed one does.

    weights: (n,) how often each item is drawn, with repeats; None draws each once. most: items drawn in an epoch, all
    where None.
    """

    def __init__(self, n, seed, weights=None, most=None):
        self.n, self.seed, self.epoch = n, seed, 0
        self.shares = None if weights is None else weights / np.sum(weights)
        self.drawn = n if most is None else min(most, n)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.drawn

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.shares is None:
            return iter(rng.permutation(self.n)[: self.drawn].tolist())
        return iter(rng.choice(self.n, self.drawn, p=self.shares).tolist())


def batches(dataset, size: int, seed: int | None = None, most: int | None = None) -> torch.utils.data.DataLoader:
    """Batches of a dataset whose `__getitems__(indices)` fetches a whole one: in an order of seed and epoch, or in its
    own where seed is None. most: items in an epoch, chosen anew each time."""
    sampler = None if seed is None else EpochSampler(len(dataset), seed, most=most)
    return torch.utils.data.DataLoader(dataset, size, sampler=sampler, shuffle=False, collate_fn=as_is)


def as_is(batch):
    return batch


# --- what is learnt --------------------------------------------------------------------------------------------------


class Learner(lightning.LightningModule):
    """A network with its loss, its penalty and Adam, whose learning rate is `lr` × `lr_decay` ** (epoch // `lr_step`).

    warmup: over so many first batches the rate rises to that evenly.

    A batch is (inputs, targets): `network(*inputs)` gives outputs, `loss(outputs, targets)` the mean loss. l1, l2:
    added are l1·Σ|w| + l2·Σw² over the weights (not the biases) that are trained. scores: a function of outputs and
    targets of a whole epoch, tensors on the CPU, that gives a dict of numbers for the log.
    """

    def __init__(self, network, loss, *, lr, lr_decay=1.0, lr_step=1, warmup=0, l1=0.0, l2=0.0, scores=None):
        super().__init__()
        self.network, self.loss = network, loss
        self.lr, self.lr_decay, self.lr_step = lr, lr_decay, lr_step
        self.warmup, self.l1, self.l2 = warmup, l1, l2
        self.scores = scores or (lambda outputs, targets: {})
        self.seen = {"train": [], "val": []}
        self.numbers = {}

    def _step(self, batch, part):
        inputs, targets = batch
        outputs = self.network(*inputs).float()
        loss = self.loss(outputs, targets)
        self.seen[part].append((loss.detach() * len(targets), outputs.detach().cpu(), targets.cpu()))
        return loss

    def penalty(self):
        """l1·Σ|w| + l2·Σw² over the weights that are trained."""
        total = 0.0
        for weights in self.network.parameters():
            if weights.requires_grad and weights.ndim > 1:
                total = total + self.l1 * weights.abs().sum() + self.l2 * weights.square().sum()
        return total

    def training_step(self, batch, index):
        loss = self._step(batch, "train")
        return loss + self.penalty() if self.l1 or self.l2 else loss

    def validation_step(self, batch, index):
        self._step(batch, "val")

    def on_train_epoch_start(self):
        self.seen["train"].clear()
        self.lr_now = self.lr * self.lr_decay ** (self.current_epoch // self.lr_step)

    def on_train_batch_start(self, batch, index):
        # After the warm-up the epochs' scheduler goes on from the full rate.
        if self.trainer.global_step < self.warmup:
            share = (self.trainer.global_step + 1) / self.warmup
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = self.lr_now * share

    def on_validation_epoch_start(self):
        self.seen["val"].clear()

    def on_validation_epoch_end(self):
        self.numbers = {}
        for part in ("train", "val"):
            losses, outputs, targets = zip(*self.seen[part], strict=True)
            outputs, targets = torch.cat(outputs), torch.cat(targets)
            self.numbers[f"{part}_loss"] = float(sum(losses)) / len(targets)
            self.numbers |= {f"{part}_{name}": value for name, value in self.scores(outputs, targets).items()}
            self.seen[part].clear()
        self.log_dict(self.numbers)

    def row(self, trainer) -> dict:
        """The epoch's numbers for the training log."""
        return self.numbers | {"lr": self.lr_now}

    def configure_optimizers(self):
        optimiser = torch.optim.Adam([one for one in self.network.parameters() if one.requires_grad], self.lr)
        return [optimiser], [torch.optim.lr_scheduler.StepLR(optimiser, self.lr_step, self.lr_decay)]


VALIDATION = 1 / 3
"""Work of an image that is looked at, next to one that is learnt from, whose gradients cost twice as much again."""


class TrainingLog(Callback):
    """The training log, one row an epoch, kept in checkpoints for resuming; and lines of progress.

    Epochs are logged as often as `Progress` logs anything, the first and the last always; in between, batches.
    """

    def __init__(self, path, epochs, *, early: bool):
        self.path, self.epochs, self.rows, self.early = pathlib.Path(path), epochs, [], early
        self.progress, self.first = None, True

    def state_dict(self):
        return {"rows": self.rows}

    def load_state_dict(self, state_dict):
        self.rows = state_dict["rows"]

    def on_train_epoch_start(self, trainer, module):
        self.started = time.perf_counter()
        if self.progress is None:
            sizes = [loader.batch_size or 1 for loader in (trainer.train_dataloader, trainer.val_dataloaders)]
            self.trained, self.seen = sizes[0], VALIDATION * sizes[1]
            self.batches = trainer.num_training_batches
            epoch = self.batches * self.trained + sum(trainer.num_val_batches) * self.seen
            self.progress = Progress(
                self.epochs * epoch, "epochs", before=trainer.current_epoch * epoch, at_most=self.early
            )

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.progress.add(self.trained)
        if self.progress.due() and index + 1 < self.batches:
            self.progress.log(
                f"epoch {trainer.current_epoch + 1:,} of {self.epochs:,}, {index + 1:,} of {self.batches:,} batches"
            )

    def on_validation_batch_end(self, trainer, module, outputs, batch, index, loader=0):
        if not trainer.sanity_checking:
            self.progress.add(self.seen)

    def on_validation_end(self, trainer, module):
        # Runs before ModelCheckpoint writes, so that a checkpoint always holds its own epoch's row.
        if trainer.sanity_checking:
            return
        seconds = time.perf_counter() - self.started
        epoch = trainer.current_epoch + 1
        numbers = {key: float(value) for key, value in module.row(trainer).items()}
        self.rows.append({"epoch": epoch, **numbers, "epoch_duration_s": seconds})
        pd.DataFrame(self.rows).to_csv(self.path, index=False, float_format="%.6g")
        if self.first or epoch == self.epochs or self.progress.due():
            self.first = False
            listed = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in numbers.items())
            self.progress.log(f"epoch {epoch} of {self.epochs}: {listed}")

    def on_fit_end(self, trainer, module):
        if self.rows and self.rows[-1]["epoch"] < self.epochs:
            logging.info(f"no better for a while: training ends after {self.rows[-1]['epoch']} of {self.epochs} epochs")


class SeededBatches(Callback):
    """What torch draws for a batch, such as dropout, depends on `key`, epoch and batch: also in a resumed run.

    Not once an epoch: data loaders draw too, and in a resumed run at another time.
    """

    def __init__(self, key: str):
        self.key = key

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        torch.manual_seed(int(digest(self.key, trainer.current_epoch, batch_idx)[:15], 16))


# --- the loop --------------------------------------------------------------------------------------------------------


def fit(
    module,
    train_loader,
    val_loader,
    *,
    epochs: int,
    monitor: str = "val_loss",
    mode: str = "min",
    patience: int = 0,
    min_delta: float = 0.0,
    work,
    key: str,
    log_path,
    device: str,
    precision: str,
    first=(),
    logger=False,
) -> dict:
    """Train `module`, a lightning module with a `network` and a `row`; return the best epoch's weights of the network.

    monitor, mode: which epoch is the best; patience: epochs without an improvement (above min_delta) after which
    training stops, 0 for never. work: folder for checkpoints, one subfolder per `key`, device and code; a run killed
    midway continues there, and others' checkpoints are removed. key: digest of data and settings. device, precision:
    as `cpgtaxa.learning.devices`. first: callbacks that run before all others. Writes the training log to `log_path`.
    """
    _quiet()
    device = choose_device(device)
    bfloat16 = use_bfloat16(precision, device)
    versions = (torch.__version__, lightning.__version__, torch.get_num_threads(), code_digests(module))
    folder = pathlib.Path(work) / digest(key, bool(bfloat16), *versions)
    folder.mkdir(parents=True, exist_ok=True)
    for other in pathlib.Path(work).iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    keeper = Keeper(folder, "best", monitor, mode=mode, save_last=True, enable_version_counter=False)
    callbacks = [
        *first,
        SeededBatches(key),
        TrainingLog(folder / "training_log.csv", epochs, early=bool(patience)),
        keeper,
    ]
    if patience:
        callbacks.append(EarlyStopping(monitor, min_delta, patience, mode=mode, verbose=False))
    trainer = lightning.Trainer(
        accelerator=device,
        devices=1,
        precision="bf16-mixed" if bfloat16 else "32-true",
        max_epochs=epochs,
        callbacks=callbacks,
        default_root_dir=folder,
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[Checkpoints()],
    )
    last = folder / "last.ckpt"
    if last.exists():
        if is_checkpoint(last) and is_checkpoint(folder / "best.ckpt"):
            logging.info("continuing from the checkpoint in %s", folder)
        else:
            logging.warning("the checkpoint in %s is damaged or something else: training starts anew", folder)
            shutil.rmtree(folder)
            folder.mkdir()
    logging.info("training on %s in %s", device, "bfloat16" if bfloat16 else "float32")
    trainer.fit(module, train_loader, val_loader, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    # Not the path the checkpoint remembers: the folder may have been moved since.
    best = folder / "best.ckpt"
    best = torch.load(best if best.exists() else last, map_location="cpu", weights_only=True)["state_dict"]
    with atomic(log_path) as temporary:
        shutil.copyfile(folder / "training_log.csv", temporary)
    prefix = "network."
    return {name[len(prefix) :]: value for name, value in best.items() if name.startswith(prefix)}


def train_network(
    network, loss, train_set, val_set, *, settings: dict, batch, at_once, seed: int, most=None, scores=None, **how
) -> dict:
    """Train a network by `fit`; it has the best epoch's weights in the end, which are returned.

    loss, scores: as of `Learner`. train_set, val_set: as of `batches`, of `batch` items that are learnt from, chosen by
    `seed`, `most` an epoch, and `at_once` that are looked at. settings: epochs, lr, lr_decay, device, precision; and
    lr_step, warmup (in epochs), l1, l2, patience where they are others than those of `Learner` and `fit`. how: what
    else `fit` is to know.
    """

    def named(*keys):
        return {key: settings[key] for key in keys if key in settings}

    warmup = round(settings.get("warmup", 0) * -(-len(train_set) // batch))
    learner = Learner(network, loss, warmup=warmup, scores=scores, **named("lr", "lr_decay", "lr_step", "l1", "l2"))
    loaders = batches(train_set, batch, seed, most), batches(val_set, at_once)
    weights = fit(learner, *loaders, **named("epochs", "patience", "device", "precision"), **how)
    network.load_state_dict(weights)
    return weights


def _quiet() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*srun.*")


# --- checkpoints -----------------------------------------------------------------------------------------------------


class Keeper(ModelCheckpoint):
    """Keeps the best epoch's checkpoint and the last; knows them again in a folder that was moved or copied.

    lightning loses the best epoch where the folder is another: a later, worse one would take its place.
    """

    def load_state_dict(self, state_dict):
        here = pathlib.Path(self.dirpath)

        def moved(path):
            return str(here / pathlib.PurePath(path).name) if path else path

        paths = {key: moved(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {moved(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | paths | {"best_k_models": best, "dirpath": self.dirpath})


class Checkpoints(TorchCheckpointIO):
    """Checkpoints written beside their final name, not in the temporary folder, where a kill would leave them."""

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        save(path, checkpoint, durable=False)  # an incomplete one would be noticed, see `_whole`


def _whole(path) -> bool:
    """Whether a checkpoint is there and what was written: every part of the file carries a checksum."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, RuntimeError):  # the last: said to be encrypted, or odd
        return False


def is_checkpoint(path: pathlib.Path) -> bool:
    """Whether a file is a whole checkpoint of tensors and plain values; nothing in it is ever executed."""
    if not _whole(path):
        return False
    try:
        content = tensors(path)
    except Exception as error:
        logging.warning("%s cannot be read (%s)", path, type(error).__name__)
        return False
    return isinstance(content, dict) and {"state_dict", "optimizer_states", "loops", "callbacks"} <= set(content)


def code_digests(module) -> dict[str, str]:
    """SHA-256 by name of the library files that the training of a module rests on.

    These are this one, those of the classes of its parts, and all that they import.

    A checkpoint is continued by the code that began it, or not at all; an edit of a page is none of its business.
    """
    classes = {kind.__module__ for part in module.modules() for kind in type(part).__mro__}
    own = [sys.modules[name].__file__ for name in classes if name.partition(".")[0] == "cpgtaxa"]
    files = {pathlib.Path(path).resolve() for source in (__file__, *own) for path in (source, *library_files(source))}
    library = pathlib.Path(__file__).resolve().parents[1]
    return {str(path.relative_to(library)): sha256(path) for path in sorted(files)}


def digest(*parts) -> str:
    """Short SHA-256 over JSON-able settings and numpy arrays."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(str((part.shape, part.dtype)).encode())
            total.update(np.ascontiguousarray(part).tobytes())
        else:
            total.update(json.dumps(part, sort_keys=True).encode())
    return total.hexdigest()[:16]

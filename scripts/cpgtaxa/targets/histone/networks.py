"""GeneNet and DeepChrome: trained, and asked about the test genes."""

import logging
import pathlib
import shutil

import numpy as np
import torch

from cpgtaxa.files import atomic_folder, write_parquet
from cpgtaxa.learning.devices import Applied
from cpgtaxa.learning.loop import digest, save, tensors, train_network, use_threads
from cpgtaxa.models import create_model, genenet  # noqa: F401 - by name: seen here, edits rerun
from cpgtaxa.models.vision import Callback, lightning
from cpgtaxa.seeds import unit_seed
from cpgtaxa.statistics.areas import auc
from cpgtaxa.targets.histone.cells import Cell, gather, labels_of, preprocess
from cpgtaxa.targets.histone.study import Part, open_cells, parts_of, predictions

AT_ONCE = 512
"""Genes predicted at once."""
ALIKE = 0.01
"""Probabilities within so little of each other are one answer for all genes."""


def inputs_of(network: str, counts: np.ndarray) -> torch.Tensor:
    """What a network is given of (n, bins, marks) counts: GeneNet (n, values), DeepChrome (n, marks, bins) counts."""
    if network == "GeneNet":
        return torch.from_numpy(preprocess(counts))
    return torch.from_numpy(np.ascontiguousarray(counts.transpose(0, 2, 1)))


def new_network(network: str, marks: int, bins: int) -> torch.nn.Module:
    """A network for so many marks and bins, random weights."""
    if network == "GeneNet":
        return create_model(network, values=(bins + 1) * marks)
    return create_model(network, marks=marks, bins=bins)


class Genes(torch.utils.data.Dataset):
    """Genes of one or more cell types as a network is given them, fetched a batch at a time from the mapped files."""

    def __init__(self, network: str, cells: list[Cell], part: Part):
        self.network, self.cells, self.part = network, cells, part

    def __len__(self):
        return len(self.part)

    def __getitems__(self, indices):
        which, rows = self.part.which[indices], self.part.rows[indices]
        inputs = inputs_of(self.network, gather(self.cells, which, rows))
        return (inputs,), torch.from_numpy(labels_of(self.cells, which, rows))


def _scores(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """Accuracy and AUC of (n, 2) logits."""
    right = (outputs.argmax(dim=1) == targets).float().mean().item()
    return {"acc": right, "auc": auc((outputs[:, 1] - outputs[:, 0]).numpy(), targets.numpy() == 1)}


class TensorBoard(Callback):
    """The log's numbers and histograms of all weights after each epoch, in files that TensorBoard shows."""

    def __init__(self, folder):
        self.folder = folder

    def on_fit_start(self, trainer, module):
        import tensorboard  # noqa: F401 - which torch's writer needs
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(self.folder)

    def on_validation_end(self, trainer, module):
        epoch = trainer.current_epoch + 1
        for name, value in module.row(trainer).items():
            self.writer.add_scalar(name, value, epoch)
        for name, weights in module.network.named_parameters():
            self.writer.add_histogram(name, weights.detach().cpu().numpy(), epoch)

    def on_fit_end(self, trainer, module):
        self.writer.close()


class Predictor:
    """Probabilities of high expression by a trained network."""

    def __init__(self, network: str, module: torch.nn.Module, device: str, precision: str):
        self.network, self.applied = network, Applied(module, device, precision)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """(n,) float32 from (n, bins, marks) counts."""
        found = np.empty(len(counts), dtype=np.float32)
        for start in range(0, len(counts), AT_ONCE):
            outputs = self.applied(inputs_of(self.network, counts[start : start + AT_ONCE]))
            found[start : start + AT_ONCE] = outputs.softmax(dim=1)[:, 1].cpu().numpy()
        return found


def load_network(path, network: str, cell: Cell) -> torch.nn.Module:
    """A trained network from its weights."""
    module = new_network(network, len(cell.marks), cell.bins)
    module.load_state_dict(tensors(path))
    return module


def fit_network(paths, out: dict, *, unit: str, network: str, settings: dict, seed: int, work) -> None:
    """Train a network on the genes of a unit and predict its test genes.

    paths: `Cell` files of the unit. settings: `epochs`, `batch_size`, `lr`, `lr_decay`, `warmup`, `patience`, `debug`,
    `device`, `precision`, `threads`. out: `weights` (state dict), `log` (CSV), `predictions` (Parquet: cell, gene,
    label, probability), and where debugging `tensorboard`, a folder. work: folder for checkpoints.

    As published: Adam, cross-entropy, the learning rate times lr_decay each epoch, and the weights of the epoch with
    the highest validation accuracy, the first of them. The published mixed run is tested with its last epoch's
    weights instead, though its best are saved; here both modes keep the best. Not as published: the learning rate rises
    over the first `warmup` epochs, without which GeneNet's wide layer of tanh units is saturated within a few batches.
    """
    use_threads(settings["threads"])
    cells = open_cells(paths)
    parts = parts_of(cells, unit, seed)
    first = cells[0]
    seed = unit_seed(seed, unit, network)
    lightning.seed_everything(seed, workers=True, verbose=False)
    sets = {split: Genes(network, cells, parts[split]) for split in ("train", "valid")}
    module = new_network(network, len(first.marks), first.bins)
    counted = ", ".join(f"{len(parts[split]):,} {split}" for split in parts)
    logging.info(f"{network} on {unit}: {counted} genes of {len(cells):,} cell types")
    chosen = {key: settings[key] for key in ("epochs", "batch_size", "lr", "lr_decay", "warmup", "patience")}
    pathlib.Path(work).mkdir(parents=True, exist_ok=True)
    # TensorBoard's own files grow as training does: written in the work folder, and handed over whole.
    logs = pathlib.Path(f"{work}.tensorboard")
    weights = train_network(
        module,
        torch.nn.functional.cross_entropy,
        sets["train"],
        sets["valid"],
        settings=settings,
        batch=settings["batch_size"],
        at_once=AT_ONCE,
        seed=seed,
        scores=_scores,
        monitor="val_acc",
        mode="max",
        work=work,
        key=digest(network, unit, chosen, seed, *_content(cells, parts)),
        log_path=out["log"],
        first=[TensorBoard(logs)] if settings["debug"] else [],
    )
    save(out["weights"], weights)
    predictor = Predictor(network, module, settings["device"], settings["precision"])
    found = predictions(cells, parts["test"], predictor, AT_ONCE)
    write_parquet(out["predictions"], found)
    if settings["debug"]:
        with atomic_folder(out["tensorboard"]) as folder:
            shutil.copytree(logs, folder, dirs_exist_ok=True)
        shutil.rmtree(logs)
    shutil.rmtree(work, ignore_errors=True)  # nothing is left to continue
    score = auc(found["probability"].to_numpy(), found["label"].to_numpy() == 1)
    logging.info(f"{network} on {unit}: AUC {score:.3f} over {len(found):,} test genes")
    warn_of_one_answer(found["probability"].to_numpy(), f"{network} on {unit}")


def warn_of_one_answer(probability: np.ndarray, what: str) -> None:
    """Say so where a network got stuck in training: its probabilities are the same for all genes."""
    low, high = probability.min(), probability.max()
    if high - low < ALIKE:
        logging.warning(
            f"{what} learnt nothing: its probabilities are {low:.3f} to {high:.3f} for all genes. Raise "
            "`histone.warmup`, lower `histone.lr`, or set another `seed`"
        )


def _content(cells: list[Cell], parts: dict[str, Part]):
    """What identifies a training: genes, labels, and a look at the counts."""
    for split in ("train", "valid"):
        part = parts[split]
        yield part.which
        yield part.rows
        yield labels_of(cells, part.which, part.rows)
        few = part.some(256, 0)
        yield gather(cells, few.which, few.rows)

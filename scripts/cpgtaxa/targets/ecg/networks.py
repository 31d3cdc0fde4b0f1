"""ResDenseNet and ResUDenseNet: trained, and asked about the ages of records that are held out, and of new ones."""

import logging
import shutil

import numpy as np
import pandas as pd
import torch

from cpgtaxa.errors import InputError
from cpgtaxa.files import naming_damage, read_parquet, write_parquet
from cpgtaxa.learning.devices import Applied, placed
from cpgtaxa.learning.loop import digest, save, tensors, train_network, use_threads
from cpgtaxa.models import create_model, ecg  # noqa: F401 - by name: seen here, edits rerun
from cpgtaxa.models.vision import lightning
from cpgtaxa.progress import Progress
from cpgtaxa.seeds import unit_seed
from cpgtaxa.targets.ecg.plan import AGES

AT_ONCE = 32
"""Records predicted at once."""
ALIKE = 0.5
"""Percent of the ages' standard deviation below which that of the predictions means one answer for all."""


def new_network(name: str, group: str, build: dict) -> torch.nn.Module:
    """A network whose ages are the group's, random weights; build: what differs from the published size."""
    low, high = AGES[group]
    network = create_model(name, ages=(low, high - low), **build)
    # Convolutions over leads and time are up to twice as fast so, on a CPU and in bfloat16 on a GPU.
    return network.to(memory_format=torch.channels_last) if name == "ResDenseNet" else network


def load_network(path, name: str, group: str, build: dict) -> torch.nn.Module:
    """A trained network from its weights."""
    network = new_network(name, group, build)
    network.load_state_dict(tensors(path))
    return network


def open_signals(path) -> np.ndarray:
    """The preprocessed records, float32 (n, 12, SAMPLES), on disk."""
    with naming_damage(path):
        return np.load(path, mmap_mode="r")


class Records(torch.utils.data.Dataset):
    """Records and their ages, fetched a batch at a time. signals: (n, 12, time); rows: which; ages: theirs, years."""

    def __init__(self, signals: np.ndarray, rows: np.ndarray, ages: np.ndarray):
        self.signals, self.rows, self.ages = signals, rows, ages.astype(np.float32)

    def __len__(self):
        return len(self.rows)

    def __getitems__(self, indices):
        # In their order on disk, then as asked.
        order = np.argsort(self.rows[indices], kind="stable")
        found = np.empty((len(indices), *self.signals.shape[1:]), dtype=np.float32)
        for at in order:
            found[at] = self.signals[self.rows[indices[at]]]
        return (torch.from_numpy(found),), torch.from_numpy(self.ages[indices])


def ages_by(network: Applied, signals: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Years (len(rows),) float64 of some rows of (n, 12, time)."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), AT_ONCE):
        some = np.stack([signals[row] for row in rows[start : start + AT_ONCE]])
        found[start : start + AT_ONCE] = network(some).cpu().numpy()
    return found


def settle(network: torch.nn.Module, signals: np.ndarray, rows: np.ndarray, batch_size: int, device: str) -> None:
    """Means and variances of batch normalisation anew, in place: those of the rows learnt from, in equal batches.

    Those that training leaves are of its last few batches, the very last of which may be of one record.
    """
    where, _ = placed(device, "float32")
    parts = np.array_split(rows, -(-len(rows) // batch_size))
    given = (torch.from_numpy(np.stack([signals[row] for row in part])) for part in parts)
    torch.optim.swa_utils.update_bn(given, network.to(where), where)
    network.cpu()


def parts_of(records: pd.DataFrame, group: str, fold: int) -> dict[str, np.ndarray]:
    """Rows of the group's records to learn from (`train`), and those held out in this tenth (`held`)."""
    own = (records["group"] == group).to_numpy()
    tenth = records["fold"].to_numpy()
    return {
        "train": np.flatnonzero(own & (tenth >= 0) & (tenth != fold)),
        "held": np.flatnonzero(own & (tenth == fold)),
    }


def fit_network(given: dict, out: dict, *, group: str, name: str, fold: int, settings: dict, seed: int, work) -> None:
    """Train a network on all but a tenth of a group's records, and predict the ages of that tenth.

    given: `signals`, `records` (`inputs.prepare`). settings: `epochs`, `batch_size`, `lr`, `lr_step`, `lr_decay`,
    `warmup`, `build`, `device`, `precision`, `threads`. out: `weights` (state dict), `log` (CSV), `predictions`
    (Parquet: record, fold, age, predicted). work: folder for checkpoints.

    As published: L1 loss, Adam, the learning rate times lr_decay every lr_step epochs, nine tenths to learn from. Not
    as published: the last epoch's weights are kept, so that the tenth that is held out chooses nothing and is an honest
    test; and batch normalisation is settled (`settle`).
    """
    use_threads(settings["threads"])
    records, signals = _read(given)
    parts, ages = parts_of(records, group, fold), records["age"].to_numpy()
    seed = unit_seed(seed, group, name, fold)
    lightning.seed_everything(seed, workers=True, verbose=False)
    sets = {part: Records(signals, parts[part], ages[parts[part]]) for part in ("train", "held")}
    network = new_network(name, group, settings["build"])
    weights_n = sum(one.numel() for one in network.parameters())
    counted = ", ".join(f"{len(rows):,} {part}" for part, rows in parts.items())
    logging.info(f"{name} ({weights_n:,} parameters) on the group {group}, tenth {fold}: {counted} records")
    chosen = {key: settings[key] for key in ("epochs", "batch_size", "lr", "lr_step", "lr_decay", "warmup", "build")}
    few = parts["train"][:: max(len(parts["train"]) // 64, 1)]
    train_network(
        network,
        torch.nn.functional.l1_loss,
        sets["train"],
        sets["held"],
        settings=settings,
        batch=settings["batch_size"],
        at_once=AT_ONCE,
        seed=seed,
        monitor="epoch",
        mode="max",
        work=work,
        key=digest(name, group, chosen, seed, parts["train"], parts["held"], ages[parts["train"]], signals[few]),
        log_path=out["log"],
    )
    settle(network, signals, parts["train"], settings["batch_size"], settings["device"])
    save(out["weights"], network.state_dict())
    rows = parts["held"]
    predicted = ages_by(Applied(network, settings["device"], settings["precision"]), signals, rows)
    found = records.loc[rows, ["record", "age"]].assign(fold=np.int8(fold), predicted=predicted)
    write_parquet(out["predictions"], found[["record", "fold", "age", "predicted"]])
    shutil.rmtree(work, ignore_errors=True)  # nothing is left to continue
    error = (found["predicted"] - found["age"]).abs().mean()
    logging.info(f"{name} on the group {group}, tenth {fold}: mean absolute error {error:.2f} years")
    if 100 * np.std(predicted) < ALIKE * np.std(ages[parts["train"]]):
        logging.warning(
            f"{name} on the group {group} learnt nothing: it says {np.mean(predicted):.1f} years of all records. Raise "
            "`ecg_age.warmup`, lower `ecg_age.lr`, bring more records, or set another `seed`"
        )


def _read(given: dict) -> tuple[pd.DataFrame, np.ndarray]:
    """Records and their signals. Raises InputError where they do not belong together."""
    records, signals = read_parquet(given["records"]), open_signals(given["signals"])
    if len(signals) != len(records):
        raise InputError(f"{given['signals']} and {given['records']} differ in length: delete both and start again")
    return records, signals


def predict_ages(given: dict, out, *, group: str, name: str, settings: dict) -> None:
    """Predict the ages of new records by the trained networks of a group.

    given: `signals`, `records` (`inputs.prepare`), `weights`, one file for each tenth. settings: `build`, `device`,
    `precision`, `threads`. out: Parquet record, predicted (years, the mean over the networks), spread (their standard
    deviation, NaN of one).
    """
    use_threads(settings["threads"])
    records, signals = _read(given)
    rows = np.flatnonzero((records["group"] == group).to_numpy())
    predicted = []
    for path in Progress(len(given["weights"]), f"networks asked about {len(rows):,} records").over(given["weights"]):
        network = load_network(path, name, group, settings["build"])
        predicted.append(ages_by(Applied(network, settings["device"], settings["precision"]), signals, rows))
    predicted = np.array(predicted)
    logging.info(f"{len(rows):,} records asked of {len(predicted)} networks")
    spread = predicted.std(axis=0, ddof=1) if len(predicted) > 1 else np.full(len(rows), np.nan)
    found = records.loc[rows, ["record"]].assign(predicted=predicted.mean(axis=0), spread=spread)
    write_parquet(out, found)

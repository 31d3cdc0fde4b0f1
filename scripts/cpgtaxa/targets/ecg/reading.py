"""Where a network looks: integrated gradients (captum) over leads and time, and attention over time."""

import logging

import numpy as np
import torch
from captum.attr import IntegratedGradients

from cpgtaxa.files import atomic, read_parquet
from cpgtaxa.learning.devices import placed
from cpgtaxa.learning.loop import use_threads
from cpgtaxa.progress import Progress
from cpgtaxa.seeds import unit_seed
from cpgtaxa.targets.ecg.networks import load_network, open_signals, parts_of

INTERNAL = 8
"""Steps along the path that are worked out together."""


def attention_of(network: torch.nn.Module, signals: torch.Tensor) -> np.ndarray:
    """How much the last attention looks at each moment: (batch, moments), sum 1; a moment is time / moments long."""
    seen = []
    hook = network.attention.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    try:
        with torch.no_grad():
            network(signals)
            return network.attention.looked_at(seen[0]).float().cpu().numpy()
    finally:
        hook.remove()


def read_network(given: dict, out, *, group: str, name: str, settings: dict, seed: int) -> None:
    """Ask a network of the first tenth what its predictions rest on, of at most `records` of those held out.

    given: `signals`, `records`, `weights`. settings: `records`, `steps`, `build`, `device`, `threads`. out: .npz with
    record (n,), attribution float32 (n, 12, time) in years: they add up to the difference between the age predicted for
    the record and that for a flat one (`flat`, years); attention float32 (n, moments); predicted (n,) years;
    `incomplete`: (n,) by how many years the sum misses, which more steps make smaller.
    """
    use_threads(settings["threads"])
    device, _ = placed(settings["device"], "float32")
    network = load_network(given["weights"], name, group, settings["build"]).to(device).eval()
    records, signals = read_parquet(given["records"]), open_signals(given["signals"])
    rows = parts_of(records, group, 0)["held"]
    if len(rows) > settings["records"]:
        rng = np.random.default_rng(unit_seed(seed, group, "reading"))
        rows = np.sort(rng.choice(rows, settings["records"], replace=False))
    gradients = IntegratedGradients(network)
    found = {key: [] for key in ("attribution", "attention", "predicted", "incomplete")}
    for row in Progress(len(rows), "records explained").over(rows):
        one = torch.from_numpy(np.array(signals[row : row + 1])).to(device)
        flat = torch.zeros_like(one)
        attribution = gradients.attribute(one, flat, n_steps=settings["steps"], internal_batch_size=INTERNAL)
        with torch.no_grad():
            age, start = network(one).item(), network(flat).item()
        found["attribution"].append(attribution[0].float().cpu().numpy())
        found["attention"].append(attention_of(network, one)[0])
        found["predicted"].append(age)
        found["incomplete"].append(abs(float(attribution.sum()) - (age - start)))
    with atomic(out) as temporary, open(temporary, "wb") as handle:
        np.savez(
            handle,
            record=records.loc[rows, "record"].to_numpy(dtype=str),
            flat=np.float64(start),
            **{key: np.array(values, dtype=np.float32) for key, values in found.items()},
        )
    missed = np.median(found["incomplete"])
    logging.info(f"{name}: {len(rows)} records of the group {group} read; sums miss by {missed:.2f} years (median)")

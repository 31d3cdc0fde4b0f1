"""Records a second on one core: reading and preprocessing ECGs, and both networks in training and prediction.

    taskset -c 0 .venv/bin/python tests/benchmarks/ecg_throughput.py [--seconds 20] [--out F.csv]
    python tests/benchmarks/ecg_throughput.py --networks --device cuda --out gpu.csv    # needs torch, lightning, numpy

Preprocessing must not hold networks up: `ratio` is its speed, or that of fetching batches, by that of the fastest
published network in the same run. Simulated records; the networks in the workflow's precision (`auto`).
"""

import argparse
import csv
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa.learning.devices import use_bfloat16  # noqa: E402
from cpgtaxa.learning.loop import batches  # noqa: E402
from cpgtaxa.targets.ecg.networks import Records, new_network  # noqa: E402
from cpgtaxa.targets.ecg.plan import SIZES  # noqa: E402

BATCH = 32
NETWORKS = (("ResDenseNet", "adult"), ("ResUDenseNet", "child"))


def pace(work, at_least: float, records: int, wait=None) -> float:
    """Records a second of `work()`, which handles so many, repeated for some seconds after a first time.

    Seconds of processor time, which other work on the machine leaves as it is; of time where `wait` waits for a GPU.
    """
    clock, wait = (time.perf_counter, wait) if wait else (time.process_time, lambda: None)
    work()
    wait()
    n, start = 0, clock()
    while n == 0 or clock() - start < at_least:
        work()
        n += records
    wait()
    return n / (clock() - start)


def network_paces(name: str, group: str, size: str, device: str, seconds: float):
    """Records a second of training and of prediction."""
    wait = torch.cuda.synchronize if device == "cuda" else None
    network = new_network(name, group, SIZES[size]).to(device)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    signals, ages = torch.randn(BATCH, 12, 4096, device=device), torch.rand(BATCH, device=device)
    bfloat16 = use_bfloat16("auto", "gpu" if device == "cuda" else "cpu")

    def train():
        network.train()
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            loss = torch.nn.functional.l1_loss(network(signals), ages)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    @torch.no_grad()
    def predict():
        network.eval()
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            network(signals)

    for what, work in (("training", train), ("prediction", predict)):
        yield f"{name}, {size}, {what}", pace(work, seconds, BATCH, wait)


def data_paces(seconds: float):
    """Records a second of reading, preprocessing, fetching and measuring."""
    from cpgtaxa.targets.ecg.features import features_of
    from cpgtaxa.targets.ecg.records import read_record
    from cpgtaxa.targets.ecg.signals import at_500_hertz, preprocess
    from cpgtaxa.targets.ecg.simulated import write_records

    with tempfile.TemporaryDirectory() as folder:
        out = {name: pathlib.Path(folder, name) for name in ("records", "sheet", "truth", "methylation")}
        write_records({"adults": 64, "children": 64}, 0, out)
        paths = sorted(out["records"].glob("*.hea"))
        read = [read_record(path, {}).values for path in paths]
        slow = [record[:, ::2] for record in read]
        np.save(pathlib.Path(folder, "signals.npy"), np.stack([preprocess(record) for record in read]))
        signals = np.load(pathlib.Path(folder, "signals.npy"), mmap_mode="r")
        data = Records(signals, np.arange(len(signals)), np.zeros(len(signals)))
        for what, n, work in (
            ("WFDB records read and checked", len(read), lambda: [read_record(path, {}) for path in paths]),
            ("preprocessed", len(read), lambda: [preprocess(one) for one in read]),
            (
                "resampled from 250 Hz, preprocessed",
                len(read),
                lambda: [preprocess(at_500_hertz(x, 250)) for x in slow],
            ),
            ("fetched for a network", len(read), lambda: list(batches(data, BATCH, 0))),
            ("features measured (neurokit2)", 16, lambda: [features_of(one[:, :4096]) for one in read[:16]]),
        ):
            yield what, pace(work, seconds, n)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--networks", action="store_true", help="networks alone")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_suffix(".csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts = [] if arguments.networks else [data_paces(arguments.seconds)]
    parts += [
        network_paces(name, group, size, arguments.device, arguments.seconds)
        for name, group in NETWORKS
        for size in SIZES
    ]
    rows = []
    for part in parts:
        for what, value in part:
            rows.append((what, value))
            print(f"{what}: {value:,.2f} records/s", flush=True)
    fastest = max(value for what, value in rows if "published" in what)
    with open(arguments.out, "w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["what", "records_per_second", "ratio_to_fastest_published_network"])
        writer.writerows((what, f"{value:.4g}", f"{value / fastest:.3g}") for what, value in rows)


if __name__ == "__main__":
    main()

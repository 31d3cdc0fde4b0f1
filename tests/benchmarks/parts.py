"""Training in parts beside training of whole batches: pace by threads, alone and beside other work.

    .venv/bin/python tests/benchmarks/parts.py [--precision float32] [--rounds 5] [--loops 0 2] [--kinds parts]

ResNet18 on random images of 64 pixels, batches of 64, as the taxonomy trains it. The ways take turns, so that they
compare on a machine that is busy with something else; medians are printed, of images a second and a second of
processor time, and the share of the pace alone that is left beside the loops, round by round, with its range: a half
is aimed at. `--loops`: processes beside it that do nothing but count. What parts do to accuracy is in recipes.py
("whole batches").
"""

import argparse
import multiprocessing
import os
import pathlib
import sys
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, str(os.cpu_count()))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # both as in the project's jobs
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import numpy as np  # noqa: E402
import torch  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa.learning.devices import use_bfloat16  # noqa: E402
from cpgtaxa.learning.parts import Parts  # noqa: E402
from cpgtaxa.learning.recipes import FAST_RESNET18  # noqa: E402
from cpgtaxa.learning.training import Classifier  # noqa: E402
from cpgtaxa.models import create_model  # noqa: E402

BATCH, STEPS = 64, 3
STATISTICS = {"mean": [0.9, 0.95, 0.9], "std": [0.2, 0.1, 0.2]}


class Trained:
    """A network that trains some steps at a time; in parts, or by torch's own threads on whole batches."""

    def __init__(self, threads, in_parts, bfloat16):
        self.threads, self.bfloat16 = threads, bfloat16
        self.parts = Parts(threads, bfloat16) if in_parts else None
        settings = create_model("ResNet18").train(), FAST_RESNET18 | {"schedule": "none"}, STATISTICS, 1, 1
        self.module = Classifier(*settings, self.parts)
        self.optimiser = self.module.configure_optimizers()
        generator = torch.Generator().manual_seed(1)
        self.planes = torch.randint(0, 256, (BATCH, 2, 64, 64), dtype=torch.uint8, generator=generator)
        self.targets = torch.eye(10)[torch.arange(BATCH) % 10]

    def step(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            loss = self.module.training_step((self.planes, self.targets), 0)
        self.optimiser.zero_grad()
        loss.backward() if self.parts is None else self.module.backward(loss)
        self.optimiser.step()

    def pace(self):
        """Images a second, and a second of processor time."""
        torch.set_num_threads(1 if self.parts else self.threads)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(STEPS):
            self.step()
        n = BATCH * STEPS
        return n / (time.perf_counter() - wall), n / (time.process_time() - cpu)


def count():
    while True:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loops", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--kinds", nargs="+", choices=("whole", "parts"), default=["whole", "parts"])
    arguments = parser.parse_args()
    bfloat16 = use_bfloat16(arguments.precision, "cpu")
    ways = {(kind, n): Trained(n, kind == "parts", bfloat16) for kind in arguments.kinds for n in (1, 2)}
    found = {}
    for way in ways.values():
        way.pace()
    for _ in range(arguments.rounds):
        for loops in arguments.loops:
            busy = [multiprocessing.get_context("spawn").Process(target=count, daemon=True) for _ in range(loops)]
            for process in busy:
                process.start()
            for name, way in ways.items():
                found.setdefault((*name, loops), []).append(way.pace())
            for process in busy:
                process.kill()
    print(f"{'bfloat16' if bfloat16 else 'float32'}, median (best) of {arguments.rounds}")
    for (kind, threads, loops), paces in found.items():
        middle, best = np.median(paces, axis=0), np.max(paces, axis=0)
        print(
            f"{kind}, {threads} threads, beside {loops} loops: {middle[0]:.0f} ({best[0]:.0f}) images/s, "
            f"{middle[1]:.0f} ({best[1]:.0f}) a second of processor time"
        )
    for (kind, threads, loops), paces in found.items():
        if loops and (kind, threads, 0) in found:
            shares = np.array(paces)[:, 0] / np.array(found[kind, threads, 0])[:, 0]
            print(
                f"{kind}, {threads} threads: beside {loops} loops {np.median(shares):.0%} of the pace alone "
                f"({shares.min():.0%} to {shares.max():.0%})"
            )


if __name__ == "__main__":
    main()

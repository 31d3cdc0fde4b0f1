"""What one GPU does: drawing, drawing and classifying, and the published training recipe, without Snakemake.

    python tests/benchmarks/gpu.py [--images 200000] [--samples 3500] [--size 224] [--out FILE.csv]

Plain Python, for machines with torch, torchvision, lightning, numba, scipy, pandas, pyarrow and diptest. Runs on a CPU
too, where smaller numbers are wise. Betas are simulated; a thousand different CpGs are repeated.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np
import pandas as pd

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa.images.render import render as draw_on_cpu  # noqa: E402
from cpgtaxa.images.render_torch import planes, render  # noqa: E402
from cpgtaxa.learning.devices import choose_device  # noqa: E402
from cpgtaxa.learning.networks import Predictor  # noqa: E402
from cpgtaxa.learning.recipes import recipe  # noqa: E402
from cpgtaxa.learning.training import Images, targets_of, train  # noqa: E402
from cpgtaxa.models import create_model, vision  # noqa: E402, F401  (vision before torch's other users)
from cpgtaxa.names import TAXA  # noqa: E402
from cpgtaxa.targets.benchmark.measure import STATISTICS, _tiled  # noqa: E402

import torch  # noqa: E402  isort: skip


def timed(device, work, n, block):
    """Seconds for work(start, stop) over n CpGs in blocks, after one block to warm up."""
    work(0, min(block, n))
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for start in range(0, n, block):
        work(start, min(start + block, n))
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--samples", type=int, default=3500)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--train", type=int, default=8000, help="training images; a quarter as many validate")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    device = {"gpu": "cuda", "cpu": "cpu"}[choose_device(arguments.device)]
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    values, ages = _tiled(min(arguments.images, 10_000), arguments.samples)
    there = torch.from_numpy(values).to(device)
    rows = []

    def report(stage, images, seconds):
        rows.append({"stage": stage, "device": name, "images": images, "seconds": seconds})
        print(f"{stage}: {images:,} images in {seconds:.2f} s, {images / seconds:,.0f}/s on {name}", flush=True)

    some = values[:64]
    same = np.array_equal(render(there[:64], ages).cpu().numpy(), draw_on_cpu(some, ages))
    print("the pixels are those of the kernel on the CPU" if same else "PIXELS DIFFER from the kernel's on the CPU")

    def block(start, stop):
        at = start % len(there)
        return there[at : at + stop - start]

    def draw(start, stop):
        render(block(start, stop), ages)

    report("draw", arguments.images, timed(device, draw, arguments.images, arguments.block))
    predictor = Predictor(create_model("ResNet18"), STATISTICS, arguments.size, device=arguments.device)

    def classify(start, stop):
        predictor.logits(planes(render(block(start, stop), ages), arguments.size), 1024)

    report("draw and classify", arguments.images, timed(device, classify, arguments.images, arguments.block))
    if arguments.train:
        number = np.arange(arguments.train * 5 // 4)
        codes = render(there[: min(1000, len(there))], ages)
        pictures = planes(codes, arguments.size).cpu().numpy()[number % len(codes)]
        targets = targets_of([TAXA[k % len(TAXA)] for k in number])
        parts = [Images(pictures[cut], targets[cut]) for cut in (slice(arguments.train), slice(arguments.train, None))]
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            train(
                *parts,
                model_name="ResNet18",
                recipe=recipe("published", "ResNet18", {"epochs": arguments.epochs}),
                statistics=STATISTICS,
                seed=1,
                device=arguments.device,
                precision="auto",
                work=pathlib.Path(folder) / "work",
                log_path=pathlib.Path(folder) / "log.csv",
            )
            seconds = time.perf_counter() - began
        report(f"train, published recipe, {arguments.epochs} epochs", len(number) * arguments.epochs, seconds)
    if arguments.out:
        pd.DataFrame(rows).to_csv(arguments.out, index=False, float_format="%.6g")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

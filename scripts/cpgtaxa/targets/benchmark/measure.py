"""How fast each stage is beside its peers: every figure from a process of its own, all in one run, on one machine.

    python -m cpgtaxa.targets.benchmark.measure '{"stage": "images", "implementation": "R densCols + png", …}'

times one measurement and prints it as JSON; `run` asks for all of them, one after the other, and writes the table and
the plot. Work that is done once (imports, compilation, making the data) is not in the seconds; the peak memory is the
whole process's.
"""

import functools
import itertools
import json
import logging
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

from cpgtaxa.targets.benchmark.stages import LIMIT, STAGES

PEERS = {"pandas read_csv": 1.0, "statsmodels loop": 0.01, "R densCols + png": 0.02, "matplotlib": 0.02}
"""Share of the CpGs that a slow peer is given; its time grows in proportion."""

COLUMNS = ("stage", "implementation", "n_cpgs", "n_samples", "cores", "seconds", "peak_mb")
SHIPPED = pathlib.Path(__file__).parents[4] / "resources/reference"
DISTINCT = 1000
"""Different simulated CpGs; a larger array repeats them."""


def _values(n_cpgs: int, n_samples: int, seed: int = 1):
    """Simulated betas (at most DISTINCT, n_samples) float32 to be repeated, and ages."""
    from cpgtaxa.simulation.simulate import cohort_setting, draw_cpg, plan_cohort

    setting = cohort_setting(seed, n_samples)
    plan = plan_cohort(seed, DISTINCT, 0.15)
    drawn = [draw_cpg(seed, index, plan[index], setting)[1] for index in range(min(n_cpgs, DISTINCT))]
    return np.stack(drawn).astype(np.float32), setting.ages


def _cohort(folder: pathlib.Path, n_cpgs: int, n_samples: int):
    """A cohort file of `n_cpgs` CpGs, and ages."""
    from cpgtaxa.cohort import Cohort, CohortWriter

    values, ages = _values(n_cpgs, n_samples)
    with CohortWriter(folder / "beta.arrow", [f"s{number}" for number in range(n_samples)]) as writer:
        for start in range(0, n_cpgs, len(values)):
            rows = min(len(values), n_cpgs - start)
            writer.append([f"cg{start + number:08d}" for number in range(rows)], values[:rows])
    return Cohort(folder / "beta.arrow"), ages


def _tiled(n_cpgs: int, n_samples: int):
    values, ages = _values(n_cpgs, n_samples)
    return values[np.arange(n_cpgs) % len(values)], ages


def _timed(work, *arguments) -> float:
    """Seconds of work(*arguments); of the least of several times where it is short."""
    times = []
    while len(times) < 5 and sum(times) < 2:
        began = time.perf_counter()
        work(*arguments)
        times.append(time.perf_counter() - began)
    return min(times)


# --- one function per stage and implementation: (folder, n_cpgs, n_samples, settings) → seconds ----------------------


def _csv(folder, n_cpgs, n_samples):
    import pandas as pd
    import pyarrow as pa
    import pyarrow.csv

    values, ages = _values(n_cpgs, n_samples)
    samples = [f"s{number}" for number in range(n_samples)]
    with open(folder / "beta.csv", "wb") as out:
        for start in range(0, n_cpgs, len(values)):
            rows = min(len(values), n_cpgs - start)
            frame = pd.DataFrame(np.round(values[:rows].astype(np.float64), 5), columns=samples)
            frame.insert(0, "cpg", [f"cg{number:08d}" for number in range(start, start + rows)])
            table = pa.Table.from_pandas(frame, preserve_index=False)
            pa.csv.write_csv(table, out, pa.csv.WriteOptions(include_header=not start))
    pd.DataFrame({"sample_id": samples, "age": ages}).to_csv(folder / "samples.csv", index=False)
    return folder / "beta.csv"


def ingest_cpgtaxa(folder, n_cpgs, n_samples, settings):
    from cpgtaxa.input.ingest import ingest

    out = [folder / name for name in ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json")]

    def read(path):
        ingest(path, folder / "samples.csv", *out, **settings["cohort"])

    read(_csv(folder, 20, n_samples))
    return _timed(read, _csv(folder, n_cpgs, n_samples))


def ingest_pandas_read_csv(folder, n_cpgs, n_samples, settings):
    import pandas as pd

    path = _csv(folder, n_cpgs, n_samples)
    return _timed(lambda: pd.read_csv(path, index_col=0))


def statistics_cpgtaxa(folder, n_cpgs, n_samples, settings):
    from cpgtaxa.statistics.kernel import compute_cohort

    cohort, ages = _cohort(folder, n_cpgs, n_samples)
    compute_cohort(cohort, ages, 0, 50)
    return _timed(lambda: compute_cohort(cohort, ages))


def statistics_statsmodels_loop(folder, n_cpgs, n_samples, settings):
    """What one would write with the libraries: a line, Breusch–Pagan, the dip, and mixtures of one to three normals."""
    import diptest
    import statsmodels.api as sm
    from sklearn.mixture import GaussianMixture
    from statsmodels.stats.diagnostic import het_breuschpagan

    values, ages = _tiled(n_cpgs, n_samples)
    design = sm.add_constant(ages)

    def loop():
        for row in values:
            known = np.isfinite(row)
            fit = sm.OLS(row[known].astype(float), design[known]).fit()
            het_breuschpagan(fit.resid, design[known])
            diptest.diptest(fit.resid)
            for k in (1, 2, 3):
                GaussianMixture(k, n_init=2, random_state=0).fit(fit.resid[:, None]).bic(fit.resid[:, None])

    return _timed(loop)


def images_cpgtaxa(folder, n_cpgs, n_samples, settings):
    from cpgtaxa.images.render import render

    values, ages = _values(n_cpgs, n_samples)
    render(values[:8], ages)
    # In blocks, as prediction draws them; what is drawn is used and forgotten.
    blocks = [values[start : start + 256] for start in range(0, len(values), 256)]

    def draw():
        left = n_cpgs
        for block in itertools.cycle(blocks):
            render(block[:left], ages)
            left -= len(block)
            if left <= 0:
                break

    return _timed(draw)


def images_cpgtaxa_torch(folder, n_cpgs, n_samples, settings):
    import torch

    from cpgtaxa.images.render_torch import render
    from cpgtaxa.models import vision  # noqa: F401

    values, ages = _tiled(n_cpgs, n_samples)
    values = torch.from_numpy(values)
    if torch.cuda.is_available():
        values = values.cuda()
    render(values[:8], ages)

    def draw():
        render(values, ages)
        if values.is_cuda:
            torch.cuda.synchronize()

    return _timed(draw)


def images_matplotlib(folder, n_cpgs, n_samples, settings):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from scipy.stats import gaussian_kde

    values, ages = _tiled(n_cpgs, n_samples)

    def draw():
        for number, row in enumerate(values):
            known = np.isfinite(row)
            points = np.stack([ages[known], row[known]])
            figure = plt.figure(figsize=(2.24, 2.24), dpi=100)
            axes = figure.add_axes([0.1, 0.1, 0.8, 0.8])
            axes.scatter(*points, c=gaussian_kde(points)(points), s=4)
            axes.set_axis_off()
            figure.savefig(folder / f"{number}.png")
            plt.close(figure)

    return _timed(draw)


IN_R = """
arguments <- commandArgs(TRUE); setwd(arguments[1])
n <- as.integer(arguments[2]); m <- as.integer(arguments[3])
ages <- readBin("ages", "double", n); beta <- matrix(readBin("beta", "double", n * m), nrow = m, byrow = TRUE)
"""
"""The data in R."""
LIMMA = """
suppressMessages(library(limma))
design <- cbind(1, ages)
invisible(eBayes(lmFit(beta[1:10, ], design)))
began <- proc.time()[["elapsed"]]
invisible(eBayes(lmFit(beta, design)))
cat(proc.time()[["elapsed"]] - began)
"""
DENSCOLS = """
ramp <- colorRampPalette(c("green", "darkgreen"))
draw <- function(i) {
  png(sprintf("%d.png", i), 224, 224); par(mar = c(0, 0, 0, 0))
  plot(ages, beta[i, ], pch = 20, col = densCols(ages, beta[i, ], colramp = ramp), ylim = c(0, 1), axes = FALSE)
  invisible(dev.off())
}
suppressWarnings(draw(1))
began <- proc.time()[["elapsed"]]
for (i in seq_len(m)) suppressWarnings(draw(i))
cat(proc.time()[["elapsed"]] - began)
"""


def _in_r(script: str, folder, values, ages) -> float:
    """Seconds that a script in R says it took."""
    ages.astype(np.float64).tofile(folder / "ages")
    values.astype(np.float64).tofile(folder / "beta")
    command = ["Rscript", "-e", IN_R + script, str(folder), str(values.shape[1]), str(len(values))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def images_r_denscols_png(folder, n_cpgs, n_samples, settings):
    values, ages = _tiled(n_cpgs, n_samples)
    return _in_r(DENSCOLS, folder, np.where(np.isfinite(values), values, 0.5), ages)  # densCols knows no missing values


def statistics_r_limma_trend_alone(folder, n_cpgs, n_samples, settings):
    """Of what the statistics hold, the line on age and its moderated p alone."""
    return _in_r(LIMMA, folder, *_tiled(n_cpgs, n_samples))


def _packed(folder, n_images, n_samples, size, png=False):
    """Packed images (and PNG files) of simulated CpGs: path, labels as indices, ages and values."""
    from cpgtaxa.images.packed import pack
    from cpgtaxa.images.render import planes, render, write_png
    from cpgtaxa.names import TAXA

    values, ages = _values(n_images, n_samples)
    drawn = render(values, ages)
    which = np.arange(n_images) % len(values)
    labels = which % len(TAXA)
    paths = [str(folder / f"{number}.png") for number in range(n_images)]
    if png:
        for path, number in zip(paths, which, strict=True):
            write_png(path, drawn[number])
    batches = (planes(drawn[which[start : start + 500]], size) for start in range(0, n_images, 500))
    pack(folder / "images.arrow", paths, [TAXA[k] for k in labels], ["cohort"] * n_images, batches, size)
    return folder / "images.arrow", paths, labels


def normalisation_cpgtaxa(folder, n_cpgs, n_samples, settings):
    from cpgtaxa.images.packed import PackedImages, normalisation

    path, _, _ = _packed(folder, n_cpgs, n_samples, 224)
    normalisation(PackedImages(path).planes()[:2])
    return _timed(lambda: normalisation(PackedImages(path).planes()))


class PngImages:
    """The published data set: one PNG file after the other, to a tensor, in the training process itself."""

    def __init__(self, paths, labels, size, statistics=None):
        from cpgtaxa.models.vision import torchvision

        steps = [torchvision.transforms.ToTensor()]
        if size != 224:
            steps.append(torchvision.transforms.Resize(size))
        if statistics:
            steps.append(torchvision.transforms.Normalize(statistics["mean"], statistics["std"]))
        self.paths, self.labels, self.transform = paths, labels, torchvision.transforms.Compose(steps)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        from PIL import Image

        return self.transform(Image.open(self.paths[index]).convert("RGB")), int(self.labels[index])


def normalisation_published_loop(folder, n_cpgs, n_samples, settings):
    import torch

    _, paths, labels = _packed(folder, n_cpgs, n_samples, 224, png=True)
    images = PngImages(paths, labels, 224)

    def loop():
        mean, std = torch.zeros(3), torch.zeros(3)
        for image, _ in torch.utils.data.DataLoader(images, batch_size=1):
            mean += image.mean(dim=(0, 2, 3))
            std += image.std(dim=(0, 2, 3))
        return mean / len(images), std / len(images)

    return _timed(loop)


STATISTICS = {"mean": [0.9, 0.95, 0.9], "std": [0.2, 0.1, 0.2]}


def training_cpgtaxa(folder, n_cpgs, n_samples, settings):
    """One epoch, by the log, after one of a few images."""
    import pandas as pd

    from cpgtaxa.images.packed import PackedImages
    from cpgtaxa.learning.recipes import recipe
    from cpgtaxa.learning.training import Images, targets_of, train

    packed = PackedImages(_packed(folder, n_cpgs, n_samples, settings["size"])[0])

    def few(n):
        return Images(packed.take(range(n)), targets_of(packed.labels[:n]))

    for images in (few(min(n_cpgs, 64)), few(n_cpgs)):
        train(
            images,
            few(2),
            model_name="ResNet18",
            recipe=recipe("fast", "ResNet18", {"epochs": 1}),
            statistics=STATISTICS,
            seed=1,
            device="auto",
            precision="auto",
            work=folder / "work",
            log_path=folder / "log.csv",
        )
    return float(pd.read_csv(folder / "log.csv")["epoch_duration_s"].iloc[-1])


def training_published_loop(folder, n_cpgs, n_samples, settings):
    """The published notebooks' epoch: PNG files, no workers, float32, Adam 0.01, batches of 64."""
    import torch

    from cpgtaxa.models import create_model

    _, paths, labels = _packed(folder, n_cpgs, n_samples, settings["size"], png=True)
    loader = torch.utils.data.DataLoader(PngImages(paths, labels, settings["size"], STATISTICS), 64, shuffle=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = create_model("ResNet18").to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)

    def epoch(batches):
        for images, targets in itertools.islice(loader, batches):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images.to(device)), targets.to(device))
            loss.backward()
            optimiser.step()
            loss.item()

    epoch(1)
    return _timed(epoch, None)


def prediction_cpgtaxa(folder, n_cpgs, n_samples, settings, engine="auto"):
    """From the matrix to probabilities, by the shipped network; images are drawn on the fly."""
    from cpgtaxa.learning import engine as engines
    from cpgtaxa.learning.classifier import BLOCK, draw
    from cpgtaxa.learning.networks import Predictor, load_statistics, load_weights
    from cpgtaxa.learning.temperature import softmax

    cohort, ages = _cohort(folder, n_cpgs, n_samples)
    weights = load_weights(SHIPPED / "ResNet18_best_model.pt.gz", "ResNet18")
    predictor = Predictor(weights, load_statistics(SHIPPED / "ResNet18_normalization_stat.json"), settings["size"])
    step = BLOCK[predictor.device]
    if engines.wanted(engine, predictor.device, "auto", engines.MANY):
        predictor = engines.quicker(predictor, engines.settling_images(ages, settings["size"], 1))

    def predict(n):
        for start in range(0, n, step):
            softmax(predictor.outputs(draw(cohort.read(start, start + step), ages, predictor))[0])

    predict(min(n_cpgs, 64))
    return _timed(predict, n_cpgs)


def prediction_cpgtaxa_torch(folder, n_cpgs, n_samples, settings):
    return prediction_cpgtaxa(folder, n_cpgs, n_samples, settings, "torch")


def prediction_published_loop(folder, n_cpgs, n_samples, settings):
    """PNG files that are already there, no workers, float32, batches of 64."""
    import torch

    from cpgtaxa.models import create_model

    _, paths, labels = _packed(folder, n_cpgs, n_samples, settings["size"], png=True)
    loader = torch.utils.data.DataLoader(PngImages(paths, labels, settings["size"], STATISTICS), 64)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = create_model("ResNet18").to(device).eval()

    def loop():
        with torch.no_grad():
            for images, _ in loader:
                torch.softmax(network(images.to(device)), 1).cpu()

    network(torch.zeros((64, 3, settings["size"], settings["size"]), device=device))
    return _timed(loop)


def ingest_limit(folder, n_cpgs, n_samples, settings):
    path, buffer = _csv(folder, n_cpgs, n_samples), bytearray(1 << 20)

    def read():
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    return _timed(read)


def statistics_limit(folder, n_cpgs, n_samples, settings):
    values, _ = _tiled(n_cpgs, n_samples)
    return _timed(lambda: np.sort(values, axis=1))


PIXELS = (224, 224, 3)


def images_limit(folder, n_cpgs, n_samples, settings):
    block = np.zeros((min(n_cpgs, 256), *PIXELS), dtype=np.uint8)

    def write():
        for start in range(0, n_cpgs, len(block)):
            block[: n_cpgs - start] = 255

    return _timed(write)


def normalisation_limit(folder, n_cpgs, n_samples, settings):
    block = np.ones((min(n_cpgs, 256), *PIXELS), dtype=np.uint8).reshape(-1).view(np.uint64)

    def read():
        for _ in range(0, n_cpgs, 256):
            np.bitwise_xor.reduce(block)

    return _timed(read)


def _products(n_images: int, size: int, training: bool) -> float:
    """Seconds for as many operations as a ResNet18 has for its images, in products of large matrices."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from cpgtaxa.learning.devices import use_bfloat16
    from cpgtaxa.models import create_model

    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
        outputs = create_model("ResNet18")(torch.zeros((2, 3, size, size)))
        if training:
            outputs.sum().backward()
    wanted, side = n_images * counter.get_total_flops() / 2, 2048
    kind = torch.bfloat16 if use_bfloat16("auto", "cpu") else torch.float32
    left, right = torch.ones((side, side), dtype=kind), torch.ones((side, side), dtype=kind)
    left @ right
    return _timed(lambda: [left @ right for _ in range(20)]) / 20 * wanted / (2 * side**3)


def training_limit(folder, n_cpgs, n_samples, settings):
    return _products(n_cpgs, settings["size"], True)


def prediction_limit(folder, n_cpgs, n_samples, settings):
    return _products(n_cpgs, settings["size"], False)


# --- measuring -------------------------------------------------------------------------------------------------------


def _function(stage: str, implementation: str):
    name = "".join(letter if letter.isalnum() else "_" for letter in f"{stage}_{implementation}".lower())
    return globals()["_".join(part for part in name.split("_") if part)]


def measure(task: dict) -> dict:
    """Run one measurement in this process, on the cores that it has: the task with `seconds` and `peak_mb`."""
    task = {"cores": len(os.sched_getaffinity(0))} | task
    function = _function(task["stage"], task["implementation"])
    with tempfile.TemporaryDirectory(dir=task["settings"]["scratch"]) as folder:
        seconds = function(pathlib.Path(folder), task["n_cpgs"], task["n_samples"], task["settings"])
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    return {key: task[key] for key in COLUMNS[:5]} | {"seconds": seconds, "peak_mb": peak}


def plan(settings: dict, cores: int) -> list[dict]:
    """All measurements: cost against CpGs at the most samples, against samples at the fewest CpGs, against cores, and
    peers and limits at one size.

    settings: the config's `benchmark`. cores: how many there are; all are used but where less are asked for.
    """
    cpgs, samples = sorted(settings["cpgs"]), sorted(settings["samples"])
    most = settings["peer_samples"]
    fewer = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    tasks = []

    def add(stage, implementation, n_cpgs, n_samples, cores=cores):
        share = PEERS.get(implementation, 1.0)
        task = {"stage": stage, "implementation": implementation, "n_samples": n_samples, "cores": cores}
        task |= {"n_cpgs": max(round(share * n_cpgs), min(n_cpgs, 20))}
        if task not in tasks:
            tasks.append(task)

    for stage, (ours, *peers) in STAGES.items():
        if stage in ("ingest", "statistics", "images"):
            for n in cpgs:
                add(stage, ours, n, most)
            for n in samples:
                add(stage, ours, cpgs[0], n)
            # Reading has costs that do not grow with the CpGs, such as comparing all samples: they hardly count there.
            n = cpgs[-1] if stage == "ingest" else cpgs[0]
        else:
            n = settings["images" if stage == "normalisation" else "network_images"]
            add(stage, ours, n, most)
        for peer in peers:
            add(stage, peer, n, most)
        for number in fewer:
            add(stage, ours, n, most, number)
        add(stage, LIMIT, n, most, 1)
    return tasks


def _lacking(implementation: str) -> str | None:
    """What a peer in R needs and is not there."""
    if not implementation.startswith("R "):
        return None
    if not shutil.which("Rscript"):
        return "Rscript"
    if (
        "limma" in implementation
        and subprocess.run(["Rscript", "-e", "library(limma)"], capture_output=True).returncode
    ):
        return "R's package limma"
    return None


def run(settings: dict, outputs: dict, scratch) -> None:
    """Take all measurements, one process each, and write table, plot and page (outputs: table, plot, html, figures).

    settings: the config's `benchmark`, and the cohort's settings as `cohort`. scratch: folder for data in between.
    """
    import pandas as pd

    from cpgtaxa.pages.page import write_csv
    from cpgtaxa.progress import Progress
    from cpgtaxa.targets.benchmark.page import page

    pathlib.Path(scratch).mkdir(parents=True, exist_ok=True)
    there = sorted(os.sched_getaffinity(0))
    tasks, rows = plan(settings, len(there)), []
    progress = Progress(len(tasks), "measurements")
    for number, task in enumerate(tasks, 1):
        if lacking := _lacking(task["implementation"]):
            logging.warning("%s is not installed: %s is left out", lacking, task["implementation"])
            continue
        inner = {"scratch": str(scratch), "size": settings["size"], "cohort": settings["cohort"]}
        command = [sys.executable, "-m", "cpgtaxa.targets.benchmark.measure", json.dumps(task | {"settings": inner})]
        environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[3])}
        begin = functools.partial(os.sched_setaffinity, 0, there[: task["cores"]])
        done = subprocess.run(command, env=environment, capture_output=True, text=True, preexec_fn=begin)
        if done.returncode:
            raise RuntimeError(f"{task} failed:\n{done.stderr}")
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        cost = f"{row['seconds']:.3g} s ({1e6 * row['seconds'] / row['n_cpgs']:.3g} µs each), {row['peak_mb']:.0f} MB"
        sizes = f"{row['n_cpgs']:,} CpGs x {row['n_samples']:,} samples, cores: {row['cores']}"
        logging.info(f"{number} of {len(tasks)}: {row['stage']}, {row['implementation']}: {sizes}, {cost}")
        progress.step()
    table = pd.DataFrame(rows)[list(COLUMNS)]
    write_csv(outputs["table"], table)
    page(table, outputs, settings["peer_samples"])
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))

"""CpG models at equal time on the 25 liver-cancer cells, by neighbours alone, and what each part of the input is worth.

    make single-cells
    .venv/bin/python tests/benchmarks/single_cell_models.py [--seconds 120] [--out F.csv]

Takes the table of sites from the example's results. Every model is trained for so many seconds of processor time on one
thread, in EPOCHS epochs of as many sites as it manages (measured first; with the recipe `fast` but for the dropout of
the example), and scored on every TESTED-th site of the test chromosomes: `auc`, mean over cells; `auc_pooled`, of all
cells' states together; `auc_pooled_chr10`, on the chromosome that CpG Transformer was tested on. Peers, and the
example's own CpG network: from the example's results, on the same sites.
"""

import argparse
import csv
import pathlib
import tempfile
import time
from unittest import mock

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import torch
from cpgtaxa.learning.loop import use_threads
from cpgtaxa.targets.single_cell import metrics, networks
from cpgtaxa.targets.single_cell.neighbours import Neighbourhoods
from cpgtaxa.targets.single_cell.plan import RECIPES, SPLITS
from cpgtaxa.targets.single_cell.tables import Sites, prediction_blocks
from sklearn.metrics import roc_auc_score

EPOCHS, TESTED, SEED = 6, 5, 1
TRIED = 2048
"""Sites from which a model's pace is measured."""
PEERS = ("window_mean", "random_forest", "cpg")


class Hidden(Neighbourhoods):
    """Neighbourhoods parts of which are hidden: `around` (the sites in their order) or the `site` itself."""

    hidden = ""

    def inputs(self, rows):
        found = super().inputs(rows)
        near, row = 2 * self.width, 2 * self.reach + 1
        if self.hidden == "around":
            site = found[:, :, near + self.reach].copy()
            found[:, :, near : near + row] = 0.5
            found[:, :, near + self.reach] = site
        if self.hidden == "site":
            found[:, :, near + self.reach] = 0.5
        return found


VARIANTS = [
    ("CellAttention", ""),
    ("RnnL1", ""),
    ("CellAttention", "site"),
    ("CellAttention", "around"),
    ("FcAvg", ""),
]


def scores(states: np.ndarray, values: np.ndarray, chr10: np.ndarray) -> dict:
    """states, values (n, cells) of test sites; chr10 (n,) bool."""
    seen = states >= 0
    there = seen & chr10[:, None]
    return {
        "auc": metrics.cell_scores(states, values)["auc"].mean(),
        "auc_pooled": roc_auc_score(states[seen], values[seen]),
        "auc_pooled_chr10": roc_auc_score(states[there], values[there]),
        "states": int(seen.sum()),
    }


def pace(windows, sites, settings) -> float:
    """Sites a second that a model learns from."""
    torch.manual_seed(SEED)
    network = networks.build(settings, "cpg", len(Sites(sites).cells))
    near = networks.near_of(sites, network, settings)
    data = networks.Windows(windows, ("cpg",), SPLITS["train"], near, TRIED)
    optimiser = torch.optim.Adam(network.parameters())
    for start in range(0, TRIED, settings["batch"]):
        if start == settings["batch"]:  # the first batch compiles
            began = time.process_time()
        inputs, targets = data.__getitems__(np.arange(start, start + settings["batch"]))
        networks.masked_loss(network(*inputs), targets).backward()
        optimiser.step()
    return (TRIED - settings["batch"]) / (time.process_time() - began)


def tried(model: str, hidden: str, windows, sites, rows, seconds: float) -> dict:
    """Train a model for about so many seconds, and score it on some rows."""
    settings = RECIPES["fast"] | {"dropout": 0.1, "epochs": EPOCHS, "patience": 0, "cpg_model": model, "cpg_wlen": 50}
    settings |= {"device": "cpu", "precision": "float32", "threads": 1}
    with mock.patch.object(Hidden, "hidden", hidden), mock.patch.object(networks, "Neighbourhoods", Hidden):
        settings["epoch_sites"] = int(seconds * pace(windows, sites, settings) / EPOCHS)
        with tempfile.TemporaryDirectory() as name:
            out = {key: pathlib.Path(name) / key for key in ("weights", "card", "log")}
            began = time.process_time()
            with mock.patch.object(networks, "Windows", Fewer):
                networks.train_part(
                    windows, sites, out, part="cpg", trained={}, settings=settings, seed=SEED, work=name + "/work"
                )
            spent = time.process_time() - began
            trained = networks.Trained(out["weights"], out["card"], "cpu", "float32")
        near = networks.near_of(sites, trained.network, settings)
        pieces = np.array_split(rows, len(rows) // networks.PREDICTED + 1)
        values = np.concatenate([trained.probabilities(torch.from_numpy(near.inputs(piece))) for piece in pieces])
    done = EPOCHS * settings["epoch_sites"]
    return {"values": values, "states": near.states[rows], "seconds": round(spent), "sites": done}


class Fewer(networks.Windows):
    """Few validation sites: time is for learning."""

    def __init__(self, paths, parts, split=None, near=None, most=None):
        super().__init__(paths, parts, split, near, most and min(most, 10_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("results/hcc/results/single_cell"))
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the variants, for a part of the table")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    use_threads(1)
    sites = options.results / "input/sites.arrow"
    windows = sorted((options.results / "input/windows").glob("*.arrow"))
    table = Sites(sites)
    rows = metrics.test_rows(table)[0][::TESTED]
    block = table.rows(0, table.n)
    chr10, found = block.chrom[rows] == table.chroms.index("chr10"), []
    for peer in PEERS:
        path = options.results / f"predictions/{peer}.parquet"
        if path.exists():
            values = np.concatenate([values for _, values in prediction_blocks(path, table.cells, table.n)])[rows]
            found.append(
                {"model": peer, "hidden": "", "seconds": "", "sites": ""} | scores(block.states[rows], values, chr10)
            )
    for number in range(len(VARIANTS)) if options.only is None else options.only:
        model, hidden = VARIANTS[number]
        one = tried(model, hidden, windows, sites, rows, options.seconds)
        row = {"model": model, "hidden": hidden or "nothing", "seconds": one["seconds"], "sites": one["sites"]}
        found.append(row | scores(one["states"], one["values"], chr10))
        print(found[-1], flush=True)
        columns = ["model", "hidden", "seconds", "sites", "auc", "auc_pooled", "auc_pooled_chr10", "states"]
        with open(options.out, "w", newline="") as handle:
            writer = csv.DictWriter(handle, columns)
            writer.writeheader()
            writer.writerows(
                {key: f"{value:.5f}" if isinstance(value, float) else value for key, value in one.items()}
                for one in found
            )


if __name__ == "__main__":
    main()

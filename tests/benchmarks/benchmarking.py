"""What the benchmarks share: the library on the path, the rules of the config, the shipped network, real data."""

import pathlib
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

HERE = pathlib.Path(__file__).parent
SHARED = ROOT.parent / "shared/data"
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
RULES = {key: CONFIG["taxa"][key] for key in ("thresholds", "errors")}
"""Zones and error rates of the tests, as `define_taxa` takes them."""

REFERENCE = ROOT / "resources/reference"
NETWORK = {
    "weights": REFERENCE / "ResNet18_best_model.pt.gz",
    "stats": REFERENCE / "ResNet18_normalization_stat.json",
    "card": REFERENCE / "ResNet18_model.json",
    "features": REFERENCE / "ResNet18_features.npy",
}


def read_network(folder=REFERENCE):
    """The predictor of a folder that holds a network as resources/reference does."""
    from cpgtaxa.learning.networks import load_predictor

    files = (folder / path.name for path in NETWORK.values())
    return load_predictor(*files, model_name="ResNet18", device="cpu")

"""The table of all scores of the target `single_cell`, and the networks it is about."""

import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.files import naming_damage, read_json
from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.targets.single_cell.metrics import summarise
from cpgtaxa.targets.single_cell.planted import motif_rows
from cpgtaxa.targets.single_cell.truth import Truth, error_rows, true_summary


def read_networks(paths) -> dict[str, dict]:
    """Card and training log of each network, by the names of their files."""
    found: dict[str, dict] = {}
    for path in map(pathlib.Path, paths):
        if path.suffix == ".json":
            found.setdefault(path.stem, {})["card"] = read_json(path)
        elif path.name.endswith("_training_log.csv"):
            with naming_damage(path):
                found.setdefault(path.name.removesuffix("_training_log.csv"), {})["log"] = pd.read_csv(path)
    return found


def choose_network(networks: dict[str, dict]) -> str:
    """The joint network; without it the one with the lowest loss on the validation sites."""
    return "joint" if "joint" in networks else min(networks, key=lambda part: networks[part]["log"]["val_loss"].min())


def network_rows(networks: dict[str, dict]) -> pd.DataFrame:
    """`parameters` and `epochs` of each network, as rows of SUMMARY_COLUMNS."""
    rows = [
        (part, key, one["card"][key], np.nan, np.nan, np.nan)
        for part, one in networks.items()
        for key in ("parameters", "epochs")
    ]
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def taxa_rows(taxa: dict) -> pd.DataFrame:
    """How well sequence predicts taxa, as rows of SUMMARY_COLUMNS per model.

    `taxon_balanced_accuracy`; `taxon_chance`, which rotated labels give, with their middle 95 %; `taxon_p`.
    """
    rows = []
    for model, found in taxa["models"].items():
        test = found["test"]
        rows.append((model, "taxon_balanced_accuracy", found["balanced_accuracy"], np.nan, np.nan, found["n"]))
        rows.append((model, "taxon_chance", test["chance"], test["chance_low"], test["chance_high"], found["n"]))
        rows.append((model, "taxon_p", test["p"], np.nan, np.nan, found["n"]))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def summary_of(inputs, sites, predictions, scored, networks, taxa, motifs, reader, scores_path, seed) -> pd.DataFrame:
    """Everything measured, as rows of SUMMARY_COLUMNS."""
    parts = [summarise(scored), network_rows(networks)]
    if taxa:
        parts.append(taxa_rows(taxa))
    if "truth" in inputs:
        truth = Truth(inputs["truth"], sites)
        parts.insert(1, true_summary(sites, truth, inputs, scores_path, seed))
        parts.append(error_rows(sites, truth, predictions, seed))
    if motifs and motifs.consensus is not None:
        parts.append(motif_rows(reader, motifs.motifs, motifs.match, motifs.effects))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)

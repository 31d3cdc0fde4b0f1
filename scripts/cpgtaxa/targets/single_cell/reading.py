"""What a network reads in the sequence: motifs of its first filters, what each base does, and given variants."""

import logging

import numpy as np
import pandas as pd
import torch

from cpgtaxa.files import atomic_folder, write_parquet
from cpgtaxa.learning.loop import use_threads
from cpgtaxa.targets.single_cell import effects, motifs
from cpgtaxa.targets.single_cell.genome import open_genome
from cpgtaxa.targets.single_cell.kmers import BASES
from cpgtaxa.targets.single_cell.neighbours import uninformative
from cpgtaxa.targets.single_cell.networks import Trained, Windows
from cpgtaxa.targets.single_cell.plan import SPLITS


class SequenceAlone(torch.nn.Module):
    """A joint network that is shown neighbours which say nothing: state UNKNOWN, as far as can be."""

    def __init__(self, network, cells: int, cpg_wlen: int):
        super().__init__()
        self.network = network
        neighbours = uninformative(cells, cpg_wlen, getattr(network.cpg, "reach", 0))
        self.register_buffer("neighbours", torch.from_numpy(neighbours))

    def forward(self, dna):
        return self.network(dna, self.neighbours.expand(len(dna), -1, -1))


def read_network(inputs: dict, folder, *, settings: dict, seed: int) -> None:
    """Write what a trained network reads in the sequence into `folder`.

    inputs: paths `windows` (list), `sites`, `weights`, `card`, and where asked for `genome` and `variants`. Motifs are
    looked for in windows drawn from all sites; mutations are tried around test sites drawn at random. Files:
    `motifs.meme`, `motifs.csv`, `matrices.npy` (filters, width, 4; NaN where a filter has no motif),
    `effects.parquet` (site, offset, base, effect: mean over cells of the change), `effects_by_distance.csv` (exact and
    by gradient), and `variants.csv` if variants are given.
    """
    use_threads(settings["threads"])
    trained = Trained(inputs["weights"], inputs["card"], settings["device"], "float32")
    network, cells = trained.network, len(trained.cells)
    if trained.part == "joint":
        network = SequenceAlone(network, cells, trained.settings["cpg_wlen"]).to(trained.device)
    device = "gpu" if trained.device == "cuda" else "cpu"
    predict = effects.predictor(network, device)
    variants = genome = None
    if "variants" in inputs:  # first: what is wrong with them is said before the work
        genome = open_genome(inputs["genome"])
        variants = effects.read_variants(inputs["variants"], genome)
    rng = np.random.default_rng(seed)
    windows = Windows(inputs["windows"], ("dna",))
    with atomic_folder(folder) as temporary:
        _write_motifs(temporary, trained.network.dna, windows, settings, rng)
        _write_effects(temporary, network, predict, inputs["windows"], settings, rng, device)
        if variants is not None:
            found = effects.variant_effects(genome, variants, predict, trained.cells, windows.dna_wlen)
            found.to_csv(temporary / "variants.csv", index=False, float_format="%.5g")
            logging.info(f"{len(variants):,} variants near {found['cpg'].nunique():,} CpGs")


def _drawn(rng, n: int, most: int) -> np.ndarray:
    return np.sort(rng.permutation(n)[:most])


def _write_motifs(folder, dna, windows: Windows, settings: dict, rng) -> None:
    rows = _drawn(rng, len(windows), settings["motif_windows"])
    sequences, targets = windows.sequences(rows), windows.targets(rows)
    weights, bias = motifs.first_layer(dna)
    found, activity = motifs.filter_motifs(weights, bias, sequences)
    seen = targets >= 0
    with np.errstate(invalid="ignore"):
        rates = np.where(seen.any(axis=1), (targets == 1).sum(axis=1) / np.maximum(seen.sum(axis=1), 1), np.nan)
    table = motifs.table(found, activity, rates)
    table.to_csv(folder / "motifs.csv", index=False, float_format="%.5g")
    motifs.write_meme(folder / "motifs.meme", found, motifs.background_of(sequences))
    nothing = np.full((weights.shape[2], 4), np.nan)
    matrices = np.stack([nothing if one.pwm is None else one.pwm for one in found])
    np.save(folder / "matrices.npy", matrices)
    logging.info(f"motifs of {sum(one.pwm is not None for one in found)} of {len(found)} filters")


def _write_effects(folder, network, predict, paths, settings: dict, rng, device: str) -> None:
    windows = Windows(paths, ("dna",), SPLITS["test"])
    rows = _drawn(rng, len(windows), settings["effect_sites"])
    sequences, span, wlen = windows.sequences(rows), settings["span"], windows.dna_wlen
    exact = effects.mutation_effects(predict, sequences, span)
    gradient = effects.gradient_effects(network, sequences, span, device=device)
    by_distance = effects.by_distance(exact, wlen, span)
    by_distance["gradient"] = effects.by_distance(gradient, wlen, span)["effect"]
    by_distance.to_csv(folder / "effects_by_distance.csv", index=False, float_format="%.5g")
    offsets = effects.offsets_of(wlen, span)
    present = sequences[:, wlen // 2 + offsets]
    row, place, base = np.nonzero(~np.isnan(exact[..., 0]) & (present[:, :, None] != np.arange(4)))
    frame = pd.DataFrame(
        {
            "site": windows.column("site")[rows][row],
            "offset": offsets[place].astype(np.int32),
            "reference": np.array(list(BASES))[present[row, place]],
            "base": np.array(list(BASES))[base],
            "effect": exact[row, place, base].mean(axis=1),
        }
    )
    write_parquet(folder / "effects.parquet", frame)
    logging.info(f"{len(frame):,} substitutions around {len(rows):,} sites")

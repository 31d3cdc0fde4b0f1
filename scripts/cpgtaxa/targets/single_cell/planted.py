"""The motifs that a network was found to look for, held against the planted one of a simulation."""

import dataclasses
import logging
import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.files import naming_damage, read_parquet
from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.targets.single_cell.motifs import IUPAC, SHARE, Motif, find_consensus

ALIKE = 0.7
"""Similarity from which a filter is said to have found a motif: the order of its positions alone may fit by chance."""


def is_found(p_holm: float, similarity: float) -> bool:
    """Whether a filter has found a motif: its order of positions fits better than by chance, and well."""
    return p_holm < 0.05 and similarity >= ALIKE


def read_motifs(folder) -> tuple[pd.DataFrame, list[Motif]]:
    """The table of filters (see `motifs.table`) and their motifs, from a folder of `reading.read_network`."""
    folder = pathlib.Path(folder)
    with naming_damage(folder / "motifs.csv"):
        table = pd.read_csv(folder / "motifs.csv", keep_default_na=False, na_values={"correlation": [""]})
    with naming_damage(folder / "matrices.npy"):
        matrices = np.load(folder / "matrices.npy", allow_pickle=False)
    found = []
    for row, pwm in zip(table.itertuples(), matrices, strict=True):
        threshold = row.mean_activation + SHARE * (row.max_activation - row.mean_activation)
        known = None if np.isnan(pwm).any() else pwm
        numbers = row.information, row.mean_activation, row.max_activation, threshold
        found.append(Motif(row.filter, known, row.sites, *numbers))
    return table, found


def motif_rows(reader: str, motifs: list[Motif], match: pd.DataFrame, effects: dict | None) -> pd.DataFrame:
    """What was found of the planted motif, as rows of SUMMARY_COLUMNS.

    `motif_similarity`, `motif_p_holm` and `motif_filter` (number) of the filter that fits it best, n the filters with a
    motif; `motif_effect` and `effect_elsewhere`, see `motif_effects`, n the substitutions.
    """
    n = sum(motif.pwm is not None for motif in motifs)
    rows = []
    if len(match):
        best = match.iloc[0]
        rows += [(reader, f"motif_{key}", best[key], np.nan, np.nan, n) for key in ("similarity", "p_holm", "filter")]
    for key, (value, number) in (effects or {}).items():
        rows.append((reader, key, value, np.nan, np.nan, number))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def motif_effects(effects: pd.DataFrame, consensus: str) -> dict[str, tuple[float, int]]:
    """Mean change of predicted methylation by a substitution within the consensus, and elsewhere; with their numbers.

    effects: site, offset, reference, base, effect, see `reading.read_network`. The consensus is looked for on the
    + strand, letter by letter, in what is known of the sequence around each site. The CpG itself is in neither group.
    """
    low, width = int(effects["offset"].min()), int(np.ptp(effects["offset"])) + 1
    codes, which = pd.factorize(effects["site"])
    place = effects["offset"].to_numpy() - low
    letters = np.full((len(which), width), "N")
    letters[codes, place] = effects["reference"].to_numpy()
    fits = np.ones((len(which), width - len(consensus) + 1), dtype=bool)
    for at, letter in enumerate(consensus):
        fits &= np.isin(letters[:, at : at + fits.shape[1]], list(IUPAC[letter]))
    within = np.zeros((len(which), width), dtype=bool)
    for at in range(len(consensus)):
        within[:, at : at + fits.shape[1]] |= fits
    inside, itself = within[codes, place], effects["offset"].isin([0, 1]).to_numpy()
    groups = {"motif_effect": inside & ~itself, "effect_elsewhere": ~inside & ~itself}
    values = effects["effect"].to_numpy(dtype=float)
    return {key: (float(values[rows].mean()), int(rows.sum())) for key, rows in groups.items() if rows.any()}


@dataclasses.dataclass
class Motifs:
    """What the attribution found. table, motifs: of the filters; match, effects, consensus: of a planted motif."""

    table: pd.DataFrame
    motifs: list[Motif]
    consensus: str | None = None
    match: pd.DataFrame | None = None
    effects: dict | None = None


def read_motifs_found(inputs: dict, seed: int) -> Motifs | None:
    """The attribution's motifs, held against the planted one where there is one; None without attribution."""
    if "reading" not in inputs:
        return None
    found = Motifs(*read_motifs(inputs["reading"]))
    if "motif" in inputs:
        with naming_damage(inputs["motif"]):
            found.consensus = pathlib.Path(inputs["motif"]).read_text(encoding="utf-8").strip()
        found.match = find_consensus(found.motifs, found.consensus, seed)
        logging.info("the planted motif was looked for in the filters")
        effects = read_parquet(pathlib.Path(inputs["reading"]) / "effects.parquet")
        found.effects = motif_effects(effects, found.consensus)
    return found

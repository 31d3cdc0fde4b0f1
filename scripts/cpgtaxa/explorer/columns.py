"""What the page knows of each CpG: the columns, what they mean and how they are kept."""

import numpy as np
import pandas as pd
import pyarrow as pa

from cpgtaxa.errors import InputError
from cpgtaxa.explorer.packing import NO_CODE, logarithms, long_codes, name_codes, share_codes
from cpgtaxa.files import naming_damage, parquet_blocks, read_parquet
from cpgtaxa.input.positions import NAMES as CHROMOSOMES
from cpgtaxa.names import KNOWN, PROBABILITY_COLUMNS, TAXA
from cpgtaxa.patterns.columns import CAUSES, SHAPES
from cpgtaxa.patterns.columns import DESCRIPTION as PATTERNS
from cpgtaxa.statistics.cell_types import OF_CPG, read_cell_types
from cpgtaxa.statistics.kernel import DESCRIPTION
from cpgtaxa.taxa.criteria import TABLE, Answers
from cpgtaxa.taxa.labels import undecided

REASONS = {
    "ambiguous": "the tests leave several taxa, and the network's choice among them was not selected",
    "contradicted": "the tests leave no taxon",
    "unlike": "unlike the training images and the simulated CpGs",
}
"""Why a CpG is Unclassified."""
BOUNDARIES = {one.name: f"in the zone of: {one.question}" for one in TABLE}
"""Where a boundary CpG lies."""

MAIN = ("mean", "core_effect", "core_sd", "core_sd_ratio", "outlier_fraction", "kurtosis", "two_gap", "two_d")
"""Statistics by which CpGs that are not on the map are said to be neighbours, beside the probabilities."""

CHANGES = ("change_point", "replication", "spread_change_point")
"""Columns of the patterns that are numbers here, beside the words WORDS."""
WORDS = {"shape": SHAPES, "cause": CAUSES, "spread_shape": SHAPES}
MEANING = {
    "taxon": "the CpG's taxon, or Unclassified",
    "source": "what gave it: statistical (the tests), round_N (the network of that round), none",
    "confidence": "probability that the taxon is right: by the tests where they gave it, else by the round that placed "
    "the CpG; none if Unclassified, or if the label was given",
    "network_p": "the last network's probability of the taxon; for Unclassified, its highest one",
    "second_taxon": "the likeliest other taxon by the network",
    "reason": "why the CpG is Unclassified",
    "detail": "what the tests know of an Unclassified CpG, and what is undecided",
    "boundary": "the criterion in whose zone the CpG lies, or that is open; empty if clear",
    "criterion": "the criterion that decides: that of boundary, else the one nearest to its cut",
    "margin": "how far the CpG lies from that criterion's cut, in halves of its zone (1: at an end of it; at most 10)",
    "disagrees": "whether the network finds another taxon likelier than the one that the tests gave",
} | {name: PATTERNS[name] for name in (*WORDS, *CHANGES)}
PLACES = {
    "chromosome": "chromosome, by the array's manifest",
    "position": "position on it, from 1",
    "gene": "genes that the manifest names",
    "island": "where the CpG lies to a CpG island",
    "flags": "SNP at the CpG by the manifest, and the lists that hold it (annotation.lists)",
}
"""Columns that there are with an annotation, and what they mean."""


def kind_of(name: str) -> str:
    """How a statistic is kept: `whole` (int32), `yes` (bool), `log` (logarithm of a p-value) or `number` (float32)."""
    if name in ("n", "outlier_n", "far_n"):
        return "whole"
    if name == "mixture_ran":
        return "yes"
    return "log" if name.endswith("_p") else "number"


def described() -> list[dict]:
    """Every statistic by name, kind and meaning, in the order of the statistics file."""
    return [{"name": name, "kind": kind_of(name), "meaning": text} for name, text in DESCRIPTION.items()]


def kept(name: str, values: pd.Series) -> np.ndarray:
    """A statistic's values as the page keeps them: int32, uint8 or float32, NaN where missing."""
    kind = kind_of(name)
    if kind == "whole":
        return values.to_numpy(dtype=np.int32)
    if kind == "yes":
        return values.to_numpy(dtype=np.uint8)
    values = values.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        return logarithms(values) if kind == "log" else values.astype(np.float32)


def column(path, name: str) -> pd.Series:
    """One column of a Parquet file of this workflow."""
    return read_parquet(path, columns=[name])[name]


def scale_of(values: np.ndarray) -> list[float]:
    """Median and robust standard deviation (interquartile range / 1.349) of the finite values; 0 and 1 without any."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return [0.0, 1.0]
    low, middle, high = np.quantile(finite, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.349
    # A statistic that is the same for most CpGs (no outliers) has no quartiles apart.
    return [float(middle), float(spread if spread > 0 else max(finite.std(), 1e-12))]


class Index:
    """What stands in the tables of all CpGs but betas and statistics, in the cohort's order.

    cpgs: (n,) str. taxon, source, second, reason, detail, boundary, criterion, disagrees (0 or 1), bands, and
    those of WORDS: (n,) uint8 codes; confidence, margin, network_p, and those of CHANGES: (n,) float32; probabilities:
    (10, n) uint16 codes; sources, details: the names that `source` and `detail` count; open: of each of `details` the
    number of open questions. `places` has PLACES where there is an annotation, else it is empty: chromosome, island
    and flags ("A;B") as (n,) uint8 codes of `chromosomes`, `islands` and `flags`, position (n,) uint32, 0 where
    there is none, gene (n,) str. `cells` has OF_CPG where there is a table of cell types, else it is empty: types
    ("A|B") as (n,) uint16 codes of `cells_said`, q as (n,) float32 decimal logarithms. Raises InputError where tables
    are not of these CpGs.
    """

    def __init__(self, taxonomy, unclassified, statistics, patterns, rules: dict, annotation=None, cell_types=None):
        self.cpgs = column(taxonomy, "cpg").to_numpy(dtype=object)
        taxon = column(taxonomy, "taxon").to_numpy(dtype=object)
        source = column(taxonomy, "source").to_numpy(dtype=object)
        self.sources = sorted(set(source), key=_in_order)
        with naming_damage(taxonomy):
            self.taxon = name_codes(taxon, KNOWN)
            self.source = name_codes(source, self.sources)
            self.second = name_codes(column(taxonomy, "second_taxon"), TAXA)
            self.boundary, self.criterion = (
                name_codes(column(taxonomy, name).replace("", None), BOUNDARIES) for name in ("boundary", "criterion")
            )
        self.confidence, self.margin, self.network_p = (
            column(taxonomy, name).to_numpy(dtype=np.float32) for name in ("confidence", "margin", "network_p")
        )
        self.disagrees = column(taxonomy, "disagrees").to_numpy(dtype=np.uint8)
        self.probabilities = np.stack(
            [share_codes(column(taxonomy, name).to_numpy(dtype=np.float32)) for name in PROBABILITY_COLUMNS]
        )
        self.reason, self.detail, self.details = self._reasons(unclassified)
        self.bands = self._bands(statistics, rules)
        table = read_parquet(patterns, columns=["cpg", *WORDS, *CHANGES])
        if not np.array_equal(table["cpg"].to_numpy(dtype=object), self.cpgs):
            raise InputError(f"{patterns} is not of this taxonomy: delete it and start again")
        with naming_damage(patterns):
            self.shape, self.cause, self.spread_shape = (
                name_codes(table[name], known) for name, known in WORDS.items()
            )
        self.change_point, self.replication, self.spread_change_point = (
            table[name].to_numpy(dtype=np.float32) for name in CHANGES
        )
        self.places, self.chromosomes, self.islands, self.flags = {}, [], [], []
        if annotation:
            self._annotate(read_parquet(annotation), annotation)
        self.cells, self.cells_said = {}, []
        if cell_types:
            table = read_cell_types(cell_types, self.cpgs)
            texts = ["cell_type", "spread_cell_type"]
            self.cells_said = sorted({*table[texts[0]], *table[texts[1]]} - {""})
            for name in OF_CPG:
                values = table[name].to_numpy()
                self.cells[name] = long_codes(values, self.cells_said) if name in texts else logarithms(values)

    def __len__(self):
        return len(self.cpgs)

    def _annotate(self, table: pd.DataFrame, path) -> None:
        if not np.array_equal(table["cpg"].to_numpy(dtype=object), self.cpgs):
            raise InputError(f"{path} is not of this taxonomy: delete it and start again")
        kinds = ("chromosome", "island", "flags")
        self.chromosomes, self.islands, self.flags = (_commonest(table[name]) for name in kinds)
        for name, names in zip(kinds, (self.chromosomes, self.islands, self.flags), strict=True):
            self.places[name] = name_codes(table[name].where(table[name].isin(names), None), names)
        self.places["position"] = table["position"].fillna(0).to_numpy(dtype=np.uint32)
        self.places["gene"] = table["gene"].to_numpy(dtype=object)

    def _reasons(self, path) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Codes (n,) uint8 of why CpGs are Unclassified and of what the tests say of them, and the names of the latter:
        those of one open question first, then of several, then of none."""
        left = read_parquet(path, columns=["cpg", "reason", "detail"])
        place = pd.Index(self.cpgs).get_indexer(left["cpg"].to_numpy(dtype=object))
        if (place < 0).any():
            raise InputError(f"{path} names CpGs that are not in the taxonomy: delete it and start again")
        found = [np.full(len(self), NO_CODE, dtype=np.uint8) for _ in range(2)]
        details = left["detail"].fillna("").astype(str)
        said = {detail: undecided(detail) for detail in details.unique() if detail}
        self.open = {words: _questions(detail) for detail, words in said.items()}
        details = details.map(said)
        counts = details.value_counts()
        names = sorted(counts.index[: NO_CODE - 1], key=lambda name: (self.open[name] or NO_CODE, -counts[name], name))
        with naming_damage(path):
            found[0][place] = name_codes(left["reason"], REASONS)
            found[1][place] = name_codes(details.where(details.isin(names), None), names)
        for codes in found:
            codes[self.taxon != len(TAXA)] = NO_CODE
        return *found, names

    def _bands(self, path, rules: dict) -> np.ndarray:
        """How many lines to draw: as many as the tests find, or as the taxon has where so many were fitted; (n,) uint8.

        0 for a CpG whose statistics are missing.
        """
        found, start = np.zeros(len(self), dtype=np.uint8), 0
        for block in parquet_blocks(path):
            stop = start + len(block)
            if list(block["cpg"]) != list(self.cpgs[start:stop]):
                raise InputError(f"{path} and the taxonomy are not of the same CpGs: delete both and start again")
            bands = Answers(block, rules["thresholds"], rules["errors"]).bands
            named = self.taxon[start:stop]
            for number, ending in ((2, "Bi"), (3, "Tri")):
                codes = [code for code, taxon in enumerate(TAXA) if taxon.startswith(ending)]
                fitted = np.isfinite(block[f"bic{number}"].to_numpy())
                bands = np.where(np.isin(named, codes) & fitted, number, bands)
            single = ~np.isin(named, [code for code, taxon in enumerate(TAXA) if taxon.startswith(("Bi", "Tri"))])
            bands[single & (named < len(TAXA))] = 1
            bands[~np.isfinite(block["slope"].to_numpy())] = 0
            found[start:stop] = bands
            start = stop
        if start != len(self):
            raise InputError(f"{path} and the taxonomy are not of the same CpGs: delete both and start again")
        return found

    def rank(self) -> np.ndarray:
        """Each CpG's place when sorted by name, (n,) uint32."""
        order = pa.compute.array_sort_indices(pa.array(self.cpgs, pa.string())).to_numpy()
        found = np.empty(len(self), dtype=np.uint32)
        found[order] = np.arange(len(self), dtype=np.uint32)
        return found


def _questions(detail: str) -> int:
    """The number of questions that are open."""
    if not detail.startswith("open: "):
        return 0
    return detail.removeprefix("open: ").partition(";")[0].count(",") + 1


def _commonest(names: pd.Series) -> list[str]:
    """The names there are, chromosomes in their order before others; of more than a byte holds, the commonest."""
    counts = names[names != ""].value_counts()
    found = sorted(counts.index, key=lambda name: (-counts[name], name))[: NO_CODE - 1]
    known = {f"chr{name}": place for place, name in enumerate((*CHROMOSOMES, "M"))}
    return sorted(found, key=lambda name: (known.get(name, len(known)), name))


def _in_order(source: str) -> tuple:
    """statistical, the rounds by number, none."""
    if source.startswith("round_"):
        return 1, int(source.removeprefix("round_"))
    return (0, 0) if source == "statistical" else (2, 0)

"""Which CpGs models go by: the strongest of each gene, and how that depends on their distance from its start."""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cpgtaxa.files import atomic, read_parquet
from cpgtaxa.statistics.areas import auc
from cpgtaxa.targets.expression.scores import (
    held_out,
)
from cpgtaxa.targets.expression.study import Study

MOST_CPGS = 100
"""CpGs kept for each gene and model in the attributions; all of them are in the fits."""
ABOVE = (0.1, 0.5)
"""R² above which genes are counted."""
ENOUGH = 10
"""Genes predicted (R² above the first of ABOVE) from which only these show where the CpGs lie."""
STEPS = (0, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000)
"""Ends of the bins of distance in bases, on both sides of a gene's start; then in steps of a factor of ten."""


@dataclasses.dataclass
class Attributions:
    """What attributions show. tops: example gene to its strongest CpGs (cpg, distance, attribution), by `explainer`.

    profile: model, distance_from, distance_to (bases, upstream negative), attribution (mean over the CpGs of many
    genes, each relative to the mean of its gene), cpgs; genes: how many genes each model's profile is of. found: model,
    gene, auc with which a gene's attributions find its causal CpGs.
    """

    tops: dict[str, pd.DataFrame]
    explainer: str | None
    profile: pd.DataFrame
    genes: dict[str, int]
    found: pd.DataFrame


def write_attributions(
    out, study: Study, fits: dict, models, scores, cpgs: pd.DataFrame, truth, wanted
) -> Attributions:
    """Write the strongest CpGs of each gene and model in the widest window.

    Of each gene and model the MOST_CPGS strongest, strongest first: for a whole array all would be tens of millions of
    rows, nearly all of them noise (they are in the fits, in the order of the CpGs). out: Parquet with gene, model, cpg,
    distance (int32, bases from the gene's start, upstream negative by strand; null without positions), attribution
    (float32). One model is in memory at a time, and of it one file's attributions.

    cpgs: cpg, position. truth: gene, kind, cpgs, or None. wanted: genes whose strongest CpGs are returned.
    """
    window = scores["window"].iloc[0]
    placed = window != "all"
    names, position = cpgs["cpg"].to_numpy(dtype=object), cpgs["position"].to_numpy()
    gene_names = study.genes["gene"].to_numpy(dtype=object)
    order = {gene: row for row, gene in enumerate(gene_names)}
    first, tss = study.genes[f"first_{window}"].to_numpy(), study.genes["tss"].to_numpy()
    sign = np.where(study.genes["strand"] == "-", -1, 1)
    causal = _causal(truth, names)
    edges = _edges(study, window, position, first) if placed else np.empty(0)
    types = [("gene", pa.string()), ("model", pa.string()), ("cpg", pa.string())]
    schema = pa.schema([*types, ("distance", pa.int32()), ("attribution", pa.float32())], metadata={"window": window})
    attributions = Attributions({}, None, pd.DataFrame(), {}, pd.DataFrame())
    profiles, found = [], []
    with atomic(out) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
        for model in models:
            profile, kept, aucs = _Profile(edges, _predicted(scores, model)), {}, {}
            for path in fits[model, window]:
                table = read_parquet(path, columns=["gene", "attribution"])
                for gene, values in zip(table["gene"], table["attribution"], strict=True):
                    if len(values) == 0:
                        continue
                    row, values = order[gene], np.asarray(values, dtype=np.float32)
                    start, stop = first[row], first[row] + len(values)
                    distance = sign[row] * (position[start:stop] - tss[row]) if placed else None
                    strongest = np.argsort(-values, kind="stable")[:MOST_CPGS]
                    kept[row] = start + strongest, distance[strongest] if placed else None, values[strongest]
                    if placed:
                        profile.add(row, gene, distance, values)
                    if gene in causal:
                        true = causal[gene][(causal[gene] >= start) & (causal[gene] < stop)] - start
                        aucs[row] = model, gene, auc(values, np.isin(np.arange(len(values)), true))
            if not kept:
                continue
            rows = sorted(kept)
            found += [aucs[row] for row in sorted(aucs)]
            lengths = [len(kept[row][0]) for row in rows]
            which = np.concatenate([kept[row][0] for row in rows])
            distance = np.concatenate([kept[row][1] for row in rows]) if placed else [None] * len(which)
            columns = [pa.array(np.repeat(gene_names[rows], lengths), pa.string()), pa.array([model] * len(which))]
            columns += [pa.array(names[which], pa.string()), pa.array(distance, pa.int32())]
            columns += [pa.array(np.concatenate([kept[row][2] for row in rows]))]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=1 << 20)
            if profile.parts:
                profiles.append(profile.table(model))
                attributions.genes[model] = len(profile.parts)
            if attributions.explainer is None:
                attributions.explainer = model
                for gene in wanted:
                    if (row := order[gene]) in kept:
                        numbers = {"cpg": names[kept[row][0]], "distance": kept[row][1], "attribution": kept[row][2]}
                        attributions.tops[gene] = pd.DataFrame(numbers)
    attributions.profile = pd.concat(profiles, ignore_index=True) if profiles else pd.DataFrame()
    attributions.found = pd.DataFrame(found, columns=["model", "gene", "auc"])
    return attributions


def _causal(truth, names) -> dict[str, np.ndarray]:
    """The rows of the causal CpGs of each gene with a methylation effect."""
    if truth is None:
        return {}
    index = pd.Index(names)
    return {
        row.gene: np.array([at for at in index.get_indexer(row.cpgs.split()) if at >= 0], dtype=int)
        for row in truth.itertuples()
        if row.kind != "none"
    }


def _edges(study: Study, window: str, position, first) -> np.ndarray:
    """Ends of the bins of distance, signed and rising, as far as the CpGs of the genes lie."""
    last = study.genes[f"last_{window}"].to_numpy()
    there = last > first
    tss = study.genes["tss"].to_numpy()[there]
    far = max(np.abs(position[first[there]] - tss).max(), np.abs(position[last[there] - 1] - tss).max())
    far, steps = max(far, 1), list(STEPS)
    while steps[-1] < far:
        steps.append(2 * steps[-1] if steps[-1] == STEPS[-1] else 10 * steps[-1])
    steps = steps[: int(np.searchsorted(steps, far)) + 1]
    return np.array([-step for step in steps[:0:-1]] + steps, dtype=float)


def _predicted(scores: pd.DataFrame, model: str) -> set[str] | None:
    """Genes that a model predicts; None, for all, where they are few."""
    own = scores[(scores["model"] == model) & held_out(scores)]
    genes = set(own["gene"][own["r2"] > ABOVE[0]])
    return genes if len(genes) >= ENOUGH else None


class _Profile:
    """How much CpGs matter by their distance, over many genes."""

    def __init__(self, edges: np.ndarray, chosen: set[str] | None):
        self.edges, self.chosen = edges, chosen
        self.parts: dict[int, tuple] = {}

    def add(self, row: int, gene: str, distance: np.ndarray, values: np.ndarray) -> None:
        mean = values.mean(dtype=np.float64)
        if (self.chosen is not None and gene not in self.chosen) or not mean > 0:
            return
        # The last bin holds its end.
        n = len(self.edges) - 1
        bins = np.minimum(np.searchsorted(self.edges, distance, side="right") - 1, n - 1)
        self.parts[row] = np.bincount(bins, values / mean, n), np.bincount(bins, minlength=n)

    def table(self, model: str) -> pd.DataFrame:
        # Added up in the order of the genes, so that the last digit does not depend on the shards.
        total, count = (np.sum([self.parts[row][at] for row in sorted(self.parts)], axis=0) for at in (0, 1))
        mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        ends = {"distance_from": self.edges[:-1], "distance_to": self.edges[1:]}
        table = pd.DataFrame({"model": model, **ends, "attribution": mean, "cpgs": count})
        return table.astype({"distance_from": int, "distance_to": int})

"""A map of the CpGs as the last network sees them, and what it says about the taxa: needed? enough? See `clusters`."""

import logging
import pathlib
import time

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patheffects import withStroke
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.embedding import clusters
from cpgtaxa.files import atomic, parquet_blocks, read_json, read_parquet, write_json
from cpgtaxa.learning.classifier import draw
from cpgtaxa.learning.networks import load_predictor
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.names import COLOURS, KNOWN, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.pages.drawing import HALO, INK, MARKERS, STYLE, save_pdf, svg_text
from cpgtaxa.progress import Progress, so_far
from cpgtaxa.simulation import simulate

BLOCK = 256
"""CpGs drawn and looked at together."""

PER_KIND = 60
"""Boundary CpGs simulated for each pair of taxa between which there is a kind of them."""

FEWEST_SAMPLES = 20
"""Samples from which boundary CpGs are simulated: fewer do not fill their bands."""

EXAMPLES = 5
"""CpGs named for each cluster: the medoid and those nearest to it."""

NEIGHBOURS = 8
"""CpGs named for each CpG as the nearest to it."""

CLUSTER_COLUMNS = ("cluster", "name", "n", "stability", "isolation", "taxon_a", "p_a", "taxon_b", "p_b")
CLUSTER_COLUMNS += ("nearest_known", "stands_out", *(f"example_{number}" for number in range(1, EXAMPLES + 1)))


def choose(taxon: np.ndarray, per_taxon: int, unclassified: int, seed: int) -> np.ndarray:
    """Row numbers, ascending, of a random choice: at most so many CpGs of each taxon, and without one. taxon: (n,)."""
    chosen = []
    for number, name in enumerate(KNOWN):
        rows = np.flatnonzero(taxon == name)
        most = unclassified if name == UNCLASSIFIED else per_taxon
        chosen.append(np.random.default_rng([seed, 31, number]).permutation(rows)[:most])
    return np.sort(np.concatenate(chosen))


def outputs_of(predictor, values: np.ndarray, ages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (k, 10) and features (k, d) of CpGs drawn on the fly: values (k, n) float32, ages (n,) years."""
    found = [
        predictor.outputs(draw(values[start : start + BLOCK], ages, predictor))
        for start in range(0, max(len(values), 1), BLOCK)
    ]
    logits, features = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(features)


def boundary_cpgs(ages: np.ndarray, seed: int) -> tuple[list[str], np.ndarray]:
    """Simulated CpGs between two taxa, for these ages: what each is, and values (k, n) float32.

    As many of each kind and pair, so that what is rare in a cohort is known too; none for a handful of samples.
    """
    if len(ages) < FEWEST_SAMPLES:
        return [], np.empty((0, len(ages)), dtype=np.float32)
    setting = simulate.make_setting(ages, np.random.default_rng([seed, 37]))
    names, values = [], []
    for number, (kind, taxon, other) in enumerate(simulate.boundary_kinds()):
        rng = np.random.default_rng([seed, 41, number])
        for _ in range(PER_KIND):
            profile = simulate.draw_profile(rng, taxon, setting, (kind, taxon, other))
            values.append(simulate.draw_values(rng, profile, setting))
            names.append(f"{kind}, {taxon} / {other}")
    return names, np.stack(values)


def place(x: np.ndarray, seed: int) -> np.ndarray:
    """Rows of x (n, d) on a plane, (n, 2), by t-SNE from their principal components; those themselves if few."""
    if len(x) < 3 * EXAMPLES:
        return np.pad(x, ((0, 0), (0, max(2 - x.shape[1], 0))))[:, :2]
    model = TSNE(perplexity=min(30, (len(x) - 1) / 3), init="pca", random_state=seed, n_jobs=1)
    return model.fit_transform(x.astype(np.float32)).astype(np.float64)


def separate(features, boundary, boundary_names, taxon, probabilities, seed: int) -> tuple:
    """Both questions at once: pairs of taxa, the clusters, each CpG's cluster (from 1; 0 for none), and coordinates.

    features: (n, d) of the CpGs with taxon (n,) and probabilities (n, 10); boundary: (m, d) of simulated sites, named
    boundary_names. Returns (table of `clusters.separability`, list of `clusters.describe_clusters` with `members` as
    rows of `features`, (n,) int, (n, k) projected features).
    """
    everything = clusters.project(np.concatenate([features, boundary]))
    x, between = everything[: len(features)], everything[len(features) :]
    left = np.flatnonzero(taxon == UNCLASSIFIED)
    placed = np.flatnonzero(taxon != UNCLASSIFIED)
    pairs = clusters.separability(x[placed], taxon[placed], seed)
    # Without boundary CpGs a new pattern cannot be separated from what lies between two taxa.
    found = clusters.find_clusters(x[left]) if len(boundary) else np.full(len(left), -1)
    known = np.concatenate([x[placed], between])
    names = np.concatenate([taxon[placed], np.asarray(boundary_names, dtype=object)])
    described = clusters.describe_clusters(x[left], found, known, names, probabilities[left], seed)
    for entry in described:
        entry["members"] = left[entry["members"]]
    cluster = np.zeros(len(features), dtype=int)
    cluster[left] = found + 1
    return pairs, described, cluster, x


def neighbours_of(x: np.ndarray, cpgs: np.ndarray) -> pd.DataFrame:
    """The CpGs nearest to each by projected features, the nearest first: cpg, neighbour_1, neighbour_2 ….

    x: (n, d) of `separate`. cpgs: (n,). At most NEIGHBOURS, and no more than there are others.
    """
    most = min(NEIGHBOURS, max(len(x) - 1, 0))
    near = (
        NearestNeighbors(n_neighbors=most, algorithm="brute").fit(x).kneighbors(return_distance=False) if most else []
    )
    columns = {f"neighbour_{rank + 1}": cpgs[near[:, rank]] for rank in range(most)}
    return pd.DataFrame({"cpg": cpgs} | columns)


def table_of(described: list[dict], cpgs: np.ndarray, taxon: np.ndarray, statistics: pd.DataFrame) -> pd.DataFrame:
    """The clusters as CLUSTER_COLUMNS, with what stands out beside the placed CpGs of the two taxa they lie between.

    described: of `separate`. cpgs, taxon: (n,). statistics: (n) rows with the columns of `clusters.MEANINGS`.
    """
    rows = []
    for entry in described:
        beside = np.isin(taxon, [entry["taxon_a"], entry["taxon_b"]])
        if beside.sum() < clusters.FEWEST:
            beside = taxon != UNCLASSIFIED
        striking = clusters.stands_out(statistics.iloc[entry["members"]], statistics[beside])
        row = {column: entry.get(column) for column in CLUSTER_COLUMNS}
        row["stands_out"] = "; ".join(f"{column} {z:+.1f}" for column, z in striking)
        row |= {f"example_{number}": cpgs[member] for number, member in enumerate(entry["members"][:EXAMPLES], 1)}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(CLUSTER_COLUMNS))


def notes_on(pairs: pd.DataFrame, n_unclassified: int, n_samples: int, settings: dict) -> list[str]:
    """What could not be looked at, and why, in sentences."""
    found = []
    few = [row.taxon for row in clusters.nearest(pairs).itertuples() if row.n < clusters.FEWEST]
    if few:
        found.append(
            f"Fewer than {clusters.FEWEST} CpGs are placed in {', '.join(few)}: too few to separate from other taxa."
        )
    if settings["unclassified"] == 0:
        found.append("No clusters were looked for: embedding.unclassified is 0.")
    elif n_samples < FEWEST_SAMPLES:
        found.append(
            f"No clusters were looked for: with {n_samples} samples, a new pattern cannot be separated from what lies "
            f"between two taxa. {FEWEST_SAMPLES} are needed."
        )
    elif n_unclassified < clusters.FEWEST_UNCLASSIFIED:
        found.append(
            f"Only {n_unclassified} Unclassified CpGs were looked at: clusters are looked for from "
            f"{clusters.FEWEST_UNCLASSIFIED} on."
        )
    return found


def draw_map(table: pd.DataFrame, described: list[dict]):
    """The map as a figure: a point per CpG in its taxon's colour and shape, Unclassified beneath, clusters by number.

    table: cpg, taxon, source, x, y, cluster.
    """
    figure, axes = plt.subplots(figsize=(6.6, 5.2))
    halo = [withStroke(linewidth=2.5, foreground=HALO)]
    for taxon in (UNCLASSIFIED, *TAXA):
        mine = table[table["taxon"] == taxon]
        axes.plot(
            mine["x"],
            mine["y"],
            MARKERS[taxon],
            color=COLOURS[taxon],
            **({"ms": 2.6, "mew": 0.6, "mfc": "none"} if taxon == UNCLASSIFIED else {"ms": 3.2, "mew": 0}),
            label=f"{taxon} ({len(mine):,})",
        )
    for taxon in TAXA:
        mine = table.loc[table["taxon"] == taxon, ["x", "y"]].to_numpy()
        if len(mine) >= clusters.FEWEST:
            middle = mine[clusters.medoid_first(mine)[0]]
            axes.text(*middle, taxon, ha="center", va="center", fontsize=8, color=INK, path_effects=halo)
    for entry in described:
        middle = table.loc[entry["members"][0], ["x", "y"]]
        text = f"{entry['cluster']}{'*' if entry['candidate'] else ''}"
        axes.text(*middle, text, ha="center", va="center", fontsize=9, color=INK, weight="bold", path_effects=halo)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_aspect("equal", adjustable="datalim")
    handles, labels = axes.get_legend_handles_labels()
    order = [*range(1, len(handles)), 0]
    axes.legend(
        [handles[index] for index in order],
        [labels[index] for index in order],
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        markerscale=2.2,
        handletextpad=0.2,
    )
    return figure


def write_map(table: pd.DataFrame, described: list[dict], out_svg, out_pdf, out_png) -> None:
    """Draw the map and write it as SVG, PDF and PNG, the same bytes each time."""
    with matplotlib.rc_context(STYLE):
        figure = draw_map(table, described)
        with atomic(out_svg) as temporary:
            temporary.write_text(svg_text(figure, "embedding"), encoding="utf-8")
        with atomic(out_pdf) as temporary:
            save_pdf(figure, temporary)
        with atomic(out_png) as temporary:
            metadata = {"Software": None}
            figure.savefig(temporary, format="png", dpi=200, bbox_inches="tight", pad_inches=0.04, metadata=metadata)
        plt.close(figure)


def _statistics_of(path, cpgs: np.ndarray) -> pd.DataFrame:
    """The rows of a statistics file of these CpGs, in their order, with the columns clusters are described by."""
    wanted = pd.Index(cpgs)
    columns = ["cpg", *clusters.MEANINGS]
    blocks = [block[block["cpg"].isin(wanted)] for block in parquet_blocks(path, columns=columns)]
    return pd.concat(blocks).set_index("cpg").reindex(wanted).reset_index(drop=True)


def embed(network: dict, beta, samples, taxonomy, statistics, out: dict, *, settings: dict, seed: int) -> None:
    """Look at a choice of CpGs with the last round's network and write map, pairs of taxa, clusters and a summary.

    network: paths of weights, stats and card. out: paths map (CSV), svg, pdf, png, separability, clusters, summary,
    neighbours.
    settings: the config's `embedding`, and `device`, `precision`.
    """
    begun = time.monotonic()
    columns = ["cpg", "taxon", "source", *PROBABILITY_COLUMNS]
    table = read_parquet(taxonomy, columns=columns)
    total = table["taxon"].value_counts()
    table = table.iloc[choose(table["taxon"].to_numpy(), settings["per_taxon"], settings["unclassified"], seed)]
    table = table.reset_index(drop=True)
    taxon, cpgs = table["taxon"].to_numpy(dtype=object), table["cpg"].to_numpy(dtype=object)
    model = read_json(network["card"])["model"]
    device = {key: settings[key] for key in ("device", "precision")}
    predictor = load_predictor(**network, model_name=model, **device)
    cohort, ages = Cohort(beta), read_samples(samples)["age"].to_numpy()
    rows, logits, features = cohort.find(cpgs), [], []
    progress = Progress(len(rows), "CpGs shown to the network")
    for start in range(0, max(len(rows), 1), BLOCK):
        seen = outputs_of(predictor, cohort.take(rows[start : start + BLOCK]), ages)
        cohort.release()
        logits.append(seen[0])
        features.append(seen[1])
        progress.step(len(seen[0]))
    probabilities = table[list(PROBABILITY_COLUMNS)].to_numpy(dtype=np.float64)
    now = softmax(np.concatenate(logits), predictor.temperature)
    probabilities = np.where(np.isnan(probabilities), now, probabilities)
    names, values = boundary_cpgs(ages, seed)
    boundary = outputs_of(predictor, values, ages)[1]
    logging.info(
        f"{len(rows):,} CpGs and {len(names):,} boundary CpGs looked at in {so_far(time.monotonic() - begun)}; next, "
        "pairs of taxa, clusters and the map (t-SNE), which show no progress"
    )

    pairs, described, cluster, x = separate(np.concatenate(features), boundary, names, taxon, probabilities, seed)
    found = table_of(described, cpgs, taxon, _statistics_of(statistics, cpgs))
    table = table[["cpg", "taxon", "source"]]
    table[["x", "y"]] = place(x, seed).round(3)
    table["cluster"] = pd.array(cluster, dtype="Int64")
    table.loc[table["cluster"] == 0, "cluster"] = pd.NA
    n_unclassified = int((taxon == UNCLASSIFIED).sum())
    summary = {
        "network": pathlib.Path(network["weights"]).name,
        "round": int(pathlib.Path(network["weights"]).parent.name.removeprefix("round_")),
        "placed": int(len(table) - n_unclassified),
        "unclassified": n_unclassified,
        "unclassified_in_cohort": int(total.get(UNCLASSIFIED, 0)),
        "in_clusters": int((cluster > 0).sum()),
        "candidates": sum(entry["candidate"] for entry in described),
        "notes": notes_on(pairs, n_unclassified, len(ages), settings),
    }
    near = neighbours_of(x, cpgs)
    frames = {"map": table, "separability": pairs, "clusters": found, "neighbours": near}
    for path, frame in ((out[name], frame) for name, frame in frames.items()):
        with atomic(path) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.4g" if frame is not table else "%.3f")
    write_map(table, described, out["svg"], out["pdf"], out["png"])
    write_json(out["summary"], summary)
    logging.info(
        f"{len(described)} clusters of {n_unclassified:,} Unclassified CpGs, {summary['candidates']} of them candidate "
        f"new taxa; {so_far(time.monotonic() - begun)} in all"
    )

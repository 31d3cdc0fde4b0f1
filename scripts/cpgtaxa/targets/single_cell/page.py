"""The last step of the target `single_cell`: scores, complete profiles, figures, and the page on them.

The same inputs give the same bytes: no dates, fixed seeds, fixed ids inside the figures. Nothing of the size of the
genome is held: sites and predictions are read in blocks (`metrics.score_all` holds the test sites of some cells).
"""

import dataclasses
import logging
import pathlib
import tempfile

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from cpgtaxa.errors import InputError
from cpgtaxa.files import REMEDY, atomic, atomic_folder, naming_damage, parquet_blocks, read_json, read_parquet
from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, INK, MUTED, SECOND, STYLE, Figures
from cpgtaxa.pages.page import write_page
from cpgtaxa.targets.single_cell.imputation import write_bedgraphs
from cpgtaxa.targets.single_cell.metrics import (
    DRAWS,
    FEWEST_BLOCKS,
    METRICS,
    TEST,
    blocks_of,
    compare,
    label_of,
    score_all,
    summarise,
)
from cpgtaxa.targets.single_cell.motifs import IUPAC, SHARE, Motif, find_consensus, logo
from cpgtaxa.targets.single_cell.tables import Sites, prediction_blocks, predictions_writer
from cpgtaxa.wording import decimal, p_value, percent, signed, span

TRUE, RATE = "true_probability", "cell_rate"
"""Rows of the summary that are no model: the truth of a simulation, and each cell's mean."""
LABELS = {
    "joint": "Joint network",
    "dna": "DNA network",
    "cpg": "CpG network",
    "random_forest": "Random forest",
    "window_mean": "Window mean",
    TRUE: "True probabilities",
    RATE: "Mean of the cell",
    "kmers": "k-mers",
}
MODEL_COLOURS = {"joint": ACCENT, "dna": COLOURS["TriAge"], "cpg": COLOURS["NonAgeHet"], "random_forest": SECOND}
MODEL_COLOURS |= {"window_mean": MUTED, TRUE: INK}
SUMMARY_COLUMNS = ["model", "metric", "value", "ci_low", "ci_high", "n"]
CALIBRATION_BINS = 20
MEAN_BINS = 10
"""Steps of mean methylation in the histogram and of windows' rates."""
FEW = 4
"""Sites that a cell must observe in a window for its rate there to count."""
FEW_WINDOWS = 10
"""Windows of about one rate below which their variance is not drawn."""
NAMED_CELLS = 30
"""Cells beyond which the figure gives no names, and tables are closed."""
LOGOS = 4
"""Motifs shown of either sign."""
VARIANTS_SHOWN = 20
ALIKE = 0.7
"""Similarity from which a filter is said to have found a motif: the order of its positions alone may fit by chance."""
CHECKS = {
    "rows": "Rows",
    "missing": "Without<br>value",
    "other_context": "Not CpG<br>or 5mC",
    "duplicates": "Repeated",
    "strands": "Strand pairs<br>merged",
    "moved": "Moved<br>to the C",
    "not_cpg": "No CpG,<br>left out",
    "undecided": "One half,<br>left out",
}
SETTINGS = {
    "recipe": "Recipe of the training",
    "train": "Networks trained",
    "parts": "Parts of the joint network",
    "dna_model": "DNA model",
    "cpg_model": "CpG model",
    "joint_model": "Joint model",
    "dna_wlen": "Bases of sequence around a CpG",
    "cpg_wlen": "Observed neighbours of each cell",
    "window": "Bases of the window of the window mean",
    "peer_rows": "Training sites of a forest, at most",
    "imputed": "Predictions in the bedGraph files",
    "confident": "Probability from which a state is sure",
}


# Networks, motifs and taxa, as the steps before have written them


def is_found(p_holm: float, similarity: float) -> bool:
    """Whether a filter has found a motif: its order of positions fits better than by chance, and well."""
    return p_holm < 0.05 and similarity >= ALIKE


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


# The truth, where genome and cells are simulated


class Truth:
    """True probabilities of a simulation: `truth(block)` is (sites of the block, cells) float32."""

    def __init__(self, path, sites: Sites):
        columns = [f"p_{number}" for number in range(1, len(sites.cells) + 1)]
        with naming_damage(path):
            frame = pd.read_csv(path, dtype={"chrom": str, **dict.fromkeys(columns, np.float32)})
            self._by_chrom = {
                sites.chroms.index(chrom): (some["position"].to_numpy(), some[columns].to_numpy())
                for chrom, some in frame.groupby("chrom", sort=False)
                if chrom in sites.chroms
            }
        self._path = path

    def __call__(self, block) -> np.ndarray:
        found = np.empty(block.states.shape, dtype=np.float32)
        for code in np.unique(block.chrom):
            here = block.chrom == code
            position, values = self._by_chrom.get(int(code), (np.zeros(0), found))
            rows = np.searchsorted(position, block.position[here])
            if (rows == len(position)).any() or (position[rows] != block.position[here]).any():
                raise InputError(f"{self._path} does not belong to these sites: {REMEDY}")
            found[here] = values[rows]
        return found


def write_truth(path, sites: Sites, truth: Truth) -> None:
    """The true probabilities in the form of a file of predictions, to be scored as one."""
    with predictions_writer(path, sites.cells) as write:
        for block in sites.blocks():
            write(block.first, truth(block))


def _test_blocks(sites: Sites) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the test sites, and the block of the genome that each belongs to."""
    parts = []
    for block in sites.blocks():
        there = block.split == TEST
        parts.append((block.first + np.flatnonzero(there), block.chrom[there], block.position[there]))
    rows, chrom, position = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows, blocks_of(chrom, position)


def _cell_rates(sites: Sites) -> np.ndarray:
    """Share of each cell's observed sites that are methylated, of those not to be tested on; one half without any."""
    seen, methylated = np.zeros((2, len(sites.cells)))
    for block in sites.blocks():
        states = block.states[block.split != TEST]
        seen, methylated = seen + (states >= 0).sum(axis=0), methylated + (states == 1).sum(axis=0)
    return np.where(seen > 0, methylated / np.maximum(seen, 1), 0.5).astype(np.float32)


def error_rows(sites: Sites, truth: Truth, predictions: dict[str, str], seed: int) -> pd.DataFrame:
    """`error_of_unobserved` as rows of SUMMARY_COLUMNS, of each model and of each cell's mean rate.

    The absolute difference of predicted and true probability at test sites that the cell does not observe, mean over
    these, then over cells. Intervals as in `metrics`: from draws of blocks of the genome.
    """
    rows, number = _test_blocks(sites)
    n_blocks = int(number[-1]) + 1 if len(number) else 0
    rates = _cell_rates(sites)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), DRAWS) if n_blocks >= FEWEST_BLOCKS else None
    records = []
    for model in [*predictions, RATE]:
        total, count = np.zeros((2, len(sites.cells), n_blocks))
        for block, predicted in _predicted(sites, predictions.get(model), rates):
            there = block.split == TEST
            low, high = np.searchsorted(rows, (block.first, block.first + len(there)))
            error = np.abs(predicted - truth(block))[there]
            unobserved = block.states[there] < 0
            for cell in range(len(sites.cells)):
                at = number[low:high][unobserved[:, cell]]
                total[cell] += np.bincount(at, error[unobserved[:, cell], cell], n_blocks)
                count[cell] += np.bincount(at, minlength=n_blocks)
        value = float(_mean_over_cells(total.sum(axis=1)[None], count.sum(axis=1)[None])[0])
        limits = np.nan, np.nan
        if drawn is not None:
            limits = np.nanquantile(_mean_over_cells(drawn @ total.T, drawn @ count.T), [0.025, 0.975])
        records.append((model, "error_of_unobserved", value, *limits, int(count.sum())))
    return pd.DataFrame(records, columns=SUMMARY_COLUMNS)


def _predicted(sites: Sites, path, rates: np.ndarray):
    """Blocks of sites, and what a file predicts of each; without a file the cells' rates, everywhere."""
    if path is None:
        for block in sites.blocks():
            yield block, np.broadcast_to(rates, block.states.shape)
        return
    for first, values in prediction_blocks(path, sites.cells, sites.n):
        yield sites.rows(first, first + len(values)), values


def _mean_over_cells(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total, count (draws, cells): means of cells that have any, averaged; NaN where none has."""
    there = count > 0
    means = np.divide(total, count, out=np.zeros_like(total, dtype=float), where=there)
    return np.divide(means.sum(axis=1), there.sum(axis=1), out=np.full(len(total), np.nan), where=there.any(axis=1))


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


# What is counted over all sites


def calibrate(sites: Sites, path, confident: float) -> tuple[pd.DataFrame, dict]:
    """Predicted against observed share of methylated states over all observed test sites, exactly.

    Returns a row per bin of predicted probability (from, to, predicted and observed share, n), and how many states were
    predicted surely (probability at least `confident`, or at most 1 - it) and how many of these rightly.
    """
    n, predicted, methylated = np.zeros((3, CALIBRATION_BINS))
    counts = {"states": 0, "sure": 0, "right": 0}
    for block, values in _predicted(sites, path, np.zeros(0)):
        there = (block.states >= 0) & (block.split == TEST)[:, None]
        p, states = values[there].astype(float), block.states[there]
        bins = np.minimum((p * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        n += np.bincount(bins, minlength=CALIBRATION_BINS)
        predicted += np.bincount(bins, p, CALIBRATION_BINS)
        methylated += np.bincount(bins, states, CALIBRATION_BINS)
        # Of the numbers as they are written and compared where files are imputed: float32.
        sure = (values[there] >= confident) | (values[there] <= 1 - confident)
        counts["states"] += len(p)
        counts["sure"] += int(sure.sum())
        counts["right"] += int(((p > 0.5) == (states == 1))[sure].sum())
    edges = np.arange(CALIBRATION_BINS + 1) / CALIBRATION_BINS
    shares = {"predicted": _divide(predicted, n), "observed": _divide(methylated, n)}
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], **shares, "n": n.astype(int)}), counts


def _divide(above, below) -> np.ndarray:
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def site_counts(path, cells: int) -> dict:
    """Of the statistics of sites: how many each number of cells observes, and of those that two or more do how they are
    methylated: sites by mean (steps of a tenth), mean entropy (nats), share that cells disagree on."""
    coverage, mean, several, entropy, differ = np.zeros(cells + 1), np.zeros(MEAN_BINS + 1), 0, 0.0, 0
    for frame in parquet_blocks(path, columns=["coverage", "mean", "entropy", "diff"]):
        coverage += np.bincount(frame["coverage"], minlength=cells + 1)
        some = frame[frame["coverage"] > 1]
        # Whole tenths are in the middle of bins: few cells give few values, and these are not cut in two.
        mean += np.bincount(np.rint(some["mean"].to_numpy(dtype=float) * MEAN_BINS).astype(int), minlength=len(mean))
        several += len(some)
        entropy += float(some["entropy"].to_numpy(dtype=float).sum())
        differ += int((some["diff"] == 1).sum())
    return {
        "coverage": pd.DataFrame({"cells": np.arange(1, cells + 1), "sites": coverage[1:].astype(int)}),
        "mean": pd.DataFrame({"mean": np.arange(MEAN_BINS + 1) / MEAN_BINS, "sites": mean.astype(int)}),
        "several": several,
        "entropy": entropy / several if several else np.nan,
        "differ": differ / several if several else np.nan,
    }


def _windows(sites: Sites, length: int):
    """Observed and methylated sites of each cell (windows, cells), of consecutive windows of `length` bases."""
    left = None
    for block in sites.blocks():
        at = np.stack([block.chrom, block.position // length], axis=1)
        new = np.flatnonzero(np.r_[True, (np.diff(at, axis=0) != 0).any(axis=1)])
        seen, methylated = (
            np.add.reduceat(which, new, axis=0, dtype=np.int64) for which in (block.states >= 0, block.states == 1)
        )
        if left is not None:
            if left[0] == tuple(at[0]):  # a window that two blocks share
                seen[0], methylated[0] = seen[0] + left[1], methylated[0] + left[2]
            else:
                yield left[1][None], left[2][None]
        yield seen[:-1], methylated[:-1]
        left = tuple(at[-1]), seen[-1], methylated[-1]
    if left is not None:
        yield left[1][None], left[2][None]


def window_variance(sites: Sites, length: int) -> pd.DataFrame:
    """How much cells differ in the share of methylated sites in windows, by the windows' mean.

    Windows in which two cells or more observe at least FEW sites. Columns mean (middle of its step, by tenths),
    windows, variance (between the cells, n - 1 below; mean over windows), chance (what it would be if the cells were
    alike there, and only differed in which sites they happen to observe).
    """
    n, variance, chance = np.zeros((3, MEAN_BINS))
    for seen, methylated in _windows(sites, length):
        there = seen >= FEW
        cells = there.sum(axis=1)
        kept = cells > 1
        there, cells = there[kept], cells[kept]
        rate = _divide(methylated[kept], np.where(there, seen[kept], 0))
        mean = np.nanmean(rate, axis=1) if len(rate) else np.zeros(0)
        between = (np.where(there, rate - mean[:, None], 0) ** 2).sum(axis=1) / np.maximum(cells - 1, 1)
        noise = np.where(there, 1 / np.maximum(seen[kept], 1), 0).sum(axis=1) / np.maximum(cells, 1)
        # mean (1 - mean) is too low by the variance of the mean.
        alike = mean * (1 - mean) * noise / (1 - noise / np.maximum(cells, 1))
        bins = np.minimum((mean * MEAN_BINS).astype(int), MEAN_BINS - 1)
        n += np.bincount(bins, minlength=MEAN_BINS)
        variance += np.bincount(bins, between, MEAN_BINS)
        chance += np.bincount(bins, alike, MEAN_BINS)
    middle = (np.arange(MEAN_BINS) + 0.5) / MEAN_BINS
    columns = {"variance": _divide(variance, n), "chance": _divide(chance, n)}
    return pd.DataFrame({"mean": middle, "windows": n.astype(int), **columns})


# Words and numbers


def _offset(distance: int) -> str:
    return f"{distance:+,}".replace("-", "−") if distance else "0"


def _label(model: str) -> str:
    return LABELS.get(model, model)


def _spoken(model: str) -> str:
    """As `_label`, within a sentence."""
    article = "the " if model in ("random_forest", "window_mean") else ""
    return article + _label(model).lower() if article or model == "joint" else _label(model)


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _listed(words: list[str], most: int = 8) -> str:
    if len(words) > most:
        return ", ".join(words[: most - 1]) + f" and {len(words) - most + 1:,} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _sees(model: str, settings: dict, sequence: bool) -> str:
    """What a model is shown of a site."""
    dna, neighbours = f"{settings['dna_wlen']:,} bases of sequence", f"{settings['cpg_wlen']:,} neighbours in each cell"
    kmers = ", k-mers of the sequence" if sequence else ""
    return {
        "dna": dna,
        "cpg": neighbours,
        "joint": f"{dna}, {neighbours}",
        "random_forest": f"neighbours in the same cell{kmers}",
        "window_mean": f"sites of the same cell within {settings['window']:,} bases",
        TRUE: "what the states were drawn from",
    }.get(model, "")


# Figures


def _forest_axes(rows: int, width: float = 6.0):
    figure, axes = plt.subplots(figsize=(width, 0.34 * rows + 0.75))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_ylim(rows - 0.45, -0.55)
    return figure, axes


def _models_figure(figures, table: pd.DataFrame):
    """AUC with intervals; table: rows of the summary, best first."""
    figure, axes = _forest_axes(len(table))
    for row, one in enumerate(table.itertuples()):
        colour = MODEL_COLOURS.get(one.model, MUTED)
        axes.plot([one.ci_low, one.ci_high], [row, row], color=colour, lw=2.2, solid_capstyle="butt")
        axes.plot([one.value], [row], "o", ms=7, color=colour, mfc="none" if one.model == TRUE else colour)
    axes.set_yticks(range(len(table)), [_label(model) for model in table["model"]])
    axes.set(xlabel="AUC, mean over the cells")
    axes.margins(x=0.06)
    return figures.save("models", figure, table, "AUC of the models with 95 % intervals")


def _cells_figure(figures, wide: pd.DataFrame, chosen: str):
    """AUC of each cell by model; wide: cells by models."""
    named = len(wide) <= NAMED_CELLS
    if not named:
        wide = wide.sort_values(chosen, kind="stable")
    figure, axes = plt.subplots(figsize=(6.4, 3.0))
    spread = min(0.09, 0.5 / wide.shape[1]) if named else 0
    for number, model in enumerate(wide):
        x = np.arange(len(wide)) + spread * (number - (wide.shape[1] - 1) / 2)
        style = {"zorder": 3 if model == chosen else 2, "ms": 5.5 if named else 3.2, "mew": 0}
        axes.plot(x, wide[model], "o", color=MODEL_COLOURS.get(model, MUTED), label=_label(model), alpha=0.85, **style)
    if named:
        long = max(map(len, wide.index)) * len(wide) > 60
        turn = {"rotation": 40, "ha": "right"} if long else {}
        axes.set_xticks(range(len(wide)), [_short(cell) for cell in wide.index], **turn)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(wide):,} cells, in the order of {_label(chosen)}")
    axes.set(ylabel="AUC", xlim=(-0.7, len(wide) - 0.3))
    axes.grid(axis="y")
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, handletextpad=0.2)
    return figures.save("cells", figure, wide.reset_index(), "AUC of each cell by model")


def _annotations_figure(figures, table: pd.DataFrame):
    """AUC within annotations; table: model, annotation and the columns of the summary."""
    names = list(pd.unique(table["annotation"]))
    models = list(pd.unique(table["model"]))
    figure, axes = _forest_axes(len(names) * max(1, len(models) / 2.5))
    step = 0.7 / max(len(models), 2)
    for number, model in enumerate(models):
        some = table[table["model"] == model].set_index("annotation").reindex(names)
        y = np.arange(len(names)) + step * (number - (len(models) - 1) / 2)
        colour = MODEL_COLOURS.get(model, MUTED)
        axes.hlines(y, some["ci_low"], some["ci_high"], color=colour, lw=1.8)
        axes.plot(some["value"], y, "o", ms=5, color=colour, label=_label(model))
    axes.set_yticks(range(len(names)), ["everywhere" if name == "all" else _short(name, 24) for name in names])
    axes.set(xlabel="AUC, mean over the cells", ylim=(len(names) - 0.4, -0.6))
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, handletextpad=0.2)
    return figures.save("annotations", figure, table, "AUC within annotations")


def _calibration_figure(figures, table: pd.DataFrame, model: str):
    figure, (axes, below) = plt.subplots(
        2, 1, figsize=(4.2, 4.7), sharex=True, gridspec_kw={"height_ratios": [4, 1], "hspace": 0.1}
    )
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
    axes.plot(table["predicted"], table["observed"], "o-", ms=4.5, lw=1.4, color=ACCENT)
    axes.set(ylabel="share methylated", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid()
    below.bar((table["from"] + table["to"]) / 2, table["n"], width=0.8 / len(table), color=ACCENT)
    below.set(xlabel="predicted probability", ylabel="states")
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figures.save("calibration", figure, table, f"Observed against predicted share methylated, {_label(model)}")


def _training_figure(figures, networks: dict[str, dict]):
    """Loss and AUC by epoch, a column per network."""
    figure, panels = plt.subplots(
        2, len(networks), figsize=(2.5 * len(networks) + 0.9, 4.2), sharex="col", squeeze=False
    )
    for column, (part, one) in zip(panels.T, networks.items(), strict=True):
        log = one["log"]
        kept = log.loc[log["val_loss"].idxmin()] if log["val_loss"].notna().any() else None
        for axes, key in zip(column, ("loss", "auc"), strict=True):
            for which, colour in (("train", MUTED), ("val", ACCENT)):
                if f"{which}_{key}" in log:
                    label = {"train": "training", "val": "validation"}[which]
                    axes.plot(log["epoch"], log[f"{which}_{key}"], "o-", ms=3, lw=1.4, color=colour, label=label)
            if kept is not None and f"val_{key}" in log:
                axes.plot([kept["epoch"]], [kept[f"val_{key}"]], "o", ms=8, mfc="none", mec=SECOND, mew=1.5)
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        column[0].set_title(_label(part))
        column[1].set_xlabel("epoch")
    panels[0, 0].set_ylabel("loss")
    panels[1, 0].set_ylabel("AUC")
    panels[1, 0].legend(loc="lower right", fontsize=8)
    figure.align_ylabels()
    figure.tight_layout()
    data = pd.concat([one["log"].assign(network=part) for part, one in networks.items()], ignore_index=True)
    return figures.save("training", figure, data, "Loss and AUC by epoch")


def _logos_figure(figures, table: pd.DataFrame, motifs: list[Motif]):
    """Logos of the filters that go most with methylation and against it; None where there is none."""
    known = table[[motif.pwm is not None for motif in motifs]].dropna(subset=["correlation"])
    order = known.sort_values("correlation", kind="stable", ascending=False)
    signs = [order[order["correlation"] > 0].head(LOGOS), order[order["correlation"] < 0].iloc[::-1].head(LOGOS)]
    rows = max(map(len, signs))
    if rows == 0:
        return None
    by_filter = {motif.filter: motif for motif in motifs}
    figure, panels = plt.subplots(rows, 2, figsize=(6.6, 1.35 * rows), squeeze=False)
    for column, some in zip(panels.T, signs, strict=True):
        for axes, row in zip(column, [*some.itertuples(), *[None] * (rows - len(some))], strict=True):
            if row is None:
                axes.set_axis_off()
                continue
            logo(axes, by_filter[row.filter].pwm)
            axes.set_ylabel("bits", fontsize=8)
            axes.tick_params(labelsize=7.5)
            axes.set_title(f"filter {row.filter}: {signed(row.correlation, 2)}", fontsize=9)
    figure.tight_layout()
    return figures.save("motifs", figure, pd.concat(signs), "Motifs of filters that go with and against methylation")


def _planted_figure(figures, pwm: np.ndarray, match, consensus: str):
    """The motif of the filter that fits best, with the planted consensus above it."""
    figure, axes = plt.subplots(figsize=(4.6, 1.7))
    logo(axes, pwm if match.strand == "+" else pwm[::-1, ::-1])
    for at, letter in enumerate(consensus):
        axes.text(at + match.offset + 1, 2.12, letter, ha="center", color=SECOND, fontweight="bold", clip_on=False)
    ends = 1 + min(0, match.offset), max(len(pwm), match.offset + len(consensus))
    axes.set_xlim(ends[0] - 0.5, ends[1] + 0.5)
    data = pd.DataFrame(pwm, columns=list("ACGT")).assign(filter=match.filter)
    return figures.save("planted", figure, data, "The filter's motif that fits the planted one best")


def _effects_figure(figures, table: pd.DataFrame):
    figure, axes = plt.subplots(figsize=(6.4, 2.9))
    axes.plot(table["offset"], table["largest"], color=ACCENT, lw=1, alpha=0.5, label="strongest of the three, exact")
    axes.plot(table["offset"], table["effect"], color=ACCENT, lw=1.6, label="mean of the three, exact")
    axes.plot(table["offset"], table["gradient"], color=SECOND, lw=1.2, label="mean, by gradient")
    axes.set(xlabel="bases from the C of the CpG", ylabel="change of probability")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.grid(axis="y")
    axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figures.save("effects", figure, table, "Effect of substitutions by distance from the CpG")


def _bars(figures, name: str, data: pd.DataFrame, title: str, *, width: float, xlabel: str):
    """A histogram of sites; data: where, then how many."""
    figure, axes = plt.subplots(figsize=(3.3, 2.5))
    axes.bar(data.iloc[:, 0], data["sites"], width=width, color=ACCENT)
    axes.set(xlabel=xlabel, ylabel="sites")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if name == "coverage":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y")
    return figures.save(name, figure, data, title)


def _variance_figure(figures, table: pd.DataFrame):
    some = table[table["windows"] >= FEW_WINDOWS]
    if some.empty:
        return None
    figure, axes = plt.subplots(figsize=(6.2, 2.8))
    axes.plot(some["mean"], some["variance"], "o-", ms=4.5, lw=1.6, color=ACCENT, label="between the cells")
    axes.plot(some["mean"], some["chance"], ls="--", lw=1.2, color=MUTED, label="if all cells were alike")
    axes.set(xlabel="mean methylation of a window", ylabel="variance", xlim=(-0.02, 1.02))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figures.save("variance", figure, table, "Variance between the cells by mean methylation of windows")


def _taxa_figure(figures, table: pd.DataFrame):
    """Balanced accuracy against what chance gives."""
    figure, axes = _forest_axes(len(table))
    for row, one in enumerate(table.itertuples()):
        label = "by chance, middle 95 %" if row == 0 else None
        axes.plot([one.chance_low, one.chance_high], [row, row], color=MUTED, lw=6, alpha=0.5, label=label)
        axes.plot([one.balanced_accuracy], [row], "o", ms=7, color=ACCENT)
    axes.set_yticks(range(len(table)), [_label(model) for model in table["model"]])
    axes.set(xlabel="balanced accuracy")
    axes.margins(x=0.08)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return figures.save("taxa", figure, table, "Balanced accuracy of taxa from sequence")


# The page


def _model_rows(summary: pd.DataFrame, models, networks: dict, settings: dict, sequence: bool) -> list[dict]:
    """What the page shows of each model; best first, after the truth where that is known."""
    numbers = summary.set_index(["model", "metric"])
    value = numbers["value"]

    def rank(model: str):
        return model != TRUE, -np.nan_to_num(value[model, "auc"], nan=-np.inf)

    rows = []
    for model in sorted([one for one in [TRUE, *models] if (one, "auc") in value.index], key=rank):
        row = {"model": model, "label": _label(model), "sees": _sees(model, settings, sequence)}
        for metric in METRICS:
            found = numbers.loc[(model, metric)]
            row[metric] = decimal(found["value"])
            row[f"{metric}_range"] = span(found["ci_low"], found["ci_high"])
        row["accuracy_percent"] = percent(value[model, "accuracy"], 1)
        row |= {"n": f"{int(numbers.loc[(model, 'accuracy'), 'n']):,}", "value": value[model, "auc"]}
        card = networks.get(model, {}).get("card")
        row["parameters"] = f"{card['parameters']:,}" if card else ""
        row["epochs"] = f"{card['epochs']:,}" if card else ""
        row["architecture"] = " + ".join(card["models"].values()) if card else ""
        rows.append(row)
    return rows


def _comparison_rows(comparisons: pd.DataFrame, model: str) -> dict[str, list[dict]]:
    """By metric, `model` less each other model."""
    found: dict[str, list[dict]] = {metric: [] for metric in METRICS}
    for row in comparisons.itertuples():
        if model not in (row.model, row.other):
            continue
        first = row.model == model
        value, low, high = (row.difference, row.ci_low, row.ci_high)
        if not first:
            value, low, high = -value, -high, -low
        found[row.metric].append(
            {
                "other": row.other if first else row.model,
                "difference": signed(value),
                "p": p_value(row.p_holm),
                "label": _label(row.other if first else row.model),
                "range": span(low, high, signed),
            }
        )
    return found


def _annotation_table(summary: pd.DataFrame, scored, models) -> pd.DataFrame:
    """model, annotation, value, ci_low, ci_high, n of AUC, everywhere first; no row without annotations."""
    names = list(pd.unique(scored.scores["annotation"]))
    numbers = summary.set_index(["model", "metric"])
    columns = ["value", "ci_low", "ci_high", "n"]
    rows = [
        (model, name, *numbers.loc[(model, label_of("auc", name)), columns])
        for name in names
        for model in models
        if len(names) > 1
    ]
    return pd.DataFrame(rows, columns=["model", "annotation", *columns])


def _annotation_rows(table: pd.DataFrame, scored, models) -> list[dict]:
    """A row per annotation; states counted over the cells, scored or not."""
    one = scored.scores[(scored.scores["model"] == models[0]) & (scored.scores["metric"] == "accuracy")]
    states = one.groupby("annotation")["n"].sum()
    numbers = table.set_index(["annotation", "model"])
    return [
        {
            "name": "everywhere" if name == "all" else name,
            "n": f"{int(states[name]):,}",
            "values": [
                (decimal(found["value"]), span(found["ci_low"], found["ci_high"]))
                for found in (numbers.loc[(name, model)] for model in models)
            ],
        }
        for name in pd.unique(table["annotation"])
    ]


def _cell_rows(cells: pd.DataFrame, auc: pd.Series) -> tuple[list[str], list[dict]]:
    """Headings of the checks, where they found something, and a row per cell."""
    checks = [name for name in CHECKS if name in cells and cells[name].any()]
    checks = checks if len(checks) > 1 else []  # rows alone: all of them were observations
    rows = [
        {
            "cell": row["cell"],
            "observed": f"{row['observed']:,}",
            "coverage": percent(row["coverage"], 1),
            "rate": percent(row["rate"], 1),
            "auc": decimal(auc.get(row["cell"], np.nan)),
            "checks": [f"{row[name]:,}" for name in checks],
        }
        for row in cells.to_dict("records")
    ]
    return [CHECKS[name] for name in checks], rows


def _imputed(coverage: pd.DataFrame, sure: dict) -> dict:
    """What was filled in, in all and per cell."""
    imputed, confident = int(coverage["imputed"].sum()), int(coverage["confident"].sum())
    return {
        "states": f"{imputed:,}",
        "sure": f"{confident:,}",
        "share": percent(confident / imputed if imputed else np.nan),
        "right": percent(sure["right"] / sure["sure"] if sure["sure"] else np.nan, 1),
        "tested": f"{sure['sure']:,}",
        "of": percent(int(coverage["imputed"].sum()) / int(coverage["sites"].sum())),
        "rows": [
            {
                "cell": row.cell,
                "observed": f"{row.observed:,}",
                "imputed": f"{row.imputed:,}",
                "sure": f"{row.confident:,}",
                "share": percent(row.confident_share, 1),
                "rate": percent(row.rate_observed, 1),
                "rate_all": percent(row.rate_all, 1),
            }
            for row in coverage.itertuples()
        ],
    }


def _reading_page(figures, folder, reader: str, found: "Motifs") -> dict:
    """Motifs, effects and variants."""
    folder, table = pathlib.Path(folder), found.table
    with naming_damage(folder / "effects_by_distance.csv"):
        distance = pd.read_csv(folder / "effects_by_distance.csv")
    strongest = table.loc[table["correlation"].abs().idxmax()] if table["correlation"].notna().any() else None
    if strongest is not None and not strongest["consensus"]:
        strongest = None
    return {
        "part": reader,
        "spoken": _spoken(reader),
        "filters": len(found.motifs),
        "motifs": sum(motif.pwm is not None for motif in found.motifs),
        "logos": _logos_figure(figures, table, found.motifs),
        "strongest": strongest
        if strongest is None
        else {"consensus": strongest["consensus"], "correlation": signed(strongest["correlation"], 2)},
        "effects": _effects_figure(figures, distance),
        "sites": f"{int(distance['n'].max()):,}",
        "span": f"{int(distance['offset'].max()):,}",
        "variants": _variant_rows(folder / "variants.csv"),
        "planted": None if found.consensus is None else _planted_page(figures, found),
    }


def _planted_page(figures, found: "Motifs") -> dict:
    """What was found of the planted motif."""
    effects = {key: (signed(value), f"{n:,}") for key, (value, n) in (found.effects or {}).items()}
    planted = {"consensus": found.consensus, "match": None, "effects": effects}
    if found.match is not None and len(found.match):
        best = next(found.match.itertuples())
        pwm = next(motif.pwm for motif in found.motifs if motif.filter == best.filter)
        planted["match"] = {
            "filter": best.filter,
            "similarity": decimal(best.similarity),
            "p": p_value(best.p_holm),
            "found": is_found(best.p_holm, best.similarity),
            "strand": best.strand,
            "drawing": _planted_figure(figures, pwm, best, found.consensus),
            "correlation": signed(found.table.set_index("filter")["correlation"][best.filter], 2),
        }
    return planted


def _variant_rows(path) -> dict | None:
    """The first rows of the table of variants, and how many there are; None without one."""
    if not path.is_file():
        return None
    with naming_damage(path):
        frame = pd.read_csv(path, dtype={"chrom": str}, usecols=lambda name: not name.startswith("effect_"))
    rows = [
        {
            "chrom": row.chrom,
            "position": f"{row.position:,}",
            "change": f"{row.ref}→{row.alt}",
            "cpg": f"{row.cpg:,}",
            "distance": _offset(row.distance),
            "before": decimal(row.before),
            "after": decimal(row.after),
            "effect": signed(row.effect),
            "remark": "the CpG is gone" if row.destroys else "makes a CpG" if row.creates else "",
        }
        for row in frame.head(VARIANTS_SHOWN).itertuples()
    ]
    return {"rows": rows, "n": len(frame), "variants": len(frame.drop_duplicates(["chrom", "position", "ref", "alt"]))}


def _taxa_page(figures, taxa: dict) -> dict:
    """Taxa from sequence: models best first, recall, and the best model's confusion in shares."""
    models = sorted(taxa["models"], key=lambda model: -taxa["models"][model]["balanced_accuracy"])
    best = taxa["models"][models[0]]
    table = pd.DataFrame(
        [
            {
                "model": model,
                **{key: taxa["models"][model][key] for key in ("balanced_accuracy", "accuracy")},
                **{key: taxa["models"][model]["test"][key] for key in ("chance", "chance_low", "chance_high", "p")},
                "n": taxa["models"][model]["n"],
            }
            for model in models
        ]
    )
    names = best["taxa"]
    shares = [[count / max(sum(row), 1) for count in row] for row in best["confusion"]]
    return {
        "drawing": _taxa_figure(figures, table),
        "models": [
            {
                "label": _label(row.model),
                "value": decimal(row.balanced_accuracy),
                "p": p_value(row.p),
                "chance": decimal(row.chance),
                "range": span(row.chance_low, row.chance_high),
                "accuracy": decimal(row.accuracy),
                "n": f"{row.n:,}",
                "above": row.p < 0.05,
            }
            for row in table.itertuples()
        ],
        "recall": [
            {
                "taxon": taxon,
                "n": f"{taxa['counts'].get(taxon, 0):,}",
                "values": [
                    (percent(found["recall"][at]), decimal(found["auc"][at]))
                    for found in (taxa["models"][model] for model in models)
                ],
            }
            for at, taxon in enumerate(names)
        ],
        "confusion": [
            (taxon, [(f"{100 * share:.0f}", at == other) for other, share in enumerate(row)])
            for at, (taxon, row) in enumerate(zip(names, shares, strict=True))
        ],
        "names": names,
        "best": _label(models[0]),
        "notes": taxa["notes"],
        "guess": decimal(1 / len(names)),
    }


def _across_page(figures, sites: Sites, statistics, window: int) -> dict | None:
    """How sites and windows are methylated across the cells; None for one cell."""
    n = len(sites.cells)
    if n < 2:
        return None
    counts = site_counts(statistics, n)
    variance = window_variance(sites, window)
    total = variance["windows"].sum()
    weighted = [
        (variance["windows"] * variance[key]).sum() / total if total else np.nan for key in ("variance", "chance")
    ]
    return {
        "mean": _bars(
            figures,
            "methylation",
            counts["mean"],
            "Sites by mean methylation",
            width=0.8 / MEAN_BINS,
            xlabel="mean over the cells",
        ),
        "coverage": _bars(
            figures,
            "coverage",
            counts["coverage"],
            "Sites by number of cells",
            width=0.8,
            xlabel="cells that observe a site",
        ),
        "several": f"{counts['several']:,}",
        "differ": percent(counts["differ"]),
        "entropy": decimal(counts["entropy"]),
        "variance": _variance_figure(figures, variance),
        "windows": f"{int(total):,}",
        "between": decimal(weighted[0], 4),
        "chance": decimal(weighted[1], 4),
        "length": f"{window:,}",
        "few": FEW,
    }


def _split_words(qc: dict) -> dict:
    """What was tested on: whole chromosomes, or blocks of them."""
    splits = {name: found["split"] for name, found in qc["chromosomes"].items()}
    tested = [name for name, parts in splits.items() if "test" in parts]
    named = f"{len(tested):,} chromosomes" if len(tested) > 3 else _listed(tested)
    blocks = any(len(parts) > 1 for parts in splits.values())
    return {"blocks": blocks, "tested": _listed(tested), "named": named}


def _setting_rows(settings: dict, networks: dict, seed: int) -> list[tuple[str, str]]:
    values = {key: settings[key] for key in SETTINGS if settings.get(key) is not None}
    rows = [(SETTINGS[key], f"{value:,}" if isinstance(value, int) else str(value)) for key, value in values.items()]
    keys = ("epochs", "batch", "lr", "lr_decay", "patience", "l1", "l2", "dropout", "epoch_sites")
    trained = next(iter(networks.values()))["card"]["settings"]
    used = ", ".join(f"{key} {trained[key]:g}" for key in keys if trained.get(key) is not None)
    return [*rows, ("Training", used), ("Seed", str(seed))]


def _write_csv(path, frame: pd.DataFrame) -> None:
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.9g")


def _true_summary(sites: Sites, truth: Truth, inputs: dict, beside, seed: int) -> pd.DataFrame:
    """Scores that the true probabilities reach on the same test sites: nothing can be expected to do better."""
    folder = pathlib.Path(beside).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".truth.", suffix=".partial") as temporary:
        path = pathlib.Path(temporary) / "truth.parquet"
        write_truth(path, sites, truth)
        return summarise(score_all(inputs["sites"], {TRUE: path}, inputs["annotations"], seed))


@dataclasses.dataclass
class Motifs:
    """What the attribution found. table, motifs: of the filters; match, effects, consensus: of a planted motif."""

    table: pd.DataFrame
    motifs: list[Motif]
    consensus: str | None = None
    match: pd.DataFrame | None = None
    effects: dict | None = None


def _read_motifs_found(inputs: dict, seed: int) -> Motifs | None:
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


def _summary(inputs, sites, predictions, scored, networks, taxa, motifs, reader, scores_path, seed) -> pd.DataFrame:
    """Everything measured, as rows of SUMMARY_COLUMNS."""
    parts = [summarise(scored), network_rows(networks)]
    if taxa:
        parts.append(taxa_rows(taxa))
    if "truth" in inputs:
        truth = Truth(inputs["truth"], sites)
        parts.insert(1, _true_summary(sites, truth, inputs, scores_path, seed))
        parts.append(error_rows(sites, truth, predictions, seed))
    if motifs and motifs.consensus is not None:
        parts.append(motif_rows(reader, motifs.motifs, motifs.match, motifs.effects))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _error_rows(summary: pd.DataFrame) -> list[dict]:
    """Rows of the table of errors at unobserved sites, the least first."""
    errors = summary[summary["metric"] == "error_of_unobserved"].sort_values("value", kind="stable")
    return [
        {
            "model": row.model,
            "label": _label(row.model),
            "value": decimal(row.value),
            "range": span(row.ci_low, row.ci_high),
            "n": f"{int(row.n):,}",
        }
        for row in errors.itertuples()
    ]


def _drawn(figures, aucs, by_cell, annotated, calibration, chosen: str, networks: dict) -> dict:
    """The page's figures by name; None for what there is nothing to draw of."""
    return {
        "models": _models_figure(figures, aucs) if aucs["value"].notna().any() else None,
        "cells": _cells_figure(figures, by_cell, chosen) if by_cell.notna().any(axis=None) else None,
        "annotations": _annotations_figure(figures, annotated) if annotated["value"].notna().any() else None,
        "calibration": _calibration_figure(figures, calibration, chosen),
        "training": _training_figure(figures, networks),
    }


def _model_words(chosen: str, ranked: list[str], networks: dict) -> dict:
    """The models as the page calls them: the network chosen, all by rank, and the best of the peers."""
    peer = next((model for model in ranked if model not in networks), None)
    return {
        "chosen": chosen,
        "label": _label(chosen),
        "spoken": _spoken(chosen),
        "networks": list(networks),
        "ranked": [(model, _label(model)) for model in ranked],
        "peer": peer,
        "peer_spoken": _spoken(peer) if peer else "",
    }


def _size_words(sites: Sites, qc: dict, sure: dict) -> dict:
    """How much was read and tested, and how it was split."""
    return {
        "split": _split_words(qc),
        "warnings": qc.get("warnings", []),
        "n_cells": len(sites.cells),
        "n_sites": f"{sites.n:,}",
        "observations": f"{qc['observations']:,}",
        "tested": f"{sure['states']:,}",
        "open": len(sites.cells) <= NAMED_CELLS,
    }


def write(inputs: dict, outputs: dict, *, settings: dict, seed: int) -> None:
    """Score all predictions, write complete profiles, and write tables, figures and page.

    inputs: a file of predictions for each of settings["models"] by its name; `networks` (list: weights, card and
    training log of each), `sites`, `statistics`, `cells`, `annotations`, `qc` as `sites.prepare` writes them,
    `template`; where there are any `reading` (folder of `reading.read_network`), `taxa` (folder of
    `taxa.predict_taxa`), and of a simulation `truth` (CSV) and `motif` (text). settings:
    `SingleCellPlan.page_settings`.

    outputs: `scores` (`metrics.score_all`), `comparisons` (`metrics.compare`), `summary` (SUMMARY_COLUMNS:
    `metrics.summarise`, of a simulation also that of the true probabilities, `network_rows`, `taxa_rows`, `error_rows`,
    `motif_rows`), `imputed` (folder of `imputation.write_bedgraphs`), `figures` (folder of SVG and CSV, and
    `imputed.csv`: how much was filled in of each cell), `html`. Raises InputError for damaged files, and those that do
    not belong together.
    """
    models = list(settings["models"])
    sites, qc, networks = Sites(inputs["sites"]), read_json(inputs["qc"]), read_networks(inputs["networks"])
    with naming_damage(inputs["cells"]):
        cells = pd.read_csv(inputs["cells"], dtype={"cell": str}, keep_default_na=False)
    chosen = choose_network(networks)
    predictions = {model: inputs[model] for model in models}
    taxa = read_json(pathlib.Path(inputs["taxa"]) / "scores.json") if "taxa" in inputs else None
    reader = "dna" if "dna" in networks else "joint"

    scored = score_all(inputs["sites"], predictions, inputs["annotations"], seed)
    comparisons = compare(scored)
    motifs = _read_motifs_found(inputs, seed)
    found = (networks, taxa, motifs, reader, outputs["scores"])
    summary = _summary(inputs, sites, predictions, scored, *found, seed)
    _write_csv(outputs["scores"], scored.scores)
    _write_csv(outputs["comparisons"], comparisons)
    _write_csv(outputs["summary"], summary.astype({"n": "Int64"}))

    how = {"imputed": settings["imputed"], "confident": settings["confident"]}
    coverage = write_bedgraphs(inputs["sites"], predictions[chosen], outputs["imputed"], model=chosen, **how)
    calibration, sure = calibrate(sites, predictions[chosen], settings["confident"])
    rows = _model_rows(summary, models, networks, settings, "reading" in inputs)
    ranked = [row["model"] for row in rows if row["model"] != TRUE]
    by_cell = scored.scores.query("annotation == 'all' and metric == 'auc'")
    by_cell = by_cell.pivot(index="cell", columns="model", values="value").reindex(index=sites.cells, columns=ranked)
    annotated = _annotation_table(summary, scored, ranked)
    aucs = summary.set_index(["model", "metric"]).loc[[(row["model"], "auc") for row in rows]].reset_index()
    with atomic_folder(outputs["figures"]) as partial, matplotlib.rc_context(STYLE):
        figures = Figures(partial)
        parts = {
            "drawn": _drawn(figures, aucs[SUMMARY_COLUMNS], by_cell, annotated, calibration, chosen, networks),
            "reading": _reading_page(figures, inputs["reading"], reader, motifs) if motifs else None,
            "across": _across_page(figures, sites, inputs["statistics"], settings["window"]),
            "taxa": _taxa_page(figures, taxa) if taxa else None,
        }
        coverage.to_csv(pathlib.Path(partial) / "imputed.csv", index=False, float_format="%.9g")

    checks, cell_rows = _cell_rows(cells, by_cell[chosen])
    page = {
        **parts,
        **_model_words(chosen, ranked, networks),
        **_size_words(sites, qc, sure),
        "rows": rows,
        "row_of": {row["model"]: row for row in rows},
        "simulated": "truth" in inputs,
        "possible": TRUE,
        "comparisons": _comparison_rows(comparisons, chosen),
        "blocks": scored.blocks,
        "fewest": FEWEST_BLOCKS,
        "intervals": scored.blocks >= FEWEST_BLOCKS,
        "annotations": _annotation_rows(annotated, scored, ranked),
        "checks": checks,
        "cells": cell_rows,
        "imputed": _imputed(coverage, sure),
        "taxa_notes": taxa["notes"] if taxa else [],
        "errors": _error_rows(summary),
        "low": f"{1 - settings['confident']:.6g}",
        "settings": settings,
        "setting_rows": _setting_rows(settings, networks, seed),
        "variants_shown": VARIANTS_SHOWN,
        "files": {key: pathlib.Path(path).name for key, path in outputs.items()}
        | {key: pathlib.Path(inputs[key]).name for key in ("statistics", "cells", "qc")},
    }
    write_page(outputs["html"], "single_cell.html.j2", page)
    logging.info(f"{chosen}: AUC {page['row_of'][chosen]['auc']}")

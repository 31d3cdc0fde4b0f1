"""The last step of the target `single_cell`: scores, complete profiles, and the page on them.

The same inputs give the same bytes: no dates, fixed seeds, fixed ids inside the figures. Nothing of the size of the
genome is held: sites and predictions are read in blocks (`metrics.score_all` holds the test sites of some cells).
"""

import logging
import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.files import naming_damage, read_json
from cpgtaxa.models import SITE_MODELS
from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.pages.drawing import figures_in
from cpgtaxa.pages.page import file_names, write_csv, write_page
from cpgtaxa.pages.tables import against, estimate, value_and_ends
from cpgtaxa.targets.single_cell import figures as draw
from cpgtaxa.targets.single_cell.counts import FEW, MEAN_BINS, calibrate, site_counts, window_variance
from cpgtaxa.targets.single_cell.figures import label, spoken
from cpgtaxa.targets.single_cell.imputation import write_bedgraphs
from cpgtaxa.targets.single_cell.metrics import FEWEST_BLOCKS, METRICS, POOLED, compare, label_of, score_all
from cpgtaxa.targets.single_cell.planted import Motifs, is_found, read_motifs_found
from cpgtaxa.targets.single_cell.summary import choose_network, read_networks, summary_of
from cpgtaxa.targets.single_cell.tables import Sites
from cpgtaxa.targets.single_cell.truth import TRUE
from cpgtaxa.wording import decimal, offset, p_value, percent, signed, span

VARIANTS_SHOWN = 20
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
    "window": "Window of the window mean",
    "peer_rows": "Training sites of a forest, at most",
    "imputed": "Predictions in the bedGraph files",
    "confident": "Probability from which a state is sure",
}


def _listed(words: list[str], most: int = 8) -> str:
    if len(words) > most:
        return ", ".join(words[: most - 1]) + f" and {len(words) - most + 1:,} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _sees(model: str, settings: dict, sequence: bool) -> str:
    """What a model is shown of a site."""
    dna, neighbours = f"{settings['dna_wlen']:,} bases of sequence", f"{settings['cpg_wlen']:,} neighbours in each cell"
    if settings["cpg_model"] in SITE_MODELS:
        neighbours += ", and what other cells show at the site"
    kmers = ", k-mers of the sequence" if sequence else ""
    return {
        "dna": dna,
        "cpg": neighbours,
        "joint": f"{dna}, {neighbours}",
        "random_forest": f"neighbours in the same cell{kmers}",
        "window_mean": f"sites of the same cell within {settings['window']:,} {settings['counted']}",
        TRUE: "what the states were drawn from",
    }.get(model, "")


def _model_rows(summary: pd.DataFrame, models, networks: dict, settings: dict, sequence: bool) -> list[dict]:
    """What the page shows of each model; best first, after the truth where that is known."""
    numbers = summary.set_index(["model", "metric"])
    value = numbers["value"]

    def rank(model: str):
        return model != TRUE, -np.nan_to_num(value[model, "auc"], nan=-np.inf)

    rows = []
    for model in sorted([one for one in [TRUE, *models] if (one, "auc") in value.index], key=rank):
        row = {"model": model, "label": label(model), "sees": _sees(model, settings, sequence)}
        for metric in (*METRICS, POOLED):
            row |= estimate(metric, *value_and_ends(numbers, model, metric))
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
    return {metric: against(comparisons[comparisons["metric"] == metric], model, label) for metric in METRICS}


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
        "spoken": spoken(reader),
        "filters": len(found.motifs),
        "motifs": sum(motif.pwm is not None for motif in found.motifs),
        "logos": draw.logos_figure(figures, table, found.motifs),
        "strongest": strongest
        if strongest is None
        else {"consensus": strongest["consensus"], "correlation": signed(strongest["correlation"], 2)},
        "effects": draw.effects_figure(figures, distance),
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
            "drawing": draw.planted_figure(figures, pwm, best, found.consensus),
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
            "distance": offset(row.distance),
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
        "drawing": draw.taxa_figure(figures, table),
        "models": [
            {
                "label": label(row.model),
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
        "best": label(models[0]),
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
        "mean": draw.bars_figure(
            figures,
            "methylation",
            counts["mean"],
            "Sites by mean methylation",
            width=0.8 / MEAN_BINS,
            xlabel="mean over the cells",
        ),
        "coverage": draw.bars_figure(
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
        "variance": draw.variance_figure(figures, variance),
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
    shown = {key: f"{value:,}" if isinstance(value, int) else str(value) for key, value in values.items()}
    rows = [
        (SETTINGS[key], f"{text} {settings['counted']}" if key == "window" else text) for key, text in shown.items()
    ]
    keys = ("epochs", "batch", "lr", "lr_decay", "patience", "l1", "l2", "dropout", "epoch_sites")
    trained = next(iter(networks.values()))["card"]["settings"]
    used = ", ".join(f"{key} {trained[key]:g}" for key in keys if trained.get(key) is not None)
    return [*rows, ("Training", used), ("Seed", str(seed))]


def _error_rows(summary: pd.DataFrame) -> list[dict]:
    """Rows of the table of errors at unobserved sites, the least first."""
    errors = summary[summary["metric"] == "error_of_unobserved"].sort_values("value", kind="stable")
    return [
        {
            "model": row.model,
            "label": label(row.model),
            "value": decimal(row.value),
            "range": span(row.ci_low, row.ci_high),
            "n": f"{int(row.n):,}",
        }
        for row in errors.itertuples()
    ]


def _drawn(figures, aucs, by_cell, annotated, calibration, chosen: str, networks: dict) -> dict:
    """The page's figures by name; None for what there is nothing to draw of."""
    return {
        "models": draw.models_figure(figures, aucs) if aucs["value"].notna().any() else None,
        "cells": draw.cells_figure(figures, by_cell, chosen) if by_cell.notna().any(axis=None) else None,
        "annotations": draw.annotations_figure(figures, annotated) if annotated["value"].notna().any() else None,
        "calibration": draw.calibration_figure(figures, calibration, chosen),
        "training": draw.training_figure(figures, networks),
    }


def _model_words(chosen: str, ranked: list[str], networks: dict) -> dict:
    """The models as the page calls them: the network chosen, all by rank, and the best of the peers."""
    peer = next((model for model in ranked if model not in networks), None)
    return {
        "chosen": chosen,
        "label": label(chosen),
        "spoken": spoken(chosen),
        "networks": list(networks),
        "ranked": [(model, label(model)) for model in ranked],
        "peer": peer,
        "peer_label": label(peer) if peer else "",
        "peer_spoken": spoken(peer) if peer else "",
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
        "open": len(sites.cells) <= draw.NAMED_CELLS,
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
    motifs = read_motifs_found(inputs, seed)
    found = (networks, taxa, motifs, reader, outputs["scores"])
    summary = summary_of(inputs, sites, predictions, scored, *found, seed)
    write_csv(outputs["scores"], scored.scores, float_format="%.9g")
    write_csv(outputs["comparisons"], comparisons, float_format="%.9g")
    write_csv(outputs["summary"], summary.astype({"n": "Int64"}), float_format="%.9g")

    how = {"imputed": settings["imputed"], "confident": settings["confident"]}
    coverage = write_bedgraphs(inputs["sites"], predictions[chosen], outputs["imputed"], model=chosen, **how)
    calibration, sure = calibrate(sites, predictions[chosen], settings["confident"])
    rows = _model_rows(summary, models, networks, settings, "reading" in inputs)
    ranked = [row["model"] for row in rows if row["model"] != TRUE]
    by_cell = scored.scores.query("annotation == 'all' and metric == 'auc'")
    by_cell = by_cell.pivot(index="cell", columns="model", values="value").reindex(index=sites.cells, columns=ranked)
    annotated = _annotation_table(summary, scored, ranked)
    aucs = summary.set_index(["model", "metric"]).loc[[(row["model"], "auc") for row in rows]].reset_index()
    with figures_in(outputs["figures"]) as figures:
        parts = {
            "drawn": _drawn(figures, aucs[SUMMARY_COLUMNS], by_cell, annotated, calibration, chosen, networks),
            "reading": _reading_page(figures, inputs["reading"], reader, motifs) if motifs else None,
            "across": _across_page(figures, sites, inputs["statistics"], settings["window"]),
            "taxa": _taxa_page(figures, taxa) if taxa else None,
        }
        coverage.to_csv(figures.folder / "imputed.csv", index=False, float_format="%.9g")

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
        "files": file_names(outputs | {key: inputs[key] for key in ("statistics", "cells", "qc")}),
    }
    write_page(outputs["html"], "single_cell.html.j2", page)
    logging.info(f"{chosen}: AUC {page['row_of'][chosen]['auc']}")

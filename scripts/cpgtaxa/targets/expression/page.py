"""The last step of the target `expression`: tables, and the page on them.

The same inputs give the same bytes: no dates, fixed seeds, and fixed ids inside the figures.
"""

import logging

import numpy as np
import pandas as pd

from cpgtaxa.files import read_json
from cpgtaxa.pages.drawing import MUTED, figures_in
from cpgtaxa.pages.page import file_names, write_csv, write_page
from cpgtaxa.pages.tables import against, estimate, value_and_ends
from cpgtaxa.targets.expression import figures as draw
from cpgtaxa.targets.expression.attributions import ABOVE, MOST_CPGS, Attributions
from cpgtaxa.targets.expression.plan import TRAIN
from cpgtaxa.targets.expression.published import beside, read_published
from cpgtaxa.targets.expression.results import Results, score_and_write
from cpgtaxa.targets.expression.scores import FIRST, LEAKY, METRICS, held_out, wide_table, window_table
from cpgtaxa.targets.expression.study import Study
from cpgtaxa.wording import decimal, offset, p_value, percent, signed, span

EXAMPLE_POINTS = 12_000
"""Points of all example genes together."""
TOP = 8
"""CpGs listed for an example gene."""


def _comparison_rows(comparisons: pd.DataFrame, model: str) -> dict[str, list[dict]]:
    """By metric, `model`, which is the first of its pairs, against each other model."""
    found = {}
    for metric in METRICS:
        some = comparisons[(comparisons["model"] == model) & (comparisons["metric"] == metric)]
        rows = zip(against(some, model), some["better"], strict=True)
        found[metric] = [row | {"better": percent(better)} for row, better in rows]
    return found


def _leak(comparisons: pd.DataFrame, summary: pd.DataFrame) -> dict | None:
    """What the leak of the published loop is worth; without the honest model beside, its score alone."""
    mine = summary[(summary["model"] == LEAKY) & (summary["metric"] == "r2_pearson")]
    if mine.empty:
        return None
    honest = summary["value"][(summary["model"] == FIRST) & (summary["metric"] == "r2_pearson")]
    found = {"value": decimal(mine["value"].iloc[0]), "n": f"{mine['n'].iloc[0]:,}", "difference": None}
    both = (comparisons["model"] == FIRST) & (comparisons["other"] == LEAKY) & (comparisons["metric"] == "r2_pearson")
    if both.any():
        row = comparisons[both].iloc[0]
        found |= {"difference": signed(-row["difference"]), "range": span(-row["ci_high"], -row["ci_low"], signed)}
        found |= {"n": f"{row['n']:,}", "honest": decimal(honest.iloc[0])}
    return found


def _others(scores: pd.DataFrame, summary: pd.DataFrame, study: Study) -> tuple[list[dict], list[str]]:
    """Rows by set and model of samples not trained on, and the sets without anything to compare with."""
    names = [name for name in pd.unique(study.samples["set"]) if name != TRAIN]
    widest = scores[scores["window"] == scores["window"].iloc[0]]
    numbers = summary.set_index(["model", "metric"])
    rows, lacking = [], []
    for name in names:
        some = widest[widest["set"] == name]
        if some.empty:
            lacking.append(name)
            continue
        for model in pd.unique(some["model"]):
            row = {"set": name, "words": draw.set_words(name), "model": model}
            row |= {"samples": f"{some['n'].max():,}"}
            for metric in METRICS:
                row |= estimate(metric, *value_and_ends(numbers, model, f"{metric}_in_{name}"))
                row[f"{metric}_here"] = decimal(numbers.loc[(model, metric), "value"])
                row[f"{metric}_n"] = f"{int(numbers.loc[(model, f'{metric}_in_{name}'), 'n']):,}"
            rows.append(row)
    return rows, lacking


def _truth_page(figures, scores, truth, summary, found, model: str) -> dict:
    joined = scores[held_out(scores)].merge(truth, on="gene", suffixes=("", "_true"))
    drawn, below = draw.truth_figure(figures, joined, model)
    numbers = summary.set_index(["model", "metric"])
    rows = []
    for name in pd.unique(joined["model"]):
        row = {"model": name}
        for metric in ("r2_of_truth", "auc_of_truth", "causal_cpgs_auc"):
            row |= estimate(metric, *value_and_ends(numbers, name, metric))
        rows.append(row)
    kinds = [kind for kind in draw.KIND_COLOURS if (joined["kind"] == kind).any()]
    by_kind = joined.pivot_table(index="model", columns="kind", values="r2", sort=False)
    with_kind = found.merge(truth[["gene", "kind"]], on="gene")
    causal = with_kind.pivot_table(index="model", columns="kind", values="auc")
    one = joined[joined["model"] == model]
    return {
        "drawing": drawn,
        "below": below,
        "rows": rows,
        "kinds": [(kind, f"{(one['kind'] == kind).sum():,}") for kind in kinds],
        "possible": [decimal(one["r2_true"][one["kind"] == kind].mean()) for kind in kinds],
        "by_kind": [
            (name, [decimal(by_kind.loc[name].get(kind, np.nan)) for kind in kinds])
            for name in pd.unique(joined["model"])
            if name in by_kind.index
        ],
        "causal": [
            (name, [decimal(causal.loc[name].get(kind, np.nan)) for kind in kinds if kind != "none"])
            for name in pd.unique(joined["model"])
            if name in causal.index
        ],
    }


def _example_cards(figures, study, scores, genes, model, predictions, attributions: Attributions, truth) -> list[dict]:
    values = study.expression.set_index("gene")
    numbers = scores[held_out(scores) & (scores["model"] == model)].set_index("gene")
    true = {} if truth is None else truth.set_index("gene")[["kind", "r2", "cpgs"]].to_dict("index")
    cards = []
    for at, gene in enumerate(genes, 1):
        known = true.get(gene)
        names = set(known["cpgs"].split()) if known else set()
        top = attributions.tops.get(gene)
        strongest = float(top["attribution"].max()) if top is not None and len(top) else 0.0
        listed = [] if top is None else list(top[:TOP].itertuples())
        y = values.loc[gene].to_numpy(dtype=np.float32)
        cards.append(
            {
                "gene": gene,
                **{metric: decimal(numbers.loc[gene, metric]) for metric in METRICS},
                "n_cpgs": f"{numbers.loc[gene, 'n_cpgs']:,}",
                "truth": {"kind": known["kind"], "r2": f"{known['r2']:g}"} if known else None,
                "drawing": draw.example_figure(
                    figures, at, gene, study.samples, y, predictions[gene], EXAMPLE_POINTS // len(genes)
                ),
                "cpgs": [
                    {
                        "cpg": row.cpg,
                        "distance": offset(row.distance),
                        "attribution": decimal(row.attribution),
                        "width": f"{100 * max(row.attribution, 0) / strongest:.1f}" if strongest > 0 else "0",
                        "true": row.cpg in names,
                    }
                    for row in listed
                    if not np.isnan(row.attribution)
                ],
            }
        )
    return cards


def _skipped(path) -> list[dict]:
    """Reasons for which genes were left out, with how many and some of their names."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [
        {"reason": reason, "n": f"{len(some):,}", "genes": list(some["gene"][:3]), "more": len(some) > 3}
        for reason, some in sorted(table.groupby("reason"), key=lambda item: (-len(item[1]), item[0]))
    ]


def _published_rows(published: pd.DataFrame) -> list[dict]:
    """Squared correlations beside published ones, see `published.beside`; nothing where there are none."""
    return [
        {
            "published": row.published,
            "model": row.model,
            "n": f"{row.n:,}",
            "p": p_value(row.p),
            "theirs": decimal(row.value_published),
            "ours": decimal(row.value),
            "difference": signed(row.difference),
            "range": span(row.ci_low, row.ci_high, signed),
        }
        for row in published.itertuples()
        if row.metric == "r2_pearson"
    ]


def _draw(results: Results, folder, windows: pd.DataFrame, others: list[dict]) -> tuple[dict, dict | None, list]:
    """Draw all figures into a folder: those of the page by name, what it says of the truth, and the genes shown."""
    first, rival, scores, study = results.first, results.rival, results.scores, results.study
    found, truth, taxa = results.attributions, results.truth, results.taxa
    shades = zip(results.models, [*draw.MODEL_COLOURS, *[MUTED] * len(results.models)], strict=False)
    colours = {model: MUTED if model == "Mean" else colour for model, colour in shades}
    sets = [row["set"] for row in others if row["model"] == first]
    with figures_in(folder) as figures:
        compared = [first, *([rival] if rival else [])]
        drawn = {
            "models": draw.models_figure(figures, results.wide[[row["model"] for row in results.rows]]),
            "pair": draw.pair_figure(figures, results.wide, first, rival) if rival else None,
            "cpgs": draw.cpgs_figure(figures, scores, compared) if results.widest != "all" else None,
            "windows": draw.windows_figure(figures, windows, colours) if len(windows) else None,
            "others": draw.others_figure(figures, scores, first, sets) if others else None,
            "taxa": draw.taxa_figure(figures, taxa) if len(taxa) else None,
            "distance": draw.distance_figure(figures, found.profile, colours) if len(found.profile) else None,
        }
        page = None if truth is None else _truth_page(figures, scores, truth, results.summary, found.found, first)
        shown = (results.examples, first, results.predictions, found, truth)
        return drawn, page, _example_cards(figures, study, scores, *shown)


def _window_row(row) -> dict:
    """A row of the table of windows."""
    return {
        "model": row.model,
        "window": draw.window_words(row.window),
        "n": f"{row.n:,}",
        "r2": decimal(row.r2),
        "shared": f"{row.shared:,}",
        "r2_shared": decimal(row.r2_shared),
        "range": span(row.ci_low, row.ci_high),
    }


def _taxon_row(row) -> dict:
    """A row of the table of taxa."""
    return {
        "taxon": row.taxon,
        "genes": f"{row.genes:,}",
        "cpgs": f"{row.cpgs:g}",
        "r2": decimal(row.r2),
        "random": decimal(row.r2_random),
        "difference": signed(row.difference),
        "p": p_value(row.p_holm),
    }


def write(inputs: dict, outputs: dict, *, pairs, settings: dict, seed: int) -> None:
    """Score all fits, compare the models, and write tables, figures and page.

    inputs: `fits` (files, in folders MODEL_WINDOW), `methylation`, `expression`, `genes`, `samples`, `cpgs`, `skipped`,
    `qc` as `inputs.prepare` writes them; `taxa` (files of `by_taxon.fit_taxa`), `truth` (gene, kind, r2, cpgs) and
    `published` (see `published.read_published`) where there are any. pairs: model and window of all fits, widest window
    first. settings: `folds`, `recipe`, `examples` (genes shown), `gene_versions`.

    outputs: `summary` (SUMMARY_COLUMNS: `scores.summarise`, and `truth_rows`), `scores` (`scores.score`), `comparisons`
    (`scores.compare`), `predictions` (see `write_predictions`), `attributions` (see `write_attributions`), `taxa`
    (`scores.summarise_taxa`), `html`, and `figures`, a folder of SVG and CSV; `published` (`published.beside`), where
    there are published scores.
    """
    results = score_and_write(inputs, outputs, pairs=pairs, settings=settings, seed=seed)
    study, scores, first, found = results.study, results.scores, results.first, results.attributions
    published = pd.DataFrame()
    if "published" in inputs:
        given = read_published(inputs["published"], settings)
        published = beside({metric: wide_table(scores, metric) for metric in METRICS}, given, seed)
        write_csv(outputs["published"], published)
    windows = window_table(scores, seed)
    others, lacking = _others(scores, results.summary, study)
    drawn, truth_page, cards = _draw(results, outputs["figures"], windows, others)
    best, n = next(iter(results.unleaky), first), int(study.trained.sum())
    people = len(np.unique(study.person[study.trained]))
    sizes = [len(fold.test) for fold in study.folds if len(fold.test) > 1]
    by_gene = scores[held_out(scores)].drop_duplicates("gene")
    page = {
        "first": first,
        "best": best,
        "rival": results.rival,
        "rows": results.rows,
        "row_of": {row["model"]: row for row in results.rows},
        "above": ABOVE,
        "leaky": LEAKY,
        "leak": _leak(results.comparisons, results.summary),
        "simulated": results.truth is not None,
        "n_genes": f"{len(results.wide):,}",
        "n_samples": f"{n:,}",
        "n_people": f"{people:,}",
        "several": people < n,
        "n_cpgs": f"{len(results.cpgs):,}",
        "per_gene": f"{by_gene['n_cpgs'].median():,.0f}",
        "window": None if results.widest == "all" else draw.window_words(results.widest),
        "folds": settings["folds"],
        "recipe": settings["recipe"] if FIRST in results.models else None,
        "chance": decimal(float(np.mean([1 / (size - 1) for size in sizes]))),
        "comparisons": _comparison_rows(results.comparisons, first),
        "drawn": drawn,
        "windows": [_window_row(row) for row in windows.itertuples()],
        "others": others,
        "lacking": [draw.set_words(name) for name in lacking],
        "taxa": [_taxon_row(row) for row in results.taxa.itertuples()],
        "published": _published_rows(published),
        "truth": truth_page,
        "profile_genes": [(model, f"{number:,}") for model, number in found.genes.items()],
        "examples": cards,
        "explainer": found.explainer,
        "most_cpgs": MOST_CPGS,
        "few": draw.FEW,
        "skipped": _skipped(inputs["skipped"]),
        "warnings": read_json(inputs["qc"]).get("warnings", []),
        "files": file_names(outputs | {key: inputs[key] for key in ("skipped", "qc")}),
        "strip": len(results.wide) <= draw.STRIP,
        "dense": len(results.wide) > draw.POINTS,
    }
    write_page(outputs["html"], "expression.html.j2", page)
    logging.info(f"{best}: mean R² {page['row_of'][best]['r2']}")

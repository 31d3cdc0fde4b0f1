"""The page: everything that a person looks at after a run, and the tables and figures behind it.

The same inputs give the same bytes: no dates, fixed seeds, and fixed ids inside the figures. What Snakemake measured of
the run's time and memory is shown as it lies beside the results.
"""

import dataclasses
import functools
import importlib.metadata
import json
import os
import pathlib
import platform

import numpy as np
import pandas as pd
import yaml
from scipy.stats import binom

import cpgtaxa
from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.files import atomic, read_json, read_parquet
from cpgtaxa.names import KNOWN, MEANING, TAXA, UNCLASSIFIED
from cpgtaxa.pages.drawing import figures_in
from cpgtaxa.pages.page import write_csv, write_page
from cpgtaxa.report import figures as draw
from cpgtaxa.report import tables
from cpgtaxa.report.ageing import ageing_page
from cpgtaxa.report.cell_types import cell_types_page
from cpgtaxa.report.enough import embedding_page
from cpgtaxa.report.gallery import gallery
from cpgtaxa.report.patterns import COLUMNS, patterns_page
from cpgtaxa.report.quality import cohort_page
from cpgtaxa.report.runtime import run_time_page
from cpgtaxa.report.summary import summary_text
from cpgtaxa.report.thresholds import selection_table, thresholds_page
from cpgtaxa.report.words import percent, stage_name
from cpgtaxa.statistics.cell_types import read_cell_types
from cpgtaxa.wording import count, decimal, shown


def versions(cards: list[dict]) -> list[tuple[str, str, str]]:
    """Software, version and where: in the environment that made this page, or what trained each round's network.

    cards: the networks' cards, by round. The page's environment may lack torch; the cards know which one it was.
    """
    here = "this page"
    found = [
        ("cpgtaxa", cpgtaxa.__version__, here),
        ("python", platform.python_version(), f"{here}, on {platform.system()} {platform.machine()}"),
    ]
    trained = {}
    for at, card in enumerate(cards):
        if card.get("torch"):
            trained.setdefault(card["torch"], []).append(at)
    names = ("snakemake", "numpy", "pandas", "pyarrow", "scipy", "numba", "diptest", "scikit-learn")
    for name in (*names, "torch", "torchvision", "lightning", "matplotlib", "jinja2", "pillow", "pyyaml"):
        if name == "torch" and trained:
            for version, rounds in trained.items():
                which = "round" if len(rounds) == 1 else "rounds"
                found.append((name, version, f"the network of {which} {', '.join(map(str, rounds))}"))
            continue
        try:
            found.append((name, importlib.metadata.version(name), here))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


SURE = 0.95
"""Confidence from which the page counts taxa as sure."""
FEW_CALLS = 200
"""Calls of fewer are reported as counts of wrong ones, not as shares."""


def _wrong(found: dict) -> tuple[str, str]:
    """How many of a round's calls are wrong, expected and at most (95 %): a share, or of few calls a count."""
    if not found.get("threshold"):
        return "–", "–"
    expected, bound = found["expected_error_rate"], found["error_rate_at_most"]
    placed = found["placed"]
    if placed >= FEW_CALLS:
        return percent(expected), percent(bound)
    most = int(binom.ppf(0.95, placed, max(bound, expected))) if placed else 0
    return f"{expected * placed:.1f} of {count(placed)}", f"{most} of {count(placed)}"


def _count_rows(counts: pd.DataFrame) -> list[dict]:
    order = list(dict.fromkeys(counts["stage"]))
    numbers = counts.pivot(index="taxon", columns="stage", values="n_cpgs")[order]
    boundary = counts[counts["stage"] == order[-1]].set_index("taxon")["n_boundary"]
    total = int(numbers[order[-1]].sum())
    return [
        {
            "taxon": taxon,
            "meaning": MEANING.get(taxon, "none of them, or an open criterion"),
            "numbers": [count(value) for value in numbers.loc[taxon]],
            "share": percent(tables.share_of(numbers.loc[taxon, order[-1]], total)),
            "n_clear": count(numbers.loc[taxon, order[-1]] - boundary[taxon]),
            "n_boundary": count(boundary[taxon]),
        }
        for taxon in KNOWN
    ]


CHECKS = ("engine", "checked_cpgs", "checked_same", "checked_placed", "checked_placed_same", "checked_difference")
"""What classified, and how an engine was checked against the network in float32: keys of a round's counts."""


def _round_rows(counts: list[dict], metrics: list[dict]) -> list[dict]:
    rows = []
    for found, scores in zip(counts, metrics, strict=True):
        row = {"round": found["round"], "model": scores["model"]}
        row |= {key: count(found[key]) for key in ("candidates", "placed")}
        row |= {reason: count(number) for reason, number in found["left"].items()}
        row["expected"], row["bound"] = _wrong(found)
        row["share"] = percent(tables.share_of(found["placed"], found["candidates"]))
        row["labelled"] = count(found.get("labelled_cpgs", 0))
        row["all_labelled"] = count(found.get("clear_cpgs", found.get("labelled_cpgs", 0)))
        row["as_labels"] = percent(found.get("network_as_labels"))
        row["doubtful"] = found.get("doubtful", False)
        row |= {key: found.get(key) for key in CHECKS}
        validation = scores.get("validation")
        row["validation"] = percent(validation["best_accuracy"]) if validation else "–"
        row["epochs"] = count(validation["epochs"]) if validation else "–"
        row["minutes"] = f"{validation['training_seconds'] / 60:.1f}" if validation else "–"
        row["most"] = sorted(found["placed_per_taxon"].items(), key=lambda item: (-item[1], TAXA.index(item[0])))
        rows.append(row)
    return rows


def test_table(metrics: list[dict]) -> pd.DataFrame:
    """Scores on test images: round, images (cohort, simulated, or all), n, accuracy, macro_f1, calibration_error_raw,
    calibration_error, temperature. `all` only where there are both kinds.
    """
    names = (("test_cohort", "cohort"), ("test_simulated", "simulated"), ("test", "all"))
    keys = ("n", "accuracy", "macro_f1", "calibration_error_raw", "calibration_error")
    rows = [
        (round_number, name, *(found[key][one] for one in keys), found["temperature"])
        for round_number, found in enumerate(metrics)
        for key, name in names
        if key in found and (key != "test" or len(found.keys() & {"test_cohort", "test_simulated"}) > 1)
    ]
    return pd.DataFrame(rows, columns=["round", "images", *keys, "temperature"])


def _test_rows(table: pd.DataFrame) -> list[dict]:
    words = {"round": None, "images": None, "n": count, "accuracy": percent}
    errors = dict.fromkeys(("macro_f1", "calibration_error_raw", "calibration_error"), decimal)
    return shown(table, **words, **errors, temperature=functools.partial(decimal, digits=2))


def rounds_table(counts: list[dict], metrics: list[dict]) -> pd.DataFrame:
    """The rounds as the page shows them, numbers as they are: one row a round."""
    rows = []
    for found, scores in zip(counts, metrics, strict=True):
        row = {"round": found["round"], "model": scores["model"]}
        row |= {key: found[key] for key in ("candidates", "placed")} | dict(found["left"])
        for key in (
            "threshold",
            "expected_error_rate",
            "error_rate_at_most",
            "labelled_cpgs",
            "network_as_labels",
            *CHECKS,
        ):
            row[key] = found.get(key)
        validation = scores.get("validation") or {}
        row |= {f"validation_{key}": validation.get(key) for key in ("best_accuracy", "epochs", "training_seconds")}
        row |= {f"placed_{taxon}": found["placed_per_taxon"].get(taxon, 0) for taxon in TAXA}
        rows.append(row)
    return pd.DataFrame(rows)


def _agreement_page(agreed: pd.DataFrame, stage_names: dict) -> dict:
    values = agreed.set_index(["stage", "taxon"])["value"]
    lines = (
        ("macro", "Macro-F1 (recall over clear CpGs)", decimal),
        ("placed", "CpGs placed", percent),
        ("precision", "… of which rightly", percent),
        ("boundary", "Boundary CpGs placed, and rightly", percent),
    )
    last = agreed[agreed["stage"] == "all"]
    kinds = last[last["taxon"].str.startswith("boundary:")]
    return {
        "lines": [(title, [show(values[stage, name]) for stage in stage_names]) for name, title, show in lines],
        "taxa": shown(
            last[last["taxon"].isin(TAXA)],
            **{"taxon": None, "n_true": count, "n_called": count, "n_boundary": count},
            **dict.fromkeys(("f1", "precision", "recall"), decimal),
        ),
        "kinds": [
            {
                "kind": row.taxon.partition(":")[2].replace("_", " "),
                "n": count(row.n_true),
                "placed": percent(tables.share_of(row.n_called, row.n_true)),
                "right": percent(row.precision),
            }
            for row in kinds.itertuples()
        ],
    }


def _list(paths) -> list[str]:
    return [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)


def _draw_networks(figures, metrics: list[dict], logs: list, tests: list) -> dict:
    """Figures of the rounds' networks: training, confusion (by kind of image) and reliability."""
    reliabilities = {
        round_number: tables.reliability(found, one["temperature"])
        for round_number, (found, one) in enumerate(zip(tests, metrics, strict=True))
        if len(found)
    }
    return {
        "training": [draw.training_figure(figures, round_number, log) for round_number, log in enumerate(logs)],
        "reliability": draw.reliability_figure(figures, reliabilities) if reliabilities else None,
        "confusion": [
            [
                (
                    images,
                    draw.confusion_figure(
                        figures,
                        f"confusion_round_{at}_{images}",
                        found[f"test_{images}"]["confusion"],
                        TAXA,
                        TAXA,
                        f"Confusions of round {at}, {images} images",
                        "actual",
                        "predicted",
                    ),
                )
                for images in ("cohort", "simulated")
                if f"test_{images}" in found
            ]
            for at, found in enumerate(metrics)
        ],
    }


def _sizes(counts: pd.DataFrame) -> dict:
    """How many CpGs there are, that the tests name, leave open, that networks placed, and that none did."""
    last = counts[counts["stage"] == counts["stage"].iat[-1]].set_index("taxon")["n_cpgs"]
    first = counts[counts["stage"] == "statistical"].set_index("taxon")["n_cpgs"]
    left, unplaced, total = int(first[UNCLASSIFIED]), int(last[UNCLASSIFIED]), int(last.sum())
    numbers = {"cpgs": total, "labelled": total - left, "open": left, "networks": left - unplaced, "unplaced": unplaced}
    found = {f"n_{name}": count(number) for name, number in numbers.items()}
    found |= {"any_open": left > 0, "any_placed": left > unplaced, "any_unplaced": unplaced > 0}
    found["share_placed"] = percent(tables.share_of(total - unplaced, total))
    return found | {"share_unplaced": percent(tables.share_of(unplaced, total))}


def _asked(config: dict) -> dict:
    """What the page says of the config."""
    rounds = config["rounds"]
    plain = json.loads(json.dumps(config, default=str))
    return {
        "own_labels": bool(config["taxa"]["labels"]),
        "own_images": bool(config["images"]["info"]),
        "simulated_cohort": bool(config.get("simulate_cohort")),
        "confidence": percent(rounds["confidence"], 0) if rounds["confidence"] else None,
        "error_rate": percent(rounds["error_rate"], 0),
        "veto": rounds["veto"],
        "unlike": percent(1 - rounds["unlike"], 0),
        "config": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100),
    }


@dataclasses.dataclass
class Run:
    """A finished run. counts, metrics, logs, tests, cards: of the rounds, in order. truth: of a simulated cohort."""

    taxonomy: pd.DataFrame
    truth: pd.DataFrame | None
    counts: list[dict]
    metrics: list[dict]
    logs: list[pd.DataFrame]
    tests: list[pd.DataFrame]
    cards: list[dict]
    cohort: Cohort
    samples: pd.DataFrame

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return len(self.counts)

    @property
    def ages(self) -> np.ndarray:
        """Ages (n_samples,), years."""
        return self.samples["age"].to_numpy()


def _read_run(inputs) -> Run:
    truth = getattr(inputs, "truth", None)
    return Run(
        taxonomy=read_parquet(inputs.taxonomy),
        truth=tables.read_truth(truth) if truth else None,
        counts=sorted((read_json(path) for path in _list(inputs.counts)), key=lambda found: found["round"]),
        metrics=[read_json(path) for path in _list(inputs.metrics)],
        logs=[pd.read_csv(path) for path in _list(inputs.logs)],
        tests=[pd.read_csv(path) for path in _list(inputs.tests)],
        cards=[read_json(path) for path in _list(inputs.cards)],
        cohort=Cohort(inputs.beta),
        samples=read_samples(inputs.samples),
    )


def _cells(inputs, cpgs: pd.Series) -> dict | None:
    """Whose cells change, where the config asks for it."""
    if not getattr(inputs, "cell_types", None):
        return None
    table = read_cell_types(inputs.cell_types, cpgs.to_numpy(dtype=object))
    return cell_types_page(table, pd.read_csv(inputs.types, dtype=str, keep_default_na=False))


def _draw_parts(inputs, outputs: dict, run: Run, counts: pd.DataFrame, config: dict) -> dict:
    """Draw the figures, and give the parts of the page that have some."""
    adjusted = read_json(inputs.adjusted) if getattr(inputs, "adjusted", None) else None
    left = read_parquet(inputs.unclassified, columns=["reason", "detail"])
    with figures_in(outputs["figures"]) as figures:
        drawn = {
            "taxa": draw.taxa_figure(figures, counts, config),
            "flow": draw.flow_figure(figures, tables.flow(run.taxonomy, run.rounds), counts, config),
            "truth": draw.truth_figure(figures, run.taxonomy, run.truth) if run.truth is not None else None,
        }
        return {
            "embedding": embedding_page(inputs, figures, run.cohort, run.ages),
            "cohort": cohort_page(inputs, figures, run.samples, run.cohort, read_json(inputs.qc), config, adjusted),
            "criteria": thresholds_page(figures, inputs.statistics, left, config),
            "ageing": ageing_page(figures, inputs.ewas, read_json(inputs.ewas_summary)),
            "figures": drawn | _draw_networks(figures, run.metrics, run.logs, run.tests),
            "run_time": run_time_page(figures, pathlib.Path(outputs["html"]).parent / "benchmarks"),
        }


def _write_criteria(outputs: dict, criteria: dict) -> None:
    """Write the tables behind the part on criteria, which leave it."""
    write_csv(outputs["thresholds"], criteria.pop("table"))
    columns = ["reason", "detail", "n_cpgs", "meaning", "setting"]
    reasons = pd.DataFrame(criteria["left"], columns=["reason", "detail", "n", "meaning", "setting"])
    write_csv(outputs["left"], reasons.set_axis(columns, axis=1).assign(n_cpgs=criteria.pop("counts")))


def write_report(inputs, outputs: dict, config: dict) -> None:
    """Write the report, the terminal's summary, and the tables and figures behind them.

    inputs: attributes counts, metrics, logs, tests, cards (one file per round each), taxonomy, labels, unclassified,
    statistics, ewas and ewas_summary (of the rule `age_ewas`), beta, samples, cpgs, qc, those of the rule `embedding`
    (map, map_drawn, map_pdf, separability, clusters, embedding), patterns (of the rule `gather_patterns`), and, for
    a simulated cohort, truth; where betas are adjusted, adjusted (what was done to them); where whose cells change is
    to be shown, cell_types and types. outputs: paths html, summary,
    counts, agreement, thresholds, left, selection, rounds, test_scores, gallery (CSV), figures (a folder). config: the
    whole config, with its defaults. Beside the page, the folder benchmarks is looked at, where there is one. Raises
    InputError for a truth that cannot be used.
    """
    run = _read_run(inputs)
    counts = tables.count_taxa(run.taxonomy, run.rounds)
    agreed = tables.agreement(run.taxonomy, run.truth, run.rounds) if run.truth is not None else None
    selection, scores = selection_table(run.counts, config), test_table(run.metrics)
    write_csv(outputs["counts"], counts)
    write_csv(outputs["agreement"], pd.DataFrame(columns=list(tables.AGREEMENT_COLUMNS)) if agreed is None else agreed)
    write_csv(outputs["selection"], selection)
    write_csv(outputs["test_scores"], scores)
    write_csv(outputs["rounds"], rounds_table(run.counts, run.metrics))
    parts = _draw_parts(inputs, outputs, run, counts, config)
    labels = read_parquet(inputs.labels, columns=["cpg", "reason"])
    cards, table = gallery(inputs, run.taxonomy, labels, run.cohort, run.ages, config)
    write_csv(outputs["gallery"], table)
    _write_criteria(outputs, parts["criteria"])
    stage_names = {stage: stage_name(stage, config) for stage in tables.stages(run.rounds)}
    page = {
        **_sizes(counts),
        "n_samples": count(run.cohort.n_samples),
        "ages": (f"{run.ages.min():g}", f"{run.ages.max():g}"),
        "trained": [len(log) > 0 for log in run.logs],
        "n_disagree": count(run.taxonomy["disagrees"].sum()),
        "looked_at": bool(run.taxonomy["network_p"].notna().any()),
        "n_sure": count((run.taxonomy["confidence"] >= SURE).sum()),
        "sure": percent(SURE, 0),
        "patterns": patterns_page(read_parquet(inputs.patterns, columns=COLUMNS), run.taxonomy["taxon"]),
        "cells": _cells(inputs, run.taxonomy["cpg"]),
        "rounds": run.rounds,
        **_asked(config),
        "stages": list(stage_names.values()),
        **parts,
        "count_rows": _count_rows(counts),
        "round_rows": _round_rows(run.counts, run.metrics),
        "test_rows": _test_rows(scores),
        "selection_rows": shown(
            selection,
            **{"round": None, "threshold": percent},
            **dict.fromkeys(("near_above", "near_below", "candidates", "placed"), count),
        ),
        "gallery": cards,
        "agreement": _agreement_page(agreed, stage_names) if agreed is not None else None,
        "versions": versions(run.cards),
        "bins": tables.BINS,
    }
    write_page(outputs["html"], "report.html.j2", page)

    ageing = parts["ageing"]
    found = f"{ageing['changing']} of {ageing['tested']} CpGs change with age, {ageing['spread']} in spread"
    paths = {
        "taxonomy": f"{inputs.taxonomy}, and as CSV beside it",
        "report": outputs["html"],
        "explorer": "results/explorer.html: every CpG",
        "ageing": f"results/age_ewas.csv.gz: {found}",
    }
    text = summary_text(counts, run.metrics, agreed, config, paths, len(parts["cohort"]["warnings"]))
    with atomic(outputs["summary"]) as temporary:
        temporary.write_text(text, encoding="utf-8")

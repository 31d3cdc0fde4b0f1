"""What the terminal shows of a run: calm lines in between, at the end a table and the paths of each target asked for.

Imports the standard library alone where it is loaded: Snakemake itself uses it. A logger plugin of Snakemake's is a
package to be installed beside Snakemake, which a workflow used as a module or deployed cannot ask for; so the handler
on the terminal gets a filter. tabulate takes 47 ms to import, breaks long cells over lines in place of cutting them,
and would save a dozen lines of `table`.
"""

import csv
import logging
import os
import pathlib
import sys
import time
from collections.abc import Iterable

from cpgtaxa.names import label_of
from cpgtaxa.wording import NONE, grouped, shortened

WIDTH = 100
"""Columns that a summary may take."""
MOST = 20
"""Rows of a table shown; the files have them all."""
SUMMARY = "terminal"
"""Name of the output that a rule's summary is."""
_WORDS = {
    "html": "page", "enrichment": "tests", "moved_csv": "moved", "taxonomy_csv": "taxonomy", "cells": "cell types",
    "imputed": "filled in", "csv": "numbers", "excel": "workbook", "anndata": "AnnData", "bed": "BED", "r": "for R",
}  # fmt: skip
LABELS = {
    key: _WORDS.get(key, key)
    for key in (
        "html", "summary", "scores", "comparisons", "enrichment", "overlaps", "signs", "agreement", "contingency",
        "moved_csv", "taxonomy_csv", "taxa", "predictions", "cells", "occlusion", "imputed", "submission", "gaps",
        "reference", "about", "csv", "table", "ages", "fractions", "excel", "anndata", "bed", "track", "legend", "r",
        "plot", "figures",
    )
}  # fmt: skip
"""What a summary calls a rule's outputs, in the order shown; others are not shown."""


# --- tables of plain text --------------------------------------------------------------------------------------------


def with_interval(row: dict, digits: int = 3, key: str = "value") -> str:
    """`0.912 (0.901 to 0.923)`; without an interval the number alone."""
    value, low, high = (grouped(row.get(name), digits) for name in (key, "ci_low", "ci_high"))
    return value if NONE in (low, high) else f"{value} ({low} to {high})"


def cut(text: str, width: int) -> str:
    """The text, cut to a width; one line, nothing that moves a cursor."""
    return shortened("".join(letter if letter.isprintable() else " " for letter in str(text)), width)


def table(columns: Iterable[str], rows: Iterable[Iterable], most: int = MOST) -> list[str]:
    """Lines of a table: texts to the left, numbers to the right, a rule under the header, at most WIDTH wide."""
    columns, rows = list(columns), [[str(value) for value in row] for row in rows]
    shown = rows[:most]
    left = [
        all(not value[:1].isdigit() and value[:1] not in "-−–" for value in column)
        for column in zip(*shown, strict=True)
    ]
    to_left = left if shown else [True] * len(columns)
    widths = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
    room = WIDTH - 2 - 2 * (len(columns) - 1)
    while sum(widths) > room:  # the widest column gives way
        widths[widths.index(max(widths))] -= 1

    def line(values) -> str:
        cells = [
            cut(value, width).ljust(width) if left else cut(value, width).rjust(width)
            for value, width, left in zip(values, widths, to_left, strict=True)
        ]
        return ("  " + "  ".join(cells)).rstrip()

    lines = [line(columns), "  " + "─" * (sum(widths) + 2 * (len(columns) - 1)), *map(line, shown)]
    if len(rows) > most:
        lines.append(f"  and {len(rows) - most:,} more in the files below")
    return lines


def paths(outputs: dict) -> list[str]:
    """Lines with the paths of a rule's outputs."""
    there = [(LABELS[key], str(outputs[key])) for key in LABELS if key in outputs]
    width = max(map(len, (label for label, _ in there)), default=0)
    return [f"  {label.ljust(width)}  {path}" for label, path in there]


# --- what matters of each target -------------------------------------------------------------------------------------


def rows_of(path) -> list[dict]:
    """The rows of a CSV file, as text."""
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _by_model(rows: list[dict], metrics: dict[str, tuple[str, int]]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: a model each, with the metrics that there are; metrics: heading and decimals by name."""
    found = {(row["model"], row["metric"]): row for row in rows}
    there = [name for name in metrics if any(metric == name for _, metric in found)]
    models = list(dict.fromkeys(model for model, metric in found if metric in there))
    columns = ["model", *(metrics[name][0] for name in there)]
    lines = []
    for model in models:
        cells = [with_interval(found.get((model, name), {}), metrics[name][1]) for name in there]
        lines.append([model, *cells])
    return columns, lines


def _n(rows: list[dict], metric: str) -> str:
    return grouped(max((float(row["n"] or 0) for row in rows if row["metric"] == metric), default=0), 0)


def _of_models(title: str, counted: str, metrics: dict[str, tuple[str, int]]):
    """A target's table of models; title: with a place for the n of the metric `counted`."""

    def tables(out: dict):
        rows = rows_of(out["summary"])
        yield title.format(_n(rows, counted)), *_by_model(rows, metrics)

    return tables


def _ecg_age(out: dict):
    rows = rows_of(out["summary"])
    for group, title in (("adult", "Adults"), ("child", "Children")):
        mine = [row for row in rows if row["metric"].startswith(f"{group}_")]
        if mine:
            metrics = {
                f"{group}_mae": ("mean error, years, with interval", 2),
                f"{group}_r": ("r with age, with interval", 3),
                f"{group}_bias": ("bias, years", 2),
            }
            yield f"{title}: age from the ECG, {_n(mine, f'{group}_mae')} records held out", *_by_model(mine, metrics)


def _compare(out: dict):
    rows = rows_of(out["summary"])
    value = {(row["cohorts"], row["metric"]): row for row in rows}
    cohorts = [row["cohorts"] for row in rows if row["metric"] == "cpgs"]
    names = ("cpgs", "placed", "cpgs_in_every_cohort")
    lines = [[one, *(grouped(value[one, name]["value"], 0) for name in names)] for one in cohorts]
    yield "Cohorts compared", ["cohort", "CpGs", "placed", "in every cohort"], lines
    words = {
        "equal": "the same taxon",
        "kappa": "kappa",
        "equal_placed": "the same taxon, where placed",
        "kappa_placed": "kappa, where placed",
    }
    shown = [row for row in rows if row["metric"] in words]
    lines = [[row["cohorts"], words[row["metric"]], with_interval(row), grouped(row["n"], 0)] for row in shown]
    if lines:
        yield "How far they agree", ["cohorts", "measure", "value with interval", "CpGs"], lines
    verdicts = [row for row in rows if row["metric"].startswith("verdict_") or row["metric"] == "moved"]
    lines = [[row["metric"].removeprefix("verdict_").replace("_", " "), grouped(row["value"], 0)] for row in verdicts]
    yield "One taxonomy of all", ["verdict", "CpGs"], lines


def _enrichment(out: dict):
    lines = []
    for row in rows_of(out["summary"]):
        odds = with_interval(row, 2, "odds_ratio")
        lines.append(
            [row["set"], grouped(row["asked"], 0), grouped(row["found"], 0), row["most_enriched"] or NONE, odds]
        )
    columns = ["list", "CpGs", "in the taxonomy", "most enriched in", "odds ratio with interval"]
    yield "Known biology", columns, lines


def _scores(out: dict):
    lines = [
        [row["score"], grouped(row["cpgs_used"], 0), grouped(row["samples"], 0), with_interval(row, 3, "r_age")]
        for row in rows_of(out["summary"])
    ]
    yield "Scores of the samples", ["score", "CpGs", "samples", "r with age, with interval"], lines


def _explain(out: dict):
    found: dict[str, dict] = {}
    for row in rows_of(out["csv"]):
        keys = list(row)
        if row[keys[1]] == "result":
            found.setdefault(row["cpg"], {})[row[keys[2]]] = row["value"]
    lines = [
        [cpg, one.get("taxon", NONE), one.get("source", NONE), grouped(one.get("confidence")), one.get("second", NONE)]
        for cpg, one in found.items()
    ]
    yield "Why CpGs have their taxa", ["CpG", "taxon", "source", "confidence", "second"], lines


def _export(out: dict):
    counted = {row["name"]: row["text"] for row in rows_of(out["legend"]) if row["part"] == "about"}
    lines = [[name, counted[name]] for name in ("CpGs", "CpGs with a position", "samples") if name in counted]
    yield "Results in other formats", ["what", "number"], lines


def _benchmark(out: dict):
    lines = []
    for row in rows_of(out["table"]):
        each = 1e6 * float(row["seconds"]) / max(float(row["n_cpgs"]), 1)
        counts = [grouped(row[name], 0) for name in ("n_cpgs", "n_samples")]
        lines.append([row["stage"], row["implementation"], *counts, grouped(row["seconds"], 2), grouped(each, 1)])
    columns = ["stage", "implementation", "CpGs", "samples", "seconds", "µs per CpG"]
    yield "Time of each stage beside its peers", columns, lines


def _summarise(out: dict):
    lines = [[row["what"], grouped(row["value"], 0)] for row in rows_of(out["about"])]
    yield "A summary of the cohort, to be pooled elsewhere", ["what", "number"], lines


def _power(out: dict):
    lines = []
    for row in rows_of(out["people"]):
        effect = "/".join(row[name] for name in ("trend", "spread") if row[name]) or NONE
        needed = [grouped(row[name], 0) if row[name] else NONE for name in ("people_80", "people_90")]
        lines.append([row["taxon"], effect, row["ages"], *needed, grouped(row["most"])])
    columns = ["taxon", "effect per decade", "ages", "people for 80 %", "90 %", "highest chance"]
    yield "How many people give a CpG its taxon", columns, lines


def _methylation_age(out: dict):
    gaps = [abs(float(row["gap"])) for row in rows_of(out["ages"])]
    lines = [["people", grouped(len(gaps), 0)], ["mean absolute error, years", grouped(sum(gaps) / len(gaps), 2)]]
    yield "Methylation ages, predicted by a clock trained without the person", ["what", "value"], lines


def _cell_fractions(out: dict):
    rows = rows_of(out["fractions"])
    lines = []
    for cell in [name for name in rows[0] if name != "sample_id"] if rows else []:
        values = sorted(float(row[cell]) for row in rows)
        lines.append([cell, *(grouped(values[round(at * (len(values) - 1))]) for at in (0.5, 0, 1))])
    yield f"Cell types of {len(rows):,} samples", ["cell type", "median", "lowest", "highest"], lines


def _cell_types(out: dict):
    rows = rows_of(out["types"])
    lines = [[row["type"], grouped(row["mean"]), row["changing"] or "not tested"] for row in rows]
    yield "CpGs that change with age in a cell type (q < 0.05)", ["cell type", "share of cells", "CpGs"], lines


_ALL = (
    _ecg_age, _compare, _enrichment, _scores, _explain, _export, _summarise, _benchmark, _power, _methylation_age,
    _cell_fractions, _cell_types,
)  # fmt: skip
_AUC, _ACCURACY = ("AUC with interval", 3), ("accuracy with interval", 3)
TARGETS = {function.__name__.removeprefix("_"): function for function in _ALL} | {
    "expression": _of_models(
        "Expression predicted from methylation, means over {} genes",
        "r2",
        {"r2_pearson": ("r² with interval", 3), "r2": ("R² with interval", 3)},
    ),
    "histone": _of_models(
        "High or low expression from histone marks, {} test genes", "auc", {"auc": _AUC, "accuracy": _ACCURACY}
    ),
    "single_cell": _of_models(
        "Methylation of single cells, {} test states",
        "auc",
        {"auc": _AUC, "accuracy": ("accuracy", 3), "error_of_unobserved": ("error", 3)},
    ),
}
"""By target: from a rule's outputs, tables as (title, columns, rows). Numbers are those of the files."""


def summary_text(target: str, outputs: dict) -> str:
    """The summary of a target: its tables, and the paths of what it made, in at most WIDTH columns."""
    lines = []
    for title, columns, rows in TARGETS[target](outputs):
        lines += ["", cut(title, WIDTH), "", *table(columns, rows)]
    return "\n".join([*lines, "", *paths(outputs)]) + "\n"


def write_summary(target: str, outputs: dict) -> None:
    """Write the target's summary from the tables that its rule wrote; outputs: the rule's, also SUMMARY."""
    from cpgtaxa.files import atomic

    text = summary_text(target, outputs)
    with atomic(outputs[SUMMARY]) as temporary:
        temporary.write_text(text, encoding="utf-8")


# --- around a run ----------------------------------------------------------------------------------------------------

NOISE = (
    "Select jobs to execute...",
    "Shutting down, this might take some time.",
    "DAG of jobs will be updated after completion.",
    "Updating checkpoint dependencies.",
    "Using shell: ",
    "Rules claiming more threads will be scaled down.",
    "Conda environments: ignored",
)
"""Lines of Snakemake's without information for the user."""


def summaries_of(dag) -> list[pathlib.Path]:
    """The summaries of the targets that this run was asked for, not of what these rest on."""
    found, jobs = [], list(dag.targetjobs)
    jobs += [other for job in jobs if not job.output for other in dag.dependencies[job]]
    for job in jobs:
        found += [pathlib.Path(path) for path in job.output if pathlib.Path(path).name.endswith("summary.txt")]
    return sorted(path for path in set(found) if path.is_file())


def folder_line(directory) -> str:
    """Where the summaries' paths begin, if not in the folder that the run was started in.

    directory: what `--directory` says, or None.
    """
    return "" if directory is None or os.path.normpath(directory) == os.curdir else f"  Paths begin in {directory}\n"


def show(dag) -> None:
    """Print the summaries of the targets asked for, and where their paths begin."""
    found = summaries_of(dag)
    for path in found:
        print(path.read_text(encoding="utf-8"), flush=True)
    if found and (line := folder_line(dag.workflow.overwrite_workdir)):
        print(line, flush=True)


class Calm:
    """Makes of Snakemake's lines on the terminal one when a job begins and one when it ends; remembers what failed.

    Where nothing is to be done, Snakemake calls none of a workflow's hooks: then this shows the summaries.
    """

    def __init__(self, workflow, stream):
        self.workflow, self.stream, self.failed, self.ended = workflow, stream, [], ""

    def watch(self, record: logging.LogRecord) -> bool:
        """A filter that lets everything pass, before the one that drops what the profile is quiet about."""
        if _event(record) == "job_error":
            self.failed += [str(path) for path in getattr(record, "log", None) or []]
        return True

    def filter(self, record: logging.LogRecord) -> bool:
        """A filter that drops what it writes in its own words."""
        event, text = _event(record), str(record.msg)
        if event == "job_started":
            for job in self._jobs(getattr(record, "job_ids", None) or getattr(record, "jobs", None) or []):
                if job.output:
                    how = "begins" if self.workflow.local_exec or job.is_local else "is handed to the cluster"
                    self._write(f"{label_of(job.rule.name, job.wildcards)} {how}")
            return False
        if event == "job_finished":
            self.ended = ", ".join(label_of(job.rule.name, job.wildcards) for job in self._jobs([record.job_id]))
            return False
        if event == "progress" and self.ended:
            share = f"{100 * record.done // record.total} %"
            self._write(f"{self.ended} is done: {record.done:,} of {record.total:,} steps ({share})")
            return False
        if record.levelno <= logging.INFO and text.startswith(NOISE):
            return False
        if text.startswith("Nothing to be done") and not self.workflow.dryrun:
            show(self.workflow.dag)
        return True

    def _jobs(self, ids) -> list:
        return [job for job in self.workflow.dag.jobs if job.jobid in set(ids)]

    def _write(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=self.stream, flush=True)

    def failure(self) -> str:
        """Where to read on, in one line."""
        logs = list(dict.fromkeys(path for path in self.failed if os.path.isfile(path)))
        where = f"What went wrong is in {', '.join(logs[:3])}" if logs else "The error is reported above"
        where += f" and {len(logs) - 3:,} more in results/logs" if len(logs) > 3 else ""
        return f"{where}. Call the same command again once it is mended: the run goes on from there."


def _event(record: logging.LogRecord) -> str:
    found = getattr(record, "event", None)
    return str(getattr(found, "value", found) or "").lower()


def calm(workflow, logger: logging.Logger) -> Calm:
    """Have Snakemake's own lines, of its logger, pass a `Calm`, on the terminal alone."""
    found = Calm(workflow, sys.stderr)
    for handler in logger.handlers:
        if getattr(handler, "name", "") == "DefaultStreamHandler":
            found.stream = handler.stream
            handler.filters.insert(0, found.watch)
            handler.addFilter(found.filter)
    return found


def write_failure(text: str) -> None:
    """Print the line on standard error, where the other messages are."""
    print(text, file=sys.stderr, flush=True)

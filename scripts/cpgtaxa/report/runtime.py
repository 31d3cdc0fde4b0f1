"""Run time and memory of the rules, from the benchmark files that Snakemake writes beside the results."""

import pathlib
import re

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from cpgtaxa.pages.drawing import ACCENT, MUTED, SECOND
from cpgtaxa.wording import count, shown

COLUMNS = ("rule", "jobs", "wall_s", "longest_s", "cpu_s", "max_rss_mb")


def rule_of(stem: str) -> str:
    """The rule of a benchmark file: `train` of train_0_ResNet18, `compute_statistics` of compute_statistics_0-of-2."""
    return re.sub(r"_\d.*$", "", stem)


def run_time(folder) -> pd.DataFrame:
    """Jobs by rule: COLUMNS, times in seconds (sums over the jobs, and the longest one), the largest memory in MB.

    folder: of the benchmark files that are there. A file that cannot be read is left out; of a job too short to be
    watched, Snakemake knows neither memory nor time of the CPU (NaN). Rules that took longest come first.
    """
    rows = []
    for path in sorted(pathlib.Path(folder).glob("*.tsv")):
        if path.stem == "report":
            continue
        try:
            found = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
            found = found[["s", "cpu_time", "max_rss"]].apply(pd.to_numeric, errors="coerce")
        except (OSError, ValueError, KeyError):
            continue
        rows += [(rule_of(path.stem), *numbers) for numbers in found.itertuples(index=False)]
    jobs = pd.DataFrame(rows, columns=["rule", "wall", "cpu", "rss"])
    jobs = jobs[jobs["wall"].notna()]
    if jobs.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    grouped = jobs.groupby("rule")
    table = pd.DataFrame(
        {
            "jobs": grouped.size(),
            "wall_s": grouped["wall"].sum(),
            "longest_s": grouped["wall"].max(),
            "cpu_s": grouped["cpu"].sum(min_count=1),
            "max_rss_mb": grouped["rss"].max(),
        }
    )
    return table.reset_index().sort_values(["wall_s", "rule"], ascending=[False, True], ignore_index=True)


def duration(seconds) -> str:
    """A time as people say it."""
    if pd.isna(seconds):
        return "–"
    if seconds < 99.5:
        return f"{seconds:.1f}\u00a0s" if seconds < 9.95 else f"{seconds:.0f}\u00a0s"
    minutes = seconds / 60
    return f"{minutes:.1f}\u00a0min" if minutes < 99.5 else f"{minutes / 60:.1f}\u00a0h"


def memory(megabytes) -> str:
    """A memory in MB or GB."""
    if pd.isna(megabytes):
        return "–"
    return f"{megabytes:.0f}\u00a0MB" if megabytes < 1000 else f"{megabytes / 1000:.1f}\u00a0GB"


def run_time_figure(figures, table: pd.DataFrame):
    """Bars of time and of memory by rule, longest first."""
    figure, (time, rss) = plt.subplots(
        1, 2, figsize=(7.2, 0.8 + 0.24 * len(table)), sharey=True, width_ratios=(1.4, 1), layout="constrained"
    )
    rows = range(len(table))
    time.barh(rows, table["wall_s"], height=0.62, color=ACCENT, label="wall")
    time.plot(table["cpu_s"], rows, color=SECOND, marker="|", ms=9, mew=2, ls="", label="CPU")
    rss.barh(rows, table["max_rss_mb"].fillna(0), height=0.62, color=MUTED)
    time.set_yticks(rows, table["rule"])
    time.invert_yaxis()
    time.set_xlabel("seconds, all jobs of the rule")
    rss.set_xlabel("largest memory (MB)")
    for axes in (time, rss):
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    time.legend(loc="lower right")
    return figures.save("run_time", figure, table, "Time and memory of the rules")


def run_time_page(figures, folder) -> dict | None:
    """What the page shows of the run time; None where there are no benchmark files."""
    table = run_time(folder)
    if table.empty:
        return None
    seconds = dict.fromkeys(("wall_s", "longest_s", "cpu_s"), duration)
    return {
        "rows": shown(table, rule=None, jobs=count, **seconds, max_rss_mb=memory),
        "total": duration(table["wall_s"].sum()),
        "jobs": count(table["jobs"].sum()),
        "most": memory(table["max_rss_mb"].max()),
        "drawing": run_time_figure(figures, table),
    }

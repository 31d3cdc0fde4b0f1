"""The page of the target `benchmark`: seconds by CpGs and samples, and peers beside us."""

import matplotlib
import matplotlib.pyplot as plt

from cpgtaxa.files import atomic, atomic_folder
from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, INK, SECOND, STYLE, Figures
from cpgtaxa.pages.page import write_page
from cpgtaxa.targets.benchmark.stages import LIMIT, STAGES, over_limits, ratios
from cpgtaxa.wording import measured, shown, times

MARKS = {
    "ingest": (ACCENT, "o-"),
    "statistics": (SECOND, "s--"),
    "images": (COLOURS["TriNonAge"], "^:"),
    "normalisation": (COLOURS["Outlier"], "v-."),
    "training": (COLOURS["BiAge"], "D-"),
    "prediction": (COLOURS["LinAgeHomo"], "P--"),
}
"""Colour, mark and line of each stage."""


def draw(table, n_samples: int):
    """Cost against CpGs, samples and cores, on logarithmic axes, and how many times slower each peer is."""
    figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
    axes = axes.ravel()
    own = table[table["implementation"] == "cpgtaxa"]
    all_cores = own["cores"].max()
    for stage in STAGES:
        colour, mark = MARKS[stage]
        rows = own[(own["stage"] == stage) & (own["cores"] == all_cores)]
        grown = rows[rows["n_samples"] == n_samples].sort_values("n_cpgs")
        fewest = rows["n_cpgs"].min()
        wider = rows[rows["n_cpgs"] == fewest].sort_values("n_samples")
        if len(grown) > 1:
            axes[0].loglog(grown["n_cpgs"], grown["seconds"], mark, color=colour, label=stage)
            axes[1].loglog(wider["n_samples"], 1e6 * wider["seconds"] / fewest, mark, color=colour, label=stage)
        fewer = own[(own["stage"] == stage) & (own["cores"] < all_cores)]
        if len(fewer):
            same = own[(own["stage"] == stage) & (own["n_samples"] == n_samples)]
            same = same[same["n_cpgs"] == fewer["n_cpgs"].iloc[0]].sort_values("cores")
            axes[2].loglog(same["cores"], 1e6 * same["seconds"] / same["n_cpgs"], mark, color=colour, label=stage)
    axes[0].set(xlabel=f"CpGs ({n_samples:,} samples)", ylabel="seconds", title="Cost against CpGs")
    axes[1].set(xlabel="samples", ylabel="µs per CpG", title="Cost against samples")
    axes[2].set(xlabel="cores", ylabel="µs per CpG or image", title="Cost against cores")
    axes[2].set_xticks(sorted(own["cores"].unique()))
    axes[2].margins(y=0.3)
    for axis in axes[:3]:
        axis.grid()
        if axis.get_legend_handles_labels()[0]:
            axis.legend(ncols=3, loc="upper center")
    for axis in axes[:2]:
        axis.margins(y=0.15)
    bars = ratios(table)
    axes[3].barh([f"{stage}: {peer}" for stage, peer, _, _ in bars], [ratio for *_, ratio in bars], color=ACCENT)
    axes[3].set_xscale("log")
    axes[3].axvline(1, color=INK, linewidth=1)
    axes[3].invert_yaxis()
    axes[3].set(xlabel="times as long as cpgtaxa, per CpG", title=f"Peers ({n_samples:,} samples)")
    for place, (*_, ratio) in enumerate(bars):
        axes[3].text(ratio, place, f" {times(ratio)}", va="center")
    axes[3].margins(x=0.35)
    # Powers as numbers: formulas are not read in our texts.
    for axis in (*(axis for some in axes[:3] for axis in (some.xaxis, some.yaxis)), axes[3].xaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
        axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    return figure


def page(table, outputs: dict, n_samples: int) -> None:
    """Write plot (PNG), figures (SVG, PDF, CSV) and page. table: stage, implementation, n_cpgs, n_samples, cores,
    seconds, peak_mb."""
    with atomic_folder(outputs["figures"]) as partial, matplotlib.rc_context(STYLE):
        figure = draw(table, n_samples)
        with atomic(outputs["plot"]) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        drawn = Figures(partial).save("benchmark", figure, table, "Seconds by CpGs, samples and cores, and peers")
    counts = dict.fromkeys(("n_cpgs", "n_samples", "cores", "peak_mb"), "{:,.0f}".format)
    each = table.assign(each=1e6 * table["seconds"] / table["n_cpgs"])
    rows = shown(each, stage=None, implementation=None, **counts, seconds=measured, each=measured)
    peers = [{"stage": stage, "peer": peer, "times": times(ratio)} for stage, peer, _, ratio in ratios(table)]
    limits = [{"stage": stage, "what": what, "times": times(ratio)} for stage, what, ratio in over_limits(table)]
    found = [ratio for *_, ratio in ratios(table)]
    bounds = {"least": times(min(found)), "most": times(max(found))} if found else {"least": None, "most": None}
    state = {"rows": rows, "limit": LIMIT, "limits": limits, "peers": peers, "drawn": drawn, "n": n_samples}
    write_page(outputs["html"], "benchmark.html.j2", state | bounds)

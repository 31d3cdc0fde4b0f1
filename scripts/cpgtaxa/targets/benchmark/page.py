"""The page of the target `benchmark`: seconds by CpGs and samples, and peers beside us."""

import matplotlib
import matplotlib.pyplot as plt

from cpgtaxa.files import atomic, atomic_folder
from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, INK, SECOND, STYLE, Figures
from cpgtaxa.pages.page import write_page
from cpgtaxa.targets.benchmark.stages import ratios
from cpgtaxa.wording import measured, shown, times

MARKS = {"ingest": (ACCENT, "o-"), "statistics": (SECOND, "s--"), "images": (COLOURS["TriNonAge"], "^:")}
"""Colour, mark and line of each stage."""


def draw(table, n_samples: int):
    """Cost against CpGs and against samples, on logarithmic axes, and how many times slower each peer is."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    own = table[table["implementation"] == "cpgtaxa"]
    for stage, (colour, mark) in MARKS.items():
        rows = own[own["stage"] == stage]
        grown = rows[rows["n_samples"] == n_samples].sort_values("n_cpgs")
        axes[0].loglog(grown["n_cpgs"], grown["seconds"], mark, color=colour, label=stage)
        fewest = rows["n_cpgs"].min()
        wider = rows[rows["n_cpgs"] == fewest].sort_values("n_samples")
        axes[1].loglog(wider["n_samples"], 1e6 * wider["seconds"] / fewest, mark, color=colour, label=stage)
    axes[0].set(xlabel=f"CpGs ({n_samples:,} samples)", ylabel="seconds", title="Cost against CpGs")
    axes[1].set(xlabel="samples", ylabel="µs per CpG", title="Cost against samples")
    for axis in axes[:2]:
        axis.grid()
        axis.legend()
    bars = ratios(table)
    axes[2].barh([f"{stage}: {peer}" for stage, peer, _, _ in bars], [ratio for *_, ratio in bars], color=ACCENT)
    axes[2].set_xscale("log")
    axes[2].axvline(1, color=INK, linewidth=1)
    axes[2].invert_yaxis()
    axes[2].set(xlabel="times as long as cpgtaxa, per CpG", title=f"Peers ({n_samples:,} samples)")
    for place, (*_, ratio) in enumerate(bars):
        axes[2].text(ratio, place, f" {times(ratio)}", va="center")
    axes[2].margins(x=0.35)
    # Powers as numbers: formulas are not read in our texts.
    for axis in (axes[0].xaxis, axes[0].yaxis, axes[1].xaxis, axes[1].yaxis, axes[2].xaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
        axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    return figure


def page(table, outputs: dict, n_samples: int) -> None:
    """Write plot (PNG), figures (SVG, PDF, CSV) and page. table: stage, implementation, n_cpgs, n_samples, seconds,
    peak_mb."""
    with atomic_folder(outputs["figures"]) as partial, matplotlib.rc_context(STYLE):
        figure = draw(table, n_samples)
        with atomic(outputs["plot"]) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        drawn = Figures(partial).save("benchmark", figure, table, "Seconds by CpGs and samples, and peers")
    counts = dict.fromkeys(("n_cpgs", "n_samples", "peak_mb"), "{:,.0f}".format)
    each = table.assign(each=1e6 * table["seconds"] / table["n_cpgs"])
    rows = shown(each, stage=None, implementation=None, **counts, seconds=measured, each=measured)
    peers = [{"stage": stage, "peer": peer, "times": times(ratio)} for stage, peer, _, ratio in ratios(table)]
    found = [ratio for *_, ratio in ratios(table)]
    bounds = {"least": times(min(found)), "most": times(max(found))} if found else {"least": None, "most": None}
    write_page(
        outputs["html"], "benchmark.html.j2", {"rows": rows, "peers": peers, "drawn": drawn, "n": n_samples} | bounds
    )

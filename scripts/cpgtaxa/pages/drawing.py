"""How figures look: colours, fonts, and SVG that follows the page's light or dark scheme and is the same every time."""

import contextlib
import functools
import html
import io
import logging
import pathlib
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from cpgtaxa.files import atomic_folder
from cpgtaxa.names import COLOURS, SYMBOLS

# Of every font that a PDF holds a part of, fontTools logs what it left out.
logging.getLogger("fontTools").setLevel(logging.WARNING)

# Colours of the figures that follow the page's light or dark scheme: in the files as they stand, in the page as CSS.
INK, MUTED, LINE, ACCENT, ON_ACCENT, SECOND, PAPER, HALO = (
    "#1c2024",
    "#68707a",
    "#d5d9de",
    "#2b6a99",
    "#fefefe",
    "#c2571a",
    "#fffffe",
    "#fffffd",
)
_CSS = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", ACCENT: "var(--accent)"}
_CSS |= {ON_ACCENT: "var(--on-accent)", SECOND: "var(--second)", PAPER: "none", HALO: "var(--page)"}
_CSS |= {colour.lower(): f"var(--c-{taxon})" for taxon, colour in COLOURS.items()}

_MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "triangle-down": "v",
    "diamond": "D",
    "x": "X",
    "star": "*",
    "pentagon": "p",
    "cross": "P",
    "hexagon": "h",
    "circle-open": "o",
}
MARKERS = {taxon: _MARKERS[symbol] for taxon, symbol in SYMBOLS.items()}
"""Each taxon's shape, by matplotlib's names; that of Unclassified is drawn hollow."""

CELLS = 400
"""Cells of a grid, in either direction, of which a figure draws one point each: to the eye the same picture."""
LEAST_P = 1e-320
"""Where logarithms of p-values end: doubles hold nothing smaller."""
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def svg_text(figure, name: str) -> str:
    """The figure as SVG text; ids inside it depend on `name` alone, and there is no date."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.04, metadata={"Date": None})
    return buffer.getvalue()


def inline(text: str, title: str) -> str:
    """SVG text of a file as an element for a page, in the page's colours; `title` is read to the blind."""
    found = text[text.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.S)
    found = re.sub(r'<g id="[^"]*">', "<g>", found)
    found = re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda match: _CSS.get(match.group(), match.group()), found)
    found = re.sub(r"\n\s*", "\n", found)
    return found.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)


def save_pdf(figure, path) -> None:
    """The figure as PDF, its text as TrueType, which journals take and programs can edit; the same bytes every time."""
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(path, format="pdf", bbox_inches="tight", pad_inches=0.04, metadata={"CreationDate": None})


@functools.cache
def _drawing():
    import markupsafe  # comes with jinja2, which not every rule that draws has

    class Drawing(markupsafe.Markup):
        """Markup of a figure; `links`: what its files hold and their paths beside the page, for the macro `figure`."""

    return Drawing


class Figures:
    """Collects the figures: each as SVG, PDF and CSV in a folder, and as markup for the page."""

    def __init__(self, folder, beside="figures"):
        """folder: where files are written, as long as the page is not whole; beside: the folder's name for the page."""
        self.folder, self.beside = pathlib.Path(folder), beside

    def save(self, name: str, figure, data, title: str):
        """Write `<name>.svg`, `.pdf` and `.csv`; return the drawing as an inline element in the page's colours."""
        text = svg_text(figure, name)
        save_pdf(figure, self.folder / f"{name}.pdf")
        plt.close(figure)
        return self.add(name, text, data, title)

    def add(self, name: str, text: str, data, title: str):
        """As `save`, for a drawing that is SVG text already and whose PDF lies elsewhere. data: a data frame."""
        (self.folder / f"{name}.svg").write_text(text, encoding="utf-8")
        data.to_csv(self.folder / f"{name}.csv", index=False, float_format="%.6g")
        drawing = _drawing()(inline(text, title))
        kinds = [kind for kind in ("svg", "pdf", "csv") if (self.folder / f"{name}.{kind}").exists()]
        drawing.links = [(kind.upper(), f"{self.beside}/{name}.{kind}") for kind in kinds]
        drawing.name = name
        return drawing


@contextlib.contextmanager
def figures_in(folder):
    """Yield the `Figures` of a folder, in STYLE; the folder takes its name once all are drawn."""
    with atomic_folder(folder) as partial, matplotlib.rc_context(STYLE):
        yield Figures(partial)


def minus_log(p) -> np.ndarray:
    """−log10 of p-values, (k,) float64."""
    return -np.log10(np.maximum(np.asarray(p, dtype=float), LEAST_P))


def thinned(table: pd.DataFrame, x: str, y: str, group: str | None = None) -> pd.DataFrame:
    """The rows of a table that a figure of x and y draws: one of each cell of a grid (and of each group), in order."""
    codes = []
    for name in (x, y):
        values = table[name].to_numpy(dtype=float)
        low, span = np.nanmin(values), max(np.ptp(values), 1e-300)
        codes.append(np.minimum((values - low) / span * CELLS, CELLS - 1).astype(np.int64))
    cells = pd.DataFrame({"x": codes[0], "y": codes[1]})
    if group:
        cells[group] = table[group].to_numpy()
    return table[~cells.duplicated().to_numpy()].reset_index(drop=True)


def named_rows(axes, names, margin: float = 0.5) -> None:
    """One row for each name, from above; values lie across. margin: rows' room above the first and below the last."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 1 + margin, -margin)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def interval_row(axes, row: float, value: float, ends, colour) -> None:
    """A value, as a diamond, and its interval, a line, in a row."""
    axes.plot(ends, [row, row], color=colour, lw=2)
    axes.plot([value], [row], "D", ms=5.5, color=colour)


def spread(n: int, width: float) -> np.ndarray:
    """How far each of n points is moved aside, (n,), so that they hide each other little: ± width / 2, never random."""
    return width * ((np.arange(n) * 0.618034) % 1 - 0.5)


def legend_above(axes, columns: int, **how) -> None:
    """The legend in one line or a few, above the axes on the left."""
    axes.legend(**{"ncols": columns, "loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2} | how)


def counts_grid(axes, matrix, rows, columns, xlabel: str, ylabel: str, shares: bool = False) -> None:
    """A table of counts, (rows, columns), as a grid; the shade of a cell is its share of the row.

    shares: write that share beneath the count.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for i, j in np.argwhere(matrix):
        axes.add_patch(Rectangle((j, i), 1, 1, color=ACCENT, alpha=round(0.06 + 0.94 * share[i, j], 3), lw=0))
        text = f"{int(matrix[i, j]):,}"
        colour = ON_ACCENT if share[i, j] > 0.55 else INK
        size = 8.5 if len(text) < 5 else 6.5
        axes.text(j + 0.5, i + (0.36 if shares else 0.5), text, ha="center", va="center", color=colour, fontsize=size)
        if shares:
            text = f"{100 * share[i, j]:.0f} %" if share[i, j] >= 0.005 else "< 1 %"
            axes.text(j + 0.5, i + 0.72, text, ha="center", va="center", color=colour, fontsize=6.5)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0), xlabel=xlabel, ylabel=ylabel)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_xticks(range(len(columns) + 1), minor=True)
    axes.set_yticks(range(len(rows) + 1), minor=True)
    axes.grid(which="minor")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)

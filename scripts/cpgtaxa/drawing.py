"""How figures look: colours, fonts, and SVG that follows the page's light or dark scheme and is the same every time."""

import html
import io
import pathlib
import re

import matplotlib
import matplotlib.pyplot as plt

from cpgtaxa.names import COLOURS

# Colours of the figures that follow the page's light or dark scheme: in the files as they stand, in the page as CSS.
INK, MUTED, LINE, ACCENT, ON_ACCENT, SECOND, PAPER, HALO = (
    *("#1c2024", "#68707a", "#d5d9de", "#2b6a99", "#fefefe", "#c2571a", "#fffffe", "#fffffd"),
)
_CSS = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", ACCENT: "var(--accent)"}
_CSS |= {ON_ACCENT: "var(--on-accent)", SECOND: "var(--second)", PAPER: "none", HALO: "var(--page)"}
_CSS |= {colour.lower(): f"var(--c-{taxon})" for taxon, colour in COLOURS.items()}

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
    """The figure as SVG text; ids inside it hang on `name` alone, and there is no date."""
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


class Figures:
    """Collects the figures: each as SVG and CSV in a folder, and as markup for the page."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def save(self, name: str, figure, data, title: str):
        """Write `<name>.svg` and `<name>.csv`; return the drawing as an inline element in the page's colours."""
        text = svg_text(figure, name)
        plt.close(figure)
        return self.add(name, text, data, title)

    def add(self, name: str, text: str, data, title: str):
        """As `save`, for a drawing that is SVG text already. data: a data frame."""
        import markupsafe  # comes with jinja2, which not every rule that draws has

        (self.folder / f"{name}.svg").write_text(text, encoding="utf-8")
        data.to_csv(self.folder / f"{name}.csv", index=False, float_format="%.6g")
        return markupsafe.Markup(inline(text, title))

"""Makes docs/images/ten_taxa.png, the ten taxa in one picture, from those of resources/guide.

.venv/bin/python docs/make_pictures.py
"""

import pathlib
import sys

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa.names import TAXA  # noqa: E402

PICTURE = ROOT / "docs/images/ten_taxa.png"
COLUMNS, WIDTH = 5, 330
PART = (0.0, 0.0, 0.69, 0.885)
"""What is taken of a picture: the scatterplot without the network's input and without the line of numbers."""


def ten_taxa() -> Image.Image:
    """The scatterplots of the ten taxa, in two rows."""
    panels = []
    for taxon in TAXA:
        picture = Image.open(ROOT / f"resources/guide/taxon_{taxon}.png").convert("RGB")
        box = [round(share * size) for share, size in zip(PART, picture.size * 2, strict=True)]
        panel = picture.crop(box)
        panels.append(panel.resize((WIDTH, round(panel.height * WIDTH / panel.width)), Image.Resampling.LANCZOS))
    height = panels[0].height
    whole = Image.new("RGB", (COLUMNS * WIDTH, -(-len(panels) // COLUMNS) * height), "white")
    for place, panel in enumerate(panels):
        whole.paste(panel, (place % COLUMNS * WIDTH, place // COLUMNS * height))
    return whole.quantize(200)


if __name__ == "__main__":
    ten_taxa().save(PICTURE, optimize=True)

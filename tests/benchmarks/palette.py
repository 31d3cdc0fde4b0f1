"""Chooses the taxa's colours: `python tests/benchmarks/palette.py` (two minutes on one core; always the same colours).

Published sets of ten have colours too light for a white page or too dark for a black one, and none knows which taxa
are related. So each family of taxa gets a range of hues, and simulated annealing looks, for each page, for the set
whose closest pair is furthest apart (CIEDE2000) to people with normal sight, protanopia, deuteranopia and tritanopia,
where every colour keeps WCAG's contrast of 3 with the page and relatives differ in lightness. It prints what belongs
in names.py, and writes palette.csv: the closest pairs, beside those of the set that was there before (Paul Tol's muted
scheme with near-black and grey; on the dark page its colours mixed with white up to a contrast of 3.5).
"""

import csv
import sys

import numpy as np
from benchmarking import HERE
from colour_vision import VISIONS, ciede2000, contrast, distances, lab, rgb
from cpgtaxa.names import COLOURS, ON_DARK

# Hue (degrees of CIELAB, from, to), chroma (from, to), lightness on the light page and on the dark one.
RANGES = {
    "UniStable": ((265, 305), (30, 75), (20, 50), (45, 70)), "UniUnstable": ((220, 280), (25, 60), (40, 62), (60, 90)),
    "LinAgeHomo": ((10, 40), (35, 68), (40, 62), (60, 85)), "LinAgeHet": ((-5, 30), (30, 65), (22, 50), (43, 70)),
    "NonAgeHet": ((310, 345), (35, 80), (25, 60), (43, 85)), "Outlier": ((0, 360), (0, 4), (5, 20), (90, 97)),
    "TriAge": ((135, 180), (25, 60), (28, 50), (43, 70)), "TriNonAge": ((155, 205), (25, 60), (40, 62), (60, 92)),
    "BiAge": ((55, 95), (35, 75), (25, 50), (43, 70)), "BiNonAge": ((60, 100), (40, 85), (50, 62), (65, 95)),
    "Unclassified": ((0, 360), (0, 3), (50, 62), (50, 70)),
}  # fmt: skip
RELATIVES = (("UniStable", "UniUnstable"), ("LinAgeHet", "LinAgeHomo"), ("TriAge", "TriNonAge"), ("BiAge", "BiNonAge"))
PAGES = {"light": "#fcfcfa", "dark": "#15181c"}
BEFORE = {
    "light": [
        "#332288",
        "#88CCEE",
        "#CC6677",
        "#882255",
        "#AA4499",
        "#222222",
        "#117733",
        "#44AA99",
        "#999933",
        "#DDCC77",
        "#BBBBBB",
    ],
    "dark": [
        "#7165ac",
        "#88ccee",
        "#cc6677",
        "#a85d82",
        "#ae4d9e",
        "#747474",
        "#288447",
        "#44aa99",
        "#999933",
        "#ddcc77",
        "#bbbbbb",
    ],
}
CHAINS, STEPS, LIGHTER = 24, 6000, 14.0

NAMES = list(RANGES)
_FIRST, _SECOND = np.triu_indices(len(NAMES), 1)
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def to_rgb(lch: np.ndarray) -> np.ndarray:
    """CIELAB lightness, chroma, hue (..., 3) as sRGB; outside 0 to 1 where no screen shows it."""
    light, chroma, hue = np.moveaxis(lch, -1, 0)
    y = (light + 16) / 116
    roots = np.stack([y + chroma * np.cos(np.radians(hue)) / 500, y, y - chroma * np.sin(np.radians(hue)) / 200], -1)
    ratio = np.where(roots**3 > 216 / 24389, roots**3, (116 * roots - 16) * 27 / 24389)
    flat = (ratio * _XYZ.sum(1)) @ np.linalg.inv(_XYZ).T
    curved = 1.055 * np.maximum(flat, 0) ** (1 / 2.4) - 0.055
    return np.where(flat <= 0.0031308, 12.92 * flat, curved)


def score(lch: np.ndarray, page: np.ndarray) -> np.ndarray:
    """The closest pair's distance under the worst vision (normal sight must do a third better), less what is broken."""
    colours = to_rgb(lch)
    outside = (np.maximum(colours - 1, 0) + np.maximum(-colours, 0)).sum((-1, -2))
    colours = np.clip(colours, 0, 1)
    found = []
    for vision in VISIONS:
        seen = lab(colours, vision)
        apart = np.sort(ciede2000(seen[..., _FIRST, :], seen[..., _SECOND, :]), -1)
        # The closest pair counts; the next four keep the way open.
        found.append((0.8 * apart[..., 0] + 0.05 * apart[..., 1:5].sum(-1)) / (4 / 3 if vision == "normal" else 1))
    worst, mean = np.min(found, 0), np.mean(found, 0)
    short = np.maximum(3.1 - contrast(colours, page), 0).sum(-1)
    dark, light = ([NAMES.index(pair[side]) for pair in RELATIVES] for side in (0, 1))
    alike = np.maximum(LIGHTER - (lch[..., light, 0] - lch[..., dark, 0]), 0).sum(-1)
    return worst + 0.1 * mean - 40 * outside - 20 * short - 0.5 * alike


def anneal(page: str, hues: np.ndarray | None = None) -> np.ndarray:
    """The best set (11, 3) of sRGB for a page; hues: those of the other page's set, from which 15 degrees are left."""
    random = np.random.default_rng(20240913)
    bounds = np.array(
        [(light if page == "light" else dark, chroma, hue) for hue, chroma, light, dark in RANGES.values()]
    )
    low, high = bounds[..., 0].astype(float), bounds[..., 1].astype(float)
    if hues is not None:
        coloured = high[:, 1] > 10
        low[coloured, 2], high[coloured, 2] = hues[coloured] - 15, hues[coloured] + 15
    ground = rgb(PAGES[page])
    now = random.uniform(low, high, (CHAINS, *low.shape))
    value = score(now, ground)
    best, best_value = now.copy(), value.copy()
    for step in range(STEPS):
        share = 1 - step / STEPS
        taxon = random.integers(0, len(NAMES), CHAINS)
        moved = now.copy()
        shift = random.normal(0, 0.02 + 0.25 * share, (CHAINS, 3)) * (high - low)[taxon]
        moved[np.arange(CHAINS), taxon] = np.clip(now[np.arange(CHAINS), taxon] + shift, low[taxon], high[taxon])
        found = score(moved, ground)
        taken = found - value > np.log(random.uniform(size=CHAINS)) * 1.5 * share**2
        now[taken], value[taken] = moved[taken], found[taken]
        better = value > best_value
        best[better], best_value[better] = now[better], value[better]
    return best[best_value.argmax()]


def write_table(found: dict) -> None:
    """Write palette.csv; found: hex codes by page."""
    with (HERE / "palette.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            ["set", "page", "vision", "closest_pair", "ciede2000", "lowest_contrast", "least_lightness_apart"]
        )
        for label, sets in (("before", BEFORE), ("now", found)):
            for page, codes in sets.items():
                colours = np.array([rgb(code) for code in codes])
                low = contrast(colours, rgb(PAGES[page])).min()
                lightness = dict(zip(NAMES, lab(colours)[:, 0], strict=True))
                apart = min(lightness[light] - lightness[dark] for dark, light in RELATIVES)
                for vision in VISIONS:
                    between = distances(colours, vision)
                    pair = f"{NAMES[_FIRST[between.argmin()]]}, {NAMES[_SECOND[between.argmin()]]}"
                    table.writerow([label, page, vision, pair, f"{between.min():.1f}", f"{low:.2f}", f"{apart:.1f}"])


def main() -> None:
    found, hues = {}, None
    for page in PAGES:
        lch = anneal(page, hues)
        hues = lch[:, 2]
        codes = ["#" + "".join(f"{round(255 * part):02X}" for part in one) for one in np.clip(to_rgb(lch), 0, 1)]
        found[page] = codes
    print("COLOURS = {")
    print("\n".join(f'    "{name}": "{code}",' for name, code in zip(NAMES, found["light"], strict=True)))
    print("}\nON_DARK = {")
    print("\n".join(f'    "{name}": "{code}",' for name, code in zip(NAMES, found["dark"], strict=True)))
    print("}")
    if [list(COLOURS.values()), list(ON_DARK.values())] != [found["light"], found["dark"]]:
        print("names.py has other colours", file=sys.stderr)
    write_table(found)


if __name__ == "__main__":
    main()

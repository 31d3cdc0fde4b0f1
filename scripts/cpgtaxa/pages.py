"""What the pages of all targets are made with: their templates, the taxa's colours, and the tables beside them."""

import pathlib

import jinja2

from cpgtaxa.files import atomic
from cpgtaxa.names import COLOURS


def on_dark(colour: str) -> str:
    """The colour, mixed with white until it stands out from a dark page (WCAG contrast 3.5)."""

    def luminance(rgb):
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
        return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    rgb = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    page = luminance([part / 255 for part in (0x15, 0x18, 0x1C)])
    while (luminance(rgb) + 0.05) / (page + 0.05) < 3.5:
        rgb = [0.95 * part + 0.05 for part in rgb]
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


PALETTE = {taxon: (colour, on_dark(colour)) for taxon, colour in COLOURS.items()}
"""Each taxon's colour on a light and on a dark page; in templates `palette`, with palette.css.j2 --c-<taxon>."""


def environment() -> jinja2.Environment:
    """The templates; text from data is escaped, and a name that a template does not know is an error."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["palette"] = PALETTE
    return found


def write_page(path, template: str, page: dict) -> None:
    """Write a page from a template and what it shows, atomically."""
    html = environment().get_template(template).render(page)
    with atomic(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def write_csv(path, frame, **changes) -> None:
    """Write a data frame as CSV without its index, numbers with six digits, atomically; changes: of pandas' to_csv."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, **({"float_format": "%.6g"} | changes))

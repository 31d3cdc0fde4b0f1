"""What the pages of all targets are made with: their templates, the taxa's colours, and the tables beside them."""

import logging
import pathlib
import re

import jinja2

from cpgtaxa.files import atomic
from cpgtaxa.names import COLOURS, ON_DARK
from cpgtaxa.wording import plural

PALETTE = {taxon: (colour, ON_DARK[taxon]) for taxon, colour in COLOURS.items()}
"""Each taxon's colour on a light and on a dark page; in templates `palette`, with palette.css.j2 --c-<taxon>."""


def environment() -> jinja2.Environment:
    """The templates; text from data is escaped, and a name that a template does not know is an error."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parents[1] / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["palette"] = PALETTE
    found.filters["plural"] = plural
    return found


def reachable(html: str) -> str:
    """The page with every table and drawing that may scroll sideways in the keyboard's reach, named by its heading."""
    heading = ""

    def each(match) -> str:
        nonlocal heading
        if match["heading"] is not None:
            heading = " ".join(re.sub("<[^>]*>", " ", match["heading"]).split()).replace('"', "&quot;")
            return match.group()
        kind = "Table" if match["kind"] == "scroll" else "Figure"
        return f'<div class="{match["kind"]}" tabindex="0" role="group" aria-label="{kind}: {heading}">'

    return re.sub(
        r'<h[1-4][^>]*>(?P<heading>.*?)</h[1-4]>|<div class="(?P<kind>scroll|drawing[^"]*)">', each, html, flags=re.S
    )


def write_page(path, template: str, page: dict, filters: dict | None = None) -> None:
    """Write a page from a template and what it shows, atomically, and log its size; filters: more filters for it."""
    found = environment()
    found.filters |= filters or {}
    html = reachable(found.get_template(template).render(page))
    with atomic(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    logging.info(f"page: {path}, {len(html.encode()) / 1e6:.1f} MB")


def write_csv(path, frame, **changes) -> None:
    """Write a data frame as CSV without its index, numbers with six digits, atomically; changes: of pandas' to_csv."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, **({"float_format": "%.6g"} | changes))


def file_names(paths: dict) -> dict[str, str]:
    """The names of some files, as the page beside them calls them."""
    return {key: pathlib.Path(path).name for key, path in paths.items()}

"""What the pages of all targets are made with: their templates, and the tables beside them."""

import pathlib

import jinja2

from cpgtaxa.files import atomic


def environment() -> jinja2.Environment:
    """The templates; text from data is escaped, and a name that a template does not know is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path, template: str, page: dict) -> None:
    """Write a page from a template and what it shows, atomically."""
    html = environment().get_template(template).render(page)
    with atomic(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def write_csv(path, frame, **changes) -> None:
    """Write a data frame as CSV without its index, numbers with six digits, atomically; changes: of pandas' to_csv."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, **({"float_format": "%.6g"} | changes))

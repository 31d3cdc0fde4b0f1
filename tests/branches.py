"""Which way the conditions of page templates go: a page is checked in every state that its template can say."""

import contextlib
import html
import pathlib
import re

import jinja2
import pytest
from cpgtaxa.pages import drawing
from cpgtaxa.pages.page import environment
from jinja2 import nodes


def watched(environment: jinja2.Environment, name: str) -> tuple[jinja2.Template, dict]:
    """A template that notes how each `if` of it came out, and its notes.

    The notes map (number of the condition, its line of the template) to the set of outcomes so far, True and False.
    """
    source, path, _ = environment.loader.get_source(environment, name)
    tree, seen = environment.parse(source, name, path), {}
    lines = source.splitlines()

    def note(value, number, line):
        seen[number, line].add(bool(value))
        return value

    environment.filters["noted"] = note
    for number, node in enumerate(tree.find_all((nodes.If, nodes.CondExpr))):
        key = number, f"{node.lineno}: {lines[node.lineno - 1].strip()}"
        seen[key] = set()
        node.test = nodes.Filter(
            node.test, "noted", [nodes.Const(part) for part in key], [], None, None, lineno=node.lineno
        )
    code = environment.compile(tree, name, path)
    return environment.template_class.from_code(environment, code, environment.make_globals(None)), seen


def one_way(seen: dict) -> list[str]:
    """The conditions that came out one way only, or never, each with its line."""
    return [
        f"condition {number} was never {missing}, line {line}"
        for (number, line), outcomes in seen.items()
        for missing in {True, False} - outcomes
    ]


class Page:
    """A page that was made of real inputs, to be rendered in other states of its data."""

    def __init__(self, template: str, page: dict, filters: dict | None = None):
        found = environment()
        found.filters |= filters or {}
        self.page = page
        self.template, self.seen = watched(found, template)

    def render(self, **changes) -> str:
        """The page as text without markup.

        Changes: what replaces a value of the page, is put into a dictionary of it, or is called with it.
        """
        page = dict(self.page)
        for name, new in changes.items():
            old = page.get(name)
            if callable(new):
                page[name] = new(old)
            else:
                page[name] = old | new if isinstance(new, dict) and isinstance(old, dict) else new
        text = re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]+>", " ", self.template.render(page), flags=re.S)
        text = html.unescape(re.sub(r"\s+([.,;:)])", r"\1", " ".join(text.split())))
        return text.replace("\u00a0", " ")

    def check(self, changes: dict, said=(), unsaid=()) -> None:
        """Every text of `said` stands on the page in this state, none of `unsaid`, and nothing wrong in any state."""
        text = self.render(**changes)
        missing, untrue = [words for words in said if words not in text], [words for words in unsaid if words in text]
        assert (missing, untrue, WRONG.findall(text)) == ([], [], [])

    def check_ways(self, states) -> None:
        """Every condition of the template comes out both ways, in the page as it was made or in one of the states."""
        for changes in [{}, *(state[0] for state in states)]:
            self.render(**changes)
        left = one_way(self.seen)
        assert not left, "\n".join(left)


THINGS = "CpGs|genes|cells|samples|people|patients|pairs|cohorts|models|folds|sites|records|marks|substitutions"
WRONG = re.compile(
    rf".{{,20}}(?<![\w.,−–+:-])(?<!than )1 (?:{THINGS})\b.{{,20}}"
    r"|.{,20}\b(?:None|nan|inf)\b.{,20}|\(\)"
)
"""What no page says in any state: a plural of one, a missing number as programs write it, brackets without words."""


@contextlib.contextmanager
def kept_from(writer: str):
    """Files of pages, which a module writes by this name of its own, and of figures are left empty; the page is kept.

    Yields what becomes the arguments of a `Page`.
    """
    kept = {}

    def keep(path, template, page, filters=None):
        kept.update(template=template, page=page, filters=filters)
        pathlib.Path(path).touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, keep)
        patch.setattr(drawing, "svg_text", lambda figure, name: "<svg ></svg>")
        yield kept

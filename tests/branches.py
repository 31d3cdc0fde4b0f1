"""Which way the conditions of page templates go: a page is checked in every state that its template can say."""

import jinja2
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

"""Writes the table of targets in docs/targets/README.md; with --list, prints what `make help` says of them.

    .venv/bin/python docs/make_targets.py

A target is a rule whose docstring has a question and, a line each, `Needs:`, `Time:` (where it was measured) and
`Output:`; `snakemake --list-target-rules` shows it as well. Standard library only: `make help` needs no environment.
"""

import dataclasses
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/targets/README.md"
BEGIN, END = "<!-- targets: made by docs/make_targets.py -->\n", "<!-- end of targets -->"
RULE = re.compile(r'^ *rule (\w+):\n +"""(.+?)"""', re.MULTILINE | re.DOTALL)
FIRST = ("all", "explorer", "explain", "compare", "summarise", "pool", "export")
"""What most ask for; the others follow in the order of the rule files."""


@dataclasses.dataclass
class Target:
    """A rule's name and its docstring, cut up. time: empty where it was not measured."""

    name: str
    question: str
    needs: str
    output: str
    time: str = ""

    @property
    def outputs(self) -> list[str]:
        return self.output.split(", ")

    @property
    def label(self) -> str:
        return "main job" if self.name == "all" else self.name

    @property
    def link(self) -> str:
        """Its page, or its section of the page about biology."""
        page = f"{self.label.replace(' ', '_')}.md"
        return page if (PAGE.parent / page).is_file() else f"biology.md#{self.name}"


def targets() -> list[Target]:
    """All targets, those of FIRST first. Raises ValueError for a docstring without one of its parts."""
    found = []
    files = [ROOT / "workflow/Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
    for name, text in (hit for path in files for hit in RULE.findall(path.read_text(encoding="utf-8"))):
        question, *lines = [line.strip() for line in text.strip().splitlines()]
        given = dict(line.split(": ", 1) for line in lines)
        try:
            found.append(Target(name, question, **{key.lower(): value for key, value in given.items()}))
        except TypeError as error:
            raise ValueError(f"the docstring of rule {name} is no target's: {error}") from error
    return sorted(found, key=lambda target: FIRST.index(target.name) if target.name in FIRST else len(FIRST))


def table() -> str:
    """The targets as a table in Markdown."""
    lines = ["| target | question | needs | time, where measured | main output |", "|---|---|---|---|---|"]
    for one in targets():
        output = ", ".join(f"`{path}`" for path in one.outputs)
        lines.append(f"| [{one.label}]({one.link}) | {one.question} | {one.needs} | {one.time} | {output} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with its table made anew."""
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


def listing() -> str:
    """One line for each target, for the terminal."""
    width = max(len(one.name) for one in targets())
    lines = []
    for one in targets():
        time = f"; {one.time}" if one.time else ""
        lines.append(f"  {one.name.ljust(width)}  {one.question} Needs {one.needs}{time} → {one.output}")
    return "\n".join(lines).replace("`", "")


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print(listing())
    else:
        PAGE.write_text(page(), encoding="utf-8")

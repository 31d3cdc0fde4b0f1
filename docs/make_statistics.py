"""Writes docs/statistics.md, the columns of results/statistics/statistics.parquet.

    .venv/bin/python docs/make_statistics.py

Their meanings are those of `cpgtaxa.statistics.kernel.DESCRIPTION`, which is read without importing the module.
"""

import ast
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/statistics.md"
SOURCE = ROOT / "scripts/cpgtaxa/statistics/kernel.py"

HEAD = """# Columns of the statistics

<!-- Made by docs/make_statistics.py from scripts/cpgtaxa/statistics/kernel.py: edit that. -->

`results/statistics/statistics.parquet` has one row per CpG, in the cohort's order: `cpg` and these columns. Changes and
spreads are in units of beta, ages in years. Columns that begin with `core_` leave the outliers out; `two_` and `three_`
are of two and three bands, each with its own line on age.

| column | meaning |
|---|---|
"""


def descriptions() -> dict[str, str]:
    """The meaning of each column."""
    for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DESCRIPTION":
            return ast.literal_eval(node.value)
    raise SystemExit(f"{SOURCE} has no DESCRIPTION")


def page() -> str:
    """The text of docs/statistics.md."""
    rows = [f"| `{name}` | {text.replace('|', chr(92) + '|')} |\n" for name, text in descriptions().items()]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

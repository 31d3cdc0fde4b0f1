"""Writes docs/statistics.md: the columns of the statistics, of results/patterns.parquet and results/cell_types.parquet.

    .venv/bin/python docs/make_statistics.py

Their meanings are those of DESCRIPTION in `SOURCES`, which is read without importing the modules.
"""

import ast
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/statistics.md"
SOURCES = (
    ROOT / "scripts/cpgtaxa/statistics/kernel.py",
    ROOT / "scripts/cpgtaxa/patterns/columns.py",
    ROOT / "scripts/cpgtaxa/statistics/cell_types.py",
)

HEAD = """# Columns of the statistics

<!-- Made by docs/make_statistics.py from DESCRIPTION in scripts/cpgtaxa/statistics/kernel.py, patterns/columns.py
and statistics/cell_types.py. -->

`results/statistics/statistics.parquet` has one row per CpG, in the cohort's order: `cpg` and these columns. Changes and
spreads are in units of beta, ages in years. Columns that begin with `core_` leave the outliers out; `two_` and `three_`
are of two and three bands, each with its own line on age.

| column | meaning |
|---|---|
"""

PATTERNS = """
## Columns of the patterns

`results/patterns.parquet` and `.csv.gz` have one row per CpG, in the same order. The taxa do not depend on them.

| column | meaning |
|---|---|
"""

CELL_TYPES = """
## Columns of the cell types

`results/cell_types.parquet` and `.csv.gz` of the target [cell_types](targets/cell_types.md) have a row for each CpG and
cell type.

| column | meaning |
|---|---|
"""


def descriptions(source) -> dict[str, str]:
    """The meaning of each column."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DESCRIPTION":
            return ast.literal_eval(node.value)
    raise SystemExit(f"{source} has no DESCRIPTION")


def page() -> str:
    """The text of docs/statistics.md."""
    parts = []
    for head, source in zip((HEAD, PATTERNS, CELL_TYPES), SOURCES, strict=True):
        rows = [f"| `{name}` | {text.replace('|', chr(92) + '|')} |\n" for name, text in descriptions(source).items()]
        parts += [head, *rows]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

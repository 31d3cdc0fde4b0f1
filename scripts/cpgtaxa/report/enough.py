"""Are ten taxa needed, and enough? What the page shows of the rule `embedding`."""

import pathlib
import shutil

import pandas as pd

from cpgtaxa.embedding.clusters import CANDIDATE, ISOLATED, MEANINGS, STABLE, nearest
from cpgtaxa.files import read_json
from cpgtaxa.images.render import png_text, render
from cpgtaxa.report.words import percent
from cpgtaxa.wording import count, decimal, shown


def _stands_out(text) -> str:
    """What stands out, in words: `text` is that of the clusters' table."""
    pairs = [item.rsplit(" ", 1) for item in str(text).split("; ") if " " in item]
    return ", ".join(f"{MEANINGS.get(column, column)} {z.replace('-', '−')}" for column, z in pairs)


def _cluster_rows(found: pd.DataFrame, cohort, ages) -> list[dict]:
    columns = [name for name in found if name.startswith("example_")]
    examples = [[cpg for cpg in row if cpg] for row in found[columns].to_numpy()]
    every = [cpg for names in examples for cpg in names]
    codes = iter(render(cohort.take(cohort.find(every)), ages) if every else ())
    rows = []
    for row, names in zip(found.itertuples(), examples, strict=True):
        rows.append(
            {
                "number": row.cluster,
                "name": row.name,
                "n": count(row.n),
                "candidate": row.name == CANDIDATE,
                "stability": decimal(row.stability, 2),
                "isolation": decimal(row.isolation, 2),
                "likely": [(row.taxon_a, percent(row.p_a, 0)), (row.taxon_b, percent(row.p_b, 0))],
                "nearest": row.nearest_known,
                "stands_out": _stands_out(row.stands_out),
                "cards": [{"cpg": cpg, "png": png_text(next(codes))} for cpg in names],
            }
        )
    return rows


def embedding_page(inputs, figures, cohort, ages) -> dict:
    """What the page shows of the rule `embedding`'s files."""
    pairs = pd.read_csv(inputs.separability)
    numbers = ("cluster", "n", "stability", "isolation", "p_a", "p_b")
    found = pd.read_csv(inputs.clusters, dtype=str, keep_default_na=False)
    found = found.assign(**{name: pd.to_numeric(found[name]) for name in numbers})
    drawn = pathlib.Path(inputs.map_drawn).read_text(encoding="utf-8")
    points = pd.read_csv(inputs.map, dtype={"cpg": str, "cluster": "Int64"}, keep_default_na=False, na_values=[""])
    summary = read_json(inputs.embedding)
    shutil.copyfile(inputs.map_pdf, figures.folder / "map.pdf")
    return {key: count(value) if type(value) is int else value for key, value in summary.items()} | {
        "candidates": summary["candidates"],
        "stable": STABLE,
        "isolated": ISOLATED,
        "map": figures.add("map", drawn, points, "Map of the CpGs as the network sees them"),
        "taxa": shown(
            nearest(pairs), taxon=None, n=count, nearest=None, verdict=None, balanced_accuracy=percent, low=percent
        ),
        "clusters": _cluster_rows(found, cohort, ages),
    }

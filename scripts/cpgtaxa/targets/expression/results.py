"""The fits of all models, scored and compared, and the tables on them.

Rows are in the order of the genes, however many shards they were fitted in.
"""

import dataclasses
import functools
import io
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cpgtaxa.errors import InputError
from cpgtaxa.files import atomic, gzipped, read_parquet
from cpgtaxa.pages.page import write_csv
from cpgtaxa.pages.tables import estimate, value_and_ends
from cpgtaxa.targets.expression.attributions import ABOVE, write_attributions
from cpgtaxa.targets.expression.scores import (
    FEWEST,
    FIRST,
    LEAKY,
    METRICS,
    compare,
    held_out,
    score,
    summarise,
    summarise_taxa,
    wide_table,
)
from cpgtaxa.targets.expression.study import TAXA_COLUMNS, Study
from cpgtaxa.targets.expression.truth import read_truth, truth_rows


def by_pair(paths) -> dict[tuple[str, str], list]:
    """The files of each model and window, by the name of their folder."""
    found: dict[tuple[str, str], list] = {}
    for path in paths:
        model, window = pathlib.Path(path).parent.name.rsplit("_", 1)
        found.setdefault((model, window), []).append(path)
    return found


def in_order(pairs) -> list[tuple[str, str]]:
    """Models and windows, the windows as they come, widest first; of a window FIRST to begin with, LEAKY at the end."""
    windows = list(dict.fromkeys(window for _, window in pairs))
    return sorted(map(tuple, pairs), key=lambda pair: (windows.index(pair[1]), pair[0] == LEAKY, pair[0] != FIRST))


def score_all(study: Study, fits: dict, pairs) -> pd.DataFrame:
    """`scores.score` of all fits, model by model, genes in their order. Raises InputError where nothing can be scored.

    Only one file's predictions are in memory at a time.
    """
    order = {gene: row for row, gene in enumerate(study.genes["gene"])}
    parts = []
    for model, window in pairs:
        found = []
        for path in fits[model, window]:
            fitted = read_parquet(path, columns=["gene", "n_cpgs", "prediction", "epochs", "seconds"])
            if len(fitted):
                found.append(score(study, fitted.assign(model=model, window=window)))
        if found:
            part = pd.concat(found, ignore_index=True)
            if len(part):
                parts.append(part.iloc[np.argsort(part["gene"].map(order).to_numpy(), kind="stable")])
    if not parts or parts[0]["window"].iloc[0] != pairs[0][1]:
        raise InputError(
            f"expression: {int(study.trained.sum())} samples to train on are too few to score a model: "
            f"bring at least {FEWEST}"
        )
    return pd.concat(parts, ignore_index=True)


def sample_columns(samples: pd.DataFrame) -> list[str]:
    """A column name for each sample: its id, behind its set (`other:ID`) where the name is taken."""
    taken, names = {"gene", "model"}, []
    for name, which in zip(samples["sample_id"], samples["set"], strict=True):
        while name in taken:
            name = f"{which}:{name}"
        taken.add(name)
        names.append(name)
    return names


def write_predictions(out, study: Study, fits: dict, models, window: str, wanted) -> dict[str, np.ndarray]:
    """Write what the models predict in one window, model by model, genes in their order.

    out: Parquet with gene, model, and a float32 column per sample (see `sample_columns`), in units of expression, null
    where no fold's model may say. Returns the first model's predictions, (n,), of the genes `wanted`.
    """
    names = sample_columns(study.samples)
    fields = [("gene", pa.string()), ("model", pa.string()), *((name, pa.float32()) for name in names)]
    schema = pa.schema(fields, metadata={"window": window})
    order = {gene: row for row, gene in enumerate(study.genes["gene"])}
    kept = {}
    with atomic(out) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
        for model in models:
            genes, values = [], []
            for path in fits[model, window]:
                table = read_parquet(path, columns=["gene", "prediction"])
                genes += list(table["gene"])
                values += [np.asarray(one, dtype=np.float32) for one in table["prediction"]]
            if not genes:
                continue
            if model == models[0]:
                kept = {gene: one for gene, one in zip(genes, values, strict=True) if gene in wanted}
            rows = np.argsort([order[gene] for gene in genes])
            matrix = np.stack([values[row] for row in rows])
            columns = [pa.array([genes[row] for row in rows]), pa.array([model] * len(rows))]
            columns += [pa.array(one, from_pandas=True) for one in matrix.T]
            writer.write_table(pa.table(columns, schema=schema))
    return kept


def model_rows(summary: pd.DataFrame, wide: pd.DataFrame) -> list[dict]:
    """What the page shows of each model, best first, the leaky one last."""
    numbers = summary.set_index(["model", "metric"])
    value = numbers["value"]
    order = sorted(wide, key=lambda model: (model == LEAKY, -np.nan_to_num(value[model, "r2"], nan=-np.inf)))
    rows = []
    for model in order:
        row = {"model": model, "leaky": model == LEAKY, "n": f"{numbers.loc[(model, 'r2'), 'n']:,}"}
        for metric in METRICS:
            row |= estimate(metric, *value_and_ends(numbers, model, metric))
        row["above"] = [f"{int((wide[model] > level).sum()):,}" for level in ABOVE]
        row["mean"] = value[model, "r2"]
        rows.append(row)
    return rows


def choose_examples(scores: pd.DataFrame, model: str, number: int) -> list[str]:
    """The genes that `model` predicts best, best first."""
    some = scores[held_out(scores) & (scores["model"] == model)].dropna(subset=["r2"])
    return list(some.sort_values("r2", ascending=False, kind="stable")["gene"][:number])


def _write_packed(path, frame: pd.DataFrame) -> None:
    """CSV in gzip."""
    with gzipped(path) as packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
        frame.to_csv(text, index=False, float_format="%.6g")


@dataclasses.dataclass
class Results:
    """What the page is about, scored. models: of the widest window. attributions: see `write_attributions`."""

    study: Study
    pairs: list
    models: list[str]
    widest: object
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    summary: pd.DataFrame
    taxa: pd.DataFrame
    truth: pd.DataFrame | None
    cpgs: pd.DataFrame
    examples: list[str]
    predictions: object
    attributions: object

    @property
    def first(self) -> str:
        """The model the others are compared with."""
        return self.models[0]

    @functools.cached_property
    def wide(self) -> pd.DataFrame:
        """R² by gene and model, in the widest window."""
        return wide_table(self.scores)

    @functools.cached_property
    def rows(self) -> list[dict]:
        """Rows of the table of models, the best first."""
        return model_rows(self.summary, self.wide)

    @property
    def unleaky(self) -> list[str]:
        """Models scored without leaks, the best first."""
        return [row["model"] for row in self.rows if not row["leaky"]]

    @property
    def rival(self) -> str | None:
        """The best of the others, where the first is scored without leaks."""
        return (
            next((model for model in self.unleaky if model != self.first), None) if self.first in self.unleaky else None
        )


def score_and_write(inputs: dict, outputs: dict, *, pairs, settings: dict, seed: int) -> Results:
    """Score all fits and compare the models; write the tables among `outputs`. As `write`."""
    paths = {key: inputs[key] for key in ("methylation", "expression", "genes", "samples")}
    study = Study(**paths, k=settings["folds"], seed=seed)
    pairs, fits = in_order(pairs), by_pair(inputs["fits"])
    widest = pairs[0][1]
    models = [model for model, window in pairs if window == widest]
    truth = read_truth(inputs.get("truth"), study.genes["gene"])
    cpgs = read_parquet(inputs["cpgs"])

    scores = score_all(study, fits, pairs)
    comparisons = compare(scores, seed)
    tables = [read_parquet(path) for path in inputs.get("taxa", ())]
    tables = [table for table in tables if len(table)] or [pd.DataFrame(columns=TAXA_COLUMNS)]
    taxa = summarise_taxa(pd.concat(tables, ignore_index=True))
    examples = choose_examples(scores, models[0], settings["examples"])
    predictions = write_predictions(outputs["predictions"], study, fits, models, widest, set(examples))
    attributions = write_attributions(outputs["attributions"], study, fits, models, scores, cpgs, truth, examples)
    summary = summarise(scores, seed)
    if truth is not None:
        summary = pd.concat([summary, truth_rows(scores, truth, attributions.found, seed)], ignore_index=True)
    write_csv(outputs["summary"], summary)
    write_csv(outputs["comparisons"], comparisons)
    write_csv(outputs["taxa"], taxa)
    _write_packed(outputs["scores"], scores)
    found = (study, pairs, models, widest, scores, comparisons, summary, taxa, truth, cpgs, examples, predictions)
    return Results(*found, attributions)

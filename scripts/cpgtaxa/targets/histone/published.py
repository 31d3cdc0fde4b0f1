"""The user's own models beside published predictions of the same genes."""

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError, some
from cpgtaxa.input.texts import read_table
from cpgtaxa.targets.histone.scores import score

KEY = "histone.published"
NAMES = {
    "gene": ("gene", "gene_id", "geneid", "ensembl", "ensembl_id", "gene_name"),
    "label": ("label", "labels", "true", "truth", "y", "target"),
    "probability": ("prediction", "predictions", "predicted", "probability", "prob", "score"),
}
"""What columns may be called, in small letters."""
PUBLISHED = "published"
COLUMNS = ["cell", "genes", "model", "n", "auc", "ci_low", "ci_high", "accuracy", "labels_differ"]


def read_published(path, cell: str) -> pd.DataFrame:
    """Published predictions of a cell type: gene (str), label (0 or 1), probability (float64).

    path: CSV or TSV with columns called as in NAMES. Raises InputError with all problems: no such column, labels other
    than 0 and 1, probabilities outside 0 to 1, genes given twice.
    """
    key = f"{KEY}.{cell}"
    columns, lines = read_table(path, key, ())
    by_name = {name.strip().lower().replace(" ", "_"): name for name in columns}
    at = {part: next((by_name[name] for name in names if name in by_name), None) for part, names in NAMES.items()}
    lacking = [part if part != "probability" else "prediction" for part, name in at.items() if name is None]
    if lacking:
        raise InputError(f"{key}: {path} needs the columns gene, label and prediction; found {some(columns)}")
    problems, frame = [], pd.DataFrame({"gene": columns[at["gene"]]}, dtype=object)
    for part, words, right in (
        ("label", "a label is 0 or 1 (high)", lambda values: np.isin(values, (0, 1))),
        (
            "probability",
            "a prediction is a probability of high expression",
            lambda values: (values >= 0) & (values <= 1),
        ),
    ):
        frame[part] = pd.to_numeric(pd.Series(columns[at[part]], dtype=object), errors="coerce").astype(float)
        wrong = np.flatnonzero(~right(frame[part].to_numpy()))
        if len(wrong):
            problems.append(
                f"{key}: {path}, column {at[part]!r}: {len(wrong):,} values such as {columns[at[part]][wrong[0]]!r} "
                f"(line {lines[wrong[0]]}): {words}. Correct them, or take the rows out"
            )
    twice = frame["gene"][frame["gene"].duplicated()].unique()
    if len(twice):
        problems.append(f"{key}: {path} lists {len(twice):,} genes more than once: {some(twice)}. Keep one row each")
    if problems:
        raise InputError(problems)
    return frame


def beside(published: dict[str, pd.DataFrame], predictions: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Areas and accuracies of published predictions and of our models, COLUMNS.

    published: by cell type, see `read_published`. predictions: by model, cell, gene, label, probability of test genes.
    genes: `all`, the published table on its own labels; `both`, genes that it and we tested, on our labels, of which
    labels_differ are not as published. Raises InputError where a cell type shares no gene with its table.
    """
    rows, problems = [], []
    for cell, table in published.items():
        given = table.assign(cell=cell)
        rows.append((cell, "all", PUBLISHED, *_scored(given), 0))
        tested = next(iter(predictions.values()))
        tested = tested[tested["cell"] == cell].set_index("gene")["label"]
        both = given[given["gene"].isin(tested.index)]
        if not len(both):
            problems.append(
                f"{KEY}.{cell} has none of the genes that were tested: {some(table['gene'], 3)} against "
                f"{some(tested.index, 3)}. Name genes as in your files"
            )
            continue
        ours = both["gene"].map(tested).to_numpy(dtype=float)
        differ = int((ours != both["label"].to_numpy()).sum())
        rows.append((cell, "both", PUBLISHED, *_scored(both.assign(label=ours)), differ))
        for model, found in predictions.items():
            same = found[(found["cell"] == cell) & found["gene"].isin(both["gene"])]
            *areas, accuracy = _scored(same)
            accuracy = np.nan if model.startswith("OneMark") else accuracy  # its order has no threshold
            rows.append((cell, "both", model, *areas, accuracy, differ))
    if problems:
        raise InputError(problems)
    return pd.DataFrame(rows, columns=COLUMNS)


def _scored(found: pd.DataFrame) -> tuple:
    """n, auc, ci_low, ci_high, accuracy of one cell type; of a single class the accuracy alone."""
    if found["label"].nunique() < 2:
        right = (found["probability"] > 0.5) == (found["label"] == 1)
        return len(found), np.nan, np.nan, np.nan, float(right.mean())
    one = score(PUBLISHED, found).cells.iloc[0]
    return len(found), one["auc"], one["ci_low"], one["ci_high"], one["accuracy"]

"""Own figures of the four companions' real examples beside published ones, as one table.

    make companions
    .venv/bin/python tests/benchmarks/companions.py [--results results] [--out F.csv]

Reads `results/TARGET/summary.csv` of single_cell, ecg_age, expression and histone (and ecg_age's `published.csv`),
which `make companions` makes of config/examples, what `make single-cells` made of a whole real set, and
published_companions.csv beside this script. But for that set, published figures are of other and far larger data, as
the column says: they stand beside ours, and are no goal that these examples could reach. A target that was not run is
named, and ends the script with 1; the whole set, which takes half an hour, is only named.
"""

import argparse
import pathlib
import sys

import pandas as pd

PUBLISHED = pathlib.Path(__file__).with_name("published_companions.csv")
ASKED = "{}_mae_asked"
"""Mean absolute error on the records asked about, by group."""
METRICS = {
    "single_cell": ("auc",),
    "single_cell_hcc": ("auc_pooled", "auc"),
    "ecg_age": ("adult_mae", ASKED.format("adult")),
    "expression": ("r2_pearson", "r2"),
    "histone": ("auc", "auc_E123", "accuracy"),
}
"""What is shown of each target's summary."""
APART = {"single_cell_hcc": ("hcc/results/single_cell", "make single-cells")}
"""Targets run by a command of their own: their folder, and the command."""
COLUMNS = ["target", "model", "metric", "ours", "ci_low", "ci_high", "n", "published", "data", "source"]


def table_of(results: pathlib.Path, published: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Every model of every target, and every published figure, COLUMNS; and the targets that were not run.

    A published figure of a model and metric that we have stands in its row, others in rows of their own.
    """
    rows, lacking = [], []
    for target, metrics in METRICS.items():
        path = summary_path(results, target)
        own = pd.DataFrame(columns=["model", "metric"])
        if path.is_file():
            own = pd.concat([pd.read_csv(path), _asked(path.with_name("published.csv"))])
        else:
            lacking.append(target)
        theirs = published[published["target"] == target].set_index(["model", "metric"])
        for metric in metrics:
            some = own[own["metric"] == metric]
            for row in some.itertuples():
                rows.append([target, row.model, metric, row.value, row.ci_low, row.ci_high, row.n])
                rows[-1] += _words(theirs, row.model, metric)
            for model, of in theirs.index:
                if of == metric and model not in set(some["model"]):
                    rows.append([target, model, metric, None, None, None, None, *_words(theirs, model, metric)])
    return pd.DataFrame(rows, columns=COLUMNS), lacking


def summary_path(results: pathlib.Path, target: str) -> pathlib.Path:
    return results / APART.get(target, (target,))[0] / "summary.csv"


def _asked(path: pathlib.Path) -> pd.DataFrame:
    """Errors on the records asked about as rows of a summary; none where there is no such table."""
    if path.parent.name != "ecg_age" or not path.is_file():
        return pd.DataFrame()
    table = pd.read_csv(path).rename(columns={"mae": "value", "mae_low": "ci_low", "mae_high": "ci_high"})
    table["metric"] = [ASKED.format(group) for group in table["group"]]
    return table[["model", "metric", "value", "ci_low", "ci_high", "n"]]


def _words(theirs: pd.DataFrame, model: str, metric: str) -> list[str]:
    """The published figure or range, its data and source; nothing where there is none."""
    if (model, metric) not in theirs.index:
        return ["", "", ""]
    row = theirs.loc[(model, metric)]
    low, high = (f"{float(row[end]):.3g}" for end in ("low", "high"))
    return [low if low == high else f"{low} to {high}", row["data"], row["source"]]


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("results"))
    parser.add_argument("--out", type=pathlib.Path)
    chosen = parser.parse_args(arguments)
    table, lacking = table_of(chosen.results, pd.read_csv(PUBLISHED))
    if chosen.out:
        table.to_csv(chosen.out, index=False, float_format="%.4g")
    shown = table.assign(
        ours=[
            "" if pd.isna(row.ours) else f"{row.ours:.3f} ({row.ci_low:.3f} to {row.ci_high:.3f})"
            for row in table.itertuples()
        ]
    )
    print(shown.drop(columns=["ci_low", "ci_high", "n"]).to_string(index=False))
    for target in lacking:
        how = f" ({APART[target][1]} runs it)" if target in APART else ""
        print(f"{target} was not run: {summary_path(chosen.results, target)} is not there{how}", file=sys.stderr)
    return 1 if set(lacking) - set(APART) else 0


if __name__ == "__main__":
    sys.exit(main())

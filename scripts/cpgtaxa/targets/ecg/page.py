"""The last tables of the target `ecg_age`, and the page on them.

The same inputs give the same bytes: no dates, fixed ids inside the figures, and records in their order.
"""

import logging
import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.files import read_json, read_parquet
from cpgtaxa.names import SUMMARY_COLUMNS
from cpgtaxa.pages.drawing import figures_in
from cpgtaxa.pages.page import file_names, write_csv, write_page
from cpgtaxa.pages.tables import against, estimate, value_and_ends
from cpgtaxa.statistics.comparisons import holm
from cpgtaxa.targets.ecg import figures as draw
from cpgtaxa.targets.ecg.attributions import ATTRIBUTION_COLUMNS, attribution_table, read_readings
from cpgtaxa.targets.ecg.figures import TITLES, words
from cpgtaxa.targets.ecg.scores import (
    adjusted,
    gap_table,
    half_width,
    joined,
    joined_rows,
    score,
)
from cpgtaxa.wording import decimal, percent, signed, span

LISTED = 15
"""Records left out that the page names."""
SUBMISSION_COLUMNS = ["FILENAME", "AGE"]


def predictions(paths) -> pd.DataFrame:
    """All rows of some files of predictions: record, fold, age, predicted."""
    return pd.concat([read_parquet(path) for path in paths], ignore_index=True)


def tables_of(inputs: dict, settings: dict, records: pd.DataFrame):
    """By group and model the records that were held out: record, patient, sex, age, predicted, fold; in their order."""
    files: dict[str, dict[str, list]] = {group: {} for group in settings["networks"]}
    for path in inputs["networks"]:
        group, name = pathlib.Path(path).parent.name, pathlib.Path(path).stem.rsplit("_", 1)[0]
        files[group].setdefault(name, []).append(path)
    for path in inputs["peers"]:
        files[pathlib.Path(path).parent.name][pathlib.Path(path).stem] = [path]
    place = records.reset_index().set_index("record")
    found = {}
    for group, models in files.items():
        for model, paths in models.items():
            table = predictions(paths)
            table = table.assign(row=place.loc[table["record"], "index"].to_numpy())
            held = table.sort_values("row")
            held = held.join(place[["patient", "sex"]], on="record").reset_index(drop=True)
            found.setdefault(group, {})[model] = held[["record", "patient", "sex", "age", "predicted", "fold", "row"]]
    return found


def asked_of(inputs: dict) -> dict[str, pd.DataFrame]:
    """By group the records asked about: record, patient, sex, predicted."""
    if not inputs.get("asked"):
        return {}
    records = read_parquet(inputs["asked_records"]).set_index("record")
    found = {}
    for path in inputs["asked"]:
        table = read_parquet(path).join(records[["patient", "sex"]], on="record")
        found[pathlib.Path(path).parent.name] = table
    return found


def read_logs(paths) -> pd.DataFrame:
    """All training logs, with group and fold."""
    parts = []
    for path in map(pathlib.Path, paths):
        name, fold = path.stem.removesuffix("_log").rsplit("_", 1)
        parts.append(pd.read_csv(path).assign(group=path.parent.name, model=name, fold=int(fold)))
    return pd.concat(parts, ignore_index=True)


def truth_rows(truth: pd.DataFrame, gaps: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What is known of simulated records, as rows of SUMMARY_COLUMNS: `heart_mae` of a model `truth`, how far true ages
    are from those of the hearts, nearer than which no model can come but by chance; and of each network the correlation
    of its adjusted gaps with the hearts' (`heart_gap_correlation`)."""
    rows = []
    truth = truth.set_index("record")
    for group, table in gaps.items():
        here = truth.loc[table["record"]]
        heart = (here["heart_age"] - here["age"]).to_numpy()
        rows.append(("truth", f"{group}_heart_mae", np.abs(heart).mean(), np.nan, np.nan, len(here)))
        if len(here) > 3:
            r = np.corrcoef(table["gap_adjusted"], adjusted(heart, here["age"].to_numpy()))[0, 1]
            rows.append((table["model"].iloc[0], f"{group}_heart_gap_correlation", r, np.nan, np.nan, len(here)))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def submission(gaps: dict[str, pd.DataFrame], asked: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """FILENAME and AGE: of the records that are asked about, or without any, of those held out."""
    found = pd.concat((asked or gaps).values(), ignore_index=True)
    found = found.rename(columns={"record": "FILENAME", "predicted": "AGE"})
    return found[SUBMISSION_COLUMNS]


def _drawn_records(reading: dict, gaps: pd.DataFrame, wanted: int) -> list[int]:
    """Which of the records read are drawn: the one predicted best first, then those predicted worst."""
    size = gaps.set_index("record")["gap"].abs().reindex(reading["record"]).to_numpy()
    order = np.argsort(size, kind="stable")
    return list(dict.fromkeys([order[0], *order[::-1]]))[:wanted] if wanted else []


def write(inputs: dict, outputs: dict, *, settings: dict, seed: int) -> None:
    """Score all models, give every age its interval, join the gaps of both clocks, and write tables, figures and page.

    inputs: `records`, `leads`, `left_out`, `qc` (`inputs.prepare`), `features`, `networks` (GROUP/NAME_FOLD.parquet),
    `peers` (GROUP/PEER.parquet), `logs`, `readings` (GROUP.npz), and where there are such `asked`
    (GROUP/asked.parquet), `asked_records`, `methylation` (`clock`) and `truth` (of simulated records). settings:
    `EcgPlan.page_settings`.

    outputs: `summary` (SUMMARY_COLUMNS: `scores.score`, `joined_rows`, `truth_rows`), `gaps` (`scores.gap_table`, and a
    row without true age for each record asked about), `submission` (FILENAME, AGE), `comparisons` (`scores`),
    `left_out` (of all parts together), `attributions` (ATTRIBUTION_COLUMNS), `joined` (`scores.joined`; where there is
    a methylation age), `html`, `figures`, a folder of SVG and CSV.
    """
    records = read_parquet(inputs["records"])
    qc = read_json(inputs["qc"])
    left = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in inputs["left_out"]]
    left = pd.concat(left, ignore_index=True)
    write_csv(outputs["left_out"], left)
    networks, coverage = settings["networks"], settings["coverage"]
    found, asked = tables_of(inputs, settings, records), asked_of(inputs)
    scored = {group: score(group, found[group], networks[group], coverage, seed) for group in networks}
    gaps = {group: gap_table(group, networks[group], found[group][networks[group]], coverage) for group in networks}
    comparisons = pd.concat([one for _, one in scored.values()], ignore_index=True)
    comparisons.insert(8, "p_holm", holm(comparisons["p"]))
    parts = [one for one, _ in scored.values()]
    both = None
    if inputs.get("methylation"):
        both = joined(pd.concat(gaps.values(), ignore_index=True), read_parquet(inputs["methylation"]))
        rows = [row for group in networks for row in joined_rows(both, group, networks[group])]
        parts.append(pd.DataFrame(rows, columns=SUMMARY_COLUMNS))
        write_csv(outputs["joined"], both)
    if inputs.get("truth"):
        parts.append(truth_rows(pd.read_csv(inputs["truth"], dtype={"record": str}), gaps))
    summary = pd.concat([part for part in parts if len(part)], ignore_index=True)
    leads = np.load(inputs["leads"], mmap_mode="r")
    readings, peaks, volts = read_readings(inputs, records, leads)
    tables = {group: attribution_table(group, one, peaks, volts) for group, one in readings.items()}
    attributions = [table for table, _ in tables.values()] or [pd.DataFrame(columns=ATTRIBUTION_COLUMNS)]
    write_csv(outputs["summary"], summary)
    write_csv(outputs["comparisons"], comparisons)
    write_csv(outputs["attributions"], pd.concat(attributions, ignore_index=True))
    write_csv(outputs["submission"], submission(gaps, asked))
    write_csv(outputs["gaps"], _all_gaps(gaps, asked, networks, coverage))

    with figures_in(outputs["figures"]) as figures:
        drawn = {
            "models": draw.models_figure(figures, summary, found),
            "true": draw.true_figure(figures, gaps, coverage),
            "agreement": draw.agreement_figure(figures, gaps),
            "parts": draw.parts_figure(figures, summary, found),
            "training": draw.training_figure(figures, read_logs(inputs["logs"])),
            "joined": draw.joined_figure(figures, both) if both is not None and len(both) else None,
        }
        shown = settings["reading"]["drawn"]
        reading = [
            _group_reading(figures, group, one, tables[group], gaps[group], volts, shown)
            for group, one in readings.items()
        ]

    page = {
        "groups": [
            _group_page(group, networks[group], summary, comparisons, gaps[group], qc, settings) for group in networks
        ],
        "left": left.head(LISTED).to_dict("records"),
        "n_left": len(left),
        "qc": qc,
        "drawn": drawn,
        "reading": reading,
        "joined": _joined_page(both, summary, networks) if both is not None else None,
        "truth": _truth_page(summary, networks) if inputs.get("truth") else None,
        "asked": sum(map(len, asked.values())),
        "settings": settings,
        "coverage": percent(coverage),
        "files": file_names(outputs),
    }
    write_page(outputs["html"], "ecg_age.html.j2", page)
    for group, name in networks.items():
        error = summary[(summary["model"] == name) & (summary["metric"] == f"{group}_mae")]["value"].iloc[0]
        logging.info(f"{TITLES[group]}: mean absolute error of {name} {error:.2f} years")


def _all_gaps(gaps, asked, networks, coverage: float) -> pd.DataFrame:
    """The gap tables of all groups, and the records asked about, whose ages are predicted with an interval."""
    parts = []
    for group, name in networks.items():
        parts.append(gaps[group])
        if group in asked:
            rest = asked[group]
            width = half_width(gaps[group]["gap"].to_numpy(), coverage)
            parts.append(
                pd.DataFrame(
                    {
                        "group": group,
                        **{key: rest[key] for key in ("record", "patient", "sex")},
                        "age": np.nan,
                        "predicted": rest["predicted"],
                        "age_low": rest["predicted"] - width,
                        "age_high": rest["predicted"] + width,
                        "model": name,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)[list(next(iter(gaps.values())).columns)]


def _group_reading(figures, group, reading, tables, gaps, volts, wanted: int) -> dict:
    table, beat = tables
    whole = table[table["offset_ms"].isna()].sort_values("share", ascending=False)
    records = []
    ages = gaps.set_index("record")
    for at in _drawn_records(reading, gaps, wanted):
        record = str(reading["record"][at])
        title = f"{record}: {ages.loc[record, 'age']:.3g} years, predicted {ages.loc[record, 'predicted']:.1f}"
        drawing = draw.ecg_figure(
            figures, f"ecg_{record}", title, volts[record], reading["attribution"][at], reading["attention"][at]
        )
        records.append({"title": title, "drawing": drawing})
    return {
        "title": TITLES[group],
        "beat": draw.beat_figure(figures, group, table, beat) if beat is not None else None,
        "leads": ", ".join(f"{row.lead} {percent(row.share)}" for row in whole.head(4).itertuples()),
        "records": records,
        "n": len(reading["record"]),
        "missed": decimal(float(np.median(reading["incomplete"])), 2),
    }


def _group_page(group, name, summary, comparisons, gaps, qc, settings) -> dict:
    numbers = summary.set_index(["model", "metric"])
    digits = 1 if group == "adult" else 2

    def show(value):
        return decimal(value, digits)

    def show_signed(value):
        return signed(value, digits)

    def value(model, metric):
        return value_and_ends(numbers, model, f"{group}_{metric}")[0]

    maes = summary[summary["metric"] == f"{group}_mae"].sort_values("value")
    rows = [
        {
            "model": words(model),
            "own": model == name,
            **estimate("mae", *value_and_ends(numbers, model, f"{group}_mae"), show),
            "bias": show_signed(value(model, "bias")),
            "rmse": show(value(model, "rmse")),
            "r": decimal(value(model, "r"), 2),
            "width": show(value(model, "half_width")),
            "limits": f"{show_signed(value(model, 'limits_low'))} to {show_signed(value(model, 'limits_high'))}",
        }
        for model in maes["model"]
    ]
    own = next(row for row in rows if row["own"])
    some = comparisons[comparisons["group"] == group]
    compared = zip(against(some, name, words, show_signed), some["nearer"], strict=True)
    return {
        "group": group,
        "title": TITLES[group],
        "name": name,
        "rows": rows,
        "mae": own["mae"],
        "range": own["mae_range"],
        **estimate("ratio", *value_and_ends(numbers, name, f"{group}_mae_over_median"), percent),
        "slope": signed(value(name, "slope"), 2),
        "n": f"{len(gaps):,}",
        "patients": f"{gaps['patient'].nunique():,}",
        "few": gaps["patient"].nunique() < 100,
        "learnt": f"{qc['groups'][group]['records']:,}",
        "unusual": int(gaps["unusual"].sum()),
        "compared": [row | {"nearer": percent(nearer)} for row, nearer in compared],
        "bins": list(qc["groups"][group]["bins"].items()),
    }


def _joined_page(both: pd.DataFrame, summary: pd.DataFrame, networks: dict) -> list[dict]:
    rows = []
    for group, name in networks.items():
        some = summary[(summary["model"] == name) & (summary["metric"] == f"{group}_gap_correlation")]
        n = int((both["group"] == group).sum())
        if not n:
            continue
        row = {"title": TITLES[group], "n": n, "r": None}
        if len(some):
            one = some.iloc[0]
            row |= {"r": signed(one["value"], 2), "range": span(one["ci_low"], one["ci_high"], lambda v: signed(v, 2))}
        rows.append(row)
    return rows


def _truth_page(summary: pd.DataFrame, networks: dict) -> list[dict]:
    metrics = summary.set_index(["model", "metric"])["value"]
    return [
        {
            "title": TITLES[group],
            "name": name,
            "floor": decimal(metrics[("truth", f"{group}_heart_mae")], 1 if group == "adult" else 2),
            "r": signed(metrics.get((name, f"{group}_heart_gap_correlation"), np.nan), 2),
        }
        for group, name in networks.items()
    ]

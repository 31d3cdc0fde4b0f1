"""Another network's ages of the records asked about, as published or by its weights, beside those of ours."""

import json
import logging
import pathlib
import warnings

import numpy as np
import pandas as pd
import torch

from cpgtaxa.errors import InputError, reason_of, some
from cpgtaxa.files import atomic, read_parquet
from cpgtaxa.input.texts import read_table
from cpgtaxa.learning.devices import Applied
from cpgtaxa.learning.loop import use_threads
from cpgtaxa.models import create_model, ecg_resnet  # noqa: F401 - by name: seen here, edits rerun
from cpgtaxa.targets.ecg.inputs import find_records, read_sheet, stem_of
from cpgtaxa.targets.ecg.networks import ages_by
from cpgtaxa.targets.ecg.plan import LEADS
from cpgtaxa.targets.ecg.records import known_leads, read_record, years
from cpgtaxa.targets.ecg.scores import score
from cpgtaxa.targets.ecg.signals import at_500_hertz, ordered

KEY = "ecg_age.published"
NETWORK = "AgeResNet"
SHAPE = {"samples": "seq_length", "kernel": "kernel_size", "dropout": "dropout_rate"}
"""Arguments of AgeResNet by what the published config.json calls them."""
BLOCKS = ("net_filter_size", "net_seq_lengh")
RATE = 400
"""Hz of the published network, where its config.json does not tell."""
METRICS = ("mae", "bias", "r")
SCORES = ["group", "model", "n", "mae", "mae_low", "mae_high", "bias", "r"]
SCORES += ["difference", "difference_low", "difference_high", "p"]


def load_network(weights, config) -> tuple[torch.nn.Module, int, int]:
    """The published network with its weights; samples that it takes, and at how many Hz.

    weights: model.pth, a dictionary whose `model` is the state, or the state itself; nothing in it is executed. config:
    config.json (`seq_length`, `net_filter_size`, `net_seq_lengh`, `kernel_size`, `dropout_rate`, perhaps
    `sample_freq`). Raises InputError where they cannot be read or do not fit each other.
    """
    try:
        told = json.loads(pathlib.Path(config).read_text(encoding="utf-8"))
        blocks = list(zip(*(map(int, told[key]) for key in BLOCKS), strict=True))
        shape = {ours: told[theirs] for ours, theirs in SHAPE.items()}
        network = create_model(NETWORK, blocks=blocks, leads=len(LEADS), **shape)
    except (OSError, KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        raise InputError(
            f"{KEY}.network: {config} does not describe the network ({reason_of(error)}): it has "
            f"{', '.join([*SHAPE.values(), *BLOCKS])}"
        ) from error
    try:
        # Beside the weights the training left its loss, a NumPy number.
        scalar = np.float32(0).__reduce__()[0]
        kinds = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype("f4")), type(np.dtype("f8"))]
        with torch.serialization.safe_globals(kinds):
            state = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(state.get("model", state))
    except Exception as error:
        # torch raises what a spoilt file leads to, of many kinds.
        raise InputError(
            f"{KEY}.network: {weights} cannot be read, or is not of the network in {config} ({reason_of(error)}): copy "
            "both again, from one training"
        ) from error
    return network, int(told["seq_length"]), int(told.get("sample_freq", RATE))


def as_published(values: np.ndarray, rate: float, samples: int, hertz: int) -> np.ndarray:
    """(leads, time) mV to (leads, samples) float32 as the published network has it: resampled to hertz, zeros for what
    is missing, its middle where it is longer, zeros on either side where it is shorter."""
    found = at_500_hertz(np.nan_to_num(values, posinf=0, neginf=0), rate, hertz)
    before = (samples - found.shape[1]) // 2 if found.shape[1] < samples else 0
    first = max(found.shape[1] - samples, 0) // 2
    middle = found[:, first : first + samples]
    return np.pad(middle, ((0, 0), (before, samples - before - middle.shape[1]))).astype(np.float32)


def _asked_of_network(given: dict, records: pd.DataFrame, rows: dict, settings: dict) -> pd.Series:
    """Years by record, of the published network; records are read anew, at their own length and rate."""
    config, weights = sorted(given["network"])
    network, samples, hertz = load_network(weights, config)
    signals, names = [], []
    for _, path in find_records(settings["folders"]):
        if path.stem in records.index:
            recording = read_record(path, settings["npy"], rows.get(path.stem))
            values, _ = ordered(recording.values, known_leads(recording.names, settings["lead_names"])[0])
            signals.append(as_published(values, recording.rate, samples, hertz))
            names.append(path.stem)
    applied = Applied(network, settings["device"], settings["precision"])
    return pd.Series(ages_by(applied, np.array(signals), np.arange(len(signals))), index=names)


def _column(sheet, name: str) -> pd.Series:
    """Years by record, of a column of the sheet; NaN where it is empty."""
    path = sheet.path
    columns, lines = read_table(path, "ecg_age.sheet", ())
    if name not in columns:
        raise InputError(f"{KEY}.column: {path} has no column {name!r}; found {some(columns, 20)}")
    numbers = pd.to_numeric(pd.Series(columns[name], dtype=object), errors="coerce").to_numpy(dtype=float)
    odd = [row for row, text in enumerate(columns[name]) if text.strip() and not np.isfinite(numbers[row])]
    if odd:
        raise InputError(
            f"{KEY}.column: {path}, column {name!r}: {len(odd):,} values are no ages, such as "
            f"{columns[name][odd[0]]!r} (line {lines[odd[0]]})"
        )
    return pd.Series(numbers, index=[stem_of(text) for text in columns[sheet.record]])


def compare(given: dict, out: dict, *, settings: dict, seed: int) -> None:
    """Ages of the records asked about whose true ages the sheet tells: by our network, the median, and another network.

    given: `predictions` (Parquet record, predicted; a file for each group), `records`, `asked` (`inputs.prepare`),
    `sheet`, and perhaps `network` (its config.json and model.pth). settings: `folders`, `networks`, `column`,
    `lead_names`, `npy`, `coverage`, `device`, `precision`, `threads`. out: `ages` (CSV: group, record, age, a column
    per model, years) and `scores` (CSV, SCORES: errors in years with bootstrap intervals over patients, and ours less
    the model's, where below 0 ours is nearer). Raises InputError where no age is known.
    """
    use_threads(settings["threads"])
    sheet = read_sheet(given["sheet"])
    asked = read_parquet(given["asked"]).set_index("record")
    learnt = read_parquet(given["records"])
    ages = {
        name: years(row["age"], row["unit"])
        for name, row in sheet.rows.items()
        if name in asked.index and row.get("age")
    }
    asked["age"] = pd.Series(ages, dtype=float).reindex(asked.index)
    if not ages:
        raise InputError(
            f"{KEY}: {given['sheet']} tells the age of none of the records asked about: fill its column of ages, or "
            f"leave {KEY} out"
        )
    others = {}
    if settings["column"]:
        others[settings["column"]] = _column(sheet, settings["column"])
    if given.get("network"):
        others[NETWORK] = _asked_of_network(given, asked, sheet.rows, settings)
    own = pd.concat([read_parquet(path) for path in given["predictions"]]).set_index("record")["predicted"]
    tables, rows = [], []
    for group, part in asked[asked["age"].notna()].groupby("group", sort=True):
        known = learnt[(learnt["group"] == group) & learnt["age"].notna()]
        ours = settings["networks"][group]
        models = {ours: own, "Median": pd.Series(float(known["age"].median()), index=part.index), **others}
        wide = pd.DataFrame({name: one.reindex(part.index) for name, one in models.items()})
        tables.append(wide.assign(group=group, age=part["age"]))
        for name in models:
            rows.append(_row(group, part, wide, ours, name, settings["coverage"], seed))
    names = ["group", "age", *dict.fromkeys(name for table in tables for name in table if name not in ("group", "age"))]
    _write(pd.concat(tables)[names].rename_axis("record").reset_index(), out["ages"])
    scores = pd.DataFrame(rows, columns=SCORES)
    _write(scores, out["scores"])
    for row in scores.itertuples():
        logging.info(f"{row.model} of {row.n:,} records asked about: mean absolute error {row.mae:.2f} years")


def _row(group: str, part: pd.DataFrame, wide: pd.DataFrame, ours: str, name: str, coverage: float, seed: int) -> list:
    """SCORES of one model, on the records that it and our network have an age of."""
    both = wide[[ours, name]].notna().all(axis=1).to_numpy()
    if not both.any():
        return [group, name, 0, *[np.nan] * (len(SCORES) - 3)]
    base = part[both].reset_index()[["record", "patient", "sex", "age"]]
    tables = {one: base.assign(predicted=wide.loc[both, one].to_numpy()) for one in dict.fromkeys((ours, name))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # correlations of two records
        summary, compared = score(group, tables, ours, coverage, seed)
    of = summary[summary["model"] == name].set_index("metric")
    mae = of.loc[f"{group}_mae"]
    values = [mae["value"], mae["ci_low"], mae["ci_high"]]
    values += [of["value"].get(f"{group}_{metric}", np.nan) for metric in ("bias", "r")]
    found = compared[compared["other"] == name]
    ends = found[["difference", "ci_low", "ci_high", "p"]].to_numpy()[0] if len(found) else [np.nan] * 4
    return [group, name, len(base), *values, *ends]


def _write(table: pd.DataFrame, path) -> None:
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")

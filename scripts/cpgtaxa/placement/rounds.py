"""Which images teach in which round, which CpGs a round places, and the taxonomy that comes out."""

import hashlib
import logging
import pathlib
import re

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError
from cpgtaxa.files import atomic, gzipped, read_parquet, write_parquet
from cpgtaxa.names import INDEX, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED, any_open
from cpgtaxa.wording import counted

PARTS = ("training", "val", "test")


def image_path(folder: str, cpg: str) -> str:
    """Path of a CpG's PNG; ids that are no plain file name get one that is, with a hash to stay unique."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", cpg).lstrip(".")[:100]  # disks take names of 255 bytes
    if plain != cpg:
        plain = f"{plain}_{hashlib.sha256(cpg.encode()).hexdigest()[:8]}"
    return f"{folder}/{plain}.png"


def _parts(rng, rows: pd.DataFrame, val_share: float, test_share: float = 0.0, max_test: int = 0) -> dict:
    """Split rows at random: test first, then validation, the rest trains."""
    rows = rows.iloc[rng.permutation(len(rows))]
    n_test = min(round(test_share * len(rows)), max_test)
    n_val = round(val_share * (len(rows) - n_test))
    return {"test": rows[:n_test], "val": rows[n_test : n_test + n_val], "training": rows[n_test + n_val :]}


def _collect(pieces: dict, split: dict) -> None:
    for part, rows in split.items():
        pieces[part].append(rows)


def _write_parts(pieces: dict, seed, out: dict) -> None:
    for part in PARTS:
        rows = pd.concat(pieces[part] or [pd.DataFrame(columns=["path", "label"])], ignore_index=True)
        order = np.random.default_rng([seed, 3, PARTS.index(part)]).permutation(len(rows))
        with atomic(out[part]) as temporary:
            rows.iloc[order][["path", "label"]].to_csv(temporary, index=False, header=False)
        logging.info(f"{part}: {len(rows):,} images, {counted(rows['label'])}")


def split_first_round(labels: pd.DataFrame, simulated: pd.DataFrame, folder: str, settings: dict, seed: int, out: dict):
    """Choose the training, validation and test images of round 0 and write the three published CSVs.

    labels: cpg, taxon (the statistical ones). simulated: path, label, other of the simulated images. settings: the
    config's `training`, `trains`: if false there are only test images; and `may_train_nothing`: if true there are only
    test images where every CpG has a label. out: paths by part. Raises InputError where
    a taxon has too few clean CpGs to learn from.
    """
    source, trains = settings["source"], settings["trains"]
    if settings["may_train_nothing"] and not any_open(labels["taxon"]):
        trains = False
    rng = np.random.default_rng([seed, 5])
    if simulated is None:
        simulated = pd.DataFrame(columns=["path", "label", "other"])
    clean = simulated[simulated["other"] == ""]
    counts = labels["taxon"].value_counts().reindex(TAXA).fillna(0).astype(int)
    short = {taxon: int(count) for taxon, count in counts.items() if count < settings["min_per_taxon"]}
    if source == "statistical" and short and trains:
        text = ", ".join(f"{taxon} {count}" for taxon, count in short.items())
        message = f"fewer than training.min_per_taxon = {settings['min_per_taxon']} statistically labelled CpGs: {text}"
        if not settings["fallback"]:
            raise InputError(
                f"{message}. Set training.source to both or simulated (training images are then simulated for your "
                "cohort's own ages), or training.fallback to true, or lower training.min_per_taxon"
            )
        logging.warning("%s; topped up with simulated images (training.fallback is true)", message)
    pieces = {part: [] for part in PARTS}
    for taxon in TAXA:
        own = labels.loc[labels["taxon"] == taxon, ["cpg"]]
        own = own.assign(label=taxon, path=[image_path(f"{folder}/CpG_image", cpg) for cpg in own["cpg"]])
        made = clean[clean["label"] == taxon]
        if not trains:
            own = own.iloc[rng.permutation(len(own))][: settings["max_test_per_taxon"]]
            _collect(pieces, {"test": pd.concat([own, made])})
            continue
        if source == "simulated":
            own = own.iloc[rng.permutation(len(own))][: settings["max_test_per_taxon"]]
            _collect(pieces, {"test": own})
        else:
            split = _parts(rng, own, settings["val_share"], settings["test_share"], settings["max_test_per_taxon"])
            most = settings["max_per_taxon"]
            split["training"] = split["training"][:most]
            split["val"] = split["val"][: round(most * settings["val_share"] / (1 - settings["val_share"]))]
            _collect(pieces, split)
            if source == "statistical":
                made = made[: max(settings["min_per_taxon"] - len(own), 0)]
        _collect(pieces, _parts(rng, made, settings["val_share"], 0.1, settings["max_test_per_taxon"]))
    _write_parts(pieces, seed, out)


def split_later_round(previous: dict, reassigned: pd.DataFrame, folder: str, settings: dict, seed: int, out: dict):
    """Enlarge the previous round's images by the CpGs it placed; the test set stays as it is.

    previous: paths of the previous round's CSVs by part. reassigned: cpg, taxon placed by the previous round.
    """
    rng = np.random.default_rng([seed, 6])
    pieces = {part: [rows] for part, rows in read_parts(previous).items()}
    for taxon in TAXA:
        new = reassigned.loc[reassigned["taxon"] == taxon, ["cpg"]]
        new = new.assign(label=taxon, path=[image_path(f"{folder}/CpG_image", cpg) for cpg in new["cpg"]])
        new = new.iloc[rng.permutation(len(new))][: settings["max_added_per_taxon"]]
        _collect(pieces, _parts(rng, new, settings["val_share"]))
    _write_parts(pieces, seed, out)


def read_parts(paths: dict) -> dict:
    """The three CSVs of a round as data frames path, label by part."""
    columns = {"header": None, "names": ["path", "label"], "dtype": str, "keep_default_na": False}
    # Files are empty where nothing is trained.
    return {
        part: pd.read_csv(path, **columns)
        if pathlib.Path(path).stat().st_size
        else pd.DataFrame(columns=["path", "label"])
        for part, path in paths.items()
    }


ALL_PREDICTED = 20_000
"""CpGs with a label of which `rounds.predict_labelled: auto` has all predicted: two minutes on one core."""
SOME_PREDICTED = 5000
"""CpGs with a label, drawn at random, that it has predicted of more."""


def predicted(taxa: np.ndarray, which: bool | str, seed: int) -> np.ndarray:
    """CpGs, (n,) bool, that the network of round 0 looks at: those without a label, and labelled ones as asked.

    taxa: (n,) labels of the whole cohort, whatever shards there are. which: the config's `rounds.predict_labelled`.
    """
    labelled = np.flatnonzero(taxa != UNCLASSIFIED)
    if which == "auto" and len(labelled) > ALL_PREDICTED:
        labelled = np.random.default_rng([seed, 37]).choice(labelled, SOME_PREDICTED, replace=False)
    elif not which:
        labelled = labelled[:0]
    chosen = taxa == UNCLASSIFIED
    chosen[labelled] = True
    return chosen


def write_taxonomy(labels, predictions, reassigned, left, out_parquet, out_csv, out_left) -> None:
    """Write the final table as Parquet and gzipped CSV, and the table of the CpGs left over.

    predictions: prediction shards of all rounds, in order. reassigned: one file per round. left: the last round's.
    """
    rounds = []
    for path in reassigned:
        folder = pathlib.Path(path).parent
        shards = [
            read_parquet(shard, columns=["cpg", *PROBABILITY_COLUMNS])
            for shard in predictions
            if pathlib.Path(shard).parent.parent == folder
        ]
        rounds.append({"predictions": pd.concat(shards, ignore_index=True), "reassigned": read_parquet(path)})
    table = taxonomy(read_parquet(labels), rounds)
    write_parquet(out_parquet, table)
    with gzipped(out_csv) as packed:
        table.to_csv(packed, index=False, float_format="%.5g", mode="wb")
    write_parquet(out_left, read_parquet(left))
    logging.info(f"taxonomy: {counted(table['taxon'])}")


def taxonomy(labels: pd.DataFrame, rounds: list[dict]) -> pd.DataFrame:
    """The final table, one row per CpG in the cohort's order.

    labels: of `define_taxa` or `read_labels`. rounds: per round {"predictions": cpg and p_<taxon>, "reassigned": …};
    round 0 predicts every CpG (or those of `predicted`), later ones those left. Returns cpg, taxon, source,
    confidence, second_taxon, p_<taxon> ×10, boundary, criterion, margin, network_p, disagrees. p_<taxon>: probabilities
    of the last network that looked at the CpG (missing where none did). confidence: the probability that the taxon is
    right, by the tests where these gave it, else by the round that placed the CpG; missing of Unclassified ones and of
    labels that were given. second_taxon: the likeliest other by the network. boundary, criterion, margin: of the
    labels. network_p: the network's probability of the taxon, of Unclassified ones its highest. disagrees: whether the
    network finds another taxon likelier than the one that the tests gave.
    """
    table = pd.DataFrame({"cpg": labels["cpg"].to_numpy(dtype=object)}).set_index("cpg")
    table["taxon"] = labels["taxon"].to_numpy(dtype=object)
    table["source"] = np.where(table["taxon"] == UNCLASSIFIED, "none", "statistical").astype(object)
    p = pd.DataFrame(np.nan, index=table.index, columns=list(PROBABILITY_COLUMNS))
    certainty = _of_labels(labels, "confidence", np.nan).astype(np.float32)
    for number, found in enumerate(rounds):
        predictions = found["predictions"].set_index("cpg")
        p.loc[predictions.index] = predictions[list(PROBABILITY_COLUMNS)].to_numpy()
        placed = found["reassigned"]
        table.loc[placed["cpg"], "taxon"] = placed["taxon"].to_numpy()
        table.loc[placed["cpg"], "source"] = f"round_{number}"
        certainty[table.index.get_indexer(placed["cpg"])] = placed["confidence"].to_numpy()
    values = p.to_numpy()
    own = table["taxon"].map(INDEX).fillna(-1).to_numpy(dtype=int)
    rows = np.arange(len(values))
    placed = own >= 0
    first = np.where(placed, own, np.nan_to_num(values, nan=-1).argmax(axis=1))
    others = np.nan_to_num(values.copy(), nan=-1.0)
    others[rows, first] = -2.0
    table["confidence"] = certainty
    second = np.array(TAXA, dtype=object)[others.argmax(axis=1)]
    table["second_taxon"] = np.where(np.isnan(values).all(axis=1), None, second)
    table = pd.concat([table, p.astype(np.float32)], axis=1)
    table["boundary"], table["criterion"] = (_of_labels(labels, name, "") for name in ("boundary", "criterion"))
    table["margin"] = _of_labels(labels, "margin", np.nan).astype(np.float32)
    table["network_p"] = values[rows, first].astype(np.float32)
    table["disagrees"] = (table["source"] == "statistical").to_numpy() & (others.max(axis=1) > values[rows, first])
    return table.reset_index()


def _of_labels(labels: pd.DataFrame, name: str, absent) -> np.ndarray:
    """A column of the labels, (n,); labels that the user gave lack some."""
    return labels[name].to_numpy() if name in labels else np.full(len(labels), absent)

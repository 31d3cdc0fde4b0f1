"""The gallery: typical, borderline and reassigned CpGs of each taxon, with their statistics."""

import base64
import io
import urllib.parse

import numpy as np
import pandas as pd
from PIL import Image

from cpgtaxa.files import parquet_blocks
from cpgtaxa.images.render import render
from cpgtaxa.names import MEANING, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.report.thresholds import nearest_criterion, number
from cpgtaxa.report.words import decimal, percent, signed, stage_name
from cpgtaxa.taxa.criteria import Answers

TYPICAL, BORDERLINE, REASSIGNED, RANDOM, ALMOST = "typical", "borderline", "reassigned", "random", "almost"
COLUMNS = (
    *("taxon", "group", "cpg", "source", "confidence", "second_taxon", "core_effect", "core_sd", "boundary"),
    *("criterion", "value", "cut", "reason"),
)


def png(code: np.ndarray) -> str:
    """An image's codes (224, 224) as base64 PNG, lossless, with a palette: a third of the bytes of RGB."""
    image = Image.frombytes("P", code.shape[::-1], code.tobytes())
    palette = [255, 255, 255] + [part for green in range(1, 256) for part in (0, green, 0)]
    image.putpalette(palette)
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def nearest_to_cuts(blocks, taxonomy: pd.DataFrame, settings: dict, most: int) -> dict[str, list[str]]:
    """By taxon the names of the CpGs that its rule labelled and that lie nearest to a criterion's cut.

    blocks: data frames of `statistics.compute`. settings: the config's section taxa. most: CpGs kept of each taxon,
    nearest first (ties by order); distances are in halves of a criterion's zone.
    """
    by_rules = taxonomy[taxonomy["source"] == "statistical"].set_index("cpg")["taxon"]
    kept = []
    for block in blocks:
        found = nearest_criterion(Answers(block, settings["thresholds"], settings["errors"]))
        taxon = by_rules.reindex(block["cpg"]).to_numpy(dtype=object)
        found = found.assign(cpg=block["cpg"].to_numpy(dtype=object), taxon=taxon)
        found = found[np.isfinite(found["distance"]) & found["taxon"].notna()]
        kept = [pd.concat([*kept, found]).sort_values("distance", kind="stable").groupby("taxon").head(most)]
    return {taxon: list(kept[0].loc[kept[0]["taxon"] == taxon, "cpg"]) if kept else [] for taxon in TAXA}


def choose_examples(
    taxonomy: pd.DataFrame, number: int, seed: int, near: dict[str, list[str]] | None = None
) -> dict[str, dict[str, list[int]]]:
    """Row numbers of the CpGs to show, by taxon and group, at most `number` in each group, none twice.

    Of each taxon: `typical`, labelled by the rules with the highest probability of the network (ties at random);
    `borderline`, half of them labelled by the rules but nearest to a cut (`near`: names by taxon, nearest first),
    the others placed by a network with the lowest confidence; `reassigned`, a random draw of those placed by a network.
    Of the Unclassified: `random`, and `almost`, those of the highest confidence.
    """
    rng = np.random.default_rng([seed, 17])
    shuffled = rng.permutation(len(taxonomy))
    taxon = taxonomy["taxon"].to_numpy(dtype=object)[shuffled]
    by_rules = (taxonomy["source"] == "statistical").to_numpy()[shuffled]
    confidence = taxonomy["confidence"].to_numpy(dtype=float)[shuffled]
    descending = np.argsort(-np.nan_to_num(confidence, nan=-1), kind="stable")
    ascending = np.argsort(np.nan_to_num(confidence, nan=2), kind="stable")
    row_of = pd.Series(np.arange(len(taxonomy)), index=taxonomy["cpg"])
    chosen = {}
    for name in TAXA:
        clear = shuffled[descending[((taxon == name) & by_rules)[descending]]]
        doubtful = shuffled[ascending[((taxon == name) & ~by_rules)[ascending]]]
        placed = shuffled[(taxon == name) & ~by_rules]
        close = [row_of[cpg] for cpg in (near or {}).get(name, [])]
        typical = _first(clear, number, ())
        half = number - number // 2 if len(doubtful) else number
        edge = _first(close, half, typical)
        edge += _first(doubtful, number - len(edge), edge)
        chosen[name] = {TYPICAL: typical, BORDERLINE: edge, REASSIGNED: _first(placed, number, edge)}
    left = taxon == UNCLASSIFIED
    almost = _first(shuffled[descending[left[descending]]], number, ())
    chosen[UNCLASSIFIED] = {ALMOST: almost, RANDOM: _first(shuffled[left], number, almost)}
    return chosen


def _first(rows, number: int, without) -> list[int]:
    """The first so many of the rows that are not among others."""
    apart = set(without)
    return [int(row) for row in rows if row not in apart][:number]


def gallery(inputs, taxonomy, labels, cohort, ages, config) -> tuple[list[dict], pd.DataFrame]:
    """What the page shows per taxon, groups of cards, one per CpG; and the same as a table of COLUMNS.

    inputs: attribute statistics, a Parquet file.
    """
    most, own = config["report"]["gallery"], config["taxa"]["labels"]
    near = {} if own else nearest_to_cuts(parquet_blocks(inputs.statistics), taxonomy, config["taxa"], 2 * most)
    chosen = choose_examples(taxonomy, most, config["seed"], near)
    every = [row for found in chosen.values() for rows in found.values() for row in rows]
    cpgs = taxonomy["cpg"].to_numpy(dtype=object)[every]
    codes = dict(zip(every, render(cohort.take(cohort.find(cpgs)), ages), strict=True)) if every else {}
    reasons = labels.set_index("cpg")["reason"].reindex(cpgs).fillna("").to_dict()
    wanted = set(cpgs)
    blocks = [block[block["cpg"].isin(wanted)] for block in parquet_blocks(inputs.statistics)]
    statistics = pd.concat(blocks, ignore_index=True).set_index("cpg")
    titles = {
        TYPICAL: "Typical: given" if own else "Typical: labelled by the rules, and the network is surest",
        BORDERLINE: "Borderline: labelled nearest to a criterion’s cut, or placed with the lowest confidence",
        REASSIGNED: "Reassigned: from Unclassified by a network, drawn at random",
        ALMOST: "Almost placed: the highest probabilities among them",
        RANDOM: "Drawn at random",
    }
    p = taxonomy[list(PROBABILITY_COLUMNS)].to_numpy()
    result, rows = [], []
    for taxon, found in chosen.items():
        groups = []
        for group, members in found.items():
            cards = []
            for row in members:
                card, numbers = _card(taxonomy.iloc[row], statistics, reasons, taxon, p[row], config)
                cards.append(card | {"png": png(codes[row])})
                rows.append({"taxon": taxon, "group": group} | numbers)
            groups.append({"key": group, "title": titles[group], "cards": cards})
        meaning = MEANING.get(taxon, "an open criterion leaves several taxa, or none of the ten describes it")
        result.append({"taxon": taxon, "meaning": meaning, "groups": [one for one in groups if one["cards"]]})
    return result, pd.DataFrame(rows, columns=list(COLUMNS))


def _card(row, statistics, reasons, taxon, p, config) -> tuple[dict, dict]:
    """A CpG's card, and its row of the table. row: of the taxonomy."""
    cpg, one = row["cpg"], statistics.loc[[row["cpg"]]]
    effect, sd = float(one["core_effect"].iat[0]), float(one["core_sd"].iat[0])
    card = {"cpg": cpg, "source": stage_name(row["source"], config), "confidence": percent(row["confidence"])}
    card |= {"link": "explorer.html#cpg=" + urllib.parse.quote(str(cpg), safe="")}
    card |= {"effect": signed(effect), "sd": decimal(sd), "reason": reasons[cpg], "likely": [], "decides": None}
    second = row["second_taxon"] if isinstance(row["second_taxon"], str) else ""
    card["second"] = second
    if second and not np.isnan(p).any():
        card["second_share"] = percent(float(p[TAXA.index(second)])) if second in TAXA else ""
    numbers = {
        **{"cpg": cpg, "source": row["source"], "confidence": row["confidence"], "second_taxon": second},
        **{"core_effect": effect, "core_sd": sd, "boundary": row.get("boundary") or "", "reason": reasons[cpg]},
    }
    if taxon == UNCLASSIFIED:
        if not np.isnan(p).any():
            best = np.argsort(-p, kind="stable")[:2]
            card["likely"] = [(TAXA[index], percent(float(p[index]), 0)) for index in best]
    elif not (settings := config["taxa"])["labels"]:
        found = nearest_criterion(Answers(one, settings["thresholds"], settings["errors"])).iloc[0]
        if np.isfinite(found["distance"]):
            card["decides"] = {key: number(found[key]) for key in ("value", "cut")}
            card["decides"]["name"] = found["criterion"].replace("_", " ")
            card["decides"]["boundary"] = numbers["boundary"] == found["criterion"]
            numbers |= {key: found[key] for key in ("criterion", "value", "cut")}
    return card, numbers

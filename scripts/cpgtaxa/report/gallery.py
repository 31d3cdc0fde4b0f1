"""The gallery: typical, borderline and reassigned CpGs of each taxon, with their statistics."""

import urllib.parse

import numpy as np
import pandas as pd

from cpgtaxa.files import parquet_blocks
from cpgtaxa.images.render import png_text, render
from cpgtaxa.names import MEANING, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.report.thresholds import nearest_criterion
from cpgtaxa.report.words import percent, stage_name
from cpgtaxa.taxa.criteria import Answers
from cpgtaxa.wording import decimal, number, signed

TYPICAL, BORDERLINE, REASSIGNED, RANDOM, ALMOST = "typical", "borderline", "reassigned", "random", "almost"
LEAST_SHOWN = 0.005
"""Probabilities below this are left out: they would read 0 %."""
COLUMNS = (
    "taxon", "group", "cpg", "source", "confidence", "network_p", "second_taxon", "core_effect", "core_sd", "boundary",
    "criterion", "value", "cut", "reason",
)  # fmt: skip


def choose_examples(taxonomy: pd.DataFrame, number: int, seed: int) -> dict[str, dict[str, list[int]]]:
    """Row numbers of the CpGs to show, by taxon and group, at most `number` in each group, none twice.

    Of each taxon: `typical`, labelled by the rules, clear before boundary CpGs, first those to which the network gives
    the highest probability (ties at random); `borderline`, half of them labelled by the rules but nearest to a cut (by
    `margin`), the others placed by a network with the lowest confidence; `reassigned`, a random draw of those placed by
    a network. Of the Unclassified: `random`, and `almost`, those of the highest probability.
    """
    rng = np.random.default_rng([seed, 17])
    shuffled = rng.permutation(len(taxonomy))
    taxon = taxonomy["taxon"].to_numpy(dtype=object)[shuffled]
    by_rules = (taxonomy["source"] == "statistical").to_numpy()[shuffled]
    numbers = {name: taxonomy[name].to_numpy(dtype=float)[shuffled] for name in ("confidence", "network_p", "margin")}
    boundary = (taxonomy["boundary"] != "").to_numpy()[shuffled]
    surest = -np.nan_to_num(numbers["network_p"], nan=-1)
    descending, clear_first = np.argsort(surest, kind="stable"), np.lexsort((surest, boundary))
    ascending = np.argsort(np.nan_to_num(numbers["confidence"], nan=2), kind="stable")
    nearest = np.argsort(numbers["margin"], kind="stable")
    chosen = {}
    for name in TAXA:
        mine, known = taxon == name, np.isfinite(numbers["margin"])
        clear = shuffled[clear_first[(mine & by_rules)[clear_first]]]
        close = shuffled[nearest[(mine & by_rules & known)[nearest]]]
        doubtful = shuffled[ascending[(mine & ~by_rules)[ascending]]]
        placed = shuffled[mine & ~by_rules]
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
    chosen = choose_examples(taxonomy, most, config["seed"])
    every = [row for found in chosen.values() for rows in found.values() for row in rows]
    cpgs = taxonomy["cpg"].to_numpy(dtype=object)[every]
    codes = dict(zip(every, render(cohort.take(cohort.find(cpgs)), ages), strict=True)) if every else {}
    reasons = labels.set_index("cpg")["reason"].reindex(cpgs).fillna("").to_dict()
    wanted = set(cpgs)
    blocks = [block[block["cpg"].isin(wanted)] for block in parquet_blocks(inputs.statistics)]
    statistics = pd.concat(blocks, ignore_index=True).set_index("cpg")
    titles = {
        TYPICAL: "Typical: given" if own else "Typical: labelled by the rules, clear of any zone, the network agrees",
        BORDERLINE: "Borderline: labelled nearest to a criterion’s cut, or placed with the lowest confidence",
        REASSIGNED: "Reassigned: from Unclassified by a network, drawn at random",
        ALMOST: "The highest probabilities of the network, and yet not placed",
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
                cards.append(card | {"png": png_text(codes[row])})
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
    card |= {"network": percent(row["network_p"]), "disagrees": bool(row["disagrees"])}
    card |= {"link": "explorer.html#cpg=" + urllib.parse.quote(str(cpg), safe="")}
    card |= {"effect": signed(effect), "sd": decimal(sd), "reason": reasons[cpg], "likely": [], "decides": None}
    second = row["second_taxon"] if isinstance(row["second_taxon"], str) else ""
    card["second"] = second
    if second and not np.isnan(p).any():
        card["second_share"] = percent(float(p[TAXA.index(second)])) if second in TAXA else ""
    numbers = {
        "cpg": cpg,
        "source": row["source"],
        "confidence": row["confidence"],
        "network_p": row["network_p"],
        "second_taxon": second,
        "core_effect": effect,
        "core_sd": sd,
        "boundary": row.get("boundary") or "",
        "reason": reasons[cpg],
    }
    if taxon == UNCLASSIFIED:
        if not np.isnan(p).any():
            best = np.argsort(-p, kind="stable")[:2]
            card["likely"] = [(TAXA[index], percent(float(p[index]), 0)) for index in best if p[index] >= LEAST_SHOWN]
    elif not (settings := config["taxa"])["labels"]:
        found = nearest_criterion(Answers(one, settings["thresholds"], settings["errors"])).iloc[0]
        if found["criterion"]:
            card["decides"] = {key: number(found[key]) for key in ("value", "cut")}
            card["decides"]["name"] = found["criterion"].replace("_", " ")
            card["decides"]["boundary"] = numbers["boundary"] == found["criterion"]
            numbers |= {key: found[key] for key in ("criterion", "value", "cut")}
    return card, numbers

"""Why a CpG has its taxon: what its network saw and looked at, what the tests found, on one page.

Where a network looked is shown in two ways. Integrated gradients (Sundararajan et al. 2017, ICML) share the taxon's
log-odds among the pixels: their sum is what the image adds to an empty one. And samples are left out, a fifth of the
ages and a tenth of the beta scale at a time, and the image drawn anew: what the log-odds then lose.

On eleven simulated CpGs and the shipped network, maps went with such losses with a rank correlation of 0.49 for
integrated gradients, 0.59 for occlusion (patches of 8 pixels) and below 0.1 for Grad-CAM, too coarse at 64 pixels; of
what they show, 100, 52 and 17 % lay on discs. Hence integrated gradients for the map, and samples left out beside it.
"""

import base64
import difflib
import io
import pathlib
import typing

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients
from PIL import Image

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError
from cpgtaxa.files import atomic, parquet_blocks, read_parquet
from cpgtaxa.images.render import png_text, render
from cpgtaxa.learning.classifier import draw
from cpgtaxa.learning.networks import load_predictor
from cpgtaxa.names import INDEX, MEANING, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.pages.drawing import ACCENT, SECOND, Figures, figures_in
from cpgtaxa.pages.page import write_page
from cpgtaxa.plan.paths import model_of
from cpgtaxa.progress import Progress
from cpgtaxa.report.thresholds import in_units
from cpgtaxa.report.words import percent
from cpgtaxa.statistics.kernel import OUTLIER_IQR, OUTLIER_MARGIN
from cpgtaxa.taxa.criteria import BY_NAME, PATTERNS, RULES, TABLE, Answers
from cpgtaxa.wording import number, plural, signed

COLUMNS = ("cpg", "kind", "name", "detail", "value")
CRITERION = ("answer", "matters", "boundary", "estimate", "error", "no", "cut", "yes")
"""What the table of numbers has of each criterion."""
FOR, AGAINST = np.array([179.0, 88.0, 6.0]), np.array([84.0, 39.0, 136.0])
"""Ends of ColorBrewer's PuOr, safe for the colour-blind: orange speaks for the taxon, purple against it."""
STEPS, MOST_STEPS, TOLERANCE = 32, 256, 0.05
"""Steps of the integrated gradients: doubled up to the most, until their sum is right to this share."""
FIFTHS, BANDS = 5, 10
"""Parts of the ages (of equal numbers of samples) and of the beta scale (of equal width) left out in turn."""
HINTS = 3


# Which CpGs


def find(cohort: Cohort, cpgs: list[str]) -> np.ndarray:
    """Row numbers of CpGs in the cohort, int64. Raises InputError with all unknown names and what they are close to."""
    place = {name: row for row, name in enumerate(cohort.cpgs)}
    unknown = [cpg for cpg in cpgs if cpg not in place]
    if unknown:
        raise InputError(
            [f"cpgs: {cpg[:80]!r} is not a CpG of the cohort; {_close(cpg, cohort.cpgs)}" for cpg in unknown]
        )
    return np.array([place[cpg] for cpg in cpgs], dtype=np.int64)


def _close(cpg: str, names) -> str:
    """What an unknown name may have been meant for: a slip of the pen spares its first or its last half."""
    low, half = cpg.lower(), (len(cpg) + 1) // 2
    pool = {}
    for name in names:
        other = name.lower()
        if other[:half] == low[:half] or other[-half:] == low[-half:]:
            pool[other] = name
            if len(pool) == 10_000:
                break
    close = difflib.get_close_matches(low, pool, HINTS, 0.7)
    if close:
        return f"did you mean {' or '.join(repr(pool[name]) for name in close)}?"
    return "look for it in results/taxonomy.csv.gz (CpGs that were left out on reading are in none of the results)"


# What the network looks at


def log_odds(network, planes, taxon: int, temperature: float) -> torch.Tensor:
    """Calibrated log-odds of a taxon against all others, (n,), of a network that takes planes (n, 2, size, size)."""
    logits = network(planes).float() / temperature
    others = torch.cat([logits[:, :taxon], logits[:, taxon + 1 :]], dim=1)
    return logits[:, taxon] - torch.logsumexp(others, dim=1)


class Attribution:
    """What the pixels add to a taxon's log-odds.

    pixels: (size, size) float64, their shares. empty, image: log-odds of an empty and of this image. delta: the sum of
    the shares, less the difference of the two.
    """

    def __init__(self, predictor, planes, taxon: int):
        """planes: (1, 2, size, size) uint8. taxon: its index."""
        network = torch.nn.Sequential(predictor.normalise, predictor.network.requires_grad_(False))

        def odds(images):
            return log_odds(network, images, taxon, predictor.temperature)

        image = torch.as_tensor(planes).to(predictor.device).float()
        with torch.no_grad():
            self.empty, self.image = odds(torch.cat([torch.full_like(image, 255.0), image])).tolist()
        steps = STEPS
        while True:
            shares, delta = IntegratedGradients(odds).attribute(
                image, baselines=255.0, n_steps=steps, internal_batch_size=STEPS, return_convergence_delta=True
            )
            self.delta = delta.item()
            if abs(self.delta) <= TOLERANCE * max(abs(self.image - self.empty), 1.0) or steps >= MOST_STEPS:
                break
            steps *= 2
        self.pixels = shares[0].sum(dim=0).cpu().numpy().astype(np.float64)


def left_out(predictor, beta, ages, taxon: int) -> pd.DataFrame:
    """What a taxon's log-odds lose without some of the samples, the image drawn anew.

    beta: (n,) float32, NaN = missing. Returns fifth (of the ages, from 0), band (of beta, from 0), age_from, age_to,
    n (samples left out), change (of the log-odds without them; negative: they speak for the taxon).
    """
    edges = np.unique(np.quantile(ages, np.linspace(0, 1, FIFTHS + 1)))
    fifth = np.searchsorted(edges[1:-1], ages, side="right")
    seen = np.isfinite(beta)
    band = np.clip(np.where(seen, beta, 0) * BANDS, 0, BANDS - 1).astype(int)
    cells = sorted(set(zip(fifth[seen].tolist(), band[seen].tolist(), strict=True)))
    if not cells:
        return pd.DataFrame(columns=["fifth", "band", "age_from", "age_to", "n", "change"])
    chosen = [(fifth == one) & (band == other) & seen for one, other in cells]
    images = np.stack([beta, *(np.where(gone, np.float32(np.nan), beta) for gone in chosen)])
    with torch.no_grad():
        planes = torch.as_tensor(draw(images, ages, predictor)).to(predictor.device)
        odds = log_odds(lambda x: predictor.network(predictor.normalise(x)), planes, taxon, predictor.temperature)
    odds = odds.cpu().numpy().astype(np.float64)
    table = pd.DataFrame(cells, columns=["fifth", "band"])
    table["age_from"] = [ages[fifth == one].min() for one in table["fifth"]]
    table["age_to"] = [ages[fifth == one].max() for one in table["fifth"]]
    table["n"] = [int(gone.sum()) for gone in chosen]
    table["change"] = odds[1:] - odds[0]
    return table


def _colour(share) -> np.ndarray:
    """Colours (…, 3) from `AGAINST` at -1 over white to `FOR` at 1."""
    share = np.clip(np.asarray(share, dtype=float), -1, 1)[..., None]
    return 255 + np.abs(share) * (np.where(share > 0, FOR, AGAINST) - 255)


def overlay(planes, pixels, scale: float) -> np.ndarray:
    """RGB (size, size, 3) uint8: shares from -scale to scale in colour, over the image in light grey.

    planes: (2, size, size) uint8. pixels: (size, size), see `Attribution`.
    """
    share = np.clip(pixels / scale, -1, 1) if scale > 0 else np.zeros_like(pixels)
    grey = np.repeat((255 - 0.16 * (255 - planes[0].astype(float)))[..., None], 3, axis=-1)
    strength = np.sqrt(np.abs(share))[..., None]
    end = np.where(share[..., None] > 0, FOR, AGAINST)
    return np.rint(grey + strength * (end - grey)).astype(np.uint8)


def _rgb_png(image) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


# What the tests answered


def questions(answers: Answers, row: int = 0) -> list[dict]:
    """What the criteria ask of a CpG, one entry per criterion of the table.

    name, question, quantity, why: of the criterion. answer: yes, no or open; words: what it means. matters: whether the
    taxon depends on it. estimate, error: in the quantity's units; of a log one the error is a factor (None where the
    answer rests on counts). no, yes, cut: the zone and its middle. boundary: whether the CpG lies in the zone.
    """
    matter, found = answers.matter(), []
    for one in TABLE:
        given, zone = answers.by_criterion[one.name], answers.zones[one.name]
        answer = "yes" if given.yes[row] else "no" if given.no[row] else "open"
        error, matters = float(given.error[row]), bool(matter[one.name][row])
        found.append(
            {
                "name": one.name,
                "question": one.question,
                "quantity": one.quantity,
                "why": one.why,
                "answer": answer,
                "words": {"yes": one.yes, "no": one.no}.get(answer, "too few samples to say"),
                "matters": matters,
                "boundary": matters and bool(given.near[row]),
                "log": one.log,
                "estimate": float(in_units(one, given.estimate[row])),
                "error": (float(np.exp(error)) if one.log else error) if error > 0 else None,
                "no": zone["no"],
                "yes": zone["yes"],
                "cut": float(in_units(one, one.cut(zone))),
            }
        )
    return found


def asked_of(answers: Answers, taxon: str, row: int = 0) -> list[tuple[str, str]]:
    """The answers that a taxon asks for, in words, each with whether the CpG's is met, contradicted or open."""
    found = []
    for name, wanted in RULES[taxon].items():
        answer = answers.by_criterion[name]
        given = {True: answer.yes[row], False: answer.no[row]}
        if name == "two_bands":  # a smaller part that is no band leaves one
            given = {True: answers.bands[row] > 1, False: answers.bands[row] == 1}
        state = "met" if given[wanted] else "contradicted" if given[not wanted] else "open"
        words = BY_NAME[name].yes if wanted else BY_NAME[name].no
        if state == "contradicted" and name == "two_bands" and answer.yes[row]:
            words += f" (the smaller is no band: {BY_NAME['band_share'].name})"
        found.append((words, state))
    return found


# The lines of the tests

FITTED = ("effect", "level", "share", "band_sd")
"""What the statistics have of each band."""


class Line(typing.NamedTuple):
    """A band as the tests fitted it: slope per year, level at the mean age, share of the samples, their sd."""

    slope: float
    level: float
    share: float
    sd: float


def lines(beta, ages, statistics: pd.DataFrame, bands: int) -> tuple[list[Line], np.ndarray]:
    """The lines that the statistics (one row) hold, lowest first; which samples are outliers, (n,) bool.

    bands: how many to show; one where the mixture of so many was not fitted.
    """
    s, seen = statistics.iloc[0], np.isfinite(beta)
    outlying = np.zeros(len(beta), dtype=bool)
    if seen.sum() < 2 or not np.isfinite(s["slope"]):
        return [], outlying
    x = ages[seen]
    if bands > 1 and np.isfinite(s[f"bic{bands}"]):
        prefix, names = ("three", ("low", "mid", "high")) if bands == 3 else ("two", ("low", "high"))
        width = np.quantile(x, 0.95) - np.quantile(x, 0.05)
        of = [[float(s[f"{prefix}_{what}_{name}"]) for what in FITTED] for name in names]
        return [Line(effect / width, *rest) for effect, *rest in of], outlying
    residual = beta[seen].astype(float) - s["slope"] * x
    low, high = np.quantile(residual, [0.25, 0.75])
    reach = OUTLIER_IQR * (high - low) + OUTLIER_MARGIN
    outlying[seen] = (residual < low - reach) | (residual > high + reach)
    if not outlying.any():
        return [Line(float(s["slope"]), float(s["mean"]), 1.0, float(s["core_sd"]))], outlying
    slope = float(s["core_slope"] if np.isfinite(s["core_slope"]) else s["slope"])
    level = float(s["median"] + slope * (x.mean() - np.median(x)))  # the mean is the outliers' too
    return [Line(slope, level, 1 - outlying.sum() / len(x), float(s["core_sd"]))], outlying


def plot(figures: Figures, name: str, beta, ages, fitted, outlying, title: str):
    """Age against beta with the fitted lines, as inline markup; fitted, outlying: of `lines`."""
    figure, axes = plt.subplots(figsize=(4.9, 3.3), dpi=150)
    seen = np.isfinite(beta)
    style = {"s": 9, "linewidths": 0, "alpha": 0.65, "rasterized": True}
    axes.scatter(ages[seen & ~outlying], beta[seen & ~outlying], color="#4a94cc", **style)
    if outlying.any():
        axes.scatter(
            ages[outlying], beta[outlying], s=30, facecolors="none", edgecolors=ACCENT, linewidths=1, label="outliers"
        )
    ends = np.array([ages.min(), ages.max()])
    middle = ages[seen].mean() if seen.any() else 0.0
    for at, line in enumerate(fitted):
        label = {1: "line of the tests"}.get(len(fitted), "lines of the mixture") if at == 0 else None
        axes.plot(ends, line.level + line.slope * (ends - middle), color=SECOND, lw=1.8, label=label)
    low, high = (np.nanmin(beta), np.nanmax(beta)) if seen.any() else (0.0, 1.0)
    room = max(0.05 - (high - low) / 2, 0.04 * (high - low))
    axes.set(xlabel="age (years)", ylabel="beta", ylim=(low - room, high + room))
    axes.grid(axis="y")
    if fitted:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1, handletextpad=0.5)
    data = pd.DataFrame({"age": ages, "beta": beta, "outlier": outlying})
    return figures.save(name, figure, data, title)


# The page


def verdict(row, p, reason: str, left, settings: dict) -> str:
    """One or two sentences: what gave the CpG its taxon, or what was lacking.

    row: of the taxonomy. p: (10,) the network's probabilities. left: the CpG's row of results/unclassified.parquet, or
    None where it is placed.
    """
    zone = f" It is a boundary CpG: {row['boundary'].replace('_', ' ')}." if row.get("boundary") else ""
    if row["source"] == "statistical":
        if settings["own_labels"]:
            return "The label was given (taxa.labels)."
        return f"The tests answer every question that {row['taxon']} asks: {reason}.{zone}"
    first = int(np.argmax(p))
    sure = f"{TAXA[first]} {percent(p[first])}"
    if row["source"] != "none":
        spared = ", and the tests do not rule it out" if settings["veto"] else ""
        chosen = f"{row['taxon']} {percent(p[INDEX[row['taxon']]])}"
        network = f"The network of {row['source'].replace('_', ' ')}"
        return f"{network} placed it: {chosen}, {_selection(settings)}{spared}.{zone}"
    if left is None:
        return "No network looked at it."
    detail = left.get("detail") or ""
    if left["reason"] == "contradicted":
        return f"The network favours {sure}, but the tests leave no taxon{f' ({detail})' if detail else ''}."
    if left["reason"] == "unlike":
        return (
            f"It is unlike the training CpGs, by its image or its statistics (p = {left['unlike_p']:.2g} against "
            f"simulated CpGs that the rules leave too), so that {sure} means little."
        )
    likely = left["taxa"].split("|") if left["taxa"] else []
    question = f" In question {plural(len(likely), 'is', 'are')} {', '.join(likely)}." if likely else ""
    return f"Ambiguous{f' ({detail})' if detail else ''}: {sure} was not selected.{question}"


def _selection(settings: dict) -> str:
    """What was asked of the network's call, in words."""
    if settings["confidence"] is not None:
        return f"at least the {100 * settings['confidence']:g} % asked for"
    rate = f"{100 * settings['error_rate']:g} %"
    return f"selected by the selection model (of the CpGs placed so, at most {rate} are wrong)"


def _looks(predictions, cpgs) -> dict[int, pd.DataFrame]:
    """By round, the probabilities of those CpGs that its network looked at, indexed by CpG."""
    found = {}
    for path in predictions:
        number = int(pathlib.Path(path).parent.parent.name.removeprefix("round_"))
        table = read_parquet(path)
        found.setdefault(number, []).append(table[table["cpg"].isin(cpgs)])
    columns = list(PROBABILITY_COLUMNS)
    return {number: pd.concat(tables).set_index("cpg")[columns] for number, tables in sorted(found.items())}


def _statistics_of(path, cpgs) -> pd.DataFrame:
    blocks = [block[block["cpg"].isin(cpgs)] for block in parquet_blocks(path)]
    return pd.concat(blocks, ignore_index=True).set_index("cpg", drop=False)


def _grid(table: pd.DataFrame) -> dict:
    """The samples left out as rows of cells for the page, highest beta first, and the ages of the columns."""
    ages = table.drop_duplicates("fifth").sort_values("fifth")
    scale = max(table["change"].abs().max(), 1e-9)
    rows = []
    for band in range(table["band"].max(), table["band"].min() - 1, -1):
        cells = []
        for fifth in ages["fifth"]:
            found = table[(table["fifth"] == fifth) & (table["band"] == band)]
            if len(found):
                change = found["change"].iat[0]
                share = -change / scale
                colour = "#" + "".join(f"{round(part):02x}" for part in _colour(share).tolist())
                ink = _ink(_colour(share))
                cells.append({"text": _signed(change), "n": found["n"].iat[0], "colour": colour, "ink": ink})
            else:
                cells.append(None)
        rows.append({"beta": f"{band / BANDS:.1f}–{(band + 1) / BANDS:.1f}", "cells": cells})
    return {"ages": [f"{row.age_from:.0f}–{row.age_to:.0f}" for row in ages.itertuples()], "rows": rows}


def _ink(colour) -> str:
    """White or black, whichever stands out more from a colour (3,) of sRGB, 0 to 255 (at least 4.5 to 1)."""
    part = np.asarray(colour, dtype=float) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return "#ffffff" if linear @ [0.2126, 0.7152, 0.0722] < 0.179 else "#000000"


def _signed(value) -> str:
    return signed(value, 1) if abs(value) >= 0.05 else "0.0"


def _view(predictor, beta, ages, taxa) -> dict:
    """What a network sees of a CpG and looks at for two taxa (names): images, maps, samples left out, numbers."""
    planes = np.asarray(torch.as_tensor(draw(beta[None], ages, predictor)).cpu())
    maps = [Attribution(predictor, planes, INDEX[taxon]) for taxon in taxa]
    inked = np.concatenate([np.abs(found.pixels[planes[0, 0] < 255]) for found in maps])
    scale = float(np.quantile(inked, 0.99)) if inked.size else 0.0
    return {
        "code": png_text(render(beta[None], ages)[0]),
        "seen": _rgb_png(planes[0][[0, 1, 0]].transpose(1, 2, 0)),
        "size": predictor.size,
        "scale": scale,
        "maps": [
            {"taxon": taxon, "png": _rgb_png(overlay(planes[0], found.pixels, scale)), "found": found}
            for taxon, found in zip(taxa, maps, strict=True)
        ],
        "left_out": {taxon: left_out(predictor, beta, ages, INDEX[taxon]) for taxon in taxa},
    }


def _numbers(entry: dict) -> pd.DataFrame:
    """The numbers behind a CpG's part of the page, as rows of COLUMNS."""
    rows = [("result", key, "", entry[key]) for key in ("taxon", "source", "confidence", "network_p", "second")]
    rows.append(("result", "reason", "", entry["reason"]))
    rows.append(("result", "network", "", entry["network"]))
    for line in entry["taxa"]:
        rows += [("probability", line["taxon"], stage, value) for stage, value in line["p"].items()]
        rows += [("rule", line["taxon"], name, state) for name, state in line["criteria"]]
        rows.append(("ruled out by the tests", line["taxon"], "", line["ruled_out"] or "no"))
    for asked in entry["questions"]:
        rows += [("criterion", asked["name"], key, asked[key]) for key in CRITERION if asked[key] is not None]
    rows += [("pattern", one.name, "", "found") for one in entry["patterns"]]
    for one in entry["view"]["maps"]:
        found = one["found"]
        numbers = {"empty image": found.empty, "this image": found.image, "sum of the pixels": found.pixels.sum()}
        numbers["error of the sum"] = found.delta
        rows += [("log-odds", one["taxon"], name, value) for name, value in numbers.items()]
        for cell in entry["view"]["left_out"][one["taxon"]].itertuples():
            where = f"without the {cell.n} samples of age {cell.age_from:g} to {cell.age_to:g} and beta "
            where += f"{cell.band / BANDS:.1f} to {(cell.band + 1) / BANDS:.1f}"
            rows.append(("change of log-odds", one["taxon"], where, cell.change))
    table = pd.DataFrame(rows, columns=list(COLUMNS[1:]))
    table["value"] = [
        f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value) for value in table["value"]
    ]
    table.insert(0, "cpg", entry["cpg"])
    return table


def _ruled_out_by(answers: Answers, index: int) -> str:
    """What of the tests rules out a taxon (its index), in words; empty where nothing does."""
    if answers.open[0, index]:
        return ""
    if answers.few[0]:
        return "too few samples"
    patterns = [name for name, found in answers.patterns.items() if found[0]]
    return f"the pattern found: {', '.join(patterns)}" if patterns else "the answers marked ✗"


def _taxa_lines(answers: Answers, looks: dict) -> list[dict]:
    """Per taxon: probabilities by round (`p`), the answers it asks for with their state, whether ruled out."""
    return [
        {
            "taxon": taxon,
            "meaning": MEANING[taxon],
            "p": {stage: float(values[index]) for stage, values in looks.items()},
            "criteria": asked_of(answers, taxon),
            "ruled_out": _ruled_out_by(answers, index),
        }
        for index, taxon in enumerate(TAXA)
    ]


def _entry(row, found: dict, at: int, predictor, beta, ages, answers: Answers, why: tuple, settings: dict) -> dict:
    """What the page says of a CpG. row: of the taxonomy. found: probabilities by round. at: round of the predictor.

    why: the tests' reason, and the row of `unclassified` or None. settings: own_labels, confidence, error_rate, veto.
    """
    seen = {f"round {number}": p for number, p in found.items()}
    p = found.get(at)
    if p is None:
        planes = torch.as_tensor(draw(beta[None], ages, predictor))
        logits = torch.as_tensor(predictor.logits(planes)) / predictor.temperature
        p = torch.softmax(logits, dim=1)[0].numpy().astype(float)
        seen = {f"round {at}, asked for this page": p}
    order = np.argsort(-p, kind="stable")
    taxon = TAXA[order[0]] if row["taxon"] == UNCLASSIFIED else row["taxon"]
    second = next(TAXA[index] for index in order if TAXA[index] != taxon)
    view = _view(predictor, beta, ages, (taxon, second))
    return {
        "taxon": row["taxon"],
        "likeliest": taxon,
        "source": row["source"],
        "confidence": float(row["confidence"]),
        "network_p": float(row["network_p"]),
        "second": second,
        "outdone": taxon != TAXA[order[0]],
        "looked": bool(found),
        "network": f"{model_of(at)} of round {at}",
        "reason": why[0],
        "verdict": verdict(row, p, *why, settings),
        "doubtful": bool(row["disagrees"]),
        "p_own": percent(float(p[INDEX[taxon]])),
        "taxa": _taxa_lines(answers, seen),
        "questions": questions(answers),
        "patterns": [one for one in PATTERNS if answers.patterns[one.name][0]],
        "few": bool(answers.few[0]),
        "view": view,
        "grid": _grid(view["left_out"][taxon]) if len(view["left_out"][taxon]) else None,
    }


def write_explanation(
    inputs, outputs: dict, cpgs, *, thresholds, errors, own_labels, confidence, error_rate, veto, device
) -> None:
    """Write the page and the table of numbers about the CpGs `cpgs` (names), in their order.

    inputs: attributes predictions (shards of all rounds), weights, stats, card (one per round), taxonomy, unclassified,
    labels, statistics, beta, samples. outputs: paths html, csv, figures (a folder). thresholds, errors: the
    config's, section taxa; own_labels: whether labels were given in place of the rules'; confidence, error_rate, veto:
    of the rounds. Raises InputError for unknown CpGs.
    """
    settings = {"own_labels": own_labels, "confidence": confidence, "error_rate": error_rate, "veto": veto}
    cohort, ages = Cohort(inputs.beta), read_samples(inputs.samples)["age"].to_numpy()
    values = cohort.take(find(cohort, cpgs))
    taxonomy = read_parquet(inputs.taxonomy).set_index("cpg")
    reasons = read_parquet(inputs.labels, columns=["cpg", "reason"]).set_index("cpg")["reason"]
    statistics = _statistics_of(inputs.statistics, cpgs)
    left_over = read_parquet(inputs.unclassified).set_index("cpg")
    looks = _looks(inputs.predictions, set(cpgs))
    networks = list(zip(inputs.weights, inputs.stats, inputs.card, strict=True))
    predictors, entries = {}, []
    with figures_in(outputs["figures"]) as figures:
        progress = Progress(len(cpgs), "CpGs explained")
        for at_cpg, (cpg, beta) in enumerate(zip(cpgs, values, strict=True), 1):
            row, one = taxonomy.loc[cpg], statistics.loc[[cpg]]
            found = {at: table.loc[cpg].to_numpy(dtype=float) for at, table in looks.items() if cpg in table.index}
            at = max(found, default=max(looks))
            if at not in predictors:
                how = {"model_name": model_of(at), "device": device, "precision": "float32"}
                predictors[at] = load_predictor(*networks[at], **how)
            left = left_over.loc[cpg] if cpg in left_over.index else None
            answers = Answers(one, thresholds, errors)
            entry = _entry(row, found, at, predictors[at], beta, ages, answers, (reasons[cpg], left), settings)
            fitted, outlying = lines(beta, ages, one, int(answers.bands[0]))
            title = f"Beta of {cpg} against age"
            drawn = plot(figures, f"cpg_{at_cpg}", beta, ages, fitted, outlying, title)
            entries.append(entry | {"cpg": cpg, "lines": fitted, "plot": drawn})
            progress.step()
    page = {
        "entries": entries,
        "n_samples": f"{cohort.n_samples:,}",
        "n_cpgs": f"{cohort.n_cpgs:,}",
        "ages": (f"{ages.min():.0f}", f"{ages.max():.0f}"),
        "asked": _selection(settings),
        "veto": veto,
        "own_labels": own_labels,
        "ends": ["#" + "".join(f"{round(part):02x}" for part in end.tolist()) for end in (AGAINST, FOR)],
    }
    write_page(outputs["html"], "explain.html.j2", page, {"percent": percent, "number": number, "signed": _signed})
    with atomic(outputs["csv"]) as temporary:
        pd.concat([_numbers(entry) for entry in entries]).to_csv(temporary, index=False)

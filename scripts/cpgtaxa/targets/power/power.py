"""How many people, of what ages: the chance that a CpG of a taxon gets it, by simulated cohorts."""

import collections
import itertools
import logging

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from cpgtaxa.learning.classifier import draw
from cpgtaxa.learning.networks import load_predictor
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.names import TAXA, UNCLASSIFIED
from cpgtaxa.pages.page import write_csv
from cpgtaxa.progress import Progress
from cpgtaxa.report.tables import wilson
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.targets.power.page import page
from cpgtaxa.targets.power.planted import draw_ages, effects, plant
from cpgtaxa.taxa import criteria
from cpgtaxa.taxa.labels import define_taxa, ruled_out

GOALS = (0.8, 0.9)
"""Chances for which the number of people is reported."""
SURE = 0.95
"""The network places a CpG that the tests leave open from this calibrated probability on."""
COHORT = "cohort"
"""Name of the design with this run's own ages."""
KEYS = ["taxon", "ages", "trend", "spread"]


def designs(settings: dict, own=None) -> dict:
    """By name how ages (n,) are drawn: a function of a generator and n. own: ages of the run's cohort, or None."""
    found = {}
    for low, high in settings["ages"]:
        for shape in settings["distribution"]:

            def drawn(rng, n, low=low, high=high, shape=shape):
                return draw_ages(rng, n, low, high, shape)

            alone = settings["distribution"] == ["uniform"]
            found[f"{low:g}–{high:g}" if alone else f"{low:g}–{high:g}, {shape}"] = drawn
    if own is not None:
        found[COHORT] = lambda rng, n: rng.choice(own, n)
    return found


def called(values, ages, sexes, predictor, rules: dict) -> tuple[np.ndarray, np.ndarray]:
    """The taxa (k,) that the tests give CpGs, and those with the network's (the same without a predictor).

    values: (k, n) float32; predictor: of `load_predictor`, or None; rules: thresholds and errors. The network chooses
    among the taxa that the tests leave, and is believed from SURE on; a run holds it to an error rate instead.
    """
    statistics = compute(values, ages, sexes)
    statistics.insert(0, "cpg", np.arange(len(values)).astype(str))
    tests = define_taxa(statistics, **rules)["taxon"].to_numpy(object)
    both, barred = tests.copy(), ruled_out(statistics, **rules)
    left = np.flatnonzero((tests == UNCLASSIFIED) & ~barred.all(axis=1))
    if predictor is not None and len(left):
        p = softmax(predictor.outputs(draw(values[left], ages, predictor))[0], predictor.temperature)
        p = np.where(barred[left], 0, p)
        sure = p.max(axis=1) >= SURE
        both[left[sure]] = np.array(TAXA, dtype=object)[p.argmax(axis=1)[sure]]
    return tests, both


def power(settings: dict, *, seed: int, rules: dict, predictor=None, own=None) -> pd.DataFrame:
    """One row per taxon, effect, design of ages and number of people.

    settings: the config's `power`. rules: `taxa.thresholds` and `taxa.errors`. Returns KEYS, people, cpgs, right (what
    is true of most of these CpGs by the criteria, "A|B"), tests (the chance that the tests give the taxon), power (that
    tests or network do), low, high (its 95 % interval), none (that nothing gives one), instead and instead_share (the
    taxon given most often in its place).
    """
    cells = list(
        itertools.product(
            enumerate(effects(settings["taxa"], settings["trend"], settings["spread"])),
            enumerate(designs(settings, own).items()),
            sorted(settings["people"]),
        )
    )
    rows, progress = [], Progress(len(cells), "designs")
    for (number, effect), (place, (name, ages_of)), people in cells:
        stream = [seed, 53, number, place, people]
        ages = ages_of(np.random.default_rng([*stream, 0]), people)
        values, setting, profiles = plant(stream, effect, ages, settings["sd"], settings["cpgs"])
        tests, both = called(values, ages, setting.sex, predictor, rules)
        hits, k = int((both == effect.taxon).sum()), len(both)
        others = collections.Counter(both[(both != effect.taxon) & (both != UNCLASSIFIED)].tolist())
        other, times = others.most_common(1)[0] if others else ("", 0)
        low, high = wilson(hits, k)
        rows.append(
            {
                "taxon": effect.taxon,
                "ages": name,
                "trend": effect.trend,
                "spread": effect.spread,
                "people": people,
                "cpgs": k,
                "right": truth(profiles, setting, rules["thresholds"]),
                "tests": float((tests == effect.taxon).mean()),
                "power": hits / k,
                "low": float(low),
                "high": float(high),
                "none": float((both == UNCLASSIFIED).mean()),
                "instead": other,
                "instead_share": times / k,
            }
        )
        progress.step(1)
    return pd.DataFrame(rows)


def truth(profiles, setting, zones: dict) -> str:
    """The taxa that are right for most of some CpGs, as "A|B"."""
    quantities = pd.DataFrame([profile.quantities(setting) for profile in profiles])
    right = criteria.admissible({name: quantities[name].to_numpy() for name in quantities}, zones)
    names = ["|".join(itertools.compress(TAXA, row)) for row in right]
    return collections.Counter(names).most_common(1)[0][0]


def crossing(people, chance, goal: float) -> float:
    """The fewest people with whom the chance is `goal`: interpolated in log people; NaN where it is not reached."""
    if chance[-1] < goal:
        return np.nan
    at = int(np.argmax(chance >= goal))
    if at == 0:
        return float(people[0])
    share = (goal - chance[at - 1]) / (chance[at] - chance[at - 1])
    return float(np.ceil(np.exp(np.interp(share, [0, 1], np.log(people[at - 1 : at + 1]))) - 1e-9))


def needed(table: pd.DataFrame) -> pd.DataFrame:
    """How many people reach the GOALS, by KEYS: people_80, people_80_low, people_80_high …, most (the highest power).

    Power grows with people (isotonic regression); a number's interval comes from that of the power. Numbers are NaN
    where the goal is not reached with the most people looked at, and the fewest where it is reached with these.
    """
    rows = []
    for key, cell in table.groupby(KEYS, sort=False, dropna=False):
        cell = cell.sort_values("people")
        people, rising = cell["people"].to_numpy(float), IsotonicRegression()
        curve = {name: rising.fit_transform(np.log(people), cell[name]) for name in ("power", "low", "high")}
        row = dict(zip(KEYS, key, strict=True)) | {"right": cell["right"].iloc[-1]}
        for goal in GOALS:
            name = f"people_{100 * goal:.0f}"
            row[name] = crossing(people, curve["power"], goal)
            row[f"{name}_low"], row[f"{name}_high"] = (crossing(people, curve[end], goal) for end in ("high", "low"))
        rows.append(row | {"most": float(curve["power"][-1])})
    return pd.DataFrame(rows)


def run(network, samples, outputs: dict, settings: dict, *, seed: int, rules: dict, device: dict) -> None:
    """Simulate, and write tables and page.

    network: files of the shipped network, or None where it is not asked. samples: ages (n,) of the run's own cohort, or
    None. outputs: paths `power`, `people`, `html`, `figures`.
    """
    predictor = load_predictor(**network, model_name="ResNet18", **device) if network else None
    table = power(settings, seed=seed, rules=rules, predictor=predictor, own=samples)
    people = needed(table)
    for name, frame in (("power", table), ("people", people)):
        write_csv(outputs[name], frame)
    reached = int(people["people_80"].notna().sum())
    logging.info(f"{reached} of {len(people)} taxa, effects and designs reach a power of 0.8")
    page(outputs, table, people, settings, asks_network=predictor is not None)

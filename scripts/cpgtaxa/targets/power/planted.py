"""CpGs of a taxon with effects of a chosen size, in cohorts that do not exist yet."""

import dataclasses
import math

import numpy as np

from cpgtaxa.simulation.simulate import (
    WITH_CHANGING_SPREAD,
    WITH_TREND,
    Profile,
    Setting,
    draw_profile,
    draw_values,
    make_setting,
)

SHAPES = {"uniform": (1.0, 1.0), "bell": (2.5, 2.5), "young": (1.3, 3.0), "old": (3.0, 1.3)}
"""Beta distributions of the ages between the ends of their range."""
ROOM = 0.97
"""Share of 0 to 1 that bands and trends may fill."""


@dataclasses.dataclass(frozen=True)
class Effect:
    """What is planted: trend, a change of beta per decade; spread, a ratio of standard deviations per decade.

    NaN where the taxon has none.
    """

    taxon: str
    trend: float = math.nan
    spread: float = math.nan


def effects(taxa, trends, spreads) -> list[Effect]:
    """The effects to plant: of each taxon all pairs of those that it has."""
    found = []
    for taxon in taxa:
        of_trend = trends if taxon in WITH_TREND else [math.nan]
        of_spread = spreads if taxon in WITH_CHANGING_SPREAD else [math.nan]
        found += [Effect(taxon, trend, spread) for trend in of_trend for spread in of_spread]
    return found


def draw_ages(rng, n: int, low: float, high: float, shape: str) -> np.ndarray:
    """Ages (n,) in years between low and high, distributed as SHAPES has it."""
    return low + rng.beta(*SHAPES[shape], n) * (high - low)


def planted(rng, effect: Effect, setting: Setting, sd: float) -> Profile:
    """The parameters of a CpG with this effect, all bands alike; sd: standard deviation of a band (beta).

    All else is drawn as for any simulated CpG of the taxon. Of taxa without trend and changing spread, everything is.
    Levels are moved to where bands and trend have room between 0 and 1; where they have none, bands and noise shrink.
    """
    profile = draw_profile(rng, effect.taxon, setting)
    if math.isnan(effect.trend) and math.isnan(effect.spread):
        return profile
    decades, bands = setting.span / 10, len(profile.levels)
    sign = 1.0 if rng.random() < 0.5 else -1.0
    change = tuple(np.asarray(profile.effects) * sd / np.asarray(profile.sds))
    if not math.isnan(effect.trend):
        change = (sign * effect.trend * decades,) * bands
    log_ratio = profile.log_ratio if math.isnan(effect.spread) else math.log(effect.spread) * decades
    reach = 0.55 * max(map(abs, change)) + 1.2 * sd * math.exp(min(abs(log_ratio) / 2, 1.5))
    gaps = np.maximum(np.diff(profile.levels), 6 * sd)
    room = ROOM - 2 * reach
    if gaps.sum() > room > 0:
        gaps *= room / gaps.sum()
    levels = np.concatenate([[0], np.cumsum(gaps)])
    middle = float(np.mean(profile.levels))
    edge = reach + levels[-1] / 2 + (1 - ROOM) / 2
    middle = min(max(middle, edge), 1 - edge) if edge < 0.5 else 0.5
    return dataclasses.replace(
        profile,
        levels=tuple(map(float, levels - levels[-1] / 2 + middle)),
        sds=(sd,) * bands,
        effects=tuple(map(float, change)),
        log_ratio=float(log_ratio),
        curve=float(np.clip(0.12 * rng.normal() * sd, -1.5 * sd, 1.5 * sd)),
    )


def plant(seed, effect: Effect, ages: np.ndarray, sd: float, cpgs: int) -> tuple[np.ndarray, Setting, list[Profile]]:
    """Values (cpgs, n) float32 of CpGs with an effect in one cohort of these ages, its setting, and the parameters.

    seed: numbers that, with a CpG's own, make its random stream.
    """
    setting = make_setting(ages, np.random.default_rng([*seed, 1]))
    streams = [np.random.default_rng([*seed, 2, number]) for number in range(cpgs)]
    profiles = [planted(rng, effect, setting, sd) for rng in streams]
    values = [draw_values(rng, profile, setting) for rng, profile in zip(streams, profiles, strict=True)]
    return np.stack(values), setting, profiles

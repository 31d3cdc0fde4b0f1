"""One simulated CpG in several cohorts, for the benchmarks of targets that look at several."""

import numpy as np
from cpgtaxa.simulation.simulate import Profile, Setting, draw_cpg, draw_values


def draw_in_cohorts(
    seed: int, index: int, taxon: str | None, settings: list[Setting]
) -> tuple[Profile, list[np.ndarray]]:
    """Its profile, drawn for the first of them, and its values (n,) in each.

    Every cohort has its own people and noise. What is clear in the first need not be so in a smaller one.
    """
    profile, first = draw_cpg(seed, index, taxon, settings[0])
    streams = (np.random.default_rng([seed, index, number]) for number in range(1, len(settings)))
    return profile, [first, *map(draw_values, streams, [profile] * (len(settings) - 1), settings[1:])]

"""Which records a model learns from, and which it is tested on."""

import hashlib

import numpy as np

from cpgtaxa.targets.ecg.plan import PARTS

BINS = {
    "child": (np.arange(1.0, 10.0), [str(age) for age in range(10)]),
    "adult": (np.arange(30.0, 101.0, 10.0), ["19–29", *(f"{low}–{low + 9}" for low in range(30, 100, 10)), "100+"]),
}
"""Edges and names of a group's age bins, as published: a year of children, ten of adults."""


def bin_of(ages: np.ndarray, group: str) -> np.ndarray:
    """The number of each age's bin."""
    return np.digitize(ages, BINS[group][0])


def tenths(patients: np.ndarray, bins: np.ndarray, seed: int) -> np.ndarray:
    """The tenth, (n,) int8, in which each record is held out: about as many of each age bin in each.

    Patients stay together, in the bin of their first record. Within a bin they come at random, by a hash of name and
    seed (others' coming and going does not move them against each other), and are dealt out one by one.
    """
    names, first = np.unique(patients.astype(str), return_index=True)
    drawn = [hashlib.sha256(f"{seed} {name}".encode()).digest() for name in names]
    order = sorted(range(len(names)), key=lambda at: (bins[first[at]], drawn[at]))
    tenth = {names[at]: place % PARTS for place, at in enumerate(order)}
    return np.array([tenth[name] for name in patients.astype(str)], dtype=np.int8)

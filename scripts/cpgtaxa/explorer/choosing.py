"""Which CpGs a page holds by itself, and which samples are drawn."""

import numpy as np


def shares(sizes: np.ndarray, most: int) -> np.ndarray:
    """How many to take of groups of these sizes, `most` in all: as many of each, and small groups whole."""
    sizes = np.asarray(sizes, dtype=np.int64)
    taken = np.zeros_like(sizes)
    while (left := min(most, int(sizes.sum())) - int(taken.sum())) > 0:
        open_ = np.flatnonzero(taken < sizes)
        each = max(left // len(open_), 1)
        # The rest that is less than one each goes to the largest groups.
        chosen = open_ if left >= len(open_) else open_[np.argsort(-sizes[open_], kind="stable")[:left]]
        taken[chosen] = np.minimum(taken[chosen] + each, sizes[chosen])
    return taken


def choose_cpgs(groups: np.ndarray, most: int, seed: int, first: np.ndarray | None = None) -> np.ndarray:
    """Row numbers, ascending, of at most `most` CpGs, at random but as many of each group as can be.

    groups: (n,) int, such as taxon and round together, so that what is rare is there too. first: (n,) bool, CpGs that
    go before the others of their group (those on the map).
    """
    if len(groups) <= most:
        return np.arange(len(groups))
    names, group = np.unique(groups, return_inverse=True)
    order = np.random.default_rng([seed, 53]).permutation(len(groups))
    if first is not None:
        order = order[np.argsort(~first[order], kind="stable")]
    order = order[np.argsort(group[order], kind="stable")]
    sizes = np.bincount(group, minlength=len(names))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    taken = shares(sizes, most)
    return np.sort(np.concatenate([order[start : start + n] for start, n in zip(starts, taken, strict=True)]))


def choose_samples(ages: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Numbers, ascending, of at most `most` samples: one at random of each of as many neighbourhoods in age."""
    if len(ages) <= most:
        return np.arange(len(ages))
    by_age = np.argsort(ages, kind="stable")
    edges = np.arange(most + 1) * len(ages) // most
    place = np.random.default_rng([seed, 59]).random(most)
    return np.sort(by_age[(edges[:-1] + place * np.diff(edges)).astype(np.int64)])

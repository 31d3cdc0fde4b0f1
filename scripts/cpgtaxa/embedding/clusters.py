"""Are ten taxa needed, and enough? Answers from a network's features, the (n, d) numbers it describes images by.

Needed: is each pair of taxa separable in the features? Enough: do the CpGs without a taxon form clusters, and is
any of them more than what lies between two taxa? A cluster counts if it is found again in subsamples (Hennig 2007), and
is more than in-between if its CpGs keep to themselves among the nearest of what is known: placed CpGs and simulated
boundary CpGs (the nearest-neighbour two-sample statistic, Schilling 1986, on equal numbers of both).
"""

import itertools

import numpy as np
import pandas as pd
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cpgtaxa.names import TAXA
from cpgtaxa.progress import Progress

DIMENSIONS = 20
"""Principal components kept of the features: 95 % of their variance and more."""

FEWEST = 10
"""CpGs of a taxon from which it is compared with others."""
FOLDS = 5
APART, CLOSE = 0.9, 0.75
"""Lower bounds (95 %) of the balanced accuracy from which two taxa are apart, or close."""

FEWEST_UNCLASSIFIED = 60
SMALLEST, SMALLEST_SHARE = 15, 0.02
"""A cluster has at least so many CpGs, and this share of the Unclassified ones."""
DENSITY_NEIGHBOURS = 10
"""HDBSCAN's min_samples: fewer split boundary CpGs of one kind, more lose small clusters."""

SUBSAMPLES, SUBSAMPLE_SHARE = 30, 0.75
STABLE = 0.75
"""Mean Jaccard similarity from which a cluster counts as stable (Hennig 2007)."""

COMPARED, NEIGHBOURS = 60, 5
"""CpGs of a cluster, and as many known ones, that are compared by their nearest neighbours."""
ISOLATED = 0.75
"""Share of own neighbours from which a cluster is apart from all known CpGs: 0.5 is mixed, 1 is apart."""

CANDIDATE = "candidate new taxon"
"""Name of a cluster that is stable and apart from all known CpGs."""

PAIR_COLUMNS = ("taxon_a", "taxon_b", "n_a", "n_b", "balanced_accuracy", "low", "verdict")
VERDICTS = ("apart", "close", "overlapping", "too few")


def project(features: np.ndarray) -> np.ndarray:
    """Features (n, d) on their first principal components, (n, at most DIMENSIONS)."""
    dimensions = min(DIMENSIONS, *features.shape)
    if len(features) < 2:
        return np.zeros((len(features), max(dimensions, 1)))
    return PCA(dimensions, svd_solver="full").fit_transform(np.asarray(features, dtype=np.float64))


# Needed


def _verdict(low: float) -> str:
    if np.isnan(low):
        return "too few"
    return "apart" if low >= APART else "close" if low >= CLOSE else "overlapping"


def _pair(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[float, float]:
    """Cross-validated balanced accuracy of a logistic regression between two groups of rows, and its lower bound.

    The bound is one-sided, 95 %, from the recalls of both (Agresti and Coull's estimate of a share).
    """
    if min(len(a), len(b)) < FEWEST:
        return np.nan, np.nan
    x, y = np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    right = cross_val_predict(model, x, y, cv=folds) == y
    recalls = np.array([right[y == side].mean() for side in (0, 1)])
    n = np.array([len(a), len(b)])
    careful = (recalls * n + 2) / (n + 4)
    error = 0.5 * np.sqrt((careful * (1 - careful) / (n + 4)).sum())
    return float(recalls.mean()), float(careful.mean() - 1.645 * error)


def separability(x: np.ndarray, taxon: np.ndarray, seed: int) -> pd.DataFrame:
    """How separable each pair of taxa is: PAIR_COLUMNS, the least separable pair first, uncompared ones last.

    x: (n, d) projected features of placed CpGs. taxon: (n,) their taxa. `low` is the lower bound of the accuracy.
    """
    rows = []
    for one, other in itertools.combinations(TAXA, 2):
        a, b = x[taxon == one], x[taxon == other]
        accuracy, low = _pair(a, b, seed)
        rows.append((one, other, len(a), len(b), accuracy, low, _verdict(low)))
    table = pd.DataFrame(rows, columns=list(PAIR_COLUMNS))
    return table.sort_values("balanced_accuracy", kind="stable", na_position="last").reset_index(drop=True)


def nearest(pairs: pd.DataFrame) -> pd.DataFrame:
    """Each taxon's least separable other: taxon, n, nearest, balanced_accuracy, low, verdict, in the taxa's order.

    pairs: of `separability`. `nearest` is empty where there was nothing to compare.
    """
    turned = pairs.rename(columns={"taxon_a": "taxon_b", "taxon_b": "taxon_a", "n_a": "n_b", "n_b": "n_a"})
    both = pd.concat([pairs, turned], ignore_index=True)
    both = both.sort_values("balanced_accuracy", kind="stable", na_position="last").drop_duplicates("taxon_a")
    both = both.set_index("taxon_a").loc[list(TAXA)].rename_axis("taxon").reset_index()
    both = both.rename(columns={"n_a": "n", "taxon_b": "nearest"}).drop(columns="n_b")
    both["nearest"] = both["nearest"].where(both["verdict"] != "too few", "")
    return both[["taxon", "n", "nearest", "balanced_accuracy", "low", "verdict"]]


# Enough


def _hdbscan(x: np.ndarray, smallest: int) -> np.ndarray:
    # Leaves of the tree: by "excess of mass" one odd cluster would leave all others a single one.
    model = HDBSCAN(
        min_cluster_size=max(smallest, 2),
        min_samples=min(DENSITY_NEIGHBOURS, len(x) - 1),
        cluster_selection_method="leaf",
        copy=True,
    )
    return model.fit_predict(x)


def _smallest(n: int) -> int:
    return max(SMALLEST, round(SMALLEST_SHARE * n))


def find_clusters(x: np.ndarray) -> np.ndarray:
    """Cluster of each row of x (n, d), the largest 0; −1 for rows in none. HDBSCAN (Campello et al. 2013)."""
    if len(x) < FEWEST_UNCLASSIFIED:
        return np.full(len(x), -1)
    found = _hdbscan(x, _smallest(len(x)))
    sizes = np.bincount(found[found >= 0], minlength=1)
    rank = np.empty(len(sizes), dtype=int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.where(found >= 0, rank[np.maximum(found, 0)], -1)


def stability(x: np.ndarray, cluster: np.ndarray, seed: int) -> np.ndarray:
    """How well each cluster is found again in subsamples, (clusters,): mean Jaccard similarity with its best match.

    Hennig (2007), Cluster-wise assessment of cluster stability, with subsets of SUBSAMPLE_SHARE: the doubles of a
    bootstrap would be clusters to a method that looks at density.
    """
    rng = np.random.default_rng([seed, 23])
    n, clusters = len(x), cluster.max(initial=-1) + 1
    found = np.zeros((SUBSAMPLES, clusters))
    if not clusters:
        return found.mean(axis=0)
    for trial in Progress(SUBSAMPLES, "subsamples clustered again").over(found):
        rows = np.sort(rng.choice(n, round(SUBSAMPLE_SHARE * n), replace=False))
        again, before = _hdbscan(x[rows], round(SUBSAMPLE_SHARE * _smallest(n))), cluster[rows]
        for number in range(clusters):
            mine = before == number
            matches = np.unique(again[mine & (again >= 0)])
            trial[number] = max(((mine & (again == m)).sum() / (mine | (again == m)).sum() for m in matches), default=0)
    return found.mean(axis=0)


def isolation(members: np.ndarray, known: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    """Share of own among the nearest neighbours of a cluster's rows, and the rows of `known` it was compared with.

    Of the cluster at most COMPARED random rows take part, and as many of the known rows, the nearest: as equals, so
    that neither a common kind of CpG nor a large simulation decides.
    """
    rng = np.random.default_rng([seed, 29])
    mine = members[np.sort(rng.permutation(len(members))[:COMPARED])]
    distance = NearestNeighbors(n_neighbors=1).fit(mine).kneighbors(known)[0][:, 0]
    rows = np.argsort(distance, kind="stable")[: len(mine)]
    both = np.concatenate([mine, known[rows]])
    neighbours = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(both).kneighbors(mine, return_distance=False)
    own = [[j for j in found if j != i][:NEIGHBOURS] for i, found in enumerate(neighbours)]
    return float((np.array(own) < len(mine)).mean()), rows


def medoid_first(x: np.ndarray) -> np.ndarray:
    """Row numbers of x (n, d), the medoid first, then by distance from it."""
    total = np.array([np.linalg.norm(x - row, axis=1).sum() for row in x])
    return np.argsort(np.linalg.norm(x - x[total.argmin()], axis=1), kind="stable")


def describe_clusters(x, cluster, known, known_names, probabilities, seed: int) -> list[dict]:
    """What is said of each cluster, the largest first.

    x: (n, d) projected features of the Unclassified CpGs; cluster: (n,) of `find_clusters`; known: (m, d) those of
    placed CpGs and boundary CpGs, with known_names (m,); probabilities: (n, 10). Returns dictionaries: cluster (from
    1), name ("candidate new taxon" or "between A and B"), candidate, n, stability, isolation, taxon_a, taxon_b and
    their mean probabilities p_a, p_b, nearest_known (name of most of the nearest known), members (rows, medoid first).
    """
    stable, found = stability(x, cluster, seed), []
    for number in range(len(stable)):
        rows = np.flatnonzero(cluster == number)
        isolated, compared = isolation(x[rows], known, seed)
        names, counts = np.unique(np.asarray(known_names, dtype=str)[compared], return_counts=True)
        p = probabilities[rows].mean(axis=0)
        a, b = np.argsort(-p, kind="stable")[:2]
        candidate = bool(stable[number] >= STABLE and isolated >= ISOLATED)
        found.append(
            {
                "cluster": number + 1,
                "name": CANDIDATE if candidate else f"between {TAXA[a]} and {TAXA[b]}",
                "candidate": candidate,
                "n": len(rows),
                "stability": stable[number],
                "isolation": isolated,
                "taxon_a": TAXA[a],
                "taxon_b": TAXA[b],
                "p_a": p[a],
                "p_b": p[b],
                "nearest_known": str(names[counts.argmax()]),
                "members": rows[medoid_first(x[rows])],
            }
        )
    return found


# What stands out

MEANINGS = {
    "mean": "level",
    "core_effect": "trend",
    "core_curve_effect": "curvature of the trend",
    "core_sd": "spread",
    "core_sd_ratio": "change of spread",
    "kurtosis": "kurtosis",
    "skew": "skewness",
    "tail_width": "width with tails",
    "outlier_fraction": "share of outliers",
    "outlier_distance": "distance of outliers",
    "dip": "dip between modes",
    "two_gap": "gap of two bands",
    "two_d": "separation of two bands",
    "two_weight": "share of the smaller band",
    "two_effect": "trend within two bands",
    "two_min_gap_ends": "gap of two bands at its narrower end",
    "three_gap": "gap of three bands",
    "three_d": "separation of three bands",
    "three_weight": "share of the smallest of three bands",
    "three_effect": "trend within three bands",
}
"""Columns of the statistics that clusters are described by, in words. Of signed ones the size counts."""
SIGNED = ("core_effect", "core_curve_effect", "skew")
MOST_SAID, LEAST_SAID = 4, 2.0
"""At most so many columns are named, and only from this robust z on."""


def stands_out(cluster: pd.DataFrame, known: pd.DataFrame) -> list[tuple[str, float]]:
    """Statistics in which a cluster differs from known CpGs, the most striking first: (column, robust z).

    Both have the columns of MEANINGS. z: difference of the medians over the known ones' scale (1.4826 × median
    absolute deviation; the standard deviation where that is 0); of sizes for SIGNED, of |log| for the ratio.
    """
    found = []
    for column in MEANINGS:
        a, b = (frame[column].to_numpy(dtype=float) for frame in (cluster, known))
        if column in SIGNED:
            a, b = np.abs(a), np.abs(b)
        elif column.endswith("ratio"):
            a, b = (np.abs(np.log(np.clip(values, 1e-3, 1e3))) for values in (a, b))
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        if len(a) and len(b):
            scale = 1.4826 * np.median(np.abs(b - np.median(b))) or b.std()
            z = (np.median(a) - np.median(b)) / scale if scale else 0.0
            found.append((column, float(z)))
    found = [(column, z) for column, z in found if abs(z) >= LEAST_SAID]
    return sorted(found, key=lambda item: -abs(item[1]))[:MOST_SAID]

"""The published pictures that ship with the project's data: what do the network and the rules call them?

    .venv/bin/python tests/benchmarks/published_pictures.py [--weights F] [--draws 5] [--out F.csv] [--points F.npz]

Network: each picture as it is, in pixels. Rules: on points recovered from the picture. Its samples were drawn as small
Gaussians that add up (`render.render_smooth`), at whole years of age that all pictures share; so the numbers of samples
at each age and height are found by unmixing (Richardson-Lucy, where every pixel is only held to its shade's interval),
and 3,500 points are drawn from them, evenly and not at random, since the picture shows the samples themselves. --points
keeps them. Beside what was measured on the pictures by hand stands what the points give: mean, change over all ages,
residual sd, the sd ratio of the old to the young (last and first fifth of the range of ages) and skewness, all without
outliers, and the outliers' share; the last table is the recovery from pictures drawn from known points. Nothing is
trained or tuned on these pictures.
"""

import argparse
import pathlib
import sys

import benchmarking_in_one_thread  # noqa: F401
import numpy as np
import pandas as pd
import scipy.sparse
import scipy.stats
from benchmarking import NETWORK, RULES, SHARED
from cpgtaxa.images.render import (
    DENSE,
    FAR,
    KERNEL_RADIUS,
    KERNEL_SD,
    KERNEL_SHADES,
    NEAR,
    REACH,
    SIDE,
    SPARSE,
    planes_of_rgb,
    read_png,
    render_smooth,
    to_rgb,
)
from cpgtaxa.learning.classifier import MODELS, card_beside
from cpgtaxa.learning.networks import load_predictor
from cpgtaxa.learning.temperature import softmax
from cpgtaxa.names import TAXA
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa

PICTURES = SHARED / "reference_images"
SAMPLES = 3500
YEARS = np.arange(67)
"""Years of age above the youngest at which there are samples."""

YOUNGEST = 20
"""Their age; only the scale of slopes depends on it."""

STEP = 0.25
"""Pixels between the heights at which samples are looked for."""

ITERATIONS = 1500

# Level, change over all ages, sd, sd ratio of old to young, skewness, as measured by hand; NaN: not measured.
BY_HAND = {
    "UniStable": (0.97, 0.0, 0.005, 1.0, np.nan),
    "LinAgeHomo": (0.115, -0.05, 0.026, 0.94, np.nan),
    "LinAgeHet": (0.066, 0.04, 0.027, 1.7, np.nan),
    "NonAgeHet": (0.665, 0.0, 0.042, 1.6, np.nan),
    "Outlier": (0.885, 0.0, 0.035, 1.0, np.nan),
    "BiNonAge": (0.69, 0.0, 0.13, 1.08, -0.6),
}
MEASURES = ("level", "change", "sd", "sd_ratio", "skew")


def shades_of(rgb):
    """Lower and upper bound of the sum of kernels (its maximum is 101) in each pixel of a picture."""
    codes = np.where(rgb[..., 0] == 0, rgb[..., 1], 0).astype(float)
    shade = np.rint((SPARSE - codes) * (KERNEL_SHADES - 1) / (SPARSE - DENSE))
    lower, upper = np.maximum(shade - 0.8, 0), shade + 0.2
    lower[codes == 0] = upper[codes == 0] = 0
    return lower, upper


def kernels(covered):
    """Matrix (pixels, places) of what a sample adds; places as (age, height in pixels) within the coloured area."""
    across = NEAR + (FAR - NEAR) * YEARS / YEARS[-1]
    down = np.arange(NEAR - REACH, FAR + REACH, STEP) + STEP / 2
    ages, heights = (part.ravel() for part in np.meshgrid(np.arange(len(YEARS)), down, indexing="ij"))
    columns = np.floor(across[ages]).astype(int)
    rows = np.floor(heights).astype(int)
    inside = covered[rows, columns]
    ages, heights, columns, rows = ages[inside], heights[inside], columns[inside], rows[inside]
    reach = np.arange(-REACH, REACH + 1)
    y, x = rows[:, None, None] + reach[None, :, None], columns[:, None, None] + reach[None, None, :]
    squared = (y + 0.5 - heights[:, None, None]) ** 2 + (x + 0.5 - across[ages][:, None, None]) ** 2
    weights = np.where(squared <= KERNEL_RADIUS**2, np.exp(-0.5 * squared / KERNEL_SD**2), 0)
    places = np.broadcast_to(np.arange(len(ages))[:, None, None], weights.shape)
    kept = (weights > 0) & (y >= 0) & (y < SIDE) & (x >= 0) & (x < SIDE)
    pixels = np.broadcast_to(y * SIDE + x, weights.shape)
    matrix = scipy.sparse.csr_matrix((weights[kept], (pixels[kept], places[kept])), shape=(SIDE**2, len(ages)))
    return matrix, ages, heights


def unmixed(rgb):
    """Samples at each place of a picture, in units of the picture's own: age index, height in pixels, amount."""
    lower, upper = (bound.ravel() for bound in shades_of(rgb))
    matrix, ages, heights = kernels(upper.reshape(SIDE, SIDE) > 0)
    back = matrix.T.tocsr()
    mass = back @ np.ones(SIDE**2)
    amount = np.full(len(ages), (lower + upper).sum() / 2 / mass.sum())
    for _ in range(ITERATIONS):
        seen = np.maximum(matrix @ amount, 1e-9)
        amount *= (back @ (np.clip(seen, lower, upper) / seen)) / mass
    return ages, heights, amount


def drawn(ages, heights, amount, seed, samples=SAMPLES):
    """Ages (years) and betas of points spread evenly over the places, as many at each as there is amount."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((heights, ages))
    reached = np.cumsum(amount[order])
    marks = (np.arange(samples) + rng.random()) / samples * reached[-1]
    chosen = order[np.searchsorted(reached, marks).clip(max=len(order) - 1)]
    down = heights[chosen] + rng.uniform(-STEP / 2, STEP / 2, samples)
    beta = ((FAR - down) / (FAR - NEAR)).clip(0, 1).astype(np.float32)
    shuffled = rng.permutation(samples)
    return (YOUNGEST + YEARS[ages[chosen]]).astype(float)[shuffled], beta[shuffled]


def measures(ages, beta):
    """What was measured by hand, of points; young and old are the first and last fifth of the range of ages."""
    beta = beta.astype(float)
    line = np.polyfit(ages, beta, 1)
    left = beta - np.polyval(line, ages)
    low, high = np.quantile(left, (0.25, 0.75))
    core = (left >= low - 3 * (high - low) - 0.05) & (left <= high + 3 * (high - low) + 0.05)
    line = np.polyfit(ages[core], beta[core], 1)
    left = beta[core] - np.polyval(line, ages[core])
    x = (ages[core] - ages.min()) / np.ptp(ages)
    young, old = left[x < 0.2], left[x > 0.8]
    found = beta[core].mean(), line[0] * np.ptp(ages), left.std(), old.std() / young.std(), scipy.stats.skew(left)
    extra = scipy.stats.skew(young), scipy.stats.skew(old), 1 - core.mean()
    return dict(zip((*MEASURES, "skew_young", "skew_old", "far"), (*found, *extra), strict=True))


def rules_say(points):
    """Taxon, reason and boundary of each draw, by the config; draws have ages of their own."""
    frames = [compute(beta[None], ages) for ages, beta in points]
    statistics = pd.concat(frames, ignore_index=True)
    statistics.insert(0, "cpg", [str(index) for index in range(len(statistics))])
    return define_taxa(statistics, **RULES)


def network_says(paths, weights):
    """Calibrated probabilities (pictures, taxa) of a network, at its own image size."""
    weights = pathlib.Path(weights)
    stats, card = card_beside(weights, "normalization_stat.json"), card_beside(weights)
    model_name = MODELS[weights.name.startswith("Mix")]
    predictor = load_predictor(weights, stats, card, model_name=model_name, device="cpu")
    seen = np.stack([planes_of_rgb(read_png(path), predictor.size) for path in paths])
    return softmax(predictor.logits(seen), predictor.temperature)


def known():
    """Recovery from pictures of points that are known: rows of true and recovered measures."""
    rng = np.random.default_rng(0)
    ages = np.rint(rng.normal(36, 13, SAMPLES)).clip(0, YEARS[-1])
    ages[:2] = 0, YEARS[-1]
    x = (ages - ages.mean()) / YEARS[-1]
    far = rng.uniform(0.15, 0.4, SAMPLES) * (rng.random(SAMPLES) < 0.01)
    sites = {
        "narrow": 0.97 + rng.normal(0, 0.005, SAMPLES),
        "trend": 0.115 - 0.05 * x + rng.normal(0, 0.026, SAMPLES),
        "spread": 0.665 + rng.normal(0, 0.042 * np.exp(0.7 * x), SAMPLES),
        "outliers": 0.885 - far + rng.normal(0, 0.028, SAMPLES),
        "two bands": 0.69 + np.where(rng.random(SAMPLES) < 0.4, -0.13, 0.09) + rng.normal(0, 0.07, SAMPLES),
    }
    rows = []
    for site, beta in sites.items():
        beta = beta.clip(0.001, 0.999).astype(np.float32)
        picture = to_rgb(render_smooth(beta[None], ages))[0]
        again = measures(*drawn(*unmixed(picture), seed=0))
        truth = measures(ages, beta)
        rows += [{"site": site, "of": of, **found} for of, found in (("points", truth), ("picture", again))]
    return pd.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--weights", default=NETWORK["weights"], help="a {model}_best_model.pt (.gz), its two JSON files beside it"
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, help="write the answers as CSV")
    parser.add_argument("--points", type=pathlib.Path, help="keep the recovered points (.npz)")
    arguments = parser.parse_args()
    if not PICTURES.is_dir():
        sys.exit("../shared/data/reference_images is absent: nothing to look at")
    paths = sorted([*PICTURES.glob("*.png"), *PICTURES.glob("*/*.png")], key=lambda path: path.stem)
    probabilities = network_says(paths, arguments.weights)
    answers, recovered, points = [], [], {}
    for path, likely in zip(paths, probabilities, strict=True):
        cpg, published = path.stem.split("_")
        places = unmixed(read_png(path))
        draws = [drawn(*places, seed) for seed in range(arguments.draws)]
        points |= {f"{path.stem}_ages": np.stack([ages for ages, _ in draws])}
        points |= {f"{path.stem}_beta": np.stack([beta for _, beta in draws])}
        labels = rules_say(draws)
        counts = labels["taxon"].value_counts()
        usual = labels[labels["taxon"] == counts.index[0]].iloc[0]
        first, second = np.argsort(-likely)[:2]
        answers.append(
            {
                "cpg": cpg,
                "published": published,
                "network": TAXA[first],
                "probability": likely[first],
                "second": TAXA[second],
                "second_probability": likely[second],
                "rules": counts.index[0],
                "draws": "; ".join(f"{taxon} {count}" for taxon, count in counts.items()),
                "reason": usual["reason"],
                "boundary": usual["boundary"],
            }
        )
        mean = pd.DataFrame([measures(*draw) for draw in draws]).mean()
        by_hand = dict(zip(MEASURES, BY_HAND[published], strict=True))
        recovered += [
            {"picture": published, "of": "by hand", **by_hand},
            {"picture": published, "of": "points", **mean},
        ]
    answers = pd.DataFrame(answers)
    print("Recovery", pd.DataFrame(recovered).round(4).to_string(index=False, na_rep=""), sep="\n")
    print("Answers", answers.round(3).to_string(index=False), sep="\n")
    right = (answers["network"] == answers["published"]).sum(), (answers["rules"] == answers["published"]).sum()
    print(f"as published: network {right[0]}, rules {right[1]} of {len(answers)}")
    print("Known points", known().round(4).to_string(index=False), sep="\n")
    if arguments.out:
        answers.round(4).to_csv(arguments.out, index=False)
    if arguments.points:
        np.savez_compressed(arguments.points, **points)


if __name__ == "__main__":
    main()

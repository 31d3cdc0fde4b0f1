"""The page of the target `methylation_age`: predicted and chronological age, their gap, the clock's CpGs."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cpgtaxa.pages.drawing import ACCENT, INK, MUTED, SECOND, Figures, figures_in
from cpgtaxa.pages.page import write_page
from cpgtaxa.wording import decimal, signed, span

POINTS = 3000
"""Points beyond which a figure holds their picture."""
FEWEST = 5
"""People of a decade or sex whose mean error is reported."""
SHOWN = 20
"""CpGs listed on the page."""


def mean_error(gaps: np.ndarray) -> tuple[float, float, float]:
    """Mean absolute error (years) and its 95 % interval, from the standard error of the mean."""
    errors = np.abs(gaps)
    half = 1.96 * errors.std(ddof=1) / np.sqrt(len(errors)) if len(errors) > 1 else np.nan
    return errors.mean(), max(0.0, errors.mean() - half), errors.mean() + half


def parts_of(found: pd.DataFrame, sex) -> pd.DataFrame:
    """part, n, mae, ci_low, ci_high, mean_gap (years): everyone, decades, sexes; parts of few people are left out."""
    decades = (found["age"] // 10 * 10).astype(int)
    masks = [("everyone", np.ones(len(found), bool))]
    masks += [(f"{decade} to {decade + 9} years", (decades == decade).to_numpy()) for decade in sorted(set(decades))]
    if sex is not None:
        known = pd.Series(sex).dropna().astype(str)
        masks += [(f"sex {one}", (pd.Series(sex).astype(str) == one).to_numpy()) for one in sorted(set(known))]
    rows = [
        (name, int(mask.sum()), *mean_error(found["gap"].to_numpy()[mask]), found["gap"].to_numpy()[mask].mean())
        for name, mask in masks
        if mask.sum() >= FEWEST
    ]
    return pd.DataFrame(rows, columns=["part", "n", "mae", "ci_low", "ci_high", "mean_gap"])


def _predicted_age(figures: Figures, found: pd.DataFrame):
    figure, axes = plt.subplots(figsize=(4.4, 4.1))
    axes.axline((found["age"].mean(),) * 2, slope=1, color=MUTED, lw=1, ls="--")
    style = {"s": 9, "color": ACCENT, "alpha": 0.5, "linewidths": 0, "rasterized": len(found) > POINTS}
    axes.scatter(found["age"], found["methylation_age"], **style)
    axes.set(xlabel="age (years)", ylabel="methylation age (years)")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid()
    columns = found[["person", "age", "methylation_age"]]
    return figures.save("predicted_age", figure, columns, "Predicted against chronological age")


def _gap(figures: Figures, found: pd.DataFrame, slope: float, level: float):
    figure, axes = plt.subplots(figsize=(5.4, 3.2))
    axes.axhline(0, color=MUTED, lw=1, ls="--")
    style = {"s": 9, "color": ACCENT, "alpha": 0.5, "linewidths": 0, "rasterized": len(found) > POINTS}
    axes.scatter(found["age"], found["gap"], **style)
    ends = np.array([found["age"].min(), found["age"].max()])
    axes.plot(ends, level + slope * ends, color=SECOND, lw=1.8)
    axes.set(xlabel="age (years)", ylabel="gap (years)")
    axes.grid(axis="y")
    return figures.save("gap", figure, found[["person", "age", "gap"]], "Gap by age")


def _parts(figures: Figures, parts: pd.DataFrame):
    figure, axes = plt.subplots(figsize=(5.6, 0.5 + 0.32 * len(parts)))
    for row, one in enumerate(parts.itertuples()):
        axes.plot([one.ci_low, one.ci_high], [row, row], color=ACCENT, lw=2)
        axes.plot([one.mae], [row], "D", color=ACCENT, ms=6)
    axes.set_yticks(range(len(parts)), [f"{one.part} ({one.n:,})" for one in parts.itertuples()], color=INK)
    axes.set(xlabel="mean absolute error (years)", ylim=(len(parts) - 0.5, -0.5), xlim=(0, None))
    axes.grid(axis="x")
    return figures.save("error", figure, parts, "Mean absolute error by decade and sex")


def page(outputs: dict, found: pd.DataFrame, sex, weights: pd.DataFrame, n_cpgs: int, settings: dict) -> None:
    """Draw the figures and write the page. found: person, age, methylation_age, gap, fold, cpgs; sex: (n,) or None."""
    parts = parts_of(found, sex)
    slope, level = np.polyfit(found["age"], found["gap"], 1) if np.ptp(found["age"]) > 0 else (0.0, 0.0)
    with figures_in(outputs["figures"]) as figures:
        drawn = {
            "true": _predicted_age(figures, found),
            "gap": _gap(figures, found, slope, level),
            "parts": _parts(figures, parts),
        }
    mae, low, high = mean_error(found["gap"].to_numpy())
    always = np.abs(found["age"] - found["age"].median()).mean()
    page = {
        "n": len(found),
        "mae": decimal(mae, 2),
        "range": span(low, high, lambda value: decimal(value, 2)),
        "median": decimal(found["gap"].abs().median(), 2),
        "always": decimal(always, 2),
        "r": decimal(np.corrcoef(found["methylation_age"], found["age"])[0, 1], 3),
        "slope": signed(slope, 2),
        "drawn": drawn,
        "parts": [
            {
                "part": one.part,
                "n": f"{one.n:,}",
                "mae": decimal(one.mae, 2),
                "range": span(one.ci_low, one.ci_high, lambda value: decimal(value, 2)),
                "gap": signed(one.mean_gap, 2),
            }
            for one in parts.itertuples()
        ],
        "regress": slope < 0,
        "n_cpgs": f"{n_cpgs:,}",
        "chosen": f"{settings['cpgs']:,}" if settings["cpgs"] < n_cpgs else "",
        "shown": SHOWN if len(weights) > SHOWN else 0,
        "n_weighed": f"{len(weights):,}",
        "every": f"{int((weights['folds'] == settings['folds']).sum()):,}",
        "settings": settings,
        "cpgs": [
            {"cpg": one.cpg, "weight": signed(one.weight, 2), "folds": one.folds}
            for one in weights.head(SHOWN).itertuples()
        ],
    }
    write_page(outputs["html"], "methylation_age.html.j2", page)

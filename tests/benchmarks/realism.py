"""How far simulated CpGs can be distinguished from real ones, on the three blood cohorts of ../shared/data.

    .venv/bin/python tests/benchmarks/realism.py [--out FILE.csv] [--seed 1] [--cohorts gse40279 …]

Every real CpG gets a simulated twin: from a pool of 40,000 simulated for the cohort's ages, the unused one nearest in
level, spread, trend and banding. The pool is the same mixture for every cohort (`MIX`): it has many CpGs between taxa,
as an array has. Then (1) the distributions of everything that was not matched are compared (Kolmogorov–Smirnov
distance), (2) a random forest is asked to tell real from simulated by those statistics, and (3) by the images
themselves. An area under the curve (AUC) of 0.5 means it cannot; 1.0 means always. `importance` is the forest's.

The table of noise shapes comes from these cohorts. So each AUC is also measured with a table fitted without the cohort
(`left out`; gse42861 and gse42861_random500 are of one study, and left out together), and with a pool without the CpGs
that have several quantities in zones, as the workflow draws none (`one zone at most`).
"""

import argparse
import pathlib
import sys
import tempfile

import benchmarking  # noqa: F401
import fit_simulation
import numpy as np
import pandas as pd
import scipy.stats
from cpgtaxa.images.render import planes, render
from cpgtaxa.simulation import simulate
from cpgtaxa.simulation.training_images import GROUP
from cpgtaxa.statistics.kernel import compute
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

COLUMNS = ["cohort", "pool", "measure", "value", "median_real", "median_simulated", "importance"]
COHORTS = ("gse40279", "gse42861", "gse42861_random500")
STUDY = {"gse40279": ("gse40279",)} | dict.fromkeys(COHORTS[1:], COHORTS[1:])
"""What is left out with a cohort."""

SEVERAL = "several"
MIX = {
    SEVERAL: 0.27,
    ("width", "UniStable", "UniUnstable"): 0.12,
    "UniUnstable": 0.13,
    "UniStable": 0.05,
    "LinAgeHomo": 0.035,
    "LinAgeHet": 0.012,
    "NonAgeHet": 0.008,
    ("spread", "UniUnstable", "NonAgeHet"): 0.09,
    ("spread", "UniStable", "NonAgeHet"): 0.02,
    ("spread", "LinAgeHomo", "LinAgeHet"): 0.06,
    ("trend", "UniUnstable", "LinAgeHomo"): 0.03,
    ("trend", "UniStable", "LinAgeHomo"): 0.02,
    ("outliers", "UniUnstable", "Outlier"): 0.02,
    ("outliers", "UniStable", "Outlier"): 0.01,
    "Outlier": 0.005,
    ("spread", "Outlier", "NonAgeHet"): 0.005,
    ("trend", "Outlier", "LinAgeHomo"): 0.005,
    "BiNonAge": 0.025,
    "BiAge": 0.01,
    "TriNonAge": 0.03,
    "TriAge": 0.01,
    ("two_bands", "UniUnstable", "BiNonAge"): 0.03,
    ("two_bands", "UniUnstable", "TriNonAge"): 0.02,
    ("two_bands", "LinAgeHomo", "BiAge"): 0.01,
    ("band_share", "Outlier", "BiNonAge"): 0.015,
    ("three_bands", "BiNonAge", "TriNonAge"): 0.03,
    ("three_bands", "BiAge", "TriAge"): 0.01,
    ("trend", "BiNonAge", "BiAge"): 0.01,
    ("trend", "TriNonAge", "TriAge"): 0.01,
}
"""Shares of the pool: taxa, boundary CpGs (kind, taxon, other taxon), and CpGs with several quantities in zones."""


def draw_several(rng, setting):
    """Profile of a CpG of one band several of whose quantities lie in their zones: three taxa or more are admissible.

    Half of the CpGs of an array have a spread between those of UniStable and UniUnstable, and with it trends and
    changes of spread of any size. `taxon` and `other` are the first two of its admissible taxa.
    """
    while True:
        profile = simulate.Profile("LinAgeHomo", kind="several")
        level, sd = simulate._cloud(rng, profile, 0.004, 0.08)
        between = rng.random() < 0.5
        effect = simulate._trend(rng, sd, between=True) if between else simulate._small_trend(rng, sd)
        likely = 0.25 * (setting.span / 45) ** 2 + 0.7 * min(abs(effect) / np.hypot(sd, 0.015), 1)
        want = "between" if rng.random() < likely else "no"
        simulate._place(profile, level, sd, effect, simulate._change_of_spread(rng, setting, sd, want))
        simulate._nuisance(rng, profile, setting)
        taxa = profile.admissible(setting)
        if len(taxa) > 2:
            profile.taxon, profile.other = taxa[:2]
            return profile


def pool(ages, seed, size, mix=None):
    """Simulated values (size, n) for these ages; without missing values, as these cohorts have none."""
    mix = MIX if mix is None else mix
    kinds, weights = list(mix), np.array(list(mix.values()))
    wanted = np.random.default_rng([seed, 7]).choice(len(kinds), size, p=weights / weights.sum())
    values = []
    for index, number in enumerate(wanted):
        if index % GROUP == 0:
            setting = simulate.make_setting(ages, np.random.default_rng([seed, 11, index // GROUP]))
        rng, kind = np.random.default_rng([seed, index]), kinds[number]
        if kind == SEVERAL:
            profile = draw_several(rng, setting)
        elif isinstance(kind, str):
            profile = simulate.draw_profile(rng, kind, setting)
        else:
            profile = simulate.draw_profile(rng, kind[1], setting, kind)
        profile.missing = 0.0
        values.append(simulate.draw_values(rng, profile, setting))
    return np.stack(values)


def matched_on(s):
    """What the twins are matched on, on comparable scales."""
    return np.column_stack(
        [
            s["mean"] * 10,
            np.log(s["spread"].clip(lower=1e-3)) * 4,
            np.log(s["sd"].clip(lower=1e-3)) * 4,
            s["effect"] * 15,
            np.where(s["two_d"] > 2, s["two_gap"], 0) * 4,
        ]
    )


def features(s, values):
    """What was not matched."""
    centred = np.nan_to_num(values - np.nanmean(values, axis=1, keepdims=True))
    lag = (centred[:, 1:] * centred[:, :-1]).sum(axis=1) / np.maximum((centred**2).sum(axis=1), 1e-12)
    return pd.DataFrame(
        {
            "skewness": s["skew"].abs(),
            "kurtosis": s["kurtosis"].clip(upper=50),
            "log sd ratio": np.abs(np.log(s["core_sd_ratio"].clip(0.02, 50))),
            "dip": s["dip"],
            "outlier fraction": s["outlier_fraction"],
            "tail width / spread": (s["tail_width"] / s["spread"].clip(lower=1e-3)).clip(upper=60),
            "curve effect / sd": (s["core_curve_effect"].abs() / s["core_sd"].clip(lower=1e-3)).clip(upper=5),
            "autocorrelation": lag,
        }
    )


def forest():
    return RandomForestClassifier(300, min_samples_leaf=3, random_state=0, n_jobs=1)


def auc(x, y):
    """Cross-validated area under the curve of a random forest."""
    return roc_auc_score(y, cross_val_predict(forest(), x, y, cv=5, method="predict_proba")[:, 1])


def compare(name, label, mix=None, seed=1, limit=400, size=40_000, details=True):
    """Rows of the result table for one cohort; `label` says which pool."""
    real, ages = fit_simulation.load(name)
    real = real[np.random.default_rng(seed).permutation(len(real))[:limit]]
    made = pool(ages, seed, size, mix)
    s_real, s_made = compute(real, ages), compute(made, ages)
    a, b = matched_on(s_real), matched_on(s_made)
    cost = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    rows, columns = linear_sum_assignment(cost)
    made, s_made = made[columns], s_made.iloc[columns].reset_index(drop=True)
    f_real, f_made = features(s_real, real).iloc[rows], features(s_made, made)
    x, y = pd.concat([f_real, f_made]), np.repeat([1, 0], len(rows))
    images = planes(render(np.vstack([real[rows], made]), ages), 32).reshape(2 * len(rows), -1).astype(np.float32)
    found = {
        "AUC statistics": auc(x, y),
        "AUC images": auc(PCA(40, random_state=0).fit_transform(images), y),
        "matching distance (median)": float(np.median(np.sqrt(cost[rows, columns]))),
    }
    table = [(name, label, measure, value, np.nan, np.nan, np.nan) for measure, value in found.items()]
    if details:
        weights = forest().fit(x, y).feature_importances_
        for key, weight in zip(x, weights, strict=True):
            distance = scipy.stats.ks_2samp(f_real[key], f_made[key]).statistic
            table.append((name, label, f"KS {key}", distance, f_real[key].median(), f_made[key].median(), weight))
    return table


def left_out(name, seed):
    """The comparison with a table of shapes fitted without the cohort's study."""
    shipped = simulate.SHAPE_FILE
    with tempfile.TemporaryDirectory() as folder:
        simulate.SHAPE_FILE = pathlib.Path(folder) / "shapes.csv"
        others = [one for one in COHORTS if one not in STUDY[name]]
        fit_simulation.fit(others).to_csv(simulate.SHAPE_FILE, index=False, float_format="%.4g")
        simulate.shapes.cache_clear()
        table = compare(name, "left out", seed=seed, details=False)
    simulate.SHAPE_FILE = shipped
    simulate.shapes.cache_clear()
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="write the table as CSV")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cohorts", nargs="+", default=COHORTS, choices=COHORTS)
    arguments = parser.parse_args()
    if not fit_simulation.DATA.is_dir():
        sys.exit("../shared/data is absent: nothing to compare with")
    rows = []
    for name in arguments.cohorts:
        rows += compare(name, "shipped", seed=arguments.seed)
        rows += left_out(name, arguments.seed)
        single = {kind: share for kind, share in MIX.items() if kind != SEVERAL}
        rows += compare(name, "one zone at most", single, arguments.seed, details=False)
        print(f"{name} done", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(table.round(3).to_string(index=False, na_rep=""))
    if arguments.out:
        table.round(4).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

"""How far simulated CpGs can be told from real ones, on the two blood cohorts of ../shared/data.

    .venv/bin/python tests/benchmarks/realism.py [--out FILE.csv]

Every real CpG gets a simulated twin: from a large pool simulated for the cohort's ages, the unused one nearest in
level, spread, trend and banding. Then (1) the distributions of everything that was not matched are compared
(Kolmogorov–Smirnov distance), (2) a random forest is asked to tell real from simulated by those statistics, and
(3) by the images themselves. An area under the curve of 0.5 means it cannot; 1.0 means always.
"""

import argparse
import pathlib
import sys

import numpy as np
import pandas as pd
import scipy.stats
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa.render import planes, render  # noqa: E402
from cpgtaxa.statistics import compute  # noqa: E402
from cpgtaxa.training_images import GROUP, plan, simulate_group  # noqa: E402

DATA = ROOT.parent / "shared/data/methylation"
COLUMNS = ["cohort", "measure", "value", "median_real", "median_simulated"]
COHORTS = ("gse40279", "gse42861")


def pool(ages, seed, size):
    """Simulated values (size, n): eight in ten clean, the rest half-way, all for these ages."""
    members = plan(seed, round(size * 0.08), round(size * 0.2))
    starts = range(0, len(members), GROUP)
    groups = [simulate_group(seed, group, members[at : at + GROUP], ages, 0.0)[1] for group, at in enumerate(starts)]
    return np.concatenate(groups)


def matched_on(s):
    """What the twins are matched on, on comparable scales."""
    return np.column_stack(
        [
            s["mean"] * 4,
            np.log(s["spread"].clip(lower=1e-3)) * 1.5,
            np.log(s["sd"].clip(lower=1e-3)) * 1.5,
            s["effect"].abs() * 10,
            np.where(s["two_d"] > 2, s["two_gap"], 0) * 3,
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


def auc(x, y):
    """Cross-validated area under the curve of a random forest."""
    forest = RandomForestClassifier(300, min_samples_leaf=3, random_state=0, n_jobs=2)
    return roc_auc_score(y, cross_val_predict(forest, x, y, cv=5, method="predict_proba")[:, 1])


def compare(name, seed=1, limit=400):
    """Rows of the result table for one cohort."""
    beta = pd.read_csv(DATA / f"{name}_beta.csv.gz", index_col=0)
    sheet = pd.read_csv(DATA / f"{name}_samples.csv.gz").set_index("sample").loc[beta.columns]
    ages = sheet["age"].to_numpy(float)
    real = beta.to_numpy(np.float32)
    real = real[np.random.default_rng(seed).permutation(len(real))[:limit]]
    made = pool(ages, seed, 20 * limit)
    s_real, s_made = compute(real, ages), compute(made, ages)
    a, b = matched_on(s_real), matched_on(s_made)
    cost = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    rows, columns = linear_sum_assignment(cost)
    made, s_made = made[columns], s_made.iloc[columns].reset_index(drop=True)
    f_real, f_made = features(s_real, real), features(s_made, made)
    table = [
        (
            *(name, f"KS {key}", scipy.stats.ks_2samp(f_real[key].iloc[rows], f_made[key]).statistic),
            *(f_real[key].iloc[rows].median(), f_made[key].median()),
        )
        for key in f_real
    ]
    y = np.repeat([1, 0], len(rows))
    table.append((name, "AUC statistics", auc(np.vstack([f_real.iloc[rows], f_made]), y), np.nan, np.nan))
    images = planes(render(np.vstack([real[rows], made]), ages), 32).reshape(2 * len(rows), -1).astype(np.float32)
    table.append((name, "AUC images", auc(PCA(40, random_state=0).fit_transform(images), y), np.nan, np.nan))
    table.append((name, "matching distance (median)", float(np.median(np.sqrt(cost[rows, columns]))), np.nan, np.nan))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="write the table as CSV")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit("../shared/data is absent: nothing to compare with")
    table = pd.DataFrame([row for name in COHORTS for row in compare(name)], columns=COLUMNS)
    print(table.round(3).to_string(index=False, na_rep=""))
    if arguments.out:
        table.to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()

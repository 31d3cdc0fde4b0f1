"""The epigenome-wide association study of age: which CpGs change with age, in level and in spread."""

import logging

import numpy as np
import pandas as pd
from scipy import stats

from cpgtaxa.files import gzipped, read_json, read_parquet, write_json
from cpgtaxa.names import TAXA, UNCLASSIFIED

LEVEL = 0.05
"""False discovery rate below which a CpG counts as changing."""
PLACES = ("chromosome", "position", "gene", "island", "flags")
NUMBERS = ("n", "slope_per_year", "se", "p", "q", "het_p", "het_q", "sd_ratio")
STATISTICS = ("cpg", "n", "slope", "slope_t", "slope_p", "het_p", "sd_ratio")
"""Columns of the statistics that the study takes."""


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values (k,) of p-values by Benjamini and Hochberg; NaN is no test, and stays NaN."""
    q = np.full(len(p), np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        q[tested] = stats.false_discovery_control(p[tested], method="bh")
    return q


def inflation(p: np.ndarray) -> float:
    """Genomic inflation λ: median of the p-values as chi-squares with one degree of freedom, over that of chance."""
    tested = p[~np.isnan(p)]
    return float(np.median(stats.chi2.isf(tested, 1)) / stats.chi2.median(1)) if len(tested) else np.nan


def age_ewas(statistics: pd.DataFrame, taxa: pd.Series, fits: pd.DataFrame | None = None, places=None) -> pd.DataFrame:
    """One row per CpG, the smallest p first: cpg, PLACES where given, taxon and NUMBERS.

    statistics: STATISTICS, one row per CpG. taxa: (k,) of the same CpGs. fits: slope, se and df beside covariates, of
    the cohort's own betas (`adjust_cohort`); None: there are no covariates, and the statistics have the slope. places:
    PLACES of the same CpGs. p and q are NaN where there are too few values for a test.
    """
    if fits is None:
        slope, p = statistics["slope"].to_numpy(), statistics["slope_p"].to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            error = slope / statistics["slope_t"].to_numpy()
    else:
        enough = statistics["slope_p"].notna().to_numpy()
        slope, error = (np.where(enough, fits[name], np.nan) for name in ("slope", "se"))
        with np.errstate(invalid="ignore", divide="ignore"):
            p = 2 * stats.t.sf(np.abs(slope / error), fits["df"].to_numpy())
    het = statistics["het_p"].to_numpy()
    table = pd.DataFrame({"cpg": statistics["cpg"].to_numpy(dtype=object)})
    for name in PLACES if places is not None else ():
        table[name] = places[name].array
    table["taxon"] = taxa.to_numpy(dtype=object)
    columns = (statistics["n"], slope, error, p, benjamini_hochberg(p), het, benjamini_hochberg(het))
    for name, values in zip(NUMBERS, (*columns, statistics["sd_ratio"]), strict=True):
        table[name] = np.asarray(values)
    return table.iloc[np.argsort(table["p"].to_numpy(), kind="stable")].reset_index(drop=True)


def summary_of(table: pd.DataFrame, model: str) -> dict:
    """How many CpGs change, in all and by taxon, and the inflation; of `age_ewas`'s table."""
    changes = {"age": table["q"] < LEVEL, "spread": table["het_q"] < LEVEL}
    up = {"age": table["slope_per_year"] > 0, "spread": table["sd_ratio"] > 1}
    found = {"model": model, "level": LEVEL, "cpgs": len(table)}
    for name, p in (("age", "p"), ("spread", "het_p")):
        found[name] = {
            "tested": int(table[p].notna().sum()),
            "changing": int(changes[name].sum()),
            "up": int((changes[name] & up[name]).sum()),
            "inflation": inflation(table[p].to_numpy()),
        }
    either = pd.DataFrame({"taxon": table["taxon"], "cpgs": 1, **changes})
    by_taxon = either.groupby("taxon").sum().reindex([*TAXA, UNCLASSIFIED], fill_value=0)
    found["by_taxon"] = by_taxon.astype(int).to_dict("index")
    return found


def write_age_ewas(given: dict, out: dict) -> None:
    """Write the study as CSV, and what comes out of it in numbers.

    given: paths `statistics`, `taxonomy`; where betas are adjusted `fits` and `adjusted`; where there is an annotation
    `annotation`, with a row for each CpG of the cohort. out: paths `csv` (gzipped) and `summary` (JSON).
    """
    statistics = read_parquet(given["statistics"], columns=list(STATISTICS))
    taxa = read_parquet(given["taxonomy"], columns=["taxon"])["taxon"]
    fits, covariates = None, []
    if given.get("fits"):
        fits = read_parquet(given["fits"], columns=["slope", "se", "df"])
        covariates = [one["name"] for one in read_json(given["adjusted"])["covariates"]]
    places = read_parquet(given["annotation"]) if given.get("annotation") else None
    table = age_ewas(statistics, taxa, fits, places)
    with gzipped(out["csv"], 6) as packed:
        table.to_csv(packed, index=False, float_format="%.6g", mode="wb")
    found = summary_of(table, " + ".join(["beta ~ age", *covariates]))
    write_json(out["summary"], found)
    logging.info(
        f"{found['age']['changing']:,} of {found['age']['tested']:,} CpGs change with age (q < {LEVEL:g}; λ = "
        f"{found['age']['inflation']:.2f}), {found['spread']['changing']:,} in spread (λ = "
        f"{found['spread']['inflation']:.2f}); model: {found['model']}"
    )

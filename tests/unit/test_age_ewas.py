"""The study of age: slopes and errors are limma's, q-values and inflation what R says."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort_of, statistics_of
from cpgtaxa.files import write_parquet
from cpgtaxa.statistics.adjust import adjust_cohort
from cpgtaxa.statistics.age_ewas import NUMBERS, age_ewas, benjamini_hochberg, inflation, write_age_ewas
from cpgtaxa.statistics.linear import AgeSlope
from scipy import stats

LIMMA = """
suppressMessages(library(limma))
b <- as.matrix(read.csv("beta.csv", row.names = 1)); s <- read.csv("samples.csv")
for (model in list(c("plain", "~ age"), c("adjusted", "~ age + factor(female) + smoking_current + W_Nue + W_CD8."))) {
  fit <- lmFit(b, model.matrix(as.formula(model[2]), s))
  p <- 2 * pt(-abs(fit$coefficients[, 2] / (fit$stdev.unscaled[, 2] * fit$sigma)), fit$df.residual)
  found <- data.frame(slope = fit$coefficients[, 2], se = fit$stdev.unscaled[, 2] * fit$sigma, p = p,
                      q = p.adjust(p, "BH"), lambda = median(qchisq(p, 1, lower.tail = FALSE)) / qchisq(0.5, 1))
  write.csv(format(found, digits = 12), paste0(model[1], ".csv"), quote = FALSE)
}
"""


def study(folder, beta, samples, covariates):
    """The study's table, as written to disk and read again, and its summary."""
    write_parquet(folder / "samples.parquet", samples)
    cohort_of(folder, beta.to_numpy(), beta.index, samples["sample_id"])
    statistics = statistics_of(beta, samples["age"].to_numpy(float), cpgs=beta.index)
    write_parquet(folder / "statistics.parquet", statistics)
    write_parquet(folder / "taxonomy.parquet", pd.DataFrame({"cpg": beta.index, "taxon": "UniStable"}))
    given = {name: folder / f"{name}.parquet" for name in ("statistics", "taxonomy")}
    if covariates:
        out = {"beta": folder / "adjusted.arrow", "cpgs": folder / "cpgs.parquet", "summary": folder / "adjusted.json"}
        cohort = {"beta": folder / "beta.arrow", "samples": folder / "samples.parquet", "fractions": None}
        adjust_cohort(cohort, out, covariates=covariates)
        given |= {"fits": out["cpgs"], "adjusted": out["summary"]}
    write_age_ewas(given, {"csv": folder / "age_ewas.csv.gz", "summary": folder / "age_ewas.json"})
    return pd.read_csv(folder / "age_ewas.csv.gz"), json.loads((folder / "age_ewas.json").read_text())


def test_slopes_errors_and_q_are_limmas_on_real_blood_with_and_without_covariates(tmp_path, shared):
    asked = ["Rscript", "-e", "library(limma)"]
    if not shutil.which("Rscript") or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("no R with limma here")
    beta = pd.read_csv(shared / "methylation/gse42861_random500_beta.csv.gz", index_col=0)
    samples = pd.read_csv(shared / "methylation/gse42861_random500_samples.csv.gz").set_index("sample_id")
    samples = samples.loc[beta.columns].reset_index()
    gaps = np.random.default_rng(5).random(beta.shape) < 0.03
    gaps[100:] = False
    beta = beta.mask(gaps)
    beta.to_csv(tmp_path / "beta.csv", na_rep="NA")
    samples.to_csv(tmp_path / "samples.csv", index=False)
    done = subprocess.run(["Rscript", "-e", LIMMA], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    models = {"plain": [], "adjusted": ["female", "smoking_current", "W_Nue", "W_CD8."]}
    for name, covariates in models.items():
        (tmp_path / name).mkdir()
        table, found = study(tmp_path / name, beta, samples, covariates)
        limma = pd.read_csv(tmp_path / f"{name}.csv", index_col=0).loc[table["cpg"]]
        np.testing.assert_allclose(table["se"], limma["se"], rtol=5e-5)
        np.testing.assert_allclose(table["slope_per_year"], limma["slope"], rtol=5e-5, atol=1e-9)
        np.testing.assert_allclose(table["p"], limma["p"], rtol=2e-3)
        np.testing.assert_allclose(table["q"], limma["q"], rtol=2e-3)
        assert found["age"]["inflation"] == pytest.approx(limma["lambda"].iloc[0], rel=1e-4)
        assert found["age"]["changing"] == (limma["q"] < 0.05).sum() > 50
        assert found["model"] == " + ".join(["beta ~ age", *covariates])
        assert table["p"].is_monotonic_increasing


def test_each_cpg_is_fitted_on_its_own_samples_and_lost_columns_cost_nothing():
    rng = np.random.default_rng(3)
    ages = rng.uniform(20, 80, 60)
    batch = np.arange(60) % 3
    columns = np.column_stack([batch == 1, batch == 2, rng.normal(size=60), np.ones(60) * 4]).astype(float)
    values = 0.4 + 0.001 * ages + 0.02 * rng.normal(size=(8, 60)) + 0.05 * (batch == 1)
    values[1, rng.random(60) < 0.2] = np.nan
    values[2, batch == 2] = np.nan
    values[3, 5:] = np.nan
    values[4] = np.where(ages > 50, np.nan, values[4])
    slope, se, df = AgeSlope(ages, columns).fit(values)
    for row in range(8):
        there = np.isfinite(values[row])
        design = np.column_stack([np.ones(60), columns[:, :3], ages])[there]
        rank = np.linalg.matrix_rank(design)
        assert df[row] == there.sum() - rank
        weights = np.linalg.lstsq(design, values[row][there], rcond=None)[0]
        if df[row]:
            assert slope[row] == pytest.approx(weights[-1], rel=1e-8)
            noise = np.sum((values[row][there] - design @ weights) ** 2) / df[row]
            assert se[row] == pytest.approx(np.sqrt(noise * np.linalg.pinv(design.T @ design)[-1, -1]), rel=1e-6)
    assert np.isnan(se[3])
    alone = np.full((1, 60), np.nan)
    alone[0, np.flatnonzero(batch == 0)[:1]] = 0.5
    assert np.isnan(AgeSlope(ages, columns).fit(alone)[0]).all()


def test_q_values_and_inflation_leave_out_what_was_not_tested():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.04, np.nan, 4 / 75, 4 / 75, 0.5], rtol=1e-9)
    np.testing.assert_allclose(benjamini_hochberg(np.array([0.01, np.nan, 0.04, 0.5])), [0.03, np.nan, 0.06, 0.5])
    assert np.isnan(benjamini_hochberg(np.full(2, np.nan))).all()
    assert inflation(np.linspace(0, 1, 2001)[1:-1]) == pytest.approx(1)
    inflated = stats.chi2.sf(1.7 * stats.chi2.isf(np.linspace(0.001, 1, 999), 1), 1)
    assert inflation(inflated) == pytest.approx(1.7, rel=0.01)
    assert np.isnan(inflation(np.array([np.nan])))


def test_cpgs_without_a_test_stand_last_and_places_go_along():
    rng = np.random.default_rng(1)
    ages = rng.uniform(20, 80, 40)
    beta = (0.5 + np.outer([0.002, 0, 0, 0.001], ages - 50) + 0.01 * rng.normal(size=(4, 40))).astype(np.float32)
    beta[1] = 0.25
    beta[2, 5:] = np.nan
    statistics = statistics_of(beta, ages, cpgs="abcd")
    places = pd.DataFrame({"chromosome": ["chr1"] * 4, "position": pd.array([111932001, None, 3, 4], "Int64")})
    places = places.assign(gene=list("WXYZ"), island="", flags="")
    table = age_ewas(statistics, pd.Series(["LinAgeHomo"] * 4), None, places)
    assert list(table["cpg"]) == ["a", "d", "b", "c"]
    assert list(table["gene"]) == ["W", "Z", "X", "Y"]
    assert list(table.columns) == ["cpg", "chromosome", "position", "gene", "island", "flags", "taxon", *NUMBERS]
    assert table["q"].isna().tolist() == [False, False, True, True]
    assert list(table["n"]) == [40, 40, 40, 5]
    assert table.to_csv(index=False, float_format="%.6g").splitlines()[1].startswith("a,chr1,111932001,W,")

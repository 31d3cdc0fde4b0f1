"""Adjusted betas: what is taken, what stays, and tests of age that stay honest."""

import json

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort_of
from cpgtaxa.cohort import Cohort
from cpgtaxa.errors import InputError
from cpgtaxa.files import read_parquet, write_parquet
from cpgtaxa.input.sheets import typed
from cpgtaxa.statistics.adjust import Covariate, Model, adjust_cohort, clear_bands, code_covariates
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.statistics.linear import AgeSlope


def people(n=90, seed=0, together=0.0) -> pd.DataFrame:
    """Samples; `dose` goes with age by the correlation `together`."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    dose = together * (age - age.mean()) / age.std() + np.sqrt(1 - together**2) * rng.normal(size=n)
    return pd.DataFrame(
        {
            "sample_id": [f"S{at}" for at in range(n)],
            "age": age,
            "sex": rng.permutation(np.where(np.arange(n) % 2, "F", "M")),
            "batch": rng.permutation(np.arange(n) % 4 + 1),
            "dose": dose,
        }
    )


def model_of(samples, covariates, fractions=None) -> Model:
    return Model(samples["age"].to_numpy(), code_covariates(samples, covariates, fractions))


def by_hand(y, samples, covariates):
    """Adjusted values of one CpG without gaps or with, by one least-squares fit of the samples there are."""
    there = np.isfinite(y)
    a = samples["age"].to_numpy()[there]
    parts = []
    for name in covariates:
        column = samples[name][there]
        parts.append(column if name == "dose" else pd.get_dummies(column, drop_first=True, dtype=float))
    columns = np.column_stack(parts)
    design = np.column_stack([np.ones(len(a)), a, a**2, columns])
    fit = columns @ np.linalg.lstsq(design, y[there], rcond=None)[0][3:]
    found = y.copy()
    found[there] -= fit - fit.mean()
    return found


def test_adjusted_values_are_those_of_a_fit_by_hand_with_and_without_gaps():
    samples = people()
    rng = np.random.default_rng(1)
    values = 0.5 + 0.05 * rng.normal(size=(40, len(samples))) + 0.1 * (samples["sex"] == "F").to_numpy()
    values[10:, :][rng.random((30, len(samples))) < 0.08] = np.nan
    values[11, (samples["batch"] == 3).to_numpy()] = np.nan  # a category that this CpG has not
    names = ["sex", "batch", "dose"]
    found, _, share, _ = model_of(samples, names).adjust(values)
    for row in range(len(values)):
        np.testing.assert_allclose(found[row], by_hand(values[row], samples, names), atol=1e-9, err_msg=str(row))
    np.testing.assert_allclose(np.nanmean(found, axis=1), np.nanmean(values, axis=1), atol=1e-12)
    assert share.min() > 0.2
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))


def test_a_gap_is_as_if_the_sample_were_absent():
    samples = people()
    values = 0.5 + 0.05 * np.random.default_rng(2).normal(size=(5, len(samples)))
    values[:, [3, 17, 40]] = np.nan
    whole = model_of(samples, ["sex", "dose"]).adjust(values)
    kept = np.isfinite(values[0])
    without = model_of(samples[kept].reset_index(drop=True), ["sex", "dose"]).adjust(values[:, kept])
    np.testing.assert_allclose(whole[0][:, kept], without[0], atol=1e-10)
    np.testing.assert_allclose(whole[2], without[2], atol=1e-3)


def test_covariates_that_add_up_to_one_are_no_obstacle():
    samples = people()
    rng = np.random.default_rng(3)
    parts = pd.DataFrame(rng.dirichlet([4, 3, 2], len(samples)), columns=["a", "b", "c"])
    fractions = pd.concat([samples[["sample_id"]], parts], axis=1).assign(residual=0.1, n_cpgs=100)
    values = (parts.to_numpy() @ rng.uniform(0, 1, (3, 20))).T
    model = model_of(samples, ["cell_fractions"], fractions.sample(frac=1, random_state=0))
    assert model.terms == 2
    values[5, 7] = np.nan
    found, _, share, _ = model.adjust(values)
    assert np.nanstd(found, axis=1).max() < 1e-9  # nothing but the fractions was in them
    np.testing.assert_allclose(share, 1)


def test_the_trend_stays_where_covariates_go_with_age():
    samples = people(400, together=0.8)
    rng = np.random.default_rng(4)
    age = samples["age"].to_numpy()
    noise = 0.02 * rng.normal(size=(200, len(age)))
    both = 0.2 + 0.003 * age + 0.05 * samples["dose"].to_numpy() + noise
    model = model_of(samples, ["dose"])
    slopes = compute(model.adjust(both)[0].astype(np.float32), age)["slope"]
    assert abs(slopes.mean() - 0.003) < 2e-5
    assert compute(both.astype(np.float32), age)["slope"].mean() > 0.0045


@pytest.mark.parametrize("covariates", [["dose"], ["dose", "batch", "sex"]])
def test_false_positives_are_as_many_as_stated_with_the_scale_and_more_without(covariates):
    samples = people(60, together=0.8)
    values = 0.5 + 0.03 * np.random.default_rng(5).normal(size=(8000, len(samples)))
    model = model_of(samples, covariates)
    found = model.adjust(values)[0].astype(np.float32)
    age = samples["age"].to_numpy()
    honest = compute(found, age, t_scale=model.t_scale, curve_scale=model.curve_scale, lost=model.terms)
    naive = compute(found, age)
    assert abs((honest["slope_p"] < 0.05).mean() - 0.05) < 0.01
    assert abs((honest["slope_p"] < 0.001).mean() - 0.001) < 0.0012
    assert abs((honest["curve_p"] < 0.05).mean() - 0.05) < 0.01
    assert (naive["slope_p"] < 0.05).mean() > 0.2
    pd.testing.assert_series_equal(honest["slope"], naive["slope"])


def test_the_scale_is_that_of_the_joint_fit():
    """t of the joint fit without age², which here goes with nothing; with age², within a few per cent."""
    samples = people(300, together=0.6)
    age, dose = samples["age"].to_numpy(), samples["dose"].to_numpy()
    values = 0.5 + 0.001 * age + 0.03 * np.random.default_rng(6).normal(size=(50, 300))
    model = model_of(samples, ["dose"])
    t = compute(model.adjust(values)[0].astype(np.float32), age, t_scale=model.t_scale, lost=1)["slope_t"]
    design = np.column_stack([np.ones(300), age, dose])
    inverse = np.linalg.inv(design.T @ design)
    weights = values @ design @ inverse
    left = values - weights @ design.T
    expected = weights[:, 1] / np.sqrt(np.sum(left**2, axis=1) / 297 * inverse[1, 1])
    np.testing.assert_allclose(t, expected, rtol=0.04)
    assert model.t_scale == pytest.approx(np.sqrt(297 / 298 / model.vif), rel=0.02)


def banded(n, cpgs=300, seed=10):
    """Narrow bands (genotypes) that know neither age nor covariate, (cpgs, n)."""
    rng = np.random.default_rng(seed)
    genotype = rng.binomial(2, 0.4, (cpgs, n))
    return 0.2 + 0.3 * genotype + 0.02 * rng.normal(size=(cpgs, n)), genotype


def test_adjusting_does_not_bend_narrow_bands():
    """By plain least squares the bands' distance makes the covariate's coefficient noise, which shows within bands."""
    samples = people(200, together=0.7)
    age = samples["age"].to_numpy()
    values, genotype = banded(200)
    model = model_of(samples, ["dose"])
    found, _, _, bands = model.adjust(values)
    assert (bands == 3).mean() > 0.95
    slopes = np.array(
        [np.polyfit(age[one == 1], row[one == 1], 1)[0] for row, one in zip(found, genotype, strict=True)]
    )
    plain = values - np.outer(values @ model.beside[:, 0], model.taken[:, 0] - model.taken[:, 0].mean())
    bent = np.array([np.polyfit(age[one == 1], row[one == 1], 1)[0] for row, one in zip(plain, genotype, strict=True)])
    assert slopes.std() < 0.25 * bent.std()


def test_false_positives_within_bands_are_as_many_as_stated():
    samples = people(200, together=0.7)
    model = model_of(samples, ["dose"])
    values = model.adjust(banded(200, 800)[0])[0].astype(np.float32)
    table = compute(values, samples["age"], t_scale=model.t_scale, curve_scale=model.curve_scale, lost=model.terms)
    assert 0.02 < (table["three_common_p"] < 0.05).mean() < 0.085
    naive = compute(values, samples["age"])
    assert (naive["three_common_p"] < 0.05).mean() > 0.12


def test_bands_that_are_the_covariate_are_taken_and_one_band_is_left_whole():
    samples = people(200)
    rng = np.random.default_rng(11)
    values = 0.3 + 0.3 * (samples["sex"] == "F").to_numpy() + 0.02 * rng.normal(size=(50, 200))
    found, _, share, bands = model_of(samples, ["sex"]).adjust(values)
    assert (bands == 1).all()
    assert found.std(axis=1).max() < 0.03
    assert share.min() > 0.95
    one = [rng.normal(size=(300, 200)), rng.uniform(-2, 2, (300, 200)), rng.gamma(4, size=(300, 200))]
    for number, values in enumerate(one):
        assert (clear_bands(0.1 * values)[0] > 1).mean() < 0.01, number


def test_clear_bands_are_found_where_they_are():
    values, genotype = banded(150, 40)
    values[:, ::7] = np.nan
    bands, labels = clear_bands(values)
    assert (bands == 3).all()
    known = np.isfinite(values)
    np.testing.assert_array_equal(labels[known], genotype[known])
    assert (labels[~known] == -1).all()
    values[:, :] = 0.4 + 0.02 * np.random.default_rng(12).normal(size=values.shape)
    values[:, [3, 9]] = 0.9  # two strays are a band too
    bands, labels = clear_bands(values)
    assert (bands == 2).all()
    assert (labels.sum(axis=1) == 2).all()


def test_without_scales_nothing_changes():
    rng = np.random.default_rng(7)
    values, age = rng.random((60, 80)).astype(np.float32), rng.uniform(20, 80, 80)
    pd.testing.assert_frame_equal(
        compute(values, age), compute(values, age, t_scale=1.0, curve_scale=1.0, lost=0), check_exact=True
    )


def test_numbers_that_name_something_are_categories():
    samples = people().assign(slide=np.arange(90) % 12 + 201868500150, half=np.arange(90) % 3 / 2)
    coded = code_covariates(samples, ["batch", "dose", "slide", {"sex": "category"}, "half"])
    assert [covariate.kind for covariate in coded] == ["category", "number", "number", "category", "number"]
    assert coded[0].levels == {"1": 23, "2": 23, "3": 22, "4": 22}
    said = code_covariates(samples, [{"batch": "number"}, {"slide": "category"}])
    assert said[0].columns.shape == (90, 1)
    assert said[1].columns.shape == (90, 11)
    assert "201868500150" in said[1].levels


def test_all_problems_are_reported_at_once():
    samples = people().assign(plate="P1", ward=["W1", *["W2"] * 44, *["W3"] * 45], note=["x"] * 90, bmi=25.5)
    samples["smoker"] = [None, None, *["no", "yes"] * 44]
    wrong = [
        "age",
        "gender",
        "plate",
        "ward",
        "smoker",
        {"note": "number"},
        "sex",
        "sex",
        "bmi",
        {"smoker": "category"},
    ]
    with pytest.raises(InputError) as error:
        code_covariates(samples, [*wrong, {"ward": "number"}])
    text = error.value.text()
    for part in (
        "'age', which is what",
        "'gender' is no column",
        "'plate' is 'P1' in all",
        "('W1')",
        "'S0', 'S1'",
        "names 'sex' twice",
        "'bmi' is",
        "names 'smoker' twice",
        "'note' is 'x' in all",
    ):
        assert part in text
    with pytest.raises(InputError, match=r"is to be a number, but the sheet has '[FM]', '[FM]'"):
        code_covariates(samples, [{"sex": "number"}])


def test_age_must_be_separable_from_the_covariates_and_samples_must_be_enough():
    samples = people(40)
    samples["years"] = samples["age"].round(0)
    samples["nearly"] = samples["age"] + 8 * np.random.default_rng(8).normal(size=40)
    with pytest.raises(InputError, match="age cannot be separated from 'years'"):
        model_of(samples, ["years", "sex"])
    samples["plate"] = [f"P{at // 2}" for at in range(40)]
    with pytest.raises(InputError, match="18 terms beside age, for which at least 31 samples are needed; there are 30"):
        model_of(samples[:30].reset_index(drop=True), ["plate", "sex", "batch"])
    model = model_of(samples, ["nearly"])
    assert any("explained by 'nearly'" in text for text in model.warnings(40))
    assert 4 < model.vif < 100


def test_a_cohort_is_adjusted_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("cpgtaxa.cohort.BATCH_BYTES", 4 * 90 * 50)  # 50 CpGs a block
    samples = people()
    rng = np.random.default_rng(9)
    values = (0.3 + 0.02 * rng.normal(size=(230, 90)) + 0.2 * (samples["sex"] == "F").to_numpy()).astype(np.float32)
    values[0] = np.where(samples["sex"] == "F", 0.95, 0.05)
    values[0, :30] = 0.0  # adjusting leads out of 0 to 1
    values[::3, 5] = np.nan
    values[1, 6:] = np.nan  # too few values: left as they are
    cohort_of(tmp_path, np.clip(values, 0, 1), samples=samples["sample_id"])
    write_parquet(tmp_path / "samples.parquet", samples)
    given = {"beta": tmp_path / "beta.arrow", "samples": tmp_path / "samples.parquet", "fractions": None}
    out = {
        "beta": tmp_path / "adjusted.arrow",
        "cpgs": tmp_path / "cpgs.parquet",
        "summary": tmp_path / "adjusted.json",
    }
    adjust_cohort(given, out, covariates=["sex", "dose"])
    before, after = Cohort(given["beta"]), Cohort(out["beta"])
    assert after.sample_ids == before.sample_ids
    assert (after.cpgs == before.cpgs).all()
    raw, found = before.read(0, 230).astype(float), after.read(0, 230)
    expected = model_of(samples, ["sex", "dose"]).adjust(raw)[0]
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-6)
    cpgs, summary = read_parquet(out["cpgs"]), json.loads(out["summary"].read_text())
    np.testing.assert_array_equal(cpgs["n_clipped"], np.sum((expected < 0) | (expected > 1), axis=1))
    assert cpgs["n_clipped"][0] > 5
    assert summary["clipped"]["values"] == cpgs["n_clipped"].sum()
    np.testing.assert_array_equal(found[1], raw[1].astype(np.float32))
    assert summary["untouched"] == 1
    assert np.isnan(cpgs["r2"][1])
    sex, dose = summary["covariates"]
    assert summary["share_taken"] > sex["share_alone"] > 0.8 > 0.1 > dose["share_alone"]
    assert summary["terms"] == 2
    assert 0 < summary["statistics"]["t_scale"] < 1


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        (["1E2", "100", "2E2"], None, ["1E2", "100", "2E2"]),
        (["001", "01", "2"], "category", ["001", "01", "2"]),
        (["1.10", "1.1", "2"], "category", ["1.10", "1.1", "2"]),
        (["27.10", "27.1", "25"], None, None),
        (["001", "2", "03"], "number", None),
    ],
)
def test_names_in_digits_are_not_merged(values, kind, found):
    column = typed(pd.Series(values * 4, dtype=object))
    samples = pd.DataFrame({"sample_id": range(12), "age": range(12), "plate": column})
    (covariate,) = code_covariates(samples, [{"plate": kind} if kind else "plate"])
    assert covariate.kind == ("category" if found else "number")
    assert set(covariate.levels or []) == set(found or [])
    if not found:
        assert covariate.columns[:3, 0].tolist() == [float(value) for value in values]


def test_samples_alike_are_taken_together_with_the_same_result(monkeypatch):
    rng = np.random.default_rng(4)
    ages, site = np.repeat([30.0, 40, 50, 60, 75], 60), np.tile(np.arange(3), 100)
    columns = np.column_stack([site == 1, site == 2]).astype(float)
    model = Model(ages, [Covariate("site", "category", columns)])
    values = 0.5 + 0.1 * columns[:, 0] + rng.normal(0, 0.05, (4, 300))
    values[1, site == 2], values[2, ::9], values[3, :150] = np.nan, np.nan, values[3, :150] + 0.4
    values[3, 7] = np.nan
    line = AgeSlope(ages, columns)
    together = [*model.adjust(values), *line.fit(values)]
    monkeypatch.setattr("cpgtaxa.statistics.linear.ALIKE", 10**9)
    for one, two in zip(together, [*model.adjust(values), *line.fit(values)], strict=True):
        assert np.allclose(one, two, atol=1e-9, equal_nan=True)

"""The report's tables by hand: flow between taxa, thresholds, missing values, what betas go with, run time."""

import numpy as np
import pandas as pd
import pytest
from cohorts import SHIPPED_RULES, cohort_of, statistics_of
from cpgtaxa.names import UNCLASSIFIED
from cpgtaxa.report import quality, runtime, tables, thresholds
from cpgtaxa.taxa.criteria import TABLE, Answers
from statsmodels.stats.proportion import proportion_confint


def test_flow_by_hand():
    taxonomy = pd.DataFrame(
        {
            "taxon": ["BiAge", "BiAge", "BiAge", "TriAge", UNCLASSIFIED],
            "source": ["statistical", "round_0", "round_1", "round_1", "none"],
        }
    )
    found = tables.flow(taxonomy, 2)
    assert [tuple(row) for row in found.itertuples(index=False)] == [
        ("statistical", "BiAge", "round_0", "BiAge", 1),
        ("statistical", UNCLASSIFIED, "round_0", "BiAge", 1),
        ("statistical", UNCLASSIFIED, "round_0", UNCLASSIFIED, 3),
        ("round_0", "BiAge", "round_1", "BiAge", 2),
        ("round_0", UNCLASSIFIED, "round_1", "TriAge", 1),
        ("round_0", UNCLASSIFIED, "round_1", "BiAge", 1),
        ("round_0", UNCLASSIFIED, "round_1", UNCLASSIFIED, 1),
    ]


@pytest.fixture(scope="module")
def widths():
    """Statistics of six level bands of 400 samples, of these standard deviations, and one of ten samples."""
    rng, ages = np.random.default_rng(3), np.linspace(20, 90, 400)
    noise = rng.normal(size=400)
    noise -= np.polyval(np.polyfit(ages, noise, 1), ages)
    noise /= noise.std()
    sds = np.array([0.004, 0.007, 0.012, 0.018, 0.03, 0.05, 0.05])
    values = 0.5 + sds[:, None] * noise
    values[6, 10:] = np.nan
    return statistics_of(values, ages, cpgs="abcdefg")


def test_answers_are_counted_below_in_and_above_the_zone(widths):
    # In two blocks, as files are read. The zone is 0.008 to 0.025, its middle 0.0141; too few samples do not count.
    found, drawn = thresholds.count_answers(
        [widths[:4], widths[4:]], SHIPPED_RULES["thresholds"], SHIPPED_RULES["errors"]
    )
    assert list(found["criterion"]) == [one.name for one in TABLE]
    assert list(found["key"]) == [f"taxa.thresholds.{one.name}" for one in TABLE]
    row = found.set_index("criterion").loc["width"]
    assert row[["n", *thresholds.COUNTED]].tolist() == [6, 2, 1, 1, 2, 0]
    assert row["share_in_zone"] == pytest.approx(2 / 6)
    assert row["cut"] == pytest.approx((0.008 * 0.025) ** 0.5)
    assert (found[list(thresholds.COUNTED)].sum(axis=1) == found["n"]).all()
    assert drawn.groupby("criterion")["n"].sum()["width"] == 6


def test_the_nearest_criterion_is_that_of_the_boundary_or_the_nearest_zone(widths):
    found = thresholds.nearest_criterion(Answers(widths, SHIPPED_RULES["thresholds"], SHIPPED_RULES["errors"]))
    assert found["criterion"][2:4].tolist() == ["width", "width"]
    assert (found["margin"][2:4] <= 1).all()
    assert found["value"][2] == pytest.approx(0.012, rel=0.01)
    half = np.log(0.025 / 0.008) / 2
    assert found["margin"][2] == pytest.approx(abs(np.log(0.012 / 0.0141421)) / half, rel=0.02)
    assert (found["margin"][:2] > 1).all()


def test_missing_values_by_hand(tmp_path):
    values = np.full((4, 5), 0.5)
    values[0, 0] = values[1, 0] = values[2, 3] = np.nan
    by_sample = quality.missing_by_sample(cohort_of(tmp_path, values))
    assert by_sample.tolist() == [0.5, 0, 0, 0.25, 0]
    reasons = [None, None, None, None, "missing", "constant"]
    cpgs = pd.DataFrame({"n_missing": [1, 1, 1, 0, 4, 3], "kept": [True] * 4 + [False] * 2, "reason": reasons})
    found = quality.missing_table(by_sample, cpgs)
    samples, of_cpgs = found[found["of"] == "samples"], found[found["of"] == "CpGs"]
    assert samples["n"].sum() == 5
    assert of_cpgs["n"].sum() == 5
    assert samples[samples["n"] > 0]["n"].tolist() == [3, 1, 1]
    assert of_cpgs[of_cpgs["n"] > 0]["n"].tolist() == [1, 3, 1]
    assert (samples["share_from"] <= 0.5).all()


def test_a_batch_is_found_and_noise_is_not(tmp_path):
    """Half of the samples are 0.2 higher in a third of the CpGs; another column is drawn at random."""
    rng = np.random.default_rng(5)
    batch = np.repeat(["a", "b"], 30)
    values = 0.4 + 0.02 * rng.standard_normal((90, 60))
    values[:30] += 0.2 * (batch == "b")
    values[40, 7] = np.nan
    samples = pd.DataFrame({"sample_id": range(60), "age": rng.uniform(20, 80, 60), "plate": batch})
    samples["centre"] = rng.permutation(np.repeat(["x", "y", "z"], 20))
    samples["id"], samples["one"] = [f"n{index}" for index in range(60)], "same"
    samples["slide"] = np.repeat([200123 + 7 * index for index in range(15)], 4)
    columns, left_out = quality.columns_of(samples)
    assert set(columns) == {"age", "plate", "centre", "slide"}
    assert set(left_out) == {"id", "one"}
    assert columns["slide"].nunique() == 15
    assert isinstance(columns["slide"][0], str)
    cohort = cohort_of(tmp_path, values)
    scores, shares, centred = quality.components(cohort, values.std(axis=1))
    assert scores.shape == (60, quality.COMPONENTS)
    assert shares[0] > 0.8
    assert np.abs(centred.mean(axis=1)).max() < 1e-6
    table = quality.explained(columns, scores, centred).set_index(["column", "of"])
    assert table.loc[("plate", "PC1"), "r2"] > 0.95
    assert table.loc[("plate", "PC1"), "surely"]
    assert table.loc[("plate", "betas"), "chance"] == pytest.approx(1 / 59)
    assert table.loc[("centre", "betas"), "chance"] == pytest.approx(2 / 59)
    assert not table.loc["centre"]["surely"].iloc[1:].any()
    # By hand: of one CpG the share between the groups' means is eta², the R² of its column.
    one = centred[0]
    within = sum(((one[batch == kind] - one[batch == kind].mean()) ** 2).sum() for kind in "ab")
    alone = quality.explained({"plate": columns["plate"]}, scores[:, :1], centred[:1]).set_index("of")["r2"]
    assert alone["betas"] == pytest.approx(1 - within / (one**2).sum())


def test_run_time_by_hand(tmp_path):
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    for name, seconds, rss, cpu in (
        ("train_0_ResNet18", 100.5, "900.0", "180.0"),
        ("train_1_MixResNet18", 50.0, "1200.5", "90.0"),
        ("compute_statistics_0-of-2", 10.0, "300", "9"),
        ("compute_statistics_1-of-2", 12.0, "310", "11"),
        ("predict_calibration_0", 3.0, "-", "-"),
        ("report", 99.0, "1", "1"),
    ):
        line = f"{seconds}\t0:01:00\t{rss}\t-\t-\t-\t-\t-\t-\t{cpu}\n"
        (tmp_path / f"{name}.tsv").write_text(head + line)
    (tmp_path / "broken.tsv").write_text("nothing\n")
    found = runtime.run_time(tmp_path)
    assert list(found.columns) == list(runtime.COLUMNS)
    rows = found.set_index("rule")
    assert list(rows.index) == ["train", "compute_statistics", "predict_calibration"]
    assert rows.loc["train"].tolist() == [2, 150.5, 100.5, 270, 1200.5]
    assert rows.loc["compute_statistics"].tolist() == [2, 22, 12, 20, 310]
    assert rows.loc["predict_calibration", ["jobs", "wall_s"]].tolist() == [1, 3]
    assert np.isnan(rows.loc["predict_calibration", "cpu_s"])
    assert runtime.run_time(tmp_path / "nowhere").empty
    assert [runtime.duration(value) for value in (2.34, 45, 90, 600, 7200)] == [
        "2.3\u00a0s",
        "45\u00a0s",
        "90\u00a0s",
        "10.0\u00a0min",
        "2.0\u00a0h",
    ]
    assert runtime.memory(1500) == "1.5\u00a0GB"


@pytest.mark.parametrize(("hits", "n"), [(8, 10), (0, 7), (7, 7), (250, 1000)])
def test_intervals_of_shares_are_wilsons(hits, n):
    expected = proportion_confint(hits, n, method="wilson")
    np.testing.assert_allclose(tables.wilson(np.array([hits]), np.array([n])), np.transpose([expected]), atol=1e-12)

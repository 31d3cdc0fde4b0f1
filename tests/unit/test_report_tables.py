"""The report's tables by hand: flow between taxa, thresholds, missing values, what betas go with, run time."""

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.cohort import Cohort, CohortWriter
from cpgtaxa.names import TAXA, UNCLASSIFIED
from cpgtaxa.report import quality, runtime, tables, thresholds
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


def test_near_a_threshold_by_hand():
    """Spreads: 10 % around 0.02 is 0.018 to 0.022. p-values: half a power of ten around 0.05 is 0.0158 to 0.158."""
    statistics = pd.DataFrame(
        {
            "cpg": list("abcdef"),
            "n": 100,
            "core_sd": [0.0179, 0.0181, 0.02, 0.0219, 0.0221, np.nan],
            "core_slope_p": [0.0157, 0.0159, 0.05, 0.157, 0.159, 0.9],
            "outlier_n": [0, 1, 2, 3, 4, 5],
            "mixture_ran": [True, True, False, False, False, False],
            "two_gap": [0.07, 0.2, 0.07, 0.07, 0.07, 0.07],
        }
    )
    taxa = pd.DataFrame(
        {
            "taxon": ["BiAge", "BiAge", UNCLASSIFIED, "TriAge", UNCLASSIFIED, UNCLASSIFIED],
            "source": ["statistical", "statistical", "none", "round_0", "none", "none"],
        },
        index=pd.Index(list("abcdef"), name="cpg"),
    )
    asked = {"unstable_sd": 0.02, "absent_p": 0.05, "max_strays": 2, "min_band_gap": 0.07}
    # In two blocks, as files are read.
    found, drawn = thresholds.near_thresholds([statistics[:4], statistics[4:]], taxa, asked, 6)
    found = found.set_index(["statistic", "threshold"])
    columns = ["n_asked", "n_near", "near_by_rules", "near_by_networks", "near_unclassified"]
    assert found.loc[("core_sd", "unstable_sd"), columns].tolist() == [5, 3, 1, 1, 1]
    assert found.loc[("core_sd", "unstable_sd"), "share"] == pytest.approx(3 / 5)
    assert found.loc[("core_slope_p", "absent_p"), columns].tolist() == [6, 3, 1, 1, 1]
    assert found.loc[("outlier_n", "max_strays"), columns].tolist() == [6, 3, 1, 1, 1]
    # Only where a mixture was fitted does its gap mean anything.
    assert found.loc[("two_gap", "min_band_gap"), columns].tolist() == [2, 1, 1, 0, 0]
    assert drawn.groupby("statistic")["n"].sum().to_dict() == {
        **{"core_sd": 5, "core_slope_p": 6, "outlier_n": 6, "two_gap": 2},
    }


def test_alpha_is_shared_by_the_cpgs():
    found = {key: value for _, key, value, _ in thresholds.thresholds_asked({"alpha": 0.05, "curve_p": 1e-4}, 100)}
    assert found == {"alpha": 0.0005, "curve_p": 1e-4}


def test_the_deciding_statistic_is_the_one_nearest_to_its_threshold():
    statistics = pd.DataFrame({"core_sd": [0.0114, 0.005], "core_effect": [0.001, -0.0099]}, index=["a", "b"])
    found = thresholds.deciding("UniStable", statistics, {"stable_sd": 0.0115, "tiny_effect": 0.01}, 1000)
    assert found["threshold"].tolist() == ["stable_sd", "tiny_effect"]
    assert found["value"].tolist() == [0.0114, 0.0099]
    assert found["distance"].tolist() == pytest.approx([0.0001 / 0.00115, 0.0001 / 0.001])


def test_every_threshold_of_the_config_is_on_the_page():
    import yaml
    from conftest import ROOT

    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())["taxa"]["thresholds"]
    asked = {key for found in thresholds.ASKED.values() for key, _ in found}
    assert asked == set(config)
    assert set(thresholds.ASKED) == {one.name for one in thresholds.STATISTICS}
    pairs = {f"{name}:{key}" for name, found in thresholds.ASKED.items() for key, _ in found}
    assert {pair for found in thresholds.DECIDE.values() for pair in found} <= pairs
    assert tuple(thresholds.DECIDE) == TAXA


def _cohort(path, values) -> Cohort:
    with CohortWriter(path, [f"S{index}" for index in range(values.shape[1])]) as writer:
        writer.append([f"cg{index}" for index in range(len(values))], values.astype(np.float32))
    return Cohort(path)


def test_missing_values_by_hand(tmp_path):
    values = np.full((4, 5), 0.5)
    values[0, 0] = values[1, 0] = values[2, 3] = np.nan
    by_sample = quality.missing_by_sample(_cohort(tmp_path / "beta.arrow", values))
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
    cohort = _cohort(tmp_path / "beta.arrow", values)
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
        *("2.3\u00a0s", "45\u00a0s", "90\u00a0s", "10.0\u00a0min", "2.0\u00a0h"),
    ]
    assert runtime.memory(1500) == "1.5\u00a0GB"


@pytest.mark.parametrize(("hits", "n"), [(8, 10), (0, 7), (7, 7), (250, 1000)])
def test_intervals_of_shares_are_wilsons(hits, n):
    expected = proportion_confint(hits, n, method="wilson")
    np.testing.assert_allclose(tables.wilson(np.array([hits]), np.array([n])), np.transpose([expected]), atol=1e-12)

"""Shapes of change and causes of bands: planted ones are found, plain ones are left alone."""

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort_of, statistics_of
from cpgtaxa.cohort import Cohort
from cpgtaxa.errors import InputError
from cpgtaxa.files import write_parquet
from cpgtaxa.patterns import causes
from cpgtaxa.patterns.columns import DESCRIPTION, SHAPES
from cpgtaxa.patterns.replication import KNOWN
from cpgtaxa.patterns.shape import Design, Scales
from cpgtaxa.patterns.spread import describe
from cpgtaxa.patterns.table import Study, describe_shard, gather, patterns, significant
from cpgtaxa.taxa import criteria

N = 600
RULES = {"thresholds": criteria.default_zones(), "errors": {"beyond": 0.05, "chance": 0.01}}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def ages():
    return np.round(np.random.default_rng(1).uniform(20, 90, N), 1)


def noisy(rng, means, sd=0.03):
    """Values (k, N) float32 around means (k, N)."""
    return np.clip(means + rng.normal(0, sd, means.shape), 0, 1).astype(np.float32)


def curves(ages, point):
    """A change of 0.1 of each shape, turning at `point`."""
    scaled = {
        "saturating": np.minimum(ages, point),
        "late_onset": np.maximum(ages, point),
        "wave": np.abs(ages - point),
        "step": 1.0 * (ages > point),
        "linear": ages,
        "none": np.zeros(len(ages)),
    }
    return {shape: 0.4 + 0.1 * (y - y.min()) / max(np.ptp(y), 1) for shape, y in scaled.items()}


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("point", [45.0, 60.0])
def test_each_shape_is_found_with_its_change_point(rng, ages, point, side):
    planted = curves(ages, point)
    means = np.array([0.5 + side * (mean - 0.45) for mean in planted.values()])
    found = describe(noisy(rng, means), Design(ages), np.zeros(len(means)))
    assert found["shape"].tolist() == list(planted)
    turning = np.isin(found["shape"], ["none", "linear"])
    assert np.isnan(found["change_point"][turning]).all()
    assert np.abs(found["change_point"][~turning] - point).max() <= 5
    assert (found["change_point_low"] <= found["change_point"])[~turning].all()
    assert (found["change_point"] <= found["change_point_high"])[~turning].all()
    assert (found["shape_p"][~turning] < 0.01).all()


@pytest.mark.parametrize("side", [1, -1])
def test_each_shape_of_the_spread_is_found_with_its_change_point(rng, ages, side):
    size = side * np.log(12)
    found = describe(spreading(rng, curves(ages, 50), size), Design(ages), size * np.array([1, 1, 0, 1, 1, 0]))
    assert found["spread_shape"].tolist() == list(curves(ages, 50))
    assert (found["shape"] == "none").all()
    turning = np.isin(found["spread_shape"], ["none", "linear"])
    assert np.isnan(found["spread_change_point"][turning]).all()
    assert np.abs(found["spread_change_point"][~turning] - 50).max() <= 7
    assert (found["spread_change_point_low"] <= found["spread_change_point"])[~turning].all()
    assert (found["spread_change_point"] <= found["spread_change_point_high"])[~turning].all()
    assert (found["spread_shape_p"][~turning] < 0.01).all()


def spreading(rng, shapes, size):
    """Values (k, N) float32 around 0.5 of which the logarithm of the spread follows curves of a change of 0.1."""
    logs = np.array([10 * size * (curve - curve.mean()) for curve in shapes.values()])
    return (0.5 + 0.02 * np.exp(logs) * rng.standard_normal(logs.shape)).astype(np.float32)


@pytest.mark.parametrize(("n", "told"), [(299, False), (301, True)])
def test_few_people_have_no_curves_of_spread(rng, n, told):
    """A few far from the others look like one."""
    ages = np.linspace(20, 90, n)
    values = 0.5 + np.where(ages < 55, 0.01, 0.09) * rng.standard_normal((20, n))
    found = describe(values.astype(np.float32), Design(ages), np.full(20, np.nan))
    assert set(found["spread_shape"]) == ({"step"} if told else {"undecided"})
    assert np.isfinite(found["spread_change_point"]).all() == told
    assert (found["spread_shape_p"] < 1e-4).all()


@pytest.mark.parametrize("of", ["nothing", "log spread", "spread"])
def test_spreads_on_a_line_are_on_no_curve(rng, ages, of):
    position = (ages - 20) / 70
    sd = {"nothing": 0.03 * np.ones(N), "log spread": 0.02 * 3**position, "spread": 0.02 * (1 + 2 * position)}[of]
    values = 0.5 + 0.05 * (ages > 55) * np.repeat([0, 1], 150)[:, None] + sd * rng.standard_t(5, (300, N))
    values[:, ages > 80] += 0.3 * (rng.random((300, (ages > 80).sum())) < 0.01)
    found = describe(values.astype(np.float32), Design(ages), np.full(300, 0 if of == "nothing" else 1.0))
    plain = found["spread_shape"][:150]
    assert (plain == ("none" if of == "nothing" else "linear")).mean() >= 0.96
    assert (found["spread_shape_p"][:150] < 0.05).mean() <= 0.11


def test_steps_and_bands_are_no_change_of_spread(rng, ages):
    steps = noisy(rng, 0.5 + np.array([[0.08], [-0.1]]) * (ages > 55), 0.03)
    band = rng.random(N) < 0.4
    crossing = noisy(rng, (0.4 + 0.25 * band + np.where(band, 0.003, -0.001) * (ages - 55))[None], 0.02)
    values = np.concatenate([steps, crossing])
    values[:, :9] = np.nan
    study = Study.of(pd.DataFrame({"sample_id": [f"s{i}" for i in range(N)], "age": ages}))
    found = patterns(lambda low, high: values[low:high], statistics_of(values, ages), study, **RULES)
    assert found["shape"][:2].tolist() == ["step"] * 2
    assert found["cause"][2] is not None
    assert found["spread_shape"].tolist() == ["none"] * 3
    plain = describe(values, study.design, np.zeros(3))
    assert "none" not in plain["spread_shape"][2:]


def test_lines_stay_lines_under_outliers_and_a_spread_that_grows(rng, ages):
    spread = 0.01 + 0.04 * (ages - 20) / 70
    values = 0.3 + 0.002 * (ages - 55) * np.repeat([0, 1], 100)[:, None] + spread * rng.standard_t(4, (200, N))
    values[:, ages > 75] += 0.4 * (rng.random((200, (ages > 75).sum())) < 0.02)
    found = describe(np.clip(values, 0, 1).astype(np.float32), Design(ages), np.full(200, 1.3))
    assert (found["shape"][100:] == "linear").mean() >= 0.97
    assert (found["shape"][:100] == "none").mean() >= 0.97
    p = describe(noisy(rng, np.full((400, N), 0.5)), Design(ages), np.zeros(400))["shape_p"]
    assert 0.01 <= (p < 0.05).mean() <= 0.09


def test_missing_values_leave_their_samples_out(rng, ages):
    values = noisy(rng, np.array(list(curves(ages, 50).values())))
    known = rng.random(N) < 0.85
    gaps = np.where(known, values, np.nan).astype(np.float32)
    design, scale = Design(ages), np.zeros(len(values))
    found = describe(gaps, design, scale)
    for name, column in describe(values[:, known], Design(ages[known]), scale).items():
        if name == "shape":
            assert (found[name] == column).all()
    few = np.full((1, N), np.nan, np.float32)
    few[0, :29] = 0.5
    lost = describe(few, design, np.zeros(1))
    assert lost["shape"][0] == "undecided"
    assert np.isnan(lost["shape_p"][0])


def test_one_age_or_a_handful_of_samples_leaves_the_shape_open():
    assert describe(np.full((2, 40), 0.5, np.float32), Design(np.full(40, 50.0)), np.zeros(2))["shape"].tolist() == [
        "undecided",
        "undecided",
    ]
    two = describe(np.full((1, 40), 0.5, np.float32), Design(np.repeat([30.0, 60.0], 20)), np.zeros(1))
    assert two["shape"][0] == "none"
    assert np.isnan(two["shape_p"][0])


@pytest.mark.parametrize("n", [2, 12, 35, 90])
def test_odd_cohorts_get_answers_too(rng, n):
    for ages in (rng.exponential(5, n), rng.choice([20.0, 50.0, 80.0], n), np.append(np.full(n - 1, 40.0), 90)):
        values = rng.random((4, n)).astype(np.float32)
        values[0], values[1], values[2, ::2] = np.nan, 0.5, np.nan
        found = describe(values, Design(ages, rng.integers(-1, 2, n)), np.array([np.nan, 0, 9, -9]))
        assert set(found["shape"]) <= set(SHAPES)
        assert found["shape"][0] == "undecided"


def test_slopes_of_the_sexes_are_compared_whatever_type_the_codes_have(rng, ages):
    sexes = rng.integers(0, 2, N).astype(np.int8)
    values = noisy(rng, np.array([0.5 + 0.001 * sexes * (ages - 55), np.full(N, 0.5)]))
    design = Design(ages, sexes)
    assert (design.order == Design(ages, sexes.astype(int)).order).all()  # cells beyond 127 are no negative ones
    found = describe(values, design, np.zeros(2))
    assert found["sex_divergent"][0] == pytest.approx(0.001, abs=0.0003)
    assert found["sex_p"][0] < 1e-4 < found["sex_p"][1]
    assert np.isnan(describe(values, Design(ages), np.zeros(2))["sex_p"]).all()


def test_tests_on_adjusted_betas_count_what_covariates_cost(rng, ages):
    values = noisy(rng, np.array(list(curves(ages, 50).values())), sd=0.1)
    plain = describe(values, Design(ages, ages < 50), np.zeros(6))
    scaled = describe(values, Design(ages, ages < 50), np.zeros(6), Scales(0.5, 0.5, 40))
    assert (scaled["shape_p"] > plain["shape_p"]).all()


def test_the_p_value_of_an_association_is_that_of_permutations(rng):
    band, chips = rng.choice(3, 300, p=[0.1, 0.3, 0.6]), np.arange(300) // 12
    p = [causes.association(rng.permutation(band), chips)[1] for _ in range(600)]
    assert 0.03 <= np.mean(np.array(p) < 0.05) <= 0.075
    follows, p = causes.association((chips % 2).astype(np.int8), chips)
    assert follows == pytest.approx(1, abs=0.05)
    assert p < 1e-20
    assert causes.association(np.zeros(300, int), chips) == (0.0, 1.0)


def test_hardy_weinberg():
    assert causes.hardy_weinberg([360, 480, 160]) > 0.9
    assert causes.hardy_weinberg([500, 0, 500]) < 1e-10
    assert causes.hardy_weinberg([90, 10, 0]) > 0.5


def test_technical_columns_are_recognised_by_their_names():
    n = 240
    samples = pd.DataFrame(
        {
            "sample_id": [f"{200000000000 + i // 8}_R{1 + i % 8:02d}C01" for i in range(n)],
            "age": np.linspace(20, 80, n),
            "sex": ["F", "M"] * (n // 2),
            "smoking": ["yes", "no"] * (n // 2),
            "Plate": np.arange(n) // 48,
            "Scan_Date": pd.date_range("2020-01-01", periods=n).strftime("%Y-%m-%d"),
            "barcode": [f"b{i}" for i in range(n)],
        }
    )
    found = causes.batch_columns(samples)
    assert set(found) == {"Plate", "Scan_Date", "chip in sample_id", "place in sample_id"}
    assert {name: codes.max() + 1 for name, codes in found.items()} == {
        "Plate": 5,
        "Scan_Date": causes.GROUPS,
        "chip in sample_id": 30,
        "place in sample_id": 8,
    }
    assert causes.batch_columns(samples[["sample_id", "age", "sex"]].assign(sample_id="s")) == {}


def banded_cohort(rng, ages):
    """Values of CpGs with bands of known cause, the sheet, and the causes."""
    sheet = pd.DataFrame({"sample_id": [f"s{i}" for i in range(N)], "age": ages, "plate": rng.integers(0, 6, N)})
    sheet["sex"] = np.where(rng.random(N) < 0.5, "F", "M")
    genotype = rng.binomial(2, 0.35, N)
    bands = {
        "SNP": genotype,
        "sex": (sheet["sex"] == "M").to_numpy() * 1.5,
        "batch": (sheet["plate"] < 2).to_numpy() * 1.5,
        "": np.zeros(N),
    }
    values = noisy(rng, np.array([0.2 + 0.25 * band for band in bands.values()]), 0.02)
    return values, sheet, list(bands)


def test_bands_have_their_causes(rng, ages):
    values, sheet, wanted = banded_cohort(rng, ages)
    study = Study.of(sheet)
    statistics = statistics_of(values, sheet["age"].to_numpy(), study.sexes)
    found = patterns(lambda low, high: values[low:high], statistics, study, **RULES)
    assert found["cause"].fillna("").tolist() == wanted
    assert found["shape"].tolist() == ["none"] * 4  # bands are no change with age
    assert (found["cause_p"][1:3] < 1e-20).all()
    assert found["cause_p"][0] > 1e-3


def imprinted_cohort(rng, ages):
    """Values of CpGs with a band near a half, the sheet, and whether imprinting may be why."""
    _, sheet, _ = banded_cohort(rng, ages)
    most, others = rng.random(N) < 0.75, rng.random(N) < 0.5
    men, late = (sheet["sex"] == "M").to_numpy(), (ages > 60) & (rng.random(N) < 0.5)
    levels = {
        "half or none": np.where(most, 0.48, 0.08),
        "half or both": np.where(most, 0.5, 0.9),
        "three": np.where(most, 0.5, np.where(others, 0.1, 0.9)),
        "genotypes": np.array([0.1, 0.5, 0.9])[rng.binomial(2, 0.4, N)],
        "a rare allele": np.where(rng.random(N) < 0.07, 0.5, 0.1),
        "neither near a half": np.where(most, 0.8, 0.2),
        "both near a half": np.where(most, 0.58, 0.42),
        "sexes": np.where(men, 0.5, 0.1),
        "the old": np.where(late, 0.1, 0.5),
    }
    return noisy(rng, np.array(list(levels.values())), 0.02), sheet, np.arange(9) < 3


def test_imprinting_may_be_why_where_half_is_no_genotype(rng, ages):
    values, sheet, wanted = imprinted_cohort(rng, ages)
    study = Study.of(sheet)
    statistics = statistics_of(values, sheet["age"].to_numpy(), study.sexes)
    found = patterns(lambda low, high: values[low:high], statistics, study, **RULES)
    assert (found["imprinting_p"].notna() == wanted).all()
    assert (found["imprinting_p"][wanted] < 1e-6).all()
    assert not (found["cause"] == "imprinting").any()  # which takes a list


def test_the_list_and_the_manifest_decide_on_imprinting(rng, ages, tmp_path, caplog):
    values, sheet, _ = imprinted_cohort(rng, ages)
    values, cpgs = values[[0, 1, 2, 0, 3, 7]], [f"cg{i}" for i in range(6)]
    cohort_of(tmp_path, values, cpgs, sheet["sample_id"])
    study = Study.of(sheet)
    write_parquet(tmp_path / "statistics", statistics_of(values, ages, study.sexes))
    describe_shard(Cohort(tmp_path / "beta.arrow"), study, tmp_path / "statistics", 0, tmp_path / "shard", **RULES)
    taxa = pd.DataFrame({"cpg": cpgs, "taxon": "BiNonAge", "source": "statistical", "network_p": np.nan})
    flags = ["imprinted", "SNP;imprinted", "SNP_within_10;imprinted", "cross_reactive", "imprinted", "imprinted;other"]
    annotation = pd.DataFrame({"cpg": cpgs, "flags": flags})
    write_parquet(tmp_path / "taxonomy", taxa)
    write_parquet(tmp_path / "annotation", annotation)
    out = tmp_path / "patterns.parquet", tmp_path / "patterns.csv.gz"
    caplog.set_level("INFO")
    gather([tmp_path / "shard"], tmp_path / "taxonomy", *out, annotation=tmp_path / "annotation")
    table = pd.read_parquet(out[0])
    assert table["cause"].tolist() == ["imprinting", "SNP", "unknown", "SNP", "SNP", "sex"]
    assert table["cause_p"][0] < 1e-6
    assert "of 5 CpGs of the list imprinted, 5 are called Bi… or Tri…, 1 of these for imprinting" in caplog.text
    gather([tmp_path / "shard"], tmp_path / "taxonomy", *out)
    assert pd.read_parquet(out[0])["cause"].tolist() == ["SNP", "SNP", "unknown", "SNP", "SNP", "sex"]
    write_parquet(tmp_path / "annotation", annotation[::-1])
    with pytest.raises(InputError, match="annotation is not of the CpGs"):
        gather([tmp_path / "shard"], tmp_path / "taxonomy", *out, annotation=tmp_path / "annotation")


def test_bands_of_the_old_alone_are_no_genotypes(rng, ages):
    late = (ages > 60) * (rng.random(N) < 0.5)
    sheet = pd.DataFrame({"sample_id": [f"s{i}" for i in range(N)], "age": ages})
    values = noisy(rng, 0.2 + 0.4 * late[None, :], 0.02)
    study = Study.of(sheet)
    fit = statistics_of(values, sheet["age"].to_numpy(), study.sexes).iloc[0]
    member = causes.members(values[0], fit, 2, study.position)
    assert (member == late).mean() > 0.99
    assert causes.cause_of(member, fit, 2, study.sexes, {})[0] == "unknown"


def test_no_cpg_pays_for_a_collection_of_garbage(rng, ages, monkeypatch):
    values, sheet, _ = banded_cohort(rng, ages)
    study = Study.of(sheet)
    statistics = statistics_of(values, sheet["age"].to_numpy(), study.sexes).assign(cpg=[f"cg{i}" for i in range(4)])
    calls = []
    monkeypatch.setattr("gc.collect", lambda *_: calls.append(1))
    found = patterns(lambda low, high: values[low:high], statistics, study, **RULES)
    assert (found["cause"] == "batch").any()
    assert not calls


def test_shards_and_what_is_gathered_from_them(rng, ages, tmp_path):
    values, sheet, _ = banded_cohort(rng, ages)
    study, cpgs = Study.of(sheet), [f"cg{i}" for i in range(4)]
    statistics = statistics_of(values, sheet["age"].to_numpy(), study.sexes)
    cohort_of(tmp_path, values, cpgs, sheet["sample_id"])
    for shard, rows in enumerate((slice(0, 3), slice(3, 4), slice(4, 4))):
        write_parquet(tmp_path / f"statistics_{shard}", statistics[rows])
        out = tmp_path / f"{shard}.parquet"
        describe_shard(
            Cohort(tmp_path / "beta.arrow"), study, tmp_path / f"statistics_{shard}", rows.start, out, **RULES
        )
    taxa = pd.DataFrame({"cpg": cpgs, "taxon": ["TriNonAge", "BiNonAge", "UniStable", "BiAge"]})
    taxa = taxa.assign(source="statistical", network_p=np.nan)
    write_parquet(tmp_path / "taxonomy", taxa)
    out = tmp_path / "patterns.parquet", tmp_path / "patterns.csv.gz"
    shards = [tmp_path / f"{shard}.parquet" for shard in range(3)]
    gather(shards, tmp_path / "taxonomy", *out)
    table, text = pd.read_parquet(out[0]), pd.read_csv(out[1])
    assert list(table) == list(text) == list(DESCRIPTION)
    assert table["cpg"].tolist() == cpgs
    # The cause of CpGs called Bi or Tri alone; the last is called so by none of the tests.
    assert table["cause"].fillna("").tolist() == ["SNP", "sex", "", "unknown"]
    assert table["cause_p"].notna().tolist() == [True, True, False, False]
    assert table["replication"].isna().all()  # with labels of the user's own
    assert table["spread_shape"].tolist() == ["none"] * 4
    write_parquet(tmp_path / "taxonomy", taxa[::-1])
    with pytest.raises(InputError, match="is not of the CpGs of"):
        gather(shards, tmp_path / "taxonomy", *out)


def test_curves_of_the_spread_stand_among_those_of_all_cpgs(tmp_path):
    n = 300
    shard = pd.DataFrame({"cpg": [f"cg{i}" for i in range(n)], "shape": "none", "cause": None, "cause_p": np.nan})
    shard["spread_shape"] = ["late_onset", "wave"] + ["none"] * (n - 2)
    shard["spread_shape_p"] = [1e-6, 0.005, *np.linspace(0.02, 1, n - 2)]
    shard[["sex_p", "shape_p", "change_point", "change_point_low", "change_point_high", "sex_divergent"]] = np.nan
    for name in ("spread_change_point", "spread_change_point_low", "spread_change_point_high"):
        shard[name] = [50.0, 50.0] + [np.nan] * (n - 2)
    shard[[f"again_{name}" for name in KNOWN]] = np.nan
    write_parquet(tmp_path / "shard", shard.assign(imprinting_p=np.nan))
    write_parquet(tmp_path / "taxa", shard[["cpg"]].assign(taxon="UniStable", source="statistical", network_p=np.nan))
    gather([tmp_path / "shard"], tmp_path / "taxa", tmp_path / "out", tmp_path / "out.csv.gz")
    table = pd.read_parquet(tmp_path / "out")
    assert table["spread_shape"].tolist() == ["late_onset", "undecided"] + ["none"] * (n - 2)
    assert table["spread_change_point"].notna().tolist() == [True] + [False] * (n - 1)
    assert table["spread_shape_p"][1] == 0.005


def test_digits_that_mean_nothing_are_left_off():
    x = np.array([1.23456789123, -0.000123456789123, 0.0, np.nan, 1e-300])
    found = significant(x * (1 + 1e-13))
    np.testing.assert_array_equal(found, significant(x))
    np.testing.assert_allclose(found, x, rtol=1e-6)

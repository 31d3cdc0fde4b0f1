"""Tables with several columns for each sample, values just outside 0-1, two arrays in one matrix, rewritten ids."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.input import scales
from test_ingest import CPGS, N_CPGS, N_SAMPLES, SAMPLES, Bench, check
from test_ingest_arrays import run, table


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def with_p(bench, beta="{}", p="{}.Detection Pval", text="{:.4f}"):
    """The bench's betas, each sample's with a column of p-values behind it; two of them are large."""
    p_values = np.full((N_CPGS, N_SAMPLES), 0.0001)
    p_values[4, 2], p_values[4, 3] = 0.02, 0.6
    columns = [bench.frame[name].rename(beta.format(name)) for name in SAMPLES]
    beside = [pd.Series([text.format(one) for one in p_values[:, at]], bench.frame.index) for at in range(N_SAMPLES)]
    named = [one.rename(p.format(name)) for one, name in zip(beside, SAMPLES, strict=True)]
    return pd.concat([one for pair in zip(columns, named, strict=True) for one in pair], axis=1)


@pytest.mark.parametrize(
    ("beta", "p", "text"),
    [
        ("{}", "{}.Detection Pval", "{:.4f}"),
        ("{}", "Detection Pval", "{:.4f}"),
        ("{}", "{}_pval", "<{:.4f}"),
        ("{}", "Detection.P.value {}", "{:.1e}"),
        ("{}.AVG_Beta", "{}.Detection Pval", "{:.4f}"),
        ("{} Beta value", "{}_detP", "{:.4f}"),
        ("AVG_Beta_{}", "{}.DetectionPValue", "{:.4f}"),
        ("{}", "{}.Detection", "{:.4f}"),
        ("{}|AVG_Beta", "{} (Detection Pval)", "{:.4f}"),
        ("{}[betas]", "Detection Pval ({})", "{:.4f}"),
    ],
)
def test_columns_of_p_values(bench, beta, p, text):
    bench.beta_text = with_p(bench, beta, p, text).to_csv(sep="\t")
    run(bench)
    bench.frame.iloc[4, [2, 3]] = np.nan
    check(bench)
    qc = bench.qc()
    assert qc["undetected"] == {"limit": 0.01, "n": 2, "n_p_values": 360, "by_sample": {"s2": 1, "s3": 1}}
    assert bench.cpgs()["n_undetected"].tolist() == [2 if row == 4 else 0 for row in range(N_CPGS)]
    assert table(bench).loc[("value", "undetected"), "n"] == 2
    assert any("12 columns of detection p-values" in text for text in qc["warnings"])
    run(bench, detection_p=None)
    assert "undetected" not in bench.qc()
    assert not np.isnan(bench.cohort().read(4, 5)).any()


def test_numbered_headings_of_p_values(bench):
    frame = with_p(bench, p="Detection Pval")
    frame.columns = [f"{name}.{at}" if name == "Detection Pval" and at > 1 else name for at, name in enumerate(frame)]
    bench.beta_text = frame.to_csv()
    run(bench)
    assert bench.qc()["undetected"]["n"] == 2


def test_a_value_that_is_missing_anyway_counts_as_undetected_too(bench):
    frame = with_p(bench)
    frame.loc[frame.index[4], SAMPLES[2]] = np.nan
    bench.beta_text = frame.to_csv()
    run(bench)
    assert bench.qc()["undetected"]["by_sample"] == {"s2": 1, "s3": 1}


@pytest.mark.parametrize("change", ["block", "shifted", "stranger"])
def test_p_values_of_nobody_knows_whom_are_refused(bench, change):
    frame = with_p(bench, p="Detection Pval" if change != "stranger" else "{}x_pval")
    if change == "block":
        frame = pd.concat([frame.iloc[:, ::2], frame.iloc[:, 1::2]], axis=1)
    elif change == "shifted":
        frame = pd.concat([frame.iloc[:, -1:], frame.iloc[:, :-1]], axis=1)
    bench.beta_text = frame.to_csv()
    found = bench.problems(unmatched="drop")
    assert any("12 columns" in text and "Name them" in text for text in found) or any(
        "which belongs to whom is not certain" in text for text in found
    )


def test_what_is_no_p_value(bench):
    bench.beta_text = with_p(bench, text="{:.4f}").to_csv().replace(",0.6000,", ",6.0,").replace("0.0200", "high")
    found = bench.problems()
    assert "CpG 'cg04', sample 's2': high; CpG 'cg04', sample 's3': 6.0" in found[0]
    bench.beta.write_text(with_p(bench).to_csv().replace("0.0001", "0.9999"))
    assert "these are hardly p-values (perhaps 1 - p)" in bench.problems()[0]


@pytest.mark.parametrize("names", [("{} Methylated Signal", "{} Unmethylated Signal"), ("{}.Signal_B", "{}.Signal_A")])
def test_signals_become_betas(bench, names):
    rng = np.random.default_rng(4)
    methylated, unmethylated = rng.integers(0, 9000, (2, N_CPGS, N_SAMPLES))
    methylated[3, 3] = unmethylated[3, 3] = 0
    pairs = [
        pd.Series(values[:, at], bench.frame.index, name=name.format(SAMPLES[at]))
        for at in range(N_SAMPLES)
        for name, values in zip(names, (methylated, unmethylated), strict=True)
    ]
    frame = pd.concat(pairs, axis=1)
    bench.beta_text = frame.to_csv()
    run(bench)
    expected = methylated / (methylated + unmethylated + 100)
    expected[3, 3] = np.nan
    np.testing.assert_allclose(bench.cohort().read(0, 99), expected.astype(np.float32), rtol=1e-6)
    assert any("became betas: M / (M + U + 100)" in text for text in bench.qc()["warnings"])
    bench.beta.write_text(frame.iloc[:, :-1].to_csv())
    bench.out("qc.json").parent.rename(bench.folder / "before")
    assert any("only one of the two signals" in text and "'s11'" in text for text in bench.problems())


def test_samples_called_like_columns_of_arrays_are_samples(bench):
    names = {"s0": "IFN beta", "s1": "TNF-beta", "s2": "signal A"}
    bench.frame, bench.sheet = bench.frame.rename(columns=names), bench.sheet.replace({"sample_id": names})
    run(bench)
    check(bench)
    assert bench.qc()["warnings"] == []


def test_values_just_outside_are_clipped_and_counted(bench):
    bench.frame.iloc[2, 3], bench.frame.iloc[5, 6] = -0.0021, 1.0019
    run(bench)
    assert bench.qc()["n_clipped"] == 2
    assert table(bench).loc[("value", "clipped"), "examples"] == (
        "CpG 'cg02', sample 's3': -0.0021; CpG 'cg05', sample 's6': 1.0019"
    )
    bench.frame.iloc[2, 3], bench.frame.iloc[5, 6] = 0, 1
    check(bench)
    bench.out("qc.json").parent.rename(bench.folder / "before")
    assert "2 of 360 values lie outside 0-1" in bench.problems(tolerance=0.001)[0]
    bench.beta.unlink()
    bench.frame.iloc[2, 3] = -0.02
    assert "1 of 360 values lie outside 0-1" in bench.problems()[0]


def standardised(frame, axis):
    frame = frame.astype(float)
    return frame.sub(frame.mean(axis=axis), axis=1 - axis).div(frame.std(axis=axis), axis=1 - axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_z_scores_are_never_converted(bench, axis):
    """By CpG as residuals are, or by sample as R's `scale` makes them; levels like those of an array."""
    levels = np.random.default_rng(2).choice([0.05, 0.5, 0.95], N_CPGS)[:, None]
    bench.frame = standardised(levels + (bench.frame.astype(float) - 0.5) * 0.1, axis)
    for values in ("auto", "beta"):
        found = bench.problems(values=values)
        assert "these look like z-scores or residuals" in found[0]
        assert "cohort.values" not in found[0]


@pytest.mark.parametrize("axis", [0, 1])
def test_z_scores_are_no_m_values_whatever_the_config_says(bench, axis):
    bench.frame = (
        standardised(bench.frame.astype(float), axis) if axis else bench.frame.sub(bench.frame.mean(axis=1), axis=0)
    )
    assert "says m, but every CpG has the mean 0" in bench.problems(values="m")[0]


@pytest.mark.parametrize("end", [".1", "_2"])
def test_names_that_were_made_unique(bench, end):
    bench.frame = pd.concat(
        [bench.frame, bench.frame.iloc[:3].rename(index="{}".format).rename(index=lambda one: one + end)]
    )
    assert (
        f"3 ids that are another one with a number behind it, as R and pandas make equal names different: 'cg00{end}'"
        in bench.problems()[0]
    )
    run(bench, collapse="keep")
    assert len(bench.cohort()) == N_CPGS + 3


def test_columns_beside_the_samples_that_nothing_names(bench):
    bench.beta_text = with_p(bench, p="{}_P").to_csv()
    (found,) = bench.problems()
    assert "with '_P' behind. If they are detection p-values, call them so (`S1.Detection Pval`)" in found
    bench.beta.unlink()
    bench.beta_text = with_p(bench, p="{}.Detection Pval").to_csv()  # as advised
    run(bench)
    assert bench.qc()["undetected"]["n"] == 2


def test_m_values_are_no_z_scores():
    rng = np.random.default_rng(3)
    beta = np.clip(rng.choice([0.04, 0.5, 0.93], 300)[:, None] + rng.normal(0, 0.02, (300, 40)), 0.001, 0.999)
    m = np.log2(beta / (1 - beta))
    sums = np.stack([np.full(40, 300), m.sum(axis=0), (m**2).sum(axis=0)])
    assert not scales.centred(m.mean(axis=1), m.std(axis=1), 40, sums)


def test_two_arrays_are_kept_as_their_union(bench):
    rng = np.random.default_rng(6)
    values = rng.uniform(0.1, 0.9, (120, N_SAMPLES)).round(4)
    values[:40, 6:] = values[40:70, :6] = np.nan
    values[80, 0], values[20, 5] = np.nan, np.nan
    values[90] = np.nan
    values[91, :4] = np.nan
    index = pd.Index([f"cg{number:04}" for number in range(120)], name="cpg")
    bench.frame = pd.DataFrame(values, index, SAMPLES).astype(object)
    run(bench)
    check(bench, bench.frame.drop(index=["cg0090", "cg0091"]))
    qc = bench.qc()
    assert [one["n_samples"] for one in qc["arrays"]] == [6, 6]
    assert any("seem to be on 2 arrays, of 6 ('s0', 's1'" in text for text in qc["warnings"])
    assert qc["n_cpgs"]["dropped_missing"] == 2
    assert qc["missing_fraction"] == pytest.approx(2 / (40 * 6 + 30 * 6 + 48 * 12))
    assert qc["samples_dropped"]["missing"] == []
    run(bench, max_missing_cpg=0.999)
    check(bench, bench.frame.drop(index=["cg0090"]))


def test_a_few_samples_that_failed_are_no_array(bench):
    bench.frame = pd.DataFrame(np.random.default_rng(1).uniform(0.1, 0.9, (99, N_SAMPLES)), columns=SAMPLES)
    bench.frame.index = pd.Index([f"cg{number:04}" for number in range(99)], name="cpg")
    bench.frame.iloc[:30, 4] = np.nan
    run(bench, max_missing_cpg=0.05)
    assert "arrays" not in bench.qc()
    assert bench.qc()["samples_dropped"]["missing"] == ["s4"]


def test_what_is_left_out_by_default_is_counted_and_named(bench):
    bench.frame.iloc[3, :4] = np.nan
    bench.frame.iloc[5] = 0.5
    bench.frame.iloc[10:19, 7] = np.nan
    run(bench)
    qc = bench.qc()
    assert qc["n_cpgs"] == {"in": 30, "kept": 28, "dropped_missing": 1, "dropped_constant": 1}
    assert qc["samples_dropped"]["missing"] == ["s7"]
    for words in ("1 CpG missing in more than", "'cg03'", "1 constant CpG", "'s7' (3"):
        assert any(words in text and text.startswith("left out: ") for text in qc["warnings"]), words


def test_ages_outside_the_range_are_left_out(bench):
    bench.sheet.loc[0, "age"] = -0.5
    run(bench, min_age=-1, max_age=72)
    assert bench.qc()["samples_dropped"]["outside_ages"] == ["s11"]
    assert bench.qc()["age"]["min"] == -0.5
    check(bench, bench.frame[SAMPLES[:11]])
    assert table(bench).loc[("sample", "outside_ages"), "n"] == 1
    bench.out("qc.json").parent.rename(bench.folder / "before")
    assert "1 age negative" in bench.problems(min_age=18)[0]
    bench.sheet.loc[0, "age"] = 20.5
    bench.samples.unlink()
    assert "Only 5 samples would be left" in bench.problems(min_age=50)[0]


@pytest.mark.parametrize(
    ("matrix", "sheet", "words"),
    [
        (str.upper, str, "They differ only in upper and lower case"),
        (lambda name: name[1:].zfill(2), lambda name: name[1:], "took the leading zeros away"),
        (lambda name: f"P{name[1:]}", lambda name: f"P{name[1:].zfill(3)}", "zeros are lacking in one of them"),
        (lambda name: f"{name[1:]}00000", lambda name: f"{name[1:]}e5", "wrote numbers in another way"),
        (lambda name: name[1:], lambda name: f"X{name[1:]}", "R changed the names"),
        (lambda name: f"SEPT{name[1:]}", lambda name: f"{int(name[1:]) + 1}-Sep", "made dates of ids"),
        (lambda name: f"20_{name}", lambda name: f"20.0_{name}", "made numbers of the chips"),
        (lambda name: f"10{name[1:]}", lambda name: f"10{name[1:]}.0", "made numbers of the ids"),
        (lambda name: f"a-{name}", lambda name: f"a.{name}", "R changed the names"),
        (lambda name: f"a\u0308{name}", lambda name: f"\u00e4{name}", "stored in two ways"),
        (lambda name: f"a {name}", lambda name: f"a_{name}", "They differ only in blanks and punctuation"),
    ],
)
def test_how_ids_were_rewritten(bench, matrix, sheet, words):
    bench.frame = bench.frame.rename(columns=matrix)
    bench.sheet["sample_id"] = [sheet(name) for name in SAMPLES]
    bench.sheet.loc[0, "sample_id"] = "strange"
    found = bench.problems()
    assert any(words in text or words.lower() in text.lower() for text in found), found


def test_who_can_be_found_is_not_to_be_dropped(bench):
    bench.sheet.loc[:3, "sample_id"] = [name.upper() for name in SAMPLES[:4]]
    assert all(text.endswith("Correct the ids") for text in bench.problems()[:2])
    bench.samples.unlink()
    bench.sheet.loc[:3, "sample_id"] = ["a", "b", "c", "d"]
    assert all("or set `cohort.unmatched: drop`" in text for text in bench.problems()[:2])


@pytest.mark.parametrize("name", ["Mean", "AVERAGE", "Grand Total", "sex", "cpg", "ID_REF", "#cg00000001"])
def test_rows_that_are_no_cpgs(bench, name):
    bench.frame.loc[name] = 0.5
    bench.frame.iloc[-1, 0] = 0.25
    assert f"1 row that is no CpG: {name!r} (row {len(bench.frame)})" in bench.problems()[0]


@pytest.mark.parametrize("scale", ["percent", "m"])
@pytest.mark.parametrize("axis", [0, 1])
def test_two_scales_in_one_matrix(bench, scale, axis):
    """What the advice on a part of the values would make of the others."""
    rng = np.random.default_rng(3)
    betas = np.clip(rng.uniform(0.05, 0.95, (60, 1)) + rng.normal(0, 0.03, (60, N_SAMPLES)), 0.01, 0.99)
    values = 100 * betas if scale == "percent" else np.log2(betas / (1 - betas))
    part = (slice(None), slice(0, 4)) if axis else (slice(0, 25), slice(None))
    values[part] = betas[part]
    index = pd.Index([f"cg{number:08}" for number in range(60)], name="cpg")
    bench.frame = pd.DataFrame(values, index=index, columns=SAMPLES).astype(object)
    what = "4 samples" if axis else r"\d+ CpGs"
    assert re.search(f"on two scales: those of {what} lie in 0-1, as betas", bench.problems(values=scale)[0])
    assert any(
        re.search(rf"on two scales, as those of {what} lie in 0-1|two scales: those of {what}", text)
        for text in bench.problems()
    )
    values = 100 * betas if scale == "percent" else np.log2(betas / (1 - betas))
    bench.beta.unlink()
    bench.frame = pd.DataFrame(values, index=index, columns=SAMPLES).astype(object)
    run(bench)
    np.testing.assert_allclose(bench.cohort().read(0, 60), betas, rtol=1e-5)


def test_long_numbers_that_a_spreadsheet_rewrote(bench):
    bench.columns = {"sample_id": None, "age": None, "sex": None}
    positions = [f"R{number:02}C01" for number in range(N_SAMPLES)]
    bench.frame.columns = [f"200925700125_{position}" for position in positions]
    bench.sheet = bench.sheet.rename(columns={"sample_id": "Sample_Name"})
    bench.sheet["Sentrix_ID"], bench.sheet["Sentrix_Position"] = "2.00926E+11", positions
    assert "rewrote the long numbers of 'Sentrix_ID + Sentrix_Position'" in bench.problems()[0]
    bench.columns["sample_id"] = "Sentrix_ID"
    assert "a spreadsheet rewrote the ids as '2.00926E+11'" in bench.problems()[0]
    assert "Keep one row" not in "".join(bench.problems())


def test_paths_of_raw_files_are_ids(bench):
    bench.columns = {"sample_id": None, "age": None, "sex": None}
    bench.sheet = bench.sheet.rename(columns={"sample_id": "Sample_Name"})
    bench.sheet["Basename"] = [f"/data/idat/1/{name}_Grn.idat" for name in SAMPLES]
    bench.sheet["Sample_Name"] = [f"donor{number}" for number in range(N_SAMPLES)]
    run(bench)
    check(bench)
    assert any("the last part of the path is taken: 's0'" in text for text in bench.qc()["warnings"])


@pytest.mark.parametrize("named", [None, "IlmnID"])
def test_the_index_of_pandas_holds_the_ids(bench, named):
    frame = bench.frame.astype(float)
    frame.index.name = named
    frame.insert(0, "gene", "BRCA1")
    bench.beta = bench.folder / "beta.parquet"
    frame.to_parquet(bench.beta)
    run(bench)
    check(bench)
    assert any("1 column of text beside the ids not used: 'gene'" in text for text in bench.qc()["warnings"])
    frame.reset_index().rename(columns={"index": "IlmnID"})[["gene", "IlmnID", *SAMPLES]].to_parquet(
        bench.beta, index=False
    )
    run(bench)
    check(bench)


def test_h5ad_of_old(bench):
    h5py = pytest.importorskip("h5py")
    bench.beta = bench.samples = bench.folder / "old.h5ad"
    ages = [20.5 + number for number in range(N_SAMPLES)]
    obs = np.array(
        [(name.encode(), age, number % 2) for number, (name, age) in enumerate(zip(SAMPLES, ages, strict=True))],
        dtype=[("index", "S8"), ("age", "f8"), ("sex", "i1")],
    )
    with h5py.File(bench.beta, "w") as file:
        file["X"] = bench.frame.T.to_numpy(np.float32)
        file["obs"] = obs
        file["var"] = np.array([(name.encode(),) for name in CPGS], dtype=[("index", "S8")])
        file["uns/sex_categories"] = np.array([b"F", b"M"])
    bench.columns = {"sample_id": "row_names", "age": "age", "sex": "sex"}
    run(bench)
    check(bench)
    samples = pd.read_parquet(bench.out("samples.parquet"))
    assert samples["age"].tolist() == ages
    assert samples["sex"].tolist() == ["F", "M"] * 6
    assert json.loads(bench.out("qc.json").read_text())["columns"]["sample_id"] == "row_names"

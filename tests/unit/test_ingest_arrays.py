"""What arrays and cohorts are like: suffixes and replicates, lists of probes, scales, strata and families."""

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.errors import InputError
from cpgtaxa.input import probes, scales, strata
from test_ingest import CPGS, N_CPGS, N_SAMPLES, SAMPLES, Bench, check


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def table(bench) -> pd.DataFrame:
    return pd.read_csv(bench.out("qc.csv")).set_index(["what", "reason"])


def run(bench, **options):
    """As the rule does: with the QC table, too."""
    bench.options = options
    names = ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json", "qc.csv")
    bench.write()
    from cpgtaxa.input.ingest import ingest

    ingest(bench.beta, bench.samples, *map(bench.out, names), columns=bench.columns, **options)


# --- scales ----------------------------------------------------------------------------------------------------------


def whole_array(bench, rng=3):
    """Betas as arrays have them: CpGs unmethylated, methylated and in between."""
    rng = np.random.default_rng(rng)
    levels = rng.choice([0.04, 0.5, 0.93], N_CPGS)[:, None]
    bench.frame.iloc[:, :] = np.clip(levels + rng.normal(0, 0.02, (N_CPGS, N_SAMPLES)), 0.001, 0.999)
    return bench.frame.astype(float)


@pytest.mark.parametrize("stated", ["auto", "m"])
def test_m_values_become_betas(bench, stated):
    betas = whole_array(bench)
    bench.frame = np.log2(betas / (1 - betas)).astype(object)
    bench.frame.iloc[2, 3] = np.nan
    run(bench, values=stated)
    expected = betas.copy()
    expected.iloc[2, 3] = np.nan
    np.testing.assert_allclose(bench.cohort().read(0, N_CPGS), expected, atol=1e-6)
    assert bench.qc()["values"] == "m"
    warned = any("M-values, and were made betas" in text for text in bench.qc()["warnings"])
    assert warned == (stated == "auto")


def test_infinite_m_values_are_betas_of_0_and_1(bench):
    betas = whole_array(bench)
    m = np.log2(betas / (1 - betas))
    m.iloc[0, 0], m.iloc[1, 1] = -np.inf, np.inf
    bench.frame = m.astype(object)
    run(bench, values="m")
    found = bench.cohort().read(0, N_CPGS)
    assert (found[0, 0], found[1, 1]) == (0, 1)


@pytest.mark.parametrize("stated", ["auto", "percent"])
def test_percent_become_betas(bench, stated):
    betas = whole_array(bench)
    bench.frame = (100 * betas).astype(object)
    run(bench, values=stated)
    np.testing.assert_allclose(bench.cohort().read(0, N_CPGS), betas, atol=1e-6)
    assert bench.qc()["values"] == "percent"


def test_z_scores_and_residuals_are_not_taken_for_m_values(bench):
    betas = whole_array(bench)
    bench.frame = betas.sub(betas.mean(axis=1), axis=0).div(betas.std(axis=1), axis=0).astype(object)
    found = bench.problems()
    assert len(found) == 1
    assert "outside 0-1" in found[0]
    assert "z-scores or residuals" in found[0]
    assert "cohort.values" not in found[0]


@pytest.mark.parametrize("stated", ["m", "percent"])
def test_betas_are_not_converted_on_a_false_word(bench, stated):
    whole_array(bench)
    assert any(f"says {stated}" in text and "these are betas" in text for text in bench.problems(values=stated))


def test_the_word_beta_refuses_m_values(bench):
    betas = whole_array(bench)
    bench.frame = np.log2(betas / (1 - betas)).astype(object)
    assert "these look like M-values" in bench.problems(values="beta")[0]


def test_text_among_m_values_is_named(bench):
    betas = whole_array(bench)
    bench.frame = np.log2(betas / (1 - betas)).astype(object)
    bench.frame.iloc[4, 4] = "high"
    found = bench.problems(values="m")
    assert "1 cell with text instead of a number: CpG 'cg04', sample 's4': 'high'" in found[0]


def test_a_scale_beyond_doubt_is_acted_upon_early(bench, monkeypatch):
    from cpgtaxa.input import ingest, matrices
    from cpgtaxa.input import scan as scanning

    monkeypatch.setattr(matrices, "BLOCK_BYTES", 1)
    monkeypatch.setattr(scanning, "ENOUGH_TO_TELL", scales.FEWEST_CPGS)
    seen = []
    scan = ingest.scan_matrix

    def watched(*arguments):
        found = scan(*arguments)
        seen.append(len(found.cpgs))
        return found

    monkeypatch.setattr(ingest, "scan_matrix", watched)
    betas = whole_array(bench)
    bench.frame = (100 * betas).astype(object)
    run(bench)
    assert seen[0] < N_CPGS
    assert seen[1] == N_CPGS


# --- suffixes and replicates -----------------------------------------------------------------------------------------


def with_suffixes(bench):
    """EPICv2's ids; cg05 is measured by three probes far apart, cg09 by two."""
    names = [f"{name}_TC11" for name in CPGS]
    frame = bench.frame.copy()
    frame.index = names
    more = bench.frame.loc[["cg05", "cg05", "cg09"]].astype(float) * 0.5
    more.index = ["cg05_BC21", "cg05_TC12", "cg09_TO12"]
    bench.frame = pd.concat([frame, more.astype(object)]).rename_axis("cpg")
    return bench.frame.astype(float)


def test_suffixes_are_taken_off(bench):
    plain = bench.frame.copy()
    bench.frame.index = pd.Index([f"{name}_BO21" for name in CPGS], name="cpg")
    run(bench)
    check(bench, plain)
    assert bench.qc()["array"] == {"array": "EPICv2 or MSA", "with_suffix": N_CPGS, "kinds": {"cg": N_CPGS}}
    assert list(bench.cpgs()["probe"]) == list(bench.frame.index)


def test_replicates_are_listed(bench):
    with_suffixes(bench)
    found = bench.problems()
    assert "2 CpGs more than once: 'cg05' (probes 'cg05_TC11', 'cg05_BC21', 'cg05_TC12'), 'cg09' (probes" in found[0]
    assert "`cohort.collapse`" in found[0]


def test_replicates_are_averaged_sample_by_sample(bench):
    values = with_suffixes(bench)
    bench.frame.iloc[5, 0] = values.iloc[5, 0] = np.nan  # one of three
    bench.frame.iloc[[9, -1], 1] = np.nan  # both of two
    values.iloc[[9, -1], 1] = np.nan
    run(bench, collapse="mean")
    expected = values.groupby(probes.cpg_of).mean()
    cohort = bench.cohort()
    assert sorted(cohort.cpgs) == CPGS
    np.testing.assert_allclose(cohort.take(cohort.find(CPGS)), expected.loc[CPGS], atol=1e-6)
    cpgs = bench.cpgs()
    assert list(cpgs["cpg"][cpgs["kept"]]) == list(cohort.cpgs)
    assert cpgs["reason"].value_counts().to_dict() == {"replicate": 3}
    np.testing.assert_allclose(cpgs[cpgs["kept"]].set_index("cpg").loc["cg05", "mean"], expected.loc["cg05"].mean())
    assert table(bench).loc[("probe", "replicate"), "n"] == 3
    assert bench.qc()["n_cpgs"]["dropped_replicate"] == 3


def test_rows_of_the_same_id_are_averaged_too(bench):
    bench.frame = pd.concat([bench.frame, 0.5 * bench.frame.loc[["cg03"]].astype(float)]).rename_axis("cpg")
    run(bench, collapse="mean")
    found = bench.cohort()
    expected = bench.frame.loc["cg03"].astype(float).mean()
    np.testing.assert_allclose(found.take(found.find(["cg03"]))[0], expected, atol=1e-6)


def test_the_first_replicate_is_taken(bench):
    values = with_suffixes(bench)
    run(bench, collapse="first")
    check(bench, values.iloc[:N_CPGS].rename(index=probes.cpg_of))


def test_suffixes_are_kept_where_wanted(bench):
    with_suffixes(bench)
    run(bench, collapse="keep")
    check(bench)


def test_a_bad_value_among_replicates_is_not_averaged_away(bench):
    with_suffixes(bench)
    bench.frame.iloc[-1, 3] = 1.3
    assert any("'cg09', sample 's3': 1.3" in text for text in bench.problems(collapse="mean"))


@pytest.mark.parametrize(
    ("ids", "array"),
    [
        (["cg1"] * 10, "27K, 450K or EPICv1"),
        (["cg1"] * 485_000, "450K or EPICv1"),
        (["cg1"] * 811_870, "EPICv1"),
        (["cg1_TC21"] * 930_000 + ["rs1_TC11"] * 9, "EPICv2"),
        (["cg1_TC21"] * 284_000, "MSA"),
        (["gene"] * 10, "unknown"),
    ],
)
def test_arrays(ids, array):
    assert probes.describe(ids)["array"] == array


def test_only_suffixes_of_illumina_are_taken_off():
    given = ["cg00000029_TC21", "cg1_BO112", "ch.1.100F_BC11", "rs1_TC13", "cg1_x", "my_site_TC1", "cg00000029"]
    expected = ["cg00000029", "cg1", "ch.1.100F", "rs1", "cg1_x", "my_site_TC1", "cg00000029"]
    assert [probes.cpg_of(name) for name in given] == expected


# --- lists -----------------------------------------------------------------------------------------------------------


def test_lists_leave_probes_out(bench):
    bench.frame.iloc[7, 0] = "masked"  # no problem: the probe is not used
    (bench.folder / "snp.txt").write_text("# SNPs at the CpG\ncg07\ncg12\ncg_of_another_array\n")
    (bench.folder / "cross.csv").write_text("n,IlmnID,chr\n1,cg12,1\n2,cg20,2\n")
    lists = {"snp": str(bench.folder / "snp.txt"), "cross_reactive": str(bench.folder / "cross.csv")}
    run(bench, filters=lists)
    check(bench, bench.frame.drop(["cg07", "cg12", "cg20"]))
    counts = bench.qc()["n_cpgs"]
    assert (counts["kept"], counts["dropped_snp"], counts["dropped_cross_reactive"]) == (27, 2, 1)
    found = table(bench)
    assert found.loc[("probe", "kept"), "n"] == 27
    assert found.loc[("probe", "snp"), "examples"] == "cg07; cg12"
    assert found.loc[("probe", "cross_reactive"), "explanation"] == "in the list cross_reactive (cohort.filters)"
    assert found.loc["probe", "n"].sum() == 30
    cpgs = bench.cpgs().set_index("cpg")
    assert np.isnan(cpgs.loc["cg12", "mean"])
    np.testing.assert_allclose(cpgs.loc["cg13", "mean"], bench.frame.loc["cg13"].astype(float).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "cg01, cg02, cg03\n",
        '"x"\n"1" "cg01"\n"2" "cg02"\n"3" "cg03"\n',
        '"","x"\n"1","cg01"\n"2","cg02"\n"3","cg03"\n',
        "chr1\t5\t6\tcg01\nchr1\t7\t8\tcg02\nchr1\t8\t9\tcg03\n",
        "\ufeffTable S1\r\nTargetID;47\r\ncg01;1\r\ncg02;2\r\ncg03;1\r\n",
    ],
)
def test_all_ids_of_a_list_are_found(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    assert {name for name in probes.read_list(path, "key") if name.startswith("cg")} == {"cg01", "cg02", "cg03"}


def test_a_list_with_a_column_of_truth_values_is_no_list(tmp_path):
    path = tmp_path / "mask.tsv"
    path.write_text("Probe_ID\tMASK_general\ncg01\tTRUE\ncg02\tFALSE\n")
    with pytest.raises(InputError, match="write a list of those that are meant"):
        probes.read_list(path, "key")


def test_a_list_of_what_alone_is_used(bench):
    (bench.folder / "other.txt").write_text("cg01\ncg02\ncg_not_here\n")
    run(bench, only_cpgs=str(bench.folder / "other.txt"))
    check(bench, bench.frame.loc[["cg01", "cg02"]])
    assert bench.qc()["n_cpgs"]["dropped_not_listed"] == 28


def test_lists_name_probes_with_or_without_their_suffix(bench):
    with_suffixes(bench)
    (bench.folder / "list.txt").write_text("cg09\ncg05_BC21\n")
    run(bench, filters={"bad": str(bench.folder / "list.txt")}, collapse="first")
    assert "cg09" not in bench.cohort().cpgs
    assert bench.qc()["n_cpgs"]["dropped_bad"] == 3


def test_problems_of_lists_come_together(bench):
    (bench.folder / "empty.txt").write_text("")
    (bench.folder / "other.txt").write_text("chr1:100\nchr1:200\n")
    (bench.folder / "fine.txt").write_text("cg01\n")
    lists = {name: str(bench.folder / f"{name}.txt") for name in ("empty", "absent")}
    found = bench.problems(filters=lists | {"missing": str(bench.folder / "fine.txt")})
    assert len(found) == 3
    assert "cohort.filters.empty" in found[0]
    assert "cohort.filters.absent" in found[1]
    assert "this name is taken" in found[2]
    found = bench.problems(filters={"snp": str(bench.folder / "other.txt")})
    assert "cohort.filters.snp: none of the 2 ids" in found[0]


# --- samples ---------------------------------------------------------------------------------------------------------


def test_a_stratum(bench):
    run_of = {"only": {"batch": [1, "2"], "sex": "F"}}
    with pytest.raises(InputError, match="Only 4 samples"):
        run(bench, **run_of)
    bench.frame = bench.frame.join(bench.frame.add_prefix("t").astype(object))
    bench.sheet = pd.concat([bench.sheet, bench.sheet.assign(sample_id="t" + bench.sheet["sample_id"])])
    for path in (bench.beta, bench.samples):
        path.unlink()
    run(bench, only={"batch": [1.0, "2"]})
    wanted = [name for name, batch in zip(bench.sheet["sample_id"], bench.sheet["batch"], strict=True) if batch < 3]
    check(bench, bench.frame[wanted])
    assert len(bench.qc()["samples_dropped"]["not_only"]) == 8
    assert table(bench).loc[("sample", "not_only"), "explanation"] == (
        "not of the stratum {'batch': [1.0, '2']} (cohort.only)"
    )


def test_problems_of_a_stratum_come_together(bench):
    found = bench.problems(only={"batch": 9, "center": "A"}, one_per="donor")
    assert any(
        "cohort.only.batch: no sample of" in text and "has '9'; there are '1', '2', '3'" in text for text in found
    )
    assert any("cohort.only:" in text and "no column 'center'" in text for text in found)
    assert any("cohort.one_per:" in text and "no column 'donor'" in text for text in found)


def test_repeated_measures_are_reported_and_one_of_each_can_be_used(bench):
    bench.sheet["Donor ID"] = ["d1", "d1"] + [f"d{number}" for number in range(2, N_SAMPLES)]
    run(bench)
    assert any("2 of 12 samples share their `Donor ID` with another" in text for text in bench.qc()["warnings"])
    run(bench, one_per="Donor ID")
    check(bench, bench.frame[[name for name in SAMPLES if name != "s1"]])
    assert bench.qc()["samples_dropped"]["not_first"] == ["s1"]
    assert not any("share their" in text for text in bench.qc()["warnings"])
    bench.samples.unlink()
    bench.sheet.loc[3, "Donor ID"] = ""
    with pytest.raises(InputError, match=r"1 sample of .* without a 'Donor ID': line 5"):
        run(bench, one_per="Donor ID")


def test_names_are_compared_as_written(bench):
    """1_1 and 11 are two donors, 1E2 and 100 two plates."""
    bench.sheet["donor"] = ["1_1", "11", "1_1", *[str(number) for number in range(20, 29)]]
    bench.sheet["plate"] = ["1E2", "100", "2E2"] * 4
    bench.sheet["well"] = ["010", "10", "8"] * 4
    bench.sheet["dose"] = ["27,5", "3", "1,25"] * 4
    run(bench, one_per="donor")
    assert bench.qc()["samples_dropped"]["not_first"] == ["s2"]
    samples = pd.read_parquet(bench.out("samples.parquet"))
    assert samples["plate"].tolist()[:3] == ["1E2", "100", "1E2"]
    assert samples["well"].tolist()[:3] == ["010", "10", "010"]
    assert samples["dose"].tolist()[:3] == [27.5, 3.0, 27.5]
    keep, problems = strata.in_stratum(samples.assign(well=samples["well"]), "sheet.csv", {"well": "010"})
    assert problems == []
    assert keep.tolist() == (samples["well"] == "010").tolist()
    floats = pd.DataFrame({"batch": ["1.0", "", "2.0"]})  # as pandas writes whole numbers beside gaps
    assert strata.in_stratum(floats, "sheet.csv", {"batch": "1"})[0].tolist() == [True, False, False]
    versions = pd.DataFrame({"batch": ["1.10", "1.1", "2"]})
    assert strata.in_stratum(versions, "sheet.csv", {"batch": "1.1"})[0].tolist() == [False, True, False]


def test_a_column_of_yes_and_no_names_no_people():
    sheet = pd.DataFrame({"patient": ["yes", "no"] * 15, "family": [str(n // 3) for n in range(30)]})
    assert strata.kin_columns(sheet) == {"family": 30}


def test_ages_outside_the_stratum_do_not_matter(bench):
    bench.frame = bench.frame.join(bench.frame.add_prefix("t").astype(object))
    bench.sheet = pd.concat(
        [bench.sheet.assign(set="a"), bench.sheet.assign(sample_id="t" + bench.sheet["sample_id"], set="b", age="?")]
    )
    run(bench, only={"set": "a"})
    assert len(bench.qc()["samples_dropped"]["not_only"]) == N_SAMPLES

"""What `snakemake expression` makes of people's files, and what it says of bad ones."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, SHARED
from cpgtaxa.cohort import Cohort
from cpgtaxa.errors import InputError
from cpgtaxa.plan.config import check_config
from cpgtaxa.targets.expression import inputs
from cpgtaxa.targets.expression.fits import fit_shard
from cpgtaxa.targets.expression.folds import m_values
from cpgtaxa.targets.expression.gene_names import without_version
from cpgtaxa.targets.expression.plan import ExpressionPlan, window_name
from cpgtaxa.targets.expression.study import Study

OUT = ("methylation", "cpgs", "expression", "genes", "samples", "skipped", "qc")
N = 24
SAMPLES = [f"T{number:02d}-01A" for number in range(1, N + 1)]


class Bench:
    """A small study on chr1 and chr2 in files of its own; each can be changed before `prepare`."""

    def __init__(self, folder):
        rng = np.random.default_rng(0)
        self.folder = folder
        self.genes = pd.DataFrame(
            {
                "gene": ["UP", "DOWN", "OTHER", "LONELY"],
                "chrom": ["chr1", "chr1", "chr2", "chr2"],
                "start": [100_000, 300_000, 500_000, 90_000_000],
                "end": [120_000, 340_000, 510_000, 90_010_000],
                "strand": ["+", "-", "+", "-"],
            }
        )
        self.positions = pd.DataFrame(
            [
                ("cgA", "chr1", 99_500),
                ("cgB", "chr1", 100_900),
                ("cgC", "chr1", 108_000),
                ("cgD", "chr1", 340_000),
                ("cgE", "chr1", 345_000),
                ("cgF", "chr1", 1_200_000),
                ("cgG", "chr2", 499_000),
                ("cgH", "chr2", 450_000),
            ],
            columns=["cpg", "chrom", "position"],
        )
        cpgs = [*self.positions["cpg"][::-1], "cgNowhere"]
        self.beta = pd.DataFrame(rng.uniform(0.05, 0.95, (9, N)).round(4), pd.Index(cpgs, name="cpg"), SAMPLES)
        genes = pd.Index([*self.genes["gene"], "UNPLACED"], name="gene")
        self.expression = pd.DataFrame(rng.normal(8, 1, (5, N)).round(4), genes, SAMPLES)
        self.sheet = self.other_beta = self.other_expression = None
        self.section = {"windows": [1000, 10_000, 1_000_000], "check_build": False, "folds": 3}

    def plan(self):
        files = {"beta": self.beta, "expression": self.expression}
        section = dict(self.section)
        section["other"] = {}
        for name, frame in (files | {"other_beta": self.other_beta, "other_expression": self.other_expression}).items():
            if frame is not None:
                frame.to_csv(self.folder / f"{name}.csv")
                place = section["other"] if name.startswith("other_") else section
                place[name.removeprefix("other_")] = str(self.folder / f"{name}.csv")
        for name, frame in (("positions", self.positions), ("genes", self.genes), ("samples", self.sheet)):
            if frame is not None:
                frame.to_csv(self.folder / f"{name}.csv", index=False)
                section[name] = str(self.folder / f"{name}.csv")
        config = check_config({"expression": section}, ROOT / "workflow/schemas/config.schema.yaml")
        return ExpressionPlan(config)

    def prepare(self):
        plan = self.plan()
        out = {name: str(self.folder / "out" / name) for name in OUT}
        inputs.prepare(plan.input_files(), out, settings=plan.input_settings(), seed=1)
        read = {name: pd.read_parquet(out[name]) for name in ("cpgs", "genes", "samples", "expression")}
        read["beta"] = Cohort(out["methylation"])
        read["skipped"] = pd.read_csv(out["skipped"])
        read["qc"] = json.loads((self.folder / "out/qc").read_text())
        return read

    def problems(self):
        with pytest.raises(InputError) as caught:
            self.prepare()
        assert not list((self.folder / "out").glob("*")) if (self.folder / "out").exists() else True
        return caught.value.problems


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def near(found, gene, window):
    row = found["genes"].set_index("gene").loc[gene]
    return found["cpgs"]["cpg"][row[f"first_{window}"] : row[f"last_{window}"]].tolist()


def test_cpgs_are_sorted_and_each_gene_gets_those_around_its_start(bench):
    found = bench.prepare()
    assert found["cpgs"]["cpg"].tolist() == ["cgA", "cgB", "cgC", "cgD", "cgE", "cgF", "cgH", "cgG"]
    assert (found["beta"].cpgs == found["cpgs"]["cpg"]).all()
    expected = bench.beta.loc[found["cpgs"]["cpg"]].to_numpy(dtype=np.float32)
    assert (found["beta"].read(0, 8) == expected).all()
    assert near(found, "UP", "1kb") == ["cgA", "cgB"]
    assert near(found, "UP", "10kb") == ["cgA", "cgB", "cgC"]
    assert near(found, "UP", "1Mb") == ["cgA", "cgB", "cgC", "cgD", "cgE"]
    # On the reverse strand a gene starts at its end.
    assert near(found, "DOWN", "1kb") == ["cgD"]
    assert near(found, "DOWN", "10kb") == ["cgD", "cgE"]
    assert near(found, "DOWN", "1Mb")[-1] == "cgF"
    assert near(found, "OTHER", "1kb") == ["cgG"]
    assert found["genes"].set_index("gene")["tss"].to_dict() == {"UP": 100_000, "DOWN": 340_000, "OTHER": 500_000}
    values = found["expression"].set_index("gene").to_numpy()
    assert values == pytest.approx(bench.expression.loc[["UP", "DOWN", "OTHER"]].to_numpy(), abs=1e-5)


def test_genes_without_cpgs_or_positions_are_listed_and_not_fatal(bench):
    found = bench.prepare()
    reasons = found["skipped"].set_index("gene")["reason"]
    assert reasons["LONELY"] == "no CpG within 1,000,000 bases of its start"
    assert reasons["UNPLACED"] == "no position"
    assert found["qc"]["genes"] == 3
    assert any("1 of 9 CpGs have no position" in text for text in found["qc"]["warnings"])


def test_promoters_end_where_their_genes_start(bench):
    bench.genes["start"], bench.genes["end"] = [98_000, 340_000, 498_000, 9**8], [100_000, 342_000, 500_000, 9**8 + 9]
    bench.section["regions"] = "promoters"
    assert bench.prepare()["genes"].set_index("gene")["tss"].to_dict() == {
        "UP": 100_000,
        "DOWN": 340_000,
        "OTHER": 500_000,
    }


def test_chromosomes_and_strands_are_written_in_several_ways(bench):
    bench.genes["chrom"], bench.genes["strand"] = ["1", "1", "2", "2"], [1, -1, 1, -1]
    assert near(bench.prepare(), "DOWN", "10kb") == ["cgD", "cgE"]


def test_without_positions_every_gene_gets_all_cpgs(bench):
    bench.positions = bench.genes = None
    found = bench.prepare()
    assert len(found["genes"]) == 5
    assert (found["genes"]["last_all"] == 9).all()


def test_states_and_persons_come_from_the_ids_or_from_a_sheet(bench):
    ids = [f"T{number % 14:02d}-{'01' if number < 14 else '11'}A" for number in range(N)]
    bench.beta.columns = bench.expression.columns = ids
    bench.section |= {"person_pattern": "^(T..)", "state_pattern": "-(..)A$", "train_on": "01"}
    found = bench.prepare()["samples"]
    assert found["set"].tolist() == ["train"] * 14 + ["11"] * 10
    assert found["person"].tolist() == [name[:3] for name in ids]
    del bench.section["person_pattern"], bench.section["state_pattern"]
    bench.section["train_on"] = "tumour"
    bench.sheet = pd.DataFrame({"sample_id": ids[::-1], "person": "P" + pd.Series(ids[::-1]).str[1:3]})
    bench.sheet["state"] = np.where(bench.sheet["sample_id"].str.contains("-01"), "tumour", "normal")
    again = bench.prepare()["samples"]
    assert again["set"].tolist() == ["train"] * 14 + ["normal"] * 10
    assert again["person"].tolist() == ["P" + name[1:3] for name in ids]


def test_another_cohort_is_put_on_the_same_cpgs(bench):
    rng = np.random.default_rng(1)
    cpgs = pd.Index(["cgG", "cgA", "cgB", "cgExtra"], name="cpg")
    bench.other_beta = pd.DataFrame(rng.uniform(0.1, 0.9, (4, 3)).round(3), cpgs, ["T01-01A", "x", "y"])
    found = bench.prepare()
    assert found["samples"]["set"].tolist() == ["train"] * N + ["other"] * 3
    assert found["samples"]["person"].iloc[N] == "other:T01-01A"  # a stranger of the same name
    values = pd.DataFrame(found["beta"].read(0, 8)[:, N:], found["cpgs"]["cpg"])
    assert values.loc["cgA"].to_numpy() == pytest.approx(bench.other_beta.loc["cgA"].to_numpy(), abs=1e-6)
    assert values.loc["cgC"].isna().all()
    assert found["expression"].iloc[:, 1 + N :].isna().all(axis=None)
    assert any("lacks 62.5% of the CpGs" in text for text in found["qc"]["warnings"])
    bench.other_expression = pd.DataFrame([[1.0, 2, 3]], pd.Index(["UP"], name="gene"), bench.other_beta.columns)
    known = bench.prepare()["expression"].set_index("gene")
    assert known.loc["UP"].iloc[N:].tolist() == [1, 2, 3]
    assert known.loc["DOWN"].iloc[N:].isna().all()


def test_some_genes_are_chosen_by_the_seed(bench):
    bench.section["max_genes"] = 2
    found = bench.prepare()
    assert len(found["genes"]) == 2
    assert (found["skipped"]["reason"] == "left out by expression.max_genes").sum() == 1
    assert found["expression"]["gene"].tolist() == found["genes"]["gene"].tolist()


# --- bad input -------------------------------------------------------------------------------------------------------


def test_samples_that_do_not_match_are_listed_or_left_out(bench):
    bench.expression = bench.expression.rename(columns={"T01-01A": "Z01", "T02-01A": "Z02"})
    (text,) = bench.problems()
    assert "2 samples of" in text
    assert "'T01-01A', 'T02-01A'" in text
    assert "'Z01', 'Z02'" in text
    assert "`expression.unmatched: drop`" in text
    bench.section["unmatched"] = "drop"
    found = bench.prepare()
    assert len(found["samples"]) == N - 2
    assert found["expression"].iloc[0, 1] == pytest.approx(bench.expression.loc["UP", "T03-01A"], abs=1e-5)


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        ([f"Q{number}" for number in range(N)], "under the same ids"),
        ([name.replace("-", ".") for name in SAMPLES], "check.names = FALSE"),
    ],
)
def test_no_common_sample_says_why(bench, names, hint):
    bench.expression.columns = names
    (text,) = bench.problems()
    assert "no sample in common" in text
    assert hint in text


def test_barcodes_of_other_lengths_are_recognised(bench):
    bench.beta.columns = [f"TCGA-AA-{number:04d}-01A-11D" for number in range(N)]
    bench.expression.columns = [f"TCGA-AA-{number:04d}-01A-22R" for number in range(N)]
    assert "first 15 characters agree" in bench.problems()[0]


def test_all_problems_are_reported_at_once(bench):
    bench.genes.loc[1, "strand"] = "?"
    bench.positions.loc[2, "position"] = -5
    bench.expression = pd.concat([bench.expression, bench.expression.loc[["UP"]]])
    bench.section["folds"] = 20
    text = "\n".join(bench.problems())
    assert "1 rows are neither + nor -" in text
    assert "'?'" in text
    assert "(line 3)" in text
    assert "1 values are no positions, such as '-5' (line 4)" in text
    assert "1 genes more than once: 'UP'" in text
    assert "24 people to train on are too few for 20 folds" in text


@pytest.mark.parametrize(("policy", "expected"), [("mean", 5.0), ("first", 4.0)])
def test_duplicated_gene_symbols_by_policy(bench, policy, expected):
    bench.expression.loc["UP"] = 4.0 + np.arange(N)
    twin = bench.expression.loc[["UP"]] + 2
    bench.expression = pd.concat([bench.expression, twin])
    bench.section["duplicates"] = policy
    found = bench.prepare()["expression"].set_index("gene")
    assert found.index.is_unique
    assert found.loc["UP"].iloc[0] == expected


def test_genes_with_several_places_are_listed(bench):
    bench.genes = pd.concat([bench.genes, bench.genes.iloc[[0]].assign(start=7_000_000, end=7_100_000)])
    (text,) = bench.problems()
    assert "1 genes more than one place: 'UP'" in text
    bench.section["duplicates"] = "first"
    assert bench.prepare()["genes"].set_index("gene").loc["UP", "tss"] == 100_000


def test_constant_genes_and_gaps_in_expression_are_left_out_with_the_reason(bench):
    bench.expression.loc["UP"] = 3.0
    bench.expression.loc["DOWN", "T05-01A"] = np.nan
    found = bench.prepare()
    reasons = found["skipped"].set_index("gene")["reason"]
    assert reasons["UP"] == "constant expression"
    assert reasons["DOWN"] == "expression missing in some samples"
    assert found["genes"]["gene"].tolist() == ["OTHER"]


def test_values_that_are_no_numbers_are_named(bench):
    bench.expression = bench.expression.astype(object)
    bench.expression.loc["UP", "T03-01A"] = "high"
    bench.expression.loc["DOWN", "T04-01A"] = "-inf"
    text = "\n".join(bench.problems())
    assert "'high'" in text
    assert "infinite values in 1 rows: 'DOWN'" in text
    assert "add 1 before taking the logarithm" in text


def test_m_values_in_place_of_betas_are_recognised(bench):
    bench.beta = np.log2(bench.beta / (1 - bench.beta)).round(4)
    assert any("these look like M-values" in text for text in bench.problems())


def test_constant_and_missing_cpgs_are_left_out_and_counted(bench):
    bench.beta.loc["cgC"] = 0.5
    bench.beta.loc["cgE", SAMPLES[:10]] = np.nan
    found = bench.prepare()
    assert not {"cgC", "cgE"} & set(found["cpgs"]["cpg"])
    text = "\n".join(found["qc"]["warnings"])
    assert "1 CpGs are constant and left out: 'cgC'" in text
    assert "1 CpGs are missing in more than 0.2 of the samples and left out: 'cgE'" in text


def test_names_of_another_array_or_other_ids_are_reported(bench):
    bench.positions["cpg"] = bench.positions["cpg"] + "_TC21"
    assert "has none of the CpGs" in bench.problems()[0]
    bench.positions["cpg"] = bench.positions["cpg"].str[:3]
    bench.genes["gene"] = [f"ENSG{number}" for number in range(4)]
    assert "has none of the genes" in bench.problems()[0]


def test_versions_of_genes_are_taken_off_when_configured(bench):
    bare = [f"ENSG0000000000{number}" for number in range(4)]
    bench.genes["gene"] = [f"{name}.7" for name in bare]
    bench.expression.index = pd.Index([f"{name}.{number}" for number, name in enumerate([*bare, "ENSG000000999"], 1)])
    (text,) = bench.problems()
    assert "4 of them are there: set `expression.gene_versions: drop`" in text
    bench.section["gene_versions"] = "drop"  # as the message advises
    found = bench.prepare()
    assert found["genes"]["gene"].tolist() == bare[:3]
    bench.section["gene_versions"] = "keep"
    bench.genes.loc[0, "gene"] = f"{bare[0]}.1"  # one is found as it is
    assert "4 of 5 genes have no place in" in "\n".join(bench.prepare()["qc"]["warnings"])
    shutil.rmtree(bench.folder / "out")
    twin = bench.expression.iloc[[0]].rename(index=lambda name: f"{bare[0]}.9")
    bench.expression = pd.concat([bench.expression, twin])
    bench.section["gene_versions"] = "drop"
    assert "1 genes more than once: 'ENSG00000000000'" in bench.problems()[0]
    assert without_version("RP11-34P13.7") == "RP11-34P13.7"
    assert without_version("ENSG00000182378.14_PAR_Y") == "ENSG00000182378_PAR_Y"


def test_genes_that_a_spreadsheet_made_dates_are_reported(bench):
    bench.expression = bench.expression.rename(index={"UNPLACED": "1-Mar"})
    assert "1 names of genes are dates, '1-Mar'" in "\n".join(bench.prepare()["qc"]["warnings"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"genes": "genes.csv"}, "expression.positions and expression.genes go together"),
        ({"window_models": ["SVM"], "models": ["Ridge"]}, "window_models names SVM"),
        ({"beta": None}, "expression.expression is set but expression.beta is not"),
        ({"expression": None}, "expression.expression is missing"),
        ({"other": {"expression": "e.csv"}}, "expression.other.expression is set"),
        ({"taxonomy": "t.csv"}, "expression.taxonomy needs expression.positions"),
        ({"beta": "b{1}.csv"}, "braces in its name"),
    ],
)
def test_keys_that_do_not_go_together(changes, text):
    section = {"beta": "b.csv", "expression": "e.csv"} | changes
    config = check_config({"expression": section}, ROOT / "workflow/schemas/config.schema.yaml")
    with pytest.raises(InputError, match=text):
        ExpressionPlan(config)


def test_patterns_that_are_none_or_do_not_match(bench):
    bench.section["person_pattern"] = "^(X..)"
    assert "does not match 24 sample ids" in bench.problems()[0]
    bench.section["person_pattern"] = "^(T"
    assert "is no regular expression" in bench.problems()[0]
    bench.section["person_pattern"] = "^T.."
    assert "needs one group in round brackets" in bench.problems()[0]
    del bench.section["person_pattern"]
    bench.section["train_on"] = "01"
    assert any("nothing gives the samples' states" in text for text in bench.problems())


def test_windows_have_readable_names():
    assert [window_name(window) for window in (500, 1000, 1500, 10_000, 1_000_000, 2_500_000)] == [
        "500b",
        "1kb",
        "1500b",
        "10kb",
        "1Mb",
        "2500kb",
    ]


def test_positions_of_another_build_are_noticed(bench):
    """Genes moved against the CpGs by what two builds differ by: fewer starts than expected have a CpG close by."""
    rng = np.random.default_rng(0)
    tss = np.sort(rng.integers(1_000_000, 40_000_000, 300))
    genes = pd.DataFrame({"chrom": "21", "tss": tss})
    near = np.repeat(tss[::2], 2) + rng.integers(-1000, 1000, 300)
    cpgs = pd.DataFrame({"chrom": "21", "position": np.concatenate([near, rng.integers(1_000_000, 40_000_000, 200)])})
    given = {"positions": "positions.csv", "genes": "genes.csv"}
    assert inputs.check_build(genes, cpgs, given) == []
    (text,) = inputs.check_build(genes.assign(tss=tss + 1_370_000), cpgs, given)
    assert "seem to be of different genome builds" in text
    assert inputs.check_build(genes.assign(chrom="22"), cpgs, given)[0].endswith("Write chromosomes as chr1 or 1")


def test_positions_beyond_the_ends_of_chromosomes_show_the_build():
    given = {"positions": "positions.csv", "genes": "genes.csv"}
    cpgs = pd.DataFrame({"chrom": ["21", "17"], "position": [47_500_000, 1_000_000]})  # chr21 ends at 46.7 Mb in hg38
    genes = pd.DataFrame({"chrom": ["21", "17"], "tss": [40_000_000, 82_000_000]})  # chr17 ends at 81.2 Mb in hg19
    (text,) = inputs.check_build(genes, cpgs, given)
    assert "positions.csv and genes.csv are of different genome builds" in text
    assert "CpGs lie beyond the ends of chromosomes of hg38 (1)" in text
    assert "genes lie beyond the ends of chromosomes of hg19 (1)" in text


def real(folder, changes, example="expression"):
    config = yaml.safe_load((ROOT / f"config/examples/{example}.yaml").read_text())
    section = config["expression"] | changes
    for key in ("beta", "expression", "positions", "genes"):
        if section.get(key) and not section[key].startswith("/"):
            section[key] = str(SHARED / "expression" / section[key].rsplit("/", 1)[1])
    plan = ExpressionPlan(check_config({"expression": section}, ROOT / "workflow/schemas/config.schema.yaml"))
    out = {name: str(folder / name) for name in OUT}
    inputs.prepare(plan.input_files(), out, settings=plan.input_settings(), seed=1)
    return {name: pd.read_parquet(out[name]) for name in ("cpgs", "genes", "samples")}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data are not here")
def test_real_colon_cancer_is_read_and_the_other_build_refused(tmp_path):
    found = real(tmp_path, {})
    assert (len(found["cpgs"]), len(found["genes"]), len(found["samples"])) == (421, 587, 38)
    assert found["samples"]["person"].nunique() < 38  # some patients gave tumour and normal tissue
    with pytest.raises(InputError, match=r"different genome builds.*beyond the ends of chromosomes of hg38"):
        real(tmp_path, {"genes": "x/chr21_genes_hg38.csv.gz"})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data are not here")
def test_real_promoters_give_the_same_starts_as_genes(tmp_path):
    columns = {"positions": {"cpg": "cpg", "chrom": "chrom", "position": "pos_hg19"}}
    names = {"gene": "gene name", "chrom": "chrID", "start": "start", "end": "end", "strand": "strand"}
    expression = pd.read_csv(SHARED / "expression/tcga_coad_chr21_expression.csv.gz", index_col=0)
    genes = pd.read_csv(SHARED / "expression/chr21_genes_hg19.csv.gz").set_index("ensembl_gene_id")
    expression = expression.loc[expression.index.isin(genes.index)]
    expression.index = pd.Index(genes.loc[expression.index, "external_gene_name"], name="gene")
    expression = expression[~expression.index.duplicated()]
    expression.to_csv(tmp_path / "expression.csv")
    changes = {"regions": "promoters", "duplicates": "first", "columns": columns | {"genes": names}}
    changes |= {"expression": str(tmp_path / "expression.csv"), "genes": "x/promoters_hg19.csv.gz"}
    found = real(tmp_path, changes)["genes"].set_index("gene")["tss"]
    start = np.where(genes["strand"] == 1, genes["start_position"], genes["end_position"])
    expected = pd.Series(start, genes["external_gene_name"])
    expected = expected[~expected.index.duplicated()].reindex(found.index)
    assert (np.abs(found - expected) <= 20).mean() > 0.4
    assert (np.abs(found - expected) <= 5000).mean() > 0.7


def test_a_gene_on_the_reverse_strand_is_read_from_its_own_upstream(bench):
    """Its CpGs come turned to the models; what these say of each CpG is written in the order of positions again."""
    beta = bench.beta.loc["cgE"].to_numpy()
    bench.expression.loc["DOWN"] = np.log2(beta / (1 - beta))
    found = bench.prepare()
    paths = {name: str(bench.folder / "out" / name) for name in ("methylation", "expression", "genes", "samples")}
    study = Study(**paths, k=3, seed=1)
    row = found["genes"]["gene"].tolist().index("DOWN")
    cpgs = near(found, "DOWN", "1Mb")
    gene = study.gene(row, "1Mb")
    assert gene.x == pytest.approx(m_values(bench.beta.loc[cpgs[::-1]].to_numpy(dtype=np.float32)).T, abs=1e-4)
    settings = {"folds": 3, "recipe": "fast", "epochs": None, "device": "cpu", "precision": "float32"}
    where = {"model": "Ridge", "window": "1Mb", "shard": 0, "shards": 1}
    fit_shard(paths, bench.folder / "fits.parquet", **where, settings=settings, seed=1)
    fits = pd.read_parquet(bench.folder / "fits.parquet").set_index("gene")
    assert set(fits.index) == {"UP", "DOWN", "OTHER"}
    assert cpgs[int(np.argmax(fits.loc["DOWN", "attribution"]))] == "cgE" != cpgs[::-1][cpgs.index("cgE")]

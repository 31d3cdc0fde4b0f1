"""A day in a lab: one cohort in three deliveries, from the first faulty file to a report whose every number has a file.

The steps build on one another in the order of the tests. LAB_CPGS and LAB_PEOPLE make a smaller day for a quick trial.
"""

import json
import os
import re
import shutil
import subprocess
import types

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tracing
from conftest import ROOT, snakemake
from cpgtaxa.simulation.simulated_cohort import write_cohort
from processes import Started, assert_same, contents, leftovers, wait_until

pytestmark = pytest.mark.slow

CPGS, PEOPLE = int(os.environ.get("LAB_CPGS", 5000)), int(os.environ.get("LAB_PEOPLE", 300))
MARKERS, OF_SEX = 120, 10
"""CpGs that tell the cells of blood, and CpGs that tell the sex; the others are the simulator's."""
DRAWN = {"cpgs": CPGS - MARKERS - OF_SEX, "boundary": 0.15, "age_max": 90}
THIRD = PEOPLE // 3

CONFIG = {
    "cohort": {"beta": "../joined/beta.parquet", "samples": "../joined/samples.csv", "truth": "../truth.csv"},
    "statistics": {"shards": 2},
    "simulation": {"per_taxon": 60, "boundary": 100},
    "training": {"epochs": 3, "epochs_mix": 2, "min_per_taxon": 5},
    "rounds": {"min": 2, "max": 2, "error_rate": 0.3, "calibration": 3000, "min_new_share": 0.0},
}
PLACED = CONFIG | {"training": {"weights": "../main"}, "rounds": CONFIG["rounds"] | {"min": 1, "max": 1}}
"""Placed with the main run's last network."""


# The cohort, and how it is delivered


def mixtures(ages, rng) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fractions of the blood cells, (people, types), in which neutrophils grow with age, and betas of MARKERS CpGs."""
    table = pd.read_csv(ROOT / "resources/cell_types/blood_450k.csv", index_col="cpg")
    pure = table.iloc[np.linspace(0, len(table) - 1, MARKERS).astype(int)]
    weights = rng.gamma(8, size=(len(ages), pure.shape[1])) * np.array([4 if name == "Neu" else 1 for name in pure])
    weights[:, list(pure).index("Neu")] *= 0.6 + 0.012 * (ages - 20)
    fractions = weights / weights.sum(axis=1, keepdims=True)
    betas = pure.to_numpy() @ fractions.T + 0.01 * rng.normal(size=(MARKERS, len(ages)))
    return pd.DataFrame(fractions, columns=pure.columns), pd.DataFrame(betas.clip(0, 1), pure.index)


def draw(folder) -> types.SimpleNamespace:
    """The people as they are: betas (CpGs, people), sheet and cell fractions by sample id; `truth.csv` is written."""
    paths = [folder / name for name in ("beta.csv.gz", "samples.csv", "truth.csv")]
    write_cohort(DRAWN | {"samples": PEOPLE, "age_min": 20}, 42, *paths)
    beta = pd.read_csv(paths[0], index_col="cpg", dtype=dict.fromkeys(range(1, PEOPLE + 1), float))
    sheet = pd.read_csv(paths[1], index_col="sample_id", dtype={"age": float})
    rng = np.random.default_rng(29)
    fractions, markers = mixtures(sheet["age"].to_numpy(), rng)
    of_sex = np.where(sheet["sex"] == "F", 0.5, 0.1) + 0.03 * rng.normal(size=(OF_SEX, PEOPLE))
    of_sex = pd.DataFrame(of_sex.clip(0, 1), [f"cg{90_000_000 + at}" for at in range(OF_SEX)], sheet.index)
    beta = pd.concat([beta, markers.set_axis(sheet.index, axis=1), of_sex]).round(5).rename_axis("cpg")
    beta = beta.iloc[rng.permutation(len(beta))]
    return types.SimpleNamespace(
        beta=beta, sheet=sheet, fractions=fractions.set_axis(sheet.index), masked=0, swapped=[]
    )


def deliver_text(folder, people, ids, rng) -> None:
    """GenomeStudio's CSV, with a column of detection p-values beside each of betas; a sheet with faults."""
    p_values = pd.DataFrame(np.where(rng.random((CPGS, len(ids))) < 0.005, 0.2, 1e-4), people.beta.index, ids)
    both = pd.concat([people.beta[ids].add_suffix(".AVG_Beta"), p_values.add_suffix(".Detection Pval")], axis=1)
    undetected = p_values > 0.01
    people.masked, people.beta[ids] = int(undetected.to_numpy().sum()), people.beta[ids].mask(undetected)
    order = [name + end for name in ids for end in (".AVG_Beta", ".Detection Pval")]
    both[order].to_csv(folder / "beta.csv", index_label="TargetID")
    sheet = people.sheet.loc[ids].rename_axis("Sample_Name").astype({"age": object})
    sheet.loc[ids[3], "age"], sheet.loc[ids[7], "age"] = "60-69", "90+"
    sheet.drop(ids[11]).to_csv(folder / "samples.csv")


def deliver_r(folder, people, ids) -> None:
    """A matrix in percent from R, of EPICv2 with the suffixes of its probes, some CpGs twice; ages in months."""
    percent = (100 * people.beta[ids]).rename(index=lambda name: f"{name}_TC11")
    twice = percent.iloc[:20].rename(index=lambda name: name.replace("_TC11", "_TC12"))
    pd.concat([percent, twice]).to_csv(folder / "percent.csv", na_rep="NA")
    sheet = people.sheet.loc[ids].rename_axis("Basename")
    sheet.assign(age=12 * sheet["age"]).rename(columns={"age": "Age (months)"}).to_csv(folder / "samples.csv")
    script = 'saveRDS(as.matrix(read.csv("percent.csv", row.names = 1, check.names = FALSE)), "beta.rds")'
    subprocess.run(["Rscript", "-e", script], cwd=folder, check=True, capture_output=True)


def deliver_h5ad(folder, people, ids) -> None:
    """AnnData with the people as observations: the sexes of two women and two men exchanged, three betas above 1."""
    obs = people.sheet.loc[ids].copy()
    people.swapped = sorted([*obs.index[obs["sex"] == "F"][:2], *obs.index[obs["sex"] == "M"][:2]])
    obs.loc[people.swapped, "sex"] = obs.loc[people.swapped, "sex"].map({"F": "M", "M": "F"})
    values = people.beta[ids].T.to_numpy(dtype=np.float32).copy()
    people.beta.iloc[5:8, people.beta.columns.get_loc(ids[2])] = np.nan
    values[2, 5:8] = 1.7
    write_h5ad(folder, values, obs, people.beta.index)


def write_h5ad(folder, values, obs, cpgs) -> None:
    """`beta.h5ad` of values (people, CpGs) and the people's sheet."""
    with pd.option_context("future.infer_string", False):
        text = dict.fromkeys(("sex", "batch"), object)
        obs, var = obs.astype(text), pd.DataFrame(index=pd.Index(list(cpgs), dtype=object))
        anndata.AnnData(values, obs.set_axis(pd.Index(list(obs.index), dtype=object)), var).write_h5ad(
            folder / "beta.h5ad"
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The lab's folder with the three deliveries, and the people as they are."""
    if not shutil.which("Rscript"):
        pytest.skip("Rscript is not installed")
    folder = tmp_path_factory.mktemp("lab")
    people, rng = draw(folder), np.random.default_rng(30)
    ids = [list(people.sheet.index[at : at + THIRD]) for at in (0, THIRD, 2 * THIRD)]
    for number in (1, 2, 3):
        (folder / f"delivery_{number}").mkdir()
    deliver_text(folder / "delivery_1", people, ids[0], rng)
    deliver_r(folder / "delivery_2", people, ids[1])
    deliver_h5ad(folder / "delivery_3", people, ids[2])
    return types.SimpleNamespace(folder=folder, people=people, ids=ids)


# Checked, refused, mended

COHORT = "results/cohort/beta.arrow"


def refused(folder, cohort, *words) -> None:
    """The delivery is refused with all these words, and nothing of it is written."""
    run = snakemake(folder, COHORT, config={"cohort": cohort})
    assert run.code != 0, run.text
    assert [word for word in words if word not in run.text] == [], run.text
    assert "Traceback" not in run.text
    assert {path.name for path in (folder / "results").rglob("*") if path.is_file()} <= {"cohort.log", "cohort.tsv"}


def read(folder, cohort) -> dict:
    """The delivery is read; its QC."""
    run = snakemake(folder, COHORT, config={"cohort": cohort})
    assert run.code == 0, run.text
    return json.loads((folder / "results/cohort/qc.json").read_text())


def betas_of(folder) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Betas (CpGs, samples) and sheet of a cohort that was read, as docs/reading_results.md reads them."""
    cohort = pa.ipc.open_file(pa.memory_map(str(folder / COHORT))).read_all()
    samples = pd.read_parquet(folder / "results/cohort/samples.parquet")
    values = np.stack([one.values.to_numpy() for one in cohort["beta"]])
    return pd.DataFrame(values, cohort["cpg"].to_pylist(), samples["sample_id"]), samples.set_index("sample_id")


def assert_delivered(lab, number) -> None:
    """What was read of a delivery are the people's betas, ages and sexes."""
    (beta, sheet), ids = betas_of(lab.folder / f"delivery_{number}"), lab.ids[number - 1]
    people = lab.people
    assert list(sheet.index) == ids
    np.testing.assert_allclose(beta.loc[people.beta.index], people.beta[ids], rtol=0, atol=2e-7)
    np.testing.assert_allclose(sheet["age"], people.sheet["age"][ids], rtol=1e-12)
    assert list(sheet["sex"]) == list(people.sheet["sex"][ids])


def test_the_first_delivery_is_refused_with_all_its_faults_and_read_once_mended(lab):
    folder, ids = lab.folder / "delivery_1", lab.ids[0]
    cohort = {"beta": "beta.csv", "samples": "samples.csv"}
    ranges = (f"'{ids[3]}' (line 5): '60-69'", f"'{ids[7]}' (line 9): '90+'")
    refused(folder, cohort, "2 input problems", f"not in the sheet samples.csv: '{ids[11]}'", *ranges)
    lab.people.sheet.loc[ids].rename_axis("Sample_Name").to_csv(folder / "samples.csv")
    qc = read(folder, cohort)
    assert qc["undetected"]["n"] == lab.people.masked
    assert f"{THIRD} columns of detection p-values" in qc["warnings"][0]
    assert_delivered(lab, 1)


def test_the_second_delivery_is_refused_for_its_doubles_and_read_as_the_message_advises(lab):
    folder = lab.folder / "delivery_2"
    cohort = {"beta": "beta.rds", "samples": "samples.csv"}
    refused(folder, cohort, "20 CpGs more than once", "Set `cohort.collapse` to `mean` or `first`")
    qc = read(folder, cohort | {"collapse": "mean"})
    assert qc["n_cpgs"] == {
        **{"in": CPGS + 20, "kept": CPGS},
        **{"dropped_missing": 0, "dropped_constant": 0, "dropped_replicate": 20},
    }
    assert (qc["values"], qc["columns"]["age_unit"]) == ("percent", "months")
    assert_delivered(lab, 2)


def test_the_third_delivery_is_refused_for_its_betas_and_its_exchanged_sexes_are_named(lab):
    folder, ids = lab.folder / "delivery_3", lab.ids[2]
    cohort = {"beta": "beta.h5ad", "samples": "beta.h5ad"}
    wrong = [f"CpG '{name}', sample '{ids[2]}': 1.7" for name in lab.people.beta.index[5:8]]
    refused(folder, cohort, "lie outside 0-1", "correct them, or write NA", *wrong)
    given = anndata.read_h5ad(folder / "beta.h5ad")
    values, obs, names = np.where(given.X > 1, np.nan, given.X), given.obs, given.var_names
    write_h5ad(folder, values, obs, names)
    qc = read(folder, cohort)
    assert sorted(qc["other_sex"]) == lab.people.swapped
    (warning,) = [text for text in qc["warnings"] if "of another sex" in text]
    assert all(name in warning for name in lab.people.swapped)
    obs["sex"] = obs["sex"].astype(object)
    obs.loc[qc["other_sex"], "sex"] = obs.loc[qc["other_sex"], "sex"].map({"F": "M", "M": "F"})
    write_h5ad(folder, values, obs, names)
    assert "other_sex" not in read(folder, cohort)
    assert_delivered(lab, 3)


# Run, killed twice, resumed


def struck(folder, rule, strike) -> None:
    """Run the main job and strike while the first job of this rule runs; unlock, as the guide says."""
    run = Started(folder, config=CONFIG)
    try:
        wait_until(lambda: rule in {name for name, _ in run.jobs().values()} or run.ended(), 3600)
        assert not run.ended(), run.text
    finally:
        strike(run)
    assert not (folder / "results/report.html").exists()
    unlocked = snakemake(folder, "--unlock", config=CONFIG)
    assert unlocked.code == 0, unlocked.text


@pytest.fixture(scope="module")
def main(lab):
    """Folder of the joined deliveries' run, killed at two rules and resumed on one core."""
    parts = [betas_of(lab.folder / f"delivery_{number}") for number in (1, 2, 3)]
    joined = lab.folder / "joined"
    joined.mkdir()
    beta = pd.concat([beta for beta, _ in parts], axis=1)
    beta.reset_index(names="cpg").to_parquet(joined / "beta.parquet")
    sheets = [sheet.assign(delivery=f"delivery {number}") for number, (_, sheet) in enumerate(parts, 1)]
    pd.concat(sheets)[["age", "sex", "batch", "delivery"]].to_csv(joined / "samples.csv")
    folder = lab.folder / "main"
    struck(folder, "compute_statistics", Started.kill_all)
    struck(folder, "train", Started.kill_snakemake)
    run = snakemake(folder, config=CONFIG, cores=1, timeout=7200)
    assert run.code == 0, run.text
    assert "compute_statistics" not in run.jobs()
    return folder


def test_a_run_killed_twice_and_resumed_on_one_core_has_the_bytes_of_an_undisturbed_one_on_two(lab, main):
    assert leftovers(main) == []
    run = snakemake(lab.folder / "undisturbed", config=CONFIG, timeout=7200)
    assert run.code == 0, run.text
    assert_same(main, contents(lab.folder / "undisturbed"))
    beta, _ = betas_of(main)
    np.testing.assert_allclose(beta.loc[lab.people.beta.index], lab.people.beta, rtol=0, atol=2e-7)


# Adjusted, compared, exported

ADJUSTED = PLACED | {"adjust": {"covariates": ["cell_fractions", "sex", "delivery"]}}


@pytest.fixture(scope="module")
def adjusted(lab, main):
    """Folder of the same people adjusted for cells, sex and delivery."""
    folder = lab.folder / "adjusted"
    run = snakemake(folder, config=ADJUSTED, timeout=7200)
    assert run.code == 0, run.text
    return folder


@pytest.fixture(scope="module")
def second(lab, main):
    """Folder of the same CpGs in other people, placed with the first network and compared."""
    made = "results/simulated_cohort"
    config = PLACED | {
        "cohort": {"beta": f"{made}/beta.csv.gz", "samples": f"{made}/samples.csv", "truth": f"{made}/truth.csv"},
        "simulate_cohort": DRAWN | {"samples": PEOPLE * 2 // 3, "age_min": 30},
        "compare": {"cohorts": {"first": "../main", "second": "."}},
    }
    run = snakemake(lab.folder / "second", "all", "compare", config=config, timeout=7200)
    assert run.code == 0, run.text
    return lab.folder / "second"


def changing(folder) -> pd.Series:
    """Whether each CpG changes with age."""
    return pd.read_csv(folder / "results/age_ewas.csv.gz", index_col="cpg")["q"] < 0.05


def test_what_cells_did_to_their_markers_is_gone_once_adjusted(lab, main, adjusted):
    found = pd.read_csv(adjusted / "results/cell_fractions.csv", index_col="sample_id")
    wanted = lab.people.fractions.loc[found.index, list(lab.people.fractions)]
    np.testing.assert_allclose(found[list(wanted)], wanted, atol=0.05)
    markers = pd.read_csv(ROOT / "resources/cell_types/blood_450k.csv")["cpg"]
    before, after = (changing(folder) for folder in (main, adjusted))
    markers = before.index.intersection(markers)
    assert len(markers) == MARKERS
    assert before[markers].mean() > 0.25
    assert after[markers].mean() < 0.05
    # The other CpGs have nothing to do with the cells.
    others = before.index.difference(markers)
    assert (before[others] == after[others]).mean() > 0.9


def test_the_comparison_counts_what_both_taxonomies_say(main, second):
    table = pd.read_parquet(second / "results/compare/taxonomy.parquet").set_index("cpg")
    singles = [
        pd.read_parquet(folder / "results/taxonomy.parquet").set_index("cpg")["taxon"].astype(str)
        for folder in (main, second)
    ]
    for name, single in zip(("first", "second"), singles, strict=True):
        assert (table.loc[single.index, f"taxon_{name}"].astype(str) == single).all()
    both = pd.crosstab(*(single[singles[1].index] for single in singles)).stack()
    counts = pd.read_csv(second / "results/compare/contingency.csv").set_index(["taxon_a", "taxon_b"])["n"]
    assert counts[counts > 0].to_dict() == both[both > 0].to_dict()
    agreement = pd.read_csv(second / "results/compare/agreement.csv").set_index(["unclassified", "taxon", "metric"])
    equal = sum(k for (one, other), k in both.items() if one == other)
    assert agreement["value"]["yes", "all", "shared"] == DRAWN["cpgs"]
    assert agreement["value"]["yes", "all", "equal"] == pytest.approx(equal / DRAWN["cpgs"], rel=1e-5)


def test_the_export_holds_the_matrix_and_the_taxonomy(lab, main):
    taxonomy = pd.read_parquet(main / "results/taxonomy.parquet")
    places = pd.DataFrame({"cpg": taxonomy["cpg"], "chrom": "chr7", "position": range(100, 100 + CPGS)})
    places.to_csv(lab.folder / "places.csv", index=False)
    config = CONFIG | {"export": {"positions": "../places.csv", "beta": True}}
    run = snakemake(main, "export", config=config)
    assert run.code == 0, run.text
    assert run.jobs() == {"export": 1}
    found = anndata.read_h5ad(main / "results/export/taxonomy.h5ad")
    assert list(found.var["taxon"].astype(str)) == list(taxonomy["taxon"].astype(str))
    beta = lab.people.beta.loc[found.var_names, found.obs_names].T
    np.testing.assert_allclose(found.X, beta, rtol=0, atol=2e-7)
    bed = pd.read_csv(main / "results/export/taxonomy.bed", sep="\t", header=None)
    assert sorted(bed[1]) == list(range(99, 99 + CPGS))
    table = pd.read_csv(main / "results/export/supplementary_table.csv.gz").set_index("cpg")
    assert (table["taxon"][taxonomy["cpg"]].to_numpy() == taxonomy["taxon"].astype(str).to_numpy()).all()
    done = subprocess.run(["Rscript", "results/export/read_results.R"], cwd=main, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (taxon, source), k in taxonomy.astype(str).groupby(["taxon", "source"]).size().items():
        assert re.search(rf"\b{taxon} +{source} +{k}\b", done.stdout), done.stdout


# Every number of the reports


@pytest.mark.parametrize("name", ["main", "adjusted", "second"])
def test_every_number_of_a_report_is_that_of_a_file(request, name):
    tracing.Trace(request.getfixturevalue(name)).everything()


def test_a_wrong_digit_in_a_report_is_noticed(main, monkeypatch):
    page, rng = (main / "results/report.html").read_text(), np.random.default_rng(31)
    unread = re.finditer(r"<(svg|style|script|pre|nav|footer|title)\b.*?</\1>|<[^>]*>|&#?\w+;", page, re.DOTALL)
    seen = np.ones(len(page), dtype=bool)
    for found in unread:
        seen[found.start() : found.end()] = False
    digits = [found.start() for found in re.finditer(r"(?<![A-Za-z_\d])\d", page) if seen[found.start()]]
    for at in rng.choice(digits, 40, replace=False):
        changed = f"{page[:at]}{(int(page[at]) + 1) % 10}{page[at + 1 :]}"
        monkeypatch.setattr(tracing, "page_of", lambda results, changed=changed: changed)
        print(page[at - 100 : at + 20])  # shown where the test fails
        with pytest.raises((AssertionError, KeyError)):
            tracing.Trace(main).everything()

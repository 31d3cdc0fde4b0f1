"""Small inputs in the form of files that people reported (`../shared/cases`): read as meant, or the cause is named."""

import json
import pathlib

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from cpgtaxa.cohort import Cohort
from cpgtaxa.errors import InputError
from cpgtaxa.input.ingest import ingest
from cpgtaxa.plan.config import as_written, check_config
from cpgtaxa.statistics.adjust import code_covariates
from cpgtaxa.targets.biology.lists import read_list
from cpgtaxa.targets.ecg.plan import LEADS
from cpgtaxa.targets.ecg.records import lead_of, read_record
from cpgtaxa.targets.expression.inputs import prepare
from cpgtaxa.targets.expression.plan import ExpressionPlan
from cpgtaxa.targets.single_cell.profiles import read_profile
from cpgtaxa.taxa.labels import read_labels

CASES = ROOT.parent / "shared" / "cases"
TABLES = "tables/"


def cohort_of(folder, config, out, monkeypatch):
    monkeypatch.chdir(folder)
    settings = check_config(config, ROOT / "workflow/schemas/config.schema.yaml")["cohort"]
    names = ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json", "qc.csv")
    files = [out / name for name in names]
    keys = {key: value for key, value in settings.items() if key not in ("beta", "samples", "truth")}
    ingest(settings["beta"], settings["samples"], *files, **keys)
    return Cohort(files[0]), pd.read_parquet(files[1]), json.loads(files[3].read_text())


def config_of(case):
    if case.startswith(TABLES):
        beta, _, sheet = case.removeprefix(TABLES).partition(" ")
        return CASES / "tables", {"cohort": {"beta": beta, "samples": sheet or "s12.csv"}}
    folder = next(iter(CASES.glob(f"{case}_*")), None)
    if folder is None:
        pytest.skip(f"no case {case} in {CASES}")
    path = folder / "config.yaml"
    return folder, as_written(yaml.safe_load(path.read_text()), [path])


BASE = ([50.7, 77.0, 28.6], 60)
# First ages in years, number of samples.
READ = {
    **dict.fromkeys(("C01", "C02", "C02b", "C03", "C05", "C09", "C10", "C11", "C12", "C13", "D01", "D04", "N02"), BASE),
    "T04": ([28 / 12, 31 / 12, 45 / 12], 60),
    "G01": ([8 / 12, 77.0, 28.6], 60),
    "R02": ([50, 77, 28], 60),
    "R03": ([62.613 / 52.1775, 114.7905 / 52.1775, 20.871 / 52.1775], 60),
    "F01": ([50.7, 76.9, 69.7], 20),
    "K03": ([52.6, 76.6, 54.9], 10),
    "K01": BASE,
    "D15": BASE,
    **{f"{TABLES}{name}": ([57, 38, 74], 12) for name in ("pval_interleaved.txt", "avgbeta.txt", "semicolon.csv")},
    **{f"{TABLES}{name}": ([57, 38, 74], 12) for name in ("combat.csv", "two_arrays.csv")},
    f"{TABLES}semicolon.csv sheet_comma.csv": ([30.5, 31.5, 32.5], 12),
    f"{TABLES}semicolon.csv latin.csv": ([30.5, 31.5, 32.5], 12),
}
REFUSED = {
    "C04": "1 of 60 have a unit: 'P006' (line 7): '8 months'",
    "C08": "a spreadsheet rewrote the long numbers",
    "C14": "made numbers of the ids, with a point",
    f"{TABLES}zscores.csv": "these look like z-scores or residuals",
    f"{TABLES}dup_col.csv": "1 sample more than once in the header: 'S3'",
    f"{TABLES}codes.csv": "text instead of a number: CpG 'cg00000000', sample 'S0': '-'",
    f"{TABLES}semicolon.csv case.csv": "They differ only in upper and lower case",
    f"{TABLES}sentrix.csv sentrix_only_slide.csv": "begin with those of the column 'sample_id'",
    f"{TABLES}semicolon.csv dob.csv": "These are dates: give the age at sampling",
    f"{TABLES}assays.h5": "Of R's HDF5Array: saveRDS(as.matrix(assay(se))",
}

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"the reported inputs are not at {CASES}")


@pytest.mark.parametrize("case", READ)
def test_read_as_meant(case, tmp_path, monkeypatch):
    folder, config = config_of(case)
    cohort, samples, _ = cohort_of(folder, config, tmp_path, monkeypatch)
    ages, number = READ[case]
    assert samples["age"].tolist()[:3] == pytest.approx(ages)
    assert len(samples) == number
    if number == 60:
        assert cohort.read(0, 1)[0][[0, 1, 59]].tolist() == pytest.approx([0.0519, 0.0535, 0.0511])
    if case == "K01":
        (plate,) = code_covariates(samples, config["adjust"]["covariates"])
        assert {"1E2", "100", "2E2"} <= set(plate.levels)
    if case == "D15":
        assert (read_labels(config["taxa"]["labels"], cohort.cpgs)["reason"] == "given").all()


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_cause(case, tmp_path, monkeypatch):
    folder, config = config_of(case)
    with pytest.raises(InputError) as caught:
        cohort_of(pathlib.Path(folder), config, tmp_path, monkeypatch)
    assert REFUSED[case] in caught.value.text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", ["S03", "S09", "S15"])
def test_cells_are_read_as_meant(case):
    folder, _ = config_of(case)
    frame = read_profile(min((folder / "cells").iterdir()), "cell0")
    assert len(frame) == 6021
    assert frame.head(2).values.tolist() == [["chr1", 1092, 0], ["chr1", 1190, 0]]
    assert 0.45 < frame["state"].mean() < 0.47


@pytest.mark.parametrize("case", ["S01", "S02"])
def test_counts_of_reads_without_names_are_asked_about(case):
    folder, _ = config_of(case)
    with pytest.raises(InputError, match="nothing proves what its 4 columns are"):
        read_profile(folder / "cells/cell0.tsv", "a")


@pytest.mark.parametrize("case", ["E01", "E03", "E06"])
def test_records_are_read_as_meant(case):
    folder, _ = config_of(case)
    found = read_record(folder / "records/R000.hea", {"rate": 500, "leads": [], "unit": "mV"})
    assert (found.age, found.sex, found.rate) == ("20", "M", 500)
    assert [lead_of(name) for name in found.names] == list(LEADS)
    assert found.values.any(axis=1).all()


@pytest.mark.parametrize("case", ["F06", "F07", "F11"])
def test_lists_keep_their_weights(case):
    folder, config = config_of(case)
    (path,) = (config.get("enrichment", {}).get("sets") or config["scores"]["signature"]).values()
    assert read_list("mine", folder / path, "enrichment.sets.mine").weights[:3].tolist() == [0.1, -0.1, 0.1]


@pytest.mark.parametrize(("case", "versions"), [("X01", "keep"), ("X01", "drop"), ("X08", "keep")])
def test_expression_is_read_or_the_setting_named(case, versions, tmp_path, monkeypatch):
    folder, config = config_of(case)
    monkeypatch.chdir(folder)
    config["expression"]["gene_versions"] = versions
    plan = ExpressionPlan(check_config(config, ROOT / "workflow/schemas/config.schema.yaml"))
    names = ("methylation", "cpgs", "expression", "genes", "samples", "skipped", "qc")
    out = {name: str(tmp_path / "out" / name) for name in names}
    given = plan.input_files(), out
    if (case, versions) == ("X01", "keep"):
        with pytest.raises(InputError, match=r"40 of them are there: set `expression.gene_versions: drop`"):
            prepare(*given, settings=plan.input_settings(), seed=1)
        return
    prepare(*given, settings=plan.input_settings(), seed=1)
    qc = json.loads((tmp_path / "out/qc").read_text())
    assert (qc["genes"], qc["cpgs"], qc["warnings"]) == (40, 400, [])

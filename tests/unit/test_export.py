"""The results in other people's formats, each read back by the programs it is made for."""

import gzip
import json
import pathlib
import shutil
import subprocess
import zipfile

import anndata
import h5py
import numpy as np
import openpyxl
import pandas as pd
import pytest
from cohorts import cohort_of, statistics_of
from conftest import ROOT, SHARED
from cpgtaxa.errors import InputError
from cpgtaxa.files import write_parquet
from cpgtaxa.input.positions import chromosomes, read_positions
from cpgtaxa.names import COLOURS, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.patterns.columns import CAUSES, DESCRIPTION, SHAPES
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan
from cpgtaxa.targets.export import write as e

CPGS = [*(f"cg{at:03d}" for at in range(57)), "ch.1.5R", "rs77", "NA"]
COLUMNS = {"cpg": "cpg", "chrom": "chrom", "position": "position"}


def plan_of(**changes) -> Plan:
    config = check_config({"export": changes}, ROOT / "workflow/schemas/config.schema.yaml")
    return Plan(config)


@pytest.fixture
def results(tmp_path):
    """A finished run of 60 CpGs and 40 samples: (given, positions as a frame, beta)."""
    rng = np.random.default_rng(0)
    n = len(CPGS)
    ages = rng.uniform(20, 90, 40)
    beta = np.clip(rng.normal(0.5, 0.05, (n, 40)), 0, 1).astype(np.float32)
    beta[rng.random(beta.shape) < 0.05] = np.nan
    p = rng.dirichlet(np.full(10, 0.2), n).astype(np.float32)
    p[7] = np.nan
    taxon = np.array([TAXA[at % 10] for at in range(n)], dtype=object)
    taxon[50:] = UNCLASSIFIED
    table = pd.DataFrame({"cpg": CPGS, "taxon": taxon})
    table["source"] = np.where(taxon == UNCLASSIFIED, "none", "round_0")
    table["confidence"] = p.max(axis=1)
    table["second_taxon"] = np.where(np.isnan(p[:, 0]), None, TAXA[3])
    table["boundary"] = ["trend"] * 5 + [""] * (n - 5)
    table = pd.concat([table, pd.DataFrame(p, columns=list(PROBABILITY_COLUMNS))], axis=1)
    table["criterion"], table["margin"] = "trend", np.float32(0.5)
    table["network_p"], table["disagrees"] = p.max(axis=1), np.arange(n) % 7 == 0
    statistics = statistics_of(beta, ages, cpgs=CPGS)
    left = pd.DataFrame({"cpg": CPGS[50:], "reason": "ambiguous", "taxa": "", "unlike_p": 0.5, "detail": "open: trend"})
    patterns = pd.DataFrame({name: rng.random(n) for name in DESCRIPTION}).assign(cpg=CPGS)
    patterns["shape"], patterns["cause"] = rng.choice(list(SHAPES), n), rng.choice([*CAUSES, None], n)
    patterns["spread_shape"] = rng.choice(list(SHAPES), n)
    samples = pd.DataFrame({"sample_id": [f"S{at}" for at in range(40)], "age": ages, "sex": ["F", "M"] * 20})
    samples["a/b"], samples["empty"], samples["smoker"] = range(40), None, [True, False] * 20
    given = {"beta": tmp_path / "beta.arrow"}
    for name, frame in {
        "taxonomy": table,
        "statistics": statistics,
        "patterns": patterns,
        "unclassified": left,
        "samples": samples,
    }.items():
        given[name] = tmp_path / f"{name}.parquet"
        write_parquet(given[name], frame)
    cohort_of(given["beta"], beta, CPGS, samples["sample_id"])
    places = pd.DataFrame({"cpg": CPGS[:-1][::-1]})
    places["chrom"] = [("chr1", "2", "X", "chr10")[at % 4] for at in range(len(places))]
    places["position"] = [1000 + 37 * (at * 17 % 59) for at in range(len(places))]
    given["positions"] = tmp_path / "positions.csv"
    places.to_csv(given["positions"], index=False)
    return given, places, beta


def run(given, folder, **changes) -> dict[str, pathlib.Path]:
    plan = plan_of(**{"positions": "x.csv"} | changes)
    out = {name: folder / pathlib.Path(path).name for name, path in plan.export_files().items()}
    e.export({name: str(path) for name, path in given.items()}, out, settings=plan.export_settings(), seed=7)
    return out


def test_anndata_reads_back_and_so_does_hdf5(results, tmp_path, monkeypatch):
    given, places, beta = results
    monkeypatch.setattr(e, "CHUNK", (16, 8))
    monkeypatch.setattr(e, "CPGS_AT_ONCE", 24)  # three pieces, the last of them short
    out = run(given, tmp_path / "out", beta=True)
    found = anndata.read_h5ad(out["anndata"])
    table, statistics = pd.read_parquet(given["taxonomy"]), pd.read_parquet(given["statistics"])
    assert list(found.var_names) == CPGS
    assert list(found.obs_names) == [f"S{at}" for at in range(40)]
    np.testing.assert_array_equal(found.X, beta.T)
    assert list(found.var["taxon"]) == list(table["taxon"])
    assert dict(zip(found.var["taxon"].cat.categories, found.uns["taxon_colors"], strict=True)) == COLOURS
    for name in statistics.columns[1:]:
        np.testing.assert_array_equal(found.var[name].to_numpy(), statistics[name].to_numpy())
    for name in (*PROBABILITY_COLUMNS, "confidence"):
        np.testing.assert_array_equal(found.var[name], table[name])
    patterns = pd.read_parquet(given["patterns"])
    for name in patterns.columns[1:]:
        if name in ("shape", "cause", "spread_shape"):
            assert found.var[name].astype(object).fillna("").tolist() == patterns[name].fillna("").tolist()
        else:
            np.testing.assert_array_equal(found.var[name], patterns[name])
    given_at = places.set_index("cpg")
    assert found.var.loc["cg003", "chrom"] == "chr" + given_at.loc["cg003", "chrom"].removeprefix("chr")
    assert found.var.loc["cg003", "position"] == given_at.loc["cg003", "position"]
    assert found.var["position"].isna().tolist() == [False] * 59 + [True]
    assert list(found.obs.columns) == ["age", "sex", "a_b", "empty", "smoker"]
    assert found.obs["empty"].isna().all()
    about = found.uns["cpgtaxa"]
    assert about["seed"] == 7
    rules = plan_of().rules()
    assert about["thresholds"]["spread_yes"] == rules["thresholds"]["spread"]["yes"]
    assert about["errors"] == rules["errors"]
    assert (found.var["boundary"] == "trend").sum() == 5
    assert json.loads(about["config"])["rounds"]["max"] == 3
    assert set(found.var.columns) == set(about["columns"])
    with h5py.File(out["anndata"]) as file:
        assert file["X"].chunks == (16, 8)
        codes, names = file["var/taxon/codes"][:], file["var/taxon/categories"].asstr()[:]
        assert list(names[codes]) == list(table["taxon"])
        assert list(file["var"][file["var"].attrs["_index"]].asstr()[:]) == CPGS
        assert file["obs/age"].shape == (40,)


def test_without_beta_and_positions_neither_is_made(results, tmp_path):
    given = {name: path for name, path in results[0].items() if name not in ("beta", "positions")}
    out = run(given, tmp_path / "out", positions=None, excel=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in out.values()}
    assert set(out) == {"anndata", "table", "legend", "r"}
    found = anndata.read_h5ad(out["anndata"])
    assert found.X is None
    assert "position" not in found.var
    assert "position" not in pd.read_csv(out["table"])


def test_the_same_results_give_the_same_files(results, tmp_path):
    given = results[0]
    outs = [run(given, tmp_path / name, beta=True) for name in ("one", "two")]
    for name in outs[0]:
        assert outs[0][name].read_bytes() == outs[1][name].read_bytes(), name


def test_bed_is_sorted_and_coloured_and_of_the_right_bases(results, tmp_path):
    given, places, _ = results
    out = run(given, tmp_path / "out")
    rows = [line.split("\t") for line in out["bed"].read_text().splitlines()]
    assert all(len(row) == 9 for row in rows)
    assert rows == sorted(rows, key=lambda row: (row[0].encode(), int(row[1])))
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)  # chr10 before chr2, as LC_ALL=C sort
    table, given_at = pd.read_parquet(given["taxonomy"]).set_index("cpg"), places.set_index("cpg")
    assert {row[3] for row in rows} == set(CPGS[:-1])
    for chrom, start, end, name, score, strand, thick_start, thick_end, colour in rows:
        assert chrom == "chr" + given_at.loc[name, "chrom"].removeprefix("chr")
        assert int(start) == given_at.loc[name, "position"] - 1
        assert int(end) - int(start) == (1 if name in ("ch.1.5R", "rs77") else 2)
        assert (thick_start, thick_end, strand) == (start, end, ".")
        confidence = table.loc[name, "confidence"]
        assert int(score) == (0 if np.isnan(confidence) else round(1000 * float(confidence)))
        assert "#{:02X}{:02X}{:02X}".format(*map(int, colour.split(","))) == COLOURS[table.loc[name, "taxon"]]
    first, rest = gzip.decompress(out["track"].read_bytes()).decode().split("\n", 1)
    assert first.startswith("track name=")
    assert 'itemRgb="On"' in first
    assert rest == out["bed"].read_text()
    assert out["no_position"].read_text() == "NA\n"
    cpgs = table.reset_index()[["cpg"]]
    known = cpgs.assign(
        chromosome="chr7", position=pd.array(range(50, 50 + len(cpgs)), "Int64"), gene="A;B", island="", flags="SNP"
    )
    known.to_parquet(tmp_path / "annotation.parquet", index=False)
    given = given | {"annotation": tmp_path / "annotation.parquet"}
    by_manifest = run({name: path for name, path in given.items() if name != "positions"}, tmp_path / "manifest")
    assert by_manifest["bed"].read_text().splitlines()[0].startswith("chr7\t49\t51\tcg000\t")
    assert (pd.read_csv(by_manifest["table"])["gene"] == "A;B").all()
    assert anndata.read_h5ad(by_manifest["anndata"]).var["gene"].tolist() == ["A;B"] * len(cpgs)
    zero = run(given, tmp_path / "zero", one_based=False)["bed"].read_text().splitlines()
    assert [int(line.split("\t")[1]) for line in zero] == [int(row[1]) + 1 for row in rows]


def test_workbook_and_csv_are_one_table(results, tmp_path):
    given = results[0]
    out = run(given, tmp_path / "out")
    frame = pd.read_csv(out["table"], keep_default_na=False, na_values=[""])
    book = openpyxl.load_workbook(out["excel"])
    assert book.sheetnames == ["Legend", "Taxonomy"]
    sheet = book["Taxonomy"]
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert rows[0] == list(frame.columns) == e.table_columns(pd.DataFrame(columns=["chrom", "start"]), False)
    assert sheet.freeze_panes == "B2"
    assert sheet.auto_filter.ref == f"A1:{openpyxl.utils.get_column_letter(len(rows[0]))}61"
    taken = pd.DataFrame(rows[1:], columns=rows[0])
    assert taken["cpg"].tolist() == CPGS
    for name in frame:
        if name in e.WORDS:
            assert taken[name].fillna("").tolist() == frame[name].fillna("").tolist(), name
        else:
            np.testing.assert_array_equal(taken[name].astype(float), frame[name].astype(float))
    statistics = pd.read_parquet(given["statistics"])
    for name in e.MAIN:
        np.testing.assert_allclose(frame[name], statistics[name].replace(np.inf, np.nan), rtol=5.1e-4)
    patterns = pd.read_parquet(given["patterns"])
    for name in e.CHANGES:
        if name in e.WORDS:
            assert frame[name].fillna("").tolist() == patterns[name].fillna("").tolist()
        else:
            np.testing.assert_allclose(frame[name], patterns[name], rtol=5.1e-4)
    assert frame["reason"].notna().sum() == frame["detail"].notna().sum() == 10
    assert frame["boundary"].notna().sum() == 5
    legend = pd.read_csv(out["legend"], keep_default_na=False)
    assert legend.loc[legend["part"] == "column", "name"].tolist() == rows[0]
    assert set(legend.loc[legend["part"] == "taxon", "name"]) == {*TAXA, UNCLASSIFIED}
    assert [[c.value or "" for c in row] for row in book["Legend"].iter_rows(min_row=2)] == legend.to_numpy().tolist()
    text = " ".join(legend["text"])
    assert "every criterion has an answer" in text
    assert "at most 5 %" in text
    for row in range(2, 20):
        taxon = sheet.cell(row, 4)
        assert taxon.fill.fgColor.rgb == "FF" + COLOURS[taxon.value].removeprefix("#")


def test_whose_cells_change_is_in_all_tables_where_it_is_to_be_shown(results, tmp_path):
    given, rng = results[0], np.random.default_rng(3)
    said = pd.DataFrame({"cpg": CPGS})
    for prefix in ("", "spread_"):
        said[f"{prefix}cell_type"] = rng.choice(["", "Neu", "CD4|NK", "undecided"], len(CPGS))
        said[f"{prefix}cell_type_q"] = rng.random(len(CPGS))
    rows = said.loc[said.index.repeat(2)].assign(type=["Neu", "NK"] * len(CPGS))
    write_parquet(tmp_path / "cells.parquet", rows)
    out = run(given | {"cell_types": tmp_path / "cells.parquet"}, tmp_path / "out")
    frame = pd.read_csv(out["table"], keep_default_na=False, na_values=[""])
    found = anndata.read_h5ad(out["anndata"])
    legend = pd.read_csv(out["legend"], keep_default_na=False).set_index("name")
    for name in said.columns[1:]:
        if name.endswith("_q"):
            np.testing.assert_allclose(frame[name], said[name], rtol=5.1e-4)
            np.testing.assert_array_equal(found.var[name], said[name])
        else:
            assert frame[name].fillna("").tolist() == found.var[name].tolist() == said[name].tolist()
            assert f'"{name}"' in out["r"].read_text()
        assert legend.loc[name, "text"] == found.uns["cpgtaxa"]["columns"][name] == e.COLUMNS[name]
    assert "experimental" in legend.loc["spread_cell_type", "text"]
    without = run(given, tmp_path / "without")
    assert not any("cell_type" in gzip.decompress(without[name].read_bytes()).decode() for name in ("table",))
    assert not any("cell_type" in without[name].read_text() for name in ("legend", "r"))
    assert not any("cell_type" in name for name in anndata.read_h5ad(without["anndata"]).uns["cpgtaxa"]["columns"])


def test_more_rows_than_excel_takes_are_in_the_csv_alone(results, tmp_path, monkeypatch):
    monkeypatch.setattr(e, "MOST_ROWS", 59)
    out = run(results[0], tmp_path / "out")
    book = openpyxl.load_workbook(out["excel"])
    assert book.sheetnames == ["Legend"]
    assert "60 CpGs are more rows than a sheet of Excel takes" in book["Legend"]["D2"].value
    assert len(pd.read_csv(out["table"])) == 60


def test_names_that_look_like_formulas_stay_text(results, tmp_path):
    given = results[0]
    for name in ("taxonomy", "statistics", "patterns"):
        frame = pd.read_parquet(given[name])
        frame["cpg"] = ["=1+1", *frame["cpg"][1:]]
        write_parquet(given[name], frame)
    given = {name: path for name, path in given.items() if name != "beta"}
    with zipfile.ZipFile(run(given, tmp_path / "out")["excel"]) as book:
        assert not any(b"<f>" in book.read(name) for name in book.namelist())


@pytest.mark.skipif(not shutil.which("Rscript"), reason="R is not installed")
def test_r_reads_the_results(results, tmp_path):
    out = run(results[0], tmp_path / "out")
    process = subprocess.run(
        ["Rscript", "--vanilla", out["r"]], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert process.returncode == 0, process.stderr
    assert not process.stderr
    figure = [*(tmp_path / "out").glob("taxonomy_in_R.*")]
    assert len(figure) == 1
    assert figure[0].stat().st_size > 5000
    code = (
        f"source({str(out['r'])!r}); stopifnot(identical(levels(cpgs$taxon), c({str([*TAXA, UNCLASSIFIED])[1:-1]})));"
        "write.csv(cpgs[, c('cpg', 'taxon', 'slope', 'chrom')], 'back.csv', row.names = FALSE)"
    )
    subprocess.run(["Rscript", "--vanilla", "-e", code], check=True, timeout=120, cwd=tmp_path, capture_output=True)
    back = pd.read_csv(tmp_path / "back.csv", keep_default_na=False, na_values={"slope": ["NA"]})
    table = pd.read_csv(out["table"], keep_default_na=False)
    assert back["cpg"].tolist() == CPGS  # also the CpG called NA
    assert back["taxon"].tolist() == table["taxon"].tolist()
    np.testing.assert_allclose(back["slope"], table["slope"].astype(float))


# --- positions -------------------------------------------------------------------------------------------------------


def read(tmp_path, text, **changes):
    path = tmp_path / "positions.csv"
    path.write_text(text)
    return read_positions(path, "export.positions", COLUMNS | changes, one_based=True)


def test_chromosomes_are_named_as_ucsc_does():
    given = ["1", "chr1", "Chr22", "x", "MT", "chrM", "23", "chrUn_gl000220", "GL000192.1", "0", "", "NA"]
    wanted = ["chr1", "chr1", "chr22", "chrX", "chrM", "chrM", "chrX", "chrUn_gl000220", "chrGL000192.1", "", "", ""]
    assert chromosomes(given).tolist() == wanted


def test_rows_without_a_position_are_left_out_and_the_same_row_twice_is_one(tmp_path):
    text = "cpg,chrom,position\na,1,10\nb,0,0\nc,,\nd,2,NA\na,chr1,10\ne,MT,5\n"
    found, assembly = read(tmp_path, text)
    assert found.to_numpy().tolist() == [["a", "chr1", 9], ["e", "chrM", 4]]
    assert assembly is None


def test_the_assembly_is_known_by_the_ends_of_chromosomes(tmp_path):
    head = "cpg,chrom,position\n"
    assert read(tmp_path, f"{head}a,1,249250621\n")[1] == "hg19"
    assert read(tmp_path, f"{head}a,17,83000000\n")[1] == "hg38"


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    text = "cpg,chrom,position\na,1,ten\nb,1,0\nc,1,5.5\nd,1,7\nd,1,9\ne,21,99000000\n,3,4\nf,1 p,4\n"
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    reported = caught.value.text()
    for wanted in (
        "line 2: 'ten' is no position (3 such rows)",
        "1 CpGs more than one position: 'd' (line 6)",
        "1 of hg19, such as e at chr21:99,000,000 (line 7)",
        "line 8: a row without a CpG's name",
        "line 9: '1 p' is no chromosome",
    ):
        assert wanted in reported
    with pytest.raises(InputError, match="needs the columns cpg and CHR and position"):
        read(tmp_path, text, chrom="CHR")
    with pytest.raises(InputError, match="gives no CpG a position"):
        read(tmp_path, "cpg,chrom,position\na,0,0\n")


def test_positions_of_another_array_are_named_and_nothing_is_written(results, tmp_path):
    given = results[0]
    given["positions"].write_text("cpg,chrom,position\ncg999_TC21,1,10\n")
    with pytest.raises(InputError, match="share no CpG: 'cg999_TC21' against 'cg000', 'cg001', 'cg002'"):
        run(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_table_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"export.positions: x.csv is not there \(looked in .*\); correct it"):
        plan_of(positions="x.csv").export_input()


def test_real_positions_place_real_cpgs():
    path = SHARED / "expression/probe_positions_hg19.csv.gz"
    if not path.is_file():
        pytest.skip("no real data here: ../shared/data is absent")
    columns = {"cpg": "cpg", "chrom": "chrom", "position": "pos_hg19"}
    found, assembly = read_positions(path, "export.positions", columns, one_based=True)
    assert len(found) == 1013
    assert assembly in (None, "hg19")
    assert found["chrom"].str.fullmatch(r"chr(\d+|X|Y)").all()

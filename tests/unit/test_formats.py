"""Matrices and sheets in the formats people have: R, AnnData, NumPy, Arrow; either way round."""

import contextlib
import gzip
import json
import pathlib
import shutil
import subprocess
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow.feather
import pytest
import scipy.sparse
import yaml
from conftest import ROOT, SHARED
from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError
from cpgtaxa.input import matrices_array, matrices_h5ad, r_files, transposed
from cpgtaxa.input.ingest import ingest
from cpgtaxa.input.opening import open_matrix
from cpgtaxa.input.tables import read_sheet_frame
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan

CPGS, SAMPLES = [f"cg{number:02}" for number in range(30)], [f"s{number}" for number in range(12)]
VALUES = np.random.default_rng(5).beta(2, 3, (30, 12)).round(4)
VALUES[3, 4] = np.nan
FRAME = pd.DataFrame(VALUES, index=CPGS, columns=SAMPLES)
SHEET = pd.DataFrame(
    {
        "sample_id": SAMPLES,
        "age": [20.5 + 5 * number for number in range(12)],
        "sex": pd.Categorical(["F", "M"] * 6),
        "batch": [1.0, np.nan, 3.0] * 4,
    }
)
COLUMNS = {"sample_id": "sample_id", "age": "age", "sex": "sex"}
TEXTS = np.array(CPGS), np.array(SAMPLES)


def run(folder, beta, samples, columns=COLUMNS, **options) -> tuple[Cohort, dict]:
    out = [folder / "out" / name for name in ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json")]
    ingest(beta, samples, *out, columns=columns, **options)
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(path.name for path in out)
    return Cohort(out[0]), json.loads(out[3].read_text())


def sheet_csv(folder) -> pathlib.Path:
    SHEET.to_csv(folder / "samples.csv", index=False)
    return folder / "samples.csv"


def check(folder, beta, samples=None, turned=False, **options):
    """What is ingested is what was written."""
    cohort, qc = run(folder, beta, samples or sheet_csv(folder), **options)
    assert list(cohort.cpgs) == CPGS
    np.testing.assert_array_equal(cohort.read(0, 30), VALUES.astype(np.float32))
    assert any("read as samples x CpGs: 12 of the sheet's 12" in text for text in qc["warnings"]) == turned
    table = read_samples(folder / "out/samples.parquet")
    assert table["age"].tolist() == SHEET["age"].tolist()
    assert table["batch"].tolist()[::3] == [1.0] * 4


def problem(folder, beta, *words, samples=None, **options):
    with pytest.raises(InputError) as caught:
        run(folder, beta, samples or sheet_csv(folder), **options)
    for word in words:
        assert word in str(caught.value)
    assert not any(folder.glob("out/*"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module in (matrices_array, transposed):
        monkeypatch.setattr(module, "BLOCK_BYTES", 7 * 4 * 12)
    monkeypatch.setattr(transposed, "GIVEN_BYTES", 3 * 4 * 12)
    monkeypatch.setattr(r_files, "PIECE", 1 << 15)


# --- R ---------------------------------------------------------------------------------------------------------------

R = """
beta <- as.matrix(read.csv("beta.csv", row.names = 1))
sheet <- read.csv("sheet.csv", stringsAsFactors = TRUE)
sheet$sample_id <- as.character(sheet$sample_id)
saveRDS(beta, "matrix.rds"); saveRDS(beta, "xz.rds", compress = "xz"); saveRDS(beta, "bz2.rds", compress = "bzip2")
saveRDS(beta, "plain.rds", compress = FALSE); saveRDS(beta, "version2.rds", version = 2)
saveRDS(t(beta), "turned.rds"); saveRDS(as.data.frame(beta), "frame.rds")
saveRDS(as.data.frame(t(beta)), "turned_frame.rds")
saveRDS(cbind(cpg = rownames(beta), data.frame(beta, row.names = NULL)), "first_column.rds")
other <- beta / 2
save(beta, sheet, file = "both.RData"); save(beta, other, sheet, file = "several.RData")
myLoad <- list(beta = beta, pd = sheet); save(myLoad, file = "champ.RData")
saveRDS(sheet, "sheet.rds")
rows <- sheet[-1]; rownames(rows) <- sheet$sample_id; rows$day <- as.Date("2020-02-29") + 0:11
rows$exact <- 45.1 + 0:11; rows$ill <- c(TRUE, FALSE, NA); saveRDS(rows, "row_names.rds")
saveRDS(unname(beta), "no_names.rds"); saveRDS(matrix(as.character(beta), 30, dimnames = dimnames(beta)), "text.rds")
saveRDS(matrix(c(0L, 1L, NA), 30, 12, dimnames = dimnames(beta)), "integer.rds")
setClass("GenomicRatioSet", representation(assays = "list")); gr <- new("GenomicRatioSet", assays = list(beta))
saveRDS(gr, "s4.rds"); save(gr, file = "s4.RData"); saveRDS(beta, "ascii.rds", ascii = TRUE)
saveRDS(function(x) x, "function.rds")
factors <- as.data.frame(beta); factors$s3 <- factor(factors$s3); factors$s4 <- as.character(factors$s4)
saveRDS(factors, "factors.rds")
for (x in c('s3', 's4')) factors[[x]] <- as.numeric(as.character(factors[[x]])); saveRDS(factors, "as_advised.rds")
big <- matrix(runif(70000 * 2), 70000, 2, dimnames = list(paste0("cg", 1:70000), c("a", "b")))
saveRDS(big, "big.rds"); writeBin(as.vector(big), "big.bin")
"""


@pytest.fixture(scope="module")
def written_by_r(tmp_path_factory):
    """Files written by R itself."""
    if shutil.which("Rscript") is None:
        pytest.skip("no R here: its files cannot be written")
    folder = tmp_path_factory.mktemp("r")
    FRAME.to_csv(folder / "beta.csv", na_rep="NA")
    SHEET.to_csv(folder / "sheet.csv", index=False, na_rep="NA")
    done = subprocess.run(["Rscript", "-e", R], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "name",
    ["matrix", "xz", "bz2", "plain", "version2", "turned", "frame", "turned_frame", "first_column", "as_advised"],
)
def test_rds_of_every_kind(tmp_path, written_by_r, name):
    check(tmp_path, written_by_r / f"{name}.rds", turned=name.startswith("turned"))


def test_workspaces_and_lists(tmp_path, written_by_r):
    both = written_by_r / "both.RData"
    check(tmp_path, both, both)
    several = written_by_r / "several.RData"
    check(tmp_path / "a", several, both, object="beta")
    check(tmp_path / "b", written_by_r / "champ.RData", written_by_r / "champ.RData", object="myLoad$beta")
    problem(
        tmp_path / "c", several, "'beta: matrix 30 x 12', 'other: matrix", "Name one in `cohort.object`", samples=both
    )
    problem(tmp_path / "c", several, "no object 'gamma'", "'sheet: data frame 12 x 4'", samples=both, object="gamma")


def test_sheets_from_r(tmp_path, written_by_r, monkeypatch):
    check(tmp_path, written_by_r / "matrix.rds", written_by_r / "sheet.rds")
    monkeypatch.setattr(r_files, "LARGE", 0)
    frame = read_sheet_frame(written_by_r / "row_names.rds", "cohort.samples")
    assert frame["exact"].tolist()[:2] == ["45.1", "46.1"]
    assert frame["row_names"].tolist() == SAMPLES
    assert frame["sex"].tolist() == ["F", "M"] * 6
    assert frame["batch"].tolist() == ["1", "", "3"] * 4
    assert frame["age"].tolist()[:2] == ["20.5", "25.5"]
    assert frame["day"].tolist()[:2] == ["2020-02-29", "2020-03-01"]
    assert frame["ill"].tolist() == ["TRUE", "FALSE", ""] * 4
    columns = {"sample_id": "row_names", "age": "age", "sex": "sex"}
    run(tmp_path / "a", written_by_r / "matrix.rds", written_by_r / "row_names.rds", columns)
    assert read_samples(tmp_path / "a/out/samples.parquet")["sample_id"].tolist() == SAMPLES


def test_numbers_of_r_in_blocks(written_by_r):
    """Vectors long enough to be read piece by piece; whole numbers, and NA among them."""
    matrix = open_matrix(written_by_r / "big.rds")
    given = np.fromfile(written_by_r / "big.bin").reshape(2, 70000).T.astype(np.float32)
    np.testing.assert_array_equal(np.concatenate([block for _, block in matrix.batches([0, 1])]), given)
    np.testing.assert_array_equal(np.concatenate([block for _, block in matrix.batches([1])]), given[:, 1:])
    _, block = next(open_matrix(written_by_r / "integer.rds").batches(list(range(12))))
    np.testing.assert_array_equal(block[:3, 0], [0, 1, np.nan])


@pytest.mark.parametrize(
    ("name", "words"),
    {
        "no_names.rds": ["no row names and no column names", "rownames(beta) <- cpgs"],
        "text.rds": ["a matrix of text", "storage.mode(beta)"],
        "s4.rds": ["holds an S4 object", 'saveRDS(as.matrix(minfi::getBeta(object)), "beta.rds")'],
        "s4.RData": ["'gr' is a GenomicRatioSet object", "minfi::getBeta"],
        "ascii.rds": ["seldom used format", "saveRDS(object, file)"],
        "function.rds": ["nothing that may be the matrix", "function"],
        "factors.rds": ["for (x in c('s3', 's4')) frame[[x]] <- as.numeric(as.character(frame[[x]]))"],
        "sheet.rds": ["1 columns of the data frame hold no numbers: 'sex'", "sapply(frame, is.numeric)"],
    }.items(),
)
def test_what_r_wrote_and_is_no_matrix(tmp_path, written_by_r, name, words):
    problem(tmp_path, written_by_r / name, *words)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("name", ["matrix.rds", "xz.rds", "bz2.rds", "plain.rds", "both.RData"])
def test_r_files_cut_off(tmp_path, written_by_r, name, share):
    data = (written_by_r / name).read_bytes()
    (tmp_path / name).write_bytes(data[: max(int(len(data) * share), 20)])
    problem(tmp_path, tmp_path / name, f"{name} is ")


def test_r_files_with_a_byte_spoilt(tmp_path, written_by_r):
    """Whatever it makes of the file, it ends in a matrix or in a message."""
    data = bytearray((written_by_r / "plain.rds").read_bytes())
    for place in range(14, 60):
        spoilt = data.copy()
        spoilt[place] ^= 0xFF
        (tmp_path / "spoilt.rds").write_bytes(spoilt)
        with contextlib.suppress(InputError):
            open_matrix(tmp_path / "spoilt.rds")


def test_r_files_too_large_for_memory(tmp_path, written_by_r, monkeypatch):
    monkeypatch.setattr(r_files, "free_memory", lambda: 5e5)
    problem(tmp_path, written_by_r / "big.rds", "does not fit into memory", "0.0 GB are free", "data.table::fwrite")


# --- AnnData ---------------------------------------------------------------------------------------------------------


def h5ad(path, x=VALUES.T, rows=SAMPLES, columns=CPGS, layers=None, **options):
    """A file as anndata writes it, which under pandas 3 needs texts as objects."""
    with warnings.catch_warnings(), pd.option_context("future.infer_string", False):
        warnings.simplefilter("ignore")
        obs, var = (pd.DataFrame(index=pd.Index(names, dtype=object)) for names in (rows, columns))
        if rows == SAMPLES:
            obs = SHEET.astype({"sample_id": object, "sex": object}).set_index(obs.index)
        anndata.AnnData(x, obs, var, layers=layers).write_h5ad(path, **options)
    return path


@pytest.mark.parametrize(
    "kind", ["dense", "float32", "compressed", "csr", "csc", "turned", "turned_csc", "wide_chunks"]
)
def test_h5ad(tmp_path, kind, monkeypatch):
    path = tmp_path / "cohort.h5ad"
    if kind.startswith("turned"):
        x = scipy.sparse.csc_matrix(VALUES) if kind == "turned_csc" else VALUES
        h5ad(path, x, CPGS, SAMPLES)
        check(tmp_path, path, turned=True)
        return
    if kind == "wide_chunks":
        monkeypatch.setattr(matrices_h5ad, "WIDEST", 1)
    x = {
        "float32": VALUES.T.astype(np.float32),
        "csr": scipy.sparse.csr_matrix(VALUES.T),
        "csc": scipy.sparse.csc_matrix(VALUES.T),
    }.get(kind, VALUES.T)
    h5ad(path, x, compression="gzip" if kind in ("compressed", "wide_chunks") else None)
    check(tmp_path, path, path)


def test_h5ad_layers_and_what_is_wrong(tmp_path):
    path = h5ad(tmp_path / "layers.h5ad", VALUES.T * 10, layers={"beta": VALUES.T})
    check(tmp_path / "a", path, path, object="beta")
    tmp_path = tmp_path / "b"
    problem(tmp_path, path, "no layer 'm'", "it holds X, beta", samples=path, object="m")
    problem(tmp_path, path, "lie outside 0-1", samples=path)
    tmp_path.mkdir(exist_ok=True)
    data = path.read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(data[: len(data) // 2])
    problem(tmp_path, tmp_path / "cut.h5ad", "damaged or cut off", samples=path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["betas"] = VALUES
    problem(tmp_path, tmp_path / "other.h5", "not AnnData", "write_h5ad", samples=path)


# --- NumPy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save, fortran):
    values = np.asfortranarray(VALUES) if fortran else VALUES
    save(tmp_path / "a.npz", beta=values, index=TEXTS[0], columns=TEXTS[1])
    check(tmp_path / "1", tmp_path / "a.npz", sheet_csv(tmp_path))
    save(tmp_path / "b.npz", values.T, *TEXTS)  # arr_0, arr_1, arr_2: known by the sheet
    check(tmp_path / "2", tmp_path / "b.npz", sheet_csv(tmp_path), turned=True)
    save(tmp_path / "c.npz", x=values.T, m=values, cpgs=TEXTS[0], samples=TEXTS[1].astype("S"))
    check(tmp_path / "3", tmp_path / "c.npz", sheet_csv(tmp_path), object="x")
    problem(tmp_path, tmp_path / "c.npz", "2 matrices of numbers", "'x 12x30", "Name one in `cohort.object`")


@pytest.mark.parametrize("fortran", [False, True])
def test_npy_with_its_index(tmp_path, fortran):
    np.save(tmp_path / "a.npy", np.asfortranarray(VALUES) if fortran else VALUES)
    np.save(tmp_path / "b.npy", VALUES.T)
    (tmp_path / "cpgs.txt").write_text("\n".join(["cpg", *CPGS, ""]))
    (tmp_path / "samples.txt").write_text("\n".join(SAMPLES))
    index = {"cpgs": tmp_path / "cpgs.txt", "samples": tmp_path / "samples.txt"}
    check(tmp_path / "1", tmp_path / "a.npy", sheet_csv(tmp_path), index=index)
    check(tmp_path / "2", tmp_path / "b.npy", sheet_csv(tmp_path), index=index)
    exchanged = {"cpgs": index["samples"], "samples": index["cpgs"]}
    check(tmp_path / "3", tmp_path / "a.npy", sheet_csv(tmp_path), turned=True, index=exchanged)
    problem(tmp_path, tmp_path / "a.npy", "without ids", "`cohort.index: {cpgs: file, samples: file}`")
    (tmp_path / "samples.txt").write_text("\n".join(SAMPLES[:9]))
    problem(tmp_path, tmp_path / "a.npy", "samples.txt", "holds 9 ids", "12 columns", index=index)
    problem(tmp_path, sheet_csv(tmp_path), "is no .npy", "leave `cohort.index` out", index=index)


def test_archives_with_a_byte_spoilt(tmp_path):
    """zipfile, zlib and NumPy's header each raise errors of their own."""
    np.savez_compressed(tmp_path / "good.npz", beta=VALUES, cpgs=np.array(CPGS), samples=np.array(SAMPLES))
    good, samples, refused = (tmp_path / "good.npz").read_bytes(), sheet_csv(tmp_path), 0
    for at in range(0, len(good), len(good) // 80):
        (tmp_path / "bad.npz").write_bytes(good[:at] + bytes([good[at] ^ 0x5A]) + good[at + 1 :])
        try:
            run(tmp_path, tmp_path / "bad.npz", samples)
        except InputError:
            refused += 1
    assert refused > 40


def test_h5ad_with_a_spoilt_directory(tmp_path):
    h5ad(tmp_path / "good.h5ad")
    good = (tmp_path / "good.h5ad").read_bytes()
    (tmp_path / "bad.h5ad").write_bytes(good.replace(b"SNOD", b"SN0D"))
    problem(tmp_path, tmp_path / "bad.h5ad", "bad.h5ad is damaged or cut off")


def test_h5ad_in_whose_texts_the_library_turns_forever(tmp_path, monkeypatch):
    path = h5ad(tmp_path / "beta.h5ad")
    data = bytearray(path.read_bytes())
    heap = data.find(b"GCOL")
    data[heap + 24 : heap + 32] = (2**64 - 16).to_bytes(8, "little")  # the size of its first text
    path.write_bytes(data)
    monkeypatch.setattr(matrices_h5ad, "_SECONDS", 1)
    problem(tmp_path, path, "beta.h5ad is damaged (the HDF5 library does not get to its end): copy it again")


def test_numpy_files_that_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", VALUES.astype(object))
    index = {"cpgs": sheet_csv(tmp_path), "samples": sheet_csv(tmp_path)}
    problem(tmp_path, tmp_path / "objects.npy", "holds Python objects", "np.save(file", index=index)
    np.savez(tmp_path / "objects.npz", beta=VALUES, index=FRAME.index.to_numpy(object), columns=TEXTS[1])
    problem(tmp_path, tmp_path / "objects.npz", "'index' hold Python objects", "np.array(cpgs, dtype=str)")
    np.savez(tmp_path / "none.npz", beta=VALUES)
    problem(tmp_path, tmp_path / "none.npz", "is unclear", "Call the lists of ids `cpgs` and `samples`")
    np.savez(tmp_path / "square.npz", beta=VALUES[:12], a=TEXTS[0][:12], b=TEXTS[1])
    problem(tmp_path, tmp_path / "square.npz", "'a' and 'b' fit both axes", "call them `cpgs` and `samples`")
    np.save(tmp_path / "cube.npy", np.zeros((2, 3, 4)))
    problem(tmp_path, tmp_path / "cube.npy", "is no matrix of numbers, but 2 x 3 x 4", index=index)
    for name, save in (("cut.npy", np.save), ("cut.npz", lambda path, x: np.savez(path, x=x))):
        save(tmp_path / name, VALUES)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        problem(tmp_path, tmp_path / name, "damaged or cut off", index=index if name.endswith("y") else None)
    np.savez(tmp_path / "spoilt.npz", beta=VALUES, cpgs=TEXTS[0], samples=TEXTS[1])
    data = bytearray((tmp_path / "spoilt.npz").read_bytes())
    data[data.index(VALUES.tobytes()) + 99] ^= 0xFF
    (tmp_path / "spoilt.npz").write_bytes(data)
    problem(tmp_path, tmp_path / "spoilt.npz", "damaged or cut off", "CRC-32")


# --- text and Arrow the other way round, sheets ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "csv.bz2", "csv.zst", "semicolon", "parquet", "feather", "quoted"])
def test_turned_text_and_arrow(tmp_path, kind):
    path, frame = tmp_path / f"beta.{kind}", FRAME.T.rename_axis("sample")
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "feather":
        frame.reset_index().to_feather(path)
    elif kind == "csv.zst":
        with pyarrow.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(frame.to_csv(na_rep="NA").encode())
    else:
        frame.to_csv(path, na_rep="N/A" if kind == "quoted" else "NA", sep=";" if kind == "semicolon" else ",")
    check(tmp_path, path, turned=True)


@pytest.mark.parametrize("kind", ["csv.bz2", "csv.zst"])
def test_packed_text(tmp_path, kind):
    with pyarrow.CompressedOutputStream(str(tmp_path / "beta"), "zstd" if kind.endswith("zst") else "bz2") as stream:
        stream.write(FRAME.to_csv(na_rep="NA").encode())
    check(tmp_path, tmp_path / "beta")


def test_a_turned_matrix_that_is_damaged(tmp_path):
    data = gzip.compress(pd.concat([FRAME.T] * 50).to_csv().encode())
    (tmp_path / "beta.csv.gz").write_bytes(data[: len(data) // 2])
    problem(tmp_path, tmp_path / "beta.csv.gz", "damaged or cut off")


def test_turning_needs_room(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 100))
    FRAME.T.to_csv(tmp_path / "beta.csv")
    problem(tmp_path, tmp_path / "beta.csv", "is too small: turning a matrix of samples x CpGs round takes about")


def test_sheets_from_arrow(tmp_path):
    SHEET.to_parquet(tmp_path / "a.parquet")
    SHEET.set_index("sample_id").to_parquet(tmp_path / "b.parquet")
    SHEET.to_feather(tmp_path / "c.feather")
    FRAME.to_csv(tmp_path / "beta.csv", na_rep="NA")
    for number, name in enumerate(("a.parquet", "b.parquet", "c.feather")):
        check(tmp_path / str(number), tmp_path / "beta.csv", tmp_path / name)
    assert read_sheet_frame(sheet_csv(tmp_path), "cohort.samples") is None
    SHEET.set_index(pd.Index(SAMPLES)).to_parquet(tmp_path / "d.parquet")
    frame = read_sheet_frame(tmp_path / "d.parquet", "cohort.samples")
    assert frame["row_names"].tolist() == SAMPLES
    assert frame["batch"].tolist()[:3] == ["1", "", "3"]
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[:-30])
    problem(tmp_path, tmp_path / "beta.csv", "a.parquet is damaged or cut off", samples=tmp_path / "a.parquet")


def test_index_files_are_inputs_and_must_be_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schema = ROOT / "workflow/schemas/config.schema.yaml"
    given = {"cohort": {"beta": "b.npy", "samples": "s.csv", "index": {"cpgs": "c.txt", "samples": "i.txt"}}}
    plan = Plan(check_config(given, schema))
    with pytest.raises(InputError) as caught:
        plan.cohort_input()
    assert len(caught.value.problems) == 4
    assert "cohort.index.cpgs: c.txt is not there" in str(caught.value)
    for name in ("b.npy", "s.csv", "c.txt", "i.txt"):
        (tmp_path / name).write_text("x")
    assert plan.cohort_input() == {"beta": "b.npy", "samples": "s.csv", "lists": ["c.txt", "i.txt"]}
    assert {"object", "index"} <= set(plan.cohort_settings())
    assert set(plan.cohort_states(None)) == {"beta", "samples", "index.cpgs", "index.samples"}
    assert plan.cohort_mem_mb() == 4000
    (tmp_path / "b.RData").write_bytes(bytes(3_000_000))
    assert Plan(check_config({"cohort": {"beta": "b.RData"}}, schema)).cohort_mem_mb() == 4006
    with pytest.raises(InputError, match=r"cohort\.index\.samples"):
        check_config(yaml.safe_load("cohort: {index: {cpgs: c.txt}}"), schema)


def test_real_betas_from_r(tmp_path, shared, written_by_r):
    """GSE40279 by way of R, beside the text it came from."""
    folder = SHARED / "methylation"
    code = (
        f'b <- as.matrix(read.csv("{folder}/gse40279_beta.csv.gz", row.names = 1, check.names = FALSE)); '
        f'p <- read.csv("{folder}/gse40279_samples.csv.gz"); saveRDS(t(b), "b.rds"); save(p, file = "p.RData")'
    )
    subprocess.run(["Rscript", "-e", code], cwd=tmp_path, check=True)
    columns = {"sample_id": "sample", "age": "age", "sex": "sex"}
    one, qc = run(tmp_path / "a", tmp_path / "b.rds", tmp_path / "p.RData", columns)
    two, _ = run(tmp_path / "b", folder / "gse40279_beta.csv.gz", folder / "gse40279_samples.csv.gz", columns)
    assert "read as samples x CpGs: 656" in str(qc["warnings"])
    np.testing.assert_array_equal(one.read(0, len(one.cpgs)), two.read(0, len(two.cpgs)))
    pd.testing.assert_frame_equal(*(read_samples(tmp_path / name / "out/samples.parquet") for name in "ab"))


def test_all_at_once_as_people_bring_it(tmp_path, shared):
    """Real betas as M-values with EPICv2's ids in a workspace of R's, ages in months under names of another hand."""
    if not shutil.which("Rscript"):
        pytest.skip("no Rscript here")
    folder = shared / "methylation"
    script = f"""
    beta <- as.matrix(read.csv(gzfile("{folder}/gse40279_beta.csv.gz"), row.names = 1, check.names = FALSE))
    pheno <- read.csv(gzfile("{folder}/gse40279_samples.csv.gz"))
    values <- log2(beta / (1 - beta)); rownames(values) <- paste0(rownames(values), "_TC21")
    pheno <- data.frame(geo_accession = pheno$sample, "Age (months)" = 12 * pheno$age, gender = pheno$sex,
                        check.names = FALSE)
    save(values, pheno, file = "{tmp_path}/cohort.RData")
    """
    subprocess.run(["Rscript", "-e", script], check=True, capture_output=True)
    cohort, qc = run(tmp_path, tmp_path / "cohort.RData", tmp_path / "cohort.RData", columns={})
    given = pd.read_csv(folder / "gse40279_beta.csv.gz", index_col=0)
    np.testing.assert_allclose(cohort.read(0, len(given)), given.loc[list(cohort.cpgs), cohort.sample_ids], atol=1e-6)
    ages = pd.read_csv(folder / "gse40279_samples.csv.gz", index_col="sample")["age"]
    np.testing.assert_allclose(read_samples(tmp_path / "out/samples.parquet")["age"], ages[cohort.sample_ids])
    assert (qc["values"], qc["array"]["with_suffix"]) == ("m", 418)
    assert qc["columns"] == {"sample_id": "geo_accession", "sex": "gender", "age": "Age (months)", "age_unit": "months"}


def test_formats_that_are_not_read_come_with_the_line_of_r(tmp_path):
    path = tmp_path / "file"
    with h5py.File(path, "w") as file:
        file["matrix"] = VALUES
        file["row_attrs/cpg"], file["col_attrs/CellID"] = np.array(CPGS, dtype="S"), np.array(SAMPLES, dtype="S")
    problem(
        tmp_path,
        path,
        "a loom file",
        "(of 'cpg')",
        "(of 'CellID')",
        "makeSummarizedExperimentFromLoom(",
        "as.matrix(assay(se))",
    )
    path.write_bytes(b"COREARRAYx0A" + bytes(90))
    problem(
        tmp_path, path, "a GDS file. In R: library(bigmelon)", "dimnames(beta) <- list(rownames(gds), colnames(gds))"
    )
    path.unlink()
    path.mkdir()
    (path / "se.rds").touch()
    problem(tmp_path, path, "loadHDF5SummarizedExperiment", "saveRDS(as.matrix(SummarizedExperiment::assay(se))")

"""Noise and signature scores: against an independent program in R, with missing values, references and bad files."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from branches import Page, kept_from
from cohorts import cohort_of
from conftest import ROOT
from cpgtaxa.cohort import Cohort
from cpgtaxa.errors import InputError
from cpgtaxa.files import write_parquet
from cpgtaxa.targets.biology import scores

R_PROGRAM = """
a <- commandArgs(TRUE)
beta <- as.matrix(read.csv(a[1], row.names = 1, check.names = FALSE))
cells <- as.matrix(read.csv(a[2], row.names = 1))
weights <- read.csv(a[3])
x <- beta[weights$cpg, ]
noise <- apply(abs(sweep(x, 1, apply(x, 1, mean))), 2, mean)
left <- t(apply(x, 1, function(y) residuals(lm(y ~ cells))))
adjusted <- apply(abs(left - apply(left, 1, mean)), 2, mean)
z <- t(scale(t(x)))
signature <- apply(z, 2, function(column) cor(column, sign(weights$weight)))
write.csv(data.frame(noise, adjusted, signature), a[4], row.names = FALSE)
"""


def made(folder, values, cpgs=None, ages=None):
    """Inputs of `write` for a cohort of values (CpGs, samples)."""
    cpgs = cpgs or [f"cg{at:03d}" for at in range(len(values))]
    ids = [f"S{at}" for at in range(values.shape[1])]
    cohort_of(folder, values, cpgs)
    ages = np.linspace(20, 90, len(ids)) if ages is None else ages
    write_parquet(folder / "samples.parquet", pd.DataFrame({"sample_id": ids, "age": ages}))
    return {"beta": folder / "beta.arrow", "samples": folder / "samples.parquet", "noise": [], "signature": []}


def betas(cpgs=60, samples=80, seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.dirichlet([6, 3, 1], samples)
    values = rng.uniform(0.4, 0.6, (cpgs, 1)) + rng.uniform(-0.3, 0.3, (cpgs, 3)) @ cells.T
    return np.clip(values + 0.02 * rng.normal(size=(cpgs, samples)), 0, 1).astype(np.float32), cells


def outputs(folder):
    names = {"scores": "scores.csv", "summary": "summary.csv", "reference": "reference.csv.gz", "html": "report.html"}
    return {key: folder / "out" / name for key, name in names.items()} | {"figures": folder / "out" / "figures"}


def run(folder, inputs, **changes):
    settings = {"min_cpgs": 5, "names": {"noise": [], "signature": []}, "taxa": []} | changes
    out = outputs(folder)
    scores.write(inputs, out, settings=settings)
    return pd.read_csv(out["scores"]), pd.read_csv(out["summary"]), out


def listed(folder, cpgs, weights, name="list.csv"):
    pd.DataFrame({"cpg": cpgs, "weight": weights}).to_csv(folder / name, index=False)
    return folder / name


NAMES = {"noise": ["mine"], "signature": ["mine"]}


@pytest.mark.skipif(not shutil.which("Rscript"), reason="no R here to compare with")
def test_scores_are_those_of_an_independent_program_in_r(tmp_path):
    values, cells = betas()
    inputs = made(tmp_path, values)
    cpgs = [f"cg{at:03d}" for at in range(10, 50)]
    weights = np.random.default_rng(1).normal(size=40)
    inputs["noise"] = inputs["signature"] = [listed(tmp_path, cpgs, weights)]
    fractions = pd.DataFrame(cells, columns=["CD4T", "Mono", "B"], index=[f"S{at}" for at in range(80)])
    fractions.iloc[::-1].to_csv(tmp_path / "cells.csv", index_label="sample_id")
    frame, summary, _ = run(tmp_path, inputs | {"cell_fractions": tmp_path / "cells.csv"}, names=NAMES)
    names = pd.Index([f"cg{at:03d}" for at in range(60)], name="cpg")
    pd.DataFrame(values.astype(float), index=names, columns=fractions.index).to_csv(tmp_path / "beta.csv")
    fractions.to_csv(tmp_path / "cells_in_order.csv")
    (tmp_path / "scores.R").write_text(R_PROGRAM)
    paths = [tmp_path / name for name in ("scores.R", "beta.csv", "cells_in_order.csv", "list.csv", "r.csv")]
    subprocess.run(["Rscript", *paths], check=True, capture_output=True)
    predicted = pd.read_csv(tmp_path / "r.csv")
    for ours, theirs in (("noise_mine", "noise"), ("noise_mine_adjusted", "adjusted"),
                         ("signature_mine", "signature")):  # fmt: skip
        np.testing.assert_allclose(frame[ours], predicted[theirs], rtol=1e-4, atol=1e-6)
    assert frame["noise_mine_adjusted"].mean() < 0.8 * frame["noise_mine"].mean()
    assert list(summary["cpgs_used"]) == [40, 40, 40]
    r = np.corrcoef(frame["noise_mine"], frame["age"])[0, 1]
    assert summary["r_age"][0] == pytest.approx(r, abs=1e-5)
    assert summary["ci_low"][0] < r < summary["ci_high"][0]


def test_missing_values_are_left_out_and_blocks_change_nothing(tmp_path, monkeypatch):
    values, cells = betas()
    rng = np.random.default_rng(2)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[5] = 0.5
    inputs = made(tmp_path, values)
    cohort, weights = Cohort(inputs["beta"]), rng.normal(size=60)
    index = pd.Index(cohort.cpgs)

    def wanted():
        return [scores.Wanted("noise", "n", cohort.cpgs, None, index),
                scores.Wanted("signature", "s", cohort.cpgs, weights, index)]  # fmt: skip

    whole, table = scores.score(cohort, wanted(), cells, ["a", "b", "c"])
    monkeypatch.setattr(scores, "CHUNK_BYTES", 8 * 80 * 7)
    pieces, same = scores.score(cohort, wanted(), cells, ["a", "b", "c"])
    pd.testing.assert_frame_equal(table, same)
    frame = pd.DataFrame(values.astype(float))
    z = frame.sub(frame.mean(axis=1), axis=0).div(frame.std(axis=1), axis=0).drop(index=5)
    expected = {
        "noise_n": frame.sub(frame.mean(axis=1), axis=0).abs().mean(),
        "signature_s": z.corrwith(pd.Series(np.sign(weights)).drop(5)),
    }
    design = np.column_stack([np.ones(80), cells[:, :2]])
    left = np.full(values.shape, np.nan)
    for row, y in enumerate(values.astype(float)):
        known = np.isfinite(y)
        left[row, known] = y[known] - design[known] @ np.linalg.lstsq(design[known], y[known], rcond=None)[0]
    expected["noise_n_adjusted"] = np.nanmean(np.abs(left), axis=0)
    for name, values_of in whole.items():
        np.testing.assert_allclose(values_of, pieces[name], rtol=1e-9)
        np.testing.assert_allclose(values_of, expected[name], rtol=1e-5, atol=1e-7)


def test_columns_that_are_no_cell_types_are_left_out_or_reported(tmp_path):
    frame = pd.DataFrame({"sample_id": ["a", "b"], "CD4": [0.2, 0.3], "B": [0.1, 0.2], "residual": 0.01, "n_cpgs": 500})
    frame.insert(0, "row_names", ["1", "2"])
    frame.to_csv(tmp_path / "cells.csv", index=False)
    values, types, notes = scores.read_fractions(tmp_path / "cells.csv", ["a", "b"])
    assert (types, values.tolist(), notes) == (["CD4", "B"], [[0.2, 0.1], [0.3, 0.2]], [])
    frame.assign(age=[50, 60]).to_csv(tmp_path / "cells.csv", index=False)
    assert "'age' exceed 1" in scores.read_fractions(tmp_path / "cells.csv", ["a", "b"])[2][0]


def test_a_reference_scores_a_single_sample_as_its_cohort_did(tmp_path):
    values, cells = betas()
    inputs = made(tmp_path, values)
    inputs["noise"] = inputs["signature"] = [listed(tmp_path, [f"cg{at:03d}" for at in range(60)], [1, -1] * 30)]
    ids = pd.Index([f"S{at}" for at in range(80)], name="sample_id")
    pd.DataFrame(cells, columns=["a", "b", "c"], index=ids).to_csv(tmp_path / "cells.csv")
    inputs["cell_fractions"] = tmp_path / "cells.csv"
    frame, _, out = run(tmp_path, inputs, names=NAMES)
    (tmp_path / "new").mkdir()
    suffixed = [f"cg{at:03d}_TC21" for at in range(60)]
    one = made(tmp_path / "new", values[:, 7:8], suffixed, ages=[40.0]) | {"noise": inputs["noise"]}
    one |= {"signature": inputs["signature"], "reference": out["reference"], "cell_fractions": tmp_path / "one.csv"}
    pd.DataFrame(cells[7:8], columns=["a", "b", "c"], index=ids[:1]).to_csv(tmp_path / "one.csv")
    again, _, _ = run(tmp_path / "new", one, names=NAMES)
    for name in ("noise_mine", "noise_mine_adjusted", "signature_mine"):
        assert again[name][0] == pytest.approx(frame[name][7], rel=1e-5)
    with pytest.raises(InputError, match=r"set scores\.reference"):
        run(tmp_path / "new", {key: path for key, path in one.items() if key != "reference"}, names=NAMES)


def test_noise_that_grows_with_age_is_seen_and_a_trend_makes_a_valley(tmp_path):
    rng = np.random.default_rng(4)
    ages = rng.uniform(20, 90, 300)
    noisy = 0.5 + rng.normal(size=(40, 300)) * (0.01 + 0.0005 * (ages - 20))
    trend = 0.5 + 0.003 * (ages - 55) + 0.01 * rng.normal(size=(40, 300))
    inputs = made(tmp_path, np.concatenate([noisy, trend]), ages=ages)
    cpgs = [f"cg{at:03d}" for at in range(80)]
    taxonomy = pd.DataFrame({"cpg": cpgs, "taxon": ["NonAgeHet"] * 40 + ["LinAgeHomo"] * 40})
    write_parquet(tmp_path / "taxonomy.parquet", taxonomy)
    inputs["taxonomy"] = tmp_path / "taxonomy.parquet"
    frame, summary, out = run(tmp_path, inputs, taxa=["NonAgeHet", "LinAgeHomo", "Outlier"])
    r = summary.set_index("set")["r_age"]
    assert r["NonAgeHet"] > 0.8
    assert abs(r["LinAgeHomo"]) < 0.3
    middle = (frame["age"] - 55).abs() < 10
    assert frame["noise_LinAgeHomo"][middle].mean() < 0.4 * frame["noise_LinAgeHomo"][~middle].mean()
    assert "Outlier" not in r.index  # none of its CpGs: said, not scored
    assert "noise Outlier: 0 of 0 CpGs" in out["html"].read_text()


def test_all_problems_are_reported_at_once(tmp_path):
    values, _ = betas()
    inputs = made(tmp_path, values)
    inputs["noise"] = [listed(tmp_path, ["rs1", "rs2"], [1, -1], "other.csv")]
    inputs["signature"] = [listed(tmp_path, ["cg000", "cg001"], [1, 2], "one_sign.csv")]
    (tmp_path / "cells.csv").write_text("sample_id,CD4T\nX1,many\nX2,0.5\n")
    (tmp_path / "reference.csv").write_text("cpg,mean,sd\ncg000,0.5,wide\n")
    inputs |= {"cell_fractions": tmp_path / "cells.csv", "reference": tmp_path / "reference.csv"}
    with pytest.raises(InputError) as predicted:
        run(tmp_path, inputs, names=NAMES)
    text = predicted.value.text()
    for words in ("none of the 2 CpGs", "weights of one sign", "'CD4T' holds what is no number (line 2: 'many')",
                  "none of the cohort's samples", "sd is no number in 1 rows"):  # fmt: skip
        assert words in text
    assert not (tmp_path / "out").exists()


def test_horvaths_signs_follow_age_in_real_blood(shared, tmp_path):
    beta = pd.read_csv(shared / "methylation/gse40279_beta.csv.gz", index_col=0)
    sheet = pd.read_csv(shared / "methylation/gse40279_samples.csv.gz").set_index("sample").loc[beta.columns]
    inputs = made(tmp_path, beta.to_numpy(), list(beta.index), ages=sheet["age"].to_numpy(dtype=float))
    inputs["signature"] = [ROOT / "resources/clocks/Horvath2013.csv"]
    _, summary, _ = run(tmp_path, inputs, names={"noise": [], "signature": ["Horvath2013"]})
    assert summary["cpgs_used"][0] == 353
    assert summary["r_age"][0] == pytest.approx(0.82, abs=0.01)


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of a cohort's scores, to be rendered with other numbers."""
    folder = tmp_path_factory.mktemp("stated")
    inputs = made(folder, betas()[0])
    weights = np.random.default_rng(1).normal(size=40)
    inputs["noise"] = inputs["signature"] = [listed(folder, [f"cg{at:03d}" for at in range(10, 50)], weights)]
    with kept_from("cpgtaxa.targets.biology.scores.write_page") as kept:
        run(folder, inputs, names=NAMES)
    return Page(**kept)


STATES = [
    (
        {"notes": []},
        [
            "Scores of 80 samples noise_mine: r with age ",
            "A noise score is how far a sample’s betas lie from the CpGs’ means, on average over a set of CpGs. A sig",
            "weights. Means and spreads are those of these samples.",
            "line: means of ten groups",
        ],
        ["cell fractions", "not known"],
    ),
    (
        {
            "n": 1,
            "rows": lambda rows: [rows[0] | {"r": "–"}],
            "types": ["Neu", "NK"],
            "reference": True,
            "signature": False,
            "large": False,
            "notes": ["Few."],
        },
        [
            "Scores of 1 sample noise_mine: r with age not known.",
            "what its cell fractions (Neu, NK) let expect. Means and spreads are those of the reference",
            "A point is a sample. SVG",
            "its coefficients on the cell fractions",
            "Few.",
        ],
        ["signature score is", "ten groups"],
    ),
    ({"noise": False}, ["A signature score is"], ["A noise score is", "noise score then falls"]),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

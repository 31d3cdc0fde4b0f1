"""Cell fractions: the projection beside general solvers, mixtures of known fractions, and all sorts of references."""

import re

import numpy as np
import pandas as pd
import pytest
from branches import Page, kept_from
from browsing import assert_fine
from cohorts import cohort_of
from conftest import ROOT, sorted_cells
from cpgtaxa.cohort import Cohort
from cpgtaxa.errors import InputError
from cpgtaxa.files import write_parquet
from cpgtaxa.plan.main import BLOOD
from cpgtaxa.targets.cell_fractions.fractions import estimate, of_blood, project, read_reference, write_fractions
from cpgtaxa.targets.cell_fractions.page import correlation, page
from scipy.optimize import minimize, nnls
from scipy.stats import pearsonr

TYPES = ["Neu", "Mono", "B", "CD4", "CD8", "NK"]


def pure(cpgs=300, types=TYPES, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.beta(0.4, 0.4, (cpgs, len(types))), [f"cg{at}" for at in range(cpgs)], types)


def test_the_projection_is_the_constrained_minimum():
    rng = np.random.default_rng(1)
    for trial in range(30):
        r = rng.random((50, 5))
        y = r @ rng.uniform(-0.4, 0.7, 5) + 0.1 * rng.normal(size=50)
        found = project(r.T @ r, r.T @ y)
        limits = [{"type": "ineq", "fun": lambda w: 1 - w.sum()}]
        start = np.full(5, 0.2)
        best = minimize(
            lambda w, r=r, y=y: np.sum((y - r @ w) ** 2),
            start, jac=lambda w, r=r, y=y: -2 * r.T @ (y - r @ w),
            bounds=[(0, None)] * 5, constraints=limits, method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(found, best.x, atol=2e-5, err_msg=str(trial))
        assert (found >= 0).all()
        assert found.sum() <= 1 + 1e-12
        free = nnls(r, y)[0]
        if free.sum() < 1:
            np.testing.assert_allclose(found, free, atol=1e-9)


def test_mixtures_are_estimated_with_gaps_and_cpgs_in_another_order(tmp_path):
    rng = np.random.default_rng(2)
    reference = pure()
    truth = rng.dirichlet(np.ones(6), 12)
    values = reference.to_numpy() @ truth.T
    values[rng.random(values.shape) < 0.1] = np.nan
    order = rng.permutation(300)[:250]  # 50 CpGs of the reference are not in the cohort
    values = np.vstack([values[order], rng.random((20, 12))])
    found = estimate(
        cohort_of(tmp_path, values, [*(f"cg{at}" for at in order), *(f"ch{at}" for at in range(20))]), reference
    )
    np.testing.assert_allclose(found[TYPES], truth, atol=1e-5)
    assert list(found) == ["sample_id", *TYPES, "residual", "n_cpgs"]
    np.testing.assert_array_equal(found["n_cpgs"], np.isfinite(values[:250]).sum(axis=0))
    assert found["residual"].max() < 1e-3


def test_an_unknown_cell_type_shows_in_the_sum_and_the_residual(tmp_path):
    reference = pure()
    values = reference.to_numpy() @ np.full((6, 4), 1 / 6)
    values[:, 1] = 0.5 * reference["Neu"]
    values[:, 2] = np.random.default_rng(3).random(300)
    found = estimate(cohort_of(tmp_path, values, reference.index), reference)
    assert found.loc[1, "Neu"] == pytest.approx(0.5, abs=1e-5)
    assert found.loc[1, TYPES].sum() < 0.51
    assert found["residual"][2] > 0.2 > 0.01 > found["residual"][0]


@pytest.mark.parametrize("ending", ["csv", "tsv.gz", "parquet"])
def test_references_of_every_format(tmp_path, ending):
    reference = pure(40)
    path = tmp_path / f"reference.{ending}"
    if ending == "parquet":
        reference.reset_index(names="cpg").to_parquet(path)
    else:
        reference.to_csv(path, sep="\t" if "tsv" in ending else ",", index_label="cpg")
    found = read_reference(path)
    np.testing.assert_allclose(found, reference, atol=1e-6)
    assert list(found.index) == list(reference.index)
    assert list(found) == TYPES


def test_a_gap_in_the_reference_leaves_the_cpg_out(tmp_path):
    reference = pure(40)
    reference.iloc[3, 2] = np.nan
    reference.to_csv(tmp_path / "reference.csv", index_label="cpg")
    assert len(read_reference(tmp_path / "reference.csv")) == 39


def test_all_problems_of_a_reference_are_reported_at_once(tmp_path):
    path = tmp_path / "reference.csv"
    rows = [f"cg{at},0.1,0.9,0.5" for at in range(30)]
    rows[4], rows[6], rows[9] = "cg4,0.1,high,0.5", "cg6,0.1,45,0.5", "cg3,0.1,0.2,-3"
    path.write_text("\n".join(["cpg,B,B,residual", *rows]))
    with pytest.raises(InputError) as error:
        read_reference(path)
    text = error.value.text()
    for part in ("same cell type: 'B'", "'residual'", "'high'", "2 values outside 0 to 1", "'cg6', 'B': 45", "'cg3'"):
        assert part in text
    pure(40).assign(**{"p.value": 0.01, "low": 0.1}).to_csv(path)  # as minfi's table has them
    with pytest.raises(InputError, match=r"'p\.value', 'low' are no cell types"):
        read_reference(path)
    with pytest.raises(InputError, match=r"adjust\.reference"):
        read_reference(tmp_path / "none.csv")


def test_few_cpgs_and_types_alike_are_refused(tmp_path):
    reference = pure(100)
    cohort = cohort_of(tmp_path, np.random.default_rng(4).random((100, 3)), [f"cg{at + 80}" for at in range(100)])
    with pytest.raises(InputError, match=r"20 of its 100 CpGs .* need at least 30"):
        estimate(cohort, reference)
    cohort = cohort_of(tmp_path, np.random.default_rng(4).random((100, 3)), reference.index)
    alike = reference.assign(Tcell=(reference["CD4"] + reference["CD8"]) / 2)
    with pytest.raises(InputError, match=re.escape("'CD4', 'CD8', 'Tcell' cannot be separated")):
        estimate(cohort, alike)
    values = np.full((100, 3), 0.5)
    values[25:, 1] = np.nan
    with pytest.raises(InputError, match=r"1 sample with fewer than 30 values .* 'S1'"):
        estimate(cohort_of(tmp_path, values, reference.index), reference)


def test_real_cells_of_other_donors_in_known_fractions(shared, tmp_path):
    """Reference from half of the donors, mixtures of the others: what is found is what was mixed."""
    beta, sheet = sorted_cells()
    kinds = sheet["cell_type"]
    first = kinds.groupby(kinds).cumcount() % 2 == 0
    reference = beta.loc[:, first].T.groupby(kinds[first]).mean().T
    spread = reference.var(axis=1).nlargest(600).index
    others = beta.loc[:, ~first].T.groupby(kinds[~first]).mean().T[reference.columns]
    truth = np.random.default_rng(5).dirichlet([8, 1, 1, 3, 2, 1], 30)
    order = [list(reference.columns).index(name) for name in ("Neu", "Mono", "B", "CD4", "CD8", "NK")]
    mixed = np.empty_like(truth)
    mixed[:, order] = truth
    values = others.to_numpy() @ mixed.T
    reference.loc[spread].to_csv(tmp_path / "reference.csv", index_label="cpg")
    cohort_of(tmp_path, values, beta.index)
    ages = np.linspace(20, 80, len(mixed))
    samples = pd.DataFrame({"sample_id": Cohort(tmp_path / "beta.arrow").sample_ids, "age": ages})
    write_parquet(tmp_path / "samples.parquet", samples)
    outputs = {"fractions": tmp_path / "fractions.csv"}
    outputs |= {"html": tmp_path / "page/report.html", "figures": tmp_path / "page/figures"}
    write_fractions(tmp_path / "beta.arrow", tmp_path / "reference.csv", tmp_path / "samples.parquet", outputs)
    found = pd.read_csv(tmp_path / "fractions.csv")[list(reference.columns)]
    off = (found - mixed).abs()
    assert off.mean().mean() < 0.02
    assert off.max().max() < 0.08


SHIPPED = [ROOT / "resources/cell_types" / name for name in BLOOD]


def test_the_shipped_tables_find_each_others_cells():
    """Cells of other donors on another array: pure, and in known fractions with noise."""
    reference, other = (read_reference(path) for path in SHIPPED)
    both = reference.index.intersection(other.index)
    reference, other = reference.loc[both].to_numpy(), other.loc[both].to_numpy()
    assert len(both) == 164
    gram = reference.T @ reference
    pure_cells = np.array([project(gram, reference.T @ cell) for cell in other.T])
    assert np.diag(pure_cells).min() > 0.9
    rng = np.random.default_rng(1)
    truth = rng.dirichlet([12, 1, 1.2, 3, 2, 1.5], 200)
    mixed = np.clip(other @ truth.T + rng.normal(0, 0.02, (len(both), 200)), 0, 1)
    found = np.array([project(gram, reference.T @ sample) for sample in mixed.T])
    assert np.abs(found - truth).mean(axis=0).max() < 0.03
    assert np.abs(found - truth).max() < 0.13


@pytest.mark.parametrize("own", [0, 1])
def test_of_the_shipped_tables_that_of_the_array_is_taken(tmp_path, own):
    table = read_reference(SHIPPED[own])
    cohort = cohort_of(tmp_path, table.to_numpy(), table.index)
    found, note = of_blood(cohort, SHIPPED)
    assert found.equals(table)
    assert SHIPPED[own].stem in note
    np.testing.assert_allclose(estimate(cohort, found)[list(table.columns)], np.eye(6), atol=2e-3)
    with pytest.raises(InputError, match=r"too few: name a table of your own"):
        of_blood(cohort_of(tmp_path, table.to_numpy()[:29], table.index[:29]), SHIPPED)


def test_the_page_reports_every_type_and_is_fine_in_a_browser(tmp_path, browser):
    rng = np.random.default_rng(3)
    types = ["Neu <b>", *TYPES[1:]]
    ages = rng.uniform(20, 90, 90)
    table = pd.DataFrame(rng.dirichlet([9, 3, 1, 4, 2, 1], 90), columns=types)
    table.insert(0, "sample_id", [f"S<i>{at}" for at in range(90)])
    table["residual"], table["n_cpgs"] = rng.uniform(0.02, 0.05, 90), 300
    table.to_csv(tmp_path / "cell_fractions.csv", index=False)
    outputs = {"html": tmp_path / "page/report.html", "figures": tmp_path / "page/figures"}
    page(outputs, table, types, ages, 320)
    html = outputs["html"].read_text()
    assert "<b>," not in html
    assert "Neu &lt;b&gt;" in html
    assert f"{100 * table['CD4'].mean():.1f}\u00a0%" in html
    r = np.corrcoef(table["NK"], ages)[0, 1]
    assert f"{r:.2f}".replace("-", "−") in html
    drawn = pd.read_csv(outputs["figures"] / "composition.csv")
    np.testing.assert_allclose(drawn[types].sum(axis=1), 1, atol=1e-5)
    assert (np.diff(drawn["age"]) >= 0).all()
    assert_fine(browser, outputs["html"])


def test_correlations_have_fishers_interval():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    r, low, high = correlation(y, x)
    expected = pearsonr(x, y)
    np.testing.assert_allclose((r, low, high), (expected.statistic, *expected.confidence_interval()), rtol=1e-6)
    assert np.isnan(correlation(np.ones(50), x)).all()


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of twelve samples, to be rendered with other numbers."""
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp("stated")
    table = pd.DataFrame(rng.dirichlet([9, 3, 1, 4, 2, 1], 12), columns=TYPES)
    table = table.assign(sample_id=[f"S{at}" for at in range(12)], residual=0.02, n_cpgs=300)
    with kept_from("cpgtaxa.targets.cell_fractions.page.write_page") as kept:
        page({"html": folder / "r.html", "figures": folder / "figures"}, table, TYPES, rng.uniform(20, 90, 12), 320)
    return Page(**kept)


STATES = [
    (
        {},
        [
            "cell types of 12 samples",
            ": means of 12 samples, from 300 of the reference’s 320 CpGs.",
            "Each bar is a sample. The most",
            "A point is a sample; line: means of ten groups",
            "Largest: S0 (0.020), ",
        ],
        [],
    ),
    (
        {"n": 1, "worst": lambda worst: worst[:1], "note": "Taken: EPIC"},
        [
            "cell types of 1 sample What",
            ": 1 sample, from",
            "A point is a sample.",
            "first: S0 (0.020).",
            "Taken: EPIC.",
        ],
        ["means of 1", "ten groups", "Largest:"],
    ),
    ({"grouped": True}, ["Each bar is the mean of a few samples"], ["bar is a sample"]),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

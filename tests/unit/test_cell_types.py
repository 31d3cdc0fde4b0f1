"""Whose cells change: the fits beside textbook formulas, planted changes, and fractions that cannot be used."""

import re

import numpy as np
import pandas as pd
import pytest
from branches import Page, kept_from
from cohorts import cohort_of
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.files import read_parquet, write_parquet
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan
from cpgtaxa.statistics.age_ewas import benjamini_hochberg
from cpgtaxa.statistics.cell_types import DESCRIPTION, OF_CPG, UNDECIDED, read_cell_types
from cpgtaxa.statistics.comparisons import holm
from cpgtaxa.targets.cell_types.model import CellModel, Interactions, equal_slopes, t_tests
from cpgtaxa.targets.cell_types.table import called, spread_called, whole_fractions, write
from scipy import stats
from statsmodels.stats.multitest import multipletests

NAMES = ["Neu", "CD4", "NK"]


def people(n=200, seed=0):
    """Fractions (n, 3) that add up to 1, and ages."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet([12, 4, 2], n), rng.uniform(20, 80, n)


def textbook(columns, y):
    """Least squares with HC3 errors, as in the book: coefficients, covariance, degrees of freedom."""
    inverse = np.linalg.inv(columns.T @ columns)
    hat = np.einsum("ij,jk,ik->i", columns, inverse, columns)
    b = inverse @ columns.T @ y
    meat = columns * ((y - columns @ b) / (1 - hat))[:, None]
    return b, inverse @ meat.T @ meat @ inverse, len(y) - columns.shape[1]


def q_of(p):
    return benjamini_hochberg(p.ravel()).reshape(p.shape)


def by_hand(base, changes, squares, df):
    """`Spread`, step by step: the smallest t of each change but the last, alone or beside another; p of all alone."""
    y, variance = squares, np.ones(len(squares))
    for _ in range(2):
        b = np.linalg.lstsq(base / variance[:, None], y / variance, rcond=None)[0]
        variance = np.maximum(base @ b, 0.25)
    weighted, y = base / variance[:, None], y / variance
    hat = weighted @ np.linalg.pinv(weighted)
    left, others = y - hat @ y, changes / variance[:, None]
    others = others - hat @ others

    def tested(column):
        return column @ left / np.sqrt(np.sum((column * left) ** 2 / (1 - np.diag(hat))))

    alone = [tested(column) for column in others.T]
    found = []
    for at, column in enumerate(others.T[:-1]):
        ways = [alone[at]]
        for rival in np.delete(others, at, axis=1).T:
            ways.append(tested(column - rival * (column @ rival) / (rival @ rival)))
        found.append(min(ways, key=abs))
    return np.array(found), 2 * stats.t.sf(np.abs(alone), df)


def test_slopes_errors_and_p_are_the_textbooks_with_and_without_missing_values():
    rng, (fractions, ages) = np.random.default_rng(1), people()
    sex = rng.integers(0, 2, (200, 1)).astype(float)
    values = 0.5 + 0.1 * rng.normal(size=(6, 200)) * (1 + fractions[:, 0])
    values[3:, ::7] = np.nan
    values[4, :90] = np.nan
    found = CellModel(fractions, NAMES, ages, sex).test(values)
    columns = np.hstack([fractions, fractions * (ages[:, None] - ages.mean()), sex - sex.mean()])
    for row, y in enumerate(values):
        known = np.isfinite(y)
        b, cov, df = textbook(columns[known], y[known])
        error = np.sqrt(np.diag(cov))[3:6]
        np.testing.assert_allclose(found["slope"][row], b[3:6], rtol=1e-6)
        np.testing.assert_allclose(found["se"][row], error, rtol=1e-6)
        np.testing.assert_allclose(found["p"][row], 2 * stats.t.sf(np.abs(b[3:6]) / error, df), rtol=1e-6)
        contrast = np.array([[1, -1, 0], [0, 1, -1]])
        apart, between = contrast @ b[3:6], contrast @ cov[3:6, 3:6] @ contrast.T
        wald = apart @ np.linalg.inv(between) @ apart / 2
        assert found["equal_p"][row] == pytest.approx(stats.f.sf(wald, 2, df), rel=1e-6)
        shares = fractions.mean(axis=0)
        t = shares @ b[3:6] / np.sqrt(shares @ cov[3:6, 3:6] @ shares)
        assert found["trend_p"][row] == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-6)
        left = y[known] - columns[known] @ b
        hat = np.sum(columns[known] @ np.linalg.inv(columns[known].T @ columns[known]) * columns[known], axis=1)
        squares, age, beside = np.ones(200), (ages - ages.mean())[:, None], sex - sex.mean()
        squares[known] = left**2 / (1 - hat) / np.mean(left**2 / (1 - hat))
        given = np.column_stack([fractions, fractions**2 * age, age, squares])
        given = (given - beside @ np.linalg.pinv(beside) @ given)[known]
        t, p = by_hand(given[:, :3], given[:, 3:7], given[:, 7], known.sum() - 5)
        np.testing.assert_allclose(found["spread_t"][row], t, rtol=1e-6)
        np.testing.assert_allclose(found["spread_p"][row], 2 * stats.t.sf(np.abs(t), known.sum() - 5), rtol=1e-6)
        assert found["spread_any_p"][row] == pytest.approx(holm(p).min(), rel=1e-6)


def test_planted_changes_are_found_in_their_type():
    rng, (fractions, ages) = np.random.default_rng(2), people(600)
    line = (ages - 50) / 60
    means = 0.5 + 0.02 * rng.normal(size=(300, 600))
    means[:100] += 0.3 * line * fractions[:, 1]
    means[100:200] += 0.1 * line
    model = CellModel(fractions, NAMES, ages, np.zeros((600, 0)))
    found = model.test(means)
    np.testing.assert_allclose(np.median(found["slope"][:100], axis=0), [0, 0.3 / 60, 0], atol=3e-4)
    said, q = called(found, model.names)
    assert np.mean(said[:100] == "CD4") > 0.9
    assert np.mean(said[100:200] == UNDECIDED) > 0.8  # a trend of all cells belongs to none
    assert np.mean(said[200:] == "") > 0.9
    assert (q[:100] < 0.05).all()
    values = 0.5 + 0.03 * rng.normal(size=(200, 600))
    values[:100] += 0.25 * (ages - 20) / 60 * rng.normal(size=(100, 600)) * fractions[:, 0]
    found = model.test(values)
    assert np.mean(found["spread_p"][:100].argmin(axis=1) == 0) > 0.9
    assert (found["spread_t"][:100, 0] > 0).all()
    assert np.mean(found["spread_p"][100:] < 0.05) < 0.05
    said, q = spread_called(found | {"spread_q": q_of(found["spread_p"])}, model.names)
    assert np.mean(said[:100] == "Neu") > 0.4
    assert np.mean([one in ("Neu", UNDECIDED, "") for one in said[:100]]) > 0.95
    assert (q[:100] < 0.05).mean() > 0.9
    assert np.mean(said[100:] == "") > 0.9
    found = model.test(0.5 + 0.02 * (1 + 3 * (ages - 20) / 60) * rng.normal(size=(100, 600)))
    said, _ = spread_called(found | {"spread_q": q_of(found["spread_p"])}, model.names)
    assert np.mean(said == UNDECIDED) > 0.9  # noise that grows in all cells belongs to none


def test_p_values_of_nothing_are_even_though_fractions_and_noise_go_with_age():
    rng = np.random.default_rng(3)
    ages = rng.uniform(20, 80, 300)
    fractions = np.column_stack([rng.gamma(6 + (ages - 20) / 20), rng.gamma(4, size=300), rng.gamma(2, size=300)])
    fractions /= fractions.sum(axis=1, keepdims=True)
    levels = rng.uniform(0.1, 0.9, (3000, 3)) @ fractions.T
    values = levels + 0.03 * rng.normal(size=levels.shape) * (0.5 + fractions[:, 0])
    found = CellModel(fractions, NAMES, ages, np.zeros((300, 0))).test(values)
    for p in (found[name] for name in ("p", "equal_p", "spread_p", "trend_p", "spread_any_p")):
        assert np.mean(p < 0.05) < 0.06
    assert np.mean(found["p"] < 0.05) > 0.04


def test_rare_and_collinear_types_are_told_and_not_tested():
    fractions, ages = people(300, 4)
    rng = np.random.default_rng(4)
    half = 0.5 * fractions[:, 1]
    given = np.column_stack([fractions[:, 0], half, half, fractions[:, 2] - 0.001, np.full(300, 0.001)])
    given = np.abs(given)
    model = CellModel(given, ["Neu", "CD4", "CD8", "NK", "Eos"], ages, np.zeros((300, 0)))
    assert model.names == ["Neu", "NK"]
    told = {one.name: one.untested for one in model.types}
    assert "0.00%" in told["CD4"]
    assert "fewer than 1%" in told["Eos"]
    values = 0.5 + 0.02 * rng.normal(size=(50, 300))
    found, joined = model.test(values), CellModel(fractions, NAMES, ages, np.zeros((300, 0))).test(values)
    np.testing.assert_allclose(found["slope"][:, 0], joined["slope"][:, 0], atol=1e-4)  # as if the two were one
    same = Interactions(np.column_stack([given[:, 1], given[:, 2], given[:, 0]]), [0, 2])
    fit = same.fit(values)
    assert np.isnan(fit["b"][:, 0]).all()
    assert np.isfinite(fit["b"][:, 1]).all()


def test_too_few_values_are_no_test():
    fractions, ages = people(100, 5)
    values = np.random.default_rng(5).random((3, 100))
    values[0, 6:] = np.nan
    values[1] = np.nan
    found = CellModel(fractions, NAMES, ages, np.zeros((100, 0))).test(values)
    for name in ("slope", "se", "p", "spread_p"):
        assert np.isnan(found[name][:2]).all(), name
        assert np.isfinite(found[name][2]).all(), name
    constant = CellModel(fractions, NAMES, ages, np.zeros((100, 0))).test(np.full((1, 100), 0.5))
    assert not (constant["p"] < 0.05).any()


def test_holm_and_the_wald_test_beside_hand_made_ones():
    p = np.array([[0.01, 0.04, 0.03], [0.5, np.nan, 0.02], [np.nan] * 3])
    np.testing.assert_allclose(holm(p), [[0.03, 0.06, 0.06], [0.5, np.nan, 0.04], [np.nan] * 3])
    several = np.random.default_rng(3).random((6, 7)) ** 3
    assert holm(several).tolist() == [multipletests(one, method="holm")[1].tolist() for one in several]
    fit = {"b": np.array([[1.0, 3.0]]), "cov": np.array([[[1.0, 0.5], [0.5, 2.0]]]), "df": np.array([30.0])}
    assert equal_slopes(fit)[0] == pytest.approx(stats.f.sf(4 / 2, 1, 30))
    error, t, _ = t_tests(fit)
    np.testing.assert_allclose(error, [[1, np.sqrt(2)]])
    np.testing.assert_allclose(t, [[1, 3 / np.sqrt(2)]])


def test_what_is_wrong_with_fractions_is_told():
    ids = ["a", "b", "c"]
    with pytest.raises(InputError) as error:
        whole_fractions(pd.DataFrame({"Neu": ["0.5", "x", None], "NK": [50, 40.0, 30]}), ids, "KEY")
    assert len(error.value.problems) == 2
    assert "'Neu' is no number in 2 samples ('b', 'c')" in error.value.problems[0]
    assert "divide percent by 100" in error.value.problems[1]
    with pytest.raises(InputError, match=r"more than 1\.2"):
        whole_fractions(pd.DataFrame({"T": [0.5, 0.6, 0.5], "CD4": [0.8, 0.7, 0.3]}), ids, "KEY")
    with pytest.raises(InputError, match=r"'T\|B' cannot be a cell type's name"):
        whole_fractions(pd.DataFrame({"T|B": [0.5, 0.6, 0.5], "CD4": [0.5, 0.4, 0.5]}), ids, "KEY")
    with pytest.raises(InputError, match="one cell type alone"):
        whole_fractions(pd.DataFrame({"T": [1.0, 1, 1]}), ids, "KEY")
    with pytest.raises(InputError, match="all types are 0"):
        whole_fractions(pd.DataFrame({"A": [0.9] * 30 + [0.0], "B": [0.1] * 30 + [0.0]}), list("s" * 31), "KEY")


def test_fractions_that_leave_a_rest_get_one_and_others_are_divided_by_their_sum():
    found, names, notes = whole_fractions(pd.DataFrame({"Neu": [0.5, 0.6], "NK": [0.1, 0.2]}), ["a", "b"], "KEY")
    assert names == ["Neu", "NK", "rest"]
    np.testing.assert_allclose(found, [[0.5, 0.1, 0.4], [0.6, 0.2, 0.2]])
    assert "'rest'" in notes[0]
    found, names, notes = whole_fractions(pd.DataFrame({"Neu": [0.54, 0.8], "NK": [0.54, 0.2]}), ["a", "b"], "KEY")
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.8, 0.2]])
    assert (names, notes) == (["Neu", "NK"], [])


@pytest.fixture
def cohort(tmp_path):
    return make_cohort(tmp_path)


def make_cohort(tmp_path):
    """A cohort of 120 people and 40 CpGs, of which the first ten change in neutrophils; and where results go."""
    rng, (fractions, ages) = np.random.default_rng(6), people(120, 6)
    values = 0.4 + 0.01 * rng.normal(size=(40, 120))
    values[:10] += 0.004 * (ages - 50) * fractions[:, 0]
    values[3, :5] = np.nan
    ids = [f"S{at}" for at in range(120)]
    cohort_of(tmp_path, values, [f"cg{at:02d}" for at in range(40)])
    sheet = pd.DataFrame({"sample_id": ids, "age": ages, "sex": rng.permutation(["F", "M"] * 60)})
    write_parquet(tmp_path / "samples.parquet", sheet.assign(**dict(zip(NAMES, fractions.T, strict=True))))
    told = pd.DataFrame(fractions, columns=NAMES).assign(sample_id=ids, residual=0.01, n_cpgs=300)
    told[::-1].to_csv(tmp_path / "told.csv", index=False, float_format="%.10g")
    given = {"beta": tmp_path / "beta.arrow", "samples": tmp_path / "samples.parquet", "fractions": None}
    out = {"parquet": tmp_path / "t.parquet", "csv": tmp_path / "t.csv.gz", "types": tmp_path / "types.csv"}
    out |= {"html": tmp_path / "report.html", "figures": tmp_path / "figures"}
    return given, out, tmp_path


def test_the_table_has_a_row_for_each_cpg_and_type(cohort):
    given, out, folder = cohort
    write(given, out, columns=NAMES, covariates=["sex", "Neu", "cell_fractions"])
    table = read_parquet(out["parquet"])
    assert list(table.columns) == list(DESCRIPTION)
    assert table["cpg"].tolist() == [f"cg{at:02d}" for at in range(40) for _ in NAMES]
    assert table["type"].tolist() == NAMES * 40
    one = table[table["type"] == "Neu"].reset_index(drop=True)
    assert (one["cell_type"][:10] == "Neu").all()
    assert (one["cell_type"][10:] == "").mean() > 0.9
    np.testing.assert_allclose(one["slope_per_year"][:10], 0.004, atol=1e-3)
    assert (table["q"] >= table["p"]).all()
    pd.testing.assert_frame_equal(
        pd.read_csv(out["csv"], keep_default_na=False, na_values={name: [""] for name in list(DESCRIPTION)[2:9]}),
        table,
        check_dtype=False,
        rtol=1e-4,
    )
    said = read_cell_types(out["parquet"], one["cpg"].to_numpy(dtype=object))
    pd.testing.assert_frame_equal(said, one[list(OF_CPG)])
    for other in (one["cpg"][::-1], one["cpg"][1:], [*one["cpg"], "cg99"]):
        with pytest.raises(InputError, match="is not of this taxonomy"):
            read_cell_types(out["parquet"], np.array(other, dtype=object))
    types = pd.read_csv(out["types"])
    assert types["spread_changing"][0] == (one["spread_cell_type"] == "Neu").sum()
    assert types["type"].tolist() == NAMES
    assert types["changing"][0] == (one["cell_type"] == "Neu").sum()
    page = re.sub(
        r"\s+", " ", re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]+>", " ", out["html"].read_text(), flags=re.S)
    )
    trends, undecided = ((one["cell_type"] != "").sum(), (one["cell_type"] == UNDECIDED).sum())
    assert f"{trends} of 40 CpGs change with age in 120 people" in page
    assert undecided == 0
    assert f"Of {trends - undecided} of these it can be said whose cells change. Model" in page
    surest = one.loc[one["p"].idxmin()]
    assert f"{surest['cpg']} +{surest['slope_per_year']:.5f} {surest['se']:.5f}" in page
    drawn = pd.read_csv(out["figures"] / "slopes.csv")
    assert set(drawn["type"]) == set(NAMES)
    assert drawn[drawn["named"]].groupby("type").size()["Neu"] == types["changing"][0]
    # Fractions that were told, in a file of another order, give the same.
    other = out | {"parquet": folder / "o.parquet"}
    write(given | {"fractions": folder / "told.csv"}, other, columns=None, covariates=["sex"])
    pd.testing.assert_frame_equal(read_parquet(other["parquet"]), table, rtol=1e-6)


def test_columns_that_are_not_there_and_too_few_people_are_told(cohort):
    given, out, _ = cohort
    with pytest.raises(InputError, match=r"cell_types\.fractions: 'Mono' is no column of fractions"):
        write(given, out, columns=["Neu", "Mono"], covariates=[])
    samples = read_parquet(given["samples"])
    many = {"batch": [f"b{at // 2}" for at in range(120)], "plate": [f"p{at % 60}" for at in range(120)]}
    write_parquet(given["samples"], samples.assign(**many))
    with pytest.raises(InputError, match="need at least"):
        write(given, out, columns=NAMES, covariates=["batch", "plate", {"Neu": "number"}])
    write_parquet(given["samples"], samples.assign(Neu=0.6, CD4=0.3, NK=0.1))
    with pytest.raises(InputError, match="no cell type can be tested"):
        write(given, out, columns=NAMES, covariates=[])
    assert not any(path.exists() for path in out.values())


def test_what_shows_them_reads_them_only_where_asked():
    plans = [
        Plan(check_config({"cell_types": {"show": show}}, ROOT / "workflow/schemas/config.schema.yaml"))
        for show in (True, False)
    ]
    files = {"cell_types": "results/cell_types.parquet", "types": "results/cell_types/types.csv"}
    assert [plan.cell_types() for plan in plans] == [files, {}]
    assert [plan.export_input() for plan in plans] == [files, {}]
    assert ["cell_types" in plan.report_config() for plan in plans] == [True, False]


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of a cohort, to be rendered with other numbers."""
    given, out, _ = make_cohort(tmp_path_factory.mktemp("stated"))
    with kept_from("cpgtaxa.targets.cell_types.page.write_page") as kept:
        write(given, out, columns=NAMES, covariates=["sex"])
    return Page(**kept)


STATES = [
    (
        {"counts": {"changing": "12", "named": "9", "undecided": "3"}},
        ["12 of 40 CpGs change with age", "Of 9 of these it can be said whose cells change; 3 are undecided: no type"],
        ["No CpG of"],
    ),
    (
        {"counts": {"changing": "1", "named": "0", "undecided": "1"}},
        ["1 of 40 CpGs changes with age", "Of none of these it can be said whose cells change; 1 is undecided"],
        ["CpGs of which this type is named", "coloured are"],
    ),
    ({"counts": {"changing": "1", "named": "1", "undecided": "0"}}, ["Of 1 of these", "coloured are"], ["undecided:"]),
    ({"counts": {"spread_undecided": "1"}}, ["In 1 CpG a spread changes, but no type is shown"], []),
    ({"counts": {"spread_undecided": "0"}}, [], ["a spread changes"]),
    (
        {"counts": {"changing": "0", "named": "0", "undecided": "0"}},
        ["No CpG of 40 changes with age in 120 people, the mixture"],
        ["it can be said", "undecided:"],
    ),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

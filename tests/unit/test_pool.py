"""Summaries of cohorts: what they hold, what they forget, and cohorts pooled from them."""

import json
import pathlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from cpgtaxa.cohort import Cohort, CohortWriter, read_samples
from cpgtaxa.errors import InputError
from cpgtaxa.files import read_json, read_parquet, write_json, write_parquet
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan
from cpgtaxa.simulation.simulate import cohort_setting, draw_cpg, plan_cohort
from cpgtaxa.targets.pool import cells, strata
from cpgtaxa.targets.pool.dealing import Ages
from cpgtaxa.targets.pool.pooling import blocks, pool_cohort
from cpgtaxa.targets.pool.summarise import summarise
from cpgtaxa.targets.pool.summary import KEY, Summary

SETTINGS = {"years": 1.0, "min_stratum": 10, "min_cell": 1, "sexes": {}, "genome": None}
OUT = ("beta", "samples", "cpgs", "qc", "qc_table")


class People:
    """A small cohort of a site: names (k,), beta (k, n) float32, ages (n,) years, sex (n,)."""

    def __init__(self, cpgs=30, n=200, seed=1, first=0):
        setting = cohort_setting(seed, n)
        plan = plan_cohort(7, cpgs, 0.1)
        self.beta = np.stack([draw_cpg(7, index, plan[index], setting)[1] for index in range(cpgs)])
        self.cpgs = [f"cg{first + number:08d}" for number in range(cpgs)]
        self.ages, self.sex = setting.ages, np.where(setting.sex == 1, "F", "M")

    def summary(self, folder, adjusted=None, **settings) -> str:
        """Its summary, written below `folder`."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        ids = [f"secret{number}" for number in range(len(self.ages))]
        with CohortWriter(folder / "beta.arrow", ids) as writer:
            writer.append(self.cpgs, self.beta)
        write_parquet(folder / "samples.parquet", pd.DataFrame({"sample_id": ids, "age": self.ages, "sex": self.sex}))
        given = {"beta": folder / "beta.arrow", "samples": folder / "samples.parquet", "adjusted": adjusted}
        out = {name: folder / f"{name}.parquet" for name in ("summary", "about")}
        summarise(given, out, settings=SETTINGS | settings)
        return str(out["summary"])


@pytest.fixture(scope="module")
def people():
    return People()


def pooled(given: dict, folder, seed=1) -> dict:
    out = {name: pathlib.Path(folder) / name for name in OUT}
    pool_cohort(given, out, seed=seed)
    return out


def refusal(given: dict, folder) -> str:
    with pytest.raises(InputError) as caught:
        pooled(given, folder)
    assert not list(pathlib.Path(folder).glob("beta*"))
    return caught.value.text()


def drawn(path, seed=1) -> tuple[list[str], np.ndarray]:
    summary = Summary(path)
    groups = [summary.group(number, seed) for number in range(summary.n_groups)]
    return [name for names, _ in groups for name in names], np.concatenate([values for _, values in groups])


# --- the code of cells -----------------------------------------------------------------------------------------------


def test_gaps_give_back_the_levels_long_jumps_and_single_people_included():
    rng = np.random.default_rng(3)
    per_row = np.array([3, 1, 0, 4])
    runs = rng.integers(1, 9, per_row.sum())
    levels = np.concatenate([np.sort(rng.choice([0, 1, 5, 300, 16384], n)) for n in runs])
    gaps, long = cells.pack(levels, runs, per_row)
    assert len(long) > 3
    assert np.array_equal(cells.unpack(gaps, long, runs, per_row), levels)
    with pytest.raises(ValueError, match="strata"):
        cells.unpack(gaps, long[1:], runs, per_row)


def test_protected_cells_are_the_cheapest_of_all_groupings_of_five_and_more():
    values = np.array([[0.1, 0.1, 0.1, 0.1, 0.1, 0.12, 0.8, 0.8, 0.8, 0.81, 0.81, 0.82]])
    found = cells.to_cells(values[:, ::-1].copy(), np.array([12]), 5)
    assert found.size.tolist() == [6, 6]
    assert found.mean == pytest.approx([values[0, :6].mean(), values[0, 6:].mean()])
    assert found.sd == pytest.approx([values[0, :6].std(), values[0, 6:].std()])
    again = cells.spread(found, np.array([12]))
    assert again[0, :6].std() == pytest.approx(values[0, :6].std())
    assert again[0, 6:].mean() == pytest.approx(values[0, 6:].mean())


# --- strata ----------------------------------------------------------------------------------------------------------


def test_strata_have_the_people_asked_for_and_one_year_where_people_are_many():
    rng = np.random.default_rng(1)
    ages, sexes = rng.uniform(20, 95, 3000), rng.choice(["F", "M"], 3000).astype(object)
    sexes[:4] = ""
    found = strata.cut(ages, sexes, years=1, least=10)
    assert found.left_out == 4
    assert sorted(found.order) == list(range(4, 3000))
    assert min(map(len, found.ages)) >= 10
    assert np.median([np.ptp(part) for part in found.ages]) < 0.01
    kept = np.concatenate(found.ages)
    assert np.abs(kept - ages[found.order])[ages[found.order] < 90].max() < 1
    assert kept.mean() == pytest.approx(ages[found.order].mean(), abs=0.05)


def test_of_protected_strata_no_age_is_that_of_fewer_people_than_asked_for():
    ages = np.array([20.0, 20, 21, 22, 40, 41, 41, 43, 44, 80])
    found = strata.cut(ages, np.full(10, "F", dtype=object), years=1, least=10, together=5)
    first = np.array(found.ages[0][:5])
    assert first.mean() == pytest.approx(24.6, abs=0.01)
    assert first.std() == pytest.approx(ages[:5].std(), abs=0.01)
    assert np.ptp(np.diff(first)) < 0.02


def test_ages_from_ninety_on_are_told_together():
    found = strata.cut(np.arange(81.0, 101), np.full(20, "M", dtype=object), years=1, least=20)
    assert found.ages[0][:9] == list(np.arange(81.0, 90))
    assert np.mean(found.ages[0][9:]) == pytest.approx(95)


def test_sexes_are_read_or_asked_for():
    sheet = pd.DataFrame({"sex": ["female", "M", None, "W"]})
    assert strata.sexes_of(sheet, {}).tolist() == ["F", "M", "", "F"]
    coded = pd.DataFrame({"sex": ["1", "2"]})
    assert strata.sexes_of(coded, {"1": "M", "2": "F"}).tolist() == ["M", "F"]
    with pytest.raises(InputError, match=r"have '1', '2'.*summarise: \{sexes: \{1: M, 2: F\}\}"):
        strata.sexes_of(coded, {})
    with pytest.raises(InputError, match="8 people are too few"):
        strata.cut(np.arange(8.0), np.full(8, "", dtype=object), years=1, least=10)


# --- a summary -------------------------------------------------------------------------------------------------------


def test_values_come_back_within_a_256th_at_their_strata(people, tmp_path):
    people.beta[3, ::7] = np.nan
    path = people.summary(tmp_path)
    names, values = drawn(path)
    assert names == people.cpgs
    cut = strata.cut(people.ages, people.sex.astype(object), years=1, least=10)
    ages = Ages(cut.ages)
    slopes = Summary(path)._table(None).column("slope").to_numpy()
    before = ages.levelled(people.beta[:, cut.order].astype(float), slopes)
    after = ages.levelled(values.astype(float), slopes)
    number = np.repeat(np.arange(len(ages.counts)), ages.counts)
    assert np.array_equal(np.isnan(before).sum(axis=1), np.isnan(after).sum(axis=1))
    for row in range(len(names)):
        for stratum in range(len(ages.counts)):
            here = [np.sort(one[row, number == stratum]) for one in (before, after)]
            inside = (here[0] > 0.03) & (here[0] < 0.97)  # a line that leads beyond 0 or 1 ends there
            assert np.max(np.abs(here[0] - here[1])[inside], initial=0) < 1 / 256 + 1e-6
    assert np.abs(np.nanmean(values, axis=1) - np.nanmean(people.beta, axis=1)).max() < 0.002


def test_trends_and_changes_of_spread_within_strata_survive():
    rng = np.random.default_rng(5)
    ages = Ages([np.sort(rng.uniform(low, low + 20, 60)).tolist() for low in (20, 40, 60)])
    every = ages.dated
    values = 0.5 + 0.002 * every + np.exp(0.015 * every) * rng.normal(0, 0.03, (40, 180))
    slopes = ages.slopes(values)
    levelled, means = ages.levelled(values, slopes), values.mean(axis=1)
    sums = ages.sums(ages.rest(levelled, slopes, means))
    shuffled = cells.shuffle(levelled, ages.counts, rng)
    again = ages.deal(shuffled, slopes, means, sums, rng)
    assert np.abs(ages.slopes(again) - slopes).max() < 2e-5
    blurred = cells.shuffle(values, ages.counts, rng)
    assert np.abs(ages.slopes(blurred) - slopes).max() > 1e-4

    def cone(betas):
        rest = betas - means[:, None] - slopes[:, None] * every
        return np.abs(rest) @ every / np.abs(rest).sum(axis=1)

    by_chance = cells.shuffle(levelled, ages.counts, rng) + slopes[:, None] * ages.offset
    assert np.abs(cone(again) - cone(values)).mean() < 0.1 * np.abs(cone(by_chance) - cone(values)).mean()


def test_nobodys_row_and_no_id_is_left(people, tmp_path):
    twin = People()
    twin.beta = np.stack([np.random.default_rng(1).uniform(0.3, 0.6, 200).astype(np.float32)] * 30)
    path = twin.summary(tmp_path)
    _, values = drawn(path)
    cut = strata.cut(twin.ages, twin.sex.astype(object), years=1, least=10)
    number = np.repeat(np.arange(len(cut.ages)), [len(part) for part in cut.ages])
    inner = np.concatenate(
        [values[:, number == s] - values[:, number == s].mean(axis=1, keepdims=True) for s in set(number)], axis=1
    )
    between = np.corrcoef(inner)[np.triu_indices(30, 1)]
    assert abs(between.mean()) < 0.2  # of one CpG thirty times: 1 in the betas, near 0 but for its trend here
    content = pathlib.Path(path).read_bytes()
    assert b"secret" not in content
    header = json.loads(pq.read_metadata(path).metadata[KEY])
    assert set(header) == {
        "sex",
        "ages",
        "min_stratum",
        "min_cell",
        "array",
        "suffixes",
        "genome",
        "adjusted",
        "left_out",
        "version",
    }


@pytest.mark.parametrize(("n", "cell"), [(650, 1), (3500, 1), (3500, 5)])
def test_a_cpg_takes_two_kilobytes_at_most(n, cell, tmp_path):
    large = People(cpgs=100, n=n)
    path = large.summary(tmp_path, min_cell=cell)
    header = len(pq.read_metadata(path).metadata[KEY])
    assert header < 40_000
    assert (pathlib.Path(path).stat().st_size - header) / 100 < 2000


def test_strata_of_protected_cells_are_larger_where_a_cohort_is_and_leave_no_sex_out(tmp_path):
    large = People(cpgs=2, n=700)
    assert Summary(large.summary(tmp_path / "1", min_cell=5)).header.min_stratum == 60
    assert Summary(large.summary(tmp_path / "2", min_cell=1)).header.min_stratum == 10
    large.sex = np.where(np.arange(700) < 40, "F", "M")
    header = Summary(large.summary(tmp_path / "3", min_cell=5)).header
    assert header.min_stratum == 30
    assert (header.left_out, set(header.sex)) == (0, {"F", "M"})


def test_no_cell_holds_fewer_than_five_where_that_is_asked_for(people, tmp_path):
    people.beta[5, :195] = np.nan
    path = people.summary(tmp_path, min_cell=5)
    table = pq.read_table(path)
    sizes = np.concatenate([np.frombuffer(one, np.uint8) for one in table.column("sizes").to_pylist()])
    assert sizes.min() >= 5
    summary = Summary(path)
    assert summary.header.min_stratum == 30
    assert min(map(len, summary.header.ages)) >= 30
    per = table.column("cells").to_pylist()
    assert {len(one) for one in per} == {len(summary.header.ages)}
    names, values = drawn(path)
    assert people.cpgs[5] not in names  # five people in two sexes: nothing can be kept
    rows = [people.cpgs.index(name) for name in names]
    assert np.nanmean(values, axis=1) == pytest.approx(np.nanmean(people.beta[rows], axis=1), abs=0.01)
    assert np.nanstd(values, axis=1) == pytest.approx(np.nanstd(people.beta[rows], axis=1), rel=0.1)


def test_a_summary_that_is_damaged_foreign_or_of_another_version_is_refused(people, tmp_path):
    path = pathlib.Path(people.summary(tmp_path))
    with pytest.raises(InputError, match=r"nothing\.parquet is not there"):
        Summary(tmp_path / "nothing.parquet")
    with pytest.raises(InputError, match="is no summary of a cohort"):
        Summary(tmp_path / "samples.parquet")
    content = path.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.parquet is damaged.*copy it again"):
        Summary(tmp_path / "cut.parquet")
    spoilt = bytearray(content)
    spoilt[len(content) // 3] ^= 255
    (tmp_path / "spoilt.parquet").write_bytes(spoilt)
    with pytest.raises(InputError, match=r"spoilt\.parquet is damaged"):
        drawn(tmp_path / "spoilt.parquet")
    table = pq.read_table(path)
    header = json.loads(pq.read_metadata(path).metadata[KEY])
    for name, changes in (("later", {"version": 2}), ("odd", {"sex": ["X"] * len(header["sex"])})):
        metadata = {KEY: json.dumps(header | changes)}
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match=r"odd\.parquet is damaged \(its strata are no sexes with ages\)"):
        Summary(tmp_path / "odd.parquet")
    with pytest.raises(InputError, match="summary of format 2, and this version of cpgtaxa reads format 1"):
        Summary(tmp_path / "later.parquet")


# --- pooling ---------------------------------------------------------------------------------------------------------


def test_cohorts_are_laid_side_by_side_and_cpgs_of_one_array_are_missing_in_the_other(tmp_path):
    one, two = People(cpgs=30, seed=1), People(cpgs=40, n=120, seed=2, first=20)
    two.cpgs = two.cpgs[::-1]
    given = {"london": one.summary(tmp_path / "1"), "ulm": two.summary(tmp_path / "2")}
    out = pooled(given, tmp_path)
    cohort, samples = Cohort(out["beta"]), read_samples(out["samples"])
    assert cohort.cpgs.tolist() == sorted({*one.cpgs, *two.cpgs})
    assert cohort.sample_ids == samples["sample_id"].tolist()
    assert cohort.sample_ids[0] == "pseudo_london_1"
    assert samples["cohort"].value_counts().to_dict() == {"london": 200, "ulm": 120}
    values = cohort.read(0, 60)
    assert np.isnan(values[:20, 200:]).all()
    assert np.isnan(values[40:, :200]).all()
    assert np.isfinite(values[20:30]).mean() > 0.9
    row = cohort.cpgs.tolist().index(two.cpgs[0])
    assert np.nanmean(values[row, 200:]) == pytest.approx(np.nanmean(two.beta[0]), abs=0.002)
    women = (samples["cohort"] == "ulm") & (samples["sex"] == "F")
    assert women.sum() == (two.sex == "F").sum()
    assert samples["age"][women].mean() == pytest.approx(two.ages[two.sex == "F"].mean(), abs=0.2)
    table = read_parquet(out["cpgs"])
    assert table["n_missing"].tolist() == np.isnan(values).sum(axis=1).tolist()
    qc = read_json(out["qc"])
    assert [one["people"] for one in qc["pooled"]] == [200, 120]
    assert qc["n_cpgs"] == {"in": 60, "kept": 60}


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(people, tmp_path):
    given = {"one": people.summary(tmp_path)}
    content = []
    for number, seed in enumerate((1, 1, 2)):
        (tmp_path / str(number)).mkdir()
        content.append(pooled(given, tmp_path / str(number), seed)["beta"].read_bytes())
    assert content[0] == content[1]
    assert content[0] != content[2]


def test_blocks_are_small_however_the_groups_lie(tmp_path, monkeypatch):
    monkeypatch.setattr("cpgtaxa.targets.pool.summarise.GROUP", 7)
    monkeypatch.setattr("cpgtaxa.targets.pool.pooling.BLOCK", 5)
    one, two = People(cpgs=30), People(cpgs=30, seed=2, first=13)
    given = {"a": Summary(one.summary(tmp_path / "1")), "b": Summary(two.summary(tmp_path / "2"))}
    found = list(blocks(given, 1))
    assert max(len(names) for names, _ in found) == 5
    names = [name for part, _ in found for name in part]
    assert names == sorted({*one.cpgs, *two.cpgs})


def test_summaries_that_do_not_go_together_are_refused_all_reasons_at_once(people, tmp_path):
    other = People(seed=2)
    write_json(tmp_path / "adjusted.json", {"covariates": [{"name": "plate"}]})
    given = {
        "plain": people.summary(tmp_path / "1", genome="hg19"),
        "odd": other.summary(tmp_path / "2", adjusted=tmp_path / "adjusted.json", genome="hg38"),
    }
    text = refusal(given, tmp_path)
    assert "genome build of positions (`summarise.genome`): hg19 in 'plain'; hg38 in 'odd'" in text
    assert "betas adjusted for: nothing in 'plain'; plate in 'odd'" in text
    other.cpgs = [f"{name}_TC11" for name in other.cpgs]
    given = {"plain": people.summary(tmp_path / "3"), "v2": other.summary(tmp_path / "4")}
    assert "ids with suffixes of EPICv2 or MSA: no in 'plain'; yes in 'v2'" in refusal(given, tmp_path)
    other.cpgs = [f"cg9{number:07d}" for number in range(30)]
    given = {"plain": people.summary(tmp_path / "5"), "far": other.summary(tmp_path / "6")}
    assert "'far'" in (text := refusal(given, tmp_path))
    assert "has no CpG that another has ('cg90000000'" in text


def test_the_same_cohort_twice_is_noticed_even_where_it_was_summarised_otherwise(people, tmp_path):
    given = {
        "one": people.summary(tmp_path / "1"),
        "two": people.summary(tmp_path / "2", min_stratum=30),
        "three": people.summary(tmp_path / "3", min_cell=5),
        "four": People(seed=3).summary(tmp_path / "4"),
    }
    text = refusal(given, tmp_path)
    assert "3 input problems" in text
    assert "are the same cohort: its people would count twice" in text
    assert "'four'" not in text


# --- the plan --------------------------------------------------------------------------------------------------------


def plan_of(**config) -> Plan:
    return Plan(check_config(config, ROOT / "workflow/schemas/config.schema.yaml"), ROOT / "resources")


def test_the_cohort_is_the_first_covariate_unless_it_is_not_wanted():
    both = {"a": "a.parquet", "b": "b.parquet"}
    assert plan_of(pool={"summaries": both}, adjust={"covariates": ["sex"]}).covariates == ["cohort", "sex"]
    assert plan_of(pool={"summaries": both, "take_out_cohort": False}).covariates == []
    assert plan_of(pool={"summaries": {"a": "a.parquet"}}).covariates == []
    assert plan_of(adjust={"covariates": ["sex"]}).covariates == ["sex"]


def test_what_does_not_go_with_summaries_is_told_at_once(tmp_path):
    with pytest.raises(InputError) as caught:
        plan_of(
            pool={"summaries": {"a b": "a.parquet", "c": "./a.parquet", "d": "{d}.parquet"}},
            cohort={"beta": "own.csv", "only": {"sex": "F"}},
            adjust={"covariates": ["cell_fractions"], "reference": "r.csv"},
            cell_types={"show": True},
        )
    text = caught.value.text()
    assert "6 input problems" in text
    assert "cell_types.show is set, and pseudo-people have no cells" in text
    assert "cohort.beta, cohort.only would do nothing" in text
    assert "a b and c are the same file" in text
    plan = plan_of(pool={"summaries": {"a": "nowhere.parquet"}})
    with pytest.raises(InputError, match=r"pool\.summaries\.a: nowhere\.parquet is not there"):
        plan.summaries()
    with pytest.raises(InputError, match="looks at each person's CpGs together"):
        plan.people()
    assert plan_of().people() == {}
    with pytest.raises(InputError, match=r"pool\.summaries names no summary"):
        plan_of().summaries()

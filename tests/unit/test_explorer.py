"""The explorer's data: what is chosen, how it is packed, and what page and folder hold."""

import base64
import json
import re
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cohorts import SHIPPED_RULES, cohort_of, statistics_of
from cpgtaxa.errors import InputError
from cpgtaxa.explorer import packing
from cpgtaxa.explorer.choosing import choose_cpgs, choose_samples, shares
from cpgtaxa.explorer.columns import BOUNDARIES, Index, kept, scale_of
from cpgtaxa.explorer.writing import described_samples, in_json, in_steps, write_explorer
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.patterns.columns import CAUSES, SHAPES
from cpgtaxa.statistics.kernel import NAMES


def unpacked(text: str) -> bytes:
    """The bytes behind `packing.packed_bytes`."""
    return zlib.decompress(base64.b64decode(text))


def from_planes(content: bytes, dtype) -> np.ndarray:
    """The array behind `packing.planes`, written apart from it."""
    size = np.dtype(dtype).itemsize
    return np.frombuffer(content, np.uint8).reshape(size, -1).T.copy().reshape(-1).view(np.dtype(dtype))


def test_betas_and_probabilities_keep_four_decimals_and_what_is_missing():
    values = np.array([0.0, 0.12345, 1.0, np.nan, -0.3, 7.0, -2.0], dtype=np.float32)
    codes = packing.beta_codes(values)
    assert codes.dtype == np.uint16
    assert codes[3] == packing.MISSING
    back = codes / 1e4 - 1
    np.testing.assert_allclose(back[[0, 1, 2, 4]], values[[0, 1, 2, 4]], atol=5.1e-5)
    assert back[5] == pytest.approx((packing.MISSING - 1) / 1e4 - 1)
    assert back[6] == -1.0
    shares_ = packing.share_codes(np.array([0, 0.99999, 1, np.nan], dtype=np.float32))
    assert shares_.tolist() == [0, 10000, 10000, packing.MISSING]


def test_p_values_far_below_float32_keep_their_digits():
    p = pd.Series([1.0, 0.05, 1e-300, 0.0, np.nan])
    logs = kept("slope_p", p)
    assert logs.dtype == np.float32
    with np.errstate(under="ignore"):
        np.testing.assert_allclose(10.0 ** logs.astype(float), p, rtol=1e-4)
    assert np.isneginf(logs[3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.float32])
def test_packing_is_undone_and_the_same_each_time(dtype):
    array = (np.random.default_rng(1).random((7, 5)) * 200).astype(dtype)
    text = packing.packed(array)
    assert text == packing.packed(array.copy())
    np.testing.assert_array_equal(from_planes(unpacked(text), dtype), array.reshape(-1))


def test_names_become_codes_and_a_strange_one_is_an_error():
    codes = packing.name_codes(["b", None, "a", np.nan], ["a", "b"])
    assert codes.tolist() == [1, packing.NO_CODE, 0, packing.NO_CODE]
    with pytest.raises(ValueError, match="'c' is not one of"):
        packing.name_codes(["c"], ["a", "b"])


def test_shares_are_equal_small_groups_whole_and_sum_up():
    for most in (1, 7, 99, 500, 5000):
        taken = shares(np.array([1000, 3, 50, 0, 1000]), most)
        assert taken.sum() == min(most, 2053)
        assert (taken <= [1000, 3, 50, 0, 1000]).all()
    taken = shares(np.array([1000, 3, 50, 1000]), 400)
    assert taken[1:3].tolist() == [3, 50]
    assert abs(int(taken[0]) - int(taken[3])) <= 1


def test_rare_groups_are_in_the_sample_and_those_on_the_map_first():
    groups = np.repeat([0, 1, 2], [5000, 4990, 10])
    first = np.zeros(10000, dtype=bool)
    first[100:120] = True
    rows = choose_cpgs(groups, 300, 5, first)
    assert len(rows) == 300
    assert (np.diff(rows) > 0).all()
    assert np.bincount(groups[rows]).tolist()[2] == 10
    assert set(range(100, 120)) <= set(rows)
    np.testing.assert_array_equal(rows, choose_cpgs(groups, 300, 5, first))
    assert not np.array_equal(rows, choose_cpgs(groups, 300, 6, first))
    assert choose_cpgs(groups, 20000, 5).tolist() == list(range(10000))


def test_samples_are_spread_over_the_ages():
    ages = np.random.default_rng(2).uniform(20, 90, 1000)
    drawn = choose_samples(ages, 100, 1)
    assert len(set(drawn)) == 100
    places = np.sort(np.argsort(np.argsort(ages))[drawn])
    assert (places // 10 == np.arange(100)).all()  # one of each hundredth of the ages
    np.testing.assert_array_equal(drawn, choose_samples(ages, 100, 1))


def test_scale_does_without_spread_and_without_values():
    assert scale_of(np.array([np.nan, np.inf], dtype=np.float32)) == [0.0, 1.0]
    assert scale_of(np.zeros(9))[1] > 0
    middle, spread = scale_of(np.random.default_rng(0).normal(3, 2, 20000))
    assert middle == pytest.approx(3, abs=0.05)
    assert spread == pytest.approx(2, abs=0.06)


def test_statistics_come_in_steps_whatever_the_row_groups(tmp_path):
    frame = pd.DataFrame({"cpg": [f"cg{i}" for i in range(100)]} | {name: np.arange(100.0) for name in NAMES})
    for name in ("n", "outlier_n", "far_n"):
        frame[name] = frame[name].astype(np.int32)
    frame["mixture_ran"] = True
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "s.parquet", row_group_size=7)
    found = list(in_steps(tmp_path / "s.parquet", 16))
    assert [(start, len(part)) for start, part in found] == [*((low, 16) for low in range(0, 96, 16)), (96, 4)]
    assert pd.concat([part for _, part in found])["mean"].tolist() == list(range(100))


def test_json_in_the_page_cannot_end_its_script():
    text = str(in_json({"a": "</script><!-- &amp; \u2028"}))
    assert not re.search(r"[<>&\u2028]", text)
    assert json.loads(text) == {"a": "</script><!-- &amp; \u2028"}


def test_samples_without_ids_are_numbers_and_columns_with_many_names_are_left_out():
    sheet = pd.DataFrame({"sample_id": ["a", "b", "c"], "age": [20.0, 30.5, 40.0]})
    sheet = sheet.assign(sex=["F", None, "M"], same="x", person=["p1", "p2", "p3"])
    found = described_samples(sheet, np.array([0, 2]), True)
    assert found["ids"] == ["a", "c"]
    assert (found["middle"], found["median"]) == (pytest.approx(90.5 / 3), 30.5)  # of all samples
    assert found["covariates"][0] == {"name": "sex", "names": ["F", "M"], "codes": [0, 1]}
    assert "same" not in [entry["name"] for entry in found["covariates"]]
    hidden = described_samples(sheet, np.array([0, 2]), False)
    assert hidden["ids"] == ["sample 1", "sample 3"]
    assert hidden["covariates"] == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Paths of the tables of a run of 90 CpGs and 40 samples, missing betas among them."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(4)
    names, ages = [f"cg{number:03d}" for number in rng.permutation(90)], rng.uniform(20, 90, 40).round(1)
    values = rng.uniform(0, 1, (90, 1)) + rng.normal(0, 0.03, (90, 40))
    values[rng.random(values.shape) < 0.05] = np.nan
    values[5] = np.nan
    values = np.clip(values, 0, 1).astype(np.float32)
    ids = [f"s{number}" for number in range(40)]
    cohort_of(folder, values, names, ids)
    pd.DataFrame({"sample_id": ids, "age": ages}).to_parquet(folder / "samples.parquet", index=False)
    statistics = statistics_of(values, ages, cpgs=names)
    statistics.to_parquet(folder / "statistics.parquet", index=False)
    taxon = rng.choice([*TAXA, UNCLASSIFIED], 90).astype(object)
    p = rng.dirichlet(np.ones(10), 90).astype(np.float32)
    p[3] = np.nan
    table = pd.DataFrame({"cpg": names, "taxon": taxon})
    table["source"] = np.where(taxon == UNCLASSIFIED, "none", rng.choice(["statistical", "round_0", "round_10"], 90))
    table["confidence"] = p.max(axis=1)
    table["second_taxon"] = np.where(np.isnan(p[:, 0]), None, TAXA[2])
    table[list(PROBABILITY_COLUMNS)] = p
    table["boundary"] = np.where(np.arange(90) < 7, "trend", "")
    table["criterion"], table["margin"] = "trend", rng.random(90).astype(np.float32)
    table["network_p"], table["disagrees"] = table["confidence"], np.arange(90) % 9 == 0
    table.loc[taxon == UNCLASSIFIED, "confidence"] = np.nan
    table.to_parquet(folder / "taxonomy.parquet", index=False)
    patterns = pd.DataFrame(
        {"cpg": names, "shape": rng.choice(list(SHAPES), 90), "cause": rng.choice([*CAUSES, None], 90)}
    )
    patterns["change_point"], patterns["replication"] = np.float32(50), rng.random(90)
    patterns["spread_shape"], patterns["spread_change_point"] = rng.choice(list(SHAPES), 90), 10 + 80 * rng.random(90)
    patterns.to_parquet(folder / "patterns.parquet", index=False)
    left = table.loc[taxon == UNCLASSIFIED, ["cpg"]].assign(reason="ambiguous", detail="open: trend; BiAge or BiNonAge")
    left.to_parquet(folder / "unclassified.parquet", index=False)
    places = table.loc[:29, ["cpg"]].assign(x=0.5, y=range(30), cluster="")
    places.to_csv(folder / "map.csv", index=False)
    near = pd.DataFrame({"cpg": names[:30], "neighbour_1": names[1:31]})
    near.loc[29, "neighbour_1"] = names[0]
    near.to_csv(folder / "neighbours.csv", index=False)
    return {path.stem: str(path) for path in folder.iterdir()} | {"values": values, "names": names}


def write(run, folder, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: path for name, path in run.items() if name not in ("values", "names")}
    out = {"html": str(folder / "explorer.html"), "folder": str(folder / "explorer")}
    settings = {"cpgs": 30, "samples": 25, "sample_ids": True, "own_labels": False} | settings
    write_explorer(given, out, settings=settings, rules=SHIPPED_RULES, seed=1)
    page = (folder / "explorer.html").read_text()
    return page, json.loads(re.search(r'id="about">(.*?)</script>', page, re.S).group(1))


def content(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_page_and_folder_hold_what_the_tables_say(run, tmp_path, monkeypatch):
    monkeypatch.setattr("cpgtaxa.explorer.writing.SHARD_VALUES", 25 * 16)
    page, about = write(run, tmp_path)
    assert (about["n"], about["total"], about["companion"], about["perShard"]) == (30, 90, "explorer", 16)
    assert about["ownLabels"] is False
    assert [source["name"] for source in about["sources"]] == ["statistical", "round_0", "round_10", "none"]
    drawn = [int(name[1:]) for name in about["samples"]["ids"]]
    assert len(drawn) == 25
    found, numbers = [], []
    for number in range(6):
        text = (tmp_path / f"explorer/beta/0/{number}.js").read_text()
        name, packed = re.fullmatch(r'cpgtaxaPiece\("([^"]+)","([^"]+)"\)\n', text).groups()
        assert name == f"beta/{number}"
        bytes_, k = unpacked(packed), 16 if number < 5 else 10
        assert len(bytes_) == k * (25 * 2 + 4 * len(NAMES) + 20 + 1)
        found.append(from_planes(bytes_[: k * 50], np.uint16).reshape(k, 25))
        rest = bytes_[k * 50 : k * (50 + 4 * len(NAMES))]
        numbers.append(from_planes(rest, np.float32).reshape(len(NAMES), k)[NAMES.index("mean")])
    np.testing.assert_array_equal(np.concatenate(found), packing.beta_codes(run["values"][:, drawn]))
    means = pd.read_parquet(run["statistics"])["mean"].to_numpy(dtype=np.float32)
    np.testing.assert_array_equal(np.concatenate(numbers), means)
    ids = re.search(r'id="piece-ids">(.*?)</script>', page).group(1)
    rows = re.search(r'id="piece-row">(.*?)</script>', page).group(1)
    rows = from_planes(unpacked(rows), np.uint32)
    assert json.loads(unpacked(ids)) == [run["names"][row] for row in rows]
    assert about["digest"] in (tmp_path / "explorer/about.js").read_text()


def test_the_same_run_gives_the_same_bytes_and_another_size_another_digest(run, tmp_path):
    first, about = write(run, tmp_path / "one")
    second, _ = write(run, tmp_path / "two")
    assert first == second
    assert content(tmp_path / "one") == content(tmp_path / "two")
    _, other = write(run, tmp_path / "three", samples=20)
    assert other["digest"] != about["digest"]


def test_a_small_cohort_is_whole_in_the_page_and_needs_no_folder(run, tmp_path):
    _, about = write(run, tmp_path, cpgs=100)
    assert (about["n"], about["companion"]) == (90, None)
    assert list(content(tmp_path / "explorer")) == ["about.txt"]


def test_bands_are_those_of_tests_and_taxon(run):
    index = Index(*(run[name] for name in ("taxonomy", "unclassified", "statistics", "patterns")), SHIPPED_RULES)
    statistics = pd.read_parquet(run["statistics"])
    assert index.bands[5] == 0  # no values
    single = np.isin(index.taxon, [code for code, name in enumerate(TAXA) if not name.startswith(("Bi", "Tri"))])
    assert set(index.bands[single & np.isfinite(statistics["slope"])]) == {1}
    assert (index.reason[index.taxon == len(TAXA)] == 0).all()
    assert (index.reason[index.taxon < len(TAXA)] == packing.NO_CODE).all()
    assert {list(BOUNDARIES)[code] for code in index.boundary[:7]} == {"trend"}
    assert (index.boundary[7:] == packing.NO_CODE).all()
    table = pd.read_parquet(run["patterns"])
    assert [list(SHAPES)[code] for code in index.shape] == list(table["shape"])
    assert [list(SHAPES)[code] for code in index.spread_shape] == list(table["spread_shape"])
    np.testing.assert_array_equal(index.spread_change_point, table["spread_change_point"].to_numpy(np.float32))
    causes = ["" if code == packing.NO_CODE else list(CAUSES)[code] for code in index.cause]
    assert causes == list(table["cause"].fillna(""))
    np.testing.assert_array_equal(index.replication, table["replication"].to_numpy(np.float32))
    assert index.rank()[np.argsort(run["names"])].tolist() == list(range(90))


def test_whose_cells_change_is_kept_where_it_is_to_be_shown(run, tmp_path):
    rng, names = np.random.default_rng(8), run["names"]
    said = pd.DataFrame({"cpg": names})
    for prefix in ("", "spread_"):
        said[f"{prefix}cell_type"] = rng.choice(["", "Neu", "CD4|NK", "undecided"], 90)
        said[f"{prefix}cell_type_q"] = 10.0 ** -rng.uniform(0, 200, 90)
    said.loc[4, "cell_type_q"] = np.nan
    rows = said.loc[said.index.repeat(3)].assign(type=["Neu", "CD4", "NK"] * 90)
    rows.to_parquet(tmp_path / "c.parquet", index=False, row_group_size=50)
    types = pd.DataFrame({"type": ["Neu", "CD4", "NK", "Eos"], "untested": ["", "", "", "too few"]})
    types.to_csv(tmp_path / "types.csv", index=False)
    cells = {"cell_types": str(tmp_path / "c.parquet"), "types": str(tmp_path / "types.csv")}
    page, about = write(run | cells, tmp_path / "with", cpgs=100)
    assert about["cellTypes"] == ["Neu", "CD4", "NK"]
    words = [*(one["name"] for one in about["cellsSaid"])]
    assert words == ["CD4|NK", "Neu", "undecided"]
    assert {*said} - {"cpg"} <= {*about["meanings"]}
    for name in said.columns[1:]:
        text = re.search(rf'id="piece-{name}">(.*?)</script>', page).group(1)
        if name.endswith("_q"):
            logs = from_planes(unpacked(text), np.float32)
            np.testing.assert_allclose(logs, np.log10(said[name]), rtol=1e-6)
        else:
            codes = from_planes(unpacked(text), np.uint16)
            assert ["" if code == packing.MISSING else words[code] for code in codes] == said[name].tolist()
    without, about = write(run, tmp_path / "without", cpgs=100)
    assert "piece-cell_type" not in without
    assert not {"cellTypes", "cellsSaid"} & set(about)
    rows[::-1].to_parquet(tmp_path / "c.parquet", index=False)
    with pytest.raises(InputError, match=r"c\.parquet is not of this taxonomy"):
        write(run | cells, tmp_path / "with")
    with pytest.raises(ValueError, match="do not fit two bytes"):
        packing.long_codes(["a"], [str(number) for number in range(65536)])


def test_tables_of_another_run_are_reported(run, tmp_path):
    shorter = pd.read_parquet(run["statistics"]).iloc[1:]
    shorter.to_parquet(tmp_path / "s.parquet", index=False)
    with pytest.raises(InputError, match="not of the same CpGs"):
        write(run | {"statistics": str(tmp_path / "s.parquet")}, tmp_path / "out")
    pd.read_parquet(run["patterns"]).iloc[::-1].to_parquet(tmp_path / "p.parquet", index=False)
    with pytest.raises(InputError, match=r"p\.parquet is not of this taxonomy"):
        write(run | {"patterns": str(tmp_path / "p.parquet")}, tmp_path / "out")
    other = pd.read_csv(run["map"]).replace({"cpg": {run["names"][0]: "elsewhere"}})
    other.to_csv(tmp_path / "map.csv", index=False)
    with pytest.raises(InputError, match="not of this taxonomy"):
        write(run | {"map": str(tmp_path / "map.csv")}, tmp_path / "out")

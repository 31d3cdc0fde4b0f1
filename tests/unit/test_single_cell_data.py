"""The table of sites, windows around them, what cells say together, and the simulated genome."""

import json
import pathlib
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import SHARED
from cpgtaxa.errors import InputError
from cpgtaxa.targets.single_cell import neighbours, simulated, sites, windows
from cpgtaxa.targets.single_cell.genome import cpg_positions, open_genome
from cpgtaxa.targets.single_cell.statistics import site_statistics
from cpgtaxa.targets.single_cell.tables import Sites, window_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from single_cell_files import neighbours_of, write_sites

OUT = {
    "sites": "sites.arrow",
    "statistics": "statistics.parquet",
    "cells": "cells.csv",
    "annotations": "annotations.parquet",
    "qc": "qc.json",
}
SETTINGS = {
    "dna_wlen": 21,
    "coordinates": "auto",
    "columns": None,
    "max_not_cpg": 0.01,
    "split": {"train": None, "val": None, "test": None},
}


def sequence(rng, length):
    """Random bases, a CpG every sixteenth base or so."""
    return "".join(rng.choice(list("ACGT"), length))


class Bench:
    """Three chromosomes, and two cells that observe most of their CpGs; each can be changed before `prepare`."""

    def __init__(self, folder):
        rng = np.random.default_rng(3)
        self.folder = folder
        self.sequences = {f"chr{name}": sequence(rng, 4000) for name in (1, 2, 10)}
        self.cpgs = {
            chrom: np.array([at + 1 for at in range(len(bases) - 1) if bases[at : at + 2] == "CG"])
            for chrom, bases in self.sequences.items()
        }
        self.cells = {}
        for cell in ("a", "b"):
            rows = [(chrom, position) for chrom, found in self.cpgs.items() for position in found]
            frame = pd.DataFrame(rows, columns=["chrom", "position"])[rng.random(len(rows)) < 0.8]
            self.cells[cell] = frame.assign(value=rng.integers(0, 2, len(frame)))
        self.annotations = {}
        self.has_genome = True

    def prepare(self, **changes):
        profiles = {}
        for cell, frame in self.cells.items():
            profiles[cell] = self.folder / f"{cell}.tsv"
            frame.to_csv(profiles[cell], sep="\t", header=False, index=False)
        beds = {}
        for name, rows in self.annotations.items():
            beds[name] = self.folder / f"{name}.bed"
            pd.DataFrame(rows).to_csv(beds[name], sep="\t", header=False, index=False)
        self.genome = self.folder / "genome.fa"
        self.genome.write_text("".join(f">{name}\n{bases}\n" for name, bases in self.sequences.items()))
        files = {"profiles": profiles, "annotations": beds, "genome": self.genome if self.has_genome else None}
        self.out = {name: self.folder / "out" / file for name, file in OUT.items()}
        sites.prepare(files, self.out, settings=SETTINGS | changes)
        table = Sites(self.out["sites"])
        return table, table.rows(0, table.n), json.loads(self.out["qc"].read_text())

    def refused(self, **changes) -> str:
        """The message; nothing may be written."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        with pytest.raises(InputError) as error:
            self.prepare(**changes)
        assert not [path for path in (self.folder / "out").rglob("*") if path.is_file()]
        return error.value.text()


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def shifted(frame, by):
    return frame.assign(position=frame["position"] + by)


# --- sites -----------------------------------------------------------------------------------------------------------


def test_the_table_of_sites_against_a_merge_of_tables(bench):
    bench.annotations = {"left": [("1", 0, 2000), ("chr2", 100, 101)], "nowhere": [("chr7", 0, 5)]}
    table, block, qc = bench.prepare()
    merged = bench.cells["a"].merge(bench.cells["b"], on=["chrom", "position"], how="outer").fillna(-1)
    order = {name: number for number, name in enumerate(bench.sequences)}  # of the FASTA, not of the alphabet
    merged = merged.sort_values(["chrom", "position"], key=lambda column: column.replace(order))
    assert table.cells == ["a", "b"]
    assert [table.chroms[code] for code in block.chrom] == merged["chrom"].tolist()
    assert block.position.tolist() == merged["position"].tolist()
    np.testing.assert_array_equal(block.states, merged[["value_x", "value_y"]])
    assert qc["sites"] == table.n == len(merged)
    assert qc["observations"] == sum(map(len, bench.cells.values()))
    assert any("nowhere has no interval" in note for note in qc["warnings"])

    within = pd.read_parquet(bench.out["annotations"])
    zero = merged["position"].to_numpy() - 1
    chrom = merged["chrom"].to_numpy()
    assert within["site"].tolist() == list(range(table.n))
    assert (
        within["left"].tolist() == (((chrom == "chr1") & (zero < 2000)) | ((chrom == "chr2") & (zero == 100))).tolist()
    )
    assert not within["nowhere"].any()

    cells = pd.read_csv(bench.out["cells"]).set_index("cell")
    for cell, frame in bench.cells.items():
        assert cells.loc[cell, "observed"] == len(frame)
        assert cells.loc[cell, "rate"] == pytest.approx(frame["value"].mean(), abs=1e-6)
        assert cells.loc[cell, "coverage"] == pytest.approx(len(frame) / table.n, abs=1e-6)
    statistics = pd.read_parquet(bench.out["statistics"])
    assert statistics["chrom"].astype(str).tolist() == merged["chrom"].tolist()
    assert statistics["position"].tolist() == merged["position"].tolist()
    pd.testing.assert_frame_equal(statistics.iloc[:, 2:], site_statistics(block.states))


def test_batches_of_sites_do_not_show(bench, monkeypatch):
    bench.annotations = {"left": [("chr1", 0, 2000)]}
    _, whole, _ = bench.prepare()
    within = pd.read_parquet(bench.out["annotations"])
    monkeypatch.setattr(sites, "ROWS", 7)
    table, block, _ = bench.prepare()
    for name in ("chrom", "position", "split", "states"):
        np.testing.assert_array_equal(getattr(block, name), getattr(whole, name))
    pd.testing.assert_frame_equal(pd.read_parquet(bench.out["annotations"]), within)
    assert pa.ipc.open_file(str(bench.out["sites"])).num_record_batches > table.n // 7


def test_names_without_chr_are_taken_for_those_of_the_genome(bench):
    expected = bench.prepare()[1]
    bench.cells["b"]["chrom"] = bench.cells["b"]["chrom"].str.removeprefix("chr")
    table, block, qc = bench.prepare()
    np.testing.assert_array_equal(block.states, expected.states)
    assert table.chroms == list(bench.sequences)
    assert "The chromosome 1 of 1 cell is taken for chr1." in qc["warnings"]
    bench.has_genome = False  # then the first cell's spelling holds, numbers in order
    table, _, _ = bench.prepare()
    assert table.chroms == ["chr1", "chr2", "chr10"]


def test_positions_of_the_other_strand_are_moved_and_merged(bench):
    expected = bench.prepare()[1]
    frame = bench.cells["a"]
    bench.cells["a"] = pd.concat([frame.iloc[:40], shifted(frame.iloc[20:], 1)])  # 20 rows on both strands
    _, block, qc = bench.prepare()
    np.testing.assert_array_equal(block.states, expected.states)
    assert qc["checks"]["moved"] == len(frame) - 20
    assert qc["checks"]["strands"] == 20
    bench.cells["a"] = shifted(frame, 1)
    _, block, qc = bench.prepare()
    np.testing.assert_array_equal(block.states, expected.states)
    assert any("Nearly all positions of 1 cell ('a')" in note for note in qc["warnings"])


def test_the_middle_of_cgcg_is_two_cpgs_where_there_is_a_genome(bench):
    bench.sequences["chr1"] = "AAACGCGAAA" + bench.sequences["chr1"]
    for cell in bench.cells:
        own = bench.cells[cell]
        bench.cells[cell] = own.assign(position=own["position"] + 10 * (own["chrom"] == "chr1"))
    middle = pd.DataFrame({"chrom": "chr1", "position": [5, 6], "value": [1, 0]})  # G of the first, C of the second
    bench.cells["a"] = pd.concat([middle, bench.cells["a"]])
    _, block, _ = bench.prepare()
    assert block.position[:2].tolist() == [4, 6]
    assert block.states[:2, 0].tolist() == [1, 0]
    assert block.states[:2, 1].tolist() == [-1, -1]


def test_a_few_positions_at_no_cpg_are_dropped_and_counted(bench):
    expected = bench.prepare()[1]
    elsewhere = next(at for at in range(100, 4000) if not {at - 1, at, at + 1} & set(bench.cpgs["chr1"]))
    bench.cells["a"] = pd.concat(
        [bench.cells["a"], pd.DataFrame([("chr1", elsewhere, 1)], columns=["chrom", "position", "value"])]
    )
    _, block, qc = bench.prepare()
    np.testing.assert_array_equal(block.states, expected.states)
    assert qc["checks"]["not_cpg"] == 1
    assert "1 positions at no CpG of the genome are left out." in qc["warnings"]
    assert "more than `single_cell.max_not_cpg` (0)" in bench.refused(max_not_cpg=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: shifted(frame, -1), "most positions count from 0 in a file taken to count from 1"),
        (
            lambda frame: pd.concat([shifted(frame, -1), frame]),
            "most positions count from 0 in a file taken to count from 1",
        ),
        (lambda frame: shifted(frame, 37).query("position < 4000"), "it seems to be another genome build"),
        (lambda frame: shifted(frame, 100_000), "beyond the end of the chromosome, for example line "),
        (lambda frame: frame.assign(chrom="chr7"), "has no chromosome 'chr7'; it has 'chr1', 'chr2', 'chr10'"),
    ],
)
def test_profiles_that_do_not_fit_the_genome_are_explained(bench, change, said):
    bench.cells["a"] = change(bench.cells["a"])
    assert said in bench.refused()


def test_a_position_beyond_the_end_is_reported_with_its_line(bench):
    frame = bench.cells["a"]
    far = pd.DataFrame([("chr1", 999_999, 1)], columns=["chrom", "position", "value"])
    bench.cells["a"] = pd.concat([frame.iloc[:7], far, frame.iloc[7:]])
    assert "1 position beyond the end of the chromosome, for example line 8: chr1 999,999, where" in bench.refused()


def test_what_the_message_says_to_set_mends_it(bench):
    expected = bench.prepare()[1]
    bench.cells = {cell: shifted(frame, -1) for cell, frame in bench.cells.items()}
    said = bench.refused()
    assert said.startswith("2 input problems")
    assert said.count("set `single_cell.coordinates: zero_based`") == 2
    np.testing.assert_array_equal(bench.prepare(coordinates="zero_based")[1].states, expected.states)


def test_both_strands_counted_from_1_in_a_bedgraph(bench):
    frame = pd.concat([bench.cells["a"], shifted(bench.cells["a"], 1)])
    frame.insert(2, "end", frame["position"] + 1)
    bench.cells["a"] = frame
    said = bench.refused()
    assert "most positions count from 1 in a file taken to count from 0" in said
    assert "`single_cell.coordinates: one_based`" in said


def test_all_problems_are_reported_at_once(bench):
    bench.cells["a"] = shifted(bench.cells["a"], -1)
    bench.cells["b"]["value"] = 7
    bench.annotations = {"islands": [("chr1", 9, 5)]}
    said = bench.refused()
    assert "3 input problems" in said
    for part in ("count from 0", "values up to 7", "ends before it starts"):
        assert part in said


def test_columns_that_nothing_proves_are_asked_for_once(bench):
    for frame in bench.cells.values():
        frame["unmeth"] = 1 - frame["value"]
    said = bench.refused()
    assert "2 input problems" not in said
    assert "cell 'a' (and 1 more cells): nothing proves what its 4 columns are" in said
    _, block, _ = bench.prepare(columns=["chrom", "pos", "meth", "unmeth"])
    reported = pd.read_csv(bench.out["cells"])
    assert reported["read_as"].tolist() == ["single_cell.columns, positions from 1 (the column 'pos')"] * 2
    for frame in bench.cells.values():
        del frame["unmeth"]
    np.testing.assert_array_equal(bench.prepare()[1].states, block.states)


def test_cells_that_share_no_site(bench):
    a, b = bench.cells["a"], bench.cells["b"]
    bench.cells["b"] = b[~b.set_index(["chrom", "position"]).index.isin(a.set_index(["chrom", "position"]).index)]
    assert "no site is observed in two of the 2 cells" in bench.refused()
    bench.cells["c"] = a.iloc[::2]
    _, _, qc = bench.prepare()
    assert any("Cells that share no site with any other: 'b'" in note for note in qc["warnings"])


def test_the_same_file_for_two_cells_is_noted(bench):
    bench.cells["c"] = bench.cells["a"]
    _, _, qc = bench.prepare()
    assert any("The cells a and c are the same" in note for note in qc["warnings"])


def test_one_cell_alone_and_no_genome_are_noted(bench):
    del bench.cells["b"]
    bench.has_genome = False
    table, _, qc = bench.prepare()
    assert table.cells == ["a"]
    assert any("There is one cell" in note for note in qc["warnings"])
    assert any("No genome was given" in note for note in qc["warnings"])


def test_a_damaged_genome_is_reported_with_the_cells_problems(bench):
    bench.sequences["chr1"] = "MELVIQP"
    bench.cells["b"]["value"] = 7
    said = bench.refused()
    assert "is not DNA" in said
    assert "values up to 7" in said


# --- splits ----------------------------------------------------------------------------------------------------------


def by_chromosome(table, block):
    return {table.chroms[code]: set(block.split[block.chrom == code]) for code in np.unique(block.chrom)}


def test_splits_as_named(bench):
    split = {"train": None, "val": ["chr2"], "test": ["10"]}
    assert by_chromosome(*bench.prepare(split=split)[:2]) == {"chr1": {0}, "chr2": {1}, "chr10": {2}}
    bench.sequences["chr11"] = "CG" * 20
    bench.cells["a"] = pd.concat(
        [bench.cells["a"], pd.DataFrame([("chr11", 1, 1)], columns=["chrom", "position", "value"])]
    )
    found, qc = (
        bench.prepare(split=split | {"train": ["chr1"]})[:2],
        bench.prepare(split=split | {"train": ["chr1"]})[2],
    )
    assert by_chromosome(*found)["chr11"] == {-1}
    assert any("in no split: 'chr11'" in note for note in qc["warnings"])


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"val": ["chr2"], "test": ["chr7"]}, "single_cell.split.test: no chromosome 'chr7'"),
        ({"val": ["chr2"], "test": ["chr2", "chr10"]}, "the chromosome 'chr2' is in val and test"),
        ({"val": ["chr2", "chr2"], "test": ["chr10"]}, "the chromosome 'chr2' is twice in val"),
        ({"train": ["chr1"]}, "single_cell.split.val is empty"),
        ({"val": ["chr2", "chr1"], "test": ["chr10"]}, "single_cell.split.train: no site lies on 'the rest'"),
    ],
)
def test_bad_splits_are_named(bench, split, said):
    assert said in bench.refused(split=SETTINGS["split"] | split)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"1": 20, "2": 20, "3": 20, "4": 20, "5": 20}, (60, 20, 20)),
        ({"1": 50, "2": 30, "3": 20}, (50, 30, 20)),
        ({"1": 34, "2": 33, "3": 33}, (34, 33, 33)),
        ({"1": 96, "2": 2, "3": 2}, None),
    ],
)
def test_whole_chromosomes_near_the_shares(sizes, expected):
    chosen = sites.choose(sizes)
    got = chosen and tuple(sum(sizes[chrom] for chrom in chosen[name]) for name in sites.SPLITS)
    assert got == expected
    if chosen:
        assert sorted(chrom for of in chosen.values() for chrom in of) == sorted(sizes)


@given(st.lists(st.integers(1, 9), min_size=5, max_size=60), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_blocks_share_no_sequence(gaps, margin):
    position = np.cumsum(gaps)
    codes = sites.blocks(position, margin)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        left, right = position[codes == one], position[codes == other]
        if len(left) and len(right):
            assert right.min() - left.max() >= margin
    assert (codes[: round(0.6 * len(position))] == 0).all()


def test_two_chromosomes_are_cut_into_blocks(bench):
    bench.cells = {cell: frame[frame["chrom"] != "chr10"] for cell, frame in bench.cells.items()}
    _, block, qc = bench.prepare(dna_wlen=101)
    for code in range(2):
        own = block.split[block.chrom == code]
        assert set(own) == {-1, 0, 1, 2}
        assert (own == 0).mean() == pytest.approx(0.6, abs=0.01)
    assert qc["split"] == {
        name: int((block.split == at).sum()) for at, name in ((0, "train"), (1, "val"), (2, "test"), (-1, "none"))
    }
    assert "sites are too few, or too close, to be split" in bench.refused(dna_wlen=9001)


# --- windows ---------------------------------------------------------------------------------------------------------


def slow_neighbours(position, states, width):
    """One site, one cell, one side after the other."""
    half, near, distance = width // 2, [], []
    for row in range(len(position)):
        for cell in range(states.shape[1]):
            seen = [at for at in range(len(position)) if states[at, cell] >= 0 and at != row]
            left = [at for at in seen if position[at] < position[row]][-half:] if half else []
            right = [at for at in seen if position[at] > position[row]][:half]
            both = [None] * (half - len(left)) + left + right + [None] * (half - len(right))
            near += [-1 if at is None else int(states[at, cell]) for at in both]
            distance += [-1 if at is None else abs(int(position[at] - position[row])) for at in both]
    shape = (len(position), states.shape[1], width)
    return np.reshape(near, shape), np.reshape(distance, shape)


@given(st.integers(1, 30), st.integers(1, 3), st.sampled_from([2, 4, 10]), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_neighbours_against_a_slow_search(n, cells, width, seed):
    rng = np.random.default_rng(seed)
    position = np.cumsum(rng.integers(1, 50, n))
    states = rng.integers(-1, 2, (n, cells)).astype(np.int8)
    near, distance = slow_neighbours(position, states, width)
    first, last = sorted(rng.integers(0, n + 1, 2))
    found = neighbours.neighbours(position, states, first, last, width)
    np.testing.assert_array_equal(found[0], near[first:last])
    np.testing.assert_array_equal(found[1], distance[first:last])


def test_neighbours_of_any_sites_end_with_their_chromosome(tmp_path):
    rng = np.random.default_rng(1)
    chrom = np.repeat(["chr1", "chr2", "chr3"], [30, 1, 19])
    position = np.cumsum(rng.integers(1, 50, 50))
    states = rng.integers(-1, 2, (50, 3)).astype(np.int8)
    write_sites(tmp_path / "sites.arrow", chrom, position, np.zeros(50, np.int8), states, rows=7)
    rows = np.concatenate([rng.permutation(50)[:20], [28, 29, 30, 31, 32]])
    found = neighbours.Neighbourhoods(Sites(tmp_path / "sites.arrow"), 6, reach=2)
    for mine, expected in zip(found.nearest(rows), neighbours_of(chrom, position, states, 6), strict=True):
        np.testing.assert_array_equal(mine, expected[rows])
    around, apart = found.around(rows)
    for at, row in enumerate(rows):
        for offset in range(-2, 3):
            other = row + offset
            there = 0 <= other < 50 and chrom[other] == chrom[row]
            assert around[at, :, offset + 2].tolist() == (states[other].tolist() if there else [-1] * 3)
            assert apart[at, offset + 2] == (abs(position[other] - position[row]) if there else -1)
    inputs = found.inputs(rows)
    assert inputs.shape == neighbours.uninformative(3, 6, 2).repeat(25, axis=0).shape == (25, 3, 22)
    assert (inputs[:, :, 14] == np.where(states[rows] < 0, 0.5, states[rows])).all()
    assert (inputs[:, :, 19] == 0).all()  # the site itself
    one = neighbours.Neighbourhoods(Sites(tmp_path / "sites.arrow"), 6, cells=[1])
    np.testing.assert_array_equal(one.nearest(rows)[0], found.nearest(rows)[0][:, [1]])


def test_windows_of_all_shards_against_slow_ones(bench, monkeypatch):
    monkeypatch.setattr(windows, "ROWS", 11)
    table, block, _ = bench.prepare()
    for shards in (1, 3):
        paths = [bench.folder / f"{shard}-of-{shards}.arrow" for shard in range(1, shards + 1)]
        for shard, path in enumerate(paths, 1):
            windows.write_windows(bench.out["sites"], bench.genome, path, shard=shard, shards=shards, settings=SETTINGS)
        found = list(window_blocks(paths))
        assert max(len(window.site) for window in found) <= 11
        whole = {
            name: np.concatenate([getattr(window, name) for window in found])
            for name in ("site", "position", "split", "dna", "targets")
        }
        np.testing.assert_array_equal(whole["site"], np.arange(table.n))
        np.testing.assert_array_equal(whole["position"], block.position)
        np.testing.assert_array_equal(whole["split"], block.split)
        np.testing.assert_array_equal(whole["targets"], block.states)
        for code, chrom in enumerate(table.chroms):
            own = block.chrom == code
            padded = "N" * 10 + bench.sequences[chrom] + "N" * 10
            for row in np.flatnonzero(own):
                text = padded[block.position[row] - 1 :][:21]
                assert whole["dna"][row].tolist() == ["ACGTN".index(base) for base in text]
                assert text[10:12] == "CG"


def test_windows_without_a_genome_have_no_sequence(bench):
    bench.has_genome = False
    bench.prepare()
    path = bench.folder / "w.arrow"
    windows.write_windows(bench.out["sites"], None, path, shard=1, shards=1, settings=SETTINGS)
    assert all(window.dna is None for window in window_blocks([path]))
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        assert "dna" not in reader.schema.names
        assert json.loads(reader.schema.metadata[b"cells"]) == ["a", "b"]


def test_sequence_windows_anywhere(bench):
    bench.prepare()
    genome = open_genome(bench.genome)
    chroms, positions = ["chr10", "chr1", "chr10", "chr1"], [int(bench.cpgs["chr10"][0]), 1, 4000, 2000]
    found, is_cpg = windows.sequence_windows(genome, chroms, positions, 7)
    for row, (chrom, position) in enumerate(zip(chroms, positions, strict=True)):
        text = ("NNN" + bench.sequences[chrom] + "NNN")[position - 1 :][:7]
        assert found[row].tolist() == ["ACGTN".index(base) for base in text]
        assert is_cpg[row] == (position in bench.cpgs[chrom])
    assert is_cpg[0]
    with pytest.raises(InputError, match="chr7"):
        windows.sequence_windows(genome, ["chr7"], [1], 7)
    with pytest.raises(ValueError, match="odd"):
        windows.windows_of(genome["chr1"], np.array([5]), 6)


# --- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_by_hand():
    states = np.array([[1, 1, 0, 0], [1, 1, 1, -1], [0, -1, -1, -1], [-1, -1, -1, -1], [1, 1, 1, 0]], dtype=np.int8)
    found = site_statistics(states)
    nan = np.nan
    assert found["coverage"].tolist() == [4, 3, 1, 0, 4]
    np.testing.assert_allclose(found["mean"], [0.5, 1, 0, nan, 0.75])
    assert found["mode"].tolist() == [0, 1, 0, -1, 1]  # one half rounds to the even number
    np.testing.assert_allclose(found["var"], [0.25, 0, 0, nan, 0.1875])
    # ln 2; and -(3/4 ln 3/4 + 1/4 ln 1/4)
    np.testing.assert_allclose(found["entropy"], [0.693147, 0, 0, nan, 0.562335], rtol=1e-5)
    assert found["diff"].tolist() == [1, 0, 0, -1, 1]


# --- the simulated genome --------------------------------------------------------------------------------------------


def simulate(folder, seed=5, **changes):
    plan = {"cells": 4, "chromosomes": 3, "length": 120_000} | changes
    names = (
        "genome.fa.gz", "islands.bed", "motif_sites.bed", "truth.csv", "motif.txt", "positions.csv", "taxonomy.csv",
    )  # fmt: skip
    out = {name.split(".")[0]: folder / name for name in names}
    out["profiles"] = [folder / f"cell{cell}.tsv.gz" for cell in range(1, plan["cells"] + 1)]
    simulated.write_cells(plan, seed, out)
    return out


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("simulated"))


def test_the_same_seed_is_the_same_bytes(simulation, tmp_path):
    again, other = simulate(tmp_path / "again"), simulate(tmp_path / "other", seed=6)
    for name, path in simulation.items():
        for one, two, three in zip(
            *(found if name == "profiles" else [found] for found in (path, again[name], other[name])), strict=True
        ):
            assert pathlib.Path(one).read_bytes() == pathlib.Path(two).read_bytes()
            if one.suffix == ".gz":  # no time of writing, which two runs within a second would share
                assert one.read_bytes()[4:8] == bytes(4)
            assert name == "motif" or pathlib.Path(one).read_bytes() != pathlib.Path(three).read_bytes()


def test_truth_and_sequence_agree(simulation):
    truth, genome = pd.read_csv(simulation["truth"]), open_genome(simulation["genome"])
    motif = simulation["motif"].read_text().strip()
    assert genome.names == ["chr1", "chr2", "chr3"]
    for chrom, frame in truth.groupby("chrom"):
        codes = genome[chrom]
        assert cpg_positions(codes).tolist() == frame["position"].tolist()
        text = "".join("ACGTN"[code] for code in codes)
        middles = [at + 4 for at in range(len(text)) if text.startswith(motif, at)]
        near = np.array(
            [min(abs(position - 1 - middle) for middle in middles) <= 100 for position in frame["position"]]
        )
        # All near an exact motif are found; the others found are near a degenerate one.
        assert frame["motif"][near].all()
        assert frame["motif"].mean() < near.mean() + 0.1
    assert truth["motif"].mean() > 0.1
    assert len(pd.read_csv(simulation["positions"])) == len(truth)


def test_what_is_planted_is_there(simulation):
    truth = pd.read_csv(simulation["truth"])
    mean = truth.groupby(["island", "motif"])["p"].mean()
    assert mean[0, 0] > 0.7
    assert mean[0, 1] < 0.25
    assert mean[1, 0] < 0.25
    states = []
    for path in simulation["profiles"]:
        cell = pd.read_csv(path, sep="\t", header=None, names=["chrom", "position", "value"])
        states.append(truth.merge(cell, on=["chrom", "position"], how="left")["value"].to_numpy())
    states = np.stack(states, axis=1)
    coverage = np.isfinite(states).mean(axis=0)
    assert ((coverage > 0.15) & (coverage < 0.65)).all()
    # Probabilities are calibrated: of what is said to be so likely, so much is methylated.
    p = truth.filter(regex=r"^p_\d+$").to_numpy()
    for low in np.arange(0, 1, 0.2):
        there = np.isfinite(states) & (p >= low) & (p < low + 0.2)
        spread = np.sqrt((p * (1 - p))[there].sum()) / there.sum()
        assert abs(states[there].mean() - p[there].mean()) < 4 * spread
    # What cells do beyond sequence is more like their own neighbours than like the same site in other cells.
    sea = simulated.SEA + simulated.MOTIF_EFFECT * truth["motif"]
    beyond = np.log(p / (1 - p)) - np.where(truth["island"] == 1, simulated.IN_ISLAND, sea)[:, None]
    close = np.flatnonzero((np.diff(truth["position"]) > 0) & (np.diff(truth["position"]) < 200))
    own = np.corrcoef(beyond[close].ravel(), beyond[close + 1].ravel())[0, 1]
    across = np.corrcoef(beyond[:, 0], beyond[:, 1])[0, 1]
    assert own > across + 0.2
    # Observed states come in clumps.
    seen = np.isfinite(states)
    assert np.mean([np.corrcoef(cell[close], cell[close + 1])[0, 1] for cell in seen.T]) > 0.3


def test_taxa_are_tied_to_sequence(simulation):
    truth, taxa = pd.read_csv(simulation["truth"]), pd.read_csv(simulation["taxonomy"])["taxon"]
    motif, island = truth["motif"] == 1, (truth["island"] == 1) & (truth["motif"] == 0)
    assert (taxa[motif] == "LinAgeHomo").mean() > 0.5
    assert (taxa[island] == "UniStable").mean() > 0.5
    assert taxa[~motif & ~island].value_counts(normalize=True).max() < 0.2


def test_the_simulated_default_passes_its_own_checks(simulation, tmp_path):
    out = {name: tmp_path / file for name, file in OUT.items()}
    given = {
        "profiles": {f"cell{at}": path for at, path in enumerate(simulation["profiles"], 1)},
        "genome": simulation["genome"],
        "annotations": {"islands": simulation["islands"], "motif": simulation["motif_sites"]},
    }
    sites.prepare(given, out, settings=SETTINGS)
    table, truth = Sites(out["sites"]), pd.read_csv(simulation["truth"])
    block = table.rows(0, table.n)
    frame = pd.DataFrame({"chrom": np.array(table.chroms)[block.chrom], "position": block.position})
    reported = frame.merge(truth, on=["chrom", "position"], how="left")
    within = pd.read_parquet(out["annotations"])
    assert within["islands"].tolist() == (reported["island"] == 1).tolist()
    assert within["motif"].tolist() == (reported["motif"] == 1).tolist()
    checks = json.loads(out["qc"].read_text())["checks"]
    assert {name: count for name, count in checks.items() if count} == {"rows": int((block.states >= 0).sum())}


# --- real data -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_real_pseudo_cells(tmp_path):
    folder = SHARED / "single_cell"
    given = {
        "profiles": {f"p{at}": folder / f"bwameth_pseudocell{at}.tsv" for at in range(8)},
        "genome": folder / "bwameth_chrREF.fa.gz",
    }
    out = {name: tmp_path / file for name, file in OUT.items()}
    sites.prepare(given, out, settings=SETTINGS | {"dna_wlen": 1001})
    qc = json.loads(out["qc"].read_text())
    assert qc["sites"] == 3558
    assert qc["observations"] == 14_761
    assert qc["checks"]["not_cpg"] == qc["checks"]["moved"] == 0
    assert "The chromosome REF of 8 cells is taken for chrREF." in qc["warnings"]
    windows.write_windows(
        out["sites"],
        given["genome"],
        tmp_path / "w.arrow",
        shard=1,
        shards=1,
        settings={"dna_wlen": 1001},
    )
    dna = np.concatenate([window.dna for window in window_blocks([tmp_path / "w.arrow"])])
    assert windows.is_cpg(dna).all()

"""Cells whose sites are known by their order alone."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, SHARED
from cpgtaxa.errors import InputError
from cpgtaxa.plan.config import check_config
from cpgtaxa.targets.single_cell import sites
from cpgtaxa.targets.single_cell.by_order import read_by_order
from cpgtaxa.targets.single_cell.plan import SingleCellPlan, cell_names
from cpgtaxa.targets.single_cell.tables import FARTHEST, FARTHEST_BY_ORDER, Sites

OUT = ("sites", "statistics", "cells", "annotations", "qc")
SETTINGS = {"dna_wlen": 21, "coordinates": "auto", "columns": None, "max_not_cpg": 0.01, "split": {}}


def states(n=60, cells=3, seed=0):
    """Sites in order, next to each other, as no strands are: a third unobserved."""
    return np.random.default_rng(seed).integers(-1, 2, (n, cells)).astype(np.int8)


def written(folder, **arrays):
    np.savez(folder / "cells.npz", **arrays)
    return str(folder / "cells.npz")


def test_ranks_stand_for_positions_and_no_neighbours_are_merged(tmp_path):
    values = {f"chr{name}": states(seed=name) for name in (1, 2, 10)}
    path = written(tmp_path, **values)
    names = cell_names(path)
    assert names == ["cell1", "cell2", "cell3"]
    out = {name: tmp_path / "out" / name for name in OUT}
    given = {"profiles": dict.fromkeys(names, path), "annotations": {}, "genome": None}
    sites.prepare(given, out, settings=SETTINGS)
    table = Sites(out["sites"])
    assert table.chroms == ["chr1", "chr2", "chr10"]
    assert table.farthest == FARTHEST_BY_ORDER < FARTHEST
    block = table.rows(0, table.n)
    for code, chrom in enumerate(table.chroms):
        seen = (values[chrom] >= 0).any(axis=1)
        np.testing.assert_array_equal(block.position[block.chrom == code], np.flatnonzero(seen) + 1)
        np.testing.assert_array_equal(block.states[block.chrom == code], values[chrom][seen])
    assert any("known by their order alone" in text for text in json.loads(out["qc"].read_text())["warnings"])
    predicted = pd.read_csv(out["cells"])
    assert predicted["observed"].tolist() == [
        sum((one[:, cell] >= 0).sum() for one in values.values()) for cell in range(3)
    ]


@pytest.mark.parametrize("kind", ["<U7", "<U20"])
def test_cells_may_have_names_and_states_may_be_floats(tmp_path, kind):
    values = states().astype(float)
    values[values < 0] = np.nan
    path = written(tmp_path, chr1=values, cells=np.array(["a", "Zelle ß", "c"], dtype=kind))
    assert cell_names(path) == ["a", "Zelle ß", "c"]
    found = read_by_order(path, cell_names(path))
    rank, state = found["Zelle ß"]["chr1"]
    np.testing.assert_array_equal(rank, np.flatnonzero(states()[:, 1] >= 0) + 1)
    np.testing.assert_array_equal(state, states()[rank - 1, 1])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"chr1": states(), "chr2": states()[:, :2]}, "the array 'chr2' holds 60 × 2 int8, and sites × 3 cells"),
        ({"chr1": states() + 1}, "the array 'chr1' holds 2 (row"),
        ({"chr1": np.full((5, 3), 0.5)}, "holds 0.5 (row 1, column 1): states are 0 and 1"),
        ({"chr1": np.array([[0, 1, -1]])}, "cells with no observations: 'cell3'"),
    ],
)
def test_arrays_that_are_no_states_are_named(tmp_path, arrays, said):
    with pytest.raises(InputError) as error:
        read_by_order(written(tmp_path, **arrays), ["cell1", "cell2", "cell3"])
    assert said in error.value.text()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and so on", b"chr1\t1\t1\n"])
def test_files_that_are_no_npz_are_named(tmp_path, data):
    (tmp_path / "cells.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"damaged or no \.npz"):
        cell_names(tmp_path / "cells.npz")


def test_the_plan_knows_the_cells_and_refuses_what_needs_positions(tmp_path):
    def plan(**section):
        return SingleCellPlan(check_config({"single_cell": section}, ROOT / "workflow/schemas/config.schema.yaml"))

    path = written(tmp_path, chr1=states())
    assert plan(profiles=path).profiles() == dict.fromkeys(["cell1", "cell2", "cell3"], path)
    with pytest.raises(InputError, match=r"genome asks for positions.*\n.*variants asks for positions"):
        plan(profiles=path, genome="g.fa", variants="v.csv")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_a_real_set_is_read():
    path = SHARED / "single_cell" / "hcc_25cells.npz"
    names = cell_names(path)
    assert len(names) == 25
    found = read_by_order(path, names)
    assert {len(one) for one in found.values()} <= {23, 24}

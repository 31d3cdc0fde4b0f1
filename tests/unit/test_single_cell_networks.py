"""DeepCpG's networks: gold numbers of the published specifications, and forward passes written out once more."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from cpgtaxa.errors import InputError
from cpgtaxa.learning.loop import tensors
from cpgtaxa.models import CPG_MODELS, DNA_MODELS, JOINT_MODELS, SITE_MODELS, create_model
from cpgtaxa.models.deepcpg import Cells
from cpgtaxa.targets.single_cell import networks
from cpgtaxa.targets.single_cell.neighbours import Neighbourhoods
from cpgtaxa.targets.single_cell.tables import Sites
from single_cell_files import neighbours_of, write_sites
from sklearn.metrics import roc_auc_score
from torch.nn import functional

GOLD = {
    "CnnL1h128": 4_052_736,
    "CnnL1h256": 8_099_712,
    "CnnL2h128": 4_102_144,
    "CnnL2h256": 8_099_968,
    "CnnL3h128": 4_430_336,
    "CnnL3h256": 8_362_624,
    "CnnRnn01": 1_023_360,
    "ResNet01": 1_745_280,
    "ResNet02": 1_985_856,
    "ResConv01": 2_815_744,
    "ResAtrous01": 1_985_600,
    "FcAvg": 51_712,
    "RnnL1": 813_824,
    "RnnL2": 1_109_504,
    "JointL0": 0,
    "JointL1h512": 640 * 512 + 512,
    "JointL2h512": 640 * 512 + 512 + 512 * 512 + 512,
    "JointL3h512": 640 * 512 + 512 + 2 * (512 * 512 + 512),
}
FEATURES = {"CnnL1h256": 256, "CnnL2h256": 256, "CnnL3h256": 256, "CnnRnn01": 512, "ResConv01": 512}
FEATURES |= {name: 128 for name in DNA_MODELS if name.endswith("128")}
FEATURES |= {"ResNet01": 1024, "ResNet02": 1024, "ResAtrous01": 1024}


def test_the_zoo_is_complete():
    assert len(DNA_MODELS) == 11
    assert len(CPG_MODELS) - len(SITE_MODELS) == 3
    assert len(JOINT_MODELS) == 4
    assert set(GOLD) == {*DNA_MODELS, *CPG_MODELS, *JOINT_MODELS} - {*SITE_MODELS}


@pytest.mark.parametrize("name", GOLD)
def test_parameters_are_those_of_the_specification(name):
    network = create_model(name)
    found = sum(values.numel() for values in network.parameters())
    # A GRU of torch has two vectors of biases where Keras has one: 3 × units more in each direction.
    more = sum(6 * one.hidden_size for one in network.modules() if isinstance(one, torch.nn.GRU))
    assert found - more == GOLD[name]


@pytest.mark.parametrize("name", DNA_MODELS)
def test_dna_models_give_features_whatever_the_length(name):
    for length in (501, 1001):
        network = create_model(name, length=length).eval()
        assert network(torch.rand(2, 4, length)).shape == (2, FEATURES[name]) == (2, network.features)
        assert network.first.weight.shape == (128, 4, 11)


def test_the_recommended_networks_do_what_is_written():
    """CnnL2h128, FcAvg and JointL2h512 with plain functions of torch."""
    dna, cpg = create_model("CnnL2h128", length=101).eval(), create_model("FcAvg", neighbours=10).eval()
    joint = create_model("JointL2h512", width=640).eval()
    network = Cells(3, dna, cpg, joint).eval()
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((5, 4, 101), dtype=np.float32))
    y = torch.from_numpy(rng.random((5, 3, 20), dtype=np.float32))
    w = dict(network.named_parameters())
    one = functional.max_pool1d(functional.conv1d(x, w["dna.stem.0.weight"], w["dna.stem.0.bias"]).relu(), 4)
    one = functional.max_pool1d(functional.conv1d(one, w["dna.stem.3.weight"], w["dna.stem.3.bias"]).relu(), 2)
    one = (one.flatten(1) @ w["dna.head.1.weight"].T + w["dna.head.1.bias"]).relu()
    two = (y @ w["cpg.embed.0.weight"].T + w["cpg.embed.0.bias"]).relu().mean(dim=1)
    both = torch.cat([one, two], dim=1)
    for layer in (0, 3):
        both = (both @ w[f"joint.stem.{layer}.weight"].T + w[f"joint.stem.{layer}.bias"]).relu()
    expected = both @ w["outputs.weight"].T + w["outputs.bias"]
    assert torch.allclose(network(x, y), expected, atol=1e-5)


def test_a_bottleneck_unit_is_pre_activated():
    network = create_model("ResNet01").eval()
    unit = network.units[0]
    x = torch.randn(2, 128, 40)
    w = dict(unit.named_parameters())
    inner, at = x, 0
    for number, (stride, padding) in enumerate([(2, 0), (1, 1), (1, 0)]):
        scale = w[f"branch.{at}.weight"] / (1 + 1e-3) ** 0.5
        inner = (inner * scale[:, None] + w[f"branch.{at}.bias"][:, None]).relu()
        inner = functional.conv1d(
            inner, w[f"branch.{at + 2}.weight"], w[f"branch.{at + 2}.bias"], stride=stride, padding=padding
        )
        at = 3 * (number + 1)
    aside = functional.conv1d(x, w["shortcut.weight"], w["shortcut.bias"], stride=2)
    assert torch.allclose(unit(x), inner + aside, atol=1e-5)


def test_atrous_units_look_wider():
    network = create_model("ResAtrous01")
    dilations = [unit.branch[5].dilation[0] for unit in network.units]
    assert dilations == [1, 2, 4, 1, 2, 4, 1, 2, 4, 1]
    strides = [unit.branch[2].stride[0] for unit in network.units]
    assert strides == [2, 1, 1, 2, 1, 1, 2, 1, 1, 2]


def test_frozen_parts_neither_drop_nor_shift_their_running_means():
    dna, cpg = create_model("ResNet01", length=101, dropout=0.5), create_model("FcAvg", neighbours=6, dropout=0.5)
    network = Cells(2, dna, cpg, create_model("JointL0", width=1024 + 512))
    network.freeze()
    network.train()
    x, y = torch.rand(3, 4, 101), torch.rand(3, 2, 12)
    before = {name: values.clone() for name, values in network.named_buffers()}
    assert torch.equal(network(x, y), network(x, y))
    assert all(torch.equal(values, before[name]) for name, values in network.named_buffers())
    assert not any(values.requires_grad for name, values in network.named_parameters() if name[:3] in ("dna", "cpg"))


def test_cells_of_one_part_alone():
    dna, cpg = create_model("CnnL1h128", length=101), create_model("RnnL1", neighbours=6)
    assert Cells(4, dna=dna)(torch.rand(2, 4, 101)).shape == (2, 4)
    assert Cells(4, cpg=cpg)(torch.rand(2, 4, 12)).shape == (2, 4)


def test_attention_shows_each_cell_the_others_and_never_its_own_state():
    cells, near, reach = 5, 6, 10
    network = Cells(cells, cpg=create_model("CellAttention", cells=cells, neighbours=near)).eval()
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((4, cells, 2 * near + 2 * (2 * reach + 1)), dtype=np.float32))
    x[:, :, 2 * near :][:, :, : 2 * reach + 1] = torch.from_numpy(rng.integers(0, 3, (4, cells, 2 * reach + 1)) / 2)
    before, site = network(x), 2 * near + reach
    for cell in range(cells):
        other = x.clone()
        other[:, cell, site] = (x[:, cell, site] + 0.5) % 1.5  # another of 0, 0.5 and 1
        moved = (network(other) - before).abs()
        assert (moved[:, cell] == 0).all()
        assert (moved[:, [one for one in range(cells) if one != cell]] > 0).all()
    assert Cells(1, cpg=create_model("CellAttention", cells=1, neighbours=near))(x[:, :1]).isfinite().all()
    joint = create_model("JointL1h512", width=128 + network.cpg.features)
    both = Cells(cells, create_model("CnnL1h128", length=101), network.cpg, joint)
    assert both(torch.rand(4, 4, 101), x).shape == (4, cells)


# --- windows and training --------------------------------------------------------------------------------------------

CELLS, WLEN, NEAR = ["a", "b", "c"], 41, 6


def windows_file(path, n=400, seed=0, batch=64):
    """Windows of a chromosome's sites whose state depends on a planted word (cells a and b) or on the neighbours (cell
    c). The table of sites is `sites.arrow` beside the file."""
    rng = np.random.default_rng(seed)
    dna = rng.integers(0, 4, (n, WLEN)).astype(np.uint8)
    word = rng.random(n) < 0.5
    dna[word, 5:12] = [0, 3, 3, 1, 0, 2, 3]
    dna[0, :3] = 4
    near = np.repeat(rng.random(n // 10 + 1) < 0.5, 10)[:n] ^ (rng.random(n) < 0.05)
    targets = np.stack([word, word, near], axis=1).astype(np.int8)
    targets[rng.random((n, 3)) < 0.2] = -1
    split = np.repeat([0, 1, 2, -1], [n - 170, 80, 80, 10]).astype(np.int8)
    lists = {"dna": dna, "targets": targets}
    columns = {"site": np.arange(n), "position": np.cumsum(rng.integers(1, 20_000, n)), "split": split}
    arrays = {name: pa.array(values) for name, values in columns.items()}
    for name, values in lists.items():
        arrays[name] = pa.FixedSizeListArray.from_arrays(values.ravel(), values[0].size)
    table = pa.table(arrays)
    meta = {"cells": json.dumps(CELLS), "dna_wlen": str(WLEN)}
    with pa.OSFile(str(path), "wb") as raw, pa.ipc.new_file(raw, table.schema.with_metadata(meta)) as writer:
        for one in table.replace_schema_metadata(meta).to_batches(max_chunksize=batch):
            writer.write_batch(one)
    sites_file(path.parent, lists | columns | {"chrom": np.full(n, f"chr{seed}")})
    return lists | columns | {"chrom": np.full(n, f"chr{seed}")}


def sites_file(folder, whole):
    write_sites(
        folder / "sites.arrow", whole["chrom"], whole["position"], whole["split"], whole["targets"], cells=CELLS
    )


SETTINGS = {
    "dna_model": "CnnL1h128", "cpg_model": "FcAvg", "joint_model": "JointL1h512", "dna_wlen": WLEN, "cpg_wlen": NEAR,
    "epochs": 5, "batch": 32, "lr": 3e-3, "lr_decay": 0.9, "patience": 0, "l1": 0.0, "l2": 1e-5, "dropout": 0.1,
    "epoch_sites": None, "device": "cpu", "precision": "float32", "threads": 1,
}  # fmt: skip


def test_windows_are_read_in_any_order_and_over_files(tmp_path):
    parts = [windows_file(tmp_path / "0.arrow"), windows_file(tmp_path / "1.arrow", n=250, seed=1)]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    sites_file(tmp_path, whole)
    near = Neighbourhoods(Sites(tmp_path / "sites.arrow"), NEAR)
    data = networks.Windows([tmp_path / "0.arrow", tmp_path / "1.arrow"], ("dna", "cpg"), 0, near)
    rows = np.flatnonzero(whole["split"] == 0)
    assert len(data) == len(rows) == 230 + 80
    assert (data.column("site") == whole["site"][rows]).all()
    wanted = np.random.default_rng(3).permutation(len(rows))[:50]
    wanted[:2] = 0, 1  # of unknown bases, and of neighbours that lack, where the second file's chromosome begins too
    wanted[2] = np.searchsorted(rows, 400)
    (dna, cpg), targets = data.__getitems__(wanted.tolist())
    at = rows[wanted]
    assert (targets.numpy() == whole["targets"][at]).all()
    assert dna.shape == (50, 4, WLEN)
    for base in range(4):
        assert (dna[:, base].numpy() == (whole["dna"][at] == base)).all()
    assert dna[0].sum() == WLEN - 3
    neighbours, distances = neighbours_of(*(whole[name] for name in ("chrom", "position", "targets")), NEAR)
    states = np.where(neighbours[at] < 0, 0.5, neighbours[at])
    far = np.where(distances[at] < 0, 25_000, np.minimum(distances[at], 25_000)) / 25_000
    assert np.allclose(cpg.numpy(), np.concatenate([states, far], axis=2))
    few = networks.Windows([tmp_path / "0.arrow", tmp_path / "1.arrow"], ("dna",), 0, most=4)
    assert few.column("site").tolist() == [0, 103, 206, 79]  # evenly spaced among 310


def test_the_loss_sees_what_was_observed_alone():
    """Cell one: -ln 0.5 and -ln(1 - 0.5); cell two: -ln 0.75; cell three was not observed."""
    outputs = torch.tensor([[0.0, np.log(3), 5.0], [0.0, 9.0, -5.0]])
    targets = torch.tensor([[1.0, 1.0, -1.0], [0.0, -1.0, -1.0]])
    assert networks.masked_loss(outputs, targets).item() == pytest.approx(np.log(2) + np.log(4 / 3), rel=1e-5)
    outputs.requires_grad_()
    networks.masked_loss(outputs, targets).backward()
    assert (outputs.grad[targets < 0] == 0).all()
    assert (outputs.grad[targets >= 0] != 0).all()


def train(folder, part, trained=(), name="", **changes):
    out = {key: folder / f"{part}{name}.{key}" for key in ("weights", "card", "log")}
    networks.train_part(
        [folder / "0.arrow"],
        folder / "sites.arrow",
        out,
        part=part,
        trained={key: folder / f"{key}.weights" for key in trained},
        settings=SETTINGS | changes,
        seed=3,
        work=folder / f"work_{part}{name}",
    )
    return out


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    truth = windows_file(folder / "0.arrow", n=1200)
    for part in ("dna", "cpg"):
        train(folder, part)
    return folder, truth


def auc_of(folder, out, truth):
    paths = folder / "sites.arrow", out["weights"], out["card"], folder / "p.parquet"
    networks.predict([folder / "0.arrow"], *paths, settings=SETTINGS)
    found = pd.read_parquet(folder / "p.parquet")
    assert list(found.columns) == ["site", *CELLS]
    assert (found["site"] == np.arange(len(found))).all()
    test = truth["split"] == 2
    aucs = []
    for number, cell in enumerate(CELLS):
        seen = test & (truth["targets"][:, number] >= 0)
        aucs.append(roc_auc_score(truth["targets"][seen, number], found[cell][seen]))
    return aucs


def test_each_part_learns_what_it_can_see(parts):
    folder, truth = parts
    dna = auc_of(folder, {key: folder / f"dna.{key}" for key in ("weights", "card")}, truth)
    cpg = auc_of(folder, {key: folder / f"cpg.{key}" for key in ("weights", "card")}, truth)
    assert min(dna[:2]) > 0.9
    assert abs(dna[2] - 0.5) < 0.2
    assert cpg[2] > 0.7
    assert max(abs(value - 0.5) for value in cpg[:2]) < 0.2


def test_frozen_parts_stay_and_the_joint_model_knows_both(parts):
    folder, truth = parts
    out = train(folder, "joint", ("dna", "cpg"), parts="frozen")
    aucs = auc_of(folder, out, truth)
    assert min(aucs[:2]) > 0.9
    assert aucs[2] > 0.7
    state = tensors(out["weights"])
    for part in ("dna", "cpg"):
        for name, values in tensors(folder / f"{part}.weights").items():
            if name.startswith(part):
                assert torch.equal(state[name], values)


def test_fine_tuned_parts_start_there_and_move(parts):
    folder, _ = parts
    state = tensors(train(folder, "joint", ("dna", "cpg"), "_tuned", parts="fine_tuned", epochs=1, lr=1e-5)["weights"])
    before = tensors(folder / "dna.weights")
    moved = (state["dna.stem.0.weight"] - before["dna.stem.0.weight"]).abs()
    assert 0 < moved.mean() < 0.1 * before["dna.stem.0.weight"].abs().mean()


def test_jointly_all_starts_anew_and_the_card_says(parts):
    folder, _ = parts
    out = train(folder, "joint", name="_jointly", parts="fine_tuned", epochs=1)
    card = json.loads(out["card"].read_text())
    assert card["models"] == {"dna": "CnnL1h128", "cpg": "FcAvg", "joint": "JointL1h512"}
    assert card["cells"] == CELLS
    assert card["epochs"] == 1
    assert card["parameters"] == sum(values.numel() for values in tensors(out["weights"]).values())


def test_the_same_seed_gives_the_same_network(parts):
    folder, _ = parts
    again = tensors(train(folder, "cpg", name="_again")["weights"])
    assert all(torch.equal(values, again[name]) for name, values in tensors(folder / "cpg.weights").items())


def test_a_split_without_observations_is_named(tmp_path):
    windows_file(tmp_path / "0.arrow", n=172)
    data = networks.Windows([tmp_path / "0.arrow"], ("dna",), 0)
    assert len(data) == 2
    windows_without_targets(tmp_path)
    with pytest.raises(InputError, match=r"single_cell\.split\.train"):
        train(tmp_path, "dna")


def windows_without_targets(folder):
    """The file once more, its training sites unobserved."""
    table = pa.ipc.open_file(str(folder / "0.arrow")).read_all()
    targets = table["targets"].combine_chunks().flatten().to_numpy().reshape(len(table), 3).copy()
    targets[table["split"].to_numpy() == 0] = -1
    column = pa.FixedSizeListArray.from_arrays(targets.ravel(), 3)
    table = table.set_column(table.schema.get_field_index("targets"), "targets", column)
    with pa.OSFile(str(folder / "0.arrow"), "wb") as raw, pa.ipc.new_file(raw, table.schema) as writer:
        writer.write_table(table)

"""DeepCpG's networks: gold numbers of the published specifications, and forward passes written out once more."""

import numpy as np
import pytest
import torch
from cpgtaxa.models import CPG_MODELS, DNA_MODELS, JOINT_MODELS, create_model
from cpgtaxa.models.deepcpg import Cells
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
    assert len(CPG_MODELS) == 3
    assert len(JOINT_MODELS) == 4
    assert set(GOLD) == {*DNA_MODELS, *CPG_MODELS, *JOINT_MODELS}


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


def test_cells_of_one_part_alone():
    dna, cpg = create_model("CnnL1h128", length=101), create_model("RnnL1", neighbours=6)
    assert Cells(4, dna=dna)(torch.rand(2, 4, 101)).shape == (2, 4)
    assert Cells(4, cpg=cpg)(torch.rand(2, 4, 12)).shape == (2, 4)

"""Batches in parts: the gradient of the whole, and the same bytes for any number of threads."""

import time

import pytest
import torch
from cpgtaxa.learning import parts
from test_training import create_model, recipe, run, same, three_layers


class Late(torch.nn.Module):
    """Takes a while that depends on what it is given, so that parts end in another order than they began in."""

    def forward(self, x):
        time.sleep(float(x.abs().sum()) * 1e3 % 1 / 100)
        return x


def late(name):
    return torch.nn.Sequential(Late(), three_layers(name))


def error(network, x, y):
    loss = torch.nn.functional.mse_loss(network(x), y)
    return loss, loss.item()


@pytest.mark.parametrize(("n", "sizes"), [(1, [1]), (47, [47]), (48, [24, 24]), (64, [32, 32]), (100, [34, 33, 33])])
def test_parts_hang_on_the_length_of_the_batch(n, sizes):
    assert [[len(part) for part in tensor] for tensor in parts.cut((torch.zeros(n, 2), torch.zeros(n)))] == [sizes] * 2


def test_gradients_are_those_of_the_whole_batch_and_running_means_those_of_the_parts():
    torch.manual_seed(3)
    x, y = torch.randn(100, 4), torch.randn(100, 1)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    with parts.Parts(2, bfloat16=False) as work:
        losses = work.learnt(network, error, x, y)
        work.add_gradients(network)
        found = [weights.grad.clone() for weights in network.parameters()]
        network.zero_grad()
        loss, _ = error(network, x, y)
        loss.backward()
        assert sum(one * n for one, n in zip(losses, (34, 33, 33), strict=True)) / 100 == pytest.approx(loss.item())
        for weights, gradient in zip(network.parameters(), found, strict=True):
            torch.testing.assert_close(gradient, weights.grad)
    norm = torch.nn.BatchNorm1d(4)
    with parts.Parts(2, bfloat16=False) as work:
        work.learnt(norm, lambda layer, part: (layer(part).sum(), None), x)
    means = torch.stack([part.mean(0) for part in x.tensor_split(3)])
    torch.testing.assert_close(norm.running_mean, 0.1 * (torch.tensor([0.34, 0.33, 0.33])[:, None] * means).sum(0))
    assert norm.num_batches_tracked == 1


def test_an_error_in_a_part_is_raised():
    def fail(network, x):
        raise ValueError("part")

    with parts.Parts(2, bfloat16=False) as work, pytest.raises(ValueError, match="part"):
        work.learnt(torch.nn.Linear(1, 1), fail, torch.zeros(64, 1))


@pytest.mark.parametrize(
    ("network", "precision"),
    [
        (late, "float32"),
        (late, "bfloat16"),
        pytest.param(create_model, "float32", marks=pytest.mark.slow),
        pytest.param(create_model, "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_the_network_is_the_same_for_any_number_of_threads(tmp_path, network, precision):
    """Batches of 128 in four parts, and a last one of 72 in two."""
    chosen = recipe("fast", "ResNet18", {"epochs": 2, "batch": 128})
    settings = {"network": network, "recipe": chosen, "precision": precision}
    before = torch.get_num_threads()
    first, *others = (run(tmp_path, str(threads), threads=threads, **settings) for threads in (1, 2, 3))
    assert all(same(first, other) for other in others)
    assert torch.get_num_threads() == before
    logs = [(tmp_path / f"{threads}.csv").read_text().splitlines() for threads in (1, 2, 3)]
    assert len({tuple(line.rpartition(",")[0] for line in log) for log in logs}) == 1  # the last column are seconds

"""The one training loop: penalties, schedule, the best epoch, and going on after a kill."""

import numpy as np
import pandas as pd
import pytest
import torch
from cpgtaxa.learning import loop
from interrupted import interrupted_at


class Line:
    """y = 2x - 1, with noise."""

    def __init__(self, n=64, seed=0):
        rng = np.random.default_rng(seed)
        self.x = torch.from_numpy(rng.normal(size=(n, 1)).astype(np.float32))
        self.y = 2 * self.x - 1 + 0.1 * torch.from_numpy(rng.normal(size=(n, 1)).astype(np.float32))

    def __len__(self):
        return len(self.x)

    def __getitems__(self, indices):
        return (self.x[indices],), self.y[indices]


def learner(network=torch.nn.Linear, **options):
    torch.manual_seed(1)
    return loop.Learner(network(1, 1), torch.nn.functional.mse_loss, **{"lr": 0.1, **options})


def run(folder, module, **options):
    settings = {"epochs": 8, "work": folder / "work", "key": "k", "log_path": folder / "log.csv", "device": "cpu"}
    train, val = loop.batches(Line(), 16, seed=3), loop.batches(Line(32, 1), 16)
    return loop.fit(module, train, val, precision="float32", **settings | options)


def mean(outputs, targets):
    return {"mean": float(outputs.mean()), "n": float(len(targets))}


def test_it_learns_and_logs(tmp_path):
    best = run(tmp_path, learner(lr_decay=0.9, scores=mean), epochs=40)
    assert best["weight"].item() == pytest.approx(2, abs=0.15)
    assert best["bias"].item() == pytest.approx(-1, abs=0.15)
    log = pd.read_csv(tmp_path / "log.csv")
    columns = ["epoch", "train_loss", "train_mean", "train_n", "val_loss", "val_mean", "val_n", "lr"]
    assert list(log.columns) == [*columns, "epoch_duration_s"]
    assert list(log["epoch"]) == list(range(1, 41))
    assert np.allclose(log["lr"], 0.1 * 0.9 ** np.arange(40), rtol=1e-4)
    assert set(log["train_n"]) == {64.0}
    assert set(log["val_n"]) == {32.0}


def rates(monkeypatch):
    """The learning rate of every batch, in a list that grows."""
    found, original = [], loop.Learner.training_step

    def noting(self, batch, index):
        found.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return original(self, batch, index)

    monkeypatch.setattr(loop.Learner, "training_step", noting)
    return found


def test_the_rate_rises_over_the_first_batches_then_falls(tmp_path, monkeypatch):
    """Four batches an epoch, of which six are the warm-up."""
    found = rates(monkeypatch)
    run(tmp_path, learner(lr=0.6, lr_decay=0.5, warmup=6), epochs=4)
    expected = [0.1, 0.2, 0.3, 0.4, 0.25, 0.3, 0.3, 0.3, *[0.15] * 4, *[0.075] * 4]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    found.clear()
    run(tmp_path / "without", learner(lr=0.6, lr_decay=0.5), epochs=2)
    np.testing.assert_allclose(found, [0.6] * 4 + [0.3] * 4, rtol=1e-12)


def test_losses_are_means_over_items_not_batches(tmp_path):
    """Of frozen weights: 20 items in batches of 16 and 4."""
    module = learner(lr=0.0)
    data = Line(20, 5)
    expected = float(torch.nn.functional.mse_loss(module.network(data.x), data.y).detach())
    options = {"work": tmp_path / "work", "key": "k", "log_path": tmp_path / "log.csv", "device": "cpu"}
    loop.fit(module, loop.batches(data, 16, 1), loop.batches(data, 16), epochs=1, precision="float32", **options)
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["train_loss"][0] == pytest.approx(expected, rel=1e-5) == pytest.approx(log["val_loss"][0], rel=1e-5)


def test_the_penalty_is_of_weights_that_are_trained():
    module = loop.Learner(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)), None, lr=1, l1=3, l2=5)
    for values in module.network.parameters():
        torch.nn.init.constant_(values, -0.5)
    assert module.penalty().item() == pytest.approx(3 * 6 * 0.5 + 5 * 6 * 0.25)
    module.network[0].requires_grad_(False)
    assert module.penalty().item() == pytest.approx(3 * 2 * 0.5 + 5 * 2 * 0.25)


def test_a_penalty_shrinks_what_is_learnt(tmp_path):
    assert run(tmp_path, learner(l1=1.0), epochs=40)["weight"].item() < 1.8


def test_the_best_epoch_is_returned_not_the_last(tmp_path):
    """A learning rate that grows: the loss falls, then explodes."""
    best = run(tmp_path, learner(lr=0.05, lr_decay=1.7), epochs=20)
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["val_loss"].iloc[-1] > 2 * log["val_loss"].min()
    data = Line(32, 1)
    found = torch.nn.functional.mse_loss(data.x * best["weight"].T + best["bias"], data.y)
    assert found.item() == pytest.approx(log["val_loss"].min(), rel=1e-4)


def test_it_stops_where_nothing_gets_better(tmp_path):
    run(tmp_path, learner(lr=0.05, lr_decay=1.7), epochs=30, patience=2)
    log = pd.read_csv(tmp_path / "log.csv")
    assert len(log) == log["val_loss"].argmin() + 1 + 2


class Dropped(torch.nn.Linear):
    """A line half of whose outputs are dropped: the generator's state matters."""

    def forward(self, x):
        return torch.nn.functional.dropout(super().forward(x), 0.5, self.training)


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, caplog):
    options = {"lr_decay": 0.9, "warmup": 22}  # the kill is in the sixth epoch of four batches, within the warm-up
    whole = run(tmp_path / "whole", learner(Dropped, **options))
    with interrupted_at(5):
        run(tmp_path / "killed", learner(Dropped, **options))
    caplog.set_level("INFO")
    resumed = run(tmp_path / "killed", learner(Dropped, **options))
    assert "continuing" in caplog.text
    assert "epoch 6 of 8" in caplog.text
    assert "epoch 1 of 8" not in caplog.text  # from the last epoch that was the best so far
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    logs = [pd.read_csv(tmp_path / name / "log.csv").drop(columns="epoch_duration_s") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*logs)


def test_a_folder_may_be_moved_in_between(tmp_path):
    """The best epoch lies before the kill, and stays the best."""
    options = {"lr": 0.05, "lr_decay": 1.7}
    whole = run(tmp_path / "whole", learner(**options), epochs=14)
    log = pd.read_csv(tmp_path / "whole/log.csv")
    assert log["val_loss"].argmin() < 9
    with interrupted_at(11):
        run(tmp_path / "before", learner(**options), epochs=14)
    (tmp_path / "before").rename(tmp_path / "after")
    moved = run(tmp_path / "after", learner(**options), epochs=14)
    assert all(torch.equal(whole[name], moved[name]) for name in whole)


def test_an_epoch_may_see_some_of_the_items_others_each_time():
    sampler = loop.EpochSampler(100, 3, most=30)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert len(sampler) == len(set(first)) == len(set(second)) == 30
    assert first != second

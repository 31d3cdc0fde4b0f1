"""The ECG networks and what they are given."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from cpgtaxa.learning import loop
from cpgtaxa.learning.devices import Applied
from cpgtaxa.models import create_model
from cpgtaxa.plan.config import check_config
from cpgtaxa.targets.ecg import networks, signals
from cpgtaxa.targets.ecg.plan import AGES, EcgPlan
from interrupted import interrupted_at
from scipy import signal

NARROW = {"width": 16, "narrow": 8, "layers": 2, "growth": 4, "heads": 4}


def test_networks_are_as_large_as_published():
    def parameters(name):
        return sum(weights.numel() for weights in create_model(name).parameters())

    assert parameters("ResDenseNet") == 10_485_569
    assert parameters("ResUDenseNet") == 7_200_321


@pytest.mark.parametrize(("name", "low", "high"), [("ResDenseNet", 19, 122), ("ResUDenseNet", 0, 9)])
def test_ages_stay_in_the_published_range(name, low, high):
    network = create_model(name, **NARROW).eval()
    with torch.no_grad():
        for bias, expected in ((-100.0, low), (0.0, (low + high) / 2), (100.0, high)):
            network.age.weight.zero_()
            network.age.bias.fill_(bias)
            assert network(torch.randn(3, 12, 1024)).tolist() == pytest.approx([expected] * 3)


@pytest.mark.parametrize("name", ["ResDenseNet", "ResUDenseNet"])
@pytest.mark.parametrize("time", [4096, 4095, 1001])
def test_records_of_any_length_and_gradients_to_every_weight(name, time):
    torch.manual_seed(0)
    network = create_model(name, **NARROW)
    found = network(torch.randn(2, 12, time))
    assert found.shape == (2,)
    found.sum().backward()
    assert all(weights.grad is not None and torch.isfinite(weights.grad).all() for weights in network.parameters())


def test_adults_network_knows_leads_apart_childrens_too():
    torch.manual_seed(0)
    record = torch.randn(1, 12, 1024)
    for name in ("ResDenseNet", "ResUDenseNet"):
        network = create_model(name, **NARROW).eval()
        with torch.no_grad():
            assert abs(network(record) - network(record.flip(1))).item() > 1e-6


# --- preprocessing ---------------------------------------------------------------------------------------------------


def record(time=5000, seed=0):
    return np.random.default_rng(seed).normal(size=(12, time)).cumsum(axis=1)


def test_preprocessing_is_scipys_step_by_step():
    given = record()
    expected = given[:, :4096]
    expected = (expected - expected.mean(axis=1, keepdims=True)) / expected.std(axis=1, keepdims=True)
    b, a = signal.butter(3, [1 / 250, 47 / 250], btype="band")
    expected = signal.filtfilt(b, a, expected, axis=1)
    found = signals.preprocess(given)
    assert found.shape == (12, 4096)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_slow_drift_and_mains_hum_go_and_the_heart_stays():
    time = np.arange(5000) / 500
    for hertz, low, high in ((0.1, 0.0, 0.05), (10.0, 0.95, 1.05), (100.0, 0.0, 0.1)):
        given = np.tile(np.sin(2 * np.pi * hertz * time), (12, 1))
        middle = signals.preprocess(given)[:, 1000:3000]
        given = (given - given.mean(axis=1, keepdims=True)) / given.std(axis=1, keepdims=True)
        assert low <= middle.std() / given[:, 1000:3000].std() <= high, hertz


def test_a_flat_lead_and_missing_values_become_zero():
    given = record()
    given[3] = 1.5
    given[5, 100:200] = np.nan
    given[7] = np.nan
    found = signals.preprocess(given)
    assert np.isfinite(found).all()
    assert not found[[3, 7]].any()
    assert found[5].std() > 0.1  # what is there of a lead is kept


@pytest.mark.parametrize(("rate", "expected"), [(500, 5000), (250, 5000), (1000, 5000), (257, 5000), (360, 5000)])
def test_any_rate_becomes_500_hertz(rate, expected):
    time = np.arange(10 * rate) / rate
    found = signals.at_500_hertz(np.tile(np.sin(2 * np.pi * 3 * time), (12, 1)), rate)
    assert found.shape == (12, expected)
    wanted = np.sin(2 * np.pi * 3 * np.arange(expected) / 500)
    np.testing.assert_allclose(found[0, 200:-200], wanted[200:-200], atol=0.01)


def test_leads_are_ordered_by_name_and_lacking_ones_named():
    names = ["aVF", "I", "ii", "III", "AVR", "avl", "V1", "V2", "V3", "V4", "V5", "V6"]
    given = np.arange(12.0)[:, None] * np.ones(8)
    found, lacking = signals.ordered(given, names)
    assert found[:, 0].tolist() == [1, 2, 3, 4, 5, 0, 6, 7, 8, 9, 10, 11]
    assert lacking == []
    found, lacking = signals.ordered(given[:11], names[:11])
    assert lacking == ["V6"]
    assert np.isnan(found[11]).all()


def test_limb_leads_that_lack_are_worked_out_from_two():
    """Einthoven: III = II - I; Goldberger: aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2."""
    given = record(100)[:8]
    found, lacking = signals.ordered(given, ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"])
    one, two = given[:2]
    assert lacking == []
    for names in (["I", "III"], ["II", "III"]):
        pair = [found[("I", "II", "III").index(name)] for name in names]
        np.testing.assert_allclose(signals.ordered(np.array(pair), names)[0][:6], found[:6], atol=1e-9)
    for row, expected in zip(found[2:6], (two - one, -(one + two) / 2, one - two / 2, two - one / 2), strict=True):
        np.testing.assert_allclose(row, expected)


# --- training --------------------------------------------------------------------------------------------------------


def test_the_schedule_is_as_published_unless_the_config_says_otherwise():
    """L1 loss, Adam at 0.001, a tenth of it every 20 epochs, batches of 32, 60 epochs; a tenth is held out."""
    config = check_config({"ecg_age": {"records": "my_ecgs"}}, ROOT / "workflow/schemas/config.schema.yaml")
    found = EcgPlan(config).fit_settings()
    assert {key: found[key] for key in ("epochs", "batch_size", "lr", "lr_step", "lr_decay", "warmup", "build")} == {
        "epochs": 60,
        "batch_size": 32,
        "lr": 0.001,
        "lr_step": 20,
        "lr_decay": 0.1,
        "warmup": 0,
        "build": {},
    }
    assert config["ecg_age"]["held_out"] == 1
    assert config["ecg_age"]["networks"] == {"adult": "ResDenseNet", "child": "ResUDenseNet"}
    learner = loop.Learner(torch.nn.Linear(1, 1), torch.nn.functional.l1_loss, lr=0.001, lr_step=20, lr_decay=0.1)
    assert type(learner.configure_optimizers()[0][0]) is torch.optim.Adam


def test_narrow_networks_have_a_schedule_of_their_own_and_what_the_config_says_goes_before_it():
    keys = ("epochs", "batch_size", "lr", "lr_step", "lr_decay", "warmup")

    def found(**section):
        config = check_config({"ecg_age": section}, ROOT / "workflow/schemas/config.schema.yaml")
        settings = EcgPlan(config).fit_settings()
        return [settings[key] for key in keys]

    assert found() == found(records="my_ecgs", size="narrow") == [20, 32, 0.003, 7, 0.1, 1]
    assert found(size="published") == [60, 32, 0.001, 20, 0.1, 0]
    assert found(epochs=6, warmup=0, lr=0.01) == [6, 32, 0.01, 2, 0.1, 0]
    assert found(epochs=1, batch_size=8, lr_step=5) == [1, 8, 0.003, 5, 0.1, 1]


@pytest.mark.parametrize("name", ["ResDenseNet", "ResUDenseNet"])
def test_a_network_may_average_samples_before_all_else(name):
    records = torch.randn(2, 12, 2048, generator=torch.Generator().manual_seed(0))
    whole = create_model(name, **NARROW).eval()
    averaged = create_model(name, **NARROW, averaged=4).eval()
    averaged.load_state_dict(whole.state_dict())
    with torch.no_grad():
        expected = whole(records.reshape(2, 12, -1, 4).mean(dim=3))
        torch.testing.assert_close(averaged(records), expected)


@pytest.mark.parametrize("name", ["ResDenseNet", "ResUDenseNet"])
def test_batch_normalisation_is_that_of_the_records_learnt_from(name):
    """Whatever the last batches left; and of equal batches: nine records by fours are three threes, not one alone."""
    records = np.random.default_rng(0).normal(size=(12, 12, 512)).astype(np.float32)
    rows, found = np.arange(9), []
    for left in (0.0, 50.0):
        torch.manual_seed(0)
        network = create_model(name, **NARROW)
        for buffer, values in network.named_buffers():
            if buffer.endswith("running_mean"):
                values.fill_(left)
        networks.settle(network, records, rows, 4, "cpu")
        found.append(networks.ages_by(Applied(network, "cpu", "float32"), records, np.arange(12)))
    np.testing.assert_array_equal(*found)
    entered = network.enter[0](torch.from_numpy(records[rows] if name == "ResUDenseNet" else records[rows][:, None]))
    wanted = entered.detach().transpose(0, 1).flatten(1).mean(dim=1)
    np.testing.assert_allclose(network.enter[1].running_mean, wanted, atol=1e-5)


@pytest.mark.parametrize(("name", "group"), [("ResDenseNet", "adult"), ("ResUDenseNet", "child")])
def test_training_goes_on_after_an_end_by_force_to_the_same_ages(name, group, tmp_path):
    """Records whose beats are as fast as their age is high; stopped after the first of three epochs."""
    rng = np.random.default_rng(0)
    ages = rng.uniform(25, 90, 20) if group == "adult" else rng.uniform(0, 9, 20)
    time = np.arange(1024) / 125
    hertz = 1 + (ages / ages.max())[:, None, None]
    waves = np.sin(2 * np.pi * hertz * time) + rng.normal(size=(20, 12, len(time))) / 10
    np.save(tmp_path / "signals.npy", waves.astype(np.float32))
    records = pd.DataFrame({"record": [f"A{at}" for at in range(20)], "age": ages, "group": group})
    records["fold"] = (np.arange(20) % 10).astype(np.int8)
    records.to_parquet(tmp_path / "records.parquet")
    given = {"signals": tmp_path / "signals.npy", "records": tmp_path / "records.parquet"}
    settings = {"epochs": 3, "batch_size": 8, "lr": 0.003, "lr_step": 2, "lr_decay": 0.1, "warmup": 0, "threads": 1}
    settings |= {"build": NARROW, "device": "cpu", "precision": "auto"}

    def trained(folder):
        out = {"weights": folder / "w.pt", "log": folder / "log.csv", "predictions": folder / "p.parquet"}
        work = folder / "work"
        networks.fit_network(given, out, group=group, name=name, fold=3, settings=settings, seed=1, work=work)
        assert not work.exists()
        return out, pd.read_parquet(out["predictions"])

    out, whole = trained(tmp_path / "whole")
    assert whole["record"].tolist() == ["A3", "A13"]
    low, high = AGES[group]
    assert whole["predicted"].between(low, high).all()
    np.testing.assert_allclose(pd.read_csv(out["log"])["lr"], [0.003, 0.003, 0.0003], rtol=1e-4)
    with interrupted_at(1):
        trained(tmp_path / "again")
    assert list((tmp_path / "again/work").rglob("*.ckpt"))
    _, again = trained(tmp_path / "again")
    pd.testing.assert_frame_equal(again, whole)
    # Asked about, the same records are predicted the same ages, whatever their company.
    asked = records.assign(age=np.nan, fold=np.int8(-1))
    asked.to_parquet(tmp_path / "asked.parquet")
    predicted = tmp_path / "predicted.parquet"
    networks.predict_ages(
        {"signals": given["signals"], "records": tmp_path / "asked.parquet", "weights": [out["weights"]]},
        predicted, group=group, name=name, settings=settings,
    )  # fmt: skip
    predicted = pd.read_parquet(predicted).set_index("record").loc[whole["record"], "predicted"]
    np.testing.assert_allclose(predicted, whole["predicted"], rtol=0.01)

"""The ECG networks and what they are given."""

import numpy as np
import pytest
import torch
from cpgtaxa.ecg import signals
from cpgtaxa.models import create_model
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

"""The torch renderer draws the pixels of the numba kernel, whatever is missing and however images are batched."""

import numpy as np
import pytest
from cpgtaxa.images import render as kernel
from cpgtaxa.models import vision  # noqa: F401  (torch with the operators that torchvision asks for)
from cpgtaxa.simulation.simulate import cohort_setting, draw_cpg, plan_cohort

torch = pytest.importorskip("torch")
from cpgtaxa.images import render_torch  # noqa: E402


def awkward(n, seed=0):
    """Simulated CpGs of all kinds, then ties, gaps, constants and an empty row: (40, n) float32, ages (n,)."""
    setting = cohort_setting(seed, n, (20.0, 90.0))
    plan = plan_cohort(seed, 30, 0.2)
    beta = np.stack([draw_cpg(seed, index, plan[index], setting)[1] for index in range(30)]).astype(np.float32)
    more = np.repeat(beta[:1], 10, axis=0)
    rng = np.random.default_rng(seed)
    more[0] = np.nan
    more[1] = 0.5
    more[2] = rng.choice([0.0, 1.0], n)
    more[3, : n // 2] = np.nan
    more[4, 1:] = np.nan
    more[5] = np.round(more[5], 1)
    more[6, np.argsort(setting.ages)[:3]] = np.nan
    more[7] = np.linspace(-0.2, 1.2, n)
    more[8, rng.random(n) < 0.3] = np.nan
    return np.concatenate([beta, more]), setting.ages


@pytest.mark.parametrize("n", [30, 101, 656, 3500])
def test_the_pixels_are_those_of_the_kernel(n):
    beta, ages = awkward(n)
    drawn = render_torch.render(torch.from_numpy(beta), ages).numpy()
    np.testing.assert_array_equal(drawn, kernel.render(beta, ages))
    assert (drawn[:30] > 0).any(axis=(1, 2)).all()
    assert not drawn[30].any()


@pytest.mark.parametrize(("n_cpgs", "n"), [(1000, 2), (1000, 30), (600, 3500)])
def test_no_colour_is_left_in_doubt(n_cpgs, n):
    """The kernel smooths in float32 and looks again where that may be wrong; torch sums exactly."""
    rng = np.random.default_rng(n)
    ages = np.sort(rng.uniform(20, 90, n)).round(1)
    beta = rng.normal(0.5, rng.uniform(0.001, 0.2, (n_cpgs, 1)), (n_cpgs, n)).astype(np.float32)
    if n < 10:
        beta = beta.round(2)  # symmetric pairs and ties: densities that are equal, or differ in the last bits
    for start in range(0, n_cpgs, 500):
        some = beta[start : start + 500]
        drawn = render_torch.render(torch.from_numpy(some), ages).numpy()
        np.testing.assert_array_equal(kernel.render(some, ages), drawn)


def test_the_size_of_a_batch_does_not_matter():
    beta, ages = awkward(80)
    drawn = [render_torch.render(torch.from_numpy(beta), ages, batch).numpy() for batch in (1, 7, 64)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_ages_that_are_all_equal_and_tied():
    beta, _ = awkward(60)
    for ages in (np.full(60, 40.0), np.repeat([20.0, 50.0, 50.0], 20), np.r_[np.full(59, 30.0), 31.0]):
        np.testing.assert_array_equal(
            render_torch.render(torch.from_numpy(beta), ages).numpy(), kernel.render(beta, ages)
        )


@pytest.mark.parametrize("size", [1, 32, 48, 100, 224])
def test_planes_are_those_of_the_kernel(size):
    beta, ages = awkward(120)
    codes = kernel.render(beta, ages)
    found = render_torch.planes(torch.from_numpy(codes), size).numpy()
    np.testing.assert_array_equal(found, kernel.planes(codes, size))


def test_no_cpgs_and_wrong_shapes():
    assert render_torch.render(torch.zeros((0, 5)), np.arange(5.0)).shape == (0, 224, 224)
    with pytest.raises(ValueError, match="CpGs, samples"):
        render_torch.render(torch.zeros((2, 5)), np.arange(4.0))
    with pytest.raises(ValueError, match="finite"):
        render_torch.render(torch.zeros((2, 2)), np.array([1.0, np.nan]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_draws_the_same_pixels():
    beta, ages = awkward(656)
    drawn = render_torch.render(torch.from_numpy(beta).cuda(), ages).cpu().numpy()
    np.testing.assert_array_equal(drawn, kernel.render(beta, ages))


def test_sums_stay_exact_for_any_number_of_samples():
    for n in (1, 2, 1023, 3500, 8191, 8192, 100_000):
        weight, unit = kernel.units(n)
        assert (n + 1) * weight * unit <= 2.0**53 * (1 + 1 / (n + 1))
        assert weight >= 2**17
        assert unit >= 2**17

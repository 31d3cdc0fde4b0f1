"""Progress with a clock of our own: when it speaks, what it says, and how far its estimates are from the truth."""

import logging
import math
import re

import numpy as np
import pytest
from cpgtaxa.progress import Progress, in_words, left_in_words, so_far


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def run(costs, **options):
    """Each step takes its cost in seconds; (share of the time, lower and upper bound, truth) after each tenth step."""
    clock = Clock()
    progress = Progress(options.pop("total", len(costs)), options.pop("what", "CpGs"), clock=clock, **options)
    found, whole = [], float(np.sum(costs))
    for number, cost in enumerate(costs):
        clock.now += cost
        progress.step()
        if (number % 10 == 0 or len(costs) < 100) and (bounds := progress.bounds()):
            found.append(((clock.now - 1000) / whole, *bounds, whole - (clock.now - 1000)))
    return np.array(found)


def missed(found, since=0.2, until=0.95):
    """How far, as a factor, the truth lies outside the bounds at worst (within: at most 1), and the widest bounds."""
    _, low, high, truth = found[(found[:, 0] >= since) & (found[:, 0] <= until)].T
    return np.maximum(low / truth, truth / high).max(), (high / low).max()


def test_steady_work_is_estimated_within_two_per_cent():
    out, wide = missed(run(np.full(500, 0.5)))
    assert out <= 1 + 1e-6
    assert wide <= 1.02


def test_noisy_work_is_estimated_within_a_fifth():
    costs = np.random.default_rng(1).lognormal(0, 0.6, 1000)
    out, wide = missed(run(costs), until=0.9)
    assert out <= 1.2
    assert wide <= 1.8


def test_work_that_slows_down_evenly_lies_within_the_range_or_a_fifth_beyond_from_half_way_on():
    found = run(np.linspace(0.2, 0.6, 500))  # three times as slow at the end
    out, wide = missed(found, since=0.5)
    assert out <= 1.2
    assert wide <= 2
    assert missed(found)[0] <= 1.5  # before, nobody can know how far it slows


def test_work_that_speeds_up_is_never_estimated_sooner_than_it_ends():
    found = run(np.linspace(1.1, 0.3, 500))
    assert (found[:, 2] * 1.001 >= found[:, 3]).all()  # the upper bound holds throughout
    late = found[found[:, 0] > 0.5]
    assert (late[:-1, 1] <= 1.6 * late[:-1, 3]).all()  # the lower one is too careful, by less than two thirds


def test_a_slow_first_batch_does_not_count():
    """Half a minute of compilation, then ten batches a second: right as soon as anything is said."""
    found = run([30.0, *np.full(1000, 0.1)])
    assert (found[:, 0] * 130 >= 37.5 - 1e-6).all()  # nothing before a quarter of that
    np.testing.assert_allclose(found[:-1, 1], found[:-1, 3], rtol=1e-6)
    np.testing.assert_allclose(found[:-1, 2], found[:-1, 3], rtol=1e-6)


def test_several_slow_first_batches_widen_the_range_and_are_forgotten():
    found = run([*np.full(5, 6.0), *np.full(1000, 0.1)])
    assert missed(found, since=0.31)[0] <= 1 + 1e-6
    later = found[found[:, 0] > 0.7]
    assert (later[:, 2] <= 1.05 * later[:, 3] + 1e-6).all()


def test_a_sudden_slowness_is_in_the_range_soon():
    """The machine gets busy midway: three times as slow from there on."""
    found = run([*np.full(500, 0.1), *np.full(500, 0.3)])
    after = found[(found[:, 0] > 0.25 * 1.4) & (found[:, 0] < 0.95)]
    assert (after[:, 2] >= 0.99 * after[:, 3]).all()


def test_few_steps_log_nothing_first_and_then_a_range():
    found = run([40.0, 20.0, 20.0, 20.0, 20.0])
    assert len(found) == 4  # not after the first
    assert tuple(found[0, 1:]) == pytest.approx((60, 90, 60))
    assert (found[:, 1] <= found[:, 3] + 1e-9).all()
    assert (found[:, 3] <= found[:, 2] + 1e-9).all()


def test_steps_of_unlike_work_are_weighed(caplog):
    """Ninety genes of one CpG, then ten of ninety-one: by genes the estimate would be a tenth of the truth."""
    caplog.set_level(logging.INFO)
    clock, work = Clock(), [1.0] * 90 + [91.0] * 10
    progress = Progress(sum(work), "genes", items=100, clock=clock)
    for one in work[:92]:
        clock.now += one
        progress.step(one)
    low, high = progress.bounds()
    assert low == pytest.approx(8 * 91)
    assert high == pytest.approx(8 * 91)
    assert caplog.messages[-1] == "92 of 100 genes (27 %), 5 min so far, about 12 min left"


def test_what_ends_within_a_few_seconds_says_nothing(caplog):
    caplog.set_level(logging.INFO)
    run(np.full(100, 0.049))
    assert not caplog.messages


def test_lines_come_after_five_seconds_then_every_ten_and_ever_more_seldom(caplog):
    caplog.set_level(logging.INFO)
    run(np.full(4 * 3600 * 2, 0.5))
    assert caplog.messages[0] == "10 of 28,800 CpGs (0 %), 5 s so far, about 4 h left"
    assert caplog.messages[1].endswith(", 15 s so far, about 4 h left")
    assert 55 < len(caplog.messages) < 75  # in four hours
    for text in caplog.messages:
        assert re.fullmatch(r"[\d,]+ of 28,800 CpGs \(\d+ %\), [\dhsmin ]+ so far, about [\d.]+ (h|min|s) left", text)


def test_nothing_is_estimated_without_a_total(caplog):
    caplog.set_level(logging.INFO)
    assert not len(run(np.full(100, 0.5), total=None, rate=True))
    assert caplog.messages[0] == "10 CpGs, 2 a second, 5 s so far"


def test_bytes_are_logged_as_bytes(caplog):
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress(22.4e9, "beta.csv.gz", size=True, rate=True, clock=clock)
    for number in range(1, 21):
        clock.now += 1
        progress.at(number * 0.2e9)
    assert caplog.messages[0] == (
        "1.0 of 22.4 GB of beta.csv.gz (4 %), 200.0 MB a second, 5 s so far, about 2 min left"
    )


def test_work_of_an_earlier_run_is_done_but_took_no_time(caplog):
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = Progress(100, "epochs", before=80, at_most=True, clock=clock)
    for _ in range(3):
        clock.now += 10
        progress.step()
    assert progress.bounds() == pytest.approx((170, 170))
    assert caplog.messages[-1] == "83 of 100 epochs (83 %), 30 s so far, at most about 3 min left"


def test_points_are_forgotten_but_not_what_they_show():
    out, wide = missed(run(np.full(20_000, 0.01)))
    assert out <= 1.02
    assert wide <= 1.05


def test_everything_is_handed_on():
    clock = Clock()
    progress = Progress(6, "CpGs", clock=clock)
    assert list(progress.over(["a", "bb", "ccc"], len)) == ["a", "bb", "ccc"]
    assert progress.done == 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2, "10 s"),
        (44, "40 s"),
        (54, "50 s"),
        (56, "1 min"),
        (100, "2 min"),
        (17 * 60, "17 min"),
        (18 * 60, "20 min"),
        (58 * 60, "1 h"),
        (5300, "1.5 h"),
        (10 * 3600, "10 h"),
        (49 * 3600, "2 days"),
    ],
)
def test_times_are_rounded_as_people_do(seconds, text):
    assert in_words(seconds) == text


def test_what_is_left_in_words():
    assert left_in_words(1, 7) == "a few seconds left"
    assert left_in_words(30, 44) == "about 40 s left"
    assert left_in_words(120, 250) == "about 2 to 4 min left"
    assert left_in_words(40, 250) == "about 40 s to 4 min left"
    assert left_in_words(40, 250, at_most=True) == "at most about 4 min left"
    assert (so_far(7.4), so_far(125), so_far(4800)) == ("7 s", "2 min", "80 min")
    assert so_far(7260) == "2 h 1 min"
    assert math.isfinite(len(left_in_words(0, 0)))

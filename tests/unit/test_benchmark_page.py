"""The page of the target `benchmark`: what it says with several peers, one and none."""

import pandas as pd
import pytest
from branches import Page, kept_from
from cpgtaxa.targets.benchmark.measure import COLUMNS
from cpgtaxa.targets.benchmark.page import page


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """The page of made-up measurements, to be rendered with other numbers."""
    folder, rows = tmp_path_factory.mktemp("stated"), []
    for stage in ("ingest", "statistics", "images"):
        for cpgs, samples, cores in ((1000, 100, 2), (4000, 100, 2), (1000, 400, 2), (1000, 100, 1)):
            rows += [(stage, who, cpgs, samples, cores, 2.0, 300.0) for who in ("cpgtaxa", "peer")]
    table = pd.DataFrame(rows, columns=COLUMNS)
    outputs = {"html": folder / "report.html", "plot": folder / "plot.png", "figures": folder / "figures"}
    with kept_from("cpgtaxa.targets.benchmark.page.write_page") as kept:
        page(table, outputs, 100)
    return Page(**kept)


STATES = [
    (
        {"peers": [{}] * 3, "least": "2×", "most": "12×", "limits": [dict.fromkeys(("stage", "what", "times"), "")]},
        ["Per CpG, 3 other ways of doing the same take 2× to 12× as long as", "on the right", "the machine’s limit"],
    ),
    (
        {"peers": [{}], "least": "2×", "most": "2×"},
        ["Per CpG, 1 other way of doing the same takes 2× as long as cpgtaxa."],
        ["2× to 2×"],
    ),
    (
        {"peers": [], "least": None, "most": None, "limits": []},
        ["Every stage, timed in a process of its own."],
        ["Per CpG,", "on the right", "the machine’s limit"],
    ),
]


@pytest.mark.parametrize("state", STATES)
def test_what_the_page_says_is_true_of_each_state(stated, state):
    stated.check(*state)


def test_no_sentence_of_the_page_is_left_without_a_state(stated):
    stated.check_ways(STATES)

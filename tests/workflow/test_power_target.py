"""The target `power`: a planner in a folder with nothing in it."""

import pandas as pd
import pytest
from browsing import assert_fine
from conftest import snakemake

CONFIG = {
    "power": {"taxa": ["LinAgeHomo"], "trend": [0.01], "people": [40, 120], "cpgs": 30, "network": True},
    "training": {"device": "cpu"},
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("power")
    run = snakemake(folder, "power", config=CONFIG)
    assert run.code == 0, run.text
    assert run.jobs() == {"power": 1}
    assert (folder / "results/power/summary.txt").read_text() in run.text
    return folder / "results/power"


def test_more_people_give_more_cpgs_their_taxon(planned):
    table = pd.read_csv(planned / "power.csv").set_index("people")
    assert table["power"][120] > table["power"][40]
    assert table["power"][120] > 0.7
    assert (table["power"] >= table["tests"]).all()
    people = pd.read_csv(planned / "people.csv").iloc[0]
    assert people["right"] == "LinAgeHomo"
    assert not people["people_80"] <= 40


def test_the_page_is_fine_in_a_browser(planned, browser):
    assert_fine(browser, planned / "report.html")


def test_ages_that_are_none_stop_the_run_with_the_key(tmp_path):
    run = snakemake(tmp_path, "power", "-n", config={"power": {"ages": [[70, 50]]}})
    assert run.code != 0
    assert "power.ages: 70 to 50 years" in run.text

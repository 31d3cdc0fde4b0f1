"""The report of a finished run in a real browser, and Snakemake's report of it."""

import itertools
import re
import subprocess
import zipfile

import pytest
import tracing
from browsing import DESKTOP, PHONE, Visit
from conftest import call


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (DESKTOP, True), (PHONE, False)])
def test_the_page_opens_and_can_be_read_by_all(tiny_run, browser, size, dark):
    with Visit(browser, tiny_run / "results/report.html", size, dark) as visit:
        assert visit.errors == []
        assert visit.asked == []
        assert visit.wider_than_the_window() <= 0
        assert visit.violations() == []
        page = visit.page
        assert page.locator("main").count() == page.locator("h1").count() == 1
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => +one.tagName[1])")
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        for link in page.locator("nav a").all():
            assert page.locator(link.get_attribute("href")).count() == 1


def test_every_figure_and_table_names_a_file_that_is_there(tiny_run):
    results = tiny_run / "results"
    html = (results / "report.html").read_text()
    links = set(re.findall(r'href="((?:report|cohort|embedding)/[^"]+)"', html))
    assert all((results / link).is_file() for link in links)
    drawn = {f"report/figures/{path.name}" for path in (results / "report/figures").glob("[!.]*")}
    assert drawn <= links
    assert {path.split(".")[-1] for path in drawn} == {"svg", "pdf", "csv"}
    assert html.count("<figure>") == len(drawn) / 3
    assert "explorer.html#cpg=" in html
    assert len(html) < 6e6


def test_every_number_is_that_of_a_file(tiny_run):
    tracing.Trace(tiny_run).everything()


def test_snakemakes_report_holds_page_figures_and_a_sentence_of_each(tiny_run, browser, tmp_path):
    arguments = call(tiny_run, "--report", str(tmp_path / "report.zip"))
    found = subprocess.run(**arguments, capture_output=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    with zipfile.ZipFile(tmp_path / "report.zip") as packed:
        packed.extractall(tmp_path)
    (page,) = tmp_path.glob("*/report.html")
    with Visit(browser, page) as visit:
        results, categories = visit.page.evaluate("results"), set(visit.page.evaluate("Object.keys(categories)"))
        # Snakemake's own complaint of its own style sheet.
        assert [text for text in visit.errors if "tailwind" not in text] == []
    captions = {name: re.sub(r"<[^>]+>", "", one["caption"]).strip() for name, one in results.items()}
    drawn = {path.name for path in (tiny_run / "results/report/figures").glob("*.svg")}
    listed = {name.rsplit("/", 1)[-1] for name in results}
    assert drawn <= listed
    assert {"report.html", "counts.csv", "thresholds.csv", "gallery.csv"} <= listed
    for name, caption in captions.items():
        assert re.fullmatch(r"[A-Z][^\n]*[.]", caption), (name, caption)
        assert not re.search(r"[.!?] [A-Z]", caption), (name, caption)
    ours = [caption for name, caption in captions.items() if "report/figures/" in name]
    assert len(ours) == len(set(ours)) == len(drawn)
    assert {"Report", "Cohort", "Taxa", "Rounds", "Tests", "Thresholds", "Truth", "Run time"} <= categories

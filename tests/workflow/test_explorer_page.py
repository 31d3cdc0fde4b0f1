"""The explorer's page in a real browser: what a person does with it, and what hostile names must not."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from browsing import DESKTOP, PHONE, Visit
from cohorts import TAXA_CONFIG, cohort_of
from cpgtaxa.cohort import Cohort
from cpgtaxa.explorer.writing import write_explorer
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA

TABLES = {
    "taxonomy": "taxonomy.parquet", "unclassified": "unclassified.parquet", "patterns": "patterns.parquet",
    "statistics": "statistics/statistics.parquet", "beta": "cohort/beta.arrow", "samples": "cohort/samples.parquet",
    "map": "embedding/map.csv", "neighbours": "embedding/neighbours.csv",
}  # fmt: skip
HOSTILE = (
    "cg<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", '"><b>', "=HYPERLINK(1)", "cg,1", "{{7*7}}",
    "' onmouseover=alert(3) '", "\\u003c/", "--><svg/onload=alert(4)>", "&lt;i&gt;", "Ünïcode 日本", "__proto__",
)  # fmt: skip


def write(tables: dict, folder, **settings) -> None:
    """A page of these tables in a folder, and its companion."""
    folder.mkdir(parents=True, exist_ok=True)
    out = {"html": str(folder / "explorer.html"), "folder": str(folder / "explorer")}
    settings = {"cpgs": 5000, "samples": 1000, "sample_ids": True, "own_labels": False} | settings
    write_explorer(tables, out, settings=settings, rules=TAXA_CONFIG, seed=1)


@pytest.fixture(scope="module")
def results(tiny_run):
    return tiny_run / "results"


@pytest.fixture(scope="module")
def tables(results):
    return {name: str(results / path) for name, path in TABLES.items()}


@pytest.fixture(scope="module")
def sampled(tables, tmp_path_factory):
    """Folder of a page that holds 60 CpGs and 50 samples by itself, and of its companion."""
    folder = tmp_path_factory.mktemp("sampled")
    write(tables, folder, cpgs=60, samples=50)
    return folder


@pytest.fixture(scope="module")
def hostile(tables, tmp_path_factory):
    """Folder of a page whose first CpGs, samples and covariates have hostile names."""
    folder = tmp_path_factory.mktemp("hostile")
    cohort = Cohort(tables["beta"])
    renamed = dict(zip(cohort.cpgs, HOSTILE, strict=False))
    samples = pd.read_parquet(tables["samples"])
    samples.loc[0, "sample_id"] = "<script>alert(5)</script>"
    samples["<img src=x onerror=alert(6)>"] = np.where(np.arange(len(samples)) % 2, "<b>no</b>", "</select>yes")
    given = {name: str(folder / path.rpartition("/")[2]) for name, path in TABLES.items()}
    cpgs = [renamed.get(name, name) for name in cohort.cpgs]
    cohort_of(given["beta"], cohort.read(0, len(cohort)), cpgs, samples["sample_id"])
    samples.to_parquet(given["samples"], index=False)
    for name in ("taxonomy", "unclassified", "statistics", "patterns"):
        frame = pd.read_parquet(tables[name])
        frame["cpg"] = frame["cpg"].map(lambda cpg: renamed.get(cpg, cpg))
        frame.to_parquet(given[name], index=False)
    for name in ("map", "neighbours"):
        frame = pd.read_csv(tables[name], dtype=str, keep_default_na=False)
        frame.replace(renamed).to_csv(given[name], index=False)
    write(given, folder)
    return folder


def ready(visit, view: str | None = None):
    """The page, once it shows something; in a view."""
    visit.page.wait_for_selector("html[data-ready]", timeout=60_000)
    if view:
        visit.page.click(f"[data-view={view}]")
    return visit.page


def opened(visit, cpg: str) -> None:
    """Wait until a CpG's plot and neighbours are there."""
    visit.until(f"document.getElementById('detail-name').textContent === {json.dumps(cpg)}")
    visit.until("document.querySelectorAll('#plot .scatterlayer .point').length > 5")
    visit.until("document.querySelectorAll('#beside canvas').length > 0")


def counted(visit, n: int) -> None:
    """Wait until so many CpGs are found."""
    visit.until(f"/^(All )?{n:,} CpGs?( of|$)/.test(document.getElementById('count').textContent)")


@pytest.mark.parametrize(
    ("size", "dark", "view"), [(DESKTOP, False, "table"), (DESKTOP, True, "map"), (PHONE, False, None)]
)
def test_it_opens_quietly_fits_and_passes_axe(results, browser, size, dark, view):
    with Visit(browser, results / "explorer.html", size=size, dark=dark) as visit:
        page = ready(visit, view)
        cpg = pd.read_parquet(results / "taxonomy.parquet")["cpg"].iloc[3]
        page.evaluate(f"location.hash = 'cpg={cpg}' + ({json.dumps(view)} ? '&view={view}' : '')")
        opened(visit, cpg)
        if view == "map":
            visit.until("document.querySelectorAll('#map .point').length > 50")
        assert visit.violations() == []
        assert visit.wider_than_the_window() == 0
        assert visit.errors == []
        assert visit.asked == []
        assert page.locator("#notice").is_hidden()
        assert "Shaded" in page.inner_text("#plot-text")


def test_what_is_found_is_what_the_tables_say(results, browser):
    table = pd.read_parquet(results / "taxonomy.parquet")
    numbers = pd.read_parquet(results / "statistics/statistics.parquet")
    with Visit(browser, results / "explorer.html") as visit:
        page = ready(visit, "table")
        counted(visit, len(table))
        # By id: suggestions by prefix, arrow keys and Enter.
        page.fill("#query", table["cpg"].iloc[7].upper()[:-1])
        prefix = table["cpg"].iloc[7][:-1]
        expected = table["cpg"][table["cpg"].str.startswith(prefix)].head(10).tolist()
        assert page.locator("#suggestions li span:first-child").all_inner_texts() == expected
        page.press("#query", "ArrowDown")
        page.press("#query", "Enter")
        opened(visit, expected[0])
        page.fill("#query", "nosuchcpg")
        assert page.locator("#suggestions li").all_inner_texts() == ["No CpG of this run has this id"]
        page.press("#query", "Escape")
        # Conditions combine.
        page.click("#taxa-none")
        counted(visit, 0)
        for taxon in ("UniStable", "BiAge"):
            page.locator("#taxa label", has_text=taxon).click()
        mine = table["taxon"].isin(["UniStable", "BiAge"])
        counted(visit, int(mine.sum()))
        page.fill("#confidence-low", "0.99")
        mine &= table["confidence"] >= 0.99
        counted(visit, int(mine.sum()))
        page.click("#add-condition")
        page.select_option(".condition select", "core_slope_p")
        page.locator(".condition input[type=number]").nth(1).fill("1e-6")
        mine &= numbers["core_slope_p"] <= 1e-6
        counted(visit, int(mine.sum()))
        others = (table["confidence"] >= 0.99) & (numbers["core_slope_p"] <= 1e-6)
        beside = page.locator("#taxa label", has_text="LinAgeHomo").locator(".count").inner_text()
        assert beside == str(int((others & (table["taxon"] == "LinAgeHomo")).sum())), "counts follow the other filters"
        page.locator(".condition input[type=checkbox]").check()
        counted(visit, int((mine & numbers["core_slope_p"].isna()).sum()))
        # All that is in the address: the page opened by it shows the same.
        page.locator(".condition input[type=checkbox]").uncheck()
        counted(visit, int(mine.sum()))
        address = page.url
        page.click("#reset")
        counted(visit, len(table))
        page.select_option("#second", "BiNonAge")
        counted(visit, int((table["second_taxon"] == "BiNonAge").sum()))
        page.click("#reset")
        page.locator("#sources label", has_text="statistical").click()
        counted(visit, int((table["source"] != "statistical").sum()))
        page.goto("about:blank")
        page.goto(address)
        ready(visit)
        counted(visit, int(mine.sum()))
        # A list with what is not there.
        page.click("#reset")
        page.fill("#list", f"{table['cpg'].iloc[0]}, {table['cpg'].iloc[9]}\nnot_there;{table['cpg'].iloc[9]} neither")
        page.click("#list-apply")
        counted(visit, 2)
        assert page.inner_text("#list-status") == "2 CpGs found. 2 are not in this run: not_there, neither."
        assert visit.errors == []


def test_sorting_selecting_and_the_csv(results, browser, tmp_path):
    table = pd.read_parquet(results / "taxonomy.parquet").set_index("cpg")
    numbers = pd.read_parquet(results / "statistics/statistics.parquet").set_index("cpg")
    names = "[...document.querySelectorAll('#table tbody th')].map((cell) => cell.textContent)"
    with Visit(browser, results / "explorer.html") as visit:
        page = ready(visit, "table")
        visit.until("document.querySelectorAll('#table tbody tr').length === 50")
        for way, ascending in (("descending", False), ("ascending", True)):
            page.click("[data-sort=core_effect]")
            page.wait_for_selector(f"#table th[aria-sort={way}] [data-sort=core_effect]")
            kept = numbers["core_effect"].astype(np.float32)
            assert page.evaluate(names) == kept.sort_values(ascending=ascending, kind="stable").index[:50].tolist()
        page.click("[data-sort=cpg]")
        page.wait_for_selector("#table th[aria-sort=ascending] [data-sort=cpg]")
        shown = page.evaluate(names)
        assert shown == sorted(table.index)[:50]
        # With the keyboard, and a range with shift.
        page.focus("#table [data-at='0']")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
        assert page.inner_text("#chosen") == "1 CpG selected"
        page.locator("#table tbody input").nth(5).click(modifiers=["Shift"])
        assert page.inner_text("#chosen") == "5 CpGs selected"
        page.select_option("#which", "chosen")
        with page.expect_download() as download:
            page.click("#export")
        download.value.save_as(tmp_path / "chosen.csv")
        assert pd.read_csv(tmp_path / "chosen.csv")["cpg"].tolist() == [n for n in table.index if n in shown[1:6]]
        page.select_option("#which", "hits")
        with page.expect_download() as download:
            page.click("#export")
        download.value.save_as(tmp_path / "all.csv")
        found = pd.read_csv(tmp_path / "all.csv", keep_default_na=False, na_values=[""]).set_index("cpg")
        assert found.index.tolist() == sorted(table.index)
        found = found.loc[table.index]
        for name in ("taxon", "source", "second_taxon"):
            assert found[name].fillna("").tolist() == table[name].fillna("").tolist()
        np.testing.assert_allclose(found["confidence"], table["confidence"], rtol=1e-6)
        np.testing.assert_allclose(found[list(PROBABILITY_COLUMNS)], table[list(PROBABILITY_COLUMNS)], atol=5.1e-5)
        for name in numbers:
            given = numbers[name].to_numpy(dtype=float)
            here = found[name].map({True: 1.0, False: 0.0}) if name == "mixture_ran" else found[name]
            np.testing.assert_allclose(here.to_numpy(dtype=float), given, rtol=5e-5, err_msg=name)
        left = pd.read_parquet(results / "unclassified.parquet").set_index("cpg")["reason"]
        assert found["reason"].dropna().to_dict() == left.to_dict()
        patterns = pd.read_parquet(results / "patterns.parquet").set_index("cpg")
        assert found["shape"].tolist() == patterns["shape"].tolist()
        assert found["cause"].fillna("").tolist() == patterns["cause"].fillna("").tolist()
        assert found["spread_shape"].tolist() == patterns["spread_shape"].tolist()
        for name in ("change_point", "replication", "spread_change_point"):
            np.testing.assert_allclose(found[name], patterns[name], rtol=1e-6)
        assert visit.errors == []


def test_how_a_cpg_changes_and_why_it_has_bands_is_said_and_filtered(results, browser):
    patterns = pd.read_parquet(results / "patterns.parquet").set_index("cpg")
    banded = patterns[patterns["cause"].notna()]
    cpg = banded.index[0]
    with Visit(browser, f"{results}/explorer.html") as visit:
        page = ready(visit)
        for key in ("shape", "cause"):
            value = banded.loc[cpg, key]
            page.select_option(f"#{key}", value)
            n = int((patterns[key] == value).sum())
            visit.until(f"document.getElementById('count').textContent.startsWith('{n:,} CpG')")
            assert f"({n:,})" in page.locator(f"#{key} option[value='{value}']").inner_text()
            page.select_option(f"#{key}", "")
        page.evaluate(f"location.hash = 'cpg={cpg}'")
        opened(visit, cpg)
        said = page.inner_text("#detail-pattern")
        assert f"Shape: {banded.loc[cpg, 'shape'].replace('_', ' ')}" in said
        assert f"Spread, experimental: {banded.loc[cpg, 'spread_shape'].replace('_', ' ')}" in said
        assert f"Bands: {banded.loc[cpg, 'cause']} (" in said
        assert f"with probability {banded.loc[cpg, 'replication']:.2f}." in said
        assert visit.errors == []


def test_whose_cells_change_is_said_filtered_and_exported(tables, results, browser, tmp_path):
    with Visit(browser, f"{results}/explorer.html") as visit:
        assert ready(visit).locator("#cells").is_hidden(), "nobody asked for it"
    cpgs, types = pd.read_parquet(tables["taxonomy"])["cpg"], ["Neu", "NK", "__proto__"]
    said = pd.DataFrame({"cpg": cpgs, "cell_type": "", "cell_type_q": 0.6})
    said.loc[: len(cpgs) // 2, ["cell_type", "cell_type_q"]] = ["undecided", 0.2]
    said.loc[:30, ["cell_type", "cell_type_q"]] = ["Neu", 1e-80]
    said.loc[3:5, "cell_type"] = "NK|Neu"
    said.loc[6, "cell_type"] = "__proto__"
    said.loc[len(said) - 1, "cell_type_q"] = np.nan
    said["spread_cell_type"], said["spread_cell_type_q"] = "", 0.5
    said.loc[4:9, ["spread_cell_type", "spread_cell_type_q"]] = ["NK", 0.012]
    said.loc[said.index.repeat(3)].assign(type=types * len(said)).to_parquet(tmp_path / "c.parquet", index=False)
    pd.DataFrame({"type": [*types, "Eos"], "untested": ["", "", "", "too few"]}).to_csv(tmp_path / "types.csv")
    cells = {"cell_types": str(tmp_path / "c.parquet"), "types": str(tmp_path / "types.csv")}
    write(tables | cells, tmp_path, cpgs=5000)
    with Visit(browser, tmp_path / "explorer.html") as visit:
        page = ready(visit, "table")
        shown = page.locator("#cell option").all_inner_texts()
        n = said["cell_type"].value_counts()
        assert [text.rpartition(" (")[2] for text in shown[1:]] == [
            f"{count:,})" for count in (n["Neu"] + n["NK|Neu"], n["NK|Neu"], 1, n["undecided"], n[""])
        ]
        page.select_option("#cell", "in Neu")
        counted(visit, int(n["Neu"] + n["NK|Neu"]))
        page.select_option("#spread", "in NK")
        mine = said["cell_type"].str.contains("Neu") & (said["spread_cell_type"] == "NK")
        counted(visit, int(mine.sum()))
        assert page.evaluate("new URLSearchParams(location.hash.slice(1)).get('spread')") == "in NK"
        page.select_option("#spread", "")
        page.select_option("#cell", "none")
        counted(visit, int(n[""]))
        page.click("#reset")
        page.select_option("#add-column", "cell_type")
        page.select_option("#add-column", "cell_type_q")
        visit.until("document.querySelector('[data-sort=cell_type_q]')")
        page.click("[data-sort=cell_type_q]")
        page.click("[data-sort=cell_type_q]")
        visit.until("document.querySelector('#table tbody tr td:last-child').textContent.includes('e')")
        assert page.locator("#table tbody tr").first.locator("td").nth(-2).inner_text() == "Neu"
        with page.expect_download() as download:
            page.click("#export")
        download.value.save_as(tmp_path / "all.csv")
        found = pd.read_csv(
            tmp_path / "all.csv", keep_default_na=False, na_values={name: "" for name in said if name.endswith("_q")}
        )
        found = found.set_index("cpg").loc[cpgs]
        for name in said.columns[1:]:
            if name.endswith("_q"):
                np.testing.assert_allclose(found[name], said[name], rtol=1e-4)
            else:
                assert found[name].tolist() == said[name].tolist()
        for row, wanted in (
            (
                4,
                "Cells: change with age in NK and Neu (q 1.0e−80). "
                "Spread of the cells, experimental: change with age in NK (q 0.012).",
            ),
            (6, "Cells: change with age in __proto__ (q"),
            (31, "Cells: change with age, but no type is shown to differ (smallest q of a type 0.2)."),
            (len(said) - 2, "Cells: no type is shown to change with age (smallest q of a type 0.6)."),
        ):
            page.evaluate(f"location.hash = 'cpg={cpgs[row]}'")
            opened(visit, cpgs[row])
            text = page.inner_text("#detail-pattern")
            assert wanted in text
            assert ("Spread of the cells" in text) == (4 <= row <= 9)
        page.evaluate(f"location.hash = 'cpg={cpgs[len(said) - 1]}'")
        opened(visit, cpgs[len(said) - 1])
        assert "Cells" not in page.inner_text("#detail-pattern"), "not tested"
        assert visit.violations() == []
        assert visit.errors == []


def test_a_cpg_its_plot_neighbours_and_the_way_back(results, browser):
    table = pd.read_parquet(results / "taxonomy.parquet").set_index("cpg")
    beside = pd.read_csv(results / "embedding/neighbours.csv", dtype=str, keep_default_na=False).set_index("cpg")
    cohort = Cohort(results / "cohort/beta.arrow")
    cpg, other = beside.index[4], beside.iloc[4, 0]
    with Visit(browser, f"{results}/explorer.html") as visit:
        page = ready(visit)
        page.evaluate(f"location.hash = 'cpg={cpg}'")
        opened(visit, cpg)
        assert page.locator("#beside b").all_inner_texts() == beside.loc[cpg].tolist()
        assert "what the last network sees" in page.inner_text("#beside-note")
        drawn = page.evaluate(
            "document.getElementById('plot').data.filter((trace) => trace.mode === 'markers')"
            ".flatMap((trace) => Array.from(trace.y)).sort((a, b) => a - b)"
        )
        values = np.sort(cohort.take(cohort.find([cpg]))[0])
        np.testing.assert_allclose(drawn, values[np.isfinite(values)], atol=5.1e-5)
        row = page.locator("#shares tr", has_text=TAXA[0]).first.inner_text().split()
        assert float(row[-1]) == pytest.approx(table.loc[cpg, PROBABILITY_COLUMNS[0]], abs=1e-4)
        page.select_option("#colour", label="sex")
        visit.until("document.querySelectorAll('#plot .legendtext').length > 1")
        page.locator("#beside button").first.click()
        opened(visit, other)
        assert page.evaluate("new URLSearchParams(location.hash.slice(1)).get('cpg')") == other
        page.go_back()
        opened(visit, cpg)
        page.keyboard.press("Tab")
        page.locator("#detail-close").click()
        assert page.locator("#detail").is_hidden()
        assert visit.errors == []


def test_names_from_data_are_text_and_nothing_else(hostile, browser, tmp_path):
    with Visit(browser, hostile / "explorer.html") as visit:
        dialogs = []
        visit.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page = ready(visit, "table")
        visit.until("document.querySelectorAll('#table tbody tr').length === 50")
        shown = page.evaluate("[...document.querySelectorAll('#table tbody th')].map((cell) => cell.textContent)")
        assert shown[: len(HOSTILE)] == list(HOSTILE)
        for number in (0, 1):
            page.fill("#query", HOSTILE[number])
            page.press("#query", "Enter")
            opened(visit, HOSTILE[number])
        page.select_option("#colour", label="<img src=x onerror=alert(6)>")
        visit.until("document.querySelectorAll('#plot .legendtext').length > 1")
        legend = page.evaluate("[...document.querySelectorAll('#plot .legendtext')].map((text) => text.textContent)")
        assert sorted(legend) == ["</select>yes", "<b>no</b>"]
        assert page.locator("img, b img, #detail script").count() == 0
        page.fill("#list", f"=HYPERLINK(1) <b>x</b>\n{HOSTILE[0]}")  # a line that is an id may hold blanks
        page.click("#list-apply")
        counted(visit, 2)
        assert "<b>x</b>" in page.inner_text("#list-status")
        page.click("#reset")
        with page.expect_download() as download:
            page.click("#export")
        download.value.save_as(tmp_path / "hostile.csv")
        written = pd.read_csv(tmp_path / "hostile.csv", keep_default_na=False)["cpg"].tolist()[: len(HOSTILE)]
        assert written == [f"'{name}" if name[0] in "=-" else name for name in HOSTILE]
        assert "begin with an apostrophe" in page.inner_text("#work")
        assert (dialogs, visit.errors, visit.asked) == ([], [], [])


def test_a_page_of_a_sample_shows_all_where_the_folder_lies_beside_it(sampled, results, browser, tmp_path):
    table = pd.read_parquet(results / "taxonomy.parquet")
    with Visit(browser, sampled / "explorer.html") as visit:
        page = ready(visit, "table")
        counted(visit, len(table))
        page.click("[data-sort=core_sd]")
        page.wait_for_selector("#table th[aria-sort=descending]")
        page.locator("#table tbody button").nth(2).click()
        visit.until("document.querySelectorAll('#beside canvas').length > 0")
        assert "50 samples of 150" in page.inner_text("#about-samples")
        assert page.locator("#notice").is_hidden()
        assert (visit.errors, visit.asked) == ([], [])
    shutil.copy(sampled / "explorer.html", tmp_path)
    with Visit(browser, tmp_path / "explorer.html", size=PHONE) as visit:
        page = ready(visit)
        counted(visit, 60)
        assert "60 of 300 CpGs" in page.inner_text("#notice")
        assert "is not beside it" in page.inner_text("#notice")
        assert visit.violations() == []
        assert visit.wider_than_the_window() == 0
        assert all("ERR_FILE_NOT_FOUND" in error for error in visit.errors)
    (tmp_path / "explorer").mkdir()
    (tmp_path / "explorer/about.js").write_text('cpgtaxaPiece("about","of another run")\n')
    with Visit(browser, tmp_path / "explorer.html") as visit:
        page = ready(visit)
        counted(visit, 60)
        assert "is of another run" in page.inner_text("#notice")
        assert visit.errors == []


def test_a_gene_is_searched_and_chromosomes_are_filtered(tables, browser, tmp_path):
    cpgs = pd.read_parquet(tables["taxonomy"])["cpg"]
    places = pd.DataFrame({"cpg": cpgs, "chromosome": "", "position": pd.array([None] * len(cpgs), "Int64")})
    places = places.assign(gene="", island="OpenSea", flags="")
    places.loc[:9, ["chromosome", "position", "gene"]] = ["chr6", 11044877, "ELOVL2;<b>"]
    places.loc[10:14, ["chromosome", "position", "gene"]] = ["chrX", 5, "FHL2"]
    places.loc[12:13, "flags"], places.loc[3, "flags"] = "SNP;icr", "icr"
    places.to_parquet(tmp_path / "annotation.parquet", index=False)
    write(tables | {"annotation": str(tmp_path / "annotation.parquet")}, tmp_path)
    with Visit(browser, tmp_path / "explorer.html") as visit:
        page = ready(visit, "table")
        page.fill("#query", "elovl2")
        visit.until("document.querySelectorAll('#suggestions [role=option]').length === 10")
        page.keyboard.press("Enter")
        opened(visit, cpgs[0])
        assert page.inner_text("#detail-place") == "chr6:11,044,877 · ELOVL2, <b> · OpenSea"
        page.select_option("#chromosome", "chrX")
        counted(visit, 5)
        assert page.locator("#flag option").all_inner_texts()[1:3] == ["SNP (2)", "icr (2)"]
        page.select_option("#flag", "SNP")
        counted(visit, 2)
        page.select_option("#chromosome", "")
        page.select_option("#flag", "icr")
        counted(visit, 3)
        page.select_option("#flag", "")
        page.fill("#gene", "fhl2, Elovl2")
        counted(visit, 15)
        assert "gene=fhl2" in page.evaluate("location.hash")
        page.click("[data-sort=position]")
        visit.until("document.querySelector('#table tbody td:nth-child(6)').textContent === '11,044,877'")
        assert visit.violations() == []
        assert visit.errors == []

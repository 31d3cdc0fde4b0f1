"""The documentation: links lead somewhere, generated pages are what their scripts write, README fits on a page."""

import importlib.util
import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *DOCS.rglob("*.md"),
    *(
        ROOT / path
        for path in (
            "README.md",
            "config/README.md",
            "resources/README.md",
            "resources/clocks/README.md",
            "resources/cell_types/README.md",
        )
    ),
]

FILES = ("py", "csv", "html", "parquet", "json", "yaml", "md", "zip")


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(page) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page) -> str:
    """A page without its blocks of code."""
    return re.sub(r"```.*?```", "", text_of(page), flags=re.S)


def anchors(page) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose_of(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


def test_the_page_of_every_target_ends_with_what_next():
    pytest.importorskip("jinja2")
    from cpgtaxa.pages.page import environment

    found = environment()
    templates = ROOT / "scripts/cpgtaxa/templates"
    assert re.search(r"\{\{ what_next\(target\) \}\}\n</main>", text_of(templates / "page.html.j2"))
    for path in templates.glob("*.html.j2"):
        name = path.name.removesuffix(".html.j2")
        if name not in ("page", "shared", "explorer"):
            start = '{% extends "page.html.j2" %}\n{% set target = "' + name + '" %}\n'
            assert text_of(path).startswith(start), name
            shown = found.from_string(
                '{% from "shared.html.j2" import what_next %}{{ what_next("' + name + '") }}'
            ).render()
            assert shown.count("<li>") >= 2


def test_readme_fits_on_a_page():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 100


@pytest.mark.parametrize("name", ["statistics", "benchmarks"])
def test_generated_pages_are_what_their_scripts_write(name):
    page = script(f"make_{name}").page()
    assert page == text_of(DOCS / f"{name}.md"), f"run `.venv/bin/python docs/make_{name}.py`"


def test_config_schema_and_their_page_are_made_from_the_schema():
    configuration = script("make_configuration")
    for path, text in configuration.texts().items():
        assert text == text_of(path), f"{path.name}: run `.venv/bin/python docs/make_configuration.py`"

    def unexplained(properties, path=()):
        for name, node in properties.items():
            if "title" not in node and "description" not in node:
                yield ".".join([*path, name])
            if configuration.is_section(node):
                yield from unexplained(node["properties"], (*path, name))

    assert list(unexplained(configuration.yaml.safe_load(text_of(configuration.SCHEMA))["properties"])) == []


def test_the_table_of_targets_is_that_of_the_rules():
    targets = script("make_targets")
    assert targets.page() == text_of(DOCS / "targets/README.md"), "run `.venv/bin/python docs/make_targets.py`"
    found = {one.name: one for one in targets.targets()}
    assert set(found) >= {
        "all",
        "explain",
        "compare",
        "export",
        "single_cell",
        "ecg_age",
        "predict_images",
        "benchmark",
    }
    makes = "".join(
        text_of(path) for path in sorted(ROOT.glob("*/**/*.py")) if "plan" in path.parts or "plan" in path.stem
    )
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        makes += re.sub(r'""".*?"""', "", text_of(path), flags=re.S)
    for one in found.values():
        assert one.question.endswith("?"), one.name
        for path in one.outputs:
            assert path.rsplit("/", 1)[1].removeprefix("ResNet18") in makes, path


def test_a_docstring_that_lacks_a_part_is_reported(tmp_path, monkeypatch):
    targets = script("make_targets")
    (tmp_path / "workflow/rules").mkdir(parents=True)
    (tmp_path / "workflow/Snakefile").write_text('rule one:\n    """Why?\n    Needs: nothing\n    """\n')
    monkeypatch.setattr(targets, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"rule one is no target's.*output"):
        targets.targets()


def test_figures_in_the_readme_are_those_of_the_benchmarks():
    text = text_of(ROOT / "README.md")
    assert script("make_benchmarks").readme(text) == text, "run `.venv/bin/python docs/make_benchmarks.py`"


def test_the_ten_taxa_are_the_guides():
    image = pytest.importorskip("PIL.Image")
    made = script("make_pictures").ten_taxa().convert("RGB")
    kept = image.open(DOCS / "images/ten_taxa.png").convert("RGB")
    assert made.size == kept.size
    assert made.tobytes() == kept.tobytes(), "run `.venv/bin/python docs/make_pictures.py`"


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": ([\w/]+\.md)$", text_of(ROOT / "mkdocs.yml"), flags=re.M)
    inside = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert {path for path in listed if not path.startswith("repository/")} == inside
    for path in listed:
        if path.startswith("repository/"):
            assert (ROOT / path.removeprefix("repository/")).is_file(), path


def test_keys_and_targets_that_pages_name_exist():
    schema = yaml.safe_load(text_of(ROOT / "workflow/schemas/config.schema.yaml"))["properties"]
    rules = {
        name
        for path in [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
        for name in re.findall(r"^ *(?:rule|checkpoint) (\w+):", text_of(path), flags=re.M)
    }
    for page in PAGES:
        text = text_of(page)
        named = re.findall(r"`([a-z_]+)\.([a-z_]+)(?:: [^`]*)?`", text) + re.findall(r"`([a-z_]+): \{([a-z_]+):", text)
        # A target's page, and the table of keys, name the keys of its section without the section.
        own = schema.get(page.stem, {}).get("properties", {})
        for section, key in named:
            if section in schema and section not in own and key not in FILES and page.name != "configuration.md":
                assert key in schema[section].get("properties", {}), f"{page.name}: {section}.{key}"
        for target in re.findall(r"bin/snakemake ([a-z_]+) ", text):
            assert target in rules, f"{page.name}: snakemake {target}"


def test_paths_of_the_repository_that_pages_name_exist():
    for page in PAGES:
        found = re.findall(r"`((?:tests|scripts|workflow|envs|config|resources|docs)/[\w/.-]+\.\w+)`", text_of(page))
        for path in found:
            assert (ROOT / path).exists(), f"{page.name}: {path}"

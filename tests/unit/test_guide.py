"""The guide: what it says is there, its examples are what they are called, its numbers are the workflow's."""

import importlib.util
import json
import pathlib
import re

import pytest
import yaml
from cpgtaxa.names import TAXA, UNCLASSIFIED
from cpgtaxa.placement.selection import REASONS
from cpgtaxa.simulation import simulate
from cpgtaxa.taxa.criteria import default_zones

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "resources/guide"
TEXT = (GUIDE / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def draw():
    spec = importlib.util.spec_from_file_location("draw", GUIDE / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_taxon_and_reason_has_its_place():
    for taxon in (*TAXA, UNCLASSIFIED):
        assert f"\n### {taxon}\n\n![{taxon}: " in TEXT
        assert f"(taxon_{taxon}.png)" in TEXT
    for reason in REASONS:
        assert f"| `{reason}` |" in TEXT


def test_links_and_pictures_lead_somewhere():
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) > 30
    for link in links:
        path, _, anchor = link.partition("#")
        assert (GUIDE / path).exists(), link
        if not path:
            assert anchor in headings, link
    pictures = {path.name for path in GUIDE.glob("*.png")}
    assert pictures == {link for link in links if link.endswith(".png")}
    assert all((GUIDE / name).stat().st_size < 300_000 for name in pictures)
    assert all(alt.strip() for alt in re.findall(r"!\[([^]]*)\]", TEXT))
    assert "(resources/guide/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8").split("## Two commands")[0]


def test_definitions_are_those_of_the_table(draw):
    assert f"<!-- criteria: made by draw.py -->\n{draw.criteria_table()}\n<!-- end of criteria -->" in TEXT
    defaults = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["taxa"]
    assert defaults["thresholds"] == default_zones()
    for name, value in defaults["errors"].items():
        assert f"`taxa.errors.{name}` ({100 * value:g} %)" in " ".join(TEXT.split())
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    rounds = schema["properties"]["rounds"]["properties"]
    assert f"`rounds.error_rate` ({rounds['error_rate']['default']:.0%}".replace("%", " %") in TEXT
    assert f"`rounds.unlike` ({rounds['unlike']['default']:.0%}".replace("%", " %") in TEXT
    for section, key in re.findall(r"`([a-z_]+)\.([a-z_]+)(?:: [\w.]+)?`", TEXT):
        if section in schema["properties"]:
            assert key in schema["properties"][section]["properties"], f"{section}.{key}"


def test_numbers_are_those_of_the_pictures():
    def texts(node):
        return [text for child in node.values() for text in texts(child)] if isinstance(node, dict) else [node]

    for text in texts(json.loads((GUIDE / "numbers.json").read_text(encoding="utf-8"))):
        assert text.replace("%", " %") in TEXT, text


def test_examples_are_what_they_are_called(draw):
    """`draw.example` raises where the tests disagree; here only what the script cannot say of itself."""
    setting = simulate.cohort_setting(draw.SEED, draw.SAMPLES)
    assert set(draw.EXAMPLES) == {*TAXA, UNCLASSIFIED}
    for number, (taxon, profile) in enumerate(draw.EXAMPLES.items()):
        draw.example(profile, taxon, setting, number)
    for number, pair in enumerate(draw.PAIRS):
        for taxon, profile, _ in pair:
            draw.example(profile, taxon, setting, 100 + number)
    with pytest.raises(AssertionError, match="should be BiAge"):
        draw.example(draw.EXAMPLES["UniStable"], "BiAge", setting, 0)
    assert {taxon for pair in draw.PAIRS for taxon, *_ in pair} == set(TAXA)


def test_pictures_are_the_same_every_time(draw, tmp_path):
    setting = simulate.cohort_setting(draw.SEED, draw.SAMPLES)
    draw.EXAMPLES = {"Outlier": draw.EXAMPLES["Outlier"]}
    with draw.matplotlib.rc_context(draw.STYLE):
        for folder in ("one", "two"):
            draw.draw_taxa(draw.Album(tmp_path / folder), setting)
    one, two = ((tmp_path / folder / "taxon_Outlier.png").read_bytes() for folder in ("one", "two"))
    assert one == two
    assert b"tIME" not in one

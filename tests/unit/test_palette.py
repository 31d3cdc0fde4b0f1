"""The taxa's colours: distinct for people with and without colour blindness, and seen on light and dark pages."""

import itertools
import re

import numpy as np
import pytest
from colour_vision import VISIONS, ciede2000, contrast, distances, lab, rgb
from cpgtaxa.names import COLOURS, ON_DARK, SYMBOLS, TAXA, UNCLASSIFIED
from cpgtaxa.pages.page import PALETTE, environment

PAGES = {"light": ("#fcfcfa", COLOURS), "dark": ("#15181c", ON_DARK)}
RELATIVES = (("UniStable", "UniUnstable"), ("LinAgeHet", "LinAgeHomo"), ("TriAge", "TriNonAge"), ("BiAge", "BiNonAge"))


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_distances_are_those_that_sharma_published(one, other, distance):
    assert ciede2000(one, other) == pytest.approx(distance, abs=5e-5)


def test_simulated_sight_confuses_what_each_blindness_confuses():
    # Colours on one confusion line of each dichromacy, and grey, which all see as it is.
    pairs = {"protanopia": ("#804000", "#405000"), "deuteranopia": ("#b06030", "#808030")}
    for vision, pair in pairs.items():
        colours = np.array([rgb(one) for one in pair])
        assert distances(colours, vision)[0] < 0.5 * distances(colours, "normal")[0]
    blue_green = np.array([rgb("#0070c0"), rgb("#008070")])
    assert distances(blue_green, "tritanopia")[0] < 0.5 * distances(blue_green, "normal")[0]
    for vision in VISIONS:
        assert lab(rgb("#808080"), vision) == pytest.approx(lab(rgb("#808080")), abs=0.1)
    assert contrast(rgb("#000000"), rgb("#ffffff")) == pytest.approx(21)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("vision", "least"), [(vision, 18 if vision == "normal" else 13) for vision in VISIONS])
def test_every_pair_of_taxa_is_distinct(page, vision, least):
    names = list(PAGES[page][1])
    found = distances(np.array([rgb(PAGES[page][1][name]) for name in names]), vision)
    close = [pair for pair, apart in zip(itertools.combinations(names, 2), found, strict=True) if apart < least]
    assert not close


@pytest.mark.parametrize("page", PAGES)
def test_every_colour_stands_out_from_the_page(page):
    ground, colours = PAGES[page]
    grounds = [ground, "#ffffff"] if page == "light" else [ground]
    for name, code in colours.items():
        assert all(contrast(rgb(code), rgb(under)) >= 3 for under in grounds), name


@pytest.mark.parametrize("page", PAGES)
def test_relatives_differ_in_lightness_even_in_grey(page):
    colours = PAGES[page][1]
    for dark, light in RELATIVES:
        assert lab(rgb(colours[light]))[0] - lab(rgb(colours[dark]))[0] >= 12


def test_every_taxon_has_a_colour_for_both_pages_and_a_shape_of_its_own():
    assert list(COLOURS) == list(ON_DARK) == list(SYMBOLS) == [*TAXA, UNCLASSIFIED]
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)
    assert {name: (COLOURS[name], ON_DARK[name]) for name in COLOURS} == PALETTE


def test_pages_take_the_colours_from_here_alone():
    style = environment().get_template("palette.css.j2").render()
    for name, both in PALETTE.items():
        assert re.findall(rf"--c-{name}: (#\w+);", style) == list(both)

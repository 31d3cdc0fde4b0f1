"""The names everybody shares: the ten taxa, in the order of the published models' outputs."""

import difflib

TAXA = (
    "UniStable",
    "UniUnstable",
    "LinAgeHomo",
    "LinAgeHet",
    "NonAgeHet",
    "Outlier",
    "TriAge",
    "TriNonAge",
    "BiAge",
    "BiNonAge",
)
"""Index = output of the network; the order is that of the published models."""

INDEX = {taxon: index for index, taxon in enumerate(TAXA)}
UNCLASSIFIED = "Unclassified"
KNOWN = (*TAXA, UNCLASSIFIED)
PROBABILITY_COLUMNS = tuple(f"p_{taxon}" for taxon in TAXA)
CHECK_COLUMNS = tuple(f"check_{taxon}" for taxon in TAXA)
"""Probabilities of the network in float32, of the CpGs that check an engine."""
SUMMARY_COLUMNS = ["model", "metric", "value", "ci_low", "ci_high", "n"]
"""Of a target's table of its models' scores: one number a row, with its 95 % interval and how many it is of."""

MEANING = {
    "UniStable": "one very narrow band, no trend, constant spread",
    "UniUnstable": "one wide band, no trend, constant spread",
    "LinAgeHomo": "one band, linear trend with age, constant spread",
    "LinAgeHet": "one band, linear trend with age, spread changing with age",
    "NonAgeHet": "one band, no trend, spread changing with age",
    "Outlier": "one narrow band, no trend, and a few samples far from it",
    "TriAge": "three bands, a trend with age in at least one",
    "TriNonAge": "three bands, no trend",
    "BiAge": "two bands, a trend with age in at least one",
    "BiNonAge": "two bands, no trend",
}

# Chosen by tests/benchmarks/palette.py: distinct with normal sight and with each dichromacy, contrast of 3 and more
# with the page, relatives (such as BiAge and BiNonAge) of like hue and other lightness. test_palette.py keeps it so.
COLOURS = {
    "UniStable": "#6E57D3",
    "UniUnstable": "#459ABA",
    "LinAgeHomo": "#C1615F",
    "LinAgeHet": "#A91F5C",
    "NonAgeHet": "#5D0092",
    "Outlier": "#121515",
    "TriAge": "#2E4925",
    "TriNonAge": "#1C7377",
    "BiAge": "#6F6203",
    "BiNonAge": "#A98E05",
    UNCLASSIFIED: "#8F9190",
}
"""Each taxon's colour on white paper and a light page."""

ON_DARK = {
    "UniStable": "#4368E8",
    "UniUnstable": "#34A9DF",
    "LinAgeHomo": "#FCA999",
    "LinAgeHet": "#BF5E6C",
    "NonAgeHet": "#855688",
    "Outlier": "#F5F7F0",
    "TriAge": "#78A638",
    "TriNonAge": "#0BEEFE",
    "BiAge": "#676B1B",
    "BiNonAge": "#F6E349",
    UNCLASSIFIED: "#9C9CA0",
}
"""Each taxon's colour on a dark page."""

SYMBOLS = {
    "UniStable": "circle",
    "UniUnstable": "square",
    "LinAgeHomo": "triangle-up",
    "LinAgeHet": "triangle-down",
    "NonAgeHet": "diamond",
    "Outlier": "x",
    "TriAge": "star",
    "TriNonAge": "pentagon",
    "BiAge": "cross",
    "BiNonAge": "hexagon",
    UNCLASSIFIED: "circle-open",
}
"""A shape beside each colour, for print without colours: plotly's names."""


def close_taxon(text: str) -> str | None:
    """The taxon, or Unclassified, that an unknown word is nearest to, whatever its case; None where none is near."""
    plain = {name.casefold(): name for name in KNOWN}
    found = difflib.get_close_matches("".join(filter(str.isalpha, text.casefold())), plain, 1, 0.6)
    return plain[found[0]] if found else None


def label_of(rule: str, wildcards) -> str:
    """A job's name on the terminal: its rule, and its own wildcards, as in `predict round 1, 3 of 8`."""
    values = dict(wildcards.items())
    shard = []
    if {"shard", "shards"} <= values.keys():  # in the names of files they count from 0
        shard = [f"{int(values.pop('shard')) + 1} of {values.pop('shards')}"]
    words = [f"{name} {value}" if str(value).isdigit() else str(value) for name, value in values.items()]
    words += shard
    return " ".join([rule, ", ".join(words)]).rstrip()

"""The names everybody shares: the ten taxa, in the order of the published models' outputs."""

import difflib

# Colours chosen by tests/benchmarks/palette.py: distinct with normal sight and with each dichromacy, contrast of 3 and
# more with the page, relatives (such as BiAge and BiNonAge) of like hue, other lightness. test_palette.py keeps it so.
_TABLE = (
    ("UniStable", "#6E57D3", "#4368E8", "circle", "one very narrow band, no trend, constant spread"),
    ("UniUnstable", "#459ABA", "#34A9DF", "square", "one wide band, no trend, constant spread"),
    ("LinAgeHomo", "#C1615F", "#FCA999", "triangle-up", "one band, linear trend with age, constant spread"),
    ("LinAgeHet", "#A91F5C", "#BF5E6C", "triangle-down", "one band, linear trend with age, spread changing with age"),
    ("NonAgeHet", "#5D0092", "#855688", "diamond", "one band, no trend, spread changing with age"),
    ("Outlier", "#121515", "#F5F7F0", "x", "one narrow band, no trend, and a few samples far from it"),
    ("TriAge", "#2E4925", "#78A638", "star", "three bands, a trend with age in at least one"),
    ("TriNonAge", "#1C7377", "#0BEEFE", "pentagon", "three bands, no trend"),
    ("BiAge", "#6F6203", "#676B1B", "cross", "two bands, a trend with age in at least one"),
    ("BiNonAge", "#A98E05", "#F6E349", "hexagon", "two bands, no trend"),
)
"""Of each taxon: name, colour on paper and on a dark page, shape, meaning; in the order of the published models."""

UNCLASSIFIED = "Unclassified"
TAXA = tuple(taxon for taxon, *_ in _TABLE)
"""Index = output of the network."""
INDEX = {taxon: index for index, taxon in enumerate(TAXA)}
KNOWN = (*TAXA, UNCLASSIFIED)
PROBABILITY_COLUMNS = tuple(f"p_{taxon}" for taxon in TAXA)
CHECK_COLUMNS = tuple(f"check_{taxon}" for taxon in TAXA)
"""Probabilities of the network in float32, of the CpGs that check an engine."""
SUMMARY_COLUMNS = ["model", "metric", "value", "ci_low", "ci_high", "n"]
"""Of a target's table of its models' scores: one number a row, with its 95 % interval and how many it is of."""
SNP, SNP_NEAR = "SNP", "SNP_within_10"
"""What the annotation's `flags` call SNPs of the manifest; no list of the user's may have these names."""
IMPRINTED = "imprinted"
"""The user's list (`annotation.lists`) by which bands may be those of imprinting."""
MEANING = {taxon: meaning for taxon, *_, meaning in _TABLE}
COLOURS = {taxon: colour for taxon, colour, *_ in _TABLE} | {UNCLASSIFIED: "#8F9190"}
"""Each taxon's colour on white paper and a light page."""
ON_DARK = {taxon: colour for taxon, _, colour, *_ in _TABLE} | {UNCLASSIFIED: "#9C9CA0"}
"""Each taxon's colour on a dark page."""
SYMBOLS = {taxon: symbol for taxon, _, _, symbol, _ in _TABLE} | {UNCLASSIFIED: "circle-open"}
"""A shape beside each colour, for print without colours: plotly's names."""


def close_taxon(text: str) -> str | None:
    """The taxon, or Unclassified, that an unknown word is nearest to, whatever its case; None where none is near."""
    plain = {name.casefold(): name for name in KNOWN}
    found = difflib.get_close_matches("".join(filter(str.isalpha, text.casefold())), plain, 1, 0.6)
    return plain[found[0]] if found else None


def any_open(taxa) -> bool:
    """Whether the tests left a CpG without a taxon. taxa: (n,) names."""
    return any(taxon not in INDEX for taxon in set(taxa))


def label_of(rule: str, wildcards) -> str:
    """A job's name on the terminal: its rule, and its own wildcards, as in `predict round 1, 3 of 8`."""
    values = dict(wildcards.items())
    shard = []
    if {"shard", "shards"} <= values.keys():  # in the names of files they count from 0
        shard = [f"{int(values.pop('shard')) + 1} of {values.pop('shards')}"]
    words = [f"{name} {value}" if str(value).isdigit() else str(value) for name, value in values.items()]
    words += shard
    return " ".join([rule, ", ".join(words)]).rstrip()

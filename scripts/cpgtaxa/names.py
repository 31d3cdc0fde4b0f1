"""The names everybody shares: the ten taxa, in the order of the published models' outputs."""

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
PROBABILITY_COLUMNS = tuple(f"p_{taxon}" for taxon in TAXA)

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

# Paul Tol's "muted" scheme plus black-ish grey: told apart with every common colour blindness.
COLOURS = {
    "UniStable": "#332288",
    "UniUnstable": "#88CCEE",
    "LinAgeHomo": "#CC6677",
    "LinAgeHet": "#882255",
    "NonAgeHet": "#AA4499",
    "Outlier": "#222222",
    "TriAge": "#117733",
    "TriNonAge": "#44AA99",
    "BiAge": "#999933",
    "BiNonAge": "#DDCC77",
    UNCLASSIFIED: "#BBBBBB",
}

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

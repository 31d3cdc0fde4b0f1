"""The stages that are timed, ours first and then its peers, and how they compare."""

STAGES = {
    "ingest": ("cpgtaxa", "pandas read_csv"),
    "statistics": ("cpgtaxa", "statsmodels loop", "R limma, trend alone"),
    "images": ("cpgtaxa", "cpgtaxa (torch)", "R densCols + png", "matplotlib"),
    "normalisation": ("cpgtaxa", "published loop"),
    "training": ("cpgtaxa", "published loop"),
    "prediction": ("cpgtaxa", "cpgtaxa (torch)", "published loop"),
}
"""Stages, our own implementation first."""
LIMIT = "limit"
"""Name of what no implementation of a stage can do without, timed alone on one core:"""
LIMITS = {
    "ingest": "the file's bytes are read once",
    "statistics": "each CpG's values are sorted once",
    "images": "the images' bytes are written once",
    "normalisation": "the images' bytes are read once",
    "training": "the network's products, forward and backward, as one large product of matrices",
    "prediction": "the network's products as one large product of matrices",
}
"""by stage. Products are those of bfloat16 where the processor has it, else of float32; whole numbers can be faster."""


def _own(table, theirs, cores: int):
    """Our own measurement beside a peer's or a limit's: as many samples; the most CpGs, or of ingest as many."""
    own = table[(table["stage"] == theirs["stage"]) & (table["implementation"] == "cpgtaxa")]
    own = own[(own["n_samples"] == theirs["n_samples"]) & (own["cores"] == cores)]
    same = own[own["n_cpgs"] == theirs["n_cpgs"]]
    return (same if theirs["stage"] == "ingest" else own.sort_values("n_cpgs")).iloc[-1]


def ratios(table) -> list[tuple[str, str, float, float]]:
    """For each stage and peer: (stage, peer, our seconds per CpG, how many times as long the peer takes)."""
    found = []
    for stage, (_, *peers) in STAGES.items():
        for peer in peers:
            theirs = table[(table["stage"] == stage) & (table["implementation"] == peer)]
            if len(theirs):
                theirs = theirs.iloc[0]
                own = _own(table, theirs, table["cores"].max())
                per_cpg = own["seconds"] / own["n_cpgs"]
                found.append((stage, peer, per_cpg, theirs["seconds"] / theirs["n_cpgs"] / per_cpg))
    return found


def over_limits(table) -> list[tuple[str, str, float]]:
    """For each stage: (stage, what its limit is, how many times as long we take on one core)."""
    found = []
    for stage, what in LIMITS.items():
        limit = table[(table["stage"] == stage) & (table["implementation"] == LIMIT)]
        if len(limit):
            limit = limit.iloc[0]
            own = _own(table, limit, 1)
            found.append((stage, what, own["seconds"] / own["n_cpgs"] / (limit["seconds"] / limit["n_cpgs"])))
    return found

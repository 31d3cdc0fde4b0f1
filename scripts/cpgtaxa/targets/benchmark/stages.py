"""The stages that are timed, ours first and then its peers, and how they compare."""

STAGES = {
    "ingest": ("cpgtaxa", "pandas read_csv"),
    "statistics": ("cpgtaxa", "statsmodels loop", "R limma, trend alone"),
    "images": ("cpgtaxa", "cpgtaxa (torch)", "R densCols + png", "matplotlib"),
    "normalisation": ("cpgtaxa", "published loop"),
    "training": ("cpgtaxa", "published loop"),
    "prediction": ("cpgtaxa", "published loop"),
}
"""Stages, our own implementation first."""


def ratios(table) -> list[tuple[str, str, float, float]]:
    """For each stage and peer: (stage, peer, our seconds per CpG, how many times as long the peer takes)."""
    found = []
    for stage, (ours, *peers) in STAGES.items():
        rows = table[(table["stage"] == stage)]
        for peer in peers:
            theirs = rows[rows["implementation"] == peer]
            if not len(theirs):
                continue
            theirs = theirs.iloc[0]
            own = rows[(rows["implementation"] == ours) & (rows["n_samples"] == theirs["n_samples"])]
            own = own[own["n_cpgs"] == theirs["n_cpgs"]] if stage == "ingest" else own.sort_values("n_cpgs")
            own = own.iloc[-1]
            per_cpg = own["seconds"] / own["n_cpgs"]
            found.append((stage, peer, per_cpg, theirs["seconds"] / theirs["n_cpgs"] / per_cpg))
    return found

"""Names of genes, with and without the versions of their ids."""

import re

VERSIONED = re.compile(r"(ENS[A-Z]*\d{6,}|[NX][MR]_\d+)\.\d+(_PAR_Y)?")
"""Ids of Ensembl and RefSeq with their version."""


def gene_names(names, settings: dict) -> list[str]:
    """Names of genes, without their versions where the config drops these."""
    return [without_version(name) for name in names] if settings["gene_versions"] == "drop" else list(names)


def without_version(name: str) -> str:
    """ENSG00000000003.15 to ENSG00000000003; names that are no ids of Ensembl or RefSeq as they are."""
    found = VERSIONED.fullmatch(name)
    return found[1] + (found[2] or "") if found else name

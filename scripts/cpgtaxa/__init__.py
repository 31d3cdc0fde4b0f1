"""cpgtaxa: a taxonomy of age-related DNA-methylation patterns, from a beta matrix to a taxon for every CpG."""

__version__ = "0.2.0"

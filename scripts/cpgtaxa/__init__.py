"""cpgtaxa: a taxonomy of how CpGs age, from a beta matrix to a taxon for every CpG."""

__version__ = "0.2.0"

"""The models that predict a gene's expression, by name: a class in a file of its own, and a line here."""

from cpgtaxa.targets.expression import deepmethygene, peers


def regressors() -> dict:
    """Class by name."""
    return {
        "DeepMethyGene": deepmethygene.DeepMethyGene,
        "DeepMethyGene_on_ridge": deepmethygene.DeepMethyGeneOnRidge,
        "DeepMethyGene_published": deepmethygene.DeepMethyGenePublished,
        "ElasticNet": peers.ElasticNet,
        "Ridge": peers.Ridge,
        "RandomForest": peers.RandomForest,
        "SVM": peers.SVM,
        "Mean": peers.Mean,
    }


def create_regressor(name: str, settings: dict):
    """The model called `name`. settings: `recipe`, `epochs`, `device`, `precision`. ValueError for an unknown name."""
    known = regressors()
    if name not in known:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(known)}")
    return known[name](settings)

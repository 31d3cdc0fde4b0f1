"""The registry of models: one file and one line each.

`create_model(name, **arguments)` builds a network by its published name. Image networks end in a linear layer `fc`.
Those that regress are in a list of their own: what trains images cannot train them.
"""

import importlib

_WHERE = {
    "ResNet18": "resnet",
    "MixResNet18": "resnet",
    "ResNet10": "backbones",
    "ResNet34": "backbones",
    "ShuffleNetV2": "backbones",
}
_REGRESSION = {
    "AdaptiveRegressionCNN": "deepmethygene",
}

MODEL_NAMES = tuple(_WHERE)
"""Networks for images."""


def create_model(name: str, **arguments):
    """Build the torch module called `name` with random weights.

    Raises ValueError for an unknown name, listing the known ones.
    """
    where = _WHERE | _REGRESSION
    if name not in where:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(where)}")
    return getattr(importlib.import_module(f"cpgtaxa.models.{where[name]}"), name)(**arguments)

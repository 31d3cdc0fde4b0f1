"""The registry of models: one file and one line each.

`create_model(name, **arguments)` builds a network by its published name. Image networks end in a linear layer `fc`.
"""

import importlib

_WHERE = {
    "ResNet18": "resnet",
    "MixResNet18": "resnet",
    "ResNet10": "backbones",
    "ResNet34": "backbones",
    "ShuffleNetV2": "backbones",
}

MODEL_NAMES = tuple(_WHERE)


def create_model(name: str, **arguments):
    """Build the torch module called `name` with random weights.

    Raises ValueError for an unknown name, listing the known ones.
    """
    if name not in _WHERE:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODEL_NAMES)}")
    return getattr(importlib.import_module(f"cpgtaxa.models.{_WHERE[name]}"), name)(**arguments)

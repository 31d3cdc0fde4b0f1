"""The registry of models: one file and one line each.

`create_model(name, **arguments)` builds a network by its published name. Image networks end in a linear layer `fc`.
Those of the companion targets are in a list of their own: what trains images cannot train them.
"""

import importlib

_WHERE = {
    "ResNet18": "resnet",
    "MixResNet18": "resnet",
    "ResNet10": "backbones",
    "ResNet34": "backbones",
    "ShuffleNetV2": "backbones",
}
DNA_MODELS = (
    "CnnL1h128", "CnnL1h256", "CnnL2h128", "CnnL2h256", "CnnL3h128", "CnnL3h256", "CnnRnn01", "ResNet01", "ResNet02",
    "ResConv01", "ResAtrous01",
)  # fmt: skip
CPG_MODELS = ("FcAvg", "RnnL1", "RnnL2", "CellAttention")
SITE_MODELS = ("CellAttention",)
"""CpG models that see what other cells show at the site itself, and know the cells one by one."""
JOINT_MODELS = ("JointL0", "JointL1h512", "JointL2h512", "JointL3h512")
_COMPANIONS = {
    "AdaptiveRegressionCNN": "deepmethygene",
    "GeneNet": "genenet",
    "DeepChrome": "genenet",
    "ResDenseNet": "ecg",
    "ResUDenseNet": "ecg",
    "AgeResNet": "ecg_resnet",
    **dict.fromkeys((*DNA_MODELS, *CPG_MODELS, *JOINT_MODELS), "deepcpg"),
    **dict.fromkeys(SITE_MODELS, "cell_attention"),
}

MODEL_NAMES = tuple(_WHERE)
"""Networks for images."""


def create_model(name: str, **arguments):
    """Build the torch module called `name` with random weights.

    Raises ValueError for an unknown name, listing the known ones.
    """
    where = _WHERE | _COMPANIONS
    if name not in where:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(where)}")
    return getattr(importlib.import_module(f"cpgtaxa.models.{where[name]}"), name)(**arguments)

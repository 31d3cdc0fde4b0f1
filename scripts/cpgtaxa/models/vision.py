"""torchvision and lightning, also where torchvision's compiled operators do not fit the installed torch.

The wheel with CUDA operators beside a CPU build of torch fails on import, because operators whose shapes it registers
do not exist. Declaring the two it asks for is enough for models and transforms; nothing is declared where
torchvision's own operators load. lightning imports torchvision by way of its metrics, hence from here too.
"""

import sys

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    for _name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[_name]
    DECLARED = torch.library.Library("torchvision", "DEF")  # lives as long as this module
    DECLARED.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    DECLARED.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

import lightning
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

__all__ = [
    "Callback",
    "EMAWeightAveraging",
    "EarlyStopping",
    "ModelCheckpoint",
    "TorchCheckpointIO",
    "lightning",
    "torchvision",
]

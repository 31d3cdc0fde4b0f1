"""Other image networks of torchvision with one output per taxon, to compare (tests/benchmarks/recipes.py)."""

import torch

from cpgtaxa.models.vision import torchvision
from cpgtaxa.names import TAXA


def ResNet10(classes: int = len(TAXA)) -> torch.nn.Module:
    """A resnet with one basic block a stage in place of ResNet18's two; input and output as there."""
    models = torchvision.models.resnet
    return models.ResNet(models.BasicBlock, [1, 1, 1, 1], num_classes=classes)


def ResNet34(classes: int = len(TAXA)) -> torch.nn.Module:
    """torchvision's resnet34, random weights; input and output as ResNet18's."""
    return torchvision.models.resnet34(weights=None, num_classes=classes)


def ShuffleNetV2(classes: int = len(TAXA)) -> torch.nn.Module:
    """torchvision's shufflenet_v2_x1_0, random weights; input and output as ResNet18's."""
    return torchvision.models.shufflenet_v2_x1_0(weights=None, num_classes=classes)

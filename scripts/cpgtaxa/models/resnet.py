"""ResNet18 and MixResNet18: torchvision's resnet18 with one output per taxon, as published."""

import torch

from cpgtaxa.models.vision import torchvision
from cpgtaxa.names import TAXA


def ResNet18(classes: int = len(TAXA)) -> torch.nn.Module:
    """torchvision's resnet18, random weights; input (batch, 3, height, width), output (batch, classes) logits."""
    return torchvision.models.resnet18(weights=None, num_classes=classes)


# The network of the later rounds is the same; what "Mix" mixes are statistical and reassigned labels.
MixResNet18 = ResNet18

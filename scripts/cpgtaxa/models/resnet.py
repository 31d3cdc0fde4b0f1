"""ResNet18 and MixResNet18: torchvision's resnet18 with one output per taxon, as published.

Written out here, with the same layers, names and initial weights for a seed, because to import torchvision (by way of
torch's compiler) takes longer than most jobs that predict. The tests hold both against each other.
"""

import torch
from torch import nn

from cpgtaxa.names import TAXA

WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages, of two blocks each."""


class Block(nn.Module):
    """Two convolutions beside a short cut, which is widened where the stage begins (He et al. 2016)."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        # The short cut first, so that weights are drawn in torchvision's order; but it stands last among the layers.
        downsample = None
        if stride != 1 or channels_in != channels:
            downsample = nn.Sequential(_convolution(channels_in, channels, 1, stride), nn.BatchNorm2d(channels))
        self.conv1 = _convolution(channels_in, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(channels, channels, 3, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample

    def forward(self, x):
        left = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x += left
        return self.relu(x)


class ResNet(nn.Module):
    """Input (batch, 3, height, width), output (batch, classes) logits."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        before = WIDTHS[0]
        for number, channels in enumerate(WIDTHS, 1):
            stride = 1 if number == 1 else 2
            stage = nn.Sequential(Block(before, channels, stride), Block(channels, channels, 1))
            self.add_module(f"layer{number}", stage)
            before = channels
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _convolution(channels_in: int, channels: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, bias=False)


def ResNet18(classes: int = len(TAXA)) -> nn.Module:
    """The network with random weights; input (batch, 3, height, width), output (batch, classes) logits."""
    return ResNet(classes)


# The network of the later rounds is the same; what "Mix" mixes are statistical and reassigned labels.
MixResNet18 = ResNet18

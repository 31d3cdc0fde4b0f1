"""AdaptiveRegressionCNN of DeepMethyGene: a gene's expression from the CpGs around it, as wide as they are many."""

import torch
from torch.nn import functional

SLOPE = 0.01


def widths(length: int) -> tuple[int, int]:
    """Channels of the two stages for `length` CpGs: a tenth and a twentieth, at most 64 and 32, at least 1.

    The published formula gives none below 20 CpGs; one is what such genes need to be predicted at all.
    """
    return max(1, min(64, length // 10)), max(1, min(32, length // 20))


class ResidualBlock(torch.nn.Module):
    """Two convolutions of width 3 around which the input is led."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = torch.nn.Conv1d(channels, channels, 3, padding=1)
        self.conv2 = torch.nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x):
        inner = functional.leaky_relu(self.conv1(x), SLOPE)
        return functional.leaky_relu(self.conv2(inner) + x, SLOPE)


class AdaptiveRegressionCNN(torch.nn.Module):
    """Input (batch, 1, length) float32, output (batch, 1); `length` CpGs."""

    def __init__(self, length: int):
        super().__init__()
        first, second = widths(length)
        self.conv1 = torch.nn.Conv1d(1, first, 3, padding=1)
        self.resblock1 = ResidualBlock(first)
        self.conv2 = torch.nn.Conv1d(first, second, 3, padding=1)
        self.resblock2 = ResidualBlock(second)
        self.fc1 = torch.nn.Linear(second * length, 512)
        self.fc2 = torch.nn.Linear(512, 1)

    def forward(self, x):
        x = self.resblock1(functional.leaky_relu(self.conv1(x), SLOPE))
        x = self.resblock2(functional.leaky_relu(self.conv2(x), SLOPE))
        return self.fc2(functional.leaky_relu(self.fc1(x.flatten(1)), SLOPE))

"""The ResNet of Lima et al. (Nature Communications 2021): age from a 12-lead ECG, weights published for PyTorch.

Layers are called as in their file of weights, so that it loads.
"""

import torch


class _Block(torch.nn.Module):
    """Two convolutions; the sum of all before, before its activation, goes along beside (He et al. 2016).

    (batch, given, time) twice to (batch, made, time // shorter) twice.
    """

    def __init__(self, given: int, made: int, shorter: int, kernel: int, dropout: float):
        super().__init__()
        self.conv1 = torch.nn.Conv1d(given, made, kernel, padding=kernel // 2, bias=False)
        self.bn1 = torch.nn.BatchNorm1d(made)
        self.conv2 = torch.nn.Conv1d(made, made, kernel, shorter, max((kernel - shorter + 1) // 2, 0), bias=False)
        self.bn2 = torch.nn.BatchNorm1d(made)
        self.dropout = torch.nn.Dropout(dropout)
        pooled = [torch.nn.MaxPool1d(shorter)] if shorter > 1 else []
        widened = [torch.nn.Conv1d(given, made, 1, bias=False)] if given != made else []
        self.skip_connection = torch.nn.Sequential(*pooled, *widened)

    def forward(self, x, beside):
        x = self.dropout(self.bn1(self.conv1(x)).relu())
        beside = self.conv2(x) + self.skip_connection(beside)
        return self.dropout(self.bn2(beside).relu()), beside


class AgeResNet(torch.nn.Module):
    """(batch, 12, samples) float32, mV at 400 Hz, to (batch,) years; 6,924,705 parameters as published.

    blocks: channels and length in time that each block gives; lengths are whole fractions of those before.
    """

    def __init__(
        self,
        samples: int = 4096,
        blocks=((64, 4096), (128, 1024), (196, 256), (256, 64), (320, 16)),
        kernel: int = 17,
        dropout: float = 0.8,
        leads: int = 12,
    ):
        super().__init__()
        width, length = blocks[0]
        shorter = samples // length
        self.conv1 = torch.nn.Conv1d(leads, width, kernel, shorter, max((kernel - shorter + 1) // 2, 0), bias=False)
        self.bn1 = torch.nn.BatchNorm1d(width)
        self.names = [f"resblock1d_{number}" for number in range(len(blocks))]
        for name, (made, after) in zip(self.names, blocks, strict=True):
            self.add_module(name, _Block(width, made, length // after, kernel, dropout))
            width, length = made, after
        self.lin = torch.nn.Linear(width * length, 1)

    def forward(self, x):
        x = beside = self.bn1(self.conv1(x))
        for name in self.names:
            x, beside = getattr(self, name)(x, beside)
        return self.lin(x.flatten(1))[:, 0]

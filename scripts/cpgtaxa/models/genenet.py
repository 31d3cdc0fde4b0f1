"""Expression, high or low, from histone marks around the start of a gene: GeneNet and its forerunner DeepChrome."""

import torch

VALUES = 505
"""100 bins of five marks, and the five marks' sums."""


def GeneNet(values: int = VALUES) -> torch.nn.Module:
    """The 1-D CNN of Chaubey, Nair and Pillai (2019); input (batch, values) float32, output (batch, 2) logits.

    One channel of 505 values: 782,845 parameters. Published with a softmax, which is the loss's here.
    """
    layers = [torch.nn.Unflatten(1, (1, values))]
    length, channels = values, 1
    for filters, width, pool in ((64, 17, 3), (128, 13, 1), (256, 11, 4)):
        layers += [torch.nn.Conv1d(channels, filters, width), torch.nn.Tanh()]
        if pool > 1:
            layers.append(torch.nn.MaxPool1d(pool))
        length, channels = (length - width + 1) // pool, filters
    layers += [torch.nn.Dropout(0.6), torch.nn.Flatten()]
    width = channels * length
    for units, dropout in ((35, 0.5), (16, 0.0), (8, 0.0)):
        layers += [torch.nn.Linear(width, units), torch.nn.Tanh()]
        if dropout:
            layers.append(torch.nn.Dropout(dropout))
        width = units
    network = torch.nn.Sequential(*layers, torch.nn.Linear(width, 2))
    for module in network:
        # As Keras starts layers: torch's own start is meant for other activations.
        if isinstance(module, torch.nn.Conv1d | torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
            torch.nn.init.zeros_(module.bias)
    return network


def DeepChrome(marks: int = 5, bins: int = 100) -> torch.nn.Module:
    """The CNN of Singh and others (2016); input (batch, marks, bins) float32 counts, output (batch, 2) logits.

    50 filters of ten bins, pooled by five, then layers of 625 and 125 units.
    """
    filters, width, pool = 50, 10, 5
    pooled = (bins - width + 1) // pool
    return torch.nn.Sequential(
        torch.nn.Conv1d(marks, filters, width),
        torch.nn.ReLU(),
        torch.nn.MaxPool1d(pool),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(filters * pooled, 625),
        torch.nn.ReLU(),
        torch.nn.Linear(625, 125),
        torch.nn.ReLU(),
        torch.nn.Linear(125, 2),
    )

"""Age from a 12-lead ECG: ResDenseNet (adults) and ResUDenseNet (children), two networks of the MAIC 2023 challenge.

Residual U-blocks look at shapes of every length in time, dense blocks put them together, attention weighs moments
against each other, and of each channel the highest moment predicts the age.
"""

import torch

LEADS = 12
ADULT = (19.0, 103.0)
"""Lowest age and range of ages in years that ResDenseNet can give, as published."""
CHILD = (0.0, 9.0)
"""Of ResUDenseNet."""
BLOCKS = (6, 5, 4, 3)
"""Levels of the four residual U-blocks."""
LAYERS = {
    1: (torch.nn.Conv1d, torch.nn.ConvTranspose1d, torch.nn.BatchNorm1d, torch.nn.AvgPool1d),
    2: (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.BatchNorm2d, torch.nn.AvgPool2d),
}


def _half(dims: int) -> tuple[int, ...]:
    """Stride that halves time, the last dimension, alone."""
    return (1,) * (dims - 1) + (2,)


def _convolved(given: int, made: int, kernel: tuple[int, ...], stride=1) -> list[torch.nn.Module]:
    """Convolution over as many dimensions as the kernel has, normalised, with a leaky ReLU."""
    convolution, _, norm, _ = LAYERS[len(kernel)]
    padding = tuple(size // 2 for size in kernel)
    return [convolution(given, made, kernel, stride, padding, bias=False), norm(made), torch.nn.LeakyReLU()]


class ResidualUBlock(torch.nn.Module):
    """A U-net of `levels` levels, each half as long in time, around which its input is led; then half the time.

    (batch, width, [leads,] time) to (batch, width, [leads,] time // 2); inside, levels have `narrow` channels.
    """

    def __init__(self, width: int, narrow: int, levels: int, kernel: tuple[int, ...]):
        super().__init__()
        dims, stride = len(kernel), _half(len(kernel))
        convolution, transposed, norm, pool = LAYERS[dims]
        self.enter = torch.nn.Sequential(*_convolved(width, width, kernel))
        given = [width] + [narrow] * (levels - 1)
        self.down = torch.nn.ModuleList(torch.nn.Sequential(*_convolved(one, narrow, kernel, stride)) for one in given)
        self.bottom = torch.nn.Sequential(*_convolved(narrow, narrow, kernel))
        padding, further = tuple(size // 2 for size in kernel), tuple(step - 1 for step in stride)
        self.up = torch.nn.ModuleList(
            torch.nn.Sequential(
                transposed(2 * narrow, one, kernel, stride, padding, further, bias=False),
                norm(one),
                torch.nn.LeakyReLU(),
            )
            for one in reversed(given)
        )
        self.leave = torch.nn.Sequential(pool(stride, stride), convolution(width, width, 1, bias=False))

    def forward(self, x):
        x = entered = self.enter(x)
        levels = []
        for layer in self.down:
            x = layer(x)
            levels.append(x)
        x = self.bottom(x)
        for layer, level in zip(self.up, reversed(levels), strict=True):
            # Of odd lengths the way up is one longer than the way down.
            x = layer(torch.cat([x[..., : level.shape[-1]], level], dim=1))
        return self.leave(x[..., : entered.shape[-1]] + entered)


class DenseBlock(torch.nn.Module):
    """`layers` bottleneck layers, each of which sees what all before it found and adds `growth` channels; then `made`
    channels by a convolution of width 1. pooled: and half the time. (batch, given, time) to (batch, made, time)."""

    def __init__(self, given: int, made: int, layers: int, growth: int, pooled: bool):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.BatchNorm1d(given + at * growth),
                torch.nn.LeakyReLU(),
                torch.nn.Conv1d(given + at * growth, 4 * growth, 1, bias=False),
                torch.nn.BatchNorm1d(4 * growth),
                torch.nn.LeakyReLU(),
                torch.nn.Conv1d(4 * growth, growth, 3, padding=1, bias=False),
            )
            for at in range(layers)
        )
        last = given + layers * growth
        self.transition = torch.nn.Sequential(
            torch.nn.BatchNorm1d(last),
            torch.nn.LeakyReLU(),
            torch.nn.Conv1d(last, made, 1, bias=False),
            torch.nn.AvgPool1d(2) if pooled else torch.nn.Identity(),
        )

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return self.transition(x)


class Attention(torch.nn.Module):
    """Every moment as a mixture of all: (batch, channels, time) to the same."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = torch.nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x):
        x = x.transpose(1, 2)
        return self.heads(x, x, x, need_weights=False)[0].transpose(1, 2)

    def looked_at(self, x):
        """How much every moment is looked at, the mean over heads and moments that look: (batch, time), sum 1."""
        x = x.transpose(1, 2)
        return self.heads(x, x, x, need_weights=True)[1].mean(dim=1)


class _Age(torch.nn.Module):
    """`features`, (batch, leads, time) to (batch, channels, time), and the age they predict: (batch,) years.

    averaged: samples of a lead that are averaged into one before all else; 1 as published.
    """

    def __init__(self, channels: int, ages: tuple[float, float], dropout: float, averaged: int):
        super().__init__()
        self.low, self.range = ages
        self.averaged = torch.nn.AvgPool1d(averaged) if averaged > 1 else torch.nn.Identity()
        self.dropout = torch.nn.Dropout(dropout)
        self.age = torch.nn.Linear(channels, 1)

    def forward(self, x):
        highest = self.features(self.averaged(x)).amax(dim=2)
        # In bfloat16 ages from 64 on would be half years.
        with torch.autocast(x.device.type, enabled=False):
            return self.low + self.range * self.age(highest.float()).squeeze(1).sigmoid()


class ResDenseNet(_Age):
    """The published network for adults: 10,485,569 parameters; input (batch, 12, time) float32.

    Convolutions over leads and time, then leads become channels. Dropout comes before the last attention.
    """

    def __init__(
        self, width=128, narrow=64, layers=16, growth=12, heads=8, ages=ADULT, dropout=0.5, leads=LEADS, averaged=1
    ):
        super().__init__(width, ages, dropout, averaged)
        between = (width + layers * growth) // 2
        self.enter = torch.nn.Sequential(*_convolved(1, width, (3, 15), (1, 2)))
        self.blocks = torch.nn.Sequential(*(ResidualUBlock(width, narrow, levels, (3, 9)) for levels in BLOCKS))
        self.folded = torch.nn.Sequential(*_convolved(leads * width, width, (1,)))
        self.first = torch.nn.Sequential(
            DenseBlock(width, between, layers, growth, pooled=False), Attention(between, heads)
        )
        self.second = DenseBlock(between, width, layers, growth, pooled=True)
        self.attention = Attention(width, heads)

    def features(self, x):
        x = self.blocks(self.enter(x.unsqueeze(1)))
        x = self.second(self.first(self.folded(x.flatten(1, 2))))
        return self.attention(self.dropout(x))


class ResUDenseNet(_Age):
    """The published network for children: 7,200,321 parameters; input (batch, 12, time) float32.

    Convolutions over time, leads as channels from the start.
    """

    def __init__(
        self, width=256, narrow=64, layers=16, growth=12, heads=8, ages=CHILD, dropout=0.5, leads=LEADS, averaged=1
    ):
        super().__init__(width, ages, dropout, averaged)
        between = (width + layers * growth) // 2
        self.enter = torch.nn.Sequential(*_convolved(leads, width, (15,), 2))
        self.blocks = torch.nn.Sequential(*(ResidualUBlock(width, narrow, levels, (9,)) for levels in BLOCKS))
        self.first = DenseBlock(width, between, layers, growth, pooled=False)
        self.second = DenseBlock(between, width, layers, growth, pooled=True)
        self.attention = Attention(width, heads)

    def features(self, x):
        x = self.second(self.first(self.blocks(self.enter(x))))
        return self.attention(self.dropout(x))

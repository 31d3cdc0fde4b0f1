"""DeepCpG's model zoo (Angermueller and others, 2017): methylation of single cells from sequence and neighbours.

DNA models take one-hot windows (batch, 4, length) float32, CpG models (batch, cells, 2 × neighbours) float32 of states
and distances; both give features (batch, `features`). A joint model puts theirs together. `Cells` joins them to one
output per cell. Parameters are those of the published specifications; GRUs have one more bias vector per gate.
"""

import functools

import torch
from torch import nn

WINDOW = 1001
"""Bases of sequence around a CpG."""
NEIGHBOURS = 50
"""Observed neighbours of a CpG in a cell, both sides together."""
DROPOUT = 0.0


def _initialise(module: nn.Module) -> None:
    """Weights as Keras starts them (Glorot or He, uniform), biases at zero."""
    for one in module.modules():
        if isinstance(one, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(one.weight)
            nn.init.zeros_(one.bias)
        elif isinstance(one, nn.GRU):
            for name, values in one.named_parameters():
                if name.startswith("bias"):
                    nn.init.zeros_(values)
                else:
                    for gate in values.chunk(3):
                        (nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_)(gate)


class _Convolutions(nn.Module):
    """Convolutions with pooling, then one fully connected layer."""

    def __init__(self, layers, hidden: int, length: int = WINDOW, dropout: float = DROPOUT):
        super().__init__()
        channels, stem = 4, []
        for filters, width, pool in layers:
            stem += [nn.Conv1d(channels, filters, width), nn.ReLU(), nn.MaxPool1d(pool)]
            channels, length = filters, (length - width + 1) // pool
        self.stem = nn.Sequential(*stem)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(channels * length, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.features = hidden
        _initialise(self)

    @property
    def first(self) -> nn.Conv1d:
        """The layer whose filters are read as motifs."""
        return self.stem[0]

    def forward(self, dna):
        return self.head(self.stem(dna))


_FIRST, _SECOND, _THIRD = (128, 11, 4), (256, 3, 2), (512, 3, 2)


CnnL1h128 = functools.partial(_Convolutions, [_FIRST], 128)
"""conv[128@11] mp[4] fc[128]; 4,052,736 parameters at 1,001 bases."""
CnnL1h256 = functools.partial(_Convolutions, [_FIRST], 256)
"""conv[128@11] mp[4] fc[256]; 8,099,712 parameters."""
CnnL2h128 = functools.partial(_Convolutions, [_FIRST, _SECOND], 128)
"""conv[128@11] mp[4] conv[256@3] mp[2] fc[128]; 4,102,144 parameters. Recommended."""
CnnL2h256 = functools.partial(_Convolutions, [_FIRST, _SECOND], 256)
"""conv[128@11] mp[4] conv[256@3] mp[2] fc[256]; 8,099,968 parameters."""
CnnL3h128 = functools.partial(_Convolutions, [_FIRST, _SECOND, _THIRD], 128)
"""conv[128@11] mp[4] conv[256@3] mp[2] conv[512@3] mp[2] fc[128]; 4,430,336 parameters."""
CnnL3h256 = functools.partial(_Convolutions, [_FIRST, _SECOND, _THIRD], 256)
"""As CnnL3h128 with fc[256]; 8,362,624 parameters."""


class CnnRnn01(nn.Module):
    """conv[128@11] mp[4] conv[256@7] mp[4] bgru[256]; 1,023,360 parameters, and 1,536 biases more of torch's GRU."""

    def __init__(self, length: int = WINDOW, dropout: float = DROPOUT):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(4, 128, 11), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(128, 256, 7), nn.ReLU(), nn.MaxPool1d(4)
        )
        self.gru = nn.GRU(256, 256, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.features = 512
        _initialise(self)

    @property
    def first(self) -> nn.Conv1d:
        return self.stem[0]

    def forward(self, dna):
        return self.dropout(_last(self.gru, self.stem(dna).transpose(1, 2)))


def _last(gru: nn.GRU, steps):
    """What both directions of a GRU's last layer end with: (batch, 2 × units)."""
    ends = gru(steps)[1]
    return torch.cat([ends[-2], ends[-1]], dim=1)


class _Unit(nn.Module):
    """A pre-activation residual unit: batch normalisation, ReLU, convolution, as often as there are widths."""

    def __init__(self, channels: int, convolutions, stride: int, shortcut: int):
        """convolutions: (filters, width, dilation) each; the first has the stride. shortcut: width of the convolution
        that fits the input to the output, where their shapes differ."""
        super().__init__()
        branch, inside = [], channels
        for number, (filters, width, dilation) in enumerate(convolutions):
            step = stride if number == 0 else 1
            branch += [nn.BatchNorm1d(inside, eps=1e-3, momentum=0.01), nn.ReLU()]
            branch.append(_same(inside, filters, width, step, dilation))
            inside = filters
        self.branch = nn.Sequential(*branch)
        fits = inside == channels and stride == 1
        self.shortcut = nn.Identity() if fits else _same(channels, inside, shortcut, stride)

    def forward(self, x):
        return self.shortcut(x) + self.branch(x)


def _same(channels: int, filters: int, width: int, stride: int = 1, dilation: int = 1) -> nn.Conv1d:
    """A convolution whose output is as long as its input, or the stride-th part of it."""
    return nn.Conv1d(channels, filters, width, stride, padding=dilation * (width - 1) // 2, dilation=dilation)


class _Residual(nn.Module):
    """A convolution, stages of residual units, and the mean over positions."""

    def __init__(self, units, normalise: bool, dropout: float):
        super().__init__()
        first = [nn.Conv1d(4, 128, 11)] + ([nn.BatchNorm1d(128, eps=1e-3, momentum=0.01)] if normalise else [])
        self.stem = nn.Sequential(*first, nn.ReLU(), nn.MaxPool1d(2))
        stages, channels = [], 128
        for convolutions, stride, shortcut in units:
            stages.append(_Unit(channels, convolutions, stride, shortcut))
            channels = convolutions[-1][0]
        self.units = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.features = channels
        _initialise(self)

    @property
    def first(self) -> nn.Conv1d:
        return self.stem[0]

    def forward(self, dna):
        return self.dropout(self.units(self.stem(dna)).mean(dim=2))


_WIDTHS = ((32, 128), (64, 256), (128, 512), (256, 1024))


def _bottlenecks(counts, atrous: bool = False):
    """Bottleneck units, so many a stage; the first of a stage has stride 2. atrous: dilated by 1, 2, 4 in a stage."""
    for (inner, outer), count in zip(_WIDTHS, counts, strict=True):
        for number in range(count):
            dilation = 2**number if atrous else 1
            yield [(inner, 1, 1), (inner, 3, dilation), (outer, 1, 1)], 2 if number == 0 else 1, 1


def ResNet01(length: int = WINDOW, dropout: float = DROPOUT) -> nn.Module:
    """conv[128@11] mp[2] resb[2x128|2x256|2x512|1x1024] gap; 1,745,280 parameters, without running means."""
    return _Residual(_bottlenecks((2, 2, 2, 1)), True, dropout)


def ResNet02(length: int = WINDOW, dropout: float = DROPOUT) -> nn.Module:
    """conv[128@11] mp[2] resb[3x128|3x256|3x512|1x1024] gap; 1,985,856 parameters, without running means."""
    return _Residual(_bottlenecks((3, 3, 3, 1)), True, dropout)


def ResConv01(length: int = WINDOW, dropout: float = DROPOUT) -> nn.Module:
    """conv[128@11] mp[2] resc[2x128|1x256|1x256|1x512] gap; 2,815,744 parameters, without running means."""
    units = [([(width, 3, 1)] * 2, stride, 3) for width, stride in ((128, 2), (128, 1), (256, 2), (256, 2), (512, 2))]
    return _Residual(units, True, dropout)


def ResAtrous01(length: int = WINDOW, dropout: float = DROPOUT) -> nn.Module:
    """conv[128@11] mp[2] resa[3x128|3x256|3x512|1x1024] gap; 1,985,600 parameters, without running means."""
    return _Residual(_bottlenecks((3, 3, 3, 1), atrous=True), False, dropout)


# --- neighbours ------------------------------------------------------------------------------------------------------


class FcAvg(nn.Module):
    """fc[512] of each cell's neighbours, mean over cells; 51,712 parameters at 50 neighbours."""

    def __init__(self, neighbours: int = NEIGHBOURS, dropout: float = DROPOUT):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(2 * neighbours, 512), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.features = 512
        _initialise(self)

    def forward(self, cpg):
        return self.dropout(self.embed(cpg).mean(dim=1))


class _Recurrent(nn.Module):
    """fc[256] of each cell's neighbours, then bidirectional GRUs over the cells."""

    def __init__(self, units, neighbours: int = NEIGHBOURS, dropout: float = DROPOUT):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(2 * neighbours, 256), nn.ReLU())
        widths = (256, *(2 * one for one in units[:-1]))
        self.grus = nn.ModuleList(
            nn.GRU(width, one, batch_first=True, bidirectional=True) for width, one in zip(widths, units, strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.features = 2 * units[-1]
        _initialise(self)

    def forward(self, cpg):
        steps = self.embed(cpg)
        for gru in self.grus[:-1]:
            steps = gru(steps)[0]
        return self.dropout(_last(self.grus[-1], steps))


RnnL1 = functools.partial(_Recurrent, (256,))
"""fc[256] bgru[256]; 813,824 parameters at 50 neighbours, and 1,536 biases more of torch's GRU. Recommended."""
RnnL2 = functools.partial(_Recurrent, (128, 256))
"""fc[256] bgru[128] bgru[256]; 1,109,504 parameters at 50 neighbours, and 2,304 biases more of torch's GRUs."""


# --- together --------------------------------------------------------------------------------------------------------


class _Joint(nn.Module):
    """Fully connected layers of 512 units on what the DNA and the CpG model give, side by side."""

    def __init__(self, layers: int, width: int = 640, dropout: float = DROPOUT):
        super().__init__()
        stem = []
        for _ in range(layers):
            stem += [nn.Linear(width, 512), nn.ReLU(), nn.Dropout(dropout)]
            width = 512
        self.stem = nn.Sequential(*stem)
        self.features = width
        _initialise(self)

    def forward(self, features):
        return self.stem(features)


JointL0 = functools.partial(_Joint, 0)
"""The features side by side; no parameters. width: features of the DNA and the CpG model together."""
JointL1h512 = functools.partial(_Joint, 1)
"""fc[512]."""
JointL2h512 = functools.partial(_Joint, 2)
"""fc[512] fc[512]. Recommended."""
JointL3h512 = functools.partial(_Joint, 3)
"""fc[512] fc[512] fc[512]."""


class Cells(nn.Module):
    """A DNA model, a CpG model, or both and a joint one, with one logit per cell: (batch, cells).

    A CpG model with `own_features` gives each cell features of its own, (batch, cells, `features`): all that follows
    works on each cell alone, whose state none of its features knows.
    """

    def __init__(self, cells: int, dna: nn.Module | None = None, cpg: nn.Module | None = None, joint=None):
        super().__init__()
        self.dna, self.cpg, self.joint = dna, cpg, joint
        self.alone = getattr(cpg, "own_features", False)
        self.outputs = nn.Linear((joint or dna or cpg).features, 1 if self.alone else cells)
        self.frozen = False
        _initialise(self.outputs)

    def freeze(self) -> None:
        """Keep the DNA and the CpG model as they are: the rest alone is trained."""
        self.frozen = True
        for part in (self.dna, self.cpg):
            part.requires_grad_(False)

    def train(self, mode: bool = True):
        super().train(mode)
        if self.frozen:  # no dropout in them, and running means stay
            self.dna.eval()
            self.cpg.eval()
        return self

    def forward(self, *inputs):
        """inputs: the DNA window where there is a DNA model, then the neighbours where there is a CpG model."""
        given = iter(inputs)
        features = [part(next(given)) for part in (self.dna, self.cpg) if part is not None]
        if self.alone and self.dna is not None:
            features[0] = features[0][:, None].expand(-1, features[1].shape[1], -1)
        features = torch.cat(features, dim=-1)
        logits = self.outputs(features if self.joint is None else self.joint(features))
        return logits[..., 0] if self.alone else logits

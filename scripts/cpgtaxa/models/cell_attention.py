"""Attention over cells and sites: a cell's state from its own neighbours and from what other cells show at the site.

DeepCpG's CpG models predict all cells at once, and therefore see no cell's state at the site itself. Here each cell
sees what the others show there, and never its own state: one pass predicts all cells, whether the site is observed or
not. In the manner of CpG Transformer (De Waele and others, 2022), with torch's layers.
"""

import math

import torch
from torch import nn

from cpgtaxa.models.deepcpg import DROPOUT, NEIGHBOURS

REACH = 10
"""Sites on either side that are seen in their order, observed or not: 21 in all, as published."""
WIDTH, HEADS, LAYERS = 64, 4, 2
FINE = 1000
"""Distances are seen as log(1 + FINE × share of the farthest)."""


class CellAttention(nn.Module):
    """Features of each cell at a site, (batch, cells, `features`).

    The input, (batch, cells, 2 × neighbours + 2 × (2 × reach + 1)), is `Neighbourhoods.inputs`: states and distances of
    the nearest observed sites, then of the sites around; the middle one of these is the site itself. Each
    cell's neighbourhood is a token; the tokens attend to each other, and then to tokens that know the other cells'
    states at the site. What a cell is given does not depend on its own.
    """

    own_features = True

    def __init__(self, cells: int, neighbours: int = NEIGHBOURS, dropout: float = DROPOUT, reach: int = REACH):
        super().__init__()
        self.reach, self.features = reach, WIDTH
        self.lengths = [neighbours, neighbours, 2 * reach + 1, 2 * reach + 1]
        self.embed = nn.Sequential(
            nn.Linear(2 * neighbours + 6 * reach, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )
        self.cell = nn.Embedding(cells, WIDTH)
        self.state = nn.Embedding(3, WIDTH)
        self.nothing = nn.Parameter(torch.zeros(1, 1, WIDTH))
        how = {"dropout": dropout, "activation": "gelu", "batch_first": True, "norm_first": True}
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, **how)
        self.among = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        # One layer: a second would bring a cell's own state back from the others.
        self.across = nn.TransformerDecoderLayer(WIDTH, HEADS, 2 * WIDTH, **how)
        self.norm = nn.LayerNorm(WIDTH)
        own = torch.eye(cells, dtype=torch.bool)
        self.register_buffer("own", torch.cat([torch.zeros(cells, 1, dtype=torch.bool), own], dim=1), persistent=False)

    def forward(self, cpg):
        near, far, around, apart = cpg.split(self.lengths, dim=2)
        far, apart = (torch.log1p(FINE * one) / math.log1p(FINE) for one in (far, apart))
        middle = self.reach
        others = [torch.cat([one[..., :middle], one[..., middle + 1 :]], dim=2) for one in (2 * around - 1, apart)]
        seen = torch.cat([2 * near - 1, far, others[0], others[0].abs(), others[1]], dim=2)
        token = self.among(self.embed(seen) + self.cell.weight)
        state = (2 * around[..., middle]).round().long()  # 0, 0.5 (unobserved) or 1
        shown = torch.cat([self.nothing.expand(len(cpg), 1, -1), token + self.state(state)], dim=1)
        return self.norm(self.across(token, shown, memory_mask=self.own))

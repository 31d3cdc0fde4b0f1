"""Training many small AdaptiveRegressionCNNs at once.

A gene has a network per fold, most of them so small that a processor spends its time on calls and not on numbers. Those
of one width are stacked, convolutions and layers become batched matrix products, and each network still goes its own
way: its own weights, samples, order of batches, early stop. Wide networks fill a processor alone; they take turns.
`torch.func.vmap` stacks networks too, but only of one length, and takes 139 ms for a step of 80 small ones where these
products take 89 (tests/benchmarks/libraries.py).
"""

import dataclasses
import math

import numpy as np
import torch
from torch.nn import functional

from cpgtaxa.models.deepmethygene import SLOPE, AdaptiveRegressionCNN, widths

WIDE = 8
"""Channels from which a network fills a CPU core by itself (tests/benchmarks/expression_speed.py)."""
TOGETHER = {"cpu": 20_000_000, "cuda": 4_000_000_000}
"""Numbers (weights and all that belongs to them, activations) held at once: on a CPU, not far beyond its caches."""
MOST = 64
HALF_FROM = 200
"""CpGs from which bfloat16 is faster on a CPU that has it."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained. batch 0: all samples at once. restore: end with the weights of the best epoch."""

    epochs: int
    patience: int
    batch: int
    lr: float
    weight_decay: float = 0.0
    restore: bool = True
    by_width: bool = False

    def for_width(self, channels: int) -> "Recipe":
        """The recipe for networks of so many channels in their first stage.

        by_width: `lr` is that of one channel and falls with the root of their number; wide networks, of which each step
        costs most of what its samples do, take twice the batch.
        """
        if not self.by_width:
            return self
        batch = self.batch * (2 if channels >= WIDE else 1)
        return dataclasses.replace(self, lr=self.lr / math.sqrt(channels), batch=batch, by_width=False)


RECIPES = {
    # As published, but for the weights that are restored (the published loop keeps a live reference to them).
    "published": Recipe(epochs=700, patience=90, batch=0, lr=1e-3),
    "fast": Recipe(epochs=40, patience=5, batch=16, lr=4e-3, weight_decay=1e-2, by_width=True),
}


@dataclasses.dataclass
class Fit:
    """One network to train. x (n, length) and y (n,) float32; rows to fit, rows to stop early by; seed of the order."""

    network: torch.nn.Module
    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    stop: np.ndarray
    seed: int
    epochs: int = 0
    """Epochs trained, best one included, once it is over."""


def new_network(length: int, seed: int) -> torch.nn.Module:
    """An AdaptiveRegressionCNN for `length` CpGs with the random weights of `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AdaptiveRegressionCNN(length)


def train(fits: list[Fit], recipe: Recipe, *, device: str = "cpu", bfloat16: bool = False) -> None:
    """Train every fit's network in place; each ends as it would if trained alone, but for rounding."""
    groups: dict[tuple, list[Fit]] = {}
    for fit in fits:
        size = widths(fit.x.shape[1])
        batch = recipe.for_width(size[0]).batch or len(fit.rows)
        steps = math.ceil(len(fit.rows) / batch)
        lone = device == "cpu" and size[0] >= WIDE
        groups.setdefault((size, steps, id(fit) if lone else 0), []).append(fit)
    for group in groups.values():
        group.sort(key=lambda fit: fit.x.shape[1])
        batch = recipe.for_width(widths(group[0].x.shape[1])[0]).batch or len(group[0].rows)
        for chunk in _chunks(group, TOGETHER["cpu" if device == "cpu" else "cuda"], batch):
            half = bfloat16 and (device != "cpu" or chunk[0].x.shape[1] >= HALF_FROM)
            _train_together(chunk, recipe.for_width(widths(chunk[0].x.shape[1])[0]), device, half)


def _chunks(group: list[Fit], most: int, batch: int):
    """Fits of one width in lists of at most MOST that take about `most` numbers in batches of so many samples."""
    chunk, held = [], 0
    for fit in group:
        length = fit.x.shape[1]
        # Weights, gradients, two moments, the best ones; activations of eight layers, and the shifts of convolutions.
        numbers = 5 * sum(parameter.numel() for parameter in fit.network.parameters())
        numbers += 12 * batch * length * sum(widths(length))
        if chunk and (held + numbers > most or len(chunk) == MOST):
            yield chunk
            chunk, held = [], 0
        chunk.append(fit)
        held += numbers
    yield chunk


class Stack:
    """Networks of one width as one: each parameter has the networks as its first dimension.

    Shorter inputs are padded with zeros up to the longest; the weights they meet never move.
    """

    def __init__(self, networks: list[torch.nn.Module], lengths: list[int], device: str):
        self.lengths, self.longest, self.device = lengths, max(lengths), device
        self.second = networks[0].conv2.out_channels
        self.template = networks[0] if len(networks) == 1 else None
        self.parameters = {}
        for name, _ in networks[0].named_parameters():
            each = [network.get_parameter(name).detach() for network in networks]
            if name == "fc1.weight":
                each = [self._pad(weight, length) for weight, length in zip(each, lengths, strict=True)]
            self.parameters[name] = torch.stack(each).to(device).requires_grad_()
        self._inside = self._mask()

    def _pad(self, weight, length: int):
        by_channel = weight.view(len(weight), self.second, length)
        return functional.pad(by_channel, (0, self.longest - length)).flatten(1)

    def _mask(self):
        """(F, 1, 1, longest + 1): 1 at CpGs, 0 at padding and at the zero that separates samples."""
        places = torch.arange(self.longest + 1)[None, :] < torch.tensor(self.lengths)[:, None]
        return places.float()[:, None, None, :].to(self.device)

    def unstack(self, values: dict, networks: list[torch.nn.Module]) -> None:
        """Give each network its part of `values`, parameters by name."""
        for number, (network, length) in enumerate(zip(networks, self.lengths, strict=True)):
            for name, parameter in network.named_parameters():
                found = values[name][number].detach().cpu()
                if name == "fc1.weight":
                    found = found.view(len(found), self.second, -1)[:, :, :length].flatten(1)
                parameter.data.copy_(found)

    def keep(self, which: torch.Tensor) -> None:
        """Go on with some of the networks only."""
        self.lengths = [self.lengths[number] for number in which.tolist()]
        self._inside = self._inside[which]
        self.parameters = {name: value.detach()[which].requires_grad_() for name, value in self.parameters.items()}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(F, n, longest) to (F, n)."""
        if self.template is not None:
            alone = {name: value.squeeze(0) for name, value in self.parameters.items()}
            return torch.func.functional_call(self.template, alone, (x[0].unsqueeze(1),)).T
        n_fits, n, length = x.shape
        inside = self._inside.expand(-1, -1, n, -1).reshape(n_fits, 1, -1)
        h = functional.pad(x, (0, 1)).view(n_fits, 1, -1)
        h = self._active("conv1", h, inside)
        h = self._block("resblock1", h, inside)
        h = self._active("conv2", h, inside)
        h = self._block("resblock2", h, inside)
        h = h.view(n_fits, self.second, n, length + 1)[..., :length].permute(0, 2, 1, 3).reshape(n_fits, n, -1)
        h = functional.leaky_relu(self._linear("fc1", h), SLOPE)
        return self._linear("fc2", h).squeeze(2)

    def _active(self, name: str, h, inside):
        return functional.leaky_relu(self._convolve(name, h), SLOPE) * inside

    def _block(self, name: str, h, inside):
        inner = self._convolve(f"{name}.conv2", self._active(f"{name}.conv1", h, inside))
        return functional.leaky_relu(inner + h, SLOPE) * inside

    def _convolve(self, name: str, h):
        """Width 3, zeros around: a product with the three shifts of (F, channels, places)."""
        places = h.shape[2]
        h = functional.pad(h, (1, 1))
        shifts = torch.cat([h[:, :, shift : shift + places] for shift in range(3)], 1)
        weight = self.parameters[f"{name}.weight"].transpose(2, 3).flatten(2)
        return torch.baddbmm(self.parameters[f"{name}.bias"].unsqueeze(2), weight, shifts)

    def _linear(self, name: str, h):
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return torch.baddbmm(bias.unsqueeze(1), h, weight.transpose(1, 2))


def _table(lists: list[np.ndarray], width: int) -> np.ndarray:
    """Lists of rows side by side, (F, width), -1 where one is shorter."""
    table = np.full((len(lists), width), -1)
    for number, rows in enumerate(lists):
        table[number, : len(rows)] = rows
    return table


def _train_together(fits: list[Fit], recipe: Recipe, device: str, half: bool) -> None:
    networks, lengths = [fit.network for fit in fits], [fit.x.shape[1] for fit in fits]
    stack = Stack(networks, lengths, device)
    x = torch.stack([functional.pad(torch.from_numpy(fit.x), (0, stack.longest - fit.x.shape[1])) for fit in fits]).to(
        device
    )
    y = torch.from_numpy(np.stack([fit.y for fit in fits])).to(device)
    stop = torch.from_numpy(_table([fit.stop for fit in fits], max(len(fit.stop) for fit in fits))).to(device)
    batch = recipe.batch or max(len(fit.rows) for fit in fits)
    steps = math.ceil(max(len(fit.rows) for fit in fits) / batch)
    orders = [np.random.default_rng(fit.seed) for fit in fits]
    numbers = torch.arange(len(fits))  # which of the fits the stack's networks are
    best = torch.full((len(fits),), math.inf, device=device)
    waited = torch.zeros(len(fits), dtype=torch.int64, device=device)
    kept = {name: value.detach().clone() for name, value in stack.parameters.items()}
    optimiser = _optimiser(stack, recipe)
    for epoch in range(recipe.epochs):
        here = numbers.tolist()
        if recipe.batch:
            rows = [orders[number].permutation(fits[number].rows) for number in here]
        else:
            rows = [fits[number].rows for number in here]
        table = torch.from_numpy(_table(rows, steps * batch)).to(device)
        for step in range(steps):
            optimiser.zero_grad()
            _losses(stack, x, y, table[:, step * batch : (step + 1) * batch], half).sum().backward()
            optimiser.step()
        with torch.no_grad():
            loss = _losses(stack, x, y, stop, half)
        better = loss < best
        best = torch.where(better, loss, best)
        waited = torch.where(better, 0, waited + 1)
        if recipe.restore and better.any():
            chosen = better.nonzero()[:, 0].cpu()
            for name, value in stack.parameters.items():
                kept[name][numbers[chosen]] = value.detach()[chosen]
        over = ((waited >= recipe.patience) | (epoch + 1 == recipe.epochs)).cpu()
        if not over.any():
            continue
        for number in numbers[over].tolist():
            fits[number].epochs = epoch + 1
        if not recipe.restore:
            for name, value in stack.parameters.items():
                kept[name][numbers[over]] = value.detach()[over]
        left = (~over).nonzero()[:, 0]
        if len(left) == 0:
            break
        state = optimiser.state_dict()["state"]
        stack.keep(left)
        optimiser = _optimiser(stack, recipe, state, left)
        numbers, x, y, stop, best, waited = numbers[left], x[left], y[left], stop[left], best[left], waited[left]
    stack.lengths = lengths
    stack.unstack(kept, networks)


def _losses(stack: Stack, x, y, rows, half: bool):
    """Mean squared error of each network over its rows (F, k); -1 is no row."""
    there = (rows >= 0).float()
    rows = rows.clamp(min=0)
    each = torch.arange(len(rows), device=rows.device)[:, None]
    with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
        found = stack(x[each, rows])
    wrong = (found.float() - y[each, rows]).square() * there
    return wrong.sum(1) / there.sum(1).clamp(min=1)


def _optimiser(stack: Stack, recipe: Recipe, state=None, left=None):
    """AdamW (Adam where nothing decays); with `state`, going on with the networks `left` of it."""
    parameters = list(stack.parameters.values())
    optimiser = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    if state is not None:
        for number, parameter in enumerate(parameters):
            old = state[number]
            moments = {name: old[name][left].clone() for name in ("exp_avg", "exp_avg_sq")}
            optimiser.state[parameter] = {"step": old["step"].clone(), **moments}
    return optimiser

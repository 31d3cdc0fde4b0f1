"""What the first layer's filters look for: motifs from the sequences that excite them, as DeepCpG reads them."""

import dataclasses
import logging

import numpy as np
import pandas as pd
import torch
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from cpgtaxa.errors import InputError
from cpgtaxa.files import atomic
from cpgtaxa.names import COLOURS
from cpgtaxa.pages.drawing import ACCENT, MUTED, SECOND
from cpgtaxa.statistics.comparisons import holm
from cpgtaxa.targets.single_cell.kmers import BASES, one_hot

SHARE = 0.5
"""How far above its mean a filter's activation must be, as a share of the way to its maximum."""
MOST_SITES = 25_000
FEWEST_SITES = 10
BATCH = 64
SHUFFLES = 20_000
"""Shuffled matrices behind a p-value: enough for Holm's correction over 256 filters (256 / 20,001 < 0.05)."""
OVERLAP = 0.75
"""Share of a consensus that a motif must cover."""
IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT"}
IUPAC |= {"M": "AC", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"}
LETTER_COLOURS = {"A": COLOURS["TriAge"], "C": ACCENT, "G": COLOURS["BiAge"], "T": SECOND}


@dataclasses.dataclass(frozen=True)
class Motif:
    """What a filter looks for. pwm (width, 4) float64, rows of A, C, G, T that sum to 1, or None where fewer than
    FEWEST_SITES sites excite it; sites: how many do, MOST_SITES at most; information: bits in all, against equal bases;
    mean, max: activation over all positions of all windows; threshold: activation from which a site counts."""

    filter: int
    pwm: np.ndarray | None
    sites: int
    information: float
    mean: float
    max: float
    threshold: float


def first_layer(network: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Weights (filters, 4, width) and bias (filters,) of a DNA model's first convolution, float32.

    network: a DNA model of `cpgtaxa.models.deepcpg`. Batch normalisation that follows is folded in, so that a ReLU on
    what they give is what the network's next layer sees.
    """
    first, after = network.first, network.stem[1]
    weights, bias = first.weight.detach().cpu().double(), first.bias.detach().cpu().double()
    if isinstance(after, torch.nn.BatchNorm1d):
        scale = after.weight.detach().cpu() / torch.sqrt(after.running_var.cpu().double() + after.eps)
        bias = (bias - after.running_mean.cpu()) * scale + after.bias.detach().cpu()
        weights = weights * scale[:, None, None]
    return weights.float().numpy(), bias.float().numpy()


def _activations(weights: np.ndarray, bias: np.ndarray, sequences: np.ndarray):
    """(first window, activations (batch, filters, wlen - width + 1) float32), batch by batch."""
    weights, bias = torch.from_numpy(weights), torch.from_numpy(bias)
    for first in range(0, len(sequences), BATCH):
        dna = torch.from_numpy(one_hot(sequences[first : first + BATCH]))
        with torch.inference_mode():
            yield first, torch.nn.functional.conv1d(dna, weights, bias).relu_().numpy()


def position_weights(length: int) -> np.ndarray:
    """Weights (length,) that fall linearly from 1 at the centre to 0.1 at both ends, and sum to 1."""
    half = np.linspace(0.1, 1, (length + 1) // 2)
    both = np.concatenate([half, half[::-1][length % 2 :]])
    return both / both.sum()


def filter_motifs(weights, bias, sequences) -> tuple[list[Motif], np.ndarray]:
    """A motif per filter, and each filter's activity in each window, (n, filters) float32.

    weights (filters, 4, width), bias (filters,): see `first_layer`. sequences (n, wlen) uint8. As published: the sites
    at which a filter's activation (after ReLU) reaches its mean plus half of the way from there to its maximum (the
    paper says half of the maximum; DeepCpG's program subtracts the mean), the MOST_SITES strongest at most, are
    laid on each other. Bases are counted with one added to each (the program means to, and then overwrites them), bases
    other than A, C, G, T not at all. Activity is the mean over positions with `position_weights`. Activations are
    computed twice, batch by batch: those of all windows would not fit in memory.
    """
    filters, _, width = weights.shape
    total, top = np.zeros(filters), np.zeros(filters, dtype=np.float32)
    activity = np.empty((len(sequences), filters), dtype=np.float32)
    length = sequences.shape[1] - width + 1
    near = position_weights(length).astype(np.float32)
    for first, found in _activations(weights, bias, sequences):
        total += found.sum(axis=(0, 2), dtype=np.float64)
        top = np.maximum(top, found.max(axis=(0, 2)))
        activity[first : first + len(found)] = found @ near
    mean = total / (len(sequences) * length)
    threshold = mean + SHARE * (top - mean)
    kept = [(np.zeros(0, np.float32), np.zeros((0, width), np.uint8))] * filters
    for first, found in _activations(weights, bias, sequences):
        for one in np.flatnonzero(top > 0):
            window, at = np.nonzero(found[:, one] >= threshold[one])
            strength = np.concatenate([kept[one][0], found[window, one, at]])
            words = sequences[first + window[:, None], at[:, None] + np.arange(width)]
            words = np.concatenate([kept[one][1], words])
            if len(words) > MOST_SITES:
                best = np.sort(np.argsort(-strength, kind="stable")[:MOST_SITES])
                strength, words = strength[best], words[best]
            kept[one] = strength, words
    motifs = []
    for one in range(filters):
        words = kept[one][1]
        pwm = matrix_of(words) if len(words) >= FEWEST_SITES else None
        bits = information(pwm).sum() if pwm is not None else 0.0
        numbers = (float(value[one]) for value in (mean, top, threshold))
        motifs.append(Motif(one, pwm, len(words), float(bits), *numbers))
    dead = int((top == 0).sum())
    logging.info(f"{sum(motif.pwm is not None for motif in motifs)} motifs from {filters} filters, {dead} of them dead")
    return motifs, activity


def matrix_of(words: np.ndarray) -> np.ndarray:
    """Position weight matrix (width, 4) of aligned words (n, width) uint8, with one count added to each base."""
    counts = np.stack([(words == base).sum(axis=0) for base in range(4)], axis=1) + 1.0
    return counts / counts.sum(axis=1, keepdims=True)


def information(pwm: np.ndarray) -> np.ndarray:
    """Bits of each position (width,), against equal bases: 0 to 2."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 + np.where(pwm > 0, pwm * np.log2(pwm), 0).sum(axis=1)


def consensus_of(pwm: np.ndarray) -> str:
    """The commonest base of each position; in lower case where it has less than half a bit."""
    letters = [BASES[base] for base in pwm.argmax(axis=1)]
    return "".join(one if bits >= 0.5 else one.lower() for one, bits in zip(letters, information(pwm), strict=True))


def correlate(activity: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each filter's activity with methylation, (filters,); NaN for a filter that never varies.

    activity (n, filters); rates (n,): the mean over cells, or any other number of the sites; NaN where unknown. No
    p-values: the windows of neighbours overlap, and would count as new evidence.
    """
    known = ~np.isnan(rates)
    x = activity[known] - activity[known].mean(axis=0, dtype=np.float64)
    y = rates[known] - rates[known].mean()
    below = np.sqrt((x**2).sum(axis=0) * (y**2).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, (x * y[:, None]).sum(axis=0) / below, np.nan)


def table(motifs: list[Motif], activity: np.ndarray, rates: np.ndarray) -> pd.DataFrame:
    """filter, consensus, sites, information, mean_activation, max_activation, correlation (with methylation)."""
    return pd.DataFrame(
        {
            "filter": [motif.filter for motif in motifs],
            "consensus": ["" if motif.pwm is None else consensus_of(motif.pwm) for motif in motifs],
            "sites": [motif.sites for motif in motifs],
            "information": [motif.information for motif in motifs],
            "mean_activation": [motif.mean for motif in motifs],
            "max_activation": [motif.max for motif in motifs],
            "correlation": correlate(activity, rates),
        }
    )


# --- known motifs ----------------------------------------------------------------------------------------------------


def consensus_matrix(consensus: str) -> np.ndarray:
    """(length, 4) of a consensus in IUPAC letters: what a letter stands for in equal shares. Raises InputError."""
    letters = consensus.strip().upper()
    odd = sorted(set(letters) - set(IUPAC))
    if odd or not letters:
        what = f"the letters {', '.join(odd)}" if odd else "nothing"
        raise InputError(f"a motif's consensus holds {what}: write it in the IUPAC letters {''.join(sorted(IUPAC))}")
    return np.array([[(base in IUPAC[letter]) / len(IUPAC[letter]) for base in BASES] for letter in letters])


def _correlation(pwm: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each position of one matrix with each of another; 0 for one of equal bases."""
    x, y = (one - one.mean(axis=1, keepdims=True) for one in (pwm, other))
    below = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    return np.where(below > 1e-9, x @ y.T / np.maximum(below, 1e-9), 0)


def _placed(correlation: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Mean correlation over the consensus at each offset. correlation (..., width, length); returns (..., offsets)."""
    width, length = correlation.shape[-2:]
    found = []
    for offset in offsets:
        at = np.arange(max(0, -offset), min(length, width - offset))
        found.append(correlation[..., at + offset, at].sum(axis=-1) / length)
    return np.stack(found, axis=-1)


def match_consensus(pwm: np.ndarray, consensus: str, seed: int = 0) -> dict:
    """How well a motif agrees with a consensus: similarity, offset, strand, p.

    similarity: the mean over the consensus of the correlation of its positions with the motif's (as Tomtom's Pearson
    distance), 1 where all agree, and 0 counted for those outside; the best over both strands and all offsets that
    cover OVERLAP of it. offset: place in the motif (read along `strand`) of the consensus' first letter. p: share of
    SHUFFLES of the motif's positions, each at its own best, that agree as well: (1 + as good) / (1 + SHUFFLES).
    """
    wanted = consensus_matrix(consensus)
    width, length = len(pwm), len(wanted)
    least = int(np.ceil(OVERLAP * min(length, width)))
    offsets = np.arange(least - length, width - least + 1)
    strands = [_correlation(pwm, wanted), _correlation(pwm[::-1, ::-1], wanted)]
    found = np.stack([_placed(one, offsets) for one in strands])
    strand, at = np.unravel_index(found.argmax(), found.shape)
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(width), (SHUFFLES, 1)), axis=1)
    turned = width - 1 - order[:, ::-1]  # the same shuffled motif, read along the other strand
    best = np.maximum(
        *(_placed(one[rows], offsets).max(axis=1) for one, rows in zip(strands, (order, turned), strict=True))
    )
    similarity = float(found[strand, at])
    as_good = int((best >= similarity - 1e-9).sum())
    return {
        "similarity": similarity,
        "offset": int(offsets[at]),
        "strand": "+-"[strand],
        "p": (1 + as_good) / (1 + SHUFFLES),
    }


def find_consensus(motifs: list[Motif], consensus: str, seed: int = 0) -> pd.DataFrame:
    """`match_consensus` of all motifs: filter, similarity, offset, strand, p, p_holm (over the filters), best first."""
    rows = [
        {"filter": motif.filter} | match_consensus(motif.pwm, consensus, seed)
        for motif in motifs
        if motif.pwm is not None
    ]
    frame = pd.DataFrame(rows, columns=["filter", "similarity", "offset", "strand", "p"])
    frame["p_holm"] = holm(frame["p"])
    return frame.sort_values(["p", "similarity"], ascending=[True, False], kind="stable", ignore_index=True)


# --- files and drawings ----------------------------------------------------------------------------------------------


def background_of(sequences: np.ndarray) -> np.ndarray:
    """Shares of A, C, G, T in sequences, (4,), with one count added to each."""
    counts = np.bincount(sequences.ravel(), minlength=5)[:4] + 1.0
    return counts / counts.sum()


def _summing_to_one(shares: np.ndarray, digits: int = 6) -> list[str]:
    """Shares as text that sum to 1 exactly; the largest takes what rounding leaves."""
    whole = np.rint(shares * 10**digits).astype(int)
    whole[whole.argmax()] += 10**digits - whole.sum()
    return [f"{one / 10**digits:.{digits}f}" for one in whole]


def write_meme(path, motifs: list[Motif], background: np.ndarray) -> None:
    """Write the motifs in MEME's minimal format, version 4, for Tomtom, FIMO and other tools of the MEME suite."""
    shares = " ".join(f"{base} {share}" for base, share in zip(BASES, _summing_to_one(background), strict=True))
    lines = ["MEME version 4", "", f"ALPHABET= {BASES}", "", "strands: + -", "", "Background letter frequencies"]
    lines += [shares, ""]
    for motif in motifs:
        if motif.pwm is None:
            continue
        lines += [f"MOTIF filter{motif.filter} {consensus_of(motif.pwm)}"]
        lines += [f"letter-probability matrix: alength= 4 w= {len(motif.pwm)} nsites= {motif.sites} E= 0"]
        lines += [" " + " ".join(_summing_to_one(row)) for row in motif.pwm] + [""]
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines))


def logo(axes, pwm: np.ndarray) -> None:
    """Draw a sequence logo: at each position the bases, as high as their share of its bits, the largest on top.

    Letters are outlines, so that they look the same without a font; each base has a colour of its own and its shape.
    """
    font = FontProperties(family="DejaVu Sans", weight="bold")
    for at, (shares, bits) in enumerate(zip(pwm, information(pwm), strict=True)):
        low = 0.0
        for base in np.argsort(shares, kind="stable"):
            height = float(shares[base] * bits)
            if height > 0.01:  # lower ones would not be seen
                path = TextPath((0, 0), BASES[base], size=1, prop=font)
                box = path.get_extents()
                fit = Affine2D().translate(-box.x0, -box.y0).scale(0.92 / box.width, height / box.height)
                patch = PathPatch(path.transformed(fit.translate(at + 0.54, low)), linewidth=0)
                patch.set_facecolor(LETTER_COLOURS[BASES[base]])
                axes.add_patch(patch)
            low += height
    axes.set_xlim(0.5, len(pwm) + 0.5)
    axes.set_ylim(0, 2)
    axes.set_xticks(range(1, len(pwm) + 1))
    axes.set_yticks([0, 1, 2])
    axes.set_ylabel("bits")
    axes.tick_params(length=2, color=MUTED)

"""What changes of the sequence do to predicted methylation: every substitution, its approximation, given variants."""

import numpy as np
import pandas as pd
import torch

from cpgtaxa.errors import InputError, some
from cpgtaxa.input.texts import read_table
from cpgtaxa.learning.devices import Applied
from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.kmers import BASES, one_hot

BATCH = 256
PAIRS_AT_ONCE = 500
NEAREST = 5
COLUMNS = ["chrom", "position", "ref", "alt"]
COMPLEMENT = str.maketrans(BASES, BASES[::-1])


def predictor(network: torch.nn.Module, device: str = "cpu"):
    """A function from one-hot windows (n, 4, wlen) float32 to probabilities (n, cells) float32, of a DNA network.

    network: gives logits; is put into evaluation. Both arrays are numpy's.
    """
    applied = Applied(network, device, "float32")
    return lambda dna: torch.sigmoid(applied(dna)).cpu().numpy()


def _in_batches(predict, dna: np.ndarray) -> np.ndarray:
    return np.concatenate([predict(dna[first : first + BATCH]) for first in range(0, len(dna), BATCH)])


# --- all substitutions -----------------------------------------------------------------------------------------------


def offsets_of(wlen: int, span: int) -> np.ndarray:
    """Places from the C of the CpG that are mutated, (2 * span + 1,), as many as the window (odd) has."""
    span = min(span, wlen // 2)
    return np.arange(-span, span + 1)


def mutation_effects(predict, sequences: np.ndarray, span: int = 50) -> np.ndarray:
    """Change of each cell's predicted methylation by each substitution near the CpG: in-silico mutagenesis, exact.

    predict: see `predictor`, called with BATCH windows at most. sequences (n, wlen) uint8, centred on the C. Returns
    (n, offsets, 4, cells) float32: probability with the base A, C, G or T at the offset (see `offsets_of`) minus that
    of the sequence as it is; 0 for the base that is there, NaN where that base is unknown. At offsets 0 and 1 the CpG
    itself is gone, which the network has never seen: these show how it reads the sequence, not what methylation would
    be.
    """
    n, wlen = sequences.shape
    at, centre = offsets_of(wlen, span), wlen // 2
    whole = one_hot(sequences)
    before = _in_batches(predict, whole)
    found = np.full((n, len(at), 4, before.shape[1]), np.nan, dtype=np.float32)
    progress = Progress(n, "sites mutated base by base")
    for row in progress.over(range(n)):
        places = [(number, place) for number, place in enumerate(centre + at) if sequences[row, place] < 4]
        changes = [(number, place, base) for number, place in places for base in range(4)]
        changes = [change for change in changes if sequences[row, change[1]] != change[2]]
        for number, place in places:
            found[row, number, sequences[row, place]] = 0
        for first in range(0, len(changes), BATCH):
            numbers, where, bases = np.array(changes[first : first + BATCH]).T
            mutated = np.repeat(whole[row : row + 1], len(where), axis=0)
            mutated[np.arange(len(where)), :, where] = 0
            mutated[np.arange(len(where)), bases, where] = 1
            found[row, numbers, bases] = predict(mutated) - before[row]
    return found


def gradient_effects(network, sequences: np.ndarray, span: int = 50, target: str = "mean", device: str = "cpu"):
    """First-order approximation of all effects, from one gradient: (n, offsets, 4) float32.

    The gradient of the mean over cells (or of their variance, target `var`) of predicted probability with respect to
    the one-hot sequence, at the new base minus at the present one. The paper takes the new base's alone, times one
    minus what is there; as the old base goes when a new one comes, both belong to the approximation. NaN where the
    present base is unknown. network: gives logits (n, cells); is put into evaluation.
    """
    place = torch.device("cuda" if device == "gpu" else "cpu")
    network = network.to(place).eval()
    at = offsets_of(sequences.shape[1], span)
    where = sequences.shape[1] // 2 + at
    parts = []
    for first in range(0, len(sequences), BATCH):
        batch = sequences[first : first + BATCH]
        dna = torch.from_numpy(one_hot(batch)).to(place).requires_grad_()
        rates = torch.sigmoid(network(dna).float())
        value = rates.mean(dim=1) if target == "mean" else rates.var(dim=1, correction=0)
        gradient = torch.autograd.grad(value.sum(), dna)[0].cpu().numpy()[:, :, where].transpose(0, 2, 1)
        present = batch[:, where]
        known = np.minimum(present, 3)[:, :, None].astype(np.int64)
        change = gradient - np.take_along_axis(gradient, known, axis=2)
        change[present > 3] = np.nan
        parts.append(change)
    return np.concatenate(parts)


def by_distance(effects: np.ndarray, wlen: int, span: int) -> pd.DataFrame:
    """offset, effect, largest, n: how much substitutions at each place move predicted methylation.

    effects: of `mutation_effects`, or of `gradient_effects`. effect: the mean over sites and the three substitutions of
    the absolute change (of the mean over cells); largest: the mean over sites of the strongest substitution's; n:
    sites whose base there is known.
    """
    change = np.abs(effects.mean(axis=3) if effects.ndim == 4 else effects)
    known = ~np.isnan(change[:, :, 0])
    filled = np.where(known[:, :, None], change, 0).astype(np.float64)
    n = known.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where(n > 0, filled.sum(axis=(0, 2)) / (3 * n), np.nan)
        largest = np.where(n > 0, filled.max(axis=2).sum(axis=0) / n, np.nan)
    return pd.DataFrame({"offset": offsets_of(wlen, span), "effect": effect, "largest": largest, "n": n})


# --- given variants --------------------------------------------------------------------------------------------------


def _name_in(genome, name: str) -> str | None:
    """A chromosome's name as the genome spells it: as given, or with or without `chr`; None where it is not there."""
    bare = name[3:] if name.lower().startswith("chr") else name
    return next((one for one in (name, f"chr{bare}", bare) if one in genome.lengths), None)


def read_variants(path, genome, key: str = "single_cell.variants") -> pd.DataFrame:
    """chrom (as the genome spells it), position (1-based), ref, alt: single-base substitutions, checked against it.

    path: CSV or TSV with these columns, gzip allowed. genome: `genome[name]` gives codes uint8, `genome.lengths` the
    lengths by name. Raises InputError listing all that is wrong: what is no substitution, chromosomes that are not
    there, positions outside, and bases that are not those of the genome.
    """
    columns, lines = read_table(path, key, tuple(COLUMNS))
    frame = pd.DataFrame({name: columns[name] for name in COLUMNS}, dtype=object)
    frame["ref"], frame["alt"] = frame["ref"].str.upper(), frame["alt"].str.upper()
    numbers = pd.to_numeric(frame["position"], errors="coerce")
    names = {name: _name_in(genome, name) for name in frame["chrom"].unique()}
    problems, lines = [], np.array(lines)

    def report(wrong: np.ndarray, what) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            problems.append(f"{key}: {path}, line {lines[row]}{_more(wrong)}: {what(frame.iloc[row])}")

    bases = set(BASES)
    no_base = ~(frame["ref"].isin(bases) & frame["alt"].isin(bases)).to_numpy()
    report(
        no_base,
        lambda row: (
            f"{row['ref']!r} to {row['alt']!r} is no substitution of one base. Only these have an effect: split "
            "longer ones and alternatives, and leave out insertions and deletions"
        ),
    )
    report(
        (frame["ref"] == frame["alt"]).to_numpy() & ~no_base,
        lambda row: f"ref and alt are both {row['ref']}. Correct or remove it",
    )
    no_number = (numbers.isna() | (numbers % 1 != 0)).to_numpy()
    report(no_number, lambda row: f"{row['position']!r} is no position: give a whole number of bases, the first is 1")
    unknown = frame["chrom"].map(names).isna().to_numpy()
    report(
        unknown,
        lambda row: (
            f"the genome has no chromosome {row['chrom']!r}, it has {some(genome.lengths)}: take the names of its FASTA"
        ),
    )
    length = frame["chrom"].map(lambda name: genome.lengths.get(names[name], 0)).to_numpy()
    placed = ~no_number & ~unknown
    beyond = placed & ((numbers.to_numpy() < 1) | (numbers.to_numpy() > length))
    report(
        beyond,
        lambda row: (
            f"position {row['position']} is outside {row['chrom']}, which has "
            f"{genome.lengths[names[row['chrom']]]:,} bases: is this another genome build?"
        ),
    )
    good = placed & ~beyond & ~no_base
    there = np.full(len(frame), "", dtype=object)
    for name, rows in frame[good].groupby("chrom", sort=False).indices.items():
        rows = np.flatnonzero(good)[rows]
        codes = genome[names[name]][numbers.to_numpy()[rows].astype(np.int64) - 1]
        there[rows] = np.array([*BASES, "N"], dtype=object)[codes]
    differs = good & (there != frame["ref"].to_numpy())
    turned = differs & (there == frame["ref"].str.translate(COMPLEMENT).to_numpy())
    hint = "Positions count from 1, on the + strand: "
    hint += "these seem to be of the - strand" if turned.sum() == differs.sum() > 1 else "check the genome build"
    report(differs, lambda row: f"ref is {row['ref']}, but the genome has {there[row.name]} there. {hint}")
    if problems:
        raise InputError(problems)
    frame["chrom"], frame["position"] = frame["chrom"].map(names), numbers.astype(np.int64)
    return frame


def _more(wrong: np.ndarray) -> str:
    others = int(wrong.sum()) - 1
    return f" (and {others} more)" if others else ""


def _window(codes: np.ndarray, position: int, wlen: int) -> np.ndarray:
    """The window (wlen,) centred on a 1-based position; 4 beyond the chromosome's ends."""
    start = position - 1 - wlen // 2
    low, high = max(start, 0), min(start + wlen, len(codes))
    found = np.full(wlen, 4, dtype=np.uint8)
    found[low - start : high - start] = codes[low:high]
    return found


def _cpgs_near(codes: np.ndarray, position: int, reach: int, most: int) -> np.ndarray:
    """1-based positions of the C of the nearest CpGs whose windows hold a position, ascending."""
    low = max(position - 1 - reach, 0)
    part = codes[low : position + reach + 1]
    found = np.flatnonzero((part[:-1] == 1) & (part[1:] == 2)) + low + 1
    found = found[np.abs(found - position) <= reach]
    return np.sort(found[np.argsort(np.abs(found - position), kind="stable")[:most]])


def variant_effects(genome, variants: pd.DataFrame, predict, cells: list[str], wlen: int, nearest: int = NEAREST):
    """What given substitutions do to the predicted methylation of the CpGs near them.

    genome, variants: see `read_variants`. predict: see `predictor`. wlen: bases of its windows. Of each variant
    up to `nearest` CpGs of the genome whose window holds it. Returns a row per variant and CpG: chrom, position, ref,
    alt, cpg (position of its C), distance (of the variant from the C, in bases, negative before it), destroys (whether
    the CpG is gone with the variant), creates (whether the variant makes a CpG that was not there), before, after and
    effect (means over the cells of probability and of its change), then effect_{cell} of each. After a CpG is
    destroyed there is nothing to methylate: after and effects are NaN.
    """
    rows, pairs, values = [], [], []
    reach = wlen // 2

    def flush() -> None:
        if pairs:
            before, after = (_in_batches(predict, one_hot(np.stack(part))) for part in zip(*pairs, strict=True))
            values.append(np.stack([before, after]))
            pairs.clear()

    order = np.argsort(variants["chrom"].to_numpy(dtype=object), kind="stable")  # a chromosome is read once
    for at, chrom, position, ref, alt in zip(order, *variants.iloc[order][COLUMNS].T.to_numpy(), strict=True):
        codes = genome[chrom]
        left = codes[position - 2] if position > 1 else 4
        right = codes[position] if position < len(codes) else 4
        creates = bool((alt == "G" and left == 1) or (alt == "C" and right == 2))
        for cpg in _cpgs_near(codes, position, reach, nearest):
            before = _window(codes, cpg, wlen)
            after = before.copy()
            after[reach + position - cpg] = BASES.index(alt)
            distance = int(position - cpg)
            rows.append((at, chrom, position, ref, alt, int(cpg), distance, distance in (0, 1), creates))
            pairs.append((before, after))
        if len(pairs) >= PAIRS_AT_ONCE:
            flush()
    flush()
    frame = pd.DataFrame(rows, columns=["row", *COLUMNS, "cpg", "distance", "destroys", "creates"])
    before, after = np.concatenate(values, axis=1) if values else np.zeros((2, 0, len(cells)), dtype=np.float32)
    after = np.where(frame["destroys"].to_numpy(dtype=bool)[:, None], np.nan, after)
    each = pd.DataFrame((after - before).astype(np.float32), columns=[f"effect_{cell}" for cell in cells])
    means = {"before": before.mean(axis=1), "after": after.mean(axis=1), "effect": (after - before).mean(axis=1)}
    found = pd.concat([frame.assign(**means), each], axis=1)
    return found.sort_values("row", kind="stable", ignore_index=True).drop(columns="row")

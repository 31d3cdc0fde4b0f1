"""Cells whose sites are known by their order alone: an .npz with one array of states per chromosome."""

import numpy as np

from cpgtaxa.errors import InputError, reason_of, some
from cpgtaxa.targets.single_cell.plan import NAMES

UNOBSERVED = -1
NOTE = (
    "The sites are known by their order alone: their positions are ranks within the chromosome, and distances, blocks "
    "and `single_cell.window` count sites where they would count bases. Sites next to each other are two CpGs, not two "
    "strands of one."
)


def read_by_order(path, names: list[str]) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """States by cell and chromosome: (rank (n,) int32, from 1, ascending; state (n,) int8) of the observed sites.

    path: an .npz of arrays (sites, cells), called as their chromosomes: 0 and 1, and -1 or NaN where unobserved; of
    sites in their order. Raises InputError with all problems: arrays of another shape, other values, a cell with no
    observations.
    """
    what, problems = f"single_cell.profiles: {path}", []
    found: dict[str, dict] = {name: {} for name in names}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for chrom in arrays:
                if chrom == NAMES:
                    continue
                values = arrays[chrom]
                if values.ndim != 2 or values.shape[1] != len(names) or values.dtype.kind not in "iufb":
                    problems.append(
                        f"{what}: the array {chrom!r} holds {' × '.join(map(str, values.shape))} {values.dtype}, and "
                        f"sites × {len(names)} cells are wanted"
                    )
                    continue
                if values.dtype.kind == "f":
                    values = np.where(np.isnan(values), UNOBSERVED, values)
                odd = ~((values == 0) | (values == 1) | (values == UNOBSERVED))
                if odd.any():
                    row, column = np.argwhere(odd)[0]
                    problems.append(
                        f"{what}: the array {chrom!r} holds {values[row, column]:g} (row {row + 1:,}, column "
                        f"{column + 1}): states are 0 and 1, and {UNOBSERVED} where unobserved"
                    )
                    continue
                for column, name in enumerate(names):
                    rank = np.flatnonzero(values[:, column] >= 0).astype(np.int32)
                    if len(rank):
                        found[name][chrom] = rank + 1, values[rank, column].astype(np.int8)
    except MemoryError:
        raise
    except Exception as error:  # numpy and zipfile raise what spoilt bytes lead to, of many kinds
        raise InputError(f"{what} is damaged or cut off ({reason_of(error)}): copy it again") from error
    empty = [name for name, chroms in found.items() if not chroms]
    if empty and not problems:
        problems.append(f"{what}: cells with no observations: {some(empty)}. Leave them out")
    if problems:
        raise InputError(problems)
    return found

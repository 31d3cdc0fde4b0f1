"""What networks and peers see of each site: the sequence around it, and its observed neighbours in every cell."""

import json
import logging

import numba
import numpy as np
import pyarrow as pa

from cpgtaxa import files
from cpgtaxa.errors import InputError
from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.genome import BASES, OTHER, open_genome
from cpgtaxa.targets.single_cell.tables import Sites

ROWS = 4096
"""Windows of a record batch."""
MISSING = -1


def write_windows(sites_path, genome_path, out, *, shard: int, shards: int, settings: dict) -> None:
    """Write the windows of a shard of consecutive sites.

    sites_path: see `sites.prepare`. genome_path: FASTA, or None: no column `dna`. shard: from 1 to `shards`.
    settings: `dna_wlen` (odd), `cpg_wlen` (even).

    out: Arrow IPC, uncompressed, batches of at most ROWS rows. site (int64, row in the table of sites), chrom
    (dictionary), position (int64), split (int8); dna: see `sequence_windows`; neighbours, distances: see `neighbours`,
    flattened; targets (int8, the states). The widths are in the metadata. Memory holds one chromosome, of sequence and
    of the table of sites, and one batch.
    """
    table = Sites(sites_path)
    wlen, width = int(settings["dna_wlen"]), int(settings["cpg_wlen"])
    first, last = (table.n * part // shards for part in (shard - 1, shard))
    genome = open_genome(genome_path) if genome_path else None
    schema = _schema(table.cells, wlen if genome is not None else 0, width)
    row_bytes = wlen * (genome is not None) + len(table.cells) * (width * 5 + 1) + 30
    files.need_space(out, (last - first) * row_bytes, "the windows of this shard take")
    done, progress = 0, Progress(last - first, "windows cut out")
    with (
        files.atomic(out) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for code, start, stop in _chromosomes(table):
            low, high = max(first, start), min(last, stop)
            if low >= high:
                continue
            block = table.rows(start, stop)
            codes = genome[table.chroms[code]] if genome is not None else None
            for row in range(low, high, ROWS):
                piece = slice(row - start, min(row + ROWS, high) - start)
                writer.write_batch(_batch(schema, table, code, start, block, piece, codes, wlen, width))
                done += piece.stop - piece.start
                progress.step(piece.stop - piece.start)
    pace = done / max(progress.spent(), 1e-9)
    logging.info(f"{done:,} windows of shard {shard} of {shards} written, {pace:,.0f} a second")


def _chromosomes(table: Sites):
    """Code, first row and row behind the last, of each chromosome in the table."""
    start, code = 0, None
    for block in table.blocks():
        cuts = np.flatnonzero(np.diff(block.chrom, prepend=block.chrom[0] if code is None else code))
        for cut in cuts:
            yield int(block.chrom[cut - 1]) if cut else code, start, block.first + int(cut)
            start = block.first + int(cut)
        code = int(block.chrom[-1])
    if code is not None:
        yield code, start, table.n


def _schema(cells: list[str], wlen: int, width: int) -> pa.Schema:
    """Of a file of windows; wlen 0: without sequence."""
    fields = [("site", pa.int64()), ("chrom", pa.dictionary(pa.int32(), pa.string()))]
    fields += [("position", pa.int64()), ("split", pa.int8())]
    if wlen:
        fields.append(("dna", pa.list_(pa.uint8(), wlen)))
    fields.append(("neighbours", pa.list_(pa.int8(), len(cells) * width)))
    fields.append(("distances", pa.list_(pa.int32(), len(cells) * width)))
    fields.append(("targets", pa.list_(pa.int8(), len(cells))))
    return pa.schema(fields, metadata={"cells": json.dumps(cells), "dna_wlen": str(wlen), "cpg_wlen": str(width)})


def _batch(schema, table: Sites, code: int, start: int, block, piece: slice, codes, wlen: int, width: int):
    """The record batch of some rows of a chromosome, whose first row in the table is `start`."""
    position, rows = block.position[piece], piece.stop - piece.start
    indices = pa.array(np.full(rows, code, dtype=np.int32))
    columns = [
        pa.array(np.arange(start + piece.start, start + piece.stop)),
        pa.DictionaryArray.from_arrays(indices, pa.array(table.chroms, pa.string())),
        pa.array(position),
        pa.array(block.split[piece]),
    ]
    if codes is not None:
        columns.append(_lists(windows_of(codes, position, wlen)))
    near, distance = neighbours(block.position, block.states, piece.start, piece.stop, width)
    columns += [_lists(near.reshape(rows, -1)), _lists(distance.reshape(rows, -1)), _lists(block.states[piece])]
    return pa.record_batch(columns, schema=schema)


def _lists(values: np.ndarray) -> pa.Array:
    """(n, k) as n fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])


# --- sequence --------------------------------------------------------------------------------------------------------


def windows_of(codes: np.ndarray, position: np.ndarray, wlen: int) -> np.ndarray:
    """Sequence centred on each position, (n, wlen) uint8: A C G T = 0 1 2 3; 4 for others and beyond the ends.

    codes: a chromosome, see `genome.Genome`. position: (n,) 1-based. wlen: odd.
    """
    if wlen % 2 == 0:
        raise ValueError(f"a window centred on a base has an odd length, not {wlen}")
    first = np.asarray(position, dtype=np.int64) - 1 - wlen // 2
    windows = np.full((len(first), wlen), OTHER, dtype=np.uint8)
    whole = (first >= 0) & (first + wlen <= len(codes))
    if whole.any():
        windows[whole] = np.lib.stride_tricks.sliding_window_view(codes, wlen)[first[whole]]
    for row in np.flatnonzero(~whole):
        low, high = max(first[row], 0), min(first[row] + wlen, len(codes))
        if low < high:
            windows[row, low - first[row] : high - first[row]] = codes[low:high]
    return windows


def sequence_windows(genome, chroms, positions, wlen: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequence around CpGs anywhere in a genome: windows (n, wlen) uint8 as `windows_of`, and is_cpg (n,) bool.

    genome: see `genome.Genome`. chroms: n names, as the genome spells them; positions: (n,) 1-based, in any order.
    is_cpg: whether there is a C at the position and a G after it. Raises InputError for a chromosome that the genome
    does not have.
    """
    chroms, positions = np.asarray(chroms, dtype=object), np.asarray(positions, dtype=np.int64)
    windows = np.full((len(positions), wlen), OTHER, dtype=np.uint8)
    order = {name: number for number, name in enumerate(genome.names)}
    there = list(dict.fromkeys(chroms.tolist()))
    lacking = [name for name in there if name not in order]
    if lacking:
        raise InputError(f"the genome has no chromosome {lacking[:5]}; it has {genome.names[:8]}")
    for name in sorted(there, key=order.get):
        rows = np.flatnonzero(chroms == name)
        windows[rows] = windows_of(genome[name], positions[rows], wlen)
    return windows, is_cpg(windows)


def is_cpg(windows: np.ndarray) -> np.ndarray:
    """Whether windows (n, wlen) have CG at their centre, (n,) bool."""
    centre = windows.shape[1] // 2
    return (windows[:, centre] == BASES.index(b"C")) & (windows[:, centre + 1] == BASES.index(b"G"))


# --- neighbours ------------------------------------------------------------------------------------------------------


@numba.njit(cache=True)
def _neighbours(position, states, first, last, half, near, distance):
    """Fill near and distance, (last - first, cells, 2 * half), both MISSING before."""
    for cell in range(states.shape[1]):
        # `latest` holds the last `half` observed rows on one side, the newest at `newest`.
        latest = np.empty(half, dtype=np.int64)
        count = 0
        row = first - 1
        while row >= 0 and count < half:
            if states[row, cell] >= 0:
                count += 1
                latest[half - count] = row
            row -= 1
        newest = half - 1
        for row in range(first, last):
            for back in range(count):
                other = latest[(newest - back) % half]
                near[row - first, cell, half - 1 - back] = states[other, cell]
                distance[row - first, cell, half - 1 - back] = position[row] - position[other]
            if states[row, cell] >= 0:
                newest = (newest + 1) % half
                latest[newest] = row
                count = min(count + 1, half)
        count = 0
        row = last
        while row < position.size and count < half:
            if states[row, cell] >= 0:
                count += 1
                latest[half - count] = row
            row += 1
        newest = half - 1
        for row in range(last - 1, first - 1, -1):
            for on in range(count):
                other = latest[(newest - on) % half]
                near[row - first, cell, half + on] = states[other, cell]
                distance[row - first, cell, half + on] = position[other] - position[row]
            if states[row, cell] >= 0:
                newest = (newest + 1) % half
                latest[newest] = row
                count = min(count + 1, half)


def neighbours(position, states, first: int, last: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest observed sites of some rows, in each cell: their states and distances, (rows, cells, width).

    position (n,) int64 ascending and states (n, cells) int8 (-1 unobserved) of a whole chromosome; rows from `first`
    to `last`, excluded. Of the `width` entries, the first half are the nearest sites to the left, by position; the
    second those to the right. int8 and int32 (bases, positive); -1 where the chromosome ends. The site itself is never
    among them.
    """
    if width % 2:
        raise ValueError(f"as many neighbours on either side: an even number, not {width}")
    shape = (last - first, states.shape[1], width)
    near, distance = np.full(shape, MISSING, dtype=np.int8), np.full(shape, MISSING, dtype=np.int32)
    _neighbours(position, states, first, last, width // 2, near, distance)
    return near, distance

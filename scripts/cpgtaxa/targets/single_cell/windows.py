"""What networks and peers see of each site: the sequence around it, and what was observed."""

import json
import logging

import numpy as np
import pyarrow as pa

from cpgtaxa import files
from cpgtaxa.errors import InputError
from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.genome import BASES, OTHER, open_genome
from cpgtaxa.targets.single_cell.tables import ROWS as WITHOUT
from cpgtaxa.targets.single_cell.tables import Sites

ROWS = 4096
"""Windows of a record batch; without sequence, as many as sites in a block."""


def write_windows(sites_path, genome_path, out, *, shard: int, shards: int, settings: dict) -> None:
    """Write the windows of a shard of consecutive sites.

    sites_path: see `sites.prepare`. genome_path: FASTA, or None: no column `dna`. shard: from 1 to `shards`.
    settings: `dna_wlen` (odd).

    out: Arrow IPC, uncompressed, batches of at most ROWS rows. site (int64, row in the table of sites), chrom
    (dictionary), position (int64), split (int8); dna: see `sequence_windows`; targets (int8, the states). The length is
    in the metadata. Memory holds one chromosome, of sequence and of the table of sites, and one batch.
    """
    table = Sites(sites_path)
    wlen = int(settings["dna_wlen"])
    first, last = (table.n * part // shards for part in (shard - 1, shard))
    genome = open_genome(genome_path) if genome_path else None
    schema = _schema(table.cells, wlen if genome is not None else 0)
    row_bytes = wlen * (genome is not None) + len(table.cells) + 30
    files.need_space(out, (last - first) * row_bytes, "the windows of this shard take")
    rows = ROWS if genome is not None else WITHOUT
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
            for row in range(low, high, rows):
                piece = slice(row - start, min(row + rows, high) - start)
                writer.write_batch(_batch(schema, table, code, start, block, piece, codes, wlen))
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


def _schema(cells: list[str], wlen: int) -> pa.Schema:
    """Of a file of windows; wlen 0: without sequence."""
    fields = [("site", pa.int64()), ("chrom", pa.dictionary(pa.int32(), pa.string()))]
    fields += [("position", pa.int64()), ("split", pa.int8())]
    if wlen:
        fields.append(("dna", pa.list_(pa.uint8(), wlen)))
    fields.append(("targets", pa.list_(pa.int8(), len(cells))))
    return pa.schema(fields, metadata={"cells": json.dumps(cells), "dna_wlen": str(wlen)})


def _batch(schema, table: Sites, code: int, start: int, block, piece: slice, codes, wlen: int):
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
    columns.append(_lists(block.states[piece]))
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

"""Reference sequences from FASTA, one chromosome in memory at a time.

pyfaidx reads no gzip but blocked, neither checks letters nor names all problems, and takes 500 ms for 60 million bases
unpacked to scratch, indexed there and read; this reads the gzipped file, checks included, in 306 ms without scratch
(tests/benchmarks/libraries.py). It notes where each sequence lies while it checks.
"""

import logging
import pathlib
import re
from typing import NamedTuple

import numpy as np

from cpgtaxa.errors import InputError, some
from cpgtaxa.targets.single_cell.streams import BLOCK, opened

SUFFIXES = (".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz", ".fna.gz")
BASES = b"ACGT"
OTHER = len(BASES)
"""Code of whatever is not A, C, G or T."""
LETTERS = b"ACGTURYSWKMBDHVNX"
"""Bases, and what stands for several of them (IUPAC); X masks."""
BLANKS = b" \t\r\n"
_CODES = bytes(BASES.find(bytes([sign]).upper()) % (OTHER + 1) for sign in range(256))
_KNOWN = LETTERS + LETTERS.lower() + b"-."


class _Place(NamedTuple):
    """Where a sequence lies: file, whether that is gzipped, offset of its first byte and behind its last."""

    path: pathlib.Path
    packed: bool
    first: int
    last: int


class Genome:
    """Sequences by name: `genome[name]` is (length,) uint8, A C G T = 0 1 2 3, anything else 4; read-only.

    names: in the order of the file (of a folder: of its files by name, numbers in them as numbers). lengths: bases by
    name. Only the sequence asked for last is held. Of a gzipped file, going through the names in order reads it once;
    going back reads it from its start.
    """

    def __init__(self, places: dict[str, _Place], lengths: dict[str, int]):
        self.names, self.lengths, self._places = list(places), lengths, places
        self._name, self._codes = None, None
        self._stream = self._context = None

    def __contains__(self, name) -> bool:
        return name in self.lengths

    def __getitem__(self, name: str) -> np.ndarray:
        if name != self._name:
            self._name = self._codes = None  # the one before is let go first
            codes = self._read(name)
            codes.flags.writeable = False
            self._name, self._codes = name, codes
        return self._codes

    def _read(self, name: str) -> np.ndarray:
        place = self._places[name]
        codes, filled = np.empty(self.lengths[name], dtype=np.uint8), 0
        for piece in self._pieces(place):
            found = np.frombuffer(piece.translate(_CODES, BLANKS), dtype=np.uint8)
            if filled + len(found) > len(codes):
                raise InputError(f"{place.path} changed while it was read: start again")
            codes[filled : filled + len(found)] = found
            filled += len(found)
        if filled < len(codes):
            raise InputError(f"{place.path} changed while it was read: start again")
        return codes

    def _pieces(self, place: _Place):
        """The bytes of a sequence."""
        what = f"the genome {place.path}"
        if not place.packed:
            with open(place.path, "rb") as raw:
                raw.seek(place.first)
                left = place.last - place.first
                while left and (piece := raw.read(min(left, BLOCK))):
                    left -= len(piece)
                    yield piece
            return
        if self._stream is None or self._stream[0] != place.path or self._stream[1] > place.first:
            self.close()
            self._context = opened(place.path, what)
            read, _ = self._context.__enter__()
            self._stream = [place.path, 0, read]
        while self._stream[1] < place.last:
            at = self._stream[1]
            stop = place.first if at < place.first else place.last
            piece = self._stream[2](min(stop - at, BLOCK))
            if not piece:
                return
            self._stream[1] += len(piece)
            if at >= place.first:
                yield piece

    def close(self) -> None:
        """Close a gzipped file left open for the next sequence."""
        if self._context is not None:
            self._context.__exit__(None, None, None)
        self._stream = self._context = None


def open_genome(path, key: str = "single_cell.genome") -> Genome:
    """The sequences of a FASTA file, or of a folder of such files; see `Genome`.

    path: .fa, .fasta or .fna, plain or gzipped (recognised by content). Case does not matter. All of it is read once,
    to check it and to find the sequences. Raises InputError with every problem: no FASTA, letters of a protein, a name
    twice, a name without sequence, damage.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        paths = sorted((one for one in path.iterdir() if one.name.lower().endswith(SUFFIXES)), key=_by_number)
        if not paths:
            raise InputError(f"{key}: the folder {path} holds no FASTA file ({', '.join(SUFFIXES)}): check the path")
    else:
        paths = [path]
    problems, places, lengths = [], {}, {}
    for one in paths:
        try:
            for name, place, length in _index(one, f"{key}: {one}"):
                if name in places:
                    other = places[name].path
                    where = f"twice in {one}" if other == one else f"in {other} and in {one}"
                    problems.append(f"{key}: the sequence {name!r} is {where}: keep one of them")
                places[name], lengths[name] = place, length
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    logging.info(f"genome: {len(places):,} sequences, {sum(lengths.values()):,} bases")
    return Genome(places, lengths)


def _by_number(path: pathlib.Path) -> list:
    return natural(path.name)


def natural(name: str) -> list:
    """A key to sort names by, numbers in them as numbers: chr2 before chr10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _index(path: pathlib.Path, what: str):
    """Name, place and length of each sequence of a file."""
    with opened(path, what) as (read, packed):
        name, first, length, at = None, 0, 0, 0
        for header, piece in _parts(read, what):
            if header is not None:
                if name is not None:
                    yield _finished(name, length, what), _Place(path, packed, first, at), length
                at += len(header)
                words = header[1:].split()
                if not words:
                    raise InputError(f"{what} has a header without a name ('>' alone): name the sequence")
                name, first, length = words[0].decode("utf-8", "replace"), at, 0
            else:
                bases = piece.translate(None, BLANKS)
                if name is None and bases:
                    raise InputError(f"{what} is not FASTA: it does not begin with '>' and a name")
                if strange := bases.translate(None, _KNOWN):
                    raise InputError(
                        f"{what} is not DNA: {some(sorted({chr(sign) for sign in strange}))} in the sequence {name!r}. "
                        "Give the genome that the methylation was aligned to, as FASTA"
                    )
                length += len(bases)
                at += len(piece)
        if name is None:
            raise InputError(f"{what} holds no sequence: check how the file was made")
        yield _finished(name, length, what), _Place(path, packed, first, at), length


def _finished(name: str, length: int, what: str) -> str:
    if length == 0:
        raise InputError(f"{what}: no sequence follows the name {name!r}: check how the file was made")
    return name


def _parts(read, what: str):
    """(header line, None) and (None, bytes of sequence) in turn, together all bytes of the file."""
    header, line_start = b"", True
    while block := read(BLOCK):
        start = 0
        while start < len(block):
            if header:
                end = block.find(b"\n", start) + 1
                header += block[start : end or len(block)]
                if len(header) > BLOCK:
                    raise InputError(f"{what} is not FASTA: a header of more than {BLOCK:,} bytes")
                if not end:
                    break
                yield header, None
                header, line_start, start = b"", True, end
                continue
            if line_start and block[start : start + 1] == b">":
                header, start = b">", start + 1
                continue
            end = block.find(b"\n>", start) + 1
            piece = block[start : end or len(block)]
            yield None, piece
            line_start = piece.endswith(b"\n")
            start += len(piece)
    if header:
        yield header, None


def cpg_positions(codes: np.ndarray) -> np.ndarray:
    """The CpGs of a sequence: 1-based positions of their C on the + strand, (n,) int32, ascending."""
    c, g = BASES.index(b"C"), BASES.index(b"G")
    return (np.flatnonzero((codes[:-1] == c) & (codes[1:] == g)) + 1).astype(np.int32)


def bare(name: str) -> str:
    """A chromosome's name without `chr`; MT is M."""
    name = name[3:] if name[:3].lower() == "chr" else name
    return "M" if name == "MT" else name


def match_names(found, known) -> dict[str, str | None]:
    """How each name found is spelt among the names known: the same, or with or without `chr`; None: not at all."""
    known = list(known)
    exact, spellings = set(known), {}
    for name in known:
        spellings.setdefault(bare(name), []).append(name)
    matched = {}
    for name in found:
        others = spellings.get(bare(name), [])
        matched[name] = name if name in exact else others[0] if len(others) == 1 else None
    return matched


def mixed_names(names) -> list[tuple[str, str]]:
    """Pairs of names that mean the same chromosome, such as chr1 and 1."""
    seen, pairs = {}, []
    for name in names:
        other = seen.setdefault(bare(name), name)
        if other != name:
            pairs.append((other, name))
    return pairs

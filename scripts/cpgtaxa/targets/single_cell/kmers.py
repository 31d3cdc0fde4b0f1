"""Sequence windows as numbers: frequencies of k-mers, composition, and one-hot codes."""

import numpy as np

BASES = "ACGT"
"""Codes 0 to 3 of sequences; 4 is anything else."""


def frequencies(dna: np.ndarray, k: int) -> np.ndarray:
    """Share of each k-mer among the valid ones of each window, in alphabetical order.

    dna (n, wlen) uint8; k-mers with code 4 do not count. Returns (n, 4 ** k) float32; 0 throughout where no k-mer is
    valid.
    """
    n, length = dna.shape[0], dna.shape[1] - k + 1
    code, valid = np.zeros((n, length), dtype=np.int32), np.ones((n, length), dtype=bool)
    for at in range(k):
        part = dna[:, at : at + length]
        code = code * 4 + part
        valid &= part < 4
    rows = np.arange(n, dtype=np.int64)[:, None] * 4**k
    counts = np.bincount((rows + code)[valid], minlength=n * 4**k).reshape(n, 4**k)
    return (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).astype(np.float32)


def composition(dna: np.ndarray) -> np.ndarray:
    """Shares of A, C, G and T, CpGs per base, and CpGs observed / expected (CpGs * bases / (C * G); 0 without C or G).

    dna (n, wlen) uint8; code 4 does not count. Returns (n, 6) float32.
    """
    counts = np.stack([(dna == base).sum(axis=1) for base in range(4)], axis=1)
    cpgs = ((dna[:, :-1] == 1) & (dna[:, 1:] == 2)).sum(axis=1)
    bases = np.maximum(counts.sum(axis=1), 1)
    expected = counts[:, 1] * counts[:, 2] / bases
    ratio = np.where(expected > 0, cpgs / np.maximum(expected, 1e-9), 0)
    return np.column_stack([counts / bases[:, None], cpgs / bases, ratio]).astype(np.float32)


def one_hot(dna: np.ndarray) -> np.ndarray:
    """(n, wlen) uint8 to (n, 4, wlen) float32; zeros at code 4."""
    return (dna[:, None, :] == np.arange(4, dtype=np.uint8)[:, None]).astype(np.float32)

"""Columns and betas as text that a page reads without a network: base64 of what zlib made of typed arrays.

A page opened from disk may not fetch files, but it may run scripts that lie beside it: a shard is a script that hands
its text to the page (`cpgtaxaPiece("beta/0","…")`). The page unpacks it with the browser's own DecompressionStream.
"""

import base64
import zlib

import numpy as np
import pandas as pd

STEP = 1e-4
"""Betas and probabilities are kept in steps of this size."""
LOWEST = -1.0
"""Beta that the smallest code stands for: adjusted betas may leave 0 to 1."""
MISSING = 65535
"""Code of a missing beta or probability, or of a missing name among many."""
NO_CODE = 255
"""Code of a missing name."""
LEVEL = 1
"""Of zlib: 6 takes twice the time and saves one per cent of betas."""


def beta_codes(values: np.ndarray) -> np.ndarray:
    """Betas of any shape as uint16: steps of STEP above LOWEST, MISSING for NaN; what lies outside goes to the end."""
    steps = np.rint((values.astype(np.float64) - LOWEST) / STEP)
    return np.where(np.isnan(steps), MISSING, np.clip(steps, 0, MISSING - 1)).astype(np.uint16)


def share_codes(values: np.ndarray) -> np.ndarray:
    """Probabilities of any shape as uint16: steps of STEP, MISSING for NaN."""
    steps = np.rint(values.astype(np.float64) / STEP)
    return np.where(np.isnan(steps), MISSING, np.clip(steps, 0, MISSING - 1)).astype(np.uint16)


def name_codes(values, names) -> np.ndarray:
    """Each value's place in `names` as uint8, NO_CODE for a missing one. Raises ValueError for one not among them."""
    place = {name: number for number, name in enumerate(names)}
    if len(place) >= NO_CODE:
        raise ValueError(f"{len(place)} names do not fit a byte")
    values = np.asarray(values, dtype=object)
    found = np.full(len(values), NO_CODE, dtype=np.uint8)
    for number, value in enumerate(values):
        if isinstance(value, str):
            if value not in place:
                raise ValueError(f"{value!r} is not one of {list(place)}")
            found[number] = place[value]
    return found


def long_codes(values, names) -> np.ndarray:
    """Each text's place in `names` as uint16, MISSING for one that is not there. ValueError for too many names."""
    if len(names) > MISSING:
        raise ValueError(f"{len(names):,} names do not fit two bytes")
    places = pd.Index(names, dtype=object).get_indexer(np.asarray(values, dtype=object))
    return np.where(places < 0, MISSING, places).astype(np.uint16)


def logarithms(values: np.ndarray) -> np.ndarray:
    """Decimal logarithms as float32, −∞ for 0: p-values far below what float32 holds keep five digits."""
    with np.errstate(divide="ignore"):
        return np.log10(values.astype(np.float64)).astype(np.float32)


def planes(array: np.ndarray) -> bytes:
    """The bytes of an array's items, little-endian, all first ones first: the slowly changing ones pack better so."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).reshape(-1, little.itemsize).T.tobytes()


def packed(*arrays: np.ndarray) -> str:
    """Arrays, one behind the other, each in planes, as text. The same arrays give the same text."""
    return packed_bytes(b"".join(map(planes, arrays)))


def packed_bytes(content: bytes, level: int = LEVEL) -> str:
    """Any bytes as text of base64."""
    return base64.b64encode(zlib.compress(content, level)).decode("ascii")

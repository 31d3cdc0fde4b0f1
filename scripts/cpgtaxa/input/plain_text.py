"""Delimited rows of plain numbers, several times as fast as a general reader.

`parse` reads what programs usually write: an id, then numbers in digits, or NA. At anything else it gives up, and the
caller takes a general reader for those rows; the values are the same, to the last bit.
"""

import numba
import numpy as np

_POWERS = np.array([float(f"1e{power}") for power in range(41)])
_EXACT_POWER = 22
_EXACT = 2**53
"""Up to these, powers of ten and whole numbers are exact in float64."""
_MOST = 10**18 - 1
"""No mantissa grows far beyond this, and int64 holds them all."""
_MARGIN = 2.0**-50


@numba.njit(nogil=True, cache=True)
def _rows(text, separator, place, ids, values):
    """Fill ids (k, 2) int64, where each row's id starts and ends, and values (k, n) float32; returns the rows read.

    text: (size,) uint8; place: (fields,) int64, the column of `values` for every field after the id, or -1. Returns -1
    where something is no plain row.
    """
    size = text.size
    fields = place.size
    at = 0
    row = 0
    while at < size:
        if text[at] == 10 or (text[at] == 13 and at + 1 < size and text[at + 1] == 10):  # an empty line
            at += 1 if text[at] == 10 else 2
            continue
        start = at
        quoted = text[at] == 34
        if quoted:
            at += 1
            start = at
            while at < size and text[at] != 34 and text[at] != 10 and text[at] != 13:
                at += 1
            if at >= size or text[at] != 34:
                return -1
            stop = at
            at += 1
        else:
            while at < size and text[at] != separator and text[at] != 10 and text[at] != 13 and text[at] != 34:
                at += 1
            stop = at
        if at >= size or text[at] != separator:
            return -1
        ids[row, 0] = start
        ids[row, 1] = stop
        for field in range(fields):
            at += 1  # the separator
            negative = at < size and text[at] == 45
            if negative:
                at += 1
            mantissa = np.int64(0)
            digits = 0
            power = 0
            while at < size and 48 <= text[at] <= 57:
                if mantissa > _MOST // 10:
                    return -1
                mantissa = mantissa * 10 + (text[at] - 48)
                digits += 1
                at += 1
            if at < size and text[at] == 46:
                at += 1
                while at < size and 48 <= text[at] <= 57:
                    if mantissa <= _MOST // 10:
                        mantissa = mantissa * 10 + (text[at] - 48)
                        power -= 1
                    digits += 1
                    at += 1
            if digits > 0:
                if at < size and (text[at] == 101 or text[at] == 69):
                    at += 1
                    down = at < size and text[at] == 45
                    if at < size and (text[at] == 45 or text[at] == 43):
                        at += 1
                    exponent = 0
                    first = at
                    while at < size and 48 <= text[at] <= 57 and exponent < 1000:
                        exponent = exponent * 10 + (text[at] - 48)
                        at += 1
                    if at == first:
                        return -1
                    power += -exponent if down else exponent
                if abs(power) >= _POWERS.size:
                    return -1
                value = mantissa / _POWERS[-power] if power < 0 else mantissa * _POWERS[power]
                number = np.float32(value)
                # One rounding where both are exact; else sure where all neighbours are the same float32.
                exact = mantissa <= _EXACT and abs(power) <= _EXACT_POWER
                if not exact and np.float32(value * (1.0 - _MARGIN)) != np.float32(value * (1.0 + _MARGIN)):
                    return -1
                if negative:
                    number = -number
            else:
                # Nothing, NA or NaN; digits may not be missing elsewhere.
                if negative or (at > 0 and text[at - 1] == 46):
                    return -1
                if at + 1 < size and text[at] == 78 and text[at + 1] == 65:
                    at += 2
                elif at + 2 < size and text[at] == 78 and text[at + 1] == 97 and text[at + 2] == 78:
                    at += 3
                number = np.float32(np.nan)
            if field < fields - 1:
                if at >= size or text[at] != separator:
                    return -1
            elif at < size:
                if text[at] == 13:
                    at += 1
                if at >= size or text[at] != 10:
                    return -1
                at += 1
            if place[field] >= 0:
                values[row, place[field]] = number
        row += 1
    return row


def parse(text: bytes, separator: str, n_fields: int, columns) -> tuple[list[str], np.ndarray] | None:
    """Ids and values of the rows in `text`, or None where it is not plain.

    text: whole rows of `n_fields` fields, an id (quoted or not) and numbers; `columns`: the n wanted fields, counted
    from 1, in the order wanted. Returns k ids and (k, n) float32, NaN where there is nothing, NA or NaN; each value is
    the nearest float64, then the nearest float32.
    """
    place = np.full(n_fields - 1, -1, dtype=np.int64)
    place[np.asarray(columns, dtype=np.int64) - 1] = np.arange(len(columns))
    rows = text.count(b"\n") + 1
    ids = np.empty((rows, 2), dtype=np.int64)
    values = np.empty((rows, len(columns)), dtype=np.float32)
    found = _rows(np.frombuffer(text, dtype=np.uint8), ord(separator), place, ids, values)
    if found < 0:
        return None
    try:
        return [text[start:stop].decode() for start, stop in ids[:found].tolist()], values[:found]
    except UnicodeDecodeError:
        return None

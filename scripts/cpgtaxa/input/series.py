"""What distinguishes a GEO series matrix from other text."""

import pathlib

from cpgtaxa.input.streams import DAMAGE, stream_of

BEGIN, END = b"!series_matrix_table_begin", b"!series_matrix_table_end"
STARTS = (b"!Series_", b"!Sample_", BEGIN)


def is_series(path: pathlib.Path, codec: str | None) -> bool:
    """Whether a file, packed with `codec` or plain, begins as a series matrix does. Damage is left to its reader."""
    try:
        first = stream_of(path, codec)[1].read(256)
    except DAMAGE:
        return False
    return first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(STARTS)

"""Bytes, lines and rows of large text files that people give, plain or gzipped, with memory that stays flat."""

import contextlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.csv
from xopen import xopen

from cpgtaxa.errors import InputError, reason_of
from cpgtaxa.input.texts import existing, foreign

GZIP = b"\x1f\x8b"
BLOCK = 4 << 20
"""Bytes read at a time."""
LONGEST = 1 << 20
"""Bytes of a line: longer ones are no lines of a table."""
EXAMPLES = 5
ASIDE = re.compile(rb"\s*(#|(track|browser)([ \t]|\r?$)|\r?$)")
"""Lines that hold no data: comments, lines for genome browsers, blank ones."""
MISSING = ["", "NA", "N/A", "#N/A", "NULL", "null", "nan", "NaN", "-NaN", "-nan", "na", ".", "-"]
"""In place of a number."""
HINTS = (b"#", b"track", b"browser", b"\n\n", b"\n\r\n", b"\n ", b"\n\t")
"""A block of lines without any of these has nothing aside, but for its start: quicker to see than by pattern."""


@contextlib.contextmanager
def opened(path, what: str):
    """Yield read(size) -> bytes of a file, unpacked if it is gzipped (recognised by content), and whether it is.

    what: how messages call the file. Raises InputError for a file that is missing, no file, empty, plainly something
    else, not ours to read, damaged, or cut off.
    """
    path = existing(path, what)
    try:
        raw = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(f"{what} cannot be read ({error.strerror}): check its permissions") from error
    with raw:
        first = raw.read(16)
        raw.seek(0)
        if not first:
            raise InputError(f"{what} is empty: check how the file was made")
        if found := foreign(first):
            raise InputError(f"{what} is {found}")
        packed = first.startswith(GZIP)
        stream = _guarded(what, xopen, raw, "rb", threads=0, format="gz") if packed else raw

        def read(size: int = BLOCK) -> bytes:
            return _guarded(what, stream.read, size)

        yield read, packed


def _guarded(what: str, call, *arguments, **named):
    try:
        return call(*arguments, **named)
    except MemoryError:
        raise
    except Exception as error:  # each gzip library has its own for broken data
        raise InputError(f"{what} is damaged or cut off ({reason_of(error)}): copy it again") from error


R_NUMBER = re.compile(rb"(?<![\w.+-])(\d)(?:\.(\d+))?e\+0?(\d)(?![\w.])")
"""How R writes large numbers with many zeros, such as 1e+05."""


def line_blocks(path, what: str, size: int = BLOCK):
    """(number of the first line, bytes of whole lines, each with its end) in turn. Raises InputError as `opened`."""
    with opened(path, what) as (read, _):
        held, number, first = b"", 1, True
        while piece := read(size):
            if first:
                piece, first = piece.removeprefix(b"\xef\xbb\xbf"), False
            cut = piece.rfind(b"\n") + 1
            if cut == 0:
                held += piece
                if len(held) > max(LONGEST, size):
                    raise InputError(f"{what} is no table: line {number:,} is longer than {LONGEST:,} bytes")
                continue
            block, held = held + piece[:cut], piece[cut:]
            yield number, block
            number += block.count(b"\n")
        if held:
            yield number, held + b"\n"


def split_line(line: bytes, separator: str) -> list[str]:
    """Stripped fields of a line, without quotes; a blank as separator stands for any run of blanks and tabs."""
    text = line.decode("utf-8", "replace").strip("\r\n")
    fields = text.split() if separator == " " else text.split(separator)
    return [field.strip().strip('"').strip() for field in fields]


def content(first: int, block: bytes) -> tuple[np.ndarray | None, bytes]:
    """The lines of a block that hold data, and their numbers; None for numbers that run on from `first`."""
    if not (block[:1].isspace() or any(hint in block for hint in HINTS)):
        return None, block
    lines = block.split(b"\n")[:-1]
    kept = [(first + at, line) for at, line in enumerate(lines) if not ASIDE.match(line)]
    numbers = np.array([number for number, _ in kept], dtype=np.int64)
    return numbers, b"".join(line + b"\n" for _, line in kept)


def parse_rows(
    block: bytes, *, separator: str, n_fields: int, wanted: dict[int, pa.DataType], quoted: bool = False
) -> list[pa.Array] | None:
    """The wanted columns (counted from 0) of a block of rows, in the order wanted; None where a row does not fit.

    Missing values (NA, NaN, a dot, a dash, nothing) are nulls. quoted: whether fields may stand in quotation marks.
    """
    if separator == " ":
        block, separator = re.sub(rb"[ \t]*\n[ \t]*", b"\n", re.sub(rb"[ \t]+", b"\t", block)).strip(b" \t"), "\t"
    names = [str(at) for at in range(n_fields)]
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(block),
            read_options=pa.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(block) + 1),
            parse_options=pa.csv.ParseOptions(
                delimiter=separator, quote_char='"' if quoted else False, double_quote=False
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types={str(at): kind for at, kind in wanted.items()},
                include_columns=[str(at) for at in wanted],
                strings_can_be_null=False,
                null_values=MISSING,
            ),
        )
    except pa.ArrowException:
        plain = R_NUMBER.sub(_written_out, block) if b"e+" in block else block
        if plain == block:
            return None
        return parse_rows(plain, separator=separator, n_fields=n_fields, wanted=wanted, quoted=quoted)
    return [column.combine_chunks() for column in table.columns]


def _written_out(number: re.Match) -> bytes:
    """A whole number of R's in digits: 100000 for 1e+05."""
    digits, zeros = number[1] + (number[2] or b""), int(number[3]) - len(number[2] or b"")
    return number[0] if zeros < 0 else digits + b"0" * zeros


def odd_rows(first: int, block: bytes, *, separator: str, n_fields: int, check, what: str) -> InputError:
    """What to say of a block that `parse_rows` gave up on.

    check(fields) -> what is wrong with a row of the right number of fields, or None.
    """
    found = []
    for at, line in enumerate(block.split(b"\n")[:-1]):
        if ASIDE.match(line):
            continue
        fields = split_line(line, separator)
        reason = f"{len(fields)} columns instead of {n_fields}" if len(fields) != n_fields else check(fields)
        if reason:
            found.append(f"line {first + at:,}: {reason}")
    if not found:
        quotes = ", where a quotation mark may lack its partner" if b'"' in block else ""
        return InputError(f"{what} cannot be read as a table near line {first:,}{quotes}: check how it was made")
    more = f" and {len(found) - EXAMPLES:,} more" if len(found) > EXAMPLES else ""
    return InputError(f"{what}: {'; '.join(found[:EXAMPLES])}{more}. Correct these rows or take them out")


def is_whole(text: str) -> bool:
    """Whether a field is a whole number in digits, not below 0."""
    return text.isascii() and text.isdigit()

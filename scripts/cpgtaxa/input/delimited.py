"""Where the fields of a delimited text are: its separator, its header, and which field of a row belongs to which name.

Header and rows often differ in length. R's `write.table` leaves out the name of the row names; spreadsheets and old
scripts end lines in separators. Content tells them apart: row names are text, each once; what follows the last name is
empty in every row.
"""

import collections
import re

SEPARATORS = "\t;,"
"""Of several that divide all lines alike the first: tabs do not stand in text, and `;` comes with decimal commas."""
LOOKED_AT = 50
"""Lines by which the separator is found."""
HEADINGS = {
    "idref", "id", "ids", "cpg", "cpgs", "cpgid", "cpgsite", "cgid", "probe", "probes", "probeid", "probename",
    "targetid", "ilmnid", "name", "site", "rownames", "rowname", "sampleid", "sample", "samplename", "samples", "gene",
    "geneid", "genename", "symbol", "genesymbol", "ensembl", "ensemblid", "index", "unnamed0", "basename",
}  # fmt: skip
"""What the column of ids is called, without case and punctuation: no name of a sample."""
_SEP_LINE = re.compile(r"\ufeff?\"?sep=(.|\\t)\"?[\s,;]*", re.IGNORECASE)
_COMMA = re.compile(r"[-+]?(\d+),(\d+)(?:[eE][-+]?\d+)?")
_POINT = re.compile(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")


def declared_separator(line: str) -> str | None:
    """The separator that Excel's first line `sep=;` declares; None for any other line."""
    match = _SEP_LINE.fullmatch(line.strip(" \r\n"))
    return match[1].replace("\\t", "\t") if match else None


def separator_among(lines: list[str]) -> str | None:
    """The separator that divides most of the lines into the same number of fields, two or more.

    Of equals the first of SEPARATORS, but the one with more fields of `;` and `,`; else a blank, where there is one in
    the first line; else None. Text in quotation marks does not count.
    """
    given = [re.sub(r'"[^"]*"', "x", line) for line in lines[:LOOKED_AT] if line.strip()]
    best, key = None, (0.0, False, 0, 0)
    for rank, separator in enumerate(reversed(SEPARATORS)):
        numbers = collections.Counter(line.count(separator) + 1 for line in given)
        fields, lines_so = max(numbers.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        if fields < 2:
            continue
        found = (lines_so / len(given), separator == "\t", fields, rank)
        if found > key:
            best, key = separator, found
    if best is None and given and " " in given[0].strip():
        return " "
    return best


def commas_for_points(fields, separator: str | None) -> bool:
    """Whether numbers have decimal commas beyond doubt: none has a point, and no comma may part thousands."""
    if separator == ",":
        return False
    certain = False
    for field in fields:
        if "." in field and _POINT.fullmatch(field):
            return False
        if "," in field and (match := _COMMA.fullmatch(field)):
            certain |= len(match[2]) != 3 or match[1] == "0"
    return certain


def pointed(text: str) -> str:
    """A number with its decimal comma made a point; anything else as it is."""
    return text.replace(",", ".") if _COMMA.fullmatch(text) else text


def lines_above(rows: list[list[str]]) -> int:
    """How many of the first rows stand above the header: notes of few fields, and comments of another width.

    rows: fields of each. A comment (`#`) as wide as the row below the comments is the header.
    """
    plain = next((number for number, row in enumerate(rows) if not row[0].startswith("#")), None)
    if plain and len(rows) > plain + 1:
        if len(rows[plain - 1]) == len(rows[plain]) and sum(map(bool, rows[plain])) > 1:
            return plain - 1
        return plain + lines_above(rows[plain:])
    filled = [sum(map(bool, row)) for row in rows]
    above = next((number for number, size in enumerate(filled) if size > 1), 0)
    usual = collections.Counter(filled[above:]).most_common(1)[0][0] if rows else 0
    if filled[above : above + 1] and filled[above] <= usual / 2:  # notes of several fields, in spreadsheets
        above = next((number for number in range(above, len(rows)) if filled[number] >= usual - 1), above)
    return above if len(rows) > above + 1 else 0


class Layout:
    """Which fields of the rows belong to which names of the header.

    names: one for each used field of a row, None standing for R's row names, which have none. n_fields: fields of a
    row. spare: places of fields behind the last name, which must be empty in every row.
    """

    def __init__(self, header: list[str], rows: list[list[str]]):
        """header: its fields; rows: those of some rows, stripped."""
        named = len(header)
        while named > 1 and not header[named - 1]:
            named -= 1
        lengths = collections.Counter(map(len, rows))
        length = max(lengths, key=lambda size: (lengths[size], size), default=len(header))
        filled = [_used(row) for row in rows if len(row) == length]
        used = max(filled, default=0)
        self.row_names = False
        both_end = length == len(header) + 1 and named < len(header)  # header and rows in as many separators
        if used == named + 1 and both_end and header[0]:
            self.row_names = True
        elif named < used <= len(header):  # an unnamed column with something in it
            named = used
        elif used == named + 1 and header[0] and filled.count(used) >= len(filled) / 2:
            self.row_names = True
        elif used > named and filled.count(used) >= len(filled) / 2:
            length = named
        self.names: list[str | None] = [*([None] if self.row_names else []), *header[:named]]
        self.n_fields = max(length, len(self.names))
        self.spare = range(len(self.names), self.n_fields)

    def doubt(self) -> str | None:
        """Why row names without a heading cannot be meant, though rows have one field more than the header."""
        if self.row_names and re.sub(r"[\W_]+", "", self.names[1].casefold()) in HEADINGS:
            return (
                f"its rows have one field more than its header, and the header begins with {self.names[1]!r}, the "
                "heading of the column of ids: a column lacks its name, or the rows have a field too many. Write one "
                "name for each column"
            )
        return None


def _used(row: list[str]) -> int:
    """Fields of a row up to the last one that is not empty."""
    return max((place for place, field in enumerate(row, 1) if field), default=0)


def _counting(fields: list[str]) -> bool:
    """Whether fields count from 1 or 0, as R and pandas name rows by themselves."""
    return any(fields == [str(number + start) for number in range(len(fields))] for start in (0, 1))


def _numeric(fields: list[str]) -> bool:
    return all(re.fullmatch(r"[-+]?\d*[.,]?\d+(?:[eE][-+]?\d+)?", field) for field in fields)


def aligned(
    header: list[str], rows: list[tuple[int, list[str]]], separator: str | None
) -> tuple[list[str | None], list, list, str | None]:
    """Names, rows of as many fields, odd rows, and what is doubtful, of a small table.

    rows: line and fields of each. A name is None for R's row names; rows lose the empty fields behind their last name;
    odd rows have another number of fields, or something behind the last name.
    """
    layout = Layout(header, [row for _, row in rows])
    n_names = len(layout.names)
    fitting, odd = [], []
    for number, row in rows:
        if _used(row) > n_names or len(row) < n_names:
            odd.append((number, row))
        else:
            fitting.append((number, row[:n_names]))
    doubt = None
    if layout.row_names:
        first = [row[0] for _, row in fitting]
        second = [row[1] for _, row in fitting]
        if not all(first) or len(set(first)) < len(first):
            doubt = (
                "its rows have one field more than its header, and their first fields are no row names, which are each "
                "there once: a column lacks its name, or the rows have a field too many. Write one name for each column"
            )
        elif separator in (",", ";") and not _counting(first):  # R's write.csv always writes a heading
            doubt = (
                "its rows have one field more than its header: a column lacks its name, or the rows have a field too "
                "many. Write one name for each column, that of the row names included"
            )
        elif layout.doubt() and (len(set(second)) < len(second) or (_numeric(second) and not _numeric(first))):
            doubt = layout.doubt()
    elif layout.n_fields > len(header) and _counting([row[0] for _, row in fitting]):
        doubt = (
            "its rows have more fields than its header: the first ones count the rows and the last ones are empty, so "
            "that the names may belong to either side. Write one name for each column"
        )
    return layout.names, fitting, odd, doubt

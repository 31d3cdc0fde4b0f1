"""What the columns of a cell's file are: from its header, from the config, or proved by their numbers."""

import re
from typing import NamedTuple

import numpy as np

from cpgtaxa.errors import InputError, some
from cpgtaxa.input.texts import separator_of
from cpgtaxa.targets.single_cell.streams import MISSING, is_whole, split_line

ONE_BASED = "one_based"
LOOKED_AT = 1000
"""Rows by which columns are recognised; what they prove is checked in every row."""
MOSTLY = 0.5
"""Of a form is a file whose rows fit it, but for a few that are wrong and reported."""
ROUNDED = 0.011
"""By which a fraction may differ from its counts, as it is rounded."""
HEADINGS = {
    "chrom": ("chrom", "chr", "chromosome", "chromo", "chromosomename", "seqnames", "seqname", "seqid", "contig"),
    "position": (
        "position",
        "pos",
        "pos1",
        "location",
        "coordinate",
        "coord",
        "base",
        "start",
        "chromstart",
        "startposition",
        "pos0",
        "start0",
    ),
    "end": ("end", "stop", "chromend", "endposition"),
    "value": (
        "value",
        "methylation",
        "methylationlevel",
        "methylationrate",
        "methlevel",
        "methrate",
        "methratio",
        "state",
        "beta",
        "betavalue",
        "rate",
        "level",
        "ratio",
        "fraction",
        "percent",
        "percentage",
        "freqc",
        "methpercent",
        "percentmeth",
        "percentmethylated",
        "percentmethylation",
        "percentmodified",
        "score",
    ),
    "meth": (
        "metreads",
        "methreads",
        "methylatedreads",
        "readsmethylated",
        "nummethylated",
        "nmethylated",
        "nmeth",
        "countmethylated",
        "countmeth",
        "methylatedcount",
        "methcount",
        "mccount",
        "mc",
        "methc",
        "numcs",
        "nc",
        "ccount",
        "countm",
        "mcount",
        "countmodified",
        "nmod",
        "meth",
        "methylated",
        "m",
        "x",
    ),
    "unmeth": (
        "nonmetreads",
        "nonmethreads",
        "unmetreads",
        "unmethreads",
        "unmethylatedreads",
        "nonmethylatedreads",
        "numunmethylated",
        "nunmethylated",
        "nunmeth",
        "countunmethylated",
        "countunmeth",
        "unmethylatedcount",
        "unmethcount",
        "numts",
        "nt",
        "tcount",
        "countu",
        "ucount",
        "unmeth",
        "unmethylated",
        "u",
    ),
    "total": (
        "total",
        "coverage",
        "cov",
        "depth",
        "reads",
        "totalreads",
        "readcount",
        "nreads",
        "readdepth",
        "totalcount",
        "validcoverage",
        "nvalidcov",
        "totalc",
        "ctcount",
        "n",
    ),
    "context": ("context", "ccontext", "cytosinecontext", "mcclass", "mccontext", "tricontext", "trinucleotide"),
    "code": (
        "code",
        "modifiedbasecode",
        "modifiedprimarybasecode",
        "modifiedprimarybasecodeandmotif",
        "modbase",
        "name",
    ),
    "width": ("width",),
}
"""What columns may be called, letters and digits alone, in small letters, by what they hold; the surest first."""
FROM_ZERO = ("pos0", "start0")
STARTS = ("start", "chromstart", "startposition")
IGNORED = "-"
"""In `single_cell.columns`: a column that does not matter."""
EXAMPLES = "[chrom, pos, meth, unmeth], [chrom, pos, total, meth], [chrom, start, end, value]"

FORMS = {
    "chromosome, position, value": "chrom position value",
    "BED": "chrom start end value",
    "coverage": "chrom start end value meth unmeth",
    "bedMethyl": "chrom start end code score strand whole whole colour total percent *",
    "cytosine report": "chrom position strand meth unmeth context",
    "cytosine report, trinucleotides": "chrom position strand meth unmeth context context",
    "allc": "chrom position strand context meth total state",
    "allc, no flag": "chrom position strand context meth total",
    "CGmap": "chrom cytosine position context context value meth total",
    "methylKit": "chrom start end strand total meth unmeth",
    "strand and value": "chrom position strand value",
    "strands of a BED": "chrom start end value strand",
    "BED with coverage": "chrom start end fraction total",
}
"""Files without header: the columns of each form. A file is of a form whose columns all hold what they must, and whose
numbers agree: end and start, reads and their sum, value and reads. `*`: whatever follows."""
NUMBERED = {"position", "start", "end", "score", "total", "meth", "unmeth", "whole"}
COLOUR = re.compile(r"\d+,\d+,\d+|0|\.")
CONTEXT = re.compile(r"[ACGTHNWDBYRSKMV]{2,5}|--|\.", re.I)
OTHER_MODIFICATIONS = re.compile(r"(?!m|C|5mC)([hfcgebnoTUAGNa]|5hmC|6mA|\d{4,6})", re.I)
"""Codes of modifications other than 5-methylcytosine, in bedMethyl (SAM's tags)."""


class UnclearColumns(InputError):
    """Nothing proves what the columns are. question: the message without the file's name; kind: what such files
    share."""

    def __init__(self, what: str, question: str, kind: str):
        self.what, self.question, self.kind = what, question, kind
        super().__init__(f"{what}: {question}")


class Layout(NamedTuple):
    """Where things stand in the rows of a file: columns counted from 0, None where there is none.

    empty: columns behind the last separator, which hold nothing. spans: what end less start may be. percent: whether
    values are percentages, None where they show it. start: what to add to a position to count from 1. why: how `start`
    was found. form: what the file is taken for, one of FORMS, or how its columns were named. named: whether by header
    or config.
    """

    separator: str
    n_fields: int
    chrom: int
    position: int
    start: int
    why: str
    form: str
    end: int | None = None
    value: int | None = None
    meth: int | None = None
    unmeth: int | None = None
    total: int | None = None
    context: int | None = None
    code: int | None = None
    empty: tuple[int, ...] = ()
    spans: tuple[int, ...] = ()
    percent: bool | None = None
    named: bool = False
    quoted: bool = False

    def words(self) -> str:
        """What the file was taken for, and from what its positions count."""
        return f"{self.form}, positions from {1 - self.start} ({self.why})"

    @property
    def counted(self) -> bool:
        """Whether reads are counted."""
        return self.meth is not None


def layout_of(
    head: bytes, rows: bytes, what: str, coordinates: str, columns: list[str] | None
) -> tuple[Layout | None, bool]:
    """The layout by the first lines, and whether the first of `rows` is a header; None where none holds data.

    head: the file's first bytes, comments among them. coordinates, columns: the config's. Raises InputError where the
    rows are no table, or a header lacks something; UnclearColumns where nothing shows what the columns are.
    """
    lines = [line for line in rows.split(b"\n", LOOKED_AT + 1)[:LOOKED_AT] if line.strip()]
    if not lines:
        return None, False
    text = lines[0].decode("utf-8", "replace")
    separator = separator_of(text)
    if separator is None:
        raise InputError(
            f"{what} is no table: its first row is the single column {text.strip()[:60]!r}. Expected: chromosome, "
            "position and value, separated by tabs"
        )
    if separator == "\t" and any(re.search(r"\d \d", field) for field in split_line(lines[-1], separator)):
        separator = " "  # bedMethyl of older modkit: tabs, then blanks
    fields = [split_line(line, separator) for line in lines]
    if any(len(row) == 5 and row[1] in ("+", "-") and row[4] in tuple("zZxXhHuU") for row in fields[:3]):
        raise InputError(
            f"{what} lists calls read by read, as bismark_methylation_extractor writes them: give the coverage "
            "(bismark2bedGraph) or the cytosine report (coverage2cytosine) made of it"
        )
    header = len(fields[0]) > 1 and all(_number(field) is None for field in fields[0][1:3])
    names, fields = (fields[0], fields[1:]) if header else (_commented(head, lines[0], separator), fields)
    if not fields:
        return None, False
    common = {"separator": separator, "quoted": b'"' in rows[:LOOKED_AT]}
    if columns:
        found = _named(list(columns), fields, what, coordinates, "single_cell.columns", common)
    elif names and (header or _heads(names, fields)):
        found = _named(names, fields, what, coordinates, "its header", common)
    else:
        track = [line for line in head.split(b"\n", LOOKED_AT) if line.startswith(b"track")]
        found = _proved(fields, what, coordinates, b" ".join(track).decode("utf-8", "replace"), common)
    return found, header


def _commented(head: bytes, first: bytes, separator: str) -> list[str]:
    """The fields of the last comment before the first row, which may be a header."""
    commented = [line[1:] for line in head[: head.find(first)].split(b"\n") if line.startswith(b"#")]
    return split_line(commented[-1], separator) if commented else []


def _heads(names: list[str], fields: list[list[str]]) -> bool:
    return abs(len(names) - len(fields[0])) <= 1 and _plain(names[0]) in HEADINGS["chrom"]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _empty_behind(fields: list[list[str]], n: int) -> tuple[int, ...]:
    """The last column, where it holds nothing in any row: rows that end in a separator."""
    return (n - 1,) if all(len(row) == n and row[-1] == "" for row in fields) else ()


# --- named by a header or by the config ------------------------------------------------------------------------------


def _named(given, fields, what: str, coordinates: str, by: str, common: dict) -> Layout:
    """The layout of a file whose columns have names. by: where these are."""
    n = len(fields[0])
    empty, shift = _empty_behind(fields, n), 0
    while given and given[-1] == "" and len(given) > n - len(empty):
        given = given[:-1]
    if len(given) != n and len(given) != n - len(empty):
        ids = [row[0] for row in fields]
        if len(given) == n - 1 and not empty and len(set(ids)) == len(ids) and all(map(is_whole, ids)):
            shift = 1  # R's write.table: row names, without a heading
        else:
            raise InputError(
                f"{what}: {by} names {len(given)} columns, {some(given, 12)}, and the first row has {n}: name each "
                "column once, in their order"
            )
    names = [_plain(name) for name in given]
    at = {}
    for part, headings in HEADINGS.items():
        there = [heading for heading in headings if heading in names]
        at[part] = names.index(there[0]) + shift if there else None
        if there and names.count(there[0]) > 1:
            raise InputError(f"{what}: {by} names several columns {there[0]!r}: rename those that are not meant")
    if at["meth"] is not None and at["unmeth"] is None and at["total"] is None:
        at["meth"] = None
    if at["meth"] is None:
        at["unmeth"] = None
    lacking = [part for part in ("chrom", "position") if at[part] is None]
    if at["value"] is None and at["meth"] is None:
        lacking.append("value (or meth and unmeth)")
    if lacking:
        known = ", ".join(found[0] for found in list(HEADINGS.values())[:3])
        raise InputError(
            f"{what}: {by} names no column for {', '.join(lacking)}; found {some(given, 12)}. Known names are, for "
            f"example, {known}, value, meth, unmeth, total: rename them, or name the columns of all cells in "
            f"`single_cell.columns`, in their order, such as {EXAMPLES} ({IGNORED} for one that does not matter)"
        )
    if at["unmeth"] is not None or at["meth"] is None:
        at["total"] = None
    value = names[at["value"] - shift] if at["value"] is not None else ""
    signs = given[at["value"] - shift] if value else ""
    percent = True if re.search("perc|pct|freqc", value) or "%" in signs else None
    if at["meth"] is not None and value == "score":
        at["value"] = None
    heading, width = names[at["position"] - shift], at.pop("width")
    start, spans = _interval(fields, at, heading, width)
    start, why = _start(coordinates, start, f"the column {heading!r}")
    return Layout(
        n_fields=n, start=start, why=why, form=by, empty=empty, spans=spans, percent=percent, named=True, **at, **common
    )


def _interval(fields, at: dict, heading: str, width: int | None) -> tuple[int, tuple[int, ...]]:
    """Whether the positions of a named column count from 0 (1) or not (0), and what end less start may be."""
    if at["end"] is None or heading not in STARTS:
        at["end"] = None
        return int(heading in FROM_ZERO or heading == "chromstart"), ()
    if _usual(fields, at["position"], at["end"]) == 0:
        return 0, (0,)
    if width is not None and all(row[width] == str(_usual([row], at["position"], at["end"]) + 1) for row in fields):
        return 0, (0, 1)  # GRanges: both ends belong to it
    return 1, (1, 2)


def _usual(fields, start: int, end: int) -> int:
    """End less start in most rows; what differs is reported with its line, later."""
    lengths = [
        int(row[end]) - int(row[start])
        for row in fields
        if len(row) > max(start, end) and is_whole(row[start]) and is_whole(row[end])
    ]
    return max(set(lengths), key=lengths.count) if lengths else 1


def _start(coordinates: str, found: int, why: str) -> tuple[int, str]:
    """What to add to positions, and how that is known."""
    if coordinates == "auto":
        return found, why
    return (0 if coordinates == ONE_BASED else 1), f"single_cell.coordinates: {coordinates}"


# --- proved by numbers -----------------------------------------------------------------------------------------------


def _proved(fields, what: str, coordinates: str, track: str, common: dict) -> Layout:
    """The layout of a file without header: that of the one form which its numbers fit."""
    n = len(fields[0])
    empty = _empty_behind(fields, n)
    width = n - len(empty)
    if width < 3 or (track and width < 4):
        expected = "chromosome, start, end and value" if track else "chromosome, position and value"
        raise InputError(f"{what} has {width} columns, expected {expected}: check the file, and its separator")
    if re.search("counts|coverage", track, re.I) and width == 4:
        raise InputError(
            f"{what}: its `track` line says that it holds counts of reads, which do not say which are methylated: "
            "give the methylation levels"
        )
    whole = [row for row in fields if len(row) == n]  # the others are reported with their lines, later
    fit = []
    for form, text in FORMS.items():
        roles = _columns(text.split(), width)
        if roles is not None and not (track and "position" in roles):
            fit.append((_share(whole, roles), form, roles))
    best = max(fit, key=lambda one: one[0], default=(0.0,))
    if best[0] < MOSTLY and width > 3:
        raise _unclear(what, fields, width)
    _, form, roles = best  # rows that do not fit are reported with their lines, later
    at = {
        name: roles.index(name) if name in roles else None for name in ("chrom", "meth", "unmeth", "total", "context")
    }
    place = roles.index("start") if "start" in roles else roles.index("position")
    valued = [roles.index(name) for name in ("value", "percent", "fraction") if name in roles]
    at |= {"position": place, "value": valued[0] if valued else None}
    at |= {"code": roles.index("code") if "code" in roles else None}
    if at["unmeth"] is not None or not ("percent" in roles or at["meth"] is not None):
        at["total"] = None
    offset, spans, why = 0, (), {"chromosome, position, value": "three columns"}.get(form, form)
    if "end" in roles:
        at["end"] = roles.index("end")
        if _usual(whole, place, at["end"]) == 0 and not track:
            spans, why = (0,), "start and end are the same, as in Bismark's coverage"
        else:
            offset, spans, why = 1, (1, 2), "start and end, as in BED"
            if "merged_CpG_evidence" in what:  # Bismark's: C and G of a CpG, counted from 1
                offset, why = 0, "the name of the file, merged_CpG_evidence"
    start, why = _start(coordinates, offset, why)
    percent = True if "percent" in roles else None
    return Layout(
        n_fields=n, start=start, why=why, form=form, empty=empty, spans=spans, percent=percent, **at, **common
    )


def _columns(roles: list[str], width: int) -> list[str] | None:
    """The role of each column, where the form has so many."""
    if roles[-1] == "*":
        roles = roles[:-1]
        return roles + ["any"] * (width - len(roles)) if width >= len(roles) else None
    return roles if len(roles) == width else None


def _share(fields: list[list[str]], roles: list[str]) -> float:
    """The share of rows that hold what the form says, and whose numbers agree."""
    at = {role: roles.index(role) for role in roles}
    if "fraction" in at and not any(re.search(r"\.\d*[1-9]", row[at["fraction"]]) for row in fields):
        return 0.0  # states and reads, or reads and reads: who knows
    return sum(_fits_row(row, roles, at) for row in fields) / max(len(fields), 1)


def _fits_row(row: list[str], roles: list[str], at: dict) -> bool:
    if not all(_holds(role, field) for role, field in zip(roles, row, strict=False)):
        return False
    if "end" in at and int(row[at["end"]]) < int(row[at["start"]]):
        return False
    return "meth" not in at or _agree(row, at)


def _holds(role: str, field: str) -> bool:
    """Whether a field may be what the form says."""
    if role in NUMBERED:
        return is_whole(field)
    if role in ("value", "percent", "fraction", "state"):
        return field in MISSING or _number(field) is not None
    if role == "strand":
        return field in ("+", "-", ".", "*", "F", "R")
    if role == "cytosine":
        return field in ("C", "G")
    patterns = {"context": CONTEXT, "colour": COLOUR}
    return patterns[role].fullmatch(field) is not None if role in patterns else True


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None


def _agree(row: list[str], at: dict) -> bool:
    """Whether reads add up, and the value is their share."""
    meth = int(row[at["meth"]])
    if "unmeth" in at:
        total = meth + int(row[at["unmeth"]])
        if "total" in at and int(row[at["total"]]) != total:
            return False
    else:
        total = int(row[at["total"]])
    if meth > total:
        return False
    value = _number(row[at["value"]]) if "value" in at else None
    return value is None or total == 0 or bool(agrees(np.array([value]), np.array([meth]), np.array([total]))[0])


def agrees(value: np.ndarray, meth: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Whether values, (n,), are the share of methylated reads, as fraction, percentage or majority; NaN agree."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = meth / total
        near = (np.abs(value - share) <= ROUNDED) | (np.abs(value / 100 - share) <= ROUNDED)
        majority = (value == np.rint(share)) | (value == 100 * np.rint(share)) | (share == 0.5) & np.isin(value, (0, 1))
    return near | majority | np.isnan(value) | ~(total > 0)


def _unclear(what: str, fields: list[list[str]], width: int) -> UnclearColumns:
    first = fields[0]
    return UnclearColumns(
        what,
        f"nothing proves what its {width} columns are (first row: {', '.join(first)[:200]}), and reads methylated, "
        "unmethylated and all must not be confused. Name the columns in `single_cell.columns`, in their order, such "
        f"as {EXAMPLES} ({IGNORED} for one that does not matter), or give the files a header with these names",
        str(width),
    )


# --- contexts and codes ----------------------------------------------------------------------------------------------


def is_cpg(context: str) -> bool:
    """Whether a cytosine's context is, or may be, CG: CG, CpG, CGN, bsmap's five bases around the C."""
    text = context.upper().replace("P", "")
    if len(text) == 5:
        return text[2:4] == "CG"
    return text.startswith("CG") or context in MISSING or text in ("N", "--", "CN", "CNN")


def is_methylcytosine(code: str) -> bool:
    """Whether the code of a modification, perhaps with the motif modkit appends (m,CG,0), is that of 5mC at CpGs."""
    name, _, motif = code.partition(",")
    return OTHER_MODIFICATIONS.fullmatch(name) is None and (not motif or motif.upper().startswith("CG,"))

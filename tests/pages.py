"""What a reader finds on a page that was made: its words, its tables, numbers as printed; and digests of files."""

import hashlib
import pathlib
import re


def text_of(html: str) -> str:
    """The page's words."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r"<(style|svg).*?</\1>", "", html, flags=re.S)))


def table_after(html: str, heading: str) -> list[list[str]]:
    """Cells of the first table behind a heading, row by row."""
    found = re.search(r"<tbody>(.*?)</tbody>", html[html.index(heading) :], re.S).group(1)
    rows = re.findall(r"<tr.*?</tr>", found, re.S)
    return [[text_of(cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)] for row in rows]


def lead_of(html: str) -> str:
    return text_of(re.search(r'<p class="lead">(.*?)</p>', html, re.S).group(1))


def printed(value: float, sign: str = "") -> str:
    """A score as pages print it."""
    return f"{value:{sign}.3f}".replace("-", "−")


def digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of all files of a folder, by their paths in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

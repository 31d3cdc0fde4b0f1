"""For mkdocs: what docs/ links to in the rest of the repository becomes part of the site.

Pages link to files outside of docs/ by relative paths, so that they can be read in the repository. Here each such file
is added to the site, Markdown as a page and all else as a file, and links are bent to where it lies. A link to a file
that does not exist stays as it is, and mkdocs, which is strict, stops at it.
"""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=(?:#[^)\s]*)?\))")
ALWAYS = ("resources/guide/README.md", "resources/clocks/README.md", "SECURITY.md", "CHANGELOG.md")
"""Pages of the navigation that lie outside of docs/."""


def place_of(path: pathlib.Path) -> str:
    """Where a file of the repository lies in the site's sources."""
    inside = path.relative_to(DOCS) if path.is_relative_to(DOCS) else "repository" / path.relative_to(ROOT)
    return inside.as_posix()


def outside(source: pathlib.Path, link: str) -> pathlib.Path | None:
    """The file outside of docs/ that a link leads to, if it does."""
    if re.match(r"[a-z]+:|/", link):
        return None
    target = (source.parent / link).resolve()
    known = target.is_file() and target.is_relative_to(ROOT)
    return target if known and not target.is_relative_to(DOCS) else None


def on_files(files, config):
    """Add the files that pages link to, and those that these link to."""
    waiting = [pathlib.Path(file.abs_src_path) for file in files.documentation_pages()]
    waiting += [ROOT / path for path in ALWAYS]
    seen = set()
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        if not source.is_relative_to(DOCS):
            files.append(File.generated(config, place_of(source), abs_src_path=str(source)))
        if source.suffix == ".md":
            links = LINK.findall(source.read_text(encoding="utf-8"))
            waiting += [target for target in (outside(source, link) for link in links) if target]
    return files


def on_page_markdown(markdown, page, config, files):
    """Bend the links to files outside of docs/, and those from there into it."""
    source = pathlib.Path(page.file.abs_src_path)

    def bent(match):
        link = match[1]
        if re.match(r"[a-z]+:|/", link):
            return link
        target = (source.parent / link).resolve()
        if not target.is_file() or not target.is_relative_to(ROOT):
            return link
        return posixpath.relpath(place_of(target), posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(bent, markdown)

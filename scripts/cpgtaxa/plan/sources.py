"""Which library files a script uses: inputs of its rule, and what a checkpoint of training depends on.

Standard library only.
"""

import ast
import functools
import pathlib
import re


def library_files(script: pathlib.Path) -> list[str]:
    """Paths, sorted, of the cpgtaxa modules that a script imports, directly or through other cpgtaxa modules.

    Imports inside functions count, and so do the packages' `__init__.py`. As inputs of a rule they make an edit of the
    library rerun exactly the rules that use it. The library is the one beside the script, else the one in use.
    """
    script = pathlib.Path(script)
    library = script.parent / "cpgtaxa"
    if not library.is_dir():
        library = pathlib.Path(__file__).parents[1]
    found: set[pathlib.Path] = set()
    waiting = [(script, ())]
    while waiting:
        for path, package in _used(*waiting.pop(), library):
            if path not in found:
                found.add(path)
                waiting.append((path, package))
    return sorted(str(path) for path in found)


@functools.cache  # each file is read once a process: sixty rules ask for much the same ones
def _used(source: pathlib.Path, package: tuple, library: pathlib.Path) -> tuple:
    """Library files that a file of a package imports itself, each with the package it belongs to."""
    names = _imported(source.read_text(encoding="utf-8"), package, str(source))
    return tuple(dict.fromkeys(found for name in sorted(names) for found in _modules(name, library)))


IMPORT = re.compile(r"^[ \t]*((?:from[ \t]+[.\w]+[ \t]+import|import)\b[ \t]*(?:\([^)]*\)|[^\n(]*))", re.MULTILINE)
"""An import at the beginning of a line, with all lines of its brackets."""
HIDDEN = re.compile(r"[:;].*\bimport\b|\bimport\b.*[;\\]|^[ \t]*from\b.*\\$", re.MULTILINE)
"""An import that is not alone in its line, or goes on in the next; comments and text may match, too."""


def _imported(text: str, package: tuple, name: str = "<text>") -> set[tuple]:
    """Dotted names, as tuples, that a source text imports; a relative import starts at the text's package.

    To parse every file in full took most of the time in which the workflow starts: where all imports are plain to see,
    they alone are parsed.
    """
    try:
        statements = [ast.parse(text, name)] if HIDDEN.search(text) else list(map(ast.parse, IMPORT.findall(text)))
    except SyntaxError:  # a sentence that begins like an import
        statements = [ast.parse(text, name)]
    names = set()
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, ast.Import):
            names |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names |= {base, *((*base, alias.name) for alias in node.names)}
    return {name for name in names if name[:1] == ("cpgtaxa",)}


def _modules(name: tuple, library: pathlib.Path):
    """Files executed by importing a dotted name, each with the package it belongs to; attributes have none."""
    for length in range(1, len(name) + 1):
        place = library.joinpath(*name[1:length])
        if (place / "__init__.py").is_file():
            yield place / "__init__.py", name[:length]
        elif length > 1 and place.with_suffix(".py").is_file():
            yield place.with_suffix(".py"), name[: length - 1]

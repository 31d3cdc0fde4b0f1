"""Writes docs/configuration.md, the table of all config keys.

    .venv/bin/python docs/make_configuration.py

Keys, defaults and explanations are those of config/config.yaml: the comment above a key explains it, and the keys after
it that have no comment of their own. What values are allowed comes from workflow/schemas/config.schema.yaml. Keys that
only one of the two files has stop the script.
"""

import dataclasses
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/configuration.md"
CONFIG = ROOT / "config/config.yaml"
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"

HEAD = """# Configuration

<!-- Made by docs/make_configuration.py from config/config.yaml and the schema: edit those. -->

All keys with their defaults are in [config/config.yaml](../config/config.yaml), the source of this page. A file given
with `--configfile` is laid over it, key by key, so that yours needs to name only what differs; of several files the
last one wins. `--config seed=7` sets a single key. Unknown and mistyped keys stop the run before it starts, all of them
listed, each with the nearest right one. Relative paths are relative to the working directory: the folder `snakemake` is
started in, or that of `--directory`.

Complete examples: [demo](../config/demo/config.yaml), [blood cohort GSE40279](../config/examples/gse40279.yaml),
[biology](../config/examples/biology.yaml), [sorted cells](../config/examples/sorted_cells.yaml);
[two_cores.yaml](../config/two_cores.yaml) holds settings for a whole array on few cores.
"""


@dataclasses.dataclass
class Entry:
    """One key of config.yaml. path: as in `rounds.max`. comment: the explanation above it. own: whether it has one."""

    path: str
    comment: str
    own: bool
    section: bool


def entries(text: str) -> list[Entry]:
    """The keys of config.yaml in order, with their comments; a commented key at the end of the file counts."""
    found, stack, comment, last = [], [], [], {}
    for line in text.splitlines():
        bare = line.strip()
        key = re.match(r"^( *)(# )?([a-z_]+):(?: |$)(.*)$", line)
        if not bare:
            comment = []
        elif bare.startswith("#") and not (key and key[2] and key[4].startswith("{") and not key[1]):
            comment.append(bare.lstrip("# "))
        elif key:
            indent = len(key[1])
            while stack and stack[-1][0] >= indent:
                stack.pop()
            path = ".".join([name for _, name in stack] + [key[3]])
            stack.append((indent, key[3]))
            above = " ".join(comment)
            own = bool(comment) or indent not in last
            last = {depth: text for depth, text in last.items() if depth <= indent}
            last[indent] = above or last.get(indent, "")
            found.append(Entry(path, above, own, not key[4] or key[4].startswith("#")))
            comment = []
    return found


def node_of(schema: dict, path: str) -> dict:
    """The schema's node for a key; KeyError with the key's path where there is none."""
    for name in path.split("."):
        try:
            schema = schema["properties"][name]
        except KeyError:
            raise KeyError(f"{path} is in config.yaml, not in the schema") from None
    return schema


def leaves(schema: dict, prefix: str = "") -> list[str]:
    """Paths of all keys of the schema that have no keys below."""
    found = []
    for name, node in schema.get("properties", {}).items():
        below = leaves(node, f"{prefix}{name}.")
        found += below or [f"{prefix}{name}"]
    return found


def plain(value) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True).strip()
    return text.removesuffix("...").strip()


def bounds(node: dict) -> str:
    """The range of a number, in words."""
    pairs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    return ", ".join(f"{sign} {node[key]:,}" for key, sign in pairs if key in node)


def allowed(node: dict) -> str:
    """What values a key takes, in words."""
    if "enum" in node:
        return ", ".join(f"`{plain(value)}`" for value in node["enum"])
    for several in ("anyOf", "oneOf"):
        if several in node:
            return " or ".join(dict.fromkeys(allowed(one) for one in node[several]))
    types = node.get("type", "any value")
    types = types if isinstance(types, list) else [types]
    words = {"null": "`null`", "object": "mapping", "array": "list", "boolean": "`true`, `false`", "string": "text"}
    names = [words.get(name, name) for name in types if name != "null"]
    if "array" in types and "enum" in node.get("items", {}):
        names[names.index("list")] = f"list of {allowed(node['items'])}"
    if "object" in types and node.get("properties"):
        names[names.index("mapping")] = "keys " + ", ".join(f"`{key}`" for key in node["properties"])
    text = " or ".join(names)
    limits = bounds(node)
    return text + (f" {limits}" if limits else "") + (", or `null`" if "null" in types else "")


def cell(text: str) -> str:
    """Text for a cell of a table; `<` is escaped outside of code."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def page() -> str:
    """The text of docs/configuration.md."""
    text = CONFIG.read_text(encoding="utf-8")
    config, schema = yaml.safe_load(text), yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    found = entries(text)
    described = {entry.path for entry in found}
    covered = {path for leaf in leaves(schema) for path in described if leaf == path or leaf.startswith(f"{path}.")}
    missing = [leaf for leaf in leaves(schema) if not any(leaf == p or leaf.startswith(f"{p}.") for p in described)]
    if missing or not covered:
        raise SystemExit(f"in the schema, not in config.yaml: {', '.join(missing)}")

    def value(path):
        node = config
        for name in path.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        return node

    def short(entry):
        return entry.path.split(".", 1)[-1]

    tops = [entry for entry in found if "." not in entry.path]
    sections = [top for top in tops if top.section]
    lines = [HEAD]
    groups = [("Keys outside sections", "", [top for top in tops if not top.section])]
    groups += [
        (f"`{top.path}`", top.comment, [entry for entry in found if entry.path.startswith(f"{top.path}.")])
        for top in sections
    ]
    for title, comment, members in groups:
        lines.append(f"\n## {title}\n")
        if comment:
            lines.append(f"{comment}\n")
        lines.append("| key | default | allowed | meaning |\n|---|---|---|---|")
        rows = []
        for entry in members:
            if entry.section:
                if entry.comment:
                    rows.append([[f"`{short(entry)}`"], [""], [""], entry.comment])
                continue
            node = node_of(schema, entry.path)
            comment = entry.comment or node.get("description", "")
            given = value(entry.path)
            row = [[f"`{short(entry)}`"], [f"`{plain(given)}`"], [allowed(node)], comment]
            joins = not entry.own and rows and not comment and rows[-1][1] != [""]
            if joins and "." in entry.path:
                for column in range(3):
                    rows[-1][column] += row[column]
            else:
                rows.append(row)
        for keys, defaults, values, comment in rows:
            cells = [" <br> ".join(map(cell, column)) for column in (keys, defaults, values)]
            cells.append(cell(comment))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

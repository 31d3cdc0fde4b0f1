"""Makes config/config.yaml and docs/configuration.md from workflow/schemas/config.schema.yaml, the one source of keys.

    .venv/bin/python docs/make_configuration.py

Of each key the schema has a title (what it is, in a few words: messages quote it), a description where more is to be
said, the values allowed and the default. A key without a description of its own is explained by that of the key above
it. Titles, descriptions and defaults of the criteria's zones are those of cpgtaxa.taxa.criteria, and written into the
schema.
"""

import pathlib
import sys
import textwrap

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa.taxa.criteria import TABLE  # noqa: E402

PAGE = ROOT / "docs/configuration.md"
CONFIG = ROOT / "config/config.yaml"
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
WIDTH = 124
"""Columns of a comment in config.yaml."""

HEAD = """# Configuration

<!-- Made by docs/make_configuration.py from workflow/schemas/config.schema.yaml: edit that. -->

All keys with their defaults are in [config/config.yaml](../config/config.yaml). A file given
with `--configfile` is laid over it, key by key, so that yours needs to name only what differs; of several files the
last one wins. `--config seed=7 rounds="{max: 1}"` sets single keys. Unknown and mistyped
keys stop the run before it starts, all of them listed, each with the nearest right one. Relative paths are relative to
the working directory: the folder `snakemake` is started in, or that of `--directory`.

Complete examples: [demo](../config/demo/config.yaml), [blood cohort GSE40279](../config/examples/gse40279.yaml),
[biology](../config/examples/biology.yaml), [sorted cells](../config/examples/sorted_cells.yaml);
[two_cores.yaml](../config/two_cores.yaml) holds settings for a whole array on few cores.
"""

CONFIG_HEAD = """# Configuration of cpgtaxa. Every key is explained where it stands, and has the default shown.
# Relative paths are relative to the working directory (the folder `snakemake` is started in, or `--directory`).
# Made by docs/make_configuration.py from workflow/schemas/config.schema.yaml.
"""


def with_criteria(schema: dict) -> dict:
    """The schema with the zones of the table of criteria."""
    zones = schema["properties"]["taxa"]["properties"]["thresholds"]["properties"]
    for criterion in TABLE:
        quantity = criterion.quantity[0].upper() + criterion.quantity[1:]
        said = {
            "title": criterion.question,
            "description": f"{criterion.question} {quantity}. Why: {criterion.why}.",
        }
        low, high = (int(end) if end == int(end) else end for end in (criterion.low, criterion.high))
        rest = {key: value for key, value in zones[criterion.name].items() if key not in said}
        zones[criterion.name] = said | rest | {"default": {"no": low, "yes": high}}
    return schema


def written(schema: dict) -> str:
    """The text of the schema's file."""
    return yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=120)


def is_section(node: dict) -> bool:
    """Whether a key's own keys stand below it, and not in one line: some are explained, or have keys of their own."""
    below = node.get("properties", {}).values() if node.get("default", {}) is not None else ()
    return any({"description", "properties"} & set(one) for one in below)


def default(node: dict):
    """A key's value in config.yaml: its default, or those of the keys below."""
    if "default" in node or not node.get("properties"):
        return node.get("default")
    return {name: default(below) for name, below in node["properties"].items()}


def config_lines(properties: dict, indent: int = 0) -> list[str]:
    """Lines of config.yaml: keys with their defaults, below their descriptions."""
    lines, room = [], " " * indent
    for name, node in properties.items():
        if not indent:
            lines.append("")
        wrap = {"width": WIDTH, "initial_indent": f"{room}# ", "subsequent_indent": f"{room}# "}
        lines += textwrap.wrap(node.get("description", ""), break_long_words=False, break_on_hyphens=False, **wrap)
        if is_section(node):
            lines += [f"{room}{name}:", *config_lines(node["properties"], indent + 2)]
        else:
            lines.append(f"{room}{name}: {plain(default(node))}")
    return lines


def config_text(schema: dict) -> str:
    """The text of config/config.yaml."""
    return CONFIG_HEAD + "\n".join(config_lines(schema["properties"])) + "\n"


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


def row(name: str, node: dict) -> list:
    """Cells of a key's row: lists of keys, defaults and allowed values, and the meaning."""
    return [[f"`{name}`"], [f"`{plain(default(node))}`"], [allowed(node)], node.get("description") or node["title"]]


def rows(properties: dict, prefix: str = "") -> list[list]:
    """Rows of a section's table; keys that the description above explains too share its row."""
    found = []
    for name, node in properties.items():
        path = f"{prefix}{name}"
        if is_section(node):
            found.append([[f"`{path}`"], [""], [""], node.get("description", "")])
            found += rows(node["properties"], f"{path}.")
            continue
        own = row(path, node)
        if "description" in node or not found or found[-1][1] == [""]:
            found.append(own)
            continue
        for column in range(3):
            found[-1][column] += own[column]
        found[-1][3] += f"{'' if found[-1][3].endswith('.') else '.'} `{name}`: {own[3]}."
    return found


def page(schema: dict) -> str:
    """The text of docs/configuration.md."""
    tops = schema["properties"]
    alone = {name: node for name, node in tops.items() if not is_section(node)}
    lines = [HEAD]
    groups = [("Keys outside sections", "", alone)]
    for name, node in tops.items():
        if name not in alone:
            groups.append((f"`{name}`", node.get("description", f"{node.get('title', '')}."), node["properties"]))
    for title, text, members in groups:
        lines.append(f"\n## {title}\n")
        if text:
            lines.append(f"{text}\n")
        lines.append("| key | default | allowed | meaning |\n|---|---|---|---|")
        for keys, defaults, values, meaning in rows(members):
            cells = [" <br> ".join(map(cell, column)) for column in (keys, defaults, values)]
            lines.append("| " + " | ".join([*cells, cell(meaning)]) + " |")
    return "\n".join(lines) + "\n"


def texts() -> dict[pathlib.Path, str]:
    """What each of the three files holds."""
    schema = with_criteria(yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))
    return {SCHEMA: written(schema), CONFIG: config_text(schema), PAGE: page(schema)}


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")

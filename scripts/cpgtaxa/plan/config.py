"""Checking the configuration.

Runs inside the workflow manager's own environment: nothing but the standard library, yaml and jsonschema.
"""

import copy
import difflib
import math
import pathlib
import re

import jsonschema
import yaml

from cpgtaxa.errors import InputError

TYPES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "a section (indented keys)",
    "array": "a list",
    "null": "empty",
}
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
    "minItems": "{} or more items",
    "maxItems": "{} or fewer items",
    "minLength": "{} or more characters",
    "pattern": "of the form {}",
}


def check_config(config: dict, schema: pathlib.Path) -> dict:
    """A copy of `config` with the schema's defaults filled in at every level.

    `schema` is a JSON Schema (draft 2020-12) written in YAML; `default:` gives what stands for an absent key,
    `title:` says in messages what a key is. A section left empty is a section with all its defaults. Every problem
    is listed in one InputError: its path, what was found, what to write instead.
    """
    rules = _rules(schema)
    filled = _fill(copy.deepcopy(config), rules, rules)
    problems = []
    validator = jsonschema.Draft202012Validator(rules)
    for error in sorted(validator.iter_errors(filled), key=lambda error: [str(part) for part in error.path]):
        problems += _explain(error, rules)
    problems += _unusable(filled)
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    return filled


NAMES = (
    ("cohort", "only"),
    ("cohort", "columns"),
    ("cohort", "one_per"),
    ("cohort", "object"),
    ("cohort", "filters"),
    ("adjust", "covariates"),
    ("annotation", "columns"),
    ("cell_types", "fractions"),
    ("compare", "cohorts"),
    ("ecg_age", "lead_names"),
    ("enrichment", "sets"),
    ("expression", "train_on"),
    ("scores", "signature"),
    ("single_cell", "profiles"),
    ("summarise", "sexes"),
    ("pool", "summaries"),
)
"""Sections of which every key and value is a name, never a number."""
SURE = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z_][\w .-]*", re.IGNORECASE)
"""Keys that YAML reads as text."""


def as_written(config: dict, paths) -> dict:
    """A copy of `config` in which the names of NAMES are text as the files have it.

    YAML makes numbers and truth values of 1_2, 010, 12:30 and no. paths: the config files, those that win first; what
    none of them has (`--config`) stays as it is. Where cpgtaxa is a module, its config may be a section of a file.
    Raises InputError for keys that are there twice, or that YAML takes for the same, of which it keeps the last.
    """
    texts = [pathlib.Path(path).read_text(encoding="utf-8") for path in paths]
    safe, base = getattr(yaml, "CSafeLoader", yaml.SafeLoader), getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    if twice := [problem for path, text in zip(paths, texts, strict=True) for problem in _twice(path, text)]:
        raise InputError(twice)
    files = [pair for text in texts for pair in _parts(safe(text).get_single_data(), base(text).get_single_data())]
    config = dict(config)
    for section, key in NAMES:
        if isinstance(config.get(section), dict) and key in config[section]:
            value = config[section][key]
            for read, written in files:
                if isinstance(read, dict) and isinstance(read.get(section), dict) and key in read[section]:
                    value = _spelled(value, read[section][key], written[section][key])
            config[section] = {**config[section], key: value}
    return config


def _twice(path, text: str) -> list[str]:
    """Keys of a section of a file that YAML takes for one."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        nodes, found = [loader.get_single_node()], []
    finally:
        loader.dispose()
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        seen = {}
        for key, value in node.value:
            nodes.append(value)
            plain = isinstance(key, yaml.ScalarNode) and key.value != "<<"
            sure = plain and (key.style or SURE.fullmatch(key.value))
            name = key.value if sure else yaml.safe_load(key.value) if plain else id(key)
            if name in seen:
                before, line = seen[name]
                both = f"{before!r} and {key.value!r}" if before != key.value else repr(before)
                lines = f"{line} and {key.start_mark.line + 1}"
                found.append(
                    f"{path}: {both} (lines {lines}) is one key to YAML, which keeps the last: remove or rename one, "
                    "and put names that look like numbers in quotes"
                )
            seen[name] = (key.value, key.start_mark.line + 1)
    return found


def from_command_line(config: dict, given: dict) -> dict:
    """A copy of `config` with numbers, true, false and null in place of their texts, as a file would have them.

    Of `--config rounds="{max: 1}"` Snakemake makes the text 1. given: what the command line says, as Snakemake read it.
    Names (NAMES) stay text. Where cpgtaxa is a module, its config may be a section of what is given.
    """
    for part in (given, *(inner for inner in given.values() if isinstance(inner, dict))):
        config = _typed(config, part, ())
    return config


def _typed(value, given, path: tuple):
    """A value of the config with what the texts given stand for, where it is what was given."""
    if path in NAMES:
        return value
    if isinstance(value, dict) and isinstance(given, dict):
        return {key: _typed(one, given[key], (*path, key)) if key in given else one for key, one in value.items()}
    if isinstance(value, list) and isinstance(given, list) and len(value) == len(given):
        return [_typed(one, its, (*path, at)) for at, (one, its) in enumerate(zip(value, given, strict=True))]
    if not isinstance(value, str) or value != given:
        return value
    try:
        meant = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    return meant if meant is None or isinstance(meant, (bool, int, float)) else value


def _parts(read, written) -> list[tuple]:
    """A file as read and as written, and its sections, the same way."""
    if not isinstance(read, dict):
        return []
    inner = zip(read.values(), written.values(), strict=True) if len(read) == len(written) else ()
    return [(read, written), *(pair for pair in inner if isinstance(pair[0], dict))]


def _spelled(value, read, written):
    """A value of the config with text in place of what YAML read as something else, where it is what a file has."""
    if isinstance(value, dict) and isinstance(read, dict) and len(read) == len(written):
        spelled = dict(zip(read, written.items(), strict=True))
        found = {}
        for key, inner in value.items():
            name, text = spelled.get(key, (key, None))
            found[name] = _spelled(inner, read.get(key), text)
        return found
    if isinstance(value, list) and isinstance(read, list) and len(value) == len(read):
        return [_spelled(*three) for three in zip(value, read, written, strict=True)]
    if value is None or isinstance(value, str) or type(value) is not type(read) or value != read:
        return value
    return written if isinstance(written, str) else value


def _unusable(value, path: tuple = ()) -> list[str]:
    """What no key takes, and no schema can say: numbers that are none, and text with control characters.

    A line break in a file's name would end up in logs, tables and the workflow's records.
    """
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in _unusable(item, (*path, key))]
    if isinstance(value, list):
        return [text for number, item in enumerate(value) for text in _unusable(item, (*path, number))]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"`{_path(path)}` is {value}: write a finite number"]
    if isinstance(value, str) and any(
        ord(sign) < 32 or 127 <= ord(sign) < 160 or "\ud800" <= sign <= "\udfff" for sign in value
    ):
        return [
            f"`{_path(path)}` is the text {value!r}: it holds a line break or another control character; "
            "remove it, and rename a file called so"
        ]
    return []


# --- defaults --------------------------------------------------------------------------------------------------------


def _rules(schema: pathlib.Path) -> dict:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where it is there, is ten times as fast
    return loader(pathlib.Path(schema).read_text(encoding="utf-8")).get_single_data()


def defaults(schema: pathlib.Path, section: str) -> dict:
    """What a section of the config holds where the user's says nothing of it."""
    rules = _rules(schema)
    return _fill({}, rules["properties"][section], rules)


def _resolved(rule, root: dict) -> dict:
    """A rule with its local `$ref` followed; what stands beside the reference wins."""
    while isinstance(rule, dict) and rule.get("$ref", "").startswith("#"):
        target = root
        for part in rule["$ref"].lstrip("#/").split("/"):
            target = target[part] if part else target
        rule = target | {key: value for key, value in rule.items() if key != "$ref"}
    return rule if isinstance(rule, dict) else {}


def _types(rule: dict) -> list[str]:
    kinds = rule.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _fill(value, rule: dict, root: dict):
    """`value` with defaults, following `rule`; what does not fit the rule is left for the validation to name."""
    rule = _resolved(rule, root)
    kinds = _types(rule)
    if value is None and "object" in kinds and "null" not in kinds:
        value = {}
    if isinstance(value, float) and value.is_integer() and "integer" in kinds and "number" not in kinds:
        return int(value)  # 40.0 and 4e1 are whole numbers to JSON Schema, but not to Python's range
    if isinstance(value, list) and isinstance(rule.get("items"), dict):
        return [_fill(item, rule["items"], root) for item in value]
    if not isinstance(value, dict):
        return value
    known = rule.get("properties", {})
    others = rule.get("additionalProperties")
    if "no" in known:
        # YAML reads a bare no and yes as false and true: what the user wrote wins over the default's quoted keys.
        value = value | {word: value[key] for key, word in ((False, "no"), (True, "yes")) if key in value}
        value = {key: item for key, item in value.items() if not isinstance(key, bool)}
    filled = {}
    for key, item in value.items():
        inner = known.get(key, others if isinstance(others, dict) else None)
        filled[key] = item if inner is None else _fill(item, inner, root)
    for key, inner in known.items():
        inner = _resolved(inner, root)
        blank = key not in filled or (filled[key] is None and "null" not in _types(inner))
        if blank and "default" in inner:
            filled[key] = _fill(inner["default"], inner, root)
        elif key not in filled and "object" in _types(inner) and "properties" in inner:
            # An absent optional section with keys that have no default stays absent.
            section = _fill({}, inner, root)
            if key in rule.get("required", []) or all(name in section for name in inner.get("required", [])):
                filled[key] = section
    return filled


# --- messages --------------------------------------------------------------------------------------------------------


def _path(parts) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if type(part) is int else f".{part}" if text else str(part)
    return text


def _found(value) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a section (indented keys)"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"the text {value!r}"
    return repr(value)


def _about(rule) -> str:
    """What a rule is for, by its title, in brackets."""
    text = " ".join(str(rule.get("title", "")).split()) if isinstance(rule, dict) else ""
    sentence = text.split(". ")[0].rstrip(".")
    return f" ({sentence})" if sentence else ""


def _expected(rule: dict) -> str:
    """What a rule allows, in words."""
    if "enum" in rule:
        return "one of " + ", ".join(str(value) if value is not None else "empty" for value in rule["enum"])
    if "const" in rule:
        return str(rule["const"])
    text = " or ".join(TYPES[kind] for kind in _types(rule)) or "something else"
    for key, words in BOUNDS.items():
        text += f", {words.format(rule[key])}" if key in rule else ""
    return text


def _sections(rule: dict, root: dict, path: tuple = ()):
    """Every key of the schema with the path of its section."""
    for key, inner in _resolved(rule, root).get("properties", {}).items():
        yield path, key
        yield from _sections(inner, root, (*path, key))


def _unknown(key, section: tuple, known, root: dict) -> str:
    where = _path([*section, key])
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(key), names, 1, 0.6)
    if close:
        return f"unknown key `{where}`: did you mean `{_path([*section, close[0]])}`?"
    elsewhere = [_path([*path, name]) for path, name in _sections(root, root) if name == key]
    if elsewhere:
        return f"unknown key `{where}`: did you mean `{elsewhere[0]}`?"
    return f"unknown key `{where}`: " + (
        f"the keys of {f'`{_path(section)}`' if section else 'the configuration'} are {', '.join(names)}"
        if names
        else "remove it"
    )


def _explain(error, root: dict) -> list[str]:
    path, rule, value = tuple(error.absolute_path), _resolved(error.schema, root), error.instance
    where = _path(path) or "the configuration"
    kind = error.validator
    if kind == "additionalProperties":
        known = rule.get("properties", {})
        return [_unknown(key, path, known, root) for key in value if key not in known]
    if kind == "required":
        lacking = [key for key in error.validator_value if key not in value]
        return [
            f"`{_path([*path, key])}` is missing: write {_expected(_resolved(inner, root))}"
            f"{_about(_resolved(inner, root))}"
            for key in lacking
            for inner in [rule.get("properties", {}).get(key, {})]
        ]
    if kind in ("anyOf", "oneOf"):
        choices = [_resolved(choice, root) for choice in error.validator_value]
        inside = [inner for inner in error.context if inner.path and inner.validator != "type"]
        if inside:  # one of the choices has the right shape: say what is wrong in there
            return [text for inner in inside for text in _explain(inner, root)]
        return [f"`{where}` is {_found(value)}: write {' or '.join(map(_expected, choices))}{_about(rule)}"]
    if kind == "enum":
        texts = [str(choice) for choice in rule["enum"]]
        close = difflib.get_close_matches(str(value), texts, 1, 0.6)
        remedy = f"did you mean {close[0]}? It is" if close else "write"
        if isinstance(value, bool) and {"yes", "no", "on", "off"} & set(texts):
            remedy = 'in quotes ("no", "off"), write'  # YAML reads a bare no as false
        return [f"`{where}` is {_found(value)}: {remedy} {_expected(rule)}{_about(rule)}"]
    if kind == "type" and isinstance(value, str) and {"number", "integer"} & set(_types(rule)):
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            # YAML takes 1e-6 for text; it wants a point: 1.0e-6.
            written = value if "e" not in value.lower() else f"{number:.1e}" if number else "0.0"
            return [f"`{where}` is {_found(value)}: write {written} without quotes{_about(rule)}"]
    if kind in ("type", "const") or kind in BOUNDS:
        return [f"`{where}` is {_found(value)}: write {_expected(rule)}{_about(rule)}"]
    return [f"`{where}`: {error.message}{_about(rule)}"]

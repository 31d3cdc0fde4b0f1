# Where files lie in a storage, a job sees none but those declared: its files' checksums are inputs and outputs as well.

from cpgtaxa.files import note_of
from snakemake.io import apply_wildcards, is_callable, is_flagged, strip_wildcard_constraints

PREFIX = workflow.storage_settings.default_storage_prefix
PREFIX = f"{PREFIX.removesuffix('/')}/" if PREFIX else ""


def stored_name(item):
    """A file of the storage as its rule declares it, wildcards included."""
    return strip_wildcard_constraints(item.storage_object.query).removeprefix(PREFIX)


def all_paths(found):
    """The paths in what an input function gives: one, or lists and dicts of them."""
    if isinstance(found, dict):
        found = list(found.values())
    return [path for one in found for path in all_paths(one)] if isinstance(found, list) else [str(found)]


def notes_of(paths):
    """Where the checksums of files lie, of those that have one."""
    return [str(note) for path in paths if (note := note_of(path))]


def checksums_read(items):
    """Input function: the checksums of what a rule's inputs are."""

    def find(wildcards):
        paths = []
        for item in items:
            if getattr(item, "is_storage", False):
                paths.append(apply_wildcards(stored_name(item), wildcards))
            elif is_callable(item):
                item = getattr(item, "_file", item)
                paths += all_paths(getattr(item, "callable", item)(wildcards))
        return notes_of(paths)

    return find


for proxy in rules._rules.values():
    proxy.rule.set_input(checksums_read(list(proxy.rule.input)))
    files = [item for item in proxy.rule.output if not is_flagged(item, "directory")]
    proxy.rule.set_output(*notes_of(map(stored_name, files)))

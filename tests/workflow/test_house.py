"""The house in order: one stem per rule, environments that hold what the scripts import, documented keys."""

import ast
import pathlib
import re
import runpy
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from cpgtaxa.files import sha256
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.sources import library_files

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


def generated(path):
    """What a script that makes files says they hold."""
    return runpy.run_path(str(ROOT / path))["texts"]()


def test_each_environment_holds_what_its_script_imports():
    for path, text in generated("envs/make_environments.py").items():
        assert path.read_text() == text, f"{path.name}: run envs/make_environments.py"


def test_one_stem_names_rule_script_environment_log_and_benchmark():
    rules = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        pieces = re.split(r"^\s*(?:rule|checkpoint) (\w+):", path.read_text(), flags=re.M)
        rules |= dict(zip(pieces[1::2], pieces[2::2], strict=True))
    assert set(rules) == {script.stem for script in SCRIPTS}
    for name, text in rules.items():
        assert f'"../../scripts/{name}.py"' in text
        assert f'"../../envs/{name}.yaml"' in text
        assert re.search(rf'log:\s+"results/logs/{name}[._]', text), name
        assert re.search(rf'benchmark:\s+"results/benchmarks/{name}[._]', text), name


def make(*arguments):
    command = ["make", "--no-print-directory", *arguments, f"PYTHON={sys.executable}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_slow_tests_are_each_in_one_part_and_help_lists_the_parts():
    reported = make("help").stdout
    listed = re.findall(r"^ {18}([a-z-]+) ", reported, re.M)
    parts = {
        part: re.findall(r"-m slow (.*)$", make("-n", "test-slow", f"PART={part}").stdout, re.M) for part in listed
    }
    assert {"faults", "kills", "slurm", "mutations", "determinism", "reruns", "benchmarks"} <= set(parts)
    named = [path for part in parts.values() for line in part for path in line.split()]
    slow = [path for path in (ROOT / "tests").rglob("test_*.py") if "mark.slow" in path.read_text()]
    slow = [path.relative_to(ROOT).as_posix() for path in slow if path.name != "test_house.py"]
    assert len(slow) > 15
    assert {path: sum(f"{path}/".startswith(f"{one}/") for one in named) for path in slow} == dict.fromkeys(slow, 1)
    whole = make("-n", "test-slow").stdout
    assert re.findall(r"-m slow (.*)$", whole, re.M) == [line for part in parts.values() for line in part]
    assert "tests/benchmarks/label_quality.py" in whole


def test_a_part_that_does_not_exist_stops_with_those_that_do():
    done = make("test-slow", "PART=kill")
    assert done.returncode != 0
    assert "PART=kill is none of: faults kills" in done.stderr


@pytest.mark.parametrize("path", [*(ROOT / "config").rglob("*.yaml")], ids=lambda path: path.stem)
def test_every_config_that_ships_is_valid(path):
    check_config(yaml.safe_load(path.read_text()), SCHEMA)


def test_the_shipped_network_is_what_its_checksums_say():
    folder = ROOT / "resources/reference"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    assert set(listed) == {path.name for path in folder.glob("ResNet18_*")}
    assert all(sha256(folder / name) == digest for name, digest in listed.items())
    assert sum(path.stat().st_size for path in folder.iterdir()) < 25e6


def test_nothing_names_a_machine_or_copies_real_data():
    apart = {
        ".git",
        ".venv",
        ".venv-docs",
        "site",
        ".snakemake",
        "results",
        "__pycache__",
        ".pytest_cache",
        ".ruff_cache",
        ".hypothesis",
    }
    tracked = [path for path in ROOT.rglob("*") if path.is_file() and path.suffix not in {".png", ".gz", ".npy"}]
    tracked = [path for path in tracked if not apart & set(path.relative_to(ROOT).parts)]
    assert {"Dockerfile", "Makefile", "run", "full_array.csv"} <= {path.name for path in tracked}
    for path in tracked:
        assert not re.search(r"(?<![\w.])/(?:root|home|work|opt|tmp)/[a-z]", path.read_text(errors="replace")), path


GROUND = {"cohort", "errors", "files", "job", "names", "progress", "seeds", "small_sort", "threads", "wording"}
"""Modules that all rooms stand on."""
LIBRARY = ROOT / "scripts/cpgtaxa"


def library_imports() -> dict[str, set[str]]:
    """By module of the library, the other modules that it imports anywhere."""
    places = {}
    for path in LIBRARY.rglob("*.py"):
        parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
        places[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found = {name: set() for name in places}
    for name, path in places.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "cpgtaxa":
                wanted = [f"{node.module}.{alias.name}" for alias in node.names]
                found[name] |= {full if full in places else node.module for full in wanted} - {name}
    return found


def room_of(name: str) -> str:
    """The folder of a module in the library; ground for a module without one."""
    part = name.split(".")[1] if "." in name else ""
    return part if part and (LIBRARY / part).is_dir() else "ground"


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Nodes of a graph from which a way leads back to them."""

    def reached(start):
        seen, waiting = set(), [start]
        while waiting:
            for node in graph.get(waiting.pop(), ()):
                if node not in seen:
                    seen.add(node)
                    waiting.append(node)
        return seen

    return sorted(node for node in graph if node in reached(node))


def test_only_the_ground_floor_lies_flat_and_it_imports_nothing_above():
    assert {path.stem for path in LIBRARY.glob("*.py")} - {"__init__"} == GROUND
    above = {name: {room_of(one) for one in found} - {"ground"} for name, found in library_imports().items()}
    assert not {name: rooms for name, rooms in above.items() if rooms and room_of(name) == "ground"}


def test_no_imports_run_in_circles_neither_of_modules_nor_of_rooms():
    graph = library_imports()
    assert len(graph) > 100
    assert circles(graph) == []
    rooms: dict[str, set[str]] = {}
    for name, found in graph.items():
        rooms.setdefault(room_of(name), set()).update({room_of(one) for one in found} - {room_of(name)})
    assert circles(rooms) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


PAGES = ("pages/", "report/", "explorer/", "explain/", "targets/", "plan/terminal.py", "plan/main.py")
MAIN_JOB = [
    "cohort",
    "adjust",
    "compute_statistics",
    "gather_statistics",
    "define_taxa",
    "use_labels",
    "simulate_training",
    "split",
    "enlarge",
    "render",
    "use_images",
    "train",
    "use_weights",
    "predict",
    "predict_test",
    "evaluate",
    "simulate_calibration",
    "predict_calibration",
    "reassign",
    "taxonomy",
    "annotation",
    "age_ewas",
    "predict_images",
    "patterns",
    "gather_patterns",
]


@pytest.mark.parametrize("stem", MAIN_JOB)
def test_no_page_and_no_companion_lies_behind_the_main_job(stem):
    """Library files are inputs of the rules that import them: an edit of a page or a companion reruns none of these."""
    files = [str(pathlib.Path(path).relative_to(LIBRARY)) for path in library_files(ROOT / f"scripts/{stem}.py")]
    assert "names.py" in files
    assert not [path for path in files if path.startswith(PAGES)]

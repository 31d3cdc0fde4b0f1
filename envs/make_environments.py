"""Makes the conda environment of each rule, envs/RULE.yaml: what scripts/RULE.py and the library under it import.

    .venv/bin/python envs/make_environments.py

Versions are the pins of envs/requirements.txt.
"""

import ast
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from cpgtaxa.plan.sources import library_files  # noqa: E402

PYTHON = "3.11"
PACKAGES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "sklearn": "scikit-learn", "PIL": "pillow"}
PACKAGES |= {"yaml": "pyyaml"}
"""Packages on conda-forge that are called otherwise than the module imported."""
PINNED = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
"""Packages called otherwise in requirements.txt."""
INCLUDED = {"llvmlite", "markupsafe"}
"""Modules that come with another package of the same environment."""
NEEDED = {"pandas": {"numpy", "pyarrow"}}
"""What a module needs that nothing imports: pandas reads Parquet by way of pyarrow."""


def imports(script: pathlib.Path) -> set[str]:
    """Names of the modules, neither of Python's own library nor ours, that a script imports."""
    found = set()
    for path in (script, *map(pathlib.Path, library_files(script))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - INCLUDED - {"cpgtaxa"}


def environment(script: pathlib.Path) -> str:
    """The text of a script's environment file. KeyError: a package without a pin."""
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "envs/requirements.txt").read_text(encoding="utf-8"), re.M))
    modules = imports(script)
    modules |= {more for module in modules for more in NEEDED.get(module, ())}
    packages = sorted(PACKAGES.get(module, module) for module in modules)
    lines = [f"python={PYTHON}", *(f"{package}={pins[PINNED.get(package, package)]}" for package in packages)]
    return "channels:\n  - conda-forge\n  - nodefaults\ndependencies:\n" + "".join(f"  - {line}\n" for line in lines)


def texts() -> dict[pathlib.Path, str]:
    """Environment files and what each holds."""
    scripts = sorted((ROOT / "scripts").glob("*.py"))
    return {ROOT / f"envs/{script.stem}.yaml": environment(script) for script in scripts}


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")

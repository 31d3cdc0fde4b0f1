"""The tests are tested: each breakage of the library makes a fast test fail."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from mutations.breakages import BREAKAGES, LIBRARY

ROOT = pathlib.Path(__file__).resolve().parents[2]
IDS = [breakage.name for breakage in BREAKAGES]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository; compiled code stays in it from one breakage to the next."""
    folder = tmp_path_factory.mktemp("broken") / "cpgtaxa"
    left = shutil.ignore_patterns(".*", "results", "site", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=left, symlinks=True)
    return folder


@pytest.mark.parametrize("breakage", BREAKAGES, ids=IDS)
def test_the_text_that_is_broken_stands_once(breakage):
    assert (ROOT / LIBRARY / breakage.file).read_text().count(breakage.old) == 1


@pytest.mark.slow
@pytest.mark.parametrize("breakage", BREAKAGES, ids=IDS)
def test_a_fast_test_notices(copy, breakage):
    path = copy / LIBRARY / breakage.file
    whole = path.read_text()
    path.write_text(whole.replace(breakage.old, breakage.new))
    try:
        tests = [f"tests/unit/{name}.py" for name in breakage.tests.split()]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests],
            cwd=copy,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
    finally:
        path.write_text(whole)
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    # By an assertion, not because the breakage is no Python.
    assert not {"SyntaxError", "NameError"} & set(re.findall(r"\w+Error", done.stdout)), done.stdout[-2000:]

"""Snakemake runs that are watched from outside while they run, and ended by force."""

import os
import pathlib
import re
import signal
import subprocess
import time

from conftest import call

VARIES = ("logs", "benchmarks", "report", "report.html", "summary.txt", ".checksums", "metrics.json")
"""Files that hold times of day or durations, and those that sum them up."""


class Started:
    """A Snakemake run in a session of its own; its output goes to `output.txt` in the folder."""

    def __init__(self, folder, *arguments, **settings):
        self.folder = pathlib.Path(folder).resolve()
        self.process = None
        settings = call(self.folder, *arguments, **settings)
        with open(self.folder / "output.txt", "w") as output:
            self.process = subprocess.Popen(**settings, stdout=output, stderr=output, start_new_session=True)

    @property
    def text(self) -> str:
        return (self.folder / "output.txt").read_text()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def jobs(self) -> dict[int, str]:
        """Rule by process id of the jobs that run now."""
        return {pid: rule for pid, rule in jobs(self.folder).items() if session(pid) == self.process.pid}

    def held(self, timeout=600) -> int:
        """Process id of the first job that starts, which is stopped until it gets SIGCONT."""
        pid = wait_until(lambda: list(self.jobs()) or self.ended(), timeout)[0]
        os.kill(pid, signal.SIGSTOP)
        return pid

    def wait(self, timeout=600) -> int:
        return self.process.wait(timeout)

    def kill_all(self):
        """SIGKILL for every process of the session at once, as when a machine goes down."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_snakemake(self):
        """SIGKILL for the main process only."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def jobs(folder) -> dict[int, str]:
    """Rule by process id of all jobs that run in a folder, whoever started them."""
    scripts = re.compile(re.escape(f"{pathlib.Path(folder).resolve()}/.snakemake/scripts/") + r"tmp[^.]+\.(\w+)\.py")
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            match = scripts.search(line)
            if match and not line.startswith("/bin/bash"):
                found[int(entry.name)] = match.group(1)
    return found


def leftovers(folder) -> list[str]:
    """Temporary files and checkpoints under results."""
    results = pathlib.Path(folder) / "results"
    return sorted(
        str(path.relative_to(results))
        for path in results.rglob("*")
        if path.name.endswith(".partial") or path.name == ".checkpoints"
    )


def contents(folder) -> dict[str, bytes]:
    """Every file under results that must not depend on when and how often it was made, by its path."""
    results = pathlib.Path(folder) / "results"
    found = {}
    for path in sorted(results.rglob("*")):
        relative = path.relative_to(results)
        if path.is_file() and not set(relative.parts) & set(VARIES) and not path.name.endswith("_training_log.csv"):
            found[str(relative)] = path.read_bytes()
    return found


def assert_same(folder, expected: dict[str, bytes]) -> None:
    """A folder's results are those expected, byte by byte."""
    found = contents(folder)
    assert sorted(found) == sorted(expected)
    different = [path for path in expected if found[path] != expected[path]]
    assert different == []


def wait_until(condition, timeout=600.0, step=0.002):
    """What `condition()` returns once it is true."""
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited {timeout} s in vain"
        time.sleep(step)

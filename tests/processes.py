"""Snakemake runs that are watched from outside while they run, and ended by force."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

from conftest import call, snakemake

VARIES = ("logs", "benchmarks", "report", "report.html", "summary.txt", ".checksums", "metrics.json")
"""Files that hold times of day or durations, and those that sum them up."""


OUTPUTS = {
    "explorer": ["explorer.html", "explorer"],
    "report": [
        "report.html",
        "summary.txt",
        "report/figures",
        *(f"report/{name}.csv" for name in ("counts", "left", "agreement", "thresholds", "selection", "rounds")),
        *(f"report/{name}.csv" for name in ("tests", "gallery")),
    ],
    "age_ewas": ["age_ewas.csv.gz", "age_ewas.json"],
    "embedding": [
        f"embedding/{name}" for name in ("map.csv", "map.svg", "map.pdf", "map.png", "separability.csv", "clusters.csv")
    ],
    "gather_patterns": ["patterns.parquet", "patterns.csv.gz"],
    "patterns": ["patterns/shards/0-of-2.parquet"],
    "taxonomy": ["taxonomy.parquet", "taxonomy.csv.gz", "unclassified.parquet"],
    "reassign": [
        f"round_1/{name}"
        for name in ("reassigned.parquet", "reassigned.json", "left.parquet", "calibration_placed.parquet")
    ],
    "predict_calibration": ["round_1/calibration.parquet"],
    "predict": ["round_1/predictions/0-of-2.parquet"],
    "evaluate": ["round_1/metrics.json"],
    "predict_test": ["round_1/MixResNet18_predictions.csv"],
    "train": [f"round_1/MixResNet18_{name}" for name in ("best_model.pt", "model.json", "training_log.csv")],
    "render": ["round_1/images.arrow", "round_1/CpG_image"],
    "enlarge": [f"round_1/{part}_info.csv" for part in ("training", "val", "test")],
    "split": [f"round_0/{part}_info.csv" for part in ("training", "val", "test")],
    "define_taxa": ["taxa/statistical.parquet"],
    "gather_statistics": ["statistics/statistics.parquet"],
    "compute_statistics": ["statistics/shards/0-of-2.parquet"],
    "simulate_calibration": ["calibration/beta.arrow", "calibration/truth.parquet"],
    "simulate_training": ["simulated/images.arrow", "simulated/info.parquet", "simulated/CpG_image"],
    "cohort": ["cohort/beta.arrow", "cohort/samples.parquet", "cohort/cpgs.parquet", "cohort/qc.json", "cohort/qc.csv"],
    "simulate_cohort": [f"simulated_cohort/{name}" for name in ("beta.csv.gz", "samples.csv", "truth.csv")],
}
OUTPUTS["embedding"] += ["embedding/summary.json", "embedding/neighbours.csv"]
OUTPUTS["train"] += [f"round_1/MixResNet18_{name}" for name in ("normalization_stat.json", "features.npy")]
"""What each rule writes (the last round's), downstream first: remaking one leaves those still to come untouched."""


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

    def jobs(self) -> dict[int, tuple[str, int | None]]:
        """Rule and round by process id of this run's jobs that run now."""
        return {pid: job for pid, job in jobs(self.folder).items() if session(pid) == self.process.pid}

    def held(self, timeout=600) -> int:
        """Process id of the first job that starts, which is stopped until it gets SIGCONT."""
        pid = wait_until(lambda: list(self.jobs()) or self.ended(), timeout)[0]
        os.kill(pid, signal.SIGSTOP)
        return pid

    def wait(self, timeout=600) -> int:
        return self.process.wait(timeout)

    def kill_all(self):
        """SIGKILL for every process of the session at once, as when a machine goes down."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_snakemake(self):
        """SIGKILL for the main process only."""
        self.process.kill()
        self.process.wait()


def session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def jobs(folder) -> dict[int, tuple[str, int | None]]:
    """Rule and round (None where it has none) by process id of all jobs that run in a folder, whoever started them."""
    scripts = re.compile(re.escape(f"{pathlib.Path(folder).resolve()}/.snakemake/scripts/") + r"tmp[^.]+\.(\w+)\.py")
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                script = scripts.search(line)
                if script is None or "bash" in line.split("\0")[0]:
                    continue
                # Snakemake writes the job's files into the script, its log among them.
                log = rb"results/logs/" + script.group(1).encode() + rb"(?:_(\d+)(?!-of|\d))?"
                number = re.search(log, pathlib.Path(script.group()).read_bytes())
            except OSError:
                continue
            if number:
                found[int(entry.name)] = script.group(1), number.group(1) and int(number.group(1))
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
    # With messages, since pytest explains assertions of test files only.
    odd = sorted(set(found) ^ set(expected))
    assert odd == [], odd
    different = [path for path in expected if found[path] != expected[path]]
    assert different == [], different


def assert_finishes_as(folder, expected: dict[str, bytes]) -> None:
    """The run in a folder goes on to its end, with the results expected, byte by byte."""
    run = snakemake(folder)
    assert run.code == 0, run.text
    assert_same(folder, expected)


def killed_when(folder, target: str, pattern: str, config) -> None:
    """Run a target, kill all of it, as when a machine goes down, once a file of the pattern is there; and unlock."""
    started = Started(folder, target, config=config)
    try:
        wait_until(lambda: list(pathlib.Path(folder).glob(pattern)) or started.ended(), 300)
        assert not started.ended(), started.text
    finally:
        started.kill_all()
    unlocked = snakemake(folder, target, "--unlock", config=config)
    assert unlocked.code == 0, unlocked.text


def wait_until(condition, timeout=600.0, step=0.01):
    """What `condition()` returns once it is true."""
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited {timeout} s in vain"
        time.sleep(step)

"""Killed runs: each goes on where it stood, and ends in the very files of an undisturbed run."""

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, TINY, copy_run, merged, snakemake
from cpgtaxa.errors import InputError
from cpgtaxa.files import atomic, atomic_folder
from cpgtaxa.job import OWNER, identity
from processes import OUTPUTS, Started, assert_finishes_as, assert_same, contents, jobs, leftovers, wait_until

ONCE = ("simulate_cohort", "cohort", "simulate_training", "compute_statistics", "gather_statistics", "define_taxa")
ONCE += ("split", "simulate_calibration", "taxonomy", "embedding", "report")
EACH_ROUND = ("render", "train", "predict_test", "evaluate", "predict", "predict_calibration", "reassign")
VICTIMS = ("everything", "the job", "Snakemake")
MOMENTS = ("at random", "at random", "in a write")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of this test's runs."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def durations(folder) -> dict[str, float]:
    """Seconds a job of each rule takes at most, from the run's own benchmarks; compilation in a first run left out."""
    found = {}
    for path in (folder / "results/benchmarks").glob("*.tsv"):
        rule = re.match(r"[a-z_]+[a-z]", path.stem).group()
        seconds = float(pd.read_csv(path, sep="\t")["s"].iloc[-1])
        found[rule] = max(found.get(rule, 0), min(seconds, 15))
    return found


def partial_there(folder) -> bool:
    return any(name.endswith(".partial") for _, _, names in os.walk(folder / "results") for name in names)


def lose(folder, rule, number) -> None:
    """Delete a file that a job wrote, and what is made of it where nothing else would ask for it again."""
    path = OUTPUTS[rule][0] if number != 0 else OUTPUTS[rule][0].replace("_1/", "_0/").replace("MixRes", "Res")
    (folder / "results" / path).unlink(missing_ok=True)
    if rule == "simulate_calibration":
        lose(folder, "predict_calibration", 0)
    if rule == "split":  # a kill as it ends takes the images with it, for which only a training asks
        lose(folder, "train", 0)
    if rule == "predict_calibration":
        lose(folder, "reassign", number)


def strike(run, pid, victim) -> bool:
    """Kill one job, or Snakemake, or everything; unlock the folder as a user would where Snakemake could not.

    False if the job had just ended.
    """
    if victim == "the job" and pid in run.jobs():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            assert run.wait() != 0
            return True
    in_time = pid in run.jobs()
    run.kill_all() if victim == "everything" else run.kill_snakemake()
    unlocked = snakemake(run.folder, "--unlock")
    assert unlocked.code == 0, unlocked.text
    return in_time


def one_kill(folder, targets, rng, usual, victim, moment):
    """Start the run, kill at the first job that is a target. Returns that job (rule, round) and the moment in words."""
    run = Started(folder)

    def target():
        return [(pid, job) for pid, job in run.jobs().items() if job in targets] or run.ended()

    found = wait_until(target)
    if found is True:
        # Some jobs finished beside one that was killed; they are made to run once more.
        assert run.process.returncode == 0, run.text
        for job in targets:
            lose(folder, *job)
        return None, "none"
    (pid, job), begun = found[0], time.monotonic()
    rule = job[0]
    if moment == "in a write":
        end = begun + 2 * usual[rule]
        wait_until(lambda: partial_there(folder) or pid not in run.jobs() or time.monotonic() > end, step=0)
    else:
        time.sleep(rng.uniform(0, 0.8 * usual[rule]))
    when = f"{moment}, after {time.monotonic() - begun:.2f} s"
    return job, when if strike(run, pid, victim) else "too late"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_runs_killed_at_every_rule_end_in_the_same_files(tiny_run, tmp_path, temporary, seed):
    usual, rng = durations(tiny_run), np.random.default_rng(seed)
    targets = {(rule, None) for rule in ONCE} | {("enlarge", 1)}
    targets |= {(rule, number) for rule in EACH_ROUND for number in (0, 1)}
    victims, moments, table = [], [], []
    snakemake(tmp_path, "--dry-run", config=TINY)
    while targets:
        victims = victims or rng.permutation(VICTIMS).tolist()
        moments = moments or rng.permutation(MOMENTS).tolist()
        job, when = one_kill(tmp_path, targets, rng, usual, victims[-1], moments[-1])
        if job:
            targets.remove(job)
            table.append((*job, when, victims.pop()))
            moments.pop()
            print(len(table), *table[-1], flush=True)
    print(pd.DataFrame(table, columns=["rule", "round", "moment", "killed"]).to_string())
    struck = [row for row in table if row[2] != "too late"]
    assert len(struck) >= 18
    assert_finishes_as(tmp_path, contents(tiny_run))
    assert leftovers(tmp_path) == []
    assert jobs(tmp_path) == {}
    assert "Nothing to be done" in snakemake(tmp_path).text
    # A killed Snakemake leaves an empty folder of its own; jobs leave nothing.
    assert [path for path in temporary.rglob("*") if path.is_file()] == []


def epochs(folder, number) -> list[int]:
    """Epochs in the log of a round's training."""
    log = next((folder / "results/logs").glob(f"train_{number}_*.log"), None)
    return [int(epoch) for epoch in re.findall(r"epoch (\d+) of", log.read_text())] if log else []


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("everything", "the job"), ("Snakemake", "everything")])
def test_killed_training_continues_from_its_last_epoch(tiny_run, tmp_path, temporary, first, second):
    folder = tmp_path / "run"
    copy_run(tiny_run, folder)
    weights = folder / "results/round_0/ResNet18_best_model.pt"
    weights.unlink()
    rng = np.random.default_rng(3)
    reported = [0]
    for victim in (first, second):
        run = Started(folder, str(weights.relative_to(folder)))
        begun = time.time()

        def enough(run=run, begun=begun):
            last = list((folder / "results/round_0/.checkpoints").glob("*/last.ckpt"))
            return run.ended() or (last and last[0].stat().st_mtime > begun)

        wait_until(enough)
        assert not run.ended(), run.text
        pid = next(pid for pid, job in run.jobs().items() if job == ("train", 0))
        time.sleep(rng.uniform(0, 0.3))
        strike(run, pid, victim)
        before, reported = reported[-1], epochs(folder, 0)
        print(f"train, round 0: {victim} killed after epoch {reported}")
        assert reported[0] in (before, before + 1)
    assert leftovers(folder)
    run = snakemake(folder, str(weights.relative_to(folder)))
    assert run.code == 0, run.text
    assert run.jobs() == {"train": 1}
    assert "continuing from the checkpoint" in (folder / "results/logs/train_0_ResNet18.log").read_text()
    # The last epoch logged may have been killed before its checkpoint was written.
    assert epochs(folder, 0) in [list(range(start, 4)) for start in (reported[-1], reported[-1] + 1)]
    assert leftovers(folder) == []
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
    assert_same(folder, contents(tiny_run))


@pytest.mark.slow
def test_a_job_that_only_begins_when_snakemake_is_killed_ends_too(tmp_path):
    config = merged(TINY, {"simulate_cohort": {"samples": 500, "cpgs": 20_000}})
    run = Started(tmp_path, "results/simulated_cohort/truth.csv", config=config)
    pid = run.held()
    run.kill_snakemake()
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: jobs(tmp_path) == {}, 60)
    assert not (tmp_path / "results/simulated_cohort/truth.csv").exists()


OWNED = """
import sys
sys.path.insert(0, "scripts")
from cpgtaxa import job
job._end_with_parent()
print("goes on")
"""


def owned(owner: str) -> str:
    """What a job prints whose Snakemake is this process."""
    command = [sys.executable, "-c", OWNED]
    environment = os.environ | {OWNER: owner}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout


def test_a_job_begins_only_while_its_snakemake_runs():
    with subprocess.Popen(["sleep", "60"]) as other:
        owner = identity(other.pid)
        namespace, pid, start = owner.split()
        running, reused = owned(owner), owned(f"{namespace} {pid} {int(start) - 1}")
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        killed = owned(owner)  # and nobody has asked how it ended
    assert (running, reused, killed) == ("goes on\n", "", "")
    assert owned(owner) == ""
    assert owned(f"pid:[1] {pid} {start}") == "goes on\n", "a container's own numbers"
    assert owned("") == "goes on\n"


WRITER = """
import os, signal, sys
from cpgtaxa.files import atomic
path, what = sys.argv[1:]
with atomic(path) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.readline()
    with open(temporary, "a") as handle:
        handle.write(" and whole")
"""


def writer(path, what):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, path, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
    )


def test_a_kill_inside_a_write_leaves_the_old_file_and_the_next_write_clears_up(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with writer(path, "die") as killed:
        assert killed.wait() == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    with atomic(path) as temporary:
        temporary.write_text("new")
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("table.csv", "new")]


def test_two_writers_of_one_file_do_not_share_a_temporary_one(tmp_path):
    path = tmp_path / "table.csv"
    with writer(path, "wait") as first:
        assert first.stdout.readline() == "writing\n"
        with writer(path, "wait") as second:
            assert second.stdout.readline() == "writing\n"
            assert len(list(tmp_path.iterdir())) == 2  # the second did not take the first's for a leftover
            _, trouble = second.communicate("\n")
            assert second.returncode == 0, trouble
            assert path.read_text() == "half and whole"
            _, trouble = first.communicate("\n")
            assert first.returncode == 0, trouble
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("table.csv", "half and whole")]


def test_an_error_while_a_folder_is_written_leaves_the_old_one_alone(tmp_path):
    folder = tmp_path / "figures"
    for text in ("old", "new"):
        with atomic_folder(folder) as temporary:
            (temporary / "a.csv").write_text(text)
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("a.csv", text)]

    def half():
        with atomic_folder(folder) as temporary:
            (temporary / "b.csv").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device", str(temporary / "b.csv"))

    with pytest.raises(InputError, match="figures: the disk is full"):
        half()
    assert [path.name for path in tmp_path.rglob("*")] == ["figures", "a.csv"]

"""Ten main jobs in a row, each killed twice at random: nothing piles up, and all end in the same files."""

import os
import pathlib
import re
import signal
import time

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, snakemake
from processes import Started, assert_same, contents, jobs, leftovers

RUNS, KILLS = 10, 2


def peaks(folder) -> dict[str, float]:
    """Peak memory in MB by job, from Snakemake's benchmarks."""
    tables = sorted((folder / "results/benchmarks").glob("*.tsv"))
    return {path.stem: float(pd.read_csv(path, sep="\t")["max_rss"].iloc[-1]) for path in tables}


def watch(run, seconds=float("inf")) -> int:
    """Wait for the end of a run, or so many seconds; the most files its Snakemake had open."""
    end, most = time.monotonic() + seconds, 0
    while not run.ended() and time.monotonic() < end:
        try:
            most = max(most, len(list(pathlib.Path(f"/proc/{run.process.pid}/fd").iterdir())))
        except OSError:
            break
        time.sleep(0.1)
    return most


@pytest.mark.slow
def test_ten_disturbed_runs_leave_nothing_behind(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    rng = np.random.default_rng(5)
    first = tmp_path / "undisturbed"
    begun = time.monotonic()
    run = snakemake(first, config=TINY)
    assert run.code == 0, run.text
    usual = time.monotonic() - begun
    wanted, table, memory = contents(first), [], []
    for number in range(RUNS):
        folder, killed = tmp_path / f"run_{number}", []
        for victim in rng.permutation(["everything", "Snakemake", "the job"])[:KILLS]:
            run = Started(folder, config=TINY)
            watch(run, rng.uniform(0.1, 0.7) * usual)
            if run.ended():
                assert run.process.returncode == 0, run.text
                break
            running = run.jobs()
            killed.append(f"{victim} during {'+'.join(sorted({rule for rule, _ in running.values()})) or 'no job'}")
            if victim == "the job" and running:
                os.kill(next(iter(running)), signal.SIGKILL)
                run.wait()
                continue
            run.kill_all() if victim == "everything" else run.kill_snakemake()
            assert snakemake(folder, "--unlock").code == 0
        run = Started(folder)
        files = watch(run)
        assert run.wait() == 0, run.text
        assert_same(folder, wanted)
        assert leftovers(folder) == []
        assert jobs(folder) == {}
        memory.append(peaks(folder))
        ours = [path for path in temporary.rglob("*") if path.is_file() and not re.search("snakemake", str(path))]
        size = sum(path.stat().st_size for path in ours)
        table.append((number, "; ".join(killed), files, max(memory[-1].values()), len(ours), size))
    columns = ["run", "killed", "open files", "peak MB", "temporary files", "their bytes"]
    print(pd.DataFrame(table, columns=columns).to_string())
    memory = pd.DataFrame(memory)
    print(memory.T.round().to_string())
    # A job that continued from a checkpoint trains fewer epochs, so that only the highest peaks can be compared.
    early, late = memory[: RUNS // 2].max(), memory[RUNS // 2 :].max()
    assert (late <= 1.15 * early + 30).all(), late - early
    found = pd.DataFrame(table, columns=columns)
    assert found["open files"][RUNS // 2 :].max() <= found["open files"][: RUNS // 2].max() + 3
    assert found["temporary files"].max() == 0

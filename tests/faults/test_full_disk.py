"""Full and read-only disks: one clear message, no half-written file, and the next run goes on where this stopped."""

import os
import shutil
import subprocess

import pytest
from conftest import copy_run, snakemake
from processes import OUTPUTS, assert_finishes_as, assert_same, contents, leftovers


class Disk:
    """A real file system in memory at `folder`."""

    def __init__(self, folder, megabytes):
        self.folder = folder
        folder.mkdir(parents=True)
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        if subprocess.run(["mount", *options], capture_output=True).returncode:
            pytest.skip("mounting a file system needs root")

    def fill(self, left: int = 0):
        """Leave `left` bytes free."""
        stat = os.statvfs(self.folder)
        with open(self.folder / "filler", "wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, max(stat.f_bavail * stat.f_frsize - left, 1))

    def free(self):
        (self.folder / "filler").unlink()

    def writable(self, yes: bool):
        subprocess.run(["mount", "-o", f"remount,{'rw' if yes else 'ro'}", str(self.folder)], check=True)

    def end(self):
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "run/results", 1000)
    yield disk
    disk.end()


def remove(folder, rule):
    for name in OUTPUTS[rule]:
        path = folder / "results" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def refused(run, folder, rule, words):
    assert run.code != 0
    assert any(word in run.text for word in words), run.text
    assert "Traceback (most recent call last)" not in run.text, run.text
    written = [name for name in OUTPUTS[rule] if (folder / "results" / name).exists()]
    assert not written
    assert not [name for name in leftovers(folder) if name.endswith(".partial")]


FULL = ("the disk is full. Free some space and start again: the run continues", "is too small:")


def fill_and_mend(disk, folder, rule, left):
    remove(folder, rule)
    target = f"results/{OUTPUTS[rule][0]}"
    disk.fill(left)
    refused(snakemake(folder, target), folder, rule, FULL)
    disk.free()
    run = snakemake(folder, target)
    assert run.code == 0, run.text
    assert run.jobs() == {rule: 1}


def test_a_full_disk_while_the_taxonomy_is_written(tiny_run, tmp_path, disk):
    folder = copy_run(tiny_run, tmp_path / "run")
    fill_and_mend(disk, folder, "taxonomy", left=4096)
    assert_same(folder, contents(tiny_run))


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 16384])
def test_a_full_disk_at_every_rule(tiny_run, tmp_path, disk, left):
    folder = copy_run(tiny_run, tmp_path / "run")
    small = {"reassign", "predict", "evaluate", "predict_test", "enlarge", "split", "define_taxa", "age_ewas"}
    small = small | {"predict_calibration", "patterns"} if left else set()
    for rule in OUTPUTS:
        if rule not in small:  # what these write fits into what is left
            fill_and_mend(disk, folder, rule, left)
            print(f"{rule}: refused with {left} bytes free, then made")
    assert_finishes_as(folder, contents(tiny_run))


@pytest.mark.slow
def test_a_full_disk_under_snakemakes_own_notes(tiny_run, tmp_path):
    disk = Disk(tmp_path / "run", 1000)
    try:
        folder = copy_run(tiny_run, disk.folder)
        remove(folder, "taxonomy")
        disk.fill()
        run = snakemake(folder, "results/taxonomy.parquet")
        assert run.code != 0
        assert "No space left on device" in run.text or FULL[0] in run.text, run.text
        assert not (folder / "results/taxonomy.parquet").exists()
        disk.free()
        snakemake(folder, "--unlock")
        assert_finishes_as(folder, contents(tiny_run))
    finally:
        disk.end()


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["report", "train", "split", "cohort"])
def test_a_read_only_disk(tiny_run, tmp_path, disk, rule):
    folder = copy_run(tiny_run, tmp_path / "run")
    remove(folder, rule)
    disk.writable(False)
    run = snakemake(folder, f"results/{OUTPUTS[rule][0]}")
    assert run.code != 0
    assert "Read-only file system" in run.text or "the disk is read-only" in run.text, run.text
    disk.writable(True)
    run = snakemake(folder, f"results/{OUTPUTS[rule][0]}")
    assert run.code == 0, run.text
    assert_finishes_as(folder, contents(tiny_run))

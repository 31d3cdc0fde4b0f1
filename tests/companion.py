"""A companion target of the workflow in a quick configuration, and what is asked of every one of them."""

import pathlib

import pandas as pd
from conftest import copy_run, merged, snakemake
from cpgtaxa.files import sha256
from processes import killed_when


class Companion:
    """target: its name, also of its section and of its folder in `results`. config: a quick one."""

    def __init__(self, target: str, config: dict):
        self.target, self.config, self.folder = target, config, f"results/{target}"

    def run(self, folder, *arguments, **changes):
        """A call that succeeds, with some keys of the section changed."""
        run = snakemake(folder, self.target, *arguments, config=merged(self.config, {self.target: changes}))
        assert run.code == 0, run.text
        return run

    def finished(self, folder) -> pathlib.Path:
        """The folder, in which the target was made, and its summary shown."""
        run = self.run(folder)
        assert (folder / self.folder / "summary.txt").read_text() in run.text
        return folder

    def summary(self, folder) -> pd.Series:
        table = pd.read_csv(folder / self.folder / "summary.csv")
        assert list(table) == ["model", "metric", "value", "ci_low", "ci_high", "n"]
        return table.set_index(["model", "metric"])["value"]

    def jobs(self, finished, folder, **changes) -> dict[str, int]:
        """Jobs by rule that a change of keys would cost, but for the target itself, which shows its summary."""
        copy_run(finished, folder)
        jobs = self.run(folder, "--dry-run", **changes).jobs()
        assert jobs.pop(self.target) == 1
        return jobs

    def made_anew(self, finished, folder, *deleted: str) -> dict[str, int]:
        """Nothing is left to do; then the jobs that make the summary and these files again, to the same summary."""
        copy_run(finished, folder)
        run = self.run(folder)
        assert run.jobs() == {}
        assert (folder / self.folder / "summary.txt").read_text() in run.text
        before = sha256(folder / self.folder / "summary.csv")
        for name in ("summary.csv", *deleted):
            (folder / self.folder / name).unlink()
        jobs = self.run(folder).jobs()
        assert sha256(folder / self.folder / "summary.csv") == before
        assert jobs.pop(self.target) == 1
        return jobs

    def goes_on(self, finished, folder, weights: str, checkpoints: str) -> None:
        """A training killed after its first checkpoint goes on to the same weights. Both paths are of the folder."""
        copy_run(finished, folder)
        target = f"{self.folder}/{weights}"
        before = sha256(folder / target)
        (folder / target).unlink()
        killed_when(folder, target, f"{self.folder}/{checkpoints}", self.config)
        assert not (folder / target).exists()
        run = snakemake(folder, target, config=self.config)
        assert run.code == 0, run.text
        assert "continuing from the checkpoint" in run.text
        assert sha256(folder / target) == before

    def same_log(self, finished, folder, log: str) -> None:
        """Both folders hold the same log of training, but for the times."""
        one, other = (pd.read_csv(at / self.folder / log).drop(columns="epoch_duration_s") for at in (finished, folder))
        pd.testing.assert_frame_equal(one, other)

    def refused(self, folder, config: dict) -> str:
        """What is said of bad input; no traceback, and nothing left that looks like a result."""
        run = snakemake(folder, self.target, "--keep-going", config=config)
        assert run.code != 0
        assert "Traceback" not in run.text
        assert not list((folder / self.folder).rglob("*.parquet"))
        assert not (folder / self.folder / "report.html").exists()
        return run.text

"""The workflow through a real SLURM: whole, with jobs cancelled, out of time, on a node drained, and asking for a GPU.

The cluster has one node (slurm_cluster.py). Where SLURM is not installed these tests are skipped with the reason.
"""

import json
import re
import subprocess
import sys
import time

import pandas as pd
import pytest
import slurm_cluster
import yaml
from conftest import ROOT, TINY, Run, merged, snakemake

PROFILE = ROOT / "workflow/profiles/slurm"
LONG = merged(TINY, {"simulation": {"per_taxon": 150}, "training": {"epochs": 24}, "rounds": {"max": 1}})
"""A training of some two minutes; a minute is SLURM's unit of time."""

slow = pytest.mark.slow
needs_slurm = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing() or "")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm_cluster.Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


class Submitted:
    """A Snakemake that hands its jobs to the cluster."""

    def __init__(self, cluster, folder, config, *arguments):
        self.cluster, self.folder = cluster, folder
        folder.mkdir(parents=True, exist_ok=True)
        path = config
        if isinstance(config, dict):
            path = folder / "test_config.yaml"
            path.write_text(yaml.safe_dump(config))
        self.known = {job["id"] for job in cluster.jobs()}
        command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", ROOT / "workflow/Snakefile"]
        command += ["--workflow-profile", PROFILE, "--directory", folder, "--cores", "2", "--latency-wait", "20"]
        # Jobs here take seconds: ask soon.
        command += ["--slurm-init-seconds-before-status-checks", "2", "--configfile", path]
        self.output = open(folder / "snakemake.out", "w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            command, stdout=self.output, stderr=subprocess.STDOUT, env=cluster.environment, cwd=folder
        )

    def jobs(self, rule="") -> list[dict]:
        """This run's jobs whose comment starts with the rule's name, oldest first."""
        jobs = [job for job in self.cluster.jobs() if job["id"] not in self.known]
        return sorted(
            (job for job in jobs if job["comment"].startswith(f"rule_{rule}")), key=lambda job: int(job["id"])
        )

    def wait_for(self, ready, seconds=600):
        """Wait until ready() is true, and return what it is."""
        until = time.monotonic() + seconds
        while not (found := ready()):
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < until, self.text()
            time.sleep(0.5)
        return found

    def running(self, rule):
        return next((job for job in self.jobs(rule) if job["state"] == "RUNNING"), None)

    def text(self) -> str:
        return (self.folder / "snakemake.out").read_text()

    def finish(self, seconds=1200) -> str:
        self.process.wait(seconds)
        self.output.close()
        return self.text()


def taxonomy(folder):
    return pd.read_parquet(folder / "results/taxonomy.parquet")


def epochs(folder) -> list[int]:
    return pd.read_csv(folder / "results/round_0/ResNet18_training_log.csv")["epoch"].tolist()


def a_finished_epoch(folder):
    """Whether the training of round 0 has a checkpoint to go on from."""
    return next((folder / "results/round_0/.checkpoints").rglob("*.ckpt"), None)


def test_the_profile_plans_without_a_cluster(tmp_path):
    """Every option is one that Snakemake and its plugin know, and every rule named in it exists."""
    run = snakemake(tmp_path, "-n", "--workflow-profile", PROFILE, config=TINY)
    assert run.code == 0, run.text
    assert run.jobs()["train"] == 1
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    rules = snakemake(tmp_path, "--list-rules", config=TINY).text.split()
    assert set(profile["set-resources"]) <= set(rules)


@slow
@needs_slurm
def test_the_demo_through_slurm(cluster, tmp_path):
    run = Submitted(cluster, tmp_path, ROOT / "config/demo/config.yaml")
    text = run.finish(3000)
    assert run.process.returncode == 0, text
    jobs = run.jobs()
    assert {job["state"] for job in jobs} == {"COMPLETED"}
    assert {job["partition"] for job in jobs} == {"cpu"}
    # Each job asked for its rule's memory and time.
    asked = {job["comment"].split("_wildcards")[0]: (job["memory"], job["limit"]) for job in jobs}
    assert asked["rule_train"] == ("8000M", "4:00:00")
    assert asked["rule_define_taxa"] == ("2000M", "30:00")
    logs = list((tmp_path / "results/logs/slurm").rglob("*.log"))
    assert len(logs) == len(jobs)
    metrics = json.loads((tmp_path / "results/round_0/metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.9
    assert "macro-F1" in (tmp_path / "results/summary.txt").read_text()


@slow
@needs_slurm
def test_the_companions_through_slurm(cluster, tmp_path):
    """Each on its simulated default, all four at a time."""
    targets = ("expression", "histone", "single_cell", "ecg_age")
    run = Submitted(cluster, tmp_path, {"seed": 42}, *targets)
    text = run.finish(6000)
    assert run.process.returncode == 0, text
    jobs = run.jobs()
    assert {job["state"] for job in jobs} == {"COMPLETED"}
    assert {job["partition"] for job in jobs} == {"cpu"}
    for target in targets:
        assert (tmp_path / f"results/{target}/summary.txt").read_text() in text
        assert (tmp_path / f"results/{target}/report.html").stat().st_size > 10_000


@slow
@needs_slurm
def test_a_cancelled_job_is_submitted_again_and_goes_on(cluster, tiny_run, tmp_path):
    run = Submitted(cluster, tmp_path, TINY)
    first = run.wait_for(lambda: run.running("compute_statistics"))
    cluster.run("scancel", first["id"])
    training = run.wait_for(lambda: a_finished_epoch(tmp_path) and run.running("train_wildcards_0"))
    cluster.run("scancel", training["id"])
    text = run.finish()
    assert run.process.returncode == 0, text
    for cancelled in (first, training):
        again = [job for job in run.jobs() if job["comment"] == cancelled["comment"]]
        assert [job["state"] for job in again] == ["CANCELLED", "COMPLETED"]
        # The second attempt asks for twice as much.
        assert int(again[1]["memory"][:-1]) == 2 * int(again[0]["memory"][:-1])
    assert "continuing from the checkpoint" in (tmp_path / "results/logs/train_0_ResNet18.log").read_text()
    pd.testing.assert_frame_equal(taxonomy(tmp_path), taxonomy(tiny_run), check_exact=True)


@slow
@needs_slurm
def test_a_job_out_of_time_goes_on_with_more_of_it(cluster, tmp_path):
    calm = snakemake(tmp_path / "calm", "taxonomy", config=LONG)
    assert calm.code == 0, calm.text
    # 1, 8 and 27 minutes: also a busy machine is done in three attempts.
    minutes = ["--set-resources", "train:runtime=attempt ** 3", "cohort:runtime=30", "predict:runtime=30"]
    run = Submitted(cluster, tmp_path / "timed", LONG, "taxonomy", *minutes)
    text = run.finish()
    assert run.process.returncode == 0, text
    training = run.jobs("train_wildcards_0")
    assert training[0]["state"] == "TIMEOUT", "the training was over in a minute: make LONG longer"
    assert training[-1]["state"] == "COMPLETED"
    assert [job["limit"] for job in training] == ["1:00", "8:00", "27:00"][: len(training)]
    assert "continuing from the checkpoint" in (tmp_path / "timed/results/logs/train_0_ResNet18.log").read_text()
    assert epochs(tmp_path / "timed") == epochs(tmp_path / "calm")
    pd.testing.assert_frame_equal(taxonomy(tmp_path / "timed"), taxonomy(tmp_path / "calm"), check_exact=True)


@slow
@needs_slurm
def test_a_drained_node_delays_and_costs_nothing(cluster, tiny_run, tmp_path):
    run = Submitted(cluster, tmp_path, TINY)
    training = run.wait_for(lambda: run.running("train_wildcards_0"))
    cluster.run("scontrol", "update", "nodename=node1", "state=drain", "reason=test")
    try:
        # What runs may finish; what comes after it waits.
        waiting = run.wait_for(lambda: [job for job in run.jobs() if job["state"] == "PENDING"])
        assert cluster.state() == "drained"
        time.sleep(10)
        still = {job["id"]: job["state"] for job in run.jobs()}
        assert still[training["id"]] == "COMPLETED"
        assert {still[job["id"]] for job in waiting} == {"PENDING"}
    finally:
        cluster.run("scontrol", "update", "nodename=node1", "state=resume")
    text = run.finish()
    assert run.process.returncode == 0, text
    assert {job["state"] for job in run.jobs()} == {"COMPLETED"}
    pd.testing.assert_frame_equal(taxonomy(tmp_path), taxonomy(tiny_run), check_exact=True)


@slow
@needs_slurm
@pytest.mark.parametrize("gres", [False, True])
def test_a_gpu_that_is_missing_is_said_aloud(cluster, tmp_path, gres):
    config = merged(TINY, {"training": {"device": "gpu"}})
    arguments = ["results/round_0/ResNet18_best_model.pt", "--retries", "0"]
    if gres:
        arguments += ["--set-resources", "train:gpu=0", "train:gres=gpu:1"]
    run = Submitted(cluster, tmp_path, config, *arguments)
    run.finish()
    assert run.process.returncode != 0
    training = run.jobs("train")
    assert len(training) == 1
    assert training[0]["partition"] == "gpu"
    shown = cluster.run("scontrol", "show", "job", training[0]["id"]).stdout
    assert re.search("Tres(PerJob|PerNode)=gres:gpu:1", shown), shown
    assert training[0]["state"] == "FAILED"
    assert {job["partition"] for job in run.jobs() if not job["comment"].startswith("rule_train")} == {"cpu"}
    for log in (
        "results/logs/train_0_ResNet18.log",
        f"results/logs/slurm/rule_train/0_ResNet18/{training[0]['id']}.log",
    ):
        assert "training.device is gpu, but torch sees no GPU on this machine" in (tmp_path / log).read_text()
    assert not (tmp_path / "results/round_0/ResNet18_best_model.pt").exists()


@slow
@needs_slurm
def test_snakemake_inside_a_job(cluster, tmp_path):
    """The other way: one job for the whole run, as README says for clusters that submit nothing from their nodes."""
    (tmp_path / "test_config.yaml").write_text(yaml.safe_dump(TINY))
    command = (
        f"'{sys.executable}' -m snakemake results/taxa/statistical.parquet --cores $SLURM_CPUS_PER_TASK "
        f"--snakefile '{ROOT}/workflow/Snakefile' --configfile test_config.yaml"
    )
    done = cluster.run(
        "sbatch",
        "--wait",
        "--cpus-per-task=2",
        "--mem=8G",
        "--time=30",
        f"--chdir={tmp_path}",
        f"--output={tmp_path}/job.out",
        f"--wrap={command}",
    )
    assert Run(done).code == 0, (tmp_path / "job.out").read_text()
    assert len(pd.read_parquet(tmp_path / "results/taxa/statistical.parquet")) == TINY["simulate_cohort"]["cpgs"]

"""The main job with one conda environment per rule, and the container recipes.

Where no channel can be reached, a stand-in for conda makes each environment as a virtual one that holds nothing but
what its file lists: a script that imports more than that fails.
"""

import os
import pathlib
import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT, SHARED, TINY

STANDIN = SHARED.parent / "tools/conda_standin/setup.sh"


@pytest.mark.slow
def test_every_rule_runs_in_its_own_environment(tiny_run, tmp_path):
    if not STANDIN.is_file():
        pytest.skip("no stand-in for conda here: ../shared/tools/conda_standin is absent")
    subprocess.run(["bash", STANDIN, tmp_path / "conda"], check=True, capture_output=True)
    # Snakemake alone: its own packages can be seen by the scripts, and would hide what an environment lacks.
    alone = tmp_path / "snakemake"
    pins = (ROOT / "envs/requirements.txt").read_text()
    subprocess.run([sys.executable, "-m", "venv", alone], check=True)
    snakemake = re.search(r"^snakemake==\S+$", pins, re.M).group()
    subprocess.run([alone / "bin/pip", "install", "--quiet", snakemake], check=True)
    work = tmp_path / "work"
    work.mkdir()
    (work / "test_config.yaml").write_text(yaml.safe_dump(TINY))
    command = [alone / "bin/snakemake", "--cores", "2", "--sdm", "conda", "--conda-prefix", tmp_path / "envs"]
    command += ["--snakefile", ROOT / "workflow/Snakefile", "--directory", work]
    command += ["--configfile", work / "test_config.yaml"]
    environment = os.environ | {"PATH": f"{tmp_path}/conda/bin:{os.environ['PATH']}", "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = [path for path in (tmp_path / "envs").iterdir() if path.is_dir()]
    written = [path.name for path in (work / "results/benchmarks").iterdir()]
    files = [path for path in (ROOT / "envs").glob("*.yaml") if any(name.startswith(path.stem) for name in written)]
    assert {"cohort", "train", "predict", "reassign", "embedding", "report"} <= {path.stem for path in files}
    assert len(made) == len({path.read_text() for path in files})  # rules with the same packages share one
    pd.testing.assert_frame_equal(
        pd.read_parquet(work / "results/taxonomy.parquet"),
        pd.read_parquet(tiny_run / "results/taxonomy.parquet"),
        check_exact=True,
    )


@pytest.mark.parametrize("name", ["Dockerfile", "apptainer.def"])
def test_container_recipes_use_the_same_pins(name):
    """They cannot be built here; what they copy exists, and what they install is what the tests run with."""
    text = (ROOT / "envs" / name).read_text()
    assert "python -m pip install --no-cache-dir -r /cpgtaxa/envs/requirements.txt" in text
    pythons = {re.search(r"- python=(\S+)", path.read_text()).group(1) for path in (ROOT / "envs").glob("*.yaml")}
    assert pythons == set(re.findall(r"python:([\d.]+)-slim", text))
    copied = re.findall(r"^(?:COPY| {4})\s*(\S+) /cpgtaxa/\S+$", text, re.M)
    assert {"workflow", "config", "scripts", "envs", "resources"} <= set(copied)
    for path in copied:
        assert pathlib.Path(ROOT, path).exists(), path

"""What the tests share: real Snakemake runs in folders of their own."""

import os
import pathlib
import re
import shutil
import sys

import pandas as pd
import pytest
import starter
import yaml

# Threads that wait without spinning, as the workflow's jobs do: tests share their cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

pytest.register_assert_rewrite("branches")

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

TINY = {
    "simulate_cohort": {"samples": 150, "cpgs": 300, "boundary": 0.15, "age_min": 19, "age_max": 90},
    "cohort": {
        "beta": "results/simulated_cohort/beta.csv.gz",
        "samples": "results/simulated_cohort/samples.csv",
        "truth": "results/simulated_cohort/truth.csv",
    },
    "statistics": {"shards": 2},
    "simulation": {"per_taxon": 24, "boundary": 40},
    "training": {"epochs": 3, "epochs_mix": 2, "min_per_taxon": 5, "threads": 1},
    "images": {"size": 64},
    "rounds": {"min": 2, "max": 2, "error_rate": 0.35, "calibration": 1500, "veto": False, "min_new_share": 0.0},
}
"""A whole main job in about a minute, from the shipped network."""


class Run:
    """A finished Snakemake call."""

    def __init__(self, process):
        self.code = process.returncode
        self.text = process.stdout + process.stderr

    def jobs(self) -> dict[str, int]:
        """Jobs by rule, from the table Snakemake prints."""
        table = re.search(r"^job +count\n[- ]+\n(.*?)\n\n", self.text, re.S | re.M)
        rows = [line.split() for line in table.group(1).splitlines()] if table else []
        return {name: int(count) for name, count in rows if name not in ("total", "all")}


def call(folder, *arguments, config=None, cores=2, root=ROOT) -> dict:
    """What subprocess needs to run the workflow of `root` in `folder`; `config` is written there first."""
    folder = pathlib.Path(folder)
    if config is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test_config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", *arguments, "--cores", str(cores)]
    command += ["--snakefile", root / "workflow/Snakefile", "--directory", folder]
    command += ["--configfile", folder / "test_config.yaml"]
    return {"args": command, "env": os.environ | {"PYTHONPATH": ""}, "cwd": root, "text": True}


def snakemake(folder, *arguments, config=None, timeout=900, cores=2, root=ROOT) -> Run:
    """Run the workflow with `folder` as working directory; `config` is written there first."""
    process = call(folder, *arguments, config=config, cores=cores, root=root)
    return Run(starter.starter().run(process["args"], process["env"], process["cwd"], timeout))


def copy_run(source, folder):
    """A finished run, times of its files included, in another folder, whose `results` may be there already."""
    return shutil.copytree(source, folder, symlinks=True, copy_function=shutil.copy2, dirs_exist_ok=True)


def merged(base: dict, changes: dict) -> dict:
    """A deep copy of `base` with `changes` laid over it."""
    result = {key: merged(value, {}) if isinstance(value, dict) else value for key, value in base.items()}
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def sorted_cells():
    """The real sorted blood cells: betas (5,000 CpGs, 37), their sheet with `cell_type` added, sample ids as index.

    Cell types are known by the samples' names; the few that names leave open, by what they cluster with.
    """
    types = {"WB": "Neu", "Neut": "Neu", "NKpan": "NK", "Th": "CD4", "Tc": "CD8", "PCA": "CD8", "ST": "CD8"}
    beta = pd.read_csv(SHARED / "methylation/sorted_blood_epic_beta.csv.gz", index_col=0)
    sheet = pd.read_csv(SHARED / "methylation/sorted_blood_epic_samples.csv.gz").set_index("sample").loc[beta.columns]
    letters = sheet["Sample_Name"].str.extract(r"^([A-Za-z]+)")[0]
    sheet["cell_type"] = letters.replace(types).mask(sheet["Sample_Name"] == "PCA0612", "Neu")
    return beta, sheet


FIRST = ("ecg_age", "main_job", "histone_target", "single_cell_target", "gene_expression", "training", "real_data")
"""Modules that take long, by what their names hold: begun first, so that no process is left with one at the end."""


def pytest_configure(config):
    starter.FORKS = config.option.markexpr == "not slow"


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not any(name in item.path.stem for name in FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """In parallel (`-n N --dist loadscope`) a module's tests share a process; all that use the tiny run share one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            return "tiny_run" if "tiny_run" in (ROOT / path).read_text() else path

    return ByModule(config, log)


@pytest.fixture(scope="session", autouse=True)
def quick_pdfs():
    """The PDF of a figure that a test draws itself is left empty, as by forked jobs: it takes half of the time."""
    from cpgtaxa.pages import drawing

    drawing.save_pdf = lambda figure, path: pathlib.Path(path).write_bytes(b"")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Folder of a whole main job on a tiny simulated cohort; tests must leave it as they found it."""
    folder = tmp_path_factory.mktemp("tiny")
    run = snakemake(folder, config=TINY)
    assert run.code == 0, run.text
    (folder / "run.txt").write_text(run.text)
    return folder


@pytest.fixture
def shared():
    """Folder of the real data, or a skip."""
    if not SHARED.is_dir():
        pytest.skip("no real data here: ../shared/data is absent")
    return SHARED


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, or a skip."""
    from browsing import chromium

    with chromium() as running:
        yield running

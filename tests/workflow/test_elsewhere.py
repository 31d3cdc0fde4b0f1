"""The workflow as others run it: as a module of another one, in a folder whose name is no plain word, in a storage."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from conftest import ROOT, TINY, Run, copy_run, snakemake
from cpgtaxa.files import CHECKSUMS
from processes import contents
from starter import starter

FOLDER = "my folder (é) [1]"
PREFIXES = {"own names": "", "with a prefix": "cpgtaxa_"}


OURS = repr(str(ROOT / "workflow/Snakefile"))


def outer(folder, prefix, head="", module="", snakefile=OURS):
    """Write a Snakefile that has the workflow as a module into `folder`; head and module: further lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(TINY))
    text = f"""configfile: "config.yaml"
{head}

module cpgtaxa:
    snakefile: {snakefile}
    config: config
    {module}

use rule * from cpgtaxa{f" as {prefix}*" if prefix else ""}
"""
    (folder / "Snakefile").write_text(text)
    return folder


def run_there(folder, *arguments) -> Run:
    """A call of Snakemake in `folder`, whose Snakefile it finds by itself."""
    command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
    return Run(starter().run(command, dict(os.environ), folder, 1800))


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_a_module_has_the_same_plan(tiny_run, tmp_path, prefix):
    run = run_there(outer(copy_run(tiny_run, tmp_path / FOLDER), prefix), "--dry-run")
    assert run.code == 0, run.text
    assert "Nothing to be done" in run.text


def test_a_module_runs_its_jobs_and_finds_its_captions(tiny_run, tmp_path):
    folder = outer(copy_run(tiny_run, tmp_path / FOLDER), "cpgtaxa_")
    (folder / "results/report.html").unlink()
    run = run_there(folder)
    assert run.code == 0, run.text
    assert run.jobs() == {"cpgtaxa_report": 1, "cpgtaxa_all": 1}
    assert contents(folder) == contents(tiny_run)
    run = run_there(folder, "--report", "report.zip")
    assert run.code == 0, run.text
    with zipfile.ZipFile(folder / "report.zip") as packed:
        page = "".join(packed.read(name).decode() for name in packed.namelist() if name.endswith(".html"))
    assert "gives every CpG of a methylation matrix" in page


def test_the_outer_workflow_keeps_its_default_target_and_its_terminal(tmp_path):
    own = 'rule all:\n    output: touch("mine.txt")\n'
    folder = outer(tmp_path, "cpgtaxa_", head=own)
    run = run_there(folder)
    assert run.code == 0, run.text
    assert (folder / "mine.txt").is_file()
    assert not (folder / "results").exists()
    assert "Finished jobid: 0" in run.text


@pytest.mark.parametrize("line", ['prefix: "other"', 'replace_prefix: {"results/": "other/"}'])
def test_a_prefix_of_paths_is_refused(tmp_path, line):
    run = run_there(outer(tmp_path, "", module=line), "--dry-run")
    assert run.code != 0
    assert "choose the folder with snakemake --directory" in run.text


def test_a_snakefile_without_its_library_says_what_to_do(tmp_path):
    repository = tmp_path / "repository"
    (repository / "workflow").mkdir(parents=True)
    (repository / "workflow/Snakefile").write_text((ROOT / "workflow/Snakefile").read_text())
    git = ["git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for step in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "x"], ["tag", "v1"]):
        subprocess.run([*git, *step], check=True)
    snakefile = f'gitfile({str(repository)!r}, path="workflow/Snakefile", tag="v1")'
    run = run_there(outer(tmp_path / "work", "", snakefile=snakefile), "--dry-run")
    assert run.code != 0
    assert "Clone the repository, and name the file" in run.text
    assert "ModuleNotFoundError" not in run.text


def test_figures_of_companions_have_a_caption_under_any_name_of_their_rule():
    """A caption depends on the folder of the figures, since a module's rules may be called otherwise."""
    caption = (ROOT / "workflow/report/companion_figures.rst").read_text()
    assert "snakemake.rule" not in caption
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    figures = re.findall(r'directory\("results/(\w+)/figures"\),[^)]*?companion_figures\.rst', rules)
    assert set(figures) == set(re.findall(r'^  "(\w+)": \[$', caption, re.M))


@pytest.mark.slow
@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_a_module_runs_the_whole_job(tiny_run, tmp_path, prefix):
    folder = outer(tmp_path / FOLDER, prefix)
    run = run_there(folder)
    assert run.code == 0, run.text
    assert contents(folder) == contents(tiny_run)


@pytest.fixture
def storage(tmp_path):
    """A call of the workflow whose files lie in a storage and nowhere else: (run, folder of the storage)."""
    if not shutil.which("rsync"):
        pytest.skip("no rsync here, which snakemake-storage-plugin-fs copies with")
    stored = tmp_path / "bucket" / "my run (é)"
    arguments = ["--default-storage-provider", "fs", "--default-storage-prefix", str(stored)]
    arguments += ["--shared-fs-usage", "none"]

    def run(*further) -> Run:
        return snakemake(tmp_path / "work", *further, *arguments, config=TINY, timeout=1800)

    return run, stored


def notes(results) -> set[str]:
    """Files that have a checksum."""
    folder = results.parent / CHECKSUMS
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_job_in_a_storage_sees_declared_files_alone_and_their_checksums(storage, tmp_path):
    run, stored = storage
    first = run("results/simulated_cohort/samples.csv")
    assert first.code == 0, first.text
    assert notes(stored / "results") == {
        f"simulated_cohort/{name}" for name in ("beta.csv.gz", "samples.csv", "truth.csv")
    }
    assert not (tmp_path / "work/results").exists()
    sheet = stored / "results/simulated_cohort/samples.csv"
    whole, state = sheet.read_bytes(), sheet.stat()
    sheet.write_bytes(whole.replace(b"F", b"M", 1))
    os.utime(sheet, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = run("results/cohort/cpgs.parquet")
    assert second.code != 0
    assert (
        "results/simulated_cohort/samples.csv is damaged (its checksum is not that of what was written)" in second.text
    )
    assert not (stored / "results/cohort").exists()
    sheet.write_bytes(whole)
    os.utime(sheet, ns=(state.st_atime_ns, state.st_mtime_ns))
    third = run("results/cohort/cpgs.parquet")
    assert third.code == 0, third.text
    assert third.jobs() == {"cohort": 1}
    assert {path for path in notes(stored / "results") if path.startswith("cohort/")} == {
        f"cohort/{name}" for name in ("samples.parquet", "cpgs.parquet", "qc.json", "qc.csv")
    }


@pytest.mark.slow
def test_the_whole_job_runs_in_a_storage(tiny_run, storage, tmp_path):
    run, stored = storage
    done = run()
    assert done.code == 0, done.text
    found, wanted = contents(stored), contents(tiny_run)
    different = {path for path in wanted if found.get(path) != wanted[path]}
    assert different == set()
    assert notes(stored / "results") == notes(tiny_run / "results")
    again = run("--dry-run")
    assert "Nothing to be done" in again.text

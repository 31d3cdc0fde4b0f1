"""The documentation read aloud: each command that it shows, typed as it stands into a fresh clone, in the page's order.

The files that pages speak of (`my_betas.csv.gz`, `my.yaml`, `first_run` …) are there; everything else is the page's.
"""

import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT, SHARED
from cpgtaxa.simulation.simulated_cohort import write_cohort

pytestmark = pytest.mark.slow

PAGES = ["docs/*.md", "docs/targets/*.md", "resources/**/*.md", "config/*.md", "README.md", "SECURITY.md"]
COMMANDS = {"bash": ["bash", "-euo", "pipefail"], "python": [sys.executable], "r": ["Rscript"]}
ELSEWHERE = {
    "workflow/profiles/slurm": "tests/workflow/test_slurm.py",
    "sbatch": "tests/workflow/test_slurm.py",
    "--sdm conda": "tests/workflow/test_environments.py",
    "s3://": "needs a bucket",
    "module cpgtaxa": "tests/workflow/test_elsewhere.py",
    "minfi::": "needs Bioconductor's packages",
    "arrow::": "needs R's package arrow",
    "make test ": "is this",
}
"""Blocks that hold such words are not run here; what runs them, or why nothing does."""

NAMED = {"cg16867657": "LinAgeHomo", "cg10920957": "BiNonAge"}
"""CpGs that pages name, and the taxa of those that bear their names here."""


BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)
YAML = re.compile(r"^```yaml\n(.*?)^```", re.S | re.M)


def text_of(path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path):
    """The page's blocks (language, text) that are run here."""
    for language, text in BLOCK.findall(text_of(path)):
        if language in COMMANDS and not any(word in text for word in ELSEWHERE):
            yield language, text


PATHS = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
READ = [path for path in PATHS if any(blocks(path))]


def write_files(folder, prefix, seed) -> dict:
    """A small cohort's two files in `folder`, in which two CpGs have the names that pages know; its config."""
    paths = [folder / f"{prefix}_{name}" for name in ("betas.csv.gz", "samples.csv", "truth.csv")]
    settings = {"samples": 120, "cpgs": 200, "boundary": 0.15, "age_min": 20, "age_max": 90}
    write_cohort(settings, seed, *paths)
    truth, betas = pd.read_csv(paths[2]).set_index("cpg")["taxon"], pd.read_csv(paths[0], index_col="cpg")
    names = {truth.index[truth == taxon][0]: name for name, taxon in NAMED.items()}
    betas.rename(index=names).to_csv(paths[0])
    paths[2].unlink()
    return {"beta": paths[0].name, "samples": paths[1].name}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with `.venv`, and the files that pages speak of; three cohorts, of which `first_run` has been run."""
    folder = tmp_path_factory.mktemp("reader") / "cpgtaxa"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("python", "snakemake"):  # in place of links, which would lead to this environment without its packages
        program = folder / ".venv/bin" / name
        words = "" if name == "python" else "-m snakemake "
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        program.chmod(0o755)
    (folder / ".venv/.ready").touch()
    if SHARED.is_dir():
        (folder.parent / "shared").symlink_to(SHARED.parent)
    placed = {"training": {"weights": "reference"}, "rounds": {"max": 1}}
    for seed, (place, prefix) in enumerate({".": "my", "first_run": "first", "second_run": "second"}.items()):
        (folder / place).mkdir(exist_ok=True)
        config = {"cohort": write_files(folder / place, prefix, 7 + seed)} | placed
        if place == ".":
            config["compare"] = {"cohorts": {"first": "first_run", "second": "."}}
        target = folder / ("my.yaml" if place == "." else f"{place}/config.yaml")
        target.write_text(yaml.safe_dump(config))
    say(folder, "bash", ".venv/bin/snakemake --cores all --directory first_run --configfile first_run/config.yaml")
    return folder


def say(folder, language, text, where="."):
    """Type a block; it must succeed."""
    script = folder / f"typed.{language}"
    script.write_text(text)
    environment = os.environ | {"PYTHONPATH": str(folder / "scripts") if language == "python" else ""}
    run = subprocess.run(
        [*COMMANDS[language], script], cwd=folder / where, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert run.returncode == 0, f"{text}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"


def cohort_run(clone):
    """The folder `my_cohort` of the quick start, run as that page says."""
    folder = clone / "my_cohort"
    if not (folder / "results/report.html").exists():
        for language, text in blocks(clone / "docs/quick_start.md"):
            if "my_cohort" in text:
                head, rest = text.split("mkdir my_cohort", 1)
                say(clone, language, head + "mkdir my_cohort; cp my_betas.csv.gz my_samples.csv my_cohort #" + rest)
    return folder


def before(page, clone) -> str:
    """What the reader of a page has done before, and the folder to type its blocks in."""
    if page.name in ("README.md", "reading_results.md", "predict_images.md") and page.parent.name != "guide":
        cohort_run(clone)
    if page.name == "pool.md":
        for city, place in {"london": "first_run", "ulm": "second_run"}.items():
            run = f".venv/bin/snakemake summarise --cores 2 --directory {place} --configfile {place}/config.yaml\n"
            say(clone, "bash", run + f"cp {place}/results/summary/summary.parquet {city}.parquet")
    if page.name == "predict_images.md":
        files = "ResNet18_best_model.pt ResNet18_normalization_stat.json"
        made = "cp test_info.csv ../../../list.csv; cp -r ../.. ../../../folder; cp " + files + " ../../.."
        say(clone, "bash", made, "my_cohort/results/round_0")
        config = yaml.safe_load((clone / "my.yaml").read_text())
        (clone / "my.yaml").write_text(yaml.safe_dump(config | yaml.safe_load(YAML.search(text_of(page)).group(1))))
    return "my_cohort" if page.name == "reading_results.md" else "."


@pytest.mark.parametrize("page", PATHS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_sentence_has_a_plan(clone, page):
    """Whole commands between backticks, asked what they would do."""
    for command in re.findall(r"`((?:\.venv/bin/)?snakemake [^`…]*--cores [^`…]*)`", text_of(page)):
        if "config/examples/" not in command or SHARED.is_dir():
            say(clone, "bash", f"PATH=$PWD/.venv/bin:$PATH {command} -n --quiet all")


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_the_page_works_as_it_stands(clone, page):
    if page.name == "quick_start.md":
        (_, demo), (_, own) = blocks(page)
        say(clone, "bash", demo)
        assert (clone / "results/report.zip").exists()
        assert "my_cohort" in own
        assert (cohort_run(clone) / "results/explorer.html").exists()
        return
    where, sessions = before(page, clone), {}
    for language, text in blocks(page):  # those in R or Python go on from one another
        sessions.setdefault(language, []).append(text)
    missing = [language for language in sessions if not shutil.which(COMMANDS[language][0])]
    for language, texts in sessions.items():
        if language not in missing:
            say(clone, language, "\n".join(texts), where)
    if missing:
        pytest.skip(f"read but for what asks for {COMMANDS[missing[0]][0]}, which is not installed")


def test_every_block_not_run_is_accounted_for():
    """Words that excuse a block stand in some block, and the file that runs it exists."""
    texts = [text for path in PATHS for _, text in BLOCK.findall(text_of(path))]
    for words, reason in ELSEWHERE.items():
        assert any(words in text for text in texts), words
        assert not reason.startswith("tests/") or (ROOT / reason).exists(), reason

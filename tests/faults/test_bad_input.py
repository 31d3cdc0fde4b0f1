"""Bad input through the real workflow: one clear message, non-zero exit, nothing written under a final name.

The messages themselves are tested one by one in tests/unit/test_ingest.py and test_config.py.
"""

import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import snakemake


def write_cohort(folder, beta=None, samples=None):
    rng = np.random.default_rng(0)
    ids = [f"S{index}" for index in range(20)]
    if beta is None:
        beta = pd.DataFrame(rng.uniform(0.2, 0.8, (12, 20)).round(4), [f"cg{index}" for index in range(12)], ids)
    if samples is None:
        samples = pd.DataFrame({"sample_id": ids, "age": np.linspace(20, 80, 20)})
    beta.rename_axis("cpg").to_csv(folder / "beta.csv")
    samples.to_csv(folder / "samples.csv", index=False)
    return beta, samples


CONFIG = {"cohort": {"beta": "beta.csv", "samples": "samples.csv"}}


def refused(folder, config=CONFIG, target="results/cohort/beta.arrow"):
    run = snakemake(folder, target, config=config)
    assert run.code != 0
    left = [path.name for path in (folder / "results").rglob("*")] if (folder / "results").exists() else []
    assert not [name for name in left if name.endswith((".arrow", ".parquet", ".json", ".partial"))], left
    assert "Traceback (most recent call last)" not in run.text
    return run.text


def test_many_problems_are_listed_at_once(tmp_path):
    beta, samples = write_cohort(tmp_path)
    beta.iloc[3, 4] = 1.7
    beta.iloc[5] = 0.5
    samples.loc[2, "age"] = -4
    samples.loc[7, "sample_id"] = "nobody"
    write_cohort(tmp_path, beta, samples)
    text = refused(tmp_path)
    for word in ("input problems", "cg3", "S4", "1.7", "cg5", "constant", "S7", "nobody", "-4"):
        assert word in text, word


def test_missing_files_are_named_with_their_keys(tmp_path):
    text = refused(tmp_path)
    assert "cohort.beta: beta.csv is not there" in text
    assert "cohort.samples: samples.csv is not there" in text


def test_mistyped_keys_name_the_right_one_before_anything_runs(tmp_path):
    write_cohort(tmp_path)
    config = {"cohort": {"bta": "beta.csv", "samples": "samples.csv"}, "rounds": {"max": 0}, "images": {"sizes": 64}}
    text = refused(tmp_path, config)
    assert "unknown key `cohort.bta`: did you mean `cohort.beta`?" in text
    assert "unknown key `images.sizes`: did you mean `images.size`?" in text
    assert "rounds.max" in text
    assert "3 input problems" in text


@pytest.mark.parametrize("what", ["weights", "images"])
def test_predict_images_names_what_is_wrong(tmp_path, what):
    (tmp_path / "w.pt").write_bytes(b"no weights")
    (tmp_path / "s.json").write_text("{}")
    (tmp_path / "list.csv").write_text("../outside.png,BiAge\nmissing.png,Biage\n")
    config = {"predict": {"images": "list.csv", "root": ".", "weights": "w.pt", "stats": "s.json"}}
    run = snakemake(tmp_path, "predict_images", config=config)
    assert run.code != 0
    assert not list((tmp_path / "results/predict_images").glob("*.csv"))
    words = (
        ("not a plain PyTorch state dict", "normalisation statistics") if what == "weights" else ("missing.png", "..")
    )
    for word in words:
        assert word in run.text, word


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_too_small_is_noticed_before_the_work(tmp_path, small_disk):
    rng = np.random.default_rng(0)
    ids = [f"S{index}" for index in range(200)]
    beta = pd.DataFrame(rng.uniform(0.2, 0.8, (3000, 200)).round(4), [f"cg{index}" for index in range(3000)], ids)
    write_cohort(tmp_path, beta, pd.DataFrame({"sample_id": ids, "age": np.linspace(20, 80, 200)}))
    config = {"cohort": {"beta": str(tmp_path / "beta.csv"), "samples": str(tmp_path / "samples.csv")}}
    text = refused(small_disk, config)
    assert re.search(r"too small: 200 samples of about 3,\d\d\d CpGs take about 8\.\d MB, and \d\.\d MB are free", text)
    assert "--directory" in text

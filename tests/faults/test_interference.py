"""What others do to a run: inputs cut or exchanged, intermediates damaged, a second run in the same folder."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort_of
from conftest import ROOT, TINY, copy_run, merged, snakemake
from cpgtaxa.errors import InputError
from processes import Started, assert_finishes_as, assert_same, contents, jobs, wait_until
from test_damaged_files import flip_a_byte

# --- two runs at once ------------------------------------------------------------------------------------------------


def test_a_second_run_in_the_folder_is_refused_and_the_first_finishes(tmp_path):
    first = Started(tmp_path, "results/cohort/beta.arrow", config=TINY)
    job = first.held()
    second = snakemake(tmp_path, "results/cohort/beta.arrow")
    os.kill(job, signal.SIGCONT)
    assert second.code != 0
    assert "Directory cannot be locked" in second.text, second.text
    assert first.wait() == 0, first.text
    assert jobs(tmp_path) == {}
    assert "Nothing to be done" in snakemake(tmp_path, "results/cohort/beta.arrow").text


def test_jobs_end_with_snakemake(tmp_path):
    run = Started(tmp_path, "results/cohort/beta.arrow", config=TINY)
    log = tmp_path / "results/logs/simulate_cohort.log"
    wait_until(lambda: log.exists() or run.ended())
    pid = run.held()
    assert pid in jobs(tmp_path)
    run.kill_snakemake()
    wait_until(lambda: not jobs(tmp_path), timeout=5)


# --- inputs ----------------------------------------------------------------------------------------------------------

FILES = {"beta": "beta.csv.gz", "samples": "samples.csv", "truth": "truth.csv"}
SMALL = merged(TINY, {"training": {"epochs": 1}, "rounds": {"max": 1}, "images": {"png": False}})
SMALL = {section: keys for section, keys in SMALL.items() if section != "simulate_cohort"}
SMALL |= {"cohort": {key: f"data/{name}" for key, name in FILES.items()}}


def bring(cohort, folder):
    """A cohort's files as a user's own, in `folder`/data."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in FILES.values():
        shutil.copy2(cohort / name, folder / "data")


@pytest.fixture(scope="module")
def other_cohort(tmp_path_factory):
    """The files of another cohort with the same CpGs and samples."""
    folder = tmp_path_factory.mktemp("other")
    run = snakemake(folder, "results/simulated_cohort/beta.csv.gz", config=merged(TINY, {"seed": 43}))
    assert run.code == 0, run.text
    return folder / "results/simulated_cohort"


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True])
def test_an_input_exchanged_in_the_middle_is_noticed_by_the_next_run(tiny_run, other_cohort, tmp_path, older):
    """The run ends with the first cohort alone, the next with the second alone: never a mixture."""
    cohorts = {"first": tiny_run / "results/simulated_cohort", "second": other_cohort}
    alone = {}
    for name, cohort in cohorts.items():
        bring(cohort, tmp_path / name)
        run = snakemake(tmp_path / name, "taxonomy", config=SMALL)
        assert run.code == 0, run.text
        alone[name] = contents(tmp_path / name)
    folder = tmp_path / "exchanged"
    bring(cohorts["first"], folder)
    run = Started(folder, "taxonomy", config=SMALL)
    wait_until(lambda: ("compute_statistics", None) in run.jobs().values() or run.ended())
    bring(cohorts["second"], folder)
    for name in FILES.values() if not older else ():
        os.utime(folder / "data" / name)
    assert run.wait() == 0, run.text
    assert_same(folder, alone["first"])
    run = snakemake(folder, "taxonomy")
    assert run.code == 0, run.text
    assert run.jobs()["cohort"] == 1
    assert_same(folder, alone["second"])


def test_a_matrix_changed_while_it_is_read_is_refused(tmp_path, monkeypatch):
    from cpgtaxa.input import ingest

    rng = np.random.default_rng(0)
    ids = [f"S{index}" for index in range(20)]
    beta = pd.DataFrame(rng.uniform(0.2, 0.8, (12, 20)).round(4), [f"cg{index}" for index in range(12)], ids)
    beta.rename_axis("cpg").to_csv(tmp_path / "beta.csv")
    samples = pd.DataFrame({"sample_id": ids, "age": np.linspace(20, 80, 20)})
    samples.to_csv(tmp_path / "samples.csv", index=False)
    scan = ingest.scan_matrix

    def scan_and_change(*arguments):
        found = scan(*arguments)
        with open(tmp_path / "beta.csv", "a") as handle:
            handle.write("cg99," + ",".join(["0.5"] * 19) + ",0.6\n")
        return found

    monkeypatch.setattr(ingest, "scan_matrix", scan_and_change)
    out = [tmp_path / "out" / name for name in ("beta.arrow", "samples.parquet", "cpgs.parquet", "qc.json")]
    columns = {"sample_id": "sample_id", "age": "age", "sex": "sex"}
    with pytest.raises(InputError, match=r"beta.csv was changed while it was being read: let the copy finish"):
        ingest.ingest(tmp_path / "beta.csv", tmp_path / "samples.csv", *out, columns=columns)
    assert not list((tmp_path / "out").iterdir())


# --- one flipped byte ------------------------------------------------------------------------------------------------

# A damaged file, and an output of a rule that reads it. Downstream first: mending one leaves those still to come as
# they are.
READ_BY = {
    "embedding/map.svg": "report.html",
    "embedding/clusters.csv": "report.html",
    "taxonomy.parquet": "report.html",
    "round_1/metrics.json": "report.html",
    "round_1/reassigned.json": "report.html",
    "round_1/MixResNet18_predictions.csv": "round_1/metrics.json",
    "round_1/reassigned.parquet": "taxonomy.parquet",
    "round_1/left.parquet": "taxonomy.parquet",
    "round_1/calibration.parquet": "round_1/reassigned.parquet",
    "round_1/predictions/0-of-2.parquet": "round_1/reassigned.parquet",
    "round_1/MixResNet18_model.json": "round_1/predictions/0-of-2.parquet",
    "round_1/MixResNet18_normalization_stat.json": "round_1/predictions/0-of-2.parquet",
    "round_1/MixResNet18_best_model.pt": "round_1/predictions/0-of-2.parquet",
    "round_1/MixResNet18_features.npy": "round_1/predictions/0-of-2.parquet",
    "round_1/MixResNet18_training_log.csv": "round_1/metrics.json",
    "round_1/images.arrow": "round_1/MixResNet18_best_model.pt",
    "round_1/val_info.csv": "round_1/images.arrow",
    "round_0/calibration_placed.parquet": "round_1/calibration.parquet",
    "round_0/reassigned.parquet": "round_1/training_info.csv",
    "calibration/truth.parquet": "round_0/reassigned.parquet",
    "calibration/beta.arrow": "round_0/calibration.parquet",
    "round_0/images.arrow": "round_0/ResNet18_predictions.csv",
    "round_0/training_info.csv": "round_0/images.arrow",
    "taxa/statistical.parquet": "round_0/training_info.csv",
    "statistics/statistics.parquet": "taxa/statistical.parquet",
    "statistics/shards/1-of-2.parquet": "statistics/statistics.parquet",
    "simulated/info.parquet": "round_0/training_info.csv",
    "simulated/images.arrow": "round_0/ResNet18_best_model.pt",
    "cohort/beta.arrow": "statistics/shards/0-of-2.parquet",
    "cohort/samples.parquet": "statistics/shards/0-of-2.parquet",
    "simulated_cohort/samples.csv": "cohort/beta.arrow",
    "simulated_cohort/beta.csv.gz": "cohort/beta.arrow",
}


@pytest.mark.slow
def test_a_flipped_byte_in_any_file_is_named_and_deleting_it_mends_it(tiny_run, tmp_path):
    folder = tmp_path / "run"
    copy_run(tiny_run, folder)
    for damaged, target in READ_BY.items():
        (folder / "results" / target).unlink()
        flip_a_byte(folder / "results" / damaged)
        run = snakemake(folder, f"results/{target}")
        assert run.code != 0, damaged
        assert re.search(rf"results/{re.escape(damaged)} is damaged", run.text), run.text
        assert "delete" in run.text
        assert "Traceback (most recent call last)" not in run.text, run.text
        assert not (folder / "results" / target).exists()
        (folder / "results" / damaged).unlink()
        run = snakemake(folder, f"results/{target}")
        assert run.code == 0, run.text
        print(f"{damaged}: named, deleted, made again with {run.jobs()}")
    assert_finishes_as(folder, contents(tiny_run))


@pytest.mark.slow
def test_a_flipped_byte_in_the_counts_that_decide_about_rounds(tiny_run, tmp_path):
    folder = tmp_path / "run"
    copy_run(tiny_run, folder)
    counts = folder / "results/round_0/reassigned.json"
    flip_a_byte(counts)
    run = snakemake(folder)
    assert run.code != 0
    assert "results/round_0/reassigned.json is damaged" in run.text
    assert "Traceback (most recent call last)" not in run.text, run.text
    counts.unlink()
    assert_finishes_as(folder, contents(tiny_run))


FLIPS = """
import json, pathlib, sys
import numpy as np
from cpgtaxa.cohort import Cohort
from cpgtaxa.errors import InputError
path, n_bits = pathlib.Path(sys.argv[1]), int(sys.argv[2])
whole = path.read_bytes()
def read():
    cohort = Cohort(path)
    found = cohort.read(0, len(cohort)), cohort.names(0, len(cohort)).tolist()
    return found if cohort.n_samples == 30 else None
values, names = read()
rng = np.random.default_rng(1)
counts = {"named": 0, "harmless": 0, "wrong": []}
for offset, bit in [(byte, bit) for byte in range(len(whole)) for bit in rng.permutation(8)[:n_bits]]:
    data = bytearray(whole)
    data[offset] ^= 1 << int(bit)
    path.write_bytes(bytes(data))
    print(offset, flush=True)
    try:
        found = read()
    except InputError as error:
        assert path.name in str(error)
        counts["named"] += 1
    except Exception as error:
        counts["wrong"] += [f"{offset}: {error!r}"]
    else:
        same = found and found[1] == names and found[0].tobytes() == values.tobytes()
        counts["harmless"] += bool(same)
        counts["wrong"] += [] if same else [offset]
print(json.dumps(counts))
"""


@pytest.mark.parametrize("n_bits", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_no_flipped_bit_anywhere_in_the_matrix_passes_for_another_value(n_bits, tmp_path):
    path = tmp_path / "beta.arrow"
    values = np.random.default_rng(0).random((12, 30)).astype(np.float32)
    cohort_of(path, values)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-c", FLIPS, str(path), str(n_bits)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, (run.stdout[-20:], run.stderr[-2000:])
    print(run.stdout.splitlines()[-1])
    assert json.loads(run.stdout.splitlines()[-1])["wrong"] == []

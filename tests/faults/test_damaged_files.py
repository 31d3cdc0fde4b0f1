"""Damage through the real workflow: named, nothing computed from it, and only what it concerns is made again."""

import os
import re

from conftest import TINY, copy_run, snakemake


def flip_a_byte(path):
    """Change one byte in the middle of a file, as a failing disk does: size and times stay as they were."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_corrupt_shard_is_named_and_only_it_is_redone(tiny_run, tmp_path):
    folder = tmp_path / "run"
    copy_run(tiny_run, folder)
    table = folder / "results/statistics/statistics.parquet"
    before = table.read_bytes()
    table.unlink()
    shard = folder / "results/statistics/shards/1-of-2.parquet"
    flip_a_byte(shard)
    run = snakemake(folder, str(table.relative_to(folder)), config=TINY)
    assert run.code != 0
    assert "results/statistics/shards/1-of-2.parquet is damaged" in run.text
    assert not table.exists()
    shard.unlink()
    run = snakemake(folder, str(table.relative_to(folder)), config=TINY)
    assert run.code == 0, run.text
    assert run.jobs() == {"compute_statistics": 1, "gather_statistics": 1}
    assert table.read_bytes() == before


def test_a_corrupt_matrix_stops_the_statistics(tiny_run, tmp_path):
    folder = tmp_path / "run"
    copy_run(tiny_run, folder)
    flip_a_byte(folder / "results/cohort/beta.arrow")
    shard = folder / "results/statistics/shards/0-of-2.parquet"
    shard.unlink()
    (folder / "results/statistics/shards/1-of-2.parquet").unlink()
    (folder / "results/statistics/statistics.parquet").unlink()
    run = snakemake(folder, "results/statistics/statistics.parquet", config=TINY)
    assert run.code != 0
    assert re.search(r"results/cohort/beta.arrow is damaged: the values of \S*cg\d+\S* are not those", run.text)
    assert not shard.exists()

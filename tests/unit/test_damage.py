"""Files that are no longer what was written are found by checksum and named; nothing is computed from them."""

import errno

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from cohorts import cohort_of
from cpgtaxa import files
from cpgtaxa.cohort import Cohort
from cpgtaxa.errors import InputError


def flip(path, offset):
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x01
    path.write_bytes(bytes(data))


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "3-of-8.parquet"
    rng = np.random.default_rng(1)
    files.write_parquet(path, pd.DataFrame({"cpg": [f"cg{k}" for k in range(5000)], "x": rng.random(5000)}))
    return path


def test_a_whole_file_is_read_as_written(shard):
    frame = files.read_parquet(shard)
    assert len(frame) == 5000
    blocks = list(files.parquet_blocks(shard, rows=1024))
    assert [len(block) for block in blocks] == [1024] * 4 + [904]
    pd.testing.assert_frame_equal(pd.concat(blocks, ignore_index=True), frame)
    assert list(files.read_parquet(shard, columns=["x"])) == ["x"]


@pytest.mark.parametrize("read", [files.read_parquet, lambda path: list(files.parquet_blocks(path))])
def test_a_changed_byte_is_found_and_the_file_named(shard, read):
    flip(shard, len(shard.read_bytes()) // 2)
    with pytest.raises(InputError, match=r"3-of-8.parquet is damaged.*start again"):
        read(shard)


def test_a_damaged_shard_stops_the_gathering_and_leaves_no_file(shard, tmp_path):
    whole = tmp_path / "0-of-8.parquet"
    whole.write_bytes(shard.read_bytes())
    flip(shard, len(shard.read_bytes()) // 2)
    with pytest.raises(InputError, match=r"3-of-8.parquet is damaged"):
        files.concatenate_parquet([whole, shard], tmp_path / "all.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-of-8.parquet", "3-of-8.parquet"]


def test_files_without_rows_say_nothing_about_the_columns(shard, tmp_path):
    files.write_parquet(tmp_path / "empty.parquet", pd.DataFrame({"cpg": np.empty(0, object), "x": np.empty(0)}))
    files.concatenate_parquet([tmp_path / "empty.parquet", shard, tmp_path / "empty.parquet"], tmp_path / "all.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "all.parquet"), pd.read_parquet(shard))
    files.concatenate_parquet([tmp_path / "empty.parquet"] * 2, tmp_path / "none.parquet")
    assert len(pd.read_parquet(tmp_path / "none.parquet")) == 0


def test_a_file_cut_short_is_named(shard):
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"3-of-8.parquet is damaged"):
        files.read_parquet(shard)


def test_a_changed_value_in_the_cohort_is_found_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr("cpgtaxa.cohort.BATCH_BYTES", 4 * 50 * 10)  # ten CpGs a batch
    path = tmp_path / "beta.arrow"
    values = np.random.default_rng(0).random((35, 50)).astype(np.float32)
    np.testing.assert_array_equal(cohort_of(path, values).read(0, 35), values)
    at = path.read_bytes().find(values[23].tobytes())
    assert at > 0
    flip(path, at + 7)
    cohort = Cohort(path)
    np.testing.assert_array_equal(cohort.read(0, 23), values[:23])
    np.testing.assert_array_equal(cohort.take([34, 22]), values[[34, 22]])
    cohort.release()
    for read in (lambda: cohort.take([1, 23]), lambda: cohort.read(20, 30), lambda: list(cohort.blocks())):
        with pytest.raises(InputError, match=r"beta.arrow is damaged: the values of 'cg23' are not those"):
            read()
    cohort.release()
    np.testing.assert_array_equal(cohort.read(24, 35), values[24:])


def test_names_of_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr("cpgtaxa.cohort.BATCH_BYTES", 4 * 50 * 10)
    names = [f"cg{k}" for k in range(35)]
    cohort = cohort_of(tmp_path, np.zeros((35, 50)))
    for start, stop in ((0, 35), (0, 10), (9, 11), (10, 20), (34, 35), (5, 5), (12, 29)):
        assert cohort.names(start, stop).tolist() == names[start:stop]


def test_names_that_would_lead_out_of_memory_are_found(tmp_path):
    """An offset far beyond the text crashed the interpreter; found by damaging files at random."""
    path = tmp_path / "beta.arrow"
    names = [f"cg{k:04}" for k in range(60)]
    cohort_of(path, np.full((60, 2), 0.5), names)
    offsets = np.arange(0, 6 * 61, 6, dtype=np.int32).tobytes()
    data = path.read_bytes()
    at = data.find(offsets)
    assert at > 0
    for place, offset in ((25, 805306518), (14, -1), (60, 2**31 - 1)):
        spoilt = bytearray(data)
        spoilt[at + 4 * place : at + 4 * place + 4] = np.int32(offset).tobytes()
        path.unlink()
        path.write_bytes(spoilt)
        with pytest.raises(InputError, match=r"beta.arrow is (damaged|truncated)"):
            list(Cohort(path).cpgs)


@pytest.mark.parametrize("old", [b'"pandas_version"', b'"int64"', b'"column_indexes"'])
def test_a_spoilt_description_of_the_columns_is_damage(tmp_path, old):
    """It lies outside the pages that carry checksums, and pandas stumbles over it in many ways."""
    path = tmp_path / "table.parquet"
    files.write_parquet(path, pd.DataFrame({"cpg": ["cg1", "cg2"], "n": [1, 2]}))
    data = path.read_bytes()
    assert old in data
    for new in (old[:-1] + b"\x90", b"{" + old[1:], b"[" * len(old)):
        path.write_bytes(data.replace(old, new))
        with pytest.raises(InputError, match=r"table.parquet is damaged"):
            list(files.parquet_blocks(path))


def test_messages_about_damage_are_short_and_printable():
    from cpgtaxa.errors import reason_of

    assert reason_of(ValueError("\x1b[2Jx\x00" + "y" * 5000 + "\nmore")) == "?[2Jx?" + "y" * 194 + "…"
    assert reason_of(EOFError()) == "EOFError"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full. Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "the disk fails"),
        (errno.ENOENT, None),
    ],
)
def test_what_a_disk_refuses_is_reported_with_the_file_and_what_to_do(tmp_path, number, words):
    path = tmp_path / "table.csv"

    def write():
        with files.atomic(path):
            try:
                raise OSError(number, "refused")
            except OSError as error:
                raise RuntimeError("a library's own words") from error

    if words is None:
        with pytest.raises(RuntimeError, match="own words"):
            write()
    else:
        with pytest.raises(InputError, match=rf"table.csv: .*{words}.*start again"):
            write()
    assert not list(tmp_path.iterdir())


def test_inputs_that_are_not_what_was_written_are_named_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [f"results/{name}" for name in ("a.json", "deep/b.pt", "c.csv")]
    for path in paths:
        files.write_json(path, {"path": path})
    files.note_checksums([*paths, "results/absent"])
    files.check_checksums([*paths, "results/absent", __file__])
    for path in paths[:2]:
        flip(tmp_path / path, 5)
    with pytest.raises(InputError) as caught:
        files.check_checksums(paths)
    assert [problem.split(" is damaged")[0] for problem in caught.value.problems] == paths[:2]
    files.write_json(paths[0], {"made": "again"})
    files.note_checksums(paths[:1])
    files.check_checksums([paths[0], paths[2]])


def test_a_full_disk_is_not_taken_for_a_damaged_input(tmp_path, monkeypatch):
    pd.DataFrame({"cpg": ["cg1"], "x": [1.0]}).to_parquet(tmp_path / "shard.parquet", index=False)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_table", full)
    with pytest.raises(InputError, match=r"all\.parquet: the disk is full"):
        files.concatenate_parquet([tmp_path / "shard.parquet"], tmp_path / "all.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["shard.parquet"]

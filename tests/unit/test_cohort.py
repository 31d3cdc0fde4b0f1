import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from cpgtaxa import cohort
from cpgtaxa.cohort import Cohort, CohortWriter, read_samples
from cpgtaxa.errors import InputError

SAMPLES = [f"s{number}" for number in range(7)]


@pytest.fixture
def values():
    values = np.random.default_rng(1).random((1000, 7), dtype=np.float32)
    values[3, 2] = np.nan
    return values


@pytest.fixture
def path(tmp_path, values, monkeypatch):
    monkeypatch.setattr(cohort, "BATCH_BYTES", 4 * 7 * 64)  # 64 CpGs a batch: 16 batches, the last one shorter
    with CohortWriter(tmp_path / "beta.arrow", SAMPLES) as writer:
        for start in range(0, 1000, 150):
            writer.append([f"cg{row}" for row in range(start, min(start + 150, 1000))], values[start : start + 150])
    return tmp_path / "beta.arrow"


def test_written_and_read_back(path, values):
    found = Cohort(path)
    assert (found.n_cpgs, found.n_samples, found.sample_ids) == (1000, 7, SAMPLES)
    assert list(found.cpgs) == [f"cg{row}" for row in range(1000)]
    assert found.cpgs.dtype == object
    np.testing.assert_array_equal(found.read(0, 1000), values)
    np.testing.assert_array_equal(found.read(990, 5000), values[990:])
    assert found.read(0, 1000).dtype == np.float32


def test_format_is_plain_arrow_with_nan_in_many_batches(path, values):
    with pa.ipc.open_file(str(path)) as file:
        assert file.num_record_batches == 16
        table = file.read_all()
    assert table.schema.field("beta").type == pa.list_(pa.float32(), 7)
    assert table.schema.field("cpg").type == pa.string()
    assert table["beta"].combine_chunks().values.null_count == 0
    np.testing.assert_array_equal(np.array(table["beta"].to_pylist(), dtype=np.float32), values)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (63, 64), (63, 65), (64, 128), (60, 700), (999, 1000)])
def test_read_at_batch_borders(path, values, start, stop):
    np.testing.assert_array_equal(Cohort(path).read(start, stop), values[start:stop])
    assert Cohort(path).read(start, stop).shape == (stop - start, 7)


def test_read_inside_a_batch_is_a_view_of_the_file(path):
    found = Cohort(path)
    address = found.read(64, 128).ctypes.data
    assert found.read(66, 70).ctypes.data == address + 2 * 7 * 4
    assert not found.read(66, 70).flags.writeable
    assert found.read(60, 70).flags.writeable  # across two batches: a copy
    allocated = pa.total_allocated_bytes()
    views = [found.read(start, start + 8) for start in range(0, 960, 64)]
    assert pa.total_allocated_bytes() == allocated
    assert len(views) == 15


def test_blocks_cover_everything_once(path, values):
    blocks = list(Cohort(path).blocks())
    assert [start for start, _ in blocks] == list(range(0, 1000, 64))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), values)


def test_take_any_order_with_repeats(path, values):
    indices = [999, 0, 64, 63, 64, 500]
    taken = Cohort(path).take(indices)
    np.testing.assert_array_equal(taken, values[indices])
    taken[:] = 0  # a copy
    assert Cohort(path).take([]).shape == (0, 7)


@pytest.mark.parametrize("index", [-1, 1000])
def test_take_outside_is_an_error(path, index):
    with pytest.raises(IndexError, match=r"outside 0\.\.999"):
        Cohort(path).take([0, index])


def test_find(path):
    found = Cohort(path)
    assert list(found.find(["cg999", "cg0", "cg0"])) == [999, 0, 0]
    with pytest.raises(InputError, match=r"2 CpGs are not in the cohort .*beta\.arrow: 'nope', 'cg1000'"):
        found.find(["cg1", "nope", "cg1000"])


def test_travels_to_worker_processes(path, values):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(Cohort(path))).read(5, 9), values[5:9])


def test_writer_copies_what_it_is_given(tmp_path):
    buffer = np.zeros((1, 2))
    with CohortWriter(tmp_path / "beta.arrow", ["a", "b"]) as writer:
        writer.append(["cg1"], buffer)
        buffer[:] = 1
        writer.append(["cg2"], buffer)
    np.testing.assert_array_equal(Cohort(tmp_path / "beta.arrow").read(0, 2), [[0, 0], [1, 1]])


def test_writer_refuses_a_wrong_shape_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="2 CpGs x 3 samples"), CohortWriter(tmp_path / "b.arrow", "abc") as writer:
        writer.append(["cg1", "cg2"], np.zeros((2, 4)))
    assert list(tmp_path.iterdir()) == []


def test_failed_writer_keeps_the_former_file(path, values):
    with pytest.raises(ZeroDivisionError), CohortWriter(path, ["a"]) as writer:
        writer.append(["cg1"], np.ones((1, 1)) * (1 // 0))
    np.testing.assert_array_equal(Cohort(path).read(0, 9), values[:9])
    assert [file.name for file in path.parent.iterdir()] == ["beta.arrow"]


def test_failure_in_the_last_flush_leaves_nothing(tmp_path):
    with pytest.raises(pa.ArrowException), CohortWriter(tmp_path / "b.arrow", ["a"]) as writer:
        writer.append([17], np.zeros((1, 1)))  # no text
    assert list(tmp_path.iterdir()) == []


def test_empty_cohort(tmp_path):
    with CohortWriter(tmp_path / "beta.arrow", ["a", "b"]):
        pass
    found = Cohort(tmp_path / "beta.arrow")
    assert (found.n_cpgs, found.n_samples, len(found.cpgs), found.read(0, 5).shape) == (0, 2, 0, (0, 2))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.95, 0.9999])
def test_truncated_file_is_named(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"beta\.arrow is truncated or not an Arrow file"):
        Cohort(path)


def test_other_files_are_named(tmp_path):
    text = tmp_path / "beta.csv"
    text.write_text("cpg,s1\ncg1,0.5\n" * 100)
    with pytest.raises(InputError, match=r"beta\.csv is truncated or not an Arrow file"):
        Cohort(text)
    with pytest.raises(InputError, match=r"nowhere\.arrow is not there"):
        Cohort(tmp_path / "nowhere.arrow")
    other = tmp_path / "other.arrow"
    pd.DataFrame({"cpg": ["a"], "beta": [0.5]}).to_feather(other)
    with pytest.raises(InputError, match=r"other\.arrow is an Arrow file but not a cohort"):
        Cohort(other)


def test_nulls_of_foreign_writers_read_as_nan(tmp_path):
    schema = pa.schema(
        [("cpg", pa.string()), ("beta", pa.list_(pa.float32(), 2))], metadata={"sample_ids": '["a","b"]'}
    )
    table = pa.table([["cg1", "cg2"], pa.array([[0.5, None], [0.25, 1.0]], schema.field("beta").type)], schema=schema)
    with pa.ipc.new_file(tmp_path / "beta.arrow", schema) as file:
        file.write_table(table)
    np.testing.assert_array_equal(Cohort(tmp_path / "beta.arrow").read(0, 2), [[0.5, np.nan], [0.25, 1.0]])


def test_read_samples(tmp_path):
    frame = pd.DataFrame({"sample_id": ["s1", "s2"], "age": [30.0, 40.5], "batch": ["x", None]})
    frame.to_parquet(tmp_path / "samples.parquet")
    pd.testing.assert_frame_equal(read_samples(tmp_path / "samples.parquet"), frame)
    frame.drop(columns="age").to_parquet(tmp_path / "ageless.parquet")
    with pytest.raises(InputError, match=r"ageless\.parquet lacks 'age'"):
        read_samples(tmp_path / "ageless.parquet")
    (tmp_path / "bad.parquet").write_text("sample_id,age\n")
    with pytest.raises(InputError, match=r"bad\.parquet is damaged"):
        read_samples(tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=r"none\.parquet is damaged"):
        read_samples(tmp_path / "none.parquet")


def test_two_sexes_are_the_two_commonest_values():
    sheet = pd.DataFrame({"sex": ["F", "f ", "M", "M", None, "M", "unknown"]})
    assert cohort.two_sexes(sheet).tolist() == [0, 0, 1, 1, -1, 1, -1]
    words = pd.DataFrame({"sex": ["Female", "Female", "F", "F", "male", "m", "weiblich"]})
    assert cohort.two_sexes(words).tolist() == [0, 0, 0, 0, 1, 1, 0]
    assert cohort.two_sexes(pd.DataFrame({"sex": ["F", "F"]})).tolist() == [-1, -1]
    assert cohort.two_sexes(pd.DataFrame({"age": [1.0]})).tolist() == [-1]

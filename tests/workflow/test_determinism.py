"""One seed, one taxonomy: whatever the number of cores and shards."""

import pandas as pd
import pytest
from conftest import TINY, merged, snakemake
from processes import assert_same, contents


def whole(folder):
    """The results that are not a shard's."""
    return {path: content for path, content in contents(folder).items() if "-of-" not in path}


@pytest.mark.slow
@pytest.mark.parametrize(("cores", "shards"), [(2, 2), (1, 2), (2, 5)])
def test_cores_and_shards_do_not_show_in_the_results(tiny_run, tmp_path, cores, shards):
    run = snakemake(tmp_path, config=merged(TINY, {"statistics": {"shards": shards}}), cores=cores)
    assert run.code == 0, run.text
    found, wanted = whole(tmp_path), whole(tiny_run)
    assert sorted(found) == sorted(wanted)
    different = [path for path in wanted if found[path] != wanted[path]]
    if shards == 2:
        assert different == []
        assert_same(tmp_path, contents(tiny_run))
    else:  # this file is cut into pieces as the shards were; its rows are the same
        assert different in ([], ["statistics/statistics.parquet"])
        frames = [pd.read_parquet(folder / "results/statistics/statistics.parquet") for folder in (tmp_path, tiny_run)]
        pd.testing.assert_frame_equal(*frames, check_exact=True)


@pytest.mark.slow
def test_neither_cores_nor_threads_of_the_training_show_in_the_network(tmp_path):
    for cores, threads in ((1, 1), (2, 3)):
        config = merged(TINY, {"training": {"threads": threads}, "rounds": {"max": 1}})
        run = snakemake(tmp_path / str(cores), "results/taxonomy.parquet", config=config, cores=cores)
        assert run.code == 0, run.text
    assert_same(tmp_path / "2", contents(tmp_path / "1"))

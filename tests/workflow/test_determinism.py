"""One seed, one taxonomy: whatever the number of cores and shards."""

import pytest
from conftest import TINY, merged, snakemake
from processes import assert_same, contents


@pytest.mark.slow
@pytest.mark.parametrize(("cores", "shards"), [(2, 2), (1, 2), (2, 5)])
def test_cores_and_shards_do_not_show_in_the_results(tiny_run, tmp_path, cores, shards):
    # The tiny run trains with two threads, one for each of its cores; that number must be kept, see config.yaml.
    config = merged(TINY, {"statistics": {"shards": shards}, "training": {"threads": 2}})
    run = snakemake(tmp_path, config=config, cores=cores)
    assert run.code == 0, run.text

    def whole(folder):
        return {path: content for path, content in contents(folder).items() if "-of-" not in path}

    found, wanted = whole(tmp_path), whole(tiny_run)
    assert sorted(found) == sorted(wanted)
    assert not [path for path in wanted if found[path] != wanted[path]]
    if shards == 2:
        assert_same(tmp_path, contents(tiny_run))

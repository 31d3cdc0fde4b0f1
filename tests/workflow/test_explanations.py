"""The target `explain` on a finished run."""

import re

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, copy_run, merged, snakemake


def test_explain_makes_its_page_and_touches_nothing_else(tiny_run, tmp_path):
    folder = copy_run(tiny_run, tmp_path / "copy")
    taxonomy = pd.read_parquet(folder / "results/taxonomy.parquet")
    taxonomy = taxonomy[taxonomy["source"].isin(["statistical", "round_0", "round_1"])].drop_duplicates("source")
    cpgs = taxonomy["cpg"].tolist()
    run = snakemake(folder, "explain", "--config", f"cpgs={','.join([*cpgs, cpgs[0]])}", config=TINY)
    assert run.code == 0, run.text
    assert run.jobs() == {"explain": 1}
    assert (folder / "results/explain/summary.txt").read_text() in run.text
    assert (folder / "results/summary.txt").read_text() not in run.text
    html = (folder / "results/explain/explain.html").read_text()
    assert re.findall(r'<section id="cpg-\d+">\s*<h2>(.*)</h2>', html) == cpgs
    table = pd.read_csv(folder / "results/explain/explain.csv", dtype=str)
    for row in taxonomy.itertuples():
        own = table[table["cpg"] == row.cpg].set_index(["kind", "name"])
        assert own.loc[[("result", "taxon")], "value"].tolist() == [row.taxon]
        taxon = own.loc["log-odds"].index[0]
        assert taxon == row.taxon or row.taxon == "Unclassified"
        # The network is the last that looked at the CpG, and says again what it said then.
        said = own.loc[[("probability", taxon)]].iloc[-1]
        assert own.loc[[("result", "network")], "value"].iloc[0].endswith(said["detail"])
        again = own.loc[[("log-odds", taxon)]].set_index("detail").loc["this image", "value"]
        p = float(said["value"])
        assert p == pytest.approx(getattr(row, f"p_{taxon}"), rel=1e-4)
        assert 1 / (1 + np.exp(-float(again))) == pytest.approx(p, abs=0.03)  # in float32, not int8
        if p < 1 - 1e-5:  # beyond, single precision says little of the odds
            assert float(again) == pytest.approx(np.log(p / (1 - p)), abs=0.1)
    # Nothing else looks at the CpGs asked for.
    run = snakemake(folder, "--dry-run", config=merged(TINY, {"cpgs": cpgs[:1]}))
    assert run.code == 0, run.text
    assert run.jobs() == {}
    run = snakemake(folder, "explain", "--dry-run", config=TINY)
    assert run.code != 0
    assert "Input problem: cpgs names no CpG to explain" in run.text
    assert "Traceback (most recent call last)" not in run.text

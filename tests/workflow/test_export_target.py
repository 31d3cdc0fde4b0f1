"""The target `export` on a finished run."""

import anndata
import pandas as pd
from conftest import TINY, copy_run, merged, snakemake


def test_export_writes_its_files_and_touches_nothing_else(tiny_run, tmp_path):
    folder = copy_run(tiny_run, tmp_path / "copy")
    taxonomy = pd.read_parquet(folder / "results/taxonomy.parquet")
    places = pd.DataFrame({"IlmnID": taxonomy["cpg"], "CHR": "7", "MAPINFO": range(100, 100 + len(taxonomy))})
    places[:-3].to_csv(folder / "manifest.csv", index=False)
    columns = {"cpg": "IlmnID", "chrom": "CHR", "position": "MAPINFO"}
    config = merged(TINY, {"export": {"positions": "manifest.csv", "columns": columns, "beta": True}})
    run = snakemake(folder, "export", config=config)
    assert run.code == 0, run.text
    assert run.jobs() == {"export": 1}
    assert (folder / "results/export/summary.txt").read_text() in run.text
    assert f"Paths begin in {folder}" in run.text
    names = {path.name for path in (folder / "results/export").iterdir()}
    assert names == {
        "summary.txt",
        "taxonomy.h5ad",
        "taxonomy.bed",
        "taxonomy.track.bed.gz",
        "no_position.txt",
        "read_results.R",
        "supplementary_table.csv.gz",
        "supplementary_table.xlsx",
        "supplementary_legend.csv",
    }
    found = anndata.read_h5ad(folder / "results/export/taxonomy.h5ad")
    assert found.shape == (150, len(taxonomy))
    assert list(found.var["taxon"]) == list(taxonomy["taxon"])
    assert len((folder / "results/export/taxonomy.bed").read_text().splitlines()) == len(taxonomy) - 3
    # The main job does not look at it.
    run = snakemake(folder, "--dry-run", config=config)
    assert run.code == 0, run.text
    assert run.jobs() == {}

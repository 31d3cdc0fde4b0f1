"""Scores, peers, imputed profiles, motifs and mutation effects: against numbers by hand and second implementations."""

import gzip
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from cpgtaxa.errors import InputError
from cpgtaxa.files import read_parquet, write_parquet
from cpgtaxa.models import create_model
from cpgtaxa.pages.drawing import svg_text
from cpgtaxa.targets.single_cell import effects, imputation, kmers, metrics, motifs, peers
from cpgtaxa.targets.single_cell.tables import Sites, predictions_writer, window_blocks
from single_cell_files import neighbours_of, write_sites
from sklearn.metrics import roc_auc_score

FAR = 25_000


# --- files in the form that the data steps write ---------------------------------------------------------------------


def write_windows(folder, chrom, position, split, states, dna, shards=2):
    """Shards of windows, and the table of sites in the folder above; dna None leaves the column out."""
    folder.mkdir()
    meta = {"cells": json.dumps(write_sites(folder.parent / "sites.arrow", chrom, position, split, states))}
    paths = []
    for shard, rows in enumerate(np.array_split(np.arange(len(position)), shards), 1):

        def lists(values, type_, rows=rows):
            values = values[rows].reshape(len(rows), -1)
            return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type_), values.shape[1])

        columns = {
            "site": pa.array(rows, pa.int64()),
            "chrom": pa.array([chrom[row] for row in rows]),
            "position": pa.array(np.asarray(position)[rows], pa.int64()),
            "split": pa.array(np.asarray(split)[rows], pa.int8()),
            "targets": lists(states, pa.int8()),
        }
        if dna is not None:
            columns["dna"] = lists(dna, pa.uint8())
            meta["dna_wlen"] = str(dna.shape[1])
        table = pa.table(columns).replace_schema_metadata(meta)
        paths.append(str(folder / f"{shard}-of-{shards}.arrow"))
        with pa.OSFile(paths[-1], "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, 7)
    return paths


def some_sites(n=300, cells=3, chroms=3, seed=0, span=40_000):
    """Sites of several chromosomes, the last of them for testing; states are alike within 2 kb."""
    rng = np.random.default_rng(seed)
    chrom = np.sort(np.arange(n) % chroms)
    position = np.concatenate([np.sort(rng.choice(span, (chrom == c).sum(), replace=False)) + 1 for c in range(chroms)])
    level = rng.random((chroms, span // 2000 + 1))[chrom, position // 2000] > 0.4
    states = (level[:, None] ^ (rng.random((n, cells)) < 0.1)).astype(np.int8)
    states[rng.random((n, cells)) < 0.4] = -1
    split = np.array([0] * (chroms - 1) + [2], dtype=np.int8)[chrom]
    return [f"chr{c + 1}" for c in chrom], position, split, states


def write_predictions(path, cells, values):
    with predictions_writer(path, cells) as write:
        for first in range(0, len(values), 97):
            write(first, values[first : first + 97])


# --- scores ----------------------------------------------------------------------------------------------------------


def test_scores_of_a_cell_worked_out_by_hand():
    """Four methylated, of which three are called; four not, of which two are; 0.5 is called unmethylated."""
    targets = np.array([1, 1, 1, 1, 0, 0, 0, 0, -1, -1], dtype=np.int8)[:, None]
    values = np.array([0.9, 0.8, 0.6, 0.5, 0.7, 0.55, 0.4, 0.1, 0.99, 0.01], dtype=np.float32)[:, None]
    found = metrics.cell_scores(targets, values).iloc[0]
    # Pairs won: 0.9 and 0.8 beat 4 each, 0.6 beats 3, 0.5 beats 2.
    assert found["auc"] == pytest.approx(13 / 16)
    assert found["accuracy"] == pytest.approx(5 / 8)
    assert found["tpr"] == pytest.approx(3 / 4)
    assert found["tnr"] == pytest.approx(2 / 4)
    assert found["f1"] == pytest.approx(6 / 9)
    assert found["mcc"] == pytest.approx((3 * 2 - 2 * 1) / np.sqrt(5 * 4 * 4 * 3))
    assert found["n"] == 8


def test_what_is_undefined_is_nan_and_a_constant_model_has_no_correlation():
    targets = np.array([[1, 0, -1, 1], [1, 0, -1, 0], [-1, 0, -1, 1]], dtype=np.int8)
    values = np.array([[0.9, 0.2, 0.5, 0.7]] * 3, dtype=np.float32)
    found = metrics.cell_scores(targets, values)
    ones, zeros, none, mixed = (found.iloc[row] for row in range(4))
    assert found["n"].tolist() == [2, 3, 0, 3]
    assert ones[["auc", "tnr", "mcc"]].isna().all()
    assert ones[["accuracy", "tpr", "f1"]].tolist() == [1, 1, 1]
    assert zeros[["auc", "tpr", "f1", "mcc"]].isna().all()
    assert zeros[["accuracy", "tnr"]].tolist() == [1, 1]
    assert none[list(metrics.METRICS)].isna().all()
    assert mixed[["auc", "tpr", "tnr", "mcc"]].tolist() == [0.5, 1, 0, 0]


def test_blocks_are_stretches_of_one_chromosome():
    chrom = np.array([0, 0, 0, 0, 2, 2, 3], dtype=np.int32)
    position = np.array([5, 10_004, 10_005, 30_006, 7, 8, 10_000_000])
    assert metrics.blocks_of(chrom, position).tolist() == [0, 0, 1, 2, 3, 3, 4]
    assert metrics.blocks_of(chrom[:0], position[:0]).tolist() == []


def test_blocks_grow_where_there_would_be_too_many():
    position = np.arange(1, 60_000_001, 6_000)
    block = metrics.blocks_of(np.zeros(len(position), dtype=np.int32), position)
    assert block[-1] + 1 <= metrics.MOST_BLOCKS
    assert block[-1] + 1 > metrics.MOST_BLOCKS * 0.9
    assert np.array_equal(np.unique(np.diff(block)), [0, 1])


@pytest.mark.parametrize("levels", [7, None])
def test_a_draw_scores_as_its_sites_would(levels):
    """A draw against the same blocks' sites written out one after the other, by the exact functions."""
    rng = np.random.default_rng(1)
    n, n_blocks = 3000, 12
    block = np.sort(rng.integers(0, n_blocks, n))
    targets = (rng.random(n) < 0.6).astype(np.int8)
    values = np.clip(rng.normal(0.45 + 0.2 * targets, 0.2), 0, 1).astype(np.float32)
    if levels:
        values = np.round(values * levels) / levels
    weights = metrics._weights(n_blocks, 3)[:20]
    found = metrics.draw_scores(targets, values, block, weights)
    for draw, weight in enumerate(weights):
        rows = np.repeat(np.arange(n), weight.astype(int)[block])
        expected = metrics.one_cell(targets[rows], values[rows])
        for metric in metrics.METRICS:
            # Only the AUC of many-valued predictions is binned.
            near = 5e-4 if metric == "auc" and levels is None else 1e-6
            assert found[metric][draw] == pytest.approx(expected[metric], abs=near)


def scored_files(folder, better=0.25, seed=0, span=400_000, rows=None):
    """Sites, and predictions of three models: one good, one worse, and one as good as the good one by chance."""
    chrom, position, split, states = some_sites(3000, 3, seed=seed, span=span)
    cells = write_sites(folder / "sites.arrow", chrom, position, split, states, rows)
    rng = np.random.default_rng(seed + 1)
    truth = np.where(states < 0, rng.random(states.shape) < 0.5, states == 1)
    paths = {}
    for model, strength in (("good", better), ("poor", 0.05), ("twin", better)):
        values = np.clip(rng.normal(0.5 + strength * (2 * truth - 1), 0.3), 0, 1).astype(np.float32)
        paths[model] = folder / f"{model}.parquet"
        write_predictions(paths[model], cells, values)
    marks = pd.DataFrame({"site": np.arange(3000), "islands": position < span // 3, "nowhere": False})
    write_parquet(folder / "annotations.parquet", marks)
    return chrom, position, split, states, paths, marks


def test_all_models_are_scored_on_the_test_sites_alone(tmp_path):
    _, _, split, states, paths, marks = scored_files(tmp_path, rows=700)
    found = metrics.score_all(tmp_path / "sites.arrow", paths, tmp_path / "annotations.parquet", 5)
    assert found.blocks == 40
    assert len(found.scores) == 3 * 3 * 3 * 6
    for name, inside in (("all", np.ones(3000, bool)), ("islands", marks["islands"].to_numpy())):
        rows = (split == 2) & inside
        for model, path in paths.items():
            values = read_parquet(path).drop(columns="site").to_numpy()
            expected = metrics.cell_scores(states[rows], values[rows])
            for at in range(3):
                part = found.scores.query(
                    "model == @model and annotation == @name and cell == @cell",
                    local_dict={"model": model, "name": name, "cell": f"cell{at + 1}"},
                )
                assert part["metric"].tolist() == list(metrics.METRICS)
                assert np.allclose(part["value"], expected.loc[at, list(metrics.METRICS)].to_numpy(float))
                assert (part["n"] == expected.loc[at, "n"]).all()
    nowhere = found.scores[found.scores["annotation"] == "nowhere"]
    assert nowhere["value"].isna().all()
    assert (nowhere["n"] == 0).all()


def test_the_summary_is_the_mean_over_cells_with_an_interval_around_it(tmp_path):
    _, _, split, states, paths, _ = scored_files(tmp_path)
    found = metrics.score_all(tmp_path / "sites.arrow", paths, None, 5)
    summary = metrics.summarise(found).set_index(["model", "metric"])
    assert list(summary.columns) == ["value", "ci_low", "ci_high", "n"]
    each = found.scores.query("model == 'good' and metric == 'auc'")
    row = summary.loc[("good", "auc")]
    assert row["value"] == pytest.approx(each["value"].mean())
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert 0.005 < row["ci_high"] - row["ci_low"] < 0.1
    assert row["n"] == (states[split == 2] >= 0).sum()
    values = read_parquet(paths["good"]).drop(columns="site").to_numpy()[split == 2]
    seen, pooled = states[split == 2] >= 0, summary.loc[("good", "auc_pooled")]
    assert pooled["value"] == pytest.approx(roc_auc_score(states[split == 2][seen], values[seen]), abs=1e-4)
    assert pooled["ci_low"] < pooled["value"] < pooled["ci_high"]
    assert pooled["ci_high"] - pooled["ci_low"] == pytest.approx(row["ci_high"] - row["ci_low"], rel=0.2)
    assert pooled["n"] == row["n"]
    assert metrics.summarise(metrics.score_all(tmp_path / "sites.arrow", paths, None, 5)).equals(
        metrics.summarise(found)
    )


def test_models_are_compared_in_pairs(tmp_path):
    *_, paths, _ = scored_files(tmp_path)
    found = metrics.compare(metrics.score_all(tmp_path / "sites.arrow", paths, None, 5))
    auc = found[found["metric"] == "auc"].set_index(["model", "other"])
    assert list(auc.index) == [("good", "poor"), ("good", "twin"), ("poor", "twin")]
    better, alike = auc.loc[("good", "poor")], auc.loc[("good", "twin")]
    assert better["ci_low"] > 0
    assert better["p"] == pytest.approx(2 / 2001)
    assert better["p_holm"] == pytest.approx(3 * 2 / 2001)
    assert alike["ci_low"] < 0 < alike["ci_high"]
    assert alike["p"] > 0.05


def test_intervals_are_wider_for_sites_that_hang_together():
    """The variance of a mean over blocks of equal sites is that of the blocks: wider than sites drawn one by one."""
    rng = np.random.default_rng(0)
    block = np.repeat(np.arange(200), 25)
    targets = np.repeat((rng.random(200) < 0.5).astype(np.int8), 25)
    values = np.repeat(rng.random(200).astype(np.float32), 25)
    widths = []
    for which in (block, rng.permutation(block)):
        drawn = metrics.draw_scores(targets, values, which, metrics._weights(200, 0))["accuracy"]
        widths.append(np.std(drawn))
    # A share near 0.5 of 200 blocks: sd about sqrt(0.25 / 200) = 0.035, of 5,000 sites 0.007.
    assert widths[0] == pytest.approx(0.035, rel=0.15)
    assert widths[1] == pytest.approx(0.007, rel=0.15)


def test_intervals_lie_around_the_value_and_within_what_is_possible():
    draws = np.concatenate([np.linspace(0.5, 0.9, 401), [np.nan] * 3])
    around = metrics._around(0.9, draws)
    assert len(around) == 401
    assert around.mean() == pytest.approx(0.9)
    assert metrics._interval(around) == pytest.approx((0.71, 1.09))
    assert metrics._interval(around, 0, 1) == pytest.approx((0.71, 1))
    for nothing in (metrics._around(np.nan, draws), metrics._around(0.9, None), metrics._around(0.9, draws[-3:])):
        assert np.isnan(metrics._interval(nothing)).all()


def test_few_blocks_give_no_interval(tmp_path):
    chrom, position, split, states = some_sites(300, 2, span=40_000)
    cells = write_sites(tmp_path / "sites.arrow", chrom, position, split, states)
    write_predictions(tmp_path / "a.parquet", cells, np.random.default_rng(0).random((300, 2), dtype=np.float32))
    found = metrics.score_all(tmp_path / "sites.arrow", {"a": tmp_path / "a.parquet"}, None, 0)
    assert found.blocks == 4
    summary = metrics.summarise(found)
    assert summary["value"].notna().all()
    assert summary["ci_low"].isna().all()
    assert metrics.compare(found).empty


def test_what_does_not_belong_together_is_said(tmp_path):
    chrom, position, split, states = some_sites(60, 2)
    sites = tmp_path / "sites.arrow"
    cells = write_sites(sites, chrom, position, split, states)
    values = np.zeros((60, 2), dtype=np.float32)
    write_predictions(tmp_path / "short.parquet", cells, values[:50])
    write_predictions(tmp_path / "other.parquet", ["cell1", "x"], values)
    write_predictions(tmp_path / "good.parquet", cells, values)
    write_parquet(tmp_path / "marks.parquet", pd.DataFrame({"site": np.arange(9), "islands": True}))
    for name, message in (
        ("short", r"short.parquet does not belong to these sites and cells \(50 of 60 sites\): delete it"),
        ("other", r"other.parquet does not belong to these sites and cells \(no column 'cell2'\): delete it"),
        ("none", r"none.parquet is damaged"),
    ):
        with pytest.raises(InputError, match=message):
            metrics.score_all(sites, {"m": tmp_path / f"{name}.parquet"}, None, 0)
    with pytest.raises(InputError, match=r"marks.parquet does not belong to these sites \(9 of 60\)"):
        metrics.score_all(sites, {"m": tmp_path / "good.parquet"}, tmp_path / "marks.parquet", 0)
    write_sites(sites, chrom, position, np.zeros(60), states)
    with pytest.raises(InputError, match=r"single_cell.split: no site on the test chromosomes is observed"):
        metrics.score_all(sites, {"m": tmp_path / "good.parquet"}, None, 0)
    with pytest.raises(InputError, match=r"lost.arrow is damaged"):
        Sites(tmp_path / "lost.arrow")


# --- peers -----------------------------------------------------------------------------------------------------------


def test_window_mean_by_hand(tmp_path):
    """Neighbours within 1,500 bases either way, of the same chromosome and cell, without the site's own state."""
    chrom = ["1"] * 4 + ["2"] * 2
    position = np.array([100, 1600, 1601, 9000, 120, 1620])
    states = np.array([[1, 0, -1], [1, -1, -1], [0, -1, -1], [0, 1, 1], [-1, 1, -1], [1, 0, -1]], dtype=np.int8)
    write_sites(tmp_path / "sites.arrow", chrom, position, [0, 0, 0, 2, 0, 0], states)
    peers.window_mean(tmp_path / "sites.arrow", tmp_path / "out.parquet")
    found = read_parquet(tmp_path / "out.parquet")
    assert found["site"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["cell1"].dtype == np.float32
    # Training rates: cell1 3 of 4, cell2 1 of 3 (the fourth row is for testing).
    assert found["cell1"].tolist() == pytest.approx([1, 0.5, 1, 0.75, 1, 0.75])
    assert found["cell2"].tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3, 0, 1])
    assert found["cell3"].tolist() == [0.5] * 6  # never seen in training


def test_window_mean_against_the_slow_way_over_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "ROWS", 37)
    chrom, position, split, states = some_sites(400, 3, span=20_000)
    cells = write_sites(tmp_path / "sites.arrow", chrom, position, split, states, rows=29)
    peers.window_mean(tmp_path / "sites.arrow", tmp_path / "out.parquet", 801)
    found = read_parquet(tmp_path / "out.parquet")[cells].to_numpy()
    for cell in range(3):
        training = states[(split == 0) & (states[:, cell] >= 0), cell]
        for row in range(400):
            near = [
                states[other, cell]
                for other in range(400)
                if other != row
                and chrom[other] == chrom[row]
                and abs(position[other] - position[row]) <= 400
                and states[other, cell] >= 0
            ]
            assert found[row, cell] == pytest.approx(np.mean(near) if near else training.mean(), abs=1e-6)


def test_kmer_frequencies_by_hand():
    dna = np.array([[0, 1, 2, 1, 2], [0, 1, 4, 1, 2], [4, 4, 4, 4, 4]], dtype=np.uint8)  # ACGCG, ACNCG, NNNNN
    found = kmers.frequencies(dna, 2)
    expected = np.zeros((3, 16))
    expected[0, [0 * 4 + 1, 1 * 4 + 2, 2 * 4 + 1]] = 0.25, 0.5, 0.25  # AC, CG twice, GC
    expected[1, [0 * 4 + 1, 1 * 4 + 2]] = 0.5, 0.5
    assert np.allclose(found, expected)
    assert np.allclose(kmers.composition(dna)[0], [0.2, 0.4, 0.4, 0, 0.4, 2 * 5 / (2 * 2)])
    assert np.allclose(kmers.composition(dna)[1], [0.25, 0.5, 0.25, 0, 0.25, 1 * 4 / (2 * 1)])
    assert not kmers.composition(dna)[2].any()


def test_one_hot_codes():
    found = kmers.one_hot(np.array([[3, 4, 0]], dtype=np.uint8))
    assert found.dtype == np.float32
    assert found[0].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]]


def forest_files(folder, dna=True, seed=0):
    """Sites whose state in cell1 follows the base at the window's third place, in cell2 the nearest neighbour's."""
    rng = np.random.default_rng(seed)
    n = 900
    chrom, position, split, states = some_sites(n, 3, seed=seed, span=200_000)
    codes = rng.integers(0, 4, (n, 21)).astype(np.uint8)
    codes[:, 8:12] = np.where(states[:, :1] == 1, 0, 3)
    paths = write_windows(folder / "windows", chrom, position, split, states, codes if dna else None)
    return chrom, position, split, states, codes, paths


def forest_of(paths, out, **how):
    peers.random_forest(paths, out.parent / "sites.arrow", out, cpg_wlen=4, seed=3, **how)


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forest")
    return folder, *forest_files(folder)


def test_windows_are_read_as_they_were_written(forest):
    _, _, position, split, states, codes, paths = forest
    blocks = list(window_blocks(paths))
    assert max(len(block.site) for block in blocks) == 7
    assert np.array_equal(np.concatenate([block.site for block in blocks]), np.arange(900))
    for name, expected in (("position", position), ("split", split), ("targets", states), ("dna", codes)):
        assert np.array_equal(np.concatenate([getattr(block, name) for block in blocks]), expected)


def test_forests_learn_from_dna_and_neighbours(forest):
    folder, _, _, split, states, _, paths = forest
    forest_of(paths, folder / "out.parquet", peer_rows=400, trees=20)
    found = read_parquet(folder / "out.parquet")
    assert found["site"].tolist() == list(range(900))
    values = found.drop(columns="site").to_numpy()
    assert values.dtype == np.float32
    scores = metrics.cell_scores(states[split == 2], values[split == 2])
    assert scores["auc"][0] > 0.97  # its state is written in the DNA
    assert (scores["auc"] > 0.75).all()
    forest_of(paths, folder / "again.parquet", peer_rows=400, trees=20, threads=5)
    assert (folder / "again.parquet").read_bytes() == (folder / "out.parquet").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["again.parquet", "out.parquet", "sites.arrow", "windows"]


def test_a_forest_is_scikit_learns_on_the_same_features(forest):
    """With room for all training sites, nothing is chosen: the same forest grown here from features made here."""
    from sklearn.ensemble import RandomForestClassifier

    folder, chrom, position, split, states, codes, paths = forest
    forest_of(paths, folder / "all.parquet", peer_rows=10**6, trees=5)
    found = read_parquet(folder / "all.parquet")["cell2"].to_numpy()
    neighbours, far = neighbours_of(chrom, position, states, 4)
    neighbours, far = neighbours[:, 1].astype(float), far[:, 1].astype(float)
    far = np.where(neighbours < 0, FAR, np.minimum(far, FAR))
    neighbours[neighbours < 0] = 0.5
    letters = ["".join("ACGT"[code] for code in row) for row in codes]
    words = ["".join(word) for word in np.array(np.meshgrid(*[list("ACGT")] * 4, indexing="ij")).reshape(4, -1).T]
    shares = [[sum(text[at : at + 4] == word for at in range(18)) / 18 for word in words] for text in letters]
    bases = [[text.count(base) / 21 for base in "ACGT"] for text in letters]
    cpgs = [text.count("CG") for text in letters]
    ratio = [
        count * 21 / (text.count("C") * text.count("G")) if text.count("C") * text.count("G") else 0
        for count, text in zip(cpgs, letters, strict=True)
    ]
    x = np.column_stack([neighbours, far, shares, bases, np.array(cpgs) / 21, ratio]).astype(np.float32)
    rows = (split == 0) & (states[:, 1] >= 0)
    seed = int(np.random.SeedSequence([3, 1]).generate_state(3)[1])
    model = RandomForestClassifier(5, min_samples_leaf=5, random_state=seed).fit(x[rows], states[rows, 1])
    assert np.allclose(found, model.predict_proba(x)[:, 1], atol=1e-6)


def test_a_forest_learns_from_no_more_sites_than_configured(forest):
    *_, states, _, paths = forest
    chosen, n = peers._chosen(paths, 3, 50, 1)
    assert n == 900
    for cell, rows in enumerate(chosen):
        assert len(rows) == 50
        assert len(np.unique(rows)) == 50
        assert (states[rows, cell] >= 0).all()
        assert rows.max() < 600  # the last third is for testing
        assert 200 < rows.mean() < 400  # from all over
    assert not np.array_equal(chosen[0], peers._chosen(paths, 3, 50, 2)[0][0])


def test_forests_without_dna_and_for_cells_of_one_state(tmp_path):
    chrom, position, split, states = some_sites(90, 3)
    states[:, 1] = np.where(states[:, 1] >= 0, 1, -1)
    states[split == 0, 2] = -1
    paths = write_windows(tmp_path / "windows", chrom, position, split, states, None)
    forest_of(paths, tmp_path / "out.parquet", peer_rows=100, trees=3)
    found = read_parquet(tmp_path / "out.parquet")
    assert (found["cell2"] == 1).all()
    assert (found["cell3"] == 0.5).all()
    assert found["cell1"].nunique() > 2


# --- complete profiles -----------------------------------------------------------------------------------------------


def imputed_files(folder):
    states = np.array([[1, -1], [-1, 0], [-1, -1]], dtype=np.int8)
    cells = write_sites(folder / "sites.arrow", ["chr1", "chr1", "chrX"], np.array([11, 250, 7]), [0, 0, 2], states)
    values = np.array([[0.25, 0.9], [0.05, 0.6], [0.12345, 0.5]], dtype=np.float32)
    write_predictions(folder / "model.parquet", cells, values)
    return folder / "sites.arrow", folder / "model.parquet"


def test_bedgraphs_by_hand(tmp_path):
    sites, predictions = imputed_files(tmp_path)
    table = imputation.write_bedgraphs(sites, predictions, tmp_path / "out", model="joint")
    text = gzip.decompress((tmp_path / "out" / "cell1.bedGraph.gz").read_bytes()).decode()
    assert text == (
        'track type=bedGraph name="cell1" description="methylation of cell1, filled in by joint"\n'
        "chr1\t10\t11\t1\nchr1\t249\t250\t0.05\nchrX\t6\t7\t0.123\n"
    )
    first = table.iloc[0]
    assert first[["cell", "sites", "observed", "imputed", "confident"]].tolist() == ["cell1", 3, 1, 2, 1]
    assert first["confident_share"] == 0.5
    assert first["rate_observed"] == 1
    assert first["rate_all"] == pytest.approx((1 + 0.05 + 0.12345) / 3)
    assert table.iloc[1][["observed", "imputed", "confident"]].tolist() == [1, 2, 1]


def test_bedgraphs_of_predictions_everywhere_and_the_same_bytes(tmp_path):
    sites, predictions = imputed_files(tmp_path)
    for name in ("out", "again"):
        imputation.write_bedgraphs(sites, predictions, tmp_path / name, model="joint", imputed="all")
    text = gzip.decompress((tmp_path / "out" / "cell2.bedGraph.gz").read_bytes()).decode().splitlines()
    assert [line.split("\t")[3] for line in text[1:]] == ["0.9", "0.6", "0.5"]
    for cell in ("cell1", "cell2"):
        assert (tmp_path / "out" / f"{cell}.bedGraph.gz").read_bytes() == (
            tmp_path / "again" / f"{cell}.bedGraph.gz"
        ).read_bytes()


def test_many_cells_are_written_in_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(imputation, "FILES_AT_ONCE", 2)
    chrom, position, split, states = some_sites(500, 5)
    cells = write_sites(tmp_path / "sites.arrow", chrom, position, split, states)
    values = np.random.default_rng(0).random((500, 5), dtype=np.float32)
    write_predictions(tmp_path / "m.parquet", cells, values)
    table = imputation.write_bedgraphs(tmp_path / "sites.arrow", tmp_path / "m.parquet", tmp_path / "out", model="m")
    assert table["cell"].tolist() == cells
    for at, cell in enumerate(cells):
        frame = pd.read_csv(tmp_path / "out" / f"{cell}.bedGraph.gz", sep="\t", skiprows=1, header=None)
        assert frame[0].tolist() == chrom
        assert (frame[1] + 1 == position).all()
        assert (frame[2] == position).all()
        expected = np.where(states[:, at] >= 0, states[:, at], values[:, at])
        assert np.abs(frame[3] - expected).max() <= 0.0005 + 1e-6
        assert table["observed"][at] == (states[:, at] >= 0).sum()
        unsure = (values[:, at] < 0.9) & (values[:, at] > 0.1)
        assert table["confident"][at] == (~unsure & (states[:, at] < 0)).sum()


def test_names_that_are_no_file_names(tmp_path):
    sites, predictions = imputed_files(tmp_path)
    table = pa.ipc.open_file(sites.read_bytes()).read_all().replace_schema_metadata({b"cells": '["a/b", "c"]'})
    with pa.OSFile(str(sites), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match="cells need names that can be file names, unlike 'a/b': rename them"):
        imputation.write_bedgraphs(sites, predictions, tmp_path / "out", model="m")
    assert not (tmp_path / "out").exists()


# --- motifs ----------------------------------------------------------------------------------------------------------


def codes_of(text):
    return np.array(["ACGTN".index(letter) for letter in text], dtype=np.uint8)


def planted(consensus="TTGACGCA", n=400, wlen=101, seed=0):
    """Windows of which half hold a motif somewhere; and which do."""
    rng = np.random.default_rng(seed)
    sequences = rng.integers(0, 4, (n, wlen)).astype(np.uint8)
    has = rng.random(n) < 0.5
    for row in np.flatnonzero(has):
        at = rng.integers(0, wlen - len(consensus))
        sequences[row, at : at + len(consensus)] = codes_of(consensus)
    return sequences, has


def filters_for(consensus, width=11, before=1):
    """Weights and bias of three filters: one for a consensus, a dead one, and one for any base at its first place."""
    weights = np.zeros((3, 4, width), dtype=np.float32)
    for at, letter in enumerate(consensus, before):
        weights[0, :, at] = -1
        weights[0, "ACGT".index(letter), at] = 1
    weights[2, :, 0] = 1
    return weights, np.array([-4, -1, 0], dtype=np.float32)


def test_activations_and_what_is_aligned_worked_out_by_hand():
    """One filter for CG: it gives 1 at each CG, 0 elsewhere; mean 4 of 24 places, threshold half-way to 1."""
    weights = np.zeros((1, 4, 2), dtype=np.float32)
    weights[0, 1, 0] = weights[0, 2, 1] = 1
    sequences = np.stack([codes_of(text) for text in ("ACGTA", "CGCGT", "AAAAA", "TTCGN", "TTTTT", "GGGCC")])
    found, activity = motifs.filter_motifs(weights, np.array([-1], dtype=np.float32), sequences)
    assert len(found) == 1
    assert found[0].mean == pytest.approx(4 / 24)
    assert found[0].max == 1
    assert found[0].threshold == pytest.approx(4 / 24 + (1 - 4 / 24) / 2)
    assert found[0].sites == 4
    assert found[0].pwm is None  # four sites are too few
    near = np.array([0.1, 1, 1, 0.1]) / 2.2
    assert np.allclose(motifs.position_weights(4), near)
    assert np.allclose(motifs.position_weights(5), np.array([0.1, 0.55, 1, 0.55, 0.1]) / 2.3)
    assert np.allclose(activity[:, 0], [near[1], near[0] + near[2], 0, near[2], 0, 0])


def test_filters_show_what_excites_them():
    sequences, has = planted()
    weights, bias = filters_for("TTGACGCA")
    found, activity = motifs.filter_motifs(weights, bias, sequences)
    motif, dead, anything = found
    # At least 7 of 8 letters: 8 gives 4, 7 gives 2; below the mean is near 0 and the threshold near 2.
    exact = sum("TTGACGCA" in "".join("ACGT"[code] for code in row[1:98]) for row in sequences)
    assert motif.sites >= exact > 150
    assert motifs.consensus_of(motif.pwm)[1:9] == "TTGACGCA"
    assert motif.information > 8
    assert dead.pwm is None
    assert dead.max == dead.sites == 0
    assert anything.information < 0.5
    assert np.corrcoef(activity[:, 0], has)[0, 1] > 0.6
    rates = has * 0.8 + 0.1
    found = motifs.table([motif, dead, anything], activity, rates)
    assert found["correlation"][0] == pytest.approx(np.corrcoef(activity[:, 0], rates)[0, 1])
    assert np.isnan(found["correlation"][1])
    rates[:50] = np.nan
    assert motifs.correlate(activity, rates)[0] == pytest.approx(np.corrcoef(activity[50:, 0], rates[50:])[0, 1])


def test_only_the_strongest_sites_are_kept(monkeypatch):
    sequences, _ = planted()
    weights, bias = filters_for("TTGACGCA")
    monkeypatch.setattr(motifs, "MOST_SITES", 100)
    found, _ = motifs.filter_motifs(weights, bias, sequences)
    assert found[0].sites == 100
    assert found[0].pwm[1:9].max(axis=1) == pytest.approx([101 / 104] * 8)  # all of them hold the whole motif


def test_matrices_and_information_by_hand():
    words = np.stack([codes_of(text) for text in ("AC", "AC", "AG", "AN")])
    pwm = motifs.matrix_of(words)
    assert np.allclose(pwm, [[5 / 8, 1 / 8, 1 / 8, 1 / 8], [1 / 7, 3 / 7, 2 / 7, 1 / 7]])
    assert np.allclose(motifs.information(np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])), [2, 0, 1])
    assert motifs.consensus_of(np.array([[0, 0, 1, 0], [0.3, 0.25, 0.25, 0.2]])) == "Ga"


def test_a_consensus_is_found_at_its_place_and_strand():
    pwm = np.full((11, 4), 0.25)
    pwm[2:10] = 0.02 + 0.92 * np.eye(4)[codes_of("TTGACGCA")]
    found = motifs.match_consensus(pwm, "TTGACGCA")
    assert found["similarity"] == pytest.approx(1)
    assert (found["offset"], found["strand"]) == (2, "+")
    assert found["p"] < 0.001
    turned = motifs.match_consensus(pwm, "TGCGTCAA")
    assert turned["similarity"] == pytest.approx(1)
    assert (turned["offset"], turned["strand"]) == (1, "-")  # 11 - 8 - 2
    inside = motifs.match_consensus(pwm, "CCTTGACGCA")
    assert (inside["offset"], inside["strand"]) == (0, "+")
    assert inside["similarity"] == pytest.approx(0.8)
    assert motifs.match_consensus(pwm, "AATTTTAA")["p"] > 0.05
    assert motifs.match_consensus(pwm, "TTGRYGCA")["similarity"] == pytest.approx((6 + 2 / np.sqrt(3)) / 8)


def test_the_p_value_of_a_match_is_that_of_shuffles_done_slowly(monkeypatch):
    rng = np.random.default_rng(4)
    pwm = rng.dirichlet(np.full(4, 0.3), 9)
    found = motifs.match_consensus(pwm, "ACGTTG", seed=1)
    wanted = motifs.consensus_matrix("ACGTTG")

    def best(matrix):
        values = []
        for one in (matrix, matrix[::-1, ::-1]):
            for offset in range(-1, 5):  # five of six letters at least
                pairs = [(offset + at, at) for at in range(6) if 0 <= offset + at < 9]
                values.append(sum(np.corrcoef(one[a], wanted[b])[0, 1] for a, b in pairs) / 6)
        return max(values)

    assert found["similarity"] == pytest.approx(best(pwm))
    shuffled = np.array([best(rng.permutation(pwm)) for _ in range(600)])
    p = (shuffled >= found["similarity"] - 1e-9).mean()
    assert found["p"] == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 600) + 0.005)


def test_a_planted_motif_is_found_and_one_that_is_not_there_is_not():
    sequences, _ = planted()
    weights, bias = filters_for("TTGACGCA")
    found, _ = motifs.filter_motifs(weights, bias, sequences)
    planted_one = motifs.find_consensus(found, "TTGACGCA")
    assert planted_one["filter"].tolist() == [0, 2]
    assert planted_one["p_holm"][0] < 0.01
    assert (motifs.find_consensus(found, "GGCCAATT")["p_holm"] > 0.05).all()
    assert motifs.find_consensus([found[1]], "ACGT").empty


def test_a_consensus_in_other_letters_is_refused():
    with pytest.raises(InputError, match="consensus holds the letters J, X: write it in the IUPAC letters ABC"):
        motifs.consensus_matrix("ACXJ")
    with pytest.raises(InputError, match="a motif's consensus holds nothing"):
        motifs.consensus_matrix(" ")


@pytest.mark.parametrize("name", ["CnnL2h128", "ResNet01"])
def test_the_first_layer_is_what_the_network_computes(name):
    torch.manual_seed(0)
    network = create_model(name, length=101)
    if name == "ResNet01":
        torch.nn.init.normal_(network.stem[1].weight)
        network.stem[1](torch.randn(64, 128, 91) * 3 + 1)  # running means that are not the first
    network.eval()
    sequences = np.random.default_rng(0).integers(0, 5, (5, 101)).astype(np.uint8)
    seen = []
    relu = next(layer for layer in network.stem if isinstance(layer, torch.nn.ReLU))
    relu.register_forward_hook(lambda module, inputs, output: seen.append(output.detach().numpy()))
    with torch.inference_mode():
        network(torch.from_numpy(kmers.one_hot(sequences)))
    first, found = next(iter(motifs._activations(*motifs.first_layer(network), sequences)))
    assert first == 0
    assert np.allclose(found, seen[0], atol=1e-5)


def read_meme(text):
    """A strict reader of MEME's minimal format, version 4: alphabet, background, and motifs by name."""
    lines = iter(text.split("\n"))
    assert next(lines) == "MEME version 4"
    assert next(lines) == ""
    assert next(lines) == "ALPHABET= ACGT"
    assert next(lines) == ""
    assert next(lines) == "strands: + -"
    assert next(lines) == ""
    assert next(lines) == "Background letter frequencies"
    words = next(lines).split()
    assert words[::2] == list("ACGT")
    background, found = [float(word) for word in words[1::2]], {}
    assert next(lines) == ""
    for line in lines:
        if not line:
            continue
        name = re.fullmatch(r"MOTIF (\S+) ([ACGTacgt]+)", line).group(1)
        header = re.fullmatch(r"letter-probability matrix: alength= 4 w= (\d+) nsites= (\d+) E= 0", next(lines))
        rows = [[float(word) for word in next(lines).split()] for _ in range(int(header.group(1)))]
        assert all(len(row) == 4 and abs(sum(row) - 1) < 1e-9 for row in rows)
        assert next(lines) == ""
        found[name] = (np.array(rows), int(header.group(2)))
    return background, found


def test_meme_files_read_back(tmp_path):
    sequences, _ = planted()
    found, _ = motifs.filter_motifs(*filters_for("TTGACGCA"), sequences)
    motifs.write_meme(tmp_path / "motifs.meme", found, motifs.background_of(sequences))
    background, back = read_meme((tmp_path / "motifs.meme").read_text())
    assert sum(background) == pytest.approx(1, abs=1e-9)
    counts = [(sequences == base).sum() + 1 for base in range(4)]
    assert np.allclose(background, np.array(counts) / sum(counts), atol=1e-6)
    assert list(back) == ["filter0", "filter2"]
    pwm, sites = back["filter0"]
    assert sites == found[0].sites
    assert np.abs(pwm - found[0].pwm).max() < 3e-6


def test_a_logo_stacks_letters_as_high_as_their_bits():
    pwm = np.array([[1.0, 0, 0, 0], [0.5, 0, 0.5, 0], [0.25] * 4])
    figure, axes = plt.subplots()
    motifs.logo(axes, pwm)
    boxes = [patch.get_path().get_extents() for patch in axes.patches]
    assert [round(box.height, 3) for box in boxes] == [2, 0.5, 0.5]
    assert [round(box.y0, 3) for box in boxes] == [0, 0, 0.5]
    assert [round((box.x0 + box.x1) / 2, 1) for box in boxes] == [1, 2, 2]
    text = svg_text(figure, "logo")
    plt.close(figure)
    assert text.count(motifs.LETTER_COLOURS["A"].lower()) == 2
    assert "<text" not in text.split('id="patch_', 1)[1].split('id="matplotlib.axis', 1)[0]


# --- mutation effects ------------------------------------------------------------------------------------------------


def test_every_substitution_is_predicted_for_itself(monkeypatch):
    """Against sequences written out as text, mutated and predicted one by one."""
    monkeypatch.setattr(effects, "BATCH", 13)
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(4 * 21, 3))

    def predict(dna):
        assert dna.dtype == np.float32
        assert dna.shape[1:] == (4, 21)
        return (1 / (1 + np.exp(-np.tanh(dna.reshape(len(dna), -1) @ mix)))).astype(np.float32)

    texts = ["".join(rng.choice(list("ACGT"), 21)) for _ in range(3)]
    texts[1] = texts[1][:8] + "N" + texts[1][9:]
    found = effects.mutation_effects(predict, np.stack([codes_of(text) for text in texts]), span=4)
    assert found.shape == (3, 9, 4, 3)
    assert effects.offsets_of(21, 4).tolist() == [-4, -3, -2, -1, 0, 1, 2, 3, 4]
    assert len(effects.offsets_of(21, 50)) == 21
    for row, text in enumerate(texts):
        for number, offset in enumerate(range(-4, 5)):
            for base, letter in enumerate("ACGT"):
                mutated = text[: 10 + offset] + letter + text[11 + offset :]
                both = predict(kmers.one_hot(np.stack([codes_of(text), codes_of(mutated)])))
                expected = both[1] - both[0] if text[10 + offset] != "N" else np.full(3, np.nan)
                assert np.allclose(found[row, number, base], expected, atol=1e-6, equal_nan=True)


class Linear(torch.nn.Module):
    """Logits linear in the sequence, for two cells."""

    def __init__(self, scale):
        super().__init__()
        weights = torch.randn(4 * 15, 2, generator=torch.Generator().manual_seed(1))
        self.weights = torch.nn.Parameter(weights * scale)

    def forward(self, dna):
        return dna.flatten(1) @ self.weights


@pytest.mark.parametrize("target", ["mean", "var"])
def test_gradients_approximate_small_effects(target):
    """With small weights the sigmoid is nearly straight, and the first order nearly all."""
    network = Linear(0.01)
    sequences = np.random.default_rng(0).integers(0, 4, (6, 15)).astype(np.uint8)
    sequences[2, 7] = 4

    predict = effects.predictor(network)
    exact = effects.mutation_effects(predict, sequences, 3)
    if target == "mean":
        exact = exact.mean(axis=3)
    else:
        before = predict(kmers.one_hot(sequences))[:, None, None]
        exact = (before + exact).var(axis=3) - before.var(axis=3)
    found = effects.gradient_effects(network, sequences, 3, target)
    assert found.shape == (6, 7, 4)
    assert np.array_equal(np.isnan(found), np.isnan(exact))
    assert np.isnan(found[2, 3]).all()
    known = ~np.isnan(exact)
    assert np.corrcoef(found[known], exact[known])[0, 1] > 0.97
    if target == "mean":
        assert np.allclose(found[known], exact[known], atol=2e-5)
        assert np.abs(exact[known]).max() > 2e-3


def test_effects_by_distance_by_hand():
    change = np.zeros((2, 3, 4, 2), dtype=np.float32)
    change[0, 0, :3] = [[0.2, 0.4], [-0.3, -0.3], [0, 0]]
    change[1, 0, 1:] = [[0.1, -0.1], [0.6, 0.6], [0, 0]]
    change[1, 2] = np.nan
    found = effects.by_distance(change, 101, 1)
    assert found["offset"].tolist() == [-1, 0, 1]
    assert found["n"].tolist() == [2, 2, 1]
    # Site 1: 0.3, 0.3, 0; site 2: 0, 0.6, 0.
    assert found["effect"].tolist() == pytest.approx([1.2 / 6, 0, 0])
    assert found["largest"].tolist() == pytest.approx([(0.3 + 0.6) / 2, 0, 0])
    assert effects.by_distance(change.mean(axis=3), 101, 1).equals(found)


class Genome(dict):
    """Sequences by name, as codes."""

    @property
    def lengths(self):
        return {name: len(codes) for name, codes in self.items()}


GENOME = Genome(chr1=codes_of("AACGTTTACGCATTNCGAAA"), chrX=codes_of("TTTTTT"))


def variants_file(path, *rows):
    path.write_text("chrom,position,ref,alt\n" + "\n".join(rows) + "\n")
    return path


def test_effects_of_variants_by_hand(tmp_path):
    """The network counts the As of a window of 11 bases, and the second cell sees the opposite."""
    file = variants_file(tmp_path / "v.csv", "chrX,2,T,C", "1,5,t,a", "chr1,4,G,A", "chr1,10,G,T", "chr1,7,T,C")
    variants = effects.read_variants(file, GENOME)
    assert variants["chrom"].tolist() == ["chrX", "chr1", "chr1", "chr1", "chr1"]
    assert variants["ref"].tolist() == ["T", "T", "G", "G", "T"]

    def predict(dna):
        share = dna[:, 0].sum(axis=1) / 20
        return np.stack([share, 1 - share], axis=1)

    found = effects.variant_effects(GENOME, variants, predict, ["a", "b"], 11, nearest=2)
    # CpGs are at 3, 9 and 16; windows reach 5 bases; on chrX there is none.
    assert found[["position", "cpg", "distance"]].to_numpy().tolist() == [
        [5, 3, 2],
        [5, 9, -4],
        [4, 3, 1],
        [4, 9, -5],
        [10, 9, 1],
        [7, 3, 4],
        [7, 9, -2],
    ]
    assert found["destroys"].tolist() == [False, False, True, False, True, False, False]
    assert not found["creates"].any()
    assert found["effect_a"].tolist() == pytest.approx([0.05, 0.05, np.nan, 0.05, np.nan, 0, 0], nan_ok=True)
    assert found["effect_b"].tolist() == pytest.approx([-0.05, -0.05, np.nan, -0.05, np.nan, 0, 0], nan_ok=True)
    assert found["effect"].dropna().tolist() == pytest.approx([0] * 5, abs=1e-6)
    assert found["before"].tolist() == pytest.approx([0.5] * 7)


def test_a_variant_that_makes_a_cpg_is_said(tmp_path):
    """AACGTTTACGCATTNCGAAA: a G at 12 follows the C at 11; a C at 2 comes before a C."""
    file = variants_file(tmp_path / "v.csv", "chr1,2,A,C", "chr1,12,A,G", "chr1,9,C,A")
    variants = effects.read_variants(file, GENOME)

    def predict(dna):
        return np.zeros((len(dna), 1), dtype=np.float32)

    found = effects.variant_effects(GENOME, variants, predict, ["a"], 11, nearest=1)
    assert found["cpg"].tolist() == [3, 9, 9]
    assert found["creates"].tolist() == [False, True, False]
    assert found["destroys"].tolist() == [False, False, True]
    before = pd.DataFrame({"chrom": ["chr1"], "position": [2], "ref": ["A"], "alt": ["C"]})
    genome = Genome(chr1=codes_of("AAGTTCG"))
    assert effects.variant_effects(genome, before, predict, ["a"], 11, nearest=1)["creates"].tolist() == [True]


def test_variants_that_are_wrong_are_all_reported(tmp_path):
    file = variants_file(
        tmp_path / "v.csv",
        "chr1,3,CG,C",
        "chr1,3,C,C",
        "chr1,x,C,T",
        "chr7,3,C,T",
        "chr1,21,C,T",
        "chr1,1,C,T",
        "chr1,0,C,T",
        "chr1,8,A,G",
    )
    with pytest.raises(InputError) as error:
        effects.read_variants(file, GENOME)
    reported = error.value.problems
    assert len(reported) == 6
    for text in (
        "v.csv, line 2: 'CG' to 'C' is no substitution of one base",
        "v.csv, line 3: ref and alt are both C",
        "v.csv, line 4: 'x' is no position",
        "v.csv, line 5: the genome has no chromosome 'chr7', it has 'chr1', 'chrX'",
        "v.csv, line 6 (and 1 more): position 21 is outside chr1, which has 20 bases: is this another genome build?",
        "v.csv, line 7: ref is C, but the genome has A there. Positions count from 1, on the + strand: check",
    ):
        assert any(text in one for one in reported), text
    variants_file(file, "chr1,3,G,A", "chr1,4,C,T")
    with pytest.raises(InputError, match="these seem to be of the - strand"):
        effects.read_variants(file, GENOME)
    file.write_text("chrom,position\nchr1,3\n")
    with pytest.raises(InputError, match="needs the columns chrom and position and ref and alt"):
        effects.read_variants(file, GENOME)

"""Are ten taxa needed, and enough: on made-up features whose answer is known, and once from drawing to files."""

import functools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from cohorts import cohort_of
from cpgtaxa.embedding import clusters
from cpgtaxa.embedding import embed as embedding
from cpgtaxa.learning.networks import save_model
from cpgtaxa.models import create_model
from cpgtaxa.names import COLOURS, PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.simulation import simulate

CORNERS = 10 * np.eye(10, 40)


def cloud(rng, centre, n):
    return centre + rng.normal(0, 0.6, (n, 40))


def made_up(planted, boundary=60, seed=1):
    """Features of ten taxa, of boundary CpGs of two pairs, and of `planted` CpGs unlike all; with probabilities.

    Simulated boundary CpGs are known for the first pair and for two more.
    """
    rng = np.random.default_rng(seed)
    middle = [(CORNERS[a] + CORNERS[b]) / 2 for a, b in ((0, 1), (2, 3), (6, 8))]
    placed = [cloud(rng, corner, 40) for corner in CORNERS]
    features = np.concatenate([*placed, *(cloud(rng, centre, boundary) for centre in middle[:2])])
    features = np.concatenate([features, cloud(rng, 10 * np.eye(40)[20], planted)])
    taxon = np.array([*np.repeat(TAXA, 40), *[UNCLASSIFIED] * (2 * boundary + planted)], dtype=object)
    p = np.full((len(features), 10), 0.01)
    p[400 : 400 + boundary, [0, 1]] = 0.55, 0.37
    p[400 + boundary : 400 + 2 * boundary, [2, 3]] = 0.37, 0.55
    p[400 + 2 * boundary :, [7, 6]] = 0.9, 0.02
    known = np.concatenate([cloud(rng, centre, 60) for centre in middle])
    return features, known, ["a / b"] * 60 + ["c / d"] * 60 + ["e / f"] * 60, taxon, p


@functools.cache
def separated():
    """Of `made_up` with a planted group."""
    return embedding.separate(*made_up(planted=40), seed=1)


@pytest.fixture
def no_pairs(monkeypatch):
    """Pairs of taxa are not compared, which takes longest."""
    monkeypatch.setattr(clusters, "separability", lambda *_: None)


def test_an_unknown_group_is_a_candidate_and_what_lies_between_is_named_so():
    pairs, found, cluster, _ = separated()
    by_name = {entry["name"]: entry for entry in found}
    assert [entry["n"] for entry in found] == sorted((entry["n"] for entry in found), reverse=True)
    assert set(by_name) == {
        "candidate new taxon",
        "between UniStable and UniUnstable",
        "between LinAgeHet and LinAgeHomo",
    }
    candidate, between = by_name["candidate new taxon"], by_name["between UniStable and UniUnstable"]
    assert set(candidate["members"]) <= set(range(520, 560))
    assert candidate["n"] >= 36
    assert candidate["candidate"]
    assert candidate["stability"] > 0.9
    assert candidate["isolation"] == 1
    assert (candidate["taxon_a"], candidate["taxon_b"]) == ("TriNonAge", "TriAge")
    assert between["isolation"] < 0.7
    assert between["nearest_known"] == "a / b"
    assert between["p_a"] == pytest.approx(0.55)
    assert set(np.flatnonzero(cluster == candidate["cluster"])) == set(candidate["members"])
    assert (cluster[:400] == 0).all()
    assert set(pairs["verdict"]) == {"apart"}


def test_nothing_is_a_candidate_where_nothing_is_planted_however_many_lie_between(no_pairs):
    for boundary in (60, 800):
        _, found, _, _ = embedding.separate(*made_up(planted=0, boundary=boundary), seed=1)
        assert len(found) >= 2
        assert not any(entry["candidate"] for entry in found)


def test_a_group_that_is_known_from_simulation_is_no_candidate(no_pairs):
    features, known, names, taxon, p = made_up(planted=40)
    rng = np.random.default_rng(9)
    known = np.concatenate([known, cloud(rng, 10 * np.eye(40)[20], 60)])
    _, found, _, _ = embedding.separate(features, known, [*names, *["odd"] * 60], taxon, p, seed=1)
    assert len(found) == 3
    assert not any(entry["candidate"] for entry in found)
    assert "odd" in {entry["nearest_known"] for entry in found}


def test_an_unstable_group_is_no_candidate(no_pairs, monkeypatch):
    monkeypatch.setattr(clusters, "stability", lambda x, cluster, seed: np.full(cluster.max() + 1, 0.7))
    _, found, _, _ = embedding.separate(*made_up(planted=40), seed=1)
    assert max(entry["isolation"] for entry in found) == 1
    assert not any(entry["candidate"] for entry in found)


def test_few_or_no_unclassified_give_no_clusters(no_pairs):
    features, known, names, taxon, p = made_up(planted=0)
    for rows in (np.arange(400), np.arange(400 + clusters.FEWEST_UNCLASSIFIED - 1)):
        _, found, cluster, _ = embedding.separate(features[rows], known, names, taxon[rows], p[rows], seed=1)
        assert found == []
        assert not cluster.any()


def test_stability_separates_a_cluster_from_a_cut_through_a_cloud():
    rng = np.random.default_rng(2)
    two = np.concatenate([rng.normal(0, 0.1, (80, 5)), rng.normal(3, 0.1, (60, 5))])
    labels = clusters.find_clusters(two)
    assert labels.tolist() == [0] * 80 + [1] * 60
    assert clusters.stability(two, labels, 1).tolist() == pytest.approx([1, 1], abs=0.05)
    even = rng.random((200, 5))
    assert (clusters.stability(even, (even[:, 0] > 0.5).astype(int), 1) < clusters.STABLE).all()


def test_isolation_is_half_where_mixed_and_one_where_apart_whatever_the_numbers():
    rng = np.random.default_rng(3)
    members = rng.normal(size=(2000, 4))
    for n in (100, 3000):
        far = rng.normal(20, 1, (500, 4))
        mixed, compared = clusters.isolation(members, np.concatenate([far, rng.normal(size=(n, 4))]), 1)
        assert 0.3 < mixed < 0.68
        assert (compared >= 500).all()
    assert clusters.isolation(members, far, 1)[0] == 1


def test_pairs_that_overlap_are_reported_and_small_taxa_are_not_compared():
    rng = np.random.default_rng(4)
    x = np.concatenate([cloud(rng, CORNERS[i], 40) for i in (0, 0, 2, 3)])
    x = np.concatenate([x, cloud(rng, CORNERS[4], 9)])
    pairs = clusters.separability(x, np.array([*np.repeat(TAXA[:4], 40), *[TAXA[4]] * 9], dtype=object), 1)
    assert len(pairs) == 45
    first = pairs.iloc[0]
    assert (first["taxon_a"], first["taxon_b"], first["verdict"]) == ("UniStable", "UniUnstable", "overlapping")
    assert 0.3 < first["balanced_accuracy"] < 0.7
    assert first["low"] < first["balanced_accuracy"]
    assert (pairs["verdict"] == "apart").sum() == 5
    assert (pairs["verdict"] == "too few").sum() == 45 - 6
    near = clusters.nearest(pairs).set_index("taxon")
    assert list(near.index) == list(TAXA)
    assert near.loc["UniUnstable", ["n", "nearest"]].tolist() == [40, "UniStable"]
    assert near.loc["NonAgeHet", ["n", "nearest", "verdict"]].tolist() == [9, "", "too few"]


def test_what_stands_out_by_hand():
    known = pd.DataFrame(0.0, index=range(101), columns=list(clusters.MEANINGS))
    known["mean"] = np.linspace(0, 1, 101)  # median absolute deviation 0.25
    known["core_effect"] = np.linspace(0.09, 0.11, 101)  # of the same size as the cluster's, but up
    known["core_sd_ratio"] = np.linspace(0.9, 1.1, 101)
    mine = known.iloc[:20].assign(mean=0.5 + 3 * 0.25 * 1.4826, core_effect=-0.1, core_sd_ratio=0.5)
    found = dict(clusters.stands_out(mine, known))
    assert found.keys() == {"core_sd_ratio", "mean"}
    assert found["mean"] == pytest.approx(3)
    assert found["core_sd_ratio"] > 10


def test_the_medoid_comes_first_and_its_neighbours_next():
    assert clusters.medoid_first(np.array([[0.0], [1.0], [2.0], [4.5], [30.0]])).tolist() == [2, 1, 0, 3, 4]


def test_choice_is_capped_and_seeded():
    taxon = np.repeat([*TAXA[:2], UNCLASSIFIED], [50, 5, 40]).astype(object)
    rows = embedding.choose(taxon, 10, 20, seed=1)
    assert pd.Series(taxon[rows]).value_counts().to_dict() == {TAXA[0]: 10, TAXA[1]: 5, UNCLASSIFIED: 20}
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == embedding.choose(taxon, 10, 20, seed=1).tolist()
    assert rows.tolist() != embedding.choose(taxon, 10, 20, seed=2).tolist()
    assert UNCLASSIFIED not in taxon[embedding.choose(taxon, 10, 0, seed=1)]


@pytest.mark.parametrize("samples", [embedding.FEWEST_SAMPLES, 400])
def test_boundary_cpgs_of_each_kind(samples, monkeypatch):
    monkeypatch.setattr(embedding, "PER_KIND", 2)
    names, values = embedding.boundary_cpgs(np.linspace(20, 80, samples), seed=1)
    assert values.shape == (2 * len(simulate.boundary_kinds()), samples)
    assert pd.Series(names).value_counts().unique().tolist() == [2]
    assert len(np.unique(values, axis=0)) == len(values)


def test_a_handful_of_samples_gives_no_boundary_cpgs_and_no_clusters(no_pairs):
    names, values = embedding.boundary_cpgs(np.linspace(20, 80, 8), seed=1)
    assert (names, values.shape) == ([], (0, 8))
    features, known, _, taxon, p = made_up(planted=40)
    assert embedding.separate(features, known[:0], [], taxon, p, seed=1)[1] == []
    pairs = pd.DataFrame([("UniStable", "Outlier", 30, 30, 1, 1, "apart")], columns=list(clusters.PAIR_COLUMNS))
    pairs = pd.concat([pairs.assign(taxon_a=taxon) for taxon in TAXA])
    notes = embedding.notes_on(pairs, 100, 8, {"unclassified": 100})
    assert len(notes) == 1
    assert "with 8 samples" in notes[0]


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Files of 90 CpGs × 30 samples, 70 of them Unclassified, and of a network that learnt nothing."""
    setting = simulate.cohort_setting(3, 30)
    cpgs = [f"cg{index:08d} <i>" for index in range(90)]
    values = np.stack([simulate.draw_cpg(3, index, TAXA[index % 10], setting)[1] for index in range(90)])
    cohort_of(tmp_path, values, cpgs)
    pd.DataFrame({"sample_id": [f"S{i}" for i in range(30)], "age": setting.ages}).to_parquet(tmp_path / "samples")
    table = pd.DataFrame({"cpg": cpgs, "taxon": [TAXA[0]] * 12 + [TAXA[1]] * 8 + [UNCLASSIFIED] * 70})
    table["source"] = np.where(table["taxon"] == UNCLASSIFIED, "none", "statistical")
    table[list(PROBABILITY_COLUMNS)] = np.float32(0.1)
    table.to_parquet(tmp_path / "taxonomy")
    statistics = pd.DataFrame(1.0, index=range(90), columns=list(clusters.MEANINGS))
    statistics.assign(cpg=cpgs).to_parquet(tmp_path / "statistics")
    torch.manual_seed(1)
    network = {key: tmp_path / f"round_0/ResNet18_{key}" for key in ("weights", "stats", "card", "features")}
    save_model(
        create_model("ResNet18"),
        network,
        model_name="ResNet18",
        size=32,
        temperature=1.0,
        recipe={},
        seed=1,
        statistics={"mean": [0.5] * 3, "std": [0.5] * 3},
        features=np.zeros((0, 512)),
    )
    monkeypatch.setattr(embedding, "PER_KIND", 2)
    del network["features"]
    return network, *(tmp_path / name for name in ("beta.arrow", "samples", "taxonomy", "statistics"))


def run(cohort, folder, **settings):
    suffixes = {
        "map": "csv", "svg": "svg", "pdf": "pdf", "png": "png", "separability": "csv", "clusters": "csv",
        "summary": "json", "neighbours": "csv",
    }  # fmt: skip
    out = {name: folder / f"{name}.{suffix}" for name, suffix in suffixes.items()}
    settings = {"per_taxon": 10, "unclassified": 3000, "device": "cpu", "precision": "float32"} | settings
    embedding.embed(*cohort, out, settings=settings, seed=1)
    return out


def test_from_drawing_to_files_the_same_bytes_each_time(cohort, tmp_path):
    out, again = run(cohort, tmp_path / "a"), run(cohort, tmp_path / "b")
    for name in out:
        assert out[name].read_bytes() == again[name].read_bytes(), name
    points = pd.read_csv(out["map"])
    assert list(points) == ["cpg", "taxon", "source", "x", "y", "cluster"]
    assert points["taxon"].value_counts().to_dict() == {UNCLASSIFIED: 70, TAXA[0]: 10, TAXA[1]: 8}
    assert np.isfinite(points[["x", "y"]]).all(axis=None)
    assert not points.duplicated(["x", "y"]).any()
    drawing = out["svg"].read_text()
    assert "<dc:date>" not in drawing
    for taxon in (TAXA[0], TAXA[1], UNCLASSIFIED):
        assert COLOURS[taxon].lower() in drawing
    assert out["png"].read_bytes()[:4] == b"\x89PNG"
    assert out["pdf"].read_bytes()[:5] == b"%PDF-"
    assert b"/FontFile2" in out["pdf"].read_bytes()  # TrueType
    summary = json.loads(out["summary"].read_text())
    assert (summary["placed"], summary["unclassified"], summary["round"]) == (18, 70, 0)
    assert len(summary["notes"]) == 1
    assert summary["notes"][0].startswith("Fewer than 10 CpGs are placed in UniUnstable, LinAgeHomo,")


@pytest.mark.parametrize("wanted", [0, 20])
def test_without_or_with_few_unclassified_it_is_said(cohort, tmp_path, wanted):
    out = run(cohort, tmp_path, unclassified=wanted)
    note = json.loads(out["summary"].read_text())["notes"][-1]
    assert ("embedding.unclassified is 0" if wanted == 0 else "Only 20 Unclassified") in note
    found = pd.read_csv(out["clusters"])
    assert list(found) == list(embedding.CLUSTER_COLUMNS)
    assert len(found) == 0


def test_the_table_names_clusters_examples_and_what_stands_out():
    taxon, described = made_up(planted=40)[3], separated()[1]
    statistics = pd.DataFrame(np.random.default_rng(5).normal(size=(len(taxon), len(clusters.MEANINGS))))
    statistics.columns = list(clusters.MEANINGS)
    statistics.loc[520:, "kurtosis"] = 30.0
    # So have the placed CpGs of the two likeliest taxa: nothing to say.
    statistics.loc[(statistics.index >= 520) | np.isin(taxon, ["TriNonAge", "TriAge"]), "dip"] += 30.0
    cpgs = np.array([f"cg{index}" for index in range(len(taxon))], dtype=object)
    found = embedding.table_of(described, cpgs, taxon, statistics).set_index("name")
    row = found.loc["candidate new taxon"]
    assert row["stands_out"].startswith("kurtosis +")
    assert "dip" not in row["stands_out"]
    assert {row[f"example_{number}"] for number in range(1, 6)} < set(cpgs[520:])
    assert found.loc["between UniStable and UniUnstable", "example_1"] in set(cpgs[400:460])


def test_neighbours_are_the_nearest_and_never_oneself():
    x = np.array([[0.0], [1.0], [1.5], [10.0]])
    found = embedding.neighbours_of(x, np.array(["a", "b", "c", "d"], dtype=object))
    assert found.set_index("cpg").T.to_dict("list") == {
        "a": ["b", "c", "d"],
        "b": ["c", "a", "d"],
        "c": ["b", "a", "d"],
        "d": ["c", "b", "a"],
    }
    assert embedding.neighbours_of(x[:1], np.array(["a"], dtype=object)).columns.tolist() == ["cpg"]
    assert len(embedding.neighbours_of(np.arange(50.0)[:, None], np.arange(50)).columns) == 1 + embedding.NEIGHBOURS

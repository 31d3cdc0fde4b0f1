"""Splits, placing, and the final table."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.files import write_json
from cpgtaxa.names import PROBABILITY_COLUMNS, TAXA, UNCLASSIFIED
from cpgtaxa.placement import rounds, selection
from cpgtaxa.plan.config import check_config
from cpgtaxa.plan.main import Plan
from cpgtaxa.plan.paths import shard_bounds

SETTINGS = {
    "source": "both", "min_per_taxon": 20, "fallback": False, "max_per_taxon": 50, "val_share": 0.2, "test_share": 0.2,
    "max_test_per_taxon": 10, "max_added_per_taxon": 5, "trains": True, "may_train_nothing": False,
}  # fmt: skip


def inputs(own=40, made=30):
    labels = pd.DataFrame(
        [(f"{taxon}_{index}", taxon) for taxon in TAXA for index in range(own)] + [("x", UNCLASSIFIED)],
        columns=["cpg", "taxon"],
    )
    simulated = pd.DataFrame(
        [(f"results/simulated/CpG_image/{taxon}{index}.png", taxon, "") for taxon in TAXA for index in range(made)]
        + [("results/simulated/CpG_image/half.png", "BiAge", "TriAge")],
        columns=["path", "label", "other"],
    )
    return labels, simulated


def split(tmp_path, seed=1, own=40, **changes):
    labels, simulated = inputs(own)
    out = {part: tmp_path / f"{part}_{seed}.csv" for part in rounds.PARTS}
    rounds.split_first_round(labels, simulated, "results/round_0", SETTINGS | changes, seed, out)
    return {part: pd.read_csv(path, header=None, names=["path", "label"]) for part, path in out.items()}


def test_where_nothing_is_trained_there_are_only_test_images(tmp_path):
    labels, simulated = inputs()
    out = {part: tmp_path / f"{part}.csv" for part in rounds.PARTS}
    for settings in (SETTINGS, SETTINGS | {"source": "statistical"}):
        # Nor is it a fault that taxa have too few CpGs to learn from.
        rounds.split_first_round(labels[30:], simulated, "results/round_0", settings | {"trains": False}, 1, out)
        parts = rounds.read_parts(out)
        assert {part: len(rows) for part, rows in parts.items()} == {"training": 0, "val": 0, "test": 400}
        assert origins(parts["test"]) == {False: 100, True: 300}
    # So too with given weights where the tests leave no CpG open; where they leave one, a later round may train.
    given = SETTINGS | {"may_train_nothing": True}
    rounds.split_first_round(labels[:-1], simulated, "results/round_0", given, 1, out)
    assert {part: len(rows) for part, rows in rounds.read_parts(out).items()} == {"training": 0, "val": 0, "test": 400}
    rounds.split_first_round(labels, simulated, "results/round_0", given, 1, out)
    assert len(rounds.read_parts(out)["training"]) > 0

    whole = {"training": {"weights": "reference"}, "rounds": {"max": 1}}
    settings = {one: plan(whole | {"simulation": {"per_taxon": one}}) for one in (1000, 5, 0)}
    assert [found.simulation_settings()["per_taxon"] for found in settings.values()] == [20, 5, 0]
    assert [found.simulates for found in settings.values()] == [True, True, False]
    assert settings[1000].simulation_settings()["boundary"] == 0
    given = plan({"training": {"weights": "reference"}})
    assert given.simulation_settings()["per_taxon"] == 1000
    assert given.simulation_settings(trains=False)["per_taxon"] == 20
    assert given.labels_first()
    assert not plan(whole).labels_first()
    assert not plan({}).labels_first()
    assert plan({"rounds": {"max": 1}}).split_settings()["trains"]


def plan(changes):
    config = {"cohort": {"beta": "b.csv", "samples": "s.csv"}} | changes
    return Plan(check_config(config, ROOT / "workflow/schemas/config.schema.yaml"), ROOT / "resources")


def origins(rows):
    return rows["path"].str.contains("/simulated/").value_counts().to_dict()


def test_both_sources_meet_and_never_overlap(tmp_path):
    parts = split(tmp_path)
    together = pd.concat(parts.values())
    assert together["path"].is_unique
    assert not together["path"].str.contains("half").any()
    assert origins(parts["test"]) == {False: 80, True: 30}
    assert origins(parts["training"]) == {False: 260, True: 220}
    assert set(parts["training"]["label"]) == set(TAXA)


def test_the_split_depends_on_the_seed_alone(tmp_path):
    pd.testing.assert_frame_equal(split(tmp_path)["training"], split(tmp_path)["training"])
    assert not split(tmp_path, 1)["training"].equals(split(tmp_path, 2)["training"])


def test_simulated_source_keeps_own_cpgs_for_the_test(tmp_path):
    parts = split(tmp_path, source="simulated")
    assert origins(parts["training"]) == {True: 220}
    assert origins(parts["test"]) == {False: 100, True: 30}


def test_statistical_source_uses_no_simulation_unless_it_must(tmp_path):
    assert origins(split(tmp_path, source="statistical")["training"]) == {False: 260}
    with pytest.raises(InputError, match=r"UniStable 10.*training.source to both"):
        split(tmp_path, own=10, source="statistical")
    parts = split(tmp_path, own=10, source="statistical", fallback=True)
    counts = pd.concat(parts.values())["label"].value_counts()
    assert counts.tolist() == [20] * 10


def test_later_rounds_add_what_was_placed(tmp_path):
    split(tmp_path)
    previous = {part: tmp_path / f"{part}_1.csv" for part in rounds.PARTS}
    out = {part: tmp_path / f"{part}_r.csv" for part in rounds.PARTS}
    placed = pd.DataFrame({"cpg": [f"new{index}" for index in range(20)], "taxon": ["BiAge"] * 20})
    rounds.split_later_round(previous, placed, "results/round_1", SETTINGS, 1, out)
    before, after = rounds.read_parts(previous), rounds.read_parts(out)
    assert set(before["test"]["path"]) == set(after["test"]["path"])
    added = set(after["training"]["path"]) | set(after["val"]["path"])
    added -= set(before["training"]["path"]) | set(before["val"]["path"])
    assert len(added) == SETTINGS["max_added_per_taxon"]
    assert all(path.startswith("results/round_1/CpG_image/new") for path in added)


def test_image_paths_are_plain_names_whatever_the_cpg_is_called():
    assert rounds.image_path("a", "cg01") == "a/cg01.png"
    odd = {rounds.image_path("a", name) for name in ("../x", "..\\x", "x y", "x_y", "$(rm)", "/etc/x")}
    assert len(odd) == 6
    assert all(path.startswith("a/") and "/" not in path[2:] and ".." not in path for path in odd)


def predictions(values):
    frame = pd.DataFrame(values, columns=list(PROBABILITY_COLUMNS))
    frame.insert(0, "cpg", [f"c{index}" for index in range(len(values))])
    return frame.assign(distance=1.0)


def calls(p, contradicted=None, signal=None):
    contradicted = np.zeros(p.shape, dtype=bool) if contradicted is None else contradicted
    signal = np.zeros(len(p)) if signal is None else signal
    return selection.Calls(predictions(p), pd.DataFrame({"signal": signal}), contradicted)


PLACING = {"error_rate": 0.05, "confidence": None, "unlike": 0.01}


def outputs(folder):
    names = ("reassigned", "left", "calibration")
    return {name: folder / f"{name}.parquet" for name in names} | {"counts": folder / "counts.json"}


def test_with_a_threshold_the_certain_and_uncontradicted_are_placed(tmp_path):
    p = np.full((4, 10), 0.0)
    p[0, 2], p[0, 3] = 0.96, 0.04
    p[1, 2], p[1, 3] = 0.6, 0.4
    p[2, 5], p[2, 0] = 0.99, 0.01
    p[3, 8], p[3, 9] = 0.95, 0.05
    contradicted = np.zeros((4, 10), dtype=bool)
    contradicted[2] = True
    contradicted[3, 8] = True  # the tests leave the network its second choice, of which it is not sure
    out, settings = outputs(tmp_path), PLACING | {"confidence": 0.95}
    selection.reassign(calls(p, contradicted), settings=settings, round_number=1, seed=1, out=out)
    placed = pd.read_parquet(out["reassigned"])
    assert placed["cpg"].tolist() == ["c0"]
    assert placed["taxon"].tolist() == ["LinAgeHomo"]
    assert placed["second_taxon"].tolist() == ["LinAgeHet"]
    assert placed["confidence"].tolist() == pytest.approx([0.96])
    left = pd.read_parquet(out["left"])
    assert left[["cpg", "reason", "taxa"]].to_numpy().tolist() == [
        ["c1", "ambiguous", "LinAgeHomo|LinAgeHet"],
        ["c2", "contradicted", "Outlier|UniStable"],
        ["c3", "ambiguous", "BiAge|BiNonAge"],
    ]
    counts = json.loads(out["counts"].read_text())
    assert (counts["candidates"], counts["placed"], counts["undecided"]) == (4, 1, 2)
    assert counts["left"] == {"ambiguous": 2, "contradicted": 1, "unlike": 0}
    assert len(pd.read_parquet(out["calibration"])) == 0


def world(rng, n, foreign):
    """Calls whose chance to be right shows in a statistic, not in the probabilities; and the taxa that are right."""
    taxon = rng.integers(0, 10, n)
    p = np.full((n, 10), 0.02)
    p[np.arange(n), taxon] = 0.82
    none = rng.random(n) < foreign
    signal = np.where(none, rng.normal(-1.4, 1, n), rng.normal(1.4, 1, n))
    truth = np.where(none, "", np.array([f"{name}|Outlier" for name in TAXA])[taxon])
    return p, signal, truth.astype(object)


def test_the_error_rate_is_controlled_and_not_by_placing_nothing(tmp_path):
    broken, shares = 0, []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        known_p, known_signal, truth = world(rng, 1500, 0.5)
        p, signal, actual = world(rng, 600, 0.5)
        out = outputs(tmp_path)
        selection.reassign(
            calls(p, signal=signal),
            calls(known_p, signal=known_signal),
            truth,
            settings=PLACING,
            round_number=0,
            seed=seed,
            out=out,
        )
        placed = pd.read_parquet(out["reassigned"])
        rows = placed["cpg"].str[1:].astype(int)
        wrong = np.mean([name not in taxa for name, taxa in zip(placed["taxon"], actual[rows], strict=True)])
        broken += wrong > 0.05
        shares.append(len(placed) / 600)
        again = pd.read_parquet(out["calibration"])
        assert 0 < len(again) < len(truth)
    assert broken <= 3  # of 20, at a certainty of 95 %
    assert np.mean(shares) > 0.3


def test_nothing_is_placed_where_all_calls_are_wrong(tmp_path, caplog):
    rng = np.random.default_rng(1)
    known_p, known_signal, truth = world(rng, 600, 1.0)
    p, signal, _ = world(rng, 100, 1.0)
    out = outputs(tmp_path)
    arguments = calls(p, signal=signal), calls(known_p, signal=known_signal), truth
    selection.reassign(*arguments, settings=PLACING, round_number=0, seed=1, out=out)
    assert len(pd.read_parquet(out["reassigned"])) == 0
    assert "at no threshold is the error rate surely below 0.05" in caplog.text
    counts = json.loads(out["counts"].read_text())
    assert counts["threshold"] is None


def test_where_nothing_can_be_placed_no_selection_model_is_fitted(monkeypatch):
    monkeypatch.setattr(selection, "SelectionModel", None)
    rng = np.random.default_rng(1)
    p, signal, truth = world(rng, 30, 0.5)
    some, none = calls(p, signal=signal), calls(p[:0], signal=signal[:0])
    barred = calls(p, signal=signal)
    barred.contradicted[:] = True
    for mine, known in ((none, none), (some, none), (none, some), (barred, some)):
        stands, score, again, found = selection.controlled(mine, known, truth[: len(known)], error_rate=0.05, seed=1)
        assert (len(score), len(again)) == (len(mine), len(known))
        assert not stands.any()
        assert not again.any()
        assert found["threshold"] is None


def test_what_is_out_of_distribution_is_not_placed_and_named(tmp_path):
    rng = np.random.default_rng(2)
    known_p, known_signal, truth = world(rng, 1000, 0.3)
    p, signal, _ = world(rng, 300, 0.3)
    mine, known = calls(p, signal=signal), calls(known_p, signal=known_signal)
    known.predictions["distance"] = rng.normal(5, 1, 1000)
    mine.predictions["distance"] = np.where(np.arange(300) < 10, 50.0, 5.0)
    out = outputs(tmp_path)
    selection.reassign(mine, known, truth, settings=PLACING, round_number=0, seed=1, out=out)
    left = pd.read_parquet(out["left"]).set_index("cpg")
    far = [f"c{index}" for index in range(10)]
    assert left.loc[far, "reason"].eq("unlike").all()
    assert left.loc[far, "unlike_p"].max() < 0.01
    assert set(left.index[left["reason"] == "unlike"]) == set(far)
    assert not pd.read_parquet(out["reassigned"])["cpg"].isin(far).any()


def test_a_network_that_parts_from_the_labels_is_doubted(caplog):
    p = pd.DataFrame(np.eye(10)[[0] * 30 + [1] * 10], columns=list(PROBABILITY_COLUMNS))
    p = p.assign(cpg=[f"c{index}" for index in range(40)])
    labels = pd.DataFrame({"cpg": [f"c{index}" for index in range(60)], "taxon": TAXA[0]})
    labels.loc[50:, "taxon"] = UNCLASSIFIED
    found = selection.agreement_with_labels(p, labels)
    assert found == {"clear_cpgs": 50, "labelled_cpgs": 40, "network_as_labels": 0.75, "doubtful": True}
    assert "the label on only 75 % of the 40 labelled CpGs" in caplog.text
    caplog.clear()
    assert not selection.agreement_with_labels(p[:30], labels)["doubtful"]
    assert selection.agreement_with_labels(p[:0], labels)["network_as_labels"] is None
    assert not selection.agreement_with_labels(p[30:], labels)["doubtful"]  # ten are too few to say
    assert not caplog.text


def test_labelled_cpgs_are_all_predicted_where_they_are_few_and_at_random_where_many():
    taxa = np.full(40_000, "Outlier", dtype=object)
    taxa[::10] = UNCLASSIFIED
    open_ones = taxa == UNCLASSIFIED
    assert (rounds.predicted(taxa, False, 1) == open_ones).all()
    assert rounds.predicted(taxa, True, 1).all()
    assert rounds.predicted(taxa[:20_000], "auto", 1).all()
    some = rounds.predicted(taxa, "auto", 1)
    assert some[open_ones].all()
    assert some.sum() == open_ones.sum() + rounds.SOME_PREDICTED
    # Anywhere in the array, and others for another seed.
    parts = (some & ~open_ones).reshape(8, -1).sum(axis=1)
    assert parts.min() > 500
    assert (some == rounds.predicted(taxa, "auto", 1)).all()
    assert (some != rounds.predicted(taxa, "auto", 2)).any()


def test_taxonomy_takes_each_number_from_where_it_belongs():
    labels = pd.DataFrame({"cpg": ["c0", "c1", "c2"], "taxon": ["BiAge", UNCLASSIFIED, UNCLASSIFIED]})
    labels["boundary"], labels["confidence"] = ["", "trend", "spread"], [0.99, np.nan, np.nan]
    labels["criterion"], labels["margin"] = ["width", "trend", "spread"], [2.0, 0.1, 0.2]
    first = np.zeros((3, 10))
    first[:, 0], first[:, 1], first[0, 8] = 0.7, 0.3, 0.0
    second = np.zeros((2, 10))
    second[:, 4], second[:, 6] = 0.8, 0.2
    later = predictions(second).assign(cpg=["c1", "c2"])
    placed = pd.DataFrame({"cpg": ["c2"], "taxon": ["NonAgeHet"], "confidence": [0.97]})
    nothing = placed.iloc[:0]
    table = rounds.taxonomy(
        labels,
        [{"predictions": predictions(first), "reassigned": nothing}, {"predictions": later, "reassigned": placed}],
    ).set_index("cpg")
    assert table["taxon"].tolist() == ["BiAge", UNCLASSIFIED, "NonAgeHet"]
    assert table["source"].tolist() == ["statistical", "none", "round_1"]
    assert table["confidence"].tolist() == pytest.approx([0.99, np.nan, 0.97], nan_ok=True)
    assert table["network_p"].tolist() == pytest.approx([0.0, 0.8, 0.8])
    assert table["disagrees"].tolist() == [True, False, False]
    assert table["criterion"].tolist() == ["width", "trend", "spread"]
    assert table["margin"].tolist() == pytest.approx([2.0, 0.1, 0.2])
    assert table["boundary"].tolist() == ["", "trend", "spread"]
    assert table["second_taxon"].tolist() == ["UniStable", "TriAge", "TriAge"]


def test_a_given_label_that_no_network_looked_at_has_no_numbers():
    labels = pd.DataFrame({"cpg": ["c0", "c1"], "taxon": ["BiAge", UNCLASSIFIED]})
    p = np.zeros((1, 10))
    p[0, 4], p[0, 6] = 0.8, 0.2
    found = predictions(p).assign(cpg=["c1"])
    nothing = pd.DataFrame({"cpg": [], "taxon": [], "confidence": []})
    table = rounds.taxonomy(labels, [{"predictions": found, "reassigned": nothing}])
    assert table["taxon"].tolist() == ["BiAge", UNCLASSIFIED]
    assert table["confidence"].isna().all()
    assert table["network_p"].isna().tolist() == [True, False]
    assert not table["disagrees"].any()
    assert table["second_taxon"].isna().tolist() == [True, False]
    assert table.loc[0, list(PROBABILITY_COLUMNS)].isna().all()


@pytest.mark.parametrize(
    ("counts", "settings", "rounds_made"),
    [
        ({"placed": 50, "candidates": 100, "undecided": 50, "cpgs": 1000}, {}, 3),
        ({"placed": 0, "candidates": 100, "undecided": 100, "cpgs": 1000}, {}, 1),  # nothing new to learn from
        ({"placed": 50, "candidates": 60, "undecided": 10, "cpgs": 1000}, {}, 1),  # hardly anything to place
        ({"placed": 50, "candidates": 100, "undecided": 50, "cpgs": 100_000}, {}, 1),  # a twentieth of a per cent
        ({"placed": 0, "candidates": 0, "undecided": 0, "cpgs": 1000}, {"min": 2}, 2),  # as the published work did
        ({"placed": 50, "candidates": 100, "undecided": 50, "cpgs": 1000}, {"max": 2}, 2),
    ],
)
def test_a_round_is_trained_only_if_it_could_place_something(tmp_path, counts, settings, rounds_made):
    path = tmp_path / "reassigned.json"
    write_json(path, counts)
    made = plan({"rounds": settings}).rounds(lambda number: path)
    assert len(made) == rounds_made


@pytest.mark.parametrize(("n", "least", "sizes"), [(10, 1, [2, 3, 2, 3]), (10, 4, [5, 5, 0, 0]), (3, 9, [3, 0, 0, 0])])
def test_shards_hold_all_cpgs_once_and_of_few_the_first_hold_them(n, least, sizes):
    bounds = [shard_bounds(shard, 4, n, least) for shard in range(4)]
    assert [stop - start for start, stop in bounds] == sizes
    assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == n
